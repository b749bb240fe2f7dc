//! Frames that come in pieces, late, too large, or to a client that does not read.

use futures_util::FutureExt;
use tokio::{
    io::{DuplexStream, duplex},
    time::Instant,
};

use super::*;
use crate::{
    AmqpSettings,
    proto::{Flow, Outcome, Performative, State, Transfer, WireError},
};

/// Two ends of a stream that holds this much in each direction: ours, of somebody known, and a bare
/// client.
fn ends(n_bytes: usize, settings: &AmqpSettings) -> (FrameStream<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(n_bytes);
    let mut stream = stream_of(ours, &Arc::new(Terms::new(settings)));
    stream.set_standing(Standing::Known);
    (stream, theirs)
}

/// A stranger's.
fn stream_of(ours: DuplexStream, terms: &Arc<Terms>) -> FrameStream<DuplexStream> {
    let mut stream = FrameStream::new(ours, Arc::clone(terms));
    stream.set_limits(Limits::SESSION);
    stream
}

/// So much room for those that are known, and a third as much for strangers.
fn room_of(n_bytes: usize) -> AmqpSettings {
    AmqpSettings {
        room_bytes: n_bytes * 4 / 3,
        max_message_bytes: 10_000,
        ..AmqpSettings::default()
    }
}

fn transfer(n_bytes: usize) -> Frame {
    let transfer = Transfer { delivery_id: Some(7), ..Transfer::default() };
    let performative = Performative::Transfer(transfer);
    Frame { channel: 3, performative, payload: Bytes::from(vec![b'x'; n_bytes]) }
}

fn flow() -> Frame {
    let performative = Performative::Flow(Flow { incoming_window: 9, ..Flow::default() });
    Frame { channel: 1, performative, payload: Bytes::new() }
}

fn bytes_of(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for Frame { channel, performative, payload } in frames {
        match performative {
            Performative::Transfer(transfer) => {
                let most = usize::MAX;
                proto::encode_transfer(*channel, transfer, payload, most, &mut bytes);
            }
            other => proto::encode(*channel, other, &mut bytes),
        }
    }
    bytes
}

async fn turn(stream: &mut FrameStream<DuplexStream>) -> Result<Turn, Broken> {
    poll_fn(|cx| stream.poll_turn(cx, true)).await
}

/// The next frame, of which the message is whole.
async fn read(stream: &mut FrameStream<DuplexStream>) -> Result<(Frame, Place), Broken> {
    match turn(stream).await? {
        Turn::Frame(frame) => {
            let place = stream.place(frame.payload.len());
            stream.set_partial(0);
            Ok((*frame, place))
        }
        other => panic!("expected a frame: {other:?}"),
    }
}

fn is_at_rest(stream: &FrameStream<DuplexStream>) -> bool {
    let rests = stream.late.is_none() && stream.stuck.is_none();
    rests && stream.received.capacity() == 0 && stream.queued.capacity() == 0
}

/// Sends these frames in pieces of that size, and expects them on the other side.
async fn check(frames: &[Frame], n_piece: usize) {
    let (mut stream, mut client) = ends(n_piece, &AmqpSettings::default());
    let bytes = bytes_of(frames);
    let sending = async {
        client.write_all(&bytes).await.expect("sent");
        client.flush().await.expect("sent");
    };
    let reading = async {
        for frame in frames {
            let (read, _place) = read(&mut stream).await.expect("a frame");
            assert!(read == *frame, "{frame:?} in pieces of {n_piece}: {read:?}");
        }
        assert!(read(&mut stream).now_or_never().is_none(), "there is no more");
        assert!(is_at_rest(&stream));
    };
    tokio::join!(sending, reading);
}

#[tokio::test]
async fn frames_arrive_whole_in_whatever_pieces_they_come() {
    let frames = [transfer(0), flow(), transfer(200), transfer(5000), flow(), transfer(20_000)];
    for n_piece in [1, 2, 3, 7, 64, 4096, 4097, 1 << 20] {
        check(&frames, n_piece).await;
    }
    check(&[transfer(60_000), flow()], 1000).await;
}

#[tokio::test]
async fn what_arrived_stays_when_reading_is_given_up() {
    let (mut stream, mut client) = ends(1 << 20, &AmqpSettings::default());
    for frame in [transfer(300), transfer(30_000)] {
        let bytes = bytes_of(std::slice::from_ref(&frame));
        for piece in bytes.chunks(97) {
            assert!(read(&mut stream).now_or_never().is_none(), "not whole yet");
            client.write_all(piece).await.expect("sent");
        }
        let (read, _place) = read(&mut stream).await.expect("a frame");
        assert!(read == frame);
    }
}

