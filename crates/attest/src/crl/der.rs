//! DER, element by element, without a copy: a list may have a million entries.
//!
//! The library reads the header of each element; what is added is the demand for certain tags.

use x509_parser::asn1_rs::{Any, Class, FromDer};

/// What is not DER as it should be; the text goes on “it is not a DER revocation list: …”.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad(pub(super) &'static str);

/// A tag with its class and whether it is constructed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    class: Class,
    number: u32,
    constructed: bool,
}

impl Tag {
    pub(super) const BOOLEAN: Self = Self::universal(1, false);
    pub(super) const INTEGER: Self = Self::universal(2, false);
    const BIT_STRING: Self = Self::universal(3, false);
    pub(super) const OCTET_STRING: Self = Self::universal(4, false);
    pub(super) const OID: Self = Self::universal(6, false);
    pub(super) const ENUMERATED: Self = Self::universal(10, false);
    pub(super) const SEQUENCE: Self = Self::universal(16, true);
    pub(super) const UTC_TIME: Self = Self::universal(23, false);
    pub(super) const GENERALIZED_TIME: Self = Self::universal(24, false);

    const fn universal(number: u32, constructed: bool) -> Self {
        Self { class: Class::Universal, number, constructed }
    }

    /// A tag of its place, around something.
    pub(super) const fn context(number: u32) -> Self {
        Self { class: Class::ContextSpecific, number, constructed: true }
    }

    /// Its number, if it is one of its place.
    pub(super) fn place(self) -> Option<u32> {
        (self.class == Class::ContextSpecific).then_some(self.number)
    }
}

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    /// Header and contents.
    pub(super) whole: &'a [u8],
    pub(super) contents: &'a [u8],
}

/// Reads elements, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> Result<(), Bad> {
        if self.is_at_end() { Ok(()) } else { Err(Bad("something follows where it should end")) }
    }

    /// The next element, whatever it is.
    pub(super) fn next(&mut self) -> Result<Element<'a>, Bad> {
        let (rest, any) = Any::from_der(self.rest).map_err(|_| Bad("an element is malformed"))?;
        let length = self.rest.len() - rest.len();
        let whole = self.rest.get(..length).unwrap_or_default();
        let tag = Tag {
            class: any.header.class(),
            number: any.header.tag().0,
            constructed: any.header.constructed(),
        };
        self.rest = rest;
        Ok(Element { tag, whole, contents: any.data })
    }

    /// The next element, which has this tag.
    pub(super) fn element(&mut self, tag: Tag) -> Result<Element<'a>, Bad> {
        self.optional(tag)?.ok_or(Bad("an element is missing, or of another kind"))
    }

    /// The next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: Tag) -> Result<Option<Element<'a>>, Bad> {
        if self.is_at_end() {
            return Ok(None);
        }
        let mut ahead = self.clone();
        let element = ahead.next()?;
        if element.tag != tag {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(element))
    }

    /// What is in the next element, a sequence.
    pub(super) fn sequence(&mut self) -> Result<Self, Bad> {
        Ok(Self::new(self.element(Tag::SEQUENCE)?.contents))
    }

    /// The bits of the next element, whole bytes of them.
    pub(super) fn bits(&mut self) -> Result<&'a [u8], Bad> {
        match self.element(Tag::BIT_STRING)?.contents {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(Bad("a signature is no whole number of bytes")),
        }
    }
}
