//! The manners of the vendor's SDKs that speak AMQP: what each says, in which spelling and order
//! (D §3.4, §3.5).

use amqp::proto::{Body, Message, MessageId, Pairs, Properties, Value};
use bytes::Bytes;
use model::SymmetricKey;
use testkit::{ClientStyle, DeviceToken};

use crate::world::{SERVICE, now_unix_secs, websocket::Request};

/// For how long tokens are valid, in seconds.
const TTL_SECS: i64 = 3600;
const USUAL_KEY: &str = "the sample nonce";

const OPERATION_TYPE: &str = "iotdps-operation-type";
const OPERATION_ID: &str = "iotdps-operation-id";
const REGISTER: &str = "iotdps-register";
const POLL: &str = "iotdps-get-operationstatus";

/// An SDK.
#[derive(Debug)]
pub(super) struct Sdk {
    /// Its name, which is part of its devices' names.
    pub(super) name: &'static str,
    /// How it writes tokens with a symmetric key.
    pub(super) style: ClientStyle,
    /// How it asks for a WebSocket.
    pub(super) web_socket: Request,
    /// Its `container-id`.
    pub(super) container_id: &'static str,
    /// `open.hostname`: C#'s and Java's are no host names.
    pub(super) hostname: fn(&str) -> Option<String>,
    /// `sasl-init.hostname`, for this identity.
    pub(super) sasl_hostname: fn(&str) -> Option<String>,
    /// The address of its links, for this identity: `{scope}/registrations/{id}`.
    pub(super) address: fn(&str) -> String,
    /// The addresses of its own ends, source and target.
    pub(super) other_end: Option<[&'static str; 2]>,
    /// What its links are called: the sender, the receiver.
    pub(super) link_names: [&'static str; 2],
    /// Whether it attaches its sender when its receiver is attached, and not before.
    pub(super) receiver_first: bool,
    /// Properties of its links.
    pub(super) properties: &'static [(&'static str, &'static str)],
    /// `max-message-size` of its receiver.
    pub(super) max_message_size: Option<u64>,
    /// The credit it grants.
    pub(super) credit: u32,
    /// Whether it knows more than the text of a token's `correlation-id`.
    pub(super) correlation_id: fn(u32) -> Option<MessageId>,
    /// Its application properties beside those of the operation, when it registers.
    pub(super) register_properties: &'static [(&'static str, Value)],
    /// What it sends to register this ID, with these public keys of its TPM if it has one.
    pub(super) register: fn(&str, Option<&str>) -> Body,
    /// What it sends along with a poll.
    pub(super) poll: fn(&str, Option<&str>) -> Body,
    /// Which spelling of `retry-after` it reads.
    pub(super) retry_after: &'static str,
    /// How it leaves.
    pub(super) leaves: Leaves,
}

/// How an SDK ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// It detaches both links and waits for each answer, then closes.
    LinkByLink,
    /// It ends its session, then closes.
    SessionFirst,
    /// It closes.
    AtOnce,
}

fn json(text: String) -> Body {
    Body::Data(vec![Bytes::from(text)])
}

