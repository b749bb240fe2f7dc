//! What a connection rests on besides its identity: the enrollment its device was provisioned by,
//! the certificates of the verified path, and nobody having banned them.
//!
//! A connection keeps its [`Footing`]. Everything in it has a key, by which the index of live
//! sessions finds the connection when a change touches that thing; whether the connection then
//! still holds is decided here, from the footing and the change alone.

use attest::{certificate::thumbprint_sha256, chain};
use model::{
    Anchor, AttestationMechanism, Ban, BanKind, BanSubject, CertificateDer, ConnectFacts,
    ConnectRefusal, EnrolledCertificate, EnrollmentGroup, EnrollmentRef, IndividualEnrollment,
    KnownProof, Origin, OriginEntry, PathCertificate, RegistrationId, Timestamp,
    ban::{endorsement_key, registration_key},
};

use crate::manage::bans::sha256;

/// What a connection rests on besides its identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footing {
    /// The registration that its identity came from.
    origin: Option<Source>,
    /// The keys of all bans that would end it, in their order.
    ban_keys: Vec<String>,
    /// Those of them that do not come from its origin.
    own_keys: Vec<String>,
    /// The names of the CAs that signed what it showed itself, and of whom no certificate is known.
    own_issuers: Vec<[u8; 32]>,
}

/// Where an identity came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    enrollment: EnrollmentRef,
    /// The group's own word on whether its end ends sessions.
    ends_sessions: Option<bool>,
    anchors: Option<Vec<Anchor>>,
    path: Vec<PathCertificate>,
}

