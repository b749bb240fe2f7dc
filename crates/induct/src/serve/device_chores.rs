//! What a running server does by itself for the devices of its hubs: it writes down who went, and
//! keeps logs of events and queues of messages within their bounds.

use std::{error::Error, time::Duration};

use app::App;
use tokio::{
    select,
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{debug, warn};

/// How often events and messages are looked through. A log may be beyond its bounds for so long.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// For how long attempts are gathered before they are written together.
const GATHER_ATTEMPTS: Duration = Duration::from_millis(500);

/// Writes that devices are no longer connected as soon as their sessions have ended. Who is still
/// there at the stop is written then.
pub(super) async fn see_off(app: App, mut stopping: watch::Receiver<bool>) {
    loop {
        select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stopping.wait_for(|stop| *stop) => return,
            () = app.departure() => {}
        }
        app.see_off().await;
    }
}

/// Tidies up every so often.
pub(super) async fn tidy(app: App, mut stopping: watch::Receiver<bool>) {
    let mut timer = interval(TIDY_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = timer.tick() => {}
        }
        run_once(&app).await;
    }
}

/// Writes what devices attempted, soon after: many at a time, and no device waits for it. What comes
/// after the stop is written when the doors are closed.
pub(super) async fn write_attempts(app: App, mut stopping: watch::Receiver<bool>) {
    loop {
        select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = app.attempt_arrived() => {}
        }
        if let Err(fault) = app.write_attempts().await {
            warn!(error = &fault as &dyn Error, "cannot keep what devices attempted: {fault}");
        }
        select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = sleep(GATHER_ATTEMPTS) => {}
        }
    }
}

/// Deletes events that are too old or too many, and ends messages whose time is over. What fails is
/// tried again the next time.
async fn run_once(app: &App) {
    if let Err(fault) = app.trim_events().await {
        warn!(error = &fault as &dyn Error, "cannot delete old events: {fault}");
    }
    match app.end_expired_messages().await {
        Ok(0) => {}
        Ok(n) => debug!(n_messages = n, "ended {n} messages whose time was over"),
        Err(fault) => {
            warn!(error = &fault as &dyn Error, "cannot end messages whose time is over: {fault}");
        }
    }
}

#[cfg(test)]
mod tests;
