//! A store whose commits can be held up at a chosen place, so that what happens at once in life
//! happens in a chosen order in a test.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use model::{
    AccessPolicy, AuditFilter, AuditLine, CaCertificate, Change, ChangeSet, CloudMessage,
    ConnectFacts, ConnectQuery, Device, DeviceCounts, DeviceId, EnrollmentGroup, EnrollmentGroupId,
    EventPosition, Feedback, HubName, IndividualEnrollment, IndividualFacts, Page, PartitionState,
    PendingFacts, PolicyScope, RecordFilter, RegisterFacts, RegisterQuery, RegistrationId,
    RegistrationRecord, RemoteRemoval, ServiceFacts, StoredEvent, Timestamp, Usage,
};
use store::{AuditHead, CommitError, Marks, Store, StoreFault};
use tokio::sync::{mpsc, oneshot};

/// Where a call is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// A commit is asked for; the store has not heard of it, and never will if whoever asks goes.
    Asked,
    /// A commit is in the store's queue, and everything that is asked for later waits behind it.
    /// It is written even if whoever asked goes.
    Queued,
    /// A commit was written, and whoever asked has not heard of it.
    Written,
    /// The facts of a connection were read, and whoever asked has not seen them.
    FactsRead,
}

/// A call that is held up, or will be.
pub(crate) struct Held {
    reached: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until a call is there.
    pub(crate) async fn reached(&mut self) {
        (&mut self.reached).await.unwrap();
    }

    /// Lets it go on.
    pub(crate) fn release(self) {
        // Whoever waited may have gone.
        let _ = self.go.send(());
    }
}

/// Whether a change is meant.
pub(crate) type Like = fn(&Change) -> bool;

type Matches = Box<dyn Fn(&ChangeSet) -> bool + Send>;

struct Hold {
    at: At,
    matches: Matches,
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Holds {
    waiting: Mutex<Vec<Hold>>,
    n_failures: Mutex<usize>,
    /// How many commits go well before one fails, and whether that one is written all the same.
    failure: Mutex<Option<(usize, bool)>>,
}

impl Holds {
    async fn pass(&self, at: At, changes: &ChangeSet) {
        let found = {
            let mut waiting = self.waiting.lock().unwrap();
            let place = waiting.iter().position(|hold| hold.at == at && (hold.matches)(changes));
            place.map(|place| waiting.remove(place))
        };
        if let Some(Hold { reached, go, .. }) = found {
            // A test that looks no further lets everything go on.
            let _ = reached.send(());
            let _ = go.await;
        }
    }

    fn fails(&self) -> bool {
        let mut n = self.n_failures.lock().unwrap();
        let fails = *n > 0;
        *n = n.saturating_sub(1);
        fails
    }
}

impl Holds {
    /// Whether this commit fails, and if so, whether it is written all the same.
    fn failure(&self) -> Option<bool> {
        let mut failure = self.failure.lock().unwrap();
        match failure.as_mut() {
            Some((0, is_written)) => {
                let is_written = *is_written;
                *failure = None;
                Some(is_written)
            }
            Some((n, _)) => {
                *n -= 1;
                None
            }
            None => None,
        }
    }
}

type Asked = (ChangeSet, oneshot::Sender<Result<(), CommitError>>);

/// The store.
pub(crate) struct Gated {
    /// How often it was asked how the service is configured.
    pub(crate) n_service_facts: AtomicUsize,
    /// Every commit fails that has a change like this.
    pub(crate) failing: Mutex<Option<Like>>,
    under: Arc<dyn Store>,
    holds: Arc<Holds>,
    queue: mpsc::UnboundedSender<Asked>,
}

impl Gated {
    pub(crate) fn new(under: Arc<dyn Store>) -> Self {
        let (queue, mut asked) = mpsc::unbounded_channel::<Asked>();
        let holds = Arc::<Holds>::default();
        let (store, passing) = (Arc::clone(&under), Arc::clone(&holds));
        tokio::spawn(async move {
            while let Some((changes, answer)) = asked.recv().await {
                passing.pass(At::Queued, &changes).await;
                let _ = answer.send(store.commit(changes).await);
            }
        });
        Self {
            n_service_facts: AtomicUsize::new(0),
            failing: Mutex::default(),
            under,
            holds,
            queue,
        }
    }

