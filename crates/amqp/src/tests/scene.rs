//! A door with one instance and one hub behind it, and clients that say exactly what a test wants.

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
    ports::{AllocationHook, Clock, Entropy, NoAllocationHook},
};
use decide::{
    attestation::AttestSettings,
    hub::{message::MessageDraft, method::MethodCall},
    register::RegisterSettings,
};
use model::{
    AllocationPolicy, Caller, CertificateDer, CloudMessage, Device, DeviceId, Event, FeedbackWish,
    HubName, MessageProperties, PolicyScope, Precondition, Quotas, SymmetricKey, SymmetricKeys,
    Timestamp,
};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{ClientStyle, DeviceToken, entropy, sas::sign};
use tokio::{io::duplex, sync::watch};

use super::client::Client;
use crate::{AmqpDoor, AmqpSettings, Peer, proto::SaslOutcome};

/// The hub's host name.
pub(crate) const HUB: &str = "hub-1.example.test";
/// The device of most tests.
pub(crate) const DEVICE: &str = "dev1";
/// A symmetric key: the primary one of every device and enrollment, unless a test says otherwise.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Another one, the secondary.
pub(crate) const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// The moment at which every test begins.
pub(crate) const NOW: Timestamp = testkit::NOW;
/// How many bytes are under way on a connection, in each direction.
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
            chunk.copy_from_slice(&entropy::bytes::<64>(seed, "the door")[..chunk.len()]);
        }
    }
}

/// How an instance is to be.
pub(crate) struct Plan {
    pub(crate) settings: AmqpSettings,
    pub(crate) rates: RateSettings,
    pub(crate) max_registrations: u64,
    pub(crate) hub_limits: HubLimits,
    pub(crate) hook: Arc<dyn AllocationHook>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: AmqpSettings::default(),
            rates: RateSettings::default(),
            max_registrations: 1000,
            hub_limits: HubLimits::default(),
            hook: Arc::new(NoAllocationHook),
        }
    }
}

/// An instance behind a door, with [`HUB`] and with [`DEVICE`] on it.
pub(crate) struct Scene {
    pub(crate) door: AmqpDoor,
    pub(crate) app: App,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hub: HubName,
    pub(crate) id_scope: String,
    clock: Arc<HandClock>,
    dice: Arc<Counted>,
    hook: Arc<dyn AllocationHook>,
    settings: AmqpSettings,
    app_settings: AppSettings,
    stop: watch::Sender<bool>,
    folder: TempDir,
}

/// A fresh instance.
pub(crate) async fn scene() -> Scene {
    scene_after(Plan::default()).await
}

/// A fresh instance whose door has these settings.
pub(crate) async fn scene_with(settings: AmqpSettings) -> Scene {
    scene_after(Plan { settings, ..Plan::default() }).await
}

/// A fresh instance after this plan.
pub(crate) async fn scene_after(plan: Plan) -> Scene {
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
    let started = first_start::prepare(&*store, &*dice, &*clock, &declared).await;
    let id_scope = started.expect("prepared").id_scope;
    let app_settings = AppSettings {
        service_hosts: vec!["dps.example.test".to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: id_scope.clone(),
                clock_skew_secs: 0,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: plan.max_registrations,
        },
        quotas: Quotas { registrations: plan.max_registrations, ..decide::manage::DEFAULT_QUOTAS },
        rates: plan.rates,
        hub_limits: plan.hub_limits,
    };
    let app = app_on(&store, &clock, &dice, &plan.hook, &app_settings);
    let door = AmqpDoor::new(app.clone(), plan.settings.clone());
    let scene = Scene {
        door,
        app,
        store,
        hub,
        id_scope: id_scope.as_str().to_owned(),
        clock,
        dice,
        hook: plan.hook,
        settings: plan.settings,
        app_settings,
        stop: watch::Sender::new(false),
        folder,
    };
    scene.put_device(DEVICE).await;
    scene
}

fn app_on(
    store: &Arc<dyn Store>,
    clock: &Arc<HandClock>,
    dice: &Arc<Counted>,
    hook: &Arc<dyn AllocationHook>,
    settings: &AppSettings,
) -> App {
    let (store, clock, dice) = (Arc::clone(store), Arc::clone(clock) as _, Arc::clone(dice) as _);
    App::new(store, clock, dice, Arc::clone(hook), settings.clone())
}

/// Someone at the other end, without a certificate.
pub(crate) fn peer() -> Peer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    Peer { address, client_chain: Vec::new(), server_name: None }
}

/// An operator at this machine.
pub(crate) fn operator() -> Caller {
    Caller { policy: "ana".to_owned(), address: Some(Ipv4Addr::LOCALHOST.into()) }
}

/// The name of a device, or of a module as `device/module`.
pub(crate) fn id(text: &str) -> DeviceId {
    DeviceId::parse_stored(text).expect("legal")
}

