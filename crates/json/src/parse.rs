//! A strict RFC 8259 parser. Recursion is bounded by [`Limits::max_depth`].

use std::collections::HashMap;

use model::Json;

use crate::{BadJson, Limits, Position};

/// Objects with more members than this find repeated names through an index.
const INDEXED_FROM: usize = 16;

pub(crate) fn parse(bytes: &[u8], limits: Limits) -> Result<Json, BadJson> {
    if bytes.len() > limits.max_bytes {
        return Err(BadJson::TooLarge { limit: limits.max_bytes });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| BadJson::NotUtf8 { offset: error.valid_up_to() })?;
    // Some .NET clients put a byte order mark first; RFC 8259 §8.1 lets us pass over it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { text, at: 0, values: 0, limits };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.expected("the end of the text"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset of what comes next; always at a character's start.
    at: usize,
    values: usize,
    limits: Limits,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Json, BadJson> {
        self.values += 1;
        if self.values > self.limits.max_values {
            return Err(BadJson::TooManyValues { limit: self.limits.max_values });
        }
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, BadJson> {
        self.enter(depth)?;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut index: HashMap<String, usize> = HashMap::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a member name in double quotes"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err(self.expected("`:` after the member name"));
            }
            self.skip_space();
            let value = self.value(depth)?;
            let earlier = if members.len() < INDEXED_FROM {
                members.iter().position(|(n, _)| *n == name)
            } else {
                if index.is_empty() {
                    index = members.iter().enumerate().map(|(i, (n, _))| (n.clone(), i)).collect();
                }
                let place = *index.entry(name.clone()).or_insert(members.len());
                (place < members.len()).then_some(place)
            };
            match earlier {
                Some(place) => members[place].1 = value,
                None => members.push((name, value)),
            }
            self.skip_space();
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `}`"));
            }
            self.skip_space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, BadJson> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.expected("`,` or `]`"));
            }
            self.skip_space();
        }
    }

    /// Passes over the bracket that opens a container, and the space after it.
    fn enter(&mut self, depth: usize) -> Result<(), BadJson> {
        if depth > self.limits.max_depth {
            return Err(BadJson::TooDeep {
                at: self.position(self.at),
                limit: self.limits.max_depth,
            });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn number(&mut self) -> Result<Json, BadJson> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.expected("a digit"));
        }
        if self.take(b'.') && self.digits() == 0 {
            return Err(self.expected("a digit after the decimal point"));
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.expected("a digit in the exponent"));
            }
        }
        Ok(Json::Number(self.text[start..self.at].into()))
    }

    /// Passes over digits and returns how many there were.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, BadJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.expected("a value"))
        }
    }

    /// A string; the next byte is its opening quote.
    fn string(&mut self) -> Result<String, BadJson> {
        self.at += 1;
        let mut out = String::new();
        loop {
            // Quote, backslash and control characters are ASCII, so the slice between them
            // starts and ends at a character.
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            let Some(plain) = plain else {
                self.at = self.text.len();
                return Err(self.expected("`\"` at the end of the string"));
            };
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return Err(self.expected("an escape such as \\n for a control character")),
            }
        }
    }

    /// An escape; the next byte is its backslash.
    fn escape(&mut self) -> Result<char, BadJson> {
        let start = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(start);
            }
            _ => return Err(self.expected("one of \"\\/bfnrtu after the backslash")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The rest of a `\u` escape that began at `start`, its second half included.
    fn unicode_escape(&mut self, start: usize) -> Result<char, BadJson> {
        let unit = self.hex4()?;
        let lone = |parser: &Self, at: usize, unit: u16| BadJson::LoneSurrogate {
            at: parser.position(at),
            unit,
        };
        if !(0xd800..=0xdfff).contains(&unit) {
            return char::from_u32(u32::from(unit)).ok_or_else(|| lone(self, start, unit));
        }
        if unit >= 0xdc00 || !self.text[self.at..].starts_with("\\u") {
            return Err(lone(self, start, unit));
        }
        self.at += 2;
        let second = self.hex4()?;
        if !(0xdc00..=0xdfff).contains(&second) {
            return Err(lone(self, start, unit));
        }
        let code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(second) - 0xdc00);
        char::from_u32(code).ok_or_else(|| lone(self, start, unit))
    }

    fn hex4(&mut self) -> Result<u16, BadJson> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.expected("four hex digits after \\u"));
            };
            unit = unit * 16 + digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.at += 1;
        }
        there
    }

    fn expected(&self, expected: &'static str) -> BadJson {
        BadJson::Syntax { at: self.position(self.at), expected }
    }

    fn position(&self, offset: usize) -> Position {
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
