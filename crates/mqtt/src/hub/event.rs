//! Events as devices send them: what the topic's property bag says (H §4.2.6).

use app::device::{self, EventDraft};
use model::MessageProperties;

use crate::topic::{BadBag, bag};

/// An event of this bag and body. Of a system property that stands there twice the last one
/// counts; the device's own properties are kept as they came.
///
/// # Errors
/// [`BadBag`].
pub(super) fn draft(text: &str, body: &[u8], is_retained: bool) -> Result<EventDraft, BadBag> {
    let mut draft = EventDraft { body: body.to_vec(), ..EventDraft::default() };
    for (name, value) in bag::decode(text)? {
        match slot_of(&mut draft.properties, &name) {
            Some(slot) => *slot = value,
            None if name.starts_with("$.") => draft.properties.other.push((name, value)),
            None => draft.application.push((name, value)),
        }
    }
    Ok(if is_retained { device::retained(draft) } else { draft })
}

fn slot_of<'a>(
    properties: &'a mut MessageProperties,
    name: &str,
) -> Option<&'a mut Option<String>> {
    Some(match name {
        "$.mid" => &mut properties.message_id,
        "$.cid" => &mut properties.correlation_id,
        "$.uid" => &mut properties.user_id,
        "$.to" => &mut properties.to,
        "$.ct" => &mut properties.content_type,
        "$.ce" => &mut properties.content_encoding,
        "$.exp" => &mut properties.expiry,
        "$.ctime" => &mut properties.creation_time,
        "$.on" => &mut properties.output_name,
        "$.ifid" => &mut properties.interface_id,
        "$.sub" => &mut properties.component,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, properties: MessageProperties, application: &[(&str, Option<&str>)]) {
        let application = application
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        let expected = EventDraft { properties, application, body: b"1".to_vec() };
        assert_eq!(draft(text, b"1", false), Ok(expected), "{text}");
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_system_property_finds_its_place() {
        check(
            "$.mid=1&$.cid=2&$.uid=3&$.to=4&$.ct=5&$.ce=6&$.exp=7&$.ctime=8&$.on=9&$.ifid=10&$.sub=11",
            MessageProperties {
                message_id: some("1"),
                correlation_id: some("2"),
                user_id: some("3"),
                to: some("4"),
                content_type: some("5"),
                content_encoding: some("6"),
                expiry: some("7"),
                creation_time: some("8"),
                output_name: some("9"),
                interface_id: some("10"),
                component: some("11"),
                other: Vec::new(),
            },
            &[],
        );
    }

    #[test]
    fn a_dollar_may_be_escaped() {
        let properties =
            MessageProperties { content_type: some("application/json"), ..Default::default() };
        check("%24.ct=application%2Fjson&k=v", properties, &[("k", Some("v"))]);
    }

    #[test]
    fn tracing_is_kept_apart_from_the_devices_own_properties() {
        let other = vec![("$.diagid".to_owned(), some("ab")), ("$.cdid".to_owned(), None)];
        let properties = MessageProperties { other, ..Default::default() };
        check("$.diagid=ab&$.cdid&$price=1", properties, &[("$price", Some("1"))]);
    }

    #[test]
    fn a_key_alone_has_no_value_and_an_empty_value_is_one() {
        check(
            "alone&empty=&both=x",
            MessageProperties::default(),
            &[("alone", None), ("empty", Some("")), ("both", Some("x"))],
        );
    }

    #[test]
    fn of_two_system_properties_the_last_counts() {
        let properties = MessageProperties { message_id: some("2"), ..Default::default() };
        check("$.mid=1&$.mid=2", properties, &[]);
    }

    #[test]
    fn a_retained_message_says_so() {
        let draft = draft("k=v", b"", true).expect("legal");
        let expected = [("k".to_owned(), some("v")), ("mqtt-retain".to_owned(), some("true"))];
        assert_eq!(draft.application, expected);
    }
}
