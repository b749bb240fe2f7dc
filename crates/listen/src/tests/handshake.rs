//! Who gets through the handshake, and what the server then knows.

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::{HandshakeKind, ProtocolVersion, SignatureScheme};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::scene::{
    Asked, Client, HugeRsaKey, Server, Shown, VERSIONS, expired, issued_chain, leaf_params,
    self_signed, server_certificate, strange_params,
};
use crate::certificate::provider;
use crate::{ListenSettings, Speaks};

/// Over TLS 1.3 and 1.2: the client gets through, and the server sees exactly the chain that was shown.
#[track_caller]
fn check(shown: Shown) -> impl Future<Output = ()> {
    check_visit(shown, None)
}

/// Over TLS 1.3 and 1.2: the client is refused with this alert, and nobody is asked to serve it.
#[track_caller]
fn check_refused(shown: Shown, alert: &'static str) -> impl Future<Output = ()> {
    check_visit(shown, Some(alert))
}

async fn check_visit(shown: Shown, refused: Option<&str>) {
    let mut server = Server::start().await;
    for version in VERSIONS {
        let client = Client::new(version, shown.clone());
        let visit = client.visit(server.address).await;
        match refused {
            Some(alert) => {
                let error = visit.unwrap_err();
                assert_eq!(error, format!("received fatal alert: {alert}"), "{version:?}");
                assert!(server.saw_nothing(), "{version:?}");
            }
            None => {
                assert_eq!(visit.unwrap().kind, HandshakeKind::Full);
                let seen = server.seen().await;
                assert_eq!(seen.chain, shown.chain_der(), "{version:?}");
                assert_eq!(seen.version, Some(version.version));
            }
        }
    }
}

fn v1_leaf() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("fixtures/v1-leaf.pem")).unwrap()
}

#[tokio::test]
async fn a_client_without_a_certificate_is_let_in() {
    check(Shown::nothing()).await;
}

#[tokio::test]
async fn a_self_signed_leaf_passes_with_every_usual_kind_of_key() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        check(self_signed(algorithm)).await;
    }
}

#[tokio::test]
async fn an_expired_leaf_passes() {
    check(expired()).await;
}

#[tokio::test]
async fn a_chain_of_an_unknown_issuer_is_handed_over_as_sent() {
    check(issued_chain(3)).await;
}

#[tokio::test]
async fn a_chain_of_a_hundred_certificates_is_handed_over() {
    check(issued_chain(100)).await;
}

#[tokio::test]
async fn a_leaf_with_an_unknown_critical_extension_passes() {
    let key = KeyPair::generate().unwrap();
    let leaf = strange_params().self_signed(&key).unwrap();
    check(Shown::chain(vec![leaf.der().clone()], &key)).await;
}

#[tokio::test]
async fn a_version_1_leaf_passes() {
    let key = KeyPair::from_pem(include_str!("fixtures/v1-key.pem")).unwrap();
    check(Shown::chain(vec![v1_leaf()], &key)).await;
}

#[tokio::test]
async fn what_stands_above_the_leaf_is_not_parsed() {
    let shown = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
    let mut credentials = (*shown.credentials.unwrap()).clone();
    credentials.cert.push(CertificateDer::from(b"no certificate at all".to_vec()));
    check(Shown { credentials: Some(credentials.into()), ..Shown::default() }).await;
}

#[tokio::test]
async fn a_client_that_does_not_hold_the_leafs_key_is_refused() {
    let holder = KeyPair::generate().unwrap();
    let thief = KeyPair::generate().unwrap();
    let leaf = leaf_params().self_signed(&holder).unwrap();
    check_refused(Shown::chain(vec![leaf.der().clone()], &thief), "DecryptError").await;
}

#[tokio::test]
async fn a_client_that_does_not_hold_an_rsa_leafs_key_is_refused() {
    let holder = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let thief = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let leaf = leaf_params().self_signed(&holder).unwrap();
    check_refused(Shown::chain(vec![leaf.der().clone()], &thief), "DecryptError").await;
}

