//! The manners of the vendor's SDKs: what each says, in which spelling (D §0.5, §2; H §4.2).

use model::SymmetricKey;
use mqtt::proto::{Connect, Qos};
use rustls::version::TLS12;
use testkit::{ClientStyle, DeviceToken, sas};

use super::line::connect_with;
use crate::world::{Tls, now_unix_secs, websocket::Request};

/// For how long tokens are valid unless a test says otherwise, in seconds.
pub(super) const TTL_SECS: i64 = 3600;

const USUAL_KEY: &str = "the sample nonce";
const USUAL_PATH: &str = "/$iothub/websocket";

/// An SDK.
#[derive(Debug)]
pub(super) struct Sdk {
    /// Its name, which is part of its devices' names.
    pub(super) name: &'static str,
    /// How it writes tokens.
    pub(super) style: ClientStyle,
    /// Whether it speaks TLS 1.2 alone.
    pub(super) only_tls_1_2: bool,
    /// How it asks for a WebSocket.
    pub(super) web_socket: Request,
    /// What follows `…/registrations/{id}/` in its user name.
    pub(super) tail: &'static str,
    /// CleanSession while it provisions.
    pub(super) clean: bool,
    /// Its keep-alive while it provisions.
    pub(super) keep_alive_secs: u16,
    /// With which QoS it asks.
    pub(super) qos: Qos,
    /// `$rid` of its request of this number, beginning with 1, with this packet identifier.
    pub(super) rid: fn(u16, u16) -> String,
    /// What it sends to register this ID.
    pub(super) register: fn(&str) -> String,
    /// What it sends along with a poll.
    pub(super) poll: fn(&str) -> String,
    /// Whether it unsubscribes before it leaves.
    pub(super) unsubscribes: bool,
    /// At its hub.
    pub(super) hub: HubManners,
}

/// What an SDK does at a hub.
#[derive(Debug)]
pub(super) struct HubManners {
    /// What follows `{host}/{id}` in its user name.
    pub(super) tail: &'static str,
    /// Its keep-alive.
    pub(super) keep_alive_secs: u16,
    /// Whether it subscribes to everything in one packet.
    pub(super) subscribes_at_once: bool,
    /// With which QoS, and with what payload, it asks for its twin.
    pub(super) get: (Qos, &'static str),
    /// What follows `…/messages/events/` for message `m-1` of JSON in UTF-8 with the property
    /// `line`, `4 a`.
    pub(super) bag: &'static str,
    /// What it does once it is connected again and the server remembers it (H §4.2.4).
    pub(super) again: Again,
}

/// How an SDK comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Without a word.
    Silently,
    /// With two connections in quick succession, and without a word on either.
    Twice,
    /// It subscribes to its messages by itself.
    ToMessages,
    /// It subscribes to everything anew.
    ToEverything,
}

fn number(n: u16, _packet: u16) -> String {
    n.to_string()
}

fn guid(n: u16, _packet: u16) -> String {
    format!("4b1c{n:04x}-5d4a-4f0e-9b52-7c1f0a6e{n:04x}")
}

