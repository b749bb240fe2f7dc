//! Many devices: a group as a whole, and that doing it twice changes nothing.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{GROUP, audited, deprovision, devices_of, done, id_of, key_of, names, with_group};
use crate::harness::{Api, Home, listed_devices, listed_records};

const N_DEVICES: usize = 50;
/// Those of them that are connected.
const N_CONNECTED: usize = 5;

fn usage(home: &Home) -> Value {
    home.run(&["usage"]).json()["registrations"]["current"].clone()
}

/// All of the audit log but when and by whom it was asked.
fn log(home: &Home) -> Vec<String> {
    audited(home, "")
}

#[tokio::test]
async fn a_group_of_fifty_is_retired_as_a_whole_and_doing_it_again_changes_nothing() {
    let ids = names(N_DEVICES);
    let (home, server) = with_group(&ids).await;
    let mut sessions = Vec::new();
    for id in &ids[..N_CONNECTED] {
        let key = STANDARD.encode(key_of(id).bytes());
        sessions.push(server.connect_device(id, &key).await);
    }
    let plan = deprovision(&home, &["--group", GROUP, "--intent", "retire", "--dry-run"]);
    let planned = plan.json();
    for told in [
        "retire 50 devices.",
        "group          line-4 is deleted",
        "records        50 are deleted",
        "bans           50 are set",
        "live sessions  5 are ended",
        "50 on hub-1.localhost are deleted",
        "Afterwards none of them gets in by any entry.",
    ] {
        assert!(plan.stderr.contains(told), "{told}: {}", plan.stderr);
    }
    assert_eq!(planned["plan"]["stillAdmitted"], 0);

    let (receipt, said) = done(&home, &["--plan", id_of(&planned)]);
    for session in &mut sessions {
        session.closed().await;
    }
    assert_eq!(receipt["progress"]["done"], N_DEVICES);
    assert_eq!(receipt["sessions"]["ended"], N_CONNECTED);
    assert!(receipt["sessions"]["closedAfterMs"].as_f64().is_some_and(|ms| ms > 0.0), "{receipt}");
    assert!(said.contains("5 live sessions ended; the slowest was closed"), "{said}");
    let devices = devices_of(&home, &receipt);
    let told: BTreeSet<&str> =
        devices.iter().map(|device| device["registrationId"].as_str().expect("a name")).collect();
    assert_eq!(told, ids.iter().map(String::as_str).collect());
    for device in &devices {
        assert_eq!((&device["state"], device["at"].is_string()), (&json!("done"), true));
    }
    let measured = devices.iter().filter(|device| device["sessions"]["closed"] == "closed");
    assert_eq!(measured.count(), N_CONNECTED);
    let (service, hub) = (Api::service(&home, &server), Api::hub(&home, &server, "hub-1"));
    assert_eq!(listed_devices(&hub).await, BTreeSet::new());
    assert_eq!(listed_records(&service, GROUP).await, BTreeSet::new());
    assert_eq!(usage(&home), 0);
    assert_eq!(home.run(&["ban", "list"]).json().as_array().map(Vec::len), Some(N_DEVICES));

    // The same plan again.
    let before = log(&home);
    let again = deprovision(&home, &["--plan", id_of(&planned), "--yes"]);
    assert_eq!(again.json(), receipt);
    // A new plan of the same devices, by their names: the group is gone.
    let file = home.path().join("fleet.txt");
    std::fs::write(&file, ids.join("\n")).expect("written");
    let file = file.to_str().expect("UTF-8");
    let again = deprovision(&home, &["--file", file, "--intent", "retire", "--yes"]);
    assert_eq!(again.json()["plan"]["unchanged"], N_DEVICES);
    assert!(again.stderr.contains("Nothing is to be done."), "{again:?}");
    assert_eq!(log(&home), before, "nothing was written");
    deprovision(&home, &["--group", GROUP, "--intent", "retire", "--yes"]).refused(3, "404202");

    let table = home.run(&["receipt", "list", "-o", "table"]).stdout;
    let of_it = table.lines().find(|line| line.starts_with(id_of(&receipt))).expect("a row");
    let columns: Vec<&str> = of_it.split_whitespace().collect();
    assert_eq!(columns[1..6], ["retire", "done", "50", "50", "0"], "{table}");
    let failed = ["receipt", "show", id_of(&receipt), "--devices", "--state", "failed"];
    assert_eq!(home.run(&failed).json(), json!([]));
}

#[tokio::test]
async fn a_group_that_was_suspended_as_a_whole_comes_back_as_a_whole() {
    let ids = names(3);
    let (home, server) = with_group(&ids).await;
    let group = || home.run(&["enrollment-group", "show", "--gid", GROUP]).json();
    let (receipt, _) = done(&home, &["--group", GROUP, "--intent", "suspend"]);
    assert_eq!(group()["provisioningStatus"], "disabled");
    let again = deprovision(&home, &["--group", GROUP, "--intent", "suspend", "--yes"]);
    assert_eq!(again.json()["plan"]["unchanged"], 3, "{again:?}");
    assert_eq!(again.json()["wholes"][0]["outcome"], "unchanged");
    assert_eq!(audited(&home, "device.").len(), 3);
    assert_eq!(audited(&home, "enrollment-group.disable").len(), 1);
    let devices = Api::devices(&server);
    for id in ids.iter().map(String::as_str).chain(["press-new"]) {
        let state = devices.register(id).await.expect("an answer").status.as_u16();
        assert_eq!(state, if id == "press-new" { 202 } else { 401 }, "{id}");
    }
    // A disabled group tells a device that is not banned that it is disabled (D §5.1).
    let service = Api::service(&home, &server);
    let record = service.registration("press-new").await.json().expect("JSON");
    assert_ne!(record["status"], "assigned", "{record}");

    let back = home.run(&["reinstate", "--receipt", id_of(&receipt), "--yes"]).json();
    assert_eq!(back["progress"]["done"], 3);
    assert_eq!(back["wholes"][0]["act"], "enableGroup");
    assert_eq!(group()["provisioningStatus"], "enabled");
    for id in &ids {
        assert_eq!(devices.register(id).await.expect("an answer").status.as_u16(), 202, "{id}");
    }
}
