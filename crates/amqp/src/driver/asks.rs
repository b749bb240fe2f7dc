//! What the endpoints of a connection asked for and the driver has not done yet.
//!
//! They wait in one row, so that nobody is passed over, and the row is short: while the client does
//! not read, the endpoints wait instead. A cut-off waits for nobody: it has a row of its own, and
//! what the same links asked for before it is forgotten.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::endpoint::{Ask, LinkId};

/// How many may wait.
const MAX_ASKS: usize = 64;
/// How many bytes of messages may wait. One message more may pass it.
const MAX_BYTES: usize = 64 * 1024;

/// The number of an endpoint; no other of its connection gets it.
pub(super) type EndpointNumber = u32;

/// An endpoint's line to the driver.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    rows: Arc<Mutex<Rows>>,
    endpoint: EndpointNumber,
}

/// The driver's end of all lines.
#[derive(Debug, Default)]
pub(super) struct Asks(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    urgent: VecDeque<(EndpointNumber, Ask)>,
    asks: VecDeque<(EndpointNumber, Ask)>,
    /// How many bytes of messages `asks` holds.
    n_bytes: usize,
    /// Who waits until there is room, by ticket: who came first is woken first.
    waiting: BTreeMap<u64, Waker>,
    next_ticket: u64,
    driver: Option<Waker>,
    is_over: bool,
}

