//! The data folder: where everything is kept that has to last, and how a running server says
//! where it listens.
//!
//! ```text
//! induct.db          the database (and SQLite's files beside it)
//! master.key         the master key, unless the operator keeps it elsewhere
//! tls/               Induct's own CA and the server's certificates
//! run/listen.json    where the running server listens; gone when it has stopped
//! run/serve.lock     held by the running server
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most we read of a file in `run/`, in bytes.
const MAX_RUN_FILE_BYTES: u64 = 1024 * 1024;

/// A data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    path: PathBuf,
}

/// Where a running server listens and what it is called: `run/listen.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listening {
    /// The server's process.
    pub pid: u32,
    /// The addresses of the HTTPS door, with real ports.
    pub https: Vec<SocketAddr>,
    /// The addresses of the MQTT door, with real ports; none when it is switched off.
    #[serde(default)]
    pub mqtt: Vec<SocketAddr>,
    /// The same of the AMQP door.
    #[serde(default)]
    pub amqp: Vec<SocketAddr>,
    /// The instance's ID scope.
    pub id_scope: String,
    /// The names of the provisioning service.
    pub service_hosts: Vec<String>,
    /// The built-in hubs.
    pub hubs: Vec<ListeningHub>,
    /// The CA that vouches for the server, if it is known.
    pub ca: Option<PathBuf>,
}

/// A built-in hub of a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningHub {
    /// Its short name.
    pub name: String,
    /// Its host name.
    pub host: String,
}

impl Listening {
    /// An address on which this machine reaches the server: the first one, with the loopback
    /// address in place of “all addresses”.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.https.first().copied().map(from_here)
    }

    /// The same for the MQTT door.
    #[must_use]
    pub fn local_mqtt_address(&self) -> Option<SocketAddr> {
        self.mqtt.first().copied().map(from_here)
    }

    /// The same for the AMQP door.
    #[must_use]
    pub fn local_amqp_address(&self) -> Option<SocketAddr> {
        self.amqp.first().copied().map(from_here)
    }
}

fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Held while a server runs; dropping it, or the end of the process, lets go.
#[derive(Debug)]
pub struct ServeLock {
    _file: File,
}

/// What is wrong with a data folder.
#[derive(Debug, Error)]
pub enum DataFolderError {
    /// It cannot be made or written to.
    #[error(
        "cannot write to the data folder {}; {}",
        path.display(),
        if is_out_of_descriptors(source) {
            DESCRIPTORS_REMEDY
        } else {
            "check who owns it, or choose another one with `--data FOLDER`"
        }
    )]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// Another server uses it.
    #[error(
        "another `induct serve`{} uses the data folder {}; stop it, or give this one a folder of \
         its own with `--data FOLDER`",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other server, if it said who it is.
        pid: Option<u32>,
    },
}

impl DataFolder {
    /// The folder at this path, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder and its parts where they are missing, for their owner only.
    ///
    /// # Errors
    /// [`DataFolderError::Unwritable`].
    pub fn create(&self) -> Result<(), DataFolderError> {
        for folder in [self.path.clone(), self.run()] {
            let unwritable = |source| DataFolderError::Unwritable { path: folder.clone(), source };
            private_folder(&folder).map_err(unwritable)?;
        }
        Ok(())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether other users of this machine may look into the folder. What Induct writes there is
    /// for its owner only, but copies made by others may not be.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::metadata(&self.path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
        }
        #[cfg(not(unix))]
        false
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("induct.db")
    }

    /// The master key, unless the operator keeps it elsewhere.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.path.join("master.key")
    }

    /// Where certificates are.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// The certificate of Induct's own CA.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.tls().join("ca.pem")
    }

    /// Takes the lock that one server holds.
    ///
    /// # Errors
    /// [`DataFolderError`].
    pub fn lock(&self) -> Result<ServeLock, DataFolderError> {
        let path = self.lock_file();
        let unwritable = |source| DataFolderError::Unwritable { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = private(&mut options).open(&path).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who it is only makes the message better.
                let _ = (&file).take(32).read_to_string(&mut text);
                let (path, pid) = (self.path.clone(), text.trim().parse().ok());
                return Err(DataFolderError::InUse { path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unwritable)?;
        Ok(ServeLock { _file: file })
    }

    /// Where the running server listens, if one runs.
    #[must_use]
    pub fn running(&self) -> Option<Listening> {
        let file = File::open(self.lock_file()).ok()?;
        match file.try_lock_shared() {
            // Nobody holds it: what `listen.json` says is from a server that was killed.
            Ok(()) | Err(TryLockError::Error(_)) => None,
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                File::open(self.listen_file())
                    .and_then(|file| file.take(MAX_RUN_FILE_BYTES).read_to_string(&mut text))
                    .ok()?;
                serde_json::from_str(&text).ok()
            }
        }
    }

    /// Says where the server listens, in one step.
    ///
    /// # Errors
    /// [`DataFolderError::Unwritable`].
    pub fn publish(&self, listening: &Listening) -> Result<(), DataFolderError> {
        let path = self.listen_file();
        let text = serde_json::to_vec_pretty(listening).map_err(io::Error::from);
        text.and_then(|text| write_file(&path, &text))
            .map_err(|source| DataFolderError::Unwritable { path, source })
    }

    /// Says that no server listens; nothing happens when nobody had said otherwise.
    pub fn retract(&self) {
        let _ = fs::remove_file(self.listen_file());
    }

    fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    fn lock_file(&self) -> PathBuf {
        self.run().join("serve.lock")
    }

    fn listen_file(&self) -> PathBuf {
        self.run().join("listen.json")
    }
}

