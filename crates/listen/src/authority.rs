//! Induct's own certificate authority, made at first start where the operator gives no certificate.
//!
//! One P-256 CA of ten years that may issue leaves only, and server certificates of 397 days (what the
//! strictest clients accept) for the names Induct is configured with. Clients are given the CA once; it
//! then vouches for every renewal. The files are the caller's to keep, and the CA key his to protect.

use std::fmt;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, RsaKeySize,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ListenError;

/// The subject of the CA.
const CA_NAME: &str = "Induct local CA";
const DAY_SECS: i64 = 24 * 60 * 60;
/// How long the CA lasts.
const CA_SECS: i64 = 3_650 * DAY_SECS;
/// How long a server certificate lasts, back-dating included.
const SERVER_SECS: i64 = 397 * DAY_SECS;
/// Certificates begin this long before they are made, for clients whose clock is behind.
const BACK_DATE_SECS: i64 = 5 * 60;
/// A server certificate with less than this left no longer [`covers`] anything.
const RENEW_SECS: i64 = 30 * DAY_SECS;
/// The longest common name X.509 allows, in characters (RFC 5280, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// A new CA and the first server certificate it issued, all as PEM.
#[derive(Clone)]
pub struct OwnCertificates {
    /// The CA's certificate: what clients must trust.
    pub ca_pem: String,
    /// The CA's private key (PKCS#8). Secret.
    pub ca_key_pem: String,
    /// The server's certificate, without the CA above it.
    pub chain_pem: String,
    /// The server's private key (PKCS#8). Secret.
    pub key_pem: String,
}

impl fmt::Debug for OwnCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificates")
            .field("ca_pem", &self.ca_pem)
            .field("ca_key_pem", &"[secret]")
            .field("chain_pem", &self.chain_pem)
            .field("key_pem", &"[secret]")
            .finish()
    }
}

/// Makes a CA and a P-256 server certificate for `names`, DNS names (`*.` allowed in front) and IP
/// addresses as texts. `now_unix_secs` is the time in seconds since 1970.
///
/// # Errors
/// [`ListenError::NoNames`], [`ListenError::BadName`], or [`ListenError::BadTime`].
pub fn create(names: &[String], now_unix_secs: i64) -> Result<OwnCertificates, ListenError> {
    let begins = now_unix_secs.saturating_sub(BACK_DATE_SECS);
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(CA_NAME);
    params.not_before = instant(begins)?;
    params.not_after = instant(begins.saturating_add(CA_SECS))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().map_err(ListenError::Make)?;
    let ca_pem = params.self_signed(&ca_key).map_err(ListenError::Make)?.pem();
    let ca_key_pem = ca_key.serialize_pem();
    let (chain_pem, key_pem) = issue_server(&ca_pem, &ca_key_pem, names, now_unix_secs)?;
    Ok(OwnCertificates { ca_pem, ca_key_pem, chain_pem, key_pem })
}

/// Issues a new P-256 server certificate from an existing CA: its chain and its private key, as PEM.
///
/// It lasts 397 days, or as long as the CA.
///
/// # Errors
/// [`ListenError::BadAuthority`] when the CA's certificate and key are unreadable or no pair,
/// [`ListenError::AuthorityEnds`] when the CA has 30 days or less left, and as [`create`].
pub fn issue_server(
    ca_pem: &str,
    ca_key_pem: &str,
    names: &[String],
    now_unix_secs: i64,
) -> Result<(String, String), ListenError> {
    let key = KeyPair::generate().map_err(ListenError::Make)?;
    issue(ca_pem, ca_key_pem, &key, names, now_unix_secs)
}

/// Issues a server certificate with an RSA-2048 key, for [`ServerCertificate::with_rsa`].
///
/// The signature on it is still the CA's, by P-256: it serves clients whose cipher suites are limited to
/// RSA keys, not ones that know no elliptic-curve signatures at all. Those need an RSA CA's certificate
/// from the operator. Making the key takes up to a second of computing.
///
/// # Errors
/// As [`issue_server`].
///
/// [`ServerCertificate::with_rsa`]: crate::ServerCertificate::with_rsa
pub fn issue_server_rsa(
    ca_pem: &str,
    ca_key_pem: &str,
    names: &[String],
    now_unix_secs: i64,
) -> Result<(String, String), ListenError> {
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
        .map_err(ListenError::Make)?;
    issue(ca_pem, ca_key_pem, &key, names, now_unix_secs)
}

