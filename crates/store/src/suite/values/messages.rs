//! Strategies for events, messages to devices, feedback and subscriptions.

use model::{
    AuthMethod, CloudMessage, Event, EventSource, Feedback, FeedbackWish, MessageEnd,
    MessageProperties, Qos, Subscriptions,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Strategy, any},
    sample::select,
};

use super::{device_ids, texts, timestamps};

/// Events.
pub fn events() -> impl Strategy<Value = Event> {
    let auth_method = select(vec![
        AuthMethod::DeviceKey,
        AuthMethod::HubPolicy,
        AuthMethod::Thumbprint,
        AuthMethod::CertificateAuthority,
    ]);
    (
        (device_ids(), texts(), auth_method, timestamps()),
        (properties(), pairs(), vec(any::<u8>(), 0..600)),
    )
        .prop_map(|(first, (properties, application, body))| {
            let (device_id, generation_id, auth_method, enqueued) = first;
            Event {
                device_id,
                generation_id,
                auth_method,
                source: EventSource::Telemetry,
                enqueued,
                properties,
                application,
                body,
            }
        })
}

/// Messages that were never stored.
pub fn cloud_messages() -> impl Strategy<Value = CloudMessage> {
    let feedback = select(vec![
        FeedbackWish::None,
        FeedbackWish::Positive,
        FeedbackWish::Negative,
        FeedbackWish::Full,
    ]);
    (
        (device_ids(), timestamps(), timestamps(), any::<u32>(), feedback),
        (properties(), pairs(), vec(any::<u8>(), 0..600)),
    )
        .prop_map(|(first, (properties, application, body))| {
            let (device_id, enqueued, expires, delivery_count, feedback) = first;
            CloudMessage {
                device_id,
                number: 0,
                enqueued,
                expires,
                delivery_count,
                feedback,
                properties,
                application,
                body,
                version: 0,
            }
        })
}

/// Feedback that was never stored.
pub fn feedback() -> impl Strategy<Value = Feedback> {
    let end = select(vec![
        MessageEnd::Success,
        MessageEnd::Expired,
        MessageEnd::DeliveryCountExceeded,
        MessageEnd::Rejected,
        MessageEnd::Purged,
    ]);
    (texts(), end, timestamps(), device_ids(), texts()).prop_map(
        |(message_id, end, at, device_id, generation_id)| Feedback {
            number: 0,
            message_id,
            end,
            at,
            device_id,
            generation_id,
        },
    )
}

/// Subscriptions.
pub fn subscriptions() -> impl Strategy<Value = Subscriptions> {
    let qos = || select(vec![None, Some(Qos::AtMostOnce), Some(Qos::AtLeastOnce)]);
    (qos(), qos(), qos(), qos()).prop_map(|(messages, twin_responses, desired, methods)| {
        Subscriptions { messages, twin_responses, desired, methods }
    })
}

fn properties() -> impl Strategy<Value = MessageProperties> {
    let text = || option::of(texts());
    (
        (text(), text(), text(), text(), text(), text()),
        (text(), text(), text(), text(), text(), pairs()),
    )
        .prop_map(|(first, second)| MessageProperties {
            message_id: first.0,
            correlation_id: first.1,
            user_id: first.2,
            to: first.3,
            content_type: first.4,
            content_encoding: first.5,
            expiry: second.0,
            creation_time: second.1,
            output_name: second.2,
            interface_id: second.3,
            component: second.4,
            other: second.5,
        })
}

/// Names may come twice, and without a value.
fn pairs() -> impl Strategy<Value = Vec<(String, Option<String>)>> {
    vec((texts(), option::of(texts())), 0..5)
}
