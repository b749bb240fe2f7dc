//! May this device register, where does it go, and what is written for it?

use attest::chain;
use model::{
    AllocationPolicy, Assignment, Change, ChangeSet, Counted, Decided, Device, DeviceId,
    DeviceRefusal, DeviceStatus, Expect, Failure, Fresh, HubName, HubRefusal, Json, OperationId,
    PendingAssignment, RegisterFacts, RegisterQuery, RegisterRequest, RegistrationRecord,
    RegistrationStatus, Reprovision, Step, Substatus, Timestamp,
};

use crate::{
    allocate::{Allocation, allocate, eligible},
    attestation::{AttestSettings, Attested, Entry, Shown, authenticate},
    hub::{
        assignment::{self, Assignee, TwinRule},
        twin,
    },
    pending::{self, RemoteHub},
    record,
};

mod question;

pub use question::{Answer, AskedFor, Chosen, ProvedBy, Question};

/// What the operator configured that registration depends on.
#[derive(Debug, Clone)]
pub struct RegisterSettings {
    /// For attestation.
    pub attest: AttestSettings,
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
            ban_keys: self.shown.ban_keys(),
            ca_names: Vec::new(),
            serials: self.shown.serials(),
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

impl Settlement {
    /// Whether it leaves something for a remote hub to be told.
    #[must_use]
    pub fn wakes_worker(&self) -> bool {
        self.record.pending.is_some()
            || self.changes.changes.iter().any(|change| matches!(change, Change::PutRemoval(_)))
    }
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
        if !facts.hubs.hubs.iter().any(|linked| linked.name == hub) {
            let why = format!("the device never moves, and its hub {hub} is no longer linked");
            steps.push(Step::NotAllocated { why: why.clone() });
            return Ok(scene.no_hub(&why));
        }
        steps.push(Step::KeptAssignment { hub: hub.clone(), rule });
        let payload = facts.record.as_ref().and_then(|record| record.payload.clone());
        return Ok(scene.assign(Place { hub, rule, initial_twin: None, payload }, steps));
    }
    Ok(match allocate(&proof, id, &facts.hubs, steps) {
        Allocation::Hub(hub) => {
            scene.assign(Place { hub, rule, initial_twin: None, payload: None }, steps)
        }
        Allocation::None(why) => scene.no_hub(&why),
        Allocation::Ask(webhook) => match webhook_said {
            None => Decision::Ask(Question {
                webhook,
                entry: proof.entry().into(),
                registration_id: id.clone(),
                current: scene.assignment().map(|a| (a.hub.clone(), a.device_id.clone())),
                proved_by: ProvedBy::of(proof.kind(), &prepared.request.evidence),
                payload: prepared.request.payload.clone(),
                linked_hubs: eligible(proof.terms(), &facts.hubs),
            }),
            Some(Answer::Hub(chosen)) => match scene.chosen(chosen, rule, steps) {
                Ok(place) => scene.assign(place, steps),
                Err(why) => scene.not_allocated(why, steps),
            },
            Some(Answer::Failed(message)) => scene.not_allocated(message.clone(), steps),
        },
    })
}

/// Where a device goes, and with what.
struct Place {
    hub: HubName,
    rule: Reprovision,
    /// The webhook's, which comes before the enrollment's and before what could be migrated.
    initial_twin: Option<Json>,
    /// What the webhook has to say to the device.
    payload: Option<Json>,
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
    Assigned(Assignment, Told),
    Assigning(Box<PendingAssignment>, Told),
}

/// What a device is told with its assignment.
struct Told {
    /// The webhook's word.
    payload: Option<Json>,
    /// Its new key on the hub, if it is a TPM.
    wrapped_hub_key: Option<Vec<u8>>,
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

