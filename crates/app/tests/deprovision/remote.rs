//! Remote hubs are told by recorded steps, and the receipt hears what came of them.

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
    Change, ChangeSet, DeviceId, DeviceStatus, Etag, HubAccess, HubName, IdentityDraft, Intent,
    LinkedHub, Precondition, Receipt, RemoteAccess, RemoteStepState, RemoteStepTask, TwinDraft,
    ban::{BanDraft, SubjectDraft},
};
use store::Store;
use testkit::NOW;

use crate::{
    fleet::{Fleet, GROUP_KEY, derived, ids, of_receipt, other, registration},
    instance::{by, hub_name},
    stage::{key, keyed},
};

/// What happens to a device while a hub is asked or told something of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    Ban,
    Deprovision(Intent),
}

/// What happens the next time, and where.
type Hook = Mutex<Option<(App, Meanwhile)>>;

/// Hubs elsewhere, that do what they are told unless they are down.
#[derive(Default)]
pub(crate) struct Far {
    identities: Mutex<BTreeMap<(HubName, DeviceId), IdentityDraft>>,
    /// Those that fail, and how.
    down: Mutex<BTreeMap<HubName, RemoteFailure>>,
    n_calls: AtomicUsize,
    on_find: Hook,
    on_put: Hook,
    /// Of what was done meanwhile.
    receipt: Mutex<Option<Receipt>>,
}

impl Far {
    fn check(&self, hub: &RemoteHub) -> Result<(), RemoteFailure> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        match self.down.lock().unwrap().get(&hub.name) {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn put(&self, hub: &str, draft: IdentityDraft) {
        let at = (hub_name(hub), draft.device_id.clone());
        self.identities.lock().unwrap().insert(at, draft);
    }

    /// Status and reason.
    pub(crate) fn look(&self, hub: &str, id: &str) -> Option<(DeviceStatus, Option<String>)> {
        let identities = self.identities.lock().unwrap();
        let found = identities.get(&(hub_name(hub), crate::stage::id(id)))?;
        Some((found.status.unwrap_or(DeviceStatus::Enabled), found.status_reason.clone()))
    }

    /// These refuse our credentials, and the others are well.
    pub(crate) fn set_down(&self, hubs: &[&str]) {
        self.fail(hubs, &RemoteFailure::Unauthorized("the policy is gone".to_owned()));
    }

    /// These fail in this way, and the others are well.
    pub(crate) fn fail(&self, hubs: &[&str], failure: &RemoteFailure) {
        let failing = hubs.iter().map(|hub| (hub_name(hub), failure.clone()));
        *self.down.lock().unwrap() = failing.collect();
    }

    pub(crate) fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }

    /// This happens once, while the next device is looked for; or put.
    pub(crate) fn set_meanwhile(&self, is_put: bool, app: &App, what: Meanwhile) {
        let hook = if is_put { &self.on_put } else { &self.on_find };
        *hook.lock().unwrap() = Some((app.clone(), what));
    }

