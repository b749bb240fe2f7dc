use std::collections::HashSet;

use model::{CertificateDer, EnrolledCertificate};
use testkit::{Ca, NOW, Profile};

use super::*;
use crate::{
    certificate::describe,
    chain::{KeyPurpose, Limits, validate_path},
};

fn der(ca: &Ca) -> CertificateDer {
    CertificateDer(ca.der().to_vec())
}

fn describe_all(cas: &[&Ca]) -> Vec<EnrolledCertificate> {
    cas.iter().map(|ca| describe(ca.der()).expect("a certificate")).collect()
}

fn presented(chain: &[CertificateDer]) -> Presented {
    Presented::parse(chain, &Limits::default()).expect("within limits")
}

/// Validates up to the anchor and ascends; the names reached, or why not.
fn ascended(
    chain: &[CertificateDer],
    anchor: &Ca,
    stored: &[&Ca],
    watched: &[&Ca],
) -> Result<Vec<String>, AttestFailure> {
    let presented = presented(chain);
    let anchor = describe(anchor.der()).expect("a certificate");
    let (stored, watched) = (describe_all(stored), describe_all(watched));
    let (stored, watched): (Vec<_>, Vec<_>) = (stored.iter().collect(), watched.iter().collect());
    let purpose = KeyPurpose::ClientAuth;
    let path = validate_path(purpose, &presented, &stored, &anchor, &HashSet::new(), NOW)?;
    let path = path.ascend(&presented, &stored, &watched)?;
    Ok(path.into_iter().map(|certificate| certificate.subject_name).collect())
}

#[track_caller]
fn check(
    chain: &[CertificateDer],
    anchor: &Ca,
    stored: &[&Ca],
    watched: &[&Ca],
    expected: &[&str],
) {
    let expected: Vec<String> = expected.iter().map(|name| format!("CN={name}")).collect();
    assert_eq!(ascended(chain, anchor, stored, watched), Ok(expected));
}

#[test]
fn the_path_goes_on_above_the_anchor_as_far_as_anyone_is_known() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let cell = line.intermediate("cell-2");
    let leaf = cell.leaf("press-17");
    let up_to_cell = ["press-17", "cell-2"];
    let all = ["press-17", "cell-2", "line-4", "root"];
    check(&leaf.chain(), &root, &[], &[], &all);
    check(&leaf.chain()[..2], &cell, &[], &[], &up_to_cell);
    // The one in between is missing, so nobody can tell.
    check(&leaf.chain()[..2], &cell, &[&root], &[&root], &up_to_cell);
    check(&leaf.chain()[..2], &cell, &[&root, &line], &[], &all);
    check(&leaf.chain()[..2], &cell, &[&line], &[&root], &all);
    check(&leaf.chain_with_root(), &cell, &[], &[], &all);
    let mixed = [leaf.alone(), vec![der(&root), der(&cell), der(&line)]].concat();
    check(&mixed, &cell, &[], &[], &all);
}

#[test]
fn a_name_alone_makes_nobody_an_issuer() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let namesake = Ca::root("root");
    check(&leaf.chain(), &line, &[&namesake], &[&namesake], &["press-17", "line-4"]);
    let decoyed = [leaf.chain(), vec![der(&namesake)]].concat();
    check(&decoyed, &line, &[&namesake, &root], &[], &["press-17", "line-4", "root"]);
    check(&decoyed, &root, &[&namesake], &[&namesake], &["press-17", "line-4", "root"]);
}

#[test]
fn every_certificate_of_a_ca_above_counts() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let works = root.intermediate("works");
    let line = works.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let crossed = works.cross_signed_by(&other);
    let known = [&works, &crossed];
    let all = ["press-17", "line-4", "works", "works", "root", "other"];
    check(
        &leaf.chain()[..2],
        &line,
        &known,
        &[&root, &other],
        &["press-17", "line-4", "works", "works", "root", "other"],
    );
    let sent = [leaf.chain(), vec![der(&crossed)]].concat();
    check(&sent, &line, &[], &[&root, &other], &all);
    // Below the anchor the verified path says what the device rests on.
    check(&sent, &root, &[], &[&other], &["press-17", "line-4", "works", "root"]);
}

#[test]
fn what_is_presented_twice_counts_once_and_circles_end() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let crossed = root.cross_signed_by(&line);
    let sent = [leaf.chain(), vec![der(&root), der(&root), der(&crossed)]].concat();
    check(&sent, &line, &[&root, &line], &[&root], &["press-17", "line-4", "root", "root"]);
}

#[test]
fn whoever_makes_the_search_too_long_is_refused() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.leaf("press-17");
    let namesakes: Vec<Ca> = (0..=MAX_SIGNATURE_CHECKS).map(|_| Ca::root("root")).collect();
    let namesakes: Vec<&Ca> = namesakes.iter().collect();
    let too_long = Err(AttestFailure::TooLarge(
        "to find the CAs above the chain more than 32 signatures would have to be checked"
            .to_owned(),
    ));
    assert_eq!(ascended(&leaf.chain(), &line, &namesakes, &[]), too_long);
    assert_eq!(ascended(&leaf.chain(), &line, &[], &namesakes), too_long);
    // As many as are checked, of which one is the line's own.
    let found = Ok(vec!["CN=press-17".to_owned(), "CN=line-4".to_owned()]);
    assert_eq!(ascended(&leaf.chain(), &line, &[], &namesakes[1..]), found);
    // A root among as many namesakes asks about itself first.
    let own = Ca::root("root").reissued(Profile::ca("root"));
    let leaf = own.leaf("press-17");
    check(&leaf.alone(), &own, &namesakes, &[], &["press-17", "root"]);
}

/// A certificate of the forged fixtures (`fixtures/certificates/forged`).
fn forged(name: &str) -> CertificateDer {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/certificates/forged");
    CertificateDer(std::fs::read(format!("{folder}/{name}.der")).expect("a fixture"))
}

#[test]
fn a_made_up_key_that_fits_the_signature_hides_nobody() {
    let enrolled = |name: &str| describe(&forged(name).0).expect("a certificate");
    let (root, line) = (enrolled("root"), enrolled("line"));
    let names = |sent: &[&str], stored: &[&EnrolledCertificate], watched: &[_]| -> Vec<String> {
        let chain: Vec<_> = sent.iter().map(|name| forged(name)).collect();
        let presented = presented(&chain);
        let path = VerifiedPath::of_leaf(&presented).ascend(&presented, stored, watched);
        let keys = [("line", &line), ("root", &root)].map(|(name, ca)| (name, ca.keys));
        let named = |one: &PathCertificate| {
            let key = one.subject_and_key;
            let known = keys.iter().find(|(_, keys)| keys.subject_and_key == key);
            known.map_or("another", |(name, _)| *name).to_owned()
        };
        path.expect("few signatures").iter().skip(1).map(named).collect()
    };
    for decoy in ["dsks", "compressed", "plain"] {
        for sent in [vec!["leaf", decoy], vec!["leaf", decoy, "line"], vec!["leaf", "line", decoy]]
        {
            let banned_line = names(&sent, &[], &[&line]);
            assert!(banned_line.contains(&"line".to_owned()), "{sent:?} {banned_line:?}");
            let banned_root = names(&sent, &[&line], &[&root]);
            assert!(banned_root.contains(&"root".to_owned()), "{sent:?} {banned_root:?}");
            if sent.contains(&"line") {
                let not_stored = names(&sent, &[], &[&root]);
                assert!(not_stored.contains(&"root".to_owned()), "{sent:?} {not_stored:?}");
            }
        }
    }
}
