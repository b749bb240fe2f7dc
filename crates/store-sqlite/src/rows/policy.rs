//! The rows of shared access policies.

use model::{AccessPolicy, Etag, HubName, PolicyScope, Rights, Version};
use rusqlite::Result;

use crate::{
    codec::{Binder, Columns, Db},
    vault::Place,
};

/// The table, as its secrets are bound to it.
const TABLE: &str = "access_policies";

macro_rules! policy_columns {
    () => {
        "hub, name, primary_key, secondary_key, rights, etag, created, last_updated, version"
    };
}

/// Reads the policy `?2` of the scope `?1`.
pub(crate) const FIND: &str =
    concat!("SELECT ", policy_columns!(), " FROM access_policies WHERE hub = ?1 AND name = ?2");

/// Reads the policies of the scope `?1`.
pub(crate) const LIST: &str =
    concat!("SELECT ", policy_columns!(), " FROM access_policies WHERE hub = ?1 ORDER BY name");

const PUT: &str = concat!(
    "INSERT OR REPLACE INTO access_policies (",
    policy_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
);

/// A scope as it stands in its column.
pub(crate) fn scope(scope: &PolicyScope) -> &str {
    match scope {
        PolicyScope::Service => "",
        PolicyScope::Hub(hub) => hub.as_str(),
    }
}

/// Inserts or replaces a policy.
pub(crate) fn put(db: Db<'_>, policy: &AccessPolicy, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    let row = [scope(&policy.scope), &policy.name];
    binder.put(row[0])?;
    binder.put(row[1])?;
    binder.keys(Place::new(TABLE, &row), Some(&policy.keys))?;
    binder.put(policy.rights.bits())?;
    binder.put(policy.etag.as_str())?;
    binder.time(policy.created)?;
    binder.time(policy.last_updated)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of policies.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<AccessPolicy> {
    let of = columns.text(|text| match text {
        "" => Ok(PolicyScope::Service),
        hub => HubName::parse(hub).map(PolicyScope::Hub),
    })?;
    let name: String = columns.take()?;
    let keys = columns.keys(Place::new(TABLE, &[scope(&of), &name]))?;
    Ok(AccessPolicy {
        scope: of,
        name,
        keys: keys.ok_or_else(|| columns.unreadable("a policy without its keys"))?,
        rights: Rights::from_bits(columns.take()?),
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        created: columns.time()?,
        last_updated: columns.time()?,
        version: columns.unsigned()?,
    })
}
