//! How full the service is (D §6).

use model::{Json, Quotas, Usage, crl::MAX_CRLS};

use crate::write::Object;

/// What is counted besides what the store counts as usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// CA certificates.
    pub ca_certificates: u64,
    /// Linked hubs.
    pub linked_hubs: u64,
    /// Revocation lists.
    pub crls: u64,
    /// Those of them that are out of date.
    pub stale_crls: u64,
}

/// How much there is beside how much there may be.
#[must_use]
pub fn usage(usage: &Usage, counted: Counted, quotas: &Quotas) -> Json {
    let row =
        |current: u64, limit: u64| Object::new().with("current", current).with("limit", limit);
    Object::new()
        .with("registrations", row(usage.registrations, quotas.registrations))
        .with("orphanedRegistrations", Object::new().with("current", usage.orphaned_registrations))
        .with(
            "individualEnrollments",
            row(usage.individual_enrollments, quotas.individual_enrollments),
        )
        .with("x509Groups", row(usage.x509_groups, quotas.x509_groups))
        .with("symmetricKeyGroups", row(usage.symmetric_key_groups, quotas.symmetric_key_groups))
        .with("caCertificates", row(counted.ca_certificates, quotas.ca_certificates))
        .with("linkedHubs", row(counted.linked_hubs, quotas.linked_hubs))
        .with("revocationLists", row(counted.crls, MAX_CRLS as u64))
        .with("staleRevocationLists", Object::new().with("current", counted.stale_crls))
        .build()
}
