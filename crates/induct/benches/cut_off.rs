//! Off means off, and when: the time from the operator's answer to the closed socket.
//!
//! Devices hold sessions over TLS; an operator disables a tenth of them through the REST API, one
//! by one, then as many again by bulk requests of a hundred. Each device notes when its socket is
//! closed. Server and devices are processes of their own on one machine. A negative time means
//! that the device was off before the operator had the answer. The target: p99 below 100 ms with
//! 10,000 sessions on one node.
//!
//! Run with `cargo bench -p induct --bench cut_off`.
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{collections::HashMap, time::Duration};

use http::Method;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use scene::{Link, Operator, Room, Serving, acknowledged, id_of, percentile, start_event};

/// The target for the 99th percentile, in milliseconds.
const TARGET_MS: f64 = 100.0;
/// How long a device may stay connected at the very most (H §4.5.3).
const CONTRACT: Duration = Duration::from_secs(20);

fn main() {
    if scene::is_list() {
        return;
    }
    scene::raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{:<44}{:>9}{:>9}{:>9}{:>9}{:>12}",
        "from the answer to the closed socket, ms", "p50", "p99", "max", "n", "answer, ms"
    );
    let rows: &[(usize, usize, usize)] = match scene::is_whole() {
        true => &[(100, 10, 0), (10_000, 1_000, 0), (10_000, 1_000, 100)],
        false => &[(20, 5, 0), (20, 5, 5)],
    };
    for (n_sessions, n_cut, n_busy) in rows {
        runtime.block_on(measure(*n_sessions, *n_cut, *n_busy));
    }
}

/// With so many sessions, of which so many are cut off in each of the two ways, and so many
/// others send events one after the other.
async fn measure(n_sessions: usize, n_cut: usize, n_busy: usize) {
    let server = Serving::start(Room::Mqtt(n_sessions));
    let operator = server.operator();
    operator.create_devices(n_sessions).await;
    let links = scene::connect_all(&server.devices(), 0..n_sessions, true).await;
    // Spread over all: first, second and third of each group of so many.
    let step = n_sessions / n_cut;
    let one_by_one: Vec<usize> = (0..n_cut).map(|n| n * step).collect();
    let in_bulk: Vec<usize> = (0..n_cut).map(|n| n * step + 1).collect();
    let busy: Vec<usize> = (0..n_busy).map(|n| n * step + 2).collect();

    let (closings, mut closed) = mpsc::unbounded_channel();
    let mut devices = JoinSet::new();
    for (n, link) in links {
        let (closings, sends) = (closings.clone(), busy.contains(&n));
        devices.spawn(async move {
            until_closed(link, n, sends).await;
            // Whoever is still connected at the end is told to nobody.
            let _ = closings.send((n, Instant::now()));
        });
    }
    // What connecting left behind is done.
    sleep(Duration::from_millis(500)).await;

    let also = match n_busy {
        0 => String::new(),
        n => format!(", {n} sending"),
    };
    let name = format!("{n_sessions} sessions{also}, one by one");
    let (mut answers, mut took_ms) = (HashMap::new(), Vec::new());
    for n in &one_by_one {
        let asked = Instant::now();
        disable(&operator, *n).await;
        answers.insert(*n, Instant::now());
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    report(&name, &answers, took_ms, &mut closed).await;

    let name = format!("{n_sessions} sessions{also}, bulk of 100");
    let (mut answers, mut took_ms) = (HashMap::new(), Vec::new());
    let disabled = json!({"status": "disabled", "authentication": scene::by_key()});
    for some in in_bulk.chunks(100) {
        let asked = Instant::now();
        operator.bulk("update", some, &disabled).await;
        answers.extend(some.iter().map(|n| (*n, Instant::now())));
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    report(&name, &answers, took_ms, &mut closed).await;

    sleep(Duration::from_millis(200)).await;
    assert!(closed.try_recv().is_err(), "everybody else is still connected");
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

/// Waits until all who were cut off have noticed, and prints how long it took.
async fn report(
    name: &str,
    answers: &HashMap<usize, Instant>,
    mut took_ms: Vec<f64>,
    closed: &mut mpsc::UnboundedReceiver<(usize, Instant)>,
) {
    let mut times_ms = Vec::new();
    while times_ms.len() < answers.len() {
        let closing = timeout(CONTRACT, closed.recv()).await.expect("cut off in time");
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
        "{name:<44}{p50:>9.2}{p99:>9.2}{:>9.2}{:>9}{:>12.2}{verdict}",
        percentile(&times_ms, 1.0),
        times_ms.len(),
        percentile(&took_ms, 0.5),
    );
}
