//! Percent escapes of path segments and token members.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

/// All but letters, digits and `-._~` (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A percent escape is cut off or not hex, or what is escaped is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an illegal percent escape, or one of bytes that are not UTF-8")]
pub struct BadEscape;

/// Decodes a text once. `+` stays `+`.
///
/// # Errors
/// [`BadEscape`]; a `%` that starts no escape is an error, not itself.
pub fn decode(text: &str) -> Result<String, BadEscape> {
    let bytes = text.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        match bytes.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(BadEscape),
        }
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| BadEscape)?;
    Ok(decoded.into_owned())
}

/// Encodes all but letters, digits and `-._~`, with upper-case hex.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_either_case_are_decoded_once() {
        assert_eq!(decode("Dev%3a01%2F%253A+x").as_deref(), Ok("Dev:01/%3A+x"));
    }

    #[test]
    fn broken_escapes_are_errors() {
        for bad in ["%", "a%2", "%zz", "%c3", "%%41", "%+1"] {
            assert_eq!(decode(bad), Err(BadEscape), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(text: String) {
            proptest::prop_assert_eq!(decode(&encode(&text)), Ok(text));
        }

        #[test]
        fn decoding_never_panics(text: String) {
            let _ = decode(&text);
        }
    }
}
