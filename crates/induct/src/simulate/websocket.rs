//! The client's side of a WebSocket (RFC 6455, without extensions) as a stream of bytes.
//!
//! The server's side is `listen::websocket`; this one masks what it sends and expects what it
//! receives unmasked. Where messages begin and end means nothing (D §2.6).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use app::ports::Entropy;
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::ports::SystemEntropy;

/// Where the vendor's device SDKs open their WebSockets (H §1.1).
const PATH: &str = "/$iothub/websocket";
/// What a key is joined with for its answer (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// The most bytes in a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: usize = 125;
/// How many bytes are read at a time.
const READ_BYTES: usize = 4 * 1024;

const FINAL: u8 = 0x80;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const MASKED: u8 = 0x80;

/// A WebSocket after its handshake.
#[derive(Debug)]
pub(super) struct WebSocket<S> {
    stream: S,
    /// What arrived and was not read yet.
    inbox: BytesMut,
    /// How much of the present data frame is still to be read.
    left: u64,
    /// Whole frames on their way.
    outbox: BytesMut,
    is_closed: bool,
}

/// Asks for a WebSocket that speaks MQTT.
///
/// # Errors
/// The connection broke, or the server does not speak it.
pub(super) async fn open<S>(mut stream: S, host: &str) -> io::Result<WebSocket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut random = [0; 16];
    SystemEntropy.fill(&mut random);
    let key = STANDARD.encode(random);
    let ask = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    stream.flush().await?;
    let mut inbox = BytesMut::new();
    let end = loop {
        if let Some(at) = inbox.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if inbox.len() > MAX_HEAD_BYTES || stream.read_buf(&mut inbox).await? == 0 {
            return Err(no_websocket("the answer has no end".to_owned()));
        }
    };
    let head = inbox.split_to(end + 4);
    check_head(&String::from_utf8_lossy(&head), &key)?;
    Ok(WebSocket { stream, inbox, left: 0, outbox: BytesMut::new(), is_closed: false })
}

fn check_head(head: &str, key: &str) -> io::Result<()> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(no_websocket(format!("it answered `{status}`")));
    }
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    let expected = STANDARD.encode(sha1);
    let accepts = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == expected
    });
    if accepts { Ok(()) } else { Err(no_websocket("it does not repeat the key".to_owned())) }
}

fn no_websocket(why: String) -> io::Error {
    io::Error::other(format!("the server opens no WebSocket: {why}"))
}

/// A frame's head.
struct Head {
    opcode: u8,
    n_bytes: u64,
    size: usize,
}

/// Reads a frame's head, if it is all there.
fn read_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if second & MASKED != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the server masks its frames"));
    }
    let (n_bytes, size) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        n_bytes => (u64::from(n_bytes), 2),
    };
    Ok(Some(Head { opcode: first & 0x0f, n_bytes, size }))
}

