//! Devices that are connected, and the commands that listen and speak to them.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_blocking,
};

use crate::harness::{Finished, Home, Server, handshake, induct, signal};

/// Registers a device by hand; its primary key.
fn create_device(home: &Home, id: &str) -> String {
    let created = home.run(&["hub", "device-identity", "create", "-d", id]).json();
    let key = &created["authentication"]["symmetricKey"]["primaryKey"];
    key.as_str().expect("a key").to_owned()
}

/// What `monitor-events` printed, as JSON.
fn events(finished: &Finished) -> Vec<Value> {
    assert_eq!(finished.code, 0, "{finished:?}");
    let documents = serde_json::Deserializer::from_str(&finished.stdout).into_iter::<Value>();
    documents.map(|document| document.expect("JSON")["event"].take()).collect()
}

/// A monitor that is at its place: what is sent from now on it prints.
struct Monitor(Child);

impl Monitor {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = induct(&["hub", "monitor-events", "--data"]);
        command.arg(home.data()).args(arguments);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut note = String::new();
        let stderr = process.stderr.as_mut().expect("piped");
        BufReader::with_capacity(1, stderr).read_line(&mut note).expect("a line");
        assert_eq!(note, "Waiting for events of hub-1.localhost; Ctrl-C ends.\n");
        Self(process)
    }

    fn wait(mut self) -> Finished {
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

impl Drop for Monitor {
    fn drop(&mut self) {
        // Gone already, unless a test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn events_are_printed_as_the_vendors_tool_prints_them() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    create_device(&home, "press-18");
    let mut device = server.connect_device("press-17", &key).await;
    device.send("%24.ct=application%2Fjson&%24.ce=utf-8&line=4", br#"{"t":21.50,"a":1}"#).await;
    device.send("", b"plain").await;
    device.send("", b"\xff\x00").await;

    let all = ["hub", "monitor-events", "-e", "earliest", "-m", "3"];
    let finished = home.run(&[&all[..], &["-p", "all"]].concat());
    assert!(finished.stdout.contains("\"t\": 21.50"), "digits are kept: {finished:?}");
    let printed = events(&finished);
    assert_eq!(printed.len(), 3);
    let first = &printed[0];
    assert_eq!(first["origin"], "press-17");
    assert_eq!(first["payload"]["a"], 1);
    assert_eq!(first["properties"]["application"], json!({"line": "4"}));
    assert_eq!(first["properties"]["system"]["content_type"], "application/json");
    assert_eq!(first["annotations"]["iothub-connection-device-id"], "press-17");
    assert_eq!((&printed[1]["payload"], &printed[2]["payload"]), (&json!("plain"), &json!("/wA=")));

    let bare = events(&home.run(&all));
    let mut members: Vec<&String> = bare[0].as_object().expect("an object").keys().collect();
    members.sort();
    assert_eq!(members, ["component", "interface", "module", "origin", "payload"]);
    let lines = home.run(&[&all[..], &["-o", "text"]].concat()).stdout;
    let ends: Vec<&str> = lines.lines().filter_map(|line| line.split("  ").last()).collect();
    assert_eq!(ends, [r#"{"t":21.50,"a":1}"#, "plain", "/wA="]);

    let of_other = ["hub", "monitor-events", "-e", "earliest", "-d", "press-18", "-t", "1"];
    let finished = home.run(&of_other);
    assert_eq!((finished.code, finished.stdout.as_str()), (0, ""), "{finished:?}");
    assert!(finished.stderr.contains("No event for 1 s."), "{finished:?}");
    home.run(&["hub", "monitor-events", "-e", "soon"]).refused(2, "`soon` is no time");
}

#[tokio::test]
async fn a_monitor_goes_on_where_it_was_when_the_server_was_started_again() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    let monitor = Monitor::start(&home, &["-m", "3", "-t", "60"]);
    server.connect_device("press-17", &key).await.send("", b"before").await;
    let (https, mqtt) = (server.address().to_string(), server.mqtt_address().to_string());
    assert!(server.stop().status.success());
    let same = [("INDUCT_LISTEN__HTTPS", https.as_str()), ("INDUCT_LISTEN__MQTT", &mqtt)];
    let server = home.start_with(&same);
    let mut device = server.connect_device("press-17", &key).await;
    device.send("", b"after").await;
    device.send("", b"last").await;
    let printed = events(&spawn_blocking(|| monitor.wait()).await.expect("it ended"));
    let payloads: Vec<&Value> = printed.iter().map(|event| &event["payload"]).collect();
    assert_eq!(payloads, ["before", "after", "last"]);
}

#[test]
fn ctrl_c_ends_a_monitor_cleanly() {
    let home = Home::new();
    let _server = home.start();
    let monitor = Monitor::start(&home, &[]);
    signal(monitor.0.id(), "INT");
    let finished = monitor.wait();
    assert_eq!((finished.code, finished.stdout.as_str()), (0, ""), "{finished:?}");
}

#[tokio::test]
async fn a_method_goes_to_the_device_and_its_answer_comes_back() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    let method = ["hub", "invoke-device-method", "-d", "press-17", "--mn", "reboot"];
    let offline = home.run(&method);
    assert_eq!((offline.code, offline.stdout.as_str()), (3, ""), "{offline:?}");
    assert!(offline.stderr.contains("404103"), "{offline:?}");

    let mut device = server.connect_device("press-17", &key).await;
    device.subscribe("$iothub/methods/POST/#").await;
    let call = [&method[..], &["--mp", r#"{"in":1.50}"#, "--to", "60"]].concat();
    let call: Vec<String> = call.into_iter().map(str::to_owned).collect();
    let calling = spawn_blocking(move || {
        let words: Vec<&str> = call.iter().map(String::as_str).collect();
        (home.run(&words), home)
    });
    let (topic, payload) = device.next().await;
    let rid = topic.strip_prefix("$iothub/methods/POST/reboot/?$rid=").expect("a call");
    assert_eq!(payload, r#"{"in":1.50}"#);
    device.answer(&format!("$iothub/methods/res/207/?$rid={rid}"), r#"{"out":2.50}"#).await;
    let (finished, _home) = calling.await.expect("it ended");
    let answer = finished.json();
    assert_eq!(answer["status"], 207);
    assert_eq!(answer["payload"].to_string(), r#"{"out":2.50}"#, "digits are kept");
}

#[tokio::test]
async fn messages_wait_for_their_device() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    let send = ["device", "c2d-message", "send", "-d", "press-17"];
    for _ in 0..2 {
        home.run(&[&send[..], &["--da", "to be purged"]].concat()).json();
    }
    let purged = home.run(&["device", "c2d-message", "purge", "-d", "press-17"]).json();
    assert_eq!(purged["totalMessagesPurged"], 2);

    let body = home.path().join("body.txt");
    std::fs::write(&body, "from a file").expect("written");
    let body = body.to_str().expect("UTF-8");
    let options = ["--mid", "m-1", "--cid", "c-1", "--ct", "text/plain", "-p", "part=1;of=7"];
    let sent = home.run(&[&send[..], &["--dfp", body], &options].concat()).json();
    assert_eq!(sent["messageId"], "m-1");
    let mut device = server.connect_device("press-17", &key).await;
    device.subscribe("devices/press-17/messages/devicebound/#").await;
    let (topic, payload) = device.next().await;
    assert_eq!(payload, "from a file");
    let bag = topic.strip_prefix("devices/press-17/messages/devicebound/").expect("its topic");
    for pair in ["%24.mid=m-1", "%24.cid=c-1", "part=1", "of=7"] {
        assert!(bag.split('&').any(|found| found == pair), "{pair} in {bag}");
    }
    home.run(&[&send[..], &["--expiry", "soon"]].concat()).refused(2, "`soon` is no time");
    let unknown = home.run(&["device", "c2d-message", "send", "-d", "nobody"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (3, ""), "{unknown:?}");
}

#[tokio::test]
async fn after_a_stop_or_a_crash_nobody_is_written_as_connected() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    let state = |home: &Home| {
        let shown = home.run(&["hub", "device-identity", "show", "-d", "press-17"]).json();
        shown["connectionState"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(&home), "Disconnected");
    let restarts: [fn(Server) -> _; 2] = [Server::stop, Server::kill];
    let mut server = server;
    for end in restarts {
        let _device = server.connect_device("press-17", &key).await;
        assert_eq!(state(&home), "Connected");
        end(server);
        server = home.start();
        assert_eq!(state(&home), "Disconnected");
    }
}

#[tokio::test]
async fn a_device_that_went_is_seen_off() {
    let home = Home::new();
    let server = home.start();
    let key = create_device(&home, "press-17");
    drop(server.connect_device("press-17", &key).await);
    let state = || home.run(&["hub", "device-identity", "show", "-d", "press-17"]).json();
    // It is written as soon as the server has noticed; nothing else would write it.
    while state()["connectionState"] != "Disconnected" {}
}

#[tokio::test]
async fn mqtt_and_amqp_come_in_websockets_too_unless_they_are_switched_off() {
    let check = async |variables: &[(&str, &str)], protocols: [(&str, &str); 2]| {
        let home = Home::new();
        let server = home.start_with(variables);
        let ca = std::fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA");
        let here = std::net::Ipv4Addr::LOCALHOST.into();
        for (protocol, expected) in protocols {
            let mut stream = handshake(here, server.address(), &[&ca]).await;
            let ask = format!(
                "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
            );
            stream.write_all(ask.as_bytes()).await.expect("written");
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.expect("an answer");
            let head = String::from_utf8_lossy(&head);
            assert_eq!(head, format!("HTTP/1.1 {expected}"), "{protocol} with {variables:?}");
        }
    };
    let (no_mqtt, no_amqp) =
        (("INDUCT_MQTT__WEBSOCKETS", "false"), ("INDUCT_AMQP__WEBSOCKETS", "false"));
    check(&[], [("MQTT", "101"), ("AMQPWSB10", "101")]).await;
    check(&[no_mqtt], [("MQTT", "400"), ("AMQPWSB10", "101")]).await;
    check(&[no_amqp], [("MQTT", "101"), ("AMQPWSB10", "400")]).await;
    check(&[no_mqtt, no_amqp], [("MQTT", "404"), ("AMQPWSB10", "404")]).await;
}
