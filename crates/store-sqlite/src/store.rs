//! The store as callers see it: settings, opening and closing, and the trait.

use std::{
    fs::File,
    iter,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use flume::Sender;
use model::{
    AccessPolicy, AuditFilter, AuditLine, CaCertificate, ChangeSet, Device, DeviceCounts, DeviceId,
    EnrollmentGroup, EnrollmentGroupId, HubName, IndividualEnrollment, IndividualFacts, Page,
    PendingFacts, PolicyScope, RecordFilter, RegisterFacts, RegisterQuery, RegistrationId,
    RegistrationRecord, RemoteRemoval, ServiceFacts, Timestamp, Usage,
};
use store::{AuditHead, CommitError, Store, StoreFault};
use tokio::sync::{oneshot, watch};
use tracing::error;

use crate::{
    backup::{self, BackupError},
    checkpoint::{Checkpoints, StartError},
    master_key::MasterKey,
    open::{self, OpenError},
    readers::{Closed, Readers, wait},
    reads::{self, service},
    rows::{certificate, enrollment, policy},
    writer::{Message, Pending, Writer},
};

/// How many threads read when only reading is wanted.
const N_READERS_ONLY: usize = 2;

/// Where the database is and how much may go on at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The database file. It and its folder are made when they are missing, for their owner only.
    pub path: PathBuf,
    /// How many threads read; at least 1.
    pub n_readers: usize,
    /// How many change sets may wait to be written before callers wait to be let in; at least 1.
    pub max_waiting: usize,
    /// How many change sets one physical transaction takes at most; at least 1.
    pub max_batch: usize,
    /// The master key. A new database is sealed with it; any other opens with its own only.
    pub master_key: MasterKey,
}

/// A store in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    readers: Readers,
    writer: Option<WriterSide>,
    running: Mutex<Running>,
}

/// How to ask the writer.
struct WriterSide {
    queue: Sender<Message>,
    gone: watch::Receiver<()>,
}

/// What stops when the store is closed.
#[derive(Default)]
struct Running {
    readers: Vec<JoinHandle<()>>,
    writer: Vec<JoinHandle<()>>,
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens a database for reading and writing: makes it if there is none, checks it, brings its
    /// schema up to date, and takes the lock that keeps a second writing process away.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open(settings: SqliteSettings) -> Result<Self, OpenError> {
        let path = settings.path;
        let lock = open::lock(&path)?;
        let (mut connection, vault) = open::open_writer(&path, &settings.master_key)?;
        let vault = Arc::new(vault);
        let readers = (0..settings.n_readers.max(1))
            .map(|_| open::open_reader(&path))
            .collect::<Result<_, _>>()?;
        let second = open::open_checkpointer(&path)?;
        let (checkpoints, checkpoint_thread) =
            Checkpoints::start(&mut connection, second, open::BUSY_TIMEOUT).map_err(|error| {
                match error {
                    StartError::Sqlite(source) => open::classify(&path, source),
                    StartError::Thread(source) => OpenError::Thread(source),
                }
            })?;
        let writer = Writer::new(connection, Arc::clone(&vault), checkpoints, settings.max_batch)
            .map_err(|source| open::classify(&path, source))?;
        let (side, writer_thread) = start_writer(writer, settings.max_waiting)?;
        let (readers, reader_threads) =
            Readers::start(readers, &vault).map_err(OpenError::Thread)?;
        let running = Running {
            readers: reader_threads,
            // In the order in which they end: the writer lets the checkpoints go.
            writer: vec![writer_thread, checkpoint_thread],
            lock: Some(lock),
        };
        Ok(Self::new(path, readers, Some(side), running))
    }

    /// Opens a database for reading only, beside a server that may be writing to it. Committing
    /// answers a fault.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open_read_only(path: &Path, master_key: &MasterKey) -> Result<Self, OpenError> {
        let first = open::open_reader(path)?;
        let vault = Arc::new(open::unlock(&first, path, master_key)?);
        let others = (1..N_READERS_ONLY).map(|_| open::open_reader(path));
        let connections = iter::once(Ok(first)).chain(others).collect::<Result<_, _>>()?;
        let (readers, threads) = Readers::start(connections, &vault).map_err(OpenError::Thread)?;
        let running = Running { readers: threads, ..Running::default() };
        Ok(Self::new(path.to_owned(), readers, None, running))
    }

    /// Copies the database into a new file while it is in use; see [`crate::backup_file`].
    ///
    /// # Errors
    /// [`BackupError`]; nothing is left behind then.
    pub async fn backup(
        &self,
        to: &Path,
        progress: impl FnMut(u64, u64),
    ) -> Result<(), BackupError> {
        backup::backup(self.inner.path.clone(), to, progress).await
    }

    /// Writes what waits, moves the log into the database file and lets go of it. Blocks until
    /// that is done. Other clones answer faults from then on.
    pub fn close(self) {
        self.inner.stop();
    }

    fn new(path: PathBuf, readers: Readers, writer: Option<WriterSide>, running: Running) -> Self {
        let running = Mutex::new(running);
        Self { inner: Arc::new(Inner { path, readers, writer, running }) }
    }
}

