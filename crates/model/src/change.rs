//! Change sets: what a decision writes, and the versions it was decided from.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AccessPolicy, Attempt, AttemptRepeat, AuditEntry, Ban, CaCertificate, CloudMessage,
    ConnectionNumber, Crl, CrlSource, DeprovisionItem, Deprovisioning, Device, DeviceId,
    DeviceIdentity, EnrollmentGroup, EnrollmentGroupId, Event, Feedback, Grounds, HubName,
    IdentityMark, IndividualEnrollment, LinkedHub, PolicyScope, ReceiptId, RegistrationId,
    RegistrationRecord, RemoteRemoval, RevokedChange, ServiceSettings, Subscriptions, Timestamp,
    TpmChallenge, Twin,
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
    /// The records by which the identity is assigned have these versions, in their order: none was
    /// written, deleted or added since.
    Assigned(HubName, DeviceId, Vec<Version>),
    /// No ban and no revocation list was written or deleted since this version.
    Bans(Version),
    /// The bans on these keys are those that were read, and no ban on a CA and no revocation list
    /// was written or deleted since.
    BansOn(Box<BansRead>),
    /// The ban of this key has this version.
    Ban(String, Version),
    /// The revocation list of the CA with this [`CaKeys::subject_and_key`] has this version.
    ///
    /// [`CaKeys::subject_and_key`]: crate::CaKeys::subject_and_key
    Crl([u8; 32], Version),
    /// No linked hub and no service setting was written or deleted since this version.
    Hubs(Version),
    /// This CA certificate has this version.
    CaCertificate(String, Version),
    /// This shared access policy has this version.
    Policy(PolicyScope, String, Version),
    /// What a remote hub is to be told about this device has this version.
    Removal(HubName, DeviceId, Version),
    /// This plan or receipt has this version.
    Receipt(ReceiptId, Version),
    /// This item of a plan or receipt has this version.
    ReceiptItem(ReceiptId, u64, Version),
    /// There is such an identity, and no registry write touched it since this mark was taken.
    /// Connecting and sending do not count as such a write.
    Mark(HubName, DeviceId, IdentityMark),
    /// This connection is still the device's: no later one was written with
    /// [`Change::Connect`], and its end was not written either.
    Connection(HubName, DeviceId, ConnectionNumber),
    /// This cloud-to-device message has this version.
    Message(HubName, DeviceId, u64, Version),
    /// Fewer than this many messages wait for the device.
    QueueRoom(HubName, DeviceId, u32),
    /// The device has fewer than this many modules.
    ModuleRoom(HubName, DeviceId, u32),
    /// There are fewer of these than the limit, so that one more fits.
    Room {
        /// What is counted.
        of: Counted,
        /// How many there may be.
        limit: u64,
    },
}

