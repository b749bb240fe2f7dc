//! A shared access signature from anyone: taken apart, never a panic; what it is taken apart into
//! stood in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::sas;

fuzz_target!(|text: &str| {
    if let Ok(token) = sas::parse(text) {
        assert!(text.contains(&format!("sr={}", token.resource_raw)));
        assert!(text.contains(&format!("se={}", token.expiry_raw)));
    }
});
