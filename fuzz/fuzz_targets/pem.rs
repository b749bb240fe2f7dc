//! A pasted certificate from anyone: DER or a refusal, never a panic, never a private key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::pem;

fuzz_target!(|text: &str| {
    if let Ok(der) = pem::certificate(text) {
        assert_eq!(der.first(), Some(&0x30));
        assert!(!text.contains("PRIVATE KEY-----"));
    }
});
