//! Requests that turn their connection into a WebSocket, and who serves it from then on.
//!
//! MQTT and AMQP come to port 443 this way (D §2.6, §3.7, H §1.1). The subprotocol alone says whom a
//! WebSocket is for: paths, queries and host names are the clients' own (`/`, `/mqtt`,
//! `/$iothub/websocket`), so they are not looked at. What is spoken inside is behind [`Upgrades`]; this
//! door has never heard of it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use http::{Method, Request, StatusCode, Version};
use hyper::{body::Body, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use listen::websocket::{Accepted, BadHandshake, Handshake, WsStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::debug;
use wire::{ErrorRow, RequestFault, hub::HubErrorRow};

use crate::answer::Answer;
use crate::call::{Call, Peer};
use crate::routes::Site;
use crate::watchdog::Watched;

/// A connection as bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Who serves the WebSockets of this door. `induct::wiring` brings the doors of other protocols in here.
pub trait Upgrades: Send + Sync {
    /// The subprotocols spoken, as texts for people; letter case does not matter.
    fn protocols(&self) -> &[&'static str];

    /// Serves one WebSocket to its end. The future is polled in the connection's own task, counts among its
    /// listener's connections, and has no time limit but those it sets itself. It must watch
    /// [`Upgrade::shutdown`], or it is cut when the listener's grace period ends.
    fn serve(&self, upgrade: Upgrade) -> BoxFuture<'static, ()>;
}

/// A WebSocket whose handshake was answered.
pub struct Upgrade {
    /// The payload of its binary messages. Flushing makes a message of what was written; shutting down says
    /// goodbye. Idle, it holds no buffer.
    pub stream: Box<dyn Stream>,
    /// The subprotocol as the client spelled it; one of [`Upgrades::protocols`] in some letter case.
    pub protocol: String,
    /// The host the request named, with the port if it named one; empty when it named none.
    pub host: String,
    /// Who is there, with the certificates of the TLS handshake.
    pub peer: Peer,
    /// Turns true, or loses its sender, when the connection is to end.
    pub shutdown: watch::Receiver<bool>,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("protocol", &self.protocol)
            .field("host", &self.host)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// What this request says about WebSockets.
pub(crate) fn handshake<B: Body>(request: &Request<B>, upgrades: &dyn Upgrades) -> Handshake {
    // Only these can be one (RFC 6455 §4.1), and what a body would be read as is anybody's guess.
    if request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !request.body().is_end_stream()
    {
        return Handshake::NotAsked;
    }
    let headers = request.headers().iter();
    let texts = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let takes =
        |name: &str| upgrades.protocols().iter().any(|known| known.eq_ignore_ascii_case(name));
    Handshake::of(texts, takes)
}

/// The answer that makes a connection a WebSocket.
pub(crate) fn accept(accepted: &Accepted) -> Answer {
    let mut answer = Answer::no_content();
    answer.status = StatusCode::SWITCHING_PROTOCOLS;
    accepted.headers().into_iter().fold(answer, |answer, (name, value)| answer.with(name, value))
}

/// The answer to a WebSocket request that cannot be served.
pub(crate) fn refuse(
    call: &Call<'_>,
    site: Site,
    bad: BadHandshake,
    upgrades: Option<&dyn Upgrades>,
) -> Answer {
    let spoken = upgrades.map(|upgrades| upgrades.protocols().join(", ")).unwrap_or_default();
    let message = format!("No WebSocket: {bad}. Subprotocols spoken here: {spoken}.");
    let (status, reason) = (bad.status(), bad.to_string());
    let (body, code) = match site {
        Site::Service => {
            let row = ErrorRow { status, code: u32::from(status) * 1000 + 7, message };
            (wire::error_body(&row, call.tracking_id, call.now), row.code.to_string())
        }
        Site::Hub => {
            let fault = RequestFault::BadHeader { name: "sec-websocket-protocol" };
            let row = HubErrorRow { status, message, ..wire::hub::fault_row(fault) };
            (wire::hub::envelope_a(&row, call.tracking_id, call.now), row.name.to_owned())
        }
    };
    let name = match site {
        Site::Service => "x-ms-error-code",
        Site::Hub => wire::hub::ERROR_CODE_HEADER,
    };
    let answer = Answer::error(status, &body, code.clone(), reason).with(name, &code);
    match bad {
        // Without `upgrade` in `Connection` the header below would mean nothing.
        BadHandshake::OtherVersion => answer
            .with("connection", "upgrade")
            .with("upgrade", "websocket")
            .with("sec-websocket-version", "13"),
        BadHandshake::NotConnected | BadHandshake::NoKey | BadHandshake::NoKnownProtocol => answer,
    }
}

/// Where a request of the connection leaves word that it made a WebSocket of it.
#[derive(Debug, Default)]
pub(crate) struct Switch(Mutex<Option<Switched>>);

/// A connection that will be a WebSocket as soon as its last HTTP answer is out.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) on_upgrade: OnUpgrade,
    pub(crate) protocol: String,
    pub(crate) host: String,
}

impl Switch {
    pub(crate) fn set(&self, switched: Switched) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(switched);
    }

    pub(crate) fn take(&self) -> Option<Switched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Switched {
    /// Has the connection served, which was an HTTP connection over `S` until now.
    pub(crate) async fn serve<S>(
        self,
        upgrades: &dyn Upgrades,
        peer: Peer,
        shutdown: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Out of hyper's hands: its buffers are given back, and what it read too much is kept.
        let parts = match self.on_upgrade.await {
            Ok(upgraded) => upgraded.downcast::<TokioIo<Watched<S>>>(),
            Err(error) => {
                debug!(error = %error, "no WebSocket with {}: {error}", peer.address);
                return;
            }
        };
        let Ok(parts) = parts else {
            debug!("no WebSocket with {}: it came over another connection", peer.address);
            return;
        };
        let stream = {
            // The buffer, 8 KiB of it, goes with this block; the session lasts.
            let read_buf = parts.read_buf;
            WsStream::new(parts.io.into_inner().stream, read_buf.to_vec())
        };
        let (protocol, host) = (self.protocol, self.host);
        let stream = Box::new(stream);
        upgrades.serve(Upgrade { stream, protocol, host, peer, shutdown }).await;
    }
}

#[cfg(test)]
mod tests;
