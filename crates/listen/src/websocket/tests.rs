//! The stream over a connection in memory: a client made of raw frames on the other side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::{Violation, WsStream};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of a client: the first byte, and the payload to be masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let mut frame = match n {
        0..126 => vec![first, 0x80 | n as u8],
        126..65_536 => [&[first, 0x80 | 126][..], &(n as u16).to_be_bytes()].concat(),
        _ => [&[first, 0x80 | 127][..], &(n as u64).to_be_bytes()].concat(),
    };
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame of ours.
fn ours(first: u8, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let head = match n {
        0..126 => vec![first, n as u8],
        _ => [&[first, 126][..], &(n as u16).to_be_bytes()].concat(),
    };
    [&head, payload].concat()
}

/// What a run of the stream came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    read: Vec<u8>,
    /// How reading ended.
    end: Result<(), io::ErrorKind>,
    /// What the client got, frames and all.
    answered: Vec<u8>,
}

/// Reads a stream to its end, whose client sends `early` with the handshake and then `sent`, and closes;
/// with a buffer of `n_buffer` bytes over a connection that carries `n_pipe` bytes at a time.
async fn run(early: &[u8], sent: &[u8], n_buffer: usize, n_pipe: usize) -> (Outcome, String) {
    let (client, server) = tokio::io::duplex(n_pipe);
    let (mut from_server, mut to_server) = tokio::io::split(client);
    let mut stream = WsStream::new(server, early.to_vec());
    let serving = async move {
        let (mut read, mut buffer) = (Vec::new(), vec![0; n_buffer]);
        let end = loop {
            match stream.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(n) => read.extend_from_slice(&buffer[..n]),
                Err(error) => break Err(error),
            }
        };
        (read, end)
    };
    let talking = async {
        // A server that refuses what we say may hang up before it has read it all.
        let _ = to_server.write_all(sent).await;
        let _ = to_server.shutdown().await;
    };
    let hearing = async {
        let mut answered = Vec::new();
        from_server.read_to_end(&mut answered).await.unwrap();
        answered
    };
    let ((read, end), (), answered) = tokio::join!(serving, talking, hearing);
    let text = end.as_ref().err().map(ToString::to_string).unwrap_or_default();
    (Outcome { read, end: end.map_err(|error| error.kind()), answered }, text)
}

/// These bytes of a client are read as those, and answered with these bytes.
async fn check(sent: &[u8], read: &[u8], answered: &[u8]) {
    let expected = Outcome { read: read.to_vec(), end: Ok(()), answered: answered.to_vec() };
    for n_buffer in [1, 3, 4_096] {
        assert_eq!(run(&[], sent, n_buffer, 1_024).await.0, expected, "{n_buffer}");
        assert_eq!(run(sent, &[], n_buffer, 1_024).await.0, expected, "{n_buffer}, all early");
    }
}

/// After `before`, which is read, these bytes break that rule: an error here, and a close frame there.
async fn check_broken(before: &[u8], sent: &[u8], violation: Violation) {
    let sent = [&frame(0x82, before), sent].concat();
    let answered = ours(0x88, &violation.close_code().to_be_bytes());
    let end = Err(io::ErrorKind::InvalidData);
    let expected = Outcome { read: before.to_vec(), end, answered };
    for n_buffer in [1, 4_096] {
        let (outcome, text) = run(&[], &sent, n_buffer, 1_024).await;
        assert_eq!(outcome, expected, "{violation:?}");
        assert_eq!(text, violation.to_string());
    }
}

#[tokio::test]
async fn messages_are_read_as_one_stream() {
    check(&[], b"", b"").await;
    check(&frame(0x82, b"ab"), b"ab", b"").await;
    check(&[frame(0x82, b"ab"), frame(0x82, b""), frame(0x82, b"c")].concat(), b"abc", b"").await;
    for n in [125, 126, 65_535, 65_536] {
        let payload: Vec<_> = (0..n).map(|i| (i % 251) as u8).collect();
        check(&frame(0x82, &payload), &payload, b"").await;
    }
}

