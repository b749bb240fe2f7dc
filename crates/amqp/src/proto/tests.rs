use std::fs;

use bytes::{Bytes, BytesMut};

use super::*;

mod generated;
mod malformed;
mod messages;
mod performatives;
mod sasl;
mod values;

/// A frame by hand: its header, then its body.
fn frame(frame_type: u8, channel: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + body.len()).expect("short").to_be_bytes();
    [&size[..], &[2, frame_type], &channel.to_be_bytes(), body].concat()
}

/// Decodes a stream in which nothing may be left over.
fn all(bytes: &[u8], limits: &Limits) -> Result<Vec<Option<Frame>>, BadFrame> {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while !buffer.is_empty() {
        match decode(&mut buffer, limits)? {
            Decoded::Item(frame) => frames.push(Some(frame)),
            Decoded::Empty => frames.push(None),
            Decoded::Incomplete { missing_bytes } => panic!("{missing_bytes} bytes are missing"),
        }
    }
    Ok(frames)
}

/// What a body by hand says.
fn said(body: &[u8]) -> Result<Performative, BadFrame> {
    let mut frames = all(&frame(0, 7, body), &Limits::SESSION)?;
    let frame = frames.pop().flatten().expect("no heartbeat");
    assert_eq!((frame.channel, frames.len()), (7, 0));
    Ok(frame.performative)
}

fn encoded(channel: u16, performative: &Performative) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    encode(channel, performative, &mut buffer);
    buffer.to_vec()
}

fn sasl(bytes: &[u8]) -> Result<SaslFrame, BadFrame> {
    let mut buffer = BytesMut::from(bytes);
    match decode_sasl(&mut buffer, &Limits::SASL)? {
        Decoded::Item(frame) => Ok(frame),
        other => panic!("{other:?}"),
    }
}

fn sasl_encoded(frame: &SaslFrame) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    encode_sasl(frame, &mut buffer);
    buffer.to_vec()
}

fn message(bytes: &[u8]) -> Result<Message, BadFrame> {
    decode_message(Bytes::copy_from_slice(bytes), &Limits::SESSION)
}

