//! Registration records: what we remember of a device that registered.

use crate::{
    AttestationKind, DeviceAuthentication, DeviceId, EnrollmentRef, Etag, HubName, Json,
    OperationId, ReceiptId, RegistrationId, Reprovision, Timestamp, Version,
};

/// How many of a record's latest operations can still be polled.
pub const MAX_RECENT_OPERATIONS: usize = 8;

/// What we remember of a device that registered: one per registration ID (D §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationRecord {
    /// The registration ID, in the spelling first seen.
    pub registration_id: RegistrationId,
    /// When the record was first written.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// Where it stands.
    pub status: RegistrationStatus,
    /// Hub and device, once assigned. Kept when the device is later refused, so that a
    /// re-enabled device returns to where it was; shown to the device only while `assigned`.
    pub assignment: Option<Assignment>,
    /// Where the device is being taken to, while the status is [`RegistrationStatus::Assigning`].
    pub pending: Option<Box<PendingAssignment>>,
    /// Why registration failed; only with [`RegistrationStatus::Failed`].
    pub failure: Option<Failure>,
    /// What a custom allocation returned for the device.
    pub payload: Option<Json>,
    /// The device's key on its hub, wrapped so that only its TPM can take it out (D §5.8, appendix
    /// A); public as such. Only for TPMs, shown to the device while it is `assigned`.
    pub wrapped_hub_key: Option<Vec<u8>>,
    /// The version mark, new at every write.
    pub etag: Etag,
    /// The enrollment that decided last.
    pub enrollment: EnrollmentRef,
    /// The kind of evidence that was accepted last; answers show `x509: {}` for certificates.
    pub mechanism: AttestationKind,
    /// The latest operations, oldest first, at most [`MAX_RECENT_OPERATIONS`].
    pub operations: Vec<OperationRef>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// Where a registration stands. `unassigned` is never stored and never shown to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistrationStatus {
    /// Work goes on.
    Assigning,
    /// The device has a hub.
    Assigned,
    /// No hub could be given.
    Failed,
    /// The enrollment that decided is disabled.
    Disabled,
}

/// An assignment that a remote hub takes part in: worked off step by step, each step safe to
/// repeat, until the record settles. It lives in the record, so that it survives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingAssignment {
    /// What the device will have when it is done.
    pub assignment: Assignment,
    /// The hub it comes from, if it moves.
    pub from: Option<HubName>,
    /// What becomes of its data.
    pub rule: Reprovision,
    /// How it will log in.
    pub authentication: DeviceAuthentication,
    /// `capabilities.iotEdge`
    pub iot_edge: bool,
    /// The enrollment's `initialTwin`, or the webhook's.
    pub initial_twin: Option<Json>,
    /// How often it was tried and failed.
    pub n_failures: u32,
    /// Not before this moment.
    pub due: Timestamp,
    /// What went wrong last, for the operator.
    pub last_error: Option<String>,
}

/// What a remote hub is to be told about a device identity: to delete it, because the device has
/// moved away or was shut out while it was being assigned; or what a deprovisioning wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRemoval {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// What to tell.
    pub task: RemoteTask,
    /// The item of a deprovisioning that hears what came of it.
    pub report_to: Option<ReportTo>,
    /// How often it was tried and failed.
    pub n_failures: u32,
    /// Not before this moment.
    pub due: Timestamp,
    /// What went wrong last, for the operator.
    pub last_error: Option<String>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// What a remote hub is told about a device identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteTask {
    /// To delete it.
    Delete,
    /// To disable it, unless it is disabled.
    Disable {
        /// The status reason it gets, which tells later that it was us.
        reason: String,
    },
    /// To enable it, if it is disabled with this reason.
    Enable {
        /// The status reason that it was disabled with.
        reason: String,
    },
}

/// An item of a deprovisioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTo {
    /// The deprovisioning.
    pub receipt: ReceiptId,
    /// The item's number.
    pub item: u64,
}

/// Where a device was assigned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// How it came there.
    pub substatus: Substatus,
    /// The hub of the very first assignment, to tell a return to it.
    pub initial_hub: HubName,
}

/// How a device came to its hub (D §5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Substatus {
    /// For the first time, or again without a move.
    InitialAssignment,
    /// It moved, with its twin.
    DeviceDataMigrated,
    /// It moved or stayed, and its twin began anew.
    DeviceDataReset,
    /// It came back to the hub of its first assignment.
    ReprovisionedToInitialAssignment,
}

/// Why registration failed: the numbers of D §1.8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Such as 400207 (webhook failed), 400208 (no hub).
    pub code: i32,
    /// A sentence for the device.
    pub message: String,
}

/// One register request that can still be polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRef {
    /// Its id.
    pub id: OperationId,
    /// When it began. A token that was valid then stays valid for its polls (D §0.5 step 7).
    pub started: Timestamp,
}
