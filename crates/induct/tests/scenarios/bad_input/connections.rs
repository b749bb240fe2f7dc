//! Connections that misbehave before, below and between requests.

use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use super::Victim;
use crate::world::{HUBS, SERVICE, Scene, enrollments::by_key, within};

/// Writes as far as the server lets us.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // The server may have cut the connection already; what it said is read afterwards.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// All the server says until it ends the connection, in whatever manner.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..n]);
        }
    };
    within("the end of the connection", reading).await;
    String::from_utf8_lossy(&said).into_owned()
}

fn status(said: &str) -> &str {
    said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default()
}

#[tokio::test]
async fn garbage_instead_of_tls_ends_the_connection_and_nothing_else() {
    let victim = Victim::new().await;
    let huge_record = [&[0x16, 0x03, 0x01, 0xff, 0xff][..], &[0xff; 70_000]].concat();
    let messages: [&[u8]; 6] = [
        b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x10\x20\x00\x04MQTT\x04\x02\x00\x3c",
        b"AMQP\x03\x01\x00\x00",
        &huge_record,
    ];
    for bytes in messages {
        let address = victim.world.tls().address();
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        write(&mut stream, bytes).await;
        // Some of it could be the beginning of a handshake; there is no more to come.
        let _ = stream.shutdown().await;
        let said = rest(&mut stream).await;
        assert!(!said.contains("HTTP/1.1 200"), "{said}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_cut() {
    let victim = Victim::of(Scene::new().listen("handshake_timeout_secs = 2")).await;
    let address = victim.world.tls().address();
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(address).await.expect("the server listens");
        write(&mut stream, beginning).await;
        rest(&mut stream).await;
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let victim = Victim::of(Scene::new().listen("header_timeout_secs = 2")).await;
    for beginning in ["", "PUT /enrollments/new?api-version=2021-10-01 HTTP/1.1\r\nhost: lo"] {
        let mut stream = victim.world.tls().stream(SERVICE).await;
        write(&mut stream, beginning.as_bytes()).await;
        let said = rest(&mut stream).await;
        assert!(!said.contains("200"), "{said}");
    }
    // Cut as well while a byte comes now and then.
    let mut stream = victim.world.tls().stream(SERVICE).await;
    write(&mut stream, b"GET /healthz HTTP/1.1\r\n").await;
    let dripping = async {
        let mut drops = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            drops.tick().await;
            if stream.write_all(b"a").await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    };
    within("the cut of a slow client", dripping).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_with_408_and_cut() {
    let victim = Victim::of(Scene::new().listen("request_timeout_secs = 2")).await;
    let service = victim.world.service();
    let token = service.token(600);
    let path = service.versioned("/enrollments/new");
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: {SERVICE}\r\nauthorization: {token}\r\n\
         content-type: application/json\r\ncontent-length: 500\r\n\r\n{{\"registrationId\""
    );
    let mut stream = victim.world.tls().stream(SERVICE).await;
    write(&mut stream, head.as_bytes()).await;
    let said = rest(&mut stream).await;
    assert_eq!(status(&said), "408", "{said}");
    assert!(said.contains("\"errorCode\":408000"), "{said}");
    assert!(said.to_ascii_lowercase().contains("connection: close"), "{said}");
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_answered_with_413_whether_declared_or_not_and_cut() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let token = service.token(600);
    let limit: usize = 1024 * 1024;
    // Read while it is still being written: once the connection is cut, the operating system
    // may throw the answer away.
    for (declared, sent) in [(limit + 1, 0), (limit + 1, 100), (1 << 40, 0)] {
        let head = format!(
            "PUT {} HTTP/1.1\r\nhost: {SERVICE}\r\nauthorization: {token}\r\n\
             content-type: application/json\r\ncontent-length: {declared}\r\n\r\n{}",
            service.versioned("/enrollments/new"),
            "x".repeat(sent)
        );
        let mut stream = victim.world.tls().stream(SERVICE).await;
        write(&mut stream, head.as_bytes()).await;
        check_too_large(&rest(&mut stream).await);
    }
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: {SERVICE}\r\nauthorization: {token}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        service.versioned("/enrollments/new")
    );
    let mut stream = victim.world.tls().stream(SERVICE).await;
    write(&mut stream, head.as_bytes()).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..limit / 0x10000 {
        write(&mut stream, chunk.as_bytes()).await;
    }
    write(&mut stream, b"1\r\nx\r\n").await;
    check_too_large(&rest(&mut stream).await);
    victim.assert_unharmed().await;
}

#[track_caller]
fn check_too_large(said: &str) {
    assert_eq!(status(said), "413", "{said}");
    assert!(said.contains("\"errorCode\":413000") && said.contains("1048576"), "{said}");
    assert!(said.to_ascii_lowercase().contains("connection: close"), "{said}");
}

#[tokio::test]
async fn half_a_request_and_then_the_end_writes_nothing() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let token = service.token(600);
    let path = service.versioned("/enrollments/new");
    let body = by_key("new").to_string();
    let whole = format!(
        "PUT {path} HTTP/1.1\r\nhost: {SERVICE}\r\nauthorization: {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for cut in [1, whole.len() / 4, whole.len() / 2, whole.len() - body.len(), whole.len() - 1] {
        let mut stream = victim.world.tls().stream(SERVICE).await;
        write(&mut stream, &whole.as_bytes()[..cut]).await;
        let _ = stream.shutdown().await;
        let said = rest(&mut stream).await;
        assert!(!said.starts_with("HTTP/1.1 200"), "cut at {cut}: {said}");
        // And without a goodbye.
        let mut stream = victim.world.tls().stream(SERVICE).await;
        write(&mut stream, &whole.as_bytes()[..cut]).await;
        drop(stream);
    }
    victim.assert_unharmed().await;
    // The same request in one piece is fine.
    let mut stream = victim.world.tls().stream(SERVICE).await;
    write(&mut stream, whole.replace("\r\nhost", "\r\nconnection: close\r\nhost").as_bytes()).await;
    let said = rest(&mut stream).await;
    assert_eq!(status(&said), "200", "{said}");
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let victim = Victim::new().await;
    let many: String = (0..2_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(200_000));
    let long_path = format!("/{}", "y".repeat(200_000));
    let path_of_9_kib = format!("/{}", "y".repeat(9 * 1024));
    for (path, headers, expected) in [
        ("/healthz", many.as_str(), "431"),
        ("/healthz", &long, "431"),
        (&long_path, "", "431"),
        (&path_of_9_kib, "connection: close\r\n", "414"),
    ] {
        let mut stream = victim.world.tls().stream(SERVICE).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {SERVICE}\r\n{headers}\r\n");
        write(&mut stream, request.as_bytes()).await;
        let said = rest(&mut stream).await;
        let n_bytes = path.len() + headers.len();
        assert_eq!(status(&said), expected, "{n_bytes} bytes: {said:?}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_no_http_inside_of_tls_is_answered_with_400() {
    let victim = Victim::new().await;
    for request in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        let mut stream = victim.world.tls().stream(SERVICE).await;
        write(&mut stream, request.as_bytes()).await;
        let said = rest(&mut stream).await;
        assert_eq!(status(&said), "400", "{request:?}: {said:?}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn malformed_bodies_on_a_hub_are_refused_in_the_hubs_own_envelope() {
    let victim = Victim::new().await;
    let hub = victim.world.hub(HUBS[0]);
    for (method, path, body, name) in [
        ("PUT", "/devices/new", "{".to_owned(), "IotHubFormatError"),
        ("PUT", "/devices/new", json!({"deviceId": "other"}).to_string(), "ArgumentInvalid"),
        ("PATCH", "/twins/press-1", "[]".to_owned(), ""),
        ("POST", "/devices", "{}".to_owned(), ""),
        ("POST", "/devices/query", json!({"query": "DROP TABLE"}).to_string(), "ArgumentInvalid"),
    ] {
        let reply = hub.send(method, path, None, body.clone()).await;
        assert_eq!(reply.status, 400, "{method} {path} {body}: {reply:?}");
        let shown = reply.header("iothub-errorcode");
        assert!(!shown.is_empty() && shown.contains(name), "{reply:?}");
        let message = reply.json()["Message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(&format!("ErrorCode:{shown};")), "{message}");
    }
    let gone = hub.send("GET", "/devices/nobody", None, "").await;
    assert_eq!((gone.status, gone.header("iothub-errorcode")), (404, "DeviceNotFound"));
    victim.assert_unharmed().await;
}
