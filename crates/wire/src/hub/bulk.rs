//! Bulk calls on a registry (H §2.7).

use model::{BulkDevice, HubRefusal, ImportMode, Json};

use super::{
    identity::{read_identity, read_module},
    parse_body,
    twin::read_twin,
};
use crate::{
    read::{Malformed, Members, type_name},
    write::Object,
};

/// How many elements we read at most. Beyond the legal number, so that the refusal of too many
/// can say how many there were.
const MAX_ELEMENTS: usize = 10_000;

const MODES: &[(&str, ImportMode)] = &[
    ("create", ImportMode::Create),
    ("update", ImportMode::Update),
    ("updateIfMatchETag", ImportMode::UpdateIfMatchEtag),
    ("delete", ImportMode::Delete),
    ("deleteIfMatchETag", ImportMode::DeleteIfMatchEtag),
    ("createOrUpdate", ImportMode::CreateOrUpdate),
    ("createOrUpdateIfMatchETag", ImportMode::CreateOrUpdateIfMatchEtag),
    ("updateTwin", ImportMode::UpdateTwin),
    ("updateTwinIfMatchETag", ImportMode::UpdateTwinIfMatchEtag),
];

/// An element that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkFailure {
    /// Which device.
    pub device_id: String,
    /// Which module of it, when it is about one.
    pub module_id: Option<String>,
    /// `errorCode`, by name (H §2.7).
    pub code: String,
    /// `errorStatus`, for people.
    pub status: String,
    /// What was to be done.
    pub mode: ImportMode,
}

/// Parses a bulk call: a bare array. An element without `importMode` is `createOrUpdate`. How many
/// there may be, and that none comes twice, is `decide`'s to check.
///
/// An element that cannot be read refuses the whole call before anything is applied.
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_bulk(body: &[u8]) -> Result<Vec<BulkDevice>, HubRefusal> {
    let body = parse_body(body)?;
    let Json::Array(elements) = &body else {
        let found = type_name(&body);
        return Err(Malformed::new("", format!("expected an array, found {found}")).into());
    };
    if elements.len() > MAX_ELEMENTS {
        return Err(HubRefusal::TooManyDevices(elements.len()));
    }
    elements.iter().enumerate().map(|(i, element)| read_element(i, element)).collect()
}

fn read_element(i: usize, element: &Json) -> Result<BulkDevice, HubRefusal> {
    let element = Members::of(element, format!("[{i}]"))?;
    let identity = match element.text("moduleId")? {
        None => read_identity(&element, "id")?,
        Some(_) => read_module(&element, "id")?,
    };
    Ok(BulkDevice {
        mode: element.word("importMode", MODES)?.unwrap_or(ImportMode::CreateOrUpdate),
        identity,
        // `azure-iothub` of npm spells it `etag` (conformance/README.md).
        etag: element.text("eTag")?.or(element.text("etag")?).map(str::to_owned),
        twin_etag: element.text("twinETag")?.map(str::to_owned),
        twin: read_twin(&element)?,
    })
}

/// The answer to a bulk call. Its HTTP status is 200 without failures; with any it is 400 and
/// carries [`super::BULK_FAILURE`] in both error headers (H §2.3).
#[must_use]
pub fn bulk_answer(failures: &[BulkFailure]) -> Json {
    let error = |failure: &BulkFailure| {
        Object::new()
            .with("deviceId", failure.device_id.as_str())
            .with_some("moduleId", failure.module_id.as_deref())
            .with("errorCode", failure.code.as_str())
            .with("errorStatus", failure.status.as_str())
            .with("operation", mode_name(failure.mode))
            .build()
    };
    Object::new()
        .with("isSuccessful", failures.is_empty())
        .with("errors", Json::Array(failures.iter().map(error).collect()))
        .with("warnings", Json::Array(Vec::new()))
        .build()
}

/// A mode's word on the wire.
#[must_use]
pub const fn mode_name(mode: ImportMode) -> &'static str {
    match mode {
        ImportMode::Create => "create",
        ImportMode::Update => "update",
        ImportMode::UpdateIfMatchEtag => "updateIfMatchETag",
        ImportMode::Delete => "delete",
        ImportMode::DeleteIfMatchEtag => "deleteIfMatchETag",
        ImportMode::CreateOrUpdate => "createOrUpdate",
        ImportMode::CreateOrUpdateIfMatchEtag => "createOrUpdateIfMatchETag",
        ImportMode::UpdateTwin => "updateTwin",
        ImportMode::UpdateTwinIfMatchEtag => "updateTwinIfMatchETag",
    }
}
