//! The groups: by a chain's certificates, by derived keys, by the issuers of TPMs.

use std::collections::HashSet;

use attest::{
    Slot,
    chain::{self, KeyPurpose, LinkFrom, Presented},
    sas,
};
use model::{
    AttestFailure, AttestationMechanism, CaCertificate, DeviceRefusal, EnrolledCertificate,
    EnrollmentGroup, PathCertificate, RegisterFacts, Step, SymmetricKeys,
};

use super::{Attested, Bearer, Credential, Entry, Proof, tpm::Tpm};

/// Finds the group that decides, and checks the evidence against it.
pub(super) fn by_groups<'a>(
    facts: &'a RegisterFacts,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    if let Some(kind) = bearer.proof.kind() {
        let candidates = facts.groups.iter().filter(|g| g.terms.attestation.kind() == kind).count();
        steps.push(Step::LookedUpGroups { kind, candidates });
    }
    match &bearer.proof {
        Proof::X509(presented) => by_certificates(facts, presented, bearer, steps),
        Proof::Token(token) => {
            bearer.check_token(token).map_err(DeviceRefusal::NotAttested)?;
            let id = bearer.asked.registration_id;
            by_derived_key(facts, |keys| sas::match_derived(token, keys, id), bearer, steps)
        }
        Proof::Key(key) => {
            let id = bearer.asked.registration_id;
            by_derived_key(facts, |keys| sas::match_derived_key(key, keys, id), bearer, steps)
        }
        Proof::Tpm(tpm) => {
            tpm.check_claims(bearer).map_err(DeviceRefusal::NotAttested)?;
            by_issuers(facts, tpm, bearer, steps).map_err(|refusal| match refusal {
                missing @ DeviceRefusal::NotAttested(AttestFailure::TpmNotChallenged) => missing,
                banned @ DeviceRefusal::Banned { .. } => banned,
                // No chain of a stranger's making may tell which groups there are.
                DeviceRefusal::NotAttested(failure) => {
                    steps.push(Step::AttestationFailed(failure));
                    DeviceRefusal::TpmNotEnrolled
                }
                _ => DeviceRefusal::TpmNotEnrolled,
            })
        }
        Proof::Nothing => Err(DeviceRefusal::NotAttested(AttestFailure::NoEvidence)),
    }
}

fn by_derived_key<'a>(
    facts: &'a RegisterFacts,
    matching: impl Fn(&SymmetricKeys) -> Option<(SymmetricKeys, Slot)>,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    // Should two groups share a key, a disabled one decides.
    let (enabled, disabled): (Vec<_>, Vec<_>) =
        facts.groups.iter().partition(|group| group.terms.is_enabled());
    for group in disabled.into_iter().chain(enabled) {
        let AttestationMechanism::SymmetricKey(keys) = &group.terms.attestation else {
            continue;
        };
        if let Some((derived, slot)) = matching(keys) {
            let by = format!("a key derived from its {} key", slot.name());
            steps.push(Step::GroupDecides { group_id: group.group_id.clone(), by: by.clone() });
            steps.push(Step::Attested { by });
            let credential = Credential::Keys(derived);
            let grounds = bearer.grounds(Some(slot), Vec::new());
            return Ok(Attested { entry: Entry::Group(group), credential, grounds });
        }
    }
    Err(DeviceRefusal::NotEnrolled)
}

fn by_certificates<'a>(
    facts: &'a RegisterFacts,
    presented: &Presented,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    bearer.check_common_name(presented).map_err(DeviceRefusal::NotAttested)?;
    let enrolled = Enrolled::of_devices(facts);
    let (group, path) = enrolled.first(presented, KeyPurpose::ClientAuth, bearer, steps)?;
    let thumbprint = presented.leaf_thumbprint_hex();
    let credential = Credential::Thumbprints { primary: thumbprint.clone(), secondary: thumbprint };
    let grounds = bearer.grounds(None, path);
    Ok(Attested { entry: Entry::Group(group), credential, grounds })
}

/// A TPM's groups are found as a device's are: from the issuer of the endorsement key's
/// certificate upward, over what the device showed and what such groups keep.
///
/// Its registration ID must be the one that the endorsement key gives it. Otherwise every TPM of a
/// vendor could take the name of every other. **An extension of Induct.**
fn by_issuers<'a>(
    facts: &'a RegisterFacts,
    tpm: &Tpm<'_>,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    let wrapping = tpm.check_name(bearer).map_err(DeviceRefusal::NotAttested)?;
    let Some(presented) = tpm.endorsement() else {
        return Err(DeviceRefusal::TpmNotEnrolled);
    };
    Tpm::check_certificate(presented, &wrapping.endorsement_key)
        .map_err(DeviceRefusal::NotAttested)?;
    let enrolled = Enrolled::of_tpms(facts);
    let (group, path) = enrolled.first(presented, KeyPurpose::EndorsementKey, bearer, steps)?;
    tpm.check_answered().map_err(DeviceRefusal::NotAttested)?;
    let credential = Credential::Tpm(Box::new(wrapping));
    let grounds = bearer.grounds(None, path);
    Ok(Attested { entry: Entry::Group(group), credential, grounds })
}

/// The certificates of ours that came into question for a device with a certificate.
pub(super) fn certificates_of_devices(facts: &RegisterFacts) -> Vec<&EnrolledCertificate> {
    Enrolled::of_devices(facts).certificates
}

/// Those that came into question for a TPM.
pub(super) fn certificates_of_tpms(facts: &RegisterFacts) -> Vec<&EnrolledCertificate> {
    Enrolled::of_tpms(facts).certificates
}