/// A device with both keys.
pub(crate) fn identity(id: &str, status: &str, keys: (&str, &str)) -> String {
    let (primary, secondary) = keys;
    format!(
        r#"{{"deviceId":"{id}","status":"{status}","authentication":{{"type":"sas","symmetricKey":{{"primaryKey":"{primary}","secondaryKey":"{secondary}"}}}}}}"#
    )
}

impl Scene {
    /// Everything anew but the store: what a restart leaves. Connections of before are cut.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.stop = watch::Sender::new(false);
        self.app = app_on(&self.store, &self.clock, &self.dice, &self.hook, &self.app_settings);
        self.door = AmqpDoor::new(self.app.clone(), self.settings.clone());
    }

    /// Takes the disk away from under the store.
    pub(crate) fn break_store(&self) {
        for name in ["induct.db", "induct.db-wal"] {
            let path = self.folder.path().join(name);
            let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
            file.set_len(0).expect("cut");
        }
    }

    /// Stops the door.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Turns true when the door stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(crate) fn advance_secs(&self, secs: i64) {
        self.clock.0.fetch_add(secs * Timestamp::TICKS_PER_SECOND, Ordering::Relaxed);
    }

    // Provisioning.

    /// Enrolls a device with [`KEY`] and [`OTHER_KEY`].
    pub(crate) async fn enroll(&self, id: &str) {
        self.enroll_as(&format!(
            r#"{{"registrationId":"{id}","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}}}"#
        ))
        .await;
    }

    /// Writes an individual enrollment as an operator sends it.
    pub(crate) async fn enroll_as(&self, body: &str) {
        let draft = wire::operator::parse_individual(body.as_bytes()).expect("an enrollment");
        let by = operator();
        self.app.put_individual(draft, &Precondition::None, &by).await.expect("enrolled");
    }

    /// A device's token for the provisioning service, for half a minute.
    pub(crate) fn registration_token(&self, style: ClientStyle, id: &str, key: &str) -> String {
        let key = SymmetricKey::parse(key).expect("key");
        DeviceToken {
            style,
            id_scope: &self.id_scope,
            registration_id: id,
            key: &key,
            expiry_unix_secs: self.app.now().unix_secs() + 30,
        }
        .text()
    }

    /// The user name of PLAIN, and the link address, of a device that registers.
    pub(crate) fn registration(&self, id: &str) -> String {
        format!("{}/registrations/{id}", self.id_scope)
    }

    // The registry.

    /// Makes a device with [`KEY`] and [`OTHER_KEY`].
    pub(crate) async fn put_device(&self, id: &str) -> Device {
        self.put(&identity(id, "enabled", (KEY, OTHER_KEY)), Precondition::None).await
    }

    pub(crate) async fn put(&self, document: &str, precondition: Precondition) -> Device {
        let draft = wire::hub::parse_identity(document.as_bytes()).expect("an identity");
        self.app.put_identity(&self.hub, &draft, &precondition, &operator()).await.expect("put")
    }

    /// Makes a module, called `device/module`, with this primary key and a secondary one that
    /// nobody else has.
    pub(crate) async fn put_module(&self, name: &str, key: &str, precondition: Precondition) {
        let secondary = "Dw4NDAsKCQgHBgUEAwIBAA8ODQwLCgkIBwYFBAMCAQA=";
        let document = identity(DEVICE, "enabled", (key, secondary));
        self.put_module_as(name, &document, precondition).await;
    }

    /// The same with the credentials of this document.
    pub(crate) async fn put_module_as(
        &self,
        name: &str,
        document: &str,
        precondition: Precondition,
    ) {
        let mut draft = wire::hub::parse_identity(document.as_bytes()).expect("an identity");
        draft.device_id = id(name);
        let put = self.app.put_identity(&self.hub, &draft, &precondition, &operator()).await;
        put.expect("put");
    }

    /// Writes a device's identity anew.
    pub(crate) async fn rewrite(&self, id: &str, status: &str, keys: (&str, &str)) {
        self.put(&identity(id, status, keys), Precondition::Any).await;
    }

    pub(crate) async fn delete_device(&self, of: &str) {
        let any = Precondition::Any;
        self.app.delete_device(&self.hub, &id(of), &any, &operator()).await.expect("deleted");
    }

    /// A device as the registry has it.
    pub(crate) async fn device(&self, of: &str) -> Device {
        self.app.get_device(&self.hub, &id(of)).await.expect("there")
    }

    /// Merges a patch into a device's desired properties.
    pub(crate) async fn desire(&self, of: &str, patch: &str) {
        let document = format!(r#"{{"properties":{{"desired":{patch}}}}}"#);
        let draft = wire::hub::parse_twin(document.as_bytes()).expect("a twin");
        let none = Precondition::None;
        let patched = self.app.patch_twin(&self.hub, &id(of), &draft, &none, &operator()).await;
        patched.expect("patched");
    }

    // Messages, methods, events.

    /// Puts a message into a device's queue.
    pub(crate) async fn message(&self, to: &str, body: &str) -> CloudMessage {
        let draft = MessageDraft {
            properties: MessageProperties::default(),
            application: Vec::new(),
            body: body.as_bytes().to_vec(),
            feedback: FeedbackWish::None,
            expires: None,
        };
        self.message_of(to, draft).await
    }

    pub(crate) async fn message_of(&self, to: &str, draft: MessageDraft) -> CloudMessage {
        self.app.send_message(&self.hub, &id(to), draft).await.expect("enqueued")
    }

    /// The messages that wait for a device, with how often each was sent.
    pub(crate) async fn waiting(&self, of: &str) -> Vec<(String, u32)> {
        let waiting = self.store.waiting_messages(&self.hub, &id(of), 0, 100).await;
        let waiting = waiting.expect("store").into_iter();
        waiting.map(|message| (text(&message.body), message.delivery_count)).collect()
    }

    /// Calls a method on a device.
    pub(crate) async fn call(&self, on: &str, name: &str, payload: &str) -> app::hub::MethodReply {
        let call = MethodCall {
            name: name.to_owned(),
            payload: payload.to_owned(),
            response_timeout_secs: 30,
            connect_timeout_secs: 0,
        };
        self.app.call_method(&self.hub, &id(on), &call).await.expect("the device is there")
    }

    /// All events, in the order taken.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let cursor = self.app.event_cursor(&self.hub, EventStart::Earliest).await.expect("store");
        let page = self.app.read_events(&self.hub, &cursor, None, 1000, u64::MAX).await;
        page.expect("store").events.into_iter().map(|stored| stored.event).collect()
    }

    /// The bodies of all events.
    pub(crate) async fn bodies(&self) -> Vec<String> {
        self.events().await.iter().map(|event| text(&event.body)).collect()
    }

    // Tokens.

    /// The keys of one of the hub's policies.
    pub(crate) async fn policy_keys(&self, name: &str) -> SymmetricKeys {
        let scope = PolicyScope::Hub(self.hub.clone());
        self.app.get_policy(&scope, name).await.expect("a policy").keys
    }

    /// A token of a device's own, signed with [`KEY`], valid for ten minutes.
    pub(crate) fn token(&self, id: &str) -> String {
        self.token_for(id, KEY, 600)
    }

    pub(crate) fn token_for(&self, id: &str, key: &str, life_secs: i64) -> String {
        self.token_of(&format!("{HUB}/devices/{id}"), key, life_secs, None)
    }

    /// A token of one of the hub's policies for this resource, valid for ten minutes.
    pub(crate) async fn policy_token(&self, policy: &str, resource: &str) -> String {
        let keys = self.policy_keys(policy).await;
        self.sign(resource, keys.primary.bytes(), 600, Some(policy))
    }

    pub(crate) fn token_of(
        &self,
        resource: &str,
        key: &str,
        life_secs: i64,
        policy: Option<&str>,
    ) -> String {
        let key = SymmetricKey::parse(key).expect("a key");
        self.sign(resource, key.bytes(), life_secs, policy)
    }

    fn sign(&self, resource: &str, key: &[u8], life_secs: i64, policy: Option<&str>) -> String {
        let (resource, expiry) =
            (wire::percent::encode(resource), self.app.now().unix_secs() + life_secs);
        let signature = sign(key, &resource, &expiry.to_string());
        wire::sas::token_text(&resource, &signature, expiry, policy)
    }

    // Connections.

    /// An open stream on which nothing was said.
    pub(crate) fn open(&self) -> Client {
        self.open_with(PIPE_BYTES, peer())
    }

    /// The same with this client certificate.
    pub(crate) fn open_of(&self, client_chain: Vec<CertificateDer>) -> Client {
        self.open_with(PIPE_BYTES, Peer { client_chain, ..peer() })
    }

    /// The same on which only so much may be under way.
    pub(crate) fn open_with(&self, pipe_bytes: usize, peer: Peer) -> Client {
        let (ours, theirs) = duplex(pipe_bytes);
        let (door, stop) = (self.door.clone(), self.stopping());
        let served = tokio::spawn(async move { door.serve_stream(theirs, peer, stop).await });
        Client::new(ours, served)
    }

    /// A client that opened its connection to [`HUB`] without SASL and began session 0.
    pub(crate) async fn connected(&self) -> Client {
        let mut client = self.open();
        client.connect_to(Some(HUB)).await;
        client.begin(0).await;
        client
    }

    /// A client that logged in with PLAIN, opened its connection to [`HUB`] and began session 0.
    pub(crate) async fn logged_in(&self, user: &str, password: &str) -> Client {
        let mut client = self.open();
        assert_eq!(client.sasl_plain(user, password).await, SaslOutcome::Ok);
        client.connect_to(Some(HUB)).await;
        client.begin(0).await;
        client
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
