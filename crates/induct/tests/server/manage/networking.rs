//! Who may come in, and how often.

use http::{Method, StatusCode};
use induct::client::Response;
use serde_json::json;

use crate::harness::{Api, Finished, Home, Server};

/// A server that listens on a second loopback address as well. An address counts as loopback or as
/// whatever the rules say by where the client connects from: to 127.0.0.2 it connects from there.
fn started(variables: &[(&str, &str)]) -> (Home, Server) {
    let home = Home::new();
    let addresses = [("INDUCT_LISTEN__HTTPS", "127.0.0.1:0")];
    let server = home.start_with(&[&addresses, variables].concat());
    (home, server)
}

fn set_rules(home: &Home, rules: &serde_json::Value, more: &[&str]) -> Finished {
    home.run(&[&["ip-rule", "set", "--rules", &rules.to_string()], more].concat())
}

fn rule(action: &str, mask: &str, target: &str) -> serde_json::Value {
    let name = format!("{action} {mask} {target}");
    json!({ "filterName": name, "action": action, "ipMask": mask, "target": target })
}

/// The status of a device's register request, without credentials.
async fn device_status(server: &Server) -> StatusCode {
    let scope = &server.listening().id_scope;
    let path = format!("/{scope}/registrations/press-17/register?api-version=2021-06-01");
    let headers = [("content-type", "application/json")];
    let body = json!({ "registrationId": "press-17" }).to_string();
    let client = server.client("localhost");
    let answer: Response =
        client.request(Method::PUT, &path, &headers, body).await.expect("an answer");
    answer.status
}

#[tokio::test]
async fn the_first_rule_that_matches_counts() {
    let (home, server) = started(&[]);
    let service = Api::service(&home, &server);
    service.enroll_group("line-4").await;
    let devices = Api::devices(&server);
    let status = async |id: &str| devices.register(id).await.expect("an answer").status;
    assert_eq!(status("press-1").await, StatusCode::ACCEPTED);

    let closed = json!([rule("Reject", "127.0.0.0/8", "deviceApi")]);
    set_rules(&home, &closed, &[]).json();
    assert_eq!(status("press-2").await, StatusCode::UNAUTHORIZED);
    assert_eq!(home.run(&["ip-rule", "list"]).json(), closed);

    let open = json!([
        rule("Accept", "127.0.0.1/32", "deviceApi"),
        rule("Reject", "0.0.0.0/0", "deviceApi"),
    ]);
    set_rules(&home, &open, &[]).json();
    assert_eq!(status("press-2").await, StatusCode::ACCEPTED);

    set_rules(&home, &json!([]), &[]).json();
    assert_eq!(status("press-3").await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn rules_that_would_keep_their_author_out_ask_for_force() {
    let (home, server) = started(&[]);
    let closed = json!([rule("Reject", "127.0.0.0/8", "serviceApi")]);
    set_rules(&home, &closed, &[]).refused(1, "these rules would keep you out");
    assert_eq!(home.run(&["ip-rule", "list"]).json(), json!([]));
    set_rules(&home, &closed, &["--force"]).json();
    home.run(&["ip-rule", "list"]).refused(1, "may not use this API");
    home.run(&["hub", "device-identity", "list"]).refused(1, "Unauthorized");
    // Devices are another matter: this one is let in, and refused for what it does not show.
    assert_eq!(device_status(&server).await, StatusCode::UNAUTHORIZED);
    let service = Api::service(&home, &server);
    let answer = service.registration("press-17").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn the_switch_for_this_machine_only_lets_this_machine_in() {
    let (home, _server) = started(&[]);
    let closed = home.run(&["update", "--operator-api", "loopback"]).json();
    assert_eq!(closed["operatorApiOnLoopbackOnly"], true);
    let open = home.run(&["update", "--operator-api", "all"]).json();
    assert_eq!(open["operatorApiOnLoopbackOnly"], false);
}

#[test]
fn a_broken_rule_set_changes_nothing() {
    let (home, _server) = started(&[]);
    let check =
        |rules: serde_json::Value, told: &str| set_rules(&home, &rules, &[]).refused(1, told);
    check(json!([rule("Accept", "10.0.0.1/8", "all")]), "10.0.0.0/8 meant?");
    check(json!([rule("Accept", "hello", "all")]), "expected a network such as");
    check(json!([rule("Accept", "::/0", "all"), rule("Accept", "::/0", "all")]), "Accept ::/0 all");
    check(json!({}), "--rules must be a JSON list");
    assert_eq!(home.run(&["ip-rule", "list"]).json(), json!([]));
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rates = [
        ("INDUCT_RATES__DEVICE_REGISTRATIONS_PER_MINUTE", "2"),
        ("INDUCT_RATES__OPERATOR_CALLS_PER_MINUTE", "20"),
    ];
    let (home, server) = started(&rates);
    Api::service(&home, &server).enroll_group("line-4").await;
    let devices = Api::devices(&server);
    for _ in 0..2 {
        let answer = devices.register("noisy").await.expect("an answer");
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    let answer = devices.register("noisy").await.expect("an answer");
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u32 = answer.header("retry-after").expect("a header").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    let answer = devices.register("quiet").await.expect("an answer");
    assert_eq!(answer.status, StatusCode::ACCEPTED, "one noisy device starves nobody");

    let service = Api::service(&home, &server);
    let mut n_answered = 0;
    let refused = loop {
        let answer = service.registration("quiet").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        n_answered += 1;
        assert!(n_answered <= 20, "the rate of operators is not counted");
    };
    assert!(refused.header("retry-after").is_some());
}
