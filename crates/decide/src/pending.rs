//! Assignments that a remote hub takes part in: what to do next, and what a failure means.
//!
//! A remote hub cannot join our commit. So the record says first where the device is being taken
//! to ([`model::PendingAssignment`]), then the hub is told, call by call, and only then does the
//! record say `assigned`. Every call can be repeated, so a crash anywhere loses nothing but time.
//! The calls themselves are made by `app`; what they are and what follows is decided here.

use model::{
    Assignment, AuthenticationDraft, Ban, Change, ChangeSet, Device, DeviceAuthentication,
    DeviceId, DeviceStatus, EnrollmentRef, Expect, Failure, Fresh, HubAccess, HubName, HubRefusal,
    IdentityDraft, Json, LinkedHub, PendingAssignment, PendingFacts, Precondition,
    RegistrationRecord, RegistrationStatus, RemoteAccess, Reprovision, Terms, Timestamp, Twin,
    TwinDraft,
};

use crate::{
    ban::InForce,
    hub::{
        assignment::{self, Assignee, TwinRule, initial_sections},
        twin,
    },
    revocation,
};

mod failure;
mod removal;

pub use failure::{RemoteFailure, back_off, failed};
pub(crate) use removal::after_lease;
pub use removal::{
    RemovalStep, claim_removal, left_behind, removal_done, removal_failed, wanted_identity,
};

/// How long one attempt may take. Whoever works on an assignment or a removal moves its due
/// moment so far ahead first, so that nobody else does the same work at the same time; and what
/// undoes the work waits as long, so that no late call can arrive after it.
pub const LEASE_SECS: i64 = 60;

/// How long to wait for a removal that stands in the way, in seconds.
const REMOVAL_WAIT_SECS: i64 = 1;

/// A remote hub, and how it lets us in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHub {
    /// Its name.
    pub name: HubName,
    /// How it lets us in.
    pub access: RemoteAccess,
}

impl RemoteHub {
    /// The linked hub of this name, if it is remote.
    #[must_use]
    pub fn find(hubs: &[LinkedHub], name: &HubName) -> Option<Self> {
        match hubs.iter().find(|hub| hub.name == *name).map(|hub| &hub.access) {
            Some(HubAccess::Remote(access)) => {
                Some(Self { name: name.clone(), access: access.clone() })
            }
            Some(HubAccess::BuiltIn) | None => None,
        }
    }
}

/// A device identity as a remote hub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteDevice {
    /// All of it that can be written.
    pub identity: IdentityDraft,
    /// Its etag, without quotes.
    pub etag: Option<String>,
}

/// A twin as a remote hub shows it: what a move takes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTwin {
    /// The tags; an object.
    pub tags: Json,
    /// The desired properties without `$metadata` and `$version`; an object.
    pub desired: Json,
    /// Whether no operator has written the desired properties yet (`$version` is 1).
    pub is_unwritten: bool,
    /// `capabilities.iotEdge`, where the hub shows it.
    pub iot_edge: Option<bool>,
    /// That an operator has disabled the device there.
    pub shut_out: Option<ShutOut>,
}

/// That an operator disabled a device in its hub, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutOut {
    /// `statusReason`
    pub reason: Option<String>,
}

/// What to ask of a remote hub. Each can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Read an identity.
    FindDevice(RemoteHub, DeviceId),
    /// Read a twin.
    FindTwin(RemoteHub, DeviceId),
    /// Create or replace an identity, under a precondition.
    PutDevice(RemoteHub, Box<IdentityDraft>, Precondition),
    /// Replace a twin's tags and desired properties.
    PutTwin(RemoteHub, DeviceId, TwinDraft),
}

/// What a remote hub said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This identity, or that there is none.
    Device(Option<Box<RemoteDevice>>),
    /// This twin, or that there is none.
    Twin(Option<Box<RemoteTwin>>),
    /// It is written.
    Written,
}

/// What was learned and done so far in one attempt.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    twins: Vec<(HubName, Option<RemoteTwin>)>,
    device: Option<Option<RemoteDevice>>,
    written_identity: Option<IdentityDraft>,
    written_twin: Option<TwinDraft>,
}

