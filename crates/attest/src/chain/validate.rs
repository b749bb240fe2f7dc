//! Full path validation of a leaf up to one of our certificates.
//!
//! The library (webpki) builds and verifies the path. What it leaves to its caller is checked
//! here: all that concerns the anchor (validity, CA flag, path length, key usages, unknown
//! critical extensions) and the key usage of every certificate.

use std::collections::HashSet;

use model::{AttestFailure, EnrolledCertificate, PathCertificate, Timestamp};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeId,
    KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext,
};

use super::{Certificate, Presented, Traits, VerifiedPath, candidates};
use crate::certificate::{self, Parsed};

/// The most certificates of our own that one path may be completed from.
const MAX_STORED: usize = 32;

const SIGNATURE_MISMATCH: &str = "a certificate names two different signature algorithms";

/// What a leaf is used for: which extended key usage it must have if it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// A TLS client: every device.
    ClientAuth,
    /// A TLS server. No device is one; the leaves of the public path-validation suite are, and
    /// with this purpose they run through the same code.
    ServerAuth,
    /// The endorsement key of a TPM, which only decrypts. Here, and only here, the extended key
    /// usage “any” counts as well.
    EndorsementKey,
}

/// The contents of the DER of 2.23.133.8.1, `tcg-kp-EKCertificate`.
const EKU_ENDORSEMENT_KEY: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// The contents of the DER of 2.5.29.37.0, `anyExtendedKeyUsage`.
const EKU_ANY: &[u8] = &[0x55, 0x1D, 0x25, 0x00];

impl KeyPurpose {
    const fn usage(self) -> KeyUsage {
        match self {
            Self::ClientAuth => KeyUsage::client_auth(),
            Self::ServerAuth => KeyUsage::server_auth(),
            Self::EndorsementKey => KeyUsage::required_if_present(EKU_ENDORSEMENT_KEY),
        }
    }

    /// Whose certificate it is, for a message.
    pub(crate) const fn holder(self) -> &'static str {
        match self {
            Self::ClientAuth | Self::ServerAuth => "a device's",
            Self::EndorsementKey => "an endorsement key's",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ClientAuth => "client authentication",
            Self::ServerAuth => "server authentication",
            Self::EndorsementKey => "endorsement keys (2.23.133.8.1)",
        }
    }
}

impl ExtendedKeyUsageValidator for KeyPurpose {
    fn validate(&self, present: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        match self {
            Self::ClientAuth | Self::ServerAuth => self.usage().validate(present),
            Self::EndorsementKey => check_endorsement_key_usage(present),
        }
    }
}

/// What the library does for one usage, for either of two.
fn check_endorsement_key_usage(present: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
    let mut others = Vec::new();
    for id in present {
        let id = id?;
        if id == KeyPurposeId::new(EKU_ENDORSEMENT_KEY) || id == KeyPurposeId::new(EKU_ANY) {
            return Ok(());
        }
        others.push(id.to_decoded_oid());
    }
    if others.is_empty() {
        return Ok(());
    }
    let required = KeyPurpose::EndorsementKey.usage();
    let context = RequiredEkuNotFoundContext { required, present: others };
    Err(Error::RequiredEkuNotFoundContext(context))
}

/// Validates the path from the leaf up to this anchor, which may be a root or an intermediate,
/// at this moment. The path goes through presented certificates and through ours.
///
/// The path must not pass through a CA that stands in `others`: CAs with an entry of their own,
/// which decides about everything below it (D §5.1). A caller finds the anchor by walking over
/// certificates that nobody has verified yet, so only the verified path can say whose entry the
/// device belongs to.
///
/// Checked are signatures, validity of every certificate including the anchor, CA flags, path
/// lengths including the anchor's, key usages and extended key usages where present, name
/// constraints as far as the library has them, and that no critical extension is unknown.
///
/// # Errors
/// [`AttestFailure`] says what is wrong, and with which certificate where that is known.
///
/// Source: RFC 5280 §6.1, D §5.3; where we differ from the public suite, see
/// `docs/divergences-x509.md`.
pub fn validate(
    presented: &Presented,
    stored: &[&EnrolledCertificate],
    anchor: &EnrolledCertificate,
    others: &HashSet<[u8; 32]>,
    now: Timestamp,
) -> Result<(), AttestFailure> {
    validate_for(KeyPurpose::ClientAuth, presented, stored, anchor, others, now)
}

/// [`validate`] for another purpose than a device's TLS key.
///
/// # Errors
/// As [`validate`].
pub fn validate_for(
    purpose: KeyPurpose,
    presented: &Presented,
    stored: &[&EnrolledCertificate],
    anchor: &EnrolledCertificate,
    others: &HashSet<[u8; 32]>,
    now: Timestamp,
) -> Result<(), AttestFailure> {
    validate_path(purpose, presented, stored, anchor, others, now).map(|_| ())
}

