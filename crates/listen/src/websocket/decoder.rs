//! From a client's frames to the bytes in them, in place and without a buffer.

/// The most bytes a control frame may carry (RFC 6455 §5.5).
pub(super) const MAX_CONTROL_BYTES: usize = 125;
/// The longest head of a masked frame: two bytes, eight of length, four of mask.
const MAX_HEAD_BYTES: usize = 14;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Takes frames apart. Holds at most one control frame's payload while that arrives, and at most one
/// ping that was not answered yet; what a frame announces is never allocated.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Whether a message began that has not ended.
    in_message: bool,
    ping: Option<Vec<u8>>,
    end: Option<End>,
}

/// Why no more bytes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye, perhaps with a code.
    Closed(Option<u16>),
    /// The client broke a rule.
    Broken(Violation),
}

/// A rule of RFC 6455 that a client broke. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A client must mask its frames (§5.1).
    #[error("a WebSocket frame is not masked")]
    Unmasked,
    /// Reserved bits mean an extension, and none was agreed on (§5.2).
    #[error("a WebSocket frame has reserved bits set")]
    ReservedBits,
    /// There is no such kind of frame (§5.2).
    #[error("a WebSocket frame is of an unknown kind")]
    UnknownKind,
    /// MQTT and AMQP travel in binary messages only.
    #[error("a WebSocket message is text instead of binary")]
    Text,
    /// A length must be written in as few bytes as it needs, and has at most 63 bits (§5.2).
    #[error("the length of a WebSocket frame is written wrongly")]
    BadLength,
    /// A continuation without a message, or a message within a message (§5.4).
    #[error("a fragment of a WebSocket message is out of place")]
    Misplaced,
    /// Control frames have at most 125 bytes and are not fragmented (§5.5).
    #[error("a WebSocket control frame is too long or in fragments")]
    BadControl,
    /// A close frame with one byte, or a code that nobody may send (§5.5.1, §7.4).
    #[error("a WebSocket close frame has no legal code")]
    BadClose,
    /// The reason in a close frame must be UTF-8 (§5.5.1).
    #[error("the reason in a WebSocket close frame is not UTF-8")]
    BadReason,
}

impl Violation {
    /// The code to close the connection with (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::BadReason => 1007,
            Self::Unmasked
            | Self::ReservedBits
            | Self::UnknownKind
            | Self::BadLength
            | Self::Misplaced
            | Self::BadControl
            | Self::BadClose => 1002,
        }
    }
}

/// Where in a frame we are.
#[derive(Debug)]
enum State {
    Head(Head),
    Data { left: u64, mask: [u8; 4] },
    Control(Control),
}

impl State {
    /// Before the next frame.
    const START: Self = Self::Head(Head { bytes: [0; MAX_HEAD_BYTES], n: 0 });
}

/// As much of a frame's head as arrived.
#[derive(Debug)]
struct Head {
    bytes: [u8; MAX_HEAD_BYTES],
    n: usize,
}

/// A control frame whose payload arrives.
#[derive(Debug)]
struct Control {
    kind: u8,
    left: usize,
    mask: [u8; 4],
    payload: Vec<u8>,
}

impl Decoder {
    /// Before the first frame.
    pub(super) const fn new() -> Self {
        Self { state: State::START, in_message: false, ping: None, end: None }
    }

