//! One certificate: its bounds, its names, what is shown of it.
//!
//! Nothing here is trusted. Whether a certificate proves anything is for [`chain`](crate::chain).

use aws_lc_rs::digest;
use model::{
    AttestFailure, CaKeys, CertificateInfo, EnrolledCertificate, PathCertificate, Timestamp, hex,
};
use thiserror::Error;
use x509_parser::{
    certificate::X509Certificate, nom, prelude::FromDer, public_key::PublicKey, x509::X509Name,
};

use crate::chain::Limits;

mod name;

/// The largest certificate looked at, in bytes of DER: 16 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// The largest RSA key looked at, in bits: what the verification of signatures goes up to.
pub const MAX_RSA_BITS: usize = 8192;

/// Why bytes are not a certificate that we look at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadCertificate {
    /// More bytes than we look at.
    #[error("a certificate has at most {limit} bytes, this one has {size}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// An RSA key with more bits than we compute with.
    #[error("an RSA key has at most {limit} bits, the certificate's has {bits}")]
    KeyTooLarge {
        /// The key's size in bits.
        bits: usize,
        /// The limit in bits.
        limit: usize,
    },
    /// Bytes after the end of the certificate.
    #[error("{0} bytes follow the end of the certificate")]
    TrailingBytes(usize),
    /// Not a DER certificate.
    #[error("it is not a DER certificate: {0}")]
    Unparsable(String),
    /// A common name in an encoding without known characters.
    #[error("its common name is in an encoding that cannot be read")]
    CommonNameEncoding,
}

impl From<BadCertificate> for AttestFailure {
    fn from(bad: BadCertificate) -> Self {
        match bad {
            BadCertificate::TooLarge { .. } | BadCertificate::KeyTooLarge { .. } => {
                Self::TooLarge(bad.to_string())
            }
            BadCertificate::TrailingBytes(_)
            | BadCertificate::Unparsable(_)
            | BadCertificate::CommonNameEncoding => Self::BadCertificate(bad.to_string()),
        }
    }
}

/// Takes a certificate apart for an operator who enrolls it.
///
/// Thumbprints and serial number are upper-case hex, names in the form of
/// [`Parsed::subject`] (O §1.6).
///
/// # Errors
/// [`BadCertificate`] names the fact.
pub fn describe(der: &[u8]) -> Result<EnrolledCertificate, BadCertificate> {
    let parsed = Parsed::of(der)?;
    Ok(EnrolledCertificate {
        der: der.to_vec(),
        info: CertificateInfo {
            subject_name: parsed.subject(),
            sha1_thumbprint: hex::upper(
                digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref(),
            ),
            sha256_thumbprint: hex::upper(&thumbprint_sha256(der)),
            issuer_name: parsed.issuer(),
            not_before: parsed.not_before(),
            not_after: parsed.not_after(),
            serial_number: hex::upper(parsed.x509.raw_serial()),
            version: parsed.x509.version().0.saturating_add(1),
        },
        keys: parsed.keys(),
    })
}

/// The common names of a certificate's subject, in order; there may be several or none.
///
/// # Errors
/// [`BadCertificate`] names the fact.
pub fn common_names(der: &[u8]) -> Result<Vec<String>, BadCertificate> {
    Parsed::of(der)?.common_names()
}

/// SHA-256 of the DER.
#[must_use]
pub fn thumbprint_sha256(der: &[u8]) -> [u8; 32] {
    sha256(&[der])
}

/// SHA-256 of the DER of the `TBSCertificate`, all that the issuer signed; nothing for what is no
/// certificate. See [`PathCertificate::tbs`].
#[must_use]
pub fn tbs_sha256(der: &[u8]) -> Option<[u8; 32]> {
    Parsed::of(der).ok().map(|parsed| parsed.tbs_sha256())
}

/// SHA-1 of the DER. Only hubs still know devices by it (H §4.1.2).
#[must_use]
pub fn thumbprint_sha1(der: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    let mut bytes = [0; 20];
    // A SHA-1 has 20 bytes; the zip keeps a panic out of the question.
    for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    bytes
}

/// Whether a certificate says that it is a CA: basic constraints with the CA flag.
///
/// # Errors
/// [`BadCertificate`] names the fact.
pub fn is_ca(der: &[u8]) -> Result<bool, BadCertificate> {
    Ok(Parsed::of(der)?.x509.is_ca())
}

