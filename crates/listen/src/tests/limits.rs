//! Time limits, connection limits, and the end.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::scene::{Client, PATIENCE, Server, Shown, VERSIONS, server_certificate};
use crate::{ListenError, ListenSettings, Listener};

/// Reads to the end and wants nothing but the end; a reset is an end as well.
async fn check_closed_without_a_word(stream: &mut TcpStream) {
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"");
}

fn client_from(last: u8) -> Client {
    let mut client = Client::new(VERSIONS[0], Shown::nothing());
    client.from = IpAddr::from([127, 0, 0, last]);
    client
}

#[tokio::test]
async fn a_slow_handshake_is_cut_at_its_limit() {
    let settings = ListenSettings {
        handshake_timeout: Duration::from_millis(50),
        ..ListenSettings::default()
    };
    let mut server = Server::start_with(settings, server_certificate()).await;
    for sent in [&b""[..], &b"\x16\x03\x01\x02\x00\x01"[..]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        check_closed_without_a_word(&mut stream).await;
    }
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn something_other_than_tls_gets_an_alert_and_the_end() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    assert_eq!(said.first(), Some(&21), "a TLS alert record");
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let settings = ListenSettings { max_connections_per_address: 2, ..ListenSettings::default() };
    let server = Server::start_with(settings, server_certificate()).await;
    let first = client_from(1).visit(server.address).await.unwrap();
    let _second = client_from(1).visit(server.address).await.unwrap();
    client_from(1).visit(server.address).await.unwrap_err();
    client_from(2).visit(server.address).await.unwrap();

    drop(first);
    check_gets_in(&server, &client_from(1)).await;
}

#[tokio::test]
async fn the_limit_of_connections_holds_for_all_addresses_together() {
    let settings = ListenSettings { max_connections: 2, ..ListenSettings::default() };
    let server = Server::start_with(settings, server_certificate()).await;
    let first = client_from(1).visit(server.address).await.unwrap();
    let _second = client_from(2).visit(server.address).await.unwrap();
    client_from(3).visit(server.address).await.unwrap_err();

    drop(first);
    check_gets_in(&server, &client_from(3)).await;
}

#[tokio::test]
async fn an_unfinished_handshake_takes_a_place() {
    let settings = ListenSettings { max_connections: 1, ..ListenSettings::default() };
    let server = Server::start_with(settings, server_certificate()).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    client_from(1).visit(server.address).await.unwrap_err();

    drop(silent);
    check_gets_in(&server, &client_from(1)).await;
}

/// A place is given back when the server has noticed the close, so the client may have to try again.
async fn check_gets_in(server: &Server, client: &Client) {
    let insist = async { while client.visit(server.address).await.is_err() {} };
    timeout(PATIENCE, insist).await.unwrap();
}

#[tokio::test]
async fn shutdown_lets_an_open_connection_finish() {
    let settings = ListenSettings { shutdown_grace: PATIENCE, ..ListenSettings::default() };
    let mut server = Server::start_with(settings, server_certificate()).await;
    let visit = client_from(1).visit(server.address).await.unwrap();
    server.stop.send(true).unwrap();
    check_closed_for_newcomers(&server).await;
    assert!(!server.running.is_finished(), "the open connection goes on");

    drop(visit);
    timeout(PATIENCE, &mut server.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_cuts_a_connection_that_outlasts_the_grace_period() {
    let settings =
        ListenSettings { shutdown_grace: Duration::from_millis(20), ..ListenSettings::default() };
    let mut server = Server::start_with(settings, server_certificate()).await;
    let mut visit = client_from(1).visit(server.address).await.unwrap();
    server.stop.send(true).unwrap();
    timeout(PATIENCE, &mut server.running).await.unwrap().unwrap();
    // Cut without the close message of TLS, which the client reports.
    timeout(PATIENCE, visit._stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_dropped_sender_is_a_shutdown() {
    let server = Server::start().await;
    drop(server.stop);
    timeout(PATIENCE, server.running).await.unwrap().unwrap();
}

/// The socket closes soon after the signal; until then a newcomer may still slip in.
async fn check_closed_for_newcomers(server: &Server) {
    let knock = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(PATIENCE, knock).await.unwrap();
}

#[tokio::test]
async fn every_address_is_served_with_its_real_port() {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let settings =
        ListenSettings { addresses: vec![loopback, loopback], ..ListenSettings::default() };
    let listener = Listener::bind(settings, server_certificate()).await.unwrap();
    let addresses = listener.local_addresses();
    assert_eq!(addresses.len(), 2);
    assert_ne!(addresses[0], addresses[1]);

    let (stop, shutdown) = watch::channel(false);
    let serve = |mut connection: crate::Connection| async move {
        connection.stream.write_all(b"!").await.unwrap();
        connection.stream.shutdown().await.unwrap();
    };
    let running = tokio::spawn(listener.run(serve, shutdown));
    for address in addresses {
        client_from(1).visit(address).await.unwrap();
    }
    stop.send(true).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = ListenSettings { addresses: vec![address], ..ListenSettings::default() };
    let error = Listener::bind(settings, server_certificate()).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_listener_needs_an_address() {
    let settings = ListenSettings::default();
    let error = Listener::bind(settings, server_certificate()).await.unwrap_err();
    assert!(matches!(error, ListenError::NoAddresses), "{error}");
}
