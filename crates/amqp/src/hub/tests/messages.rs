//! Cloud-to-device messages: sent when there is credit, and in the queue until they are settled
//! (H §4.3.6).

use decide::hub::message::MessageDraft;
use model::{FeedbackWish, MessageEnd, MessageProperties};
use tokio::time::timeout;

use super::*;
use crate::{
    AmqpSettings, errors,
    proto::{
        Disposition, Flow, MessageId, Outcome, Performative, ReceiverSettle, Role, SenderSettle,
        State, Value,
    },
    tests::{
        client::{PATIENCE, Received, Wish},
        scene::{scene, scene_with, text},
    },
};

/// The handle of the device's receiver.
const HANDLE: u32 = 4;

fn wish() -> Wish {
    Wish::receiver(CHANNEL, HANDLE, &devicebound(DEVICE))
}

/// A device that listens and takes so many messages.
async fn listening(scene: &Scene, credit: u32) -> Client {
    let mut client = shown(scene).await;
    client.send_attach(&wish()).await;
    client.attached(&wish()).await;
    client.give_credit(CHANNEL, HANDLE, credit).await;
    client
}

fn text_of(received: &Received) -> String {
    match &received.message.body {
        Body::Data(sections) => text(&sections.concat()),
        other => panic!("{other:?}"),
    }
}

async fn next(client: &mut Client) -> (String, u32) {
    let received = client.receive(CHANNEL, HANDLE).await;
    (text_of(&received), received.delivery_id)
}

/// The device hears nothing before the answer to a token.
async fn hears_nothing(scene: &Scene, client: &mut Client) {
    assert_eq!(put_token(client, 0, &scene.token(DEVICE)).await.0, 200);
}

fn waiting(of: &[(&str, u32)]) -> Vec<(String, u32)> {
    of.iter().map(|(text, n)| ((*text).to_owned(), *n)).collect()
}

fn draft(body: &str) -> MessageDraft {
    MessageDraft {
        properties: MessageProperties {
            message_id: Some(body.to_owned()),
            ..MessageProperties::default()
        },
        body: body.as_bytes().to_vec(),
        feedback: FeedbackWish::Full,
        ..MessageDraft::default()
    }
}

async fn feedback(scene: &Scene) -> Vec<(String, MessageEnd)> {
    let found = scene.app.list_feedback(&scene.hub, 100).await.expect("store");
    found.into_iter().map(|feedback| (feedback.message_id, feedback.end)).collect()
}

