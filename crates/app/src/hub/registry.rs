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
    /// Creates a device or module identity with a fresh twin, or with a precondition replaces it
    /// (H §2.6, §2.8).
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
            let room = self.room(hub, existing.as_ref(), &draft.device_id).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let device = identity::put(existing.as_ref(), draft, precondition, now, &fresh)
                .map_err(No::Refused)?;
            let deed = put_deed(hub, existing.as_ref(), &device);
            let changes =
                put_changes(hub, existing.as_ref(), &device, room).with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(device);
            }
        }
        Err(No::Refused(HubRefusal::Conflict(draft.device_id.to_string())))
    }

    /// A device or a module: identity and twin.
    ///
    /// # Errors
    /// [`HubRefusal::DeviceNotFound`], [`HubRefusal::ModuleNotFound`], or a fault.
    pub async fn get_device(&self, hub: &HubName, id: &DeviceId) -> Result<Device, No<HubRefusal>> {
        match self.store.find_device(hub, id).await? {
            Some(device) => Ok(device),
            None => {
                self.check_parent(hub, id).await?;
                Err(No::Refused(HubRefusal::not_found(id)))
            }
        }
    }

    /// The modules of a device, by ID: the vendor's limit leaves no need for pages.
    ///
    /// # Errors
    /// [`HubRefusal::DeviceNotFound`], or a fault.
    pub async fn list_modules(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Vec<Device>, No<HubRefusal>> {
        let modules = self.store.list_modules(hub, id).await?;
        if modules.is_empty() {
            self.get_device(hub, id).await?;
        }
        Ok(modules)
    }

    /// Refuses a module whose device is not there.
    async fn check_parent(&self, hub: &HubName, id: &DeviceId) -> Result<(), No<HubRefusal>> {
        let Some(parent) = id.parent() else { return Ok(()) };
        let parent = self.store.find_device(hub, &parent).await?;
        identity::check_parent(id, parent.as_ref()).map_err(No::Refused)
    }

    /// What a write demands that may add a module. Refuses one that adds too many.
    async fn room(
        &self,
        hub: &HubName,
        existing: Option<&Device>,
        id: &DeviceId,
    ) -> Result<Option<Expect>, No<HubRefusal>> {
        let room = identity::room(hub, existing, id);
        if room.is_some() {
            self.check_parent(hub, id).await?;
            let n_modules = self.store.list_modules(hub, id).await?.len();
            identity::check_room(id, n_modules).map_err(No::Refused)?;
        }
        Ok(room)
    }

    /// Deletes a device, its twin and its modules with it; or a module.
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
            if existing.is_none() {
                self.check_parent(hub, id).await?;
            }
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
            if existing.is_none()
                && let Err(no) = self.check_parent(hub, id).await
            {
                return one_refused(no);
            }
            let (now, fresh) = (self.clock.now(), self.fresh());
            let action = match bulk::decide(existing.as_ref(), element, now, &fresh) {
                Ok(action) => action,
                Err(error) => return Ok(Err(error)),
            };
            let mut told = None;
            let (changes, deed) = match action {
                BulkAction::Put(device) => {
                    let room = match self.room(hub, existing.as_ref(), id).await {
                        Ok(room) => room,
                        Err(no) => return one_refused(no),
                    };
                    let deed = put_deed(hub, existing.as_ref(), &device);
                    (put_changes(hub, existing.as_ref(), &device, room), deed)
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

/// What refuses one element of a bulk call leaves the others alone.
fn one_refused(no: No<HubRefusal>) -> Result<Result<(), BulkError>, No<HubRefusal>> {
    match no {
        No::Refused(refusal) => Ok(Err(refusal.into())),
        No::Fault(_) => Err(no),
    }
}

fn put_changes(
    hub: &HubName,
    existing: Option<&Device>,
    device: &Device,
    room: Option<Expect>,
) -> ChangeSet {
    let id = &device.identity.device_id;
    let identity = existing.map_or(0, |device| device.identity.version);
    let mut set = ChangeSet::new().expecting(Expect::Identity(hub.clone(), id.clone(), identity));
    set.expects.extend(room);
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

/// What the audit log calls a device or a module.
pub(super) fn target(hub: &HubName, id: &DeviceId) -> String {
    match id.module() {
        None => format!("hubs/{hub}/devices/{id}"),
        Some(module) => format!("hubs/{hub}/devices/{}/modules/{module}", id.device()),
    }
}

fn put_deed(hub: &HubName, existing: Option<&Device>, device: &Device) -> Deed {
    let keys = |device: &Device| device.identity.authentication.keys.clone();
    let changed = existing.is_some_and(|old| keys(old) != keys(device));
    let after = audit_view::device(device);
    Deed {
        action: match device.identity.device_id.module() {
            None => put_action(existing.is_some(), "device.create", "device.update"),
            Some(_) => put_action(existing.is_some(), "module.create", "module.update"),
        },
        target: target(hub, &device.identity.device_id),
        before: existing.map(audit_view::device),
        after: Some(if changed { audit_view::note_new_keys(after) } else { after }),
        etag: Some(device.identity.etag_counter.to_string()),
    }
}

fn delete_deed(hub: &HubName, existing: Option<&Device>, id: &DeviceId) -> Deed {
    Deed {
        action: if id.module().is_none() { "device.delete" } else { "module.delete" },
        target: target(hub, id),
        before: existing.map(audit_view::device),
        ..Deed::default()
    }
}
