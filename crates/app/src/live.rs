//! Who is connected right now: the index of live sessions, by hub and device.
//!
//! Off means off. Every commit of this process passes [`App::commit`], which holds the sessions it
//! concerns against what was written and ends those that no longer hold, whatever use case wrote
//! it. What such a session still sends has no effect all the same: each of its writes expects the
//! [`model::IdentityMark`] it was admitted with. A module's session is held against its device as
//! well (H §2.8).
//!
//! What deliberately does not live here: sockets (the doors end a connection when its session
//! ends) and the rule what holds (`decide::hub::connect`).

mod causes;
mod loose_ends;
mod news;
mod recheck;
mod seat;
mod touched;
mod turns;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{ChangeSet, ConnectQuery, ConnectRefusal, DeviceId, HubName, Json, Version};
use store::{CommitError, StoreFault};
use tokio::sync::{oneshot, watch};
use tracing::warn;

pub use self::seat::Commands;
use self::{
    causes::Causes,
    news::News,
    recheck::{Outcome, RecheckOnDrop},
    touched::Touched,
    turns::Turns,
};
pub(crate) use self::{
    loose_ends::{LooseEnd, LooseEnds},
    seat::{Marks, Seat},
};
use crate::{App, MAX_ATTEMPTS};

/// How many shards the index has, so that connections do not wait for each other.
const N_SHARDS: usize = 64;

/// How many commands may wait for a session. A device that does not read its notifications is
/// disconnected, which tells it to fetch its twin anew; dropping one would not.
pub const MAX_COMMANDS: usize = 64;

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The registry, a policy or a CA certificate no longer lets the device in.
    CutOff(ConnectRefusal),
    /// The device opened another connection (H §4.5.1).
    TakenOver,
    /// It missed a command, because more waited for it than may, or because one could not be told
    /// in time. The device learns what it missed when it connects anew.
    TooSlow,
}

/// What a session is told to do.
#[derive(Debug)]
pub enum Command {
    /// Tell the device of a change of its desired properties, if it wants to hear of them.
    Desired(Desired),
    /// Call a method on the device.
    Method(MethodInvocation),
    /// Look into the queue of messages.
    Messages,
}

/// A change of desired properties: what was written, nulls included (H §3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// `$version` after the write.
    pub version: u64,
    /// The patch as the operator sent it, or the whole section after a replacement.
    pub patch: Arc<Json>,
}

/// A method called on a device.
#[derive(Debug)]
pub struct MethodInvocation {
    /// The method's name.
    pub name: String,
    /// The payload, JSON text.
    pub payload: String,
    /// Where the device's answer goes; dropped when there will be none.
    pub reply: oneshot::Sender<MethodAnswer>,
}

/// What a device answered to a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodAnswer {
    /// The device's status.
    pub status: i32,
    /// The payload as sent; meant to be JSON text, which nobody has looked at yet.
    pub payload: Vec<u8>,
}

/// The index.
pub(crate) struct Live {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// How many ever asked for a place.
    asked: AtomicU64,
    /// Goes up whenever a session arrives or subscribes to methods.
    arrivals: watch::Sender<u64>,
    /// Of events that were appended.
    pub(crate) event_news: News,
    /// Of feedback on messages.
    pub(crate) feedback_news: News,
    pub(crate) loose_ends: LooseEnds,
    causes: Causes,
    /// The service's `disenroll_ends_sessions`, and the version of the settings it was read with.
    disenroll_ends_sessions: Mutex<Option<(Version, bool)>>,
    turns: Turns,
}

/// Why a session does not get its place.
#[derive(Debug)]
pub(crate) enum NoPlace {
    /// The one who has it is still connecting, and is to be waited for. If two wrote at once that
    /// they are connected, the store might hold the earlier one for the later.
    Connecting(Arc<Seat>),
    /// The one who has it asked later. One client renews its token by connecting twice in a row
    /// and closing the first connection at once (H §4.2.4); should that be looked at last, it must
    /// not end the second.
    Overtaken,
}

type Shard = Mutex<Places>;

/// A device and its modules are in one shard.
#[derive(Debug, Default)]
struct Places {
    seats: HashMap<(HubName, DeviceId), Arc<Seat>>,
    /// The modules that have a seat, by their device: each device has few
    /// ([`model::MAX_MODULES`]).
    modules: HashMap<(HubName, DeviceId), Vec<DeviceId>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("n_sessions", &self.n_sessions()).finish_non_exhaustive()
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            shards: (0..N_SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            asked: AtomicU64::new(0),
            arrivals: watch::Sender::new(0),
            event_news: News::default(),
            feedback_news: News::default(),
            loose_ends: LooseEnds::default(),
            causes: Causes::default(),
            disenroll_ends_sessions: Mutex::default(),
            turns: Turns::default(),
        }
    }
}

