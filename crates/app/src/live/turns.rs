//! Many sessions that end at once leave in turns, so that all others are not kept waiting for the
//! last of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::seat::Seat;

/// How many leave at a time. Fewer would not keep a machine of many processors busy, and every
/// other session waits for about as many of them whenever it has something to do.
const N_AT_A_TIME: usize = 32;

/// Sessions that have ended and have not been told so: nothing they do has an effect any more, and
/// what is left is to close their connections. There are at most as many as sessions.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: Mutex<VecDeque<Arc<Seat>>>,
}

impl Turns {
    /// Wakes sessions that have ended already: the first of them now, each of the others when
    /// another one has left.
    pub(super) fn begin(&self, ended: Vec<Arc<Seat>>) {
        let n_now = ended.len().min(N_AT_A_TIME);
        self.lock().extend(ended);
        for _ in 0..n_now {
            self.next();
        }
    }

    /// A session has left. Whoever is woken here leaves as well, and calls this: so nobody's turn
    /// is lost.
    pub(super) fn next(&self) {
        loop {
            let Some(seat) = self.lock().pop_front() else { return };
            // One that was woken by something else gave its turn away when it left.
            if !seat.has_left() {
                seat.wake();
                return;
            }
        }
    }

    /// Whether some who have ended have not been told so.
    pub(super) fn are_waited_for(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Seat>>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
