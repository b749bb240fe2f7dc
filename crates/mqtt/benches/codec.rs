//! Reading what a device sends first: CONNECT, SUBSCRIBE and a PUBLISH, each alone and all three
//! from one buffer; and writing a PUBLISH. Run with `cargo bench -p induct-mqtt`.

#![expect(clippy::expect_used, reason = "the packets are constants and legal")]

use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::BytesCount};
use induct_mqtt::{
    proto::{
        Connect, Decoded, Delivery, Filter, Limits, Login, Packet, PacketId, Password, Publish,
        Qos, Subscribe, Text, Topic, decode, encode,
    },
    topic::{UserName, bag},
};

const USER_NAME: &str = "hub-1.example.net/press-17/?api-version=2021-04-12\
    &DeviceClientType=azure-iot-device%2F2.14.0%28python%29";
const BAG: &str = "%24.ct=application%2Fjson%3Bcharset%3Dutf-8&%24.ce=utf-8&site=north&line=4";

fn main() {
    divan::main();
}

fn connect() -> Packet {
    let token = "SharedAccessSignature sr=hub-1.example.net%2Fdevices%2Fpress-17\
        &sig=5vVGlTsDW1rgcTnmXmMwhYLVO9YoRsvQSfF%2BZNQnnF8%3D&se=1767225600";
    Packet::Connect(Box::new(Connect {
        client_id: Text::new("press-17").expect("a text"),
        clean_session: false,
        keep_alive_secs: 60,
        will: None,
        login: Some(Login {
            user_name: Text::new(USER_NAME).expect("a text"),
            password: Some(Password::new(token).expect("short")),
        }),
    }))
}

fn subscribe() -> Packet {
    let filter = |text: &str| (Filter::new(text).expect("a filter"), Qos::AtLeastOnce);
    Packet::Subscribe(Subscribe {
        id: PacketId::MIN,
        filters: vec![filter("$iothub/twin/res/#"), filter("$iothub/methods/POST/#")],
    })
}

fn publish(n_payload_bytes: usize) -> Packet {
    Packet::Publish(Publish {
        topic: Topic::new(format!("devices/press-17/messages/events/{BAG}")).expect("a topic"),
        payload: Bytes::from(vec![b'7'; n_payload_bytes]),
        delivery: Delivery::AtLeastOnce { id: PacketId::MIN, dup: false },
        retain: false,
    })
}

fn bytes_of(packets: &[Packet]) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    for packet in packets {
        encode(packet, &mut buffer).expect("encodable");
    }
    buffer.to_vec()
}

/// Reads all packets of a buffer, as a door does.
fn read(bencher: Bencher<'_, '_>, packets: &[Packet]) {
    let bytes = bytes_of(packets);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| BytesMut::from(&bytes[..]))
        .bench_local_values(|mut buffer| {
            let mut last = None;
            while let Ok(Decoded::Packet(packet)) = decode(&mut buffer, &Limits::SESSION) {
                last = Some(packet);
            }
            assert!(buffer.is_empty());
            last
        });
}

#[divan::bench]
fn read_connect(bencher: Bencher<'_, '_>) {
    read(bencher, &[connect()]);
}

#[divan::bench]
fn read_subscribe(bencher: Bencher<'_, '_>) {
    read(bencher, &[subscribe()]);
}

#[divan::bench(args = [100, 100_000])]
fn read_publish(bencher: Bencher<'_, '_>, n_payload_bytes: usize) {
    read(bencher, &[publish(n_payload_bytes)]);
}

#[divan::bench]
fn read_connect_subscribe_and_publish(bencher: Bencher<'_, '_>) {
    read(bencher, &[connect(), subscribe(), publish(100)]);
}

#[divan::bench(args = [100, 100_000])]
fn write_publish(bencher: Bencher<'_, '_>, n_payload_bytes: usize) {
    let packet = publish(n_payload_bytes);
    bencher.with_inputs(BytesMut::new).bench_local_values(|mut buffer| {
        encode(&packet, &mut buffer).expect("encodable");
        buffer
    });
}

#[divan::bench]
fn read_user_name() -> UserName {
    UserName::parse(divan::black_box(USER_NAME)).expect("legal")
}

#[divan::bench]
fn read_property_bag() -> Vec<(String, Option<String>)> {
    bag::decode(divan::black_box(BAG)).expect("legal")
}
