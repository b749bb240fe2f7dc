//! Device identities: create, update and delete one, under its precondition (H §2.4 to §2.6).
//! Module identities are the same with less: no status, no capabilities, no scopes (H §2.8).
//!
//! Keys and thumbprints are checked here; whether a key is base64 of 16 to 64 bytes was settled
//! when the draft's [`SymmetricKey`] was parsed.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AuthenticationDraft, AuthenticationKind, Device, DeviceAuthentication, DeviceId,
    DeviceIdentity, DeviceStatus, Expect, Fresh, HubName, HubRefusal, IdentityDraft, MAX_MODULES,
    Precondition, SymmetricKey, SymmetricKeys, Timestamp,
};

use super::twin;

/// The longest `statusReason`, in characters (H §2.4).
pub const MAX_STATUS_REASON_CHARS: usize = 128;

/// The longest `deviceScope`, element of `parentScopes`, and `managedBy`, in bytes. The vendor's own scopes,
/// `ms-azure-iot-edge://<id>-<ticks>`, stay below 180; no source names a limit.
pub const MAX_SCOPE_BYTES: usize = 256;

/// How many `parentScopes` there may be. No source names a limit.
pub const MAX_PARENT_SCOPES: usize = 16;

/// Moment 0 of .NET ticks, 0001-01-01T00:00:00Z, in ticks since the Unix epoch.
const YEAR_ONE: i64 = -621_355_968_000_000_000;

