//! The rows of attempts.

mod steps;

use std::{net::IpAddr, sync::Arc};

use model::{
    ApiVersion, Attempt, AttemptAsked, AttemptFilter, AttemptOutcome, AttemptRepeat, AttemptShown,
    DeviceId, Door, EnrollmentGroupId, EnrollmentRef, Failure, HubName, RegistrationId,
    StoredAttempt,
};
use rusqlite::{Result, ToSql};
use serde::{Deserialize, Serialize};

use self::steps::{RefusalDocument, StepDocument};
use crate::{
    codec::{Binder, Columns, Db, words},
    rows::record::OwnerKind,
};

macro_rules! columns {
    () => {
        "number, tracking_id, last_tracking_id, first, last, n, door, address, asked, kind, \
         leaf_sha256, leaf_sha1, endorsement_key, outcome, enrollment_kind, enrollment_id, steps, \
         known"
    };
}

/// The number is one more than the last one's, which stays where two are kept: the latest of each
/// kind does.
const APPEND: &str = concat!(
    "INSERT INTO attempts (device, ",
    columns!(),
    ", place) VALUES (?1, (SELECT COALESCE(MAX(number), 0) + 1 FROM attempts), ?2, ?3, ?4, ?5, \
     ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
     (SELECT COALESCE(MAX(place), 0) + 1 FROM attempts WHERE known = ?18))"
);

/// The latest attempt of the tracking ID `?1` was repeated.
pub(crate) const REPEAT: &str = "UPDATE attempts SET n = n + ?2, last = MAX(last, ?3), last_tracking_id = ?4 \
     WHERE number = (SELECT MAX(number) FROM attempts WHERE tracking_id = ?1)";

/// Deletes those of known devices (`?1`), or of others, up to the place `?2`.
pub(crate) const TRIM: &str = "DELETE FROM attempts WHERE known = ?1 AND place <= ?2";

/// Reads the first place, and the last one, of those of known devices (`?1`), or of others.
pub(crate) const FIRST: &str = "SELECT MIN(place) FROM attempts WHERE known = ?1";
pub(crate) const LAST: &str = "SELECT MAX(place) FROM attempts WHERE known = ?1";

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE number < ?1 AND ",
            $condition,
            " ORDER BY number DESC LIMIT ?2"
        )
    };
}

words!(Door {
    Door::Https => "https",
    Door::Mqtt => "mqtt",
    Door::Amqp => "amqp",
});

/// What was asked.
#[derive(Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum AskedDocument {
    Register { registration_id: String, api_version: Option<String> },
    Connect { hub: String, device_id: String },
}

/// What became of it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum OutcomeDocument {
    Assigned { hub: String, device_id: String },
    Assigning { hub: String, device_id: String },
    Disabled,
    Failed { code: i32, message: String },
    Challenged,
    Refused { refusal: RefusalDocument },
    NotConnected { name: String, reason: String },
    Fault,
}

/// Appends attempts, counts repetitions, and deletes the oldest until there are `keep` attempts: of
/// strangers first, as long as they have more than their half.
pub(crate) fn append(
    db: Db<'_>,
    attempts: &[Attempt],
    repeats: &[AttemptRepeat],
    keep: u64,
) -> Result<()> {
    for attempt in attempts {
        append_one(db, attempt)?;
    }
    for AttemptRepeat { tracking_id, n, last, last_tracking_id } in repeats {
        let n = i64::try_from(*n).unwrap_or(i64::MAX);
        let values = (&**tracking_id, n, last.ticks(), &**last_tracking_id);
        db.prepare_cached(REPEAT)?.execute(values)?;
    }
    trim(db, i64::try_from(keep).unwrap_or(i64::MAX))
}

fn trim(db: Db<'_>, keep: i64) -> Result<()> {
    let (known, strange) = (Places::of(db, true)?, Places::of(db, false)?);
    let keep_strange = strange.len().min(keep - known.len().min(keep / 2));
    let keep_known = known.len().min(keep - keep_strange);
    for (is_known, places, keep) in [(false, strange, keep_strange), (true, known, keep_known)] {
        if keep < places.len() {
            db.prepare_cached(TRIM)?.execute((is_known, places.last - keep))?;
        }
    }
    Ok(())
}

/// The places of one of the two kinds: there is no gap between them.
#[derive(Clone, Copy)]
struct Places {
    first: i64,
    last: i64,
}

impl Places {
    fn of(db: Db<'_>, is_known: bool) -> Result<Self> {
        let end = |sql: &str| {
            db.prepare_cached(sql)?.query_row([is_known], |row| row.get::<_, Option<i64>>(0))
        };
        // None is from 1 to 0.
        Ok(Self { first: end(FIRST)?.unwrap_or(1), last: end(LAST)?.unwrap_or(0) })
    }

