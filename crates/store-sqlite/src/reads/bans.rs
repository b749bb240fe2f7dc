//! Which bans there are on what is asked about, what registrations rest on, and where identities
//! came from.

mod found;

use std::collections::BTreeSet;

use model::{
    Anchor, AttestationMechanism, Ban, CaCertificate, CertificateDer, ConnectQuery, DeviceId,
    EnrolledCertificate, EnrollmentGroupId, EnrollmentRef, Expect, Grounds, HubName, KnownProof,
    Origin, OriginEntry, OtherRegistration, Page, PathCertificate, ProvisioningStatus,
    RegistrationId, RegistrationRecord, Sent, Slots, Version,
    ban::{ca_key, endorsement_key, registration_key, serial_key},
};
use rusqlite::{OptionalExtension, Params, Result};

#[cfg(test)]
pub(crate) use self::found::ISSUERS_OF_CAS;
pub(crate) use self::found::{
    Names, add_above, add_by_ca_names, by_keys, hex_list, versions_by_keys,
};
use super::{Counters, find, find_individual, list, one_more, page};
use crate::{
    codec::{Columns, Db},
    rows::{
        ban, certificate,
        certificate::{CertificateRow, SlotsRow},
        enrollment, grounds, record,
        terms::Mechanism,
    },
};

/// Which bans there are, as far as they matter to somebody.
pub(crate) struct BansOn {
    /// In the order of their keys.
    pub(crate) bans: Vec<Ban>,
    /// The certificates of the CAs on the way up to banned ones.
    pub(crate) known_cas: Vec<EnrolledCertificate>,
    /// What a change set that is decided from them has to expect.
    pub(crate) expected: Expect,
}

impl BansOn {
    /// Nothing was asked, and anything could be an answer.
    pub(crate) const fn not_asked(counters: &Counters) -> Self {
        let expected = Expect::Bans(counters.bans_version);
        Self { bans: Vec::new(), known_cas: Vec::new(), expected }
    }

    /// The bans of these keys, and those on CAs of these names and above them.
    fn find(db: Db<'_>, counters: &Counters, keys: BTreeSet<String>, names: Names) -> Result<Self> {
        let (mut found, expected) = by_keys(db, counters, keys)?;
        let known_cas = match counters.bans {
            0 => Vec::new(),
            _ => add_above(db, names, &mut found)?,
        };
        Ok(Self { bans: found.into_values().collect(), known_cas, expected })
    }
}

/// The names in a verified path: its own, and that of who issued the highest certificate.
fn names_in(grounds: Option<&Grounds>) -> impl Iterator<Item = [u8; 32]> {
    let path = grounds.map_or(&[][..], |grounds| &grounds.path);
    path.iter().flat_map(|one| [one.subject, one.issuer])
}

/// The keys of the bans on a registration ID and on what its registration rests on.
fn keys_of_grounds(id: &RegistrationId, grounds: Option<&Grounds>, keys: &mut BTreeSet<String>) {
    keys.insert(registration_key(id));
    let Some(grounds) = grounds else { return };
    keys.extend(grounds.path.iter().flat_map(PathCertificate::ban_keys));
    if let KnownProof::Tpm { endorsement_key: key, .. } = &grounds.proof {
        keys.insert(endorsement_key(&grounds::sha256(key)));
    }
}

/// The bans on a device that connects, and the certificates of the CAs on the way up to banned ones.
pub(super) fn of_connection(
    db: Db<'_>,
    counters: &Counters,
    query: &ConnectQuery,
    origin: Option<&Origin>,
    ca_certificates: &[CaCertificate],
) -> Result<BansOn> {
    let mut keys: BTreeSet<String> = query.ban_keys.iter().cloned().collect();
    if let Ok(id) = RegistrationId::parse(query.device_id.device()) {
        keys.insert(registration_key(&id));
    }
    let mut names: Names = query.ca_names.iter().copied().collect();
    if let Some(origin) = origin {
        keys_of_grounds(&origin.registration_id, origin.grounds.as_ref(), &mut keys);
        names.extend(names_in(origin.grounds.as_ref()));
        for other in &origin.others {
            keys_of_grounds(&other.registration_id, other.grounds.as_ref(), &mut keys);
            names.extend(names_in(other.grounds.as_ref()));
        }
    }
    for CaCertificate { certificate, .. } in ca_certificates {
        keys.extend(ban_keys(certificate));
        names.extend([certificate.keys.subject, certificate.keys.issuer]);
    }
    BansOn::find(db, counters, keys, names)
}

/// A page of bans.
pub(crate) fn list_bans(db: Db<'_>, after: &str, limit: usize) -> Result<Page<Ban>> {
    let mut items = list(db, ban::LIST, (after, one_more(limit)), ban::read)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| item.subject.key());
    Ok(Page { items, next })
}

