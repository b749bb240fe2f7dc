//! Rows hold exactly what the model holds, and counters what the rows say.

use model::{
    AttestationMechanism, Change, ChangeSet, EnrollmentRef, Grounds, OrphanFilter, PolicyScope,
    RecordFilter, Slots, Timestamp,
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, proptest},
    prop_assert_eq, prop_oneof,
};
use rusqlite::Connection;
use store::suite::{
    scene::{
        ban_on, certificate, connect, device, device_id, disconnect, grounds, group, group_id, hub,
        individual, keys, never_connected, record, registration_id,
    },
    values,
};

use super::master_key;
use crate::{
    apply::{Effect, Failure, Versions, apply},
    codec::Db,
    heads::Heads,
    migrations, reads, rows,
    vault::Vault,
};

struct Database {
    connection: Connection,
    vault: Vault,
}

impl Database {
    fn new() -> Self {
        let mut connection = Connection::open_in_memory().expect("memory");
        migrations::migrate(&mut connection, 0, &master_key()).expect("migrated");
        let vault = Vault::unlock(&connection, &master_key()).expect("unlocked");
        Self { connection, vault }
    }

    fn db(&self) -> Db<'_> {
        Db { connection: &self.connection, vault: &self.vault }
    }

    /// Writes changes that are stamped with a version.
    fn write(&self, changes: Vec<Change>, version: u64) -> Effect {
        self.try_write(changes, version).expect("nothing was expected and everything is there")
    }

    /// Writes changes, or nothing of them when they conflict.
    fn try_write(&self, changes: Vec<Change>, version: u64) -> Option<Effect> {
        let versions = Versions { last: version - 1, ..Versions::default() };
        let changes = ChangeSet { expects: vec![], changes };
        self.connection.execute_batch("BEGIN").expect("begun");
        let applied = apply(self.db(), &changes, versions, &mut Heads::default());
        let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.connection.execute_batch(end).expect("ended");
        match applied {
            Ok(effect) => Some(effect),
            Err(Failure::Conflict) => None,
            Err(Failure::Sqlite(error)) => panic!("{error:?}"),
        }
    }
}

fn written(change: Change) -> Database {
    let database = Database::new();
    database.write(vec![change], 9);
    database
}

