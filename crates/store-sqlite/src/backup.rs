//! Consistent copies of a database that is being written to.

use std::{
    fs::{self, File, OpenOptions},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use thiserror::Error;

use crate::open::{OpenError, open_reader, private};

/// How many pages are copied between two reports of progress.
const PAGES_PER_STEP: i32 = 1024;

/// Why there is no backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The target is there already; a backup never overwrites anything.
    #[error("{} exists already; a backup overwrites nothing, choose another name", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The database to copy cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy could not be written.
    #[error("the backup {} could not be written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite failed.
    #[error("the database could not be copied to {}", path.display())]
    Sqlite {
        /// The target.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Nobody waited for it any more.
    #[error("the backup to {} was given up", path.display())]
    GivenUp {
        /// The target.
        path: PathBuf,
    },
}

/// Copies a database, which a server may be writing to, into a new file.
///
/// The copy is what was there when it began, complete and on the disk when this returns. Until
/// then the target is an empty file. The secrets in it stay sealed: it opens with the master key
/// that the database has at this moment, also after a later [`crate::rekey`]. `progress` is told how many bytes of how many are copied.
///
/// # Errors
/// [`BackupError`]; nothing is left behind then.
pub fn backup_file(
    from: &Path,
    to: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), BackupError> {
    copy(from, to, &mut |done, total| {
        progress(done, total);
        ControlFlow::Continue(())
    })
}

/// [`backup_file`] on a thread of its own, for callers that must not block.
pub(crate) async fn backup(
    from: PathBuf,
    to: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), BackupError> {
    let (report, reports) = flume::bounded(1);
    let (answer, answered) = tokio::sync::oneshot::channel();
    let target = to.to_owned();
    let run = move || {
        let copied = copy(&from, &target, &mut |done, total| match report.send((done, total)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        drop(report);
        let _ = answer.send(copied);
    };
    thread::Builder::new()
        .name("store-backup".into())
        .spawn(run)
        .map_err(|source| BackupError::Open(OpenError::Thread(source)))?;
    while let Ok((done, total)) = reports.recv_async().await {
        progress(done, total);
    }
    answered.await.unwrap_or_else(|_| Err(BackupError::GivenUp { path: to.to_owned() }))
}

type Progress<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

/// Takes the name, copies beside it, and puts the finished copy there.
fn copy(from: &Path, to: &Path, progress: &mut Progress<'_>) -> Result<(), BackupError> {
    let source = open_reader(from)?;
    create_new(to)?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let copied = create_new(&partial).and_then(|()| {
        let copied =
            copy_pages(&source, &partial, to, progress).and_then(|()| finish(&partial, to));
        if copied.is_err() {
            let _ = fs::remove_file(&partial);
        }
        copied
    });
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

fn copy_pages(
    source: &Connection,
    partial: &Path,
    to: &Path,
    progress: &mut Progress<'_>,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::Sqlite { path: to.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(partial, flags).map_err(failed)?;
    // Made durable at the end, in one go; a copy that was not finished has another name.
    target.pragma_update(None, "synchronous", "OFF").map_err(failed)?;
    // One snapshot for the whole copy. Without it every commit meanwhile would start it anew.
    source.execute_batch("BEGIN; SELECT COUNT(*) FROM counters").map_err(failed)?;
    let page_size: u64 = source
        .pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))
        .map_err(failed)?
        .into();
    {
        let backup = Backup::new(source, &mut target).map_err(failed)?;
        loop {
            let step = backup.step(PAGES_PER_STEP).map_err(failed)?;
            let at = backup.progress();
            let total = u64::try_from(at.pagecount).unwrap_or(0);
            let left = u64::try_from(at.remaining).unwrap_or(0);
            if progress((total - left.min(total)) * page_size, total * page_size).is_break() {
                return Err(BackupError::GivenUp { path: to.to_owned() });
            }
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                // Nobody else knows the target, and reading waits for nobody.
                _ => return Err(failed(rusqlite::Error::InvalidQuery)),
            }
        }
    }
    source.execute_batch("ROLLBACK").map_err(failed)?;
    target.close().map_err(|(_, source)| failed(source))
}

/// Brings the copy to the disk and under its name.
fn finish(partial: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| BackupError::Io { path, source }
    };
    File::open(partial).and_then(|file| file.sync_all()).map_err(failed(partial))?;
    fs::rename(partial, to).map_err(failed(to))?;
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Makes the new name durable. Where folders cannot be opened (Windows), the rename is.
    match File::open(folder) {
        Ok(folder_file) => folder_file.sync_all().map_err(failed(folder)),
        Err(_) => Ok(()),
    }
}

fn create_new(path: &Path) -> Result<(), BackupError> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::Exists { path: path.to_owned() })
        }
        Err(source) => Err(BackupError::Io { path: path.to_owned(), source }),
    }
}
