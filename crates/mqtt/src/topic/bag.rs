//! Property bags: the properties of a message, as they stand in its topic (H §4.2.6).

use thiserror::Error;
use wire::percent::{self, BadEscape};

/// The most properties of one message. The sources name no number; the message's size bounds them
/// there. Here each takes more memory than it has bytes on the wire.
pub const MAX_PROPERTIES: usize = 256;

/// The longest bag, in bytes: as long as a topic can be.
pub const MAX_BAG_BYTES: usize = 65_535;

/// Why a text is no property bag. Never holds a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadBag {
    /// It has more than [`MAX_BAG_BYTES`].
    #[error("{0} bytes, 65535 are allowed")]
    TooLong(usize),
    /// It has more than [`MAX_PROPERTIES`].
    #[error("more than 256 properties")]
    TooMany,
    /// A percent escape in it is illegal.
    #[error(transparent)]
    Escape(#[from] BadEscape),
    /// A property has no name.
    #[error("a property without a name")]
    NoName,
}

/// The properties of a bag `k=v&k=&k`, both sides percent-decoded, in the order written. `+` stays
/// `+`. A key alone has no value, one with `=` has at least an empty one. Names that stand there
/// twice are all kept: which of them counts depends on the property. Nothing between two `&` is
/// nothing.
///
/// # Errors
/// [`BadBag`].
pub fn decode(text: &str) -> Result<Vec<(String, Option<String>)>, BadBag> {
    if text.len() > MAX_BAG_BYTES {
        return Err(BadBag::TooLong(text.len()));
    }
    let mut properties = Vec::new();
    for member in text.split('&').filter(|member| !member.is_empty()) {
        if properties.len() == MAX_PROPERTIES {
            return Err(BadBag::TooMany);
        }
        let (name, value) = match member.split_once('=') {
            Some((name, value)) => (name, Some(percent::decode(value)?)),
            None => (member, None),
        };
        if name.is_empty() {
            return Err(BadBag::NoName);
        }
        properties.push((percent::decode(name)?, value));
    }
    Ok(properties)
}

/// The bag of these properties, in their order. All but letters, digits and `-._~` is escaped: so
/// the dollar of system properties, as clients expect it in messages to them, and every slash
/// (H §4.2.8).
#[must_use]
pub fn encode(properties: &[(String, Option<String>)]) -> String {
    let mut text = String::new();
    for (name, value) in properties {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&percent::encode(name));
        if let Some(value) = value {
            text.push('=');
            text.push_str(&percent::encode(value));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, properties: &[(&str, Option<&str>)]) {
        let properties = properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        assert_eq!(decode(text), Ok(properties), "{text}");
    }

    #[test]
    fn properties_come_in_the_order_written() {
        check("b=2&a=1&b=3", &[("b", Some("2")), ("a", Some("1")), ("b", Some("3"))]);
    }

    #[test]
    fn no_value_and_an_empty_value_are_different() {
        check("a&b=", &[("a", None), ("b", Some(""))]);
    }

    #[test]
    fn both_sides_are_decoded_once_and_plus_stays_plus() {
        check(
            "%24.ct=a%2Fb%253D&x%20y=1+%2B1=2",
            &[("$.ct", Some("a/b%3D")), ("x y", Some("1++1=2"))],
        );
    }

    #[test]
    fn nothing_between_two_separators_is_nothing() {
        check("", &[]);
        check("&&", &[]);
        check("&a=1&&b=2&", &[("a", Some("1")), ("b", Some("2"))]);
    }

    #[test]
    fn an_illegal_bag_says_why() {
        for (text, why) in [
            ("a=%", BadBag::Escape(BadEscape)),
            ("%zz=1", BadBag::Escape(BadEscape)),
            ("a=%ff", BadBag::Escape(BadEscape)),
            ("=1", BadBag::NoName),
            ("a=1&=", BadBag::NoName),
        ] {
            assert_eq!(decode(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_bag_is_bounded() {
        let full = "a&".repeat(MAX_PROPERTIES);
        assert_eq!(decode(&full).map(|all| all.len()), Ok(MAX_PROPERTIES));
        assert_eq!(decode(&(full + "a")), Err(BadBag::TooMany));
        let long = "a".repeat(MAX_BAG_BYTES);
        assert!(decode(&long).is_ok());
        assert_eq!(decode(&(long + "a")), Err(BadBag::TooLong(MAX_BAG_BYTES + 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            properties in prop::collection::vec((".{1,20}", prop::option::of(".{0,20}")), 0..20),
        ) {
            prop_assert_eq!(decode(&encode(&properties)), Ok(properties));
        }

        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_written_alike(
            text in "[a-z$.&=%0-9A-F\\PC]{0,80}",
        ) {
            if let Ok(properties) = decode(&text) {
                prop_assert_eq!(decode(&encode(&properties)), Ok(properties));
            }
        }
    }
}