impl Live {
    pub(crate) fn n_sessions(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).seats.len()).sum()
    }

    /// Gives a session its place; another session of the device ends (H §4.5.1), and `true` is
    /// the answer.
    ///
    /// # Errors
    /// [`NoPlace`]
    pub(crate) fn sit(&self, seat: &Arc<Seat>) -> Result<bool, NoPlace> {
        let device = (seat.hub.clone(), seat.device_id.clone());
        let mut shard = lock(self.shard(&device));
        let Places { seats, modules } = &mut *shard;
        let before = match seats.entry(device) {
            Entry::Vacant(entry) => {
                if let Some(parent) = seat.device_id.parent() {
                    let of_parent = modules.entry((seat.hub.clone(), parent)).or_default();
                    of_parent.push(seat.device_id.clone());
                }
                entry.insert(Arc::clone(seat));
                return Ok(false);
            }
            Entry::Occupied(entry) if entry.get().arrival > seat.arrival => {
                return Err(NoPlace::Overtaken);
            }
            Entry::Occupied(entry) if !entry.get().has_settled() => {
                return Err(NoPlace::Connecting(Arc::clone(entry.get())));
            }
            Entry::Occupied(mut entry) => entry.insert(Arc::clone(seat)),
        };
        drop(shard);
        before.end(End::TakenOver);
        Ok(true)
    }

    /// From here on the session ends with what it rests on as it is admitted now.
    pub(crate) fn rest(&self, seat: &Arc<Seat>) {
        self.causes.enter(seat, &seat.footing_keys());
        // It may have gone while this was found out, and nobody would take it from the index again.
        if seat.has_left() {
            self.causes.leave(seat);
        }
    }

    /// What the service says of sessions whose enrollment ends, as it was read with its settings of
    /// this version.
    pub(crate) fn learn_disenroll_ends_sessions(&self, version: Version, ends: bool) {
        let mut known = self.lock_disenrolling();
        if known.is_none_or(|(of, _)| of < version) {
            *known = Some((version, ends));
        }
    }

    /// The same, as it was written just now. Which version that has shows when it is read again;
    /// what was read before it has an earlier one and does not count.
    fn wrote_disenroll_ends_sessions(&self, ends: bool) {
        if let Some((_, known)) = &mut *self.lock_disenrolling() {
            *known = ends;
        }
    }

    fn disenroll_ends_sessions(&self) -> bool {
        // It was read before there was any session.
        self.lock_disenrolling().is_some_and(|(_, ends)| ends)
    }

    fn lock_disenrolling(&self) -> MutexGuard<'_, Option<(Version, bool)>> {
        // Nothing panics while it is held.
        self.disenroll_ends_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session is gone: its place is free, unless another one has it by now, and another
    /// session that has ended may leave.
    pub(crate) fn see_out(&self, seat: &Arc<Seat>) {
        seat.leave();
        self.stand_up(seat);
        self.turns.next();
    }

    /// Takes a session's place away, unless another one has it by now.
    pub(crate) fn stand_up(&self, seat: &Arc<Seat>) {
        self.causes.leave(seat);
        let key = (seat.hub.clone(), seat.device_id.clone());
        let mut shard = lock(self.shard(&key));
        let Places { seats, modules } = &mut *shard;
        let Entry::Occupied(entry) = seats.entry(key) else { return };
        if !Arc::ptr_eq(entry.get(), seat) {
            return;
        }
        entry.remove();
        let Some(parent) = seat.device_id.parent() else { return };
        if let Entry::Occupied(mut of_parent) = modules.entry((seat.hub.clone(), parent)) {
            of_parent.get_mut().retain(|id| *id != seat.device_id);
            if of_parent.get().is_empty() {
                of_parent.remove();
            }
        }
    }

    pub(crate) fn find(&self, hub: &HubName, id: &DeviceId) -> Option<Arc<Seat>> {
        let key = (hub.clone(), id.clone());
        lock(self.shard(&key)).seats.get(&key).map(Arc::clone)
    }

    /// The sessions of a device's modules; no lock is held when it returns.
    pub(crate) fn modules_of(&self, hub: &HubName, id: &DeviceId) -> Vec<Arc<Seat>> {
        let key = (hub.clone(), id.clone());
        let shard = lock(self.shard(&key));
        let Some(names) = shard.modules.get(&key) else { return Vec::new() };
        let seat = |name: &DeviceId| shard.seats.get(&(hub.clone(), name.clone())).map(Arc::clone);
        names.iter().filter_map(seat).collect()
    }

    /// The session that takes methods for this device.
    pub(crate) fn find_for_methods(&self, hub: &HubName, id: &DeviceId) -> Option<Arc<Seat>> {
        self.find(hub, id)
            .filter(|seat| seat.subscriptions().methods.is_some() && seat.why_ended().is_none())
    }

    /// The place of one who asks now, in the order of all that ever asked.
    pub(crate) fn next_arrival(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn announce_arrival(&self) {
        self.arrivals.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    fn shard(&self, key: &(HubName, DeviceId)) -> &Shard {
        let n = self.hasher.hash_one((&key.0, key.1.device())) % (N_SHARDS as u64);
        // There are 64 shards and the rest of a division by 64 is below that.
        &self.shards[usize::try_from(n).unwrap_or(0)]
    }

    /// All sessions for which this holds; no lock is held when it returns.
    fn all(&self, which: impl Fn(&Seat) -> bool) -> Vec<Arc<Seat>> {
        let of_shard = |shard: &Shard| -> Vec<Arc<Seat>> {
            lock(shard).seats.values().filter(|seat| which(seat)).map(Arc::clone).collect()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// The sessions that these writes may end, those of modules included; no lock is held when it
    /// returns.
    pub(crate) fn concerned(&self, changes: &ChangeSet) -> Vec<Arc<Seat>> {
        let touched = Touched::by(changes);
        let written = touched.identities.iter().map(|(hub, new)| (hub, &new.device_id));
        let deleted = touched.deleted.iter().map(|(hub, id)| (hub, id));
        let mut seats = Vec::new();
        for (hub, id) in written.chain(deleted) {
            seats.extend(self.find(hub, id));
            seats.extend(self.modules_of(hub, id));
        }
        for key in touched.causes.iter().flat_map(|cause| cause.keys()) {
            seats.extend(self.causes.find(&key));
        }
        seats.sort_unstable_by_key(|seat| seat.connection);
        seats.dedup_by_key(|seat| seat.connection);
        seats
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, Places> {
    // Whoever panicked with the lock left whole entries behind.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl App {
    /// Commits a change set, and ends the sessions that no longer hold with it before this
    /// returns.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError> {
        let touched = Touched::by(&changes);
        let outcome = Some(Outcome::Unknown);
        let mut guard = RecheckOnDrop { live: &self.live, touched, outcome };
        let committed = self.store.commit(changes).await;
        guard.outcome = match &committed {
            Ok(()) => Some(Outcome::Written),
            Err(CommitError::Conflict) => None,
            Err(CommitError::Fault(_)) => Some(Outcome::Unknown),
        };
        let records = match &committed {
            Ok(()) => std::mem::take(&mut guard.touched.records),
            Err(_) => Vec::new(),
        };
        // Whoever does not wait for the answer leaves that to be done.
        let told_later: Vec<_> = records
            .iter()
            .map(|(hub, id)| LooseEnd::Origin(hub.clone(), id.clone()))
            .map(|end| self.live.note_unless_answered(end))
            .collect();
        drop(guard);
        for ((hub, id), told_later) in records.iter().zip(told_later) {
            self.learn_origin(hub, id).await;
            told_later.answered();
        }
        committed
    }

    /// A live session rests on what its device was registered by last, and ends if that does not let
    /// it in.
    pub(crate) async fn learn_origin(&self, hub: &HubName, id: &DeviceId) {
        for seat in self.live.find(hub, id).into_iter().chain(self.live.modules_of(hub, id)) {
            if let Err(fault) = self.try_learn_origin(&seat).await {
                // Whoever connects anew rests on what is known then.
                warn!(hub.name = %hub, device.id = %id, error = %fault, "what `{id}` rests on cannot be read; its session ends");
                seat.end(End::CutOff(ConnectRefusal::Conflict));
            }
        }
    }

    async fn try_learn_origin(&self, seat: &Arc<Seat>) -> Result<(), StoreFault> {
        if seat.why_ended().is_some() {
            return Ok(());
        }
        let query = ConnectQuery {
            hub: seat.hub.clone(),
            device_id: seat.device_id.clone(),
            // It was held against what it showed itself when it showed it.
            policy: None,
            with_ca_certificates: false,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        let mut origin = self.store.origin(&seat.hub, &seat.device_id).await?;
        for _ in 0..MAX_ATTEMPTS {
            seat.set_origin(origin.as_ref());
            self.live.rest(seat);
            // Changes find it there from here on. What was changed before is among these facts.
            let facts = self.store.connect_facts(&query).await?;
            if facts.origin == origin {
                seat.recheck_origin(&facts, self.clock.now());
                return Ok(());
            }
            origin = facts.origin;
        }
        seat.end(End::CutOff(ConnectRefusal::Conflict));
        Ok(())
    }

    /// How many devices hold a session in this process.
    #[must_use]
    pub fn n_sessions(&self) -> usize {
        self.live.n_sessions()
    }
}

#[cfg(test)]
mod tests;
