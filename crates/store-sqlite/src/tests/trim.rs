//! Plans and receipts are counted apart, by as many devices as no test writes.

use model::{
    Timestamp,
    deprovision::{MAX_KEPT_ITEMS, MAX_PLAN_DEVICES, MAX_PLANNED_ITEMS},
};
use rusqlite::Connection;

use super::master_key;
use crate::{codec::Db, migrations, rows::receipt, vault::Vault};

/// Receipts by name, state and how many items they are said to have; the first is the oldest.
fn check(receipts: &[(&str, &str, u64)], expected: &[&str]) {
    let mut connection = Connection::open_in_memory().expect("memory");
    migrations::migrate(&mut connection, 0, &master_key()).expect("migrated");
    let vault = Vault::unlock(&connection, &master_key()).expect("unlocked");
    let sql = "INSERT INTO receipts (id, created, expires, state, finished, document, version, \
               items) VALUES (?1, ?2, 1000, ?3, ?2, '{}', 1, ?4)";
    for (created, (id, state, items)) in (0_i64..).zip(receipts) {
        connection.execute(sql, (id, created, state, items.cast_signed())).expect("written");
    }
    let db = Db { connection: &connection, vault: &vault };
    receipt::trim(db, Timestamp::from_ticks(500), 100, 7).expect("trimmed");
    let mut statement = connection.prepare("SELECT id FROM receipts ORDER BY id").expect("legal");
    let left: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .expect("read")
        .collect::<Result<_, _>>()
        .expect("read");
    assert_eq!(left, expected, "{receipts:?}");
}

#[test]
fn plans_push_out_plans_and_receipts_push_out_receipts() {
    let (plan, kept) = (MAX_PLAN_DEVICES, MAX_KEPT_ITEMS);
    check(&[("done", "done", kept), ("plan", "planned", plan)], &["done", "plan"]);
    let full =
        [("a", "done", 1), ("b", "planned", plan), ("c", "planning", plan), ("d", "planned", plan)];
    check(&full, &["a", "c", "d"]);
    check(&[("a", "done", 2), ("b", "done", kept), ("c", "planned", 1)], &["b", "c"]);
    // What is being worked off stays, and is counted.
    check(&[("a", "done", 1), ("b", "applying", kept), ("c", "done", 1)], &["b"]);
    const { assert!(MAX_PLANNED_ITEMS >= 2 * MAX_PLAN_DEVICES, "no plan alone is too many") };
}
