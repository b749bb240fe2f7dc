//! Databases of earlier releases, brought up to date.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AllocationPolicy, AttestationMechanism, Change, ConnectQuery, CustomAllocation, Etag,
    EventPosition, GroupQuery, GroupSettings, PolicyScope, RecordFilter, Right, Timestamp,
    TpmIdentity,
};
use rusqlite::Connection;
use store::{
    Store,
    suite::{
        assert_same,
        scene::{
            audit_entry, ban_on, ca_certificate, certificate, challenge, connect, device,
            device_id, event, grounds, hub, individual, message, never_connected, policy, query,
            record_of_group, registration_id, remote_hub, removal, symmetric_key_group, tpm_group,
        },
        write,
    },
};

use super::{Folder, master_key, secrets};
use crate::{MasterKey, OpenError, SqliteStore, is_sealed, migrations, open};

/// Writes a database as the first release did: its schema, plain text, and what follows from it.
///
/// It is made of a new database's rows, so that both hold the same.
fn write_first_schema(new: &Folder, old: &Folder) {
    let raw = Connection::open(old.database()).expect("it opens");
    raw.execute_batch(include_str!("../../migrations/0001_first.sql")).expect("the first schema");
    raw.pragma_update(None, "journal_mode", "WAL").expect("set");
    raw.pragma_update(None, "user_version", 1).expect("set");
    raw.pragma_update(None, "application_id", open::APPLICATION_ID).expect("set");
    raw.execute("ATTACH ?1 AS new", [new.database().to_str().expect("UTF-8")]).expect("attached");
    let tables = [
        "individual_enrollments",
        "enrollment_groups",
        "ca_certificates",
        "ca_keys",
        "ca_references",
        "registration_records",
        "devices",
        "device_counts",
        "access_policies",
        "instance_settings",
    ];
    for table in tables {
        let mut statement =
            raw.prepare("SELECT name FROM pragma_table_info(?1)").expect("prepared");
        let columns: Vec<String> = statement
            .query_map([table], |row| row.get(0))
            .expect("columns")
            .collect::<Result<_, _>>()
            .expect("columns");
        let plain = |column: &String| match (table, column.as_str()) {
            (_, "webhook_url") => format!("iif(webhook_url IS NULL, NULL, '{URL}')"),
            (_, key @ ("primary_key" | "secondary_key")) => {
                let secret = secrets::keys_of(table);
                let secret = if key == "primary_key" { secret.primary } else { secret.secondary };
                format!("iif({key} IS NULL, NULL, '{}')", secret.reveal())
            }
            _ => column.clone(),
        };
        let values: Vec<String> = columns.iter().map(plain).collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        let sql = format!("INSERT INTO main.{table} ({columns}) SELECT {values} FROM new.{table}");
        raw.execute(&sql, []).expect("copied");
    }
    raw.execute_batch(COPY_COUNTERS).expect("copied");
    raw.execute_batch("DETACH new").expect("detached");
}

/// Writes a database as a later release did that had this schema, of a new database's rows as well.
fn write_sealed_schema(version: u32, new: &Folder, old: &Folder) {
    let mut raw = Connection::open(old.database()).expect("it opens");
    raw.pragma_update(None, "journal_mode", "WAL").expect("set");
    migrations::migrate_to(&mut raw, 0, version, &master_key()).expect("an earlier schema");
    raw.execute("ATTACH ?1 AS new", [new.database().to_str().expect("UTF-8")]).expect("attached");
    let names = |sql: &str, of: &[&str]| -> Vec<String> {
        let mut statement = raw.prepare(sql).expect("prepared");
        let rows = statement.query_map(rusqlite::params_from_iter(of), |row| row.get(0));
        rows.expect("names").collect::<Result<_, _>>().expect("names")
    };
    let tables = names("SELECT name FROM main.sqlite_schema WHERE type = 'table'", &[]);
    assert!(tables.len() > 15, "{tables:?}");
    for table in tables {
        let columns = names("SELECT name FROM pragma_table_info(?1, 'main')", &[&table]).join(", ");
        if table == "counters" {
            // That release had fewer of them.
            raw.execute_batch(COPY_COUNTERS).expect("copied");
            continue;
        }
        raw.execute_batch(&format!(
            "DELETE FROM main.{table};
             INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table};"
        ))
        .expect("copied");
    }
}

const COPY_COUNTERS: &str = "UPDATE main.counters SET value =
     (SELECT value FROM new.counters WHERE name = main.counters.name)";

