//! The index from what sessions rest on to the sessions: from enrollments, certificates, TPMs and
//! registration IDs, by the keys of [`decide::hub::cause`]. A change finds the sessions it may end
//! without looking at any other.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::ConnectionNumber;

use super::seat::Seat;

const N_SHARDS: usize = 64;

/// The sessions by the hashes of their keys. Two keys of one hash find each other's sessions, who
/// are held against what does not concern them, and stay.
type Shard = BTreeMap<(u64, ConnectionNumber), Arc<Seat>>;

/// The index. A session has an entry of some 50 bytes for each of its keys: about a dozen for one
/// that rests on a leaf and its CA.
pub(super) struct Causes {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl Default for Causes {
    fn default() -> Self {
        let shards = (0..N_SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }
}

impl Causes {
    /// From here on the session is found by these keys, and by no others.
    pub(super) fn enter(&self, seat: &Arc<Seat>, keys: &[String]) {
        let mut hashes: Box<[u64]> = keys.iter().map(|key| self.hasher.hash_one(key)).collect();
        hashes.sort_unstable();
        for hash in &hashes {
            self.lock(*hash).insert((*hash, seat.connection), Arc::clone(seat));
        }
        let before = seat.set_causes(hashes.clone());
        for hash in before.iter().filter(|hash| hashes.binary_search(hash).is_err()) {
            self.lock(*hash).remove(&(*hash, seat.connection));
        }
    }

    /// The session is found no more.
    pub(super) fn leave(&self, seat: &Seat) {
        for hash in seat.set_causes(Box::default()) {
            self.lock(hash).remove(&(hash, seat.connection));
        }
    }

    /// The sessions that rest on what has this key; no lock is held when it returns.
    pub(super) fn find(&self, key: &str) -> Vec<Arc<Seat>> {
        let hash = self.hasher.hash_one(key);
        let shard = self.lock(hash);
        let range = (hash, ConnectionNumber::MIN)..=(hash, ConnectionNumber::MAX);
        shard.range(range).map(|(_, seat)| Arc::clone(seat)).collect()
    }

    /// How many entries there are, for tests of what is left behind.
    #[cfg(test)]
    pub(super) fn n_entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().map_or(0, |shard| shard.len())).sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let n = hash % (N_SHARDS as u64);
        // There are 64 shards and the rest of a division by 64 is below that. Whoever panicked
        // with the lock left whole entries behind.
        self.shards[usize::try_from(n).unwrap_or(0)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use decide::hub::{
        cause::Footing,
        connect::{Admission, Credential},
    };
    use model::{DeviceId, HubName, IdentityMark, Subscriptions, Timestamp};

    use super::*;

    fn seat(connection: ConnectionNumber) -> Arc<Seat> {
        let hub = HubName::parse("hub-1.example.test").expect("a name");
        let device = DeviceId::parse("press-17").expect("an ID");
        let mark = IdentityMark { generation_id: "1".into(), etag_counter: 1 };
        let credential = Credential::Thumbprint { sha1: [0; 20], sha256: [0; 32] };
        let expires = Timestamp::from_unix_secs(1);
        let footing = Box::new(Footing::default());
        let admission = Admission { mark, parent: None, credential, footing, expires };
        let address = Ipv4Addr::LOCALHOST.into();
        let subscriptions = Subscriptions::default();
        let (seat, _) = Seat::new((hub, device), address, connection, 1, admission, subscriptions);
        Arc::new(seat)
    }

    fn keys(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_session_is_found_by_what_it_rests_on_now_and_leaves_nothing_behind() {
        let causes = Causes::default();
        let check = |key: &str, expected: &[ConnectionNumber]| {
            let found: Vec<_> = causes.find(key).iter().map(|seat| seat.connection).collect();
            assert_eq!(found, expected, "{key}");
        };
        let (first, second) = (seat(7), seat(8));
        causes.enter(&first, &keys(&["group:line-4", "ca:1", "sha256:1"]));
        causes.enter(&second, &keys(&["group:line-4", "ca:1", "sha256:2"]));
        check("ca:1", &[7, 8]);
        check("sha256:1", &[7]);
        check("ca:2", &[]);
        // It was registered anew, below another CA.
        causes.enter(&first, &keys(&["group:line-5", "ca:2", "sha256:1"]));
        check("ca:1", &[8]);
        check("group:line-4", &[8]);
        check("ca:2", &[7]);
        check("sha256:1", &[7]);
        causes.leave(&second);
        causes.leave(&first);
        causes.leave(&first);
        check("ca:2", &[]);
        assert_eq!(causes.n_entries(), 0);
    }
}
