//! What is known when a device registers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::{
    AttestationMechanism, Ban, CaCertificate, Device, DeviceId, EnrolledCertificate,
    EnrollmentGroup, Expect, GroupQuery, HubName, IndividualEnrollment, RegisterFacts,
    RegisterQuery, TpmChallenge, Version, ban::registration_key,
};
use rusqlite::Result;

use super::{
    Counters,
    bans::{self, Names},
    crls, find, find_individual, find_record, list,
    service::configured,
};
use crate::{
    cache::{ChainGroups, GroupCache, Owners},
    codec::Db,
    readers::Reader,
    rows::{certificate, challenge, device, enrollment, grounds},
};

/// How many issuers in a row are followed beyond the presented chain: more than the longest
/// chain that is looked at has.
const MAX_DEPTH: usize = 16;

/// How many issuers are followed altogether: more than there can be by the limits on groups and
/// CA certificates, so that nobody hides a disabled group by naming many of our CAs.
const MAX_FOLLOWED: usize = 4096;

/// Reads the facts; the caller holds the snapshot.
pub(crate) fn facts(reader: &Reader, query: &RegisterQuery) -> Result<RegisterFacts> {
    let db = reader.db();
    let individual = find_individual(db, &query.registration_id)?;
    let record = find_record(db, &query.registration_id)?;
    let counters = Counters::read(db)?;
    let groups_version = counters.groups_version;
    let id = query.registration_id.key();
    let tpm_challenges = list(db, challenge::LIST, [id], challenge::read)?;
    let (found, names) = match &query.groups {
        GroupQuery::None => (ChainGroups::default(), BTreeSet::new()),
        GroupQuery::BySymmetricKey => {
            let cache = &reader.cache.groups;
            let by_key = symmetric_key_groups(db, cache, groups_version)?;
            let names: Vec<[u8; 32]> = tpm_challenges
                .iter()
                .flat_map(|challenge: &TpmChallenge| &challenge.endorsement_names)
                .copied()
                .collect();
            if names.is_empty() {
                let found = ChainGroups { groups: by_key, certificates: Arc::default() };
                (found, BTreeSet::new())
            } else {
                let (found, names) = chain_groups(db, cache, groups_version, &names)?;
                (with_keys(found, &by_key), names)
            }
        }
        GroupQuery::ByCa { subjects } => {
            chain_groups(db, &reader.cache.groups, groups_version, subjects)?
        }
    };
    let ids: BTreeSet<String> = [
        record.as_ref().and_then(|r| r.assignment.as_ref()).map(|a| a.device_id.clone()),
        individual.as_ref().and_then(|enrollment| enrollment.device_id.clone()),
        Some(DeviceId::from(&query.registration_id)),
    ]
    .into_iter()
    .flatten()
    .map(|id| id.as_str().to_ascii_lowercase())
    .collect();
    let hubs = Arc::clone(&configured(reader, counters.hubs_version)?.hubs);
    let grounds = match &record {
        Some(record) => grounds::find(db, &record.registration_id)?,
        None => None,
    };
    let crls = crls::of_registration(
        db,
        &query.serials,
        &tpm_challenges,
        &found.groups,
        &found.certificates,
    )?;
    let (bans, bans_expected) =
        bans_on(db, &counters, query, individual.as_ref(), &tpm_challenges, &found, names)?;
    Ok(RegisterFacts {
        bans,
        bans_version: counters.bans_version,
        bans_expected,
        grounds,
        crls,
        hubs,
        hubs_version: counters.hubs_version,
        devices: devices_on_any_hub(db, &ids)?,
        individual,
        groups: found.groups,
        ca_certificates: found.certificates,
        groups_version,
        record,
        tpm_challenges,
        n_registrations: counters.registrations,
    })
}

/// The bans on whoever asks, and on what could admit them; and what is to be expected of them.
fn bans_on(
    db: Db<'_>,
    counters: &Counters,
    query: &RegisterQuery,
    individual: Option<&IndividualEnrollment>,
    challenges: &[TpmChallenge],
    found: &ChainGroups,
    mut names: Names,
) -> Result<(Vec<Ban>, Expect)> {
    let mut keys: BTreeSet<String> = query.ban_keys.iter().cloned().collect();
    keys.insert(registration_key(&query.registration_id));
    keys.extend(challenges.iter().flat_map(|challenge| &challenge.ban_keys).cloned());
    names.extend(&query.ca_names);
    let terms = found.groups.iter().map(|group| &group.terms);
    let enrolled = terms
        .chain(individual.map(|individual| &individual.terms))
        .flat_map(|terms| certificates_of(&terms.attestation))
        .chain(found.certificates.iter().map(|stored| &stored.certificate));
    for certificate in enrolled {
        keys.extend(bans::ban_keys(certificate));
        names.extend([certificate.keys.subject, certificate.keys.issuer]);
    }
    let (mut on, expected) = bans::by_keys(db, counters, keys)?;
    if counters.bans > 0 {
        bans::add_by_ca_names(db, names, &mut on)?;
    }
    Ok((on.into_values().collect(), expected))
}

