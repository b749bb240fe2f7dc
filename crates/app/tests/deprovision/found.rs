//! Whatever a device or a group has left anywhere is found and taken, whichever way it got lost from
//! sight.

use induct_app::{No, bans::Wet};
use model::{
    BanKind, BanSubject, Change, ChangeSet, DeviceStatus, EndedSessions, Evidence, IndividualDraft,
    Intent, ItemState, OperatorRefusal, Part, Precondition, Receipt, RegistrationStatus,
    RemoteStepState,
    ban::{BanDraft, SubjectDraft},
};
use store::Store;
use testkit::Ca;

use crate::{
    fleet::{
        Fleet, GROUP_KEY, OF_GROUP, by_ca, by_key, derived, group_id, ids, of_group, of_receipt,
        other, registration,
    },
    instance::by,
    remote::{Scene, counts},
    stage::{id, key, keyed},
};

const INTENTS: [Intent; 3] = [Intent::Suspend, Intent::Retire, Intent::Revoke];

fn called(name: &str) -> IndividualDraft {
    let mut draft = Fleet::individual("saw-1", by_key(3));
    draft.device_id = Some(id(name));
    draft
}

async fn delete_record(fleet: &Fleet, id: &str) {
    fleet.app.delete_record(&registration(id), &Precondition::None, &by()).await.unwrap();
}

async fn delete_individual(fleet: &Fleet, id: &str) {
    fleet.app.delete_individual(&registration(id), &Precondition::None, &by()).await.unwrap();
}

/// The identity is off: gone, or disabled by a suspension; and nobody connects with it.
async fn check_off(fleet: &Fleet, name: &str, seed: u8, intent: Intent) {
    let picture = fleet.picture().await;
    let expected = (intent == Intent::Suspend).then_some("Disabled");
    let found = picture.get(&format!("hub-1/{name}")).map(String::as_str);
    assert_eq!(found, expected, "{intent:?}: {picture:?}");
    let connected = fleet.connect("hub-1", name, &key(seed)).await;
    assert!(connected.is_err(), "{intent:?}: {name} connects");
}

#[tokio::test]
async fn an_identity_of_its_own_name_is_found_after_record_and_enrollment_were_deleted_by_hand() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        let draft = called("line-saw");
        fleet.app.put_individual(draft, &Precondition::None, &by()).await.unwrap();
        fleet.register("saw-1", key(3)).await.unwrap();
        let before = fleet.picture().await;
        let session = fleet.connect("hub-1", "line-saw", &key(3)).await.unwrap();
        // The vendor's runbook.
        delete_record(&fleet, "saw-1").await;
        delete_individual(&fleet, "saw-1").await;
        let plan = fleet.plan(&ids(&["saw-1"]), intent).await;
        assert_eq!(plan.head.totals.n_sessions, 1, "{intent:?}");
        assert_eq!(plan.head.totals.n_known_nowhere, 0, "{intent:?}");
        assert_eq!(plan.head.totals.identities.len(), 1, "{intent:?}");
        // Nobody closes the session: it is not waited for.
        drop(session);
        let receipt = fleet.apply(&plan.head.id).await;
        assert_eq!(receipt.counts.done, 1, "{intent:?}");
        check_off(&fleet, "line-saw", 3, intent).await;
        let again = fleet.act(&ids(&["saw-1"]), intent).await;
        assert_eq!(again.counts.unchanged, 1, "{intent:?}");
        if intent == Intent::Suspend {
            fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
            let after = fleet.picture().await;
            assert_eq!(after["hub-1/line-saw"], before["hub-1/line-saw"]);
            drop(fleet.connect("hub-1", "line-saw", &key(3)).await.unwrap());
        }
    }
}

