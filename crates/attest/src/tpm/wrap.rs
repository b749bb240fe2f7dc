//! Wrapping a key so that one TPM can take it out, and no one else.

use std::fmt;

use aws_lc_rs::{
    cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest, hmac,
    iv::FixedLength,
    rsa::{
        OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
    },
};
use model::TpmRandom;

use super::{BadTpmKey, EndorsementKey, StorageRootKey, blob::sized};

/// The most data that goes along with a wrapped key, in bytes: with more, the blob would not fit
/// into two SASL challenges (D appendix A.1).
pub const MAX_DATA_BYTES: usize = 206;

/// RSA's public exponent, big-endian: 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// The random bytes of one wrapping. Secret until the blob has been used, and for one blob only.
#[derive(Clone)]
pub struct WrapRandom {
    /// The inner wrap key, which ActivateCredential yields.
    pub inner: [u8; 16],
    /// The seed that protects the credential.
    pub identity_seed: [u8; 32],
    /// The seed that protects the duplicate.
    pub duplication_seed: [u8; 32],
    /// What blinds the key in its public name (`seedValue`).
    pub obfuscation: [u8; 32],
}

/// Prints nothing of the bytes.
impl fmt::Debug for WrapRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrapRandom(secret)")
    }
}

impl From<&TpmRandom> for WrapRandom {
    fn from(random: &TpmRandom) -> Self {
        Self {
            inner: random.inner,
            identity_seed: random.identity_seed,
            duplication_seed: random.duplication_seed,
            obfuscation: random.obfuscation,
        }
    }
}

/// Wraps a key for the TPM that has both of these keys: makes the activation blob, at most
/// [`MAX_BLOB_BYTES`](super::MAX_BLOB_BYTES).
///
/// The TPM takes it out with ActivateCredential and Import and can then sign with `key`
/// (HMAC-SHA-256), but no one can read it there. `data` is 1 to [`MAX_DATA_BYTES`] bytes that go
/// along, encrypted with the inner wrap key; no client looks at them, but one decrypts them.
///
/// The random bytes are arguments, with one exception: the padding of RSA (OAEP) is drawn inside
/// the library. Two calls with the same arguments give blobs that differ in the two encrypted
/// seeds (parts 2 and 4), and mean the same.
///
/// # Errors
/// [`BadTpmKey::Data`] for data that is empty or too long; [`BadTpmKey::Unusable`] if the library
/// refuses to compute with the keys.
///
/// Source: D appendix A.3; TPM 2.0 Library, part 1, §24 (credential protection) and §23
/// (duplication with inner and outer wrapper).
pub fn wrap(
    ek: &EndorsementKey,
    srk: &StorageRootKey,
    key: &[u8; 32],
    data: &[u8],
    random: &WrapRandom,
) -> Result<Vec<u8>, BadTpmKey> {
    if data.is_empty() || data.len() > MAX_DATA_BYTES {
        return Err(BadTpmKey::Data { size_bytes: data.len() });
    }

    // Parts 1 and 2, TPM2_MakeCredential: the inner wrap key for whoever has both keys.
    let srk_name = name(srk.area());
    let inner = sized(&[&random.inner]);
    let credential = protect(&random.identity_seed, &srk_name, inner)?;
    let credential_seed = encrypt_seed(ek.rsa_modulus(), &random.identity_seed, b"IDENTITY\0")?;

    // Part 5: what the TPM will show of the key.
    let unique = sha256(&[&random.obfuscation, key]);
    let public = [KEYED_HASH_PUBLIC, &sized(&[&unique])].concat();
    let key_name = name(&public);

    // Parts 3 and 4, TPM2_Duplicate: the key itself, wrapped twice.
    let sensitive = sized(&[
        &ALG_KEYEDHASH.to_be_bytes(),
        &sized(&[]), // no authorization value
        &sized(&[&random.obfuscation]),
        &sized(&[key]),
    ]);
    let integrity = sized(&[&sha256(&[&sensitive, &key_name])]);
    let inner_wrapped = cfb(&random.inner, [integrity, sensitive].concat())?;
    let duplicate = protect(&random.duplication_seed, &key_name, inner_wrapped)?;
    let duplicate_seed = encrypt_seed(srk.rsa_modulus(), &random.duplication_seed, b"DUPLICATE\0")?;

    let data = sized(&[&cfb(&random.inner, data.to_vec())?]);
    Ok([credential, credential_seed, duplicate, duplicate_seed, sized(&[&public]), data].concat())
}

