//! The index from what sessions rest on to the sessions: from enrollments, certificates, TPMs and
//! registration IDs, by the keys of [`decide::hub::cause`]. A change finds the sessions it may end
//! without looking at any other.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::ConnectionNumber;

use super::seat::Seat;

const N_SHARDS: usize = 64;

/// The sessions by the hashes of their keys. Two keys of one hash find each other's sessions, who
/// are held against what does not concern them, and stay.
type Shard = HashMap<u64, Resting>;

/// The sessions that rest on one thing. Nearly everything has one session; what has many, a group
/// or a CA, may lose them all at once, so each is found without going through the others.
enum Resting {
    One(Arc<Seat>),
    #[expect(clippy::box_collection, reason = "most entries are the other one, which is smaller")]
    Many(Box<HashMap<ConnectionNumber, Arc<Seat>>>),
}

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
            match self.lock(*hash).entry(*hash) {
                Entry::Vacant(entry) => {
                    entry.insert(Resting::One(Arc::clone(seat)));
                }
                Entry::Occupied(mut entry) => entry.get_mut().take_in(seat),
            }
        }
        let before = seat.set_causes(hashes.clone());
        for hash in before.iter().filter(|hash| hashes.binary_search(hash).is_err()) {
            self.remove(*hash, seat);
        }
    }

    /// The session is found no more.
    pub(super) fn leave(&self, seat: &Seat) {
        for hash in seat.set_causes(Box::default()) {
            self.remove(hash, seat);
        }
    }

    /// The sessions that rest on what has this key; no lock is held when it returns.
    pub(super) fn find(&self, key: &str) -> Vec<Arc<Seat>> {
        let hash = self.hasher.hash_one(key);
        match self.lock(hash).get(&hash) {
            None => Vec::new(),
            Some(Resting::One(seat)) => vec![Arc::clone(seat)],
            Some(Resting::Many(seats)) => seats.values().map(Arc::clone).collect(),
        }
    }

    fn remove(&self, hash: u64, seat: &Seat) {
        let mut shard = self.lock(hash);
        let Entry::Occupied(mut entry) = shard.entry(hash) else { return };
        if entry.get_mut().let_go(seat) {
            entry.remove();
            give_back_room(&mut shard);
        }
    }

    /// How many entries there are, for tests of what is left behind.
    #[cfg(test)]
    pub(super) fn n_entries(&self) -> usize {
        let of_one = |resting: &Resting| match resting {
            Resting::One(_) => 1,
            Resting::Many(seats) => seats.len(),
        };
        self.shards
            .iter()
            .map(|shard| shard.lock().map_or(0, |shard| shard.values().map(of_one).sum()))
            .sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let n = hash % (N_SHARDS as u64);
        // There are 64 shards and the rest of a division by 64 is below that. Whoever panicked
        // with the lock left whole entries behind.
        self.shards[usize::try_from(n).unwrap_or(0)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resting {
    fn take_in(&mut self, seat: &Arc<Seat>) {
        match self {
            Self::One(only) if only.connection == seat.connection => *only = Arc::clone(seat),
            Self::One(only) => {
                let both = [Arc::clone(only), Arc::clone(seat)];
                let seats = both.into_iter().map(|seat| (seat.connection, seat)).collect();
                *self = Self::Many(Box::new(seats));
            }
            Self::Many(seats) => {
                seats.insert(seat.connection, Arc::clone(seat));
            }
        }
    }

    /// Whether nobody is left.
    fn let_go(&mut self, seat: &Seat) -> bool {
        match self {
            Self::One(only) => only.connection == seat.connection,
            Self::Many(seats) => {
                seats.remove(&seat.connection);
                give_back_room(seats);
                seats.is_empty()
            }
        }
    }
}

/// A map that was once large does not stay so.
fn give_back_room<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>) {
    const SMALL: usize = 64;
    if map.capacity() > SMALL && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
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
    fn what_many_rested_on_takes_no_room_when_they_are_gone() {
        let causes = Causes::default();
        let seats: Vec<_> = (1..=5_000).map(seat).collect();
        for seat in &seats {
            causes.enter(seat, &keys(&["group:line-4", &format!("sha256:{}", seat.connection)]));
        }
        assert_eq!(causes.n_entries(), 10_000);
        for seat in &seats[..4_990] {
            causes.leave(seat);
        }
        assert_eq!(causes.find("group:line-4").len(), 10);
        let room: usize = causes.shards.iter().map(|s| s.lock().unwrap().capacity()).sum();
        assert!(room <= 64 * 64 * 2, "room for {room}");
        for seat in &seats[4_990..] {
            causes.leave(seat);
        }
        assert_eq!(causes.n_entries(), 0);
    }

    #[test]
    fn a_session_is_found_by_what_it_rests_on_now_and_leaves_nothing_behind() {
        let causes = Causes::default();
        let check = |key: &str, expected: &[ConnectionNumber]| {
            let mut found: Vec<_> = causes.find(key).iter().map(|seat| seat.connection).collect();
            found.sort_unstable();
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
