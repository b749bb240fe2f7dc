//! Deprovisioning as one act: which devices, what is to become of them, the plan, and the receipt
//! the plan becomes (issue “Off means off”; the gap it closes is O §2: nothing of the vendor's does
//! all of it in one step, and nothing reports whether it finished).

use crate::{
    BanKind, BanSubject, Caller, Device, DeviceId, EnrolledCertificate, EnrollmentGroupId,
    EnrollmentRef, Etag, HubName, ReceiptId, RegistrationId, RegistrationRecord,
    RegistrationStatus, Timestamp, Version, ban, query::Filter,
};

/// How many devices one plan may have.
pub const MAX_PLAN_DEVICES: u64 = 1_000_000;

/// How many registration IDs one selection may list.
pub const MAX_LISTED_IDS: usize = 100_000;

/// For how long a plan can be applied, in seconds: a day.
pub const PLAN_LIFE_SECS: i64 = 24 * 3600;

/// How many plans may wait to be applied; the oldest give way.
pub const MAX_OPEN_PLANS: u64 = 100;

/// How many devices all plans that wait to be applied may have together; the oldest give way. More
/// than twice [`MAX_PLAN_DEVICES`], so that no plan alone is too many.
pub const MAX_PLANNED_ITEMS: u64 = 2_500_000;

/// How many receipts are kept; the ones that were finished first give way.
pub const MAX_RECEIPTS: u64 = 10_000;

/// How many devices all kept receipts may have together, plans apart; the ones that were finished
/// first give way. While so many are still being worked off, no new plan is made.
pub const MAX_KEPT_ITEMS: u64 = 5_000_000;

/// What is to become of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Off until reinstated: banned, enrollment and identities disabled, the record kept.
    Suspend,
    /// Removed: enrollment, record and identities deleted, and no group lets it in. It may be
    /// enrolled anew, by an individual enrollment.
    Retire,
    /// As retired, and never again until an operator lifts the bans: on its registration ID, its
    /// certificate, its endorsement key.
    Revoke,
    /// Undoes a suspension: exactly what that one did, as far as nobody wrote it since.
    Reinstate,
}

/// Which devices. Several conditions together mean that all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The devices of these registration IDs, at most [`MAX_LISTED_IDS`].
    pub registration_ids: Option<Vec<RegistrationId>>,
    /// Devices whose last registration this group decided, whether it still exists or not. Alone,
    /// it means the group as a whole.
    pub group: Option<EnrollmentGroupId>,
    /// Devices that have an identity on this hub or are assigned to it, with or without a record.
    pub hub: Option<HubName>,
    /// Devices whose admission rests on this certificate. Alone, it means the CA as a whole.
    pub certificate: Option<SelectedCertificate>,
    /// Devices with such a record.
    pub records: Option<RecordCondition>,
    /// Devices with such a twin, on the hub if one is given, else on any built-in one.
    pub twins: Option<TwinCondition>,
    /// Devices that this deprovisioning changed; to reinstate them.
    pub receipt: Option<ReceiptId>,
}

/// A certificate that devices are selected by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectedCertificate {
    /// Whatever certificate has this thumbprint. If it is known as a CA's, the CA is meant, by
    /// name and key.
    Sha256 {
        /// The thumbprint.
        sha256: [u8; 32],
        /// Where the certificate is known, what its issuer signed
        /// ([`PathCertificate::tbs`](crate::PathCertificate::tbs)).
        tbs: Option<[u8; 32]>,
    },
    /// Likewise, by the thumbprint that the vendor shows.
    Sha1 {
        /// The thumbprint.
        sha1: [u8; 20],
        /// As that of [`SelectedCertificate::Sha256`].
        tbs: Option<[u8; 32]>,
    },
    /// This CA: its name and its key.
    Ca(Box<EnrolledCertificate>),
}

impl SelectedCertificate {
    /// What a ban on it is a ban on.
    #[must_use]
    pub fn ban_subject(&self) -> BanSubject {
        match self {
            Self::Sha256 { sha256, tbs } => BanSubject::Certificate { sha256: *sha256, tbs: *tbs },
            Self::Sha1 { sha1, tbs } => BanSubject::CertificateSha1 { sha1: *sha1, tbs: *tbs },
            Self::Ca(certificate) => BanSubject::Ca(certificate.clone()),
        }
    }
}