    /// Takes the next bytes of the connection, moves the payload among them to the front, and says how long it
    /// is. After an end nothing more is looked at.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && self.end.is_none() {
            match &mut self.state {
                State::Head(head) => {
                    head.bytes[head.n] = bytes[read];
                    head.n += 1;
                    read += 1;
                    match head.parse(self.in_message) {
                        Ok(None) => {}
                        Ok(Some(frame)) => self.begin(&frame),
                        Err(violation) => self.end = Some(End::Broken(violation)),
                    }
                }
                State::Data { left, mask } => {
                    let n = at_most(*left, bytes.len() - read);
                    bytes.copy_within(read..read + n, kept);
                    unmask(&mut bytes[kept..kept + n], mask);
                    read += n;
                    kept += n;
                    // At most `left`, which is 64 bits wide.
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::START;
                    }
                }
                State::Control(control) => {
                    let n = control.left.min(bytes.len() - read);
                    unmask(&mut bytes[read..read + n], &mut control.mask);
                    control.payload.extend_from_slice(&bytes[read..read + n]);
                    read += n;
                    control.left -= n;
                    if control.left == 0 {
                        let (kind, payload) = (control.kind, std::mem::take(&mut control.payload));
                        self.state = State::START;
                        self.obey(kind, payload);
                    }
                }
            }
        }
        kept
    }

    /// Why no more bytes come, if they do not.
    pub(super) const fn end(&self) -> Option<End> {
        self.end
    }

    /// The payload of the last ping, to be answered. Of several that were not answered in time the
    /// last one counts, as RFC 6455 §5.5.3 allows: a client that does not read cannot fill our memory.
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// Whether there is a ping to be answered.
    pub(super) const fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    /// Whether the connection may end here without having lost a part of a frame.
    pub(super) const fn is_between_frames(&self) -> bool {
        matches!(&self.state, State::Head(Head { n: 0, .. }))
    }

    fn begin(&mut self, frame: &Frame) {
        let Frame { kind, is_last, length, mask } = *frame;
        if matches!(kind, CONTINUATION | BINARY) {
            self.in_message = !is_last;
            self.state = match length {
                0 => State::START,
                left => State::Data { left, mask },
            };
        } else if length == 0 {
            self.state = State::START;
            self.obey(kind, Vec::new());
        } else {
            let left = at_most(length, MAX_CONTROL_BYTES);
            let payload = Vec::with_capacity(left);
            self.state = State::Control(Control { kind, left, mask, payload });
        }
    }

    /// Does what a whole control frame asks for.
    fn obey(&mut self, kind: u8, payload: Vec<u8>) {
        match kind {
            PING => self.ping = Some(payload),
            CLOSE => {
                let end = close_code(&payload).map_or_else(End::Broken, End::Closed);
                self.end = Some(end);
            }
            // A pong that answers a ping of nobody's.
            _ => {}
        }
    }
}

/// A frame's head, found to be legal.
struct Frame {
    kind: u8,
    is_last: bool,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    /// The frame, once its head is complete; the first two bytes are judged as soon as they are there.
    fn parse(&self, in_message: bool) -> Result<Option<Frame>, Violation> {
        let [first, second, rest @ ..] = &self.bytes;
        if self.n < 2 {
            return Ok(None);
        }
        let (is_last, kind, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits);
        }
        match kind {
            CONTINUATION if in_message => {}
            BINARY if !in_message => {}
            CONTINUATION | BINARY => return Err(Violation::Misplaced),
            TEXT => return Err(Violation::Text),
            CLOSE | PING | PONG if is_last && usize::from(short) <= MAX_CONTROL_BYTES => {}
            CLOSE | PING | PONG => return Err(Violation::BadControl),
            _ => return Err(Violation::UnknownKind),
        }
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let n_length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.n < 2 + n_length_bytes + 4 {
            return Ok(None);
        }
        let (length, rest) = rest.split_at(n_length_bytes);
        let length = match length {
            [] => u64::from(short),
            bytes => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let is_minimal = match n_length_bytes {
            2 => length > 125,
            8 => length > u64::from(u16::MAX) && length >> 63 == 0,
            _ => true,
        };
        if !is_minimal {
            return Err(Violation::BadLength);
        }
        let mask = [rest[0], rest[1], rest[2], rest[3]];
        Ok(Some(Frame { kind, is_last, length, mask }))
    }
}

/// The code in a close frame's payload; none is legal.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::BadClose) };
    };
    let code = u16::from_be_bytes(*code);
    // 1004 to 1006 and 1015 are never sent; below 3000 the rest is nobody's yet (§7.4, IANA).
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::BadClose);
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::BadReason),
    }
}

/// The smaller of both.
fn at_most(length: u64, limit: usize) -> usize {
    usize::try_from(length).map_or(limit, |length| length.min(limit))
}

/// Takes the mask off, and turns it to where the next bytes of the frame begin.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    for chunk in bytes.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(*mask) {
            *byte ^= key;
        }
    }
    mask.rotate_left(bytes.len() % 4);
}
