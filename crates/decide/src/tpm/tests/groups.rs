//! Groups of TPMs, which are an extension of Induct: by their issuers, and beside all other entries.

use model::CaCertificate;

use super::*;

#[test]
fn a_group_admits_tpms_whose_certificates_lead_to_it_under_the_name_of_their_key() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let chain = vendor.chain(&tpm);
    for group in [vendor.on_issuing(), vendor.on_root()] {
        for id in [id.clone(), id.to_ascii_uppercase()] {
            let mut world = World::default();
            world.enroll_group("vendor", group.clone());
            let heard = registers_with(&mut world, &mut tpm, &id, chain.clone());
            assert_eq!(heard, Heard::Assigned);
            assert_eq!(record(&world, &id).mechanism, AttestationKind::Tpm);
            tpm.activate(record(&world, &id).wrapped_hub_key.as_ref().expect("a key"))
                .expect("its");
            assert_eq!(registers_here(&mut world, &mut tpm, &id, chain.clone()), Heard::Assigned);
        }
    }
}

#[test]
fn keys_and_certificates_alone_admit_nobody_to_a_group() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let mut world = World::default();
    world.enroll_group("vendor", vendor.on_root());
    let mut shows = |keys: TpmKeys| heard(&world.register(request(&id, Evidence::Tpm(keys))));
    let unanswered = not_attested(AttestFailure::TpmNotChallenged);
    assert_eq!(shows(tpm_keys(&tpm, vendor.chain(&tpm))), unanswered);
    // Who shows another chain learns nothing of the group.
    assert_eq!(shows(tpm_keys(&tpm, Vendor::new().chain(&tpm))), not_enrolled());
    assert_eq!(shows(tpm_keys(&tpm, Vec::new())), not_enrolled());
    assert!(world.records.is_empty());
}

#[test]
fn a_tpm_that_shows_another_chain_is_challenged_anew() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let mut world = World::default();
    world.enroll_group("vendor", vendor.on_root());
    let reissued = vendor.issuing.cross_signed_by(&vendor.root);
    let mut other_chain = vendor.chain(&tpm);
    other_chain.truncate(1);
    other_chain.push(CertificateDer(reissued.der().to_vec()));
    assert_ne!(other_chain, vendor.chain(&tpm));
    for shown in [vendor.chain(&tpm), other_chain] {
        assert_eq!(registers_with(&mut world, &mut tpm, &id, shown.clone()), Heard::Assigned);
        let waiting = world.tpm_challenges.values().flatten().next().expect("challenged");
        assert_eq!(waiting.endorsement_certificates, shown);
    }
}

#[test]
fn a_group_admits_no_tpm_under_another_name_by_another_chain_or_without_one() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let forged_issuing = Ca::root("x").intermediate("TPM vendor issuing CA");
    let mut forged = tpm.endorsement_chain(&forged_issuing);
    forged.truncate(1);
    let cases = [
        ("another name", "tpm-1".to_owned(), vendor.chain(&tpm)),
        ("another TPM's name", other_tpm().registration_id(), vendor.chain(&tpm)),
        ("no chain", id.clone(), Vec::new()),
        ("another TPM's chain", id.clone(), vendor.chain(&other_tpm())),
        ("another vendor", id.clone(), Vendor::new().chain(&tpm)),
        ("a CA of the same name", id.clone(), forged),
        ("a device's certificate", id.clone(), vendor.issuing.leaf(&id).chain()),
        ("a certificate for TLS", id, {
            let profile = Profile::leaf("none");
            vec![tpm.endorsement_certificate_after(&vendor.issuing, &profile)]
        }),
    ];
    for (what, id, chain) in cases {
        let mut world = World::default();
        world.enroll_group("vendor", vendor.on_issuing());
        let heard = registers_with(&mut world, &mut tpm.clone(), &id, chain.clone());
        assert_eq!(heard, not_enrolled(), "{what}");
        assert!(world.tpm_challenges.is_empty(), "nothing is kept of {what}");
        let heard = registers_here(&mut world, &mut tpm.clone(), &id, chain);
        assert_eq!(heard, not_enrolled(), "{what}");
        assert!(world.records.is_empty(), "{what}");
    }
}

#[test]
fn the_first_certificate_with_a_group_of_tpms_decides_even_when_disabled() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let (id, chain) = (tpm.registration_id(), vendor.chain(&tpm));
    let mut world = World::default();
    world.enroll_group("all", vendor.on_root());
    world.enroll_group("some", disabled(vendor.on_issuing()));
    let mut hears = |world: &mut World, chain: &[CertificateDer], expected: &Heard| {
        assert_eq!(registers_with(world, &mut tpm, &id, chain.to_vec()), *expected);
    };
    hears(&mut world, &chain, &Heard::Disabled);
    hears(&mut world, &chain[..1], &Heard::Disabled);
    // Nor does a re-issued certificate of the disabled CA step around it.
    let reissued = vendor.issuing.cross_signed_by(&vendor.root);
    let around = [chain[0].clone(), CertificateDer(reissued.der().to_vec())];
    hears(&mut world, &around, &Heard::Disabled);
    world.disenroll_group("some");
    hears(&mut world, &chain, &Heard::Assigned);
    world.switch_group("all", ProvisioningStatus::Disabled);
    hears(&mut world, &chain, &Heard::Disabled);
    world.disenroll_group("all");
    hears(&mut world, &chain, &not_enrolled());
}

