//! The one thread that writes.
//!
//! It takes a waiting change set, opens a transaction, applies that one and whatever else waits
//! (each in a savepoint of its own, so that one that conflicts or fails disturbs no neighbour),
//! commits, and only then answers all of them.

use std::{iter, sync::Arc};

use flume::Receiver;
use model::ChangeSet;
use rusqlite::Connection;
use store::{CommitError, Marks, StoreFault};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::{
    apply::{self, Effect, Failure, Versions},
    checkpoint::Checkpoints,
    codec::Db,
    heads::Heads,
    reads::service::audit_head,
    rows,
    tally::Tally,
    vault::Vault,
};

const DOING: &str = "wrote a change set";

/// What the writer is told.
pub(crate) enum Message {
    /// Write this.
    Commit(Pending),
    /// Stop after what was said before.
    Close,
}

/// A change set and who waits for it.
pub(crate) struct Pending {
    pub(crate) changes: ChangeSet,
    pub(crate) answer: oneshot::Sender<Result<(), CommitError>>,
}

/// The writer's connection and what it keeps in mind.
pub(crate) struct Writer {
    connection: Connection,
    vault: Arc<Vault>,
    checkpoints: Checkpoints,
    max_batch: usize,
    versions: Versions,
    heads: Heads,
    marks: Arc<Marks>,
    /// A transaction failed, and what the disk holds since could not be read yet.
    must_reload: bool,
}

impl Writer {
    /// A writer on a connection that is ready.
    pub(crate) fn new(
        connection: Connection,
        vault: Arc<Vault>,
        checkpoints: Checkpoints,
        max_batch: usize,
    ) -> rusqlite::Result<Self> {
        let versions = load_versions(&connection)?;
        let heads = Heads::load(&connection)?;
        let (max_batch, must_reload) = (max_batch.max(1), false);
        let marks = Arc::default();
        Ok(Self { connection, vault, checkpoints, max_batch, versions, heads, marks, must_reload })
    }

    /// The marks that it moves.
    pub(crate) fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.marks)
    }

    /// Writes until it is told to stop or nobody is left to ask.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(Message::Commit(first)) = inbox.recv() {
            let mut closing = false;
            let waiting = iter::from_fn(|| match inbox.try_recv() {
                Ok(Message::Commit(pending)) => Some(pending),
                Ok(Message::Close) => {
                    closing = true;
                    None
                }
                Err(_) => None,
            });
            // Fused, so that nothing is taken after `Close`.
            self.commit_batch(iter::once(first).chain(waiting.fuse()).take(self.max_batch));
            self.checkpoints.after_commit(&self.connection);
            if closing {
                break;
            }
        }
        self.checkpoints.close(&self.connection);
    }

    /// Waits no longer than that for another process.
    #[cfg(test)]
    pub(crate) fn set_busy_timeout(&self, timeout: std::time::Duration) {
        self.connection.busy_timeout(timeout).expect("a timeout");
    }

    /// Commits change sets in one transaction and answers each.
    pub(crate) fn commit_batch(&mut self, batch: impl Iterator<Item = Pending>) {
        let begun = self.reload().and_then(|()| execute(&self.connection, "BEGIN IMMEDIATE"));
        if let Err(error) = begun {
            let outcomes = batch.map(|pending| (pending.answer, Ok(()))).collect();
            self.fail(outcomes, error);
            return;
        }
        let db = Db { connection: &self.connection, vault: &self.vault };
        let mut versions = self.versions;
        let mut tally = Tally::default();
        let mut outcomes = Vec::new();
        let mut written = Vec::new();
        for Pending { changes, answer } in batch {
            let moves = self.marks.moves(&changes);
            let outcome = match apply_one(db, &changes, versions, &tally, &mut self.heads) {
                Ok(effect) => {
                    versions = effect.versions;
                    tally.add(effect.tally);
                    written.push(moves);
                    Ok(())
                }
                Err(failure) => Err(failure),
            };
            outcomes.push((answer, outcome));
            if self.connection.is_autocommit() {
                // A full disk and its like end the whole transaction, neighbours included.
                break;
            }
        }
        if self.connection.is_autocommit() {
            self.fail_with_last_cause(outcomes);
            return;
        }
        let committed = if written.is_empty() {
            execute(&self.connection, "ROLLBACK")
        } else {
            tally
                .write(&self.connection)
                .and_then(|()| self.heads.write(&self.connection))
                .and_then(|()| store_versions(&self.connection, self.versions, versions))
                .and_then(|()| execute(&self.connection, "COMMIT"))
        };
        match committed {
            Ok(()) => {
                self.versions = versions;
                // Before anybody hears of it.
                written.iter().for_each(|moves| self.marks.written(moves));
                for (answer, outcome) in outcomes {
                    // Whoever asked may have gone; what it asked for stands.
                    let _ = answer.send(outcome.map_err(commit_error));
                }
            }
            Err(error) => {
                self.marks.anything_written();
                self.fail(outcomes, error);
            }
        }
    }

    /// Reads what the writer keeps in mind from the disk, if it does not know it.
    fn reload(&mut self) -> rusqlite::Result<()> {
        if self.must_reload {
            self.versions = load_versions(&self.connection)?;
            self.heads = Heads::load(&self.connection)?;
            self.must_reload = false;
        }
        Ok(())
    }

    /// The transaction is gone already: the failure of the change set that ended it is everyone's.
    fn fail_with_last_cause(&mut self, mut outcomes: Outcomes) {
        let cause = match outcomes.pop() {
            Some((answer, Err(Failure::Sqlite(cause)))) => {
                outcomes.push((answer, Ok(())));
                cause
            }
            last => {
                outcomes.extend(last);
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
                rusqlite::Error::SqliteFailure(code, Some("the transaction is gone".to_owned()))
            }
        };
        self.fail(outcomes, cause);
    }

    /// Takes the transaction back and tells everyone in it that the store failed.
    fn fail(&mut self, outcomes: Outcomes, cause: rusqlite::Error) {
        if !self.connection.is_autocommit()
            && let Err(error) = execute(&self.connection, "ROLLBACK")
        {
            warn!(error = %error, "a failed transaction could not be rolled back");
        }
        // What the disk holds now is the truth, whatever the failed commit left there.
        self.must_reload = true;
        if let Err(error) = self.reload() {
            warn!(error = %error, "the store's counters could not be read");
        }
        error!(error = %cause, n_change_sets = outcomes.len(), "a transaction failed");
        let cause = Arc::new(cause);
        for (answer, _) in outcomes {
            let fault = StoreFault::new(DOING, Arc::clone(&cause));
            let _ = answer.send(Err(CommitError::Fault(fault)));
        }
    }
}

