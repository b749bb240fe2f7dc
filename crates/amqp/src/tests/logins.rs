//! How clients introduce themselves: headers, SASL, and what is no AMQP at all.

use std::time::Duration;

use testkit::{ClientStyle, certificates::Ca, tpm::SoftTpm};
use tokio::time::{Instant, sleep};

use super::{client::Client, scene::*};
use crate::{
    AmqpSettings,
    proto::{ProtocolHeader, SaslFrame, SaslOutcome},
};

/// Logs in with PLAIN as a device that registers, with this user name and password.
async fn check_plain(scene: &Scene, user: &str, password: &str, expected: SaslOutcome) {
    let mut client = scene.open();
    let outcome = client.sasl_plain(user, password).await;
    assert_eq!(outcome, expected, "{user}: {password}");
    go_on(client, outcome).await;
}

/// What an outcome promises: the connection opens, or ends.
async fn go_on(mut client: Client, outcome: SaslOutcome) {
    if outcome == SaslOutcome::Ok {
        client.connect().await;
        client.close().await;
    } else {
        client.over().await;
    }
}

#[tokio::test]
async fn the_mechanisms_are_told_in_one_array() {
    let scene = scene().await;
    let mut client = scene.open();
    client.header(ProtocolHeader::Sasl).await;
    match client.read_sasl().await {
        Some(SaslFrame::Mechanisms(mechanisms)) => {
            assert_eq!(mechanisms.0, ["PLAIN", "TPM", "ANONYMOUS", "EXTERNAL", "MSSBCBS"]);
        }
        other => panic!("expected mechanisms: {other:?}"),
    }
    client.vanish().await;
}

#[tokio::test]
async fn who_comes_without_sasl_is_let_in_and_proves_itself_later() {
    let scene = scene().await;
    let mut client = scene.open();
    client.connect().await;
    client.close().await;
}

#[tokio::test]
async fn who_comes_as_nobody_is_let_in_and_proves_itself_later() {
    let scene = scene().await;
    for (mechanism, response) in [
        ("ANONYMOUS", None),
        ("ANONYMOUS", Some(&b"somebody"[..])),
        ("MSSBCBS", None),
        ("MSSBCBS", Some(b"")),
    ] {
        let mut client = scene.open();
        assert_eq!(client.sasl(mechanism, response).await, SaslOutcome::Ok, "{mechanism}");
        go_on(client, SaslOutcome::Ok).await;
    }
}

