//! What each intent does, and that doing it twice changes nothing.

use decide::{manage::bans::sha256, scenes::by_tpm};
use model::{
    BanKind, BanSubject, DeprovisionState, DeviceStatus, Intent, ItemState, OperatorRefusal, Part,
    ReceiptId, RegistrationStatus, Selection, SharedOutcome, StillAdmitted, ban::registration_key,
};
use store::Store;
use testkit::SoftTpm;

use crate::{
    fleet::{
        Fleet, GROUP_KEY, OF_GROUP, OWN_KEY, by_key, derived, ids, of_group, of_receipt, other,
        registration,
    },
    instance::{by, hub_name},
    stage::key,
};

const INTENTS: [Intent; 3] = [Intent::Suspend, Intent::Retire, Intent::Revoke];

/// A device, after which it is off: no registration, no connection, whatever it shows.
async fn check_off(fleet: &Fleet, id: &str, keys: &[model::SymmetricKey]) {
    for key in keys {
        let registered = fleet.register(id, key.clone()).await;
        assert!(
            !matches!(registered, Ok(RegistrationStatus::Assigned | RegistrationStatus::Assigning)),
            "{id}: {registered:?}"
        );
        assert!(fleet.connect("hub-1", id, key).await.is_err(), "{id} connects");
    }
}

#[tokio::test]
async fn a_plan_says_what_would_happen_and_nothing_does() {
    let fleet = Fleet::new().await;
    let before = fleet.picture().await;
    let session = fleet.connect("hub-1", "arm-1", &derived("arm-1", GROUP_KEY)).await.unwrap();
    for intent in INTENTS {
        let plan = fleet.plan(&ids(&["arm-1", "press-17", "unknown"]), intent).await;
        assert_eq!(plan.head.state, DeprovisionState::Planned);
        assert_eq!(fleet.devices(&plan.head.id).await, ["arm-1", "press-17", "unknown"]);
        let totals = &plan.head.totals;
        assert_eq!((totals.n_devices, totals.n_unchanged), (3, 0));
        assert_eq!((totals.n_enrollments, totals.n_records, totals.n_sessions), (1, 2, 1));
        assert_eq!(totals.identities, [(hub_name("hub-1"), 2)]);
        assert_eq!((totals.n_still_admitted, totals.n_unknown), (0, 1));
        let held_off: Vec<_> =
            totals.held_off.iter().map(|(group, n)| (group.as_str(), *n)).collect();
        assert_eq!(held_off, [("line-4", 1)], "{intent:?}");
        let items = fleet.items(&plan.head.id).await;
        assert_eq!(items[0].plan.n_sessions, 1);
        assert_eq!(items[0].plan.bans, [registration_key(&registration("arm-1"))]);
        for item in &items {
            assert_eq!(item.state, ItemState::Pending);
            assert_eq!(item.plan.admitted, StillAdmitted::No, "{intent:?} {:?}", item.subject);
        }
        // Its own enrollment goes or is disabled, and nothing else knows its key.
        assert_eq!(items[1].plan.admitted_without_bans, StillAdmitted::No, "{intent:?}");
        assert_eq!(items[2].plan.admitted_without_bans, StillAdmitted::Unknown, "{intent:?}");
    }
    assert_eq!(fleet.picture().await, before);
    assert!(session.0.send(crate::stage::body("on")).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn a_suspended_device_is_off_and_its_record_is_kept() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&ids(&["arm-1", "press-17"]), Intent::Suspend).await;
    assert_eq!(receipt.head.state, DeprovisionState::Done);
    assert_eq!((receipt.counts.done, receipt.counts.pending), (2, 0));
    check_off(&fleet, "arm-1", &[derived("arm-1", GROUP_KEY)]).await;
    check_off(&fleet, "press-17", &[key(OWN_KEY), derived("press-17", GROUP_KEY)]).await;
    let picture = fleet.picture().await;
    assert_eq!(picture["enrollments/press-17"], "disabled");
    assert_eq!(picture["groups/line-4"], "enabled", "the others are not concerned");
    for id in ["arm-1", "press-17"] {
        assert!(picture.contains_key(&format!("records/{id}")));
        assert_eq!(picture[&format!("hub-1/{id}")], "Disabled");
        let device = fleet.app.get_device(&hub_name("hub-1"), &crate::stage::id(id)).await.unwrap();
        let reason = device.identity.status_reason.unwrap();
        assert_eq!(reason, format!("suspended ({}): stolen", receipt.head.id));
    }
    assert!(fleet.register("arm-2", derived("arm-2", GROUP_KEY)).await.is_ok());
}

