//! Change sets: all or nothing, from the versions they were decided from, and exactly as written.

use std::sync::Arc;

use model::{
    AuditFilter, Change, ChangeSet, ConnectQuery, Counted, Expect, HubAccess, HubName, LinkedHub,
    PolicyScope, RegistrationRecord, Right, Version,
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        ca_certificate, certificate, device, device_id, group_id, hub, individual, never_connected,
        policy, record_of_individual, registration_id, symmetric_key_group, twin,
    },
    values, write,
};
use crate::{CommitError, Store};

/// How many values of each kind are written and read back.
const N_VALUES: usize = 48;

/// A change that cannot be made takes those before it along.
pub async fn a_change_set_is_all_or_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let change_set = ChangeSet::new()
        .with(Change::PutIndividual(Box::new(individual("press-17"))))
        .with(Change::PutGroup(Box::new(symmetric_key_group("line-4"))))
        .with(Change::PutRecord(Box::new(record_of_individual("press-17"))))
        .with(Change::PutDevice(hub.clone(), Box::new(device("press-17"))))
        .with(Change::PutInstanceSetting { name: "id_scope".into(), value: "0ne1".into() })
        // There is no such device, so there is no twin to replace.
        .with(Change::PutTwin(hub.clone(), device_id("press-18"), Box::new(twin())));
    conflicts(&store, change_set).await;
    let id = registration_id("press-17");
    assert_eq!(store.individual_facts(&id).await.expect("facts").enrollment, None);
    assert_eq!(store.find_group(&group_id("line-4")).await.expect("group"), None);
    assert_eq!(store.find_record(&id).await.expect("record"), None);
    assert_eq!(store.find_device(&hub, &device_id("press-17")).await.expect("device"), None);
    assert_eq!(store.instance_setting("id_scope").await.expect("setting"), None);
    assert_eq!(store.usage().await.expect("usage"), model::Usage::default());
    assert_eq!(store.device_counts(&hub).await.expect("counts").total, 0);
}

