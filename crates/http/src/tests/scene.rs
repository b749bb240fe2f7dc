//! A door with one instance behind it, and how requests to it are written.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use app::deprovision::DeprovisionSettings;
use app::device::{Commands, Connecting, DeviceSession, Earlier};
use app::first_start::{self, Declared, DeclaredHub};
use app::limits::RateSettings;
use app::ports::{Clock, Entropy, NoAllocationHook, NoBell, Stopwatch};
use app::{App, AppSettings};
use async_trait::async_trait;
use bytes::Bytes;
use decide::{attestation::AttestSettings, register::RegisterSettings};
use http::{Request, Response};
use http_body_util::BodyExt;
use model::{
    AccessPolicy, AllocationPolicy, CertificateDer, Change, ChangeSet, DeviceId, Etag, Evidence,
    HubName, IdScope, PolicyScope, Quotas, Right, Rights, SymmetricKey, SymmetricKeys, Timestamp,
};
use serde_json::Value;
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{ClientStyle, DeviceToken, ServiceToken, entropy, sas::derive_device_key};

use crate::{AnswerBody, HttpDoor, HttpSettings, Peer};

/// The host name of the provisioning service.
pub(super) const SERVICE: &str = "dps.example.test";
/// The host name of the hub.
pub(super) const HUB: &str = "hub-1.example.test";
/// The moment of every test, with a fraction as on the wire.
pub(super) const NOW: Timestamp = Timestamp::from_ticks(testkit::NOW.ticks() + 5_219_817);
/// [`NOW`] on the wire.
pub(super) const NOW_TEXT: &str = "2026-01-01T00:00:00.5219817Z";
/// How many registration records there may be.
pub(super) const MAX_REGISTRATIONS: u64 = 12;
/// A symmetric key.
pub(super) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Another one.
pub(super) const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// A clock that moves when told to.
#[derive(Debug)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.load(Ordering::Relaxed))
    }
}

/// The runtime's stopwatch.
struct RuntimeStopwatch(tokio::time::Instant);

#[async_trait]
impl Stopwatch for RuntimeStopwatch {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Dice that fall alike in every run, and each time otherwise.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(64) {
            let seed = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&entropy::bytes::<64>(seed, "the door")[..chunk.len()]);
        }
    }
}

/// An instance behind a door.
pub(super) struct Scene {
    pub(super) door: HttpDoor,
    pub(super) app: App,
    pub(super) store: Arc<dyn Store>,
    pub(super) id_scope: String,
    clock: Arc<HandClock>,
    service_owner: SymmetricKeys,
    hub_owner: SymmetricKeys,
    _folder: TempDir,
}

/// A fresh instance with two hubs.
pub(super) async fn scene() -> Scene {
    scene_on(|store| store).await
}

/// A fresh instance that limits how often may be asked.
pub(super) async fn scene_at(rates: RateSettings) -> Scene {
    build(rates, |store| store).await
}