#[tokio::test]
async fn a_message_says_what_its_sender_said() {
    let scene = scene().await;
    let some = |text: &str| Some(text.to_owned());
    let expires = scene.app.now().plus_secs(60);
    let properties = MessageProperties {
        message_id: some("m-1"),
        correlation_id: some("c-1"),
        user_id: some("ana"),
        content_type: some("application/json"),
        content_encoding: some("utf-8"),
        expiry: Some(wire::time::wire(expires)),
        ..MessageProperties::default()
    };
    scene
        .message_of(
            DEVICE,
            MessageDraft {
                properties,
                application: vec![("k".to_owned(), some("v")), ("none".to_owned(), None)],
                body: b"{}".to_vec(),
                feedback: FeedbackWish::Positive,
                expires: Some(expires),
            },
        )
        .await;
    let mut client = listening(&scene, 1).await;
    let Received { tag, is_settled, message, .. } = client.receive(CHANNEL, HANDLE).await;
    assert_eq!((tag.len(), is_settled), (16, false));
    let properties = *message.properties.expect("there");
    assert_eq!(properties.message_id, Some(MessageId::String("m-1".to_owned())));
    assert_eq!(properties.correlation_id, Some(MessageId::String("c-1".to_owned())));
    assert_eq!(properties.user_id.as_deref(), Some(&b"ana"[..]));
    assert_eq!(properties.to.as_deref(), Some("/devices/dev1/messages/devicebound"));
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(properties.absolute_expiry_ms, Some(expires.unix_secs() * 1000));
    let string = |text: &str| Value::String(text.to_owned());
    let own = [("iothub-ack", string("positive")), ("k", string("v")), ("none", Value::Null)];
    assert_eq!(message.application_properties, own.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(message.body, Body::Data(vec!["{}".into()]));
}

#[tokio::test]
async fn no_more_messages_come_than_there_is_credit_for() {
    let scene = scene().await;
    for n in ["a", "b", "c", "d"] {
        scene.message(DEVICE, n).await;
    }
    let mut client = listening(&scene, 0).await;
    hears_nothing(&scene, &mut client).await;
    assert_eq!(scene.waiting(DEVICE).await, waiting(&[("a", 0), ("b", 0), ("c", 0), ("d", 0)]));
    client.send_flow(CHANNEL, HANDLE, 0, 2, false).await;
    assert_eq!(next(&mut client).await.0, "a");
    assert_eq!(next(&mut client).await.0, "b");
    hears_nothing(&scene, &mut client).await;
    // What nobody has credit for was not even looked at.
    assert_eq!(scene.waiting(DEVICE).await, waiting(&[("a", 1), ("b", 1), ("c", 0), ("d", 0)]));
    client.send_flow(CHANNEL, HANDLE, 2, 10, false).await;
    assert_eq!(next(&mut client).await.0, "c");
    assert_eq!(next(&mut client).await.0, "d");
    // One that comes later is sent at once.
    scene.message(DEVICE, "e").await;
    assert_eq!(next(&mut client).await.0, "e");
}

#[tokio::test]
async fn no_more_messages_come_unsettled_than_there_may_be() {
    let settings = AmqpSettings { max_in_flight_messages: 2, ..AmqpSettings::default() };
    let scene = scene_with(settings).await;
    for n in ["a", "b", "c"] {
        scene.message(DEVICE, n).await;
    }
    let mut client = listening(&scene, 100).await;
    let (_, first) = next(&mut client).await;
    next(&mut client).await;
    hears_nothing(&scene, &mut client).await;
    client.settle(CHANNEL, first, Outcome::Accepted).await;
    assert_eq!(next(&mut client).await.0, "c");
}

#[tokio::test]
async fn each_outcome_means_what_it_says() {
    let scene = scene().await;
    for name in ["accepted", "rejected"] {
        scene.message_of(DEVICE, draft(name)).await;
    }
    let mut client = listening(&scene, 100).await;
    let (_, accepted) = next(&mut client).await;
    let (_, refused) = next(&mut client).await;
    client.settle(CHANNEL, accepted, Outcome::Accepted).await;
    client.settle(CHANNEL, refused, Outcome::Rejected(None)).await;
    // Given back, it comes again, and its count goes up.
    scene.message_of(DEVICE, draft("back")).await;
    let modified = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    for (n, outcome) in [(1, Outcome::Released), (2, modified), (3, Outcome::Accepted)] {
        let received = client.receive(CHANNEL, HANDLE).await;
        assert_eq!(text_of(&received), "back");
        assert_eq!(scene.waiting(DEVICE).await, waiting(&[("back", n)]));
        let header = received.message.header.expect("a header");
        assert_eq!(header.delivery_count, n - 1);
        client.settle(CHANNEL, received.delivery_id, outcome).await;
    }
    client.detach(CHANNEL, HANDLE).await;
    all_left(&scene, &mut client).await;
    assert_eq!(scene.waiting(DEVICE).await, []);
    let mut ends = feedback(&scene).await;
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("accepted", MessageEnd::Success),
        ("back", MessageEnd::Success),
        ("rejected", MessageEnd::Rejected),
    ];
    assert_eq!(ends, expected.map(|(name, end)| (name.to_owned(), end)));
}

#[tokio::test]
async fn a_message_given_back_for_ever_is_given_up() {
    let scene = scene().await;
    scene.message_of(DEVICE, draft("a")).await;
    scene.message_of(DEVICE, draft("b")).await;
    let mut client = listening(&scene, 100).await;
    let (_, mut a) = next(&mut client).await;
    let (_, b) = next(&mut client).await;
    for _ in 2..=10 {
        client.settle(CHANNEL, a, Outcome::Released).await;
        let (text, again) = next(&mut client).await;
        assert_eq!(text, "a", "what is unsettled does not come again");
        a = again;
    }
    client.settle(CHANNEL, a, Outcome::Released).await;
    client.settle(CHANNEL, b, Outcome::Accepted).await;
    // It is given up when its turn comes, and that is at once.
    let mut news = scene.app.feedback_news(&scene.hub);
    let mut ends = feedback(&scene).await;
    while ends.len() < 2 {
        let told = timeout(PATIENCE, news.changed()).await.expect("feedback in time");
        told.expect("the app is there");
        ends = feedback(&scene).await;
    }
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("a", MessageEnd::DeliveryCountExceeded), ("b", MessageEnd::Success)];
    assert_eq!(ends, expected.map(|(name, end)| (name.to_owned(), end)));
}