#[tokio::test]
async fn external_wants_a_certificate() {
    let scene = scene().await;
    let chain = Ca::root("root").leaf("dev").chain();
    for (chain, expected) in [(chain, SaslOutcome::Ok), (Vec::new(), SaslOutcome::Auth)] {
        let mut client = scene.open_of(chain);
        assert_eq!(client.sasl("EXTERNAL", Some(b"")).await, expected);
        go_on(client, expected).await;
    }
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_refused() {
    let scene = scene().await;
    for mechanism in ["", "plain", "SCRAM-SHA-256", "PLAIN\r\nEXTERNAL"] {
        let mut client = scene.open();
        assert_eq!(client.sasl(mechanism, Some(b"\0u\0p")).await, SaslOutcome::Auth);
        client.over().await;
    }
}

/// Whether it is enrolled, and who signed its token, is told by the outcome of its request.
#[tokio::test]
async fn a_token_that_could_be_good_is_let_in_for_provisioning() {
    let scene = scene().await;
    let user = scene.registration("dev-1");
    for style in ClientStyle::ALL {
        let token = scene.registration_token(style, "dev-1", KEY);
        check_plain(&scene, &user, &token, SaslOutcome::Ok).await;
        check_plain(&scene, &user.to_uppercase(), &token, SaslOutcome::Ok).await;
    }
    let token = scene.registration_token(ClientStyle::Java, "dev-1", OTHER_KEY);
    check_plain(&scene, &user, &token, SaslOutcome::Ok).await;
}

#[tokio::test]
async fn a_token_that_cannot_be_good_is_refused_for_provisioning() {
    let scene = scene().await;
    let user = scene.registration("dev-1");
    let token = scene.registration_token(ClientStyle::Java, "dev-1", KEY);
    let of_another = scene.registration_token(ClientStyle::Java, "dev-2", KEY);
    for (user, password) in [
        (&*user, &*of_another),
        (&user, "SharedAccessSignature sr=x"),
        (&user, "a password"),
        ("0ne00000000/registrations/dev-1", &token),
        (&scene.registration("dev 1"), &token),
        (&scene.registration(""), &token),
        ("dev-1", &token),
        ("", &token),
    ] {
        check_plain(&scene, user, password, SaslOutcome::Auth).await;
    }
    scene.advance_secs(31);
    check_plain(&scene, &user, &token, SaslOutcome::Auth).await;
}

#[tokio::test]
async fn a_plain_response_that_is_none_is_refused() {
    let scene = scene().await;
    for response in [None, Some(&b""[..]), Some(b"\0\0"), Some(b"\0u@sas.h"), Some(&[0xff; 9000])] {
        let mut client = scene.open();
        assert_eq!(client.sasl("PLAIN", response).await, SaslOutcome::Auth, "{response:?}");
        client.over().await;
    }
}

/// Whom the name names is told when its links attach.
#[tokio::test]
async fn the_names_of_a_hub_are_let_in_and_prove_themselves_later() {
    let scene = scene().await;
    for user in ["dev1@sas.hub-1", "service@sas.root.hub-1", "nobody@sas.nowhere"] {
        check_plain(&scene, user, "SharedAccessSignature …", SaslOutcome::Ok).await;
    }
}

// TPM.

/// The address of a token for provisioning, as it is signed.
fn resource(scene: &Scene, id: &str) -> String {
    wire::percent::encode(&scene.registration(id))
}

async fn check_tpm(answer: impl FnOnce(&Scene, &SoftTpm) -> String, expected: SaslOutcome) {
    let scene = scene().await;
    let mut tpm = SoftTpm::from_fixture();
    let mut client = scene.open();
    client.sasl_tpm_challenge(&mut tpm, &scene.id_scope, "tpm-1").await;
    let token = answer(&scene, &tpm);
    let outcome = client.sasl_tpm_answer(&token).await;
    assert_eq!(outcome, expected, "{token}");
    go_on(client, outcome).await;
}

fn token_of(scene: &Scene, tpm: &SoftTpm, id: &str, life_secs: i64) -> String {
    let expiry = scene.app.now().unix_secs() + life_secs;
    tpm.sas_token(&resource(scene, id), expiry, Some("registration"))
}

#[tokio::test]
async fn a_tpm_that_signs_with_the_key_of_its_challenge_is_let_in() {
    check_tpm(|scene, tpm| token_of(scene, tpm, "tpm-1", 60), SaslOutcome::Ok).await;
    check_tpm(|scene, tpm| token_of(scene, tpm, "TPM-1", 60), SaslOutcome::Ok).await;
}

#[tokio::test]
async fn a_tpm_that_does_not_sign_with_the_key_of_its_challenge_is_refused() {
    check_tpm(|scene, tpm| token_of(scene, tpm, "tpm-2", 60), SaslOutcome::Auth).await;
    check_tpm(|scene, tpm| token_of(scene, tpm, "tpm-1", -1), SaslOutcome::Auth).await;
    check_tpm(
        |scene, _| scene.registration_token(ClientStyle::Java, "tpm-1", KEY),
        SaslOutcome::Auth,
    )
    .await;
    check_tpm(|_, _| "SharedAccessSignature".to_owned(), SaslOutcome::Auth).await;
    check_tpm(|_, _| String::new(), SaslOutcome::Auth).await;
}

#[tokio::test]
async fn the_challenge_of_one_connection_is_no_answer_on_another() {
    let scene = scene().await;
    let mut tpm = SoftTpm::from_fixture();
    let (mut one, mut other) = (scene.open(), scene.open());
    one.sasl_tpm_challenge(&mut tpm, &scene.id_scope, "tpm-1").await;
    let token = token_of(&scene, &tpm, "tpm-1", 60);
    other.sasl_tpm_challenge(&mut tpm, &scene.id_scope, "tpm-1").await;
    assert_eq!(other.sasl_tpm_answer(&token).await, SaslOutcome::Auth);
    assert_eq!(one.sasl_tpm_answer(&token).await, SaslOutcome::Ok);
}

/// As C's client would, of more than 470 bytes (D §3.3).
#[tokio::test]
async fn what_a_tpm_says_may_come_in_pieces() {
    let scene = scene().await;
    let mut tpm = SoftTpm::from_fixture();
    let mut client = scene.open();
    let (ek, srk) = (tpm.endorsement_key(), tpm.storage_root_key());
    let init = [b"\0", scene.id_scope.as_bytes(), b"\0tpm-1\0", &*ek].concat();
    client.sasl_init("TPM", Some(&init)).await;
    assert_eq!(client.sasl_challenge().await, [0][..]);
    let (first, rest) = srk.split_at(100);
    let (second, third) = rest.split_at(100);
    for (control, piece) in [(0x80, first), (0x81, second)] {
        client.sasl_respond_piece(control, piece).await;
        assert_eq!(client.sasl_challenge().await, [0][..], "it is to go on");
    }
    client.sasl_respond_piece(0xc2, third).await;
    let first = client.sasl_challenge().await;
    client.sasl_respond(b"").await;
    let second = client.sasl_challenge().await;
    tpm.activate(&[&first[1..], &second[1..]].concat()).expect("our blob");
    let token = token_of(&scene, &tpm, "tpm-1", 60);
    assert_eq!(client.sasl_tpm_answer(&token).await, SaslOutcome::Ok);
    go_on(client, SaslOutcome::Ok).await;
}

#[tokio::test]
async fn pieces_without_end_are_refused() {
    let scene = scene().await;
    let tpm = SoftTpm::from_fixture();
    for piece in [&[7; 470][..], b""] {
        let mut client = scene.open();
        let init =
            [b"\0", scene.id_scope.as_bytes(), b"\0tpm-1\0", &*tpm.endorsement_key()].concat();
        client.sasl_init("TPM", Some(&init)).await;
        let mut n_pieces = 0;
        loop {
            match client.read_sasl().await.expect("a frame") {
                SaslFrame::Challenge(go_on) => assert_eq!(go_on, [0][..]),
                SaslFrame::Outcome(outcome) => break assert_eq!(outcome, SaslOutcome::Auth),
                other => panic!("unexpected: {other:?}"),
            }
            client.sasl_respond_piece(0x80, piece).await;
            n_pieces += 1;
        }
        assert!(n_pieces <= 21);
        client.over().await;
    }
}

#[tokio::test]
async fn who_is_no_tpm_of_ours_hears_of_no_challenge() {
    let scene = scene().await;
    let tpm = SoftTpm::from_fixture();
    let ek = tpm.endorsement_key();
    for (scope, id, ek) in
        [(&*scene.id_scope, "tpm 1", &*ek), (&scene.id_scope, "tpm-1", b""), ("", "tpm-1", &ek)]
    {
        let mut client = scene.open();
        let init = [b"\0", scope.as_bytes(), b"\0", id.as_bytes(), b"\0", ek].concat();
        assert_eq!(client.sasl("TPM", Some(&init)).await, SaslOutcome::Auth, "{scope} {id}");
        client.over().await;
    }
    for (scope, ek, srk) in [
        (&*scene.id_scope, &b"no key"[..], tpm.storage_root_key()),
        (&scene.id_scope, &ek, b"no key".to_vec()),
        (&scene.id_scope, &ek, Vec::new()),
        (&scene.id_scope, &ek, ek.clone()),
    ] {
        let mut client = scene.open();
        let init = [b"\0", scope.as_bytes(), b"\0tpm-1\0", ek].concat();
        client.sasl_init("TPM", Some(&init)).await;
        assert_eq!(client.sasl_challenge().await, [0][..]);
        client.sasl_respond(&srk).await;
        assert_eq!(client.sasl_outcome().await, SaslOutcome::Auth, "{scope}");
        client.over().await;
    }
}

/// One client never hears of what is refused before its challenge, and waits for ever.
#[tokio::test]
async fn a_tpm_that_asks_for_another_scope_is_challenged_all_the_same() {
    let scene = scene().await;
    let mut tpm = SoftTpm::from_fixture();
    scene.open().sasl_tpm_challenge(&mut tpm, "0ne00000000", "tpm-1").await;
}

#[tokio::test]
async fn who_asks_for_too_many_challenges_is_told_to_come_later() {
    let rates = app::limits::RateSettings {
        device_calls_per_address: Some(app::limits::Rate { n: 1, per_secs: 60 }),
        ..app::limits::RateSettings::default()
    };
    let scene = scene_after(Plan { rates, ..Plan::default() }).await;
    let mut tpm = SoftTpm::from_fixture();
    scene.open().sasl_tpm_challenge(&mut tpm, &scene.id_scope, "tpm-1").await;
    let mut client = scene.open();
    let init = [b"\0", scene.id_scope.as_bytes(), b"\0tpm-1\0", &*tpm.endorsement_key()].concat();
    assert_eq!(client.sasl("TPM", Some(&init)).await, SaslOutcome::SysTemp);
    client.over().await;
}

// What is no AMQP.

#[tokio::test]
async fn whoever_speaks_something_else_is_told_what_we_speak_and_shown_out() {
    let scene = scene().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x10\x1a\x00\x04MQTT\x04",
        b"AMQX",
        b"\0",
        // AMQP 0-9-1, AMQP 1.1, TLS inside, SASL 2.
        b"AMQP\x00\x00\x09\x01",
        b"AMQP\x00\x01\x01\x00",
        b"AMQP\x02\x01\x00\x00",
        b"AMQP\x03\x02\x00\x00",
    ] {
        let mut client = scene.open();
        client.send_bytes(bytes).await;
        assert_eq!(client.rest().await, b"AMQP\x00\x01\x00\x00", "{bytes:?}");
        client.vanish().await;
    }
}