/// The certificates that an enrollment holds itself.
fn certificates_of(mechanism: &AttestationMechanism) -> impl Iterator<Item = &EnrolledCertificate> {
    let slots = match mechanism {
        AttestationMechanism::X509Client(slots)
        | AttestationMechanism::X509Signing(slots)
        | AttestationMechanism::TpmIssuer(slots) => Some(slots),
        AttestationMechanism::Tpm(tpm) => tpm.endorsement.as_ref().map(|known| &known.roots),
        AttestationMechanism::X509CaReferences(_) | AttestationMechanism::SymmetricKey(_) => None,
    };
    slots.into_iter().flat_map(|slots| slots.primary.iter().chain(&slots.secondary))
}

/// The groups of a chain and those with keys together, in the order of their IDs. No group is both.
fn with_keys(found: ChainGroups, by_key: &[EnrollmentGroup]) -> ChainGroups {
    let mut groups: Vec<EnrollmentGroup> = found.groups.iter().chain(by_key).cloned().collect();
    groups.sort_by(|a, b| a.group_id.key().cmp(b.group_id.key()));
    ChainGroups { groups: Arc::new(groups), certificates: found.certificates }
}

fn symmetric_key_groups(
    db: Db<'_>,
    cache: &GroupCache,
    version: Version,
) -> Result<Arc<Vec<EnrollmentGroup>>> {
    if let Some(groups) = cache.symmetric(version) {
        return Ok(groups);
    }
    let sql = enrollment::SYMMETRIC_KEY_GROUPS;
    let groups = Arc::new(list(db, sql, [], enrollment::read_group)?);
    cache.keep_symmetric(version, &groups);
    Ok(groups)
}

fn chain_groups(
    db: Db<'_>,
    cache: &GroupCache,
    version: Version,
    subjects: &[[u8; 32]],
) -> Result<(ChainGroups, Names)> {
    let (owners, names) = owners_of_chain(db, subjects)?;
    if let Some(found) = cache.chain(version, &owners) {
        return Ok((found, names));
    }
    let found = load_chain_groups(db, &owners)?;
    cache.keep_chain(version, owners, &found);
    Ok((found, names))
}

/// Follows names: those presented, then the issuers of whatever certificates have them. All names
/// met are returned as well.
fn owners_of_chain(db: Db<'_>, subjects: &[[u8; 32]]) -> Result<(Owners, Names)> {
    let mut statement =
        db.prepare_cached("SELECT owner_kind, owner_key, issuer FROM ca_keys WHERE subject = ?1")?;
    let mut owners = Owners::default();
    let mut names: Names = subjects.iter().copied().collect();
    let mut at: Vec<[u8; 32]> = names.iter().copied().collect();
    let mut n_followed = 0;
    for _ in 0..=MAX_DEPTH {
        let mut issuers = Vec::new();
        for subject in at {
            let mut rows = statement.query([subject])?;
            while let Some(row) = rows.next()? {
                let key = row.get(1)?;
                match row.get_ref(0)?.as_str()? {
                    "group" => owners.groups.insert(key),
                    _ => owners.stored.insert(key),
                };
                let issuer = row.get(2)?;
                if n_followed < MAX_FOLLOWED && names.insert(issuer) {
                    n_followed += 1;
                    issuers.push(issuer);
                }
            }
        }
        if issuers.is_empty() {
            break;
        }
        at = issuers;
    }
    Ok((owners, names))
}

fn load_chain_groups(db: Db<'_>, owners: &Owners) -> Result<ChainGroups> {
    let mut keys = owners.groups.clone();
    for name in &owners.stored {
        let sql = "SELECT group_key FROM ca_references WHERE name = ?1";
        keys.extend(list(db, sql, [name], |columns| columns.take::<String>())?);
    }
    let mut groups = Vec::with_capacity(keys.len());
    for key in &keys {
        groups.extend(find(db, enrollment::FIND_GROUP, [key], enrollment::read_group)?);
    }
    let mut names: BTreeSet<&str> = owners.stored.iter().map(String::as_str).collect();
    for group in &groups {
        if let AttestationMechanism::X509CaReferences(slots) = &group.terms.attestation {
            names.extend(slots.iter().map(String::as_str));
        }
    }
    let mut certificates: BTreeMap<&str, CaCertificate> = BTreeMap::new();
    for name in names {
        if let Some(found) = find(db, certificate::FIND_CA, [name], certificate::read_ca)? {
            certificates.insert(name, found);
        }
    }
    let certificates = Arc::new(certificates.into_values().collect());
    Ok(ChainGroups { groups: Arc::new(groups), certificates })
}

pub(super) fn devices_on_any_hub(
    db: Db<'_>,
    ids: &BTreeSet<String>,
) -> Result<Vec<(HubName, Device)>> {
    let mut devices = Vec::new();
    for id in ids {
        devices.extend(list(db, device::FIND_ON_ANY_HUB, [id], device::read)?);
    }
    Ok(devices)
}
