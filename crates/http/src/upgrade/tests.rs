//! The door with an echo behind its WebSockets. What the frames may look like is tested in `listen`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use app::first_start::{self, Declared, DeclaredHub};
use app::limits::RateSettings;
use app::ports::{Clock, Entropy, NoAllocationHook};
use app::{App, AppSettings};
use decide::{attestation::AttestSettings, register::RegisterSettings};
use listen::{ListenSettings, Listener, ServerCertificate, authority};
use model::{AllocationPolicy, CertificateDer, HubName, Timestamp};
use rustls::{ClientConfig, RootCertStore, time_provider::TimeProvider};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject};
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{Ca, Credential, entropy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{HttpDoor, HttpSettings};

const HUB: &str = "hub-1.example.test";
/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(30);
const NOT_FOUND: &str = "HTTP/1.1 404 ";

/// What the echo knew of a WebSocket.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    protocol: String,
    host: String,
    client_chain: Vec<CertificateDer>,
}

/// Says back what it hears, until the end or a shutdown.
struct Echo(mpsc::UnboundedSender<Seen>);

impl Upgrades for Echo {
    fn protocols(&self) -> &[&'static str] {
        &["mqtt", "AMQPWSB10"]
    }

    fn serve(&self, upgrade: Upgrade) -> BoxFuture<'static, ()> {
        let Upgrade { mut stream, protocol, host, peer, mut shutdown } = upgrade;
        let _ = self.0.send(Seen { protocol, host, client_chain: peer.client_chain });
        Box::pin(async move {
            let mut buffer = [0; 64];
            loop {
                let n = tokio::select! {
                    n = stream.read(&mut buffer) => n.unwrap_or_default(),
                    _ = shutdown.wait_for(|stop| *stop) => 0,
                };
                if n == 0 {
                    break;
                }
                stream.write_all(&buffer[..n]).await.expect("written");
                stream.flush().await.expect("sent");
            }
            stream.shutdown().await.expect("a goodbye");
        })
    }
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        testkit::NOW
    }
}

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(64) {
            chunk.copy_from_slice(&entropy::bytes::<64>(7, "an upgrade")[..chunk.len()]);
        }
    }
}

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(testkit::NOW.unix_secs()).expect("after 1970");
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

/// A door with an echo behind it, and what that one sees.
struct Scene {
    door: HttpDoor,
    /// The same without the echo.
    closed: HttpDoor,
    seen: mpsc::UnboundedReceiver<Seen>,
    _folder: TempDir,
}

async fn scene() -> Scene {
    let folder = TempDir::new().expect("folder");
    let store = SqliteStore::open(SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 1,
        max_waiting: 64,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    });
    let store = store.expect("store");
    let name = HubName::parse(HUB).expect("legal");
    let declared = Declared {
        hubs: vec![DeclaredHub { name, weight: 1, apply_allocation_policy: true }],
        allocation_policy: AllocationPolicy::Hashed,
    };
    let started = first_start::prepare(&store, &Fixed, &Fixed, &declared).await.expect("prepared");
    let settings = AppSettings {
        service_hosts: vec!["dps.example.test".to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: started.id_scope,
                clock_skew_secs: 300,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: 9,
        },
        quotas: decide::manage::DEFAULT_QUOTAS,
        rates: RateSettings::default(),
        hub_limits: app::device::HubLimits::default(),
    };
    let hook = Arc::new(NoAllocationHook);
    let app = App::new(Arc::new(store), Arc::new(Fixed), Arc::new(Fixed), hook, settings);
    let (tell, seen) = mpsc::unbounded_channel();
    let closed = HttpDoor::new(app, HttpSettings::default());
    let door = closed.clone().with_upgrades(Arc::new(Echo(tell)));
    Scene { door, closed, seen, _folder: folder }
}

/// A client's connection.
struct Line {
    client: DuplexStream,
    server: JoinHandle<()>,
    shutdown: watch::Sender<bool>,
}

fn connect(door: &HttpDoor) -> Line {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (shutdown, stop) = watch::channel(false);
    let door = door.clone();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    let peer = Peer { address, client_chain: Vec::new() };
    let server = tokio::spawn(async move { door.serve_stream(server, peer, stop).await });
    Line { client, server, shutdown }
}

/// The head of a request for a WebSocket, with these headers instead of the usual ones; an empty value leaves
/// its header out.
fn request(line: &str, instead: &[(&str, &str)]) -> String {
    let usual = [
        ("host", "dps.example.test"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "mqtt"),
    ];
    let mut text = format!("{line} HTTP/1.1\r\n");
    for (name, value) in usual {
        let other = instead.iter().find(|(other, _)| *other == name);
        match other.map_or(value, |(_, other)| other) {
            "" => {}
            value => text.push_str(&format!("{name}: {value}\r\n")),
        }
    }
    text + "\r\n"
}

/// A client's binary frame. The mask of zeros leaves the payload as it is.
fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0x82, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// One answer: its head, and as much body as the head says.
async fn hear<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(bytes).expect("text");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |n| n.parse().expect("length"))];
    stream.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8(body).expect("text")
}

