//! Devices that are refused and ask again: the topic of the answer says when to, and whoever is let
//! in again need not wait.

use app::bans::Wet;
use model::{
    Precondition, RegistrationId,
    ban::{BanDraft, SubjectDraft, registration_key},
};
use testkit::{Ca, ClientStyle};

use super::super::scene::{Client, KEY, OTHER_KEY, Scene, connect, operator, scene, subscribe};
use super::{ACCEPTED, POLL, REGISTER, RESPONSES, ask, connected_by, granted, member, subscribed};
use crate::proto::{Packet, Qos};

/// Until the longest wait, and on.
const WAITS: [Option<u32>; 14] = [
    None,
    Some(5),
    Some(10),
    Some(20),
    Some(40),
    Some(80),
    Some(160),
    Some(320),
    Some(640),
    Some(1280),
    Some(2560),
    Some(3600),
    Some(3600),
    Some(3600),
];

/// Asks to be registered, which is refused.
async fn refused(client: &mut Client, wait: Option<u32>) {
    let text = ask(client, &format!("{REGISTER}1"), "", 401, wait).await;
    assert!(text.starts_with(r#"{"errorCode":401002,"#), "{text}");
}

fn individual(enabled: bool) -> String {
    let status = if enabled { "enabled" } else { "disabled" };
    format!(
        r#"{{"registrationId":"dev-1","provisioningStatus":"{status}","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}}}"#
    )
}

async fn put(scene: &Scene, enabled: bool) {
    let draft = wire::operator::parse_individual(individual(enabled).as_bytes()).expect("legal");
    scene.app.put_individual(draft, &Precondition::Any, &operator()).await.expect("put");
}

#[tokio::test]
async fn who_shows_the_same_certificate_again_waits_longer_each_time_up_to_an_hour() {
    let scene = scene().await;
    let chain = Ca::root("stranger").leaf("dev-1").chain();
    // On one connection or on many: it is the device that is remembered.
    for half in WAITS.chunks(7) {
        let mut client = scene.open_with(chain.clone());
        let hello = connect("dev-1", &scene.user_name("dev-1"), None);
        let hello = Packet::Connect(Box::new(hello));
        client.send([hello, subscribe(1, RESPONSES, Qos::AtMostOnce)]).await;
        client.expect(ACCEPTED).await;
        client.expect(granted(1, Qos::AtMostOnce)).await;
        for wait in half {
            refused(&mut client, *wait).await;
        }
        client.leave().await;
    }
}

#[tokio::test]
async fn who_signs_each_token_anew_waits_as_well_and_the_device_of_that_name_does_not() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    for wait in &WAITS[..5] {
        let wrong = scene.device_token(ClientStyle::C, "dev-1", "b3RoZXJvdGhlcm90aGVyb3RoZXI=");
        let hello = connect("dev-1", &scene.user_name("dev-1"), Some(&wrong));
        let mut client = connected_by(&scene, hello).await;
        client.send([subscribe(1, RESPONSES, Qos::AtMostOnce)]).await;
        client.expect(granted(1, Qos::AtMostOnce)).await;
        refused(&mut client, *wait).await;
        client.leave().await;
        scene.clock.advance_secs(1);
    }
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    ask(&mut client, &format!("{REGISTER}2"), "", 202, Some(3)).await;
    client.leave().await;
}

#[tokio::test]
async fn a_device_that_is_enabled_again_is_admitted_by_its_next_question() {
    let scene = scene().await;
    scene.enroll_as(&individual(false)).await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    for status in ["disabled", "disabled", "assigned"] {
        if status == "assigned" {
            put(&scene, true).await;
        }
        let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
        let poll = format!("{POLL}2&operationId={}", member(&accepted, "operationId"));
        let polled = ask(&mut client, &poll, "", 200, None).await;
        assert_eq!(member(&polled, "status"), status);
    }
    client.leave().await;
}

#[tokio::test]
async fn a_device_whose_ban_is_lifted_is_admitted_by_its_next_question() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    for _ in 0..2 {
        ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
        let subject = SubjectDraft::Registration(RegistrationId::parse("dev-1").expect("legal"));
        let key = registration_key(&RegistrationId::parse("dev-1").expect("legal"));
        let draft = BanDraft { subject, reason: None, expires: None };
        scene.app.put_ban(&draft, Wet::Done, &operator()).await.expect("banned");
        for wait in &WAITS[..4] {
            refused(&mut client, *wait).await;
        }
        scene.app.lift_ban(&key, Wet::Done, &operator()).await.expect("lifted");
    }
    ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    client.leave().await;
}