/// A limit is compared at the commit, and counts what was written a moment before, in the same
/// physical transaction too.
pub async fn of_many_that_need_the_last_room_one_gets_it(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [Change::PutRecord(Box::new(record_of_individual("first")))]).await;
    let limited = |n: usize| {
        ChangeSet::new()
            .expecting(Expect::Room { of: Counted::Registrations, limit: 2 })
            .with(Change::PutRecord(Box::new(record_of_individual(&format!("press-{n}")))))
    };
    let mut won = 0;
    let store = Arc::new(store);
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (store, change_set) = (Arc::clone(&store), limited(n));
            tokio::spawn(async move { store.commit(change_set).await })
        })
        .collect();
    for writer in writers {
        match writer.await.expect("joined") {
            Ok(()) => won += 1,
            Err(CommitError::Conflict) => {}
            Err(CommitError::Fault(fault)) => panic!("{fault:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.usage().await.expect("usage").registrations, 2);
}

/// Whatever is expected and has changed: nothing is written, the answer is `Conflict`.
pub async fn a_stale_expectation_writes_nothing_and_conflicts(harness: &impl Harness) {
    let store = harness.open().await;
    let at = write_one_of_each(&store).await;
    // The same again: every row has a new version now.
    write_one_of_each(&store).await;
    for stale in at.expectations() {
        let change_set = ChangeSet::new()
            .expecting(stale)
            .with(Change::PutRecord(Box::new(record_of_individual("another"))));
        conflicts(&store, change_set).await;
        let record = store.find_record(&registration_id("another")).await.expect("record");
        assert_eq!(record, None);
    }
    let now = Versions::read(&store).await;
    let mut change_set = ChangeSet::new();
    change_set.expects = now.expectations().into();
    store.commit(change_set).await.expect("what is expected is so");
}

/// Both read, both decide, both write: the second one to come must read again.
pub async fn of_two_change_sets_decided_from_one_version_one_wins(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [Change::PutRecord(Box::new(record_of_individual("press-17")))]).await;
    for _ in 0..20 {
        let id = registration_id("press-17");
        let version = store.find_record(&id).await.expect("record").expect("it is there").version;
        let attempt = || {
            let change_set = ChangeSet::new()
                .expecting(Expect::Record(registration_id("press-17"), version))
                .with(Change::PutRecord(Box::new(record_of_individual("press-17"))));
            let store = store.clone();
            tokio::spawn(async move { store.commit(change_set).await })
        };
        let (one, other) = (attempt(), attempt());
        let outcomes = [one.await.expect("joined"), other.await.expect("joined")];
        let n_written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let n_conflicts =
            outcomes.iter().filter(|o| matches!(o, Err(CommitError::Conflict))).count();
        assert_eq!((n_written, n_conflicts), (1, 1), "{outcomes:?}");
    }
}

/// Whoever rests on what an identity was assigned by sees records come, change and go.
pub async fn expecting_the_records_of_an_identity_conflicts_with_any_other(harness: &impl Harness) {
    let store = harness.open().await;
    let assigned = async || {
        let query = ConnectQuery {
            hub: hub("hub-1.test"),
            device_id: device_id("press-17"),
            policy: None,
            with_ca_certificates: false,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        store.connect_facts(&query).await.expect("facts").assigned
    };
    let of_identity = |id: &str| {
        let assignment = record_of_individual("press-17").assignment;
        RegistrationRecord { assignment, ..record_of_individual(id) }
    };
    let put = |id: &str| Change::PutRecord(Box::new(of_identity(id)));
    let mut before = assigned().await;
    assert_eq!(before, Vec::<u64>::new());
    for (change, n_after) in [
        (put("press-17"), 1),
        (put("another"), 2),
        (put("another"), 2),
        (Change::DeleteRecord(registration_id("press-17")), 1),
    ] {
        write(&store, [change]).await;
        let now = assigned().await;
        assert_eq!(now.len(), n_after, "{now:?}");
        let expecting = |versions: &[u64]| {
            let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
            store.commit(ChangeSet::new().expecting(Expect::Assigned(hub, id, versions.to_vec())))
        };
        assert!(matches!(expecting(&before).await, Err(CommitError::Conflict)), "{before:?}");
        expecting(&now).await.expect("it is so");
        before = now;
    }
    // A record of another identity is nothing to it.
    write(&store, [Change::PutRecord(Box::new(record_of_individual("stranger")))]).await;
    assert_eq!(assigned().await, before);
}

/// Version 0 expects that there is no such row.
pub async fn expecting_absence_conflicts_with_presence(harness: &impl Harness) {
    let store = harness.open().await;
    let absent = Versions::default();
    let mut change_set = ChangeSet::new();
    change_set.expects = absent.expectations().into();
    store.commit(change_set).await.expect("nothing is there, as expected");
    write_one_of_each(&store).await;
    for expect in absent.expectations() {
        conflicts(&store, ChangeSet::new().expecting(expect)).await;
    }
}

/// What was there when it was decided may be gone.
pub async fn expecting_presence_conflicts_with_absence(harness: &impl Harness) {
    let store = harness.open().await;
    let at = write_one_of_each(&store).await;
    write(&store, deletions()).await;
    for expect in at.expectations() {
        conflicts(&store, ChangeSet::new().expecting(expect)).await;
    }
}

/// Deleting and inserting does not bring an old version back.
pub async fn a_row_made_anew_has_a_new_version(harness: &impl Harness) {
    let store = harness.open().await;
    let mut before = write_one_of_each(&store).await;
    for _ in 0..3 {
        write(&store, deletions()).await;
        assert_eq!(Versions::read(&store).await.rows(), [0; 6]);
        let after = write_one_of_each(&store).await;
        for (old, new) in before.rows().into_iter().zip(after.rows()) {
            assert!(new > old, "{before:?} {after:?}");
        }
        before = after;
    }
}

/// An identity's write leaves its twin's version alone, and the other way round.
pub async fn a_write_stamps_the_rows_it_writes_and_no_others(harness: &impl Harness) {
    let store = harness.open().await;
    let before = write_one_of_each(&store).await;
    let hub = hub("hub-1.test");
    let identity = device("press-17").identity;
    write(&store, [Change::PutIdentity(hub.clone(), Box::new(identity))]).await;
    let after = Versions::read(&store).await;
    assert!(after.identity > before.identity);
    assert_eq!(Versions { identity: before.identity, ..after }, before);

    let before = after;
    let id = device_id("press-17");
    write(&store, [Change::PutTwin(hub.clone(), id.clone(), Box::new(twin()))]).await;
    let after = Versions::read(&store).await;
    assert!(after.twin > before.twin);
    assert_eq!(Versions { twin: before.twin, ..after }, before);

    let before = after;
    write(&store, [Change::PutRecord(Box::new(record_of_individual("press-17")))]).await;
    let after = Versions::read(&store).await;
    assert!(after.record > before.record);
    assert_eq!(Versions { record: before.record, ..after }, before);
}

/// Whoever replaces an identity or a twin has seen a device; when it is gone, that is a conflict.
pub async fn replacing_a_part_of_no_device_conflicts(harness: &impl Harness) {
    let store = harness.open().await;
    let (here, there) = (hub("hub-1.test"), hub("hub-2.test"));
    write(&store, [Change::PutDevice(here, Box::new(device("press-17")))]).await;
    let identity = Box::new(device("press-17").identity);
    conflicts(&store, ChangeSet::new().with(Change::PutIdentity(there.clone(), identity))).await;
    let change = Change::PutTwin(there.clone(), device_id("press-17"), Box::new(twin()));
    conflicts(&store, ChangeSet::new().with(change)).await;
    assert_eq!(store.find_device(&there, &device_id("press-17")).await.expect("device"), None);
}

/// A delete of nothing succeeds and counts nothing.
pub async fn deleting_what_is_not_there_changes_nothing(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, deletions()).await;
    assert_eq!(store.usage().await.expect("usage"), model::Usage::default());
    let counts = store.device_counts(&hub("hub-1.test")).await.expect("counts");
    assert_eq!(counts, model::DeviceCounts::default());
    assert_eq!(Versions::read(&store).await, Versions::default());
}

/// Of two writes to one row in one set the later one stays.
pub async fn changes_of_one_set_are_made_in_order(harness: &impl Harness) {
    let store = harness.open().await;
    let id = registration_id("press-17");
    let put = || Change::PutRecord(Box::new(record_of_individual("press-17")));
    write(&store, [put(), Change::DeleteRecord(id.clone())]).await;
    assert_eq!(store.find_record(&id).await.expect("record"), None);
    write(&store, [Change::DeleteRecord(id.clone()), put()]).await;
    assert!(store.find_record(&id).await.expect("record").is_some());
    write(&store, [put(), Change::DeleteRecord(id.clone()), put()]).await;
    assert_eq!(store.usage().await.expect("usage").registrations, 1);
}

/// The first value stays, also within one change set.
pub async fn an_instance_setting_is_never_overwritten(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |value: &str| Change::PutInstanceSetting {
        name: "id_scope".to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(store.instance_setting("id_scope").await.expect("setting"), None);
    write(&store, [put("0ne00000001"), put("0ne00000002")]).await;
    write(&store, [put("0ne00000003")]).await;
    let setting = store.instance_setting("id_scope").await.expect("setting");
    assert_eq!(setting.as_deref(), Some("0ne00000001"));
    assert_eq!(store.instance_setting("ID_SCOPE").await.expect("setting"), None);
}

/// The service's policies and each hub's are apart, listed by name, and compared exactly.
pub async fn policies_are_replaced_by_scope_and_name(harness: &impl Harness) {
    let store = harness.open().await;
    let scopes = [
        PolicyScope::Service,
        PolicyScope::Hub(hub("hub-1.test")),
        PolicyScope::Hub(hub("hub-2.test")),
    ];
    for scope in &scopes[..2] {
        for name in ["owner", "device", "Device"] {
            let policy = policy(scope.clone(), name, &[Right::DeviceConnect]);
            write(&store, [Change::PutPolicy(Box::new(policy))]).await;
        }
    }
    let mut replaced = policy(scopes[1].clone(), "device", &[Right::RegistryWrite]);
    write(&store, [Change::PutPolicy(Box::new(replaced.clone()))]).await;
    for (scope, expected) in
        scopes.iter().zip([&["Device", "device", "owner"][..], &["Device", "device", "owner"], &[]])
    {
        let policies = store.list_policies(scope).await.expect("policies");
        let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, expected);
        assert!(policies.iter().all(|policy| policy.scope == *scope));
    }
    let found = store.find_policy(&scopes[1], "device").await.expect("policy").expect("written");
    replaced.version = found.version;
    assert_eq!(found, replaced);
    let kept = store.find_policy(&scopes[0], "device").await.expect("policy").expect("kept");
    assert!(kept.rights.allow(Right::DeviceConnect) && !kept.rights.allow(Right::RegistryWrite));
    assert_eq!(store.find_policy(&scopes[2], "device").await.expect("policy"), None);
    assert_eq!(store.find_policy(&scopes[0], "OWNER").await.expect("policy"), None);
}

/// Every value of every kind, in every letter: spelling of ids, numbers of any length, absent
/// members, nulls, control characters, counters of 64 bits.
pub async fn everything_reads_back_as_it_was_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    for mut written in samples(values::individuals(), &mut runner) {
        write(&store, [Change::PutIndividual(Box::new(written.clone()))]).await;
        let found = store.individual_facts(&written.registration_id).await.expect("facts");
        let found = found.enrollment.expect("it was written");
        written.terms.version = found.terms.version;
        assert_same(&found, &written);
    }
    for mut written in samples(values::groups(), &mut runner) {
        write(&store, [Change::PutGroup(Box::new(written.clone()))]).await;
        let found = store.find_group(&written.group_id).await.expect("group").expect("written");
        written.terms.version = found.terms.version;
        assert_same(&found, &written);
    }
    for mut written in samples(values::ca_certificates(), &mut runner) {
        write(&store, [Change::PutCaCertificate(Box::new(written.clone()))]).await;
        let found = store.find_ca_certificate(&written.name).await.expect("found");
        let found = found.expect("it was written");
        written.version = found.version;
        assert_same(&found, &written);
    }
    for mut written in samples(values::records(), &mut runner) {
        write(&store, [Change::PutRecord(Box::new(written.clone()))]).await;
        let found = store.find_record(&written.registration_id).await.expect("record");
        let found = found.expect("it was written");
        written.version = found.version;
        assert_same(&found, &written);
    }
    for (hub, mut written) in samples((values::hubs(), values::devices()), &mut runner) {
        write(&store, [Change::PutDevice(hub.clone(), Box::new(written.clone()))]).await;
        let id = written.identity.device_id.clone();
        let found = store.find_device(&hub, &id).await.expect("device").expect("written");
        written.identity.version = found.identity.version;
        written.twin.version = found.twin.version;
        written.identity = never_connected(written.identity);
        assert_same(&found, &written);
    }
    for mut written in samples(values::policies(), &mut runner) {
        write(&store, [Change::PutPolicy(Box::new(written.clone()))]).await;
        let found = store.find_policy(&written.scope, &written.name).await.expect("policy");
        let found = found.expect("it was written");
        written.version = found.version;
        assert_same(&found, &written);
    }
    for mut written in samples(values::linked_hubs(), &mut runner) {
        write(&store, [Change::PutLinkedHub(Box::new(written.clone()))]).await;
        let found = store.service_facts().await.expect("facts").hubs;
        let found = found.into_iter().find(|hub| hub.name == written.name).expect("written");
        written.version = found.version;
        assert_same(&found, &written);
        assert_same(&keys_of(&found), &keys_of(&written));
    }
    for mut written in samples(values::bans(), &mut runner) {
        write(&store, [Change::PutBan(Box::new(written.clone()))]).await;
        let found = store.find_ban(&written.subject.key()).await.expect("ban").expect("written");
        written.version = found.version;
        assert_same(&found, &written);
    }
    for (record, written) in samples((values::records(), values::grounds()), &mut runner) {
        let id = record.registration_id.clone();
        let put = Change::PutGrounds(id.clone(), Box::new(written.clone()));
        write(&store, [Change::PutRecord(Box::new(record)), put]).await;
        assert_same(&store.find_grounds(&id).await.expect("grounds"), &Some(written));
    }
    for written in samples(values::audit_entries(), &mut runner) {
        write(&store, [Change::Audit(Box::new(written.clone()))]).await;
        let (number, _) = store.audit_head().await.expect("read");
        let filter = AuditFilter::default();
        let mut lines = store.list_audit(&filter, Some(number - 1), 2).await.expect("listed");
        assert_same(&lines.remove(0).entry, &written);
    }
}

