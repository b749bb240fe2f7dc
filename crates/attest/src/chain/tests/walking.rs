//! The way upward.

use super::*;

/// Walks, and lists the subjects reached with where each certificate was found.
#[track_caller]
fn check(chain: &[CertificateDer], stored: &[&Ca], expected: &[(&str, LinkFrom)]) {
    let stored: Vec<_> = stored.iter().map(|one| ca(one)).collect();
    let stored: Vec<_> = stored.iter().collect();
    let path = walk(&presented(chain), &stored).expect("few signatures");
    let reached: Vec<_> = path.iter().map(|link| (link.subject.as_str(), link.from)).collect();
    let expected: Vec<_> =
        expected.iter().map(|(name, from)| (format!("CN={name}"), *from)).collect();
    let expected: Vec<_> = expected.iter().map(|(name, from)| (name.as_str(), *from)).collect();
    assert_eq!(reached, expected);
}

fn der(ca: &Ca) -> CertificateDer {
    CertificateDer(ca.der().to_vec())
}

#[test]
fn the_walk_goes_from_the_issuer_upward_in_whatever_order_the_chain_was_sent() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let cell = line.intermediate("cell-2");
    let leaf = cell.leaf("press-17");
    check(
        &leaf.chain_with_root(),
        &[],
        &[
            ("cell-2", LinkFrom::Presented(1)),
            ("line-4", LinkFrom::Presented(2)),
            ("root", LinkFrom::Presented(3)),
        ],
    );
    let mixed = [leaf.alone(), vec![der(&root), der(&cell), der(&line)]].concat();
    check(
        &mixed,
        &[],
        &[
            ("cell-2", LinkFrom::Presented(2)),
            ("line-4", LinkFrom::Presented(3)),
            ("root", LinkFrom::Presented(1)),
        ],
    );
}

#[test]
fn the_walk_is_completed_from_our_store_and_ends_where_nobody_is_known() {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let leaf = line.intermediate("cell-2").leaf("press-17");
    check(
        &leaf.chain()[..2],
        &[&Ca::root("unrelated"), &root, &line],
        &[
            ("cell-2", LinkFrom::Presented(1)),
            ("line-4", LinkFrom::Stored(2)),
            ("root", LinkFrom::Stored(1)),
        ],
    );
    check(&leaf.alone(), &[&root], &[]);
    check(&leaf.chain()[..2], &[&root], &[("cell-2", LinkFrom::Presented(1))]);
}

#[test]
fn among_namesakes_the_signature_decides() {
    let real = Ca::root("root");
    let fakes: Vec<_> = (0..4).map(|_| Ca::root("root")).collect();
    let leaf = real.leaf("press-17");
    let chain: Vec<_> = leaf.alone().into_iter().chain(fakes.iter().map(der)).collect();
    check(&chain, &[&real], &[("root", LinkFrom::Stored(0))]);
    check(&leaf.alone(), &[&fakes[0], &fakes[1], &real], &[("root", LinkFrom::Stored(2))]);
    check(&chain, &[], &[]);
}

#[test]
fn among_namesakes_the_signature_decides_for_rsa_keys_too() {
    let real = Ca::create(Profile::ca("root").key(KeyKind::Rsa2048));
    let leaf = real.leaf("press-17");
    check(&leaf.alone(), &[&Ca::root("root"), &real], &[("root", LinkFrom::Stored(1))]);
}

#[test]
fn a_reissued_certificate_is_the_same_ca_and_is_reached_once() {
    let root = Ca::root("root");
    let again = root.reissued(Profile::ca("any").path_length(3));
    let leaf = root.leaf("press-17");
    let chain = [leaf.alone(), vec![der(&again)]].concat();
    check(&chain, &[&root], &[("root", LinkFrom::Presented(1))]);
    let path = walk(&presented(&chain), &[]).expect("few signatures");
    assert_eq!(path[0].keys.subject_and_key, ca(&root).keys.subject_and_key);
}

#[test]
fn every_issuer_of_a_cross_signed_ca_is_followed() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let line = old.intermediate("line-4");
    let crossed = line.cross_signed_by(&new);
    let chain = [line.leaf("press-17").alone(), vec![der(&crossed)]].concat();
    check(
        &chain,
        &[&old, &line, &new],
        &[
            ("line-4", LinkFrom::Presented(1)),
            ("new", LinkFrom::Stored(2)),
            ("old", LinkFrom::Stored(0)),
        ],
    );
}

#[test]
fn cas_that_sign_each_other_are_walked_once() {
    let (a, b) = (Ca::root("a"), Ca::root("b"));
    let (a_by_b, b_by_a) = (a.cross_signed_by(&b), b.cross_signed_by(&a));
    let chain = [a.leaf("press-17").alone(), vec![der(&a_by_b), der(&b_by_a)]].concat();
    check(&chain, &[], &[("a", LinkFrom::Presented(1)), ("b", LinkFrom::Presented(2))]);
}

#[test]
fn a_self_signed_leaf_has_no_way_upward() {
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    check(&leaf.alone(), &[], &[]);
    let chain = presented(&leaf.alone());
    let itself = enrolled(leaf.der());
    assert_eq!(walk(&chain, &[&itself]), Ok(Vec::new()));
}

#[test]
fn a_walk_that_would_take_too_many_signatures_is_refused() {
    let namesakes: Vec<_> = (0..=MAX_SIGNATURE_CHECKS).map(|_| ca(&Ca::root("root"))).collect();
    let stored: Vec<_> = namesakes.iter().collect();
    let leaf = presented(&Ca::root("root").leaf("press-17").alone());
    let text = "to find the chain's way more than 32 signatures would have to be checked";
    assert_eq!(walk(&leaf, &stored), Err(AttestFailure::TooLarge(text.to_owned())));
    assert_eq!(walk(&leaf, &stored[1..]), Ok(Vec::new()));
}

#[test]
fn a_root_among_many_namesakes_is_found() {
    let real = Ca::root("root");
    let namesakes: Vec<_> = (0..MAX_SIGNATURE_CHECKS - 2).map(|_| Ca::root("root")).collect();
    let mut stored: Vec<_> = namesakes.iter().collect();
    stored.push(&real);
    let expected = [("root", LinkFrom::Stored(namesakes.len()))];
    check(&real.leaf("press-17").alone(), &stored, &expected);
}