#[test]
fn an_individual_entry_shadows_the_group_of_its_tpm() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let (id, chain) = (tpm.registration_id(), vendor.chain(&tpm));
    let by_key = || draft(keys(&name::key(1), &name::key(2)));
    let cases = [
        ("its own, enabled", draft(by_tpm(&tpm)), Heard::Assigned),
        ("its own, disabled", disabled(draft(by_tpm(&tpm))), Heard::Disabled),
        ("of another kind, disabled", disabled(by_key()), Heard::Disabled),
        ("of another kind, enabled", by_key(), not_enrolled()),
        ("another TPM's, enabled", draft(by_tpm(&other_tpm())), not_enrolled()),
        ("another TPM's, disabled", disabled(draft(by_tpm(&other_tpm()))), not_enrolled()),
    ];
    for (what, individual, expected) in cases {
        let mut world = World::default();
        world.enroll_group("vendor", vendor.on_issuing());
        world.enroll(&id, individual);
        let heard = registers_with(&mut world, &mut tpm, &id, chain.clone());
        assert_eq!(heard, expected, "{what}");
        let heard = registers_here(&mut world, &mut tpm, &id, chain.clone());
        assert_eq!(heard, expected, "{what}, over AMQP");
        // A disabled group spares a TPM with its own entry.
        world.switch_group("vendor", ProvisioningStatus::Disabled);
        let heard = registers_with(&mut world, &mut tpm, &id, chain.clone());
        assert_eq!(heard, expected, "{what}, beside a disabled group");
    }
}

/// One CA that both devices and TPMs have certificates of: each kind has its own groups, and the
/// other kind's neither shadow nor unlock them.
#[test]
fn groups_of_devices_and_groups_of_tpms_never_see_each_other() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let device = vendor.issuing.leaf("press-17");
    let by_device = || request("press-17", chain(device.chain()));
    let signing_on = |ca: &Ca| draft(signing(Some(ca.der()), None));
    let check = |set_up: &dyn Fn(&mut World), of_device: Heard, of_tpm: Heard| {
        let mut world = World::default();
        set_up(&mut world);
        assert_eq!(heard(&world.register(by_device())), of_device);
        let shown = vendor.chain(&tpm);
        assert_eq!(registers_with(&mut world, &mut tpm.clone(), &id, shown), of_tpm);
    };
    let no_device = || Heard::Refused(DeviceRefusal::NotEnrolled);
    // Each alone.
    check(&|w| w.enroll_group("t", vendor.on_issuing()), no_device(), Heard::Assigned);
    check(&|w| w.enroll_group("d", signing_on(&vendor.issuing)), Heard::Assigned, not_enrolled());
    // A disabled one of the other kind, on the same certificate or nearer to the leaf.
    check(
        &|w| {
            w.enroll_group("d", signing_on(&vendor.issuing));
            w.enroll_group("a", disabled(vendor.on_issuing()));
        },
        Heard::Assigned,
        Heard::Disabled,
    );
    check(
        &|w| {
            w.enroll_group("t", vendor.on_root());
            w.enroll_group("a", disabled(signing_on(&vendor.issuing)));
        },
        Heard::Disabled,
        Heard::Assigned,
    );
    check(
        &|w| {
            w.enroll_group("d", signing_on(&vendor.root));
            w.enroll_group("a", disabled(vendor.on_issuing()));
        },
        Heard::Assigned,
        Heard::Disabled,
    );
}

