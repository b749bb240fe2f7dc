//! Revocation lists: what is known of them, whom they revoke, and what decisions read of both.

use std::sync::Arc;

use model::{
    Change, ChangeSet, ConnectQuery, Counted, Crl, CrlFacts, CrlList, CrlNumber, CrlSource,
    EnrolledCertificate, Etag, Expect, GroupQuery, RevokedChange, RevokedStep, Serials, Timestamp,
    crl::Serial,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        ban_on, by_ca, ca_certificate, certificate, challenge, device, device_id, grounds, hub,
        individual, linked_hub, name_hash, query, record_of_group, registration_id, signing_group,
    },
    write,
};
use crate::Store;

/// The list of the CA that [`certificate`] makes of these names, with every part there.
fn crl(subject: &str, issuer: &str) -> Crl {
    Crl {
        ca: certificate(subject, issuer),
        list: Some(CrlList {
            sha256: name_hash("list"),
            number: CrlNumber::from_hex("1F00"),
            scope: Some(name_hash("scope")),
            this_update: at(1),
            next_update: Some(at(1000)),
            n_revoked: u64::MAX >> 1,
            taken_in: at(2),
        }),
        source: Some(CrlSource {
            url: "https://crl.example/ca.crl".to_owned(),
            every_secs: u32::MAX,
            entity_tag: Some("\"1\"".to_owned()),
            due: at(3),
            last_success: Some(at(4)),
            last_error: Some("no answer".to_owned()),
            n_failures: 7,
        }),
        etag: Etag::from_random([3; 16]),
        created: at(5),
        last_updated: at(6),
        version: 0,
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(1_000_000 + secs)
}

fn ca_of(crl: &Crl) -> [u8; 32] {
    crl.ca.keys.subject_and_key
}

fn put(crl: &Crl) -> Change {
    Change::PutCrl(Box::new(crl.clone()))
}

fn serials(hex: &[&str]) -> Serials {
    let bytes: Vec<Serial> = hex.iter().map(|one| Serial::from_hex(one).expect("hex")).collect();
    Serials::from_unsorted(bytes.iter().map(Serial::bytes))
}

fn change(ca: &EnrolledCertificate, added: &[&str], removed: &[&str]) -> Change {
    Change::ChangeRevoked(RevokedChange {
        ca: ca.keys.subject_and_key,
        issuer: ca.keys.subject,
        added: Arc::new(serials(added)),
        removed: Arc::new(serials(removed)),
        step: RevokedStep::Whole,
    })
}

/// A list that revokes these.
async fn write_list(store: &impl Store, subject: &str, issuer: &str, revoked: &[&str]) -> Crl {
    let crl = crl(subject, issuer);
    write(store, [put(&crl), change(&crl.ca, revoked, &[])]).await;
    crl
}

/// Whose lists there are among the facts, and what each revokes.
fn told(facts: &[CrlFacts]) -> Vec<(&str, Vec<&str>)> {
    let mut told: Vec<(&str, Vec<&str>)> = facts
        .iter()
        .map(|list| {
            let revoked = list.revoked.iter().map(String::as_str).collect();
            (list.ca.info.subject_name.as_str(), revoked)
        })
        .collect();
    told.sort_unstable();
    told
}

async fn registering(
    store: &impl Store,
    groups: GroupQuery,
    shown: &[(&str, &str)],
) -> Vec<CrlFacts> {
    let mut asked = query("press-17", groups);
    asked.serials =
        shown.iter().map(|(issuer, serial)| (name_hash(issuer), (*serial).to_owned())).collect();
    store.register_facts(asked).await.expect("facts").crls
}

/// In every part, and with the parts that may be missing missing; over a restart.
pub async fn revocation_lists_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let whole = crl("line-4", "root");
    let mut bare = Crl { source: None, ..crl("line-5", "root") };
    let list = bare.list.take().expect("a list");
    bare.list = Some(CrlList { number: None, scope: None, next_update: None, ..list });
    let mut followed = Crl { list: None, ..crl("line-6", "root") };
    let source = followed.source.take().expect("a source");
    followed.source = Some(CrlSource {
        entity_tag: None,
        last_success: None,
        last_error: None,
        n_failures: 0,
        ..source
    });
    for written in [&whole, &bare, &followed] {
        write(&store, [put(written)]).await;
    }
    harness.close(store).await;
    let store = harness.open().await;
    let mut all = store.list_crls().await.expect("a list");
    all.sort_by(|a, b| a.ca.info.subject_name.cmp(&b.ca.info.subject_name));
    for (found, written) in all.into_iter().zip([&whole, &bare, &followed]) {
        assert!(found.version > 0);
        let by_ca = store.find_crl(&ca_of(written)).await.expect("a read");
        assert_same(&by_ca.as_ref(), &Some(&found));
        assert_same(&Crl { version: 0, ..found }, written);
    }
    // A list that came takes the place of none, and the other way round.
    write(&store, [put(&Crl { source: whole.source.clone(), ..bare.clone() })]).await;
    let found = store.find_crl(&ca_of(&bare)).await.expect("a read").expect("a list");
    assert_same(&found.source, &whole.source);
    assert_same(&found.list, &bare.list);
}