/// Whether the first certificate of `chain_pem` serves for all of `names` and for more than 30 days.
///
/// DNS names compare without regard to letter case. A wildcard in the certificate covers only the same
/// wildcard among the names: the answer says whether the certificate was made for these names, and with
/// `false` a new one should be [issued](issue_server). An unreadable chain covers nothing.
#[must_use]
pub fn covers(chain_pem: &str, names: &[String], now_unix_secs: i64) -> bool {
    let Ok(leaf) = CertificateDer::from_pem_slice(chain_pem.as_bytes()) else {
        return false;
    };
    let Ok((_, leaf)) = X509Certificate::from_der(&leaf) else {
        return false;
    };
    let validity = leaf.validity();
    if validity.not_before.timestamp() > now_unix_secs
        || validity.not_after.timestamp().saturating_sub(now_unix_secs) <= RENEW_SECS
    {
        return false;
    }
    let Ok(Some(alternatives)) = leaf.subject_alternative_name() else {
        return false;
    };
    names.iter().all(|name| {
        let wanted = name.parse::<IpAddr>().ok();
        alternatives.value.general_names.iter().any(|alternative| match (alternative, wanted) {
            (GeneralName::DNSName(dns), None) => dns.eq_ignore_ascii_case(name),
            (GeneralName::IPAddress(octets), Some(IpAddr::V4(ip))) => *octets == ip.octets(),
            (GeneralName::IPAddress(octets), Some(IpAddr::V6(ip))) => *octets == ip.octets(),
            _ => false,
        })
    })
}

fn issue(
    ca_pem: &str,
    ca_key_pem: &str,
    key: &KeyPair,
    names: &[String],
    now_unix_secs: i64,
) -> Result<(String, String), ListenError> {
    let authority = Authority::read(ca_pem, ca_key_pem)?;
    if authority.ends_unix_secs.saturating_sub(now_unix_secs) <= RENEW_SECS {
        return Err(ListenError::AuthorityEnds);
    }
    let begins = now_unix_secs.saturating_sub(BACK_DATE_SECS);
    let ends = begins.saturating_add(SERVER_SECS).min(authority.ends_unix_secs);
    let mut params = server_params(names)?;
    params.not_before = instant(begins)?;
    params.not_after = instant(ends)?;
    let certificate = params.signed_by(key, &authority.issuer).map_err(ListenError::Make)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Everything of a server certificate but its validity.
fn server_params(names: &[String]) -> Result<CertificateParams, ListenError> {
    let first = names.first().ok_or(ListenError::NoNames)?;
    if let Some(bad) = names.iter().find(|name| !is_dns_or_ip(name)) {
        return Err(ListenError::BadName { name: bad.clone() });
    }
    let mut params = CertificateParams::new(names).map_err(ListenError::Make)?;
    let subject = if first.len() <= MAX_COMMON_NAME { first } else { "Induct" };
    params.distinguished_name = common_name(subject);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The CA as read back from its files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ends_unix_secs: i64,
}

impl Authority {
    fn read(ca_pem: &str, ca_key_pem: &str) -> Result<Self, ListenError> {
        let bad = |problem: &str| ListenError::BadAuthority { problem: problem.into() };
        let certificate = CertificateDer::from_pem_slice(ca_pem.as_bytes())
            .map_err(|_| bad("the certificate is not PEM"))?;
        // The cause is dropped: it could quote the key.
        let key =
            KeyPair::from_pem(ca_key_pem).map_err(|_| bad("the key is not a PEM private key"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| bad("the certificate is not X.509"))?;
        if !parsed.is_ca() {
            return Err(bad("the certificate is not a CA's"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(bad("certificate and key do not belong together"));
        }
        let ends_unix_secs = parsed.validity().not_after.timestamp();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| bad("the subject is unreadable"))?;
        Ok(Self { issuer, ends_unix_secs })
    }
}

fn is_dns_or_ip(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<IpAddr>().is_ok() || DnsName::try_from(host).is_ok()
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn instant(unix_secs: i64) -> Result<OffsetDateTime, ListenError> {
    // X.509 writes years 0 to 9999; before 1950 some readers take a two-digit year for a later one.
    OffsetDateTime::from_unix_timestamp(unix_secs)
        .ok()
        .filter(|instant| (1950..=9999).contains(&instant.year()))
        .ok_or(ListenError::BadTime { unix_secs })
}

#[cfg(test)]
mod tests;
