//! Which requests become a WebSocket, and how they are answered (RFC 6455 §4.2).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What RFC 6455 §1.3 appends to a client's key.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version there is.
const VERSION: &str = "13";

/// What the headers of a `GET` request over HTTP/1.1 say about WebSockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// Nothing: the request is an ordinary one.
    NotAsked,
    /// It asks for one that it cannot have.
    Refused(BadHandshake),
    /// It asks for one, and gets it when it is answered with status 101 and these headers.
    Accepted(Accepted),
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHandshake {
    /// `Connection` lacks `upgrade`, without which `Upgrade` means nothing.
    #[error("a WebSocket request needs the header `Connection: Upgrade`")]
    NotConnected,
    /// `Sec-WebSocket-Version` is missing or another.
    #[error("a WebSocket request needs the header `Sec-WebSocket-Version: 13`")]
    OtherVersion,
    /// `Sec-WebSocket-Key` is missing, empty or repeated.
    #[error("a WebSocket request needs one `Sec-WebSocket-Key`")]
    NoKey,
    /// `Sec-WebSocket-Protocol` is missing, or names nothing we speak.
    #[error("none of the subprotocols in `Sec-WebSocket-Protocol` is spoken here")]
    NoKnownProtocol,
}

impl BadHandshake {
    /// The HTTP status to answer with: 400, or 426 for a version we do not speak. An answer of 426 also has
    /// `Upgrade: websocket` and `Sec-WebSocket-Version: 13` (RFC 6455 §4.4, RFC 9110 §15.5.22).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::OtherVersion => 426,
            Self::NotConnected | Self::NoKey | Self::NoKnownProtocol => 400,
        }
    }
}

/// A request that becomes a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The subprotocol chosen, as the client spelled it.
    pub protocol: String,
    /// `Sec-WebSocket-Accept`
    accept: String,
}

impl Handshake {
    /// Reads a request's headers, names and values. `takes` says of a subprotocol whether it is
    /// spoken here; it should not care about letter case.
    ///
    /// The first protocol offered that is taken is chosen, and echoed as the client spelled it: the C
    /// SDK writes `MQTT` and everybody else `mqtt` (D §2.6, H §1.1). What a key decodes to is not
    /// looked at: Paho for Java sends one that is no 16 bytes (D §2.6). Extensions offered are ignored,
    /// which declines them.
    pub fn of<'h>(
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        takes: impl Fn(&str) -> bool,
    ) -> Self {
        let (mut upgrades, mut connected, mut version) = (false, false, false);
        let (mut key, mut n_keys, mut protocol) = ("", 0_usize, None);
        for (name, value) in headers {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            if is("upgrade") {
                upgrades |= tokens(value).any(|token| token.eq_ignore_ascii_case("websocket"));
            } else if is("connection") {
                connected |= tokens(value).any(|token| token.eq_ignore_ascii_case("upgrade"));
            } else if is("sec-websocket-version") {
                version |= value.trim() == VERSION;
            } else if is("sec-websocket-key") {
                (key, n_keys) = (value.trim(), n_keys + 1);
            } else if is("sec-websocket-protocol") {
                protocol = protocol.or_else(|| tokens(value).find(|token| takes(token)));
            }
        }
        match protocol {
            _ if !upgrades => Self::NotAsked,
            _ if !connected => Self::Refused(BadHandshake::NotConnected),
            _ if !version => Self::Refused(BadHandshake::OtherVersion),
            _ if n_keys != 1 || key.is_empty() => Self::Refused(BadHandshake::NoKey),
            None => Self::Refused(BadHandshake::NoKnownProtocol),
            Some(protocol) => {
                Self::Accepted(Accepted { protocol: protocol.to_owned(), accept: accept_of(key) })
            }
        }
    }
}