/// The service's CA certificates are devices' issuers. They complete no chain of a TPM's, nor do
/// the certificates of one kind's groups complete a chain of the other's.
#[test]
fn chains_are_completed_from_groups_of_their_own_kind_only() {
    let (vendor, tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let leaf_alone = || vendor.chain(&tpm)[..1].to_vec();
    let device_alone = || {
        let device = vendor.issuing.leaf("press-17");
        request("press-17", chain(device.alone()))
    };
    let described = attest::certificate::describe(vendor.issuing.der()).expect("a certificate");
    let mut stored = World::default();
    stored.enroll_group("t", vendor.on_root());
    stored.cas.insert(
        "issuing".to_owned(),
        CaCertificate {
            name: "issuing".to_owned(),
            certificate: described,
            verified: true,
            pending_code: None,
            etag: Etag::from_random([0; 16]),
            created: stored.now,
            last_updated: stored.now,
            version: 1,
        },
    );
    let mut of_devices = World::default();
    of_devices.enroll_group("t", vendor.on_root());
    of_devices.enroll_group("d", draft(signing(Some(vendor.issuing.der()), None)));
    for mut world in [stored, of_devices] {
        let heard = registers_with(&mut world, &mut tpm.clone(), &id, leaf_alone());
        assert_eq!(heard, not_enrolled());
        assert!(world.tpm_challenges.is_empty());
        let heard = registers_here(&mut world, &mut tpm.clone(), &id, leaf_alone());
        assert_eq!(heard, not_enrolled());
    }
    let mut of_tpms = World::default();
    of_tpms.enroll_group("d", draft(signing(Some(vendor.root.der()), None)));
    of_tpms.enroll_group("t", vendor.on_issuing());
    let refused = heard(&of_tpms.register(device_alone()));
    assert_eq!(refused, Heard::Refused(DeviceRefusal::NotEnrolled));
}

#[test]
fn what_was_challenged_for_may_be_gone_when_the_answer_comes() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let mut world = World::default();
    world.enroll_group("vendor", vendor.on_issuing());
    let blob = world.challenge(&id, tpm_keys(&tpm, vendor.chain(&tpm))).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    let mut gone = world.clone();
    gone.disenroll_group("vendor");
    assert_eq!(heard(&answers(&mut gone, &tpm, &id)), not_enrolled());
    let mut off = world.clone();
    off.switch_group("vendor", ProvisioningStatus::Disabled);
    assert_eq!(heard(&answers(&mut off, &tpm, &id)), Heard::Disabled);
    let mut shadowed = world;
    shadowed.enroll(&id, draft(by_tpm(&other_tpm())));
    assert_eq!(heard(&answers(&mut shadowed, &tpm, &id)), not_enrolled());
    let mechanism = &shadowed.individuals[name::id(&id).key()].terms.attestation;
    assert!(matches!(mechanism, AttestationMechanism::Tpm(_)));
}

#[test]
fn an_answer_to_a_groups_challenge_is_for_its_own_name_and_time() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let id = tpm.registration_id();
    let mut world = World::default();
    world.enroll_group("vendor", vendor.on_issuing());
    let blob = world.challenge(&id, tpm_keys(&tpm, vendor.chain(&tpm))).expect("challenged");
    tpm.activate(&blob).expect("for this TPM");
    let elsewhere = request(&id, Evidence::Sas(tpm_token(&tpm, "tpm-1")));
    let wrong = not_attested(AttestFailure::WrongResource);
    assert_eq!(heard(&world.register(elsewhere)), wrong);
    let key = SymmetricKey::derived(&tpm.key().expect("a key"));
    let over = testkit::DeviceToken {
        style: ClientStyle::Java,
        id_scope: crate::scenes::SCOPE,
        registration_id: &id,
        key: &key,
        expiry_unix_secs: world.now.unix_secs() - 301,
    };
    let late = request(&id, Evidence::Sas(over.parsed()));
    assert_eq!(heard(&world.register(late)), not_attested(AttestFailure::TokenExpired));
    assert_eq!(heard(&answers(&mut world, &tpm, &id)), Heard::Assigned);
}

/// The two ways to write one key are one device: it must not get a second name by the other.
#[test]
fn a_tpm_of_a_group_has_one_name_however_its_key_is_written() {
    let (vendor, mut tpm) = (Vendor::new(), tpm());
    let mut spelled_out = tpm.endorsement_key();
    let exponent = spelled_out.len() - 256 - 2 - 4;
    spelled_out[exponent..exponent + 4].copy_from_slice(&65_537_u32.to_be_bytes());
    let other_name =
        attest::tpm::EndorsementKey::parse(&spelled_out).expect("means the same").registration_id();
    assert_ne!(other_name, tpm.registration_id());
    let mut world = World::default();
    world.enroll_group("vendor", vendor.on_issuing());
    world.enroll(&tpm.registration_id(), disabled(draft(keys(&name::key(1), &name::key(2)))));
    let chain = vendor.chain(&tpm);
    let id = tpm.registration_id();
    assert_eq!(registers_with(&mut world, &mut tpm, &id, chain.clone()), Heard::Disabled);
    let keys = TpmKeys { endorsement_key: spelled_out, ..tpm_keys(&tpm, chain) };
    let refused = world.challenge(&other_name, keys.clone());
    assert_eq!(refused, Err(DeviceRefusal::TpmNotEnrolled));
    let settings = world.settings.attest.clone();
    let posed = pose(&name::id(&other_name), keys, &settings, world.now, &testkit::fresh(3));
    let (challenge, blob) = posed.expect("keys of the right shape");
    tpm.activate(&blob).expect("the same key");
    let token = tpm_token(&tpm, &other_name);
    let evidence = Evidence::TpmAnswer { challenge: Box::new(challenge), token: Box::new(token) };
    assert_eq!(heard(&world.register(request(&other_name, evidence))), not_enrolled());
}