const ALG_KEYEDHASH: u16 = 0x0008;

/// The public area of a signing key up to its `unique` member: keyed hash, names by SHA-256;
/// sign, noDA and userWithAuth; no policy; HMAC with SHA-256. As in a genuine blob (D appendix
/// A.1).
const KEYED_HASH_PUBLIC: &[u8] =
    &[0x00, 0x08, 0x00, 0x0B, 0x00, 0x04, 0x04, 0x40, 0x00, 0x00, 0x00, 0x05, 0x00, 0x0B];

/// The protection that credentials and duplicates have in common: encrypted with one key made
/// from the seed and the name, authenticated with another made from the seed.
fn protect(seed: &[u8; 32], name: &[u8; 34], plain: Vec<u8>) -> Result<Vec<u8>, BadTpmKey> {
    let encrypted = cfb(&storage_key(seed, name), plain)?;
    let mac = hmac_sha256(&kdfa(seed, "INTEGRITY", &[], 256), &[&encrypted, name]);
    Ok(sized(&[&sized(&[&mac]), &encrypted]))
}

fn storage_key(seed: &[u8; 32], name: &[u8; 34]) -> [u8; 16] {
    let block = kdfa(seed, "STORAGE", name, 128);
    let mut key = [0; 16];
    // The first 128 bits; the zip keeps a panic out of the question.
    for (to, from) in key.iter_mut().zip(block) {
        *to = from;
    }
    key
}

/// The first block of KDFa: SP 800-108 in counter mode with HMAC-SHA-256. At most 256 bits, so
/// one block is enough; fewer are its beginning. The zero byte ends the label.
fn kdfa(key: &[u8; 32], label: &str, context: &[u8], bits: u32) -> [u8; 32] {
    debug_assert!(bits <= 256, "one block has 256 bits");
    let counter = 1_u32.to_be_bytes();
    hmac_sha256(key, &[&counter, label.as_bytes(), &[0], context, &bits.to_be_bytes()])
}

/// A TPM2B_ENCRYPTED_SECRET: a seed for the holder of an RSA key. The label's zero byte counts.
fn encrypt_seed(modulus: &[u8], seed: &[u8; 32], label: &[u8]) -> Result<Vec<u8>, BadTpmKey> {
    let key: PublicEncryptingKey = PublicKeyComponents { n: modulus, e: &EXPONENT[..] }
        .try_into()
        .map_err(|_| BadTpmKey::Unusable)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| BadTpmKey::Unusable)?;
    let mut room = vec![0; key.ciphertext_size()];
    let secret = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, seed, &mut room, Some(label))
        .map_err(|_| BadTpmKey::Unusable)?;
    Ok(sized(&[secret]))
}

/// AES-128 in CFB mode over whole blocks, from an initial vector of zeros, as the format wants it.
/// Every key is used for one text, but the inner wrap key for two: the data, and a text that is
/// encrypted once more with a key of its own.
fn cfb(key: &[u8; 16], mut text: Vec<u8>) -> Result<Vec<u8>, BadTpmKey> {
    let iv = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    UnboundCipherKey::new(&AES_128, key)
        .and_then(EncryptingKey::cfb128)
        .and_then(|key| key.less_safe_encrypt(&mut text, iv))
        .map_err(|_| BadTpmKey::Unusable)?;
    Ok(text)
}

/// An object's name: the algorithm and hash of its public area.
fn name(public_area: &[u8]) -> [u8; 34] {
    let mut name = [0; 34];
    let hash = sha256(&[public_area]);
    // Two bytes and 32; the zip keeps a panic out of the question.
    for (to, from) in name.iter_mut().zip([0x00, 0x0B].into_iter().chain(hash)) {
        *to = from;
    }
    name
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    bytes_of(context.finish().as_ref())
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    bytes_of(context.sign().as_ref())
}

fn bytes_of(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    // Both have 32 bytes; the zip keeps a panic out of the question.
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = *from;
    }
    bytes
}
