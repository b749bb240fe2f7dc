//! A database of the first release, brought up to date.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AllocationPolicy, AttestationMechanism, Change, CustomAllocation, Etag, PolicyScope,
    RecordFilter, Right, Timestamp,
};
use rusqlite::Connection;
use store::{
    Store,
    suite::{
        scene::{
            ca_certificate, certificate, device, hub, individual, policy, record_of_group,
            symmetric_key_group,
        },
        write,
    },
};

use super::{Folder, master_key, secrets};
use crate::{MasterKey, SqliteStore, is_sealed, open};

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
    raw.execute_batch(
        "UPDATE main.counters SET value =
           (SELECT value FROM new.counters WHERE name = main.counters.name);
         DETACH new;",
    )
    .expect("copied");
}

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

/// A first start that is cut off between the migration's commit and the scrubbing goes on later.
#[tokio::test]
async fn remains_of_plain_text_are_removed_at_the_next_start() {
    let (new, old) = (Folder::new(), Folder::new());
    let store = new.open_store();
    fill(&store).await;
    store.close();
    write_first_schema(&new, &old);
    let mut raw = Connection::open(old.database()).expect("it opens");
    crate::migrations::migrate(&mut raw, 1, &master_key()).expect("migrated");
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
    crate::migrations::migrate(&mut raw, 1, &other).expect_err("it fails");
    raw.execute_batch("DROP TRIGGER in_the_way").expect("dropped");
    drop(raw);
    old.open_store().close();
    assert_eq!(
        secrets::everything(&old, &master_key()).await,
        secrets::everything(&new, &master_key()).await
    );
}
