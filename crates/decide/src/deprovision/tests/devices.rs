//! One device: what each intent does, again, on top of another, and undone.

use model::{BanSubject, DeviceRefusal, Draft, Evidence, ProvisioningStatus, Sent};
use testkit::SoftTpm;

use super::*;
use crate::{
    manage::bans::sha256,
    scenes::{by_tpm, issuers, tpm_keys, tpm_token},
};

/// What is done to a device that nothing was done to before.
fn check(id: &str, intent: Intent, expected: &[&str]) {
    let mut scene = Scene::new();
    let deed = scene.act(id, intent);
    assert_eq!(names(&deed.parts), expected, "{intent:?} {id}");
    assert!(!scene.registers(id), "{intent:?} {id}");
}

#[test]
fn each_intent_does_its_parts() {
    check(OF_GROUP, Intent::Suspend, &["ban set", "identity disabled"]);
    let parts = ["ban set", "enrollment disabled", "identity disabled"];
    check(OF_ITSELF, Intent::Suspend, &parts);
    let parts = ["ban set", "enrollment deleted", "record deleted", "identity deleted"];
    check(OF_ITSELF, Intent::Retire, &parts);
    check(OF_ITSELF, Intent::Revoke, &parts);
    let parts = ["ban set", "record deleted", "identity deleted"];
    check(OF_GROUP, Intent::Retire, &parts);
    check(OF_GROUP, Intent::Revoke, &parts);
    check(BY_CERTIFICATE, Intent::Retire, &parts);
    // Its certificate too, so that it does not come back under another name.
    let parts = ["ban set", "ban set", "record deleted", "identity deleted"];
    check(BY_CERTIFICATE, Intent::Revoke, &parts);
    for intent in INTENTS {
        check(NOBODY, intent, &["ban set"]);
    }
}

/// A TPM that registered by its vendor's group, or that is only enrolled: what is done to it, and
/// whether it is challenged under another name afterwards.
fn check_tpm(has_registered: bool, intent: Intent, expected: &[&str]) {
    let mut scene = Scene::new();
    let vendor = Ca::root("vendor");
    let mut tpm = SoftTpm::from_fixture();
    let (id, shown) = (tpm.registration_id(), tpm.endorsement_chain(&vendor));
    if has_registered {
        scene.world.enroll_group("tpms", draft(issuers(Some(vendor.der()), None)));
        let keys = tpm_keys(&tpm, shown.clone());
        let blob = scene.world.challenge(&id, keys).expect("enrolled");
        tpm.activate(&blob).expect("for this one");
        let answer = Evidence::Sas(tpm_token(&tpm, &id));
        let answered = scene.world.register(request(&id, answer));
        assert!(matches!(answered, Decision::Settle(_)), "{answered:?}");
    } else {
        scene.world.enroll(&id, draft(by_tpm(&tpm)));
    }
    let deed = scene.act(&id, intent);
    let how = format!("{intent:?}, registered: {has_registered}");
    assert_eq!(names(&deed.parts), expected, "{how}");
    let ban = BanSubject::EndorsementKey(sha256(&tpm.endorsement_key())).key();
    let is_banned = scene.world.bans.get(&ban).map(|ban| ban.kind);
    let is_revoked = intent == Intent::Revoke;
    assert_eq!(is_banned, is_revoked.then_some(BanKind::Revoked), "{how}");
    scene.world.enroll("twin", draft(by_tpm(&tpm)));
    let challenged = scene.world.challenge("twin", tpm_keys(&tpm, shown)).map(drop);
    let refusal = DeviceRefusal::Banned { ban, is_tpm: true };
    assert_eq!(challenged, if is_revoked { Err(refusal) } else { Ok(()) }, "{how}");
}

#[test]
fn a_revoked_tpm_comes_back_under_no_other_name_whether_it_was_shown_or_only_enrolled() {
    check_tpm(true, Intent::Suspend, &["ban set", "identity disabled"]);
    check_tpm(true, Intent::Retire, &["ban set", "record deleted", "identity deleted"]);
    let parts = ["ban set", "ban set", "record deleted", "identity deleted"];
    check_tpm(true, Intent::Revoke, &parts);
    check_tpm(false, Intent::Suspend, &["ban set", "enrollment disabled"]);
    check_tpm(false, Intent::Retire, &["ban set", "enrollment deleted"]);
    check_tpm(false, Intent::Revoke, &["ban set", "ban set", "enrollment deleted"]);
}