/// Deleting a list deletes what it revoked, and the next one of its CA begins anew.
pub async fn a_list_goes_with_its_serial_numbers(harness: &impl Harness) {
    let store = harness.open().await;
    let line = write_list(&store, "line-4", "root", &["1", "2"]).await;
    let other = write_list(&store, "line-5", "root", &["1"]).await;
    write(&store, [Change::DeleteCrl(ca_of(&line))]).await;
    assert!(store.find_crl(&ca_of(&line)).await.expect("a read").is_none());
    assert!(store.revoked_serials(&ca_of(&line)).await.expect("a read").is_empty());
    assert_eq!(store.revoked_serials(&ca_of(&other)).await.expect("a read"), serials(&["1"]));
    write(&store, [put(&line)]).await;
    assert!(store.revoked_serials(&ca_of(&line)).await.expect("a read").is_empty());
    assert!(told(&registering(&store, GroupQuery::None, &[("line-4", "1")]).await)[0].1.is_empty());
}

/// What is added is there once; what is removed is gone; a list that is not there conflicts.
pub async fn serial_numbers_come_and_go_one_by_one(harness: &impl Harness) {
    let store = harness.open().await;
    let line = write_list(&store, "line-4", "root", &["0", "1", "80", "FFFF"]).await;
    let read = async || store.revoked_serials(&ca_of(&line)).await.expect("a read");
    assert_eq!(read().await, serials(&["0", "1", "80", "FFFF"]));
    write(&store, [change(&line.ca, &["1", "2"], &["80", "3"])]).await;
    assert_eq!(read().await, serials(&["0", "1", "2", "FFFF"]));
    // Writing what is known of it leaves them.
    write(&store, [put(&line)]).await;
    assert_eq!(read().await.len(), 4);
    let unknown = certificate("line-5", "root");
    conflicts(&store, ChangeSet::new().with(change(&unknown, &["1"], &[]))).await;
    assert!(store.revoked_serials(&unknown.keys.subject_and_key).await.expect("a read").is_empty());
}

/// Of the lists of the issuers asked about, and of no others; whoever the key is of.
pub async fn facts_say_what_is_revoked_of_what_was_asked(harness: &impl Harness) {
    let store = harness.open().await;
    assert!(registering(&store, GroupQuery::None, &[("line-4", "1")]).await.is_empty());
    let line = write_list(&store, "line-4", "root", &["1", "ABC"]).await;
    write_list(&store, "line-5", "root", &["1"]).await;
    let mut namesake = crl("line-4", "elsewhere");
    namesake.ca.keys.subject_and_key[31] = 2;
    write(&store, [put(&namesake), change(&namesake.ca, &["2"], &[])]).await;

    let shown = [("line-4", "ABC"), ("line-4", "2"), ("root", "1")];
    let facts = registering(&store, GroupQuery::None, &shown).await;
    assert_eq!(told(&facts), [("CN=line-4", vec!["2"]), ("CN=line-4", vec!["ABC"])]);
    let of_line = facts.iter().find(|list| list.ca == line.ca).expect("the list of line-4");
    assert_eq!(of_line.end, Some(at(1000)));
    assert!(registering(&store, GroupQuery::None, &[("line-6", "1")]).await.is_empty());

    // One that was never fetched is told of.
    write(&store, [put(&Crl { list: None, ..crl("line-6", "root") })]).await;
    let facts = registering(&store, GroupQuery::None, &[("line-6", "1")]).await;
    assert!(facts[0].end.is_none() && facts[0].revoked.is_empty());
}

