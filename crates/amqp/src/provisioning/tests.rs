//! Whom a connection provisions, and nobody else (D §3.4); whole conversations of the vendor's
//! clients are among the scenarios of the `induct` crate.

mod storms;

use testkit::{Ca, ClientStyle};

use super::*;
use crate::{
    errors::UNAUTHORIZED,
    proto::{Body, Message, SaslOutcome, Value},
    tests::{
        client::{Client, Wish},
        scene::{DEVICE, KEY, Scene, scene},
    },
};

/// The handles of the links.
const TO_US: u32 = 0;
const TO_IT: u32 = 1;

fn asking(address: &str) -> Wish {
    Wish::sender(0, TO_US, address).with("com.microsoft:api-version", "2019-03-31")
}

fn answered(address: &str) -> Wish {
    Wish::receiver(0, TO_IT, address)
}

/// A client that logged in as this registration and began session 0.
async fn logged_in(scene: &Scene, id: &str) -> Client {
    let token = scene.registration_token(ClientStyle::Java, id, KEY);
    scene.logged_in(&scene.registration(id), &token).await
}

/// A client that shows a certificate of this name.
async fn with_certificate(scene: &Scene, name: &str) -> Client {
    let mut client = scene.open_of(Ca::root("root").leaf(name).chain());
    client.connect().await;
    client.begin(0).await;
    client
}

fn register(body: &str) -> Message {
    let operation = Value::String("iotdps-register".to_owned());
    Message {
        application_properties: vec![("iotdps-operation-type".to_owned(), operation)],
        body: Body::Data(vec![body.to_owned().into()]),
        ..Message::default()
    }
}

/// The status that a rejection's JSON begins its error code with, which has to fit its condition.
#[track_caller]
fn code(error: &WireError, condition: &str) -> String {
    assert_eq!(error.condition, condition, "{error:?}");
    let text = error.description.as_deref().unwrap_or_default();
    let (_, code) = text.split_once("\"errorCode\":").expect("an error's JSON");
    code[..3].to_owned()
}

#[tokio::test]
async fn a_login_opens_the_links_of_its_own_registration_in_every_spelling() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = logged_in(&scene, "dev-1").await;
    let address = format!("amqps://anywhere:5671/{}", scene.registration("DEV-1").to_uppercase());
    client.attach(answered(&address)).await;
    client.attach(asking(&format!("/{}", scene.registration("dev-1")))).await;
    client.send_accepted(0, TO_US, &register("")).await;
    let answer = client.receive_accepted(0, TO_IT).await;
    let Body::Data(sections) = answer.body else { panic!("no data: {:?}", answer.body) };
    let text = String::from_utf8_lossy(&sections[0]).into_owned();
    assert!(text.contains("\"status\":\"assigning\""), "{text}");
    client.close().await;
}

#[tokio::test]
async fn a_login_opens_no_links_of_anybody_else() {
    let scene = scene().await;
    for id in ["dev-1", "dev-2"] {
        scene.enroll(id).await;
    }
    let others = [
        scene.registration("dev-2"),
        scene.registration("dev-11"),
        scene.registration("dev%2d2"),
        "0ne00000000/registrations/dev-1".to_owned(),
    ];
    // Before it has links of its own, and while it has.
    let mut client = logged_in(&scene, "dev-1").await;
    for has_links in [false, true] {
        if has_links {
            client.attach(answered(&scene.registration("dev-1"))).await;
        }
        for other in &others {
            let error = client.attach_refused(asking(other), UNAUTHORIZED).await;
            assert_eq!(code(&error, UNAUTHORIZED), "401", "{other}");
            client.attach_refused(Wish { handle: 7, ..answered(other) }, UNAUTHORIZED).await;
        }
    }
}

#[tokio::test]
async fn a_certificate_is_for_one_device_at_a_time() {
    let scene = scene().await;
    let mut client = with_certificate(&scene, "dev-1").await;
    client.attach(answered(&scene.registration("dev-1"))).await;
    client.attach_refused(asking(&scene.registration("dev-2")), UNAUTHORIZED).await;
    client.attach_refused(asking("0ne00000000/registrations/dev-1"), UNAUTHORIZED).await;
    client.attach(asking(&scene.registration("dev-1"))).await;
    // Whether it is that of the address is told by the answers.
    let error = client.send_rejected(0, TO_US, &register("")).await;
    assert_eq!(code(&error, UNAUTHORIZED), "401");
    let other = register(r#"{"registrationId":"dev-2"}"#);
    let error = client.send_rejected(0, TO_US, &other).await;
    assert_eq!(code(&error, ARGUMENT), "400");
    client.detach(0, TO_US).await;
    client.detach(0, TO_IT).await;
    client.attach(answered(&scene.registration("dev-2"))).await;
    client.close().await;
}

#[tokio::test]
async fn who_shows_nothing_or_logged_in_to_a_hub_provisions_nothing() {
    let scene = scene().await;
    scene.enroll(DEVICE).await;
    let address = scene.registration(DEVICE);
    let mut nobody = scene.open();
    assert_eq!(nobody.sasl("ANONYMOUS", None).await, SaslOutcome::Ok);
    nobody.connect().await;
    nobody.begin(0).await;
    let of_hub = scene.logged_in("dev1@sas.hub-1", &scene.token(DEVICE)).await;
    for mut client in [nobody, scene.connected().await, of_hub] {
        client.attach_refused(answered(&address), UNAUTHORIZED).await;
        let error = client.attach_refused(asking(&address), UNAUTHORIZED).await;
        assert_eq!(code(&error, UNAUTHORIZED), "401");
    }
}

#[tokio::test]
async fn who_logged_in_to_provision_opens_nothing_of_a_hub() {
    let scene = scene().await;
    scene.enroll(DEVICE).await;
    let mut client = logged_in(&scene, DEVICE).await;
    client.attach(answered(&scene.registration(DEVICE))).await;
    for address in [format!("/devices/{DEVICE}/messages/events"), "/messages/devicebound".into()] {
        client.attach_refused(Wish::sender(0, 7, &address), UNAUTHORIZED).await;
    }
    assert_eq!(scene.app.n_sessions(), 0);
}
