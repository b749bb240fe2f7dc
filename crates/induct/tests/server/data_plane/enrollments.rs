//! `induct enrollment …`

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm};

use super::{Scene, scene};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn thumbprint(enrollment: &Value, slot: &str) -> Option<String> {
    let slot = &enrollment["attestation"]["x509"]["clientCertificates"][slot];
    slot["info"]["sha256Thumbprint"].as_str().map(str::to_owned)
}

#[test]
fn a_symmetric_key_enrollment_goes_round() {
    let scene = scene();
    let created =
        scene.json("enrollment create --eid press-17 --at symmetricKey -d press-seventeen");
    let keys = &created["attestation"]["symmetricKey"];
    assert!(keys["primaryKey"].as_str().is_some_and(|key| key.len() == 88), "{created}");
    assert_eq!(created["capabilities"], json!({"iotEdge": false}));
    assert_eq!(created["initialTwin"], json!({"tags": {}, "properties": {"desired": {}}}));
    assert_eq!(created.get("provisioningStatus"), None);

    let shown = scene.json("enrollment show --eid press-17");
    assert_eq!(shown["attestation"], json!({"type": "symmetricKey"}));
    assert_eq!(shown["registrationState"]["status"], "unassigned");
    let with_keys = scene.json("enrollment show --eid press-17 --show-keys");
    assert_eq!(&with_keys["attestation"]["symmetricKey"], keys);

    let updated = scene.json("enrollment update --eid press-17 --ps disabled --rp never --ee");
    assert_eq!(updated["provisioningStatus"], "disabled");
    assert_eq!(updated["deviceId"], "press-seventeen");
    assert_eq!(&updated["attestation"]["symmetricKey"], keys);
    assert_eq!(updated["capabilities"], json!({"iotEdge": true}));
    assert_eq!(
        updated["reprovisionPolicy"],
        json!({"updateHubAssignment": false, "migrateDeviceData": false})
    );
    let one_key = scene.json(&format!("enrollment update --eid press-17 --sk {KEY}"));
    assert_eq!(one_key["attestation"]["symmetricKey"]["secondaryKey"], KEY);
    assert_eq!(one_key["attestation"]["symmetricKey"]["primaryKey"], keys["primaryKey"]);

    scene.silent("enrollment delete --eid press-17");
    scene.refused("enrollment show --eid press-17", 3, "Enrollment not found.");
}

#[test]
fn an_update_of_an_x509_enrollment_keeps_the_certificate() {
    let scene = scene();
    let ca = Ca::root("factory");
    let first = scene.file("first.pem", ca.leaf("press-17").pem());
    let second = scene.file("second.pem", ca.leaf("press-17").pem());
    let created = scene.json(&format!("enrollment create --eid press-17 --at x509 --cp {first}"));
    let of_first = thumbprint(&created, "primary").expect("info");

    let updated = scene.json("enrollment update --eid press-17 --ps disabled");
    assert_eq!(thumbprint(&updated, "primary"), Some(of_first.clone()));
    assert_eq!(updated["provisioningStatus"], "disabled");

    let both = scene.json(&format!("enrollment update --eid press-17 --scp {second}"));
    assert_eq!(thumbprint(&both, "primary"), Some(of_first.clone()));
    let of_second = thumbprint(&both, "secondary").expect("info");
    assert_ne!(of_first, of_second);

    let rolled = scene.json("enrollment update --eid press-17 --remove-certificate");
    assert_eq!(thumbprint(&rolled, "primary"), None);
    assert_eq!(thumbprint(&rolled, "secondary"), Some(of_second.clone()));
    scene.refused(
        "enrollment update --eid press-17 --rsc",
        1,
        "Please provide at least one certificate while removing the only secondary certificate",
    );
    scene.refused(
        "enrollment update --eid press-17 --rc --rsc",
        1,
        "Please provide at least one certificate",
    );
    let shown = scene.json("enrollment show --eid press-17");
    assert_eq!(thumbprint(&shown, "secondary"), Some(of_second));
    scene.silent("enrollment delete --eid press-17");
}

#[test]
fn nothing_of_the_operators_json_is_reordered_or_lost() {
    let scene = scene();
    let tags =
        scene.file("tags.json", "{\"z\": 1.0, \"a\": {\"y\": 1e2, \"b\": [3, 1]}, \"version\": 7}");
    let info = scene.file("info.json", "{\"serial\": 90071992547409931}");
    let create =
        format!("enrollment create --eid d --at symmetricKey --tags {tags} --info @{info}");
    assert_eq!(scene.run(&create).code, 0);
    let kept = "    \"tags\": {\n      \"z\": 1.0,\n      \"a\": {\n        \"y\": 1e2,\n        \
                \"b\": [\n          3,\n          1\n        ]\n      },\n      \"version\": 7\n    }";
    for line in ["enrollment show --eid d", "enrollment update --eid d --ps disabled"] {
        let finished = scene.run(line);
        assert!(finished.stdout.contains(kept), "{line}: {}", finished.stdout);
        assert!(finished.stdout.contains("\"serial\": 90071992547409931"), "{}", finished.stdout);
    }
    let replaced = scene.json("enrollment update --eid d --props {\"interval\":60}");
    assert_eq!(replaced["initialTwin"]["properties"]["desired"], json!({"interval": 60}));
    assert_eq!(replaced["initialTwin"]["tags"]["version"], 7);
    let cleared = scene.home.run(&["enrollment", "update", "--eid", "d", "--tags", ""]).json();
    assert_eq!(cleared["initialTwin"]["tags"], json!({}));
    assert_eq!(cleared["initialTwin"]["properties"]["desired"], json!({"interval": 60}));
}