impl Learned {
    /// Takes note of an answer.
    pub fn note(&mut self, call: &Call, said: Said) {
        match (call, said) {
            (_, Said::Device(device)) => self.device = Some(device.map(|device| *device)),
            (Call::FindTwin(hub, _), Said::Twin(twin)) => {
                self.twins.push((hub.name.clone(), twin.map(|twin| *twin)));
            }
            (Call::PutDevice(_, draft, _), Said::Written) => {
                self.written_identity = Some((**draft).clone());
            }
            (Call::PutTwin(_, _, draft), Said::Written) => self.written_twin = Some(draft.clone()),
            // No hub answers so; the next step asks again.
            (_, Said::Twin(_) | Said::Written) => {}
        }
    }

    fn twin_on(&self, hub: &HubName) -> Option<&Option<RemoteTwin>> {
        self.twins.iter().find(|(name, _)| name == hub).map(|(_, twin)| twin)
    }
}

/// What to do next about a pending assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was settled or replaced meanwhile.
    Nothing,
    /// Ask this of a remote hub, note the answer and come back.
    Call(Call),
    /// Write this, which settles the record.
    Commit(Box<Settled>),
}

/// A record that is settled, or waits for its next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The record as it will stand.
    pub record: RegistrationRecord,
    /// What to write, and the versions it was decided from.
    pub changes: ChangeSet,
}

/// The right to work on a pending assignment for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Until when.
    pub until: Timestamp,
    /// What to write first. A conflict means that someone else works on it, or that a removal of
    /// the same device from the target hub has to be done before: see [`wait_for_removal`].
    pub changes: ChangeSet,
}

/// Claims a pending assignment that is due: writes its next due moment ahead of the work.
#[must_use]
pub fn claim(facts: &PendingFacts, now: Timestamp) -> Option<Claim> {
    let (record, pending) = pending_of(facts)?;
    if pending.due > now {
        return None;
    }
    let until = now.plus_secs(LEASE_SECS);
    let mut changes = due_at(record, pending, until);
    let Assignment { hub, device_id, .. } = &pending.assignment;
    // A removal that is not done yet could delete what we are about to write.
    changes.expects.push(Expect::Removal(hub.clone(), device_id.clone(), 0));
    Some(Claim { until, changes })
}

/// Puts a pending assignment off because a removal of the same device is to be done before.
#[must_use]
pub fn wait_for_removal(facts: &PendingFacts, now: Timestamp) -> Option<ChangeSet> {
    let (record, pending) = pending_of(facts)?;
    Some(due_at(record, pending, now.plus_secs(REMOVAL_WAIT_SECS)))
}

fn due_at(record: &RegistrationRecord, pending: &PendingAssignment, due: Timestamp) -> ChangeSet {
    let pending = PendingAssignment { due, ..pending.clone() };
    let written = RegistrationRecord { pending: Some(Box::new(pending)), ..record.clone() };
    ChangeSet::new()
        .expecting(Expect::Record(record.registration_id.clone(), record.version))
        .with(Change::PutRecord(Box::new(written)))
}

/// Decides the next step of a pending assignment from what is stored and what was learned.
#[must_use]
pub fn next(facts: &PendingFacts, learned: &Learned, now: Timestamp, fresh: &Fresh) -> Next {
    let Some((record, pending)) = pending_of(facts) else { return Next::Nothing };
    let work = Work { facts, record, pending, learned, now, fresh };
    if let Some(shut_out) = work.shut_out() {
        return work.settle(shut_out);
    }
    work.step().unwrap_or_else(|failure| work.settle(Outcome::Failed(failure)))
}

fn pending_of(facts: &PendingFacts) -> Option<(&RegistrationRecord, &PendingAssignment)> {
    let record = facts.record.as_ref()?;
    let pending = record.pending.as_deref()?;
    (record.status == RegistrationStatus::Assigning).then_some((record, pending))
}

/// Everything a step is decided from.
struct Work<'a> {
    facts: &'a PendingFacts,
    record: &'a RegistrationRecord,
    pending: &'a PendingAssignment,
    learned: &'a Learned,
    now: Timestamp,
    fresh: &'a Fresh,
}

/// How a pending assignment ends, or goes on later.
enum Outcome {
    Assigned,
    Disabled,
    Failed(Failure),
    Later(Box<PendingAssignment>),
}