#[tokio::test]
async fn a_small_payload_keeps_nothing_of_what_came_along_with_it() {
    let (mut stream, mut client) = ends(1 << 20, &AmqpSettings::default());
    client.write_all(&bytes_of(&[transfer(10), transfer(3000)])).await.expect("sent");
    let (frame, _place) = read(&mut stream).await.expect("a frame");
    keeps_nothing_but_itself(frame.payload);
}

#[tokio::test]
async fn a_frame_that_announces_too_much_is_refused_before_it_is_read() {
    let (mut stream, mut client) = ends(64, &AmqpSettings::default());
    stream.set_limits(Limits { frame_bytes: 1000, ..Limits::STRANGER });
    // 256 MiB, of which nothing ever comes.
    client.write_all(&[0x10, 0, 0, 0]).await.expect("sent");
    let broken = turn(&mut stream).await.expect_err("too long");
    assert!(matches!(broken, Broken::Malformed(BadFrame::TooLong { .. })), "{broken}");
    assert!(stream.received.capacity() < 64);
}

#[tokio::test]
async fn the_end_between_two_frames_is_told_from_the_end_within_one() {
    let (mut stream, mut client) = ends(1024, &AmqpSettings::default());
    client.write_all(&bytes_of(&[flow()])).await.expect("sent");
    client.shutdown().await.expect("closed");
    assert!(read(&mut stream).await.is_ok());
    assert!(matches!(turn(&mut stream).await, Err(Broken::Closed)));

    let (mut stream, mut client) = ends(64, &AmqpSettings::default());
    client.write_all(&[0, 0, 0, 9]).await.expect("sent");
    client.shutdown().await.expect("closed");
    assert!(matches!(turn(&mut stream).await, Err(Broken::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_trickles_is_late_however_often_a_byte_comes() {
    let (mut stream, mut client) = ends(64, &AmqpSettings::default());
    let begun = Instant::now();
    let trickling = async {
        client.write_all(&[0, 0, 0, 200]).await.expect("sent");
        loop {
            sleep(Duration::from_secs(7)).await;
            client.write_all(&[2]).await.expect("sent");
            // The rest of its header is legal.
            client.write_all(&[0]).await.expect("sent");
        }
    };
    tokio::select! {
        never = trickling => never,
        read = turn(&mut stream) => assert!(matches!(read, Err(Broken::Late)), "{read:?}"),
    }
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_nothing_comes_waits_for_ever() {
    let (mut stream, _client) = ends(64, &AmqpSettings::default());
    let waited = timeout(Duration::from_secs(1_000_000), turn(&mut stream)).await;
    assert!(waited.is_err());
    assert!(is_at_rest(&stream));
}

#[tokio::test(start_paused = true)]
async fn large_frames_wait_for_room_and_are_not_late_for_it() {
    let (mut first, mut first_client) = ends(1 << 20, &room_of(30_000));
    let n_free = first.terms.n_free();
    let (ours, mut second_client) = duplex(1 << 20);
    let mut second = stream_of(ours, &first.terms);
    second.set_standing(Standing::Known);
    let large = bytes_of(&[transfer(20_000)]);
    first_client.write_all(&large).await.expect("sent");
    second_client.write_all(&large).await.expect("sent");
    second_client.write_all(&bytes_of(&[flow()])).await.expect("sent");

    let (frame, place) = read(&mut first).await.expect("a frame");
    assert!(frame == transfer(20_000));
    assert!((20_000..20_500).contains(&(n_free - first.terms.n_free())));
    let waited = timeout(Duration::from_secs(1000), turn(&mut second)).await;
    assert!(waited.is_err(), "there is no room for two");
    assert!(second.received.capacity() <= 2 * FREE_BYTES, "nothing is kept meanwhile");
    drop(place);
    assert!(read(&mut second).await.expect("a frame").0 == transfer(20_000));
    assert!(read(&mut second).await.expect("a frame").0 == flow());
    assert_eq!(second.terms.n_free(), n_free, "the room is given back");
}

/// Whoever answers a client may do so in the middle of a frame of its.
#[tokio::test]
async fn a_frame_keeps_its_room_until_it_is_whole() {
    for n_partial in [0, 3000] {
        let (mut stream, mut client) = ends(1 << 20, &room_of(200_000));
        let n_free = stream.terms.n_free();
        if n_partial > 0 {
            client.write_all(&bytes_of(&[transfer(n_partial)])).await.expect("sent");
            assert!(matches!(turn(&mut stream).await, Ok(Turn::Frame(_))));
            stream.set_partial(n_partial);
        }
        let large = bytes_of(&[transfer(20_000)]);
        client.write_all(&large[..10_000]).await.expect("sent");
        assert!(turn(&mut stream).now_or_never().is_none());
        let n_left = stream.terms.n_free();
        assert!(n_free - n_left >= 20_000);
        // What was partly there is given up, or there was nothing.
        stream.set_partial(0);
        assert_eq!(stream.terms.n_free(), n_left, "{n_partial}");
        client.write_all(&large[10_000..]).await.expect("sent");
        let (_, place) = read(&mut stream).await.expect("a frame");
        assert!((20_000..20_500).contains(&(n_free - stream.terms.n_free())));
        drop(place);
        assert_eq!(stream.terms.n_free(), n_free);
    }
}

#[tokio::test]
async fn a_small_payload_keeps_nothing_of_a_large_frame() {
    let (mut stream, mut client) = ends(1 << 20, &AmqpSettings::default());
    let why = WireError::new("a-condition", "x".repeat(50_000));
    let state = Some(State::Outcome(Outcome::Rejected(Some(why))));
    let told = Transfer { delivery_id: Some(7), state, ..Transfer::default() };
    let mut bytes = BytesMut::new();
    proto::encode_transfer(3, &told, b"x", usize::MAX, &mut bytes);
    assert!(bytes.len() > 50_000);
    client.write_all(&bytes).await.expect("sent");
    let (frame, _place) = read(&mut stream).await.expect("a frame");
    assert_eq!(frame.payload, b"x"[..]);
    keeps_nothing_but_itself(frame.payload);
}

#[track_caller]
fn keeps_nothing_but_itself(payload: Bytes) {
    let n_bytes = payload.len();
    let mut payload = payload.try_into_mut().expect("shared with nothing");
    assert!(!payload.try_reclaim(n_bytes + 1), "it has kept memory for more");
}

#[tokio::test]
async fn a_frame_larger_than_the_room_has_it_to_itself() {
    let (mut stream, mut client) = ends(1 << 20, &room_of(9_000));
    let n_free = stream.terms.n_free();
    client.write_all(&bytes_of(&[transfer(20_000)])).await.expect("sent");
    let (_, place) = read(&mut stream).await.expect("a frame");
    assert_eq!(n_free - stream.terms.n_free(), 9_000);
    drop(place);
    assert_eq!(stream.terms.n_free(), n_free);
}

#[tokio::test]
async fn a_message_of_many_frames_takes_room_for_all_of_it_and_gives_back_the_rest() {
    let (mut stream, mut client) = ends(1 << 20, &room_of(200_000));
    let n_free = stream.terms.n_free();
    client.write_all(&bytes_of(&[transfer(5000), transfer(5000)])).await.expect("sent");
    assert!(matches!(turn(&mut stream).await, Ok(Turn::Frame(_))));
    stream.set_partial(5000);
    assert_eq!(stream.terms.n_free(), n_free, "it waits without any");
    assert!(matches!(turn(&mut stream).await, Ok(Turn::Frame(_))));
    assert_eq!(n_free - stream.terms.n_free(), Limits::SESSION.frame_bytes + 4 * 10_000);
    let place = stream.place(10_000);
    stream.set_partial(0);
    assert!((10_000..10_500).contains(&(n_free - stream.terms.n_free())));
    drop(place);
    assert_eq!(stream.terms.n_free(), n_free);
}

/// Nothing else can come in order: with all room taken by beginnings, none would ever end.
#[tokio::test]
async fn beginnings_of_messages_never_wait_for_each_other() {
    const N: usize = 8;
    let settings = room_of(150_000);
    let terms = Arc::new(Terms::new(&settings));
    let mut all = Vec::new();
    for _ in 0..N {
        let (ours, mut client) = duplex(1 << 20);
        let mut stream = stream_of(ours, &terms);
        stream.set_standing(Standing::Known);
        client.write_all(&bytes_of(&[transfer(20_000), transfer(20_000)])).await.expect("sent");
        assert!(matches!(turn(&mut stream).await, Ok(Turn::Frame(_))));
        stream.set_partial(20_000);
        all.push((stream, client));
    }
    let mut n_whole = 0;
    while n_whole < N {
        let was = n_whole;
        for (stream, _client) in &mut all {
            if stream.n_partial > 0 && turn(stream).now_or_never().is_some() {
                drop(stream.place(40_000));
                stream.set_partial(0);
                n_whole += 1;
            }
        }
        assert!(n_whole > was, "all of them wait");
    }
}

#[tokio::test]
async fn a_stream_that_goes_gives_back_the_room_it_waited_for_or_had() {
    let (mut stream, mut client) = ends(1 << 20, &room_of(30_000));
    let terms = Arc::clone(&stream.terms);
    let n_free = terms.n_free();
    client.write_all(&bytes_of(&[transfer(20_000)])[..10_000]).await.expect("sent");
    assert!(turn(&mut stream).now_or_never().is_none());
    assert!(terms.n_free() < n_free);
    drop(stream);
    assert_eq!(terms.n_free(), n_free);
}

/// The head of a frame is enough to take its room, and anybody can send one.
#[tokio::test]
async fn strangers_who_announce_large_frames_take_no_room_of_others() {
    let (mut device, mut device_client) = ends(1 << 20, &room_of(30_000));
    let mut strangers = Vec::new();
    for standing in [Standing::Stranger, Standing::Guest, Standing::Stranger, Standing::Guest] {
        let (ours, mut client) = duplex(64);
        let mut stream = stream_of(ours, &device.terms);
        stream.set_standing(standing);
        client.write_all(&bytes_of(&[transfer(20_000)])[..4]).await.expect("sent");
        assert!(turn(&mut stream).now_or_never().is_none(), "the rest never comes");
        strangers.push((stream, client));
    }
    device_client.write_all(&bytes_of(&[transfer(20_000)])).await.expect("sent");
    let read = read(&mut device).now_or_never().expect("nobody is in its way");
    assert!(read.expect("a frame").0 == transfer(20_000));
}

#[tokio::test]
async fn no_more_is_read_while_too_much_of_a_connection_waits() {
    let settings = AmqpSettings { max_waiting_bytes: 10_000, ..AmqpSettings::default() };
    let (mut stream, mut client) = ends(1 << 20, &settings);
    client.write_all(&bytes_of(&vec![transfer(3000); 10])).await.expect("sent");
    let mut places = Vec::new();
    while let Some(read) = read(&mut stream).now_or_never() {
        places.push(read.expect("a frame").1);
    }
    assert_eq!(places.len(), 4);
    places.pop();
    assert!(read(&mut stream).now_or_never().is_some());
}

#[tokio::test]
async fn what_is_queued_is_sent_before_anything_is_read() {
    let (mut stream, mut client) = ends(16, &AmqpSettings::default());
    let queued = bytes_of(&[transfer(1000)]);
    stream.queue(queued.clone());
    let mut sent = vec![0; queued.len()];
    let sending = async { assert!(matches!(turn(&mut stream).await, Ok(Turn::Sent))) };
    let (_, read) = tokio::join!(sending, client.read_exact(&mut sent));
    read.expect("read");
    assert!(sent == queued);
    assert!(turn(&mut stream).now_or_never().is_none());
    assert!(is_at_rest(&stream));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let (mut stream, _client) = ends(16, &AmqpSettings::default());
    stream.queue(bytes_of(&[transfer(1000)]));
    let begun = Instant::now();
    assert!(matches!(stream.flush().await, Err(Broken::Stuck)));
    assert_eq!(begun.elapsed().as_secs(), 30);
    let (mut stream, _client) = ends(16, &AmqpSettings::default());
    stream.queue(bytes_of(&[transfer(1000)]));
    assert!(matches!(turn(&mut stream).await, Err(Broken::Stuck)));
}

#[tokio::test(start_paused = true)]
async fn closing_sends_what_is_queued_and_waits_a_moment_for_the_client() {
    let (mut stream, mut client) = ends(8, &AmqpSettings::default());
    stream.queue(bytes_of(&[transfer(100)]));
    let mut sent = Vec::new();
    {
        let mut closing = pin!(stream.close());
        tokio::select! {
            () = &mut closing => panic!("the client has not closed"),
            read = client.read_to_end(&mut sent) => drop(read.expect("to the end")),
        }
        assert!(sent == bytes_of(&[transfer(100)]));
        client.write_all(&[0; 4]).await.expect("read and forgotten");
        drop(client);
        closing.await;
    }
    let (mut stream, _client) = ends(8, &AmqpSettings::default());
    let begun = Instant::now();
    stream.close().await;
    assert_eq!(begun.elapsed(), LINGER.0, "a client that does not close is not waited for");
}

#[test]
fn a_stream_is_small() {
    assert!(size_of::<FrameStream<()>>() <= 256, "{}", size_of::<FrameStream<()>>());
}
