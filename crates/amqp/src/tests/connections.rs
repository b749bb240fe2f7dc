//! Whole conversations: who logs in how, and what it can do then.

use testkit::{ClientStyle, certificates::Ca};

use super::{
    client::{Client, Wish},
    scene::*,
};
use crate::proto::{Body, Message, Outcome, Value};

/// A request to be registered, as Node sends it (D §3.5).
fn register(id: &str) -> Message {
    let kind = Value::String("iotdps-register".to_owned());
    Message {
        application_properties: vec![("iotdps-operation-type".to_owned(), kind)],
        body: Body::Data(vec![format!(r#"{{"registrationId":"{id}"}}"#).into()]),
        ..Message::default()
    }
}

/// Attaches the links of provisioning.
async fn attach_registration(client: &mut Client, address: &str) {
    let version = "com.microsoft:api-version";
    let wish = Wish::receiver(0, 0, address).with(version, "2019-03-31");
    client.attach(wish).await;
    let wish = Wish::sender(0, 1, address).with(version, "2019-03-31");
    client.attach(wish).await;
}

/// Asks to be registered, and expects an operation.
async fn check_registers(mut client: Client, address: &str, id: &str) {
    attach_registration(&mut client, address).await;
    client.send_accepted(0, 1, &register(id)).await;
    let answer = client.receive_accepted(0, 0).await;
    let Body::Data(data) = answer.body else { panic!("expected data: {answer:?}") };
    assert!(text(&data.concat()).contains("operationId"), "{data:?}");
    client.close().await;
}

#[tokio::test]
async fn a_device_with_a_key_registers() {
    let mut scene = scene().await;
    scene.enroll("dev-1").await;
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        let address = scene.registration("dev-1");
        let token = scene.registration_token(ClientStyle::CSharp, "dev-1", KEY);
        let client = scene.logged_in(&address, &token).await;
        check_registers(client, &address, "dev-1").await;
    }
}

#[tokio::test]
async fn a_device_with_a_certificate_registers_without_sasl_and_with_external() {
    let scene = scene().await;
    let ca = Ca::root("the root");
    let leaf = ca.leaf("dev-1");
    let certificate = leaf.pem().replace('\n', "\\n");
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"dev-1","attestation":{{"type":"x509","x509":{{"clientCertificates":{{"primary":{{"certificate":"{certificate}"}}}}}}}}}}"#
        ))
        .await;
    let address = format!("amqps://dps.example.test/{}", scene.registration("dev-1"));
    for is_external in [false, true] {
        let mut client = scene.open_of(leaf.alone());
        if is_external {
            client.sasl("EXTERNAL", None).await;
        }
        client.connect().await;
        client.begin(0).await;
        check_registers(client, &address, "dev-1").await;
    }
}

#[tokio::test]
async fn a_token_that_is_signed_with_another_key_is_told_by_the_outcome() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let address = scene.registration("dev-1");
    let elsewhere = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU=";
    let token = scene.registration_token(ClientStyle::CSharp, "dev-1", elsewhere);
    let mut client = scene.logged_in(&address, &token).await;
    attach_registration(&mut client, &address).await;
    let sent = client.send(0, 1, &register("dev-1")).await;
    match client.outcome(0, sent).await {
        Outcome::Rejected(Some(error)) => {
            assert_eq!(error.condition, "amqp:unauthorized-access", "{error:?}");
        }
        other => panic!("expected it to be rejected: {other:?}"),
    }
    client.close().await;
}

#[tokio::test]
async fn a_connection_that_is_full_of_devices_refuses_one_more() {
    let settings =
        crate::AmqpSettings { max_devices_per_connection: 2, ..crate::AmqpSettings::default() };
    let scene = scene_with(settings).await;
    let mut client = scene.connected().await;
    for (handle, id) in (0..).zip(["a", "b", "c"]) {
        let wish = Wish::sender(0, handle, &format!("/devices/{id}/messages/events"));
        // None of them has proven anything; each is answered by itself.
        client.attach_refused(wish, "amqp:unauthorized-access").await;
    }
    client.close().await;
}
