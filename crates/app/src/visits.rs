//! A device at a door: what is asked of the use cases here is remembered. Each attempt is kept for
//! the operator; one who is refused again and again is told so from memory, and when to ask again.
//!
//! The answers are those of [`App::register`], [`App::challenge_tpm`] and [`App::connect_device`].

use std::{mem, sync::Arc};

use model::{
    Attempt, AttemptAsked, AttemptOutcome, AttemptShown, AttestationKind, ConnectRefusal, DeviceId,
    DeviceRefusal, EnrollmentRef, Evidence, HubName, OperationId, RegisterRequest, RegistrationId,
    RegistrationRecord, Step, Timestamp,
    attempt::{kept_refusal, kept_steps},
};
use store::{Mark, StoreFault};

use crate::{
    App, No,
    device::{Commands, Connecting, DeviceSession},
    refusals::{Asked, Given, Keeping, Told, is_lasting, may_be_a_clock, trace::Trace},
};

pub use crate::refusals::{Introduction, Visit};

/// A “no” to a device at a door.
#[derive(Debug)]
pub struct TurnedAway {
    /// Why.
    pub no: No<DeviceRefusal>,
    /// When to ask again at the earliest, in seconds, if the device is to be told: one that is
    /// refused again and again, from 5 seconds to an hour.
    pub retry_after_secs: Option<u32>,
}

impl From<No<DeviceRefusal>> for TurnedAway {
    fn from(no: No<DeviceRefusal>) -> Self {
        Self { no, retry_after_secs: None }
    }
}

impl From<StoreFault> for TurnedAway {
    fn from(fault: StoreFault) -> Self {
        No::Fault(fault).into()
    }
}

impl App {
    /// Registers a device that came by a door. Gives the operation to poll.
    ///
    /// # Errors
    /// [`TurnedAway`]
    pub async fn register_from(
        &self,
        visit: &Visit<'_>,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<OperationId, TurnedAway> {
        let asked = self.refusals.asked(visit, scope, (&request).into());
        if let Some(told) = self.told_again(visit, &asked) {
            return told;
        }
        let mut about = About::of(visit, (&request).into(), self.clock.now());
        let mut trace = Trace::wanted();
        let registered = match self.register_known(scope, &asked, &request, &mut trace) {
            Some(known) => known,
            None => self.register_traced(scope, request, &mut trace).await,
        };
        if let (Some((facts, read)), Some((_, after))) = (trace.facts.take(), trace.marks()) {
            self.refusals.keep_facts(&asked, facts, after, read);
        }
        match registered {
            Ok(registered) => {
                about.take(&mut trace);
                let outcome = AttemptOutcome::of_record(&registered.record);
                match outcome {
                    AttemptOutcome::Disabled => {
                        self.disabled(visit, &asked, about, trace, &registered.record);
                    }
                    outcome => {
                        self.refusals.forget(&asked);
                        about.enrollment = Some(registered.record.enrollment);
                        self.note(visit, about, outcome);
                    }
                }
                Ok(registered.operation)
            }
            Err(no) => Err(self.turned_away(visit, &asked, about, trace, no)),
        }
    }

    /// Challenges a TPM that came by a door.
    ///
    /// # Errors
    /// [`TurnedAway`]
    pub async fn challenge_tpm_from(
        &self,
        visit: &Visit<'_>,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<Vec<u8>, TurnedAway> {
        let asked = self.refusals.asked(visit, scope, (&request).into());
        if let Some(Err(turned_away)) = self.told_again(visit, &asked) {
            return Err(turned_away);
        }
        let mut about = About::of(visit, (&request).into(), self.clock.now());
        let mut trace = Trace::wanted();
        match self.challenge_tpm_traced(scope, request, &mut trace).await {
            Ok(blob) => {
                about.take(&mut trace);
                self.refusals.forget(&asked);
                self.note(visit, about, AttemptOutcome::Challenged);
                Ok(blob)
            }
            Err(no) => Err(self.turned_away(visit, &asked, about, trace, no)),
        }
    }

    /// Remembers that a door refused a device by itself, before it asked [`App::register_from`];
    /// gives when to ask again, in seconds, if the device is to be told.
    pub fn refused_at_the_door(
        &self,
        visit: &Visit<'_>,
        scope: &str,
        said: Introduction<'_>,
        refusal: &DeviceRefusal,
    ) -> Option<u32> {
        let asked = self.refusals.asked(visit, scope, said);
        let about = About::of(visit, said, self.clock.now());
        let no = No::Refused(refusal.clone());
        self.turned_away(visit, &asked, about, Trace::unwanted(), no).retry_after_secs
    }

