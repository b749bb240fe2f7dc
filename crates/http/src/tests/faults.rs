//! Faults of ours and the log: who is told what.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use model::{
    AccessPolicy, AuditFilter, AuditLine, CaCertificate, ChangeSet, CloudMessage, ConnectFacts,
    ConnectQuery, Device, DeviceCounts, DeviceId, EnrollmentGroup, EnrollmentGroupId,
    EventPosition, Feedback, HubName, IndividualEnrollment, IndividualFacts, Page, PartitionState,
    PendingFacts, PolicyScope, RecordFilter, RegisterFacts, RegisterQuery, RegistrationId,
    RegistrationRecord, RemoteRemoval, ServiceFacts, StoredEvent, Timestamp, Usage,
};
use store::{AuditHead, CommitError, Marks, Store, StoreFault};
use tracing::subscriber::DefaultGuard;

use super::frozen::Frozen;
use super::scene::{Ask, HUB, KEY, OTHER_KEY, Scene, scene, scene_on};

/// A store that finds policies and how the service is configured, and nothing else.
pub(super) struct Broken {
    store: Arc<dyn Store>,
    panics: bool,
    /// Told again without asking the store, as soon as it was asked once.
    configured: OnceLock<ServiceFacts>,
    /// What it knows besides.
    frozen: Option<Arc<Frozen>>,
}

impl Broken {
    /// One that knows what is frozen, and reads from and writes to this store until then.
    pub(super) fn but_for(frozen: Arc<Frozen>, store: Arc<dyn Store>) -> Self {
        Self { store, panics: false, configured: OnceLock::new(), frozen: Some(frozen) }
    }

    fn frozen(&self) -> Result<&Frozen, StoreFault> {
        self.frozen.as_deref().ok_or_else(|| self.fault())
    }

    fn fault(&self) -> StoreFault {
        assert!(!self.panics, "the broken store panics");
        StoreFault::new("read the facts", io::Error::other("disk /dev/secret is full"))
    }
}

