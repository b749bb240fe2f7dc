//! JSON text from anyone: parsed within limits, never a panic; what is printed again parses to
//! the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = json::parse_bytes(bytes) {
        assert_eq!(json::parse(&value.to_string()), Ok(value));
    }
});
