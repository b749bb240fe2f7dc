//! Which entry decides about a device, and whether the device proved itself to it.
//!
//! The order is D §5.1 to §5.4: the individual enrollment of the registration ID first, whatever
//! its type; then groups, from the certificate that signed the leaf upward, where the first
//! certificate with a group decides even when that group is disabled; symmetric-key groups by
//! derived keys; groups of TPMs, an extension, by the chain of the endorsement key's certificate.

use attest::{
    chain::{self, Presented},
    sas,
};
use model::{
    AttestFailure, AttestationKind, AttestationMechanism, AuthenticationKind, DeviceAuthentication,
    DeviceId, DeviceRefusal, EnrollmentGroup, EnrollmentRef, Evidence, Fresh, HubName, IdScope,
    IndividualEnrollment, RegisterFacts, RegistrationId, SasToken, Step, SymmetricKey,
    SymmetricKeys, Terms, Timestamp, TpmKeys,
};

use self::tpm::{Answer, Answered, ShownTpm, Tpm};

mod groups;
mod tpm;

pub use self::tpm::check_answer;
pub(crate) use self::tpm::{Wrapping, parse_chain};

/// Evidence, parsed once: before the facts are read, because it says which groups to read.
#[derive(Debug)]
pub enum Shown {
    /// A certificate chain.
    X509(Box<Presented>),
    /// A shared access signature.
    Sas(SasToken),
    /// A TPM's keys, which prove nothing.
    Tpm(Box<ShownTpm>),
    /// A TPM's answer to a challenge.
    TpmAnswer(Box<Answered>),
    /// Nothing.
    Nothing,
}

impl Shown {
    /// Parses evidence.
    ///
    /// # Errors
    /// [`AttestFailure`] when a certificate cannot be parsed or is beyond the limits;
    /// [`AttestFailure::BadTpmKey`] for one of an endorsement key.
    pub fn parse(evidence: &Evidence, limits: &chain::Limits) -> Result<Self, AttestFailure> {
        Ok(match evidence {
            Evidence::X509(certificates) => {
                Self::X509(Box::new(Presented::parse(certificates, limits)?))
            }
            Evidence::Sas(token) => Self::Sas(token.clone()),
            Evidence::Tpm(keys) => Self::Tpm(Box::new(ShownTpm::parse(keys, limits)?)),
            Evidence::TpmAnswer { challenge, token } => {
                Self::TpmAnswer(Box::new(Answered::parse(challenge, token, limits)?))
            }
            Evidence::Nothing => Self::Nothing,
        })
    }

    /// Which groups could admit its bearer.
    #[must_use]
    pub fn group_query(&self) -> model::GroupQuery {
        let by_chain = |presented: Option<&Presented>| match presented {
            Some(presented) => model::GroupQuery::ByCa { subjects: presented.name_hashes() },
            None => model::GroupQuery::None,
        };
        match self {
            Self::X509(presented) => by_chain(Some(presented)),
            Self::Sas(_) => model::GroupQuery::BySymmetricKey,
            Self::Tpm(shown) => by_chain(shown.endorsement.as_ref()),
            Self::TpmAnswer(answered) => by_chain(answered.endorsement.as_ref()),
            Self::Nothing => model::GroupQuery::None,
        }
    }

    /// What the groups of a TPM's certificates are found by.
    pub(crate) fn endorsement_names(&self) -> Vec<[u8; 32]> {
        match self.group_query() {
            model::GroupQuery::ByCa { subjects } => subjects,
            model::GroupQuery::BySymmetricKey | model::GroupQuery::None => Vec::new(),
        }
    }

    /// The keys, where these are a TPM's that has not been challenged.
    pub(crate) fn tpm_keys(&self) -> Option<&TpmKeys> {
        match self {
            Self::Tpm(shown) => Some(&shown.keys),
            Self::X509(_) | Self::Sas(_) | Self::TpmAnswer(_) | Self::Nothing => None,
        }
    }
}

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