    /// Connects a device that came by a door. When it is refused, that is kept.
    ///
    /// # Errors
    /// As [`App::connect_device`].
    pub async fn connect_device_from(
        &self,
        visit: &Visit<'_>,
        connecting: Connecting,
    ) -> Result<(DeviceSession, Commands), No<ConnectRefusal>> {
        let (hub, device_id) = (connecting.hub.clone(), connecting.device_id.clone());
        let mut shown =
            AttemptShown { kind: kind(&connecting.evidence), ..AttemptShown::default() };
        let connected = self.connect_device_showing(connecting, &mut shown).await;
        if let Err(No::Refused(refusal)) = &connected {
            self.not_connected(visit, hub, device_id, shown, refusal);
        }
        connected
    }

    /// Whether a device that came by a door could connect. When it could not, that is kept.
    ///
    /// # Errors
    /// As [`App::check_device`].
    pub async fn check_device_from(
        &self,
        visit: &Visit<'_>,
        connecting: Connecting,
    ) -> Result<Timestamp, No<ConnectRefusal>> {
        let (hub, device_id) = (connecting.hub.clone(), connecting.device_id.clone());
        let shown = AttemptShown { kind: kind(&connecting.evidence), ..AttemptShown::default() };
        let checked = self.check_device(connecting).await;
        if let Err(No::Refused(refusal)) = &checked {
            self.not_connected(visit, hub, device_id, shown, refusal);
        }
        checked
    }

    /// Remembers that a device was not connected to a hub.
    fn not_connected(
        &self,
        visit: &Visit<'_>,
        hub: HubName,
        device_id: DeviceId,
        shown: AttemptShown,
        refusal: &ConnectRefusal,
    ) {
        let is_known = match refusal {
            // The device is there, on another connection; or it is to try again at once.
            ConnectRefusal::Overtaken | ConnectRefusal::Conflict => return,
            ConnectRefusal::Disabled(_)
            | ConnectRefusal::Disenrolled(_)
            | ConnectRefusal::WrongKind(_) => true,
            // That may be said before anybody has looked for the device.
            ConnectRefusal::UnknownHub(_)
            | ConnectRefusal::UnknownDevice
            | ConnectRefusal::Banned(_)
            | ConnectRefusal::NotAttested(_)
            | ConnectRefusal::PolicyRefused
            | ConnectRefusal::AddressRefused(_)
            | ConnectRefusal::Throttled(_) => false,
        };
        let now = self.clock.now();
        let outcome = AttemptOutcome::of_connection(refusal);
        let about = About {
            tracking_id: visit.tracking_id.into(),
            asked: AttemptAsked::Connect { hub: hub.clone(), device_id: device_id.clone() },
            shown,
            steps: Vec::new(),
            enrollment: None,
            is_known,
            now,
        };
        // A name that is too long or too strange to register is counted nowhere, but kept.
        let Ok(registration_id) = RegistrationId::parse(device_id.device()) else {
            return self.note(visit, about, outcome);
        };
        let asked =
            self.refusals.asked_to_connect(visit, &hub, &device_id, registration_id.clone());
        let mark = self.refusals.mark(&registration_id);
        self.refuse(visit, &asked, about, outcome, (mark, mark), None);
    }

    /// What is told from memory.
    fn told_again(
        &self,
        visit: &Visit<'_>,
        asked: &Asked,
    ) -> Option<Result<OperationId, TurnedAway>> {
        let now = self.clock.now();
        let (told, standing) = self.refusals.again(asked, now)?;
        if let Some(repeats) = standing.repeats {
            self.attempts.repeat(repeats, visit.tracking_id, now);
        }
        Some(match told {
            Told::Disabled(operation) => {
                let reason = AttemptOutcome::Disabled.reason().unwrap_or_default();
                self.refusals.count(asked, &reason, now);
                Ok(operation)
            }
            Told::Refused(refusal) => {
                self.refusals.count(asked, &refusal.to_string(), now);
                let no = No::Refused(refusal);
                Err(TurnedAway { no, retry_after_secs: standing.retry_after_secs })
            }
        })
    }

    /// The device proved itself, and its enrollment is disabled.
    fn disabled(
        &self,
        visit: &Visit<'_>,
        asked: &Asked,
        mut about: About,
        trace: Trace,
        record: &RegistrationRecord,
    ) {
        about.enrollment = Some(record.enrollment.clone());
        let outcome = AttemptOutcome::Disabled;
        let Some(marks) = trace.marks() else { return self.note(visit, about, outcome) };
        // A disabled device is told when it polls, where there is no room for a time to wait.
        self.refuse(visit, asked, about, outcome, marks, trace.keeping);
    }

