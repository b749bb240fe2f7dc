//! Who would still get in, and by which entry.

use model::{BanSubject, SharedAct, SharedOutcome, SharedPart};

use super::*;
use crate::deprovision::{PlannedActs, prospects};

fn group(id: &str) -> StillAdmitted {
    StillAdmitted::By(EnrollmentRef::Group(name::group(id)))
}

fn told(scene: &Scene, id: &str, deed: &Deed, shared: &[SharedPart]) -> Prospects {
    let facts = scene.register_facts(id);
    let settings = &scene.world.settings.attest;
    let acts = PlannedActs { id: &name::id(id), deed, shared };
    prospects(&facts, acts, settings, scene.world.now)
}

fn planned_act(act: SharedAct) -> SharedPart {
    SharedPart { act, outcome: SharedOutcome::Planned }
}

/// What is told of a device that is deprovisioned, while this is done as a whole.
fn check(id: &str, intent: Intent, shared: &[SharedAct], without_bans: StillAdmitted) {
    let scene = Scene::new();
    let shared: Vec<_> = shared.iter().cloned().map(planned_act).collect();
    let deed = scene.decided(id, intent, 0);
    let expected = Prospects { afterwards: StillAdmitted::No, without_bans };
    assert_eq!(told(&scene, id, &deed, &shared), expected, "{intent:?} {id}");
}

#[test]
fn it_is_told_which_entry_only_the_bans_hold_a_device_off_from() {
    for intent in INTENTS {
        check(OF_GROUP, intent, &[], group("line-4"));
        check(OF_ITSELF, intent, &[], StillAdmitted::No);
        check(BY_CERTIFICATE, intent, &[], group("saws"));
        check(NOBODY, intent, &[], StillAdmitted::Unknown);
    }
    let etag = || Etag::from_random([0; 16]);
    let delete = |id| SharedAct::DeleteGroup(name::group(id), etag());
    let disable = |id| SharedAct::DisableGroup(name::group(id), etag());
    check(OF_GROUP, Intent::Retire, &[delete("line-4")], StillAdmitted::No);
    check(OF_GROUP, Intent::Suspend, &[disable("line-4")], StillAdmitted::No);
    // The next group up the chain takes it when the first is gone, not when it is disabled.
    check(BY_CERTIFICATE, Intent::Retire, &[delete("saws")], group("works"));
    check(BY_CERTIFICATE, Intent::Suspend, &[disable("saws")], StillAdmitted::No);
}

#[test]
fn without_a_ban_of_its_own_a_device_comes_back_through_the_next_group_unless_its_ca_is_banned() {
    let scene = Scene::new();
    let nothing = Deed::default();
    let etag = Etag::from_random([0; 16]);
    let delete = planned_act(SharedAct::DeleteGroup(name::group("saws"), etag));
    let now = told(&scene, BY_CERTIFICATE, &nothing, &[]);
    assert_eq!(now.afterwards, group("saws"));
    let deleted = told(&scene, BY_CERTIFICATE, &nothing, std::slice::from_ref(&delete));
    assert_eq!(deleted.afterwards, group("works"));
    let ca = attest::certificate::describe(scene.saws.der()).expect("a certificate");
    let ban = planned_act(SharedAct::SetBan(BanSubject::Ca(Box::new(ca))));
    let banned = told(&scene, BY_CERTIFICATE, &nothing, &[delete, ban]);
    assert_eq!(banned, Prospects { afterwards: StillAdmitted::No, without_bans: group("works") });
}

#[test]
fn whoever_is_banned_already_does_not_get_in_although_nothing_else_is_known_of_it() {
    let mut scene = Scene::new();
    scene.act(NOBODY, Intent::Revoke);
    let again = scene.decided(NOBODY, Intent::Revoke, 1);
    assert!(again.is_nothing());
    let told = told(&scene, NOBODY, &again, &[]);
    assert_eq!(told.afterwards, StillAdmitted::No);
    assert_eq!(told.without_bans, StillAdmitted::Unknown);
}

#[test]
fn what_is_told_is_what_comes_of_it() {
    for id in EVERYBODY {
        for intents in [&INTENTS[..1], &INTENTS[1..2], &INTENTS[2..], &INTENTS] {
            let mut scene = Scene::new();
            for (n, intent) in intents.iter().enumerate() {
                let deed = scene.decided(id, *intent, n as u64);
                let told = told(&scene, id, &deed, &[]);
                scene.act(id, *intent);
                assert_eq!(told.afterwards, StillAdmitted::No, "{intents:?} {id}");
                assert!(!scene.registers(id), "{intents:?} {id}");
            }
            // Were it not for the bans.
            let facts = scene.register_facts(id);
            scene.world.bans.clear();
            let individual_is_on =
                facts.individual.as_ref().is_none_or(|one| one.terms.is_enabled());
            let has_entry = match id {
                OF_ITSELF => facts.individual.is_some() && individual_is_on,
                NOBODY => continue,
                _ => true,
            };
            assert_eq!(scene.registers(id), has_entry, "{intents:?} {id}");
        }
    }
}
