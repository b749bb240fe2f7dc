//! Revocation lists over HTTPS, and over HTTP where the operator allows it: a list is signed, and
//! whoever stands in between can do no more than hold newer ones back, which the alarm tells.
//!
//! A URL is what an operator says who may follow lists, and that is not everybody who may reach what
//! stands beside this server. So only public addresses are asked, unless the configuration allows
//! others: what counts is the address that is connected to, whatever the name said before.

mod public;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use app::{
    crls::{NotTaken, Read},
    ports::{CrlAnswer, CrlFetcher},
};
use async_trait::async_trait;
use decide::manage::crls;
use http::{Method, StatusCode, Uri, header, uri::Scheme};
use model::{EnrolledCertificate, Timestamp};
use tokio::{net::lookup_host, task::spawn_blocking, time::timeout};
use wire::pem;

use crate::client::{Client, ClientError, ClientSettings, Response};

/// The longest entity tag that is kept, in bytes.
const MAX_ENTITY_TAG_BYTES: usize = 256;

/// What servers may answer with, as they call it.
const ACCEPTED: &str = "application/pkix-crl, application/x-pem-file, */*";

/// How lists are fetched.
#[derive(Debug, Clone)]
pub struct CrlFetcherSettings {
    /// The CAs to trust, PEM: the system's and those of the configuration.
    pub ca_pem: String,
    /// How long one fetch may take, connecting included.
    pub time_limit: Duration,
    /// Whether `http:` is allowed.
    pub allow_http: bool,
    /// Whether addresses are allowed that are not public.
    pub allow_private_addresses: bool,
}

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// What there is to do about an address that is not public.
const NOT_PUBLIC: &str = "its address is not a public one; set `crls.allow_private_addresses` to \
     true in the configuration to allow that";

/// Fetches lists: one attempt each. Redirects are not followed: they could lead the question
/// anywhere.
#[derive(Debug, Clone)]
pub struct HttpsCrlFetcher {
    settings: CrlFetcherSettings,
}

impl HttpsCrlFetcher {
    /// A fetcher that connects when it is asked.
    #[must_use]
    pub const fn new(settings: CrlFetcherSettings) -> Self {
        Self { settings }
    }

    /// Whom to call and what to ask there.
    fn target(&self, url: &str) -> Result<(ClientSettings, String), String> {
        let bad = || "is not a legal URL".to_owned();
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        let plain = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => false,
            Some(scheme) if *scheme == Scheme::HTTP => true,
            _ => return Err(bad()),
        };
        if plain && !self.settings.allow_http {
            return Err("http: is not allowed here; set `crls.allow_http` to true in the \
                        configuration (lists are signed, whoever carries them)"
                .to_owned());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>()
            && !self.may_connect_to(address)
        {
            return Err(NOT_PUBLIC.to_owned());
        }
        let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let settings = ClientSettings {
            connect_timeout: self.settings.time_limit,
            request_timeout: self.settings.time_limit,
            max_answer_bytes: pem::MAX_CRL_TEXT_BYTES,
            plain,
            ..ClientSettings::new(host, port, &self.settings.ca_pem)
        };
        Ok((settings, target))
    }

    fn may_connect_to(&self, address: IpAddr) -> bool {
        self.settings.allow_private_addresses || public::is_public(address)
    }

