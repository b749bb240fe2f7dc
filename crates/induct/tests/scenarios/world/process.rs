//! The process: start it, wait until it listens, read what it says, stop it.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use super::within;

/// How often a file that will appear is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A running `induct serve`.
pub(super) struct Server {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    output: watch::Sender<String>,
    listening: Value,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(super) async fn start(config: &Path, data: &Path) -> Self {
        let mut child = induct(config, data, &["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let (output, _) = watch::channel(String::new());
        let stdout = child.stdout.take().expect("is piped");
        let stderr = child.stderr.take().expect("is piped");
        let readers = vec![listen_to(stdout, output.clone()), listen_to(stderr, output.clone())];
        let mut server = Self { child, readers, output, listening: Value::Null };
        server.listening =
            within("the start of the server", server.wait_until_listening(data)).await;
        server
    }

    async fn wait_until_listening(&mut self, data: &Path) -> Value {
        let file = data.join("run/listen.json");
        let pid = self.child.id().expect("it runs");
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            if let Some(status) = self.child.try_wait().expect("its status") {
                panic!("the server ended with {status}:\n{}", self.output());
            }
            let text = std::fs::read(&file).unwrap_or_default();
            // One from an earlier server has another process in it.
            match serde_json::from_slice::<Value>(&text) {
                Ok(listening) if listening["pid"] == pid => return listening,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// What the server published about itself.
    pub(super) fn listening(&self) -> &Value {
        &self.listening
    }

    /// The address of its HTTPS door.
    pub(super) fn address(&self) -> SocketAddr {
        self.address_of("https")
    }

    /// The address of its MQTT door.
    pub(super) fn mqtt_address(&self) -> SocketAddr {
        self.address_of("mqtt")
    }

    /// The address of its AMQP door.
    pub(super) fn amqp_address(&self) -> SocketAddr {
        self.address_of("amqp")
    }

    fn address_of(&self, door: &str) -> SocketAddr {
        self.listening[door][0].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    /// All it wrote so far.
    pub(super) fn output(&self) -> String {
        self.output.borrow().clone()
    }

    /// Waits until it wrote a line that holds all of these.
    pub(super) async fn wait_for_line(&self, texts: &[&str]) {
        let mut output = self.output.subscribe();
        let is_there = |output: &String| {
            output.lines().any(|line| texts.iter().all(|text| line.contains(text)))
        };
        output.wait_for(is_there).await.expect("the sender is ours");
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Asks the server to stop, waits for its end, and returns all it wrote.
    pub(super) async fn stop(mut self) -> String {
        // The shell's own `kill`: there need not be another one.
        let kill = format!("kill -TERM {}", self.child.id().expect("it runs"));
        let asked = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(asked.expect("the shell runs").success());
        let status = within("the end of the server", self.child.wait()).await.expect("its status");
        assert!(status.success(), "the server ended with {status}:\n{}", self.output());
        for reader in self.readers.drain(..) {
            within("the rest of the log", reader).await.expect("the reader does not panic");
        }
        self.output()
    }
}

/// The owner's connection string of the service or of a hub, as the command line prints it.
pub(super) async fn connection_string(config: &Path, data: &Path, hub: Option<&str>) -> String {
    let mut args = vec!["connection-string", "show"];
    if let Some(hub) = hub {
        args.extend(["--hub", hub]);
    }
    let shown = within("connection-string show", induct(config, data, &args).output()).await;
    let shown = shown.expect("the binary starts");
    let text = String::from_utf8_lossy(&shown.stdout);
    let from = text.find("HostName=").unwrap_or_else(|| {
        panic!(
            "`induct {}` shows {text:?} {:?}",
            args.join(" "),
            String::from_utf8_lossy(&shown.stderr)
        )
    });
    let end = |c: char| c == '"' || c.is_whitespace();
    text[from..].split(end).next().unwrap_or_default().to_owned()
}

/// The binary, told where everything is and nothing else.
fn induct(config: &Path, data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_induct"));
    let folder = config.parent().expect("a file in a folder");
    command.env_clear().env("HOME", folder).current_dir(folder);
    command.args(args).arg("--config").arg(config).arg("--data").arg(data);
    command
}

fn listen_to(
    mut stream: impl AsyncRead + Send + Unpin + 'static,
    output: watch::Sender<String>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            output.send_modify(|output| output.push_str(&text));
        }
    })
}
