//! `induct tpm`, and a TPM in software that registers as a real one does.

use std::fs;

use app::ports::Clock;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use induct::ports::SystemClock;
use rcgen::{PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm, tpm::endorsement_profile};

use crate::harness::{Finished, Home, Server, Swtpm, induct, run};

/// Runs `induct tpm show` with these options; it asks no server.
fn show(options: &[&str]) -> Finished {
    run(&mut induct(&[&["tpm", "show"], options].concat()))
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}"))
}

#[test]
fn a_tpm_shows_its_keys_and_nothing_of_it_changes() {
    let tpm = Swtpm::start();
    let tcti = tpm.tcti();
    let handles = |kind: &str| tpm.tool(&format!("tpm2_getcap {kind}"));
    let first = show(&["--tcti", &tcti]).json();
    assert!(text(&first, "endorsementKey").starts_with("AToAAQALAAMAsgAg"), "{first}");
    assert!(text(&first, "storageRootKey").starts_with("ARoAAQALAAMEcgAA"), "{first}");
    assert_eq!(text(&first, "registrationId").len(), 52);
    assert_eq!(first["endorsementCertificates"], Value::Null);
    let (id, ek) = (text(&first, "registrationId"), text(&first, "endorsementKey"));
    let srk = text(&first, "storageRootKey");
    let line = format!("induct enrollment create --eid {id} --at tpm --ek {ek} --srk {srk}");
    assert_eq!(first["enroll"], line.as_str());
    // A TPM has room for three keys; five looks leave none behind.
    for _ in 0..4 {
        assert_eq!(show(&["--tcti", &tcti]).json(), first);
    }
    for kind in ["handles-transient", "handles-persistent", "handles-loaded-session"] {
        assert_eq!(handles(kind), "", "{kind}");
    }

    assert_eq!(show(&["--tcti", &tcti, "--persist"]).json(), first);
    assert_eq!(handles("handles-persistent"), "- 0x81000001\n- 0x81010001\n");
    assert_eq!(handles("handles-transient"), "");
    for options in [&["--tcti", &tcti][..], &["--tcti", &tcti, "--persist"]] {
        assert_eq!(show(options).json(), first, "read where clients expect them");
    }
    let by_variable =
        run(induct(&["tpm", "show", "-o", "table"]).env("TPM2TOOLS_TCTI", &tcti)).stdout;
    let lines: Vec<Vec<&str>> =
        by_variable.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Name", "Value"]);
    assert_eq!(lines[2], ["registrationId", id], "{by_variable}");
    assert!(by_variable.lines().any(|shown| shown.ends_with(&line)), "{by_variable}");
}

#[test]
fn files_of_tpm2_tools_show_the_same_as_the_tpm() {
    let tpm = Swtpm::start();
    let of_tpm = show(&["--tcti", &tpm.tcti(), "--persist"]).json();
    for (name, handle) in [("ek", "0x81010001"), ("srk", "0x81000001")] {
        for format in ["tss", "pem"] {
            tpm.tool(&format!("tpm2_readpublic -Q -c {handle} -f {format} -o {name}.{format}"));
        }
    }
    for format in ["tss", "pem"] {
        let (ek, srk) = (tpm.text(&format!("ek.{format}")), tpm.text(&format!("srk.{format}")));
        assert_eq!(show(&["--ek", &ek, "--srk", &srk]).json(), of_tpm, "{format}");
        let alone = show(&["--ek", &ek]).json();
        assert_eq!(alone["storageRootKey"], Value::Null);
        assert!(!text(&alone, "enroll").contains("--srk"), "{alone}");
    }
    let srk = tpm.text("srk.tss");
    show(&["--ek", &srk]).refused(1, "the endorsement key's attributes are 0x00030472");
}

/// The public key of a TPM, for a certificate.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl PublicKey {
    /// Of an endorsement key, TPM2B_PUBLIC in base64.
    fn of(endorsement_key: &str) -> Self {
        let key = STANDARD.decode(endorsement_key).expect("base64");
        let head = [0x30, 0x82, 0x01, 0x0A, 0x02, 0x82, 0x01, 0x01, 0x00];
        Self([&head, &key[60..], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat())
    }
}

