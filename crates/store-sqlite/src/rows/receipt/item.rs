//! The rows of items: one device of a plan or receipt.

use model::{
    BanKind, Closed, DeprovisionItem, DeviceId, DeviceSubject, EndedSessions, Etag, HubName, Part,
    PlannedDevice, PlannedIdentity, ReceiptId, RegistrationId, RemoteStep, RemoteStepState,
    RemoteStepTask, ReplacedBan, StillAdmitted, Timestamp, Trouble, Version,
};
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use super::head::{CallerRow, EnrollmentRow, hub, receipt_id, word};
use crate::codec::{Binder, Columns, Db, Word, words};

macro_rules! select {
    ($($rest:tt)*) => {
        concat!("SELECT receipt, number, state, document, version FROM receipt_items ", $($rest)*)
    };
}

/// Reads the item with the number `?2` of the receipt `?1`.
pub(crate) const FIND_ITEM: &str = select!("WHERE receipt = ?1 AND number = ?2");

/// Reads the item with the key `?2` of the receipt `?1`.
pub(crate) const FIND_BY_KEY: &str = select!("WHERE receipt = ?1 AND key = ?2");

/// Reads `?3` items of the receipt `?1` after the number `?2`.
pub(crate) const LIST_ITEMS: &str =
    select!("WHERE receipt = ?1 AND number > ?2 ORDER BY number LIMIT ?3");

/// Reads `?3` items of the receipt `?1` after the number `?2` that stand so, `?4`. By itself SQLite
/// would read all after the number, and a plan may have a million.
pub(crate) const LIST_ITEMS_IN_STATE: &str = select!(
    "INDEXED BY receipt_items_by_state WHERE receipt = ?1 AND state = ?4 AND number > ?2 \
     ORDER BY number LIMIT ?3"
);

/// Reads `?3` items of the receipt `?1` after the number `?2` with which something is to be done, by
/// their own index for the same reason.
pub(crate) const LIST_OPEN: &str = select!(
    "INDEXED BY receipt_items_open WHERE receipt = ?1 AND open = 1 AND number > ?2 \
     ORDER BY number LIMIT ?3"
);

const PUT: &str = "INSERT OR REPLACE INTO receipt_items \
     (receipt, number, key, state, open, document, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

words!(RemoteStepTask {
    RemoteStepTask::Delete => "delete",
    RemoteStepTask::Disable => "disable",
    RemoteStepTask::Enable => "enable",
});

/// Inserts or replaces an item under its key.
pub(super) fn put(db: Db<'_>, item: &DeprovisionItem, key: &str, version: Version) -> Result<()> {
    let mut statement = db.prepare_cached(PUT)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(item.receipt.as_str())?;
    binder.unsigned(item.number)?;
    binder.put(key)?;
    binder.word(item.state)?;
    binder.put(item.is_open())?;
    binder.document(&ItemRow::from(item))?;
    binder.unsigned(version)?;
    binder.run()?;
    Ok(())
}

/// Reads a row of items.
pub(crate) fn read_item(columns: &mut Columns<'_, '_>) -> Result<DeprovisionItem> {
    let receipt = columns.text(ReceiptId::parse)?;
    let number = columns.unsigned()?;
    let state = columns.word()?;
    let row: ItemRow = columns.document()?;
    let bad = |why| columns.unreadable(why);
    let read = |row: ItemRow| -> Result<DeprovisionItem, &'static str> {
        Ok(DeprovisionItem {
            receipt,
            number,
            subject: row.subject.into_model()?,
            is_late: row.late,
            plan: row.plan.into_model()?,
            state,
            at: row.at.map(Timestamp::from_ticks),
            parts: row.parts.into_iter().map(PartRow::into_model).collect::<Result<_, _>>()?,
            sessions: row.sessions.map(SessionsRow::into_model).unwrap_or_default(),
            remote: row.remote.into_iter().map(StepRow::into_model).collect::<Result<_, _>>()?,
            trouble: row.trouble.map(TroubleRow::into_model),
            version: 0,
        })
    };
    let item = read(row).map_err(bad)?;
    Ok(DeprovisionItem { version: columns.unsigned()?, ..item })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemRow {
    subject: SubjectRow,
    #[serde(default, skip_serializing_if = "is_false")]
    late: bool,
    plan: PlanRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sessions: Option<SessionsRow>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remote: Vec<StepRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trouble: Option<TroubleRow>,
}

