//! Chores on a real store, by a clock that moves when told to.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use app::{
    first_start,
    ports::{Clock, NoAllocationHook},
};
use decide::hub::{
    event::{self, EventDraft},
    message::MessageDraft,
};
use model::{
    AuthMethod, Caller, Change, ChangeSet, DeviceId, EventPosition, HubName, Precondition,
    Timestamp,
};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;

use super::*;
use crate::{
    config::{self, Given},
    ports::{Environment, SystemEntropy},
    wiring,
};

const START_SECS: i64 = 1_800_000_000;

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A hub that was told to keep little, with one device, one event and one message.
struct Scene {
    app: App,
    store: Arc<dyn Store>,
    clock: Arc<HandClock>,
    hub: HubName,
    device_id: DeviceId,
    _folder: TempDir,
}

async fn scene() -> Scene {
    let folder = TempDir::new().expect("a folder");
    let text = "[events]\nretention_hours = 2\n[messages]\ndefault_ttl_secs = 3600\n";
    let given = Given { config: None, data: Some(folder.path().to_owned()) };
    let config = config::parse(text, None, &given, &Environment::default()).expect("legal").config;
    let settings = SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 1,
        max_waiting: 64,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(settings).expect("a store"));
    let clock = Arc::new(HandClock(AtomicI64::new(START_SECS)));
    let declared = wiring::declared(&config);
    let started = first_start::prepare(&*store, &SystemEntropy, &*clock, &declared).await;
    let id_scope = started.expect("prepared").id_scope;
    let app = App::new(
        Arc::clone(&store),
        Arc::clone(&clock) as _,
        Arc::new(SystemEntropy),
        Arc::new(NoAllocationHook),
        wiring::app_settings(&config, id_scope),
    );
    let (hub, device_id) = (config.hubs[0].host.clone(), DeviceId::parse("d").expect("legal"));
    let draft = wire::hub::parse_identity(br#"{"deviceId":"d"}"#).expect("legal");
    let ana = Caller { policy: "ana".to_owned(), address: None };
    let put = app.put_identity(&hub, &draft, &Precondition::None, &ana).await;
    let generation = put.expect("created").identity.generation_id;
    let draft = EventDraft { body: b"hot".to_vec(), ..EventDraft::default() };
    let event = event::sent(&generation, &device_id, AuthMethod::DeviceKey, draft, clock.now());
    let event = Box::new(event.expect("small enough"));
    let changes = ChangeSet::new().with(Change::AppendEvent(hub.clone(), 0, event));
    store.commit(changes).await.expect("committed");
    app.send_message(&hub, &device_id, MessageDraft::default()).await.expect("queued");
    Scene { app, store, clock, hub, device_id, _folder: folder }
}

impl Scene {
    /// After this time and a round of chores, so many events and messages are left.
    async fn check(&self, after_secs: i64, expected: (usize, usize)) {
        self.clock.0.store(START_SECS + after_secs, Ordering::Relaxed);
        run_once(&self.app).await;
        let from = EventPosition::Offset(0);
        let events = self.store.read_events(&self.hub, 0, from, 10, u64::MAX).await;
        let messages = self.store.waiting_messages(&self.hub, &self.device_id, 0, 10).await;
        let left = (events.expect("read").len(), messages.expect("read").len());
        assert_eq!(left, expected, "after {after_secs} s");
    }
}

#[tokio::test]
async fn what_a_hub_was_told_to_keep_no_longer_goes() {
    let scene = scene().await;
    scene.check(3_599, (1, 1)).await;
    scene.check(3_601, (1, 0)).await;
    scene.check(7_199, (1, 0)).await;
    scene.check(7_201, (0, 0)).await;
}

#[tokio::test]
async fn chores_end_with_the_server() {
    let scene = scene().await;
    let (stop, stopping) = watch::channel(false);
    let tidying = tokio::spawn(tidy(scene.app.clone(), stopping.clone()));
    let seeing_off = tokio::spawn(see_off(scene.app.clone(), stopping));
    stop.send_replace(true);
    tidying.await.expect("it ended");
    seeing_off.await.expect("it ended");
}