impl Line {
    /// Asks, once the driver has room for it: that may take as long as the client does not read.
    /// [`Ask::CutOff`] never waits. When the connection is over nothing happens, and the endpoint
    /// is dropped soon.
    pub(crate) async fn ask(&self, ask: Ask) {
        let mut ask = Some(ask);
        let mut ticket = Ticket { rows: &self.rows, number: None };
        poll_fn(|cx| {
            let mut rows = lock(&self.rows);
            let Some(asked) = ask.take() else { return Poll::Ready(()) };
            if rows.is_over {
                return Poll::Ready(());
            }
            if let Ask::CutOff { .. } = asked {
                rows.urgent.push_back((self.endpoint, asked));
            } else if rows.is_full() {
                ask = Some(asked);
                let number = *ticket.number.get_or_insert_with(|| {
                    rows.next_ticket += 1;
                    rows.next_ticket
                });
                rows.waiting.insert(number, cx.waker().clone());
                return Poll::Pending;
            } else {
                rows.n_bytes += bytes_of(&asked);
                rows.asks.push_back((self.endpoint, asked));
            }
            if let Some(driver) = rows.driver.take() {
                driver.wake();
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// A place among those who wait.
struct Ticket<'a> {
    rows: &'a Mutex<Rows>,
    number: Option<u64>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut rows = lock(self.rows);
            rows.waiting.remove(&number);
            // It may have been woken and have no use for its place.
            rows.make_room();
        }
    }
}

impl Asks {
    /// A line for an endpoint.
    pub(super) fn line(&self, endpoint: EndpointNumber) -> Line {
        Line { rows: Arc::clone(&self.0), endpoint }
    }

    /// The next: what is urgent first, and nothing else unless `may_send`.
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
        may_send: bool,
    ) -> Poll<(EndpointNumber, Ask)> {
        let mut rows = lock(&self.0);
        if let Some((endpoint, ask)) = rows.urgent.pop_front() {
            if let Ask::CutOff { links, .. } = &ask {
                rows.forget(links);
            }
            return Poll::Ready((endpoint, ask));
        }
        if may_send && let Some((endpoint, ask)) = rows.asks.pop_front() {
            rows.n_bytes -= bytes_of(&ask);
            rows.make_room();
            return Poll::Ready((endpoint, ask));
        }
        rows.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// All that an endpoint asked for, what is urgent first.
    pub(super) fn take_all_of(&self, endpoint: EndpointNumber) -> Vec<Ask> {
        let mut rows = lock(&self.0);
        let mut taken = Vec::new();
        let Rows { urgent, asks, .. } = &mut *rows;
        for row in [urgent, asks] {
            for (from, ask) in std::mem::take(row) {
                match from == endpoint {
                    true => taken.push(ask),
                    false => row.push_back((from, ask)),
                }
            }
        }
        rows.n_bytes = rows.asks.iter().map(|(_, ask)| bytes_of(ask)).sum();
        rows.make_room();
        taken
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        let mut rows = lock(&self.0);
        rows.is_over = true;
        rows.asks.clear();
        for waker in std::mem::take(&mut rows.waiting).into_values() {
            waker.wake();
        }
    }
}

impl Rows {
    fn is_full(&self) -> bool {
        self.asks.len() >= MAX_ASKS || self.n_bytes >= MAX_BYTES
    }

    /// Something left the row.
    fn make_room(&mut self) {
        if self.asks.is_empty() {
            self.asks = VecDeque::new();
        }
        if self.is_full() {
            return;
        }
        // No more of them than there is room for: they may be a thousand.
        for _ in self.asks.len()..MAX_ASKS {
            let Some((_, waker)) = self.waiting.pop_first() else { return };
            waker.wake();
        }
    }

    /// Drops what was asked for these links.
    fn forget(&mut self, links: &[LinkId]) {
        self.asks.retain(|(_, ask)| !link_of(ask).is_some_and(|link| links.contains(&link)));
        self.n_bytes = self.asks.iter().map(|(_, ask)| bytes_of(ask)).sum();
        self.make_room();
    }
}

fn link_of(ask: &Ask) -> Option<LinkId> {
    match ask {
        Ask::Accept { link, .. }
        | Ask::Refuse { link, .. }
        | Ask::Settle { link, .. }
        | Ask::Send { link, .. }
        | Ask::Drained(link)
        | Ask::Detach { link, .. } => Some(*link),
        Ask::CutOff { .. } => None,
    }
}

fn bytes_of(ask: &Ask) -> usize {
    match ask {
        Ask::Send { message, .. } => message.len(),
        _ => 0,
    }
}

fn lock(rows: &Mutex<Rows>) -> MutexGuard<'_, Rows> {
    // Nothing panics while it is held.
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use bytes::Bytes;
    use futures_util::{FutureExt, future::poll_fn};

    use super::*;
    use crate::proto::WireError;

    const fn drained(link: u32) -> Ask {
        Ask::Drained(LinkId(link))
    }

    fn cut_off(link: u32) -> Ask {
        let error = WireError::new("amqp:not-found", "gone");
        Ask::CutOff { links: vec![LinkId(link)], error }
    }

    fn send(link: u32, n_bytes: usize) -> Ask {
        let message = Bytes::from(vec![0; n_bytes]);
        Ask::Send { link: LinkId(link), number: 1, tag: [0; 16], message, is_settled: true }
    }

    fn next(asks: &Asks, may_send: bool) -> Option<(EndpointNumber, Ask)> {
        poll_fn(|cx| asks.poll_next(cx, may_send)).now_or_never()
    }

    #[test]
    fn a_cut_off_overtakes_all_and_forgets_what_its_links_asked() {
        let asks = Asks::default();
        let (one, other) = (asks.line(1), asks.line(2));
        for _ in 0..MAX_ASKS / 2 {
            assert!(one.ask(drained(1)).now_or_never().is_some());
            assert!(other.ask(drained(2)).now_or_never().is_some());
        }
        assert!(one.ask(drained(1)).now_or_never().is_none(), "there is room without end");
        assert!(one.ask(cut_off(1)).now_or_never().is_some());
        assert!(matches!(next(&asks, false), Some((1, Ask::CutOff { .. }))));
        assert!(next(&asks, false).is_none());
        for _ in 0..MAX_ASKS / 2 {
            assert!(matches!(next(&asks, true), Some((2, Ask::Drained(LinkId(2))))));
        }
        assert!(next(&asks, true).is_none());
    }

    #[tokio::test]
    async fn who_asks_waits_until_there_is_room() {
        let asks = Asks::default();
        let line = asks.line(1);
        line.ask(send(1, MAX_BYTES)).await;
        let mut second = std::pin::pin!(line.ask(send(2, 1)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(matches!(next(&asks, true), Some((1, Ask::Send { link: LinkId(1), .. }))));
        second.await;
        assert!(matches!(next(&asks, true), Some((1, Ask::Send { link: LinkId(2), .. }))));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_connection_that_is_over() {
        let asks = Asks::default();
        let line = asks.line(1);
        line.ask(send(1, MAX_BYTES)).await;
        let mut second = std::pin::pin!(line.ask(send(2, 1)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(asks);
        second.await;
    }

    #[tokio::test]
    async fn of_many_who_wait_so_many_are_woken_as_there_is_room_for() {
        let asks = Asks::default();
        for _ in 0..MAX_ASKS {
            asks.line(0).ask(drained(0)).await;
        }
        let wakes = Arc::new(CountedWaker::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let lines: Vec<_> = (1..=1000).map(|number| asks.line(number)).collect();
        let asking = |line| Box::pin(Line::ask(line, drained(1)));
        let mut waiting: VecDeque<_> = lines.iter().map(asking).collect();
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(next(&asks, true).is_some());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        // The one that was woken gives up: the next one has its place.
        drop(waiting.pop_front());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        let mut second = waiting.pop_front().expect("a thousand");
        assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        drop(second);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "there is no room again");
        // All get through in the end, in the order in which they came.
        let (mut n_asked, mut n_woken) = (0, 2);
        while next(&asks, true).is_some() {
            n_asked += 1;
            while n_woken < wakes.0.load(Ordering::Relaxed) {
                n_woken += 1;
                let mut first = waiting.pop_front().expect("one that was woken");
                assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
            }
        }
        assert_eq!((n_asked, waiting.len()), (MAX_ASKS + 998, 0));
    }

    #[derive(Default)]
    struct CountedWaker(AtomicUsize);

    impl std::task::Wake for CountedWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_gives_up_waiting_leaves_nothing() {
        let asks = Asks::default();
        let line = asks.line(1);
        assert!(line.ask(send(1, MAX_BYTES)).now_or_never().is_some());
        for _ in 0..10 {
            assert!(line.ask(drained(1)).now_or_never().is_none());
        }
        assert!(lock(&asks.0).waiting.is_empty());
    }
}
