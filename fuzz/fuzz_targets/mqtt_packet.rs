//! A stream of MQTT packets from anyone: read or refused, never a panic. What is read can be
//! written and read again, and it does not matter where the stream was cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mqtt::proto::{BadPacket, Decoded, Head, Limits, Packet, decode, encode};

/// Reads what is in the buffer; it never asks for nothing.
fn read(buffer: &mut BytesMut, packets: &mut Vec<Packet>) -> Result<(), BadPacket> {
    loop {
        let head = Head::read(buffer);
        match decode(buffer, &Limits::LOGIN)? {
            Decoded::Packet(packet) => {
                assert_eq!(head.map(|head| head.map(|head| head.kind)), Ok(Some(packet.kind())));
                packets.push(packet);
            }
            Decoded::Incomplete { missing_bytes } => {
                assert!((1..=Limits::LOGIN.packet_bytes).contains(&missing_bytes));
                return Ok(());
            }
        }
    }
}

fuzz_target!(|stream: &[u8]| {
    let mut buffer = BytesMut::from(stream);
    let mut packets = Vec::new();
    let end = read(&mut buffer, &mut packets);

    let mut written = BytesMut::new();
    for packet in &packets {
        encode(packet, &mut written).expect("what was read can be written");
    }
    let mut again = Vec::new();
    assert_eq!(read(&mut written, &mut again), Ok(()));
    assert!(written.is_empty());
    assert_eq!(again, packets);

    let piece = usize::from(stream.first().copied().unwrap_or_default()) % 7 + 1;
    let mut buffer = BytesMut::new();
    let mut in_pieces = Vec::new();
    let pieces = stream.chunks(piece).try_for_each(|piece| {
        buffer.extend_from_slice(piece);
        read(&mut buffer, &mut in_pieces)
    });
    assert_eq!((pieces, in_pieces), (end, packets));
});
