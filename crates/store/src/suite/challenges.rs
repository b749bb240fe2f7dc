//! Challenges to TPMs, which are answered by another request than the one that asked.

use model::{Change, GroupQuery, MAX_TPM_CHALLENGES, RegisterFacts, Timestamp, TpmChallenge};

use super::{
    Harness, assert_same,
    scene::{
        by_ca, ca_certificate, certificate, challenge, group_id, individual, query,
        registration_id, signing_group, symmetric_key_group, tpm_group,
    },
    values, write,
};
use crate::Store;

/// In every part, the key included; under the name in any letter case.
pub async fn challenges_read_back_as_they_were_written(harness: &impl Harness) {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };
    let store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..64 {
        let written = values::tpm_challenges().new_tree(&mut runner).expect("a value").current();
        write(&store, [put(written.clone())]).await;
        let upper = written.registration_id.as_str().to_ascii_uppercase();
        for spelling in [written.registration_id.as_str(), &upper] {
            let facts = facts(&store, spelling, GroupQuery::None).await;
            let found = facts.tpm_challenges.first().expect("the latest one comes first");
            assert_same(found, &written);
            assert_eq!(found.key.reveal(), written.key.reveal());
        }
    }
}

/// The latest ones, the latest first; nobody's take the place of anybody else's.
pub async fn the_latest_challenges_of_a_name_stay(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put(challenge("press-18", 99, &[], at(1)))]).await;
    for n in 1..=12_u8 {
        // Their times do not decide which ones stay.
        let name = if n % 2 == 0 { "press-17" } else { "PRESS-17" };
        write(&store, [put(challenge(name, n, &[], at(100 - i64::from(n))))]).await;
        let expected: Vec<u8> = (1..=n).rev().take(MAX_TPM_CHALLENGES).collect();
        assert_eq!(seeds(&facts(&store, "press-17", GroupQuery::None).await), expected);
    }
    assert_eq!(seeds(&facts(&store, "press-18", GroupQuery::None).await), [99]);
    // Several of one change set, in its order.
    let several = (20..25).map(|n| put(challenge("press-17", n, &[], at(5))));
    write(&store, several).await;
    assert_eq!(seeds(&facts(&store, "press-17", GroupQuery::None).await), [24, 23]);
}

/// Those to an enrolled storage root key are counted apart: nothing that others ask takes their
/// place, nor they that of others.
pub async fn challenges_to_an_enrolled_storage_root_key_stay(harness: &impl Harness) {
    let store = harness.open().await;
    let mut expected = [Vec::new(), Vec::new()];
    for n in 1..=16_u8 {
        let enrolled_root = [4, 5, 11].contains(&n);
        let asked = TpmChallenge { enrolled_root, ..challenge("press-17", n, &[], at(50)) };
        write(&store, [put(asked)]).await;
        let stay = &mut expected[usize::from(enrolled_root)];
        stay.push(n);
        stay.drain(..stay.len().saturating_sub(MAX_TPM_CHALLENGES));
        let mut all = expected.concat();
        all.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(seeds(&facts(&store, "press-17", GroupQuery::None).await), all);
    }
    assert_eq!(expected, [vec![15, 16], vec![5, 11]]);
}

/// Those that were over before the moment, and no others.
pub async fn challenges_are_forgotten_when_their_time_is_over(harness: &impl Harness) {
    let store = harness.open().await;
    let written = [("a", 1, 10), ("a", 2, 30), ("b", 3, 20), ("c", 4, 40)];
    let put = |(name, seed, secs)| put(challenge(name, seed, &[], at(secs)));
    write(&store, written.map(put)).await;
    let waiting = async || {
        let mut all = Vec::new();
        for name in ["a", "b", "c"] {
            all.extend(seeds(&facts(&store, name, GroupQuery::None).await));
        }
        all
    };
    let cases: [(i64, &[u8]); 5] =
        [(10, &[2, 1, 3, 4]), (11, &[2, 3, 4]), (20, &[2, 3, 4]), (31, &[4]), (99, &[])];
    for (moment, expected) in cases {
        write(&store, [Change::TrimTpmChallenges(at(moment))]).await;
        assert_eq!(waiting().await, expected, "at {moment}");
    }
    // And new ones come after.
    write(&store, [put(("a", 5, 100))]).await;
    assert_eq!(waiting().await, [5]);
}

