//! Changes that are only thought of: what is said of them is what comes of them.

mod agrees;

use std::collections::BTreeMap;

use decide::scenes;
use futures_util::future::join_all;
use induct_app::No;
use model::{
    ApiVersion, AttestationDraft, Change, ChangeDraft, ChangeSet, Draft, EnrollmentGroupId,
    EnrollmentRef, Evidence, GroupDraft, OperatorRefusal, Precondition, ProvisioningStatus,
    RegisterRequest, RegistrationId, RegistrationRecord, RegistrationStatus, Sent, SimulatedEffect,
    SimulatedEntry, SimulatedUnknown, Simulation, SimulationLimits, SimulationStop,
};
use store::Store;
use testkit::{ClientStyle, DeviceToken, NOW};

use crate::{
    instance::{SCOPE, by},
    stage::{Stage, key},
};

/// The key of all groups that have one.
const GROUP_KEY: u8 = 7;

fn registration(id: &str) -> RegistrationId {
    RegistrationId::parse(id).unwrap()
}

fn group_id(id: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(id).unwrap()
}

fn draft(attestation: AttestationDraft, status: Sent<ProvisioningStatus>) -> Draft {
    Draft { provisioning_status: status, ..scenes::draft(attestation) }
}

fn group(id: &str) -> GroupDraft {
    let keys = (Some(key(GROUP_KEY)), Some(key(GROUP_KEY)));
    let attestation = AttestationDraft::SymmetricKey { primary: keys.0, secondary: keys.1 };
    GroupDraft { group_id: group_id(id), draft: draft(attestation, Sent::Absent) }
}

/// The token of a device whose key is the one that the groups give it.
fn token(id: &str) -> Evidence {
    let key = testkit::sas::derive_device_key(&key(GROUP_KEY), id);
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: id,
        key: &key,
        expiry_unix_secs: NOW.unix_secs() + 36_000,
    };
    Evidence::Sas(token.parsed())
}

