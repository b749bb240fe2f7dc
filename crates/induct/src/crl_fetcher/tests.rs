//! A server of revocation lists that answers well, wrongly, slowly, never, and elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
};

use super::*;

/// What a list of three bytes looks like.
const LIST: &[u8] = &[0x30, 1, 2];

/// A server that answers every call so, and remembers what it was asked; without an answer it
/// holds the connection open.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn answering(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut seen = vec![0; 64 * 1024];
                let n = stream.read(&mut seen).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&seen[..n]).into_owned();
                remembered.lock().await.push(text.to_lowercase());
                match &answer {
                    Some(answer) => {
                        let _ = stream.write_all(answer).await;
                    }
                    None => held.push(stream),
                }
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/plant.crl?a=b", self.address)
    }
}

fn answer(head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head =
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

fn fetcher(allow_http: bool) -> HttpsCrlFetcher {
    HttpsCrlFetcher::new(CrlFetcherSettings {
        ca_pem: String::new(),
        time_limit: Duration::from_millis(500),
        allow_http,
        allow_private_addresses: true,
    })
}

/// As it is when nobody has said anything of addresses.
fn for_public_addresses() -> HttpsCrlFetcher {
    let CrlFetcherSettings { ca_pem, time_limit, .. } = fetcher(true).settings;
    let allow_private_addresses = false;
    let settings =
        CrlFetcherSettings { ca_pem, time_limit, allow_http: true, allow_private_addresses };
    HttpsCrlFetcher::new(settings)
}

/// What comes of a server that answers so, told what is to be found in the words of a failure.
async fn check(given: Option<Vec<u8>>, expected: Result<CrlAnswer, &str>) {
    let server = Server::answering(given).await;
    let outcome = fetcher(true).fetch(&server.url(), None).await;
    match (outcome, expected) {
        (CrlAnswer::Failed(why), Err(text)) => assert!(why.contains(text), "{why}"),
        (outcome, Ok(expected)) => assert_eq!(outcome, expected),
        (outcome, Err(text)) => panic!("{outcome:?} does not say {text}"),
    }
}

fn list(entity_tag: Option<&str>) -> CrlAnswer {
    CrlAnswer::List { der: LIST.to_vec(), entity_tag: entity_tag.map(str::to_owned) }
}

#[tokio::test]
async fn a_list_comes_with_its_entity_tag_in_der_or_pem() {
    check(answer("200 OK", LIST), Ok(list(None))).await;
    check(answer("200 OK\r\nETag: \"7\"", LIST), Ok(list(Some("\"7\"")))).await;
    check(answer("200 OK\r\nETag: W/\"7\"", LIST), Ok(list(Some("W/\"7\"")))).await;
    let block = b"-----BEGIN X509 CRL-----\nMAEC\n-----END X509 CRL-----\n";
    check(answer("200 OK", block), Ok(list(None))).await;
    // Tags that are none are not kept.
    check(answer("200 OK\r\nETag: 7", LIST), Ok(list(None))).await;
    let long = format!("200 OK\r\nETag: \"{}\"", "7".repeat(300));
    check(answer(&long, LIST), Ok(list(None))).await;
}

#[tokio::test]
async fn a_server_is_asked_for_something_newer_only() {
    let server = Server::answering(answer("304 Not Modified", b"")).await;
    let outcome = fetcher(true).fetch(&server.url(), Some("\"7\"")).await;
    assert_eq!(outcome, CrlAnswer::NotModified);
    fetcher(true).fetch(&server.url(), None).await;
    let asked = server.asked.lock().await;
    assert!(asked[0].starts_with("get /plant.crl?a=b http/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains("\r\nif-none-match: \"7\"\r\n"), "{}", asked[0]);
    assert!(!asked[1].contains("if-none-match"), "{}", asked[1]);
}

#[tokio::test]
async fn what_is_no_list_is_a_failure_that_says_why() {
    check(answer("404 Not Found", b""), Err("it answered 404")).await;
    let elsewhere = "302 Found\r\nLocation: http://169.254.169.254/";
    check(answer(elsewhere, b""), Err("redirects are not followed")).await;
    check(answer("200 OK", b"<html>secret</html>"), Err("is no list")).await;
    check(answer("200 OK", b""), Err("is no list")).await;
    check(Some(Vec::new()), Err("broke off")).await;
    check(None, Err("no whole answer came")).await;
    // A server that announces more than any list has, and goes on for ever.
    let huge = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n0000".to_vec();
    check(Some(huge), Err("broke off, or is too large")).await;
}

/// Serves one connection: a head, and then a piece of body again and again, with this much time
/// between them, for as long as it is read. Says how many bytes it got rid of.
async fn endless(piece: Vec<u8>, pause: Duration) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut ended = stream.write_all(head).await.is_err();
        let size = format!("{:x}\r\n", piece.len());
        let chunk = [size.as_bytes(), &piece, b"\r\n"].concat();
        while !ended {
            ended = stream.write_all(&chunk).await.is_err();
            counted.fetch_add(chunk.len(), Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
    });
    (address, sent)
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_by_its_time_and_by_its_size() {
    let ask = async |limit: Duration, address: SocketAddr| {
        let mut settings = fetcher(true).settings;
        settings.time_limit = limit;
        let (fetcher, url) = (HttpsCrlFetcher::new(settings), format!("http://{address}/"));
        match fetcher.fetch(&url, None).await {
            CrlAnswer::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    };
    // A byte now and then, each of them in time.
    let (address, _) = endless(vec![0x30], Duration::from_millis(20)).await;
    let why = ask(Duration::from_millis(300), address).await;
    assert!(why.contains("no whole answer came"), "{why}");
    // As much as the line carries.
    let (address, sent) = endless(vec![0x30; 1024 * 1024], Duration::ZERO).await;
    let why = ask(Duration::from_secs(120), address).await;
    assert!(why.contains("too large"), "{why}");
    let most = pem::MAX_CRL_TEXT_BYTES + 32 * 1024 * 1024;
    assert!(sent.load(Ordering::Relaxed) < most, "{sent:?} bytes were read");
}

#[tokio::test]
async fn addresses_that_are_not_public_are_asked_only_where_that_is_allowed() {
    let server = Server::answering(answer("200 OK", LIST)).await;
    let port = server.address.port();
    let fetcher = for_public_addresses();
    // By address, and by a name that leads to one.
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let url = format!("http://{host}:{port}/");
        match fetcher.fetch(&url, None).await {
            CrlAnswer::Failed(why) => assert!(why.contains("allow_private_addresses"), "{why}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    assert!(server.asked.lock().await.is_empty());
    let check = |url: &str, expected: bool| {
        assert_eq!(fetcher.may_ask(url).is_ok(), expected, "{url}");
    };
    check("https://169.254.169.254/latest", false);
    check("https://[fd00::1]:8443/a", false);
    check("https://10.1.2.3/a", false);
    check("https://8.8.8.8/a", true);
    // A name is looked up when it is asked.
    check("https://localhost/a", true);
}

#[tokio::test]
async fn nobody_is_called_who_cannot_be_reached_or_may_not_be_asked() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("bound")
    };
    let url = format!("http://{closed}/");
    let unreachable = CrlAnswer::Failed("it cannot be reached".to_owned());
    assert_eq!(fetcher(true).fetch(&url, None).await, unreachable);

    let server = Server::answering(answer("200 OK", LIST)).await;
    let CrlAnswer::Failed(why) = fetcher(false).fetch(&server.url(), None).await else {
        panic!("http: was not allowed");
    };
    assert!(why.contains("crls.allow_http"), "{why}");
    assert!(server.asked.lock().await.is_empty());
    let check = |url: &str, expected: bool| {
        assert_eq!(fetcher(false).may_ask(url).is_ok(), expected, "{url}");
    };
    check("https://crl.example/a", true);
    check("http://crl.example/a", false);
    check("ftp://crl.example/a", false);
    check("/a", false);
}
