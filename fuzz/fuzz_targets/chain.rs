//! A presented chain from anyone: parsed, walked, matched and validated up to each of its own
//! certificates, never a panic.
//!
//! The input is a list of certificates, each after its length in two big-endian bytes.
#![no_main]

use std::collections::HashSet;

use attest::chain::{self, Limits, Presented};
use libfuzzer_sys::fuzz_target;
use model::{CertificateDer, Slots, Timestamp};

fuzz_target!(|input: &[u8]| {
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
    let now = Timestamp::from_unix_secs(1_767_225_600);
    let stored: Vec<_> =
        sent.iter().filter_map(|one| attest::certificate::describe(&one.0).ok()).collect();
    let stored: Vec<_> = stored.iter().collect();
    let _ = presented.leaf_common_name();
    let _ = chain::walk(&presented, &stored);
    for anchor in &stored {
        let _ = chain::validate(&presented, &stored, anchor, &HashSet::new(), now);
        let slots = Slots { primary: Some((*anchor).clone()), secondary: None };
        let _ = chain::match_thumbprint(&presented, &slots, now);
    }
});
