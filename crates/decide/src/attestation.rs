//! Which entry decides about a device, and whether the device proved itself to it.
//!
//! The order is D §5.1 to §5.4: the individual enrollment of the registration ID first, whatever
//! its type; then groups, from the certificate that signed the leaf upward, where the first
//! certificate with a group decides even when that group is disabled; symmetric-key groups by
//! derived keys; groups of TPMs, an extension, by the chain of the endorsement key's certificate.

use attest::{
    chain::{self, VerifiedPath},
    sas,
};
use model::{
    AttestFailure, AttestationKind, AttestationMechanism, AuthenticationKind, DeviceAuthentication,
    DeviceId, DeviceRefusal, EnrollmentGroup, EnrollmentRef, Fresh, Grounds, HubName, IdScope,
    IndividualEnrollment, RegisterFacts, RegistrationId, SasToken, Step, SymmetricKey,
    SymmetricKeys, Terms, Timestamp,
};

use self::{
    bearer::{Asked, Bearer, Proof, banned},
    tpm::Answer,
};
use crate::ban::InForce;

mod bearer;
mod besides;
mod groups;
mod known;
mod limits;
mod shown;
mod tpm;

pub(crate) use self::tpm::{Wrapping, parse_chain};
pub use self::{
    besides::besides,
    known::{Known, Unknown, known},
    limits::next_change,
    shown::Shown,
    tpm::check_answer,
};

/// What attestation needs to know besides the facts.
#[derive(Debug, Clone)]
pub struct AttestSettings {
    /// Our ID scope: tokens must name it.
    pub id_scope: IdScope,
    /// How many seconds a device's clock may be off.
    pub clock_skew_secs: i64,
    /// How much of a chain is looked at.
    pub limits: chain::Limits,
}

/// Proof that evidence satisfied the mechanism of the entry that decides. Only
/// [`authenticate`] makes one, so allocating for an unproven device does not compile.
#[derive(Debug)]
pub struct Attested<'a> {
    entry: Entry<'a>,
    credential: Credential,
    grounds: Grounds,
}

/// The entry that decides.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// An individual enrollment.
    Individual(&'a IndividualEnrollment),
    /// A group.
    Group(&'a EnrollmentGroup),
}

/// What a device proved itself with, as its hub will know it.
#[derive(Debug, Clone)]
enum Credential {
    Keys(SymmetricKeys),
    Thumbprints {
        primary: String,
        secondary: String,
    },
    /// The keys that a new one is wrapped for.
    Tpm(Box<Wrapping>),
}

impl<'a> Attested<'a> {
    /// The entry that decides.
    #[must_use]
    pub const fn entry(&self) -> Entry<'a> {
        self.entry
    }

    /// The terms of the entry that decides.
    #[must_use]
    pub const fn terms(&self) -> &'a Terms {
        match self.entry {
            Entry::Individual(enrollment) => &enrollment.terms,
            Entry::Group(group) => &group.terms,
        }
    }

    /// What the admission rests on: enough to ask again whether the device would be admitted, and to
    /// find it by what it rests on.
    #[must_use]
    pub const fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// The name of the entry that decides.
    #[must_use]
    pub fn enrollment(&self) -> EnrollmentRef {
        match self.entry {
            Entry::Individual(e) => EnrollmentRef::Individual(e.registration_id.clone()),
            Entry::Group(g) => EnrollmentRef::Group(g.group_id.clone()),
        }
    }

    /// What kind of evidence was accepted.
    #[must_use]
    pub const fn kind(&self) -> AttestationKind {
        match self.credential {
            Credential::Keys(_) => AttestationKind::SymmetricKey,
            Credential::Thumbprints { .. } => AttestationKind::X509,
            Credential::Tpm(_) => AttestationKind::Tpm,
        }
    }

    /// How the device will log in to its hub (D §5.8, H §8): with the same keys; with the
    /// thumbprint of the leaf it presented, for groups too; or, a TPM, with a new key, which
    /// [`Self::wrapped_hub_key`] takes to it. Only the primary one gets there: the secondary is
    /// as random, and nobody has it.
    #[must_use]
    pub fn hub_authentication(&self, fresh: &Fresh) -> DeviceAuthentication {
        match &self.credential {
            Credential::Keys(keys) => DeviceAuthentication {
                kind: AuthenticationKind::Sas,
                keys: Some(keys.clone()),
                primary_thumbprint: None,
                secondary_thumbprint: None,
            },
            Credential::Thumbprints { primary, secondary } => DeviceAuthentication {
                kind: AuthenticationKind::SelfSigned,
                keys: None,
                primary_thumbprint: Some(primary.clone()),
                secondary_thumbprint: Some(secondary.clone()),
            },
            Credential::Tpm(_) => DeviceAuthentication {
                kind: AuthenticationKind::Sas,
                keys: Some(SymmetricKeys {
                    primary: SymmetricKey::derived(&fresh.tpm.key),
                    secondary: SymmetricKey::generated(&fresh.secondary_key),
                }),
                primary_thumbprint: None,
                secondary_thumbprint: None,
            },
        }
    }

    /// The primary key of [`Self::hub_authentication`], of the same random bytes, wrapped for the
    /// TPM that proved itself; nothing for other devices.
    ///
    /// # Errors
    /// [`AttestFailure::BadTpmKey`] if a key cannot be wrapped, which the challenge would have
    /// shown before.
    pub fn wrapped_hub_key(
        &self,
        hub: &HubName,
        device_id: &DeviceId,
        fresh: &Fresh,
    ) -> Result<Option<Vec<u8>>, AttestFailure> {
        match &self.credential {
            Credential::Keys(_) | Credential::Thumbprints { .. } => Ok(None),
            Credential::Tpm(wrapping) => {
                let purpose = format!("{hub}/devices/{device_id}");
                wrapping.wrap(&purpose, &fresh.tpm.key, fresh).map(Some)
            }
        }
    }
}

