//! The service's settings, linked hubs, work that waits, and the audit log.

use std::sync::Arc;

use model::{
    AllocationPolicy, AuditFilter, AuditLine, Change, ChangeSet, EnrollmentRef, Expect, GroupQuery,
    HubAccess, IpAction, IpNetwork, IpRule, IpTarget, PolicyScope, RegistrationRecord, Right,
    Timestamp,
};

use super::{
    Harness, conflicts,
    scene::{
        audit_entry, ca_certificate, certificate, device, device_id, group_id, hub, individual,
        linked_hub, pending_record, policy, query, record_of_group, referring_group,
        registration_id, remote_hub, removal, symmetric_key_group,
    },
    write,
};
use crate::{Store, audit, first_settings};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

/// `hashed` and open to everyone, at version 0.
pub async fn a_store_that_was_told_nothing_answers_the_first_settings(harness: &impl Harness) {
    let store = harness.open().await;
    let facts = store.service_facts().await.expect("facts");
    assert_eq!((facts.settings, facts.hubs, facts.version), (first_settings(), vec![], 0));
    let facts = store.register_facts(query("press-17", GroupQuery::None)).await.expect("facts");
    assert_eq!(facts.hubs.allocation_policy, AllocationPolicy::Hashed);
    assert_eq!((facts.hubs.hubs.len(), facts.hubs_version), (0, 0));
    let expects_nothing = ChangeSet::new().expecting(Expect::Hubs(0));
    store.commit(expects_nothing).await.expect("there is nothing yet");
}

/// The rules keep their order and every bit; the last write stays, also after reopening.
pub async fn settings_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let rule = |name: &str, action, address: &str, prefix, target| IpRule {
        name: name.to_owned(),
        action,
        network: IpNetwork { address: address.parse().expect("an address"), prefix },
        target,
    };
    let mut settings = first_settings();
    settings.allocation_policy = AllocationPolicy::GeoLatency;
    settings.operator_api_on_loopback_only = true;
    settings.disenroll_ends_sessions = true;
    settings.ip_rules = vec![
        rule("Z \"quoted\"", IpAction::Accept, "10.1.0.0", 16, IpTarget::DeviceApi),
        rule("a", IpAction::Reject, "2001:db8::", 32, IpTarget::ServiceApi),
        rule("m", IpAction::Reject, "::", 0, IpTarget::All),
    ];
    settings.last_updated = at(5);
    write(&store, [Change::PutServiceSettings(Box::new(first_settings()))]).await;
    write(&store, [Change::PutServiceSettings(Box::new(settings.clone()))]).await;
    assert_eq!(store.service_facts().await.expect("facts").settings, settings);
    harness.close(store).await;
    let store = harness.open().await;
    assert_eq!(store.service_facts().await.expect("facts").settings, settings);
    let facts = store.register_facts(query("press-17", GroupQuery::None)).await.expect("facts");
    assert_eq!(facts.hubs.allocation_policy, AllocationPolicy::GeoLatency);
}

/// A registration sees the hubs of the moment, never those of a moment before.
pub async fn linked_hubs_are_those_of_the_moment(harness: &impl Harness) {
    let store = harness.open().await;
    let check = |expected: Vec<&'static str>| {
        let store = store.clone();
        async move {
            for _ in 0..2 {
                let query = query("press-17", GroupQuery::None);
                let facts = store.register_facts(query).await.expect("facts");
                let names: Vec<_> = facts.hubs.hubs.iter().map(|hub| hub.name.as_str()).collect();
                assert_eq!(names, expected);
                let service = store.service_facts().await.expect("facts");
                assert_eq!(service.hubs, facts.hubs.hubs);
                assert_eq!(service.version, facts.hubs_version);
            }
        }
    };
    check(vec![]).await;
    write(&store, [Change::PutLinkedHub(Box::new(linked_hub("b.test")))]).await;
    check(vec!["b.test"]).await;
    write(&store, [Change::PutLinkedHub(Box::new(remote_hub("a.test")))]).await;
    check(vec!["a.test", "b.test"]).await;
    let mut changed = remote_hub("a.test");
    changed.weight = 0;
    write(&store, [Change::PutLinkedHub(Box::new(changed.clone()))]).await;
    check(vec!["a.test", "b.test"]).await;
    let found = store.service_facts().await.expect("facts").hubs.remove(0);
    changed.version = found.version;
    assert_eq!(found, changed);
    assert!(matches!(&found.access, HubAccess::Remote(remote) if remote.port == Some(8443)));
    write(&store, [Change::DeleteLinkedHub(hub("b.test"))]).await;
    check(vec!["a.test"]).await;
    // A built-in hub's registry stays when it is unlinked.
    write(&store, [Change::PutDevice(hub("a.test"), Box::new(device("press-17")))]).await;
    write(&store, [Change::DeleteLinkedHub(hub("a.test"))]).await;
    let device = store.find_device(&hub("a.test"), &device_id("press-17")).await.expect("device");
    assert!(device.is_some());
}

