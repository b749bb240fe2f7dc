//! Which challenges are remembered, which are given again, and who can end them.

use super::*;

/// Somebody shows this TPM's endorsement key with the storage root key of another.
fn mixed(tpm: &SoftTpm) -> TpmKeys {
    let storage_root_key = Some(other_tpm().storage_root_key());
    TpmKeys { storage_root_key, ..tpm_keys(tpm, Vec::new()) }
}

#[test]
fn of_several_challenges_the_last_two_can_be_answered_and_no_other() {
    let (mut world, tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let check = |world: &World, asked: &[SoftTpm]| {
        for (i, one) in asked.iter().enumerate() {
            let expected = if i + 1 == asked.len() {
                Heard::Assigned
            } else {
                not_attested(AttestFailure::BadSignature)
            };
            assert_eq!(heard(&answers(&mut world.clone(), one, "tpm-1")), expected, "{i}");
        }
    };
    let mut asked: Vec<SoftTpm> = Vec::new();
    for _ in 1..=4 {
        let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
        let mut one = tpm.clone();
        one.activate(&blob).expect("for this TPM");
        asked.push(one);
        check(&world, &asked);
        for _ in 1..MAX_TPM_CHALLENGES {
            world.challenge("tpm-1", mixed(&tpm)).expect("challenged");
            world.now = world.now.plus_secs(1);
        }
        check(&world, &asked);
    }
}

#[test]
fn who_asks_in_a_tpms_name_does_not_end_its_challenge() {
    let (mut world, mut tpm) = (World::default(), tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let keys = tpm_keys(&tpm, Vec::new());
    let first = world.challenge("tpm-1", keys.clone()).expect("challenged");
    for n in 1..=5 {
        world.now = world.now.plus_secs(n);
        let again = world.challenge("TPM-1", keys.clone()).expect("challenged");
        assert_ne!(again[..], first[..], "wrapped anew");
        let mut other = tpm.clone();
        other.activate(&again).expect("for this TPM");
        assert_eq!(heard(&answers(&mut world.clone(), &other, "tpm-1")), Heard::Assigned);
    }
    assert_eq!(world.tpm_challenges.values().map(Vec::len).sum::<usize>(), 1, "nothing is written");
    tpm.activate(&first).expect("for this TPM");
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-1")), Heard::Assigned);
}

/// The key of the one must not become known to the other, nor the one's answer be taken for the
/// other's.
#[test]
fn a_challenge_is_never_given_again_for_another_endorsement_key() {
    let (mut world, mut tpm, mut heir) = (World::default(), tpm(), other_tpm());
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    // With the storage root key of the TPM that comes after it: what both have in common.
    world.challenge("tpm-1", mixed(&tpm)).expect("challenged");
    world.enroll("tpm-1", draft(by_tpm(&heir)));
    assert_eq!(registers(&mut world, &mut heir, "tpm-1"), Heard::Assigned);
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    assert_eq!(heard(&answers(&mut world, &heir, "tpm-1")), not_enrolled());
    assert_eq!(registers(&mut world, &mut tpm, "tpm-1"), Heard::Assigned);
}

#[test]
fn a_challenge_that_has_lost_half_its_time_is_not_given_again() {
    for (after, same) in [
        (0, true),
        (TPM_CHALLENGE_LIFE_SECS / 2 - 1, true),
        (TPM_CHALLENGE_LIFE_SECS / 2, false),
        (TPM_CHALLENGE_LIFE_SECS + 1, false),
    ] {
        let (mut world, mut tpm) = (World::default(), tpm());
        world.enroll("tpm-1", draft(by_tpm(&tpm)));
        let mut ask = |world: &mut World| {
            let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
            tpm.activate(&blob).expect("for this TPM");
            tpm.key()
        };
        let first = ask(&mut world);
        world.now = world.now.plus_secs(after);
        assert_eq!(ask(&mut world) == first, same, "after {after} s");
    }
}

#[test]
fn no_other_keys_end_the_challenge_of_a_tpm_whose_storage_root_key_is_enrolled() {
    let (mut world, mut tpm) = (World::default(), tpm());
    let enrolled = AttestationDraft::Tpm(TpmDraft {
        endorsement_key: tpm.endorsement_key(),
        storage_root_key: Some(tpm.storage_root_key()),
        endorsement: EndorsementDraft::Keep,
    });
    world.enroll("tpm-1", draft(enrolled));
    let blob = world.challenge("tpm-1", tpm_keys(&tpm, Vec::new())).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    let mut root = other_tpm().storage_root_key();
    for n in 1..=5 {
        root[100] = n;
        let made_up = TpmKeys { storage_root_key: Some(root.clone()), ..mixed(&tpm) };
        world.challenge("tpm-1", made_up).expect("challenged");
        // Certificates that nobody asked for make no other TPM of it.
        let junk = Credential::self_signed(Profile::leaf(&format!("junk-{n}")));
        let keys = tpm_keys(&tpm, vec![CertificateDer(junk.der().to_vec())]);
        world.challenge("tpm-1", keys).expect("challenged");
    }
    assert_eq!(heard(&answers(&mut world, &tpm, "tpm-1")), Heard::Assigned);
    let waiting: usize = world.tpm_challenges.values().map(Vec::len).sum();
    assert!(waiting <= 2 * MAX_TPM_CHALLENGES, "{waiting}");
}

#[test]
fn certificates_lead_to_groups_where_the_answer_depends_on_them_only() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let shown = vendor.chain(&tpm);
    let check = |set_up: &dyn Fn(&mut World, &str), they_decide: bool| {
        let (mut world, id) = (World::default(), tpm.registration_id());
        set_up(&mut world, &id);
        world.challenge(&id, tpm_keys(&tpm, shown.clone())).expect("challenged");
        let waiting = world.tpm_challenges.values().flatten();
        let [challenge] = waiting.collect::<Vec<_>>()[..] else { panic!("one") };
        assert_eq!(challenge.endorsement_certificates, shown);
        assert_eq!(challenge.endorsement_names.is_empty(), !they_decide);
    };
    check(&|world, id| world.enroll(id, draft(by_tpm(&tpm))), false);
    check(&|world, id| world.enroll(id, vendor.demands(&tpm, shown.clone())), false);
    check(&|world, id| world.enroll(id, vendor.demands(&tpm, Vec::new())), true);
    check(&|world, _| world.enroll_group("vendor", vendor.on_root()), true);
    // Shut out by a disabled entry for something else, which a TPM of a group hears.
    let shut_out = |world: &mut World, id: &str| {
        world.enroll_group("vendor", vendor.on_root());
        world.enroll(id, disabled(draft(keys(&name::key(1), &name::key(2)))));
    };
    check(&shut_out, true);
}

#[test]
fn certificates_that_decide_nothing_are_remembered_once_and_only_if_they_are_the_tpms() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let mut world = World::default();
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let remembered = |world: &World| {
        let waiting = world.tpm_challenges.values().flatten();
        waiting.map(|one| one.endorsement_certificates.clone()).collect::<Vec<_>>()
    };
    let junk = Credential::self_signed(Profile::leaf("junk"));
    let junk = vec![CertificateDer(junk.der().to_vec())];
    world.challenge("tpm-1", tpm_keys(&tpm, junk.clone())).expect("challenged");
    assert_eq!(remembered(&world), [Vec::new()]);
    let mut world = World::default();
    world.enroll("tpm-1", draft(by_tpm(&tpm)));
    let first = vendor.chain(&tpm);
    let second = Vendor::new().chain(&tpm);
    for shown in [first.clone(), second, junk, Vec::new()] {
        world.challenge("tpm-1", tpm_keys(&tpm, shown)).expect("challenged");
        assert_eq!(remembered(&world), std::slice::from_ref(&first));
    }
}
