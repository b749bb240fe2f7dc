//! Who a device is: its name and what it proves it with.

use std::{fmt, sync::Arc};

use app::ports::Clock;
use model::SymmetricKey;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use thiserror::Error;

use super::DeviceCertificate;
use crate::{login::sas_token, ports::SystemClock};

/// For how long a device's token is valid, in seconds. A hub ends the connection then, and the
/// device opens another one.
const TOKEN_SECS: i64 = 24 * 60 * 60;

/// A device's name and credential. `Debug` prints the name only.
#[derive(Clone)]
pub struct Identity {
    /// The registration ID.
    pub id: Arc<str>,
    credential: Credential,
}

#[derive(Clone)]
enum Credential {
    Key(SymmetricKey),
    Certificate(Arc<CertifiedKey>),
}

/// A certificate or key that cannot be used. Never holds the key.
#[derive(Debug, Error)]
pub enum BadIdentity {
    /// The texts are no certificate and no key.
    #[error("a device's certificate or key is not PEM")]
    NotPem,
    /// The TLS library refuses them.
    #[error("a device's certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.id)
    }
}

impl Identity {
    /// A device that signs tokens with this key.
    #[must_use]
    pub fn with_key(id: &str, key: SymmetricKey) -> Self {
        Self { id: id.into(), credential: Credential::Key(key) }
    }

    /// A device that shows this certificate.
    ///
    /// # Errors
    /// [`BadIdentity`].
    pub fn with_certificate(
        id: &str,
        certificate: &DeviceCertificate,
    ) -> Result<Self, BadIdentity> {
        let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| BadIdentity::NotPem)?;
        // The parser's error may quote the text, so it is not passed on.
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
            .map_err(|_| BadIdentity::NotPem)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(BadIdentity::Unusable)?;
        Ok(Self { id: id.into(), credential: Credential::Certificate(Arc::new(key)) })
    }

    /// A token over `resource`, for a device that has a key.
    pub(super) fn token(&self, resource: &str, policy: Option<&str>) -> Option<String> {
        match &self.credential {
            Credential::Key(key) => {
                let expires = SystemClock.now().plus_secs(TOKEN_SECS);
                Some(sas_token(resource, policy, key, expires))
            }
            Credential::Certificate(_) => None,
        }
    }

    /// The certificate, for a device that has one.
    pub(super) fn certificate(&self) -> Option<&Arc<CertifiedKey>> {
        match &self.credential {
            Credential::Key(_) => None,
            Credential::Certificate(certificate) => Some(certificate),
        }
    }
}
