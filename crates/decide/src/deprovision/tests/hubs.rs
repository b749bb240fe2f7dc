//! Hubs elsewhere: what they are told, and when something else took its place.

use model::{BanSubject, RemoteStepTask, RemoteTask};

use super::*;
use crate::scenes::linked_remote;

/// The devices, with a remote hub that none of them was ever assigned to.
fn with_remote_hub() -> Scene {
    let mut scene = Scene::new();
    let plant = LinkedHub { apply_allocation_policy: false, ..linked_remote(name::hub("plant")) };
    scene.world.hubs.hubs.push(plant);
    scene
}

/// What the remote hub is to be told of a device by now.
fn task(scene: &Scene, id: &str) -> Option<RemoteTask> {
    let at = (name::hub("plant"), DeviceId::from(&name::id(id)));
    scene.world.removals.get(&at).map(|removal| removal.task.clone())
}

#[test]
fn every_remote_hub_is_told_also_one_that_may_not_know_the_device() {
    for (intent, expected) in [
        (Intent::Suspend, RemoteStepTask::Disable),
        (Intent::Retire, RemoteStepTask::Delete),
        (Intent::Revoke, RemoteStepTask::Delete),
    ] {
        for id in EVERYBODY {
            let mut scene = with_remote_hub();
            let deed = scene.act(id, intent);
            let told: Vec<_> = deed.remote.iter().map(|step| (&step.hub, step.task)).collect();
            assert_eq!(told, [(&name::hub("plant"), expected)], "{intent:?} {id}");
            assert!(task(&scene, id).is_some());
            let again = scene.decided(id, intent, 1);
            assert_eq!(again, Deed::default(), "told once: {intent:?} {id}");
        }
    }
}

#[test]
fn a_later_act_takes_the_place_of_what_is_still_to_be_told() {
    let mut scene = with_remote_hub();
    scene.act(OF_GROUP, Intent::Suspend);
    let reason = status_reason(&receipt(0), Some("stolen"));
    assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Disable { reason }));
    let deed = scene.act(OF_GROUP, Intent::Retire);
    assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Delete));
    let earlier = ReportTo { receipt: receipt(0), item: 1 };
    let id = DeviceId::from(&name::id(OF_GROUP));
    assert_eq!(deed.superseded, [(earlier, name::hub("plant"), id)]);
    // Nothing takes a deletion back.
    scene.act(OF_GROUP, Intent::Suspend);
    assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Delete));
    scene.act(OF_GROUP, Intent::Reinstate);
    assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Delete));
}

#[test]
fn a_reinstatement_enables_where_the_suspension_had_an_effect_or_may_have_one() {
    let check = |state: RemoteStepState, expected: bool| {
        let mut scene = with_remote_hub();
        scene.act(OF_GROUP, Intent::Suspend);
        scene.world.removals.clear();
        scene.items[0].remote[0].state = state.clone();
        let deed = scene.act(OF_GROUP, Intent::Reinstate);
        let tasks: Vec<_> = deed.remote.iter().map(|step| step.task).collect();
        let enable: &[_] = if expected { &[RemoteStepTask::Enable] } else { &[] };
        assert_eq!(tasks, enable, "{state:?}");
    };
    check(RemoteStepState::Pending { n_failures: 3, last_error: None }, true);
    check(RemoteStepState::Done { changed: true }, true);
    check(RemoteStepState::Done { changed: false }, false);
    check(RemoteStepState::Superseded, false);
    // It was linked again, and may have been told once more, under the same mark.
    check(step_failed(&name::hub("plant")), true);
}

#[test]
fn a_hub_that_was_told_in_vain_or_not_at_all_is_told_when_it_is_asked_for_again() {
    for (intent, kind) in [
        (Intent::Suspend, RemoteStepTask::Disable),
        (Intent::Retire, RemoteStepTask::Delete),
        (Intent::Revoke, RemoteStepTask::Delete),
    ] {
        let check = |state: Option<RemoteStepState>, is_told: bool| {
            let mut scene = with_remote_hub();
            scene.act(OF_GROUP, intent);
            scene.world.removals.clear();
            match state.clone() {
                Some(state) => scene.items[0].remote[0].state = state,
                None => scene.items[0].remote.clear(),
            }
            let again = scene.act(OF_GROUP, intent);
            let tasks: Vec<_> = again.remote.iter().map(|step| step.task).collect();
            let expected: &[_] = if is_told { &[kind] } else { &[] };
            assert_eq!(tasks, expected, "{intent:?} {state:?}");
            assert!(again.parts.is_empty(), "{intent:?}: nothing of ours is done twice");
            if intent == Intent::Suspend && is_told {
                // Under the mark of the suspension that is undone.
                let reason = status_reason(&receipt(0), Some("stolen"));
                assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Disable { reason }));
                let undone = scene.act(OF_GROUP, Intent::Reinstate);
                assert_eq!(undone.remote[0].task, RemoteStepTask::Enable);
                let reason = mark(&receipt(0));
                assert_eq!(task(&scene, OF_GROUP), Some(RemoteTask::Enable { reason }));
            }
        };
        check(Some(step_failed(&name::hub("plant"))), true);
        check(None, true);
        check(Some(RemoteStepState::Done { changed: false }), false);
        check(Some(RemoteStepState::Pending { n_failures: 1, last_error: None }), false);
    }
}

