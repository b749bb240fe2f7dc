//! Chains of certificates: bounded, walked, validated, matched.
//!
//! The TLS layer has proven that the device holds the leaf's key, and nothing else. What lives
//! here decides the rest, as a function of the chain, our own certificates and the moment.
//! Which enrollment a certificate belongs to is not known here.

use model::{
    AttestFailure, CaKeys, CertificateDer, EnrolledCertificate, PathCertificate, Slots, Timestamp,
    hex,
};

use crate::{
    Slot,
    certificate::{self, MAX_CERTIFICATE_BYTES, MAX_RSA_BITS, Parsed},
};

mod ascend;
mod traits;
mod validate;
mod validity;
mod walk;

pub use ascend::VerifiedPath;
pub(crate) use traits::{Traits, printable};
pub use validate::{KeyPurpose, validate, validate_for, validate_path};
pub use validity::validity_limits;
pub use walk::{Link, LinkFrom, MAX_SIGNATURE_CHECKS, is_signed_by, walk};

/// The most presented certificates looked at, the leaf included.
pub const MAX_CHAIN: usize = 10;

/// How much of a presented chain is looked at. Beyond it the chain is refused, not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most certificates, the leaf included.
    pub max_certificates: usize,
    /// The largest certificate, in bytes of DER.
    pub max_certificate_bytes: usize,
    /// The largest RSA key, in bits. More than [`MAX_RSA_BITS`] cannot be verified with anyway.
    pub max_rsa_bits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_certificates: MAX_CHAIN,
            max_certificate_bytes: MAX_CERTIFICATE_BYTES,
            max_rsa_bits: MAX_RSA_BITS,
        }
    }
}

/// A presented chain, taken apart once: the leaf, and the others in the order they were sent.
#[derive(Debug, Clone)]
pub struct Presented {
    leaf: Certificate,
    others: Vec<Certificate>,
    leaf_names: Vec<String>,
}

/// One presented certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    pub(crate) traits: Traits,
}

impl Certificate {
    fn as_path_certificate(&self) -> PathCertificate {
        let Traits { keys, tbs, serial, subject, .. } = &self.traits;
        PathCertificate {
            sha256: certificate::thumbprint_sha256(&self.der),
            sha1: certificate::thumbprint_sha1(&self.der),
            tbs: *tbs,
            subject_and_key: keys.subject_and_key,
            subject: keys.subject,
            issuer: keys.issuer,
            serial: serial.clone(),
            subject_name: subject.clone(),
        }
    }
}

impl Presented {
    /// Takes a chain apart, leaf first.
    ///
    /// # Errors
    /// [`AttestFailure::NoEvidence`] for an empty chain; [`AttestFailure::TooLarge`] with both
    /// figures beyond the limits; [`AttestFailure::BadCertificate`] for a certificate that cannot
    /// be parsed, wherever in the chain it stands.
    pub fn parse(chain: &[CertificateDer], limits: &Limits) -> Result<Self, AttestFailure> {
        if chain.len() > limits.max_certificates {
            return Err(AttestFailure::TooLarge(format!(
                "a chain has at most {} certificates, this one has {}",
                limits.max_certificates,
                chain.len()
            )));
        }
        let (leaf, others) = chain.split_first().ok_or(AttestFailure::NoEvidence)?;
        let parsed = Parsed::within(&leaf.0, limits)?;
        let leaf_names = parsed.common_names()?;
        let leaf = Certificate { der: leaf.0.clone(), traits: Traits::of(&parsed) };
        let others = others
            .iter()
            .map(|other| {
                let traits = Traits::of(&Parsed::within(&other.0, limits)?);
                Ok(Certificate { der: other.0.clone(), traits })
            })
            .collect::<Result<_, AttestFailure>>()?;
        Ok(Self { leaf, others, leaf_names })
    }

    /// The leaf's only common name.
    ///
    /// # Errors
    /// [`AttestFailure::CommonName`] when it has several or none.
    pub fn leaf_common_name(&self) -> Result<&str, AttestFailure> {
        match self.leaf_names.as_slice() {
            [name] => Ok(name),
            [] => Err(AttestFailure::CommonName("the subject has none".to_owned())),
            several => Err(AttestFailure::CommonName(format!(
                "the subject has several, {} of them",
                several.len()
            ))),
        }
    }

