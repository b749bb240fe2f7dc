//! Provisioning sessions (D §2), with the requests of every client as they send them.

mod sessions;
mod storms;

use std::{sync::Arc, time::Duration};

use app::{
    limits::{Rate, RateSettings},
    ports::AllocationHook,
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use decide::{
    register::{Answer, Question},
    scenes,
};
use model::{Change, ChangeSet, HubName};
use testkit::{ClientStyle, Credential, Profile, SoftTpm};
use tokio::time::Instant;

use super::scene::{
    Client, KEY, OTHER_KEY, Plan, Scene, at_least_once, connect, id, publish, scene, scene_after,
    subscribe,
};
use crate::{
    MqttSettings,
    proto::{ConnAck, Connect, Delivery, Grant, Packet, Qos, SubAck},
};

const ACCEPTED: Packet = Packet::ConnAck(ConnAck::Accepted { session_present: false });
const RESPONSES: &str = "$dps/registrations/res/#";
const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?$rid=";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=";
const QOS_0: Delivery = Delivery::AtMostOnce;

fn granted(n: u16, qos: Qos) -> Packet {
    sub_ack(n, &[Grant::Granted(qos)])
}

fn sub_ack(n: u16, grants: &[Grant]) -> Packet {
    Packet::SubAck(SubAck { id: Some(id(n)), grants: grants.to_vec() })
}

/// The text of a member of a flat document.
#[track_caller]
fn member<'a>(document: &'a str, name: &str) -> &'a str {
    let begin = format!("\"{name}\":\"");
    let (_, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{name}: {document}"));
    rest.split('"').next().expect("a first part")
}

/// A device with [`KEY`] that is connected and not subscribed.
async fn connected(scene: &Scene, device: &str) -> Client {
    connected_by(scene, scene.connect(device)).await
}

async fn connected_by(scene: &Scene, connect: Connect) -> Client {
    let mut client = scene.open();
    client.send([Packet::Connect(Box::new(connect))]).await;
    client.expect(ACCEPTED).await;
    client
}

/// A device with [`KEY`] that is connected and takes answers with this QoS.
async fn subscribed(scene: &Scene, device: &str, qos: Qos) -> Client {
    let mut client = connected(scene, device).await;
    client.send([subscribe(1, RESPONSES, qos)]).await;
    client.expect(granted(1, qos)).await;
    client
}

/// Asks with QoS 0 and expects this status, with a `retry-after` or without.
async fn ask(
    client: &mut Client,
    topic: &str,
    payload: &str,
    status: u16,
    retry_after_secs: Option<u32>,
) -> String {
    client.send([publish(topic, payload, QOS_0)]).await;
    let (answered, text, _) = client.expect_message().await;
    let rid = topic.split_once("$rid=").expect("a rid").1.split('&').next().expect("a rid");
    let wait = retry_after_secs.map(|secs| format!("&retry-after={secs}")).unwrap_or_default();
    assert_eq!(answered, format!("$dps/registrations/res/{status}/?$rid={rid}{wait}"), "{text}");
    assert!(!text.contains("null"), "{text}");
    text
}

/// Registers with this payload and polls once, as `assigned`.
async fn check_settles(scene: &Scene, device: &str, payload: &str, poll_payload: &str) {
    let mut client = subscribed(scene, device, Qos::AtLeastOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), payload, 202, Some(3)).await;
    let operation = member(&accepted, "operationId").to_owned();
    let topic = format!("{POLL}2&operationId={operation}");
    let polled = ask(&mut client, &topic, poll_payload, 200, None).await;
    assert_eq!(member(&polled, "status"), "assigned", "{polled}");
    assert_eq!(member(&polled, "deviceId"), device, "{polled}");
    client.leave().await;
}

