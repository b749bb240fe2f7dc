//! A token is held against facts that were read before.

use decide::register::{self, Decision, Prepared};
use model::{AttestFailure, DeviceRefusal, RegisterRequest};

use super::{
    Asked,
    trace::{Trace, is_known},
};
use crate::{
    App, No,
    ports::{self, Entropy},
    provisioning::Registered,
};

/// Where nothing is made that could be used: a decision that would write is taken anew.
struct NoDice;

impl Entropy for NoDice {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl App {
    /// What a device that shows a token is told by facts that are known, if it is the same no as
    /// before: refused, or disabled. Nothing for whoever could be admitted, or has something new:
    /// about them is decided from fresh facts.
    pub(crate) fn register_known(
        &self,
        scope: &str,
        asked: &Asked,
        request: &RegisterRequest,
        trace: &mut Trace,
    ) -> Option<Result<Registered, No<DeviceRefusal>>> {
        self.check_own_scope(scope).ok()?;
        let now = self.clock.now();
        let (facts, mark) = self.refusals.facts(asked, now)?;
        let settings = &self.settings.register;
        let prepared = Prepared::new(request.clone(), &settings.attest.limits).ok()?;
        let fresh = ports::fresh(&NoDice);
        let decided = register::register(&facts, &prepared, settings, now, &fresh);
        let told = match decided.answer {
            Decision::Refuse(refusal) if is_lasting(&refusal) => Err(No::Refused(refusal)),
            Decision::Settle(settlement) => {
                let attest = &settings.attest;
                let (operation, record) =
                    trace.told_before(&facts, &prepared, &settlement, attest, now)?;
                Ok(Registered { operation, record, steps: Vec::new() })
            }
            Decision::Refuse(_) | Decision::Ask(_) => return None,
        };
        trace.prepared(&prepared);
        trace.reading(|| mark);
        trace.steps = decided.steps;
        trace.is_known = is_known(&facts);
        Some(told)
    }
}

/// Whether the device may be refused because a clock is wrong, its own or that of whoever issued its
/// certificate: then time alone makes it right, and nobody tells us.
pub(crate) const fn may_be_a_clock(refusal: &DeviceRefusal) -> bool {
    match refusal {
        DeviceRefusal::NotAttested(AttestFailure::TokenExpired | AttestFailure::NotYetValid(_)) => {
            true
        }
        DeviceRefusal::NotAttested(_)
        | DeviceRefusal::UnknownIdScope
        | DeviceRefusal::NotEnrolled
        | DeviceRefusal::TpmNotEnrolled
        | DeviceRefusal::Banned { .. }
        | DeviceRefusal::UnknownOperation
        | DeviceRefusal::NotRegistered
        | DeviceRefusal::Conflict
        | DeviceRefusal::TooManyRegistrations(_)
        | DeviceRefusal::AddressRefused(_)
        | DeviceRefusal::Throttled(_)
        | DeviceRefusal::BadRequest(_) => false,
    }
}

/// Whether asking again at once is of no use to the device.
pub(crate) const fn is_lasting(refusal: &DeviceRefusal) -> bool {
    match refusal {
        DeviceRefusal::UnknownIdScope
        | DeviceRefusal::NotEnrolled
        | DeviceRefusal::TpmNotEnrolled
        | DeviceRefusal::NotAttested(_)
        | DeviceRefusal::Banned { .. } => true,
        // They are of this moment, or have a time to wait of their own, or are no refusals of a
        // registration.
        DeviceRefusal::UnknownOperation
        | DeviceRefusal::NotRegistered
        | DeviceRefusal::Conflict
        | DeviceRefusal::TooManyRegistrations(_)
        | DeviceRefusal::AddressRefused(_)
        | DeviceRefusal::Throttled(_)
        | DeviceRefusal::BadRequest(_) => false,
    }
}
