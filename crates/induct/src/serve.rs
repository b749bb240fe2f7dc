//! A whole server, from a checked configuration to a clean stop.

mod announce;
mod chores;
mod crl_chores;
mod deprovisionings;
mod descriptors;
mod device_chores;
mod doors;
mod orphans;
mod signals;

use std::{error::Error, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use app::{
    App,
    first_start::{self, Started},
    ports::Clock,
};
use listen::ListenError;
use store::{Store, StoreFault};
use store_sqlite::{OpenError, SqliteStore};
use thiserror::Error;
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle, spawn_blocking},
};
use tracing::{error, info, warn};

use self::{chores::Chores, deprovisionings::DeprovisionBell, doors::Doors};
use crate::{
    certificates::{Certificates, CertificatesError},
    client::ClientError,
    config::Config,
    data_folder::{DataFolder, DataFolderError, Listening, ServeLock},
    master_key::{self, MasterKeyError},
    ports::{RuntimeStopwatch, SystemClock, SystemEntropy},
    remote_hub::{WorkerBell, work},
    wiring,
};

pub use announce::{announce_addresses, announce_first_start};
pub(crate) use descriptors::raise as raise_descriptors;
pub use signals::Signals;

/// How often the data folder's lock is tried: a command that looks whether a server runs holds it
/// for a moment.
const LOCK_ATTEMPTS: usize = 10;
/// How long to wait between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A running server.
///
/// Dropping it cuts everything off; what was acknowledged is in the store all the same.
#[derive(Debug)]
pub struct Server {
    /// Where it listens and what it is called.
    pub listening: Listening,
    /// What this start found or made in the store.
    pub started: Started,
    /// Whether Induct's own CA was made by this start.
    pub made_ca: bool,
    /// The file of the master key, if it was made by this start.
    pub made_master_key: Option<PathBuf>,
    data: DataFolder,
    stop: watch::Sender<bool>,
    /// Gone once it is known how they ended.
    doors: Option<JoinHandle<()>>,
    /// What goes on by itself until the stop.
    background: Vec<JoinHandle<()>>,
    app: AppHandle,
    store: StoreHandle,
    _lock: ServeLock,
}

/// The store, to be closed at the end.
struct StoreHandle(SqliteStore);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
    }
}

/// The use cases, for what is to be done at the end.
struct AppHandle(App);

impl std::fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppHandle")
    }
}

/// Why a server did not start. Each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// There is no master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// There is no certificate to serve with.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A file of CAs for webhooks or remote hubs cannot be used.
    #[error(transparent)]
    Trust(#[from] ClientError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {}; free the address, or choose another with `listen.{door}` \
         in the configuration or INDUCT_LISTEN__{} (port 0 lets the system choose)",
        reason(source),
        door.to_uppercase()
    )]
    Bind {
        /// The door, as its setting is called.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Listening cannot start otherwise.
    #[error(transparent)]
    Listen(ListenError),
    /// The data folder's path cannot be made absolute.
    #[error("the data folder {} cannot be found again", path.display())]
    Path {
        /// The folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// The doors closed while nobody had asked for it. Only a bug makes them do that.
#[derive(Debug, Error)]
#[error(
    "the server no longer accepts connections, though nobody asked it to stop; this is a bug of \
     Induct, and the log says where. Start the server again; nothing acknowledged is lost"
)]
pub struct DoorsEnded {
    /// The panic, if it was one.
    #[source]
    cause: Option<JoinError>,
}

fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        _ => "the operating system refuses",
    }
}

impl Server {
    /// Starts everything; when this returns, the server accepts connections and says so in
    /// `run/listen.json`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let data = DataFolder::new(&config.data_folder);
        data.create()?;
        let path = std::fs::canonicalize(data.path());
        let data = DataFolder::new(
            path.map_err(|source| StartError::Path { path: config.data_folder.clone(), source })?,
        );
        let lock = take_lock(&data).await?;
        data.retract();
        if data.is_open_to_others() {
            let path = data.path().display();
            warn!(
                "other users may look into the data folder, which holds keys: `chmod 700 {path}`"
            );
        }

        let master_key = master_key::find_or_make(config, &data)?;
        let store = SqliteStore::open(wiring::store_settings(config, &data, master_key.key))?;
        let declared = wiring::declared(config);
        let started = first_start::prepare(&store, &SystemEntropy, &SystemClock, &declared).await?;
        let facts = store.service_facts().await?;
        let hubs = chores::names(&facts.hubs);
        let certificates = Certificates::prepare(config, &data, &hubs, SystemClock.now())?;