#[test]
fn a_reinstatement_leaves_all_alone_while_another_ban_keeps_the_device_out() {
    let mut scene = with_remote_hub();
    scene.act(OF_ITSELF, Intent::Suspend);
    scene.world.removals.clear();
    scene.items[0].remote[0].state = RemoteStepState::Done { changed: true };
    let suspended = scene.items[0].clone();
    let subject = BanSubject::Registration(name::id(OF_ITSELF));
    scene.world.ban(subject.clone(), BanKind::Revoked);
    let reinstate = |scene: &Scene| {
        let read = scene.register_facts(OF_ITSELF);
        let subject = DeviceSubject::Registration(name::id(OF_ITSELF));
        let facts = scene.device_facts(&subject, &read, &[]);
        let facts = DeviceFacts { suspended: Some(&suspended), ..facts };
        let (receipt, by) = (receipt(9), by());
        let act = Act { intent: Intent::Reinstate, reason: None, by: &by, receipt: &receipt };
        device(&facts, &act, 1, scene.world.now, &fresh(9))
    };
    let undone = reinstate(&scene);
    assert!(undone.is_nothing(), "{undone:?}");
    assert_eq!(names(&undone.parts), ["left alone", "left alone"]);
    // Once nothing keeps it out any more, it comes back by the same receipt.
    scene.world.bans.clear();
    let undone = reinstate(&scene);
    assert_eq!(names(&undone.parts), ["enrollment enabled", "identity enabled"]);
    assert_eq!(undone.remote[0].task, RemoteStepTask::Enable);
    let of = ReportTo { receipt: suspended.receipt.clone(), item: suspended.number };
    let id = DeviceId::from(&name::id(OF_ITSELF));
    assert_eq!(undone.superseded, [(of, name::hub("plant"), id)]);
}

#[test]
fn remote_hubs_are_told_of_the_names_that_a_device_had_there() {
    let mut scene = with_remote_hub();
    let former = |hub: &str, id: &str| Former {
        hub: name::hub(hub),
        device_id: DeviceId::parse(id).expect("an ID"),
        enrollment: EnrollmentRef::Individual(name::id(OF_ITSELF)),
        device: None,
    };
    // One of them is on a hub that is not linked any more.
    let formers = [former("plant", "line-saw"), former("gone", "line-saw")];
    let read = scene.register_facts(OF_ITSELF);
    let subject = DeviceSubject::Registration(name::id(OF_ITSELF));
    let facts = DeviceFacts { formers: &formers, ..scene.device_facts(&subject, &read, &[]) };
    let (receipt, by) = (receipt(0), by());
    let act = Act { intent: Intent::Revoke, reason: None, by: &by, receipt: &receipt };
    let deed = device(&facts, &act, 1, scene.world.now, &fresh(9));
    let told: Vec<_> = deed.remote.iter().map(|step| step.device_id.as_str()).collect();
    assert_eq!(told, [OF_ITSELF, "line-saw"]);
    scene.world.commit(deed.changes).expect("nothing has changed");
}

#[test]
fn a_settled_step_stays_as_it_is() {
    let mut scene = with_remote_hub();
    let mut steps = scene.act(OF_GROUP, Intent::Retire).remote;
    let (hub, id) = (name::hub("plant"), DeviceId::from(&name::id(OF_GROUP)));
    let later = scene.world.now.plus_secs(5);
    settle_step(&mut steps, (&hub, &id), RemoteStepState::Done { changed: true }, later);
    supersede(&mut steps, (&hub, &id), later.plus_secs(5));
    assert_eq!(steps[0].state, RemoteStepState::Done { changed: true });
    assert_eq!(steps[0].at, later);
    // But for a disabling, which a reinstatement undoes.
    let mut steps = with_remote_hub().act(OF_GROUP, Intent::Suspend).remote;
    settle_step(&mut steps, (&hub, &id), RemoteStepState::Done { changed: true }, later);
    supersede(&mut steps, (&hub, &id), later.plus_secs(5));
    assert_eq!(steps[0].state, RemoteStepState::Superseded);
}
