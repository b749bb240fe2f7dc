//! What a TPM shows and proves: its keys, an answer to a challenge, its key's certificate.

use std::borrow::Cow;

use attest::{
    chain::{self, Presented},
    sas,
    tpm::{
        BadTpmKey, EndorsementKey, MAX_DATA_BYTES, StorageRootKey, WrapRandom,
        certificate_key_matches,
    },
};
use model::{
    AttestFailure, CertificateDer, DeviceRefusal, Fresh, KnownProof, PathCertificate,
    RegisterFacts, SasToken, Step, Timestamp, TpmChallenge, TpmIdentity, TpmKeys,
};
use subtle::ConstantTimeEq;

use super::{Asked, Bearer, groups};

/// The keys that a TPM says are its own, and the chain of its endorsement key, taken apart.
#[derive(Debug)]
pub struct ShownTpm {
    pub(super) keys: TpmKeys,
    pub(super) endorsement: Option<Presented>,
}

/// A TPM's answer to a challenge that a connection remembers, taken apart.
#[derive(Debug)]
pub struct Answered {
    challenge: TpmChallenge,
    token: SasToken,
    pub(super) endorsement: Option<Presented>,
}

/// A TPM at the door.
pub(super) struct Tpm<'b> {
    endorsement_key: &'b [u8],
    storage_root_key: Option<&'b [u8]>,
    endorsement: Option<Cow<'b, Presented>>,
    answer: Answer<'b>,
}

/// What stands behind a TPM's keys.
#[derive(Clone, Copy)]
pub(super) enum Answer<'b> {
    /// A token that the challenge's key signed.
    Token(&'b SasToken),
    /// Nothing, where the question is whether to challenge.
    ToCome,
    /// Nothing: it is known to have answered before.
    Known,
    /// Nothing, where proof is wanted.
    Missing,
}

/// The keys of a TPM, between which a secret is wrapped.
#[derive(Debug, Clone)]
pub(crate) struct Wrapping {
    pub(crate) endorsement_key: EndorsementKey,
    /// Always there once a challenge was answered.
    pub(crate) storage_root_key: Option<StorageRootKey>,
}

impl ShownTpm {
    pub(super) fn parse(keys: &TpmKeys, limits: &chain::Limits) -> Result<Self, AttestFailure> {
        let endorsement = parse_chain(&keys.endorsement_certificates, limits)?;
        Ok(Self { keys: keys.clone(), endorsement })
    }

    pub(super) fn tpm<'b>(&'b self, answer: Answer<'b>) -> Tpm<'b> {
        Tpm {
            endorsement_key: &self.keys.endorsement_key,
            storage_root_key: self.keys.storage_root_key.as_deref(),
            endorsement: self.endorsement.as_ref().map(Cow::Borrowed),
            answer,
        }
    }
}

impl Answered {
    pub(super) fn parse(
        challenge: &TpmChallenge,
        token: &SasToken,
        limits: &chain::Limits,
    ) -> Result<Self, AttestFailure> {
        let endorsement = parse_chain(&challenge.endorsement_certificates, limits)?;
        Ok(Self { challenge: challenge.clone(), token: token.clone(), endorsement })
    }

    pub(super) fn endorsement_key(&self) -> &[u8] {
        &self.challenge.endorsement_key
    }

    /// The TPM, if it answered this challenge, in time and under this name.
    pub(super) fn tpm<'b>(&'b self, asked: &Asked<'_>) -> Result<Tpm<'b>, AttestFailure> {
        if self.challenge.registration_id != *asked.registration_id {
            return Err(AttestFailure::WrongResource);
        }
        check_answer(&self.challenge, &self.token, asked.now)?;
        let endorsement = self.endorsement.as_ref().map(Cow::Borrowed);
        Ok(Tpm::answered(&self.challenge, endorsement, &self.token))
    }
}

/// Whether a token is signed with the key of a challenge that is not over.
///
/// # Errors
/// [`AttestFailure::BadSignature`], [`AttestFailure::TokenExpired`].
pub fn check_answer(
    challenge: &TpmChallenge,
    token: &SasToken,
    now: Timestamp,
) -> Result<(), AttestFailure> {
    let signature = sas::sign(&challenge.key, &token.resource_raw, &token.expiry_raw);
    if !bool::from(signature[..].ct_eq(&token.signature)) {
        return Err(AttestFailure::BadSignature);
    }
    if now < challenge.expires { Ok(()) } else { Err(AttestFailure::TokenExpired) }
}

