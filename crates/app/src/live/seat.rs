//! A session's place in the index, and the commands that wait there for it.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
};

use decide::hub::{
    cause::Change,
    connect::{self, Admission, Credential},
};
use model::{
    AuthMethod, ConnectFacts, ConnectRefusal, ConnectionNumber, DeviceId, DeviceIdentity, HubName,
    IdentityMark, Origin, RevokedChange, Subscriptions, Timestamp,
};
use tokio::sync::{Notify, futures::Notified, mpsc};

use super::{Command, End, MAX_COMMANDS};

/// A session's place in the index.
pub(crate) struct Seat {
    pub(crate) hub: HubName,
    pub(crate) device_id: DeviceId,
    /// From where the device connected.
    pub(crate) address: IpAddr,
    pub(crate) connection: ConnectionNumber,
    /// When its device asked, as a place in the order of all that ever asked.
    pub(crate) arrival: u64,
    ended: OnceLock<End>,
    /// Whether no write that makes this connection the device's is on its way any more.
    settled: AtomicBool,
    /// Whether the session is gone.
    left: AtomicBool,
    wake: Notify,
    commands: mpsc::Sender<Box<Command>>,
    messages_told: Arc<AtomicBool>,
    state: Mutex<SeatState>,
    /// Where it is in the index of what sessions rest on: hashes, in their order.
    causes: Mutex<Box<[u64]>>,
}

/// What tells whether the registry was written since a session was held against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The identity's.
    pub(crate) own: IdentityMark,
    /// That of the device a module belongs to.
    pub(crate) parent: Option<IdentityMark>,
}

struct SeatState {
    admission: Admission,
    subscriptions: Subscriptions,
    /// The `$version` of the last desired properties the session was told of; 0 for none.
    desired_told: u64,
    /// How often the session was held against what was written. One that is renewed meanwhile was
    /// held with what it rested on before.
    n_rechecks: u64,
}

/// What a session is told, in order.
#[derive(Debug)]
pub struct Commands {
    receiver: mpsc::Receiver<Box<Command>>,
    messages_told: Arc<AtomicBool>,
}

