//! What a connection rests on besides its identity: the enrollment its device was provisioned by,
//! the certificates of the verified path, and nobody having banned them.
//!
//! A connection keeps its [`Footing`]. Everything in it has a key, by which the index of live
//! sessions finds the connection when a change touches that thing; whether the connection then
//! still holds is decided here, from the footing and the change alone.

use std::collections::HashSet;

use attest::{certificate::thumbprint_sha256, chain};
use model::{
    Anchor, AttestFailure, AttestationMechanism, Ban, BanKind, BanSubject, CertificateDer,
    ConnectRefusal, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef,
    Grounds, IndividualEnrollment, KnownProof, Origin, OriginEntry, OtherRegistration,
    PathCertificate, RegistrationId, RevokedChange, Timestamp,
    ban::{parse_serial_key, registration_key},
    crl::Serial,
    hex,
};

use crate::ban::of_endorsement_key;

/// What a connection rests on besides its identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footing {
    /// The registration that its identity came from.
    origin: Option<Source>,
    /// The keys of the bans that would end it for what it is and showed itself, in their order.
    own_keys: Box<[Box<str>]>,
    /// Those of the bans that would end it for its origin, but for what is among its own.
    origin_keys: Box<[Box<str>]>,
    /// The names of the CAs that signed what it showed itself, and of whom no certificate is known.
    own_issuers: Vec<[u8; 32]>,
    /// Whether the certificates shown are its credential by their issuer, so that their revocation
    /// ends it.
    is_by_ca: bool,
}

/// Where an identity came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    enrollment: EnrollmentRef,
    /// The group's own word on whether its end ends sessions; of an individual enrollment, that of
    /// the group below.
    ends_sessions: Option<bool>,
    /// The group that the individual enrollment took the device over from.
    taken_from: Option<EnrollmentGroupId>,
    /// The other registrations of the identity, which hardly any has.
    others: Option<Box<Others>>,
    anchors: Option<Vec<Anchor>>,
    path: Vec<PathCertificate>,
    /// Whether the enrollment no longer exists.
    is_gone: bool,
    /// A ban that retired its registration ID and does not keep it out as long as its individual
    /// enrollment exists.
    retired: Option<String>,
}

/// Of the other registrations of an identity, what a ban may be about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Others {
    /// The keys of their IDs, and whether each has an individual enrollment.
    keys: Vec<(String, bool)>,
    /// The names of the unknown CAs above what they rest on.
    issuers: Vec<[u8; 32]>,
}

impl Others {
    fn of(origin: &Origin) -> Option<Box<Self>> {
        let others = &origin.others;
        let key = |other: &OtherRegistration| {
            (registration_key(&other.registration_id), other.is_enrolled)
        };
        let grounds = others.iter().filter_map(|other| other.grounds.as_ref());
        let issuers = grounds.flat_map(|grounds| unknown_issuers(&grounds.path));
        (!others.is_empty()).then(|| {
            let issuers = issuers.map(|one| one.issuer).collect();
            Box::new(Self { keys: others.iter().map(key).collect(), issuers })
        })
    }
}

impl Source {
    /// Whether another registration of the identity has the ID of this key, and if so, whether it has
    /// an individual enrollment.
    fn other(&self, key: &str) -> Option<bool> {
        let others = self.others.as_ref()?;
        let other = others.keys.iter().find(|(other, _)| other == key);
        other.map(|(_, is_enrolled)| *is_enrolled)
    }

    /// The names of the unknown CAs above what the registrations rest on.
    fn issuers(&self) -> impl Iterator<Item = &[u8; 32]> {
        let others = self.others.iter().flat_map(|others| &others.issuers);
        unknown_issuers(&self.path).map(|one| &one.issuer).chain(others)
    }
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
    /// name, of the path above the certificate that it showed itself, and of what else it showed,
    /// which no signature ties to it.
    #[must_use]
    pub fn new(
        origin: Option<&Origin>,
        device: Option<&RegistrationId>,
        path: &[PathCertificate],
        besides: &[PathCertificate],
    ) -> Self {
        let shown = path.iter().chain(besides);
        let mut own_keys: Vec<String> = shown.flat_map(PathCertificate::ban_keys).collect();
        own_keys.extend(device.map(registration_key));
        let own_issuers = unknown_issuers(path).map(|one| one.issuer).collect();
        Self { own_keys: in_order(own_keys), own_issuers, ..Self::default() }.with_origin(origin)
    }

    /// The same of a device that is let in because a CA signed what it shows.
    #[must_use]
    pub(super) fn by_ca(self) -> Self {
        Self { is_by_ca: true, ..self }
    }

