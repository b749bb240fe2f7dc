//! Starts that are refused, and stops that are clean.

use std::{fs, net::TcpListener};

use http::{Method, StatusCode};

use crate::harness::{Api, Home, induct, run};

#[test]
fn listen_json_says_where_and_is_gone_after_a_clean_stop() {
    let home = Home::new();
    let both = "127.0.0.1:0,[::1]:0";
    let doors = ["INDUCT_LISTEN__HTTPS", "INDUCT_LISTEN__MQTT", "INDUCT_LISTEN__AMQP"];
    let server = home.start_with(&doors.map(|door| (door, both)));
    let listening = home.listen_json().expect("it runs");
    assert_eq!(&listening, server.listening());
    let (https, mqtt, amqp) = (&listening.https, &listening.mqtt, &listening.amqp);
    assert_eq!((https.len(), mqtt.len(), amqp.len()), (2, 2, 2));
    let mut addresses = https.iter().chain(mqtt).chain(amqp);
    assert!(addresses.all(|address| address.port() != 0));
    assert_eq!(listening.service_hosts, ["localhost"]);
    assert_eq!(listening.hubs.len(), 1);
    assert_eq!(listening.hubs[0].host, "hub-1.localhost");
    assert!(listening.ca.expect("our own").ends_with("tls/ca.pem"));
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout.matches("Listening on https://").count(), 2);
    assert_eq!(ended.stdout.matches("Listening on mqtts://").count(), 2);
    assert_eq!(ended.stdout.matches("Listening on amqps://").count(), 2);
    assert_eq!(home.listen_json(), None);
}

#[test]
fn ctrl_c_stops_a_server_as_well() {
    let home = Home::new();
    let server = home.start();
    server.signal("INT");
    let ended = server.wait();
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_open_requests() {
    let home = Home::new();
    let patient = [
        ("INDUCT_LISTEN__SHUTDOWN_GRACE_SECS", "600"),
        ("INDUCT_LISTEN__REQUEST_TIMEOUT_SECS", "600"),
    ];
    let server = home.start_with(&patient);
    let _half = server.half_a_request().await;
    server.signal("TERM");
    // The server retracts it as soon as it has heard the signal.
    while home.listen_json().is_some() {
        tokio::task::yield_now().await;
    }
    server.signal("TERM");
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
}

#[tokio::test]
async fn an_open_request_is_answered_before_a_stop() {
    let home = Home::new();
    let server = home.start();
    let half = server.half_a_request().await;
    server.signal("TERM");
    while home.listen_json().is_some() {
        tokio::task::yield_now().await;
    }
    let answer = half.finish().await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(server.wait().status.success());
}

#[tokio::test]
async fn a_stop_closes_idle_connections_instead_of_waiting_for_them() {
    let home = Home::new();
    let server = home.start_with(&[("INDUCT_LISTEN__SHUTDOWN_GRACE_SECS", "600")]);
    let client = server.client("localhost");
    let answer = client.request(Method::GET, "/enrollments/x", &[], "").await.expect("an answer");
    assert!(answer.status.is_client_error(), "{answer:?}");
    assert!(server.stop().status.success());
}

#[tokio::test]
async fn what_was_registered_before_a_clean_stop_is_there_after_it() {
    let home = Home::new();
    let server = home.start();
    Api::service(&home, &server).enroll_group("line-4").await;
    let answer = Api::devices(&server).register("press-17").await.expect("an answer");
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(server.stop().status.success());
    // SQLite's log is moved into the file by a clean stop.
    assert!(!home.data().join("induct.db-wal").exists());
    let server = home.start();
    let answer = Api::service(&home, &server).registration("press-17").await;
    assert_eq!(answer.json().expect("JSON")["status"], "assigned");
}

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let server = home.start();
    let pid = server.listening().pid;
    let mut second = induct(&["serve", "--data"]);
    second.arg(home.data()).env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0");
    run(&mut second).refused(1, &format!("another `induct serve` (process {pid}) uses the data"));
    assert_eq!(home.listen_json().as_ref(), Some(server.listening()));
    assert!(server.stop().status.success());
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for setting in ["INDUCT_LISTEN__HTTPS", "INDUCT_LISTEN__MQTT", "INDUCT_LISTEN__AMQP"] {
        let home = Home::new();
        let mut command = induct(&["serve", "--data"]);
        command.arg(home.data()).env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0").env(setting, &address);
        let finished = run(&mut command);
        finished.refused(1, &format!("cannot listen on {address}: another program listens there"));
        assert!(finished.stderr.contains(setting), "{finished:?}");
        assert_eq!(home.listen_json(), None);
    }
}

#[test]
fn an_unusable_data_folder_is_named_with_the_remedy() {
    let home = Home::new();
    fs::write(home.data(), "a file stands where the folder should be").expect("written");
    let mut command = induct(&["serve", "--data"]);
    command.arg(home.data()).env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0");
    let finished = run(&mut command);
    finished.refused(1, "cannot write to the data folder");
    assert!(finished.stderr.contains("`--data FOLDER`"), "{finished:?}");
}

#[test]
fn a_bad_configuration_starts_nothing_and_all_its_problems_are_told() {
    let home = Home::new();
    fs::write(home.path().join("induct.toml"), "[log]\nlevel = 'loud'\n[what]\n").expect("written");
    for command in [&["serve"][..], &["config", "check"]] {
        let finished = home.run(command);
        finished.refused(
            1,
            "induct.toml: 2 problems
  log.level: `loud` is not one of `error`, `warn`, `info`, `debug`, `trace`
  what: is not a section; there are ",
        );
    }
    assert!(!home.data().exists(), "nothing was made");
}

#[test]
fn log_lines_can_be_json() {
    let home = Home::new();
    let server = home.start_with(&[("INDUCT_LOG__FORMAT", "json")]);
    let scope = server.listening().id_scope.clone();
    let ended = server.stop();
    let lines: Vec<serde_json::Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(lines.iter().any(|line| line["id_scope"] == scope.as_str()), "{lines:?}");
}
