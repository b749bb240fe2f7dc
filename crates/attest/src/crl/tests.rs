//! What is read and believed of a list, and what is not.

use model::{EnrolledCertificate, crl::serial_hex};
use testkit::{Ca, KeyKind, NOW, Profile, Revocations};

use super::*;
use crate::certificate::describe;

/// What is expected of a list.
#[derive(Debug)]
enum Outcome {
    /// It counts, and revokes these.
    Revokes(&'static [&'static str]),
    /// It is refused, with a text that holds this.
    Refused(&'static str),
}

use Outcome::{Refused, Revokes};

fn check(der: &[u8], ca: &EnrolledCertificate, expected: &Outcome) {
    let outcome = Unverified::read(der).and_then(|list| list.verify(ca, NOW));
    match (outcome, expected) {
        (Ok(list), Revokes(serials)) => {
            let revoked: Vec<String> = list.contents().revoked.iter().map(serial_hex).collect();
            assert_eq!(revoked, *serials);
        }
        (Err(bad), Refused(text)) => {
            assert!(bad.to_string().contains(text), "{bad}\n  does not say: {text}");
        }
        (outcome, expected) => panic!("{outcome:?}\n  is not {expected:?}"),
    }
}

fn enrolled(ca: &Ca) -> EnrolledCertificate {
    describe(ca.der()).expect("a certificate")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/crls/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a fixture")
}

fn fixture_ca(name: &str) -> EnrolledCertificate {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = String::from_utf8(fixture(name)).expect("PEM");
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    describe(&STANDARD.decode(body).expect("base64")).expect("a certificate")
}

#[test]
fn a_complete_list_of_openssl_counts_and_every_other_kind_is_refused_with_its_reason() {
    let ca = fixture_ca("ca.pem");
    let both = Revokes(&["1002", "1003"]);
    check(&fixture("complete.crl"), &ca, &both);
    check(&fixture("devices.crl"), &ca, &Refused("one of several parts"));
    check(&fixture("version-1.crl"), &ca, &both);
    check(&fixture("delta.crl"), &ca, &Refused("a delta list"));
    check(&fixture("indirect.crl"), &ca, &Refused("an indirect list"));
    check(&fixture("reasons.crl"), &ca, &Refused("some reasons"));
    check(&fixture("attributes.crl"), &ca, &Refused("attribute certificates"));
    check(&fixture("unknown.crl"), &ca, &Refused("critical extension"));
    check(&fixture("takes-back.crl"), &ca, &Refused("only delta lists do"));
    check(&fixture("sha1.crl"), &ca, &Refused("did not sign it"));
    let no_lists = fixture_ca("ca-no-lists.pem");
    let unfit =
        "`CN=Fixture CA` cannot vouch for it: its key usage does not allow it to sign lists";
    check(&fixture("complete.crl"), &no_lists, &Refused(unfit));
}

#[test]
fn a_list_says_its_number_its_times_and_what_it_covers() {
    let ca = fixture_ca("ca.pem");
    let read = |name: &str| {
        let der = fixture(name);
        let list = Unverified::read(&der).expect("a list");
        assert_eq!(list.issuer_name(), "CN=Fixture CA");
        list.verify(&ca, NOW).expect("signed").into_contents()
    };
    let complete = read("complete.crl");
    assert_eq!(complete.number.map(|number| number.to_hex()).as_deref(), Some("A"));
    assert_eq!(complete.this_update, Timestamp::from_unix_secs(1_735_689_600));
    assert_eq!(complete.next_update, Some(Timestamp::from_unix_secs(4_102_358_400)));
    assert_eq!(complete.scope, None);
    assert_eq!(read("version-1.crl").number, None);
}

#[test]
fn only_the_key_of_the_ca_makes_a_list_count() {
    let ca = Ca::root("plant");
    let press = ca.leaf("press-17");
    let list = ca.revocation_list(&Revocations::number(7).with(&press));
    let outcome = Unverified::read(&list).expect("a list").verify(&enrolled(&ca), NOW);
    assert!(outcome.expect("signed").contents().revoked.contains(&press.serial()));

    // A namesake with another key, another CA, a certificate of the same name and key.
    check(&list, &enrolled(&Ca::root("plant")), &Refused("did not sign it"));
    check(
        &list,
        &enrolled(&Ca::root("other")),
        &Refused("its issuer is `CN=plant`, not `CN=other`"),
    );
    let renewed = ca.reissued(Profile::ca("plant"));
    let outcome = Unverified::read(&list).expect("a list").verify(&enrolled(&renewed), NOW);
    assert!(outcome.is_ok());
}

