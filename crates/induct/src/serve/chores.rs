//! What a running server does by itself from time to time: it keeps its certificate and
//! `run/listen.json` up to date, also with hubs that are linked meanwhile, and forgets what it
//! asked TPMs that never answered.

use std::{error::Error, sync::Arc, time::Duration};

use app::ports::Clock;
use model::{HubAccess, HubName, LinkedHub, ServiceFacts, Version};
use store::Store;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{error, warn};

use crate::{
    certificates::Certificates,
    config::Config,
    data_folder::{DataFolder, Listening},
    ports::SystemClock,
    wiring,
};

/// How often we look whether hubs were linked or unlinked: a built-in hub can be called by its
/// name this long after it was linked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often challenges to TPMs that are of no more use are forgotten. At a start too.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Which chores are due.
#[derive(Clone, Copy)]
enum Due {
    All,
    Look,
    Forget,
}

/// Everything the chores need.
pub(super) struct Chores {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    pub(super) certificates: Certificates,
    pub(super) data: DataFolder,
    pub(super) listening: Listening,
    /// The version of the set of hubs that certificate and `listen.json` know.
    pub(super) hubs_version: Version,
}

/// The host names of the built-in ones.
pub(super) fn names(hubs: &[LinkedHub]) -> Vec<HubName> {
    let built_in = hubs.iter().filter(|hub| hub.access == HubAccess::BuiltIn);
    built_in.map(|hub| hub.name.clone()).collect()
}

impl Chores {
    /// Runs the chores until the server stops: all of them every so often, and when hubs change.
    pub(super) async fn run(mut self, every: Duration, mut stopping: watch::Receiver<bool>) {
        let (mut all, mut look, mut forget) =
            (timer(every), timer(LOOK_EVERY), timer(FORGET_EVERY));
        // The first tick comes at once, and everything has just been read.
        all.tick().await;
        look.tick().await;
        loop {
            let due = tokio::select! {
                // An error means that the sender is gone, which is a stop as well.
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = all.tick() => Due::All,
                _ = look.tick() => Due::Look,
                _ = forget.tick() => Due::Forget,
            };
            let everything = match due {
                Due::All => true,
                Due::Look => false,
                Due::Forget => {
                    self.forget_challenges().await;
                    continue;
                }
            };
            match self.store.service_facts().await {
                Ok(facts) => self.run_once(facts, everything).await,
                Err(fault) => {
                    warn!(error = &fault as &dyn Error, "cannot see which hubs are linked: {fault}")
                }
            }
        }
    }

    /// What fails is tried again the next time.
    async fn forget_challenges(&self) {
        let now = SystemClock.now();
        if let Err(fault) = app::tpm::end_expired_challenges(&*self.store, now).await {
            warn!(error = &fault as &dyn Error, "cannot forget old challenges to TPMs: {fault}");
        }
    }

    async fn run_once(&mut self, facts: ServiceFacts, everything: bool) {
        let hubs_changed = facts.version != self.hubs_version;
        if !everything && !hubs_changed {
            return;
        }
        let (certificates, hubs) = (self.certificates.clone(), names(&facts.hubs));
        let now = SystemClock.now();
        let renewed = spawn_blocking(move || certificates.run_once(&hubs, now)).await;
        if let Err(broken) = renewed {
            error!(error = %broken, "a chore failed: {broken}");
        }
        if !hubs_changed {
            return;
        }
        self.hubs_version = facts.version;
        let hubs = wiring::built_in_hubs(&self.config, &facts.hubs);
        if hubs == self.listening.hubs {
            return;
        }
        self.listening.hubs = hubs;
        if let Err(error) = self.data.publish(&self.listening) {
            warn!(error = &error as &dyn Error, "commands here do not know the new hubs: {error}");
        }
    }
}

fn timer(every: Duration) -> Interval {
    let mut timer = interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