/// A kind of change that may end connections, as connections hold it.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The individual enrollment is so now.
    Individual(&'a IndividualEnrollment),
    /// The group is so now.
    Group(&'a EnrollmentGroup),
    /// The enrollment is gone.
    Gone(&'a EnrollmentRef),
    /// The CA certificate of this name in the service's store is of this CA now
    /// ([`CaKeys::subject_and_key`](model::CaKeys::subject_and_key)); `None` when it is gone, or
    /// no longer verified.
    Ca(&'a str, Option<[u8; 32]>),
    /// This ban was set.
    Ban(&'a Ban),
    /// The certificate of this key ([`model::ban::serial_key`]) was revoked by its issuer.
    Revoked(&'a str),
}

impl Footing {
    /// The footing of a connection: of the registration whose identity it uses, of its device's
    /// name, and of the path above the certificate that it showed itself.
    #[must_use]
    pub fn new(
        origin: Option<&Origin>,
        device: Option<&RegistrationId>,
        shown: &[PathCertificate],
    ) -> Self {
        let mut own_keys: Vec<String> = shown.iter().flat_map(PathCertificate::ban_keys).collect();
        own_keys.extend(device.map(registration_key));
        let own_issuers = unknown_issuers(shown).map(|one| one.issuer).collect();
        Self { own_keys, own_issuers, ..Self::default() }.with_origin(origin)
    }

    /// The same connection, whose identity came from this registration.
    #[must_use]
    pub fn with_origin(&self, origin: Option<&Origin>) -> Self {
        let mut ban_keys = self.own_keys.clone();
        if let Some(origin) = origin {
            ban_keys.push(registration_key(&origin.registration_id));
            let grounds = origin.grounds.as_ref();
            let path = grounds.map_or(&[][..], |grounds| &grounds.path);
            ban_keys.extend(path.iter().flat_map(PathCertificate::ban_keys));
            if let Some(KnownProof::Tpm { endorsement_key: key, .. }) =
                grounds.map(|grounds| &grounds.proof)
            {
                ban_keys.push(endorsement_key(&sha256(key)));
            }
        }
        ban_keys.sort_unstable();
        ban_keys.dedup();
        let origin = origin.map(|origin| Source {
            enrollment: origin.enrollment.clone(),
            ends_sessions: origin.ends_sessions,
            anchors: origin.entry.as_ref().and_then(|entry| entry.anchors.clone()),
            path: origin.grounds.as_ref().map_or_else(Vec::new, |grounds| grounds.path.clone()),
        });
        let (own_keys, own_issuers) = (self.own_keys.clone(), self.own_issuers.clone());
        Self { origin, ban_keys, own_keys, own_issuers }
    }

    /// The keys by which changes find it. They say where to look, and nothing about the outcome.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.ban_keys.clone();
        if let Some(source) = &self.origin {
            keys.push(enrollment_key(&source.enrollment));
            let names = source.anchors.iter().flatten().filter_map(|a| a.reference.as_deref());
            keys.extend(names.map(ca_name_key));
            keys.extend(unknown_issuers(&source.path).map(|one| issuer_key(&one.issuer)));
        }
        keys.extend(self.own_issuers.iter().map(issuer_key));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The keys of all bans that would end it.
    #[must_use]
    pub fn ban_keys(&self) -> &[String] {
        &self.ban_keys
    }

    /// The enrollment that its device was provisioned by.
    #[must_use]
    pub fn enrollment(&self) -> Option<&EnrollmentRef> {
        self.origin.as_ref().map(|source| &source.enrollment)
    }

    /// Holds it against a change. `by_default` is the service's `disenroll_ends_sessions`.
    ///
    /// # Errors
    /// [`ConnectRefusal::Banned`], [`ConnectRefusal::Disenrolled`].
    pub fn still_stands(
        &mut self,
        change: Change<'_>,
        by_default: bool,
        now: Timestamp,
    ) -> Result<(), ConnectRefusal> {
        match change {
            Change::Ban(ban) => match self.is_banned_by(ban, now) {
                true => Err(ConnectRefusal::Banned(ban.subject.key())),
                false => Ok(()),
            },
            Change::Individual(individual) => {
                let enrollment = EnrollmentRef::Individual(individual.registration_id.clone());
                self.enrollment_is(&enrollment, |_| Some(individual_entry(individual)), by_default)
            }
            Change::Group(group) => {
                let enrollment = EnrollmentRef::Group(group.group_id.clone());
                self.enrollment_is(&enrollment, |known| Some(group_entry(group, known)), by_default)
            }
            Change::Gone(enrollment) => self.enrollment_is(enrollment, |_| None, by_default),
            Change::Ca(name, is_of) => {
                let Some(source) = &self.origin else { return Ok(()) };
                let Some(anchors) = source.anchors.clone() else { return Ok(()) };
                let is_left = |anchor: &Anchor| {
                    anchor.reference.as_deref() != Some(name) || Some(anchor.key) == is_of
                };
                let entry = OriginEntry {
                    // Whether it is enabled was told when that changed.
                    is_enabled: true,
                    ends_sessions: source.ends_sessions,
                    anchors: Some(anchors.into_iter().filter(is_left).collect()),
                };
                let enrollment = source.enrollment.clone();
                self.enrollment_is(&enrollment, |_| Some(entry), by_default)
            }
            Change::Revoked(key) => {
                let Some(source) = &self.origin else { return Ok(()) };
                let is_its = source.path.iter().any(|c| c.ban_keys().iter().any(|k| k == key));
                if is_its && source.ends_sessions.unwrap_or(by_default) {
                    let why = "a certificate it was provisioned by is revoked by its issuer";
                    return Err(ConnectRefusal::Disenrolled(why.to_owned()));
                }
                Ok(())
            }
        }
    }

    /// The enrollment is so now, by what is known of its anchors.
    fn enrollment_is(
        &mut self,
        enrollment: &EnrollmentRef,
        entry: impl FnOnce(&[Anchor]) -> Option<OriginEntry>,
        by_default: bool,
    ) -> Result<(), ConnectRefusal> {
        let Some(source) = &mut self.origin else { return Ok(()) };
        if !is_same(&source.enrollment, enrollment) {
            return Ok(());
        }
        let entry = entry(source.anchors.as_deref().unwrap_or(&[]));
        if let Some(entry) = &entry {
            source.ends_sessions = entry.ends_sessions;
            source.anchors.clone_from(&entry.anchors);
        }
        stands(enrollment, entry.as_ref(), &source.path, source.ends_sessions, by_default)
    }

    /// Whether a ban that is in force is about it, as far as that can be told from the footing alone.
    /// One on a registration ID that was retired is not, when an individual enrollment admitted its
    /// device since; nor when the operator made the identity by hand, which no enrollment did.
    ///
    /// Whether a banned CA's key made a certificate's signature cannot be told without that
    /// certificate: its name says enough, and who is ended for nothing is let in again
    /// ([`Self::keeps_out`]).
    #[must_use]
    fn is_banned_by(&self, ban: &Ban, now: Timestamp) -> bool {
        if self.is_named_by(ban, now) {
            return true;
        }
        let BanSubject::Ca(ca) = &ban.subject else { return false };
        let above_origin = self
            .origin
            .iter()
            .flat_map(|source| unknown_issuers(&source.path))
            .map(|one| &one.issuer);
        let mut issuers = above_origin.chain(&self.own_issuers);
        ban.is_in_force(now) && issuers.any(|issuer| *issuer == ca.keys.subject)
    }

    /// Whether a ban in force keeps the connection out that has this footing and this origin, whose
    /// path above what it showed itself was followed with the banned CA among the known ones.
    #[must_use]
    pub fn keeps_out(&self, ban: &Ban, origin: Option<&Origin>, now: Timestamp) -> bool {
        if self.is_named_by(ban, now) {
            return true;
        }
        let (BanSubject::Ca(ca), Some(grounds)) =
            (&ban.subject, origin.and_then(|origin| origin.grounds.as_ref()))
        else {
            return false;
        };
        ban.is_in_force(now)
            && unknown_issuers(&grounds.path)
                .filter(|one| one.issuer == ca.keys.subject)
                .any(|one| may_be_signed_by(one, &grounds.proof, ca))
    }

    /// Whether a ban in force has one of the keys.
    fn is_named_by(&self, ban: &Ban, now: Timestamp) -> bool {
        if ban.kind == BanKind::Retired && matches!(ban.subject, BanSubject::Registration(_)) {
            let by_group = |source: &Source| matches!(source.enrollment, EnrollmentRef::Group(_));
            if !self.origin.as_ref().is_some_and(by_group) {
                return false;
            }
        }
        ban.is_in_force(now) && self.ban_keys.binary_search(&ban.subject.key()).is_ok()
    }
}

/// The certificates of a path that are not below another one of it: their issuers were not known.
fn unknown_issuers(path: &[PathCertificate]) -> impl Iterator<Item = &PathCertificate> {
    path.iter().filter(|one| path.iter().all(|other| other.subject != one.issuer))
}

/// Whether this CA's key made a certificate's signature. When the device did not send that
/// certificate, its issuer's name has to do.
fn may_be_signed_by(one: &PathCertificate, proof: &KnownProof, ca: &EnrolledCertificate) -> bool {
    let sent = match proof {
        KnownProof::Certificates(sent) => sent,
        KnownProof::Tpm { endorsement_certificates: sent, .. } => sent,
        KnownProof::Key { .. } => return true,
    };
    let is_it = |sent: &&CertificateDer| thumbprint_sha256(&sent.0) == one.sha256;
    sent.iter().find(is_it).is_none_or(|sent| chain::is_signed_by(&sent.0, &ca.der))
}

/// Whether a device may connect by this origin.
///
/// # Errors
/// [`ConnectRefusal::Disenrolled`] when what it was provisioned by is disabled, gone, or admits by
/// other certificates now, and that ends sessions.
pub fn origin_stands(origin: &Origin, by_default: bool) -> Result<(), ConnectRefusal> {
    let entry = origin.entry.as_ref();
    let path = origin.grounds.as_ref().map_or(&[][..], |grounds| &grounds.path);
    stands(&origin.enrollment, entry, path, origin.ends_sessions, by_default)
}

/// Whether a connection ends with the enrollment that its device was provisioned by.
#[must_use]
pub fn ends_with_enrollment(facts: &ConnectFacts) -> bool {
    let by_default = facts.settings.disenroll_ends_sessions;
    facts.origin.as_ref().is_some_and(|origin| origin.ends_sessions.unwrap_or(by_default))
}

fn stands(
    enrollment: &EnrollmentRef,
    entry: Option<&OriginEntry>,
    path: &[PathCertificate],
    ends_sessions: Option<bool>,
    by_default: bool,
) -> Result<(), ConnectRefusal> {
    if !ends_sessions.unwrap_or(by_default) {
        return Ok(());
    }
    let name = match enrollment {
        EnrollmentRef::Individual(id) => format!("the enrollment `{id}`"),
        EnrollmentRef::Group(id) => format!("the group `{id}`"),
    };
    let Some(entry) = entry else {
        return Err(ConnectRefusal::Disenrolled(format!("{name} is gone")));
    };
    if !entry.is_enabled {
        return Err(ConnectRefusal::Disenrolled(format!("{name} is disabled")));
    }
    match &entry.anchors {
        // A registration from before the path was kept has none to hold against the anchors.
        Some(anchors) if !path.is_empty() => {
            let is_anchored = anchors.iter().any(|anchor| {
                path.iter().any(|c| c.subject_and_key == anchor.key || c.sha256 == anchor.key)
            });
            let why = || format!("{name} admits by other certificates now");
            is_anchored.then_some(()).ok_or_else(|| ConnectRefusal::Disenrolled(why()))
        }
        Some(_) | None => Ok(()),
    }
}

fn is_same(a: &EnrollmentRef, b: &EnrollmentRef) -> bool {
    enrollment_key(a) == enrollment_key(b)
}

/// The key of an enrollment.
#[must_use]
pub fn enrollment_key(enrollment: &EnrollmentRef) -> String {
    match enrollment {
        EnrollmentRef::Individual(id) => format!("individual:{}", id.key()),
        EnrollmentRef::Group(id) => format!("group:{}", id.key()),
    }
}

/// The key of a CA certificate of the service's store, by name.
#[must_use]
pub fn ca_name_key(name: &str) -> String {
    format!("ca-certificate:{name}")
}

/// The key of those whose path ends below a CA of this name (SHA-256 of the name's DER).
#[must_use]
pub fn issuer_key(subject: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut key = "issuer:".to_owned();
    for byte in subject {
        // Writing to a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// The keys under which connections that a ban may end are found.
#[must_use]
pub fn keys_of_ban(subject: &BanSubject) -> Vec<String> {
    let mut keys = vec![subject.key()];
    if let BanSubject::Ca(ca) = subject {
        keys.push(issuer_key(&ca.keys.subject));
    }
    keys
}

/// An individual enrollment, as connections depend on it.
#[must_use]
pub fn individual_entry(enrollment: &IndividualEnrollment) -> OriginEntry {
    let anchors = match &enrollment.terms.attestation {
        AttestationMechanism::X509Client(slots) => {
            let leaf = |certificate: &EnrolledCertificate| Anchor {
                key: thumbprint_sha256(&certificate.der),
                reference: None,
            };
            Some(slots.iter().map(leaf).collect())
        }
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Signing(_)
        | AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::Tpm(_)
        | AttestationMechanism::TpmIssuer(_) => None,
    };
    OriginEntry { is_enabled: enrollment.terms.is_enabled(), ends_sessions: None, anchors }
}

/// A group, as connections depend on it. Of the CA certificates it refers to by name, those count
/// whose certificates are known from before: whoever rests on another one connects anew.
fn group_entry(group: &EnrollmentGroup, known: &[Anchor]) -> OriginEntry {
    let anchors = match &group.terms.attestation {
        AttestationMechanism::X509Signing(slots) | AttestationMechanism::TpmIssuer(slots) => {
            let anchor =
                |ca: &EnrolledCertificate| Anchor { key: ca.keys.subject_and_key, reference: None };
            Some(slots.iter().map(anchor).collect())
        }
        AttestationMechanism::X509CaReferences(names) => {
            let is_named = |anchor: &&Anchor| {
                names.iter().any(|name| anchor.reference.as_deref() == Some(name.as_str()))
            };
            Some(known.iter().filter(is_named).cloned().collect())
        }
        AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::Tpm(_) => None,
    };
    OriginEntry {
        is_enabled: group.terms.is_enabled(),
        ends_sessions: group.settings.disenroll_ends_sessions,
        anchors,
    }
}

#[cfg(test)]
mod tests;