#[test]
fn doing_it_twice_changes_nothing() {
    for intent in INTENTS {
        for id in EVERYBODY {
            let mut scene = Scene::new();
            scene.act(id, intent);
            let again = scene.decided(id, intent, 1);
            assert!(again.is_nothing(), "{intent:?} {id}: {again:?}");
            assert_eq!(again, Deed::default(), "{intent:?} {id}");
        }
    }
    let again = Scene::new().decided(OF_ITSELF, Intent::Reinstate, 0);
    assert!(again.is_nothing(), "nothing was suspended");
}

#[test]
fn a_plan_tells_what_the_deed_would_touch() {
    let scene = Scene::new();
    let read = scene.register_facts(OF_ITSELF);
    let subject = DeviceSubject::Registration(name::id(OF_ITSELF));
    let facts = scene.device_facts(&subject, &read, &[]);
    let deed = scene.decided(OF_ITSELF, Intent::Retire, 0);
    let plan = planned(&facts, &deed, 2, without_prospects());
    assert_eq!((plan.is_unchanged, plan.has_individual, plan.n_sessions), (false, true, 2));
    assert_eq!(plan.enrollment, Some(EnrollmentRef::Individual(name::id(OF_ITSELF))));
    assert_eq!(plan.bans, [registration_key(&name::id(OF_ITSELF))]);
    let identities: Vec<_> =
        plan.identities.iter().map(|one| (one.device_id.as_str(), one.is_remote)).collect();
    assert_eq!(identities, [(OF_ITSELF, false)]);
    let nothing = planned(&facts, &Deed::default(), 0, without_prospects());
    assert!(nothing.is_unchanged && nothing.bans.is_empty() && nothing.identities.is_empty());
}

#[test]
fn no_weaker_intent_weakens_a_ban() {
    use Intent::{Reinstate, Retire, Revoke, Suspend};
    let check = |intents: &[Intent], expected: Option<BanKind>| {
        for id in EVERYBODY {
            let mut scene = Scene::new();
            for intent in intents {
                scene.act(id, *intent);
            }
            assert_eq!(scene.ban(id), expected, "{intents:?} {id}");
            assert_eq!(scene.registers(id), expected.is_none() && id != NOBODY, "{intents:?} {id}");
        }
    };
    check(&[Revoke, Suspend], Some(BanKind::Revoked));
    check(&[Revoke, Retire], Some(BanKind::Revoked));
    check(&[Revoke, Suspend, Reinstate], Some(BanKind::Revoked));
    check(&[Suspend, Revoke, Reinstate], Some(BanKind::Revoked));
    check(&[Suspend, Retire, Reinstate], Some(BanKind::Retired));
    // Whoever is suspended on top of being retired stays out by an enrollment of its own, too;
    // undone, it is as it was.
    check(&[Retire, Suspend], Some(BanKind::Suspended));
    check(&[Retire, Suspend, Reinstate], Some(BanKind::Retired));
}

#[test]
fn a_ban_that_would_end_by_itself_is_prolonged_and_put_back() {
    let mut scene = Scene::new();
    let subject = BanSubject::Registration(name::id(OF_GROUP));
    scene.world.ban(subject.clone(), BanKind::Revoked);
    let mut ban = scene.world.bans[&subject.key()].clone();
    ban.expires = Some(scene.world.now.plus_secs(3_600));
    let expires = ban.expires;
    scene.world.apply(ChangeSet::new().with(Change::PutBan(Box::new(ban))));
    scene.act(OF_GROUP, Intent::Suspend);
    let ban = &scene.world.bans[&subject.key()];
    assert_eq!((ban.kind, ban.expires), (BanKind::Revoked, None));
    // Its kind names no suspension, so the receipt has to be named.
    let read = scene.register_facts(OF_GROUP);
    let device_subject = DeviceSubject::Registration(name::id(OF_GROUP));
    let facts = scene.device_facts(&device_subject, &read, &[]);
    let facts = DeviceFacts { suspended: Some(&scene.items[0]), ..facts };
    let (receipt, by) = (receipt(9), by());
    let act = Act { intent: Intent::Reinstate, reason: None, by: &by, receipt: &receipt };
    let undone = device(&facts, &act, 1, scene.world.now, &fresh(9));
    scene.world.commit(undone.changes).expect("nothing has changed");
    let ban = &scene.world.bans[&subject.key()];
    assert_eq!((ban.kind, ban.expires), (BanKind::Revoked, expires));
}