#[tokio::test]
async fn whoever_speaks_something_else_after_sasl_is_shown_out() {
    let scene = scene().await;
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"AMQP\x03\x01\x00\x00"] {
        let mut client = scene.open();
        client.sasl("ANONYMOUS", None).await;
        client.send_bytes(bytes).await;
        assert_eq!(client.rest().await, b"AMQP\x00\x01\x00\x00", "{bytes:?}");
        client.vanish().await;
    }
}

#[tokio::test]
async fn sasl_that_is_none_is_shown_out() {
    let scene = scene().await;
    for bytes in [
        // A frame of AMQP, none at all, one without end, one that is no SASL frame.
        &[0, 0, 0, 8, 2, 0, 0, 0][..],
        &[0, 0, 0, 8, 2, 1, 0, 0],
        &[0, 1, 0, 0, 2, 1, 0, 0],
        &[0, 0, 0, 9, 2, 1, 0, 0, 0x40],
    ] {
        let mut client = scene.open();
        client.header(ProtocolHeader::Sasl).await;
        assert!(client.read_sasl().await.is_some());
        client.send_bytes(bytes).await;
        client.over().await;
    }
    // Frames that only a server sends, and a response before there is anything to respond to.
    for frame in [SaslFrame::Outcome(SaslOutcome::Ok), SaslFrame::Response(b"x"[..].into())] {
        let mut client = scene.open();
        client.header(ProtocolHeader::Sasl).await;
        assert!(client.read_sasl().await.is_some());
        client.send_sasl(&frame).await;
        client.over().await;
    }
}

