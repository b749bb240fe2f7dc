//! Remote hubs take turns: one that is down holds up no other, and what is under way when a device is
//! taken out neither lets it in nor silences the receipt.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use decide::pending::{LEASE_SECS, RemoteDevice, RemoteFailure, RemoteHub, RemoteTwin};
use induct_app::{
    App,
    bans::Wet,
    ports::{NoBell, RemoteHubs},
    remote::RemoteSettings,
};
use model::{
    AllocationPolicy, Change, ChangeSet, DeviceId, DeviceStatus, Etag, HubAccess, HubName,
    IdentityDraft, Intent, LinkedHub, Precondition, Receipt, RegistrationStatus, RemoteAccess,
    TwinDraft,
    ban::{BanDraft, SubjectDraft},
};
use store::Store;
use testkit::NOW;

use crate::{
    fleet::{Fleet, by_key, ids, other, registration},
    instance::{by, hub_name},
    stage::{key, keyed},
};

/// What happens while a hub is asked or told something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Ban,
    Deprovision(Intent),
}

/// Hubs elsewhere.
#[derive(Default)]
struct Far {
    identities: Mutex<BTreeMap<(HubName, DeviceId), IdentityDraft>>,
    down: Mutex<Vec<HubName>>,
    n_calls: AtomicUsize,
    on_find: Mutex<Option<(App, Meanwhile)>>,
    on_put: Mutex<Option<(App, Meanwhile)>>,
    receipt: Mutex<Option<Receipt>>,
}

impl Far {
    fn check(&self, hub: &RemoteHub) -> Result<(), RemoteFailure> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        match self.down.lock().unwrap().contains(&hub.name) {
            true => Err(RemoteFailure::transient("down")),
            false => Ok(()),
        }
    }

    fn put(&self, hub: &str, draft: IdentityDraft) {
        let at = (hub_name(hub), draft.device_id.clone());
        self.identities.lock().unwrap().insert(at, draft);
    }

    fn look(&self, hub: &str, id: &str) -> Option<DeviceStatus> {
        let identities = self.identities.lock().unwrap();
        let found = identities.get(&(hub_name(hub), crate::stage::id(id)))?;
        Some(found.status.unwrap_or(DeviceStatus::Enabled))
    }

    fn set_down(&self, hubs: &[&str]) {
        *self.down.lock().unwrap() = hubs.iter().map(|hub| hub_name(hub)).collect();
    }

    async fn meanwhile(&self, what: &Mutex<Option<(App, Meanwhile)>>) {
        let what = what.lock().unwrap().take();
        match what {
            None => {}
            Some((app, Meanwhile::Ban)) => {
                let subject = SubjectDraft::Registration(registration("saw-1"));
                let draft = BanDraft { subject, reason: None, expires: None };
                app.put_ban(&draft, Wet::Done, &by()).await.unwrap();
            }
            Some((app, Meanwhile::Deprovision(intent))) => {
                let saw = ids(&["saw-1"]);
                let plan = app.plan_deprovision(&saw, intent, None, &by()).await.unwrap();
                let done = app.deprovision(&plan.head.id, &other()).await.unwrap();
                *self.receipt.lock().unwrap() = Some(done);
            }
        }
    }
}

#[async_trait]
impl RemoteHubs for Far {
    async fn find_device(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteDevice>, RemoteFailure> {
        self.check(hub)?;
        self.meanwhile(&self.on_find).await;
        let found = self.identities.lock().unwrap().get(&(hub.name.clone(), id.clone())).cloned();
        Ok(found.map(|identity| RemoteDevice { identity, etag: Some("1".to_owned()) }))
    }

    async fn find_twin(
        &self,
        hub: &RemoteHub,
        _id: &DeviceId,
    ) -> Result<Option<RemoteTwin>, RemoteFailure> {
        self.check(hub).map(|()| None)
    }

    async fn put_device(
        &self,
        hub: &RemoteHub,
        identity: &IdentityDraft,
        _precondition: &Precondition,
    ) -> Result<(), RemoteFailure> {
        self.check(hub)?;
        self.meanwhile(&self.on_put).await;
        let at = (hub.name.clone(), identity.device_id.clone());
        self.identities.lock().unwrap().insert(at, identity.clone());
        Ok(())
    }

    async fn put_twin(
        &self,
        hub: &RemoteHub,
        _id: &DeviceId,
        _twin: &TwinDraft,
    ) -> Result<(), RemoteFailure> {
        self.check(hub)
    }

    async fn delete_device(&self, hub: &RemoteHub, id: &DeviceId) -> Result<(), RemoteFailure> {
        self.check(hub)?;
        let gone = self.identities.lock().unwrap().remove(&(hub.name.clone(), id.clone()));
        gone.map(drop).ok_or(RemoteFailure::NotFound)
    }

    async fn probe(&self, hub: &RemoteHub) -> Result<(), RemoteFailure> {
        self.check(hub)
    }
}

struct Scene {
    fleet: Fleet,
    app: App,
    far: Arc<Far>,
}

impl Scene {
    async fn new() -> Self {
        let fleet = Fleet::new().await;
        let far = Arc::<Far>::default();
        for name in ["far-1", "far-2"] {
            let access = RemoteAccess { port: None, policy: "o".to_owned(), key: key(5) };
            let linked = LinkedHub {
                name: hub_name(name),
                access: HubAccess::Remote(access),
                weight: 0,
                apply_allocation_policy: false,
                declared: false,
                etag: Etag::from_random([0; 16]),
                created: NOW,
                last_updated: NOW,
                version: 0,
            };
            let link = ChangeSet::new().with(Change::PutLinkedHub(Box::new(linked)));
            fleet.stage.store.commit(link).await.unwrap();
        }
        let hubs: Arc<dyn RemoteHubs> = Arc::<Far>::clone(&far);
        let app =
            fleet.app.clone().with_remote_hubs(hubs, Arc::new(NoBell), RemoteSettings::default());
        Self { fleet, app, far }
    }

