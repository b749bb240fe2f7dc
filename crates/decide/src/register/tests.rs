//! The rules of provisioning, as claims.

mod oracle;

use model::{
    AllocationPolicy, AttestFailure, AttestationDraft, AuthenticationKind, CustomAllocation,
    DeviceRefusal, DeviceStatus, Draft, Evidence, IndividualDraft, Json, ProvisioningStatus,
    RegisterRequest, ReprovisionPolicy, Sent, SymmetricKey,
};
use testkit::{Ca, Credential, Profile};

use super::*;
use crate::scenes::{World, chain, client, draft, keys, linked, name, request, signing, token};

/// What a device hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Assigned,
    Disabled,
    Failed(i32),
    Refused(DeviceRefusal),
    Asked,
}

fn heard(decision: &Decision) -> Heard {
    match decision {
        Decision::Refuse(refusal) => Heard::Refused(refusal.clone()),
        Decision::Ask(_) => Heard::Asked,
        Decision::Settle(settlement) => match &settlement.record.status {
            RegistrationStatus::Assigned => Heard::Assigned,
            RegistrationStatus::Disabled => Heard::Disabled,
            RegistrationStatus::Failed => {
                Heard::Failed(settlement.record.failure.as_ref().expect("a failure").code)
            }
            RegistrationStatus::Assigning => panic!("nothing stays assigning"),
        },
    }
}

/// The one check: this request, in this world, hears this.
fn check(world: &mut World, request: RegisterRequest, expected: Heard) {
    let decision = world.register(request);
    assert_eq!(heard(&decision), expected);
    world.check_invariants();
}

fn not_attested(failure: AttestFailure) -> Heard {
    Heard::Refused(DeviceRefusal::NotAttested(failure))
}

impl World {
    /// No record without its identity.
    fn check_invariants(&self) {
        for record in self.records.values() {
            if let (RegistrationStatus::Assigned, Some(a)) = (record.status, &record.assignment) {
                let at = (a.hub.clone(), a.device_id.clone());
                assert!(self.devices.contains_key(&at), "{record:?} has no identity");
            }
        }
    }

    fn only_device(&self) -> &Device {
        assert_eq!(self.devices.len(), 1, "one device on one hub");
        self.devices.values().next().expect("one device")
    }

    fn hub_of(&self, id: &str) -> HubName {
        let record = self.records.get(name::id(id).key()).expect("a record");
        record.assignment.as_ref().expect("an assignment").hub.clone()
    }
}

/// A root, an intermediate below it, and a device below that.
struct Factory {
    root: Ca,
    intermediate: Ca,
    device: Credential,
}

impl Factory {
    fn new() -> Self {
        let root = Ca::root("root");
        let intermediate = root.intermediate("line-4");
        let device = intermediate.leaf("press-17");
        Self { root, intermediate, device }
    }

    fn on_intermediate(&self) -> AttestationDraft {
        signing(Some(self.intermediate.der()), None)
    }

    fn on_root(&self) -> AttestationDraft {
        signing(Some(self.root.der()), None)
    }

    fn knocks(&self) -> RegisterRequest {
        request("press-17", chain(self.device.chain()))
    }
}

fn disabled(mut draft: Draft) -> Draft {
    draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    draft
}

fn by_key(id: &str, key: &SymmetricKey) -> RegisterRequest {
    request(id, token(id, key))
}

fn one_key() -> Draft {
    draft(keys(&name::key(1), &name::key(2)))
}

#[test]
fn a_device_of_an_individual_enrollment_is_assigned_by_either_key() {
    for key in [name::key(1), name::key(2)] {
        let mut world = World::default();
        world.enroll("press-17", one_key());
        check(&mut world, by_key("press-17", &key), Heard::Assigned);
        let identity = &world.only_device().identity;
        assert_eq!(identity.device_id.as_str(), "press-17");
        assert_eq!(identity.authentication.kind, AuthenticationKind::Sas);
        let on_hub = identity.authentication.keys.as_ref().expect("keys");
        assert_eq!((&on_hub.primary, &on_hub.secondary), (&name::key(1), &name::key(2)));
    }
}

