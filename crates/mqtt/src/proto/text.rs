//! Texts, topics and filters: slices of what was read, checked once.

use std::{fmt, ops::Deref, str};

use bytes::Bytes;
use thiserror::Error;

/// The most bytes a text, a password or a will's payload can have: its length is told in two.
pub(super) const MAX_FIELD_BYTES: usize = 65_535;

/// Why a text is not one that MQTT allows. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadText {
    /// The bytes are not UTF-8, which has no surrogates (MQTT-1.5.3-1).
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// It holds U+0000 (MQTT-1.5.3-2).
    #[error("a text holds the character U+0000")]
    Nul,
    /// It has more than 65,535 bytes.
    #[error("a text of {0} bytes, 65535 are possible")]
    TooLong(usize),
    /// A topic or a filter is empty (MQTT-4.7.3-1).
    #[error("a topic or filter is empty")]
    Empty,
    /// A topic holds `+` or `#` (MQTT-3.3.2-2).
    #[error("a topic holds a wildcard")]
    Wildcard,
    /// In a filter, `+` or `#` shares its level with others, or `#` is not the last
    /// (MQTT-4.7.1-2, MQTT-4.7.1-3).
    #[error("a wildcard stands where no filter can have it")]
    MisplacedWildcard,
}

/// A text of at most 65,535 bytes without U+0000. It may be empty.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(Bytes);

/// The name of a topic: a text of at least one character without wildcards.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Text);

/// A filter of topics: a text of at least one character with wildcards only where they are legal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Filter(Text);

impl Text {
    /// A text to be sent.
    ///
    /// # Errors
    /// [`BadText::Nul`], [`BadText::TooLong`].
    pub fn new(text: impl Into<String>) -> Result<Self, BadText> {
        Self::from_bytes(Bytes::from(text.into()))
    }

    pub(super) fn from_bytes(bytes: Bytes) -> Result<Self, BadText> {
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(BadText::TooLong(bytes.len()));
        }
        let text = str::from_utf8(&bytes).map_err(|_| BadText::NotUtf8)?;
        if text.contains('\0') { Err(BadText::Nul) } else { Ok(Self(bytes)) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was UTF-8 when it was made and cannot change; checking again costs nanoseconds.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Topic {
    /// The name of a topic to be sent to.
    ///
    /// # Errors
    /// [`BadText`] says why it is not one.
    pub fn new(name: impl Into<String>) -> Result<Self, BadText> {
        Self::from_text(Text::new(name)?)
    }

    pub(super) fn from_text(name: Text) -> Result<Self, BadText> {
        if name.is_empty() {
            return Err(BadText::Empty);
        }
        if name.contains(['+', '#']) { Err(BadText::Wildcard) } else { Ok(Self(name)) }
    }
}

impl Filter {
    /// A filter to be asked for.
    ///
    /// # Errors
    /// [`BadText`] says why it is not one.
    pub fn new(filter: impl Into<String>) -> Result<Self, BadText> {
        Self::from_text(Text::new(filter)?)
    }

    pub(super) fn from_text(filter: Text) -> Result<Self, BadText> {
        if filter.is_empty() {
            return Err(BadText::Empty);
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_legal = match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                _ => !level.contains(['+', '#']),
            };
            if !is_legal {
                return Err(BadText::MisplacedWildcard);
            }
        }
        Ok(Self(filter))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Deref for Topic {
    type Target = Text;

    fn deref(&self) -> &Text {
        &self.0
    }
}

impl Deref for Filter {
    type Target = Text;

    fn deref(&self) -> &Text {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
