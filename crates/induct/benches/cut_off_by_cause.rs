//! A CA is banned, and every session that rests on it ends: the time from the operator's request
//! to each closed socket. As many devices of another CA stay connected, and a hundred of them go on
//! sending events; how long their acknowledgements take is measured before the ban and during it.
//!
//! Every device is provisioned with a certificate of its own and connects to its hub with it, over
//! TLS and MQTT on a connection each. Server and devices are processes of their own on one
//! machine, which share its processors.
//!
//! Run with `cargo bench -p induct --bench cut_off_by_cause`. Whole, it needs 41,000 descriptors in
//! each of two processes; with fewer there are as many devices as fit, and the table says so.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use induct::client::{Client, ClientSettings};
use serde_json::{Value, json};
use testkit::Ca;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use scene::{Link, Room, Serving, acknowledged, connect, percentile, start_event};

/// The target for the 99th percentile, in milliseconds: off in under a second.
const TARGET_MS: f64 = 1_000.0;
/// How long a device may stay connected at the very most (H §4.5.3).
const CONTRACT: Duration = Duration::from_secs(20);
/// How many devices provision and connect at once.
const N_AT_ONCE: usize = 32;
const API: &str = "api-version=2021-10-01";

fn main() {
    if scene::is_list() {
        return;
    }
    let n_descriptors = scene::raise_descriptors_to(41_000);
    // Each device has one in each of the two processes.
    let fits = n_descriptors.saturating_sub(600) / 2;
    let (n_of_each, n_busy) = match scene::is_whole() {
        true => (10_000.min(fits), 100),
        false => (10, 3),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(n_of_each, n_busy));
}

/// The devices of one CA.
struct Line {
    ca: Ca,
    name: &'static str,
}

impl Line {
    fn new(name: &'static str) -> Self {
        Self { ca: Ca::root(name), name }
    }

    fn id(&self, n: usize) -> String {
        format!("{}-{n}", self.name)
    }

    async fn enroll(&self, service: &Service) {
        let certificate = json!({"certificate": self.ca.pem()});
        let group = json!({
            "enrollmentGroupId": self.name,
            "attestation":
                {"type": "x509", "x509": {"signingCertificates": {"primary": certificate}}},
        });
        let path = format!("/enrollmentGroups/{}?{API}", self.name);
        service.send(Method::PUT, &path, &group).await;
    }

    /// Provisions so many devices and connects them to their hub.
    async fn connect(&self, server: &Serving, n_devices: usize) -> Vec<(String, Link)> {
        stream::iter(0..n_devices)
            .map(|n| {
                let (id, leaf) = (self.id(n), self.ca.leaf(&self.id(n)));
                let show = |settings: ClientSettings| {
                    settings.with_identity(leaf.chain_pem(), leaf.key_pem())
                };
                let service = show(server.service_settings());
                let mut hub = show(server.settings(server.mqtt()));
                hub.protocol = "mqtt";
                let scope = server.id_scope().to_owned();
                tokio::spawn(async move {
                    register(service, &scope, &id).await;
                    let client = Client::new(hub).expect("a client");
                    let link = connect(&client, &id, false).await;
                    (id, link)
                })
            })
            .buffer_unordered(N_AT_ONCE)
            .try_collect()
            .await
            .expect("all are let in")
    }
}

async fn register(settings: ClientSettings, scope: &str, id: &str) {
    let client = Client::new(settings).expect("a client");
    let path = format!("/{scope}/registrations/{id}/register?api-version=2019-03-31");
    let headers = [("content-type", "application/json")];
    let body = json!({"registrationId": id}).to_string();
    let answer = client.request(Method::PUT, &path, &headers, body).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
}

/// The operator of the provisioning service.
struct Service {
    client: Client,
    token: String,
}

