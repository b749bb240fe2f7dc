//! Keeps the events of one session in the order they were sent.
//!
//! Many may be on their way to the store at once, which writes them in order. When the identity
//! was written meanwhile, some of them conflict and are asked for again; whoever was behind them
//! must not get past.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::live::Marks;

/// The events of a session that are on their way. At rest it holds no memory but its own.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// Those on their way, by the order in which they came.
    unsettled: BTreeSet<u64>,
    /// How many of them wait until they are the first.
    n_waiting: usize,
    /// What all of them that do not wait expect.
    marks: Option<Marks>,
}

/// A place in the line, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    line: &'a Line,
    number: u64,
    waits: bool,
}

impl Line {
    /// The last place.
    pub(super) fn join(&self) -> Ticket<'_> {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.unsettled.insert(number);
        Ticket { line: self, number, waits: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with the lock left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket<'_> {
    /// Waits until an event that expects these marks may go without getting past another one: when
    /// it is the first, or when all before it are on their way with the same marks. What those
    /// expect is written, or not, before it.
    ///
    /// The marks are asked for anew each time, because they may change while this waits.
    pub(super) async fn turn(&mut self, marks: impl Fn() -> Marks) -> Marks {
        loop {
            let moved = self.line.moved.notified();
            let mut moved = std::pin::pin!(moved);
            // From here on no move is missed, so looking once is enough.
            moved.as_mut().enable();
            let marks = marks();
            if self.may_go(&marks) {
                return marks;
            }
            moved.await;
        }
    }

    /// It has to be asked for again, once it is the first.
    pub(super) fn conflicted(&mut self) {
        self.wait(&mut self.line.lock());
    }

    fn may_go(&mut self, marks: &Marks) -> bool {
        let mut state = self.line.lock();
        let is_first = state.unsettled.first() == Some(&self.number);
        if is_first {
            if self.waits {
                self.waits = false;
                state.n_waiting -= 1;
            }
            state.marks = Some(marks.clone());
            return true;
        }
        if !self.waits && state.n_waiting == 0 && state.marks.as_ref() == Some(marks) {
            return true;
        }
        self.wait(&mut state);
        false
    }

    fn wait(&mut self, state: &mut State) {
        if !self.waits {
            self.waits = true;
            state.n_waiting += 1;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.line.lock();
        if self.waits {
            state.n_waiting -= 1;
        }
        state.unsettled.remove(&self.number);
        if state.unsettled.is_empty() {
            state.marks = None;
        }
        let somebody_waits = state.n_waiting > 0;
        drop(state);
        if somebody_waits {
            self.line.moved.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use model::IdentityMark;

    use super::*;

    fn mark(etag_counter: u64) -> IdentityMark {
        IdentityMark { generation_id: "1".into(), etag_counter }
    }

    fn goes(ticket: &mut Ticket<'_>, counter: u64) -> bool {
        let marks = || Marks { own: mark(counter), parent: None };
        ticket.turn(marks).now_or_never().is_some()
    }

    #[test]
    fn a_module_whose_device_was_written_waits_as_well() {
        let line = Line::default();
        let (mut first, mut second) = (line.join(), line.join());
        let marks = |counter| Marks { own: mark(1), parent: Some(mark(counter)) };
        assert!(first.turn(|| marks(1)).now_or_never().is_some());
        assert!(second.turn(|| marks(2)).now_or_never().is_none());
        drop(first);
        assert!(second.turn(|| marks(2)).now_or_never().is_some());
    }

    #[test]
    fn those_that_expect_the_same_go_together() {
        let line = Line::default();
        let (mut first, mut second, mut third) = (line.join(), line.join(), line.join());
        assert!(goes(&mut first, 1) && goes(&mut second, 1) && goes(&mut third, 1));
    }

    #[test]
    fn one_that_expects_something_newer_waits_for_all_before_it() {
        let line = Line::default();
        let (mut first, mut second) = (line.join(), line.join());
        assert!(goes(&mut first, 1));
        assert!(!goes(&mut second, 2));
        drop(first);
        assert!(goes(&mut second, 2));
    }

    #[test]
    fn nobody_gets_past_one_that_is_asked_for_again() {
        let line = Line::default();
        let (mut first, mut second) = (line.join(), line.join());
        assert!(goes(&mut first, 1) && goes(&mut second, 1));
        second.conflicted();
        first.conflicted();
        let mut third = line.join();
        assert!(!goes(&mut third, 2), "two are before it");
        assert!(!goes(&mut second, 2), "one is before it");
        assert!(goes(&mut first, 2));
        assert!(!goes(&mut third, 2), "one still waits before it");
        drop(first);
        assert!(goes(&mut second, 2));
        drop(second);
        assert!(goes(&mut third, 2));
        drop(third);
        let state = line.lock();
        assert_eq!((state.unsettled.len(), state.n_waiting, &state.marks), (0, 0, &None));
    }

    #[test]
    fn one_that_gave_up_holds_nobody_back() {
        let line = Line::default();
        let (mut first, mut second) = (line.join(), line.join());
        assert!(goes(&mut first, 1) && goes(&mut second, 1));
        first.conflicted();
        second.conflicted();
        drop(first);
        assert!(goes(&mut second, 2));
    }
}
