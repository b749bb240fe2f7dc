//! Random bytes that are the same on every run.

use aws_lc_rs::digest;
use model::{Fresh, TpmRandom};

/// The random bytes of one decision, made from a seed: equal seeds give equal bytes, different
/// seeds different ones.
#[must_use]
pub fn fresh(seed: u64) -> Fresh {
    Fresh {
        etag: bytes(seed, "etag"),
        operation: bytes(seed, "operation"),
        primary_key: bytes(seed, "primary key"),
        secondary_key: bytes(seed, "secondary key"),
        counter: u32::from_be_bytes(bytes(seed, "counter")),
        tpm: TpmRandom {
            key: bytes(seed, "TPM key"),
            inner: bytes(seed, "TPM inner wrap key"),
            identity_seed: bytes(seed, "TPM identity seed"),
            duplication_seed: bytes(seed, "TPM duplication seed"),
            obfuscation: bytes(seed, "TPM obfuscation"),
        },
    }
}

/// Bytes made from a seed and from what they are for: SHA-512 of both. At most 64.
#[must_use]
pub fn bytes<const N: usize>(seed: u64, purpose: &str) -> [u8; N] {
    const { assert!(N <= 64, "one SHA-512 has 64 bytes") };
    let mut text = seed.to_be_bytes().to_vec();
    text.extend_from_slice(purpose.as_bytes());
    let hash = digest::digest(&digest::SHA512, &text);
    let mut out = [0; N];
    out.copy_from_slice(&hash.as_ref()[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_bytes_and_each_field_has_its_own() {
        assert_eq!(fresh(7).primary_key, fresh(7).primary_key);
        assert_ne!(fresh(7).primary_key, fresh(8).primary_key);
        assert_ne!(fresh(7).primary_key, fresh(7).secondary_key);
        assert_ne!(fresh(7).etag, fresh(7).operation);
    }
}