#[test]
fn a_wrong_key_another_devices_token_and_an_expired_one_are_refused() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    let wrong = by_key("press-17", &name::key(9));
    check(&mut world, wrong, not_attested(AttestFailure::BadSignature));
    let stolen = request("press-17", token("press-18", &name::key(1)));
    check(&mut world, stolen, not_attested(AttestFailure::WrongResource));
    world.now = world.now.plus_secs(3600 + 301);
    let late = by_key("press-17", &name::key(1));
    check(&mut world, late, not_attested(AttestFailure::TokenExpired));
    assert!(world.records.is_empty(), "a caller who proves nothing leaves nothing");
}

#[test]
fn nobody_enrolled_means_nobody_admitted() {
    let factory = Factory::new();
    let mut world = World::default();
    let not_enrolled = Heard::Refused(DeviceRefusal::NotEnrolled);
    check(&mut world, by_key("press-17", &name::key(1)), not_enrolled.clone());
    check(&mut world, factory.knocks(), not_enrolled);
    let tpm = Evidence::Tpm(model::TpmKeys {
        endorsement_key: vec![1],
        storage_root_key: None,
        endorsement_certificates: Vec::new(),
    });
    let tpm_not_enrolled = Heard::Refused(DeviceRefusal::TpmNotEnrolled);
    check(&mut world, request("press-17", tpm), tpm_not_enrolled);
    let nothing = request("press-17", Evidence::Nothing);
    check(&mut world, nothing, not_attested(AttestFailure::NoEvidence));
}

#[test]
fn a_disabled_individual_enrollment_refuses_its_device_and_marks_the_record() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    world.switch("press-17", ProvisioningStatus::Disabled);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Disabled);
    let identity = &world.only_device().identity;
    assert_eq!(identity.status, DeviceStatus::Enabled, "disenrolling never touches the hub");
    world.switch("press-17", ProvisioningStatus::Enabled);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
}

#[test]
fn a_disabled_enrollment_is_not_told_to_those_who_prove_nothing() {
    let mut world = World::default();
    world.enroll("press-17", disabled(one_key()));
    let wrong = by_key("press-17", &name::key(9));
    check(&mut world, wrong, not_attested(AttestFailure::BadSignature));
}

#[test]
fn deleting_an_individual_enrollment_refuses_its_device() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    world.disenroll("press-17");
    let not_enrolled = Heard::Refused(DeviceRefusal::NotEnrolled);
    check(&mut world, by_key("press-17", &name::key(1)), not_enrolled);
    assert!(world.records.is_empty(), "the record goes with the enrollment");
    assert_eq!(world.devices.len(), 1, "the identity stays");
}

#[test]
fn a_group_on_the_intermediate_admits_by_chain_and_by_leaf_alone() {
    let factory = Factory::new();
    for evidence in
        [factory.device.chain(), factory.device.alone(), factory.device.chain_with_root()]
    {
        let mut world = World::default();
        world.enroll_group("line-4", draft(factory.on_intermediate()));
        check(&mut world, request("press-17", chain(evidence)), Heard::Assigned);
        let authentication = &world.only_device().identity.authentication;
        assert_eq!(authentication.kind, AuthenticationKind::SelfSigned);
        assert_eq!(authentication.primary_thumbprint, authentication.secondary_thumbprint);
    }
}

#[test]
fn both_certificate_slots_of_a_group_count() {
    let factory = Factory::new();
    let other = Ca::root("other");
    let mut world = World::default();
    let both = signing(Some(other.der()), Some(factory.intermediate.der()));
    world.enroll_group("line-4", draft(both));
    check(&mut world, factory.knocks(), Heard::Assigned);
}

#[test]
fn the_first_certificate_with_a_group_decides_even_when_disabled() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("all", draft(factory.on_root()));
    check(&mut world, factory.knocks(), Heard::Assigned);
    world.enroll_group("line-4", disabled(draft(factory.on_intermediate())));
    check(&mut world, factory.knocks(), Heard::Disabled);
    let alone = request("press-17", chain(factory.device.alone()));
    check(&mut world, alone, Heard::Disabled);
    world.disenroll_group("line-4");
    check(&mut world, factory.knocks(), Heard::Assigned);
    world.disenroll_group("all");
    check(&mut world, factory.knocks(), Heard::Refused(DeviceRefusal::NotEnrolled));
    assert_eq!(world.records.len(), 1, "a group's records stay behind");
}

#[test]
fn a_reissued_certificate_of_a_disabled_ca_does_not_step_around_its_group() {
    let factory = Factory::new();
    let reissued = factory.intermediate.cross_signed_by(&factory.root);
    let mut world = World::default();
    world.enroll_group("all", draft(factory.on_root()));
    world.enroll_group("line-4", disabled(draft(factory.on_intermediate())));
    let mut certificates = factory.device.alone();
    certificates.push(model::CertificateDer(reissued.der().to_vec()));
    check(&mut world, request("press-17", chain(certificates)), Heard::Disabled);
}