    /// The same connection, whose identity came from this registration.
    #[must_use]
    pub fn with_origin(&self, origin: Option<&Origin>) -> Self {
        let mut keys = origin.map_or_else(Vec::new, origin_ban_keys);
        keys.retain(|key| !has_key(&self.own_keys, key));
        let origin_keys = in_order(keys);
        let origin = origin.map(|origin| Source {
            enrollment: origin.enrollment.clone(),
            ends_sessions: origin.ends_sessions,
            taken_from: origin.taken_from.clone(),
            others: Others::of(origin),
            anchors: origin.entry.as_ref().and_then(|entry| entry.anchors.clone()),
            path: origin.grounds.as_ref().map_or_else(Vec::new, |grounds| grounds.path.clone()),
            is_gone: origin.entry.is_none(),
            retired: self.origin.as_ref().and_then(|source| source.retired.clone()),
        });
        Self {
            origin,
            own_keys: self.own_keys.clone(),
            origin_keys,
            own_issuers: self.own_issuers.clone(),
            is_by_ca: self.is_by_ca,
        }
    }

    /// The keys by which changes find it. They say where to look, and nothing about the outcome.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ban_keys().map(str::to_owned).collect();
        if let Some(source) = &self.origin {
            keys.push(enrollment_key(&source.enrollment));
            let group = source.taken_from.clone().map(EnrollmentRef::Group);
            keys.extend(group.as_ref().map(enrollment_key));
            let names = source.anchors.iter().flatten().filter_map(|a| a.reference.as_deref());
            keys.extend(names.map(ca_name_key));
            keys.extend(source.issuers().map(issuer_key));
        }
        keys.extend(self.own_issuers.iter().map(issuer_key));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The keys of all bans that would end it.
    fn ban_keys(&self) -> impl Iterator<Item = &str> {
        self.own_keys.iter().chain(&self.origin_keys).map(|key| &**key)
    }

    fn has_ban_key(&self, key: &str) -> bool {
        has_key(&self.own_keys, key) || has_key(&self.origin_keys, key)
    }

