//! `induct simulate-change`, and the warnings before changes that let devices back in: the commands.

use http::Method;
use induct::client::{Client, ClientSettings};
use model::SymmetricKey;
use serde_json::{Value, json};

use crate::harness::{Api, Finished, Home, Server};

/// The key of the groups that the harness enrolls.
const GROUP_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A key that none of them has.
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// A server whose devices belong to `line-4`, and would belong to `root-2022` as well.
async fn with_devices(ids: &[&str]) -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    let (service, devices) = (Api::service(&home, &server), Api::devices(&server));
    service.enroll_group("line-4").await;
    for id in ids {
        let registered = devices.register(id).await.expect("an answer");
        assert!(registered.status.is_success(), "{registered:?}");
    }
    service.enroll_group("root-2022").await;
    (home, server)
}

fn simulate(home: &Home, change: &[&str]) -> Finished {
    home.run(&[&["simulate-change"], change].concat())
}

fn n_audit_lines(home: &Home) -> usize {
    home.run(&["audit", "list"]).json().as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_change_is_told_by_entry_and_not_made() {
    let (home, _server) = with_devices(&["press-1", "press-2", "press-3"]).await;
    let before = n_audit_lines(&home);
    let deleted = simulate(&home, &["enrollment-group", "delete", "line-4"]);
    assert_eq!(deleted.stderr, "");
    let told = deleted.json();
    let counts = |told: &Value| ["lookedAt", "loses", "moves"].map(|name| told[name].clone());
    assert_eq!(counts(&told), [3, 0, 3].map(Value::from));
    assert_eq!(told["effects"][0]["to"]["group"], "root-2022");
    assert_eq!(told["devices"][0]["registrationId"], "press-1");
    let table = simulate(&home, &["enrollment-group", "delete", "line-4", "-o", "table"]).stdout;
    let words: Vec<_> = table.lines().last().expect("a line").split_whitespace().collect();
    let expected = "moves 3 group line-4 group root-2022 press-1, press-2, press-3";
    assert_eq!(words.join(" "), expected, "{table}");
    let disabled = simulate(&home, &["enrollment-group", "disable", "line-4"]).json();
    assert_eq!(counts(&disabled), [3, 3, 0].map(Value::from));
    let banned = simulate(&home, &["ban", "add", "--rid", "press-2"]).json();
    assert_eq!(counts(&banned), [1, 1, 0].map(Value::from));
    let nothing = simulate(&home, &["enrollment-group", "enable", "line-4"]);
    assert!(nothing.stderr.contains("Nothing changes for the 3 devices"), "{nothing:?}");
    let few = ["enrollment-group", "delete", "line-4", "--max-devices", "2", "--show", "1"];
    let few = simulate(&home, &few);
    assert!(few.stderr.contains("first 2 devices; there are more"), "{few:?}");
    assert_eq!(few.json()["devices"].as_array().map(Vec::len), Some(1));

    simulate(&home, &["enrollment", "delete", "nobody"]).refused(3, "");
    simulate(&home, &["certificate", "delete", "nobody"]).refused(3, "");
    simulate(&home, &["ban", "lift", "registration:nobody"]).refused(3, "");
    simulate(&home, &["enrollment", "rename", "press-1"]).refused(2, "rename");
    simulate(&home, &["enrollment", "delete", "a b"]).refused(1, "");
    assert_eq!(n_audit_lines(&home), before, "nothing was done");
    home.run(&["enrollment-group", "show", "--gid", "line-4"]).json();

    // A ban that is set for real, and what lifting it would do.
    home.run(&["ban", "add", "--rid", "press-2"]).json();
    let lifted = simulate(&home, &["ban", "lift", "registration:press-2"]).json();
    assert_eq!(lifted["gains"], 1);
    let dry = home.run(&["ban", "lift", "registration:press-2", "--dry-run"]).json();
    assert_eq!(dry["simulation"]["gains"], 1);
}

#[tokio::test]
async fn an_entry_is_put_as_a_file_or_as_json_says_and_not_written() {
    let (home, _server) = with_devices(&["press-1", "press-2"]).await;
    let before = n_audit_lines(&home);
    let put = |of: &str, document: &Value| {
        let path = home.path().join("put.json");
        std::fs::write(&path, document.to_string()).expect("written");
        let by_file = simulate(&home, &[of, "put", path.to_str().expect("UTF-8")]).json();
        assert_eq!(simulate(&home, &[of, "put", &document.to_string()]).json(), by_file);
        ["unchanged", "loses", "gains", "moves"]
            .map(|name| by_file[name].as_u64().expect("a count"))
    };
    let show = ["enrollment-group", "show", "--gid", "line-4"];
    let group = home.run(&[&show[..], &["--show-keys"]].concat()).json();
    let with = |document: &Value, member: &str, value: Value| {
        let mut document = document.clone();
        document[member] = value;
        document
    };
    assert_eq!(put("enrollment-group", &group), [2, 0, 0, 0]);
    let disabled = with(&group, "provisioningStatus", json!("disabled"));
    assert_eq!(put("enrollment-group", &disabled), [0, 2, 0, 0]);
    assert_eq!(put("enrollment-group", &home.run(&show).json()), [2, 0, 0, 0], "its keys stay");
    let mut rolled = group.clone();
    for slot in ["primaryKey", "secondaryKey"] {
        rolled["attestation"]["symmetricKey"][slot] = json!(OTHER_KEY);
    }
    assert_eq!(put("enrollment-group", &rolled), [0, 0, 0, 2]);
    let own = json!({"registrationId": "press-1", "attestation": {"type": "symmetricKey"}});
    let shut = with(&own, "provisioningStatus", json!("disabled"));
    assert_eq!(put("enrollment", &shut), [0, 1, 0, 0]);

    let refused = |change: &[&str], told: &str| simulate(&home, change).refused(1, told);
    refused(&["enrollment", "put", "nowhere.json"], "neither JSON nor a file that exists");
    refused(&["enrollment", "put", "[]"], "FILE must be a JSON object");
    refused(&["enrollment", "put", &group.to_string()], "enrollment.");
    let tpms = r#"{"attestation": {"type": "tpm"}}"#;
    refused(&["enrollment-group", "put", tpms], "tpmEnrollmentGroup.attestation");
    simulate(&home, &["enrollment", "put", ""]).refused(2, "FILE is empty");
    simulate(&home, &["certificate", "put", "plant"]).refused(2, "--path");
    assert_eq!(n_audit_lines(&home), before, "nothing was done");
    assert_eq!(home.run(&[&show[..], &["--show-keys"]].concat()).json(), group);
    home.run(&["enrollment", "show", "--eid", "press-1"]).refused(3, "");
}

#[tokio::test]
async fn a_ca_certificate_is_put_as_its_file_says_and_not_written() {
    let home = Home::new();
    let server = home.start();
    let (plant, other) = (testkit::Ca::root("plant"), testkit::Ca::root("other"));
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (plant_pem, other_pem) = (file("plant.pem", &plant.pem()), file("other.pem", &other.pem()));
    home.run(&["certificate", "create", "-n", "plant", "-p", &plant_pem, "--verified"]).json();
    home.run(&["enrollment-group", "create", "--gid", "line-4", "--ca-name", "plant"]).json();
    let saw = plant.leaf("saw-1");
    let ca_pem = std::fs::read_to_string(home.data().join("tls/ca.pem")).expect("a CA");
    let settings = ClientSettings::new("localhost", server.address().port(), ca_pem)
        .at(server.address())
        .with_identity(saw.chain_pem(), saw.key_pem());
    let scope = &server.listening().id_scope;
    let path = format!("/{scope}/registrations/saw-1/register?api-version=2021-06-01");
    let body = json!({ "registrationId": "saw-1" }).to_string();
    let headers = [("content-type", "application/json")];
    let device = Client::new(settings).expect("a client");
    let registered = device.request(Method::PUT, &path, &headers, body).await;
    assert_eq!(registered.expect("an answer").status.as_u16(), 202);

    let before = n_audit_lines(&home);
    let put = |path: &str, more: &[&str]| {
        let change = ["certificate", "put", "plant", "--path", path];
        let told = simulate(&home, &[&change[..], more].concat()).json();
        ["unchanged", "loses"].map(|name| told[name].as_u64().expect("a count"))
    };
    assert_eq!(put(&plant_pem, &["--verified"]), [1, 0]);
    assert_eq!(put(&other_pem, &["--verified"]), [0, 1]);
    let key = file("plant.key", &plant.key_pem());
    simulate(&home, &["certificate", "put", "plant", "-p", &key]).refused(1, "a private key");
    assert_eq!(n_audit_lines(&home), before, "nothing was done");
    assert_eq!(put(&plant_pem, &[]), [1, 0], "it is what it was");
}

#[tokio::test]
async fn whoever_takes_a_group_away_hears_who_comes_back_through_which() {
    let (home, _server) = with_devices(&["press-1", "press-2"]).await;
    let group = |rest: &[&str]| {
        let finished = home.run(&[&["enrollment-group"], rest, &["--gid", "line-4"]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.stderr
    };
    let back = "WARNING: 2 devices come back through group `root-2022`.\n";
    assert_eq!(group(&["update", "--ps", "disabled"]), "", "a disabled group keeps them out");
    let gain = "WARNING: 2 devices that are kept out now are let in through group `root-2022`.\n";
    assert_eq!(group(&["delete", "--dry-run"]), gain);
    assert_eq!(group(&["update", "--ps", "enabled"]), "");
    assert_eq!(group(&["delete", "--dry-run"]), back);
    assert_eq!(group(&["delete", "--dry-run", "--only-show-errors"]), "");
    assert_eq!(group(&["delete"]), back);
}

#[tokio::test]
async fn whoever_takes_an_enrollment_away_hears_where_its_device_comes_back() {
    let (home, server) = with_devices(&[]).await;
    let (service, devices) = (Api::service(&home, &server), Api::devices(&server));
    let group_key = SymmetricKey::parse(GROUP_KEY).expect("a key");
    let key = testkit::sas::derive_device_key(&group_key, "press-1");
    let document = json!({
        "registrationId": "press-1",
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": { "primaryKey": key.reveal(), "secondaryKey": key.reveal() },
        },
    });
    let path = "/enrollments/press-1?api-version=2021-10-01";
    let put = service.request(Method::PUT, path, &[], &document).await.expect("an answer");
    assert!(put.status.is_success(), "{put:?}");
    assert!(devices.register("press-1").await.expect("an answer").status.is_success());
    let enrollment = |rest: &[&str]| {
        let finished = home.run(&[&["enrollment"], rest, &["--eid", "press-1"]].concat());
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.stderr
    };
    assert_eq!(enrollment(&["update", "--ps", "disabled"]), "");
    assert_eq!(enrollment(&["update", "--ps", "enabled"]), "");
    let back = "WARNING: 1 device comes back through group `line-4`.\n";
    assert_eq!(enrollment(&["delete"]), back);
    home.run(&["enrollment", "delete", "--eid", "press-1"]).refused(3, "");
}

/// A policy that may delete a certificate may not ask what it would mean.
#[tokio::test]
async fn where_nothing_can_be_told_nothing_is_said_and_it_is_done() {
    let (home, _server) = with_devices(&[]).await;
    let ca = testkit::Ca::root("plant");
    let file = home.path().join("plant.pem");
    std::fs::write(&file, ca.pem()).expect("written");
    let file = file.to_str().expect("UTF-8");
    home.run(&["certificate", "create", "-n", "plant", "-p", file, "--verified"]).json();
    home.run(&["policy", "create", "--pn", "config", "--rights", "ServiceConfig"]).json();
    let shown = home.run(&["connection-string", "show", "--pn", "config"]).json();
    let login = shown["connectionString"].as_str().expect("a text");
    let refused =
        home.run(&["simulate-change", "certificate", "delete", "plant", "--login", login]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let deleted = home.run(&["certificate", "delete", "-n", "plant", "--login", login]);
    assert_eq!((deleted.code, deleted.stderr.as_str()), (0, ""), "{deleted:?}");
    home.run(&["certificate", "show", "-n", "plant"]).refused(3, "");
}
