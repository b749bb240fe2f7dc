//! Twins, from the operator's side.

use std::sync::Arc;

use decide::{hub::twin, manage::audit_view};
use model::{
    Caller, Change, ChangeSet, Device, DeviceId, Expect, HubName, HubRefusal, Json, Precondition,
    Twin, TwinDraft,
};

use super::registry::target;
use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed},
    live::{Command, Desired},
};

/// How a twin is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TwinWrite {
    /// Merge into what is there (`PATCH`).
    Merge,
    /// Replace tags and desired properties (`PUT`).
    Replace,
}

impl App {
    /// A device or a module, for its twin.
    ///
    /// # Errors
    /// [`HubRefusal::DeviceNotFound`], also of a module: that is what the service we are compatible
    /// with says of a module's twin that is not there (H §3.1). Or a fault.
    pub async fn get_twin(&self, hub: &HubName, id: &DeviceId) -> Result<Device, No<HubRefusal>> {
        let found = self.store.find_device(hub, id).await?;
        found.ok_or_else(|| No::Refused(HubRefusal::DeviceNotFound(id.device().to_owned())))
    }

    /// Merges a patch into a twin (H §3.3).
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn patch_twin(
        &self,
        hub: &HubName,
        id: &DeviceId,
        draft: &TwinDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Device, No<HubRefusal>> {
        self.write_twin(TwinWrite::Merge, hub, id, draft, precondition, by).await
    }

    /// Replaces tags and desired properties of a twin (H §3.3).
    ///
    /// # Errors
    /// [`HubRefusal`], or a fault.
    pub async fn replace_twin(
        &self,
        hub: &HubName,
        id: &DeviceId,
        draft: &TwinDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Device, No<HubRefusal>> {
        self.write_twin(TwinWrite::Replace, hub, id, draft, precondition, by).await
    }

    async fn write_twin(
        &self,
        write: TwinWrite,
        hub: &HubName,
        id: &DeviceId,
        draft: &TwinDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Device, No<HubRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let device = self.get_twin(hub, id).await?;
            let now = self.clock.now();
            let written: Twin = match write {
                TwinWrite::Merge => twin::patch(&device, draft, precondition, now),
                TwinWrite::Replace => twin::replace(&device, draft, precondition, now),
            }
            .map_err(No::Refused)?;
            if written == device.twin {
                return Ok(device);
            }
            let deed = Deed {
                action: match write {
                    TwinWrite::Merge => "twin.update",
                    TwinWrite::Replace => "twin.replace",
                },
                target: target(hub, id),
                before: Some(audit_view::twin(&device.twin)),
                after: Some(audit_view::twin(&written)),
                etag: Some(written.etag_counter.to_string()),
            };
            let changes = ChangeSet::new()
                .expecting(Expect::Twin(hub.clone(), id.clone(), device.twin.version))
                .with(Change::PutTwin(hub.clone(), id.clone(), Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                self.tell_desired(
                    hub,
                    id,
                    twin::notification(&device.twin, draft, &written),
                    &written,
                );
                return Ok(Device { identity: device.identity, twin: written });
            }
        }
        Err(No::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// Tells a connected device of a write to its desired properties.
    pub(super) fn tell_desired(
        &self,
        hub: &HubName,
        id: &DeviceId,
        patch: Option<Json>,
        written: &Twin,
    ) {
        if let Some(patch) = patch
            && let Some(seat) = self.live.find(hub, id)
        {
            let version = written.desired.version_number;
            seat.tell(Command::Desired(Desired { version, patch: Arc::new(patch) }));
        }
    }
}
