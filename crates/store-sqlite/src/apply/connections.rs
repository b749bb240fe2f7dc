//! Connecting and disconnecting, with the counts that follow.

use model::{ConnectionNumber, DeviceId, HubName, Timestamp};
use rusqlite::Result;

use super::{Failure, Writing, is_there};
use crate::rows::{connection, device::Counted};

impl Writing<'_> {
    pub(super) fn connect(
        &mut self,
        hub: &HubName,
        id: &DeviceId,
        connection: ConnectionNumber,
        at: Timestamp,
    ) -> Result<(), Failure> {
        let old = Counted::find(self.db, hub, id)?;
        is_there(connection::connect(self.db, hub, id, connection, at)?)?;
        let new = old.map(|old| Counted { connected: true, ..old });
        self.effect.tally.count_device(hub, id, old, new);
        Ok(())
    }

    pub(super) fn disconnect(
        &mut self,
        hub: &HubName,
        id: &DeviceId,
        connection: ConnectionNumber,
        at: Timestamp,
    ) -> Result<()> {
        if connection::disconnect(self.db, hub, id, connection, at)? && id.module().is_none() {
            self.effect.tally.count_disconnected(hub, 1);
        }
        Ok(())
    }

    pub(super) fn disconnect_all(&mut self, at: Timestamp) -> Result<()> {
        for (hub, n_connected) in connection::disconnect_all(self.db, at)? {
            self.effect.tally.count_disconnected(&hub, n_connected);
        }
        Ok(())
    }
}