/// An enrolled certificate as bans and revocation lists know it.
#[must_use]
pub fn path_certificate(certificate: &EnrolledCertificate) -> PathCertificate {
    PathCertificate {
        sha256: thumbprint_sha256(&certificate.der),
        sha1: thumbprint_sha1(&certificate.der),
        // What is enrolled was taken apart before; what is not a certificate nobody signed.
        tbs: tbs_sha256(&certificate.der).unwrap_or_else(|| thumbprint_sha256(&certificate.der)),
        subject_and_key: certificate.keys.subject_and_key,
        subject: certificate.keys.subject,
        issuer: certificate.keys.issuer,
        serial: without_zeros(&certificate.info.serial_number).to_owned(),
        subject_name: certificate.info.subject_name.clone(),
    }
}

/// A serial number in hex without leading zeros, as [`PathCertificate::serial`] has it.
fn without_zeros(hex: &str) -> &str {
    match hex.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    }
}

/// A certificate taken apart, within bounds.
#[derive(Debug)]
pub struct Parsed<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) x509: X509Certificate<'a>,
}

impl<'a> Parsed<'a> {
    /// Takes a certificate of at most [`MAX_CERTIFICATE_BYTES`] apart, whose RSA key has at most
    /// [`MAX_RSA_BITS`].
    ///
    /// # Errors
    /// [`BadCertificate`] names the fact.
    pub fn of(der: &'a [u8]) -> Result<Self, BadCertificate> {
        Self::within(der, &Limits::default())
    }

    /// The same within other limits.
    ///
    /// # Errors
    /// [`BadCertificate`] names the fact.
    pub fn within(der: &'a [u8], limits: &Limits) -> Result<Self, BadCertificate> {
        if der.len() > limits.max_certificate_bytes {
            let limit = limits.max_certificate_bytes;
            return Err(BadCertificate::TooLarge { size: der.len(), limit });
        }
        let (rest, x509) = X509Certificate::from_der(der).map_err(|error| {
            BadCertificate::Unparsable(match error {
                nom::Err::Incomplete(_) => "it ends too early".to_owned(),
                nom::Err::Error(error) | nom::Err::Failure(error) => error.to_string(),
            })
        })?;
        if !rest.is_empty() {
            return Err(BadCertificate::TrailingBytes(rest.len()));
        }
        let parsed = Self { der, x509 };
        match parsed.rsa_bits() {
            Some(bits) if bits > limits.max_rsa_bits => {
                Err(BadCertificate::KeyTooLarge { bits, limit: limits.max_rsa_bits })
            }
            _ => Ok(parsed),
        }
    }

    /// The subject as text, the last part first: `CN=press-17, O=Works`. Empty for an empty one.
    #[must_use]
    pub fn subject(&self) -> String {
        name::text(self.x509.subject())
    }

    /// The issuer in the form of [`subject`](Self::subject).
    #[must_use]
    pub fn issuer(&self) -> String {
        name::text(self.x509.issuer())
    }

    /// The common names of the subject, in order.
    ///
    /// # Errors
    /// [`BadCertificate::CommonNameEncoding`].
    pub fn common_names(&self) -> Result<Vec<String>, BadCertificate> {
        let names = self.x509.subject().iter_common_name();
        names.map(|name| name::value(name).ok_or(BadCertificate::CommonNameEncoding)).collect()
    }

    /// Start of validity.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.x509.validity().not_before.timestamp())
    }

    /// End of validity.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        Timestamp::from_unix_secs(self.x509.validity().not_after.timestamp())
    }

    /// What the certificate is found by.
    #[must_use]
    pub fn keys(&self) -> CaKeys {
        let subject = self.x509.subject().as_raw();
        CaKeys {
            subject: sha256(&[subject]),
            subject_and_key: sha256(&[subject, self.x509.public_key().raw]),
            issuer: sha256(&[self.x509.issuer().as_raw()]),
        }
    }

    /// SHA-256 of what the issuer signed. See [`PathCertificate::tbs`].
    #[must_use]
    pub fn tbs_sha256(&self) -> [u8; 32] {
        sha256(&[self.x509.tbs_certificate.as_ref()])
    }

    /// The serial number, upper-case hex without leading zeros.
    #[must_use]
    pub fn serial(&self) -> String {
        without_zeros(&hex::upper(self.x509.raw_serial())).to_owned()
    }

    fn rsa_bits(&self) -> Option<usize> {
        match self.x509.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => {
                let modulus = key.modulus;
                let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
                let leading = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
                Some((modulus.len() - zeros) * 8 - leading)
            }
            _ => None,
        }
    }
}

/// A foreign name as it may stand in a message: bounded, and without what would begin a new line.
pub(crate) fn shown_name(name: &X509Name<'_>) -> String {
    name::text(name).chars().take(128).map(crate::chain::printable).collect()
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    // A SHA-256 has 32 bytes; the zip keeps a panic out of the question.
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests;