#[tokio::test]
async fn a_revoked_tpm_is_refused_under_another_name_and_a_retired_one_is_not() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        let mut tpm = SoftTpm::from_fixture();
        fleet.enroll("mill-1", by_tpm(&tpm)).await;
        let admitted = Ok(RegistrationStatus::Assigned);
        assert_eq!(fleet.register_tpm("mill-1", &mut tpm, &[]).await, admitted);
        let receipt = fleet.act(&ids(&["mill-1"]), intent).await;
        assert_eq!(receipt.counts.done, 1);
        let again = fleet.register_tpm("mill-1", &mut tpm, &[]).await;
        assert!(again.is_err(), "{intent:?}: {again:?}");
        fleet.enroll("mill-2", by_tpm(&tpm)).await;
        let renamed = fleet.register_tpm("mill-2", &mut tpm, &[]).await;
        if intent == Intent::Revoke {
            let hash = sha256(&tpm.endorsement_key());
            let ban = BanSubject::EndorsementKey(hash).key();
            assert_eq!(renamed, Err(format!("banned: {ban}")));
            assert!(fleet.app.get_record(&registration("mill-2")).await.is_err());
            let bans = &fleet.items(&receipt.head.id).await[0].plan.bans;
            assert!(bans.contains(&ban), "the plan says so: {bans:?}");
        } else {
            assert_eq!(renamed, admitted, "{intent:?}");
        }
    }
}

#[tokio::test]
async fn a_reinstated_device_is_as_it_was_before() {
    let fleet = Fleet::new().await;
    let before = fleet.picture().await;
    let receipt = fleet.act(&ids(&["arm-1", "press-17"]), Intent::Suspend).await;
    // All of a receipt.
    let back = fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert_eq!((back.counts.done, back.counts.items), (2, 2));
    assert_eq!(fleet.picture().await, before);
    for (id, key) in [("arm-1", derived("arm-1", GROUP_KEY)), ("press-17", key(OWN_KEY))] {
        assert_eq!(fleet.register(id, key.clone()).await, Ok(RegistrationStatus::Assigned));
        drop(fleet.connect("hub-1", id, &key).await.unwrap());
    }
    // One of several, by its name: the ban says which receipt it was.
    fleet.act(&ids(&["arm-1", "press-17"]), Intent::Suspend).await;
    let back = fleet.act(&ids(&["press-17", "arm-2"]), Intent::Reinstate).await;
    assert_eq!((back.counts.done, back.counts.unchanged), (1, 1));
    let picture = fleet.picture().await;
    assert_eq!(Fleet::of_device(&picture, "press-17"), Fleet::of_device(&before, "press-17"));
    assert_eq!(picture["hub-1/arm-1"], "Disabled");
}

#[tokio::test]
async fn reinstating_leaves_alone_what_others_wrote_since() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&ids(&["arm-1", "press-17"]), Intent::Suspend).await;
    // An operator disables the identity for reasons of their own, and writes the enrollment.
    let hub = hub_name("hub-1");
    let mut draft = crate::stage::keyed("arm-1", 1);
    draft.status = Some(DeviceStatus::Disabled);
    draft.status_reason = Some("by me".to_owned());
    fleet.app.put_identity(&hub, &draft, &model::Precondition::Any, &by()).await.unwrap();
    let mut own = Fleet::individual("press-17", by_key(OWN_KEY));
    own.draft.provisioning_status = model::Sent::Value(model::ProvisioningStatus::Disabled);
    fleet.app.put_individual(own, &model::Precondition::Any, &by()).await.unwrap();
    let back = fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    let items = fleet.items(&back.head.id).await;
    let left_alone = |n: usize| {
        items[n].parts.iter().filter(|part| matches!(part, Part::LeftAlone { .. })).count()
    };
    assert_eq!((left_alone(0), left_alone(1)), (1, 1), "{items:?}");
    let picture = fleet.picture().await;
    assert_eq!(picture["hub-1/arm-1"], "Disabled");
    assert_eq!(picture["enrollments/press-17"], "disabled");
    assert_eq!(picture["hub-1/press-17"], "Enabled");
    assert!(!picture.keys().any(|name| name.starts_with("bans/")), "{picture:?}");
}

