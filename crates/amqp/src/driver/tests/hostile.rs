//! Clients that are after our time and memory.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::advance,
};

use super::*;
use crate::proto;

/// A stream on which there is always one more frame, and that takes whatever it gets.
struct Endless {
    beginning: BytesMut,
    /// What it was sent.
    sent: Arc<Mutex<BytesMut>>,
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // As sockets do, so that others have their turn.
        ready!(std::pin::pin!(tokio::task::consume_budget()).poll(cx));
        let mut frames = std::mem::take(&mut self.beginning);
        while frames.len() + 8 <= buffer.remaining() {
            proto::encode_empty(&mut frames);
        }
        buffer.put_slice(&frames);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sent.lock().expect("whole").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_pauses_has_no_more_time_than_others() {
    let scene = scene().await;
    let settings = AmqpSettings::default();
    let terms = Arc::new(Terms::new(&settings));
    let mut beginning = BytesMut::new();
    let wanted = Open { idle_timeout_ms: Some(20_000), ..open() };
    proto::encode(0, &Performative::Open(Box::new(wanted)), &mut beginning);
    let sent = Arc::default();
    let endless = Endless { beginning, sent: Arc::clone(&sent) };
    let (app, mut stop) = (scene.app.clone(), scene.stopping());
    let begun = Instant::now();
    let served = tokio::spawn(async move {
        let mut stream = FrameStream::new(endless, Arc::clone(&terms));
        let login = Login::Bare;
        let tracking_id = app.tracking_id();
        let shared = Shared::new(app, Arc::new(settings), terms, peer(), login, tracking_id);
        drive(Arc::new(shared), &mut stream, act, &mut stop).await;
    });
    while !served.is_finished() && begun.elapsed().as_secs() < 300 {
        advance(Duration::from_secs(1)).await;
    }
    assert!((60..=62).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let mut sent = std::mem::take(&mut *sent.lock().expect("whole"));
    let (mut n_heartbeats, mut closed_with) = (0, None);
    loop {
        match proto::decode(&mut sent, &proto::Limits::SESSION).expect("a frame") {
            proto::Decoded::Empty => n_heartbeats += 1,
            proto::Decoded::Item(frame) => {
                if let Performative::Close(close) = frame.performative {
                    closed_with = close.error.map(|error| error.condition);
                }
            }
            proto::Decoded::Incomplete { .. } => break,
        }
    }
    assert_eq!(n_heartbeats, 5, "it hears us all the same");
    assert_eq!(closed_with.as_deref(), Some("amqp:unauthorized-access"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_end_is_late_however_many_others_do() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, "$cbs").await;
    client.attach_sender(0, 1, &events("plain-1")).await;
    client.attach_sender(0, 2, &events("plain-2")).await;
    let begun = Instant::now();
    let (_, bytes) = client.transfer(0, 1, 0, &[0; 10_000]);
    client.send_bytes(&bytes[..4096]).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(10)).await;
        client.send_accepted(0, 2, &message()).await;
    }
    client.expect_closed("amqp:resource-limit-exceeded").await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}

/// A message of many frames has its time from its own beginning on.
#[tokio::test(start_paused = true)]
async fn messages_that_take_turns_are_not_late() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, "$cbs").await;
    let mut rests = VecDeque::new();
    for handle in 1..20 {
        client.attach_sender(0, handle, &events(&format!("plain-{handle}"))).await;
    }
    for handle in 1..20 {
        let (number, bytes) = client.transfer(0, handle, 0, &[0; 5_000]);
        client.send_bytes(&bytes[..4096]).await;
        rests.push_back((number, bytes));
        sleep(Duration::from_secs(20)).await;
        if rests.len() == 2 {
            let (number, bytes) = rests.pop_front().expect("two");
            client.send_bytes(&bytes[4096..]).await;
            assert_eq!(client.outcome(0, number).await, Outcome::Accepted);
        }
    }
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_neither_late_nor_silent() {
    let scene = scene().await;
    // The first that has a part of a message has all of the room.
    let settings = AmqpSettings { room_bytes: 1 << 20, ..AmqpSettings::default() };
    let terms = Arc::new(Terms::new(&settings));
    let mut clients = Vec::new();
    let mut rest = BytesMut::new();
    let mut number = 0;
    for _ in 0..6 {
        let mut client = client_in(&scene, &terms, settings.clone(), PIPE_BYTES);
        client.open(open()).await;
        client.begin(0).await;
        prove(&mut client).await;
        client.attach_sender(0, 1, &events("plain")).await;
        let (n, bytes) = client.transfer(0, 1, 0, &[0; 10_000]);
        client.send_bytes(&bytes[..4096]).await;
        rest = BytesMut::from(&bytes[4096..]);
        number = n;
        clients.push(client);
        sleep(Duration::from_secs(1)).await;
    }
    // Only the last one goes on with its message. The others are late, each when it had its turn.
    let mut last = clients.pop().expect("six");
    last.send_bytes(&rest).await;
    let begun = Instant::now();
    for client in clients {
        client.expect_closed("amqp:resource-limit-exceeded").await;
    }
    assert_eq!(last.outcome(0, number).await, Outcome::Accepted);
    assert!(begun.elapsed().as_secs() > 240, "{:?}", begun.elapsed());
    last.close().await;
}

async fn prove(client: &mut Client) {
    client.attach_sender(0, 0, "$cbs").await;
}

#[tokio::test]
async fn who_is_refused_again_and_again_before_it_has_proven_anything_is_shown_out() {
    let scene = scene().await;
    for is_guest in [false, true] {
        let mut client = connected(&scene).await;
        if is_guest {
            client.attach_sender(0, 0, "0ne1/registrations/d").await;
        }
        for n in 0..100 {
            let address = if n % 2 == 0 { "nowhere".to_owned() } else { events("refuses") };
            client.attach_refused(Wish::sender(0, 1, &address), "amqp:not-found").await;
        }
        let wish = Wish::sender(0, 1, "nowhere");
        client.send_attach(&wish).await;
        client.attached(&wish).await;
        assert!(client.detached(0).await.1.is_some());
        client.expect_closed("amqp:unauthorized-access").await;
    }
}

/// Anybody is let in to provisioning.
#[tokio::test]
async fn guests_with_many_sessions_wait_for_room_as_strangers_do() {
    let scene = scene().await;
    let settings = AmqpSettings { room_bytes: 1 << 20, ..AmqpSettings::default() };
    let terms = Arc::new(Terms::new(&settings));
    let mut crowds = Vec::new();
    for has_room in [true, false] {
        let mut client = client_in(&scene, &terms, settings.clone(), PIPE_BYTES);
        client.open(open()).await;
        client.begin(0).await;
        client.attach_sender(0, 0, "0ne1/registrations/d").await;
        for channel in 1..17 {
            client.begin(channel).await;
        }
        client.send_attach(&Wish::sender(0, 1, &events("plain"))).await;
        let answered = timeout(Duration::from_millis(200), client.frame()).await;
        assert_eq!(answered.is_ok(), has_room);
        crowds.push(client);
    }
}

#[tokio::test]
async fn who_has_proven_something_is_refused_as_often_as_it_likes() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    prove(&mut client).await;
    for _ in 0..200 {
        client.attach_refused(Wish::sender(0, 1, "nowhere"), "amqp:not-found").await;
    }
    client.close().await;
}