/// D, appendix C.3.
#[tokio::test]
async fn a_device_is_provisioned_as_recorded() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = connected(&scene, "dev-1").await;
    client.send([subscribe(1, RESPONSES, Qos::AtLeastOnce)]).await;
    client.expect(granted(1, Qos::AtLeastOnce)).await;
    client.send([publish(&format!("{REGISTER}2"), "", at_least_once(2))]).await;
    client.expect(Packet::PubAck(Some(id(2)))).await;
    let (topic, text, delivery) = client.expect_message().await;
    assert_eq!(topic, "$dps/registrations/res/202/?$rid=2&retry-after=3");
    assert_eq!(delivery, at_least_once(1));
    let operation = member(&text, "operationId");
    assert_eq!(text, format!(r#"{{"operationId":"{operation}","status":"assigning"}}"#));
    let poll = format!("{POLL}3&operationId={operation}");
    client.send([Packet::PubAck(Some(id(1))), publish(&poll, "", at_least_once(3))]).await;
    client.expect(Packet::PubAck(Some(id(3)))).await;
    let (topic, text, delivery) = client.expect_message().await;
    assert_eq!(topic, "$dps/registrations/res/200/?$rid=3");
    assert_eq!(delivery, at_least_once(2));
    let (hub, etag) = (member(&text, "assignedHub"), member(&text, "etag"));
    let now = wire::time::wire(scene.app.now());
    assert_eq!(
        text,
        format!(
            r#"{{"operationId":"{operation}","status":"assigned","registrationState":{{"registrationId":"dev-1","createdDateTimeUtc":"{now}","assignedHub":"{hub}","deviceId":"dev-1","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"{now}","etag":"{etag}"}}}}"#
        )
    );
    client.send([Packet::PubAck(Some(id(2)))]).await;
    client.leave().await;
}

#[tokio::test]
async fn every_clients_payloads_register_and_poll() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    for (register, poll) in [
        // Python, Node, C, C#, Java and embedded C (D §2.3).
        (r#"{"payload": null, "registrationId": "dev-1"}"#, " "),
        (r#"{"registrationId":"dev-1"}"#, " "),
        (r#"{"registrationId":"dev-1"}"#, r#"{"registrationId":"dev-1"}"#),
        ("", ""),
        (r#"{"payload":{"a":1}}"#, ""),
        (r#"{"registrationId":"DEV-1","payload":"{\"a\":1}"}"#, ""),
        (r#"{"registrationId":"dev-1","payload":{"modelId":"dtmi:a;1"}}"#, ""),
        (" \r\n\t", "no JSON at all"),
    ] {
        check_settles(&scene, "dev-1", register, poll).await;
    }
}

/// Trap 24, with an answer that takes long.
#[tokio::test]
async fn the_puback_goes_out_before_the_answer_is_known() {
    struct Silent;

    #[async_trait]
    impl AllocationHook for Silent {
        async fn ask(&self, _: &Question) -> Answer {
            std::future::pending().await
        }
    }

    let settings =
        MqttSettings { request_timeout: Duration::from_millis(300), ..MqttSettings::default() };
    let plan = Plan { settings, hook: Arc::new(Silent), ..Plan::default() };
    let scene = scene_after(plan).await;
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"dev-1","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{KEY}"}}}},"allocationPolicy":"custom","customAllocationDefinition":{{"webhookUrl":"https://f.example.test/","apiVersion":"2019-03-31"}}}}"#
        ))
        .await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    let begun = Instant::now();
    client.send([publish(&format!("{REGISTER}2"), "", at_least_once(7))]).await;
    client.expect(Packet::PubAck(Some(id(7)))).await;
    assert!(begun.elapsed() < Duration::from_millis(300), "the answer was not waited for");
    let (topic, text, _) = client.expect_message().await;
    assert_eq!(topic, "$dps/registrations/res/503/?$rid=2&retry-after=3");
    assert_eq!(member(&text, "trackingId").len(), 36);
    client.leave().await;
}

/// Traps 26 and 27.
#[tokio::test]
async fn a_rid_comes_back_byte_for_byte_and_first() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    for rid in ["1", "67c1ab2e-4f04-4f3c-8c6e-ad4c6c2a4a5a", "%24a%2Fb%3d", "ä b", "a=b"] {
        let payload = "";
        let topic = format!("{REGISTER}{rid}");
        ask(&mut client, &topic, payload, 202, Some(3)).await;
    }
    client.leave().await;
}

