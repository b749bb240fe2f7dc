//! Facts: what a store reads, in one snapshot, for one decision.

use std::sync::Arc;

use crate::{
    Ban, CaCertificate, CrlFacts, Device, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId,
    Expect, Grounds, HubName, HubSettings, IndividualEnrollment, LinkedHub, RegistrationId,
    RegistrationRecord, ServiceSettings, Timestamp, TpmChallenge, Version,
};

/// What to read for a register request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterQuery {
    /// Who registers.
    pub registration_id: RegistrationId,
    /// How groups are found.
    pub groups: GroupQuery,
    /// The keys of the bans that could be about what was shown
    /// ([`PathCertificate::ban_keys`](crate::PathCertificate::ban_keys) of every certificate,
    /// the endorsement key's); the registration ID's is looked up in any case.
    pub ban_keys: Vec<String>,
    /// SHA-256 of the names of CAs besides those of `groups`, to find bans on CAs by.
    pub ca_names: Vec<[u8; 32]>,
    /// Issuer (SHA-256 of its name's DER) and serial number of every certificate shown: what
    /// revocation lists are asked about. The store adds those of the certificates it finds.
    pub serials: Vec<([u8; 32], String)>,
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
    /// What that registration rests on, if there is a record.
    pub grounds: Option<Grounds>,
    /// The bans asked for; those of the waiting challenges'
    /// [`ban_keys`](TpmChallenge::ban_keys); those on certificates of the groups and CA
    /// certificates found; and those on CAs whose subject is among the names that the groups were
    /// found by. In the order of their keys. Some may be over.
    pub bans: Vec<Ban>,
    /// The version of the set of bans and revocation lists.
    pub bans_version: Version,
    /// What a change set that was decided from this has to expect of bans and revocation lists: all
    /// that were looked for, those that are not there included.
    pub bans_expected: Expect,
    /// The revocation lists of the issuers asked about and of those of the certificates of the
    /// groups and CA certificates found, each with what it revokes of them. By name, so a
    /// namesake's list may be among them.
    pub crls: Vec<CrlFacts>,
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
    Orphaned(OrphanFilter),
    /// All.
    All,
}

/// Which records without an enrollment are meant; by default all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrphanFilter {
    /// Only those that this group decided last.
    pub group: Option<EnrollmentGroupId>,
    /// Only those that were last written before this moment. When their enrollment went is not
    /// kept.
    pub updated_before: Option<Timestamp>,
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
    /// What the registration rests on.
    pub grounds: Option<Grounds>,
    /// The bans on the registration ID or on what the registration rests on, also on CAs above that.
    /// Some may be over.
    pub bans: Vec<Ban>,
    /// The certificates of the CAs that we know on the way up to a banned one, as in
    /// [`ConnectFacts::known_cas`](crate::ConnectFacts::known_cas).
    pub known_cas: Vec<EnrolledCertificate>,
    /// The version of the set of bans and revocation lists.
    pub bans_version: Version,
    /// What a change set that was decided from this has to expect of bans and revocation lists: all
    /// that were looked for, those that are not there included.
    pub bans_expected: Expect,
    /// The revocation lists of the issuers in what the registration rests on, as in
    /// [`RegisterFacts::crls`].
    pub crls: Vec<CrlFacts>,
}
