//! The APIs of a running server, as its clients use them.

use std::collections::BTreeSet;

use app::ports::Clock;
use http::{Method, StatusCode};
use induct::{
    client::{Client, ClientError, Response},
    login::sas_token,
    ports::SystemClock,
};
use model::SymmetricKey;
use serde_json::{Value, json};
use wire::connection_string::{ConnectionString, Target};

use super::{Home, Server};

/// A key that tests give to an enrollment group, so that they can derive device keys from it.
const KNOWN_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

const DEVICE_API: &str = "api-version=2021-06-01";
const OPERATOR_API: &str = "api-version=2021-10-01";
const HUB_API: &str = "api-version=2021-04-12";

/// A client with the credentials of an operator, or of a device.
pub(crate) struct Api {
    client: Client,
    id_scope: String,
    credential: Option<ConnectionString>,
}

impl Api {
    /// The operator API of the provisioning service, as its owner.
    pub(crate) fn service(home: &Home, server: &Server) -> Self {
        Self::operator(home, server, &[], Target::Service)
    }

    /// A hub's registry, as its owner.
    pub(crate) fn hub(home: &Home, server: &Server, name: &str) -> Self {
        Self::operator(home, server, &["--hub", name], Target::Hub)
    }

    /// The device API; a token is made for each request.
    pub(crate) fn devices(server: &Server) -> Self {
        let id_scope = server.listening().id_scope.clone();
        Self { client: server.client("localhost"), id_scope, credential: None }
    }

    fn operator(home: &Home, server: &Server, which: &[&str], target: Target) -> Self {
        let command = ["connection-string", "show"].iter().chain(which).copied();
        let answer = home.run(&command.collect::<Vec<_>>()).json();
        let text = answer["connectionString"].as_str().expect("a connection string");
        let credential = ConnectionString::parse(text, target).expect("legal");
        let (host, port) = credential.host_name.split_once(':').expect("a port");
        assert_eq!(port, server.address().port().to_string());
        let id_scope = server.listening().id_scope.clone();
        Self { client: server.client(host), id_scope, credential: Some(credential) }
    }

    /// A request with a token of the policy.
    pub(crate) async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Response, ClientError> {
        let credential = self.credential.as_ref().expect("an operator");
        let expires = SystemClock.now().plus_secs(3_600);
        let token =
            sas_token(&credential.host_name, Some(&credential.key_name), &credential.key, expires);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut all = vec![("authorization", token.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.client.request(method, path_and_query, &all, body).await
    }

    /// Enrolls a group whose keys are [`KNOWN_KEY`].
    pub(crate) async fn enroll_group(&self, group: &str) {
        let body = json!({
            "enrollmentGroupId": group,
            "attestation": {
                "type": "symmetricKey",
                "symmetricKey": { "primaryKey": KNOWN_KEY, "secondaryKey": KNOWN_KEY },
            },
        });
        let path = format!("/enrollmentGroups/{group}?{OPERATOR_API}");
        let answer = self.request(Method::PUT, &path, &[], &body).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }

    /// What the service knows of a registration.
    pub(crate) async fn registration(&self, id: &str) -> Response {
        let path = format!("/registrations/{id}?{OPERATOR_API}");
        self.request(Method::GET, &path, &[], &Value::Null).await.expect("an answer")
    }

    /// A device of the group registers; whether that was acknowledged.
    pub(crate) async fn register(&self, id: &str) -> Result<Response, ClientError> {
        let group_key = SymmetricKey::parse(KNOWN_KEY).expect("a key");
        let key = testkit::sas::derive_device_key(&group_key, id);
        let resource = format!("{}/registrations/{id}", self.id_scope);
        let expires = SystemClock.now().plus_secs(3_600);
        let token = sas_token(&resource, Some("registration"), &key, expires);
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        let path = format!("/{resource}/register?{DEVICE_API}");
        let body = json!({ "registrationId": id }).to_string();
        self.client.request(Method::PUT, &path, &headers, body).await
    }

    /// A whole list, page by page: of `what` in every element.
    async fn listed(&self, path: &str, body: &Value, what: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut next: Option<String> = None;
        loop {
            let mut headers = vec![("x-ms-max-item-count", "100")];
            headers.extend(next.as_deref().map(|token| ("x-ms-continuation", token)));
            let answer = self.request(Method::POST, path, &headers, body).await.expect("an answer");
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            for element in answer.json().expect("JSON").as_array().expect("a list") {
                let name = element[what].as_str().expect("a name").to_owned();
                assert!(all.insert(name), "{element} is listed once");
            }
            match answer.header("x-ms-continuation") {
                Some(token) => next = Some(token.to_owned()),
                None => return all,
            }
        }
    }
}

/// The registration IDs of all records of a group.
pub(crate) async fn listed_records(service: &Api, group: &str) -> BTreeSet<String> {
    let path = format!("/registrations/{group}/query?{OPERATOR_API}");
    service.listed(&path, &Value::Null, "registrationId").await
}

/// The device IDs of all identities of a hub.
pub(crate) async fn listed_devices(hub: &Api) -> BTreeSet<String> {
    let query = json!({ "query": "SELECT * FROM devices" });
    hub.listed(&format!("/devices/query?{HUB_API}"), &query, "deviceId").await
}
