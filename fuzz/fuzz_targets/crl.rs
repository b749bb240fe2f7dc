//! A revocation list from anyone: read or refused, never a panic. What is read is bounded, and no
//! list counts without its CA's signature.
#![no_main]

use std::sync::LazyLock;

use attest::{certificate, crl::Unverified};
use libfuzzer_sys::fuzz_target;
use model::{EnrolledCertificate, Timestamp, crl::MAX_SERIAL_BYTES};

/// A CA whose key nobody has.
static CA: LazyLock<EnrolledCertificate> = LazyLock::new(|| {
    let pem = include_str!("../../fixtures/crls/ca.pem");
    let der = wire::pem::certificate(pem).expect("a certificate");
    certificate::describe(&der).expect("a certificate")
});

/// The list that this CA did sign.
const SIGNED: &[&[u8]] = &[
    include_bytes!("../../fixtures/crls/complete.crl"),
    include_bytes!("../../fixtures/crls/devices.crl"),
    include_bytes!("../../fixtures/crls/version-1.crl"),
];

fuzz_target!(|input: &[u8]| {
    let Ok(list) = Unverified::read(input) else {
        return;
    };
    assert!(list.issuer_name().len() <= 4 * 128);
    if let Ok(contents) = list.clone().contents() {
        let revoked = &contents.revoked;
        assert!(revoked.len() <= input.len());
        for serial in revoked.iter() {
            assert!(serial.len() <= MAX_SERIAL_BYTES && revoked.contains(serial));
        }
    }
    let now = Timestamp::from_unix_secs(1_767_225_600);
    if list.verify(&CA, now).is_ok() {
        assert!(SIGNED.contains(&input));
    }
});