    fn turned_away(
        &self,
        visit: &Visit<'_>,
        asked: &Asked,
        mut about: About,
        mut trace: Trace,
        no: No<DeviceRefusal>,
    ) -> TurnedAway {
        about.take(&mut trace);
        let No::Refused(refusal) = &no else {
            self.note(visit, about, AttemptOutcome::Fault);
            return no.into();
        };
        let outcome = AttemptOutcome::Refused(kept_refusal(refusal.clone()));
        if !is_lasting(refusal) {
            self.note(visit, about, outcome);
            return no.into();
        }
        let mark = trace.before.unwrap_or_else(|| self.refusals.mark(&asked.registration_id));
        let retry_after_secs =
            self.refuse(visit, asked, about, outcome, (mark, mark), trace.keeping);
        TurnedAway { no, retry_after_secs }
    }

    /// Remembers a “no”; gives when to ask again.
    fn refuse(
        &self,
        visit: &Visit<'_>,
        asked: &Asked,
        about: About,
        outcome: AttemptOutcome,
        (before, after): (Mark, Mark),
        keeping: Option<Keeping>,
    ) -> Option<u32> {
        let reason = outcome.reason().unwrap_or_default();
        let by_clock = matches!(&outcome, AttemptOutcome::Refused(no) if may_be_a_clock(no));
        let name = outcome.name();
        let given = Given { name, reason: &reason, before, after, keeping, by_clock };
        let now = about.now;
        let standing = self.refusals.remember(asked, given, &about.tracking_id, now);
        self.refusals.count(asked, &reason, now);
        match standing.repeats {
            Some(repeats) => self.attempts.repeat(repeats, &about.tracking_id, now),
            None => self.note(visit, about, outcome),
        }
        standing.retry_after_secs
    }

    /// Keeps an attempt.
    fn note(&self, visit: &Visit<'_>, about: About, outcome: AttemptOutcome) {
        let About { tracking_id, asked, shown, steps, enrollment, is_known, now } = about;
        let steps = kept_steps(steps);
        // Who was admitted is known from now on.
        let is_known = is_known
            || match &outcome {
                AttemptOutcome::Refused(_)
                | AttemptOutcome::NotConnected { .. }
                | AttemptOutcome::Challenged
                | AttemptOutcome::Fault => false,
                AttemptOutcome::Assigned { .. }
                | AttemptOutcome::Assigning { .. }
                | AttemptOutcome::Disabled
                | AttemptOutcome::Failed { .. } => true,
            };
        self.attempts.push(Attempt {
            tracking_id,
            last_tracking_id: None,
            first: now,
            last: now,
            n: 1,
            door: visit.door,
            address: visit.address,
            asked,
            shown,
            outcome,
            enrollment,
            steps,
            is_known,
        });
    }
}

/// An attempt whose outcome is still to come.
struct About {
    tracking_id: Arc<str>,
    asked: AttemptAsked,
    shown: AttemptShown,
    steps: Vec<Step>,
    enrollment: Option<EnrollmentRef>,
    /// Whether the device was known before.
    is_known: bool,
    /// When it was asked.
    now: Timestamp,
}

impl About {
    fn of(visit: &Visit<'_>, said: Introduction<'_>, now: Timestamp) -> Self {
        let Introduction { registration_id, api_version, evidence } = said;
        Self {
            tracking_id: visit.tracking_id.into(),
            asked: AttemptAsked::Register { registration_id: registration_id.clone(), api_version },
            shown: AttemptShown { kind: kind(evidence), ..AttemptShown::default() },
            steps: Vec::new(),
            enrollment: None,
            is_known: false,
            now,
        }
    }

    /// Takes over how it was decided.
    fn take(&mut self, trace: &mut Trace) {
        self.shown.take_in(trace.shown);
        self.is_known = trace.is_known;
        self.steps = mem::take(&mut trace.steps);
        self.enrollment = decide::explain::deciding_entry(&self.steps);
    }
}

const fn kind(evidence: &Evidence) -> Option<AttestationKind> {
    match evidence {
        Evidence::X509(_) => Some(AttestationKind::X509),
        Evidence::Sas(_) => Some(AttestationKind::SymmetricKey),
        Evidence::Tpm(_) | Evidence::TpmAnswer { .. } => Some(AttestationKind::Tpm),
        Evidence::Nothing => None,
    }
}