/// A condition on registration records. Absent members hold of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordCondition {
    /// Where it stands.
    pub status: Option<RegistrationStatus>,
    /// The hub it is assigned to.
    pub hub: Option<HubName>,
    /// The enrollment that decided last.
    pub enrollment: Option<EnrollmentRef>,
    /// Last written at or after this moment.
    pub updated_since: Option<Timestamp>,
    /// Last written before this moment.
    pub updated_before: Option<Timestamp>,
    /// Whether the enrollment no longer exists; false asks nothing.
    pub orphaned: bool,
}

impl RecordCondition {
    /// Whether a record meets it, as far as the record itself tells: whether it is orphaned it
    /// does not know.
    #[must_use]
    pub fn holds(&self, record: &RegistrationRecord) -> bool {
        let hub = |hub: &HubName| record.assignment.as_ref().is_some_and(|a| a.hub == *hub);
        self.status.is_none_or(|status| record.status == status)
            && self.hub.as_ref().is_none_or(hub)
            && self.enrollment.as_ref().is_none_or(|enrollment| record.enrollment == *enrollment)
            && self.updated_since.is_none_or(|since| record.last_updated >= since)
            && self.updated_before.is_none_or(|before| record.last_updated < before)
    }
}

/// A condition on twins: the `WHERE` of a hub query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinCondition {
    /// As the operator wrote it, for the receipt.
    pub text: String,
    /// What it means; absent means every twin.
    pub filter: Option<Filter>,
}

/// A selection as the plan remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectedBy {
    /// How many registration IDs were listed.
    pub n_registration_ids: Option<u64>,
    /// See [`Selection::group`].
    pub group: Option<EnrollmentGroupId>,
    /// See [`Selection::hub`].
    pub hub: Option<HubName>,
    /// The key of a ban on the certificate ([`BanSubject::key`]).
    pub certificate: Option<String>,
    /// See [`Selection::records`].
    pub records: Option<RecordCondition>,
    /// [`TwinCondition::text`]
    pub twins: Option<String>,
    /// See [`Selection::receipt`].
    pub receipt: Option<ReceiptId>,
}

impl SelectedBy {
    /// What is selected as a whole, so that devices that join it meanwhile are meant as well.
    #[must_use]
    pub fn whole(&self) -> Option<Whole<'_>> {
        let only_one = [
            self.n_registration_ids.is_some(),
            self.group.is_some(),
            self.hub.is_some(),
            self.certificate.is_some(),
            self.records.is_some(),
            self.twins.is_some(),
            self.receipt.is_some(),
        ];
        if only_one.iter().filter(|is_there| **is_there).count() != 1 {
            return None;
        }
        match (&self.group, &self.certificate, &self.receipt) {
            (Some(group), ..) => Some(Whole::Group(group)),
            (None, Some(key), _) => Some(Whole::Certificate(key)),
            (None, None, Some(receipt)) => Some(Whole::Receipt(receipt)),
            (None, None, None) => None,
        }
    }
}

