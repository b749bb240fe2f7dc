//! Moving the write-ahead log into the database file.
//!
//! Commits only append to the log. When it has grown, a second connection copies it over beside
//! the running writer (`PASSIVE`, which waits for nobody). The writer then copies the short tail
//! that grew meanwhile, so that the next commit starts the log from the beginning again. A log
//! that a long read keeps from that is bounded by asking readers to let go once it is very long.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flume::Sender;
use rusqlite::Connection;
use tracing::warn;

/// From this many pages (16 MiB) on, the log is copied over.
const SOFT_FRAMES: u32 = 4096;

/// From this many pages (256 MiB) on, the writer waits a moment for readers that hold the log.
const HARD_FRAMES: u32 = 16 * SOFT_FRAMES;

/// How long the writer waits for them, at most, each time the log has grown by `SOFT_FRAMES`.
const PATIENCE: Duration = Duration::from_millis(100);

/// The writer's side of checkpointing.
pub(crate) struct Checkpoints {
    n_frames: Arc<AtomicU32>,
    asked: bool,
    copied: Arc<AtomicBool>,
    ask: Sender<()>,
    next_hard: u32,
    busy_timeout: Duration,
}

impl Checkpoints {
    /// Watches the log of the writer's connection and starts the thread with the second one.
    ///
    /// The thread ends when the value returned is dropped.
    pub(crate) fn start(
        writer: &mut Connection,
        second: Connection,
        busy_timeout: Duration,
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let n_frames = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&n_frames);
        // Replaces SQLite's own automatic checkpoint, which would run inside a commit.
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, n: std::ffi::c_int| {
            seen.store(u32::try_from(n).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let (ask, asked) = flume::bounded(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        let thread = thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
            while asked.recv().is_ok() {
                checkpoint(&second, "PRAGMA wal_checkpoint(PASSIVE)");
                done.store(true, Ordering::Release);
            }
        })?;
        let checkpoints =
            Self { n_frames, asked: false, copied, ask, next_hard: HARD_FRAMES, busy_timeout };
        Ok((checkpoints, thread))
    }

    /// Looks at the log after a commit.
    pub(crate) fn after_commit(&mut self, writer: &Connection) {
        let n_frames = self.n_frames.load(Ordering::Relaxed);
        if n_frames >= self.next_hard {
            let _ = writer.busy_timeout(PATIENCE);
            checkpoint(writer, "PRAGMA wal_checkpoint(RESTART)");
            let _ = writer.busy_timeout(self.busy_timeout);
            self.next_hard = n_frames.saturating_add(SOFT_FRAMES);
        } else if n_frames < HARD_FRAMES {
            self.next_hard = HARD_FRAMES;
        }
        if self.copied.swap(false, Ordering::Acquire) {
            checkpoint(writer, "PRAGMA wal_checkpoint(PASSIVE)");
            self.asked = false;
        } else if n_frames >= SOFT_FRAMES && !self.asked {
            self.asked = self.ask.try_send(()).is_ok();
        }
    }

    /// How many pages the log had after the last commit.
    #[cfg(test)]
    pub(crate) fn n_frames(&self) -> u32 {
        self.n_frames.load(Ordering::Relaxed)
    }

    /// Empties the log, as far as readers let it.
    pub(crate) fn close(&self, writer: &Connection) {
        checkpoint(writer, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

/// Why checkpointing could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Thread(#[from] io::Error),
}

/// Runs a checkpoint. One that could not finish is not an error: the log stays and is read.
fn checkpoint(connection: &Connection, pragma: &str) {
    if let Err(error) = connection.query_row(pragma, [], |_| Ok(())) {
        warn!(error = %error, "the write-ahead log could not be moved into the database");
    }
}
