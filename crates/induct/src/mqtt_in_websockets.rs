//! MQTT at the HTTPS door: the one place where the two doors meet, and neither knows of the other.

use futures_util::future::BoxFuture;
use http_door::{Upgrade, Upgrades};
use mqtt::{MqttDoor, Peer};

/// The subprotocol, as registered with IANA; vendors' SDKs spell it as they like (D §2.6).
const PROTOCOLS: [&str; 1] = ["mqtt"];

/// Hands WebSockets that speak MQTT to the MQTT door.
pub(crate) struct MqttInWebSockets(MqttDoor);

impl MqttInWebSockets {
    pub(crate) const fn new(door: MqttDoor) -> Self {
        Self(door)
    }
}

impl Upgrades for MqttInWebSockets {
    fn protocols(&self) -> &[&'static str] {
        &PROTOCOLS
    }

    fn serve(&self, upgrade: Upgrade) -> BoxFuture<'static, ()> {
        let Upgrade { stream, peer, shutdown, .. } = upgrade;
        let door = self.0.clone();
        let peer = Peer { address: peer.address, client_chain: peer.client_chain };
        Box::pin(async move { door.serve_stream(stream, peer, shutdown).await })
    }
}
