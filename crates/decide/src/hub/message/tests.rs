use model::DeviceStatus;
use proptest::prelude::*;

use super::*;
use crate::hub::scene::{CREATED, LATER, dev1, fresh, id};

fn hub() -> HubName {
    HubName::parse("hub.example.test").expect("a host name")
}

fn limits() -> MessageLimits {
    MessageLimits::default()
}

fn hello() -> MessageDraft {
    MessageDraft { body: b"hello".to_vec(), ..MessageDraft::default() }
}

fn with_properties(change: impl FnOnce(&mut MessageProperties)) -> MessageDraft {
    let mut draft = hello();
    change(&mut draft.properties);
    draft
}

fn with_application(application: &[(&str, &str)]) -> MessageDraft {
    let owned = |(name, text): &(&str, &str)| (name.to_string(), Some(text.to_string()));
    MessageDraft { application: application.iter().map(owned).collect(), ..hello() }
}

fn put(draft: MessageDraft) -> Result<(CloudMessage, ChangeSet), HubRefusal> {
    enqueue(&hub(), Some(&dev1().identity), &id("dev1"), draft, &limits(), CREATED, &fresh())
}

/// A message of the queue: the seventh, in its second version.
fn waiting(feedback: FeedbackWish, delivery_count: u32) -> CloudMessage {
    let draft = with_properties(|p| p.message_id = Some("m7".to_owned()));
    let (message, _) = put(MessageDraft { feedback, ..draft }).expect("a message");
    CloudMessage { number: 7, version: 42, delivery_count, ..message }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Taken,
    Invalid,
    TooLarge,
}

