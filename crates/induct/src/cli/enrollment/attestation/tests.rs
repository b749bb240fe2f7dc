use super::*;

const TWO: &str = r#"{"type":"x509","x509":{"signingCertificates":{"primary":{"info":{"version":3}},"secondary":{"info":{"version":1.0}}}}}"#;
const ONE: &str =
    r#"{"type":"x509","x509":{"signingCertificates":{"primary":{"info":{"version":3}}}}}"#;
const REFERENCES: &str =
    r#"{"type":"x509","x509":{"caReferences":{"primary":"ca-1","secondary":"ca-2"}}}"#;
const TPM: &str = r#"{"type":"tpm","tpm":{"endorsementKey":"old","storageRootKey":"s"}}"#;
const KEYS: &str =
    r#"{"type":"symmetricKey","symmetricKey":{"primaryKey":"p","secondaryKey":"s"}}"#;

#[derive(Default)]
struct Asked {
    credentials: Credentials,
    removals: Removals,
    names: AuthorityNames,
    tpm: TpmKeys,
}

fn check(attestation: &str, ask: impl FnOnce(&mut Asked), expected: &str) {
    let mut asked = Asked::default();
    ask(&mut asked);
    let update = Update {
        credentials: &asked.credentials,
        removals: &asked.removals,
        tpm: &asked.tpm,
        names: &asked.names,
    };
    let mut json = json::parse(attestation).expect("legal");
    let kind = json.get("type").and_then(Json::as_str).expect("type").to_owned();
    let outcome = update.check(&kind).and_then(|()| update.write(&mut json, "signingCertificates"));
    let shown = match outcome {
        Ok(()) => json.to_string(),
        Err(complaint) => complaint.message,
    };
    assert_eq!(shown, expected);
}

fn path(asked: &mut Asked) {
    asked.credentials.certificate_path = Some(PathBuf::from("/nonexistent/c.pem"));
}

#[test]
fn an_update_without_options_changes_nothing() {
    for attestation in [TWO, ONE, REFERENCES, TPM, KEYS] {
        check(attestation, |_| {}, attestation);
    }
}

#[test]
fn options_of_another_mechanism_are_refused_in_the_vendors_words() {
    check(
        TPM,
        path,
        "Cannot update certificate while enrollment is using tpm attestation mechanism",
    );
    check(
        KEYS,
        path,
        "Cannot update certificate while enrollment is using symmetric key attestation mechanism",
    );
    check(
        KEYS,
        |a| a.removals.remove_certificate = Some(true),
        "Cannot remove certificate while enrollment is using symmetric key attestation mechanism",
    );
    check(
        TWO,
        |a| a.tpm.endorsement_key = Some("e".to_owned()),
        "Cannot update endorsement key while enrollment is using x509 attestation mechanism",
    );
    check(
        KEYS,
        |a| a.tpm.endorsement_key = Some("e".to_owned()),
        "Cannot update endorsement key while enrollment is using symmetric key attestation mechanism",
    );
    check(
        KEYS,
        |a| a.tpm.storage_root_key = Some("s".to_owned()),
        "Cannot update storage root key while enrollment is using symmetric key attestation mechanism",
    );
    check(
        TPM,
        |a| a.credentials.primary_key = Some("k".to_owned()),
        "Cannot update primary or secondary key while enrollment is using tpm attestation mechanism",
    );
    check(
        ONE,
        |a| a.credentials.secondary_key = Some("k".to_owned()),
        "Cannot update primary or secondary key while enrollment is using x509 attestation mechanism",
    );
}

#[test]
fn removing_a_certificate_keeps_the_others_info() {
    check(
        TWO,
        |a| a.removals.remove_certificate = Some(true),
        r#"{"type":"x509","x509":{"signingCertificates":{"secondary":{"info":{"version":1.0}}}}}"#,
    );
    check(
        REFERENCES,
        |a| a.removals.remove_secondary_certificate = Some(true),
        r#"{"type":"x509","x509":{"caReferences":{"primary":"ca-1"}}}"#,
    );
    check(TWO, |a| a.removals.remove_certificate = Some(false), TWO);
}