/// What completes a chain from our store may be revoked as well; and what a TPM showed when it was
/// asked.
pub async fn facts_ask_for_the_certificates_of_groups_and_stored_cas_too(harness: &impl Harness) {
    let store = harness.open().await;
    write_list(&store, "root", "root", &["1"]).await;
    let group = signing_group("line", Some(certificate("line-4", "root")), None);
    write(&store, [Change::PutGroup(Box::new(group))]).await;
    let facts = registering(&store, by_ca(&["line-4"]), &[("line-4", "7")]).await;
    assert_eq!(told(&facts), [("CN=root", vec!["1"])]);

    let stored = ca_certificate("plant", certificate("plant", "root"));
    write(&store, [Change::PutCaCertificate(Box::new(stored))]).await;
    let facts = registering(&store, by_ca(&["plant"]), &[("plant", "7")]).await;
    assert_eq!(told(&facts), [("CN=root", vec!["1"])]);

    let mut asked = challenge("press-17", 1, &[], at(1));
    asked.ban_keys = vec![model::ban::serial_key(&name_hash("root"), "1")];
    write(&store, [Change::PutTpmChallenge(Box::new(asked))]).await;
    let facts = registering(&store, GroupQuery::None, &[]).await;
    assert_eq!(told(&facts), [("CN=root", vec!["1"])]);
}

/// The CA of a list may stand on a path that nobody else knows.
pub async fn the_cas_of_lists_are_asked_about_as_well(harness: &impl Harness) {
    let store = harness.open().await;
    write_list(&store, "line-4", "root", &[]).await;
    write_list(&store, "root", "root", &["1"]).await;
    let facts = registering(&store, GroupQuery::None, &[("line-4", "7")]).await;
    assert_eq!(told(&facts), [("CN=line-4", vec![]), ("CN=root", vec!["1"])]);
}

/// A connection's device, by the registration whose assignment it is; and what it shows itself.
pub async fn facts_of_a_connection_are_about_what_its_device_rests_on(harness: &impl Harness) {
    let store = harness.open().await;
    let record = record_of_group("press-17", "line");
    let assignment = record.assignment.clone().expect("an assignment");
    let on = assignment.hub.clone();
    let mut known = device("press-17");
    known.identity.device_id = assignment.device_id.clone();
    write(
        &store,
        [
            Change::PutLinkedHub(Box::new(linked_hub("hub-1.example"))),
            Change::PutIndividual(Box::new(individual("other"))),
            Change::PutRecord(Box::new(record)),
            Change::PutGrounds(
                registration_id("press-17"),
                Box::new(grounds(&["press-17", "line-4"])),
            ),
            Change::PutDevice(on.clone(), Box::new(known)),
        ],
    )
    .await;
    let leaf = grounds(&["press-17", "line-4"]).path[0].serial.clone();
    write_list(&store, "line-4", "root", &[&leaf]).await;
    write_list(&store, "line-5", "root", &["7"]).await;
    let connecting = async |shown: Vec<([u8; 32], String)>| {
        let query = ConnectQuery {
            hub: on.clone(),
            device_id: assignment.device_id.clone(),
            serials: shown,
            ..connect_query()
        };
        store.connect_facts(&query).await.expect("facts").crls
    };
    assert_eq!(told(&connecting(Vec::new()).await), [("CN=line-4", vec![leaf.as_str()])]);
    let shown = vec![(name_hash("line-5"), "7".to_owned())];
    let facts = connecting(shown).await;
    assert_eq!(told(&facts), [("CN=line-4", vec![leaf.as_str()]), ("CN=line-5", vec!["7"])]);
    let pending = store.pending_facts(&registration_id("press-17")).await.expect("facts");
    assert_eq!(told(&pending.crls), [("CN=line-4", vec![leaf.as_str()])]);
}