/// The chain that a TPM showed. What cannot be read is told as a fault of the request: a 401 would
/// be a challenge to a TPM client, and says nothing to whoever made the chain.
pub(crate) fn parse_chain(
    certificates: &[CertificateDer],
    limits: &chain::Limits,
) -> Result<Option<Presented>, AttestFailure> {
    if certificates.is_empty() {
        return Ok(None);
    }
    Presented::parse(certificates, limits)
        .map(Some)
        .map_err(|why| AttestFailure::BadTpmKey(format!("the endorsement certificates: {why}")))
}

impl<'b> Tpm<'b> {
    fn answered(
        challenge: &'b TpmChallenge,
        endorsement: Option<Cow<'b, Presented>>,
        token: &'b SasToken,
    ) -> Self {
        Self {
            endorsement_key: &challenge.endorsement_key,
            storage_root_key: Some(&challenge.storage_root_key),
            endorsement,
            answer: Answer::Token(token),
        }
    }

    /// The TPM that signed this token with the key of one of the challenges that the store
    /// remembers for this name; nothing if none fits.
    pub(super) fn of_token(
        token: &'b SasToken,
        facts: &'b RegisterFacts,
        asked: &Asked<'_>,
    ) -> Result<Option<Self>, AttestFailure> {
        let mut found = None;
        // All are computed, so that the time taken does not tell which one fits.
        for challenge in &facts.tpm_challenges {
            let fits = check_answer(challenge, token, asked.now).is_ok()
                && challenge.registration_id == *asked.registration_id;
            found = found.or(fits.then_some(challenge));
        }
        let Some(challenge) = found else { return Ok(None) };
        let chain = parse_chain(&challenge.endorsement_certificates, &asked.settings.limits)?;
        Ok(Some(Self::answered(challenge, chain.map(Cow::Owned), token)))
    }

    pub(super) fn endorsement(&self) -> Option<&Presented> {
        self.endorsement.as_deref()
    }

    pub(super) const fn endorsement_key(&self) -> &'b [u8] {
        self.endorsement_key
    }

    /// The TPM as it is known from now on.
    pub(super) fn known(&self) -> KnownProof {
        KnownProof::Tpm {
            endorsement_key: self.endorsement_key.to_vec(),
            storage_root_key: self.storage_root_key.unwrap_or_default().to_vec(),
            endorsement_certificates: self.endorsement().map(Presented::ders).unwrap_or_default(),
        }
    }

    /// Checks a TPM against the entry of one device. Gives the keys to wrap for, and what the device
    /// rests on where the entry demands a certificate.
    pub(super) fn check_individual(
        &self,
        enrolled: &TpmIdentity,
        facts: &RegisterFacts,
        bearer: &Bearer<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(Wrapping, Vec<PathCertificate>), DeviceRefusal> {
        let failed = DeviceRefusal::NotAttested;
        self.check_claims(bearer).map_err(failed)?;
        if !attest::tpm::same_key(self.endorsement_key, &enrolled.endorsement_key) {
            return Err(failed(AttestFailure::WrongEndorsementKey));
        }
        self.check_answered().map_err(failed)?;
        let wrapping = self.wrapping(enrolled.storage_root_key.as_deref()).map_err(failed)?;
        let Some(endorsement) = &enrolled.endorsement else {
            return Ok((wrapping, Vec::new()));
        };
        let Asked { settings, now, .. } = bearer.asked;
        let enrolled = parse_chain(&endorsement.certificates, &settings.limits).map_err(failed)?;
        let Some(chain) = enrolled.as_ref().or(self.endorsement()) else {
            let why = "the enrollment wants one, and the device showed none";
            return Err(failed(AttestFailure::NotEndorsed(why.to_owned())));
        };
        let roots: Vec<_> = endorsement.roots.iter().collect();
        let verified = attest::tpm::endorsement_path(chain, &wrapping.endorsement_key, &roots, now)
            .map_err(failed)?;
        let mut stored = groups::certificates_of_tpms(facts);
        stored.extend(roots);
        let path = bearer.rests_on(verified, chain, &stored, None, steps)?;
        Ok((wrapping, path))
    }

    /// Checks that the TPM goes by the name that its endorsement key gives it, in any letter case.
    ///
    /// The name is made of the key's bytes, so it is one name only if the key is written in one way
    /// only. The template leaves two, an exponent of 0 or of 65537, which mean the same; TPMs show
    /// the first. With the second a device that was shut out by its name would have another one.
    pub(super) fn check_name(&self, bearer: &Bearer<'_>) -> Result<Wrapping, AttestFailure> {
        let wrapping = self.wrapping(None)?;
        if !has_default_exponent(&wrapping.endorsement_key) {
            let why = "the endorsement key's exponent is spelled out; a group takes keys as TPMs \
                       show them, with the exponent 0";
            return Err(AttestFailure::BadTpmKey(why.to_owned()));
        }
        let name = wrapping.endorsement_key.registration_id();
        if name.eq_ignore_ascii_case(bearer.asked.registration_id.as_str()) {
            Ok(wrapping)
        } else {
            Err(AttestFailure::WrongEndorsementKey)
        }
    }

    /// Checks that a certificate is for the endorsement key.
    pub(super) fn check_certificate(
        presented: &Presented,
        key: &EndorsementKey,
    ) -> Result<(), AttestFailure> {
        if certificate_key_matches(presented, key) {
            return Ok(());
        }
        let why = "it is for another key than the TPM's endorsement key";
        Err(AttestFailure::NotEndorsed(why.to_owned()))
    }

    /// Keys alone prove nothing.
    pub(super) const fn check_answered(&self) -> Result<(), AttestFailure> {
        match self.answer {
            Answer::Token(_) | Answer::ToCome | Answer::Known => Ok(()),
            Answer::Missing => Err(AttestFailure::TpmNotChallenged),
        }
    }

    /// Checks what its token says of itself, if it answered with one.
    pub(super) fn check_claims(&self, bearer: &Bearer<'_>) -> Result<(), AttestFailure> {
        match self.answer {
            Answer::Token(token) => bearer.check_token(token),
            Answer::ToCome | Answer::Known | Answer::Missing => Ok(()),
        }
    }

    /// The keys to wrap for. The device's own storage root key counts before the enrolled one: it
    /// is a new one when the TPM was cleared (D §5.5).
    fn wrapping(&self, enrolled: Option<&[u8]>) -> Result<Wrapping, AttestFailure> {
        Wrapping::parse(self.endorsement_key, self.storage_root_key.or(enrolled))
    }
}