/// What `Debug` does not show.
fn keys_of(hub: &LinkedHub) -> Option<String> {
    match &hub.access {
        HubAccess::BuiltIn => None,
        HubAccess::Remote(remote) => Some(remote.key.reveal().to_owned()),
    }
}

fn samples<S: Strategy>(strategy: S, runner: &mut TestRunner) -> Vec<S::Value> {
    let sample = |_| strategy.new_tree(&mut *runner).expect("a value").current();
    (0..N_VALUES).map(sample).collect()
}

/// The versions of `press-17` in all its parts, of `line-4`, and of the groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Versions {
    individual: Version,
    group: Version,
    groups: Version,
    record: Version,
    identity: Version,
    twin: Version,
    ca_certificate: Version,
}

impl Versions {
    async fn read(store: &impl Store) -> Self {
        let id = registration_id("press-17");
        let hub = hub("hub-1.test");
        let facts = store.individual_facts(&id).await.expect("facts");
        let group = store.find_group(&group_id("line-4")).await.expect("group");
        let query = super::scene::query("press-17", model::GroupQuery::None);
        let groups = store.register_facts(query).await.expect("facts").groups_version;
        let device = store.find_device(&hub, &device_id("press-17")).await.expect("device");
        let ca_certificate = store.find_ca_certificate("root").await.expect("certificate");
        Self {
            individual: facts.enrollment.map_or(0, |enrollment| enrollment.terms.version),
            group: group.map_or(0, |group| group.terms.version),
            groups,
            record: facts.record.map_or(0, |record| record.version),
            identity: device.as_ref().map_or(0, |device| device.identity.version),
            twin: device.as_ref().map_or(0, |device| device.twin.version),
            ca_certificate: ca_certificate.map_or(0, |certificate| certificate.version),
        }
    }