#[test]
fn a_certificate_is_found_in_the_tpm_or_in_files() {
    let (tpm, vendor) = (Swtpm::start(), Ca::root("a vendor of TPMs"));
    let tcti = tpm.tcti();
    let shown = show(&["--tcti", &tcti]).json();
    let key = PublicKey::of(text(&shown, "endorsementKey"));
    let own = vendor.certify_public(&endorsement_profile(), &key).0;
    let other = SoftTpm::from_fixture().endorsement_certificate(&vendor).0;
    let write = |name: &str, bytes: &[u8]| {
        fs::write(tpm.file(name), bytes).expect("written");
        tpm.text(name)
    };
    let ek = write("ek", &STANDARD.decode(text(&shown, "endorsementKey")).expect("base64"));
    let (file, root) = (write("ek.crt", &own), write("root.pem", vendor.pem().as_bytes()));
    let with_files = show(&["--ek", &ek, "--ek-certificate", &file, &root]).json();
    let certificates = json!([STANDARD.encode(&own), STANDARD.encode(vendor.der())]);
    assert_eq!(with_files["endorsementCertificates"], certificates);
    assert_eq!(with_files["endorsementIssuer"], "CN=a vendor of TPMs");
    let wrong = write("other.crt", &other);
    show(&["--ek", &ek, "--ek-certificate", &wrong]).refused(1, "is for another key");

    // A vendor's TPM keeps it in room that may be larger than it needs.
    let padded = [&own[..], &[0xFF; 20]].concat();
    write("nv", &padded);
    let attributes = "ownerread|authread|ownerwrite|authwrite";
    tpm.tool(&format!("tpm2_nvdefine -Q -C o -s {} -a {attributes} 0x01c00002", padded.len()));
    tpm.tool("tpm2_nvwrite -Q -i nv 0x01c00002");
    let in_tpm = show(&["--tcti", &tcti]).json();
    assert_eq!(in_tpm["endorsementCertificates"], json!([STANDARD.encode(&own)]));
    assert_eq!(in_tpm["enroll"], shown["enroll"]);
    write("nv", &other);
    tpm.tool("tpm2_nvwrite -Q -i nv 0x01c00002");
    let finished = show(&["--tcti", &tcti]);
    assert_eq!(finished.json(), shown);
    assert!(finished.stderr.contains("is for another key"), "{finished:?}");
}

#[test]
fn a_tpm_with_keys_of_another_kind_says_which() {
    let tpm = Swtpm::start();
    tpm.tool("tpm2_createek -Q -G ecc -c 0x81010001 -u ek.pub");
    tpm.tool("tpm2_flushcontext -t");
    show(&["--tcti", &tpm.tcti()]).refused(1, "the endorsement key is an ECC key");
}

#[test]
fn what_stands_in_the_way_is_said_with_its_remedy() {
    let bare = |options: &[&str]| {
        run(induct(&[&["tpm", "show"], options].concat()).env("PATH", "/nonexistent"))
    };
    bare(&[]).refused(1, "`tpm2_getcap` is not installed.");
    bare(&["--tcti", "x"]).refused(1, "apt-get install -y tpm2-tools");
    let nobody = "swtpm:path=/nonexistent/tpm.sock";
    let finished = show(&["--tcti", nobody]);
    finished.refused(1, &format!("`tpm2_getcap` failed with the TPM at `{nobody}`."));
    assert!(finished.stderr.contains("Could not load tcti"), "{finished:?}");
    assert!(finished.stderr.contains("--ek and --srk take files"), "{finished:?}");
    for (options, told) in [
        (&["--srk", "f"][..], "--endorsement-key"),
        (&["--ek", "f", "--tcti", "t"], "cannot be used with"),
        (&["--ek", "f", "--persist"], "cannot be used with"),
    ] {
        show(options).refused(2, told);
    }
    show(&["--ek", "/nonexistent/ek"]).refused(1, "--ek: cannot read /nonexistent/ek");
}

/// The device's part of the protocol.
struct Device<'a> {
    server: &'a Server,
    tpm: &'a Swtpm,
    /// Body of a register request.
    body: Value,
}

impl Device<'_> {
    async fn ask(&self, method: Method, rest: &str, token: Option<&str>) -> (u16, Value) {
        let scope = &self.server.listening().id_scope;
        let id = text(&self.body, "registrationId");
        let path = format!("/{scope}/registrations/{id}/{rest}?api-version=2021-06-01");
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.map(|token| ("authorization", token)));
        let body = if method == Method::GET { String::new() } else { self.body.to_string() };
        let client = self.server.client("localhost");
        let answer = client.request(method, &path, &headers, body).await.expect("an answer");
        (answer.status.as_u16(), answer.json().expect("JSON"))
    }

    /// Challenged, answered from inside the TPM, polled: gives the registration state.
    async fn register(&self) -> Value {
        let (status, challenge) = self.ask(Method::PUT, "register", None).await;
        assert_eq!((status, &challenge["keyName"]), (401, &json!("registration")), "{challenge}");
        self.activate(&challenge["authenticationKey"]);
        let id = text(&self.body, "registrationId");
        let resource = format!("{}%2Fregistrations%2F{id}", self.server.listening().id_scope);
        let token = self.tpm.sas_token(&resource, in_an_hour());
        let (status, accepted) = self.ask(Method::PUT, "register", Some(&token)).await;
        assert_eq!(status, 202, "{accepted}");
        let poll = format!("operations/{}", text(&accepted, "operationId"));
        let (status, mut polled) = self.ask(Method::GET, &poll, Some(&token)).await;
        assert_eq!((status, &polled["status"]), (200, &json!("assigned")), "{polled}");
        polled["registrationState"].take()
    }

    fn activate(&self, blob: &Value) {
        let blob = blob.as_str().expect("a blob");
        self.tpm.activate(&STANDARD.decode(blob).expect("base64"));
    }
}

