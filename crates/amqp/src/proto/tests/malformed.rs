//! What the standard forbids, and what goes beyond the limits: one claim each.

use super::*;

#[track_caller]
fn refuse(claim: &str, body: &[u8], why: BadFrame) {
    assert_eq!(said(body), Err(why), "{claim}");
}

#[track_caller]
fn refuse_message(claim: &str, bytes: &[u8], why: BadFrame) {
    assert_eq!(message(bytes), Err(why), "{claim}");
}

const fn field(of: &'static str, field: &'static str, why: BadValue) -> BadFrame {
    BadFrame::Field { of, field, why }
}

#[test]
fn headers_of_frames_that_cannot_be() {
    use BadFrame::*;
    let limit_bytes = 65_536;
    for (claim, bytes, why) in [
        (
            "shorter than its header",
            &b"\0\0\0\x07"[..],
            HeaderSize { size_bytes: 7, header_bytes: 8 },
        ),
        ("no size", b"\0\0\0\0", HeaderSize { size_bytes: 0, header_bytes: 8 }),
        ("too long", b"\x00\x01\x00\x01", TooLong { size_bytes: 65_537, limit_bytes }),
        ("far too long", b"\xff\xff\xff\xff", TooLong { size_bytes: 4_294_967_295, limit_bytes }),
        (
            "a body in its header",
            b"\0\0\0\x08\x01\0\0\0",
            HeaderSize { size_bytes: 8, header_bytes: 4 },
        ),
        ("no offset", b"\0\0\0\x08\0\0\0\0", HeaderSize { size_bytes: 8, header_bytes: 0 }),
        (
            "a body after its end",
            b"\0\0\0\x0b\x03\0\0\0\0\0\0",
            HeaderSize { size_bytes: 11, header_bytes: 12 },
        ),
        ("of SASL", b"\0\0\0\x08\x02\x01\0\0", FrameType(1)),
        ("of another type", b"\0\0\0\x08\x02\x02\0\0", FrameType(2)),
    ] {
        assert_eq!(all(bytes, &Limits::SESSION), Err(why), "{claim}");
    }
    let largest = Limits { frame_bytes: usize::MAX, ..Limits::SESSION };
    let told = decode(&mut BytesMut::from(&b"\xff\xff\xff\xff"[..]), &largest);
    assert_eq!(told, Ok(Decoded::Incomplete { missing_bytes: 4_294_967_291 }));
}

#[test]
fn bodies_that_are_no_performatives() {
    use BadFrame::*;
    for (claim, body, why) in [
        ("no descriptor", &b"\xc0\x01\x00"[..], Value(BadValue::WrongType(0xc0))),
        ("an unknown number", b"\x00\x53\x19\x45", Performative),
        (
            "a number of another domain",
            b"\x00\x80\x00\x00\x00\x01\x00\x00\x00\x17\x45",
            Performative,
        ),
        ("an unknown name", b"\x00\xa3\x03a:b\x45", Performative),
        ("a section", b"\x00\x53\x75\xa0\x00", Performative),
        ("a SASL frame", b"\x00\x53\x44\xc0\x03\x01\x50\x00", Performative),
        ("a descriptor of another type", b"\x00\x52\x17\x45", Value(BadValue::Descriptor)),
        ("a described descriptor", b"\x00\x00\x53\x17\x45", Value(BadValue::Descriptor)),
        ("half a descriptor", b"\x00\x80\x00", Value(BadValue::Short)),
        ("nothing after its descriptor", b"\x00\x53\x17", Value(BadValue::Short)),
        ("no list", b"\x00\x53\x17\x40", field("end", "list", BadValue::WrongType(0x40))),
        ("a map", b"\x00\x53\x17\xc1\x01\x00", field("end", "list", BadValue::WrongType(0xc1))),
        ("a payload", b"\x00\x53\x17\x45\x00", Payload),
    ] {
        refuse(claim, body, why);
    }
}

