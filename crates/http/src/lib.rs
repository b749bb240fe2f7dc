//! The HTTPS door: device endpoint (D §1), operator API (O §1), management API (O §3, [`openapi`]),
//! hub registry, twins, queries, methods and messages (H §2, §3, §4.2.9, §7), readers of events;
//! and the way in for WebSockets ([`Upgrades`]).
//!
//! Handlers parse, call one use case, render. [`routes`] lists every endpoint with the right it
//! needs; which endpoints a request meets depends on the host it names: a hub's, or the
//! provisioning service's. What deliberately does not live here: any rule (`app` and below), what
//! JSON means (`wire`), sockets and TLS (`listen`).
//!
//! The machinery is hyper's HTTP/1.1 server on one connection at a time and a router of our own;
//! see [`routes`] for why. Every request leaves one line in the log, with the tracking ID that its
//! answer carries in `x-ms-request-id`.

pub mod openapi;
pub mod routes;

mod answer;
mod body;
mod call;
mod device;
mod door;
mod errors;
mod events;
mod hub;
mod manage;
mod messages;
mod operator;
mod settings;
mod upgrade;
mod watchdog;

pub use answer::{AnswerBody, Streamed};
pub use call::Peer;
pub use door::HttpDoor;
pub use settings::HttpSettings;
pub use upgrade::{Stream, Upgrade, Upgrades};

#[cfg(test)]
mod tests;
