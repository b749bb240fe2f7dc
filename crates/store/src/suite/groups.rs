//! Which groups are found for a registering device, and what else its facts hold.

use model::{
    CaCertificate, Change, ChangeSet, EnrollmentGroup, Expect, GroupQuery, RegisterFacts, Version,
};

use super::{
    Harness, conflicts,
    scene::{
        by_ca, ca_certificate, certificate, device, device_id, group_id, hub, individual, query,
        record_of_individual, referring_group, registration_id, signing_group, symmetric_key_group,
    },
    write,
};
use crate::Store;

/// Records, devices and individual enrollments do not move it; deletes of nothing neither.
pub async fn the_version_of_groups_moves_with_groups_and_ca_certificates_only(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    assert_eq!(groups_version(&store).await, 0);
    write(
        &store,
        [
            Change::PutIndividual(Box::new(individual("press-17"))),
            Change::PutRecord(Box::new(record_of_individual("press-17"))),
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17"))),
            Change::DeleteGroup(group_id("line-4")),
            Change::DeleteCaCertificate("root".to_owned()),
        ],
    )
    .await;
    assert_eq!(groups_version(&store).await, 0);
    let moves = [
        Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
        Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
        Change::PutCaCertificate(Box::new(stored("root", "root", "root"))),
        Change::DeleteGroup(group_id("line-4")),
        Change::DeleteCaCertificate("root".to_owned()),
    ];
    let mut last = 0;
    for change in moves {
        let change_set = ChangeSet::new().expecting(Expect::Groups(last)).with(change);
        store.commit(change_set).await.expect("no group has changed since");
        conflicts(&store, ChangeSet::new().expecting(Expect::Groups(last))).await;
        let now = groups_version(&store).await;
        assert!(now > last);
        last = now;
    }
}

/// The chain's names find the groups that keep a certificate of that name, all of them.
pub async fn groups_are_found_by_the_subjects_of_their_certificates(harness: &impl Harness) {
    let store = harness.open().await;
    write_groups(
        &store,
        [
            signing_group("Line-2", Some(certificate("ca-2", "root")), None),
            signing_group("line-1", Some(certificate("ca-1", "root")), None),
            signing_group("line-3", Some(certificate("ca-1", "elsewhere")), None),
            symmetric_key_group("keys"),
        ],
    )
    .await;
    check(&store, &["leaf", "ca-1"], &["line-1", "line-3"], &[]).await;
    check(&store, &["ca-2", "ca-1", "ca-2"], &["line-1", "Line-2", "line-3"], &[]).await;
    check(&store, &["leaf", "unknown"], &[], &[]).await;
    check(&store, &[], &[], &[]).await;
}

/// The secondary certificate counts as much as the primary.
pub async fn groups_are_found_by_both_slots(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, two) = (certificate("ca-1", "root"), certificate("ca-2", "root"));
    write_groups(
        &store,
        [
            signing_group("both", Some(one.clone()), Some(two.clone())),
            signing_group("primary", Some(one), None),
            signing_group("secondary", None, Some(two)),
        ],
    )
    .await;
    check(&store, &["ca-1"], &["both", "primary"], &[]).await;
    check(&store, &["ca-2"], &["both", "secondary"], &[]).await;
}

/// A device that presents only its leaf: the chain goes on in what we keep, group by group and
/// certificate by certificate.
pub async fn groups_are_found_through_the_issuers_of_stored_certificates(harness: &impl Harness) {
    let store = harness.open().await;
    write_groups(
        &store,
        [
            signing_group("plant", Some(certificate("plant-ca", "root")), None),
            signing_group("root", Some(certificate("root", "root")), None),
            signing_group("other", Some(certificate("other-root", "other-root")), None),
        ],
    )
    .await;
    let line = stored("line CA", "line-ca", "plant-ca");
    write(&store, [Change::PutCaCertificate(Box::new(line))]).await;
    check(&store, &["leaf", "line-ca"], &["plant", "root"], &["line CA"]).await;
    check(&store, &["leaf", "plant-ca"], &["plant", "root"], &[]).await;
    check(&store, &["leaf", "root"], &["root"], &[]).await;
}

