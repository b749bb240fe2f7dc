//! The doors' common porch: sockets, TLS 1.2 and 1.3, and client certificates.
//!
//! A [`Listener`] accepts connections, completes the TLS handshake and hands each open [`Connection`] to
//! whoever serves it, together with the certificate chain the client presented. The server's own
//! certificate is a [`ServerCertificate`], which can be exchanged while connections come and go;
//! [`authority`] makes one where the operator gave none. [`websocket`] turns a connection that began with HTTP
//! into one of bytes.
//!
//! What deliberately does not live here: what is said on a connection once it is open, and whether the
//! client's certificate is any good. The handshake proves only that the client holds the private key of
//! the certificate it showed; issuer, validity, thumbprint and enrollment are decisions, made later and
//! from facts (D §0.3).

mod certificate;
mod error;
mod listener;
mod proof;
mod sessions;
mod slots;

pub mod authority;
pub mod websocket;

pub use certificate::ServerCertificate;
pub use error::ListenError;
pub use listener::{Connection, ListenSettings, Listener, Speaks};

#[cfg(test)]
mod tests;
