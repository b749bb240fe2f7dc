//! Why devices are admitted or refused: `induct explain`, `attempt` and `top-refused` on a running
//! server.

use std::fs;

use serde_json::{Value, json};
use testkit::{Ca, Credential};

use crate::harness::{Api, Home, Server};

/// The primary key of the enrollment, and another one.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const WRONG_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

fn enrolled(id: &str) -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    let created = home.run(&[
        "enrollment",
        "create",
        "--eid",
        id,
        "--at",
        "symmetricKey",
        "--pk",
        KEY,
        "--sk",
        KEY,
    ]);
    assert_eq!(created.code, 0, "{created:?}");
    (home, server)
}

fn explain(home: &Home, rest: &[&str]) -> Value {
    home.run(&[&["explain"], rest].concat()).json()
}

#[track_caller]
fn check(explained: &Value, outcome: &str, remedy: Option<&str>) {
    assert_eq!(explained["outcome"], outcome, "{explained}");
    match remedy {
        None => assert_eq!(explained["remedy"], Value::Null, "{explained}"),
        Some(part) => {
            let remedy = explained["remedy"].as_str().expect("a remedy");
            assert!(remedy.contains(part), "{remedy}");
        }
    }
}

/// The text of a file with these certificates, leaf first.
fn file(home: &Home, name: &str, leaf: &Credential) -> String {
    let path = home.path().join(name);
    fs::write(&path, leaf.chain_pem()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_key_that_fits_one_that_does_not_a_disabled_entry_and_a_ban_are_told_apart() {
    let (home, _server) = enrolled("press-17");
    let of = ["--registration-id", "press-17"];
    let with = |key: &str| explain(&home, &[&of[..], &["--key", key]].concat());
    check(&with(KEY), "Assigned", None);
    assert_eq!(with(KEY)["enrollment"], json!({"enrollment": "press-17"}));
    check(&with(WRONG_KEY), "NotAttested", Some("the primary or the secondary key"));
    let key_file = home.path().join("press-17.key");
    fs::write(&key_file, format!("{KEY}\n")).expect("written");
    check(&with(&format!("@{}", key_file.display())), "Assigned", None);
    let open = explain(&home, &of);
    check(&open, "NotKnown", Some("Ask again"));
    assert!(open["steps"].to_string().contains("it wants a token"), "{open}");
    let disable = ["enrollment", "update", "--eid", "press-17", "--ps", "disabled"];
    assert_eq!(home.run(&disable).code, 0);
    let remedy = "Enable the individual enrollment of `press-17`.";
    check(&with(KEY), "EnrollmentDisabled", Some(remedy));
    check(&explain(&home, &of), "NotKnown", Some(remedy));
    assert_eq!(home.run(&["ban", "add", "--rid", "press-17", "--reason", "stolen"]).code, 0);
    let banned = with(KEY);
    check(&banned, "Banned", Some("Lift the ban `registration:press-17`"));
    assert_eq!(banned["bans"][0]["reason"], "stolen");
    let table = home.run(&[&["explain"], &of[..], &["-o", "table"]].concat()).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("  1. "), "{table}");
    let last = lines.last().expect("lines");
    assert!(last.starts_with("Remedy") && last.contains("Lift the ban"), "{table}");
    assert!(table.contains("registration:press-17 (revoked by"), "{table}");
    // No registration came of it, and no attempt.
    home.run(&["enrollment", "registration", "show", "--eid", "press-17"]).refused(3, "");
    assert_eq!(home.run(&["attempt", "list"]).json(), json!([]));
}

#[test]
fn a_chain_is_told_by_its_ca_whether_that_is_known_or_not() {
    let home = Home::new();
    let _server = home.start();
    let (root, stranger) = (Ca::root("plant"), Ca::root("stranger"));
    let path = home.path().join("plant.pem");
    fs::write(&path, root.pem()).expect("written");
    let path = path.to_str().expect("UTF-8");
    let created = home.run(&["enrollment-group", "create", "--gid", "line-4", "--cp", path]);
    assert_eq!(created.code, 0, "{created:?}");
    let own = file(&home, "own.pem", &root.leaf("press-17"));
    let admitted = explain(&home, &["--certificate", &own]);
    check(&admitted, "Assigned", None);
    assert_eq!(admitted["registrationId"], "press-17");
    assert_eq!(admitted["enrollment"], json!({"group": "line-4"}));
    assert!(admitted["assumed"].to_string().contains("private key"), "{admitted}");
    let foreign = file(&home, "foreign.pem", &stranger.leaf("press-18"));
    let unknown = explain(&home, &["--certificate", &foreign]);
    check(&unknown, "NotEnrolled", Some("enroll the CA that signed it"));
    home.run(&["explain"]).refused(2, "--registration-id");
    home.run(&["explain", "--rid", "a", "--key", KEY, "--certificate", &own]).refused(2, "cannot");
    home.run(&["explain", "--tracking-id", "nobody"]).refused(3, "nobody");
}

#[tokio::test]
async fn what_happened_is_told_by_the_tracking_id_that_the_device_was_given() {
    let home = Home::new();
    let server = home.start();
    let devices = Api::devices(&server);
    let mut tracking_ids = Vec::new();
    for _ in 0..2 {
        let refused = devices.register("press-17").await.expect("an answer");
        assert_eq!(refused.status, 401);
        let body: Value = serde_json::from_slice(&refused.body).expect("JSON");
        tracking_ids.push(body["trackingId"].as_str().expect("an ID").to_owned());
    }
    for id in &tracking_ids {
        let told = explain(&home, &["--tracking-id", id]);
        check(&told, "NotEnrolled", Some("No group has the key"));
        assert_eq!(
            (&told["attempt"]["count"], &told["attempt"]["door"]),
            (&json!(2), &json!("https"))
        );
        assert_eq!(home.run(&["attempt", "show", id]).json(), told);
    }
    let listed = home.run(&["attempt", "list", "--device", "PRESS-17", "--refused"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["trackingId"], tracking_ids[0].as_str());
    let top = home.run(&["top-refused", "--top", "3"]).json();
    assert_eq!(top["devices"][0]["registrationId"], "press-17");
    assert_eq!(top["devices"][0]["count"], 2);
    let table = home.run(&["top-refused", "-o", "table"]).stdout;
    assert!(table.lines().any(|line| line.starts_with("press-17")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("127.0.0.1")), "{table}");
    // Enrolled, it is admitted, and where it is now stands beside what happened then.
    Api::service(&home, &server).enroll_group("line-4").await;
    assert_eq!(devices.register("press-17").await.expect("an answer").status, 202);
    let told = explain(&home, &["--tracking-id", &tracking_ids[0]]);
    check(&told, "NotEnrolled", Some("No group has the key"));
    assert_eq!(told["registration"]["deviceId"], "press-17");
    let now = explain(&home, &["--registration-id", "press-17"]);
    check(&now, "Assigned", None);
    assert_eq!(now["enrollment"], json!({"group": "line-4"}));
    let connects = explain(&home, &["--hub", "hub-1", "--device-id", "press-17"]);
    check(&connects, "Connected", None);
    assert!(connects["steps"].to_string().contains("by the group `line-4`"), "{connects}");
}
