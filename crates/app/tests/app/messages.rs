//! Cloud-to-device messages: into the queue, to the device, and what their sender hears.

use decide::hub::message::{MessageDraft, MessageLimits};
use induct_app::{
    No,
    device::{DeviceSession, HubLimits, SessionNo},
    live::{Command, End},
    ports::Clock,
};
use model::{
    Change, CloudMessage, FeedbackWish, HubRefusal, MessageEnd, MessageProperties, Qos,
    Subscriptions,
};

use crate::{
    gated::At,
    instance::by,
    stage::{Stage, at_once, id},
};

const DEVICE: &str = "press-17";

const MESSAGES: Subscriptions = Subscriptions {
    messages: Some(Qos::AtLeastOnce),
    twin_responses: None,
    desired: None,
    methods: None,
};

fn is_enqueued(change: &Change) -> bool {
    matches!(change, Change::EnqueueMessage(..))
}

fn is_delivery(change: &Change) -> bool {
    matches!(change, Change::PutMessage(..))
}

fn is_end(change: &Change) -> bool {
    matches!(change, Change::DeleteMessage(..))
}

/// A message of this name, whose sender wants to hear everything.
fn draft(name: &str) -> MessageDraft {
    let message_id = Some(name.to_owned());
    MessageDraft {
        properties: MessageProperties { message_id, ..MessageProperties::default() },
        body: name.as_bytes().to_vec(),
        feedback: FeedbackWish::Full,
        ..MessageDraft::default()
    }
}

async fn send(stage: &Stage, name: &str) {
    stage.app.send_message(&stage.hub, &id(DEVICE), draft(name)).await.unwrap();
}

fn name(message: &CloudMessage) -> String {
    String::from_utf8(message.body.clone()).unwrap()
}

/// Takes everything that waits, from the first on, without acknowledging it.
async fn take_all(session: &DeviceSession) -> Vec<CloudMessage> {
    let mut found = Vec::new();
    let mut after = 0;
    while let Some(message) = session.next_message(after).await.unwrap() {
        after = message.number;
        found.push(message);
    }
    found
}

fn names(messages: &[CloudMessage]) -> Vec<String> {
    messages.iter().map(name).collect()
}

async fn feedback(stage: &Stage) -> Vec<(String, MessageEnd)> {
    let found = stage.app.list_feedback(&stage.hub, 100).await.unwrap();
    found.into_iter().map(|feedback| (feedback.message_id, feedback.end)).collect()
}

async fn n_waiting(stage: &Stage) -> u32 {
    stage.identity(DEVICE).await.cloud_to_device_messages
}

#[tokio::test]
async fn messages_come_in_order_and_end_when_acknowledged() {
    let stage = Stage::with_device(DEVICE).await;
    for n in ["a", "b", "c"] {
        send(&stage, n).await;
    }
    assert_eq!(n_waiting(&stage).await, 3);
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let found = take_all(&session).await;
    assert_eq!(names(&found), ["a", "b", "c"]);
    assert!(found.iter().all(|message| message.delivery_count == 1));
    session.complete(found[1].number).await.unwrap();
    session.reject(found[0].number).await.unwrap();
    // What is gone is gone.
    session.complete(found[0].number).await.unwrap();
    session.complete(found[1].number).await.unwrap();
    session.complete(u64::MAX).await.unwrap();
    session.complete(0).await.unwrap();
    assert_eq!(n_waiting(&stage).await, 1);
    let expected = [("b".to_owned(), MessageEnd::Success), ("a".to_owned(), MessageEnd::Rejected)];
    assert_eq!(feedback(&stage).await, expected);
    drop(session);
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let found = take_all(&session).await;
    assert_eq!((names(&found), found[0].delivery_count), (vec!["c".to_owned()], 2));
}

#[tokio::test]
async fn a_message_that_is_never_acknowledged_is_given_up() {
    let stage = Stage::with_device(DEVICE).await;
    send(&stage, "a").await;
    for n in 1..=MessageLimits::default().max_deliveries {
        let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        assert_eq!(take_all(&session).await[0].delivery_count, n);
    }
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(take_all(&session).await, []);
    assert_eq!(n_waiting(&stage).await, 0);
    let expected = [("a".to_owned(), MessageEnd::DeliveryCountExceeded)];
    assert_eq!(feedback(&stage).await, expected);
}

