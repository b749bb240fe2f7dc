//! Events: accepted once they are written, in the order they were sent (H §4.3.6).

use std::sync::Arc;

use app::device::{Connecting, Earlier, SessionNo};
use bytes::Bytes;
use model::{Event, Evidence, MessageProperties};
use store::StoreFault;

use super::{
    super::{Context, Outbox, telemetry::Telemetry},
    *,
};
use crate::{
    AmqpSettings,
    driver::Shared,
    endpoint::{Ask, DeliveryId, Incoming, LinkId},
    errors,
    proto::{
        Close, Detach, End, MessageId, Outcome, Performative, Properties, Value, WireError,
        encode_message,
    },
    sasl::Login,
    stream::{Place, Terms},
    tests::scene::{id, peer, scene, scene_with, text},
};

/// `message-format` of a batch.
const BATCH: u32 = 0x8001_3700;

fn batch(bodies: &[&str]) -> Bytes {
    let sections = bodies.iter().map(|text| encode_message(&body(text))).collect();
    encode_message(&Message { body: Body::Data(sections), ..Message::default() })
}

#[tokio::test]
async fn an_event_keeps_what_its_message_says() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let some = |text: &str| Some(text.to_owned());
    let message = Message {
        properties: Some(Box::new(Properties {
            message_id: Some(MessageId::String("m".to_owned())),
            correlation_id: Some(MessageId::Ulong(7)),
            user_id: Some(Bytes::from_static(b"u")),
            to: some("/devices/dev1/messages/events"),
            content_type: some("application/json"),
            content_encoding: some("utf-8"),
            absolute_expiry_ms: Some(1_767_225_600_000),
            ..Properties::default()
        })),
        application_properties: vec![
            ("alert".to_owned(), Value::String("high".to_owned())),
            ("n".to_owned(), Value::Int(3)),
            ("none".to_owned(), Value::Null),
        ],
        body: Body::Data(vec![Bytes::from_static(b"{\"t\":1}")]),
        ..Message::default()
    };
    client.send_accepted(CHANNEL, 0, &message).await;
    let [Event { device_id, properties, application, body, .. }] =
        <[Event; 1]>::try_from(scene.events().await).expect("one event");
    assert_eq!((device_id.as_str(), text(&body)), (DEVICE, "{\"t\":1}".to_owned()));
    let expected = MessageProperties {
        message_id: some("m"),
        correlation_id: some("7"),
        user_id: some("u"),
        to: some("/devices/dev1/messages/events"),
        content_type: some("application/json"),
        content_encoding: some("utf-8"),
        expiry: some("2026-01-01T00:00:00Z"),
        ..MessageProperties::default()
    };
    assert_eq!(properties, expected);
    let own = [("alert", some("high")), ("n", some("3")), ("none", None)];
    assert_eq!(application, own.map(|(name, value)| (name.to_owned(), value)));
}

#[tokio::test]
async fn events_are_written_in_the_order_they_were_sent_and_accepted_so() {
    for max_in_flight_events in [1, 3, 16] {
        let settings = AmqpSettings { max_in_flight_events, ..AmqpSettings::default() };
        let scene = scene_with(settings).await;
        let mut client = sending(&scene).await;
        let mut sent = Vec::new();
        let mut expected = Vec::new();
        for n in 0..60 {
            if n % 5 == 0 {
                let bodies = [format!("{n}a"), format!("{n}b"), format!("{n}c")];
                let texts: Vec<&str> = bodies.iter().map(String::as_str).collect();
                sent.push(client.send_encoded(CHANNEL, 0, BATCH, &batch(&texts)).await);
                expected.extend(bodies);
            } else {
                sent.push(client.send(CHANNEL, 0, &body(&n.to_string())).await);
                expected.push(n.to_string());
            }
        }
        for sent in sent {
            assert_eq!(client.outcome(CHANNEL, sent).await, Outcome::Accepted);
        }
        assert_eq!(scene.bodies().await, expected, "{max_in_flight_events}");
    }
}

#[tokio::test]
async fn credit_is_given_anew_for_ever() {
    let scene = scene_with(AmqpSettings { credit: 4, ..AmqpSettings::default() }).await;
    let mut client = sending(&scene).await;
    for n in 0..50 {
        client.send_accepted(CHANNEL, 0, &body(&n.to_string())).await;
    }
    assert_eq!(scene.events().await.len(), 50);
}

#[tokio::test]
async fn what_was_sent_is_written_when_the_device_leaves_at_once() {
    let expected: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    let detach = Performative::Detach(Detach { handle: 0, closed: true, error: None });
    let goodbyes = [
        (CHANNEL, detach),
        (CHANNEL, Performative::End(End::default())),
        (0, Performative::Close(Close::default())),
    ];
    for (channel, goodbye) in goodbyes {
        let scene = scene().await;
        let mut client = sending(&scene).await;
        for n in &expected {
            client.send(CHANNEL, 0, &body(n)).await;
        }
        client.put(channel, goodbye.clone()).await;
        // The door says the same, among its outcomes or after them.
        let kind = std::mem::discriminant(&goodbye);
        while std::mem::discriminant(&client.frame().await.performative) != kind {}
        client.vanish().await;
        assert_eq!(scene.bodies().await, expected, "{goodbye:?}");
        assert_eq!(scene.app.n_sessions(), 0);
    }
}