/// Finds the entry that decides about a device and checks its evidence against it.
///
/// Whether that entry is enabled is not looked at: a poll needs the proof alone.
///
/// # Errors
/// [`DeviceRefusal`]: nothing matches, or the evidence does not satisfy what does.
pub fn authenticate<'a>(
    facts: &'a RegisterFacts,
    registration_id: &RegistrationId,
    shown: &Shown,
    settings: &AttestSettings,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    let asked = Asked { registration_id, settings, now };
    let proof = Proof::of(shown, facts, &asked).map_err(DeviceRefusal::NotAttested);
    decide(facts, asked, proof, steps)
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
    let proof = match shown {
        Shown::Tpm(shown) => Ok(Proof::Tpm(Box::new(shown.tpm(Answer::ToCome)))),
        Shown::X509(_) | Shown::Sas(_) | Shown::TpmAnswer(_) | Shown::Nothing => {
            Err(DeviceRefusal::NotAttested(AttestFailure::NoEvidence))
        }
    };
    match decide(facts, asked, proof, steps)?.credential {
        Credential::Tpm(wrapping) => Ok(*wrapping),
        Credential::Keys(_) | Credential::Thumbprints { .. } => Err(DeviceRefusal::TpmNotEnrolled),
    }
}

fn decide<'a>(
    facts: &'a RegisterFacts,
    asked: Asked<'_>,
    proof: Result<Proof<'_>, DeviceRefusal>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    steps.push(Step::LookedUpIndividual {
        registration_id: asked.registration_id.clone(),
        found: facts.individual.is_some(),
    });
    let outcome = proof.and_then(|proof| {
        let bearer = Bearer { asked, proof };
        match &facts.individual {
            Some(enrollment) => by_individual(enrollment, facts, &bearer, steps),
            None => groups::by_groups(facts, &bearer, steps),
        }
    });
    if let Err(DeviceRefusal::NotAttested(failure)) = &outcome {
        steps.push(Step::AttestationFailed(failure.clone()));
    }
    outcome
}

/// What is asked, by whom and when.
#[derive(Clone, Copy)]
struct Asked<'b> {
    registration_id: &'b RegistrationId,
    settings: &'b AttestSettings,
    now: Timestamp,
}

/// Who stands at the door.
struct Bearer<'b> {
    asked: Asked<'b>,
    proof: Proof<'b>,
}