    /// Holds the webhook's answer against the hubs it could choose from (D §5.11).
    fn chosen(
        &self,
        chosen: &Chosen,
        rule: Reprovision,
        steps: &mut Vec<Step>,
    ) -> Result<Place, String> {
        let Chosen { hub, initial_twin, payload } = chosen;
        let linked = eligible(self.proof.terms(), &self.facts.hubs);
        let found = linked.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(hub));
        let Some(name) = found else {
            let shown: String = hub.chars().take(253).collect();
            return Err(format!("Custom allocation failed: the hub `{shown}` is not linked."));
        };
        steps.push(Step::Allocated { policy: AllocationPolicy::Custom, hub: name.clone() });
        // A twin of the webhook's overrides migration: what a reset does, with another twin.
        let rule = match initial_twin {
            Some(_) => Reprovision::WithInitialTwin,
            None => rule,
        };
        let (initial_twin, payload) = (initial_twin.clone(), payload.clone());
        Ok(Place { hub: name, rule, initial_twin, payload })
    }

    fn not_allocated(&self, message: String, steps: &mut Vec<Step>) -> Decision {
        steps.push(Step::NotAllocated { why: message.clone() });
        self.settle(Outcome::Failed(Failure { code: 400_207, message }))
    }

    /// Assigns the device to a hub, and away from its old one if it had another: at once where
    /// both are ours, step by step where one is remote.
    fn assign(&self, place: Place, steps: &mut Vec<Step>) -> Decision {
        let Place { hub, rule, initial_twin, payload } = place;
        let device_id = self.device_id();
        // A TPM gets another key each time: it has overwritten the one of its last assignment.
        let authentication = self.proof.hub_authentication(self.fresh);
        let told = match self.proof.wrapped_hub_key(&hub, &device_id, self.fresh) {
            Ok(wrapped_hub_key) => Told { payload, wrapped_hub_key },
            Err(failure) => {
                steps.push(Step::AttestationFailed(failure.clone()));
                return Decision::Refuse(DeviceRefusal::NotAttested(failure));
            }
        };
        let moved_from = self.assignment().map(|a| &a.hub).filter(|old| **old != hub);
        if let Some(from) = moved_from {
            steps.push(Step::Moved { from: from.clone(), to: hub.clone(), rule });
        }
        let assignment = Assignment {
            substatus: self.substatus(&hub, moved_from.is_some(), rule),
            initial_hub: self.assignment().map_or_else(|| hub.clone(), |a| a.initial_hub.clone()),
            hub: hub.clone(),
            device_id: device_id.clone(),
        };
        // A first assignment leaves a twin that is there alone, unless the webhook sent one.
        let rule = match (self.assignment(), &initial_twin) {
            (None, None) => Reprovision::Never,
            (Some(_), _) | (None, Some(_)) => rule,
        };
        let terms = self.proof.terms();
        let initial_twin = initial_twin.or_else(|| terms.initial_twin.clone());
        let iot_edge = terms.iot_edge.unwrap_or(false);
        let is_remote = |name: &HubName| RemoteHub::find(&self.facts.hubs.hubs, name).is_some();
        if is_remote(&hub) || moved_from.is_some_and(is_remote) {
            let pending = PendingAssignment {
                from: moved_from.cloned(),
                rule,
                authentication,
                iot_edge,
                initial_twin,
                n_failures: 0,
                due: self.now,
                last_error: None,
                assignment,
            };
            return self.begin(pending, told, steps);
        }
        let old_device = moved_from.and_then(|from| self.device_on(from, &device_id));
        let twin_rule = match (rule, old_device) {
            (Reprovision::WithInitialTwin, _) => TwinRule::Reset,
            (Reprovision::WithData, Some(old)) => TwinRule::Migrate(&old.twin),
            (Reprovision::WithData, None) | (Reprovision::Never, _) => TwinRule::Keep,
        };
        let moved_edge = match twin_rule {
            TwinRule::Migrate(_) => old_device.map(|old| old.identity.iot_edge),
            TwinRule::Keep | TwinRule::Reset => None,
        };
        let assignee = Assignee {
            device_id: &device_id,
            authentication,
            iot_edge: moved_edge.unwrap_or(iot_edge),
            initial_twin: initial_twin.as_ref(),
        };
        let existing = self.device_on(&hub, &device_id);
        let device = assignment::device(existing, &assignee, twin_rule, self.now, self.fresh);
        let mut device = match device {
            Ok(device) => device,
            Err(refusal) => return self.bad_twin(&refusal, steps),
        };
        // What an operator disabled in the hub stays disabled wherever the device goes.
        if let Some(old) = old_device.filter(|old| old.identity.status == DeviceStatus::Disabled) {
            device.identity.status = old.identity.status;
            device.identity.status_reason = old.identity.status_reason.clone();
            device.identity.status_updated = old.identity.status_updated;
        }
        let mut settled = self.settlement(Outcome::Assigned(assignment, told));
        pending::put_device(&mut settled.changes, &hub, existing, device);
        if let (Some(from), Some(old)) = (moved_from, old_device) {
            pending::delete_device(&mut settled.changes, from, old);
        }
        Decision::Settle(Box::new(settled))
    }

    /// Begins an assignment that a remote hub takes part in. One that is pending for the same
    /// place goes on, with what this request brought: its failures count on, so that a device
    /// that asks again and again does not wear out a hub that is down.
    fn begin(&self, mut pending: PendingAssignment, told: Told, steps: &mut Vec<Step>) -> Decision {
        let (tags, desired) = assignment::initial_sections(pending.initial_twin.as_ref());
        if let Err(refusal) = twin::fresh(tags, desired, self.now) {
            return self.bad_twin(&refusal, steps);
        }
        let old = self.facts.record.as_ref().and_then(|record| record.pending.as_deref());
        if let Some(old) = old {
            // Someone may be working on the old one: no call of theirs may come after ours.
            pending.due = pending::after_lease(old.due, self.now);
            let place = |a: &Assignment| (a.hub.clone(), a.device_id.clone());
            if place(&old.assignment) == place(&pending.assignment) {
                pending.n_failures = old.n_failures;
                pending.last_error.clone_from(&old.last_error);
            }
        }
        self.settle(Outcome::Assigning(Box::new(pending), told))
    }

    fn bad_twin(&self, refusal: &HubRefusal, steps: &mut Vec<Step>) -> Decision {
        let message = format!("The initial twin of the enrollment is refused: {refusal}");
        steps.push(Step::NotAllocated { why: message.clone() });
        self.settle(Outcome::Failed(Failure { code: 400_004, message }))
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
        let old = self.facts.record.as_ref();
        let mut record = RegistrationRecord {
            registration_id: old.map_or_else(|| id.clone(), |r| r.registration_id.clone()),
            created: old.map_or(self.now, |r| r.created),
            last_updated: self.now,
            status: RegistrationStatus::Disabled,
            assignment: kept,
            failure: None,
            pending: None,
            payload: None,
            wrapped_hub_key: None,
            etag: model::Etag::from_random(self.fresh.etag),
            enrollment: self.proof.enrollment(),
            mechanism: self.proof.kind(),
            operations: record::with_operation(old, operation.clone(), self.now),
            version: old.map_or(0, |r| r.version),
        };
        match outcome {
            Outcome::Disabled => {}
            Outcome::Failed(failure) => {
                record.status = RegistrationStatus::Failed;
                record.failure = Some(failure);
            }
            Outcome::Assigned(assignment, told) => {
                record.status = RegistrationStatus::Assigned;
                record.assignment = Some(assignment);
                record.payload = told.payload;
                record.wrapped_hub_key = told.wrapped_hub_key;
            }
            Outcome::Assigning(pending, told) => {
                record.status = RegistrationStatus::Assigning;
                record.pending = Some(pending);
                record.payload = told.payload;
                record.wrapped_hub_key = told.wrapped_hub_key;
            }
        }
        let individual = self.facts.individual.as_ref();
        let mut changes = ChangeSet::new()
            .expecting(Expect::Hubs(self.facts.hubs_version))
            .expecting(Expect::Individual(id.clone(), individual.map_or(0, |e| e.terms.version)))
            .expecting(Expect::Record(id.clone(), record.version))
            // Whoever is banned meanwhile is not let in.
            .expecting(self.facts.bans_expected.clone())
            .with(Change::PutRecord(Box::new(record.clone())));
        let grounds = self.proof.grounds();
        if old.is_none() || self.facts.grounds.as_ref() != Some(grounds) {
            let id = record.registration_id.clone();
            changes.changes.push(Change::PutGrounds(id, Box::new(grounds.clone())));
        }
        if old.is_none() {
            let limit = self.settings.max_registrations;
            changes.expects.push(Expect::Room { of: Counted::Registrations, limit });
        }
        // A group that appears, changes or goes away between reading and writing may be the one
        // that decides; where an individual enrollment decides, groups do not matter.
        if individual.is_none() {
            changes.expects.push(Expect::Groups(self.facts.groups_version));
        }
        // Whatever a replaced assignment may have made on a remote hub has to go again.
        let behind = old.and_then(|old| pending::left_behind(old, Some(&record), self.now));
        changes.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
        Settlement { operation, record, changes }
    }
}

#[cfg(test)]
mod tests;