impl Inner {
    /// Stops the threads in turn and waits for them. A second time nothing happens.
    fn stop(&self) {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        self.readers.stop(running.readers.len());
        for thread in running.readers {
            let _ = thread.join();
        }
        if let Some(writer) = &self.writer {
            let _ = writer.queue.send(Message::Close);
        }
        for thread in running.writer {
            let _ = thread.join();
        }
        drop(running.lock);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start_writer(
    writer: Writer,
    max_waiting: usize,
) -> Result<(WriterSide, JoinHandle<()>), OpenError> {
    let (queue, inbox) = flume::bounded(max_waiting.max(1));
    let (alive, gone) = watch::channel(());
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| writer.run(&inbox))).is_err() {
            error!("the store's writer panicked; nothing more is written until a restart");
        }
        // In this order: whoever finds the queue closed or itself forgotten gets a fault.
        drop(inbox);
        drop(alive);
    };
    let thread =
        thread::Builder::new().name("store-write".into()).spawn(run).map_err(OpenError::Thread)?;
    Ok((WriterSide { queue, gone }, thread))
}

#[async_trait]
impl Store for SqliteStore {
    async fn register_facts(&self, query: RegisterQuery) -> Result<RegisterFacts, StoreFault> {
        let read = move |reader: &crate::readers::Reader| {
            reader.snapshot(|reader| reads::register::facts(reader, &query))
        };
        self.inner.readers.read("read the facts of a registration", read).await
    }

    async fn individual_facts(&self, id: &RegistrationId) -> Result<IndividualFacts, StoreFault> {
        let id = id.clone();
        let read = move |reader: &crate::readers::Reader| {
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
        let read = move |reader: &crate::readers::Reader| {
            reader.snapshot(|reader| reads::list_records(reader.db(), &filter, &after, limit))
        };
        self.inner.readers.read("listed registration records", read).await
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

    async fn device_counts(&self, hub: &HubName) -> Result<DeviceCounts, StoreFault> {
        let hub = hub.clone();
        self.inner
            .readers
            .read("counted devices", move |reader| reads::device_counts(reader.db(), &hub))
            .await
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
        let read =
            |reader: &crate::readers::Reader| reader.snapshot(|reader| service::facts(reader.db()));
        self.inner.readers.read("read the service's settings", read).await
    }

    async fn pending_facts(&self, id: &RegistrationId) -> Result<PendingFacts, StoreFault> {
        let id = id.clone();
        let read = move |reader: &crate::readers::Reader| {
            reader.snapshot(|reader| service::pending_facts(reader, &id))
        };
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
                service::due_removals(reader.db(), now, limit)
            })
            .await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreFault> {
        let read = |reader: &crate::readers::Reader| {
            reader.snapshot(|reader| service::next_due(reader.db()))
        };
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

    async fn usage(&self) -> Result<Usage, StoreFault> {
        let read =
            |reader: &crate::readers::Reader| reader.snapshot(|reader| reads::usage(reader.db()));
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