/// Makes a folder, and those above it, for their owner only, where they are missing.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Writes a file for its owner only, durably and in one step: whoever reads it sees the old text
/// or the new one, also after a power failure.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = private(&mut options).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    rename(&beside, path)
}

/// Renames durably: the entry in the folder is on the disk as well.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    // Elsewhere a folder cannot be opened, and renames are journaled.
    #[cfg(unix)]
    if let Some(folder) = to.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// What to do when there are no file descriptors left.
pub(crate) const DESCRIPTORS_REMEDY: &str = "the process has too many files and connections \
     open: raise its limit (`ulimit -n`, or `LimitNOFILE=` of its systemd unit), or lower \
     `listen.max_connections`, `listen.max_mqtt_connections` and `listen.max_amqp_connections`";

/// Whether the process, or the whole machine, has no file descriptors left. That says nothing
/// about the file.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let number = error.raw_os_error();
        [Errno::MFILE, Errno::NFILE].iter().any(|errno| number == Some(errno.raw_os_error()))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(https: &str) -> Listening {
        Listening {
            pid: 7,
            https: vec![https.parse().expect("address")],
            mqtt: vec!["0.0.0.0:8883".parse().expect("address")],
            amqp: vec!["0.0.0.0:5671".parse().expect("address")],
            id_scope: "0ne00ABCDEF".to_owned(),
            service_hosts: vec!["localhost".to_owned()],
            hubs: vec![ListeningHub {
                name: "hub-1".to_owned(),
                host: "hub-1.localhost".to_owned(),
            }],
            ca: Some(PathBuf::from("/d/tls/ca.pem")),
        }
    }

    #[test]
    fn a_server_is_running_only_while_it_holds_the_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let data = DataFolder::new(folder.path().join("data"));
        assert_eq!(data.running(), None);
        data.create().expect("made");
        let lock = data.lock().expect("free");
        data.publish(&listening("127.0.0.1:8443")).expect("written");
        assert_eq!(data.running(), Some(listening("127.0.0.1:8443")));
        let refused = data.lock().expect_err("taken").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        assert_eq!(data.running(), None);
        data.lock().expect("free again");
    }

    #[test]
    fn listen_json_has_the_names_that_others_read() {
        let text = serde_json::to_string(&listening("[::1]:443")).expect("JSON");
        assert_eq!(
            text,
            r#"{"pid":7,"https":["[::1]:443"],"mqtt":["0.0.0.0:8883"],"amqp":["0.0.0.0:5671"],"idScope":"0ne00ABCDEF","serviceHosts":["localhost"],"hubs":[{"name":"hub-1","host":"hub-1.localhost"}],"ca":"/d/tls/ca.pem"}"#
        );
    }

    #[test]
    fn all_addresses_are_reached_by_the_loopback_one() {
        let check = |https: &str, local: &str| {
            let expected = Some(local.parse().expect("address"));
            assert_eq!(listening(https).local_address(), expected);
        };
        check("0.0.0.0:443", "127.0.0.1:443");
        check("[::]:443", "[::1]:443");
        check("192.0.2.7:443", "192.0.2.7:443");
        let mqtt = Some("127.0.0.1:8883".parse().expect("address"));
        assert_eq!(listening("[::1]:443").local_mqtt_address(), mqtt);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_inside() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let data = DataFolder::new(folder.path().join("data"));
        data.create().expect("made");
        data.publish(&listening("127.0.0.1:1")).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(data.path()), 0o700);
        assert_eq!(mode(&data.listen_file()), 0o600);
        assert!(!data.is_open_to_others());
        let open = fs::Permissions::from_mode(0o750);
        fs::set_permissions(data.path(), open).expect("changed");
        assert!(data.is_open_to_others());
    }
}
