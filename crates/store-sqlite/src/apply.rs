//! One change set inside an open transaction: what it expects, then what it writes.

use model::{
    AttestationMechanism, CaCertificate, Change, ChangeSet, EnrollmentGroup, EnrollmentGroupId,
    Expect, IndividualEnrollment, RegistrationId, RegistrationRecord, Version,
};
use rusqlite::{Connection, OptionalExtension, Params, Result};

use crate::{
    codec::{Binder, Word},
    rows::{
        certificate, device,
        device::Counted,
        enrollment, policy, record,
        record::{Owner, OwnerKind},
        terms::Mechanism,
    },
    tally::Tally,
};

/// Why a change set was not written. The caller takes back what it began to write.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something it was decided from has changed.
    Conflict,
    /// The database failed.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What a change set did, beside its rows.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// How the counters change.
    pub(crate) tally: Tally,
    /// Whether it wrote or deleted a group or a CA certificate.
    pub(crate) touched_groups: bool,
}

/// Compares what a change set was decided from with what is there.
pub(crate) fn check_expectations(
    connection: &Connection,
    expects: &[Expect],
    groups_version: Version,
    uncommitted: &Tally,
) -> Result<(), Failure> {
    for expect in expects {
        let (found, expected) = match expect {
            Expect::Room { of, limit } => {
                if !has_room(connection, *of, *limit, uncommitted)? {
                    return Err(Failure::Conflict);
                }
                continue;
            }
            Expect::Groups(version) => (groups_version, *version),
            Expect::Individual(id, version) => {
                let sql = "SELECT version FROM individual_enrollments WHERE key = ?1";
                (version_of(connection, sql, [id.key()])?, *version)
            }
            Expect::Group(id, version) => {
                let sql = "SELECT version FROM enrollment_groups WHERE key = ?1";
                (version_of(connection, sql, [id.key()])?, *version)
            }
            Expect::Record(id, version) => {
                let sql = "SELECT version FROM registration_records WHERE key = ?1";
                (version_of(connection, sql, [id.key()])?, *version)
            }
            Expect::Identity(hub, id, version) => {
                let sql = "SELECT identity_version FROM devices WHERE hub = ?1 AND device_id = ?2";
                (version_of(connection, sql, [hub.as_str(), id.as_str()])?, *version)
            }
            Expect::Twin(hub, id, version) => {
                let sql = "SELECT twin_version FROM devices WHERE hub = ?1 AND device_id = ?2";
                (version_of(connection, sql, [hub.as_str(), id.as_str()])?, *version)
            }
        };
        if found != expected {
            return Err(Failure::Conflict);
        }
    }
    Ok(())
}

/// Whether one more fits. The counters on disk know nothing yet of the change sets before this
/// one in the same transaction; the tally does.
fn has_room(
    connection: &Connection,
    of: model::Counted,
    limit: u64,
    uncommitted: &Tally,
) -> Result<bool> {
    let (name, by) = match of {
        model::Counted::Registrations => ("registrations", uncommitted.registrations),
        model::Counted::IndividualEnrollments => {
            ("individual_enrollments", uncommitted.individual_enrollments)
        }
        model::Counted::X509Groups => ("x509_groups", uncommitted.x509_groups),
        model::Counted::SymmetricKeyGroups => {
            ("symmetric_key_groups", uncommitted.symmetric_key_groups)
        }
    };
    let committed: i64 = connection
        .prepare_cached("SELECT value FROM counters WHERE name = ?1")?
        .query_row([name], |row| row.get(0))?;
    Ok((committed + by).cast_unsigned() < limit)
}

/// Writes a change set's rows, stamped with a version.
pub(crate) fn apply(
    connection: &Connection,
    changes: &ChangeSet,
    version: Version,
) -> Result<Effect, Failure> {
    let mut writing = Writing { connection, version, effect: Effect::default() };
    for change in &changes.changes {
        writing.change(change)?;
    }
    Ok(writing.effect)
}

struct Writing<'a> {
    connection: &'a Connection,
    version: Version,
    effect: Effect,
}

