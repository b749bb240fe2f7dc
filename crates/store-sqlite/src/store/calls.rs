//! The trait: each call becomes a read on one of the reading threads, or a message to the writer.

use std::sync::Arc;

use async_trait::async_trait;
use model::{
    AccessPolicy, AttemptFilter, AuditFilter, AuditLine, Ban, CaCertificate, CertificateDer,
    ChangeSet, CloudMessage, ConnectFacts, ConnectQuery, Crl, DeprovisionItem, Device,
    DeviceCounts, DeviceId, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, EventPosition,
    Feedback, Former, Grounds, HubName, IndividualEnrollment, IndividualFacts, ItemState, Origin,
    Page, PartitionState, PendingFacts, PolicyScope, Receipt, ReceiptId, RecordFilter,
    RegisterFacts, RegisterQuery, RegistrationId, RegistrationRecord, RemoteRemoval, Serials,
    ServiceFacts, StoredAttempt, StoredEvent, Subscriptions, Timestamp, Usage,
};
use store::{AuditHead, CommitError, Marks, Store, StoreFault};
use tokio::sync::oneshot;

use super::SqliteStore;
use crate::{
    readers::{Closed, Reader, wait},
    reads::{self, attempts, bans, former, hub, receipt, service},
    rows::{ban, certificate, crl, enrollment, grounds, policy},
    writer::{Message, Pending},
};

#[async_trait]
impl Store for SqliteStore {
    fn marks(&self) -> Arc<Marks> {
        Arc::clone(&self.inner.marks)
    }

    async fn register_facts(&self, query: RegisterQuery) -> Result<RegisterFacts, StoreFault> {
        let read =
            move |reader: &Reader| reader.snapshot(|reader| reads::register::facts(reader, &query));
        self.inner.readers.read("read the facts of a registration", read).await
    }

