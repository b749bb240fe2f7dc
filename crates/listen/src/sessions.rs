//! Session resumption: how long a TLS session may be picked up again, and how many we keep.
//!
//! Resuming skips the certificate exchange, so it must not widen who may act as a device. It does not:
//!
//! - The session remembers the client's chain as it was proven in the full handshake, and rustls gives
//!   that chain back on resumption, in TLS 1.2 and 1.3 alike. A session without a chain resumes without.
//! - Only who took part in the full handshake knows the session's secret, so resuming proves what the
//!   signature proved. Decisions are made per request from the chain, never from the fact of a
//!   session: a device disabled, deleted or expired meanwhile is refused on a resumed connection too.
//! - Sessions stay in memory on this side (no stateless tickets): no ticket key can leak, a restart
//!   forgets all, and a TLS 1.3 ticket works once.
//! - Early data (0-RTT), which could be replayed, is not offered.
//!
//! A session ends after [`LIFETIME_SECS`] and whenever the server's certificate is exchanged, so that
//! a certificate that was replaced for good reason is out of use at once. A client that renews its own
//! certificate must not resume its old session; TLS stacks bind sessions to the credentials they use.
//!
//! Memory: at most [`MAX_SESSIONS`] sessions of at most [`MAX_SESSION_BYTES`], 32 MiB in all. A client with
//! a longer chain than that is not given a session, and does full handshakes.

use std::sync::Arc;

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::time_provider::TimeProvider;

use crate::ServerCertificate;

/// How long after its last full (or, in TLS 1.3, resumed) handshake a session may be resumed, in seconds.
const LIFETIME_SECS: u64 = 60 * 60;
/// How many sessions are kept; the oldest go first.
const MAX_SESSIONS: usize = 4_096;
/// The largest session kept, in bytes: it holds the client's chain, which may be 64 kB.
const MAX_SESSION_BYTES: usize = 8 * 1_024;
/// What we put in front of a session: the count of certificate exchanges, and the time in seconds.
const STAMP_BYTES: usize = 16;

/// The sessions that may be resumed: a bounded cache whose entries end.
#[derive(Debug)]
pub(crate) struct Sessions {
    cache: Arc<ServerSessionMemoryCache>,
    certificate: ServerCertificate,
    clock: Arc<dyn TimeProvider>,
}

impl Sessions {
    pub(crate) fn new(certificate: ServerCertificate, clock: Arc<dyn TimeProvider>) -> Self {
        Self { cache: ServerSessionMemoryCache::new(MAX_SESSIONS), certificate, clock }
    }

    fn still_valid(&self, mut stamped: Vec<u8>) -> Option<Vec<u8>> {
        let (stamp, _) = stamped.split_first_chunk::<STAMP_BYTES>()?;
        let (n_exchanges, stored_at) = stamp.split_at(STAMP_BYTES / 2);
        let n_exchanges = u64::from_be_bytes(n_exchanges.try_into().ok()?);
        let stored_at = u64::from_be_bytes(stored_at.try_into().ok()?);
        // A clock that was set back makes the age negative: then it is unknown, and the session over.
        let age_secs = self.clock.current_time()?.as_secs().checked_sub(stored_at)?;
        if n_exchanges != self.certificate.n_exchanges() || age_secs > LIFETIME_SECS {
            return None;
        }
        stamped.drain(..STAMP_BYTES);
        Some(stamped)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Some(now) = self.clock.current_time() else {
            return false;
        };
        if value.len() > MAX_SESSION_BYTES {
            return false;
        }
        let mut stamped = Vec::with_capacity(STAMP_BYTES + value.len());
        stamped.extend_from_slice(&self.certificate.n_exchanges().to_be_bytes());
        stamped.extend_from_slice(&now.as_secs().to_be_bytes());
        stamped.extend_from_slice(&value);
        self.cache.put(key, stamped)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.get(key).and_then(|stamped| self.still_valid(stamped))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.take(key).and_then(|stamped| self.still_valid(stamped))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustls_pki_types::UnixTime;

    use super::*;
    use crate::tests::scene;

    #[derive(Debug)]
    struct SetClock(AtomicU64);

    impl TimeProvider for SetClock {
        fn current_time(&self) -> Option<UnixTime> {
            let secs = self.0.load(Ordering::Relaxed);
            Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs)))
        }
    }

    /// Stores a session of `size_bytes` at second 10,000 and asks for it at `then_secs`.
    #[track_caller]
    fn check(size_bytes: usize, then_secs: u64, expected: bool) {
        let clock = Arc::new(SetClock(AtomicU64::new(10_000)));
        let sessions = Sessions::new(scene::server_certificate(), Arc::clone(&clock) as _);
        sessions.put(vec![1], vec![7; size_bytes]);
        clock.0.store(then_secs, Ordering::Relaxed);
        let expected = expected.then(|| vec![7; size_bytes]);
        assert_eq!(sessions.get(&[1]), expected);
        assert_eq!(sessions.take(&[1]), expected);
        assert_eq!(sessions.take(&[1]), None, "a taken session is gone");
    }

    #[test]
    fn a_session_may_be_resumed_within_its_lifetime() {
        check(100, 10_000, true);
        check(100, 10_000 + LIFETIME_SECS, true);
        check(MAX_SESSION_BYTES, 10_000, true);
    }

    #[test]
    fn a_session_ends_with_its_lifetime() {
        check(100, 10_001 + LIFETIME_SECS, false);
    }

    #[test]
    fn a_clock_set_back_ends_sessions() {
        check(100, 9_999, false);
    }

    #[test]
    fn a_session_with_a_very_long_chain_is_not_kept() {
        check(MAX_SESSION_BYTES + 1, 10_000, false);
    }
}
