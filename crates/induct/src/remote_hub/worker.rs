//! Works off what remote hubs have to be told, when it is due and when the bell rings.

use std::{sync::Arc, time::Duration};

use app::{App, ports::Bell};
use model::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::sleep,
};
use tracing::error;

/// The longest wait: what another process over the same store left is found by then.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The shortest wait, so that what cannot be written does not keep us spinning.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// How many passes run at a time. Each takes what is due and unclaimed, so a hub that answers
/// slowly holds up one pass and not the devices of the others.
const MAX_PASSES: usize = 8;

/// Rings for the worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerBell(Arc<Notify>);

impl Bell for WorkerBell {
    fn ring(&self) {
        self.0.notify_one();
    }
}

/// Works until told to stop. What is begun then stays recorded and goes on after the next start.
pub async fn work(app: App, bell: WorkerBell, mut stopping: watch::Receiver<bool>) {
    let mut passes: JoinSet<Option<Timestamp>> = JoinSet::new();
    let mut wait = Duration::ZERO;
    let mut is_due = true;
    loop {
        if is_due && passes.len() < MAX_PASSES {
            let app = app.clone();
            passes.spawn(async move {
                app.work_off().await.unwrap_or_else(|fault| {
                    error!(error = %fault, "cannot read what remote hubs have to be told");
                    None
                })
            });
            wait = LONGEST_WAIT;
        }
        is_due = tokio::select! {
            () = bell.0.notified() => true,
            () = sleep(wait) => true,
            Some(done) = passes.join_next(), if !passes.is_empty() => {
                let next = done.ok().flatten();
                wait = next.map_or(LONGEST_WAIT, |next| until(next, app.now()));
                false
            }
            changed = stopping.changed() => match changed.is_err() || *stopping.borrow() {
                true => return,
                false => false,
            },
        };
    }
}

fn until(due: Timestamp, now: Timestamp) -> Duration {
    let ticks = u64::try_from(due.ticks().saturating_sub(now.ticks())).unwrap_or(0);
    Duration::from_micros(ticks / 10).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}
