//! Registration records without an enrollment, groups that go with their records, and what is set
//! on groups: the commands.

use serde_json::json;

use super::{is, wait_for_registration};
use crate::harness::{Api, Home, Server};

/// A server with a group of so many devices.
async fn with_group(group: &str, n: usize) -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    more(&home, &server, group, n).await;
    (home, server)
}

async fn more(home: &Home, server: &Server, group: &str, n: usize) {
    let (service, devices) = (Api::service(home, server), Api::devices(server));
    service.enroll_group(group).await;
    for n in 0..n {
        let id = format!("{group}-{n}");
        devices.register(&id).await.expect("an answer");
        wait_for_registration(&service, &id, is("assigned")).await;
    }
}

#[tokio::test]
async fn orphans_are_listed_counted_and_deleted_by_one_command() {
    let (home, server) = with_group("line-4", 3).await;
    let orphans = |rest: &[&str]| home.run(&[&["registration", "orphans"], rest].concat());
    assert_eq!(orphans(&["count"]).json(), json!({"records": 0}));
    assert_eq!(home.run(&["enrollment-group", "delete", "--gid", "line-4"]).code, 0);
    more(&home, &server, "line-5", 1).await;
    assert_eq!(orphans(&["count"]).json(), json!({"records": 3}));
    assert_eq!(orphans(&["count", "--gid", "line-5"]).json(), json!({"records": 0}));
    assert_eq!(orphans(&["count", "--older-than", "1d"]).json(), json!({"records": 0}));
    orphans(&["count", "--older-than", "long"]).refused(2, "expected seconds");
    let listed = orphans(&["list", "--top", "2"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert_eq!(listed[0]["registrationId"], "line-4-0");
    assert_eq!(listed[0]["enrollmentGroupId"], "line-4");
    let table = orphans(&["list", "-o", "table"]).stdout;
    assert!(table.lines().any(|line| line.starts_with("line-4-2")), "{table}");
    let dry = orphans(&["delete", "--dry-run"]).json();
    assert_eq!((&dry["records"], &dry["isDryRun"]), (&json!(3), &json!(true)));
    assert_eq!(orphans(&["count"]).json(), json!({"records": 3}));
    let deleted = orphans(&["delete"]);
    assert_eq!(deleted.json(), json!({"records": 3}));
    assert!(deleted.stderr.contains("identities stay on their hubs"), "{deleted:?}");
    let again = orphans(&["delete"]);
    assert_eq!((again.json(), again.stderr.as_str()), (json!({"records": 0}), ""));
    let devices = home.run(&["hub", "device-identity", "list"]).json();
    assert_eq!(devices.as_array().map(Vec::len), Some(4), "the hub's devices stay");
}

#[tokio::test]
async fn a_group_goes_with_its_records_and_what_broke_off_is_finished_by_running_it_again() {
    let (home, server) = with_group("line-4", 2).await;
    let delete = |group: &str, rest: &[&str]| {
        home.run(&[&["enrollment-group", "delete", "--gid", group], rest].concat())
    };
    let dry = delete("line-4", &["--with-records", "--dry-run"]).json();
    assert_eq!((&dry["records"], &dry["isDryRun"]), (&json!(2), &json!(true)));
    home.run(&["enrollment-group", "show", "--gid", "line-4"]).json();
    delete("line-4", &["--with-records", "--etag", "b2xk"]).refused(1, "code 412");
    let deleted = delete("line-4", &["--with-records"]);
    assert_eq!(deleted.json(), json!({"enrollmentGroupId": "line-4", "records": 2}));
    home.run(&["enrollment-group", "show", "--gid", "line-4"]).refused(3, "");
    delete("line-4", &["--with-records"]).refused(3, "");
    // As if only the group had gone.
    more(&home, &server, "line-5", 2).await;
    assert_eq!(delete("line-5", &[]).code, 0);
    assert_eq!(delete("line-5", &["--with-records"]).json()["records"], 2);
    assert_eq!(home.run(&["usage"]).json()["registrations"]["current"], 0);
}

#[test]
fn settings_of_groups_and_of_the_service_say_whether_disenrolling_ends_sessions() {
    let home = Home::new();
    let _server = home.start();
    assert_eq!(home.run(&["show"]).json()["disenrollEndsSessions"], false);
    let update = ["update", "--disenroll-ends-sessions", "true"];
    let dry = home.run(&[&update[..], &["--dry-run"]].concat()).json();
    assert_eq!(dry["disenrollEndsSessions"], true);
    assert_eq!(home.run(&["show"]).json()["disenrollEndsSessions"], false);
    assert_eq!(home.run(&update).json()["disenrollEndsSessions"], true);
    home.run(&["enrollment-group", "create", "--gid", "line-4"]).json();
    let settings = |rest: &[&str]| {
        home.run(&[&["enrollment-group", "settings"], rest, &["--gid", "line-4"]].concat())
    };
    let check = |shown: serde_json::Value, ends: serde_json::Value, stale: serde_json::Value| {
        assert_eq!((&shown["disenrollEndsSessions"], &shown["staleCrl"]), (&ends, &stale));
    };
    check(settings(&["show"]).json(), json!(null), json!(null));
    settings(&["set"]).refused(2, "There is nothing to change.");
    let set = settings(&["set", "--disenroll-ends-sessions", "false"]).json();
    check(set, json!(false), json!(null));
    let dry = settings(&["set", "--stale-crl", "refuse", "--dry-run"]).json();
    check(dry, json!(false), json!("refuse"));
    check(settings(&["show"]).json(), json!(false), json!(null));
    let set = settings(&["set", "--stale-crl", "refuse"]).json();
    check(set, json!(false), json!("refuse"));
    // Whatever else changes of the group, this stays.
    home.run(&["enrollment-group", "update", "--gid", "line-4", "--ps", "disabled"]).json();
    let set = settings(&["set", "--disenroll-ends-sessions", "service"]).json();
    check(set, json!(null), json!("refuse"));
    settings(&["set", "--stale-crl", "admit", "--etag", "b2xk"]).refused(1, "code 412");
    home.run(&["enrollment-group", "settings", "show", "--gid", "line-9"]).refused(3, "");
    let actions = home.run(&["audit", "list", "--action", "enrollment-group.settings"]).json();
    assert_eq!(actions.as_array().map(Vec::len), Some(3));
}
