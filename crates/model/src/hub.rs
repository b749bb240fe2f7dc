//! Hubs and the device identities in their registries (H §2.4).

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    AllocationPolicy, DeviceId, Etag, HubName, IdentityMark, SymmetricKey, SymmetricKeys,
    Timestamp, Twin, Version,
};

/// A hub that devices can be assigned to (O §3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedHub {
    /// Its host name.
    pub name: HubName,
    /// Where it is.
    pub access: HubAccess,
    /// Its share of hashed allocation, 0 to 1000; 0 takes no devices.
    pub weight: u32,
    /// Whether enrollments that name no hub may choose it.
    pub apply_allocation_policy: bool,
    /// Whether the configuration file declares it: then it is changed there and nowhere else.
    pub declared: bool,
    /// The version mark.
    pub etag: Etag,
    /// When it was linked.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// Where a linked hub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubAccess {
    /// In this process: its registry is in our store.
    BuiltIn,
    /// Elsewhere, spoken to over the hub's REST API (H).
    Remote(RemoteAccess),
}

/// How a remote hub lets us in: what its connection string says besides the host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAccess {
    /// The port, when it is not 443.
    pub port: Option<u16>,
    /// The policy; it needs RegistryWrite and ServiceConnect.
    pub policy: String,
    /// The policy's key.
    pub key: SymmetricKey,
}

/// What allocation knows: the hubs and the service's own policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// The linked hubs, in the order of their names.
    pub hubs: Vec<LinkedHub>,
    /// The policy of enrollments that name none. Never `Custom` (O §3.2).
    pub allocation_policy: AllocationPolicy,
}

/// A device as a hub knows it: identity and twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its identity.
    pub identity: DeviceIdentity,
    /// Its twin.
    pub twin: Twin,
}

/// A device's entry in a hub's registry, or a module's (H §2.8): everything but what is said here to
/// be of a device only holds of modules as well.
///
/// A module has no switch of its own and is always `Enabled`: a disabled device disables its
/// modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// The device's name, or the module's below it; letter case matters.
    pub device_id: DeviceId,
    /// Tells a re-created device from its predecessor: ticks at creation, decimal.
    pub generation_id: String,
    /// Counts identity writes; its decimal text in base64 is the etag.
    pub etag_counter: u64,
    /// The operator's switch.
    pub status: DeviceStatus,
    /// Why, in at most 128 characters.
    pub status_reason: Option<String>,
    /// When `status` last changed.
    pub status_updated: Option<Timestamp>,
    /// Whether it holds a connection.
    pub connected: bool,
    /// When that last changed.
    pub connection_state_updated: Option<Timestamp>,
    /// When it last did anything.
    pub last_activity: Option<Timestamp>,
    /// Messages waiting for it.
    pub cloud_to_device_messages: u32,
    /// How it logs in.
    pub authentication: DeviceAuthentication,
    /// `capabilities.iotEdge`
    pub iot_edge: bool,
    /// `deviceScope`, stored and echoed.
    pub device_scope: Option<String>,
    /// `parentScopes`, stored and echoed.
    pub parent_scopes: Vec<String>,
    /// `managedBy` of a module, stored and echoed. A device has none.
    pub managed_by: Option<String>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl DeviceIdentity {
    /// The identity's etag: the base64 of its counter's decimal digits (H §2.4).
    #[must_use]
    pub fn etag(&self) -> String {
        STANDARD.encode(self.etag_counter.to_string())
    }

    /// What tells whether it was written since.
    #[must_use]
    pub fn mark(&self) -> IdentityMark {
        let generation_id = self.generation_id.as_str().into();
        IdentityMark { generation_id, etag_counter: self.etag_counter }
    }
}

/// The operator's switch on a device identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceStatus {
    /// It may connect.
    Enabled,
    /// It may use no device endpoint.
    Disabled,
}

