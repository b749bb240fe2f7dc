//! The operator's allocation webhook over HTTPS (D §5.11).

use std::{net::IpAddr, time::Duration};

use app::ports::AllocationHook;
use async_trait::async_trait;
use decide::register::{Answer, AskedFor, Chosen, ProvedBy, Question};
use http::{Method, Uri, header, uri::Scheme};
use model::AttestationMechanism;
use tokio::time::timeout;
use wire::webhook::{self, Enrollment, Evidence, Request};

use crate::client::{Client, ClientError, ClientSettings, Response};

/// How webhooks are called.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// The CAs to trust, PEM: the system's and those of the configuration.
    pub ca_pem: String,
    /// How long one call may take, connecting included.
    pub time_limit: Duration,
    /// Whether `http` is allowed to loopback addresses.
    pub allow_http_on_loopback: bool,
}

impl WebhookSettings {
    /// Trusts these CAs, waits five seconds and speaks HTTPS only.
    #[must_use]
    pub fn new(ca_pem: impl Into<String>) -> Self {
        Self {
            ca_pem: ca_pem.into(),
            time_limit: Duration::from_secs(5),
            allow_http_on_loopback: false,
        }
    }
}

/// Calls webhooks: one attempt, and a second one after a timeout, a broken connection or a 5xx.
/// Redirects are not followed: they could lead the question anywhere.
#[derive(Debug, Clone)]
pub struct HttpsAllocationHook {
    settings: WebhookSettings,
}

/// What came of one call that gave no answer.
struct Failed {
    why: String,
    is_worth_another_try: bool,
}

impl HttpsAllocationHook {
    /// A hook that connects when it is asked.
    #[must_use]
    pub const fn new(settings: WebhookSettings) -> Self {
        Self { settings }
    }

    async fn call(&self, question: &Question) -> Result<Chosen, Failed> {
        let url = &question.webhook.webhook_url;
        let (settings, target) = self.target(url).map_err(final_no)?;
        let client = Client::new(settings).map_err(|error| final_no(told(&error)))?;
        let body = webhook::request_body(&request(question)).to_string();
        let headers = [(header::CONTENT_TYPE.as_str(), "application/json; charset=utf-8")];
        let limit = self.settings.time_limit;
        let answered = timeout(limit, client.request(Method::POST, &target, &headers, body)).await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failed { why: told(&error), is_worth_another_try: true }),
            Err(_) => {
                let why = ": the webhook gave no answer in time.".to_owned();
                return Err(Failed { why, is_worth_another_try: true });
            }
        };
        chosen(&response)
    }

    /// Whom to call and what to ask there. Answers why not, without the address's query.
    fn target(&self, url: &str) -> Result<(ClientSettings, String), String> {
        let bad = || ": the webhook's address is not legal.".to_owned();
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        let is_plain = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => false,
            Some(scheme) if *scheme == Scheme::HTTP => {
                if !(self.settings.allow_http_on_loopback && is_loopback(host)) {
                    return Err(": the webhook's address must begin with https://.".to_owned());
                }
                true
            }
            _ => return Err(bad()),
        };
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let settings = ClientSettings {
            connect_timeout: self.settings.time_limit,
            request_timeout: self.settings.time_limit,
            max_answer_bytes: webhook::MAX_ANSWER_BYTES,
            plain: is_plain,
            ..ClientSettings::new(host, port, &self.settings.ca_pem)
        };
        Ok((settings, target))
    }
}

#[async_trait]
impl AllocationHook for HttpsAllocationHook {
    async fn ask(&self, question: &Question) -> Answer {
        let mut outcome = self.call(question).await;
        if matches!(&outcome, Err(failed) if failed.is_worth_another_try) {
            outcome = self.call(question).await;
        }
        match outcome {
            Ok(chosen) => Answer::Hub(chosen),
            Err(Failed { why, .. }) => Answer::Failed(format!("Custom allocation failed{why}")),
        }
    }
}

fn final_no(why: String) -> Failed {
    Failed { why, is_worth_another_try: false }
}

/// What an answer says.
fn chosen(response: &Response) -> Result<Chosen, Failed> {
    let status = response.status;
    if !status.is_success() {
        return Err(Failed {
            // The words of the service we are compatible with (D §1.8).
            why: format!(" with status code: {}", status.as_u16()),
            is_worth_another_try: status.is_server_error(),
        });
    }
    let webhook::Answer { hub, initial_twin, payload } =
        webhook::read_answer(&response.body).map_err(|bad| final_no(format!(": {bad}.")))?;
    Ok(Chosen { hub, initial_twin, payload })
}

/// What the device is told of an error. It is the operator's to see more: the device gets no
/// names of machines.
fn told(error: &ClientError) -> String {
    match error {
        ClientError::Connect { .. } => ": the webhook cannot be reached.",
        ClientError::Untrusted { .. } => ": the webhook's certificate is not trusted.",
        ClientError::Handshake { .. } | ClientError::Tls(_) => ": TLS with the webhook failed.",
        ClientError::Slow { .. } => ": the webhook gave no answer in time.",
        ClientError::Broken { .. } => ": the webhook's answer broke off or is too large.",
        ClientError::BadName { .. }
        | ClientError::BadRequest(_)
        | ClientError::BadCa { .. }
        | ClientError::BadIdentity { .. }
        | ClientError::File { .. }
        | ClientError::NotJson(_) => ": the webhook cannot be called as configured.",
    }
    .to_owned()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']).to_ascii_lowercase();
    bare == "localhost"
        || bare.ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn request(question: &Question) -> Request<'_> {
    let (enrollment, attestation) = match &question.entry {
        AskedFor::Individual(e) => (Enrollment::Individual(e), &e.terms.attestation),
        AskedFor::Group(group) => (Enrollment::Group(group), &group.terms.attestation),
    };
    let tpm = match attestation {
        AttestationMechanism::Tpm(tpm) => Some(tpm),
        _ => None,
    };
    Request {
        enrollment,
        registration_id: &question.registration_id,
        current: question.current.as_ref().map(|(hub, id)| (hub, id)),
        evidence: match &question.proved_by {
            ProvedBy::SymmetricKey => Evidence::SymmetricKey,
            ProvedBy::X509(info) => Evidence::X509(info.as_deref()),
            ProvedBy::Tpm => Evidence::Tpm(tpm),
        },
        payload: question.payload.as_ref(),
        linked_hubs: &question.linked_hubs,
    }
}

#[cfg(test)]
mod tests;