#[tokio::test]
async fn a_message_given_back_is_sent_again_and_counts() {
    let stage = Stage::with_device(DEVICE).await;
    for n in ["a", "b"] {
        send(&stage, n).await;
    }
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let first = take_all(&session).await.remove(0);
    for n in 2..=MessageLimits::default().max_deliveries {
        let again = session.message_again(first.number).await.unwrap().unwrap();
        assert_eq!((name(&again), again.delivery_count), ("a".to_owned(), n));
    }
    assert_eq!(n_waiting(&stage).await, 2);
    // As often as it may be: it is over, and its sender hears so.
    assert_eq!(session.message_again(first.number).await.unwrap(), None);
    let exceeded = [("a".to_owned(), MessageEnd::DeliveryCountExceeded)];
    assert_eq!(feedback(&stage).await, exceeded);
    // What is gone is gone, and no other message comes in its place.
    for number in [first.number, 0, u64::MAX] {
        assert_eq!(session.message_again(number).await.unwrap(), None);
    }
    assert_eq!(n_waiting(&stage).await, 1);
    stage.clock.advance(3_601);
    let last = first.number + 1;
    assert_eq!(session.message_again(last).await.unwrap(), None);
    assert_eq!(feedback(&stage).await[1], ("b".to_owned(), MessageEnd::Expired));
}