#[tokio::test]
async fn holding_another_kind_of_key_proves_nothing() {
    let holder = KeyPair::generate().unwrap();
    let thief = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let leaf = leaf_params().self_signed(&holder).unwrap();
    check_refused(Shown::chain(vec![leaf.der().clone()], &thief), "DecryptError").await;
}

#[tokio::test]
async fn a_leaf_we_read_leniently_needs_its_key_as_well() {
    let holder = KeyPair::generate().unwrap();
    let thief = KeyPair::generate().unwrap();
    let strange = strange_params().self_signed(&holder).unwrap();
    check_refused(Shown::chain(vec![strange.der().clone()], &thief), "DecryptError").await;
    check_refused(Shown::chain(vec![v1_leaf()], &thief), "DecryptError").await;
}

#[tokio::test]
async fn a_key_further_up_the_chain_is_not_the_leafs() {
    let ca_key = KeyPair::generate().unwrap();
    let ca = leaf_params().self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(leaf_params(), &ca_key);
    let leaf = leaf_params().signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let chain = vec![leaf.der().clone(), ca.der().clone()];
    check_refused(Shown::chain(chain, &ca_key), "DecryptError").await;
}

#[tokio::test]
async fn a_leaf_that_is_no_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let garbage = CertificateDer::from(b"no certificate at all".to_vec());
    check_refused(Shown::chain(vec![garbage], &key), "BadCertificate").await;
}

#[tokio::test]
async fn an_rsa_leaf_beyond_8192_bits_cannot_prove_itself() {
    let signer = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(leaf_params(), &ca_key);
    let huge = HugeRsaKey::new(16_384);
    assert!(huge.der_bytes().len() > 2_048);
    let leaf = leaf_params().signed_by(&huge, &issuer).unwrap();
    check_refused(Shown::chain(vec![leaf.der().clone()], &signer), "CertificateUnknown").await;
}

#[tokio::test]
async fn a_chain_beyond_64_kib_ends_the_handshake_and_nothing_else() {
    let shown = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
    let mut credentials = (*shown.credentials.unwrap()).clone();
    credentials.cert.push(CertificateDer::from(vec![0; 66_000]));
    let shown = Shown { credentials: Some(credentials.into()), ..Shown::default() };
    let mut server = Server::start().await;
    for version in VERSIONS {
        Client::new(version, shown.clone()).visit(server.address).await.unwrap_err();
        assert!(server.saw_nothing(), "{version:?}");
        Client::new(version, Shown::nothing()).visit(server.address).await.unwrap();
        server.seen().await;
    }
}

#[tokio::test]
async fn the_certificate_request_names_no_issuers_and_every_scheme() {
    let server = Server::start().await;
    for version in VERSIONS {
        let shown = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
        Client::new(version, shown.clone()).visit(server.address).await.unwrap();
        let asked = shown.asked.lock().unwrap().clone();
        let Asked { n_hints, schemes } = asked.unwrap();
        assert_eq!(n_hints, 0);
        let supported = provider().signature_verification_algorithms.supported_schemes();
        // TLS 1.3 rules out PKCS#1 for handshakes (RFC 8446 §4.2.3), and ML-DSA needs TLS 1.3.
        let out_of_place = match version.version {
            ProtocolVersion::TLSv1_3 => "RSA_PKCS1",
            _ => "ML_DSA",
        };
        let usable = |scheme: &SignatureScheme| !format!("{scheme:?}").contains(out_of_place);
        let missing: Vec<_> =
            supported.iter().filter(|s| usable(s)).filter(|s| !schemes.contains(s)).collect();
        assert!(missing.is_empty(), "{version:?} does not advertise {missing:?}");
    }
}