/// The bans that a decision was made from, besides those on CAs.
///
/// A ban on a CA, and a revocation list, may be about anybody: who rests on them is told by names
/// that lead from one to the next. Every other ban is about whoever asks for its keys, so that one on
/// another device does not disturb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BansRead {
    /// The version of the set of bans and revocation lists that they were read in.
    pub since: Version,
    /// All [keys](crate::BanSubject::keys) that were looked for, whether there was a ban or not.
    pub keys: BTreeSet<String>,
    /// The versions of the bans that were found by them, by [`BanSubject::key`].
    ///
    /// [`BanSubject::key`]: crate::BanSubject::key
    pub found: BTreeMap<String, Version>,
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
    /// Revocation lists.
    Crls,
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
    /// Insert or replace what a registration rests on; it goes with the record.
    PutGrounds(RegistrationId, Box<Grounds>),
    /// Insert or replace a ban, by its subject's key.
    PutBan(Box<Ban>),
    /// Delete the ban of this key; nothing happens when there is none.
    DeleteBan(String),
    /// Insert or replace what is known of a CA's revocation list; its serial numbers stay.
    PutCrl(Box<Crl>),
    /// Change the serial numbers of a CA's revocation list, which must be there.
    ChangeRevoked(RevokedChange),
    /// Note what came of asking the URL of the list of this CA, which must be there, and which stays
    /// as it is: it matters to no device.
    NoteCrlFetch([u8; 32], Box<CrlSource>),
    /// Delete a CA's revocation list with its serial numbers, by
    /// [`CaKeys::subject_and_key`](crate::CaKeys::subject_and_key); nothing happens when there is
    /// none.
    DeleteCrl([u8; 32]),
    /// Remember a challenge; of its registration ID the latest [`MAX_TPM_CHALLENGES`] stay, and
    /// apart from them the latest ones to an enrolled storage root key.
    ///
    /// [`MAX_TPM_CHALLENGES`]: crate::MAX_TPM_CHALLENGES
    PutTpmChallenge(Box<TpmChallenge>),
    /// Forget the challenges whose time was over at this moment.
    TrimTpmChallenges(Timestamp),
    /// Insert or replace identity and twin of a device. What belongs to its connections (state,
    /// last activity, waiting messages, subscriptions) stays as it is, and is empty for a device
    /// that was not there. The device of a module must be there.
    PutDevice(HubName, Box<Device>),
    /// Replace a device's identity; the twin and what belongs to its connections stay.
    PutIdentity(HubName, Box<DeviceIdentity>),
    /// Replace a device's twin.
    PutTwin(HubName, DeviceId, Box<Twin>),
    /// Delete identity and twin, with its subscriptions and the messages that wait for it, and a
    /// device's modules in the same way; nothing happens when there is none. Events and feedback
    /// stay.
    DeleteDevice(HubName, DeviceId),
    /// The device is connected, by this connection. No version and no etag moves (H §2.4). The
    /// device must be there.
    Connect {
        /// Its hub.
        hub: HubName,
        /// The device.
        device_id: DeviceId,
        /// The connection.
        connection: ConnectionNumber,
        /// When.
        at: Timestamp,
    },
    /// This connection is over; nothing happens when it is not the device's last one.
    Disconnect {
        /// Its hub.
        hub: HubName,
        /// The device.
        device_id: DeviceId,
        /// The connection.
        connection: ConnectionNumber,
        /// When.
        at: Timestamp,
    },
    /// No device is connected: for the start and the end of the only process.
    DisconnectAll {
        /// When.
        at: Timestamp,
    },
    /// The device did something. Nothing happens when it is not there.
    Touch {
        /// Its hub.
        hub: HubName,
        /// The device.
        device_id: DeviceId,
        /// When.
        at: Timestamp,
    },
    /// Insert or replace what a device subscribed to. The device must be there.
    PutSubscriptions(HubName, DeviceId, Subscriptions),
    /// Forget what a device subscribed to.
    DeleteSubscriptions(HubName, DeviceId),
    /// Append an event to this partition of a hub's log. The store gives it its offset.
    AppendEvent(HubName, u16, Box<Event>),
    /// Delete the oldest events of a hub's log as long as they were taken before a moment, or the
    /// log counts for more than so many bytes; at most so many events of each partition.
    TrimEvents {
        /// The hub.
        hub: HubName,
        /// Events taken before this go.
        before: Timestamp,
        /// What each partition may count for, see [`Event::size_bytes`].
        max_partition_bytes: u64,
        /// How many events of each partition go at most.
        at_most: u64,
    },
    /// Append a message to a device's queue. The store gives it its number. The device must be
    /// there; the count in its identity goes up by one.
    EnqueueMessage(HubName, Box<CloudMessage>),
    /// Replace a message, by device and number, that must be there.
    PutMessage(HubName, Box<CloudMessage>),
    /// Delete a message; nothing happens when there is none. The count in the identity follows.
    DeleteMessage(HubName, DeviceId, u64),
    /// Append feedback. The store gives it its number, and keeps the last 10,000 of a hub.
    AppendFeedback(HubName, Box<Feedback>),
    /// Delete a hub's feedback up to this number.
    DeleteFeedback(HubName, u64),
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
    /// Insert or replace what a remote hub is to be told about a device identity. One that reports
    /// to nobody does not silence one that does: it comes due when this one says, but keeps whom it
    /// reports to, and what is to be disabled stays to be disabled.
    PutRemoval(Box<RemoteRemoval>),
    /// Delete such a removal: it is done.
    DeleteRemoval(HubName, DeviceId),
    /// Insert or replace a plan or receipt; the counts of its items stay.
    PutReceipt(Box<Deprovisioning>),
    /// Insert or replace an item of a plan or receipt that is there; the counts follow. Two items
    /// of one plan never have one key ([`DeviceSubject::key`](crate::DeviceSubject::key)): for
    /// the second nothing happens.
    PutReceiptItem(Box<DeprovisionItem>),
    /// Forget plans whose time was over at this moment or that too many others came after, and the
    /// receipts that were finished first, beyond what is kept ([`MAX_OPEN_PLANS`] and
    /// [`MAX_PLANNED_ITEMS`], [`MAX_RECEIPTS`] and [`MAX_KEPT_ITEMS`]: plans never push out
    /// receipts); no more than so many items at a time, and a plan or receipt once it has none left.
    /// A plan that goes has a new version and is [`Planning`] from the first item on, so that
    /// nobody applies what is left of it.
    ///
    /// [`Planning`]: crate::DeprovisionState::Planning
    /// [`MAX_OPEN_PLANS`]: crate::deprovision::MAX_OPEN_PLANS
    /// [`MAX_PLANNED_ITEMS`]: crate::deprovision::MAX_PLANNED_ITEMS
    /// [`MAX_RECEIPTS`]: crate::deprovision::MAX_RECEIPTS
    /// [`MAX_KEPT_ITEMS`]: crate::deprovision::MAX_KEPT_ITEMS
    TrimReceipts {
        /// The moment.
        now: Timestamp,
        /// How many items go at most.
        at_most: u64,
    },
    /// Append a line to the audit log. The store numbers it and chains it to the line before.
    Audit(Box<AuditEntry>),
    /// Append attempts, which the store numbers; count repetitions of attempts that are still kept;
    /// and delete all but the last attempts. Nothing is expected of it and nothing depends on it.
    AppendAttempts {
        /// The attempts, in order.
        attempts: Vec<Attempt>,
        /// The repetitions.
        repeats: Vec<AttemptRepeat>,
        /// How many attempts are kept.
        keep: u64,
    },
    /// Insert a setting of the instance, such as its ID scope, unless it is there.
    PutInstanceSetting {
        /// The setting's name.
        name: String,
        /// The setting's text.
        value: String,
    },
}
