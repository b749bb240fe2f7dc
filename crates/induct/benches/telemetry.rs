//! Events of 256 bytes per second that a whole server acknowledges, durable, against what its store
//! alone commits in the same run: how much of the disk's rate the door leaves over.
//!
//! Devices send over TLS, by MQTT with QoS 1 or by AMQP unsettled, waiting for each acknowledgement
//! or with sixteen on their way; by AMQP each on a connection of its own or a hundred on
//! one. The store's figure is for change sets as the server writes them, with as many waiting as
//! there are events on their way, up to the 1,024 the store lets wait. The devices take their share
//! of the machine's cores too, so the server's own processor time for an event is shown as well.
//!
//! Run with `cargo bench -p induct --bench telemetry`. Put `TMPDIR` on the disk to be measured.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{Change, ChangeSet, Expect, Timestamp};
use store::{
    Store,
    suite::scene::{device, device_id, event, hub},
};
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use scene::{
    EVENT, Gateway, Link, Room, Serving, acknowledged,
    amqp_client::{self, SENDER, accepted},
    channel_of, cpu_secs, id_of, start_event,
};

/// How many change sets the store lets wait, as `induct serve` has it.
const MAX_WAITING: usize = 1024;

/// How devices send.
#[derive(Clone, Copy)]
struct Row {
    door: Door,
    n_connections: usize,
    /// How many events each device has under way.
    in_flight: usize,
}

#[derive(Clone, Copy)]
enum Door {
    Mqtt,
    /// So many devices to a connection.
    Amqp {
        n_on_each: usize,
    },
}

impl Row {
    const fn mqtt(n_connections: usize, in_flight: usize) -> Self {
        Self { door: Door::Mqtt, n_connections, in_flight }
    }

    const fn amqp(n_connections: usize, n_on_each: usize, in_flight: usize) -> Self {
        Self { door: Door::Amqp { n_on_each }, n_connections, in_flight }
    }

    const fn n_devices(self) -> usize {
        match self.door {
            Door::Mqtt => self.n_connections,
            Door::Amqp { n_on_each } => self.n_connections * n_on_each,
        }
    }
}

const ROWS: [Row; 13] = [
    Row::mqtt(1, 1),
    Row::amqp(1, 1, 1),
    Row::mqtt(1, 16),
    Row::amqp(1, 1, 16),
    Row::mqtt(100, 1),
    Row::amqp(100, 1, 1),
    Row::amqp(1, 100, 1),
    Row::mqtt(100, 16),
    Row::amqp(100, 1, 16),
    Row::amqp(1, 100, 16),
    Row::mqtt(1_000, 1),
    Row::amqp(10, 100, 1),
    Row::mqtt(1_000, 16),
];
const SMALL_ROWS: [Row; 3] = [Row::mqtt(1, 1), Row::amqp(4, 1, 16), Row::amqp(1, 4, 1)];

fn main() {
    if scene::is_list() {
        return;
    }
    scene::raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (rows, measured): (&[Row], _) = match scene::is_whole() {
        true => (&ROWS, Duration::from_secs(4)),
        false => (&SMALL_ROWS, Duration::from_millis(200)),
    };
    println!(
        "{:<6}{:>12}{:>10}{:>10}{:>12}{:>12}{:>9}{:>14}",
        "",
        "connections",
        "devices",
        "in flight",
        "server /s",
        "store /s",
        "ratio",
        "CPU, us/event"
    );
    for row in rows {
        let (server, cpu_us) = runtime.block_on(server_rate(*row, measured));
        let n_waiting = (row.n_devices() * row.in_flight).min(MAX_WAITING);
        let store = runtime.block_on(store_rate(n_waiting, measured));
        let door = match row.door {
            Door::Mqtt => "MQTT",
            Door::Amqp { .. } => "AMQP",
        };
        println!(
            "{door:<6}{:>12}{:>10}{:>10}{server:>12.0}{store:>12.0}{:>9.2}{cpu_us:>14.1}",
            row.n_connections,
            row.n_devices(),
            row.in_flight,
            server / store
        );
    }
}

