//! A request, taken apart: what the handlers read.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use app::App;
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use model::{CertificateDer, Precondition, Timestamp};
use tokio::sync::{Semaphore, watch};
use wire::RequestFault;

use crate::HttpSettings;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The client certificates it presented, leaf first; it holds the leaf's key. Empty when it
    /// presented none.
    pub client_chain: Vec<CertificateDer>,
}

/// A request that found its endpoint.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) settings: &'a HttpSettings,
    pub(crate) peer: &'a Peer,
    /// The `Host` header as sent; empty when there was none.
    pub(crate) host: &'a str,
    /// The path's segments, decoded.
    pub(crate) segments: &'a [String],
    /// What stood for the `{…}` of the route's template, in order.
    pub(crate) params: &'a [String],
    /// The raw query.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Result<Bytes, RequestFault>,
    pub(crate) tracking_id: &'a str,
    /// When the request came.
    pub(crate) now: Timestamp,
    /// Places for readers of events who wait.
    pub(crate) event_readers: &'a Arc<Semaphore>,
    /// Places for plans that are made or applied.
    pub(crate) deprovisionings: &'a Arc<Semaphore>,
    pub(crate) stop: Stop,
}

/// Says when whoever waits is to come to an end; never, where there is no connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    pub(crate) const fn of(shutdown: watch::Receiver<bool>) -> Self {
        Self(Some(shutdown))
    }

    /// Whether it is time.
    pub(crate) fn is_asked(&self) -> bool {
        // A lost sender is a shutdown as well.
        self.0
            .as_ref()
            .is_some_and(|shutdown| *shutdown.borrow() || shutdown.has_changed().is_err())
    }

    /// Waits until it is time.
    pub(crate) async fn asked(&mut self) {
        match &mut self.0 {
            Some(shutdown) => drop(shutdown.wait_for(|stop| *stop).await),
            None => pending().await,
        }
    }
}

impl Call<'_> {
    /// What stood for the template's `n`-th `{…}`.
    pub(crate) fn param(&self, n: usize) -> &str {
        self.params.get(n).map_or("", String::as_str)
    }

    /// The first query member of this name, decoded.
    pub(crate) fn query(&self, name: &str) -> Result<Option<String>, RequestFault> {
        let mut members = self.query.split('&').map(|m| m.split_once('=').unwrap_or((m, "")));
        match members.find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            None => Ok(None),
            Some((_, value)) => {
                wire::percent::decode(value).map(Some).map_err(|_| RequestFault::BadPath)
            }
        }
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &'static str) -> Result<Option<&str>, RequestFault> {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.transpose().map_err(|_| RequestFault::BadHeader { name })
    }

    /// What `If-Match` demands.
    pub(crate) fn precondition(&self) -> Result<Precondition, RequestFault> {
        wire::headers::precondition(self.header("if-match")?)
    }

    /// How many items the page may have.
    pub(crate) fn page_size(&self) -> Result<usize, RequestFault> {
        match self.header("x-ms-max-item-count")? {
            None => Ok(self.settings.default_page),
            asked => Ok(wire::headers::page_size(asked)?.min(self.settings.max_page)),
        }
    }

    /// The body, which must be JSON if there is one.
    pub(crate) fn body(&self) -> Result<&Bytes, RequestFault> {
        let body = self.body.as_ref().map_err(|fault| *fault)?;
        if !body.is_empty() && !self.is_json() {
            return Err(RequestFault::UnsupportedMediaType);
        }
        Ok(body)
    }

    /// The body as a file, whatever its type: who reads it finds out.
    pub(crate) fn file(&self) -> Result<&Bytes, RequestFault> {
        self.body.as_ref().map_err(|fault| *fault)
    }

    /// A missing content type is taken for JSON; so is every charset, because it must be UTF-8.
    fn is_json(&self) -> bool {
        match self.headers.get(CONTENT_TYPE).map(|value| value.to_str()) {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(text)) => {
                let kind = text.split(';').next().unwrap_or_default().trim();
                kind.is_empty() || kind.eq_ignore_ascii_case("application/json")
            }
        }
    }
}
