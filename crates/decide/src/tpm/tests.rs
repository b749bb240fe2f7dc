//! TPMs, as claims: who is challenged, whose answer admits, and what it is given.

mod challenges;
mod groups;
mod oracle;

use std::sync::OnceLock;

use model::{
    AttestationDraft, AttestationKind, AttestationMechanism, AuthenticationKind, CertificateDer,
    DeviceStatus, Draft, EndorsementDraft, Etag, Evidence, MAX_TPM_CHALLENGES, OperationId,
    ProvisioningStatus, RegistrationRecord, RegistrationStatus, Reprovision, ReprovisionPolicy,
    SasToken, Sent, TpmDraft,
};
use testkit::{Ca, ClientStyle, Credential, Profile, SoftTpm};

use super::*;
use crate::{
    record,
    register::{Decision, Prepared},
    scenes::{
        World, by_tpm, chain, draft, issuers, keys, linked_remote, name, request, signing, slots,
        token, tpm_keys, tpm_token,
    },
};

/// What a device hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Assigned,
    Assigning,
    Disabled,
    Refused(DeviceRefusal),
}

fn heard(decision: &Decision) -> Heard {
    match decision {
        Decision::Refuse(refusal) => Heard::Refused(refusal.clone()),
        Decision::Ask(_) => panic!("no webhook is asked here"),
        Decision::Settle(settlement) => match settlement.record.status {
            RegistrationStatus::Assigned => Heard::Assigned,
            RegistrationStatus::Assigning => Heard::Assigning,
            RegistrationStatus::Disabled => Heard::Disabled,
            RegistrationStatus::Failed => panic!("{:?}", settlement.record.failure),
        },
    }
}

fn not_enrolled() -> Heard {
    Heard::Refused(DeviceRefusal::TpmNotEnrolled)
}

fn not_attested(failure: AttestFailure) -> Heard {
    Heard::Refused(DeviceRefusal::NotAttested(failure))
}

/// The TPM of the fixture, and another one; keys cost time, so they are made once.
fn tpm() -> SoftTpm {
    SoftTpm::from_fixture()
}

fn other_tpm() -> SoftTpm {
    static OTHER: OnceLock<SoftTpm> = OnceLock::new();
    OTHER.get_or_init(SoftTpm::new).clone()
}

/// A TPM registers over HTTPS: it is challenged, takes the key out and signs with it.
fn registers(world: &mut World, tpm: &mut SoftTpm, id: &str) -> Heard {
    registers_with(world, tpm, id, Vec::new())
}

fn registers_with(
    world: &mut World,
    tpm: &mut SoftTpm,
    id: &str,
    certificates: Vec<CertificateDer>,
) -> Heard {
    match world.challenge(id, tpm_keys(tpm, certificates)) {
        Err(refusal) => Heard::Refused(refusal),
        Ok(blob) => {
            tpm.activate(&blob).expect("the blob is for this TPM");
            heard(&answers(world, tpm, id))
        }
    }
}

fn answers(world: &mut World, tpm: &SoftTpm, id: &str) -> Decision {
    world.register(request(id, Evidence::Sas(tpm_token(tpm, id))))
}

/// A TPM registers over AMQP: its connection remembers the challenge.
fn registers_here(
    world: &mut World,
    tpm: &mut SoftTpm,
    id: &str,
    certificates: Vec<CertificateDer>,
) -> Heard {
    let settings = world.settings.attest.clone();
    let keys = tpm_keys(tpm, certificates);
    let posed = pose(&name::id(id), keys, &settings, world.now, &testkit::fresh(77));
    let (challenge, blob) = posed.expect("keys of the right shape");
    tpm.activate(&blob).expect("the blob is for this TPM");
    let evidence =
        Evidence::TpmAnswer { challenge: Box::new(challenge), token: Box::new(tpm_token(tpm, id)) };
    heard(&world.register(request(id, evidence)))
}

fn disabled(mut draft: Draft) -> Draft {
    draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    draft
}

fn record<'w>(world: &'w World, id: &str) -> &'w RegistrationRecord {
    world.records.get(name::id(id).key()).expect("a record")
}

/// What an operator did before.
type SetUp<'a> = Box<dyn Fn(&mut World) + 'a>;

/// A TPM vendor with two CAs, as certificates of endorsement keys have them.
struct Vendor {
    root: Ca,
    issuing: Ca,
}

