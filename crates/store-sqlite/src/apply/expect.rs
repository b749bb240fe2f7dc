//! What a change set expects, compared with what is there. What earlier change sets of the same
//! transaction wrote counts as there.

use model::{BansRead, Expect, Version};
use rusqlite::{OptionalExtension, Params};

use super::{Failure, Versions};
use crate::{
    codec::Db,
    reads::bans,
    rows::{connection, crl, device, policy},
    tally::Tally,
};

/// Compares what a change set was decided from with what is there.
pub(crate) fn check_expectations(
    db: Db<'_>,
    expects: &[Expect],
    versions: Versions,
    uncommitted: &Tally,
) -> Result<(), Failure> {
    for expect in expects {
        let (found, expected) = match expect {
            Expect::Room { of, limit } => {
                holds(has_room(db, *of, *limit, uncommitted)?)?;
                continue;
            }
            Expect::Mark(hub, id, mark) => {
                holds(connection::has_mark(db, hub, id, mark)?)?;
                continue;
            }
            Expect::Connection(hub, id, connection) => {
                (connection::find(db, hub, id)?, *connection)
            }
            Expect::Message(hub, id, number, version) => {
                let sql = "SELECT version FROM cloud_messages \
                     WHERE hub = ?1 AND device_id = ?2 AND number = ?3";
                let key = (hub.as_str(), id.as_str(), number.cast_signed());
                (version_of(db, sql, key)?, *version)
            }
            Expect::QueueRoom(hub, id, limit) => {
                let sql = "SELECT cloud_to_device_messages FROM devices \
                     WHERE hub = ?1 AND device_id = ?2";
                // Any number there is, and none counts like a version that is not there.
                let n_waiting = version_of(db, sql, [hub.as_str(), id.as_str()])?;
                holds(n_waiting < u64::from(*limit))?;
                continue;
            }
            Expect::ModuleRoom(hub, id, limit) => {
                let (from, to) = device::modules_of(id);
                let key = (hub.as_str(), from, to);
                let n_modules = version_of(db, device::COUNT_MODULES, key)?;
                holds(n_modules < u64::from(*limit))?;
                continue;
            }
            Expect::Groups(version) => (versions.groups, *version),
            Expect::Bans(version) => (versions.bans, *version),
            Expect::Assigned(hub, id, versions) => {
                holds(bans::assigned(db, hub, id)? == *versions)?;
                continue;
            }
            Expect::BansOn(read) => {
                holds(are_those_read(db, read, versions)?)?;
                continue;
            }
            Expect::Crl(ca, version) => (version_of(db, crl::VERSION, [ca])?, *version),
            Expect::Ban(key, version) => {
                (version_of(db, "SELECT version FROM bans WHERE key = ?1", [key])?, *version)
            }
            Expect::Hubs(version) => (versions.hubs, *version),
            Expect::Individual(id, version) => {
                let sql = "SELECT version FROM individual_enrollments WHERE key = ?1";
                (version_of(db, sql, [id.key()])?, *version)
            }
            Expect::Group(id, version) => {
                let sql = "SELECT version FROM enrollment_groups WHERE key = ?1";
                (version_of(db, sql, [id.key()])?, *version)
            }
            Expect::Record(id, version) => {
                let sql = "SELECT version FROM registration_records WHERE key = ?1";
                (version_of(db, sql, [id.key()])?, *version)
            }
            Expect::Identity(hub, id, version) => {
                let sql = "SELECT identity_version FROM devices WHERE hub = ?1 AND device_id = ?2";
                (version_of(db, sql, [hub.as_str(), id.as_str()])?, *version)
            }
            Expect::Twin(hub, id, version) => {
                let sql = "SELECT twin_version FROM devices WHERE hub = ?1 AND device_id = ?2";
                (version_of(db, sql, [hub.as_str(), id.as_str()])?, *version)
            }
            Expect::CaCertificate(name, version) => {
                let sql = "SELECT version FROM ca_certificates WHERE name = ?1";
                (version_of(db, sql, [name])?, *version)
            }
            Expect::Policy(scope, name, version) => {
                let sql = "SELECT version FROM access_policies WHERE hub = ?1 AND name = ?2";
                (version_of(db, sql, [policy::scope(scope), name])?, *version)
            }
            Expect::Receipt(id, version) => {
                let sql = "SELECT version FROM receipts WHERE id = ?1";
                (version_of(db, sql, [id.as_str()])?, *version)
            }
            Expect::ReceiptItem(id, number, version) => {
                let sql = "SELECT version FROM receipt_items WHERE receipt = ?1 AND number = ?2";
                (version_of(db, sql, (id.as_str(), number.cast_signed()))?, *version)
            }
            Expect::Removal(hub, id, version) => {
                let sql = "SELECT version FROM remote_removals WHERE hub = ?1 AND device_id = ?2";
                (version_of(db, sql, [hub.as_str(), id.as_str()])?, *version)
            }
        };
        holds(found == expected)?;
    }
    Ok(())
}

const fn holds(it_is_so: bool) -> Result<(), Failure> {
    if it_is_so { Ok(()) } else { Err(Failure::Conflict) }
}

/// Whether the bans are those that a decision was made from.
fn are_those_read(db: Db<'_>, read: &BansRead, versions: Versions) -> rusqlite::Result<bool> {
    if versions.bans == read.since {
        return Ok(true);
    }
    if versions.wide_bans > read.since {
        return Ok(false);
    }
    // Only bans that are found by their keys have moved. One that was set since, or set again, has
    // another version, and one that was lifted is not there.
    Ok(bans::versions_by_keys(db, &read.keys)? == read.found)
}

/// Whether one more fits. The counters on disk know nothing yet of the change sets before this
/// one in the same transaction; the tally does.
fn has_room(
    db: Db<'_>,
    of: model::Counted,
    limit: u64,
    uncommitted: &Tally,
) -> rusqlite::Result<bool> {
    let (name, by) = match of {
        model::Counted::Registrations => ("registrations", uncommitted.registrations),
        model::Counted::IndividualEnrollments => {
            ("individual_enrollments", uncommitted.individual_enrollments)
        }
        model::Counted::X509Groups => ("x509_groups", uncommitted.x509_groups),
        model::Counted::SymmetricKeyGroups => {
            ("symmetric_key_groups", uncommitted.symmetric_key_groups)
        }
        // These are counted as they are, and not by a counter.
        model::Counted::Crls => return Ok(crl::count(db)? < limit),
    };
    let committed: i64 = db
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([name], |row| row.get(0))?;
    Ok((committed + by).cast_unsigned() < limit)
}

fn version_of(db: Db<'_>, sql: &str, key: impl Params) -> rusqlite::Result<Version> {
    let found: Option<i64> = db.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}
