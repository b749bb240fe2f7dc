//! What a hub remembers of a device's connections.

use crate::{
    AccessPolicy, Ban, CaCertificate, CrlFacts, DeviceId, DeviceIdentity, EnrolledCertificate,
    Expect, HubName, Origin, ServiceSettings, Version,
};

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
    /// The keys of the bans that could be about what was shown.
    pub ban_keys: Vec<String>,
    /// SHA-256 of the names of the subjects and issuers in the chain shown: bans on CAs are found by
    /// them.
    pub ca_names: Vec<[u8; 32]>,
    /// Issuer (SHA-256 of its name's DER) and serial number of every certificate shown.
    pub serials: Vec<([u8; 32], String)>,
}

/// What is known when a device connects, in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectFacts {
    /// Whether the hub is linked and built in.
    pub hub_is_built_in: bool,
    /// The device's identity, or the module's.
    pub identity: Option<DeviceIdentity>,
    /// The identity of the device that the module belongs to, when it is a module that connects.
    pub parent: Option<DeviceIdentity>,
    /// What it subscribed to before.
    pub subscriptions: Option<Subscriptions>,
    /// The hub's policy asked for.
    pub policy: Option<AccessPolicy>,
    /// The verified CA certificates of the service's store, if asked for (there are few, D §6).
    pub ca_certificates: Vec<CaCertificate>,
    /// The service's settings: who may connect from where, and what ends sessions.
    pub settings: ServiceSettings,
    /// The version of the set of linked hubs and service settings.
    pub hubs_version: Version,
    /// Where the identity came from: the registration whose assignment it is, if there is one.
    pub origin: Option<Origin>,
    /// The versions of the records by which the identity, or that of the module's device, is
    /// assigned, in their order; for [`Expect::Assigned`].
    pub assigned: Vec<Version>,
    /// The bans asked for, those on the origin (its registration ID and what it rests on), those on
    /// the device ID taken as a registration ID, those on the CA certificates read, and those on CAs
    /// whose subject is among the names asked for or in what the origin rests on, or is the issuer of
    /// a CA found. Some may be over.
    pub bans: Vec<Ban>,
    /// The certificates of CAs of these names and of those above them, of groups, of the service's
    /// store and of revocation lists: the way up to a banned CA leads over them. None while no ban on
    /// a CA is among the bans.
    pub known_cas: Vec<EnrolledCertificate>,
    /// The version of the set of bans and revocation lists.
    pub bans_version: Version,
    /// What a change set that was decided from this has to expect of bans and revocation lists: all
    /// that were looked for, those that are not there included.
    pub bans_expected: Expect,
    /// The revocation lists of the issuers asked about and of those in what the origin rests on,
    /// as in [`RegisterFacts::crls`](crate::RegisterFacts::crls).
    pub crls: Vec<CrlFacts>,
}
