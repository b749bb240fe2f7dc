//! Groups and CAs as a whole, and what a selection means.

use model::{
    BanSubject, DeprovisionState, Deprovisioning, Draft, EnrollmentGroup, HubName, OperatorRefusal,
    PlanTotals, ProvisioningStatus, RecordCondition, SelectedCertificate, Selection, Sent,
    SharedAct, SharedOutcome, SharedPart, deprovision::MAX_LISTED_IDS,
};

use super::*;
use crate::deprovision::{
    SharedFacts, check, is_as_planned, is_selected, plan_shared, selected_by, shared,
};

fn of_group(id: &str) -> Selection {
    Selection { group: Some(name::group(id)), ..Selection::default() }
}

/// What a plan of this selection does as a whole.
fn acts(scene: &Scene, selection: &Selection, intent: Intent) -> Vec<SharedAct> {
    let group = selection.group.as_ref().map(|id| &scene.world.groups[id.key()]);
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let cas = match selection.group.as_ref().map(|id| id.as_str()) {
        Some("saws") => vec![ca],
        _ => Vec::new(),
    };
    let certificate = selection.certificate.as_ref();
    let parts = plan_shared(&selected_by(selection), intent, group, &cas, certificate, None);
    parts.into_iter().map(|part| part.act).collect()
}

#[test]
fn a_group_alone_is_meant_as_a_whole_and_beside_another_condition_it_is_not() {
    let scene = Scene::new();
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let ca = SelectedCertificate::Ca(Box::new(ca));
    let ban = SharedAct::SetBan(ca.ban_subject());
    let etag = |id: &str| scene.world.groups[name::group(id).key()].terms.etag.clone();
    let (disable, delete) = (
        |id| SharedAct::DisableGroup(name::group(id), etag(id)),
        |id| SharedAct::DeleteGroup(name::group(id), etag(id)),
    );
    let by_key = of_group("line-4");
    assert_eq!(acts(&scene, &by_key, Intent::Suspend), [disable("line-4")]);
    assert_eq!(acts(&scene, &by_key, Intent::Retire), [delete("line-4")]);
    assert_eq!(acts(&scene, &by_key, Intent::Revoke), [delete("line-4")]);
    assert_eq!(acts(&scene, &by_key, Intent::Reinstate), []);
    let by_ca = of_group("saws");
    assert_eq!(acts(&scene, &by_ca, Intent::Retire), [delete("saws")]);
    assert_eq!(acts(&scene, &by_ca, Intent::Revoke), [delete("saws"), ban.clone()]);
    let certificate = Selection { certificate: Some(ca), ..Selection::default() };
    assert_eq!(acts(&scene, &certificate, Intent::Revoke), [ban]);
    assert_eq!(acts(&scene, &certificate, Intent::Retire), []);
    let some = Selection { registration_ids: Some(vec![name::id(BY_CERTIFICATE)]), ..by_ca };
    for intent in INTENTS {
        assert_eq!(acts(&scene, &some, intent), [], "{intent:?}");
    }
}

/// A plan of this selection, as it is begun.
fn planned(scene: &Scene, selection: &Selection, intent: Intent) -> Deprovisioning {
    let planned = |act| SharedPart { act, outcome: SharedOutcome::Planned };
    Deprovisioning {
        id: receipt(0),
        intent,
        selected_by: selected_by(selection),
        reason: None,
        by: by(),
        created: scene.world.now,
        expires: scene.world.now,
        state: DeprovisionState::Done,
        shared: acts(scene, selection, intent).into_iter().map(planned).collect(),
        sessions: EndedSessions::default(),
        totals: PlanTotals::default(),
        applied: None,
        finished: None,
        version: 1,
    }
}