    /// SHA-256 of the DER of every subject and issuer in the chain, each once: what our own
    /// certificates are looked up by.
    #[must_use]
    pub fn name_hashes(&self) -> Vec<[u8; 32]> {
        let mut hashes: Vec<[u8; 32]> =
            self.all().flat_map(|c| [c.traits.keys.subject, c.traits.keys.issuer]).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// SHA-256 of the leaf's DER.
    #[must_use]
    pub fn leaf_sha256(&self) -> [u8; 32] {
        certificate::thumbprint_sha256(&self.leaf.der)
    }

    /// SHA-256 of the leaf's DER, upper-case hex.
    #[must_use]
    pub fn leaf_thumbprint_hex(&self) -> String {
        hex::upper(&self.leaf_sha256())
    }

    /// SHA-1 of the leaf's DER, for identities that hold no better thumbprint (H §4.1.2).
    #[must_use]
    pub fn leaf_sha1(&self) -> [u8; 20] {
        certificate::thumbprint_sha1(&self.leaf.der)
    }

    /// What bans and revocation lists know of each certificate, in the order they were sent.
    #[must_use]
    pub fn path_certificates(&self) -> Vec<PathCertificate> {
        self.all().map(Certificate::as_path_certificate).collect()
    }

    /// The certificates as they were sent, leaf first.
    #[must_use]
    pub fn ders(&self) -> Vec<CertificateDer> {
        self.all().map(|certificate| CertificateDer(certificate.der.clone())).collect()
    }

    /// What bans and revocation lists know of the leaf.
    #[must_use]
    pub fn leaf(&self) -> PathCertificate {
        self.leaf.as_path_certificate()
    }

    /// Checks that the moment is within the leaf's validity.
    ///
    /// # Errors
    /// [`AttestFailure::Expired`] or [`AttestFailure::NotYetValid`].
    pub fn check_leaf_validity(&self, now: Timestamp) -> Result<(), AttestFailure> {
        self.leaf.traits.check_validity(now)
    }

    /// When the leaf's validity ends.
    #[must_use]
    pub const fn leaf_not_after(&self) -> Timestamp {
        self.leaf.traits.not_after()
    }

    /// The leaf, DER.
    #[must_use]
    pub fn leaf_der(&self) -> &[u8] {
        &self.leaf.der
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.others)
    }
}

/// Matches the leaf with the certificates of an individual enrollment, primary first.
///
/// The whole certificates are compared, which says more than their thumbprints. The leaf must be
/// within its validity. It may sign itself, and the chain above it is not looked at.
///
/// # Errors
/// [`AttestFailure::WrongThumbprint`] when it is neither; [`AttestFailure::Expired`] or
/// [`AttestFailure::NotYetValid`] when it is one of them.
///
/// Source: D §5.3.
pub fn match_thumbprint(
    presented: &Presented,
    slots: &Slots<EnrolledCertificate>,
    now: Timestamp,
) -> Result<Slot, AttestFailure> {
    let holds = |slot: &Option<EnrolledCertificate>| {
        slot.as_ref().is_some_and(|certificate| certificate.der == presented.leaf.der)
    };
    let slot = if holds(&slots.primary) {
        Slot::Primary
    } else if holds(&slots.secondary) {
        Slot::Secondary
    } else {
        return Err(AttestFailure::WrongThumbprint);
    };
    presented.leaf.traits.check_validity(now)?;
    Ok(slot)
}

/// What a certificate of ours is found by, and its bytes: the view that walking and validating
/// share of presented and stored certificates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) keys: &'a CaKeys,
    pub(crate) subject: &'a str,
    pub(crate) from: LinkFrom,
}

/// The presented certificates above the leaf, then ours.
pub(crate) fn candidates<'a>(
    presented: &'a Presented,
    stored: &[&'a EnrolledCertificate],
) -> Vec<Candidate<'a>> {
    let sent = presented.others.iter().enumerate().map(|(i, certificate)| Candidate {
        der: &certificate.der,
        keys: &certificate.traits.keys,
        subject: &certificate.traits.subject,
        from: LinkFrom::Presented(i + 1),
    });
    let ours = stored.iter().enumerate().map(|(i, certificate)| Candidate {
        der: &certificate.der,
        keys: &certificate.keys,
        subject: &certificate.info.subject_name,
        from: LinkFrom::Stored(i),
    });
    sent.chain(ours).collect()
}

#[cfg(test)]
mod tests;
