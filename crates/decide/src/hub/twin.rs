//! Twins: how one starts, and what a patch or a replacement makes of it (H §3).
//!
//! Notifications to connected devices, and how a twin looks on the wire, live elsewhere. The
//! merge itself is in `section`, the limits are in `limits`.

use model::{Device, HubRefusal, Json, Precondition, Timestamp, Twin, TwinDraft, TwinSection};

mod limits;
mod section;

pub use limits::{
    MAX_DEPTH, MAX_INTEGER, MAX_KEY_BYTES, MAX_NUMBER_BYTES, MAX_PROPERTIES_BYTES,
    MAX_STRING_BYTES, MAX_TAGS_BYTES, MIN_INTEGER, check_section,
};
use section::{Stamp, as_sent, cleaned, merged, stamped};

const TAGS: &str = "tags";
const DESIRED: &str = "properties.desired";
const REPORTED: &str = "properties.reported";

/// The twin of a device that was just created, with the content it starts with, if any. `null`
/// is as good as absent.
///
/// Etag counter 1, version 2, both `$version` 1 either way (H §3.1). Without desired content the
/// metadata carries the moment of creation; with content every node of it carries the never-set
/// moment and version 1, as recorded (H §2.7).
///
/// # Errors
/// [`HubRefusal::Format`] for a section that is not an object, [`HubRefusal::ArgumentInvalid`]
/// for one that breaks a limit of H §3.4.
pub fn fresh(
    initial_tags: Option<&Json>,
    initial_desired: Option<&Json>,
    now: Timestamp,
) -> Result<Twin, HubRefusal> {
    let tags = whole(TAGS, initial_tags, MAX_TAGS_BYTES)?;
    let desired = whole(DESIRED, initial_desired, MAX_PROPERTIES_BYTES)?;
    let plain = Stamp { at: Some(now), version: None };
    let stamp = match desired.is_empty_object() {
        true => plain,
        false => Stamp { at: None, version: Some(1) },
    };
    Ok(Twin {
        tags,
        desired: TwinSection {
            metadata: stamped(&desired, None, Some(&desired), stamp),
            content: desired,
            version_number: 1,
        },
        reported: TwinSection {
            metadata: stamped(&Json::empty_object(), None, Some(&Json::empty_object()), plain),
            content: Json::empty_object(),
            version_number: 1,
        },
        etag_counter: 1,
        version_number: 2,
        version: 0,
    })
}

/// Decides a `PATCH`: each section sent is merged into what is there, member by member; `null`
/// deletes, `{}` stays, arrays replace whole, a whole section that is `null` is emptied, keys
/// beginning with `$` are ignored (H §3.3).
///
/// Every write moves the counters, even one that changes no value. A draft without sections is
/// no write: the twin comes back as it was.
///
/// # Errors
/// [`HubRefusal::TwinEtag`] when the precondition does not hold; [`HubRefusal::Format`] and
/// [`HubRefusal::ArgumentInvalid`] as in [`fresh`].
pub fn patch(
    existing: &Device,
    draft: &TwinDraft,
    precondition: &Precondition,
    now: Timestamp,
) -> Result<Twin, HubRefusal> {
    check_etag(existing, precondition)?;
    let mut twin = existing.twin.clone();
    if draft.tags.is_none() && draft.desired.is_none() {
        return Ok(twin);
    }
    if let Some(tags) = &draft.tags {
        twin.tags = patched(TAGS, &twin.tags, tags, MAX_TAGS_BYTES)?;
    }
    if let Some(desired) = &draft.desired {
        let content = patched(DESIRED, &twin.desired.content, desired, MAX_PROPERTIES_BYTES)?;
        write_desired(&mut twin, content, desired, now);
    }
    count_write(&mut twin);
    Ok(twin)
}

/// Decides a `PUT`: tags and desired properties become exactly what was sent, and empty where
/// nothing was; reported properties stay (H §3.3).
///
/// # Errors
/// As [`patch`].
pub fn replace(
    existing: &Device,
    draft: &TwinDraft,
    precondition: &Precondition,
    now: Timestamp,
) -> Result<Twin, HubRefusal> {
    check_etag(existing, precondition)?;
    overwritten(&existing.twin, draft.tags.as_ref(), draft.desired.as_ref(), now)
}

