//! What a hub remembers of a device's connections.

use crate::{AccessPolicy, CaCertificate, DeviceId, DeviceIdentity, HubName, ServiceSettings};

/// Tells whether an identity was written since: its generation, and its etag's counter. Neither
/// moves when the device connects or sends (H §2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityMark {
    /// The identity's generation.
    pub generation_id: Box<str>,
    /// Counts the identity's writes.
    pub etag_counter: u64,
}

/// A connection's number: random, never 0, and so never the one of another connection.
pub type ConnectionNumber = u64;

/// How surely a packet arrives: the two levels a hub knows (H §4.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    /// Sent once, and nobody answers.
    AtMostOnce,
    /// Sent until acknowledged.
    AtLeastOnce,
}

/// What a device subscribed to, by the only filters that are legal (H §4.2.5). A device that
/// connects with CleanSession=0 finds them again, for as long as its identity lives (H §4.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Subscriptions {
    /// `devices/{id}/messages/devicebound/#`
    pub messages: Option<Qos>,
    /// `$iothub/twin/res/#`
    pub twin_responses: Option<Qos>,
    /// `$iothub/twin/PATCH/properties/desired/#`
    pub desired: Option<Qos>,
    /// `$iothub/methods/POST/#`
    pub methods: Option<Qos>,
}

/// What to read when a device connects to a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectQuery {
    /// The hub.
    pub hub: HubName,
    /// The device.
    pub device_id: DeviceId,
    /// The policy that its token names, if it names one.
    pub policy: Option<String>,
    /// Whether it showed a certificate, so that CA certificates may matter.
    pub with_ca_certificates: bool,
}

/// What is known when a device connects, in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFacts {
    /// Whether the hub is linked and built in.
    pub hub_is_built_in: bool,
    /// The device's identity.
    pub identity: Option<DeviceIdentity>,
    /// What it subscribed to before.
    pub subscriptions: Option<Subscriptions>,
    /// The hub's policy asked for.
    pub policy: Option<AccessPolicy>,
    /// The verified CA certificates of the service's store, if asked for (there are few, D §6).
    pub ca_certificates: Vec<CaCertificate>,
    /// The service's settings: who may connect from where.
    pub settings: ServiceSettings,
}