/// Appends a frame as clients send it.
fn write_frame(opcode: u8, payload: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(&[FINAL | opcode]);
    match u16::try_from(payload.len()) {
        Ok(n @ 0..=125) => out.extend_from_slice(&[MASKED | n.to_be_bytes()[1]]),
        Ok(n) => {
            out.extend_from_slice(&[MASKED | 126]);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Err(_) => {
            out.extend_from_slice(&[MASKED | 127]);
            // A slice's length always fits.
            out.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    let mut mask = [0; 4];
    SystemEntropy.fill(&mut mask);
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Sends what is on its way.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outbox))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(n);
        }
        // A device that waits holds no buffer.
        self.outbox = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Takes the next frame's head, and control frames whole; whether there was one.
    fn take_head(&mut self) -> io::Result<bool> {
        let Some(Head { opcode, n_bytes, size }) = read_head(&self.inbox)? else {
            return Ok(false);
        };
        if opcode < CLOSE {
            self.inbox.advance(size);
            self.left = n_bytes;
            return Ok(true);
        }
        let n_bytes = usize::try_from(n_bytes).ok().filter(|n| *n <= MAX_CONTROL_BYTES);
        let n_bytes = n_bytes.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the server sent too large a control frame")
        })?;
        if self.inbox.len() < size + n_bytes {
            return Ok(false);
        }
        self.inbox.advance(size);
        let payload = self.inbox.split_to(n_bytes);
        match opcode {
            CLOSE => self.is_closed = true,
            PING => write_frame(PONG, &payload, &mut self.outbox),
            _ => {}
        }
        Ok(true)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.is_closed {
                return Poll::Ready(Ok(()));
            }
            if this.left > 0 && !this.inbox.is_empty() {
                let left = usize::try_from(this.left).unwrap_or(usize::MAX);
                let n = left.min(this.inbox.len()).min(into.remaining());
                into.put_slice(&this.inbox.split_to(n));
                // It is no more than was left.
                this.left = this.left.saturating_sub(u64::try_from(n).unwrap_or(u64::MAX));
                if this.inbox.is_empty() {
                    this.inbox = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.left == 0 && this.take_head()? {
                continue;
            }
            if !this.outbox.is_empty() {
                // An answer to a ping. What cannot be sent now is sent with what follows.
                let _ = this.poll_send(context)?;
            }
            let mut buffer = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.inbox.extend_from_slice(buffer.filled());
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // One frame at a time, so that no more than one is held.
        ready!(this.poll_send(context))?;
        write_frame(BINARY, bytes, &mut this.outbox);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A WebSocket whose handshake is over, and the server's end of it.
    fn pair() -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1024 * 1024);
        let (inbox, outbox) = (BytesMut::new(), BytesMut::new());
        (WebSocket { stream: ours, inbox, left: 0, outbox, is_closed: false }, theirs)
    }

    #[tokio::test]
    async fn what_the_server_sends_in_frames_is_read_as_a_stream() {
        let (mut ours, mut theirs) = pair();
        let mut frames = vec![0x82, 2, b'a', b'b', 0x89, 1, b'p', 0x02, 0, 0x80, 126, 1, 0];
        frames.extend([b'c'; 256]);
        frames.extend([0x88, 2, 3, 232]);
        theirs.write_all(&frames).await.expect("written");
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.expect("read");
        assert_eq!(read, [&b"ab"[..], &[b'c'; 256]].concat());
        ours.flush().await.expect("flushed");
        let mut pong = [0; 7];
        theirs.read_exact(&mut pong).await.expect("read");
        assert_eq!((pong[0], pong[1], pong[6] ^ pong[2]), (0x8a, 0x81, b'p'));
    }

    #[tokio::test]
    async fn the_server_of_the_house_understands_what_is_sent() {
        let (mut ours, theirs) = pair();
        let mut theirs = listen::websocket::WsStream::new(theirs, Vec::new());
        for n_bytes in [1, 125, 126, 70_000] {
            let sent: Vec<u8> = (0..n_bytes).map(|i: u32| i.to_be_bytes()[3]).collect();
            ours.write_all(&sent).await.expect("written");
            ours.flush().await.expect("flushed");
            let mut read = vec![0; sent.len()];
            theirs.read_exact(&mut read).await.expect("read");
            assert_eq!(read, sent);
            theirs.write_all(&sent).await.expect("written");
            theirs.flush().await.expect("flushed");
            ours.read_exact(&mut read).await.expect("read");
            assert_eq!(read, sent);
        }
    }

    #[test]
    fn only_the_answer_to_this_handshake_counts() {
        // The example of RFC 6455 §1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let check = |status: &str, accept: &str, told: Option<&str>| {
            let head = format!("HTTP/1.1 {status}\r\nsec-websocket-accept: {accept}\r\n\r\n");
            let refused = check_head(&head, key).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), told.is_some(), "{refused:?}");
            assert!(told.is_none_or(|told| refused.is_some_and(|text| text.contains(told))));
        };
        check("101 Switching Protocols", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None);
        check("101 Switching Protocols", "c3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Some("repeat the key"));
        check("404 Not Found", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Some("`HTTP/1.1 404 Not Found`"));
    }

    #[tokio::test]
    async fn frames_that_no_server_sends_are_an_error() {
        for frame in [&[0x82, 0x81, 0, 0, 0, 0, b'x'][..], &[0x89, 126, 1, 0]] {
            let (mut ours, mut theirs) = pair();
            theirs.write_all(frame).await.expect("written");
            let error = ours.read_u8().await.expect_err("no frame");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
