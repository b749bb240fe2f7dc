//! Every constructor of part 1, and which one we choose.

use super::*;

/// What stands in an `amqp-value` section.
fn value(bytes: &[u8]) -> Result<Value, BadFrame> {
    match message(&[b"\x00\x53\x77", bytes].concat())?.body {
        Body::Value(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

fn written(value: Value) -> Vec<u8> {
    let message = Message { body: Body::Value(value), ..Message::default() };
    encode_message(&message)[3..].to_vec()
}

/// A value and its bytes are each other's.
#[track_caller]
fn check(bytes: &[u8], expected: Value) {
    assert_eq!(value(bytes), Ok(expected.clone()));
    assert_eq!(written(expected), bytes);
}

/// Bytes that are read, but not what we write.
#[track_caller]
fn check_read(bytes: &[u8], expected: Value) {
    assert_eq!(value(bytes), Ok(expected.clone()));
    let ours = written(expected.clone());
    assert_ne!(ours, bytes);
    assert_eq!(value(&ours), Ok(expected));
}

#[test]
fn each_type_in_the_form_we_write() {
    let text = "x".repeat(256);
    let long = |constructor: u8| [&[constructor, 0, 0, 1, 0], text.as_bytes()].concat();
    for (bytes, expected) in [
        (&b"\x40"[..], Value::Null),
        (b"\x41", Value::Bool(true)),
        (b"\x42", Value::Bool(false)),
        (b"\x50\xff", Value::Ubyte(255)),
        (b"\x60\xff\xfe", Value::Ushort(65_534)),
        (b"\x43", Value::Uint(0)),
        (b"\x52\xff", Value::Uint(255)),
        (b"\x70\x00\x00\x01\x00", Value::Uint(256)),
        (b"\x44", Value::Ulong(0)),
        (b"\x53\xff", Value::Ulong(255)),
        (b"\x80\x00\x00\x00\x00\x00\x00\x01\x00", Value::Ulong(256)),
        (b"\x51\xff", Value::Byte(-1)),
        (b"\x61\xff\xfe", Value::Short(-2)),
        (b"\x54\x80", Value::Int(-128)),
        (b"\x54\x7f", Value::Int(127)),
        (b"\x71\x00\x00\x00\xc8", Value::Int(200)),
        (b"\x71\xff\xff\xff\x7f", Value::Int(-129)),
        (b"\x55\x80", Value::Long(-128)),
        (b"\x81\x00\x00\x00\x00\x00\x00\x00\x80", Value::Long(128)),
        (b"\x72\x3f\x80\x00\x00", Value::Float(1.0)),
        (b"\x82\xbf\xf0\x00\x00\x00\x00\x00\x00", Value::Double(-1.0)),
        (b"\x74\x01\x02\x03\x04", Value::Decimal(Bytes::from_static(&[1, 2, 3, 4]))),
        (
            b"\x84\x01\x02\x03\x04\x05\x06\x07\x08",
            Value::Decimal(Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ),
        (&[&[0x94][..], &[9; 16]].concat(), Value::Decimal(Bytes::from_static(&[9; 16]))),
        (b"\x73\x00\x01\xf6\x00", Value::Char('😀')),
        (b"\x83\x00\x00\x01\x9a\x00\x00\x00\x00", Value::Timestamp(0x019a_0000_0000)),
        (&[&[0x98][..], &[7; 16]].concat(), Value::Uuid([7; 16])),
        (b"\xa0\x02\x00\xff", Value::Binary(Bytes::from_static(&[0, 255]))),
        (&long(0xb0), Value::Binary(Bytes::from(text.clone().into_bytes()))),
        (b"\xa1\x02\xc3\xa9", string("é")),
        (&long(0xb1), string(&text)),
        (b"\xa3\x01s", symbol("s")),
        (&long(0xb3), symbol(&text)),
        (b"\xc0\x01\x00", Value::List(vec![])),
        (b"\xc0\x03\x02\x40\x41", Value::List(vec![Value::Null, Value::Bool(true)])),
        (b"\xc1\x01\x00", Value::Map(vec![])),
        (b"\xc1\x05\x02\xa3\x01k\x43", Value::Map(vec![(symbol("k"), Value::Uint(0))])),
        (b"\x00\xa3\x01d\x41", Value::Described(Box::new((symbol("d"), Value::Bool(true))))),
        (b"\x00\x53\x05\x40", Value::Described(Box::new((Value::Ulong(5), Value::Null)))),
    ] {
        check(bytes, expected);
    }
}

#[test]
fn forms_that_we_only_read() {
    for (bytes, expected) in [
        (&b"\x56\x00"[..], Value::Bool(false)),
        (b"\x56\x01", Value::Bool(true)),
        (b"\x52\x00", Value::Uint(0)),
        (b"\x70\x00\x00\x00\x07", Value::Uint(7)),
        (b"\x53\x00", Value::Ulong(0)),
        (b"\x80\x00\x00\x00\x00\x00\x00\x00\x07", Value::Ulong(7)),
        (b"\x71\xff\xff\xff\xff", Value::Int(-1)),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff", Value::Long(-1)),
        (b"\xb0\x00\x00\x00\x01x", Value::Binary(Bytes::from_static(b"x"))),
        (b"\xb1\x00\x00\x00\x01x", string("x")),
        (b"\xb3\x00\x00\x00\x01x", symbol("x")),
        (b"\x45", Value::List(vec![])),
        (b"\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x40", Value::List(vec![Value::Null])),
        (
            b"\xd1\x00\x00\x00\x06\x00\x00\x00\x02\x40\x40",
            Value::Map(vec![(Value::Null, Value::Null)]),
        ),
        (b"\xf0\x00\x00\x00\x07\x00\x00\x00\x01\xa3\x01x", Value::Array(vec![symbol("x")])),
        (b"\xe0\x01\x00", Value::Array(vec![])),
        (b"\xe0\x04\x02\x54\x01\x02", Value::Array(vec![Value::Int(1), Value::Int(2)])),
        (b"\xe0\x02\x02\x41", Value::Array(vec![Value::Bool(true), Value::Bool(true)])),
        (b"\xe0\x02\x02\x45", Value::Array(vec![Value::List(vec![]), Value::List(vec![])])),
    ] {
        check_read(bytes, expected);
    }
}

#[test]
fn arrays_of_each_kind() {
    let long = "x".repeat(256);
    let pair = |number| Value::Described(Box::new((symbol("d"), Value::Ubyte(number))));
    for (bytes, elements) in [
        (&b"\xe0\x02\x00\xa3"[..], vec![]),
        (b"\xe0\x05\x02\xa1\x01a\x00", vec![string("a"), string("")]),
        (b"\xe0\x04\x02\x50\x01\x02", vec![Value::Ubyte(1), Value::Ubyte(2)]),
        (b"\xe0\x0a\x02\x71\x00\x00\x00\x01\xff\xff\xff\xff", vec![Value::Int(1), Value::Int(-1)]),
        (b"\xe0\x04\x02\x56\x01\x00", vec![Value::Bool(true), Value::Bool(false)]),
        (b"\xe0\x02\x03\x40", vec![Value::Null; 3]),
        (b"\xe0\x08\x02\x00\xa3\x01d\x50\x01\x02", vec![pair(1), pair(2)]),
        (
            b"\xe0\x13\x02\xd0\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x01\x43",
            vec![Value::List(vec![]), Value::List(vec![Value::Uint(0)])],
        ),
        (
            b"\xe0\x0c\x01\xf0\x00\x00\x00\x06\x00\x00\x00\x01\x50\x07",
            vec![Value::Array(vec![Value::Ubyte(7)])],
        ),
    ] {
        let expected = Value::Array(elements);
        assert_eq!(value(bytes), Ok(expected.clone()), "{bytes:02x?}");
        assert_eq!(written(expected), bytes);
    }
    let mixed = Value::Array(vec![string(""), string(&long)]);
    let bytes = written(mixed.clone());
    assert_eq!(bytes[..14], *b"\xf0\x00\x00\x01\x0d\x00\x00\x00\x02\xb1\x00\x00\x00\x00");
    assert_eq!(value(&bytes), Ok(mixed));
}

#[test]
fn what_cannot_be_an_array_is_written_as_a_list() {
    let elements = vec![Value::Uint(0), string("x")];
    for elements in [elements.clone(), vec![Value::Array(elements)]] {
        let read = value(&written(Value::Array(elements))).expect("legal");
        let (Value::List(mut inner) | Value::Array(mut inner)) = read else {
            panic!("{read:?}");
        };
        if let [Value::List(innermost)] = &inner[..] {
            inner = innermost.clone();
        }
        assert_eq!(inner, [Value::Uint(0), string("x")]);
    }
}

#[test]
fn a_symbol_is_written_as_ascii_whatever_is_in_it() {
    assert_eq!(written(symbol("é")), b"\xa3\x02??");
}

#[test]
fn duplicates_in_a_map_are_kept_and_the_first_is_found() {
    let map = value(b"\xc1\x0f\x06\xa3\x01k\x52\x01\xa1\x01k\x52\x02\xa3\x01z\x41");
    let Ok(Value::Map(pairs)) = map else {
        panic!("{map:?}");
    };
    assert_eq!(pairs.len(), 3);
    assert_eq!(find(&pairs, "k"), Some(&Value::Uint(1)));
    assert_eq!(find(&pairs[1..].to_vec(), "k"), Some(&Value::Uint(2)));
    assert_eq!(find(&pairs, "z"), Some(&Value::Bool(true)));
    assert_eq!(find(&pairs, "K"), None);
}

#[test]
fn integers_of_any_type_are_numbers_and_nothing_else_is() {
    for value in [
        Value::Ubyte(7),
        Value::Ushort(7),
        Value::Uint(7),
        Value::Ulong(7),
        Value::Byte(7),
        Value::Short(7),
        Value::Int(7),
        Value::Long(7),
    ] {
        assert_eq!(value.as_i64(), Some(7), "{value:?}");
    }
    for value in [Value::Ulong(u64::MAX), string("7"), Value::Timestamp(7), Value::Null] {
        assert_eq!(value.as_i64(), None, "{value:?}");
    }
    assert_eq!((string("a").as_text(), symbol("a").as_text()), (Some("a"), Some("a")));
    assert_eq!(Value::Binary(Bytes::from_static(b"a")).as_text(), None);
}
