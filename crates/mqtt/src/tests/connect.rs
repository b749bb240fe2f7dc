//! Who is let in, and what the others are told.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use testkit::{ClientStyle, Credential, Profile};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::time::Instant;

use super::scene::{Client, KEY, OTHER_KEY, Plan, Scene, connect, peer, scene, scene_after};
use crate::MqttSettings;
use crate::proto::{ConnAck, Connect, ConnectRefusal, Packet, Password, Text};

const ACCEPTED: Packet = Packet::ConnAck(ConnAck::Accepted { session_present: false });

const fn refused(code: ConnectRefusal) -> Packet {
    Packet::ConnAck(ConnAck::Refused(code))
}

/// Connects, expects this answer, and after a refusal the end.
async fn check(scene: &Scene, connect: Connect, answer: Packet) {
    let what = format!("{connect:?}");
    let mut client = scene.open();
    client.send([Packet::Connect(Box::new(connect))]).await;
    assert_eq!(client.receive().await, answer, "{what}");
    if answer == ACCEPTED {
        client.leave().await;
    } else {
        client.expect_end().await;
    }
}

fn with_user_name(scene: &Scene, user_name: &str) -> Connect {
    let token = scene.device_token(ClientStyle::Python, "dev-1", KEY);
    connect("dev-1", user_name, Some(&token))
}

fn with_password(scene: &Scene, password: Option<&str>) -> Connect {
    connect("dev-1", &scene.user_name("dev-1"), password)
}

#[tokio::test]
async fn every_clients_user_name_and_token_are_accepted() {
    let scene = scene().await;
    let tails = [
        "api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%28x%29",
        "api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.2",
        "api-version=2021-06-01&ClientVersion=1.15.0",
        "api-version=2019-03-31&ClientVersion=2019-03-31",
        "api-version=2019-03-31",
    ];
    for (style, tail) in ClientStyle::ALL.into_iter().zip(tails.into_iter().cycle()) {
        let token = scene.device_token(style, "Dev:01", KEY);
        let user_name = format!("{}/registrations/Dev:01/{tail}", scene.id_scope);
        check(&scene, connect("Dev:01", &user_name, Some(&token)), ACCEPTED).await;
    }
}

#[tokio::test]
async fn what_only_the_store_knows_is_no_reason_to_refuse_a_connect() {
    let scene = scene().await;
    let wrong = scene.device_token(ClientStyle::Python, "dev-1", OTHER_KEY);
    check(&scene, with_password(&scene, Some(&wrong)), ACCEPTED).await;
    let token = scene.device_token(ClientStyle::Python, "dev-1", KEY);
    let elsewhere = token.replace(&scene.id_scope, "0neFFFFFFFF");
    let user_name = "0neFFFFFFFF/registrations/dev-1/api-version=2019-03-31";
    check(&scene, connect("dev-1", user_name, Some(&elsewhere)), ACCEPTED).await;
}

#[tokio::test]
async fn a_user_name_that_says_nothing_is_a_bad_login() {
    let scene = scene().await;
    let nameless = Connect { login: None, ..scene.connect("dev-1") };
    check(&scene, nameless, refused(ConnectRefusal::BadLogin)).await;
    let scope = &scene.id_scope;
    for user_name in ["", "dev-1", "a/b/c", scope, &format!("{scope}/registrations")] {
        let connect = with_user_name(&scene, user_name);
        check(&scene, connect, refused(ConnectRefusal::BadLogin)).await;
    }
}

#[tokio::test]
async fn a_user_name_that_begins_with_a_host_is_never_told_more_than_no() {
    let scene = scene().await;
    for user_name in [
        "hub-1.example.test",
        "hub-1.example.test/",
        "hub-9.example.test/dev-1/?api-version=2021-04-12",
        "hub-1.example.test/dev-1/?api-version=2021-04-12",
    ] {
        let connect = with_user_name(&scene, user_name);
        check(&scene, connect, refused(ConnectRefusal::NotAuthorized)).await;
    }
}

