//! Which bans there are on what is asked about, what registrations rest on, and where identities
//! came from.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Anchor, AttestationMechanism, Ban, BanSubject, CaCertificate, CertificateDer, ConnectQuery,
    DeviceId, EnrolledCertificate, EnrollmentGroupId, EnrollmentRef, Grounds, HubName, KnownProof,
    Origin, OriginEntry, Page, ProvisioningStatus, RegistrationId, RegistrationRecord, Sent, Slots,
    ban::{ca_key, endorsement_key, registration_key, serial_key},
};
use rusqlite::{OptionalExtension, Params, Result};

use super::{counter, find, find_individual, list, one_more, page};
use crate::{
    codec::{Columns, Db},
    rows::{
        ban, certificate,
        certificate::{CertificateRow, SlotsRow},
        enrollment, grounds, record,
        terms::Mechanism,
    },
};

/// How many CAs are followed from ban to ban: more than the longest chain has.
const MAX_CAS: usize = 4096;

/// Bans by their keys.
pub(super) type Found = BTreeMap<String, Ban>;

/// Whether there are none, so that there is nothing to look for.
pub(super) fn are_none(db: Db<'_>) -> Result<bool> {
    Ok(counter(db, "bans")? == 0)
}

/// Adds the bans of these keys.
pub(super) fn add_by_keys(
    db: Db<'_>,
    keys: impl IntoIterator<Item = impl AsRef<str>>,
    found: &mut Found,
) -> Result<()> {
    for key in keys {
        let key = key.as_ref();
        if let Some(ban) = find(db, ban::FIND, [key], ban::read)? {
            found.insert(key.to_owned(), ban);
        }
    }
    Ok(())
}

/// Adds the bans on CAs of these names, and on CAs of the names of those CAs' issuers.
pub(super) fn add_by_ca_names(
    db: Db<'_>,
    mut names: BTreeSet<[u8; 32]>,
    found: &mut Found,
) -> Result<()> {
    let mut at: Vec<[u8; 32]> = names.iter().copied().collect();
    let mut n_followed = 0;
    while let Some(name) = at.pop() {
        for ban in list(db, ban::BY_CA, [name], ban::read)? {
            if let BanSubject::Ca(certificate) = &ban.subject {
                let issuer = certificate.keys.issuer;
                if n_followed < MAX_CAS && names.insert(issuer) {
                    n_followed += 1;
                    at.push(issuer);
                }
            }
            found.insert(ban.subject.key(), ban);
        }
    }
    Ok(())
}

/// Adds the bans that are about a certificate that is enrolled or stored.
pub(super) fn add_by_certificate(
    db: Db<'_>,
    certificate: &EnrolledCertificate,
    found: &mut Found,
) -> Result<()> {
    add_by_keys(db, ban_keys(certificate), found)
}

/// Adds the bans on a registration ID and on what its registration rests on.
pub(super) fn add_by_grounds(
    db: Db<'_>,
    id: &RegistrationId,
    grounds: Option<&Grounds>,
    found: &mut Found,
) -> Result<()> {
    add_by_keys(db, [registration_key(id)], found)?;
    let Some(grounds) = grounds else { return Ok(()) };
    for certificate in &grounds.path {
        add_by_keys(db, certificate.ban_keys(), found)?;
    }
    if let KnownProof::Tpm { endorsement_key: key, .. } = &grounds.proof {
        add_by_keys(db, [endorsement_key(&grounds::sha256(key))], found)?;
    }
    Ok(())
}

