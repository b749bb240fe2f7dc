//! May this device register, where does it go, and what is written for it?

use attest::chain;
use model::{
    Assignment, Change, ChangeSet, Counted, CustomAllocation, Decided, Device, DeviceId,
    DeviceRefusal, DeviceStatus, EnrollmentRef, Expect, Failure, Fresh, HubName, HubSettings,
    OperationId, RegisterFacts, RegisterQuery, RegisterRequest, RegistrationRecord,
    RegistrationStatus, Reprovision, Step, Substatus, Timestamp,
};

use crate::{
    allocate::{Allocation, allocate},
    attestation::{AttestSettings, Attested, Entry, Shown, authenticate},
    hub::assignment::{self, Assignee, TwinRule},
    record,
};

/// What the operator configured that registration depends on.
#[derive(Debug, Clone)]
pub struct RegisterSettings {
    /// For attestation.
    pub attest: AttestSettings,
    /// The hubs and how they are chosen.
    pub hubs: HubSettings,
    /// How many registration records there may be (D §6).
    pub max_registrations: u64,
}

/// A register request whose evidence is parsed: it knows which facts to read.
#[derive(Debug)]
pub struct Prepared {
    request: RegisterRequest,
    shown: Shown,
}

impl Prepared {
    /// Parses the request's evidence.
    ///
    /// # Errors
    /// [`DeviceRefusal::NotAttested`] when a certificate cannot be parsed or is beyond the limits.
    pub fn new(request: RegisterRequest, limits: &chain::Limits) -> Result<Self, DeviceRefusal> {
        let shown = Shown::parse(&request.evidence, limits).map_err(DeviceRefusal::NotAttested)?;
        Ok(Self { request, shown })
    }

    /// Which facts the decision needs.
    #[must_use]
    pub fn query(&self) -> RegisterQuery {
        RegisterQuery {
            registration_id: self.request.registration_id.clone(),
            groups: self.shown.group_query(),
        }
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> &RegisterRequest {
        &self.request
    }

    /// The parsed evidence.
    #[must_use]
    pub const fn shown(&self) -> &Shown {
        &self.shown
    }
}

/// What comes of a register request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No, at once.
    Refuse(DeviceRefusal),
    /// The operation is settled: this is what to write before the device is told.
    Settle(Box<Settlement>),
    /// The operator's webhook decides: ask it, then call [`resume`].
    Ask(Question),
}

/// A settled operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The operation, for the device to poll.
    pub operation: OperationId,
    /// The record as it will stand.
    pub record: RegistrationRecord,
    /// What to write, and the versions it was decided from.
    pub changes: ChangeSet,
}

/// What to ask the operator's webhook (D §5.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask.
    pub webhook: CustomAllocation,
    /// Which enrollment decides.
    pub enrollment: EnrollmentRef,
    /// Where the device is now, if it is anywhere.
    pub current: Option<(HubName, DeviceId)>,
}

/// The webhook's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It gave none, or none that counts; the sentence is told to the device (D §1.8, 400207).
    Failed(String),
}

/// Decides about a register request.
#[must_use]
pub fn register(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &RegisterSettings,
    now: Timestamp,
    fresh: &Fresh,
) -> Decided<Decision> {
    let mut steps = Vec::new();
    let answer = decide(facts, prepared, settings, now, fresh, None, &mut steps);
    Decided { answer: answer.unwrap_or_else(Decision::Refuse), steps }
}

/// Decides again, from facts read anew, now that the webhook has answered.
#[must_use]
pub fn resume(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &RegisterSettings,
    now: Timestamp,
    fresh: &Fresh,
    webhook_said: &Answer,
) -> Decided<Decision> {
    let mut steps = Vec::new();
    let answer = decide(facts, prepared, settings, now, fresh, Some(webhook_said), &mut steps);
    Decided { answer: answer.unwrap_or_else(Decision::Refuse), steps }
}

fn decide(
    facts: &RegisterFacts,
    prepared: &Prepared,
    settings: &RegisterSettings,
    now: Timestamp,
    fresh: &Fresh,
    webhook_said: Option<&Answer>,
    steps: &mut Vec<Step>,
) -> Result<Decision, DeviceRefusal> {
    let id = &prepared.request.registration_id;
    // Attestation comes first: a caller who proves nothing learns nothing.
    let proof = authenticate(facts, id, &prepared.shown, &settings.attest, now, steps)?;
    if facts.record.is_none() && facts.n_registrations >= settings.max_registrations {
        return Err(DeviceRefusal::TooManyRegistrations(settings.max_registrations));
    }
    let scene = Scene { facts, prepared, settings, now, fresh, proof: &proof };
    if !proof.terms().is_enabled() {
        steps.push(Step::EnrollmentDisabled);
        return Ok(scene.settle(Outcome::Disabled));
    }
    let rule = scene.reprovision_rule();
    if let (Some(assignment), Reprovision::Never) = (scene.assignment(), rule) {
        let hub = assignment.hub.clone();
        if !settings.hubs.hubs.iter().any(|linked| linked.name == hub) {
            let why = format!("the device never moves, and its hub {hub} is no longer linked");
            steps.push(Step::NotAllocated { why: why.clone() });
            return Ok(scene.no_hub(&why));
        }
        steps.push(Step::KeptAssignment { hub: hub.clone(), rule });
        return Ok(scene.assign(hub, rule, steps));
    }
    Ok(match allocate(&proof, id, &settings.hubs, steps) {
        Allocation::Hub(hub) => scene.assign(hub, rule, steps),
        Allocation::None(why) => scene.no_hub(&why),
        Allocation::Ask(webhook) => match webhook_said {
            None => Decision::Ask(Question {
                webhook,
                enrollment: proof.enrollment(),
                current: scene.assignment().map(|a| (a.hub.clone(), a.device_id.clone())),
            }),
            Some(Answer::Failed(message)) => {
                steps.push(Step::NotAllocated { why: message.clone() });
                scene.settle(Outcome::Failed(Failure { code: 400_207, message: message.clone() }))
            }
        },
    })
}

