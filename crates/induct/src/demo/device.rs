//! A device, as its firmware would be written: register, then ask until it is settled (D §1).

use std::{net::SocketAddr, time::Duration};

use http::{Method, StatusCode};
use model::Json;

use super::factory::DeviceFiles;
use crate::{
    cli::{Failure, complaint::Complaint},
    client::{Client, ClientSettings, Response},
};

/// The api-version devices speak (D §0.4).
const API_VERSION: &str = "2021-06-01";
/// How often a device asks before it gives up.
const MAX_POLLS: usize = 20;
/// How long a device waits between two questions when the service does not say.
const DEFAULT_PAUSE: Duration = Duration::from_secs(3);

/// A device with its certificate.
pub(super) struct Device<'a> {
    files: &'a DeviceFiles,
    id_scope: &'a str,
    client: Client,
}

/// How a registration ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// `assigned`, `disabled` or `failed`.
    pub(super) status: String,
    /// The hub the device shall use.
    pub(super) hub: Option<String>,
    /// The name it has there.
    pub(super) device_id: Option<String>,
    /// How it came to be assigned.
    pub(super) substatus: Option<String>,
}

impl<'a> Device<'a> {
    /// A device that trusts this CA and connects to this address.
    pub(super) fn new(
        files: &'a DeviceFiles,
        id_scope: &'a str,
        address: SocketAddr,
        ca_pem: &str,
    ) -> Result<Self, Failure> {
        let settings = ClientSettings::new("localhost", address.port(), ca_pem)
            .at(address)
            .with_identity(&files.chain_pem, &files.key_pem);
        Ok(Self { files, id_scope, client: Client::new(settings)? })
    }

    /// Registers, and asks until the registration is settled.
    ///
    /// # Errors
    /// The service refused to register the device at all, or never settled.
    pub(super) async fn register(&self) -> Result<Settled, Failure> {
        let id = &self.files.id;
        let base = format!("/{}/registrations/{id}", self.id_scope);
        let body = format!("{{\"registrationId\":\"{id}\"}}");
        let response = self.ask(Method::PUT, &format!("{base}/register"), body).await?;
        if response.status != StatusCode::ACCEPTED {
            return Err(Failure::new(format!(
                "{id} should have been told 202 Accepted and was told {}.",
                response.status
            )));
        }
        let operation = text(&json_of(&response)?, "operationId").ok_or_else(|| {
            Failure::new(format!("{id} was not told which operation to ask for."))
        })?;
        let path = format!("{base}/operations/{operation}");
        for _ in 0..MAX_POLLS {
            let response = self.ask(Method::GET, &path, String::new()).await?;
            let answer = json_of(&response)?;
            let status = text(&answer, "status").unwrap_or_default();
            if status != "assigning" {
                let state = answer.get("registrationState").cloned().unwrap_or(Json::Null);
                return Ok(Settled {
                    status,
                    hub: text(&state, "assignedHub"),
                    device_id: text(&state, "deviceId"),
                    substatus: text(&state, "substatus"),
                });
            }
            tokio::time::sleep(pause(&response)).await;
        }
        Err(Failure::new(format!("{id} asked {MAX_POLLS} times and was still being assigned.")))
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Response, Failure> {
        let target = format!("{path}?api-version={API_VERSION}");
        let headers: &[(&str, &str)] = if body.is_empty() {
            &[]
        } else {
            &[("content-type", "application/json; charset=utf-8")]
        };
        let response = self.client.request(method.clone(), &target, headers, body).await?;
        if response.status.is_success() {
            return Ok(response);
        }
        let request = format!("{method} {path}");
        let status = response.status.as_u16();
        Err(Complaint::of_answer(status, &response.body, &request).into())
    }
}

fn pause(response: &Response) -> Duration {
    let told = response.header("retry-after").and_then(|text| text.parse().ok());
    told.map_or(DEFAULT_PAUSE, |secs: u8| Duration::from_secs(u64::from(secs)))
}

fn json_of(response: &Response) -> Result<Json, Failure> {
    Ok(json::parse_bytes(&response.body)?)
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::as_str).map(str::to_owned)
}
