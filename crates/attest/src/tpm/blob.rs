//! The activation blob: six structures one after the other, without a header of its own.

use super::{MAX_DATA_BYTES, public::Reader};

/// The largest blob, in bytes: two SASL challenges can carry no more (D §3.3).
pub const MAX_BLOB_BYTES: usize = FIXED_BYTES + MAX_DATA_BYTES;

/// The sizes of the first five parts, lengths included, for RSA-2048 keys (D appendix A.1).
const SIZES: [usize; 5] = [54, 258, 144, 258, 50];

/// All but the data itself: the five parts and the data's length.
const FIXED_BYTES: usize = 54 + 258 + 144 + 258 + 50 + 2;

/// Takes a blob apart into its six parts, each with its two bytes of length, as a TPM's commands
/// want them: TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET of the credential, TPM2B_PRIVATE,
/// TPM2B_ENCRYPTED_SECRET of the duplicate, TPM2B_PUBLIC, TPM2B_DATA.
///
/// Nothing unless all have exactly the sizes of a blob for RSA-2048 keys, the last 1 to
/// [`MAX_DATA_BYTES`] after its length, and nothing follows. What is in them stays sealed, so it
/// is not looked at.
///
/// Source: D appendix A.1.
#[must_use]
pub fn split(blob: &[u8]) -> Option<[&[u8]; 6]> {
    let mut reader = Reader { rest: blob };
    let mut parts: [&[u8]; 6] = [&[]; 6];
    for (i, part) in parts.iter_mut().enumerate() {
        let before = reader.rest;
        let n_content = reader.sized()?.len();
        let right = match SIZES.get(i) {
            Some(size) => n_content + 2 == *size,
            None => (1..=MAX_DATA_BYTES).contains(&n_content),
        };
        if !right {
            return None;
        }
        *part = before.get(..n_content + 2)?;
    }
    reader.rest.is_empty().then_some(parts)
}

/// A TPM2B: the length of these bytes in two bytes, then the bytes.
pub(super) fn sized(parts: &[&[u8]]) -> Vec<u8> {
    let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(n_bytes <= usize::from(u16::MAX), "no structure of a blob is that long");
    let [.., high, low] = n_bytes.to_be_bytes();
    let mut bytes = Vec::with_capacity(n_bytes + 2);
    bytes.extend_from_slice(&[high, low]);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}