#[tokio::test]
async fn only_a_suspension_is_undone() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&ids(&["arm-1"]), Intent::Retire).await;
    let refused = fleet.try_plan(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert!(
        matches!(refused, Err(OperatorRefusal::BadRequest(text)) if text.contains("no suspension"))
    );
    // By its name there is nothing to undo: no ban of a suspension is on it.
    let back = fleet.act(&ids(&["arm-1"]), Intent::Reinstate).await;
    assert_eq!((back.counts.done, back.counts.unchanged), (0, 1));
    assert_eq!(fleet.picture().await["bans/registration:arm-1"], "Retired");
}

#[tokio::test]
async fn a_retired_device_is_gone_and_no_group_takes_it_back_but_an_enrollment_does() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&ids(&["arm-1", "press-17"]), Intent::Retire).await;
    assert_eq!(receipt.counts.done, 2);
    let picture = fleet.picture().await;
    for id in ["arm-1", "press-17"] {
        let ban = format!("bans/registration:{id}");
        assert_eq!(Fleet::of_device(&picture, id), [(ban, "Retired".to_owned())]);
        check_off(&fleet, id, &[derived(id, GROUP_KEY), key(OWN_KEY)]).await;
    }
    // As a new device.
    fleet.enroll("arm-1", by_key(3)).await;
    assert_eq!(fleet.register("arm-1", key(3)).await, Ok(RegistrationStatus::Assigned));
    drop(fleet.connect("hub-1", "arm-1", &key(3)).await.unwrap());
}

#[tokio::test]
async fn a_revoked_device_stays_out_whatever_is_enrolled() {
    let fleet = Fleet::new().await;
    fleet.act(&ids(&["press-17"]), Intent::Revoke).await;
    let picture = fleet.picture().await;
    let ban = ("bans/registration:press-17".to_owned(), "Revoked".to_owned());
    assert_eq!(Fleet::of_device(&picture, "press-17"), [ban]);
    fleet.enroll("press-17", by_key(OWN_KEY)).await;
    fleet.make("hub-1", "press-17").await;
    check_off(&fleet, "press-17", &[key(OWN_KEY), derived("press-17", GROUP_KEY)]).await;
    assert!(fleet.connect("hub-1", "press-17", &key(1)).await.is_err());
    // Suspending, retiring or reinstating it does not weaken that.
    for intent in [Intent::Suspend, Intent::Retire, Intent::Reinstate] {
        fleet.act(&ids(&["press-17"]), intent).await;
        assert_eq!(fleet.picture().await["bans/registration:press-17"], "Revoked", "{intent:?}");
    }
}

#[tokio::test]
async fn a_plan_that_is_applied_again_changes_nothing_and_a_new_one_finds_nothing() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        let selection = ids(&["arm-1", "press-17", "unknown"]);
        let plan = fleet.plan(&selection, intent).await;
        let receipt = fleet.apply(&plan.head.id).await;
        let (picture, items) = (fleet.picture().await, fleet.items(&plan.head.id).await);
        let n_lines = fleet.app.list_audit(&model::AuditFilter::default(), None, 1_000).await;
        let n_lines = n_lines.unwrap().len();
        let again = fleet.apply(&plan.head.id).await;
        assert_eq!(again, receipt, "{intent:?}");
        assert_eq!(fleet.app.begin_deprovision(&plan.head.id, &by()).await.unwrap(), receipt);
        assert_eq!(fleet.picture().await, picture, "{intent:?}");
        assert_eq!(fleet.items(&plan.head.id).await, items);
        let filter = model::AuditFilter::default();
        let lines = fleet.app.list_audit(&filter, None, 1_000).await.unwrap();
        assert_eq!(lines.len(), n_lines, "{intent:?}");
        let next = fleet.plan(&selection, intent).await;
        assert_eq!((next.head.totals.n_devices, next.head.totals.n_unchanged), (0, 3));
        let done = fleet.apply(&next.head.id).await;
        assert_eq!((done.counts.unchanged, done.counts.done), (3, 0), "{intent:?}");
        assert_eq!(fleet.picture().await, picture, "{intent:?}");
    }
}

