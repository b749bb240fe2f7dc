//! How much memory what arrives may take.
//!
//! All connections of a door share a [`Room`] for large frames and for messages of many frames. A
//! connection takes a [`Lot`] of it before it reads a large frame; and when more of the frame's
//! message is to come, it gives that back and takes one for all that may come before the next
//! moment at which no message is partly there. A connection that waits holds none, so no two wait
//! for each other; what the first frame of a message takes meanwhile, the number of connections
//! bounds.
//!
//! A [`Ledger`] counts what of one connection waits for the store, small or large.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::AmqpSettings;

/// How many bytes partly received messages of a stranger may take: tokens are shorter.
const STRANGER_PARTIAL_BYTES: usize = 32 * 1024;
/// How many bytes of a stranger's messages may wait.
const STRANGER_WAITING_BYTES: usize = 64 * 1024;
/// How many messages of the largest size may be partly there on one connection: devices that share
/// a connection take turns with their frames.
const PARTIAL_MESSAGES: usize = 4;
/// What a message that waits takes besides its bytes, roughly.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// What is known of whoever is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Nothing.
    Stranger,
    /// It may use provisioning, which tells by its answers who has proven what.
    Guest,
    /// It has proven something to a hub.
    Known,
}

/// A lot that is asked for.
pub(crate) type Taking = Pin<Box<dyn Future<Output = Arc<Lot>> + Send + Sync>>;

/// What holds for all streams of a door.
#[derive(Debug)]
pub(crate) struct Terms {
    frame_timeout: Duration,
    write_timeout: Duration,
    max_waiting_bytes: usize,
    /// For somebody known.
    partial_bytes: usize,
    /// For a guest.
    guest_partial_bytes: usize,
    /// For connections that have proven something to a hub.
    known: Room,
    /// For everybody else's. Who may connect to provisioning has proven nothing, and the head of a
    /// frame is enough to take its room.
    strangers: Room,
}

impl Terms {
    pub(crate) fn new(settings: &AmqpSettings) -> Self {
        let for_strangers = settings.room_bytes / 4;
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let message_bytes = bytes(settings.max_message_bytes);
        Self {
            frame_timeout: settings.frame_timeout,
            write_timeout: settings.write_timeout,
            max_waiting_bytes: settings.max_waiting_bytes,
            partial_bytes: message_bytes.saturating_mul(PARTIAL_MESSAGES),
            guest_partial_bytes: bytes(settings.max_provisioning_message_bytes)
                .max(STRANGER_PARTIAL_BYTES),
            known: Room::new(settings.room_bytes - for_strangers),
            strangers: Room::new(for_strangers),
        }
    }

    pub(super) const fn frame_timeout(&self) -> Duration {
        self.frame_timeout
    }

    pub(super) const fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// How many bytes the messages of one connection may take of which more is to come.
    pub(crate) const fn partial_bytes(&self, standing: Standing) -> usize {
        match standing {
            Standing::Stranger => STRANGER_PARTIAL_BYTES,
            Standing::Guest => self.guest_partial_bytes,
            Standing::Known => self.partial_bytes,
        }
    }

    pub(super) const fn max_waiting_bytes(&self, standing: Standing) -> usize {
        match standing {
            Standing::Stranger => STRANGER_WAITING_BYTES,
            Standing::Guest | Standing::Known => self.max_waiting_bytes,
        }
    }

    /// Waits for a lot of this size.
    pub(crate) fn take(&self, standing: Standing, n_bytes: usize) -> Taking {
        match standing {
            Standing::Stranger | Standing::Guest => self.strangers.take(n_bytes),
            Standing::Known => self.known.take(n_bytes),
        }
    }

    /// How many bytes may still be taken, by whomever.
    #[cfg(test)]
    pub(crate) fn n_free(&self) -> usize {
        self.known.free.available_permits() + self.strangers.free.available_permits()
    }
}

/// How many bytes the large frames and messages of some connections may occupy together.
#[derive(Debug)]
struct Room {
    /// One permit a byte.
    free: Arc<Semaphore>,
    n_bytes: usize,
}