/// What a selection means as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole<'a> {
    /// A group.
    Group(&'a EnrollmentGroupId),
    /// A certificate, by the key of a ban on it.
    Certificate(&'a str),
    /// All that a receipt is about.
    Receipt(&'a ReceiptId),
}

/// A plan, and once it is applied, the receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deprovisioning {
    /// Its name.
    pub id: ReceiptId,
    /// What is to become of the devices.
    pub intent: Intent,
    /// Which devices.
    pub selected_by: SelectedBy,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who planned it.
    pub by: Caller,
    /// When it was planned.
    pub created: Timestamp,
    /// Until when it can be applied.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: DeprovisionState,
    /// What is done to groups and CAs as a whole, before any device.
    pub shared: Vec<SharedPart>,
    /// What became of the sessions that these ended.
    pub sessions: EndedSessions,
    /// What the plan comes to.
    pub totals: PlanTotals,
    /// Who applied it, and when.
    pub applied: Option<(Caller, Timestamp)>,
    /// When the last device was done and the last session closed. Remote hubs may still be told.
    pub finished: Option<Timestamp>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

/// Where a deprovisioning stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeprovisionState {
    /// Devices are being collected. One that stays so was interrupted and cannot be applied.
    Planning,
    /// It can be applied.
    Planned,
    /// It is being worked off, now or after the next start.
    Applying,
    /// All that is ours is done.
    Done,
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanTotals {
    /// Devices that something happens to.
    pub n_devices: u64,
    /// Devices that are in that state already.
    pub n_unchanged: u64,
    /// Those of them that have an individual enrollment.
    pub n_enrollments: u64,
    /// Those of them that have a registration record.
    pub n_records: u64,
    /// Live sessions that end.
    pub n_sessions: u64,
    /// Bans set or lifted.
    pub n_bans: u64,
    /// Identities touched on built-in hubs, and devices that remote hubs are told of, by hub.
    pub identities: Vec<(HubName, u64)>,
    /// Devices that would still get in afterwards.
    pub n_still_admitted: u64,
    /// Devices that only the bans keep out: by which group they would get in without them.
    pub held_off: Vec<(EnrollmentGroupId, u64)>,
    /// Devices of which it is not known what they can prove themselves with.
    pub n_unknown: u64,
    /// Those of them that nothing at all is known of: no enrollment, record, identity or ban. Their
    /// IDs may be mistyped.
    pub n_known_nowhere: u64,
    /// Devices that are revoked and prove themselves with a symmetric key: their names are banned,
    /// and whoever has the key may come back under another one.
    pub n_by_key: u64,
    /// Devices outside the selection that rest on a CA that is banned as a whole.
    pub n_others: u64,
    /// Live sessions of these.
    pub n_other_sessions: u64,
    /// Of these, those that a group decided last, by group.
    pub others: Vec<(EnrollmentGroupId, u64)>,
}

/// Something done to a group or a CA as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPart {
    /// What.
    pub act: SharedAct,
    /// What came of it.
    pub outcome: SharedOutcome,
}

/// What is done to a group or a CA as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedAct {
    /// The group, as it was planned with this etag, is disabled.
    DisableGroup(EnrollmentGroupId, Etag),
    /// The group, as it was planned with this etag, is deleted.
    DeleteGroup(EnrollmentGroupId, Etag),
    /// The group that the suspension disabled is enabled, if it still has the etag of then.
    EnableGroup(EnrollmentGroupId, Etag),
    /// A ban is set.
    SetBan(BanSubject),
}

/// What came of an act on a group or a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedOutcome {
    /// It is planned.
    Planned,
    /// It was so already.
    Unchanged,
    /// It was done; a group that was written has this etag.
    Done(Option<Etag>),
    /// Somebody else wrote it since; in words.
    LeftAlone(String),
}

/// Whom an item is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeviceSubject {
    /// The device of this registration ID, under whatever device IDs.
    Registration(RegistrationId),
    /// An identity that no registration can have, because its name is no registration ID.
    Identity(DeviceId),
}

impl DeviceSubject {
    /// One text for one subject.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Registration(id) => ban::registration_key(id),
            Self::Identity(id) => format!("identity:{id}"),
        }
    }

    /// Whom a device identity without a record is about.
    #[must_use]
    pub fn of_device(id: &DeviceId) -> Self {
        RegistrationId::parse(id.as_str())
            .map_or_else(|_| Self::Identity(id.clone()), Self::Registration)
    }
}

/// An identity that a registration had, and whose record was deleted since or has another one now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// The enrollment that decided last, as the record said.
    pub enrollment: EnrollmentRef,
    /// The identity; `None` when the hub is not built in, so that it is not known whether there is
    /// one.
    pub device: Option<Device>,
}

