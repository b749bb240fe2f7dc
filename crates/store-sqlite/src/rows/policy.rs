//! The rows of shared access policies.

use model::{AccessPolicy, HubName, PolicyScope, Rights};
use rusqlite::{Connection, Result, Row};

use crate::codec::{Binder, Columns};

/// Reads the policy `?2` of the scope `?1`.
pub(crate) const FIND: &str = "SELECT hub, name, primary_key, secondary_key, rights \
     FROM access_policies WHERE hub = ?1 AND name = ?2";

/// Reads the policies of the scope `?1`.
pub(crate) const LIST: &str = "SELECT hub, name, primary_key, secondary_key, rights \
     FROM access_policies WHERE hub = ?1 ORDER BY name";

const PUT: &str = "INSERT OR REPLACE INTO access_policies \
     (hub, name, primary_key, secondary_key, rights) VALUES (?1, ?2, ?3, ?4, ?5)";

/// A scope as it stands in its column.
pub(crate) fn scope(scope: &PolicyScope) -> &str {
    match scope {
        PolicyScope::Service => "",
        PolicyScope::Hub(hub) => hub.as_str(),
    }
}

/// Inserts or replaces a policy.
pub(crate) fn put(connection: &Connection, policy: &AccessPolicy) -> Result<()> {
    let mut statement = connection.prepare_cached(PUT)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(scope(&policy.scope))?;
    binder.put(&policy.name)?;
    binder.keys(Some(&policy.keys))?;
    binder.put(policy.rights.bits())?;
    binder.run()?;
    Ok(())
}

/// Reads a row of policies.
pub(crate) fn read(row: &Row<'_>) -> Result<AccessPolicy> {
    let mut columns = Columns::new(row);
    Ok(AccessPolicy {
        scope: columns.text(|text| match text {
            "" => Ok(PolicyScope::Service),
            hub => HubName::parse(hub).map(PolicyScope::Hub),
        })?,
        name: columns.take()?,
        keys: columns.keys()?.ok_or_else(|| columns.unreadable("a policy without its keys"))?,
        rights: Rights::from_bits(columns.take()?),
    })
}
