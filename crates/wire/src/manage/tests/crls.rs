//! Revocation lists as they are shown, and where they come from as it is said.

use model::{Crl, CrlList, CrlNumber, CrlSource};

use super::*;

/// A list that came from a file.
pub(super) fn a_list() -> Crl {
    Crl {
        ca: a_certificate().certificate,
        list: Some(CrlList {
            sha256: [0xAB; 32],
            number: CrlNumber::from_hex("1F"),
            scope: None,
            this_update: NOW.plus_secs(-86_400),
            next_update: Some(NOW.plus_secs(86_400)),
            n_revoked: 3,
            taken_in: NOW,
        }),
        source: None,
        etag: etag(),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

/// A URL that never answered.
pub(super) fn a_followed_url() -> Crl {
    let source = CrlSource {
        url: "https://crl.example/plant.crl".to_owned(),
        every_secs: 3600,
        entity_tag: Some("x".to_owned()),
        due: NOW,
        last_success: None,
        last_error: Some("no answer".to_owned()),
        n_failures: 2,
    };
    Crl { list: None, source: Some(source), ..a_list() }
}

#[test]
fn a_list_is_shown_as_out_of_date_when_it_is() {
    let check = |shown: &Crl, now: Timestamp, expected: bool| {
        let json = crl(shown, now);
        assert_eq!(json.get("isStale"), Some(&Json::Bool(expected)), "{json}");
        assert_eq!(json.get("revoked").is_some(), shown.list.is_some(), "{json}");
    };
    check(&a_list(), NOW, false);
    check(&a_list(), NOW.plus_secs(86_401), true);
    check(&a_followed_url(), NOW, true);
}

#[test]
fn a_source_is_read_member_by_member() {
    let check = |body: &str, expected: Result<Option<u32>, &str>| match (
        parse_crl_source(body.as_bytes()),
        expected,
    ) {
        (Ok(source), Ok(every_secs)) => {
            assert_eq!((source.url.as_str(), source.every_secs), ("https://a/", every_secs));
        }
        (Err(refusal), Err(text)) => assert!(refusal.to_string().contains(text), "{refusal}"),
        (outcome, expected) => panic!("{body}: {outcome:?} is not {expected:?}"),
    };
    check(r#"{"url":"https://a/"}"#, Ok(None));
    check(r#"{"url":"https://a/","everySecs":3600}"#, Ok(Some(3600)));
    check(r#"{"url":"https://a/","everySecs":"6h"}"#, Err("everySecs"));
    check(r#"{"url":"https://a/","everySecs":-1}"#, Err("everySecs"));
    check(r#"{"url":"https://a/","everySecs":5000000000}"#, Err("everySecs"));
    check(r#"{"everySecs":1}"#, Err("url"));
    check(r#"{"url":"https://a/","etag":"x"}"#, Err("etag"));
}
