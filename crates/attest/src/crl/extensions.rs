//! What the extensions of a list and of its entries say about how far it can be believed.

use std::collections::HashSet;

use model::{CrlNumber, hex};

use super::{
    BadCrl,
    der::{Reader, Tag},
};
use crate::certificate;

/// `id-ce`, 2.5.29: what the DER of the extensions that we know begins with.
const ID_CE: [u8; 2] = [0x55, 0x1D];

const REASON_CODE: u8 = 21;
const CRL_NUMBER: u8 = 20;
const DELTA_CRL_INDICATOR: u8 = 27;
const ISSUING_DISTRIBUTION_POINT: u8 = 28;
const CERTIFICATE_ISSUER: u8 = 29;

/// `removeFromCRL`: only deltas have it (RFC 5280 §5.3.1).
const REMOVE_FROM_CRL: u8 = 8;

/// The longest number of a list, in bytes: 20, and one that is zero for the sign.
const MAX_NUMBER_BYTES: usize = 21;

/// What a list says of its place among the CA's lists.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) number: Option<CrlNumber>,
    /// SHA-256 of the extension's value.
    pub(super) distribution_point: Option<[u8; 32]>,
}

struct Extension<'a> {
    /// The contents of the DER of its identifier.
    id: &'a [u8],
    is_critical: bool,
    value: &'a [u8],
}

impl Extension<'_> {
    /// The number below `id-ce`, if it is one of those.
    fn number(&self) -> Option<u8> {
        match *self.id {
            [first, second, number] if [first, second] == ID_CE => Some(number),
            _ => None,
        }
    }

    /// One that we do not process must not be ignored when it is marked critical (RFC 5280 §5.2).
    fn check_ignored(&self) -> Result<(), BadCrl> {
        if !self.is_critical {
            return Ok(());
        }
        let id = match self.number() {
            Some(number) => format!("2.5.29.{number}"),
            None => format!(
                "with the identifier (DER) {}",
                hex::upper(self.id.get(..16).unwrap_or(self.id))
            ),
        };
        Err(BadCrl::Unfit(format!("its critical extension {id} is not known")))
    }
}

/// Reads the extensions of a list.
pub(super) fn of_list(extensions: Reader<'_>) -> Result<Scope, BadCrl> {
    let mut scope = Scope::default();
    for_each(extensions, |extension| {
        match extension.number() {
            Some(CRL_NUMBER) => scope.number = Some(number(extension.value)?),
            Some(DELTA_CRL_INDICATOR) => {
                return Err(BadCrl::Unfit(
                    "it is a delta list, which only says what changed since another one; import \
                     the CA's complete list"
                        .to_owned(),
                ));
            }
            Some(ISSUING_DISTRIBUTION_POINT) => {
                check_distribution_point(extension.value)?;
                scope.distribution_point = Some(certificate::sha256(&[extension.value]));
            }
            _ => extension.check_ignored()?,
        }
        Ok(())
    })?;
    Ok(scope)
}

/// Checks the extensions of an entry.
pub(super) fn check_entry(extensions: Reader<'_>) -> Result<(), BadCrl> {
    for_each(extensions, |extension| match extension.number() {
        Some(REASON_CODE) => {
            let mut value = Reader::new(extension.value);
            let reason = value.element(Tag::ENUMERATED)?;
            value.end()?;
            if reason.contents == [REMOVE_FROM_CRL] {
                return Err(BadCrl::Unfit(
                    "an entry takes a revocation back, which only delta lists do".to_owned(),
                ));
            }
            Ok(())
        }
        Some(CERTIFICATE_ISSUER) => Err(indirect()),
        _ => extension.check_ignored(),
    })
}

