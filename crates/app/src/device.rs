//! What a connected device does on its hub: connect, send events, read and report its twin, take
//! messages and methods. One [`DeviceSession`] is one connection; MQTT and AMQP share it.
//!
//! Every write of a session expects the mark of the identity it was admitted with. When the
//! identity was written meanwhile, the session is held against it again, and goes on or ends.
//!
//! A module (H §2.8) connects as a device does, under its name `device/module`. It is off when its
//! device is, so the writes of its session expect the mark of the device's identity as well.

mod line;
mod messages;
mod renewal;
mod twin;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

pub use decide::hub::event::{EventDraft, check_size, retained, will};
use decide::{
    attestation::Shown,
    hub::{
        connect::{self, Admission, ConnectRequest, Credential},
        event, message,
    },
};
use model::{
    AttemptShown, Change, ChangeSet, ConnectFacts, ConnectRefusal, ConnectionNumber, Device,
    DeviceId, Evidence, Expect, HubName, HubRefusal, PolicyScope, Subscriptions, Timestamp,
};
use store::{CommitError, StoreFault};
use thiserror::Error;
use tracing::info;

use self::line::Line;
use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    limits::{Key, Kind},
    live::{Command, End, LooseEnd, Marks, NoPlace, Seat},
    refusals::trace,
};

pub use crate::live::Commands;

/// A device's last activity is written at most so often, in seconds: a write for each event would
/// double their cost.
const TOUCH_EVERY_SECS: i64 = 60;

/// What a hub takes from its devices and keeps for them.
#[derive(Debug, Clone, Copy)]
pub struct HubLimits {
    /// Into how many partitions events are put.
    pub event_partitions: u16,
    /// How long and how much of the events is kept.
    pub retention: event::Retention,
    /// For cloud-to-device messages.
    pub messages: message::MessageLimits,
}

impl Default for HubLimits {
    /// Four partitions, as the vendor's clients expect by default (H §5.5).
    fn default() -> Self {
        Self {
            event_partitions: 4,
            retention: event::Retention::default(),
            messages: message::MessageLimits::default(),
        }
    }
}

/// A device that asks to connect.
#[derive(Debug)]
pub struct Connecting {
    /// To which hub.
    pub hub: HubName,
    /// As which device.
    pub device_id: DeviceId,
    /// What it shows.
    pub evidence: Evidence,
    /// From where.
    pub address: IpAddr,
    /// What becomes of what it subscribed to before.
    pub earlier: Earlier,
}

/// What becomes of what a device subscribed to before, on connections whose subscriptions outlive
/// them (H §4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Earlier {
    /// The device finds it again: MQTT's CleanSession=0.
    Restored,
    /// It is deleted: MQTT's CleanSession=1.
    Forgotten,
    /// It stays where it is, and is of no matter to this connection: AMQP, whose links are all that
    /// a device is subscribed to.
    LeftAlone,
}

/// Why something a session asked for was not done.
#[derive(Debug, Error)]
pub enum SessionNo {
    /// The request was understood and declined; the session goes on.
    #[error("refused: {0}")]
    Refused(HubRefusal),
    /// The session is over; nothing was written.
    #[error("the session is over: {0:?}")]
    Over(End),
    /// Something of ours failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// A connected device. Dropping it ends the session.
pub struct DeviceSession {
    app: App,
    seat: Arc<Seat>,
    touched_secs: AtomicI64,
    line: Line,
    /// Whether the device finds what it subscribed to before.
    was_present: bool,
}

impl fmt::Debug for DeviceSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSession").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl App {
    /// Connects a device: when this returns, it is in the index of live sessions, and written as
    /// connected.
    ///
    /// # Errors
    /// [`ConnectRefusal`], or a fault. A session the device already has goes on when the one who
    /// asks cannot prove to be it (H §4.5.1).
    pub async fn connect_device(
        &self,
        connecting: Connecting,
    ) -> Result<(DeviceSession, Commands), No<ConnectRefusal>> {
        self.connect_device_showing(connecting, &mut AttemptShown::default()).await
    }

