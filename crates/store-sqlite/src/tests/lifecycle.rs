//! Opening, closing, refusing.

use std::fs;

use model::{Change, EventPosition, GroupQuery, Timestamp};
use rusqlite::Connection;
use store::{
    CommitError, Store,
    suite::{
        scene::{
            device, device_id, event, feedback, hub, individual, message, query, record_of_group,
            registration_id,
        },
        write,
    },
};

use super::{Folder, master_key};
use crate::{OpenError, SqliteSettings, SqliteStore, migrations, open};

fn put(name: &str) -> Change {
    Change::PutIndividual(Box::new(individual(name)))
}

async fn has(store: &SqliteStore, name: &str) -> bool {
    let facts = store.individual_facts(&registration_id(name)).await.expect("facts");
    facts.enrollment.is_some()
}

/// Opens; expects an error whose text holds this.
fn check_refused(folder: &Folder, text: &str) -> OpenError {
    let error = SqliteStore::open(folder.settings()).err().expect("it is refused");
    let shown = error.to_string();
    assert!(shown.contains(text), "{shown}");
    assert!(shown.contains("induct.db"), "{shown}");
    error
}

#[tokio::test]
async fn a_missing_folder_and_file_are_made_for_their_owner_only() {
    let folder = Folder::new();
    let path = folder.path("deep/inside/induct.db");
    let settings = SqliteSettings { path: path.clone(), ..folder.settings() };
    let store = SqliteStore::open(settings).expect("it opens");
    write(&store, [put("press-17")]).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| {
            fs::metadata(path).expect("it is there").permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path("deep/inside/induct.db-wal")), 0o600);
        assert_eq!(mode(&folder.path("deep/inside")), 0o700);
    }
}

#[tokio::test]
async fn an_empty_file_becomes_a_database() {
    let folder = Folder::new();
    fs::write(folder.database(), []).expect("written");
    let store = folder.open_store();
    write(&store, [put("press-17")]).await;
    store.close();
    let raw = Connection::open(folder.database()).expect("it opens");
    let pragma = |name: &str| -> i64 {
        raw.pragma_query_value(None, name, |row| row.get(0)).expect("a pragma")
    };
    assert_eq!(pragma("user_version"), i64::from(migrations::LATEST));
    assert_eq!(pragma("page_size"), 4096);
    let mode: String =
        raw.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a pragma");
    assert_eq!(mode, "wal");
}

