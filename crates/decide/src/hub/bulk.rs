//! Bulk registry calls: what each element of `POST /devices` does (H §2.7).
//!
//! Elements are decided one by one; that one fails says nothing about the others.

use std::collections::HashSet;

use model::{BulkDevice, Device, Fresh, HubRefusal, ImportMode, Precondition, Timestamp, Twin};
use thiserror::Error;

use super::{identity, twin};

/// How many devices one call may hold (H §2.7, 413002).
pub const MAX_DEVICES: usize = 100;

/// What to write for one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkAction {
    /// Insert or replace identity and twin.
    Put(Box<Device>),
    /// Delete identity and twin.
    Delete,
    /// Replace the twin; the identity stays.
    UpdateTwin(Box<Twin>),
}

/// Why one element was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {status}")]
pub struct BulkError {
    /// `errorCode`, by name; only names that the vendor's C# client knows (H §2.7).
    pub code: &'static str,
    /// `errorStatus`, for people.
    pub status: String,
}

/// Decides one element.
///
/// A creation starts the twin with the element's content. An update replaces the identity whole
/// (without `authentication` it mints new keys, H §6) and merges the twin content sent, if any;
/// the two `updateTwin` modes do only the latter. The `IfMatch` modes demand an etag: the
/// identity's `eTag`, or `twinETag` for the twin. Elsewhere etags are ignored, as recorded.
///
/// # Errors
/// [`BulkError`] by the table of H §2.7, and for content that breaks a rule.
pub fn decide(
    existing: Option<&Device>,
    element: &BulkDevice,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<BulkAction, BulkError> {
    act(existing, element, now, fresh).map_err(BulkError::from)
}

/// Checks what holds for the call as a whole.
///
/// # Errors
/// [`HubRefusal::TooManyDevices`], or [`HubRefusal::DeviceDefinedMultipleTimes`] naming the first
/// device that comes again.
pub fn check_batch(elements: &[BulkDevice]) -> Result<(), HubRefusal> {
    if elements.len() > MAX_DEVICES {
        return Err(HubRefusal::TooManyDevices(elements.len()));
    }
    let mut seen = HashSet::new();
    match elements.iter().find(|element| !seen.insert(&element.identity.device_id)) {
        Some(again) => {
            Err(HubRefusal::DeviceDefinedMultipleTimes(again.identity.device_id.to_string()))
        }
        None => Ok(()),
    }
}

fn act(
    existing: Option<&Device>,
    element: &BulkDevice,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<BulkAction, HubRefusal> {
    use ImportMode as Mode;
    match (element.mode, existing) {
        (Mode::Create | Mode::CreateOrUpdate | Mode::CreateOrUpdateIfMatchEtag, None) => {
            let identity = identity::created(&element.identity, now, fresh)?;
            let (tags, desired) = (element.twin.tags.as_ref(), element.twin.desired.as_ref());
            let twin = twin::fresh(tags, desired, now)?;
            Ok(BulkAction::Put(Box::new(Device { identity, twin })))
        }
        (Mode::Create, Some(device)) => Err(HubRefusal::exists(&device.identity.device_id)),
        (Mode::Update | Mode::CreateOrUpdate, Some(device)) => update(device, element, now, fresh),
        (Mode::UpdateIfMatchEtag | Mode::CreateOrUpdateIfMatchEtag, Some(device)) => {
            identity::check_etag(&device.identity, &precondition(element.etag.as_deref()))?;
            update(device, element, now, fresh)
        }
        (Mode::Delete, Some(_)) => Ok(BulkAction::Delete),
        (Mode::DeleteIfMatchEtag, Some(device)) => {
            identity::check_etag(&device.identity, &precondition(element.etag.as_deref()))?;
            Ok(BulkAction::Delete)
        }
        (Mode::UpdateTwin, Some(device)) => {
            let twin = twin::patch(device, &element.twin, &Precondition::None, now)?;
            Ok(BulkAction::UpdateTwin(Box::new(twin)))
        }
        (Mode::UpdateTwinIfMatchEtag, Some(device)) => {
            let demanded = precondition(element.twin_etag.as_deref());
            if demanded == Precondition::None {
                return Err(HubRefusal::TwinEtag(device.identity.device_id.to_string()));
            }
            let twin = twin::patch(device, &element.twin, &demanded, now)?;
            Ok(BulkAction::UpdateTwin(Box::new(twin)))
        }
        (
            Mode::Update
            | Mode::UpdateIfMatchEtag
            | Mode::Delete
            | Mode::DeleteIfMatchEtag
            | Mode::UpdateTwin
            | Mode::UpdateTwinIfMatchEtag,
            None,
        ) => Err(HubRefusal::not_found(&element.identity.device_id)),
    }
}

fn update(
    device: &Device,
    element: &BulkDevice,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<BulkAction, HubRefusal> {
    let identity = identity::updated(&device.identity, &element.identity, now, fresh)?;
    let twin = twin::patch(device, &element.twin, &Precondition::None, now)?;
    Ok(BulkAction::Put(Box::new(Device { identity, twin })))
}

/// An etag inside a body means what it means in `If-Match` (H §2.6).
fn precondition(etag: Option<&str>) -> Precondition {
    let text = etag.unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    match bare {
        "" => Precondition::None,
        "*" => Precondition::Any,
        tag => Precondition::Tag(tag.to_owned()),
    }
}

impl From<HubRefusal> for BulkError {
    fn from(refusal: HubRefusal) -> Self {
        let code = refusal.name();
        Self { code, status: refusal.to_string() }
    }
}

#[cfg(test)]
mod tests;