#[test]
fn one_device_of_a_group_is_excluded_by_its_certificate() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", draft(factory.on_intermediate()));
    world.enroll("press-17", disabled(draft(client(Some(factory.device.der()), None))));
    check(&mut world, factory.knocks(), Heard::Disabled);
    let neighbour = factory.intermediate.leaf("press-18");
    check(&mut world, request("press-18", chain(neighbour.chain())), Heard::Assigned);
}

#[test]
fn one_device_of_a_group_is_excluded_without_its_certificate_and_comes_back() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", draft(factory.on_intermediate()));
    world.enroll("press-17", disabled(one_key()));
    check(&mut world, factory.knocks(), Heard::Disabled);
    world.disenroll("press-17");
    check(&mut world, factory.knocks(), Heard::Assigned);
}

#[test]
fn an_enabled_entry_of_another_kind_shadows_the_group() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", draft(factory.on_intermediate()));
    world.enroll("press-17", one_key());
    check(&mut world, factory.knocks(), not_attested(AttestFailure::WrongKind));
}

#[test]
fn a_disabled_group_spares_devices_with_their_own_enabled_enrollment() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", disabled(draft(factory.on_intermediate())));
    world.enroll("press-17", draft(client(None, Some(factory.device.der()))));
    check(&mut world, factory.knocks(), Heard::Assigned);
}

#[test]
fn the_common_name_must_be_the_registration_id_in_any_letter_case() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", draft(factory.on_intermediate()));
    let other = request("press-18", chain(factory.device.chain()));
    assert!(matches!(
        world.register(other),
        Decision::Refuse(DeviceRefusal::NotAttested(AttestFailure::CommonName(_)))
    ));
    check(&mut world, request("PRESS-17", chain(factory.device.chain())), Heard::Assigned);
}

#[test]
fn expired_certificates_are_refused_wherever_they_stand() {
    let root = Ca::root("root");
    let intermediate = root.intermediate("line-4");
    let expired = intermediate.issue(Profile::leaf("press-17").expired());
    let mut world = World::default();
    world.enroll_group("line-4", draft(signing(Some(intermediate.der()), None)));
    let decision = world.register(request("press-17", chain(expired.chain())));
    assert!(matches!(
        decision,
        Decision::Refuse(DeviceRefusal::NotAttested(AttestFailure::Expired(_)))
    ));
    let old = root.issue_ca(Profile::ca("old line").expired());
    let device = old.leaf("press-18");
    world.enroll_group("old", draft(signing(Some(old.der()), None)));
    let decision = world.register(request("press-18", chain(device.chain())));
    assert!(matches!(decision, Decision::Refuse(DeviceRefusal::NotAttested(_))), "{decision:?}");
}

#[test]
fn a_group_key_admits_derived_keys_and_not_itself() {
    let mut world = World::default();
    world.enroll_group("line-4", one_key());
    for group_key in [name::key(1), name::key(2)] {
        let device_key = attest::sas::derive(&group_key, "Press-17");
        check(&mut world, by_key("Press-17", &device_key), Heard::Assigned);
    }
    let lower = attest::sas::derive(&name::key(1), "press-17");
    check(&mut world, by_key("PRESS-17", &lower), Heard::Assigned);
    let master = by_key("press-17", &name::key(1));
    check(&mut world, master, Heard::Refused(DeviceRefusal::NotEnrolled));
}

#[test]
fn a_disabled_symmetric_key_group_refuses_its_devices() {
    let mut world = World::default();
    world.enroll_group("line-4", disabled(one_key()));
    let device_key = attest::sas::derive(&name::key(1), "press-17");
    check(&mut world, by_key("press-17", &device_key), Heard::Disabled);
}

