//! What a running server does by itself for revocation lists: it fetches newer ones, and tells when
//! one is out of date.

use std::{error::Error, time::Duration};

use app::App;
use tokio::{
    select,
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

/// How often we look whether a list is due: one that is followed from now on is fetched this long
/// after at the latest.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Every how many looks we look for lists that are out of date: every ten minutes.
const LOOKS_PER_ALARM: u64 = 120;

/// Works until told to stop. A fetch that is cut off then is made again after the next start.
pub(super) async fn follow(app: App, mut stopping: watch::Receiver<bool>) {
    let mut timer = interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u64.. {
        select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = timer.tick() => {}
        }
        select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = run_once(&app, look % LOOKS_PER_ALARM == 0) => {}
        }
    }
}

/// What fails is tried again the next time.
async fn run_once(app: &App, with_alarms: bool) {
    if let Err(fault) = app.fetch_due_crls().await {
        warn!(error = &fault as &dyn Error, "cannot see which revocation lists are due: {fault}");
    }
    if !with_alarms {
        return;
    }
    if let Err(fault) = app.sound_crl_alarms().await {
        warn!(
            error = &fault as &dyn Error,
            "cannot see which revocation lists are out of date: {fault}"
        );
    }
}
