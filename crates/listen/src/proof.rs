//! Which client certificates pass the handshake: any, if the client holds the key.
//!
//! A certificate is requested of every client and required of none; the list of acceptable issuers is
//! empty, so that no TLS stack filters the device's certificate out (D §0.3, H §1.2). Self-signed, expired,
//! unknown issuer, an unknown critical extension, version 1: all of that is for the decision to judge,
//! which can then answer with a sentence instead of a broken handshake. Only possession of the leaf's key
//! is proven here, and that without exception: there is no path to `HandshakeSignatureValid` that has
//! not verified the client's signature over this very handshake.
//!
//! Limits that end a handshake, because possession cannot be proven or the message cannot be read:
//!
//! - RSA leaf keys below 2,048 or above 8,192 bits. aws-lc-rs verifies no signature by such a key, so
//!   a client with an RSA-16384 leaf gets the alert `certificate_unknown` and the log the key's size.
//!   (An RSA-16384 key further up the chain passes, and is the decision's to refuse.)
//! - Leaf keys of a kind that TLS has no signature scheme for here (Ed448, brainpool curves, DSA).
//! - A leaf whose public key cannot be found, because it is no X.509 at all.
//! - A certificate message above 65,535 bytes, the most rustls reads of one handshake message. A
//!   chain of 100 P-256 certificates (some 45 kB) passes; one of 100 RSA-2048 certificates does not.
//!
//! Certificates above the leaf are never parsed here.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The RSA key sizes, in bits, whose signatures can be verified.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Accepts every chain whose leaf key the client proves to hold.
#[derive(Debug)]
pub(crate) struct AnyChainWithProof {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyChainWithProof {
    /// Verifies with, and advertises, every signature scheme that `provider` supports.
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }

    /// The TLS 1.2 check for a leaf that webpki does not read: the same algorithms in the same order
    /// as [`verify_tls12_signature`], which has no variant that takes a bare key.
    fn verify_tls12_with_bare_key(
        &self,
        message: &[u8],
        key: &SubjectPublicKeyInfoDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Option<HandshakeSignatureValid> {
        let key = webpki::RawPublicKeyEntity::try_from(key).ok()?;
        let (_, candidates) =
            self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme)?;
        candidates
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok())
            .then(HandshakeSignatureValid::assertion)
    }
}

impl ClientCertVerifier for AnyChainWithProof {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms).or_else(|error| {
            match bare_key(leaf, &error) {
                Some(key) => {
                    self.verify_tls12_with_bare_key(message, &key, signed).ok_or(bad_signature())
                }
                None => Err(error),
            }
            .map_err(|error| explained(leaf, error))
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms).or_else(|error| {
            match bare_key(leaf, &error) {
                Some(key) => {
                    verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
                }
                None => Err(error),
            }
            .map_err(|error| explained(leaf, error))
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The public key of a leaf that webpki refuses to read at all, so that the signature was never looked at.
///
/// webpki parses strictly (no version 1, no unknown critical extension), and rustls verifies signatures
/// with webpki's parse. Such a leaf must reach the decision to be refused with a reason. `None` when
/// webpki does read the leaf: then `error` is its verdict on the signature, and final.
fn bare_key<'a>(
    leaf: &'a CertificateDer<'_>,
    error: &Error,
) -> Option<SubjectPublicKeyInfoDer<'a>> {
    if !matches!(error, Error::InvalidCertificate(_))
        || webpki::EndEntityCert::try_from(leaf).is_ok()
    {
        return None;
    }
    let (rest, leaf) = X509Certificate::from_der(leaf).ok()?;
    rest.is_empty().then(|| SubjectPublicKeyInfoDer::from(leaf.tbs_certificate.subject_pki.raw))
}

fn bad_signature() -> Error {
    Error::InvalidCertificate(CertificateError::BadSignature)
}

/// A failed signature check by a key that could never pass it says so; other errors stay as they are.
fn explained(leaf: &CertificateDer<'_>, error: Error) -> Error {
    if error != bad_signature() {
        return error;
    }
    match rsa_bits(leaf) {
        Some(bits) if !RSA_BITS.contains(&bits) => Error::InvalidCertificate(
            CertificateError::Other(OtherError(Arc::new(UnverifiableKey { bits }))),
        ),
        _ => error,
    }
}

fn rsa_bits(leaf: &CertificateDer<'_>) -> Option<usize> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    match leaf.public_key().parsed().ok()? {
        PublicKey::RSA(key) => Some(key.key_size()),
        _ => None,
    }
}

/// The leaf's RSA key has a size that no signature can be verified by.
#[derive(Debug, thiserror::Error)]
#[error(
    "the leaf certificate has an RSA key of {bits} bits; possession can be proven for {} to {} bits",
    RSA_BITS.start(), RSA_BITS.end()
)]
struct UnverifiableKey {
    bits: usize,
}