/// Verified or not: whether it attests is decided elsewhere. The group's other certificate comes
/// along. Names compare exactly.
pub async fn groups_are_found_by_the_ca_certificates_they_refer_to(harness: &impl Harness) {
    let store = harness.open().await;
    let unverified = CaCertificate { verified: false, ..stored("Two", "ca-2", "root") };
    write(
        &store,
        [
            // The group comes before the certificate it names.
            Change::PutGroup(Box::new(referring_group("both", Some("One"), Some("Two")))),
            Change::PutGroup(Box::new(referring_group("second", None, Some("Two")))),
            Change::PutGroup(Box::new(referring_group("lower", Some("one"), None))),
            Change::PutGroup(Box::new(referring_group("dangling", Some("Three"), None))),
            Change::PutCaCertificate(Box::new(stored("One", "ca-1", "root"))),
            Change::PutCaCertificate(Box::new(unverified)),
            Change::PutCaCertificate(Box::new(stored("Lonely", "ca-9", "root"))),
        ],
    )
    .await;
    check(&store, &["ca-1"], &["both"], &["One", "Two"]).await;
    check(&store, &["ca-2"], &["both", "second"], &["One", "Two"]).await;
    check(&store, &["ca-9"], &[], &["Lonely"]).await;
    write(&store, [Change::DeleteCaCertificate("One".to_owned())]).await;
    check(&store, &["ca-1"], &[], &[]).await;
    check(&store, &["ca-2"], &["both", "second"], &["Two"]).await;
}

/// What finds a group follows the group.
pub async fn a_group_is_not_found_by_certificates_it_no_longer_has(harness: &impl Harness) {
    let store = harness.open().await;
    let ca = |name| Some(certificate(name, "root"));
    write_groups(&store, [signing_group("Line-4", ca("ca-1"), ca("ca-2"))]).await;
    write(&store, [Change::PutCaCertificate(Box::new(stored("Three", "ca-3", "root")))]).await;
    check(&store, &["ca-1"], &["Line-4"], &[]).await;
    write_groups(&store, [signing_group("line-4", ca("ca-2"), None)]).await;
    check(&store, &["ca-1"], &[], &[]).await;
    check(&store, &["ca-2"], &["line-4"], &[]).await;
    write_groups(&store, [referring_group("LINE-4", Some("Three"), None)]).await;
    check(&store, &["ca-2"], &[], &[]).await;
    check(&store, &["ca-3"], &["LINE-4"], &["Three"]).await;
    write(&store, [Change::PutCaCertificate(Box::new(stored("Three", "ca-4", "root")))]).await;
    check(&store, &["ca-3"], &[], &[]).await;
    check(&store, &["ca-4"], &["LINE-4"], &["Three"]).await;
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    check(&store, &["ca-4"], &[], &["Three"]).await;
}

/// Cross-signed CAs lead to each other; the search ends all the same.
pub async fn a_circle_of_issuers_ends(harness: &impl Harness) {
    let store = harness.open().await;
    write(
        &store,
        [
            Change::PutCaCertificate(Box::new(stored("A", "ca-a", "ca-b"))),
            Change::PutCaCertificate(Box::new(stored("B", "ca-b", "ca-c"))),
            Change::PutCaCertificate(Box::new(stored("C", "ca-c", "ca-a"))),
            Change::PutGroup(Box::new(referring_group("line-4", Some("C"), None))),
        ],
    )
    .await;
    check(&store, &["ca-a"], &["line-4"], &["A", "B", "C"]).await;
}

/// No earlier answer is given for a later state.
pub async fn symmetric_key_groups_are_those_of_the_moment(harness: &impl Harness) {
    let store = harness.open().await;
    let check = async |expected: &[&str]| {
        let facts = facts(&store, GroupQuery::BySymmetricKey).await;
        assert_eq!(ids(&facts), expected);
        assert!(facts.ca_certificates.is_empty());
        for group in facts.groups.iter() {
            let found = store.find_group(&group.group_id).await.expect("group");
            assert_eq!(found.as_ref(), Some(group));
        }
    };
    check(&[]).await;
    write_groups(&store, [symmetric_key_group("B"), symmetric_key_group("a")]).await;
    check(&["a", "B"]).await;
    let mut disabled = symmetric_key_group("b");
    disabled.terms.provisioning_status = model::Sent::Value(model::ProvisioningStatus::Disabled);
    write_groups(&store, [disabled]).await;
    check(&["a", "b"]).await;
    let facts = facts(&store, GroupQuery::BySymmetricKey).await;
    assert!(!facts.groups[1].terms.is_enabled());
    write_groups(&store, [signing_group("a", Some(certificate("ca", "ca")), None)]).await;
    check(&["b"]).await;
    write(&store, [Change::DeleteGroup(group_id("b"))]).await;
    check(&[]).await;
}