#[tokio::test]
async fn the_identity_of_an_earlier_name_is_found_after_the_enrollment_was_renamed() {
    for is_deleted in [true, false] {
        for intent in INTENTS {
            let fleet = Fleet::new().await;
            let put = async |name: &str, precondition: Precondition| {
                fleet.app.put_individual(called(name), &precondition, &by()).await.unwrap();
                fleet.register("saw-1", key(3)).await.unwrap();
            };
            put("old-saw", Precondition::None).await;
            if is_deleted {
                delete_record(&fleet, "saw-1").await;
            }
            put("new-saw", Precondition::Any).await;
            let record = fleet.app.get_record(&registration("saw-1")).await.unwrap();
            let name = record.assignment.unwrap().device_id;
            fleet.act(&ids(&["saw-1"]), intent).await;
            check_off(&fleet, "old-saw", 3, intent).await;
            if name.as_str() == "new-saw" {
                check_off(&fleet, "new-saw", 3, intent).await;
            }
        }
    }
}

#[tokio::test]
async fn an_identity_that_another_registration_has_by_now_is_not_taken() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        fleet.app.put_individual(called("line-saw"), &Precondition::None, &by()).await.unwrap();
        fleet.register("saw-1", key(3)).await.unwrap();
        delete_record(&fleet, "saw-1").await;
        delete_individual(&fleet, "saw-1").await;
        let mut second = Fleet::individual("saw-2", by_key(4));
        second.device_id = Some(id("line-saw"));
        fleet.app.put_individual(second, &Precondition::None, &by()).await.unwrap();
        fleet.register("saw-2", key(4)).await.unwrap();
        fleet.act(&ids(&["saw-1"]), intent).await;
        let picture = fleet.picture().await;
        assert_eq!(picture["hub-1/line-saw"], "Enabled", "{intent:?}");
        drop(fleet.connect("hub-1", "line-saw", &key(4)).await.unwrap());
    }
}

#[tokio::test]
async fn a_retired_device_is_out_again_when_its_new_enrollment_goes() {
    let fleet = Fleet::new().await;
    fleet.act(&ids(&["arm-1"]), Intent::Retire).await;
    fleet.enroll("arm-1", by_key(3)).await;
    fleet.register("arm-1", key(3)).await.unwrap();
    let (session, _commands) = fleet.connect("hub-1", "arm-1", &key(3)).await.unwrap();
    delete_individual(&fleet, "arm-1").await;
    assert!(fleet.connect("hub-1", "arm-1", &key(3)).await.is_err());
    drop(session);
}

#[tokio::test]
async fn a_group_as_a_whole_includes_its_devices_without_a_record() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        delete_record(&fleet, "arm-1").await;
        let plan = fleet.plan(&of_group("line-4"), intent).await;
        let mut devices = fleet.devices(&plan.head.id).await;
        devices.sort_unstable();
        assert_eq!(devices, OF_GROUP, "{intent:?}");
        // One more loses its record before it is applied, and one comes and loses it.
        delete_record(&fleet, "arm-2").await;
        fleet.register("arm-9", derived("arm-9", GROUP_KEY)).await.unwrap();
        delete_record(&fleet, "arm-9").await;
        let receipt = fleet.apply(&plan.head.id).await;
        assert_eq!(receipt.counts.done, 4, "{intent:?}");
        for device in ["arm-1", "arm-2", "arm-3", "arm-9"] {
            let connected =
                fleet.connect("hub-1", device, &derived(device, GROUP_KEY)).await.map(drop);
            assert!(connected.is_err(), "{intent:?}: {device} connects");
        }
        assert_eq!(fleet.picture().await["hub-1/press-17"], "Enabled");
    }
}

#[tokio::test]
async fn a_group_that_is_gone_with_all_its_records_is_still_selected() {
    let fleet = Fleet::new().await;
    for device in OF_GROUP {
        delete_record(&fleet, device).await;
    }
    fleet.app.delete_group(&group_id("line-4"), &Precondition::None, &by()).await.unwrap();
    let receipt = fleet.act(&of_group("line-4"), Intent::Retire).await;
    assert_eq!(receipt.counts.done, 3);
    let picture = fleet.picture().await;
    assert!(!OF_GROUP.iter().any(|one| picture.contains_key(&format!("hub-1/{one}"))));
    // Then there is nothing left of it.
    let refused = fleet.try_plan(&of_group("line-4"), Intent::Retire).await;
    assert_eq!(refused, Err(OperatorRefusal::GroupNotFound));
}

