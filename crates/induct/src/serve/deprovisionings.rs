//! Works deprovisionings off: when one is begun, and after a start those that were interrupted.

use std::{sync::Arc, time::Duration};

use app::{App, ports::Bell};
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tracing::error;

/// The longest wait: what another process over the same store left is found by then.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The wait after a pass that could not do all, so that a store that fails does not keep us
/// spinning.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Rings when a deprovisioning is begun.
#[derive(Debug, Clone, Default)]
pub(super) struct DeprovisionBell(Arc<Notify>);

impl Bell for DeprovisionBell {
    fn ring(&self) {
        self.0.notify_one();
    }
}

/// Works until told to stop. What is begun then stays recorded and goes on after the next start.
pub(super) async fn work_off(app: App, bell: DeprovisionBell, mut stopping: watch::Receiver<bool>) {
    loop {
        let pass = async {
            match app.work_off_deprovisionings().await {
                Ok(None) => LONGEST_WAIT,
                Ok(Some(_)) => SHORTEST_WAIT,
                Err(fault) => {
                    error!(error = %fault, "cannot read which deprovisionings are to be done");
                    SHORTEST_WAIT
                }
            }
        };
        let wait = tokio::select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stopping.wait_for(|stop| *stop) => return,
            wait = pass => wait,
        };
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = bell.0.notified() => {}
            () = sleep(wait) => {}
        }
    }
}
