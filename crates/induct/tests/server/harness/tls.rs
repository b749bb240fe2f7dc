//! Handshakes, for tests that look at the connection rather than at what is said on it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A connection from this address to `localhost` at that one, which trusts these CAs, PEM.
pub(crate) async fn handshake(from: IpAddr, to: SocketAddr, cas: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a CA");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("bound");
    let tcp = socket.connect(to).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake")
}

/// The certificate the server presented.
pub(crate) fn leaf(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let (_, tls) = stream.get_ref();
    tls.peer_certificates().expect("presented")[0].clone().into_owned()
}
