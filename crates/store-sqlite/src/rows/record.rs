//! The rows of registration records.

use model::{
    Assignment, DeviceId, EnrollmentGroupId, EnrollmentRef, Etag, Failure, HubName, OperationId,
    OperationRef, RegistrationId, RegistrationRecord, Timestamp, Version,
};
use rusqlite::{Connection, Result, Row};

use crate::codec::{Binder, Columns, Word, words};

macro_rules! other_columns {
    () => {
        "enrollment_id, registration_id, created, last_updated, status, hub, device_id, \
         substatus, initial_hub, failure_code, failure_message, payload, etag, mechanism, \
         operations, version"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT enrollment_kind, ",
            other_columns!(),
            " FROM registration_records AS record WHERE ",
            $rest
        )
    };
}

/// Reads the record of a key, `?1`.
pub(crate) const FIND: &str = select!("key = ?1");

/// Reads `?2` records after the key `?1`.
pub(crate) const LIST: &str = select!("key > ?1 ORDER BY key LIMIT ?2");

/// Reads `?2` records of the group with the key `?3`, after the key `?1`.
pub(crate) const LIST_OF_GROUP: &str =
    select!("enrollment_kind = 'group' AND enrollment_key = ?3 AND key > ?1 ORDER BY key LIMIT ?2");

/// Reads `?2` records without an enrollment, after the key `?1`.
pub(crate) const LIST_ORPHANED: &str = select!(
    "key > ?1 AND CASE enrollment_kind \
     WHEN 'group' THEN NOT EXISTS \
       (SELECT 1 FROM enrollment_groups WHERE key = record.enrollment_key) \
     ELSE NOT EXISTS \
       (SELECT 1 FROM individual_enrollments WHERE key = record.enrollment_key) \
     END ORDER BY key LIMIT ?2"
);

const INSERT: &str = concat!(
    "INSERT INTO registration_records (key, enrollment_kind, enrollment_key, ",
    other_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19)"
);

/// Leaves the indexed columns alone, and so the index.
const UPDATE: &str = concat!(
    "UPDATE registration_records SET (",
    other_columns!(),
    ") = (?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) WHERE key = ?1"
);

const UPDATE_WITH_OWNER: &str = concat!(
    "UPDATE registration_records SET (enrollment_kind, enrollment_key, ",
    other_columns!(),
    ") = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) \
     WHERE key = ?1"
);

/// The enrollment a record rests on, as it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) kind: OwnerKind,
    pub(crate) key: String,
}

/// Which of the two kinds of enrollments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerKind {
    Individual,
    Group,
}

words!(OwnerKind {
    OwnerKind::Individual => "individual",
    OwnerKind::Group => "group",
});

impl Owner {
    /// The owner of a record about to be written.
    pub(crate) fn of(record: &RegistrationRecord) -> Self {
        match &record.enrollment {
            EnrollmentRef::Individual(id) => {
                Self { kind: OwnerKind::Individual, key: id.key().to_owned() }
            }
            EnrollmentRef::Group(id) => Self { kind: OwnerKind::Group, key: id.key().to_owned() },
        }
    }

    /// The owner of a stored record; `None` when there is no such record.
    pub(crate) fn find(connection: &Connection, record: &RegistrationId) -> Result<Option<Self>> {
        let mut statement = connection.prepare_cached(
            "SELECT enrollment_kind, enrollment_key FROM registration_records WHERE key = ?1",
        )?;
        let mut rows = statement.query([record.key()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut columns = Columns::new(row);
        Ok(Some(Self { kind: columns.word()?, key: columns.take()? }))
    }
}

/// Inserts or replaces a record whose old owner the caller knows (`None`: there is no record).
pub(crate) fn put(
    connection: &Connection,
    record: &RegistrationRecord,
    old: Option<&Owner>,
    version: Version,
) -> Result<()> {
    let owner = Owner::of(record);
    let sql = match old {
        None => INSERT,
        Some(old) if *old == owner => UPDATE,
        Some(_) => UPDATE_WITH_OWNER,
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(record.registration_id.key())?;
    binder.word(owner.kind)?;
    binder.put(&owner.key)?;
    binder.put(match &record.enrollment {
        EnrollmentRef::Individual(id) => id.as_str(),
        EnrollmentRef::Group(id) => id.as_str(),
    })?;
    binder.put(record.registration_id.as_str())?;
    binder.time(record.created)?;
    binder.time(record.last_updated)?;
    binder.word(record.status)?;
    let assignment = record.assignment.as_ref();
    binder.put(assignment.map(|a| a.hub.as_str()))?;
    binder.put(assignment.map(|a| a.device_id.as_str()))?;
    binder.put(assignment.map(|a| a.substatus.word()))?;
    binder.put(assignment.map(|a| a.initial_hub.as_str()))?;
    binder.put(record.failure.as_ref().map(|failure| failure.code))?;
    binder.put(record.failure.as_ref().map(|failure| &failure.message))?;
    binder.optional_json(record.payload.as_ref())?;
    binder.put(record.etag.as_str())?;
    binder.word(record.mechanism)?;
    let operations: Vec<(&str, i64)> =
        record.operations.iter().map(|op| (op.id.as_str(), op.started.ticks())).collect();
    binder.document(&operations)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of records.
pub(crate) fn read(row: &Row<'_>) -> Result<RegistrationRecord> {
    let mut columns = Columns::new(row);
    let enrollment = match columns.word()? {
        OwnerKind::Individual => EnrollmentRef::Individual(columns.text(RegistrationId::parse)?),
        OwnerKind::Group => EnrollmentRef::Group(columns.text(EnrollmentGroupId::parse)?),
    };
    Ok(RegistrationRecord {
        enrollment,
        registration_id: columns.text(RegistrationId::parse)?,
        created: columns.time()?,
        last_updated: columns.time()?,
        status: columns.word()?,
        assignment: read_assignment(&mut columns)?,
        failure: {
            let code: Option<i32> = columns.take()?;
            let message: Option<String> = columns.take()?;
            code.zip(message).map(|(code, message)| Failure { code, message })
        },
        payload: columns.optional_json()?,
        etag: columns.text(|text| Ok::<_, String>(Etag::from_stored(text)))?,
        mechanism: columns.word()?,
        operations: {
            let operations: Vec<(String, i64)> = columns.document()?;
            let read = |(id, started): (String, i64)| {
                let id = OperationId::parse(&id)
                    .map_err(|_| columns.unreadable("an operation ID that is none"))?;
                Ok(OperationRef { id, started: Timestamp::from_ticks(started) })
            };
            operations.into_iter().map(read).collect::<Result<_>>()?
        },
        version: columns.unsigned()?,
    })
}

fn read_assignment(columns: &mut Columns<'_, '_>) -> Result<Option<Assignment>> {
    let hub = columns.optional_text(HubName::parse)?;
    let device_id = columns.optional_text(DeviceId::parse)?;
    let substatus = columns.optional_word()?;
    let initial_hub = columns.optional_text(HubName::parse)?;
    match (hub, device_id, substatus, initial_hub) {
        (Some(hub), Some(device_id), Some(substatus), Some(initial_hub)) => {
            Ok(Some(Assignment { hub, device_id, substatus, initial_hub }))
        }
        (None, None, None, None) => Ok(None),
        _ => Err(columns.unreadable("half an assignment")),
    }
}