#[test]
fn a_plan_of_a_group_is_about_the_group_as_it_was() {
    let scene = Scene::new();
    let group = |id: &str| scene.world.groups[name::group(id).key()].clone();
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let other = Ca::root("other");
    let other = attest::certificate::describe(other.der()).expect("a certificate");
    let check = |intent: Intent, now: Option<&EnrollmentGroup>, ca, expected: bool| {
        let plan = planned(&scene, &of_group("saws"), intent);
        let is_it = is_as_planned(&plan, now, std::slice::from_ref(ca));
        assert_eq!(is_it, expected, "{intent:?} {now:?}");
    };
    let saws = group("saws");
    let mut written = saws.clone();
    written.terms.etag = Etag::from_random([9; 16]);
    for intent in INTENTS {
        check(intent, Some(&saws), &ca, true);
        check(intent, Some(&written), &ca, false);
        check(intent, None, &ca, true);
        // A CA certificate of the service's store is another one by now.
        check(intent, Some(&saws), &other, intent != Intent::Revoke);
    }
    // It was gone when it was planned, and made anew since.
    let gone =
        Deprovisioning { shared: Vec::new(), ..planned(&scene, &of_group("saws"), Intent::Retire) };
    assert!(!is_as_planned(&gone, Some(&saws), &[]));
    assert!(is_as_planned(&gone, None, &[]));
    // Beside another condition nothing is done to the group.
    let some = Selection { registration_ids: Some(Vec::new()), ..of_group("saws") };
    assert!(is_as_planned(&planned(&scene, &some, Intent::Retire), Some(&written), &[]));
}

/// Does acts as a whole: what comes of each.
fn outcomes(scene: &mut Scene, acts: &[SharedAct], intent: Intent) -> Vec<SharedOutcome> {
    let parts: Vec<_> = acts
        .iter()
        .map(|act| SharedPart { act: act.clone(), outcome: SharedOutcome::Planned })
        .collect();
    let groups: Vec<EnrollmentGroup> = scene.world.groups.values().cloned().collect();
    let bans: Vec<Ban> = scene.world.bans.values().cloned().collect();
    let facts = SharedFacts { groups: &groups, bans: &bans };
    let (receipt, by) = (receipt(0), by());
    let act = Act { intent, reason: None, by: &by, receipt: &receipt };
    let (changes, parts) = shared(&parts, facts, &act, scene.world.now, &fresh(77));
    scene.world.commit(changes).expect("nothing has changed");
    parts.into_iter().map(|part| part.outcome).collect()
}

#[test]
fn what_is_done_as_a_whole_is_done_once() {
    let mut scene = Scene::new();
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let acts = [
        SharedAct::DeleteGroup(name::group("saws"), Etag::from_random([0; 16])),
        SharedAct::SetBan(BanSubject::Ca(Box::new(ca))),
    ];
    let done = SharedOutcome::Done(None);
    assert_eq!(outcomes(&mut scene, &acts, Intent::Revoke), [done.clone(), done]);
    let unchanged = SharedOutcome::Unchanged;
    assert_eq!(outcomes(&mut scene, &acts, Intent::Revoke), [unchanged.clone(), unchanged]);
    assert!(!scene.registers(BY_CERTIFICATE), "its CA is banned, whichever group admits");
}

#[test]
fn a_group_comes_back_with_its_suspension_unless_somebody_wrote_it_since() {
    let id = name::group("line-4");
    let disable = [SharedAct::DisableGroup(id.clone(), Etag::from_random([0; 16]))];
    for is_written in [false, true] {
        let mut scene = Scene::new();
        let done = outcomes(&mut scene, &disable, Intent::Suspend);
        let [SharedOutcome::Done(Some(etag))] = done.as_slice() else { panic!("{done:?}") };
        assert!(!scene.world.groups[id.key()].terms.is_enabled());
        let suspended = Deprovisioning {
            shared: vec![SharedPart { act: disable[0].clone(), outcome: done[0].clone() }],
            ..planned(&scene, &of_group("line-4"), Intent::Suspend)
        };
        let undo = Selection { receipt: Some(receipt(0)), ..Selection::default() };
        let undo = selected_by(&undo);
        let parts = plan_shared(&undo, Intent::Reinstate, None, &[], None, Some(&suspended));
        let enable: Vec<_> = parts.into_iter().map(|part| part.act).collect();
        assert_eq!(enable, [SharedAct::EnableGroup(id.clone(), etag.clone())]);
        if is_written {
            let key = name::key(GROUP_KEY);
            let off = Sent::Value(ProvisioningStatus::Disabled);
            let draft = Draft { provisioning_status: off, ..draft(keys(&key, &key)) };
            scene.world.enroll_group("line-4", draft);
        }
        let outcome = outcomes(&mut scene, &enable, Intent::Reinstate).remove(0);
        let is_left = matches!(outcome, SharedOutcome::LeftAlone(_));
        assert_eq!(is_left, is_written, "{outcome:?}");
        assert_eq!(scene.world.groups[id.key()].terms.is_enabled(), !is_written);
    }
}