/// What is said comes back, in a frame.
async fn check_echo<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, payload: &[u8]) {
    stream.write_all(&frame(payload)).await.expect("written");
    let mut echoed = vec![0; 2 + payload.len()];
    timeout(PATIENCE, stream.read_exact(&mut echoed)).await.expect("in time").expect("an echo");
    assert_eq!(echoed[..2], [0x82, u8::try_from(payload.len()).expect("short")]);
    assert_eq!(echoed[2..], *payload);
}

/// This request becomes a WebSocket that is served for `protocol`, spelled like that.
async fn check(target: &str, instead: &[(&str, &str)], protocol: &str, host: &str) {
    let mut scene = scene().await;
    let mut line = connect(&scene.door);
    // The first bytes do not wait for the answer.
    let early = [request(&format!("GET {target}"), instead).into_bytes(), frame(b"early")].concat();
    line.client.write_all(&early).await.expect("written");
    let answer = hear(&mut line.client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{target}: {answer}");
    // Paho for Java takes a header without a value, or without a space, for an error (D §2.6).
    let headers: Vec<_> = answer.trim_end().lines().skip(1).collect();
    assert!(headers.iter().all(|h| h.split_once(": ").is_some_and(|(_, v)| !v.is_empty())));
    assert!(headers.contains(&"upgrade: websocket"), "{answer}");
    assert!(headers.contains(&"connection: upgrade"), "{answer}");
    assert!(headers.contains(&format!("sec-websocket-protocol: {protocol}").as_str()), "{answer}");
    let mut echoed = [0; 7];
    line.client.read_exact(&mut echoed).await.expect("an echo");
    assert_eq!(echoed, *b"\x82\x05early");
    check_echo(&mut line.client, b"later").await;
    let seen = scene.seen.recv().await.expect("served");
    assert_eq!((seen.protocol.as_str(), seen.host.as_str()), (protocol, host));
}

/// This request is answered like that, and the connection goes on.
async fn check_plain(door: &HttpDoor, request: &str, status: &str, says: &[&str]) {
    let mut line = connect(door);
    line.client.write_all(request.as_bytes()).await.expect("written");
    let answer = hear(&mut line.client).await;
    assert!(answer.starts_with(status), "{request}: {answer}");
    for text in says {
        assert!(answer.contains(text), "{text}: {answer}");
    }
    line.client.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    assert!(hear(&mut line.client).await.starts_with(NOT_FOUND));
}

#[tokio::test]
async fn a_websocket_is_routed_by_its_subprotocol_on_any_path_and_host() {
    let host = "dps.example.test";
    for path in ["/", "/mqtt", "/$iothub/websocket", "/%24iothub/websocket", "/%zz"] {
        check(path, &[], "mqtt", host).await;
    }
    check("/$iothub/websocket?iothub-no-client-cert=true", &[], "mqtt", host).await;
    check("/$iothub/websocket", &[("host", HUB)], "mqtt", HUB).await;
    check("/", &[("host", "203.0.113.9:8443")], "mqtt", "203.0.113.9:8443").await;
}

#[tokio::test]
async fn the_subprotocol_is_echoed_as_spelled() {
    let host = "dps.example.test";
    check("/", &[("sec-websocket-protocol", "MQTT")], "MQTT", host).await;
    check("/", &[("sec-websocket-protocol", "chat, amqpwsb10, mqtt")], "amqpwsb10", host).await;
}

#[tokio::test]
async fn the_odd_key_of_paho_for_java_is_taken() {
    let key = ("sec-websocket-key", "bXF0dDMtMTcwMDAwMDAwMDAwMA==");
    check("/mqtt", &[key], "mqtt", "dps.example.test").await;
}

#[tokio::test]
async fn a_websocket_may_come_after_other_requests() {
    let scene = scene().await;
    let mut line = connect(&scene.door);
    line.client.write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    assert!(hear(&mut line.client).await.starts_with(NOT_FOUND));
    line.client.write_all(request("GET /", &[]).as_bytes()).await.expect("written");
    assert!(hear(&mut line.client).await.starts_with("HTTP/1.1 101 "));
    check_echo(&mut line.client, b"x").await;
}

#[tokio::test]
async fn who_asks_for_a_subprotocol_nobody_speaks_is_told_which_there_are() {
    let Scene { door, .. } = &scene().await;
    for protocol in ["", "chat", "mqttv5"] {
        let headers = [("sec-websocket-protocol", protocol)];
        let says = [r#""errorCode":400007"#, "mqtt, AMQPWSB10", "x-ms-error-code: 400007"];
        check_plain(door, &request("GET /", &headers), "HTTP/1.1 400 ", &says).await;
        let headers = [headers[0], ("host", HUB)];
        let says = [r#"{"Message":"ErrorCode:ArgumentInvalid;"#, "mqtt, AMQPWSB10"];
        check_plain(door, &request("GET /", &headers), "HTTP/1.1 400 ", &says).await;
    }
}

#[tokio::test]
async fn an_incomplete_handshake_is_refused() {
    let Scene { door, .. } = &scene().await;
    let without = |name| request("GET /", &[(name, "")]);
    check_plain(door, &without("sec-websocket-key"), "HTTP/1.1 400 ", &["Sec-WebSocket-Key"]).await;
    check_plain(door, &without("connection"), "HTTP/1.1 400 ", &["Connection: Upgrade"]).await;
    let says = ["\r\nsec-websocket-version: 13\r\n", "\r\nupgrade: websocket\r\n"];
    check_plain(door, &without("sec-websocket-version"), "HTTP/1.1 426 ", &says).await;
    let old = request("GET /", &[("sec-websocket-version", "8")]);
    check_plain(door, &old, "HTTP/1.1 426 ", &says).await;
}

#[tokio::test]
async fn what_is_no_websocket_request_is_answered_as_ever() {
    let Scene { door, closed, .. } = &scene().await;
    check_plain(door, &request("POST /", &[]), NOT_FOUND, &[]).await;
    check_plain(door, &request("GET /", &[("upgrade", "h2c")]), NOT_FOUND, &[]).await;
    let body = request("GET /", &[]).replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\n{}");
    check_plain(door, &body, NOT_FOUND, &[]).await;
    check_plain(closed, &request("GET /", &[]), NOT_FOUND, &[]).await;
    let mut line = connect(door);
    let old = request("GET /", &[]).replace("HTTP/1.1", "HTTP/1.0");
    line.client.write_all(old.as_bytes()).await.expect("written");
    let answer = hear(&mut line.client).await;
    assert!(answer.contains(r#""errorCode":404000"#), "{answer}");
}

/// A connection that became a WebSocket. From here on tokio's time stands still until everything waits.
async fn upgraded(scene: &Scene) -> Line {
    let mut line = connect(&scene.door);
    line.client.write_all(request("GET /", &[]).as_bytes()).await.expect("written");
    assert!(hear(&mut line.client).await.starts_with("HTTP/1.1 101 "));
    check_echo(&mut line.client, b"x").await;
    tokio::time::pause();
    line
}

#[tokio::test]
async fn an_idle_websocket_outlasts_every_limit_of_http() {
    let scene = scene().await;
    let mut line = upgraded(&scene).await;
    sleep(HttpSettings::default().idle_timeout * 100).await;
    check_echo(&mut line.client, b"still here").await;
}

#[tokio::test]
async fn shutdown_reaches_a_websocket() {
    let scene = scene().await;
    let mut line = upgraded(&scene).await;
    let from = Instant::now();
    line.shutdown.send(true).expect("heard");
    let mut rest = Vec::new();
    line.client.read_to_end(&mut rest).await.expect("an end");
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8], "a goodbye");
    line.server.await.expect("no panic");
    assert!(from.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn the_connection_ends_with_its_websocket() {
    let scene = scene().await;
    let mut line = upgraded(&scene).await;
    line.client.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.expect("written");
    let mut rest = Vec::new();
    line.client.read_to_end(&mut rest).await.expect("an end");
    assert_eq!(rest, [0x88, 0]);
    line.server.await.expect("no panic");
}

fn tls_client(trusted_pem: &str, device: &Credential) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let trusted = rustls_pki_types::CertificateDer::from_pem_slice(trusted_pem.as_bytes());
    roots.add(trusted.expect("PEM")).expect("a CA");
    let chain = device.chain().into_iter().map(|der| der.0.into()).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(device.key_der().to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(Fixed))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a certificate and its key")
}

#[tokio::test]
async fn the_certificate_of_the_tls_handshake_goes_with_the_websocket() {
    let mut scene = scene().await;
    let own = authority::create(&["localhost".to_owned()], testkit::NOW.unix_secs()).expect("CA");
    let certificate = ServerCertificate::from_pem(&own.chain_pem, &own.key_pem).expect("ours");
    let settings = ListenSettings {
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        ..ListenSettings::default()
    };
    let listener = Listener::bind(settings, certificate).await.expect("bound");
    let address = listener.local_addresses()[0];
    let (stop, shutdown) = watch::channel(false);
    let (door, for_each) = (scene.door.clone(), shutdown.clone());
    let serve = move |connection| {
        let (door, shutdown) = (door.clone(), for_each.clone());
        async move { door.serve(connection, shutdown).await }
    };
    let running = tokio::spawn(listener.run(serve, shutdown));

    let device = Ca::root("line 7").leaf("press-17");
    let connector = TlsConnector::from(Arc::new(tls_client(&own.ca_pem, &device)));
    let tcp = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, tcp).await.expect("shaken hands");
    stream.write_all(request("GET /mqtt", &[]).as_bytes()).await.expect("written");
    assert!(hear(&mut stream).await.starts_with("HTTP/1.1 101 "));
    check_echo(&mut stream, b"over TLS").await;
    assert_eq!(scene.seen.recv().await.expect("served").client_chain, device.chain());

    stop.send(true).expect("heard");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("closed as TLS is closed");
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8]);
    running.await.expect("no panic");
}
