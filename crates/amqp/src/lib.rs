//! The AMQP door: AMQP 1.0 on a TLS or WebSocket stream (D §3, H §4.3).
//!
//! [`proto`] is bytes and knows no sockets, [`address`] and [`sasl::payload`] are text and bytes;
//! the server and the tests share them. [`AmqpDoor`] serves connections. What
//! deliberately does not live here: rules (`decide`), JSON and its tables (`wire`), sockets and TLS
//! (`listen`), and HTTP.

mod cbs;
mod content;
mod door;
mod driver;
mod endpoint;
mod endpoints;
mod engine;
mod errors;
mod hub;
mod provisioning;
mod service;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

pub mod address;
pub mod proto;
pub mod sasl;

pub use door::{AmqpDoor, Peer};
pub use settings::AmqpSettings;
