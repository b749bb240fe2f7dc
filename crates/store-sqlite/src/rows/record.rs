//! The rows of registration records.

use model::{
    Assignment, AuthenticationKind, DeviceAuthentication, DeviceId, EnrollmentGroupId,
    EnrollmentRef, Etag, Failure, HubName, Json, OperationId, OperationRef, PendingAssignment,
    RegistrationId, RegistrationRecord, Reprovision, Substatus, Timestamp, Version,
};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{Binder, Columns, Db, Word, parse_json, words},
    vault::Place,
};

/// The table, as its secrets are bound to it.
const TABLE: &str = "registration_records";

/// The columns of the keys a device will log in with.
const PENDING_KEYS: [&str; 2] = ["pending_primary_key", "pending_secondary_key"];

macro_rules! other_columns {
    () => {
        "enrollment_id, registration_id, created, last_updated, status, hub, device_id, \
         substatus, initial_hub, failure_code, failure_message, payload, etag, mechanism, \
         operations, due, pending, pending_primary_key, pending_secondary_key, wrapped_hub_key, \
         version"
    };
}

macro_rules! select {
    ($($rest:tt)*) => {
        concat!(
            "SELECT enrollment_kind, ",
            other_columns!(),
            " FROM registration_records AS record WHERE ",
            $($rest)*
        )
    };
}

/// Whether a record's enrollment no longer exists.
macro_rules! is_orphaned {
    () => {
        "CASE enrollment_kind \
         WHEN 'group' THEN NOT EXISTS \
           (SELECT 1 FROM enrollment_groups WHERE key = record.enrollment_key) \
         ELSE NOT EXISTS \
           (SELECT 1 FROM individual_enrollments WHERE key = record.enrollment_key) \
         END"
    };
}

/// Reads the record of a key, `?1`.
pub(crate) const FIND: &str = select!("key = ?1");

/// Reads `?2` records after the key `?1`.
pub(crate) const LIST: &str = select!("key > ?1 ORDER BY key LIMIT ?2");

/// Reads `?2` records of the group with the key `?3`, after the key `?1`.
pub(crate) const LIST_OF_GROUP: &str =
    select!("enrollment_kind = 'group' AND enrollment_key = ?3 AND key > ?1 ORDER BY key LIMIT ?2");

/// Reads `?2` records without an enrollment, written before `?3`, after the key `?1`.
pub(crate) const LIST_ORPHANED: &str =
    select!("key > ?1 AND last_updated < ?3 AND ", is_orphaned!(), " ORDER BY key LIMIT ?2");

/// Reads `?2` records of the group with the key `?4` if it no longer exists, written before `?3`,
/// after the key `?1`.
pub(crate) const LIST_ORPHANED_OF_GROUP: &str = select!(
    "enrollment_kind = 'group' AND enrollment_key = ?4 AND key > ?1 AND last_updated < ?3 \
     AND NOT EXISTS (SELECT 1 FROM enrollment_groups WHERE key = ?4) ORDER BY key LIMIT ?2"
);

/// Counts the records of the group with the key `?1`.
pub(crate) const COUNT_OF_GROUP: &str = "SELECT COUNT(*) FROM registration_records \
     WHERE enrollment_kind = 'group' AND enrollment_key = ?1";

/// Counts the records without an enrollment, written before `?1`.
pub(crate) const COUNT_ORPHANED: &str = concat!(
    "SELECT COUNT(*) FROM registration_records AS record WHERE last_updated < ?1 AND ",
    is_orphaned!()
);

/// Counts the records of the group with the key `?2` if it no longer exists, written before `?1`.
pub(crate) const COUNT_ORPHANED_OF_GROUP: &str = "SELECT COUNT(*) FROM registration_records \
     WHERE enrollment_kind = 'group' AND enrollment_key = ?2 AND last_updated < ?1 \
     AND NOT EXISTS (SELECT 1 FROM enrollment_groups WHERE key = ?2)";

const INSERT: &str = concat!(
    "INSERT INTO registration_records (key, enrollment_kind, enrollment_key, ",
    other_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     ?19, ?20, ?21, ?22, ?23, ?24)"
);

/// Leaves the columns of the owner and of the assigned identity alone, and so their indexes.
const UPDATE: &str = "UPDATE registration_records SET (enrollment_id, registration_id, created, \
     last_updated, status, substatus, initial_hub, failure_code, failure_message, payload, etag, \
     mechanism, operations, due, pending, pending_primary_key, pending_secondary_key, \
     wrapped_hub_key, version) = (?4, ?5, ?6, ?7, ?8, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
     ?20, ?21, ?22, ?23, ?24) WHERE key = ?1";

