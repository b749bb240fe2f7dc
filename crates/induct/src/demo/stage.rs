//! The stage: a temporary folder, a server in this process, and the ways to reach it.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use app::ports::Clock;
use tempfile::TempDir;

use super::{
    Scale,
    factory::{Factory, Made},
};
use crate::{
    cli::{Failure, Place, api::Api},
    client::read_pem,
    config::{self, Given},
    data_folder::private_folder,
    login::{Login, LoginArgs},
    ports::{Environment, SystemClock},
    serve::Server,
    simulate::{Endpoint, Network, Site},
};

/// The hubs of the demo: short name and host name.
pub(super) const HUBS: [(&str, &str); 2] =
    [("hub-1", "hub-1.localhost"), ("hub-2", "hub-2.localhost")];

/// Everything the demo happens on.
pub(super) struct Stage {
    folder: TempDir,
    server: Server,
    /// The devices and their certificates.
    pub(super) factory: Factory,
    /// Where the server listens for HTTPS.
    pub(super) address: SocketAddr,
    /// Where it listens for MQTT.
    pub(super) mqtt_address: SocketAddr,
    /// Where it listens for AMQP.
    pub(super) amqp_address: SocketAddr,
    /// How devices reach it.
    pub(super) network: Network,
}

impl Stage {
    /// Makes the folder, starts the server and builds the factory.
    pub(super) async fn build(scale: Scale) -> Result<Self, Failure> {
        let folder = temporary_folder()?;
        let data = folder.path().join("data");
        private_folder(&data)?;
        // In the data folder, where commands with `--data` find it.
        let file = data.join("induct.toml");
        fs::write(&file, settings(scale.port))?;
        // The environment of whoever runs the demo is for another server.
        let environment =
            Environment { working_folder: folder.path().to_owned(), ..Environment::default() };
        let given = Given { config: Some(file), data: Some(data) };
        let config = config::load(&given, &environment)?.config;
        let server = Server::start(&config).await?;
        let doors = &server.listening;
        let (Some(address), Some(mqtt_address), Some(amqp_address)) =
            (doors.local_address(), doors.local_mqtt_address(), doors.local_amqp_address())
        else {
            return Err(Failure::new("The server did not say where it listens."));
        };
        let network = Network::new(Site {
            service_host: "localhost".to_owned(),
            id_scope: doors.id_scope.clone(),
            https: Endpoint { port: address.port(), address: Some(address) },
            mqtt: Endpoint { port: mqtt_address.port(), address: Some(mqtt_address) },
            in_websockets: false,
            ca_pem: read_pem(&server.data().ca())?,
        })?;
        let place = folder.path().join("factory");
        let n_devices = scale.n_devices;
        let factory = tokio::task::spawn_blocking(move || {
            Factory::build(&place, n_devices, SystemClock.now())
        });
        let factory = factory.await??;
        Ok(Self { folder, server, factory, address, mqtt_address, amqp_address, network })
    }

    /// The ID scope devices ask for.
    pub(super) fn id_scope(&self) -> &str {
        &self.server.listening.id_scope
    }

    /// The server's data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.server.data().path().to_owned()
    }

    /// The device excluded in the course of the demo.
    pub(super) fn excluded(&self) -> &Made {
        let devices = &self.factory.devices;
        &devices[devices.len().min(7) - 1]
    }

    /// A device beside it, to which nothing happens.
    pub(super) fn witness(&self) -> &Made {
        let devices = &self.factory.devices;
        &devices[devices.len().min(7) - 2]
    }

    /// The operator API, reached as a command on this machine reaches it.
    pub(super) async fn service(&self) -> Result<Api, Failure> {
        let login = Login::find_service(&self.login(), &self.environment()).await?;
        Ok(Api::of_service(login, false)?)
    }

    /// A hub's API, likewise.
    pub(super) async fn hub(&self, name: &str) -> Result<Api, Failure> {
        let login = Login::find_hub(&self.login(), Some(name), &self.environment()).await?;
        Ok(Api::of_hub(login, false)?)
    }

    fn login(&self) -> LoginArgs {
        let place = Place { config: None, data: Some(self.data()) };
        LoginArgs { place, ..LoginArgs::default() }
    }

    fn environment(&self) -> Environment {
        Environment { working_folder: self.folder.path().to_owned(), ..Environment::default() }
    }

    /// Stops the server and removes the folder.
    pub(super) async fn clear(self) -> Result<(), Failure> {
        self.server.stop().await;
        Ok(self.folder.close()?)
    }
}

/// A folder for its owner only: the devices' keys are in it as well.
fn temporary_folder() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("induct-demo-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o700));
    }
    builder.tempdir()
}

fn settings(port: u16) -> String {
    let hubs: String = HUBS
        .iter()
        .map(|(name, host)| format!("\n[[hubs]]\nname = \"{name}\"\nhost = \"{host}\"\n"))
        .collect();
    // Few enough connections for any machine's limit of open files.
    let limits = "max_connections = 1900\nmax_mqtt_connections = 1900\n\
                  max_amqp_connections = 200\nshutdown_grace_secs = 1";
    format!("[listen]\nhttps = [\"127.0.0.1:{port}\"]\n{limits}\n{hubs}")
}
