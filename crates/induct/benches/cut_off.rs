//! Off means off, and when: the time from the operator's answer to the closed socket, or, by AMQP,
//! to the detached link.
//!
//! Devices hold sessions over TLS, by MQTT on a connection each, by AMQP a hundred on one; an
//! operator disables a tenth of them through the REST API, one by one, then as many again by bulk
//! requests of a hundred. Each device notes when its socket is closed or its link detached. Server and devices are processes of their own on one machine. A negative time means
//! that the device was off before the operator had the answer. The target: p99 below 100 ms with
//! 10,000 sessions on one node.
//!
//! Run with `cargo bench -p induct --bench cut_off`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{collections::HashMap, ops::Range, time::Duration};

use amqp::proto::Performative;
use http::Method;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use scene::{
    EVENT, Gateway, Link, Operator, Room, Serving, acknowledged,
    amqp_client::{self, SENDER},
    channel_of, id_of, percentile, start_event,
};

/// The target for the 99th percentile, in milliseconds.
const TARGET_MS: f64 = 100.0;
/// How long a device may stay connected at the very most (H §4.5.3).
const CONTRACT: Duration = Duration::from_secs(20);
/// How many devices are on one connection by AMQP.
const N_ON_EACH: usize = 100;

fn main() {
    if scene::is_list() {
        return;
    }
    scene::raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{:<52}{:>9}{:>9}{:>9}{:>9}{:>12}",
        "from the answer to the device's end, ms", "p50", "p99", "max", "n", "answer, ms"
    );
    let rows: &[Row] = match scene::is_whole() {
        true => &[
            Row { door: Door::Mqtt, n_sessions: 100, n_cut: 10, n_busy: 0 },
            Row { door: Door::Amqp, n_sessions: 100, n_cut: 10, n_busy: 0 },
            Row { door: Door::Mqtt, n_sessions: 10_000, n_cut: 1_000, n_busy: 0 },
            Row { door: Door::Amqp, n_sessions: 10_000, n_cut: 1_000, n_busy: 0 },
            Row { door: Door::Mqtt, n_sessions: 10_000, n_cut: 1_000, n_busy: 100 },
            Row { door: Door::Amqp, n_sessions: 10_000, n_cut: 1_000, n_busy: 100 },
        ],
        false => &[
            Row { door: Door::Mqtt, n_sessions: 20, n_cut: 5, n_busy: 5 },
            Row { door: Door::Amqp, n_sessions: 20, n_cut: 5, n_busy: 5 },
        ],
    };
    for row in rows {
        runtime.block_on(measure(*row));
    }
}

/// What is measured.
#[derive(Clone, Copy)]
struct Row {
    door: Door,
    n_sessions: usize,
    /// So many are cut off in each of the two ways.
    n_cut: usize,
    /// So many others send events one after the other.
    n_busy: usize,
}

#[derive(Clone, Copy)]
enum Door {
    Mqtt,
    /// [`N_ON_EACH`] to a connection.
    Amqp,
}

impl Row {
    fn room(self) -> Room {
        match self.door {
            Door::Mqtt => Room::Mqtt(self.n_sessions),
            Door::Amqp => Room::Amqp(self.n_sessions.div_ceil(N_ON_EACH)),
        }
    }
}

/// When a device was at its end.
type Ended = (usize, Instant);