const UPDATE_WITH_INDEXES: &str = concat!(
    "UPDATE registration_records SET (enrollment_kind, enrollment_key, ",
    other_columns!(),
    ") = (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
     ?21, ?22, ?23, ?24) WHERE key = ?1"
);

/// The registration IDs of `?2` records whose pending assignment is due at `?1`.
pub(crate) const DUE: &str =
    "SELECT registration_id FROM registration_records WHERE due <= ?1 ORDER BY due, key LIMIT ?2";

/// When and by which enrollment the identity `?2` of the hub `?1` was assigned to registrations.
pub(crate) const ASSIGNED: &str = "SELECT last_updated, version, taken_from, enrollment_kind, \
     enrollment_id, registration_id FROM registration_records WHERE hub = ?1 AND device_id = ?2";

/// The versions of the records by which the identity `?2` of the hub `?1` is assigned.
pub(crate) const ASSIGNED_VERSIONS: &str = "SELECT version FROM registration_records \
     WHERE hub = ?1 AND device_id = ?2 ORDER BY version";

/// By which enrollment the identity `?2` of the hub `?1` was assigned to a registration whose record
/// was deleted since, or has another identity now; and the version of that record.
pub(crate) const FORMER: &str = "SELECT \
     COALESCE((SELECT version FROM registration_records WHERE key = lower(former_registration)), 0), \
     former_taken_from, former_kind, former_enrollment, former_registration FROM devices WHERE hub = ?1 AND device_id = ?2 AND former_kind IS NOT NULL";

/// Keeps with a record by which group the device was provisioned before its individual enrollment
/// took it over; `old` is whom the record rested on before.
pub(crate) fn take_from(db: Db<'_>, id: &RegistrationId, old: &Owner, new: &Owner) -> Result<()> {
    let group = match (old.kind, new.kind) {
        (OwnerKind::Group, OwnerKind::Individual) => Some(&old.key),
        (OwnerKind::Group | OwnerKind::Individual, OwnerKind::Group) => None,
        // It goes on to be that group's word.
        (OwnerKind::Individual, OwnerKind::Individual) => return Ok(()),
    };
    db.prepare_cached("UPDATE registration_records SET taken_from = ?2 WHERE key = ?1")?
        .execute((id.key(), group))
        .map(drop)
}

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
}

/// What of a record has indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Indexed {
    /// The enrollment it rests on.
    pub(crate) owner: Owner,
    /// Hub and device ID of the identity that was assigned.
    pub(crate) assigned: Option<(String, String)>,
}

impl Indexed {
    /// That of a record about to be written.
    pub(crate) fn of(record: &RegistrationRecord) -> Self {
        let assigned = record.assignment.as_ref();
        Self {
            owner: Owner::of(record),
            assigned: assigned.map(|assigned| {
                (assigned.hub.as_str().to_owned(), assigned.device_id.as_str().to_owned())
            }),
        }
    }