/// A fresh instance whose door stands on what becomes of its store.
pub(super) async fn scene_on(become_of: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Scene {
    build(RateSettings::default(), become_of).await
}

async fn build(
    rates: RateSettings,
    become_of: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> Scene {
    // What a failing test shows; the first scene of a process sets it up.
    let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
    let folder = TempDir::new().expect("folder");
    let path = folder.path().join("induct.db");
    let opened = SqliteSettings {
        path,
        n_readers: 1,
        max_waiting: 64,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(opened).expect("store"));
    let dice = Arc::new(Counted::default());
    let hubs = [HUB, "hub-2.example.test"].map(|name| HubName::parse(name).expect("legal"));
    let clock = Arc::new(HandClock(AtomicI64::new(NOW.ticks())));
    let declare = |name| DeclaredHub { name, weight: 1, apply_allocation_policy: true };
    let declared = Declared {
        hubs: hubs.clone().map(declare).into(),
        allocation_policy: AllocationPolicy::Hashed,
    };
    let started = first_start::prepare(&*store, &*dice, &*clock, &declared).await;
    let started = started.expect("prepared");
    let app_settings = AppSettings {
        service_hosts: vec![SERVICE.to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: started.id_scope.clone(),
                clock_skew_secs: 300,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: MAX_REGISTRATIONS,
        },
        quotas: Quotas { registrations: MAX_REGISTRATIONS, ..decide::manage::DEFAULT_QUOTAS },
        rates,
        hub_limits: app::device::HubLimits::default(),
    };
    let keys_of = async |scope: PolicyScope, name: &str| {
        store.find_policy(&scope, name).await.expect("store").expect("policy").keys
    };
    let service_owner = keys_of(PolicyScope::Service, first_start::SERVICE_OWNER).await;
    let hub_owner = keys_of(PolicyScope::Hub(hubs[0].clone()), first_start::HUB_OWNER).await;
    let hook = Arc::new(NoAllocationHook);
    let under = become_of(Arc::clone(&store));
    let app = App::new(under, Arc::clone(&clock) as _, dice, hook, app_settings);
    let stopwatch = Arc::new(RuntimeStopwatch(tokio::time::Instant::now()));
    let app = app.with_deprovisioning(DeprovisionSettings::default(), Arc::new(NoBell), stopwatch);
    Scene {
        door: HttpDoor::new(app.clone(), HttpSettings::default()),
        app,
        store,
        id_scope: IdScope::as_str(&started.id_scope).to_owned(),
        clock,
        service_owner,
        hub_owner,
        _folder: folder,
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    chain: Vec<CertificateDer>,
    address: IpAddr,
}

impl Ask {
    /// A request to the provisioning service, without any credential.
    pub(super) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            host: SERVICE.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            chain: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// From this address instead of the loopback one.
    pub(super) fn from(mut self, address: &str) -> Self {
        self.address = address.parse().expect("an address");
        self
    }

    pub(super) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(super) fn json(self, body: impl AsRef<[u8]>) -> Self {
        self.body(body).header("content-type", "application/json; charset=utf-8")
    }

    pub(super) fn chain(mut self, chain: Vec<CertificateDer>) -> Self {
        self.chain = chain;
        self
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl Reply {
    /// A header's text, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The document.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A member of the document, by JSON pointer; `null` when it is not there.
    #[track_caller]
    pub(super) fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    /// The text of a member of the document.
    #[track_caller]
    pub(super) fn text_at(&self, pointer: &str) -> String {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("{pointer} of {self:?}")).to_owned()
    }

    /// This answer, which must have that status.
    #[track_caller]
    pub(super) fn with_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// This answer, which must be an error of the device API or operator API with that code.
    #[track_caller]
    pub(super) fn with_code(self, code: u32) -> Self {
        assert_eq!(self.at("/errorCode"), code, "{self:?}");
        assert_eq!(u32::from(self.status), code / 1000, "{self:?}");
        assert_eq!(self.header("x-ms-error-code"), code.to_string());
        assert_eq!(self.text_at("/trackingId"), self.header("x-ms-request-id"));
        assert_eq!(self.at("/timestampUtc"), NOW_TEXT);
        assert!(!self.text_at("/message").is_empty());
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
        self
    }

    /// This answer, which must be an error of a hub with that name.
    #[track_caller]
    pub(super) fn with_name(self, status: u16, name: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("iothub-errorcode"), name, "{self:?}");
        assert!(self.text_at("/Message").starts_with(&format!("ErrorCode:{name};")), "{self:?}");
        let tracking = self.header("x-ms-request-id").replace('-', "");
        let exception = self.text_at("/ExceptionMessage");
        assert!(exception.starts_with(&format!("Tracking ID:{tracking}")), "{exception}");
        assert!(exception.ends_with("-TimeStamp:01/01/2026 00:00:00"), "{exception}");
        self
    }
}

impl Scene {
    pub(super) async fn send(&self, ask: Ask) -> Reply {
        let (head, body) = self.open(ask).await.into_parts();
        let bytes = body.collect().await.expect("whole").to_bytes();
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
        }
    }

    /// The answer, its body not yet read.
    pub(super) async fn open(&self, ask: Ask) -> Response<AnswerBody> {
        let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path);
        if !ask.host.is_empty() {
            request = request.header("host", &ask.host);
        }
        for (name, value) in &ask.headers {
            request = request.header(name.as_str(), value.as_slice());
        }
        let request = request.body(Bytes::from(ask.body)).expect("legal request");
        let address = SocketAddr::new(ask.address, 50_000);
        let peer = Peer { address, ..peer(ask.chain) };
        self.door.handle(request, &peer).await
    }

    /// A request of the service's owner, with an api-version.
    pub(super) fn owner(&self, method: &str, path: &str) -> Ask {
        Ask::new(method, &versioned(path))
            .header("authorization", self.service_token(first_start::SERVICE_OWNER))
    }

    /// A request of the hub's owner.
    pub(super) fn hub_owner(&self, method: &str, path: &str) -> Ask {
        Ask::new(method, &versioned(path))
            .host(HUB)
            .header("authorization", self.hub_token(first_start::HUB_OWNER))
    }

    pub(super) async fn operator(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(self.owner(method, path).json(body)).await
    }

    pub(super) async fn hub(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(self.hub_owner(method, path).json(body)).await
    }

    /// A token for the service, valid for ten minutes.
    pub(super) fn service_token(&self, policy: &str) -> String {
        self.token(SERVICE, policy, &self.service_owner.primary)
    }

    /// A token for the hub, valid for ten minutes.
    pub(super) fn hub_token(&self, policy: &str) -> String {
        self.token(HUB, policy, &self.hub_owner.primary)
    }

    /// The key of the hub's owner.
    pub(super) fn hub_owner_key(&self) -> SymmetricKey {
        self.hub_owner.primary.clone()
    }

    /// A token, valid for ten minutes.
    pub(super) fn token(&self, resource_raw: &str, policy: &str, key: &SymmetricKey) -> String {
        let expiry_unix_secs = self.clock.now().unix_secs() + 600;
        ServiceToken { resource_raw, policy, key, expiry_unix_secs }.text()
    }

    /// Adds a policy with these rights. Its key is the owner's.
    pub(super) async fn add_policy(&self, scope: PolicyScope, name: &str, rights: &[Right]) {
        let keys = match scope {
            PolicyScope::Service => self.service_owner.clone(),
            PolicyScope::Hub(_) => self.hub_owner.clone(),
        };
        let rights = Rights::of(rights);
        let policy = AccessPolicy {
            scope,
            name: name.to_owned(),
            keys,
            rights,
            etag: Etag::from_random([9; 16]),
            created: NOW,
            last_updated: NOW,
            version: 0,
        };
        let change = Change::PutPolicy(Box::new(policy));
        self.store.commit(ChangeSet::new().with(change)).await.expect("committed");
    }

    pub(super) fn device_token(&self, style: ClientStyle, id: &str, key: &str) -> String {
        let key = SymmetricKey::parse(key).expect("key");
        DeviceToken {
            style,
            id_scope: &self.id_scope,
            registration_id: id,
            key: &key,
            expiry_unix_secs: self.clock.now().unix_secs() + 30,
        }
        .text()
    }

    /// A device's path below its registration.
    pub(super) fn device_path(&self, id: &str, rest: &str) -> String {
        format!("/{}/registrations/{id}{rest}?api-version=2019-03-31", self.id_scope)
    }

    /// A register request of a device with [`KEY`].
    pub(super) fn register(&self, id: &str) -> Ask {
        Ask::new("PUT", &self.device_path(id, "/register"))
            .header("authorization", self.device_token(ClientStyle::CSharp, id, KEY))
            .json(format!(r#"{{"registrationId":"{id}"}}"#))
    }

    /// Puts a group whose both keys are [`KEY`].
    pub(super) async fn put_group(&self, id: &str) -> Reply {
        let body = format!(
            r#"{{"enrollmentGroupId":"{id}","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{KEY}"}}}}}}"#
        );
        self.operator("PUT", &format!("/enrollmentGroups/{id}"), &body).await.with_status(200)
    }

    /// Registers a device with the key derived from [`KEY`].
    pub(super) async fn register_by_group(&self, id: &str) -> Reply {
        let group = SymmetricKey::parse(KEY).expect("key");
        let key = derive_device_key(&group, id);
        let token = self.device_token(ClientStyle::CSharp, id, key.reveal());
        let path = self.device_path(id, "/register");
        self.send(Ask::new("PUT", &path).header("authorization", token).json("{}")).await
    }

    /// Enrolls a device with [`KEY`].
    pub(super) async fn enroll(&self, id: &str) -> Reply {
        let path = format!("/enrollments/{id}");
        self.operator("PUT", &path, &symmetric_enrollment(id)).await.with_status(200)
    }

    /// The same, whatever comes of it.
    pub(super) async fn enroll_anew(&self, id: &str) -> Reply {
        self.operator("PUT", &format!("/enrollments/{id}"), &symmetric_enrollment(id)).await
    }

    /// Adds a device to the hub.
    pub(super) async fn add_device(&self, id: &str) {
        let body = format!(r#"{{"deviceId":"{id}"}}"#);
        self.hub("PUT", &format!("/devices/{id}"), &body).await.with_status(200);
    }

    /// Connects a device of the hub, or a module, with a token of the hub's owner.
    pub(super) async fn connect(&self, id: &str) -> (DeviceSession, Commands) {
        let token = wire::sas::parse(&self.hub_token(first_start::HUB_OWNER)).expect("a token");
        let connecting = Connecting {
            hub: HubName::parse(HUB).expect("legal"),
            device_id: DeviceId::parse_stored(id).expect("legal"),
            evidence: Evidence::Sas(token),
            address: Ipv4Addr::LOCALHOST.into(),
            earlier: Earlier::Restored,
        };
        self.app.connect_device(connecting).await.expect("connected")
    }

    /// Whether a hub takes this token for its device.
    pub(super) async fn try_connect(&self, hub: &str, id: &str, token: &str) -> bool {
        let connecting = Connecting {
            hub: HubName::parse(hub).expect("legal"),
            device_id: DeviceId::parse(id).expect("legal"),
            evidence: Evidence::Sas(wire::sas::parse(token).expect("a token")),
            address: Ipv4Addr::LOCALHOST.into(),
            earlier: Earlier::Restored,
        };
        self.app.connect_device(connecting).await.is_ok()
    }

    /// What the clock says.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance_secs(&self, secs: i64) {
        self.clock.0.fetch_add(secs * Timestamp::TICKS_PER_SECOND, Ordering::Relaxed);
    }
}

/// Someone at the other end.
pub(super) fn peer(client_chain: Vec<CertificateDer>) -> Peer {
    Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)), client_chain }
}

/// An individual enrollment with [`KEY`] in both slots.
pub(super) fn symmetric_enrollment(id: &str) -> String {
    format!(
        r#"{{"registrationId":"{id}","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}}}"#
    )
}

fn versioned(path: &str) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    format!("{path}{joint}api-version=2021-10-01")
}