#[tokio::test]
async fn a_group_as_a_whole_is_closed_first_and_its_late_devices_go_with_it() {
    for intent in INTENTS {
        let fleet = Fleet::new().await;
        let plan = fleet.plan(&of_group("line-4"), intent).await;
        assert_eq!(fleet.devices(&plan.head.id).await, OF_GROUP);
        // One joins after the plan was made, and one that was planned came again.
        fleet.register("arm-9", derived("arm-9", GROUP_KEY)).await.unwrap();
        fleet.register("arm-2", derived("arm-2", GROUP_KEY)).await.unwrap();
        let receipt = fleet.apply(&plan.head.id).await;
        assert_eq!((receipt.counts.items, receipt.counts.done), (4, 4), "{intent:?}");
        let items = fleet.items(&plan.head.id).await;
        let late: Vec<_> = items.iter().map(|item| item.is_late).collect();
        assert_eq!(late, [false, false, false, true]);
        let picture = fleet.picture().await;
        let group = picture.get("groups/line-4").map(String::as_str);
        assert_eq!(group, (intent == Intent::Suspend).then_some("disabled"), "{intent:?}");
        assert!(matches!(receipt.head.shared[0].outcome, SharedOutcome::Done(_)));
        for id in ["arm-1", "arm-2", "arm-3", "arm-9"] {
            check_off(&fleet, id, &[derived(id, GROUP_KEY)]).await;
        }
        assert_eq!(
            fleet.register("press-17", key(OWN_KEY)).await,
            Ok(RegistrationStatus::Assigned)
        );
        // Suspending keeps the records, and it is undone as a whole.
        if intent == Intent::Suspend {
            fleet.act(&of_receipt(&plan.head.id), Intent::Reinstate).await;
            assert_eq!(fleet.picture().await["groups/line-4"], "enabled");
            let id = "arm-9";
            let back = fleet.register(id, derived(id, GROUP_KEY)).await;
            assert_eq!(back, Ok(RegistrationStatus::Assigned));
        }
    }
}

#[tokio::test]
async fn a_group_that_others_wrote_since_stays_disabled_when_it_is_reinstated() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&of_group("line-4"), Intent::Suspend).await;
    fleet.set_group_enabled("line-4", false).await;
    let back = fleet.act(&of_receipt(&receipt.head.id), Intent::Reinstate).await;
    assert!(matches!(back.head.shared[0].outcome, SharedOutcome::LeftAlone(_)), "{back:?}");
    assert_eq!(fleet.picture().await["groups/line-4"], "disabled");
}

#[tokio::test]
async fn what_happened_since_the_plan_counts_and_not_the_plan() {
    let fleet = Fleet::new().await;
    let plan = fleet.plan(&ids(&["arm-1", "press-17"]), Intent::Retire).await;
    // Its enrollment goes, another one comes for the other.
    fleet
        .app
        .delete_individual(&registration("press-17"), &model::Precondition::None, &by())
        .await
        .unwrap();
    fleet.enroll("arm-1", by_key(3)).await;
    fleet.make("hub-2", "ARM-1").await;
    fleet.apply(&plan.head.id).await;
    let picture = fleet.picture().await;
    for id in ["arm-1", "press-17"] {
        let ban = format!("bans/registration:{id}");
        assert_eq!(Fleet::of_device(&picture, id), [(ban, "Retired".to_owned())]);
    }
    assert!(!picture.contains_key("hub-2/ARM-1"), "any letter case: {picture:?}");
}