/// `{"registrationId":…}` with the TPM's keys.
fn registration(id: &str, tpm: Option<&str>) -> Body {
    let tpm = tpm.map(|keys| format!(r#","tpm":{keys}"#)).unwrap_or_default();
    json(format!(r#"{{"registrationId":"{id}"{tpm}}}"#))
}

fn no_name(_: u32) -> Option<MessageId> {
    None
}

fn plain_address(identity: &str) -> String {
    identity.to_owned()
}

const VERSIONS: &[(&str, &str)] = &[
    ("com.microsoft:api-version", "2019-03-31"),
    ("com.microsoft:client-version", "some-sdk/1.0"),
];

pub(super) const C: Sdk = Sdk {
    name: "c",
    style: ClientStyle::C,
    web_socket: Request { path: "/$iothub/websocket", protocol: "AMQPWSB10", key: USUAL_KEY },
    container_id: "prov_connection",
    hostname: |host| Some(host.to_owned()),
    sasl_hostname: |_| None,
    address: |identity| format!("amqps://{SERVICE}/{identity}"),
    other_end: Some(["remote_endpoint", "local_endpoint"]),
    link_names: ["sender_link", "recv_link"],
    receiver_first: false,
    properties: &[("com.microsoft:api-version", "2021-06-01")],
    max_message_size: Some(65_536),
    credit: 10_000,
    correlation_id: no_name,
    register_properties: &[],
    register: registration,
    poll: registration,
    retry_after: "retry-after",
    leaves: Leaves::SessionFirst,
};

pub(super) const NODE: Sdk = Sdk {
    name: "node",
    style: ClientStyle::NodeSymmetric,
    web_socket: Request { path: "/$iothub/websocket", protocol: "AMQPWSB10", key: USUAL_KEY },
    container_id: "3f1c6e54-9d3a-4b1f-a1a5-8f4d4b8b7a11",
    hostname: |host| Some(host.to_owned()),
    sasl_hostname: |_| Some(SERVICE.to_owned()),
    address: plain_address,
    other_end: None,
    link_names: ["9a6f0001-ee5a-4f1b-8f7a-2d6c1a9f0c31", "9a6f0002-ee5a-4f1b-8f7a-2d6c1a9f0c31"],
    receiver_first: true,
    properties: VERSIONS,
    max_message_size: None,
    credit: 1_000,
    correlation_id: |n| {
        Some(MessageId::String(format!("4b1c{n:04x}-5d4a-4f0e-9b52-7c1f0a6e{n:04x}")))
    },
    register_properties: &[("iotdps-forceRegistration", Value::Bool(false))],
    register: registration,
    poll: |_, _| Body::Value(Value::String(String::new())),
    retry_after: "retry-after",
    leaves: Leaves::LinkByLink,
};

pub(super) const C_SHARP: Sdk = Sdk {
    name: "csharp",
    style: ClientStyle::CSharp,
    web_socket: Request { path: "/", protocol: "AMQPWSB10", key: USUAL_KEY },
    container_id: "b2f6a0ad9b4e4c34a3a5f0f0b1f3c2d1",
    hostname: |host| Some(host.to_owned()),
    sasl_hostname: |identity| Some(identity.to_owned()),
    address: plain_address,
    other_end: None,
    link_names: ["5c3d9a1e4f6b4d0f1", "5c3d9a1e4f6b4d0f2"],
    receiver_first: true,
    properties: VERSIONS,
    max_message_size: None,
    credit: 50,
    // One for its whole run.
    correlation_id: |_| Some(MessageId::String("0b6e0e3c-6a3d-4f7e-8e0b-0d6b8a1f5c77".to_owned())),
    register_properties: &[("iotdps-forceRegistration", Value::Bool(false))],
    register: |_, tpm| match tpm {
        None => json(String::new()),
        Some(_) => json(r#"{"payload":{"line":4}}"#.to_owned()),
    },
    poll: |_, _| Body::Value(Value::String(POLL.to_owned())),
    retry_after: "Retry-After",
    leaves: Leaves::AtOnce,
};

pub(super) const JAVA: Sdk = Sdk {
    name: "java",
    style: ClientStyle::Java,
    web_socket: Request {
        // Whatever its credential (D §8, 57).
        path: "/$iothub/websocket?iothub-no-client-cert=true",
        protocol: "AMQPWSB10",
        key: USUAL_KEY,
    },
    container_id: "7f2c1b1e-6d0a-4f57-a0b8-6e0f4d4f9b20",
    hostname: |host| Some(format!("{host}:5671")),
    sasl_hostname: |_| Some(SERVICE.to_owned()),
    address: |identity| format!("/{identity}"),
    other_end: None,
    link_names: ["provision_sender_link", "provision_receiver_link"],
    receiver_first: false,
    properties: VERSIONS,
    max_message_size: None,
    credit: 1,
    correlation_id: no_name,
    register_properties: &[],
    // Without the keys of its TPM, which SASL had.
    register: |id, _| registration(id, None),
    poll: |_, _| Body::None,
    retry_after: "retry-after",
    leaves: Leaves::LinkByLink,
};

pub(super) const ALL: [&Sdk; 4] = [&C, &NODE, &C_SHARP, &JAVA];

impl Sdk {
    /// Its token for a device with this key.
    pub(super) fn token(&self, id_scope: &str, id: &str, key: &SymmetricKey) -> String {
        self.token_until(id_scope, id, key, now_unix_secs() + TTL_SECS)
    }

    /// The same, valid until this moment.
    pub(super) fn token_until(
        &self,
        id_scope: &str,
        id: &str,
        key: &SymmetricKey,
        expiry_unix_secs: i64,
    ) -> String {
        let (style, registration_id) = (self.style, id);
        DeviceToken { style, id_scope, registration_id, key, expiry_unix_secs }.text()
    }

    /// The properties of its links, by symbols as all SDKs write them.
    pub(super) fn link_properties(&self) -> Pairs {
        let pair = |(name, value): &(&str, &str)| {
            (Value::Symbol((*name).to_owned()), Value::String((*value).to_owned()))
        };
        self.properties.iter().map(pair).collect()
    }

    /// Its request of this number to register.
    pub(super) fn register_message(&self, n: u32, id: &str, tpm: Option<&str>) -> Message {
        let more = self.register_properties.iter();
        let more = more.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut message = self.request(n, REGISTER, (self.register)(id, tpm));
        message.application_properties.extend(more);
        message
    }

    /// Its request of this number to be told where an operation stands.
    pub(super) fn poll_message(
        &self,
        n: u32,
        id: &str,
        tpm: Option<&str>,
        operation: &str,
    ) -> Message {
        let mut message = self.request(n, POLL, (self.poll)(id, tpm));
        let operation = Value::String(operation.to_owned());
        message.application_properties.push((OPERATION_ID.to_owned(), operation));
        message
    }

    /// Its request of this number for an operation, with this body.
    pub(super) fn request(&self, n: u32, operation: &str, body: Body) -> Message {
        let properties = (self.correlation_id)(n)
            .map(|id| Box::new(Properties { correlation_id: Some(id), ..Properties::default() }));
        let operation = Value::String(operation.to_owned());
        Message {
            properties,
            application_properties: vec![(OPERATION_TYPE.to_owned(), operation)],
            body,
            ..Message::default()
        }
    }
}
