//! A device at its hub, over MQTT.

use std::fs;

use app::ports::Clock;
use bytes::Bytes;
use induct::{
    client::{Client, ClientSettings},
    device_link::{DeviceLink, DeviceLinkError, connect_packet},
    login::sas_token,
    ports::SystemClock,
};
use model::SymmetricKey;
use mqtt::proto::{Delivery, Packet, Publish, Qos};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::{PATIENCE, Server};

/// A connected device, with its key.
pub(crate) struct Device {
    link: DeviceLink<TlsStream<TcpStream>>,
    id: String,
}

impl Server {
    /// Connects a device of the first hub with a token of its key.
    pub(crate) async fn connect_device(&self, id: &str, key: &str) -> Device {
        let host = &self.listening().hubs[0].host;
        let key = SymmetricKey::parse(key).expect("a key");
        let expires = SystemClock.now().plus_secs(3_600);
        let token = sas_token(&format!("{host}/devices/{id}"), None, &key, expires);
        self.connect_device_by(id, &token).await
    }

    /// Connects a device of the first hub with this token.
    pub(crate) async fn connect_device_by(&self, id: &str, token: &str) -> Device {
        self.try_connect_device_by(id, token).await.expect("let in")
    }

    /// The same, for one that may be refused.
    pub(crate) async fn try_connect_device_by(
        &self,
        id: &str,
        token: &str,
    ) -> Result<Device, DeviceLinkError> {
        let host = self.listening().hubs[0].host.clone();
        let ca = fs::read_to_string(self.data.join("tls/ca.pem")).expect("the CA");
        let mut settings = ClientSettings::new(&host, self.mqtt_address().port(), ca);
        settings.protocol = "mqtt";
        let client = Client::new(settings.at(self.mqtt_address())).expect("a client");
        let mut link = DeviceLink::new(client.dial().await.expect("a connection"));
        let user_name = format!("{host}/{id}/?api-version=2021-04-12");
        let connect = connect_packet(id, &user_name, Some(token), true, 240).expect("legal");
        assert!(!link.connect(connect).await?, "a clean session is new");
        Ok(Device { link, id: id.to_owned() })
    }
}

impl Device {
    /// Sends an event and waits until the hub has it. `bag` holds its properties, encoded.
    pub(crate) async fn send(&mut self, bag: &str, payload: &[u8]) {
        let topic = format!("devices/{}/messages/events/{bag}", self.id);
        let payload = Bytes::copy_from_slice(payload);
        let sent = self.link.publish(&topic, payload, Qos::AtLeastOnce).await.expect("sent");
        let answer = timeout(PATIENCE, self.link.receive()).await.expect("in time");
        match answer.expect("an answer") {
            Packet::PubAck(id) => assert_eq!(id, sent),
            other => panic!("{other:?} is no acknowledgement"),
        }
    }

    /// Subscribes.
    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.link.subscribe(&[filter]).await.expect("granted");
    }

    /// The next message from the hub, acknowledged: its topic and its payload.
    pub(crate) async fn next(&mut self) -> (String, String) {
        let packet = timeout(PATIENCE, self.link.receive()).await.expect("in time");
        let Packet::Publish(Publish { topic, payload, delivery, .. }) = packet.expect("a packet")
        else {
            panic!("no message");
        };
        if let Delivery::AtLeastOnce { id, .. } = delivery {
            self.link.send(&Packet::PubAck(Some(id))).await.expect("sent");
        }
        let payload = String::from_utf8(payload.to_vec()).expect("text");
        (topic.as_str().to_owned(), payload)
    }

    /// Waits until the server has ended the connection.
    pub(crate) async fn closed(&mut self) {
        let heard = timeout(PATIENCE, self.link.receive()).await.expect("in time");
        heard.expect_err("the connection is over");
    }

    /// Sends a message that is no event.
    pub(crate) async fn answer(&mut self, topic: &str, payload: &str) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.link.publish(topic, payload, Qos::AtMostOnce).await.expect("sent");
    }
}
