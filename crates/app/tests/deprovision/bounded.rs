//! What is kept, waited for and tried has an end: plans that give way, devices that the store cannot
//! do, small deprovisionings beside large ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use induct_app::{No, live::End, ports::Stopwatch};
use model::{
    Change, ChangeSet, Closed, DeprovisionItem, DeprovisionState, Deprovisioning, EndedSessions,
    Evidence, Intent, ItemState, OperatorRefusal, PlannedDevice, ReceiptId, RecordCondition,
    RegistrationStatus, SelectedCertificate, Selection,
};
use store::Store;
use testkit::Ca;
use tokio::sync::Notify;

use crate::{
    fleet::{Fleet, GROUP_KEY, by_ca, derived, ids, of_group, other},
    gated::At,
    instance::by,
};

/// Why a plan is not applied.
async fn refused(fleet: &Fleet, id: &ReceiptId) -> OperatorRefusal {
    match fleet.app.deprovision(id, &other()).await {
        Err(No::Refused(refusal)) => refusal,
        done => panic!("{done:?}"),
    }
}

#[tokio::test]
async fn a_plan_that_gives_way_to_others_cannot_be_applied_in_part() {
    let fleet = Fleet::new().await;
    // More than is forgotten at a time.
    let mut many = vec!["arm-1".to_owned()];
    many.extend((0..5_050).map(|n| format!("d-{n:05}")));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let plan = fleet.plan(&ids(&many), Intent::Revoke).await;
    assert_eq!(plan.counts.items, 5_051);
    for n in 0..100 {
        fleet.plan(&ids(&[format!("x-{n}").as_str()]), Intent::Retire).await;
    }
    let eaten = fleet.app.deprovisioning(&plan.head.id).await.unwrap();
    assert_eq!((eaten.head.state, eaten.counts.items), (DeprovisionState::Planning, 51));
    match refused(&fleet, &plan.head.id).await {
        OperatorRefusal::BadRequest(text) => assert!(text.contains("gave way"), "{text}"),
        other => panic!("{other:?}"),
    }
    let session = fleet.connect("hub-1", "arm-1", &derived("arm-1", GROUP_KEY)).await;
    assert!(session.is_ok(), "nothing was done");
    // Another one, and it is gone.
    fleet.plan(&ids(&["x-100"]), Intent::Retire).await;
    let gone = OperatorRefusal::ReceiptNotFound(plan.head.id.to_string());
    assert_eq!(refused(&fleet, &plan.head.id).await, gone);
}

fn an_item(receipt: &ReceiptId, id: &str) -> DeprovisionItem {
    DeprovisionItem {
        receipt: receipt.clone(),
        number: 1,
        subject: model::DeviceSubject::Registration(crate::fleet::registration(id)),
        is_late: false,
        plan: PlannedDevice::default(),
        state: ItemState::Pending,
        at: None,
        parts: Vec::new(),
        sessions: EndedSessions::default(),
        remote: Vec::new(),
        trouble: None,
        version: 0,
    }
}

#[tokio::test]
async fn a_plan_without_all_of_its_devices_is_not_applied() {
    let fleet = Fleet::new().await;
    let plan = fleet.plan(&ids(&["arm-1", "arm-2"]), Intent::Revoke).await;
    let mut head = Deprovisioning { id: ReceiptId::from_random([9; 16]), version: 0, ..plan.head };
    head.totals.n_devices = 3;
    let id = head.id.clone();
    let items = ["arm-1", "arm-2"].into_iter().zip(1..);
    let items = items.map(|(name, number)| DeprovisionItem { number, ..an_item(&id, name) });
    put(&fleet, head, items.collect()).await;
    match refused(&fleet, &id).await {
        OperatorRefusal::BadRequest(text) => assert!(text.contains("2 of its 3"), "{text}"),
        other => panic!("{other:?}"),
    }
}

async fn put(fleet: &Fleet, head: Deprovisioning, items: Vec<DeprovisionItem>) {
    let mut changes = ChangeSet::new().with(Change::PutReceipt(Box::new(head)));
    for item in items {
        changes = changes.with(Change::PutReceiptItem(Box::new(item)));
    }
    fleet.stage.store.commit(changes).await.unwrap();
}