impl Vendor {
    fn new() -> Self {
        let root = Ca::root("TPM vendor root");
        let issuing = root.intermediate("TPM vendor issuing CA");
        Self { root, issuing }
    }

    fn chain(&self, tpm: &SoftTpm) -> Vec<CertificateDer> {
        tpm.endorsement_chain(&self.issuing)
    }

    fn on_issuing(&self) -> Draft {
        draft(issuers(Some(self.issuing.der()), None))
    }

    fn on_root(&self) -> Draft {
        draft(issuers(None, Some(self.root.der())))
    }

    fn demands(&self, tpm: &SoftTpm, certificates: Vec<CertificateDer>) -> Draft {
        draft(AttestationDraft::Tpm(TpmDraft {
            endorsement_key: tpm.endorsement_key(),
            storage_root_key: None,
            endorsement: EndorsementDraft::Demand {
                roots: slots(Some(self.root.der()), None),
                certificates,
            },
        }))
    }
}

#[test]
fn an_enrolled_tpm_is_challenged_answers_and_is_given_its_hub_key() {
    for id in ["tpm-1", "TPM-1"] {
        let (mut world, mut tpm) = (World::default(), tpm());
        world.enroll("tpm-1", draft(by_tpm(&tpm)));
        let blob = world.challenge(id, tpm_keys(&tpm, Vec::new())).expect("challenged");
        tpm.activate(&blob).expect("for this TPM");
        let audience = format!("{}/registrations/{id}", crate::scenes::SCOPE);
        assert_eq!(tpm.data(), Some(audience.as_bytes()));
        let nonce_key = tpm.key();
        assert_eq!(heard(&answers(&mut world, &tpm, id)), Heard::Assigned);
        let record = record(&world, id).clone();
        assert_eq!(record.mechanism, AttestationKind::Tpm);
        let wrapped = record.wrapped_hub_key.expect("a key for the hub");
        tpm.activate(&wrapped).expect("for this TPM");
        assert_ne!(tpm.key(), nonce_key, "each key is for one thing");
        let assignment = record.assignment.expect("assigned");
        let for_hub = format!("{}/devices/{}", assignment.hub, assignment.device_id);
        assert_eq!(tpm.data(), Some(for_hub.as_bytes()));
        let at = (assignment.hub, assignment.device_id);
        let authentication = &world.devices.get(&at).expect("an identity").identity.authentication;
        assert_eq!(authentication.kind, AuthenticationKind::Sas);
        let on_hub = authentication.keys.as_ref().expect("keys");
        assert_eq!(Some(on_hub.primary.bytes()), tpm.key().as_ref().map(<[u8; 32]>::as_slice));
        assert_ne!(on_hub.primary, on_hub.secondary);
    }
}

#[test]
fn keys_alone_admit_nobody() {
    let (mut world, tpm) = (World::default(), tpm());
    let shows = |world: &mut World, keys: TpmKeys| {
        heard(&world.register(request("tpm-1", Evidence::Tpm(keys))))
    };
    assert_eq!(shows(&mut world, tpm_keys(&tpm, Vec::new())), not_enrolled());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let unanswered = not_attested(AttestFailure::TpmNotChallenged);
    assert_eq!(shows(&mut world, tpm_keys(&tpm, Vec::new())), unanswered);
    assert_eq!(shows(&mut world, tpm_keys(&other_tpm(), Vec::new())), not_enrolled());
    assert!(world.records.is_empty());
}

