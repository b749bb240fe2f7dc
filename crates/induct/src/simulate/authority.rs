//! Certificate authorities that make devices' certificates.

use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use time::OffsetDateTime;

const DAY_SECS: i64 = 24 * 60 * 60;
/// How long an authority lasts.
const AUTHORITY_DAYS: i64 = 365;
/// How long a device's certificate lasts.
const DEVICE_DAYS: i64 = 30;
/// Certificates begin this long before they are made, for servers whose clock is behind.
const BACK_DATE_SECS: i64 = 60;

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and those above it that devices send along, PEM.
    chain_pem: String,
}

/// A device's certificate with its private key. The key is secret.
pub struct DeviceCertificate {
    /// The certificate and the authority's, PEM.
    pub chain_pem: String,
    /// The private key, PEM.
    pub key_pem: String,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum BadAuthority {
    /// The CA's certificate is none.
    #[error("the CA's certificate is not one in PEM")]
    Certificate,
    /// The CA's key is none. It is never repeated.
    #[error("the CA's key is not an unencrypted PEM private key")]
    Key,
    /// The clock is beyond what certificates can say.
    #[error("the clock is beyond the years that certificates know")]
    Clock,
    /// The library refuses.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

impl Authority {
    /// A root, below which there may be so many authorities in a row.
    ///
    /// # Errors
    /// [`BadAuthority`].
    pub fn root(name: &str, path_length: u8, now: Timestamp) -> Result<Self, BadAuthority> {
        let key = KeyPair::generate()?;
        let params = authority_params(name, path_length, now)?;
        let chain_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), chain_pem })
    }

    /// An authority below this one that makes devices' certificates only, and its key, PEM.
    ///
    /// # Errors
    /// [`BadAuthority`].
    pub fn below(&self, name: &str, now: Timestamp) -> Result<(Self, String), BadAuthority> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(name, 0, now)?;
        params.use_authority_key_identifier_extension = true;
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self { issuer: Issuer::new(params, key), chain_pem }, key_pem))
    }

    /// An authority that exists: its certificate, with those above it that devices shall send
    /// along, and its key, both PEM.
    ///
    /// # Errors
    /// [`BadAuthority`]. Whether the two belong together is seen when a server looks at a device's
    /// certificate.
    pub fn read(chain_pem: &str, key_pem: &str) -> Result<Self, BadAuthority> {
        let certificate = CertificateDer::from_pem_slice(chain_pem.as_bytes())
            .map_err(|_| BadAuthority::Certificate)?;
        // The cause is dropped: it could quote the key.
        let key = KeyPair::from_pem(key_pem).map_err(|_| BadAuthority::Key)?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|_| BadAuthority::Certificate)?;
        Ok(Self { issuer, chain_pem: chain_pem.to_owned() })
    }

    /// Its certificate, PEM, and those above it if it was read with them.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.chain_pem
    }

    /// A certificate for a device: its name is the common name, and so its registration ID.
    ///
    /// # Errors
    /// [`BadAuthority`].
    pub fn issue(&self, name: &str, now: Timestamp) -> Result<DeviceCertificate, BadAuthority> {
        let key = KeyPair::generate()?;
        let certificate = device_params(name, now)?.signed_by(&key, &self.issuer)?;
        let chain_pem = format!("{}{}", certificate.pem(), self.chain_pem);
        Ok(DeviceCertificate { chain_pem, key_pem: key.serialize_pem() })
    }
}

fn authority_params(
    name: &str,
    path_length: u8,
    now: Timestamp,
) -> Result<CertificateParams, BadAuthority> {
    let mut params = named(name, AUTHORITY_DAYS, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn device_params(name: &str, now: Timestamp) -> Result<CertificateParams, BadAuthority> {
    let mut params = named(name, DEVICE_DAYS, now)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(name: &str, days: i64, now: Timestamp) -> Result<CertificateParams, BadAuthority> {
    let instant = |secs| OffsetDateTime::from_unix_timestamp(secs).map_err(|_| BadAuthority::Clock);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = now.unix_secs();
    params.not_before = instant(now.saturating_sub(BACK_DATE_SECS))?;
    params.not_after = instant(now.saturating_add(days * DAY_SECS))?;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    #[test]
    fn an_authority_read_from_its_files_makes_certificates_as_before() {
        let root = Authority::root("Test root", 1, NOW).expect("made");
        let (made, key_pem) = root.below("Test line", NOW).expect("made");
        let read = Authority::read(made.pem(), &key_pem).expect("read");
        assert_eq!(read.pem(), made.pem());
        let device = read.issue("press-17", NOW).expect("issued");
        assert!(device.chain_pem.ends_with(made.pem()));
        let der = CertificateDer::from_pem_slice(device.chain_pem.as_bytes()).expect("PEM");
        let leaf = attest::certificate::Parsed::of(&der).expect("a certificate");
        assert_eq!((leaf.subject(), leaf.issuer()), ("CN=press-17".into(), "CN=Test line".into()));
    }

    #[test]
    fn what_is_no_authority_is_refused_without_quoting_it() {
        let root = Authority::root("Test root", 0, NOW).expect("made");
        let check = |certificate: &str, key: &str, expected: &str| {
            let refused = Authority::read(certificate, key).err().expect("refused");
            assert_eq!(refused.to_string(), expected);
        };
        check("nothing", "nothing", "the CA's certificate is not one in PEM");
        check(root.pem(), "secret", "the CA's key is not an unencrypted PEM private key");
    }
}
