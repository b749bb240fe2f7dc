//! A TPM's public key from anyone: read or refused, never a panic. What is read is kept as it
//! came, and a key can be wrapped for it.
#![no_main]

use std::sync::LazyLock;

use attest::tpm::{EndorsementKey, MAX_KEY_BYTES, StorageRootKey, WrapRandom, split, wrap};
use libfuzzer_sys::fuzz_target;

/// Keys of a real TPM, as partners for the ones that come.
static PARTNERS: LazyLock<(EndorsementKey, StorageRootKey)> = LazyLock::new(|| {
    let ek = include_bytes!("../../fixtures/tpm/swtpm/endorsement-key.tpm2b");
    let srk = include_bytes!("../../fixtures/tpm/swtpm/storage-root-key.tpm2b");
    (EndorsementKey::parse(ek).expect("a key"), StorageRootKey::parse(srk).expect("a key"))
});

fn wraps(ek: &EndorsementKey, srk: &StorageRootKey) {
    let random = WrapRandom {
        inner: [1; 16],
        identity_seed: [2; 32],
        duplication_seed: [3; 32],
        obfuscation: [4; 32],
    };
    let blob = wrap(ek, srk, &[5; 32], b"data", &random).expect("a key that was read can be used");
    assert!(split(&blob).is_some());
}

fuzz_target!(|input: &[u8]| {
    match EndorsementKey::parse(input) {
        Ok(key) => {
            assert_eq!(key.bytes(), input);
            assert_eq!((key.rsa_modulus().len(), key.registration_id().len()), (256, 52));
            wraps(&key, &PARTNERS.1);
        }
        Err(bad) => assert!(bad.to_string().len() < 256),
    }
    match StorageRootKey::parse(input) {
        Ok(key) => {
            assert_eq!(key.bytes(), input);
            wraps(&PARTNERS.0, &key);
        }
        Err(bad) => assert!(bad.to_string().len() < 256),
    }
    if input.len() > MAX_KEY_BYTES {
        assert!(EndorsementKey::parse(input).is_err() && StorageRootKey::parse(input).is_err());
    }
});
