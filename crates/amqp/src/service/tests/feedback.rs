//! What services hear of their messages.

use std::time::Duration;

use app::hub::MessageDraft;
use model::{FeedbackWish, MessageProperties, Right, Rights};

use super::*;
use crate::{
    proto::{self, Outcome, SenderSettle},
    tests::{
        client::{Received, Wish},
        scene::{DEVICE, NOW, id, operator, scene, text},
    },
};

/// The handles of the links.
const NEWS: u32 = 0;
const TO_US: u32 = 1;

/// A service that reads feedback.
async fn reading(scene: &Scene) -> Client {
    let mut client = service(scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client.attach_receiver(0, NEWS, FEEDBACK).await;
    client
}

/// Messages that end at once: their sender is told that they were purged.
async fn purged(scene: &Scene, names: impl IntoIterator<Item = String>) {
    for name in names {
        let properties =
            MessageProperties { message_id: Some(name), ..MessageProperties::default() };
        let feedback = FeedbackWish::Full;
        let draft = MessageDraft { properties, feedback, ..MessageDraft::default() };
        scene.message_of(DEVICE, draft).await;
    }
    let purged = scene.app.purge_messages(&scene.hub, &id(DEVICE), &operator()).await;
    purged.expect("purged");
}

fn names(first: u32, n: u32) -> impl Iterator<Item = String> {
    (first..first + n).map(|n| format!("m-{n}"))
}

async fn left(scene: &Scene) -> usize {
    scene.app.list_feedback(&scene.hub, 1000).await.expect("store").len()
}

/// Waits until what was told before is dealt with: the store reads in the order it is asked, so
/// whoever looked for feedback has found what there was. Anything else that comes fails the test.
async fn nothing_comes(client: &mut Client) {
    client.send_accepted(0, TO_US, &message(DEVICE, "are you there?")).await;
}

async fn pass(secs: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(secs)).await;
    tokio::time::resume();
}

