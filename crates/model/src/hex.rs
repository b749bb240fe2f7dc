//! Bytes as hex digits, without anything between them. What reads them lives with what they mean.

use std::fmt::Write as _;

/// Upper-case hex, as thumbprints are shown.
#[must_use]
pub fn upper(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// Lower-case hex.
#[must_use]
pub fn lower(bytes: &[u8]) -> String {
    lower_after("", bytes)
}

/// Lower-case hex after a prefix, as keys have it.
#[must_use]
pub fn lower_after(prefix: &str, bytes: &[u8]) -> String {
    let digits = bytes.len().saturating_mul(2);
    let mut text = String::with_capacity(prefix.len().saturating_add(digits));
    text.push_str(prefix);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        let bytes = [0x00, 0x0a, 0xa0, 0xff];
        assert_eq!(upper(&bytes), "000AA0FF");
        assert_eq!(lower(&bytes), "000aa0ff");
        assert_eq!(lower_after("sha256:", &bytes), "sha256:000aa0ff");
        assert_eq!(lower_after("sha256:", &[]), "sha256:");
    }
}
