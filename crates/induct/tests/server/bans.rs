//! `induct ban`: every kind of ban, as an operator sets, sees and lifts it.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm};

use crate::harness::Home;

/// Bans whom these options name. The ban is about this, and its member has this value; it is listed
/// and shown as it was set, and gone when it is lifted.
#[track_caller]
fn check(home: &Home, options: &[&str], about: &str, member: &str, value: &str) -> Value {
    let set = home.run(&[&["ban", "add", "--reason", "stolen"], options].concat()).json();
    let seen = json!([set["about"], set[member], set["reason"]]);
    assert_eq!(seen, json!([about, value, "stolen"]), "{options:?}: {set}");
    let name = set["name"].as_str().expect("a name");
    assert_eq!(home.run(&["ban", "list"]).json(), json!([set]), "{options:?}");
    assert_eq!(home.run(&["ban", "show", name]).json(), set, "{options:?}");
    assert_eq!(home.run(&["ban", "lift", name]).json()["name"], name, "{options:?}");
    assert_eq!(home.run(&["ban", "list"]).json(), json!([]), "{options:?}");
    home.run(&["ban", "show", name]).refused(3, "");
    set
}

#[test]
fn every_kind_of_ban_is_set_listed_and_lifted() {
    let home = Home::new();
    let _server = home.start();
    let file = |name: &str, bytes: &[u8]| {
        let path = home.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (line, tpm) = (Ca::root("line-4"), SoftTpm::from_fixture());
    let leaf = line.leaf("press-17");
    let known = |der: &[u8]| attest::certificate::describe(der).expect("a certificate").info;
    let (of_line, of_leaf) = (known(line.der()), known(leaf.der()));
    let (line_pem, leaf_der) = (file("line.pem", line.pem().as_bytes()), file("l.cer", leaf.der()));
    let enroll = ["enrollment-group", "create", "--gid", "line-4", "--cp", &line_pem];
    home.run(&enroll).json();
    let ek = tpm.endorsement_key();
    let (ek_text, ek_file) = (STANDARD.encode(&ek), format!("@{}", file("ek.pub", &ek)));
    let ek_sha256 = {
        use aws_lc_rs::digest::{SHA256, digest};
        let digest = digest(&SHA256, &ek);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<String>()
    };
    let (sha1, sha256) = (of_leaf.sha1_thumbprint.as_str(), of_leaf.sha256_thumbprint.as_str());
    let ca_sha256 = of_line.sha256_thumbprint.as_str();
    // Of a number, leading zeros say nothing.
    let (serial, number) =
        (of_leaf.serial_number.as_str(), of_leaf.serial_number.trim_start_matches('0'));
    let by_serial = ["--serial-number", serial, "--issuer"];

    let set = check(&home, &["--rid", "press-17"], "registration", "registrationId", "press-17");
    assert_eq!(set.get("expires"), None, "{set}");
    let over = ["--registration-id", "press-17", "--expires", "2099-01-01T00:00:00Z"];
    check(&home, &over, "registration", "expires", "2099-01-01T00:00:00Z");
    check(&home, &["--certificate", &leaf_der], "certificate", "thumbprint", sha256);
    check(&home, &["--cp", &line_pem], "ca", "subject", "CN=line-4");
    check(&home, &["--thumbprint", sha256], "certificate", "thumbprint", sha256);
    check(&home, &["--thumbprint", sha1], "certificate", "thumbprint", sha1);
    check(&home, &["--thumbprint", ca_sha256], "ca", "subject", "CN=line-4");
    for issuer in [line_pem.as_str(), ca_sha256] {
        let set =
            check(&home, &[&by_serial[..], &[issuer]].concat(), "serial", "serialNumber", number);
        assert_eq!(set["issuer"], "CN=line-4", "{set}");
    }
    for key in [&ek_text, &ek_file] {
        let options = ["--endorsement-key", key];
        check(&home, &options, "endorsementKey", "endorsementKeySha256", &ek_sha256);
    }

    for (options, told) in [
        (&[][..], "required"),
        (&["--rid", "a", "--thumbprint", sha256], "cannot be used with"),
        (&by_serial[..2], "--issuer"),
        (&["--rid", "a", "--issuer", ca_sha256], "cannot be used with"),
        (&["--rid", "a", "--expires", "soon"], "milliseconds since 1970"),
    ] {
        home.run(&[&["ban", "add"], options].concat()).refused(2, told);
    }
    assert_eq!(home.run(&["ban", "list"]).json(), json!([]));
}
