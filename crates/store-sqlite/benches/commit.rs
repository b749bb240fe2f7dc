//! Durable change sets per second with 1, 16 and 64 waiting, the facts of a registration, and
//! what connected devices do.
//!
//! A change set is a registration: record and device; or an event, or a connection. Put `TMPDIR` on the disk to be measured.
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::sync::atomic::{AtomicU64, Ordering};

use divan::{Bencher, counter::ItemsCount};
use induct_store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use model::{Change, ChangeSet, ConnectQuery, EventPosition, Expect, GroupQuery, Timestamp};
use store::{
    Store,
    suite::{
        scene::{
            by_ca, certificate, connect, device, device_id, disconnect, event, hub, query,
            record_of_group, signing_group, symmetric_key_group,
        },
        write,
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How many devices there are to read.
const N_DEVICES: u64 = 2_000;

/// How many change sets each waiting task commits in one round.
const N_EACH: u64 = 16;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 16, 64], sample_count = 20)]
fn register(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let scene = Scene::new();
    let next = AtomicU64::new(N_DEVICES);
    bencher.counter(ItemsCount::new(n_waiting * N_EACH)).bench(|| {
        let first = next.fetch_add(n_waiting * N_EACH, Ordering::Relaxed);
        scene.run(n_waiting, move |store, n_task| async move {
            for n in 0..N_EACH {
                let changes = registration(first + n_task * N_EACH + n);
                store.commit(changes).await.expect("committed");
            }
        });
    });
}

#[divan::bench(args = [1, 16, 64], sample_count = 20)]
fn register_again(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let scene = Scene::new();
    bencher.counter(ItemsCount::new(n_waiting * N_EACH)).bench(|| {
        scene.run(n_waiting, |store, n_task| async move {
            for n in 0..N_EACH {
                let changes = registration((n_task * 31 + n * 7) % N_DEVICES);
                store.commit(changes).await.expect("committed");
            }
        });
    });
}

/// A device's event of 256 bytes, as a connected device's is written: if its identity was not
/// written since.
#[divan::bench(args = [1, 16, 64], sample_count = 20)]
fn append_event(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let scene = Scene::new();
    bencher.counter(ItemsCount::new(n_waiting * N_EACH)).bench(|| {
        scene.run(n_waiting, |store, n_task| async move {
            for n in 0..N_EACH {
                store.commit(told((n_task * 31 + n * 7) % N_DEVICES)).await.expect("committed");
            }
        });
    });
}

/// A thousand events of one partition.
#[divan::bench(args = [1, 16], sample_count = 20)]
fn read_events(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let scene = Scene::new();
    scene.run(64, |store, n_task| async move {
        for n in (n_task..20_000).step_by(64) {
            store.commit(told(n % N_DEVICES)).await.expect("committed");
        }
    });
    bencher.counter(ItemsCount::new(n_waiting * 1_000)).bench(|| {
        scene.run(n_waiting, |store, n_task| async move {
            let (hub, from) = (hub("hub-1.test"), EventPosition::Offset(n_task * 100));
            let partition = (n_task % 4) as u16;
            let read = store.read_events(&hub, partition, from, 1_000, u64::MAX).await;
            assert_eq!(read.expect("read").len(), 1_000);
        });
    });
}

/// Trims 1,000 events of a partition and appends as many, per round.
#[divan::bench(sample_count = 20)]
fn trim_events(bencher: Bencher<'_, '_>) {
    let scene = Scene::new();
    let fill = || {
        scene.run(64, |store, n_task| async move {
            for n in (n_task..4_000).step_by(64) {
                store.commit(told(n % N_DEVICES)).await.expect("committed");
            }
        });
    };
    fill();
    bencher.counter(ItemsCount::new(4_000_u64)).with_inputs(fill).bench_values(|()| {
        scene.runtime.block_on(write(
            &scene.store,
            [Change::TrimEvents {
                hub: hub("hub-1.test"),
                before: Timestamp::from_ticks(i64::MAX),
                max_partition_bytes: 0,
                at_most: 1_000,
            }],
        ));
    });
}