#[test]
fn lists_that_are_not_what_they_say() {
    use BadFrame::*;
    for (claim, body, why) in [
        ("longer than the frame", &b"\x00\x53\x17\xc0\x03\x01\x40"[..], Value(BadValue::Short)),
        ("no room for its count", b"\x00\x53\x17\xc0\x00", Value(BadValue::Short)),
        ("half a count", b"\x00\x53\x17\xd0\x00\x00\x00\x03\x00\x00\x00", Value(BadValue::Short)),
        (
            "longer than memory",
            b"\x00\x53\x17\xd0\xff\xff\xff\xff\x00\x00\x00\x00",
            Value(BadValue::Short),
        ),
        ("fewer fields than told", b"\x00\x53\x17\xc0\x01\x01", Value(BadValue::Short)),
        (
            "more of them than told",
            b"\x00\x53\x17\xc0\x02\x00\x40",
            field("end", "list", BadValue::Trailing),
        ),
        (
            "more than the standard's",
            b"\x00\x53\x17\xc0\x03\x02\x40\x40",
            Fields { of: "end", n_fields: 2 },
        ),
        (
            "an outcome with a field",
            b"\x00\x53\x15\xc0\x0c\x05\x41\x43\x40\x41\x00\x53\x24\xc0\x02\x01\x40",
            Fields { of: "accepted", n_fields: 1 },
        ),
        ("without a name", b"\x00\x53\x10\x45", Missing { of: "open", field: "container-id" }),
        (
            "with none",
            b"\x00\x53\x10\xc0\x02\x01\x40",
            Missing { of: "open", field: "container-id" },
        ),
        (
            "without a handle",
            b"\x00\x53\x14\xc0\x03\x02\x40\x43",
            Missing { of: "transfer", field: "handle" },
        ),
        (
            "without its window",
            b"\x00\x53\x11\xc0\x04\x03\x40\x43\x43",
            Missing { of: "begin", field: "outgoing-window" },
        ),
        (
            "an error without condition",
            b"\x00\x53\x17\xc0\x05\x01\x00\x53\x1d\x45",
            Missing { of: "error", field: "condition" },
        ),
    ] {
        refuse(claim, body, why);
    }
}

#[test]
fn fields_of_another_type() {
    use BadValue::*;
    for (claim, body, why) in [
        (
            "a symbol for a string",
            &b"\x00\x53\x10\xc0\x04\x01\xa3\x01c"[..],
            field("open", "container-id", WrongType(0xa3)),
        ),
        (
            "a ulong for a uint",
            b"\x00\x53\x10\xc0\x07\x03\xa1\x01c\x40\x53\x01",
            field("open", "max-frame-size", WrongType(0x53)),
        ),
        (
            "a uint for a ushort",
            b"\x00\x53\x11\xc0\x03\x01\x52\x00",
            field("begin", "remote-channel", WrongType(0x52)),
        ),
        (
            "a ubyte for a boolean",
            b"\x00\x53\x16\xc0\x04\x02\x43\x50\x01",
            field("detach", "closed", WrongType(0x50)),
        ),
        (
            "a boolean that is neither",
            b"\x00\x53\x16\xc0\x04\x02\x43\x56\x02",
            field("detach", "closed", Choice(2)),
        ),
        (
            "a list for an error",
            b"\x00\x53\x17\xc0\x02\x01\x45",
            field("end", "error", WrongType(0x45)),
        ),
        (
            "a state for an error",
            b"\x00\x53\x17\xc0\x05\x01\x00\x53\x24\x45",
            field("end", "error", Descriptor),
        ),
        (
            "a string for a condition",
            b"\x00\x53\x17\xc0\x0a\x01\x00\x53\x1d\xc0\x04\x01\xa1\x01c",
            field("error", "condition", WrongType(0xa1)),
        ),
        (
            "a settle mode that does not exist",
            b"\x00\x53\x12\xc0\x08\x04\xa1\x01l\x43\x41\x50\x03",
            field("attach", "snd-settle-mode", Choice(3)),
        ),
        (
            "another",
            b"\x00\x53\x12\xc0\x09\x05\xa1\x01l\x43\x41\x40\x50\x02",
            field("attach", "rcv-settle-mode", Choice(2)),
        ),
        (
            "an address of a source",
            b"\x00\x53\x12\xc0\x0f\x06\xa1\x01l\x43\x41\x40\x40\x00\x53\x28\xc0\x02\x01\x41",
            field("source", "address", WrongType(0x41)),
        ),
        (
            "a source that is not described",
            b"\x00\x53\x12\xc0\x09\x06\xa1\x01l\x43\x41\x40\x40\x45",
            field("attach", "source", WrongType(0x45)),
        ),
        (
            "a state that is not described",
            b"\x00\x53\x15\xc0\x06\x05\x41\x43\x40\x41\x45",
            field("disposition", "state", WrongType(0x45)),
        ),
        (
            "strings for capabilities",
            b"\x00\x53\x10\xc0\x0f\x08\xa1\x01c\x40\x40\x40\x40\x40\x40\xe0\x03\x01\xa1\x00",
            field("open", "offered-capabilities", WrongType(0xe0)),
        ),
        (
            "a list for properties",
            b"\x00\x53\x11\xc0\x09\x08\x40\x43\x43\x43\x40\x40\x40\x45",
            field("begin", "properties", WrongType(0x45)),
        ),
        (
            "a tag of 33 bytes",
            &[&b"\x00\x53\x14\xc0\x26\x03\x43\x43\xa0\x21"[..], &[0; 33]].concat(),
            field("transfer", "delivery-tag", TooLong { size_bytes: 33, limit_bytes: 32 }),
        ),
        (
            "a string with bytes of Latin-1",
            b"\x00\x53\x10\xc0\x04\x01\xa1\x01\xe9",
            field("open", "container-id", NotUtf8),
        ),
        (
            "a string with half a character",
            b"\x00\x53\x10\xc0\x04\x01\xa1\x01\xc3",
            field("open", "container-id", NotUtf8),
        ),
        (
            "a string with a surrogate",
            b"\x00\x53\x10\xc0\x06\x01\xa1\x03\xed\xa0\x80",
            field("open", "container-id", NotUtf8),
        ),
        (
            "a string longer than its list",
            b"\x00\x53\x10\xc0\x04\x01\xa1\x02c",
            field("open", "container-id", Short),
        ),
        (
            "a number longer than its list",
            b"\x00\x53\x16\xc0\x04\x01\x70\x00\x00",
            field("detach", "handle", Short),
        ),
        (
            "a constructor that does not exist",
            b"\x00\x53\x16\xc0\x02\x01\x46",
            field("detach", "handle", Constructor(0x46)),
        ),
    ] {
        refuse(claim, body, why);
    }
}