impl From<&DeprovisionItem> for ItemRow {
    fn from(item: &DeprovisionItem) -> Self {
        let sessions = (item.sessions != EndedSessions::default()).then_some(item.sessions);
        Self {
            subject: SubjectRow::from(&item.subject),
            late: item.is_late,
            plan: PlanRow::from(&item.plan),
            at: item.at.map(Timestamp::ticks),
            parts: item.parts.iter().map(PartRow::from).collect(),
            sessions: sessions.map(SessionsRow::from),
            remote: item.remote.iter().map(StepRow::from).collect(),
            trouble: item.trouble.as_ref().map(TroubleRow::from),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SubjectRow {
    Registration(String),
    Identity(String),
}

impl From<&DeviceSubject> for SubjectRow {
    fn from(subject: &DeviceSubject) -> Self {
        match subject {
            DeviceSubject::Registration(id) => Self::Registration(id.as_str().to_owned()),
            DeviceSubject::Identity(id) => Self::Identity(id.as_str().to_owned()),
        }
    }
}

impl SubjectRow {
    fn into_model(self) -> Result<DeviceSubject, &'static str> {
        Ok(match self {
            Self::Registration(id) => DeviceSubject::Registration(
                RegistrationId::parse(&id).map_err(|_| "a registration ID that is none")?,
            ),
            Self::Identity(id) => DeviceSubject::Identity(device_id(&id)?),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlanRow {
    #[serde(default, skip_serializing_if = "is_false")]
    unchanged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enrollment: Option<EnrollmentRow>,
    #[serde(default, skip_serializing_if = "is_false")]
    individual: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    identities: Vec<IdentityRow>,
    sessions: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bans: Vec<String>,
    admitted: AdmittedRow,
    admitted_without_bans: AdmittedRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityRow {
    hub: String,
    device_id: String,
    #[serde(default, skip_serializing_if = "is_false")]
    remote: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum AdmittedRow {
    No,
    By(EnrollmentRow),
    Unknown,
}

impl From<&PlannedDevice> for PlanRow {
    fn from(plan: &PlannedDevice) -> Self {
        let identity = |identity: &PlannedIdentity| IdentityRow {
            hub: identity.hub.to_string(),
            device_id: identity.device_id.as_str().to_owned(),
            remote: identity.is_remote,
        };
        Self {
            unchanged: plan.is_unchanged,
            enrollment: plan.enrollment.as_ref().map(EnrollmentRow::from),
            individual: plan.has_individual,
            record: plan.record.map(|status| status.word().to_owned()),
            identities: plan.identities.iter().map(identity).collect(),
            sessions: plan.n_sessions,
            bans: plan.bans.clone(),
            admitted: AdmittedRow::from(&plan.admitted),
            admitted_without_bans: AdmittedRow::from(&plan.admitted_without_bans),
        }
    }
}

impl PlanRow {
    fn into_model(self) -> Result<PlannedDevice, &'static str> {
        let identity = |identity: IdentityRow| {
            Ok::<_, &'static str>(PlannedIdentity {
                hub: hub(&identity.hub)?,
                device_id: device_id(&identity.device_id)?,
                is_remote: identity.remote,
            })
        };
        Ok(PlannedDevice {
            is_unchanged: self.unchanged,
            enrollment: self.enrollment.map(EnrollmentRow::into_model).transpose()?,
            has_individual: self.individual,
            record: self.record.as_deref().map(word).transpose()?,
            identities: self.identities.into_iter().map(identity).collect::<Result<_, _>>()?,
            n_sessions: self.sessions,
            bans: self.bans,
            admitted: self.admitted.into_model()?,
            admitted_without_bans: self.admitted_without_bans.into_model()?,
        })
    }
}

impl From<&StillAdmitted> for AdmittedRow {
    fn from(admitted: &StillAdmitted) -> Self {
        match admitted {
            StillAdmitted::No => Self::No,
            StillAdmitted::By(enrollment) => Self::By(EnrollmentRow::from(enrollment)),
            StillAdmitted::Unknown => Self::Unknown,
        }
    }
}

impl AdmittedRow {
    fn into_model(self) -> Result<StillAdmitted, &'static str> {
        Ok(match self {
            Self::No => StillAdmitted::No,
            Self::By(enrollment) => StillAdmitted::By(enrollment.into_model()?),
            Self::Unknown => StillAdmitted::Unknown,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum PartRow {
    EnrollmentDisabled { etag: String },
    EnrollmentEnabled,
    EnrollmentDeleted,
    RecordDeleted,
    IdentityDisabled { hub: String, device_id: String, reason_before: Option<String> },
    IdentityEnabled { hub: String, device_id: String },
    IdentityDeleted { hub: String, device_id: String },
    BanSet { key: String, replaced: Option<Box<ReplacedRow>> },
    BanLifted { key: String },
    LeftAlone { what: String, why: String },
}

impl From<&Part> for PartRow {
    fn from(part: &Part) -> Self {
        let names = |hub: &HubName, id: &DeviceId| (hub.to_string(), id.as_str().to_owned());
        match part {
            Part::EnrollmentDisabled { etag } => {
                Self::EnrollmentDisabled { etag: etag.as_str().to_owned() }
            }
            Part::EnrollmentEnabled => Self::EnrollmentEnabled,
            Part::EnrollmentDeleted => Self::EnrollmentDeleted,
            Part::RecordDeleted => Self::RecordDeleted,
            Part::IdentityDisabled { hub, device_id, reason_before } => {
                let (hub, device_id) = names(hub, device_id);
                Self::IdentityDisabled { hub, device_id, reason_before: reason_before.clone() }
            }
            Part::IdentityEnabled { hub, device_id } => {
                let (hub, device_id) = names(hub, device_id);
                Self::IdentityEnabled { hub, device_id }
            }
            Part::IdentityDeleted { hub, device_id } => {
                let (hub, device_id) = names(hub, device_id);
                Self::IdentityDeleted { hub, device_id }
            }
            Part::BanSet { key, replaced } => Self::BanSet {
                key: key.clone(),
                replaced: replaced.as_deref().map(|ban| Box::new(ReplacedRow::from(ban))),
            },
            Part::BanLifted { key } => Self::BanLifted { key: key.clone() },
            Part::LeftAlone { what, why } => {
                Self::LeftAlone { what: what.clone(), why: why.clone() }
            }
        }
    }
}

impl PartRow {
    fn into_model(self) -> Result<Part, &'static str> {
        Ok(match self {
            Self::EnrollmentDisabled { etag } => {
                Part::EnrollmentDisabled { etag: Etag::from_stored(&etag) }
            }
            Self::EnrollmentEnabled => Part::EnrollmentEnabled,
            Self::EnrollmentDeleted => Part::EnrollmentDeleted,
            Self::RecordDeleted => Part::RecordDeleted,
            Self::IdentityDisabled { hub: name, device_id: id, reason_before } => {
                Part::IdentityDisabled {
                    hub: hub(&name)?,
                    device_id: device_id(&id)?,
                    reason_before,
                }
            }
            Self::IdentityEnabled { hub: name, device_id: id } => {
                Part::IdentityEnabled { hub: hub(&name)?, device_id: device_id(&id)? }
            }
            Self::IdentityDeleted { hub: name, device_id: id } => {
                Part::IdentityDeleted { hub: hub(&name)?, device_id: device_id(&id)? }
            }
            Self::BanSet { key, replaced } => Part::BanSet {
                key,
                replaced: replaced.map(|row| row.into_model().map(Box::new)).transpose()?,
            },
            Self::BanLifted { key } => Part::BanLifted { key },
            Self::LeftAlone { what, why } => Part::LeftAlone { what, why },
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplacedRow {
    kind: String,
    reason: Option<String>,
    by: CallerRow,
    created: i64,
    expires: Option<i64>,
    receipt: Option<String>,
}

impl From<&ReplacedBan> for ReplacedRow {
    fn from(ban: &ReplacedBan) -> Self {
        Self {
            kind: ban.kind.word().to_owned(),
            reason: ban.reason.clone(),
            by: CallerRow::from(&ban.by),
            created: ban.created.ticks(),
            expires: ban.expires.map(Timestamp::ticks),
            receipt: ban.receipt.as_ref().map(ReceiptId::to_string),
        }
    }
}

impl ReplacedRow {
    fn into_model(self) -> Result<ReplacedBan, &'static str> {
        Ok(ReplacedBan {
            kind: word::<BanKind>(&self.kind)?,
            reason: self.reason,
            by: self.by.into_model(),
            created: Timestamp::from_ticks(self.created),
            expires: self.expires.map(Timestamp::from_ticks),
            receipt: self.receipt.as_deref().map(receipt_id).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionsRow {
    n: u32,
    closed: ClosedRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ClosedRow {
    None,
    Waiting,
    After { micros: u64, at: i64 },
    NotYet,
    Unmeasured,
}

impl From<EndedSessions> for SessionsRow {
    fn from(sessions: EndedSessions) -> Self {
        let closed = match sessions.closed {
            Closed::None => ClosedRow::None,
            Closed::Waiting => ClosedRow::Waiting,
            Closed::After { micros, at } => ClosedRow::After { micros, at: at.ticks() },
            Closed::NotYet => ClosedRow::NotYet,
            Closed::Unmeasured => ClosedRow::Unmeasured,
        };
        Self { n: sessions.n, closed }
    }
}

impl SessionsRow {
    pub(super) const fn into_model(self) -> EndedSessions {
        let closed = match self.closed {
            ClosedRow::None => Closed::None,
            ClosedRow::Waiting => Closed::Waiting,
            ClosedRow::After { micros, at } => {
                Closed::After { micros, at: Timestamp::from_ticks(at) }
            }
            ClosedRow::NotYet => Closed::NotYet,
            ClosedRow::Unmeasured => Closed::Unmeasured,
        };
        EndedSessions { n: self.n, closed }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepRow {
    hub: String,
    device_id: String,
    task: String,
    state: StepStateRow,
    at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum StepStateRow {
    Pending { n_failures: u32, last_error: Option<String> },
    Done { changed: bool },
    Superseded,
    Failed(TroubleRow),
}

impl From<&RemoteStep> for StepRow {
    fn from(step: &RemoteStep) -> Self {
        let state = match &step.state {
            RemoteStepState::Pending { n_failures, last_error } => {
                StepStateRow::Pending { n_failures: *n_failures, last_error: last_error.clone() }
            }
            RemoteStepState::Done { changed } => StepStateRow::Done { changed: *changed },
            RemoteStepState::Superseded => StepStateRow::Superseded,
            RemoteStepState::Failed(trouble) => StepStateRow::Failed(TroubleRow::from(trouble)),
        };
        Self {
            hub: step.hub.to_string(),
            device_id: step.device_id.as_str().to_owned(),
            task: step.task.word().to_owned(),
            state,
            at: step.at.ticks(),
        }
    }
}

impl StepRow {
    fn into_model(self) -> Result<RemoteStep, &'static str> {
        let state = match self.state {
            StepStateRow::Pending { n_failures, last_error } => {
                RemoteStepState::Pending { n_failures, last_error }
            }
            StepStateRow::Done { changed } => RemoteStepState::Done { changed },
            StepStateRow::Superseded => RemoteStepState::Superseded,
            StepStateRow::Failed(trouble) => RemoteStepState::Failed(trouble.into_model()),
        };
        Ok(RemoteStep {
            hub: hub(&self.hub)?,
            device_id: device_id(&self.device_id)?,
            task: word(&self.task)?,
            state,
            at: Timestamp::from_ticks(self.at),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct TroubleRow {
    error: String,
    remedy: String,
}

impl From<&Trouble> for TroubleRow {
    fn from(trouble: &Trouble) -> Self {
        Self { error: trouble.error.clone(), remedy: trouble.remedy.clone() }
    }
}

impl TroubleRow {
    fn into_model(self) -> Trouble {
        Trouble { error: self.error, remedy: self.remedy }
    }
}

fn device_id(text: &str) -> Result<DeviceId, &'static str> {
    DeviceId::parse_stored(text).map_err(|_| "a device ID that is none")
}