/// One device of a plan or a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprovisionItem {
    /// The plan.
    pub receipt: ReceiptId,
    /// Its place there, from 1.
    pub number: u64,
    /// Whom it is about.
    pub subject: DeviceSubject,
    /// Whether it joined the selection after the plan was made (a group, a CA as a whole).
    pub is_late: bool,
    /// What was found and meant to be done when the plan was made.
    pub plan: PlannedDevice,
    /// Where it stands.
    pub state: ItemState,
    /// When it was done.
    pub at: Option<Timestamp>,
    /// What was done of what is ours, all in one commit.
    pub parts: Vec<Part>,
    /// What became of its sessions.
    pub sessions: EndedSessions,
    /// What remote hubs are told.
    pub remote: Vec<RemoteStep>,
    /// Why it failed, and what to do.
    pub trouble: Option<Trouble>,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl DeprovisionItem {
    /// A device to which nothing has been done yet, and which was there when its plan was made.
    #[must_use]
    pub fn planned(
        receipt: ReceiptId,
        number: u64,
        subject: DeviceSubject,
        plan: PlannedDevice,
    ) -> Self {
        Self {
            receipt,
            number,
            subject,
            is_late: false,
            plan,
            state: ItemState::Pending,
            at: None,
            parts: Vec::new(),
            sessions: EndedSessions::default(),
            remote: Vec::new(),
            trouble: None,
            version: 0,
        }
    }

    /// Whether something of ours is still to be done or waited for.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, ItemState::Pending) || self.sessions.closed.is_waiting()
    }
}

/// What was found and meant for a device when its plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlannedDevice {
    /// Whether it is in that state already, so that nothing happens to it.
    pub is_unchanged: bool,
    /// The enrollment that decided last; without a record, its individual enrollment.
    pub enrollment: Option<EnrollmentRef>,
    /// Whether it has an individual enrollment.
    pub has_individual: bool,
    /// Where its registration record stands, if there is one.
    pub record: Option<RegistrationStatus>,
    /// Its identities on built-in hubs, and what remote hubs are told of.
    pub identities: Vec<PlannedIdentity>,
    /// How many live sessions it has here, those of its modules included.
    pub n_sessions: u32,
    /// The keys of the bans that are set or lifted.
    pub bans: Vec<String>,
    /// Whether it would still get in afterwards.
    pub admitted: StillAdmitted,
    /// Whether it would, were it not for the bans.
    pub admitted_without_bans: StillAdmitted,
}

/// An identity that a plan touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedIdentity {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// Whether the hub is remote: then it is not known whether there is such an identity.
    pub is_remote: bool,
}

/// Whether a device would be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StillAdmitted {
    /// No.
    #[default]
    No,
    /// By this enrollment.
    By(EnrollmentRef),
    /// It is not known what it can prove itself with.
    Unknown,
}

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemState {
    /// It waits for its turn.
    Pending,
    /// There was nothing to do: it is in that state already.
    Unchanged,
    /// All of ours is done.
    Done,
    /// Nothing of ours was written.
    Failed,
}

/// Something that was done to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The individual enrollment was disabled, and has this etag since.
    EnrollmentDisabled {
        /// The etag.
        etag: Etag,
    },
    /// The individual enrollment was enabled.
    EnrollmentEnabled,
    /// The individual enrollment was deleted.
    EnrollmentDeleted,
    /// The registration record was deleted.
    RecordDeleted,
    /// The identity was disabled.
    IdentityDisabled {
        /// The hub.
        hub: HubName,
        /// The device's name there.
        device_id: DeviceId,
        /// The status reason it had before.
        reason_before: Option<String>,
    },
    /// The identity was enabled.
    IdentityEnabled {
        /// The hub.
        hub: HubName,
        /// The device's name there.
        device_id: DeviceId,
    },
    /// The identity was deleted, its twin and modules with it.
    IdentityDeleted {
        /// The hub.
        hub: HubName,
        /// The device's name there.
        device_id: DeviceId,
    },
    /// A ban was set.
    BanSet {
        /// Its key.
        key: String,
        /// The ban on the same subject that it took the place of.
        replaced: Option<Box<ReplacedBan>>,
    },
    /// A ban was lifted.
    BanLifted {
        /// Its key.
        key: String,
    },
    /// What a reinstatement did not touch, because somebody else wrote it since.
    LeftAlone {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
}

/// A ban that another one took the place of, without its subject, which is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedBan {
    /// How it ended.
    pub kind: BanKind,
    /// Why it was set.
    pub reason: Option<String>,
    /// Who set it.
    pub by: Caller,
    /// When.
    pub created: Timestamp,
    /// When it was over by itself.
    pub expires: Option<Timestamp>,
    /// The deprovisioning that set it.
    pub receipt: Option<ReceiptId>,
}