fn in_an_hour() -> i64 {
    SystemClock.now().unix_secs() + 3_600
}

#[tokio::test]
async fn two_commands_enroll_a_tpm_which_registers_and_signs_for_its_hub() {
    let (home, tpm) = (Home::new(), Swtpm::start());
    let server = home.start();
    let shown = show(&["--tcti", &tpm.tcti(), "--persist"]).json();
    let enroll: Vec<&str> = text(&shown, "enroll").split(' ').collect();
    assert_eq!(enroll[0], "induct");
    let enrolled = home.run(&enroll[1..]).json();
    assert_eq!(enrolled["registrationId"], shown["registrationId"]);
    assert_eq!(enrolled["attestation"]["tpm"]["endorsementKey"], shown["endorsementKey"]);
    assert_eq!(enrolled["attestation"]["tpm"]["storageRootKey"], shown["storageRootKey"]);

    let body = json!({
        "registrationId": shown["registrationId"],
        "tpm": {
            "endorsementKey": shown["endorsementKey"],
            "storageRootKey": shown["storageRootKey"],
        },
    });
    let device = Device { server: &server, tpm: &tpm, body };
    let state = device.register().await;
    device.activate(&state["tpm"]["authenticationKey"]);
    let (hub, id) = (text(&state, "assignedHub"), text(&state, "deviceId"));
    let token = tpm.sas_token(&format!("{hub}%2Fdevices%2F{id}"), in_an_hour());
    let mut connected = server.connect_device_by(id, &token).await;
    connected.send("", b"from a TPM").await;
    server.stop();
}

/// A TPM of `tpms` gets a group of its issuer's above that one; whoever takes it away again hears
/// that the TPM comes back.
fn check_warnings(home: &Home, issuer: &Ca) {
    let file = home.path().join("issuer.pem");
    fs::write(&file, issuer.pem()).expect("written");
    let file = file.to_str().expect("UTF-8");
    let group = |rest: &[&str]| {
        let finished = home.run(&[&["tpm", "group"], rest, &["--gid", "issued"]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        finished
    };
    let shown = group(&["create", "--cp", file]).json();
    let put = |status: &str| {
        let mut document = shown.clone();
        document["provisioningStatus"] = json!(status);
        home.run(&["simulate-change", "enrollment-group", "put", &document.to_string()]).json()
    };
    assert_eq!(put("disabled")["loses"], 1);
    assert_eq!(put("enabled")["unchanged"], 1);
    assert_eq!(group(&["update", "--ps", "disabled"]).stderr, "", "that keeps it out");
    let gain = "WARNING: 1 device that is kept out now is let in through group `tpms`.\n";
    assert_eq!(group(&["delete", "--dry-run"]).stderr, gain);
    assert_eq!(group(&["update", "--ps", "enabled"]).stderr, "");
    let back = "WARNING: 1 device comes back through group `tpms`.\n";
    assert_eq!(group(&["delete", "--dry-run", "--only-show-errors"]).stderr, "");
    assert_eq!(group(&["delete"]).stderr, back);
}

#[tokio::test]
async fn a_group_and_a_demand_take_the_certificate_that_the_tpm_holds() {
    let (home, tpm, vendor) = (Home::new(), Swtpm::start(), Ca::root("a vendor of TPMs"));
    let server = home.start();
    let shown = show(&["--tcti", &tpm.tcti(), "--persist"]).json();
    let id = text(&shown, "registrationId");
    let issuer = vendor.intermediate("an issuer of the vendor's");
    let key = PublicKey::of(text(&shown, "endorsementKey"));
    let own = issuer.certify_public(&endorsement_profile(), &key).0;
    let root = tpm.text("root.pem");
    fs::write(&root, vendor.pem()).expect("written");
    home.run(&["tpm", "group", "create", "--gid", "tpms", "--cp", &root]).json();
    let body = json!({
        "registrationId": id,
        "tpm": {
            "endorsementKey": shown["endorsementKey"],
            "storageRootKey": shown["storageRootKey"],
            "endorsementCertificates": [STANDARD.encode(own), STANDARD.encode(issuer.der())],
        },
    });
    let device = Device { server: &server, tpm: &tpm, body };
    device.register().await;
    let records = home.run(&["tpm", "group", "registration", "list", "--gid", "tpms"]).json();
    assert_eq!(records[0]["registrationId"], id);
    check_warnings(&home, &issuer);
    home.run(&["tpm", "group", "delete", "--gid", "tpms"]);
    let (status, refused) = device.ask(Method::PUT, "register", None).await;
    assert_eq!((status, &refused["errorCode"]), (404, &json!(404_201)));

    let ek = text(&shown, "endorsementKey");
    let create = ["enrollment", "create", "--eid", id, "--at", "tpm", "--ek", ek, "--ek-root"];
    home.run(&[&create[..], &[&root]].concat()).json();
    device.register().await;
    server.stop();
}
