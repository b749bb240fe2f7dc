//! A remote hub that follows a script, over TLS.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response as HttpResponse};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1 as server, service::service_fn};
use hyper_util::rt::TokioIo;
use listen::{ListenSettings, Listener, ServerCertificate, authority};
use model::{DeviceStatus, HubName, Json, RemoteAccess, SymmetricKey, Timestamp};
use tokio::sync::watch;

use super::*;

const NOW: Timestamp = testkit::NOW;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// What the hub saw: method, target, `If-Match`, authorization, body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    line: String,
    if_match: Option<String>,
    token: String,
    body: String,
}

/// A status, headers, and a body to answer with.
type Scripted = (u16, &'static [(&'static str, &'static str)], String);

struct FarHub {
    address: SocketAddr,
    ca_pem: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _stop: watch::Sender<bool>,
}

impl FarHub {
    async fn following(script: Vec<Scripted>) -> Self {
        // The real moment: TLS compares it with the certificate's validity.
        let now = crate::ports::SystemClock.now().unix_secs();
        let names = ["far-1.localhost".to_owned()];
        let made = authority::create(&names, now).expect("made");
        let certificate =
            ServerCertificate::from_pem(&made.chain_pem, &made.key_pem).expect("a pair");
        let addresses = vec![([127, 0, 0, 1], 0).into()];
        let settings = ListenSettings { addresses, ..ListenSettings::default() };
        let listener = Listener::bind(settings, certificate).await.expect("bound");
        let address = listener.local_addresses()[0];
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let (stop, stopping) = watch::channel(false);
        let log = Arc::clone(&seen);
        let serve = move |connection: listen::Connection| {
            let (log, script) = (Arc::clone(&log), Arc::clone(&script));
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    answer(request, Arc::clone(&log), Arc::clone(&script))
                });
                let io = TokioIo::new(connection.stream);
                let _ = server::Builder::new().serve_connection(io, service).await;
            }
        };
        tokio::spawn(listener.run(serve, stopping));
        Self { address, ca_pem: made.ca_pem, seen, _stop: stop }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    fn hub(&self) -> RemoteHub {
        RemoteHub {
            name: HubName::parse("far-1.localhost").expect("a hub"),
            access: RemoteAccess {
                port: Some(self.address.port()),
                policy: "iothubowner".to_owned(),
                key: SymmetricKey::from_bytes(&[7; 32]).expect("a key"),
            },
        }
    }

    fn port(&self) -> HttpsRemoteHubs {
        HttpsRemoteHubs::new(RemoteHubSettings::new(&self.ca_pem), Arc::new(FixedClock))
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Scripted>>>,
) -> Result<HttpResponse<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let body = body.collect().await.expect("a body").to_bytes();
    log.lock().expect("no panic").push(Seen {
        line: format!("{} {}", parts.method, parts.uri),
        if_match: header("if-match"),
        token: header("authorization").unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let next = script.lock().expect("no panic").pop_front();
    let (status, headers, body) = next.expect("the script goes on");
    let mut response = HttpResponse::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::new(Bytes::from(body))).expect("a response"))
}

fn id() -> DeviceId {
    DeviceId::parse("press#17").expect("legal")
}

const IDENTITY: &str = r#"{"deviceId":"press#17","etag":"MQ==","status":"disabled","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":"AA"}},"capabilities":{"iotEdge":true}}"#;
const TWIN: &str = r#"{"deviceId":"press#17","tags":{"site":"b1"},"properties":{"desired":{"rate":1,"$metadata":{},"$version":4}},"capabilities":{"iotEdge":true}}"#;

