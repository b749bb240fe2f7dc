//! The vendor's words, logins from elsewhere, and help.

use super::scene;
use crate::harness::{Home, induct, run};

#[test]
fn the_vendors_command_lines_work_as_they_stand() {
    let scene = scene();
    scene.json(
        "iot dps enrollment create -g MyGroup --dps-name MyService --enrollment-id press-17 \
         --attestation-type symmetricKey --auth-type key",
    );
    for line in ["enrollment list", "dps enrollment list", "iot dps enrollment list -n MyService"] {
        assert_eq!(scene.json(line)[0]["registrationId"], "press-17", "{line}");
    }
    scene.json("iot hub device-identity create -n hub-1 -d press-17 -g MyGroup");
    scene.json("iot hub device-twin show --hub-name hub-1.localhost --device-id press-17");
}

#[test]
fn a_connection_string_reaches_the_server_from_elsewhere() {
    let scene = scene();
    let answer = scene.json("connection-string show");
    let text = answer["connectionString"].as_str().expect("text");
    let ca = scene.home.data().join("tls/ca.pem");
    let ca = ca.to_str().expect("UTF-8");
    let elsewhere = Home::new();
    let line = ["enrollment", "list", "--login", text, "--ca-file", ca];
    assert_eq!(elsewhere.run(&line).json(), serde_json::json!([]));
    let unknown = elsewhere.run(&["enrollment", "list", "--login", text]);
    assert_ne!(unknown.code, 0, "{unknown:?}");
    assert!(unknown.stderr.contains("--ca-file"), "{unknown:?}");
    let half = elsewhere.run(&["enrollment", "list", "--login", "HostName=x"]);
    half.refused(1, "IoT DPS connection string has missing property: SharedAccessKeyName");

    let (kept, _) = text.split_once("SharedAccessKey=").expect("a key");
    let wrong = format!("{kept}SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let refused = elsewhere.run(&["enrollment", "list", "--login", &wrong, "--ca-file", ca]);
    refused.refused(1, "HTTP 401");
    assert!(!refused.stderr.contains("MDEyMzQ1"), "{refused:?}");
}

#[test]
fn a_hubs_connection_string_is_told_from_the_services() {
    let scene = scene();
    let hubs = scene.json("hub connection-string show");
    let text = hubs["connectionString"].as_str().expect("text");
    let finished = scene.home.run(&["enrollment", "list", "--login", text]);
    finished.refused(3, "is answered on the host name of the provisioning service");
    assert!(!finished.stderr.contains("`list` command"), "{finished:?}");
}

#[test]
fn without_a_server_the_remedy_is_named() {
    let home = Home::new();
    let finished = home.run(&["enrollment", "list"]);
    finished.refused(1, "Start one with `induct serve`");
}

#[test]
fn every_command_has_examples() {
    let commands = [
        "demo",
        "enrollment",
        "enrollment create",
        "enrollment update",
        "enrollment list",
        "enrollment show",
        "enrollment delete",
        "enrollment registration show",
        "enrollment registration delete",
        "enrollment-group",
        "enrollment-group create",
        "enrollment-group update",
        "enrollment-group list",
        "enrollment-group show",
        "enrollment-group delete",
        "enrollment-group compute-device-key",
        "enrollment-group registration list",
        "enrollment-group registration show",
        "enrollment-group registration delete",
        "hub",
        "hub query",
        "hub connection-string show",
        "hub device-identity create",
        "hub device-identity show",
        "hub device-identity list",
        "hub device-identity update",
        "hub device-identity delete",
        "hub device-identity renew-key",
        "hub device-identity connection-string show",
        "hub device-twin show",
        "hub device-twin update",
        "hub device-twin replace",
        "hub device-twin list",
    ];
    for command in commands {
        let line: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let finished = run(&mut induct(&line));
        assert_eq!(finished.code, 0, "{finished:?}");
        let example = format!("  induct {}", command.split(' ').next().expect("a word"));
        assert!(
            finished.stdout.contains("\nExample") && finished.stdout.contains(&example),
            "{command}: {}",
            finished.stdout
        );
    }
}

#[test]
fn short_names_of_options_stand_in_the_help() {
    let check = |command: &str, aliases: &[&str]| {
        let line: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run(&mut induct(&line)).stdout;
        for alias in aliases {
            assert!(help.contains(&format!("--{alias}")), "{command}: {alias}");
        }
    };
    let shared =
        ["cp", "scp", "pk", "sk", "ee", "props", "tags", "ps", "rp", "ap", "ih", "wh", "av"];
    check("enrollment create", &["eid", "at", "ek", "info"]);
    check("enrollment update", &["rc", "rsc", "etag", "ek"]);
    check("enrollment create", &shared);
    check("enrollment-group create", &shared);
    check("enrollment-group create", &["gid", "eid", "cn", "scn", "root-ca-name"]);
    check("enrollment-group compute-device-key", &["rid", "symmetric-key", "gid"]);
    check(
        "hub device-identity create",
        &["am", "pk", "sk", "ptp", "stp", "vd", "od", "sta", "star"],
    );
}

#[test]
fn an_empty_id_is_no_id() {
    for line in
        [&["enrollment", "delete", "--eid", ""][..], &["hub", "device-twin", "show", "-d", ""]]
    {
        let finished = run(&mut induct(line));
        assert_eq!(finished.code, 2, "{finished:?}");
    }
}