fn symbol(text: &str) -> Value {
    Value::Symbol(text.to_owned())
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn headers_of_each_layer() {
    for (bytes, header) in [
        (b"AMQP\x00\x01\x00\x00", ProtocolHeader::Amqp),
        (b"AMQP\x02\x01\x00\x00", ProtocolHeader::Tls),
        (b"AMQP\x03\x01\x00\x00", ProtocolHeader::Sasl),
    ] {
        let mut buffer = BytesMut::from(&bytes[..]);
        buffer.extend_from_slice(b"rest");
        assert_eq!(decode_header(&mut buffer), Ok(Some(header)));
        assert_eq!(buffer, &b"rest"[..]);
        let mut written = BytesMut::new();
        encode_header(header, &mut written);
        assert_eq!(written, &bytes[..]);
    }
}

#[test]
fn other_versions_of_amqp_are_told_apart_from_other_protocols() {
    for bytes in [b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x00", b"AMQP\x00\x01\x01\x00"] {
        let mut buffer = BytesMut::from(&bytes[..]);
        assert_eq!(decode_header(&mut buffer), Ok(Some(ProtocolHeader::Other)));
    }
    for bytes in [&b"GET / HTTP/1.1"[..], b"\x16", b"AMQ\0", b"a"] {
        let mut buffer = BytesMut::from(bytes);
        assert_eq!(decode_header(&mut buffer), Err(BadFrame::NotAmqp));
    }
    for n_bytes in 0..8 {
        let mut buffer = BytesMut::from(&b"AMQP\x03\x01\x00\x00"[..n_bytes]);
        assert_eq!(decode_header(&mut buffer), Ok(None), "{n_bytes}");
        assert_eq!(buffer.len(), n_bytes);
    }
    let mut answer = BytesMut::new();
    encode_header(ProtocolHeader::Other, &mut answer);
    assert_eq!(answer, &b"AMQP\x00\x01\x00\x00"[..]);
}

#[test]
fn a_frame_that_says_nothing() {
    let mut buffer = BytesMut::new();
    encode_empty(&mut buffer);
    assert_eq!(buffer, &b"\0\0\0\x08\x02\0\0\0"[..]);
    assert_eq!(all(&buffer, &Limits::SESSION), Ok(vec![None]));
    assert!(buffer.len() == 8 && decode(&mut buffer, &Limits::SESSION) == Ok(Decoded::Empty));
    assert!(buffer.is_empty());
}

#[test]
fn an_extended_header_is_skipped() {
    let bytes = b"\0\0\0\x12\x03\0\0\x07\xff\xff\xff\xff\x00\x53\x17\xc0\x01\x00";
    let end = Frame {
        channel: 7,
        performative: Performative::End(End::default()),
        payload: Bytes::new(),
    };
    assert_eq!(all(bytes, &Limits::SESSION), Ok(vec![Some(end)]));
    let nothing = b"\0\0\0\x0c\x03\0\0\x07\xff\xff\xff\xff";
    assert_eq!(all(nothing, &Limits::SESSION), Ok(vec![None]));
}

#[test]
fn what_is_missing_is_told_and_the_buffer_kept() {
    let whole = frame(0, 0, b"\x00\x53\x17\xc0\x02\x01\x40");
    for (n_bytes, missing) in [(0, 8), (3, 5), (4, 11), (7, 8), (8, 7), (14, 1)] {
        let mut buffer = BytesMut::from(&whole[..n_bytes]);
        let told = decode(&mut buffer, &Limits::SESSION);
        assert_eq!(told, Ok(Decoded::Incomplete { missing_bytes: missing }), "{n_bytes}");
        assert_eq!(buffer, &whole[..n_bytes]);
    }
}

#[test]
fn a_payload_is_a_slice_of_what_was_read_and_a_tag_is_not() {
    let body = b"\x00\x53\x14\xc0\x06\x03\x43\x43\xa0\x01\x09payload";
    let mut buffer = BytesMut::from(&frame(0, 0, body)[..]);
    let memory = buffer.as_ptr_range();
    let Ok(Decoded::Item(frame)) = decode(&mut buffer, &Limits::SESSION) else {
        panic!("a transfer");
    };
    let Performative::Transfer(Transfer { delivery_tag: Some(tag), .. }) = frame.performative
    else {
        panic!("a transfer with a tag");
    };
    assert_eq!((&*frame.payload, &*tag), (&b"payload"[..], &b"\x09"[..]));
    assert!(memory.contains(&frame.payload.as_ptr()));
    assert!(!memory.contains(&tag.as_ptr()));
}

#[test]
fn what_is_carried_is_not_printed() {
    let secret = Bytes::from_static(b"hunter2");
    let init = SaslInit {
        mechanism: "PLAIN".to_owned(),
        initial_response: Some(secret.clone()),
        hostname: None,
    };
    let token = Message {
        application_properties: vec![("security_token".to_owned(), string("hunter2"))],
        body: Body::Value(string("hunter2")),
        ..Message::default()
    };
    let data = Message { body: Body::Data(vec![secret.clone()]), ..Message::default() };
    let transfer = Frame {
        channel: 0,
        performative: Performative::Transfer(Transfer::default()),
        payload: secret.clone(),
    };
    let frames =
        [SaslFrame::Init(init), SaslFrame::Challenge(secret.clone()), SaslFrame::Response(secret)];
    let printed = format!("{frames:?} {token:?} {data:?} {transfer:?}");
    assert!(!printed.contains("hunter2") && !printed.contains("104, 117"), "{printed}");
    for expected in ["PLAIN", "security_token", "1 sections, 7 bytes", "payload_bytes: 7"] {
        assert!(printed.contains(expected), "{printed}");
    }
}

/// Seeds are made by a program that shares no code with the codec: see ORIGIN.md there.
#[test]
fn the_seeds_of_the_fuzz_targets_are_what_their_names_say() {
    let streams = seeds("amqp_frame", |stream| {
        let mut buffer = BytesMut::from(stream);
        let mut written = BytesMut::new();
        let header = decode_header(&mut buffer)?.expect("a whole header");
        encode_header(header, &mut written);
        while !buffer.is_empty() {
            if header == ProtocolHeader::Sasl {
                let Decoded::Item(frame) = decode_sasl(&mut buffer, &Limits::SASL)? else {
                    panic!("a whole frame");
                };
                encode_sasl(&frame, &mut written);
                continue;
            }
            match decode(&mut buffer, &Limits::SESSION)? {
                Decoded::Empty => encode_empty(&mut written),
                Decoded::Incomplete { .. } => panic!("a whole frame"),
                Decoded::Item(Frame {
                    channel,
                    performative: Performative::Transfer(transfer),
                    payload,
                }) => {
                    encode_transfer(channel, &transfer, &payload, 65_536, &mut written);
                }
                Decoded::Item(frame) => encode(frame.channel, &frame.performative, &mut written),
            }
        }
        Ok(written.to_vec())
    });
    assert_eq!(streams, (7, 13));
    let messages = seeds("amqp_message", |bytes| Ok(encode_message(&message(bytes)?).to_vec()));
    assert_eq!(messages, (10, 9));
}

/// Sees to it that seeds are read and written again byte for byte, but for those whose names begin
/// with `bad-`, which are refused, and those with `other-`, which are only read. Counts the good
/// and the bad.
fn seeds(target: &str, again: impl Fn(&[u8]) -> Result<Vec<u8>, BadFrame>) -> (usize, usize) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/amqp/seeds");
    let (mut n_good, mut n_bad) = (0, 0);
    for entry in fs::read_dir(format!("{folder}/{target}")).expect("the folder of seeds") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let bytes = fs::read(&path).expect("a seed");
        let result = again(&bytes);
        if name.starts_with("bad-") {
            assert!(result.is_err(), "{name}");
            n_bad += 1;
            continue;
        }
        let written = result.unwrap_or_else(|bad| panic!("{name}: {bad}"));
        if !name.starts_with("other-") {
            assert_eq!(written, bytes, "{name}");
        }
        n_good += 1;
    }
    (n_good, n_bad)
}
