//! Packets on a stream, with as little memory as can be.
//!
//! A [`Link`] at rest holds no buffer: what arrives is read through the stack and kept only until
//! its packet is whole, what leaves is kept only until the stream has taken it. Timers exist only
//! while something is late. What deliberately does not live here: what packets mean.

use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};

use crate::{
    MqttSettings,
    proto::{self, BadPacket, Decoded, Limits, Packet, Unencodable},
};

/// So much of every packet takes no room; the number of connections bounds it. It is read at once.
const FREE_BYTES: usize = 4 * 1024;
/// How much may wait to be sent on one link. Beyond ten messages of the largest size there is
/// nothing a session has to say.
const MAX_QUEUED_BYTES: usize = 1024 * 1024;
/// How long, and for how many bytes, a connection that we end waits for the client to read what we
/// said last and to close.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);

/// One stream with packets on it.
pub(crate) struct Link<S> {
    stream: S,
    terms: Arc<Terms>,
    limits: Limits,
    is_admitted: bool,
    /// What arrived and is no whole packet yet, or not looked at yet.
    received: BytesMut,
    room: Wanted,
    /// Runs while a packet has begun to arrive and does not go on.
    late: Option<Pin<Box<Sleep>>>,
    /// What is to be sent.
    queued: BytesMut,
    /// Whether the stream may hold bytes of ours back.
    is_unflushed: bool,
    /// Runs while the stream takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// What holds for all links of a door.
#[derive(Debug)]
pub(crate) struct Terms {
    packet_timeout: Duration,
    write_timeout: Duration,
    /// For the packets of devices that are connected to a hub.
    devices: Room,
    /// For everybody else's. Who may connect to provisioning has proven nothing, and the head of a
    /// packet is enough to take its room.
    strangers: Room,
}

/// How many bytes the large packets of some links may occupy together.
#[derive(Debug)]
struct Room {
    /// One permit a byte.
    free: Arc<Semaphore>,
    n_bytes: usize,
}

/// The room a large packet occupies, given back when this is dropped: so it is kept for as long as
/// anything of the packet is. Small packets occupy none.
#[derive(Debug, Default)]
#[must_use = "dropping it says that nothing of the packet is kept any more"]
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The room for the packet that is arriving.
enum Wanted {
    /// None, so far.
    Nothing,
    /// It is asked for.
    Waiting(Pin<Box<dyn Future<Output = Place> + Send + Sync>>),
    /// It is had.
    Had(Place),
}

/// Why nothing more can be read or sent.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    /// The client sent what is no packet, or one that is too long.
    #[error("the client sent no legal packet: {0}")]
    Malformed(#[from] BadPacket),
    /// The client closed the connection between two packets.
    #[error("the client closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// A packet began and did not end in time.
    #[error("a packet of the client did not end in time")]
    Late,
    /// The client did not read for too long.
    #[error("the client did not read for too long")]
    Stuck,
    /// More is to be sent than may wait.
    #[error("more than {MAX_QUEUED_BYTES} bytes wait for the client")]
    Full,
    /// A packet that cannot be sent.
    #[error("a packet cannot be sent: {0}")]
    Unencodable(#[from] Unencodable),
}

impl Terms {
    pub(crate) fn new(settings: &MqttSettings) -> Self {
        let for_strangers = settings.room_bytes / 4;
        Self {
            packet_timeout: settings.packet_timeout,
            write_timeout: settings.write_timeout,
            devices: Room::new(settings.room_bytes - for_strangers),
            strangers: Room::new(for_strangers),
        }
    }

    /// How many bytes may still be taken, by whomever.
    #[cfg(test)]
    pub(crate) fn n_free(&self) -> usize {
        self.devices.n_free() + self.strangers.n_free()
    }
}

impl Room {
    fn new(n_bytes: usize) -> Self {
        let n_bytes = n_bytes.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(n_bytes)), n_bytes }
    }

    #[cfg(test)]
    fn n_free(&self) -> usize {
        self.free.available_permits()
    }

    /// Waits for room of this size. A packet that is larger than the room has it to itself.
    fn take(&self, n_bytes: usize) -> impl Future<Output = Place> + Send + Sync + use<> {
        let n_permits = u32::try_from(n_bytes.min(self.n_bytes)).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.free);
        // The semaphore is never closed.
        async move { Place { _permit: free.acquire_many_owned(n_permits).await.ok() } }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(crate) fn new(stream: S, terms: Arc<Terms>, limits: Limits) -> Self {
        Self {
            stream,
            terms,
            limits,
            is_admitted: false,
            received: BytesMut::new(),
            room: Wanted::Nothing,
            late: None,
            queued: BytesMut::new(),
            is_unflushed: false,
            stuck: None,
        }
    }

    /// From the next packet on, another limit holds.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// From the next packet on, it is a device's link, and no stranger's any more.
    pub(crate) const fn admit(&mut self) {
        self.is_admitted = true;
    }

