//! Values of AMQP's type system (part 1, §1.6).

use bytes::Bytes;

/// Names and values, in the order they were sent.
pub type Pairs = Vec<(Value, Value)>;

/// A value of any type. Numbers keep their type: clients compare it (D §3.6, H §4.3.3).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `boolean`
    Bool(bool),
    /// `ubyte`
    Ubyte(u8),
    /// `ushort`
    Ushort(u16),
    /// `uint`
    Uint(u32),
    /// `ulong`
    Ulong(u64),
    /// `byte`
    Byte(i8),
    /// `short`
    Short(i16),
    /// `int`
    Int(i32),
    /// `long`
    Long(i64),
    /// `float`
    Float(f32),
    /// `double`
    Double(f64),
    /// `decimal32`, `decimal64` or `decimal128`, by its length; never looked into.
    Decimal(Bytes),
    /// `char`
    Char(char),
    /// `timestamp`: milliseconds since 1970.
    Timestamp(i64),
    /// `uuid`
    Uuid([u8; 16]),
    /// `binary`
    Binary(Bytes),
    /// `string`
    String(String),
    /// `symbol`: ASCII.
    Symbol(String),
    /// `list`
    List(Vec<Self>),
    /// `map`
    Map(Pairs),
    /// `array`: elements of one type. An empty one is written as one of symbols.
    Array(Vec<Self>),
    /// A described value: descriptor and value.
    Described(Box<(Self, Self)>),
}

impl Value {
    /// The text of a string or a symbol: clients do not agree on which belongs where.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The number that an integer of any type is; `None` also for those above `i64::MAX`.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(number) => Some(number.into()),
            Self::Ushort(number) => Some(number.into()),
            Self::Uint(number) => Some(number.into()),
            Self::Ulong(number) => i64::try_from(number).ok(),
            Self::Byte(number) => Some(number.into()),
            Self::Short(number) => Some(number.into()),
            Self::Int(number) => Some(number.into()),
            Self::Long(number) => Some(number),
            _ => None,
        }
    }
}

/// The first value of a name, be that a symbol or a string; letter case counts.
#[must_use]
pub fn find<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a Value> {
    pairs.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
}
