//! An operating system in trouble, and a server of connections with a bug.

use std::collections::VecDeque;
use std::future::pending;

use tokio::sync::mpsc;

use super::*;
use crate::tests::scene::{Client, PATIENCE, Shown, VERSIONS, server_certificate};

/// Answers `accept` with these errors first (numbers as the operating system gives them), then honestly.
struct Troubled {
    errors: VecDeque<i32>,
    socket: TcpListener,
}

impl Source for Troubled {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.errors.pop_front() {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => Source::accept(&mut self.socket).await,
        }
    }
}

fn porch() -> Arc<Porch> {
    Arc::new(Porch {
        acceptor: TlsAcceptor::from(Arc::new(tls(Speaks::Https, server_certificate()).unwrap())),
        slots: Slots::new(10, 10),
        handshake_timeout: PATIENCE,
        shutdown_grace: PATIENCE,
    })
}

#[tokio::test]
async fn errors_of_accept_do_not_end_the_loop() {
    const ECONNABORTED: i32 = 103;
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let source = Troubled { errors: [EMFILE, ECONNABORTED, ENFILE, EMFILE].into(), socket };
    let (stop, shutdown) = watch::channel(false);
    let (tell, mut served) = mpsc::unbounded_channel();
    let serve = move |_connection| {
        let _ = tell.send(());
        async {}
    };
    let running = tokio::spawn(accept_loop(source, porch(), serve, shutdown));

    // The greeting never comes; what counts is that the connection was served.
    let _ = Client::new(VERSIONS[0], Shown::nothing()).visit(address).await;
    timeout(PATIENCE, served.recv()).await.unwrap().unwrap();
    stop.send(true).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

/// Fails for ever, as when descriptors never come back.
struct Hopeless;

impl Source for Hopeless {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Err(io::Error::from_raw_os_error(24))
    }
}

#[tokio::test]
async fn shutdown_is_heard_while_accept_fails() {
    let (stop, shutdown) = watch::channel(false);
    let running = tokio::spawn(accept_loop(Hopeless, porch(), |_| pending(), shutdown));
    stop.send(true).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_while_serving_ends_that_connection_only() {
    let settings = ListenSettings {
        addresses: vec!["127.0.0.1:0".parse().unwrap()],
        ..ListenSettings::default()
    };
    let listener = Listener::bind(settings, server_certificate()).await.unwrap();
    let address = listener.local_addresses()[0];
    let (stop, shutdown) = watch::channel(false);
    let serve = |mut connection: Connection| async move {
        assert_ne!(connection.server_name, None, "a bug for clients without a name");
        connection.stream.write_all(b"!").await.unwrap();
        connection.stream.flush().await.unwrap();
        let _ = connection.stream.read(&mut [0; 1]).await;
    };
    let running = tokio::spawn(listener.run(serve, shutdown));
    let client = Client::new(VERSIONS[0], Shown::nothing());
    let nameless = Client { name: "127.0.0.1", ..client.clone() };
    nameless.visit(address).await.unwrap_err();
    client.visit(address).await.unwrap();
    stop.send(true).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap();
}

/// An accept loop with a bug, or without.
struct Buggy(bool);

impl Source for Buggy {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        assert!(!self.0, "a bug in the accept loop");
        pending().await
    }
}

#[tokio::test]
async fn a_panic_while_accepting_ends_the_whole_listener() {
    let address = "127.0.0.1:1".parse().unwrap();
    let (_stop, shutdown) = watch::channel(false);
    let sources = vec![(Buggy(false), address), (Buggy(true), address)];
    let running = tokio::spawn(run_loops(sources, porch(), |_| pending(), shutdown));
    let ended = timeout(PATIENCE, running).await.unwrap();
    assert!(ended.unwrap_err().is_panic());
}
