//! Who is connected right now: the index of live sessions, by hub and device.
//!
//! Off means off. Every commit of this process passes [`App::commit`], which holds the sessions it
//! concerns against what was written and ends those that no longer hold, whatever use case wrote
//! it. What such a session still sends has no effect all the same: each of its writes expects the
//! [`IdentityMark`] it was admitted with.
//!
//! What deliberately does not live here: sockets (the doors end a connection when its session
//! ends) and the rule what holds (`decide::hub::connect`).

mod departed;
mod touched;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use decide::hub::connect::{self, Admission, Credential};
use model::{
    ChangeSet, ConnectRefusal, ConnectionNumber, DeviceId, DeviceIdentity, HubName, IdentityMark,
    Json, Subscriptions,
};
use store::CommitError;
use tokio::sync::{Notify, futures::Notified, mpsc, oneshot, watch};

pub(crate) use self::departed::Departed;
use self::touched::Touched;
use crate::App;

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
    /// More commands waited for it than may.
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

/// A session's place in the index.
pub(crate) struct Seat {
    pub(crate) hub: HubName,
    pub(crate) device_id: DeviceId,
    pub(crate) connection: ConnectionNumber,
    ended: OnceLock<End>,
    wake: Notify,
    commands: mpsc::Sender<Box<Command>>,
    state: Mutex<SeatState>,
}

struct SeatState {
    admission: Admission,
    subscriptions: Subscriptions,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("hub", &self.hub)
            .field("device_id", &self.device_id)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Seat {
    pub(crate) fn mark(&self) -> IdentityMark {
        self.state().admission.mark.clone()
    }

    pub(crate) fn admission(&self) -> Admission {
        self.state().admission.clone()
    }

    pub(crate) fn subscriptions(&self) -> Subscriptions {
        self.state().subscriptions
    }

    pub(crate) fn set_subscriptions(&self, subscriptions: Subscriptions) {
        self.state().subscriptions = subscriptions;
    }

    pub(crate) fn readmit(&self, admission: Admission) {
        self.state().admission = admission;
    }

    pub(crate) fn end(&self, why: End) {
        if self.ended.set(why).is_ok() {
            self.wake.notify_waiters();
        }
    }

    pub(crate) fn why_ended(&self) -> Option<&End> {
        self.ended.get()
    }

    pub(crate) async fn ended(&self) -> End {
        loop {
            let wake: Notified<'_> = self.wake.notified();
            let mut wake = std::pin::pin!(wake);
            // From here on no call is missed, so looking once is enough.
            wake.as_mut().enable();
            if let Some(why) = self.ended.get() {
                return why.clone();
            }
            wake.await;
        }
    }

    /// Holds the session against the identity as it stands now, and ends it if need be.
    pub(crate) fn recheck(&self, identity: Option<&DeviceIdentity>) -> Result<(), ConnectRefusal> {
        let held = {
            let mut state = self.state();
            connect::still_holds(&state.admission, identity).map(|mark| {
                // Two writes may be told out of order; the counter never goes back.
                if mark.etag_counter > state.admission.mark.etag_counter {
                    state.admission.mark = mark;
                }
            })
        };
        if let Err(refusal) = &held {
            self.end(End::CutOff(refusal.clone()));
        }
        held
    }

    fn recheck_credential(&self, holds: impl FnOnce(&Credential) -> bool, why: ConnectRefusal) {
        let held = holds(&self.state().admission.credential);
        if !held {
            self.end(End::CutOff(why));
        }
    }

    /// Gives a command; a session whose commands pile up is ended.
    pub(crate) fn tell(&self, command: Command) {
        match self.commands.try_send(Box::new(command)) {
            // One that is gone hears nothing any more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.end(End::TooSlow),
        }
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        // Whoever panicked with the lock left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The index.
pub(crate) struct Live {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Goes up whenever a session arrives or subscribes to methods.
    arrivals: watch::Sender<u64>,
    /// Goes up whenever an event was appended, by hub.
    news: Mutex<HashMap<HubName, watch::Sender<u64>>>,
    pub(crate) departed: Departed,
}

type Shard = Mutex<HashMap<(HubName, DeviceId), Arc<Seat>>>;

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
            arrivals: watch::Sender::new(0),
            news: Mutex::default(),
            departed: Departed::default(),
        }
    }
}

impl Live {
    pub(crate) fn n_sessions(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Gives a session its place; another session of the device ends (H §4.5.1).
    pub(crate) fn sit(
        &self,
        (hub, device_id): (HubName, DeviceId),
        connection: ConnectionNumber,
        admission: Admission,
        subscriptions: Subscriptions,
    ) -> (Arc<Seat>, mpsc::Receiver<Box<Command>>) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let seat = Arc::new(Seat {
            hub: hub.clone(),
            device_id: device_id.clone(),
            connection,
            ended: OnceLock::new(),
            wake: Notify::new(),
            commands,
            state: Mutex::new(SeatState { admission, subscriptions }),
        });
        let key = (hub, device_id);
        let before = lock(self.shard(&key)).insert(key, Arc::clone(&seat));
        if let Some(before) = before {
            before.end(End::TakenOver);
        }
        (seat, receiver)
    }

