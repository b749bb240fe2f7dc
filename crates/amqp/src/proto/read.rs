//! Bytes to values. Every length is checked before anything is reserved for it, and nothing is
//! read that the limits do not allow.

use std::cell::Cell;

use bytes::Bytes;

use super::{BadFrame, Limits, Pairs, Value, error::BadValue, names};

/// What is left of a frame, a message, or a list in one.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    limits: &'a Limits,
    budget: &'a Budget,
    /// How many more levels there may be.
    depth: usize,
}

/// What may still be read of a frame or message; shared by all its readers.
#[derive(Default)]
pub(super) struct Budget {
    /// How many more values: as many as the limits allow, and no more than there are bytes, of
    /// which each takes one at least. So what is told of their number is never believed.
    values: Cell<usize>,
    /// How many more of the values that take no bytes: elements of arrays whose constructor says
    /// all, and the copies of the descriptor that elements have in common.
    weightless: Cell<usize>,
}

/// The most values of a frame or message that take no bytes there. Nobody has a use for one.
const WEIGHTLESS: usize = 128;

/// The fields of a described list, one after the other. Those at the end may be absent.
pub(super) struct Fields<'a> {
    of: &'static str,
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Reader<'a> {
    /// A reader of all of a frame or message, for which the budget is set.
    pub(super) fn new(bytes: &'a [u8], limits: &'a Limits, budget: &'a Budget) -> Self {
        budget.values.set(limits.elements.min(bytes.len()));
        budget.weightless.set(WEIGHTLESS);
        Self { rest: bytes, limits, budget, depth: limits.depth }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A value of any type.
    pub(super) fn value(&mut self) -> Result<Value, BadFrame> {
        match self.byte()? {
            0 => self.described(),
            constructor => self.value_of(constructor),
        }
    }

    /// The descriptor of a described value, as the standard's number for it; `None` if the
    /// standard has none.
    pub(super) fn descriptor(&mut self) -> Result<Option<u8>, BadFrame> {
        match self.byte()? {
            0 => {}
            constructor => return Err(BadValue::WrongType(constructor).into()),
        }
        Ok(match self.descriptor_value()? {
            Value::Ulong(number) => u8::try_from(number).ok(),
            Value::Symbol(name) => names::number_of(&name),
            _ => return Err(BadValue::Descriptor.into()),
        })
    }

    /// The list after a descriptor, with at most as many fields as the standard has.
    pub(super) fn fields(
        &mut self,
        of: &'static str,
        max_fields: usize,
    ) -> Result<Fields<'a>, BadFrame> {
        let constructor = self.byte()?;
        let (n_fields, reader) = match constructor {
            0x45 | 0xc0 | 0xd0 => self.compound(constructor)?,
            other => return Err(BadFrame::from(BadValue::WrongType(other)).within(of, "list")),
        };
        if n_fields > max_fields {
            return Err(BadFrame::Fields { of, n_fields });
        }
        Ok(Fields { of, reader, left: n_fields })
    }

    pub(super) fn boolean(&mut self) -> Result<bool, BadFrame> {
        self.typed(|value| match value {
            Value::Bool(is) => Some(is),
            _ => None,
        })
    }

    pub(super) fn ubyte(&mut self) -> Result<u8, BadFrame> {
        self.typed(|value| match value {
            Value::Ubyte(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn ushort(&mut self) -> Result<u16, BadFrame> {
        self.typed(|value| match value {
            Value::Ushort(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn uint(&mut self) -> Result<u32, BadFrame> {
        self.typed(|value| match value {
            Value::Uint(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn ulong(&mut self) -> Result<u64, BadFrame> {
        self.typed(|value| match value {
            Value::Ulong(number) => Some(number),
            _ => None,
        })
    }

    pub(super) fn timestamp(&mut self) -> Result<i64, BadFrame> {
        self.typed(|value| match value {
            Value::Timestamp(millis) => Some(millis),
            _ => None,
        })
    }

    pub(super) fn string(&mut self) -> Result<String, BadFrame> {
        self.typed(|value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub(super) fn symbol(&mut self) -> Result<String, BadFrame> {
        self.typed(|value| match value {
            Value::Symbol(text) => Some(text),
            _ => None,
        })
    }

    /// A symbol, or a string in its place.
    pub(super) fn text(&mut self) -> Result<String, BadFrame> {
        self.typed(|value| match value {
            Value::Symbol(text) | Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// Several symbols: an array, or one alone (part 1, §1.4).
    pub(super) fn symbols(&mut self) -> Result<Vec<String>, BadFrame> {
        self.typed(|value| match value {
            Value::Symbol(text) => Some(vec![text]),
            Value::Array(elements) => elements
                .into_iter()
                .map(|element| match element {
                    Value::Symbol(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, BadFrame> {
        self.typed(|value| match value {
            Value::Binary(bytes) => Some(bytes),
            _ => None,
        })
    }

    pub(super) fn map(&mut self) -> Result<Pairs, BadFrame> {
        self.typed(|value| match value {
            Value::Map(pairs) => Some(pairs),
            _ => None,
        })
    }

    pub(super) fn list(&mut self) -> Result<Vec<Value>, BadFrame> {
        self.typed(|value| match value {
            Value::List(values) => Some(values),
            _ => None,
        })
    }

    /// A binary of any length, not copied: that of a data section.
    pub(super) fn data(&mut self) -> Result<&'a [u8], BadFrame> {
        self.spend(1)?;
        let size_bytes = match self.byte()? {
            0xa0 => usize::from(self.byte()?),
            0xb0 => self.size()?,
            other => return Err(BadValue::WrongType(other).into()),
        };
        self.take(size_bytes)
    }

    fn typed<T>(&mut self, pick: impl FnOnce(Value) -> Option<T>) -> Result<T, BadFrame> {
        let constructor = self.rest.first().copied().unwrap_or_default();
        pick(self.value()?).ok_or(BadFrame::Value(BadValue::WrongType(constructor)))
    }

    fn described(&mut self) -> Result<Value, BadFrame> {
        self.spend(2)?;
        self.depth = self.depth.checked_sub(1).ok_or(BadValue::TooDeep)?;
        let descriptor = self.descriptor_value()?;
        let value = self.value()?;
        self.depth += 1;
        Ok(Value::Described(Box::new((descriptor, value))))
    }

    fn descriptor_value(&mut self) -> Result<Value, BadFrame> {
        match self.byte()? {
            constructor @ (0x44 | 0x53 | 0x80 | 0xa3 | 0xb3) => self.value_of(constructor),
            _ => Err(BadValue::Descriptor.into()),
        }
    }

    /// The value after its constructor.
    fn value_of(&mut self, constructor: u8) -> Result<Value, BadFrame> {
        Ok(match constructor {
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x56 => match self.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(BadValue::Choice(other).into()),
            },
            0x50 => Value::Ubyte(self.byte()?),
            0x60 => Value::Ushort(u16::from_be_bytes(self.bytes()?)),
            0x43 => Value::Uint(0),
            0x52 => Value::Uint(self.byte()?.into()),
            0x70 => Value::Uint(u32::from_be_bytes(self.bytes()?)),
            0x44 => Value::Ulong(0),
            0x53 => Value::Ulong(self.byte()?.into()),
            0x80 => Value::Ulong(u64::from_be_bytes(self.bytes()?)),
            0x51 => Value::Byte(i8::from_be_bytes(self.bytes()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.bytes()?)),
            0x54 => Value::Int(i8::from_be_bytes(self.bytes()?).into()),
            0x71 => Value::Int(i32::from_be_bytes(self.bytes()?)),
            0x55 => Value::Long(i8::from_be_bytes(self.bytes()?).into()),
            0x81 => Value::Long(i64::from_be_bytes(self.bytes()?)),
            0x72 => Value::Float(f32::from_be_bytes(self.bytes()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.bytes()?)),
            0x74 => Value::Decimal(Bytes::copy_from_slice(self.take(4)?)),
            0x84 => Value::Decimal(Bytes::copy_from_slice(self.take(8)?)),
            0x94 => Value::Decimal(Bytes::copy_from_slice(self.take(16)?)),
            0x73 => {
                let number = u32::from_be_bytes(self.bytes()?);
                Value::Char(char::from_u32(number).ok_or(BadValue::NotAChar)?)
            }
            0x83 => Value::Timestamp(i64::from_be_bytes(self.bytes()?)),
            0x98 => Value::Uuid(self.bytes()?),
            0xa0 | 0xb0 => Value::Binary(Bytes::copy_from_slice(self.short_field(constructor)?)),
            0xa1 | 0xb1 => {
                let bytes = self.short_field(constructor)?;
                Value::String(str::from_utf8(bytes).map_err(|_| BadValue::NotUtf8)?.to_owned())
            }
            0xa3 | 0xb3 => {
                let bytes = self.short_field(constructor)?;
                match str::from_utf8(bytes) {
                    Ok(text) if text.is_ascii() => Value::Symbol(text.to_owned()),
                    _ => return Err(BadValue::NotAscii.into()),
                }
            }
            0x45 | 0xc0 | 0xd0 => Value::List(self.elements(constructor)?),
            0xc1 | 0xd1 => Value::Map(self.pairs(constructor)?),
            0xe0 | 0xf0 => Value::Array(self.array(constructor)?),
            other => return Err(BadValue::Constructor(other).into()),
        })
    }

    fn elements(&mut self, constructor: u8) -> Result<Vec<Value>, BadFrame> {
        let (n_elements, mut body) = self.compound(constructor)?;
        self.spend(n_elements)?;
        let mut elements = Vec::with_capacity(n_elements);
        for _ in 0..n_elements {
            elements.push(body.value()?);
        }
        body.end()?;
        Ok(elements)
    }

    fn pairs(&mut self, constructor: u8) -> Result<Pairs, BadFrame> {
        let (n_elements, mut body) = self.compound(constructor)?;
        if n_elements % 2 != 0 {
            return Err(BadValue::OddMap.into());
        }
        self.spend(n_elements)?;
        let mut pairs = Vec::with_capacity(n_elements / 2);
        for _ in 0..n_elements / 2 {
            pairs.push((body.value()?, body.value()?));
        }
        body.end()?;
        Ok(pairs)
    }

    /// Elements of one constructor. With some they take no bytes, and then with a descriptor in
    /// common they have a copy of it each: that is bounded by itself.
    fn array(&mut self, constructor: u8) -> Result<Vec<Value>, BadFrame> {
        let (n_elements, mut body) = self.sized(constructor)?;
        if n_elements == 0 && body.is_empty() {
            // A constructor belongs here; there is nothing that it could say.
            return Ok(Vec::new());
        }
        let mut element = body.byte()?;
        let descriptor = if element == 0 {
            let descriptor = body.descriptor_value()?;
            element = body.byte()?;
            let copy = match &descriptor {
                Value::Symbol(name) => 1 + name.len() / 32,
                _ => 1,
            };
            spend(&self.budget.weightless, n_elements.saturating_mul(copy))?;
            Some(descriptor)
        } else {
            None
        };
        match element {
            0x40..=0x45 => spend(&self.budget.weightless, n_elements)?,
            _ => self.spend(n_elements)?,
        }
        let mut elements = Vec::with_capacity(n_elements);
        for _ in 0..n_elements {
            let value = body.value_of(element)?;
            elements.push(match &descriptor {
                Some(descriptor) => Value::Described(Box::new((descriptor.clone(), value))),
                None => value,
            });
        }
        body.end()?;
        Ok(elements)
    }

    /// The number of a list's or map's elements, and a reader of them. Each takes a byte at least.
    fn compound(&mut self, constructor: u8) -> Result<(usize, Self), BadFrame> {
        let (n_elements, body) = self.sized(constructor)?;
        if n_elements > body.rest.len() {
            return Err(BadValue::Short.into());
        }
        Ok((n_elements, body))
    }

    /// A count, and a reader of what is counted, one level deeper.
    fn sized(&mut self, constructor: u8) -> Result<(usize, Self), BadFrame> {
        let depth = self.depth.checked_sub(1).ok_or(BadValue::TooDeep)?;
        let mut body = Self { rest: &[], limits: self.limits, budget: self.budget, depth };
        let n_elements = match constructor {
            0x45 => 0,
            0xc0 | 0xc1 | 0xe0 => {
                let size_bytes = self.byte()?.into();
                body.rest = self.take(size_bytes)?;
                body.byte()?.into()
            }
            _ => {
                let size_bytes = self.size()?;
                body.rest = self.take(size_bytes)?;
                body.size()?
            }
        };
        Ok((n_elements, body))
    }

    /// A string, symbol or binary, whose length is told by one byte or by four.
    fn short_field(&mut self, constructor: u8) -> Result<&'a [u8], BadFrame> {
        let size_bytes = if constructor < 0xb0 { self.byte()?.into() } else { self.size()? };
        let limit_bytes = self.limits.text_bytes;
        if size_bytes > limit_bytes {
            return Err(BadValue::TooLong { size_bytes, limit_bytes }.into());
        }
        self.take(size_bytes)
    }

    fn size(&mut self) -> Result<usize, BadFrame> {
        Ok(usize::try_from(u32::from_be_bytes(self.bytes()?)).unwrap_or(usize::MAX))
    }

    fn byte(&mut self) -> Result<u8, BadFrame> {
        let [byte] = self.bytes()?;
        Ok(byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(BadValue::Short)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], BadFrame> {
        let (bytes, rest) = self.rest.split_at_checked(n_bytes).ok_or(BadValue::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn take_null(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0x40, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn spend(&self, n_values: usize) -> Result<(), BadFrame> {
        spend(&self.budget.values, n_values)
    }

    fn end(&self) -> Result<(), BadFrame> {
        if self.is_empty() { Ok(()) } else { Err(BadValue::Trailing.into()) }
    }
}

impl<'a> Fields<'a> {
    /// The next field; `None` when it is null or the list has ended before it.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, BadFrame>,
    ) -> Result<Option<T>, BadFrame> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.reader.take_null() {
            return Ok(None);
        }
        read(&mut self.reader).map(Some).map_err(|bad| bad.within(self.of, field))
    }

    /// The next field, which has to be there.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, BadFrame>,
    ) -> Result<T, BadFrame> {
        self.optional(field, read)?.ok_or(BadFrame::Missing { of: self.of, field })
    }

    /// The next field, of which nothing is kept.
    pub(super) fn ignored(&mut self, field: &'static str) -> Result<(), BadFrame> {
        self.optional(field, Reader::value).map(drop)
    }

    /// Sees to it that the list ends here.
    pub(super) fn end(self) -> Result<(), BadFrame> {
        self.reader.end().map_err(|bad| bad.within(self.of, "list"))
    }
}

fn spend(left: &Cell<usize>, n_values: usize) -> Result<(), BadFrame> {
    left.set(left.get().checked_sub(n_values).ok_or(BadValue::TooMany)?);
    Ok(())
}