    /// [`Self::connect_device`], leaving behind what the device showed.
    pub(crate) async fn connect_device_showing(
        &self,
        connecting: Connecting,
        left: &mut AttemptShown,
    ) -> Result<(DeviceSession, Commands), No<ConnectRefusal>> {
        let arrival = self.live.next_arrival();
        let Connecting { hub, device_id, evidence, address, earlier } = connecting;
        let shown = self.shown(evidence, address)?;
        left.take_in(trace::shown(&shown));
        let settings = &self.settings.register.attest;
        let request = ConnectRequest { hub: &hub, device_id: &device_id, shown: &shown, address };
        let query = request.query();
        let mut place: Option<Place> = None;
        let mut took_over = false;
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.connect_facts(&query).await?;
            let now = self.clock.now();
            let ends = facts.settings.disenroll_ends_sessions;
            self.live.learn_disenroll_ends_sessions(facts.hubs_version, ends);
            let admission = connect::admit(&facts, &request, settings, now).map_err(No::Refused)?;
            let found = facts.subscriptions.filter(|_| earlier == Earlier::Restored);
            let subscriptions = found.unwrap_or_default();
            let mut changes = connect_changes(&request, &facts, &admission);
            // In the index first: whoever changes the registry from here on meets the session, and
            // whoever changed it before is met by the commit.
            let mut taken = match place.take() {
                Some(place) if place.session.seat.why_ended().is_none() => {
                    place.session.seat.readmit(admission);
                    place.session.seat.set_subscriptions(subscriptions);
                    place
                }
                // What it rested on is gone, and by what there is now it may come all the same.
                other => {
                    drop(other);
                    let device = (hub.clone(), device_id.clone());
                    let (seat, commands) = Seat::new(
                        device,
                        address,
                        self.connection_number(),
                        arrival,
                        admission,
                        subscriptions,
                    );
                    self.take_place((Arc::new(seat), commands), now).await?
                }
            };
            self.live.rest(&taken.session.seat);
            took_over |= taken.took_over;
            if earlier == Earlier::Forgotten {
                // Also when there were none: the connection before may just have written them.
                let (of, who) = (hub.clone(), device_id.clone());
                changes = changes.with(Change::DeleteSubscriptions(of, who));
            }
            changes = changes.with(Change::Connect {
                hub: hub.clone(),
                device_id: device_id.clone(),
                connection: taken.session.seat.connection,
                at: now,
            });
            if let Attempt::Again = attempted(self.store.commit(changes).await)? {
                place = Some(taken);
                continue;
            }
            taken.session.was_present = found.is_some();
            if took_over && earlier == Earlier::Restored {
                // What the connection before wrote in its last moments. It writes no more.
                let last = self.store.find_subscriptions(&hub, &device_id).await?;
                taken.session.was_present = last.is_some();
                taken.session.seat.set_subscriptions(last.unwrap_or_default());
            }
            taken.session.seat.settle();
            if let Some(End::CutOff(why)) = taken.session.seat.why_ended() {
                return Err(No::Refused(why.clone()));
            }
            self.live.announce_arrival();
            info!(hub.name = %hub, device.id = %device_id, "`{device_id}` connected to `{hub}`");
            return Ok((taken.session, taken.commands));
        }
        Err(No::Refused(ConnectRefusal::Conflict))
    }

    /// Looks once more at what the session rests on, now that changes find it there: what was
    /// changed between its commit and its place in the index found it nowhere.
    async fn look_at_footing(
        &self,
        seat: &Seat,
        request: &ConnectRequest<'_>,
    ) -> Result<(), StoreFault> {
        let facts = self.store.connect_facts(&request.query()).await?;
        let settings = &self.settings.register.attest;
        if let Err(why) = connect::admit(&facts, request, settings, self.clock.now()) {
            seat.end(End::CutOff(why));
        }
        Ok(())
    }

    /// Takes the device's place in the index, once no other connection is just taking it.
    async fn take_place(
        &self,
        (seat, commands): (Arc<Seat>, Commands),
        now: Timestamp,
    ) -> Result<Place, No<ConnectRefusal>> {
        let took_over = loop {
            match self.live.sit(&seat) {
                Ok(took_over) => break took_over,
                Err(NoPlace::Connecting(other)) => other.settled().await,
                Err(NoPlace::Overtaken) => return Err(No::Refused(ConnectRefusal::Overtaken)),
            }
        };
        // From here on dropping the session gives the place back.
        Ok(Place { session: self.session(seat, now), commands, took_over })
    }

    /// What a device shows, taken apart, unless too many come from its address.
    fn shown(&self, evidence: Evidence, address: IpAddr) -> Result<Shown, No<ConnectRefusal>> {
        self.limits
            .check(Kind::DeviceCallsPerAddress, Key::address(address), self.clock.now())
            .map_err(|secs| No::Refused(ConnectRefusal::Throttled(secs)))?;
        self.parsed(&evidence)
    }

    fn parsed(&self, evidence: &Evidence) -> Result<Shown, No<ConnectRefusal>> {
        Shown::parse(evidence, &self.settings.register.attest.limits)
            .map_err(|why| No::Refused(ConnectRefusal::NotAttested(why)))
    }

    fn session(&self, seat: Arc<Seat>, now: Timestamp) -> DeviceSession {
        DeviceSession {
            app: self.clone(),
            seat,
            touched_secs: AtomicI64::new(now.unix_secs()),
            line: Line::default(),
            was_present: false,
        }
    }

    fn connection_number(&self) -> ConnectionNumber {
        let mut random = [0; 8];
        self.entropy.fill(&mut random);
        // 63 bits, because stores keep signed numbers; never 0, which means none.
        (u64::from_be_bytes(random) >> 1).max(1)
    }
}

