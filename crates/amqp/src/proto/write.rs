//! Values to bytes, by the rules of H §5.4: each number in its shortest form, a list never as
//! `list0`, and fields never left away.

use bytes::{BufMut, BytesMut};

use super::{Pairs, Value};

/// Writes the fields of a list, or whatever else is counted, and counts them.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut BytesMut,
    n_written: usize,
}

/// A described list, with all the fields that `fill` writes.
pub(super) fn put_list(out: &mut BytesMut, number: u8, fill: impl FnOnce(&mut Writer<'_>)) {
    put_descriptor(out, number);
    put_compound(out, 0xc0, fill);
}

/// The descriptor of one of the standard's types, always as a small ulong.
pub(super) fn put_descriptor(out: &mut BytesMut, number: u8) {
    out.extend_from_slice(&[0x00, 0x53, number]);
}

/// A map, be it empty or not.
pub(super) fn put_map(out: &mut BytesMut, pairs: &Pairs) {
    put_map_of(out, |writer| {
        for (name, value) in pairs {
            writer.value(name);
            writer.value(value);
        }
    });
}

/// A map of the names and values that `fill` writes.
pub(super) fn put_map_of(out: &mut BytesMut, fill: impl FnOnce(&mut Writer<'_>)) {
    put_compound(out, 0xc1, fill);
}

pub(super) fn put_elements(out: &mut BytesMut, values: &[Value]) {
    put_compound(out, 0xc0, |writer| {
        for value in values {
            writer.value(value);
        }
    });
}

pub(super) fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    put_field(out, 0xa0, bytes);
}

pub(super) fn put_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(0x40),
        Value::Bool(is) => out.put_u8(if *is { 0x41 } else { 0x42 }),
        Value::Uint(0) => out.put_u8(0x43),
        Value::Ulong(0) => out.put_u8(0x44),
        Value::Uint(number) if *number < 256 => small(out, 0x52, number.to_be_bytes()),
        Value::Ulong(number) if *number < 256 => small(out, 0x53, number.to_be_bytes()),
        Value::Int(number) if i8::try_from(*number).is_ok() => {
            small(out, 0x54, number.to_be_bytes());
        }
        Value::Long(number) if i8::try_from(*number).is_ok() => {
            small(out, 0x55, number.to_be_bytes());
        }
        Value::Binary(bytes) => put_field(out, 0xa0, bytes),
        Value::String(text) => put_field(out, 0xa1, text.as_bytes()),
        Value::Symbol(text) => put_symbol(out, text),
        Value::List(values) => put_elements(out, values),
        Value::Map(pairs) => put_map(out, pairs),
        Value::Array(elements) => put_array(out, elements),
        Value::Described(both) => {
            out.put_u8(0);
            put_value(out, &both.0);
            put_value(out, &both.1);
        }
        fixed => {
            let constructor = widest(fixed);
            out.put_u8(constructor);
            put_bare(out, constructor, fixed);
        }
    }
}

impl Writer<'_> {
    pub(super) fn null(&mut self) {
        self.n_written += 1;
        self.out.put_u8(0x40);
    }

    pub(super) fn boolean(&mut self, is: bool) {
        self.value(&Value::Bool(is));
    }

    pub(super) fn ubyte(&mut self, number: u8) {
        self.value(&Value::Ubyte(number));
    }

    pub(super) fn ushort(&mut self, number: u16) {
        self.value(&Value::Ushort(number));
    }

    pub(super) fn uint(&mut self, number: u32) {
        self.value(&Value::Uint(number));
    }

    pub(super) fn ulong(&mut self, number: u64) {
        self.value(&Value::Ulong(number));
    }

    pub(super) fn timestamp(&mut self, millis: i64) {
        self.value(&Value::Timestamp(millis));
    }

    pub(super) fn string(&mut self, text: &str) {
        self.n_written += 1;
        put_field(self.out, 0xa1, text.as_bytes());
    }

    pub(super) fn symbol(&mut self, text: &str) {
        self.n_written += 1;
        put_symbol(self.out, text);
    }

    pub(super) fn binary(&mut self, bytes: &[u8]) {
        self.n_written += 1;
        put_binary(self.out, bytes);
    }

    /// Several symbols: an array even of one (D §8, 36).
    pub(super) fn symbols(&mut self, texts: &[String]) {
        self.n_written += 1;
        let is_short = texts.iter().all(|text| text.len() < 256);
        put_array_of(self.out, texts.len(), |out| {
            out.put_u8(if is_short { 0xa3 } else { 0xb3 });
            for text in texts {
                put_size(out, is_short, text.len());
                put_ascii(out, text);
            }
        });
    }

    /// Several symbols, or null for none.
    pub(super) fn capabilities(&mut self, texts: &[String]) {
        if texts.is_empty() { self.null() } else { self.symbols(texts) }
    }

    /// A map, or null for one of nothing.
    pub(super) fn map(&mut self, pairs: &Pairs) {
        if pairs.is_empty() {
            return self.null();
        }
        self.n_written += 1;
        put_map(self.out, pairs);
    }

    pub(super) fn list(&mut self, number: u8, fill: impl FnOnce(&mut Writer<'_>)) {
        self.n_written += 1;
        put_list(self.out, number, fill);
    }

    pub(super) fn value(&mut self, value: &Value) {
        self.n_written += 1;
        put_value(self.out, value);
    }

    /// A field that may be null.
    pub(super) fn optional<T>(&mut self, field: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match field {
            Some(field) => write(self, field),
            None => self.null(),
        }
    }
}

