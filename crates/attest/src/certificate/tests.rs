use testkit::{Ca, Credential, Profile};
use x509_parser::pem::Pem;

use super::*;

/// A certificate of `fixtures/certificates`, DER.
fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../fixtures/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).expect("fixture");
    Pem::iter_from_buffer(&text).next().expect("a block").expect("PEM").contents
}

#[test]
fn describing_shows_what_openssl_shows() {
    let described = describe(&fixture("leaf.pem")).expect("a certificate");
    // openssl x509 -in leaf.pem -noout -serial -fingerprint -sha1 (and -sha256)
    assert_eq!(described.info.subject_name, "CN=press-17");
    assert_eq!(described.info.issuer_name, "CN=Fixture CA");
    assert_eq!(described.info.serial_number, "784D19ADFCA795AA19E4755A8E9BE56DA52262BF");
    assert_eq!(described.info.sha1_thumbprint, "85455A466BE6B9735E6C5DCA771EABEC6E9EBEC2");
    assert_eq!(
        described.info.sha256_thumbprint,
        "41F33C46744854C6BAEC51509530938D606A9C71844C32D8012A4F7CE0DD2D7C"
    );
    assert_eq!(described.info.not_before, Timestamp::from_unix_secs(1_577_836_800));
    assert_eq!(described.info.not_after, Timestamp::from_unix_secs(4_102_358_400));
    assert_eq!(described.info.version, 3);
    assert_eq!(describe(&fixture("leaf-v1.pem")).expect("a certificate").info.version, 1);
}

#[test]
fn certificates_of_one_ca_share_its_key_hash_and_others_do_not() {
    let ca = Ca::root("root");
    let keys = |der: &[u8]| describe(der).expect("a certificate").keys;
    let again = keys(ca.reissued(Profile::ca("any")).der());
    let namesake = keys(Ca::root("root").der());
    assert_eq!(keys(ca.der()), again);
    assert_eq!(keys(ca.der()).subject, namesake.subject);
    assert_ne!(keys(ca.der()).subject_and_key, namesake.subject_and_key);
    assert_eq!(keys(ca.leaf("press-17").der()).issuer, again.subject);
    assert_eq!(again.issuer, again.subject);
}

#[test]
fn a_name_is_shown_last_part_first_and_quoted_where_it_must_be() {
    let subject = |profile: Profile| {
        describe(Credential::self_signed(profile).der()).expect("a certificate").info.subject_name
    };
    assert_eq!(
        subject(Profile::leaf("a").adjust(|params| {
            let name = &mut params.distinguished_name;
            *name = rcgen::DistinguishedName::new();
            name.push(rcgen::DnType::CountryName, "DE");
            name.push(rcgen::DnType::OrganizationName, "Works, Inc.");
            name.push(rcgen::DnType::CustomDnType(vec![1, 2, 3, 4]), "x");
            name.push(rcgen::DnType::CommonName, "press-17");
        })),
        "CN=press-17, OID.1.2.3.4=x, O=\"Works, Inc.\", C=DE"
    );
}

#[test]
fn common_names_are_all_found_in_every_encoding() {
    let names = |profile: Profile| common_names(Credential::self_signed(profile).der());
    assert_eq!(names(Profile::leaf("press-17")), Ok(vec!["press-17".to_owned()]));
    assert_eq!(
        names(Profile::leaf("x").common_names(&["press-17", "press-18"])),
        Ok(vec!["press-17".to_owned(), "press-18".to_owned()])
    );
    assert_eq!(names(Profile::leaf("x").common_names(&[])), Ok(Vec::new()));
    let in_utf16 = Profile::leaf("x").adjust(|params| {
        let text = rcgen::string::BmpString::try_from("press-17").expect("BMP");
        params.distinguished_name.push(rcgen::DnType::CommonName, rcgen::DnValue::BmpString(text));
    });
    assert_eq!(names(in_utf16), Ok(vec!["press-17".to_owned()]));
}

#[test]
fn only_a_certificate_that_says_so_is_a_ca() {
    assert_eq!(is_ca(Ca::root("root").der()), Ok(true));
    assert_eq!(is_ca(Ca::root("root").leaf("press-17").der()), Ok(false));
    assert_eq!(is_ca(&fixture("leaf-v1.pem")), Ok(false));
}

#[test]
fn an_rsa_key_beyond_8192_bits_is_refused_with_its_size() {
    let bad = describe(&fixture("leaf-rsa16384.pem")).expect_err("too large");
    assert_eq!(bad, BadCertificate::KeyTooLarge { bits: 16384, limit: 8192 });
    assert_eq!(bad.to_string(), "an RSA key has at most 8192 bits, the certificate's has 16384");
}

#[test]
fn bytes_that_are_no_certificate_are_refused_with_the_reason() {
    let good = Ca::root("root").der().to_vec();
    let check = |der: &[u8], expected: &str| {
        let text = describe(der).expect_err("refused").to_string();
        assert!(text.starts_with(expected), "{text}");
    };
    check(&[], "it is not a DER certificate");
    check(b"-----BEGIN CERTIFICATE-----", "it is not a DER certificate");
    check(&good[..good.len() - 1], "it is not a DER certificate");
    check(&[&good[..], b"ab"].concat(), "2 bytes follow the end of the certificate");
    check(&vec![0x30; 20_000], "a certificate has at most 16384 bytes, this one has 20000");
}

#[test]
fn what_an_issuer_signed_is_the_same_however_the_signature_is_written() {
    let ca = Ca::root("plant");
    let leaf = ca.leaf("press-17");
    let other = testkit::with_other_signature(leaf.der()).0;
    assert_ne!(thumbprint_sha256(&other), thumbprint_sha256(leaf.der()));
    assert_eq!(tbs_sha256(&other), tbs_sha256(leaf.der()));
    assert!(crate::chain::is_signed_by(&other, ca.der()), "it is as good");
    let path = |der: &[u8]| path_certificate(&describe(der).expect("a certificate"));
    assert_eq!(Some(path(&other).tbs), tbs_sha256(leaf.der()));
    assert_ne!(tbs_sha256(leaf.der()), tbs_sha256(ca.leaf("press-17").der()));
    assert_eq!(tbs_sha256(b"no certificate"), None);
}
