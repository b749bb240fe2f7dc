//! A device: its name, its credential, and what it is told when it registers (D §1).

use model::SymmetricKey;
use serde_json::{Value, json};
use testkit::{ClientStyle, Credential, DeviceToken, sas::derive_device_key};

use super::{Connection, Reply, SERVICE, Tls, World, now_unix_secs};

/// How often a device asks for an operation that never settles before it gives up.
const MAX_POLLS: usize = 100;

/// What a device proves itself with.
#[derive(Clone)]
pub(crate) enum Proof {
    /// Certificates as presented, leaf first, and the leaf's key in PKCS#8.
    Certificates(Vec<Vec<u8>>, Vec<u8>),
    /// A symmetric key, with which it signs tokens.
    Key(SymmetricKey),
    /// The text of an `Authorization` header.
    Token(String),
    /// Nothing.
    Nothing,
}

/// A device.
#[derive(Clone)]
pub(crate) struct Device {
    /// Its registration ID, as it spells it.
    pub(crate) id: String,
    /// What it proves itself with.
    pub(crate) proof: Proof,
    /// The api-version it speaks.
    pub(crate) api_version: &'static str,
}

impl Device {
    /// A device with this proof.
    pub(crate) fn new(id: &str, proof: Proof) -> Self {
        Self { id: id.to_owned(), proof, api_version: "2019-03-31" }
    }

    /// A device that presents its certificate and those above it, but not the root.
    pub(crate) fn with_certificate(id: &str, credential: &Credential) -> Self {
        let chain = credential.chain().into_iter().map(|der| der.0).collect();
        Self::new(id, Proof::Certificates(chain, credential.key_der().to_vec()))
    }

    /// A device with a symmetric key, in base64.
    pub(crate) fn with_key(id: &str, key: &str) -> Self {
        Self::new(id, Proof::Key(SymmetricKey::parse(key).expect("a key")))
    }

    /// A device with the key derived from its group's, in base64.
    pub(crate) fn of_group(id: &str, group_key: &str) -> Self {
        let group_key = SymmetricKey::parse(group_key).expect("a key");
        Self::new(id, Proof::Key(derive_device_key(&group_key, id)))
    }

    /// The same device, speaking another api-version.
    pub(crate) fn speaking(mut self, api_version: &'static str) -> Self {
        self.api_version = api_version;
        self
    }

    /// Its side of a connection: with its certificate, if it has one.
    pub(crate) fn tls(&self, world: &World) -> Tls {
        match &self.proof {
            Proof::Certificates(chain, key) => world.tls().credential(chain.clone(), key.clone()),
            Proof::Key(_) | Proof::Token(_) | Proof::Nothing => world.tls(),
        }
    }

    /// What its `Authorization` header says, if it sends one.
    pub(crate) fn authorization(&self, id_scope: &str, ttl_secs: i64) -> Option<String> {
        match &self.proof {
            Proof::Key(key) => Some(
                DeviceToken {
                    style: ClientStyle::CSharp,
                    id_scope,
                    registration_id: &self.id,
                    key,
                    expiry_unix_secs: now_unix_secs() + ttl_secs,
                }
                .text(),
            ),
            Proof::Token(text) => Some(text.clone()),
            Proof::Certificates(..) | Proof::Nothing => None,
        }
    }

    /// Sends one request over this connection: `action` is what follows the registration ID.
    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        id_scope: &str,
        method: &str,
        action: &str,
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let Self { id, api_version, .. } = self;
        let path = format!("/{id_scope}/registrations/{id}{action}?api-version={api_version}");
        let token = self.authorization(id_scope, 3600);
        let mut headers = vec![("content-type", "application/json; charset=utf-8")];
        headers.extend(token.iter().map(|token| ("authorization", token.as_str())));
        connection.send(method, &path, &headers, body.into()).await
    }

    /// Sends the register request alone.
    pub(crate) async fn start(&self, world: &World, connection: &mut Connection) -> Reply {
        let body = json!({"registrationId": self.id}).to_string();
        self.send(connection, world.id_scope(), "PUT", "/register", body).await
    }

    /// Polls an operation once.
    pub(crate) async fn poll(
        &self,
        world: &World,
        connection: &mut Connection,
        operation: &str,
    ) -> Reply {
        let action = format!("/operations/{operation}");
        self.send(connection, world.id_scope(), "GET", &action, "").await
    }

    /// Registers and polls until the operation settles, over one connection.
    pub(crate) async fn register(&self, world: &World) -> Answer {
        let mut connection = self.tls(world).connect(SERVICE).await;
        self.register_over(world, &mut connection).await
    }

    /// The same over a connection that is open already.
    pub(crate) async fn register_over(&self, world: &World, connection: &mut Connection) -> Answer {
        let started = self.start(world, connection).await;
        if started.status >= 400 {
            let code = started.json()["errorCode"].as_u64().and_then(|code| code.try_into().ok());
            let code = code.expect("an error code");
            return Answer::Refused { code, message: started.refused(code) };
        }
        let operation = accepted(&started);
        for _ in 0..MAX_POLLS {
            let body = self.poll(world, connection, &operation).await.expect(200);
            assert_eq!(body["operationId"], operation.as_str(), "{body}");
            let state = &body["registrationState"];
            assert_eq!(body["status"], state["status"], "{body}");
            if body["status"] != "assigning" {
                return Answer::Settled(state.clone());
            }
        }
        panic!("the operation of {} never settles", self.id);
    }
}

/// The operation of an accepted register request, whose answer must be the one that satisfies
/// every client (D §0.7, §1.6).
#[track_caller]
pub(crate) fn accepted(reply: &Reply) -> String {
    let body = reply.expect(202);
    let operation = body["operationId"].as_str().expect("an operation").to_owned();
    assert_eq!(body, json!({"operationId": operation, "status": "assigning"}));
    let retry_after: u32 = reply.header("retry-after").parse().expect("seconds");
    assert!((2..=5).contains(&retry_after), "{reply:?}");
    operation
}

/// What a device is told in the end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// The operation settled: its `registrationState`.
    Settled(Value),
    /// Refused at once.
    Refused {
        /// `errorCode`
        code: u32,
        /// `message`
        message: String,
    },
}

impl Answer {
    /// The state of an operation that assigned the device.
    #[track_caller]
    pub(crate) fn assigned(self) -> Value {
        match self {
            Self::Settled(state) if state["status"] == "assigned" => state,
            other => panic!("expected an assignment: {other:?}"),
        }
    }

    /// The registration state of a device that could not be given a hub.
    #[track_caller]
    pub(crate) fn failed(self) -> Value {
        match self {
            Self::Settled(state) if state["status"] == "failed" => state,
            other => panic!("expected a failure: {other:?}"),
        }
    }
}