/// A list or a map, by its short constructor; the long one if that is too short for it.
fn put_compound(out: &mut BytesMut, short: u8, fill: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 9]);
    let mut writer = Writer { out, n_written: 0 };
    fill(&mut writer);
    let n_written = writer.n_written;
    set_compound(out, start, short, n_written);
}

/// Elements of one constructor, which `fill` writes before them.
fn put_array_of(out: &mut BytesMut, n_elements: usize, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.extend_from_slice(&[0; 9]);
    fill(out);
    set_compound(out, start, 0xe0, n_elements);
}

/// Fills in constructor, size and count, for which nine bytes were left free.
fn set_compound(out: &mut BytesMut, start: usize, short: u8, n_elements: usize) {
    let body_bytes = out.len() - start - 9;
    match (u8::try_from(body_bytes + 1), u8::try_from(n_elements)) {
        (Ok(size), Ok(count)) => {
            out.copy_within(start + 9.., start + 3);
            out.truncate(start + 3 + body_bytes);
            out[start..start + 3].copy_from_slice(&[short, size, count]);
        }
        _ => {
            out[start] = short + 0x10;
            out[start + 1..start + 5].copy_from_slice(&long(body_bytes + 4));
            out[start + 5..start + 9].copy_from_slice(&long(n_elements));
        }
    }
}

/// A string, symbol or binary, by its short constructor; the long one if that is too short for it.
fn put_field(out: &mut BytesMut, short: u8, bytes: &[u8]) {
    let is_short = bytes.len() < 256;
    out.put_u8(if is_short { short } else { short + 0x10 });
    put_size(out, is_short, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_symbol(out: &mut BytesMut, text: &str) {
    let is_short = text.len() < 256;
    out.put_u8(if is_short { 0xa3 } else { 0xb3 });
    put_size(out, is_short, text.len());
    put_ascii(out, text);
}

/// A symbol is ASCII. What a device put into a text that is to be one may be none: each byte of
/// such a character becomes a question mark.
fn put_ascii(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().map(|byte| if byte.is_ascii() { byte } else { b'?' }));
}

fn put_size(out: &mut BytesMut, is_short: bool, size_bytes: usize) {
    let size = long(size_bytes);
    out.extend_from_slice(if is_short { &size[3..] } else { &size });
}

/// An array. Elements of several types, which nothing that was read has, become a list: an array
/// cannot hold them.
fn put_array(out: &mut BytesMut, elements: &[Value]) {
    let Some((descriptor, constructor)) = shape(elements) else {
        return put_elements(out, elements);
    };
    put_array_of(out, elements.len(), |out| {
        if let Some(descriptor) = descriptor {
            out.put_u8(0);
            put_value(out, descriptor);
        }
        out.put_u8(constructor);
        for element in elements {
            put_bare(out, constructor, inner(element).map_or(element, |(_, value)| value));
        }
    });
}

/// The constructor of an array's elements, with the descriptor that all of them have, if any;
/// `None` if they are not of one type.
fn shape(elements: &[Value]) -> Option<(Option<&Value>, u8)> {
    let Some(first) = elements.first() else {
        return Some((None, 0xa3));
    };
    let Some((descriptor, _)) = inner(first) else {
        return Some((None, common(elements.iter())?));
    };
    if elements.iter().any(|element| inner(element).is_none_or(|(other, _)| other != descriptor)) {
        return None;
    }
    let values = elements.iter().filter_map(inner).map(|(_, value)| value);
    Some((Some(descriptor), common(values)?))
}

fn inner(value: &Value) -> Option<(&Value, &Value)> {
    match value {
        Value::Described(both) => Some((&both.0, &both.1)),
        _ => None,
    }
}

/// The constructor that all values can be written with; `None` if there is none.
fn common<'a>(mut values: impl Iterator<Item = &'a Value> + Clone) -> Option<u8> {
    let is_short = values.clone().all(|value| match value {
        Value::Binary(bytes) => bytes.len() < 256,
        Value::String(text) | Value::Symbol(text) => text.len() < 256,
        _ => false,
    });
    let constructor = widest(values.next()?);
    let is_common = constructor != 0 && values.all(|value| widest(value) == constructor);
    is_common.then_some(if is_short { constructor - 0x10 } else { constructor })
}

