//! What the operator may set: `induct.toml`, and environment variables on top of it.
//!
//! Every setting has a default that works, and `induct.example.toml` is the reference. Unknown
//! keys are problems, and all problems are reported together, by path, before anything starts.
//! A configuration is passed in, never global.

mod lookup;
mod problem;
mod reader;
mod sections;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use app::{limits::RateSettings, refusals::StormSettings};
use model::{AllocationPolicy, HubName};
use store_sqlite::MasterKey;

pub use problem::{Problem, Problems};
pub use reader::{Origin, Setting};

use crate::ports::Environment;

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[service]`
    pub service: Service,
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`
    pub tls: Tls,
    /// `[[hubs]]`
    pub hubs: Vec<Hub>,
    /// Where everything is kept that has to last: `[data] folder`, an absolute path.
    pub data_folder: PathBuf,
    /// `[attestation]`
    pub attestation: Attestation,
    /// `[mqtt]`
    pub mqtt: Mqtt,
    /// `[amqp]`
    pub amqp: Amqp,
    /// `[events]`
    pub events: Events,
    /// `[messages]`
    pub messages: Messages,
    /// `[registrations]`
    pub registrations: Registrations,
    /// `[deprovision]`
    pub deprovision: Deprovision,
    /// `[limits]`
    pub limits: Limits,
    /// `[rates]`
    pub rates: RateSettings,
    /// `[attempts]`
    pub attempts: StormSettings,
    /// `[secrets]`
    pub master_key: MasterKeySource,
    /// `[webhook]`
    pub webhook: Webhook,
    /// `[crls]`
    pub crls: Crls,
    /// `[remote_hubs]`
    pub remote_hubs: RemoteHubs,
    /// `[log]`
    pub log: Log,
    /// `[store]`
    pub store: Store,
}

/// `[service]`
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// The names devices and operators reach the provisioning service by, in lower case, without
    /// port. The first stands in connection strings.
    pub host_names: Vec<String>,
    /// How a hub is chosen when an enrollment does not say.
    pub allocation_policy: AllocationPolicy,
    /// How long devices are told to wait between polls, in seconds.
    pub retry_after_secs: u32,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// The addresses of the HTTPS door; port 0 lets the system choose.
    pub https: Vec<SocketAddr>,
    /// The addresses of the MQTT door; none switches them off.
    pub mqtt: Vec<SocketAddr>,
    /// The addresses of the AMQP door; none switches them off.
    pub amqp: Vec<SocketAddr>,
    /// How many connections may be open at once at the HTTPS door.
    pub max_connections: usize,
    /// How many of them may come from one address.
    pub max_connections_per_address: usize,
    /// How many connections may be open at once at the MQTT door.
    pub max_mqtt_connections: usize,
    /// How many of them may come from one address.
    pub max_mqtt_connections_per_address: usize,
    /// How many connections may be open at once at the AMQP door.
    pub max_amqp_connections: usize,
    /// How many of them may come from one address.
    pub max_amqp_connections_per_address: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive, and its answer to be made, each.
    pub request_timeout: Duration,
    /// How long a connection may stay open between two requests.
    pub idle_timeout: Duration,
    /// The most headers of a request.
    pub max_headers: usize,
    /// The largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// The largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// The most bytes of bodies held at once, of all requests together.
    pub max_body_bytes_in_flight: usize,
    /// How long open requests may go on when the server stops.
    pub shutdown_grace: Duration,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The operator's files; without them Induct's own CA issues the certificate.
    pub files: Option<TlsFiles>,
    /// How often the files are looked at for changes.
    pub reload: Duration,
}

/// The operator's certificate files.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// A chain with an RSA key and that key, for clients that know nothing else.
    pub rsa: Option<(PathBuf, PathBuf)>,
    /// The CA that vouches for them, told to this machine's own clients.
    pub ca: Option<PathBuf>,
}

/// One of `[[hubs]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Hub {
    /// Its short name, for the command line.
    pub name: String,
    /// Its host name: what devices are told.
    pub host: HubName,
    /// Its share of hashed allocation, 1 to 1000.
    pub weight: u32,
    /// Whether enrollments that name no hub may choose it.
    pub apply_allocation_policy: bool,
}