impl Service {
    fn of(server: &Serving) -> Self {
        let client = Client::new(server.service_settings()).expect("a client");
        Self { client, token: server.service_token() }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) {
        let headers =
            [("authorization", self.token.as_str()), ("content-type", "application/json")];
        let answer = self.client.request(method, path, &headers, body.to_string()).await;
        let answer = answer.expect("an answer");
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

async fn measure(n_of_each: usize, n_busy: usize) {
    let server = Serving::start(Room::Mqtt(2 * n_of_each));
    let service = Service::of(&server);
    let (banned, others) = (Line::new("banned"), Line::new("others"));
    banned.enroll(&service).await;
    others.enroll(&service).await;

    let (endings, mut ended) = mpsc::unbounded_channel();
    let mut devices = JoinSet::new();
    for (id, mut link) in banned.connect(&server, n_of_each).await {
        let endings = endings.clone();
        devices.spawn(async move {
            while link.receive().await.is_ok() {}
            // Nobody hears of those that go when the bench is over.
            let _ = endings.send((id, Instant::now()));
        });
    }
    // What the busy ones note of each event: when it was sent, and how long it took.
    let (latencies, mut measured) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    for (n, (id, mut link)) in others.connect(&server, n_of_each).await.into_iter().enumerate() {
        let (endings, latencies, mut stopped) =
            (endings.clone(), latencies.clone(), stopped.clone());
        devices.spawn(async move {
            while n < n_busy && !*stopped.borrow() {
                let sent = Instant::now();
                if !(start_event(&mut link, &id).await && acknowledged(&mut link).await) {
                    break;
                }
                let _ = latencies.send((sent, sent.elapsed()));
                sleep(Duration::from_millis(10)).await;
            }
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => {}
                () = async { while link.receive().await.is_ok() {} } => {
                    let _ = endings.send((id, Instant::now()));
                }
            }
        });
    }
    // What connecting left behind is done, and there is something to compare with.
    sleep(Duration::from_secs(2)).await;

    let asked = Instant::now();
    let ban = json!({"certificate": banned.ca.pem(), "reason": "its key was stolen"});
    service.send(Method::POST, "/induct/v1/bans", &ban).await;
    let answered = asked.elapsed();
    let mut times_ms = Vec::new();
    let mut seen = HashSet::new();
    while times_ms.len() < n_of_each {
        let ending = timeout(CONTRACT, ended.recv()).await.expect("cut off in time");
        let (id, at) = ending.expect("devices are connected");
        assert!(id.starts_with("banned-"), "{id} rests on another CA");
        assert!(seen.insert(id), "each ends once");
        times_ms.push(at.saturating_duration_since(asked).as_secs_f64() * 1_000.0);
    }
    let over = Instant::now();
    sleep(Duration::from_millis(500)).await;
    assert!(ended.try_recv().is_err(), "everybody else is still connected");
    // Whoever hears of it goes.
    let _ = stop.send(true);
    let (mut before, mut during) = (Vec::new(), Vec::new());
    while let Ok((sent, took)) = measured.try_recv() {
        let took_ms = took.as_secs_f64() * 1_000.0;
        // Those under way when the ban came count as disturbed by it.
        match sent + took < asked {
            true => before.push(took_ms),
            false if sent < over => during.push(took_ms),
            false => {}
        }
    }
    report(n_of_each, answered, times_ms, before, during);
}

fn report(
    n_of_each: usize,
    answered: Duration,
    mut times_ms: Vec<f64>,
    mut before: Vec<f64>,
    mut during: Vec<f64>,
) {
    println!("{n_of_each} sessions rest on the CA, as many on another");
    println!("{:<52}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p99", "max", "n");
    let row = |name: &str, values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        if values.is_empty() {
            println!("{name:<52}{:>36}", 0);
            return;
        }
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(values, share));
        println!("{name:<52}{p50:>9.2}{p99:>9.2}{max:>9.2}{:>9}", values.len());
    };
    row("from the request to the closed socket", &mut times_ms);
    if percentile(&times_ms, 0.99) > TARGET_MS {
        println!("above the target of 1,000 ms");
    }
    println!("{:<52}{:>9.2}", "the operator's answer", answered.as_secs_f64() * 1_000.0);
    row("an event of the others, before", &mut before);
    row("an event of the others, while the sessions end", &mut during);
}