#[tokio::test]
async fn a_batch_is_accepted_whole_or_not_at_all() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let sent = client.send_encoded(CHANNEL, 0, BATCH, &batch(&["a", "b", "c"])).await;
    assert_eq!(client.outcome(CHANNEL, sent).await, Outcome::Accepted);
    let broken = Message {
        body: Body::Data(vec![encode_message(&body("d")), Bytes::from_static(b"no message")]),
        ..Message::default()
    };
    let sent = client.send_encoded(CHANNEL, 0, BATCH, &encode_message(&broken)).await;
    assert_eq!(rejected(client.outcome(CHANNEL, sent).await).condition, errors::DECODE);
    let sent = client
        .send_encoded(
            CHANNEL,
            0,
            BATCH,
            &encode_message(&Message { body: Body::Value(Value::Null), ..Message::default() }),
        )
        .await;
    assert_eq!(rejected(client.outcome(CHANNEL, sent).await).condition, errors::DECODE);
    assert_eq!(scene.bodies().await, ["a", "b", "c"]);
}

#[tokio::test]
async fn of_a_batch_with_an_event_that_is_too_large_nothing_is_written() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let large = "x".repeat(256 * 1024 + 1);
    let sent = client.send_encoded(CHANNEL, 0, BATCH, &batch(&["a", &large, "c"])).await;
    assert_eq!(rejected(client.outcome(CHANNEL, sent).await).condition, errors::TOO_LARGE);
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    assert_eq!(scene.bodies().await, ["on"]);
}

fn rejected(outcome: Outcome) -> WireError {
    match outcome {
        Outcome::Rejected(Some(error)) => error,
        other => panic!("expected it to be rejected: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_event_is_rejected_and_the_link_goes_on() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let sent = client.send_encoded(CHANNEL, 0, 0, b"no message").await;
    assert_eq!(rejected(client.outcome(CHANNEL, sent).await).condition, errors::DECODE);
    let map = Message { body: Body::Value(Value::Map(Vec::new())), ..Message::default() };
    let error = client.send_rejected(CHANNEL, 0, &map).await;
    assert_eq!(error.condition, errors::ARGUMENT);
    let list = Message {
        application_properties: vec![("k".to_owned(), Value::List(Vec::new()))],
        ..Message::default()
    };
    let sent = client.send(CHANNEL, 0, &list).await;
    rejected(client.outcome(CHANNEL, sent).await);
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    assert_eq!(scene.bodies().await, ["on"]);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_rejected_for_that() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    client.send_accepted(CHANNEL, 0, &body(&"x".repeat(256 * 1024 - 16))).await;
    let error = client.send_rejected(CHANNEL, 0, &body(&"x".repeat(256 * 1024 + 16))).await;
    assert_eq!(error.condition, errors::TOO_LARGE);
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    let sizes: Vec<_> = scene.events().await.iter().map(|event| event.body.len()).collect();
    assert_eq!(sizes, [256 * 1024 - 16, 2]);
}

#[tokio::test]
async fn a_fault_of_ours_rejects_its_event_and_no_other() {
    let scene = scene().await;
    let settings = Arc::new(AmqpSettings::default());
    let terms = Arc::new(Terms::new(&settings));
    let (app, tracking_id) = (scene.app.clone(), "t-1".to_owned());
    let shared = Shared::new(app, settings, terms, peer(), Login::Bare, tracking_id);
    let connecting = Connecting {
        hub: scene.hub.clone(),
        device_id: id(DEVICE),
        evidence: Evidence::Sas(wire::sas::parse(&scene.token(DEVICE)).expect("a token")),
        address: shared.peer.address.ip(),
        earlier: Earlier::LeftAlone,
    };
    let (session, _commands) = scene.app.connect_device(connecting).await.expect("let in");
    let context = Context { shared: &shared, session: &session };
    let (mut telemetry, mut outbox) = (Telemetry::default(), Outbox::new());
    let batched = batch(&["a", "b"]);
    for (n, format, payload) in [(1, BATCH, batched), (2, 0, encode_message(&body("c")))] {
        let (delivery, place) = (DeliveryId(n), Place::default());
        let incoming = Incoming { delivery, format, payload, is_settled: false, place };
        telemetry.receive(context, LinkId(1), incoming, &mut outbox);
    }
    let fault = || Err(SessionNo::Fault(StoreFault::new("cannot write", "the disk is full")));
    for sent in [fault(), Ok(()), Ok(())] {
        telemetry.take(context, sent, &mut outbox).expect("the session goes on");
    }
    let outcomes = outbox.into_iter().map(|ask| match ask {
        Ask::Settle { delivery, outcome, .. } => (delivery.0, outcome),
        other => panic!("{other:?}"),
    });
    let error = errors::internal("t-1");
    let expected = [(1, Outcome::Rejected(Some(error))), (2, Outcome::Accepted)];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    assert!(!telemetry.is_busy());
}
