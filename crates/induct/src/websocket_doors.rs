//! MQTT and AMQP at the HTTPS door: the one place where the doors meet, and none knows of another.

use amqp::AmqpDoor;
use futures_util::future::BoxFuture;
use http_door::{Upgrade, Upgrades};
use mqtt::MqttDoor;

/// The subprotocol, as registered with IANA; vendors' SDKs spell it as they like (D §2.6).
const MQTT: &str = "mqtt";
/// The same of AMQP: the binding of AMQP 1.0 to WebSockets calls it `amqp`, every vendor's SDK by
/// the name of the binding's draft (D §3.7, H §4.3.1).
const AMQP: &str = "AMQPWSB10";

/// Hands WebSockets to the door of what is spoken in them.
pub(crate) struct WebSocketDoors {
    /// For MQTT, unless that is switched off.
    pub(crate) mqtt: Option<MqttDoor>,
    /// For AMQP, unless that is switched off.
    pub(crate) amqp: Option<AmqpDoor>,
}

impl WebSocketDoors {
    /// Whether nothing is spoken in WebSockets at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.mqtt.is_none() && self.amqp.is_none()
    }
}

impl Upgrades for WebSocketDoors {
    fn protocols(&self) -> &[&'static str] {
        match (&self.mqtt, &self.amqp) {
            (Some(_), Some(_)) => &[MQTT, AMQP],
            (Some(_), None) => &[MQTT],
            (None, Some(_)) => &[AMQP],
            (None, None) => &[],
        }
    }

    fn serve(&self, upgrade: Upgrade) -> BoxFuture<'static, ()> {
        let Upgrade { stream, protocol, host, peer, shutdown } = upgrade;
        if let Some(door) = &self.mqtt
            && protocol.eq_ignore_ascii_case(MQTT)
        {
            let door = door.clone();
            let peer = mqtt::Peer { address: peer.address, client_chain: peer.client_chain };
            return Box::pin(async move { door.serve_stream(stream, peer, shutdown).await });
        }
        if let Some(door) = &self.amqp
            && protocol.eq_ignore_ascii_case(AMQP)
        {
            let door = door.clone();
            let peer = amqp::Peer {
                address: peer.address,
                client_chain: peer.client_chain,
                server_name: without_port(&host),
            };
            return Box::pin(async move { door.serve_stream(stream, peer, shutdown).await });
        }
        // The HTTPS door takes no other subprotocols than those above.
        Box::pin(async {})
    }
}

/// The name in a `Host` header, which stands for the one that the TLS handshake asked for.
fn without_port(host: &str) -> Option<String> {
    let name = match host.rsplit_once(':') {
        // In an IPv6 address without port, the colon is the address's.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, expected: Option<&str>) {
        assert_eq!(without_port(host).as_deref(), expected, "{host:?}");
    }

    #[test]
    fn the_host_header_says_which_name_was_asked_for() {
        check("hub-1.example.com", Some("hub-1.example.com"));
        check("hub-1.example.com:443", Some("hub-1.example.com"));
        check("[::1]:8443", Some("[::1]"));
        check("[::1]", Some("[::1]"));
        check("", None);
        check(":443", None);
    }
}
