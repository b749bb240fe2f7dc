//! Attestation mechanisms: what is sent, and what of them is shown (O §1.6, §1.8).

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AttestationDraft, AttestationMechanism, CertificateDraft, CertificateInfo, EndorsementDraft,
    EnrolledCertificate, Json, Slots, SymmetricKey, SymmetricKeys, TpmDraft,
};

use crate::{
    device::tpm_key,
    pem,
    read::{Malformed, Members},
    time,
    write::Object,
};

#[derive(Clone, Copy)]
enum Kind {
    None,
    SymmetricKey,
    X509,
    Tpm,
}

const KINDS: &[(&str, Kind)] = &[
    ("symmetricKey", Kind::SymmetricKey),
    ("x509", Kind::X509),
    ("tpm", Kind::Tpm),
    ("none", Kind::None),
];

/// Where groups of TPMs are written instead.
const TPM_GROUPS: &str = "is for groups of TPMs, an extension of Induct: use \
                          /induct/v1/tpmEnrollmentGroups or `induct tpm group`";

/// Reads `attestation`. Only the member that `type` names is looked at.
pub(super) fn read(attestation: &Members<'_>) -> Result<AttestationDraft, Malformed> {
    let kind = attestation.word("type", KINDS)?.ok_or_else(|| attestation.missing("type"))?;
    match kind {
        Kind::SymmetricKey => {
            let keys = attestation.object("symmetricKey")?;
            let key = |name| keys.as_ref().map_or(Ok(None), |keys| read_key(keys, name));
            Ok(AttestationDraft::SymmetricKey {
                primary: key("primaryKey")?,
                secondary: key("secondaryKey")?,
            })
        }
        Kind::X509 => {
            let Some(x509) = attestation.object("x509")? else {
                return Err(attestation.missing("x509"));
            };
            Ok(AttestationDraft::X509 {
                client: read_slots(&x509, "clientCertificates", read_certificate)?,
                signing: read_slots(&x509, "signingCertificates", read_certificate)?,
                ca_references: read_slots(&x509, "caReferences", read_name)?,
            })
        }
        Kind::Tpm => {
            let Some(tpm) = attestation.object("tpm")? else {
                return Err(attestation.missing("tpm"));
            };
            if tpm.value("issuers").is_some() {
                return Err(tpm.wrong("issuers", TPM_GROUPS));
            }
            Ok(AttestationDraft::Tpm(TpmDraft {
                endorsement_key: tpm_key(&tpm, "endorsementKey")?
                    .ok_or_else(|| tpm.missing("endorsementKey"))?,
                storage_root_key: tpm_key(&tpm, "storageRootKey")?,
                endorsement: EndorsementDraft::Keep,
            }))
        }
        Kind::None => {
            Err(attestation.wrong("type", "none attests nothing; use symmetricKey, x509 or tpm"))
        }
    }
}

/// Reads the `attestation` of a group of TPMs, **an extension of Induct**: `type` is `tpm`, and
/// `tpm` holds the vendors' certificates in `issuers`.
pub(crate) fn read_issuers(attestation: &Members<'_>) -> Result<AttestationDraft, Malformed> {
    attestation.only(&["type", "tpm"])?;
    attestation.word("type", &[("tpm", ())])?.ok_or_else(|| attestation.missing("type"))?;
    let tpm = attestation.object("tpm")?.ok_or_else(|| attestation.missing("tpm"))?;
    tpm.only(&["issuers"])?;
    let issuers = read_certificates(&tpm, "issuers")?.ok_or_else(|| tpm.missing("issuers"))?;
    Ok(AttestationDraft::TpmIssuer(issuers))
}

/// Two certificate slots of our own API, where no member is ignored.
pub(crate) fn read_certificates(
    object: &Members<'_>,
    name: &str,
) -> Result<Option<Slots<CertificateDraft>>, Malformed> {
    let Some(slots) = object.object(name)? else { return Ok(None) };
    slots.only(&["primary", "secondary"])?;
    for slot in ["primary", "secondary"] {
        if let Some(slot) = slots.object(slot)? {
            slot.only(&["certificate", "info"])?;
        }
    }
    read_slots(object, name, read_certificate)
}

/// A key, unless it is absent or empty and thus to be generated or kept.
fn read_key(keys: &Members<'_>, name: &str) -> Result<Option<SymmetricKey>, Malformed> {
    keys.text(name)?
        .map(|text| SymmetricKey::parse(text).map_err(|bad| keys.wrong(name, bad.to_string())))
        .transpose()
}