/// `[attestation]`
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// How many seconds a device's clock may be behind.
    pub clock_skew_secs: i64,
    /// The most certificates of a chain, the leaf included.
    pub max_chain_certificates: usize,
    /// The largest certificate, in bytes.
    pub max_certificate_bytes: usize,
    /// The largest RSA key, in bits.
    pub max_rsa_bits: usize,
}

/// `[mqtt]`: what holds on every connection that speaks MQTT, in a WebSocket or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Whether MQTT is spoken in WebSockets at the HTTPS door.
    pub websockets: bool,
    /// How long the first packet may take to arrive.
    pub connect_timeout: Duration,
    /// The longest silence of a device at its hub, whatever keep-alive it asks for.
    pub keep_alive_cap: Duration,
    /// The same for a device that provisions.
    pub provisioning_idle_cap: Duration,
    /// How long a packet may take from its first byte to its last.
    pub packet_timeout: Duration,
    /// How long a device may take to read what is sent to it.
    pub write_timeout: Duration,
    /// The largest first packet, in bytes.
    pub max_connect_bytes: usize,
    /// The largest packet of a device that provisions, in bytes.
    pub max_provisioning_packet_bytes: usize,
    /// The largest packet of a device at its hub, in bytes.
    pub max_hub_packet_bytes: usize,
    /// How many events of one device may wait to be stored.
    pub max_in_flight_events: usize,
    /// How many messages may be on their way to one device.
    pub max_in_flight_messages: usize,
    /// The most bytes of packets held at once, of all connections together.
    pub max_buffered_bytes: usize,
}

/// `[amqp]`: what holds on every connection that speaks AMQP, in a WebSocket or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amqp {
    /// Whether AMQP is spoken in WebSockets at the HTTPS door.
    pub websockets: bool,
    /// How long each of the first steps of a connection may take.
    pub connect_timeout: Duration,
    /// How long a TPM may take to answer its challenge.
    pub tpm_timeout: Duration,
    /// How long a client may be connected that has proven nothing.
    pub proof_timeout: Duration,
    /// After how long a client has to say that it is still there.
    pub idle_timeout: Duration,
    /// How long a frame or message may take from its first byte to its last.
    pub frame_timeout: Duration,
    /// How long a client may take to read what is sent to it.
    pub write_timeout: Duration,
    /// The longest message of a provisioning link, in bytes.
    pub max_provisioning_message_bytes: usize,
    /// The longest message of any other link, in bytes.
    pub max_message_bytes: usize,
    /// How many messages of one link may be under way.
    pub credit: u32,
    /// How many devices one connection may carry.
    pub max_devices_per_connection: usize,
    /// How many bytes of messages may wait on one connection for the store.
    pub max_waiting_bytes: usize,
    /// How many events of one device may wait to be stored.
    pub max_in_flight_events: usize,
    /// How many messages may be on their way to one device.
    pub max_in_flight_messages: usize,
    /// The most bytes of frames and messages held at once, of all connections together.
    pub max_buffered_bytes: usize,
}

/// `[events]`: what hubs keep of what devices send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Into how many partitions the events of a hub are put.
    pub partitions: u16,
    /// For how long they are kept, in seconds.
    pub max_age_secs: i64,
    /// How much of each partition is kept, in bytes.
    pub max_partition_bytes: u64,
}

/// `[messages]`: what hubs keep for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// How many may wait for one device.
    pub max_waiting: u32,
    /// For how long one waits that does not say, in seconds.
    pub default_ttl_secs: i64,
    /// The longest that one may ask for, in seconds.
    pub max_ttl_secs: i64,
    /// How often one is delivered before it is given up.
    pub max_deliveries: u32,
}

/// `[registrations]`: what is kept of devices that registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrations {
    /// How long after its device last registered a record goes whose enrollment no longer exists,
    /// in seconds; never, if nothing is said.
    pub orphan_expiry_secs: Option<i64>,
}

