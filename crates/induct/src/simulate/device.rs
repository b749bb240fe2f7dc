//! The life of a device: provision, connect, work, and begin again when something breaks.

use std::time::Duration;

use app::ports::Entropy;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::debug;

use super::{End, Figures, Habits, Identity, Network, Over, Session, Settled, Trouble, register};
use crate::ports::SystemEntropy;

/// How long a device waits before it tries again, at first and at most; half of that at least.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What all devices of a simulation share.
pub struct World {
    /// How they reach the server.
    pub network: Network,
    /// How they are provisioned.
    pub over: Over,
    /// What they do while they are connected.
    pub habits: Habits,
    /// Whether they begin again when something breaks.
    pub reconnect: bool,
    /// What they did so far.
    pub figures: Figures,
}

/// Where a device stood at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has done what it was to do, or was connected when it was told to stop.
    Good,
    /// It was told to stop before it was connected, and nothing had gone wrong.
    TooEarly,
    /// It was not connected, for this reason.
    Failed(Trouble),
}

/// Where a device was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The hub's host name.
    pub hub: String,
    /// The device's name there.
    pub device_id: String,
}

/// A device's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where it stood.
    pub outcome: Outcome,
    /// Where provisioning made an identity for it; none where there was one before.
    pub made: Option<Assignment>,
}

/// Lives a device's life until it is done, given up, or told to stop.
pub async fn live(world: &World, identity: &Identity, mut stop: watch::Receiver<bool>) -> Ended {
    let mut life = Life {
        world,
        identity,
        assignment: None,
        made: None,
        n_sent: 0,
        n_failures: 0,
        was_connected: false,
    };
    let outcome = loop {
        let trouble = match life.attempt(&mut stop).await {
            Attempt::Over(outcome) => break outcome,
            Attempt::Again(trouble) => trouble,
        };
        debug!("`{}`: {trouble}", identity.id);
        if !world.reconnect {
            break Outcome::Failed(trouble);
        }
        let pause = jittered(life.next_pause());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break Outcome::Failed(trouble),
            () = sleep(pause) => {}
        }
    };
    Ended { outcome, made: life.made }
}

struct Life<'a> {
    world: &'a World,
    identity: &'a Identity,
    assignment: Option<Assignment>,
    made: Option<Assignment>,
    n_sent: u64,
    /// How often it failed in a row.
    n_failures: u32,
    was_connected: bool,
}

enum Attempt {
    /// That is the end.
    Over(Outcome),
    /// It may work the next time.
    Again(Trouble),
}

impl Life<'_> {
    /// Tries to be connected, and works until the connection ends.
    async fn attempt(&mut self, stop: &mut watch::Receiver<bool>) -> Attempt {
        let was_connected = self.was_connected;
        let session = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Attempt::Over(match was_connected {
                // It was on its way back.
                true => Outcome::Good,
                false => Outcome::TooEarly,
            }),
            // Boxed, and gone before the session begins: connecting takes far more memory.
            opened = Box::pin(self.open()) => match opened {
                Ok(session) => session,
                Err(attempt) => return attempt,
            },
        };
        let World { habits, figures, .. } = self.world;
        if self.was_connected {
            figures.reconnects.add();
        }
        self.was_connected = true;
        self.n_failures = 0;
        let delay = habits.interval.map(fraction_of).unwrap_or_default();
        match session.run(habits, figures, &mut self.n_sent, delay, stop).await {
            End::Done | End::Stopped => Attempt::Over(Outcome::Good),
            End::Lost(trouble) => {
                figures.errors.add();
                Attempt::Again(trouble)
            }
        }
    }

    async fn open(&mut self) -> Result<Session, Attempt> {
        let World { network, figures, .. } = self.world;
        let Assignment { hub, device_id } = match self.assignment.clone() {
            Some(assignment) => assignment,
            None => self.provision().await?,
        };
        let started = Instant::now();
        match Session::open(network, self.identity, &hub, &device_id).await {
            Ok(session) => {
                figures.connecting.record(started.elapsed());
                self.assignment = Some(Assignment { hub, device_id });
                Ok(session)
            }
            Err(trouble) => {
                self.count(&trouble);
                if let Trouble::Refused(_) = trouble {
                    // What a device does whose hub does not know it: ask where it belongs.
                    self.assignment = None;
                }
                Err(Attempt::Again(trouble))
            }
        }
    }

    /// A device that provisioning refuses gives up.
    async fn provision(&mut self) -> Result<Assignment, Attempt> {
        let World { network, over, figures, .. } = self.world;
        let started = Instant::now();
        let settled = register(network, self.identity, *over).await;
        let trouble = match settled.and_then(|settled| self.read(settled)) {
            Ok(assignment) => {
                figures.provisioned.add();
                figures.provisioning.record(started.elapsed());
                return Ok(assignment);
            }
            Err(trouble) => trouble,
        };
        self.count(&trouble);
        Err(match trouble {
            Trouble::Refused(_) => Attempt::Over(Outcome::Failed(trouble)),
            Trouble::Failed(_) => Attempt::Again(trouble),
        })
    }

    fn read(&mut self, settled: Settled) -> Result<Assignment, Trouble> {
        let Settled { status, hub, device_id, substatus } = settled;
        let assignment = match (status.as_str(), hub, device_id) {
            ("assigned", Some(hub), Some(device_id)) => Assignment { hub, device_id },
            _ => return Err(Trouble::Refused(format!("provisioning ended with `{status}`"))),
        };
        if substatus.as_deref() == Some("initialAssignment") {
            self.made.get_or_insert_with(|| assignment.clone());
        }
        Ok(assignment)
    }

    fn count(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Refused(_) => self.world.figures.refused.add(),
            Trouble::Failed(_) => self.world.figures.errors.add(),
        }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = PAUSE.0.saturating_mul(2_u32.saturating_pow(self.n_failures)).min(PAUSE.1);
        self.n_failures = self.n_failures.saturating_add(1);
        pause
    }
}

/// Between half of it and all of it, so that devices that failed together do not come back
/// together.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + fraction_of(pause / 2)
}

/// Some part of it.
fn fraction_of(whole: Duration) -> Duration {
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random);
    whole.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pause_is_between_half_and_all_of_it(millis in 0..100_000_u64) {
            let whole = Duration::from_millis(millis);
            let pause = jittered(whole);
            prop_assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        }
    }
}
