//! Cloud-to-device messages as devices get them (H §4.2.8).

use model::{CloudMessage, DeviceId};

use crate::{proto::Topic, topic};

/// The topic of a message, which carries all that is not its body; `None` when it is longer than a
/// topic can be.
pub(super) fn topic(device_id: &DeviceId, message: &CloudMessage) -> Option<Topic> {
    // As many bytes as the properties may have, each escaped, and more is no topic.
    Topic::new(topic::devicebound(device_id, &properties(device_id, message))).ok()
}

fn properties(device_id: &DeviceId, message: &CloudMessage) -> Vec<(String, Option<String>)> {
    // Without the ones a hub sets itself or only devices send.
    let p = &message.properties;
    let to = format!("/devices/{device_id}/messages/devicebound");
    let named = [
        ("$.mid", p.message_id.as_ref()),
        ("$.to", Some(&to)),
        ("$.ct", p.content_type.as_ref()),
        ("$.ce", p.content_encoding.as_ref()),
        ("$.cid", p.correlation_id.as_ref()),
        ("$.uid", p.user_id.as_ref()),
        ("$.exp", p.expiry.as_ref()),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name.to_owned(), Some(value.clone()))));
    let wish = wire::hub::feedback_word(message.feedback)
        .map(|wish| ("iothub-ack".to_owned(), Some(wish.to_owned())));
    named.chain(wish).chain(message.application.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use model::{FeedbackWish, MessageProperties, Timestamp};

    use super::*;

    fn message(application: Vec<(String, Option<String>)>, feedback: FeedbackWish) -> CloudMessage {
        CloudMessage {
            device_id: device(),
            number: 1,
            enqueued: Timestamp::from_ticks(0),
            expires: Timestamp::from_ticks(1),
            delivery_count: 1,
            feedback,
            properties: MessageProperties::default(),
            application,
            body: Vec::new(),
            version: 1,
        }
    }

    fn device() -> DeviceId {
        DeviceId::parse("dev1").expect("legal")
    }

    #[test]
    fn only_a_wish_that_was_made_is_told() {
        let plain =
            "devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound";
        for (wish, text) in [
            (FeedbackWish::None, ""),
            (FeedbackWish::Positive, "&iothub-ack=positive"),
            (FeedbackWish::Negative, "&iothub-ack=negative"),
            (FeedbackWish::Full, "&iothub-ack=full"),
        ] {
            let topic = topic(&device(), &message(Vec::new(), wish)).expect("a topic");
            assert_eq!(topic.as_str(), format!("{plain}{text}"));
        }
    }

    #[test]
    fn properties_beyond_a_topics_length_make_none() {
        let of = |n| vec![("k".to_owned(), Some("/".repeat(n)))];
        assert!(topic(&device(), &message(of(16 * 1024), FeedbackWish::None)).is_some());
        assert_eq!(topic(&device(), &message(of(22_000), FeedbackWish::None)), None);
    }
}
