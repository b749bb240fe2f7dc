//! A running server, its operators and its devices.

pub(crate) mod check;
pub(crate) mod connection;
pub(crate) mod device;
pub(crate) mod enrollments;
pub(crate) mod operator;
mod process;
pub(crate) mod websocket;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use model::SymmetricKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use check::{Identity, Next, Record};
pub(crate) use connection::{Connection, Reply, Tls};
pub(crate) use device::{Answer, Device};
pub(crate) use operator::Operator;
use process::Server;

/// Longer than anything takes; what waits for something that must happen gives up after it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The provisioning service's host name.
pub(crate) const SERVICE: &str = "localhost";
/// The hubs' host names; a scene has the first unless it says otherwise.
pub(crate) const HUBS: [&str; 3] = ["hub-1.localhost", "hub-2.localhost", "hub-3.localhost"];

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}

/// The present moment, in seconds since 1970: what tokens count their time from.
#[expect(
    clippy::disallowed_methods,
    reason = "the server under test reads the real clock, so tokens must be made by it"
)]
pub(crate) fn now_unix_secs() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("this millennium")
}

/// Bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What a server is configured with. Starts out with one hub and every default; each method
/// changes one thing.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    hubs: Vec<String>,
    service: String,
    listen: String,
    limits: String,
    more: String,
    log_level: &'static str,
}

impl Scene {
    /// One hub, `hub-1.localhost`.
    pub(crate) fn new() -> Self {
        Self::with_hubs(&HUBS[..1])
    }

    /// These hubs, of equal weight.
    pub(crate) fn with_hubs(hubs: &[&str]) -> Self {
        let blank = Self {
            hubs: Vec::new(),
            service: String::new(),
            listen: String::new(),
            limits: String::new(),
            more: String::new(),
            log_level: "debug",
        };
        hubs.iter().fold(blank, |scene, hub| scene.hub(hub, ""))
    }

    /// Another hub, with more settings of its section, as TOML.
    pub(crate) fn hub(mut self, host: &str, more: &str) -> Self {
        self.hubs.push(format!("[[hubs]]\nhost = \"{host}\"\n{more}\n"));
        self
    }

    /// More settings of `[service]`, as TOML.
    pub(crate) fn service(mut self, more: &str) -> Self {
        self.service = more.to_owned();
        self
    }

    /// More settings of `[listen]`, as TOML.
    pub(crate) fn listen(mut self, more: &str) -> Self {
        self.listen = more.to_owned();
        self
    }

    /// Settings of `[limits]`, as TOML.
    pub(crate) fn limits(mut self, more: &str) -> Self {
        self.limits = more.to_owned();
        self
    }

    /// More sections, as TOML.
    pub(crate) fn more(mut self, sections: &str) -> Self {
        self.more = sections.to_owned();
        self
    }

    /// The least severe line that is logged.
    pub(crate) fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Starts a server in a new folder.
    pub(crate) async fn start(self) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut world =
            World { folder, server: None, policies: Vec::new(), earlier: String::new() };
        world.start_server(&self).await;
        world
    }

    fn text(&self) -> String {
        let Self { hubs, service, listen, limits, more, log_level } = self;
        format!(
            "[service]\nhost_names = [\"{SERVICE}\"]\n{service}\n\
             [listen]\nhttps = [\"127.0.0.1:0\"]\n{listen}\n\
             [limits]\n{limits}\n{more}\n\
             [log]\nlevel = \"{log_level}\"\n{}",
            hubs.concat()
        )
    }
}

/// The owner policy of the service or of a hub, from its connection string.
#[derive(Clone)]
pub(crate) struct Policy {
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) key: SymmetricKey,
}

/// A server in its folder. When a test is over, the server must still be alive and must never
/// have panicked.
pub(crate) struct World {
    folder: TempDir,
    server: Option<Server>,
    policies: Vec<Policy>,
    /// What servers of this folder wrote before they were restarted.
    earlier: String,
}

impl World {
    /// Stops the server, and starts one with another configuration in the same folder.
    pub(crate) async fn restart(&mut self, scene: Scene) {
        let server = self.server.take().expect("a server runs");
        self.earlier.push_str(&server.stop().await);
        self.start_server(&scene).await;
    }

    async fn start_server(&mut self, scene: &Scene) {
        fs::write(self.config_file(), scene.text()).expect("the configuration is written");
        let server = Server::start(&self.config_file(), &self.data_folder()).await;
        let hosts: Vec<_> = server.listening()["hubs"]
            .as_array()
            .expect("hubs")
            .iter()
            .map(|hub| hub["host"].as_str().expect("a host name").to_owned())
            .collect();
        self.server = Some(server);
        self.policies.clear();
        self.policies.push(self.policy(None).await);
        for host in hosts {
            self.policies.push(self.policy(Some(&host)).await);
        }
    }