#[test]
fn the_registration_limit_counts_orphans_and_spares_known_devices() {
    let mut world = World::default();
    world.settings.max_registrations = 1;
    world.enroll("press-17", one_key());
    world.enroll("press-18", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    let full = Heard::Refused(DeviceRefusal::TooManyRegistrations(1));
    check(&mut world, by_key("press-18", &name::key(1)), full);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
}

#[test]
fn the_webhook_is_asked_and_its_failure_is_told() {
    let mut world = World::default();
    let mut custom = one_key();
    custom.allocation_policy = Some(AllocationPolicy::Custom);
    custom.custom_allocation = Some(CustomAllocation {
        webhook_url: "https://hook.example.test/".to_owned(),
        api_version: "2021-10-01".to_owned(),
    });
    world.enroll("press-17", custom);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Asked);
    let prepared = Prepared::new(by_key("press-17", &name::key(1)), &world.settings.attest.limits)
        .expect("legal evidence");
    let facts = world.facts(&prepared.query());
    let said = Answer::Failed("Custom allocation failed with status code: 404".to_owned());
    let fresh = testkit::fresh(99);
    let resumed = resume(&facts, &prepared, &world.settings, world.now, &fresh, &said);
    assert_eq!(heard(&resumed.answer), Heard::Failed(400_207));
}

#[test]
fn static_allocation_goes_to_the_named_hub_and_fails_without_one() {
    let mut world = World::default();
    let mut named = one_key();
    named.allocation_policy = Some(AllocationPolicy::Static);
    named.iot_hubs = Some(vec!["HUB-2.example.test".to_owned()]);
    world.enroll("press-17", named);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_eq!(world.hub_of("press-17"), name::hub("hub-2"));
    let mut nameless = one_key();
    nameless.allocation_policy = Some(AllocationPolicy::Static);
    world.enroll("press-18", nameless);
    check(&mut world, by_key("press-18", &name::key(1)), Heard::Failed(400_208));
    let mut legacy = one_key();
    legacy.iot_hub_host_name = Some("hub-2.example.test".to_owned());
    world.enroll("press-19", legacy);
    check(&mut world, by_key("press-19", &name::key(1)), Heard::Assigned);
    assert_eq!(world.hub_of("press-19"), name::hub("hub-2"));
    let mut unlinked = one_key();
    unlinked.allocation_policy = Some(AllocationPolicy::Hashed);
    unlinked.iot_hubs = Some(vec!["gone.example.test".to_owned()]);
    world.enroll("press-20", unlinked);
    check(&mut world, by_key("press-20", &name::key(1)), Heard::Failed(400_208));
}

#[test]
fn the_enrollments_device_id_counts_at_first_and_not_before_the_record_is_gone() {
    let named = |device_id: &str| IndividualDraft {
        registration_id: name::id("press-17"),
        device_id: Some(DeviceId::parse(device_id).expect("legal")),
        optional_device_information: None,
        draft: one_key(),
    };
    let mut world = World::default();
    world.enroll_as(named("Press@17"));
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_eq!(world.only_device().identity.device_id.as_str(), "Press@17");
    world.enroll_as(named("renamed"));
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_eq!(world.only_device().identity.device_id.as_str(), "Press@17");
    world.apply(ChangeSet::new().with(Change::DeleteRecord(name::id("press-17"))));
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_eq!(world.devices.len(), 2, "the new device is made and the old one stays");
}

#[test]
fn an_identity_disabled_in_the_hub_stays_disabled() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    let (at, mut device) =
        world.devices.iter().next().map(|(at, d)| (at.clone(), d.clone())).expect("a device");
    device.identity.status = DeviceStatus::Disabled;
    world.apply(ChangeSet::new().with(Change::PutIdentity(at.0, Box::new(device.identity))));
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_eq!(world.only_device().identity.status, DeviceStatus::Disabled);
}

#[test]
fn an_identity_deleted_in_the_hub_is_made_again_for_an_enrolled_device() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    let generation = world.only_device().identity.generation_id.clone();
    world.devices.clear();
    world.now = world.now.plus_secs(1);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    assert_ne!(world.only_device().identity.generation_id, generation);
}

/// Moves the only hub away from under a device that has made something of its twin, and lets it
/// register again by this policy.
fn moved(policy: Option<ReprovisionPolicy>) -> (World, Decision) {
    let mut world = World::default();
    world.hubs.hubs = vec![linked(name::hub("hub-1"), 1)];
    let mut enrolled = one_key();
    enrolled.reprovision_policy = policy;
    enrolled.initial_twin = Some(Json::Object(vec![(
        "tags".to_owned(),
        Json::Object(vec![("from".to_owned(), Json::from("enrollment"))]),
    )]));
    world.enroll("press-17", enrolled);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    let mut device = world.only_device().clone();
    device.twin.tags.set("from", Json::from("operator"));
    world.apply(ChangeSet::new().with(Change::PutDevice(name::hub("hub-1"), Box::new(device))));
    world.hubs.hubs = vec![linked(name::hub("hub-2"), 1)];
    let decision = world.register(by_key("press-17", &name::key(1)));
    world.check_invariants();
    (world, decision)
}

