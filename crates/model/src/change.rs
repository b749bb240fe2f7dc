//! Change sets: what a decision writes, and the versions it was decided from.

use crate::{
    AccessPolicy, AuditEntry, CaCertificate, Device, DeviceId, DeviceIdentity, EnrollmentGroup,
    EnrollmentGroupId, HubName, IndividualEnrollment, LinkedHub, PolicyScope, RegistrationId,
    RegistrationRecord, RemoteRemoval, ServiceSettings, Twin,
};

/// The store's version of a row: grows with every commit of the store, so that a row that was
/// deleted and made anew never has an old version again. 0 means “there is none”.
pub type Version = u64;

/// What to write, all or nothing, and what must still be true for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeSet {
    /// What must still be so; otherwise the store answers `Conflict` and writes nothing.
    pub expects: Vec<Expect>,
    /// What to write, in order.
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// A change set that expects and writes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an expectation.
    #[must_use]
    pub fn expecting(mut self, expect: Expect) -> Self {
        self.expects.push(expect);
        self
    }

    /// Adds a change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

/// A version a decision was made from. `0` expects that there is no such row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// This individual enrollment has this version.
    Individual(RegistrationId, Version),
    /// This group has this version.
    Group(EnrollmentGroupId, Version),
    /// No group and no CA certificate was written or deleted since this version.
    Groups(Version),
    /// This registration record has this version.
    Record(RegistrationId, Version),
    /// This device identity has this version.
    Identity(HubName, DeviceId, Version),
    /// This twin has this version.
    Twin(HubName, DeviceId, Version),
    /// No linked hub and no service setting was written or deleted since this version.
    Hubs(Version),
    /// This CA certificate has this version.
    CaCertificate(String, Version),
    /// This shared access policy has this version.
    Policy(PolicyScope, String, Version),
    /// This removal has this version.
    Removal(HubName, DeviceId, Version),
    /// There are fewer of these than the limit, so that one more fits.
    Room {
        /// What is counted.
        of: Counted,
        /// How many there may be.
        limit: u64,
    },
}

/// What limits count (D §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Registration records, orphans included.
    Registrations,
    /// Individual enrollments.
    IndividualEnrollments,
    /// Enrollment groups with certificates.
    X509Groups,
    /// Enrollment groups with symmetric keys.
    SymmetricKeyGroups,
}

/// One thing to write. The `version` inside a written value is ignored: the store sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Insert or replace an individual enrollment.
    PutIndividual(Box<IndividualEnrollment>),
    /// Delete an individual enrollment; nothing happens when there is none.
    DeleteIndividual(RegistrationId),
    /// Insert or replace a group.
    PutGroup(Box<EnrollmentGroup>),
    /// Delete a group; nothing happens when there is none. Records stay (O §1.11).
    DeleteGroup(EnrollmentGroupId),
    /// Insert or replace a CA certificate, by name.
    PutCaCertificate(Box<CaCertificate>),
    /// Delete a CA certificate; nothing happens when there is none.
    DeleteCaCertificate(String),
    /// Insert or replace a registration record.
    PutRecord(Box<RegistrationRecord>),
    /// Delete a registration record; nothing happens when there is none.
    DeleteRecord(RegistrationId),
    /// Insert or replace identity and twin of a device.
    PutDevice(HubName, Box<Device>),
    /// Replace a device's identity; the twin stays.
    PutIdentity(HubName, Box<DeviceIdentity>),
    /// Replace a device's twin.
    PutTwin(HubName, DeviceId, Box<Twin>),
    /// Delete identity and twin; nothing happens when there is none.
    DeleteDevice(HubName, DeviceId),
    /// Insert or replace a shared access policy.
    PutPolicy(Box<AccessPolicy>),
    /// Delete a shared access policy; nothing happens when there is none.
    DeletePolicy(PolicyScope, String),
    /// Insert or replace a linked hub.
    PutLinkedHub(Box<LinkedHub>),
    /// Delete a linked hub; nothing happens when there is none. A built-in hub's registry stays.
    DeleteLinkedHub(HubName),
    /// Replace the service's settings.
    PutServiceSettings(Box<ServiceSettings>),
    /// Insert or replace the removal of a device identity from a remote hub.
    PutRemoval(Box<RemoteRemoval>),
    /// Delete such a removal: it is done.
    DeleteRemoval(HubName, DeviceId),
    /// Append a line to the audit log. The store numbers it and chains it to the line before.
    Audit(Box<AuditEntry>),
    /// Insert a setting of the instance, such as its ID scope, unless it is there.
    PutInstanceSetting {
        /// The setting's name.
        name: String,
        /// The setting's text.
        value: String,
    },
}
