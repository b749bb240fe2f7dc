//! Bans: kept, expected, listed, and found with the facts they decide about.

use model::{
    Ban, BanSubject, Change, ChangeSet, ConnectQuery, Expect, GroupQuery, RegisterFacts,
    RegisterQuery, Timestamp,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        ban, ban_on, ban_on_ca, by_ca, ca_certificate, certificate, challenge, device, device_id,
        grounds, hub, individual, name_hash, pending_record, query, record_of_group,
        referring_group, registration_id, signing_group, symmetric_key_group,
    },
    write,
};
use crate::{CommitError, Store};

/// There is one ban for a subject; a new one takes its place.
pub async fn bans_are_found_by_their_keys_and_listed_in_their_order(harness: &impl Harness) {
    let store = harness.open().await;
    let subjects = || {
        [
            ban_on("b"),
            ban_on("a"),
            ban_on_ca("works", "root"),
            ban(BanSubject::by_sha256([7; 32])),
            ban(BanSubject::by_sha1([7; 20])),
            ban(BanSubject::EndorsementKey([7; 32])),
            ban(BanSubject::Serial {
                issuer: [7; 32],
                issuer_name: "CN=works".to_owned(),
                serial: "A1".to_owned(),
            }),
        ]
    };
    write(&store, subjects().map(put)).await;
    let mut keys: Vec<String> = subjects().iter().map(|ban| ban.subject.key()).collect();
    keys.sort();
    let mut listed = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_bans(after.as_deref(), 3).await.expect("listed");
        assert!(page.items.len() <= 3);
        listed.extend(page.items.iter().map(|ban| ban.subject.key()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, keys);
    for written in subjects() {
        let found = store.find_ban(&written.subject.key()).await.expect("read").expect("there");
        assert_same(&Ban { version: 0, ..found }, &written);
    }

    // The spelling of an ID does not matter, and its new one is kept.
    let over = Ban { expires: Some(Timestamp::from_unix_secs(1)), reason: None, ..ban_on("A") };
    write(&store, [put(over.clone())]).await;
    let key = ban_on("a").subject.key();
    let found = store.find_ban(&key).await.expect("read").expect("there");
    assert_same(&Ban { version: 0, ..found }, &over);
    assert_eq!(store.list_bans(None, 100).await.expect("listed").items.len(), keys.len());
    write(&store, [Change::DeleteBan(key.clone())]).await;
    assert_eq!(store.find_ban(&key).await.expect("read"), None);
    let left = store.list_bans(None, 100).await.expect("listed");
    assert_eq!((left.items.len(), left.next), (keys.len() - 1, None));
}

/// Nothing else moves it, a delete of nothing neither.
pub async fn the_version_of_bans_moves_with_bans_only(harness: &impl Harness) {
    let store = harness.open().await;
    write(
        &store,
        [
            Change::PutIndividual(Box::new(individual("press-17"))),
            Change::PutGroup(Box::new(symmetric_key_group("line-4"))),
            Change::PutRecord(Box::new(record_of_group("press-17", "line-4"))),
            Change::PutGrounds(registration_id("press-17"), Box::new(grounds(&["leaf"]))),
            Change::DeleteBan("registration:press-17".to_owned()),
        ],
    )
    .await;
    let mut last = 0;
    for change in [
        put(ban_on("press-17")),
        put(ban_on("press-17")),
        Change::DeleteBan(ban_on("press-17").subject.key()),
    ] {
        let change_set = ChangeSet::new().expecting(Expect::Bans(last)).with(change);
        store.commit(change_set).await.expect("no ban has changed since");
        conflicts(&store, ChangeSet::new().expecting(Expect::Bans(last))).await;
        let facts = facts(&store, query("x", GroupQuery::None)).await;
        assert!(facts.bans_version > last);
        last = facts.bans_version;
        let connect = store.connect_facts(&connect_query("x")).await.expect("facts");
        assert_eq!(connect.bans_version, last);
    }
    harness.close(store).await;
    let store = harness.open().await;
    store.commit(ChangeSet::new().expecting(Expect::Bans(last))).await.expect("still the same");
    write(&store, [put(ban_on("press-18"))]).await;
    conflicts(&store, ChangeSet::new().expecting(Expect::Bans(last))).await;
}

/// 0 expects that there is none.
pub async fn a_ban_is_expected_by_its_version(harness: &impl Harness) {
    let store = harness.open().await;
    let key = ban_on("press-17").subject.key();
    let expecting = |version| {
        ChangeSet::new().expecting(Expect::Ban(key.clone(), version)).with(put(ban_on("press-17")))
    };
    conflicts(&store, expecting(1)).await;
    store.commit(expecting(0)).await.expect("there is none");
    conflicts(&store, expecting(0)).await;
    let version = store.find_ban(&key).await.expect("read").expect("there").version;
    store.commit(expecting(version)).await.expect("it is that one");
    conflicts(&store, expecting(version)).await;
}

/// A ban committed after the facts were read wins over what was decided from them.
pub async fn of_a_ban_and_what_was_decided_without_it_the_ban_wins(harness: &impl Harness) {
    let store = harness.open().await;
    let decided = async || {
        let facts = facts(&store, query("press-17", GroupQuery::None)).await;
        ChangeSet::new()
            .expecting(facts.bans_expected)
            .with(Change::PutRecord(Box::new(record_of_group("press-17", "line-4"))))
    };
    // There was none at all, and there is one now.
    for ban in [ban_on("press-17"), ban_on_ca("anything", "root")] {
        let before = decided().await;
        let lifted = Change::DeleteBan(ban.subject.key());
        write(&store, [put(ban)]).await;
        conflicts(&store, before).await;
        write(&store, [lifted]).await;
    }
}

/// Set, set again or lifted: by every key that was asked for, and on CAs whoever they are about.
pub async fn a_ban_on_whoever_was_decided_about_is_seen_by_every_decision(harness: &impl Harness) {
    let store = harness.open().await;
    write_scene(&store).await;
    let leaf = &grounds(&PATH).path[0];
    for ban in [
        ban_on("PRESS-17"),
        ban(BanSubject::by_sha256(leaf.sha256)),
        ban(BanSubject::by_sha1(leaf.sha1)),
        // The same certificate with its signature written in another way.
        ban(BanSubject::Certificate { sha256: [9; 32], tbs: Some(leaf.tbs) }),
        ban(BanSubject::CertificateSha1 { sha1: [9; 20], tbs: Some(leaf.tbs) }),
        serial(leaf.issuer, &leaf.serial),
        ban_on_ca("line-ca", "root"),
        ban_on_ca("anything", "root"),
    ] {
        let lifted = Change::DeleteBan(ban.subject.key());
        for change in [put(ban.clone()), put(ban.clone()), lifted] {
            let decided = decided(&store).await;
            write(&store, [change.clone()]).await;
            for (who, set) in decided {
                assert!(!commits(&store, set).await, "{who} overlooks {change:?}");
            }
        }
    }
    let tpm = ban(BanSubject::EndorsementKey(ENDORSEMENT_KEY));
    let lifted = Change::DeleteBan(tpm.subject.key());
    for change in [put(tpm.clone()), put(tpm.clone()), lifted] {
        let [registering, connecting, _waiting] = decided(&store).await;
        write(&store, [change]).await;
        conflicts(&store, registering.1).await;
        conflicts(&store, connecting.1).await;
    }
}

/// Of a fleet that is deprovisioned device by device, the others notice nothing.
pub async fn a_ban_on_somebody_else_disturbs_no_decision(harness: &impl Harness) {
    let store = harness.open().await;
    write_scene(&store).await;
    for ban in [
        ban_on("press-18"),
        ban(BanSubject::by_sha256([9; 32])),
        ban(BanSubject::Certificate { sha256: [9; 32], tbs: Some([9; 32]) }),
        ban(BanSubject::CertificateSha1 { sha1: [9; 20], tbs: Some([9; 32]) }),
        ban(BanSubject::EndorsementKey([9; 32])),
        serial([9; 32], "1"),
    ] {
        let lifted = Change::DeleteBan(ban.subject.key());
        for change in [put(ban.clone()), put(ban.clone()), lifted] {
            let decided = decided(&store).await;
            write(&store, [change.clone()]).await;
            for (who, set) in decided {
                assert!(commits(&store, set).await, "{who} is disturbed by {change:?}");
            }
        }
    }
    // It came and went, and its version is another one if it comes again.
    let decided = decided(&store).await;
    let own = ban_on("press-17");
    write(&store, [put(own.clone()), Change::DeleteBan(own.subject.key())]).await;
    for (who, set) in decided {
        assert!(commits(&store, set).await, "{who}");
    }
}

/// What `press-17` of these scenes rests on.
const PATH: [&str; 2] = ["leaf", "line-ca"];

const ENDORSEMENT_KEY: [u8; 32] = [0xEE; 32];

/// A device that is registered and waits for its hub, and a ban on a stranger.
async fn write_scene(store: &impl Store) {
    write(
        store,
        [
            put(ban_on("stranger")),
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17"))),
            Change::PutRecord(Box::new(pending_record("press-17", Timestamp::from_unix_secs(1)))),
            Change::PutGrounds(registration_id("press-17"), Box::new(grounds(&PATH))),
        ],
    )
    .await;
}

/// What is decided about the device by who registers, connects, and waits for a hub.
async fn decided(store: &impl Store) -> [(&'static str, ChangeSet); 3] {
    let path = grounds(&PATH).path;
    let mut ban_keys: Vec<String> = path.iter().flat_map(|one| one.ban_keys()).collect();
    ban_keys.push(ban(BanSubject::EndorsementKey(ENDORSEMENT_KEY)).subject.key());
    let asked = query("press-17", GroupQuery::None);
    let registering = RegisterQuery { ban_keys: ban_keys.clone(), ..asked };
    let connecting = ConnectQuery { ban_keys, ..connect_query("press-17") };
    let registering = facts(store, registering).await.bans_expected;
    let connecting = store.connect_facts(&connecting).await.expect("facts").bans_expected;
    let waiting = store.pending_facts(&registration_id("press-17")).await.expect("facts");
    [
        ("who registers", registering),
        ("who connects", connecting),
        ("who waits", waiting.bans_expected),
    ]
    .map(|(who, expected)| (who, ChangeSet::new().expecting(expected)))
}

/// Whether a change set is written.
async fn commits(store: &impl Store, set: ChangeSet) -> bool {
    match store.commit(set).await {
        Ok(()) => true,
        Err(CommitError::Conflict) => false,
        Err(CommitError::Fault(fault)) => panic!("{fault:?}"),
    }
}

fn serial(issuer: [u8; 32], serial: &str) -> Ban {
    let serial = serial.to_owned();
    ban(BanSubject::Serial { issuer, issuer_name: String::new(), serial })
}

/// By registration ID in any case, by the keys asked for, by what a waiting challenge remembers.
pub async fn facts_hold_the_bans_on_whoever_asks(harness: &impl Harness) {
    let store = harness.open().await;
    let sha256 = |n: u8| ban(BanSubject::by_sha256([n; 32]));
    let mut waiting = challenge("press-17", 1, &[], Timestamp::from_unix_secs(9));
    waiting.ban_keys = vec![sha256(3).subject.key(), sha256(4).subject.key()];
    write(
        &store,
        [
            put(ban_on("Press-17")),
            put(ban_on("press-18")),
            put(sha256(1)),
            put(sha256(2)),
            put(sha256(3)),
            Change::PutTpmChallenge(Box::new(waiting)),
        ],
    )
    .await;
    let asked = RegisterQuery {
        ban_keys: vec![sha256(1).subject.key(), sha256(9).subject.key()],
        ..query("pRESS-17", GroupQuery::None)
    };
    check(&store, asked, &[ban_on("press-17"), sha256(1), sha256(3)]).await;
    check(&store, query("press-18", GroupQuery::None), &[ban_on("press-18")]).await;
    check(&store, query("press-19", GroupQuery::None), &[]).await;
}

/// Also those on CAs that nobody here has a certificate of, by their names.
pub async fn facts_hold_the_bans_on_what_could_admit(harness: &impl Harness) {
    let store = harness.open().await;
    let of_line = || Some(certificate("line-ca", "works-ca"));
    let stored = ca_certificate("works", certificate("works-ca", "root-ca"));
    // All certificates of these scenes have the same thumbprints.
    let by_thumbprint = || ban(BanSubject::by_sha256([0xbb; 32]));
    let by_sha1 = || ban(BanSubject::by_sha1([0xaa; 20]));
    let serial = |issuer: &str, serial: &str| {
        ban(BanSubject::Serial {
            issuer: name_hash(issuer),
            issuer_name: String::new(),
            serial: serial.to_owned(),
        })
    };
    let above_root = || ban_on_ca("root-ca", "above");
    write(
        &store,
        [
            Change::PutGroup(Box::new(signing_group("line-4", of_line(), None))),
            Change::PutCaCertificate(Box::new(stored)),
            Change::PutGroup(Box::new(referring_group("all", Some("works"), None))),
            put(ban_on_ca("line-ca", "works-ca")),
            put(serial("works-ca", "1")),
            put(serial("elsewhere", "1")),
            // Known by its name only, as the issuer of `works-ca`, and its own issuer after it.
            put(above_root()),
            put(ban_on_ca("above", "above")),
            put(ban_on_ca("stranger", "root-ca")),
            put(by_sha1()),
        ],
    )
    .await;
    let expected =
        [ban_on_ca("line-ca", "works-ca"), serial("works-ca", "1"), above_root(), by_sha1()];
    let above = ban_on_ca("above", "above");
    let all = [expected.as_slice(), std::slice::from_ref(&above)].concat();
    // Twice: the second time the groups come from memory.
    for _ in 0..2 {
        check(&store, query("press-17", by_ca(&["line-ca"])), &all).await;
    }
    write(&store, [put(by_thumbprint())]).await;
    check(
        &store,
        query("press-17", by_ca(&["line-ca"])),
        &[all.as_slice(), &[by_thumbprint()]].concat(),
    )
    .await;
    // Whoever comes from `works-ca` alone has nothing to do with the line.
    let without_line =
        [serial("elsewhere", "x"), above_root(), above.clone(), by_sha1(), by_thumbprint()];
    check(&store, query("press-17", by_ca(&["works-ca"])), &without_line[1..]).await;
    // A name that is shown and that no certificate of ours has.
    check(
        &store,
        query("press-17", by_ca(&["stranger"])),
        &[ban_on_ca("stranger", "root-ca"), above_root(), above],
    )
    .await;
    check(&store, query("press-17", GroupQuery::BySymmetricKey), &[]).await;
}

/// They are in force or not, which is the caller's to tell; once lifted they are gone.
pub async fn bans_that_were_lifted_are_in_no_facts(harness: &impl Harness) {
    let store = harness.open().await;
    let over = Ban { expires: Some(Timestamp::from_unix_secs(1)), ..ban_on("press-17") };
    write(&store, [put(over.clone()), put(ban_on("press-18"))]).await;
    check(&store, query("press-17", GroupQuery::None), std::slice::from_ref(&over)).await;
    write(&store, [Change::DeleteBan(over.subject.key())]).await;
    check(&store, query("press-17", GroupQuery::None), &[]).await;
    // Lifted and set again in one set, and the other way round.
    let key = ban_on("press-18").subject.key();
    write(&store, [Change::DeleteBan(key.clone()), put(ban_on("press-18"))]).await;
    check(&store, query("press-18", GroupQuery::None), &[ban_on("press-18")]).await;
    write(&store, [put(ban_on("press-18")), Change::DeleteBan(key)]).await;
    check(&store, query("press-18", GroupQuery::None), &[]).await;
}

/// On its registration ID, and on what it was admitted by.
pub async fn facts_of_a_pending_assignment_hold_the_bans_on_it(harness: &impl Harness) {
    let store = harness.open().await;
    let id = registration_id("press-17");
    let grounds = grounds(&["leaf", "line-ca"]);
    write(
        &store,
        [
            Change::PutRecord(Box::new(pending_record("press-17", Timestamp::from_unix_secs(1)))),
            Change::PutGrounds(id.clone(), Box::new(grounds.clone())),
        ],
    )
    .await;
    let facts = store.pending_facts(&id).await.expect("facts");
    assert_eq!((facts.grounds.as_ref(), facts.bans.len()), (Some(&grounds), 0));
    let leaf = ban(BanSubject::by_sha256(grounds.path[0].sha256));
    let line = ban_on_ca("line-ca", "root");
    let bans = [ban_on("PRESS-17"), leaf, line, ban_on("press-18"), ban_on_ca("other", "root")];
    write(&store, bans.clone().map(put)).await;
    let facts = store.pending_facts(&id).await.expect("facts");
    assert_eq!(keys(&facts.bans), sorted_keys(&bans[..3]));
}

/// On what was shown, on the device, and on what its registration rests on.
pub async fn facts_of_a_connection_hold_the_bans_on_it(harness: &impl Harness) {
    let store = harness.open().await;
    let sha256 = |n: u8| ban(BanSubject::by_sha256([n; 32]));
    let mut record = record_of_group("registered", "line-4");
    record.assignment.as_mut().expect("assigned").device_id = device_id("press-17");
    let grounds = grounds(&["leaf", "line-ca"]);
    let leaf = ban(BanSubject::by_sha1(grounds.path[0].sha1));
    let mut expected = vec![
        sha256(1),
        ban_on("press-17"),
        ban_on("registered"),
        leaf,
        ban_on_ca("line-ca", "root"),
        ban_on_ca("named", "above"),
        ban_on_ca("above", "above"),
    ];
    let others = [sha256(2), ban_on("press-18"), ban_on_ca("other", "root")];
    let stored = ca_certificate("works", certificate("works-ca", "works-root"));
    let by_certificate = [ban_on_ca("works-ca", "works-root"), ban_on_ca("works-root", "none")];
    write(
        &store,
        [
            Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17"))),
            Change::PutRecord(Box::new(record)),
            Change::PutGrounds(registration_id("registered"), Box::new(grounds)),
            Change::PutCaCertificate(Box::new(stored)),
        ],
    )
    .await;
    let asked = ConnectQuery {
        ban_keys: vec![sha256(1).subject.key(), sha256(9).subject.key()],
        ca_names: vec![name_hash("named"), name_hash("nobody")],
        ..connect_query("press-17")
    };
    assert_eq!(store.connect_facts(&asked).await.expect("facts").bans, []);
    write(&store, expected.iter().chain(&others).chain(&by_certificate).cloned().map(put)).await;
    let facts = store.connect_facts(&asked).await.expect("facts");
    assert_eq!(keys(&facts.bans), sorted_keys(&expected));
    let of_module =
        ConnectQuery { device_id: super::scene::module_id("press-17", "filter"), ..asked.clone() };
    let facts = store.connect_facts(&of_module).await.expect("facts");
    assert_eq!(keys(&facts.bans), sorted_keys(&expected));
    let with_cas = ConnectQuery { with_ca_certificates: true, ..asked };
    expected.extend(by_certificate);
    let facts = store.connect_facts(&with_cas).await.expect("facts");
    assert_eq!(keys(&facts.bans), sorted_keys(&expected));
}

/// A ban and the version of all are never seen apart.
pub async fn bans_and_their_version_are_one_snapshot(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put(ban_on("press-17"))]).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..150 {
                write(&store, [put(ban_on("press-17"))]).await;
            }
        })
    };
    loop {
        let last_round = writer.is_finished();
        let facts = facts(&store, query("press-17", GroupQuery::None)).await;
        assert_eq!(facts.bans[0].version, facts.bans_version);
        let facts = store.connect_facts(&connect_query("press-17")).await.expect("facts");
        assert_eq!(facts.bans[0].version, facts.bans_version);
        if last_round {
            break;
        }
    }
    writer.await.expect("written");
}

fn put(ban: Ban) -> Change {
    Change::PutBan(Box::new(ban))
}

fn connect_query(device: &str) -> ConnectQuery {
    ConnectQuery {
        hub: hub("hub-1.test"),
        device_id: device_id(device),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

async fn facts(store: &impl Store, query: RegisterQuery) -> RegisterFacts {
    store.register_facts(query).await.expect("facts")
}

/// Expects exactly these bans in the facts of a registration, in the order of their keys.
async fn check(store: &impl Store, query: RegisterQuery, expected: &[Ban]) {
    let found = facts(store, query).await.bans;
    assert_eq!(keys(&found), sorted_keys(expected));
    for ban in found {
        let written = expected.iter().find(|expected| expected.subject.key() == ban.subject.key());
        let written = written.expect("the keys are the same");
        assert_eq!((ban.kind, ban.expires), (written.kind, written.expires));
        assert!(ban.version > 0);
    }
}

fn keys(bans: &[Ban]) -> Vec<String> {
    bans.iter().map(|ban| ban.subject.key()).collect()
}

fn sorted_keys(bans: &[Ban]) -> Vec<String> {
    let mut keys = keys(bans);
    keys.sort();
    keys
}