    async fn individual_facts(&self, id: &RegistrationId) -> Result<IndividualFacts, StoreFault> {
        let id = id.clone();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| {
                Ok(IndividualFacts {
                    enrollment: reads::find_individual(reader.db(), &id)?,
                    record: reads::find_record(reader.db(), &id)?,
                })
            })
        };
        self.inner.readers.read("read an individual enrollment", read).await
    }

    async fn find_group(
        &self,
        id: &EnrollmentGroupId,
    ) -> Result<Option<EnrollmentGroup>, StoreFault> {
        let id = id.clone();
        self.inner
            .readers
            .read("read an enrollment group", move |reader| {
                let sql = enrollment::FIND_GROUP;
                reads::find(reader.db(), sql, [id.key()], enrollment::read_group)
            })
            .await
    }

    async fn find_record(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<RegistrationRecord>, StoreFault> {
        let id = id.clone();
        self.inner
            .readers
            .read("read a registration record", move |reader| reads::find_record(reader.db(), &id))
            .await
    }

    async fn list_individuals(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreFault> {
        let after = after.unwrap_or_default().to_owned();
        self.inner
            .readers
            .read("listed individual enrollments", move |reader| {
                reads::list_individuals(reader.db(), &after, limit)
            })
            .await
    }

    async fn list_groups(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<EnrollmentGroup>, StoreFault> {
        let after = after.unwrap_or_default().to_owned();
        self.inner
            .readers
            .read("listed enrollment groups", move |reader| {
                reads::list_groups(reader.db(), &after, limit)
            })
            .await
    }

    async fn list_records(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault> {
        let filter = filter.clone();
        let after = after.unwrap_or_default().to_owned();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| reads::list_records(reader.db(), &filter, &after, limit))
        };
        self.inner.readers.read("listed registration records", read).await
    }

    async fn count_records(&self, filter: &RecordFilter) -> Result<u64, StoreFault> {
        let filter = filter.clone();
        let read = move |reader: &Reader| reads::count_records(reader.db(), &filter);
        self.inner.readers.read("counted registration records", read).await
    }

    async fn find_ca_certificate(&self, name: &str) -> Result<Option<CaCertificate>, StoreFault> {
        let name = name.to_owned();
        self.inner
            .readers
            .read("read a CA certificate", move |reader| {
                reads::find(reader.db(), certificate::FIND_CA, [name], certificate::read_ca)
            })
            .await
    }

    async fn find_device(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<Device>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        self.inner
            .readers
            .read("read a device", move |reader| reads::find_device(reader.db(), &hub, &id))
            .await
    }

    async fn list_devices(
        &self,
        hub: &HubName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Device>, StoreFault> {
        let hub = hub.clone();
        let after = after.unwrap_or_default().to_owned();
        self.inner
            .readers
            .read("listed devices", move |reader| {
                reads::list_devices(reader.db(), &hub, &after, limit)
            })
            .await
    }

    async fn list_modules(&self, hub: &HubName, id: &DeviceId) -> Result<Vec<Device>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        self.inner
            .readers
            .read("listed modules", move |reader| reads::list_modules(reader.db(), &hub, &id))
            .await
    }

    async fn find_ban(&self, key: &str) -> Result<Option<Ban>, StoreFault> {
        let key = key.to_owned();
        self.inner
            .readers
            .read("read a ban", move |reader| reads::find(reader.db(), ban::FIND, [key], ban::read))
            .await
    }

    async fn list_bans(&self, after: Option<&str>, limit: usize) -> Result<Page<Ban>, StoreFault> {
        let after = after.unwrap_or_default().to_owned();
        self.inner
            .readers
            .read("listed bans", move |reader| bans::list_bans(reader.db(), &after, limit))
            .await
    }

    async fn records_resting_on(
        &self,
        ban_key: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationRecord>, StoreFault> {
        let (ban_key, after) = (ban_key.to_owned(), after.unwrap_or_default().to_owned());
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| bans::records_resting_on(reader.db(), &ban_key, &after, limit))
        };
        self.inner.readers.read("listed what rests on a certificate", read).await
    }

    async fn find_grounds(&self, id: &RegistrationId) -> Result<Option<Grounds>, StoreFault> {
        let id = id.clone();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| grounds::find_of_record(reader.db(), &id))
        };
        self.inner.readers.read("read what a registration rests on", read).await
    }

    async fn origin(&self, hub: &HubName, id: &DeviceId) -> Result<Option<Origin>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        let read =
            move |reader: &Reader| reader.snapshot(|reader| bans::origin(reader.db(), &hub, &id));
        self.inner.readers.read("read where an identity came from", read).await
    }

    async fn formers(&self, id: &RegistrationId) -> Result<Vec<Former>, StoreFault> {
        let id = id.clone();
        let read =
            move |reader: &Reader| reader.snapshot(|reader| former::formers(reader.db(), &id));
        self.inner.readers.read("read what a registration left behind", read).await
    }

    async fn former_of_group(
        &self,
        group: &EnrollmentGroupId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RegistrationId>, StoreFault> {
        let (group, after) = (group.clone(), after.unwrap_or_default().to_owned());
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| former::of_group(reader.db(), &group, &after, limit))
        };
        self.inner.readers.read("looked for what a group's registrations left behind", read).await
    }

    async fn known_certificate(
        &self,
        thumbprint: &str,
    ) -> Result<Option<EnrolledCertificate>, StoreFault> {
        let thumbprint = thumbprint.to_owned();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| bans::known_certificate(reader.db(), &thumbprint))
        };
        self.inner.readers.read("looked for an enrolled certificate", read).await
    }

    async fn shown_certificate(
        &self,
        thumbprint: &str,
    ) -> Result<Option<CertificateDer>, StoreFault> {
        let thumbprint = thumbprint.to_owned();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| bans::shown_certificate(reader.db(), &thumbprint))
        };
        self.inner.readers.read("looked for a certificate that was shown", read).await
    }

    async fn device_counts(&self, hub: &HubName) -> Result<DeviceCounts, StoreFault> {
        let hub = hub.clone();
        self.inner
            .readers
            .read("counted devices", move |reader| reads::device_counts(reader.db(), &hub))
            .await
    }

    async fn connect_facts(&self, query: &ConnectQuery) -> Result<ConnectFacts, StoreFault> {
        let query = query.clone();
        let read =
            move |reader: &Reader| reader.snapshot(|reader| hub::connect_facts(reader, &query));
        self.inner.readers.read("read the facts of a connection", read).await
    }

    async fn find_subscriptions(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<Subscriptions>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        let read = move |reader: &Reader| hub::find_subscriptions(reader.db(), &hub, &id);
        self.inner.readers.read("read what a device subscribed to", read).await
    }

    async fn read_events(
        &self,
        hub: &HubName,
        partition: u16,
        from: EventPosition,
        limit: usize,
        max_bytes: u64,
    ) -> Result<Vec<StoredEvent>, StoreFault> {
        let hub = hub.clone();
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| {
                hub::read_events(reader.db(), &hub, partition, from, limit, max_bytes)
            })
        };
        self.inner.readers.read("read events", read).await
    }

    async fn event_partitions(&self, hub: &HubName) -> Result<Vec<PartitionState>, StoreFault> {
        let hub = hub.clone();
        self.inner
            .readers
            .read("listed the partitions of an event log", move |reader| {
                hub::event_partitions(reader.db(), &hub)
            })
            .await
    }

    async fn waiting_messages(
        &self,
        hub: &HubName,
        id: &DeviceId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<CloudMessage>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        self.inner
            .readers
            .read("read the messages that wait for a device", move |reader| {
                hub::waiting_messages(reader.db(), &hub, &id, after, limit)
            })
            .await
    }

    async fn expired_messages(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(HubName, String, CloudMessage)>, StoreFault> {
        self.inner
            .readers
            .read("looked for expired messages", move |reader| {
                hub::expired_messages(reader.db(), now, limit)
            })
            .await
    }

    async fn list_feedback(
        &self,
        hub: &HubName,
        limit: usize,
    ) -> Result<Vec<Feedback>, StoreFault> {
        let hub = hub.clone();
        self.inner
            .readers
            .read("listed feedback on messages", move |reader| {
                hub::list_feedback(reader.db(), &hub, limit)
            })
            .await
    }

    async fn find_crl(&self, ca: &[u8; 32]) -> Result<Option<Crl>, StoreFault> {
        let ca = *ca;
        self.inner
            .readers
            .read("read a revocation list", move |reader| reads::crls::find_crl(reader.db(), &ca))
            .await
    }

    async fn n_crls(&self) -> Result<u64, StoreFault> {
        let read = |reader: &Reader| crl::count(reader.db());
        self.inner.readers.read("counted the revocation lists", read).await
    }

    async fn list_crls(&self) -> Result<Vec<Crl>, StoreFault> {
        let read = |reader: &Reader| reads::crls::list_crls(reader.db());
        self.inner.readers.read("listed revocation lists", read).await
    }

    async fn revoked_serials(&self, ca: &[u8; 32]) -> Result<Serials, StoreFault> {
        let ca = *ca;
        let read = move |reader: &Reader| reads::crls::revoked_serials(reader.db(), &ca);
        self.inner.readers.read("read the serial numbers on a revocation list", read).await
    }

    async fn due_crls(&self, now: Timestamp, limit: usize) -> Result<Vec<[u8; 32]>, StoreFault> {
        let read = move |reader: &Reader| reads::crls::due_crls(reader.db(), now, limit);
        self.inner.readers.read("looked for due revocation lists", read).await
    }

    async fn known_ca(&self, ca: &[u8; 32]) -> Result<Option<EnrolledCertificate>, StoreFault> {
        let ca = *ca;
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| reads::crls::known_ca(reader.db(), &ca))
        };
        self.inner.readers.read("read a CA's certificate", read).await
    }

    async fn cas_called(&self, subject: &[u8; 32]) -> Result<Vec<EnrolledCertificate>, StoreFault> {
        let subject = *subject;
        let read = move |reader: &Reader| {
            reader.snapshot(|reader| reads::crls::cas_called(reader.db(), &subject))
        };
        self.inner.readers.read("read the certificates of a CA's name", read).await
    }

    async fn find_policy(
        &self,
        scope: &PolicyScope,
        name: &str,
    ) -> Result<Option<AccessPolicy>, StoreFault> {
        let (scope, name) = (scope.clone(), name.to_owned());
        self.inner
            .readers
            .read("read a shared access policy", move |reader| {
                let key = [policy::scope(&scope), &name];
                reads::find(reader.db(), policy::FIND, key, policy::read)
            })
            .await
    }

    async fn list_policies(&self, scope: &PolicyScope) -> Result<Vec<AccessPolicy>, StoreFault> {
        let scope = scope.clone();
        self.inner
            .readers
            .read("listed shared access policies", move |reader| {
                let key = [policy::scope(&scope)];
                reads::list(reader.db(), policy::LIST, key, policy::read)
            })
            .await
    }

    async fn list_ca_certificates(&self) -> Result<Vec<CaCertificate>, StoreFault> {
        self.inner
            .readers
            .read("listed CA certificates", |reader| {
                reads::list(reader.db(), certificate::LIST_CA, [], certificate::read_ca)
            })
            .await
    }

    async fn groups_referring_to(&self, name: &str) -> Result<Vec<EnrollmentGroup>, StoreFault> {
        let name = name.to_owned();
        self.inner
            .readers
            .read("listed the groups of a CA certificate", move |reader| {
                let sql = enrollment::GROUPS_REFERRING_TO;
                reads::list(reader.db(), sql, [name], enrollment::read_group)
            })
            .await
    }

    async fn service_facts(&self) -> Result<ServiceFacts, StoreFault> {
        let read = |reader: &Reader| reader.snapshot(service::facts);
        self.inner.readers.read("read the service's settings", read).await
    }

    async fn pending_facts(&self, id: &RegistrationId) -> Result<PendingFacts, StoreFault> {
        let id = id.clone();
        let read =
            move |reader: &Reader| reader.snapshot(|reader| service::pending_facts(reader, &id));
        self.inner.readers.read("read a pending assignment", read).await
    }

    async fn due_assignments(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RegistrationId>, StoreFault> {
        self.inner
            .readers
            .read("looked for due assignments", move |reader| {
                service::due_assignments(reader.db(), now, limit)
            })
            .await
    }

    async fn due_removals(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RemoteRemoval>, StoreFault> {
        self.inner
            .readers
            .read("looked for due removals", move |reader| {
                reader.snapshot(|reader| service::due_removals(reader.db(), now, limit))
            })
            .await
    }

    async fn find_removal(
        &self,
        hub: &HubName,
        id: &DeviceId,
    ) -> Result<Option<RemoteRemoval>, StoreFault> {
        let (hub, id) = (hub.clone(), id.clone());
        let read = move |reader: &Reader| service::find_removal(reader.db(), &hub, &id);
        self.inner.readers.read("read what a remote hub is told", read).await
    }

    async fn find_receipt(&self, id: &ReceiptId) -> Result<Option<Receipt>, StoreFault> {
        let id = id.clone();
        let read = move |reader: &Reader| receipt::find_receipt(reader.db(), &id);
        self.inner.readers.read("read a receipt", read).await
    }

    async fn list_receipts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Receipt>, StoreFault> {
        let after = after.map(str::to_owned);
        let read =
            move |reader: &Reader| receipt::list_receipts(reader.db(), after.as_deref(), limit);
        self.inner.readers.read("listed receipts", read).await
    }

    async fn applying_receipts(&self, limit: usize) -> Result<Vec<ReceiptId>, StoreFault> {
        let read = move |reader: &Reader| receipt::applying(reader.db(), limit);
        self.inner.readers.read("listed deprovisionings to be done", read).await
    }

    async fn list_receipt_items(
        &self,
        id: &ReceiptId,
        state: Option<ItemState>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeprovisionItem>, StoreFault> {
        let id = id.clone();
        let read =
            move |reader: &Reader| receipt::list_items(reader.db(), &id, state, after, limit);
        self.inner.readers.read("listed the devices of a receipt", read).await
    }

    async fn open_receipt_items(
        &self,
        id: &ReceiptId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeprovisionItem>, StoreFault> {
        let id = id.clone();
        let read = move |reader: &Reader| receipt::open_items(reader.db(), &id, after, limit);
        self.inner.readers.read("listed the devices to be done of a receipt", read).await
    }

    async fn find_receipt_item(
        &self,
        id: &ReceiptId,
        number: u64,
    ) -> Result<Option<DeprovisionItem>, StoreFault> {
        let id = id.clone();
        let read = move |reader: &Reader| receipt::find_item(reader.db(), &id, number);
        self.inner.readers.read("read a device of a receipt", read).await
    }

    async fn find_receipt_item_of(
        &self,
        id: &ReceiptId,
        key: &str,
    ) -> Result<Option<DeprovisionItem>, StoreFault> {
        let (id, key) = (id.clone(), key.to_owned());
        let read = move |reader: &Reader| receipt::find_by_key(reader.db(), &id, &key);
        self.inner.readers.read("looked for a device of a receipt", read).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFault> {
        let read = |reader: &Reader| reader.snapshot(|reader| service::next_due(reader.db()));
        self.inner.readers.read("looked for what is due next", read).await
    }

    async fn list_audit(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditLine>, StoreFault> {
        let filter = filter.clone();
        self.inner
            .readers
            .read("listed lines of the audit log", move |reader| {
                service::list_audit(reader.db(), &filter, after, limit)
            })
            .await
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreFault> {
        self.inner
            .readers
            .read("read the end of the audit log", |reader| service::audit_head(&reader.connection))
            .await
    }

    async fn list_attempts(
        &self,
        filter: &AttemptFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredAttempt>, StoreFault> {
        let filter = filter.clone();
        self.inner
            .readers
            .read("listed attempts", move |reader| {
                attempts::list_attempts(reader.db(), &filter, before, limit)
            })
            .await
    }

    async fn usage(&self) -> Result<Usage, StoreFault> {
        let read = |reader: &Reader| reader.snapshot(|reader| reads::usage(reader.db()));
        self.inner.readers.read("counted what there is", read).await
    }

    async fn instance_setting(&self, name: &str) -> Result<Option<String>, StoreFault> {
        let name = name.to_owned();
        self.inner
            .readers
            .read("read a setting of the instance", move |reader| {
                let sql = "SELECT value FROM instance_settings WHERE name = ?1";
                reads::find(reader.db(), sql, [name], |columns| columns.take())
            })
            .await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), CommitError> {
        let doing = "wrote a change set";
        let Some(writer) = &self.inner.writer else {
            return Err(StoreFault::new(doing, "the database is open for reading only").into());
        };
        let (answer, answered) = oneshot::channel();
        let message = Message::Commit(Pending { changes, answer });
        writer
            .queue
            .send_async(message)
            .await
            .map_err(|_| CommitError::Fault(StoreFault::new(doing, Closed)))?;
        wait(answered, writer.gone.clone())
            .await
            .map_err(|closed| CommitError::Fault(StoreFault::new(doing, closed)))?
    }
}