#[test]
fn a_selection_selects_something_and_no_more_than_may_be_listed() {
    let refused =
        |selection: &Selection, reason: Option<&str>, told: &str| match check(selection, reason) {
            Err(OperatorRefusal::BadRequest(text)) => assert!(text.contains(told), "{text}"),
            other => panic!("{other:?}"),
        };
    let listed = |ids: Vec<_>| Selection { registration_ids: Some(ids), ..Selection::default() };
    refused(&Selection::default(), None, "select devices");
    refused(&listed(Vec::new()), None, "is empty; list at least one");
    refused(&listed(vec![name::id("a"); MAX_LISTED_IDS + 1]), None, "at most 100000");
    let some = of_group("line-4");
    refused(&some, Some(&"x".repeat(model::ban::MAX_REASON_CHARS + 1)), "allowed; shorten it");
    assert_eq!(check(&some, Some(&"ä".repeat(model::ban::MAX_REASON_CHARS))), Ok(()));
    assert_eq!(check(&listed(vec![name::id("a"); MAX_LISTED_IDS]), None), Ok(()));
}

#[test]
fn a_device_without_a_record_is_of_the_group_that_its_identities_came_from() {
    let former = |group: &str| Former {
        hub: name::hub("plant"),
        device_id: DeviceId::from(&name::id("arm-9")),
        enrollment: EnrollmentRef::Group(name::group(group)),
        device: None,
    };
    let scene = Scene::new();
    let record = scene.register_facts(OF_GROUP).record;
    let check = |record: Option<&RegistrationRecord>, formers: &[Former], expected: bool| {
        let is_it = is_selected(&of_group("saws"), record, None, &[], formers);
        assert_eq!(is_it, expected, "{record:?} {formers:?}");
    };
    check(None, &[], false);
    check(None, &[former("saws")], true);
    check(None, &[former("works"), former("saws")], true);
    check(None, &[former("works")], false);
    // The last registration counts where there is one.
    check(record.as_ref(), &[former("saws")], false);
    let on_hub = Selection { hub: Some(name::hub("plant")), ..of_group("saws") };
    assert!(is_selected(&on_hub, None, None, &[], &[former("saws")]));
}

#[test]
fn conditions_of_several_kinds_must_all_hold() {
    let scene = Scene::new();
    let read = scene.register_facts(BY_CERTIFICATE);
    let is_meant = |selection: &Selection| {
        is_selected(selection, read.record.as_ref(), read.grounds.as_ref(), &read.devices, &[])
    };
    let at: HubName = read.devices[0].0.clone();
    let elsewhere = name::hub("hub-9");
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let other = Ca::root("other");
    let other = attest::certificate::describe(other.der()).expect("a certificate");
    let by = |ca| Some(SelectedCertificate::Ca(Box::new(ca)));
    let group = of_group("saws");
    assert!(is_meant(&group));
    assert!(!is_meant(&of_group("line-4")));
    assert!(is_meant(&Selection { hub: Some(at), certificate: by(ca), ..group.clone() }));
    assert!(!is_meant(&Selection { hub: Some(elsewhere), ..group.clone() }));
    assert!(!is_meant(&Selection { certificate: by(other), ..group.clone() }));
    let status = |status| Some(RecordCondition { status: Some(status), ..Default::default() });
    let assigned = status(model::RegistrationStatus::Assigned);
    assert!(is_meant(&Selection { records: assigned, ..group.clone() }));
    let failed = status(model::RegistrationStatus::Failed);
    assert!(!is_meant(&Selection { records: failed, ..group }));
}