    /// Holds up the next call at this place whose changes have one like this.
    pub(crate) fn hold(&self, at: At, like: fn(&Change) -> bool) -> Held {
        let (reached, is_reached) = oneshot::channel();
        let (go, may_go) = oneshot::channel();
        let matches: Matches =
            Box::new(move |set| at == At::FactsRead || set.changes.iter().any(like));
        let hold = Hold { at, matches, reached, go: may_go };
        self.holds.waiting.lock().unwrap().push(hold);
        Held { reached: is_reached, go }
    }

    /// Makes one commit fail after so many that go well. It is written all the same, or it is not.
    pub(crate) fn fail_after(&self, n: usize, is_written: bool) {
        *self.holds.failure.lock().unwrap() = Some((n, is_written));
    }

    /// Whether that commit has not come.
    pub(crate) fn is_to_fail(&self) -> bool {
        self.holds.failure.lock().unwrap().is_some()
    }

    /// Whether the next commit is to fail; after this it is not.
    pub(crate) fn fails_next(&self) -> bool {
        self.holds.fails()
    }

    /// Makes the next so many commits fail.
    pub(crate) fn fail(&self, n: usize) {
        *self.holds.n_failures.lock().unwrap() = n;
    }
}

/// Passes reads on as they are.
macro_rules! passing_on {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for Gated {
            fn marks(&self) -> Arc<Marks> {
                self.under.marks()
            }

            $(async fn $name(&self, $($argument: $kind),*) -> Result<$answer, StoreFault> {
                self.under.$name($($argument),*).await
            })*

            async fn service_facts(&self) -> Result<ServiceFacts, StoreFault> {
                self.n_service_facts.fetch_add(1, Ordering::SeqCst);
                self.under.service_facts().await
            }

            async fn connect_facts(
                &self,
                query: &ConnectQuery,
            ) -> Result<ConnectFacts, StoreFault> {
                let facts = self.under.connect_facts(query).await;
                self.holds.pass(At::FactsRead, &ChangeSet::new()).await;
                facts
            }

            async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError> {
                let failing = *self.failing.lock().unwrap();
                let is_like = failing.is_some_and(|like| changes.changes.iter().any(like));
                if is_like || self.holds.fails() {
                    return Err(StoreFault::new("was told to fail", "a test").into());
                }
                let failure = self.holds.failure();
                if failure == Some(false) {
                    return Err(StoreFault::new("was told to fail", "a test").into());
                }
                self.holds.pass(At::Asked, &changes).await;
                let (answer, answered) = oneshot::channel();
                assert!(self.queue.send((changes.clone(), answer)).is_ok(), "the queue is gone");
                let outcome = answered.await.unwrap();
                self.holds.pass(At::Written, &changes).await;
                if failure == Some(true) {
                    return Err(StoreFault::new("was told to answer nothing", "a test").into());
                }
                outcome
            }
        }
    };
}

