//! Enrollments as operators write them.

use serde_json::{Value, json};
use testkit::{Ca, Credential};

/// The path of an individual enrollment.
pub(crate) fn individual(id: &str) -> String {
    format!("/enrollments/{id}")
}

/// The path of a group.
pub(crate) fn group(id: &str) -> String {
    format!("/enrollmentGroups/{id}")
}

/// An individual enrollment with a generated key.
pub(crate) fn by_key(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey", "symmetricKey": {}}})
}

/// An individual enrollment with a device's certificate.
pub(crate) fn by_certificate(id: &str, credential: &Credential) -> Value {
    json!({
        "registrationId": id,
        "attestation": {
            "type": "x509",
            "x509": {"clientCertificates": {"primary": {"certificate": credential.pem()}}},
        },
    })
}

/// A group with generated keys.
pub(crate) fn group_by_key(id: &str) -> Value {
    json!({"enrollmentGroupId": id, "attestation": {"type": "symmetricKey", "symmetricKey": {}}})
}

/// A group with a CA's certificate.
pub(crate) fn group_by_ca(id: &str, ca: &Ca) -> Value {
    json!({
        "enrollmentGroupId": id,
        "attestation": {
            "type": "x509",
            "x509": {"signingCertificates": {"primary": {"certificate": ca.pem()}}},
        },
    })
}

/// The same enrollment with another member.
pub(crate) fn with(mut enrollment: Value, member: &str, value: Value) -> Value {
    enrollment[member] = value;
    enrollment
}

/// The same enrollment, switched off.
pub(crate) fn disabled(enrollment: Value) -> Value {
    with(enrollment, "provisioningStatus", json!("disabled"))
}

/// The primary key that an answer to a `PUT` shows.
pub(crate) fn primary_key(shown: &Value) -> &str {
    shown["attestation"]["symmetricKey"]["primaryKey"].as_str().expect("a primary key")
}

/// The secondary key that an answer to a `PUT` shows.
pub(crate) fn secondary_key(shown: &Value) -> &str {
    shown["attestation"]["symmetricKey"]["secondaryKey"].as_str().expect("a secondary key")
}
