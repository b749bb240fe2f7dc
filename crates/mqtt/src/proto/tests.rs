use std::{fmt::Write as _, fs};

use bytes::{Bytes, BytesMut};

use super::*;

mod generated;

/// Decodes a stream in which nothing may be left over.
fn all(bytes: &[u8]) -> Result<Vec<Packet>, BadPacket> {
    let mut buffer = BytesMut::from(bytes);
    let mut packets = Vec::new();
    while !buffer.is_empty() {
        match decode(&mut buffer, &Limits::SESSION)? {
            Decoded::Packet(packet) => packets.push(packet),
            Decoded::Incomplete { missing_bytes } => panic!("{missing_bytes} bytes are missing"),
        }
    }
    Ok(packets)
}

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    encode(packet, &mut buffer).expect("encodable");
    buffer.to_vec()
}

/// A packet and its bytes are each other's, in both directions.
#[track_caller]
fn check(bytes: &[u8], packet: Packet) {
    assert_eq!(all(bytes), Ok(vec![packet.clone()]));
    assert_eq!(encoded(&packet), bytes);
}

#[track_caller]
fn refuse(claim: &str, bytes: &[u8], why: BadPacket) {
    assert_eq!(all(bytes), Err(why), "{claim}");
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

fn text(text: &str) -> Text {
    Text::new(text).expect("a text")
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

fn filter(text: &str) -> Filter {
    Filter::new(text).expect("a filter")
}

fn connect() -> Connect {
    Connect {
        client_id: text("d"),
        clean_session: true,
        keep_alive_secs: 60,
        will: None,
        login: None,
    }
}

#[test]
fn a_connect_of_a_name_alone() {
    check(b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01d", Packet::Connect(Box::new(connect())));
}

#[test]
fn a_connect_with_everything() {
    let packet = Connect {
        clean_session: false,
        keep_alive_secs: 230,
        will: Some(Will {
            topic: topic("t"),
            payload: Bytes::from_static(&[0, 255]),
            qos: Qos::AtLeastOnce,
            retain: true,
        }),
        login: Some(Login {
            user_name: text("u/é"),
            password: Some(Password::new(&b"\xff\0"[..]).expect("short")),
        }),
        ..connect()
    };
    let bytes =
        b"\x10\x1e\0\x04MQTT\x04\xec\0\xe6\0\x01d\0\x01t\0\x02\0\xff\0\x04u/\xc3\xa9\0\x02\xff\0";
    check(bytes, Packet::Connect(Box::new(packet)));
}

#[test]
fn a_password_may_be_absent_or_empty() {
    for (bytes, password) in [
        (&b"\x10\x10\0\x04MQTT\x04\x82\0\x3c\0\x01d\0\x01u"[..], None),
        (b"\x10\x12\0\x04MQTT\x04\xc2\0\x3c\0\x01d\0\x01u\0\0", Some(Bytes::new())),
    ] {
        let password = password.map(|bytes| Password::new(bytes).expect("short"));
        let login = Some(Login { user_name: text("u"), password });
        check(bytes, Packet::Connect(Box::new(Connect { login, ..connect() })));
    }
}

#[test]
fn a_nameless_client_with_a_lasting_session_is_told_apart() {
    for (client_id, clean_session, lacks) in
        [("", false, true), ("", true, false), ("d", false, false)]
    {
        let packet = Connect { client_id: text(client_id), clean_session, ..connect() };
        assert_eq!(packet.lacks_client_id(), lacks, "{client_id:?} {clean_session}");
        let packet = Packet::Connect(Box::new(packet));
        assert_eq!(all(&encoded(&packet)), Ok(vec![packet]));
    }
}

#[test]
fn answers_to_a_connect() {
    check(b"\x20\x02\x00\x00", Packet::ConnAck(ConnAck::Accepted { session_present: false }));
    check(b"\x20\x02\x01\x00", Packet::ConnAck(ConnAck::Accepted { session_present: true }));
    for (code, refusal) in [
        (1, ConnectRefusal::UnacceptableVersion),
        (2, ConnectRefusal::IdentifierRejected),
        (3, ConnectRefusal::ServerUnavailable),
        (4, ConnectRefusal::BadLogin),
        (5, ConnectRefusal::NotAuthorized),
    ] {
        check(&[0x20, 2, 0, code], Packet::ConnAck(ConnAck::Refused(refusal)));
    }
}

#[test]
fn messages_of_each_qos() {
    let publish = |delivery, retain| {
        let payload = Bytes::from_static(b"{}");
        Packet::Publish(Publish { topic: topic("a/b"), payload, delivery, retain })
    };
    let once = Delivery::AtLeastOnce { id: id(10), dup: false };
    let again = Delivery::AtLeastOnce { id: id(0xffff), dup: true };
    let twice = Delivery::ExactlyOnce { id: id(10), dup: true };
    check(b"\x30\x07\0\x03a/b{}", publish(Delivery::AtMostOnce, false));
    check(b"\x31\x07\0\x03a/b{}", publish(Delivery::AtMostOnce, true));
    check(b"\x32\x09\0\x03a/b\0\x0a{}", publish(once, false));
    check(b"\x3a\x09\0\x03a/b\xff\xff{}", publish(again, false));
    check(b"\x3d\x09\0\x03a/b\0\x0a{}", publish(twice, true));
}

#[test]
fn a_message_may_be_empty() {
    let message = Publish {
        topic: topic("t"),
        payload: Bytes::new(),
        delivery: Delivery::AtMostOnce,
        retain: false,
    };
    check(b"\x30\x03\0\x01t", Packet::Publish(message));
}

#[test]
fn acknowledgements() {
    check(&[0x40, 2, 0, 1], Packet::PubAck(Some(id(1))));
    check(&[0x50, 2, 1, 0], Packet::PubRec(Some(id(256))));
    check(&[0x62, 2, 0, 1], Packet::PubRel(Some(id(1))));
    check(&[0x70, 2, 0, 1], Packet::PubComp(Some(id(1))));
    check(&[0xb0, 2, 0, 1], Packet::UnsubAck(Some(id(1))));
}

#[test]
fn an_acknowledgement_of_0_is_read_and_acknowledges_nothing() {
    check(&[0x40, 2, 0, 0], Packet::PubAck(None));
}

#[test]
fn subscriptions() {
    let wanted = Subscribe {
        id: id(7),
        filters: vec![(filter("a/#"), Qos::AtLeastOnce), (filter("+/b"), Qos::ExactlyOnce)],
    };
    check(b"\x82\x0e\0\x07\0\x03a/#\x01\0\x03+/b\x02", Packet::Subscribe(wanted));
    let grants = vec![
        Grant::Granted(Qos::AtMostOnce),
        Grant::Granted(Qos::AtLeastOnce),
        Grant::Granted(Qos::ExactlyOnce),
        Grant::Refused,
    ];
    check(b"\x90\x06\0\x07\x00\x01\x02\x80", Packet::SubAck(SubAck { id: Some(id(7)), grants }));
    let unwanted = Unsubscribe { id: id(8), filters: vec![filter("#"), filter("a")] };
    check(b"\xa2\x08\0\x08\0\x01#\0\x01a", Packet::Unsubscribe(unwanted));
}

#[test]
fn packets_without_a_body() {
    check(&[0xc0, 0], Packet::PingReq);
    check(&[0xd0, 0], Packet::PingResp);
    check(&[0xe0, 0], Packet::Disconnect);
}

#[test]
fn a_length_may_be_written_with_more_bytes_than_it_needs() {
    assert_eq!(all(&[0xc0, 0x80, 0x80, 0x80, 0x00]), Ok(vec![Packet::PingReq]));
    assert_eq!(all(&[0x40, 0x82, 0x00, 0, 1]), Ok(vec![Packet::PubAck(Some(id(1)))]));
}

#[test]
fn texts_may_hold_any_character_but_nul() {
    let name = "\u{feff}\u{1}\u{7f}\u{fffe}\u{10ffff}";
    let publish = Publish {
        topic: topic(name),
        payload: Bytes::new(),
        delivery: Delivery::AtMostOnce,
        retain: false,
    };
    let packet = Packet::Publish(publish);
    assert_eq!(all(&encoded(&packet)), Ok(vec![packet]));
}

#[test]
fn other_versions_of_the_protocol_are_told_apart_from_other_protocols() {
    for (claim, bytes, why) in [
        (
            "MQTT 5",
            &b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01d"[..],
            BadPacket::UnsupportedLevel(5),
        ),
        ("MQTT 3.1", b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01d", BadPacket::UnsupportedLevel(3)),
        ("a bridge", b"\x10\x0d\0\x04MQTT\x84\x02\0\x3c\0\x01d", BadPacket::UnsupportedLevel(0x84)),
        ("level 0", b"\x10\x0d\0\x04MQTT\0\x02\0\x3c\0\x01d", BadPacket::UnsupportedLevel(0)),
        (
            "a name in lower case",
            b"\x10\x0d\0\x04mqtt\x04\x02\0\x3c\0\x01d",
            BadPacket::ProtocolName,
        ),
        ("a name of nothing", b"\x10\x09\0\0\x04\x02\0\x3c\0\x01d", BadPacket::ProtocolName),
        (
            "3.1's name, our level",
            b"\x10\x0f\0\x06MQIsdp\x04\x02\0\x3c\0\x01d",
            BadPacket::ProtocolName,
        ),
    ] {
        refuse(claim, bytes, why);
    }
}

#[test]
fn first_bytes_that_no_packet_has() {
    for first in [0x00, 0x0f, 0xf0, 0xff] {
        refuse("a reserved type", &[first, 0], BadPacket::ReservedKind(first >> 4));
    }
    for (first, kind) in [
        (0x11, Kind::Connect),
        (0x28, Kind::ConnAck),
        (0x41, Kind::PubAck),
        (0x52, Kind::PubRec),
        (0x60, Kind::PubRel),
        (0x72, Kind::PubComp),
        (0x80, Kind::Subscribe),
        (0x83, Kind::Subscribe),
        (0x92, Kind::SubAck),
        (0xa0, Kind::Unsubscribe),
        (0xb2, Kind::UnsubAck),
        (0xc1, Kind::PingReq),
        (0xd8, Kind::PingResp),
        (0xe2, Kind::Disconnect),
    ] {
        let flags = first & 0x0f;
        refuse("flags of another type", &[first], BadPacket::Flags { kind, flags });
    }
    refuse("QoS 3", &[0x36], BadPacket::QosThree);
    refuse("DUP with QoS 0", &[0x38], BadPacket::DupAtMostOnce);
}

#[test]
fn lengths_that_cannot_be() {
    refuse("four bytes at most", &[0x30, 0xff, 0xff, 0xff, 0x80], BadPacket::LengthBytes);
    refuse("not even to say 0", &[0xc0, 0x80, 0x80, 0x80, 0x80, 0], BadPacket::LengthBytes);
    for (first, kind, size_bytes) in [
        (0x20, Kind::ConnAck, 1),
        (0x20, Kind::ConnAck, 3),
        (0x40, Kind::PubAck, 0),
        (0x40, Kind::PubAck, 3),
        (0x50, Kind::PubRec, 4),
        (0x62, Kind::PubRel, 1),
        (0x70, Kind::PubComp, 3),
        (0xb0, Kind::UnsubAck, 3),
        (0xc0, Kind::PingReq, 1),
        (0xd0, Kind::PingResp, 1),
        (0xe0, Kind::Disconnect, 2),
    ] {
        // Known from the fixed header, before the body has come.
        refuse(
            "a fixed size",
            &[first, size_bytes],
            BadPacket::BodySize { kind, size_bytes: usize::from(size_bytes) },
        );
    }
}

#[test]
fn malformed_connects() {
    use BadPacket::*;
    for (claim, bytes, why) in [
        ("nothing", &b"\x10\x00"[..], Short(Kind::Connect)),
        ("cut after the level", b"\x10\x07\0\x04MQTT\x04", Short(Kind::Connect)),
        ("no client identifier", b"\x10\x0a\0\x04MQTT\x04\x02\0\x3c", Short(Kind::Connect)),
        (
            "a shorter name than told",
            b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x02d",
            Short(Kind::Connect),
        ),
        ("a byte too many", b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x01d\0", Trailing(Kind::Connect)),
        ("the reserved flag", b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01d", ReservedConnectFlag),
        ("a will's QoS without it", b"\x10\x0d\0\x04MQTT\x04\x0a\0\x3c\0\x01d", WillFlags),
        ("a will's RETAIN without it", b"\x10\x0d\0\x04MQTT\x04\x22\0\x3c\0\x01d", WillFlags),
        ("a will's QoS 3", b"\x10\x12\0\x04MQTT\x04\x1e\0\x3c\0\x01d\0\x01t\0\0", QosThree),
        (
            "a will that is not there",
            b"\x10\x0d\0\x04MQTT\x04\x06\0\x3c\0\x01d",
            Short(Kind::Connect),
        ),
        (
            "a will to a wildcard",
            b"\x10\x12\0\x04MQTT\x04\x06\0\x3c\0\x01d\0\x01#\0\0",
            Text(BadText::Wildcard),
        ),
        (
            "a will to nowhere",
            b"\x10\x11\0\x04MQTT\x04\x06\0\x3c\0\x01d\0\0\0\0",
            Text(BadText::Empty),
        ),
        (
            "a password without user name",
            b"\x10\x10\0\x04MQTT\x04\x42\0\x3c\0\x01d\0\x01p",
            PasswordWithoutUserName,
        ),
        ("no user name", b"\x10\x0d\0\x04MQTT\x04\x82\0\x3c\0\x01d", Short(Kind::Connect)),
        ("no password", b"\x10\x10\0\x04MQTT\x04\xc2\0\x3c\0\x01d\0\x01u", Short(Kind::Connect)),
        ("U+0000 in the name", b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01\0", Text(BadText::Nul)),
        (
            "U+0000 in the user name",
            b"\x10\x11\0\x04MQTT\x04\x82\0\x3c\0\x01d\0\x02u\0",
            Text(BadText::Nul),
        ),
    ] {
        refuse(claim, bytes, why);
    }
}

#[test]
fn bytes_that_are_not_utf_8() {
    for (claim, name) in [
        ("a surrogate", &b"\xed\xa0\x80"[..]),
        ("an overlong form", b"\xc0\x80\x80"),
        ("cut off", b"ab\xc3"),
        ("Latin-1", b"\xe9bc"),
        ("above U+10FFFF", b"\xf4\x90\x80"),
    ] {
        let bytes = [b"\x30\x05\0\x03", name].concat();
        refuse(claim, &bytes, BadPacket::Text(BadText::NotUtf8));
    }
}

#[test]
fn malformed_messages() {
    use BadPacket::*;
    for (claim, bytes, why) in [
        ("nothing", &b"\x30\x00"[..], Short(Kind::Publish)),
        ("half a length", b"\x30\x01\0", Short(Kind::Publish)),
        ("no topic", b"\x30\x02\0\0", Text(BadText::Empty)),
        ("a shorter topic than told", b"\x30\x04\0\x03ab", Short(Kind::Publish)),
        ("a wildcard", b"\x30\x05\0\x03a/#", Text(BadText::Wildcard)),
        ("another", b"\x30\x05\0\x03+/a", Text(BadText::Wildcard)),
        ("a wildcard in a level", b"\x30\x05\0\x03a+b", Text(BadText::Wildcard)),
        ("U+0000", b"\x30\x05\0\x03a\0b", Text(BadText::Nul)),
        ("no packet identifier", b"\x32\x03\0\x01t", Short(Kind::Publish)),
        ("half a packet identifier", b"\x32\x04\0\x01t\0", Short(Kind::Publish)),
        ("the packet identifier 0", b"\x32\x05\0\x01t\0\0", PacketIdZero(Kind::Publish)),
        ("the same with QoS 2", b"\x34\x05\0\x01t\0\0", PacketIdZero(Kind::Publish)),
    ] {
        refuse(claim, bytes, why);
    }
}

#[test]
fn malformed_subscriptions() {
    use BadPacket::*;
    for (claim, bytes, why) in [
        ("nothing", &b"\x82\x00"[..], Short(Kind::Subscribe)),
        ("no filter", b"\x82\x02\0\x01", Empty(Kind::Subscribe)),
        ("the packet identifier 0", b"\x82\x06\0\0\0\x01a\0", PacketIdZero(Kind::Subscribe)),
        ("no QoS", b"\x82\x05\0\x01\0\x01a", Short(Kind::Subscribe)),
        ("QoS 3", b"\x82\x06\0\x01\0\x01a\x03", QosThree),
        ("reserved bits", b"\x82\x06\0\x01\0\x01a\x05", RequestedQosBits),
        ("a byte too many", b"\x82\x07\0\x01\0\x01a\0\0", Short(Kind::Subscribe)),
        ("an empty filter", b"\x82\x05\0\x01\0\0\0", Text(BadText::Empty)),
        ("# before the end", b"\x82\x08\0\x01\0\x03#/a\0", Text(BadText::MisplacedWildcard)),
        ("# after a letter", b"\x82\x07\0\x01\0\x02a#\0", Text(BadText::MisplacedWildcard)),
        ("+ beside a letter", b"\x82\x07\0\x01\0\x02+a\0", Text(BadText::MisplacedWildcard)),
        ("two at once", b"\x82\x07\0\x01\0\x02+#\0", Text(BadText::MisplacedWildcard)),
        ("U+0000", b"\x82\x06\0\x01\0\x01\0\0", Text(BadText::Nul)),
        ("no filter to end", b"\xa2\x02\0\x01", Empty(Kind::Unsubscribe)),
        ("the packet identifier 0 again", b"\xa2\x05\0\0\0\x01a", PacketIdZero(Kind::Unsubscribe)),
        ("an illegal filter to end", b"\xa2\x06\0\x01\0\x02a#", Text(BadText::MisplacedWildcard)),
        ("a QoS with it", b"\xa2\x06\0\x01\0\x01a\0", Short(Kind::Unsubscribe)),
    ] {
        refuse(claim, bytes, why);
    }
}

#[test]
fn malformed_answers() {
    use BadPacket::*;
    let code = |kind, code| ReturnCode { kind, code };
    for (claim, bytes, why) in [
        ("reserved flags", &b"\x20\x02\x02\0"[..], ConnAckFlags),
        ("refused with a session", b"\x20\x02\x01\x05", ConnAckFlags),
        ("a refusal that does not exist", b"\x20\x02\0\x06", code(Kind::ConnAck, 6)),
        ("nothing granted or refused", b"\x90\x02\0\x01", Empty(Kind::SubAck)),
        ("QoS 3 granted", b"\x90\x03\0\x01\x03", code(Kind::SubAck, 3)),
        ("an unknown failure", b"\x90\x03\0\x01\x81", code(Kind::SubAck, 0x81)),
    ] {
        refuse(claim, bytes, why);
    }
}

#[test]
fn filters_have_wildcards_only_where_they_are_legal() {
    for good in ["#", "+", "/", "//", "a", "a/#", "+/+/#", "/#", "a//+", "$iothub/twin/res/#"] {
        assert_eq!(Filter::new(good).as_deref().map(Text::as_str), Ok(good));
    }
    for bad in ["##", "a/#/b", "#/", "++", "a+/b", "a/b+", "+#", "a/#b"] {
        assert_eq!(Filter::new(bad), Err(BadText::MisplacedWildcard), "{bad}");
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_from_its_first_bytes() {
    let limits = Limits { packet_bytes: 1000, ..Limits::LOGIN };
    let at_most = |bytes: &[u8]| decode(&mut BytesMut::from(bytes), &limits);
    // 997 bytes after a header of three.
    assert_eq!(at_most(&[0x30, 0xe5, 0x07]), Ok(Decoded::Incomplete { missing_bytes: 997 }));
    let why = BadPacket::TooLong { kind: Kind::Publish, size_bytes: 1001, limit_bytes: 1000 };
    assert_eq!(at_most(&[0x30, 0xe6, 0x07]), Err(why));
    let largest = at_most(&[0x30, 0xff, 0xff, 0xff, 0x7f]);
    let size_bytes = 268_435_455 + 5;
    let why = BadPacket::TooLong { kind: Kind::Publish, size_bytes, limit_bytes: 1000 };
    assert_eq!(largest, Err(why));
}

#[test]
fn entries_over_the_limit_are_refused() {
    let limits = Limits { entries: 2, ..Limits::SESSION };
    for (n_entries, is_allowed) in [(2, true), (3, false)] {
        let filters = vec![filter("a"); n_entries];
        let grants = vec![Grant::Refused; n_entries];
        let wanted = filters.iter().map(|f| (f.clone(), Qos::AtMostOnce)).collect();
        for packet in [
            Packet::Subscribe(Subscribe { id: id(1), filters: wanted }),
            Packet::SubAck(SubAck { id: Some(id(1)), grants }),
            Packet::Unsubscribe(Unsubscribe { id: id(1), filters }),
        ] {
            let read = decode(&mut BytesMut::from(&encoded(&packet)[..]), &limits);
            let refused = Err(BadPacket::TooMany { kind: packet.kind(), limit: 2 });
            let expected = if is_allowed { Ok(Decoded::Packet(packet)) } else { refused };
            assert_eq!(read, expected);
        }
    }
}

#[test]
fn what_is_missing_is_told_and_the_buffer_kept() {
    let whole = b"\x32\x09\0\x03a/b\0\x0a{}";
    for (n_bytes, missing) in [(0, 2), (1, 1), (2, 9), (3, 8), (10, 1)] {
        let mut buffer = BytesMut::from(&whole[..n_bytes]);
        let told = decode(&mut buffer, &Limits::SESSION);
        assert_eq!(told, Ok(Decoded::Incomplete { missing_bytes: missing }), "{n_bytes}");
        assert_eq!(buffer, &whole[..n_bytes]);
    }
}

#[test]
fn a_payload_is_a_slice_of_what_was_read() {
    let mut buffer = BytesMut::from(&b"\x30\x07\0\x03a/b{}"[..]);
    let address = buffer[7..].as_ptr();
    let Ok(Decoded::Packet(Packet::Publish(publish))) = decode(&mut buffer, &Limits::SESSION)
    else {
        panic!("a PUBLISH");
    };
    assert_eq!(publish.payload.as_ptr(), address);
}

#[test]
fn what_cannot_be_sent_leaves_the_buffer_as_it_was() {
    let will = Will {
        topic: topic("t"),
        payload: Bytes::from(vec![0; 65_536]),
        qos: Qos::AtMostOnce,
        retain: false,
    };
    let message = Publish {
        topic: topic("t"),
        payload: Bytes::from(vec![0; 268_435_453]),
        delivery: Delivery::AtMostOnce,
        retain: false,
    };
    for (packet, why) in [
        (
            Packet::Subscribe(Subscribe { id: id(1), filters: vec![] }),
            Unencodable::Empty(Kind::Subscribe),
        ),
        (
            Packet::SubAck(SubAck { id: Some(id(1)), grants: vec![] }),
            Unencodable::Empty(Kind::SubAck),
        ),
        (
            Packet::Unsubscribe(Unsubscribe { id: id(1), filters: vec![] }),
            Unencodable::Empty(Kind::Unsubscribe),
        ),
        (
            Packet::Connect(Box::new(Connect { will: Some(will), ..connect() })),
            Unencodable::WillTooLong(65_536),
        ),
        (
            Packet::Publish(message),
            Unencodable::TooLong { kind: Kind::Publish, body_bytes: 268_435_456 },
        ),
    ] {
        let mut buffer = BytesMut::from(&b"before"[..]);
        assert_eq!(encode(&packet, &mut buffer), Err(why));
        assert_eq!(buffer, &b"before"[..]);
    }
}

#[test]
fn texts_that_cannot_be_sent_cannot_be_made() {
    assert_eq!(Text::new("a\0"), Err(BadText::Nul));
    assert_eq!(Text::new("a".repeat(65_536)), Err(BadText::TooLong(65_536)));
    assert!(Text::new("a".repeat(65_535)).is_ok());
    assert_eq!(Topic::new(""), Err(BadText::Empty));
    assert_eq!(Topic::new("a/+"), Err(BadText::Wildcard));
    assert_eq!(Filter::new(""), Err(BadText::Empty));
    assert_eq!(Password::new(vec![0; 65_536]), Err(BadText::TooLong(65_536)));
}

#[test]
fn secrets_and_payloads_are_not_printed() {
    let secret = "hunter2";
    let payload = Bytes::from_static(b"hunter2");
    let packet = Connect {
        will: Some(Will {
            topic: topic("t"),
            payload: payload.clone(),
            qos: Qos::AtMostOnce,
            retain: false,
        }),
        login: Some(Login {
            user_name: text("ana"),
            password: Some(Password::new(secret).expect("short")),
        }),
        ..connect()
    };
    let message =
        Publish { topic: topic("t"), payload, delivery: Delivery::AtMostOnce, retain: false };
    let mut printed = String::new();
    write!(printed, "{:?} {message:?}", Packet::Connect(Box::new(packet))).expect("printed");
    assert!(printed.contains("Password(secret)") && printed.contains("ana"), "{printed}");
    assert!(printed.contains("payload_bytes: 7"), "{printed}");
    assert!(!printed.contains(secret), "{printed}");
    assert!(!printed.contains("104, 117"), "{printed}");
}

#[test]
fn the_seeds_of_the_fuzz_target_are_what_their_names_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/mqtt/seeds/mqtt_packet");
    let (mut n_good, mut n_bad) = (0, 0);
    for entry in fs::read_dir(folder).expect("the folder of seeds") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let bytes = fs::read(&path).expect("a seed");
        if name.starts_with("bad-") {
            assert!(all(&bytes).is_err(), "{name}");
            n_bad += 1;
        } else {
            let packets = all(&bytes).unwrap_or_else(|bad| panic!("{name}: {bad}"));
            let written: Vec<u8> = packets.iter().flat_map(encoded).collect();
            assert_eq!(written, bytes, "{name}");
            n_good += 1;
        }
    }
    assert_eq!((n_good, n_bad), (8, 11));
}