proptest! {
    #[test]
    fn individual_enrollments_read_back(mut value in values::individuals()) {
        let database = written(Change::PutIndividual(Box::new(value.clone())));
        value.terms.version = 9;
        let found = reads::find_individual(database.db(), &value.registration_id).expect("read");
        prop_assert_eq!(format!("{:?}", found), format!("{:?}", Some(&value)));
        prop_assert_eq!(found, Some(value));
    }

    #[test]
    fn groups_read_back(mut value in values::groups()) {
        let database = written(Change::PutGroup(Box::new(value.clone())));
        value.terms.version = 9;
        let key = [value.group_id.key()];
        let sql = rows::enrollment::FIND_GROUP;
        let found = reads::find(database.db(), sql, key, rows::enrollment::read_group);
        let found = found.expect("read");
        prop_assert_eq!(format!("{:?}", found), format!("{:?}", Some(&value)));
        prop_assert_eq!(found, Some(value));
    }

    #[test]
    fn ca_certificates_read_back(mut value in values::ca_certificates()) {
        let database = written(Change::PutCaCertificate(Box::new(value.clone())));
        value.version = 9;
        let sql = rows::certificate::FIND_CA;
        let found = reads::find(database.db(), sql, [&value.name], rows::certificate::read_ca);
        prop_assert_eq!(found.expect("read"), Some(value));
    }

    #[test]
    fn records_read_back(mut value in values::records()) {
        let database = written(Change::PutRecord(Box::new(value.clone())));
        value.version = 9;
        let found = reads::find_record(database.db(), &value.registration_id).expect("read");
        prop_assert_eq!(format!("{:?}", found), format!("{:?}", Some(&value)));
        prop_assert_eq!(found, Some(value));
    }

    #[test]
    fn records_that_are_replaced_read_back(
        first in values::records(),
        mut second in values::records(),
        same_owner in any::<bool>(),
    ) {
        second.registration_id = first.registration_id.clone();
        if same_owner {
            second.enrollment = first.enrollment.clone();
        }
        let database = written(Change::PutRecord(Box::new(first)));
        let replace = Change::PutRecord(Box::new(second.clone()));
        database.write(vec![replace], 10);
        second.version = 10;
        let found = reads::find_record(database.db(), &second.registration_id).expect("read");
        prop_assert_eq!(found, Some(second));
    }

    #[test]
    fn devices_read_back(hub in values::hubs(), mut value in values::devices()) {
        let database = written(Change::PutDevice(hub.clone(), Box::new(value.clone())));
        value.identity.version = 9;
        value.identity = never_connected(value.identity);
        value.twin.version = 9;
        let id = value.identity.device_id.clone();
        let found = reads::find_device(database.db(), &hub, &id).expect("read");
        prop_assert_eq!(found, Some(value));
    }

    #[test]
    fn devices_that_are_replaced_in_part_read_back(
        mut value in values::devices(),
        whole in values::devices(),
        mut identity in values::identities(),
        mut twin in values::twins(),
    ) {
        let hub = hub("hub-1.test");
        let id = value.identity.device_id.clone();
        let database = written(Change::PutDevice(hub.clone(), Box::new(whole)));
        let check = |changes: Vec<Change>, expected: &model::Device| {
            database.write(changes, 10);
            let found = reads::find_device(database.db(), &hub, &id).expect("read");
            assert_eq!(found.as_ref(), Some(expected));
        };
        let put = Change::PutDevice(hub.clone(), Box::new(value.clone()));
        value.identity = never_connected(value.identity);
        value.identity.version = 10;
        value.twin.version = 10;
        check(vec![put], &value);
        identity.device_id = id.clone();
        identity.version = 10;
        value.identity = never_connected(identity.clone());
        check(vec![Change::PutIdentity(hub.clone(), Box::new(identity))], &value);
        twin.version = 10;
        value.twin = twin.clone();
        check(vec![Change::PutTwin(hub.clone(), id.clone(), Box::new(twin))], &value);
    }

    #[test]
    fn policies_read_back(mut value in values::policies()) {
        let database = written(Change::PutPolicy(Box::new(value.clone())));
        value.version = 9;
        let key = [rows::policy::scope(&value.scope), &value.name];
        let found = reads::find(database.db(), rows::policy::FIND, key, rows::policy::read);
        prop_assert_eq!(found.expect("read"), Some(value.clone()));
        let other = PolicyScope::Hub(hub("another.test"));
        let key = [rows::policy::scope(&other)];
        let others = reads::list(database.db(), rows::policy::LIST, key, rows::policy::read);
        let expected = usize::from(value.scope == other);
        prop_assert_eq!(others.expect("read").len(), expected);
    }

    #[test]
    fn counters_say_what_the_rows_say(sets in vec(vec(changes(), 1..4), 1..40)) {
        let database = Database::new();
        for (changes, version) in sets.into_iter().zip(1..) {
            // A device that is not there cannot connect.
            if let Some(effect) = database.try_write(changes, version) {
                effect.tally.write(&database.connection).expect("counted");
            }
        }
        let usage = reads::usage(database.db()).expect("usage");
        let count = |sql: &str| -> u64 {
            database.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted") as u64
        };
        let keys = "SELECT COUNT(*) FROM enrollment_groups WHERE attestation = 'symmetricKey'";
        let x509 = "SELECT COUNT(*) FROM enrollment_groups WHERE attestation LIKE 'x509%'";
        let filter = RecordFilter::Orphaned(OrphanFilter::default());
        let orphaned = reads::list_records(database.db(), &filter, "", 1000);
        let n_orphaned = reads::count_records(database.db(), &filter).expect("counted");
        prop_assert_eq!(usage.orphaned_registrations, n_orphaned);
        prop_assert_eq!(usage, model::Usage {
            individual_enrollments: count("SELECT COUNT(*) FROM individual_enrollments"),
            x509_groups: count(x509),
            symmetric_key_groups: count(keys),
            registrations: count("SELECT COUNT(*) FROM registration_records"),
            orphaned_registrations: orphaned.expect("listed").items.len() as u64,
        });
        let devices = reads::device_counts(database.db(), &hub("hub-1.test")).expect("counts");
        let total = "SELECT COUNT(*) FROM devices WHERE hub = 'hub-1.test'";
        prop_assert_eq!(devices.total, count(total));
        prop_assert_eq!(devices.disabled, count(&format!("{total} AND status = 'disabled'")));
        prop_assert_eq!(devices.connected, count(&format!("{total} AND connected")));
        prop_assert_eq!(devices.enabled, devices.total - devices.disabled);
        let bans = count("SELECT value FROM counters WHERE name = 'bans'");
        prop_assert_eq!(bans, count("SELECT COUNT(*) FROM bans"));
        for nothing in [
            "grounds WHERE key NOT IN (SELECT key FROM registration_records) AND key NOT IN \
             (SELECT lower(former_registration) FROM devices WHERE former_kind IS NOT NULL)",
            "grounds_certificates WHERE key NOT IN (SELECT key FROM grounds)",
            "grounds_certificates WHERE certificate NOT IN (SELECT id FROM known_certificates)",
            "known_certificates WHERE id NOT IN (SELECT certificate FROM grounds_certificates)",
        ] {
            prop_assert_eq!(count(&format!("SELECT COUNT(*) FROM {nothing}")), 0, "{}", nothing);
        }
    }

    #[test]
    fn bans_read_back(mut value in values::bans()) {
        let database = written(Change::PutBan(Box::new(value.clone())));
        value.version = 9;
        let key = [value.subject.key()];
        let found = reads::find(database.db(), rows::ban::FIND, key, rows::ban::read);
        let found = found.expect("read");
        prop_assert_eq!(format!("{:?}", found), format!("{:?}", Some(&value)));
        prop_assert_eq!(found, Some(value));
    }

    #[test]
    fn grounds_that_are_replaced_read_back(
        first in values::grounds(),
        second in values::grounds(),
        shares in any::<bool>(),
    ) {
        let database = Database::new();
        let put = |name: &str, grounds: &Grounds| {
            Change::PutGrounds(registration_id(name), Box::new(grounds.clone()))
        };
        let of_group = || EnrollmentRef::Group(group_id("line-4"));
        let record = |name: &str| Change::PutRecord(Box::new(record(name, of_group())));
        // A neighbour that rests on the same certificates keeps them.
        let neighbour = if shares { &first } else { &second };
        let changes = vec![
            record("a"), record("b"), put("b", neighbour), put("a", &first), put("a", &second),
        ];
        database.write(changes, 9);
        for (name, expected) in [("a", &second), ("b", neighbour)] {
            let found = rows::grounds::find(database.db(), &registration_id(name)).expect("read");
            prop_assert_eq!(found.as_ref(), Some(expected));
        }
    }
}

