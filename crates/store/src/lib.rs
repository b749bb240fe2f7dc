//! What Induct asks of a store, and the suite every store passes (feature `suite`).
//!
//! Reads are named after the facts they fetch, each from one snapshot. Writes are change sets:
//! all or nothing, on condition that the versions they were decided from still stand. A store may
//! commit many change sets in one physical transaction and answers each only after that
//! transaction is durable. No transaction stays open between two calls.
//!
//! To extend it: a new fact is a new read here and in every store and a new case in the suite; a
//! new thing to write is a variant of [`model::Change`], and the compiler lists the rest.

use std::sync::Arc;

use async_trait::async_trait;
use model::{
    AccessPolicy, AllocationPolicy, AttemptFilter, AuditFilter, AuditLine, Ban, CaCertificate,
    CertificateDer, ChangeSet, CloudMessage, ConnectFacts, ConnectQuery, Crl, DeprovisionItem,
    Device, DeviceCounts, DeviceId, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, Etag,
    EventPosition, Feedback, Former, Grounds, HubName, IndividualEnrollment, IndividualFacts,
    ItemState, Origin, Page, PartitionState, PendingFacts, PolicyScope, Receipt, ReceiptId,
    RecordFilter, RegisterFacts, RegisterQuery, RegistrationId, RegistrationRecord, RemoteRemoval,
    Serials, ServiceFacts, ServiceSettings, StoredAttempt, StoredEvent, Subscriptions, Timestamp,
    Usage,
};

pub use audit::AuditHead;
pub use error::{CommitError, StoreFault};
pub use marks::{Mark, Marks, SettingsMark};

pub mod audit;
mod error;
pub mod marks;
#[cfg(feature = "suite")]
pub mod suite;

