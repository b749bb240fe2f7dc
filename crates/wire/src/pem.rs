//! A certificate as operators paste and upload it, to DER; a revocation list as a file has it.
//!
//! Accepted are PEM text, the base64 of a DER file without armour, and the base64 of a PEM file
//! (O §1.6: clients send all three). Whether the DER is a good certificate is not looked at here.

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use thiserror::Error;

/// The longest text we look at, in bytes. A certificate with a 16,384-bit key has about 6,000.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not one certificate. Never holds any of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCertificateText {
    /// There is nothing.
    #[error("the certificate is empty")]
    Empty,
    /// The text is longer than [`MAX_TEXT_BYTES`].
    #[error("the certificate has {0} bytes, at most {MAX_TEXT_BYTES} are read")]
    TooLong(usize),
    /// A private key is in the text.
    #[error(
        "this holds a private key; send the certificate only. The key has left its place, so \
         consider it known and replace it"
    )]
    PrivateKey,
    /// There are several certificates.
    #[error("this holds {0} certificates; send exactly one")]
    Several(usize),
    /// A PEM block has no end, or another end than beginning.
    #[error("the PEM block has no matching END line")]
    Unfinished,
    /// PEM blocks, but none is a certificate.
    #[error("the PEM text holds no block called CERTIFICATE")]
    OtherBlock,
    /// Neither PEM nor base64.
    #[error("neither PEM nor base64 of a certificate")]
    NotBase64,
    /// The decoded bytes are not one DER value.
    #[error("this decodes, but not to one DER-encoded certificate")]
    NotDer,
}

/// The DER of the one certificate a text holds.
///
/// Several certificates are refused rather than one chosen: an operator who uploads a chain file
/// should know which of its certificates an enrollment will trust.
///
/// # Errors
/// [`BadCertificateText`]. A private key anywhere in the text is refused whatever else is there.
pub fn certificate(text: &str) -> Result<Vec<u8>, BadCertificateText> {
    let text = text.trim();
    if text.is_empty() {
        return Err(BadCertificateText::Empty);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(BadCertificateText::TooLong(text.len()));
    }
    let der = if text.contains("-----") {
        from_pem(text)?
    } else {
        let bytes = decode(text)?;
        match std::str::from_utf8(&bytes) {
            Ok(inner) if inner.contains("-----") => from_pem(inner)?,
            _ => bytes,
        }
    };
    check_der(&der)?;
    Ok(der)
}

fn from_pem(text: &str) -> Result<Vec<u8>, BadCertificateText> {
    if text.contains("PRIVATE KEY-----") {
        return Err(BadCertificateText::PrivateKey);
    }
    match blocks(text)?.as_slice() {
        [] => Err(BadCertificateText::OtherBlock),
        [body] => decode(body),
        several => Err(BadCertificateText::Several(several.len())),
    }
}

/// The bodies of the certificates' blocks, in their order.
fn blocks(text: &str) -> Result<Vec<&str>, BadCertificateText> {
    let mut certificates = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(BadCertificateText::Unfinished)?;
        let (body, after) = after
            .split_once(&format!("-----END {label}-----"))
            .ok_or(BadCertificateText::Unfinished)?;
        // The older names OpenSSL writes for the same thing.
        if matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            certificates.push(body);
        }
        rest = after;
    }
    Ok(certificates)
}

/// The DERs of a chain, in the order of the text: PEM with one certificate or several, or what
/// [`certificate`] takes. How many there may be is not looked at here.
///
/// # Errors
/// As [`certificate`].
pub fn chain(text: &str) -> Result<Vec<Vec<u8>>, BadCertificateText> {
    let text = text.trim();
    if text.len() > MAX_TEXT_BYTES {
        return Err(BadCertificateText::TooLong(text.len()));
    }
    if !text.contains("-----") {
        return Ok(vec![certificate(text)?]);
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(BadCertificateText::PrivateKey);
    }
    let blocks = blocks(text)?;
    if blocks.is_empty() {
        return Err(BadCertificateText::OtherBlock);
    }
    let der = |body: &str| {
        let der = decode(body)?;
        check_der(&der)?;
        Ok(der)
    };
    blocks.into_iter().map(der).collect()
}

/// The longest revocation list that is read, in bytes, as PEM text: one of
/// [`MAX_CRL_BYTES`](model::crl::MAX_CRL_BYTES), its lines and what stands around it.
pub const MAX_CRL_TEXT_BYTES: usize = 44 * 1024 * 1024;

/// Why bytes are not one revocation list. Never holds any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCrlText {
    /// There is nothing.
    #[error("the revocation list is empty")]
    Empty,
    /// More than [`MAX_CRL_TEXT_BYTES`].
    #[error("the revocation list has {0} bytes, at most {MAX_CRL_TEXT_BYTES} are read")]
    TooLong(usize),
    /// Neither DER nor PEM.
    #[error("neither DER nor PEM with a block called X509 CRL")]
    Neither,
    /// There are several lists.
    #[error("this holds several revocation lists; send them one by one")]
    Several,
    /// The block is not base64.
    #[error("the PEM block holds no base64")]
    NotBase64,
}

/// The DER of the one revocation list that a file holds, DER or PEM. Whether the DER is a list is
/// not looked at here.
///
/// # Errors
/// [`BadCrlText`].
pub fn revocation_list(file: &[u8]) -> Result<Vec<u8>, BadCrlText> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    const END: &str = "-----END X509 CRL-----";
    match file {
        [] => return Err(BadCrlText::Empty),
        long if long.len() > MAX_CRL_TEXT_BYTES => return Err(BadCrlText::TooLong(long.len())),
        [0x30, ..] => return Ok(file.to_vec()),
        _ => {}
    }
    let text = std::str::from_utf8(file).map_err(|_| BadCrlText::Neither)?;
    let (_, after) = text.split_once(BEGIN).ok_or(BadCrlText::Neither)?;
    let (body, after) = after.split_once(END).ok_or(BadCrlText::Neither)?;
    if after.contains(BEGIN) {
        return Err(BadCrlText::Several);
    }
    decode(body).map_err(|_| BadCrlText::NotBase64)
}

fn decode(text: &str) -> Result<Vec<u8>, BadCertificateText> {
    let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(packed).map_err(|_| BadCertificateText::NotBase64)
}

/// One DER SEQUENCE over all bytes. Its first element tells what it is: a certificate begins with
/// another SEQUENCE, private keys (PKCS#1, PKCS#8, SEC 1) and PKCS#12 files with a small INTEGER.
fn check_der(der: &[u8]) -> Result<(), BadCertificateText> {
    let [0x30, length, rest @ ..] = der else { return Err(BadCertificateText::NotDer) };
    let (content, expected) = match *length {
        short @ 0..=0x7f => (rest, usize::from(short)),
        0x81..=0x83 => {
            let n_bytes = usize::from(length & 0x7f);
            let (Some(size), Some(content)) = (rest.get(..n_bytes), rest.get(n_bytes..)) else {
                return Err(BadCertificateText::NotDer);
            };
            (content, size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)))
        }
        _ => return Err(BadCertificateText::NotDer),
    };
    if content.len() != expected {
        return Err(BadCertificateText::NotDer);
    }
    match content {
        [0x30, ..] => Ok(()),
        [0x02, 0x01, ..] => Err(BadCertificateText::PrivateKey),
        _ => Err(BadCertificateText::NotDer),
    }
}

#[cfg(test)]
mod tests;
