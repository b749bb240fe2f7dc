//! The schema's steps, forward only. A release that meets a newer schema than it knows refuses it.
//!
//! To add one: a file `NNNN_name.sql` that begins with what it is for and why the previous release
//! survives it, and a line here.

use rusqlite::{Connection, Result, TransactionBehavior};

/// The steps: the schema after step `n` (from 1) has version `n`.
const STEPS: &[&str] = &[include_str!("../migrations/0001_first.sql")];

/// The schema version this release writes.
pub(crate) const LATEST: u32 = STEPS.len() as u32;

/// Brings a database of schema version `from` (0: an empty file) up to [`LATEST`], each step in a
/// transaction of its own.
pub(crate) fn migrate(connection: &mut Connection, from: u32) -> Result<()> {
    for (step, version) in STEPS.iter().zip(1_u32..).skip(from as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.pragma_update(None, "application_id", super::open::APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}
