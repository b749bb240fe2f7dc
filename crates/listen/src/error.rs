//! What can go wrong before the first connection: addresses, certificate files, keys.
//!
//! Nothing here ever repeats the contents of a key.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a listener could not be opened, or a server certificate not be read, made or exchanged.
///
/// Each variant names the thing, states the fact and offers the remedy; causes are in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The settings name no address.
    #[error("there is no address to listen on: name at least one, for example `0.0.0.0:8443`")]
    NoAddresses,
    /// The operating system refused a listening socket.
    #[error("cannot listen on {address}: is another program using it, or the port below 1024?")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file is larger than any real one.
    #[error("`{}` is larger than {limit_bytes} bytes: this is no certificate or key file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most we read, in bytes.
        limit_bytes: u64,
    },
    /// The server's certificate chain is not PEM, or holds no certificate.
    #[error("{origin} is not a PEM certificate chain: {problem}")]
    BadChain {
        /// Where the chain came from: a file, or how it was passed.
        origin: String,
        /// What is wrong, in words.
        problem: String,
    },
    /// The server's key is not a PEM private key we can use. The key's text is never repeated.
    #[error(
        "{origin} holds no usable private key: it must be PEM, unencrypted, as PKCS#8, PKCS#1 or SEC1"
    )]
    BadKey {
        /// Where the key came from: a file, or how it was passed.
        origin: String,
    },
    /// The key does not belong to the leaf certificate, or the leaf cannot be read.
    #[error("the first certificate of {chain} and the key of {key} do not belong together")]
    Mismatch {
        /// Where the chain came from.
        chain: String,
        /// Where the key came from.
        key: String,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
    /// The certificate given as the RSA one has another kind of key.
    #[error(
        "{origin} was given as the RSA certificate, but its key is not RSA: pass an RSA key, or leave it out"
    )]
    NotRsa {
        /// Where the chain came from.
        origin: String,
    },
    /// A name asked for in a server certificate is neither a DNS name nor an IP address.
    #[error(
        "`{name}` is neither a DNS name nor an IP address, so no certificate can be made for it"
    )]
    BadName {
        /// The name as it was asked for.
        name: String,
    },
    /// A server certificate was asked for without any name.
    #[error("a server certificate needs at least one DNS name or IP address")]
    NoNames,
    /// The clock given lies outside of what a certificate can express.
    #[error("{unix_secs} seconds since 1970 cannot be written in a certificate: check the clock")]
    BadTime {
        /// The time given, in seconds since 1970.
        unix_secs: i64,
    },
    /// The certificate and key of our own CA are unreadable or do not belong together.
    #[error(
        "the certificate and the key of Induct's own CA cannot be used: {problem}; restore both files, or remove both to have a new CA made"
    )]
    BadAuthority {
        /// What is wrong, in words.
        problem: String,
    },
    /// Our own CA ends too soon to issue a certificate that lasts.
    #[error(
        "Induct's own CA ends within 30 days: remove its certificate and key to have a new CA made, and give clients the new one"
    )]
    AuthorityEnds,
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// The TLS library refuses its own configuration.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
}
