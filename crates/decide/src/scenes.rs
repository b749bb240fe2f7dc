//! Scenes: a small world in memory, for the tests and benches of decisions. Feature `scenes`.
//!
//! It keeps what a store keeps, reads facts the way a store reads them and applies change sets
//! with their expectations. It is not a store: no SQL, no threads, no durability.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "material for tests: a world that cannot be built is a mistake in the test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{
    AllocationPolicy, AttestationDraft, AttestationMechanism, Ban, BanKind, BanSubject,
    CaCertificate, Caller, CertificateDer, CertificateDraft, Change, ChangeSet, Counted, Device,
    DeviceId, Draft, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef, Etag,
    Evidence, Expect, Grounds, GroupDraft, GroupQuery, HubAccess, HubName, HubSettings, IdScope,
    IndividualDraft, IndividualEnrollment, LinkedHub, PendingFacts, Precondition,
    ProvisioningStatus, RegisterFacts, RegisterQuery, RegisterRequest, RegistrationId,
    RegistrationRecord, RemoteAccess, RemoteRemoval, RemoteTask, Sent, Slots, SymmetricKey,
    Timestamp, TpmChallenge, Usage, Version,
};
use testkit::{ClientStyle, DeviceToken, NOW, fresh};

use crate::{
    attestation::AttestSettings,
    enrollment::{self, EnrollmentLimits},
    register::{self, Decision, Prepared, RegisterSettings},
};

mod tpm;

pub use tpm::{by_tpm, issuers, tpm_keys, tpm_token};

/// The ID scope of the scene.
pub const SCOPE: &str = "0ne00ABCDEF";

/// A registration ID, group ID, hub or key of the scene.
pub mod name {
    use super::{EnrollmentGroupId, HubName, RegistrationId, SymmetricKey};

    /// A registration ID.
    #[must_use]
    pub fn id(text: &str) -> RegistrationId {
        RegistrationId::parse(text).expect("a legal registration ID")
    }

    /// A group ID.
    #[must_use]
    pub fn group(text: &str) -> EnrollmentGroupId {
        EnrollmentGroupId::parse(text).expect("a legal group ID")
    }

    /// A hub.
    #[must_use]
    pub fn hub(text: &str) -> HubName {
        HubName::parse(&format!("{text}.example.test")).expect("a legal host name")
    }

    /// A key, different for each seed.
    #[must_use]
    pub fn key(seed: u8) -> SymmetricKey {
        SymmetricKey::from_bytes(&[seed; 32]).expect("32 bytes")
    }
}

/// A change set was refused: something it was decided from has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict;

/// A world: enrollments, records, devices, and how they are configured.
#[derive(Debug, Clone)]
pub struct World {
    /// Individual enrollments by key.
    pub individuals: BTreeMap<String, IndividualEnrollment>,
    /// Groups by key.
    pub groups: BTreeMap<String, EnrollmentGroup>,
    /// CA certificates by name.
    pub cas: BTreeMap<String, CaCertificate>,
    /// Records by key.
    pub records: BTreeMap<String, RegistrationRecord>,
    /// Devices by hub and ID.
    pub devices: BTreeMap<(HubName, DeviceId), Device>,
    /// Challenges to TPMs by key, latest first.
    pub tpm_challenges: BTreeMap<String, Vec<TpmChallenge>>,
    /// Bans by key.
    pub bans: BTreeMap<String, Ban>,
    /// What registrations rest on, by the key of the record.
    pub grounds: BTreeMap<String, Grounds>,
    /// Removals from remote hubs, by hub and device.
    pub removals: BTreeMap<(HubName, DeviceId), RemoteRemoval>,
    /// The configuration.
    pub settings: RegisterSettings,
    /// The linked hubs.
    pub hubs: HubSettings,
    /// The present moment; tests move it.
    pub now: Timestamp,
    version: Version,
    groups_version: Version,
    bans_version: Version,
    seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            individuals: BTreeMap::new(),
            groups: BTreeMap::new(),
            cas: BTreeMap::new(),
            records: BTreeMap::new(),
            devices: BTreeMap::new(),
            tpm_challenges: BTreeMap::new(),
            bans: BTreeMap::new(),
            grounds: BTreeMap::new(),
            removals: BTreeMap::new(),
            settings: RegisterSettings {
                attest: AttestSettings {
                    id_scope: IdScope::parse(SCOPE).expect("a legal scope"),
                    clock_skew_secs: 300,
                    limits: attest::chain::Limits::default(),
                },
                max_registrations: 1_000_000,
            },
            hubs: HubSettings {
                hubs: vec![linked(name::hub("hub-1"), 1), linked(name::hub("hub-2"), 1)],
                allocation_policy: AllocationPolicy::Hashed,
            },
            now: NOW,
            version: 0,
            groups_version: 0,
            bans_version: 0,
            seed: 0,
        }
    }
}