    async fn policy(&self, hub: Option<&str>) -> Policy {
        let (config, data) = (self.config_file(), self.data_folder());
        let text = process::connection_string(&config, &data, hub).await;
        let part = |name: &str| {
            let parts = text.split(';').filter_map(|part| part.split_once('='));
            let mut named = parts.filter(|(key, _)| *key == name).map(|(_, value)| value);
            named.next().unwrap_or_else(|| panic!("{name} in the connection string")).to_owned()
        };
        let host = part("HostName");
        Policy {
            host: host.split(':').next().unwrap_or_default().to_owned(),
            name: part("SharedAccessKeyName"),
            key: SymmetricKey::parse(&part("SharedAccessKey")).expect("a key"),
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("a server runs")
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("induct.toml")
    }

    /// Where the server keeps everything.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of this world, configuration and data in it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The instance's ID scope.
    pub(crate) fn id_scope(&self) -> &str {
        self.server().listening()["idScope"].as_str().expect("an ID scope")
    }

    /// Everything that servers of this world wrote to standard output and standard error.
    pub(crate) fn log(&self) -> String {
        format!("{}{}", self.earlier, self.server.as_ref().map_or(String::new(), Server::output))
    }

    /// Waits until a line of the log holds all of these.
    pub(crate) async fn wait_for_log(&self, texts: &[&str]) {
        within(&format!("a log line with {texts:?}"), self.server().wait_for_line(texts)).await;
    }

    /// An operator of the provisioning service, with every right.
    pub(crate) fn service(&self) -> Operator<'_> {
        Operator::new(self, SERVICE)
    }

    /// An operator of a hub, with every right.
    pub(crate) fn hub(&self, host: &str) -> Operator<'_> {
        Operator::new(self, host)
    }

    pub(crate) fn policy_of(&self, host: &str) -> &Policy {
        let mut policies = self.policies.iter();
        policies.find(|policy| policy.host == host).unwrap_or_else(|| panic!("no hub {host}"))
    }

    /// A client that shows no certificate.
    pub(crate) fn tls(&self) -> Tls {
        let listening = self.server().listening();
        let ca = listening["ca"].as_str().expect("the server's CA");
        let ca = fs::read_to_string(ca).expect("the CA is readable");
        Tls::new(self.server().address(), &ca)
    }

    /// The same, to the MQTT door.
    pub(crate) fn mqtt_tls(&self) -> Tls {
        self.tls().at(self.server().mqtt_address())
    }

    /// The same, to the AMQP door.
    pub(crate) fn amqp_tls(&self) -> Tls {
        self.tls().at(self.server().amqp_address())
    }

    /// The registration record, if there is one.
    pub(crate) async fn record(&self, id: &str) -> Option<Value> {
        self.service().find(&format!("/registrations/{id}")).await
    }

    /// The device's identity on a hub, if it has one there.
    pub(crate) async fn identity(&self, hub: &str, device_id: &str) -> Option<Value> {
        self.hub(hub).find(&format!("/devices/{device_id}")).await
    }

    /// The device's twin on a hub, which must be there.
    pub(crate) async fn twin(&self, hub: &str, device_id: &str) -> Value {
        self.hub(hub).get(&format!("/twins/{device_id}")).await
    }

    /// Everything that operators can list, to compare it with itself later. The hubs' own
    /// counters of time and versions are in it: equal means nobody wrote.
    pub(crate) async fn everything(&self) -> Value {
        let service = self.service();
        let enrollments = service.query("/enrollments/query").await;
        let groups = service.query("/enrollmentGroups/query").await;
        let mut records = Vec::new();
        for group in &groups {
            let id = group["enrollmentGroupId"].as_str().expect("an id");
            records.extend(service.query(&format!("/registrations/{id}/query")).await);
        }
        for enrollment in &enrollments {
            let id = enrollment["registrationId"].as_str().expect("an id");
            records.extend(self.record(id).await);
        }
        let mut hubs = Vec::new();
        for policy in self.policies.iter().skip(1) {
            hubs.push(self.hub(&policy.host).get("/devices").await);
        }
        json!({"enrollments": enrollments, "groups": groups, "records": records, "hubs": hubs})
    }

    /// Asks the server whether it is well.
    pub(crate) async fn assert_healthy(&self) {
        let mut connection = self.tls().connect(SERVICE).await;
        let reply = connection.send("GET", "/healthz", &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "the server is healthy: {reply:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the server's log ----\n{}", self.log());
            return;
        }
        let server = self.server.as_mut().expect("a server runs");
        assert!(server.is_running(), "the server is alive when the test ends");
        let log = self.log();
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
    }
}