#[test]
fn lists_of_rsa_keys_count() {
    let ca = Ca::create(Profile::ca("plant").key(KeyKind::Rsa2048));
    check(&ca.revocation_list(&Revocations::default()), &enrolled(&ca), &Revokes(&[]));
}

#[test]
fn a_list_from_the_future_is_refused_and_one_that_is_over_is_read() {
    let ca = Ca::root("plant");
    let made = |from: i64, to: i64| {
        ca.revocation_list(&Revocations {
            this_update: NOW.plus_secs(from),
            next_update: NOW.plus_secs(to),
            ..Revocations::default()
        })
    };
    check(&made(MAX_AHEAD_SECS, 86_400), &enrolled(&ca), &Revokes(&[]));
    check(&made(MAX_AHEAD_SECS + 1, 86_400), &enrolled(&ca), &Refused("after the present moment"));
    check(&made(-86_400, -1), &enrolled(&ca), &Revokes(&[]));
}

#[test]
fn no_changed_byte_of_a_list_goes_unnoticed() {
    let ca = Ca::root("plant");
    let list = ca.revocation_list(&Revocations::number(7).with(&ca.leaf("press-17")));
    let ca = enrolled(&ca);
    for at in 0..list.len() {
        let mut changed = list.clone();
        changed[at] ^= 0x01;
        let outcome = Unverified::read(&changed).and_then(|list| list.verify(&ca, NOW));
        assert!(outcome.is_err(), "byte {at}");
    }
    for length in 0..list.len() {
        assert!(Unverified::read(&list[..length]).is_err(), "the first {length} bytes");
    }
    let mut longer = list;
    longer.push(0);
    check(&longer, &ca, &Refused("something follows"));
}

#[test]
fn a_serial_number_counts_once_and_without_its_zeros() {
    let ca = Ca::root("plant");
    let serials = vec![vec![0x00, 0x80], vec![0x80], vec![0x05], vec![0x7F; 20]];
    let list = ca.revocation_list(&Revocations { serials, ..Revocations::default() });
    check(
        &list,
        &enrolled(&ca),
        &Revokes(&["5", "7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F7F", "80"]),
    );
    let long = vec![vec![0x7F; MAX_SERIAL_BYTES + 1]];
    let list = ca.revocation_list(&Revocations { serials: long, ..Revocations::default() });
    check(&list, &enrolled(&ca), &Refused("too long"));
}

/// An element of DER, of at most 127 bytes.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u8::try_from(contents.len()).expect("short");
    assert!(length < 0x80, "short");
    [&[tag, length], &*contents].concat()
}

/// An extension below 2.5.29.
fn extension(number: u8, value: &[u8]) -> Vec<u8> {
    element(0x30, &[&[0x06, 3, 0x55, 0x1D, number], &element(0x04, &[value])])
}

