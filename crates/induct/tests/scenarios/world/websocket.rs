//! The client's side of a WebSocket, as a stream of bytes (RFC 6455): enough of it for
//! what doors speak in it.

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf,
        duplex, split,
    },
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::within;

/// How many bytes are under way between the device and its WebSocket, in each direction.
const STREAM_BYTES: usize = 64 * 1024;
/// The longest head of an answer that is read.
const MAX_HEAD_BYTES: usize = 4096;
/// Masks hide nothing from anybody here.
const MASK: [u8; 4] = [0x1d, 0x75, 0xc7, 0x02];

/// How a client asks for a WebSocket (D §2.6, §3.7).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// The path, in its own spelling.
    pub(crate) path: &'static str,
    /// The subprotocol, in its own spelling.
    pub(crate) protocol: &'static str,
    /// What the key is made of; Paho for Java takes no 16 bytes.
    pub(crate) key: &'static str,
}

/// Asks for a WebSocket, and returns what travels in it.
pub(crate) async fn open(
    mut stream: TlsStream<TcpStream>,
    host: &str,
    request: Request,
) -> DuplexStream {
    let Request { path, protocol, key } = request;
    let key = STANDARD.encode(key);
    let ask = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n",
    );
    stream.write_all(ask.as_bytes()).await.expect("the request is written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(head.len() < MAX_HEAD_BYTES, "an endless head");
        let byte = within("a WebSocket's handshake", stream.read_u8()).await;
        head.push(byte.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    assert!(status.starts_with("HTTP/1.1 101 "), "{head}");
    // Paho for Java splits at the colon and the space after it, and fails on anything else.
    let headers: Vec<(&str, &str)> = lines
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}")))
        .collect();
    let value = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("{name} in {head}")).1
    };
    assert_eq!(value("sec-websocket-protocol"), protocol, "as the client spelled it");
    assert!(value("upgrade").eq_ignore_ascii_case("websocket"), "{head}");
    assert!(value("connection").eq_ignore_ascii_case("upgrade"), "{head}");

    let (ours, theirs) = duplex(STREAM_BYTES);
    let (from_server, to_server) = split(stream);
    let (from_device, to_device) = split(theirs);
    tokio::spawn(async move {
        // Each ends with its stream, and when one has ended nothing is left to do for the other.
        tokio::select! {
            () = send(from_device, to_server) => {}
            () = receive(from_server, to_device) => {}
        }
    });
    ours
}

/// Makes messages of what the device sends.
async fn send(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<impl AsyncRead + AsyncWrite>) {
    let mut payload = vec![0; STREAM_BYTES];
    while let Ok(n @ 1..) = from.read(&mut payload).await {
        let mut frame = vec![0x82];
        match u16::try_from(n) {
            Ok(short @ ..126) => frame.push(0x80 | u8::try_from(short).expect("below 126")),
            Ok(longer) => {
                frame.push(0x80 | 126);
                frame.extend(longer.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend(u64::try_from(n).expect("64 bits").to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload[..n].iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

/// Takes apart what the server sends, until it says goodbye or the connection ends.
async fn receive(mut from: ReadHalf<impl AsyncRead + AsyncWrite>, mut to: WriteHalf<DuplexStream>) {
    loop {
        let mut head = [0; 2];
        if from.read_exact(&mut head).await.is_err() {
            return;
        }
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        let size_bytes = match head[1] {
            126 => from.read_u16().await.map(usize::from),
            127 => from.read_u64().await.map(|n| usize::try_from(n).expect("it fits")),
            short => Ok(usize::from(short)),
        };
        let Ok(size_bytes) = size_bytes else { return };
        let mut payload = vec![0; size_bytes];
        if from.read_exact(&mut payload).await.is_err() {
            return;
        }
        match head[0] & 0x0f {
            0x0 | 0x2 => {
                if to.write_all(&payload).await.is_err() {
                    return;
                }
            }
            0x8 => return,
            other => panic!("a message of kind {other:#x}, where only binary ones are in place"),
        }
    }
}