        let bell = WorkerBell::default();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let app = wiring::app(
            config,
            started.id_scope.clone(),
            Arc::clone(&shared),
            Arc::new(bell.clone()),
        )?;
        let deprovision_bell = DeprovisionBell::default();
        let app = app.with_deprovisioning(
            wiring::deprovisioning(config),
            Arc::new(deprovision_bell.clone()),
            Arc::new(RuntimeStopwatch::default()),
        );
        let doors = Doors::bind(config, certificates.server()).await?;
        // Whoever a server before us left as connected is not: no door is open yet.
        app.disconnect_all().await?;
        let listening = Listening {
            pid: std::process::id(),
            https: doors.https(),
            mqtt: doors.mqtt(),
            amqp: doors.amqp(),
            id_scope: started.id_scope.as_str().to_owned(),
            service_hosts: config.service.host_names.clone(),
            hubs: wiring::built_in_hubs(config, &facts.hubs),
            ca: certificates.ca.clone(),
        };
        let made_ca = certificates.made_ca;
        let (stop, stopping) = watch::channel(false);
        let doors = doors.open(config, &app, stopping.clone());
        data.publish(&listening)?;
        let chores = Chores {
            config: config.clone(),
            store: shared,
            certificates,
            data: data.clone(),
            listening: listening.clone(),
            hubs_version: facts.version,
        };
        let background = vec![
            tokio::spawn(work(app.clone(), bell, stopping.clone())),
            tokio::spawn(deprovisionings::work_off(
                app.clone(),
                deprovision_bell,
                stopping.clone(),
            )),
            tokio::spawn(chores.run(config.tls.reload, stopping.clone())),
            tokio::spawn(crl_chores::follow(app.clone(), stopping.clone())),
            tokio::spawn(device_chores::see_off(app.clone(), stopping.clone())),
            tokio::spawn(device_chores::tidy(app.clone(), stopping.clone())),
            tokio::spawn(device_chores::write_attempts(app.clone(), stopping.clone())),
            tokio::spawn(orphans::expire(
                app.clone(),
                config.registrations.orphan_expiry_secs,
                stopping,
            )),
        ];
        let server = Self {
            listening,
            started,
            made_ca,
            made_master_key: master_key.made,
            data,
            stop,
            doors: Some(doors),
            background,
            app: AppHandle(app),
            store: StoreHandle(store),
            _lock: lock,
        };
        info!(
            id_scope = %server.started.id_scope,
            addresses = ?server.listening.https,
            mqtt_addresses = ?server.listening.mqtt,
            amqp_addresses = ?server.listening.amqp,
            "serving ID scope {}", server.started.id_scope,
        );
        Ok(server)
    }

    /// The data folder, as an absolute path.
    #[must_use]
    pub const fn data(&self) -> &DataFolder {
        &self.data
    }

    /// Waits until the doors end though nobody asked them to: for ever, unless there is a bug.
    /// Nothing is lost when this is dropped halfway.
    pub async fn doors_ended(&mut self) -> DoorsEnded {
        let cause = match &mut self.doors {
            Some(doors) => doors.await.err(),
            None => None,
        };
        self.doors = None;
        DoorsEnded { cause }
    }

    /// As if accepting had a bug.
    #[cfg(test)]
    pub(crate) fn break_doors(&self) {
        if let Some(doors) = &self.doors {
            doors.abort();
        }
    }

    /// Stops accepting, lets open requests finish within the configured grace, and closes the
    /// store.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.data.retract();
        if let Some(doors) = self.doors
            && let Err(broken) = doors.await
        {
            error!(error = %broken, "the doors did not stop cleanly: {broken}");
        }
        // They watch the same signal. What a remote hub has not been told yet is in the store, and
        // goes on after the next start.
        for task in self.background {
            let _ = task.await;
        }
        self.data.retract();
        // No session is left, and nobody else writes who is connected.
        let AppHandle(app) = self.app;
        if let Err(fault) = app.write_attempts().await {
            warn!(
                error = &fault as &dyn Error,
                "the last attempts of devices are not kept: {fault}"
            );
        }
        if let Err(fault) = app.disconnect_all().await {
            warn!(
                error = &fault as &dyn Error,
                "devices stay written as connected until the next start: {fault}"
            );
        }
        drop(app);
        let StoreHandle(store) = self.store;
        if let Err(broken) = spawn_blocking(move || store.close()).await {
            error!(error = %broken, "the store did not close cleanly: {broken}");
        }
        info!("stopped");
    }
}

async fn take_lock(data: &DataFolder) -> Result<ServeLock, DataFolderError> {
    for _ in 1..LOCK_ATTEMPTS {
        match data.lock() {
            Err(DataFolderError::InUse { .. }) => tokio::time::sleep(LOCK_PAUSE).await,
            taken_or_broken => return taken_or_broken,
        }
    }
    data.lock()
}
