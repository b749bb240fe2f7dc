//! How devices reach the server.
//!
//! All devices share what TLS needs; one with a certificate adds that for as long as it takes to
//! connect. So thousands of devices take little more memory than their connections.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, client::Resumption, sign::SingleCertAndKey};
use tokio::time::timeout;

use super::{Identity, Trouble, carrier::Carrier, websocket};
use crate::{
    client::{Client, ClientError, ClientSettings, authority},
    device_link::{DeviceLink, DeviceLinkError},
};
use mqtt::proto::Connect;

/// How long connecting, or an answer, may take, in seconds: thousands may be at it at once.
const PATIENCE_SECS: u64 = 60;
/// The same as a duration.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(PATIENCE_SECS);

/// Where devices find the server: both services of it are there.
#[derive(Debug, Clone)]
pub struct Site {
    /// The name of the provisioning service.
    pub service_host: String,
    /// The ID scope devices ask for.
    pub id_scope: String,
    /// The HTTPS door.
    pub https: Endpoint,
    /// The MQTT door.
    pub mqtt: Endpoint,
    /// Whether MQTT goes in WebSockets, to the HTTPS door.
    pub in_websockets: bool,
    /// The CAs to trust, PEM.
    pub ca_pem: String,
}

/// A door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Its port.
    pub port: u16,
    /// Its address, whatever the server's names resolve to.
    pub address: Option<SocketAddr>,
}

/// What devices share to reach the server.
pub struct Network {
    site: Site,
    https: Arc<ClientConfig>,
    mqtt: Arc<ClientConfig>,
}

impl Network {
    /// Sets up TLS; nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::BadCa`], and names that are none.
    pub fn new(site: Site) -> Result<Self, ClientError> {
        let config = |protocol| {
            let mut settings = ClientSettings::new("", 0, &site.ca_pem);
            settings.protocol = protocol;
            let mut config = settings.tls()?;
            // Each connection is a whole handshake, as that of a device that was switched on.
            config.resumption = Resumption::disabled();
            Ok::<_, ClientError>(Arc::new(config))
        };
        Ok(Self { https: config("http/1.1")?, mqtt: config("mqtt")?, site })
    }

    /// The ID scope devices ask for.
    #[must_use]
    pub fn id_scope(&self) -> &str {
        &self.site.id_scope
    }

    /// The name of the provisioning service.
    #[must_use]
    pub fn service_host(&self) -> &str {
        &self.site.service_host
    }

    /// A client of the provisioning service over HTTPS.
    pub(super) fn https(&self, identity: &Identity) -> Result<Client, ClientError> {
        self.client(&self.site.service_host, self.site.https, &self.https, identity)
    }

    /// An MQTT connection to the server under this name, with the CONNECT said and accepted.
    pub(super) async fn mqtt(
        &self,
        host: &str,
        identity: &Identity,
        connect: Connect,
    ) -> Result<DeviceLink<Carrier>, Trouble> {
        let opened = timeout(PATIENCE, async {
            let mut link = DeviceLink::new(self.carrier(host, identity).await?);
            link.connect(connect).await?;
            Ok(link)
        });
        opened.await.unwrap_or_else(|_| Err(slow("let the device connect")))
    }

    async fn carrier(&self, host: &str, identity: &Identity) -> Result<Carrier, Trouble> {
        if !self.site.in_websockets {
            let client = self.client(host, self.site.mqtt, &self.mqtt, identity)?;
            return Ok(Carrier::Tls(Box::new(client.dial().await?)));
        }
        let client = self.client(host, self.site.https, &self.https, identity)?;
        let stream = client.dial().await?;
        let opened = websocket::open(stream, &authority(host, self.site.https.port)).await;
        let stream = opened.map_err(|error| Trouble::failed(&DeviceLinkError::Broken(error)))?;
        Ok(Carrier::WebSocket(Box::new(stream)))
    }

    fn client(
        &self,
        host: &str,
        endpoint: Endpoint,
        config: &Arc<ClientConfig>,
        identity: &Identity,
    ) -> Result<Client, ClientError> {
        let mut settings = ClientSettings::new(host, endpoint.port, "");
        settings.address = endpoint.address;
        settings.connect_timeout = PATIENCE;
        settings.request_timeout = PATIENCE;
        let config = match identity.certificate() {
            None => Arc::clone(config),
            Some(certificate) => {
                let mut own = ClientConfig::clone(config);
                let certificate = SingleCertAndKey::from(Arc::clone(certificate));
                own.client_auth_cert_resolver = Arc::new(certificate);
                Arc::new(own)
            }
        };
        Client::sharing(settings, config)
    }
}

/// The server did not do this within [`PATIENCE`].
pub(super) fn slow(what: &str) -> Trouble {
    Trouble::Failed(format!("the server did not {what} within {PATIENCE_SECS} s"))
}