/// [`validate_for`] that gives the path it has verified, up to the anchor. It leaves out what was
/// presented and is not on it.
///
/// # Errors
/// As [`validate`].
pub fn validate_path(
    purpose: KeyPurpose,
    presented: &Presented,
    stored: &[&EnrolledCertificate],
    anchor: &EnrolledCertificate,
    others: &HashSet<[u8; 32]>,
    now: Timestamp,
) -> Result<VerifiedPath, AttestFailure> {
    let leaf = &presented.leaf;
    leaf.traits.check_validity(now)?;
    if let Some(obstacle) = leaf.traits.obstacle_as_leaf(purpose) {
        return Err(AttestFailure::BadChain(format!("{}: {obstacle}", leaf.traits.subject)));
    }
    let anchor_traits = check_anchor(anchor, purpose, now)?;
    let pool = Pool::gather(presented, stored, anchor);

    let anchor_der = CertificateDer::from(anchor.der.as_slice());
    let anchors = [webpki::anchor_from_trusted_cert(&anchor_der)
        .map_err(|error| unreadable(&anchor_traits.subject, &error))?];
    let leaf_der = CertificateDer::from(leaf.der.as_slice());
    let end_entity = EndEntityCert::try_from(&leaf_der)
        .map_err(|error| unreadable(&leaf.traits.subject, &error))?;
    let check_path = |path: &webpki::VerifiedPath<'_>| {
        let mut between = path.intermediate_certificates();
        if between.any(|ca| pool.is_another(&ca.der(), anchor, others)) {
            return Err(Error::UnknownIssuer);
        }
        let below = path.intermediate_certificates().filter(|ca| ca.issuer() != ca.subject());
        match anchor_traits.path_length() {
            Some(limit) if below.count() > limit => Err(Error::PathLenConstraintViolated),
            _ => Ok(()),
        }
    };
    end_entity
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &pool.ders,
            unix_time(now),
            purpose,
            None,
            Some(&check_path),
        )
        .map(|path| {
            let between = path.intermediate_certificates().filter_map(|ca| pool.find(&ca.der()));
            let leaf = (presented.leaf(), leaf.der.clone());
            let anchor = (certificate::path_certificate(anchor), anchor.der.clone());
            VerifiedPath::new(std::iter::once(leaf).chain(between).chain([anchor]))
        })
        .map_err(|error| pool.explain(&error, purpose, now))
}

/// What the library does not check of an anchor.
fn check_anchor(
    anchor: &EnrolledCertificate,
    purpose: KeyPurpose,
    now: Timestamp,
) -> Result<Traits, AttestFailure> {
    let traits = Traits::of(&Parsed::of(&anchor.der)?);
    traits.check_validity(now)?;
    if let Some(obstacle) = traits.obstacle_as_ca() {
        return Err(AttestFailure::BadChain(format!("{}: {obstacle}", traits.subject)));
    }
    if !traits.serves(purpose) {
        return Err(AttestFailure::BadChain(format!(
            "{}: its extended key usage does not include {}",
            traits.subject,
            purpose.name()
        )));
    }
    Ok(traits)
}

/// The certificates a path may go through.
struct Pool<'a> {
    ders: Vec<CertificateDer<'a>>,
    traits: Vec<Traits>,
    /// Those that may not sign, and why not.
    left_out: Vec<String>,
}