/// A place in the index that a device connects from.
struct Place {
    session: DeviceSession,
    commands: Commands,
    /// Whether another connection had it.
    took_over: bool,
}

/// Demands that all a connection was decided from still stands.
fn connect_changes(
    request: &ConnectRequest<'_>,
    facts: &ConnectFacts,
    admission: &Admission,
) -> ChangeSet {
    let (hub, device_id) = (request.hub.clone(), request.device_id.clone());
    let marks = Marks { own: admission.mark.clone(), parent: admission.parent.clone() };
    let mut changes = expecting(ChangeSet::new(), &hub, &device_id, marks)
        .expecting(Expect::Hubs(facts.hubs_version))
        .expecting(facts.bans_expected.clone());
    // What its device was registered by, and that enrollment: changes of these that are committed
    // from here on find the session in the index.
    let assigned = Expect::Assigned(hub.clone(), device_id.clone(), facts.assigned.clone());
    changes = changes.expecting(assigned);
    for expect in facts.origin.iter().flat_map(|origin| &origin.expects) {
        changes = changes.expecting(expect.clone());
    }
    match &admission.credential {
        Credential::PolicyKey { policy, .. } => {
            let version = facts.policy.as_ref().map_or(0, |policy| policy.version);
            changes.expecting(Expect::Policy(PolicyScope::Hub(hub), policy.to_string(), version))
        }
        Credential::CertificateAuthority { name, .. } => {
            let ours = facts.ca_certificates.iter().find(|ca| *ca.name == **name);
            let version = ours.map_or(0, |ca| ca.version);
            changes.expecting(Expect::CaCertificate(name.to_string(), version))
        }
        Credential::DeviceKey(_) | Credential::Thumbprint { .. } => changes,
    }
}

/// Demands that the registry was not written since, neither for the device or module nor for the
/// device a module belongs to.
fn expecting(set: ChangeSet, hub: &HubName, id: &DeviceId, marks: Marks) -> ChangeSet {
    let set = set.expecting(Expect::Mark(hub.clone(), id.clone(), marks.own));
    match (marks.parent, id.parent()) {
        (Some(mark), Some(parent)) => set.expecting(Expect::Mark(hub.clone(), parent, mark)),
        _ => set,
    }
}

impl DeviceSession {
    /// The hub.
    #[must_use]
    pub fn hub(&self) -> &HubName {
        &self.seat.hub
    }

    /// The device.
    #[must_use]
    pub fn device_id(&self) -> &DeviceId {
        &self.seat.device_id
    }

