//! What somebody does to the audit log by hand is found.

use model::{AuditFilter, Change};
use rusqlite::Connection;
use store::{
    Store,
    audit::{self, AuditHead, Broken, BrokenAt},
    suite::{scene::audit_entry, write},
};

use super::Folder;

async fn verify(folder: &Folder) -> Result<AuditHead, BrokenAt> {
    let store = folder.open_store();
    let lines = store.list_audit(&AuditFilter::default(), None, 100).await.expect("listed");
    let end = audit::verify(&lines, audit::BEGINNING)?;
    audit::check_end(end, store.audit_head().await.expect("read"))?;
    store.close();
    Ok(end)
}

async fn with_five_lines() -> Folder {
    let folder = Folder::new();
    let store = folder.open_store();
    for n in 0..5 {
        let entry = audit_entry("enrollment.update", &format!("enrollments/press-{n}"));
        write(&store, [Change::Audit(Box::new(entry))]).await;
    }
    store.close();
    folder
}

/// Does harm with SQL; expects the finding.
async fn check(sql: &str, number: u64, why: Broken) {
    let folder = with_five_lines().await;
    assert_eq!(verify(&folder).await.expect("whole").0, 5);
    let raw = Connection::open(folder.database()).expect("it opens");
    raw.execute_batch(sql).expect("done");
    drop(raw);
    assert_eq!(verify(&folder).await, Err(BrokenAt { number, why }), "{sql}");
}

#[tokio::test]
async fn a_line_changed_by_hand_is_found() {
    for set in [
        "at = at + 1",
        "policy = 'reader'",
        "address = NULL",
        "address = 'nowhere'",
        "action = 'enrollment.delete'",
        "target = 'enrollments/press-9'",
        "before = 'true'",
        "after = NULL",
        "after = '{not json'",
        "etag = NULL",
        "previous = zeroblob(32)",
        "hash = zeroblob(32)",
        "hash = x'00'",
    ] {
        check(&format!("UPDATE audit_lines SET {set} WHERE number = 3"), 3, Broken::Changed).await;
    }
}

#[tokio::test]
async fn a_line_removed_moved_or_put_in_by_hand_is_found() {
    let delete = |which: &str| format!("DELETE FROM audit_lines WHERE {which}");
    check(&delete("number = 1"), 1, Broken::Missing).await;
    check(&delete("number = 3"), 3, Broken::Missing).await;
    check(&delete("number >= 4"), 4, Broken::Missing).await;
    check(&delete("1"), 1, Broken::Missing).await;
    let swap = "UPDATE audit_lines SET number = 0 WHERE number = 2;
        UPDATE audit_lines SET number = 2 WHERE number = 3;
        UPDATE audit_lines SET number = 3 WHERE number = 0;";
    check(swap, 2, Broken::Changed).await;
    let copy = |number: i64| {
        format!(
            "INSERT INTO audit_lines SELECT {number}, at, policy, address, action, target, before, \
             after, etag, previous, hash FROM audit_lines WHERE number = 1"
        )
    };
    check(&copy(6), 6, Broken::Changed).await;
    check(&copy(0), 0, Broken::OutOfPlace).await;
    let back = "DELETE FROM audit_lines WHERE number >= 4;
        UPDATE audit_head SET number = 3;";
    check(back, 3, Broken::Changed).await;
}

/// Lines that are written after a hole do not close it.
#[tokio::test]
async fn a_log_that_goes_on_after_a_cut_shows_the_cut() {
    let folder = with_five_lines().await;
    let raw = Connection::open(folder.database()).expect("it opens");
    raw.execute_batch("DELETE FROM audit_lines WHERE number = 5").expect("done");
    drop(raw);
    let store = folder.open_store();
    write(&store, [Change::Audit(Box::new(audit_entry("enrollment.update", "later")))]).await;
    store.close();
    let broken = BrokenAt { number: 5, why: Broken::Missing };
    assert_eq!(verify(&folder).await, Err(broken));
}
