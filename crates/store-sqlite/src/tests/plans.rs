//! What is looked for among many is found by an index, whatever else there is.

use rusqlite::Connection;

use super::master_key;
use crate::{migrations, rows};

/// Expects that SQLite finds the rows of a statement this way, and sorts nothing.
fn check(sql: &str, way: &str) {
    let mut connection = Connection::open_in_memory().expect("memory");
    migrations::migrate(&mut connection, 0, &master_key()).expect("migrated");
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("legal");
    let unbound = vec![rusqlite::types::Null; statement.parameter_count()];
    let plan: Vec<String> = statement
        .query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))
        .expect("a plan")
        .collect::<Result<_, _>>()
        .expect("a plan");
    let plan = plan.join("\n");
    assert!(plan.contains(way), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn the_connected_among_a_million_devices_are_found_by_their_index() {
    check(rows::connection::DISCONNECT_ALL, "USING INDEX devices_connected");
    check(rows::connection::COUNT_CONNECTED, "USING COVERING INDEX devices_connected");
}

#[test]
fn events_are_one_range_of_their_table() {
    for sql in [rows::event::READ, rows::event::READ_AGES, rows::event::DELETE] {
        check(sql, "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
    }
    check(rows::event::ENQUEUED, "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)");
}

#[test]
fn messages_are_found_by_their_device_and_by_their_end() {
    let by_device = "(hub=? AND device_id=? AND number>?)";
    check(rows::message::WAITING, by_device);
    check(rows::message::EXPIRED, "cloud_messages_by_expiry (expires<?)");
    check(rows::message::DELETE_ALL, "(hub=? AND device_id=?)");
    check(rows::message::LIST_FEEDBACK, "(hub=?)");
}

#[test]
fn challenges_are_found_by_their_name_and_by_their_end() {
    check(rows::challenge::LIST, "SEARCH tpm_challenges USING PRIMARY KEY (key=?)");
    check(rows::challenge::TRIM, "tpm_challenges_by_expiry (expires<?)");
}