fn check_moved(policy: Option<ReprovisionPolicy>, hub: &str, tag: &str, substatus: Substatus) {
    let (world, decision) = moved(policy);
    assert_eq!(heard(&decision), Heard::Assigned);
    assert_eq!(world.hub_of("press-17"), name::hub(hub));
    assert_eq!(world.only_device().twin.tags.get("from"), Some(&Json::from(tag)));
    let record = &world.records["press-17"];
    assert_eq!(record.assignment.as_ref().map(|a| a.substatus), Some(substatus));
}

fn reprovision(update: bool, migrate: bool) -> Option<ReprovisionPolicy> {
    Some(ReprovisionPolicy {
        update_hub_assignment: Some(update),
        migrate_device_data: Some(migrate),
    })
}

#[test]
fn a_device_that_moves_takes_its_twin_along_or_begins_anew() {
    check_moved(reprovision(true, true), "hub-2", "operator", Substatus::DeviceDataMigrated);
    check_moved(None, "hub-2", "operator", Substatus::DeviceDataMigrated);
    check_moved(reprovision(true, false), "hub-2", "enrollment", Substatus::DeviceDataReset);
}

#[test]
fn a_device_that_never_moves_stays_where_it_is() {
    for policy in [reprovision(false, false), reprovision(false, true)] {
        let mut world = World::default();
        world.hubs.hubs = vec![linked(name::hub("hub-1"), 1)];
        let mut enrolled = one_key();
        enrolled.reprovision_policy = policy;
        world.enroll("press-17", enrolled);
        check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
        world.hubs.hubs = vec![linked(name::hub("hub-1"), 0), linked(name::hub("hub-2"), 1)];
        check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
        assert_eq!(world.hub_of("press-17"), name::hub("hub-1"));
    }
}

#[test]
fn a_device_that_comes_back_to_its_first_hub_is_told_so() {
    let (mut world, _) = moved(reprovision(true, true));
    world.hubs.hubs = vec![linked(name::hub("hub-1"), 1)];
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    let assignment = world.records["press-17"].assignment.as_ref().expect("assigned");
    assert_eq!(assignment.substatus, Substatus::ReprovisionedToInitialAssignment);
}

#[test]
fn old_clients_without_a_policy_keep_their_hub() {
    let (mut world, _) = moved(None);
    world.hubs.hubs = vec![linked(name::hub("hub-1"), 1), linked(name::hub("hub-2"), 0)];
    let mut old = by_key("press-17", &name::key(1));
    old.api_version = model::ApiVersion::V2018_04_01;
    check(&mut world, old, Heard::Assigned);
    assert_eq!(world.hub_of("press-17"), name::hub("hub-2"));
}

