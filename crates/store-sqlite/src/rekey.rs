//! A new master key, and a new data key under it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use thiserror::Error;

use crate::{
    master_key::MasterKey,
    open::{self, OpenError},
    sealed::{RewriteError, SECRETS, Source},
    vault::{Place, UnlockError, Vault},
};

/// Why a database has no new master key. The old one still opens it.
#[derive(Debug, Error)]
pub enum RekeyError {
    /// The database cannot be opened, with the old master key, for this process alone.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A secret in it does not open: it was changed or moved by hand.
    #[error(
        "a secret in the table {table} of {} could not be sealed anew; delete or replace that row \
         first, or restore a backup",
        path.display()
    )]
    Secret {
        /// The database.
        path: PathBuf,
        /// The table.
        table: &'static str,
    },
    /// The database failed.
    #[error("the secrets of {} could not be sealed anew", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Gives a database that no process has open for writing a new master key: makes a new data key,
/// seals every secret with it, wraps it with the new master key and forgets the old one. Returns
/// how many rows were sealed anew.
///
/// All of that is one transaction: after a crash either the old master key opens the database, or
/// the new one does, and then it is done. Backups made before need the old master key for as long
/// as they are kept. `progress` is told how many rows of how many are done.
///
/// # Errors
/// [`RekeyError`]; nothing was changed then.
pub fn rekey(
    path: &Path,
    old: &MasterKey,
    new: &MasterKey,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, RekeyError> {
    open::check_exists(path)?;
    let _lock = open::lock(path)?;
    let (mut connection, vault) = open::open_writer(path, old)?;
    let n_rows =
        seal_anew(&mut connection, vault, new, &mut progress).map_err(|error| error.at(path))?;
    open::scrub(&connection, path);
    Ok(n_rows)
}

/// Why sealing anew failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Vault(#[from] UnlockError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

impl Failure {
    fn at(self, path: &Path) -> RekeyError {
        let path = path.to_owned();
        match self {
            Self::Rewrite(RewriteError::Seal { table, .. }) => RekeyError::Secret { path, table },
            other => RekeyError::Failed { path, source: Box::new(other) },
        }
    }
}

/// The transaction of [`rekey`].
pub(crate) fn seal_anew(
    connection: &mut Connection,
    old: Vault,
    master: &MasterKey,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut total = 0;
    for secrets in SECRETS {
        total += secrets.count(&transaction)?;
    }
    let mut new = old.successor();
    new.make_data_key(&transaction, master)?;
    let mut n_done = 0;
    progress(0, total);
    for secrets in SECRETS {
        let seal = |place: Place<'_>, column: &str, sealed: &[u8]| {
            new.seal(place, column, &old.open(place, column, sealed)?)
        };
        secrets.rewrite(&transaction, Source::Sealed, seal, |n_rows| {
            n_done += n_rows;
            progress(n_done, total);
        })?;
    }
    new.retire_others(&transaction)?;
    transaction.execute("UPDATE counters SET value = 1 WHERE name = 'to_scrub'", [])?;
    transaction.commit()?;
    Ok(n_done)
}