/// What acknowledging rests on: the log is on the disk before a commit returns.
#[test]
fn a_commit_waits_for_the_disk() {
    let folder = Folder::new();
    for _ in 0..2 {
        let writer = open::open_writer(&folder.database(), &master_key()).expect("it opens").0;
        let synchronous: i64 =
            writer.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("a pragma");
        assert_eq!(synchronous, 2, "FULL");
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_drop_without_close() {
    let folder = Folder::new();
    for n in 0..3 {
        let store = folder.open_store();
        for earlier in 0..n {
            assert!(has(&store, &format!("press-{earlier}")).await);
        }
        write(&store, [put(&format!("press-{n}"))]).await;
        drop(store);
    }
}

/// The files as a killed process leaves them: nothing closed, nothing moved out of the log.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let folder = Folder::new();
    let store = folder.open_store();
    for n in 0..20 {
        write(&store, [put(&format!("press-{n}"))]).await;
    }
    let killed = Folder::new();
    for name in ["induct.db", "induct.db-wal"] {
        fs::copy(folder.path(name), killed.path(name)).expect("copied");
    }
    let found = killed.open_store();
    for n in 0..20 {
        assert!(has(&found, &format!("press-{n}")).await, "press-{n}");
    }
    assert_eq!(found.usage().await.expect("usage").individual_enrollments, 20);
}

/// The same, with events and messages: nothing acknowledged is lost, no number comes twice.
#[tokio::test]
async fn events_and_messages_go_on_after_a_kill() {
    let (hub, id, at) = (hub("hub-1.test"), device_id("press-17"), Timestamp::from_ticks(1));
    let round = || {
        [
            Change::AppendEvent(hub.clone(), 2, Box::new(event("press-17", at, b"told"))),
            Change::EnqueueMessage(hub.clone(), Box::new(message("press-17", at, b"to do"))),
            Change::AppendFeedback(hub.clone(), Box::new(feedback("done"))),
        ]
    };
    let mut folder = Folder::new();
    let mut store = folder.open_store();
    write(&store, [Change::PutDevice(hub.clone(), Box::new(device("press-17")))]).await;
    for n in 1..=5 {
        for _ in 0..4 {
            write(&store, round()).await;
        }
        let killed = Folder::new();
        for name in ["induct.db", "induct.db-wal"] {
            fs::copy(folder.path(name), killed.path(name)).expect("copied");
        }
        store = killed.open_store();
        folder = killed;
        let from = EventPosition::Offset(0);
        let events = store.read_events(&hub, 2, from, 99, u64::MAX).await.expect("read");
        let messages = store.waiting_messages(&hub, &id, 0, 99).await.expect("read");
        let feedback = store.list_feedback(&hub, 99).await.expect("read");
        assert!(events.iter().map(|event| event.offset).eq(0..4 * n));
        assert!(messages.iter().map(|message| message.number).eq(1..=4 * n));
        assert!(feedback.iter().map(|feedback| feedback.number).eq(1..=4 * n));
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_until_the_first_has_closed() {
    let folder = Folder::new();
    let store = folder.open_store();
    let error = check_refused(&folder, "in use by another process");
    assert!(matches!(error, OpenError::InUse { .. }));
    let clone = store.clone();
    store.close();
    folder.open_store().close();
    drop(clone);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let store = folder.open_store();
    for n in 0..300 {
        write(&store, [put(&format!("press-{n}"))]).await;
    }
    store.close();
    let mut bytes = fs::read(folder.database()).expect("read");
    assert!(bytes.len() > 30 * 4096);
    for page in (20..25).map(|n| n * 4096) {
        bytes[page..page + 2000].fill(0x5a);
    }
    fs::write(folder.database(), bytes).expect("written");
    let error = check_refused(&folder, "restore a backup");
    assert!(matches!(error, OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_the_remedy() {
    let folder = Folder::new();
    fs::write(folder.database(), "# not a database\n".repeat(500)).expect("written");
    let error = check_refused(&folder, "restore a backup");
    assert!(matches!(error, OpenError::Damaged { .. }));
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = Folder::new();
    let raw = Connection::open(folder.database()).expect("it opens");
    raw.execute_batch("CREATE TABLE songs (title TEXT)").expect("made");
    drop(raw);
    let before = fs::read(folder.database()).expect("read");
    let error = check_refused(&folder, "another program");
    assert!(matches!(error, OpenError::Foreign { .. }));
    assert_eq!(fs::read(folder.database()).expect("read"), before);
}

#[test]
fn a_database_of_a_newer_release_is_refused_and_left_alone() {
    let folder = Folder::new();
    folder.open_store().close();
    let raw = Connection::open(folder.database()).expect("it opens");
    raw.pragma_update(None, "user_version", migrations::LATEST + 1).expect("written");
    drop(raw);
    let error = check_refused(&folder, "newer release");
    let expected = (migrations::LATEST + 1, migrations::LATEST);
    assert!(matches!(error, OpenError::Newer { found, known, .. } if (found, known) == expected));
    let error =
        SqliteStore::open_read_only(&folder.database(), &master_key()).err().expect("refused");
    assert!(matches!(error, OpenError::Newer { .. }));
}

#[tokio::test]
async fn a_reader_beside_a_running_server_sees_its_writes_and_makes_none() {
    let folder = Folder::new();
    let error =
        SqliteStore::open_read_only(&folder.database(), &master_key()).err().expect("refused");
    assert!(matches!(error, OpenError::Missing { .. }));
    let store = folder.open_store();
    let reader = SqliteStore::open_read_only(&folder.database(), &master_key()).expect("it opens");
    write(&store, [put("press-17")]).await;
    assert!(has(&reader, "press-17").await);
    let changes = model::ChangeSet::new().with(put("press-18"));
    let refused = reader.commit(changes).await.expect_err("it reads only");
    assert!(matches!(refused, CommitError::Fault(_)));
    assert!(!has(&store, "press-18").await);
    // Also when the server has gone.
    store.close();
    assert!(has(&reader, "press-17").await);
}

#[tokio::test]
async fn after_closing_every_call_answers_a_fault() {
    let folder = Folder::new();
    let store = folder.open_store();
    let clone = store.clone();
    store.close();
    let changes = model::ChangeSet::new().with(put("press-17"));
    assert!(matches!(clone.commit(changes).await, Err(CommitError::Fault(_))));
    assert!(clone.usage().await.is_err());
    clone.close();
}

/// Every caller gets its answer, whatever it was doing when the store closed; and what was
/// acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_under_load_leaves_nobody_waiting() {
    let folder = Folder::new();
    let store = folder.open_store();
    let (begun, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let task = |n_task: usize| {
        let (store, begun) = (store.clone(), begun.clone());
        tokio::spawn(async move {
            let mut n_acknowledged = 0;
            loop {
                let name = format!("dev-{n_task}-{n_acknowledged}");
                let changes = model::ChangeSet::new()
                    .with(Change::PutRecord(Box::new(record_of_group(&name, "line-4"))))
                    .with(Change::PutDevice(hub("hub-1.test"), Box::new(device(&name))));
                match store.commit(changes).await {
                    Ok(()) => n_acknowledged += 1,
                    Err(CommitError::Fault(_)) => return n_acknowledged,
                    Err(CommitError::Conflict) => panic!("nothing was expected"),
                }
                let _ = begun.send(());
                if store.register_facts(query(&name, GroupQuery::None)).await.is_err() {
                    return n_acknowledged;
                }
            }
        })
    };
    let tasks: Vec<_> = (0..32).map(task).collect();
    drop(begun);
    for _ in 0..100 {
        seen.recv().await.expect("they write");
    }
    tokio::task::spawn_blocking(move || store.close()).await.expect("closed");
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.push(task.await.expect("it ended"));
    }
    let store = folder.open_store();
    for (n_task, n_acknowledged) in acknowledged.into_iter().enumerate() {
        for n in 0..n_acknowledged {
            let query = query(&format!("dev-{n_task}-{n}"), GroupQuery::None);
            let facts = store.register_facts(query).await.expect("facts");
            assert!(facts.record.is_some() && facts.devices.len() == 1);
        }
    }
}

/// Releases up to 3.51.2 can corrupt a database when one connection checkpoints while another
/// writes, which is what this store does (docs/decisions/0007).
#[test]
fn the_bundled_sqlite_has_no_wal_reset_bug() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}