fn id_alone(id: &str) -> String {
    format!(r#"{{"registrationId":"{id}"}}"#)
}

fn nothing(_: &str) -> String {
    String::new()
}

fn space(_: &str) -> String {
    " ".to_owned()
}

pub(super) const PYTHON: Sdk = Sdk {
    name: "python",
    style: ClientStyle::Python,
    only_tls_1_2: true,
    web_socket: Request { path: USUAL_PATH, protocol: "mqtt", key: USUAL_KEY },
    tail: "api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%28%29",
    clean: false,
    keep_alive_secs: 60,
    qos: Qos::AtLeastOnce,
    rid: guid,
    register: |id| format!(r#"{{"payload": null, "registrationId": "{id}"}}"#),
    poll: space,
    unsubscribes: false,
    hub: HubManners {
        tail: "/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0",
        keep_alive_secs: 60,
        subscribes_at_once: false,
        get: (Qos::AtLeastOnce, " "),
        bag: "%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8&line=4%20a",
        again: Again::Silently,
    },
};

pub(super) const NODE: Sdk = Sdk {
    name: "node",
    style: ClientStyle::NodeSymmetric,
    only_tls_1_2: false,
    web_socket: Request { path: USUAL_PATH, protocol: "mqtt", key: USUAL_KEY },
    tail: "api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.2",
    clean: true,
    keep_alive_secs: 180,
    qos: Qos::AtLeastOnce,
    rid: guid,
    register: id_alone,
    poll: space,
    unsubscribes: true,
    hub: HubManners {
        tail: "/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.2",
        keep_alive_secs: 180,
        subscribes_at_once: false,
        get: (Qos::AtMostOnce, " "),
        bag: "%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8&line=4%20a",
        again: Again::Twice,
    },
};

pub(super) const C: Sdk = Sdk {
    name: "c",
    style: ClientStyle::C,
    only_tls_1_2: false,
    web_socket: Request { path: USUAL_PATH, protocol: "MQTT", key: USUAL_KEY },
    tail: "api-version=2021-06-01&ClientVersion=1.15.0",
    clean: true,
    keep_alive_secs: 0,
    qos: Qos::AtMostOnce,
    rid: number,
    register: id_alone,
    poll: id_alone,
    unsubscribes: false,
    hub: HubManners {
        tail: "/?api-version=2020-09-30&DeviceClientType=iothubclient%2f1.15.0",
        keep_alive_secs: 240,
        subscribes_at_once: true,
        get: (Qos::AtMostOnce, ""),
        bag: "line=4%20a&%24.mid=m-1&%24.ct=application%2fjson&%24.ce=utf-8",
        again: Again::ToEverything,
    },
};

pub(super) const EMBEDDED_C: Sdk = Sdk {
    name: "embedded-c",
    style: ClientStyle::EmbeddedC,
    only_tls_1_2: false,
    web_socket: Request { path: "/%24iothub/websocket", protocol: "mqtt", key: USUAL_KEY },
    tail: "api-version=2019-03-31",
    clean: true,
    keep_alive_secs: 240,
    qos: Qos::AtLeastOnce,
    rid: |_, _| "1".to_owned(),
    register: nothing,
    poll: nothing,
    unsubscribes: false,
    hub: HubManners {
        tail: "/?api-version=2020-09-30&DeviceClientType=azsdk-c%2F1.5.0",
        keep_alive_secs: 240,
        subscribes_at_once: false,
        get: (Qos::AtLeastOnce, ""),
        bag: "%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8&line=4%20a",
        again: Again::ToEverything,
    },
};

pub(super) const C_SHARP: Sdk = Sdk {
    name: "csharp",
    style: ClientStyle::CSharp,
    only_tls_1_2: false,
    web_socket: Request { path: "/", protocol: "mqtt", key: USUAL_KEY },
    tail: "api-version=2019-03-31&ClientVersion=.NET%2F1.19.4%20%28.NET%208.0%3B%20Linux%29",
    clean: true,
    keep_alive_secs: 0,
    qos: Qos::AtLeastOnce,
    rid: |_, packet| packet.to_string(),
    register: nothing,
    poll: nothing,
    unsubscribes: false,
    hub: HubManners {
        tail: "/?api-version=2020-09-30&DeviceClientType=.NET%2F1.42.3%20%28.NET%208.0%29",
        keep_alive_secs: 300,
        subscribes_at_once: false,
        get: (Qos::AtLeastOnce, ""),
        bag: "line=4%20a&%24.mid=m-1&%24.ct=application%2Fjson&%24.ce=utf-8/",
        again: Again::ToMessages,
    },
};

pub(super) const JAVA: Sdk = Sdk {
    name: "java",
    style: ClientStyle::Java,
    only_tls_1_2: false,
    web_socket: Request { path: "/mqtt", protocol: "mqtt", key: "mqtt3-1767225600" },
    tail: "api-version=2019-03-31&ClientVersion=2019-03-31",
    clean: false,
    keep_alive_secs: 230,
    qos: Qos::AtMostOnce,
    rid: number,
    register: id_alone,
    poll: nothing,
    unsubscribes: false,
    hub: HubManners {
        tail: "/?api-version=2020-09-30&DeviceClientType=com.microsoft.azure.sdk.iot%2F2.5.0",
        keep_alive_secs: 230,
        subscribes_at_once: false,
        get: (Qos::AtMostOnce, ""),
        bag: "$.mid=m-1&$.ct=application%2Fjson&$.ce=utf-8&line=4%20a",
        again: Again::ToEverything,
    },
};

pub(super) const ALL: [&Sdk; 6] = [&PYTHON, &NODE, &C, &EMBEDDED_C, &C_SHARP, &JAVA];

impl Sdk {
    /// Its end of a TLS connection.
    pub(super) fn tls(&self, tls: Tls) -> Tls {
        if self.only_tls_1_2 { tls.version(&TLS12) } else { tls }
    }

    /// Its CONNECT for provisioning; without a key it shows a certificate and no password.
    pub(super) fn provisioning_connect(
        &self,
        id_scope: &str,
        id: &str,
        key: Option<&SymmetricKey>,
    ) -> Connect {
        let token = key.map(|key| {
            DeviceToken {
                style: self.style,
                id_scope,
                registration_id: id,
                key,
                expiry_unix_secs: now_unix_secs() + TTL_SECS,
            }
            .text()
        });
        let user_name = format!("{id_scope}/registrations/{id}/{}", self.tail);
        connect_with(id, &user_name, token.as_deref(), self.clean, self.keep_alive_secs)
    }

    /// Its CONNECT for a hub. Every SDK asks for a session that lasts (H §4.2.1).
    pub(super) fn hub_connect(
        &self,
        host: &str,
        id: &str,
        key: Option<&SymmetricKey>,
        ttl_secs: i64,
    ) -> Connect {
        let token = key.map(|key| self.hub_token(host, id, key, ttl_secs));
        let user_name = format!("{host}/{id}{}", self.hub.tail);
        connect_with(id, &user_name, token.as_deref(), false, self.hub.keep_alive_secs)
    }

    fn hub_token(&self, host: &str, id: &str, key: &SymmetricKey, ttl_secs: i64) -> String {
        // The same disagreement about what is encoded as in D §0.5.
        let resource = match self.style {
            ClientStyle::NodeSymmetric | ClientStyle::Java => format!("{host}/devices/{id}"),
            ClientStyle::C | ClientStyle::EmbeddedC => format!("{host}%2fdevices%2f{id}"),
            _ => format!("{host}%2Fdevices%2F{id}"),
        };
        let expiry = (now_unix_secs() + ttl_secs).to_string();
        let signature = sas::sign(key.bytes(), &resource, &expiry);
        let signature = wire::percent::encode(&base64(&signature));
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}")
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}