fn for_each<'a>(
    mut extensions: Reader<'a>,
    mut take: impl FnMut(&Extension<'a>) -> Result<(), BadCrl>,
) -> Result<(), BadCrl> {
    let mut seen = HashSet::new();
    while !extensions.is_at_end() {
        let mut members = extensions.sequence()?;
        let id = members.element(Tag::OID)?.contents;
        let is_critical = match members.optional(Tag::BOOLEAN)? {
            None => false,
            Some(flag) => flag.contents != [0],
        };
        let value = members.element(Tag::OCTET_STRING)?.contents;
        members.end()?;
        if !seen.insert(id) {
            return Err(BadCrl::Unparsable("an extension is there twice"));
        }
        take(&Extension { id, is_critical, value })?;
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<CrlNumber, BadCrl> {
    let mut value = Reader::new(value);
    let number = value.element(Tag::INTEGER)?.contents;
    value.end()?;
    match number {
        [] => Err(BadCrl::Unparsable("its number is empty")),
        [first, ..] if *first >= 0x80 => Err(BadCrl::Unparsable("its number is negative")),
        long if long.len() > MAX_NUMBER_BYTES => {
            Err(BadCrl::Unparsable("its number has more than 20 bytes"))
        }
        number => Ok(CrlNumber::from_bytes(number)),
    }
}

/// The members by their places, RFC 5280 §5.2.5.
fn check_distribution_point(value: &[u8]) -> Result<(), BadCrl> {
    let mut value = Reader::new(value);
    let mut members = value.sequence()?;
    value.end()?;
    let mut is_named = false;
    while !members.is_at_end() {
        let member = members.next()?;
        let is_set = member.contents.iter().any(|byte| *byte != 0);
        match member.tag.place() {
            Some(0) => is_named = true,
            // About devices only. It is complete for them, and believed as far as it goes.
            Some(1) => {}
            Some(2) if is_set => {
                return Err(BadCrl::Unfit(
                    "it is about CAs only, and says nothing of devices; import the CA's complete \
                     list"
                        .to_owned(),
                ));
            }
            Some(3) => {
                return Err(BadCrl::Unfit(
                    "it covers some reasons for a revocation only; import the CA's complete list"
                        .to_owned(),
                ));
            }
            Some(4) if is_set => return Err(indirect()),
            Some(5) if is_set => {
                return Err(BadCrl::Unfit("it is about attribute certificates".to_owned()));
            }
            Some(2 | 4 | 5) => {}
            _ => return Err(BadCrl::Unparsable("its distribution point is malformed")),
        }
    }
    if is_named {
        // As far as it says: without the name it would be complete.
        return Err(BadCrl::Unfit(
            "it names its distribution point, so that it may be one of several parts of the CA's \
             list; import the CA's complete list"
                .to_owned(),
        ));
    }
    Ok(())
}

fn indirect() -> BadCrl {
    BadCrl::Unfit(
        "it is an indirect list, which speaks for several CAs; import the list that the CA signs \
         itself"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_a_part_is_not_taken_for_the_whole() {
        let check = |members: &[u8], expected: Option<&str>| {
            let length = u8::try_from(members.len()).expect("short");
            let value = [&[0x30, length], members].concat();
            match (check_distribution_point(&value), expected) {
                (Ok(()), None) => {}
                (Err(bad), Some(text)) => assert!(bad.to_string().contains(text), "{bad}"),
                (outcome, expected) => panic!("{members:02X?}: {outcome:?} is not {expected:?}"),
            }
        };
        check(&[], None);
        // About devices only; and what is false is as if it were not there.
        check(&[0x81, 1, 0xFF], None);
        check(&[0x82, 1, 0], None);
        check(&[0x82, 1, 0xFF], Some("about CAs only"));
        // [0] { fullName [0] { URI "a" } }
        check(&[0xA0, 5, 0xA0, 3, 0x86, 1, b'a'], Some("one of several parts"));
        check(&[0x83, 2, 1, 2], Some("some reasons"));
        check(&[0x84, 1, 0xFF], Some("indirect"));
        check(&[0x85, 1, 0xFF], Some("attribute certificates"));
        check(&[0x86, 1, 0xFF], Some("malformed"));
    }
}
