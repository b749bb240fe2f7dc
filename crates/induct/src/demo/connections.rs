//! The devices' connections to their hubs, which stay open while the story goes on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{factory::Made, stage::Stage};
use crate::{
    cli::Failure,
    simulate::{End, Figures, Habits, Session, Trouble},
};

/// How long the end of a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The open connections, by registration ID. They end when this is dropped.
pub(super) struct Connections {
    open: BTreeMap<String, JoinHandle<(End, Instant)>>,
    figures: Arc<Figures>,
    stop: watch::Sender<bool>,
}

impl Connections {
    /// None yet.
    pub(super) fn new() -> Self {
        let (stop, _) = watch::channel(false);
        Self { open: BTreeMap::new(), figures: Arc::default(), stop }
    }

    /// Connects a device to its hub, where it reports every second from now on.
    ///
    /// # Errors
    /// [`Trouble::Refused`] when the hub does not let it in.
    pub(super) async fn open(
        &mut self,
        stage: &Stage,
        device: &Made,
        hub: &str,
    ) -> Result<(), Trouble> {
        let session = Session::open(&stage.network, &device.identity, hub, &device.id).await?;
        let (figures, mut stop) = (Arc::clone(&self.figures), self.stop.subscribe());
        let running = tokio::spawn(async move {
            let (habits, mut n_sent) = (Habits { payload_bytes: 0, ..Habits::default() }, 0);
            let delay = Duration::ZERO;
            let end = session.run(&habits, &figures, &mut n_sent, delay, &mut stop).await;
            (end, Instant::now())
        });
        self.open.insert(device.id.clone(), running);
        Ok(())
    }

    /// How many are open now.
    pub(super) fn n_open(&self) -> usize {
        self.open.values().filter(|running| !running.is_finished()).count()
    }

    /// Waits until a device's connection has ended from the other side; when that was.
    ///
    /// # Errors
    /// It stays open, or ended by itself.
    pub(super) async fn end_of(&mut self, id: &str) -> Result<Instant, Failure> {
        let running = self.open.remove(id);
        let running = running.ok_or_else(|| Failure::new(format!("{id} is not connected.")))?;
        let ended = timeout(PATIENCE, running).await;
        let ended = ended.map_err(|_| {
            Failure::new(format!(
                "{id} should be cut off, and is still connected after {} s.",
                PATIENCE.as_secs()
            ))
        })?;
        match ended? {
            (End::Lost(_), at) => Ok(at),
            (end, _) => {
                Err(Failure::new(format!("{id} should be cut off, and ended by itself: {end:?}")))
            }
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
