//! Why bytes are no AMQP.

use thiserror::Error;

/// Why bytes are no legal frame or message. Says where, never what was in it, apart from single
/// numbers of the encoding.
///
/// Nothing sensible can follow it on a connection: it is to be closed, with `amqp:decode-error`
/// where there is a connection to say so on. A message that cannot be read is its link's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadFrame {
    /// The first bytes of a stream are not those of any AMQP.
    #[error("the stream does not begin with `AMQP`")]
    NotAmqp,
    /// A frame is longer than whoever reads it allows.
    #[error("a frame of {size_bytes} bytes, {limit_bytes} are allowed")]
    TooLong {
        /// The whole frame, in bytes.
        size_bytes: usize,
        /// The most that is allowed, in bytes.
        limit_bytes: usize,
    },
    /// A frame says that it is shorter than its own header.
    #[error("a frame of {size_bytes} bytes that has a header of {header_bytes}")]
    HeaderSize {
        /// The whole frame, in bytes.
        size_bytes: usize,
        /// What its header says of itself, in bytes; at least 8 are needed.
        header_bytes: usize,
    },
    /// A frame that is neither AMQP's (0) nor SASL's (1), or one in the place of the other.
    #[error("a frame of type {0} where another belongs")]
    FrameType(u8),
    /// A SASL frame that says nothing.
    #[error("a SASL frame without a body")]
    EmptySasl,
    /// A frame holds something that is no performative, or none of the kind that belongs there.
    #[error("a frame that holds no performative of its kind")]
    Performative,
    /// Bytes after the performative of a frame that can have no payload.
    #[error("bytes after a performative that has no payload")]
    Payload,
    /// A value is illegal where it stands.
    #[error("{0}")]
    Value(#[from] BadValue),
    /// A field is illegal.
    #[error("{of}, field `{field}`: {why}")]
    Field {
        /// The performative, type or section.
        of: &'static str,
        /// The field, as the standard calls it.
        field: &'static str,
        /// What is wrong with it.
        why: BadValue,
    },
    /// A field that must be there is null or absent.
    #[error("{of} without the field `{field}`")]
    Missing {
        /// The performative, type or section.
        of: &'static str,
        /// The field, as the standard calls it.
        field: &'static str,
    },
    /// More fields than the standard has.
    #[error("{of} with {n_fields} fields")]
    Fields {
        /// The performative, type or section.
        of: &'static str,
        /// How many it says that it has.
        n_fields: usize,
    },
    /// Sections of a message that are unknown, come twice, or in another order than the
    /// standard's.
    #[error("a section of a message where it does not belong")]
    Section,
    /// A batch that holds something else than data sections (H §4.3.6).
    #[error("a batch of messages without data sections")]
    NotABatch,
    /// A batch of more messages than whoever reads it allows.
    #[error("a batch of {n_messages} messages, {limit} are allowed")]
    Batch {
        /// How many it holds.
        n_messages: usize,
        /// The most that is allowed.
        limit: usize,
    },
}

/// Why bytes are not the value that belongs where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadValue {
    /// It ends before it is complete.
    #[error("it ends too early")]
    Short,
    /// It goes on after its last element.
    #[error("it goes on after its last element")]
    Trailing,
    /// A constructor that the standard does not have.
    #[error("constructor {0:#04x} does not exist")]
    Constructor(u8),
    /// A value of a type that does not belong here, by its constructor.
    #[error("a value of another type, of constructor {0:#04x}")]
    WrongType(u8),
    /// A descriptor that is neither a ulong nor a symbol (part 1, §1.5: reserved).
    #[error("a descriptor that is neither a number nor a symbol")]
    Descriptor,
    /// A number or a byte that stands for nothing.
    #[error("{0} stands for nothing here")]
    Choice(u8),
    /// A string that is not UTF-8.
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// A symbol that is not ASCII.
    #[error("a symbol that is not ASCII")]
    NotAscii,
    /// A char that is no Unicode scalar value.
    #[error("a char that is none")]
    NotAChar,
    /// A map with a key that has no value.
    #[error("a map with an odd number of elements")]
    OddMap,
    /// A name of a property that is no text.
    #[error("a name that is no text")]
    Name,
    /// Lists in lists, more than whoever reads it allows.
    #[error("values nested too deep")]
    TooDeep,
    /// More values than whoever reads it allows, or than bytes came to hold them.
    #[error("too many values")]
    TooMany,
    /// A text or binary that is longer than whoever reads it, or the standard, allows.
    #[error("{size_bytes} bytes, {limit_bytes} are allowed")]
    TooLong {
        /// Its length, in bytes.
        size_bytes: usize,
        /// The most that is allowed, in bytes.
        limit_bytes: usize,
    },
}

impl BadFrame {
    /// Tells where a bad value stood, unless that is known more exactly.
    pub(super) fn within(self, of: &'static str, field: &'static str) -> Self {
        match self {
            Self::Value(why) => Self::Field { of, field, why },
            known => known,
        }
    }
}
