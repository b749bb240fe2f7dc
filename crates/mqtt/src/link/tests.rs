//! Packets that come in pieces, late, too large, or to a client that does not read.

use std::{num::NonZeroU16, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::Instant,
};

use super::*;
use crate::proto::{Delivery, Publish, Topic, encode};

/// Two ends of a stream that holds this much in each direction: a link, and a bare client.
fn ends(n_bytes: usize, settings: &MqttSettings) -> (Link<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(n_bytes);
    let mut link = link_of(ours, &Arc::new(Terms::new(settings)));
    link.admit();
    (link, theirs)
}

/// A stranger's link.
fn link_of(ours: DuplexStream, terms: &Arc<Terms>) -> Link<DuplexStream> {
    Link::new(ours, Arc::clone(terms), Limits { packet_bytes: 264 * 1024, entries: 32 })
}

/// So much room for devices, and a third as much for strangers.
fn room_of(n_bytes: usize) -> MqttSettings {
    let settings = MqttSettings { room_bytes: n_bytes * 4 / 3, ..MqttSettings::default() };
    assert_eq!(Terms::new(&settings).devices.n_free(), n_bytes);
    settings
}

fn publish(n_bytes: usize) -> Packet {
    Packet::Publish(Publish {
        topic: Topic::new("a/topic").expect("a topic"),
        payload: Bytes::from(vec![b'x'; n_bytes]),
        delivery: Delivery::AtMostOnce,
        retain: false,
    })
}

fn bytes_of(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        encode(packet, &mut bytes).expect("a packet that can be sent");
    }
    bytes
}

fn is_at_rest(link: &Link<DuplexStream>) -> bool {
    let rests = link.late.is_none() && link.stuck.is_none();
    rests && link.received.capacity() == 0 && link.queued.capacity() == 0
}

/// Sends these packets in pieces of that size, and expects them on the other side.
async fn check(packets: &[Packet], n_piece: usize) {
    let (mut link, mut client) = ends(n_piece, &MqttSettings::default());
    let bytes = bytes_of(packets);
    let sending = async {
        client.write_all(&bytes).await.expect("sent");
        client.flush().await.expect("sent");
    };
    let reading = async {
        for packet in packets {
            let (read, _place) = link.read().await.expect("a packet");
            assert!(read == *packet, "{:?} in pieces of {n_piece}", packet.kind());
        }
        assert!(link.read().now_or_never().is_none(), "there is no more");
        assert!(is_at_rest(&link));
    };
    tokio::join!(sending, reading);
}

#[tokio::test]
async fn packets_arrive_whole_in_whatever_pieces_they_come() {
    let packets = [
        publish(0),
        Packet::PingReq,
        publish(200),
        publish(5000),
        Packet::PubAck(NonZeroU16::new(7)),
        publish(20_000),
        Packet::Disconnect,
    ];
    for n_piece in [1, 2, 3, 7, 64, 4096, 4097, 1 << 20] {
        check(&packets, n_piece).await;
    }
    let packets = [publish(256 * 1024), Packet::PingReq];
    for n_piece in [1000, 1 << 20] {
        check(&packets, n_piece).await;
    }
}

#[tokio::test]
async fn what_arrived_stays_when_reading_is_given_up() {
    let (mut link, mut client) = ends(1 << 20, &MqttSettings::default());
    for packet in [publish(300), publish(30_000)] {
        let bytes = bytes_of(std::slice::from_ref(&packet));
        for piece in bytes.chunks(97) {
            assert!(link.read().now_or_never().is_none(), "not whole yet");
            client.write_all(piece).await.expect("sent");
        }
        let (read, _place) = link.read().await.expect("a packet");
        assert!(read == packet);
    }
}

#[tokio::test]
async fn a_packet_that_announces_too_much_is_refused_before_it_is_read() {
    let (mut link, mut client) = ends(64, &MqttSettings::default());
    link.set_limits(Limits { packet_bytes: 1000, entries: 32 });
    // 256 MiB, of which nothing ever comes.
    client.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await.expect("sent");
    let broken = link.read().await.expect_err("too long");
    assert!(matches!(broken, Broken::Malformed(BadPacket::TooLong { .. })), "{broken}");
    assert!(link.received.capacity() < 64);
}

