//! Devices that are refused and ask again: the rejection says when to in both spellings (D §3.6), and
//! whoever is let in again need not wait.

use app::bans::Wet;
use model::{
    Precondition, RegistrationId,
    ban::{BanDraft, SubjectDraft, registration_key},
};

use super::*;
use crate::tests::scene::operator;

/// When a rejection says to ask again; both spellings say the same, as an `int`.
#[track_caller]
fn wait(error: &WireError) -> Option<i32> {
    assert_eq!(code(error, UNAUTHORIZED), "401");
    let of = |name: &str| {
        let named = error.info.iter().find(|(key, _)| *key == Value::Symbol(name.to_owned()));
        named.map(|(_, value)| match value {
            Value::Int(secs) => *secs,
            other => panic!("{other:?} is no int"),
        })
    };
    assert_eq!(of("retry-after"), of("Retry-After"), "{error:?}");
    of("retry-after")
}

/// Opens both links of this registration.
async fn links(client: &mut Client, scene: &Scene, id: &str) {
    client.attach(answered(&scene.registration(id))).await;
    client.attach(asking(&scene.registration(id))).await;
}

/// Registers and polls; the status.
async fn status(client: &mut Client) -> String {
    client.send_accepted(0, TO_US, &register("")).await;
    let accepted = text_of(&client.receive_accepted(0, TO_IT).await);
    let (_, operation) = accepted.split_once("\"operationId\":\"").expect("an operation");
    let operation = operation.split('"').next().expect("a first part");
    let text = |text: &str| Value::String(text.to_owned());
    let poll = Message {
        application_properties: vec![
            ("iotdps-operation-type".to_owned(), text("iotdps-get-operationstatus")),
            ("iotdps-operation-id".to_owned(), text(operation)),
        ],
        ..register("")
    };
    client.send_accepted(0, TO_US, &poll).await;
    let polled = text_of(&client.receive_accepted(0, TO_IT).await);
    let (_, status) = polled.split_once("\"status\":\"").expect("a status");
    status.split('"').next().expect("a first part").to_owned()
}

fn text_of(message: &Message) -> String {
    let Body::Data(sections) = &message.body else { panic!("no data: {message:?}") };
    String::from_utf8_lossy(&sections[0]).into_owned()
}

async fn put(scene: &Scene, enabled: bool) {
    let status = if enabled { "enabled" } else { "disabled" };
    let body = format!(
        r#"{{"registrationId":"dev-1","provisioningStatus":"{status}","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{KEY}"}}}}}}"#
    );
    let draft = wire::operator::parse_individual(body.as_bytes()).expect("legal");
    scene.app.put_individual(draft, &Precondition::Any, &operator()).await.expect("put");
}

#[tokio::test]
async fn who_shows_the_same_certificate_again_waits_longer_each_time_up_to_an_hour() {
    let scene = scene().await;
    let chain = Ca::root("stranger").leaf("dev-1").chain();
    let mut waits = Vec::new();
    // On one connection or on many: it is the device that is remembered.
    for _ in 0..2 {
        let mut client = scene.open_of(chain.clone());
        client.connect().await;
        client.begin(0).await;
        links(&mut client, &scene, "dev-1").await;
        for _ in 0..7 {
            waits.push(wait(&client.send_rejected(0, TO_US, &register("")).await));
        }
        client.close().await;
    }
    let growing = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600].map(Some);
    assert_eq!(waits[0], None);
    assert_eq!(waits[1..], growing);
}

#[tokio::test]
async fn who_signs_each_token_anew_waits_as_well_and_the_device_of_that_name_does_not() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        let wrong = "b3RoZXJvdGhlcm90aGVyb3RoZXI=";
        let token = scene.registration_token(ClientStyle::Java, "dev-1", wrong);
        let mut client = scene.logged_in(&scene.registration("dev-1"), &token).await;
        links(&mut client, &scene, "dev-1").await;
        waits.push(wait(&client.send_rejected(0, TO_US, &register("")).await));
        client.close().await;
        scene.advance_secs(1);
    }
    assert_eq!(waits, [None, Some(5), Some(10), Some(20), Some(40)]);
    let mut client = logged_in(&scene, "dev-1").await;
    links(&mut client, &scene, "dev-1").await;
    assert_eq!(status(&mut client).await, "assigned");
    client.close().await;
}

#[tokio::test]
async fn a_device_that_is_enabled_again_is_admitted_by_its_next_question() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = logged_in(&scene, "dev-1").await;
    links(&mut client, &scene, "dev-1").await;
    for (enabled, expected) in [(false, "disabled"), (true, "assigned")].repeat(2) {
        put(&scene, enabled).await;
        for _ in 0..2 {
            assert_eq!(status(&mut client).await, expected);
        }
    }
    client.close().await;
}

#[tokio::test]
async fn a_device_whose_ban_is_lifted_is_admitted_by_its_next_question() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let dev_1 = RegistrationId::parse("dev-1").expect("legal");
    let mut client = logged_in(&scene, "dev-1").await;
    links(&mut client, &scene, "dev-1").await;
    for _ in 0..2 {
        let subject = SubjectDraft::Registration(dev_1.clone());
        let draft = BanDraft { subject, reason: None, expires: None };
        scene.app.put_ban(&draft, Wet::Done, &operator()).await.expect("banned");
        for expected in [None, Some(5), Some(10)] {
            let error = client.send_rejected(0, TO_US, &register("")).await;
            assert_eq!(wait(&error), expected);
        }
        let key = registration_key(&dev_1);
        scene.app.lift_ban(&key, Wet::Done, &operator()).await.expect("lifted");
        assert_eq!(status(&mut client).await, "assigned");
    }
    client.close().await;
}
