//! Linked hubs that are built in: made and removed while the service runs.

use http::{Method, StatusCode};
use serde_json::Value;

use super::{is, wait_for_registration};
use crate::harness::{Api, Home, until};

#[tokio::test]
async fn a_hub_that_is_linked_at_run_time_takes_devices_and_answers_by_its_name() {
    let home = Home::new();
    let server = home.start();
    let made = home.run(&["linked-hub", "create", "--hn", "hub-9.localhost", "--weight", "7"]);
    assert_eq!(made.json()["allocationWeight"], 7);
    let service = Api::service(&home, &server);
    let command = ["enrollment-group", "update", "--gid", "line-4", "--ap", "static"];
    service.enroll_group("line-4").await;
    home.run(&[&command[..], &["--ih", "hub-9.localhost"]].concat()).json();
    Api::devices(&server).register("press-17").await.expect("an answer");
    let record = wait_for_registration(&service, "press-17", is("assigned")).await;
    assert_eq!(record["assignedHub"], "hub-9.localhost");

    // Certificate and `listen.json` follow within a moment.
    until(async || home.listen_json().expect("it runs").hubs.len(), |n_hubs| *n_hubs == 2).await;
    let devices = home.run(&["hub", "device-identity", "list", "-n", "hub-9"]).json();
    assert_eq!(devices[0]["deviceId"], "press-17");

    home.run(&["linked-hub", "delete", "--lh", "hub-9.localhost"]).refused(1, "force");
    let deleted = home.run(&["linked-hub", "delete", "--lh", "hub-9.localhost", "--force"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(deleted.stderr.contains("Its registry holds 1 devices"), "{deleted:?}");
    assert!(deleted.stderr.contains("1 groups still name it"), "{deleted:?}");
    let path = "/devices/press-17?api-version=2021-04-12";
    let client = server.client("hub-9.localhost");
    let answer = client.request(Method::GET, path, &[], "").await.expect("an answer");
    assert_ne!(answer.status, StatusCode::OK, "nobody answers by that name");
}

#[test]
fn a_hub_of_the_configuration_is_changed_there() {
    let home = Home::new();
    let _server = home.start();
    let hub = ["--lh", "hub-1.localhost"];
    let run = |command: &[&str]| home.run(&[command, &hub].concat());
    run(&["linked-hub", "delete"]).refused(1, "is declared in induct.toml");
    run(&["linked-hub", "update", "--weight", "3"]).refused(1, "is declared in induct.toml");
    assert_eq!(run(&["linked-hub", "show"]).json()["declared"], true);
    assert_eq!(run(&["linked-hub", "probe"]).json()["status"], "builtIn");
    run(&["linked-hub", "update"]).refused(2, "There is nothing to change.");
    home.run(&["linked-hub", "create", "--hn", "hub-1.localhost"]).refused(1, "is linked already");
    home.run(&["linked-hub", "show", "--lh", "hub-8.localhost"])
        .refused(3, "no hub `hub-8.localhost` is linked");
    home.run(&["linked-hub", "create"]).refused(2, "--hub-name");
}

#[test]
fn a_hub_taken_out_of_the_configuration_is_unlinked_at_the_next_start() {
    let home = Home::new();
    let two = "[{name='a', host='a.localhost'}, {name='b', host='b.localhost'}]";
    home.start_with(&[("INDUCT_HUBS", two)]).stop();
    let one = "[{name='a', host='a.localhost'}]";
    let server = home.start_with(&[("INDUCT_HUBS", one)]);
    let hubs = home.run(&["linked-hub", "list"]).json();
    let names: Vec<&Value> =
        hubs.as_array().expect("a list").iter().map(|hub| &hub["name"]).collect();
    assert_eq!(names, ["a.localhost"]);
    let ended = server.stop();
    assert!(ended.stdout.contains("Unlinked b.localhost"), "{ended:?}");
}

#[test]
fn the_key_of_a_remote_hub_is_masked_and_masked_means_keep() {
    let home = Home::new();
    let _server = home.start();
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let text = |key: &str| {
        format!("HostName=plant.example.com;SharedAccessKeyName=owner;SharedAccessKey={key}")
    };
    let made = home.run(&["linked-hub", "create", "--connection-string", &text(key)]);
    assert_eq!(made.json()["connectionString"], text("****"));
    let masked = text("****");
    let command = ["linked-hub", "update", "--lh", "plant.example.com", "--weight", "2", "--cs"];
    let updated = home.run(&[&command[..], &[&masked]].concat());
    assert_eq!(updated.json()["allocationWeight"], 2);
    let listed = home.run(&["linked-hub", "list"]);
    assert!(!listed.stdout.contains(key), "{listed:?}");
    assert!(!home.run(&["audit", "list"]).stdout.contains(key));
    home.run(&["linked-hub", "create", "--cs", "SharedAccessKey=x"]).refused(1, "has no HostName");
    assert_eq!(home.run(&["linked-hub", "delete", "--lh", "plant.example.com"]).code, 0);
}
