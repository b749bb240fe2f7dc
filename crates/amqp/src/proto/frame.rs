//! Frames (part 2, §2.3) and the headers that come before them (§2.2).

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    BadFrame, Performative, SaslInit, SaslMechanisms, SaslOutcome, Transfer, performative,
    read::{Budget, Reader},
};

/// The size of a frame's header, in bytes.
const HEADER_BYTES: usize = 8;

/// The smallest maximum that anyone may set for a frame, in bytes (§2.4.1).
const MIN_MAX_FRAME_BYTES: usize = 512;

/// How much a reader takes. What it reads into memory is bounded by these and by the bytes that
/// came: a small multiple of them, and some kilobytes (see `tests/memory.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame, with its header, in bytes.
    pub frame_bytes: usize,
    /// How deep lists, maps, arrays and described values may be nested.
    pub depth: usize,
    /// The most values in one frame or message, those in lists and maps counted too.
    pub elements: usize,
    /// The longest string, symbol or binary, in bytes. Payloads and data sections are not such.
    pub text_bytes: usize,
    /// The most messages of a batch.
    pub batch: usize,
}

impl Limits {
    /// For the SASL layer. The standard allows 512 bytes to a frame there; a PLAIN response with a
    /// long token is longer, and some clients send it in one piece (D §3.3).
    pub const SASL: Self =
        Self { frame_bytes: 16 * 1024, depth: 4, elements: 64, text_bytes: 16 * 1024, batch: 0 };

    /// For a connection that has proved nothing yet: 16 KiB hold an attach with all its properties,
    /// and a message with a token.
    pub const STRANGER: Self =
        Self { frame_bytes: 16 * 1024, depth: 8, elements: 512, text_bytes: 8 * 1024, batch: 0 };

    /// For a session, and for messages: the 64 KiB to a frame that clients count on (H §4.3.1),
    /// and what fits into a message of 256 KiB (H §4.3.4).
    pub const SESSION: Self = Self {
        frame_bytes: 64 * 1024,
        depth: 16,
        elements: 8 * 1024,
        text_bytes: 256 * 1024,
        batch: 4 * 1024,
    };
}

/// The eight bytes that say what follows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Header {
    /// AMQP 1.0.0.
    Amqp,
    /// A SASL layer of 1.0.0, then AMQP.
    Sasl,
    /// A TLS layer of 1.0.0 inside the stream, which nobody offers.
    Tls,
    /// Another version or layer of AMQP, such as 0-9-1. It is to be answered with a header that
    /// can be spoken, and the stream closed (§2.2).
    Other,
}

/// What stood at the beginning of a buffer.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<T> {
    /// A frame; its bytes are gone from the buffer.
    Item(T),
    /// A frame that says nothing but that its sender is there; its bytes are gone.
    Empty,
    /// The beginning of one; the buffer is as it was.
    Incomplete {
        /// How many bytes more are needed at least; never 0.
        missing_bytes: usize,
    },
}

/// A frame of a connection.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// The channel, which tells its session.
    pub channel: u16,
    /// What it says.
    pub performative: Performative,
    /// The piece of a message that a transfer carries: a slice of the buffer's memory. Empty with
    /// all others.
    pub payload: Bytes,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("channel", &self.channel)
            .field("performative", &self.performative)
            .field("payload_bytes", &self.payload.len())
            .finish()
    }
}

/// A frame of the SASL layer (part 5, §5.3.3). What it carries is not printed.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslFrame {
    /// `sasl-mechanisms`
    Mechanisms(SaslMechanisms),
    /// `sasl-init`
    Init(SaslInit),
    /// `sasl-challenge`
    Challenge(Bytes),
    /// `sasl-response`
    Response(Bytes),
    /// `sasl-outcome`
    Outcome(SaslOutcome),
}

impl fmt::Debug for SaslFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mechanisms(mechanisms) => f.debug_tuple("Mechanisms").field(mechanisms).finish(),
            Self::Init(init) => f.debug_tuple("Init").field(init).finish(),
            Self::Challenge(_) => f.write_str("Challenge(secret)"),
            Self::Response(_) => f.write_str("Response(secret)"),
            Self::Outcome(outcome) => f.debug_tuple("Outcome").field(outcome).finish(),
        }
    }
}

/// Takes a header off the beginning of a buffer; `None` when there are not eight bytes of one yet.
///
/// # Errors
/// [`BadFrame::NotAmqp`] from the first byte that no AMQP begins with.
pub fn decode_header(buffer: &mut BytesMut) -> Result<Option<Header>, BadFrame> {
    if buffer.iter().zip(b"AMQP").any(|(is, wanted)| is != wanted) {
        return Err(BadFrame::NotAmqp);
    }
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let bytes = buffer.split_to(HEADER_BYTES);
    Ok(Some(match bytes[4..] {
        [0, 1, 0, 0] => Header::Amqp,
        [2, 1, 0, 0] => Header::Tls,
        [3, 1, 0, 0] => Header::Sasl,
        _ => Header::Other,
    }))
}

/// Writes a header. [`Header::Other`] has no bytes of its own: what is written then is AMQP 1.0.0,
/// the answer that the standard asks for.
pub fn encode_header(header: Header, out: &mut BytesMut) {
    let layer = match header {
        Header::Amqp | Header::Other => 0,
        Header::Tls => 2,
        Header::Sasl => 3,
    };
    out.extend_from_slice(&[b'A', b'M', b'Q', b'P', layer, 1, 0, 0]);
}

