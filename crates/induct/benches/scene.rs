//! What the benches of the MQTT and AMQP doors share: a server in a process of its own, devices in its
//! registry, and connections to it.
//!
//! Included by each bench; `cargo bench` runs them whole, and `cargo test --benches` with figures
//! so small that they say nothing but that the bench still works.
#![allow(dead_code, reason = "each bench uses its share of it")]

#[path = "../tests/server/amqp_client.rs"]
pub(crate) mod amqp_client;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use induct::{
    client::{Client, ClientSettings, Response},
    data_folder::Listening,
    device_link::{DeviceLink, connect_packet},
    login::sas_token,
};
use model::{SymmetricKey, Timestamp};
use mqtt::proto::{Connect, Packet, Qos};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::amqp_client::AmqpClient;

/// The hub.
pub(crate) const HUB: &str = "hub-1.localhost";
/// The key of every device with a key.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const API: &str = "api-version=2021-04-12";
/// How many devices connect at once.
const N_AT_ONCE: usize = 64;
/// How long connecting, or an answer, may take on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection of a device.
pub(crate) type Link = DeviceLink<TlsStream<TcpStream>>;

/// A connection of many devices, over AMQP.
pub(crate) type Gateway = AmqpClient<TlsStream<TcpStream>>;

/// Whether this is a run for figures: `cargo bench`, and not with `--test`.
pub(crate) fn is_whole() -> bool {
    let asked = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    asked("--bench") && !asked("--test")
}

/// Whether whoever asks wants a list of tests and no run.
pub(crate) fn is_list() -> bool {
    std::env::args().any(|arg| arg == "--list")
}

/// Lets this process open as many files as it may. Its children inherit that.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
}

/// Lets this process and its children open this many files, or as many as they may; answers how
/// many that is. The superuser may raise the hard limit as well.
pub(crate) fn raise_descriptors_to(n: usize) -> usize {
    let wanted = n as u64;
    let has = getrlimit(Resource::Nofile);
    if has.maximum.is_some_and(|most| most < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted) };
        // Whoever may not has what they had.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    raise_descriptors();
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(n, |now| usize::try_from(now).unwrap_or(n))
}

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "tokens are made for the server's own clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp::from_unix_secs(since.expect("after 1970").as_secs().try_into().expect("seconds"))
}

/// How many devices may be connected at each door, all from here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    /// Over TLS.
    Mqtt(usize),
    /// In WebSockets.
    Https(usize),
    /// Over AMQP: so many connections, each of any number of devices.
    Amqp(usize),
}

/// A running `induct serve` with one hub. Dropping it kills it.
pub(crate) struct Serving {
    child: Child,
    folder: TempDir,
    listening: Listening,
}