#[tokio::test]
async fn a_device_that_is_with_another_group_by_now_is_not_taken_with_its_first_one() {
    let fleet = Fleet::new().await;
    delete_record(&fleet, "arm-1").await;
    fleet.enroll("arm-1", by_key(3)).await;
    fleet.register("arm-1", key(3)).await.unwrap();
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    assert_eq!(fleet.devices(&plan.head.id).await, ["arm-2", "arm-3"]);
    let receipt = fleet.apply(&plan.head.id).await;
    assert_eq!(receipt.counts.items, 2);
    drop(fleet.connect("hub-1", "arm-1", &key(3)).await.unwrap());
}

#[tokio::test]
async fn a_registration_decided_before_the_plan_and_written_after_it_is_late() {
    let fleet = Fleet::new().await;
    let store = &fleet.stage.store;
    let record = store.find_record(&registration("arm-3")).await.unwrap().unwrap();
    // As if it had not been written yet: no record, and no identity.
    let take = ChangeSet::new()
        .with(Change::DeleteRecord(registration("arm-3")))
        .with(Change::DeleteDevice(crate::instance::hub_name("hub-1"), id("arm-3")));
    store.commit(take).await.unwrap();
    fleet.stage.clock.advance(1);
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    assert_eq!(fleet.devices(&plan.head.id).await, ["arm-1", "arm-2"]);
    store.commit(ChangeSet::new().with(Change::PutRecord(Box::new(record)))).await.unwrap();
    let receipt = fleet.apply(&plan.head.id).await;
    assert_eq!(fleet.devices(&receipt.head.id).await, OF_GROUP);
    assert!(fleet.app.get_record(&registration("arm-3")).await.is_err());
}

fn refusal(outcome: Result<Receipt, No<OperatorRefusal>>) -> String {
    match outcome {
        Err(No::Refused(refusal)) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plan_is_not_applied_to_a_group_that_changed_since() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        let (bad, good) = (Ca::root("bad"), Ca::root("good"));
        fleet.enroll_group("x", by_ca(&bad)).await;
        let plan = fleet.plan(&of_group("x"), intent).await;
        fleet.app.delete_group(&group_id("x"), &Precondition::None, &by()).await.unwrap();
        fleet.enroll_group("x", by_ca(&good)).await;
        fleet.show("new-1", Evidence::X509(good.leaf("new-1").chain())).await.unwrap();
        let before = fleet.picture().await;
        let refused = refusal(fleet.app.deprovision(&plan.head.id, &other()).await);
        assert!(refused.contains("the group changed since the plan"), "{refused}");
        assert_eq!(fleet.picture().await, before, "{intent:?}");
        let again = fleet.act(&of_group("x"), intent).await;
        assert_eq!(again.counts.done, 1, "{intent:?}");
    }
}

#[tokio::test]
async fn a_plan_of_a_group_that_was_gone_is_not_applied_to_one_of_the_same_name() {
    let fleet = Fleet::new().await;
    fleet.app.delete_group(&group_id("line-4"), &Precondition::None, &by()).await.unwrap();
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    fleet.enroll_group("line-4", by_key(GROUP_KEY)).await;
    let refused = refusal(fleet.app.deprovision(&plan.head.id, &other()).await);
    assert!(refused.contains("plan again"), "{refused}");
    // One that goes since the plan stands in nobody's way.
    let plan = fleet.plan(&of_group("line-4"), Intent::Retire).await;
    fleet.app.delete_group(&group_id("line-4"), &Precondition::None, &by()).await.unwrap();
    let receipt = fleet.apply(&plan.head.id).await;
    assert_eq!(receipt.counts.done, 3);
}

