//! Where the master key comes from: a file, a command or the environment; without any of them a
//! file in the data folder, which the first start makes.
//!
//! What sealing means is the store's; here is only how the key gets to it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use app::ports::Entropy;
use store_sqlite::{BadMasterKey, MasterKey, OpenError, is_sealed};
use thiserror::Error;
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    config::{Config, MasterKeySource},
    data_folder::{DataFolder, write_file},
    ports::SystemEntropy,
};

/// The most we read of a file or a command, in bytes: a key with room for white space.
const MAX_BYTES: u64 = 1024;
/// How long a command may take.
const COMMAND_SECS: u64 = 60;
/// How often we look whether a command has ended.
const COMMAND_PAUSE: Duration = Duration::from_millis(20);

/// The master key, and whether it was made just now.
#[derive(Debug)]
pub struct Found {
    /// The key.
    pub key: MasterKey,
    /// The file it was made into just now.
    pub made: Option<PathBuf>,
}

/// Why there is no master key. None of the texts holds anything of a key.
#[derive(Debug, Error)]
pub enum MasterKeyError {
    /// The file cannot be read.
    #[error(
        "the master key cannot be read from {}; put the file back, or say in [secrets] where the \
         master key is. Without it the secrets in the database cannot be read again",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the file {} holds no master key", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BadMasterKey,
    },
    /// The file could not be made.
    #[error("the master key cannot be written to {}; check who owns the folder", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The command cannot be run.
    #[error("secrets.master_key_command cannot be run")]
    Run(#[source] io::Error),
    /// The command failed.
    #[error("secrets.master_key_command ended with {0}; what it wrote to standard error says why")]
    Ended(ExitStatus),
    /// The command did not end.
    #[error("secrets.master_key_command took longer than {COMMAND_SECS} seconds and was ended")]
    TooSlow,
    /// The command printed something else.
    #[error("what secrets.master_key_command prints is no master key")]
    BadOutput(#[source] BadMasterKey),
    /// The database has one, and it is lost; or the database cannot be looked at.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Finds the master key of a database that is there, making nothing.
///
/// # Errors
/// [`MasterKeyError`]; a database that is not there is [`OpenError::Missing`].
pub fn find(config: &Config, data: &DataFolder) -> Result<MasterKey, MasterKeyError> {
    let path = data.database();
    if !path.exists() {
        return Err(OpenError::Missing { path }.into());
    }
    match from_source(&config.master_key, data)? {
        Some(key) => Ok(key),
        None if is_sealed(&path)? => Err(OpenError::NoMasterKey { path }.into()),
        // An older release sealed nothing. Whoever opens its database for reading is told to
        // start the server first, whatever the key.
        None => Ok(random()),
    }
}

/// Finds the master key for a server that is about to start, and makes one where there was never
/// any. The caller holds the data folder's lock.
///
/// # Errors
/// [`MasterKeyError`].
pub fn find_or_make(config: &Config, data: &DataFolder) -> Result<Found, MasterKeyError> {
    if let Some(key) = from_source(&config.master_key, data)? {
        return Ok(Found { key, made: None });
    }
    let database = data.database();
    if is_sealed(&database)? {
        return Err(OpenError::NoMasterKey { path: database }.into());
    }
    let path = data.master_key();
    let key = make_file(&path)?;
    Ok(Found { key, made: Some(path) })
}

/// Makes a file with a random master key, for its owner only.
///
/// # Errors
/// [`MasterKeyError::Write`].
pub fn make_file(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let key = random();
    write_key(path, &key)?;
    Ok(key)
}

/// Writes a master key into a file for its owner only, durably: a database must never outlive its
/// key.
///
/// # Errors
/// [`MasterKeyError::Write`].
pub fn write_key(path: &Path, key: &MasterKey) -> Result<(), MasterKeyError> {
    let text = Zeroizing::new(format!("{}\n", key.reveal().as_str()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    write_file(path, text.as_bytes())
        .and_then(|()| sync_folder(folder.unwrap_or_else(|| Path::new("."))))
        .map_err(|source| MasterKeyError::Write { path: path.to_owned(), source })
}

/// A master key from a file of the operator's.
///
/// # Errors
/// [`MasterKeyError`].
pub fn from_file(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let read = |source| MasterKeyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    warn_if_others_may_read(path, &file);
    let text = read_bounded(file).map_err(read)?;
    let bad = |source| MasterKeyError::BadFile { path: path.to_owned(), source };
    MasterKey::parse(&text).map_err(bad)
}

fn from_source(
    source: &MasterKeySource,
    data: &DataFolder,
) -> Result<Option<MasterKey>, MasterKeyError> {
    match source {
        MasterKeySource::DataFolder => match from_file(&data.master_key()) {
            Err(MasterKeyError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            found => found.map(Some),
        },
        MasterKeySource::File(path) => from_file(path).map(Some),
        MasterKeySource::Command(command) => from_command(command).map(Some),
        MasterKeySource::Environment(key) => Ok(Some(key.clone())),
    }
}

fn from_command(command: &str) -> Result<MasterKey, MasterKeyError> {
    let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut child = Command::new(shell)
        .args([option, command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(MasterKeyError::Run)?;
    let stdout = child.stdout.take();
    let reading = thread::spawn(move || stdout.map(read_bounded).transpose());
    let status = wait(&mut child)?;
    if !status.success() {
        return Err(MasterKeyError::Ended(status));
    }
    let read = reading.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    let text = read.map_err(MasterKeyError::Run)?.unwrap_or_default();
    MasterKey::parse(&text).map_err(MasterKeyError::BadOutput)
}

fn wait(child: &mut Child) -> Result<ExitStatus, MasterKeyError> {
    let n_looks = u128::from(COMMAND_SECS) * 1000 / COMMAND_PAUSE.as_millis();
    for _ in 0..n_looks {
        if let Some(status) = child.try_wait().map_err(MasterKeyError::Run)? {
            return Ok(status);
        }
        thread::sleep(COMMAND_PAUSE);
    }
    // It is given up either way.
    let _ = child.kill();
    let _ = child.wait();
    Err(MasterKeyError::TooSlow)
}

/// Whatever is longer than a key can be is cut off, and then is none.
fn read_bounded(from: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES as usize));
    from.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn random() -> MasterKey {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    MasterKey::generate(bytes)
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { fs::metadata(path).map(drop) }
}

fn warn_if_others_may_read(path: &Path, file: &File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            warn!(path = %path.display(), "others may read the master key {}; `chmod 600` it", path.display());
        }
    }
    #[cfg(not(unix))]
    let _ = (path, file);
}

#[cfg(test)]
mod tests;