impl Serving {
    /// Starts a server with room for so many devices.
    pub(crate) fn start(room: Room) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_induct"));
        command.args(["serve", "--data"]).arg(folder.path().join("data"));
        Self::start_by(command, folder, room)
    }

    /// As [`Self::start`], by this command; it says `Listening on` when it listens.
    pub(crate) fn start_by(mut command: Command, folder: TempDir, room: Room) -> Self {
        // Descriptors are few, so the other doors have room for the operator and little else.
        let (n_https, n_mqtt, n_amqp) = match room {
            Room::Mqtt(n) => (100, n + 100, 0),
            Room::Https(n) => (n + 100, 100, 0),
            Room::Amqp(n) => (100, 100, n + 100),
        };
        let amqp = if n_amqp == 0 { "" } else { "127.0.0.1:0" };
        let n_amqp = n_amqp.max(1).to_string();
        let (n_https, n_mqtt) = (n_https.to_string(), n_mqtt.to_string());
        command
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", "/nonexistent/home")
            .env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0")
            .env("INDUCT_LISTEN__MAX_CONNECTIONS", &n_https)
            .env("INDUCT_LISTEN__MAX_CONNECTIONS_PER_ADDRESS", &n_https)
            .env("INDUCT_LISTEN__MAX_MQTT_CONNECTIONS", &n_mqtt)
            .env("INDUCT_LISTEN__MAX_MQTT_CONNECTIONS_PER_ADDRESS", &n_mqtt)
            .env("INDUCT_LISTEN__AMQP", amqp)
            .env("INDUCT_LISTEN__MAX_AMQP_CONNECTIONS", &n_amqp)
            .env("INDUCT_LISTEN__MAX_AMQP_CONNECTIONS_PER_ADDRESS", &n_amqp)
            .env("INDUCT_LISTEN__HANDSHAKE_TIMEOUT_SECS", "120")
            .env("INDUCT_LOG__LEVEL", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.starts_with("Listening on ") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "the server did not start");
        }
        // Nobody reads on, and a full pipe would stop the server.
        thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        let file = folder.path().join("data/run/listen.json");
        let text = fs::read_to_string(file).expect("listen.json");
        let listening = serde_json::from_str(&text).expect("listen.json");
        Self { child, folder, listening }
    }

    /// The server's process.
    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its folder, with `data` in it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The operator of its hub.
    pub(crate) fn operator(&self) -> Operator {
        let mut command = Command::new(env!("CARGO_BIN_EXE_induct"));
        command.args(["connection-string", "show", "--hub", "hub-1", "--data"]);
        command.arg(self.folder.path().join("data"));
        let output = command.env_clear().env("HOME", "/nonexistent/home").output();
        let answer: Value =
            serde_json::from_slice(&output.expect("it runs").stdout).expect("its answer");
        let text = answer["connectionString"].as_str().expect("a connection string");
        let part = |name: &str| {
            let mut parts = text.split(';').filter_map(|part| part.split_once('='));
            parts.find(|(key, _)| *key == name).expect("a part").1
        };
        let key = SymmetricKey::parse(part("SharedAccessKey")).expect("a key");
        let expires = now().plus_secs(3_600);
        let host = part("HostName");
        let token = sas_token(host, Some(part("SharedAccessKeyName")), &key, expires);
        let client = Client::new(self.settings(self.listening.https[0])).expect("a client");
        Operator { client, token }
    }

    /// A token of the owner of the provisioning service.
    pub(crate) fn service_token(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_induct"));
        command.args(["connection-string", "show", "--data"]);
        command.arg(self.folder.path().join("data"));
        let output = command.env_clear().env("HOME", "/nonexistent/home").output();
        let answer: Value =
            serde_json::from_slice(&output.expect("it runs").stdout).expect("its answer");
        let text = answer["connectionString"].as_str().expect("a connection string");
        let part = |name: &str| {
            let mut parts = text.split(';').filter_map(|part| part.split_once('='));
            parts.find(|(key, _)| *key == name).expect("a part").1
        };
        let key = SymmetricKey::parse(part("SharedAccessKey")).expect("a key");
        let expires = now().plus_secs(3_600);
        let host = part("HostName").split(':').next().expect("a host name");
        sas_token(host, Some(part("SharedAccessKeyName")), &key, expires)
    }

    /// What a client of the provisioning service is told.
    pub(crate) fn service_settings(&self) -> ClientSettings {
        ClientSettings { host: "localhost".to_owned(), ..self.settings(self.https()) }
    }

    /// What a client of one of its doors is told.
    pub(crate) fn settings(&self, address: SocketAddr) -> ClientSettings {
        let ca = self.listening.ca.as_ref().expect("its own CA");
        let ca = fs::read_to_string(ca).expect("readable");
        let mut settings = ClientSettings::new(HUB, address.port(), ca).at(address);
        settings.connect_timeout = PATIENCE;
        settings.request_timeout = PATIENCE;
        settings
    }

    /// A client of its MQTT door.
    pub(crate) fn devices(&self) -> Arc<Client> {
        let mut settings = self.settings(self.mqtt());
        settings.protocol = "mqtt";
        Arc::new(Client::new(settings).expect("a client"))
    }

    /// A client of its AMQP door.
    pub(crate) fn gateways(&self) -> Arc<Client> {
        let mut settings = self.settings(self.amqp());
        settings.protocol = "amqp";
        Arc::new(Client::new(settings).expect("a client"))
    }

    /// The ID scope of its provisioning service.
    pub(crate) fn id_scope(&self) -> &str {
        &self.listening.id_scope
    }

    /// Where its AMQP door listens.
    pub(crate) fn amqp(&self) -> SocketAddr {
        self.listening.amqp[0]
    }

    /// Where its MQTT door listens.
    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.listening.mqtt[0]
    }

    /// Where its HTTPS door listens.
    pub(crate) fn https(&self) -> SocketAddr {
        self.listening.https[0]
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Either it is gone already, or it goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An operator of the hub, on one connection.
pub(crate) struct Operator {
    client: Client,
    token: String,
}

impl Operator {
    /// Sends a request, which must succeed.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        let headers = [
            ("authorization", self.token.as_str()),
            ("content-type", "application/json"),
            ("if-match", "*"),
        ];
        let is_new = method == Method::POST;
        let headers = if is_new { &headers[..2] } else { &headers[..] };
        let path = format!("{path}?{API}");
        let answer = self.client.request(method, &path, headers, body.to_string()).await;
        let answer = answer.expect("an answer");
        assert!(answer.status.is_success(), "{answer:?}");
        answer
    }

    /// Changes this many devices by requests of a hundred each.
    pub(crate) async fn bulk(&self, mode: &str, numbers: &[usize], change: &Value) {
        for some in numbers.chunks(100) {
            let element = |n: &usize| {
                let mut element = change.clone();
                element["id"] = json!(id_of(*n));
                element["importMode"] = json!(mode);
                element
            };
            let body = Value::from(some.iter().map(element).collect::<Vec<_>>());
            self.send(Method::POST, "/devices", &body).await;
        }
    }

    /// Creates so many devices with keys.
    pub(crate) async fn create_devices(&self, n_devices: usize) {
        let numbers: Vec<usize> = (0..n_devices).collect();
        self.bulk("create", &numbers, &json!({"authentication": by_key()})).await;
    }
}