const URL: &str = "https://allocate.example/api?code=WebhookSecretCode12345";

/// One of everything the first release knew.
async fn fill(store: &SqliteStore) {
    let mut with_webhook = individual("Press-17");
    with_webhook.terms.attestation =
        AttestationMechanism::SymmetricKey(secrets::keys_of("individual_enrollments"));
    with_webhook.terms.allocation_policy = Some(AllocationPolicy::Custom);
    with_webhook.terms.custom_allocation = Some(CustomAllocation {
        webhook_url: URL.to_owned(),
        api_version: "2019-03-31".to_owned(),
    });
    let mut group = symmetric_key_group("line-4");
    group.terms.attestation =
        AttestationMechanism::SymmetricKey(secrets::keys_of("enrollment_groups"));
    let root = ca_certificate("root", certificate("root", "root"));
    let mut changes = vec![
        Change::PutIndividual(Box::new(with_webhook)),
        Change::PutGroup(Box::new(group)),
        Change::PutCaCertificate(Box::new(root)),
        Change::PutInstanceSetting { name: "id_scope".into(), value: "0ne1".into() },
    ];
    // More than one page of them.
    for n in 0..600 {
        let mut device = device(&format!("dev-{n}"));
        device.identity.authentication.keys = Some(secrets::keys_of("devices"));
        changes.push(Change::PutDevice(hub("hub-1.test"), Box::new(device)));
        changes.push(Change::PutRecord(Box::new(record_of_group(&format!("dev-{n}"), "line-4"))));
    }
    for scope in [PolicyScope::Service, PolicyScope::Hub(hub("hub-1.test"))] {
        let mut policy = policy(scope, "owner", &[Right::ServiceConfig, Right::RegistryWrite]);
        policy.keys = secrets::keys_of("access_policies");
        // What the migration gives those that had none.
        policy.etag = Etag::from_random([0; 16]);
        policy.created = Timestamp::from_ticks(0);
        policy.last_updated = Timestamp::from_ticks(0);
        changes.push(Change::PutPolicy(Box::new(policy)));
    }
    write(store, changes).await;
}

/// The schema, statement by statement.
fn schema(folder: &Folder) -> Vec<String> {
    let raw = Connection::open(folder.database()).expect("it opens");
    let mut statement = raw
        .prepare("SELECT coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
        .expect("prepared");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

#[tokio::test]
async fn a_database_of_the_first_release_becomes_what_a_new_one_is() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    store.close();
    write_first_schema(&new, &old);
    let url = URL.as_bytes();
    assert!(secrets::holds(&old, url), "the old one is in plain text");
    assert!(!is_sealed(&old.database()).expect("it is ours"));

    old.open_store().close();
    assert!(is_sealed(&old.database()).expect("it is ours"));
    assert_eq!(schema(&old), schema(&new));
    assert_eq!(
        secrets::everything(&old, &master_key()).await,
        secrets::everything(&new, &master_key()).await
    );
    let found = secrets::everything(&old, &master_key()).await;
    assert!(found.contains("WebhookSecretCode12345"), "secrets are compared as well");
    for secret in [b"WebhookSecretCode12345".as_slice(), b"code="] {
        assert!(!secrets::holds(&old, secret), "the old one is sealed");
    }
    for table in secrets::TABLES {
        secrets::check_absent(&old, &secrets::keys_of(table));
    }
    // It works as a new one does, in every count.
    let store = old.open_store();
    write(&store, [Change::PutIndividual(Box::new(individual("another")))]).await;
    assert_eq!(store.usage().await.expect("usage").individual_enrollments, 2);
    let records = store.list_records(&RecordFilter::All, None, 1000).await.expect("records");
    assert_eq!(records.items.len(), 600);
}

#[tokio::test]
async fn a_database_of_the_second_release_keeps_everything_and_learns_of_connections() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    let far = Change::PutLinkedHub(Box::new(remote_hub("far.test")));
    let removal =
        Change::PutRemoval(Box::new(removal("far.test", "gone", Timestamp::from_ticks(1))));
    let audited = Change::Audit(Box::new(audit_entry("linkedHub.create", "linkedHubs/far.test")));
    write(&store, [far, removal, audited]).await;
    store.close();
    write_sealed_schema(2, &new, &old);
    let raw = Connection::open(old.database()).expect("it opens");
    // Nothing could connect, whatever an import said.
    raw.execute_batch(
        "UPDATE devices SET connected = 1, cloud_to_device_messages = 3 WHERE device_id = 'dev-7';
         UPDATE device_counts SET connected = 1;",
    )
    .expect("written");
    drop(raw);
    let refused = SqliteStore::open_read_only(&old.database(), &master_key()).err();
    assert!(matches!(refused, Some(OpenError::Older { found: 2, .. })), "{refused:?}");

    old.open_store().close();
    assert_eq!(schema(&old), schema(&new));
    let before = secrets::everything(&new, &master_key()).await;
    assert_eq!(secrets::everything(&old, &master_key()).await, before);
    // It works as a new one does.
    let store = old.open_store();
    let (hub, at) = (hub("hub-1.test"), Timestamp::from_ticks(9));
    let found = store.find_device(&hub, &device_id("dev-7")).await.expect("read").expect("there");
    assert_same(&found.identity, &never_connected(found.identity.clone()));
    write(
        &store,
        [
            connect("dev-7", 1, at),
            Change::AppendEvent(hub.clone(), 0, Box::new(event("dev-7", at, b"told"))),
            Change::EnqueueMessage(hub.clone(), Box::new(message("dev-7", at, b"to do"))),
        ],
    )
    .await;
    let found = store.find_device(&hub, &device_id("dev-7")).await.expect("read").expect("there");
    assert_eq!((found.identity.connected, found.identity.cloud_to_device_messages), (true, 1));
    assert_eq!(store.device_counts(&hub).await.expect("counts").connected, 1);
    let from = EventPosition::Offset(0);
    assert_eq!(store.read_events(&hub, 0, from, 9, 9).await.expect("read").len(), 1);
    let facts = ConnectQuery {
        hub,
        device_id: device_id("dev-8"),
        policy: Some("owner".to_owned()),
        with_ca_certificates: true,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    };
    let facts = store.connect_facts(&facts).await.expect("facts");
    assert_eq!((facts.subscriptions, facts.ca_certificates.len()), (None, 1));
    assert!(facts.identity.is_some() && facts.policy.is_some());
}