impl Wrapping {
    /// Wraps a key of a TPM with fresh random bytes. What it is for goes along, as far as there is
    /// room for it.
    ///
    /// # Errors
    /// [`AttestFailure::BadTpmKey`] when the storage root key is not known, the key has not 32 bytes,
    /// or the library refuses.
    pub(crate) fn wrap(
        &self,
        purpose: &str,
        key: &[u8],
        fresh: &Fresh,
    ) -> Result<Vec<u8>, AttestFailure> {
        let Some(root) = &self.storage_root_key else {
            return Err(AttestFailure::BadTpmKey("the storage root key is missing".to_owned()));
        };
        let Ok(key) = key.try_into() else {
            return Err(AttestFailure::BadTpmKey("a key to wrap has not 32 bytes".to_owned()));
        };
        let purpose = purpose.as_bytes();
        let data = purpose.get(..MAX_DATA_BYTES).unwrap_or(purpose);
        let random = WrapRandom::from(&fresh.tpm);
        attest::tpm::wrap(&self.endorsement_key, root, key, data, &random)
            .map_err(|bad| bad_key(&bad))
    }

    /// The keys that a TPM shows, if they are of the supported kind.
    ///
    /// # Errors
    /// [`AttestFailure::BadTpmKey`]
    pub(crate) fn parse(
        endorsement_key: &[u8],
        storage_root_key: Option<&[u8]>,
    ) -> Result<Self, AttestFailure> {
        let root = storage_root_key.map(StorageRootKey::parse).transpose();
        Ok(Self {
            endorsement_key: EndorsementKey::parse(endorsement_key).map_err(|bad| bad_key(&bad))?,
            storage_root_key: root.map_err(|bad| bad_key(&bad))?,
        })
    }
}

/// Whether a key's exponent is written as 0: the four bytes before the modulus and its length.
fn has_default_exponent(key: &EndorsementKey) -> bool {
    let behind = key.rsa_modulus().len() + 2;
    let before_modulus =
        key.bytes().len().checked_sub(behind).and_then(|end| key.bytes().get(..end));
    before_modulus.is_some_and(|bytes| bytes.ends_with(&[0; 4]))
}

fn bad_key(bad: &BadTpmKey) -> AttestFailure {
    AttestFailure::BadTpmKey(bad.to_string())
}
