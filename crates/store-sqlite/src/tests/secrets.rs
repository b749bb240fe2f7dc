//! Secrets at rest: none in the files, none opens elsewhere, and a new master key.

use std::{fmt::Write as _, fs};

use model::{
    AllocationPolicy, AttestationMechanism, Change, CustomAllocation, EnrollmentRef, GroupQuery,
    HubAccess, PolicyScope, RecordFilter, RemoteAccess, Right, SymmetricKey, SymmetricKeys, Terms,
    Timestamp,
};
use rusqlite::Connection;
use store::{
    Store,
    suite::{
        scene::{
            challenge, device, hub, individual, pending_record, policy, query, remote_hub,
            symmetric_key_group,
        },
        write,
    },
};

use super::{Folder, master_key};
use crate::{
    MasterKey, OpenError, RekeyError, SqliteSettings, SqliteStore, is_sealed, open, rekey,
};

/// The tables with sealed columns.
pub(super) const TABLES: [&str; 7] = [
    "individual_enrollments",
    "enrollment_groups",
    "devices",
    "access_policies",
    "registration_records",
    "linked_hubs",
    "tpm_challenges",
];

const URL: &str = "https://allocate.example/api?code=WebhookSecretCode12345";

/// Keys that are in no other table, and in nothing else.
pub(super) fn keys_of(table: &str) -> SymmetricKeys {
    let key = |seed: u8| {
        let digest = |n: u8| {
            let text = format!("{table} {seed} {n}");
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())
        };
        let bytes = [digest(0).as_ref(), digest(1).as_ref()].concat();
        SymmetricKey::from_bytes(&bytes).expect("64 bytes")
    };
    SymmetricKeys { primary: key(0), secondary: key(1) }
}

/// One row in each table that has secrets.
fn one_of_each() -> Vec<Change> {
    let mut enrolled = individual("press-17");
    enrolled.terms.attestation = AttestationMechanism::SymmetricKey(keys_of(TABLES[0]));
    enrolled.terms.allocation_policy = Some(AllocationPolicy::Custom);
    enrolled.terms.custom_allocation = Some(CustomAllocation {
        webhook_url: URL.to_owned(),
        api_version: "2019-03-31".to_owned(),
    });
    let mut group = symmetric_key_group("line-4");
    group.terms.attestation = AttestationMechanism::SymmetricKey(keys_of(TABLES[1]));
    group.terms.custom_allocation = enrolled.terms.custom_allocation.clone();
    let mut identity = device("press-17");
    identity.identity.authentication.keys = Some(keys_of(TABLES[2]));
    let mut owner = policy(PolicyScope::Service, "owner", &[Right::ServiceConfig]);
    owner.keys = keys_of(TABLES[3]);
    let mut pending = pending_record("press-17", Timestamp::from_unix_secs(1));
    if let Some(pending) = &mut pending.pending {
        pending.authentication.keys = Some(keys_of(TABLES[4]));
    }
    let mut far = remote_hub("far.test");
    far.access = HubAccess::Remote(RemoteAccess {
        port: None,
        policy: "iothubowner".to_owned(),
        key: keys_of(TABLES[5]).primary,
    });
    let mut asked = challenge("press-17", 1, &["vendor-ca"], Timestamp::from_unix_secs(1));
    asked.key = keys_of(TABLES[6]).primary;
    vec![
        Change::PutTpmChallenge(Box::new(asked)),
        Change::PutIndividual(Box::new(enrolled)),
        Change::PutGroup(Box::new(group)),
        Change::PutDevice(hub("hub-1.test"), Box::new(identity)),
        Change::PutPolicy(Box::new(owner)),
        Change::PutRecord(Box::new(pending)),
        Change::PutLinkedHub(Box::new(far)),
    ]
}

async fn filled() -> Folder {
    let folder = Folder::new();
    let store = folder.open_store();
    write(&store, one_of_each()).await;
    store.close();
    folder
}