#[test]
fn one_certificate_must_be_left() {
    check(
        ONE,
        |a| a.removals.remove_certificate = Some(true),
        "Please provide at least one certificate while removing the only primary certificate",
    );
    check(
        r#"{"type":"x509","x509":{"signingCertificates":{"primary":null,"secondary":{"info":{}}}}}"#,
        |a| a.removals.remove_secondary_certificate = Some(true),
        "Please provide at least one certificate while removing the only secondary certificate",
    );
    check(
        TWO,
        |a| {
            a.removals.remove_certificate = Some(true);
            a.removals.remove_secondary_certificate = Some(true);
        },
        "Please provide at least one certificate",
    );
}

#[test]
fn a_group_moves_from_certificates_to_names() {
    check(
        TWO,
        |a| a.names.ca_name = Some("ca-9".to_owned()),
        r#"{"type":"x509","x509":{"caReferences":{"primary":"ca-9"}}}"#,
    );
    check(
        REFERENCES,
        |a| a.names.secondary_ca_name = Some("ca-9".to_owned()),
        r#"{"type":"x509","x509":{"caReferences":{"primary":"ca-1","secondary":"ca-9"}}}"#,
    );
    check(
        TWO,
        |a| {
            path(a);
            a.names.ca_name = Some("ca-9".to_owned());
        },
        PATH_OR_NAME,
    );
}

#[test]
fn a_new_key_replaces_only_its_own_slot() {
    check(
        KEYS,
        |a| a.credentials.secondary_key = Some("new".to_owned()),
        r#"{"type":"symmetricKey","symmetricKey":{"primaryKey":"p","secondaryKey":"new"}}"#,
    );
    check(
        TPM,
        |a| a.tpm.endorsement_key = Some("new".to_owned()),
        r#"{"type":"tpm","tpm":{"endorsementKey":"new","storageRootKey":"s"}}"#,
    );
    check(
        TPM,
        |a| a.tpm.storage_root_key = Some("new".to_owned()),
        r#"{"type":"tpm","tpm":{"endorsementKey":"old","storageRootKey":"new"}}"#,
    );
}

#[test]
fn a_new_individual_says_what_it_lacks() {
    let check = |kind: &str, expected: &str| {
        let shown = match new_individual(kind, &Credentials::default(), &TpmKeys::default()) {
            Ok(json) => json.to_string(),
            Err(complaint) => complaint.message,
        };
        assert_eq!(shown, expected);
    };
    check("symmetricKey", r#"{"type":"symmetricKey","symmetricKey":{}}"#);
    check("SYMMETRICKEY", r#"{"type":"symmetricKey","symmetricKey":{}}"#);
    check("tpm", "Endorsement key [--endorsement-key] is required");
    check("x509", "Please provide at least one certificate path");
    check("none", "Invalid attestation type.");
}

#[test]
fn the_attestation_of_a_new_group_is_inferred() {
    let check = |ask: &dyn Fn(&mut Asked), expected: &str| {
        let mut asked = Asked::default();
        ask(&mut asked);
        let shown = match new_group(&asked.credentials, &asked.names) {
            Ok(json) => json.to_string(),
            Err(complaint) => complaint.message,
        };
        assert_eq!(shown, expected);
    };
    check(&|_| {}, r#"{"type":"symmetricKey","symmetricKey":{}}"#);
    check(
        &|a| a.names.ca_name = Some("ca".to_owned()),
        r#"{"type":"x509","x509":{"caReferences":{"primary":"ca"}}}"#,
    );
    check(
        &|a| {
            path(a);
            a.names.ca_name = Some("ca".to_owned());
        },
        PATH_OR_NAME,
    );
}
