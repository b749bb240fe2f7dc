//! The listener as its clients see it: real sockets, real handshakes.

mod exchange;
mod handshake;
mod limits;
pub(crate) mod scene;