passing_on! {
    register_facts(query: RegisterQuery) -> RegisterFacts;
    individual_facts(id: &RegistrationId) -> IndividualFacts;
    find_group(id: &EnrollmentGroupId) -> Option<EnrollmentGroup>;
    find_record(id: &RegistrationId) -> Option<RegistrationRecord>;
    list_individuals(after: Option<&str>, limit: usize) -> Page<IndividualEnrollment>;
    list_groups(after: Option<&str>, limit: usize) -> Page<EnrollmentGroup>;
    list_records(filter: &RecordFilter, after: Option<&str>, limit: usize)
        -> Page<RegistrationRecord>;
    count_records(filter: &RecordFilter) -> u64;
    find_ca_certificate(name: &str) -> Option<CaCertificate>;
    find_device(hub: &HubName, id: &DeviceId) -> Option<Device>;
    list_devices(hub: &HubName, after: Option<&str>, limit: usize) -> Page<Device>;
    list_modules(hub: &HubName, id: &DeviceId) -> Vec<Device>;
    list_ca_certificates() -> Vec<CaCertificate>;
    groups_referring_to(name: &str) -> Vec<EnrollmentGroup>;
    pending_facts(id: &RegistrationId) -> PendingFacts;
    due_assignments(now: Timestamp, limit: usize) -> Vec<RegistrationId>;
    due_removals(now: Timestamp, limit: usize) -> Vec<RemoteRemoval>;
    find_removal(hub: &HubName, id: &DeviceId) -> Option<RemoteRemoval>;
    find_receipt(id: &model::ReceiptId) -> Option<model::Receipt>;
    list_receipts(after: Option<&str>, limit: usize) -> Page<model::Receipt>;
    applying_receipts(limit: usize) -> Vec<model::ReceiptId>;
    list_receipt_items(
        id: &model::ReceiptId, state: Option<model::ItemState>, after: u64, limit: usize
    ) -> Vec<model::DeprovisionItem>;
    open_receipt_items(id: &model::ReceiptId, after: u64, limit: usize)
        -> Vec<model::DeprovisionItem>;
    find_receipt_item(id: &model::ReceiptId, number: u64) -> Option<model::DeprovisionItem>;
    find_receipt_item_of(id: &model::ReceiptId, key: &str) -> Option<model::DeprovisionItem>;
    next_due() -> Option<Timestamp>;
    list_audit(filter: &AuditFilter, after: Option<u64>, limit: usize) -> Vec<AuditLine>;
    audit_head() -> AuditHead;
    find_crl(ca: &[u8; 32]) -> Option<model::Crl>;
    n_crls() -> u64;
    list_crls() -> Vec<model::Crl>;
    revoked_serials(ca: &[u8; 32]) -> model::Serials;
    due_crls(now: Timestamp, limit: usize) -> Vec<[u8; 32]>;
    known_ca(ca: &[u8; 32]) -> Option<model::EnrolledCertificate>;
    cas_called(subject: &[u8; 32]) -> Vec<model::EnrolledCertificate>;
    find_ban(key: &str) -> Option<model::Ban>;
    list_bans(after: Option<&str>, limit: usize) -> Page<model::Ban>;
    records_resting_on(ban_key: &str, after: Option<&str>, limit: usize)
        -> Page<RegistrationRecord>;
    find_grounds(id: &RegistrationId) -> Option<model::Grounds>;
    origin(hub: &HubName, id: &DeviceId) -> Option<model::Origin>;
    formers(id: &RegistrationId) -> Vec<model::Former>;
    former_of_group(group: &EnrollmentGroupId, after: Option<&str>, limit: usize)
        -> Page<RegistrationId>;
    known_certificate(thumbprint: &str) -> Option<model::EnrolledCertificate>;
    shown_certificate(thumbprint: &str) -> Option<model::CertificateDer>;
    list_attempts(filter: &model::AttemptFilter, before: Option<u64>, limit: usize)
        -> Vec<model::StoredAttempt>;
    device_counts(hub: &HubName) -> DeviceCounts;
    find_subscriptions(hub: &HubName, id: &DeviceId) -> Option<model::Subscriptions>;
    read_events(hub: &HubName, partition: u16, from: EventPosition, limit: usize, max_bytes: u64)
        -> Vec<StoredEvent>;
    event_partitions(hub: &HubName) -> Vec<PartitionState>;
    waiting_messages(hub: &HubName, id: &DeviceId, after: u64, limit: usize) -> Vec<CloudMessage>;
    expired_messages(now: Timestamp, limit: usize) -> Vec<(HubName, String, CloudMessage)>;
    list_feedback(hub: &HubName, limit: usize) -> Vec<Feedback>;
    find_policy(scope: &PolicyScope, name: &str) -> Option<AccessPolicy>;
    list_policies(scope: &PolicyScope) -> Vec<AccessPolicy>;
    usage() -> Usage;
    instance_setting(name: &str) -> Option<String>;
}
