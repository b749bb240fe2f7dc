//! The schema's steps, forward only. A release that meets a newer schema than it knows refuses it.
//!
//! To add one: a file `NNNN_name.sql` that begins with what it is for and why the previous release
//! survives it (or that it refuses it), and a line here.

use rusqlite::{Connection, TransactionBehavior};

use crate::{
    master_key::MasterKey,
    sealed::{RewriteError, SECRETS, Source},
    vault::{Place, UnlockError, Vault},
};

/// One step: SQL, or SQL around something that SQL cannot do.
enum Step {
    Sql(&'static str),
    Around { before: &'static str, code: Code, after: &'static str },
}

type Code = fn(&Connection, &MasterKey) -> Result<(), MigrateError>;

/// The steps: the schema after step `n` (from 1) has version `n`.
const STEPS: &[Step] = &[
    Step::Sql(include_str!("../migrations/0001_first.sql")),
    Step::Around {
        before: include_str!("../migrations/0002_service.sql"),
        code: seal_plain_secrets,
        after: include_str!("../migrations/0002_service_sealed.sql"),
    },
    Step::Sql(include_str!("../migrations/0003_connections.sql")),
    Step::Sql(include_str!("../migrations/0004_tpm.sql")),
    Step::Sql(include_str!("../migrations/0005_bans.sql")),
    Step::Sql(include_str!("../migrations/0006_receipts.sql")),
    Step::Sql(include_str!("../migrations/0007_attempts.sql")),
    Step::Sql(include_str!("../migrations/0008_crls.sql")),
];

/// The schema version this release writes.
pub(crate) const LATEST: u32 = STEPS.len() as u32;

/// The first schema version whose secrets are sealed.
pub(crate) const FIRST_SEALED: u32 = 2;

/// Why a database could not be brought up to date. It is as it was after the last whole step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Vault(#[from] UnlockError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
}

/// Brings a database of schema version `from` (0: an empty file) up to [`LATEST`], each step in a
/// transaction of its own.
pub(crate) fn migrate(
    connection: &mut Connection,
    from: u32,
    master: &MasterKey,
) -> Result<(), MigrateError> {
    migrate_to(connection, from, LATEST, master)
}

/// [`migrate`] up to an earlier schema, as the release of that time did.
pub(crate) fn migrate_to(
    connection: &mut Connection,
    from: u32,
    to: u32,
    master: &MasterKey,
) -> Result<(), MigrateError> {
    let steps = STEPS.iter().zip(1_u32..).take(to as usize).skip(from as usize);
    for (step, version) in steps {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql)?,
            Step::Around { before, code, after } => {
                transaction.execute_batch(before)?;
                code(&transaction, master)?;
                transaction.execute_batch(after)?;
            }
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.pragma_update(None, "application_id", super::open::APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes the first data key and seals what the first schema kept in plain text.
fn seal_plain_secrets(connection: &Connection, master: &MasterKey) -> Result<(), MigrateError> {
    let mut vault = Vault::new();
    vault.make_data_key(connection, master)?;
    let mut n_sealed = 0;
    for secrets in SECRETS.iter().filter(|secrets| secrets.are_of_first_schema()) {
        let seal = |place: Place<'_>, column: &str, plain: &[u8]| vault.seal(place, column, plain);
        n_sealed += secrets.rewrite(connection, Source::Plain, seal, |_| ())?;
    }
    if n_sealed == 0 {
        // Nothing was ever there in plain text.
        connection.execute("UPDATE counters SET value = 0 WHERE name = 'to_scrub'", [])?;
    }
    Ok(())
}
