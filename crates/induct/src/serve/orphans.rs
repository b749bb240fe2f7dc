//! What a running server does by itself about registration records whose enrollment no longer
//! exists: where that is configured, it deletes those that are old.

use std::{error::Error, time::Duration};

use app::App;
use tokio::{
    select,
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How often old records are looked for. At a start too.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Deletes records without an enrollment whose devices did not register for so many seconds, every
/// so often until the server stops; none, where nothing is configured.
pub(super) async fn expire(
    app: App,
    older_than_secs: Option<i64>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(older_than_secs) = older_than_secs else { return };
    let mut timer = interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = timer.tick() => {}
        }
        run_once(&app, older_than_secs, &stopping).await;
    }
}

/// One pass, batch by batch. What fails is tried again the next time.
async fn run_once(app: &App, older_than_secs: i64, stopping: &watch::Receiver<bool>) {
    let (mut n_records, mut after) = (0, None);
    loop {
        match app.expire_orphans(older_than_secs, after.as_deref()).await {
            Ok(cleared) => {
                n_records += cleared.n_records;
                after = cleared.next;
            }
            Err(no) => {
                warn!(error = &no as &dyn Error, "cannot delete old orphaned registrations: {no}");
                after = None;
            }
        }
        if after.is_none() || *stopping.borrow() {
            break;
        }
    }
    if n_records > 0 {
        let hours = older_than_secs / 3_600;
        info!(
            n_records,
            "deleted {n_records} registrations without an enrollment whose devices did not \
             register for {hours} hours"
        );
    }
}

#[cfg(test)]
mod tests;
