//! Sessions that ended and whose devices are still written as connected.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{Change, ChangeSet, ConnectionNumber, DeviceId, HubName, Timestamp};
use store::CommitError;
use tokio::sync::Notify;
use tracing::warn;

use crate::App;

/// How many departures one change set writes.
const MAX_BATCH: usize = 256;

/// A session ends wherever its task is dropped, where nothing can be awaited; so its departure is
/// noted here, and written by [`App::see_off`]. One entry for a device at most.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    waiting: Mutex<HashMap<(HubName, DeviceId), (ConnectionNumber, Timestamp)>>,
    wake: Notify,
}

impl Departed {
    pub(crate) fn note(
        &self,
        device: (HubName, DeviceId),
        connection: ConnectionNumber,
        at: Timestamp,
    ) {
        self.lock().insert(device, (connection, at));
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Change> {
        let mut waiting = self.lock();
        let devices: Vec<_> = waiting.keys().take(MAX_BATCH).cloned().collect();
        let changes = devices.into_iter().filter_map(|device| {
            let (connection, at) = waiting.remove(&device)?;
            let (hub, device_id) = device;
            Some(Change::Disconnect { hub, device_id, connection, at })
        });
        changes.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(HubName, DeviceId), (ConnectionNumber, Timestamp)>> {
        // Whoever panicked with the lock left whole entries behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Waits until a session has ended.
    pub async fn departure(&self) {
        self.live.departed.wake.notified().await;
    }

    /// Writes that the devices whose sessions ended are no longer connected. What cannot be
    /// written is dropped and logged: the next connection, or the next start, puts it right.
    pub async fn see_off(&self) {
        loop {
            let changes = self.live.departed.take();
            if changes.is_empty() {
                return;
            }
            let n = changes.len();
            let set = ChangeSet { expects: Vec::new(), changes };
            if let Err(CommitError::Fault(fault)) = self.store.commit(set).await {
                warn!(error = %fault, "could not write that {n} devices are no longer connected");
            }
        }
    }
}
