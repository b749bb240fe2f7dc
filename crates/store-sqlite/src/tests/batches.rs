//! Several change sets in one physical transaction.

use model::{Change, ChangeSet, Expect};
use rusqlite::Connection;
use store::{
    CommitError,
    suite::scene::{audit_entry, individual, registration_id},
};
use tokio::sync::oneshot;

use super::{Folder, master_key};
use crate::{
    checkpoint::Checkpoints,
    open,
    writer::{Pending, Writer},
};

/// A writer without its thread, on a database where some settings bring harm.
struct Scene {
    folder: Folder,
    writer: Writer,
}

impl Scene {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.database();
        let (mut connection, vault) = open::open_writer(&path, &master_key()).expect("it opens");
        connection
            .execute_batch(
                "CREATE TABLE parents (id INTEGER PRIMARY KEY);
                 CREATE TABLE children (
                   parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER harm AFTER INSERT ON instance_settings BEGIN
                   SELECT RAISE(ABORT, 'not this one') WHERE NEW.name = 'abort';
                   SELECT RAISE(ROLLBACK, 'none of them') WHERE NEW.name = 'rollback';
                   INSERT INTO children SELECT 1 WHERE NEW.name = 'fail at commit';
                 END;",
            )
            .expect("harm is prepared");
        let second = open::open_checkpointer(&path).expect("it opens");
        let (checkpoints, _thread) =
            Checkpoints::start(&mut connection, second, open::BUSY_TIMEOUT).expect("started");
        let writer = Writer::new(connection, vault.into(), checkpoints, 64).expect("a writer");
        Self { folder, writer }
    }

    /// Commits change sets as one batch and returns their answers in a letter each: written,
    /// conflict, fault.
    fn commit(&mut self, sets: Vec<ChangeSet>) -> String {
        let (batch, answers): (Vec<_>, Vec<_>) = sets
            .into_iter()
            .map(|changes| {
                let (answer, answered) = oneshot::channel();
                (Pending { changes, answer }, answered)
            })
            .unzip();
        self.writer.commit_batch(batch.into_iter());
        let letter = |mut answered: oneshot::Receiver<Result<(), CommitError>>| match answered
            .try_recv()
            .expect("everyone is answered")
        {
            Ok(()) => 'w',
            Err(CommitError::Conflict) => 'c',
            Err(CommitError::Fault(_)) => 'f',
        };
        answers.into_iter().map(letter).collect()
    }

    /// The keys on the disk, read by somebody else, and the counter beside them.
    fn stored(&self) -> (Vec<String>, i64) {
        let raw = Connection::open(self.folder.database()).expect("it opens");
        let mut statement =
            raw.prepare("SELECT key FROM individual_enrollments ORDER BY key").expect("prepared");
        let keys = statement.query_map([], |row| row.get(0)).expect("keys");
        let sql = "SELECT value FROM counters WHERE name = 'individual_enrollments'";
        let counter = raw.query_row(sql, [], |row| row.get(0)).expect("a counter");
        (keys.collect::<Result<_, _>>().expect("keys"), counter)
    }

    fn check(&self, keys: &[&str]) {
        let (found, counter) = self.stored();
        assert_eq!(found, keys);
        assert_eq!(counter, keys.len() as i64);
    }
}

fn put(name: &str) -> ChangeSet {
    ChangeSet::new().with(Change::PutIndividual(Box::new(individual(name))))
}

/// A change set whose last change does harm.
fn harmful(name: &str, harm: &str) -> ChangeSet {
    put(name).with(Change::PutInstanceSetting { name: harm.to_owned(), value: String::new() })
}

#[test]
fn a_change_set_that_fails_in_the_middle_disturbs_no_neighbour() {
    let mut scene = Scene::new();
    let batch = vec![put("a"), harmful("b", "abort"), put("c"), harmful("d", "harmless")];
    assert_eq!(scene.commit(batch), "wfww");
    scene.check(&["a", "c", "d"]);
}

#[test]
fn a_change_set_that_conflicts_disturbs_no_neighbour() {
    let mut scene = Scene::new();
    let absent = |name: &str| Expect::Individual(registration_id(name), 0);
    let batch = vec![
        put("a").expecting(absent("a")),
        // Conflicts with what its neighbour has just written.
        put("b").expecting(absent("a")),
        put("a").expecting(absent("b")),
    ];
    assert_eq!(scene.commit(batch), "wcw");
    scene.check(&["a"]);
    assert_eq!(scene.commit(vec![put("b").expecting(absent("a"))]), "c");
    scene.check(&["a"]);
}