/// What the evidence turns out to be, once the facts are known.
enum Proof<'b> {
    X509(&'b Presented),
    Token(&'b SasToken),
    Tpm(Box<Tpm<'b>>),
    Nothing,
}

impl<'b> Proof<'b> {
    /// A token that is signed with the key of a challenge is a TPM's, whatever else it could be.
    fn of(
        shown: &'b Shown,
        facts: &'b RegisterFacts,
        asked: &Asked<'_>,
    ) -> Result<Self, AttestFailure> {
        Ok(match shown {
            Shown::X509(presented) => Self::X509(presented),
            Shown::Sas(token) => match Tpm::of_token(token, facts, asked)? {
                Some(tpm) => Self::Tpm(Box::new(tpm)),
                None => Self::Token(token),
            },
            Shown::Tpm(shown) => Self::Tpm(Box::new(shown.tpm(Answer::Missing))),
            Shown::TpmAnswer(answered) => Self::Tpm(Box::new(answered.tpm(asked)?)),
            Shown::Nothing => Self::Nothing,
        })
    }

    const fn kind(&self) -> Option<AttestationKind> {
        match self {
            Self::X509(_) => Some(AttestationKind::X509),
            Self::Token(_) => Some(AttestationKind::SymmetricKey),
            Self::Tpm(_) => Some(AttestationKind::Tpm),
            Self::Nothing => None,
        }
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

impl Bearer<'_> {
    /// Checks what holds for every token, whoever decides: resource and expiry.
    fn check_token(&self, token: &SasToken) -> Result<(), AttestFailure> {
        let Asked { registration_id, settings, now } = self.asked;
        check_claims(token, settings.id_scope.as_str(), registration_id, settings, now)
    }

    /// Checks what holds for every certificate, whoever decides: the leaf has one common name and
    /// it is the registration ID (D §5.2).
    fn check_common_name(&self, presented: &Presented) -> Result<(), AttestFailure> {
        let name = presented.leaf_common_name()?;
        if name.eq_ignore_ascii_case(self.asked.registration_id.as_str()) {
            Ok(())
        } else {
            let name: String = name.chars().take(64).collect();
            Err(AttestFailure::CommonName(format!("it is {name:?}")))
        }
    }

    /// What the bearer of another kind of evidence hears than an individual entry wants. To a TPM
    /// client a 401 is a challenge; and which IDs are enrolled is nothing that a TPM may ask.
    fn wrong_kind(&self) -> DeviceRefusal {
        match self.proof {
            Proof::Tpm(_) => DeviceRefusal::TpmNotEnrolled,
            Proof::X509(_) | Proof::Token(_) | Proof::Nothing => {
                DeviceRefusal::NotAttested(AttestFailure::WrongKind)
            }
        }
    }
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
    match check_individual(enrollment, bearer, steps) {
        Ok(credential) => Ok(Attested { entry, credential }),
        // A disabled entry of another kind is how one device of a group is shut out without its
        // certificate. A caller who proves nothing learns nothing, so the group's credential is
        // checked before the device is told that it is disabled (D appendix D8).
        Err(AttestFailure::WrongKind) if !enrollment.terms.is_enabled() => {
            match groups::by_groups(facts, bearer, steps) {
                Ok(Attested { credential, .. }) => Ok(Attested { entry, credential }),
                Err(_) => Err(bearer.wrong_kind()),
            }
        }
        Err(AttestFailure::WrongKind) => Err(bearer.wrong_kind()),
        // Whoever makes up a TPM must not learn of which IDs there are entries for others.
        Err(failure @ AttestFailure::WrongEndorsementKey) => {
            steps.push(Step::AttestationFailed(failure));
            Err(DeviceRefusal::TpmNotEnrolled)
        }
        Err(failure) => Err(DeviceRefusal::NotAttested(failure)),
    }
}

fn check_individual(
    enrollment: &IndividualEnrollment,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Credential, AttestFailure> {
    match (&enrollment.terms.attestation, &bearer.proof) {
        (_, Proof::Nothing) => Err(AttestFailure::NoEvidence),
        (AttestationMechanism::SymmetricKey(keys), Proof::Token(token)) => {
            bearer.check_token(token)?;
            let slot = sas::verify_signature(token, keys)?;
            steps.push(Step::Attested { by: format!("the {} key", slot.name()) });
            Ok(Credential::Keys(keys.clone()))
        }
        (AttestationMechanism::X509Client(slots), Proof::X509(presented)) => {
            bearer.check_common_name(presented)?;
            let slot = chain::match_thumbprint(presented, slots, bearer.asked.now)?;
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
            Ok(Credential::Thumbprints { primary, secondary })
        }
        (AttestationMechanism::Tpm(enrolled), Proof::Tpm(tpm)) => {
            let wrapping = tpm.check_individual(enrolled, bearer)?;
            steps.push(Step::Attested { by: "the enrolled endorsement key".to_owned() });
            Ok(Credential::Tpm(Box::new(wrapping)))
        }
        // It may be a TPM's answer to a challenge that is over: no key fits, as with any token.
        (AttestationMechanism::Tpm(_), Proof::Token(token)) if enrollment.terms.is_enabled() => {
            bearer.check_token(token)?;
            Err(AttestFailure::BadSignature)
        }
        _ => Err(AttestFailure::WrongKind),
    }
}