/// Hubs and settings move it; nothing else does, and a delete of nothing does not.
pub async fn the_version_of_hubs_moves_with_hubs_and_settings_only(harness: &impl Harness) {
    let store = harness.open().await;
    let version = || async { store.service_facts().await.expect("facts").version };
    let mut last = version().await;
    for change in [
        Change::PutLinkedHub(Box::new(linked_hub("a.test"))),
        Change::PutLinkedHub(Box::new(linked_hub("a.test"))),
        Change::PutServiceSettings(Box::new(first_settings())),
        Change::DeleteLinkedHub(hub("a.test")),
    ] {
        write(&store, [change.clone()]).await;
        let now = version().await;
        assert!(now > last, "{change:?}");
        let stale = ChangeSet::new().expecting(Expect::Hubs(last));
        conflicts(&store, stale).await;
        let current = ChangeSet::new().expecting(Expect::Hubs(now));
        store.commit(current).await.expect("it is so");
        last = now;
    }
    for change in [
        Change::DeleteLinkedHub(hub("a.test")),
        Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
        Change::PutRecord(Box::new(pending_record("press-17", at(1)))),
        Change::PutRemoval(Box::new(removal("a.test", "press-17", at(1)))),
        Change::PutPolicy(Box::new(policy(PolicyScope::Service, "owner", &[Right::ServiceConfig]))),
        Change::Audit(Box::new(audit_entry("policy.create", "policies/owner"))),
    ] {
        write(&store, [change.clone()]).await;
        assert_eq!(version().await, last, "{change:?}");
    }
    harness.close(store).await;
    let store = harness.open().await;
    assert_eq!(store.service_facts().await.expect("facts").version, last);
}

/// CA certificates, policies and removals have versions that grow and are compared.
pub async fn ca_certificates_policies_and_removals_are_expected_by_version(harness: &impl Harness) {
    let store = harness.open().await;
    let (there, gone) = (hub("far.test"), device_id("press-17"));
    let put = || {
        let root = ca_certificate("root", certificate("root", "root"));
        let owner = policy(PolicyScope::Hub(hub("a.test")), "owner", &[Right::RegistryWrite]);
        [
            Change::PutCaCertificate(Box::new(root)),
            Change::PutPolicy(Box::new(owner)),
            Change::PutRemoval(Box::new(removal("far.test", "press-17", at(1)))),
        ]
    };
    let expects = |[ca, policy, removal]: [u64; 3]| {
        let scope = PolicyScope::Hub(hub("a.test"));
        [
            Expect::CaCertificate("root".to_owned(), ca),
            Expect::Policy(scope, "owner".to_owned(), policy),
            Expect::Removal(there.clone(), gone.clone(), removal),
        ]
    };
    let versions = || async {
        let ca = store.find_ca_certificate("root").await.expect("read");
        let scope = PolicyScope::Hub(hub("a.test"));
        let policy = store.find_policy(&scope, "owner").await.expect("read");
        let removals = store.due_removals(at(9), 9).await.expect("read");
        [
            ca.map_or(0, |ca| ca.version),
            policy.map_or(0, |policy| policy.version),
            removals.first().map_or(0, |removal| removal.version),
        ]
    };
    let check = |now: [u64; 3], stale: [u64; 3]| {
        let (now, stale, store) = (expects(now), expects(stale), store.clone());
        async move {
            let current = ChangeSet { expects: now.into(), changes: vec![] };
            store.commit(current).await.expect("it is so");
            for expect in stale {
                conflicts(&store, ChangeSet::new().expecting(expect)).await;
            }
        }
    };
    let mut last = [0; 3];
    for _ in 0..3 {
        write(&store, put()).await;
        let now = versions().await;
        assert!(now.iter().zip(last).all(|(now, last)| *now > last), "{now:?} {last:?}");
        check(now, last).await;
        last = now;
    }
    let deletions = [
        Change::DeleteCaCertificate("root".to_owned()),
        Change::DeletePolicy(PolicyScope::Hub(hub("a.test")), "owner".to_owned()),
        Change::DeleteRemoval(there.clone(), gone.clone()),
    ];
    write(&store, deletions.clone()).await;
    // A second time nothing happens.
    write(&store, deletions).await;
    assert_eq!(versions().await, [0; 3]);
    check([0; 3], last).await;
}