/// Over both versions: what a server of that kind negotiates with a client that offers these protocols.
async fn check_alpn(speaks: Speaks, offered: &[&str], expected: Result<Option<&str>, &str>) {
    let settings = ListenSettings::default();
    let mut server = Server::start_for(speaks, settings, server_certificate()).await;
    for version in VERSIONS {
        let mut client = Client::new(version, Shown::nothing());
        client.config.alpn_protocols = offered.iter().map(|p| p.as_bytes().to_vec()).collect();
        let visit = client.visit(server.address).await;
        match expected {
            Ok(protocol) => {
                visit.unwrap();
                let protocol = protocol.map(|p| p.as_bytes().to_vec());
                assert_eq!(server.seen().await.alpn, protocol, "{version:?}");
            }
            Err(alert) => {
                assert_eq!(visit.unwrap_err(), format!("received fatal alert: {alert}"));
            }
        }
    }
}

#[tokio::test]
async fn http_1_1_is_offered_to_those_who_ask() {
    check_alpn(Speaks::Https, &["h2", "http/1.1"], Ok(Some("http/1.1"))).await;
    check_alpn(Speaks::Https, &[], Ok(None)).await;
    check_alpn(Speaks::Https, &["h2"], Err("NoApplicationProtocol")).await;
    check_alpn(Speaks::Https, &["mqtt"], Err("NoApplicationProtocol")).await;
}

#[tokio::test]
async fn mqtt_is_offered_on_its_port_to_those_who_ask() {
    check_alpn(Speaks::Mqtt, &["x-amzn-mqtt-ca", "mqtt"], Ok(Some("mqtt"))).await;
    check_alpn(Speaks::Mqtt, &[], Ok(None)).await;
    check_alpn(Speaks::Mqtt, &["http/1.1", "h2"], Err("NoApplicationProtocol")).await;
}

#[tokio::test]
async fn amqp_has_no_name_so_whatever_is_asked_for_is_passed_over() {
    check_alpn(Speaks::Amqp, &[], Ok(None)).await;
    check_alpn(Speaks::Amqp, &["amqp", "http/1.1"], Ok(None)).await;
}

#[tokio::test]
async fn the_name_asked_for_is_handed_over() {
    let mut server = Server::start().await;
    let mut client = Client::new(VERSIONS[0], Shown::nothing());
    client.visit(server.address).await.unwrap();
    let seen = server.seen().await;
    assert_eq!(seen.server_name.as_deref(), Some("localhost"));
    assert_eq!(seen.peer, client.from);

    client.name = "127.0.0.1";
    client.visit(server.address).await.unwrap();
    assert_eq!(server.seen().await.server_name, None, "an IP address is not sent as a name");
}

/// Over both versions: the second visit resumes the first, and the server sees the same chain.
async fn check_resumption(shown: Shown) {
    let mut server = Server::start().await;
    for version in VERSIONS {
        let client = Client::new(version, shown.clone()).resuming();
        let first = client.visit(server.address).await.unwrap();
        assert_eq!(first.kind, HandshakeKind::Full, "{version:?}");
        let second = client.visit(server.address).await.unwrap();
        assert_eq!(second.kind, HandshakeKind::Resumed, "{version:?}");
        for _ in [first, second] {
            assert_eq!(server.seen().await.chain, shown.chain_der(), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_resumed_session_carries_the_clients_chain() {
    check_resumption(issued_chain(3)).await;
}

#[tokio::test]
async fn a_resumed_session_without_a_chain_stays_without() {
    check_resumption(Shown::nothing()).await;
}

#[tokio::test]
async fn a_client_with_a_very_long_chain_does_full_handshakes() {
    let server = Server::start().await;
    for version in VERSIONS {
        let client = Client::new(version, issued_chain(60)).resuming();
        for _ in 0..2 {
            let visit = client.visit(server.address).await.unwrap();
            assert_eq!(visit.kind, HandshakeKind::Full, "{version:?}");
        }
    }
}