impl Writing<'_> {
    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        let tally = &mut self.effect.tally;
        match change {
            Change::PutIndividual(enrollment) => self.put_individual(enrollment)?,
            Change::DeleteIndividual(id) => self.delete_individual(id)?,
            Change::PutGroup(group) => self.put_group(group)?,
            Change::DeleteGroup(id) => self.delete_group(id)?,
            Change::PutCaCertificate(certificate) => self.put_ca(certificate)?,
            Change::DeleteCaCertificate(name) => self.delete_ca(name)?,
            Change::PutRecord(record) => self.put_record(record)?,
            Change::DeleteRecord(id) => self.delete_record(id)?,
            Change::PutDevice(hub, new) => {
                let id = &new.identity.device_id;
                let old = Counted::find(self.connection, hub, id)?;
                device::put(self.connection, hub, new, old, self.version)?;
                tally.count_device(hub, old, Some(Counted::of(&new.identity)));
            }
            Change::PutIdentity(hub, identity) => {
                let old = Counted::find(self.connection, hub, &identity.device_id)?;
                // There is nothing to replace: whoever decided this saw a device that is gone.
                let old = old.ok_or(Failure::Conflict)?;
                device::put_identity(self.connection, hub, identity, self.version)?;
                tally.count_device(hub, Some(old), Some(Counted::of(identity)));
            }
            Change::PutTwin(hub, id, twin) => {
                if !device::put_twin(self.connection, hub, id, twin, self.version)? {
                    return Err(Failure::Conflict);
                }
            }
            Change::DeleteDevice(hub, id) => {
                if let Some(old) = Counted::find(self.connection, hub, id)? {
                    let sql = "DELETE FROM devices WHERE hub = ?1 AND device_id = ?2";
                    execute(self.connection, sql, [hub.as_str(), id.as_str()])?;
                    tally.count_device(hub, Some(old), None);
                }
            }
            Change::PutPolicy(policy) => policy::put(self.connection, policy)?,
            Change::PutInstanceSetting { name, value } => {
                let sql = "INSERT INTO instance_settings (name, value) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO NOTHING";
                execute(self.connection, sql, [name, value])?;
            }
        }
        Ok(())
    }

    fn put_individual(&mut self, new: &IndividualEnrollment) -> Result<()> {
        let owner = individual(&new.registration_id);
        if !exists(self.connection, &owner)? {
            self.effect.tally.individual_enrollments += 1;
            self.effect.tally.orphaned_registrations -= count_records(self.connection, &owner)?;
        }
        enrollment::put_individual(self.connection, new, self.version)
    }

    fn delete_individual(&mut self, id: &RegistrationId) -> Result<()> {
        let sql = "DELETE FROM individual_enrollments WHERE key = ?1";
        if execute(self.connection, sql, [id.key()])? > 0 {
            let orphaned = count_records(self.connection, &individual(id))?;
            self.effect.tally.individual_enrollments -= 1;
            self.effect.tally.orphaned_registrations += orphaned;
        }
        Ok(())
    }

    fn put_group(&mut self, new: &EnrollmentGroup) -> Result<()> {
        self.effect.touched_groups = true;
        match self.mechanism_of(&new.group_id)? {
            Some(old) => {
                self.effect.tally.count_group(old.kind(), -1);
                self.forget_group_keys(&new.group_id)?;
            }
            None => {
                let records = count_records(self.connection, &group(&new.group_id))?;
                self.effect.tally.orphaned_registrations -= records;
            }
        }
        self.effect.tally.count_group(new.terms.attestation.kind(), 1);
        enrollment::put_group(self.connection, new, self.version)?;
        self.remember_group_keys(new)
    }

    fn delete_group(&mut self, id: &EnrollmentGroupId) -> Result<()> {
        let Some(old) = self.mechanism_of(id)? else { return Ok(()) };
        self.effect.touched_groups = true;
        self.effect.tally.count_group(old.kind(), -1);
        self.effect.tally.orphaned_registrations += count_records(self.connection, &group(id))?;
        execute(self.connection, "DELETE FROM enrollment_groups WHERE key = ?1", [id.key()])?;
        self.forget_group_keys(id)
    }

    fn put_ca(&mut self, new: &CaCertificate) -> Result<()> {
        self.effect.touched_groups = true;
        certificate::put_ca(self.connection, new, self.version)?;
        self.forget_ca_keys("store", &new.name)?;
        self.remember_ca_key("store", &new.name, 0, &new.certificate)
    }

    fn delete_ca(&mut self, name: &str) -> Result<()> {
        if execute(self.connection, "DELETE FROM ca_certificates WHERE name = ?1", [name])? > 0 {
            self.effect.touched_groups = true;
            self.forget_ca_keys("store", name)?;
        }
        Ok(())
    }

    fn put_record(&mut self, new: &RegistrationRecord) -> Result<()> {
        let old = Owner::find(self.connection, &new.registration_id)?;
        record::put(self.connection, new, old.as_ref(), self.version)?;
        let owner = Owner::of(new);
        if old.as_ref() == Some(&owner) {
            return Ok(());
        }
        match old {
            None => self.effect.tally.registrations += 1,
            Some(old) if !exists(self.connection, &old)? => {
                self.effect.tally.orphaned_registrations -= 1;
            }
            Some(_) => {}
        }
        if !exists(self.connection, &owner)? {
            self.effect.tally.orphaned_registrations += 1;
        }
        Ok(())
    }

    fn delete_record(&mut self, id: &RegistrationId) -> Result<()> {
        let Some(old) = Owner::find(self.connection, id)? else { return Ok(()) };
        execute(self.connection, "DELETE FROM registration_records WHERE key = ?1", [id.key()])?;
        self.effect.tally.registrations -= 1;
        if !exists(self.connection, &old)? {
            self.effect.tally.orphaned_registrations -= 1;
        }
        Ok(())
    }

    fn mechanism_of(&self, id: &EnrollmentGroupId) -> Result<Option<Mechanism>> {
        self.connection
            .prepare_cached("SELECT attestation FROM enrollment_groups WHERE key = ?1")?
            .query_row([id.key()], |row| crate::codec::Columns::new(row).word())
            .optional()
    }

    fn remember_group_keys(&self, group: &EnrollmentGroup) -> Result<()> {
        let key = group.group_id.key();
        match &group.terms.attestation {
            AttestationMechanism::X509Signing(slots) => {
                for (slot, certificate) in [(0, &slots.primary), (1, &slots.secondary)] {
                    if let Some(certificate) = certificate {
                        self.remember_ca_key("group", key, slot, certificate)?;
                    }
                }
            }
            AttestationMechanism::X509CaReferences(slots) => {
                for (slot, name) in [(0, &slots.primary), (1, &slots.secondary)] {
                    if let Some(name) = name {
                        let sql = "INSERT INTO ca_references (name, group_key, slot) \
                             VALUES (?1, ?2, ?3)";
                        execute(self.connection, sql, (name, key, slot))?;
                    }
                }
            }
            AttestationMechanism::SymmetricKey(_)
            | AttestationMechanism::X509Client(_)
            | AttestationMechanism::Tpm(_) => {}
        }
        Ok(())
    }

    fn remember_ca_key(
        &self,
        owner_kind: &str,
        owner_key: &str,
        slot: i64,
        certificate: &model::EnrolledCertificate,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO ca_keys (subject, owner_kind, owner_key, slot, subject_and_key, issuer) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut binder = Binder::new(&mut statement);
        binder.put(certificate.keys.subject)?;
        binder.put(owner_kind)?;
        binder.put(owner_key)?;
        binder.put(slot)?;
        binder.put(certificate.keys.subject_and_key)?;
        binder.put(certificate.keys.issuer)?;
        binder.run()?;
        Ok(())
    }

    fn forget_group_keys(&self, id: &EnrollmentGroupId) -> Result<()> {
        self.forget_ca_keys("group", id.key())?;
        execute(self.connection, "DELETE FROM ca_references WHERE group_key = ?1", [id.key()])?;
        Ok(())
    }

    fn forget_ca_keys(&self, owner_kind: &str, owner_key: &str) -> Result<()> {
        let sql = "DELETE FROM ca_keys WHERE owner_kind = ?1 AND owner_key = ?2";
        execute(self.connection, sql, [owner_kind, owner_key])?;
        Ok(())
    }
}

