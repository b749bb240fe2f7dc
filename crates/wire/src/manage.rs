//! The management API of Induct itself, under `/induct/v1/` (O §3): the service's settings, IP
//! rules, linked hubs, CA certificates, shared access policies, usage and the audit log; and what
//! Induct adds to attestation by TPM: as requests and answers.
//!
//! The members are called as in the vendor's management plane where that has a name for them. The
//! API is ours, so unknown members are refused: a misspelt one would otherwise be taken for one
//! that was left out. [`schema`] says the shapes once more, for the OpenAPI document.

mod attempts;
mod audit;
mod bans;
mod certificates;
mod crls;
mod deprovisionings;
mod explain;
mod group_settings;
mod hubs;
mod networking;
mod orphans;
mod policies;
pub mod schema;
mod service;
mod simulate;
#[cfg(test)]
mod tests;
mod tpm;
mod usage;

pub use attempts::{
    AttemptsAsked, RefusedOften, attempt, attempt_number, parse_attempts_asked, top_refused,
};
pub use audit::{AuditCheck, audit_check, audit_line, audit_moment, audit_number};
pub use bans::{ban, kind as ban_kind, parse_ban};
pub use certificates::{
    CertificateBody, ShowCode, certificate, certificate_deleted, parse_certificate, parse_proof,
};
pub use crls::{CrlSourceBody, RevokedCounts, crl, crl_taken, parse_crl_source};
pub use deprovisionings::{
    DeprovisioningBody, MAX_DEPROVISIONING_BYTES, deprovisioned_device, deprovisioning, device_key,
    device_number, parse_deprovisioning, parse_item_state,
};
pub use explain::{ExplainBody, Explained, explanation, parse_explain};
pub use group_settings::{group_settings, parse_group_settings};
pub use hubs::{
    AccessBody, HubBody, HubProbe, HubUnlinked, hub_name, hub_probe, hub_unlinked, linked_hub,
    parse_linked_hub,
};
pub use networking::{ip_rules, parse_ip_rules};
pub use orphans::{group_deleted, orphan, orphan_count, orphans_deleted};
pub use policies::{
    PolicyBody, RotatedKey, parse_policy, parse_rotation, policy, policy_with_keys, rights_text,
};
pub use service::{ServiceBody, parse_service, service};
pub use simulate::{SimulationBody, parse_simulation, simulation, with_simulation};
pub use tpm::{endorsement, parse_endorsement, parse_tpm_group, tpm_group};
pub use usage::{Counted, usage};

use model::{Json, OperatorRefusal, Timestamp};

use crate::{
    operator::parse_body,
    read::{Malformed, Members},
    time,
    write::Object,
};

/// Parses a body that must be an object of these members, and reads it.
fn read_object<T>(
    body: &[u8],
    known: &[&str],
    read: impl FnOnce(&Members<'_>) -> Result<T, Malformed>,
) -> Result<T, OperatorRefusal> {
    let body = parse_body(body)?;
    Ok(read(&members(&body, "", known)?)?)
}

/// The members of a value that must be an object of these members and no others.
pub(crate) fn members<'a>(
    value: &'a Json,
    path: impl Into<String>,
    known: &[&str],
) -> Result<Members<'a>, Malformed> {
    let members = Members::of(value, path)?;
    members.only(known)?;
    Ok(members)
}

/// What every answer about one thing ends with.
fn stamped(object: Object, etag: &str, created: Timestamp, updated: Timestamp) -> Object {
    object
        .with("etag", etag)
        .with("created", time::wire(created).as_str())
        .with("updated", time::wire(updated).as_str())
}

/// A list of texts.
fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Json {
    Json::Array(texts.map(Json::from).collect())
}
