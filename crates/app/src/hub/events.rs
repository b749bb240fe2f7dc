//! Readers of a hub's events, and the chore that keeps the log within its bounds.

use std::collections::BTreeMap;

use decide::hub::event;
use model::{
    EventPosition, HubAccess, HubName, HubRefusal, PartitionState, StoredEvent, Timestamp,
};
use store::{CommitError, StoreFault};
use tokio::sync::watch;

use crate::{App, No};

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStart {
    /// With the oldest event there is.
    Earliest,
    /// After the last event there is.
    Latest,
    /// With the first event taken at this moment or later.
    Enqueued(Timestamp),
}

/// How far a reader has come: the offset that is next in each partition. Partitions it does not
/// know yet begin at their beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventCursor {
    /// Next offset by partition.
    pub next: BTreeMap<u16, u64>,
}

/// Some events, in the order they were taken (exactly so within a partition), and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where to go on.
    pub cursor: EventCursor,
}

impl App {
    /// The cursor of a reader who begins here.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn event_cursor(
        &self,
        hub: &HubName,
        start: EventStart,
    ) -> Result<EventCursor, No<HubRefusal>> {
        let mut cursor = EventCursor::default();
        for state in self.store.event_partitions(hub).await? {
            let next = match start {
                EventStart::Earliest => state.first_offset,
                EventStart::Latest => state.next_offset,
                EventStart::Enqueued(at) => {
                    let from = EventPosition::Enqueued(at);
                    let found =
                        self.store.read_events(hub, state.partition, from, 1, u64::MAX).await?;
                    found.first().map_or(state.next_offset, |event| event.offset)
                }
            };
            cursor.next.insert(state.partition, next);
        }
        Ok(cursor)
    }

    /// The events after a cursor, at most `limit`, and fewer once they count for more than
    /// `max_bytes` together; no more than that is held in memory, beside one event of each
    /// partition. `partition` reads that one only. What was trimmed meanwhile is skipped.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn read_events(
        &self,
        hub: &HubName,
        cursor: &EventCursor,
        partition: Option<u16>,
        limit: usize,
        max_bytes: u64,
    ) -> Result<EventPage, No<HubRefusal>> {
        let next = |number| cursor.next.get(&number).copied().unwrap_or(0);
        let mut news = self.store.event_partitions(hub).await?;
        news.retain(|state| {
            next(state.partition) < state.next_offset
                && partition.is_none_or(|only| only == state.partition)
        });
        let share = max_bytes / u64::try_from(news.len()).unwrap_or(u64::MAX).max(1);
        let mut found = Vec::new();
        // What was taken later than the last event of a partition that has more is for later.
        let mut horizon = None;
        for state in news {
            let from = EventPosition::Offset(next(state.partition));
            let read = self.store.read_events(hub, state.partition, from, limit, share).await?;
            if let Some(last) = read.last()
                && last.offset.saturating_add(1) < state.next_offset
            {
                let until = last.event.enqueued;
                horizon = Some(horizon.map_or(until, |before| until.min(before)));
            }
            found.extend(read);
        }
        found.retain(|event| horizon.is_none_or(|until| event.event.enqueued <= until));
        // Stable, so that each partition keeps its order.
        found.sort_by_key(|event| event.event.enqueued);
        let mut page = EventPage { events: Vec::new(), cursor: cursor.clone() };
        let mut n_bytes = 0_u64;
        for event in found {
            n_bytes = n_bytes.saturating_add(event.event.size_bytes());
            if page.events.len() >= limit || (n_bytes > max_bytes && !page.events.is_empty()) {
                break;
            }
            page.cursor.next.insert(event.partition, event.offset.saturating_add(1));
            page.events.push(event);
        }
        Ok(page)
    }

    /// Changes whenever an event was appended to this hub's log. Ask for it before reading, so that
    /// nothing is missed.
    #[must_use]
    pub fn event_news(&self, hub: &HubName) -> watch::Receiver<u64> {
        self.live.event_news.subscribe(hub)
    }

    /// Deletes what the logs of the built-in hubs no longer keep.
    ///
    /// # Errors
    /// The store's.
    pub async fn trim_events(&self) -> Result<(), StoreFault> {
        let hubs = self.store.service_facts().await?.hubs;
        for hub in hubs.into_iter().filter(|hub| hub.access == HubAccess::BuiltIn) {
            loop {
                let partitions = self.store.event_partitions(&hub.name).await?;
                let retention = &self.settings.hub_limits.retention;
                let now = self.clock.now();
                let Some(changes) = event::trim(&hub.name, &partitions, retention, now) else {
                    break;
                };
                match self.store.commit(changes).await {
                    Ok(()) => {}
                    Err(CommitError::Conflict) => break,
                    Err(CommitError::Fault(fault)) => return Err(fault),
                }
                // Only a whole step may have left something that has to go. To go on for less would
                // never end while devices send.
                let after = self.store.event_partitions(&hub.name).await?;
                let is_whole = |before: &PartitionState| {
                    let now = after.iter().find(|now| now.partition == before.partition);
                    now.is_some_and(|now| {
                        now.first_offset.saturating_sub(before.first_offset)
                            >= retention.batch.max(1)
                    })
                };
                if !partitions.iter().any(is_whole) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes that no device is connected: for the start and the end of the only process over a
    /// store.
    ///
    /// # Errors
    /// The store's.
    pub async fn disconnect_all(&self) -> Result<(), StoreFault> {
        let at = self.clock.now();
        let changes = model::ChangeSet::new().with(model::Change::DisconnectAll { at });
        match self.store.commit(changes).await {
            Ok(()) | Err(CommitError::Conflict) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }
}
