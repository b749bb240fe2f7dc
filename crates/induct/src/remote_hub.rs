//! Remote hubs over their REST API (H §2, §3), and the worker that keeps telling them.

mod roots;
mod worker;

use std::{
    collections::HashMap,
    error::Error,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use app::ports::{Clock, RemoteHubs};
use async_trait::async_trait;
use attest::sas;
use decide::pending::{RemoteDevice, RemoteFailure, RemoteHub, RemoteTwin, ShutOut};
use http::{Method, StatusCode, header};
use model::{DeviceId, HubName, IdentityDraft, Precondition, TwinDraft};
use wire::{percent, remote};

use crate::client::{Client, ClientError, ClientSettings, Response};

pub use roots::system_roots;
pub use worker::{WorkerBell, work};

/// For how long a token is good, in seconds.
const TOKEN_SECS: i64 = 600;

/// How many idle connections to one hub are kept.
const MAX_IDLE: usize = 8;

/// How remote hubs are spoken to.
#[derive(Debug, Clone)]
pub struct RemoteHubSettings {
    /// The CAs to trust, PEM: the system's and those of `[remote_hubs] ca_file`.
    pub ca_pem: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take. With the above it stays below a third of
    /// [`decide::pending::LEASE_SECS`].
    pub request_timeout: Duration,
}

impl RemoteHubSettings {
    /// Trusts these CAs and waits as long as suits a hub far away.
    #[must_use]
    pub fn new(ca_pem: impl Into<String>) -> Self {
        Self {
            ca_pem: ca_pem.into(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// Speaks to remote hubs over HTTPS, several requests to one hub at a time, on connections that
/// are kept.
pub struct HttpsRemoteHubs {
    settings: RemoteHubSettings,
    clock: Arc<dyn Clock>,
    idle: Mutex<HashMap<(HubName, u16), Vec<Client>>>,
}

impl std::fmt::Debug for HttpsRemoteHubs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpsRemoteHubs")
    }
}

impl HttpsRemoteHubs {
    /// A port that connects at its first request.
    #[must_use]
    pub fn new(settings: RemoteHubSettings, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock, idle: Mutex::default() }
    }

    /// Sends a request, and answers what the hub said with a status of 2xx.
    async fn send(
        &self,
        hub: &RemoteHub,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: String,
    ) -> Result<Response, RemoteFailure> {
        let key = (hub.name.clone(), hub.access.port.unwrap_or(443));
        let client = match self.take_idle(&key) {
            Some(client) => client,
            None => self.connectable(&key).map_err(|error| unreachable(&error))?,
        };
        let token = self.token(hub);
        let mut headers = vec![
            (header::AUTHORIZATION.as_str(), token.as_str()),
            (header::CONTENT_TYPE.as_str(), "application/json; charset=utf-8"),
        ];
        headers.extend(if_match.map(|tag| (header::IF_MATCH.as_str(), tag)));
        let joint = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{joint}api-version={}", remote::API_VERSION);
        let answer = client.request(method, &target, &headers, body).await;
        let response = answer.map_err(|error| unreachable(&error))?;
        self.keep(key, client);
        judge(response)
    }

    /// A token for the whole hub, signed with its policy's key (H §2.2).
    fn token(&self, hub: &RemoteHub) -> String {
        let expiry = self.clock.now().unix_secs().saturating_add(TOKEN_SECS);
        let resource = percent::encode(hub.name.as_str());
        let signature = sas::sign(&hub.access.key, &resource, &expiry.to_string());
        wire::sas::token_text(&resource, &signature, expiry, Some(&hub.access.policy))
    }

    fn connectable(&self, (name, port): &(HubName, u16)) -> Result<Client, ClientError> {
        Client::new(ClientSettings {
            connect_timeout: self.settings.connect_timeout,
            request_timeout: self.settings.request_timeout,
            max_answer_bytes: remote::MAX_ANSWER_BYTES,
            ..ClientSettings::new(name.as_str(), *port, &self.settings.ca_pem)
        })
    }

    fn take_idle(&self, key: &(HubName, u16)) -> Option<Client> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key)?.pop()
    }

    fn keep(&self, key: (HubName, u16), client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = idle.entry(key).or_default();
        if clients.len() < MAX_IDLE {
            clients.push(client);
        }
    }
}

