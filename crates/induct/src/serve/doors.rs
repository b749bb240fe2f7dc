//! The doors of a server: HTTPS and, unless it is switched off, MQTT.

use std::net::SocketAddr;

use app::App;
use futures_util::future::BoxFuture;
use listen::{Connection, ListenError, Listener, ServerCertificate, Speaks};
use tokio::{
    join,
    sync::watch,
    task::{JoinHandle, spawn},
};

use super::{StartError, descriptors};
use crate::{config::Config, wiring};

/// Doors that are bound and not open yet: clients wait.
pub(super) struct Doors {
    https: Listener,
    mqtt: Option<Listener>,
}

impl Doors {
    /// Binds every address.
    ///
    /// # Errors
    /// The first address that cannot be had, and the setting it stands in.
    pub(super) async fn bind(
        config: &Config,
        certificate: ServerCertificate,
    ) -> Result<Self, StartError> {
        let asked = descriptors::Asked {
            https: wiring::listen_settings(config),
            mqtt: wiring::mqtt_listen_settings(config),
        };
        let settings = descriptors::fit(asked, config);
        let https = Listener::bind_for(Speaks::Https, settings.https, certificate.clone());
        let https = https.await.map_err(|error| StartError::listening("https", error))?;
        let mqtt = match settings.mqtt {
            None => None,
            Some(settings) => {
                let mqtt = Listener::bind_for(Speaks::Mqtt, settings, certificate).await;
                Some(mqtt.map_err(|error| StartError::listening("mqtt", error))?)
            }
        };
        Ok(Self { https, mqtt })
    }

    /// The addresses of the HTTPS door.
    pub(super) fn https(&self) -> Vec<SocketAddr> {
        self.https.local_addresses()
    }

    /// The addresses of the MQTT door.
    pub(super) fn mqtt(&self) -> Vec<SocketAddr> {
        self.mqtt.as_ref().map(Listener::local_addresses).unwrap_or_default()
    }

    /// Opens them until `stopping` turns true. The task ends when both are closed, or by the panic
    /// of one of them, which closes the other as well.
    pub(super) fn open(
        self,
        config: &Config,
        app: &App,
        stopping: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let (http_door, mqtt_door) = wiring::doors(config, app);
        // Boxed, because the compiler cannot see that so deep a future may move between threads.
        let to_http = {
            let stopping = stopping.clone();
            move |connection: Connection| -> BoxFuture<'static, ()> {
                let (door, stopping) = (http_door.clone(), stopping.clone());
                Box::pin(async move { door.serve(connection, stopping).await })
            }
        };
        let to_mqtt = {
            let stopping = stopping.clone();
            move |connection: Connection| -> BoxFuture<'static, ()> {
                let (door, stopping) = (mqtt_door.clone(), stopping.clone());
                Box::pin(async move { door.serve(connection, stopping).await })
            }
        };
        let Self { https, mqtt } = self;
        spawn(async move {
            let https = https.run(to_http, stopping.clone());
            let mqtt = async {
                if let Some(mqtt) = mqtt {
                    mqtt.run(to_mqtt, stopping).await;
                }
            };
            join!(https, mqtt);
        })
    }
}

impl StartError {
    fn listening(door: &'static str, error: ListenError) -> Self {
        match error {
            ListenError::Bind { address, source } => Self::Bind { door, address, source },
            other => Self::Listen(other),
        }
    }
}