fn connect_query() -> ConnectQuery {
    ConnectQuery {
        hub: hub("hub-1.example"),
        device_id: device_id("press-17"),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

/// Whoever was decided from no revocation may not be admitted when there is one.
pub async fn the_version_of_bans_moves_with_revocation_lists(harness: &impl Harness) {
    let store = harness.open().await;
    let version = async || {
        let facts = store.register_facts(query("press-17", GroupQuery::None)).await;
        facts.expect("facts").bans_version
    };
    let line = crl("line-4", "root");
    // So that bans are asked about.
    write(&store, [Change::PutBan(Box::new(ban_on("stranger")))]).await;
    let mut last = version().await;
    let deletion = Change::DeleteCrl(ca_of(&line));
    for changes in [put(&line), change(&line.ca, &["1"], &[]), deletion.clone()] {
        let facts = store.register_facts(query("press-17", GroupQuery::None)).await;
        let by_facts = ChangeSet::new().expecting(facts.expect("facts").bans_expected);
        let decided = ChangeSet::new().expecting(Expect::Bans(last));
        write(&store, [changes]).await;
        assert!(version().await > last);
        conflicts(&store, decided).await;
        conflicts(&store, by_facts).await;
        last = version().await;
    }
    // There was nothing to delete.
    write(&store, [deletion]).await;
    assert_eq!(version().await, last);

    let of_crl = |version| ChangeSet::new().expecting(Expect::Crl(ca_of(&line), version));
    store.commit(of_crl(0)).await.expect("there is none");
    write(&store, [put(&line)]).await;
    conflicts(&store, of_crl(0)).await;
    let found = store.find_crl(&ca_of(&line)).await.expect("a read").expect("a list");
    store.commit(of_crl(found.version)).await.expect("as it was read");
}

/// Only those that are followed.
pub async fn due_lists_come_the_longest_due_first(harness: &impl Harness) {
    let store = harness.open().await;
    let due_at = |subject: &str, secs: i64| {
        let mut crl = crl(subject, "root");
        crl.source = crl.source.map(|source| CrlSource { due: at(secs), ..source });
        crl
    };
    let (first, second, later) = (due_at("a", 1), due_at("b", 5), due_at("c", 6));
    let never = Crl { source: None, ..crl("d", "root") };
    for crl in [&later, &second, &first, &never] {
        write(&store, [put(crl)]).await;
    }
    let due = async |secs, limit| store.due_crls(at(secs), limit).await.expect("a read");
    assert_eq!(due(5, 10).await, [ca_of(&first), ca_of(&second)]);
    assert_eq!(due(5, 1).await, [ca_of(&first)]);
    assert!(due(0, 10).await.is_empty());
}

/// In groups, in the CA store verified or not, and in lists whose CA is nowhere else; each once.
pub async fn cas_are_found_by_their_name_wherever_they_are(harness: &impl Harness) {
    let store = harness.open().await;
    let called = async |name: &str| -> Vec<String> {
        let found = store.cas_called(&name_hash(name)).await.expect("a read");
        found.into_iter().map(|ca| ca.info.issuer_name).collect()
    };
    assert!(called("line-4").await.is_empty());
    let (one, other) = (certificate("line-4", "root"), certificate("line-4", "elsewhere"));
    let group = signing_group("line", Some(one.clone()), Some(certificate("line-5", "root")));
    let mut stored = ca_certificate("line-4", other);
    stored.verified = false;
    write(
        &store,
        [
            Change::PutGroup(Box::new(group)),
            Change::PutCaCertificate(Box::new(ca_certificate("again", one))),
            Change::PutCaCertificate(Box::new(stored)),
            put(&crl("line-6", "root")),
        ],
    )
    .await;
    let mut found = called("line-4").await;
    found.sort_unstable();
    assert_eq!(found, ["CN=elsewhere", "CN=root"]);
    assert_eq!(called("line-6").await, ["CN=root"]);
    assert!(called("root").await.is_empty());

    let known = async |subject: &str| {
        let ca = certificate(subject, "root").keys.subject_and_key;
        store.known_ca(&ca).await.expect("a read").map(|ca| ca.info.subject_name)
    };
    for name in ["line-4", "line-5", "line-6"] {
        assert_eq!(known(name).await, Some(format!("CN={name}")));
    }
    assert_eq!(known("root").await, None);
}

/// Lists are counted as they are at the commit, those written a moment before too.
pub async fn the_last_list_that_there_is_room_for_is_written_and_no_other(harness: &impl Harness) {
    let store = Arc::new(harness.open().await);
    let one_more = |subject: &str| {
        let room = Expect::Room { of: Counted::Crls, limit: 2 };
        ChangeSet::new().expecting(room).with(put(&crl(subject, "root")))
    };
    let writers = ["line-4", "line-5", "line-6", "line-7"].map(|subject| {
        let (store, changes) = (Arc::clone(&store), one_more(subject));
        tokio::spawn(async move { store.commit(changes).await })
    });
    let mut n_written = 0;
    for writer in writers {
        n_written += u32::from(writer.await.expect("joined").is_ok());
    }
    assert_eq!(n_written, 2);
    assert_eq!(store.n_crls().await.expect("a count"), 2);
    conflicts(&*store, one_more("line-8")).await;
    let there = ca_of(&store.list_crls().await.expect("lists")[0]);
    write(&*store, [Change::DeleteCrl(there)]).await;
    assert_eq!(store.n_crls().await.expect("a count"), 1);
    store.commit(one_more("line-8")).await.expect("there is room again");
}
