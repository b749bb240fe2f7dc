//! Reading what a device sends: a transfer and the message in it, alone and as a batch; and writing
//! one. Run with `cargo bench -p induct-amqp --bench codec`.

#![expect(clippy::expect_used, reason = "the frames are constants and legal")]

use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::BytesCount};
use induct_amqp::proto::{
    Attach, Body, Decoded, Frame, Limits, Message, MessageId, Performative, Properties,
    ReceiverSettle, Role, SenderSettle, Terminus, Transfer, Value, decode, decode_batch,
    decode_message, encode, encode_message, encode_transfer,
};

fn main() {
    divan::main();
}

/// Telemetry with a body of so many bytes, as a client sends it.
fn telemetry(n_body_bytes: usize) -> Message {
    let property = |name: &str, text: &str| (name.to_owned(), Value::String(text.to_owned()));
    Message {
        properties: Some(Box::new(Properties {
            message_id: Some(MessageId::String("4a081f01-1b41-4d3c-9c40-6c9dbd32a5b3".to_owned())),
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Properties::default()
        })),
        application_properties: vec![property("site", "north"), property("line", "4")],
        body: Body::Data(vec![Bytes::from(vec![b'7'; n_body_bytes])]),
        ..Message::default()
    }
}

fn transfer() -> Transfer {
    Transfer {
        delivery_id: Some(300),
        delivery_tag: Some(Bytes::from_static(&[7; 16])),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    }
}

fn write(transfer: &Transfer, payload: &[u8]) -> BytesMut {
    let mut buffer = BytesMut::new();
    let n_bytes = encode_transfer(1, transfer, payload, 65_536, &mut buffer);
    assert_eq!(n_bytes, payload.len());
    buffer
}

fn read(buffer: &mut BytesMut) -> Frame {
    match decode(buffer, &Limits::SESSION) {
        Ok(Decoded::Item(frame)) => frame,
        _ => unreachable!("a whole frame"),
    }
}

#[divan::bench(args = [100, 60_000])]
fn read_transfer_and_message(bencher: Bencher<'_, '_>, n_body_bytes: usize) {
    let bytes = write(&transfer(), &encode_message(&telemetry(n_body_bytes)));
    bencher.counter(BytesCount::new(bytes.len())).with_inputs(|| bytes.clone()).bench_local_values(
        |mut buffer| {
            let frame = read(&mut buffer);
            decode_message(frame.payload, &Limits::SESSION).expect("legal")
        },
    );
}

#[divan::bench(args = [100, 60_000])]
fn write_transfer_and_message(bencher: Bencher<'_, '_>, n_body_bytes: usize) {
    let message = telemetry(n_body_bytes);
    let transfer = transfer();
    bencher
        .counter(BytesCount::new(n_body_bytes))
        .bench_local(|| write(&transfer, &encode_message(&message)));
}

#[divan::bench]
fn read_batch_of_100(bencher: Bencher<'_, '_>) {
    let body = Body::Data(vec![encode_message(&telemetry(100)); 100]);
    let bytes = encode_message(&Message { body, ..Message::default() });
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| decode_batch(bytes.clone(), &Limits::SESSION).expect("legal"));
}

#[divan::bench]
fn read_attach(bencher: Bencher<'_, '_>) {
    let address = Some("/devices/press-17/messages/events".to_owned());
    let attach = Performative::Attach(Box::new(Attach {
        name: "4a081f01-1b41-4d3c-9c40-6c9dbd32a5b3".to_owned(),
        handle: 0,
        role: Role::Sender,
        sender_settle: SenderSettle::Unsettled,
        receiver_settle: ReceiverSettle::First,
        source: Some(Terminus::default()),
        target: Some(Terminus { address, ..Terminus::default() }),
        initial_delivery_count: Some(0),
        max_message_size: None,
        properties: vec![(
            Value::Symbol("com.microsoft:api-version".to_owned()),
            Value::String("2021-04-12".to_owned()),
        )],
        desired_capabilities: Vec::new(),
    }));
    let mut bytes = BytesMut::new();
    encode(1, &attach, &mut bytes);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| bytes.clone())
        .bench_local_values(|mut buffer| read(&mut buffer));
}
