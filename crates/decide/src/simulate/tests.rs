//! What is said of a change before it is made is what comes of it.
//!
//! The oracle makes the change in a copy of the world and lets every device knock, before and after.

use model::{GroupQuery, KnownProof};
use proptest::prelude::*;
use testkit::Ca;

use super::*;
use crate::{
    ban::tests::{
        Heard,
        doors::{Act, EVERYONE, STORED, Scene, Who, acts, material},
    },
    scenes::{World, chain, draft, keys, name, request, signing, token},
};

/// The entry that admits a device which knocks now.
fn admitting(scene: &Scene, who: Who) -> Option<EnrollmentRef> {
    let mut scene = scene.clone();
    let heard = scene.knock(who);
    let id = name::id(&material().id(who));
    (heard == Heard::Assigned).then(|| scene.world.records[id.key()].enrollment.clone())
}

/// What an act is, as a change that is thought of; nothing for what is none.
fn hypothesis(act: Act, after: &World) -> Option<Hypothesis> {
    let named = |entry| material().entry(entry).0;
    Some(match act {
        Act::Put(entry, _) => match named(entry) {
            EnrollmentRef::Individual(id) => {
                Hypothesis::PutIndividual(Box::new(after.individuals[id.key()].clone()))
            }
            EnrollmentRef::Group(id) => {
                Hypothesis::PutGroup(Box::new(after.groups[id.key()].clone()))
            }
        },
        Act::Delete(entry) => match named(entry) {
            EnrollmentRef::Individual(id) => Hypothesis::DeleteIndividual(id),
            EnrollmentRef::Group(id) => Hypothesis::DeleteGroup(id),
        },
        Act::PutCa(_) => Hypothesis::PutCaCertificate(Box::new(after.cas[STORED].clone())),
        Act::DeleteCa => Hypothesis::DeleteCaCertificate(STORED.to_owned()),
        Act::Ban(subject, ..) => {
            let key = material().subject(subject).key();
            Hypothesis::PutBan(Box::new(after.bans[&key].clone()))
        }
        Act::Lift(subject) => Hypothesis::LiftBan(material().subject(subject).key()),
        Act::DeleteRecord(_) | Act::Wait(_) | Act::Knock(_) => return None,
    })
}

