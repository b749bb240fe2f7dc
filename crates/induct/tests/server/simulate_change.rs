//! `induct simulate-change`, and the warnings before changes that let devices back in: the commands.

use http::Method;
use model::SymmetricKey;
use serde_json::{Value, json};

use crate::harness::{Api, Finished, Home, Server};

/// The key of the groups that the harness enrolls.
const GROUP_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

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
