//! Messages by hand, from part 3.

use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Message) {
    let read = message(bytes);
    assert!(read == Ok(expected.clone()), "{read:?}");
    assert_eq!(encode_message(&expected), bytes);
}

/// The answer of D §3.6, to a request that had a correlation-id.
#[test]
fn an_answer_of_provisioning() {
    let seconds = |name: &str| (name.to_owned(), Value::Int(3));
    check(
        b"\x00\x53\x73\xc0\x10\x0d\x40\x40\x40\x40\x40\xa1\x01i\x40\x40\x40\x40\x40\x40\x40\
            \x00\x53\x74\xc1\x1f\x04\xa1\x0bretry-after\x54\x03\xa1\x0bRetry-After\x54\x03\
            \x00\x53\x75\xa0\x02{}",
        Message {
            properties: Some(Box::new(Properties {
                correlation_id: Some(MessageId::String("i".to_owned())),
                ..Properties::default()
            })),
            application_properties: vec![seconds("retry-after"), seconds("Retry-After")],
            body: Body::Data(vec![Bytes::from_static(b"{}")]),
            ..Message::default()
        },
    );
}

#[test]
fn a_message_with_every_section() {
    let properties = Properties {
        message_id: Some(MessageId::Ulong(1)),
        user_id: Some(Bytes::from_static(b"u")),
        to: Some("t".to_owned()),
        subject: Some("s".to_owned()),
        reply_to: Some("r".to_owned()),
        correlation_id: Some(MessageId::Binary(Bytes::from_static(b"c"))),
        content_type: Some("a/b".to_owned()),
        content_encoding: Some("e".to_owned()),
        absolute_expiry_ms: Some(1),
        creation_ms: Some(-1),
        group_id: Some("g".to_owned()),
        group_sequence: Some(0),
        reply_to_group_id: Some("h".to_owned()),
    };
    check(
        b"\x00\x53\x70\xc0\x09\x05\x41\x50\x09\x52\x3c\x41\x52\x02\
            \x00\x53\x71\xc1\x05\x02\xa3\x01d\x43\
            \x00\x53\x72\xc1\x05\x02\xa3\x01m\x44\
            \x00\x53\x73\xc0\x33\x0d\x53\x01\xa0\x01u\xa1\x01t\xa1\x01s\xa1\x01r\xa0\x01c\
                \xa3\x03a/b\xa3\x01e\x83\x00\x00\x00\x00\x00\x00\x00\x01\
                \x83\xff\xff\xff\xff\xff\xff\xff\xff\xa1\x01g\x43\xa1\x01h\
            \x00\x53\x74\xc1\x05\x02\xa1\x01p\x41\
            \x00\x53\x77\xa1\x01v\
            \x00\x53\x78\xc1\x05\x02\xa3\x01f\x42",
        Message {
            header: Some(Header {
                durable: true,
                priority: Some(9),
                ttl_ms: Some(60),
                first_acquirer: true,
                delivery_count: 2,
            }),
            delivery_annotations: vec![(symbol("d"), Value::Uint(0))],
            message_annotations: vec![(symbol("m"), Value::Ulong(0))],
            properties: Some(Box::new(properties)),
            application_properties: vec![("p".to_owned(), Value::Bool(true))],
            body: Body::Value(string("v")),
            footer: vec![(symbol("f"), Value::Bool(false))],
        },
    );
}

#[test]
fn an_id_keeps_its_type() {
    let uuid = [&b"\x98"[..], &[7; 16]].concat();
    for (bytes, id) in [
        (&b"\x53\x07"[..], MessageId::Ulong(7)),
        (b"\xa1\x017", MessageId::String("7".to_owned())),
        (b"\xa0\x017", MessageId::Binary(Bytes::from_static(b"7"))),
        (&uuid, MessageId::Uuid([7; 16])),
    ] {
        let size = u8::try_from(1 + bytes.len() + 12).expect("short");
        let bytes = [&[0x00, 0x53, 0x73, 0xc0, size, 13], bytes, &[0x40; 12]].concat();
        let properties = Properties { message_id: Some(id), ..Properties::default() };
        check(&bytes, Message { properties: Some(Box::new(properties)), ..Message::default() });
    }
}