#[tokio::test]
async fn all_of_a_login_may_come_at_once() {
    let scene = scene().await;
    let mut client = scene.open();
    let mut bytes = bytes::BytesMut::new();
    crate::proto::encode_header(ProtocolHeader::Sasl, &mut bytes);
    let init = crate::proto::SaslInit { mechanism: "ANONYMOUS".to_owned(), ..Default::default() };
    crate::proto::encode_sasl(&SaslFrame::Init(init), &mut bytes);
    crate::proto::encode_header(ProtocolHeader::Amqp, &mut bytes);
    client.send_bytes(&bytes).await;
    assert_eq!(client.read_header().await, Some(ProtocolHeader::Sasl));
    assert!(matches!(client.read_sasl().await, Some(SaslFrame::Mechanisms(_))));
    assert_eq!(client.sasl_outcome().await, SaslOutcome::Ok);
    assert_eq!(client.read_header().await, Some(ProtocolHeader::Amqp));
    client.open(super::client::open()).await;
    client.close().await;
}

// Time.

/// How long a client that stops after what `up_to` says is waited for.
async fn check_patience(what: &str, secs: f64, up_to: impl AsyncFnOnce(&Scene, &mut Client)) {
    let scene = scene().await;
    let mut client = scene.open();
    up_to(&scene, &mut client).await;
    // Not before: the store's time cannot be turned forward.
    tokio::time::pause();
    let begun = Instant::now();
    client.rest().await;
    let elapsed = begun.elapsed();
    assert_eq!(elapsed.as_secs_f64().round(), secs, "{what}: {elapsed:?}");
    tokio::time::resume();
    client.vanish().await;
}

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    check_patience("nothing", 10.0, async |_, _| {}).await;
    check_patience("half a header", 10.0, async |_, client| client.send_bytes(b"AMQP").await).await;
    check_patience("a header for SASL", 10.0, async |_, client| {
        client.header(ProtocolHeader::Sasl).await;
    })
    .await;
    check_patience("half a frame", 10.0, async |_, client| {
        client.header(ProtocolHeader::Sasl).await;
        client.send_bytes(&[0, 0, 0, 100]).await;
    })
    .await;
    check_patience("an outcome", 10.0, async |_, client| {
        client.sasl("ANONYMOUS", None).await;
    })
    .await;
    check_patience("a challenge", 60.0, async |scene, client| {
        let ek = SoftTpm::from_fixture().endorsement_key();
        let init = [b"\0", scene.id_scope.as_bytes(), b"\0tpm-1\0", &*ek].concat();
        client.sasl_init("TPM", Some(&init)).await;
        client.sasl_challenge().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_door_that_stops_lets_go_of_those_who_are_logging_in() {
    let scene = scene().await;
    let mut client = scene.open();
    client.header(ProtocolHeader::Sasl).await;
    assert!(client.read_sasl().await.is_some());
    sleep(Duration::from_secs(1)).await;
    scene.stop();
    client.over().await;
}

#[tokio::test]
async fn a_fault_of_ours_is_no_refusal() {
    let scene = scene_with(AmqpSettings::default()).await;
    let tpm = SoftTpm::from_fixture();
    scene.break_store();
    let mut client = scene.open();
    let init = [b"\0", scene.id_scope.as_bytes(), b"\0tpm-1\0", &*tpm.endorsement_key()].concat();
    assert_eq!(client.sasl("TPM", Some(&init)).await, SaslOutcome::SysTemp);
    client.over().await;
}