#[tokio::test]
async fn fragments_are_read_as_one_stream_with_control_frames_between() {
    let sent = [
        frame(0x02, b"a"),
        frame(0x89, b"still there?"),
        frame(0x00, b""),
        frame(0x8a, b"nobody asked"),
        frame(0x80, b"b"),
        frame(0x89, b""),
        frame(0x82, b"c"),
    ];
    let (outcome, _) = run(&[], &sent.concat(), 1, 1).await;
    assert_eq!(outcome.read, b"abc");
    assert_eq!(outcome.answered, [ours(0x8a, b"still there?"), ours(0x8a, b"")].concat());
}

#[tokio::test]
async fn a_goodbye_is_answered_with_its_code_and_ends_reading() {
    let then = frame(0x82, b"too late");
    let sent = [frame(0x82, b"a"), frame(0x88, &[]), then.clone()].concat();
    check(&sent, b"a", &ours(0x88, &[])).await;
    for code in [1000_u16, 1001, 1014, 3000, 4999] {
        let reason = [&code.to_be_bytes()[..], "Tschüß".as_bytes()].concat();
        let sent = [frame(0x88, &reason), then.clone()].concat();
        check(&sent, b"", &ours(0x88, &code.to_be_bytes())).await;
    }
}

#[tokio::test]
async fn every_broken_rule_closes_the_connection_and_says_so() {
    let unmasked = |first: u8| vec![first, 0];
    check_broken(b"a", &unmasked(0x82), Violation::Unmasked).await;
    check_broken(b"a", &unmasked(0x89), Violation::Unmasked).await;
    for first in [0xc2, 0xa2, 0x92, 0xc9] {
        check_broken(b"a", &frame(first, b"x"), Violation::ReservedBits).await;
    }
    for kind in [0x3, 0x7, 0xb, 0xf] {
        check_broken(b"a", &frame(0x80 | kind, b"x"), Violation::UnknownKind).await;
    }
    check_broken(b"a", &frame(0x81, b"x"), Violation::Text).await;
    check_broken(b"a", &frame(0x01, b"x"), Violation::Text).await;
    check_broken(b"a", &frame(0x80, b"x"), Violation::Misplaced).await;
    check_broken(b"a", &frame(0x00, b"x"), Violation::Misplaced).await;
    let nested = [frame(0x02, b""), frame(0x82, b"x")].concat();
    check_broken(b"a", &nested, Violation::Misplaced).await;
    check_broken(b"a", &frame(0x09, b"x"), Violation::BadControl).await;
    check_broken(b"a", &frame(0x89, &[0; 126]), Violation::BadControl).await;
    check_broken(b"a", &frame(0x88, &[3]), Violation::BadClose).await;
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        check_broken(b"a", &frame(0x88, &code.to_be_bytes()), Violation::BadClose).await;
    }
    check_broken(b"a", &frame(0x88, &[3, 232, 0xff]), Violation::BadReason).await;
}

#[tokio::test]
async fn a_length_is_written_in_as_few_bytes_as_it_needs() {
    let with = |short: u8, length: &[u8]| [&[0x82, short], length, &MASK[..]].concat();
    let long = |n: u64| with(0xff, &n.to_be_bytes());
    check_broken(b"a", &with(0xfe, &[0, 125]), Violation::BadLength).await;
    check_broken(b"a", &long(65_535), Violation::BadLength).await;
    check_broken(b"a", &long(1 << 63), Violation::BadLength).await;
    check_broken(b"a", &long(u64::MAX), Violation::BadLength).await;
}

