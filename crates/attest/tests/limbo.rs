//! The public path-validation suite x509-limbo, run against our validation.
//!
//! Every case that does not hang on DNS names is run twice. Once as the case is meant, where most
//! leaves are servers: here our verdict agrees, or the case stands in `limbo-divergences.toml`
//! with the reason. And once as devices are validated, with the purpose of client authentication:
//! here the verdict is the same, but that leaves for servers alone are refused, for that reason
//! and no other. `docs/divergences-x509.md` tells people of both.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a suite that cannot be read is a failure of the test"
)]

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::PathBuf,
};

use induct_attest::{
    certificate,
    chain::{KeyPurpose, Limits, Presented, validate_for},
};
use model::{AttestFailure, CertificateDer, Timestamp};
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The groups of cases that do not hang on DNS names.
const GROUPS: [&str; 5] = ["cve", "invalid", "pathlen", "pathological", "rfc5280"];

/// How many cases these groups have, so that a lost file cannot pass for success.
const CASES: usize = 130;

#[derive(Debug)]
struct Case {
    id: String,
    trusted: Vec<Vec<u8>>,
    chain: Vec<CertificateDer>,
    now: Timestamp,
    purpose: KeyPurpose,
    accepted: bool,
}

#[test]
fn every_verdict_agrees_with_the_suite_or_is_a_known_divergence() {
    let mut divergences = divergences();
    let mut wrong = Vec::new();
    for case in cases() {
        let ours = case.validate(case.purpose);
        match (ours.is_ok() == case.accepted, divergences.remove(&case.id)) {
            (true, None) => {}
            (true, Some(_)) => wrong.push(format!("{}: no longer diverges", case.id)),
            (false, None) => {
                wrong.push(format!("{}: we say {ours:?}, the suite does not", case.id));
            }
            (false, Some(listed)) if listed.accepted != ours.is_ok() => {
                wrong.push(format!("{}: diverges otherwise than listed", case.id));
            }
            (false, Some(_)) => {}
        }
    }
    wrong.extend(divergences.into_keys().map(|id| format!("{id}: listed, but not in the suite")));
    assert!(wrong.is_empty(), "{} problems\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn as_a_device_a_leaf_for_servers_alone_is_refused_and_nothing_else_changes() {
    let page = page();
    let (mut for_servers, mut for_clients) = (0, 0);
    for case in cases() {
        let as_meant = case.validate(case.purpose);
        let as_device = case.validate(KeyPurpose::ClientAuth);
        if case.leaf_excludes_clients() {
            for_servers += 1;
            let listed = page.contains(&format!("`{}`", case.id));
            assert!(listed || !case.accepted, "{} is not on the page", case.id);
            let failures = as_device.expect_err(&case.id);
            let reason = "an extended key usage does not include client authentication";
            let of_purpose = failures.contains(&AttestFailure::BadChain(reason.to_owned()));
            assert!(of_purpose || as_meant.is_err(), "{}: {failures:?}", case.id);
        } else {
            for_clients += 1;
            let same = as_device.is_ok() == as_meant.is_ok();
            assert!(same || case.id == "rfc5280::eku::ee-wrong-eku", "{}: {as_device:?}", case.id);
        }
    }
    assert_eq!((for_servers, for_clients), (113, 17));
}

#[test]
fn the_page_on_divergences_lists_every_one_with_its_reason() {
    let page = page();
    for (id, divergence) in divergences() {
        let row = format!("| `{id}` | {} | {} |", divergence.verdict(), divergence.reason);
        assert!(page.contains(&row), "docs/divergences-x509.md lacks the row\n{row}");
    }
}

impl Case {
    /// Validates up to each anchor in turn; one is enough. Otherwise the failures, one each.
    fn validate(&self, purpose: KeyPurpose) -> Result<(), Vec<AttestFailure>> {
        let presented =
            Presented::parse(&self.chain, &Limits::default()).map_err(|failure| vec![failure])?;
        let mut failures = Vec::new();
        for der in &self.trusted {
            // An anchor that no operator could enroll admits nobody.
            let verdict =
                certificate::describe(der).map_err(AttestFailure::from).and_then(|anchor| {
                    validate_for(purpose, &presented, &[], &anchor, &HashSet::new(), self.now)
                });
            match verdict {
                Ok(()) => return Ok(()),
                Err(failure) => failures.push(failure),
            }
        }
        Err(failures)
    }

    /// Whether the leaf has extended key usages, none of which is for clients.
    fn leaf_excludes_clients(&self) -> bool {
        let Ok((_, leaf)) = X509Certificate::from_der(&self.chain[0].0) else {
            return false;
        };
        match leaf.extended_key_usage() {
            Ok(Some(usages)) => !usages.value.client_auth,
            _ => false,
        }
    }
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(root().join("fixtures/x509-limbo/limbo.json")).expect("fixture");
    let suite: Value = serde_json::from_str(&text).expect("JSON");
    let all = suite["testcases"].as_array().expect("cases");
    let cases: Vec<_> = all
        .iter()
        .filter(|case| {
            let id = case["id"].as_str().expect("an id");
            GROUPS.contains(&id.split("::").next().expect("a group"))
        })
        .map(case)
        .collect();
    assert_eq!(cases.len(), CASES);
    cases
}

fn case(case: &Value) -> Case {
    let ders = |member: &str| -> Vec<Vec<u8>> {
        let texts = case[member].as_array().expect("a list");
        texts.iter().map(|text| der(text.as_str().expect("PEM"))).collect()
    };
    let leaf = der(case["peer_certificate"].as_str().expect("PEM"));
    let others = ders("untrusted_intermediates");
    Case {
        id: case["id"].as_str().expect("an id").to_owned(),
        trusted: ders("trusted_certs"),
        chain: std::iter::once(leaf).chain(others).map(CertificateDer).collect(),
        now: match case["validation_time"].as_str() {
            Some(text) => {
                let moment: jiff::Timestamp = text.parse().expect("a moment");
                let ticks = moment.as_nanosecond() / 100;
                Timestamp::from_ticks(ticks.try_into().expect("this millennium"))
            }
            None => testkit::NOW,
        },
        purpose: match case["validation_kind"].as_str() {
            Some("SERVER") => KeyPurpose::ServerAuth,
            Some("CLIENT") => KeyPurpose::ClientAuth,
            other => panic!("{other:?} is no kind of validation"),
        },
        accepted: match case["expected_result"].as_str() {
            Some("SUCCESS") => true,
            Some("FAILURE") => false,
            other => panic!("{other:?} is no result"),
        },
    }
}

fn der(pem: &str) -> Vec<u8> {
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
}

/// Where and why our verdict differs.
#[derive(Debug)]
struct Divergence {
    accepted: bool,
    reason: String,
}

impl Divergence {
    fn verdict(&self) -> &'static str {
        if self.accepted { "accepted" } else { "refused" }
    }
}

fn divergences() -> BTreeMap<String, Divergence> {
    let path = root().join("crates/attest/tests/limbo-divergences.toml");
    let table: toml::Table = fs::read_to_string(path).expect("the list").parse().expect("TOML");
    let mut all = BTreeMap::new();
    for (verdict, group) in table {
        let accepted = match verdict.as_str() {
            "accepted" => true,
            "refused" => false,
            other => panic!("{other} is no verdict"),
        };
        for (id, reason) in group.as_table().expect("a table of cases") {
            let reason = reason.as_str().expect("a reason").to_owned();
            assert!(reason.len() > 20, "{id} needs a reason");
            let before = all.insert(id.clone(), Divergence { accepted, reason });
            assert!(before.is_none(), "{id} is listed twice");
        }
    }
    all
}

/// The page that tells people.
fn page() -> String {
    fs::read_to_string(root().join("docs/divergences-x509.md")).expect("the page")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
