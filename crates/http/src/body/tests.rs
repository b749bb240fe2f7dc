use std::convert::Infallible;
use std::task::Poll;

use futures_util::stream;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;

use super::*;

const KIB: usize = 1024;

fn room(n_bytes: usize) -> Room {
    let settings = HttpSettings {
        max_body_bytes: 64 * KIB,
        max_body_bytes_in_flight: n_bytes,
        ..HttpSettings::default()
    };
    Room::new(&settings)
}

fn whole(n_bytes: usize) -> Full<Bytes> {
    Full::from(vec![b'x'; n_bytes])
}

/// A body of unknown length that brings so many bytes and never ends.
fn stalled(n_bytes: usize) -> impl Body<Data = Bytes, Error = Infallible> {
    let mut first = Some(Bytes::from(vec![b'x'; n_bytes]));
    StreamBody::new(stream::poll_fn(move |_| match first.take() {
        Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
        None => Poll::Pending,
    }))
}

/// So many bytes come, of which so many are wanted; the outcome, in bytes kept and held.
async fn check(sent: usize, wanted: usize, kept: Result<usize, RequestFault>, held: usize) {
    let room = room(64 * KIB);
    let received = room.receive(whole(sent), wanted).await;
    let n_kept = received.body.as_ref().map(Bytes::len).map_err(|fault| *fault);
    assert_eq!((n_kept, 64 * KIB - room.n_free()), (kept, held), "{wanted} of {sent}");
    drop(received);
    assert_eq!(room.n_free(), 64 * KIB);
}

#[tokio::test]
async fn a_body_is_kept_as_far_as_it_is_wanted() {
    check(0, 64 * KIB, Ok(0), 0).await;
    check(4 * KIB, 64 * KIB, Ok(4 * KIB), 0).await;
    check(5 * KIB, 64 * KIB, Ok(5 * KIB), 5 * KIB).await;
    check(64 * KIB, 9 * KIB, Ok(9 * KIB), 9 * KIB).await;
    check(64 * KIB, 0, Ok(0), 0).await;
    let too_large = Err(RequestFault::TooLarge { limit: 64 * KIB });
    check(64 * KIB + 1, 64 * KIB, too_large, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_waits_for_room_and_takes_it_when_there_is_some() {
    let room = room(16 * KIB);
    let first = room.receive(whole(10 * KIB), 64 * KIB).await;
    let free_it = async {
        tokio::time::sleep(Duration::from_secs(29)).await;
        drop(first);
    };
    let (second, ()) = tokio::join!(room.receive(whole(10 * KIB), 64 * KIB), free_it);
    assert_eq!(second.body.as_ref().map(Bytes::len), Ok(10 * KIB));
    // One larger than the room has all of it.
    drop(second);
    assert_eq!(room.receive(whole(20 * KIB), 64 * KIB).await.body.map(|b| b.len()), Ok(20 * KIB));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_has_an_end_and_takes_nothing_with_it() {
    let room = room(16 * KIB);
    let first = room.receive(whole(10 * KIB), 64 * KIB).await;
    let began = Instant::now();
    let second = room.receive(whole(10 * KIB), 64 * KIB).await;
    assert_eq!(second.body, Err(RequestFault::Unavailable));
    assert_eq!(began.elapsed().as_secs(), 30);
    drop(first);
    assert_eq!(room.n_free(), 16 * KIB);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_gives_its_room_back() {
    let room = room(64 * KIB);
    let stalled = room.receive(stalled(8 * KIB), 32 * KIB);
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Its length is unknown, so there is room for all that is wanted.
        room.n_free()
    };
    let (received, n_free) = tokio::join!(stalled, look);
    assert_eq!((received.body, n_free), (Err(RequestFault::Timeout), 32 * KIB));
    assert_eq!(room.n_free(), 64 * KIB);
}