#[tokio::test]
async fn what_can_be_told_without_the_store_is_refused_at_once() {
    let scene = scene().await;
    let no = refused(ConnectRefusal::NotAuthorized);
    let scope = &scene.id_scope;
    for user_name in [
        format!("{scope}/registrations/dev-1/"),
        format!("{scope}/registrations/dev-1/api-version="),
        format!("{scope}/registrations/dev-1/ClientVersion=1"),
        format!("{scope}/registrations/dev-1/api-version=1999-01-01"),
        format!("{scope}/registrations/dev%2D1/api-version=2019-03-31"),
        format!("{scope}/registrations/dev 1/api-version=2019-03-31"),
    ] {
        check(&scene, with_user_name(&scene, &user_name), no.clone()).await;
    }
    let token = scene.device_token(ClientStyle::Python, "dev-1", KEY);
    let of_another = scene.device_token(ClientStyle::Python, "dev-2", KEY);
    let of_1970 = token.replace("se=", "se=1").replace("se=1", "se=3600&x=");
    for password in [
        None,
        Some(""),
        Some("secret"),
        Some("SharedAccessSignature"),
        Some("SharedAccessSignature sr=x&sig=%%&se=1"),
        Some(&*of_another),
        Some(&*of_1970),
        Some(&*token.replace(&**scope, "0neFFFFFFFF")),
    ] {
        check(&scene, with_password(&scene, password), no.clone()).await;
    }
    let mut bytes = with_password(&scene, None);
    let login = bytes.login.as_mut().expect("a login");
    login.password = Some(Password::new(&b"\xff\xfe"[..]).expect("short"));
    check(&scene, bytes, no.clone()).await;
    for client_id in ["", "dev-2", "dev-1/module", "dev-1 "] {
        let client_id = Text::new(client_id).expect("a text");
        check(&scene, Connect { client_id, ..scene.connect("dev-1") }, no.clone()).await;
    }
    check(&scene, scene.connect("dev-1"), ACCEPTED).await;
}

#[tokio::test]
async fn a_token_is_accepted_for_as_long_as_on_https() {
    let scene = scene().await;
    let token = scene.device_token(ClientStyle::Python, "dev-1", KEY);
    // It is for half a minute; clocks may differ by five.
    scene.clock.advance_secs(329);
    check(&scene, with_password(&scene, Some(&token)), ACCEPTED).await;
    scene.clock.advance_secs(1);
    let no = refused(ConnectRefusal::NotAuthorized);
    check(&scene, with_password(&scene, Some(&token)), no).await;
}

#[tokio::test]
async fn letter_case_tells_no_two_devices_apart() {
    let scene = scene().await;
    let client_id = Text::new("DEV-1").expect("a text");
    check(&scene, Connect { client_id, ..scene.connect("dev-1") }, ACCEPTED).await;
}

#[tokio::test]
async fn a_certificate_needs_no_password() {
    let scene = scene().await;
    let leaf = Credential::self_signed(Profile::leaf("dev-1"));
    for password in [None, Some("")] {
        let mut client = scene.open_with(leaf.chain());
        client.send([Packet::Connect(Box::new(with_password(&scene, password)))]).await;
        client.expect(ACCEPTED).await;
        client.leave().await;
    }
}

/// Sends bytes, and expects these and the end.
async fn check_bytes(scene: &Scene, sent: &[u8], answer: &[u8]) {
    let (ours, mut theirs) = duplex(64 * 1024);
    let (door, shutdown) = (scene.door.clone(), scene.shutdown.subscribe());
    let session = tokio::spawn(async move { door.serve_stream(ours, peer(), shutdown).await });
    theirs.write_all(sent).await.expect("sent");
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.expect("to the end");
    assert_eq!(received, answer, "{sent:02x?}");
    drop(theirs);
    session.await.expect("the session did not panic");
}

#[tokio::test]
async fn another_version_of_the_protocol_is_told_so() {
    let scene = scene().await;
    let mqtt_5 = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00";
    check_bytes(&scene, mqtt_5, &[0x20, 2, 0, 1]).await;
    let mqtt_3_1 = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01d";
    check_bytes(&scene, mqtt_3_1, &[0x20, 2, 0, 1]).await;
}