#[tokio::test]
async fn a_frame_of_any_length_is_read_as_it_arrives() {
    let head = [&[0x82, 0xff], &(u64::MAX >> 1).to_be_bytes()[..], &[0; 4]].concat();
    let (mut client, server) = tokio::io::duplex(4_096);
    let mut stream = WsStream::new(server, Vec::new());
    client.write_all(&head).await.unwrap();
    let mut buffer = [0; 1_024];
    for _ in 0..1_000 {
        client.write_all(&[7; 1_000]).await.unwrap();
        let mut n = 0;
        while n < 1_000 {
            n += stream.read(&mut buffer[n..1_000]).await.unwrap();
        }
        assert_eq!(buffer[..1_000], [7; 1_000]);
    }
    drop(client);
    let error = stream.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn an_end_within_a_frame_is_an_error() {
    let whole = frame(0x82, b"abc");
    for n in 1..whole.len() {
        let (outcome, _) = run(&[], &whole[..n], 16, 64).await;
        assert_eq!(outcome.end, Err(io::ErrorKind::UnexpectedEof), "{n}");
    }
    let ping = frame(0x89, b"abc");
    let (outcome, _) = run(&[], &ping[..ping.len() - 1], 16, 64).await;
    assert_eq!(outcome.end, Err(io::ErrorKind::UnexpectedEof));
}

/// A stream and its client.
fn pair() -> (DuplexStream, WsStream<DuplexStream>) {
    let (client, server) = tokio::io::duplex(64 * 1_024);
    (client, WsStream::new(server, Vec::new()))
}

#[tokio::test]
async fn each_flush_makes_one_frame() {
    let (mut client, mut stream) = pair();
    stream.write_all(b"a").await.unwrap();
    stream.write_all(b"bc").await.unwrap();
    stream.flush().await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&[7; 125]).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&[7; 126]).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let frames = [ours(0x82, b"abc"), ours(0x82, &[7; 125]), ours(0x82, &[7; 126])];
    assert_eq!(got, frames.concat());
}

#[tokio::test]
async fn much_at_once_leaves_in_frames_of_16_kib() {
    let (mut client, mut stream) = pair();
    stream.write_all(&[7; 40_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let full = ours(0x82, &[7; 16 * 1_024 - 4]);
    assert_eq!(full.len(), 16 * 1_024);
    let rest = ours(0x82, &[7; 40_000 - 2 * (16 * 1_024 - 4)]);
    assert_eq!(got, [full.clone(), full, rest, ours(0x88, &1000_u16.to_be_bytes())].concat());
}

#[tokio::test]
async fn nothing_is_said_after_a_goodbye() {
    let (mut client, mut stream) = pair();
    stream.shutdown().await.unwrap();
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    // The client's pings and its own goodbye are not answered any more.
    client.write_all(&frame(0x89, b"x")).await.unwrap();
    client.write_all(&frame(0x82, b"last words")).await.unwrap();
    client.write_all(&frame(0x88, &[])).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"last words");
    stream.shutdown().await.unwrap();
    drop(stream);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, ours(0x88, &1000_u16.to_be_bytes()));
}

#[tokio::test]
async fn who_was_told_goodbye_gets_no_more_data() {
    let (mut client, mut stream) = pair();
    stream.write_all(b"never sent").await.unwrap();
    client.write_all(&frame(0x88, &[])).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(stream.filling.capacity(), 0, "nothing is held");
    let error = stream.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    stream.shutdown().await.unwrap();
    drop(stream);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, ours(0x88, &[]));
}

/// A connection whose other side reads nothing until told to, and that wakes only the last who waited.
#[derive(Default)]
struct Stuck {
    incoming: Vec<u8>,
    open: bool,
    /// How often flushing must be tried.
    n_flushes: usize,
    sent: Vec<u8>,
    waiting: Option<Waker>,
}