#[async_trait]
impl RemoteHubs for HttpsRemoteHubs {
    async fn find_device(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteDevice>, RemoteFailure> {
        let path = device_path(id);
        let found = self.send(hub, Method::GET, &path, None, String::new()).await;
        let Some(response) = unless_missing(found)? else { return Ok(None) };
        let read = remote::read_identity_answer(&response.body).map_err(unreadable)?;
        Ok(Some(RemoteDevice { identity: read.identity, etag: read.etag }))
    }

    async fn find_twin(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteTwin>, RemoteFailure> {
        let path = twin_path(id);
        let found = self.send(hub, Method::GET, &path, None, String::new()).await;
        let Some(response) = unless_missing(found)? else { return Ok(None) };
        let read = remote::read_twin_answer(&response.body).map_err(unreadable)?;
        Ok(Some(RemoteTwin {
            is_unwritten: read.desired_version.is_none_or(|version| version <= 1),
            tags: read.tags,
            desired: read.desired,
            iot_edge: read.iot_edge,
            shut_out: read.is_disabled.then_some(ShutOut { reason: read.status_reason }),
        }))
    }

    async fn put_device(
        &self,
        hub: &RemoteHub,
        identity: &IdentityDraft,
        precondition: &Precondition,
    ) -> Result<(), RemoteFailure> {
        let if_match = match precondition {
            Precondition::None => None,
            Precondition::Any => Some("\"*\"".to_owned()),
            Precondition::Tag(tag) => Some(format!("\"{tag}\"")),
        };
        let (path, body) = (device_path(&identity.device_id), remote::identity_body(identity));
        let if_match = if_match.as_deref();
        self.send(hub, Method::PUT, &path, if_match, body.to_string()).await?;
        Ok(())
    }

    async fn put_twin(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
        twin: &TwinDraft,
    ) -> Result<(), RemoteFailure> {
        let body = remote::twin_body(twin).to_string();
        self.send(hub, Method::PUT, &twin_path(id), Some("\"*\""), body).await?;
        Ok(())
    }

    async fn delete_device(&self, hub: &RemoteHub, id: &DeviceId) -> Result<(), RemoteFailure> {
        self.send(hub, Method::DELETE, &device_path(id), Some("\"*\""), String::new()).await?;
        Ok(())
    }

    /// Asks for what provisioning asks, of a device that cannot exist: reading the registry,
    /// reading a twin, deleting. A hub checks rights before it looks for the device (H §2.2).
    async fn probe(&self, hub: &RemoteHub) -> Result<(), RemoteFailure> {
        let listing = "/devices?top=1";
        self.send(hub, Method::GET, listing, None, String::new()).await?;
        let nobody = format!("induct-probe-{}", self.clock.now().ticks());
        let twin = format!("/twins/{nobody}");
        unless_missing(self.send(hub, Method::GET, &twin, None, String::new()).await)?;
        let device = format!("/devices/{nobody}");
        let any = Some("\"*\"");
        unless_missing(self.send(hub, Method::DELETE, &device, any, String::new()).await)?;
        Ok(())
    }
}

fn device_path(id: &DeviceId) -> String {
    format!("/devices/{}", percent::encode(id.as_str()))
}

fn twin_path(id: &DeviceId) -> String {
    format!("/twins/{}", percent::encode(id.as_str()))
}

/// What a status means.
fn judge(response: Response) -> Result<Response, RemoteFailure> {
    let status = response.status;
    if status.is_success() {
        return Ok(response);
    }
    let text = remote::error_text(status.as_u16(), &response.body);
    let retry_after_secs =
        response.header(header::RETRY_AFTER.as_str()).and_then(|secs| secs.trim().parse().ok());
    let name = response.header(wire::hub::ERROR_CODE_HEADER);
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteFailure::Unauthorized(text),
        // Another name means that something else is missing, such as the hub itself.
        StatusCode::NOT_FOUND if name.is_none_or(|name| name == "DeviceNotFound") => {
            RemoteFailure::NotFound
        }
        StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            RemoteFailure::Transient { text, retry_after_secs }
        }
        status if status.is_server_error() => RemoteFailure::Transient { text, retry_after_secs },
        status => RemoteFailure::Refused(status.as_u16(), text),
    })
}

fn unless_missing(
    answer: Result<Response, RemoteFailure>,
) -> Result<Option<Response>, RemoteFailure> {
    match answer {
        Ok(response) => Ok(Some(response)),
        Err(RemoteFailure::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What does not read may be a proxy's page; it may be better later.
fn unreadable(bad: remote::BadAnswer) -> RemoteFailure {
    RemoteFailure::transient(bad.to_string())
}

/// Nobody answered; with all causes, since the operator has to find out which.
fn unreachable(error: &ClientError) -> RemoteFailure {
    let mut text = match error {
        ClientError::Untrusted { server, .. } => format!(
            "{server} is not trusted: add its CA to `ca_file` in the section `[remote_hubs]`"
        ),
        ClientError::Connect { server, .. } => format!("cannot connect to {server}"),
        other => other.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing into a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    RemoteFailure::transient(text)
}

#[cfg(test)]
mod tests;