#[tokio::test]
async fn who_does_not_speak_mqtt_gets_no_answer() {
    let scene = scene().await;
    for sent in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        // PINGREQ, SUBSCRIBE, DISCONNECT.
        b"\xc0\x00",
        b"\x82\x06\x00\x01\x00\x01#\x00",
        b"\xe0\x00",
        // A CONNECT of another protocol, one with the reserved flag, and one of 64 KiB.
        b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x00\x00\x01d",
        b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01d",
        b"\x10\x80\x80\x04\x00\x04MQTT\x04\x02\x00\x00\x00\x01d",
    ] {
        check_bytes(&scene, sent, b"").await;
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_cut_after_ten_seconds() {
    let scene = scene().await;
    tokio::time::pause();
    for n_bytes in [0, 1, 20] {
        let (ours, mut theirs) = duplex(1024);
        let (door, shutdown) = (scene.door.clone(), scene.shutdown.subscribe());
        let begun = Instant::now();
        let session = tokio::spawn(async move { door.serve_stream(ours, peer(), shutdown).await });
        let connect = b"\x10\x80\x01\x00\x04MQTT\x04\x02\x00\x00\x00\x01dxxxxxxxxxxx";
        theirs.write_all(&connect[..n_bytes]).await.expect("sent");
        session.await.expect("the session did not panic");
        assert_eq!(begun.elapsed().as_secs(), 10, "after {n_bytes} bytes");
    }
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_to_everyone() {
    let scene = scene().await;
    let strangers = scene.open();
    let mut connected = scene.open();
    connected.send([Packet::Connect(Box::new(scene.connect("dev-1")))]).await;
    connected.expect(ACCEPTED).await;
    scene.shutdown.send_replace(true);
    strangers.expect_end().await;
    connected.expect_end().await;
    let late: Client = scene.open();
    late.expect_end().await;
}

#[tokio::test]
async fn a_refused_client_that_does_not_read_is_not_waited_for_long() {
    let settings =
        MqttSettings { write_timeout: Duration::from_secs(5), ..MqttSettings::default() };
    let scene = scene_after(Plan { settings, ..Plan::default() }).await;
    tokio::time::pause();
    let (ours, mut theirs) = duplex(2);
    let (door, shutdown) = (scene.door.clone(), scene.shutdown.subscribe());
    let session = tokio::spawn(async move { door.serve_stream(ours, peer(), shutdown).await });
    theirs.write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01d").await.expect("sent");
    let begun = Instant::now();
    session.await.expect("the session did not panic");
    assert_eq!(begun.elapsed().as_secs(), 5);
}

/// A stream of this size, on which nothing ever happens.
struct Fat<const N: usize>([u8; N]);

impl<const N: usize> AsyncRead for Fat<N> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl<const N: usize> AsyncWrite for Fat<N> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn the_future_of_a_connection_is_small_and_holds_its_stream_once() {
    fn size_bytes<const N: usize>(scene: &Scene) -> usize {
        size_of_val(&scene.door.serve_stream(Fat([0; N]), peer(), scene.shutdown.subscribe()))
    }
    let scene = scene().await;
    let bare = size_bytes::<0>(&scene);
    assert!(bare <= 768, "{bare} bytes");
    assert!(size_bytes::<4096>(&scene) <= bare + 4096 + 64);
}

/// What a log says of these connections.
async fn log_of(scene: &Scene, connects: impl IntoIterator<Item = Connect>) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    for connect in connects {
        let mut client = scene.open();
        client.send([Packet::Connect(Box::new(connect))]).await;
        client.receive().await;
        client.leave_if_let_in().await;
    }
    let bytes = lines.0.lock().expect("whole").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test]
async fn each_connect_leaves_one_line_that_says_who_and_why_and_no_secret() {
    let scene = scene().await;
    let token = scene.device_token(ClientStyle::Python, "dev-1", KEY);
    let elsewhere = scene.device_token(ClientStyle::Python, "dev-2", KEY);
    let nameless = Connect { login: None, ..scene.connect("dev-1") };
    let connects = [
        with_password(&scene, Some(&token)),
        with_password(&scene, Some(&elsewhere)),
        with_password(&scene, Some("secret-secret")),
        nameless,
        connect("a\nb", "hub-1.example.test", Some(&token)),
    ];
    let log = log_of(&scene, connects).await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("CONNECT of")).collect();
    let reasons = [
        "accepted CONNECT of `dev-1` to provisioning from 127.0.0.1:50000",
        "(CONNACK 5): the token is for another resource",
        "(CONNACK 5): the credential is not a SharedAccessSignature",
        "(CONNACK 4): there is no user name",
        "refused CONNECT of `a\u{fffd}b` to hub from 127.0.0.1:50000 (CONNACK 5): the user name",
    ];
    assert_eq!(lines.len(), reasons.len(), "{log}");
    for (line, reason) in lines.iter().zip(reasons) {
        assert!(line.contains(reason) && line.contains("tracking_id="), "{line}");
    }
    let (_, signature) = token.split_once("sig=").expect("a signature");
    let signature = signature.split('&').next().expect("a signature");
    for secret in [signature, "secret-secret", KEY, "SharedAccessSignature sr"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
