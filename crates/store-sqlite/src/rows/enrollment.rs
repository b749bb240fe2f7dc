//! The rows of individual enrollments and of groups.

use model::{
    DeviceId, EnrollmentGroup, EnrollmentGroupId, IndividualEnrollment, RegistrationId, Version,
};
use rusqlite::{Connection, Result, Row};

use super::terms::{self, terms_columns};
use crate::codec::{Binder, Columns};

macro_rules! individual_columns {
    () => {
        concat!("registration_id, device_id, optional_device_information, ", terms_columns!())
    };
}

macro_rules! group_columns {
    () => {
        concat!("group_id, ", terms_columns!())
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
     ?19)"
);

/// Inserts or replaces an individual enrollment.
pub(crate) fn put_individual(
    connection: &Connection,
    enrollment: &IndividualEnrollment,
    version: Version,
) -> Result<()> {
    let mut statement = connection.prepare_cached(PUT_INDIVIDUAL)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(enrollment.registration_id.key())?;
    binder.put(enrollment.registration_id.as_str())?;
    binder.put(enrollment.device_id.as_ref().map(DeviceId::as_str))?;
    binder.optional_json(enrollment.optional_device_information.as_ref())?;
    terms::bind(&mut binder, &enrollment.terms, version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of individual enrollments.
pub(crate) fn read_individual(row: &Row<'_>) -> Result<IndividualEnrollment> {
    let mut columns = Columns::new(row);
    Ok(IndividualEnrollment {
        registration_id: columns.text(RegistrationId::parse)?,
        device_id: columns.optional_text(DeviceId::parse)?,
        optional_device_information: columns.optional_json()?,
        terms: terms::read(&mut columns)?,
    })
}

/// Inserts or replaces a group. What it is found by is written elsewhere.
pub(crate) fn put_group(
    connection: &Connection,
    group: &EnrollmentGroup,
    version: Version,
) -> Result<()> {
    let mut statement = connection.prepare_cached(PUT_GROUP)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(group.group_id.key())?;
    binder.put(group.group_id.as_str())?;
    terms::bind(&mut binder, &group.terms, version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of groups.
pub(crate) fn read_group(row: &Row<'_>) -> Result<EnrollmentGroup> {
    let mut columns = Columns::new(row);
    Ok(EnrollmentGroup {
        group_id: columns.text(EnrollmentGroupId::parse)?,
        terms: terms::read(&mut columns)?,
    })
}