type Outcomes = Vec<(oneshot::Sender<Result<(), CommitError>>, Result<(), Failure>)>;

/// Applies one change set; when that fails, nothing of it stays in the transaction.
fn apply_one(
    db: Db<'_>,
    changes: &ChangeSet,
    versions: Versions,
    uncommitted: &Tally,
    heads: &mut Heads,
) -> Result<Effect, Failure> {
    apply::check_expectations(db, &changes.expects, versions, uncommitted)?;
    execute(&db, "SAVEPOINT change_set")?;
    let applied = apply::apply(db, changes, versions, heads);
    match &applied {
        Ok(_) => heads.keep(),
        Err(_) => heads.take_back(),
    }
    if applied.is_err() && !db.is_autocommit() {
        execute(&db, "ROLLBACK TO change_set")?;
    }
    if !db.is_autocommit() {
        execute(&db, "RELEASE change_set")?;
    }
    applied
}

fn commit_error(failure: Failure) -> CommitError {
    match failure {
        Failure::Conflict => CommitError::Conflict,
        Failure::Sqlite(error) => CommitError::Fault(StoreFault::new(DOING, error)),
    }
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn load_versions(connection: &Connection) -> rusqlite::Result<Versions> {
    let counter = |name: &str| {
        connection
            .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
            .query_row([name], |row| row.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    };
    let bans = counter("bans_version")?;
    Ok(Versions {
        last: counter("version")?,
        groups: counter("groups_version")?,
        hubs: counter("hubs_version")?,
        bans,
        // Which of them that was is not known.
        wide_bans: bans,
        audit: audit_head(connection)?,
    })
}

fn store_versions(connection: &Connection, old: Versions, new: Versions) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE counters SET value = ?2 WHERE name = ?1")?;
    statement.execute(("version", new.last.cast_signed()))?;
    for (name, old, new) in [
        ("groups_version", old.groups, new.groups),
        ("hubs_version", old.hubs, new.hubs),
        ("bans_version", old.bans, new.bans),
    ] {
        if old != new {
            statement.execute((name, new.cast_signed()))?;
        }
    }
    if old.audit != new.audit {
        rows::audit::put_head(connection, new.audit)?;
    }
    Ok(())
}