#[test]
fn malformed_sasl() {
    use BadFrame::*;
    for (claim, body, why) in [
        ("nothing", &b""[..], EmptySasl),
        ("a performative", b"\x00\x53\x17\x45", Performative),
        ("bytes after it", b"\x00\x53\x44\xc0\x03\x01\x50\x00\x00", Payload),
        (
            "a code that does not exist",
            b"\x00\x53\x44\xc0\x03\x01\x50\x05",
            field("sasl-outcome", "code", BadValue::Choice(5)),
        ),
        ("no code", b"\x00\x53\x44\x45", Missing { of: "sasl-outcome", field: "code" }),
        (
            "a string for a mechanism",
            b"\x00\x53\x41\xc0\x04\x01\xa1\x01P",
            field("sasl-init", "mechanism", BadValue::WrongType(0xa1)),
        ),
        (
            "a mechanism that is not ASCII",
            b"\x00\x53\x41\xc0\x05\x01\xa3\x02\xc3\xa9",
            field("sasl-init", "mechanism", BadValue::NotAscii),
        ),
        (
            "a string for a response",
            b"\x00\x53\x43\xc0\x03\x01\xa1\x00",
            field("sasl-response", "response", BadValue::WrongType(0xa1)),
        ),
        (
            "a response too many",
            b"\x00\x53\x43\xc0\x05\x02\xa0\x00\xa0\x00",
            Fields { of: "sasl-response", n_fields: 2 },
        ),
    ] {
        assert_eq!(sasl(&frame(1, 0, body)), Err(why), "{claim}");
    }
    assert_eq!(sasl(&frame(0, 0, b"\x00\x53\x44\xc0\x03\x01\x50\x00")), Err(FrameType(0)));
}

#[test]
fn malformed_values() {
    use BadValue::*;
    for (claim, bytes, why) in [
        ("nothing", &b""[..], Short),
        ("a described value of nothing", b"\x00\x53\x01", Short),
        ("a surrogate", b"\x73\x00\x00\xd8\x00", NotAChar),
        ("a char above U+10FFFF", b"\x73\x00\x11\x00\x00", NotAChar),
        ("a key without a value", b"\xc1\x02\x01\x40", OddMap),
        ("a map longer than told", b"\xc1\x04\x02\x40\x40\x40", Trailing),
        ("a map shorter than told", b"\xc1\x03\x04\x40\x40", Short),
        ("a list longer than told", b"\xc0\x03\x01\x40\x40", Trailing),
        ("an array longer than told", b"\xe0\x04\x01\x50\x01\x02", Trailing),
        ("an array shorter than told", b"\xe0\x03\x02\x50\x01", Short),
        ("an array without a constructor", b"\xe0\x01\x01", Short),
        ("an array of a constructor that does not exist", b"\xe0\x02\x01\x99", Constructor(0x99)),
        (
            "an array of described described values",
            b"\xe0\x07\x01\x00\x44\x00\x44\x40\x40",
            Constructor(0),
        ),
        ("a symbol that is not ASCII", b"\xa3\x01\x80", NotAscii),
        ("a size without its bytes", b"\xb0\x00\x00\x00\x02x", Short),
        ("a descriptor that is a string", b"\x00\xa1\x01x\x40", Descriptor),
    ] {
        let message = [b"\x00\x53\x77", bytes].concat();
        refuse_message(claim, &message, field("message", "amqp-value", why));
    }
}

