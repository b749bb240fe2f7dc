//! One change set inside an open transaction: what it expects, then what it writes.

use model::{
    AttestationMechanism, BanSubject, CaCertificate, Change, ChangeSet, EnrollmentGroup,
    EnrollmentGroupId, IndividualEnrollment, RegistrationId, RegistrationRecord, RevokedStep,
    Version,
};
use rusqlite::{OptionalExtension, Params, Result};
use store::{AuditHead, audit};

use crate::{
    codec::{Binder, Columns, Db, Word},
    heads::Heads,
    rows::{
        self, attempt, ban, certificate, challenge, connection, crl, device,
        device::Counted,
        enrollment, former, grounds, hub, message, policy, receipt, record,
        record::{Indexed, Owner, OwnerKind},
        settings,
        terms::Mechanism,
    },
    tally::Tally,
};

mod connections;
mod expect;

pub(crate) use expect::check_expectations;

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

/// The numbers that change sets are stamped with and compared to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Versions {
    /// The last change set's.
    pub(crate) last: Version,
    /// That of the last one that wrote or deleted a group or a CA certificate.
    pub(crate) groups: Version,
    /// That of the last one that wrote or deleted a linked hub or the service's settings.
    pub(crate) hubs: Version,
    /// That of the last one that wrote or deleted a ban or a revocation list.
    pub(crate) bans: Version,
    /// That of the last one that wrote or deleted a ban on a CA or a revocation list: what may be about
    /// devices that no key of theirs tells of. It is not kept on disk; after a start it is `bans`.
    pub(crate) wide_bans: Version,
    /// Where the audit log ends.
    pub(crate) audit: AuditHead,
}

/// What a change set did, beside its rows.
#[derive(Debug)]
pub(crate) struct Effect {
    /// How the counters change.
    pub(crate) tally: Tally,
    /// The numbers after it.
    pub(crate) versions: Versions,
}

/// Writes a change set's rows, stamped with the version after the last.
pub(crate) fn apply(
    db: Db<'_>,
    changes: &ChangeSet,
    mut versions: Versions,
    heads: &mut Heads,
) -> Result<Effect, Failure> {
    versions.last += 1;
    let effect = Effect { tally: Tally::default(), versions };
    let mut writing = Writing { db, version: versions.last, effect, heads };
    for change in &changes.changes {
        writing.change(change)?;
    }
    Ok(writing.effect)
}