#[test]
fn only_the_enrolled_endorsement_key_is_challenged_and_the_others_all_hear_the_same() {
    let (tpm, ca) = (tpm(), Ca::root("root"));
    let leaf = Credential::self_signed(Profile::leaf("tpm-1"));
    let by_leaf = crate::scenes::client(Some(leaf.der()), None);
    let worlds: [(&str, SetUp<'_>); 8] = [
        ("nothing", Box::new(|_| {})),
        ("another ID", Box::new(|w| w.enroll("tpm-2", draft(by_tpm(&tpm))))),
        ("another EK", Box::new(|w| w.enroll("tpm-1", draft(by_tpm(&other_tpm()))))),
        ("another EK, disabled", {
            Box::new(|w| w.enroll("tpm-1", disabled(draft(by_tpm(&other_tpm())))))
        }),
        ("keys", { Box::new(|w| w.enroll("tpm-1", draft(keys(&name::key(1), &name::key(2))))) }),
        ("keys, disabled", {
            Box::new(|w| w.enroll("tpm-1", disabled(draft(keys(&name::key(1), &name::key(2))))))
        }),
        ("a certificate", Box::new(|w| w.enroll("tpm-1", draft(by_leaf.clone())))),
        ("groups", {
            Box::new(|w| {
                w.enroll_group("keys", draft(keys(&name::key(1), &name::key(2))));
                w.enroll_group("line", draft(signing(Some(ca.der()), None)));
                w.enroll_group("vendor", draft(issuers(Some(ca.der()), None)));
            })
        }),
    ];
    for (what, set_up) in worlds {
        let mut world = World::default();
        set_up(&mut world);
        assert_eq!(registers(&mut world, &mut tpm.clone(), "tpm-1"), not_enrolled(), "{what}");
        assert!(world.tpm_challenges.is_empty(), "{what}");
        // The same over AMQP, where the TPM has proven its keys.
        let here = registers_here(&mut world, &mut tpm.clone(), "tpm-1", Vec::new());
        assert_eq!(here, not_enrolled(), "{what}");
        assert!(world.records.is_empty(), "{what}");
    }
}

#[test]
fn over_amqp_an_enrolled_tpm_registers_as_over_https() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    assert_eq!(registers_here(&mut world, &mut tpm, "tpm-1", Vec::new()), Heard::Assigned);
    assert!(world.tpm_challenges.is_empty(), "the connection remembers");
    assert!(record(&world, "tpm-1").wrapped_hub_key.is_some());
    world.switch("tpm-1", ProvisioningStatus::Disabled);
    assert_eq!(registers_here(&mut world, &mut tpm, "tpm-1", Vec::new()), Heard::Disabled);
    assert_eq!(record(&world, "tpm-1").wrapped_hub_key, None);
}

#[test]
fn an_answer_counts_for_its_own_name_key_and_time_only() {
    let (mut world, mut tpm) = (World::default(), tpm());
    let settings = world.settings.attest.clone();
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    world.enroll("tpm-2", draft(by_tpm(&tpm)));
    let (id, keys) = (name::id("tpm-1"), tpm_keys(&tpm, Vec::new()));
    let (challenge, blob) =
        pose(&id, keys, &settings, world.now, &testkit::fresh(7)).expect("posed");
    tpm.activate(&blob).expect("for this TPM");
    let good = tpm_token(&tpm, "tpm-1");
    let answer = |id: &str, challenge: &TpmChallenge, token: &SasToken| {
        let challenge = Box::new(challenge.clone());
        request(id, Evidence::TpmAnswer { challenge, token: Box::new(token.clone()) })
    };
    let check = |request, after_secs: i64, expected: Heard| {
        let mut world = world.clone();
        world.now = world.now.plus_secs(after_secs);
        assert_eq!(heard(&world.register(request)), expected);
    };
    check(answer("tpm-1", &challenge, &good), 0, Heard::Assigned);
    check(answer("tpm-1", &challenge, &good), TPM_CHALLENGE_LIFE_SECS - 1, Heard::Assigned);
    let late = not_attested(AttestFailure::TokenExpired);
    check(answer("tpm-1", &challenge, &good), TPM_CHALLENGE_LIFE_SECS, late);
    let wrong = not_attested(AttestFailure::WrongResource);
    check(answer("tpm-2", &challenge, &good), 0, wrong.clone());
    check(answer("tpm-1", &challenge, &tpm_token(&tpm, "tpm-2")), 0, wrong);
    let unsigned = SasToken { signature: Vec::new(), ..good.clone() };
    let bad = not_attested(AttestFailure::BadSignature);
    check(answer("tpm-1", &challenge, &unsigned), 0, bad.clone());
    let other_key = TpmChallenge { key: name::key(9), ..challenge };
    check(answer("tpm-1", &other_key, &good), 0, bad);
}

#[test]
fn a_connections_challenge_of_one_name_never_admits_another() {
    let (mut world, mut tpm) = (World::default(), tpm());
    for id in ["tpm-1", "tpm-2"] {
        world.enroll(id, draft(by_tpm(&tpm)));
    }
    let (settings, keys) = (world.settings.attest.clone(), tpm_keys(&tpm, Vec::new()));
    let posed = pose(&name::id("tpm-1"), keys, &settings, world.now, &testkit::fresh(7));
    let (challenge, blob) = posed.expect("posed");
    tpm.activate(&blob).expect("for this TPM");
    // The token is in order, and is the other name's.
    let token = Box::new(tpm_token(&tpm, "tpm-2"));
    let evidence = Evidence::TpmAnswer { challenge: Box::new(challenge), token };
    let wrong = not_attested(AttestFailure::WrongResource);
    assert_eq!(heard(&world.register(request("tpm-2", evidence))), wrong);
}