/// The bans on a device that connects.
pub(super) fn of_connection(
    db: Db<'_>,
    query: &ConnectQuery,
    origin: Option<&Origin>,
    ca_certificates: &[CaCertificate],
) -> Result<Vec<Ban>> {
    if are_none(db)? {
        return Ok(Vec::new());
    }
    let mut found = Found::new();
    add_by_keys(db, &query.ban_keys, &mut found)?;
    if let Ok(id) = RegistrationId::parse(query.device_id.device()) {
        add_by_keys(db, [registration_key(&id)], &mut found)?;
    }
    if let Some(origin) = origin {
        add_by_grounds(db, &origin.registration_id, origin.grounds.as_ref(), &mut found)?;
    }
    let mut names: BTreeSet<[u8; 32]> = query.ca_names.iter().copied().collect();
    for CaCertificate { certificate, .. } in ca_certificates {
        add_by_certificate(db, certificate, &mut found)?;
        names.extend([certificate.keys.subject, certificate.keys.issuer]);
    }
    add_by_ca_names(db, names, &mut found)?;
    Ok(found.into_values().collect())
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
        ("sha256", None) => known_by(db, grounds::BY_SHA256, unhex::<32>(rest).map(|hash| [hash])),
        ("sha1", None) => known_by(db, grounds::BY_SHA1, unhex::<20>(rest).map(|hash| [hash])),
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
    let assigned = list(db, record::ASSIGNED, [hub.as_str(), id.device()], |columns| {
        Ok((columns.take::<i64>()?, record::read_owner(columns)?))
    })?;
    let last = assigned.into_iter().max_by(|a, b| {
        let order = |(at, (id, _)): &(i64, (RegistrationId, _))| (*at, id.key().to_owned());
        order(a).cmp(&order(b))
    });
    let last = match last {
        Some((_, last)) => Some(last),
        None => find(db, record::FORMER, [hub.as_str(), id.device()], record::read_owner)?,
    };
    let Some((registration_id, enrollment)) = last else { return Ok(None) };
    let entry = match &enrollment {
        EnrollmentRef::Individual(id) => individual_entry(db, id)?,
        EnrollmentRef::Group(id) => group_entry(db, id)?,
    };
    let ends_sessions = match (&entry, &enrollment) {
        (Some(entry), _) => entry.ends_sessions,
        (None, EnrollmentRef::Group(id)) => enrollment::gone_group_ends_sessions(db, id)?,
        (None, EnrollmentRef::Individual(_)) => None,
    };
    Ok(Some(Origin {
        entry,
        ends_sessions,
        grounds: grounds::find(db, &registration_id)?,
        registration_id,
        enrollment,
    }))
}

fn individual_entry(db: Db<'_>, id: &RegistrationId) -> Result<Option<OriginEntry>> {
    let Some(enrollment) = find_individual(db, id)? else { return Ok(None) };
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
                anchors.extend(ca.filter(|ca| ca.verified).map(|ca| Anchor {
                    key: ca.certificate.keys.subject_and_key,
                    reference: Some(ca.name),
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
fn group_entry(db: Db<'_>, id: &EnrollmentGroupId) -> Result<Option<OriginEntry>> {
    let sql = "SELECT provisioning_status, disenroll_ends_sessions, attestation \
         FROM enrollment_groups WHERE key = ?1";
    let found = find(db, sql, [id.key()], |columns| {
        Ok((columns.word::<Sent<ProvisioningStatus>>()?, columns.take()?, columns.word()?))
    })?;
    let Some((status, ends_sessions, mechanism)) = found else { return Ok(None) };
    let anchors = |sql| {
        list(db, sql, [id.key()], |columns| {
            Ok(Anchor { key: columns.take()?, reference: columns.take()? })
        })
        .map(Some)
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
pub(crate) const OWN_ANCHORS: &str = "SELECT subject_and_key, NULL FROM ca_keys \
     WHERE owner_kind = 'group' AND owner_key = ?1";

/// The verified CAs that the group `?1` refers to. Joined in the order written: with few CAs the
/// planner would rather begin with all of them.
pub(crate) const STORED_ANCHORS: &str = "SELECT ca_keys.subject_and_key, ca_references.name FROM ca_references \
     CROSS JOIN ca_certificates ON ca_certificates.name = ca_references.name \
     CROSS JOIN ca_keys ON ca_keys.owner_kind = 'store' AND ca_keys.owner_key = ca_references.name \
     WHERE ca_references.group_key = ?1 AND ca_certificates.verified = 1";

/// The certificate of a thumbprint among those of the CA store and of groups.
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
    // Read through: there are a few thousand groups at most, and this is an operator's question.
    let mut statement = db.prepare_cached(
        "SELECT attestation_document FROM enrollment_groups \
         WHERE attestation IN ('x509Signing', 'tpmIssuer')",
    )?;
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

/// What a registration rests on, and the bans on that.
pub(super) fn of_registration(
    db: Db<'_>,
    id: &RegistrationId,
) -> Result<(Option<Grounds>, Vec<Ban>)> {
    let grounds = grounds::find(db, id)?;
    let mut found = Found::new();
    if !are_none(db)? {
        add_by_grounds(db, id, grounds.as_ref(), &mut found)?;
    }
    Ok((grounds, found.into_values().collect()))
}

/// The keys of the bans that would be about a certificate of ours, as
/// [`PathCertificate::ban_keys`](model::PathCertificate::ban_keys).
fn ban_keys(certificate: &EnrolledCertificate) -> [String; 4] {
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
