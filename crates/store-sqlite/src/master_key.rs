//! The master key: what an operator keeps apart from the database.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{self, HMAC_SHA256},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;
use zeroize::Zeroizing;

/// The key that wraps the data keys of a database. Whoever has it and the database has every
/// secret in it; without it no secret of the database can be read again.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// A text is not a master key. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a master key must be 32 bytes, written as 64 hex digits or as base64")]
pub struct BadMasterKey;

impl MasterKey {
    /// Parses 32 bytes as 64 hex digits or as standard base64; white space around it is ignored,
    /// because it comes out of files.
    ///
    /// # Errors
    /// [`BadMasterKey`], which never holds the text.
    pub fn parse(text: &str) -> Result<Self, BadMasterKey> {
        let text = text.trim();
        let mut key = Zeroizing::new([0; 32]);
        if text.len() == 64 {
            let digits = text.as_bytes().as_chunks::<2>().0;
            for (byte, [high, low]) in key.iter_mut().zip(digits) {
                *byte = hex(*high)? << 4 | hex(*low)?;
            }
            return Ok(Self(key));
        }
        if text.len() > 64 {
            return Err(BadMasterKey);
        }
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| BadMasterKey)?);
        if bytes.len() != key.len() {
            return Err(BadMasterKey);
        }
        key.copy_from_slice(&bytes);
        Ok(Self(key))
    }

    /// A key of 32 bytes that were drawn at random.
    #[must_use]
    pub fn generate(random: [u8; 32]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// The key as 64 hex digits, for the file it is kept in and for nothing else.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = String::with_capacity(64);
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 0xf] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        Zeroizing::new(text)
    }

    /// What is stored to tell a wrong master key from a damaged database. It leads to no key.
    pub(crate) fn check_value(&self) -> [u8; 16] {
        let key = hmac::Key::new(HMAC_SHA256, self.bytes());
        let tag = hmac::sign(&key, b"induct master key check 1");
        let mut check = [0; 16];
        check.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        check
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

const fn hex(digit: u8) -> Result<u8, BadMasterKey> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadMasterKey),
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.bytes(), other.bytes()).is_ok()
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_read_as_hex_and_as_base64_and_never_printed() {
        let key = MasterKey::generate(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(MasterKey::parse(&key.reveal()), Ok(key.clone()));
        assert_eq!(MasterKey::parse(&key.reveal().to_uppercase()), Ok(key.clone()));
        let base64 = STANDARD.encode(key.bytes());
        assert_eq!(MasterKey::parse(&format!(" {base64}\r\n")), Ok(key.clone()));
        assert_eq!(format!("{key:?}"), "MasterKey(secret)");
        assert_ne!(key, MasterKey::generate([0; 32]));
    }

    #[test]
    fn what_has_not_32_bytes_is_no_master_key() {
        let long = "a".repeat(65);
        let not_hex = "g".repeat(64);
        for text in ["", "AAAA", "secret", &long, &not_hex, &"é".repeat(32)] {
            assert_eq!(MasterKey::parse(text), Err(BadMasterKey), "{text}");
        }
    }
}
