//! A device and its own twin (H §3.5).

use decide::hub::twin;
use model::{Change, ChangeSet, Device, Expect, HubRefusal, Json, Twin};

use super::{DeviceSession, SessionNo};
use crate::{Attempt, MAX_ATTEMPTS};

impl DeviceSession {
    /// The device's twin.
    ///
    /// # Errors
    /// [`SessionNo`].
    pub async fn twin(&self) -> Result<Twin, SessionNo> {
        Ok(self.device().await?.twin)
    }

    /// Merges a patch into the reported properties; the answer is their `$version` after it.
    /// `expected_version` demands the one before.
    ///
    /// # Errors
    /// [`SessionNo`]; [`HubRefusal::TwinEtag`] when the demanded version is not the current one.
    pub async fn report(
        &self,
        patch: &Json,
        expected_version: Option<u64>,
    ) -> Result<u64, SessionNo> {
        let (hub, id) = (self.hub(), self.device_id());
        for _ in 0..MAX_ATTEMPTS {
            self.check_over()?;
            let twin = self.device().await?.twin;
            if expected_version.is_some_and(|version| version != twin.reported.version_number) {
                return Err(SessionNo::Refused(HubRefusal::TwinEtag(id.to_string())));
            }
            let now = self.app.clock.now();
            let written = twin::patch_reported(&twin, patch, now).map_err(SessionNo::Refused)?;
            let version = written.reported.version_number;
            let set = ChangeSet::new()
                .expecting(Expect::Twin(hub.clone(), id.clone(), twin.version))
                .with(Change::PutTwin(hub.clone(), id.clone(), Box::new(written)));
            if let Attempt::Done = self.try_write(set, now).await? {
                return Ok(version);
            }
        }
        Err(SessionNo::Refused(HubRefusal::Conflict(id.to_string())))
    }

    /// The device as it stands, if the session still holds with it.
    pub(super) async fn device(&self) -> Result<Device, SessionNo> {
        let device = self.look_up().await?;
        self.check_over()?;
        device.ok_or_else(|| SessionNo::Refused(HubRefusal::not_found(self.device_id())))
    }
}
