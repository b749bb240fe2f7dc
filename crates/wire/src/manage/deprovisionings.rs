//! Deprovisionings: what an operator asks for, the plan that answers it, and the receipt that the
//! plan becomes.

mod device;
mod receipt;

use json::Limits;
use model::{
    EnrollmentGroupId, EnrollmentRef, HubName, Intent, ItemState, Json, OperatorRefusal, ReceiptId,
    RecordCondition, RegistrationId, RegistrationStatus, SelectedCertificate, Selection, Timestamp,
    TwinCondition,
    ban::Thumbprint,
    deprovision::MAX_LISTED_IDS,
    query::{Select, Source},
};

use super::members;
use crate::{
    continuation::BadContinuation,
    hub::query,
    pem,
    read::{Malformed, Members},
    time,
};

pub use device::deprovisioned_device;
pub use receipt::deprovisioning;

/// The longest body of a `POST`, in bytes: as many registration IDs as a plan may list, each as
/// long as one may be, and some room.
pub const MAX_DEPROVISIONING_BYTES: usize = MAX_LISTED_IDS * 132 + 64 * 1024;

/// How much is read of a body.
const LIMITS: Limits = Limits::DEFAULT.with_max_bytes(MAX_DEPROVISIONING_BYTES);

/// The members of a selection.
const SELECTION: [&str; 8] =
    ["registrationIds", "group", "hub", "thumbprint", "certificate", "records", "twins", "receipt"];

/// The members of a condition on records.
const RECORDS: [&str; 8] = [
    "status",
    "hub",
    "group",
    "enrollment",
    "updatedSince",
    "updatedBefore",
    "olderThanSecs",
    "orphaned",
];

const INTENTS: &[(&str, Intent)] = &[
    ("suspend", Intent::Suspend),
    ("retire", Intent::Retire),
    ("revoke", Intent::Revoke),
    ("reinstate", Intent::Reinstate),
];

const STATUSES: &[(&str, RegistrationStatus)] = &[
    ("assigning", RegistrationStatus::Assigning),
    ("assigned", RegistrationStatus::Assigned),
    ("failed", RegistrationStatus::Failed),
    ("disabled", RegistrationStatus::Disabled),
];

const ITEM_STATES: &[(&str, ItemState)] = &[
    ("pending", ItemState::Pending),
    ("unchanged", ItemState::Unchanged),
    ("done", ItemState::Done),
    ("failed", ItemState::Failed),
];

/// A deprovisioning as an operator asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprovisioningBody {
    /// Which devices; but for `certificate`.
    pub select: Selection,
    /// The certificate of the selection, DER, where the operator sent it: who can read it says
    /// whether it is a CA's.
    pub certificate: Option<Vec<u8>>,
    /// What is to become of them.
    pub intent: Intent,
    /// Why.
    pub reason: Option<String>,
}

/// Parses the body of a `POST`. Ages in it count back from `now`.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_deprovisioning(
    body: &[u8],
    now: Timestamp,
) -> Result<DeprovisioningBody, OperatorRefusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(OperatorRefusal::BadRequest("the request has no body".to_owned()));
    }
    let parsed = LIMITS.parse(body);
    let body = parsed.map_err(|bad| OperatorRefusal::BadRequest(bad.to_string()))?;
    let body = members(&body, "", &["select", "intent", "reason"])?;
    let select = body.value("select").ok_or_else(|| body.missing("select"))?;
    let (select, certificate) = selection(&members(select, "select", &SELECTION)?, now)?;
    let intent = body.word("intent", INTENTS)?.ok_or_else(|| body.missing("intent"))?;
    let reason = body.string("reason")?.map(str::to_owned);
    Ok(DeprovisioningBody { select, certificate, intent, reason })
}

/// Where the devices of a receipt stand that are wanted.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the words there are.
pub fn parse_item_state(text: &str) -> Result<ItemState, OperatorRefusal> {
    match ITEM_STATES.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        Some((_, state)) => Ok(*state),
        None => {
            let known: Vec<_> = ITEM_STATES.iter().map(|(word, _)| *word).collect();
            let text = format!("state: expected one of {}", known.join(", "));
            Err(OperatorRefusal::BadRequest(text))
        }
    }
}

/// The device's number that a continuation token of a receipt's devices holds; the token is of
/// this receipt alone.
///
/// # Errors
/// [`BadContinuation`]
pub fn device_number(receipt: &ReceiptId, key: &str) -> Result<u64, BadContinuation> {
    let (of, number) = key.split_once('/').ok_or(BadContinuation)?;
    match number.parse() {
        Ok(number) if of == receipt.as_str() => Ok(number),
        Ok(_) | Err(_) => Err(BadContinuation),
    }
}

/// What a continuation token of a receipt's devices holds.
#[must_use]
pub fn device_key(receipt: &ReceiptId, number: u64) -> String {
    format!("{receipt}/{number}")
}