/// The name of a device.
pub(crate) fn id_of(n: usize) -> String {
    format!("press-{n}")
}

/// An identity's authentication by the key that all have.
pub(crate) fn by_key() -> Value {
    json!({"type": "sas", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}})
}

/// A token of a device with a key.
pub(crate) fn token_of(id: &str) -> String {
    let key = SymmetricKey::parse(KEY).expect("a key");
    sas_token(&format!("{HUB}/devices/{id}"), None, &key, now().plus_secs(3_600))
}

/// A token for this registration, as a device with a key shows it to the provisioning service.
pub(crate) fn registration_token(identity: &str) -> String {
    let key = SymmetricKey::parse(KEY).expect("a key");
    sas_token(identity, Some("registration"), &key, now().plus_secs(3_600))
}

/// What a device says first; without a token it shows its certificate.
pub(crate) fn hello(id: &str, has_key: bool) -> Connect {
    let token = has_key.then(|| token_of(id));
    let user_name = format!("{HUB}/{id}/?api-version=2021-04-12");
    connect_packet(id, &user_name, token.as_deref(), false, 1_000).expect("legal")
}

/// Connects a device.
pub(crate) async fn connect(client: &Client, id: &str, has_key: bool) -> Link {
    let mut link = DeviceLink::new(client.dial().await.expect("a connection"));
    link.connect(hello(id, has_key)).await.expect("let in");
    link
}

/// Connects the devices of these numbers.
pub(crate) async fn connect_all(
    client: &Arc<Client>,
    numbers: impl Iterator<Item = usize>,
    has_key: bool,
) -> Vec<(usize, Link)> {
    stream::iter(numbers)
        .map(|n| {
            let client = Arc::clone(client);
            tokio::spawn(async move { (n, connect(&client, &id_of(n), has_key).await) })
        })
        .buffer_unordered(N_AT_ONCE)
        .try_collect()
        .await
        .expect("all are let in")
}

/// The channel of a device that is this one of its connection.
pub(crate) fn channel_of(n: usize) -> u16 {
    u16::try_from(n + 1).expect("few devices on a connection")
}

/// Opens a connection over AMQP for the devices of these numbers, from channel 1 on: each has a
/// session and a link on which it sends.
pub(crate) async fn open_gateway(client: &Client, numbers: Range<usize>) -> Gateway {
    let stream = client.dial().await.expect("a connection");
    let mut gateway = Gateway::open_for_tokens(stream, HUB).await;
    for (n, number) in numbers.enumerate() {
        let id = id_of(number);
        gateway.join(channel_of(n), &id, &token_of(&id)).await;
    }
    gateway
}

/// The same for all of these devices, so many on each connection.
pub(crate) async fn open_gateways(
    client: &Arc<Client>,
    numbers: Range<usize>,
    n_on_each: usize,
) -> Vec<(Range<usize>, Gateway)> {
    let last = numbers.end;
    stream::iter(numbers.step_by(n_on_each))
        .map(|first| {
            let (client, devices) = (Arc::clone(client), first..(first + n_on_each).min(last));
            tokio::spawn(async move { (devices.clone(), open_gateway(&client, devices).await) })
        })
        .buffer_unordered(N_AT_ONCE)
        .try_collect()
        .await
        .expect("all are let in")
}

/// Sends an event of 256 bytes; with QoS 1 nobody waits here for its acknowledgement.
pub(crate) async fn start_event(link: &mut Link, id: &str) -> bool {
    let topic = format!("devices/{id}/messages/events/");
    link.publish(&topic, EVENT, Qos::AtLeastOnce).await.is_ok()
}

/// Waits for the acknowledgement of an event; whether it came.
pub(crate) async fn acknowledged(link: &mut Link) -> bool {
    matches!(link.receive().await, Ok(Packet::PubAck(_)))
}

/// The processor time a process has taken so far, in seconds. Linux counts it in hundredths.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("readable");
    // After the name, which may hold anything, user and system time are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// An event's payload.
pub(crate) const EVENT: &[u8] = &[b'x'; 256];

/// The value below which this share of all lies; the values are sorted.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    assert!(sorted.is_sorted() && !sorted.is_empty());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    let at = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted[at]
}
