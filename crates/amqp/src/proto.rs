//! AMQP 1.0 as bytes (OASIS AMQP 1.0, parts 1 to 3 and 5): values, performatives, frames, message
//! sections. No sockets, no waiting.
//!
//! What we write obeys H §5.4, because one client's decoder counts positions: descriptors as
//! small ulongs, every performative with all its fields, nulls at its end included, never an empty
//! list. What we read is anything the standard allows, within [`Limits`]: lists cut short, any
//! encoding of a type, descriptors spelled out. What it forbids is a [`BadFrame`], never guessed at.
//!
//! Lenient beyond the standard where it costs nothing: a content type or encoding may be a string
//! and an address a symbol, names of application properties may be symbols, an array of nothing
//! may lack its constructor, and a frame of the SASL layer may have more than 512 bytes (D §3.3).
//! Stricter in one: values that take no bytes (elements of an array of nulls, say) are few, since
//! nobody has a use for them and a stranger would.

mod error;
mod frame;
mod message;
mod names;
mod performative;
mod read;
mod value;
mod write;

pub use error::{BadFrame, BadValue};
pub use frame::{
    Decoded, Frame, Header as ProtocolHeader, Limits, SaslFrame, decode, decode_header,
    decode_sasl, encode, encode_empty, encode_header, encode_sasl, encode_transfer,
};
pub use message::{
    Body, Header, Message, MessageId, Properties, decode_batch, decode_message, encode_message,
};
pub use performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Outcome, Performative,
    ReceiverSettle, Role, SaslInit, SaslMechanisms, SaslOutcome, SenderSettle, Source, State,
    Target, Terminus, Transfer, WireError,
};
pub use value::{Pairs, Value, find};

#[cfg(test)]
mod tests;