/// The record's device ID, the enrollment's, and the registration ID as it was presented; each
/// on every hub, in any letter case, none twice.
pub async fn facts_hold_the_devices_of_three_names_on_all_hubs(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    let mut enrollment = individual("press-17");
    enrollment.device_id = Some(device_id("enrolled-name"));
    let mut record = record_of_individual("press-17");
    record.assignment.as_mut().expect("assigned").device_id = device_id("recorded-name");
    let put = |hub: &model::HubName, name| Change::PutDevice(hub.clone(), Box::new(device(name)));
    write(
        &store,
        [
            Change::PutIndividual(Box::new(enrollment)),
            Change::PutRecord(Box::new(record)),
            put(&one, "recorded-name"),
            put(&two, "recorded-name"),
            put(&two, "enrolled-name"),
            put(&one, "PRESS-17"),
            put(&one, "press-17"),
            put(&one, "bystander"),
        ],
    )
    .await;
    let facts = store.register_facts(query("PRESS-17", GroupQuery::None)).await.expect("facts");
    assert_eq!(facts.n_registrations, 1);
    assert!(facts.individual.is_some() && facts.record.is_some());
    let mut found: Vec<(&str, &str)> = facts
        .devices
        .iter()
        .map(|(hub, device)| (hub.as_str(), device.identity.device_id.as_str()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("hub-1.test", "PRESS-17"),
        ("hub-1.test", "press-17"),
        ("hub-1.test", "recorded-name"),
        ("hub-2.test", "enrolled-name"),
        ("hub-2.test", "recorded-name"),
    ];
    assert_eq!(found, expected);
}

/// Parts that are always written together are never seen apart.
pub async fn facts_are_one_snapshot(harness: &impl Harness) {
    let store = harness.open().await;
    let written = |n: i64| {
        let at = model::Timestamp::from_unix_secs(n);
        let mut enrollment = individual("press-17");
        enrollment.terms.last_updated = at;
        let mut record = record_of_individual("press-17");
        record.last_updated = at;
        let mut device = device("press-17");
        device.identity.status_updated = Some(at);
        let mut group = symmetric_key_group("line-4");
        group.terms.last_updated = at;
        [
            Change::PutIndividual(Box::new(enrollment)),
            Change::PutRecord(Box::new(record)),
            Change::PutDevice(hub("hub-1.test"), Box::new(device)),
            Change::PutGroup(Box::new(group)),
        ]
    };
    write(&store, written(0)).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=150 {
                write(&store, written(n)).await;
            }
        })
    };
    let mut last_seen = None;
    loop {
        let last_round = writer.is_finished();
        let query = query("press-17", GroupQuery::BySymmetricKey);
        let facts = store.register_facts(query).await.expect("facts");
        let at = facts.individual.expect("enrolled").terms.last_updated;
        assert_eq!(facts.record.expect("registered").last_updated, at);
        assert_eq!(facts.devices[0].1.identity.status_updated, Some(at));
        assert_eq!(facts.groups[0].terms.last_updated, at);
        assert!(last_seen <= Some(at));
        last_seen = Some(at);
        if last_round {
            break;
        }
    }
    writer.await.expect("written");
    assert_eq!(last_seen, Some(model::Timestamp::from_unix_secs(150)));
    // The same holds without registering.
    let facts = store.individual_facts(&registration_id("press-17")).await.expect("facts");
    assert!(facts.enrollment.is_some() && facts.record.is_some());
}

/// Asks by the names in a chain; expects these groups and these CA certificates.
async fn check(store: &impl Store, chain: &[&str], groups: &[&str], certificates: &[&str]) {
    let facts = facts(store, by_ca(chain)).await;
    assert_eq!(ids(&facts), groups, "groups of {chain:?}");
    let names: Vec<&str> = facts.ca_certificates.iter().map(|ca| ca.name.as_str()).collect();
    assert_eq!(names, certificates, "CA certificates of {chain:?}");
}

async fn facts(store: &impl Store, groups: GroupQuery) -> RegisterFacts {
    store.register_facts(query("leaf", groups)).await.expect("facts")
}

fn ids(facts: &RegisterFacts) -> Vec<&str> {
    facts.groups.iter().map(|group| group.group_id.as_str()).collect()
}

async fn groups_version(store: &impl Store) -> Version {
    facts(store, GroupQuery::None).await.groups_version
}

async fn write_groups(store: &impl Store, groups: impl IntoIterator<Item = EnrollmentGroup>) {
    write(store, groups.into_iter().map(|group| Change::PutGroup(Box::new(group)))).await;
}

fn stored(name: &str, subject: &str, issuer: &str) -> CaCertificate {
    ca_certificate(name, certificate(subject, issuer))
}
