//! The doors of a server: HTTPS and, unless they are switched off, MQTT and AMQP.

use std::net::SocketAddr;

use app::App;
use futures_util::future::BoxFuture;
use listen::{Connection, ListenError, ListenSettings, Listener, ServerCertificate, Speaks};
use tokio::{
    join,
    sync::watch,
    task::{JoinHandle, spawn},
};

use super::{StartError, descriptors};
use crate::{
    config::Config,
    wiring::{self, InnerDoors},
};

/// Doors that are bound and not open yet: clients wait.
pub(super) struct Doors {
    https: Listener,
    mqtt: Option<Listener>,
    amqp: Option<Listener>,
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
            amqp: wiring::amqp_listen_settings(config),
        };
        let settings = descriptors::fit(asked, config);
        let bind = async |door, speaks, settings: ListenSettings| {
            let listener = Listener::bind_for(speaks, settings, certificate.clone()).await;
            listener.map_err(|error| StartError::listening(door, error))
        };
        let https = bind("https", Speaks::Https, settings.https).await?;
        let mqtt = match settings.mqtt {
            None => None,
            Some(settings) => Some(bind("mqtt", Speaks::Mqtt, settings).await?),
        };
        let amqp = match settings.amqp {
            None => None,
            Some(settings) => Some(bind("amqp", Speaks::Amqp, settings).await?),
        };
        Ok(Self { https, mqtt, amqp })
    }

    /// The addresses of the HTTPS door.
    pub(super) fn https(&self) -> Vec<SocketAddr> {
        self.https.local_addresses()
    }

    /// The addresses of the MQTT door.
    pub(super) fn mqtt(&self) -> Vec<SocketAddr> {
        self.mqtt.as_ref().map(Listener::local_addresses).unwrap_or_default()
    }

    /// The addresses of the AMQP door.
    pub(super) fn amqp(&self) -> Vec<SocketAddr> {
        self.amqp.as_ref().map(Listener::local_addresses).unwrap_or_default()
    }

    /// Opens them until `stopping` turns true. The task ends when all are closed, or by the panic
    /// of one of them, which closes the others as well.
    pub(super) fn open(
        self,
        config: &Config,
        app: &App,
        stopping: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let (http_door, InnerDoors { mqtt: mqtt_door, amqp: amqp_door }) =
            wiring::doors(config, app);
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
        let to_amqp = {
            let stopping = stopping.clone();
            move |connection: Connection| -> BoxFuture<'static, ()> {
                let (door, stopping) = (amqp_door.clone(), stopping.clone());
                Box::pin(async move { door.serve(connection, stopping).await })
            }
        };
        let Self { https, mqtt, amqp } = self;
        spawn(async move {
            let https = https.run(to_http, stopping.clone());
            let mqtt = async {
                if let Some(mqtt) = mqtt {
                    mqtt.run(to_mqtt, stopping.clone()).await;
                }
            };
            let amqp = async {
                if let Some(amqp) = amqp {
                    amqp.run(to_amqp, stopping.clone()).await;
                }
            };
            join!(https, mqtt, amqp);
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
