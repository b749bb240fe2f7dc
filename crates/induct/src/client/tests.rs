use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{server::conn::http1 as server, service::service_fn};
use listen::{ListenSettings, Listener, ServerCertificate, authority};
use model::Timestamp;
use testkit::Ca;
use tokio::sync::watch;

use super::*;
use crate::ports::SystemClock;
use app::ports::Clock;

/// A server that answers every request with what it saw: method, path, host and the number of
/// client certificates, and closes each connection after `per_connection` requests.
struct Mirror {
    address: SocketAddr,
    ca_pem: String,
    n_connections: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

async fn mirror(per_connection: usize) -> Mirror {
    let now: Timestamp = SystemClock.now();
    let names = ["hub-1.localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = authority::create(&names, now.unix_secs()).expect("made");
    let certificate = ServerCertificate::from_pem(&made.chain_pem, &made.key_pem).expect("pair");
    let addresses = vec![([127, 0, 0, 1], 0).into()];
    let settings = ListenSettings { addresses, ..ListenSettings::default() };
    let listener = Listener::bind(settings, certificate).await.expect("bound");
    let address = listener.local_addresses()[0];
    let n_connections = Arc::new(AtomicUsize::new(0));
    let (stop, stopping) = watch::channel(false);
    let counter = Arc::clone(&n_connections);
    let serve = move |connection: listen::Connection| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            let n_certificates = connection.client_chain.len();
            let left = Arc::new(AtomicUsize::new(per_connection));
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let left = Arc::clone(&left);
                async move {
                    let host = request.headers()[header::HOST].to_str().expect("text").to_owned();
                    let (method, uri) = (request.method().clone(), request.uri().to_string());
                    let body = request.into_body().collect().await.expect("body").to_bytes();
                    let seen = serde_json::json!({
                        "method": method.as_str(), "uri": uri, "host": host,
                        "body": body.len(), "certificates": n_certificates,
                    });
                    let mut response =
                        http::Response::new(Full::new(Bytes::from(seen.to_string())));
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        response
                            .headers_mut()
                            .insert(header::CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let io = TokioIo::new(connection.stream);
            let _ = server::Builder::new().serve_connection(io, service).await;
        }
    };
    tokio::spawn(listener.run(serve, stopping));
    Mirror { address, ca_pem: made.ca_pem, n_connections, _stop: stop }
}

impl Mirror {
    fn settings(&self, host: &str) -> ClientSettings {
        ClientSettings::new(host, self.address.port(), &self.ca_pem).at(self.address)
    }
}

async fn get(settings: ClientSettings) -> Result<serde_json::Value, ClientError> {
    Client::new(settings)?.request(Method::GET, "/x?y=1", &[], "").await?.json()
}

#[tokio::test]
async fn a_configured_name_reaches_the_address_that_is_given() {
    let mirror = mirror(9).await;
    for versions in [TlsVersions::Only12, TlsVersions::Only13] {
        let settings = ClientSettings { versions, ..mirror.settings("hub-1.localhost") };
        let seen = get(settings).await.expect("answer");
        let host = format!("hub-1.localhost:{}", mirror.address.port());
        let expected = serde_json::json!({
            "method": "GET", "uri": "/x?y=1", "host": host, "body": 0, "certificates": 0,
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn names_under_localhost_are_this_machine_without_a_resolver() {
    let mirror = mirror(9).await;
    let settings = ClientSettings { address: None, ..mirror.settings("hub-1.localhost") };
    get(settings).await.expect("answer");
}

#[tokio::test]
async fn a_client_certificate_is_shown_with_its_chain() {
    let mirror = mirror(9).await;
    let device = Ca::root("root").intermediate("line-4").leaf("press-17");
    let settings = mirror.settings("127.0.0.1").with_identity(device.chain_pem(), device.key_pem());
    assert_eq!(get(settings).await.expect("answer")["certificates"], 2);
}

#[tokio::test]
async fn a_connection_is_kept_and_replaced_once_the_server_closes_it() {
    let mirror = mirror(2).await;
    let client = Client::new(mirror.settings("127.0.0.1")).expect("client");
    for n_connections in [1, 1, 2, 2, 3] {
        let answer = client.request(Method::PUT, "/", &[("x-y", "z")], "{}").await.expect("answer");
        assert_eq!(answer.json().expect("JSON")["body"], 2);
        assert_eq!(mirror.n_connections.load(Ordering::Relaxed), n_connections);
    }
}

/// The request fails, and the person is told what to do.
#[track_caller]
fn check_failure(failed: Result<serde_json::Value, ClientError>, told: &str) {
    let text = failed.expect_err("failure").to_string();
    assert!(text.contains(told), "{text}");
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let mirror = mirror(9).await;
    let other_ca = Ca::root("other").pem();
    let settings = ClientSettings { ca_pem: other_ca, ..mirror.settings("127.0.0.1") };
    check_failure(get(settings).await, "pass the server's CA with `--ca-file`");
    check_failure(get(mirror.settings("example.com")).await, "is for another name");

    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let settings = ClientSettings::new("localhost", address.port(), &mirror.ca_pem).at(address);
    check_failure(get(settings).await, "is `induct serve` running?");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    let connect_timeout = Duration::from_millis(50);
    let settings = ClientSettings { connect_timeout, ..mirror.settings("127.0.0.1").at(address) };
    check_failure(get(settings).await, "did not accept a connection within");

    let settings = ClientSettings { ca_pem: "none".to_owned(), ..mirror.settings("127.0.0.1") };
    check_failure(get(settings).await, "no `BEGIN CERTIFICATE`");
    check_failure(get(mirror.settings("no name")).await, "neither a DNS name nor");

    let key_pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let settings = mirror.settings("127.0.0.1").with_identity(Ca::root("r").pem(), key_pem);
    let failed = get(settings).await;
    assert!(!format!("{failed:?}").contains("c2VjcmV0"), "{failed:?}");
    check_failure(failed, "client certificate cannot be used");
}