impl AsyncRead for Stuck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.incoming.is_empty() {
            return Poll::Pending;
        }
        let n = self.incoming.len().min(buf.remaining());
        buf.put_slice(&self.incoming[..n]);
        self.incoming.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.open {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.sent.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.n_flushes = self.n_flushes.saturating_sub(1);
        if self.n_flushes == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn only_the_last_ping_is_kept_for_a_client_that_does_not_read() {
    let pings = (0..1_000).map(|i: u16| frame(0x89, &i.to_be_bytes()));
    let incoming: Vec<u8> = pings.flatten().chain(frame(0x82, b"x")).collect();
    let mut stream = WsStream::new(Stuck { incoming, ..Stuck::default() }, Vec::new());
    let cx = &mut Context::from_waker(Waker::noop());
    let mut bytes = [0; 64];
    let mut buf = ReadBuf::new(&mut bytes);
    assert!(Pin::new(&mut stream).poll_read(cx, &mut buf).is_ready());
    assert_eq!(buf.filled(), b"x");

    stream.stream.open = true;
    assert!(Pin::new(&mut stream).poll_read(cx, &mut buf).is_pending());
    // The first was on its way already when the others came.
    let first = stream.stream.sent[2..4].to_vec();
    let last = ours(0x8a, &999_u16.to_be_bytes());
    assert_eq!(stream.stream.sent, [ours(0x8a, &first), last].concat());
    assert_eq!((stream.sending.capacity(), stream.filling.capacity()), (0, 0), "nothing is held");
}

#[test]
fn a_pong_is_flushed_even_if_that_takes_several_attempts() {
    let connection = Stuck { open: true, n_flushes: 3, ..Stuck::default() };
    let mut stream = WsStream::new(connection, frame(0x89, b"p"));
    let cx = &mut Context::from_waker(Waker::noop());
    let mut bytes = [0; 8];
    for n_left in [2, 1, 0] {
        let mut buf = ReadBuf::new(&mut bytes);
        assert!(Pin::new(&mut stream).poll_read(cx, &mut buf).is_pending());
        assert_eq!(stream.stream.n_flushes, n_left);
    }
    assert_eq!(stream.stream.sent, ours(0x8a, b"p"));
}

#[test]
fn answering_a_ping_does_not_lose_a_writer_that_waits() {
    let incoming = frame(0x89, b"p");
    let mut stream = WsStream::new(Stuck::default(), Vec::new());
    let writer = std::sync::Arc::new(Count::default());
    let woken = std::sync::Arc::clone(&writer);
    let writer = Waker::from(writer);
    let mut writing = Context::from_waker(&writer);
    let mut reading = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut stream).poll_write(&mut writing, b"data").is_ready());
    assert!(Pin::new(&mut stream).poll_flush(&mut writing).is_pending());

    stream.stream.incoming = incoming;
    let mut bytes = [0; 8];
    let mut buf = ReadBuf::new(&mut bytes);
    assert!(Pin::new(&mut stream).poll_read(&mut reading, &mut buf).is_pending());
    assert!(stream.stream.waiting.take().unwrap().will_wake(&writer), "the writer waits on");

    stream.stream.open = true;
    assert!(Pin::new(&mut stream).poll_read(&mut reading, &mut buf).is_pending());
    assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 1, "and is told");
    assert!(Pin::new(&mut stream).poll_flush(&mut writing).is_ready());
    assert_eq!(stream.stream.sent, [ours(0x82, b"data"), ours(0x8a, b"p")].concat());
}

/// A part of a client's side: what it sends, and the payload in it.
fn part() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let control = prop_oneof![Just(0x89), Just(0x8a)];
    let between = (control, vec(any::<u8>(), 0..=125)).prop_map(|(kind, p)| frame(kind, &p));
    let fragments = vec((vec(any::<u8>(), 0..300), proptest::option::of(between)), 1..5);
    fragments.prop_map(|fragments| {
        let (mut sent, mut payload) = (Vec::new(), Vec::new());
        let n = fragments.len();
        for (i, (bytes, between)) in fragments.into_iter().enumerate() {
            let kind = if i == 0 { 0x02 } else { 0x00 };
            let last = if i + 1 == n { 0x80 } else { 0x00 };
            sent.extend(frame(kind | last, &bytes));
            sent.extend(between.unwrap_or_default());
            payload.extend(bytes);
        }
        (sent, payload)
    })
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn any_split_of_bytes_into_frames_gives_the_same_bytes(
        parts in vec(part(), 0..6),
        n_early in 0_usize..400,
        n_buffer in 1_usize..200,
        n_pipe in 1_usize..200,
    ) {
        let sent: Vec<u8> = parts.iter().flat_map(|(sent, _)| sent).copied().collect();
        let payload: Vec<u8> = parts.iter().flat_map(|(_, payload)| payload).copied().collect();
        let (early, later) = sent.split_at(n_early.min(sent.len()));
        let (outcome, _) = block_on(run(early, later, n_buffer, n_pipe));
        prop_assert_eq!(outcome.end, Ok(()));
        prop_assert_eq!(outcome.read, payload);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in vec(any::<u8>(), 0..300),
        n_buffer in 1_usize..64,
    ) {
        let (outcome, _) = block_on(run(&[], &bytes, n_buffer, 64));
        prop_assert!(outcome.read.len() <= bytes.len());
        let expected = matches!(
            outcome.end,
            Ok(()) | Err(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        );
        prop_assert!(expected, "{:?}", outcome.end);
    }
}