#[test]
fn every_option_of_allocation_reaches_the_service() {
    let scene = scene();
    let line = "enrollment create --eid d --at symmetricKey --allocation-policy Hashed --iot-hubs \
                hub-1.localhost hub-2.localhost --ps enabled";
    let created = scene.json(line);
    assert_eq!(created["allocationPolicy"], "hashed");
    assert_eq!(created["iotHubs"], json!(["hub-1.localhost", "hub-2.localhost"]));
    let line = "enrollment update --eid d --ap custom --wh https://x.example/f --av 2019-03-31";
    let custom = scene.json(line);
    assert_eq!(custom["allocationPolicy"], "custom");
    assert_eq!(
        custom["customAllocationDefinition"],
        json!({"webhookUrl": "https://x.example/f", "apiVersion": "2019-03-31"})
    );
    let fixed = scene.json("enrollment update --eid d --ap static --ih hub-1.localhost");
    assert_eq!(fixed["iotHubs"], json!(["hub-1.localhost"]));
}

#[test]
fn what_the_options_lack_is_said_in_the_vendors_words() {
    let scene = scene();
    let check = |options: &str, code: i32, message: &str| {
        scene.refused(&format!("enrollment create --eid d {options}"), code, message);
    };
    check("--at tpm", 1, "Endorsement key [--endorsement-key] is required");
    check("--at x509", 1, "Please provide at least one certificate path");
    check("--at symmetricKey --ap static", 1, "Please provide a hub to be assigned with device.");
    check(
        "--at symmetricKey --ap static --ih a.x b.x",
        1,
        "Only one hub is required in static allocation policy.",
    );
    check("--at symmetricKey --ih a.x", 1, "Please provide allocation policy.");
    check("--at symmetricKey --ap nearest", 2, "Please provide valid allocation policy.");
    check(
        "--at symmetricKey --ap custom --wh https://x.example/f",
        1,
        "Please provide both the Azure function webhook url and provisioning service api-version \
         when the allocation-policy is defined as Custom.",
    );
    check("--at symmetricKey --rp always", 2, "Invalid Reprovision Policy.");
    check(
        "--at symmetricKey --tags [1]",
        1,
        "--initial-twin-tags must be a JSON object, and the text holds none.",
    );
    scene.refused("enrollment show --eid d", 3, "Enrollment not found.");
}

#[test]
fn an_update_may_not_mix_mechanisms() {
    let scene = scene();
    let ca = Ca::root("factory");
    let certificate = scene.file("c.pem", ca.leaf("x").pem());
    scene.json(&format!("enrollment create --eid x --at x509 --cp {certificate}"));
    scene.json("enrollment create --eid k --at symmetricKey");
    let ek = STANDARD.encode(SoftTpm::from_fixture().endorsement_key());
    scene.json(&format!("enrollment create --eid t --at tpm --ek {ek}"));
    let check = |line: String, what: &str, mechanism: &str| {
        let message =
            format!("Cannot {what} while enrollment is using {mechanism} attestation mechanism");
        scene.refused(&format!("enrollment update {line}"), 1, &message);
    };
    check(format!("--eid t --cp {certificate}"), "update certificate", "tpm");
    check(format!("--eid k --scp {certificate}"), "update certificate", "symmetric key");
    check("--eid t --rc".to_owned(), "remove certificate", "tpm");
    check("--eid x --ek AToAAQ==".to_owned(), "update endorsement key", "x509");
    check("--eid k --ek AToAAQ==".to_owned(), "update endorsement key", "symmetric key");
    check("--eid k --srk ARoAAQ==".to_owned(), "update storage root key", "symmetric key");
    check(format!("--eid t --pk {KEY}"), "update primary or secondary key", "tpm");
    check(format!("--eid x --sk {KEY}"), "update primary or secondary key", "x509");
}

#[test]
fn the_services_refusals_name_code_tracking_id_and_remedy() {
    let scene = scene();
    let created = scene.json("enrollment create --eid d --at symmetricKey");
    let finished = scene.refused(
        "enrollment create --eid d --at symmetricKey",
        1,
        "Enrollment already exists.",
    );
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines[1], "  HTTP 409, code 409201, PUT /enrollments/d");
    assert!(lines[2].starts_with("  tracking ID "), "{lines:?}");
    assert!(lines[3].starts_with("  It exists already. Use `update`"), "{lines:?}");

    let stale = "enrollment update --eid d --ps disabled --etag c3RhbGU=";
    let finished = scene.run(stale);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains("HTTP 412, "), "{finished:?}");
    assert!(finished.stderr.contains("leave --etag out"), "{finished:?}");
    let etag = created["etag"].as_str().expect("etag");
    scene.json(&format!("enrollment update --eid d --ps disabled --etag {etag}"));
    let finished = scene.run(&format!("enrollment delete --eid d -e {etag}"));
    assert!(finished.code == 1 && finished.stderr.contains("HTTP 412, "), "{finished:?}");

    scene.refused("enrollment update --eid nobody --ps disabled", 3, "Enrollment not found.");
    scene.refused("enrollment delete --eid nobody", 3, "Enrollment not found.");
}

#[test]
fn a_private_key_is_not_sent() {
    let scene = scene();
    let leaf = Ca::root("factory").leaf("d");
    let both = scene.file("both.pem", format!("{}{}", leaf.pem(), leaf.key_pem()));
    let finished = refused_file(&scene, &both);
    assert!(finished.contains("both.pem holds a private key."), "{finished}");
    let finished = refused_file(&scene, "no-such.pem");
    assert!(finished.contains("cannot read no-such.pem"), "{finished}");
}

fn refused_file(scene: &Scene, path: &str) -> String {
    let finished = scene.run(&format!("enrollment create --eid d --at x509 --cp {path}"));
    assert_eq!(finished.code, 1, "{finished:?}");
    finished.stderr
}
