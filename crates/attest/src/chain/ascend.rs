//! What a device rests on: its verified path, and the way on from there over certificates that we
//! know.

use std::collections::HashSet;

use model::{AttestFailure, EnrolledCertificate, PathCertificate};

use super::{Candidate, LinkFrom, MAX_SIGNATURE_CHECKS, Presented, candidates, walk::is_signed_by};
use crate::certificate::{self, Parsed};

/// The path that a device was admitted by: its certificates, the leaf first.
#[derive(Debug, Clone)]
pub struct VerifiedPath {
    certificates: Vec<(PathCertificate, Vec<u8>)>,
}

impl VerifiedPath {
    /// Of a leaf whose own certificate is enrolled: the chain above it was not looked at.
    #[must_use]
    pub fn of_leaf(presented: &Presented) -> Self {
        Self::new([(presented.leaf(), presented.leaf_der().to_vec())])
    }

    pub(super) fn new(certificates: impl IntoIterator<Item = (PathCertificate, Vec<u8>)>) -> Self {
        Self { certificates: certificates.into_iter().collect() }
    }

    /// What bans and revocation lists know of the certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &PathCertificate> {
        self.certificates.iter().map(|(certificate, _)| certificate)
    }

    /// The path, and the CAs above it: those whose name a certificate bears as its issuer's and whose
    /// key signed it, those above them, and so on, in the order they are reached. They are looked for
    /// among our certificates and the presented ones.
    ///
    /// A verified path ends at the certificate that an operator enrolled. A device rests on the CAs
    /// above it all the same: whoever bans a root means the intermediates that have groups of their
    /// own as well. Of a CA with several certificates all count, and where several keys that only the
    /// device presents fit one signature all count too: devices can make up keys that do. The CAs of
    /// `watched` are asked about every certificate of the way, whoever else signed it, so that the
    /// same key written differently is found as well. Validity and CA flags are not looked at: this
    /// only ever takes away.
    ///
    /// # Errors
    /// [`AttestFailure::TooLarge`] when more than [`MAX_SIGNATURE_CHECKS`] signatures would have to
    /// be checked: whoever may be kept out must not get in by wearing us out.
    pub fn ascend(
        self,
        presented: &Presented,
        stored: &[&EnrolledCertificate],
        watched: &[&EnrolledCertificate],
    ) -> Result<Vec<PathCertificate>, AttestFailure> {
        let all: Vec<&EnrolledCertificate> = watched.iter().chain(stored).copied().collect();
        let mut search = Search {
            known: candidates(presented, &all),
            n_watched: watched.len(),
            checks_left: MAX_SIGNATURE_CHECKS,
        };
        let mut seen: HashSet<[u8; 32]> =
            self.certificates().map(|certificate| certificate.subject_and_key).collect();
        let mut level: Vec<Child<'_>> = self
            .certificates
            .iter()
            .map(|(certificate, der)| Child {
                der,
                issuer: certificate.issuer,
                key: certificate.subject_and_key,
                is_settled: true,
            })
            .collect();
        // The others' issuers are on the path.
        if let Some(top) = level.last_mut() {
            top.is_settled = false;
        }
        let mut above: Vec<Candidate<'_>> = Vec::new();
        while !level.is_empty() {
            let mut signers = HashSet::new();
            for child in &level {
                search.add_signers(child, &seen, &mut signers)?;
            }
            signers.retain(|key| !seen.contains(key));
            let is_new =
                |candidate: &&Candidate<'_>| signers.contains(&candidate.keys.subject_and_key);
            let next: Vec<Candidate<'_>> = search.known.iter().filter(is_new).copied().collect();
            seen.extend(signers.iter().copied());
            level = next.iter().map(Child::of).collect();
            above.extend(next);
        }
        let mut path: Vec<PathCertificate> =
            self.certificates.iter().map(|(certificate, _)| certificate.clone()).collect();
        for candidate in above {
            // The device may present what we have.
            let certificate = as_path_certificate(&candidate)?;
            if !path.contains(&certificate) {
                path.push(certificate);
            }
        }
        Ok(path)
    }
}

