//! The server's certificate: what is refused, what is exchanged, and who gets which.

use std::fs;
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{HandshakeKind, SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion};
use tempfile::TempDir;

use super::scene::{Client, NOW, Server, Shown, VERSIONS, names, own, server_certificate};
use crate::certificate::provider;
use crate::{ListenError, ListenSettings, ServerCertificate, authority};

/// A certificate in two files that can be written over.
struct OnDisk {
    folder: TempDir,
    certificate: ServerCertificate,
}

impl OnDisk {
    fn new(chain_pem: &str, key_pem: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
        fs::write(&chain, chain_pem).unwrap();
        fs::write(&key, key_pem).unwrap();
        let certificate = ServerCertificate::from_files(&chain, &key).unwrap();
        Self { folder, certificate }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }
}

fn another() -> (String, String) {
    authority::issue_server(&own().ca_pem, &own().ca_key_pem, &names(), NOW).unwrap()
}

fn rsa() -> (String, String) {
    authority::issue_server_rsa(&own().ca_pem, &own().ca_key_pem, &names(), NOW).unwrap()
}

#[tokio::test]
async fn exchanged_files_serve_the_next_handshake() {
    let disk = OnDisk::new(&own().chain_pem, &own().key_pem);
    let server = Server::start_with(ListenSettings::default(), disk.certificate.clone()).await;
    let client = Client::new(VERSIONS[0], Shown::nothing());
    let before = client.visit(server.address).await.unwrap().server_chain;
    assert_eq!(before, server_certificate().chain_der());

    let (chain, key) = another();
    disk.write("chain.pem", &chain);
    disk.write("key.pem", &key);
    assert!(disk.certificate.reload_if_changed().unwrap());
    let after = client.visit(server.address).await.unwrap().server_chain;
    assert_ne!(after, before);
    assert_eq!(after, disk.certificate.chain_der());
    assert!(!disk.certificate.reload_if_changed().unwrap(), "nothing changed since");
}

#[tokio::test]
async fn no_session_outlives_the_certificate_it_began_with() {
    let disk = OnDisk::new(&own().chain_pem, &own().key_pem);
    let server = Server::start_with(ListenSettings::default(), disk.certificate.clone()).await;
    for version in VERSIONS {
        let client = Client::new(version, Shown::nothing()).resuming();
        client.visit(server.address).await.unwrap();
        let (chain, key) = another();
        disk.write("chain.pem", &chain);
        disk.write("key.pem", &key);
        assert!(disk.certificate.reload_if_changed().unwrap());
        let visit = client.visit(server.address).await.unwrap();
        assert_eq!(visit.kind, HandshakeKind::Full, "{version:?}");
        assert_eq!(visit.server_chain, disk.certificate.chain_der());
    }
}

/// Writing `content` over the file `name` is an error that shows `says`; what was in use stays in use.
#[track_caller]
fn check_broken(name: &str, content: &str, says: &str) {
    let disk = OnDisk::new(&own().chain_pem, &own().key_pem);
    let before = disk.certificate.chain_der();
    disk.write(name, content);
    for _ in 0..2 {
        let error = disk.certificate.reload_if_changed().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(says), "{error}");
        assert_eq!(disk.certificate.chain_der(), before);
    }
    disk.write("chain.pem", &own().chain_pem);
    disk.write("key.pem", &own().key_pem);
    assert!(!disk.certificate.reload_if_changed().unwrap(), "mended, and as it was");
}

#[test]
fn a_broken_file_keeps_the_certificate_in_use() {
    let (other_chain, other_key) = another();
    check_broken("chain.pem", "", "BEGIN CERTIFICATE");
    check_broken("chain.pem", "-----BEGIN CERTIFICATE-----\n!!\n", "not a PEM certificate chain");
    check_broken("chain.pem", &other_chain, "do not belong together");
    check_broken("chain.pem", &" ".repeat(1_024 * 1_024 + 1), "larger than");
    check_broken("key.pem", &other_key, "do not belong together");
    check_broken("key.pem", &own().chain_pem, "no usable private key");
}

