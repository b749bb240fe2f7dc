//! Which lists concern a path, and what they do to it.

use attest::certificate::{describe, path_certificate};
use model::KnownProof;
use testkit::{Ca, NOW};

use super::*;

/// root › line-4 › press-17.
struct Scene {
    root: Ca,
    line: Ca,
    press: Vec<u8>,
}

fn scene() -> Scene {
    let root = Ca::root("root");
    let line = root.intermediate("line-4");
    let press = line.leaf("press-17").der().to_vec();
    Scene { root, line, press }
}

fn known(der: &[u8]) -> EnrolledCertificate {
    describe(der).expect("a certificate")
}

fn of(der: &[u8]) -> PathCertificate {
    path_certificate(&known(der))
}

impl Scene {
    fn path(&self) -> Vec<PathCertificate> {
        vec![of(&self.press), of(self.line.der()), of(self.root.der())]
    }
}

/// The list of a CA, good for a day, which revokes these.
fn list(ca: &Ca, revoked: &[&[u8]]) -> CrlFacts {
    CrlFacts {
        ca: known(ca.der()),
        end: Some(NOW.plus_secs(86_400)),
        revoked: revoked.iter().map(|der| of(der).serial).collect(),
    }
}

fn stale(list: CrlFacts) -> CrlFacts {
    CrlFacts { end: Some(NOW.plus_secs(-1)), ..list }
}

/// What becomes of the path, and how many lists are told to be out of date.
fn check_path(
    path: &[PathCertificate],
    lists: &[CrlFacts],
    setting: Option<StaleCrl>,
    expected: Result<usize, &str>,
) {
    let mut steps = Vec::new();
    let outcome = check(path, lists, setting, NOW, &mut steps);
    match (outcome, expected) {
        (Ok(()), Ok(n)) => assert_eq!(steps.len(), n, "{steps:?}"),
        (Err(failure), Err(text)) => {
            assert!(failure.to_string().contains(text), "{failure} does not say {text}");
        }
        (outcome, expected) => panic!("{outcome:?} is not {expected:?}"),
    }
}

#[test]
fn a_revoked_leaf_and_a_revoked_intermediate_let_nobody_in() {
    let scene = scene();
    let leaf = list(&scene.line, &[&scene.press]);
    let intermediate = list(&scene.root, &[scene.line.der()]);
    check_path(&scene.path(), &[leaf], None, Err("CN=press-17"));
    check_path(&scene.path(), &[intermediate], None, Err("CN=line-4"));
    check_path(&scene.path(), &[list(&scene.root, &[]), list(&scene.line, &[])], None, Ok(0));
    check_path(&scene.path(), &[], Some(StaleCrl::Refuse), Ok(0));
}

#[test]
fn the_list_of_a_namesake_revokes_nobody() {
    let scene = scene();
    let namesake = scene.root.intermediate("line-4");
    check_path(&scene.path(), &[list(&namesake, &[&scene.press])], None, Ok(0));
    let stale_namesake = stale(list(&namesake, &[]));
    check_path(&scene.path(), &[stale_namesake], Some(StaleCrl::Refuse), Ok(0));
}

#[test]
fn a_serial_number_on_the_list_of_another_issuer_means_nothing() {
    let scene = scene();
    // The root's list has the leaf's serial number, which is the line's to give.
    check_path(&scene.path(), &[list(&scene.root, &[&scene.press])], None, Ok(0));
}

#[test]
fn a_list_that_is_out_of_date_refuses_where_the_group_says_so() {
    let scene = scene();
    let over = stale(list(&scene.line, &[]));
    let lists = [over, list(&scene.root, &[])];
    check_path(&scene.path(), &lists, None, Ok(1));
    check_path(&scene.path(), &lists, Some(StaleCrl::Admit), Ok(1));
    check_path(&scene.path(), &lists, Some(StaleCrl::Refuse), Err("list of CN=line-4"));
    // What a list that is over revokes stays revoked.
    let over = stale(list(&scene.line, &[&scene.press]));
    check_path(&scene.path(), &[over], Some(StaleCrl::Admit), Err("CN=press-17"));
}

#[test]
fn a_list_that_was_never_fetched_is_out_of_date() {
    let scene = scene();
    let missing = CrlFacts { end: None, ..list(&scene.line, &[]) };
    check_path(&scene.path(), &[missing], Some(StaleCrl::Refuse), Err("list of CN=line-4"));
}

#[test]
fn an_issuer_that_is_not_on_a_verified_path_did_not_sign_it() {
    let scene = scene();
    let alone = [of(&scene.press)];
    check_path(&alone, &[list(&scene.line, &[&scene.press])], None, Ok(0));
    let with_issuer = [of(&scene.press), of(scene.line.der())];
    check_path(&with_issuer, &[list(&scene.line, &[&scene.press])], None, Err("CN=press-17"));
}

#[test]
fn a_device_is_found_revoked_by_what_it_was_provisioned_by() {
    let scene = scene();
    let check = |path: Vec<PathCertificate>, lists: &[CrlFacts], expected: bool| {
        let grounds = Grounds { proof: KnownProof::Certificates(Vec::new()), path };
        assert_eq!(of_grounds(&grounds, lists).is_some(), expected);
    };
    let (line, root) = (of(scene.line.der()), of(scene.root.der()));
    check(scene.path(), &[list(&scene.line, &[&scene.press])], true);
    check(scene.path(), &[list(&scene.root, &[scene.line.der()])], true);
    check(scene.path(), &[list(&scene.line, &[])], false);
    check(scene.path(), &[], false);
    // The root was not known then, and its list came later.
    check(vec![of(&scene.press), line.clone()], &[list(&scene.root, &[scene.line.der()])], true);
    // A namesake of a CA that was known is another one.
    let namesake = scene.root.intermediate("line-4");
    check(vec![of(&scene.press), line, root], &[list(&namesake, &[&scene.press])], false);
}