/// The data that moves along.
struct Luggage {
    tags: Json,
    desired: Json,
    iot_edge: Option<bool>,
}

/// A fact, or the call that finds it out.
enum Known<T> {
    Yes(T),
    Ask(Call),
}

impl Work<'_> {
    fn hubs(&self) -> &[LinkedHub] {
        &self.facts.hubs.hubs
    }

    fn device_id(&self) -> &DeviceId {
        &self.pending.assignment.device_id
    }

    fn target(&self) -> &HubName {
        &self.pending.assignment.hub
    }

    /// The device as a built-in hub has it.
    fn local(&self, hub: &HubName) -> Option<&Device> {
        let here = |(on, device): &&(HubName, Device)| {
            on == hub && device.identity.device_id == *self.device_id()
        };
        self.facts.devices.iter().find(here).map(|(_, device)| device)
    }

    /// The terms the device was admitted by, if they still are the ones that decide: an
    /// individual enrollment made meanwhile takes the place of any group (D §5.1).
    fn terms(&self) -> Option<&Terms> {
        match (&self.record.enrollment, &self.facts.individual, &self.facts.group) {
            (EnrollmentRef::Individual(_), Some(enrollment), _) => Some(&enrollment.terms),
            (EnrollmentRef::Group(_), None, Some(group)) => Some(&group.terms),
            (EnrollmentRef::Individual(_), None, _)
            | (EnrollmentRef::Group(_), Some(_), _)
            | (EnrollmentRef::Group(_), None, None) => None,
        }
    }

    /// Off means off, however far the assignment had come.
    fn shut_out(&self) -> Option<Outcome> {
        if let Some(ban) = self.ban() {
            let key = ban.subject.key();
            let message = format!("Unauthorized: the ban {key} keeps the device out.");
            return Some(Outcome::Failed(Failure { code: 401_002, message }));
        }
        let grounds = self.facts.grounds.as_ref();
        if let Some(revoked) = grounds.and_then(|g| revocation::of_grounds(g, &self.facts.crls)) {
            let message = format!("Unauthorized: {revoked} is revoked by its issuer.");
            return Some(Outcome::Failed(Failure { code: 401_002, message }));
        }
        match self.terms() {
            Some(terms) if terms.is_enabled() => None,
            Some(_) => Some(Outcome::Disabled),
            None => Some(Outcome::Failed(Failure {
                code: 401_002,
                message: "Unauthorized: the enrollment that admitted the device is gone."
                    .to_owned(),
            })),
        }
    }

    /// The ban in force on the device or on what its registration rests on.
    fn ban(&self) -> Option<&Ban> {
        let bans = InForce::new(&self.facts.bans, self.now);
        let is_enrolled = self.facts.individual.is_some();
        let on_device = bans.on_registration(&self.record.registration_id, is_enrolled);
        on_device.or_else(|| {
            let (grounds, known) = (self.facts.grounds.as_ref()?, &self.facts.known_cas);
            bans.on_grounds_below(grounds, known)
        })
    }

    fn step(&self) -> Result<Next, Failure> {
        let luggage = match self.luggage() {
            Known::Yes(luggage) => luggage,
            Known::Ask(call) => return Ok(Next::Call(call)),
        };
        let shut_out = match self.shut_out_there() {
            Known::Yes(shut_out) => shut_out,
            Known::Ask(call) => return Ok(Next::Call(call)),
        };
        let name = self.target();
        let Some(hub) = self.hubs().iter().find(|hub| hub.name == *name) else {
            let message = format!("The hub `{name}` is no longer linked.");
            return Err(Failure { code: 400_208, message });
        };
        match &hub.access {
            HubAccess::BuiltIn => self.arrive_here(luggage.as_ref(), shut_out),
            HubAccess::Remote(access) => {
                let hub = RemoteHub { name: name.clone(), access: access.clone() };
                Ok(match self.write_there(hub, luggage.as_ref(), shut_out.as_ref()) {
                    Some(call) => Next::Call(call),
                    None => self.settle(Outcome::Assigned),
                })
            }
        }
    }

    /// What the device takes along from the hub it leaves. Nothing, when there is none: the hub
    /// was unlinked or no longer knows the device.
    fn luggage(&self) -> Known<Option<Luggage>> {
        let (Some(from), Reprovision::WithData) = (&self.pending.from, self.pending.rule) else {
            return Known::Yes(None);
        };
        if let Some(hub) = RemoteHub::find(self.hubs(), from) {
            return match self.learned.twin_on(from) {
                None => Known::Ask(Call::FindTwin(hub, self.device_id().clone())),
                Some(twin) => Known::Yes(twin.as_ref().map(|twin| Luggage {
                    tags: twin.tags.clone(),
                    desired: twin.desired.clone(),
                    iot_edge: twin.iot_edge,
                })),
            };
        }
        Known::Yes(self.local(from).map(|device| Luggage {
            tags: device.twin.tags.clone(),
            desired: device.twin.desired.content.clone(),
            iot_edge: Some(device.identity.iot_edge),
        }))
    }

    /// Whether an operator disabled the device in the hub it leaves: then it stays disabled
    /// wherever it goes.
    fn shut_out_there(&self) -> Known<Option<ShutOut>> {
        let Some(from) = &self.pending.from else { return Known::Yes(None) };
        if let Some(hub) = RemoteHub::find(self.hubs(), from) {
            return match self.learned.twin_on(from) {
                None => Known::Ask(Call::FindTwin(hub, self.device_id().clone())),
                Some(twin) => Known::Yes(twin.as_ref().and_then(|twin| twin.shut_out.clone())),
            };
        }
        let disabled = |device: &&Device| device.identity.status == DeviceStatus::Disabled;
        Known::Yes(
            self.local(from)
                .filter(disabled)
                .map(|device| ShutOut { reason: device.identity.status_reason.clone() }),
        )
    }

    fn iot_edge(&self, luggage: Option<&Luggage>) -> bool {
        luggage.and_then(|luggage| luggage.iot_edge).unwrap_or(self.pending.iot_edge)
    }

    /// What the remote target still has to be told, if anything.
    fn write_there(
        &self,
        hub: RemoteHub,
        luggage: Option<&Luggage>,
        shut_out: Option<&ShutOut>,
    ) -> Option<Call> {
        let id = self.device_id().clone();
        let Some(existing) = &self.learned.device else {
            return Some(Call::FindDevice(hub, id));
        };
        let authentication = &self.pending.authentication;
        let mut wanted = identity(existing.as_ref(), &id, authentication, self.iot_edge(luggage));
        if let Some(ShutOut { reason }) = shut_out {
            wanted.status = Some(DeviceStatus::Disabled);
            wanted.status_reason = reason.clone().or(wanted.status_reason);
        }
        let is_there = existing.as_ref().is_some_and(|device| same(&device.identity, &wanted));
        if !is_there && self.learned.written_identity.as_ref() != Some(&wanted) {
            let precondition = match existing {
                None => Precondition::None,
                // With the etag rather than `*`: what an operator of that hub writes between our
                // reading and our writing, such as `disabled`, must not be overwritten.
                Some(RemoteDevice { etag: Some(etag), .. }) => Precondition::Tag(etag.clone()),
                Some(RemoteDevice { etag: None, .. }) => Precondition::Any,
            };
            return Some(Call::PutDevice(hub, Box::new(wanted), precondition));
        }
        let twin = match self.twin_there(&hub, existing.is_none(), luggage) {
            Known::Yes(twin) => twin?,
            Known::Ask(call) => return Some(call),
        };
        let is_written = self.learned.written_twin.as_ref() == Some(&twin);
        (!is_written).then_some(Call::PutTwin(hub, id, twin))
    }

    /// What the twin on the remote target has to become, if it is not to stay.
    fn twin_there(
        &self,
        hub: &RemoteHub,
        is_new: bool,
        luggage: Option<&Luggage>,
    ) -> Known<Option<TwinDraft>> {
        if let Some(Luggage { tags, desired, .. }) = luggage {
            return Known::Yes(Some(twin_draft(Some(tags), Some(desired))));
        }
        let (tags, desired) = initial_sections(self.pending.initial_twin.as_ref());
        let initial = twin_draft(tags, desired);
        if self.pending.rule == Reprovision::WithInitialTwin {
            return Known::Yes(Some(initial));
        }
        let is_empty = |section: Option<&Json>| section.is_none_or(Json::is_empty_object);
        if is_empty(tags) && is_empty(desired) {
            return Known::Yes(None);
        }
        if is_new {
            return Known::Yes(Some(initial));
        }
        // The identity may be there because an earlier attempt made it and got no further. Then
        // its twin is as a new one is.
        match self.learned.twin_on(&hub.name) {
            None => Known::Ask(Call::FindTwin(hub.clone(), self.device_id().clone())),
            Some(Some(twin)) if !is_untouched(twin) => Known::Yes(None),
            Some(_) => Known::Yes(Some(initial)),
        }
    }

    /// The target is ours: identity, twin and record are one commit.
    fn arrive_here(
        &self,
        luggage: Option<&Luggage>,
        shut_out: Option<ShutOut>,
    ) -> Result<Next, Failure> {
        let (hub, id) = (self.target(), self.device_id());
        let refused = |refusal: HubRefusal| Failure {
            code: 400_004,
            message: format!("The hub `{hub}` refuses the device's twin: {refusal}"),
        };
        let moved: Option<Twin> = luggage
            .map(|luggage| twin::fresh(Some(&luggage.tags), Some(&luggage.desired), self.now))
            .transpose()
            .map_err(refused)?;
        let rule = match (&moved, self.pending.rule) {
            (Some(twin), _) => TwinRule::Migrate(twin),
            (None, Reprovision::WithInitialTwin) => TwinRule::Reset,
            (None, Reprovision::WithData | Reprovision::Never) => TwinRule::Keep,
        };
        let assignee = Assignee {
            device_id: id,
            authentication: self.pending.authentication.clone(),
            iot_edge: self.iot_edge(luggage),
            initial_twin: self.pending.initial_twin.as_ref(),
        };
        let existing = self.local(hub);
        let mut device =
            assignment::device(existing, &assignee, rule, self.now, self.fresh).map_err(refused)?;
        if let Some(ShutOut { reason }) = shut_out {
            device.identity.status = DeviceStatus::Disabled;
            device.identity.status_reason = reason.or(device.identity.status_reason);
        }
        let mut settled = self.settled(Outcome::Assigned);
        put_device(&mut settled.changes, hub, existing, device);
        Ok(Next::Commit(Box::new(settled)))
    }

    fn settle(&self, outcome: Outcome) -> Next {
        Next::Commit(Box::new(self.settled(outcome)))
    }

    /// The record as it will stand, and all that has to be written with it.
    fn settled(&self, outcome: Outcome) -> Settled {
        let mut record = RegistrationRecord { pending: None, ..self.record.clone() };
        let mut changes = self.expectations();
        match outcome {
            Outcome::Assigned => {
                record.status = RegistrationStatus::Assigned;
                record.assignment = Some(self.pending.assignment.clone());
                self.leave(&mut changes);
            }
            Outcome::Disabled => record.status = RegistrationStatus::Disabled,
            Outcome::Failed(failure) => {
                record.status = RegistrationStatus::Failed;
                record.failure = Some(failure);
            }
            Outcome::Later(pending) => record.pending = Some(pending),
        }
        if matches!(record.status, RegistrationStatus::Disabled | RegistrationStatus::Failed) {
            record.wrapped_hub_key = None;
        }
        if record.pending.is_none() {
            record.last_updated = self.now;
            record.etag = model::Etag::from_random(self.fresh.etag);
            let behind = left_behind(self.record, Some(&record), self.now);
            changes.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
        }
        changes.changes.push(Change::PutRecord(Box::new(record.clone())));
        Settled { record, changes }
    }

    fn expectations(&self) -> ChangeSet {
        let id = &self.record.registration_id;
        let individual = self.facts.individual.as_ref().map_or(0, |e| e.terms.version);
        let mut changes = ChangeSet::new()
            .expecting(Expect::Record(id.clone(), self.record.version))
            .expecting(Expect::Individual(id.clone(), individual))
            .expecting(self.facts.bans_expected.clone())
            .expecting(Expect::Hubs(self.facts.hubs_version));
        if let EnrollmentRef::Group(group) = &self.record.enrollment {
            let version = self.facts.group.as_ref().map_or(0, |g| g.terms.version);
            changes.expects.push(Expect::Group(group.clone(), version));
        }
        changes
    }

    /// The device leaves its old hub: in this commit if that one is ours, else by a removal.
    fn leave(&self, changes: &mut ChangeSet) {
        let Some(from) = &self.pending.from else { return };
        let id = self.device_id();
        if RemoteHub::find(self.hubs(), from).is_some() {
            let removal = removal::new(from.clone(), id.clone(), self.now);
            changes.changes.push(Change::PutRemoval(Box::new(removal)));
        } else if let Some(old) = self.local(from) {
            delete_device(changes, from, old);
        }
    }
}

