//! A door with one instance behind it, and clients that say exactly what a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use app::first_start::{self, Declared, DeclaredHub};
use app::limits::RateSettings;
use app::ports::{AllocationHook, Clock, Entropy, NoAllocationHook};
use app::{App, AppSettings};
use bytes::Bytes;
use decide::{attestation::AttestSettings, register::RegisterSettings};
use model::{
    AllocationPolicy, Caller, CertificateDer, HubName, Precondition, Quotas, SymmetricKey,
    Timestamp,
};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::{ClientStyle, DeviceToken, NOW, entropy};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::link::{Broken, Link, Terms};
use crate::proto::{
    Connect, Delivery, Filter, Limits, Login, Packet, PacketId, Password, Publish, Qos, Subscribe,
    Text, Topic, Unsubscribe,
};
use crate::{MqttDoor, MqttSettings, Peer};

/// The host name of the first hub.
pub(crate) const HUB: &str = "hub-1.example.test";
/// A symmetric key.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Another one.
pub(crate) const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// How many bytes are under way on a connection, in each direction.
const STREAM_BYTES: usize = 64 * 1024;

/// A clock that moves when told to.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.load(Ordering::Relaxed))
    }
}

impl HandClock {
    pub(crate) fn advance_secs(&self, secs: i64) {
        self.0.fetch_add(secs * Timestamp::TICKS_PER_SECOND, Ordering::Relaxed);
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
    pub(crate) settings: MqttSettings,
    pub(crate) rates: RateSettings,
    pub(crate) max_registrations: u64,
    pub(crate) hook: Arc<dyn AllocationHook>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: MqttSettings::default(),
            rates: RateSettings::default(),
            max_registrations: 1000,
            hook: Arc::new(NoAllocationHook),
        }
    }
}

/// An instance behind a door.
pub(crate) struct Scene {
    pub(crate) door: MqttDoor,
    pub(crate) app: App,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) id_scope: String,
    pub(crate) shutdown: watch::Sender<bool>,
    settings: MqttSettings,
    app_settings: AppSettings,
    hook: Arc<dyn AllocationHook>,
    dice: Arc<Counted>,
    folder: TempDir,
}

/// A fresh instance with two hubs.
pub(crate) async fn scene() -> Scene {
    scene_after(Plan::default()).await
}

/// A fresh instance after this plan.
pub(crate) async fn scene_after(plan: Plan) -> Scene {
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
    let (dice, clock) = (Arc::new(Counted::default()), HandClock(AtomicI64::new(NOW.ticks())));
    let clock = Arc::new(clock);
    let declare = |name| DeclaredHub {
        name: HubName::parse(name).expect("legal"),
        weight: 1,
        apply_allocation_policy: true,
    };
    let declared = Declared {
        hubs: [HUB, "hub-2.example.test"].map(declare).into(),
        allocation_policy: AllocationPolicy::Hashed,
    };
    let started = first_start::prepare(&*store, &*dice, &*clock, &declared).await;
    let id_scope = started.expect("prepared").id_scope;
    let app_settings = AppSettings {
        service_hosts: vec!["dps.example.test".to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: id_scope.clone(),
                clock_skew_secs: 300,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: plan.max_registrations,
        },
        quotas: Quotas { registrations: plan.max_registrations, ..decide::manage::DEFAULT_QUOTAS },
        rates: plan.rates,
        hub_limits: app::device::HubLimits::default(),
    };
    let app = App::new(
        Arc::clone(&store),
        Arc::clone(&clock) as _,
        Arc::clone(&dice) as _,
        Arc::clone(&plan.hook),
        app_settings.clone(),
    );
    Scene {
        door: MqttDoor::new(app.clone(), plan.settings.clone()),
        app,
        store,
        clock,
        id_scope: id_scope.as_str().to_owned(),
        shutdown: watch::Sender::new(false),
        settings: plan.settings,
        app_settings,
        hook: plan.hook,
        dice,
        folder,
    }
}

impl Scene {
    /// Everything anew but the store: what a restart leaves. Connections of before are cut.
    pub(crate) fn restart(&mut self) {
        self.shutdown.send_replace(true);
        self.shutdown = watch::Sender::new(false);
        self.app = App::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock) as _,
            Arc::clone(&self.dice) as _,
            Arc::clone(&self.hook),
            self.app_settings.clone(),
        );
        self.door = MqttDoor::new(self.app.clone(), self.settings.clone());
    }

    /// Takes the disk away from under the store.
    pub(crate) fn break_store(&self) {
        for name in ["induct.db", "induct.db-wal"] {
            let path = self.folder.path().join(name);
            let file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
            file.set_len(0).expect("cut");
        }
    }

    /// Opens a connection.
    pub(crate) fn open(&self) -> Client {
        self.open_with(Vec::new())
    }

    /// Opens a connection with this client certificate.
    pub(crate) fn open_with(&self, client_chain: Vec<CertificateDer>) -> Client {
        self.open_of(STREAM_BYTES, client_chain)
    }

    /// Opens a connection on which only so much may be under way.
    pub(crate) fn open_of(&self, n_bytes: usize, client_chain: Vec<CertificateDer>) -> Client {
        let (ours, theirs) = duplex(n_bytes);
        let peer = Peer { client_chain, ..peer() };
        let (door, shutdown) = (self.door.clone(), self.shutdown.subscribe());
        let session = tokio::spawn(async move { door.serve_stream(ours, peer, shutdown).await });
        let terms = Arc::new(Terms::new(&MqttSettings::default()));
        Client { link: Link::new(theirs, terms, Limits::SESSION), session }
    }

    /// Enrolls a device with [`KEY`].
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
    pub(crate) fn device_token(&self, style: ClientStyle, id: &str, key: &str) -> String {
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

    /// A user name for provisioning.
    pub(crate) fn user_name(&self, id: &str) -> String {
        format!("{}/registrations/{id}/api-version=2019-03-31", self.id_scope)
    }

    /// The CONNECT of a device with [`KEY`].
    pub(crate) fn connect(&self, id: &str) -> Connect {
        let token = self.device_token(ClientStyle::Python, id, KEY);
        connect(id, &self.user_name(id), Some(&token))
    }
}