#[test]
fn a_second_registration_without_a_move_writes_the_record_alone() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    match world.register(by_key("press-17", &name::key(1))) {
        Decision::Settle(settlement) => assert_eq!(settlement.changes.changes.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rolled_certificate_reaches_the_hub_with_the_next_registration() {
    let (old, new) = (
        Credential::self_signed(Profile::leaf("press-17")),
        Credential::self_signed(Profile::leaf("press-17")),
    );
    let mut world = World::default();
    world.enroll("press-17", draft(client(Some(old.der()), Some(new.der()))));
    check(&mut world, request("press-17", chain(old.alone())), Heard::Assigned);
    let before = world.only_device().identity.authentication.clone();
    check(&mut world, request("press-17", chain(new.alone())), Heard::Assigned);
    let after = world.only_device().identity.authentication.clone();
    assert_ne!(before.primary_thumbprint, after.primary_thumbprint);
    assert_eq!(before.primary_thumbprint, after.secondary_thumbprint);
}

#[test]
fn a_token_that_expires_during_the_polls_still_polls_and_no_other_does() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    let Decision::Settle(settlement) = world.register(by_key("press-17", &name::key(1))) else {
        panic!("settled");
    };
    let prepared = Prepared::new(by_key("press-17", &name::key(1)), &world.settings.attest.limits)
        .expect("legal evidence");
    let facts = world.facts(&prepared.query());
    let poll = |operation: &OperationId, now: Timestamp| {
        record::poll(&facts, &prepared, operation, &world.settings.attest, now)
    };
    let later = world.now.plus_secs(3600);
    assert!(poll(&settlement.operation, later).is_ok());
    let other = OperationId::parse("4.0.other").expect("legal");
    assert_eq!(poll(&other, world.now), Err(DeviceRefusal::UnknownOperation));
    let much_later = world.now.plus_secs(3600 + 301);
    assert_eq!(
        poll(&settlement.operation, much_later),
        Err(DeviceRefusal::NotAttested(AttestFailure::TokenExpired))
    );
}

#[test]
fn every_decision_tells_its_steps() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("all", draft(factory.on_root()));
    let prepared =
        Prepared::new(factory.knocks(), &world.settings.attest.limits).expect("legal evidence");
    let facts = world.facts(&prepared.query());
    let fresh = testkit::fresh(1);
    let decided = register(&facts, &prepared, &world.settings, world.now, &fresh);
    let told: Vec<String> = decided.steps.iter().map(|step| format!("{step:?}")).collect();
    let order = [
        "LookedUpIndividual",
        "LookedUpGroups",
        "CertificateWithoutGroup",
        "CompletedFromStore",
        "GroupDecides",
        "Attested",
        "CandidateHubs",
        "Allocated",
    ];
    let names: Vec<&str> =
        told.iter().map(|step| step.split([' ', '(', '{']).next().unwrap_or_default()).collect();
    assert_eq!(names, order, "{told:#?}");
}

#[test]
fn a_leaf_that_only_claims_an_enrolled_issuer_is_refused() {
    let factory = Factory::new();
    let impostor = Ca::root("line-4").leaf("press-17");
    for enrolled in [factory.on_intermediate(), factory.on_root()] {
        let mut world = World::default();
        world.enroll_group("line-4", draft(enrolled));
        let mut certificates = impostor.alone();
        certificates.push(model::CertificateDer(factory.intermediate.der().to_vec()));
        for shown in [impostor.alone(), impostor.chain_with_root(), certificates] {
            let decision = world.register(request("press-17", chain(shown)));
            assert!(matches!(decision, Decision::Refuse(_)), "{decision:?}");
        }
        assert!(world.records.is_empty());
    }
}

#[test]
fn an_exclusion_is_not_told_to_those_who_prove_nothing() {
    let factory = Factory::new();
    let mut world = World::default();
    world.enroll_group("line-4", draft(factory.on_intermediate()));
    world.enroll("press-17", disabled(one_key()));
    let stranger = Ca::root("elsewhere").leaf("press-17");
    let knocks = request("press-17", chain(stranger.chain()));
    check(&mut world, knocks, not_attested(AttestFailure::WrongKind));
}

#[test]
fn what_is_written_expects_what_it_was_decided_from() {
    let mut world = World::default();
    world.enroll_group("line-4", one_key());
    let device_key = attest::sas::derive(&name::key(1), "press-17");
    let expects =
        |world: &mut World, key: &SymmetricKey| match world.register(by_key("press-17", key)) {
            Decision::Settle(settlement) => settlement.changes.expects,
            other => panic!("{other:?}"),
        };
    let by_group = expects(&mut world, &device_key);
    assert!(by_group.iter().any(|e| matches!(e, Expect::Groups(version) if *version > 0)));
    assert!(by_group.contains(&Expect::Individual(name::id("press-17"), 0)), "{by_group:?}");
    assert!(by_group.contains(&Expect::Record(name::id("press-17"), 0)), "{by_group:?}");
    world.enroll("press-17", one_key());
    let individually = expects(&mut world, &name::key(1));
    let version = world.individuals["press-17"].terms.version;
    assert!(individually.contains(&Expect::Individual(name::id("press-17"), version)));
    assert!(!individually.iter().any(|e| matches!(e, Expect::Groups(_))));
}

/// A chain of the forged fixtures, leaf first.
fn forged(names: &[&str]) -> Vec<model::CertificateDer> {
    let read = |name: &&str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/certificates/forged");
        let der = std::fs::read(format!("{folder}/{name}.der")).expect("a fixture");
        model::CertificateDer(der)
    };
    names.iter().map(read).collect()
}