#[tokio::test]
async fn a_plan_counts_the_devices_of_other_groups_that_rest_on_the_cas_it_bans() {
    let fleet = Fleet::new().await;
    let root = Ca::root("root");
    let issuer = root.intermediate("issuer");
    fleet.enroll_group("by-root", by_ca(&root)).await;
    fleet.enroll_group("by-issuer", by_ca(&issuer)).await;
    for (device, ca) in [("sub-1", &issuer), ("sub-2", &issuer), ("top-1", &root)] {
        let shown = fleet.show(device, Evidence::X509(ca.leaf(device).chain())).await;
        assert_eq!(shown, Ok(RegistrationStatus::Assigned), "{device}");
    }
    for (device, group) in [("sub-1", "by-issuer"), ("top-1", "by-root")] {
        let record = fleet.app.get_record(&registration(device)).await.unwrap();
        assert_eq!(record.enrollment, model::EnrollmentRef::Group(group_id(group)));
    }
    let others = async |intent| {
        let totals = fleet.plan(&of_group("by-root"), intent).await.head.totals;
        (totals.n_devices, totals.n_others, totals.others)
    };
    assert_eq!(others(Intent::Retire).await, (1, 0, Vec::new()), "it bans no CA");
    let expected = (1, 2, vec![(group_id("by-issuer"), 2)]);
    assert_eq!(others(Intent::Revoke).await, expected);
    fleet.act(&of_group("by-root"), Intent::Revoke).await;
    let after = fleet.show("sub-1", Evidence::X509(issuer.leaf("sub-1").chain())).await;
    assert!(after.is_err(), "{after:?}");
}

#[tokio::test]
async fn only_a_suspension_that_is_done_is_undone() {
    let fleet = Fleet::new().await;
    let plan = fleet.plan(&ids(&["arm-1"]), Intent::Suspend).await;
    fleet.app.begin_deprovision(&plan.head.id, &other()).await.unwrap();
    let refused = fleet.try_plan(&of_receipt(&plan.head.id), Intent::Reinstate).await;
    assert!(
        matches!(&refused, Err(OperatorRefusal::BadRequest(text)) if text.contains("not done yet")),
        "{refused:?}"
    );
    fleet.app.work_off_deprovisionings().await.unwrap();
    let back = fleet.act(&of_receipt(&plan.head.id), Intent::Reinstate).await;
    assert_eq!(back.counts.done, 1);
}

#[tokio::test]
async fn a_plan_tells_ids_that_are_known_nowhere_and_devices_whose_key_is_not_banned() {
    let fleet = Fleet::new().await;
    let told = async |device: &str, intent: Intent| {
        let totals = fleet.plan(&ids(&[device]), intent).await.head.totals;
        (totals.n_unknown, totals.n_known_nowhere, totals.n_by_key)
    };
    assert_eq!(told("pres-17", Intent::Revoke).await, (1, 1, 0), "mistyped");
    assert_eq!(told("by-hand", Intent::Revoke).await, (1, 0, 0), "made by hand");
    assert_eq!(told("press-17", Intent::Revoke).await, (0, 0, 1));
    assert_eq!(told("arm-1", Intent::Revoke).await, (0, 0, 1));
    assert_eq!(told("arm-1", Intent::Retire).await, (0, 0, 0));
    let works = Ca::root("works");
    fleet.enroll_group("works", by_ca(&works)).await;
    fleet.show("saw-1", Evidence::X509(works.leaf("saw-1").chain())).await.unwrap();
    assert_eq!(told("saw-1", Intent::Revoke).await, (0, 0, 0), "its certificate is banned");
}