    /// Which certificates it rests on, by the keys of [`Change::Revoked`], that are revoked by this.
    #[must_use]
    pub fn revoked_by(&self, revoked: &RevokedChange) -> Vec<String> {
        let is_revoked = |key: &&str| {
            parse_serial_key(key).is_some_and(|(issuer, serial)| {
                issuer == revoked.issuer
                    && Serial::from_hex(&serial)
                        .is_some_and(|serial| revoked.added.contains(serial.bytes()))
            })
        };
        self.ban_keys().filter(is_revoked).map(str::to_owned).collect()
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
            Change::Ban(ban) if self.is_banned_by(ban, now) => {
                Err(ConnectRefusal::Banned(ban.subject.key()))
            }
            Change::Ban(ban) => {
                self.note_retired(ban, now);
                Ok(())
            }
            Change::Individual(individual) => {
                let enrollment = EnrollmentRef::Individual(individual.registration_id.clone());
                self.enrollment_is(&enrollment, |_| Some(individual_entry(individual)), by_default)
            }
            Change::Group(group) => {
                self.learn_word(group);
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
            Change::Revoked(key) if self.is_by_ca && has_key(&self.own_keys, key) => {
                let why = AttestFailure::Revoked("a certificate it logged in with".to_owned());
                Err(ConnectRefusal::NotAttested(why))
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
        source.is_gone = entry.is_none();
        if let Some(entry) = &entry {
            // An individual enrollment has no word of its own.
            if let EnrollmentRef::Group(_) = source.enrollment {
                source.ends_sessions = entry.ends_sessions;
            }
            source.anchors.clone_from(&entry.anchors);
        } else if let Some(ban) = source.retired.clone() {
            return Err(ConnectRefusal::Banned(ban));
        }
        stands(enrollment, entry.as_ref(), &source.path, source.ends_sessions, by_default)
    }

    /// The group that its individual enrollment took it over from says this of sessions now.
    fn learn_word(&mut self, group: &EnrollmentGroup) {
        let Some(source) = &mut self.origin else { return };
        if source.taken_from.as_ref().is_some_and(|from| from.key() == group.group_id.key()) {
            source.ends_sessions = group.settings.disenroll_ends_sessions;
        }
    }

    /// Whether a ban that is in force is about it, as far as that can be told from the footing alone.
    /// One on a registration ID that was retired is not, when an individual enrollment admitted its
    /// device since and still exists; nor when the operator made the identity by hand, which no
    /// enrollment did.
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
        let of_origin = self.origin.iter().flat_map(Source::issuers);
        let is_above = of_origin.chain(&self.own_issuers).any(|issuer| *issuer == ca.keys.subject);
        ban.is_in_force(now) && is_above
    }

    /// Whether a ban in force keeps the connection out that has this footing and this origin, whose
    /// path above what it showed itself was followed with the banned CA among the known ones.
    #[must_use]
    pub fn keeps_out(
        &self,
        ban: &Ban,
        origin: Option<&Origin>,
        known: &[EnrolledCertificate],
        now: Timestamp,
    ) -> bool {
        if self.is_named_by(ban, now) {
            return true;
        }
        let (BanSubject::Ca(ca), Some(origin)) = (&ban.subject, origin) else { return false };
        let others = origin.others.iter().filter_map(|other| other.grounds.as_ref());
        ban.is_in_force(now)
            && origin.grounds.iter().chain(others).any(|grounds| rests_on(grounds, ca, known))
    }

    /// Remembers a ban in force that retired its registration ID and does not keep it out yet: it
    /// will when its individual enrollment goes.
    pub(super) fn note_retired(&mut self, ban: &Ban, now: Timestamp) {
        let key = ban.subject.key();
        if ban.kind == BanKind::Retired
            && matches!(ban.subject, BanSubject::Registration(_))
            && ban.is_in_force(now)
            && self.has_ban_key(&key)
            && let Some(source) = &mut self.origin
            && source.other(&key).is_none()
        {
            source.retired = Some(key);
        }
    }

    /// Whether a ban in force has one of the keys.
    fn is_named_by(&self, ban: &Ban, now: Timestamp) -> bool {
        if ban.kind == BanKind::Retired && matches!(ban.subject, BanSubject::Registration(_)) {
            let Some(source) = &self.origin else { return false };
            let is_enrolled = source.other(&ban.subject.key()).unwrap_or(
                matches!(source.enrollment, EnrollmentRef::Individual(_)) && !source.is_gone,
            );
            if is_enrolled {
                return false;
            }
        }
        ban.is_in_force(now) && ban.subject.keys().any(|key| self.has_ban_key(&key))
    }
}

/// The certificates of a path that are not below another one of it: their issuers were not known.
fn unknown_issuers(path: &[PathCertificate]) -> impl Iterator<Item = &PathCertificate> {
    path.iter().filter(|one| path.iter().all(|other| other.subject != one.issuer))
}

fn in_order(mut keys: Vec<String>) -> Box<[Box<str>]> {
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(String::into_boxed_str).collect()
}

fn has_key(keys: &[Box<str>], key: &str) -> bool {
    keys.binary_search_by(|one| (**one).cmp(key)).is_ok()
}

/// The keys of the bans on the registrations of an identity, the others included, and on what they
/// rest on. The CAs above that are not among them ([`keys_of_ban`]).
#[must_use]
pub fn origin_ban_keys(origin: &Origin) -> Vec<String> {
    let one = (&origin.registration_id, origin.grounds.as_ref());
    let others = origin.others.iter().map(|other| (&other.registration_id, other.grounds.as_ref()));
    let mut keys = Vec::new();
    for (id, grounds) in std::iter::once(one).chain(others) {
        keys.push(registration_key(id));
        let Some(grounds) = grounds else { continue };
        keys.extend(grounds.path.iter().flat_map(PathCertificate::ban_keys));
        if let KnownProof::Tpm { endorsement_key: key, .. } = &grounds.proof {
            keys.push(of_endorsement_key(key));
        }
    }
    keys
}

/// How many signatures are looked at on the way up from one path: more than there are without anyone
/// meaning harm.
const MAX_SIGNATURES: usize = 256;

/// Whether an admission rests on this CA above all that was known of it then: whether its key signed
/// the highest certificate, or one of a CA that did, among those that are known now. Where the signed
/// certificate was not kept, its issuer's name has to do; and likewise beyond so many signatures.
pub(crate) fn rests_on(
    grounds: &Grounds,
    ca: &EnrolledCertificate,
    known: &[EnrolledCertificate],
) -> bool {
    let sent: &[CertificateDer] = match &grounds.proof {
        KnownProof::Certificates(sent) => sent,
        KnownProof::Tpm { endorsement_certificates: sent, .. } => sent,
        KnownProof::Key { .. } => &[],
    };
    let ders = sent.iter().map(|sent| &sent.0).chain(known.iter().map(|known| &known.der));
    let ders: Vec<(&Vec<u8>, [u8; 32])> = ders.map(|der| (der, thumbprint_sha256(der))).collect();
    let der_of = |one: &PathCertificate| {
        ders.iter().find(|(_, sha256)| *sha256 == one.sha256).map(|(der, _)| *der)
    };
    let mut level: Vec<([u8; 32], Option<&Vec<u8>>)> =
        unknown_issuers(&grounds.path).map(|one| (one.issuer, der_of(one))).collect();
    let mut seen: HashSet<[u8; 32]> = grounds.path.iter().map(|one| one.subject_and_key).collect();
    let mut left = MAX_SIGNATURES;
    while let Some((issuer, der)) = level.pop() {
        let mut is_signed_by = |by: &EnrolledCertificate| {
            let Some(der) = der.filter(|_| left > 0) else { return true };
            left -= 1;
            chain::is_signed_by(der, &by.der)
        };
        if issuer == ca.keys.subject && is_signed_by(ca) {
            return true;
        }
        for above in known.iter().filter(|above| above.keys.subject == issuer) {
            if !seen.contains(&above.keys.subject_and_key) && is_signed_by(above) {
                level.push((above.keys.issuer, Some(&above.der)));
            }
        }
        seen.extend(
            known.iter().filter(|k| k.keys.subject == issuer).map(|k| k.keys.subject_and_key),
        );
    }
    false
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
    hex::lower_after("issuer:", subject)
}

/// The keys under which connections that a ban may end are found.
#[must_use]
pub fn keys_of_ban(subject: &BanSubject) -> Vec<String> {
    let mut keys: Vec<String> = subject.keys().collect();
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
