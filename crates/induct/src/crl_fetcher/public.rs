//! Which addresses anybody on the Internet may ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is public: neither this machine's, nor one of a private or local network, nor
/// of the ranges that are kept for something else. An IPv4 address inside an IPv6 one counts as
/// itself.
///
/// Source: the IANA registries of special-purpose addresses (RFC 6890).
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // This network; what carriers share; protocols; relays of old; benchmarks; reserved.
        || a == 0
        || (a == 100 && b & 0xC0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xFE == 18)
        || a >= 240;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, .., y, z] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // NAT64 and 6to4 hold an IPv4 address.
        (0x64, 0xFF9B) => c == 0 && v4(y, z),
        (0x2002, _) => v4(b, c),
        // Teredo, benchmarks and others; documentation, twice.
        (0x2001, 0..=0x01FF | 0x0DB8) | (0x3FFF, 0..=0x0FFF) => false,
        // Nothing else was ever given out.
        _ => a & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_everybody_is_not_public() {
        let check = |expected: bool, addresses: &[&str]| {
            for address in addresses {
                let parsed = address.parse().expect("an address");
                assert_eq!(is_public(parsed), expected, "{address}");
            }
        };
        check(
            true,
            &["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "198.20.0.1", "192.0.1.1"],
        );
        check(true, &["2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]);
        check(false, &["127.0.0.1", "127.8.8.8", "10.1.2.3", "172.16.0.1", "172.31.255.255"]);
        check(false, &["192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3"]);
        check(false, &["192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9"]);
        check(false, &["224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"]);
        check(false, &["::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1"]);
        check(false, &["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"]);
        check(false, &["64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2001::1"]);
        check(false, &["2001:db8::1", "3fff::1", "100::1"]);
    }
}