    const fn len(self) -> i64 {
        self.last - self.first + 1
    }
}

fn append_one(db: Db<'_>, attempt: &Attempt) -> Result<()> {
    let (enrollment_kind, enrollment_id) = match &attempt.enrollment {
        None => (None, None),
        Some(EnrollmentRef::Individual(id)) => (Some(OwnerKind::Individual), Some(id.as_str())),
        Some(EnrollmentRef::Group(id)) => (Some(OwnerKind::Group), Some(id.as_str())),
    };
    let steps: Vec<StepDocument> = attempt.steps.iter().map(StepDocument::of).collect();
    let mut statement = db.prepare_cached(APPEND)?;
    let mut binder = Binder::new(db, &mut statement);
    binder.put(attempt.asked.device_key())?;
    binder.put(&*attempt.tracking_id)?;
    binder.put(attempt.last_tracking_id.as_deref())?;
    binder.time(attempt.first)?;
    binder.time(attempt.last)?;
    binder.unsigned(attempt.n)?;
    binder.word(attempt.door)?;
    binder.put(attempt.address.to_string())?;
    binder.document(&asked_document(&attempt.asked))?;
    binder.put(attempt.shown.kind.map(crate::codec::Word::word))?;
    binder.put(attempt.shown.leaf_sha256)?;
    binder.put(attempt.shown.leaf_sha1)?;
    binder.put(attempt.shown.endorsement_key)?;
    binder.document(&outcome_document(&attempt.outcome))?;
    binder.put(enrollment_kind.map(crate::codec::Word::word))?;
    binder.put(enrollment_id)?;
    binder.document(&steps)?;
    binder.put(attempt.is_known)?;
    binder.run()?;
    Ok(())
}

/// The query of a filter, with what it compares to; `?1` is the number to read below, `?2` how many.
pub(crate) fn query(filter: &AttemptFilter) -> (&'static str, Option<Box<dyn ToSql>>) {
    match filter {
        AttemptFilter::All => (select!("true"), None),
        AttemptFilter::TrackingId(id) => {
            (select!("(tracking_id = ?3 OR last_tracking_id = ?3)"), Some(Box::new(id.clone())))
        }
        AttemptFilter::Device(id) => {
            (select!("device = ?3"), Some(Box::new(id.to_ascii_lowercase())))
        }
        AttemptFilter::Sha256(hash) => (select!("leaf_sha256 = ?3"), Some(Box::new(*hash))),
        AttemptFilter::Sha1(hash) => (select!("leaf_sha1 = ?3"), Some(Box::new(*hash))),
        AttemptFilter::EndorsementKey(hash) => {
            (select!("endorsement_key = ?3"), Some(Box::new(*hash)))
        }
    }
}

/// Reads a row.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<StoredAttempt> {
    let number = columns.unsigned()?;
    let tracking_id = columns.text(shared)?;
    let last_tracking_id = columns.optional_text(shared)?;
    let (first, last, n) = (columns.time()?, columns.time()?, columns.unsigned()?);
    let (door, address) = (columns.word()?, columns.text(str::parse::<IpAddr>)?);
    let asked = read_asked(columns.document()?).map_err(|why| columns.unreadable(why))?;
    let shown = AttemptShown {
        kind: columns.optional_word()?,
        leaf_sha256: columns.take()?,
        leaf_sha1: columns.take()?,
        endorsement_key: columns.take()?,
    };
    let outcome = read_outcome(columns.document()?).map_err(|why| columns.unreadable(why))?;
    let (kind, id): (Option<OwnerKind>, Option<String>) =
        (columns.optional_word()?, columns.take()?);
    let enrollment = read_enrollment(kind, id).map_err(|why| columns.unreadable(why))?;
    let steps: Vec<StepDocument> = columns.document()?;
    let steps = steps.into_iter().map(StepDocument::read).collect::<Result<_, _>>();
    let steps = steps.map_err(|why| columns.unreadable(why))?;
    let is_known = columns.take()?;
    let attempt = Attempt {
        tracking_id,
        last_tracking_id,
        first,
        last,
        n,
        door,
        address,
        asked,
        shown,
        outcome,
        enrollment,
        steps,
        is_known,
    };
    Ok(StoredAttempt { number, attempt })
}

fn shared(text: &str) -> Result<Arc<str>, String> {
    Ok(Arc::from(text))
}

