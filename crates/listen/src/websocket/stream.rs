//! A WebSocket as a stream of bytes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decoder::{Decoder, End, MAX_CONTROL_BYTES};

/// The most payload a frame of ours carries, in bytes: with its head it fills one TLS record.
const MAX_FRAME_BYTES: usize = 16 * 1024 - HEAD_BYTES;
/// Room for a frame's head; its two-byte form begins in the middle.
const HEAD_BYTES: usize = 4;
/// The first byte of the frames we send: whole messages.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;
/// The code of a goodbye for no particular reason (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;

/// The server's side of a WebSocket, after the handshake: reading gives the payload of the client's binary
/// messages one after the other, writing makes binary messages of its own. Where messages begin and
/// end is not told.
///
/// - What is written leaves in one frame per flush, or whenever 16 KiB are together.
/// - Pings are answered while reading; a close frame is answered, and then reading ends.
/// - Shutting down sends what is left and a close frame, and shuts the connection down. It does not wait
///   for the client's goodbye.
///
/// Idle, it holds no buffer at all. Frames are taken apart in the reader's own buffer and handed on as
/// they arrive, whatever length they announce; what is written is held until it is sent, at most
/// twice 16 KiB.
///
/// # Errors
/// Reading fails with [`InvalidData`](io::ErrorKind::InvalidData) and a [`Violation`](super::Violation) when
/// the client breaks a rule (it is told by a close frame), and with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the connection ends within a frame. Writing
/// fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) after either side's goodbye.
pub struct WsStream<S> {
    pub(super) stream: S,
    /// What arrived together with the handshake and was not read yet.
    early: Vec<u8>,
    decoder: Decoder,
    /// Room for a head, and what was written since the last frame; or nothing.
    pub(super) filling: Vec<u8>,
    /// Whole frames on their way, and where what is left of them begins.
    pub(super) sending: Vec<u8>,
    n_sent: usize,
    goodbye: Goodbye,
    /// Whether the connection may hold bytes of ours back.
    is_unflushed: bool,
    /// Who waits until something can be written.
    writer: Option<Waker>,
}

/// Our close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    NotDue,
    /// With this code, if any.
    Due(Option<u16>),
    Said,
}

impl<S> WsStream<S> {
    /// The stream over `stream`, of which `early` was already read beyond the handshake.
    #[must_use]
    pub const fn new(stream: S, early: Vec<u8>) -> Self {
        Self {
            stream,
            early,
            decoder: Decoder::new(),
            filling: Vec::new(),
            sending: Vec::new(),
            n_sent: 0,
            goodbye: Goodbye::NotDue,
            is_unflushed: false,
            writer: None,
        }
    }

    /// Moves what was written into a frame on its way. Nothing else may be on its way.
    fn seal(&mut self) {
        let mut frame = std::mem::take(&mut self.filling);
        let n = frame.len() - HEAD_BYTES;
        self.n_sent = match u8::try_from(n) {
            Ok(short @ 0..126) => {
                frame[2..HEAD_BYTES].copy_from_slice(&[BINARY, short]);
                2
            }
            _ => {
                // `poll_write` keeps `n` below 16 KiB, so its upper bytes are zero.
                let [high, low] = [n >> 8, n].map(|part| (part & 0xff) as u8);
                frame[..HEAD_BYTES].copy_from_slice(&[BINARY, 126, high, low]);
                0
            }
        };
        self.sending = frame;
    }

    /// Puts a control frame on its way. Nothing else may be on its way.
    fn control(&mut self, kind: u8, payload: &[u8]) {
        debug_assert!(payload.len() <= MAX_CONTROL_BYTES, "a control frame is short");
        // At most 125, as the line above has it.
        self.sending = [&[kind, payload.len() as u8], payload].concat();
        self.n_sent = 0;
    }

    /// Puts the next frame on its way, if one is due. A pong goes first; what was written goes only
    /// `with_data`, and a goodbye last.
    fn next_frame(&mut self, with_data: bool) -> bool {
        if self.goodbye == Goodbye::Said {
            return false;
        }
        if let Some(payload) = self.decoder.take_ping() {
            self.control(PONG, &payload);
        } else if with_data && !self.filling.is_empty() {
            self.seal();
        } else if let Goodbye::Due(code) = self.goodbye {
            self.goodbye = Goodbye::Said;
            let code = code.map(u16::to_be_bytes);
            self.control(CLOSE, code.as_ref().map_or(&[], |code| code));
        } else {
            return false;
        }
        true
    }