/// A page of the records that a ban of a key would be about; the caller holds the snapshot.
pub(crate) fn records_resting_on(
    db: Db<'_>,
    ban_key: &str,
    after: &str,
    limit: usize,
) -> Result<Page<RegistrationRecord>> {
    let more = one_more(limit);
    let mut items = Vec::new();
    for key in keys_resting_on(db, ban_key, after, more)?.iter().take(limit.saturating_add(1)) {
        items.extend(find(db, record::FIND, [key], record::read)?);
    }
    Ok(page(items, limit, |item| item.registration_id.key()))
}

/// At least the first `limit` of the keys after `after`, if there are as many.
fn keys_resting_on(db: Db<'_>, ban_key: &str, after: &str, limit: i64) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let Some((kind, rest)) = ban_key.split_once(':') else { return Ok(keys) };
    let text = |columns: &mut Columns<'_, '_>| columns.take::<String>();
    let known = match (kind, rest.split_once(':')) {
        ("registration", _) => {
            keys.extend(Some(rest.to_owned()).filter(|key| key.as_str() > after));
            return Ok(keys);
        }
        ("endorsement-key", None) => {
            if let Some(hash) = unhex::<32>(rest) {
                keys.extend(list(db, grounds::WITH_ENDORSEMENT_KEY, (hash, after, limit), text)?);
            }
            return Ok(keys);
        }
        ("sha256", None) => {
            let hash = unhex::<32>(rest).map(|hash| [hash]);
            let mut known = known_by(db, grounds::BY_SHA256, hash)?;
            known.extend(known_by(db, grounds::LIKE_SHA256, hash)?);
            Ok(known)
        }
        ("sha1", None) => {
            let hash = unhex::<20>(rest).map(|hash| [hash]);
            let mut known = known_by(db, grounds::BY_SHA1, hash)?;
            known.extend(known_by(db, grounds::LIKE_SHA1, hash)?);
            Ok(known)
        }
        ("tbs", None) => known_by(db, grounds::BY_TBS, unhex::<32>(rest).map(|hash| [hash])),
        ("ca", None) => known_by(db, grounds::BY_CA, unhex::<32>(rest).map(|hash| [hash])),
        ("serial", Some((issuer, serial))) => {
            known_by(db, grounds::BY_SERIAL, unhex::<32>(issuer).map(|hash| (hash, serial)))
        }
        _ => Ok(Vec::new()),
    }?;
    for certificate in known {
        keys.extend(list(db, grounds::RESTING_ON, (certificate, after, limit), text)?);
    }
    Ok(keys)
}

/// The rows of known certificates; none for a value that was no hash.
fn known_by(db: Db<'_>, sql: &str, value: Option<impl Params>) -> Result<Vec<i64>> {
    value.map_or(Ok(Vec::new()), |value| list(db, sql, value, |columns| columns.take()))
}

