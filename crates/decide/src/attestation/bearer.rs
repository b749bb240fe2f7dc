//! Who stands at the door: what is asked, and with what proof.

use attest::{
    chain::{Presented, VerifiedPath},
    sas::{self, Slot},
};
use model::{
    AttestFailure, AttestationKind, Ban, CrlFacts, DeviceRefusal, EnrolledCertificate, Grounds,
    KnownProof, PathCertificate, RegisterFacts, RegistrationId, SasToken, StaleCrl, Step,
    SymmetricKey, SymmetricKeys, Timestamp,
};

use super::{
    AttestSettings, Shown, check_claims,
    tpm::{Answer, Tpm},
};
use crate::{ban::InForce, revocation};

/// What is asked, by whom and when.
#[derive(Clone, Copy)]
pub(super) struct Asked<'b> {
    pub(super) registration_id: &'b RegistrationId,
    pub(super) settings: &'b AttestSettings,
    /// The moment the evidence must hold at: for a poll, when its operation began.
    pub(super) now: Timestamp,
}

/// Who stands at the door.
pub(super) struct Bearer<'b> {
    pub(super) asked: Asked<'b>,
    pub(super) proof: Proof<'b>,
    pub(super) bans: &'b InForce<'b>,
    pub(super) crls: &'b [CrlFacts],
}

/// What the evidence turns out to be, once the facts are known.
pub(super) enum Proof<'b> {
    X509(&'b Presented),
    Token(&'b SasToken),
    /// A key that the device is known to sign with.
    Key(&'b SymmetricKey),
    Tpm(Box<Tpm<'b>>),
    Nothing,
}

impl<'b> Proof<'b> {
    /// A token that is signed with the key of a challenge is a TPM's, whatever else it could be.
    pub(super) fn of(
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

    pub(super) const fn kind(&self) -> Option<AttestationKind> {
        match self {
            Self::X509(_) => Some(AttestationKind::X509),
            Self::Token(_) | Self::Key(_) => Some(AttestationKind::SymmetricKey),
            Self::Tpm(_) => Some(AttestationKind::Tpm),
            Self::Nothing => None,
        }
    }

    const fn is_tpm(&self) -> bool {
        matches!(self, Self::Tpm(_))
    }
}

impl Bearer<'_> {
    /// Checks what holds for every token, whoever decides: resource and expiry.
    pub(super) fn check_token(&self, token: &SasToken) -> Result<(), AttestFailure> {
        let Asked { registration_id, settings, now } = self.asked;
        check_claims(token, settings.id_scope.as_str(), registration_id, settings, now)
    }

    /// Which of these keys the device proves to have, if it proves itself with a key.
    pub(super) fn matching_slot(
        &self,
        keys: &SymmetricKeys,
    ) -> Option<Result<Slot, AttestFailure>> {
        match &self.proof {
            Proof::Token(token) => {
                Some(self.check_token(token).and_then(|()| sas::verify_signature(token, keys)))
            }
            Proof::Key(key) => Some(sas::match_key(key, keys)),
            Proof::X509(_) | Proof::Tpm(_) | Proof::Nothing => None,
        }
    }

    /// Checks what holds for every certificate, whoever decides: the leaf has one common name and
    /// it is the registration ID (D §5.2).
    pub(super) fn check_common_name(&self, presented: &Presented) -> Result<(), AttestFailure> {
        let name = presented.leaf_common_name()?;
        if name.eq_ignore_ascii_case(self.asked.registration_id.as_str()) {
            Ok(())
        } else {
            let name: String = name.chars().take(64).collect();
            Err(AttestFailure::CommonName(format!("it is {name:?}")))
        }
    }

    /// Checks that no ban is about what the device shows, before any of it is verified.
    pub(super) fn check_shown(&self, steps: &mut Vec<Step>) -> Result<(), DeviceRefusal> {
        if self.bans.is_empty() {
            return Ok(());
        }
        let ban = match &self.proof {
            Proof::X509(presented) => self.bans.on_certificates(&presented.path_certificates()),
            Proof::Tpm(tpm) => {
                let shown = tpm.endorsement().map(Presented::path_certificates);
                let bans = self.bans;
                bans.on_endorsement_key(tpm.endorsement_key())
                    .or_else(|| bans.on_certificates(&shown.unwrap_or_default()))
            }
            Proof::Token(_) | Proof::Key(_) | Proof::Nothing => None,
        };
        ban.map_or(Ok(()), |ban| Err(self.banned(ban, steps)))
    }

    /// What the device rests on, of all that is known: the verified path, and on from its end over
    /// the certificates that were presented, those of ours, and those of banned CAs and of
    /// revocation lists, by their signatures. So nobody steps around the ban on a CA by leaving its
    /// certificate out. `stale` says what becomes of the device when a revocation list is out of
    /// date.
    ///
    /// # Errors
    /// [`DeviceRefusal::Banned`] when a ban is about any of it; what [`revocation::check`] says.
    pub(super) fn rests_on(
        &self,
        verified: VerifiedPath,
        presented: &Presented,
        stored: &[&EnrolledCertificate],
        stale: Option<StaleCrl>,
        steps: &mut Vec<Step>,
    ) -> Result<Vec<PathCertificate>, DeviceRefusal> {
        let watched: Vec<_> = self.bans.cas().chain(revocation::cas(self.crls)).collect();
        let path =
            verified.ascend(presented, stored, &watched).map_err(DeviceRefusal::NotAttested)?;
        if let Some(ban) = self.bans.on_certificates(&path) {
            return Err(self.banned(ban, steps));
        }
        revocation::check(&path, self.crls, stale, self.asked.now, steps)
            .map_err(DeviceRefusal::NotAttested)?;
        Ok(path)
    }

    /// What an admission by this proof rests on.
    pub(super) fn grounds(&self, slot: Option<Slot>, path: Vec<PathCertificate>) -> Grounds {
        let proof = match &self.proof {
            Proof::X509(presented) => KnownProof::Certificates(presented.ders()),
            Proof::Tpm(tpm) => tpm.known(),
            Proof::Token(_) | Proof::Key(_) | Proof::Nothing => {
                KnownProof::Key { is_primary: slot == Some(Slot::Primary) }
            }
        };
        Grounds { proof, path }
    }

    /// What the bearer of another kind of evidence hears than an individual entry wants. To a TPM
    /// client a 401 is a challenge; and which IDs are enrolled is nothing that a TPM may ask.
    pub(super) const fn wrong_kind(&self) -> DeviceRefusal {
        match self.proof {
            Proof::Tpm(_) => DeviceRefusal::TpmNotEnrolled,
            Proof::X509(_) | Proof::Token(_) | Proof::Key(_) | Proof::Nothing => {
                DeviceRefusal::NotAttested(AttestFailure::WrongKind)
            }
        }
    }

    fn banned(&self, ban: &Ban, steps: &mut Vec<Step>) -> DeviceRefusal {
        banned(ban, self.proof.is_tpm(), steps)
    }
}

/// The refusal by a ban.
pub(super) fn banned(ban: &Ban, is_tpm: bool, steps: &mut Vec<Step>) -> DeviceRefusal {
    let ban = ban.subject.key();
    steps.push(Step::Banned { ban: ban.clone() });
    DeviceRefusal::Banned { ban, is_tpm }
}