/// The selection, and the certificate that stands in it as a file.
fn selection(
    select: &Members<'_>,
    now: Timestamp,
) -> Result<(Selection, Option<Vec<u8>>), Malformed> {
    let certificate = match select.string("certificate")? {
        None => None,
        Some(text) => {
            let bad = |bad: pem::BadCertificateText| select.wrong("certificate", bad.to_string());
            Some(pem::certificate(text).map_err(bad)?)
        }
    };
    let thumbprint = match select.string("thumbprint")? {
        None => None,
        Some(_) if certificate.is_some() => {
            return Err(select.wrong("thumbprint", "goes not with certificate; send one of them"));
        }
        Some(text) => Some(match Thumbprint::parse(text) {
            Some(Thumbprint::Sha256(sha256)) => SelectedCertificate::Sha256 { sha256, tbs: None },
            Some(Thumbprint::Sha1(sha1)) => SelectedCertificate::Sha1 { sha1, tbs: None },
            None => return Err(select.wrong("thumbprint", "expected 40 or 64 hex digits")),
        }),
    };
    let records = match select.value("records") {
        None => None,
        Some(value) => {
            let records = members(value, select.path("records"), &RECORDS)?;
            let condition = record_condition(&records, now)?;
            if condition == RecordCondition::default() {
                // It would hold of every device there is, which nobody means by leaving all out.
                let expected = format!("expected at least one of {}", RECORDS.join(", "));
                return Err(select.wrong("records", expected));
            }
            Some(condition)
        }
    };
    let twins = match select.value("twins") {
        None => None,
        Some(value) => Some(twin_condition(&members(value, select.path("twins"), &["query"])?)?),
    };
    let selection = Selection {
        registration_ids: registration_ids(select)?,
        group: parsed(select, "group", EnrollmentGroupId::parse)?,
        hub: parsed(select, "hub", HubName::parse)?,
        certificate: thumbprint,
        records,
        twins,
        receipt: parsed(select, "receipt", ReceiptId::parse)?,
    };
    // As an empty condition on records: nobody means every device by leaving out who is meant.
    let is_every_one = selection.twins.as_ref().is_some_and(|twins| twins.filter.is_none());
    if is_every_one
        && certificate.is_none()
        && (Selection { twins: None, ..selection.clone() }) == Selection::default()
    {
        let what = "has no WHERE, so that it selects every device there is; say which ones are \
                    meant, or select by a hub as well";
        return Err(Malformed::new(format!("{}.query", select.path("twins")), what));
    }
    Ok((selection, certificate))
}

fn registration_ids(select: &Members<'_>) -> Result<Option<Vec<RegistrationId>>, Malformed> {
    let Some(texts) = select.strings("registrationIds")? else { return Ok(None) };
    let ids = texts.iter().enumerate().map(|(i, text)| {
        RegistrationId::parse(text).map_err(|bad| {
            Malformed::new(format!("{}[{i}]", select.path("registrationIds")), bad.to_string())
        })
    });
    ids.collect::<Result<_, _>>().map(Some)
}

fn record_condition(records: &Members<'_>, now: Timestamp) -> Result<RecordCondition, Malformed> {
    let group = parsed(records, "group", EnrollmentGroupId::parse)?.map(EnrollmentRef::Group);
    let individual = parsed(records, "enrollment", RegistrationId::parse)?;
    let enrollment = match (group, individual.map(EnrollmentRef::Individual)) {
        (Some(_), Some(_)) => {
            return Err(records.wrong("enrollment", "goes not with group; send one of them"));
        }
        (group, individual) => group.or(individual),
    };
    let before = moment(records, "updatedBefore")?;
    let updated_before = match (older_than(records)?, before) {
        (Some(_), Some(_)) => {
            let what = "goes not with updatedBefore; send one of them";
            return Err(records.wrong("olderThanSecs", what));
        }
        (Some(secs), None) => Some(now.plus_secs(-secs)),
        (None, before) => before,
    };
    Ok(RecordCondition {
        status: records.word("status", STATUSES)?,
        hub: parsed(records, "hub", HubName::parse)?,
        enrollment,
        updated_since: moment(records, "updatedSince")?,
        updated_before,
        orphaned: records.bool("orphaned")?.unwrap_or(false),
    })
}

fn older_than(records: &Members<'_>) -> Result<Option<i64>, Malformed> {
    let secs = match records.value("olderThanSecs") {
        None => return Ok(None),
        Some(Json::Number(digits)) => digits.parse::<i64>().ok().filter(|secs| *secs >= 0),
        Some(_) => None,
    };
    let wrong = || records.wrong("olderThanSecs", "expected a whole number of seconds from 0");
    secs.ok_or_else(wrong).map(Some)
}

fn twin_condition(twins: &Members<'_>) -> Result<TwinCondition, Malformed> {
    let text = twins.required_string("query")?;
    let query = query::parse(text).map_err(|bad| twins.wrong("query", bad.to_string()))?;
    let wrong = |what: &str| Err(twins.wrong("query", what));
    match (query.from, query.select, query.top) {
        (Source::Modules, ..) => wrong("expected FROM devices: modules go with their device"),
        (_, Select::Count { .. }, _) => wrong("expected SELECT *: a count selects nobody"),
        (.., Some(_)) => {
            wrong("TOP is not for selecting devices; say by WHERE which ones are meant")
        }
        (Source::Devices, Select::All | Select::Columns(_), None) => {
            Ok(TwinCondition { text: text.to_owned(), filter: query.filter })
        }
    }
}

fn parsed<T, E: ToString>(
    members: &Members<'_>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Malformed> {
    let Some(text) = members.string(name)? else { return Ok(None) };
    parse(text).map(Some).map_err(|bad| members.wrong(name, bad.to_string()))
}

fn moment(members: &Members<'_>, name: &str) -> Result<Option<Timestamp>, Malformed> {
    parsed(members, name, time::parse)
}

/// The word of an intent.
const fn intent_word(intent: Intent) -> &'static str {
    match intent {
        Intent::Suspend => "suspend",
        Intent::Retire => "retire",
        Intent::Revoke => "revoke",
        Intent::Reinstate => "reinstate",
    }
}
