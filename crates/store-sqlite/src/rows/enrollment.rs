//! The rows of individual enrollments and of groups.

use model::{
    DeviceId, EnrollmentGroup, EnrollmentGroupId, GroupSettings, IndividualEnrollment,
    RegistrationId, StaleCrl, Version,
};
use rusqlite::{OptionalExtension, Result};

use super::terms::{self, terms_columns};
use crate::{
    codec::{Binder, Columns, Db, Word, words},
    vault::Place,
};

/// The tables, as their secrets are bound to them.
const INDIVIDUALS: &str = "individual_enrollments";
const GROUPS: &str = "enrollment_groups";

words!(StaleCrl {
    StaleCrl::Admit => "admit",
    StaleCrl::Refuse => "refuse",
});

macro_rules! individual_columns {
    () => {
        concat!("registration_id, device_id, optional_device_information, ", terms_columns!())
    };
}

macro_rules! group_columns {
    () => {
        concat!("group_id, disenroll_ends_sessions, stale_crl, ", terms_columns!())
    };
}

/// Reads the individual enrollment of a key, `?1`.
pub(crate) const FIND_INDIVIDUAL: &str =
    concat!("SELECT ", individual_columns!(), " FROM individual_enrollments WHERE key = ?1");

/// Reads `?2` individual enrollments after the key `?1`.
pub(crate) const LIST_INDIVIDUALS: &str = concat!(
    "SELECT ",
    individual_columns!(),
    " FROM individual_enrollments WHERE key > ?1 ORDER BY key LIMIT ?2"
);

/// Reads the group of a key, `?1`.
pub(crate) const FIND_GROUP: &str =
    concat!("SELECT ", group_columns!(), " FROM enrollment_groups WHERE key = ?1");

/// Reads `?2` groups after the key `?1`.
pub(crate) const LIST_GROUPS: &str = concat!(
    "SELECT ",
    group_columns!(),
    " FROM enrollment_groups WHERE key > ?1 ORDER BY key LIMIT ?2"
);

/// Reads every symmetric-key group.
pub(crate) const SYMMETRIC_KEY_GROUPS: &str = concat!(
    "SELECT ",
    group_columns!(),
    " FROM enrollment_groups WHERE attestation = 'symmetricKey' ORDER BY key"
);

/// Reads the groups that refer to the CA certificate of a name, `?1`.
pub(crate) const GROUPS_REFERRING_TO: &str = concat!(
    "SELECT ",
    group_columns!(),
    " FROM enrollment_groups WHERE key IN (SELECT group_key FROM ca_references WHERE name = ?1) \
     ORDER BY key"
);

const PUT_INDIVIDUAL: &str = concat!(
    "INSERT OR REPLACE INTO individual_enrollments (key, ",
    individual_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21)"
);

const PUT_GROUP: &str = concat!(
    "INSERT OR REPLACE INTO enrollment_groups (key, ",
    group_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21)"
);

/// Inserts or replaces an individual enrollment.
pub(crate) fn put_individual(
    db: Db<'_>,
    enrollment: &IndividualEnrollment,
    version: Version,
) -> Result<()> {
    let mut statement = db.prepare_cached(PUT_INDIVIDUAL)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(enrollment.registration_id.key())?;
    binder.put(enrollment.registration_id.as_str())?;
    binder.put(enrollment.device_id.as_ref().map(DeviceId::as_str))?;
    binder.optional_json(enrollment.optional_device_information.as_ref())?;
    let row = [enrollment.registration_id.key()];
    let place = Place::new(INDIVIDUALS, &row);
    terms::bind(&mut binder, place, &enrollment.terms, version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of individual enrollments.
pub(crate) fn read_individual(columns: &mut Columns<'_, '_>) -> Result<IndividualEnrollment> {
    let registration_id = columns.text(RegistrationId::parse)?;
    Ok(IndividualEnrollment {
        device_id: columns.optional_text(DeviceId::parse)?,
        optional_device_information: columns.optional_json()?,
        terms: terms::read(columns, Place::new(INDIVIDUALS, &[registration_id.key()]))?,
        registration_id,
    })
}

/// Keeps what a group that is about to go says of the sessions that rest on it.
pub(crate) fn remember_gone_group(db: Db<'_>, id: &EnrollmentGroupId) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO gone_groups (key, disenroll_ends_sessions) \
         SELECT key, disenroll_ends_sessions FROM enrollment_groups \
         WHERE key = ?1 AND disenroll_ends_sessions IS NOT NULL",
    )?
    .execute([id.key()])?;
    db.prepare_cached(
        "DELETE FROM gone_groups WHERE key <> ?1 AND NOT EXISTS (SELECT 1 \
         FROM registration_records WHERE enrollment_kind = 'group' AND enrollment_key = \
         gone_groups.key) AND NOT EXISTS (SELECT 1 FROM devices WHERE former_kind = 'group' \
         AND lower(former_enrollment) = gone_groups.key)",
    )?
    .execute([id.key()])
    .map(drop)
}

/// What a group that is gone said of the sessions that rest on it.
pub(crate) fn gone_group_ends_sessions(db: Db<'_>, id: &EnrollmentGroupId) -> Result<Option<bool>> {
    db.prepare_cached("SELECT disenroll_ends_sessions FROM gone_groups WHERE key = ?1")?
        .query_row([id.key()], |row| row.get(0))
        .optional()
}

/// Inserts or replaces a group. What it is found by is written elsewhere.
pub(crate) fn put_group(db: Db<'_>, group: &EnrollmentGroup, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT_GROUP)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(group.group_id.key())?;
    binder.put(group.group_id.as_str())?;
    binder.put(group.settings.disenroll_ends_sessions)?;
    binder.put(group.settings.stale_crl.map(Word::word))?;
    let row = [group.group_id.key()];
    terms::bind(&mut binder, Place::new(GROUPS, &row), &group.terms, version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of groups.
pub(crate) fn read_group(columns: &mut Columns<'_, '_>) -> Result<EnrollmentGroup> {
    let group_id = columns.text(EnrollmentGroupId::parse)?;
    let settings = GroupSettings {
        disenroll_ends_sessions: columns.take()?,
        stale_crl: columns.optional_word()?,
    };
    let terms = terms::read(columns, Place::new(GROUPS, &[group_id.key()]))?;
    Ok(EnrollmentGroup { group_id, terms, settings })
}
