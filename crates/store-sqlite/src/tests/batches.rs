//! Several change sets in one physical transaction.

use model::{Change, ChangeSet, EventPosition, Expect, Timestamp};
use rusqlite::Connection;
use store::{
    CommitError,
    suite::scene::{audit_entry, device, device_id, event, hub, individual, registration_id},
};
use tokio::sync::oneshot;

use super::{Folder, master_key};
use crate::{
    checkpoint::Checkpoints,
    codec::Db,
    open, reads,
    vault::Vault,
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

    /// Partition, offset and body of the events of `a.test`, read by somebody else, after what is
    /// said of them was compared.
    fn log(&self) -> Vec<(u16, u64, String)> {
        let raw = open::open_reader(&self.folder.database()).expect("it opens");
        let (vault, from) = (Vault::new(), EventPosition::Offset(0));
        let db = Db { connection: &raw, vault: &vault };
        let mut log = Vec::new();
        for state in reads::hub::event_partitions(db, &hub("a.test")).expect("read") {
            let partition = state.partition;
            let read = reads::hub::read_events(db, &hub("a.test"), partition, from, 99, u64::MAX);
            let events = read.expect("read");
            let offsets: Vec<u64> = events.iter().map(|event| event.offset).collect();
            assert_eq!(offsets, (state.first_offset..state.next_offset).collect::<Vec<_>>());
            let size_bytes: u64 = events.iter().map(|event| event.event.size_bytes()).sum();
            assert_eq!(state.size_bytes, size_bytes);
            log.extend(events.into_iter().map(|event| {
                let body = String::from_utf8(event.event.body).expect("a text");
                (partition, event.offset, body)
            }));
        }
        let n_events: i64 =
            raw.query_row("SELECT COUNT(*) FROM events", [], |row| row.get(0)).expect("counted");
        assert_eq!(n_events, log.len() as i64);
        log
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

/// Offsets are given in the order of the sets that were written, and those of the others are given
/// again: a set that fails alone, a transaction that is lost, a commit that fails.
#[test]
fn events_of_a_batch_leave_no_gap_where_one_fails() {
    let mut scene = Scene::new();
    let told = |partition, body: &str, harm: Option<&str>| {
        let event = event("press-17", Timestamp::from_ticks(1), body.as_bytes());
        let set =
            ChangeSet::new().with(Change::AppendEvent(hub("a.test"), partition, event.into()));
        match harm {
            Some(harm) => {
                let (name, value) = (harm.to_owned(), String::new());
                set.with(Change::PutInstanceSetting { name, value })
            }
            None => set,
        }
    };
    let nobody = Expect::Individual(registration_id("nobody"), 7);
    let batch = vec![
        // A partition that is new in a set that fails.
        told(3, "lost", Some("abort")),
        told(1, "a", None),
        told(1, "lost", Some("abort")),
        told(1, "lost", None).expecting(nobody),
        told(2, "b", None),
        told(1, "c", None),
    ];
    assert_eq!(scene.commit(batch), "fwfcww");
    let before = scene.log();
    assert_eq!(before, [(1, 0, "a"), (1, 1, "c"), (2, 0, "b")].map(owned));
    for harm in ["rollback", "fail at commit"] {
        let batch = vec![told(1, "lost", None), told(4, "lost", None), told(2, "x", Some(harm))];
        assert_eq!(scene.commit(batch), "fff");
        assert_eq!(scene.log(), before);
    }
    let trim = Change::TrimEvents {
        hub: hub("a.test"),
        before: Timestamp::from_ticks(2),
        max_partition_bytes: 0,
        at_most: 1,
    };
    let lost = ChangeSet::new()
        .with(trim.clone())
        .with(Change::PutInstanceSetting { name: "abort".to_owned(), value: String::new() });
    let batch = vec![told(1, "d", None), lost, ChangeSet::new().with(trim), told(4, "e", None)];
    assert_eq!(scene.commit(batch), "wfww");
    assert_eq!(scene.log(), [(1, 1, "c"), (1, 2, "d"), (4, 0, "e")].map(owned));
}

fn owned((partition, offset, body): (u16, u64, &str)) -> (u16, u64, String) {
    (partition, offset, body.to_owned())
}

/// The marks of a device are those its neighbours in the batch have left.
#[test]
fn a_mark_that_a_neighbour_moved_conflicts() {
    let mut scene = Scene::new();
    let (hub, id) = (hub("a.test"), device_id("press-17"));
    let mut device = device("press-17");
    let told = |device: &model::Device| {
        let event = event("press-17", Timestamp::from_ticks(1), b"x");
        ChangeSet::new()
            .expecting(Expect::Mark(hub.clone(), id.clone(), device.identity.mark()))
            .with(Change::AppendEvent(hub.clone(), 0, event.into()))
    };
    let connected = |connection| {
        let at = Timestamp::from_ticks(1);
        let (hub, device_id) = (hub.clone(), id.clone());
        ChangeSet::new().with(Change::Connect { hub, device_id, connection, at })
    };
    let by = |connection| Expect::Connection(hub.clone(), id.clone(), connection);
    let put = |device: &model::Device| {
        ChangeSet::new().with(Change::PutDevice(hub.clone(), Box::new(device.clone())))
    };
    let (before, first) = (told(&device), put(&device));
    device.identity.etag_counter += 1;
    let batch = vec![
        before.clone(),
        first,
        before.clone(),
        connected(1),
        before.clone().expecting(by(1)),
        put(&device),
        before,
        told(&device).expecting(by(1)),
        connected(2),
        told(&device).expecting(by(1)),
        told(&device).expecting(by(2)),
    ];
    assert_eq!(scene.commit(batch), "cwwwwwcwwcw");
    assert_eq!(scene.log().len(), 4);
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
