//! What each intent does to a device, and how it comes back.

use serde_json::{Value, json};

use super::{
    GROUP, audited, deprovision, devices_of, done, doors::Knocker, id_of, key_of, names, told,
    with_group,
};
use crate::harness::{Api, Home};

const ID: &str = "press-0";

fn wire_key(id: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(key_of(id).bytes())
}

/// The identity on the first hub.
fn identity(home: &Home, id: &str) -> Value {
    home.run(&["hub", "device-identity", "show", "-d", id]).json()
}

fn tags(home: &Home, id: &str) -> Value {
    home.run(&["hub", "device-twin", "show", "-d", id]).json()["tags"].clone()
}

/// What was done to the one device of a receipt.
fn parts(home: &Home, receipt: &Value) -> Vec<String> {
    let devices = devices_of(home, receipt);
    let [device] = devices.as_slice() else { panic!("{devices:?}") };
    let parts = device["parts"].as_array().expect("parts").iter();
    parts.map(|part| part["did"].as_str().expect("what").to_owned()).collect()
}

#[tokio::test]
async fn who_is_suspended_is_off_at_every_door_until_reinstated() {
    let (home, server) = with_group(&names(2)).await;
    let knocker = Knocker::new(&home, &server, ID, key_of(ID));
    let neighbour = Knocker::new(&home, &server, "press-1", key_of("press-1"));
    knocker.check(true, "at first").await;
    let mut session = server.connect_device(ID, &wire_key(ID)).await;
    let mut other = server.connect_device("press-1", &wire_key("press-1")).await;

    let (receipt, said) =
        done(&home, &["--rid", ID, "--intent", "suspend", "--reason", "maintenance"]);
    session.closed().await;
    other.send("", b"on").await;
    let ms = receipt["sessions"]["closedAfterMs"].as_f64().expect("it was measured");
    assert!(ms > 0.0 && ms < 20_000.0, "{receipt}");
    assert_eq!(receipt["sessions"]["ended"], 1);
    assert!(said.contains("suspend 1 device."), "{said}");
    let held_off = format!("out of the group `{GROUP}`; without them it would come back");
    assert!(said.contains(&held_off), "{said}");
    assert!(said.contains("1 live session ended; the slowest was closed"), "{said}");
    assert!(said.contains(&format!("induct reinstate --receipt {}", id_of(&receipt))), "{said}");
    assert_eq!(parts(&home, &receipt), ["banSet", "identityDisabled"]);
    let off = identity(&home, ID);
    assert_eq!(off["status"], "disabled");
    let reason = off["statusReason"].as_str().expect("a reason");
    assert!(reason.contains(id_of(&receipt)) && reason.ends_with(": maintenance"), "{reason}");
    knocker.check(false, "while it is suspended").await;
    neighbour.check(true, "all the while").await;
    let record = home.run(&["enrollment-group", "registration", "show", "--rid", ID]);
    assert_eq!(record.json()["assignedHub"], "hub-1.localhost", "the record is kept");

    let back = home.run(&["reinstate", "--receipt", id_of(&receipt), "--yes"]);
    let (back, said) = told(&back);
    assert!(said.contains("Reinstated 1 device."), "{said}");
    assert_eq!(parts(&home, &back), ["banLifted", "identityEnabled"]);
    assert_eq!(identity(&home, ID)["status"], "enabled");
    knocker.check(true, "when it is reinstated").await;
    let again = home.run(&["reinstate", "--rid", ID, "--yes"]);
    assert_eq!(again.json()["plan"]["unchanged"], 1, "{again:?}");
    assert!(again.stderr.contains("Nothing is to be done."), "{again:?}");
    assert_eq!(audited(&home, "device.").len(), 2);
}