#[test]
fn bodies_of_each_kind() {
    let body = |body| Message { body, ..Message::default() };
    check(b"", body(Body::None));
    check(b"\x00\x53\x75\xa0\x00", body(Body::Data(vec![Bytes::new()])));
    check(
        b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x01b",
        body(Body::Data(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")])),
    );
    check(
        b"\x00\x53\x76\xc0\x02\x01\x43\x00\x53\x76\xc0\x01\x00",
        body(Body::Sequence(vec![vec![Value::Uint(0)], vec![]])),
    );
    check(b"\x00\x53\x77\x40", body(Body::Value(Value::Null)));
    check(b"\x00\x53\x77\xa1\x00", body(Body::Value(string(""))));
}

#[test]
fn other_forms_of_the_same() {
    let data = || Body::Data(vec![Bytes::from_static(b"x")]);
    for (claim, bytes) in [
        ("long", &b"\x00\x53\x75\xb0\x00\x00\x00\x01x"[..]),
        ("a ulong", b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x75\xa0\x01x"),
        ("a symbol", b"\x00\xa3\x10amqp:data:binary\xa0\x01x"),
        (
            "maps of nothing",
            b"\x00\x53\x71\xc1\x01\x00\x00\x53\x74\xc1\x01\x00\x00\x53\x75\xa0\x01x",
        ),
    ] {
        let expected = Message { body: data(), ..Message::default() };
        assert!(message(bytes) == Ok(expected), "{claim}");
    }
    let read = message(
        b"\x00\x53\x70\x45\x00\x53\x73\xc0\x0f\x08\x40\x40\x40\x40\x40\x40\xa1\x03a/b\xa1\x01e\
            \x00\x53\x74\xc1\x05\x02\xa3\x01p\x41",
    )
    .expect("legal");
    assert_eq!(read.header, Some(Header::default()));
    let properties = read.properties.expect("properties");
    assert_eq!(properties.content_type.as_deref(), Some("a/b"));
    assert_eq!(properties.content_encoding.as_deref(), Some("e"));
    assert_eq!(read.application_properties, [("p".to_owned(), Value::Bool(true))]);
}

#[test]
fn data_is_a_slice_of_what_was_read_and_an_id_is_not() {
    let bytes = Bytes::from_static(b"\x00\x53\x73\xc0\x04\x01\xa0\x01i\x00\x53\x75\xa0\x01x");
    let memory = bytes.as_ptr_range();
    let message = decode_message(bytes.clone(), &Limits::SESSION).expect("legal");
    let Some(MessageId::Binary(id)) = message.properties.and_then(|all| all.message_id) else {
        panic!("an id");
    };
    let Body::Data(sections) = message.body else {
        panic!("data");
    };
    assert!(memory.contains(&sections[0].as_ptr()));
    assert!(!memory.contains(&id.as_ptr()));
}

#[test]
fn a_batch_is_a_message_of_messages() {
    let one = |text: &'static str| Message {
        application_properties: vec![("n".to_owned(), string(text))],
        body: Body::Data(vec![Bytes::from_static(text.as_bytes())]),
        ..Message::default()
    };
    let messages = [one("a"), one("b"), Message::default()];
    let body = Body::Data(messages.iter().map(encode_message).collect());
    let batch = encode_message(&Message { body, ..Message::default() });
    let read = decode_batch(batch.clone(), &Limits::SESSION).expect("legal");
    assert!(read == messages, "{read:?}");

    let limits = Limits { batch: 2, ..Limits::SESSION };
    let why = BadFrame::Batch { n_messages: 3, limit: 2 };
    assert_eq!(decode_batch(batch, &limits), Err(why));
    for no_batch in [&b""[..], b"\x00\x53\x77\xa1\x00"] {
        let bytes = Bytes::from_static(no_batch);
        assert_eq!(decode_batch(bytes, &Limits::SESSION), Err(BadFrame::NotABatch));
    }
    let bad = Bytes::from_static(b"\x00\x53\x75\xa0\x00\x00\x53\x75\xa0\x01\x45");
    assert_eq!(
        decode_batch(bad, &Limits::SESSION),
        Err(BadFrame::Value(BadValue::WrongType(0x45)))
    );
}