#[tokio::test]
async fn identities_without_a_record_are_devices_too() {
    let fleet = Fleet::new().await;
    let selection = Selection { hub: Some(hub_name("hub-2")), ..Selection::default() };
    let plan = fleet.plan(&selection, Intent::Suspend).await;
    assert_eq!(fleet.devices(&plan.head.id).await, ["by-hand", "odd#1"]);
    fleet.apply(&plan.head.id).await;
    let picture = fleet.picture().await;
    assert_eq!(picture["hub-2/by-hand"], "Disabled");
    assert_eq!(picture["hub-2/odd#1"], "Disabled");
    assert_eq!(picture["bans/registration:by-hand"], "Suspended");
    fleet.act(&of_receipt(&plan.head.id), Intent::Reinstate).await;
    let picture = fleet.picture().await;
    assert_eq!(picture["hub-2/by-hand"], "Enabled");
    assert_eq!(picture["hub-2/odd#1"], "Enabled");
    fleet.act(&selection, Intent::Revoke).await;
    let picture = fleet.picture().await;
    assert!(!picture.keys().any(|name| name.starts_with("hub-2/")), "{picture:?}");
    assert_eq!(picture["bans/registration:by-hand"], "Revoked");
}

#[tokio::test]
async fn a_suspension_over_another_ban_puts_it_back_in_the_end() {
    let fleet = Fleet::new().await;
    fleet.act(&ids(&["arm-1"]), Intent::Retire).await;
    fleet.enroll("arm-1", by_key(3)).await;
    fleet.register("arm-1", key(3)).await.unwrap();
    let suspended = fleet.act(&ids(&["arm-1"]), Intent::Suspend).await;
    assert_eq!(fleet.picture().await["bans/registration:arm-1"], "Suspended");
    check_off(&fleet, "arm-1", &[key(3)]).await;
    fleet.act(&of_receipt(&suspended.head.id), Intent::Reinstate).await;
    let ban = fleet.stage.store.find_ban("registration:arm-1").await.unwrap().unwrap();
    assert_eq!(ban.kind, BanKind::Retired);
    assert_eq!(fleet.register("arm-1", key(3)).await, Ok(RegistrationStatus::Assigned));
}

#[tokio::test]
async fn only_a_whole_and_recent_plan_is_applied() {
    let fleet = Fleet::new().await;
    let selection = ids(&["arm-1"]);
    let before = fleet.picture().await;
    let unknown = ReceiptId::from_random([1; 16]);
    let refusal = |outcome: Result<_, induct_app::No<OperatorRefusal>>| match outcome {
        Err(induct_app::No::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let refused = refusal(fleet.app.deprovision(&unknown, &by()).await);
    assert_eq!(refused, OperatorRefusal::ReceiptNotFound(unknown.to_string()));
    let begun = fleet.app.begin_plan(&selection, Intent::Retire, None, &by()).await.unwrap();
    let refused = refusal(fleet.app.deprovision(begun.id(), &by()).await);
    assert!(refused.to_string().contains("still being collected"), "{refused}");
    let plan = fleet.app.make_plan(begun).await.unwrap();
    fleet.stage.clock.advance(25 * 3600);
    let refused = refusal(fleet.app.deprovision(&plan.head.id, &by()).await);
    assert!(refused.to_string().contains("too old"), "{refused}");
    assert_eq!(fleet.picture().await, before);
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what_to_whom() {
    let fleet = Fleet::new().await;
    let receipt = fleet.act(&of_group("line-4"), Intent::Retire).await;
    let filter = model::AuditFilter { policy: Some(other().policy), ..Default::default() };
    let lines = fleet.app.list_audit(&filter, None, 100).await.unwrap();
    let told: Vec<_> =
        lines.iter().map(|line| (line.entry.action.as_str(), line.entry.target.clone())).collect();
    let mut expected = vec![
        ("deprovision.apply", format!("receipts/{}", receipt.head.id)),
        ("enrollment-group.delete", "enrollmentGroups/line-4".to_owned()),
    ];
    expected.extend(OF_GROUP.map(|id| ("device.retire", format!("registrations/{id}"))));
    let (mut told, mut sorted) = (told, expected);
    told.sort();
    sorted.sort();
    assert_eq!(told, sorted);
    assert!(fleet.app.verify_audit().await.unwrap().broken.is_none());
}
