//! `induct device simulate`: many devices in one process, against the real server.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use app::ports::Clock;
use induct::{ports::SystemClock, simulate::Authority};
use serde_json::{Value, json};

use crate::harness::{Finished, Home, induct, signal};

/// A simulation that runs beside the test.
struct Running(Child);

impl Running {
    /// Starts one; it has made its group when this returns.
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = induct(&["device", "simulate", "--json", "--data"]);
        command.arg(home.data()).args(arguments);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut note = String::new();
        let stderr = process.stderr.as_mut().expect("piped");
        BufReader::with_capacity(1, stderr).read_line(&mut note).expect("a line");
        assert!(note.starts_with("Devices "), "{note}");
        Self(process)
    }

    /// Ctrl-C, and what it left behind.
    fn interrupt(mut self) -> Finished {
        signal(self.0.id(), "INT");
        let code = self.0.wait().expect("it ends").code().expect("not killed");
        let read = |from: &mut dyn Read| {
            let mut text = String::new();
            from.read_to_string(&mut text).expect("text");
            text
        };
        let stdout = read(self.0.stdout.as_mut().expect("piped"));
        let stderr = read(self.0.stderr.as_mut().expect("piped"));
        Finished { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, unless a test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn simulate(home: &Home, arguments: &[&str]) -> Finished {
    home.run(&[&["device", "simulate", "--json"], arguments].concat())
}

/// Waits for an event of this device that comes from now on.
fn wait_for_event(home: &Home, id: &str) {
    let heard = home.run(&["hub", "monitor-events", "-d", id, "-m", "1", "-t", "60"]);
    assert_eq!(heard.code, 0, "{heard:?}");
    assert!(heard.stdout.contains(id), "{heard:?}");
}

/// Waits until the hub has this device.
fn wait_for_identity(home: &Home, id: &str) {
    while home.run(&["hub", "device-identity", "show", "-d", id]).code != 0 {}
}

/// The summary of a simulation without trouble, with these figures.
#[track_caller]
fn check(summary: &Value, n_devices: u64, n_sent: u64, n_acknowledged: u64) {
    for (member, expected) in [
        ("devices", n_devices),
        ("failed", 0),
        ("provisioned", n_devices),
        ("connections", n_devices),
        ("reconnects", 0),
        ("sent", n_sent),
        ("acknowledged", n_acknowledged),
        ("refused", 0),
        ("errors", 0),
    ] {
        assert_eq!(summary[member], expected, "{member} in {summary}");
    }
    assert_eq!(summary["reasons"], json!([]), "{summary}");
    let timings = &summary["milliseconds"];
    assert_eq!(timings["provision"]["count"], n_devices);
    assert_eq!(timings["connect"]["count"], n_devices);
    match n_acknowledged {
        0 => assert_eq!(timings["acknowledge"], Value::Null),
        n => {
            let of = &timings["acknowledge"];
            assert_eq!(of["count"], n);
            let figures = ["p50", "p95", "p99", "max"].map(|p| of[p].as_f64().expect("a number"));
            assert!(figures[0] > 0.0 && figures.is_sorted(), "{of}");
        }
    }
}

#[test]
fn devices_of_each_kind_are_provisioned_over_both_protocols_and_each_message_is_in_the_log() {
    let home = Home::new();
    let _server = home.start();
    let mut expected = BTreeSet::new();
    for (prefix, n_acknowledged, options) in [
        ("a", 100, &["--attestation", "symmetric-key", "--provision-with", "https"][..]),
        ("b", 100, &["--attestation", "symmetric-key", "--provision-with", "mqtt"]),
        ("c", 100, &["--attestation", "x509", "--provision-with", "https"]),
        ("d", 100, &["--attestation", "x509", "--provision-with", "mqtt", "--report-twin"]),
        ("e", 100, &["--attestation", "x509", "--provision-with", "mqtt", "--websocket"]),
        ("f", 0, &["--qos", "0"]),
    ] {
        let same = ["--keep", "--count", "20", "--messages", "5", "--rate", "50"];
        let finished = simulate(&home, &[&same[..], &["--id-prefix", prefix], options].concat());
        let summary = finished.json();
        check(&summary, 20, 100, n_acknowledged);
        let n_reports = if options.contains(&"--report-twin") { 20 } else { 0 };
        assert_eq!(summary["twinsReported"], n_reports, "{summary}");
        for device in 1..=20 {
            expected.extend((1..=5).map(|number| (format!("{prefix}-{device:02}"), number)));
        }
        let group = summary["enrollmentGroup"].as_str().expect("a name");
        let records = home.run(&["enrollment-group", "registration", "list", "--gid", group]);
        assert_eq!(records.json().as_array().expect("a list").len(), 20);
    }
    let n_events = expected.len().to_string();
    let all = ["hub", "monitor-events", "-e", "earliest", "-m", &n_events, "-t", "60"];
    let monitor = home.run(&all);
    assert_eq!(monitor.code, 0, "{monitor:?}");
    let documents = serde_json::Deserializer::from_str(&monitor.stdout).into_iter::<Value>();
    let heard: Vec<(String, u64)> = documents
        .map(|document| {
            let event = document.expect("JSON")["event"].take();
            let id = event["origin"].as_str().expect("a device").to_owned();
            (id, event["payload"]["number"].as_u64().expect("a number"))
        })
        .collect();
    assert_eq!(heard.len(), expected.len());
    assert_eq!(heard.into_iter().collect::<BTreeSet<_>>(), expected);
    let twin = home.run(&["hub", "device-twin", "show", "-d", "d-07"]).json();
    assert_eq!(twin["properties"]["reported"]["simulated"], json!({"sent": 0}));
}

#[test]
fn what_was_made_for_the_devices_is_gone_afterwards_and_nothing_else() {
    let home = Home::new();
    let _server = home.start();
    let other = simulate(&home, &["--count", "2", "--messages", "1", "--keep"]).json();
    let listed = || {
        [&["enrollment-group", "list"][..], &["hub", "device-identity", "list"]]
            .map(|command| home.run(command).json())
    };
    let before = listed();
    let finished = simulate(&home, &["--count", "3", "--messages", "1", "--rate", "20"]);
    check(&finished.json(), 3, 3, 3);
    assert!(
        finished.stderr.contains("3 registration records and 3 device identities"),
        "{finished:?}"
    );
    assert_eq!(listed(), before);
    let group = other["enrollmentGroup"].as_str().expect("a name");
    assert_eq!(before[0][0]["enrollmentGroupId"], group);
    assert_eq!(before[1].as_array().expect("a list").len(), 2);
}

#[test]
fn groups_that_exist_are_used_and_left_alone() {
    let home = Home::new();
    let _server = home.start();
    let created = home.run(&["enrollment-group", "create", "--gid", "keys"]).json();
    let key = created["attestation"]["symmetricKey"]["primaryKey"].as_str();
    let key = match key {
        Some(key) => key.to_owned(),
        None => {
            let shown = home.run(&["enrollment-group", "show", "--gid", "keys", "--show-keys"]);
            let key = shown.json()["attestation"]["symmetricKey"]["primaryKey"].take();
            key.as_str().expect("a key").to_owned()
        }
    };
    let root = Authority::root("Test root", 1, SystemClock.now()).expect("made");
    let (line, line_key) = root.below("Test line", SystemClock.now()).expect("made");
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (ca, ca_key) = (file("line.pem", line.pem()), file("line.key", &line_key));
    home.run(&["enrollment-group", "create", "--gid", "certificates", "--cp", &ca]).json();
    let same = ["--count", "2", "--messages", "2", "--rate", "20"];
    for options in [
        &["--enrollment-group", "keys", "--id-prefix", "by-name"][..],
        &["--key", &key, "--id-prefix", "by-key"],
        &["--ca-cert", &ca, "--ca-key", &ca_key, "--id-prefix", "by-certificate"],
    ] {
        check(&simulate(&home, &[&same, options].concat()).json(), 2, 4, 4);
        wait_for_identity(&home, &format!("{}-02", options[options.len() - 1]));
    }
    simulate(&home, &["--enrollment-group", "certificates"])
        .refused(2, "its devices have certificates");
    simulate(&home, &["--key", &key, "--attestation", "x509"]).refused(2, "--key does not go");
    simulate(&home, &["--key", &key, "--id-prefix", "a b"]).refused(2, "can be no device's name");
}

#[test]
fn devices_answer_methods_until_ctrl_c() {
    let home = Home::new();
    let _server = home.start();
    let running = Running::start(&home, &["--count", "2", "--rate", "0", "--id-prefix", "press"]);
    wait_for_identity(&home, "press-02");
    let call = ["hub", "invoke-device-method", "-d", "press-02", "--mn", "set \"x\""];
    let answer = home.run(&[&call[..], &["--to", "60", "--connect-timeout", "60"]].concat()).json();
    let payload = json!({"device": "press-02", "method": "set \"x\"", "sent": 0});
    assert_eq!(answer, json!({"status": 200, "payload": payload}));
    let finished = running.interrupt();
    let summary = finished.json();
    assert_eq!((&summary["methodsAnswered"], &summary["failed"]), (&json!(1), &json!(0)));
    assert_eq!(home.run(&["hub", "device-identity", "list"]).json(), json!([]));
}

#[test]
fn devices_come_back_when_the_server_was_started_again() {
    let home = Home::new();
    let server = home.start();
    let running = Running::start(&home, &["--count", "5", "--rate", "10", "--id-prefix", "press"]);
    let ids = ["press-01", "press-02", "press-03", "press-04", "press-05"];
    ids.iter().for_each(|id| wait_for_event(&home, id));
    let (https, mqtt) = (server.address().to_string(), server.mqtt_address().to_string());
    assert!(server.stop().status.success());
    let same = [("INDUCT_LISTEN__HTTPS", https.as_str()), ("INDUCT_LISTEN__MQTT", &mqtt)];
    let _server = home.start_with(&same);
    ids.iter().for_each(|id| wait_for_event(&home, id));
    let summary = running.interrupt().json();
    assert_eq!((&summary["reconnects"], &summary["failed"]), (&json!(5), &json!(0)), "{summary}");
    assert_eq!((&summary["connections"], &summary["provisioned"]), (&json!(10), &json!(5)));
}

#[test]
fn a_device_that_is_shut_out_is_told_of_and_fails_the_command() {
    let home = Home::new();
    let _server = home.start();
    let disabled = ["enrollment", "create", "--eid", "press-02", "--at", "symmetricKey"];
    home.run(&[&disabled[..], &["--ps", "disabled"]].concat()).json();
    let options = ["--count", "3", "--messages", "1", "--rate", "20", "--id-prefix", "press"];
    let finished = simulate(&home, &options);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains("1 of 3 devices were not connected at the end."));
    let summary: Value = serde_json::from_str(&finished.stdout).expect("the summary all the same");
    assert_eq!((&summary["failed"], &summary["sent"]), (&json!(1), &json!(2)));
    // Its own enrollment has other keys than the group, so it does not even prove itself.
    let reason = summary["reasons"][0]["reason"].as_str().expect("a text");
    assert!(reason.starts_with("provisioning answered 401"), "{reason}");
}

#[test]
fn a_device_that_is_cut_off_notices() {
    let home = Home::new();
    let _server = home.start();
    let options = ["--count", "2", "--rate", "10", "--id-prefix", "press", "--reconnect", "false"];
    let running = Running::start(&home, &options);
    ["press-01", "press-02"].iter().for_each(|id| wait_for_event(&home, id));
    home.run(&["hub", "device-identity", "update", "-d", "press-01", "--status", "disabled"])
        .json();
    wait_for_event(&home, "press-02");
    let finished = running.interrupt();
    assert_eq!(finished.code, 1, "{finished:?}");
    let summary: Value = serde_json::from_str(&finished.stdout).expect("the summary");
    let reasons = json!([{"devices": 1, "reason": "the server closed the connection"}]);
    assert_eq!((&summary["failed"], &summary["reasons"]), (&json!(1), &reasons));
}

#[test]
fn people_get_a_summary_in_words() {
    let home = Home::new();
    let _server = home.start();
    let told = home.run(&["device", "simulate", "--count", "2", "--messages", "1"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("2 provisioned, 2 connections, 0 reconnects, 0 failed."));
    assert!(told.stdout.contains("2 messages sent"), "{told:?}");
    simulate(&home, &["--messages", "1", "--rate", "0"]).refused(2, "--messages wants a --rate");
    let nowhere = Home::new();
    let refused = nowhere.run(&["device", "simulate"]);
    refused.refused(1, "No server is running on the data folder");
}
