//! The door behind a real listener: a device with a certificate, over TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use listen::{ListenSettings, Listener, ServerCertificate, authority};
use rustls::{ClientConfig, RootCertStore, time_provider::TimeProvider};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject,
};
use testkit::{Ca, Credential};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::scene::scene;

#[derive(Debug)]
struct TestTime;

impl TimeProvider for TestTime {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(testkit::NOW.unix_secs()).expect("after 1970");
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

fn client(trusted_pem: &str, device: &Credential) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted_pem.as_bytes()).expect("PEM");
    roots.add(trusted).expect("a CA");
    let chain = device.chain().into_iter().map(|der| CertificateDer::from(der.0)).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(device.key_der().to_vec()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(TestTime))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a certificate and its key")
}

/// Sends a request over a kept connection and reads one answer with a `Content-Length`.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.expect("a length").parse::<usize>().expect("a number") {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut answer).await.expect("an answer"), 0, "{text}");
    }
}

#[tokio::test]
async fn a_device_registers_with_the_certificate_it_showed_to_the_listener() {
    let scene = scene().await;
    let root = Ca::root("line 7");
    let pem = root.pem().replace('\n', "\\n");
    let body = format!(
        r#"{{"enrollmentGroupId":"line-7","attestation":{{"type":"x509","x509":{{"signingCertificates":{{"primary":{{"certificate":"{pem}"}}}}}}}}}}"#
    );
    scene.operator("PUT", "/enrollmentGroups/line-7", &body).await.with_status(200);

    let own = authority::create(&["localhost".to_owned()], testkit::NOW.unix_secs()).expect("CA");
    let certificate = ServerCertificate::from_pem(&own.chain_pem, &own.key_pem).expect("ours");
    let settings = ListenSettings {
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        ..ListenSettings::default()
    };
    let listener = Listener::bind(settings, certificate).await.expect("bound");
    let address = listener.local_addresses()[0];
    let (stop, shutdown) = watch::channel(false);
    let (door, for_each) = (scene.door.clone(), shutdown.clone());
    let serve = move |connection| {
        let (door, shutdown) = (door.clone(), for_each.clone());
        async move { door.serve(connection, shutdown).await }
    };
    let running = tokio::spawn(listener.run(serve, shutdown));

    let connector = TlsConnector::from(Arc::new(client(&own.ca_pem, &root.leaf("press-17"))));
    let tcp = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = connector.connect(name, tcp).await.expect("shaken hands");
    let path = scene.device_path("press-17", "/register");
    let register =
        format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
    let accepted = exchange(&mut stream, &register).await;
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    let operation = accepted.split(r#""operationId":""#).nth(1).expect("an operation");
    let operation = operation.split('"').next().expect("an operation");
    let path = scene.device_path("press-17", &format!("/operations/{operation}"));
    let poll = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let assigned = exchange(&mut stream, &poll).await;
    assert!(assigned.contains(r#""status":"assigned""#), "{assigned}");

    stop.send(true).expect("heard");
    assert_eq!(stream.read(&mut [0; 1]).await.expect("closed as TLS is closed"), 0);
    running.await.expect("no panic");
}