/// Takes one frame off the beginning of a buffer.
///
/// Its payload is a slice of the buffer's memory, which lives as long as it does. All else is
/// copied out, so that a kept tag or name keeps no frame.
///
/// # Errors
/// [`BadFrame`], as early as it can be known: a frame that is too long from its first four bytes.
pub fn decode(buffer: &mut BytesMut, limits: &Limits) -> Result<Decoded<Frame>, BadFrame> {
    let (channel, body) = match take_frame(buffer, 0, limits)? {
        Decoded::Item(item) => item,
        Decoded::Empty => return Ok(Decoded::Empty),
        Decoded::Incomplete { missing_bytes } => return Ok(Decoded::Incomplete { missing_bytes }),
    };
    if body.is_empty() {
        return Ok(Decoded::Empty);
    }
    let budget = Budget::default();
    let mut reader = Reader::new(&body, limits, &budget);
    let performative = performative::read(&mut reader)?;
    let payload = reader.rest();
    if !payload.is_empty() && !matches!(performative, Performative::Transfer(_)) {
        return Err(BadFrame::Payload);
    }
    let payload = body.slice_ref(payload);
    Ok(Decoded::Item(Frame { channel, performative, payload }))
}

/// Takes one frame of the SASL layer off the beginning of a buffer. Never [`Decoded::Empty`].
///
/// # Errors
/// [`BadFrame`], as early as it can be known.
pub fn decode_sasl(buffer: &mut BytesMut, limits: &Limits) -> Result<Decoded<SaslFrame>, BadFrame> {
    let body = match take_frame(buffer, 1, limits)? {
        Decoded::Item((_, body)) => body,
        Decoded::Empty => return Err(BadFrame::EmptySasl),
        Decoded::Incomplete { missing_bytes } => return Ok(Decoded::Incomplete { missing_bytes }),
    };
    if body.is_empty() {
        return Err(BadFrame::EmptySasl);
    }
    let budget = Budget::default();
    let mut reader = Reader::new(&body, limits, &budget);
    let frame = performative::read_sasl(&mut reader)?;
    if reader.is_empty() { Ok(Decoded::Item(frame)) } else { Err(BadFrame::Payload) }
}

/// Writes a frame without payload. The peer's maximum for a frame is for the caller to heed.
pub fn encode(channel: u16, performative: &Performative, out: &mut BytesMut) {
    put_frame(0, channel, out, |out| performative::write(performative, out));
}

/// Writes one frame with a transfer and as much of the beginning of a payload as fits into
/// `max_frame_size` bytes, and returns how many bytes of it that was: all, or at least one. While
/// some are left, the frame says that more follows, whatever `transfer` says.
///
/// A maximum below the standard's smallest, 512, is taken as 512.
pub fn encode_transfer(
    channel: u16,
    transfer: &Transfer,
    payload: &[u8],
    max_frame_size: usize,
    out: &mut BytesMut,
) -> usize {
    let max_frame_size = max_frame_size.max(MIN_MAX_FRAME_BYTES);
    let start = out.len();
    let mut taken = 0;
    put_frame(0, channel, out, |out| {
        performative::write_transfer(transfer, transfer.more, out);
        let room = max_frame_size.saturating_sub(out.len() - start).max(1);
        taken = payload.len().min(room);
        if taken < payload.len() && !transfer.more {
            // Both booleans take one byte, so that nothing moves.
            out.truncate(start + HEADER_BYTES);
            performative::write_transfer(transfer, true, out);
        }
        out.extend_from_slice(&payload[..taken]);
    });
    taken
}

/// Writes a frame that says nothing but that we are there.
pub fn encode_empty(out: &mut BytesMut) {
    put_frame(0, 0, out, |_| {});
}

/// Writes a frame of the SASL layer. Some clients take 512 bytes and no more (D §3.3); longer
/// payloads are for the caller to split.
pub fn encode_sasl(frame: &SaslFrame, out: &mut BytesMut) {
    put_frame(1, 0, out, |out| performative::write_sasl(frame, out));
}

/// Takes the bytes of one frame off a buffer: its channel, and its body after its header.
fn take_frame(
    buffer: &mut BytesMut,
    wanted_type: u8,
    limits: &Limits,
) -> Result<Decoded<(u16, Bytes)>, BadFrame> {
    let Some(size) = buffer.first_chunk::<4>() else {
        return Ok(Decoded::Incomplete { missing_bytes: HEADER_BYTES - buffer.len() });
    };
    let size_bytes = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    let limit_bytes = limits.frame_bytes;
    if size_bytes > limit_bytes {
        return Err(BadFrame::TooLong { size_bytes, limit_bytes });
    }
    if size_bytes < HEADER_BYTES {
        return Err(BadFrame::HeaderSize { size_bytes, header_bytes: HEADER_BYTES });
    }
    let Some(&[_, _, _, _, offset, frame_type, channel_high, channel_low]) = buffer.first_chunk()
    else {
        return Ok(Decoded::Incomplete { missing_bytes: size_bytes - buffer.len() });
    };
    // What an extended header holds is for nobody to know (§2.3.1).
    let header_bytes = 4 * usize::from(offset);
    if !(HEADER_BYTES..=size_bytes).contains(&header_bytes) {
        return Err(BadFrame::HeaderSize { size_bytes, header_bytes });
    }
    if frame_type != wanted_type {
        return Err(BadFrame::FrameType(frame_type));
    }
    if buffer.len() < size_bytes {
        return Ok(Decoded::Incomplete { missing_bytes: size_bytes - buffer.len() });
    }
    let mut body = buffer.split_to(size_bytes).freeze();
    body.advance(header_bytes);
    Ok(Decoded::Item((u16::from_be_bytes([channel_high, channel_low]), body)))
}

fn put_frame(frame_type: u8, channel: u16, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.extend_from_slice(&[2, frame_type]);
    out.put_u16(channel);
    body(out);
    // Nothing of ours comes near four gigabytes.
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}
