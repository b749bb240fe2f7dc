//! A TPM is challenged, and answers (D §1.10, §3.3, §5.5).
//!
//! Over HTTPS the store remembers what was asked, because the answer comes in a request of its own;
//! over AMQP the connection does. What deliberately does not live here: who is challenged
//! (`decide::tpm`), and what a challenge is made of (`attest::tpm`).

use decide::{attestation, register::Prepared, tpm};
use model::{
    AttestFailure, Change, ChangeSet, DeviceRefusal, RegisterRequest, RegistrationId, SasToken,
    Step, Timestamp, TpmChallenge, TpmKeys,
};
use store::{Store, StoreFault};
use tracing::info;

use crate::{App, Attempt, No, attempted, refusals::trace::Trace, unless_conflict};

impl App {
    /// Challenges the TPM whose keys are the request's evidence, if it is enrolled: the blob that
    /// only this TPM can take the challenge's key out of. The challenge is durable when this
    /// returns, so an answer can come by any connection, also after a restart.
    ///
    /// # Errors
    /// [`DeviceRefusal`], or a fault of the store.
    pub async fn challenge_tpm(
        &self,
        scope: &str,
        request: RegisterRequest,
    ) -> Result<Vec<u8>, No<DeviceRefusal>> {
        self.challenge_tpm_traced(scope, request, &mut Trace::unwanted()).await
    }

    /// [`Self::challenge_tpm`], leaving behind how it was decided.
    pub(crate) async fn challenge_tpm_traced(
        &self,
        scope: &str,
        request: RegisterRequest,
        trace: &mut Trace,
    ) -> Result<Vec<u8>, No<DeviceRefusal>> {
        self.check_scope(scope)?;
        let settings = &self.settings.register.attest;
        let prepared = Prepared::new(request, &settings.limits).map_err(No::Refused)?;
        trace.prepared(&prepared);
        let id = &prepared.request().registration_id;
        trace.reading(|| self.refusals.mark(id));
        let facts = self.register_facts(&prepared).await?;
        let now = self.clock.now();
        let decided = tpm::challenge(&facts, &prepared, settings, now, &self.fresh());
        let challenge = match decided.answer {
            Ok(challenge) => {
                trace.steps = decided.steps;
                challenge
            }
            Err(refusal) => {
                tell_why(id, &decided.steps);
                trace.refused(&facts, &prepared, &refusal, settings, now);
                trace.steps = decided.steps;
                return Err(No::Refused(refusal));
            }
        };
        if challenge.changes.changes.is_empty() {
            return Ok(challenge.blob);
        }
        match attempted(self.commit(challenge.changes).await)? {
            Attempt::Done => Ok(challenge.blob),
            // It expects nothing, so no store says so.
            Attempt::Again => Err(No::Refused(DeviceRefusal::Conflict)),
        }
    }

    /// Challenges a TPM on a connection that remembers what it asked. Neither ID scope nor enrollment
    /// is looked at: one client never hears of what is refused before its challenge, and waits for
    /// ever (npm `azure-iot-provisioning-device-amqp` 1.9.1). Both are looked at when the device registers with [`model::Evidence::TpmAnswer`]. Gives the
    /// challenge and the blob for the device.
    ///
    /// # Errors
    /// [`DeviceRefusal`]: the keys are not those of a TPM that can be challenged.
    pub fn challenge_tpm_here(
        &self,
        registration_id: &RegistrationId,
        keys: TpmKeys,
    ) -> Result<(TpmChallenge, Vec<u8>), DeviceRefusal> {
        let settings = &self.settings.register.attest;
        tpm::pose(registration_id, keys, settings, self.clock.now(), &self.fresh())
    }

    /// Whether a token answers a challenge: it is the device's, in the scope it asks for, its time
    /// and the challenge's are not over, and it is signed with the challenge's key.
    ///
    /// # Errors
    /// [`AttestFailure`]
    pub fn check_tpm_answer(
        &self,
        challenge: &TpmChallenge,
        token: &SasToken,
        scope: &str,
    ) -> Result<(), AttestFailure> {
        self.check_device_token(token, scope, &challenge.registration_id)?;
        attestation::check_answer(challenge, token, self.clock.now())
    }

    /// Forgets challenges that nobody can answer or poll with any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_expired_challenges(&self) -> Result<(), StoreFault> {
        end_expired_challenges(&*self.store, self.clock.now()).await
    }
}

/// [`App::end_expired_challenges`] for a chore that holds the store alone. No live session rests on
/// a challenge.
///
/// # Errors
/// The store's.
pub async fn end_expired_challenges(store: &dyn Store, now: Timestamp) -> Result<(), StoreFault> {
    let over = Change::TrimTpmChallenges(tpm::forgotten_before(now));
    // It expects nothing, so no store says that something has changed.
    unless_conflict(store.commit(ChangeSet::new().with(over)).await).map(drop)
}

/// Tells the log what the device is not told: it hears the same whatever the reason is.
fn tell_why(id: &RegistrationId, steps: &[Step]) {
    for step in steps {
        if let Step::AttestationFailed(why) = step {
            info!(registration.id = %id, "did not challenge the TPM `{id}`: {why}");
        }
    }
}
