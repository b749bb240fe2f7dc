//! The store as callers see it: settings, opening and closing; the trait is in `calls`.

use std::{
    fs::File,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use flume::Sender;
use store::Marks;
use tokio::sync::watch;
use tracing::error;

use crate::{
    backup::{self, BackupError},
    checkpoint::{Checkpoints, StartError},
    master_key::MasterKey,
    open::{self, OpenError},
    readers::Readers,
    writer::{Message, Writer},
};

mod calls;

/// How many threads read when only reading is wanted.
const N_READERS_ONLY: usize = 2;

/// Where the database is and how much may go on at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The database file. It and its folder are made when they are missing, for their owner only.
    pub path: PathBuf,
    /// How many threads read; at least 1.
    pub n_readers: usize,
    /// How many change sets may wait to be written before callers wait to be let in; at least 1.
    pub max_waiting: usize,
    /// How many change sets one physical transaction takes at most; at least 1.
    pub max_batch: usize,
    /// The master key. A new database is sealed with it; any other opens with its own only.
    pub master_key: MasterKey,
}

/// A store in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    readers: Readers,
    writer: Option<WriterSide>,
    /// Of a store that is only read they never move.
    marks: Arc<Marks>,
    running: Mutex<Running>,
}

/// How to ask the writer.
struct WriterSide {
    queue: Sender<Message>,
    gone: watch::Receiver<()>,
}

/// What stops when the store is closed.
#[derive(Default)]
struct Running {
    readers: Vec<JoinHandle<()>>,
    writer: Vec<JoinHandle<()>>,
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens a database for reading and writing: makes it if there is none, checks it, brings its
    /// schema up to date, and takes the lock that keeps a second writing process away.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open(settings: SqliteSettings) -> Result<Self, OpenError> {
        let path = settings.path;
        let lock = open::lock(&path)?;
        let (mut connection, vault) = open::open_writer(&path, &settings.master_key)?;
        let vault = Arc::new(vault);
        let readers = (0..settings.n_readers.max(1))
            .map(|_| open::open_reader(&path))
            .collect::<Result<_, _>>()?;
        let second = open::open_checkpointer(&path)?;
        let (checkpoints, checkpoint_thread) =
            Checkpoints::start(&mut connection, second, open::BUSY_TIMEOUT).map_err(|error| {
                match error {
                    StartError::Sqlite(source) => open::classify(&path, source),
                    StartError::Thread(source) => OpenError::Thread(source),
                }
            })?;
        let writer = Writer::new(connection, Arc::clone(&vault), checkpoints, settings.max_batch)
            .map_err(|source| open::classify(&path, source))?;
        let marks = writer.marks();
        let (side, writer_thread) = start_writer(writer, settings.max_waiting)?;
        let (readers, reader_threads) =
            Readers::start(readers, &vault).map_err(OpenError::Thread)?;
        let running = Running {
            readers: reader_threads,
            // In the order in which they end: the writer lets the checkpoints go.
            writer: vec![writer_thread, checkpoint_thread],
            lock: Some(lock),
        };
        Ok(Self::new(path, readers, Some(side), marks, running))
    }

    /// Opens a database for reading only, beside a server that may be writing to it. Committing
    /// answers a fault.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open_read_only(path: &Path, master_key: &MasterKey) -> Result<Self, OpenError> {
        let first = open::open_reader(path)?;
        let vault = Arc::new(open::unlock(&first, path, master_key)?);
        let others = (1..N_READERS_ONLY).map(|_| open::open_reader(path));
        let connections = iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?;
        let (readers, threads) = Readers::start(connections, &vault).map_err(OpenError::Thread)?;
        let running = Running { readers: threads, ..Running::default() };
        Ok(Self::new(path.to_owned(), readers, None, Arc::default(), running))
    }

    /// Copies the database into a new file while it is in use; see [`crate::backup_file`].
    ///
    /// # Errors
    /// [`BackupError`]; nothing is left behind then.
    pub async fn backup(
        &self,
        to: &Path,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), BackupError> {
        backup::backup(self.inner.path.clone(), to, progress).await
    }

    /// Writes what waits, moves the log into the database file and lets go of it. Blocks until
    /// that is done. Other clones answer faults from then on.
    pub fn close(self) {
        self.inner.stop();
    }

    fn new(
        path: PathBuf,
        readers: Readers,
        writer: Option<WriterSide>,
        marks: Arc<Marks>,
        running: Running,
    ) -> Self {
        let running = Mutex::new(running);
        Self { inner: Arc::new(Inner { path, readers, writer, marks, running }) }
    }
}

impl Inner {
    /// Stops the threads in turn and waits for them. A second time nothing happens.
    fn stop(&self) {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        self.readers.stop(running.readers.len());
        for thread in running.readers {
            let _ = thread.join();
        }
        if let Some(writer) = &self.writer {
            let _ = writer.queue.send(Message::Close);
        }
        for thread in running.writer {
            let _ = thread.join();
        }
        drop(running.lock);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start_writer(
    writer: Writer,
    max_waiting: usize,
) -> Result<(WriterSide, JoinHandle<()>), OpenError> {
    let (queue, inbox) = flume::bounded(max_waiting.max(1));
    let (alive, gone) = watch::channel(());
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| writer.run(&inbox))).is_err() {
            error!("the store's writer panicked; nothing more is written until a restart");
        }
        // In this order: whoever finds the queue closed or itself forgotten gets a fault.
        drop(inbox);
        drop(alive);
    };
    let thread =
        thread::Builder::new().name("store-write".into()).spawn(run).map_err(OpenError::Thread)?;
    Ok((WriterSide { queue, gone }, thread))
}