impl Stage {
    /// Registers: which entry admitted the device, if one did.
    async fn knock(&self, id: &str, evidence: Evidence) -> Option<EnrollmentRef> {
        let request = RegisterRequest {
            registration_id: registration(id),
            evidence,
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        match self.app.register(SCOPE, request).await {
            Ok(registered) => (registered.record.status == RegistrationStatus::Assigned)
                .then_some(registered.record.enrollment),
            Err(No::Refused(_)) => None,
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    async fn enroll_known_group(&self, id: &str) {
        self.app.put_group(group(id), &Precondition::None, &by()).await.unwrap();
    }

    /// What is said of a change, with all devices named.
    async fn try_simulate(&self, change: &ChangeDraft) -> Result<Simulation, OperatorRefusal> {
        let limits = SimulationLimits { max_named: 1_000, ..SimulationLimits::default() };
        self.simulate_within(change, limits).await
    }

    async fn simulate_within(
        &self,
        change: &ChangeDraft,
        limits: SimulationLimits,
    ) -> Result<Simulation, OperatorRefusal> {
        match self.app.simulate_change(change, &limits, &by()).await {
            Ok(told) => Ok(told),
            Err(No::Refused(refusal)) => Err(refusal),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    /// A group of so many devices, of which one registered, and one more by another group. The
    /// records of all others are from before grounds were kept.
    async fn a_full_group(&self, n: usize) {
        self.enroll_known_group("line-4").await;
        self.knock("line-4-0000", token("line-4-0000")).await.unwrap();
        let one = self.store.find_record(&registration("line-4-0000")).await.unwrap().unwrap();
        let mut changes = ChangeSet::new();
        for n in 1..n {
            let registration_id = registration(&format!("line-4-{n:04}"));
            let record = RegistrationRecord { registration_id, ..one.clone() };
            changes.changes.push(Change::PutRecord(Box::new(record)));
        }
        self.store.commit(changes).await.unwrap();
        self.enroll_known_group("root-2022").await;
    }
}

fn deleted(id: &str) -> ChangeDraft {
    ChangeDraft::DeleteGroup(group_id(id))
}

fn entry(id: &str) -> SimulatedEntry {
    SimulatedEntry::Group(group_id(id))
}

#[tokio::test]
async fn every_page_is_looked_at_and_what_was_not_kept_is_counted_as_unknown() {
    let stage = Stage::new().await;
    stage.a_full_group(450).await;
    let told = stage.try_simulate(&deleted("line-4")).await.unwrap();
    let moves = SimulatedEffect::Moves { from: entry("line-4"), to: entry("root-2022") };
    let unknown = SimulatedEffect::Unknown(SimulatedUnknown::NotKept);
    assert_eq!((told.n_devices, told.n_unchanged, told.stopped), (450, 0, None));
    assert_eq!(told.effects, [(unknown, 449), (moves.clone(), 1)]);
    assert_eq!(told.named[0], (registration("line-4-0000"), moves));
    assert_eq!(told.named.len(), 450);
}

#[tokio::test]
async fn it_stops_after_so_many_devices_and_so_long_and_says_so() {
    let stage = Stage::new().await;
    stage.a_full_group(10).await;
    let usual = SimulationLimits::default();
    let limits = SimulationLimits { max_devices: 4, max_named: 2, ..usual };
    let told = stage.simulate_within(&deleted("line-4"), limits).await.unwrap();
    assert_eq!((told.n_devices, told.stopped), (4, Some(SimulationStop::Devices)));
    assert_eq!((told.named.len(), told.count(|_| true)), (2, 4));
    // As many as there are is no reason to stop.
    let limits = SimulationLimits { max_devices: 10, ..usual };
    assert_eq!(stage.simulate_within(&deleted("line-4"), limits).await.unwrap().stopped, None);
    let limits = SimulationLimits { max_secs: 0, ..usual };
    let told = stage.simulate_within(&deleted("line-4"), limits).await.unwrap();
    assert_eq!((told.n_devices, told.stopped), (0, Some(SimulationStop::Time)));
}

#[tokio::test]
async fn no_more_than_a_few_run_at_once() {
    let stage = Stage::new().await;
    stage.a_full_group(300).await;
    let change = deleted("line-4");
    let all = join_all((0..20).map(|_| stage.try_simulate(&change))).await;
    let refused = |one: &Result<_, _>| matches!(one, Err(OperatorRefusal::Throttled(_)));
    assert!(all.iter().any(refused), "twenty at once");
    assert!(all.iter().any(Result::is_ok));
    // The places are free again.
    stage.try_simulate(&change).await.unwrap();
}

#[tokio::test]
async fn devices_that_would_come_under_an_entry_are_found_wherever_they_are() {
    let stage = Stage::new().await;
    stage.enroll_known_group("root-2022").await;
    for id in ["a", "b"] {
        stage.knock(id, token(id)).await.unwrap();
    }
    // A group whose ID comes first takes the devices over.
    let put = ChangeDraft::PutGroup(Box::new(group("line-4")));
    let told = stage.try_simulate(&put).await.unwrap();
    let moves = SimulatedEffect::Moves { from: entry("root-2022"), to: entry("line-4") };
    assert_eq!(told.effects, [(moves, 2)]);
    // They belong to it from then on, though no record says so.
    stage.enroll_known_group("line-4").await;
    let told = stage.try_simulate(&deleted("line-4")).await.unwrap();
    let moves = SimulatedEffect::Moves { from: entry("line-4"), to: entry("root-2022") };
    assert_eq!(told.effects, [(moves, 2)]);
    let told = stage.try_simulate(&deleted("root-2022")).await.unwrap();
    assert_eq!((told.n_devices, told.n_unchanged), (2, 2));
    let by_id: BTreeMap<_, _> =
        told.named.iter().map(|(id, effect)| (id.key().to_owned(), effect.clone())).collect();
    assert!(by_id.is_empty());
}
