//! What an operator's change of the service itself means: linked hubs, settings, networking, CA
//! certificates, shared access policies (O §3); and what the audit log shows of any change.
//!
//! Without a precondition a `PUT` creates; with one it replaces what is there. A delete needs
//! something to delete, and a precondition only if the operator wants one.

pub mod audit_view;
pub mod bans;
pub mod certificates;
pub mod crls;
pub mod hubs;
pub mod network;
pub mod policies;
pub mod settings;

use model::{Etag, OperatorRefusal, Precondition, Quotas};

/// The figures of D §6. Each is a setting.
pub const DEFAULT_QUOTAS: Quotas = Quotas {
    registrations: 1_000_000,
    individual_enrollments: 1_000_000,
    x509_groups: 100,
    symmetric_key_groups: 100,
    ca_certificates: 25,
    linked_hubs: 50,
};

/// Whether a `PUT` may go on.
fn check_put(
    existing: Option<&Etag>,
    precondition: &Precondition,
    exists: impl FnOnce() -> OperatorRefusal,
    missing: impl FnOnce() -> OperatorRefusal,
) -> Result<(), OperatorRefusal> {
    match (existing, precondition) {
        (None, Precondition::None) => Ok(()),
        (Some(_), Precondition::None) => Err(exists()),
        // Enrollments answer 412 here, as recorded; nothing is recorded of these, and to say what
        // is missing helps more.
        (None, Precondition::Any | Precondition::Tag(_)) => Err(missing()),
        (Some(etag), demanded) => check_etag(etag, demanded),
    }
}

/// Whether what is there is what the precondition, if there is one, demands.
fn check_etag(etag: &Etag, precondition: &Precondition) -> Result<(), OperatorRefusal> {
    match precondition {
        Precondition::Tag(tag) if tag != etag.as_str() => Err(OperatorRefusal::StaleEtag),
        Precondition::None | Precondition::Any | Precondition::Tag(_) => Ok(()),
    }
}

fn within(is: u64, may: u64, what: &'static str) -> Result<(), OperatorRefusal> {
    if is < may { Ok(()) } else { Err(OperatorRefusal::QuotaExceeded { what, limit: may }) }
}

fn bad(text: impl Into<String>) -> OperatorRefusal {
    OperatorRefusal::BadRequest(text.into())
}