/// The CA certificates of ours that came into question for one kind of devices, and whose they are.
///
/// The two kinds never see each other's. A certificate that both an X.509 group and a group of TPMs
/// keep belongs to each for its own kind: neither shadows the other when it is disabled, and
/// neither completes a chain of the other's.
struct Enrolled<'a> {
    /// What chains are completed from.
    certificates: Vec<&'a EnrolledCertificate>,
    owners: Vec<(&'a EnrolledCertificate, &'a EnrollmentGroup)>,
}

impl<'a> Enrolled<'a> {
    /// For devices with certificates: those of their groups, and the verified ones of the store.
    fn of_devices(facts: &'a RegisterFacts) -> Self {
        let verified = facts.ca_certificates.iter().filter(|ca| ca.verified);
        let stored = verified.map(|ca| &ca.certificate).collect();
        Self::gather(stored, facts, |group| device_certificates(group, &facts.ca_certificates))
    }

    /// For TPMs: those of their groups. The store's certificates are devices' issuers, whose
    /// possession somebody proved; a TPM vendor's nobody here can prove.
    fn of_tpms(facts: &'a RegisterFacts) -> Self {
        Self::gather(Vec::new(), facts, |group| match &group.terms.attestation {
            AttestationMechanism::TpmIssuer(slots) => slots.iter().collect(),
            AttestationMechanism::SymmetricKey(_)
            | AttestationMechanism::X509Client(_)
            | AttestationMechanism::X509Signing(_)
            | AttestationMechanism::X509CaReferences(_)
            | AttestationMechanism::Tpm(_) => Vec::new(),
        })
    }

    fn gather(
        mut certificates: Vec<&'a EnrolledCertificate>,
        facts: &'a RegisterFacts,
        of: impl Fn(&'a EnrollmentGroup) -> Vec<&'a EnrolledCertificate>,
    ) -> Self {
        let mut owners = Vec::new();
        for group in facts.groups.iter() {
            for certificate in of(group) {
                if !certificates.iter().any(|known| known.der == certificate.der) {
                    certificates.push(certificate);
                }
                owners.push((certificate, group));
            }
        }
        Self { certificates, owners }
    }

    /// The group of the first certificate on the way up that has one, if the validated path leads
    /// to it (decision 6). Gives what the device rests on as well.
    fn first(
        &self,
        presented: &Presented,
        purpose: KeyPurpose,
        bearer: &Bearer<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(&'a EnrollmentGroup, Vec<PathCertificate>), DeviceRefusal> {
        let path =
            chain::walk(presented, &self.certificates).map_err(DeviceRefusal::NotAttested)?;
        let cas: HashSet<[u8; 32]> =
            self.owners.iter().map(|(certificate, _)| certificate.keys.subject_and_key).collect();
        for link in &path {
            if matches!(link.from, LinkFrom::Stored(_)) {
                steps.push(Step::CompletedFromStore { subject: link.subject.clone() });
            }
            let ca = link.keys.subject_and_key;
            let Some(group) = self.group_of(ca) else {
                steps.push(Step::CertificateWithoutGroup { subject: link.subject.clone() });
                continue;
            };
            let (group_id, by) = (group.group_id.clone(), link.subject.clone());
            steps.push(Step::GroupDecides { group_id, by });
            // Primary and secondary may be two certificates of one CA: either will do.
            let mut failure = AttestFailure::BadChain("the group has no certificate".to_owned());
            let is_its = |(_, owner): &&(_, &EnrollmentGroup)| std::ptr::eq(*owner, group);
            for (anchor, _) in self.owners.iter().filter(is_its) {
                if anchor.keys.subject_and_key != ca {
                    continue;
                }
                let stored = &self.certificates;
                let now = bearer.asked.now;
                match chain::validate_path(purpose, presented, stored, anchor, &cas, now) {
                    Ok(path) => {
                        let stale = group.settings.stale_crl;
                        let path = bearer.rests_on(path, presented, stored, stale, steps)?;
                        let by = format!("a chain to {}", anchor.info.subject_name);
                        steps.push(Step::Attested { by });
                        return Ok((group, path));
                    }
                    Err(why) => failure = why,
                }
            }
            return Err(DeviceRefusal::NotAttested(failure));
        }
        if let Some(last) = path.last() {
            steps.push(Step::ChainEnded { subject: last.subject.clone() });
        }
        Err(DeviceRefusal::NotEnrolled)
    }

    /// The group of a CA. Should several groups hold it, a disabled one decides, or else the
    /// first by name.
    fn group_of(&self, subject_and_key: [u8; 32]) -> Option<&'a EnrollmentGroup> {
        let mut groups = self
            .owners
            .iter()
            .filter(|(certificate, _)| certificate.keys.subject_and_key == subject_and_key)
            .map(|(_, group)| *group);
        let first = groups.clone().next();
        groups.find(|group| !group.terms.is_enabled()).or(first)
    }
}

/// The certificates a group admits devices by, references resolved. An unverified reference admits
/// nobody (O §1.6).
fn device_certificates<'a>(
    group: &'a EnrollmentGroup,
    cas: &'a [CaCertificate],
) -> Vec<&'a EnrolledCertificate> {
    match &group.terms.attestation {
        AttestationMechanism::X509Signing(slots) => slots.iter().collect(),
        AttestationMechanism::X509CaReferences(names) => names
            .iter()
            .filter_map(|name| cas.iter().find(|ca| ca.verified && ca.name == *name))
            .map(|ca| &ca.certificate)
            .collect(),
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::Tpm(_)
        | AttestationMechanism::TpmIssuer(_) => Vec::new(),
    }
}