/// How a device logs in to its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAuthentication {
    /// Which of the fields counts.
    pub kind: AuthenticationKind,
    /// Symmetric keys; counted with `Sas` only, stored with any.
    pub keys: Option<SymmetricKeys>,
    /// Hex thumbprint as given; counted with `SelfSigned` only.
    pub primary_thumbprint: Option<String>,
    /// Hex thumbprint as given; counted with `SelfSigned` only.
    pub secondary_thumbprint: Option<String>,
}

/// `authentication.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthenticationKind {
    /// `sas`
    Sas,
    /// `selfSigned`
    SelfSigned,
    /// `certificateAuthority`
    CertificateAuthority,
}

/// How many modules a device may have: the vendor's limit (H §10 counts them with the devices).
pub const MAX_MODULES: u32 = 50;

/// A device identity as an operator sends it (H §2.4, §2.5), or a module's (H §2.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityDraft {
    /// The device's name.
    pub device_id: DeviceId,
    /// Absent means enabled.
    pub status: Option<DeviceStatus>,
    /// Absent means none.
    pub status_reason: Option<String>,
    /// Absent means `sas` with generated keys, on updates as well (H §2.5).
    pub authentication: Option<AuthenticationDraft>,
    /// Absent means not an edge device.
    pub iot_edge: Option<bool>,
    /// Stored and echoed.
    pub device_scope: Option<String>,
    /// Stored and echoed.
    pub parent_scopes: Vec<String>,
    /// Stored and echoed; of a module only.
    pub managed_by: Option<String>,
}

/// `authentication` as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationDraft {
    /// `type`; absent means by what else is there.
    pub kind: Option<AuthenticationKind>,
    /// `symmetricKey.primaryKey` if not null or empty.
    pub primary_key: Option<SymmetricKey>,
    /// `symmetricKey.secondaryKey` if not null or empty.
    pub secondary_key: Option<SymmetricKey>,
    /// `x509Thumbprint.primaryThumbprint` if not null or empty.
    pub primary_thumbprint: Option<String>,
    /// `x509Thumbprint.secondaryThumbprint` if not null or empty.
    pub secondary_thumbprint: Option<String>,
}

/// A twin as an operator sends it: `None` for a section not sent, `Some(Json::Null)` for null.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TwinDraft {
    /// `tags`
    pub tags: Option<crate::Json>,
    /// `properties.desired`
    pub desired: Option<crate::Json>,
}

/// One element of a bulk registry call (H §2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkDevice {
    /// What to do.
    pub mode: ImportMode,
    /// The identity part.
    pub identity: IdentityDraft,
    /// `eTag`, the identity's precondition in the `IfMatch` modes.
    pub etag: Option<String>,
    /// `twinETag`, the twin's precondition in `UpdateTwinIfMatchEtag`.
    pub twin_etag: Option<String>,
    /// The twin part.
    pub twin: TwinDraft,
}

/// What a bulk element wants (H §2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImportMode {
    /// `create`
    Create,
    /// `update`
    Update,
    /// `updateIfMatchETag`
    UpdateIfMatchEtag,
    /// `delete`
    Delete,
    /// `deleteIfMatchETag`
    DeleteIfMatchEtag,
    /// `createOrUpdate`
    CreateOrUpdate,
    /// `createOrUpdateIfMatchETag`
    CreateOrUpdateIfMatchEtag,
    /// `updateTwin`
    UpdateTwin,
    /// `updateTwinIfMatchETag`
    UpdateTwinIfMatchEtag,
}

/// What a request demands of the version it meets (`If-Match`), normalised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing was said.
    #[default]
    None,
    /// `*`: it must exist, in any version.
    Any,
    /// It must have this etag.
    Tag(String),
}

/// How many devices a hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCounts {
    /// All of them.
    pub total: u64,
    /// Those enabled.
    pub enabled: u64,
    /// Those disabled.
    pub disabled: u64,
    /// Those connected.
    pub connected: u64,
}
