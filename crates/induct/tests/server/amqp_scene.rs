//! What the tests of the AMQP door share: a hub with devices, who connect one by one or many on one
//! connection, its service side, and its log.

use std::{collections::BTreeMap, fs};

use amqp::proto::{Body, Message, Properties, Role, encode_message};
use app::ports::Clock;
use bytes::Bytes;
use http::Method;
use induct::{
    client::{Client, ClientSettings},
    login::sas_token,
    ports::SystemClock,
};
use model::SymmetricKey;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::connection_string::{ConnectionString, Target};

use crate::{
    amqp_client::{AmqpClient, SENDER, TOKENS, accepted},
    harness::{Api, Home, PATIENCE, Server},
};

pub(crate) const HUB: &str = "hub-1.localhost";
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const API: &str = "api-version=2021-04-12";

/// A client over TLS.
pub(crate) type Amqp = AmqpClient<TlsStream<TcpStream>>;

/// The name of a device.
pub(crate) fn id_of(n: usize) -> String {
    format!("press-{n}")
}

/// The channel of a device that is this one of its connection.
pub(crate) fn channel_of(n: usize) -> u16 {
    u16::try_from(n + 1).expect("few devices on a connection")
}

/// An identity's authentication by this key.
pub(crate) fn by_key(key: &str) -> Value {
    json!({"type": "sas", "symmetricKey": {"primaryKey": key, "secondaryKey": key}})
}

/// A token of a device.
pub(crate) fn token_of(id: &str, key: &str) -> String {
    let key = SymmetricKey::parse(key).expect("a key");
    let expires = SystemClock.now().plus_secs(3_600);
    sas_token(&format!("{HUB}/devices/{id}"), None, &key, expires)
}

/// Creates so many devices with [`KEY`].
pub(crate) async fn create_devices(hub: &Api, n_devices: usize) {
    let all: Vec<usize> = (0..n_devices).collect();
    for some in all.chunks(100) {
        let element = |n: &usize| json!({"id": id_of(*n), "importMode": "create", "authentication": by_key(KEY)});
        let body = Value::from(some.iter().map(element).collect::<Vec<_>>());
        let path = format!("/devices?{API}");
        let answer = hub.request(Method::POST, &path, &[], &body).await.expect("an answer");
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

/// Opens connections to a door of a server.
pub(crate) struct Dialer(Client);

impl Dialer {
    /// To the AMQP door.
    pub(crate) fn amqp(home: &Home, server: &Server) -> Self {
        Self::new(home, server.amqp_address(), "amqp")
    }

    /// To the MQTT door.
    pub(crate) fn mqtt(home: &Home, server: &Server) -> Self {
        Self::new(home, server.mqtt_address(), "mqtt")
    }

    fn new(home: &Home, address: std::net::SocketAddr, protocol: &'static str) -> Self {
        let ca = fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA");
        let mut settings = ClientSettings::new(HUB, address.port(), ca).at(address);
        settings.protocol = protocol;
        settings.connect_timeout = PATIENCE;
        Self(Client::new(settings).expect("a client"))
    }

    /// A connection on which nothing was said yet.
    pub(crate) async fn dial(&self) -> TlsStream<TcpStream> {
        self.0.dial().await.expect("a connection")
    }

    /// A connection that carries these devices, each let in by its token and with a link on which
    /// it sends, in this order from channel 1 on.
    pub(crate) async fn gateway(&self, ids: &[String]) -> Amqp {
        let mut client = Amqp::open_for_tokens(self.dial().await, HUB).await;
        for (n, id) in ids.iter().enumerate() {
            client.join(channel_of(n), id, &token_of(id, KEY)).await;
        }
        client
    }

    /// The service side of the hub, by the password of its owner (H §4.3.2).
    pub(crate) async fn service(&self, home: &Home) -> Service {
        let shown = home.run(&["connection-string", "show", "--hub", "hub-1"]).json();
        let text = shown["connectionString"].as_str().expect("a connection string");
        let owner = ConnectionString::parse(text, Target::Hub).expect("legal");
        let expires = SystemClock.now().plus_secs(3_600);
        let token = sas_token(HUB, Some(&owner.key_name), &owner.key, expires);
        let password = format!("\0{}@sas.root.hub-1\0{token}", owner.key_name);
        let mut client = Amqp::open(self.dial().await, HUB, "PLAIN", Some(password)).await;
        let address = "/messages/devicebound";
        client.attach(TOKENS, SENDER, Role::Sender, address).await.expect("let in");
        Service(client)
    }
}

/// Who sends messages to devices.
pub(crate) struct Service(Amqp);

impl Service {
    /// Sends a message, and waits until the hub has it.
    pub(crate) async fn send(&mut self, id: &str, text: &str) {
        let properties = Properties {
            to: Some(format!("/devices/{id}/messages/devicebound")),
            ..Properties::default()
        };
        let message = Message {
            properties: Some(Box::new(properties)),
            body: Body::Data(vec![Bytes::copy_from_slice(text.as_bytes())]),
            ..Message::default()
        };
        let sent = self.0.send(TOKENS, SENDER, &encode_message(&message)).await;
        let frame = self.0.heard().await;
        assert_eq!(accepted(&frame), Some((TOKENS, sent..=sent)), "{frame:?}");
    }
}

/// Changes, makes or deletes a device's identity.
pub(crate) async fn put_device(hub: &Api, id: &str, status: &str, key: &str) {
    let identity = json!({"deviceId": id, "status": status, "authentication": by_key(key)});
    let path = format!("/devices/{id}?{API}");
    let answer = hub.request(Method::PUT, &path, &[("if-match", "*")], &identity).await;
    let answer = answer.expect("an answer");
    assert!(answer.status.is_success(), "{answer:?}");
}

/// Creates one that is not there.
pub(crate) async fn create_device(hub: &Api, id: &str) {
    let identity = json!({"deviceId": id, "authentication": by_key(KEY)});
    let path = format!("/devices/{id}?{API}");
    let answer = hub.request(Method::PUT, &path, &[], &identity).await.expect("an answer");
    assert!(answer.status.is_success(), "{answer:?}");
}

/// Deletes one.
pub(crate) async fn delete_device(hub: &Api, id: &str) {
    let path = format!("/devices/{id}?{API}");
    let headers = [("if-match", "*")];
    let answer = hub.request(Method::DELETE, &path, &headers, &Value::Null).await;
    let answer = answer.expect("an answer");
    assert!(answer.status.is_success(), "{answer:?}");
}

/// All events of the hub, by device: their offsets and bodies.
pub(crate) async fn logs(hub: &Api) -> BTreeMap<String, Vec<(u64, Value)>> {
    let mut logs = BTreeMap::<String, Vec<(u64, Value)>>::new();
    let mut place = "from=earliest".to_owned();
    loop {
        let path = format!("/induct/v1/events?{API}&limit=1000&{place}");
        let answer = hub.request(Method::GET, &path, &[], &Value::Null).await.expect("an answer");
        let page = answer.json().expect("JSON");
        for event in page["events"].as_array().expect("events") {
            let id = event["deviceId"].as_str().expect("a device").to_owned();
            let offset = event["sequenceNumber"].as_u64().expect("an offset");
            logs.entry(id).or_default().push((offset, event["body"].clone()));
        }
        let cursor = page["cursor"].as_str().expect("a cursor");
        let next = format!("cursor={}", wire::percent::encode(cursor));
        if next == place {
            return logs;
        }
        place = next;
    }
}