    /// The next packet, and the room it takes. Sends what is queued meanwhile.
    ///
    /// Nothing is lost when this is cancelled: a packet of which some has arrived stays here.
    ///
    /// A packet's texts and payload share one buffer, which may be 4 KiB larger than the packet;
    /// whoever keeps some of it for long copies it.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no use any more.
    pub(crate) async fn read(&mut self) -> Result<(Packet, Place), Broken> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(broken)) = self.poll_send(cx) {
                return Poll::Ready(Err(broken));
            }
            self.poll_receive(cx)
        })
        .await
    }

    /// Puts a packet behind those to be sent; [`Self::flush`] and [`Self::read`] send them.
    ///
    /// # Errors
    /// [`Broken::Full`] or [`Broken::Unencodable`].
    pub(crate) fn queue(&mut self, packet: &Packet) -> Result<(), Broken> {
        if self.queued.len() > MAX_QUEUED_BYTES {
            return Err(Broken::Full);
        }
        Ok(proto::encode(packet, &mut self.queued)?)
    }

    /// Waits until all that was queued is sent. What was not is still queued when this is
    /// cancelled.
    ///
    /// # Errors
    /// [`Broken`]; [`Broken::Stuck`] when the client did not read all of it in time.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_send(cx)).await
    }

    /// Ends the connection in order: sends what is queued, says that there is no more, and gives
    /// the client a moment to read it.
    ///
    /// Closing a socket with unread bytes resets the connection, and the reset may overtake what
    /// was said last.
    pub(crate) async fn close(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        let (longest, budget_bytes) = LINGER;
        let goodbye = async {
            self.stream.shutdown().await?;
            let mut n_left = budget_bytes;
            poll_fn(|cx| self.poll_discard(cx, &mut n_left)).await
        };
        // Whatever comes of it, the connection is over.
        let _ = timeout(longest, goodbye).await;
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Packet, Place), Broken>> {
        loop {
            let n_missing = match proto::decode(&mut self.received, &self.limits)? {
                Decoded::Packet(packet) => return Poll::Ready(Ok((packet, self.packet_is_done()))),
                Decoded::Incomplete { missing_bytes } => missing_bytes,
            };
            let size_bytes = self.received.len() + n_missing;
            let filled = if size_bytes > FREE_BYTES {
                ready!(self.poll_room(cx, size_bytes));
                self.poll_fill_large(cx, n_missing)
            } else {
                self.poll_fill(cx)
            };
            match filled {
                Poll::Ready(Ok(0)) if self.received.is_empty() => {
                    return Poll::Ready(Err(Broken::Closed));
                }
                Poll::Ready(Ok(0)) => {
                    let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Poll::Ready(Err(Broken::Io(early)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Io(error))),
                Poll::Pending if self.received.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    ready!(poll_timer(&mut self.late, self.terms.packet_timeout, cx));
                    return Poll::Ready(Err(Broken::Late));
                }
            }
        }
    }

    /// The packet's room, now that the packet is whole; and nothing else of it is left.
    fn packet_is_done(&mut self) -> Place {
        self.late = None;
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        match std::mem::replace(&mut self.room, Wanted::Nothing) {
            Wanted::Had(place) => place,
            Wanted::Nothing | Wanted::Waiting(_) => Place::default(),
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, n_bytes: usize) -> Poll<()> {
        if let Wanted::Nothing = self.room {
            let room = if self.is_admitted { &self.terms.devices } else { &self.terms.strangers };
            self.room = Wanted::Waiting(Box::pin(room.take(n_bytes)));
        }
        if let Wanted::Waiting(waiting) = &mut self.room {
            // The client cannot help it.
            self.late = None;
            let place = ready!(waiting.as_mut().poll(cx));
            self.room = Wanted::Had(place);
        }
        Poll::Ready(())
    }

    /// Reads what is there, at most so much as takes no room, without a buffer when there is
    /// nothing.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut on_stack = [MaybeUninit::uninit(); FREE_BYTES];
        let mut arrived = ReadBuf::uninit(&mut on_stack);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
        self.received.extend_from_slice(arrived.filled());
        Poll::Ready(Ok(arrived.filled().len()))
    }

    /// Reads the rest of a packet that has its room, and nothing behind it.
    fn poll_fill_large(
        &mut self,
        cx: &mut Context<'_>,
        n_missing: usize,
    ) -> Poll<io::Result<usize>> {
        self.received.reserve(n_missing);
        let mut rest = (&mut self.received).limit(n_missing);
        pin!(self.stream.read_buf(&mut rest)).poll(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.poll_write_out(cx) {
            Poll::Ready(outcome) => {
                self.stuck = None;
                Poll::Ready(outcome.map_err(Broken::Io))
            }
            Poll::Pending => {
                ready!(poll_timer(&mut self.stuck, self.terms.write_timeout, cx));
                Poll::Ready(Err(Broken::Stuck))
            }
        }
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queued.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.queued))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.queued.advance(n),
            }
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            self.queued = BytesMut::new();
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads to the end and forgets it, unless that is too much.
    fn poll_discard(&mut self, cx: &mut Context<'_>, n_left: &mut usize) -> Poll<io::Result<()>> {
        loop {
            let mut on_stack = [MaybeUninit::uninit(); FREE_BYTES];
            let mut arrived = ReadBuf::uninit(&mut on_stack);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
            *n_left = n_left.saturating_sub(arrived.filled().len());
            if arrived.filled().is_empty() || *n_left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Starts the timer if it does not run, and is ready when it has run out.
fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    longest: Duration,
    cx: &mut Context<'_>,
) -> Poll<()> {
    timer.get_or_insert_with(|| Box::pin(sleep(longest))).as_mut().poll(cx)
}

#[cfg(test)]
mod tests;