    /// The receipt of the deprovisioning that happened meanwhile.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.receipt.lock().unwrap().clone()
    }

    async fn meanwhile(&self, hook: &Hook, id: &DeviceId) {
        let what = hook.lock().unwrap().take();
        match what {
            None => {}
            Some((app, Meanwhile::Ban)) => {
                let subject = SubjectDraft::Registration(registration(id.as_str()));
                let draft = BanDraft { subject, reason: None, expires: None };
                app.put_ban(&draft, Wet::Done, &by()).await.unwrap();
            }
            Some((app, Meanwhile::Deprovision(intent))) => {
                let it = ids(&[id.as_str()]);
                let plan = app.plan_deprovision(&it, intent, None, &by()).await.unwrap();
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
        self.meanwhile(&self.on_find, id).await;
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
        precondition: &Precondition,
    ) -> Result<(), RemoteFailure> {
        self.check(hub)?;
        self.meanwhile(&self.on_put, &identity.device_id).await;
        let at = (hub.name.clone(), identity.device_id.clone());
        let mut identities = self.identities.lock().unwrap();
        // Whoever writes over what is there has looked at it before.
        if identities.contains_key(&at) {
            assert_eq!(*precondition, Precondition::Tag("1".to_owned()));
        }
        identities.insert(at, identity.clone());
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

pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    pub(crate) app: App,
    pub(crate) far: Arc<Far>,
}

fn remote_hub(name: &str) -> LinkedHub {
    let access = RemoteAccess { port: None, policy: "o".to_owned(), key: key(5) };
    LinkedHub {
        name: hub_name(name),
        access: HubAccess::Remote(access),
        weight: 0,
        apply_allocation_policy: false,
        declared: false,
        etag: Etag::from_random([0; 16]),
        created: NOW,
        last_updated: NOW,
        version: 0,
    }
}

impl Scene {
    /// Two remote hubs; `far-1` has `arm-1`, made by hand.
    pub(crate) async fn new() -> Self {
        let fleet = Fleet::new().await;
        let far = Arc::<Far>::default();
        for name in ["far-1", "far-2"] {
            let link = ChangeSet::new().with(Change::PutLinkedHub(Box::new(remote_hub(name))));
            fleet.stage.store.commit(link).await.unwrap();
        }
        far.put("far-1", keyed("arm-1", 1));
        let hubs: Arc<dyn RemoteHubs> = Arc::<Far>::clone(&far);
        let app =
            fleet.app.clone().with_remote_hubs(hubs, Arc::new(NoBell), RemoteSettings::default());
        Self { fleet, app, far }
    }

    pub(crate) async fn act(&self, ids: &model::Selection, intent: Intent) -> Receipt {
        let plan = self.fleet.plan(ids, intent).await;
        self.app.deprovision(&plan.head.id, &other()).await.unwrap()
    }

    /// Links a remote hub, or unlinks it.
    pub(crate) async fn link(&self, hub: &str, is_linked: bool) {
        let change = match is_linked {
            true => Change::PutLinkedHub(Box::new(remote_hub(hub))),
            false => Change::DeleteLinkedHub(hub_name(hub)),
        };
        self.fleet.stage.store.commit(ChangeSet::new().with(change)).await.unwrap();
    }

    /// Tells them until all is told.
    pub(crate) async fn settle(&self, receipt: &Receipt) -> Receipt {
        for _ in 0..12 {
            self.fleet.stage.clock.advance(LEASE_SECS * 6);
            self.app.work_off().await.unwrap();
        }
        self.app.deprovisioning(&receipt.head.id).await.unwrap()
    }

    /// An enrollment of its own with this device ID, assigned to this hub.
    pub(crate) async fn enroll_as(&self, id: &str, name: Option<&str>, hub: &str, seed: u8) {
        let mut draft = Fleet::individual(id, crate::fleet::by_key(seed));
        draft.device_id = name.map(crate::stage::id);
        draft.draft.allocation_policy = Some(model::AllocationPolicy::Static);
        draft.draft.iot_hubs = Some(vec![hub_name(hub).to_string()]);
        let found = self.app.get_individual(&draft.registration_id).await;
        let precondition = if found.is_ok() { Precondition::Any } else { Precondition::None };
        self.app.put_individual(draft, &precondition, &by()).await.unwrap();
    }

    /// Tells the remote hubs all that is due, and looks at the receipt.
    pub(crate) async fn tell(&self, receipt: &Receipt) -> Receipt {
        self.app.work_off().await.unwrap();
        self.app.deprovisioning(&receipt.head.id).await.unwrap()
    }

    pub(crate) async fn steps(
        &self,
        receipt: &Receipt,
    ) -> Vec<(String, RemoteStepTask, RemoteStepState)> {
        let items = self.fleet.items(&receipt.head.id).await;
        let step = |step: &model::RemoteStep| {
            let name = step.hub.as_str().split('.').next().unwrap();
            (format!("{name}/{}", step.device_id), step.task, step.state.clone())
        };
        items.iter().flat_map(|item| &item.remote).map(step).collect()
    }
}

const WAITS: RemoteStepState = RemoteStepState::Pending { n_failures: 0, last_error: None };

const fn done(changed: bool) -> RemoteStepState {
    RemoteStepState::Done { changed }
}

pub(crate) fn counts(receipt: &Receipt) -> (u64, u64, u64) {
    let counts = receipt.counts;
    (counts.remote_pending, counts.remote_done, counts.remote_failed)
}

#[tokio::test]
async fn every_remote_hub_is_told_to_delete_and_one_without_the_device_does_nothing() {
    for intent in [Intent::Retire, Intent::Revoke] {
        let scene = Scene::new().await;
        let receipt = scene.act(&ids(&["arm-1"]), intent).await;
        // Ours is done before, and the answer does not wait.
        assert_eq!((receipt.counts.done, counts(&receipt)), (1, (2, 0, 0)));
        let task = RemoteStepTask::Delete;
        let waiting = [("far-1/arm-1", task, WAITS), ("far-2/arm-1", task, WAITS)];
        let waiting = waiting.map(|(name, task, state)| (name.to_owned(), task, state));
        assert_eq!(scene.steps(&receipt).await, waiting);
        assert!(scene.far.look("far-1", "arm-1").is_some());
        let told = scene.tell(&receipt).await;
        assert_eq!(counts(&told), (0, 2, 0));
        assert_eq!(scene.far.look("far-1", "arm-1"), None);
        let states: Vec<_> = scene.steps(&receipt).await.into_iter().map(|step| step.2).collect();
        assert_eq!(states, [done(true), done(false)], "{intent:?}");
        // A new plan finds nothing to tell.
        let again = scene.act(&ids(&["arm-1"]), intent).await;
        assert_eq!((again.counts.unchanged, counts(&again)), (1, (0, 0, 0)));
    }
}

#[tokio::test]
async fn a_suspension_disables_what_is_there_and_its_end_enables_that_again() {
    let scene = Scene::new().await;
    scene.far.put(
        "far-2",
        IdentityDraft {
            status: Some(DeviceStatus::Disabled),
            status_reason: Some("by me".to_owned()),
            ..keyed("arm-1", 1)
        },
    );
    let receipt = scene.act(&ids(&["arm-1"]), Intent::Suspend).await;
    let told = scene.tell(&receipt).await;
    assert_eq!(counts(&told), (0, 2, 0));
    let reason = format!("suspended ({}): stolen", receipt.head.id);
    let disabled = |reason: &str| Some((DeviceStatus::Disabled, Some(reason.to_owned())));
    assert_eq!(scene.far.look("far-1", "arm-1"), disabled(&reason));
    assert_eq!(scene.far.look("far-2", "arm-1"), disabled("by me"));
    let back = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    let task = RemoteStepTask::Enable;
    assert_eq!(scene.steps(&back).await, [("far-1/arm-1".to_owned(), task, WAITS)]);
    let told = scene.tell(&back).await;
    assert_eq!(counts(&told), (0, 1, 0));
    assert_eq!(scene.far.look("far-1", "arm-1"), Some((DeviceStatus::Enabled, None)));
    assert_eq!(scene.far.look("far-2", "arm-1"), disabled("by me"));
}

#[tokio::test]
async fn an_identity_that_others_disabled_since_stays_disabled() {
    let scene = Scene::new().await;
    let receipt = scene.act(&ids(&["arm-1"]), Intent::Suspend).await;
    scene.tell(&receipt).await;
    scene.far.put(
        "far-1",
        IdentityDraft {
            status: Some(DeviceStatus::Disabled),
            status_reason: Some("by me".to_owned()),
            ..keyed("arm-1", 1)
        },
    );
    let back = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    scene.tell(&back).await;
    let expected = Some((DeviceStatus::Disabled, Some("by me".to_owned())));
    assert_eq!(scene.far.look("far-1", "arm-1"), expected);
    assert_eq!(scene.steps(&back).await[0].2, done(false));
}

#[tokio::test]
async fn what_a_hub_refuses_shows_in_the_receipt_and_is_tried_until_it_is_done() {
    let scene = Scene::new().await;
    scene.far.set_down(&["far-1"]);
    let receipt = scene.act(&ids(&["arm-1"]), Intent::Retire).await;
    let told = scene.tell(&receipt).await;
    assert_eq!(counts(&told), (1, 1, 0));
    let last_error = Some("the policy is gone".to_owned());
    let tried = RemoteStepState::Pending { n_failures: 1, last_error };
    assert_eq!(scene.steps(&receipt).await[0].2, tried);
    scene.far.set_down(&[]);
    scene.fleet.stage.clock.advance(LEASE_SECS);
    let told = scene.tell(&receipt).await;
    assert_eq!(counts(&told), (0, 2, 0));
    assert_eq!(scene.far.look("far-1", "arm-1"), None);
}

#[tokio::test]
async fn a_hub_that_is_unlinked_first_is_told_of_in_the_receipt() {
    let scene = Scene::new().await;
    scene.far.set_down(&["far-1"]);
    let receipt = scene.act(&ids(&["arm-1"]), Intent::Retire).await;
    scene.tell(&receipt).await;
    let unlink = ChangeSet::new().with(Change::DeleteLinkedHub(hub_name("far-1")));
    scene.fleet.stage.store.commit(unlink).await.unwrap();
    scene.fleet.stage.clock.advance(LEASE_SECS);
    let told = scene.tell(&receipt).await;
    assert_eq!(counts(&told), (0, 1, 1));
    match &scene.steps(&receipt).await[0].2 {
        RemoteStepState::Failed(trouble) => {
            assert!(trouble.error.contains("no longer linked"), "{trouble:?}");
            assert!(trouble.remedy.contains("link `far-1"), "{trouble:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_told_later_takes_the_place_of_what_was_to_be_told() {
    let scene = Scene::new().await;
    scene.far.set_down(&["far-1", "far-2"]);
    let suspended = scene.act(&ids(&["arm-1"]), Intent::Suspend).await;
    scene.tell(&suspended).await;
    let revoked = scene.act(&ids(&["arm-1"]), Intent::Revoke).await;
    let states: Vec<_> = scene.steps(&suspended).await.into_iter().map(|step| step.2).collect();
    assert_eq!(states, [RemoteStepState::Superseded, RemoteStepState::Superseded]);
    let looked = scene.app.deprovisioning(&suspended.head.id).await.unwrap();
    assert_eq!(counts(&looked), (0, 2, 0), "nothing of it is left to do");
    assert_eq!(counts(&revoked), (2, 0, 0));
    scene.far.set_down(&[]);
    scene.fleet.stage.clock.advance(LEASE_SECS);
    let told = scene.tell(&revoked).await;
    assert_eq!(counts(&told), (0, 2, 0));
    assert_eq!(scene.far.look("far-1", "arm-1"), None);
}

#[tokio::test]
async fn a_ban_set_by_hand_does_not_say_that_remote_hubs_were_told() {
    let scene = Scene::new().await;
    // Off here by hand: banned, and nothing of it left.
    let first = scene.act(&ids(&["arm-1"]), Intent::Revoke).await;
    scene.tell(&first).await;
    let key = "registration:arm-1";
    let ban = scene.fleet.stage.store.find_ban(key).await.unwrap().unwrap();
    let by_hand = model::Ban { receipt: None, ..ban };
    let put = ChangeSet::new().with(Change::PutBan(Box::new(by_hand)));
    scene.fleet.stage.store.commit(put).await.unwrap();
    scene.far.put("far-1", keyed("arm-1", 1));
    let receipt = scene.act(&ids(&["arm-1"]), Intent::Revoke).await;
    assert_eq!(counts(&receipt), (2, 0, 0));
    scene.tell(&receipt).await;
    assert_eq!(scene.far.look("far-1", "arm-1"), None);
    let again = scene.act(&ids(&["arm-1"]), Intent::Revoke).await;
    assert_eq!((again.counts.unchanged, counts(&again)), (1, (0, 0, 0)));
}

#[tokio::test]
async fn a_device_on_its_way_to_a_remote_hub_does_not_arrive() {
    for intent in [Intent::Suspend, Intent::Retire, Intent::Revoke] {
        let scene = Scene::new().await;
        // Assigned to `far-1`, which is down: the work waits.
        scene.enroll_as("saw-1", None, "far-1", 3).await;
        scene.far.set_down(&["far-1"]);
        let status = scene.fleet.register("saw-1", key(3)).await;
        assert_eq!(status, Ok(model::RegistrationStatus::Assigning));
        let receipt = scene.act(&ids(&["saw-1"]), intent).await;
        assert_eq!(receipt.counts.done, 1, "{intent:?}");
        scene.far.set_down(&[]);
        for _ in 0..3 {
            scene.fleet.stage.clock.advance(LEASE_SECS);
            scene.tell(&receipt).await;
        }
        let told = scene.tell(&receipt).await;
        assert_eq!(counts(&told), (0, 2, 0), "{intent:?}");
        let there = scene.far.look("far-1", "saw-1");
        assert!(
            there.is_none_or(|(status, _)| status == DeviceStatus::Disabled),
            "{intent:?}: {:?}",
            scene.far.look("far-1", "saw-1")
        );
        let of_group = scene.fleet.register("saw-1", derived("saw-1", GROUP_KEY)).await;
        assert!(of_group.is_err(), "{intent:?}: {of_group:?}");
    }
}