    /// Those of rows; the groups' version stays when the last group goes.
    const fn rows(&self) -> [Version; 6] {
        let Self { individual, group, record, identity, twin, ca_certificate, .. } = *self;
        [individual, group, record, identity, twin, ca_certificate]
    }

    fn expectations(&self) -> [Expect; 6] {
        let id = registration_id("press-17");
        let (hub, device): (HubName, _) = (hub("hub-1.test"), device_id("press-17"));
        [
            Expect::Individual(id.clone(), self.individual),
            Expect::Group(group_id("line-4"), self.group),
            Expect::Groups(self.groups),
            Expect::Record(id, self.record),
            Expect::Identity(hub.clone(), device.clone(), self.identity),
            Expect::Twin(hub, device, self.twin),
        ]
    }
}

async fn write_one_of_each(store: &impl Store) -> Versions {
    let root = ca_certificate("root", certificate("root", "root"));
    write(
        store,
        [
            Change::PutIndividual(Box::new(individual("press-17"))),
            Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
            Change::PutCaCertificate(Box::new(root)),
            Change::PutRecord(Box::new(record_of_individual("press-17"))),
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17"))),
        ],
    )
    .await;
    Versions::read(store).await
}

fn deletions() -> [Change; 5] {
    [
        Change::DeleteIndividual(registration_id("press-17")),
        Change::DeleteGroup(group_id("line-4")),
        Change::DeleteCaCertificate("root".to_owned()),
        Change::DeleteRecord(registration_id("press-17")),
        Change::DeleteDevice(hub("hub-1.test"), device_id("press-17")),
    ]
}