/// `[deprovision]`: how fast devices are taken out that a plan is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deprovision {
    /// How many devices are begun in a second; 0 means as many as can be.
    pub devices_per_second: u32,
    /// How many devices are worked on at a time.
    pub max_at_once: usize,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Registration records.
    pub registrations: u64,
    /// Individual enrollments.
    pub individual_enrollments: u64,
    /// Groups with certificates.
    pub x509_groups: u64,
    /// Groups with symmetric keys.
    pub symmetric_key_groups: u64,
    /// CA certificates.
    pub ca_certificates: u64,
    /// Linked hubs.
    pub linked_hubs: u64,
}

/// `[secrets]`: where the master key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// `master.key` in the data folder, made at the first start.
    DataFolder,
    /// A file of the operator's, which must be there.
    File(PathBuf),
    /// What a command prints, run by the shell.
    Command(String),
    /// The environment variable `INDUCT_MASTER_KEY`.
    Environment(MasterKey),
}

/// `[webhook]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Whether `http:` is allowed for webhooks on this machine itself.
    pub allow_http_on_loopback: bool,
    /// How long an answer may take, a second attempt not included.
    pub timeout: Duration,
    /// CAs to trust besides the usual ones, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[crls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crls {
    /// Whether revocation lists may be fetched by `http:`.
    pub allow_http: bool,
    /// Whether they may be fetched from addresses that are not public.
    pub allow_private_addresses: bool,
    /// How long fetching one may take.
    pub timeout: Duration,
    /// CAs to trust besides the usual ones, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[remote_hubs]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHubs {
    /// CAs to trust besides the usual ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long connecting, TLS included, may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// For how long after a register request a hub that cannot be reached is tried, in seconds.
    pub deadline_secs: i64,
    /// How many devices are worked on at a time.
    pub max_at_once: usize,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The least severe line that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// `[log] level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Someone should act.
    Error,
    /// We coped.
    Warn,
    /// The story of the service.
    Info,
    /// Each request.
    Debug,
    /// Everything.
    Trace,
}

/// `[log] format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// How many threads read.
    pub readers: usize,
    /// The most change sets one physical transaction commits.
    pub max_batch: usize,
    /// How many change sets may wait for the writer.
    pub max_waiting: usize,
}

/// What reading the configuration found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it was read from, if there was one.
    pub file: Option<PathBuf>,
    /// Every setting with its value and where that came from, in the order of the reference.
    pub settings: Vec<Setting>,
}

/// What the command line says about where to look.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
}

/// Finds, reads and checks the configuration.
///
/// The file is `--config`, or `$INDUCT_CONFIG`, or `./induct.toml`, or `induct.toml` in the data
/// folder; the last two only where they exist.
///
/// # Errors
/// [`Problems`] with all of them.
pub fn load(given: &Given, environment: &Environment) -> Result<Loaded, Problems> {
    let file = lookup::find_file(given, environment)?;
    let text = match &file {
        Some(path) => lookup::read_file(path)?,
        None => String::new(),
    };
    parse(&text, file.as_deref(), given, environment)
}

/// Checks a configuration text, as [`load`] does after it has found it.
///
/// # Errors
/// [`Problems`] with all of them.
pub fn parse(
    text: &str,
    file: Option<&Path>,
    given: &Given,
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let mut reader = reader::Reader::new(text, file, environment)?;
    let config = sections::read(&mut reader, given, environment);
    let (settings, problems) = reader.finish();
    if problems.is_empty() {
        Ok(Loaded { config, file: file.map(Path::to_path_buf), settings })
    } else {
        Err(Problems::of(file, problems))
    }
}

/// Every setting with its value, as a configuration file.
#[must_use]
pub fn to_toml(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in settings {
        let Some((of, key)) = setting.path.split_once('.') else { continue };
        if of != section {
            let header = match of.split_once('[') {
                Some((list, _)) => format!("[[{list}]]\n"),
                None => format!("[{of}]\n"),
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&header);
            section = of;
        }
        text.push_str(&format!("{key} = {}\n", setting.value));
    }
    text
}

#[cfg(test)]
mod tests;
