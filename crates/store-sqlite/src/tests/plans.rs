//! What is looked for among many is found by an index, whatever else there is.

use model::AttemptFilter;
use rusqlite::{Connection, StatementStatus};

use super::master_key;
use crate::{migrations, open, reads, rows};

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().expect("memory");
    migrations::migrate(&mut connection, 0, &master_key()).expect("migrated");
    open::keep_statements(&connection).expect("set");
    connection
}

/// What a registration and a connection ask, with other values every time.
#[test]
fn no_statement_is_compiled_anew_for_other_values() {
    let connection = database();
    for sql in [
        rows::record::FIND,
        rows::record::ASSIGNED,
        rows::record::ASSIGNED_VERSIONS,
        rows::record::FORMER,
        rows::grounds::FIND,
        rows::grounds::CERTIFICATES,
        rows::grounds::BY_TBS,
        rows::device::FIND_IDENTITY,
        rows::device::FIND_ON_ANY_HUB,
        rows::device::FIND_FORMER,
        rows::attempt::REPEAT,
        rows::attempt::TRIM,
        rows::attempt::FIRST,
        rows::attempt::LAST,
        rows::ban::BY_KEYS,
        rows::ban::BY_ANY_TBS,
        rows::ban::BY_CAS,
    ] {
        for n in 0..3 {
            // Taken from among those that are kept, and given back, as everywhere.
            let mut statement = connection.prepare_cached(sql).expect("legal");
            let values = (0..statement.parameter_count()).map(|place| format!("\"{place}-{n}\""));
            let values = rusqlite::params_from_iter(values);
            match statement.readonly() {
                true => drop(statement.query(values).expect("asked").next().expect("found")),
                false => drop(statement.execute(values).expect("written")),
            }
        }
        let statement = connection.prepare_cached(sql).expect("legal");
        let n_anew = statement.get_status(StatementStatus::RePrepare);
        assert_eq!(n_anew, 0, "{sql}");
    }
}

/// Expects that SQLite finds the rows of a statement this way, and sorts nothing.
fn check(sql: &str, way: &str) {
    let connection = database();
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
    check(rows::connection::COUNT_CONNECTED, "USING INDEX devices_connected");
}

#[test]
fn the_modules_of_a_device_are_found_by_their_names() {
    let by_name = "(hub=? AND device_id>? AND device_id<?)";
    for sql in [rows::device::LIST_MODULES, rows::device::COUNT_MODULES] {
        check(sql, by_name);
    }
    check(rows::device::DELETE_MODULES, by_name);
    check(rows::message::DELETE_OF_MODULES, "(hub=? AND device_id>? AND device_id<?)");
    check(rows::device::LIST, "(hub=? AND device_id>?)");
}

#[test]
fn the_orphans_of_one_group_are_found_by_its_name() {
    let by_group = "(enrollment_kind=? AND enrollment_key=?";
    check(rows::record::LIST_ORPHANED_OF_GROUP, by_group);
    check(rows::record::COUNT_ORPHANED_OF_GROUP, by_group);
    check(rows::record::COUNT_OF_GROUP, by_group);
    check(rows::record::LIST_ORPHANED, "(key>?)");
}

