//! The rows of linked hubs and of removals from remote hubs.

use model::{
    DeviceId, Etag, HubAccess, HubName, LinkedHub, ReceiptId, RemoteAccess, RemoteRemoval,
    RemoteStepTask, RemoteTask, ReportTo, SymmetricKey, Version,
};
use rusqlite::Result;

use crate::{
    codec::{Binder, Columns, Db, words},
    vault::Place,
};

/// The table, as its secrets are bound to it.
const TABLE: &str = "linked_hubs";

macro_rules! hub_columns {
    () => {
        "name, kind, port, policy, key, weight, apply_allocation_policy, declared, etag, created, \
         last_updated, version"
    };
}

macro_rules! removal_columns {
    () => {
        "hub, device_id, task, reason, receipt, item, n_failures, due, last_error, version"
    };
}

/// Reads all linked hubs.
pub(crate) const LIST: &str = concat!("SELECT ", hub_columns!(), " FROM linked_hubs ORDER BY name");

const PUT: &str = concat!(
    "INSERT OR REPLACE INTO linked_hubs (",
    hub_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
);

/// Reads the first hub behind the name `?1` that is to be told something.
pub(crate) const NEXT_TOLD: &str =
    "SELECT hub FROM remote_removals WHERE hub > ?1 ORDER BY hub LIMIT 1";

/// Reads `?3` removals from the hub `?1` that are due at `?2`.
pub(crate) const DUE_REMOVALS: &str = concat!(
    "SELECT ",
    removal_columns!(),
    " FROM remote_removals WHERE hub = ?1 AND due <= ?2 ORDER BY due, device_id LIMIT ?3"
);

/// Reads the removal of the device `?2` from the hub `?1`.
pub(crate) const FIND_REMOVAL: &str = concat!(
    "SELECT ",
    removal_columns!(),
    " FROM remote_removals WHERE hub = ?1 AND device_id = ?2"
);

/// What reports to nobody (`receipt` is null) leaves to the one that is there whom it reports to,
/// and that it disables. SQLite takes all that stands on the right from the row as it was.
const PUT_REMOVAL: &str = concat!(
    "INSERT INTO remote_removals (",
    removal_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
     ON CONFLICT (hub, device_id) DO UPDATE SET \
     task = iif(?5 IS NULL AND receipt IS NOT NULL AND task = 'disable', task, ?3), \
     reason = iif(?5 IS NULL AND receipt IS NOT NULL AND task = 'disable', reason, ?4), \
     receipt = coalesce(?5, receipt), item = iif(?5 IS NULL, item, ?6), \
     n_failures = ?7, due = ?8, last_error = ?9, version = ?10"
);

/// Where a linked hub is.
#[derive(Clone, Copy)]
enum Kind {
    BuiltIn,
    Remote,
}

words!(Kind {
    Kind::BuiltIn => "builtIn",
    Kind::Remote => "remote",
});

/// Inserts or replaces a linked hub.
pub(crate) fn put(db: Db<'_>, hub: &LinkedHub, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(hub.name.as_str())?;
    let remote = match &hub.access {
        HubAccess::BuiltIn => {
            binder.word(Kind::BuiltIn)?;
            None
        }
        HubAccess::Remote(remote) => {
            binder.word(Kind::Remote)?;
            Some(remote)
        }
    };
    binder.put(remote.and_then(|remote| remote.port))?;
    binder.put(remote.map(|remote| &remote.policy))?;
    let place = [hub.name.as_str()];
    binder.secret(Place::new(TABLE, &place), "key", remote.map(|remote| remote.key.reveal()))?;
    binder.put(hub.weight)?;
    binder.put(hub.apply_allocation_policy)?;
    binder.put(hub.declared)?;
    binder.put(hub.etag.as_str())?;
    binder.time(hub.created)?;
    binder.time(hub.last_updated)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of linked hubs.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<LinkedHub> {
    let name = columns.text(HubName::parse)?;
    let kind = columns.word()?;
    let port = columns.take()?;
    let policy: Option<String> = columns.take()?;
    let key = columns.secret(Place::new(TABLE, &[name.as_str()]), "key", SymmetricKey::parse)?;
    let access = match (kind, policy, key) {
        (Kind::BuiltIn, ..) => HubAccess::BuiltIn,
        (Kind::Remote, Some(policy), Some(key)) => {
            HubAccess::Remote(RemoteAccess { port, policy, key })
        }
        (Kind::Remote, ..) => return Err(columns.unreadable("a remote hub without its key")),
    };
    Ok(LinkedHub {
        name,
        access,
        weight: columns.take()?,
        apply_allocation_policy: columns.take()?,
        declared: columns.take()?,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        created: columns.time()?,
        last_updated: columns.time()?,
        version: columns.unsigned()?,
    })
}

/// Inserts or replaces a removal, as [`model::Change::PutRemoval`] says.
pub(crate) fn put_removal(db: Db<'_>, removal: &RemoteRemoval, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT_REMOVAL)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(removal.hub.as_str())?;
    binder.put(removal.device_id.as_str())?;
    let (task, reason) = match &removal.task {
        RemoteTask::Delete => (RemoteStepTask::Delete, None),
        RemoteTask::Disable { reason } => (RemoteStepTask::Disable, Some(reason)),
        RemoteTask::Enable { reason } => (RemoteStepTask::Enable, Some(reason)),
    };
    binder.word(task)?;
    binder.put(reason)?;
    binder.put(removal.report_to.as_ref().map(|to| to.receipt.as_str()))?;
    binder.put(removal.report_to.as_ref().map(|to| to.item.cast_signed()))?;
    binder.put(removal.n_failures)?;
    binder.time(removal.due)?;
    binder.put(&removal.last_error)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of removals.
pub(crate) fn read_removal(columns: &mut Columns<'_, '_>) -> Result<RemoteRemoval> {
    Ok(RemoteRemoval {
        hub: columns.text(HubName::parse)?,
        device_id: columns.text(DeviceId::parse)?,
        task: {
            let task = columns.word()?;
            let reason: Option<String> = columns.take()?;
            match (task, reason) {
                (RemoteStepTask::Delete, _) => RemoteTask::Delete,
                (RemoteStepTask::Disable, Some(reason)) => RemoteTask::Disable { reason },
                (RemoteStepTask::Enable, Some(reason)) => RemoteTask::Enable { reason },
                (RemoteStepTask::Disable | RemoteStepTask::Enable, None) => {
                    return Err(columns.unreadable("a task without its reason"));
                }
            }
        },
        report_to: {
            let receipt = columns.optional_text(ReceiptId::parse)?;
            let item: Option<i64> = columns.take()?;
            receipt
                .zip(item)
                .map(|(receipt, item)| ReportTo { receipt, item: item.cast_unsigned() })
        },
        n_failures: columns.take()?,
        due: columns.time()?,
        last_error: columns.take()?,
        version: columns.unsigned()?,
    })
}