async fn measure(row: Row) {
    let Row { door, n_sessions, n_cut, n_busy } = row;
    let server = Serving::start(row.room());
    let operator = server.operator();
    operator.create_devices(n_sessions).await;
    // Spread over all: first, second and third of each group of so many.
    let step = n_sessions / n_cut;
    let one_by_one: Vec<usize> = (0..n_cut).map(|n| n * step).collect();
    let in_bulk: Vec<usize> = (0..n_cut).map(|n| n * step + 1).collect();
    let is_busy = move |n: usize| n % step == 2 && n / step < n_busy;

    let (endings, mut ended) = mpsc::unbounded_channel();
    let mut devices = JoinSet::new();
    match door {
        Door::Mqtt => {
            for (n, link) in scene::connect_all(&server.devices(), 0..n_sessions, true).await {
                let endings = endings.clone();
                devices.spawn(async move {
                    until_closed(link, n, is_busy(n)).await;
                    // Whoever is still connected at the end is told to nobody.
                    let _ = endings.send((n, Instant::now()));
                });
            }
        }
        Door::Amqp => {
            let client = server.gateways();
            let gateways = scene::open_gateways(&client, 0..n_sessions, N_ON_EACH).await;
            for (numbers, gateway) in gateways {
                devices.spawn(until_detached(gateway, numbers, is_busy, endings.clone()));
            }
        }
    }
    // What connecting left behind is done.
    sleep(Duration::from_millis(500)).await;

    let door = match door {
        Door::Mqtt => "MQTT",
        Door::Amqp => "AMQP",
    };
    let also = match n_busy {
        0 => String::new(),
        n => format!(", {n} sending"),
    };
    let name = format!("{door}, {n_sessions} sessions{also}, one by one");
    let (mut answers, mut took_ms) = (HashMap::new(), Vec::new());
    for n in &one_by_one {
        let asked = Instant::now();
        disable(&operator, *n).await;
        answers.insert(*n, Instant::now());
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    report(&name, &answers, took_ms, &mut ended).await;

    let name = format!("{door}, {n_sessions} sessions{also}, bulk of 100");
    let (mut answers, mut took_ms) = (HashMap::new(), Vec::new());
    let disabled = json!({"status": "disabled", "authentication": scene::by_key()});
    for some in in_bulk.chunks(100) {
        let asked = Instant::now();
        operator.bulk("update", some, &disabled).await;
        answers.extend(some.iter().map(|n| (*n, Instant::now())));
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    report(&name, &answers, took_ms, &mut ended).await;

    sleep(Duration::from_millis(200)).await;
    assert!(ended.try_recv().is_err(), "everybody else is still connected");
}

async fn disable(operator: &Operator, n: usize) {
    let id = id_of(n);
    let identity = json!({"deviceId": id, "status": "disabled", "authentication": scene::by_key()});
    operator.send(Method::PUT, &format!("/devices/{id}"), &identity).await;
}

/// Waits for the end of the connection, idle or sending one event after the other.
async fn until_closed(mut link: Link, n: usize, sends: bool) {
    let id = id_of(n);
    while sends && start_event(&mut link, &id).await && acknowledged(&mut link).await {}
    while link.receive().await.is_ok() {}
}

/// Tells of each device of a connection when its link is detached; some send one event after the
/// other.
async fn until_detached(
    mut gateway: Gateway,
    numbers: Range<usize>,
    is_busy: impl Fn(usize) -> bool,
    endings: mpsc::UnboundedSender<Ended>,
) {
    let event = amqp_client::event(EVENT);
    for (n, _) in numbers.clone().enumerate().filter(|(_, number)| is_busy(*number)) {
        gateway.send(channel_of(n), SENDER, &event).await;
    }
    let number_of =
        |channel: u16| numbers.start + usize::from(channel) - usize::from(channel_of(0));
    while let Some(frame) = gateway.find_heard().await {
        match frame.performative {
            Performative::Detach(_) => {
                // Nobody hears of whoever is cut off after the end.
                let _ = endings.send((number_of(frame.channel), Instant::now()));
            }
            Performative::End(_) => gateway.end(frame.channel).await,
            Performative::Disposition(_) => {
                gateway.send(frame.channel, SENDER, &event).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until all who were cut off have noticed, and prints how long it took.
async fn report(
    name: &str,
    answers: &HashMap<usize, Instant>,
    mut took_ms: Vec<f64>,
    ended: &mut mpsc::UnboundedReceiver<Ended>,
) {
    let mut times_ms = Vec::new();
    while times_ms.len() < answers.len() {
        let closing = timeout(CONTRACT, ended.recv()).await.expect("cut off in time");
        let (n, at) = closing.expect("devices are connected");
        let answered = answers.get(&n).expect("nobody else is disconnected");
        let after = at.saturating_duration_since(*answered).as_secs_f64();
        let before = answered.saturating_duration_since(at).as_secs_f64();
        times_ms.push((after - before) * 1_000.0);
    }
    times_ms.sort_by(f64::total_cmp);
    took_ms.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&times_ms, 0.5), percentile(&times_ms, 0.99));
    let verdict = if p99 < TARGET_MS { "" } else { "  above the target of 100 ms" };
    println!(
        "{name:<52}{p50:>9.2}{p99:>9.2}{:>9.2}{:>9}{:>12.2}{verdict}",
        percentile(&times_ms, 1.0),
        times_ms.len(),
        percentile(&took_ms, 0.5),
    );
}
