//! What remote hubs have to be told: pending assignments and removals, worked off in the
//! background.
//!
//! The record holds all that is needed, so nothing is lost when a process ends; several processes
//! over one store share the work by claiming it. The rules are `decide::pending`'s.

mod attempt;

use std::{fmt, sync::Arc};

use decide::pending::{RemoteFailure, RemoteHub};
use futures_util::{StreamExt, stream};
use model::{HubName, OperatorRefusal, Timestamp};
use store::StoreFault;
use tracing::warn;

use crate::{
    App, No,
    ports::{Bell, NoBell, NoRemoteHubs, RemoteHubs},
};

/// How remote hubs are worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteSettings {
    /// For how long after the register request a hub that cannot be reached is tried, in seconds.
    pub deadline_secs: i64,
    /// How many devices are worked on at a time.
    pub max_at_once: usize,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self { deadline_secs: 24 * 3600, max_at_once: 16 }
    }
}

/// The ports and settings for remote hubs.
pub(crate) struct Remote {
    pub(crate) hubs: Arc<dyn RemoteHubs>,
    pub(crate) bell: Arc<dyn Bell>,
    pub(crate) settings: RemoteSettings,
}

impl Default for Remote {
    fn default() -> Self {
        let settings = RemoteSettings::default();
        Self { hubs: Arc::new(NoRemoteHubs), bell: Arc::new(NoBell), settings }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How a linked hub is doing, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubHealth {
    /// It is in this process.
    BuiltIn,
    /// It answers, and our credentials have the rights they need.
    Healthy,
    /// It refuses our credentials, or they lack a right; with the hub's own text.
    Unauthorized(String),
    /// It cannot be reached, or is broken; with what happened.
    Unreachable(String),
}

impl App {
    /// The same, with remote hubs it can reach.
    #[must_use]
    pub fn with_remote_hubs(
        self,
        hubs: Arc<dyn RemoteHubs>,
        bell: Arc<dyn Bell>,
        settings: RemoteSettings,
    ) -> Self {
        Self { remote: Arc::new(Remote { hubs, bell, settings }), ..self }
    }

    /// Works off what is due, each device once, several at a time; answers when to come back at
    /// the latest. Call it again as well when the [`Bell`] rings.
    ///
    /// What goes wrong with one device is logged and tried again when its claim ends.
    ///
    /// # Errors
    /// The store's, when it cannot even say what is due.
    pub async fn work_off(&self) -> Result<Option<Timestamp>, StoreFault> {
        let now = self.clock.now();
        // More than are worked on at once, so that a slow hub does not idle the others' places.
        let limit = self.remote.settings.max_at_once.saturating_mul(8);
        let removals = self.store.due_removals(now, limit).await?;
        let assignments = self.store.due_assignments(now, limit).await?;
        let removals = stream::iter(removals).map(|removal| async move {
            if let Err(fault) = self.work_off_removal(&removal).await {
                let (hub, id) = (&removal.hub, &removal.device_id);
                warn!(hub.name = %hub, device.id = %id, error = %fault, "could not record the removal of `{id}` from `{hub}`");
            }
        });
        removals.buffer_unordered(self.remote.settings.max_at_once).collect::<()>().await;
        let assignments = stream::iter(assignments).map(|id| async move {
            if let Err(fault) = self.work_off_assignment(&id).await {
                warn!(registration.id = %id, error = %fault, "could not record the assignment of `{id}`");
            }
        });
        assignments.buffer_unordered(self.remote.settings.max_at_once).collect::<()>().await;
        self.store.next_due().await
    }

    /// Finds out how a linked hub is doing: stale credentials show here before a device meets
    /// them.
    ///
    /// # Errors
    /// [`OperatorRefusal::HubNotLinked`], or a fault of the store.
    pub async fn probe_hub(&self, name: &HubName) -> Result<HubHealth, No<OperatorRefusal>> {
        let facts = self.store.service_facts().await?;
        if !facts.hubs.iter().any(|hub| hub.name == *name) {
            return Err(No::Refused(OperatorRefusal::HubNotLinked(name.to_string())));
        }
        let Some(hub) = RemoteHub::find(&facts.hubs, name) else { return Ok(HubHealth::BuiltIn) };
        Ok(match self.remote.hubs.probe(&hub).await {
            Ok(()) => HubHealth::Healthy,
            Err(RemoteFailure::Unauthorized(text)) => HubHealth::Unauthorized(text),
            Err(failure) => HubHealth::Unreachable(failure.to_string()),
        })
    }
}