impl Room {
    fn new(n_bytes: usize) -> Self {
        let n_bytes = n_bytes.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(n_bytes)), n_bytes }
    }

    /// Waits for a lot of this size. One that is larger than the room has it to itself.
    fn take(&self, n_bytes: usize) -> Taking {
        let n_permits = u32::try_from(n_bytes.min(self.n_bytes)).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.free);
        Box::pin(async move {
            // The semaphore is never closed.
            let permit = free.acquire_many_owned(n_permits).await.ok();
            let held = Held { permit, n_bytes: 0, is_closed: false };
            Arc::new(Lot {
                size_bytes: n_bytes,
                held: Mutex::new(held),
                reader: AtomicWaker::new(),
            })
        })
    }
}

/// A part of the room, for one connection.
#[derive(Debug)]
pub(crate) struct Lot {
    size_bytes: usize,
    held: Mutex<Held>,
    /// The connection, when it waits for its messages to be dealt with.
    reader: AtomicWaker,
}

#[derive(Debug)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    /// How much of it whole messages take.
    n_bytes: usize,
    /// Whether nothing more comes into it: what is given back is anybody's then.
    is_closed: bool,
}

impl Lot {
    pub(super) const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Whether so many bytes have room beside the messages that are whole.
    pub(super) fn has_room(&self, n_bytes: usize, cx: &mut Context<'_>) -> bool {
        let has_room = || {
            let n_held = self.lock().n_bytes;
            n_held == 0 || n_held + n_bytes <= self.size_bytes
        };
        if has_room() {
            return true;
        }
        self.reader.register(cx.waker());
        has_room()
    }

    /// Gives back what no message takes.
    pub(super) fn close(&self) {
        let mut held = self.lock();
        held.is_closed = true;
        held.give_back();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn give_back(&mut self) {
        let Some(permit) = &mut self.permit else { return };
        let n_surplus = permit.num_permits().saturating_sub(self.n_bytes);
        drop(permit.split(n_surplus));
    }
}

/// What of one connection is whole and not dealt with.
#[derive(Debug)]
pub(super) struct Ledger {
    n_bytes: AtomicUsize,
    max_bytes: AtomicUsize,
    /// The connection, when it waits.
    reader: AtomicWaker,
}

impl Ledger {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        let (n_bytes, max_bytes) = (AtomicUsize::new(0), AtomicUsize::new(max_bytes));
        Arc::new(Self { n_bytes, max_bytes, reader: AtomicWaker::new() })
    }

    pub(super) fn set_max(&self, max_bytes: usize) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let max_bytes = self.max_bytes.load(Ordering::Relaxed);
        if self.n_bytes.load(Ordering::Acquire) < max_bytes {
            return true;
        }
        self.reader.register(cx.waker());
        self.n_bytes.load(Ordering::Acquire) < max_bytes
    }
}

/// The room that a message takes, given back when this is dropped: so it is kept for as long as
/// anything of the message is.
#[derive(Default)]
#[must_use = "dropping it says that nothing of the message is kept any more"]
pub(crate) struct Place {
    share: Option<Share>,
}

struct Share {
    lot: Option<Arc<Lot>>,
    ledger: Arc<Ledger>,
    n_bytes: usize,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_bytes = self.share.as_ref().map_or(0, |share| share.n_bytes);
        write!(f, "Place({n_bytes} bytes)")
    }
}

impl Place {
    pub(super) fn new(lot: Option<&Arc<Lot>>, ledger: &Arc<Ledger>, n_bytes: usize) -> Self {
        let n_bytes = n_bytes + MESSAGE_OVERHEAD_BYTES;
        if let Some(lot) = lot {
            lot.lock().n_bytes += n_bytes;
        }
        ledger.n_bytes.fetch_add(n_bytes, Ordering::AcqRel);
        let (lot, ledger) = (lot.map(Arc::clone), Arc::clone(ledger));
        Self { share: Some(Share { lot, ledger, n_bytes }) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(lot) = &self.lot {
            let mut held = lot.lock();
            held.n_bytes = held.n_bytes.saturating_sub(self.n_bytes);
            if held.is_closed {
                held.give_back();
            }
            drop(held);
            lot.reader.wake();
        }
        self.ledger.n_bytes.fetch_sub(self.n_bytes, Ordering::AcqRel);
        self.ledger.reader.wake();
    }
}
