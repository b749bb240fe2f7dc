//! A hub with devices that connect, over a store that can be held up and a clock that can be
//! moved on.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use decide::manage::DEFAULT_QUOTAS;
use induct_app::{
    App, No,
    device::{Commands, Connecting, DeviceSession, Earlier, EventDraft, HubLimits},
    hub::{EventCursor, EventStart},
    limits::RateSettings,
    ports::{Clock, NoAllocationHook},
};
use model::{
    AuthenticationDraft, ConnectRefusal, DeviceId, DeviceIdentity, DeviceStatus, Evidence, HubName,
    HubRefusal, IdentityDraft, Precondition, SasToken, StoredEvent, SymmetricKey, Timestamp,
};
use tempfile::TempDir;
use testkit::NOW;

use crate::{
    gated::Gated,
    instance::{CountingEntropy, by, hub_name, open, settings},
};

/// Never shows the same moment twice, and moves on when told to.
pub(crate) struct MovingClock(AtomicI64);

impl Clock for MovingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

impl MovingClock {
    pub(crate) fn advance(&self, secs: i64) {
        let ticks = NOW.plus_secs(secs).ticks() - NOW.ticks();
        self.0.fetch_add(ticks, Ordering::SeqCst);
    }
}

pub(crate) type Connected = (DeviceSession, Commands);

/// The hub and what it stands on. Clones share it.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) app: App,
    pub(crate) store: Arc<Gated>,
    pub(crate) clock: Arc<MovingClock>,
    pub(crate) hub: HubName,
    /// Deletes the store when it goes.
    _folder: Arc<TempDir>,
}

/// A device ID, or a module's name below one.
pub(crate) fn id(text: &str) -> DeviceId {
    DeviceId::parse_stored(text).unwrap()
}

pub(crate) fn key(seed: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[seed; 32]).unwrap()
}

/// A token for a device of the first hub, that lasts for an hour.
pub(crate) fn token(device: &str, key: &SymmetricKey, policy: Option<&str>) -> Evidence {
    token_for("hub-1", device, key, policy)
}

pub(crate) fn token_for(
    hub: &str,
    device: &str,
    key: &SymmetricKey,
    policy: Option<&str>,
) -> Evidence {
    token_until(hub, device, key, policy, 3600)
}

/// A token that lasts until so many seconds after the beginning.
pub(crate) fn token_until(
    hub: &str,
    device: &str,
    key: &SymmetricKey,
    policy: Option<&str>,
    secs: i64,
) -> Evidence {
    let path = device.replace('/', "/modules/");
    let resource = format!("{}/devices/{path}", hub_name(hub));
    let expiry_unix_secs = NOW.unix_secs() + secs;
    let expiry_raw = expiry_unix_secs.to_string();
    Evidence::Sas(SasToken {
        signature: testkit::sas::sign(key.bytes(), &resource, &expiry_raw).to_vec(),
        resource_raw: resource.clone(),
        resource,
        expiry_unix_secs,
        expiry_raw,
        key_name: policy.map(str::to_owned),
    })
}

