//! Policies, settings, usage and the audit log.

use rusqlite::Connection;
use serde_json::Value;

use super::policy_names;
use crate::harness::{Home, Server};

fn started() -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    (home, server)
}

/// A policy's keys.
fn keys(home: &Home, name: &str) -> (String, String) {
    let policy = home.run(&["policy", "show", "--pn", name, "--show-keys"]).json();
    let key = |member: &str| policy[member].as_str().expect("a key").to_owned();
    (key("primaryKey"), key("secondaryKey"))
}

#[test]
fn a_policy_is_made_changed_rotated_and_deleted() {
    let (home, _server) = started();
    let made =
        home.run(&["policy", "create", "--pn", "ci", "-r", "EnrollmentRead", "EnrollmentWrite"]);
    assert_eq!(made.json()["rights"], "EnrollmentWrite", "the stronger right swallows the weaker");
    assert!(!made.stdout.contains("primaryKey"), "{made:?}");
    home.run(&["dps", "access-policy", "create", "--pn", "ci", "-r", "EnrollmentRead"])
        .refused(1, "Access policy ci already exists.");
    assert_eq!(policy_names(&home), ["ci", "provisioningserviceowner"]);

    let (primary, secondary) = keys(&home, "ci");
    assert_ne!(primary, secondary);
    home.run(&["policy", "update", "--pn", "ci", "--primary-key", ""]).json();
    let (rotated, kept) = keys(&home, "ci");
    assert_ne!(rotated, primary);
    assert_eq!(kept, secondary);
    let own = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let both = ["-r", "RegistrationStatusRead", "--secondary-key", own];
    let command = [&["policy", "update", "--pn", "ci"][..], &both].concat();
    assert_eq!(home.run(&command).json()["rights"], "RegistrationStatusRead");
    assert_eq!(keys(&home, "ci"), (rotated, own.to_owned()));
    home.run(&["policy", "update", "--pn", "ci", "-r", "EnrollmentRead", "--etag", "b2xk"])
        .refused(1, "code 412");
    home.run(&["policy", "update", "--pn", "ci"]).refused(2, "There is nothing to change.");
    home.run(&["policy", "create", "--pn", "x", "-r", "Everything"])
        .refused(1, "one of the words is none of ServiceConfig");

    assert_eq!(home.run(&["policy", "delete", "--pn", "ci"]).code, 0);
    home.run(&["policy", "show", "--pn", "ci"]).refused(3, "code 404");
}

#[test]
fn the_last_owner_remains() {
    let (home, _server) = started();
    let owner = "provisioningserviceowner";
    home.run(&["policy", "delete", "--pn", owner]).refused(1, "is the last");
    home.run(&["policy", "update", "--pn", owner, "-r", "EnrollmentRead"])
        .refused(1, "is the last");
    home.run(&["policy", "create", "--pn", "boss", "-r", "ServiceConfig", "EnrollmentWrite"])
        .json();
    assert_eq!(home.run(&["policy", "delete", "--pn", owner]).code, 0);
    // Commands on this machine go on with the owner there is.
    assert_eq!(policy_names(&home), ["boss"]);
    home.run(&["policy", "delete", "--pn", "boss"]).refused(1, "is the last");
}

#[test]
fn a_policy_of_a_hub_is_managed_beside_those_of_the_service() {
    let (home, _server) = started();
    let hub = ["--hub", "hub-1.localhost"];
    let run = |command: &[&str]| home.run(&[command, &hub].concat());
    let made = run(&["policy", "create", "--pn", "reader", "-r", "RegistryRead"]);
    assert_eq!(made.json()["rights"], "RegistryRead");
    let names: Vec<Value> = run(&["policy", "list"]).json().as_array().expect("a list").clone();
    assert_eq!(names.len(), 6);
    assert_eq!(policy_names(&home), ["provisioningserviceowner"]);
    home.run(&["policy", "list", "--hub", "hub-7.localhost"]).refused(3, "no hub");
}

