//! The client's side of TLS.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{ClientError, ClientSettings, Identity};

/// The versions of TLS a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2, as some device SDKs insist.
    Only12,
    /// 1.3.
    Only13,
}

/// The configuration that `settings` ask for.
pub(super) fn config(settings: &ClientSettings) -> Result<ClientConfig, ClientError> {
    let versions = match settings.versions {
        TlsVersions::Both => &[&version::TLS13, &version::TLS12][..],
        TlsVersions::Only12 => &[&version::TLS12],
        TlsVersions::Only13 => &[&version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots(&settings.ca_pem)?);
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read(identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| bad_identity(format!("chain and key do not fit ({error})")))?
        }
    };
    config.alpn_protocols = vec![settings.protocol.as_bytes().to_vec()];
    Ok(config)
}

fn roots(ca_pem: &str) -> Result<RootCertStore, ClientError> {
    let bad = |problem: String| ClientError::BadCa { problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("there is no `BEGIN CERTIFICATE` in it".to_owned()));
    }
    Ok(roots)
}

fn read(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ClientError> {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_identity(format!("its chain is not PEM ({error})")))?;
    if chain.is_empty() {
        return Err(bad_identity("there is no `BEGIN CERTIFICATE` in its chain".to_owned()));
    }
    // The parser's error may quote the text, so it is not passed on.
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|_| bad_identity("its key is not an unencrypted PEM private key".to_owned()))?;
    Ok((chain, key))
}

fn bad_identity(problem: String) -> ClientError {
    ClientError::BadIdentity { problem }
}
