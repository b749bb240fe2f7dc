//! A device that knocks at every door: those where devices are provisioned, and its hub's.

use std::fs;

use amqp::proto::{
    Body, Message, Open, Performative, ProtocolHeader, Role, SaslFrame, SaslOutcome, Value as Amqp,
    encode_message,
};
use app::ports::Clock;
use bytes::Bytes;
use induct::{
    login::sas_token,
    ports::SystemClock,
    simulate::{Endpoint, Identity, Network, Over, Site, Trouble, register},
};
use model::SymmetricKey;

use crate::{
    amqp_client::{AmqpClient, RECEIVER, SENDER, TOKENS, accepted},
    amqp_scene::{Dialer, HUB},
    harness::{Home, Server},
};

const SERVICE: &str = "localhost";

/// A device with its key, before the doors of a server.
pub(super) struct Knocker<'a> {
    home: &'a Home,
    server: &'a Server,
    network: Network,
    id: String,
    key: SymmetricKey,
}

impl<'a> Knocker<'a> {
    pub(super) fn new(home: &'a Home, server: &'a Server, id: &str, key: SymmetricKey) -> Self {
        Self { home, server, network: network(home, server), id: id.to_owned(), key }
    }

    /// The same device with another key.
    pub(super) fn with_key(self, key: SymmetricKey) -> Self {
        Self { key, ..self }
    }

    /// It registers at each door, and then connects to its hub at each; all let it in, or none.
    pub(super) async fn check(&self, is_admitted: bool, when: &str) {
        let identity = Identity::with_key(&self.id, self.key.clone());
        for over in [Over::Https, Over::Mqtt] {
            let settled = register_at(&self.network, &identity, over).await;
            assert_eq!(settled, is_admitted, "{} registers over {over:?} {when}", self.id);
        }
        let settled = self.registers_over_amqp().await;
        assert_eq!(settled, is_admitted, "{} registers over AMQP {when}", self.id);
        self.check_hub(is_admitted, when).await;
    }

    /// It connects to its hub at each door; both let it in, or none.
    pub(super) async fn check_hub(&self, is_admitted: bool, when: &str) {
        let token = sas_token(&format!("{HUB}/devices/{}", self.id), None, &self.key, expiry());
        let connected = self.server.try_connect_device_by(&self.id, &token).await;
        assert_eq!(connected.is_ok(), is_admitted, "{} connects over MQTT {when}", self.id);
        drop(connected);
        let stream = Dialer::amqp(self.home, self.server).dial().await;
        let mut client = AmqpClient::open_for_tokens(stream, HUB).await;
        let status = client.put_token(&token).await;
        assert_eq!(status == 200, is_admitted, "{} connects over AMQP {when}: {status}", self.id);
        if is_admitted {
            client.begin(1).await;
            client.attach_events(1, &self.id).await.expect("a link");
        }
    }

    /// Logs in by a token, attaches both links and asks; a refusal may come with each of these.
    async fn registers_over_amqp(&self) -> bool {
        let resource = format!("{}/registrations/{}", self.server.listening().id_scope, self.id);
        let token = sas_token(&resource, Some("registration"), &self.key, expiry());
        let mut client = AmqpClient::new(Dialer::amqp(self.home, self.server).dial().await);
        client.say_header(ProtocolHeader::Sasl).await;
        client.heard_sasl().await;
        client.say_init("PLAIN", Some(Bytes::from(format!("\0{resource}\0{token}")))).await;
        match client.heard_sasl().await {
            SaslFrame::Outcome(SaslOutcome::Ok) => {}
            SaslFrame::Outcome(SaslOutcome::Auth) => return false,
            other => panic!("{other:?} instead of an outcome"),
        }
        client.say_header(ProtocolHeader::Amqp).await;
        let open = Open {
            container_id: self.id.clone(),
            hostname: Some(SERVICE.to_owned()),
            ..Open::default()
        };
        client.put(0, Performative::Open(Box::new(open))).await;
        let frame = client.heard().await;
        assert!(matches!(frame.performative, Performative::Open(_)), "{frame:?}");
        client.begin(TOKENS).await;
        for (handle, role) in [(RECEIVER, Role::Receiver), (SENDER, Role::Sender)] {
            let version = (
                Amqp::Symbol("com.microsoft:api-version".to_owned()),
                Amqp::String("2021-06-01".to_owned()),
            );
            let link = client.attach_with(TOKENS, handle, role, &resource, vec![version]).await;
            link.expect("a link");
        }
        let operation = Amqp::String("iotdps-register".to_owned());
        let body = format!(r#"{{"registrationId":"{}"}}"#, self.id);
        let message = Message {
            application_properties: vec![("iotdps-operation-type".to_owned(), operation)],
            body: Body::Data(vec![Bytes::from(body)]),
            ..Message::default()
        };
        let sent = client.send(TOKENS, SENDER, &encode_message(&message)).await;
        if accepted(&client.heard().await) != Some((TOKENS, sent..=sent)) {
            return false;
        }
        let frame = client.heard().await;
        let (_, answer) = client.take_message(frame).await;
        let Body::Data(pieces) = answer.body else { panic!("{:?} as a body", answer.body) };
        let answer: serde_json::Value = serde_json::from_slice(&pieces.concat()).expect("JSON");
        assert_eq!(answer["status"], "assigning", "{answer}");
        true
    }
}

/// Whether a device is assigned to a hub by this door.
pub(super) async fn register_at(network: &Network, identity: &Identity, over: Over) -> bool {
    match register(network, identity, over).await {
        Ok(settled) if settled.status == "assigned" => true,
        Ok(settled) if settled.status == "disabled" => false,
        Err(Trouble::Refused(_)) => false,
        other => panic!("{other:?}"),
    }
}

/// How devices reach the server.
pub(super) fn network(home: &Home, server: &Server) -> Network {
    let at =
        |address: std::net::SocketAddr| Endpoint { port: address.port(), address: Some(address) };
    Network::new(Site {
        service_host: SERVICE.to_owned(),
        id_scope: server.listening().id_scope.clone(),
        https: at(server.address()),
        mqtt: at(server.mqtt_address()),
        in_websockets: false,
        ca_pem: fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA"),
    })
    .expect("a network")
}

fn expiry() -> model::Timestamp {
    SystemClock.now().plus_secs(3_600)
}