#[tokio::test]
async fn a_hub_that_was_unlinked_meanwhile_is_told_once_it_is_linked_again() {
    for intent in INTENTS {
        let scene = Scene::new().await;
        scene.far.set_down(&["far-1"]);
        let receipt = scene.act(&ids(&["arm-1"]), intent).await;
        scene.tell(&receipt).await;
        scene.link("far-1", false).await;
        let told = scene.settle(&receipt).await;
        assert_eq!(told.counts.remote_failed, 1, "{intent:?}");
        // As the remedy says.
        scene.far.set_down(&[]);
        scene.link("far-1", true).await;
        let again = scene.act(&ids(&["arm-1"]), intent).await;
        assert_eq!((again.counts.done, counts(&again)), (1, (1, 0, 0)), "{intent:?}");
        let items = scene.fleet.items(&again.head.id).await;
        assert!(items[0].parts.is_empty(), "ours was done before: {:?}", items[0].parts);
        scene.settle(&again).await;
        let there = scene.far.look("far-1", "arm-1").map(|(status, _)| status);
        let expected = (intent == Intent::Suspend).then_some(DeviceStatus::Disabled);
        assert_eq!(there, expected, "{intent:?}");
        if intent == Intent::Suspend {
            // By the first receipt, which the ban names.
            let back = scene.act(&ids(&["arm-1"]), Intent::Reinstate).await;
            scene.settle(&back).await;
            let there = scene.far.look("far-1", "arm-1");
            assert_eq!(there, Some((DeviceStatus::Enabled, None)));
        }
    }
}

#[tokio::test]
async fn a_name_that_a_device_had_on_a_remote_hub_is_told_there() {
    for intent in INTENTS {
        for is_renamed in [false, true] {
            let scene = Scene::new().await;
            scene.enroll_as("saw-1", Some("line-saw"), "far-1", 3).await;
            scene.fleet.register("saw-1", key(3)).await.unwrap();
            scene.app.work_off().await.unwrap();
            assert!(scene.far.look("far-1", "line-saw").is_some());
            delete_record(&scene.fleet, "saw-1").await;
            match is_renamed {
                true => scene.enroll_as("saw-1", Some("new-saw"), "far-1", 3).await,
                false => delete_individual(&scene.fleet, "saw-1").await,
            }
            let receipt = scene.act(&ids(&["saw-1"]), intent).await;
            let told = scene.settle(&receipt).await;
            assert_eq!((told.counts.remote_pending, told.counts.remote_failed), (0, 0));
            let there = scene.far.look("far-1", "line-saw").map(|(status, _)| status);
            let expected = (intent == Intent::Suspend).then_some(DeviceStatus::Disabled);
            assert_eq!(there, expected, "{intent:?}");
            let again = scene.act(&ids(&["saw-1"]), intent).await;
            assert_eq!(again.counts.unchanged, 1, "{intent:?}");
        }
    }
}

#[tokio::test]
async fn a_groups_device_that_has_no_record_and_is_on_a_remote_hub_only_is_of_the_group() {
    let scene = Scene::new().await;
    let mut draft = decide::scenes::draft(by_key(5));
    draft.allocation_policy = Some(model::AllocationPolicy::Static);
    draft.iot_hubs = Some(vec![crate::instance::hub_name("far-2").to_string()]);
    let group = model::GroupDraft { group_id: group_id("far"), draft };
    scene.app.put_group(group, &Precondition::None, &by()).await.unwrap();
    scene.fleet.register("saw-1", derived("saw-1", 5)).await.unwrap();
    scene.app.work_off().await.unwrap();
    assert!(scene.far.look("far-2", "saw-1").is_some());
    delete_record(&scene.fleet, "saw-1").await;
    let receipt = scene.act(&of_group("far"), Intent::Revoke).await;
    assert_eq!(receipt.counts.done, 1);
    scene.settle(&receipt).await;
    assert_eq!(scene.far.look("far-2", "saw-1"), None);
    let refused = scene.fleet.try_plan(&of_group("far"), Intent::Revoke).await;
    assert_eq!(refused, Err(OperatorRefusal::GroupNotFound), "nothing is left of it");
}