#[test]
fn a_forged_certificate_does_not_step_around_a_disabled_group() {
    let group = |name: &str| {
        let certificate = forged(&[name]).remove(0);
        draft(signing(Some(&certificate.0), None))
    };
    let mut world = World::default();
    world.enroll_group("all", group("root"));
    world.enroll_group("line-4", disabled(group("line")));
    for honest in [&["leaf", "line"][..], &["leaf"], &["leaf2", "cell"], &["leaf2", "cell", "line"]]
    {
        check(&mut world, request("press-17", chain(forged(honest))), Heard::Disabled);
    }
    let hostile = [
        &["leaf", "plain"][..],
        &["leaf", "compressed"],
        &["leaf", "dsks"],
        &["leaf", "compressed", "line"],
        &["leaf", "dsks", "line"],
        &["leaf", "line", "dsks"],
        &["leaf2", "fakecell", "cell"],
        &["leaf2", "cell", "fakecell"],
        &["leaf2", "fakecell", "cell", "line"],
        &["leaf2", "fakecell", "cell", "compressed", "root"],
    ];
    for sent in hostile {
        let decision = world.register(request("press-17", chain(forged(sent))));
        assert_ne!(heard(&decision), Heard::Assigned, "{sent:?}");
    }
    world.switch_group("line-4", ProvisioningStatus::Enabled);
    for sent in hostile {
        match world.register(request("press-17", chain(forged(sent)))) {
            Decision::Refuse(_) => {}
            Decision::Settle(settlement) => assert_eq!(
                settlement.record.enrollment,
                model::EnrollmentRef::Group(name::group("line-4")),
                "{sent:?} chose its own terms"
            ),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_identity_disabled_in_the_hub_stays_disabled_when_the_device_moves() {
    for policy in [reprovision(true, true), reprovision(true, false)] {
        let mut world = World::default();
        let mut enrolled = one_key();
        enrolled.reprovision_policy = policy;
        world.enroll("press-17", enrolled);
        check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
        let (at, mut device) =
            world.devices.iter().next().map(|(at, d)| (at.clone(), d.clone())).expect("a device");
        device.identity.status = DeviceStatus::Disabled;
        device.identity.status_reason = Some("lost".to_owned());
        let put = Change::PutIdentity(at.0.clone(), Box::new(device.identity));
        world.apply(ChangeSet::new().with(put));
        world.hubs.hubs.retain(|hub| hub.name != at.0);
        check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
        let moved = &world.only_device().identity;
        assert_eq!(moved.status, DeviceStatus::Disabled);
        assert_eq!(moved.status_reason.as_deref(), Some("lost"));
    }
}

#[test]
fn another_spelling_gets_no_second_identity() {
    let mut world = World::default();
    world.enroll_group("line-4", one_key());
    let device_key = attest::sas::derive(&name::key(1), "press-17");
    check(&mut world, by_key("press-17", &device_key), Heard::Assigned);
    world.apply(ChangeSet::new().with(Change::DeleteRecord(name::id("press-17"))));
    check(&mut world, by_key("PRESS-17", &device_key), Heard::Assigned);
    assert_eq!(world.only_device().identity.device_id.as_str(), "press-17");
}

#[test]
fn a_device_that_never_moves_fails_when_its_hub_is_no_longer_linked() {
    let (mut world, _) = moved(reprovision(true, true));
    let mut enrolled = one_key();
    enrolled.reprovision_policy = reprovision(false, false);
    world.enroll("press-17", enrolled);
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Assigned);
    world.hubs.hubs = vec![linked(name::hub("hub-1"), 1)];
    check(&mut world, by_key("press-17", &name::key(1)), Heard::Failed(400_208));
}

#[test]
fn polls_and_look_ups_say_disabled_once_it_is_so() {
    let mut world = World::default();
    world.enroll("press-17", one_key());
    let Decision::Settle(settlement) = world.register(by_key("press-17", &name::key(1))) else {
        panic!("settled");
    };
    world.switch("press-17", ProvisioningStatus::Disabled);
    let prepared = Prepared::new(by_key("press-17", &name::key(1)), &world.settings.attest.limits)
        .expect("legal evidence");
    let facts = world.facts(&prepared.query());
    let attest = &world.settings.attest;
    let polled = record::poll(&facts, &prepared, &settlement.operation, attest, world.now);
    assert_eq!(polled.map(|told| told.status), Ok(RegistrationStatus::Disabled));
    let looked_up = record::look_up(&facts, &prepared, attest, world.now);
    assert_eq!(looked_up.map(|told| told.status), Ok(RegistrationStatus::Disabled));
}
