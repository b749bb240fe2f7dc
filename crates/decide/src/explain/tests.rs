//! What operators read of decisions.

mod remedies;

use model::{
    ApiVersion, BanKind, BanSubject, DeviceId, EnrollmentGroupId, Failure, ProvisioningStatus,
    RegisterRequest, RegistrationId, Sent,
};
use testkit::{Ca, Credential, Profile};

use super::*;
use crate::{
    register::{Decision, Prepared, register},
    scenes::{World, chain, client, draft, keys, name, request, signing, token},
};

fn asked(id: &str) -> AttemptAsked {
    AttemptAsked::Register {
        registration_id: name::id(id),
        api_version: Some(ApiVersion::V2021_06_01),
    }
}

/// Decides about a request in a world, and explains that.
fn explained(world: &World, request: RegisterRequest) -> Explanation {
    let asked = AttemptAsked::Register {
        registration_id: request.registration_id.clone(),
        api_version: Some(request.api_version),
    };
    let prepared = Prepared::new(request, &world.settings.attest.limits).expect("parses");
    let facts = world.facts(&prepared.query());
    let random = testkit::fresh(1);
    let decided = register(&facts, &prepared, &world.settings, world.now, &random);
    let outcome = match &decided.answer {
        Decision::Refuse(refusal) => AttemptOutcome::Refused(refusal.clone()),
        Decision::Settle(settlement) => AttemptOutcome::of_record(&settlement.record),
        Decision::Ask(question) => panic!("{question:?}"),
    };
    explain(&asked, &decided.steps, &outcome, None)
}

/// The one check: all that is said of it, line by line, the remedy last.
#[track_caller]
fn check(world: &World, request: RegisterRequest, expected: &str) {
    let Explanation { mut steps, outcome, remedy, .. } = explained(world, request);
    steps.push(outcome);
    steps.extend(remedy);
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(steps, expected);
}

/// A root, a line below it and a press below that.
struct Factory {
    root: Ca,
    line: Ca,
    press: Credential,
}

fn factory() -> Factory {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let press = line.leaf("press-17");
    Factory { root, line, press }
}

#[test]
fn an_admission_names_what_vouched_and_who_decided() {
    let Factory { root, press, .. } = factory();
    let mut world = World::default();
    world.hubs.hubs.truncate(1);
    world.enroll_group("works", draft(signing(Some(root.der()), None)));
    check(
        &world,
        request("press-17", chain(press.chain())),
        "There is no individual enrollment of `press-17`.
         One group for devices with certificates comes into question.
         The CA `CN=line-4` on the way up the chain has no group; the way goes on to its issuer.
         The device did not present `CN=root`; it was taken from the certificates here.
         The group `works` decides, by CN=root.
         The device proved itself by a chain to CN=root.
         These hubs come into question: `hub-1.example.test`.
         The policy `hashed` chose the hub `hub-1.example.test`.
         `press-17` was assigned to `hub-1.example.test` as `press-17`.",
    );
}

#[test]
fn a_disabled_entry_is_named_with_what_to_do() {
    let mut off = draft(keys(&name::key(1), &name::key(2)));
    off.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    let mut world = World::default();
    world.enroll("press-17", off);
    check(
        &world,
        request("press-17", token("press-17", &name::key(2))),
        "There is an individual enrollment of `press-17`.
         It decides, whatever groups there are; it wants a token signed with one of its keys.
         The device proved itself by the secondary key.
         The enrollment that decides is disabled.
         `press-17` proved itself and was told that its enrollment is disabled.
         Enable the individual enrollment of `press-17`.",
    );
}

#[test]
fn whoever_is_not_enrolled_is_told_which_ca_could_be() {
    let Factory { line, press, .. } = factory();
    let world = World::default();
    check(
        &world,
        request("press-17", chain(press.chain())),
        "There is no individual enrollment of `press-17`.
         No group for devices with certificates comes into question.
         The CA `CN=line-4` on the way up the chain has no group; the way goes on to its issuer.
         The way up the chain ends at `CN=line-4`: its issuer is not known here.
         `press-17` was refused: no enrollment matches.
         Create a group for one of these CAs: `CN=line-4`; or an individual enrollment of \
         `press-17`.",
    );
    let mut world = World::default();
    let other = Credential::self_signed(Profile::leaf("press-17"));
    world.enroll("press-17", draft(client(Some(other.der()), None)));
    world.enroll_group("line-4", draft(signing(Some(line.der()), None)));
    check(
        &world,
        request("press-17", chain(press.chain())),
        "There is an individual enrollment of `press-17`.
         It decides, whatever groups there are; it wants one of its certificates.
         The proof failed: the certificate is neither the enrolled primary nor the secondary.
         `press-17` was refused: attestation failed: the certificate is neither the enrolled primary \
         nor the secondary.
         Put the device's present certificate into the individual enrollment of `press-17`, as the \
         secondary if need be.",
    );
}

#[test]
fn a_ban_is_named_by_its_key() {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    world.ban(BanSubject::Registration(name::id("press-17")), BanKind::Revoked);
    check(
        &world,
        request("press-17", token("press-17", &name::key(1))),
        "There is an individual enrollment of `press-17`.
         The ban `registration:press-17` keeps the device out.
         `press-17` was refused: banned: registration:press-17.
         Lift the ban `registration:press-17` if the device is to come back; nothing else undoes it.",
    );
}

#[test]
fn the_entry_that_decided_is_found_in_the_steps() {
    let individual = |id: &str| Step::IndividualDecides {
        registration_id: RegistrationId::parse(id).expect("legal"),
        kind: AttestationKind::SymmetricKey,
    };
    let group = |id: &str| Step::GroupDecides {
        group_id: EnrollmentGroupId::parse(id).expect("legal"),
        by: "CN=root".to_owned(),
    };
    let check = |steps: &[Step], expected: Option<EnrollmentRef>| {
        assert_eq!(deciding_entry(steps), expected);
    };
    check(&[], None);
    check(&[Step::EnrollmentDisabled], None);
    let works = EnrollmentRef::Group(name::group("works"));
    check(&[group("works"), Step::EnrollmentDisabled], Some(works));
    // A group may vouch for a device that its own disabled entry shuts out.
    let press = EnrollmentRef::Individual(name::id("press-17"));
    check(&[individual("press-17"), group("works")], Some(press));
}

#[test]
fn an_outcome_says_what_to_do_where_it_is_not_wanted() {
    let hub = name::hub("hub-1");
    let device_id = DeviceId::parse("press-17").expect("legal");
    let group = EnrollmentRef::Group(name::group("line-4"));
    let check = |outcome: AttemptOutcome, expected: Option<&str>| {
        let told = explain(&asked("press-17"), &[], &outcome, Some(&group));
        assert_eq!(told.remedy.as_deref(), expected, "{outcome:?}");
    };
    check(AttemptOutcome::Disabled, Some("Enable the group `line-4`."));
    let failure =
        Failure { code: 400_208, message: "No IoT hub could be chosen: none.".to_owned() };
    check(
        AttemptOutcome::Failed(failure),
        Some(
            "See that a hub is linked which the group `line-4` may choose, and that its webhook and \
             initial twin, if it has any, are in order.",
        ),
    );
    check(AttemptOutcome::Fault, Some("Look for the tracking ID in the service's log."));
    check(AttemptOutcome::Challenged, None);
    let (to, id) = (hub.clone(), device_id.clone());
    check(AttemptOutcome::Assigning { hub: to, device_id: id }, None);
    check(AttemptOutcome::Assigned { hub, device_id }, None);
}
