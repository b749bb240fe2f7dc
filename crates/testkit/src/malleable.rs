//! An ECDSA signature that is as good as another one, made without the key.

use model::CertificateDer;

/// The order of the curve P-256.
const ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

/// A certificate that a P-256 key signed, with the other signature (r, n − s) in place of (r, s):
/// the same certificate to whoever verifies it, with other thumbprints.
///
/// # Panics
/// For what is no such certificate.
#[must_use]
pub fn with_other_signature(der: &[u8]) -> CertificateDer {
    let (contents, _) = element(der);
    let (_, after_signed) = element(contents);
    let (_, after_algorithm) = element(after_signed);
    let (bits, _) = element(after_algorithm);
    // The first byte says that no bit of the last one is unused.
    let (numbers, _) = element(&bits[1..]);
    let (_, after_r) = element(numbers);
    let (s, _) = element(after_r);
    let r = &numbers[..numbers.len() - after_r.len()];
    let numbers = [r, &encoded(0x02, &positive(&complement(s)))].concat();
    let bits = [vec![0], encoded(0x30, &numbers)].concat();
    let kept = &contents[..contents.len() - after_algorithm.len()];
    CertificateDer(encoded(0x30, &[kept, &encoded(0x03, &bits)].concat()))
}

/// The contents of the first element, and what follows it.
fn element(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (head, length) = match bytes[1] {
        short @ 0..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(bytes[2])),
        _ => (4, usize::from(bytes[2]) << 8 | usize::from(bytes[3])),
    };
    bytes[head..].split_at(length)
}

fn encoded(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [.., high, low] = contents.len().to_be_bytes();
    let head = match (high, low) {
        (0, 0..=0x7F) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, contents].concat()
}

/// The order less this number.
fn complement(number: &[u8]) -> [u8; 32] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let mut padded = [0; 32];
    padded[32 - number.len()..].copy_from_slice(number);
    let mut difference = [0; 32];
    let mut borrow = false;
    for (to, (from, less)) in difference.iter_mut().zip(ORDER.iter().zip(padded)).rev() {
        let (once, first) = from.overflowing_sub(less);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        (*to, borrow) = (twice, first || second);
    }
    difference
}

/// Without needless zeros, and with the one that a positive number may need.
fn positive(number: &[u8; 32]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut bytes = number[zeros..].to_vec();
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        bytes.insert(0, 0);
    }
    bytes
}