#[tokio::test]
async fn devices_that_join_late_are_numbered_behind_the_last() {
    let fleet = Fleet::new().await;
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    let head = Deprovisioning { id: ReceiptId::from_random([9; 16]), version: 0, ..plan.head };
    let id = head.id.clone();
    // There is no third one.
    let items = ["arm-1", "arm-2", "arm-3"].into_iter().zip([1, 2, 4]);
    let items = items.map(|(name, number)| DeprovisionItem { number, ..an_item(&id, name) });
    put(&fleet, head, items.collect()).await;
    for late in ["arm-4", "arm-5"] {
        fleet.register(late, derived(late, GROUP_KEY)).await.unwrap();
    }
    let receipt = fleet.apply(&id).await;
    assert_eq!(receipt.head.state, DeprovisionState::Done);
    let items = fleet.items(&id).await;
    let numbers: Vec<u64> = items.iter().map(|item| item.number).collect();
    assert_eq!((numbers, receipt.counts.done), (vec![1, 2, 4, 5, 6], 5));
}

#[tokio::test]
async fn a_device_that_the_store_cannot_do_is_given_up_and_holds_up_nobody() {
    let fleet = Fleet::new().await;
    let store = &fleet.stage.store;
    let is_arm_2 =
        |change: &Change| matches!(change, Change::DeleteRecord(id) if id.as_str() == "arm-2");
    *store.failing.lock().unwrap() = Some(is_arm_2);
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    let id = &plan.head.id;
    fleet.app.begin_deprovision(id, &by()).await.unwrap();
    for n in 1.. {
        let again = fleet.app.work_off_deprovisionings().await.unwrap();
        let receipt = fleet.app.deprovisioning(id).await.unwrap();
        assert_eq!(receipt.counts.done, 2, "the others are done at once");
        if receipt.head.state == DeprovisionState::Done {
            assert_eq!((again, receipt.counts.failed, n), (None, 1, 5));
            break;
        }
        assert!(again.is_some() && n < 5, "{receipt:?}");
    }
    let items = fleet.items(id).await;
    let trouble = items[1].trouble.as_ref().unwrap();
    assert!(trouble.error.contains("was told to fail"), "{trouble:?}");
    assert!(fleet.app.get_record(&crate::fleet::registration("arm-2")).await.is_ok());
    // It is done once more, when the store can.
    *store.failing.lock().unwrap() = None;
    let receipt = fleet.act(&ids(&["arm-2"]), Intent::Retire).await;
    assert_eq!(receipt.counts.done, 1);
}

#[tokio::test]
async fn a_small_deprovisioning_does_not_wait_for_a_large_one_begun_before() {
    let fleet = Fleet::new().await;
    let large: Vec<String> = (0..300).map(|n| format!("d-{n:03}")).collect();
    let mut large: Vec<&str> = large.iter().map(String::as_str).collect();
    large.insert(0, "press-17");
    let large = fleet.plan(&ids(&large), Intent::Suspend).await;
    let small = fleet.plan(&ids(&["arm-1"]), Intent::Revoke).await;
    for plan in [&large, &small] {
        fleet.app.begin_deprovision(&plan.head.id, &by()).await.unwrap();
    }
    // One device of the large one takes for ever.
    let store = &fleet.stage.store;
    let mut held = store.hold(At::Asked, |change| matches!(change, Change::PutIndividual(_)));
    let mut done = store.hold(At::Written, |change| matches!(change, Change::DeleteRecord(_)));
    let app = fleet.app.clone();
    let worker = tokio::spawn(async move { app.work_off_deprovisionings().await.unwrap() });
    held.reached().await;
    done.reached().await;
    let bans = fleet.picture().await;
    assert!(bans.contains_key("bans/registration:arm-1"), "{bans:?}");
    assert!(!bans.contains_key("bans/registration:press-17"));
    held.release();
    done.release();
    assert_eq!(worker.await.unwrap(), None);
    for plan in [&large, &small] {
        let receipt = fleet.app.deprovisioning(&plan.head.id).await.unwrap();
        assert_eq!(receipt.head.state, DeprovisionState::Done);
    }
}

