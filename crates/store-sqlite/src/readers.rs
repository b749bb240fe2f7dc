//! The threads that read, each with a connection of its own.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use flume::{Receiver, Sender};
use rusqlite::Connection;
use store::StoreFault;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tracing::error;

use crate::{cache::Cache, codec::Db, vault::Vault};

/// How many reads may wait for each thread before callers wait to be let in.
const QUEUE_PER_READER: usize = 64;

type Job = Box<dyn FnOnce(&Reader) + Send>;

/// What a reading thread has at hand.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    pub(crate) vault: Arc<Vault>,
    pub(crate) cache: Arc<Cache>,
}

impl Reader {
    /// The connection, and what opens its secrets.
    pub(crate) fn db(&self) -> Db<'_> {
        Db { connection: &self.connection, vault: &self.vault }
    }

    /// Runs reads in one snapshot.
    pub(crate) fn snapshot<T>(
        &self,
        read: impl FnOnce(&Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.execute("BEGIN DEFERRED")?;
        let result = read(self);
        // Ends a transaction that wrote nothing: the same whether it went well or not.
        self.execute("ROLLBACK")?;
        result
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }
}

/// The store, or the part of it that was asked, is not there any more.
#[derive(Debug, Clone, Copy, Error)]
#[error("the store is closed")]
pub(crate) struct Closed;

/// The reading threads, and how to ask them.
pub(crate) struct Readers {
    queue: Sender<Option<Job>>,
    gone: watch::Receiver<()>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(crate) fn start(
        connections: Vec<Connection>,
        vault: &Arc<Vault>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), io::Error> {
        let (queue, jobs) = flume::bounded(QUEUE_PER_READER * connections.len());
        let (alive, gone) = watch::channel(());
        let (alive, cache) = (Arc::new(alive), Arc::new(Cache::default()));
        let mut threads = Vec::new();
        for connection in connections {
            let (jobs, alive) = (jobs.clone(), Arc::clone(&alive));
            let (vault, cache) = (Arc::clone(vault), Arc::clone(&cache));
            let reader = Reader { connection, vault, cache };
            let run = move || {
                work(&reader, &jobs);
                drop(alive);
            };
            threads.push(thread::Builder::new().name("store-read".into()).spawn(run)?);
        }
        Ok((Self { queue, gone }, threads))
    }

    /// Runs a read on one of the threads and waits for its answer.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Whoever asked may have gone.
            let _ = answer.send(read(reader));
        });
        let closed = |_| StoreFault::new(doing, Closed);
        self.queue.send_async(Some(job)).await.map_err(|_| closed(Closed))?;
        let result = wait(answered, self.gone.clone()).await.map_err(closed)?;
        result.map_err(|error| StoreFault::new(doing, error))
    }

    /// Tells that many threads to stop after what was asked before.
    pub(crate) fn stop(&self, n_threads: usize) {
        for _ in 0..n_threads {
            let _ = self.queue.send(None);
        }
    }
}

/// Waits for an answer, or until those who could give it are gone. A message can be left in a
/// queue that nobody empties any more, so the answer's own channel does not tell.
pub(crate) async fn wait<T>(
    mut answered: oneshot::Receiver<T>,
    mut gone: watch::Receiver<()>,
) -> Result<T, Closed> {
    tokio::select! {
        biased;
        answer = &mut answered => answer.map_err(|_| Closed),
        _ = gone.changed() => answered.try_recv().map_err(|_| Closed),
    }
}

fn work(reader: &Reader, jobs: &Receiver<Option<Job>>) {
    while let Ok(Some(job)) = jobs.recv() {
        // A panic is a bug and costs its caller the answer, not everyone the thread.
        if catch_unwind(AssertUnwindSafe(|| job(reader))).is_err() {
            error!("a read panicked");
            if !reader.connection.is_autocommit() {
                let _ = reader.connection.execute_batch("ROLLBACK");
            }
        }
    }
}
