//! Which entry decides about a device, and whether the device proved itself to it.
//!
//! The order is D §5.1 to §5.4: the individual enrollment of the registration ID first, whatever
//! its type; then groups, from the certificate that signed the leaf upward, where the first
//! certificate with a group decides even when that group is disabled; symmetric-key groups by
//! derived keys.

use attest::{
    chain::{self, LinkFrom, Presented},
    sas,
};
use model::{
    AttestFailure, AttestationKind, AttestationMechanism, AuthenticationKind, CaCertificate,
    DeviceAuthentication, DeviceRefusal, EnrolledCertificate, EnrollmentGroup, EnrollmentRef,
    Evidence, IdScope, IndividualEnrollment, RegisterFacts, RegistrationId, SasToken, Step,
    SymmetricKeys, Terms, Timestamp,
};

/// Evidence, parsed once: before the facts are read, because it says which groups to read.
#[derive(Debug)]
pub enum Shown {
    /// A certificate chain.
    X509(Box<Presented>),
    /// A shared access signature.
    Sas(SasToken),
    /// A TPM's keys.
    Tpm,
    /// Nothing.
    Nothing,
}

impl Shown {
    /// Parses evidence.
    ///
    /// # Errors
    /// [`AttestFailure`] when a certificate cannot be parsed or is beyond the limits.
    pub fn parse(evidence: &Evidence, limits: &chain::Limits) -> Result<Self, AttestFailure> {
        Ok(match evidence {
            Evidence::X509(certificates) => {
                Self::X509(Box::new(Presented::parse(certificates, limits)?))
            }
            Evidence::Sas(token) => Self::Sas(token.clone()),
            Evidence::Tpm { .. } => Self::Tpm,
            Evidence::Nothing => Self::Nothing,
        })
    }

    /// Which groups could admit its bearer.
    #[must_use]
    pub fn group_query(&self) -> model::GroupQuery {
        match self {
            Self::X509(presented) => model::GroupQuery::ByCa { subjects: presented.name_hashes() },
            Self::Sas(_) => model::GroupQuery::BySymmetricKey,
            Self::Tpm | Self::Nothing => model::GroupQuery::None,
        }
    }

    const fn kind(&self) -> Option<AttestationKind> {
        match self {
            Self::X509(_) => Some(AttestationKind::X509),
            Self::Sas(_) => Some(AttestationKind::SymmetricKey),
            Self::Tpm => Some(AttestationKind::Tpm),
            Self::Nothing => None,
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
    Thumbprints { primary: String, secondary: String },
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
        }
    }

