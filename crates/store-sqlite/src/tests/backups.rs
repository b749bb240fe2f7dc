//! Copies of a database in use.

use std::fs;

use model::{Change, EventPosition, GroupQuery, RecordFilter, Timestamp};
use store::{
    Store,
    suite::{
        scene::{device, event, hub, individual, query, record_of_group},
        write,
    },
};

use super::Folder;
use crate::{BackupError, OpenError, SqliteSettings, SqliteStore, backup_file};

/// A registration as it is always written: record and device together.
fn registration(name: &str) -> [Change; 2] {
    [
        Change::PutRecord(Box::new(record_of_group(name, "line-4"))),
        Change::PutDevice(hub("hub-1.test"), Box::new(device(name))),
    ]
}

/// Opens a backup as a server would; expects every record's device and counters that agree, and
/// at least so many records.
async fn check_backup(folder: &Folder, name: &str, at_least: u64) {
    let settings = SqliteSettings { path: folder.path(name), ..folder.settings() };
    let store = SqliteStore::open(settings).expect("the backup opens");
    let page = store.list_records(&RecordFilter::All, None, usize::MAX).await.expect("records");
    for record in &page.items {
        let id = record.registration_id.as_str();
        let facts = store.register_facts(query(id, GroupQuery::None)).await.expect("facts");
        assert_eq!(facts.devices.len(), 1, "{id}");
    }
    let n_records = page.items.len() as u64;
    assert!(n_records >= at_least, "{n_records} of {at_least}");
    assert_eq!(store.usage().await.expect("usage").registrations, n_records);
    let counts = store.device_counts(&hub("hub-1.test")).await.expect("counts");
    assert_eq!(counts.total, n_records);
    // It goes on from there.
    write(&store, registration("after-the-backup")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_writes_is_consistent_and_opens() {
    let folder = Folder::new();
    let store = folder.open_store();
    // Enough pages for several steps.
    for n in 0..200 {
        let mut big = individual(&format!("big-{n}"));
        big.optional_device_information = Some(model::Json::String("x".repeat(50_000)));
        write(&store, [Change::PutIndividual(Box::new(big))]).await;
    }
    for n in 0..100 {
        write(&store, registration(&format!("before-{n}"))).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut n = 0;
            while !*stopped.borrow() {
                write(&store, registration(&format!("during-{n}"))).await;
                n += 1;
            }
            n
        })
    };
    let mut reports = Vec::new();
    let progress = |done, total| reports.push((done, total));
    store.backup(&folder.path("one.db"), progress).await.expect("a backup");
    let (from, to) = (folder.database(), folder.path("two.db"));
    let beside = move || backup_file(&from, &to, |_, _| {});
    tokio::task::spawn_blocking(beside).await.expect("joined").expect("a backup");
    stop.send(true).expect("it writes");
    assert!(writer.await.expect("it wrote") > 0);

    assert!(reports.len() > 1, "{reports:?}");
    assert!(reports.is_sorted_by_key(|(done, _)| *done), "{reports:?}");
    let (done, total) = reports[reports.len() - 1];
    assert_eq!(done, total);
    assert_eq!(total, fs::metadata(folder.path("one.db")).expect("it is there").len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path("one.db")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    check_backup(&folder, "one.db", 100).await;
    check_backup(&folder, "two.db", 100).await;
}

/// What is said of a log and the log are of one moment; the copy goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_growing_log_goes_on_with_its_offsets() {
    let folder = Folder::new();
    let store = folder.open_store();
    let log = hub("hub-1.test");
    let append = |partition| {
        let event = event("press-17", Timestamp::from_ticks(1), &[7; 3_000]);
        Change::AppendEvent(hub("hub-1.test"), partition, Box::new(event))
    };
    let trim = Change::TrimEvents {
        hub: log.clone(),
        before: Timestamp::from_ticks(2),
        max_partition_bytes: u64::MAX,
        at_most: 1,
    };
    for _ in 0..100 {
        write(&store, (0..20).map(|n| append(n % 4))).await;
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writer = {
        let (store, trim) = (store.clone(), trim.clone());
        tokio::spawn(async move {
            while !*stopped.borrow() {
                write(&store, [append(0), append(1), trim.clone()]).await;
            }
        })
    };
    store.backup(&folder.path("copy.db"), |_, _| {}).await.expect("a backup");
    stop.send(true).expect("it writes");
    writer.await.expect("it wrote");

    let settings = SqliteSettings { path: folder.path("copy.db"), ..folder.settings() };
    let copy = SqliteStore::open(settings).expect("the backup opens");
    let states = copy.event_partitions(&log).await.expect("read");
    assert_eq!(states.len(), 4);
    write(&copy, (0..4).map(append)).await;
    for state in states {
        let from = EventPosition::Offset(0);
        let read = copy.read_events(&log, state.partition, from, usize::MAX, u64::MAX).await;
        let events = read.expect("read");
        assert!(events.iter().map(|event| event.offset).eq(state.first_offset..=state.next_offset));
        let (_, before) = events.split_last().expect("one was just appended");
        assert_eq!(before.iter().map(|e| e.event.size_bytes()).sum::<u64>(), state.size_bytes);
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let folder = Folder::new();
    let store = folder.open_store();
    fs::write(folder.path("precious"), "mine").expect("written");
    let refused = store.backup(&folder.path("precious"), |_, _| {}).await;
    assert!(matches!(refused, Err(BackupError::Exists { .. })), "{refused:?}");
    let refused = store.backup(&folder.database(), |_, _| {}).await;
    assert!(matches!(refused, Err(BackupError::Exists { .. })), "{refused:?}");
    assert_eq!(fs::read(folder.path("precious")).expect("read"), b"mine");
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing_behind() {
    let folder = Folder::new();
    let refused = backup_file(&folder.database(), &folder.path("copy.db"), |_, _| {});
    assert!(matches!(refused, Err(BackupError::Open(OpenError::Missing { .. }))), "{refused:?}");
    let store = folder.open_store();
    // Something else has the name of the unfinished copy.
    fs::write(folder.path("copy.db.partial"), "").expect("written");
    let refused = store.backup(&folder.path("copy.db"), |_, _| {}).await;
    assert!(matches!(refused, Err(BackupError::Exists { .. })), "{refused:?}");
    assert!(!folder.path("copy.db").exists());
    let nowhere = folder.path("no/such/folder/copy.db");
    let refused = store.backup(&nowhere, |_, _| {}).await;
    assert!(matches!(refused, Err(BackupError::Io { .. })), "{refused:?}");
}