/// Trap 28.
#[tokio::test]
async fn two_devices_with_the_same_rid_get_their_own_answers() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    scene.enroll("dev-2").await;
    let mut clients = [
        subscribed(&scene, "dev-1", Qos::AtLeastOnce).await,
        subscribed(&scene, "dev-2", Qos::AtLeastOnce).await,
    ];
    let mut operations = Vec::new();
    for client in &mut clients {
        client.send([publish(&format!("{REGISTER}1"), "", QOS_0)]).await;
    }
    for client in &mut clients {
        let (_, text, _) = client.expect_message().await;
        operations.push(member(&text, "operationId").to_owned());
    }
    for (client, operation) in clients.iter_mut().zip(&operations) {
        client.send([publish(&format!("{POLL}1&operationId={operation}"), "", QOS_0)]).await;
    }
    for (mut client, device) in clients.into_iter().zip(["dev-1", "dev-2"]) {
        let (_, text, _) = client.expect_message().await;
        assert_eq!(member(&text, "deviceId"), device);
        client.leave().await;
    }
}

/// Embedded C gives all its requests one rid, and may have two of them under way.
#[tokio::test]
async fn two_requests_with_the_same_rid_are_answered_one_after_the_other() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    let unknown =
        format!("{POLL}1&operationId=4.0bdadb0c47c2d6b4.4a081f01-f5f2-4d1c-87c5-af533f1a");
    client
        .send([
            publish(&format!("{REGISTER}1"), "", at_least_once(1)),
            publish(&unknown, "", at_least_once(2)),
        ])
        .await;
    client.expect(Packet::PubAck(Some(id(1)))).await;
    assert!(client.expect_message().await.0.contains("/res/202/"));
    client.expect(Packet::PubAck(Some(id(2)))).await;
    assert!(client.expect_message().await.0.contains("/res/404/"));
    client.leave().await;
}