#[test]
fn malformed_messages() {
    use BadFrame::*;
    for (claim, bytes, why) in [
        ("no descriptor", &b"\x40"[..], Value(BadValue::WrongType(0x40))),
        ("half a descriptor", b"\x00", Value(BadValue::Short)),
        ("an unknown section", b"\x00\x53\x79\x40", Section),
        ("a performative", b"\x00\x53\x10\x45", Section),
        ("an unknown name", b"\x00\xa3\x01x\x40", Section),
        ("a header after properties", b"\x00\x53\x73\x45\x00\x53\x70\x45", Section),
        ("a header twice", b"\x00\x53\x70\x45\x00\x53\x70\x45", Section),
        ("two values", b"\x00\x53\x77\x40\x00\x53\x77\x40", Section),
        ("data and a value", b"\x00\x53\x75\xa0\x00\x00\x53\x77\x40", Section),
        ("data and a sequence", b"\x00\x53\x75\xa0\x00\x00\x53\x76\x45", Section),
        ("data after a footer", b"\x00\x53\x78\xc1\x01\x00\x00\x53\x75\xa0\x00", Section),
        (
            "data that is a string",
            b"\x00\x53\x75\xa1\x00",
            field("message", "data", BadValue::WrongType(0xa1)),
        ),
        (
            "data that ends too early",
            b"\x00\x53\x75\xb0\x00\x00\x00\x02x",
            field("message", "data", BadValue::Short),
        ),
        (
            "a sequence that is a map",
            b"\x00\x53\x76\xc1\x01\x00",
            field("message", "amqp-sequence", BadValue::WrongType(0xc1)),
        ),
        (
            "annotations that are a list",
            b"\x00\x53\x72\x45",
            field("message", "message-annotations", BadValue::WrongType(0x45)),
        ),
        (
            "a property without a text for a name",
            b"\x00\x53\x74\xc1\x03\x02\x43\x43",
            field("message", "application-properties", BadValue::Name),
        ),
        (
            "an id of another type",
            b"\x00\x53\x73\xc0\x03\x01\x54\x01",
            field("properties", "message-id", BadValue::WrongType(0x54)),
        ),
        (
            "an id that is a symbol",
            b"\x00\x53\x73\xc0\x04\x01\xa3\x01x",
            field("properties", "message-id", BadValue::WrongType(0xa3)),
        ),
        (
            "fourteen properties",
            b"\x00\x53\x73\xc0\x0f\x0e\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40",
            Fields { of: "properties", n_fields: 14 },
        ),
        (
            "a time that is a long",
            b"\x00\x53\x73\xc0\x0b\x09\x40\x40\x40\x40\x40\x40\x40\x40\x55\x01",
            field("properties", "absolute-expiry-time", BadValue::WrongType(0x55)),
        ),
    ] {
        refuse_message(claim, bytes, why);
    }
}

#[test]
fn values_nested_deeper_than_allowed_are_refused() {
    let limits = Limits { depth: 3, ..Limits::SESSION };
    let nested =
        |open: &[u8], n_levels: usize| [b"\x00\x53\x77", &*open.repeat(n_levels), b"\x40"].concat();
    // A described value in a described value: each takes a level.
    let described = b"\x00\x44";
    for (n_levels, is_allowed) in [(3, true), (4, false), (20_000, false)] {
        let read = decode_message(Bytes::from(nested(described, n_levels)), &limits);
        assert_eq!(read.is_ok(), is_allowed, "{n_levels}");
    }
    // Lists, maps and arrays one in another, from the innermost on.
    for (constructor, fill) in [(0xd0, &b""[..]), (0xd1, b"\x40"), (0xf0, b"")] {
        let mut bytes = vec![0x45];
        for n_levels in 2..200_u32 {
            let n_elements = if fill.is_empty() { 1_u32 } else { 2 };
            let size = u32::try_from(4 + fill.len() + bytes.len()).expect("short");
            let head = [&[constructor], &size.to_be_bytes()[..], &n_elements.to_be_bytes(), fill];
            bytes = [&head.concat()[..], &bytes].concat();
            let read = decode_message(Bytes::from([b"\x00\x53\x77", &bytes[..]].concat()), &limits);
            let expected = field("message", "amqp-value", BadValue::TooDeep);
            assert_eq!(read.err(), (n_levels > 3).then_some(expected), "{constructor} {n_levels}");
        }
    }
}