/// Writes a device of a built-in hub: no more of it than has changed.
pub(crate) fn put_device(
    set: &mut ChangeSet,
    hub: &HubName,
    existing: Option<&Device>,
    device: Device,
) {
    let id = device.identity.device_id.clone();
    let versions = existing.map_or((0, 0), |d| (d.identity.version, d.twin.version));
    set.expects.push(Expect::Identity(hub.clone(), id.clone(), versions.0));
    set.expects.push(Expect::Twin(hub.clone(), id, versions.1));
    match existing {
        Some(same) if *same == device => {}
        Some(same) if same.twin == device.twin => {
            set.changes.push(Change::PutIdentity(hub.clone(), Box::new(device.identity)));
        }
        _ => set.changes.push(Change::PutDevice(hub.clone(), Box::new(device))),
    }
}

/// Deletes a device of a built-in hub, as it was when the decision was made.
pub(crate) fn delete_device(set: &mut ChangeSet, hub: &HubName, device: &Device) {
    let id = &device.identity.device_id;
    set.expects.push(Expect::Identity(hub.clone(), id.clone(), device.identity.version));
    set.expects.push(Expect::Twin(hub.clone(), id.clone(), device.twin.version));
    set.changes.push(Change::DeleteDevice(hub.clone(), id.clone()));
}