#[tokio::test]
async fn a_database_of_the_third_release_keeps_everything_and_learns_of_tpms() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    let hub_name = hub("hub-1.test");
    let tpm = AttestationMechanism::Tpm(TpmIdentity {
        endorsement_key: vec![1, 0x3a, 0],
        storage_root_key: Some(vec![1, 0x1a]),
        endorsement: None,
    });
    let mut enrolled = individual("tpm-1");
    enrolled.terms.attestation = tpm.clone();
    let at = Timestamp::from_ticks(9);
    let written = [
        Change::PutIndividual(Box::new(enrolled)),
        connect("dev-7", 1, at),
        Change::AppendEvent(hub_name.clone(), 0, Box::new(event("dev-7", at, b"told"))),
        Change::EnqueueMessage(hub_name.clone(), Box::new(message("dev-7", at, b"to do"))),
    ];
    write(&store, written).await;
    store.close();
    write_sealed_schema(3, &new, &old);
    // That release said nothing of endorsements.
    let raw = Connection::open(old.database()).expect("it opens");
    let n_rows = raw.execute(
        "UPDATE individual_enrollments SET attestation_document =
           json_remove(attestation_document, '$.endorsement')
         WHERE attestation = 'tpm' AND attestation_document LIKE '%endorsement\"%'",
        [],
    );
    assert_eq!(n_rows.expect("written"), 1);
    drop(raw);
    let refused = SqliteStore::open_read_only(&old.database(), &master_key()).err();
    assert!(matches!(refused, Some(OpenError::Older { found: 3, .. })), "{refused:?}");

    old.open_store().close();
    assert_eq!(schema(&old), schema(&new));
    let before = secrets::everything(&new, &master_key()).await;
    assert_eq!(secrets::everything(&old, &master_key()).await, before);
    // It works as a new one does.
    let store = old.open_store();
    let id = registration_id("tpm-1");
    let found = store.individual_facts(&id).await.expect("read").enrollment.expect("enrolled");
    assert_eq!(found.terms.attestation, tpm);
    let mut record = record_of_group("tpm-1", "vendor");
    record.wrapped_hub_key = Some(vec![0, 0x34, 0xff]);
    let asked = challenge("tpm-1", 1, &["vendor-ca"], at);
    write(
        &store,
        [
            Change::PutTpmChallenge(Box::new(asked.clone())),
            Change::PutGroup(Box::new(tpm_group("vendor", certificate("vendor-ca", "root")))),
            Change::PutRecord(Box::new(record)),
        ],
    )
    .await;
    let query = query("tpm-1", GroupQuery::BySymmetricKey);
    let facts = store.register_facts(query).await.expect("facts");
    assert_same(&facts.tpm_challenges, &vec![asked]);
    let groups: Vec<&str> = facts.groups.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(groups, ["line-4", "vendor"]);
    let wrapped = facts.record.and_then(|record| record.wrapped_hub_key);
    assert_eq!(wrapped, Some(vec![0, 0x34, 0xff]));
    assert_eq!(store.usage().await.expect("usage").x509_groups, 1);
}

