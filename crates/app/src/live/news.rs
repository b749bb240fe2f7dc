//! Wakes those who wait for something new on a hub.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::HubName;
use tokio::sync::watch;

/// News of one kind, by hub.
#[derive(Debug, Default)]
pub(crate) struct News(Mutex<HashMap<HubName, watch::Sender<u64>>>);

impl News {
    /// Says that there is something new.
    pub(crate) fn announce(&self, hub: &HubName) {
        if let Some(sender) = self.lock().get(hub) {
            sender.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Changes at every [`Self::announce`] from here on.
    pub(crate) fn subscribe(&self, hub: &HubName) -> watch::Receiver<u64> {
        let mut news = self.lock();
        // As many as there are hubs that somebody ever read; what nobody reads any more goes.
        news.retain(|_, sender| sender.receiver_count() > 0);
        news.entry(hub.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HubName, watch::Sender<u64>>> {
        // Whoever panicked with the lock left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
