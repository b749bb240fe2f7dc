//! `induct enrollment --at tpm`, `induct tpm endorsement …` and `induct tpm group …`

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm};

use super::{Scene, scene};

/// The endorsement key of a TPM that swtpm made.
const OTHER_KEY: &[u8] = include_bytes!("../../../../../fixtures/tpm/swtpm/endorsement-key.tpm2b");

fn keys(tpm: &SoftTpm) -> (String, String) {
    (STANDARD.encode(tpm.endorsement_key()), STANDARD.encode(tpm.storage_root_key()))
}

fn subject<'a>(slots: &'a Value, slot: &str) -> &'a Value {
    &slots[slot]["info"]["subjectName"]
}

/// What an enrollment demands.
fn demanded(scene: &Scene, id: &str) -> Value {
    scene.json(&format!("tpm endorsement show --eid {id}"))
}

#[test]
fn a_tpm_enrollment_goes_round() {
    let (scene, tpm) = (scene(), SoftTpm::from_fixture());
    let (ek, srk) = keys(&tpm);
    let created = scene.json(&format!("enrollment create --eid tpm-1 --at tpm --ek {ek}"));
    assert_eq!(created["attestation"], json!({"type": "tpm", "tpm": {"endorsementKey": ek}}));
    let other = STANDARD.encode(OTHER_KEY);
    let line = format!("enrollment update --eid tpm-1 --ek {other} --ps enabled");
    assert_eq!(scene.json(&line)["attestation"]["tpm"]["endorsementKey"], other);
    let line = format!("enrollment update --eid tpm-1 --srk {srk}");
    assert_eq!(scene.json(&line)["attestation"]["tpm"]["storageRootKey"], srk);
    let shown = scene.json("enrollment show --eid tpm-1 --keys true");
    let both = json!({"endorsementKey": other, "storageRootKey": srk});
    assert_eq!(shown["attestation"]["tpm"], both);
    scene.silent("enrollment delete --eid tpm-1 --etag *");

    let ek_file = scene.file("ek.pub", tpm.endorsement_key());
    let srk_file = scene.file("srk.pub", tpm.storage_root_key());
    let line = format!("enrollment create --eid tpm-2 --at tpm --ek @{ek_file} --srk {srk_file}");
    let both = json!({"endorsementKey": ek, "storageRootKey": srk});
    assert_eq!(scene.json(&line)["attestation"]["tpm"], both);
    let finished = scene.run("enrollment create --eid tpm-3 --at tpm --ek AToAAQ==");
    finished.refused(1, "attestation.tpm.endorsementKey: the endorsement key is cut off");
}

#[test]
fn a_certificate_is_demanded_when_the_tpm_is_enrolled_or_later() {
    let (scene, tpm) = (scene(), SoftTpm::from_fixture());
    let vendor = Ca::root("a vendor of TPMs");
    let issuer = vendor.intermediate("an issuer");
    let root = scene.file("root.pem", vendor.pem());
    let own = scene.file("ek.crt", &tpm.endorsement_certificate(&issuer).0);
    let above = scene.file("issuer.pem", issuer.pem());
    let (ek, _) = keys(&tpm);
    let create = |rest: &str| format!("enrollment create --at tpm --ek {ek} {rest}");

    let line = create(&format!("--eid tpm-1 --ek-root {root} --ek-certificate {own} {above}"));
    let created = scene.json(&line);
    assert_eq!(created["provisioningStatus"], Value::Null, "as if nothing had been switched");
    assert_eq!(created["attestation"]["tpm"], json!({"endorsementKey": ek}));
    let shown = demanded(&scene, "tpm-1");
    assert_eq!(shown["etag"], created["etag"]);
    assert_eq!(subject(&shown["roots"], "primary"), "CN=a vendor of TPMs");
    assert_eq!(shown["certificates"].as_array().map(Vec::len), Some(2));
    let line = create(&format!("--eid tpm-2 --ps disabled --ek-root {root} {root}"));
    assert_eq!(scene.json(&line)["provisioningStatus"], "disabled");
    assert_eq!(subject(&demanded(&scene, "tpm-2")["roots"], "secondary"), "CN=a vendor of TPMs");

    // What cannot be met leaves no enrollment behind.
    let by_other = SoftTpm::new().endorsement_certificate(&issuer).0;
    let by_other = scene.file("other.crt", &by_other);
    let line = create(&format!("--eid tpm-3 --ek-root {root} --ek-certificate {by_other}"));
    scene.run(&line).refused(1, "is for another key than the TPM's endorsement key");
    scene.refused("enrollment show --eid tpm-3", 3, "Enrollment not found.");

    scene.silent("tpm endorsement delete --eid tpm-1");
    assert_eq!(demanded(&scene, "tpm-1")["roots"], Value::Null);
    let set = format!("tpm endorsement set --eid tpm-1 --ek-root {root}");
    let again = scene.json(&set);
    assert_eq!(again["certificates"], json!([]));
    scene.json("enrollment update --eid tpm-1 --tags {\"line\":4}");
    assert_eq!(demanded(&scene, "tpm-1")["roots"], again["roots"], "kept by other changes");
    let etag = again["etag"].as_str().expect("an etag");
    let stale = scene.run(&format!("{set} --etag {etag}"));
    stale.refused(1, "HTTP 412");
    scene.json(&format!("tpm endorsement set --eid tpm-1 --ek-root {root} --etag *"));
    let table = scene.run("tpm endorsement show --eid tpm-1 -o table").stdout;
    assert!(table.contains("registrationId") && table.contains("tpm-1"), "{table}");
}

