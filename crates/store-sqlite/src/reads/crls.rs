//! Revocation lists: which there are, and which matter to whoever registers or connects.

use std::collections::BTreeSet;

use model::{
    AttestationMechanism, CaCertificate, Crl, CrlFacts, EnrolledCertificate, EnrollmentGroup,
    Grounds, Serials, Timestamp, TpmChallenge, crl::Serial,
};
use rusqlite::Result;

use super::{find, list, service::at_most};
use crate::{
    codec::{Columns, Db},
    rows::{certificate, crl, enrollment},
};

/// Issuers (by name) and serial numbers, as lists are asked about.
pub(super) type Asked = BTreeSet<([u8; 32], String)>;

/// The list of a CA.
pub(crate) fn find_crl(db: Db<'_>, ca: &[u8; 32]) -> Result<Option<Crl>> {
    find(db, crl::FIND, [ca], crl::read)
}

/// All lists.
pub(crate) fn list_crls(db: Db<'_>) -> Result<Vec<Crl>> {
    list(db, crl::LIST, [], crl::read)
}

/// The serial numbers on the list of a CA.
pub(crate) fn revoked_serials(db: Db<'_>, ca: &[u8; 32]) -> Result<Serials> {
    crl::serials(db, ca)
}

/// The CAs of the lists whose URLs are to be asked.
pub(crate) fn due_crls(db: Db<'_>, now: Timestamp, limit: usize) -> Result<Vec<[u8; 32]>> {
    let read = |columns: &mut Columns<'_, '_>| columns.take();
    list(db, crl::DUE, (now.ticks(), at_most(limit)), read)
}

/// The certificates of CAs with this name that groups, the CA store and the lists hold; the caller
/// holds the snapshot.
pub(crate) fn cas_called(db: Db<'_>, subject: &[u8; 32]) -> Result<Vec<EnrolledCertificate>> {
    let sql = "SELECT owner_kind, owner_key FROM ca_keys WHERE subject = ?1 \
         ORDER BY owner_kind, owner_key";
    let owners: Vec<(String, String)> =
        list(db, sql, [subject], |columns| Ok((columns.take()?, columns.take()?)))?;
    let mut found: Vec<EnrolledCertificate> = Vec::new();
    let mut add = |certificate: EnrolledCertificate| {
        let is_it = certificate.keys.subject == *subject;
        if is_it && !found.iter().any(|other| other.der == certificate.der) {
            found.push(certificate);
        }
    };
    for (kind, key) in owners {
        if kind == "group" {
            let group = find(db, enrollment::FIND_GROUP, [key], enrollment::read_group)?;
            group.iter().flat_map(of_group).cloned().for_each(&mut add);
        } else if let Some(stored) = find(db, certificate::FIND_CA, [key], certificate::read_ca)? {
            add(stored.certificate);
        }
    }
    // A list goes on when its CA is not enrolled any more.
    let of_lists = list(db, crl::CAS_CALLED, [subject], crl::read_ca)?;
    of_lists.into_iter().for_each(&mut add);
    Ok(found)
}

/// A certificate of the CA, of groups, the CA store or a list; the caller holds the snapshot.
pub(crate) fn known_ca(db: Db<'_>, ca: &[u8; 32]) -> Result<Option<EnrolledCertificate>> {
    // No index has these: there are a few hundred at most (D §6), and only operators ask.
    let sql = "SELECT subject FROM ca_keys WHERE subject_and_key = ?1 \
         UNION SELECT subject FROM crls WHERE subject_and_key = ?1";
    let subjects: Vec<[u8; 32]> = list(db, sql, [ca], |columns| columns.take())?;
    for subject in subjects {
        let mut found = cas_called(db, &subject)?.into_iter();
        if let Some(found) = found.find(|known| known.keys.subject_and_key == *ca) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What matters to a registration; the caller holds the snapshot.
pub(super) fn of_registration(
    db: Db<'_>,
    shown: &[([u8; 32], String)],
    challenges: &[TpmChallenge],
    groups: &[EnrollmentGroup],
    stored: &[CaCertificate],
) -> Result<Vec<CrlFacts>> {
    if !crl::are_any(db)? {
        return Ok(Vec::new());
    }
    let mut asked: Asked = shown.iter().cloned().collect();
    let keys = challenges.iter().flat_map(|challenge| &challenge.ban_keys);
    asked.extend(keys.filter_map(|key| model::ban::parse_serial_key(key)));
    let certificates = groups.iter().flat_map(of_group);
    let certificates = certificates.chain(stored.iter().map(|stored| &stored.certificate));
    asked.extend(certificates.filter_map(serial_of));
    crl::facts(db, asked)
}

/// What matters to whoever rests on these grounds and shows these certificates; the caller holds
/// the snapshot.
pub(super) fn of_grounds(
    db: Db<'_>,
    shown: &[([u8; 32], String)],
    grounds: Option<&Grounds>,
    stored: &[CaCertificate],
) -> Result<Vec<CrlFacts>> {
    if !crl::are_any(db)? {
        return Ok(Vec::new());
    }
    let mut asked: Asked = shown.iter().cloned().collect();
    let path = grounds.map_or(&[][..], |grounds| &grounds.path);
    asked.extend(path.iter().map(|one| (one.issuer, one.serial.clone())));
    asked.extend(stored.iter().filter_map(|stored| serial_of(&stored.certificate)));
    crl::facts(db, asked)
}

fn serial_of(certificate: &EnrolledCertificate) -> Option<([u8; 32], String)> {
    let serial = Serial::from_hex(&certificate.info.serial_number)?;
    Some((certificate.keys.issuer, serial.to_hex()))
}

fn of_group(group: &EnrollmentGroup) -> impl Iterator<Item = &EnrolledCertificate> {
    let slots = match &group.terms.attestation {
        AttestationMechanism::X509Signing(slots) | AttestationMechanism::TpmIssuer(slots) => {
            Some(slots)
        }
        AttestationMechanism::X509CaReferences(_)
        | AttestationMechanism::SymmetricKey(_)
        | AttestationMechanism::X509Client(_)
        | AttestationMechanism::Tpm(_) => None,
    };
    slots.into_iter().flat_map(|slots| slots.primary.iter().chain(&slots.secondary))
}