    /// Takes a session's place away, unless another one has it by now.
    pub(crate) fn stand_up(&self, seat: &Arc<Seat>) {
        let key = (seat.hub.clone(), seat.device_id.clone());
        if let Entry::Occupied(entry) = lock(self.shard(&key)).entry(key)
            && Arc::ptr_eq(entry.get(), seat)
        {
            entry.remove();
        }
    }

    pub(crate) fn find(&self, hub: &HubName, id: &DeviceId) -> Option<Arc<Seat>> {
        let key = (hub.clone(), id.clone());
        lock(self.shard(&key)).get(&key).map(Arc::clone)
    }

    /// The session that takes methods for this device.
    pub(crate) fn find_for_methods(&self, hub: &HubName, id: &DeviceId) -> Option<Arc<Seat>> {
        self.find(hub, id)
            .filter(|seat| seat.subscriptions().methods.is_some() && seat.why_ended().is_none())
    }

    pub(crate) fn announce_arrival(&self) {
        self.arrivals.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    pub(crate) fn announce_event(&self, hub: &HubName) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = news.get(hub) {
            sender.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    pub(crate) fn event_news(&self, hub: &HubName) -> watch::Receiver<u64> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are hubs that somebody ever read; what nobody reads any more goes.
        news.retain(|_, sender| sender.receiver_count() > 0);
        news.entry(hub.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn shard(&self, key: &(HubName, DeviceId)) -> &Shard {
        let n = self.hasher.hash_one(key) % (N_SHARDS as u64);
        // There are 64 shards and the rest of a division by 64 is below that.
        &self.shards[usize::try_from(n).unwrap_or(0)]
    }

    /// All sessions for which this holds; no lock is held when it returns.
    fn all(&self, which: impl Fn(&Seat) -> bool) -> Vec<Arc<Seat>> {
        let of_shard = |shard: &Shard| -> Vec<Arc<Seat>> {
            lock(shard).values().filter(|seat| which(seat)).map(Arc::clone).collect()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// Ends the sessions that no longer hold after these writes.
    fn recheck(&self, touched: &Touched) {
        for (hub, identity) in &touched.identities {
            if let Some(seat) = self.find(hub, &identity.device_id) {
                // The refusal ends the session; there is nobody else to tell.
                let _ = seat.recheck(Some(identity));
            }
        }
        for (hub, id) in &touched.deleted {
            if let Some(seat) = self.find(hub, id) {
                let _ = seat.recheck(None);
            }
        }
        for hub in &touched.hubs {
            for seat in self.all(|seat| seat.hub == *hub) {
                seat.end(End::CutOff(ConnectRefusal::UnknownHub(hub.to_string())));
            }
        }
        for (hub, name, policy) in &touched.policies {
            for seat in self.all(|seat| seat.hub == *hub) {
                seat.recheck_credential(
                    |credential| connect::holds_with_policy(credential, name, policy.as_deref()),
                    ConnectRefusal::PolicyRefused,
                );
            }
        }
        for (name, ca) in &touched.ca_certificates {
            for seat in self.all(|_| true) {
                seat.recheck_credential(
                    |credential| connect::holds_with_ca(credential, name, ca.as_deref()),
                    ConnectRefusal::NotAttested(model::AttestFailure::BadChain(format!(
                        "the CA certificate `{name}` is not enrolled any more"
                    ))),
                );
            }
        }
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<(HubName, DeviceId), Arc<Seat>>> {
    // Whoever panicked with the lock left whole entries behind.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds sessions against a change set when it is dropped: when the commit is done, and as well
/// when nobody waits for it any more. The store may write it all the same then, and a session
/// that ended for nothing only connects anew.
struct RecheckOnDrop<'a> {
    live: &'a Live,
    touched: Option<Touched>,
}

impl Drop for RecheckOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(touched) = &self.touched {
            self.live.recheck(touched);
        }
    }
}

impl App {
    /// Commits a change set, and ends the sessions that no longer hold with it before this
    /// returns.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError> {
        let touched = Touched::by(&changes);
        if touched.is_empty() {
            return self.store.commit(changes).await;
        }
        let mut guard = RecheckOnDrop { live: &self.live, touched: Some(touched) };
        let outcome = self.store.commit(changes).await;
        if let Err(CommitError::Conflict) = outcome {
            // Nothing was written.
            guard.touched = None;
        }
        outcome
    }

    /// How many devices hold a session in this process.
    #[must_use]
    pub fn n_sessions(&self) -> usize {
        self.live.n_sessions()
    }
}
