//! The CAs that the machine trusts.

use std::path::Path;

/// Where systems keep their bundle of CAs, PEM: Debian and Alpine, Fedora, SUSE, BSD and macOS.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The machine's CAs, PEM: the first bundle there is. Empty on a machine without one; then only
/// the CAs of the configuration are trusted.
#[must_use]
pub fn system_roots() -> String {
    BUNDLES
        .iter()
        .find_map(|bundle| std::fs::read_to_string(Path::new(bundle)).ok())
        .unwrap_or_default()
}
