//! The way from a leaf's issuer upward, before anything is believed.

use std::collections::HashSet;

use model::{AttestFailure, CaKeys, EnrolledCertificate};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::asn1_rs::{Any, FromDer};

use super::{Candidate, Presented, candidates};
use crate::certificate::Parsed;

/// The most signatures checked while walking one chain.
///
/// A signature is checked only where a name leaves open which key signed. The chain's length
/// bounds what a device can ask for; the rest is for operators with several CAs of one name.
pub const MAX_SIGNATURE_CHECKS: usize = 32;

/// One CA on the way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What the CA is found by.
    pub keys: CaKeys,
    /// Its subject, as text.
    pub subject: String,
    /// Where its certificate is.
    pub from: LinkFrom,
}

/// Where a certificate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFrom {
    /// The device sent it: its index in the chain, where 0 is the leaf.
    Presented(usize),
    /// It is one of ours: its index in `stored`.
    Stored(usize),
}

/// Walks from the leaf's issuer upward, through presented and stored CA certificates, and lists
/// the CAs in the order they are reached. Ends where no issuer is known.
///
/// The next CA is found by name. Where several keys bear the name, the signature says which; a
/// single one is taken at its word, because [`validate`](super::validate) comes after. Several
/// certificates of one key (a CA that was re-issued or cross-signed) are one CA, and every issuer
/// of theirs is followed. Presented ones come first.
///
/// # Errors
/// [`AttestFailure::TooLarge`] when more than [`MAX_SIGNATURE_CHECKS`] signatures would have to
/// be checked.
///
/// Source: D §5.1, §5.3.
pub fn walk(
    presented: &Presented,
    stored: &[&EnrolledCertificate],
) -> Result<Vec<Link>, AttestFailure> {
    let candidates = candidates(presented, stored);
    let leaf = &presented.leaf;
    let mut level = vec![Candidate {
        der: &leaf.der,
        keys: &leaf.traits.keys,
        subject: &leaf.traits.subject,
        from: LinkFrom::Presented(0),
    }];
    let mut seen = HashSet::from([leaf.traits.keys.subject_and_key]);
    let mut checks = Checks { left: MAX_SIGNATURE_CHECKS };
    let mut path = Vec::new();
    loop {
        let issuers = issuers_of(&level, &candidates, &seen, &mut checks)?;
        let Some(first) = issuers.first() else {
            return Ok(path);
        };
        debug_assert!(!seen.contains(&first.keys.subject_and_key), "a CA is reached once");
        let mut next = Vec::new();
        for issuer in issuers {
            if seen.insert(issuer.keys.subject_and_key) {
                path.push(Link {
                    keys: *issuer.keys,
                    subject: issuer.subject.to_owned(),
                    from: issuer.from,
                });
            }
            next.push(issuer);
        }
        level = next;
    }
}

/// The certificates, not reached before, of the keys that may have signed one of these.
fn issuers_of<'a>(
    level: &[Candidate<'a>],
    candidates: &[Candidate<'a>],
    seen: &HashSet<[u8; 32]>,
    checks: &mut Checks,
) -> Result<Vec<Candidate<'a>>, AttestFailure> {
    let mut found: Vec<Candidate<'a>> = Vec::new();
    for child in level {
        let named: Vec<Candidate<'a>> = candidates
            .iter()
            .filter(|candidate| candidate.keys.subject == child.keys.issuer)
            .copied()
            .collect();
        let Some(signer) = checks.signer(child, &named)? else {
            continue;
        };
        if seen.contains(&signer) {
            continue;
        }
        for candidate in named {
            let new = !found.iter().any(|other| other.from == candidate.from);
            if new && candidate.keys.subject_and_key == signer {
                found.push(candidate);
            }
        }
    }
    Ok(found)
}

/// Signature checks, counted.
struct Checks {
    left: usize,
}

impl Checks {
    /// The key that signed the child, among those that bear its issuer's name: the only one, or
    /// the one that the signature fits. Its own key is tried first, so that a root among namesakes
    /// costs one check.
    fn signer(
        &mut self,
        child: &Candidate<'_>,
        named: &[Candidate<'_>],
    ) -> Result<Option<[u8; 32]>, AttestFailure> {
        let mut holders: Vec<&Candidate<'_>> = Vec::new();
        for candidate in named {
            let key = candidate.keys.subject_and_key;
            if !holders.iter().any(|holder| holder.keys.subject_and_key == key) {
                holders.push(candidate);
            }
        }
        if let [only] = holders[..] {
            return Ok(Some(only.keys.subject_and_key));
        }
        holders.sort_by_key(|holder| holder.keys.subject_and_key != child.keys.subject_and_key);
        for holder in holders {
            if self.signed(child.der, holder.der)? {
                return Ok(Some(holder.keys.subject_and_key));
            }
        }
        Ok(None)
    }

    /// Whether the issuer's key signed the child.
    fn signed(&mut self, child: &[u8], issuer: &[u8]) -> Result<bool, AttestFailure> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            AttestFailure::TooLarge(format!(
                "to find the chain's way more than {MAX_SIGNATURE_CHECKS} signatures would have \
                 to be checked"
            ))
        })?;
        Ok(is_signed_by(child, issuer))
    }
}

/// Whether the key of one certificate signed another; names are not looked at. Both are DER; what
/// cannot be read signed nothing.
#[must_use]
pub fn is_signed_by(child: &[u8], issuer: &[u8]) -> bool {
    verify(child, issuer).unwrap_or(false)
}

/// Whether the issuer's key signed the child; nothing when one of them cannot be read.
fn verify(child: &[u8], issuer: &[u8]) -> Option<bool> {
    let child = Parsed::of(child).ok()?;
    let issuer = Parsed::of(issuer).ok()?;
    let spki = issuer.x509.public_key();
    // The library's algorithms are named by the DER inside an algorithm identifier.
    let signature_id = contents(child.der, 1)?;
    let key_id = contents(spki.raw, 0)?;
    Some(
        webpki::ALL_VERIFICATION_ALGS
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signature_id)
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_id)
            .any(|algorithm: &&dyn SignatureVerificationAlgorithm| {
                algorithm
                    .verify_signature(
                        &spki.subject_public_key.data,
                        child.x509.tbs_certificate.as_ref(),
                        &child.x509.signature_value.data,
                    )
                    .is_ok()
            }),
    )
}

/// The contents of the member with this index in a DER sequence.
fn contents(sequence: &[u8], index: usize) -> Option<&[u8]> {
    let (_, outer) = Any::from_der(sequence).ok()?;
    let mut rest = outer.data;
    for _ in 0..index {
        (rest, _) = Any::from_der(rest).ok()?;
    }
    Some(Any::from_der(rest).ok()?.1.data)
}