/// By name; and the groups that would no longer attest without one, by ID.
pub async fn ca_certificates_are_listed_with_the_groups_that_refer_to_them(harness: &impl Harness) {
    let store = harness.open().await;
    assert_eq!(store.list_ca_certificates().await.expect("listed"), vec![]);
    let stored = |name: &str| {
        Change::PutCaCertificate(Box::new(ca_certificate(name, certificate(name, "root"))))
    };
    let group = |id: &str, primary, secondary| {
        Change::PutGroup(Box::new(referring_group(id, primary, secondary)))
    };
    write(
        &store,
        [
            stored("line-b"),
            stored("Line-a"),
            stored("line-a"),
            group("two", Some("line-a"), Some("line-b")),
            group("One", None, Some("line-a")),
            group("twice", Some("line-b"), Some("line-b")),
            group("absent", Some("nowhere"), None),
            Change::PutGroup(Box::new(symmetric_key_group("keys"))),
        ],
    )
    .await;
    let names = || async {
        let listed = store.list_ca_certificates().await.expect("listed");
        listed.into_iter().map(|ca| ca.name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["Line-a", "line-a", "line-b"]);
    let check = |name: &'static str, expected: &'static [&'static str]| {
        let store = store.clone();
        async move {
            let groups = store.groups_referring_to(name).await.expect("listed");
            let ids: Vec<&str> = groups.iter().map(|group| group.group_id.as_str()).collect();
            assert_eq!(ids, expected, "{name}");
        }
    };
    check("line-a", &["One", "two"]).await;
    check("line-b", &["twice", "two"]).await;
    check("Line-a", &[]).await;
    check("nowhere", &["absent"]).await;
    write(
        &store,
        [Change::DeleteCaCertificate("line-a".to_owned()), group("two", None, Some("x"))],
    )
    .await;
    assert_eq!(names().await, ["Line-a", "line-b"]);
    check("line-a", &["One"]).await;
    check("line-b", &["twice"]).await;
}

/// What is due is found, the longest due first, and no longer once it has settled.
pub async fn what_is_due_is_found_in_its_turn(harness: &impl Harness) {
    let store = harness.open().await;
    assert_eq!(store.next_due().await.expect("read"), None);
    let put = |record: RegistrationRecord| Change::PutRecord(Box::new(record));
    write(
        &store,
        [
            put(pending_record("Late", at(30))),
            put(pending_record("early", at(10))),
            put(pending_record("middle", at(20))),
            put(record_of_group("settled", "line-4")),
            Change::PutRemoval(Box::new(removal("far.test", "gone-b", at(15)))),
            Change::PutRemoval(Box::new(removal("far.test", "gone-a", at(5)))),
        ],
    )
    .await;
    let check =
        |now: i64, limit, assignments: &'static [&'static str], removals: &'static [&str]| {
            let store = store.clone();
            async move {
                let found = store.due_assignments(at(now), limit).await.expect("read");
                let ids: Vec<&str> = found.iter().map(model::RegistrationId::as_str).collect();
                assert_eq!(ids, assignments, "at {now}");
                let found = store.due_removals(at(now), limit).await.expect("read");
                let ids: Vec<&str> = found.iter().map(|found| found.device_id.as_str()).collect();
                assert_eq!(ids, removals, "at {now}");
            }
        };
    let next = || async { store.next_due().await.expect("read").map(Timestamp::unix_secs) };
    check(4, 9, &[], &[]).await;
    check(10, 9, &["early"], &["gone-a"]).await;
    check(30, 9, &["early", "middle", "Late"], &["gone-a", "gone-b"]).await;
    check(30, 1, &["early"], &["gone-a"]).await;
    assert_eq!(next().await, Some(5));
    write(&store, [Change::DeleteRemoval(hub("far.test"), device_id("gone-a"))]).await;
    assert_eq!(next().await, Some(10));
    // One waits longer, one has settled, one is gone.
    let mut settled = pending_record("middle", at(20));
    settled.pending = None;
    write(
        &store,
        [
            put(pending_record("early", at(40))),
            put(settled),
            Change::DeleteRecord(registration_id("late")),
        ],
    )
    .await;
    check(39, 9, &[], &["gone-b"]).await;
    check(40, 9, &["early"], &["gone-b"]).await;
    assert_eq!(next().await, Some(15));
    harness.close(store).await;
    let store = harness.open().await;
    assert_eq!(store.next_due().await.expect("read"), Some(at(15)));
}