/// A built-in hub of this weight.
#[must_use]
pub fn linked(name: HubName, weight: u32) -> LinkedHub {
    LinkedHub {
        name,
        access: HubAccess::BuiltIn,
        weight,
        apply_allocation_policy: true,
        declared: false,
        etag: Etag::from_random([0; 16]),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

/// A remote hub of weight 1.
#[must_use]
pub fn linked_remote(name: HubName) -> LinkedHub {
    let access = RemoteAccess { port: None, policy: "iothubowner".to_owned(), key: name::key(77) };
    LinkedHub { access: HubAccess::Remote(access), ..linked(name, 1) }
}

/// A draft that says nothing but how devices attest.
#[must_use]
pub fn draft(attestation: AttestationDraft) -> Draft {
    Draft {
        attestation,
        iot_edge: None,
        iot_hub_host_name: None,
        initial_twin: None,
        etag: None,
        provisioning_status: Sent::Absent,
        reprovision_policy: None,
        allocation_policy: None,
        iot_hubs: None,
        custom_allocation: None,
    }
}

/// Attestation by these keys.
#[must_use]
pub fn keys(primary: &SymmetricKey, secondary: &SymmetricKey) -> AttestationDraft {
    AttestationDraft::SymmetricKey {
        primary: Some(primary.clone()),
        secondary: Some(secondary.clone()),
    }
}

/// Attestation by these leaf certificates.
#[must_use]
pub fn client(primary: Option<&[u8]>, secondary: Option<&[u8]>) -> AttestationDraft {
    AttestationDraft::X509 {
        client: Some(slots(primary, secondary)),
        signing: None,
        ca_references: None,
    }
}

/// Attestation by chains to these certificates.
#[must_use]
pub fn signing(primary: Option<&[u8]>, secondary: Option<&[u8]>) -> AttestationDraft {
    AttestationDraft::X509 {
        client: None,
        signing: Some(slots(primary, secondary)),
        ca_references: None,
    }
}

/// Certificates in two slots.
#[must_use]
pub fn slots(primary: Option<&[u8]>, secondary: Option<&[u8]>) -> Slots<CertificateDraft> {
    let slot = |der: Option<&[u8]>| der.map(|der| CertificateDraft::Der(der.to_vec()));
    Slots { primary: slot(primary), secondary: slot(secondary) }
}

/// A register request with this evidence.
#[must_use]
pub fn request(id: &str, evidence: Evidence) -> RegisterRequest {
    RegisterRequest {
        registration_id: name::id(id),
        evidence,
        payload: None,
        api_version: model::ApiVersion::V2021_06_01,
    }
}

/// A chain as evidence.
#[must_use]
pub fn chain(certificates: Vec<CertificateDer>) -> Evidence {
    Evidence::X509(certificates)
}

/// A token of this key as evidence, in the style of most clients, valid for an hour.
#[must_use]
pub fn token(id: &str, key: &SymmetricKey) -> Evidence {
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: id,
        key,
        expiry_unix_secs: NOW.unix_secs() + 3600,
    };
    Evidence::Sas(token.parsed())
}

impl World {
    /// Puts an individual enrollment, whatever is there.
    pub fn enroll(&mut self, id: &str, draft: Draft) {
        let draft = IndividualDraft {
            registration_id: name::id(id),
            device_id: None,
            optional_device_information: None,
            draft,
        };
        self.enroll_as(draft);
    }

    /// Puts an individual enrollment, whatever is there.
    pub fn enroll_as(&mut self, draft: IndividualDraft) {
        let existing = self.individuals.get(draft.registration_id.key());
        let precondition = put_precondition(existing.is_some());
        let (usage, limits) = (Usage::default(), EnrollmentLimits::default());
        self.seed += 1;
        let written = enrollment::put_individual(
            existing,
            draft,
            &precondition,
            &usage,
            &limits,
            self.now,
            &fresh(self.seed),
        )
        .expect("a legal enrollment");
        self.apply(ChangeSet::new().with(Change::PutIndividual(Box::new(written))));
    }

    /// Puts a group, whatever is there.
    pub fn enroll_group(&mut self, id: &str, draft: Draft) {
        let existing = self.groups.get(name::group(id).key());
        let precondition = put_precondition(existing.is_some());
        let draft = GroupDraft { group_id: name::group(id), draft };
        let (usage, limits) = (Usage::default(), EnrollmentLimits::default());
        self.seed += 1;
        let written = enrollment::put_group(
            existing,
            draft,
            &precondition,
            &usage,
            &limits,
            self.now,
            &fresh(self.seed),
        )
        .expect("a legal group");
        self.apply(ChangeSet::new().with(Change::PutGroup(Box::new(written))));
    }

    /// Flips an enrollment's switch.
    pub fn switch(&mut self, id: &str, status: ProvisioningStatus) {
        let enrollment = self.individuals.get(name::id(id).key()).expect("enrolled");
        let mut written = enrollment.clone();
        written.terms.provisioning_status = Sent::Value(status);
        self.apply(ChangeSet::new().with(Change::PutIndividual(Box::new(written))));
    }

    /// Flips a group's switch.
    pub fn switch_group(&mut self, id: &str, status: ProvisioningStatus) {
        let mut written = self.groups.get(name::group(id).key()).expect("enrolled").clone();
        written.terms.provisioning_status = Sent::Value(status);
        self.apply(ChangeSet::new().with(Change::PutGroup(Box::new(written))));
    }

    /// Deletes an individual enrollment and its record, as the use case does.
    pub fn disenroll(&mut self, id: &str) {
        let id = name::id(id);
        self.apply(
            ChangeSet::new()
                .with(Change::DeleteIndividual(id.clone()))
                .with(Change::DeleteRecord(id)),
        );
    }

    /// Deletes a group.
    pub fn disenroll_group(&mut self, id: &str) {
        self.apply(ChangeSet::new().with(Change::DeleteGroup(name::group(id))));
    }

    /// Bans a subject, for good.
    pub fn ban(&mut self, subject: BanSubject, kind: BanKind) {
        let ban = Ban {
            subject,
            kind,
            reason: None,
            by: Caller { policy: "provisioningserviceowner".to_owned(), address: None },
            created: self.now,
            expires: None,
            receipt: None,
            version: 0,
        };
        self.apply(ChangeSet::new().with(Change::PutBan(Box::new(ban))));
    }

    /// Lifts the ban on a subject.
    pub fn lift(&mut self, subject: &BanSubject) {
        self.apply(ChangeSet::new().with(Change::DeleteBan(subject.key())));
    }

    /// Registers a device, and writes what was decided.
    pub fn register(&mut self, request: RegisterRequest) -> Decision {
        let prepared = match Prepared::new(request, &self.settings.attest.limits) {
            Ok(prepared) => prepared,
            Err(refusal) => return Decision::Refuse(refusal),
        };
        let facts = self.facts(&prepared.query());
        self.seed += 1;
        let random = fresh(self.seed);
        let decided = register::register(&facts, &prepared, &self.settings, self.now, &random);
        if let Decision::Settle(settlement) = &decided.answer {
            self.apply(settlement.changes.clone());
        }
        decided.answer
    }

    /// Reads facts the way a store does.
    #[must_use]
    pub fn facts(&self, query: &RegisterQuery) -> RegisterFacts {
        let key = query.registration_id.key();
        let individual = self.individuals.get(key).cloned();
        let record = self.records.get(key).cloned();
        let names: Vec<DeviceId> = record
            .iter()
            .filter_map(|record| record.assignment.as_ref().map(|a| a.device_id.clone()))
            .chain(individual.iter().filter_map(|e| e.device_id.clone()))
            .chain([DeviceId::from(&query.registration_id)])
            .collect();
        let (groups, cas) = self.groups_of(&query.groups);
        RegisterFacts {
            tpm_challenges: self.tpm_challenges.get(key).cloned().unwrap_or_default(),
            individual,
            groups: Arc::new(groups),
            ca_certificates: Arc::new(cas),
            groups_version: self.groups_version,
            record,
            grounds: self.grounds.get(key).cloned(),
            // A superset of what a store finds is as good: decisions look for what they mean.
            bans: self.bans.values().cloned().collect(),
            bans_version: self.bans_version,
            bans_expected: Expect::Bans(self.bans_version),
            crls: Vec::new(),
            devices: self
                .devices
                .iter()
                .filter(|((_, id), _)| names.iter().any(|n| n.is_same_name(id)))
                .map(|((hub, _), device)| (hub.clone(), device.clone()))
                .collect(),
            hubs: Arc::new(self.hubs.clone()),
            hubs_version: 0,
            n_registrations: self.records.len() as u64,
        }
    }

    /// The certificates of all CAs, of groups and of the CA store.
    fn known_cas(&self) -> Vec<EnrolledCertificate> {
        let of_groups = self.groups.values().flat_map(|group| match &group.terms.attestation {
            AttestationMechanism::X509Signing(slots) | AttestationMechanism::TpmIssuer(slots) => {
                slots.iter().cloned().collect()
            }
            _ => Vec::new(),
        });
        of_groups.chain(self.cas.values().map(|ca| ca.certificate.clone())).collect()
    }

    /// Reads the facts of a pending assignment the way a store does.
    #[must_use]
    pub fn pending_facts(&self, id: &RegistrationId) -> PendingFacts {
        let record = self.records.get(id.key()).cloned();
        let group = match record.as_ref().map(|record| &record.enrollment) {
            Some(EnrollmentRef::Group(group)) => self.groups.get(group.key()).cloned(),
            Some(EnrollmentRef::Individual(_)) | None => None,
        };
        let device_id = record
            .as_ref()
            .and_then(|record| record.pending.as_ref())
            .map(|pending| pending.assignment.device_id.clone());
        PendingFacts {
            individual: self.individuals.get(id.key()).cloned(),
            group,
            groups_version: self.groups_version,
            hubs: Arc::new(self.hubs.clone()),
            hubs_version: 0,
            grounds: self.grounds.get(id.key()).cloned(),
            bans: self.bans.values().cloned().collect(),
            known_cas: self.known_cas(),
            bans_version: self.bans_version,
            bans_expected: Expect::Bans(self.bans_version),
            crls: Vec::new(),
            devices: self
                .devices
                .iter()
                .filter(|((_, id), _)| Some(id) == device_id.as_ref())
                .map(|((hub, _), device)| (hub.clone(), device.clone()))
                .collect(),
            record,
        }
    }

    /// Applies a change set if its expectations hold, as a store does.
    ///
    /// # Errors
    /// When one does not hold; then nothing was written.
    pub fn commit(&mut self, set: ChangeSet) -> Result<(), Conflict> {
        if set.expects.iter().all(|expect| self.holds(expect)) {
            self.apply(set);
            Ok(())
        } else {
            Err(Conflict)
        }
    }

    fn groups_of(&self, query: &GroupQuery) -> (Vec<EnrollmentGroup>, Vec<CaCertificate>) {
        use model::AttestationMechanism as M;
        let groups = self.groups.values();
        match query {
            GroupQuery::ByCa { subjects } => self.groups_above(subjects),
            GroupQuery::BySymmetricKey => {
                // Those of waiting challenges are found as by their names: a superset again.
                let by_key = |g: &&EnrollmentGroup| {
                    matches!(g.terms.attestation, M::SymmetricKey(_) | M::TpmIssuer(_))
                };
                (groups.filter(by_key).cloned().collect(), Vec::new())
            }
            GroupQuery::None => (Vec::new(), Vec::new()),
        }
    }

    /// As a store finds them: by names, and again and again by the issuers of what was found.
    fn groups_above(&self, subjects: &[[u8; 32]]) -> (Vec<EnrollmentGroup>, Vec<CaCertificate>) {
        let mut names: BTreeSet<[u8; 32]> = subjects.iter().copied().collect();
        let refers = |group: &EnrollmentGroup, ca: &CaCertificate| match &group.terms.attestation {
            AttestationMechanism::X509CaReferences(of) => of.iter().any(|name| *name == ca.name),
            _ => false,
        };
        loop {
            let is_named = |one: &EnrolledCertificate| names.contains(&one.keys.subject);
            let groups: Vec<_> = self
                .groups
                .values()
                .filter(|group| {
                    let mut by_reference = self.cas.values().filter(|ca| refers(group, ca));
                    group.terms.attestation.own_certificates().any(is_named)
                        || by_reference.any(|ca| is_named(&ca.certificate))
                })
                .cloned()
                .collect();
            let is_found = |ca: &&CaCertificate| {
                is_named(&ca.certificate) || groups.iter().any(|group| refers(group, ca))
            };
            let cas: Vec<_> = self.cas.values().filter(is_found).cloned().collect();
            let before = names.len();
            let found = groups.iter().flat_map(|group| group.terms.attestation.own_certificates());
            let found =
                found.filter(|one| is_named(one)).chain(cas.iter().map(|ca| &ca.certificate));
            let issuers: Vec<[u8; 32]> = found.map(|one| one.keys.issuer).collect();
            names.extend(issuers);
            if names.len() == before {
                return (groups, cas);
            }
        }
    }

    /// Applies a change set; panics when an expectation does not hold.
    pub fn apply(&mut self, set: ChangeSet) {
        for expect in &set.expects {
            assert!(self.holds(expect), "{expect:?} does not hold");
        }
        self.version += 1;
        let version = self.version;
        for change in set.changes {
            match change {
                Change::PutIndividual(mut e) => {
                    e.terms.version = version;
                    self.individuals.insert(e.registration_id.key().to_owned(), *e);
                }
                Change::DeleteIndividual(id) => {
                    self.individuals.remove(id.key());
                }
                Change::PutGroup(mut g) => {
                    g.terms.version = version;
                    self.groups_version = version;
                    self.groups.insert(g.group_id.key().to_owned(), *g);
                }
                Change::DeleteGroup(id) => {
                    self.groups_version = version;
                    self.groups.remove(id.key());
                }
                Change::PutCaCertificate(ca) => {
                    self.groups_version = version;
                    self.cas.insert(ca.name.clone(), *ca);
                }
                Change::DeleteCaCertificate(name) => {
                    self.groups_version = version;
                    self.cas.remove(&name);
                }
                Change::PutRecord(mut record) => {
                    record.version = version;
                    self.records.insert(record.registration_id.key().to_owned(), *record);
                }
                Change::DeleteRecord(id) => {
                    self.records.remove(id.key());
                    self.grounds.remove(id.key());
                }
                Change::PutGrounds(id, grounds) => {
                    self.grounds.insert(id.key().to_owned(), *grounds);
                }
                Change::PutBan(mut ban) => {
                    self.bans_version = version;
                    ban.version = version;
                    self.bans.insert(ban.subject.key(), *ban);
                }
                Change::DeleteBan(key) => {
                    self.bans_version = version;
                    self.bans.remove(&key);
                }
                Change::PutDevice(hub, mut device) => {
                    device.identity.version = version;
                    device.twin.version = version;
                    self.devices.insert((hub, device.identity.device_id.clone()), *device);
                }
                Change::PutIdentity(hub, mut identity) => {
                    identity.version = version;
                    let at = (hub, identity.device_id.clone());
                    self.devices.get_mut(&at).expect("a device").identity = *identity;
                }
                Change::DeleteDevice(hub, id) => {
                    self.devices.remove(&(hub, id));
                }
                Change::PutTpmChallenge(challenge) => {
                    let key = challenge.registration_id.key().to_owned();
                    let waiting = self.tpm_challenges.entry(key).or_default();
                    let mut room = [model::MAX_TPM_CHALLENGES; 2];
                    waiting.insert(0, *challenge);
                    waiting.retain(|one| {
                        let room = &mut room[usize::from(one.enrolled_root)];
                        let stays = *room > 0;
                        *room = room.saturating_sub(1);
                        stays
                    });
                }
                Change::TrimTpmChallenges(before) => {
                    for waiting in self.tpm_challenges.values_mut() {
                        waiting.retain(|challenge| challenge.expires >= before);
                    }
                }
                Change::PutRemoval(mut removal) => {
                    removal.version = version;
                    let at = (removal.hub.clone(), removal.device_id.clone());
                    let earlier = self.removals.get(&at).filter(|one| one.report_to.is_some());
                    if let (None, Some(earlier)) = (&removal.report_to, earlier) {
                        removal.report_to.clone_from(&earlier.report_to);
                        if let RemoteTask::Disable { .. } = earlier.task {
                            removal.task = earlier.task.clone();
                        }
                    }
                    self.removals.insert(at, *removal);
                }
                Change::DeleteRemoval(hub, id) => {
                    self.removals.remove(&(hub, id));
                }
                other => panic!("the scenes never write {other:?}"),
            }
        }
    }

    fn holds(&self, expect: &Expect) -> bool {
        let device = |hub: &HubName, id: &DeviceId| self.devices.get(&(hub.clone(), id.clone()));
        match expect {
            Expect::Individual(id, version) => {
                self.individuals.get(id.key()).map_or(0, |e| e.terms.version) == *version
            }
            Expect::Group(id, version) => {
                self.groups.get(id.key()).map_or(0, |g| g.terms.version) == *version
            }
            Expect::Groups(version) => self.groups_version == *version,
            Expect::Bans(version) => self.bans_version == *version,
            Expect::Ban(key, version) => {
                self.bans.get(key).map_or(0, |ban| ban.version) == *version
            }
            Expect::Hubs(version) => *version == 0,
            Expect::Room { of: Counted::Registrations, limit } => {
                (self.records.len() as u64) < *limit
            }
            Expect::Room { of, .. } => panic!("the scenes never count {of:?}"),
            Expect::Record(id, version) => {
                self.records.get(id.key()).map_or(0, |r| r.version) == *version
            }
            Expect::Identity(hub, id, version) => {
                device(hub, id).map_or(0, |d| d.identity.version) == *version
            }
            Expect::Twin(hub, id, version) => {
                device(hub, id).map_or(0, |d| d.twin.version) == *version
            }
            Expect::Removal(hub, id, version) => {
                let at = (hub.clone(), id.clone());
                self.removals.get(&at).map_or(0, |removal| removal.version) == *version
            }
            other => panic!("the scenes never expect {other:?}"),
        }
    }
}

fn put_precondition(exists: bool) -> Precondition {
    if exists { Precondition::Any } else { Precondition::None }
}
