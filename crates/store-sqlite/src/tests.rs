//! The suite, and what is true of this store only.

use std::path::PathBuf;

use async_trait::async_trait;
use store::suite::Harness;
use tempfile::TempDir;

use crate::{MasterKey, SqliteSettings, SqliteStore};

mod audit;
mod backups;
mod batches;
mod lifecycle;
mod migration;
mod plans;
mod rows;
mod secrets;
mod trim;

mod suite {
    use super::Folder;

    store::store_suite!(Folder::new());
}

/// The master key of all databases here, unless a test says otherwise.
fn master_key() -> MasterKey {
    MasterKey::generate([42; 32])
}

/// A folder with one database, gone at the end.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("induct.db")
    }

    /// Small numbers, so that the tests meet full queues and full batches.
    fn settings(&self) -> SqliteSettings {
        SqliteSettings {
            path: self.database(),
            n_readers: 2,
            max_waiting: 4,
            max_batch: 8,
            master_key: master_key(),
        }
    }

    fn open_store(&self) -> SqliteStore {
        SqliteStore::open(self.settings()).expect("it opens")
    }
}

#[async_trait]
impl Harness for Folder {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        self.open_store()
    }

    async fn close(&self, store: SqliteStore) {
        store.close();
    }
}