#[tokio::test]
async fn who_is_retired_comes_back_enrolled_anew_as_somebody_new() {
    let (home, server) = with_group(&names(1)).await;
    let knocker = Knocker::new(&home, &server, ID, key_of(ID));
    let update = ["hub", "device-twin", "update", "-d", ID, "--tags", r#"{"owner":"ana"}"#];
    home.run(&update).json();
    assert_eq!(tags(&home, ID)["owner"], "ana");
    let before = identity(&home, ID);

    let (receipt, _) = done(&home, &["--rid", ID, "--intent", "retire"]);
    assert_eq!(parts(&home, &receipt), ["banSet", "recordDeleted", "identityDeleted"]);
    home.run(&["hub", "device-identity", "show", "-d", ID]).refused(3, "");
    knocker.check(false, "through its group").await;

    let key = wire_key("anew");
    let create = ["enrollment", "create", "--eid", ID, "--at", "symmetricKey", "--pk", &key];
    home.run(&[&create[..], &["--sk", &key]].concat()).json();
    let knocker = knocker.with_key(key_of("anew"));
    knocker.check(true, "by an enrollment of its own").await;
    let after = identity(&home, ID);
    assert_ne!(after["generationId"], before["generationId"], "a new incarnation");
    assert_eq!(tags(&home, ID).get("owner"), None, "with nothing of the old one");
}

#[tokio::test]
async fn who_is_revoked_stays_out_whatever_is_enrolled_until_the_ban_is_lifted() {
    let (home, server) = with_group(&names(1)).await;
    let knocker = Knocker::new(&home, &server, ID, key_of(ID));
    knocker.check(true, "at first").await;
    let (receipt, _) =
        done(&home, &["--rid", ID, "--intent", "revoke", "--reason", "stolen on 3 May"]);
    assert_eq!(parts(&home, &receipt), ["banSet", "recordDeleted", "identityDeleted"]);
    knocker.check(false, "through its group").await;

    home.run(&["enrollment-group", "delete", "--gid", GROUP]);
    Api::service(&home, &server).enroll_group(GROUP).await;
    knocker.check(false, "through its group made anew").await;
    let key = wire_key(ID);
    let create = ["enrollment", "create", "--eid", ID, "--at", "symmetricKey", "--pk", &key];
    home.run(&[&create[..], &["--sk", &key]].concat()).json();
    knocker.check(false, "by an enrollment of its own").await;
    let by_hand = ["hub", "device-identity", "create", "-d", ID, "--am", "shared_private_key"];
    home.run(&[&by_hand[..], &["--pk", &key, "--sk", &key]].concat()).json();
    knocker.check(false, "by an identity made by hand").await;
    // A weaker intent does not weaken it.
    let (suspended, _) = done(&home, &["--rid", ID, "--intent", "suspend"]);
    let undone = home.run(&["reinstate", "--receipt", id_of(&suspended), "--yes"]);
    assert_eq!(undone.json()["state"], "planned", "as long as another ban counts");
    assert!(undone.stderr.contains("Nothing is to be done."), "{undone:?}");
    knocker.check(false, "when a suspension on top of it is undone").await;

    let ban = home.run(&["ban", "show", "registration:press-0"]).json();
    assert_eq!((&ban["kind"], &ban["reason"]), (&json!("revoked"), &json!("stolen on 3 May")));
    assert_eq!(home.run(&["ban", "lift", "registration:press-0"]).code, 0);
    told(&home.run(&["reinstate", "--receipt", id_of(&suspended), "--yes"]));
    knocker.check(true, "when the ban is lifted and the suspension undone").await;
}

#[tokio::test]
async fn nothing_happens_before_it_is_confirmed_and_the_plan_can_be_applied_later() {
    let (home, server) = with_group(&names(1)).await;
    let knocker = Knocker::new(&home, &server, ID, key_of(ID));
    let plan = ["--rid", ID, "--intent", "retire"];
    // Nobody sits at a terminal.
    let asked = deprovision(&home, &plan);
    asked.refused(2, "Nothing was done. `induct deprovision --plan ");
    let dry = deprovision(&home, &[&plan[..], &["--dry-run"]].concat());
    let planned = dry.json();
    assert_eq!((&planned["state"], &planned["plan"]["devices"]), (&json!("planned"), &json!(1)));
    assert!(dry.stderr.contains("1 on hub-1.localhost is deleted"), "{dry:?}");
    knocker.check(true, "before anything is applied").await;
    let (receipt, _) = done(&home, &["--plan", id_of(&planned)]);
    assert_eq!(receipt["id"], planned["id"]);
    knocker.check(false, "afterwards").await;
}