async fn ban_by_hand(scene: &Scene, id: &str) {
    let draft = BanDraft {
        subject: SubjectDraft::Registration(registration(id)),
        reason: Some("stolen".to_owned()),
        expires: None,
    };
    scene.app.put_ban(&draft, Wet::Done, &by()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_suspension_lets_nobody_in_whom_another_ban_keeps_out() {
    let scene = Scene::new().await;
    scene.far.put("far-1", keyed("press-17", 1));
    let receipt = scene.act(&ids(&["press-17"]), Intent::Suspend).await;
    scene.settle(&receipt).await;
    ban_by_hand(&scene, "press-17").await;
    let suspended = scene.fleet.picture().await;
    let back = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    scene.settle(&back).await;
    assert_eq!((back.counts.unchanged, counts(&back)), (1, (0, 0, 0)));
    let items = scene.fleet.items(&back.head.id).await;
    let left = |part: &Part| matches!(part, Part::LeftAlone { why, .. } if why.contains("ban"));
    assert!(items[0].parts.iter().any(left), "{:?}", items[0].parts);
    assert_eq!(scene.fleet.picture().await, suspended);
    let there = scene.far.look("far-1", "press-17").map(|(status, _)| status);
    assert_eq!(there, Some(DeviceStatus::Disabled));
    // Without that ban, the same receipt brings it back.
    scene.app.lift_ban("registration:press-17", Wet::Done, &by()).await.unwrap();
    let back = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!(back.counts.done, 1);
    scene.settle(&back).await;
    let there = scene.far.look("far-1", "press-17");
    assert_eq!(there, Some((DeviceStatus::Enabled, None)));
    let picture = scene.fleet.picture().await;
    assert_eq!(picture["hub-1/press-17"], "Enabled");
    assert_eq!(picture["enrollments/press-17"], "enabled");
}

#[tokio::test]
async fn a_ban_on_its_certificate_keeps_a_device_out_when_its_suspension_ends() {
    let fleet = Fleet::new().await;
    let works = Ca::root("works");
    fleet.enroll_group("works", by_ca(&works)).await;
    fleet.show("saw-1", Evidence::X509(works.leaf("saw-1").chain())).await.unwrap();
    let receipt = fleet.act(&ids(&["saw-1"]), Intent::Suspend).await;
    let ca = attest::certificate::describe(works.der()).unwrap();
    let on_ca = BanSubject::Ca(Box::new(ca));
    let ban = model::Ban {
        subject: on_ca.clone(),
        kind: BanKind::Revoked,
        reason: None,
        by: by(),
        created: testkit::NOW,
        expires: None,
        receipt: None,
        version: 0,
    };
    let put = ChangeSet::new().with(Change::PutBan(Box::new(ban)));
    fleet.stage.store.commit(put).await.unwrap();
    let back = fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!(back.counts.done, 1);
    let picture = fleet.picture().await;
    assert!(!picture.contains_key("bans/registration:saw-1"), "its own ban is lifted");
    assert_eq!(picture["hub-1/saw-1"], "Disabled");
    fleet.app.lift_ban(&on_ca.key(), Wet::Done, &by()).await.unwrap();
    fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!(fleet.picture().await["hub-1/saw-1"], "Enabled");
}

#[tokio::test]
async fn a_suspension_whose_ban_was_lifted_by_hand_is_undone_on_remote_hubs_too_and_once() {
    let scene = Scene::new().await;
    scene.far.put("far-1", keyed("ghost", 1));
    let receipt = scene.act(&ids(&["ghost"]), Intent::Suspend).await;
    scene.settle(&receipt).await;
    scene.app.lift_ban("registration:ghost", Wet::Done, &by()).await.unwrap();
    let back = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!((back.counts.done, counts(&back)), (1, (1, 0, 0)));
    scene.settle(&back).await;
    let there = scene.far.look("far-1", "ghost");
    assert_eq!(there, Some((DeviceStatus::Enabled, None)));
    let states: Vec<_> = scene.steps(&receipt).await.into_iter().map(|step| step.2).collect();
    let undone = [RemoteStepState::Superseded, RemoteStepState::Done { changed: false }];
    assert_eq!(states, undone);
    let again = scene.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!((again.counts.unchanged, counts(&again)), (1, (0, 0, 0)));
    let items = scene.fleet.items(&again.head.id).await;
    assert_eq!(
        (items[0].state, items[0].sessions),
        (ItemState::Unchanged, EndedSessions::default())
    );
}
