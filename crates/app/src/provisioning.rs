//! A device registers, polls, and asks where it stands.

use decide::{
    attestation, record,
    register::{self, Decision, Prepared},
};
use model::{
    AttestFailure, DeviceRefusal, IdScope, OperationId, RegisterFacts, RegisterRequest,
    RegistrationId, RegistrationRecord, RegistrationStatus, SasToken, Step,
};
use store::StoreFault;
use tracing::info;

use crate::{App, Attempt, MAX_ATTEMPTS, No, attempted, refusals::trace::Trace};

/// A register request that was accepted and is settled, or goes on with a remote hub.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The operation for the device to poll.
    pub operation: OperationId,
    /// The record as it was written.
    pub record: RegistrationRecord,
    /// How it came about.
    pub steps: Vec<Step>,
}

impl App {
    /// Registers a device. When this returns the record, the device's identity and its initial
    /// twin are durable, or none of them is. Where a remote hub takes part, the record is, and
    /// says what is still to be done.
    ///
    /// # Errors
    /// [`DeviceRefusal`], or a fault of the store.
    pub async fn register(
        &self,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<Registered, No<DeviceRefusal>> {
        self.register_traced(scope, request, &mut Trace::unwanted()).await
    }

    /// [`Self::register`], leaving behind how it was decided.
    pub(crate) async fn register_traced(
        &self,
        scope: &str,
        request: RegisterRequest,
        trace: &mut Trace,
    ) -> Result<Registered, No<DeviceRefusal>> {
        self.check_scope(scope)?;
        let settings = &self.settings.register;
        let attest = &settings.attest;
        let prepared = Prepared::new(request, &attest.limits).map_err(No::Refused)?;
        trace.prepared(&prepared);
        let mut webhook_said = None;
        for _ in 0..MAX_ATTEMPTS {
            trace.reading(|| self.refusals.mark(&prepared.request().registration_id));
            let facts = self.register_facts(&prepared).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let decided = match &webhook_said {
                None => register::register(&facts, &prepared, settings, now, &fresh),
                Some(answer) => register::resume(&facts, &prepared, settings, now, &fresh, answer),
            };
            match decided.answer {
                Decision::Refuse(refusal) => {
                    if let DeviceRefusal::Banned { .. } = &refusal {
                        self.learn_bans(&facts.bans, &prepared.shown().certificates()).await;
                    }
                    trace.refused(&facts, &prepared, &refusal, attest, now);
                    trace.steps = decided.steps;
                    trace.keep_facts(facts, &prepared, now);
                    return Err(No::Refused(refusal));
                }
                Decision::Ask(question) => {
                    webhook_said = Some(self.allocation_hook.ask(&question).await);
                }
                Decision::Settle(settlement) => {
                    let told = trace.told_before(&facts, &prepared, &settlement, attest, now);
                    let is_told_before = told.is_some();
                    let (operation, record) = match told {
                        Some(told) => told,
                        None => {
                            let wakes_worker = settlement.wakes_worker();
                            let committed = self.commit(settlement.changes).await;
                            if let Attempt::Again = attempted(committed)? {
                                continue;
                            }
                            tell_story(&settlement.record);
                            if wakes_worker {
                                self.remote.bell.ring();
                            }
                            (settlement.operation, settlement.record)
                        }
                    };
                    if record.status == RegistrationStatus::Disabled {
                        trace.wrote = !is_told_before;
                        trace.disabled(&facts, &prepared, &operation, attest, now);
                        let known = RegisterFacts { record: Some(record.clone()), ..facts };
                        trace.keep_facts(known, &prepared, now);
                    }
                    trace.steps.clone_from(&decided.steps);
                    return Ok(Registered { operation, record, steps: decided.steps });
                }
            }
        }
        Err(No::Refused(DeviceRefusal::Conflict))
    }

    /// Checks what a device's token says of itself, before anything is read: for which device it
    /// is, in the ID scope asked for, and until when.
    ///
    /// # Errors
    /// [`AttestFailure`]
    pub fn check_device_token(
        &self,
        token: &SasToken,
        scope: &str,
        id: &RegistrationId,
    ) -> Result<(), AttestFailure> {
        let settings = &self.settings.register.attest;
        attestation::check_claims(token, scope, id, settings, self.clock.now())
    }

    /// Where an operation stands.
    ///
    /// # Errors
    /// [`DeviceRefusal`], or a fault of the store.
    pub async fn operation_status(
        &self,
        scope: &str,
        request: RegisterRequest,
        operation: &OperationId,
    ) -> Result<RegistrationRecord, No<DeviceRefusal>> {
        let (facts, prepared) = self.facts_of(scope, request).await?;
        let attest = &self.settings.register.attest;
        record::poll(&facts, &prepared, operation, attest, self.clock.now()).map_err(No::Refused)
    }

    /// Where a registration stands (D §7.2).
    ///
    /// # Errors
    /// [`DeviceRefusal`], or a fault of the store.
    pub async fn registration_status(
        &self,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<RegistrationRecord, No<DeviceRefusal>> {
        let (facts, prepared) = self.facts_of(scope, request).await?;
        let attest = &self.settings.register.attest;
        record::look_up(&facts, &prepared, attest, self.clock.now()).map_err(No::Refused)
    }

    async fn facts_of(
        &self,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<(RegisterFacts, Prepared), No<DeviceRefusal>> {
        self.check_scope(scope)?;
        let limits = &self.settings.register.attest.limits;
        let prepared = Prepared::new(request, limits).map_err(No::Refused)?;
        let facts = self.register_facts(&prepared).await?;
        Ok((facts, prepared))
    }

    /// What is known when a device registers. Where an enrollment keeps certificates that its device
    /// rests on, the bans and revocation lists about these are only asked for when it is known, so
    /// this reads again.
    pub(crate) async fn register_facts(
        &self,
        prepared: &Prepared,
    ) -> Result<RegisterFacts, StoreFault> {
        let limits = &self.settings.register.attest.limits;
        let mut query = prepared.query();
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.register_facts(query.clone()).await?;
            match attestation::besides(&facts, &query, limits) {
                None => return Ok(facts),
                Some(wider) => query = wider,
            }
        }
        Err(StoreFault::new(
            "read the facts of a registration",
            "its enrollment does not stand still",
        ))
    }

    pub(crate) fn check_scope(&self, scope: &str) -> Result<(), No<DeviceRefusal>> {
        self.check_own_scope(scope).map_err(No::Refused)
    }

    pub(crate) fn check_own_scope(&self, scope: &str) -> Result<(), DeviceRefusal> {
        match IdScope::parse(scope) {
            Ok(scope) if scope == self.settings.register.attest.id_scope => Ok(()),
            Ok(_) | Err(_) => Err(DeviceRefusal::UnknownIdScope),
        }
    }
}

pub(crate) fn tell_story(record: &RegistrationRecord) {
    let id = &record.registration_id;
    match (record.status, &record.assignment, &record.failure) {
        (RegistrationStatus::Assigned, Some(assignment), _) => {
            let hub = &assignment.hub;
            info!(registration.id = %id, hub.name = %hub, "assigned `{id}` to `{hub}`");
        }
        (RegistrationStatus::Disabled, ..) => {
            info!(registration.id = %id, "refused `{id}`: its enrollment is disabled");
        }
        (_, _, Some(failure)) => {
            let (code, why) = (failure.code, &failure.message);
            info!(registration.id = %id, error.code = code, "could not assign `{id}`: {why}");
        }
        (status, ..) => info!(registration.id = %id, "registration of `{id}` is {status:?}"),
    }
}