#[tokio::test]
async fn the_end_between_two_packets_is_told_from_the_end_within_one() {
    let (mut link, mut client) = ends(64, &MqttSettings::default());
    client.write_all(&bytes_of(&[Packet::PingReq])).await.expect("sent");
    client.shutdown().await.expect("closed");
    assert!(matches!(link.read().await, Ok((Packet::PingReq, _))));
    assert!(matches!(link.read().await, Err(Broken::Closed)));

    let (mut link, mut client) = ends(64, &MqttSettings::default());
    client.write_all(&[0x30, 9, 0]).await.expect("sent");
    client.shutdown().await.expect("closed");
    assert!(matches!(link.read().await, Err(Broken::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_trickles_is_late_however_often_a_byte_comes() {
    let (mut link, mut client) = ends(64, &MqttSettings::default());
    let begun = Instant::now();
    let trickling = async {
        client.write_all(&[0x30, 100]).await.expect("sent");
        loop {
            sleep(Duration::from_secs(7)).await;
            client.write_all(b"x").await.expect("sent");
        }
    };
    tokio::select! {
        never = trickling => never,
        read = link.read() => assert!(matches!(read, Err(Broken::Late))),
    }
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_nothing_comes_waits_for_ever() {
    let (mut link, _client) = ends(64, &MqttSettings::default());
    let waited = timeout(Duration::from_secs(1_000_000), link.read()).await;
    assert!(waited.is_err());
    assert!(is_at_rest(&link));
}

#[tokio::test(start_paused = true)]
async fn large_packets_wait_for_room_and_are_not_late_for_it() {
    let (mut first, mut first_client) = ends(1 << 20, &room_of(30_000));
    let (ours, mut second_client) = duplex(1 << 20);
    let mut second = link_of(ours, &first.terms);
    second.admit();
    let large = bytes_of(&[publish(20_000)]);
    first_client.write_all(&large).await.expect("sent");
    second_client.write_all(&large).await.expect("sent");
    second_client.write_all(&bytes_of(&[Packet::PingReq])).await.expect("sent");

    let (packet, place) = first.read().await.expect("a packet");
    assert!(packet == publish(20_000));
    assert_eq!(first.terms.devices.n_free(), 30_000 - large.len());
    let waited = timeout(Duration::from_secs(1000), second.read()).await;
    assert!(waited.is_err(), "there is no room for two");
    assert!(second.received.capacity() <= 2 * FREE_BYTES, "nothing is kept meanwhile");
    drop(place);
    assert!(second.read().await.expect("a packet").0 == publish(20_000));
    assert!(matches!(second.read().await, Ok((Packet::PingReq, _))));
    assert_eq!(second.terms.devices.n_free(), 30_000, "the room is given back");
}

#[tokio::test]
async fn a_packet_larger_than_the_room_has_it_to_itself() {
    let (mut link, mut client) = ends(1 << 20, &room_of(9_000));
    client.write_all(&bytes_of(&[publish(20_000)])).await.expect("sent");
    let (_, place) = link.read().await.expect("a packet");
    assert_eq!(link.terms.devices.n_free(), 0);
    drop(place);
    assert_eq!(link.terms.devices.n_free(), 9_000);
}

#[tokio::test]
async fn a_link_that_goes_gives_back_the_room_it_waited_for_or_had() {
    let (mut link, mut client) = ends(1 << 20, &room_of(30_000));
    let terms = Arc::clone(&link.terms);
    client.write_all(&bytes_of(&[publish(20_000)])[..10_000]).await.expect("sent");
    assert!(link.read().now_or_never().is_none());
    assert!(terms.devices.n_free() < 30_000);
    drop(link);
    assert_eq!(terms.devices.n_free(), 30_000);
}

/// The head of a packet is enough to take its room, and anybody can send one.
#[tokio::test]
async fn strangers_who_announce_large_packets_take_no_room_of_devices() {
    let (mut device, mut device_client) = ends(1 << 20, &room_of(30_000));
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let (ours, mut client) = duplex(64);
        let mut link = link_of(ours, &device.terms);
        client.write_all(&bytes_of(&[publish(20_000)])[..4]).await.expect("sent");
        assert!(link.read().now_or_never().is_none(), "the rest never comes");
        strangers.push((link, client));
    }
    assert_eq!(device.terms.strangers.n_free(), 0);
    device_client.write_all(&bytes_of(&[publish(20_000)])).await.expect("sent");
    let read = device.read().now_or_never().expect("nobody is in its way");
    assert!(read.expect("a packet").0 == publish(20_000));
}

#[tokio::test]
async fn what_is_queued_is_sent_while_reading() {
    let (mut link, mut client) = ends(16, &MqttSettings::default());
    link.queue(&publish(1000)).expect("queued");
    let expected = bytes_of(&[publish(1000)]);
    let mut sent = vec![0; expected.len()];
    tokio::select! {
        biased;
        _ = link.read() => panic!("nothing was sent"),
        read = client.read_exact(&mut sent) => drop(read.expect("read")),
    }
    assert!(sent == expected);
    assert!(link.read().now_or_never().is_none());
    assert!(is_at_rest(&link));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let (mut link, _client) = ends(16, &MqttSettings::default());
    link.queue(&publish(1000)).expect("queued");
    let begun = Instant::now();
    assert!(matches!(link.flush().await, Err(Broken::Stuck)));
    assert_eq!(begun.elapsed().as_secs(), 30);
    let (mut link, _client) = ends(16, &MqttSettings::default());
    link.queue(&publish(1000)).expect("queued");
    assert!(matches!(link.read().await, Err(Broken::Stuck)));
}

#[tokio::test]
async fn no_more_than_a_bounded_number_of_bytes_waits_to_be_sent() {
    let (mut link, _client) = ends(16, &MqttSettings::default());
    let full = (0..100).find_map(|_| link.queue(&publish(256 * 1024)).err());
    assert!(matches!(full, Some(Broken::Full)));
    assert!(link.queued.len() < MAX_QUEUED_BYTES + 300 * 1024);
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_queued_and_waits_a_moment_for_the_client() {
    let (mut link, mut client) = ends(8, &MqttSettings::default());
    link.queue(&publish(100)).expect("queued");
    let mut sent = Vec::new();
    {
        let mut closing = pin!(link.close());
        tokio::select! {
            () = &mut closing => panic!("the client has not closed"),
            read = client.read_to_end(&mut sent) => drop(read.expect("to the end")),
        }
        assert!(sent == bytes_of(&[publish(100)]));
        client.write_all(&[0; 4]).await.expect("read and forgotten");
        drop(client);
        closing.await;
    }
    let (mut link, _client) = ends(8, &MqttSettings::default());
    let begun = Instant::now();
    link.close().await;
    assert_eq!(begun.elapsed(), LINGER.0, "a client that does not close is not waited for");
}

#[test]
fn a_link_is_small() {
    assert!(size_of::<Link<()>>() <= 256, "{}", size_of::<Link<()>>());
}
