//! A door with one hub behind it, and a device that says exactly what it is told to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use app::{
    App, AppSettings,
    device::HubLimits,
    first_start::{self, Declared, DeclaredHub},
    hub::EventStart,
    limits::RateSettings,
    ports::{Clock, Entropy, NoAllocationHook},
};
use decide::{
    attestation::AttestSettings,
    hub::{message::MessageDraft, method::MethodCall},
    register::RegisterSettings,
};
use model::{
    AllocationPolicy, Caller, CertificateDer, CloudMessage, Device, DeviceId, Event, FeedbackWish,
    HubName, MessageProperties, ModuleId, PolicyScope, Precondition, SymmetricKey, SymmetricKeys,
    Timestamp,
};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{entropy, sas::sign};
use tokio::{io::duplex, sync::watch};

pub(super) use super::client::{Client, publish};
use crate::{
    MqttDoor, MqttSettings, Peer,
    proto::{ConnAck, Connect, Login, Packet, Password, Qos, Text, Topic, Will},
};

/// The hub's host name.
pub(super) const HUB: &str = "hub-1.example.test";
/// The device of most tests.
pub(super) const DEVICE: &str = "dev1";
/// Its primary key.
pub(super) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Its secondary key.
pub(super) const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// The secondary key of every module.
const MODULE_SECONDARY: &str = "Dw4NDAsKCQgHBgUEAwIBAA8ODQwLCgkIBwYFBAMCAQA=";
/// The moment at which every test begins.
pub(super) const NOW: Timestamp = testkit::NOW;
/// How many bytes a connection holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// A clock that moves when told to.
#[derive(Debug)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.load(Ordering::Relaxed))
    }
}

/// Dice that fall alike in every run, and each time otherwise.
#[derive(Debug, Default)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(64) {
            let seed = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&entropy::bytes::<64>(seed, "the hub")[..chunk.len()]);
        }
    }
}

/// A hub, with [`DEVICE`] on it.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) door: MqttDoor,
    pub(super) hub: HubName,
    store: Arc<dyn Store>,
    clock: Arc<HandClock>,
    dice: Arc<Counted>,
    stop: watch::Sender<bool>,
    _folder: TempDir,
}

pub(super) async fn scene() -> Scene {
    scene_with(MqttSettings::default(), RateSettings::default()).await
}

pub(super) async fn scene_with(settings: MqttSettings, rates: RateSettings) -> Scene {
    let folder = TempDir::new().expect("folder");
    let opened = SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 1,
        max_waiting: 64,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(opened).expect("store"));
    let dice = Arc::new(Counted::default());
    let clock = Arc::new(HandClock(AtomicI64::new(NOW.ticks())));
    let hub = HubName::parse(HUB).expect("legal");
    let declared = Declared {
        hubs: vec![DeclaredHub { name: hub.clone(), weight: 1, apply_allocation_policy: true }],
        allocation_policy: AllocationPolicy::Hashed,
    };
    first_start::prepare(&*store, &*dice, &*clock, &declared).await.expect("prepared");
    let app = app_on(&store, &clock, &dice, rates);
    let door = MqttDoor::new(app.clone(), settings);
    let (stop, _) = watch::channel(false);
    let scene = Scene { app, door, hub, store, clock, dice, stop, _folder: folder };
    scene.put_device(DEVICE).await;
    scene
}

fn app_on(
    store: &Arc<dyn Store>,
    clock: &Arc<HandClock>,
    dice: &Arc<Counted>,
    rates: RateSettings,
) -> App {
    let settings = AppSettings {
        service_hosts: vec!["dps.example.test".to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: model::IdScope::parse("0ne00000001").expect("legal"),
                clock_skew_secs: 0,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: 10,
        },
        quotas: decide::manage::DEFAULT_QUOTAS,
        rates,
        hub_limits: HubLimits::default(),
    };
    let (store, clock, dice) = (Arc::clone(store), Arc::clone(clock) as _, Arc::clone(dice) as _);
    App::new(store, clock, dice, Arc::new(NoAllocationHook), settings)
}

pub(super) fn owner() -> Caller {
    Caller { policy: "test".to_owned(), address: None }
}

pub(super) fn id(text: &str) -> DeviceId {
    DeviceId::parse(text).expect("legal")
}

/// The name of a module of [`DEVICE`].
fn module(text: &str) -> DeviceId {
    DeviceId::of_module(&id(DEVICE), &ModuleId::parse(text).expect("legal"))
}

