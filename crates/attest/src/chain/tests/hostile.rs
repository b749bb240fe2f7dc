//! Chains that nobody sends by accident.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[test]
fn a_chain_of_100_certificates_is_refused_with_both_figures() {
    let leaf = Ca::root("root").leaf("press-17");
    let chain = vec![leaf.alone().remove(0); 100];
    assert_eq!(
        Presented::parse(&chain, &Limits::default()).expect_err("refused"),
        AttestFailure::TooLarge("a chain has at most 10 certificates, this one has 100".to_owned())
    );
    assert!(Presented::parse(&chain[..MAX_CHAIN], &Limits::default()).is_ok());
}

#[test]
fn an_rsa_16384_key_is_refused_as_leaf_and_above_it() {
    let huge = fixture("leaf-rsa16384.pem");
    let refused = AttestFailure::TooLarge(
        "an RSA key has at most 8192 bits, the certificate's has 16384".to_owned(),
    );
    let parse = |chain: &[CertificateDer]| Presented::parse(chain, &Limits::default());
    assert_eq!(parse(std::slice::from_ref(&huge)).expect_err("refused"), refused);
    assert_eq!(parse(&[fixture("leaf.pem"), huge]).expect_err("refused"), refused);
}

#[test]
fn an_empty_chain_is_no_evidence() {
    let verdict = Presented::parse(&[], &Limits::default());
    assert_eq!(verdict.expect_err("refused"), AttestFailure::NoEvidence);
}

#[test]
fn garbage_anywhere_in_the_chain_is_refused() {
    let leaf = Ca::root("root").leaf("press-17");
    let mut chain = leaf.alone();
    chain.push(CertificateDer(b"not a certificate".to_vec()));
    for chain in [&chain[..], &chain[1..]] {
        let verdict = Presented::parse(chain, &Limits::default());
        assert!(matches!(verdict, Err(AttestFailure::BadCertificate(_))), "{verdict:?}");
    }
}

#[test]
fn narrower_limits_are_kept() {
    let leaf = Ca::root("root").intermediate("line-4").leaf("press-17");
    let parse = |limits: Limits| Presented::parse(&leaf.chain(), &limits);
    let narrow = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        let verdict = parse(limits);
        assert!(matches!(verdict, Err(AttestFailure::TooLarge(_))), "{verdict:?}");
    };
    narrow(|limits| limits.max_certificates = 1);
    narrow(|limits| limits.max_certificate_bytes = 100);
    let rsa = Credential::self_signed(Profile::leaf("press").key(KeyKind::Rsa2048));
    let limits = Limits { max_rsa_bits: 2047, ..Limits::default() };
    assert!(Presented::parse(&rsa.alone(), &limits).is_err());
    let limits = Limits { max_rsa_bits: 2048, ..Limits::default() };
    assert!(Presented::parse(&rsa.alone(), &limits).is_ok());
}

/// What the fuzz target `chain` does: everything that can be done with a chain, with the first of
/// its certificates that describes itself as anchor too.
fn exercise(chain: &[CertificateDer], now: Timestamp) {
    for certificate in chain {
        let _ = certificate::common_names(&certificate.0);
        let _ = certificate::is_ca(&certificate.0);
    }
    let Ok(presented) = Presented::parse(chain, &Limits::default()) else {
        return;
    };
    let stored: Vec<_> = chain.iter().filter_map(|one| describe(&one.0).ok()).collect();
    let stored: Vec<_> = stored.iter().collect();
    let _ = presented.leaf_common_name();
    let _ = walk(&presented, &stored);
    for anchor in &stored {
        let _ = validate(&presented, &stored, anchor, &HashSet::new(), now);
    }
}

/// The fixtures, to be changed a little.
fn seeds() -> Vec<Vec<u8>> {
    let names = ["ca.pem", "leaf.pem", "leaf-v1.pem", "leaf-sha1.pem", "leaf-rsa16384.pem"];
    names.iter().map(|name| fixture(name).0).collect()
}

prop_compose! {
    fn mutated()(
        seed in 0..5_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) -> CertificateDer {
        let mut der = seeds().swap_remove(seed);
        for (at, value) in edits {
            let at = at.index(der.len());
            der[at] = value;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        CertificateDer(der)
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        chain in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
        now in any::<i64>(),
    ) {
        let chain: Vec<_> = chain.into_iter().map(CertificateDer).collect();
        exercise(&chain, Timestamp::from_ticks(now));
    }

    #[test]
    fn changed_certificates_never_panic(
        chain in proptest::collection::vec(mutated(), 1..5),
        now in any::<i64>(),
    ) {
        exercise(&chain, Timestamp::from_ticks(now));
        exercise(&chain, NOW);
    }

    #[test]
    fn no_change_of_a_byte_makes_a_refused_leaf_valid(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let anchor = enrolled(&fixture("ca.pem").0);
        for name in ["leaf-v1.pem", "leaf-sha1.pem", "leaf.pem"] {
            let good = fixture(name);
            let mut changed = good.clone();
            let at = at.index(changed.0.len());
            changed.0[at] = value;
            if let Ok(presented) = Presented::parse(&[changed.clone()], &Limits::default()) {
                let verdict = validate(&presented, &[], &anchor, &HashSet::new(), NOW);
                let unchanged = changed == good && name == "leaf.pem";
                prop_assert_eq!(verdict.is_ok(), unchanged, "{} {}", name, at);
            }
        }
    }
}

/// What a device calls itself may end up in a log, where it must not begin a line of its own.
#[test]
fn a_name_brings_no_control_characters_into_a_message() {
    let root = Ca::root("root");
    let name =
        "press\r\n2026-11-21T09:00:00Z INFO assigned `press-17`\u{1b}[2J\u{85}\u{7f}\u{202e}";
    let leaf = root.issue(Profile::leaf(name).expired());
    let outcome = presented(&leaf.chain()).check_leaf_validity(NOW);
    let Err(AttestFailure::Expired(subject)) = outcome else { panic!("{outcome:?}") };
    assert!(subject.contains("press") && subject.contains("assigned `press-17`"), "{subject:?}");
    assert!(!subject.chars().any(|c| c.is_control() || c == '\u{202e}'), "{subject:?}");
    let ca = root.issue_ca(Profile::ca("line\n4").expired());
    let chain = presented(&ca.leaf("press-17").chain());
    let path = walk(&chain, &[]).expect("few checks");
    assert!(path.iter().any(|link| link.subject.contains("line")), "{path:?}");
    assert!(!path.iter().any(|link| link.subject.contains('\n')), "{path:?}");
}
