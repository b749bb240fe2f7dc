//! Expiry on a real store, by a clock that moves when told to.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use app::{
    first_start,
    orphans::ORPHAN_BATCH,
    ports::{Clock, NoAllocationHook},
};
use model::{Change, ChangeSet, RecordFilter, RegistrationRecord, Timestamp};
use store::{Store, suite::scene::record_of_group};
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{self, Given},
    ports::{Environment, SystemEntropy},
    wiring,
};

const START_SECS: i64 = 1_800_000_000;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.0.load(Ordering::Relaxed))
    }
}

struct Scene {
    app: App,
    store: Arc<dyn Store>,
    clock: Arc<HandClock>,
    _folder: TempDir,
}

/// So many records of a group that is not there.
async fn scene(n: usize) -> Scene {
    let folder = TempDir::new().expect("a folder");
    let given = Given { config: None, data: Some(folder.path().to_owned()) };
    let config = config::parse("", None, &given, &Environment::default()).expect("legal").config;
    let settings = SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 1,
        max_waiting: 64,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(settings).expect("a store"));
    let clock = Arc::new(HandClock(AtomicI64::new(START_SECS)));
    let declared = wiring::declared(&config);
    let started = first_start::prepare(&*store, &SystemEntropy, &*clock, &declared).await;
    let id_scope = started.expect("prepared").id_scope;
    let app = App::new(
        Arc::clone(&store),
        Arc::clone(&clock) as _,
        Arc::new(SystemEntropy),
        Arc::new(NoAllocationHook),
        wiring::app_settings(&config, id_scope),
    );
    let mut changes = ChangeSet::new();
    for n in 0..n {
        let record = record_of_group(&format!("press-{n:04}"), "line-4");
        let last_updated = Timestamp::from_unix_secs(START_SECS);
        let record = RegistrationRecord { last_updated, ..record };
        changes.changes.push(Change::PutRecord(Box::new(record)));
    }
    store.commit(changes).await.expect("committed");
    Scene { app, store, clock, _folder: folder }
}

impl Scene {
    async fn n_records(&self) -> u64 {
        self.store.count_records(&RecordFilter::All).await.expect("counted")
    }
}

#[tokio::test]
async fn one_pass_deletes_all_that_are_old_enough() {
    let scene = scene(2 * ORPHAN_BATCH + 1).await;
    let (_stop, stopping) = watch::channel(false);
    let check = async |after_secs: i64, expected: u64| {
        scene.clock.0.store(START_SECS + after_secs, Ordering::Relaxed);
        run_once(&scene.app, 3_600, &stopping).await;
        assert_eq!(scene.n_records().await, expected, "after {after_secs} s");
    };
    check(3_600, 2 * ORPHAN_BATCH as u64 + 1).await;
    check(3_601, 0).await;
}

#[tokio::test]
async fn a_pass_ends_with_the_server() {
    let scene = scene(2 * ORPHAN_BATCH).await;
    scene.clock.0.store(START_SECS + 7_200, Ordering::Relaxed);
    let (stop, stopping) = watch::channel(false);
    stop.send_replace(true);
    run_once(&scene.app, 3_600, &stopping).await;
    assert_eq!(scene.n_records().await, ORPHAN_BATCH as u64, "one batch, and no more");
    expire(scene.app.clone(), Some(3_600), stopping.clone()).await;
    expire(scene.app.clone(), None, stopping).await;
}