#[tokio::test]
async fn identity_and_twin_are_read_and_written_as_the_hubs_api_says() {
    let far = FarHub::following(vec![
        (200, &[], IDENTITY.to_owned()),
        (200, &[], TWIN.to_owned()),
        (200, &[], IDENTITY.to_owned()),
        (200, &[], TWIN.to_owned()),
        (204, &[], String::new()),
    ])
    .await;
    let (hub, port) = (far.hub(), far.port());
    let device = port.find_device(&hub, &id()).await.expect("an answer").expect("a device");
    assert_eq!(device.identity.status, Some(DeviceStatus::Disabled));
    let twin = port.find_twin(&hub, &id()).await.expect("an answer").expect("a twin");
    assert_eq!((twin.is_unwritten, twin.iot_edge), (false, Some(true)));
    assert_eq!(twin.desired.to_string(), r#"{"rate":1}"#);
    let tag = Precondition::Tag(device.etag.expect("an etag"));
    port.put_device(&hub, &device.identity, &tag).await.expect("written");
    let draft = TwinDraft { tags: Some(twin.tags), desired: Some(Json::empty_object()) };
    port.put_twin(&hub, &id(), &draft).await.expect("written");
    port.delete_device(&hub, &id()).await.expect("deleted");
    let seen = far.seen();
    let lines: Vec<_> =
        seen.iter().map(|seen| (seen.line.as_str(), seen.if_match.as_deref())).collect();
    assert_eq!(
        lines,
        [
            ("GET /devices/press%2317?api-version=2021-04-12", None),
            ("GET /twins/press%2317?api-version=2021-04-12", None),
            ("PUT /devices/press%2317?api-version=2021-04-12", Some("\"MQ==\"")),
            ("PUT /twins/press%2317?api-version=2021-04-12", Some("\"*\"")),
            ("DELETE /devices/press%2317?api-version=2021-04-12", Some("\"*\"")),
        ]
    );
    let twin_body = r#"{"tags":{"site":"b1"},"properties":{"desired":{}}}"#;
    assert_eq!(seen[3].body, twin_body);
    let token = testkit::ServiceToken {
        resource_raw: "far-1.localhost",
        policy: "iothubowner",
        key: &hub.access.key,
        expiry_unix_secs: NOW.unix_secs() + 600,
    };
    assert!(seen.iter().all(|seen| seen.token == token.text()), "{seen:?}");
}

/// What a deletion comes to when the hub answers so.
async fn check_failure(script: Scripted) -> RemoteFailure {
    let far = FarHub::following(vec![script]).await;
    far.port().delete_device(&far.hub(), &id()).await.expect_err("a failure")
}

#[tokio::test]
async fn every_status_means_what_it_says() {
    let busy = check_failure((429, &[("Retry-After", "9")], "busy".to_owned())).await;
    let text = "busy".to_owned();
    assert_eq!(busy, RemoteFailure::Transient { text, retry_after_secs: Some(9) });
    let broken = check_failure((503, &[], String::new())).await;
    assert_eq!(broken, RemoteFailure::transient("status code 503"));
    let stale = check_failure((401, &[], "Unauthorized".to_owned())).await;
    assert_eq!(stale, RemoteFailure::Unauthorized("Unauthorized".to_owned()));
    let gone =
        check_failure((404, &[("iothub-errorcode", "DeviceNotFound")], "x".to_owned())).await;
    assert_eq!(gone, RemoteFailure::NotFound);
    let no_hub =
        check_failure((404, &[("iothub-errorcode", "IotHubNotFound")], "no hub".to_owned())).await;
    assert_eq!(no_hub, RemoteFailure::transient("no hub"), "it may come back");
    let refused = check_failure((400, &[], "ArgumentInvalid".to_owned())).await;
    assert_eq!(refused, RemoteFailure::Refused(400, "ArgumentInvalid".to_owned()));
}

#[tokio::test]
async fn a_device_that_is_not_there_is_none_and_a_strange_answer_may_get_better() {
    let far = FarHub::following(vec![
        (404, &[("iothub-errorcode", "DeviceNotFound")], String::new()),
        (200, &[], "<html>".to_owned()),
    ])
    .await;
    assert_eq!(far.port().find_device(&far.hub(), &id()).await, Ok(None));
    let strange = far.port().find_device(&far.hub(), &id()).await.expect_err("unreadable");
    assert!(matches!(strange, RemoteFailure::Transient { .. }), "{strange:?}");
}

#[tokio::test]
async fn a_probe_asks_for_every_right_and_changes_nothing() {
    let missing =
        || -> Scripted { (404, &[("iothub-errorcode", "DeviceNotFound")], String::new()) };
    let far = FarHub::following(vec![(200, &[], "[]".to_owned()), missing(), missing()]).await;
    assert_eq!(far.port().probe(&far.hub()).await, Ok(()));
    let methods: Vec<_> =
        far.seen().iter().map(|seen| seen.line.split(' ').next().map(str::to_owned)).collect();
    let expected = ["GET", "GET", "DELETE"].map(|method| Some(method.to_owned()));
    assert_eq!(methods, expected);
    let stale = FarHub::following(vec![(401, &[], "stale".to_owned())]).await;
    let no = stale.port().probe(&stale.hub()).await;
    assert_eq!(no, Err(RemoteFailure::Unauthorized("stale".to_owned())));
}

#[tokio::test]
async fn an_untrusted_hub_and_one_that_is_not_there_may_get_better() {
    let far = FarHub::following(vec![]).await;
    let other = testkit::Ca::root("other").pem();
    let port = HttpsRemoteHubs::new(RemoteHubSettings::new(other), Arc::new(FixedClock));
    let untrusted = port.probe(&far.hub()).await.expect_err("untrusted").to_string();
    assert!(untrusted.contains("`ca_file` in the section `[remote_hubs]`"), "{untrusted}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut hub = far.hub();
    hub.access.port = Some(free.local_addr().expect("bound").port());
    drop(free);
    let nobody = far.port().probe(&hub).await.expect_err("nobody");
    assert!(matches!(nobody, RemoteFailure::Transient { .. }), "{nobody:?}");
}