#[tokio::test]
async fn who_waits_no_more_leaves_the_rest_to_the_worker() {
    let fleet = Fleet::new().await;
    let many: Vec<String> = (0..300).map(|n| format!("d-{n:03}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let plan = fleet.plan(&ids(&many), Intent::Retire).await;
    let id = &plan.head.id;
    fleet.app.begin_deprovision(id, &by()).await.unwrap();
    let n_rung = fleet.bell.n();
    let is_first = AtomicBool::new(true);
    let is_wanted = || is_first.swap(false, Ordering::Relaxed);
    let receipt = fleet.app.go_on_deprovision(id, is_wanted).await.unwrap();
    assert_eq!(receipt.head.state, DeprovisionState::Applying);
    assert!(receipt.counts.done > 0 && receipt.counts.pending > 0, "{:?}", receipt.counts);
    assert_eq!(fleet.bell.n(), n_rung + 1, "the worker is called for");
    assert_eq!(fleet.app.work_off_deprovisionings().await.unwrap(), None);
    let receipt = fleet.app.deprovisioning(id).await.unwrap();
    assert_eq!((receipt.head.state, receipt.counts.done), (DeprovisionState::Done, 300));
}

/// Waits until it is told to go on, the first time.
#[derive(Default)]
struct Patient {
    is_begun: AtomicBool,
    begun: Notify,
    go: Notify,
}

#[async_trait]
impl Stopwatch for Patient {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn pause(&self, _duration: Duration) {
        if !self.is_begun.swap(true, Ordering::Relaxed) {
            self.begun.notify_one();
            self.go.notified().await;
        }
    }
}

#[tokio::test]
async fn devices_do_not_wait_for_the_sessions_that_the_first_commit_ended() {
    let fleet = Fleet::new().await;
    let stopwatch = Arc::<Patient>::default();
    let watch = Arc::<Patient>::clone(&stopwatch);
    let bell = Arc::clone(&fleet.bell);
    let app = fleet.app.clone().with_deprovisioning(crate::fleet::settings(), bell, watch);
    let works = Ca::root("works");
    fleet.enroll_group("works", by_ca(&works)).await;
    let leaf = works.leaf("saw-1");
    fleet.show("saw-1", Evidence::X509(leaf.chain())).await.unwrap();
    let connecting = induct_app::device::Connecting {
        hub: fleet.stage.hub.clone(),
        device_id: crate::stage::id("saw-1"),
        evidence: Evidence::X509(leaf.chain()),
        address: [192, 0, 2, 1].into(),
        earlier: induct_app::device::Earlier::Restored,
    };
    // A door that does not let it go.
    let stuck = app.connect_device(connecting).await.unwrap();
    let ca = attest::certificate::describe(works.der()).unwrap();
    let certificate = Some(SelectedCertificate::Ca(Box::new(ca)));
    let selection = Selection { certificate, ..Selection::default() };
    let plan = fleet.plan(&selection, Intent::Revoke).await;
    let id = plan.head.id.clone();
    let n_rung = fleet.bell.n();
    let beginner = tokio::spawn({
        let (app, id) = (app.clone(), id.clone());
        async move { app.begin_deprovision(&id, &by()).await.unwrap() }
    });
    stopwatch.begun.notified().await;
    assert_eq!(fleet.bell.n(), n_rung + 1, "the worker is called for before anybody waits");
    assert!(matches!(stuck.0.ended().await, End::CutOff(_)));
    // It does all but the end.
    assert!(app.work_off_deprovisionings().await.unwrap().is_some());
    let receipt = app.deprovisioning(&id).await.unwrap();
    assert_eq!(receipt.head.state, DeprovisionState::Applying);
    assert_eq!((receipt.counts.pending, receipt.counts.done), (0, 1));
    stopwatch.go.notify_one();
    let begun = beginner.await.unwrap();
    assert_eq!(begun.head.sessions, EndedSessions { n: 1, closed: Closed::NotYet });
    assert_eq!(app.work_off_deprovisionings().await.unwrap(), None);
    let receipt = app.deprovisioning(&id).await.unwrap();
    assert_eq!(receipt.head.state, DeprovisionState::Done);
    assert_eq!(receipt.head.sessions, begun.head.sessions, "what was measured stays");
}

#[tokio::test]
async fn a_plan_that_is_being_made_tells_how_many_were_looked_at() {
    let fleet = Fleet::new().await;
    let assigned = RecordCondition {
        status: Some(RegistrationStatus::Assigned),
        hub: Some(crate::instance::hub_name("hub-1")),
        ..RecordCondition::default()
    };
    let selection = Selection { records: Some(assigned), ..Selection::default() };
    let planning = fleet.app.begin_plan(&selection, Intent::Retire, None, &by()).await.unwrap();
    let id = planning.id().clone();
    let store = &fleet.stage.store;
    let mut held = store.hold(At::Asked, |change| matches!(change, Change::PutReceiptItem(_)));
    let app = fleet.app.clone();
    let making = tokio::spawn(async move { app.make_plan(planning).await.unwrap() });
    held.reached().await;
    let looked_at = async || fleet.app.deprovisioning(&id).await.unwrap().counts.looked_at;
    assert_eq!(looked_at().await, 4);
    held.release();
    assert_eq!(making.await.unwrap().counts.items, 4);
    assert_eq!(looked_at().await, 0, "that is over");
}