#[test]
fn a_challenge_of_one_name_never_admits_another() {
    let (mut world, mut tpm) = (World::default(), tpm());
    for id in ["tpm-1", "tpm-2"] {
        world.enroll(id, draft(by_tpm(&tpm)));
    }
    let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    let bad = not_attested(AttestFailure::BadSignature);
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-2")), bad);
    // Nor when both have been asked.
    world.challenge("tpm-2", tpm_keys(&tpm, Vec::new())).expect("challenged");
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-2")), bad);
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-1")), Heard::Assigned);
}

#[test]
fn a_challenge_that_is_over_is_not_answered_but_polled_with_to_the_end() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    world.now = world.now.plus_secs(TPM_CHALLENGE_LIFE_SECS - 1);
    let Decision::Settle(settled) = answers(&mut world, &tpm, "tpm-1") else {
        panic!("just in time")
    };
    for after in [1, OPERATION_LIFE_SECS] {
        let mut world = world.clone();
        world.now = world.now.plus_secs(after);
        world.apply(ChangeSet::new().with(Change::TrimTpmChallenges(forgotten_before(world.now))));
        let told = polls(&world, &tpm, &settled.operation).expect("its own operation");
        assert_eq!(told.status, RegistrationStatus::Assigned);
        assert!(told.wrapped_hub_key.is_some());
        let bad = not_attested(AttestFailure::BadSignature);
        let mut late = tpm_token(&tpm, "tpm-1");
        let key = SymmetricKey::derived(&tpm.key().expect("a key"));
        late.expiry_unix_secs = world.now.unix_secs() + 3600;
        late.expiry_raw = late.expiry_unix_secs.to_string();
        late.signature = attest::sas::sign(&key, &late.resource_raw, &late.expiry_raw).to_vec();
        let again = world.register(request("tpm-1", Evidence::Sas(late)));
        assert_eq!(heard(&again), bad, "after {after} s");
    }
    world.now = world.now.plus_secs(OPERATION_LIFE_SECS + 2);
    world.apply(ChangeSet::new().with(Change::TrimTpmChallenges(forgotten_before(world.now))));
    assert!(world.tpm_challenges.values().all(Vec::is_empty), "then it is forgotten");
}

fn polls(
    world: &World,
    tpm: &SoftTpm,
    operation: &OperationId,
) -> Result<RegistrationRecord, DeviceRefusal> {
    let evidence = Evidence::Sas(tpm_token(tpm, "tpm-1"));
    let attest = &world.settings.attest;
    let prepared = Prepared::new(request("tpm-1", evidence), &attest.limits)?;
    record::poll(&world.facts(&prepared.query()), &prepared, operation, attest, world.now)
}

#[test]
fn a_poll_shows_the_hub_key_as_long_as_the_device_is_assigned() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    let Decision::Settle(settled) = answers(&mut world, &tpm, "tpm-1") else { panic!("settled") };
    let told = polls(&world, &tpm, &settled.operation).expect("its own");
    assert_eq!(told.wrapped_hub_key, settled.record.wrapped_hub_key);
    let stranger = polls(
        &world,
        &{
            let mut stranger = other_tpm();
            let keys = tpm_keys(&stranger, Vec::new());
            let settings = &world.settings.attest;
            let posed = pose(&name::id("tpm-1"), keys, settings, world.now, &testkit::fresh(5));
            stranger.activate(&posed.expect("posed").1).expect("for the stranger");
            stranger
        },
        &settled.operation,
    );
    assert_eq!(stranger, Err(DeviceRefusal::NotAttested(AttestFailure::BadSignature)));
    world.switch("tpm-1", ProvisioningStatus::Disabled);
    let told = polls(&world, &tpm, &settled.operation).expect("its own");
    assert_eq!((told.status, told.wrapped_hub_key), (RegistrationStatus::Disabled, None));
}

#[test]
fn a_disabled_tpm_is_challenged_and_hears_so_when_it_has_proven_itself() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", disabled(draft(by_tpm(&tpm))));
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Disabled);
    assert!(world.devices.is_empty());
    world.switch("tpm-1", ProvisioningStatus::Enabled);
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Assigned);
}