#[tokio::test]
async fn a_full_queue_takes_no_more_however_many_send_at_once() {
    let messages = MessageLimits { max_queue: 5, ..MessageLimits::default() };
    let stage = Stage::with(HubLimits { messages, ..HubLimits::default() }).await;
    stage.create(DEVICE, 1).await;
    let sending: Vec<_> = (0..12)
        .map(|n| {
            let stage = stage.clone();
            tokio::spawn(async move {
                let draft = draft(&n.to_string());
                stage.app.send_message(&stage.hub, &id(DEVICE), draft).await
            })
        })
        .collect();
    let mut n_taken = 0;
    for one in sending {
        match one.await.unwrap() {
            Ok(_) => n_taken += 1,
            Err(No::Refused(HubRefusal::QueueFull { limit, .. })) => assert_eq!(limit, 5),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((n_taken, n_waiting(&stage).await), (5, 5));
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let found = take_all(&session).await;
    session.complete(found[0].number).await.unwrap();
    send(&stage, "one more").await;
}

#[tokio::test]
async fn what_is_over_ends_whether_its_device_comes_or_not() {
    let stage = Stage::with_device(DEVICE).await;
    let expires = |secs| Some(stage.clock.now().plus_secs(secs));
    for (name, secs) in [("a", 10), ("b", 30), ("c", 60)] {
        let draft = MessageDraft { expires: expires(secs), ..draft(name) };
        stage.app.send_message(&stage.hub, &id(DEVICE), draft).await.unwrap();
    }
    assert_eq!(stage.app.end_expired_messages().await.unwrap(), 0);
    stage.clock.advance(20);
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(names(&take_all(&session).await), ["b", "c"]);
    stage.clock.advance(20);
    assert_eq!(stage.app.end_expired_messages().await.unwrap(), 1);
    // Too late: its sender heard that it is over.
    assert_eq!(names(&take_all(&session).await), ["c"]);
    let expired = |name: &str| (name.to_owned(), MessageEnd::Expired);
    assert_eq!(feedback(&stage).await, [expired("a"), expired("b")]);
    assert_eq!(n_waiting(&stage).await, 1);
}

#[tokio::test]
async fn the_chore_ends_any_number_of_messages() {
    let messages = MessageLimits { max_queue: 130, ..MessageLimits::default() };
    let stage = Stage::with(HubLimits { messages, ..HubLimits::default() }).await;
    stage.create(DEVICE, 1).await;
    for n in 0..120 {
        send(&stage, &n.to_string()).await;
    }
    stage.clock.advance(3_601);
    assert_eq!(stage.app.end_expired_messages().await.unwrap(), 120);
    assert_eq!(n_waiting(&stage).await, 0);
}

#[tokio::test]
async fn a_purge_empties_a_queue_of_any_length() {
    let messages = MessageLimits { max_queue: 130, ..MessageLimits::default() };
    let stage = Stage::with(HubLimits { messages, ..HubLimits::default() }).await;
    stage.create(DEVICE, 1).await;
    for (n, expected) in [(0, 0), (1, 1), (50, 50), (120, 120)] {
        for n in 0..n {
            send(&stage, &n.to_string()).await;
        }
        let purged = stage.app.purge_messages(&stage.hub, &id(DEVICE), &by()).await.unwrap();
        assert_eq!((purged, n_waiting(&stage).await), (expected, 0));
    }
    let ends = feedback(&stage).await;
    assert!(ends.iter().all(|(_, end)| *end == MessageEnd::Purged));
}

#[tokio::test]
async fn a_purge_while_a_message_is_being_delivered_leaves_one_end_of_it() {
    let stage = Stage::with_device(DEVICE).await;
    send(&stage, "a").await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    // The purge comes first: the device gets nothing.
    let mut held = stage.store.hold(At::Asked, is_delivery);
    let delivering = tokio::spawn(async move {
        let found = session.next_message(0).await;
        (session, found)
    });
    held.reached().await;
    assert_eq!(stage.app.purge_messages(&stage.hub, &id(DEVICE), &by()).await.unwrap(), 1);
    held.release();
    let (session, found) = delivering.await.unwrap();
    assert_eq!(found.unwrap(), None);
    // The delivery comes first: the purge takes it back, and the acknowledgement is too late.
    send(&stage, "b").await;
    let mut held = stage.store.hold(At::Asked, is_end);
    let purging = stage.clone();
    let purging =
        tokio::spawn(
            async move { purging.app.purge_messages(&purging.hub, &id(DEVICE), &by()).await },
        );
    held.reached().await;
    let found = session.next_message(0).await.unwrap().unwrap();
    held.release();
    assert_eq!(purging.await.unwrap().unwrap(), 1);
    session.complete(found.number).await.unwrap();
    let purged = |name: &str| (name.to_owned(), MessageEnd::Purged);
    assert_eq!(feedback(&stage).await, [purged("a"), purged("b")]);
    assert_eq!(n_waiting(&stage).await, 0);
}

#[tokio::test]
async fn an_acknowledgement_after_the_cut_off_has_no_effect() {
    let stage = Stage::with_device(DEVICE).await;
    send(&stage, "a").await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let message = session.next_message(0).await.unwrap().unwrap();
    let mut held = stage.store.hold(At::Asked, is_end);
    let completing = tokio::spawn(async move { session.complete(message.number).await });
    held.reached().await;
    stage.disable(DEVICE).await;
    held.release();
    let completed = completing.await.unwrap();
    assert!(matches!(completed, Err(SessionNo::Over(End::CutOff(_)))), "{completed:?}");
    assert_eq!((n_waiting(&stage).await, feedback(&stage).await), (1, vec![]));
    // It waits for the day the device is enabled again.
    stage.set_enabled(DEVICE, 1, true).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(take_all(&session).await[0].delivery_count, 2);
}

#[tokio::test]
async fn a_message_is_delivered_and_ended_while_its_identity_is_rewritten() {
    let stage = Stage::with_device(DEVICE).await;
    send(&stage, "a").await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut held = stage.store.hold(At::Asked, is_delivery);
    let taking = tokio::spawn(async move {
        let message = session.next_message(0).await.unwrap().unwrap();
        (session, message)
    });
    held.reached().await;
    stage.set_enabled(DEVICE, 1, true).await;
    held.release();
    let (session, message) = taking.await.unwrap();
    let mut held = stage.store.hold(At::Asked, is_end);
    let completing = tokio::spawn(async move { session.complete(message.number).await });
    held.reached().await;
    stage.set_enabled(DEVICE, 1, true).await;
    held.release();
    completing.await.unwrap().unwrap();
    assert_eq!(feedback(&stage).await, [("a".to_owned(), MessageEnd::Success)]);
}

#[tokio::test]
async fn messages_of_a_deleted_device_go_with_it() {
    let stage = Stage::with_device(DEVICE).await;
    send(&stage, "a").await;
    stage.delete(DEVICE).await;
    let sent = stage.app.send_message(&stage.hub, &id(DEVICE), draft("b")).await;
    assert!(matches!(sent, Err(No::Refused(HubRefusal::DeviceNotFound(_)))), "{sent:?}");
    stage.create(DEVICE, 1).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(take_all(&session).await, []);
    assert_eq!(n_waiting(&stage).await, 0);
}

#[tokio::test]
async fn a_connected_device_is_told_once_however_many_come() {
    let messages = MessageLimits { max_queue: 200, ..MessageLimits::default() };
    let stage = Stage::with(HubLimits { messages, ..HubLimits::default() }).await;
    stage.create(DEVICE, 1).await;
    let (session, mut commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.subscribe(MESSAGES, true).await.unwrap();
    assert!(matches!(at_once(commands.next()).await, Some(Command::Messages)));
    for n in 0..100 {
        send(&stage, &n.to_string()).await;
    }
    assert_eq!(at_once(session.ended()).await, None);
    assert!(matches!(at_once(commands.next()).await, Some(Command::Messages)));
    assert!(at_once(commands.next()).await.is_none());
    send(&stage, "one more").await;
    assert!(matches!(at_once(commands.next()).await, Some(Command::Messages)));
    assert_eq!(take_all(&session).await.len(), 101);
}

#[tokio::test]
async fn a_message_whose_sender_left_is_told_all_the_same() {
    for at in [At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (session, mut commands) = stage.connect(DEVICE, 1).await.unwrap();
        let mut held = stage.store.hold(at, is_enqueued);
        let sending = stage.clone();
        let sending = tokio::spawn(async move { send(&sending, "a").await });
        held.reached().await;
        sending.abort();
        assert!(sending.await.is_err());
        held.release();
        at_once(stage.app.departure()).await.unwrap();
        stage.app.see_off().await;
        assert!(matches!(at_once(commands.next()).await, Some(Command::Messages)), "{at:?}");
        assert_eq!(names(&take_all(&session).await), ["a"]);
    }
}

#[tokio::test]
async fn feedback_is_kept_until_somebody_has_read_it() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    for n in ["a", "b", "c"] {
        send(&stage, n).await;
        let message = session.next_message(0).await.unwrap().unwrap();
        session.complete(message.number).await.unwrap();
    }
    let found = stage.app.list_feedback(&stage.hub, 2).await.unwrap();
    assert_eq!(found.len(), 2);
    let generation = stage.identity(DEVICE).await.generation_id;
    assert!(found.iter().all(|feedback| feedback.generation_id == generation));
    stage.app.forget_feedback(&stage.hub, found[1].number).await.unwrap();
    assert_eq!(feedback(&stage).await, [("c".to_owned(), MessageEnd::Success)]);
}

#[tokio::test]
async fn whoever_waits_for_feedback_hears_of_every_way_a_message_ends() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut news = stage.app.feedback_news(&stage.hub);
    // Taken, refused, purged, and over while nobody looks and while its device does.
    for end in ["taken", "refused", "purged", "found over", "looked for and over"] {
        send(&stage, end).await;
        assert!(at_once(news.changed()).await.is_none(), "nothing ended");
        match end {
            "taken" | "refused" => {
                let number = session.next_message(0).await.unwrap().unwrap().number;
                match end {
                    "taken" => session.complete(number).await.unwrap(),
                    _ => session.reject(number).await.unwrap(),
                }
            }
            "purged" => {
                let purged = stage.app.purge_messages(&stage.hub, &id(DEVICE), &by()).await;
                assert_eq!(purged.unwrap(), 1);
            }
            _ => {
                stage.clock.advance(3_601);
                match end {
                    "found over" => drop(stage.app.end_expired_messages().await.unwrap()),
                    _ => assert_eq!(session.next_message(0).await.unwrap(), None),
                }
            }
        }
        at_once(news.changed()).await.expect(end).unwrap();
    }
    assert_eq!(feedback(&stage).await.len(), 5);
    // An end that its sender did not want to hear of wakes nobody.
    let silent = MessageDraft { feedback: FeedbackWish::Negative, ..draft("silent") };
    stage.app.send_message(&stage.hub, &id(DEVICE), silent).await.unwrap();
    let number = session.next_message(0).await.unwrap().unwrap().number;
    session.complete(number).await.unwrap();
    assert!(at_once(news.changed()).await.is_none());
}

#[tokio::test]
async fn feedback_whose_device_broke_off_is_told_all_the_same() {
    for at in [At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        send(&stage, "a").await;
        let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        let number = session.next_message(0).await.unwrap().unwrap().number;
        let mut news = stage.app.feedback_news(&stage.hub);
        let mut held = stage.store.hold(at, is_end);
        let completing = tokio::spawn(async move { session.complete(number).await });
        held.reached().await;
        completing.abort();
        assert!(completing.await.is_err());
        held.release();
        at_once(stage.app.departure()).await.unwrap();
        stage.app.see_off().await;
        at_once(news.changed()).await.expect("told").unwrap();
        assert_eq!(feedback(&stage).await, [("a".to_owned(), MessageEnd::Success)], "{at:?}");
    }
}
