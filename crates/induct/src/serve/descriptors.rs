//! How many connections the operating system has file descriptors for.
//!
//! A process without descriptors cannot accept, cannot read its certificates anew and cannot open
//! its database. So the limit is raised as far as it goes, and connections get what is left when
//! our own files have theirs.

use listen::ListenSettings;
use tracing::{debug, warn};

use crate::config::Config;

/// Kept back for what the process holds by itself (standard streams, lock, timers, signals) and
/// for the moments in which it reads and writes files.
const N_OWN: usize = 64;
/// How many SQLite holds for each of its connections: database, log, shared memory and, for
/// moments, one more.
const N_PER_SQLITE: usize = 4;

/// What the doors ask for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The HTTPS door.
    pub(super) https: ListenSettings,
    /// The MQTT door, if there is one.
    pub(super) mqtt: Option<ListenSettings>,
    /// The AMQP door, if there is one.
    pub(super) amqp: Option<ListenSettings>,
}

impl Asked {
    fn doors(&self) -> impl Iterator<Item = (&'static str, &ListenSettings)> {
        let mqtt = self.mqtt.as_ref().map(|mqtt| ("max_mqtt_connections", mqtt));
        let amqp = self.amqp.as_ref().map(|amqp| ("max_amqp_connections", amqp));
        std::iter::once(("max_connections", &self.https)).chain(mqtt).chain(amqp)
    }

    fn n_connections(&self) -> usize {
        self.doors().fold(0, |n, (_, door)| n.saturating_add(door.max_connections))
    }
}

/// Raises the limit of open files as far as it may be raised, and takes back what the doors ask
/// beyond it. Says so in the log.
pub(super) fn fit(asked: Asked, config: &Config) -> Asked {
    let n_reserved = n_reserved(config);
    let needed = asked.n_connections().saturating_add(n_reserved);
    let Some(limit) = raise(needed) else {
        return asked;
    };
    let fitted = fit_to(asked.clone(), limit, n_reserved);
    for ((setting, before), (_, after)) in asked.doors().zip(fitted.doors()) {
        if after.max_connections < before.max_connections {
            warn!(
                limit,
                setting,
                max_connections = after.max_connections,
                max_connections_per_address = after.max_connections_per_address,
                "this process may open {limit} files, so {} connections are let in at once \
                 instead of {}, from one address {} instead of {}; raise the limit to {needed} \
                 (`ulimit -n`, or `LimitNOFILE=` of the systemd unit), or lower `listen.{setting}`",
                after.max_connections,
                before.max_connections,
                after.max_connections_per_address,
                before.max_connections_per_address,
            );
        }
    }
    fitted
}

/// Each door's share of what is left for connections, as large as it asked in proportion; of that,
/// one address gets at most half.
fn fit_to(asked: Asked, limit: usize, n_reserved: usize) -> Asked {
    let n_left = limit.saturating_sub(n_reserved).max(1);
    let n_asked = asked.n_connections();
    if n_asked <= n_left {
        return asked;
    }
    let share = |settings: ListenSettings| {
        // Settings are below a million, and so is what is left when it is less than they are.
        let share = (n_left * settings.max_connections / n_asked).max(1);
        let per_address = settings.max_connections_per_address.min((share / 2).max(1));
        ListenSettings {
            max_connections: share,
            max_connections_per_address: per_address,
            ..settings
        }
    };
    Asked { https: share(asked.https), mqtt: asked.mqtt.map(share), amqp: asked.amqp.map(share) }
}

fn n_reserved(config: &Config) -> usize {
    // One SQLite connection writes.
    let n_sqlite = config.store.readers + 1;
    let listen = &config.listen;
    let n_sockets = listen.https.len() + listen.mqtt.len() + listen.amqp.len();
    N_OWN + N_PER_SQLITE * n_sqlite + n_sockets
}

/// Raises the soft limit to the hard one, or to what is needed where the system does not take the
/// hard one. Returns what then holds; nothing when there is no limit.
#[cfg(unix)]
pub(crate) fn raise(needed: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    for current in [before.maximum, u64::try_from(needed).ok()] {
        let is_higher = match (before.current, current) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(wanted)) => wanted > before,
        };
        let raised = Rlimit { current, maximum: before.maximum };
        if is_higher && setrlimit(Resource::Nofile, raised).is_ok() {
            debug!("raised the limit of open files from {:?} to {current:?}", before.current);
            break;
        }
    }
    let after = getrlimit(Resource::Nofile).current;
    after.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
pub(crate) fn raise(_needed: usize) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these settings and this limit, with 100 descriptors for our own files, comes this.
    #[track_caller]
    fn check(asked: (usize, usize), limit: usize, expected: (usize, usize)) {
        let fitted = fit_to(Asked { https: settings(asked), mqtt: None, amqp: None }, limit, 100);
        assert_eq!(figures(&fitted.https), expected, "{asked:?} within {limit}");
    }

    fn settings((max_connections, max_connections_per_address): (usize, usize)) -> ListenSettings {
        ListenSettings { max_connections, max_connections_per_address, ..ListenSettings::default() }
    }

    fn figures(settings: &ListenSettings) -> (usize, usize) {
        (settings.max_connections, settings.max_connections_per_address)
    }

    #[test]
    fn the_doors_share_what_is_left_as_they_asked() {
        let asked = Asked {
            https: settings((10_000, 1_000)),
            mqtt: Some(settings((50_000, 10_000))),
            amqp: Some(settings((20_000, 4_000))),
        };
        let fitted = fit_to(asked.clone(), 8_100, 100);
        assert_eq!(figures(&fitted.https), (1_000, 500));
        assert_eq!(fitted.mqtt.as_ref().map(figures), Some((5_000, 2_500)));
        assert_eq!(fitted.amqp.as_ref().map(figures), Some((2_000, 1_000)));
        let fits = fit_to(asked, 80_100, 100);
        assert_eq!(fits.mqtt.as_ref().map(figures), Some((50_000, 10_000)));
        assert_eq!(fits.amqp.as_ref().map(figures), Some((20_000, 4_000)));
    }

    #[test]
    fn connections_get_what_our_own_files_leave_and_one_address_half_of_it() {
        check((10_000, 1_000), 1_024, (924, 462));
        check((10_000, 100), 1_024, (924, 100));
        check((10_000, 1_000), 50, (1, 1));
    }

    #[test]
    fn settings_that_fit_stay_as_they_are() {
        check((10_000, 1_000), 10_100, (10_000, 1_000));
        check((900, 900), 1_024, (900, 900));
        check((1, 1), 20, (1, 1));
    }
}