/// What a connected device is told of an operator's write: the patch as sent, nulls included, or
/// after a replacement the whole section; without what the write ignored (H §3.5). `None` when
/// desired properties were not written.
#[must_use]
pub fn notification(before: &Twin, draft: &TwinDraft, after: &Twin) -> Option<Json> {
    if before.desired.version_number == after.desired.version_number {
        return None;
    }
    Some(match &draft.desired {
        // The section was emptied: each of its members is gone.
        Some(Json::Null) => {
            let members = before.desired.content.as_object().unwrap_or_default();
            Json::Object(members.iter().map(|(name, _)| (name.clone(), Json::Null)).collect())
        }
        Some(patch) => as_sent(patch),
        None => after.desired.content.clone(),
    })
}

/// What a device's own patch makes of its reported properties. The etag stays: it counts what
/// operators write (H §3.1). Whether a `$version` the device demanded is the current one is the
/// door's question.
///
/// # Errors
/// [`HubRefusal::Format`] for a patch that is not an object, [`HubRefusal::ArgumentInvalid`] for
/// one that breaks a limit of H §3.4.
pub fn patch_reported(twin: &Twin, patch: &Json, now: Timestamp) -> Result<Twin, HubRefusal> {
    if *patch == Json::Null {
        return Err(limits::not_an_object(REPORTED));
    }
    let content = patched(REPORTED, &twin.reported.content, patch, MAX_PROPERTIES_BYTES)?;
    let mut twin = twin.clone();
    let stamp = Stamp { at: Some(now), version: None };
    write(&mut twin.reported, content, patch, stamp);
    twin.version_number = twin.version_number.saturating_add(1);
    Ok(twin)
}

/// A twin whose tags and desired properties are exactly these; absent and `null` mean empty.
pub(super) fn overwritten(
    twin: &Twin,
    tags: Option<&Json>,
    desired: Option<&Json>,
    now: Timestamp,
) -> Result<Twin, HubRefusal> {
    let mut twin = twin.clone();
    twin.tags = whole(TAGS, tags, MAX_TAGS_BYTES)?;
    let content = whole(DESIRED, desired, MAX_PROPERTIES_BYTES)?;
    let sent = content.clone();
    write_desired(&mut twin, content, &sent, now);
    count_write(&mut twin);
    Ok(twin)
}

/// A twin whose reported properties were emptied; part of a write that counts already.
pub(super) fn without_reported(mut twin: Twin, now: Timestamp) -> Twin {
    let stamp = Stamp { at: Some(now), version: None };
    write(&mut twin.reported, Json::empty_object(), &Json::Null, stamp);
    twin
}

/// Both `*` and no precondition are met by any twin.
fn check_etag(existing: &Device, precondition: &Precondition) -> Result<(), HubRefusal> {
    match precondition {
        Precondition::None | Precondition::Any => Ok(()),
        Precondition::Tag(tag) if *tag == existing.twin.etag() => Ok(()),
        Precondition::Tag(_) => Err(HubRefusal::TwinEtag(existing.identity.device_id.to_string())),
    }
}

/// A section's whole new content.
fn whole(name: &str, value: Option<&Json>, max_bytes: usize) -> Result<Json, HubRefusal> {
    match value {
        None | Some(Json::Null) => Ok(Json::empty_object()),
        Some(value) => {
            check_section(name, value, max_bytes)?;
            Ok(cleaned(value))
        }
    }
}

/// A section's content after a patch. The patch is held to the limits before the merge, so that
/// the merge meets nothing deep or endless; what comes of it is held to the size.
fn patched(name: &str, content: &Json, patch: &Json, max_bytes: usize) -> Result<Json, HubRefusal> {
    if *patch == Json::Null {
        return Ok(Json::empty_object());
    }
    check_section(name, patch, max_bytes)?;
    let content = merged(content, patch);
    limits::check_size(name, &content, max_bytes)?;
    Ok(content)
}

fn write_desired(twin: &mut Twin, content: Json, patch: &Json, now: Timestamp) {
    let version = twin.desired.version_number.saturating_add(1);
    let stamp = Stamp { at: Some(now), version: Some(version) };
    write(&mut twin.desired, content, patch, stamp);
}

fn write(section: &mut TwinSection, content: Json, patch: &Json, stamp: Stamp) {
    section.metadata = stamped(&content, Some(&section.metadata), Some(patch), stamp);
    section.content = content;
    section.version_number = section.version_number.saturating_add(1);
}

fn count_write(twin: &mut Twin) {
    twin.etag_counter = twin.etag_counter.saturating_add(1);
    twin.version_number = twin.version_number.saturating_add(1);
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