/// The constructor that every value of a type can be written with; 0 for a described one.
fn widest(value: &Value) -> u8 {
    match value {
        Value::Null => 0x40,
        Value::Bool(_) => 0x56,
        Value::Ubyte(_) => 0x50,
        Value::Ushort(_) => 0x60,
        Value::Uint(_) => 0x70,
        Value::Ulong(_) => 0x80,
        Value::Byte(_) => 0x51,
        Value::Short(_) => 0x61,
        Value::Int(_) => 0x71,
        Value::Long(_) => 0x81,
        Value::Float(_) => 0x72,
        Value::Double(_) => 0x82,
        Value::Decimal(bytes) => match bytes.len() {
            4 => 0x74,
            8 => 0x84,
            16 => 0x94,
            // No such decimal was ever read.
            _ => 0x40,
        },
        Value::Char(_) => 0x73,
        Value::Timestamp(_) => 0x83,
        Value::Uuid(_) => 0x98,
        Value::Binary(_) => 0xb0,
        Value::String(_) => 0xb1,
        Value::Symbol(_) => 0xb3,
        Value::List(_) => 0xd0,
        Value::Map(_) => 0xd1,
        Value::Array(elements) => match shape(elements) {
            Some(_) => 0xf0,
            None => 0xd0,
        },
        Value::Described(_) => 0,
    }
}

/// A value after its constructor: that of its type that [`common`] or [`widest`] gave.
fn put_bare(out: &mut BytesMut, constructor: u8, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(is) => out.put_u8((*is).into()),
        Value::Ubyte(number) => out.put_u8(*number),
        Value::Ushort(number) => out.put_u16(*number),
        Value::Uint(number) => out.put_u32(*number),
        Value::Ulong(number) => out.put_u64(*number),
        Value::Byte(number) => out.put_i8(*number),
        Value::Short(number) => out.put_i16(*number),
        Value::Int(number) => out.put_i32(*number),
        Value::Long(number) | Value::Timestamp(number) => out.put_i64(*number),
        Value::Float(number) => out.put_f32(*number),
        Value::Double(number) => out.put_f64(*number),
        // One of another length than decimals have is written as null.
        Value::Decimal(_) if constructor == 0x40 => {}
        Value::Decimal(bytes) => out.extend_from_slice(bytes),
        Value::Char(character) => out.put_u32((*character).into()),
        Value::Uuid(bytes) => out.extend_from_slice(bytes),
        Value::Binary(bytes) => {
            put_size(out, constructor == 0xa0, bytes.len());
            out.extend_from_slice(bytes);
        }
        Value::String(text) => {
            put_size(out, constructor == 0xa1, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Symbol(text) => {
            put_size(out, constructor == 0xa3, text.len());
            put_ascii(out, text);
        }
        Value::List(_) | Value::Map(_) | Value::Array(_) => put_long_compound(out, value),
        // `common` gives no constructor for it, so that it is never asked for.
        Value::Described(_) => {}
    }
}

/// A list, map or array after its long constructor.
fn put_long_compound(out: &mut BytesMut, value: &Value) {
    let mut whole = BytesMut::new();
    put_value(&mut whole, value);
    match whole.split_first() {
        // From the short form: one byte each for size and count.
        Some((0xc0 | 0xc1 | 0xe0, rest)) => {
            let (size, count) = (usize::from(rest[0]), usize::from(rest[1]));
            out.extend_from_slice(&long(size + 3));
            out.extend_from_slice(&long(count));
            out.extend_from_slice(&rest[2..]);
        }
        Some((_, rest)) => out.extend_from_slice(rest),
        None => {}
    }
}

/// A number that fits into a byte, by its last one.
fn small<const N: usize>(out: &mut BytesMut, constructor: u8, number: [u8; N]) {
    out.extend_from_slice(&[constructor, number[N - 1]]);
}

/// A size or count in four bytes. Nothing of ours comes near four gigabytes.
fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}