/// Record, enrollment or group, hubs and devices, of one moment.
pub async fn pending_facts_hold_all_that_an_assignment_goes_on_with(harness: &impl Harness) {
    let store = harness.open().await;
    let id = registration_id("press-17");
    let none = store.pending_facts(&id).await.expect("facts");
    assert_eq!((none.record, none.individual, none.group), (None, None, None));
    assert!(none.devices.is_empty());
    let mut of_group = pending_record("press-17", at(1));
    of_group.enrollment = EnrollmentRef::Group(group_id("line-4"));
    write(
        &store,
        [
            Change::PutRecord(Box::new(of_group.clone())),
            Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
            Change::PutGroup(Box::new(symmetric_key_group("line-5"))),
            Change::PutLinkedHub(Box::new(linked_hub("hub-1.test"))),
            Change::PutLinkedHub(Box::new(remote_hub("far.test"))),
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17"))),
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-18"))),
        ],
    )
    .await;
    let facts = store.pending_facts(&id).await.expect("facts");
    let record = facts.record.expect("it is there");
    of_group.version = record.version;
    assert_eq!(record, of_group);
    assert_eq!(facts.group.expect("it decided").group_id, group_id("line-4"));
    assert_eq!(facts.individual, None);
    let registering = store.register_facts(query("press-17", GroupQuery::None)).await;
    let registering = registering.expect("facts");
    assert_eq!(facts.groups_version, registering.groups_version);
    assert_eq!((facts.hubs, facts.hubs_version), (registering.hubs, registering.hubs_version));
    let devices: Vec<_> =
        facts.devices.iter().map(|(_, device)| device.identity.device_id.as_str()).collect();
    assert_eq!(devices, ["press-17"]);
    write(
        &store,
        [
            Change::PutIndividual(Box::new(individual("PRESS-17"))),
            Change::DeleteGroup(group_id("line-4")),
        ],
    )
    .await;
    let facts = store.pending_facts(&id).await.expect("facts");
    assert!(facts.individual.is_some() && facts.group.is_none());
}

/// Numbers without a gap, each line chained to the one before, also after reopening, and a
/// change set that is not written leaves no line.
pub async fn the_audit_log_is_one_chain(harness: &impl Harness) {
    let mut store = harness.open().await;
    assert_eq!(store.audit_head().await.expect("read"), audit::BEGINNING);
    let entry =
        |n: usize| Change::Audit(Box::new(audit_entry("enrollment.update", &n.to_string())));
    for round in 0..3 {
        write(&store, [entry(round * 10), entry(round * 10 + 1)]).await;
        let lost = ChangeSet::new().with(entry(99)).expecting(Expect::Hubs(7));
        conflicts(&store, lost).await;
        // This one fails after its line was appended.
        let hub = hub("hub-1.test");
        let nobody = Change::PutIdentity(hub, Box::new(device("nobody").identity));
        conflicts(&store, ChangeSet::new().with(entry(99)).with(nobody)).await;
        write(&store, [entry(round * 10 + 2)]).await;
        harness.close(store).await;
        store = harness.open().await;
    }
    let lines = all_lines(&store, &AuditFilter::default()).await;
    let targets: Vec<&str> = lines.iter().map(|line| line.entry.target.as_str()).collect();
    assert_eq!(targets, ["0", "1", "2", "10", "11", "12", "20", "21", "22"]);
    let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    let end = audit::verify(&lines, audit::BEGINNING).expect("a whole chain");
    assert_eq!(store.audit_head().await.expect("read"), end);
}