fn asked_document(asked: &AttemptAsked) -> AskedDocument {
    match asked {
        AttemptAsked::Register { registration_id, api_version } => AskedDocument::Register {
            registration_id: registration_id.as_str().to_owned(),
            api_version: api_version.map(|version| version_text(version).to_owned()),
        },
        AttemptAsked::Connect { hub, device_id } => AskedDocument::Connect {
            hub: hub.to_string(),
            device_id: device_id.as_str().to_owned(),
        },
    }
}

fn version_text(version: ApiVersion) -> &'static str {
    let known = ApiVersion::ALL.iter().find(|(known, _)| *known == version);
    known.map_or("", |(_, text)| text)
}

const BAD_ASKED: &str = "a request that this release does not know";
const BAD_OUTCOME: &str = "an outcome that this release does not know";

fn read_asked(document: AskedDocument) -> Result<AttemptAsked, &'static str> {
    Ok(match document {
        AskedDocument::Register { registration_id, api_version } => AttemptAsked::Register {
            registration_id: RegistrationId::parse(&registration_id).map_err(|_| BAD_ASKED)?,
            api_version: match api_version {
                Some(text) => Some(ApiVersion::find(&text).ok_or(BAD_ASKED)?),
                None => None,
            },
        },
        AskedDocument::Connect { hub, device_id } => AttemptAsked::Connect {
            hub: HubName::parse(&hub).map_err(|_| BAD_ASKED)?,
            device_id: DeviceId::parse_stored(&device_id).map_err(|_| BAD_ASKED)?,
        },
    })
}

fn outcome_document(outcome: &AttemptOutcome) -> OutcomeDocument {
    match outcome {
        AttemptOutcome::Assigned { hub, device_id } => OutcomeDocument::Assigned {
            hub: hub.to_string(),
            device_id: device_id.as_str().to_owned(),
        },
        AttemptOutcome::Assigning { hub, device_id } => OutcomeDocument::Assigning {
            hub: hub.to_string(),
            device_id: device_id.as_str().to_owned(),
        },
        AttemptOutcome::Disabled => OutcomeDocument::Disabled,
        AttemptOutcome::Failed(Failure { code, message }) => {
            OutcomeDocument::Failed { code: *code, message: message.clone() }
        }
        AttemptOutcome::Challenged => OutcomeDocument::Challenged,
        AttemptOutcome::Refused(refusal) => {
            OutcomeDocument::Refused { refusal: RefusalDocument::of(refusal) }
        }
        AttemptOutcome::NotConnected { name, reason } => {
            OutcomeDocument::NotConnected { name: name.clone(), reason: reason.clone() }
        }
        AttemptOutcome::Fault => OutcomeDocument::Fault,
    }
}

fn read_outcome(document: OutcomeDocument) -> Result<AttemptOutcome, &'static str> {
    let place = |hub: String, device_id: String| {
        let hub = HubName::parse(&hub).map_err(|_| BAD_OUTCOME)?;
        DeviceId::parse_stored(&device_id).map(|id| (hub, id)).map_err(|_| BAD_OUTCOME)
    };
    Ok(match document {
        OutcomeDocument::Assigned { hub, device_id } => {
            let (hub, device_id) = place(hub, device_id)?;
            AttemptOutcome::Assigned { hub, device_id }
        }
        OutcomeDocument::Assigning { hub, device_id } => {
            let (hub, device_id) = place(hub, device_id)?;
            AttemptOutcome::Assigning { hub, device_id }
        }
        OutcomeDocument::Disabled => AttemptOutcome::Disabled,
        OutcomeDocument::Failed { code, message } => {
            AttemptOutcome::Failed(Failure { code, message })
        }
        OutcomeDocument::Challenged => AttemptOutcome::Challenged,
        OutcomeDocument::Refused { refusal } => AttemptOutcome::Refused(refusal.read()?),
        OutcomeDocument::NotConnected { name, reason } => {
            AttemptOutcome::NotConnected { name, reason }
        }
        OutcomeDocument::Fault => AttemptOutcome::Fault,
    })
}

fn read_enrollment(
    kind: Option<OwnerKind>,
    id: Option<String>,
) -> Result<Option<EnrollmentRef>, &'static str> {
    let (Some(kind), Some(id)) = (kind, id) else { return Ok(None) };
    let bad = "an enrollment's name that is none";
    match kind {
        OwnerKind::Individual => RegistrationId::parse(&id).map(EnrollmentRef::Individual),
        OwnerKind::Group => EnrollmentGroupId::parse(&id).map(EnrollmentRef::Group),
    }
    .map(Some)
    .map_err(|_| bad)
}