/// Someone at the other end, without a certificate.
pub(crate) fn peer() -> Peer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    Peer { address, client_chain: Vec::new() }
}

/// An operator at this machine.
pub(crate) fn operator() -> Caller {
    Caller { policy: "ana".to_owned(), address: Some(Ipv4Addr::LOCALHOST.into()) }
}

/// A client of the door.
pub(crate) struct Client {
    pub(crate) link: Link<DuplexStream>,
    session: JoinHandle<()>,
}

impl Client {
    /// Sends packets.
    pub(crate) async fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            self.link.queue(&packet).expect("a packet that can be sent");
        }
        self.link.flush().await.expect("sent");
    }

    /// Sends a PINGREQ and reads nothing; whether the door took it within a second.
    pub(crate) async fn ping_without_reading(&mut self) -> bool {
        self.link.queue(&Packet::PingReq).expect("a packet that can be sent");
        let longest = std::time::Duration::from_secs(1);
        matches!(tokio::time::timeout(longest, self.link.flush()).await, Ok(Ok(())))
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> impl Future<Output = Packet> {
        let caller = std::panic::Location::caller();
        async move {
            match self.link.read().await {
                Ok((packet, _place)) => packet,
                Err(broken) => panic!("{caller}: no packet: {broken}"),
            }
        }
    }

    /// Expects the next packet to be this one.
    pub(crate) async fn expect(&mut self, expected: Packet) {
        let packet = self.receive().await;
        assert_eq!(packet, expected);
    }

    /// Expects the next packet to be a message, and takes it apart: topic, payload as text, and how
    /// it is delivered.
    pub(crate) async fn expect_message(&mut self) -> (String, String, Delivery) {
        match self.receive().await {
            Packet::Publish(publish) => {
                assert!(!publish.retain && !publish.delivery.dup(), "{publish:?}");
                let text = String::from_utf8(publish.payload.to_vec()).expect("UTF-8");
                (publish.topic.as_str().to_owned(), text, publish.delivery)
            }
            other => panic!("expected PUBLISH: {other:?}"),
        }
    }

    /// Expects that nothing more comes, that the connection ends, and that its session is over
    /// without a panic.
    pub(crate) async fn expect_end(mut self) {
        match self.link.read().await {
            Err(Broken::Closed | Broken::Io(_)) => {}
            other => panic!("expected the end: {other:?}"),
        }
        drop(self.link);
        self.session.await.expect("the session did not panic");
    }

    /// Leaves, if the door has not shown it out already.
    pub(crate) async fn leave_if_let_in(mut self) {
        drop(self.link.queue(&Packet::Disconnect));
        drop(self.link.flush().await);
        self.expect_end().await;
    }

    /// Leaves, and waits for the session to be over.
    pub(crate) async fn leave(mut self) {
        self.send([Packet::Disconnect]).await;
        self.expect_end().await;
    }
}

/// A CONNECT, with a clean session and without keep-alive.
pub(crate) fn connect(client_id: &str, user_name: &str, password: Option<&str>) -> Connect {
    Connect {
        client_id: Text::new(client_id).expect("a text"),
        clean_session: true,
        keep_alive_secs: 0,
        will: None,
        login: Some(Login {
            user_name: Text::new(user_name).expect("a text"),
            password: password.map(|text| Password::new(text.to_owned()).expect("short")),
        }),
    }
}

/// A packet identifier.
pub(crate) fn id(n: u16) -> PacketId {
    NonZeroU16::new(n).expect("not 0")
}

/// QoS 1, for the first time.
pub(crate) fn at_least_once(n: u16) -> Delivery {
    Delivery::AtLeastOnce { id: id(n), dup: false }
}

/// A SUBSCRIBE of one filter.
pub(crate) fn subscribe(n: u16, filter: &str, qos: Qos) -> Packet {
    let filter = Filter::new(filter).expect("a filter");
    Packet::Subscribe(Subscribe { id: id(n), filters: vec![(filter, qos)] })
}

/// An UNSUBSCRIBE of one filter.
pub(crate) fn unsubscribe(n: u16, filter: &str) -> Packet {
    let filter = Filter::new(filter).expect("a filter");
    Packet::Unsubscribe(Unsubscribe { id: id(n), filters: vec![filter] })
}

/// A PUBLISH.
pub(crate) fn publish(topic: &str, payload: impl Into<Vec<u8>>, delivery: Delivery) -> Packet {
    Packet::Publish(Publish {
        topic: Topic::new(topic).expect("a topic"),
        payload: Bytes::from(payload.into()),
        delivery,
        retain: false,
    })
}
