//! Starts the binary, waits until it listens, and speaks to it.

mod api;
mod command;
mod device;
mod half;
mod swtpm;
mod terminal;
mod tls;
mod until;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use induct::{
    client::{Client, ClientSettings},
    data_folder::Listening,
};
use tempfile::TempDir;

pub(crate) use api::{Api, listed_devices, listed_records};
pub(crate) use command::{Finished, induct, run, signal};
pub(crate) use swtpm::Swtpm;
pub(crate) use tls::{handshake, leaf};
pub(crate) use until::until;

/// How long a start, a stop or anything else may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A data folder that outlives the servers started on it.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// A home in which nothing was started yet.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// The data folder; the first start makes it.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// A folder for whatever else a test needs.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts `induct serve` and waits until it listens.
    pub(crate) fn start(&self) -> Server {
        self.start_with(&[])
    }

    /// As [`Self::start`], with environment variables.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = induct(&["serve", "--data"]);
        command.arg(self.data());
        self.start_by(command, variables)
    }

    /// As [`Self::start_with`], by a shell that sets limits first, such as `ulimit -n 100`.
    pub(crate) fn start_within(&self, limits: &str, variables: &[(&str, &str)]) -> Server {
        let mut command = Command::new("sh");
        let script = format!("{limits} && exec \"$0\" serve --data \"$1\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_induct")]).arg(self.data());
        command.env_clear().env("HOME", "/nonexistent/home");
        self.start_by(command, variables)
    }

    fn start_by(&self, mut command: Command, variables: &[(&str, &str)]) -> Server {
        command
            .current_dir(self.path())
            .env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0")
            .env("INDUCT_LISTEN__MQTT", "127.0.0.1:0")
            .env("INDUCT_LISTEN__AMQP", "127.0.0.1:0")
            .envs(variables.iter().copied())
            // Closed when the test ends, however it ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let stdout = process.stdout.take().expect("piped");
        let stderr = process.stderr.take().expect("piped");
        let log = Arc::<Mutex<String>>::default();
        let logged = Arc::clone(&log);
        let stderr = thread::spawn(move || {
            let mut stderr = BufReader::new(stderr);
            let mut line = Vec::new();
            // What was read before an error is what there is.
            while stderr.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                logged.lock().expect("whole").push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let (first_line, listens) = mpsc::channel();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                text.push_str(&line);
                text.push('\n');
                if line.starts_with("Listening on ") {
                    // Nobody listens after the first.
                    let _ = first_line.send(());
                }
            }
            text
        });
        let stdin = process.stdin.take();
        let mut server = Server {
            process: Some(process),
            _stdin: stdin,
            output: Some((stdout, stderr)),
            log,
            data: self.data(),
            listening: None,
        };
        server.wait_until_it_listens(&listens);
        server
    }

    /// Runs a command on the data folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let data = self.data();
        let data = data.to_str().expect("UTF-8");
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--data", data]).collect();
        run(induct(&arguments).current_dir(self.path()))
    }

    /// What `run/listen.json` says, if it is there.
    pub(crate) fn listen_json(&self) -> Option<Listening> {
        let text = fs::read_to_string(self.data().join("run/listen.json")).ok()?;
        Some(serde_json::from_str(&text).expect("listen.json is whole"))
    }
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    process: Option<Child>,
    _stdin: Option<ChildStdin>,
    output: Option<(JoinHandle<String>, JoinHandle<()>)>,
    log: Arc<Mutex<String>>,
    data: PathBuf,
    listening: Option<Listening>,
}

/// What a server left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// All it wrote to standard output.
    pub(crate) stdout: String,
    /// All it wrote to standard error, its log.
    pub(crate) stderr: String,
}

impl Server {
    /// Where it listens and what it is called.
    pub(crate) fn listening(&self) -> &Listening {
        self.listening.as_ref().expect("it listens")
    }

    /// The first address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listening().https[0]
    }

    /// The first address of its MQTT door.
    pub(crate) fn mqtt_address(&self) -> SocketAddr {
        self.listening().mqtt[0]
    }

    /// The first address of its AMQP door.
    pub(crate) fn amqp_address(&self) -> SocketAddr {
        self.listening().amqp[0]
    }

    /// What it has written to standard error so far, its log.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("whole").clone()
    }

    /// A client that calls the server by this name and trusts its CA.
    pub(crate) fn client(&self, host: &str) -> Client {
        let ca = fs::read_to_string(self.data.join("tls/ca.pem")).expect("the CA");
        let settings = ClientSettings::new(host, self.address().port(), ca).at(self.address());
        Client::new(settings).expect("a client")
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.as_ref().expect("it runs").id(), name);
    }

    /// Waits for the end that was asked for.
    pub(crate) fn wait(mut self) -> Ended {
        self.finish()
    }

    /// Asks the server to stop and waits until it has.
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Ends the server as a power failure would: SIGKILL.
    pub(crate) fn kill(mut self) -> Ended {
        self.process.as_mut().expect("it runs").kill().expect("killed");
        self.finish()
    }

    fn wait_until_it_listens(&mut self, listens: &Receiver<()>) {
        if listens.recv_timeout(PATIENCE).is_err() {
            let mut process = self.process.take().expect("it was started");
            // It may have ended by itself.
            let _ = process.kill();
            self.process = Some(process);
            let ended = self.finish();
            panic!("the server did not start: {ended:?}");
        }
        let text = fs::read_to_string(self.data.join("run/listen.json")).expect("listen.json");
        self.listening = Some(serde_json::from_str(&text).expect("listen.json"));
    }

    fn finish(&mut self) -> Ended {
        let mut process = self.process.take().expect("it was started");
        let status = process.wait().expect("it ends");
        let (stdout, stderr) = self.output.take().expect("not taken before");
        stderr.join().expect("read");
        Ended { status, stdout: stdout.join().expect("read"), stderr: self.log() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Either it is gone already, or it goes now.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