impl<'a> Pool<'a> {
    /// The presented certificates above the leaf, and those of ours that lie above a presented
    /// one by name.
    fn gather(
        presented: &'a Presented,
        stored: &[&'a EnrolledCertificate],
        anchor: &EnrolledCertificate,
    ) -> Self {
        let mut pool = Self { ders: Vec::new(), traits: Vec::new(), left_out: Vec::new() };
        let mut ders: HashSet<&[u8]> = HashSet::from([anchor.der.as_slice()]);
        for certificate in &presented.others {
            if ders.insert(&certificate.der) {
                pool.add(&certificate.der, certificate.traits.clone());
            }
        }
        for certificate in above(presented, stored) {
            if ders.insert(&certificate.der)
                && let Ok(parsed) = Parsed::of(&certificate.der)
            {
                pool.add(&certificate.der, Traits::of(&parsed));
            }
        }
        pool
    }

    /// Whether this certificate of a path is that of a CA with an entry of its own, other than
    /// the anchor's.
    fn is_another(
        &self,
        der: &[u8],
        anchor: &EnrolledCertificate,
        others: &HashSet<[u8; 32]>,
    ) -> bool {
        self.ders
            .iter()
            .zip(&self.traits)
            .filter(|(known, _)| known.as_ref() == der)
            .map(|(_, traits)| traits.keys.subject_and_key)
            .any(|key| key != anchor.keys.subject_and_key && others.contains(&key))
    }

    /// What bans know of a certificate of a path: all of them come from here.
    fn find(&self, der: &[u8]) -> Option<(PathCertificate, Vec<u8>)> {
        let at = self.ders.iter().position(|known| known.as_ref() == der)?;
        let traits = self.traits.get(at)?.clone();
        let certificate = Certificate { der: der.to_vec(), traits };
        Some((certificate.as_path_certificate(), certificate.der))
    }

    fn add(&mut self, der: &'a [u8], traits: Traits) {
        match traits.obstacle_as_ca() {
            Some(obstacle) => self.left_out.push(format!("{}: {obstacle}", traits.subject)),
            None => {
                self.ders.push(CertificateDer::from(der));
                self.traits.push(traits);
            }
        }
    }

    /// Turns the library's error into the fact it stands for.
    fn explain(&self, error: &Error, purpose: KeyPurpose, now: Timestamp) -> AttestFailure {
        let text = match error {
            // Leaf and anchor were found valid before, so it is one of these.
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
                let culprit = self.traits.iter().find_map(|t| t.check_validity(now).err());
                return culprit.unwrap_or_else(|| {
                    AttestFailure::BadChain("a certificate of it is not valid now".to_owned())
                });
            }
            Error::UnknownIssuer if !self.left_out.is_empty() => {
                format!("an issuer is missing; left out: {}", self.left_out.join("; "))
            }
            Error::UnknownIssuer => "an issuer is missing".to_owned(),
            Error::InvalidSignatureForPublicKey => "a signature is wrong".to_owned(),
            Error::CaUsedAsEndEntity => {
                format!("a CA certificate cannot be {}", purpose.holder())
            }
            Error::EndEntityUsedAsCa => "a certificate that signs is not a CA's".to_owned(),
            Error::PathLenConstraintViolated => {
                "it is longer than one of its CAs allows".to_owned()
            }
            Error::NameConstraintViolation => {
                "a name is outside a CA's name constraints".to_owned()
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                format!("an extended key usage does not include {}", purpose.name())
            }
            Error::UnsupportedCriticalExtension => "a critical extension is not known".to_owned(),
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                "a signature algorithm is not accepted".to_owned()
            }
            Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => {
                return AttestFailure::TooLarge(
                    "to validate the chain takes more steps than are taken for one".to_owned(),
                );
            }
            Error::MalformedNameConstraint | Error::InvalidNetworkMaskConstraint => {
                "a CA's name constraints are malformed".to_owned()
            }
            Error::MalformedDnsIdentifier => "a DNS name is malformed".to_owned(),
            Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => {
                "a certificate is malformed".to_owned()
            }
            Error::SignatureAlgorithmMismatch => SIGNATURE_MISMATCH.to_owned(),
            other => format!("the reason is {other:?}"),
        };
        AttestFailure::BadChain(text)
    }
}

/// Those of our certificates that can lie on a path: named as issuer by a presented one, or by
/// one of ours that is.
fn above<'a>(
    presented: &'a Presented,
    stored: &[&'a EnrolledCertificate],
) -> Vec<&'a EnrolledCertificate> {
    let mut wanted: HashSet<[u8; 32]> = HashSet::from([presented.leaf.traits.keys.issuer]);
    wanted.extend(candidates(presented, &[]).iter().map(|candidate| candidate.keys.issuer));
    let mut rest: Vec<&EnrolledCertificate> = stored.to_vec();
    let mut found = Vec::new();
    loop {
        let before = found.len();
        rest.retain(|certificate| {
            let fits = wanted.contains(&certificate.keys.subject) && found.len() < MAX_STORED;
            if fits {
                wanted.insert(certificate.keys.issuer);
                found.push(*certificate);
            }
            !fits
        });
        if found.len() == before {
            return found;
        }
    }
}

fn unreadable(subject: &str, error: &Error) -> AttestFailure {
    let why = match error {
        Error::UnsupportedCertVersion => "it is not an X.509 version 3 certificate".to_owned(),
        Error::UnsupportedCriticalExtension => "a critical extension of it is not known".to_owned(),
        Error::SignatureAlgorithmMismatch => SIGNATURE_MISMATCH.to_owned(),
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => "it is malformed".to_owned(),
        other => format!("the reason is {other:?}"),
    };
    AttestFailure::BadCertificate(format!("{subject}: {why}"))
}

/// The library counts from 1970; before that no certificate of ours is valid anyway.
fn unix_time(now: Timestamp) -> UnixTime {
    let secs = u64::try_from(now.unix_secs()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs))
}