/// A device with both keys.
pub(super) fn identity(id: &str, status: &str, keys: (&str, &str)) -> String {
    let (primary, secondary) = keys;
    format!(
        r#"{{"deviceId":"{id}","status":"{status}","authentication":{{"type":"sas","symmetricKey":{{"primaryKey":"{primary}","secondaryKey":"{secondary}"}}}}}}"#
    )
}

impl Scene {
    /// The same after a restart of the process: another app and another door on the same store.
    pub(super) fn restarted(mut self) -> Self {
        self.app = app_on(&self.store, &self.clock, &self.dice, RateSettings::default());
        self.door = MqttDoor::new(self.app.clone(), MqttSettings::default());
        self.stop = watch::channel(false).0;
        self
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn advance_secs(&self, secs: i64) {
        self.clock.0.fetch_add(secs * Timestamp::TICKS_PER_SECOND, Ordering::Relaxed);
    }

    /// Makes a device with [`KEY`] and [`OTHER_KEY`].
    pub(super) async fn put_device(&self, id: &str) -> Device {
        self.put(&identity(id, "enabled", (KEY, OTHER_KEY)), Precondition::None).await
    }

    pub(super) async fn put(&self, document: &str, precondition: Precondition) -> Device {
        let draft = wire::hub::parse_identity(document.as_bytes()).expect("an identity");
        self.app.put_identity(&self.hub, &draft, &precondition, &owner()).await.expect("put")
    }

    /// Makes a module of [`DEVICE`] with this primary key.
    pub(super) async fn put_module(&self, id: &str, key: &str, precondition: Precondition) {
        self.put_module_as(id, &identity(DEVICE, "enabled", (key, MODULE_SECONDARY)), precondition)
            .await;
    }

    /// The same with the credentials of this document.
    pub(super) async fn put_module_as(&self, id: &str, document: &str, precondition: Precondition) {
        let mut draft = wire::hub::parse_identity(document.as_bytes()).expect("an identity");
        draft.device_id = module(id);
        let put = self.app.put_identity(&self.hub, &draft, &precondition, &owner()).await;
        put.expect("put");
    }

    pub(super) async fn delete_module(&self, id: &str) {
        let any = Precondition::Any;
        let deleted = self.app.delete_device(&self.hub, &module(id), &any, &owner()).await;
        deleted.expect("deleted");
    }

    /// Writes the device's identity anew.
    pub(super) async fn rewrite(&self, status: &str, keys: (&str, &str)) {
        self.put(&identity(DEVICE, status, keys), Precondition::Any).await;
    }

    pub(super) async fn delete_device(&self) {
        let any = Precondition::Any;
        self.app.delete_device(&self.hub, &id(DEVICE), &any, &owner()).await.expect("deleted");
    }

    /// The device as the registry has it.
    pub(super) async fn device(&self) -> Device {
        self.app.get_device(&self.hub, &id(DEVICE)).await.expect("there")
    }

    /// Merges a patch into the device's desired properties.
    pub(super) async fn desire(&self, patch: &str) {
        self.desire_of(&id(DEVICE), patch).await;
    }

    /// The same of a module of [`DEVICE`].
    pub(super) async fn desire_of_module(&self, id: &str, patch: &str) {
        self.desire_of(&module(id), patch).await;
    }

    async fn desire_of(&self, id: &DeviceId, patch: &str) {
        let document = format!(r#"{{"properties":{{"desired":{patch}}}}}"#);
        let draft = wire::hub::parse_twin(document.as_bytes()).expect("a twin");
        let none = Precondition::None;
        let patched = self.app.patch_twin(&self.hub, id, &draft, &none, &owner()).await;
        patched.expect("patched");
    }

    /// Puts a message into the device's queue.
    pub(super) async fn message(&self, body: &str) -> CloudMessage {
        self.message_of(MessageDraft {
            properties: MessageProperties::default(),
            application: Vec::new(),
            body: body.as_bytes().to_vec(),
            feedback: FeedbackWish::None,
            expires: None,
        })
        .await
    }

    pub(super) async fn message_of(&self, draft: MessageDraft) -> CloudMessage {
        self.app.send_message(&self.hub, &id(DEVICE), draft).await.expect("enqueued")
    }

    /// The messages that wait for the device, with how often each was sent.
    pub(super) async fn waiting(&self) -> Vec<(String, u32)> {
        let waiting = self.store.waiting_messages(&self.hub, &id(DEVICE), 0, 100).await;
        let waiting = waiting.expect("store").into_iter();
        waiting.map(|message| (text(&message.body), message.delivery_count)).collect()
    }

    /// Calls a method on the device.
    pub(super) async fn call(&self, name: &str, payload: &str) -> app::hub::MethodReply {
        self.call_on(&id(DEVICE), name, payload).await
    }

    /// Calls a method on a module of [`DEVICE`].
    pub(super) async fn call_module(
        &self,
        id: &str,
        name: &str,
        payload: &str,
    ) -> app::hub::MethodReply {
        self.call_on(&module(id), name, payload).await
    }

    async fn call_on(&self, id: &DeviceId, name: &str, payload: &str) -> app::hub::MethodReply {
        let call = MethodCall {
            name: name.to_owned(),
            payload: payload.to_owned(),
            response_timeout_secs: 30,
            connect_timeout_secs: 0,
        };
        self.app.call_method(&self.hub, id, &call).await.expect("it is there")
    }

    /// All events, in the order taken.
    pub(super) async fn events(&self) -> Vec<Event> {
        let cursor = self.app.event_cursor(&self.hub, EventStart::Earliest).await.expect("store");
        let page = self.app.read_events(&self.hub, &cursor, None, 1000, u64::MAX).await;
        page.expect("store").events.into_iter().map(|stored| stored.event).collect()
    }

    /// The bodies of all events.
    pub(super) async fn bodies(&self) -> Vec<String> {
        self.events().await.iter().map(|event| text(&event.body)).collect()
    }

    /// The keys of one of the hub's policies.
    pub(super) async fn policy_keys(&self, name: &str) -> SymmetricKeys {
        let scope = PolicyScope::Hub(self.hub.clone());
        self.app.get_policy(&scope, name).await.expect("a policy").keys
    }

    /// A token of the device's own key, valid for ten minutes.
    pub(super) fn token(&self) -> String {
        self.token_for(DEVICE, KEY, 600)
    }

    pub(super) fn token_for(&self, id: &str, key: &str, life_secs: i64) -> String {
        self.token_of(&format!("{HUB}/devices/{id}"), key, life_secs, None)
    }

    pub(super) fn token_of(
        &self,
        resource: &str,
        key: &str,
        life_secs: i64,
        policy: Option<&str>,
    ) -> String {
        let key = SymmetricKey::parse(key).expect("a key");
        let (resource, expiry) =
            (wire::percent::encode(resource), self.clock.now().unix_secs() + life_secs);
        let signature = sign(key.bytes(), &resource, &expiry.to_string());
        wire::sas::token_text(&resource, &signature, expiry, policy)
    }

    /// A CONNECT of [`DEVICE`] with its token.
    pub(super) fn hello(&self) -> Connect {
        Connect {
            client_id: Text::new(DEVICE).expect("legal"),
            clean_session: false,
            keep_alive_secs: 60,
            will: None,
            login: Some(login(&user_name(DEVICE), Some(&self.token()))),
        }
    }

    /// An open connection on which nothing was said.
    pub(super) fn open(&self) -> Client {
        self.open_with(PIPE_BYTES, Vec::new())
    }

    pub(super) fn open_with(&self, pipe_bytes: usize, client_chain: Vec<CertificateDer>) -> Client {
        let (ours, theirs) = duplex(pipe_bytes);
        let peer = Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)), client_chain };
        let (door, stop) = (self.door.clone(), self.stop.subscribe());
        let served = tokio::spawn(async move { door.serve_stream(theirs, peer, stop).await });
        Client::new(ours, served)
    }

    /// What the hub answers to a CONNECT, and the connection.
    pub(super) async fn connect(&self, hello: Connect) -> (ConnAck, Client) {
        let mut client = self.open();
        client.send(Packet::Connect(Box::new(hello))).await;
        let Packet::ConnAck(answer) = client.packet().await else { panic!("no CONNACK") };
        (answer, client)
    }

    /// [`DEVICE`], connected.
    pub(super) async fn connected(&self) -> Client {
        self.connected_with(self.hello()).await
    }

    pub(super) async fn connected_with(&self, hello: Connect) -> Client {
        let (answer, client) = self.connect(hello).await;
        assert!(matches!(answer, ConnAck::Accepted { .. }), "{answer:?}");
        client
    }
}

/// The user name of a device, as Python's SDK writes it.
pub(super) fn user_name(id: &str) -> String {
    format!("{HUB}/{id}/?api-version=2019-10-01&DeviceClientType=py-azure-iot-device%2F2.14.0")
}

pub(super) fn login(user_name: &str, password: Option<&str>) -> Login {
    let password = password.map(|text| Password::new(text.to_owned()).expect("short"));
    Login { user_name: Text::new(user_name).expect("legal"), password }
}

/// A will of QoS 1.
pub(super) fn will(topic: &str, payload: &str) -> Option<Will> {
    let payload = payload.to_owned().into();
    Some(Will {
        topic: Topic::new(topic).expect("legal"),
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
    })
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
