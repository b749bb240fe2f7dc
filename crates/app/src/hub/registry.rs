//! Device identities.

use decide::{
    hub::{
        bulk::{self, BulkAction, BulkError},
        identity, twin,
    },
    manage::audit_view,
};
use model::{
    BulkDevice, Caller, Change, ChangeSet, Device, DeviceCounts, DeviceId, Expect, HubName,
    HubRefusal, IdentityDraft, Precondition,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed, put_action},
};

impl App {
    /// Creates a device identity with a fresh twin, or with a precondition replaces it (H §2.6).
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn put_identity(
        &self,
        hub: &HubName,
        draft: &IdentityDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Device, No<HubRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_device(hub, &draft.device_id).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let device = identity::put(existing.as_ref(), draft, precondition, now, &fresh)
                .map_err(No::Refused)?;
            let deed = put_deed(hub, existing.as_ref(), &device);
            let changes =
                put_changes(hub, existing.as_ref(), &device).with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(device);
            }
        }
        Err(No::Refused(HubRefusal::Conflict(draft.device_id.to_string())))
    }

    /// A device: identity and twin.
    ///
    /// # Errors
    /// [`HubRefusal::DeviceNotFound`], or a fault.
    pub async fn get_device(&self, hub: &HubName, id: &DeviceId) -> Result<Device, No<HubRefusal>> {
        self.store
            .find_device(hub, id)
            .await?
            .ok_or_else(|| No::Refused(HubRefusal::DeviceNotFound(id.to_string())))
    }

    /// Deletes a device, its twin with it.
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn delete_device(
        &self,
        hub: &HubName,
        id: &DeviceId,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<HubRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_device(hub, id).await?;
            identity::delete(existing.as_ref(), id, precondition).map_err(No::Refused)?;
            let deed = delete_deed(hub, existing.as_ref(), id);
            let changes = delete_changes(hub, existing.as_ref(), id).with(audit::line(
                by,
                self.clock.now(),
                deed,
            ));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Err(No::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// The first devices of a hub, at most `top` (H §2.5; no paging on this call).
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_devices(
        &self,
        hub: &HubName,
        top: usize,
    ) -> Result<Vec<Device>, No<HubRefusal>> {
        Ok(self.store.list_devices(hub, None, top).await?.items)
    }

    /// How many devices a hub has.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn device_counts(&self, hub: &HubName) -> Result<DeviceCounts, No<HubRefusal>> {
        Ok(self.store.device_counts(hub).await?)
    }

    /// Works a bulk call off, element by element (H §2.7). Returns what was refused, with the
    /// element's place.
    ///
    /// # Errors
    /// [`HubRefusal`] when the call as a whole is refused, or a fault; elements before a fault
    /// stay applied.
    pub async fn bulk_devices(
        &self,
        hub: &HubName,
        elements: &[BulkDevice],
        by: &Caller,
    ) -> Result<Vec<(usize, BulkError)>, No<HubRefusal>> {
        bulk::check_batch(elements).map_err(No::Refused)?;
        let mut refused = Vec::new();
        for (place, element) in elements.iter().enumerate() {
            if let Err(error) = self.bulk_element(hub, element, by).await? {
                refused.push((place, error));
            }
        }
        Ok(refused)
    }

    async fn bulk_element(
        &self,
        hub: &HubName,
        element: &BulkDevice,
        by: &Caller,
    ) -> Result<Result<(), BulkError>, No<HubRefusal>> {
        let id = &element.identity.device_id;
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_device(hub, id).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let action = match bulk::decide(existing.as_ref(), element, now, &fresh) {
                Ok(action) => action,
                Err(error) => return Ok(Err(error)),
            };
            let mut told = None;
            let (changes, deed) = match action {
                BulkAction::Put(device) => {
                    let deed = put_deed(hub, existing.as_ref(), &device);
                    (put_changes(hub, existing.as_ref(), &device), deed)
                }
                BulkAction::Delete => {
                    let deed = delete_deed(hub, existing.as_ref(), id);
                    (delete_changes(hub, existing.as_ref(), id), deed)
                }
                BulkAction::UpdateTwin(twin) => {
                    let before = existing.as_ref().map(|device| &device.twin);
                    told = before
                        .and_then(|before| twin::notification(before, &element.twin, &twin))
                        .map(|patch| (patch, twin.clone()));
                    let version = existing.as_ref().map_or(0, |device| device.twin.version);
                    let deed = Deed {
                        action: "twin.update",
                        target: target(hub, id),
                        before: existing.as_ref().map(|old| audit_view::twin(&old.twin)),
                        after: Some(audit_view::twin(&twin)),
                        etag: Some(twin.etag_counter.to_string()),
                    };
                    let changes = ChangeSet::new()
                        .expecting(Expect::Twin(hub.clone(), id.clone(), version))
                        .with(Change::PutTwin(hub.clone(), id.clone(), twin));
                    (changes, deed)
                }
            };
            let changes = changes.with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                if let Some((patch, twin)) = told {
                    self.tell_desired(hub, id, Some(patch), &twin);
                }
                return Ok(Ok(()));
            }
        }
        Err(No::Refused(HubRefusal::Conflict(id.to_string())))
    }
}

fn put_changes(hub: &HubName, existing: Option<&Device>, device: &Device) -> ChangeSet {
    let id = &device.identity.device_id;
    let identity = existing.map_or(0, |device| device.identity.version);
    let set = ChangeSet::new().expecting(Expect::Identity(hub.clone(), id.clone(), identity));
    match existing {
        Some(existing) if existing.twin == device.twin => {
            set.with(Change::PutIdentity(hub.clone(), Box::new(device.identity.clone())))
        }
        _ => {
            let twin = existing.map_or(0, |device| device.twin.version);
            set.expecting(Expect::Twin(hub.clone(), id.clone(), twin))
                .with(Change::PutDevice(hub.clone(), Box::new(device.clone())))
        }
    }
}

fn delete_changes(hub: &HubName, existing: Option<&Device>, id: &DeviceId) -> ChangeSet {
    let version = existing.map_or(0, |device| device.identity.version);
    ChangeSet::new()
        .expecting(Expect::Identity(hub.clone(), id.clone(), version))
        .with(Change::DeleteDevice(hub.clone(), id.clone()))
}

fn target(hub: &HubName, id: &DeviceId) -> String {
    format!("hubs/{hub}/devices/{id}")
}

fn put_deed(hub: &HubName, existing: Option<&Device>, device: &Device) -> Deed {
    let keys = |device: &Device| device.identity.authentication.keys.clone();
    let changed = existing.is_some_and(|old| keys(old) != keys(device));
    let after = audit_view::device(device);
    Deed {
        action: put_action(existing.is_some(), "device.create", "device.update"),
        target: target(hub, &device.identity.device_id),
        before: existing.map(audit_view::device),
        after: Some(if changed { audit_view::note_new_keys(after) } else { after }),
        etag: Some(device.identity.etag_counter.to_string()),
    }
}

fn delete_deed(hub: &HubName, existing: Option<&Device>, id: &DeviceId) -> Deed {
    Deed {
        action: "device.delete",
        target: target(hub, id),
        before: existing.map(audit_view::device),
        ..Deed::default()
    }
}