/// A list of nobody that nobody signed. The parts are DER.
struct Built {
    version: Vec<u8>,
    inner_algorithm: Vec<u8>,
    algorithm: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

impl Default for Built {
    /// A list of version 2 without extensions, signed by ECDSA with SHA-256.
    fn default() -> Self {
        let oid = [0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 2];
        let algorithm = element(0x30, &[&oid]);
        let version = vec![0x02, 1, 1];
        Self { version, inner_algorithm: algorithm.clone(), algorithm, extensions: Vec::new() }
    }
}

impl Built {
    fn der(&self) -> Vec<u8> {
        let (issuer, made) = (element(0x30, &[]), element(0x17, &[b"250101000000Z"]));
        let extensions: Vec<&[u8]> = self.extensions.iter().map(Vec::as_slice).collect();
        let extensions = match extensions.is_empty() {
            true => Vec::new(),
            false => element(0xA0, &[&element(0x30, &extensions)]),
        };
        let parts = [&self.version, &self.inner_algorithm, &issuer, &made, &extensions];
        let signed = element(0x30, &parts.map(Vec::as_slice));
        element(0x30, &[&signed, &self.algorithm, &[0x03, 2, 0, 1]])
    }
}

/// What is read of a list, whoever signed it.
fn check_built(built: &Built, expected: Result<(), &str>) {
    let read = Unverified::read(&built.der()).and_then(Unverified::contents);
    let expected = match expected {
        Ok(()) => Ok(()),
        Err(why) => Err(format!("it is not a DER revocation list: {why}")),
    };
    assert_eq!(read.map(drop).map_err(|bad| bad.to_string()), expected);
}

#[test]
fn a_list_whose_parts_contradict_each_other_is_refused() {
    let with = |extensions| Built { extensions, ..Built::default() };
    let number = || extension(20, &[0x02, 1, 7]);
    check_built(&Built::default(), Ok(()));
    check_built(&with(vec![number()]), Ok(()));
    check_built(&Built { version: Vec::new(), ..Built::default() }, Ok(()));
    for version in [vec![0x02, 1, 0], vec![0x02, 1, 2], vec![0x02, 2, 0, 1]] {
        let neither = Err("its version is neither 1 nor 2");
        check_built(&Built { version, ..Built::default() }, neither);
    }
    let other = element(0x30, &[&[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 4, 3, 3]]);
    let two = Err("it names two different signature algorithms");
    check_built(&Built { inner_algorithm: other.clone(), ..Built::default() }, two);
    check_built(&Built { algorithm: other, ..Built::default() }, two);
    check_built(&with(vec![number(), number()]), Err("an extension is there twice"));
    let old = Built { version: Vec::new(), ..with(vec![number()]) };
    check_built(&old, Err("a list of version 1 has no extensions"));
    // A member beyond those of RFC 5280 §5.2.5, one without a place, and no sequence.
    let point = |value: &[u8]| with(vec![extension(28, value)]);
    let malformed = Err("its distribution point is malformed");
    check_built(&point(&[0x30, 3, 0x81, 1, 0xFF]), Ok(()));
    check_built(&point(&[0x30, 3, 0x86, 1, 0xFF]), malformed);
    check_built(&point(&[0x30, 3, 0x01, 1, 0xFF]), malformed);
    let another_kind = Err("an element is missing, or of another kind");
    check_built(&point(&[0x01, 1, 0xFF]), another_kind);
    check_built(&with(vec![extension(20, &[0x02, 1, 0x80])]), Err("its number is negative"));
}

#[test]
fn a_ca_whose_certificate_cannot_be_read_cannot_vouch_for_a_list() {
    let ca = Ca::root("plant");
    let list = ca.revocation_list(&Revocations::default());
    let mut broken = enrolled(&ca);
    broken.der.truncate(20);
    let why = "`CN=plant` cannot vouch for it: a certificate cannot be parsed: ";
    check(&list, &broken, &Refused(why));
}

#[test]
fn what_is_larger_than_a_list_may_be_is_not_looked_at() {
    let bytes = vec![0x30; MAX_CRL_BYTES + 1];
    assert_eq!(Unverified::read(&bytes).err(), Some(BadCrl::TooLarge(MAX_CRL_BYTES + 1)));
}

#[test]
fn a_certificate_is_tied_to_its_issuer_by_the_signature() {
    let (ca, namesake) = (Ca::root("plant"), Ca::root("plant"));
    let leaf = ca.leaf("press-17");
    assert!(issued(&enrolled(&ca), leaf.der()));
    assert!(!issued(&enrolled(&namesake), leaf.der()));
    assert!(!issued(&enrolled(&Ca::root("other")), leaf.der()));
    assert!(!issued(&enrolled(&ca), b"no certificate"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reading_panic(bytes: Vec<u8>) {
        let _ = Unverified::read(&bytes).and_then(Unverified::contents);
    }

    #[test]
    fn no_damage_to_a_list_makes_the_reading_panic(
        at in 0_usize..302, to: u8, length in 0_usize..303,
    ) {
        let mut list = fixture("complete.crl");
        if let Some(byte) = list.get_mut(at) {
            *byte = to;
        }
        list.truncate(length);
        let _ = Unverified::read(&list).and_then(Unverified::contents);
    }
}
