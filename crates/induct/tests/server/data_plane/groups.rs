//! `induct enrollment-group …`

use serde_json::{Value, json};
use testkit::Ca;

use super::scene;
use crate::harness::{induct, run};

/// The documentation's vector (D appendix B.2).
const GROUP_KEY: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
const REGISTRATION_ID: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
const DEVICE_KEY: &str = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";

fn thumbprint(group: &Value, slot: &str) -> Option<String> {
    let slot = &group["attestation"]["x509"]["signingCertificates"][slot];
    slot["info"]["sha256Thumbprint"].as_str().map(str::to_owned)
}

#[test]
fn a_device_key_is_computed_without_a_server() {
    let line =
        ["enrollment-group", "compute-device-key", "--key", GROUP_KEY, "--rid", REGISTRATION_ID];
    let finished = run(&mut induct(&line));
    assert_eq!(finished.json(), json!(DEVICE_KEY));
    let line = ["iot", "dps", "enrollment-group", "compute-device-key", "--symmetric-key"];
    let rest = ["????", "--registration-id", "d"];
    let finished = run(&mut induct(&[&line[..], &rest[..]].concat()));
    finished.refused(1, "ERROR: The group's key is not one: ");
    assert!(!finished.stderr.contains("????"), "{finished:?}");
}

#[test]
fn a_symmetric_key_group_goes_round() {
    let scene = scene();
    let created = scene.json(&format!("enrollment-group create --gid line-5 --pk {GROUP_KEY}"));
    assert_eq!(created["enrollmentGroupId"], "line-5");
    let keys = &created["attestation"]["symmetricKey"];
    assert_eq!(keys["primaryKey"], GROUP_KEY);
    assert!(keys["secondaryKey"].is_string(), "{created}");
    let line = format!("enrollment-group compute-device-key --gid line-5 --rid {REGISTRATION_ID}");
    assert_eq!(scene.json(&line), json!(DEVICE_KEY));

    let updated = scene.json("enrollment-group update --group-id line-5 --ps disabled");
    assert_eq!(updated["provisioningStatus"], "disabled");
    assert_eq!(&updated["attestation"]["symmetricKey"], keys);
    let shown = scene.json("enrollment-group show --enrollment-id line-5");
    assert_eq!(shown["attestation"], json!({"type": "symmetricKey"}));
    let shown = scene.json("enrollment-group show --eid line-5 --keys");
    assert_eq!(&shown["attestation"]["symmetricKey"], keys);
    scene.silent("enrollment-group delete --gid line-5");
    let finished = scene.run("enrollment-group show --gid line-5");
    assert_eq!(finished.code, 3, "{finished:?}");
}

#[test]
fn an_update_of_an_x509_group_keeps_its_certificates() {
    let scene = scene();
    let root = Ca::root("factory");
    let first = scene.file("first.pem", root.intermediate("line 4").pem());
    let second = scene.file("second.cer", root.intermediate("line 4 renewed").der());
    let created = scene.json(&format!("enrollment-group create --gid line-4 --cp {first}"));
    let of_first = thumbprint(&created, "primary").expect("info");

    let tags = "{\"line\":4}";
    let updated = scene.json(&format!("enrollment-group update --gid line-4 --tags {tags}"));
    assert_eq!(thumbprint(&updated, "primary"), Some(of_first.clone()));
    assert_eq!(updated["initialTwin"]["tags"], json!({"line": 4}));
    let both = scene.json(&format!("enrollment-group update --gid line-4 --scp {second}"));
    assert_eq!(thumbprint(&both, "primary"), Some(of_first));
    let of_second = thumbprint(&both, "secondary").expect("info, from DER as well");
    let rolled = scene.json("enrollment-group update --gid line-4 --rc true");
    assert_eq!(thumbprint(&rolled, "primary"), None);
    assert_eq!(thumbprint(&rolled, "secondary"), Some(of_second));
    scene.refused(
        "enrollment-group update --gid line-4 --rsc",
        1,
        "Please provide at least one certificate while removing the only secondary certificate",
    );
    scene.refused(
        "enrollment-group compute-device-key --gid line-4 --rid d",
        1,
        "Requested enrollment group has an attestation type of 'x509'. Currently, \
         compute-device-key is only supported for enrollment groups with symmetric key \
         attestation type.",
    );
}

#[test]
fn a_group_may_name_certificates_of_the_service() {
    let scene = scene();
    let created = scene.json("enrollment-group create --gid line-6 --ca-name ca-1 --scn ca-2");
    let references = |group: &Value| group["attestation"]["x509"]["caReferences"].clone();
    assert_eq!(references(&created), json!({"primary": "ca-1", "secondary": "ca-2"}));
    let updated = scene.json("enrollment-group update --gid line-6 --root-ca-name ca-3");
    assert_eq!(references(&updated), json!({"primary": "ca-3", "secondary": "ca-2"}));
    let updated = scene.json("enrollment-group update --gid line-6 --rc");
    assert_eq!(references(&updated), json!({"secondary": "ca-2"}));
}

#[test]
fn what_does_not_go_together_is_said_in_the_vendors_words() {
    let scene = scene();
    scene.refused(
        "enrollment-group create --gid g --cp a.pem --cn ca-1",
        1,
        "Please provide either certificate path or certficate name",
    );
    scene.json("enrollment-group create --gid g");
    scene.refused(
        "enrollment-group update --gid g --cn ca-1",
        1,
        "Cannot update certificate while enrollment is using symmetric key attestation mechanism",
    );
    scene.refused(
        "enrollment-group compute-device-key --rid d",
        2,
        "Please provide the enrollment group [--group-id] or its key [--key].",
    );
    let finished =
        scene.refused("enrollment-group create --gid g", 1, "EnrollmentGroup already exists.");
    assert!(finished.stderr.contains("code 409202"), "{finished:?}");
}
