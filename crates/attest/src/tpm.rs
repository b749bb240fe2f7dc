//! Attestation with a TPM 2.0: its two keys read, a secret wrapped so that only that TPM can take
//! it out, the endorsement key's certificate checked.
//!
//! A device shows the public halves of its endorsement key and its storage root key. Both are
//! public and prove nothing. The proof is that the device signs with a key that was wrapped for
//! exactly these two ([`wrap`]); its signature is an ordinary one of [`sas`](crate::sas). What
//! deliberately does not live here: how the blob travels, how long a challenge lives, and which
//! enrollment decides.
//!
//! Source: D §5.5 and appendix A; TPM 2.0 Library, part 1 (“Credential Protection”, “Protected
//! Storage”) and part 2 (structures).

use std::fmt;

use subtle::ConstantTimeEq;
use thiserror::Error;

mod blob;
mod endorsement;
mod public;
mod wrap;

pub use blob::{MAX_BLOB_BYTES, split};
pub use endorsement::{certificate_key_matches, check_endorsement, endorsement_path};
pub use public::{EndorsementKey, MAX_KEY_BYTES, StorageRootKey};
pub use wrap::{MAX_DATA_BYTES, WrapRandom, wrap};

/// Whether two public keys, decoded, are the same bytes; in constant time, so that a stranger who
/// tries endorsement keys learns nothing from how long the answer takes.
#[must_use]
pub fn same_key(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

/// Which of a TPM's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TpmKeyRole {
    /// The endorsement key, which says which TPM it is.
    Endorsement,
    /// The storage root key, below which the TPM keeps what it is given.
    StorageRoot,
}

impl fmt::Display for TpmKeyRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endorsement => "endorsement key",
            Self::StorageRoot => "storage root key",
        })
    }
}

/// Why bytes are not a key of a TPM that a secret can be wrapped for, or why none can be wrapped.
///
/// Only keys made from the TCG's default templates for RSA with 2048 bits are supported, which is
/// what all of the vendor's clients make (D appendix A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadTpmKey {
    /// More bytes than such a key can have.
    #[error("the {role} has {size_bytes} bytes; a TPM2B_PUBLIC here has at most {MAX_KEY_BYTES}")]
    TooLong {
        /// Which key.
        role: TpmKeyRole,
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// It ends within its structure.
    #[error("the {role} is cut off: its structure goes on after its {size_bytes} bytes")]
    Cut {
        /// Which key.
        role: TpmKeyRole,
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// Bytes after the end of its structure.
    #[error("the {role} has bytes after the end of its structure, {n_bytes} of them")]
    TrailingBytes {
        /// Which key.
        role: TpmKeyRole,
        /// How many.
        n_bytes: usize,
    },
    /// Not an RSA key.
    #[error(
        "the {role} is {}; only RSA-2048 keys made from the TCG's default template are supported",
        key_type(*.found)
    )]
    Type {
        /// Which key.
        role: TpmKeyRole,
        /// The TPM_ALG_ID of its type.
        found: u16,
    },
    /// Its name is not made with SHA-256.
    #[error("the {role}'s name algorithm is 0x{found:04X}, wanted is 0x000B (SHA-256)")]
    NameAlgorithm {
        /// Which key.
        role: TpmKeyRole,
        /// The TPM_ALG_ID found.
        found: u16,
    },
    /// It may be used for something else than such a key may.
    #[error("the {role}'s attributes are 0x{found:08X}, the template wants 0x{wanted:08X}")]
    Attributes {
        /// Which key.
        role: TpmKeyRole,
        /// The TPMA_OBJECT found.
        found: u32,
        /// That of the template.
        wanted: u32,
    },
    /// Its use is authorized in another way than the template says.
    #[error(
        "the {role}'s authorization policy is not that of the template, {}",
        policy(*.role)
    )]
    Policy {
        /// Which key.
        role: TpmKeyRole,
    },
    /// Another symmetric algorithm protects what is kept below it.
    #[error(
        "the {role}'s symmetric algorithm is 0x{algorithm:04X}, 0x{key_bits:04X}, 0x{mode:04X} \
         (algorithm, key bits, mode), wanted is 0x0006, 0x0080, 0x0043 (AES-128-CFB)"
    )]
    Symmetric {
        /// Which key.
        role: TpmKeyRole,
        /// The TPM_ALG_ID of the cipher.
        algorithm: u16,
        /// The size of its keys in bits; 0 where there is no cipher.
        key_bits: u16,
        /// The TPM_ALG_ID of its mode; 0 where there is no cipher.
        mode: u16,
    },
    /// It is bound to one scheme.
    #[error("the {role}'s scheme is 0x{found:04X}, wanted is 0x0010 (none)")]
    Scheme {
        /// Which key.
        role: TpmKeyRole,
        /// The TPM_ALG_ID found.
        found: u16,
    },
    /// It does not have 2048 bits.
    #[error("the {role} is an RSA key of {found} bits, wanted are 2048")]
    KeyBits {
        /// Which key.
        role: TpmKeyRole,
        /// What it says of itself.
        found: u16,
    },
    /// Another public exponent.
    #[error("the {role}'s exponent is {found}, wanted is 65537, or 0 which stands for it")]
    Exponent {
        /// Which key.
        role: TpmKeyRole,
        /// The exponent found.
        found: u32,
    },
    /// The modulus does not have the size that the key says.
    #[error("the {role}'s modulus has {size_bytes} bytes, wanted are 256")]
    ModulusLength {
        /// Which key.
        role: TpmKeyRole,
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// The modulus is a smaller number than its size says.
    #[error("the {role}'s modulus begins with zero bits: it has fewer than 2048")]
    SmallModulus {
        /// Which key.
        role: TpmKeyRole,
    },
    /// The modulus is even, so it is no product of two large primes.
    #[error("the {role}'s modulus is even, so this is no RSA key")]
    EvenModulus {
        /// Which key.
        role: TpmKeyRole,
    },
    /// What goes along with a wrapped key is empty or too long.
    #[error("{size_bytes} bytes cannot go along with a wrapped key: 1 to {MAX_DATA_BYTES} can")]
    Data {
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// The cryptographic library refuses. No key that was read here is known to bring that about.
    #[error("the cryptographic library refuses to compute with this TPM's keys")]
    Unusable,
}

/// A key's type, for a message.
fn key_type(found: u16) -> String {
    match found {
        0x0008 => "a keyed hash (TPM_ALG_KEYEDHASH)".to_owned(),
        0x0023 => "an ECC key".to_owned(),
        0x0025 => "a symmetric key (TPM_ALG_SYMCIPHER)".to_owned(),
        other => format!("of the unknown type 0x{other:04X}"),
    }
}

/// What a template says of the policy, for a message.
const fn policy(role: TpmKeyRole) -> &'static str {
    match role {
        TpmKeyRole::Endorsement => {
            "837197674484…1469aa (PolicySecret of the endorsement hierarchy)"
        }
        TpmKeyRole::StorageRoot => "which has none",
    }
}

#[cfg(test)]
mod tests;
