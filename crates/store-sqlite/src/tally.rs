//! Counters kept beside the rows they count, so that reading them costs nothing.

use std::collections::BTreeMap;

use model::{AttestationKind, DeviceId, HubName};
use rusqlite::{Connection, Result};

use crate::rows::device::Counted;

/// How the counters change by one or several change sets.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) individual_enrollments: i64,
    pub(crate) x509_groups: i64,
    pub(crate) symmetric_key_groups: i64,
    pub(crate) registrations: i64,
    pub(crate) orphaned_registrations: i64,
    pub(crate) bans: i64,
    devices: BTreeMap<HubName, DeviceTally>,
}

#[derive(Debug, Default)]
struct DeviceTally {
    total: i64,
    disabled: i64,
    connected: i64,
}

impl Tally {
    /// Counts a group of a kind in (`1`) or out (`-1`).
    pub(crate) const fn count_group(&mut self, kind: AttestationKind, by: i64) {
        match kind {
            // A group of TPMs has certificates as well.
            AttestationKind::X509 | AttestationKind::Tpm => self.x509_groups += by,
            AttestationKind::SymmetricKey => self.symmetric_key_groups += by,
        }
    }

    /// Counts a device that was one thing and is another; `None` where there is none. Modules are
    /// not counted.
    pub(crate) fn count_device(
        &mut self,
        hub: &HubName,
        id: &DeviceId,
        old: Option<Counted>,
        new: Option<Counted>,
    ) {
        if old == new || id.module().is_some() {
            return;
        }
        let device = self.devices.entry(hub.clone()).or_default();
        for (counted, by) in [(old, -1), (new, 1)] {
            if let Some(counted) = counted {
                device.total += by;
                device.disabled += if counted.disabled { by } else { 0 };
                device.connected += if counted.connected { by } else { 0 };
            }
        }
    }

    /// Counts devices of a hub that are no longer connected.
    pub(crate) fn count_disconnected(&mut self, hub: &HubName, n_devices: i64) {
        self.devices.entry(hub.clone()).or_default().connected -= n_devices;
    }

    /// Adds what another change set changed.
    pub(crate) fn add(&mut self, other: Self) {
        self.individual_enrollments += other.individual_enrollments;
        self.x509_groups += other.x509_groups;
        self.symmetric_key_groups += other.symmetric_key_groups;
        self.registrations += other.registrations;
        self.orphaned_registrations += other.orphaned_registrations;
        self.bans += other.bans;
        for (hub, device) in other.devices {
            let sum = self.devices.entry(hub).or_default();
            sum.total += device.total;
            sum.disabled += device.disabled;
            sum.connected += device.connected;
        }
    }

    /// Writes the changed counters.
    pub(crate) fn write(&self, connection: &Connection) -> Result<()> {
        let changes = [
            ("individual_enrollments", self.individual_enrollments),
            ("x509_groups", self.x509_groups),
            ("symmetric_key_groups", self.symmetric_key_groups),
            ("registrations", self.registrations),
            ("orphaned_registrations", self.orphaned_registrations),
            ("bans", self.bans),
        ];
        let mut statement =
            connection.prepare_cached("UPDATE counters SET value = value + ?2 WHERE name = ?1")?;
        for (name, by) in changes.into_iter().filter(|(_, by)| *by != 0) {
            statement.execute((name, by))?;
        }
        let mut statement = connection.prepare_cached(
            "INSERT INTO device_counts (hub, total, disabled, connected) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (hub) DO UPDATE SET \
             (total, disabled, connected) = (total + ?2, disabled + ?3, connected + ?4)",
        )?;
        for (hub, device) in &self.devices {
            statement.execute((hub.as_str(), device.total, device.disabled, device.connected))?;
        }
        Ok(())
    }
}