/// Where an identity came from; the caller holds the snapshot.
pub(crate) fn origin(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Option<Origin>> {
    let key = [hub.as_str(), id.device()];
    let mut assigned = list(db, record::ASSIGNED, key, |columns| {
        let (at, version) = (columns.take::<i64>()?, columns.unsigned()?);
        let taken_from = columns.optional_text(EnrollmentGroupId::parse)?;
        Ok((at, Assigned { version, taken_from, owner: record::read_owner(columns)? }))
    })?;
    assigned.sort_unstable_by_key(|(at, last)| (*at, last.owner.0.key().to_owned()));
    let last = match assigned.pop() {
        Some((_, last)) => Some(last),
        None => find(db, record::FORMER, key, |columns| {
            let version = columns.unsigned()?;
            let taken_from = columns.optional_text(EnrollmentGroupId::parse)?;
            Ok(Assigned { version, taken_from, owner: record::read_owner(columns)? })
        })?,
    };
    let Some(Assigned { version, taken_from, owner: (registration_id, enrollment) }) = last else {
        return Ok(None);
    };
    let mut expects = vec![Expect::Record(registration_id.clone(), version)];
    let entry = match &enrollment {
        EnrollmentRef::Individual(id) => individual_entry(db, id, &mut expects)?,
        EnrollmentRef::Group(id) => group_entry(db, id, &mut expects)?,
    };
    let taken_from = taken_from.filter(|_| matches!(enrollment, EnrollmentRef::Individual(_)));
    let ends_sessions = match (&entry, &enrollment, &taken_from) {
        (_, EnrollmentRef::Individual(_), None) => None,
        (_, EnrollmentRef::Individual(_), Some(group)) => {
            match group_entry(db, group, &mut expects)? {
                Some(entry) => entry.ends_sessions,
                None => enrollment::gone_group_ends_sessions(db, group)?,
            }
        }
        (Some(entry), EnrollmentRef::Group(_), _) => entry.ends_sessions,
        (None, EnrollmentRef::Group(id), _) => enrollment::gone_group_ends_sessions(db, id)?,
    };
    let mut others = Vec::with_capacity(assigned.len());
    for (_, Assigned { owner: (registration_id, enrollment), .. }) in assigned {
        let is_enrolled = match &enrollment {
            EnrollmentRef::Individual(id) => find_individual(db, id)?.is_some(),
            EnrollmentRef::Group(_) => false,
        };
        let grounds = grounds::find(db, &registration_id)?;
        others.push(OtherRegistration { registration_id, enrollment, is_enrolled, grounds });
    }
    Ok(Some(Origin {
        entry,
        ends_sessions,
        taken_from,
        grounds: grounds::find(db, &registration_id)?,
        registration_id,
        enrollment,
        others,
        expects,
    }))
}

/// The versions of the records by which an identity is assigned, in their order.
pub(crate) fn assigned(db: Db<'_>, hub: &HubName, id: &DeviceId) -> Result<Vec<Version>> {
    list(db, record::ASSIGNED_VERSIONS, [hub.as_str(), id.device()], |columns| columns.unsigned())
}

/// Of a record, by which an identity was assigned.
struct Assigned {
    version: Version,
    taken_from: Option<EnrollmentGroupId>,
    owner: (RegistrationId, EnrollmentRef),
}

fn individual_entry(
    db: Db<'_>,
    id: &RegistrationId,
    expects: &mut Vec<Expect>,
) -> Result<Option<OriginEntry>> {
    let found = find_individual(db, id)?;
    let version = found.as_ref().map_or(0, |enrollment| enrollment.terms.version);
    expects.push(Expect::Individual(id.clone(), version));
    let Some(enrollment) = found else { return Ok(None) };
    let anchors = match &enrollment.terms.attestation {
        AttestationMechanism::X509Client(slots) => {
            Some(certificates_of(slots).map(|leaf| own(grounds::sha256(&leaf.der))).collect())
        }
        AttestationMechanism::X509Signing(slots) | AttestationMechanism::TpmIssuer(slots) => {
            Some(certificates_of(slots).map(|ca| own(ca.keys.subject_and_key)).collect())
        }
        AttestationMechanism::X509CaReferences(slots) => {
            let mut anchors = Vec::new();
            for name in slots.primary.iter().chain(&slots.secondary) {
                let ca = find(db, certificate::FIND_CA, [name], certificate::read_ca)?;
                anchors.extend(ca.filter(|ca| ca.verified).map(|ca| {
                    expects.push(Expect::CaCertificate(ca.name.clone(), ca.version));
                    Anchor { key: ca.certificate.keys.subject_and_key, reference: Some(ca.name) }
                }));
            }
            Some(anchors)
        }
        AttestationMechanism::SymmetricKey(_) | AttestationMechanism::Tpm(_) => None,
    };
    let is_enabled = enrollment.terms.is_enabled();
    Ok(Some(OriginEntry { is_enabled, ends_sessions: None, anchors }))
}

/// Of the group's row as little as is asked for: this is read with every connection.
fn group_entry(
    db: Db<'_>,
    id: &EnrollmentGroupId,
    expects: &mut Vec<Expect>,
) -> Result<Option<OriginEntry>> {
    let sql = "SELECT version, provisioning_status, disenroll_ends_sessions, attestation \
         FROM enrollment_groups WHERE key = ?1";
    let found = find(db, sql, [id.key()], |columns| {
        let version = columns.unsigned()?;
        let status = columns.word::<Sent<ProvisioningStatus>>()?;
        Ok((version, status, columns.take()?, columns.word()?))
    })?;
    let version = found.as_ref().map_or(0, |(version, ..)| *version);
    expects.push(Expect::Group(id.clone(), version));
    let Some((_, status, ends_sessions, mechanism)) = found else { return Ok(None) };
    let mut anchors = |sql| {
        let found: Vec<(Anchor, Option<Version>)> = list(db, sql, [id.key()], |columns| {
            let anchor = Anchor { key: columns.take()?, reference: columns.take()? };
            let version: Option<i64> = columns.take()?;
            Ok((anchor, version.map(i64::cast_unsigned)))
        })?;
        let expected = |(anchor, version): &(Anchor, Option<Version>)| {
            let (name, version) = (anchor.reference.clone()?, (*version)?);
            Some(Expect::CaCertificate(name, version))
        };
        expects.extend(found.iter().filter_map(expected));
        Ok::<_, rusqlite::Error>(Some(found.into_iter().map(|(anchor, _)| anchor).collect()))
    };
    Ok(Some(OriginEntry {
        is_enabled: status != Sent::Value(ProvisioningStatus::Disabled),
        ends_sessions,
        anchors: match mechanism {
            Mechanism::X509Signing | Mechanism::TpmIssuer => anchors(OWN_ANCHORS)?,
            Mechanism::X509CaReferences => anchors(STORED_ANCHORS)?,
            // A group admits by no leaf.
            Mechanism::X509Client => Some(Vec::new()),
            Mechanism::SymmetricKey | Mechanism::Tpm => None,
        },
    }))
}

/// The CAs that the group `?1` holds itself.
pub(crate) const OWN_ANCHORS: &str = "SELECT subject_and_key, NULL, NULL FROM ca_keys \
     WHERE owner_kind = 'group' AND owner_key = ?1";

/// The verified CAs that the group `?1` refers to. Joined in the order written: with few CAs the
/// planner would rather begin with all of them.
pub(crate) const STORED_ANCHORS: &str = "SELECT ca_keys.subject_and_key, ca_references.name, \
     ca_certificates.version FROM ca_references \
     CROSS JOIN ca_certificates ON ca_certificates.name = ca_references.name \
     CROSS JOIN ca_keys ON ca_keys.owner_kind = 'store' AND ca_keys.owner_key = ca_references.name \
     WHERE ca_references.group_key = ?1 AND ca_certificates.verified = 1";

/// The certificate of a thumbprint among those of the CA store, of groups and of individual
/// enrollments.
pub(crate) fn known_certificate(
    db: Db<'_>,
    thumbprint: &str,
) -> Result<Option<EnrolledCertificate>> {
    let is_it = |certificate: &EnrolledCertificate| {
        let info = &certificate.info;
        thumbprint.eq_ignore_ascii_case(&info.sha256_thumbprint)
            || thumbprint.eq_ignore_ascii_case(&info.sha1_thumbprint)
    };
    let stored = list(db, certificate::LIST_CA, [], certificate::read_ca)?;
    let found = stored.into_iter().map(|stored| stored.certificate).find(|stored| is_it(stored));
    if found.is_some() {
        return Ok(found);
    }
    // Read through, the few groups first: this is an operator's question.
    for sql in [
        "SELECT attestation_document FROM enrollment_groups \
         WHERE attestation IN ('x509Signing', 'tpmIssuer')",
        "SELECT attestation_document FROM individual_enrollments WHERE attestation = 'x509Client'",
    ] {
        let mut statement = db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut columns = Columns::new(db, row);
            let slots: SlotsRow<CertificateRow> = columns.document()?;
            let slots = slots.into_model().map_err(|why| columns.unreadable(why))?;
            let found = slots.primary.into_iter().chain(slots.secondary).find(is_it);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// The certificate of a thumbprint among those that registered devices showed.
pub(crate) fn shown_certificate(db: Db<'_>, thumbprint: &str) -> Result<Option<CertificateDer>> {
    let known = match thumbprint.len() {
        40 => known_by(db, grounds::BY_SHA1, unhex::<20>(thumbprint).map(|hash| [hash])),
        _ => known_by(db, grounds::BY_SHA256, unhex::<32>(thumbprint).map(|hash| [hash])),
    }?;
    let Some(known) = known.first() else { return Ok(None) };
    let der = db.prepare_cached(grounds::DER)?.query_row([known], |row| row.get(0)).optional()?;
    Ok(der.flatten().map(CertificateDer))
}

/// The bans on what a registration rests on.
pub(super) fn of_registration(
    db: Db<'_>,
    counters: &Counters,
    id: &RegistrationId,
    grounds: Option<&Grounds>,
) -> Result<BansOn> {
    let mut keys = BTreeSet::new();
    keys_of_grounds(id, grounds, &mut keys);
    BansOn::find(db, counters, keys, names_in(grounds).collect())
}

/// The keys of the bans that would be about a certificate of ours, as
/// [`PathCertificate::ban_keys`](model::PathCertificate::ban_keys).
pub(super) fn ban_keys(certificate: &EnrolledCertificate) -> [String; 4] {
    let EnrolledCertificate { info, keys, .. } = certificate;
    let serial = match info.serial_number.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    [
        format!("sha256:{}", info.sha256_thumbprint.to_ascii_lowercase()),
        format!("sha1:{}", info.sha1_thumbprint.to_ascii_lowercase()),
        ca_key(&keys.subject_and_key),
        serial_key(&keys.issuer, serial),
    ]
}

/// Bytes of lower- or upper-case hex; `None` unless there are exactly as many.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A certificate that an enrollment holds itself.
const fn own(key: [u8; 32]) -> Anchor {
    Anchor { key, reference: None }
}

fn certificates_of(
    slots: &Slots<EnrolledCertificate>,
) -> impl Iterator<Item = &EnrolledCertificate> {
    slots.primary.iter().chain(&slots.secondary)
}
