//! WebSockets (RFC 6455, the server's side, without extensions) as byte streams.
//!
//! MQTT and AMQP also travel over port 443, inside binary WebSocket messages whose borders mean
//! nothing (D §2.6, §3.7, H §1.1). [`Handshake`] says whether a request asks for that and what to
//! answer; [`WsStream`] is the connection from there on, as bytes in both directions.
//!
//! What deliberately does not live here: reading the request (whoever speaks HTTP does) and what
//! the bytes mean. Why this is our own code is told in `docs/decisions/0011-websocket.md`.

mod decoder;
mod handshake;
mod stream;

pub use decoder::Violation;
pub use handshake::{Accepted, BadHandshake, Handshake};
pub use stream::WsStream;

#[cfg(test)]
mod tests;
