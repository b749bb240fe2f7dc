//! What an endpoint was told and has not heard yet. Takes no memory while there is nothing.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::endpoint::Told;

/// An endpoint's end.
#[derive(Debug)]
pub(crate) struct Inbox(Arc<Mutex<Waiting>>);

/// There is nothing, just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Empty;

/// The driver's end. Dropping it closes the inbox.
#[derive(Debug)]
pub(super) struct Teller(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    told: VecDeque<Told>,
    /// How many were heard.
    n_heard: u64,
    listener: Option<Waker>,
    is_closed: bool,
}

/// An empty inbox.
pub(super) fn inbox() -> (Teller, Inbox) {
    let shared = Arc::default();
    (Teller(Arc::clone(&shared)), Inbox(shared))
}

impl Inbox {
    /// Waits for the next; `None` when nothing will come any more. Nothing is lost when this is
    /// cancelled.
    pub(crate) async fn recv(&mut self) -> Option<Told> {
        poll_fn(|cx| {
            let mut inbox = lock(&self.0);
            match inbox.take() {
                Some(told) => Poll::Ready(Some(told)),
                None if inbox.is_closed => Poll::Ready(None),
                None => {
                    inbox.listener = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next, if it is there.
    ///
    /// # Errors
    /// [`Empty`]
    pub(crate) fn try_recv(&mut self) -> Result<Told, Empty> {
        lock(&self.0).take().ok_or(Empty)
    }
}

impl Teller {
    /// Never waits: who tells looks at [`Self::n_waiting`] first.
    pub(super) fn tell(&self, told: Told) {
        let mut inbox = lock(&self.0);
        inbox.told.push_back(told);
        if let Some(listener) = inbox.listener.take() {
            listener.wake();
        }
    }

    pub(super) fn n_waiting(&self) -> usize {
        lock(&self.0).told.len()
    }

    /// What was never heard, and whether anything was.
    pub(super) fn unheard(self) -> (VecDeque<Told>, bool) {
        let mut inbox = lock(&self.0);
        (std::mem::take(&mut inbox.told), inbox.n_heard > 0)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut inbox = lock(&self.0);
        inbox.is_closed = true;
        if let Some(listener) = inbox.listener.take() {
            listener.wake();
        }
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Told> {
        let told = self.told.pop_front()?;
        self.n_heard += 1;
        if self.told.is_empty() {
            self.told = VecDeque::new();
        }
        Some(told)
    }
}

fn lock(inbox: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    // Nothing panics while it is held.
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}