fn play(history: &[Act], change: &[Act]) {
    let mut before = Scene::new();
    for act in history {
        before.act(*act);
        if let Act::Knock(who) = act {
            before.knock(*who);
        }
    }
    let mut after = before.clone();
    let mut hypotheses = Vec::new();
    for act in change {
        if matches!(act, Act::DeleteRecord(_) | Act::Wait(_)) {
            continue;
        }
        after.act(*act);
        hypotheses.extend(hypothesis(*act, &after.world));
    }
    // Whoever puts a group that refers to a CA certificate says what that is, and the other way
    // round.
    let stored = before.world.cas.values().cloned();
    let referred = stored.map(|ca| Hypothesis::PutCaCertificate(Box::new(ca)));
    let referring = before.world.groups.get(name::group("reference").key()).cloned();
    let referring = referring.map(|group| Hypothesis::PutGroup(Box::new(group)));
    let hypotheses: Vec<Hypothesis> = referred.chain(referring).chain(hypotheses).collect();
    let settings = &before.world.settings.attest;
    for who in EVERYONE {
        let id = name::id(&material().id(who));
        let Some(grounds) = before.world.grounds.get(id.key()) else { continue };
        let query = query(&id, grounds, &hypotheses, &settings.limits).expect("readable");
        let facts = before.world.facts(&query);
        let said = effect(&facts, &hypotheses, settings, before.world.now);
        if matches!(said, Effect::Unknown(Unknown::NoKey)) {
            continue;
        }
        let expected = match (admitting(&before, who), admitting(&after, who)) {
            (None, None) => Effect::Unchanged,
            (Some(was), None) => Effect::Loses { was },
            (None, Some(by)) => Effect::Gains { by },
            (Some(from), Some(to)) if from == to => Effect::Unchanged,
            (Some(from), Some(to)) => Effect::Moves { from, to },
        };
        assert_eq!(said, expected, "{who:?} after {history:?}, by {change:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn what_is_said_of_a_change_is_what_comes_of_it(
        history in prop::collection::vec(acts(), 4..30),
        change in prop::collection::vec(acts(), 1..5),
    ) {
        play(&history, &change);
    }
}

/// A press with groups for the line it stands in and for the works, and what is said of a change.
fn check(change: impl Fn(&World) -> Hypothesis, expected: Effect) {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let device = line.leaf("press-17");
    let mut world = World::default();
    world.enroll_group("works", draft(signing(Some(root.der()), None)));
    world.enroll_group("line-4", draft(signing(Some(line.der()), None)));
    world.register(request("press-17", chain(device.chain())));
    let id = name::id("press-17");
    let changes = [change(&world)];
    let grounds = &world.grounds[id.key()];
    let settings = &world.settings.attest;
    let query = query(&id, grounds, &changes, &settings.limits).expect("readable");
    let facts = world.facts(&query);
    assert_eq!(effect(&facts, &changes, settings, world.now), expected);
}

fn group(id: &str) -> EnrollmentRef {
    EnrollmentRef::Group(name::group(id))
}

#[test]
fn a_device_comes_back_through_the_next_group_when_the_first_is_deleted_not_when_disabled() {
    let moves = Effect::Moves { from: group("line-4"), to: group("works") };
    check(|_| Hypothesis::DeleteGroup(name::group("line-4")), moves);
    let switch_off = |world: &World| {
        let group = &world.groups[name::group("line-4").key()];
        Hypothesis::switch_group(group, ProvisioningStatus::Disabled)
    };
    check(switch_off, Effect::Loses { was: group("line-4") });
    check(|_| Hypothesis::DeleteGroup(name::group("works")), Effect::Unchanged);
}

#[test]
fn what_cannot_be_known_is_not_guessed() {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    let settings = world.settings.attest.clone();
    let id = name::id("press-17");
    let facts = |world: &World| {
        let is_primary = true;
        let grounds = Grounds { proof: KnownProof::Key { is_primary }, path: Vec::new() };
        world.facts(&Known::query(&id, &grounds, &settings.limits).expect("readable"))
    };
    let said = |facts: &RegisterFacts| effect(facts, &[], &settings, testkit::NOW);
    assert_eq!(said(&facts(&world)), Effect::Unknown(Unknown::NotRegistered));
    world.register(request("press-17", token("press-17", &name::key(1))));
    assert_eq!(said(&facts(&world)), Effect::Unchanged);
    let old = RegisterFacts { grounds: None, ..facts(&world) };
    assert_eq!(said(&old), Effect::Unknown(Unknown::NotKept));
    world.individuals.clear();
    world.devices.clear();
    assert_eq!(said(&facts(&world)), Effect::Unknown(Unknown::NoKey));
}

#[test]
fn what_a_change_puts_is_asked_about_too() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let mut world = World::default();
    world.enroll_group("works", draft(signing(Some(line.der()), None)));
    let put = Hypothesis::PutGroup(Box::new(world.groups[name::group("works").key()].clone()));
    let chain = line.leaf("press-17").alone();
    let grounds = Grounds { proof: KnownProof::Certificates(chain), path: Vec::new() };
    let limits = &world.settings.attest.limits;
    let asked = query(&name::id("press-17"), &grounds, &[put], limits).expect("readable");
    let described = certificate::describe(line.der()).expect("a certificate");
    let GroupQuery::ByCa { subjects } = &asked.groups else { panic!("{asked:?}") };
    assert!(subjects.contains(&described.keys.issuer));
    let known = certificate::path_certificate(&described);
    assert!(known.ban_keys().iter().all(|key| asked.ban_keys.contains(key)));
    assert!(asked.serials.contains(&(known.issuer, known.serial)));
}