impl Commands {
    /// The next command. Waits until there is one; nothing is lost when this is dropped while it
    /// waits.
    pub async fn next(&mut self) -> Command {
        match self.receiver.recv().await {
            Some(command) => {
                if let Command::Messages = *command {
                    // What comes from here on is worth another look.
                    self.messages_told.store(false, Ordering::SeqCst);
                }
                *command
            }
            // The sender is in the session's place, which lives as long as the session.
            None => std::future::pending().await,
        }
    }
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
    pub(crate) fn new(
        (hub, device_id): (HubName, DeviceId),
        address: IpAddr,
        connection: ConnectionNumber,
        arrival: u64,
        admission: Admission,
        subscriptions: Subscriptions,
    ) -> (Self, Commands) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let messages_told = Arc::<AtomicBool>::default();
        let seat = Self {
            hub,
            device_id,
            address,
            connection,
            arrival,
            ended: OnceLock::new(),
            settled: AtomicBool::new(false),
            left: AtomicBool::new(false),
            wake: Notify::new(),
            commands,
            messages_told: Arc::clone(&messages_told),
            state: Mutex::new(SeatState {
                admission,
                subscriptions,
                desired_told: 0,
                n_rechecks: 0,
            }),
            causes: Mutex::default(),
        };
        (seat, Commands { receiver, messages_told })
    }

    pub(crate) fn marks(&self) -> Marks {
        let state = self.state();
        let Admission { mark, parent, .. } = &state.admission;
        Marks { own: mark.clone(), parent: parent.clone() }
    }

    /// Who sends events here: how the device proved itself, and which generation of it.
    pub(crate) fn sender(&self) -> (AuthMethod, Box<str>) {
        let Admission { credential, mark, .. } = &self.state().admission;
        (credential.auth_method(), mark.generation_id.clone())
    }

    /// The keys of all that the session rests on besides its identity.
    pub(super) fn footing_keys(&self) -> Vec<String> {
        self.state().admission.footing.keys()
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

    pub(crate) fn expires(&self) -> Timestamp {
        self.state().admission.expires
    }

    pub(crate) fn n_rechecks(&self) -> u64 {
        self.state().n_rechecks
    }

    /// From here on the session rests on this, unless it was held against something since the
    /// count was taken.
    pub(crate) fn renew(&self, admission: Admission, n_rechecks: u64) -> bool {
        let mut state = self.state();
        let is_as_it_was = state.n_rechecks == n_rechecks;
        if is_as_it_was {
            state.admission = admission;
        }
        is_as_it_was
    }

    pub(crate) fn end(&self, why: End) {
        if self.end_unheard(why) {
            self.wake();
        }
    }

    /// Ends the session, unless it is over: nothing it still does has an effect. Who waits for its
    /// end has to be woken by [`Self::wake`], and hears of it before that if woken by anything else.
    #[must_use]
    pub(super) fn end_unheard(&self, why: End) -> bool {
        self.ended.set(why).is_ok()
    }

    pub(super) fn wake(&self) {
        self.wake.notify_waiters();
    }

    pub(crate) fn why_ended(&self) -> Option<&End> {
        self.ended.get()
    }

    /// Waits until the session is over. It is looked at whenever this is polled, before anything
    /// else the session does.
    pub(crate) async fn ended(&self) -> End {
        let mut wake = std::pin::pin!(self.wake.notified());
        poll_fn(|context| {
            loop {
                // A call since `wake` was made is not missed.
                if let Some(end) = self.ended.get() {
                    return Poll::Ready(end.clone());
                }
                ready!(wake.as_mut().poll(context));
                wake.set(self.wake.notified());
            }
        })
        .await
    }

    /// From here on the session writes no more that this connection is the device's.
    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    pub(super) fn has_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst)
    }

    /// Waits for [`Self::settle`].
    pub(crate) async fn settled(&self) {
        self.until(|| self.has_settled().then_some(())).await;
    }

    /// The session is gone.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Waits for [`Self::leave`].
    pub(crate) async fn left(&self) {
        self.until(|| self.has_left().then_some(())).await;
    }

    async fn until<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            let wake: Notified<'_> = self.wake.notified();
            let mut wake = std::pin::pin!(wake);
            // From here on no call is missed, so looking once is enough.
            wake.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            wake.await;
        }
    }

    /// Holds the session against the identity as it was read or written, and ends it if need be.
    pub(crate) fn recheck(&self, identity: Option<&DeviceIdentity>) -> Result<(), ConnectRefusal> {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            // Two writes may be told out of order. What is older than what the session was held
            // against already says nothing, and its mark never goes back.
            if identity.is_some_and(|identity| is_older(identity, &state.admission.mark)) {
                return Ok(());
            }
            connect::still_holds(&state.admission, identity).map(|mark| state.admission.mark = mark)
        };
        self.end_if_refused(held)
    }

    /// As [`Self::recheck`], for a module's session and the identity of its device.
    pub(crate) fn recheck_parent(
        &self,
        parent: Option<&DeviceIdentity>,
    ) -> Result<(), ConnectRefusal> {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            let Some(mark) = &mut state.admission.parent else { return Ok(()) };
            if parent.is_some_and(|parent| is_older(parent, mark)) {
                return Ok(());
            }
            connect::still_holds_below(mark, parent).map(|now| *mark = now)
        };
        self.end_if_refused(held)
    }

    /// As [`Self::doubt`], for a module's session and the identity of its device.
    pub(super) fn doubt_parent(&self, parent: Option<&DeviceIdentity>) {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            let Some(mark) = &state.admission.parent else { return };
            connect::still_holds_below(mark, parent)
        };
        // The refusal ends the session; there is nobody else to tell.
        let _ = self.end_if_refused(held.map(drop));
    }

    /// As [`Self::recheck`], with an identity that may never have been written: the session does
    /// not go on with its mark, which perhaps no identity will ever have.
    pub(super) fn doubt(&self, identity: Option<&DeviceIdentity>) {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            connect::still_holds(&state.admission, identity)
        };
        // The refusal ends the session; there is nobody else to tell.
        let _ = self.end_if_refused(held.map(drop));
    }

    /// Replaces where it is in the index of what sessions rest on; gives what was there.
    pub(super) fn set_causes(&self, hashes: Box<[u64]>) -> Box<[u64]> {
        // Nothing panics while it is held.
        std::mem::replace(&mut *self.causes.lock().unwrap_or_else(PoisonError::into_inner), hashes)
    }

    /// The session's identity came from this registration; whether it still stands is asked later.
    pub(super) fn set_origin(&self, origin: Option<&Origin>) {
        let mut state = self.state();
        state.n_rechecks += 1;
        *state.admission.footing = state.admission.footing.with_origin(origin);
    }

    /// Holds the session against what is known of its origin, and ends it if need be.
    pub(super) fn recheck_origin(&self, facts: &ConnectFacts, now: Timestamp) {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            let admission = &mut state.admission;
            connect::with_origin(&admission.footing, facts, now)
                .map(|footing| *admission.footing = footing)
        };
        // The refusal ends the session; there is nobody else to tell.
        let _ = self.end_if_refused(held);
    }

    /// Which certificates it rests on, by their keys, that this change revokes.
    pub(super) fn revoked_by(&self, change: &RevokedChange) -> Vec<String> {
        self.state().admission.footing.revoked_by(change)
    }

    /// Holds the session against a change in what it rests on besides identity and credential.
    /// One that may never have been written leaves no trace in a session that goes on. Whether it
    /// ended, unheard.
    #[must_use]
    pub(super) fn recheck_footing(
        &self,
        change: Change<'_>,
        by_default: bool,
        is_written: bool,
    ) -> bool {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            // A ban is in force when it is set; whether one that ended is looked at here does not
            // matter, for those whom it ends come back.
            let now = match change {
                Change::Ban(ban) => ban.created,
                _ => Timestamp::from_ticks(0),
            };
            if is_written {
                state.admission.footing.still_stands(change, by_default, now)
            } else {
                state.admission.footing.clone().still_stands(change, by_default, now)
            }
        };
        held.is_err_and(|refusal| self.end_unheard(End::CutOff(refusal)))
    }

    /// Whether it ended, unheard.
    #[must_use]
    pub(super) fn recheck_credential(
        &self,
        holds: impl FnOnce(&Credential) -> bool,
        why: ConnectRefusal,
    ) -> bool {
        let held = {
            let mut state = self.state();
            state.n_rechecks += 1;
            holds(&state.admission.credential)
        };
        !held && self.end_unheard(End::CutOff(why))
    }

    fn end_if_refused(&self, held: Result<(), ConnectRefusal>) -> Result<(), ConnectRefusal> {
        if let Err(refusal) = &held {
            self.end(End::CutOff(refusal.clone()));
        }
        held
    }

    /// Gives a command. A session whose commands pile up is ended, and so is one that hears of a
    /// change of its desired properties after a later one: it would go on with an old value. For
    /// a method it is enough that its caller hears there is no answer.
    pub(crate) fn tell(&self, command: Command) {
        // Under the lock, so that of two changes told at once the later one is given last.
        let mut state = self.state();
        match &command {
            Command::Desired(desired) => {
                if desired.version < state.desired_told {
                    self.end(End::TooSlow);
                    return;
                }
                state.desired_told = desired.version;
            }
            // One look into the queue finds them all.
            Command::Messages => {
                if self.messages_told.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
            Command::Method(_) => {}
        }
        match self.commands.try_send(Box::new(command)) {
            // One that is gone hears nothing any more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(unheard)) => {
                if !matches!(*unheard, Command::Method(_)) {
                    self.end(End::TooSlow);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, SeatState> {
        // Whoever panicked with the lock left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is an earlier state of the identity that the mark was taken from. Its counter
/// goes up with every write of one generation.
fn is_older(identity: &DeviceIdentity, mark: &IdentityMark) -> bool {
    *identity.generation_id == *mark.generation_id && identity.etag_counter < mark.etag_counter
}