/// The names in a batch, which has to be as C#'s client wants it.
#[track_caller]
fn read(received: &Received) -> Vec<String> {
    assert_eq!(received.tag.len(), 16, "C#'s client makes a GUID of it");
    let Message { message_annotations, properties, body, .. } = &received.message;
    let enqueued = proto::find(message_annotations, "iothub-enqueuedtime");
    assert!(matches!(enqueued, Some(Value::Timestamp(_))), "{message_annotations:?}");
    let properties = properties.as_ref().expect("some");
    assert_eq!(properties.user_id.as_deref(), Some(HUB.as_bytes()));
    let kind = "application/vnd.microsoft.iothub.feedback.json";
    assert_eq!(properties.content_type.as_deref(), Some(kind));
    let Body::Data(sections) = body else { panic!("no data: {body:?}") };
    let document = text(&sections.concat());
    let name = "\"originalMessageId\":\"";
    document
        .match_indices(name)
        .map(|(at, _)| document[at + name.len()..].split('"').next().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_record_is_told_after_fifteen_seconds_in_the_vendors_words() {
    let scene = scene().await;
    let mut client = reading(&scene).await;
    purged(&scene, names(0, 2)).await;
    nothing_comes(&mut client).await;
    pass(14).await;
    nothing_comes(&mut client).await;
    pass(1).await;
    let received = client.receive(0, NEWS).await;
    assert_eq!(read(&received), ["m-0", "m-1"]);
    let at = Value::Timestamp(crate::content::millis(NOW));
    let annotation = (Value::Symbol("iothub-enqueuedtime".to_owned()), at);
    assert_eq!(received.message.message_annotations, [annotation]);
    let generation = scene.device(DEVICE).await.identity.generation_id;
    let Body::Data(sections) = &received.message.body else { panic!() };
    let expected = format!(
        r#"{{"originalMessageId":"m-0","enqueuedTimeUtc":"{}","statusCode":"Purged","description":"Purged","deviceId":"dev1","deviceGenerationId":"{generation}"}}"#,
        wire::time::wire(NOW),
    );
    assert!(text(&sections[0]).starts_with(&format!("[{expected},")), "{sections:?}");
    assert_eq!(left(&scene).await, 2, "not before it was taken");
    client.settle(0, received.delivery_id, Outcome::Accepted).await;
    nothing_comes(&mut client).await;
    assert_eq!(left(&scene).await, 0);
    client.close().await;
}

#[tokio::test]
async fn what_waited_long_enough_is_told_at_once() {
    let scene = scene().await;
    purged(&scene, names(0, 1)).await;
    scene.advance_secs(15);
    let mut client = service(&scene).await;
    client.attach_receiver(0, NEWS, FEEDBACK).await;
    client.receive(0, NEWS).await;
    client.close().await;
    assert_eq!(left(&scene).await, 1, "it was not settled");
}

#[tokio::test]
async fn sixty_four_records_wait_for_nothing_and_the_rest_for_its_turn() {
    let scene = scene().await;
    let mut client = reading(&scene).await;
    purged(&scene, names(0, 50)).await;
    nothing_comes(&mut client).await;
    purged(&scene, names(50, 30)).await;
    let received = client.receive(0, NEWS).await;
    assert_eq!(read(&received), names(0, 64).collect::<Vec<_>>());
    // One is under way at a time.
    pass(15).await;
    nothing_comes(&mut client).await;
    client.settle(0, received.delivery_id, Outcome::Accepted).await;
    nothing_comes(&mut client).await;
    // The records age too: whether they are looked at before or after does not matter.
    scene.advance_secs(15);
    pass(15).await;
    let received = client.receive(0, NEWS).await;
    assert_eq!(read(&received), names(64, 16).collect::<Vec<_>>());
    client.close().await;
}

#[tokio::test]
async fn what_is_given_back_is_told_again_and_what_is_refused_is_not() {
    let scene = scene().await;
    purged(&scene, names(0, 1)).await;
    scene.advance_secs(15);
    let mut client = service(&scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client.attach_receiver(0, NEWS, FEEDBACK).await;
    let modified = Outcome::Modified { delivery_failed: true, undeliverable_here: false };
    let mut tags = Vec::new();
    for outcome in [Outcome::Released, modified] {
        let received = client.receive(0, NEWS).await;
        tags.push(received.tag);
        client.settle(0, received.delivery_id, outcome).await;
    }
    let received = client.receive(0, NEWS).await;
    tags.push(received.tag);
    tags.dedup();
    assert_eq!(tags.len(), 3, "each delivery has a tag of its own");
    client.settle(0, received.delivery_id, Outcome::Rejected(None)).await;
    nothing_comes(&mut client).await;
    pass(15).await;
    nothing_comes(&mut client).await;
    assert_eq!(left(&scene).await, 0);
    client.close().await;
}

#[tokio::test]
async fn nothing_is_told_without_credit_and_a_drain_takes_what_there_is() {
    let scene = scene().await;
    let mut client = service(&scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    let wish = Wish::receiver(0, NEWS, FEEDBACK);
    client.send_attach(&wish).await;
    client.attached(&wish).await;
    purged(&scene, names(0, 1)).await;
    pass(15).await;
    nothing_comes(&mut client).await;
    client.send_flow(0, NEWS, 0, 2, true).await;
    let received = client.receive(0, NEWS).await;
    assert_eq!(read(&received), ["m-0"]);
    loop {
        let flow = client.flow().await;
        if flow.handle == Some(NEWS) && flow.drain {
            assert_eq!((flow.delivery_count, flow.link_credit), (Some(2), Some(0)));
            break;
        }
    }
    client.close().await;
}

#[tokio::test]
async fn a_service_that_tells_nothing_is_told_once() {
    let scene = scene().await;
    purged(&scene, names(0, 1)).await;
    scene.advance_secs(15);
    let mut client = service(&scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    let sender_settle = SenderSettle::Settled;
    client.attach(Wish { sender_settle, ..Wish::receiver(0, NEWS, FEEDBACK) }).await;
    assert!(client.receive(0, NEWS).await.is_settled);
    nothing_comes(&mut client).await;
    assert_eq!(left(&scene).await, 0);
    client.close().await;
}

#[tokio::test]
async fn who_may_read_no_more_is_told_nothing() {
    let scene = scene().await;
    let mut client = reading(&scene).await;
    purged(&scene, names(0, 1)).await;
    nothing_comes(&mut client).await;
    let scope = model::PolicyScope::Hub(scene.hub.clone());
    let draft = decide::manage::policies::PolicyDraft {
        name: "service".to_owned(),
        rights: Rights::of(&[Right::DeviceConnect]),
        primary: None,
        secondary: None,
    };
    let any = model::Precondition::Any;
    scene.app.put_policy(&scope, &draft, &any, &operator()).await.expect("written");
    pass(15).await;
    let (_, error) = client.detached(0).await;
    assert_eq!(error.expect("an error").condition, "amqp:unauthorized-access");
    assert_eq!(left(&scene).await, 1);
    client.close().await;
}

#[tokio::test]
async fn who_may_read_no_more_settles_nothing_either() {
    let scene = scene().await;
    purged(&scene, names(0, 1)).await;
    scene.advance_secs(15);
    let mut client = service(&scene).await;
    client.attach_receiver(0, NEWS, FEEDBACK).await;
    let received = client.receive(0, NEWS).await;
    let scope = model::PolicyScope::Hub(scene.hub.clone());
    let any = model::Precondition::Any;
    scene.app.delete_policy(&scope, "service", &any, &operator()).await.expect("deleted");
    client.settle(0, received.delivery_id, Outcome::Accepted).await;
    let (_, error) = client.detached(0).await;
    assert_eq!(error.expect("an error").condition, "amqp:unauthorized-access");
    assert_eq!(left(&scene).await, 1);
    client.close().await;
}

#[tokio::test]
async fn feedback_that_was_under_way_when_a_service_left_is_told_to_the_next() {
    let scene = scene().await;
    purged(&scene, names(0, 1)).await;
    scene.advance_secs(15);
    for _ in 0..2 {
        let mut client = service(&scene).await;
        client.attach_receiver(0, NEWS, FEEDBACK).await;
        let received = client.receive(0, NEWS).await;
        assert_eq!(read(&received), ["m-0"]);
        client.detach(0, NEWS).await;
        client.vanish().await;
    }
}