fn check(draft: MessageDraft, expected: Outcome) {
    let described = format!("{draft:?}").chars().take(400).collect::<String>();
    let outcome = match put(draft) {
        Ok(_) => Outcome::Taken,
        Err(HubRefusal::ArgumentInvalid(_)) => Outcome::Invalid,
        Err(HubRefusal::MessageTooLarge(_)) => Outcome::TooLarge,
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(outcome, expected, "{described}");
}

#[test]
fn a_message_is_put_into_the_queue_if_there_is_room() {
    let draft = MessageDraft {
        feedback: FeedbackWish::Full,
        ..with_application(&[("b", "1"), ("a", ""), ("b", "2")])
    };
    let (message, changes) = put(draft.clone()).expect("a message");
    let expected = CloudMessage {
        device_id: id("dev1"),
        number: 0,
        enqueued: CREATED,
        // An hour.
        expires: LATER,
        delivery_count: 0,
        feedback: FeedbackWish::Full,
        properties: MessageProperties {
            message_id: Some("02020202-0202-4202-8202-020202020202".to_owned()),
            ..MessageProperties::default()
        },
        application: draft.application,
        body: draft.body,
        version: 0,
    };
    assert_eq!(message, expected);
    let written = ChangeSet::new()
        .expecting(Expect::QueueRoom(hub(), id("dev1"), 50))
        .with(Change::EnqueueMessage(hub(), Box::new(expected)));
    assert_eq!(changes, written);
}

#[test]
fn a_message_keeps_the_id_its_sender_gave_it() {
    let draft = with_properties(|p| p.message_id = Some("mine".to_owned()));
    let (message, _) = put(draft).expect("a message");
    assert_eq!(message.properties.message_id.as_deref(), Some("mine"));
}

#[test]
fn a_message_for_nobody_is_refused() {
    let refused = enqueue(&hub(), None, &id("dev9"), hello(), &limits(), CREATED, &fresh());
    assert_eq!(refused, Err(HubRefusal::DeviceNotFound("dev9".to_owned())));
}

#[test]
fn a_disabled_devices_queue_takes_messages_too() {
    let mut identity = dev1().identity;
    identity.status = DeviceStatus::Disabled;
    let taken =
        enqueue(&hub(), Some(&identity), &id("dev1"), hello(), &limits(), CREATED, &fresh());
    assert!(taken.is_ok(), "{taken:?}");
}

#[test]
fn a_queue_is_full_at_its_limit() {
    let with_waiting = |n| {
        let mut identity = dev1().identity;
        identity.cloud_to_device_messages = n;
        queue_full(&identity, &limits())
    };
    let full = || Some(HubRefusal::QueueFull { device: "dev1".to_owned(), limit: 50 });
    assert_eq!([0, 49, 50, u32::MAX].map(with_waiting), [None, None, full(), full()]);
}

#[test]
fn a_message_expires_in_the_future_and_within_two_days() {
    let expiring = |at| MessageDraft { expires: Some(at), ..hello() };
    let tick = |at: Timestamp, n: i64| Timestamp::from_ticks(at.ticks() + n);
    let two_days = CREATED.plus_secs(2 * 86_400);
    check(expiring(Timestamp::from_ticks(i64::MIN)), Outcome::Invalid);
    check(expiring(CREATED), Outcome::Invalid);
    check(expiring(tick(CREATED, 1)), Outcome::Taken);
    check(expiring(two_days), Outcome::Taken);
    check(expiring(tick(two_days, 1)), Outcome::Invalid);
    check(expiring(Timestamp::from_ticks(i64::MAX)), Outcome::Invalid);
    let (message, _) = put(expiring(two_days)).expect("a message");
    assert_eq!(message.expires, two_days);
}

#[test]
fn a_message_has_at_most_64_kb_with_its_properties() {
    let with_body = |n: usize, draft: MessageDraft| MessageDraft { body: vec![0; n], ..draft };
    let named = || with_properties(|p| p.message_id = Some("m".to_owned()));
    check(with_body(65_535, named()), Outcome::Taken);
    check(with_body(65_536, named()), Outcome::TooLarge);
    let two_more = || MessageDraft { application: vec![("é".to_owned(), None)], ..named() };
    check(with_body(65_533, two_more()), Outcome::Taken);
    check(with_body(65_534, two_more()), Outcome::TooLarge);
    // A made ID counts as well: 36 bytes.
    check(with_body(65_500, hello()), Outcome::Taken);
    check(with_body(65_501, hello()), Outcome::TooLarge);
}

#[test]
fn texts_are_bounded_and_have_no_control_characters() {
    type Slot = fn(&mut MessageProperties) -> &mut Option<String>;
    let slots: [Slot; 10] = [
        |p| &mut p.message_id,
        |p| &mut p.correlation_id,
        |p| &mut p.user_id,
        |p| &mut p.content_type,
        |p| &mut p.content_encoding,
        |p| &mut p.expiry,
        |p| &mut p.creation_time,
        |p| &mut p.output_name,
        |p| &mut p.interface_id,
        |p| &mut p.component,
    ];
    for slot in slots {
        let with = |text: &str| with_properties(|p| *slot(p) = Some(text.to_owned()));
        check(with(&"ö".repeat(128)), Outcome::Taken);
        check(with("a/b&c=d e%2F"), Outcome::Taken);
        for bad in ["", "a\nb", "\0", "\u{85}", &"x".repeat(129)] {
            check(with(bad), Outcome::Invalid);
        }
    }
}

#[test]
fn the_address_of_a_device_with_a_long_id_fits() {
    let to = |text: String| with_properties(|p| p.to = Some(text));
    check(to(format!("/devices/{}/messages/devicebound", "%23".repeat(128))), Outcome::Taken);
    check(to("x".repeat(513)), Outcome::Invalid);
}

#[test]
fn properties_have_names_that_are_not_the_hubs() {
    check(with_application(&[("", "x")]), Outcome::Invalid);
    check(with_application(&[("$.ct", "x")]), Outcome::Invalid);
    check(with_application(&[("$ct", ""), (".", "x")]), Outcome::Taken);
}

#[test]
fn properties_are_few_enough_for_a_topic() {
    let many = |n| with_application(&vec![("k", "v"); n]);
    check(many(100), Outcome::Taken);
    check(many(101), Outcome::Invalid);
    let other = |n| with_properties(|p| p.other = vec![("$.x".to_owned(), None); n]);
    check(other(100), Outcome::Taken);
    check(other(101), Outcome::Invalid);

    let with_id = |draft: MessageDraft| MessageDraft {
        properties: MessageProperties {
            message_id: Some("m".to_owned()),
            ..MessageProperties::default()
        },
        ..draft
    };
    let large = |n: usize| with_id(with_application(&[("k", "v".repeat(n).as_str())]));
    check(large(16_384 - 2), Outcome::Taken);
    check(large(16_384 - 1), Outcome::Invalid);
}

#[test]
fn what_comes_next_is_decided_by_time_and_then_by_count() {
    let outcome = |message: CloudMessage, now| match next(message.clone(), &limits(), now) {
        Next::Deliver(sent) => {
            let delivery_count = message.delivery_count + 1;
            assert_eq!(*sent, CloudMessage { delivery_count, ..message });
            None
        }
        Next::End(end) => Some(end),
    };
    let sent = |n| waiting(FeedbackWish::None, n);
    let before = Timestamp::from_ticks(LATER.ticks() - 1);
    assert_eq!(outcome(sent(0), CREATED), None);
    assert_eq!(outcome(sent(9), before), None);
    assert_eq!(outcome(sent(10), CREATED), Some(MessageEnd::DeliveryCountExceeded));
    assert_eq!(outcome(sent(u32::MAX), CREATED), Some(MessageEnd::DeliveryCountExceeded));
    assert_eq!(outcome(sent(0), LATER), Some(MessageEnd::Expired));
    assert_eq!(outcome(sent(10), LATER), Some(MessageEnd::Expired));
}

#[test]
fn a_delivery_is_written_against_the_version_it_was_decided_from() {
    let message = waiting(FeedbackWish::None, 3);
    let expected = ChangeSet::new()
        .expecting(Expect::Message(hub(), id("dev1"), 7, 42))
        .with(Change::PutMessage(hub(), Box::new(message.clone())));
    assert_eq!(deliver_changes(&hub(), &message), expected);
}

const ENDS: [MessageEnd; 5] = [
    MessageEnd::Success,
    MessageEnd::Expired,
    MessageEnd::DeliveryCountExceeded,
    MessageEnd::Rejected,
    MessageEnd::Purged,
];

#[test]
fn the_sender_hears_of_the_ends_it_wished_to_hear_of() {
    for end in ENDS {
        let success = end == MessageEnd::Success;
        for (wish, told) in [
            (FeedbackWish::None, false),
            (FeedbackWish::Positive, success),
            (FeedbackWish::Negative, !success),
            (FeedbackWish::Full, true),
        ] {
            let mut expected = ChangeSet::new()
                .expecting(Expect::Message(hub(), id("dev1"), 7, 42))
                .with(Change::DeleteMessage(hub(), id("dev1"), 7));
            if told {
                let feedback = Feedback {
                    number: 0,
                    message_id: "m7".to_owned(),
                    end,
                    at: LATER,
                    device_id: id("dev1"),
                    generation_id: "637612".to_owned(),
                };
                expected = expected.with(Change::AppendFeedback(hub(), Box::new(feedback)));
            }
            let changes = end_changes(&hub(), &waiting(wish, 1), "637612", end, LATER);
            assert_eq!(changes, expected, "{wish:?} {end:?}");
        }
    }
}

#[test]
fn a_purge_ends_every_message_or_none() {
    let messages: Vec<CloudMessage> = [FeedbackWish::Full, FeedbackWish::None]
        .into_iter()
        .zip(1..)
        .map(|(wish, number)| CloudMessage { number, version: 90 + number, ..waiting(wish, 0) })
        .collect();
    let changes = purge_changes(&hub(), &messages, "637612", LATER);
    let one_by_one = messages
        .iter()
        .map(|message| end_changes(&hub(), message, "637612", MessageEnd::Purged, LATER));
    let together = one_by_one.fold(ChangeSet::new(), |mut all, one| {
        all.expects.extend(one.expects);
        all.changes.extend(one.changes);
        all
    });
    assert_eq!(changes, together);
    assert_eq!((changes.expects.len(), changes.changes.len()), (2, 3));
    assert_eq!(purge_changes(&hub(), &[], "637612", LATER), ChangeSet::new());
}

proptest! {
    /// Delivered again and again, a message is sent as often as allowed while its time lasts, and
    /// then ends; no clock that goes back revives it for ever.
    #[test]
    fn a_message_is_sent_at_most_as_often_as_allowed(
        max_deliveries in 0_u32..20,
        secs in proptest::collection::vec(-100_i64..4000, 40),
    ) {
        let limits = MessageLimits { max_deliveries, ..limits() };
        let mut message = waiting(FeedbackWish::Full, 0);
        let mut n_sent = 0;
        let mut end = None;
        for secs in secs {
            let now = CREATED.plus_secs(secs);
            match next(message.clone(), &limits, now) {
                Next::Deliver(sent) => {
                    prop_assert!(now < message.expires);
                    n_sent += 1;
                    prop_assert_eq!(sent.delivery_count, n_sent);
                    message = *sent;
                }
                Next::End(why) => {
                    prop_assert_eq!(why == MessageEnd::Expired, now >= message.expires);
                    end = Some(why);
                    break;
                }
            }
        }
        prop_assert!(n_sent <= max_deliveries);
        prop_assert!(end.is_some(), "forty attempts are more than are allowed");
    }

    /// With every byte percent-encoded the topic of a message that was taken is within MQTT's
    /// 65,535 bytes.
    #[test]
    fn a_message_that_was_taken_fits_in_a_topic(
        n_pairs in 0_usize..110,
        text in "[ö/ a]{0,300}",
        n_texts in 0_usize..110,
    ) {
        let pair = |n: usize| (format!("n{n}"), (n < n_texts).then(|| text.clone()));
        let draft = MessageDraft { application: (0..n_pairs).map(pair).collect(), ..hello() };
        if let Ok((message, _)) = put(draft) {
            let encoded = |text: &str| 3 * text.len();
            let pairs: usize = message
                .application
                .iter()
                .map(|(name, text)| encoded(name) + 2 + text.as_deref().map_or(0, encoded))
                .sum();
            // The rest: the path with the longest ID, and what the hub says about the message.
            prop_assert!(pairs + 3 * 128 + 2_000 < 65_535);
        }
    }
}