/// An identity that takes tokens of this key.
pub(crate) fn keyed(device: &str, seed: u8) -> IdentityDraft {
    let authentication = AuthenticationDraft {
        kind: None,
        primary_key: Some(key(seed)),
        secondary_key: Some(key(seed)),
        primary_thumbprint: None,
        secondary_thumbprint: None,
    };
    IdentityDraft {
        device_id: id(device),
        status: None,
        status_reason: None,
        authentication: Some(authentication),
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

pub(crate) fn body(text: &str) -> EventDraft {
    EventDraft { body: text.as_bytes().to_vec(), ..EventDraft::default() }
}

/// What became of it at once, or `None` if it has to wait.
pub(crate) async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(found) => std::task::Poll::Ready(Some(found)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(HubLimits::default()).await
    }

    pub(crate) async fn with(hub_limits: HubLimits) -> Self {
        let entropy = Arc::new(CountingEntropy::default());
        let (folder, under) = open(&["hub-1"], &entropy).await;
        let store = Arc::new(Gated::new(under));
        let clock = Arc::new(MovingClock(AtomicI64::new(NOW.ticks())));
        let settings = settings(DEFAULT_QUOTAS, RateSettings::default(), hub_limits);
        let (gated, time) = (Arc::clone(&store), Arc::clone(&clock));
        let app = App::new(gated, time, entropy, Arc::new(NoAllocationHook), settings);
        let hub = hub_name("hub-1");
        Self { app, store, clock, hub, _folder: Arc::new(folder) }
    }

    /// A stage with a device that is known by key 1.
    pub(crate) async fn with_device(device: &str) -> Self {
        let stage = Self::new().await;
        stage.create(device, 1).await;
        stage
    }

    pub(crate) async fn create(&self, device: &str, seed: u8) {
        self.put(keyed(device, seed), Precondition::None).await.unwrap();
    }

    pub(crate) async fn put(
        &self,
        draft: IdentityDraft,
        precondition: Precondition,
    ) -> Result<(), No<HubRefusal>> {
        self.app.put_identity(&self.hub, &draft, &precondition, &by()).await.map(drop)
    }

    pub(crate) async fn set_enabled(&self, device: &str, seed: u8, enabled: bool) {
        let status = if enabled { DeviceStatus::Enabled } else { DeviceStatus::Disabled };
        let draft = IdentityDraft { status: Some(status), ..keyed(device, seed) };
        self.put(draft, Precondition::Any).await.unwrap();
    }

    pub(crate) async fn disable(&self, device: &str) {
        self.set_enabled(device, 1, false).await;
    }

    pub(crate) async fn delete(&self, device: &str) {
        self.app.delete_device(&self.hub, &id(device), &Precondition::Any, &by()).await.unwrap();
    }

    pub(crate) fn connecting_forgotten(&self, device: &str, evidence: Evidence) -> Connecting {
        self.connecting(device, evidence, Earlier::Forgotten)
    }

    pub(crate) async fn connect_by(
        &self,
        device: &str,
        evidence: Evidence,
        clean: bool,
    ) -> Result<Connected, No<ConnectRefusal>> {
        let earlier = if clean { Earlier::Forgotten } else { Earlier::Restored };
        self.app.connect_device(self.connecting(device, evidence, earlier)).await
    }

    pub(crate) fn connecting(
        &self,
        device: &str,
        evidence: Evidence,
        earlier: Earlier,
    ) -> Connecting {
        let address: IpAddr = [192, 0, 2, 1].into();
        let (hub, device_id) = (self.hub.clone(), id(device));
        Connecting { hub, device_id, evidence, address, earlier }
    }

    pub(crate) async fn connect(
        &self,
        device: &str,
        seed: u8,
    ) -> Result<Connected, No<ConnectRefusal>> {
        self.connect_by(device, token(device, &key(seed), None), false).await
    }

    pub(crate) async fn identity(&self, device: &str) -> DeviceIdentity {
        self.app.get_device(&self.hub, &id(device)).await.unwrap().identity
    }

    pub(crate) async fn is_connected(&self, device: &str) -> bool {
        self.app.see_off().await;
        self.identity(device).await.connected
    }

    pub(crate) async fn read(&self, cursor: &EventCursor) -> Vec<StoredEvent> {
        self.app.read_events(&self.hub, cursor, None, 10_000, u64::MAX).await.unwrap().events
    }

    /// Sender and body of all events, in order.
    pub(crate) async fn events(&self) -> Vec<(String, String)> {
        let start = self.app.event_cursor(&self.hub, EventStart::Earliest).await.unwrap();
        let text = |event: StoredEvent| {
            let body = String::from_utf8(event.event.body).unwrap();
            (event.event.device_id.to_string(), body)
        };
        self.read(&start).await.into_iter().map(text).collect()
    }
}