    /// Decides on our goodbye once the client's side has ended. What was not sent by then is dropped.
    fn heed_end(&mut self) {
        if let (Some(end), Goodbye::NotDue) = (self.decoder.end(), self.goodbye) {
            self.filling = Vec::new();
            self.goodbye = Goodbye::Due(match end {
                End::Closed(code) => code,
                End::Broken(violation) => Some(violation.close_code()),
            });
        }
    }

    fn has_something_to_send(&self) -> bool {
        self.is_unflushed
            || !self.sending.is_empty()
            || self.decoder.has_ping()
            || matches!(self.goodbye, Goodbye::Due(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsStream<S> {
    /// Sends what is on its way and what is due.
    fn poll_send(&mut self, cx: &mut Context<'_>, with_data: bool) -> Poll<io::Result<()>> {
        loop {
            while self.n_sent < self.sending.len() {
                let rest = &self.sending[self.n_sent..];
                let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.n_sent += n;
                self.is_unflushed = true;
            }
            (self.sending, self.n_sent) = (Vec::new(), 0);
            if !self.next_frame(with_data) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_send_and_flush(
        &mut self,
        cx: &mut Context<'_>,
        with_data: bool,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, with_data))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// The same for who writes: a writer that must wait is remembered.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, flush: bool) -> Poll<io::Result<()>> {
        let polled = match flush {
            true => self.poll_send_and_flush(cx, true),
            false => self.poll_send(cx, true),
        };
        self.writer = polled.is_pending().then(|| cx.waker().clone());
        polled
    }

    /// Sends answers to control frames as far as that goes without waiting.
    ///
    /// A connection wakes only the last who waited to write. If somebody does, we wait in his name:
    /// his next attempt sends the answers as well.
    fn answer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.has_something_to_send() {
            return Ok(());
        }
        let waker = self.writer.clone();
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or_else(|| cx.waker()));
        match self.poll_send_and_flush(&mut cx, false) {
            Poll::Ready(Ok(())) => {
                // Who waited may go on.
                if let Some(writer) = self.writer.take() {
                    writer.wake();
                }
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    /// The connection's next bytes, frames and all.
    fn poll_raw(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..n]);
        self.early.drain(..n);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            this.heed_end();
            let answered = this.answer(cx);
            match this.decoder.end() {
                // Whether our goodbye arrives is nothing to a client that is gone.
                Some(End::Closed(_)) => return Poll::Ready(Ok(())),
                Some(End::Broken(violation)) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, violation);
                    return Poll::Ready(Err(error));
                }
                None => answered?,
            }
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_raw(cx, buf))?;
            let raw = &mut buf.filled_mut()[before..];
            if raw.is_empty() {
                return Poll::Ready(match this.decoder.is_between_frames() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
            let n = this.decoder.decode(raw);
            buf.set_filled(before + n);
            if n > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.goodbye != Goodbye::NotDue || this.decoder.end().is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.filling.len() >= HEAD_BYTES + MAX_FRAME_BYTES {
            ready!(this.poll_write_out(cx, false))?;
        }
        if this.filling.is_empty() {
            this.filling.reserve_exact(HEAD_BYTES + buf.len().min(MAX_FRAME_BYTES));
            this.filling.extend_from_slice(&[0; HEAD_BYTES]);
        }
        let n = buf.len().min(HEAD_BYTES + MAX_FRAME_BYTES - this.filling.len());
        this.filling.extend_from_slice(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.heed_end();
        this.poll_write_out(cx, true)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.heed_end();
        if this.goodbye == Goodbye::NotDue {
            this.goodbye = Goodbye::Due(Some(NORMAL));
        }
        ready!(this.poll_write_out(cx, true))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S> fmt::Debug for WsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsStream")
            .field("n_early_bytes", &self.early.len())
            .field("n_unsent_bytes", &(self.filling.len() + self.sending.len() - self.n_sent))
            .field("goodbye", &self.goodbye)
            .finish_non_exhaustive()
    }
}
