//! Messages that services send to devices.

use app::hub::MessageDraft;
use model::{FeedbackWish, MessageProperties};

use super::*;
use crate::{
    proto::{self, Header, Outcome, Transfer, encode_message},
    tests::scene::{DEVICE, NOW, id, scene},
};

/// The handle of the link that messages are sent on.
const TO_US: u32 = 0;

async fn sending(scene: &Scene) -> Client {
    let mut client = service(scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client
}

fn bodies(waiting: Vec<(String, u32)>) -> Vec<String> {
    waiting.into_iter().map(|(body, _)| body).collect()
}

#[tokio::test]
async fn a_message_is_in_the_devices_queue_when_it_is_accepted() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let some = |text: &str| Some(text.to_owned());
    let mut sent = message(DEVICE, "turn left");
    let properties = sent.properties.as_mut().expect("some");
    properties.message_id = Some(MessageId::String("m-1".to_owned()));
    properties.user_id = Some("ana".into());
    properties.content_type = some("text/plain");
    properties.absolute_expiry_ms = Some(content_millis(60));
    sent.application_properties = vec![
        ("iothub-ack".to_owned(), Value::String("negative".to_owned())),
        ("speed".to_owned(), Value::Int(3)),
    ];
    client.send_accepted(0, TO_US, &sent).await;
    let waiting = scene.store.waiting_messages(&scene.hub, &id(DEVICE), 0, 10).await;
    let waiting = waiting.expect("store");
    let [found] = &waiting[..] else { panic!("{waiting:?}") };
    let expected = MessageProperties {
        message_id: some("m-1"),
        user_id: some("ana"),
        content_type: some("text/plain"),
        expiry: Some(wire::time::wire(NOW.plus_secs(60))),
        ..MessageProperties::default()
    };
    assert_eq!(found.properties, expected);
    assert_eq!(found.application, [("speed".to_owned(), some("3"))]);
    assert_eq!((found.feedback, found.expires), (FeedbackWish::Negative, NOW.plus_secs(60)));
    assert_eq!(found.body, b"turn left");
    client.close().await;
}

fn content_millis(from_now_secs: i64) -> i64 {
    crate::content::millis(NOW.plus_secs(from_now_secs))
}

#[tokio::test]
async fn each_device_gets_its_messages_in_the_order_they_were_sent() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    scene.put_device("dev3").await;
    let devices = [DEVICE, "dev2", "dev3"];
    let mut client = sending(&scene).await;
    for n in 0..60_usize {
        client.send(0, TO_US, &message(devices[n % 3], &n.to_string())).await;
    }
    for _ in 0..60 {
        client.accepted_any(0).await;
    }
    for (which, device) in devices.iter().enumerate() {
        let expected: Vec<_> = (0..20).map(|n| (n * 3 + which).to_string()).collect();
        assert_eq!(bodies(scene.waiting(device).await), expected);
    }
    client.close().await;
}

#[tokio::test]
async fn what_is_not_taken_says_why_and_the_link_goes_on() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let expired = {
        let mut late = message(DEVICE, "late");
        late.properties.as_mut().expect("some").absolute_expiry_ms = Some(content_millis(-1));
        late
    };
    let cases = [
        (message("nobody", "x"), "amqp:not-found"),
        (message(DEVICE, &"x".repeat(64 * 1024 + 1)), "amqp:link:message-size-exceeded"),
        (expired, "com.microsoft:argument-error"),
        (message("dev1/modules/m", "x"), "amqp:not-implemented"),
        (message("", "x"), "com.microsoft:argument-error"),
        (Message { properties: None, ..message(DEVICE, "x") }, "com.microsoft:argument-error"),
    ];
    for (bad, condition) in cases {
        let error = client.send_rejected(0, TO_US, &bad).await;
        assert_eq!(error.condition, condition, "{error:?}");
    }
    for (format, bytes, condition) in [
        (0, &b"\0Sx"[..], "amqp:decode-error"),
        (0x8001_3700, &encode_message(&message(DEVICE, "x")), "amqp:not-implemented"),
    ] {
        let sent = client.send_encoded(0, TO_US, format, bytes).await;
        let Outcome::Rejected(Some(error)) = client.outcome(0, sent).await else { panic!() };
        assert_eq!(error.condition, condition, "{error:?}");
    }
    assert_eq!(scene.waiting(DEVICE).await, []);
    client.send_accepted(0, TO_US, &message(DEVICE, &"x".repeat(60 * 1024))).await;
    assert_eq!(scene.waiting(DEVICE).await.len(), 1);
    client.close().await;
}

#[tokio::test]
async fn a_full_queue_takes_no_more_and_holds_up_no_other() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    let mut client = sending(&scene).await;
    for n in 0..50 {
        client.send_accepted(0, TO_US, &message(DEVICE, &n.to_string())).await;
    }
    let error = client.send_rejected(0, TO_US, &message(DEVICE, "one more")).await;
    assert_eq!(error.condition, "amqp:resource-limit-exceeded");
    client.send_accepted(0, TO_US, &message("dev2", "for another")).await;
    client.close().await;
}

#[tokio::test]
async fn who_wants_to_hear_nothing_hears_nothing() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    client.send_settled(0, TO_US, &message("nobody", "lost")).await;
    client.send_settled(0, TO_US, &message(DEVICE, "first")).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "second")).await;
    assert_eq!(bodies(scene.waiting(DEVICE).await), ["first", "second"]);
    client.close().await;
}