#[test]
fn settings_change_while_the_service_runs_and_stay() {
    let (home, server) = started();
    assert_eq!(home.run(&["show"]).json()["allocationPolicy"], "hashed");
    let updated = home.run(&["dps", "update", "--allocation-policy", "static"]);
    assert_eq!(updated.json()["allocationPolicy"], "static");
    home.run(&["update", "--allocation-policy", "custom"]).refused(1, "custom is for enrollments");
    home.run(&["update", "--set", "colour=red"]).refused(1, "is none of its members");
    home.run(&["update"]).refused(2, "There is nothing to change.");
    server.stop();
    let _server = home.start();
    assert_eq!(home.run(&["show"]).json()["allocationPolicy"], "static");
}

#[test]
fn usage_stands_beside_its_limits() {
    let home = Home::new();
    let _server = home.start_with(&[("INDUCT_LIMITS__LINKED_HUBS", "2")]);
    let usage = home.run(&["usage"]).json();
    assert_eq!(usage["linkedHubs"], serde_json::json!({ "current": 1, "limit": 2 }));
    assert_eq!(usage["caCertificates"]["limit"], 25);
    let table = home.run(&["usage", "-o", "table"]).stdout;
    let line = table.lines().find(|line| line.starts_with("linkedHubs")).expect("a line");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["linkedHubs", "1", "2"]);
    home.run(&["linked-hub", "create", "--hub-name", "hub-2.localhost"]).json();
    let refused = home.run(&["linked-hub", "create", "--hub-name", "hub-3.localhost"]);
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[test]
fn every_change_is_a_line_that_says_who_what_and_from_where() {
    let (home, _server) = started();
    home.run(&["policy", "create", "--pn", "ci", "-r", "EnrollmentRead"]).json();
    home.run(&["enrollment", "create", "--eid", "press-17", "--at", "symmetricKey"]).json();
    home.run(&["enrollment", "update", "--eid", "press-17", "--ps", "disabled"]).json();
    let lines = home.run(&["audit", "list", "--target", "enrollments/press-17"]).json();
    let actions: Vec<&Value> =
        lines.as_array().expect("a list").iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["enrollment.create", "enrollment.update"]);
    assert_eq!(lines[1]["policy"], "provisioningserviceowner");
    assert_eq!(lines[1]["address"], "127.0.0.1");
    assert_eq!(lines[1]["after"]["provisioningStatus"], "disabled");
    let of_policies = home.run(&["audit", "list", "--action", "policy.", "--top", "1"]).json();
    assert_eq!(of_policies.as_array().expect("a list").len(), 1);
    let future = home.run(&["audit", "list", "--since", "2999-01-01T00:00:00Z"]).json();
    assert_eq!(future, serde_json::json!([]));
    home.run(&["audit", "list", "--since", "yesterday"]).refused(1, "since");

    let (primary, secondary) = keys(&home, "ci");
    let all = home.run(&["audit", "list"]).stdout;
    assert!(!all.contains(&primary) && !all.contains(&secondary), "a key is in the log");
}

/// The log is found broken after someone did this to the database.
fn check_tampering(sql: &str, told: &str) {
    let home = Home::new();
    let server = home.start();
    for n in 0..5 {
        let name = format!("p{n}");
        home.run(&["policy", "create", "--pn", &name, "-r", "EnrollmentRead"]).json();
    }
    assert_eq!(home.run(&["audit", "verify"]).json()["isWhole"], true);
    server.stop();
    let database = Connection::open(home.data().join("induct.db")).expect("the database");
    let n_changed = database.execute(sql, []).expect("legal SQL");
    assert_eq!(n_changed, 1, "{sql}");
    drop(database);
    let _server = home.start();
    home.run(&["audit", "verify"]).refused(1, told);
}

#[test]
fn a_changed_line_of_the_audit_log_is_found() {
    check_tampering(
        "UPDATE audit_lines SET action = 'policy.nothing' WHERE number = 5",
        "The audit log is not as it was written, from line 5 on",
    );
}

#[test]
fn a_missing_line_of_the_audit_log_is_found() {
    check_tampering(
        "DELETE FROM audit_lines WHERE number = 6",
        "The audit log is not as it was written, from line 6 on",
    );
}

#[test]
fn a_log_whose_end_was_cut_off_is_found() {
    check_tampering(
        "DELETE FROM audit_lines WHERE number = (SELECT MAX(number) FROM audit_lines)",
        "The audit log is not as it was written",
    );
}
