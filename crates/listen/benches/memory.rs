//! What an idle TLS connection costs in memory: the listener's part of a session, before a door adds its own.
//!
//! A server of its own process holds a thousand connections whose clients, in another process, have said one
//! byte and been answered one. Shown is what each adds: bytes asked of Rust's allocator, and resident memory,
//! which has the C heap of the cryptography and what the allocator wastes as well, but not the kernel's socket
//! buffers. Both count the entry in the cache of TLS sessions, of which there are at most 4,096.
//!
//! Run with `cargo bench -p induct-listen --bench memory`; with `-- sites`, each row also writes a file for
//! DHAT's viewer that says who holds the bytes.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up should stop")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use induct_listen::{Connection, ListenSettings, Listener, ServerCertificate, Speaks, authority};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// 2025-01-01; the server's certificate is made and verified for this moment.
const NOW_UNIX_SECS: i64 = 1_735_689_600;
const N_CONNECTIONS: usize = 1_000;
const VERSIONS: [&str; 2] = ["TLS 1.3", "TLS 1.2"];
const CREDENTIALS: [&str; 2] = ["no certificate", "P-256 leaf"];

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", version, credential, measure] => serve(version, credential, measure),
        ["connect", version, credential] => connect(version, credential),
        // Whoever lists or tries all tests finds none here.
        [first, ..] if first.starts_with("--") => {}
        [] => table(&["heap", "resident"]),
        ["sites"] => table(&["sites", "resident"]),
        _ => println!("usage: memory [sites]"),
    }
}

fn table(measures: &[&str]) {
    println!("bytes per idle connection    heap    resident");
    for version in VERSIONS {
        for credential in CREDENTIALS {
            let bytes = measures.iter().map(|measure| {
                let output = myself(&["serve", version, credential, measure]).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                String::from_utf8(output.stdout).unwrap().trim().to_owned()
            });
            let bytes: Vec<_> = bytes.collect();
            println!("{version}, {credential:<16} {:>8} {:>11}", bytes[0], bytes[1]);
        }
    }
}

fn myself(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args);
    command
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Prints what a connection costs.
fn serve(version: &str, credential: &str, measure: &str) {
    let runtime = runtime();
    let own = authority::create(&["localhost".to_owned()], NOW_UNIX_SECS).unwrap();
    let certificate = ServerCertificate::from_pem(&own.chain_pem, &own.key_pem).unwrap();
    let settings = ListenSettings {
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        max_connections: N_CONNECTIONS,
        max_connections_per_address: N_CONNECTIONS,
        ..ListenSettings::default()
    };
    let listening = Listener::bind_for(Speaks::Mqtt, settings, certificate);
    let listener = runtime.block_on(listening).unwrap();
    let address = listener.local_addresses()[0];
    let (_running, shutdown) = watch::channel(false);
    let n_open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_open);
    runtime.spawn(listener.run(move |connection| hold(connection, Arc::clone(&counted)), shutdown));

    let profiler = match measure {
        "heap" => Some(dhat::Profiler::builder().testing().build()),
        "sites" => {
            let name = format!("memory {version} {credential}.json").replace(' ', "-");
            Some(dhat::Profiler::builder().file_name(name).build())
        }
        _ => None,
    };
    if measure != "resident" {
        // The first visitors fill what is made once, and leave. Their memory would stay resident.
        let mut clients = Clients::start(version, credential, address, &own.ca_pem);
        wait_for(&runtime, &n_open, N_CONNECTIONS);
        clients.leave();
        wait_for(&runtime, &n_open, 0);
    }
    let before = used_bytes(measure);
    let mut clients = Clients::start(version, credential, address, &own.ca_pem);
    wait_for(&runtime, &n_open, N_CONNECTIONS);
    let open = used_bytes(measure);
    if measure == "sites" {
        drop(profiler);
    }
    clients.leave();
    println!("{}", open.saturating_sub(before) / N_CONNECTIONS);
}

/// Serves until the client is gone, with one byte of buffer.
async fn hold(connection: Connection, n_open: Arc<AtomicUsize>) {
    let mut stream = connection.stream;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.unwrap();
    stream.write_all(&byte).await.unwrap();
    stream.flush().await.unwrap();
    n_open.fetch_add(1, Ordering::Relaxed);
    let _ = stream.read(&mut byte).await;
    n_open.fetch_sub(1, Ordering::Relaxed);
}

fn wait_for(runtime: &Runtime, n_open: &AtomicUsize, expected: usize) {
    runtime.block_on(async {
        while n_open.load(Ordering::Relaxed) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Ended tasks are still to be swept up.
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
}

fn used_bytes(measure: &str) -> usize {
    if measure != "resident" {
        return dhat::HeapStats::get().curr_bytes;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

/// The other process.
struct Clients(Child);

impl Clients {
    fn start(version: &str, credential: &str, address: SocketAddr, ca_pem: &str) -> Self {
        let mut child =
            myself(&["connect", version, credential]).stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        write!(stdin, "{address}\n{ca_pem}\n\n").unwrap();
        stdin.flush().unwrap();
        Self(child)
    }

    fn leave(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Opens all connections and keeps them until nobody listens to us any more.
fn connect(version: &str, credential: &str) {
    let mut stdin = BufReader::new(std::io::stdin());
    let mut address = String::new();
    stdin.read_line(&mut address).unwrap();
    let mut ca_pem = String::new();
    while !ca_pem.ends_with("\n\n") {
        stdin.read_line(&mut ca_pem).unwrap();
    }
    let address: SocketAddr = address.trim().parse().unwrap();
    let connector = TlsConnector::from(Arc::new(client(version, credential, &ca_pem)));
    let runtime = runtime();
    let streams = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..N_CONNECTIONS {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            stream.write_all(b"?").await.unwrap();
            stream.flush().await.unwrap();
            stream.read_exact(&mut [0; 1]).await.unwrap();
            streams.push(stream);
        }
        streams
    });
    stdin.read_to_string(&mut String::new()).unwrap();
    drop(streams);
}

fn client(version: &str, credential: &str, ca_pem: &str) -> ClientConfig {
    let version: &SupportedProtocolVersion =
        if version == VERSIONS[0] { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_details(provider, Arc::new(FixedClock))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = if credential == CREDENTIALS[0] {
        config.with_no_client_auth()
    } else {
        let device = rcgen::generate_simple_self_signed(["bench-device".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(device.signing_key.serialize_der()).unwrap();
        config.with_client_auth_cert(vec![device.cert.der().clone()], key).unwrap()
    };
    config.resumption = Resumption::disabled();
    config
}

/// The moment the server's certificate was made for.
#[derive(Debug)]
struct FixedClock;

impl rustls::time_provider::TimeProvider for FixedClock {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let secs = u64::try_from(NOW_UNIX_SECS).ok()?;
        Some(rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}
