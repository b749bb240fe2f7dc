//! Symmetric keys: compared in constant time, erased after use, never printed.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// A symmetric key of 16 to 64 bytes, with the base64 text it was given in (which is echoed
/// byte for byte, H §2.4).
#[derive(Clone)]
pub struct SymmetricKey {
    text: Zeroizing<String>,
    bytes: Zeroizing<Vec<u8>>,
}

/// Why a text is not a symmetric key. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKey {
    /// The text is not standard base64.
    #[error("a symmetric key must be base64")]
    NotBase64,
    /// The decoded key has a length outside 16 to 64 bytes.
    #[error("a symmetric key must have 16 to 64 bytes, this one has {0}")]
    Length(usize),
}

impl SymmetricKey {
    /// Parses base64 of 16 to 64 bytes.
    ///
    /// # Errors
    /// [`BadKey`], which says what is wrong and never holds the key.
    ///
    /// Source: D §0.6, H §2.4.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        if text.len() > 128 {
            return Err(BadKey::Length(text.len() / 4 * 3));
        }
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| BadKey::NotBase64)?);
        if !(16..=64).contains(&bytes.len()) {
            return Err(BadKey::Length(bytes.len()));
        }
        Ok(Self { text: Zeroizing::new(text.to_owned()), bytes })
    }

    /// A key from bytes that were generated or derived; 16 to 64 of them.
    ///
    /// # Errors
    /// [`BadKey::Length`] for any other number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        if !(16..=64).contains(&bytes.len()) {
            return Err(BadKey::Length(bytes.len()));
        }
        Ok(Self {
            text: Zeroizing::new(STANDARD.encode(bytes)),
            bytes: Zeroizing::new(bytes.to_vec()),
        })
    }

    /// A generated key: the 64 random bytes, which always fit.
    #[must_use]
    pub fn generated(random: &[u8; 64]) -> Self {
        Self {
            text: Zeroizing::new(STANDARD.encode(random)),
            bytes: Zeroizing::new(random.to_vec()),
        }
    }

    /// A derived key: the 32 bytes of an HMAC-SHA256, which always fit.
    #[must_use]
    pub fn derived(mac: &[u8; 32]) -> Self {
        Self { text: Zeroizing::new(STANDARD.encode(mac)), bytes: Zeroizing::new(mac.to_vec()) }
    }

    /// The base64 text, for the answers that may show it (O §1.8) and for the store.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The key itself, for computing with it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for SymmetricKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl Eq for SymmetricKey {}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(secret)")
    }
}

/// A primary and a secondary key, so that one can be rolled while the other works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymmetricKeys {
    /// The first key tried.
    pub primary: SymmetricKey,
    /// The second key tried.
    pub secondary: SymmetricKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let key = SymmetricKey::parse("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("key");
        assert_eq!(format!("{key:?}"), "SymmetricKey(secret)");
    }

    #[test]
    fn keys_outside_16_to_64_bytes_or_not_base64_are_refused() {
        assert_eq!(SymmetricKey::parse("????"), Err(BadKey::NotBase64));
        assert_eq!(SymmetricKey::parse("AAAA"), Err(BadKey::Length(3)));
        assert_eq!(SymmetricKey::from_bytes(&[0; 65]), Err(BadKey::Length(65)));
        assert!(SymmetricKey::from_bytes(&[0; 64]).is_ok());
    }
}