fn read_slots<T>(
    x509: &Members<'_>,
    name: &str,
    read: fn(&Members<'_>, &str) -> Result<Option<T>, Malformed>,
) -> Result<Option<Slots<T>>, Malformed> {
    let Some(slots) = x509.object(name)? else { return Ok(None) };
    Ok(Some(Slots { primary: read(&slots, "primary")?, secondary: read(&slots, "secondary")? }))
}

fn read_name(slots: &Members<'_>, name: &str) -> Result<Option<String>, Malformed> {
    Ok(slots.text(name)?.map(str::to_owned))
}

/// A slot. Without `certificate` and `info` it counts as absent.
fn read_certificate(
    slots: &Members<'_>,
    name: &str,
) -> Result<Option<CertificateDraft>, Malformed> {
    let Some(slot) = slots.object(name)? else { return Ok(None) };
    if let Some(text) = slot.text("certificate")? {
        let der =
            pem::certificate(text).map_err(|bad| slot.wrong("certificate", bad.to_string()))?;
        return Ok(Some(CertificateDraft::Der(der)));
    }
    let Some(info) = slot.object("info")? else { return Ok(None) };
    let thumbprint = match info.text("sha256Thumbprint")? {
        Some(sha256) => Some(sha256),
        None => info.text("sha1Thumbprint")?,
    };
    Ok(Some(CertificateDraft::Keep { thumbprint: thumbprint.map(str::to_ascii_uppercase) }))
}

/// The mechanism with its keys: the answer to a `PUT` and to `attestationmechanism`, and nothing
/// else may show it. Certificates are shown as `info` even here (O §1.8).
#[must_use]
pub fn mechanism(mechanism: &AttestationMechanism) -> Json {
    match mechanism {
        AttestationMechanism::SymmetricKey(SymmetricKeys { primary, secondary }) => {
            let keys = Object::new()
                .with("primaryKey", primary.reveal())
                .with("secondaryKey", secondary.reveal());
            Object::new().with("type", "symmetricKey").with("symmetricKey", keys).build()
        }
        other => without_keys(other),
    }
}

/// The mechanism as every other answer shows it.
pub(super) fn without_keys(mechanism: &AttestationMechanism) -> Json {
    match mechanism {
        AttestationMechanism::SymmetricKey(_) => Object::new().with("type", "symmetricKey").build(),
        AttestationMechanism::X509Client(slots) => {
            x509("clientCertificates", slots, show_certificate)
        }
        AttestationMechanism::X509Signing(slots) => {
            x509("signingCertificates", slots, show_certificate)
        }
        AttestationMechanism::X509CaReferences(slots) => {
            x509("caReferences", slots, |name| Json::from(name.as_str()))
        }
        AttestationMechanism::Tpm(tpm) => {
            let srk = tpm.storage_root_key.as_ref().map(|key| STANDARD.encode(key));
            let keys = Object::new()
                .with("endorsementKey", STANDARD.encode(&tpm.endorsement_key).as_str())
                .with_some("storageRootKey", srk.as_deref());
            Object::new().with("type", "tpm").with("tpm", keys).build()
        }
        AttestationMechanism::TpmIssuer(slots) => {
            let issuers = Object::new().with("issuers", show_certificates(slots));
            Object::new().with("type", "tpm").with("tpm", issuers).build()
        }
    }
}

fn x509<T>(name: &str, slots: &Slots<T>, show: fn(&T) -> Json) -> Json {
    let slots = Object::new().with(name, show_slots(slots, show));
    Object::new().with("type", "x509").with("x509", slots).build()
}

/// Two certificate slots, each with its `info`.
pub(crate) fn show_certificates(slots: &Slots<EnrolledCertificate>) -> Json {
    show_slots(slots, show_certificate)
}

fn show_slots<T>(slots: &Slots<T>, show: fn(&T) -> Json) -> Json {
    Object::new()
        .with_some("primary", slots.primary.as_ref().map(show))
        .with_some("secondary", slots.secondary.as_ref().map(show))
        .build()
}

fn show_certificate(certificate: &EnrolledCertificate) -> Json {
    Object::new().with("info", certificate_info(&certificate.info)).build()
}

/// All eight members, which some clients insist on (O §1.6).
pub(crate) fn certificate_info(info: &CertificateInfo) -> Json {
    Object::new()
        .with("subjectName", info.subject_name.as_str())
        .with("sha1Thumbprint", info.sha1_thumbprint.as_str())
        .with("sha256Thumbprint", info.sha256_thumbprint.as_str())
        .with("issuerName", info.issuer_name.as_str())
        .with("notBeforeUtc", time::whole_seconds(info.not_before).as_str())
        .with("notAfterUtc", time::whole_seconds(info.not_after).as_str())
        .with("serialNumber", info.serial_number.as_str())
        .with("version", u64::from(info.version))
        .build()
}
