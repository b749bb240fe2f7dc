//! Simulated devices: any number of them in one process, each as its firmware would be written.
//!
//! A device is provisioned, connects to the hub it was assigned, reports, answers methods, and
//! begins again when something breaks. Each is a task of its own; what all share is in [`World`].
//! `induct device simulate` runs them, and `induct demo` tells its story with them. What
//! deliberately does not live here: the command line, and telling anybody what happens.

mod authority;
mod carrier;
mod device;
mod figures;
mod group;
mod identity;
mod network;
mod payload;
mod provision;
mod session;
mod summary;
mod timing;
mod trouble;
mod websocket;

use std::{future::Future, sync::Arc, time::Duration};

use app::ports::Clock;
use model::SymmetricKey;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

pub use authority::{Authority, BadAuthority, DeviceCertificate};
pub use device::{Assignment, Ended, Outcome, World, live};
pub use figures::{Count, Figures};
pub(crate) use group::{Group, Removed};
pub use identity::{BadIdentity, Identity};
pub use network::{Endpoint, Network, Site};
pub use provision::{Over, Settled, register};
pub use session::{End, Habits, Session};
pub use summary::Summary;
pub use timing::{Percentiles, Timing};
pub use trouble::Trouble;

use crate::{cli::Failure, ports::SystemClock};

/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(250);

/// How many devices there are, and when they come and go.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How many devices.
    pub n_devices: usize,
    /// Their names begin with this; a dash and a number follow.
    pub id_prefix: String,
    /// How many begin each second; more than zero.
    pub ramp_up: f64,
    /// How long they work, from the moment the last one has begun; without end where there is
    /// none.
    pub duration: Option<Duration>,
}

/// What devices of a group prove themselves with.
pub enum Credentials {
    /// A group's symmetric key, from which each device's is derived.
    Key(SymmetricKey),
    /// A CA that makes each device a certificate.
    Authority(Box<Authority>),
}

/// What became of a simulation.
pub struct Ran {
    /// The devices that began and ended.
    pub ended: Vec<Ended>,
    /// How long it took.
    pub took: Duration,
    /// Whether it was broken off, so that some devices never ended.
    pub is_broken_off: bool,
}

impl Plan {
    /// The name of a device, counted from 1.
    #[must_use]
    pub fn id(&self, number: usize) -> String {
        let width = self.n_devices.to_string().len().max(2);
        format!("{}-{number:0width$}", self.id_prefix)
    }

    /// When a device begins, after the first.
    fn begins_after(&self, n_before: usize) -> Duration {
        // Devices are far fewer than a float can count.
        Duration::try_from_secs_f64(n_before as f64 / self.ramp_up).unwrap_or(Duration::MAX)
    }
}

impl Credentials {
    /// A device of this name.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn identity(&self, id: &str) -> Result<Identity, Failure> {
        Ok(match self {
            Self::Key(key) => Identity::with_key(id, attest::sas::derive(key, id)),
            Self::Authority(authority) => {
                Identity::with_certificate(id, &authority.issue(id, SystemClock.now())?)?
            }
        })
    }
}

/// Runs devices until all are done, the time is over, or `stop` asks for it: once for an orderly
/// end, a second time to break off. `progress` hears several times a second.
///
/// # Errors
/// A device's certificate cannot be made.
pub async fn run<S: Future<Output = ()>>(
    plan: &Plan,
    world: &Arc<World>,
    credentials: &Credentials,
    mut stop: impl FnMut() -> S,
    mut progress: impl FnMut(&Figures),
) -> Result<Ran, Failure> {
    let (stopping, stopped) = watch::channel(false);
    let mut devices = JoinSet::new();
    let mut ended = Vec::new();
    let mut n_begun = 0;
    let started = Instant::now();
    let mut over_at: Option<Instant> = None;
    let mut is_stopping = false;
    let mut is_broken_off = false;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = Box::pin(stop());
    loop {
        let is_waiting = n_begun < plan.n_devices && !is_stopping;
        if !is_waiting && devices.is_empty() {
            break;
        }
        let next = started + plan.begins_after(n_begun);
        tokio::select! {
            biased;
            () = &mut asked => {
                if is_stopping {
                    is_broken_off = true;
                    break;
                }
                is_stopping = true;
                stopping.send_replace(true);
                asked = Box::pin(stop());
            }
            () = sleep_until(over_at.unwrap_or(started)), if over_at.is_some() && !is_stopping => {
                is_stopping = true;
                stopping.send_replace(true);
            }
            // A device that panicked has no end to tell of; the panic was reported by itself.
            Some(end) = devices.join_next(), if !devices.is_empty() => ended.extend(end.ok()),
            () = sleep_until(next), if is_waiting => {
                n_begun += 1;
                let identity = credentials.identity(&plan.id(n_begun))?;
                let (world, stopped) = (Arc::clone(world), stopped.clone());
                devices.spawn(async move { live(&world, &identity, stopped).await });
                if n_begun == plan.n_devices {
                    over_at = plan.duration.and_then(|d| Instant::now().checked_add(d));
                }
            }
            _ = tick.tick() => progress(&world.figures),
        }
    }
    Ok(Ran { ended, took: started.elapsed(), is_broken_off })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(n_devices: usize, ramp_up: f64) -> Plan {
        Plan { n_devices, id_prefix: "press".to_owned(), ramp_up, duration: None }
    }

    #[test]
    fn names_are_as_wide_as_the_last_one() {
        assert_eq!(
            (plan(5, 1.0).id(5), plan(5_000, 1.0).id(7)),
            ("press-05".into(), "press-0007".into())
        );
    }

    #[test]
    fn devices_begin_one_after_the_other() {
        assert_eq!(plan(5, 20.0).begins_after(0), Duration::ZERO);
        assert_eq!(plan(5, 20.0).begins_after(30), Duration::from_millis(1_500));
        assert_eq!(plan(5, f64::MIN_POSITIVE).begins_after(2), Duration::MAX);
    }

    #[test]
    fn a_device_of_a_group_has_the_key_that_the_service_derives() {
        let group_key = SymmetricKey::parse("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let group_key = group_key.expect("a key");
        let credentials = Credentials::Key(group_key.clone());
        let device = credentials.identity("press-01").expect("made");
        let token = device.token("0ne/registrations/press-01", Some("registration"));
        let token = wire::sas::parse(&token.expect("it has a key")).expect("a token");
        let key = testkit::sas::derive_device_key(&group_key, "press-01");
        let keys = model::SymmetricKeys { primary: key.clone(), secondary: key };
        assert_eq!(attest::sas::verify_signature(&token, &keys), Ok(attest::Slot::Primary));
    }
}