/// What became of a device's live sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedSessions {
    /// How many there were, those of its modules included.
    pub n: u32,
    /// How long it took until the last one was closed.
    pub closed: Closed,
}

/// Whether ended sessions are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closed {
    /// There were none.
    #[default]
    None,
    /// They are being waited for.
    Waiting,
    /// The last one was closed so many microseconds after the act, at this moment.
    After {
        /// From just before the commit until the last session was gone.
        micros: u64,
        /// When it was gone.
        at: Timestamp,
    },
    /// They were not closed within the time that was waited. They have no effect all the same.
    NotYet,
    /// They are closed, but the work was interrupted in between and nobody measured when.
    Unmeasured,
}

impl Closed {
    /// Whether this is [`Self::Waiting`].
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Waiting)
    }
}

/// What one remote hub is told about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStep {
    /// The hub.
    pub hub: HubName,
    /// The device's name there.
    pub device_id: DeviceId,
    /// What it is told.
    pub task: RemoteStepTask,
    /// How it stands.
    pub state: RemoteStepState,
    /// When that was written last.
    pub at: Timestamp,
}

/// What a remote hub is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteStepTask {
    /// To delete the identity.
    Delete,
    /// To disable it.
    Disable,
    /// To enable it, if it was disabled by us.
    Enable,
}

/// How a step on a remote hub stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteStepState {
    /// It is to be done, and tried for as long as the hub is linked.
    Pending {
        /// How often it was tried and failed.
        n_failures: u32,
        /// What went wrong last.
        last_error: Option<String>,
    },
    /// It is done.
    Done {
        /// Whether there was anything to do: false when there is no such identity, or it was as
        /// wanted.
        changed: bool,
    },
    /// A later deprovisioning took its place.
    Superseded,
    /// It will not be done.
    Failed(Trouble),
}

/// What went wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub error: String,
    /// What the operator can do.
    pub remedy: String,
}

/// A deprovisioning with the counts that the store keeps of its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// All but the counts.
    pub head: Deprovisioning,
    /// The counts.
    pub counts: ReceiptCounts,
}

impl Receipt {
    /// How many live sessions it ended, as a whole and device by device.
    #[must_use]
    pub fn n_sessions(&self) -> u64 {
        self.counts.sessions + u64::from(self.head.sessions.n)
    }

    /// The longest time from an act to the last session that it ended being closed, in
    /// microseconds, as far as it was measured.
    #[must_use]
    pub fn slowest_micros(&self) -> Option<u64> {
        self.counts.slowest_micros.max(match self.head.sessions.closed {
            Closed::After { micros, .. } => Some(micros),
            Closed::None | Closed::Waiting | Closed::NotYet | Closed::Unmeasured => None,
        })
    }

    /// When the last session of all was closed, as far as it was measured.
    #[must_use]
    pub fn last_closed(&self) -> Option<Timestamp> {
        self.counts.last_closed.max(match self.head.sessions.closed {
            Closed::After { at, .. } => Some(at),
            Closed::None | Closed::Waiting | Closed::NotYet | Closed::Unmeasured => None,
        })
    }
}

/// How far a deprovisioning is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptCounts {
    /// Devices.
    pub items: u64,
    /// Those that wait for their turn.
    pub pending: u64,
    /// Those that were in that state already.
    pub unchanged: u64,
    /// Those done.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those whose sessions are being waited for.
    pub closing: u64,
    /// Sessions ended.
    pub sessions: u64,
    /// The longest time from a device's act to its last closed session, in microseconds.
    pub slowest_micros: Option<u64>,
    /// When the last session of all was closed.
    pub last_closed: Option<Timestamp>,
    /// Devices and records looked at so far while the plan is being made; afterwards, and for a
    /// plan that another process makes, 0. The store does not keep it.
    pub looked_at: u64,
    /// Steps on remote hubs that are to be done.
    pub remote_pending: u64,
    /// Those done.
    pub remote_done: u64,
    /// Those that failed.
    pub remote_failed: u64,
}