    async fn ask(&self, url: &str, entity_tag: Option<&str>) -> Result<Response, String> {
        let (settings, target) = self.target(url)?;
        let limit = self.settings.time_limit;
        let asked = timeout(limit, self.ask_there(settings, &target, entity_tag));
        let late = || format!("no whole answer came within {} s", limit.as_secs());
        asked.await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks the first of a name's addresses that can be reached and may be asked.
    async fn ask_there(
        &self,
        settings: ClientSettings,
        target: &str,
        entity_tag: Option<&str>,
    ) -> Result<Response, String> {
        let mut headers = vec![(header::ACCEPT.as_str(), ACCEPTED)];
        headers.extend(entity_tag.map(|tag| (header::IF_NONE_MATCH.as_str(), tag)));
        let mut why = "its name is not known, or has no address".to_owned();
        for address in self.addresses(&settings).await?.into_iter().take(MAX_ADDRESSES) {
            let there = settings.clone().at(address);
            let client = Client::new(there).map_err(|error| told(&error))?;
            match client.request(Method::GET, target, &headers, "").await {
                Ok(response) => return Ok(response),
                Err(error @ ClientError::Connect { .. }) => why = told(&error),
                Err(error) => return Err(told(&error)),
            }
        }
        Err(why)
    }

    /// The addresses of a name that may be asked: what is connected to is what was looked at.
    async fn addresses(&self, settings: &ClientSettings) -> Result<Vec<SocketAddr>, String> {
        let host = settings.host.trim_start_matches('[').trim_end_matches(']');
        let Ok(found) = lookup_host((host, settings.port)).await else { return Ok(Vec::new()) };
        let found: Vec<SocketAddr> = found.collect();
        let is_known = !found.is_empty();
        let asked: Vec<SocketAddr> =
            found.into_iter().filter(|address| self.may_connect_to(address.ip())).collect();
        match asked.is_empty() && is_known {
            true => Err(NOT_PUBLIC.to_owned()),
            false => Ok(asked),
        }
    }
}

#[async_trait]
impl CrlFetcher for HttpsCrlFetcher {
    fn may_ask(&self, url: &str) -> Result<(), String> {
        self.target(url).map(drop)
    }

    async fn fetch(&self, url: &str, entity_tag: Option<&str>) -> CrlAnswer {
        let response = match self.ask(url, entity_tag).await {
            Ok(response) => response,
            Err(why) => return CrlAnswer::Failed(why),
        };
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return CrlAnswer::NotModified,
            status if status.is_redirection() => {
                let status = status.as_u16();
                let why = format!("it answered {status}, and redirects are not followed");
                return CrlAnswer::Failed(why);
            }
            status => return CrlAnswer::Failed(format!("it answered {}", status.as_u16())),
        }
        let entity_tag = response.header(header::ETAG.as_str()).filter(|tag| is_kept(tag));
        match pem::revocation_list(&response.body) {
            Ok(der) => CrlAnswer::List { der, entity_tag: entity_tag.map(str::to_owned) },
            Err(why) => CrlAnswer::Failed(format!("what it answered is no list: {why}")),
        }
    }

    async fn read(
        &self,
        der: Vec<u8>,
        namesakes: Vec<EnrolledCertificate>,
        now: Timestamp,
    ) -> Result<Read, NotTaken> {
        // A list of a million entries takes its time, in which nobody else is to wait.
        let reading = spawn_blocking(move || crls::read(&der, namesakes, now));
        reading.await.unwrap_or(Err(NotTaken::BrokeOff))
    }
}

/// Whether an entity tag is worth sending back (RFC 9110 §8.8.3).
fn is_kept(tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag);
    let is_quoted = opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"');
    is_quoted && tag.len() <= MAX_ENTITY_TAG_BYTES && tag.bytes().all(|b| b.is_ascii_graphic())
}

/// What the operator is told of an error: what happened, and not what an answer said, which may
/// come from a place that the operator cannot reach.
fn told(error: &ClientError) -> String {
    match error {
        ClientError::Connect { .. } => "it cannot be reached",
        ClientError::Untrusted { .. } => {
            "its certificate is not trusted; its CA may be given with `crls.ca_file`"
        }
        ClientError::Handshake { .. } | ClientError::Tls(_) => "TLS with it failed",
        ClientError::Slow { .. } => "no whole answer came in time",
        ClientError::Broken { .. } => "its answer broke off, or is too large",
        ClientError::BadName { .. }
        | ClientError::BadRequest(_)
        | ClientError::BadCa { .. }
        | ClientError::BadIdentity { .. }
        | ClientError::File { .. }
        | ClientError::NotJson(_) => "it cannot be called as configured",
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
