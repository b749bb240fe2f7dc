//! Frames on a stream, with as little memory as can be.
//!
//! A [`FrameStream`] at rest holds no buffer: what arrives is read through the stack and kept only
//! until its frame is whole, what leaves is kept only until the stream has taken it. Timers exist
//! only while something is late. What deliberately does not live here: what frames mean, and how
//! messages are put together from them.
//!
//! [`room`] bounds what large frames and messages occupy.

mod room;

use std::{
    future::{Future, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Sleep, sleep, timeout},
};

use self::room::Ledger;
pub(crate) use self::room::{Lot, Place, Standing, Taking, Terms};
use crate::proto::{self, BadFrame, Decoded, Frame, Limits, ProtocolHeader, SaslFrame};

/// So much of every frame takes no room; the number of connections bounds it. It is read at once.
const FREE_BYTES: usize = 4 * 1024;
/// How long, and for how many bytes, a connection that we end waits for the client to read what we
/// said last and to close.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64 * 1024);
/// The length of a protocol header, in bytes.
const HEADER_BYTES: usize = 8;

/// One stream with frames on it.
pub(crate) struct FrameStream<S> {
    stream: S,
    terms: Arc<Terms>,
    limits: Limits,
    standing: Standing,
    /// What arrived and is no whole frame yet, or not looked at yet.
    received: BytesMut,
    room: Wanted,
    /// How many bytes the messages take of which more is to come.
    n_partial: usize,
    /// Whether a large frame is arriving, for which the room is had.
    is_large_arriving: bool,
    /// Whether nothing is read because there is no room.
    is_held_up: bool,
    /// The messages that are whole and not dealt with.
    ledger: Option<Arc<Ledger>>,
    /// Runs while a frame has begun to arrive and does not go on.
    late: Option<Pin<Box<Sleep>>>,
    /// What is to be sent.
    queued: BytesMut,
    /// Whether the stream may hold bytes of ours back.
    is_unflushed: bool,
    /// Runs while the stream takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// The room for what is arriving.
enum Wanted {
    /// None, so far.
    Nothing,
    /// It is asked for.
    Waiting(Taking),
    /// It is had.
    Had(Arc<Lot>),
}

/// What a connection did next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// All that was to be sent is sent.
    Sent,
    /// A frame came.
    Frame(Box<Frame>),
    /// A frame came that says only that the client is there.
    Empty,
}