/// A certificate whose signers are looked for.
struct Child<'a> {
    der: &'a [u8],
    issuer: [u8; 32],
    /// Its own name and key.
    key: [u8; 32],
    /// Whether who signed it is known already, so that only the watched CAs are asked about it.
    is_settled: bool,
}

impl<'a> Child<'a> {
    fn of(candidate: &Candidate<'a>) -> Self {
        Self {
            der: candidate.der,
            issuer: candidate.keys.issuer,
            key: candidate.keys.subject_and_key,
            is_settled: false,
        }
    }
}

/// Who may have signed, and how often we have looked.
struct Search<'a> {
    /// The presented certificates, the watched ones, the other ones of ours.
    known: Vec<Candidate<'a>>,
    n_watched: usize,
    checks_left: usize,
}

impl Search<'_> {
    /// Adds the keys that signed the child: all watched ones that fit, and the first that fits of
    /// our others, or else all that fit of the presented ones.
    fn add_signers(
        &mut self,
        child: &Child<'_>,
        seen: &HashSet<[u8; 32]>,
        signers: &mut HashSet<[u8; 32]>,
    ) -> Result<(), AttestFailure> {
        let named = |of: fn(usize, LinkFrom) -> bool, n_watched: usize| {
            let is_named = move |candidate: &&Candidate<'_>| {
                candidate.keys.subject == child.issuer
                    && candidate.keys.subject_and_key != child.key
                    && of(n_watched, candidate.from)
            };
            self.known.iter().filter(is_named).copied().collect::<Vec<_>>()
        };
        let watched =
            named(|n, from| matches!(from, LinkFrom::Stored(at) if at < n), self.n_watched);
        let ours = named(|n, from| matches!(from, LinkFrom::Stored(at) if at >= n), self.n_watched);
        let presented = named(|_, from| matches!(from, LinkFrom::Presented(_)), self.n_watched);
        let mut tried = HashSet::new();
        let mut is_settled = child.is_settled;
        for candidate in watched {
            let key = candidate.keys.subject_and_key;
            if !seen.contains(&key) && tried.insert(key) && self.signed(child.der, candidate.der)? {
                signers.insert(key);
                is_settled = true;
            }
        }
        if !is_settled && (!ours.is_empty() || !presented.is_empty()) {
            // What signed itself has nobody above it. Looked at before its namesakes are.
            is_settled = Parsed::of(child.der)?.keys().subject == child.issuer
                && self.signed(child.der, child.der)?;
        }
        for candidate in ours {
            let key = candidate.keys.subject_and_key;
            if !is_settled && tried.insert(key) && self.signed(child.der, candidate.der)? {
                signers.insert(key);
                is_settled = true;
            }
        }
        for candidate in presented {
            let key = candidate.keys.subject_and_key;
            if !is_settled && tried.insert(key) && self.signed(child.der, candidate.der)? {
                signers.insert(key);
            }
        }
        Ok(())
    }

    /// Whether the issuer's key signed the child; counted.
    fn signed(&mut self, child: &[u8], issuer: &[u8]) -> Result<bool, AttestFailure> {
        self.checks_left = self.checks_left.checked_sub(1).ok_or_else(|| {
            AttestFailure::TooLarge(format!(
                "to find the CAs above the chain more than {MAX_SIGNATURE_CHECKS} signatures \
                 would have to be checked"
            ))
        })?;
        Ok(is_signed_by(child, issuer))
    }
}

fn as_path_certificate(candidate: &Candidate<'_>) -> Result<PathCertificate, AttestFailure> {
    let parsed = Parsed::of(candidate.der)?;
    Ok(PathCertificate {
        sha256: certificate::thumbprint_sha256(candidate.der),
        sha1: certificate::thumbprint_sha1(candidate.der),
        tbs: parsed.tbs_sha256(),
        subject_and_key: candidate.keys.subject_and_key,
        subject: candidate.keys.subject,
        issuer: candidate.keys.issuer,
        serial: parsed.serial(),
        subject_name: candidate.subject.to_owned(),
    })
}

#[cfg(test)]
mod tests;
