//! JSON text to [`model::Json`] and back: order kept, numbers kept as they were written, strings
//! exact, everything bounded.
//!
//! What lives here is the text. What a member means is `wire`'s to say, and rows of a store use
//! the same functions. The parser is our own: `serde_json` keeps number tokens only by giving one
//! member name a secret meaning (`$serde_json::private::Number`), which an operator's document
//! could hold, and its errors name no offset we could pass on. It stays the judge in our tests.

mod parse;
mod value;

use model::Json;
use thiserror::Error;

pub use value::{from_value, to_value};

/// How much of a text we read. A text beyond a limit is refused, never cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest text, in bytes.
    pub max_bytes: usize,
    /// How deep arrays and objects may nest; a bare scalar has depth 0.
    pub max_depth: usize,
    /// How many values there may be altogether, containers and their contents each counted.
    pub max_values: usize,
}

impl Limits {
    /// One mebibyte, 64 levels, 200,000 values: the limits of [`parse`] and [`parse_bytes`].
    pub const DEFAULT: Self = Self { max_bytes: 1024 * 1024, max_depth: 64, max_values: 200_000 };

    /// These limits with another length in bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Parses one JSON value with white space around it (RFC 8259). When a member is there more
    /// than once, the last value counts and stands in the place of the first, as in the service
    /// we are compatible with.
    ///
    /// # Errors
    /// [`BadJson`] says what is wrong and where.
    pub fn parse(self, bytes: &[u8]) -> Result<Json, BadJson> {
        parse::parse(bytes, self)
    }
}

/// Parses JSON text within [`Limits::DEFAULT`].
///
/// # Errors
/// [`BadJson`] says what is wrong and where.
pub fn parse(text: &str) -> Result<Json, BadJson> {
    Limits::DEFAULT.parse(text.as_bytes())
}

/// Parses JSON text as it came over the wire within [`Limits::DEFAULT`]; it must be UTF-8.
///
/// # Errors
/// [`BadJson`] says what is wrong and where.
pub fn parse_bytes(bytes: &[u8]) -> Result<Json, BadJson> {
    Limits::DEFAULT.parse(bytes)
}

/// Why a text is not JSON we read. Never holds the text itself: it may hold keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadJson {
    /// The text is longer than the limit.
    #[error("the JSON text has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// Arrays and objects nest too deep.
    #[error("{at}: arrays and objects nest deeper than {limit} levels")]
    TooDeep {
        /// Where.
        at: Position,
        /// The limit.
        limit: usize,
    },
    /// There are too many values.
    #[error("the JSON text holds more than {limit} values")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
    /// The text is not UTF-8.
    #[error("the JSON text is not UTF-8: byte {offset} starts no character")]
    NotUtf8 {
        /// The first byte that does not fit, from 0.
        offset: usize,
    },
    /// Something else stands where JSON wants this.
    #[error("{at}: expected {expected}")]
    Syntax {
        /// Where.
        at: Position,
        /// What would be legal there.
        expected: &'static str,
    },
    /// Half a pair of `\u` escapes, which stands for no character.
    #[error(
        "{at}: the escape \\u{unit:04x} is half of a surrogate pair and stands for no character"
    )]
    LoneSurrogate {
        /// Where the escape starts.
        at: Position,
        /// The escaped code unit.
        unit: u16,
    },
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}