fn individual(id: &RegistrationId) -> Owner {
    Owner { kind: OwnerKind::Individual, key: id.key().to_owned() }
}

fn group(id: &EnrollmentGroupId) -> Owner {
    Owner { kind: OwnerKind::Group, key: id.key().to_owned() }
}

fn exists(connection: &Connection, owner: &Owner) -> Result<bool> {
    let sql = match owner.kind {
        OwnerKind::Individual => "SELECT 1 FROM individual_enrollments WHERE key = ?1",
        OwnerKind::Group => "SELECT 1 FROM enrollment_groups WHERE key = ?1",
    };
    connection.prepare_cached(sql)?.exists([&owner.key])
}

/// Counts within one index; a group may have a million records, and this runs only when an
/// enrollment appears or goes.
fn count_records(connection: &Connection, owner: &Owner) -> Result<i64> {
    connection
        .prepare_cached(
            "SELECT COUNT(*) FROM registration_records \
             WHERE enrollment_kind = ?1 AND enrollment_key = ?2",
        )?
        .query_row((owner.kind.word(), &owner.key), |row| row.get(0))
}

fn version_of(connection: &Connection, sql: &str, key: impl Params) -> Result<Version> {
    let found: Option<i64> =
        connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}

fn execute(connection: &Connection, sql: &str, values: impl Params) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}
