//! Identities that registrations left behind.

use std::collections::BTreeMap;

use model::{EnrollmentGroupId, Former, Page, RegistrationId};
use rusqlite::Result;

use super::{find, list, one_more, page};
use crate::{
    codec::{Columns, Db},
    rows::{device, former, record},
};

/// The identities that a registration had; the caller holds the snapshot.
pub(crate) fn formers(db: Db<'_>, id: &RegistrationId) -> Result<Vec<Former>> {
    let mut formers = Vec::new();
    for (hub, device) in list(db, device::FIND_FORMER, [id.key()], device::read)? {
        let device_id = device.identity.device_id.clone();
        let names = [hub.as_str(), device_id.as_str()];
        let owner = find(db, former::OWNER, names, record::read_owner)?;
        formers.extend(owner.map(|(_, enrollment)| Former {
            hub,
            device_id,
            enrollment,
            device: Some(device),
        }));
    }
    for (hub, device_id, enrollment) in list(db, former::REMOTES, [id.key()], former::read_remote)?
    {
        formers.push(Former { hub, device_id, enrollment, device: None });
    }
    Ok(formers)
}

/// A page of the registrations without a record whose identities came from a group; the caller
/// holds the snapshot.
pub(crate) fn of_group(
    db: Db<'_>,
    group: &EnrollmentGroupId,
    after: &str,
    limit: usize,
) -> Result<Page<RegistrationId>> {
    let read = |columns: &mut Columns<'_, '_>| {
        Ok((columns.take::<String>()?, columns.text(RegistrationId::parse)?))
    };
    let mut found = BTreeMap::new();
    for sql in [former::REMOTES_OF_GROUP, former::OF_GROUP] {
        found.extend(list(db, sql, (group.key(), after, one_more(limit)), read)?);
    }
    let first = found.into_values().take(limit.saturating_add(1)).collect();
    Ok(page(first, limit, |id: &RegistrationId| id.key()))
}