/// Many at a time: still no gap.
pub async fn concurrent_audit_lines_leave_no_gap(harness: &impl Harness) {
    let store = harness.open().await;
    let task = |n: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..8 {
                let entry = audit_entry("enrollment.update", &n.to_string());
                write(&store, [Change::Audit(Box::new(entry))]).await;
            }
        })
    };
    let tasks: Vec<_> = (0..16).map(task).collect();
    for task in tasks {
        task.await.expect("written");
    }
    let lines = all_lines(&store, &AuditFilter::default()).await;
    let end = audit::verify(&lines, audit::BEGINNING).expect("a whole chain");
    assert_eq!(end.0, 128);
    assert_eq!(store.audit_head().await.expect("read"), end);
}

/// Each filter alone and together, page by page.
pub async fn audit_lines_are_filtered(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |policy: &str, action: &str, target: &str, secs| {
        let mut entry = audit_entry(action, target);
        entry.by.policy = policy.to_owned();
        entry.at = at(secs);
        Change::Audit(Box::new(entry))
    };
    write(
        &store,
        [
            put("owner", "enrollment.create", "enrollments/a", 10),
            put("owner", "enrollment.update", "enrollments/a", 20),
            put("reader", "enrollment.update", "enrollments/b", 30),
            put("owner", "enrollmentGroup.update", "enrollmentGroups/a", 40),
            put("owner", "enrollm%.u_date", "enrollments/a", 50),
        ],
    )
    .await;
    let check = |filter: AuditFilter, expected: &'static [u64]| {
        let store = store.clone();
        async move {
            let lines = all_lines(&store, &filter).await;
            let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
            assert_eq!(numbers, expected, "{filter:?}");
        }
    };
    let all = AuditFilter::default;
    let text = |text: &str| Some(text.to_owned());
    check(all(), &[1, 2, 3, 4, 5]).await;
    check(AuditFilter { policy: text("owner"), ..all() }, &[1, 2, 4, 5]).await;
    check(AuditFilter { policy: text("OWNER"), ..all() }, &[]).await;
    check(AuditFilter { action: text("enrollment."), ..all() }, &[1, 2, 3]).await;
    check(AuditFilter { action: text("enrollment"), ..all() }, &[1, 2, 3, 4]).await;
    check(AuditFilter { action: text("enrollm%"), ..all() }, &[5]).await;
    check(AuditFilter { action: text(""), ..all() }, &[1, 2, 3, 4, 5]).await;
    check(AuditFilter { target: text("enrollments/a"), ..all() }, &[1, 2, 5]).await;
    check(AuditFilter { since: Some(at(20)), until: Some(at(40)), ..all() }, &[2, 3]).await;
    let together = AuditFilter {
        policy: text("owner"),
        action: text("enrollment"),
        target: text("enrollments/a"),
        since: Some(at(11)),
        until: Some(at(99)),
    };
    check(together, &[2]).await;
    let rest = store.list_audit(&all(), Some(3), 9).await.expect("listed");
    assert_eq!(rest.iter().map(|line| line.number).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(store.list_audit(&all(), Some(u64::MAX), 9).await.expect("listed"), vec![]);
}

/// What a registration reads twice at one version is one and the same.
pub async fn hubs_are_parsed_once_for_one_version(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [Change::PutLinkedHub(Box::new(remote_hub("far.test")))]).await;
    let facts = || async {
        store.register_facts(query("press-17", GroupQuery::None)).await.expect("facts")
    };
    let (first, second) = (facts().await, facts().await);
    assert!(Arc::ptr_eq(&first.hubs, &second.hubs));
    write(&store, [Change::PutLinkedHub(Box::new(remote_hub("far.test")))]).await;
    let third = facts().await;
    assert!(third.hubs_version > second.hubs_version);
    assert!(!Arc::ptr_eq(&second.hubs, &third.hubs));
}

/// All lines, two at a time.
async fn all_lines(store: &impl Store, filter: &AuditFilter) -> Vec<AuditLine> {
    let mut lines: Vec<AuditLine> = Vec::new();
    loop {
        let after = lines.last().map(|line| line.number);
        let page = store.list_audit(filter, after, 2).await.expect("listed");
        assert!(page.len() <= 2);
        if page.is_empty() {
            return lines;
        }
        lines.extend(page);
    }
}