#[tokio::test]
async fn a_message_that_cannot_be_delivered_here_waits_for_another_link() {
    let scene = scene().await;
    scene.message(DEVICE, "a").await;
    let mut client = listening(&scene, 100).await;
    let (_, a) = next(&mut client).await;
    let elsewhere = Outcome::Modified { delivery_failed: false, undeliverable_here: true };
    client.settle(CHANNEL, a, elsewhere).await;
    hears_nothing(&scene, &mut client).await;
    let other = Wish::receiver(CHANNEL, HANDLE + 1, &devicebound(DEVICE));
    client.send_attach(&other).await;
    // The newer link takes the place of the one before (H §4.5.1).
    let error = client.detached(CHANNEL).await.1.expect("an error");
    assert_eq!(error.condition, errors::STOLEN);
    client.send_detach(CHANNEL, HANDLE).await;
    client.attached(&other).await;
    client.give_credit(CHANNEL, HANDLE + 1, 1).await;
    assert_eq!(text_of(&client.receive(CHANNEL, HANDLE + 1).await), "a");
}

#[tokio::test]
async fn what_was_not_settled_comes_again_on_the_next_link_and_session() {
    let scene = scene().await;
    for name in ["a", "b"] {
        scene.message(DEVICE, name).await;
    }
    let mut client = listening(&scene, 100).await;
    let (_, a) = next(&mut client).await;
    next(&mut client).await;
    client.settle(CHANNEL, a, Outcome::Accepted).await;
    client.detach(CHANNEL, HANDLE).await;
    all_left(&scene, &mut client).await;
    assert_eq!(scene.waiting(DEVICE).await, waiting(&[("b", 1)]));
    client.attach(wish()).await;
    assert_eq!(next(&mut client).await.0, "b");
    client.vanish().await;
    let mut client = listening(&scene, 100).await;
    assert_eq!(next(&mut client).await.0, "b");
    assert_eq!(scene.waiting(DEVICE).await, waiting(&[("b", 3)]));
}

#[tokio::test]
async fn a_receiver_that_settles_second_hears_that_its_outcome_is_known() {
    let scene = scene().await;
    scene.message(DEVICE, "a").await;
    let mut client = shown(&scene).await;
    let second = Wish { receiver_settle: ReceiverSettle::Second, ..wish() };
    client.attach(second).await;
    let (_, a) = next(&mut client).await;
    client.dispose(CHANNEL, a, Outcome::Accepted, false).await;
    match client.frame().await.performative {
        Performative::Disposition(Disposition { role, first, settled, state, .. }) => {
            assert_eq!((role, first, settled), (Role::Sender, a, true));
            assert!(matches!(state, None | Some(State::Outcome(Outcome::Accepted))), "{state:?}");
        }
        other => panic!("expected a disposition: {other:?}"),
    }
    client.detach(CHANNEL, HANDLE).await;
    all_left(&scene, &mut client).await;
    assert_eq!(scene.waiting(DEVICE).await, []);
}

#[tokio::test]
async fn who_wants_to_settle_nothing_gets_each_message_once() {
    let scene = scene().await;
    scene.message_of(DEVICE, draft("a")).await;
    let mut client = shown(&scene).await;
    client.attach(Wish { sender_settle: SenderSettle::Settled, ..wish() }).await;
    let received = client.receive(CHANNEL, HANDLE).await;
    assert!(received.is_settled);
    client.detach(CHANNEL, HANDLE).await;
    all_left(&scene, &mut client).await;
    assert_eq!(feedback(&scene).await, [("a".to_owned(), MessageEnd::Success)]);
}

#[tokio::test]
async fn who_drains_gets_what_there_is_and_hears_that_it_is_all() {
    let scene = scene().await;
    for name in ["a", "b"] {
        scene.message(DEVICE, name).await;
    }
    let mut client = listening(&scene, 0).await;
    client.send_flow(CHANNEL, HANDLE, 0, 5, true).await;
    assert_eq!(next(&mut client).await.0, "a");
    assert_eq!(next(&mut client).await.0, "b");
    let Flow { delivery_count, link_credit, .. } = client.flow().await;
    assert_eq!((delivery_count, link_credit), (Some(5), Some(0)));
    // The credit is gone.
    scene.message(DEVICE, "c").await;
    hears_nothing(&scene, &mut client).await;
    client.send_flow(CHANNEL, HANDLE, 5, 1, false).await;
    assert_eq!(next(&mut client).await.0, "c");
}

#[tokio::test]
async fn a_device_is_gone_when_the_link_that_its_queue_failed_on_was_its_last() {
    let scene = scene().await;
    let mut client = listening(&scene, 0).await;
    hears_nothing(&scene, &mut client).await;
    scene.break_store();
    client.give_credit(CHANNEL, HANDLE, 1).await;
    let (_, error) = client.detached(CHANNEL).await;
    assert_eq!(error.expect("an error").condition, errors::INTERNAL);
    client.send_detach(CHANNEL, HANDLE).await;
    for _ in 0..100 {
        if scene.app.n_sessions() == 0 {
            return;
        }
        assert_eq!(put_token(&mut client, 0, &scene.token(DEVICE)).await.0, 500);
    }
    panic!("the session goes on without a link");
}
