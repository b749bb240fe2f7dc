//! Facts: what a store reads, in one snapshot, for one decision.

use std::sync::Arc;

use crate::{
    CaCertificate, Device, EnrollmentGroup, EnrollmentGroupId, HubName, HubSettings,
    IndividualEnrollment, LinkedHub, RegistrationId, RegistrationRecord, ServiceSettings,
    TpmChallenge, Version,
};

/// What to read for a register request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterQuery {
    /// Who registers.
    pub registration_id: RegistrationId,
    /// How groups are found.
    pub groups: GroupQuery,
}

/// How the groups that may admit a device are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupQuery {
    /// By certificates: every CA certificate whose subject hash is among these, and, again and
    /// again, those whose subject is the issuer of one found (to complete chains from our store).
    ByCa {
        /// SHA-256 of DER names: the subjects and issuers of the presented chain.
        subjects: Vec<[u8; 32]>,
    },
    /// Every symmetric-key group (nothing on the wire names one, D §5.1); and, because a TPM
    /// answers its challenge with a token as well, those that the names of a waiting challenge's
    /// certificates lead to, found as by [`Self::ByCa`].
    BySymmetricKey,
    /// None.
    None,
}

/// What is known when a device registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterFacts {
    /// The individual enrollment of that registration ID.
    pub individual: Option<IndividualEnrollment>,
    /// The groups asked for, in the order of their IDs.
    pub groups: Arc<Vec<EnrollmentGroup>>,
    /// The CA certificates of the service's store that were asked for or that the groups found
    /// refer to.
    pub ca_certificates: Arc<Vec<CaCertificate>>,
    /// The version of the set of groups and CA certificates.
    pub groups_version: Version,
    /// The registration record of that registration ID.
    pub record: Option<RegistrationRecord>,
    /// The challenges of that registration ID that the store remembers, latest first, at most
    /// [`MAX_TPM_CHALLENGES`](crate::MAX_TPM_CHALLENGES) of each kind. Some may be over.
    pub tpm_challenges: Vec<TpmChallenge>,
    /// The devices, on any hub, that have the record's device ID, the enrollment's device ID or
    /// the registration ID, in any letter case: hubs tell letter case apart, registration IDs do
    /// not, and a device that spells its name anew must not get a second identity by it.
    pub devices: Vec<(HubName, Device)>,
    /// The linked hubs and the service's allocation policy.
    pub hubs: Arc<HubSettings>,
    /// The version of the set of linked hubs and service settings.
    pub hubs_version: Version,
    /// How many registration records there are, orphans included: what the limit counts. The
    /// store keeps a counter, so that reading it costs nothing.
    pub n_registrations: u64,
}

/// What is known when an individual enrollment is written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndividualFacts {
    /// The enrollment, if there is one.
    pub enrollment: Option<IndividualEnrollment>,
    /// The registration record of the same ID.
    pub record: Option<RegistrationRecord>,
}

/// How much there is of what limits count (D §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Individual enrollments.
    pub individual_enrollments: u64,
    /// Enrollment groups with certificates, those of TPMs included.
    pub x509_groups: u64,
    /// Enrollment groups with symmetric keys.
    pub symmetric_key_groups: u64,
    /// Registration records, orphans included.
    pub registrations: u64,
    /// Registration records whose enrollment no longer exists.
    pub orphaned_registrations: u64,
}

/// A page of a listing, ordered by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The key to continue after, when there is more.
    pub next: Option<String>,
}

/// Which records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFilter {
    /// Those whose last deciding enrollment was this group, whether it still exists or not.
    Group(EnrollmentGroupId),
    /// Those whose enrollment no longer exists.
    Orphaned,
    /// All.
    All,
}

/// What is known when what the service is configured with changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// The settings.
    pub settings: ServiceSettings,
    /// The linked hubs, by name.
    pub hubs: Vec<LinkedHub>,
    /// The version of the set of both.
    pub version: Version,
}

/// What is known when a pending assignment goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFacts {
    /// The record, if it is still there.
    pub record: Option<RegistrationRecord>,
    /// The individual enrollment of its registration ID, if there is one.
    pub individual: Option<IndividualEnrollment>,
    /// The group that decided, if one did and it is still there.
    pub group: Option<EnrollmentGroup>,
    /// The version of the set of groups and CA certificates.
    pub groups_version: Version,
    /// The linked hubs and the service's allocation policy.
    pub hubs: Arc<HubSettings>,
    /// The version of the set of linked hubs and service settings.
    pub hubs_version: Version,
    /// The devices of that ID on built-in hubs.
    pub devices: Vec<(HubName, Device)>,
}
