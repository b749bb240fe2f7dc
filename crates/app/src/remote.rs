//! What remote hubs have to be told: pending assignments and removals, worked off in the
//! background.
//!
//! The record holds all that is needed, so nothing is lost when a process ends; several processes
//! over one store share the work by claiming it. The rules are `decide::pending`'s.

mod attempt;
mod resting;

use std::{collections::BTreeMap, fmt, sync::Arc};

use decide::pending::{RemoteFailure, RemoteHub};
use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream,
};
use model::{HubName, OperatorRefusal, RemoteRemoval, Timestamp};
use store::StoreFault;
use tracing::warn;

use self::resting::Resting;
use crate::{
    App, No,
    ports::{Bell, NoBell, NoRemoteHubs, RemoteHubs},
};

/// How long until those hubs are looked at again that were left alone in a pass, in seconds.
const LOOK_AGAIN_SECS: i64 = 2;

/// How remote hubs are worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteSettings {
    /// For how long after the register request a hub that cannot be reached is tried, in seconds.
    pub deadline_secs: i64,
    /// How many devices are assigned at a time, and of how many each hub is told at a time.
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
    /// The hubs that are told something, and those that are left alone for a while.
    resting: Resting,
}

impl Default for Remote {
    fn default() -> Self {
        Self::new(Arc::new(NoRemoteHubs), Arc::new(NoBell), RemoteSettings::default())
    }
}

impl Remote {
    fn new(hubs: Arc<dyn RemoteHubs>, bell: Arc<dyn Bell>, settings: RemoteSettings) -> Self {
        let resting = Resting::new(settings.max_at_once.max(1));
        Self { hubs, bell, settings, resting }
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
        Self { remote: Arc::new(Remote::new(hubs, bell, settings)), ..self }
    }

    /// Works off what is due, each device once, several at a time; answers when to come back at
    /// the latest. Call it again as well when the [`Bell`] rings, also while another pass runs.
    ///
    /// Each hub is told by itself, beside the others and beside the assignments: one that is down,
    /// whatever its backlog, holds up nobody else's. After a failure it is left alone for a while,
    /// with all that it is to be told.
    ///
    /// What goes wrong with one device is logged and tried again when its claim ends.
    ///
    /// # Errors
    /// The store's, when it cannot even say what is due.
    pub async fn work_off(&self) -> Result<Option<Timestamp>, StoreFault> {
        let now = self.clock.now();
        // More than are worked on at once, so that a slow hub does not idle the others' places.
        let limit = self.remote.settings.max_at_once.saturating_mul(8);
        let mut by_hub: BTreeMap<HubName, Vec<RemoteRemoval>> = BTreeMap::new();
        for removal in self.store.due_removals(now, limit).await? {
            by_hub.entry(removal.hub.clone()).or_default().push(removal);
        }
        let assignments = self.store.due_assignments(now, limit).await?;
        let assignments = stream::iter(assignments).map(|id| async move {
            if let Err(fault) = self.work_off_assignment(&id).await {
                warn!(registration.id = %id, error = %fault, "could not record the assignment of `{id}`");
            }
        });
        let assignments =
            assignments.buffer_unordered(self.remote.settings.max_at_once).collect::<()>();
        let removals = join_all(by_hub.into_values().map(|removals| self.tell_hub(removals)));
        let ((), are_told) = join(assignments, removals).await;
        let next = self.store.next_due().await?;
        if are_told.into_iter().all(|is_told| is_told) {
            return Ok(next);
        }
        // What was left alone is due, and no reason to come back at once.
        let later = self.clock.now().plus_secs(LOOK_AGAIN_SECS);
        Ok(next.map(|next| next.max(later)))
    }

    /// Tells one hub all of this; false when some of it was left alone.
    async fn tell_hub(&self, removals: Vec<RemoteRemoval>) -> bool {
        let told = stream::iter(removals).map(|removal| async move {
            let hub = &removal.hub;
            let Some(place) = self.remote.resting.place(hub, self.clock.now()) else {
                return false;
            };
            if let Err(fault) = self.work_off_removal(&removal, place).await {
                let id = &removal.device_id;
                warn!(hub.name = %hub, device.id = %id, error = %fault, "could not record the removal of `{id}` from `{hub}`");
            }
            true
        });
        let told = told.buffer_unordered(self.remote.settings.max_at_once.max(1));
        told.fold(true, |all, is_told| async move { all && is_told }).await
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