struct Writing<'a> {
    db: Db<'a>,
    version: Version,
    effect: Effect,
    heads: &'a mut Heads,
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
            Change::PutGrounds(id, new) => {
                is_there(Indexed::find(self.db, id)?.is_some())?;
                grounds::put(self.db, id, new)?;
            }
            Change::PutBan(new) => {
                let key = new.subject.key();
                tally.bans += i64::from(!ban::exists(self.db, &key)?);
                self.bans_moved(matches!(new.subject, BanSubject::Ca(_)));
                ban::put(self.db, &key, new, self.version)?;
            }
            Change::PutCrl(new) => {
                self.bans_moved(true);
                crl::put(self.db, new, self.version)?;
            }
            Change::ChangeRevoked(change) => {
                let (writes, counts) = match change.step {
                    RevokedStep::Whole => (true, true),
                    RevokedStep::Part => (true, false),
                    RevokedStep::Last => (false, true),
                };
                if counts {
                    self.bans_moved(true);
                }
                if writes {
                    is_there(crl::change(self.db, change)?)?;
                }
            }
            Change::NoteCrlFetch(ca, source) => {
                is_there(crl::note_fetch(self.db, ca, source, self.version)?)?;
            }
            Change::DeleteCrl(ca) => {
                if crl::delete(self.db, ca)? {
                    self.bans_moved(true);
                }
            }
            Change::DeleteBan(key) => {
                if let Some(is_on_ca) = ban::delete(self.db, key)? {
                    self.effect.tally.bans -= 1;
                    self.bans_moved(is_on_ca);
                }
            }
            Change::PutTpmChallenge(new) => challenge::put(self.db, new)?,
            Change::TrimTpmChallenges(before) => challenge::trim(self.db, *before)?,
            Change::PutDevice(hub, new) => {
                let id = &new.identity.device_id;
                let old = Counted::find(self.db, hub, id)?;
                if let (None, Some(parent)) = (old, id.parent()) {
                    // A module is never there without its device.
                    is_there(Counted::find(self.db, hub, &parent)?.is_some())?;
                }
                device::put(self.db, hub, new, old, self.version)?;
                tally.count_device(hub, id, old, Some(Counted::after(old, &new.identity)));
            }
            Change::PutIdentity(hub, identity) => {
                let old = Counted::find(self.db, hub, &identity.device_id)?;
                // There is nothing to replace: whoever decided this saw a device that is gone.
                let old = old.ok_or(Failure::Conflict)?;
                device::put_identity(self.db, hub, identity, self.version)?;
                let new = Counted::after(Some(old), identity);
                tally.count_device(hub, &identity.device_id, Some(old), Some(new));
            }
            Change::PutTwin(hub, id, twin) => {
                is_there(device::put_twin(self.db, hub, id, twin, self.version)?)?;
            }
            Change::DeleteDevice(hub, id) => {
                if let Some(old) = Counted::find(self.db, hub, id)? {
                    let former = former::key_of(self.db, hub, id)?;
                    let sql = "DELETE FROM devices WHERE hub = ?1 AND device_id = ?2";
                    execute(self.db, sql, [hub.as_str(), id.as_str()])?;
                    if let Some(former) = former {
                        grounds::forget_unneeded(self.db, &former)?;
                    }
                    message::delete_all(self.db, hub, id)?;
                    if id.module().is_none() {
                        let (from, to) = device::modules_of(id);
                        execute(self.db, device::DELETE_MODULES, (hub.as_str(), from, to))?;
                        message::delete_of_modules(self.db, hub, id)?;
                    }
                    tally.count_device(hub, id, Some(old), None);
                }
            }
            Change::Connect { hub, device_id, connection, at } => {
                self.connect(hub, device_id, *connection, *at)?;
            }
            Change::Disconnect { hub, device_id, connection, at } => {
                self.disconnect(hub, device_id, *connection, *at)?;
            }
            Change::DisconnectAll { at } => self.disconnect_all(*at)?,
            Change::Touch { hub, device_id, at } => {
                connection::touch(self.db, hub, device_id, *at)?;
            }
            Change::PutSubscriptions(hub, id, new) => {
                is_there(connection::put_subscriptions(self.db, hub, id, Some(*new))?)?;
            }
            Change::DeleteSubscriptions(hub, id) => {
                connection::put_subscriptions(self.db, hub, id, None)?;
            }
            Change::AppendEvent(hub, partition, event) => {
                self.heads.append(self.db, hub, *partition, event)?;
            }
            Change::TrimEvents { hub, before, max_partition_bytes, at_most } => {
                self.heads.trim(self.db, hub, *before, *max_partition_bytes, *at_most)?;
            }
            Change::EnqueueMessage(hub, new) => {
                is_there(message::enqueue(self.db, hub, new, self.version)?)?;
            }
            Change::PutMessage(hub, new) => {
                is_there(message::put(self.db, hub, new, self.version)?)?;
            }
            Change::DeleteMessage(hub, id, number) => {
                message::delete(self.db, hub, id, *number)?;
            }
            Change::AppendFeedback(hub, new) => message::append_feedback(self.db, hub, new)?,
            Change::DeleteFeedback(hub, number) => {
                message::delete_feedback(self.db, hub, *number)?;
            }
            Change::PutPolicy(policy) => policy::put(self.db, policy, self.version)?,
            Change::DeletePolicy(scope, name) => {
                let sql = "DELETE FROM access_policies WHERE hub = ?1 AND name = ?2";
                execute(self.db, sql, [policy::scope(scope), name])?;
            }
            Change::PutLinkedHub(new) => {
                self.effect.versions.hubs = self.version;
                hub::put(self.db, new, self.version)?;
            }
            Change::DeleteLinkedHub(name) => {
                let sql = "DELETE FROM linked_hubs WHERE name = ?1";
                if execute(self.db, sql, [name.as_str()])? > 0 {
                    self.effect.versions.hubs = self.version;
                }
            }
            Change::PutServiceSettings(new) => {
                self.effect.versions.hubs = self.version;
                settings::put(self.db, new)?;
            }
            Change::PutRemoval(removal) => hub::put_removal(self.db, removal, self.version)?,
            Change::DeleteRemoval(hub, id) => {
                former::told(self.db, hub, id)?;
                let sql = "DELETE FROM remote_removals WHERE hub = ?1 AND device_id = ?2";
                execute(self.db, sql, [hub.as_str(), id.as_str()])?;
            }
            Change::PutReceipt(new) => receipt::put(self.db, new, self.version)?,
            Change::PutReceiptItem(new) => receipt::put_item(self.db, new, self.version)?,
            Change::TrimReceipts { now, at_most } => {
                receipt::trim(self.db, *now, *at_most, self.version)?;
            }
            Change::Audit(entry) => {
                let line = audit::next_line(self.effect.versions.audit, (**entry).clone());
                rows::audit::append(self.db, &line)?;
                self.effect.versions.audit = (line.number, line.hash);
            }
            Change::AppendAttempts { attempts, repeats, keep } => {
                attempt::append(self.db, attempts, repeats, *keep)?;
            }
            Change::PutInstanceSetting { name, value } => {
                let sql = "INSERT INTO instance_settings (name, value) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO NOTHING";
                execute(self.db, sql, [name, value])?;
            }
        }
        Ok(())
    }

    /// A ban or a revocation list is written or deleted; whether it is one on a CA or a list.
    const fn bans_moved(&mut self, is_wide: bool) {
        self.effect.versions.bans = self.version;
        if is_wide {
            self.effect.versions.wide_bans = self.version;
        }
    }

    fn put_individual(&mut self, new: &IndividualEnrollment) -> Result<()> {
        let owner = individual(&new.registration_id);
        if !exists(self.db, &owner)? {
            self.effect.tally.individual_enrollments += 1;
            self.effect.tally.orphaned_registrations -= count_records(self.db, &owner)?;
        }
        enrollment::put_individual(self.db, new, self.version)
    }

    fn delete_individual(&mut self, id: &RegistrationId) -> Result<()> {
        let sql = "DELETE FROM individual_enrollments WHERE key = ?1";
        if execute(self.db, sql, [id.key()])? > 0 {
            let orphaned = count_records(self.db, &individual(id))?;
            self.effect.tally.individual_enrollments -= 1;
            self.effect.tally.orphaned_registrations += orphaned;
        }
        Ok(())
    }

    fn put_group(&mut self, new: &EnrollmentGroup) -> Result<()> {
        self.effect.versions.groups = self.version;
        match self.mechanism_of(&new.group_id)? {
            Some(old) => {
                self.effect.tally.count_group(old.kind(), -1);
                self.forget_group_keys(&new.group_id)?;
            }
            None => {
                let records = count_records(self.db, &group(&new.group_id))?;
                self.effect.tally.orphaned_registrations -= records;
                let key = new.group_id.key();
                execute(self.db, "DELETE FROM gone_groups WHERE key = ?1", [key])?;
            }
        }
        self.effect.tally.count_group(new.terms.attestation.kind(), 1);
        enrollment::put_group(self.db, new, self.version)?;
        self.remember_group_keys(new)
    }

    fn delete_group(&mut self, id: &EnrollmentGroupId) -> Result<()> {
        let Some(old) = self.mechanism_of(id)? else { return Ok(()) };
        self.effect.versions.groups = self.version;
        self.effect.tally.count_group(old.kind(), -1);
        self.effect.tally.orphaned_registrations += count_records(self.db, &group(id))?;
        enrollment::remember_gone_group(self.db, id)?;
        execute(self.db, "DELETE FROM enrollment_groups WHERE key = ?1", [id.key()])?;
        self.forget_group_keys(id)
    }

    fn put_ca(&mut self, new: &CaCertificate) -> Result<()> {
        self.effect.versions.groups = self.version;
        certificate::put_ca(self.db, new, self.version)?;
        self.forget_ca_keys("store", &new.name)?;
        self.remember_ca_key("store", &new.name, 0, &new.certificate)
    }

    fn delete_ca(&mut self, name: &str) -> Result<()> {
        if execute(self.db, "DELETE FROM ca_certificates WHERE name = ?1", [name])? > 0 {
            self.effect.versions.groups = self.version;
            self.forget_ca_keys("store", name)?;
        }
        Ok(())
    }

    fn put_record(&mut self, new: &RegistrationRecord) -> Result<()> {
        let old = Indexed::find(self.db, &new.registration_id)?;
        let assigned = Indexed::of(new).assigned;
        let is_moved = old.as_ref().is_none_or(|old| old.assigned != assigned);
        if is_moved && old.as_ref().is_some_and(|old| old.assigned.is_some()) {
            former::remember(self.db, &new.registration_id)?;
        }
        record::put(self.db, new, old.as_ref(), self.version)?;
        if is_moved || new.pending.is_some() {
            former::forget_of(self.db, new)?;
        }
        let owner = Owner::of(new);
        let old = old.map(|old| old.owner);
        if old.as_ref() == Some(&owner) {
            return Ok(());
        }
        if let Some(old) = &old {
            record::take_from(self.db, &new.registration_id, old, &owner)?;
        }
        match old {
            None => self.effect.tally.registrations += 1,
            Some(old) if !exists(self.db, &old)? => {
                self.effect.tally.orphaned_registrations -= 1;
            }
            Some(_) => {}
        }
        if !exists(self.db, &owner)? {
            self.effect.tally.orphaned_registrations += 1;
        }
        Ok(())
    }

    fn delete_record(&mut self, id: &RegistrationId) -> Result<()> {
        let Some(Indexed { owner: old, .. }) = Indexed::find(self.db, id)? else { return Ok(()) };
        former::remember(self.db, id)?;
        former::remember_pending(self.db, id)?;
        execute(self.db, "DELETE FROM registration_records WHERE key = ?1", [id.key()])?;
        grounds::forget_unneeded(self.db, id.key())?;
        self.effect.tally.registrations -= 1;
        if !exists(self.db, &old)? {
            self.effect.tally.orphaned_registrations -= 1;
        }
        Ok(())
    }

    fn mechanism_of(&self, id: &EnrollmentGroupId) -> Result<Option<Mechanism>> {
        self.db
            .prepare_cached("SELECT attestation FROM enrollment_groups WHERE key = ?1")?
            .query_row([id.key()], |row| Columns::new(self.db, row).word())
            .optional()
    }

    fn remember_group_keys(&self, group: &EnrollmentGroup) -> Result<()> {
        let key = group.group_id.key();
        match &group.terms.attestation {
            AttestationMechanism::X509Signing(slots) | AttestationMechanism::TpmIssuer(slots) => {
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
                        execute(self.db, sql, (name, key, slot))?;
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
        let mut statement = self.db.prepare_cached(
            "INSERT INTO ca_keys (subject, owner_kind, owner_key, slot, subject_and_key, issuer) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let mut binder = Binder::new(self.db, &mut statement);
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
        execute(self.db, "DELETE FROM ca_references WHERE group_key = ?1", [id.key()])?;
        Ok(())
    }

    fn forget_ca_keys(&self, owner_kind: &str, owner_key: &str) -> Result<()> {
        let sql = "DELETE FROM ca_keys WHERE owner_kind = ?1 AND owner_key = ?2";
        execute(self.db, sql, [owner_kind, owner_key])?;
        Ok(())
    }
}

fn individual(id: &RegistrationId) -> Owner {
    Owner { kind: OwnerKind::Individual, key: id.key().to_owned() }
}

fn group(id: &EnrollmentGroupId) -> Owner {
    Owner { kind: OwnerKind::Group, key: id.key().to_owned() }
}

fn exists(db: Db<'_>, owner: &Owner) -> Result<bool> {
    let sql = match owner.kind {
        OwnerKind::Individual => "SELECT 1 FROM individual_enrollments WHERE key = ?1",
        OwnerKind::Group => "SELECT 1 FROM enrollment_groups WHERE key = ?1",
    };
    db.prepare_cached(sql)?.exists([&owner.key])
}

/// Counts within one index; a group may have a million records, and this runs only when an
/// enrollment appears or goes.
fn count_records(db: Db<'_>, owner: &Owner) -> Result<i64> {
    db.prepare_cached(
        "SELECT COUNT(*) FROM registration_records \
             WHERE enrollment_kind = ?1 AND enrollment_key = ?2",
    )?
    .query_row((owner.kind.word(), &owner.key), |row| row.get(0))
}

/// What was to be changed is there; otherwise whoever decided this saw something that is gone.
const fn is_there(found: bool) -> Result<(), Failure> {
    if found { Ok(()) } else { Err(Failure::Conflict) }
}

fn execute(db: Db<'_>, sql: &str, values: impl Params) -> Result<usize> {
    db.prepare_cached(sql)?.execute(values)
}