#[test]
fn keys_of_other_shapes_are_refused_with_words_whether_or_not_anyone_is_enrolled() {
    let tpm = tpm();
    let mut ecc = tpm.endorsement_key();
    ecc[3] = 0x23;
    let mut srk = tpm.storage_root_key();
    srk.pop();
    let good = || tpm_keys(&tpm, Vec::new());
    let cases = [
        (TpmKeys { endorsement_key: ecc, ..good() }, "ECC"),
        (TpmKeys { endorsement_key: Vec::new(), ..good() }, "endorsement key is cut off"),
        (TpmKeys { storage_root_key: Some(srk), ..good() }, "storage root key is cut off"),
        (
            TpmKeys { endorsement_certificates: vec![CertificateDer(vec![1])], ..good() },
            "certificates",
        ),
    ];
    for enrolled in [false, true] {
        for (keys, says) in &cases {
            let mut world = World::default();
            if enrolled {
                world.enroll("tpm-1", draft(by_tpm(&tpm)));
            }
            match world.challenge("tpm-1", keys.clone()) {
                Err(DeviceRefusal::NotAttested(AttestFailure::BadTpmKey(why))) => {
                    assert!(why.contains(says), "{why}");
                }
                other => panic!("{says}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_storage_root_key_is_the_devices_own_or_else_the_enrolled_one() {
    let tpm = tpm();
    let enrolled_with = |storage_root_key| {
        let mut world = World::default();
        let tpm_draft = TpmDraft {
            endorsement_key: tpm.endorsement_key(),
            storage_root_key,
            endorsement: EndorsementDraft::Keep,
        };
        world.enroll("tpm-1", draft(AttestationDraft::Tpm(tpm_draft)));
        world
    };
    let without = TpmKeys { storage_root_key: None, ..tpm_keys(&tpm, Vec::new()) };
    let refused = enrolled_with(None).challenge("tpm-1", without.clone());
    let Err(DeviceRefusal::BadRequest(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("tpm.storageRootKey"), "{text}");
    let mut known = enrolled_with(Some(tpm.storage_root_key()));
    let blob = known.challenge("tpm-1", without.clone()).expect("challenged");
    tpm.clone().activate(&blob).expect("for this TPM");
    // After the TPM was cleared the enrolled one is of no use any more.
    let mut old = enrolled_with(Some(other_tpm().storage_root_key()));
    let blob = old.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.clone().activate(&blob).expect("for this TPM");
    let posed =
        pose(&name::id("tpm-1"), without, &old.settings.attest, old.now, &testkit::fresh(1));
    assert!(matches!(posed, Err(DeviceRefusal::BadRequest(_))), "{posed:?}");
}

#[test]
fn every_registration_gives_another_hub_key_also_where_the_assignment_stands() {
    for remote in [false, true] {
        let (mut world, mut tpm) = (World::default(), tpm());
        if remote {
            world.hubs.hubs = vec![linked_remote(name::hub("far"))];
        }
        let mut sticky = draft(by_tpm(&tpm));
        sticky.reprovision_policy = Some(ReprovisionPolicy {
            update_hub_assignment: Some(false),
            migrate_device_data: Some(false),
        });
        assert_eq!(
            sticky.reprovision_policy.map(ReprovisionPolicy::meaning),
            Some(Reprovision::Never)
        );
        world.enroll("tpm-1", sticky);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let expected = if remote { Heard::Assigning } else { Heard::Assigned };
            assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), expected);
            let record = record(&world, "tpm-1").clone();
            let wrapped = record.wrapped_hub_key.as_ref().expect("a key for the hub");
            tpm.activate(wrapped).expect("for this TPM");
            let key = tpm.key().expect("a key");
            let authentication = match &record.pending {
                Some(pending) => pending.authentication.clone(),
                None => world.devices.values().next().expect("one").identity.authentication.clone(),
            };
            let on_hub = authentication.keys.expect("keys").primary;
            assert_eq!(on_hub.bytes(), key);
            assert!(!seen.contains(&key), "each time another one");
            seen.push(key);
            if let Some(pending) = record.pending.clone() {
                // The worker is through with it.
                let mut settled = record;
                settled.assignment = Some(pending.assignment);
                settled.pending = None;
                settled.status = RegistrationStatus::Assigned;
                world.apply(ChangeSet::new().with(Change::PutRecord(Box::new(settled))));
            }
        }
    }
}

#[test]
fn a_disabled_identity_stays_disabled_with_its_new_key() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Assigned);
    for device in world.devices.values_mut() {
        device.identity.status = DeviceStatus::Disabled;
    }
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Assigned);
    let device = world.devices.values().next().expect("one");
    assert_eq!(device.identity.status, DeviceStatus::Disabled);
}