/// A device connects and disconnects, in a change set each, with the facts read before.
#[divan::bench(args = [1, 16, 64], sample_count = 20)]
fn connect_and_disconnect(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let scene = Scene::new();
    bencher.counter(ItemsCount::new(n_waiting * N_EACH)).bench(|| {
        scene.run(n_waiting, |store, n_task| async move {
            for n in 0..N_EACH {
                let name = format!("dev-{}", (n_task * N_EACH + n) % N_DEVICES);
                let query = ConnectQuery {
                    hub: hub("hub-1.test"),
                    device_id: device_id(&name),
                    policy: None,
                    with_ca_certificates: false,
                    ban_keys: Vec::new(),
                    ca_names: Vec::new(),
                    serials: Vec::new(),
                };
                let facts = store.connect_facts(&query).await.expect("facts");
                let identity = facts.identity.expect("it is there");
                let mark = Expect::Mark(query.hub, query.device_id, identity.mark());
                let at = Timestamp::from_unix_secs(1);
                let on = ChangeSet::new().expecting(mark).with(connect(&name, n + 1, at));
                store.commit(on).await.expect("committed");
                write(&store, [disconnect(&name, n + 1, at)]).await;
            }
        });
    });
}

#[divan::bench(args = [1, 16], sample_count = 20)]
fn facts_by_chain(bencher: Bencher<'_, '_>, n_waiting: u64) {
    let chain = by_ca(&["leaf", "line-ca", "root"]);
    read_facts(bencher, n_waiting, &chain);
}

#[divan::bench(args = [1, 16], sample_count = 20)]
fn facts_by_symmetric_key(bencher: Bencher<'_, '_>, n_waiting: u64) {
    read_facts(bencher, n_waiting, &GroupQuery::BySymmetricKey);
}

fn read_facts(bencher: Bencher<'_, '_>, n_waiting: u64, groups: &GroupQuery) {
    let scene = Scene::new();
    bencher.counter(ItemsCount::new(n_waiting * N_EACH)).bench(|| {
        scene.run(n_waiting, |store, n_task| {
            let groups = groups.clone();
            async move {
                for n in 0..N_EACH {
                    let name = format!("dev-{}", (n_task * 31 + n * 7) % N_DEVICES);
                    let facts = store.register_facts(query(&name, groups.clone())).await;
                    assert!(facts.expect("facts").record.is_some());
                }
            }
        });
    });
}

struct Scene {
    runtime: Runtime,
    store: SqliteStore,
    _folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = SqliteSettings {
            path: folder.path().join("induct.db"),
            n_readers: 4,
            max_waiting: 1024,
            max_batch: 256,
            master_key: MasterKey::generate([42; 32]),
        };
        let runtime = Runtime::new().expect("a runtime");
        let store = SqliteStore::open(settings).expect("it opens");
        let scene = Self { runtime, store, _folder: folder };
        let line = certificate("line-ca", "root");
        scene.runtime.block_on(write(
            &scene.store,
            [
                Change::PutGroup(Box::new(signing_group("line-4", Some(line), None))),
                Change::PutGroup(Box::new(symmetric_key_group("line-5"))),
            ],
        ));
        scene.run(64, |store, n_task| async move {
            for n in (n_task..N_DEVICES).step_by(64) {
                store.commit(registration(n)).await.expect("committed");
            }
        });
        scene
    }

    /// Runs so many tasks at a time and waits for all.
    fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        n_tasks: u64,
        task: impl Fn(SqliteStore, u64) -> F,
    ) {
        self.runtime.block_on(async {
            let tasks: Vec<_> =
                (0..n_tasks).map(|n| tokio::spawn(task(self.store.clone(), n))).collect();
            for task in tasks {
                task.await.expect("the task ended well");
            }
        });
    }
}

fn registration(n: u64) -> ChangeSet {
    let name = format!("dev-{n}");
    ChangeSet::new()
        .with(Change::PutRecord(Box::new(record_of_group(&name, "line-4"))))
        .with(Change::PutDevice(hub("hub-1.test"), Box::new(device(&name))))
}

fn told(n: u64) -> ChangeSet {
    let (name, hub) = (format!("dev-{n}"), hub("hub-1.test"));
    let mark = device(&name).identity.mark();
    let mut event = event(&name, Timestamp::from_unix_secs(1), &[7; 256]);
    event.properties.content_type = Some("application/json".to_owned());
    ChangeSet::new()
        .expecting(Expect::Mark(hub.clone(), device_id(&name), mark))
        .with(Change::AppendEvent(hub, (n % 4) as u16, Box::new(event)))
}