/// Why nothing more can be read or sent.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    /// The client sent what is no frame, or one that is too long.
    #[error("the client sent no legal frame: {0}")]
    Malformed(#[from] BadFrame),
    /// The client closed the connection between two frames.
    #[error("the client closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// A frame began and did not end in time.
    #[error("a frame of the client did not end in time")]
    Late,
    /// The client did not read for too long.
    #[error("the client did not read for too long")]
    Stuck,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameStream<S> {
    pub(crate) fn new(stream: S, terms: Arc<Terms>) -> Self {
        Self {
            stream,
            terms,
            limits: Limits::SASL,
            standing: Standing::Stranger,
            received: BytesMut::new(),
            room: Wanted::Nothing,
            n_partial: 0,
            is_large_arriving: false,
            is_held_up: false,
            ledger: None,
            late: None,
            queued: BytesMut::new(),
            is_unflushed: false,
            stuck: None,
        }
    }

    /// From the next frame on, other limits hold.
    pub(crate) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// From the next frame on, it is the connection of somebody of this standing.
    pub(crate) const fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// The protocol header. Sends what is queued meanwhile.
    ///
    /// # Errors
    /// [`Broken`]; [`BadFrame::NotAmqp`] is to be answered with a header.
    pub(crate) async fn read_header(&mut self) -> Result<ProtocolHeader, Broken> {
        let decode = |buffer: &mut BytesMut, _: &Limits| {
            Ok(match proto::decode_header(buffer)? {
                Some(header) => Decoded::Item(header),
                None => Decoded::Incomplete { missing_bytes: HEADER_BYTES - buffer.len() },
            })
        };
        loop {
            if let Some(header) = poll_fn(|cx| self.poll_exchange(cx, decode)).await? {
                return Ok(header);
            }
        }
    }

    /// The next frame of the SASL layer. Sends what is queued meanwhile.
    ///
    /// # Errors
    /// [`Broken`]
    pub(crate) async fn read_sasl(&mut self) -> Result<SaslFrame, Broken> {
        loop {
            let frame = poll_fn(|cx| self.poll_exchange(cx, proto::decode_sasl)).await?;
            self.set_partial(0);
            if let Some(frame) = frame {
                return Ok(frame);
            }
        }
    }

    /// Sends what is queued, and reads a frame if `may_read` and if not too much of what was read
    /// before is still to be dealt with.
    ///
    /// Nothing is lost between two calls: a frame of which some has arrived stays here. A payload
    /// keeps no more memory than its frame.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no use any more.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        may_read: bool,
    ) -> Poll<Result<Turn, Broken>> {
        if self.is_sending()
            && let Poll::Ready(sent) = self.poll_send(cx)
        {
            return Poll::Ready(sent.map(|()| Turn::Sent));
        }
        self.is_held_up = !self.ledger.as_ref().is_none_or(|ledger| ledger.has_room(cx));
        if !may_read || self.is_held_up {
            return Poll::Pending;
        }
        let Some(mut frame) = ready!(self.poll_receive(cx, proto::decode))? else {
            return Poll::Ready(Ok(Turn::Empty));
        };
        if !frame.payload.is_empty() && frame.payload.len() < self.limits.frame_bytes / 2 {
            // It shares a buffer with whatever came along with it, in its frame or before and
            // behind that.
            frame.payload = Bytes::copy_from_slice(&frame.payload);
        }
        Poll::Ready(Ok(Turn::Frame(Box::new(frame))))
    }

    /// The room of a message that is whole now.
    pub(crate) fn place(&mut self, n_bytes: usize) -> Place {
        let lot = match &self.room {
            Wanted::Had(lot) => Some(lot),
            Wanted::Nothing | Wanted::Waiting(_) => None,
        };
        let max_bytes = self.terms.max_waiting_bytes(self.standing);
        let ledger = self.ledger.get_or_insert_with(|| Ledger::new(max_bytes));
        ledger.set_max(max_bytes);
        Place::new(lot, ledger, n_bytes)
    }

    /// Whether nothing was read the last time because there is no room for it: the client cannot
    /// help it.
    pub(crate) const fn is_held_up(&self) -> bool {
        self.is_held_up
    }

    /// Tells how many bytes the messages take of which more is to come; to be told after each
    /// frame, and whenever it changes.
    pub(crate) fn set_partial(&mut self, n_bytes: usize) {
        self.n_partial = n_bytes;
        if self.is_large_arriving {
            // What has arrived of it is in the room.
            return;
        }
        if let Wanted::Had(lot) = &self.room
            && (n_bytes == 0 || lot.size_bytes() < self.lot_for_all())
        {
            // Also one for a frame alone, when more of its message is to come: it has no room
            // until the lot for all of it is had, or connections would wait for each other.
            lot.close();
            self.room = Wanted::Nothing;
        }
    }

    /// Whether something is still to be sent.
    pub(crate) fn is_sending(&self) -> bool {
        !self.queued.is_empty() || self.is_unflushed
    }

    /// Puts bytes behind those to be sent.
    pub(crate) fn queue(&mut self, bytes: BytesMut) {
        if self.queued.is_empty() {
            self.queued = bytes;
        } else {
            self.queued.extend_from_slice(&bytes);
        }
    }

    /// Puts a frame behind what is to be sent that says only that we are there.
    pub(crate) fn queue_empty(&mut self) {
        proto::encode_empty(&mut self.queued);
    }

    /// Puts a protocol header behind what is to be sent.
    pub(crate) fn queue_header(&mut self, header: ProtocolHeader) {
        proto::encode_header(header, &mut self.queued);
    }

    /// Puts a frame of the SASL layer behind what is to be sent.
    pub(crate) fn queue_sasl(&mut self, frame: &SaslFrame) {
        proto::encode_sasl(frame, &mut self.queued);
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

    /// Reads something, or sends what is queued while it does not come.
    fn poll_exchange<T>(
        &mut self,
        cx: &mut Context<'_>,
        decode: impl Fn(&mut BytesMut, &Limits) -> Result<Decoded<T>, BadFrame>,
    ) -> Poll<Result<Option<T>, Broken>> {
        if let Poll::Ready(Err(broken)) = self.poll_send(cx) {
            return Poll::Ready(Err(broken));
        }
        self.poll_receive(cx, decode)
    }

    fn poll_receive<T>(
        &mut self,
        cx: &mut Context<'_>,
        decode: impl Fn(&mut BytesMut, &Limits) -> Result<Decoded<T>, BadFrame>,
    ) -> Poll<Result<Option<T>, Broken>> {
        loop {
            let n_missing = match decode(&mut self.received, &self.limits)? {
                Decoded::Item(item) => {
                    self.frame_is_done();
                    return Poll::Ready(Ok(Some(item)));
                }
                Decoded::Empty => {
                    self.frame_is_done();
                    return Poll::Ready(Ok(None));
                }
                Decoded::Incomplete { missing_bytes } => missing_bytes,
            };
            let is_large = self.received.len() + n_missing > FREE_BYTES;
            if is_large || self.n_partial > 0 {
                self.is_held_up = self.poll_room(cx, n_missing).is_pending();
                if self.is_held_up {
                    return Poll::Pending;
                }
                self.is_large_arriving = is_large;
            }
            let filled =
                if is_large { self.poll_fill_large(cx, n_missing) } else { self.poll_fill(cx) };
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
                    ready!(poll_timer(&mut self.late, self.terms.frame_timeout(), cx));
                    return Poll::Ready(Err(Broken::Late));
                }
            }
        }
    }

    fn frame_is_done(&mut self) {
        self.late = None;
        self.is_large_arriving = false;
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }

    /// Enough for all that may come before no message is partly there.
    fn lot_for_all(&self) -> usize {
        self.limits.frame_bytes + self.terms.partial_bytes(self.standing)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, n_missing: usize) -> Poll<()> {
        loop {
            match &mut self.room {
                Wanted::Nothing => {
                    let n_bytes = match self.n_partial {
                        // Most messages are one frame.
                        0 => self.received.len() + n_missing,
                        _ => self.lot_for_all(),
                    };
                    self.room = Wanted::Waiting(self.terms.take(self.standing, n_bytes));
                }
                Wanted::Waiting(waiting) => {
                    // The client cannot help it.
                    self.late = None;
                    let lot = ready!(waiting.as_mut().poll(cx));
                    self.room = Wanted::Had(lot);
                }
                Wanted::Had(lot) => {
                    let n_bytes = self.n_partial + self.limits.frame_bytes;
                    if self.n_partial == 0 || lot.has_room(n_bytes, cx) {
                        return Poll::Ready(());
                    }
                    self.late = None;
                    return Poll::Pending;
                }
            }
        }
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

    /// Reads the rest of a frame that has its room, and nothing behind it.
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
                ready!(poll_timer(&mut self.stuck, self.terms.write_timeout(), cx));
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
