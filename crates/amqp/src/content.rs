//! What is in a message, read leniently: clients differ in the types they choose (H §4.3.5, §5.8).
//!
//! What deliberately does not live here: sections as bytes (`proto`) and what they mean on a link.

use bytes::{Bytes, BytesMut};
use model::Timestamp;

use crate::proto::{self, Body, MessageId, Pairs, Value};

/// How many of a timestamp's ticks make a millisecond.
const TICKS_PER_MS: i64 = Timestamp::TICKS_PER_SECOND / 1000;

/// The value of this name, if it is there and not null.
pub(crate) fn find<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a Value> {
    proto::find(pairs, name).filter(|value| **value != Value::Null)
}

/// A whole number of any type, also one that was written in digits.
pub(crate) fn integer_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_text()?.parse().ok())
}

/// The text of a simple value, as an operator would write it; `None` for lists, maps and what has
/// no text.
pub(crate) fn described(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) | Value::Symbol(text) => text.clone(),
        Value::Bool(is) => is.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Char(c) => c.to_string(),
        Value::Timestamp(ms) => wire::time::wire(moment(*ms)?),
        Value::Uuid(bytes) => guid_text(bytes),
        Value::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
        Value::Ulong(n) => n.to_string(),
        number => number.as_i64()?.to_string(),
    })
}

/// The moment of an AMQP timestamp; `None` beyond what our own count reaches.
pub(crate) fn moment(ms: i64) -> Option<Timestamp> {
    ms.checked_mul(TICKS_PER_MS).map(Timestamp::from_ticks)
}

/// A moment as AMQP counts it.
pub(crate) const fn millis(moment: Timestamp) -> i64 {
    moment.ticks().div_euclid(TICKS_PER_MS)
}

/// A message's name as text; `None` for bytes that are none.
pub(crate) fn id_text(id: &MessageId) -> Option<String> {
    Some(match id {
        MessageId::String(text) => text.clone(),
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(bytes) => guid_text(bytes),
        MessageId::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok()?,
    })
}

/// A GUID as clients write it.
pub(crate) fn guid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// The bytes of a GUID that was written as text.
pub(crate) fn guid_bytes(text: &str) -> Option<[u8; 16]> {
    let is_grouped = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !is_grouped {
        return None;
    }
    let mut digits = text.chars().filter_map(|c| c.to_digit(16));
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()? << 4 | digits.next()?).ok()?;
    }
    Some(bytes)
}

/// The bytes of a body: its data sections one after another, or the text or the bytes of its value
/// (one client sends JSON so). `None` for a body that is neither.
pub(crate) fn body_bytes(body: Body) -> Option<Bytes> {
    match body {
        Body::None => Some(Bytes::new()),
        Body::Data(mut sections) if sections.len() == 1 => sections.pop(),
        Body::Data(sections) => {
            let mut all = BytesMut::with_capacity(sections.iter().map(Bytes::len).sum());
            sections.iter().for_each(|section| all.extend_from_slice(section));
            Some(all.freeze())
        }
        Body::Value(Value::String(text)) => Some(text.into()),
        Body::Value(Value::Binary(bytes)) => Some(bytes),
        Body::Value(Value::Null) => Some(Bytes::new()),
        Body::Value(_) | Body::Sequence(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    #[test]
    fn a_key_is_found_as_symbol_and_as_string() {
        for key in [Value::Symbol("status".to_owned()), Value::String("status".to_owned())] {
            let pairs = vec![
                (Value::Uint(1), Value::Uint(2)),
                (key, Value::Int(200)),
                (Value::Null, Value::Null),
            ];
            assert_eq!(find(&pairs, "status"), Some(&Value::Int(200)));
            assert_eq!(find(&pairs, "version"), None);
        }
        assert_eq!(find(&vec![(Value::Symbol("a".to_owned()), Value::Null)], "a"), None);
    }

    #[test]
    fn a_number_is_read_in_every_type_that_can_hold_it() {
        let numbers = [
            Value::Ubyte(7),
            Value::Ushort(7),
            Value::Uint(7),
            Value::Ulong(7),
            Value::Byte(7),
            Value::Short(7),
            Value::Int(7),
            Value::Long(7),
            Value::String("7".to_owned()),
        ];
        for number in numbers {
            assert_eq!(integer_of(&number), Some(7), "{number:?}");
        }
        for other in [Value::Ulong(u64::MAX), Value::Double(7.0), Value::String("x".to_owned())] {
            assert_eq!(integer_of(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_simple_value_has_a_text_and_a_list_has_none() {
        let check = |value: Value, text: Option<&str>| {
            assert_eq!(described(&value).as_deref(), text, "{value:?}");
        };
        check(Value::Bool(true), Some("true"));
        check(Value::Long(-5), Some("-5"));
        check(Value::Ulong(u64::MAX), Some("18446744073709551615"));
        check(Value::Double(1.5), Some("1.5"));
        check(Value::Char('ä'), Some("ä"));
        check(Value::Timestamp(1_767_225_600_250), Some("2026-01-01T00:00:00.25Z"));
        check(Value::Timestamp(i64::MAX), None);
        check(Value::Binary(Bytes::from_static(b"ab")), Some("ab"));
        check(Value::Binary(Bytes::from_static(b"\xff")), None);
        check(Value::List(Vec::new()), None);
        check(Value::Null, None);
    }

    #[test]
    fn a_guid_is_written_as_it_is_read() {
        let bytes = guid_bytes(GUID).expect("a GUID");
        assert_eq!(bytes[..3], [0, 0x11, 0x22]);
        assert_eq!(guid_text(&bytes), GUID);
        assert_eq!(guid_bytes(&GUID.to_uppercase()), Some(bytes));
        for bad in ["", "x", &GUID[1..], &GUID.replace('-', "0"), &format!("{GUID}0")] {
            assert_eq!(guid_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_body_is_its_data_or_its_text() {
        let data = |sections: &[&'static [u8]]| {
            Body::Data(sections.iter().map(|section| Bytes::from_static(section)).collect())
        };
        let check = |body: Body, bytes: Option<&[u8]>| {
            assert_eq!(body_bytes(body.clone()).as_deref(), bytes, "{body:?}");
        };
        check(Body::None, Some(b""));
        check(data(&[b"a"]), Some(b"a"));
        check(data(&[b"a", b"", b"bc"]), Some(b"abc"));
        check(Body::Value(Value::String("{}".to_owned())), Some(b"{}"));
        check(Body::Value(Value::Binary(Bytes::from_static(b"x"))), Some(b"x"));
        check(Body::Value(Value::Null), Some(b""));
        check(Body::Value(Value::Int(1)), None);
        check(Body::Sequence(Vec::new()), None);
    }
}