/// Whether any file of the folder holds these bytes.
pub(super) fn holds(folder: &Folder, needle: &[u8]) -> bool {
    let files = fs::read_dir(folder.0.path()).expect("the folder");
    files
        .map(|file| fs::read(file.expect("a file").path()).expect("read"))
        .any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// Neither the bytes of the keys nor their base64 is anywhere.
pub(super) fn check_absent(folder: &Folder, keys: &SymmetricKeys) {
    for key in [&keys.primary, &keys.secondary] {
        assert!(!holds(folder, key.reveal().as_bytes()));
        assert!(!holds(folder, &key.reveal().as_bytes()[..16]));
        assert!(!holds(folder, key.bytes()));
        assert!(!holds(folder, &key.bytes()[..12]));
    }
}

/// All that a store answers, secrets included, as text.
pub(super) async fn everything(folder: &Folder, master_key: &MasterKey) -> String {
    let settings = SqliteSettings { master_key: master_key.clone(), ..folder.settings() };
    let store = SqliteStore::open(settings).expect("it opens");
    let mut text = String::new();
    let mut add = |value: &dyn std::fmt::Debug| writeln!(text, "{value:?}").expect("text");
    let reveal = |keys: Option<&SymmetricKeys>| {
        keys.map(|keys| [&keys.primary, &keys.secondary].map(|key| key.reveal().to_owned()))
    };
    let of = |mechanism: &AttestationMechanism| match mechanism {
        AttestationMechanism::SymmetricKey(keys) => reveal(Some(keys)),
        _ => None,
    };
    let url_of = |terms: &Terms| terms.custom_allocation.as_ref().map(|w| w.webhook_url.clone());
    for found in store.list_individuals(None, 1000).await.expect("read").items {
        add(&(of(&found.terms.attestation), url_of(&found.terms), &found));
    }
    for found in store.list_groups(None, 1000).await.expect("read").items {
        add(&(of(&found.terms.attestation), url_of(&found.terms), &found));
    }
    for found in store.list_records(&RecordFilter::All, None, 1000).await.expect("read").items {
        let keys = found.pending.as_ref().and_then(|p| reveal(p.authentication.keys.as_ref()));
        add(&(keys, &found));
    }
    for found in store.list_devices(&hub("hub-1.test"), None, 1000).await.expect("read").items {
        add(&(reveal(found.identity.authentication.keys.as_ref()), &found));
    }
    for scope in [PolicyScope::Service, PolicyScope::Hub(hub("hub-1.test"))] {
        for mut found in store.list_policies(&scope).await.expect("read") {
            // The first release kept none.
            found.version = 0;
            add(&(reveal(Some(&found.keys)), &found));
        }
    }
    let asked = store.register_facts(query("press-17", GroupQuery::None)).await.expect("read");
    for found in &asked.tpm_challenges {
        add(&(found.key.reveal(), found));
    }
    let facts = store.service_facts().await.expect("read");
    for found in &facts.hubs {
        if let HubAccess::Remote(remote) = &found.access {
            add(&remote.key.reveal());
        }
    }
    add(&facts);
    add(&store.list_ca_certificates().await.expect("read"));
    add(&store.usage().await.expect("read"));
    add(&store.device_counts(&hub("hub-1.test")).await.expect("read"));
    add(&store.instance_setting("id_scope").await.expect("read"));
    add(&store.audit_head().await.expect("read"));
    store.close();
    text
}

/// Expects that the master key is refused, and that no byte of the database changes by it.
fn check_refused(folder: &Folder, master_key: &MasterKey) {
    let before = fs::read(folder.database()).expect("read");
    let settings = SqliteSettings { master_key: master_key.clone(), ..folder.settings() };
    let error = SqliteStore::open(settings).err().expect("it is refused");
    assert!(matches!(error, OpenError::WrongMasterKey { .. }), "{error:?}");
    assert!(error.to_string().contains("induct rekey"), "{error}");
    let error = SqliteStore::open_read_only(&folder.database(), master_key).err();
    assert!(matches!(error, Some(OpenError::WrongMasterKey { .. })), "{error:?}");
    assert_eq!(fs::read(folder.database()).expect("read"), before);
}

#[tokio::test]
async fn no_secret_is_in_any_file() {
    let folder = Folder::new();
    let store = folder.open_store();
    write(&store, one_of_each()).await;
    let check = || {
        for table in TABLES {
            check_absent(&folder, &keys_of(table));
        }
        assert!(!holds(&folder, b"WebhookSecretCode12345"));
        assert!(!holds(&folder, master_key().bytes()));
    };
    // While the log is full, and after it was moved. What is no secret is there.
    assert!(holds(&folder, b"press-17"));
    check();
    store.close();
    assert!(holds(&folder, b"press-17"));
    check();
    let text = everything(&folder, &master_key()).await;
    for table in TABLES {
        assert!(text.contains(keys_of(table).primary.reveal()), "{table} holds its key");
    }
}

#[tokio::test]
async fn a_sealed_value_copied_to_another_row_or_column_does_not_open() {
    let other = {
        let mut enrolled = individual("press-18");
        enrolled.terms.attestation = AttestationMechanism::SymmetricKey(keys_of("another"));
        Change::PutIndividual(Box::new(enrolled))
    };
    for copy in [
        "UPDATE individual_enrollments SET primary_key =
           (SELECT primary_key FROM individual_enrollments WHERE key = 'press-18')
         WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET primary_key = secondary_key WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET primary_key =
           (SELECT primary_key FROM enrollment_groups) WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET webhook_url = primary_key WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET primary_key = x'0100000001' WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET primary_key = x'' WHERE key = 'press-17'",
        "UPDATE individual_enrollments SET registration_id = 'press-99' WHERE key = 'press-17'",
    ] {
        let folder = Folder::new();
        let store = folder.open_store();
        write(&store, one_of_each()).await;
        write(&store, [other.clone()]).await;
        let id = store::suite::scene::registration_id("press-17");
        assert!(store.individual_facts(&id).await.expect("it opens").enrollment.is_some());
        let raw = Connection::open(folder.database()).expect("it opens");
        raw.execute(copy, []).expect("copied");
        let refused = store.individual_facts(&id).await;
        assert!(refused.is_err(), "{copy}");
        // Its neighbour is as it was.
        let id = store::suite::scene::registration_id("press-18");
        assert!(store.individual_facts(&id).await.expect("it opens").enrollment.is_some());
    }
}

#[tokio::test]
async fn another_master_key_is_refused_before_anything_is_written() {
    let folder = filled().await;
    check_refused(&folder, &MasterKey::generate([43; 32]));
    folder.open_store().close();
}

#[test]
fn whether_a_database_is_sealed_is_known_without_its_master_key() {
    let folder = Folder::new();
    assert!(!is_sealed(&folder.database()).expect("there is none"));
    fs::write(folder.database(), []).expect("written");
    assert!(!is_sealed(&folder.database()).expect("it is empty"));
    folder.open_store().close();
    assert!(is_sealed(&folder.database()).expect("it is ours"));
    let error = OpenError::NoMasterKey { path: folder.database() };
    assert!(error.to_string().contains("put the master key"), "{error}");
}

#[tokio::test]
async fn after_rekey_the_new_master_key_opens_everything_and_the_old_one_nothing() {
    let folder = filled().await;
    let (old, new) = (master_key(), MasterKey::generate([43; 32]));
    let before = everything(&folder, &old).await;
    let bytes = |sql: &str| -> Vec<u8> {
        let raw = Connection::open(folder.database()).expect("it opens");
        raw.query_row(sql, [], |row| row.get(0)).expect("a value")
    };
    let sealed = bytes("SELECT primary_key FROM devices");
    let wrapped = bytes("SELECT wrapped FROM data_keys");
    let mut reports = Vec::new();
    let n_rows = rekey(&folder.database(), &old, &new, |done, total| reports.push((done, total)));
    assert_eq!(n_rows.expect("done"), 7);
    assert_eq!((reports.first(), reports.last()), (Some(&(0, 7)), Some(&(7, 7))));
    // Nothing sealed with the old data key is left, nor the data key itself.
    assert!(!holds(&folder, &sealed[5..]) && !holds(&folder, &wrapped[5..]));
    check_refused(&folder, &old);
    assert_eq!(everything(&folder, &new).await, before);
    // And once more, to the same key: it changes the data key alone.
    rekey(&folder.database(), &new, &new, |_, _| ()).expect("done");
    assert_eq!(everything(&folder, &new).await, before);
}

#[tokio::test]
async fn rekey_is_refused_beside_a_running_server_with_a_wrong_key_or_without_a_database() {
    let folder = filled().await;
    let (old, new) = (master_key(), MasterKey::generate([43; 32]));
    let store = folder.open_store();
    let refused = rekey(&folder.database(), &old, &new, |_, _| ());
    assert!(matches!(refused, Err(RekeyError::Open(OpenError::InUse { .. }))), "{refused:?}");
    store.close();
    let refused = rekey(&folder.database(), &new, &old, |_, _| ());
    let wrong = matches!(refused, Err(RekeyError::Open(OpenError::WrongMasterKey { .. })));
    assert!(wrong, "{refused:?}");
    let refused = rekey(&folder.path("none.db"), &old, &new, |_, _| ());
    assert!(matches!(refused, Err(RekeyError::Open(OpenError::Missing { .. }))), "{refused:?}");
    assert!(!folder.path("none.db").exists());
    folder.open_store().close();
}

#[tokio::test]
async fn a_secret_that_does_not_open_stops_rekey_and_changes_nothing() {
    let folder = filled().await;
    let raw = Connection::open(folder.database()).expect("it opens");
    raw.execute("UPDATE linked_hubs SET key = x'01'", []).expect("damaged");
    drop(raw);
    let (old, new) = (master_key(), MasterKey::generate([43; 32]));
    let refused = rekey(&folder.database(), &old, &new, |_, _| ());
    let of_hubs = matches!(refused, Err(RekeyError::Secret { table: "linked_hubs", .. }));
    assert!(of_hubs, "{refused:?}");
    check_refused(&folder, &new);
    folder.open_store().close();
}

/// The files as a process leaves them that is killed at each moment that can be told from others:
/// what is on the disk opens with exactly one of the two keys, and holds everything.
#[tokio::test]
async fn a_crash_in_the_middle_of_rekey_leaves_a_database_that_one_key_opens() {
    let folder = Folder::new();
    let store = folder.open_store();
    write(&store, one_of_each()).await;
    // Enough for several pages of rows, and for a transaction that does not fit into memory.
    for n in 0..40 {
        let many = (0..50).map(|m| {
            let mut many = individual(&format!("many-{n}-{m}"));
            many.optional_device_information = Some(model::Json::String("x".repeat(2_000)));
            Change::PutIndividual(Box::new(many))
        });
        write(&store, many).await;
    }
    store.close();
    let (old, new) = (master_key(), MasterKey::generate([43; 32]));
    let before = everything(&folder, &old).await;
    let killed = |folder: &Folder| {
        let copy = Folder::new();
        for name in ["induct.db", "induct.db-wal"] {
            if folder.path(name).exists() {
                fs::copy(folder.path(name), copy.path(name)).expect("copied");
            }
        }
        copy
    };
    let mut crashes = Vec::new();
    {
        let (mut connection, vault) = open::open_writer(&folder.database(), &old).expect("opens");
        // So little memory that the transaction goes to the log while it runs.
        connection.pragma_update(None, "cache_size", 10).expect("set");
        let mut progress = |_, _| crashes.push((killed(&folder), &old, &new));
        rekey::seal_anew(&mut connection, vault, &new, &mut progress).expect("done");
        crashes.push((killed(&folder), &new, &old));
        open::scrub(&connection, &folder.database());
        crashes.push((killed(&folder), &new, &old));
    }
    assert!(crashes.len() > 8, "{}", crashes.len());
    let in_log =
        |folder: &Folder| fs::metadata(folder.path("induct.db-wal")).map_or(0, |m| m.len());
    assert!(crashes.iter().any(|(copy, opens, _)| **opens == old && in_log(copy) > 100_000));
    for (copy, opens, refused) in &crashes {
        assert_eq!(everything(copy, opens).await, before);
        check_refused(copy, refused);
    }
}

#[tokio::test]
async fn keys_that_are_cached_are_those_of_the_moment() {
    let folder = filled().await;
    let store = folder.open_store();
    let facts = store.register_facts(query("press-17", GroupQuery::BySymmetricKey)).await;
    let facts = facts.expect("facts");
    let AttestationMechanism::SymmetricKey(keys) = &facts.groups[0].terms.attestation else {
        panic!("a group with keys");
    };
    assert_eq!(*keys, keys_of("enrollment_groups"));
    let record = facts.record.expect("it is there");
    assert!(matches!(record.enrollment, EnrollmentRef::Group(_)));
    let keys = record.pending.and_then(|pending| pending.authentication.keys);
    assert_eq!(keys, Some(keys_of("registration_records")));
}