/// Finds the entry that decides about a device and checks its evidence against it. A ban outranks
/// every entry.
///
/// Whether that entry is enabled is not looked at: a poll needs the proof alone.
///
/// # Errors
/// [`DeviceRefusal`]: a ban, nothing matches, or the evidence does not satisfy what does.
pub fn authenticate<'a>(
    facts: &'a RegisterFacts,
    registration_id: &RegistrationId,
    shown: &Shown,
    settings: &AttestSettings,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    authenticate_since(facts, registration_id, shown, settings, (now, now), steps)
}

/// [`authenticate`] where the evidence must hold at one moment and bans count at another: a poll's
/// token was valid when its operation began.
///
/// # Errors
/// As [`authenticate`].
pub(crate) fn authenticate_since<'a>(
    facts: &'a RegisterFacts,
    registration_id: &RegistrationId,
    shown: &Shown,
    settings: &AttestSettings,
    (proven_at, now): (Timestamp, Timestamp),
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    let asked = Asked { registration_id, settings, now: proven_at };
    let door = Door { facts, asked, now, is_tpm: shown.is_tpm() };
    door.decide(|| Proof::of(shown, facts, &asked).map_err(DeviceRefusal::NotAttested), steps)
}

/// Whether a TPM with these keys would be admitted, or told that it is disabled, if it answered a
/// challenge: the same decision as will be made about its answer. Gives the keys to wrap the
/// challenge's for.
///
/// # Errors
/// [`DeviceRefusal`]
pub(crate) fn would_admit(
    facts: &RegisterFacts,
    registration_id: &RegistrationId,
    shown: &Shown,
    settings: &AttestSettings,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> Result<Wrapping, DeviceRefusal> {
    let asked = Asked { registration_id, settings, now };
    let proof = || match shown {
        Shown::Tpm(shown) => Ok(Proof::Tpm(Box::new(shown.tpm(Answer::ToCome)))),
        Shown::X509(_) | Shown::Sas(_) | Shown::TpmAnswer(_) | Shown::Nothing => {
            Err(DeviceRefusal::NotAttested(AttestFailure::NoEvidence))
        }
    };
    let door = Door { facts, asked, now, is_tpm: true };
    match door.decide(proof, steps)?.credential {
        Credential::Tpm(wrapping) => Ok(*wrapping),
        Credential::Keys(_) | Credential::Thumbprints { .. } => Err(DeviceRefusal::TpmNotEnrolled),
    }
}

/// Where the decision is made, whatever is proven how.
struct Door<'a, 'b> {
    facts: &'a RegisterFacts,
    asked: Asked<'b>,
    /// When bans count.
    now: Timestamp,
    is_tpm: bool,
}

impl<'a> Door<'a, '_> {
    fn decide<'p>(
        &self,
        proof: impl FnOnce() -> Result<Proof<'p>, DeviceRefusal>,
        steps: &mut Vec<Step>,
    ) -> Result<Attested<'a>, DeviceRefusal> {
        let Self { facts, asked, now, is_tpm } = *self;
        let individual = facts.individual.as_ref();
        let registration_id = asked.registration_id.clone();
        steps.push(Step::LookedUpIndividual { registration_id, found: individual.is_some() });
        let bans = InForce::new(&facts.bans, now);
        if let Some(ban) = bans.on_registration(asked.registration_id, individual.is_some()) {
            return Err(banned(ban, is_tpm, steps));
        }
        let outcome = proof().and_then(|proof| {
            let bearer = Bearer { asked, proof, bans: &bans, crls: &facts.crls };
            bearer.check_shown(steps)?;
            match individual {
                Some(enrollment) => by_individual(enrollment, facts, &bearer, steps),
                None => groups::by_groups(facts, &bearer, steps),
            }
        });
        if let Err(DeviceRefusal::NotAttested(failure)) = &outcome {
            steps.push(Step::AttestationFailed(failure.clone()));
        }
        outcome
    }
}

