//! Over HTTPS (D §1).

use http::Method;
use model::Json;

use super::{API_VERSION, Answer, Question, pause, token};
use crate::{
    client::{Client, Response},
    simulate::{Identity, Network, Trouble},
};

/// A device that asks over HTTPS.
pub(super) struct Https {
    client: Client,
    /// The path of everything about the device.
    base: String,
    id: Box<str>,
    token: Option<String>,
}

impl Https {
    pub(super) fn new(network: &Network, identity: &Identity) -> Result<Self, Trouble> {
        let id = &*identity.id;
        let base = format!("/{}/registrations/{id}", network.id_scope());
        let token = token(network, identity);
        Ok(Self { client: network.https(identity)?, base, id: id.into(), token })
    }

    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Trouble> {
        let (method, path, body) = match question {
            Question::Register => {
                let body = format!("{{\"registrationId\":\"{}\"}}", self.id);
                (Method::PUT, format!("{}/register", self.base), body)
            }
            Question::Poll(operation) => {
                (Method::GET, format!("{}/operations/{operation}", self.base), String::new())
            }
        };
        let mut headers = Vec::new();
        headers.extend(self.token.as_deref().map(|token| ("authorization", token)));
        if !body.is_empty() {
            headers.push(("content-type", "application/json; charset=utf-8"));
        }
        let target = format!("{path}?api-version={API_VERSION}");
        let response: Response = self.client.request(method, &target, &headers, body).await?;
        Ok(Answer {
            status: response.status.as_u16(),
            body: json::parse_bytes(&response.body).unwrap_or(Json::Null),
            retry_after: pause(response.header("retry-after")),
        })
    }
}