#[test]
fn what_registrations_left_behind_is_found_by_their_names_and_their_groups() {
    check(rows::device::FIND_FORMER, "devices_by_former_registration (<expr>=?)");
    check(rows::former::REMOTES, "former_remotes_by_registration (key=?)");
    check(rows::former::OF_GROUP, "devices_by_former (<expr>=? AND <expr>>?)");
    let by_group = "former_remotes_by_group (enrollment_key=? AND key>?)";
    check(rows::former::REMOTES_OF_GROUP, by_group);
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
fn revocation_lists_are_found_by_their_ca_and_by_when_they_are_due() {
    check(rows::crl::FIND, "(subject_and_key=?)");
    check(rows::crl::BY_SUBJECTS, "crls_by_subject (subject=?)");
    check(rows::crl::DUE, "crls_by_due (due");
    check(rows::crl::HAS, "SEARCH crl_entries USING PRIMARY KEY (crl=? AND serial=?)");
    check(rows::crl::SERIALS, "SEARCH crl_entries USING PRIMARY KEY (crl=?)");
}

#[test]
fn challenges_are_found_by_their_name_and_by_their_end() {
    check(rows::challenge::LIST, "SEARCH tpm_challenges USING PRIMARY KEY (key=?)");
    check(rows::challenge::TRIM, "tpm_challenges_by_expiry (expires<?)");
}

#[test]
fn bans_are_found_by_key_and_by_ca() {
    check(rows::ban::FIND, "(key=?)");
    check(rows::ban::LIST, "(key>?)");
    check(rows::ban::BY_KEYS, "(key=?)");
    check(rows::ban::VERSIONS_BY_KEYS, "(key=?)");
    check(rows::ban::BY_CAS, "bans_by_ca (ca_subject=?)");
    check(rows::ban::BY_ANY_TBS, "bans_by_tbs (tbs=?)");
    check(rows::ban::VERSIONS_BY_ANY_TBS, "bans_by_tbs (tbs=?)");
    check(reads::COUNTERS, "(name=?)");
}

#[test]
fn what_rests_on_a_certificate_is_found_among_a_million() {
    use rows::grounds::{
        BY_CA, BY_SERIAL, BY_SHA1, BY_SHA256, BY_TBS, CERTIFICATES, FIND, LIKE_SHA1, LIKE_SHA256,
        RESTING_ON, WITH_ENDORSEMENT_KEY,
    };
    check(FIND, "SEARCH grounds USING PRIMARY KEY (key=?)");
    check(CERTIFICATES, "SEARCH link USING PRIMARY KEY (key=?)");
    check(CERTIFICATES, "SEARCH known USING INTEGER PRIMARY KEY (rowid=?)");
    check(RESTING_ON, "grounds_by_certificate (certificate=? AND shown=? AND key>?)");
    check(WITH_ENDORSEMENT_KEY, "grounds_by_endorsement (endorsement_hash=? AND key>?)");
    check(BY_SHA256, "(sha256=?)");
    check(BY_SHA1, "known_certificates_by_sha1 (sha1=?)");
    check(BY_TBS, "known_certificates_by_tbs (tbs=?)");
    check(LIKE_SHA256, "known_certificates_by_tbs (tbs=?)");
    check(LIKE_SHA1, "known_certificates_by_tbs (tbs=?)");
    check(BY_CA, "known_certificates_by_ca (subject_and_key=?)");
    check(BY_SERIAL, "known_certificates_by_serial (issuer=? AND serial=?)");
    check(rows::grounds::LINKED, "SEARCH grounds_certificates USING PRIMARY KEY (key=?)");
    check(rows::grounds::IS_LINKED, "grounds_by_certificate (certificate=?)");
}

#[test]
fn where_an_identity_came_from_is_found_by_index() {
    check(rows::record::ASSIGNED, "records_by_device (hub=? AND device_id=?)");
    check(rows::grounds::IS_FORMER, "devices_by_former_registration (<expr>=?)");
    check(reads::bans::ISSUERS_OF_CAS, "(subject=?)");
    check(reads::bans::OWN_ANCHORS, "ca_keys_by_owner (owner_kind=? AND owner_key=?)");
    let references = reads::bans::STORED_ANCHORS;
    check(references, "ca_references_by_group (group_key=?)");
    check(references, "ca_keys_by_owner (owner_kind=? AND owner_key=?)");
    check(references, "SEARCH ca_certificates");
}

#[test]
fn attempts_are_found_by_what_is_known_of_them_and_read_from_the_last() {
    let find = |filter| rows::attempt::query(&filter).0;
    check(find(AttemptFilter::All), "SEARCH attempts USING INTEGER PRIMARY KEY (rowid<?)");
    check(find(AttemptFilter::Device(String::new())), "attempts_by_device (device=? AND rowid<?)");
    check(find(AttemptFilter::Sha256([0; 32])), "attempts_by_sha256 (leaf_sha256=? AND rowid<?)");
    check(find(AttemptFilter::Sha1([0; 20])), "attempts_by_sha1 (leaf_sha1=? AND rowid<?)");
    let by_key = "attempts_by_endorsement_key (endorsement_key=? AND rowid<?)";
    check(find(AttemptFilter::EndorsementKey([0; 32])), by_key);
    check(rows::attempt::REPEAT, "attempts_by_tracking_id (tracking_id=?)");
    check(rows::attempt::TRIM, "attempts_by_place (known=? AND place<?)");
    check(rows::attempt::FIRST, "attempts_by_place (known=?)");
    check(rows::attempt::LAST, "attempts_by_place (known=?)");
}

#[test]
fn receipts_and_their_devices_are_found_among_millions() {
    use rows::receipt::{
        FIND, FIND_BY_KEY, FIND_ITEM, LIST, LIST_APPLYING, LIST_BEFORE, LIST_ITEMS,
        LIST_ITEMS_IN_STATE, LIST_OPEN,
    };
    check(FIND, "SEARCH receipts USING PRIMARY KEY (id=?)");
    check(LIST, "USING INDEX receipts_by_created");
    check(LIST_BEFORE, "receipts_by_created ((created,id)<(?,?))");
    check(LIST_APPLYING, "receipts_by_state (state=?)");
    check(FIND_ITEM, "SEARCH receipt_items USING PRIMARY KEY (receipt=? AND number=?)");
    check(FIND_BY_KEY, "receipt_items_by_key (receipt=? AND key=?)");
    check(LIST_ITEMS, "SEARCH receipt_items USING PRIMARY KEY (receipt=? AND number>?)");
    check(LIST_ITEMS_IN_STATE, "receipt_items_by_state (receipt=? AND state=? AND number>?)");
    check(LIST_OPEN, "receipt_items_open (receipt=? AND number>?)");
    check(rows::hub::FIND_REMOVAL, "(hub=? AND device_id=?)");
    check(rows::hub::DUE_REMOVALS, "removals_by_hub (hub=? AND due<?)");
    check(rows::hub::NEXT_TOLD, "(hub>?)");
}