/// Checks what a token says of itself: for which device it is, in the ID scope the device asks for,
/// and until when. Needs no facts, so a door can refuse before it reads any; who signed the token,
/// and whether that scope is ours, is not looked at here.
///
/// # Errors
/// [`AttestFailure::WrongResource`], [`AttestFailure::TokenExpired`].
pub fn check_claims(
    token: &SasToken,
    scope: &str,
    registration_id: &RegistrationId,
    settings: &AttestSettings,
    now: Timestamp,
) -> Result<(), AttestFailure> {
    sas::check_device_resource(token, scope, registration_id)?;
    sas::check_expiry(token, now, settings.clock_skew_secs)
}

fn by_individual<'a>(
    enrollment: &'a IndividualEnrollment,
    facts: &'a RegisterFacts,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    steps.push(Step::IndividualDecides {
        registration_id: enrollment.registration_id.clone(),
        kind: enrollment.terms.attestation.kind(),
    });
    let entry = Entry::Individual(enrollment);
    match check_individual(enrollment, facts, bearer, steps) {
        Ok((credential, grounds)) => Ok(Attested { entry, credential, grounds }),
        // A disabled entry of another kind is how one device of a group is shut out without its
        // certificate. A caller who proves nothing learns nothing, so the group's credential is
        // checked before the device is told that it is disabled (D appendix D8).
        Err(DeviceRefusal::NotAttested(AttestFailure::WrongKind))
            if !enrollment.terms.is_enabled() =>
        {
            match groups::by_groups(facts, bearer, steps) {
                Ok(attested) => Ok(Attested { entry, ..attested }),
                Err(banned @ DeviceRefusal::Banned { .. }) => Err(banned),
                Err(_) => Err(bearer.wrong_kind()),
            }
        }
        Err(DeviceRefusal::NotAttested(AttestFailure::WrongKind)) => Err(bearer.wrong_kind()),
        // Whoever makes up a TPM must not learn of which IDs there are entries for others.
        Err(DeviceRefusal::NotAttested(failure @ AttestFailure::WrongEndorsementKey)) => {
            steps.push(Step::AttestationFailed(failure));
            Err(DeviceRefusal::TpmNotEnrolled)
        }
        Err(refusal) => Err(refusal),
    }
}

fn check_individual(
    enrollment: &IndividualEnrollment,
    facts: &RegisterFacts,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<(Credential, Grounds), DeviceRefusal> {
    let failed = DeviceRefusal::NotAttested;
    match (&enrollment.terms.attestation, &bearer.proof) {
        (_, Proof::Nothing) => Err(failed(AttestFailure::NoEvidence)),
        (AttestationMechanism::SymmetricKey(keys), Proof::Token(_) | Proof::Key(_)) => {
            let slot = bearer.matching_slot(keys).unwrap_or(Err(AttestFailure::WrongKind));
            let slot = slot.map_err(failed)?;
            steps.push(Step::Attested { by: format!("the {} key", slot.name()) });
            Ok((Credential::Keys(keys.clone()), bearer.grounds(Some(slot), Vec::new())))
        }
        (AttestationMechanism::X509Client(slots), Proof::X509(presented)) => {
            bearer.check_common_name(presented).map_err(failed)?;
            let slot =
                chain::match_thumbprint(presented, slots, bearer.asked.now).map_err(failed)?;
            let leaf = VerifiedPath::of_leaf(presented);
            let stored = groups::certificates_of_devices(facts);
            let path = bearer.rests_on(leaf, presented, &stored, None, steps)?;
            steps.push(Step::Attested { by: format!("the {} certificate", slot.name()) });
            let primary = presented.leaf_thumbprint_hex();
            // The other slot holds the other enrolled certificate, or the same when there is
            // only one (D §5.8).
            let secondary = slots
                .iter()
                .map(|certificate| &certificate.info.sha256_thumbprint)
                .find(|thumbprint| **thumbprint != primary)
                .unwrap_or(&primary)
                .clone();
            let credential = Credential::Thumbprints { primary, secondary };
            Ok((credential, bearer.grounds(Some(slot), path)))
        }
        (AttestationMechanism::Tpm(enrolled), Proof::Tpm(tpm)) => {
            let (wrapping, path) = tpm.check_individual(enrolled, facts, bearer, steps)?;
            steps.push(Step::Attested { by: "the enrolled endorsement key".to_owned() });
            Ok((Credential::Tpm(Box::new(wrapping)), bearer.grounds(None, path)))
        }
        // It may be a TPM's answer to a challenge that is over: no key fits, as with any token.
        (AttestationMechanism::Tpm(_), Proof::Token(token)) if enrollment.terms.is_enabled() => {
            bearer.check_token(token).map_err(failed)?;
            Err(failed(AttestFailure::BadSignature))
        }
        _ => Err(failed(AttestFailure::WrongKind)),
    }
}
