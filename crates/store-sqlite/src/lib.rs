//! The embedded store: SQLite, one file, one process.
//!
//! One thread writes. It takes whatever change sets wait in a bounded queue, commits them in one
//! physical transaction and answers each only after that transaction is on the disk (WAL,
//! `synchronous=FULL`). Other threads read, each call in one snapshot. Another one moves the
//! write-ahead log into the database file, so that commits seldom pay for it.
//!
//! Secrets are sealed (`vault`): whoever copies the file has no key in it without the master key.
//! Twins, and the bodies and properties of events and messages, are not secrets in that sense: they
//! are in the file and its backups as they came.
//!
//! What deliberately is not here: any rule about what may be written. A change set says what it
//! was decided from; here that is compared, and nothing else.

mod apply;
mod backup;
mod cache;
mod checkpoint;
mod codec;
mod heads;
mod master_key;
mod migrations;
mod open;
mod readers;
mod reads;
mod rekey;
mod rows;
mod sealed;
mod store;
mod tally;
mod vault;
mod writer;

#[cfg(test)]
mod tests;

pub use backup::{BackupError, backup_file};
pub use master_key::{BadMasterKey, MasterKey};
pub use open::{OpenError, is_sealed};
pub use rekey::{RekeyError, rekey};
pub use store::{SqliteSettings, SqliteStore};