    /// That of a stored record; `None` when there is no such record.
    pub(crate) fn find(db: Db<'_>, record: &RegistrationId) -> Result<Option<Self>> {
        let mut statement = db.prepare_cached(
            "SELECT enrollment_kind, enrollment_key, hub, device_id FROM registration_records \
             WHERE key = ?1",
        )?;
        let mut rows = statement.query([record.key()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut columns = Columns::new(db, row);
        let owner = Owner { kind: columns.word()?, key: columns.take()? };
        let (hub, device_id): (Option<String>, Option<String>) = (columns.take()?, columns.take()?);
        Ok(Some(Self { owner, assigned: hub.zip(device_id) }))
    }
}

/// Inserts or replaces a record of which the caller knows what it was found by (`None`: there is no
/// record).
pub(crate) fn put(
    db: Db<'_>,
    record: &RegistrationRecord,
    old: Option<&Indexed>,
    version: Version,
) -> Result<()> {
    let new = Indexed::of(record);
    let sql = match old {
        None => INSERT,
        Some(old) if *old == new => UPDATE,
        Some(_) => UPDATE_WITH_INDEXES,
    };
    let Indexed { owner, .. } = new;
    let mut statement = db.prepare_cached(sql)?;
    let mut binder = Binder::new(db, &mut statement);
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
    bind_pending(&mut binder, &record.registration_id, record.pending.as_deref())?;
    binder.put(&record.wrapped_hub_key)?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of records.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<RegistrationRecord> {
    let (registration_id, enrollment) = read_owner(columns)?;
    Ok(RegistrationRecord {
        enrollment,
        created: columns.time()?,
        last_updated: columns.time()?,
        status: columns.word()?,
        assignment: read_assignment(columns)?,
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
        pending: read_pending(columns, &registration_id)?.map(Box::new),
        wrapped_hub_key: columns.take()?,
        registration_id,
        version: columns.unsigned()?,
    })
}

/// Takes the columns `enrollment_kind`, `enrollment_id` and `registration_id`.
pub(crate) fn read_owner(columns: &mut Columns<'_, '_>) -> Result<(RegistrationId, EnrollmentRef)> {
    let enrollment = match columns.word()? {
        OwnerKind::Individual => EnrollmentRef::Individual(columns.text(RegistrationId::parse)?),
        OwnerKind::Group => EnrollmentRef::Group(columns.text(EnrollmentGroupId::parse)?),
    };
    Ok((columns.text(RegistrationId::parse)?, enrollment))
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

fn bind_pending(
    binder: &mut Binder<'_, '_>,
    id: &RegistrationId,
    pending: Option<&PendingAssignment>,
) -> Result<()> {
    binder.optional_time(pending.map(|pending| pending.due))?;
    match pending {
        Some(pending) => binder.document(&PendingRow::from(pending))?,
        None => binder.put(None::<String>)?,
    }
    let keys = pending.and_then(|pending| pending.authentication.keys.as_ref());
    binder.named_keys(Place::new(TABLE, &[id.key()]), PENDING_KEYS, keys)
}

fn read_pending(
    columns: &mut Columns<'_, '_>,
    id: &RegistrationId,
) -> Result<Option<PendingAssignment>> {
    let due = columns.optional_time()?;
    let row: Option<PendingRow> = columns.optional_document()?;
    let keys = columns.named_keys(Place::new(TABLE, &[id.key()]), PENDING_KEYS)?;
    let Some((due, row)) = due.zip(row) else { return Ok(None) };
    let read = |columns: &Columns<'_, '_>, why| columns.unreadable(why);
    let hub = |text: &str| HubName::parse(text).map_err(|_| read(columns, "a hub that is none"));
    let bad_word = || read(columns, "a word that this release does not know");
    Ok(Some(PendingAssignment {
        assignment: Assignment {
            hub: hub(&row.hub)?,
            device_id: DeviceId::parse(&row.device_id)
                .map_err(|_| read(columns, "a device ID that is none"))?,
            substatus: Substatus::from_word(&row.substatus).ok_or_else(bad_word)?,
            initial_hub: hub(&row.initial_hub)?,
        },
        from: row.from.as_deref().map(hub).transpose()?,
        rule: Reprovision::from_word(&row.rule).ok_or_else(bad_word)?,
        authentication: DeviceAuthentication {
            kind: AuthenticationKind::from_word(&row.authentication).ok_or_else(bad_word)?,
            keys,
            primary_thumbprint: row.primary_thumbprint,
            secondary_thumbprint: row.secondary_thumbprint,
        },
        iot_edge: row.iot_edge,
        initial_twin: row
            .initial_twin
            .map(|text| parse_json(&text))
            .transpose()
            .map_err(|_| read(columns, "an initial twin that is no JSON"))?,
        n_failures: row.n_failures,
        due,
        last_error: row.last_error,
    }))
}

/// A pending assignment but for its due time and its keys, which have columns of their own.
#[derive(Serialize, Deserialize)]
struct PendingRow {
    hub: String,
    device_id: String,
    substatus: String,
    initial_hub: String,
    from: Option<String>,
    rule: String,
    authentication: String,
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
    iot_edge: bool,
    /// JSON text inside a string, so that the operator's numbers keep every digit.
    initial_twin: Option<String>,
    n_failures: u32,
    last_error: Option<String>,
}

impl From<&PendingAssignment> for PendingRow {
    fn from(pending: &PendingAssignment) -> Self {
        let PendingAssignment { assignment, authentication, .. } = pending;
        Self {
            hub: assignment.hub.as_str().to_owned(),
            device_id: assignment.device_id.as_str().to_owned(),
            substatus: assignment.substatus.word().to_owned(),
            initial_hub: assignment.initial_hub.as_str().to_owned(),
            from: pending.from.as_ref().map(|hub| hub.as_str().to_owned()),
            rule: pending.rule.word().to_owned(),
            authentication: authentication.kind.word().to_owned(),
            primary_thumbprint: authentication.primary_thumbprint.clone(),
            secondary_thumbprint: authentication.secondary_thumbprint.clone(),
            iot_edge: pending.iot_edge,
            initial_twin: pending.initial_twin.as_ref().map(Json::to_string),
            n_failures: pending.n_failures,
            last_error: pending.last_error.clone(),
        }
    }
}
