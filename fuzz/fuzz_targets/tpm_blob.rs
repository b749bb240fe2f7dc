//! What else comes along with a TPM, from anyone: an activation blob taken apart, the endorsement
//! key's certificates checked; never a panic.
//!
//! The input is read twice: as a blob; and as a list of certificates, each after its length in two
//! big-endian bytes, of which each is also tried as the vendor's.
#![no_main]

use std::sync::LazyLock;

use attest::{
    chain::{Limits, Presented},
    tpm::{EndorsementKey, MAX_BLOB_BYTES, certificate_key_matches, check_endorsement, split},
};
use libfuzzer_sys::fuzz_target;
use model::{AttestFailure, CertificateDer, Timestamp};

static EK: LazyLock<EndorsementKey> = LazyLock::new(|| {
    let ek = include_bytes!("../../fixtures/tpm/swtpm/endorsement-key.tpm2b");
    EndorsementKey::parse(ek).expect("a key")
});

fuzz_target!(|input: &[u8]| {
    if let Some(parts) = split(input) {
        assert_eq!(parts.concat(), input);
        assert!(input.len() <= MAX_BLOB_BYTES);
    }

    let mut rest = input;
    let mut sent = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let (der, tail) = tail.split_at(length);
        sent.push(CertificateDer(der.to_vec()));
        rest = tail;
    }
    let Ok(presented) = Presented::parse(&sent, &Limits::default()) else {
        return;
    };
    // 2027-01-15, when the seeds' certificates are valid.
    let now = Timestamp::from_unix_secs(1_800_000_000);
    let known: Vec<_> =
        sent.iter().filter_map(|one| attest::certificate::describe(&one.0).ok()).collect();
    let known: Vec<_> = known.iter().collect();
    let matches = certificate_key_matches(&presented, &EK);
    match check_endorsement(&presented, &EK, &known, now) {
        Ok(()) => assert!(matches),
        Err(AttestFailure::NotEndorsed(_) | AttestFailure::TooLarge(_)) => {}
        Err(other) => panic!("another failure: {other}"),
    }
    assert!(check_endorsement(&presented, &EK, &[], now).is_err());
});