/// Nobody is banned by it, nothing is known of what registrations rest on, and sessions go on.
#[tokio::test]
async fn a_database_of_the_fourth_release_keeps_everything_and_learns_of_bans() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    let asked = challenge("dev-7", 1, &["vendor-ca"], Timestamp::from_ticks(9));
    let mut settings = store::first_settings();
    settings.operator_api_on_loopback_only = true;
    let written = [
        Change::PutTpmChallenge(Box::new(asked.clone())),
        Change::PutServiceSettings(Box::new(settings.clone())),
        Change::PutRecord(Box::new(record_of_group("dev-7", "line-4"))),
    ];
    write(&store, written).await;
    store.close();
    write_sealed_schema(4, &new, &old);
    let refused = SqliteStore::open_read_only(&old.database(), &master_key()).err();
    assert!(matches!(refused, Some(OpenError::Older { found: 4, .. })), "{refused:?}");

    old.open_store().close();
    assert_eq!(schema(&old), schema(&new));
    let before = secrets::everything(&new, &master_key()).await;
    assert_eq!(secrets::everything(&old, &master_key()).await, before);
    // It works as a new one does.
    let store = old.open_store();
    assert_eq!(store.service_facts().await.expect("facts").settings, settings);
    let id = registration_id("dev-7");
    let facts = || async {
        store.register_facts(query("dev-7", GroupQuery::BySymmetricKey)).await.expect("facts")
    };
    let none = facts().await;
    assert_same(&none.tpm_challenges, &vec![asked]);
    assert!(none.record.is_some() && !none.groups.is_empty());
    assert_eq!((none.grounds, none.bans, none.bans_version), (None, vec![], 0));
    assert!(none.groups.iter().all(|group| group.settings == GroupSettings::default()));
    let rests = grounds(&["leaf", "line-ca"]);
    let changes = [
        Change::PutGrounds(id.clone(), Box::new(rests.clone())),
        Change::PutBan(Box::new(ban_on("dev-7"))),
    ];
    write(&store, changes).await;
    let found = facts().await;
    assert_eq!((found.grounds, found.bans.len()), (Some(rests), 1));
    assert!(found.bans_version > 0);
    let origin = store.origin(&hub("hub-1.test"), &device_id("dev-7")).await.expect("origin");
    assert_eq!(origin.map(|origin| origin.registration_id), Some(id));
}

/// A first start that is cut off between the migration's commit and the scrubbing goes on later.
#[tokio::test]
async fn remains_of_plain_text_are_removed_at_the_next_start() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    store.close();
    write_first_schema(&new, &old);
    let mut raw = Connection::open(old.database()).expect("it opens");
    migrations::migrate(&mut raw, 1, &master_key()).expect("migrated");
    drop(raw);
    assert!(secrets::holds(
        &old,
        STANDARD.encode(secrets::keys_of("devices").primary.bytes()).as_bytes()
    ));
    old.open_store().close();
    for table in secrets::TABLES {
        secrets::check_absent(&old, &secrets::keys_of(table));
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    store.close();
    write_first_schema(&new, &old);
    let mut raw = Connection::open(old.database()).expect("it opens");
    // Something is in the way of the last part.
    raw.execute_batch(
        "CREATE TRIGGER in_the_way AFTER INSERT ON devices BEGIN
           SELECT NEW.primary_key;
         END;",
    )
    .expect("made");
    let other = MasterKey::generate([1; 32]);
    migrations::migrate(&mut raw, 1, &other).expect_err("it fails");
    raw.execute_batch("DROP TRIGGER in_the_way").expect("dropped");
    drop(raw);
    old.open_store().close();
    assert_eq!(
        secrets::everything(&old, &master_key()).await,
        secrets::everything(&new, &master_key()).await
    );
}
