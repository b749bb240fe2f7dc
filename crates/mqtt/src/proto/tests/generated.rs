//! Generated packets and streams: each packet is read as it was written, wherever a stream of them
//! is cut; and nothing that arrives makes the reader panic.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

fn any_text() -> impl Strategy<Value = Text> {
    ".{0,40}".prop_map(|text| Text::new(text.replace('\0', " ")).expect("a text"))
}

fn any_topic() -> impl Strategy<Value = Topic> {
    "[^\0+#]{1,40}".prop_map(|name| Topic::new(name).expect("a topic"))
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let level = prop_oneof![Just("+".to_owned()), "[^\0+#/]{0,9}"];
    (vec(level, 1..6), any::<bool>()).prop_filter_map("empty", |(levels, is_open)| {
        let text = levels.join("/") + if is_open { "/#" } else { "" };
        Filter::new(text).ok()
    })
}

fn any_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(id)
}

fn any_qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    // Beyond 127 bytes the remaining length takes more than one byte, beyond 16,383 more than two.
    prop_oneof![
        8 => vec(any::<u8>(), 0..300),
        1 => (16_300..16_500_usize).prop_map(|n| vec![b'x'; n]),
    ]
    .prop_map(Bytes::from)
}

fn any_connect() -> impl Strategy<Value = Packet> {
    let will = (any_topic(), any_payload(), any_qos(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain });
    let login = (any_text(), option::of(any_payload())).prop_map(|(user_name, password)| {
        let password = password.map(|bytes| Password::new(bytes).expect("short"));
        Login { user_name, password }
    });
    (any_text(), any::<bool>(), any::<u16>(), option::of(will), option::of(login)).prop_map(
        |(client_id, clean_session, keep_alive_secs, will, login)| {
            let connect = Connect { client_id, clean_session, keep_alive_secs, will, login };
            Packet::Connect(Box::new(connect))
        },
    )
}

fn any_publish() -> impl Strategy<Value = Packet> {
    let delivery = (any_qos(), any_id(), any::<bool>()).prop_map(|(qos, id, dup)| match qos {
        Qos::AtMostOnce => Delivery::AtMostOnce,
        Qos::AtLeastOnce => Delivery::AtLeastOnce { id, dup },
        Qos::ExactlyOnce => Delivery::ExactlyOnce { id, dup },
    });
    (any_topic(), any_payload(), delivery, any::<bool>()).prop_map(
        |(topic, payload, delivery, retain)| {
            Packet::Publish(Publish { topic, payload, delivery, retain })
        },
    )
}

fn any_answer() -> impl Strategy<Value = Packet> {
    let refusals = select(vec![
        ConnectRefusal::UnacceptableVersion,
        ConnectRefusal::IdentifierRejected,
        ConnectRefusal::ServerUnavailable,
        ConnectRefusal::BadLogin,
        ConnectRefusal::NotAuthorized,
    ]);
    let grant = prop_oneof![Just(Grant::Refused), any_qos().prop_map(Grant::Granted)];
    prop_oneof![
        any::<bool>()
            .prop_map(|session_present| Packet::ConnAck(ConnAck::Accepted { session_present })),
        refusals.prop_map(|refusal| Packet::ConnAck(ConnAck::Refused(refusal))),
        option::of(any_id()).prop_map(Packet::PubAck),
        option::of(any_id()).prop_map(Packet::PubRec),
        option::of(any_id()).prop_map(Packet::PubRel),
        option::of(any_id()).prop_map(Packet::PubComp),
        option::of(any_id()).prop_map(Packet::UnsubAck),
        (option::of(any_id()), vec(grant, 1..9))
            .prop_map(|(id, grants)| Packet::SubAck(SubAck { id, grants })),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        2 => any_connect(),
        4 => any_publish(),
        3 => any_answer(),
        1 => (any_id(), vec((any_filter(), any_qos()), 1..9))
            .prop_map(|(id, filters)| Packet::Subscribe(Subscribe { id, filters })),
        1 => (any_id(), vec(any_filter(), 1..9))
            .prop_map(|(id, filters)| Packet::Unsubscribe(Unsubscribe { id, filters })),
        1 => select(vec![Packet::PingReq, Packet::PingResp, Packet::Disconnect]),
    ]
}

/// Reads a stream that arrives in pieces, as a door does; and never asks for more than there is.
fn in_pieces(stream: &[u8], cuts: &[usize]) -> Result<Vec<Packet>, BadPacket> {
    let mut packets = Vec::new();
    let mut buffer = BytesMut::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let piece = cuts.next().map_or(1, |cut| cut % rest.len() + 1);
        buffer.extend_from_slice(&rest[..piece]);
        rest = &rest[piece..];
        loop {
            match decode(&mut buffer, &Limits::SESSION)? {
                Decoded::Packet(packet) => packets.push(packet),
                Decoded::Incomplete { missing_bytes } => {
                    let is_over = rest.is_empty() && buffer.is_empty();
                    assert!(is_over || (1..=rest.len()).contains(&missing_bytes));
                    break;
                }
            }
        }
    }
    Ok(packets)
}

proptest! {
    #[test]
    fn a_packet_is_read_as_it_was_written(packet in any_packet()) {
        let bytes = encoded(&packet);
        let head = Head::read(&bytes).expect("legal").expect("complete");
        prop_assert_eq!((head.kind, head.packet_bytes()), (packet.kind(), bytes.len()));
        prop_assert_eq!(all(&bytes), Ok(vec![packet]));
    }

    #[test]
    fn a_stream_is_read_the_same_wherever_it_is_cut(
        packets in vec(any_packet(), 1..6),
        cuts in vec(0..600_usize, 1..8),
    ) {
        let stream: Vec<u8> = packets.iter().flat_map(encoded).collect();
        prop_assert_eq!(in_pieces(&stream, &cuts), Ok(packets));
    }

    #[test]
    fn a_packet_cut_short_is_incomplete_and_never_an_error(packet in any_packet(), cut: usize) {
        let bytes = encoded(&packet);
        let mut buffer = BytesMut::from(&bytes[..cut % bytes.len()]);
        let told = decode(&mut buffer, &Limits::SESSION);
        prop_assert!(matches!(told, Ok(Decoded::Incomplete { .. })), "{told:?}");
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_can_be_written(
        first in prop_oneof![any::<u8>(), select(vec![0x10, 0x20, 0x30, 0x32, 0x82, 0x90, 0xa2])],
        body in vec(any::<u8>(), 0..100),
    ) {
        let length = u8::try_from(body.len()).expect("short");
        let bytes = [&[first, length], &body[..]].concat();
        if let Ok(Decoded::Packet(packet)) =
            decode(&mut BytesMut::from(&bytes[..]), &Limits::SESSION)
        {
            prop_assert_eq!(encoded(&packet), bytes);
        }
        let _ = decode(&mut BytesMut::from(&body[..]), &Limits::SESSION);
    }

    #[test]
    fn a_packet_with_one_byte_changed_is_read_as_what_it_says_or_refused(
        packet in any_packet(),
        at: usize,
        byte: u8,
    ) {
        let mut bytes = encoded(&packet);
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut buffer = BytesMut::from(&bytes[..]);
        if let Ok(Decoded::Packet(packet)) = decode(&mut buffer, &Limits::SESSION) {
            prop_assert_eq!(all(&encoded(&packet)), Ok(vec![packet]));
        }
    }
}
