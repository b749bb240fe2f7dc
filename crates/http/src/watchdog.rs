//! How long a connection may wait for what.
//!
//! hyper has one timer for a request's head, and it runs while the connection is idle as well. A
//! device that polls every few seconds needs a patient idle timer, and a client that sends its
//! head a byte a minute an impatient one; hence a watchdog of our own beside hyper's machinery.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::HttpSettings;

/// What one connection is doing, and until when it may.
#[derive(Debug)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    /// Wakes who sleeps until a deadline that was brought forward.
    brought_forward: Notify,
    idle: Duration,
    head: Duration,
    busy: Duration,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of a request yet; or an answer is on its way out.
    Idle,
    /// A request's head comes in.
    Head,
    /// A request is being answered.
    Busy,
    /// An answer goes on for as long as it is read.
    Streaming,
}

impl Watchdog {
    pub(crate) fn new(settings: &HttpSettings) -> Arc<Self> {
        let idle = settings.idle_timeout;
        // The first request must begin as soon as if it had begun: a client that opens a
        // connection and says nothing is not between two requests.
        let first = settings.header_read_timeout;
        Arc::new(Self {
            state: Mutex::new(State { phase: Phase::Head, deadline: Instant::now() + first }),
            brought_forward: Notify::new(),
            idle,
            head: first,
            // Body and use case have their own timers, which answer; this one only cuts.
            busy: settings.request_timeout * 3,
        })
    }

    /// A request's head is complete; dropping the guard says that its answer is.
    pub(crate) fn begin_request(self: &Arc<Self>) -> Request {
        self.enter(Phase::Busy, self.busy);
        Request(Arc::clone(self))
    }

    /// Comes back when the connection has waited too long for whatever it waits for.
    pub(crate) async fn expired(&self) {
        loop {
            let deadline = self.lock().deadline;
            tokio::select! {
                () = sleep_until(deadline) => {}
                () = self.brought_forward.notified() => {}
            }
            if self.lock().deadline <= Instant::now() {
                return;
            }
        }
    }

    fn bytes_arrived(&self) {
        if self.lock().phase == Phase::Idle {
            self.enter(Phase::Head, self.head);
        }
    }

    fn bytes_left(&self) {
        if self.lock().phase == Phase::Streaming {
            self.enter(Phase::Streaming, self.idle);
        }
    }

    fn enter(&self, phase: Phase, patience: Duration) {
        let deadline = Instant::now() + patience;
        let before = std::mem::replace(&mut *self.lock(), State { phase, deadline });
        if deadline < before.deadline {
            self.brought_forward.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it; and if, the state is still a state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While this lives, a request is being answered.
#[derive(Debug)]
pub(crate) struct Request(Arc<Watchdog>);

impl Request {
    /// This request may take so much longer than others: its answer waits for something.
    pub(crate) fn may_wait(&self, longer: Duration) {
        if !longer.is_zero() {
            self.0.enter(Phase::Busy, self.0.busy + longer);
        }
    }

    /// The answer has begun and goes on until the guard is dropped, as long as bytes of it leave.
    pub(crate) fn into_stream(self) -> Streaming {
        let watchdog = Arc::clone(&self.0);
        drop(self);
        watchdog.enter(Phase::Streaming, watchdog.idle);
        Streaming(watchdog)
    }
}

/// While this lives, an answer is being streamed.
#[derive(Debug)]
pub(crate) struct Streaming(Arc<Watchdog>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle, self.0.idle);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle, self.0.idle);
    }
}

/// A stream that tells the watchdog when bytes arrive and leave.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    pub(crate) stream: S,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watchdog.bytes_arrived();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(1..)) = polled {
            self.watchdog.bytes_left();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(1..)) = polled {
            self.watchdog.bytes_left();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
