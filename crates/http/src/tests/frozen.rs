//! A store that answers at once, for tests that stop tokio's time: it knows nothing of the threads
//! that a real store waits for, and would run ahead of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use model::{
    AccessPolicy, Change, ChangeSet, ConnectFacts, ConnectQuery, Device, DeviceId, EventPosition,
    HubName, PartitionState, PolicyScope, StoredEvent,
};

use super::faults::Broken;
use super::scene::{HUB, Scene, scene_on};

/// The one device there is.
pub(super) const DEVICE: &str = "press-17";

/// What a real store held when it was frozen, and the events that came since.
#[derive(Default)]
pub(super) struct Frozen {
    facts: OnceLock<Facts>,
    log: Mutex<BTreeMap<u16, Vec<StoredEvent>>>,
}

pub(super) struct Facts {
    device: Device,
    policies: Mutex<Vec<AccessPolicy>>,
    pub(super) connect: ConnectFacts,
}

impl Facts {
    pub(super) fn find_device(&self, id: &DeviceId) -> Option<Device> {
        Some(&self.device).filter(|device| device.identity.device_id == *id).cloned()
    }

    pub(super) fn find_policy(&self, scope: &PolicyScope, name: &str) -> Option<AccessPolicy> {
        let is_meant = |policy: &&AccessPolicy| policy.scope == *scope && policy.name == name;
        self.policies.lock().expect("policies").iter().find(is_meant).cloned()
    }
}

impl Frozen {
    pub(super) fn facts(&self) -> Option<&Facts> {
        self.facts.get()
    }

    /// From here on there are no policies.
    pub(super) fn forget_policies(&self) {
        self.facts().expect("frozen").policies.lock().expect("policies").clear();
    }

    pub(super) fn keep_events(&self, changes: ChangeSet) {
        let mut log = self.log.lock().expect("the log");
        for change in changes.changes {
            if let Change::AppendEvent(_, partition, event) = change {
                let events = log.entry(partition).or_default();
                let offset = events.len() as u64;
                events.push(StoredEvent { partition, offset, event: *event });
            }
        }
    }

    pub(super) fn read_events(
        &self,
        partition: u16,
        from: EventPosition,
        limit: usize,
        max_bytes: u64,
    ) -> Vec<StoredEvent> {
        let EventPosition::Offset(from) = from else { panic!("no test asks by time") };
        let log = self.log.lock().expect("the log");
        let events = log.get(&partition).into_iter().flatten();
        let (mut found, mut n_bytes) = (Vec::new(), 0);
        for event in events.filter(|event| event.offset >= from).take(limit) {
            n_bytes += event.event.size_bytes();
            if n_bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(event.clone());
        }
        found
    }

    pub(super) fn event_partitions(&self) -> Vec<PartitionState> {
        let log = self.log.lock().expect("the log");
        let state = |(partition, events): (&u16, &Vec<StoredEvent>)| PartitionState {
            partition: *partition,
            first_offset: 0,
            next_offset: events.len() as u64,
            last_enqueued: events.last().map(|event| event.event.enqueued),
            size_bytes: events.iter().map(|event| event.event.size_bytes()).sum(),
        };
        log.iter().map(state).collect()
    }
}

/// An instance with [`DEVICE`] whose store is frozen. From here on tokio's time stands still until
/// everything waits.
pub(super) async fn frozen() -> Scene {
    freeze().await.0
}

/// The same, with the store.
pub(super) async fn freeze() -> (Scene, Arc<Frozen>) {
    let frozen = Arc::new(Frozen::default());
    let scene = scene_on(|store| Arc::new(Broken::but_for(Arc::clone(&frozen), store))).await;
    scene.add_device(DEVICE).await;
    let (hub, id) = (HubName::parse(HUB).expect("legal"), DeviceId::parse(DEVICE).expect("legal"));
    let device = scene.store.find_device(&hub, &id).await.expect("store").expect("there");
    let mut policies = scene.store.list_policies(&PolicyScope::Service).await.expect("store");
    let of_hub = PolicyScope::Hub(hub.clone());
    policies.extend(scene.store.list_policies(&of_hub).await.expect("store"));
    let query = ConnectQuery {
        hub,
        device_id: id,
        policy: Some("iothubowner".to_owned()),
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    };
    let connect = scene.store.connect_facts(&query).await.expect("store");
    let facts = Facts { device, policies: Mutex::new(policies), connect };
    assert!(frozen.facts.set(facts).is_ok());
    tokio::time::pause();
    (scene, frozen)
}