/// The identity a remote hub is to have: as it is there, with the credentials and `iotEdge` of
/// this registration. One that an operator disabled stays disabled.
fn identity(
    existing: Option<&RemoteDevice>,
    id: &DeviceId,
    authentication: &DeviceAuthentication,
    iot_edge: bool,
) -> IdentityDraft {
    let existing = existing.map(|device| &device.identity);
    IdentityDraft {
        device_id: id.clone(),
        status: existing.and_then(|old| old.status).or(Some(DeviceStatus::Enabled)),
        status_reason: existing.and_then(|old| old.status_reason.clone()),
        authentication: Some(AuthenticationDraft {
            kind: Some(authentication.kind),
            primary_key: authentication.keys.as_ref().map(|keys| keys.primary.clone()),
            secondary_key: authentication.keys.as_ref().map(|keys| keys.secondary.clone()),
            primary_thumbprint: authentication.primary_thumbprint.clone(),
            secondary_thumbprint: authentication.secondary_thumbprint.clone(),
        }),
        iot_edge: Some(iot_edge),
        device_scope: existing.and_then(|old| old.device_scope.clone()),
        parent_scopes: existing.map(|old| old.parent_scopes.clone()).unwrap_or_default(),
        managed_by: None,
    }
}

/// Whether an identity has the wanted credentials and capabilities. Everything else of it was
/// taken from what is there.
fn same(there: &IdentityDraft, wanted: &IdentityDraft) -> bool {
    there.authentication == wanted.authentication
        && there.iot_edge.unwrap_or(false) == wanted.iot_edge.unwrap_or(false)
        && (wanted.status != Some(DeviceStatus::Disabled) || there.status == wanted.status)
}

fn twin_draft(tags: Option<&Json>, desired: Option<&Json>) -> TwinDraft {
    let section = |section: Option<&Json>| Some(section.cloned().unwrap_or(Json::empty_object()));
    TwinDraft { tags: section(tags), desired: section(desired) }
}

fn is_untouched(twin: &RemoteTwin) -> bool {
    twin.is_unwritten && twin.tags.is_empty_object() && twin.desired.is_empty_object()
}

#[cfg(test)]
mod tests;