#[test]
fn a_vanished_file_keeps_the_certificate_in_use() {
    let disk = OnDisk::new(&own().chain_pem, &own().key_pem);
    fs::remove_file(disk.folder.path().join("key.pem")).unwrap();
    let error = disk.certificate.reload_if_changed().unwrap_err();
    assert!(matches!(error, ListenError::Read { .. }), "{error}");
    assert_eq!(disk.certificate.chain_der(), server_certificate().chain_der());
}

#[test]
fn an_rsa_certificate_must_stay_one() {
    let (chain, key) = rsa();
    let disk = OnDisk::new(&chain, &key);
    let both = server_certificate().with_rsa(disk.certificate.clone()).unwrap();
    assert!(!both.reload_if_changed().unwrap());
    disk.write("chain.pem", &own().chain_pem);
    disk.write("key.pem", &own().key_pem);
    let error = both.reload_if_changed().unwrap_err();
    assert!(matches!(error, ListenError::NotRsa { .. }), "{error}");

    let (chain, key) = rsa();
    disk.write("chain.pem", &chain);
    disk.write("key.pem", &key);
    assert!(both.reload_if_changed().unwrap());
}

#[test]
fn the_rsa_certificate_must_be_one() {
    let error = server_certificate().with_rsa(server_certificate()).unwrap_err();
    assert!(matches!(error, ListenError::NotRsa { .. }), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (_, key) = another();
    let error = ServerCertificate::from_pem(&own().chain_pem, &key).unwrap_err();
    assert!(matches!(error, ListenError::Mismatch { .. }), "{error}");
}

#[test]
fn no_key_shows_in_errors_or_debug() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let body = key.lines().nth(1).unwrap();
    let torn = key.replace("-----END PRIVATE KEY-----", "");
    let error = ServerCertificate::from_pem(&own().chain_pem, &torn).unwrap_err();
    assert!(matches!(error, ListenError::BadKey { .. }), "{error}");
    assert!(!format!("{error:?} {error}").contains(body));
    let debug = format!("{:?} {:?}", server_certificate(), own());
    for secret in [&own().key_pem, &own().ca_key_pem] {
        assert!(!debug.contains(secret.lines().nth(1).unwrap()));
    }
}

/// A client that takes server signatures by these schemes only.
fn knowing_only(fits: impl Fn(SignatureScheme) -> bool) -> CryptoProvider {
    let mut limited = (*provider()).clone();
    let all = limited.signature_verification_algorithms;
    let mapping: Vec<_> = all.mapping.iter().copied().filter(|(s, _)| fits(*s)).collect();
    limited.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: all.all, mapping: Vec::leak(mapping) };
    limited
}

/// Over these versions: a listener with a P-256 and an RSA certificate shows this client that one.
async fn check_chosen(
    client: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    expected: SignatureAlgorithm,
) {
    let (chain, key) = rsa();
    let p256 = server_certificate();
    let rsa = ServerCertificate::from_pem(&chain, &key).unwrap();
    let both = p256.clone().with_rsa(rsa.clone()).unwrap();
    let expected = if expected == SignatureAlgorithm::RSA { rsa } else { p256 };
    let server = Server::start_with(ListenSettings::default(), both).await;
    for version in versions {
        let client = Client::with_provider(Arc::new(client.clone()), version, Shown::nothing());
        let visit = client.visit(server.address).await.unwrap();
        assert_eq!(visit.server_chain, expected.chain_der(), "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_both_gets_p256() {
    check_chosen((*provider()).clone(), &VERSIONS, SignatureAlgorithm::ECDSA).await;
}

#[tokio::test]
async fn a_client_without_ecdsa_schemes_gets_rsa() {
    let client = knowing_only(|scheme| scheme.as_str().is_some_and(|s| s.starts_with("RSA")));
    check_chosen(client, &VERSIONS, SignatureAlgorithm::RSA).await;
}

#[tokio::test]
async fn a_client_with_rsa_cipher_suites_only_gets_rsa() {
    let mut client = (*provider()).clone();
    client.cipher_suites.retain(|suite| format!("{suite:?}").contains("ECDHE_RSA"));
    assert!(!client.cipher_suites.is_empty());
    check_chosen(client, &VERSIONS[1..], SignatureAlgorithm::RSA).await;
}
