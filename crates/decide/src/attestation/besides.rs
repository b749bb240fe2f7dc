//! Certificates that a device rests on without showing them: those of a TPM's endorsement key that an
//! operator keeps with its enrollment. Only the facts tell of them, so bans on them and revocation
//! lists are asked about when the facts are known.

use attest::chain;
use model::{AttestationMechanism, PathCertificate, RegisterFacts, RegisterQuery};

use super::parse_chain;

/// The query that asks about the certificates kept with the enrollment as well; nothing when this one
/// did, and when there is nothing to hear: no ban and no list was ever written.
#[must_use]
pub fn besides(
    facts: &RegisterFacts,
    query: &RegisterQuery,
    limits: &chain::Limits,
) -> Option<RegisterQuery> {
    if facts.bans_version == 0 {
        return None;
    }
    let AttestationMechanism::Tpm(tpm) = &facts.individual.as_ref()?.terms.attestation else {
        return None;
    };
    let endorsement = tpm.endorsement.as_ref()?;
    // What cannot be read admits nobody.
    let kept = parse_chain(&endorsement.certificates, limits).ok().flatten();
    let mut path = kept.map(|kept| kept.path_certificates()).unwrap_or_default();
    let root = |root| attest::certificate::path_certificate(root);
    path.extend(endorsement.roots.iter().map(root));
    let mut wider = query.clone();
    add(&path, &mut wider);
    (wider != *query).then_some(wider)
}

/// Asks about these certificates as well.
pub(super) fn add(path: &[PathCertificate], query: &mut RegisterQuery) {
    let RegisterQuery { ban_keys, ca_names, serials, .. } = query;
    add_new(ban_keys, path.iter().flat_map(PathCertificate::ban_keys));
    add_new(ca_names, path.iter().flat_map(|one| [one.subject, one.issuer]));
    add_new(serials, path.iter().map(|one| (one.issuer, one.serial.clone())));
}

fn add_new<T: PartialEq>(to: &mut Vec<T>, items: impl IntoIterator<Item = T>) {
    for item in items {
        if !to.contains(&item) {
            to.push(item);
        }
    }
}
