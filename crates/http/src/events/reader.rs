//! Goes through a hub's log, event by event.

use app::hub::EventCursor;
use app::{App, No};
use model::{DeviceId, HubName, HubRefusal, StoredEvent};

/// How many events are looked at in a round, where most may be of other devices.
const SCAN: usize = 500;
/// A round ends with the event that makes it count for more than so many bytes.
const MAX_ROUND_BYTES: u64 = 256 * 1024;

/// A reader, and how far it has come.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) app: App,
    pub(super) hub: HubName,
    pub(super) cursor: EventCursor,
    pub(super) partition: Option<u16>,
    pub(super) device_id: Option<DeviceId>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// How many events; none at the end of the log.
    pub(super) n_seen: usize,
    /// What they count for.
    pub(super) n_bytes: u64,
}

impl Reader {
    /// Looks at what comes next and hands over what is wanted of it, at most `limit` events, each
    /// with the cursor after it. What is beyond that is looked at again.
    pub(super) async fn read(
        &mut self,
        limit: usize,
        mut take: impl FnMut(&EventCursor, StoredEvent),
    ) -> Result<Round, No<HubRefusal>> {
        let n_most = if self.device_id.is_some() { SCAN.max(limit) } else { limit };
        let page = self
            .app
            .read_events(&self.hub, &self.cursor, self.partition, n_most, MAX_ROUND_BYTES)
            .await?;
        let mut round = Round { n_seen: 0, n_bytes: 0 };
        let mut n_taken = 0;
        for stored in page.events {
            if n_taken == limit {
                break;
            }
            round.n_seen += 1;
            round.n_bytes = round.n_bytes.saturating_add(stored.event.size_bytes());
            self.cursor.next.insert(stored.partition, stored.offset.saturating_add(1));
            // What its modules sent came over the device as well.
            let sender = stored.event.device_id.device();
            if self.device_id.as_ref().is_none_or(|id| id.as_str() == sender) {
                n_taken += 1;
                take(&self.cursor, stored);
            }
        }
        Ok(round)
    }

    pub(super) fn cursor_text(&self) -> String {
        wire::hub::write_cursor(&self.hub, &self.cursor.next)
    }
}
