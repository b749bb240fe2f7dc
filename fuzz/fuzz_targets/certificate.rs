//! One certificate from anyone: taken apart, described, never a panic.
#![no_main]

use attest::certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    let described = certificate::describe(der);
    let _ = certificate::common_names(der);
    let ca = certificate::is_ca(der);
    // The three agree on what is a certificate.
    assert_eq!(described.is_ok(), ca.is_ok());
});