/// A challenge is no part of an enrollment: it may be asked before there is one, and what it was
/// asked about may be gone when the answer comes. Its time ends it.
pub async fn challenges_come_and_go_without_enrollments(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put(challenge("press-17", 1, &["line-4"], at(10)))]).await;
    write(&store, [Change::PutIndividual(Box::new(individual("press-17")))]).await;
    write(&store, [Change::DeleteIndividual(registration_id("press-17"))]).await;
    assert_eq!(seeds(&facts(&store, "press-17", GroupQuery::None).await), [1]);
    assert_eq!(store.usage().await.expect("usage"), model::Usage::default());
}

/// A token may be a TPM's answer: so the groups of its certificates come along with those that
/// keys are derived from, in the order of their IDs, each once.
pub async fn groups_are_found_by_the_names_of_waiting_challenges(harness: &impl Harness) {
    let store = harness.open().await;
    let put_group = |group| Change::PutGroup(Box::new(group));
    write(
        &store,
        [
            put_group(tpm_group("b-vendor", certificate("vendor-ca", "vendor-root"))),
            put_group(tpm_group("e-root", certificate("vendor-root", "vendor-root"))),
            put_group(tpm_group("f-other", certificate("other-ca", "other-root"))),
            put_group(signing_group("d-line", Some(certificate("line-ca", "root")), None)),
            put_group(symmetric_key_group("c-keys")),
            put_group(symmetric_key_group("A-keys")),
            Change::PutCaCertificate(Box::new(ca_certificate(
                "line",
                certificate("line-ca", "root"),
            ))),
        ],
    )
    .await;
    let ids = async |name: &str, groups: GroupQuery| -> Vec<String> {
        let facts = facts(&store, name, groups).await;
        facts.groups.iter().map(|group| group.group_id.as_str().to_owned()).collect()
    };
    let keys = ["A-keys", "c-keys"];
    assert_eq!(ids("tpm", GroupQuery::BySymmetricKey).await, keys);
    write(&store, [put(challenge("tpm", 1, &["leaf", "vendor-ca"], at(10)))]).await;
    let with_vendor = ["A-keys", "b-vendor", "c-keys", "e-root"];
    assert_eq!(ids("TPM", GroupQuery::BySymmetricKey).await, with_vendor);
    assert_eq!(ids("another", GroupQuery::BySymmetricKey).await, keys);
    assert!(ids("tpm", GroupQuery::None).await.is_empty());
    assert_eq!(ids("tpm", by_ca(&["vendor-ca"])).await, ["b-vendor", "e-root"]);
    // By both of two challenges, as long as they are there; found as by a chain of these names.
    write(&store, [put(challenge("tpm", 2, &["line-ca", "other-ca"], at(30)))]).await;
    let with_both = ["A-keys", "b-vendor", "c-keys", "d-line", "e-root", "f-other"];
    assert_eq!(ids("tpm", GroupQuery::BySymmetricKey).await, with_both);
    write(&store, [Change::TrimTpmChallenges(at(20)), Change::DeleteGroup(group_id("f-other"))])
        .await;
    let found = ids("tpm", GroupQuery::BySymmetricKey).await;
    assert_eq!(found, ["A-keys", "c-keys", "d-line"]);
    assert_eq!(ids("another", GroupQuery::BySymmetricKey).await, keys);
}

/// They count as groups with certificates, which they are.
pub async fn groups_of_tpms_count_as_groups_with_certificates(harness: &impl Harness) {
    let store = harness.open().await;
    let counts = async || {
        let usage = store.usage().await.expect("usage");
        (usage.x509_groups, usage.symmetric_key_groups)
    };
    let vendor = || tpm_group("vendor", certificate("vendor-ca", "vendor-ca"));
    write(&store, [Change::PutGroup(Box::new(vendor()))]).await;
    assert_eq!(counts().await, (1, 0));
    write(&store, [Change::PutGroup(Box::new(vendor()))]).await;
    assert_eq!(counts().await, (1, 0));
    let found = store.find_group(&group_id("Vendor")).await.expect("read").expect("there");
    assert_same(&found.terms.attestation, &vendor().terms.attestation);
    write(&store, [Change::DeleteGroup(group_id("vendor"))]).await;
    assert_eq!(counts().await, (0, 0));
}

fn put(challenge: TpmChallenge) -> Change {
    Change::PutTpmChallenge(Box::new(challenge))
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

/// Which challenges these are, by the first byte of their endorsement keys.
fn seeds(facts: &RegisterFacts) -> Vec<u8> {
    facts.tpm_challenges.iter().map(|challenge| challenge.endorsement_key[0]).collect()
}

async fn facts(store: &impl Store, name: &str, groups: GroupQuery) -> RegisterFacts {
    store.register_facts(query(name, groups)).await.expect("facts")
}