const NOW: Timestamp = Timestamp::from_unix_secs(1);

/// Changes to a few rows, so that they meet.
fn changes() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just("a"), Just("B"), Just("c")];
    let signing = || {
        let slots = Slots { primary: Some(certificate("ca", "root")), secondary: None };
        AttestationMechanism::X509Signing(slots)
    };
    let record = |name: &str, owner: &str, of_group: bool| {
        record(
            name,
            match of_group {
                true => EnrollmentRef::Group(group_id(owner)),
                false => EnrollmentRef::Individual(registration_id(owner)),
            },
        )
    };
    let device = |name: &str, disabled: bool| {
        let mut device = device(name);
        if disabled {
            device.identity.status = model::DeviceStatus::Disabled;
        }
        device
    };
    prop_oneof![
        name().prop_map(|name| Change::PutIndividual(Box::new(individual(name)))),
        name().prop_map(|name| Change::DeleteIndividual(registration_id(name))),
        (name(), any::<bool>()).prop_map(move |(name, x509)| {
            let mechanism =
                if x509 { signing() } else { AttestationMechanism::SymmetricKey(keys(1)) };
            Change::PutGroup(Box::new(group(name, mechanism)))
        }),
        name().prop_map(|name| Change::DeleteGroup(group_id(name))),
        (name(), name(), any::<bool>()).prop_map(move |(name, owner, of_group)| {
            Change::PutRecord(Box::new(record(name, owner, of_group)))
        }),
        name().prop_map(|name| Change::DeleteRecord(registration_id(name))),
        (name(), 1..4_usize).prop_map(|(name, n)| {
            let path = ["leaf", "line-ca", "works-ca"];
            Change::PutGrounds(registration_id(name), Box::new(grounds(&path[..n])))
        }),
        name().prop_map(|name| Change::PutBan(Box::new(ban_on(name)))),
        name().prop_map(|name| Change::DeleteBan(ban_on(name).subject.key())),
        (name(), any::<bool>()).prop_map(move |(name, disabled)| {
            Change::PutDevice(hub("hub-1.test"), Box::new(device(name, disabled)))
        }),
        (name(), 1..3_u64).prop_map(|(name, number)| connect(name, number, NOW)),
        (name(), 1..3_u64).prop_map(|(name, number)| disconnect(name, number, NOW)),
        Just(Change::DisconnectAll { at: NOW }),
        name().prop_map(|name| Change::DeleteDevice(hub("hub-1.test"), device_id(name))),
    ]
}
