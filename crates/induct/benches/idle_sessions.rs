//! What an idle session of a device costs a server in memory, all in: the listener's connection,
//! the door's session, the place in the index of live sessions.
//!
//! A server in a process of its own holds the sessions; devices have connected, by MQTT subscribed
//! to twin answers, by AMQP attached a link on which they send and one on which they receive, and
//! said nothing since. By AMQP each has a connection, or shares one with 99 others. Shown is what each adds: resident memory (RSS) and its
//! proportional share (PSS) of a real `induct serve`, and, in a run of its own with the same server
//! under an allocator that counts, the bytes asked of Rust's allocator. The kernel's socket buffers
//! are in none of them. The target: below 20 KB.
//!
//! Run with `cargo bench -p induct --bench idle_sessions`; with `-- sites`, each row also writes a
//! file for DHAT's viewer that says who holds the bytes.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{
    fs,
    io::{BufRead, Write},
    ops::Range,
    path::Path,
    process::Command,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use induct::{
    client::{Client, ClientSettings, TlsVersions},
    config::{Given, parse},
    ports::Environment,
    serve::Server,
};
use mqtt::proto::{Packet, encode};
use serde_json::{Value, json};
use testkit::{Ca, Credential};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::client::TlsStream;

use scene::{Gateway, Room, Serving, channel_of, hello, id_of};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TARGET_BYTES: usize = 20 * 1024;
/// Sessions that come and go before anything is measured.
const N_BEFORE: usize = 200;
/// How long the server may take to come to rest.
const REST: Duration = Duration::from_secs(2);

/// A kind of session.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    versions: TlsVersions,
    has_key: bool,
    speaks: Speaks,
}

#[derive(Clone, Copy)]
enum Speaks {
    Mqtt,
    MqttInWebSocket,
    /// With so many devices on a connection. Devices with keys have token links beside their own.
    Amqp {
        n_on_each: usize,
    },
}

impl Row {
    fn room(self, n_sessions: usize) -> Room {
        match self.speaks {
            Speaks::Mqtt => Room::Mqtt(n_sessions),
            Speaks::MqttInWebSocket => Room::Https(n_sessions),
            Speaks::Amqp { n_on_each } => Room::Amqp(n_sessions.div_ceil(n_on_each) + 1),
        }
    }
}

const ROWS: [Row; 9] = [
    Row::new("MQTT, TLS 1.3, key", TlsVersions::Only13, true, Speaks::Mqtt),
    Row::new("MQTT, TLS 1.3, P-256 certificate", TlsVersions::Only13, false, Speaks::Mqtt),
    Row::new("MQTT, TLS 1.2, key", TlsVersions::Only12, true, Speaks::Mqtt),
    Row::new("MQTT, TLS 1.2, P-256 certificate", TlsVersions::Only12, false, Speaks::Mqtt),
    Row::new("MQTT, TLS 1.3, key, WebSocket", TlsVersions::Only13, true, Speaks::MqttInWebSocket),
    Row::new("AMQP, TLS 1.3, key", TlsVersions::Only13, true, ALONE),
    Row::new("AMQP, TLS 1.3, P-256 certificate", TlsVersions::Only13, false, ALONE),
    Row::new("AMQP, TLS 1.2, key", TlsVersions::Only12, true, ALONE),
    Row::new("AMQP, TLS 1.3, keys, 100 together", TlsVersions::Only13, true, TOGETHER),
];
const ALONE: Speaks = Speaks::Amqp { n_on_each: 1 };
const TOGETHER: Speaks = Speaks::Amqp { n_on_each: 100 };

