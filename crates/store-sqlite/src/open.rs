//! Opening a database: the file, the lock, the checks, the settings of every connection.

use std::{
    error::Error as StdError,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};
use thiserror::Error;
use tracing::warn;

use crate::{
    master_key::MasterKey,
    migrations::{self, MigrateError},
    sealed::RewriteError,
    vault::{UnlockError, Vault},
};

/// Marks a database as one of ours: `Indu` in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x496e_6475;

/// How long a connection waits for a lock that another process holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps; there are fewer.
const N_STATEMENTS: usize = 128;

/// How many findings of an integrity check are shown.
const MAX_FINDINGS: u32 = 5;

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file or folder could not be made or read.
    #[error("{} could not be {doing}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What was done with it.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such file (read-only access never makes one).
    #[error("there is no database {}; `induct serve` makes one at its first start", path.display())]
    Missing {
        /// Which one.
        path: PathBuf,
    },
    /// Another process writes to this database.
    #[error(
        "the database {} is in use by another process; stop that one first, or give this one a \
         database of its own",
        path.display()
    )]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "the database {} is damaged ({findings}); restore a backup: move this file and its \
         `-wal` and `-shm` neighbours aside, copy the backup to its place and start again",
        path.display()
    )]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What the check found, the first lines of it.
        findings: String,
    },
    /// The file is a database of some other program.
    #[error("{} is a database of another program; choose another path", path.display())]
    Foreign {
        /// Which one.
        path: PathBuf,
    },
    /// A newer release has written to this database.
    #[error(
        "the database {} was written by a newer release of Induct (schema {found}, this release \
         knows up to {known}); install that release again, or restore a backup made before it",
        path.display()
    )]
    Newer {
        /// Which one.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest this release knows.
        known: u32,
    },
    /// An older release wrote this database, and it is opened for reading only.
    #[error(
        "the database {} was written by an older release of Induct (schema {found}, this release \
         needs {known}); start `induct serve` once to bring it up to date",
        path.display()
    )]
    Older {
        /// Which one.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The one this release needs.
        known: u32,
    },
    /// The master key is not the one of this database. Nothing was written.
    #[error(
        "the master key is not the one that the secrets in {} are sealed with; give the master key \
         this database was made with, or the one `induct rekey` gave it last",
        path.display()
    )]
    WrongMasterKey {
        /// Which one.
        path: PathBuf,
    },
    /// There is a database with sealed secrets and no master key: whoever looks for the master
    /// key and finds none answers this instead of making a new one (see [`is_sealed`]).
    #[error(
        "the secrets in {} are sealed, and there is no master key; put the master key this \
         database was made with back in its place (its file, environment variable or command). \
         Without it the secrets cannot be read again",
        path.display()
    )]
    NoMasterKey {
        /// Which one.
        path: PathBuf,
    },
    /// A secret could not be sealed or opened.
    #[error("the secrets of {} could not be sealed", path.display())]
    Seal {
        /// Which one.
        path: PathBuf,
        /// Why; holds nothing of any secret.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// SQLite failed otherwise.
    #[error("the database {} could not be opened", path.display())]
    Sqlite {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("a thread of the store could not be started")]
    Thread(#[source] io::Error),
}

/// Opens the connection that writes: makes the file if there is none, checks it, migrates it.
/// Nothing is written to a database of another master key.
pub(crate) fn open_writer(
    path: &Path,
    master: &MasterKey,
) -> Result<(Connection, Vault), OpenError> {
    make_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = |source| classify(path, source);
    let mut connection = Connection::open_with_flags(path, flags).map_err(found)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(found)?;
    let version = check_schema(&connection, path)?;
    if version > 0 {
        check_integrity(&connection, path)?;
    }
    if version >= migrations::FIRST_SEALED {
        unlock(&connection, path, master)?;
    }
    prepare_writer(&connection).map_err(found)?;
    migrations::migrate(&mut connection, version, master).map_err(|error| match error {
        MigrateError::Sqlite(source) | MigrateError::Rewrite(RewriteError::Sqlite(source)) => {
            found(source)
        }
        MigrateError::Vault(error) => unlock_error(path, error),
        other => OpenError::Seal { path: path.to_owned(), source: Box::new(other) },
    })?;
    let vault = unlock(&connection, path, master)?;
    scrub(&connection, path);
    Ok((connection, vault))
}

/// Unwraps the data keys of a database whose secrets are sealed.
pub(crate) fn unlock(
    connection: &Connection,
    path: &Path,
    master: &MasterKey,
) -> Result<Vault, OpenError> {
    Vault::unlock(connection, master).map_err(|error| unlock_error(path, error))
}

fn unlock_error(path: &Path, error: UnlockError) -> OpenError {
    match error {
        UnlockError::WrongMasterKey => OpenError::WrongMasterKey { path: path.to_owned() },
        UnlockError::Damaged => {
            OpenError::Damaged { path: path.to_owned(), findings: error.to_string() }
        }
        UnlockError::Sqlite(source) => classify(path, source),
        UnlockError::Seal(source) => {
            OpenError::Seal { path: path.to_owned(), source: Box::new(source) }
        }
    }
}

/// Whether there is a database whose secrets are sealed, so that only its own master key will do.
///
/// # Errors
/// [`OpenError`] when there is a file that is no database of ours, or a newer one.
pub fn is_sealed(path: &Path) -> Result<bool, OpenError> {
    if !path.try_exists().map_err(|source| io_error(path, "read", source))? {
        return Ok(false);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = |source| classify(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(found)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(found)?;
    Ok(check_schema(&connection, path)? >= migrations::FIRST_SEALED)
}

/// Removes what sealing anew left behind of old secrets in the file and in the log, if that is
/// still to be done. When it cannot be done now, it is tried again at the next start.
pub(crate) fn scrub(connection: &Connection, path: &Path) {
    match try_scrub(connection) {
        Ok(true) => {}
        Ok(false) => warn!(
            path = %path.display(),
            "the file may still hold remains of old secrets, because another process reads it; \
             they are removed at the next start"
        ),
        Err(error) => warn!(
            path = %path.display(),
            error = %error,
            "the file may still hold remains of old secrets; their removal is tried again at the \
             next start"
        ),
    }
}

/// Returns whether nothing is left.
fn try_scrub(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT value FROM counters WHERE name = 'to_scrub'";
    if connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(true);
    }
    // The copy that VACUUM makes has the size of the database.
    connection.pragma_update(None, "temp_store", "FILE")?;
    let vacuumed = connection.execute_batch("VACUUM");
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    vacuumed?;
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Ok(false);
    }
    connection.execute("UPDATE counters SET value = 0 WHERE name = 'to_scrub'", [])?;
    Ok(true)
}

/// Answers [`OpenError::Missing`] when there is no such file.
pub(crate) fn check_exists(path: &Path) -> Result<(), OpenError> {
    if path.try_exists().map_err(|source| io_error(path, "read", source))? {
        return Ok(());
    }
    Err(OpenError::Missing { path: path.to_owned() })
}

/// Opens the connection that moves the log into the file, beside an open writer.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = |source| classify(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(found)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(found)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(found)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(found)?;
    Ok(connection)
}