impl Accepted {
    /// The headers of the answer, names in lower case. Each has a value; Paho for Java fails on one that has
    /// none, and on a missing `Sec-WebSocket-Protocol` (D §2.6).
    #[must_use]
    pub fn headers(&self) -> [(&'static str, &str); 4] {
        [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", &self.accept),
            ("sec-websocket-protocol", &self.protocol),
        ]
    }
}

/// The members of a header that holds a list.
fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// The proof that we read the request as a WebSocket's. It protects nothing, and SHA-1 is what the RFC has.
fn accept_of(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(MAGIC);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 6455 §1.3, with the subprotocol the Python SDK offers.
    const USUAL: [(&str, &str); 6] = [
        ("Host", "hub-1.example.test"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ];

    fn read(headers: &[(&str, &str)]) -> Handshake {
        let spoken = ["mqtt", "amqpwsb10"];
        let takes = |name: &str| spoken.iter().any(|known| known.eq_ignore_ascii_case(name));
        Handshake::of(headers.iter().copied(), takes)
    }

    /// What becomes of [`USUAL`] with one header in another way; `None` leaves it out.
    #[track_caller]
    fn check(name: &str, value: Option<&str>, expected: Result<&str, Option<BadHandshake>>) {
        let mut headers: Vec<_> = USUAL.into_iter().filter(|(known, _)| *known != name).collect();
        headers.extend(value.map(|value| (name, value)));
        let outcome = match read(&headers) {
            Handshake::NotAsked => Err(None),
            Handshake::Refused(bad) => Err(Some(bad)),
            Handshake::Accepted(accepted) => {
                let headers = accepted.headers();
                assert_eq!(headers[..2], [("upgrade", "websocket"), ("connection", "upgrade")]);
                assert!(headers.iter().all(|(_, value)| !value.is_empty()), "{headers:?}");
                assert_eq!(headers[3], ("sec-websocket-protocol", accepted.protocol.as_str()));
                Ok(accepted.protocol)
            }
        };
        assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{name}: {value:?}");
    }

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        let Handshake::Accepted(accepted) = read(&USUAL) else { panic!("{:?}", read(&USUAL)) };
        assert_eq!(accepted.headers()[2], ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn the_first_known_subprotocol_is_echoed_as_spelled() {
        let name = "Sec-WebSocket-Protocol";
        check(name, Some("mqtt"), Ok("mqtt"));
        check(name, Some("MQTT"), Ok("MQTT"));
        check(name, Some("AMQPWSB10"), Ok("AMQPWSB10"));
        check(name, Some("mqttv5.0, ,Mqtt,amqpwsb10"), Ok("Mqtt"));
        check(name, Some("mqttv5.0"), Err(Some(BadHandshake::NoKnownProtocol)));
        check(name, Some(""), Err(Some(BadHandshake::NoKnownProtocol)));
        check(name, None, Err(Some(BadHandshake::NoKnownProtocol)));
    }

    #[test]
    fn subprotocols_may_stand_in_several_headers() {
        let mut headers = USUAL.to_vec();
        headers.insert(0, ("sec-websocket-protocol", "chat"));
        assert!(matches!(read(&headers), Handshake::Accepted(found) if found.protocol == "mqtt"));
    }

    #[test]
    fn tokens_are_found_in_lists_and_any_letter_case() {
        check("Connection", Some("keep-alive, UPGRADE"), Ok("mqtt"));
        check("Upgrade", Some("WebSocket"), Ok("mqtt"));
        check("Upgrade", Some("h2c, websocket"), Ok("mqtt"));
    }

    #[test]
    fn a_key_of_any_length_is_taken() {
        // `base64("mqtt3-1700000000")` without its last bytes: Paho for Java's is no 16 bytes.
        check("Sec-WebSocket-Key", Some("bXF0dDMtMTcwMDAwMDAwMDAwMA=="), Ok("mqtt"));
        check("Sec-WebSocket-Key", Some("no base64 at all"), Ok("mqtt"));
    }

    #[test]
    fn a_request_without_a_websocket_upgrade_is_an_ordinary_one() {
        check("Upgrade", None, Err(None));
        check("Upgrade", Some("h2c"), Err(None));
        check("Upgrade", Some("websockets"), Err(None));
    }

    #[test]
    fn an_incomplete_handshake_is_refused() {
        check("Connection", None, Err(Some(BadHandshake::NotConnected)));
        check("Connection", Some("keep-alive"), Err(Some(BadHandshake::NotConnected)));
        check("Sec-WebSocket-Key", None, Err(Some(BadHandshake::NoKey)));
        check("Sec-WebSocket-Key", Some(" "), Err(Some(BadHandshake::NoKey)));
        check("Sec-WebSocket-Version", None, Err(Some(BadHandshake::OtherVersion)));
        check("Sec-WebSocket-Version", Some("8"), Err(Some(BadHandshake::OtherVersion)));
        let twice = [&USUAL[..], &[("sec-websocket-key", "eA==")]].concat();
        assert_eq!(read(&twice), Handshake::Refused(BadHandshake::NoKey));
    }

    #[test]
    fn only_another_version_asks_for_an_upgrade() {
        assert_eq!(BadHandshake::OtherVersion.status(), 426);
        for bad in [BadHandshake::NotConnected, BadHandshake::NoKey, BadHandshake::NoKnownProtocol]
        {
            assert_eq!(bad.status(), 400);
        }
    }
}
