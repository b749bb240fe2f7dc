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

/// Raises the limit of open files as far as it may be raised, and takes back what the settings ask
/// beyond it. Says so in the log.
pub(super) fn fit(settings: ListenSettings, config: &Config) -> ListenSettings {
    let n_reserved = n_reserved(config);
    let Some(limit) = raise(settings.max_connections.saturating_add(n_reserved)) else {
        return settings;
    };
    let fitted = fit_to(settings.clone(), limit, n_reserved);
    if fitted.max_connections < settings.max_connections {
        let needed = settings.max_connections.saturating_add(n_reserved);
        warn!(
            limit,
            max_connections = fitted.max_connections,
            max_connections_per_address = fitted.max_connections_per_address,
            "this process may open {limit} files, so {} connections are let in at once instead of \
             {}, from one address {} instead of {}; raise the limit to {needed} (`ulimit -n`, or \
             `LimitNOFILE=` of the systemd unit), or lower `listen.max_connections`",
            fitted.max_connections,
            settings.max_connections,
            fitted.max_connections_per_address,
            settings.max_connections_per_address,
        );
    }
    fitted
}

/// What is left for connections, of which one address gets at most half.
fn fit_to(settings: ListenSettings, limit: usize, n_reserved: usize) -> ListenSettings {
    let n_left = limit.saturating_sub(n_reserved).max(1);
    if settings.max_connections <= n_left {
        return settings;
    }
    let per_address = settings.max_connections_per_address.min((n_left / 2).max(1));
    ListenSettings { max_connections: n_left, max_connections_per_address: per_address, ..settings }
}

fn n_reserved(config: &Config) -> usize {
    // One SQLite connection writes.
    let n_sqlite = config.store.readers + 1;
    N_OWN + N_PER_SQLITE * n_sqlite + config.listen.https.len()
}

/// Raises the soft limit to the hard one, or to what is needed where the system does not take the
/// hard one. Returns what then holds; nothing when there is no limit.
#[cfg(unix)]
fn raise(needed: usize) -> Option<usize> {
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
fn raise(_needed: usize) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these settings and this limit, with 100 descriptors for our own files, comes this.
    #[track_caller]
    fn check(asked: (usize, usize), limit: usize, expected: (usize, usize)) {
        let settings = ListenSettings {
            max_connections: asked.0,
            max_connections_per_address: asked.1,
            ..ListenSettings::default()
        };
        let fitted = fit_to(settings, limit, 100);
        let got = (fitted.max_connections, fitted.max_connections_per_address);
        assert_eq!(got, expected, "{asked:?} within {limit}");
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