    /// How the device will log in to its hub (D §5.8, H §8): with the same keys, or with the
    /// thumbprint of the leaf it presented, for groups too.
    #[must_use]
    pub fn hub_authentication(&self) -> DeviceAuthentication {
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
    let bearer = Bearer { registration_id, shown, settings, now };
    steps.push(Step::LookedUpIndividual {
        registration_id: registration_id.clone(),
        found: facts.individual.is_some(),
    });
    let outcome = match &facts.individual {
        Some(enrollment) => by_individual(enrollment, facts, &bearer, steps),
        None => by_groups(facts, &bearer, steps),
    };
    if let Err(DeviceRefusal::NotAttested(failure)) = &outcome {
        steps.push(Step::AttestationFailed(failure.clone()));
    }
    outcome
}

/// Who stands at the door.
struct Bearer<'b> {
    registration_id: &'b RegistrationId,
    shown: &'b Shown,
    settings: &'b AttestSettings,
    now: Timestamp,
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
        let scope = self.settings.id_scope.as_str();
        check_claims(token, scope, self.registration_id, self.settings, self.now)
    }

    /// Checks what holds for every certificate, whoever decides: the leaf has one common name and
    /// it is the registration ID (D §5.2).
    fn check_common_name(&self, presented: &Presented) -> Result<(), AttestFailure> {
        let name = presented.leaf_common_name()?;
        if name.eq_ignore_ascii_case(self.registration_id.as_str()) {
            Ok(())
        } else {
            let name: String = name.chars().take(64).collect();
            Err(AttestFailure::CommonName(format!("it is {name:?}")))
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
    match check_individual(enrollment, bearer, steps) {
        Ok(credential) => Ok(Attested { entry: Entry::Individual(enrollment), credential }),
        // A disabled entry of another kind is how one device of a group is shut out without its
        // certificate. A caller who proves nothing learns nothing, so the group's credential is
        // checked before the device is told that it is disabled (D appendix D8).
        Err(AttestFailure::WrongKind) if !enrollment.terms.is_enabled() => {
            match by_groups(facts, bearer, steps) {
                Ok(Attested { credential, .. }) => {
                    Ok(Attested { entry: Entry::Individual(enrollment), credential })
                }
                Err(_) => Err(DeviceRefusal::NotAttested(AttestFailure::WrongKind)),
            }
        }
        // To a TPM client a 401 is a challenge; it must not see one here.
        Err(AttestFailure::WrongKind) if matches!(bearer.shown, Shown::Tpm) => {
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
    match (&enrollment.terms.attestation, bearer.shown) {
        (_, Shown::Nothing) => Err(AttestFailure::NoEvidence),
        (AttestationMechanism::SymmetricKey(keys), Shown::Sas(token)) => {
            bearer.check_token(token)?;
            let slot = sas::verify_signature(token, keys)?;
            steps.push(Step::Attested { by: format!("the {} key", slot.name()) });
            Ok(Credential::Keys(keys.clone()))
        }
        (AttestationMechanism::X509Client(slots), Shown::X509(presented)) => {
            bearer.check_common_name(presented)?;
            let slot = chain::match_thumbprint(presented, slots, bearer.now)?;
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
        (AttestationMechanism::Tpm(_), Shown::Tpm) => Err(AttestFailure::TpmUnavailable),
        _ => Err(AttestFailure::WrongKind),
    }
}

fn by_groups<'a>(
    facts: &'a RegisterFacts,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    if let Some(kind) = bearer.shown.kind() {
        steps.push(Step::LookedUpGroups { kind, candidates: facts.groups.len() });
    }
    match bearer.shown {
        Shown::X509(presented) => by_certificates(facts, presented, bearer, steps),
        Shown::Sas(token) => by_derived_key(facts, token, bearer, steps),
        Shown::Tpm => Err(DeviceRefusal::TpmNotEnrolled),
        Shown::Nothing => Err(DeviceRefusal::NotAttested(AttestFailure::NoEvidence)),
    }
}

fn by_derived_key<'a>(
    facts: &'a RegisterFacts,
    token: &SasToken,
    bearer: &Bearer<'_>,
    steps: &mut Vec<Step>,
) -> Result<Attested<'a>, DeviceRefusal> {
    bearer.check_token(token).map_err(DeviceRefusal::NotAttested)?;
    // Should two groups share a key, a disabled one decides.
    let (enabled, disabled): (Vec<_>, Vec<_>) =
        facts.groups.iter().partition(|group| group.terms.is_enabled());
    for group in disabled.into_iter().chain(enabled) {
        let AttestationMechanism::SymmetricKey(keys) = &group.terms.attestation else {
            continue;
        };
        if let Some((derived, slot)) = sas::match_derived(token, keys, bearer.registration_id) {
            let by = format!("a key derived from its {} key", slot.name());
            steps.push(Step::GroupDecides { group_id: group.group_id.clone(), by: by.clone() });
            steps.push(Step::Attested { by });
            let credential = Credential::Keys(derived);
            return Ok(Attested { entry: Entry::Group(group), credential });
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
    let enrolled = Enrolled::of(facts);
    let path =
        chain::walk(presented, &enrolled.certificates).map_err(DeviceRefusal::NotAttested)?;
    let owners = enrolled.owners.iter().map(|(key, _)| *key).collect();
    for link in &path {
        if matches!(link.from, LinkFrom::Stored(_)) {
            steps.push(Step::CompletedFromStore { subject: link.subject.clone() });
        }
        let Some(group) = enrolled.group_of(link.keys.subject_and_key) else {
            steps.push(Step::CertificateWithoutGroup { subject: link.subject.clone() });
            continue;
        };
        steps.push(Step::GroupDecides {
            group_id: group.group_id.clone(),
            by: link.subject.clone(),
        });
        // Primary and secondary may be two certificates of one CA: either will do.
        let mut failure = AttestFailure::BadChain("the group has no certificate".to_owned());
        for anchor in certificates_of(group, &facts.ca_certificates) {
            if anchor.keys.subject_and_key != link.keys.subject_and_key {
                continue;
            }
            match chain::validate(presented, &enrolled.certificates, anchor, &owners, bearer.now) {
                Ok(()) => {
                    steps.push(Step::Attested {
                        by: format!("a chain to {}", anchor.info.subject_name),
                    });
                    let thumbprint = presented.leaf_thumbprint_hex();
                    let credential = Credential::Thumbprints {
                        primary: thumbprint.clone(),
                        secondary: thumbprint,
                    };
                    return Ok(Attested { entry: Entry::Group(group), credential });
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

/// Every CA certificate of ours that came into question, and whose it is.
struct Enrolled<'a> {
    certificates: Vec<&'a EnrolledCertificate>,
    owners: Vec<([u8; 32], &'a EnrollmentGroup)>,
}

impl<'a> Enrolled<'a> {
    fn of(facts: &'a RegisterFacts) -> Self {
        let verified = facts.ca_certificates.iter().filter(|ca| ca.verified);
        let mut certificates: Vec<_> = verified.map(|ca| &ca.certificate).collect();
        let mut owners = Vec::new();
        for group in facts.groups.iter() {
            for certificate in certificates_of(group, &facts.ca_certificates) {
                if !certificates.iter().any(|known| known.der == certificate.der) {
                    certificates.push(certificate);
                }
                owners.push((certificate.keys.subject_and_key, group));
            }
        }
        Self { certificates, owners }
    }

    /// The group of a CA. Should several groups hold it, a disabled one decides, or else the
    /// first by name.
    fn group_of(&self, subject_and_key: [u8; 32]) -> Option<&'a EnrollmentGroup> {
        let mut groups =
            self.owners.iter().filter(|(keys, _)| *keys == subject_and_key).map(|(_, g)| *g);
        let first = groups.clone().next();
        groups.find(|group| !group.terms.is_enabled()).or(first)
    }
}

/// The certificates a group admits by, references resolved. An unverified reference admits
/// nobody (O §1.6).
fn certificates_of<'a>(
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
        | AttestationMechanism::Tpm(_) => Vec::new(),
    }
}
