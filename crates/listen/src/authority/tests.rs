use std::time::Duration;

use rustls_pki_types::{ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::*;
use crate::ServerCertificate;
use crate::tests::scene::NOW;

const NAMES: [&str; 5] = ["localhost", "Induct.example", "*.devices.example", "127.0.0.1", "::1"];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Whether webpki, as a client would, accepts the leaf under this CA, for this name, at this moment.
fn accepted(ca_pem: &str, leaf_pem: &str, name: &str, at_unix_secs: i64) -> bool {
    let (ca, leaf) = (der(ca_pem), der(leaf_pem));
    let anchors = [anchor_from_trusted_cert(&ca).unwrap()];
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at_unix_secs.try_into().unwrap()));
    let path = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &[],
        at,
        KeyUsage::server_auth(),
        None,
        None,
    );
    let name = ServerName::try_from(name).unwrap();
    path.is_ok() && leaf.verify_is_valid_for_subject_name(&name).is_ok()
}

#[test]
fn the_server_certificate_verifies_for_each_of_its_names() {
    let own = create(&names(&NAMES), NOW).unwrap();
    for name in ["localhost", "induct.example", "a.devices.example", "127.0.0.1", "::1"] {
        assert!(accepted(&own.ca_pem, &own.chain_pem, name, NOW), "{name}");
    }
    for name in ["other.example", "a.b.devices.example", "127.0.0.2", "::2"] {
        assert!(!accepted(&own.ca_pem, &own.chain_pem, name, NOW), "{name}");
    }
    let stranger = create(&names(&NAMES), NOW).unwrap();
    assert!(!accepted(&stranger.ca_pem, &own.chain_pem, "localhost", NOW));
}

#[test]
fn the_server_certificate_is_valid_for_397_days_from_five_minutes_ago() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let begins = NOW - 5 * 60;
    let ends = begins + 397 * DAY_SECS;
    for (at, expected) in [(begins - 1, false), (begins, true), (ends, true), (ends + 1, false)] {
        assert_eq!(accepted(&own.ca_pem, &own.chain_pem, "localhost", at), expected, "{at}");
    }
}

#[test]
fn the_ca_may_issue_leaves_only_and_lasts_ten_years() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let ca = der(&own.ca_pem);
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    assert_eq!(ca.subject().to_string(), "CN=Induct local CA");
    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());
    let lasts_secs = ca.validity().not_after.timestamp() - ca.validity().not_before.timestamp();
    assert_eq!(lasts_secs, 3_650 * DAY_SECS);
}

#[test]
fn the_chain_holds_the_leaf_alone_and_its_key() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let certificate = ServerCertificate::from_pem(&own.chain_pem, &own.key_pem).unwrap();
    assert_eq!(certificate.chain_der().len(), 1);
}

#[test]
fn renewals_verify_under_the_same_ca() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let later = NOW + 380 * DAY_SECS;
    let new_names = names(&["new.example"]);
    for (chain_pem, key_pem) in [
        issue_server(&own.ca_pem, &own.ca_key_pem, &new_names, later).unwrap(),
        issue_server_rsa(&own.ca_pem, &own.ca_key_pem, &new_names, later).unwrap(),
    ] {
        assert!(accepted(&own.ca_pem, &chain_pem, "new.example", later));
        assert!(!accepted(&own.ca_pem, &chain_pem, "localhost", later));
        ServerCertificate::from_pem(&chain_pem, &key_pem).unwrap();
    }
}

#[test]
fn a_server_certificate_does_not_outlive_the_ca() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let ca_ends = NOW - BACK_DATE_SECS + CA_SECS;
    let late = ca_ends - 40 * DAY_SECS;
    let (chain_pem, _) = issue_server(&own.ca_pem, &own.ca_key_pem, &names(&NAMES), late).unwrap();
    assert!(accepted(&own.ca_pem, &chain_pem, "localhost", ca_ends));
    assert!(!accepted(&own.ca_pem, &chain_pem, "localhost", ca_ends + 1));
    assert!(covers(&chain_pem, &names(&NAMES), late));

    let too_late = ca_ends - 30 * DAY_SECS;
    let error = issue_server(&own.ca_pem, &own.ca_key_pem, &names(&NAMES), too_late).unwrap_err();
    assert!(matches!(error, ListenError::AuthorityEnds), "{error}");
}

/// Whether a certificate for [`NAMES`], made at [`NOW`], covers `asked` this many seconds later.
#[track_caller]
fn check_covers(asked: &[&str], later_secs: i64, expected: bool) {
    let own = create(&names(&NAMES), NOW).unwrap();
    assert_eq!(covers(&own.chain_pem, &names(asked), NOW + later_secs), expected, "{asked:?}");
}

#[test]
fn a_certificate_covers_the_names_it_was_made_for() {
    check_covers(&NAMES, 0, true);
    check_covers(&["LOCALHOST", "0:0:0:0:0:0:0:1"], 0, true);
    check_covers(&["localhost", "other.example"], 0, false);
    check_covers(&["127.0.0.2"], 0, false);
    check_covers(&["a.devices.example"], 0, false);
}

#[test]
fn a_certificate_covers_nothing_in_its_last_thirty_days() {
    let ends_secs = SERVER_SECS - BACK_DATE_SECS;
    check_covers(&NAMES, ends_secs - RENEW_SECS - 1, true);
    check_covers(&NAMES, ends_secs - RENEW_SECS, false);
    check_covers(&NAMES, -BACK_DATE_SECS - 1, false);
}

#[test]
fn what_is_no_certificate_covers_nothing() {
    for text in ["", "localhost", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        assert!(!covers(text, &[], NOW), "{text:?}");
    }
}

#[test]
fn names_that_fit_no_certificate_are_refused_by_name() {
    for bad in ["", "no spaces", "-dash.example", "*", "*.*.example", "ümlaut.example", "a..b"] {
        let error = create(&names(&["localhost", bad]), NOW).unwrap_err();
        assert!(matches!(&error, ListenError::BadName { name } if name == bad), "{bad:?}: {error}");
    }
    assert!(matches!(create(&[], NOW), Err(ListenError::NoNames)));
}

#[test]
fn a_long_first_name_is_no_common_name() {
    let long = format!("{}.example", "a".repeat(60));
    let own = create(&names(&[&long]), NOW).unwrap();
    assert!(accepted(&own.ca_pem, &own.chain_pem, &long, NOW));
    assert!(covers(&own.chain_pem, &names(&[&long]), NOW));
}

#[test]
fn a_clock_outside_of_time_is_refused() {
    for now in [i64::MIN, -3_000_000_000, 253_402_300_800, i64::MAX] {
        let error = create(&names(&NAMES), now).unwrap_err();
        assert!(matches!(error, ListenError::BadTime { .. }), "{now}: {error}");
    }
}

#[test]
fn a_ca_that_cannot_be_used_says_why() {
    let own = create(&names(&NAMES), NOW).unwrap();
    let other = create(&names(&NAMES), NOW).unwrap();
    for (ca_pem, ca_key_pem, says) in [
        ("", own.ca_key_pem.as_str(), "not PEM"),
        (&own.ca_pem, "", "not a PEM private key"),
        (&own.ca_pem, &other.ca_key_pem, "do not belong together"),
        (&own.chain_pem, &own.key_pem, "not a CA's"),
    ] {
        let error = issue_server(ca_pem, ca_key_pem, &names(&NAMES), NOW).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
