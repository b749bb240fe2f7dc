//! `induct deprovision`, `induct reinstate` and `induct receipt`, against a running server: what an
//! operator sees and is told, and what devices meet at its doors afterwards.

mod doors;
mod fleet;
mod intents;
mod interrupted;
mod selections;
mod terminal;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    amqp_scene::KEY,
    harness::{Api, Finished, Home, Server},
};

const GROUP: &str = "line-4";

/// A server with a group, whose key is [`KEY`], and devices of it that have registered.
async fn with_group(ids: &[String]) -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    Api::service(&home, &server).enroll_group(GROUP).await;
    register_all(&server, ids).await;
    (home, server)
}

/// Devices of the group register.
async fn register_all(server: &Server, ids: &[String]) {
    let devices = Api::devices(server);
    for id in ids {
        let answer = devices.register(id).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{id}: {answer:?}");
    }
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("press-{n}")).collect()
}

/// The key that a device of the group derives from the group's.
fn key_of(id: &str) -> model::SymmetricKey {
    let group_key = model::SymmetricKey::parse(KEY).expect("a key");
    testkit::sas::derive_device_key(&group_key, id)
}

/// `induct deprovision` with these words.
fn deprovision(home: &Home, words: &[&str]) -> Finished {
    home.run(&[&["deprovision"], words].concat())
}

/// The receipt of what was done at once, and what people were told.
#[track_caller]
fn done(home: &Home, words: &[&str]) -> (Value, String) {
    told(&deprovision(home, &[words, &["--yes"]].concat()))
}

/// The same of a command that ended.
#[track_caller]
fn told(finished: &Finished) -> (Value, String) {
    let receipt = finished.json();
    assert_eq!((&receipt["state"], &receipt["progress"]["failed"]), (&json!("done"), &json!(0)));
    (receipt, finished.stderr.clone())
}

/// What a receipt says of its devices.
#[track_caller]
fn devices_of(home: &Home, receipt: &Value) -> Vec<Value> {
    let devices = home.run(&["receipt", "show", id_of(receipt), "--devices"]).json();
    devices.as_array().expect("a list").clone()
}

fn id_of(receipt: &Value) -> &str {
    receipt["id"].as_str().expect("a name")
}

/// The actions in the audit log that begin so, each with what it was done to.
#[track_caller]
fn audited(home: &Home, action: &str) -> Vec<String> {
    let lines = home.run(&["audit", "list", "--action", action]).json();
    let lines = lines.as_array().expect("a list").iter();
    lines.map(|line| line["target"].as_str().expect("a target").to_owned()).collect()
}