#[test]
fn a_lost_transaction_is_a_fault_for_all_and_nothing_is_written() {
    let mut scene = Scene::new();
    assert_eq!(scene.commit(vec![put("a")]), "w");
    let batch = vec![put("b"), harmful("c", "rollback")];
    assert_eq!(scene.commit(batch), "ff");
    scene.check(&["a"]);
    assert_eq!(scene.commit(vec![put("d"), put("e")]), "ww");
    scene.check(&["a", "d", "e"]);
}

#[test]
fn a_commit_that_fails_is_a_fault_for_all_and_nothing_is_written() {
    let mut scene = Scene::new();
    assert_eq!(scene.commit(vec![put("a")]), "w");
    let batch = vec![put("b"), harmful("c", "fail at commit"), put("d")];
    assert_eq!(scene.commit(batch), "fff");
    scene.check(&["a"]);
    assert_eq!(scene.commit(vec![put("b")]), "w");
    scene.check(&["a", "b"]);
}

/// A line whose transaction was lost leaves no gap and no loose end.
#[test]
fn a_lost_transaction_leaves_the_audit_log_whole() {
    let mut scene = Scene::new();
    let audited = |name: &str| {
        put(name).with(Change::Audit(Box::new(audit_entry("enrollment.create", name))))
    };
    assert_eq!(scene.commit(vec![audited("a"), audited("b")]), "ww");
    assert_eq!(scene.commit(vec![audited("c"), harmful("d", "rollback")]), "ff");
    assert_eq!(scene.commit(vec![audited("e"), harmful("f", "fail at commit")]), "ff");
    assert_eq!(scene.commit(vec![harmful("g", "abort"), audited("h")]), "fw");
    let raw = Connection::open(scene.folder.database()).expect("it opens");
    let sql = "SELECT l.number = 3 AND l.target = 'h' AND h.number = 3 AND h.hash = l.hash
         AND l.previous = (SELECT hash FROM audit_lines WHERE number = 2)
         AND (SELECT COUNT(*) FROM audit_lines) = 3
       FROM audit_lines l, audit_head h ORDER BY l.number DESC LIMIT 1";
    let whole: bool = raw.query_row(sql, [], |row| row.get(0)).expect("read");
    assert!(whole);
}

#[test]
fn a_transaction_that_cannot_begin_is_a_fault_for_all() {
    let mut scene = Scene::new();
    scene.writer.set_busy_timeout(std::time::Duration::ZERO);
    let other = Connection::open(scene.folder.database()).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begun");
    assert_eq!(scene.commit(vec![put("a"), put("b")]), "ff");
    other.execute_batch("ROLLBACK").expect("ended");
    assert_eq!(scene.commit(vec![put("a"), put("b")]), "ww");
    scene.check(&["a", "b"]);
}

/// The log starts again from its beginning, moved by the second connection and the writer's tail.
#[test]
fn the_log_does_not_grow_for_ever() {
    let folder = Folder::new();
    let path = folder.database();
    let (mut connection, _vault) = open::open_writer(&path, &master_key()).expect("it opens");
    let second = open::open_checkpointer(&path).expect("it opens");
    let (mut checkpoints, _thread) =
        Checkpoints::start(&mut connection, second, open::BUSY_TIMEOUT).expect("started");
    connection.execute_batch("CREATE TABLE big (content BLOB)").expect("made");
    let content = vec![7_u8; 400_000];
    let mut n_frames = 0;
    let mut restarted = false;
    for _ in 0..2_000 {
        connection.execute("INSERT INTO big VALUES (?1)", [&content]).expect("written");
        checkpoints.after_commit(&connection);
        let now = checkpoints.n_frames();
        restarted = now < n_frames;
        n_frames = now;
        if restarted {
            break;
        }
    }
    assert!(restarted, "{n_frames} pages in the log");
    checkpoints.close(&connection);
    let wal = folder.path("induct.db-wal");
    assert_eq!(std::fs::metadata(wal).expect("the log").len(), 0);
}