/// Opens a connection that reads a database that is there and has our schema.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    check_exists(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = |source| classify(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(found)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(found)?;
    let version = check_schema(&connection, path)?;
    if version < migrations::LATEST {
        let (path, known) = (path.to_owned(), migrations::LATEST);
        return Err(OpenError::Older { path, found: version, known });
    }
    connection.pragma_update(None, "query_only", true).map_err(found)?;
    connection.pragma_update(None, "cache_size", -16 * 1024).map_err(found)?;
    keep_statements(&connection).map_err(found)?;
    Ok(connection)
}

/// Takes the lock that only one writing process can hold. It lasts as long as the file is open,
/// so it needs no cleaning up after a crash.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    make_folder(path)?;
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&lock_path)
        .map_err(|source| io_error(&lock_path, "made", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(&lock_path, "locked", source)),
    }
}

/// Options that make a file only its owner may read: it holds keys.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(|source| io_error(folder, "made", source))
}

fn make_file(path: &Path) -> Result<(), OpenError> {
    make_folder(path)?;
    private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(path)
        .map(drop)
        .map_err(|source| io_error(path, "made", source))
}

/// The settings of the writing connection. The page size counts for a new file only.
fn prepare_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", 4096)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = format!("the file system does not allow a write-ahead log (mode `{mode}`)");
        return Err(rusqlite::Error::ToSqlConversionFailure(why.into()));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -64 * 1024)?;
    keep_statements(connection)
}

/// Statements are compiled once for each connection. Their plans do not depend on the values they
/// are given: SQLite would otherwise compile those anew at every use whose parameters it compares
/// with the condition of an index or with statistics.
pub(crate) fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(N_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The schema version; 0 for an empty file.
fn check_schema(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|source| classify(path, source))
    };
    let n_objects: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| classify(path, source))?;
    if n_objects == 0 {
        return Ok(0);
    }
    let version = u32::try_from(pragma("user_version")?).unwrap_or(0);
    if pragma("application_id")? != i64::from(APPLICATION_ID) || version == 0 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if version > migrations::LATEST {
        let (path, known) = (path.to_owned(), migrations::LATEST);
        return Err(OpenError::Newer { path, found: version, known });
    }
    Ok(version)
}

fn check_integrity(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let findings = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(&format!("PRAGMA quick_check({MAX_FINDINGS})"))?;
        statement.query_map([], |row| row.get(0))?.collect()
    };
    let findings = findings().map_err(|source| classify(path, source))?;
    if findings.iter().all(|finding| finding == "ok") {
        return Ok(());
    }
    Err(OpenError::Damaged { path: path.to_owned(), findings: findings.join("; ") })
}

/// Tells a damaged file from other failures.
pub(crate) fn classify(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path, findings: source.to_string() }
        }
        _ => OpenError::Sqlite { path, source },
    }
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), doing, source }
}