#[test]
fn a_reinstatement_undoes_what_the_suspension_did() {
    for id in [OF_GROUP, OF_ITSELF, BY_CERTIFICATE] {
        let mut scene = Scene::new();
        scene.act(id, Intent::Suspend);
        assert_eq!(scene.identity(id), Some(DeviceStatus::Disabled), "{id}");
        let undone = scene.act(id, Intent::Reinstate);
        assert!(!names(&undone.parts).contains(&"left alone"), "{id}: {undone:?}");
        assert_eq!((scene.ban(id), scene.identity(id)), (None, Some(DeviceStatus::Enabled)));
        assert!(scene.registers(id), "{id}");
    }
}

#[test]
fn what_somebody_else_wrote_since_is_left_alone() {
    let mut scene = Scene::new();
    scene.act(OF_ITSELF, Intent::Suspend);
    // Another operator writes both, and leaves them disabled.
    let own = name::key(OWN_KEY);
    let rewritten = Draft {
        provisioning_status: Sent::Value(ProvisioningStatus::Disabled),
        ..draft(keys(&own, &own))
    };
    scene.world.enroll(OF_ITSELF, rewritten);
    let id = DeviceId::from(&name::id(OF_ITSELF));
    let found = scene.world.devices.iter().find(|((_, known), _)| *known == id);
    let ((hub, _), device) = found.expect("an identity");
    let (hub, mut identity) = (hub.clone(), device.identity.clone());
    identity.status_reason = Some("by me".to_owned());
    scene.world.apply(ChangeSet::new().with(Change::PutIdentity(hub, Box::new(identity))));
    let undone = scene.act(OF_ITSELF, Intent::Reinstate);
    assert_eq!(names(&undone.parts), ["ban lifted", "left alone", "left alone"]);
    assert_eq!(scene.identity(OF_ITSELF), Some(DeviceStatus::Disabled));
    assert!(!scene.registers(OF_ITSELF));
}

#[test]
fn what_is_written_meanwhile_makes_it_be_decided_again() {
    let check = |write: fn(&mut World), how: &str| {
        for intent in INTENTS {
            let mut scene = Scene::new();
            let deed = scene.decided(OF_GROUP, intent, 0);
            write(&mut scene.world);
            scene.world.commit(deed.changes).expect_err(how);
        }
    };
    let own = |world: &mut World| {
        let key = name::key(OWN_KEY);
        world.enroll(OF_GROUP, draft(keys(&key, &key)));
    };
    check(own, "an enrollment of its own");
    let ban = |world: &mut World| {
        world.ban(BanSubject::Registration(name::id(OF_GROUP)), BanKind::Revoked);
    };
    check(ban, "a ban");
    let record = |world: &mut World| {
        let record = world.records[name::id(OF_GROUP).key()].clone();
        world.apply(ChangeSet::new().with(Change::PutRecord(Box::new(record))));
    };
    check(record, "a record");
    let identity = |world: &mut World| {
        let id = DeviceId::from(&name::id(OF_GROUP));
        let found = world.devices.iter().find(|((_, known), _)| *known == id);
        let ((hub, _), device) = found.expect("an identity");
        let (hub, identity) = (hub.clone(), device.identity.clone());
        world.apply(ChangeSet::new().with(Change::PutIdentity(hub, Box::new(identity))));
    };
    check(identity, "an identity");
}

#[test]
fn a_status_reason_names_the_receipt_and_is_as_long_as_a_hub_takes() {
    let id = receipt(1);
    assert_eq!(status_reason(&id, None), format!("suspended ({id})"));
    assert_eq!(status_reason(&id, Some("stolen")), format!("suspended ({id}): stolen"));
    let long = status_reason(&id, Some(&"ä".repeat(500)));
    assert_eq!(long.chars().count(), 128);
    assert!(long.starts_with(&format!("suspended ({id}): ä")));
}