/// Everything a settled operation is made from.
struct Scene<'a> {
    facts: &'a RegisterFacts,
    prepared: &'a Prepared,
    settings: &'a RegisterSettings,
    now: Timestamp,
    fresh: &'a Fresh,
    proof: &'a Attested<'a>,
}

/// How an operation settled.
enum Outcome {
    Disabled,
    Failed(Failure),
    Assigned(Assignment),
}

impl Scene<'_> {
    fn assignment(&self) -> Option<&Assignment> {
        self.facts.record.as_ref()?.assignment.as_ref()
    }

    /// What a second registration may change. Without a policy old clients keep their hub and
    /// newer ones get the default (D §5.9).
    fn reprovision_rule(&self) -> Reprovision {
        match self.proof.terms().reprovision_policy {
            Some(policy) => policy.meaning(),
            None if self.prepared.request.api_version.has_sticky_hub() => Reprovision::Never,
            None => Reprovision::WithData,
        }
    }

    /// The device's name on its hub: what it was, or else what the enrollment says, or else its
    /// registration ID in the spelling that a hub knows already, or else as it spells it (D §0.2,
    /// §5.7). Without the hub's spelling a device whose identity an operator disabled would get
    /// a new one by spelling its name in capitals.
    fn device_id(&self) -> DeviceId {
        let named = match self.proof.entry() {
            Entry::Individual(enrollment) => enrollment.device_id.clone(),
            Entry::Group(_) => None,
        };
        self.assignment().map(|assignment| assignment.device_id.clone()).or(named).unwrap_or_else(
            || self.spelling(DeviceId::from(&self.prepared.request.registration_id)),
        )
    }

    fn spelling(&self, presented: DeviceId) -> DeviceId {
        let known = || self.facts.devices.iter().map(|(_, device)| &device.identity.device_id);
        if known().any(|id| *id == presented) {
            return presented;
        }
        known().find(|id| id.is_same_name(&presented)).cloned().unwrap_or(presented)
    }

    fn device_on(&self, hub: &HubName, id: &DeviceId) -> Option<&Device> {
        self.facts
            .devices
            .iter()
            .find(|(on, device)| on == hub && device.identity.device_id == *id)
            .map(|(_, device)| device)
    }

    /// Assigns the device to a hub: record, identity and twin in one change set, and away from
    /// its old hub if it had another.
    fn assign(&self, hub: HubName, rule: Reprovision, steps: &mut Vec<Step>) -> Decision {
        let device_id = self.device_id();
        let moved_from = self.assignment().map(|a| &a.hub).filter(|old| **old != hub);
        if let Some(from) = moved_from {
            steps.push(Step::Moved { from: from.clone(), to: hub.clone(), rule });
        }
        let old_device = moved_from.and_then(|from| self.device_on(from, &device_id));
        let twin_rule = match (self.assignment().is_some(), rule) {
            (true, Reprovision::WithInitialTwin) => TwinRule::Reset,
            (true, Reprovision::WithData) => {
                old_device.map_or(TwinRule::Keep, |old| TwinRule::Migrate(&old.twin))
            }
            (true, Reprovision::Never) | (false, _) => TwinRule::Keep,
        };
        let terms = self.proof.terms();
        let moved_edge = match twin_rule {
            TwinRule::Migrate(_) => old_device.map(|old| old.identity.iot_edge),
            TwinRule::Keep | TwinRule::Reset => None,
        };
        let assignee = Assignee {
            device_id: &device_id,
            authentication: self.proof.hub_authentication(),
            iot_edge: moved_edge.or(terms.iot_edge).unwrap_or(false),
            initial_twin: terms.initial_twin.as_ref(),
        };
        let existing = self.device_on(&hub, &device_id);
        let device = assignment::device(existing, &assignee, twin_rule, self.now, self.fresh);
        let mut device = match device {
            Ok(device) => device,
            Err(refusal) => {
                let message = format!("The initial twin of the enrollment is refused: {refusal}");
                steps.push(Step::NotAllocated { why: message.clone() });
                return self.settle(Outcome::Failed(Failure { code: 400_004, message }));
            }
        };
        // What an operator disabled in the hub stays disabled wherever the device goes.
        if let Some(old) = old_device.filter(|old| old.identity.status == DeviceStatus::Disabled) {
            device.identity.status = old.identity.status;
            device.identity.status_reason = old.identity.status_reason.clone();
            device.identity.status_updated = old.identity.status_updated;
        }
        let assignment = Assignment {
            substatus: self.substatus(&hub, moved_from.is_some(), rule),
            initial_hub: self.assignment().map_or_else(|| hub.clone(), |a| a.initial_hub.clone()),
            hub: hub.clone(),
            device_id: device_id.clone(),
        };
        let mut settled = self.settlement(Outcome::Assigned(assignment));
        let versions = existing.map_or((0, 0), |d| (d.identity.version, d.twin.version));
        let set = &mut settled.changes;
        set.expects.push(Expect::Identity(hub.clone(), device_id.clone(), versions.0));
        set.expects.push(Expect::Twin(hub.clone(), device_id.clone(), versions.1));
        match existing {
            Some(same) if *same == device => {}
            Some(same) if same.twin == device.twin => {
                set.changes.push(Change::PutIdentity(hub, Box::new(device.identity)));
            }
            _ => set.changes.push(Change::PutDevice(hub, Box::new(device))),
        }
        if let (Some(from), Some(old)) = (moved_from, old_device) {
            let (from, id) = (from.clone(), device_id);
            set.expects.push(Expect::Identity(from.clone(), id.clone(), old.identity.version));
            set.expects.push(Expect::Twin(from.clone(), id.clone(), old.twin.version));
            set.changes.push(Change::DeleteDevice(from, id));
        }
        Decision::Settle(Box::new(settled))
    }

    /// Devices hear `initialAssignment` unless they moved or their data was reset (D §5.9, D12).
    fn substatus(&self, hub: &HubName, moved: bool, rule: Reprovision) -> Substatus {
        match (self.assignment(), rule) {
            (None, _) => Substatus::InitialAssignment,
            (Some(kept), Reprovision::Never) => kept.substatus,
            (Some(was), _) if moved && was.initial_hub == *hub => {
                Substatus::ReprovisionedToInitialAssignment
            }
            (Some(_), Reprovision::WithInitialTwin) => Substatus::DeviceDataReset,
            (Some(_), Reprovision::WithData) if moved => Substatus::DeviceDataMigrated,
            (Some(_), Reprovision::WithData) => Substatus::InitialAssignment,
        }
    }

    fn no_hub(&self, why: &str) -> Decision {
        let message = format!("No IoT hub could be chosen: {why}.");
        self.settle(Outcome::Failed(Failure { code: 400_208, message }))
    }

    fn settle(&self, outcome: Outcome) -> Decision {
        Decision::Settle(Box::new(self.settlement(outcome)))
    }

    fn settlement(&self, outcome: Outcome) -> Settlement {
        let scope = &self.settings.attest.id_scope;
        let operation = OperationId::from_random(scope, self.fresh.operation);
        let id = &self.prepared.request.registration_id;
        let kept = self.assignment().cloned();
        let (status, assignment, failure) = match outcome {
            Outcome::Disabled => (RegistrationStatus::Disabled, kept, None),
            Outcome::Failed(failure) => (RegistrationStatus::Failed, kept, Some(failure)),
            Outcome::Assigned(assignment) => (RegistrationStatus::Assigned, Some(assignment), None),
        };
        let old = self.facts.record.as_ref();
        let record = RegistrationRecord {
            registration_id: old.map_or_else(|| id.clone(), |r| r.registration_id.clone()),
            created: old.map_or(self.now, |r| r.created),
            last_updated: self.now,
            status,
            assignment,
            failure,
            payload: None,
            etag: model::Etag::from_random(self.fresh.etag),
            enrollment: self.proof.enrollment(),
            mechanism: self.proof.kind(),
            operations: record::with_operation(old, operation.clone(), self.now),
            version: old.map_or(0, |r| r.version),
        };
        let individual = self.facts.individual.as_ref();
        let mut changes = ChangeSet::new()
            .expecting(Expect::Individual(id.clone(), individual.map_or(0, |e| e.terms.version)))
            .expecting(Expect::Record(id.clone(), record.version))
            .with(Change::PutRecord(Box::new(record.clone())));
        if old.is_none() {
            let limit = self.settings.max_registrations;
            changes.expects.push(Expect::Room { of: Counted::Registrations, limit });
        }
        // A group that appears, changes or goes away between reading and writing may be the one
        // that decides; where an individual enrollment decides, groups do not matter.
        if individual.is_none() {
            changes.expects.push(Expect::Groups(self.facts.groups_version));
        }
        Settlement { operation, record, changes }
    }
}

#[cfg(test)]
mod tests;