impl Row {
    const fn new(name: &'static str, versions: TlsVersions, has_key: bool, speaks: Speaks) -> Self {
        Self { name, versions, has_key, speaks }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    match args[..] {
        ["serve", data, sites] => return serve(Path::new(data), sites),
        ["--list", ..] => return,
        _ => {}
    }
    scene::raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let wants_sites = args.contains(&"sites");
    let (rows, n_sessions, n_heap) = match scene::is_whole() {
        true => (&ROWS[..], 5_000, 1_000),
        false => (&[ROWS[1], ROWS[5], ROWS[6]][..], 20, 10),
    };
    // Other arguments are parts of names.
    let is_wanted = |row: &&Row| {
        let mut parts = args.iter().filter(|arg| !arg.starts_with("--") && **arg != "sites");
        parts.clone().next().is_none() || parts.any(|part| row.name.contains(part))
    };
    println!("{:<36}{:>8}{:>8}{:>8}", "bytes per idle session", "RSS", "PSS", "heap");
    for row in rows.iter().filter(is_wanted) {
        let (rss, pss) = runtime.block_on(resident(*row, n_sessions));
        let heap = runtime.block_on(heap(*row, n_heap, wants_sites));
        let verdict = if rss < TARGET_BYTES { "" } else { "  above the target of 20 KB" };
        println!("{:<36}{rss:>8}{pss:>8}{heap:>8}{verdict}", row.name);
    }
}

/// What a session adds to the RSS and PSS of a real server.
async fn resident(row: Row, n_sessions: usize) -> (usize, usize) {
    let mut server = Serving::start(row.room(n_sessions + N_BEFORE));
    let credential = prepare(&server, row, n_sessions + N_BEFORE).await;
    drop(open_all(&server, row, &credential, n_sessions..n_sessions + N_BEFORE).await);
    sleep(REST).await;
    let pid = server.process().id();
    let before = (resident_bytes(pid, "Rss:"), resident_bytes(pid, "Pss:"));
    let sessions = open_all(&server, row, &credential, 0..n_sessions).await;
    sleep(REST).await;
    let after = (resident_bytes(pid, "Rss:"), resident_bytes(pid, "Pss:"));
    drop(sessions);
    let each = |after: usize, before: usize| after.saturating_sub(before) / n_sessions;
    (each(after.0, before.0), each(after.1, before.1))
}

fn resident_bytes(pid: u32, what: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("readable");
    let line = text.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// What a session adds to what the server has asked of Rust's allocator.
async fn heap(row: Row, n_sessions: usize, wants_sites: bool) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let sites = match wants_sites {
        true => {
            let name = format!("idle session {}.json", row.name).replace([' ', ','], "-");
            std::env::current_dir().expect("a folder").join(name).display().to_string()
        }
        false => String::new(),
    };
    command.arg("serve").arg(folder.path().join("data")).arg(sites);
    let mut server = Serving::start_by(command, folder, row.room(n_sessions + N_BEFORE));
    let credential = prepare(&server, row, n_sessions + N_BEFORE).await;
    // The first visitors fill what is made once, and leave.
    drop(open_all(&server, row, &credential, n_sessions..n_sessions + N_BEFORE).await);
    sleep(REST).await;
    let before = asked_bytes(&mut server);
    let sessions = open_all(&server, row, &credential, 0..n_sessions).await;
    sleep(REST).await;
    let after = asked_bytes(&mut server);
    if wants_sites {
        // Written while the sessions are open, once standard input ends.
        drop(server.process().stdin.take());
        server.process().wait().expect("it ends");
    }
    drop(sessions);
    after.saturating_sub(before) / n_sessions
}

/// Asks the server of [`serve`] how many bytes it has asked for.
fn asked_bytes(server: &mut Serving) -> usize {
    let figure = server.folder().join("data/heap_bytes");
    // The last figure is gone before the next is asked for.
    let _ = fs::remove_file(&figure);
    let stdin = server.process().stdin.as_mut().expect("piped");
    writeln!(stdin, "measure").expect("it listens");
    stdin.flush().expect("it listens");
    loop {
        if let Ok(text) = fs::read_to_string(&figure)
            && let Some(number) = text.strip_suffix('\n')
        {
            return number.parse().expect("a number");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The server, under an allocator that counts.
fn serve(data: &Path, sites: &str) {
    let environment = Environment::of_process();
    let given = Given { config: None, data: Some(data.to_owned()) };
    let config = parse("", None, &given, &environment).expect("legal settings").config;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start(&config)).expect("it starts");
    let profiler = match sites {
        "" => dhat::Profiler::builder().testing().build(),
        file => dhat::Profiler::builder().file_name(file).build(),
    };
    println!("Listening on {:?}", server.listening.https);
    for _ in std::io::stdin().lock().lines() {
        let bytes = dhat::HeapStats::get().curr_bytes;
        fs::write(data.join("heap_bytes"), format!("{bytes}\n")).expect("written");
    }
    drop(profiler);
    // What is open stays open to the end, and the end is now.
    std::process::exit(0);
}

/// Makes the devices, and what they show.
async fn prepare(server: &Serving, row: Row, n_devices: usize) -> Credential {
    let credential = Ca::root("A maker of presses").leaf("press");
    let authentication = match row.has_key {
        true => scene::by_key(),
        false => json!({
            "type": "selfSigned",
            "x509Thumbprint": {"primaryThumbprint": thumbprint(&credential)},
        }),
    };
    let numbers: Vec<usize> = (0..n_devices).collect();
    let change: Value = json!({"authentication": authentication});
    server.operator().bulk("create", &numbers, &change).await;
    credential
}

fn thumbprint(credential: &Credential) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, credential.der());
    hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Open sessions, whatever they are made of.
enum Sessions {
    Links(Vec<(usize, scene::Link)>),
    WebSockets(Vec<TlsStream<TcpStream>>),
    Gateways(Vec<(Range<usize>, Gateway)>),
}

impl Drop for Sessions {
    fn drop(&mut self) {
        match self {
            Self::Links(links) => links.clear(),
            Self::WebSockets(streams) => streams.clear(),
            Self::Gateways(gateways) => gateways.clear(),
        }
    }
}

async fn open_all(
    server: &Serving,
    row: Row,
    credential: &Credential,
    numbers: Range<usize>,
) -> Sessions {
    let client = |address, protocol| {
        let mut settings: ClientSettings = server.settings(address);
        settings.protocol = protocol;
        settings.versions = row.versions;
        if !row.has_key {
            settings = settings.with_identity(credential.pem(), credential.key_pem());
        }
        Arc::new(Client::new(settings).expect("a client"))
    };
    match row.speaks {
        Speaks::Mqtt => {
            let client = client(server.mqtt(), "mqtt");
            let mut links = scene::connect_all(&client, numbers, row.has_key).await;
            for (_, link) in &mut links {
                link.subscribe(&["$iothub/twin/res/#"]).await.expect("granted");
            }
            Sessions::Links(links)
        }
        Speaks::MqttInWebSocket => {
            let client = client(server.https(), "http/1.1");
            let mut streams = Vec::new();
            for n in numbers {
                streams.push(open_web_socket(&client, n).await);
            }
            Sessions::WebSockets(streams)
        }
        Speaks::Amqp { n_on_each } => {
            let client = client(server.amqp(), "amqp");
            let mut gateways = match row.has_key {
                true => scene::open_gateways(&client, numbers, n_on_each).await,
                false => open_certified(&client, numbers).await,
            };
            for (numbers, gateway) in &mut gateways {
                for (n, number) in numbers.clone().enumerate() {
                    let messages = gateway.attach_messages(channel_of(n), &id_of(number)).await;
                    messages.expect("let in");
                }
            }
            Sessions::Gateways(gateways)
        }
    }
}

/// Devices with certificates, on a connection each, without token links.
async fn open_certified(client: &Client, numbers: Range<usize>) -> Vec<(Range<usize>, Gateway)> {
    let mut gateways = Vec::new();
    for number in numbers {
        let stream = client.dial().await.expect("a connection");
        let mut gateway = Gateway::open(stream, scene::HUB, "EXTERNAL", Some(String::new())).await;
        gateway.begin(channel_of(0)).await;
        gateway.attach_events(channel_of(0), &id_of(number)).await.expect("let in");
        gateways.push((number..number + 1, gateway));
    }
    gateways
}

/// A session in a WebSocket: CONNECT in one message, and the answer to it in another.
async fn open_web_socket(client: &Client, n: usize) -> TlsStream<TcpStream> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut stream = client.dial().await.expect("a connection");
    let key = STANDARD.encode("the sample nonce");
    let ask = format!(
        "GET /$iothub/websocket HTTP/1.1\r\nHost: {}\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n",
        scene::HUB,
    );
    stream.write_all(ask.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut packet = BytesMut::new();
    encode(&Packet::Connect(Box::new(hello(&id_of(n), true))), &mut packet).expect("legal");
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend(u16::try_from(packet.len()).expect("a small packet").to_be_bytes());
    frame.extend(MASK);
    frame.extend(packet.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&frame).await.expect("written");
    stream.flush().await.expect("written");
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer[..3], [0x82, 4, 0x20], "a CONNACK in a message");
    assert_eq!(answer[5], 0, "let in");
    stream
}