#[tokio::test]
async fn what_was_sent_before_a_service_leaves_is_written() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    let mut client = sending(&scene).await;
    for n in 0..10 {
        client.send_settled(0, TO_US, &message(DEVICE, &n.to_string())).await;
    }
    client.close().await;
    assert_eq!(scene.waiting(DEVICE).await.len(), 10);
    // By the network as well.
    let mut client = sending(&scene).await;
    for n in 0..10 {
        client.send_settled(0, TO_US, &message("dev2", &n.to_string())).await;
    }
    client.vanish().await;
    assert_eq!(scene.waiting("dev2").await.len(), 10);
}

#[tokio::test]
async fn a_lifetime_in_the_header_ends_a_message() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let header = Some(Header { ttl_ms: Some(90_000), ..Header::default() });
    client.send_accepted(0, TO_US, &Message { header, ..message(DEVICE, "x") }).await;
    let waiting = scene.store.waiting_messages(&scene.hub, &id(DEVICE), 0, 1).await.expect("store");
    assert_eq!(waiting[0].expires, NOW.plus_secs(90));
    client.close().await;
}

#[tokio::test]
async fn a_fault_of_ours_is_told_and_the_message_is_not_accepted() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    scene.break_store();
    let error = client.send_rejected(0, TO_US, &message(DEVICE, "x")).await;
    assert_eq!(error.condition, "amqp:internal-error");
}

#[tokio::test]
async fn a_message_goes_from_a_service_to_the_device_and_its_outcome_back() {
    let scene = scene().await;
    let mut service = sending(&scene).await;
    let mut device = scene.logged_in("dev1@sas.hub-1", &scene.token(DEVICE)).await;
    device.attach_receiver(0, 0, "/devices/dev1/messages/deviceBound").await;
    let mut sent = message(DEVICE, "turn left");
    sent.properties.as_mut().expect("some").message_id = Some(MessageId::Uuid([0x11; 16]));
    sent.application_properties = vec![
        ("iothub-ack".to_owned(), Value::String("full".to_owned())),
        ("speed".to_owned(), Value::String("slow".to_owned())),
    ];
    service.send_accepted(0, TO_US, &sent).await;
    let Message { properties, application_properties, body, .. } =
        device.receive_accepted(0, 0).await;
    let message_id = properties.and_then(|of| of.message_id);
    let text = "11111111-1111-1111-1111-111111111111".to_owned();
    assert_eq!(message_id, Some(MessageId::String(text.clone())));
    assert_eq!(application_properties, sent.application_properties);
    assert_eq!(body, sent.body);
    device.close().await;
    let feedback = scene.app.list_feedback(&scene.hub, 10).await.expect("store");
    let ends: Vec<_> = feedback.into_iter().map(|of| (of.message_id, of.end)).collect();
    assert_eq!(ends, [(text, model::MessageEnd::Success)]);
    service.close().await;
}

#[tokio::test]
async fn a_draft_over_amqp_is_the_draft_over_https() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "x")).await;
    scene.message_of(DEVICE, MessageDraft { body: b"x".to_vec(), ..Default::default() }).await;
    let waiting = scene.store.waiting_messages(&scene.hub, &id(DEVICE), 0, 2).await;
    let mut waiting = waiting.expect("store");
    for found in &mut waiting {
        // Those are each message's own.
        (found.number, found.version, found.properties.message_id) = (0, 0, None);
    }
    assert_eq!(waiting[0], waiting[1]);
    client.close().await;
}

impl Client {
    /// Expects that the door accepts a message, whichever.
    async fn accepted_any(&mut self, channel: u16) {
        let frame = self.frame().await;
        let proto::Performative::Disposition(told) = frame.performative else {
            panic!("expected a disposition: {:?}", frame.performative)
        };
        assert_eq!(frame.channel, channel);
        assert_eq!(told.last.unwrap_or(told.first), told.first, "one at a time");
        assert_eq!(told.state, Some(proto::State::Outcome(Outcome::Accepted)));
    }

    /// Sends a message settled.
    async fn send_settled(&mut self, channel: u16, handle: u32, message: &Message) {
        let delivery_id = self.count_delivery(channel);
        let transfer = Transfer {
            handle,
            delivery_id: Some(delivery_id),
            delivery_tag: Some(delivery_id.to_be_bytes().to_vec().into()),
            message_format: Some(0),
            settled: Some(true),
            ..Transfer::default()
        };
        let mut bytes = bytes::BytesMut::new();
        let n =
            proto::encode_transfer(channel, &transfer, &encode_message(message), 4096, &mut bytes);
        assert_eq!(n, encode_message(message).len(), "a short message");
        self.send_bytes(&bytes).await;
    }
}

#[tokio::test]
async fn a_message_for_a_device_of_another_hub_is_not_put_into_a_queue_of_this_one() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let to = |host: &str| {
        let mut sent = message(DEVICE, host);
        let path = format!("/devices/{DEVICE}/messages/devicebound");
        sent.properties.as_mut().expect("some").to = Some(format!("amqps://{host}{path}"));
        sent
    };
    let error = client.send_rejected(0, TO_US, &to("hub-2.example.test")).await;
    assert_eq!(error.condition, "com.microsoft:argument-error");
    client.send_accepted(0, TO_US, &to("HUB-1.example.test:5671")).await;
    assert_eq!(bodies(scene.waiting(DEVICE).await), ["HUB-1.example.test:5671"]);
    client.close().await;
}
