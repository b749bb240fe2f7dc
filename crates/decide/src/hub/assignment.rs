//! What provisioning makes of a device on its hub (H §8, D §5.8, §5.9).
//!
//! Which hub that is, and whether the device leaves another one, was decided before.

use model::{
    Device, DeviceAuthentication, DeviceId, DeviceIdentity, Fresh, HubRefusal, Json, Timestamp,
    Twin,
};

use super::{identity, twin};

/// A device that was assigned to a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignee<'a> {
    /// Its name on the hub.
    pub device_id: &'a DeviceId,
    /// How it will log in, from this registration's evidence.
    pub authentication: DeviceAuthentication,
    /// `capabilities.iotEdge` of the enrollment, or of the old hub's identity in a migration.
    pub iot_edge: bool,
    /// The enrollment's `initialTwin`, as sent.
    pub initial_twin: Option<&'a Json>,
}

/// What becomes of the twin (D §5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwinRule<'a> {
    /// A twin that is there stays; where none is, the initial one begins.
    Keep,
    /// The initial twin overwrites tags and desired properties; reported ones are emptied.
    Reset,
    /// Tags and desired properties of this twin, the old hub's, take the place of the initial
    /// ones. Reported properties are not taken along: the device reports anew.
    Migrate(&'a Twin),
}

/// The device as it stands on the target hub after the assignment.
///
/// A device that is there keeps its generation, its status and the reason for it: what an
/// operator disabled in the hub stays disabled. Its authentication and `iotEdge` are refreshed,
/// and its etag moves only if one of them changed. A new device is enabled.
///
/// # Errors
/// [`HubRefusal::ArgumentInvalid`] for an initial twin beyond the limits of H §3.4. Members of it
/// that are missing, `null` or of another type than an object are ignored.
pub fn device(
    existing: Option<&Device>,
    assignee: &Assignee<'_>,
    rule: TwinRule<'_>,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Device, HubRefusal> {
    let initial = || initial_sections(assignee.initial_twin);
    let Some(device) = existing else {
        let (tags, desired) = match rule {
            TwinRule::Keep | TwinRule::Reset => initial(),
            TwinRule::Migrate(old) => (Some(&old.tags), Some(&old.desired.content)),
        };
        let twin = twin::fresh(tags, desired, now)?;
        let identity = DeviceIdentity {
            iot_edge: assignee.iot_edge,
            ..identity::new(assignee.device_id.clone(), assignee.authentication.clone(), now, fresh)
        };
        return Ok(Device { identity, twin });
    };
    let overwritten = |(tags, desired)| {
        let twin = twin::overwritten(&device.twin, tags, desired, now)?;
        Ok(twin::without_reported(twin, now))
    };
    let twin = match rule {
        TwinRule::Keep => device.twin.clone(),
        TwinRule::Reset => overwritten(initial())?,
        TwinRule::Migrate(old) => overwritten((Some(&old.tags), Some(&old.desired.content)))?,
    };
    Ok(Device { identity: refreshed(&device.identity, assignee), twin })
}

fn refreshed(old: &DeviceIdentity, assignee: &Assignee<'_>) -> DeviceIdentity {
    let unchanged =
        old.authentication == assignee.authentication && old.iot_edge == assignee.iot_edge;
    if unchanged {
        return old.clone();
    }
    DeviceIdentity {
        etag_counter: old.etag_counter.saturating_add(1),
        authentication: assignee.authentication.clone(),
        iot_edge: assignee.iot_edge,
        ..old.clone()
    }
}

/// `tags` and `properties.desired` of an `initialTwin`, as far as they are objects. The vendor's
/// own tools send `null`s and members of their own beside them (O §1.14, D §5.11).
pub(crate) fn initial_sections(initial: Option<&Json>) -> (Option<&Json>, Option<&Json>) {
    let object = |value: &&Json| value.as_object().is_some();
    let tags = initial.and_then(|twin| twin.get("tags")).filter(object);
    let desired = initial
        .and_then(|twin| twin.get("properties"))
        .and_then(|properties| properties.get("desired"))
        .filter(object);
    (tags, desired)
}

#[cfg(test)]
mod tests;
