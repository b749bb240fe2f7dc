//! MQTT 3.1.1 packets, from bytes and to bytes, in both directions: the server, the simulator and
//! the tests use the same codec.
//!
//! It is strict: what the standard forbids is a [`BadPacket`], never guessed at. It copies no
//! payload: texts and payloads are slices of the buffer that was read into, and keep it alive for
//! as long as they live. What deliberately does not live here: sockets, timers, sessions, and what
//! a topic means.
//!
//! Rules named `MQTT-…` are the numbered statements of MQTT 3.1.1 (OASIS Standard, 29 October
//! 2014). Two leniencies, both within the standard: a remaining length may be written with more
//! bytes than it needs (§2.2.3 asks for the shortest form nowhere), and control characters and
//! non-characters other than U+0000 may stand in texts (§1.5.3 only lets a receiver refuse them).
//! One beyond it: an acknowledgement may carry the packet identifier 0, because a vendor's client
//! acknowledges QoS 0 messages that way (D §8, 30).

mod error;
mod head;
mod packet;
mod read;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use error::BadPacket;
pub use head::{Head, Kind};
pub use packet::{
    ConnAck, Connect, ConnectRefusal, Delivery, Grant, Login, Packet, PacketId, Password, Publish,
    Qos, SubAck, Subscribe, Unsubscribe, Will,
};
pub use read::{Decoded, Limits, decode};
pub use text::{BadText, Filter, Text, Topic};
pub use write::{Unencodable, encode};