/// Events a second that a server acknowledges, and microseconds of processor time it takes for one.
async fn server_rate(row: Row, measured: Duration) -> (f64, f64) {
    let (n_connections, n_devices) = (row.n_connections, row.n_devices());
    let mut server = Serving::start(match row.door {
        Door::Mqtt => Room::Mqtt(n_connections),
        Door::Amqp { .. } => Room::Amqp(n_connections),
    });
    server.operator().create_devices(n_devices).await;
    let count = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut devices = JoinSet::new();
    let shared = || (Arc::clone(&count), Arc::clone(&stop));
    match row.door {
        Door::Mqtt => {
            for (n, link) in scene::connect_all(&server.devices(), 0..n_devices, true).await {
                let (count, stop) = shared();
                devices.spawn(send(link, id_of(n), row.in_flight, count, stop));
            }
        }
        Door::Amqp { n_on_each } => {
            let client = server.gateways();
            for (_, gateway) in scene::open_gateways(&client, 0..n_devices, n_on_each).await {
                let (count, stop) = shared();
                devices.spawn(send_by_amqp(gateway, n_on_each, row.in_flight, count, stop));
            }
        }
    }
    let pid = server.process().id();
    let (cpu_before, n_before) = (cpu_secs(pid), count.load(Ordering::Relaxed));
    let rate = rate_of(&count, measured).await;
    let (cpu, n) = (cpu_secs(pid) - cpu_before, count.load(Ordering::Relaxed) - n_before);
    stop.store(true, Ordering::Relaxed);
    for ended in devices.join_all().await {
        assert!(ended, "no connection broke");
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    let n = n as f64;
    (rate, cpu * 1e6 / n)
}

/// All devices of a connection send, each so many at a time.
async fn send_by_amqp(
    mut gateway: Gateway,
    n_devices: usize,
    in_flight: usize,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> bool {
    let event = amqp_client::event(EVENT);
    for _ in 0..in_flight {
        for n in 0..n_devices {
            if gateway.try_send(channel_of(n), SENDER, &event).await.is_none() {
                return false;
            }
        }
    }
    while !stop.load(Ordering::Relaxed) {
        let Some(frame) = gateway.find_heard().await else { return false };
        let Some((channel, numbers)) = accepted(&frame) else { return false };
        for _ in numbers {
            count.fetch_add(1, Ordering::Relaxed);
            if gateway.try_send(channel, SENDER, &event).await.is_none() {
                return false;
            }
        }
    }
    true
}

async fn send(
    mut link: Link,
    id: String,
    in_flight: usize,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> bool {
    for _ in 1..in_flight {
        if !start_event(&mut link, &id).await {
            return false;
        }
    }
    while !stop.load(Ordering::Relaxed) {
        if !start_event(&mut link, &id).await || !acknowledged(&mut link).await {
            return false;
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    true
}

/// Change sets a second that the store commits with so many waiting.
async fn store_rate(n_waiting: usize, measured: Duration) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 4,
        max_waiting: MAX_WAITING,
        max_batch: 256,
        master_key: MasterKey::generate([42; 32]),
    };
    let store = SqliteStore::open(settings).expect("it opens");
    let hub_name = || hub("hub-1.test");
    let create = |n: usize| Change::PutDevice(hub_name(), Box::new(device(&id_of(n))));
    let devices = (0..n_waiting).map(create).fold(ChangeSet::new(), ChangeSet::with);
    store.commit(devices).await.expect("committed");
    let count = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for n in 0..n_waiting {
        let (store, count, stop) = (store.clone(), Arc::clone(&count), Arc::clone(&stop));
        tasks.spawn(async move {
            let id = id_of(n);
            let mark = device(&id).identity.mark();
            let partition = u16::try_from(n % 4).expect("one of four");
            while !stop.load(Ordering::Relaxed) {
                let event = event(&id, Timestamp::from_unix_secs(1), EVENT);
                let changes = ChangeSet::new()
                    .expecting(Expect::Mark(hub_name(), device_id(&id), mark.clone()))
                    .with(Change::AppendEvent(hub_name(), partition, Box::new(event)));
                store.commit(changes).await.expect("committed");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let rate = rate_of(&count, measured).await;
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    rate
}

/// How fast the counter goes up, once it goes.
async fn rate_of(count: &AtomicU64, measured: Duration) -> f64 {
    sleep(measured / 4).await;
    let (before, began) = (count.load(Ordering::Relaxed), Instant::now());
    sleep(measured).await;
    let n = count.load(Ordering::Relaxed) - before;
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    let n = n as f64;
    n / began.elapsed().as_secs_f64()
}