#[test]
fn what_cannot_be_demanded_is_said() {
    let (scene, vendor) = (scene(), Ca::root("a vendor of TPMs"));
    let root = scene.file("root.pem", vendor.pem());
    scene.json("enrollment create --eid by-key --at symmetricKey");
    let set = |rest: &str| format!("tpm endorsement set --eid {rest}");
    let line = set(&format!("by-key --ek-root {root}"));
    scene.run(&line).refused(1, "does not attest by a TPM");
    let line = set(&format!("nobody --ek-root {root}"));
    scene.refused(&line, 3, "Enrollment not found.");
    scene.refused(&set("by-key"), 2, "Please name a TPM vendor's certificate [--ek-root].");
    scene.run(&set(&format!("a --ek-certificate {root}"))).refused(2, "--ek-root");
    let three = scene.run(&set(&format!("a --ek-root {root} {root} {root}")));
    three.refused(2, "unexpected argument");
    let line = format!("enrollment create --eid k --at symmetricKey --ek-root {root}");
    scene.refused(&line, 2, "A certificate of its vendor is demanded of a TPM only.");
    let key = scene.file("key.pem", vendor.key_pem());
    let finished = scene.run(&set(&format!("by-key --ek-root {key}")));
    finished.refused(1, "holds a private key");
    assert!(!finished.stderr.contains("BEGIN"), "{finished:?}");
}

#[test]
fn a_group_goes_round() {
    let scene = scene();
    let first = scene.file("first.pem", Ca::root("first vendor").pem());
    let second = scene.file("second.cer", Ca::root("second vendor").der());
    let issuers = |group: &Value| group["attestation"]["tpm"]["issuers"].clone();
    let created = scene.json(&format!("tpm group create --gid tpms --cp {first} --ps enabled"));
    assert_eq!(created["attestation"]["type"], "tpm");
    assert_eq!(subject(&issuers(&created), "primary"), "CN=first vendor");
    assert_eq!(scene.json("tpm group show --gid tpms"), created);

    let updated = scene.json("tpm group update --gid tpms --ps disabled --tags {\"line\":4}");
    assert_eq!(updated["provisioningStatus"], "disabled");
    assert_eq!(updated["initialTwin"]["tags"], json!({"line": 4}));
    assert_eq!(issuers(&updated), issuers(&created), "certificates that are not named stay");
    let both = scene.json(&format!("tpm group update --gid tpms --scp {second}"));
    assert_eq!(subject(&issuers(&both), "primary"), "CN=first vendor");
    assert_eq!(subject(&issuers(&both), "secondary"), "CN=second vendor");
    let rolled = scene.json("tpm group update --gid tpms --rc");
    assert_eq!(issuers(&rolled), json!({"secondary": issuers(&both)["secondary"]}));
    scene.refused(
        "tpm group update --gid tpms --rsc",
        1,
        "Please provide at least one certificate",
    );
    let etag = created["etag"].as_str().expect("an etag");
    scene.run(&format!("tpm group update --gid tpms --etag {etag}")).refused(1, "HTTP 412");

    scene.refused("tpm group create --gid more", 1, "Please provide at least one certificate path");
    let line = format!("tpm group create --gid tpms --cp {first}");
    scene.refused(&line, 1, "EnrollmentGroup already exists.");
    scene.json(&format!("tpm group create --gid more --cp {first}"));
    let listed = scene.json("tpm group list --top 1");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["enrollmentGroupId"], "more");
    let table = scene.run("tpm group list -o table").stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    scene.silent("tpm group delete --gid tpms");
    scene.refused("tpm group show --gid tpms", 3, "EnrollmentGroup not found.");
}

#[test]
fn each_command_sends_to_the_other_for_the_groups_it_does_not_manage() {
    let scene = scene();
    let vendor = scene.file("vendor.pem", Ca::root("a vendor").pem());
    scene.json(&format!("tpm group create --gid tpms --cp {vendor}"));
    scene.json("enrollment-group create --gid keys");
    scene.run("enrollment-group show --gid tpms").refused(1, "`induct tpm group`");
    scene.run("enrollment-group update --gid tpms --ps disabled").refused(1, "induct tpm group");
    scene.run("enrollment-group delete --gid tpms").refused(1, "induct tpm group");
    scene.run("tpm group show --gid keys").refused(1, "`induct enrollment-group`");
    scene.run("tpm group delete --gid keys").refused(1, "induct enrollment-group");
    let ids = |line: &str| scene.json(line)[0]["enrollmentGroupId"].clone();
    assert_eq!(ids("enrollment-group list"), "keys");
    assert_eq!(ids("tpm group list"), "tpms");
    assert_eq!(scene.json("tpm group registration list --gid tpms"), json!([]));
    scene.refused("tpm group registration show --rid d", 3, "Registration not found.");
    scene.refused("tpm group registration delete --rid d", 3, "Registration not found.");
}