/// Decides a `PUT` of an identity: without a precondition it only creates, with one it only
/// updates, replacing everything (H §2.6).
///
/// The answer is the whole new device. Its twin is fresh after a creation and unchanged after an
/// update. An update without `authentication` mints new keys (H §2.5).
///
/// # Errors
/// [`HubRefusal::DeviceExists`], [`HubRefusal::DeviceNotFound`] (of a module
/// [`HubRefusal::ModuleExists`], [`HubRefusal::ModuleNotFound`]), [`HubRefusal::IdentityEtag`] by
/// the matrix of H §2.6; [`HubRefusal::ArgumentInvalid`] for a draft that breaks a rule. The
/// precondition is looked at first.
pub fn put(
    existing: Option<&Device>,
    draft: &IdentityDraft,
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Device, HubRefusal> {
    match (existing, precondition) {
        (None, Precondition::None) => {
            let identity = created(draft, now, fresh)?;
            Ok(Device { identity, twin: twin::fresh(None, None, now)? })
        }
        (None, Precondition::Any | Precondition::Tag(_)) => {
            Err(HubRefusal::not_found(&draft.device_id))
        }
        (Some(device), Precondition::None) => Err(HubRefusal::exists(&device.identity.device_id)),
        (Some(device), Precondition::Any | Precondition::Tag(_)) => {
            check_etag(&device.identity, precondition)?;
            let identity = updated(&device.identity, draft, now, fresh)?;
            Ok(Device { identity, twin: device.twin.clone() })
        }
    }
}

/// Decides a `DELETE` of an identity, which takes the twin with it.
///
/// # Errors
/// [`HubRefusal::DeviceNotFound`] whatever the precondition, [`HubRefusal::EtagMissing`] without
/// one, [`HubRefusal::IdentityEtag`] for a stale one (H §2.6).
pub fn delete(
    existing: Option<&Device>,
    id: &DeviceId,
    precondition: &Precondition,
) -> Result<(), HubRefusal> {
    let device = existing.ok_or_else(|| HubRefusal::not_found(id))?;
    check_etag(&device.identity, precondition)
}

/// Whether a module can be spoken of at all: its device has to be there. Of no matter to a device.
///
/// # Errors
/// [`HubRefusal::DeviceNotFound`] names the device.
pub fn check_parent(id: &DeviceId, parent: Option<&Device>) -> Result<(), HubRefusal> {
    match (id.parent(), parent) {
        (Some(device), None) => Err(HubRefusal::DeviceNotFound(device.to_string())),
        (None, _) | (Some(_), Some(_)) => Ok(()),
    }
}

/// Whether a device that has so many modules can have one more.
///
/// # Errors
/// [`HubRefusal::TooManyModules`]
pub fn check_room(id: &DeviceId, n_modules: usize) -> Result<(), HubRefusal> {
    if u32::try_from(n_modules).is_ok_and(|n| n < MAX_MODULES) {
        return Ok(());
    }
    Err(HubRefusal::TooManyModules { device: id.device().to_owned(), limit: MAX_MODULES })
}

/// What a write that adds a module demands: that its device has room for it. Nothing of others.
#[must_use]
pub fn room(hub: &HubName, existing: Option<&Device>, id: &DeviceId) -> Option<Expect> {
    let parent = id.parent().filter(|_| existing.is_none())?;
    Some(Expect::ModuleRoom(hub.clone(), parent, MAX_MODULES))
}

/// Decides how a device will log in from what the operator sent.
///
/// Nothing sent means `sas`. `sas` without keys gets two generated ones of 32 bytes. Keys beside
/// thumbprints, and thumbprints beside keys, are kept and do not count (H §2.10). `selfSigned`
/// without a thumbprint is accepted; the device just cannot log in (H §2.4).
///
/// # Errors
/// [`HubRefusal::ArgumentInvalid`] for one key without the other and for a thumbprint that is not
/// 40 or 64 hex digits.
pub fn authentication(
    draft: Option<&AuthenticationDraft>,
    fresh: &Fresh,
) -> Result<DeviceAuthentication, HubRefusal> {
    let Some(draft) = draft else {
        return Ok(DeviceAuthentication {
            kind: AuthenticationKind::Sas,
            keys: Some(generated_keys(fresh)),
            primary_thumbprint: None,
            secondary_thumbprint: None,
        });
    };
    for thumbprint in draft.primary_thumbprint.iter().chain(&draft.secondary_thumbprint) {
        check_thumbprint(thumbprint)?;
    }
    let has_thumbprint = draft.primary_thumbprint.is_some() || draft.secondary_thumbprint.is_some();
    let kind = draft.kind.unwrap_or(match has_thumbprint {
        true => AuthenticationKind::SelfSigned,
        false => AuthenticationKind::Sas,
    });
    let keys = match (&draft.primary_key, &draft.secondary_key) {
        (Some(primary), Some(secondary)) => {
            Some(SymmetricKeys { primary: primary.clone(), secondary: secondary.clone() })
        }
        (None, None) => match kind {
            AuthenticationKind::Sas => Some(generated_keys(fresh)),
            AuthenticationKind::SelfSigned | AuthenticationKind::CertificateAuthority => None,
        },
        (Some(_), None) | (None, Some(_)) => {
            return Err(invalid("Either no keys or both keys can be set"));
        }
    };
    Ok(DeviceAuthentication {
        kind,
        keys,
        primary_thumbprint: draft.primary_thumbprint.clone(),
        secondary_thumbprint: draft.secondary_thumbprint.clone(),
    })
}

/// A new identity from a draft.
pub(super) fn created(
    draft: &IdentityDraft,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<DeviceIdentity, HubRefusal> {
    check_draft(draft)?;
    let authentication = authentication(draft.authentication.as_ref(), fresh)?;
    if draft.device_id.module().is_some() {
        let managed_by = draft.managed_by.clone();
        return Ok(DeviceIdentity {
            managed_by,
            ..new(draft.device_id.clone(), authentication, now, fresh)
        });
    }
    Ok(DeviceIdentity {
        status: draft.status.unwrap_or(DeviceStatus::Enabled),
        status_reason: draft.status_reason.clone(),
        iot_edge: draft.iot_edge.unwrap_or(false),
        device_scope: draft.device_scope.clone(),
        parent_scopes: draft.parent_scopes.clone(),
        ..new(draft.device_id.clone(), authentication, now, fresh)
    })
}

/// An identity after a full replace by a draft.
pub(super) fn updated(
    old: &DeviceIdentity,
    draft: &IdentityDraft,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<DeviceIdentity, HubRefusal> {
    check_draft(draft)?;
    if old.device_id.module().is_some() {
        return Ok(DeviceIdentity {
            etag_counter: old.etag_counter.saturating_add(1),
            authentication: authentication(draft.authentication.as_ref(), fresh)?,
            managed_by: draft.managed_by.clone(),
            ..old.clone()
        });
    }
    let status = draft.status.unwrap_or(DeviceStatus::Enabled);
    Ok(DeviceIdentity {
        etag_counter: old.etag_counter.saturating_add(1),
        status,
        status_reason: draft.status_reason.clone(),
        status_updated: if status == old.status { old.status_updated } else { Some(now) },
        authentication: authentication(draft.authentication.as_ref(), fresh)?,
        iot_edge: draft.iot_edge.unwrap_or(false),
        device_scope: draft.device_scope.clone(),
        parent_scopes: draft.parent_scopes.clone(),
        ..old.clone()
    })
}

/// An enabled identity that was never written before.
pub(super) fn new(
    device_id: DeviceId,
    authentication: DeviceAuthentication,
    now: Timestamp,
    fresh: &Fresh,
) -> DeviceIdentity {
    DeviceIdentity {
        device_id,
        generation_id: now.ticks().saturating_sub(YEAR_ONE).to_string(),
        etag_counter: u64::from(fresh.counter),
        status: DeviceStatus::Enabled,
        status_reason: None,
        status_updated: None,
        connected: false,
        connection_state_updated: None,
        last_activity: None,
        cloud_to_device_messages: 0,
        authentication,
        iot_edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
        version: 0,
    }
}

/// Holds an existing identity against a precondition; none at all is refused.
pub(super) fn check_etag(
    identity: &DeviceIdentity,
    precondition: &Precondition,
) -> Result<(), HubRefusal> {
    match precondition {
        Precondition::None => Err(HubRefusal::EtagMissing),
        Precondition::Any => Ok(()),
        Precondition::Tag(tag) if *tag == identity.etag() => Ok(()),
        Precondition::Tag(tag) => Err(HubRefusal::IdentityEtag {
            existing: identity.etag_counter.to_string(),
            given: counter_in(tag),
        }),
    }
}

/// The counter inside an etag, as the recorded refusals show it; for a text that is none of our
/// etags, the text, cut to 64 characters.
fn counter_in(tag: &str) -> String {
    let digits = (tag.len() <= 64)
        .then(|| STANDARD.decode(tag).ok())
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    digits.unwrap_or_else(|| tag.chars().take(64).collect())
}

fn check_draft(draft: &IdentityDraft) -> Result<(), HubRefusal> {
    let reason_chars = draft.status_reason.as_ref().map_or(0, |reason| reason.chars().count());
    if reason_chars > MAX_STATUS_REASON_CHARS {
        return Err(invalid(format!(
            "statusReason has {reason_chars} characters, at most {MAX_STATUS_REASON_CHARS} are allowed"
        )));
    }
    if draft.parent_scopes.len() > MAX_PARENT_SCOPES {
        return Err(invalid(format!(
            "there are {} parentScopes, at most {MAX_PARENT_SCOPES} are allowed",
            draft.parent_scopes.len()
        )));
    }
    if let Some(manager) = draft.managed_by.as_ref().filter(|text| text.len() > MAX_SCOPE_BYTES) {
        return Err(invalid(format!(
            "managedBy has {} bytes, at most {MAX_SCOPE_BYTES} are allowed",
            manager.len()
        )));
    }
    match draft.device_scope.iter().chain(&draft.parent_scopes).find(|s| s.len() > MAX_SCOPE_BYTES)
    {
        Some(scope) => Err(invalid(format!(
            "a device scope has {} bytes, at most {MAX_SCOPE_BYTES} are allowed",
            scope.len()
        ))),
        None => Ok(()),
    }
}

/// SHA-1 or SHA-256 as hex without separators, in any letter case (H §2.4).
fn check_thumbprint(text: &str) -> Result<(), HubRefusal> {
    if matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(invalid(
            "StringIsNotThumbprint: a thumbprint is 40 (SHA-1) or 64 (SHA-256) hex digits without separators",
        ))
    }
}

/// Two keys of 32 bytes, the size the vendor's hub generates (H §2.4).
fn generated_keys(fresh: &Fresh) -> SymmetricKeys {
    let key = |random: &[u8; 64]| {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&random[..32]);
        SymmetricKey::derived(&bytes)
    };
    SymmetricKeys { primary: key(&fresh.primary_key), secondary: key(&fresh.secondary_key) }
}

fn invalid(text: impl Into<String>) -> HubRefusal {
    HubRefusal::ArgumentInvalid(text.into())
}

#[cfg(test)]
mod tests;