#[test]
fn few_elements_may_take_no_bytes() {
    let array = |n_elements: u32, element: &[u8]| {
        let size = u32::try_from(4 + element.len()).expect("short").to_be_bytes();
        [b"\x00\x53\x77\xf0", &size[..], &n_elements.to_be_bytes(), element].concat()
    };
    let many = &[&b"\x00\xa3\x40"[..], &[b'x'; 64], b"\x40"].concat();
    for (element, most) in [
        (&b"\x40"[..], 128),
        (b"\x41", 128),
        (b"\x42", 128),
        (b"\x43", 128),
        (b"\x44", 128),
        (b"\x45", 128),
        // The descriptor of each counts as well.
        (b"\x00\x44\x40", 64),
        (many, 32),
    ] {
        assert!(message(&array(most, element)).is_ok(), "{element:?}");
        for n_elements in [most + 1, 1_000_000, u32::MAX] {
            let read = message(&array(n_elements, element));
            let expected = Err(field("message", "amqp-value", BadValue::TooMany));
            assert_eq!(read, expected, "{element:?} {n_elements}");
        }
    }
    // Not many of them in many arrays either.
    let all = array(100, b"\x40")[3..].repeat(2);
    let list = [&b"\x00\x53\x77\xc0\x15\x02"[..], &all].concat();
    let expected = Err(field("message", "amqp-value", BadValue::TooMany));
    assert_eq!(message(&list), expected);
    // Others can be no more than bytes came.
    let expected = Err(field("message", "amqp-value", BadValue::TooMany));
    assert_eq!(message(&array(u32::MAX, b"\x50\x00")), expected);
}

#[test]
fn values_over_the_limit_are_refused() {
    let limits = Limits { elements: 10, text_bytes: 4, ..Limits::SESSION };
    let list = |n_elements: usize| {
        let values = vec![Value::Ubyte(0); n_elements];
        encode_message(&Message { body: Body::Value(Value::List(values)), ..Message::default() })
    };
    assert!(decode_message(list(10), &limits).is_ok());
    let too_many = field("message", "amqp-value", BadValue::TooMany);
    assert_eq!(decode_message(list(11), &limits).err(), Some(too_many));

    let sections = |n_sections| {
        let body = Body::Data(vec![Bytes::from_static(b"long enough"); n_sections]);
        encode_message(&Message { body, ..Message::default() })
    };
    assert!(decode_message(sections(10), &limits).is_ok());
    let too_many = field("message", "data", BadValue::TooMany);
    assert_eq!(decode_message(sections(11), &limits).err(), Some(too_many));

    let too_long = BadValue::TooLong { size_bytes: 5, limit_bytes: 4 };
    for constructor in [0xa0, 0xa1, 0xa3] {
        for (text, why) in
            [("four", None), ("fives", Some(field("message", "amqp-value", too_long)))]
        {
            let size = u8::try_from(text.len()).expect("short");
            let bytes = [&[0x00, 0x53, 0x77, constructor, size], text.as_bytes()].concat();
            assert_eq!(decode_message(Bytes::from(bytes), &limits).err(), why, "{text}");
        }
    }
}

#[test]
fn a_size_that_is_told_is_never_believed() {
    for constructor in [0xb0, 0xb1, 0xb3, 0xd0, 0xd1, 0xf0] {
        for size in [6, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let head = [&b"\x00\x53\x77"[..], &[constructor], &size.to_be_bytes()];
            let why = match constructor {
                0xb0..=0xb3 if size > 6 => {
                    let size_bytes = usize::try_from(size).expect("64 bits");
                    BadValue::TooLong { size_bytes, limit_bytes: 262_144 }
                }
                _ => BadValue::Short,
            };
            let bytes = [&head.concat()[..], b"12345"].concat();
            refuse_message("a size", &bytes, field("message", "amqp-value", why));
        }
    }
    for (constructor, why) in
        [(0xd0, BadValue::Short), (0xd1, BadValue::Short), (0xf0, BadValue::TooMany)]
    {
        for count in [0x7fff_fffe, 0x8000_0000, u32::MAX - 1] {
            let head = [&b"\x00\x53\x77"[..], &[constructor], &[0, 0, 0, 5], &count.to_be_bytes()];
            let bytes = [&head.concat()[..], b"\x40"].concat();
            refuse_message("a count", &bytes, field("message", "amqp-value", why));
        }
    }
}