    /// `saw-1`, by its own enrollment, is on its way to `far-1`.
    async fn on_its_way() -> Self {
        let scene = Self::new().await;
        let mut draft = Fleet::individual("saw-1", by_key(3));
        draft.draft.allocation_policy = Some(AllocationPolicy::Static);
        draft.draft.iot_hubs = Some(vec![hub_name("far-1").to_string()]);
        scene.app.put_individual(draft, &Precondition::None, &by()).await.unwrap();
        let status = scene.fleet.register("saw-1", key(3)).await;
        assert_eq!(status, Ok(RegistrationStatus::Assigning));
        scene
    }

    async fn act(&self, ids: &model::Selection, intent: Intent) -> Receipt {
        let plan = self.fleet.plan(ids, intent).await;
        self.app.deprovision(&plan.head.id, &other()).await.unwrap()
    }

    /// Until nothing is to be told any more.
    async fn settle(&self, receipt: &Receipt) -> Receipt {
        for _ in 0..12 {
            self.fleet.stage.clock.advance(LEASE_SECS * 6);
            self.app.work_off().await.unwrap();
        }
        self.app.deprovisioning(&receipt.head.id).await.unwrap()
    }
}

#[tokio::test]
async fn a_hub_that_is_down_holds_up_no_other_and_is_not_asked_again_and_again() {
    let scene = Scene::new().await;
    scene.far.set_down(&["far-1"]);
    let many: Vec<String> = (0..200).map(|n| format!("d-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let backlog = scene.act(&ids(&many), Intent::Retire).await;
    let mut n_passes = 0;
    while scene.app.deprovisioning(&backlog.head.id).await.unwrap().counts.remote_done < 200 {
        scene.app.work_off().await.unwrap();
        n_passes += 1;
        assert!(n_passes < 5, "what is to be told is told");
    }
    let max_at_once = RemoteSettings::default().max_at_once;
    let n_calls = scene.far.n_calls.load(Ordering::Relaxed);
    assert!(n_calls <= 200 + max_at_once, "{n_calls} calls");
    scene.fleet.stage.clock.advance(LEASE_SECS * 6);
    scene.far.put("far-2", keyed("stolen", 1));
    let receipt = scene.act(&ids(&["stolen"]), Intent::Revoke).await;
    let next = scene.app.work_off().await.unwrap();
    assert_eq!(scene.far.look("far-2", "stolen"), None, "in the first pass");
    // One device was tried on the other one, and nobody spins on what is left.
    assert_eq!(scene.far.n_calls.load(Ordering::Relaxed), n_calls + 2);
    assert!(next.is_some_and(|next| next > scene.app.now()), "{next:?}");
    // It is well again: all is told.
    scene.far.set_down(&[]);
    let told = scene.settle(&backlog).await;
    assert_eq!((told.counts.remote_pending, told.counts.remote_done), (0, 400));
    let told = scene.app.deprovisioning(&receipt.head.id).await.unwrap();
    assert_eq!((told.counts.remote_pending, told.counts.remote_done), (0, 2));
}

#[tokio::test]
async fn a_ban_set_while_a_remote_hub_is_told_wins() {
    for is_put in [false, true] {
        let scene = Scene::on_its_way().await;
        let hook = if is_put { &scene.far.on_put } else { &scene.far.on_find };
        *hook.lock().unwrap() = Some((scene.app.clone(), Meanwhile::Ban));
        scene.app.work_off().await.unwrap();
        let record = scene.app.get_record(&registration("saw-1")).await.unwrap();
        assert_eq!(record.status, RegistrationStatus::Failed, "on put: {is_put}");
        for _ in 0..3 {
            scene.fleet.stage.clock.advance(LEASE_SECS);
            scene.app.work_off().await.unwrap();
        }
        assert_eq!(scene.far.look("far-1", "saw-1"), None, "what was made goes again");
    }
}

#[tokio::test]
async fn the_receipt_hears_of_a_device_that_was_on_its_way() {
    for intent in [Intent::Suspend, Intent::Retire, Intent::Revoke] {
        for is_put in [false, true] {
            let how = format!("{intent:?}, on put: {is_put}");
            let scene = Scene::on_its_way().await;
            let hook = if is_put { &scene.far.on_put } else { &scene.far.on_find };
            *hook.lock().unwrap() = Some((scene.app.clone(), Meanwhile::Deprovision(intent)));
            scene.app.work_off().await.unwrap();
            let receipt = scene.far.receipt.lock().unwrap().clone().expect("deprovisioned");
            let told = scene.settle(&receipt).await;
            let counts = (told.counts.remote_pending, told.counts.remote_done);
            assert_eq!(counts, (0, 2), "{how}");
            let expected = (intent == Intent::Suspend).then_some(DeviceStatus::Disabled);
            assert_eq!(scene.far.look("far-1", "saw-1"), expected, "{how}");
        }
    }
}