/// A store of everything Induct remembers.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The marks by which is told whether anything was written that concerns a registration, and
    /// whether the service's settings were; the same ones for all users of the store in this process.
    ///
    /// A store that other processes write too has to move them for what those wrote, within a
    /// second.
    fn marks(&self) -> Arc<Marks>;

    /// What is known when a device registers, in one snapshot.
    async fn register_facts(&self, query: RegisterQuery) -> Result<RegisterFacts, StoreFault>;

    /// An individual enrollment and the registration record of the same ID, in one snapshot.
    async fn individual_facts(&self, id: &RegistrationId) -> Result<IndividualFacts, StoreFault>;

    /// A group.
    async fn find_group(
        &self,
        id: &EnrollmentGroupId,
    ) -> Result<Option<EnrollmentGroup>, StoreFault>;

    /// A registration record.
    async fn find_record(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<RegistrationRecord>, StoreFault>;

    /// Individual enrollments ordered by key (the lower-case ID), those after `after` (exclusive),
    /// at most `limit`. Stable under inserts and deletes elsewhere.
    async fn list_individuals(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreFault>;

    /// Groups, as [`Self::list_individuals`].
    async fn list_groups(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<EnrollmentGroup>, StoreFault>;

    /// Registration records that pass the filter, as [`Self::list_individuals`].
    async fn list_records(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault>;

    /// How many registration records pass the filter. Records of a group are found by their group;
    /// orphans among a million records take up to a second.
    async fn count_records(&self, filter: &RecordFilter) -> Result<u64, StoreFault>;

    /// A CA certificate by name.
    async fn find_ca_certificate(&self, name: &str) -> Result<Option<CaCertificate>, StoreFault>;

    /// A device of a hub: identity and twin in one snapshot.
    async fn find_device(&self, hub: &HubName, id: &DeviceId)
    -> Result<Option<Device>, StoreFault>;

    /// Devices of a hub ordered by device ID (byte order), those after `after` (exclusive), at
    /// most `limit`.
    async fn list_devices(
        &self,
        hub: &HubName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Device>, StoreFault>;

    /// The modules of a device, by ID (byte order), each under its name `device/module`. No more
    /// than [`model::MAX_MODULES`] are read; [`Self::list_devices`] and the counts know of none.
    async fn list_modules(&self, hub: &HubName, id: &DeviceId) -> Result<Vec<Device>, StoreFault>;

    /// All CA certificates, by name (there are few, D §6).
    async fn list_ca_certificates(&self) -> Result<Vec<CaCertificate>, StoreFault>;

    /// The groups that refer to a CA certificate by name, by ID.
    async fn groups_referring_to(&self, name: &str) -> Result<Vec<EnrollmentGroup>, StoreFault>;

    /// The service's settings and linked hubs, in one snapshot. A store that was never told any
    /// settings answers `hashed` and open to everyone.
    async fn service_facts(&self) -> Result<ServiceFacts, StoreFault>;

    /// What is known when a pending assignment goes on, in one snapshot.
    async fn pending_facts(&self, id: &RegistrationId) -> Result<PendingFacts, StoreFault>;

    /// The registrations whose pending assignment is due, the longest due first.
    async fn due_assignments(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RegistrationId>, StoreFault>;

    /// The removals from remote hubs that are due, of each hub the longest due first, at most
    /// `limit` of each: whoever waits for a hub that is down stands before nobody else's.
    async fn due_removals(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RemoteRemoval>, StoreFault>;

    /// What a remote hub is to be told about a device, if anything.
    async fn find_removal(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<RemoteRemoval>, StoreFault>;

    /// A plan or receipt of a deprovisioning, with its counts.
    async fn find_receipt(&self, id: &ReceiptId) -> Result<Option<Receipt>, StoreFault>;

    /// Plans and receipts, the latest first, those after the key `after` (exclusive), at most
    /// `limit`.
    async fn list_receipts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Receipt>, StoreFault>;

    /// Those that are being worked off, the oldest first, at most `limit`.
    async fn applying_receipts(&self, limit: usize) -> Result<Vec<ReceiptId>, StoreFault>;

    /// Items of a plan or receipt in the order of their numbers, those that stand so, after the
    /// number `after` (exclusive), at most `limit`.
    async fn list_receipt_items(
        &self,
        id: &ReceiptId,
        state: Option<ItemState>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeprovisionItem>, StoreFault>;

    /// Likewise those with which something of ours is still to be done
    /// ([`DeprovisionItem::is_open`]).
    async fn open_receipt_items(
        &self,
        id: &ReceiptId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeprovisionItem>, StoreFault>;

    /// The item of this number.
    async fn find_receipt_item(
        &self,
        id: &ReceiptId,
        number: u64,
    ) -> Result<Option<DeprovisionItem>, StoreFault>;

    /// The item of this device, by [`model::DeviceSubject::key`].
    async fn find_receipt_item_of(
        &self,
        id: &ReceiptId,
        key: &str,
    ) -> Result<Option<DeprovisionItem>, StoreFault>;

    /// The earliest moment at which an assignment or a removal is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFault>;

    /// Lines of the audit log that pass the filter, in the order of their numbers, those after
    /// `after` (exclusive), at most `limit`.
    async fn list_audit(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditLine>, StoreFault>;

    /// Number and hash of the last line that was ever appended to the audit log, kept apart from
    /// the lines, so that a log whose last lines were cut off is told from a whole one
    /// ([`audit::check_end`]). `(0, zeros)` when there was none.
    async fn audit_head(&self) -> Result<AuditHead, StoreFault>;

    /// A ban by its key.
    async fn find_ban(&self, key: &str) -> Result<Option<Ban>, StoreFault>;

    /// Bans in the order of their keys, those after `after` (exclusive), at most `limit`. Those
    /// that are over are among them.
    async fn list_bans(&self, after: Option<&str>, limit: usize) -> Result<Page<Ban>, StoreFault>;

    /// What is known of the revocation list of a CA
    /// ([`CaKeys::subject_and_key`](model::CaKeys::subject_and_key)).
    async fn find_crl(&self, ca: &[u8; 32]) -> Result<Option<Crl>, StoreFault>;

    /// How many revocation lists there are.
    async fn n_crls(&self) -> Result<u64, StoreFault>;

    /// All revocation lists, by their CAs (there are no more than [`model::crl::MAX_CRLS`]).
    async fn list_crls(&self) -> Result<Vec<Crl>, StoreFault>;

    /// The serial numbers on the revocation list of a CA; none when there is no list. There may be
    /// [`model::crl::MAX_CRL_ENTRIES`].
    async fn revoked_serials(&self, ca: &[u8; 32]) -> Result<Serials, StoreFault>;

    /// The CAs of the revocation lists whose URLs are due, the longest due first.
    async fn due_crls(&self, now: Timestamp, limit: usize) -> Result<Vec<[u8; 32]>, StoreFault>;

    /// The certificate of a CA ([`CaKeys::subject_and_key`](model::CaKeys::subject_and_key)) that a
    /// group, the CA store or a revocation list holds. Names are read through: for an operator's
    /// question only.
    async fn known_ca(&self, ca: &[u8; 32]) -> Result<Option<EnrolledCertificate>, StoreFault>;

    /// The certificates of CAs with this name (SHA-256 of its DER), each once: of groups, of the CA
    /// store whether verified or not, and of revocation lists.
    async fn cas_called(&self, subject: &[u8; 32]) -> Result<Vec<EnrolledCertificate>, StoreFault>;

    /// The registrations that a ban of this key would be about, ordered and limited as in
    /// [`Self::list_individuals`]: the one of the registration ID, or those that rest on the
    /// certificate, the CA or the endorsement key ([`Grounds`]). None for a key of no subject.
    async fn records_resting_on(
        &self,
        ban_key: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault>;

    /// What a registration rests on, if that was kept.
    async fn find_grounds(&self, id: &RegistrationId) -> Result<Option<Grounds>, StoreFault>;

    /// Where the identity of a device on a hub came from, in one snapshot; a module's came from
    /// where its device's did. Of several registrations that are assigned to it, the one that was
    /// written last.
    async fn origin(&self, hub: &HubName, id: &DeviceId) -> Result<Option<Origin>, StoreFault>;

    /// The identities that a registration had before its record was deleted or got another one, in
    /// one snapshot: those on built-in hubs that are still there and that no other registration has
    /// now, and those on remote hubs as long as they were not deleted by a removal.
    async fn formers(&self, id: &RegistrationId) -> Result<Vec<Former>, StoreFault>;

    /// Registrations without a record whose identities ([`Self::formers`]) came from a group, after
    /// the key `after`, at most `limit`, in one snapshot.
    async fn former_of_group(
        &self,
        group: &EnrollmentGroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationId>, StoreFault>;

    /// The certificate of this thumbprint, SHA-1 or SHA-256 in hex, among those that the CA
    /// store, groups and individual enrollments hold. They are read through: for an operator's
    /// question only.
    async fn known_certificate(
        &self,
        thumbprint: &str,
    ) -> Result<Option<EnrolledCertificate>, StoreFault>;

    /// The certificate of this thumbprint, SHA-1 or SHA-256 in hex, among those that registered
    /// devices showed; by SHA-1 only such as an admission rests on.
    async fn shown_certificate(
        &self,
        thumbprint: &str,
    ) -> Result<Option<CertificateDer>, StoreFault>;

    /// Attempts that pass the filter, the latest number first, those with numbers below `before`, at
    /// most `limit`.
    async fn list_attempts(
        &self,
        filter: &AttemptFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredAttempt>, StoreFault>;

    /// How many devices a hub has.
    async fn device_counts(&self, hub: &HubName) -> Result<DeviceCounts, StoreFault>;

    /// What is known when a device connects to a hub, in one snapshot.
    async fn connect_facts(&self, query: &ConnectQuery) -> Result<ConnectFacts, StoreFault>;

    /// What a device is subscribed to, as [`ConnectFacts`] have it.
    async fn find_subscriptions(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<Subscriptions>, StoreFault>;

    /// Events of one partition of a hub's log, in the order of their offsets, from a position on:
    /// at most `limit`, and fewer once they count for more than `max_bytes` together (one is always
    /// there, if there is one).
    async fn read_events(
        &self,
        hub: &HubName,
        partition: u16,
        from: EventPosition,
        limit: usize,
        max_bytes: u64,
    ) -> Result<Vec<StoredEvent>, StoreFault>;

    /// The partitions of a hub's log that ever had an event, in the order of their numbers.
    async fn event_partitions(&self, hub: &HubName) -> Result<Vec<PartitionState>, StoreFault>;

    /// The messages that wait for a device, in the order of their numbers, those after `after`
    /// (exclusive), at most `limit`.
    async fn waiting_messages(
        &self,
        hub: &HubName,
        id: &DeviceId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<CloudMessage>, StoreFault>;

    /// Messages whose time was over before `now`, of all hubs, the longest over first, each with
    /// the generation of its device.
    async fn expired_messages(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(HubName, String, CloudMessage)>, StoreFault>;

    /// A hub's feedback in the order of its numbers, at most `limit`.
    async fn list_feedback(&self, hub: &HubName, limit: usize)
    -> Result<Vec<Feedback>, StoreFault>;

    /// A shared access policy.
    async fn find_policy(
        &self,
        scope: &PolicyScope,
        name: &str,
    ) -> Result<Option<AccessPolicy>, StoreFault>;

    /// All policies of a scope, by name.
    async fn list_policies(&self, scope: &PolicyScope) -> Result<Vec<AccessPolicy>, StoreFault>;

    /// How much there is of what limits count.
    async fn usage(&self) -> Result<Usage, StoreFault>;

    /// A setting of the instance, such as `id_scope`.
    async fn instance_setting(&self, name: &str) -> Result<Option<String>, StoreFault>;

    /// Writes a change set, all or nothing, and answers when it is durable.
    ///
    /// Change sets are written in the order in which they were asked for in one process, also when
    /// whoever asked is gone before the answer: what is asked after a cut-off meets it.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when an expectation no longer holds: nothing was written, read
    /// again. [`CommitError::Fault`] when the store failed.
    async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError>;
}

/// The settings of a service that was never told any: `hashed`, and open to everyone. Their etag
/// is the same everywhere, so that the first change can be conditional as well.
#[must_use]
pub fn first_settings() -> ServiceSettings {
    ServiceSettings {
        allocation_policy: AllocationPolicy::Hashed,
        operator_api_on_loopback_only: false,
        ip_rules: Vec::new(),
        disenroll_ends_sessions: false,
        etag: Etag::from_random([0; 16]),
        last_updated: Timestamp::from_ticks(0),
    }
}
