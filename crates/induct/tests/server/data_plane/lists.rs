//! Lists are complete, or say that they are not.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Scene, scene};
use crate::harness::Api;

const N_ENROLLMENTS: usize = 230;
const N_DEVICES: usize = 1_100;

#[tokio::test]
async fn a_list_of_more_than_one_page_is_complete() {
    let scene = scene();
    enroll(&scene, N_ENROLLMENTS).await;
    let check = |line: &str, expected: usize| {
        let list = scene.json(line);
        assert_eq!(list.as_array().map(Vec::len), Some(expected), "{line}");
    };
    check("enrollment list", N_ENROLLMENTS);
    check("enrollment list --top -1", N_ENROLLMENTS);
    check("enrollment list --top 130", 130);
    check("enrollment list --top 0", 0);
    check("enrollment list --top 5000", N_ENROLLMENTS);
    check("enrollment-group list", 0);
    let table = scene.run("enrollment list -o table");
    assert_eq!(table.stdout.lines().count(), N_ENROLLMENTS + 2, "{}", table.stdout);
    assert_eq!(table.stderr, "");
    let row = table.stdout.lines().find(|line| line.starts_with("press-0007 ")).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..3], ["press-0007", "symmetricKey", "enabled"]);
    let wrong = scene.run("enrollment list --top -2");
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[tokio::test]
async fn a_list_that_ends_early_says_so() {
    let scene = scene();
    add_devices(&scene, N_DEVICES).await;
    for what in ["device-identity", "device-twin"] {
        let some = scene.run(&format!("hub {what} list"));
        assert_eq!(some.json().as_array().map(Vec::len), Some(1000));
        assert_eq!(
            some.stderr,
            "WARNING: These are the first 1000; there are more. Use --top -1 to see all.\n"
        );
        let all = scene.run(&format!("hub {what} list --top -1"));
        assert_eq!(all.json().as_array().map(Vec::len), Some(N_DEVICES));
        assert_eq!(all.stderr, "");
    }
    let counted =
        scene.home.run(&["hub", "query", "-q", "SELECT COUNT() AS n FROM devices"]).json();
    assert_eq!(counted[0]["n"], N_DEVICES);
}

/// Enrolls so many devices, ten at a time.
async fn enroll(scene: &Scene, n_devices: usize) {
    let service = Api::service(&scene.home, &scene.server);
    let enrollments: Vec<Value> = (0..n_devices)
        .map(|number| {
            json!({
                "registrationId": format!("press-{number:04}"),
                "attestation": {"type": "symmetricKey", "symmetricKey": {}},
            })
        })
        .collect();
    for ten in enrollments.chunks(10) {
        let body = json!({"mode": "create", "enrollments": ten});
        post(&service, "/enrollments?api-version=2021-10-01", &body).await;
    }
}

/// Adds so many devices to the hub, a hundred at a time.
async fn add_devices(scene: &Scene, n_devices: usize) {
    let hub = Api::hub(&scene.home, &scene.server, "hub-1");
    let devices: Vec<Value> = (0..n_devices)
        .map(|number| json!({"id": format!("press-{number:04}"), "importMode": "create"}))
        .collect();
    for hundred in devices.chunks(100) {
        post(&hub, "/devices?api-version=2021-04-12", &json!(hundred)).await;
    }
}

async fn post(api: &Api, path: &str, body: &Value) {
    let answer = api.request(Method::POST, path, &[], body).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json().expect("JSON")["isSuccessful"], true, "{answer:?}");
}