#[test]
fn a_registration_by_other_means_takes_the_wrapped_key_away() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Assigned);
    world.enroll("tpm-1", draft(keys(&name::key(1), &name::key(2))));
    let by_key = request("tpm-1", token("tpm-1", &name::key(2)));
    assert_eq!(heard(&world.register(by_key)), Heard::Assigned);
    let record = record(&world, "tpm-1");
    assert_eq!((record.mechanism, &record.wrapped_hub_key), (AttestationKind::SymmetricKey, &None));
    // And the answer of the TPM's time is worth nothing now.
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-1")), not_enrolled());
}

#[test]
fn tokens_that_fit_nothing_are_refused_the_same_whatever_is_enrolled() {
    let (tpm, bad) = (tpm(), not_attested(AttestFailure::BadSignature));
    for mechanism in [by_tpm(&tpm), keys(&name::key(1), &name::key(2))] {
        let mut world = World::default();
        world.enroll("tpm-1", draft(mechanism));
        let stranger = request("tpm-1", token("tpm-1", &name::key(9)));
        assert_eq!(heard(&world.register(stranger)), bad);
    }
}

#[test]
fn a_disabled_entry_for_a_tpm_shuts_a_device_of_a_key_group_out() {
    let (mut world, tpm) = (World::default(), tpm());
    let group_key = name::key(1);
    world.enroll_group("line-4", draft(keys(&group_key, &name::key(2))));
    world.enroll("press-17", disabled(draft(by_tpm(&tpm))));
    let key = attest::sas::derive(&group_key, "press-17");
    let knocks = request("press-17", token("press-17", &key));
    assert_eq!(heard(&world.register(knocks)), Heard::Disabled);
    let stranger = request("press-17", token("press-17", &name::key(9)));
    let wrong_kind = not_attested(AttestFailure::WrongKind);
    assert_eq!(heard(&world.register(stranger)), wrong_kind);
}

#[test]
fn a_demanded_certificate_is_the_enrolled_one_or_the_one_shown() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let other_vendor = Vendor::new();
    let shown = vendor.chain(&tpm);
    let foreign = other_vendor.chain(&tpm);
    let of_other = vendor.chain(&other_tpm());
    let not_endorsed = |heard: &Heard| {
        matches!(heard, Heard::Refused(DeviceRefusal::NotAttested(AttestFailure::NotEndorsed(_))))
    };
    let check = |enrolled: &[CertificateDer], shown: &[CertificateDer], admitted: bool| {
        let mut world = World::default();
        world.enroll("tpm-1", vendor.demands(&tpm, enrolled.to_vec()));
        let https = registers_with(&mut world, &mut tpm.clone(), "tpm-1", shown.to_vec());
        let amqp = registers_here(&mut world, &mut tpm.clone(), "tpm-1", shown.to_vec());
        for heard in [https, amqp] {
            if admitted {
                assert_eq!(heard, Heard::Assigned);
            } else {
                assert!(not_endorsed(&heard), "{heard:?}");
            }
        }
    };
    check(&[], &shown, true);
    check(&[], &[], false);
    check(&[], &foreign, false);
    check(&[], &of_other, false);
    check(&[], &shown[..1], false);
    check(&shown, &[], true);
    // What is enrolled counts, whatever is shown beside it.
    check(&shown, &foreign, true);
}

#[test]
fn a_token_that_all_clients_could_write_is_an_answer() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("Tpm-1", draft(by_tpm(&tpm)));
    let blob = world.challenge("Tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    for style in ClientStyle::ALL {
        let token = testkit::DeviceToken {
            style,
            id_scope: crate::scenes::SCOPE,
            registration_id: "Tpm-1",
            key: &SymmetricKey::derived(&tpm.key().expect("a key")),
            expiry_unix_secs: world.now.unix_secs() + 3600,
        };
        let heard = heard(&world.register(request("Tpm-1", Evidence::Sas(token.parsed()))));
        assert_eq!(heard, Heard::Assigned, "{style:?}");
    }
}