#[async_trait]
impl Store for Broken {
    fn marks(&self) -> Arc<Marks> {
        self.store.marks()
    }
    async fn register_facts(&self, _: RegisterQuery) -> Result<RegisterFacts, StoreFault> {
        Err(self.fault())
    }
    async fn individual_facts(&self, _: &RegistrationId) -> Result<IndividualFacts, StoreFault> {
        Err(self.fault())
    }
    async fn find_group(
        &self,
        _: &EnrollmentGroupId,
    ) -> Result<Option<EnrollmentGroup>, StoreFault> {
        Err(self.fault())
    }
    async fn find_record(
        &self,
        _: &RegistrationId,
    ) -> Result<Option<RegistrationRecord>, StoreFault> {
        Err(self.fault())
    }
    async fn list_individuals(
        &self,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreFault> {
        Err(self.fault())
    }
    async fn list_groups(
        &self,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<EnrollmentGroup>, StoreFault> {
        Err(self.fault())
    }
    async fn list_records(
        &self,
        _: &RecordFilter,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault> {
        Err(self.fault())
    }
    async fn count_records(&self, _: &RecordFilter) -> Result<u64, StoreFault> {
        Err(self.fault())
    }
    async fn find_ca_certificate(&self, _: &str) -> Result<Option<CaCertificate>, StoreFault> {
        Err(self.fault())
    }
    async fn find_device(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<Device>, StoreFault> {
        match self.frozen()?.facts() {
            Some(facts) => Ok(facts.find_device(id)),
            None => self.store.find_device(hub, id).await,
        }
    }
    async fn list_devices(
        &self,
        _: &HubName,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<Device>, StoreFault> {
        Err(self.fault())
    }
    async fn find_ban(&self, _: &str) -> Result<Option<model::Ban>, StoreFault> {
        Err(self.fault())
    }
    async fn list_bans(&self, _: Option<&str>, _: usize) -> Result<Page<model::Ban>, StoreFault> {
        Err(self.fault())
    }
    async fn find_crl(&self, _: &[u8; 32]) -> Result<Option<model::Crl>, StoreFault> {
        Err(self.fault())
    }
    async fn n_crls(&self) -> Result<u64, StoreFault> {
        Err(self.fault())
    }
    async fn list_crls(&self) -> Result<Vec<model::Crl>, StoreFault> {
        Err(self.fault())
    }
    async fn revoked_serials(&self, _: &[u8; 32]) -> Result<model::Serials, StoreFault> {
        Err(self.fault())
    }
    async fn due_crls(&self, _: Timestamp, _: usize) -> Result<Vec<[u8; 32]>, StoreFault> {
        Err(self.fault())
    }
    async fn known_ca(
        &self,
        _: &[u8; 32],
    ) -> Result<Option<model::EnrolledCertificate>, StoreFault> {
        Err(self.fault())
    }
    async fn cas_called(
        &self,
        _: &[u8; 32],
    ) -> Result<Vec<model::EnrolledCertificate>, StoreFault> {
        Err(self.fault())
    }
    async fn records_resting_on(
        &self,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault> {
        Err(self.fault())
    }
    async fn find_grounds(&self, _: &RegistrationId) -> Result<Option<model::Grounds>, StoreFault> {
        Err(self.fault())
    }
    async fn formers(&self, _: &RegistrationId) -> Result<Vec<model::Former>, StoreFault> {
        Err(self.fault())
    }
    async fn former_of_group(
        &self,
        _: &EnrollmentGroupId,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<RegistrationId>, StoreFault> {
        Err(self.fault())
    }
    async fn origin(&self, _: &HubName, _: &DeviceId) -> Result<Option<model::Origin>, StoreFault> {
        Err(self.fault())
    }
    async fn known_certificate(
        &self,
        _: &str,
    ) -> Result<Option<model::EnrolledCertificate>, StoreFault> {
        Err(self.fault())
    }
    async fn shown_certificate(
        &self,
        _: &str,
    ) -> Result<Option<model::CertificateDer>, StoreFault> {
        Err(self.fault())
    }
    async fn device_counts(&self, _: &HubName) -> Result<DeviceCounts, StoreFault> {
        Err(self.fault())
    }
    async fn find_policy(
        &self,
        scope: &PolicyScope,
        name: &str,
    ) -> Result<Option<AccessPolicy>, StoreFault> {
        if let Some(facts) = self.frozen.as_ref().and_then(|frozen| frozen.facts()) {
            return Ok(facts.find_policy(scope, name));
        }
        self.store.find_policy(scope, name).await
    }
    async fn connect_facts(&self, query: &ConnectQuery) -> Result<ConnectFacts, StoreFault> {
        match self.frozen()?.facts() {
            Some(facts) => Ok(facts.connect.clone()),
            None => self.store.connect_facts(query).await,
        }
    }
    async fn find_subscriptions(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<model::Subscriptions>, StoreFault> {
        match self.frozen()?.facts() {
            Some(facts) => Ok(facts.connect.subscriptions),
            None => self.store.find_subscriptions(hub, id).await,
        }
    }
    async fn read_events(
        &self,
        _: &HubName,
        partition: u16,
        from: EventPosition,
        limit: usize,
        max_bytes: u64,
    ) -> Result<Vec<StoredEvent>, StoreFault> {
        Ok(self.frozen()?.read_events(partition, from, limit, max_bytes))
    }
    async fn event_partitions(&self, _: &HubName) -> Result<Vec<PartitionState>, StoreFault> {
        Ok(self.frozen()?.event_partitions())
    }
    async fn waiting_messages(
        &self,
        _: &HubName,
        _: &DeviceId,
        _: u64,
        _: usize,
    ) -> Result<Vec<CloudMessage>, StoreFault> {
        Err(self.fault())
    }
    async fn expired_messages(
        &self,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<(HubName, String, CloudMessage)>, StoreFault> {
        Err(self.fault())
    }
    async fn list_feedback(&self, _: &HubName, _: usize) -> Result<Vec<Feedback>, StoreFault> {
        Err(self.fault())
    }
    async fn list_policies(&self, _: &PolicyScope) -> Result<Vec<AccessPolicy>, StoreFault> {
        Err(self.fault())
    }
    async fn service_facts(&self) -> Result<ServiceFacts, StoreFault> {
        if let Some(facts) = self.configured.get() {
            return Ok(facts.clone());
        }
        let facts = self.store.service_facts().await?;
        Ok(self.configured.get_or_init(|| facts).clone())
    }
    async fn list_modules(&self, _: &HubName, _: &DeviceId) -> Result<Vec<Device>, StoreFault> {
        Err(self.fault())
    }
    async fn list_ca_certificates(&self) -> Result<Vec<CaCertificate>, StoreFault> {
        Err(self.fault())
    }
    async fn groups_referring_to(&self, _: &str) -> Result<Vec<EnrollmentGroup>, StoreFault> {
        Err(self.fault())
    }
    async fn pending_facts(&self, _: &RegistrationId) -> Result<PendingFacts, StoreFault> {
        Err(self.fault())
    }
    async fn due_assignments(
        &self,
        _: Timestamp,
        _: usize,
    ) -> Result<Vec<RegistrationId>, StoreFault> {
        Err(self.fault())
    }
    async fn due_removals(&self, _: Timestamp, _: usize) -> Result<Vec<RemoteRemoval>, StoreFault> {
        Err(self.fault())
    }
    async fn find_removal(
        &self,
        _: &HubName,
        _: &DeviceId,
    ) -> Result<Option<RemoteRemoval>, StoreFault> {
        Err(self.fault())
    }
    async fn find_receipt(
        &self,
        _: &model::ReceiptId,
    ) -> Result<Option<model::Receipt>, StoreFault> {
        Err(self.fault())
    }
    async fn list_receipts(
        &self,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<model::Receipt>, StoreFault> {
        Err(self.fault())
    }
    async fn applying_receipts(&self, _: usize) -> Result<Vec<model::ReceiptId>, StoreFault> {
        Err(self.fault())
    }
    async fn list_receipt_items(
        &self,
        _: &model::ReceiptId,
        _: Option<model::ItemState>,
        _: u64,
        _: usize,
    ) -> Result<Vec<model::DeprovisionItem>, StoreFault> {
        Err(self.fault())
    }
    async fn open_receipt_items(
        &self,
        _: &model::ReceiptId,
        _: u64,
        _: usize,
    ) -> Result<Vec<model::DeprovisionItem>, StoreFault> {
        Err(self.fault())
    }
    async fn find_receipt_item(
        &self,
        _: &model::ReceiptId,
        _: u64,
    ) -> Result<Option<model::DeprovisionItem>, StoreFault> {
        Err(self.fault())
    }
    async fn find_receipt_item_of(
        &self,
        _: &model::ReceiptId,
        _: &str,
    ) -> Result<Option<model::DeprovisionItem>, StoreFault> {
        Err(self.fault())
    }
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFault> {
        Err(self.fault())
    }
    async fn list_audit(
        &self,
        _: &AuditFilter,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<AuditLine>, StoreFault> {
        Err(self.fault())
    }
    async fn list_attempts(
        &self,
        _: &model::AttemptFilter,
        _: Option<u64>,
        _: usize,
    ) -> Result<Vec<model::StoredAttempt>, StoreFault> {
        Err(self.fault())
    }
    async fn audit_head(&self) -> Result<AuditHead, StoreFault> {
        Err(self.fault())
    }
    async fn usage(&self) -> Result<Usage, StoreFault> {
        Err(self.fault())
    }
    async fn instance_setting(&self, _: &str) -> Result<Option<String>, StoreFault> {
        Err(self.fault())
    }
    async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError> {
        match &self.frozen {
            None => Err(CommitError::Fault(self.fault())),
            Some(frozen) if frozen.facts().is_some() => {
                frozen.keep_events(changes);
                Ok(())
            }
            Some(_) => self.store.commit(changes).await,
        }
    }
}

async fn broken(panics: bool) -> Scene {
    let broken = |store| Broken { store, panics, configured: OnceLock::new(), frozen: None };
    scene_on(|store| Arc::new(broken(store))).await
}

/// An instance that never waits for its store, whose threads know nothing of tokio's time: it
/// knows how it is configured, and fails at everything else.
pub(super) async fn settled() -> Scene {
    let (settings, hubs) = (store::first_settings(), Vec::new());
    let facts = ServiceFacts { settings, hubs, version: 0 };
    let configured = || OnceLock::from(facts.clone());
    let broken = |store| Broken { store, panics: false, configured: configured(), frozen: None };
    scene_on(|store| Arc::new(broken(store))).await
}

/// What was logged, while the guard lives.
pub(super) fn listen_to_the_log() -> (Arc<Mutex<Vec<u8>>>, DefaultGuard) {
    #[derive(Clone)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("log").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Lines(Arc::clone(&lines));
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

pub(super) fn text(lines: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(lines.lock().expect("log").clone()).expect("UTF-8")
}

#[tokio::test]
async fn a_fault_is_logged_with_its_causes_and_told_as_a_number() {
    let scene = broken(false).await;
    let (lines, guard) = listen_to_the_log();
    let device = scene.send(scene.register("dev-1")).await.with_code(500_000);
    let operator = scene.operator("GET", "/enrollments/a", "").await.with_code(500_000);
    let hub = scene.hub("GET", "/devices/a", "").await.with_name(500, "ServerError");
    drop(guard);
    let log = text(&lines);
    for reply in [&device, &operator, &hub] {
        assert!(!reply.text.contains("secret") && !reply.text.contains("facts"), "{reply:?}");
        let id = reply.header("x-ms-request-id");
        let of_it: Vec<_> = log.lines().filter(|line| line.contains(id)).collect();
        assert_eq!(of_it.len(), 2, "the fault, and the summary: {of_it:#?}");
        assert!(of_it[0].contains("ERROR") && of_it[0].contains("disk /dev/secret is full"));
        assert!(of_it[1].contains("INFO") && !of_it[1].contains("disk"), "{}", of_it[1]);
    }
}

#[tokio::test]
async fn a_panic_in_a_handler_is_answered_and_the_door_goes_on() {
    let scene = broken(true).await;
    let reply = scene.operator("GET", "/enrollments/a", "").await.with_code(500_000);
    assert!(!reply.text.contains("panics"), "{reply:?}");
    scene.hub("GET", "/devices/a", "").await.with_name(500, "ServerError");
    scene.send(Ask::new("GET", "/nothing")).await.with_code(404_000);
}

#[tokio::test]
async fn who_asks_for_our_health_is_told_when_the_storage_fails() {
    let scene = broken(false).await;
    let (lines, guard) = listen_to_the_log();
    let reply = scene.send(Ask::new("GET", "/healthz")).await.with_status(503);
    drop(guard);
    assert_eq!(reply.text, r#"{"status":"failing"}"#);
    let log = text(&lines);
    assert!(log.contains("disk /dev/secret is full"), "{log}");
}

#[tokio::test]
async fn a_request_leaves_one_line_with_what_matters_and_no_secret() {
    let scene = scene().await;
    let (lines, guard) = listen_to_the_log();
    let created = scene.enroll("dev-1").await;
    let registered = scene.send(scene.register("dev-1")).await.with_status(202);
    let wrong = scene.device_path("dev-2", "/register");
    let refused = scene.send(Ask::new("PUT", &wrong).json("{}")).await.with_code(401_002);
    let denied =
        scene.send(Ask::new("GET", "/devices/x?sig=hush").host(HUB)).await.with_status(401);
    drop(guard);
    let log = text(&lines);
    let line = |id: &str| {
        let summaries: Vec<_> =
            log.lines().filter(|line| line.contains(id) && line.contains("http.status")).collect();
        assert_eq!(summaries.len(), 1, "{log}");
        summaries[0].to_owned()
    };
    for (reply, expected) in [
        (&created, ["PUT /enrollments/{id} answered 200", "duration_ms=", "127.0.0.1:50000"]),
        (
            &registered,
            [
                "PUT /{scope}/registrations/{id}/register answered 202",
                "registration.id=\"dev-1\"",
                "http.status=202",
            ],
        ),
        (
            &refused,
            [
                "answered 401: attestation failed",
                "registration.id=\"dev-2\"",
                "error.code=\"401002\"",
            ],
        ),
        (
            &denied,
            [
                "GET /devices/{id} answered 401: the Authorization header is missing",
                "IotHubUnauthorizedAccess",
                "http.host=\"hub-1",
            ],
        ),
    ] {
        let line = line(reply.header("x-ms-request-id"));
        for part in expected {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    for secret in [KEY, OTHER_KEY, "SharedAccessSignature", "sig=", "hush"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
