//! How bans are found: by keys, all of them at once, and by the names of CAs, which lead from one to
//! the next.

use std::collections::{BTreeMap, BTreeSet};

use model::{Ban, BanSubject, BansRead, EnrolledCertificate, Expect, Version};
use rusqlite::Result;

use super::unhex;
use crate::{
    codec::{Db, json_text},
    reads::{Counters, crls, list},
    rows::ban,
};

/// How many CAs are followed from ban to ban: more than the longest chain has.
const MAX_CAS: usize = 4096;

/// Hashes of the names of CAs.
pub(crate) type Names = BTreeSet<[u8; 32]>;

/// Bans by their keys.
pub(crate) type Found = BTreeMap<String, Ban>;

/// The bans that have one of these keys, and what a change set that is decided from them has to
/// expect. While there are none at all, nothing is looked for, and the first one is about everybody.
pub(crate) fn by_keys(
    db: Db<'_>,
    counters: &Counters,
    keys: BTreeSet<String>,
) -> Result<(Found, Expect)> {
    if counters.bans == 0 {
        return Ok((Found::new(), Expect::Bans(counters.bans_version)));
    }
    let Asked { keys: of_subjects, tbs } = Asked::new(&keys)?;
    let mut bans = list(db, ban::BY_KEYS, [of_subjects], ban::read)?;
    if let Some(tbs) = tbs {
        // One certificate may be banned by two thumbprints.
        bans.extend(list(db, ban::BY_ANY_TBS, [tbs], ban::read)?);
    }
    let found: Found = bans.into_iter().map(|ban| (ban.subject.key(), ban)).collect();
    let versions = found.iter().map(|(key, ban)| (key.clone(), ban.version)).collect();
    let read = BansRead { since: counters.bans_version, keys, found: versions };
    Ok((found, Expect::BansOn(Box::new(read))))
}

/// The versions of the bans that have one of these keys, by the keys of their subjects.
pub(crate) fn versions_by_keys(
    db: Db<'_>,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, Version>> {
    let Asked { keys, tbs } = Asked::new(keys)?;
    let read = |columns: &mut crate::codec::Columns<'_, '_>| {
        Ok((columns.take::<String>()?, columns.unsigned()?))
    };
    let mut versions = list(db, ban::VERSIONS_BY_KEYS, [keys], read)?;
    if let Some(tbs) = tbs {
        versions.extend(list(db, ban::VERSIONS_BY_ANY_TBS, [tbs], read)?);
    }
    Ok(versions.into_iter().collect())
}

/// Keys, as statements take them: JSON lists of texts.
struct Asked {
    /// All of them.
    keys: String,
    /// Of those by what an issuer signed, the hashes in hex; `None` when there are none.
    tbs: Option<String>,
}

impl Asked {
    fn new(keys: &BTreeSet<String>) -> Result<Self> {
        let tbs: Vec<&str> = keys
            .iter()
            .filter_map(|key| key.strip_prefix("tbs:"))
            .filter(|tbs| unhex::<32>(tbs).is_some())
            .collect();
        let tbs = if tbs.is_empty() { None } else { Some(json_text(&tbs)?) };
        Ok(Self { keys: json_text(keys)?, tbs })
    }
}

/// Adds the bans on CAs of these names, and on CAs of the names of those CAs' issuers.
pub(crate) fn add_by_ca_names(db: Db<'_>, mut names: Names, found: &mut Found) -> Result<()> {
    let mut at: Vec<[u8; 32]> = names.iter().copied().collect();
    let mut n_followed = 0;
    while !at.is_empty() {
        let mut issuers = Vec::new();
        for ban in list(db, ban::BY_CAS, [hex_list(&at)?], ban::read)? {
            if let BanSubject::Ca(certificate) = &ban.subject {
                let issuer = certificate.keys.issuer;
                if n_followed < MAX_CAS && names.insert(issuer) {
                    n_followed += 1;
                    issuers.push(issuer);
                }
            }
            found.insert(ban.subject.key(), ban);
        }
        at = issuers;
    }
    Ok(())
}

/// Adds the bans on CAs of these names and on those above them, as far as there are certificates:
/// those of CAs that groups, the CA store and the lists hold, and of the banned CAs themselves. If
/// any is found, these certificates are returned.
pub(crate) fn add_above(
    db: Db<'_>,
    names: Names,
    found: &mut Found,
) -> Result<Vec<EnrolledCertificate>> {
    let is_any = "SELECT 1 FROM bans WHERE ca_subject IS NOT NULL";
    if !db.prepare_cached(is_any)?.exists([])? {
        return Ok(Vec::new());
    }
    let names = names_above(db, names)?;
    add_by_ca_names(db, names.clone(), found)?;
    let is_of_ca = |ban: &Ban| matches!(ban.subject, BanSubject::Ca(_));
    if !found.values().any(is_of_ca) {
        return Ok(Vec::new());
    }
    let mut known = Vec::new();
    for name in names {
        known.extend(crls::cas_called(db, &name)?);
    }
    Ok(known)
}

/// These names, and those of the issuers of whatever CA has one of them, again and again.
fn names_above(db: Db<'_>, mut names: Names) -> Result<Names> {
    let mut at: Vec<[u8; 32]> = names.iter().copied().collect();
    let mut n_followed = 0;
    while !at.is_empty() {
        let mut issuers = Vec::new();
        let above = list(db, ISSUERS_OF_CAS, [hex_list(&at)?], |columns| columns.take())?;
        for issuer in above {
            if n_followed < MAX_CAS && names.insert(issuer) {
                n_followed += 1;
                issuers.push(issuer);
            }
        }
        at = issuers;
    }
    Ok(names)
}

/// The names of the issuers of the CAs of groups and of the CA store whose own name is in `?1`.
pub(crate) const ISSUERS_OF_CAS: &str = "SELECT issuer FROM ca_keys \
     WHERE subject IN (SELECT unhex(value) FROM json_each(?1))";

/// Hashes, as statements take them: a JSON list of hex.
pub(crate) fn hex_list(hashes: &[[u8; 32]]) -> Result<String> {
    let hex = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts: Vec<String> = hashes.iter().map(hex).collect();
    json_text(&texts)
}