    /// When the session ends by itself, with its token or certificate. The door drops it then.
    /// Moves with [`Self::renew`].
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.seat.expires()
    }

    /// Whether there was a session whose subscriptions were restored.
    #[must_use]
    pub const fn was_present(&self) -> bool {
        self.was_present
    }

    /// What the device is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        self.seat.subscriptions()
    }

    /// Waits until the session is ended from elsewhere: cut off, taken over, or too slow.
    pub async fn ended(&self) -> End {
        self.seat.ended().await
    }

    /// Changes what the device is subscribed to. Durable when this returns, unless the session is
    /// to be forgotten with the connection (`durable` false, MQTT's CleanSession=1).
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn subscribe(
        &self,
        subscriptions: Subscriptions,
        durable: bool,
    ) -> Result<(), SessionNo> {
        if durable && subscriptions != self.seat.subscriptions() {
            let device = || (self.hub().clone(), self.device_id().clone());
            self.write(|now| {
                let ((hub, id), (of, who)) = (device(), device());
                let set = ChangeSet::new()
                    .expecting(Expect::Connection(hub, id, self.seat.connection))
                    .with(Change::PutSubscriptions(of, who, subscriptions));
                Ok((set, now))
            })
            .await?;
        }
        self.check_over()?;
        let before = self.seat.subscriptions();
        self.seat.set_subscriptions(subscriptions);
        if before.methods.is_none() && subscriptions.methods.is_some() {
            self.app.live.announce_arrival();
        }
        if before.messages.is_none() && subscriptions.messages.is_some() {
            self.seat.tell(Command::Messages);
        }
        Ok(())
    }

    /// Appends an event to the hub's log. Durable when this returns.
    ///
    /// # Errors
    /// [`SessionNo`]; [`HubRefusal::MessageTooLarge`] for one beyond 256 KB.
    pub async fn send(&self, draft: EventDraft) -> Result<(), SessionNo> {
        let (auth, generation_id) = self.seat.sender();
        let (hub, id) = (self.hub(), self.device_id());
        let partition = event::partition(id, self.app.settings.hub_limits.event_partitions);
        let now = self.app.clock.now();
        let event =
            event::sent(&generation_id, id, auth, draft, now).map_err(SessionNo::Refused)?;
        let change = Change::AppendEvent(hub.clone(), partition, Box::new(event));
        // Readers hear of it as well when the connection breaks while it is written.
        let told_later = self.app.live.note_unless_answered(LooseEnd::Event(hub.clone()));
        let written = self.append(change).await;
        match &written {
            Ok(()) => self.app.live.event_news.announce(hub),
            // Perhaps it was written.
            Err(SessionNo::Fault(_)) => return written,
            Err(SessionNo::Refused(_) | SessionNo::Over(_)) => {}
        }
        told_later.answered();
        written
    }

    /// Writes an event, after those that were sent before it.
    async fn append(&self, change: Change) -> Result<(), SessionNo> {
        let mut ticket = self.line.join();
        for _ in 0..MAX_ATTEMPTS {
            let marks = ticket.turn(|| self.seat.marks()).await;
            self.check_over()?;
            let set = ChangeSet::new().with(change.clone());
            let attempt = self.try_write_with(marks, set, self.app.clock.now()).await?;
            if let Attempt::Done = attempt {
                return Ok(());
            }
            ticket.conflicted();
            self.recheck().await?;
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(self.device_id().to_string())))
    }

    /// Writes on condition that the device may still do so, with its last activity now and then.
    /// What is to be written is made anew for each attempt.
    async fn write(
        &self,
        mut make: impl FnMut(Timestamp) -> Result<(ChangeSet, Timestamp), SessionNo>,
    ) -> Result<(), SessionNo> {
        for _ in 0..MAX_ATTEMPTS {
            self.check_over()?;
            let (set, now) = make(self.app.clock.now())?;
            if let Attempt::Done = self.try_write(set, now).await? {
                return Ok(());
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(self.device_id().to_string())))
    }

    /// One attempt. After a conflict the session has been held against its identity anew.
    async fn try_write(&self, set: ChangeSet, now: Timestamp) -> Result<Attempt, SessionNo> {
        let attempt = self.try_write_with(self.seat.marks(), set, now).await?;
        if let Attempt::Again = attempt {
            self.recheck().await?;
        }
        Ok(attempt)
    }

    /// One attempt, on condition that the registry was not written since these marks.
    async fn try_write_with(
        &self,
        marks: Marks,
        set: ChangeSet,
        now: Timestamp,
    ) -> Result<Attempt, SessionNo> {
        let (hub, id) = (self.hub(), self.device_id());
        let mut set = expecting(set, hub, id, marks);
        let touched = self.touched_secs.load(Ordering::Relaxed);
        let is_due = now.unix_secs().saturating_sub(touched) >= TOUCH_EVERY_SECS;
        if is_due {
            set = set.with(Change::Touch { hub: hub.clone(), device_id: id.clone(), at: now });
        }
        match self.app.store.commit(set).await {
            Ok(()) => {
                if is_due {
                    self.touched_secs.store(now.unix_secs(), Ordering::Relaxed);
                }
                Ok(Attempt::Done)
            }
            Err(CommitError::Conflict) => Ok(Attempt::Again),
            Err(CommitError::Fault(fault)) => Err(SessionNo::Fault(fault)),
        }
    }

    /// Holds the session against the registry as it stands now.
    async fn recheck(&self) -> Result<(), SessionNo> {
        self.look_up().await?;
        self.check_over()
    }

    /// The device or module as it stands now. The session is held against it, and against the
    /// device that a module belongs to.
    async fn look_up(&self) -> Result<Option<Device>, StoreFault> {
        let (store, hub, id) = (&self.app.store, self.hub(), self.device_id());
        let device = store.find_device(hub, id).await?;
        // A refusal ends the session, and whoever asked for this looks whether it is over.
        let _ = self.seat.recheck(device.as_ref().map(|device| &device.identity));
        if let Some(parent) = id.parent() {
            let parent = store.find_device(hub, &parent).await?;
            let _ = self.seat.recheck_parent(parent.as_ref().map(|device| &device.identity));
        }
        Ok(device)
    }

    fn check_over(&self) -> Result<(), SessionNo> {
        match self.seat.why_ended() {
            Some(why) => Err(SessionNo::Over(why.clone())),
            None => Ok(()),
        }
    }
}

impl Drop for DeviceSession {
    fn drop(&mut self) {
        self.seat.settle();
        self.app.live.see_out(&self.seat);
        self.app.live.note(LooseEnd::Departed {
            hub: self.seat.hub.clone(),
            device_id: self.seat.device_id.clone(),
            connection: self.seat.connection,
            at: self.app.clock.now(),
        });
    }
}