/// Trap 31, and D §1.7: every error is a document whose code is of its status.
#[tokio::test]
async fn what_only_the_store_knows_is_answered_to_the_request() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let register = format!("{REGISTER}9");

    let check = async |connect: Connect, topic: &str, payload: &str, code: u32| {
        let mut client = connected_by(&scene, connect).await;
        client.send([subscribe(1, RESPONSES, Qos::AtLeastOnce)]).await;
        client.expect(granted(1, Qos::AtLeastOnce)).await;
        let status = u16::try_from(code / 1000).expect("a status");
        let text = ask(&mut client, topic, payload, status, None).await;
        assert!(text.starts_with(&format!(r#"{{"errorCode":{code},"trackingId":""#)), "{text}");
        assert!(!member(&text, "message").is_empty() && text.contains("timestampUtc"), "{text}");
        // The session goes on.
        client.send([Packet::PingReq]).await;
        client.expect(Packet::PingResp).await;
        client.leave().await;
    };
    let wrong = scene.device_token(ClientStyle::C, "dev-1", "b3RoZXJvdGhlcm90aGVyb3RoZXI=");
    check(connect("dev-1", &scene.user_name("dev-1"), Some(&wrong)), &register, "", 401_002).await;
    check(scene.connect("dev-2"), &register, "", 401_002).await;
    let token = scene.device_token(ClientStyle::C, "dev-1", KEY);
    let elsewhere = token.replace(&scene.id_scope, "0neFFFFFFFF");
    let user_name = scene.user_name("dev-1").replace(&scene.id_scope, "0neFFFFFFFF");
    check(connect("dev-1", &user_name, Some(&elsewhere)), &register, "", 404_000).await;

    let good = || scene.connect("dev-1");
    check(good(), &register, r#"{"registrationId":"dev-2"}"#, 400_004).await;
    check(good(), &register, r#"{"registrationId":"dev-1""#, 400_004).await;
    check(good(), &register, "[]", 400_004).await;
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 * 1024));
    check(good(), &register, &large, 400_004).await;
    check(good(), &format!("{POLL}1&operationId=4.0b.4a"), "", 404_204).await;
    check(good(), &format!("{POLL}1&operationId=a%2Fb"), "", 404_204).await;
    check(good(), &format!("{POLL}1"), "", 404_204).await;
    // There is no challenge over MQTT; the answer is that of HTTPS.
    let tpm = r#"{"tpm":{"endorsementKey":"AToAAQ==","storageRootKey":"ARoAAQ=="}}"#;
    let leaf = Credential::self_signed(Profile::leaf("tpm-1"));
    let mut client = scene.open_with(leaf.chain());
    let connect = connect("tpm-1", &scene.user_name("tpm-1"), None);
    client
        .send([Packet::Connect(Box::new(connect)), subscribe(1, RESPONSES, Qos::AtMostOnce)])
        .await;
    client.expect(ACCEPTED).await;
    client.expect(granted(1, Qos::AtMostOnce)).await;
    let text = ask(&mut client, &register, tpm, 404, None).await;
    assert!(text.starts_with(r#"{"errorCode":404201,"#), "{text}");
    client.leave().await;
}

#[tokio::test]
async fn an_enrolled_tpm_is_told_that_there_is_no_challenge_here() {
    let (scene, tpm) = (scene().await, SoftTpm::from_fixture());
    let key = STANDARD.encode(tpm.endorsement_key());
    let root = STANDARD.encode(tpm.storage_root_key());
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"tpm-1","attestation":{{"type":"tpm","tpm":{{"endorsementKey":"{key}"}}}}}}"#
        ))
        .await;
    let leaf = Credential::self_signed(Profile::leaf("tpm-1"));
    let mut client = scene.open_with(leaf.chain());
    let connect = connect("tpm-1", &scene.user_name("tpm-1"), None);
    client
        .send([Packet::Connect(Box::new(connect)), subscribe(1, RESPONSES, Qos::AtMostOnce)])
        .await;
    client.expect(ACCEPTED).await;
    client.expect(granted(1, Qos::AtMostOnce)).await;
    let body = format!(r#"{{"tpm":{{"endorsementKey":"{key}","storageRootKey":"{root}"}}}}"#);
    let text = ask(&mut client, &format!("{REGISTER}1"), &body, 400, None).await;
    assert!(text.starts_with(r#"{"errorCode":400004,"#), "{text}");
    assert!(text.contains("over HTTPS or AMQP"), "{text}");
    client.leave().await;
}

#[tokio::test]
async fn a_certificate_registers_the_device_it_names_and_a_token_beats_it() {
    let scene = scene().await;
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    let pem = leaf.pem().replace('\n', "\\n");
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"press-17","attestation":{{"type":"x509","x509":{{"clientCertificates":{{"primary":{{"certificate":"{pem}"}}}}}}}}}}"#
        ))
        .await;
    scene.enroll("dev-1").await;
    let by_chain = connect("press-17", &scene.user_name("press-17"), None);
    for (connect, device, by_certificate) in
        [(by_chain, "press-17", true), (scene.connect("dev-1"), "dev-1", false)]
    {
        let mut client = scene.open_with(leaf.chain());
        client
            .send([Packet::Connect(Box::new(connect)), subscribe(1, RESPONSES, Qos::AtMostOnce)])
            .await;
        client.expect(ACCEPTED).await;
        client.expect(granted(1, Qos::AtMostOnce)).await;
        let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
        let operation = member(&accepted, "operationId").to_owned();
        let poll = format!("{POLL}2&operationId={operation}");
        let polled = ask(&mut client, &poll, "", 200, None).await;
        assert!(polled.contains(&format!(r#""deviceId":"{device}""#)), "{polled}");
        assert_eq!(polled.contains(r#""x509":{}"#), by_certificate, "{polled}");
        client.leave().await;
    }
}

#[tokio::test]
async fn a_token_that_expires_meanwhile_still_polls_its_own_operation() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let operation = member(&accepted, "operationId").to_owned();
    scene.clock.advance_secs(30 + 301);
    let poll = format!("{POLL}2&operationId={operation}");
    ask(&mut client, &poll, "", 200, None).await;
    ask(&mut client, &format!("{REGISTER}3"), "", 401, None).await;
    client.leave().await;
}

#[tokio::test]
async fn another_devices_operation_is_not_shown() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    scene.enroll("dev-2").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    client.leave().await;
    let mut client = subscribed(&scene, "dev-2", Qos::AtMostOnce).await;
    let operation = member(&accepted, "operationId");
    let text = ask(&mut client, &format!("{POLL}1&operationId={operation}"), "", 404, None).await;
    assert!(text.starts_with(r#"{"errorCode":404204,"#), "{text}");
    client.leave().await;
}

#[tokio::test]
async fn a_percent_encoded_operation_id_is_understood() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let operation = member(&accepted, "operationId").replace('.', "%2e").replace('-', "%2D");
    ask(&mut client, &format!("{POLL}1&operationId={operation}"), "", 200, None).await;
    client.leave().await;
}

#[tokio::test]
async fn a_poll_while_a_hub_elsewhere_is_asked_says_when_to_poll_again() {
    let scene = scene().await;
    let remote = HubName::parse("remote.example.test").expect("legal");
    let link = Change::PutLinkedHub(Box::new(scenes::linked_remote(remote)));
    scene.store.commit(ChangeSet::new().with(link)).await.expect("linked");
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"dev-1","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}},"allocationPolicy":"static","iotHubs":["remote.example.test"]}}"#
        ))
        .await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let operation = member(&accepted, "operationId").to_owned();
    let poll = format!("{POLL}2&operationId={operation}");
    let polled = ask(&mut client, &poll, "", 202, Some(3)).await;
    assert_eq!(
        polled,
        format!(
            r#"{{"operationId":"{operation}","status":"assigning","registrationState":{{"registrationId":"dev-1","status":"assigning"}}}}"#
        )
    );
    client.leave().await;
}

#[tokio::test]
async fn a_disabled_device_is_told_so_when_it_polls() {
    let scene = scene().await;
    scene
        .enroll_as(&format!(
            r#"{{"registrationId":"dev-1","provisioningStatus":"disabled","attestation":{{"type":"symmetricKey","symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{OTHER_KEY}"}}}}}}"#
        ))
        .await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    let accepted = ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let poll = format!("{POLL}2&operationId={}", member(&accepted, "operationId"));
    let polled = ask(&mut client, &poll, "", 200, None).await;
    assert_eq!(member(&polled, "status"), "disabled");
    client.leave().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let rates = RateSettings {
        device_registrations: Some(Rate { n: 1, per_secs: 60 }),
        ..RateSettings::default()
    };
    let scene = scene_after(Plan { rates, max_registrations: 1, ..Plan::default() }).await;
    scene.enroll("dev-1").await;
    scene.enroll("dev-2").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtMostOnce).await;
    ask(&mut client, &format!("{REGISTER}1"), "", 202, Some(3)).await;
    let text = ask(&mut client, &format!("{REGISTER}2"), "", 429, Some(60)).await;
    assert!(text.starts_with(r#"{"errorCode":429001,"#), "{text}");
    client.leave().await;
    let mut client = subscribed(&scene, "dev-2", Qos::AtMostOnce).await;
    let text = ask(&mut client, &format!("{REGISTER}1"), "", 429, Some(3)).await;
    assert!(text.starts_with(r#"{"errorCode":429002,"#), "{text}");
    client.leave().await;
}

/// Trap 31, once more: a fault of ours is a document as well, and names nothing of ours.
#[tokio::test]
async fn a_fault_of_ours_is_answered_with_500_and_a_tracking_id() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let mut client = subscribed(&scene, "dev-1", Qos::AtLeastOnce).await;
    scene.break_store();
    let text = ask(&mut client, &format!("{REGISTER}1"), "", 500, None).await;
    assert!(text.starts_with(r#"{"errorCode":500000,"trackingId":""#), "{text}");
    assert!(!text.contains("database") && !text.contains("induct.db"), "{text}");
    client.leave().await;
}
