//! Until when a refusal holds, if nothing is written meanwhile.

use attest::chain::validity_limits;
use model::{AttestationMechanism, RegisterFacts, Timestamp};

use super::{AttestSettings, Shown};

/// The next moment at which time alone could change what was decided from these facts about this
/// evidence: a certificate, a token, a challenge, a ban or a revocation list begins to count, or no
/// longer does. Nothing if there is none.
///
/// It may name moments that change nothing, and never leaves one out.
#[must_use]
pub fn next_change(
    facts: &RegisterFacts,
    shown: &Shown,
    settings: &AttestSettings,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut limits: Vec<Timestamp> = Vec::new();
    if let Some(chain) = shown.chain() {
        limits.extend(chain.validity_limits());
    }
    if let Shown::Sas(token) = shown {
        let expiry = token.expiry_unix_secs.saturating_add(settings.clock_skew_secs);
        limits.push(Timestamp::from_unix_secs(expiry));
    }
    let terms = facts.groups.iter().map(|group| &group.terms);
    let terms = terms.chain(facts.individual.iter().map(|enrollment| &enrollment.terms));
    let enrolled = terms.flat_map(|terms| terms.attestation.own_certificates());
    let stored = facts.ca_certificates.iter().map(|ca| &ca.certificate);
    for certificate in enrolled.chain(stored) {
        limits.extend(validity_limits(certificate.info.not_before, certificate.info.not_after));
    }
    limits.extend(facts.tpm_challenges.iter().map(|challenge| challenge.expires));
    limits.extend(facts.bans.iter().filter_map(|ban| ban.expires));
    // A list is out of date after that moment, not at it.
    let over = |next: Timestamp| Timestamp::from_ticks(next.ticks().saturating_add(1));
    limits.extend(facts.crls.iter().filter_map(|list| list.end.map(over)));
    if facts.individual.as_ref().is_some_and(|e| keeps_unread_certificates(&e.terms.attestation)) {
        // Whose validity is not known here.
        limits.push(over(now));
    }
    limits.into_iter().filter(|limit| now < *limit).min()
}

fn keeps_unread_certificates(mechanism: &AttestationMechanism) -> bool {
    match mechanism {
        AttestationMechanism::Tpm(tpm) => {
            tpm.endorsement.as_ref().is_some_and(|demanded| !demanded.certificates.is_empty())
        }
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::TpmIssuer(_) => false,
    }
}
