//! One connection: what keeps it open, what ends it, and what is answered before a handler is
//! asked. Time is tokio's and stands still until everything waits.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::faults::settled;
use super::scene::{peer, scene};
use crate::HttpDoor;

/// A request that is answered without the storage, whose threads tokio's time does not wait for.
const ASK: &str = "GET /nothing HTTP/1.1\r\nHost: dps.example.test\r\n\r\n";

pub(super) struct Line {
    pub(super) client: DuplexStream,
    pub(super) server: JoinHandle<()>,
    pub(super) shutdown: watch::Sender<bool>,
}

async fn connect() -> Line {
    connect_to(settled().await.door)
}

pub(super) fn connect_to(door: HttpDoor) -> Line {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (shutdown, stop) = watch::channel(false);
    let server =
        tokio::spawn(async move { door.serve_stream(server, peer(Vec::new()), stop).await });
    Line { client, server, shutdown }
}

impl Line {
    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.client.write_all(text.as_ref()).await.expect("written");
    }

    /// One answer: its head, and as much body as the head says.
    async fn hear(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(self.client.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(bytes).expect("text").to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut body = vec![0; length.map_or(0, |n| n.parse().expect("length"))];
        self.client.read_exact(&mut body).await.expect("a body");
        format!("{head}{}", String::from_utf8(body).expect("text"))
    }

    /// What comes until it ends with this text.
    pub(super) async fn hear_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(self.client.read_u8().await.expect("more"));
        }
        String::from_utf8(bytes).expect("text")
    }

    /// Everything until the server closes, and how long that took.
    pub(super) async fn hear_out(mut self) -> (String, Duration) {
        let from = Instant::now();
        let mut bytes = Vec::new();
        self.client.read_to_end(&mut bytes).await.expect("an end");
        self.server.await.expect("no panic");
        (String::from_utf8(bytes).expect("text"), from.elapsed())
    }
}

/// What this request is answered with: the status, and whether the connection ends then.
async fn check(request: impl AsRef<[u8]>, status: u16, ends: bool) {
    let mut line = connect().await;
    line.say(request).await;
    let answer = line.hear().await;
    assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    if ends {
        line.hear_out().await;
    } else {
        line.say(ASK).await;
        assert!(line.hear().await.starts_with("http/1.1 404 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_outlasts_the_pause_between_polls() {
    let mut line = connect().await;
    for _ in 0..3 {
        line.say(ASK).await;
        assert!(line.hear().await.starts_with("http/1.1 404 "));
        sleep(Duration::from_secs(150)).await;
    }
    let (rest, waited) = line.hear_out().await;
    assert_eq!(rest, "");
    assert!(waited <= Duration::from_secs(31), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_cut_soon() {
    let line = connect().await;
    let (rest, waited) = line.hear_out().await;
    assert_eq!((rest.as_str(), waited.as_secs()), ("", 10));
}

#[tokio::test(start_paused = true)]
async fn who_drips_a_head_is_cut() {
    let mut line = connect().await;
    line.say(ASK).await;
    line.hear().await;
    let from = Instant::now();
    for byte in ASK.bytes() {
        if line.client.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(from.elapsed() <= Duration::from_secs(13), "{:?}", from.elapsed());
    line.server.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn who_stalls_in_a_body_is_told_and_cut() {
    let mut line = connect().await;
    line.say("PUT /enrollments/a?api-version=2021-10-01 HTTP/1.1\r\nHost: dps.example.test\r\nAuthorization: SharedAccessSignature sr=x\r\nContent-Length: 10\r\n\r\n{").await;
    let (answer, waited) = line.hear_out().await;
    // The missing credential is what is told; the body came too late for anything else.
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!((30..=35).contains(&waited.as_secs()), "{waited:?}");
    let mut line = connect().await;
    line.say("PUT /s/registrations/a/register?api-version=2021-10-01 HTTP/1.1\r\nHost: dps.example.test\r\nContent-Length: 10\r\n\r\n{").await;
    let (answer, waited) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((30..=35).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_or_grows_too_large_is_not_kept() {
    let path = "PUT /s/registrations/a/register?api-version=2021-10-01 HTTP/1.1\r\nHost: x\r\n";
    check(format!("{path}Content-Length: 1048577\r\n\r\n"), 413, true).await;
    // More than any counter of hyper's holds; it answers by itself.
    check(format!("{path}Content-Length: 18446744073709551615\r\n\r\n"), 431, true).await;
    let mut line = connect().await;
    line.say(format!("{path}Transfer-Encoding: chunked\r\n\r\n")).await;
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    for _ in 0..40 {
        if timeout(Duration::from_secs(1), line.client.write_all(chunk.as_bytes())).await.is_err() {
            break;
        }
    }
    assert!(line.hear().await.starts_with("http/1.1 413 "));
}

/// A client that writes all of its body before it reads, as most do, sees the answer.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_read_to_its_end_before_the_answer() {
    const N_BYTES: usize = 3 * 1024 * 1024;
    let mut line = connect().await;
    line.say(format!(
        "PUT /s/registrations/a/register?api-version=2021-10-01 HTTP/1.1\r\nHost: x\r\n\
         Content-Length: {N_BYTES}\r\n\r\n"
    ))
    .await;
    let body = vec![b' '; N_BYTES];
    let written = timeout(Duration::from_secs(60), line.client.write_all(&body)).await;
    written.expect("in time").expect("nobody hung up");
    assert!(line.hear().await.starts_with("http/1.1 413 "));
}

#[tokio::test(start_paused = true)]
async fn heads_are_bounded_in_length_and_number() {
    let with = |headers: &str| format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    check(with(&"X: y\r\n".repeat(60)), 404, false).await;
    check(with(&"X: y\r\n".repeat(64)), 431, true).await;
    check(with(&format!("X: {}\r\n", "y".repeat(33 * 1024))), 431, true).await;
    check(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(8 * 1024)), 414, false).await;
    check("no request at all\r\n\r\n", 400, true).await;
    check(with("Content-Length: x\r\n"), 400, true).await;
    check(with("Content-Length: 1\r\nContent-Length: 2\r\n"), 400, true).await;
    let mut line = connect().await;
    line.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(line.hear_out().await.0, "", "HTTP/2 is not spoken here");
}

#[tokio::test(start_paused = true)]
async fn requests_may_be_pipelined_chunked_and_with_unread_bodies() {
    let mut line = connect().await;
    line.say(format!("{ASK}{ASK}")).await;
    for _ in 0..2 {
        assert!(line.hear().await.contains(r#""errorCode":404000"#));
    }
    line.say("GET /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").await;
    assert!(line.hear().await.starts_with("http/1.1 404 "));
    line.say(
        "GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}",
    )
    .await;
    assert!(line.hear().await.starts_with("http/1.1 404 "));
    line.say("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (answer, _) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn answers_say_their_length() {
    // The C client reads nothing else but chunks, which we have no use for (D §1.6).
    let mut line = connect().await;
    line.say("PUT /enrollments/a HTTP/1.1\r\nHost: dps.example.test\r\n\r\n").await;
    let answer = line.hear().await;
    assert!(answer.contains("\r\ncontent-length: ") && !answer.contains("transfer-encoding"));
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_idle_connections_and_lets_a_request_finish() {
    let line = connect().await;
    line.shutdown.send(true).expect("heard");
    let (_, waited) = line.hear_out().await;
    assert!(waited < Duration::from_secs(2), "{waited:?}");

    let mut line = connect().await;
    line.say("GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await;
    sleep(Duration::from_secs(1)).await;
    line.shutdown.send(true).expect("heard");
    sleep(Duration::from_secs(1)).await;
    line.say("}").await;
    let (answer, _) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_shutdown_sender_is_a_shutdown() {
    let Line { mut client, server, shutdown } = connect().await;
    drop(shutdown);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("an end");
    server.await.expect("no panic");
    assert_eq!(rest, b"");
}

const PUT_ENROLLMENT: &str = "PUT /enrollments/a?api-version=2021-10-01 HTTP/1.1\r\n\
                              Host: dps.example.test\r\n";
const REGISTER: &str = "PUT /s/registrations/a/register?api-version=2021-10-01 HTTP/1.1\r\n\
                        Host: dps.example.test\r\n";
const TOKEN: &str = "Authorization: SharedAccessSignature sr=a&sig=MDEyMzQ1&se=1&skn=x\r\n";

/// A request whose body of 200 KiB stops half way takes so much of the room.
async fn check_room(head: &str, taken: usize) {
    let door = scene().await.door;
    let n_bytes = door.room().n_free();
    let mut line = connect_to(door.clone());
    line.say(format!("{head}Content-Length: 204800\r\n\r\n{}", " ".repeat(102_400))).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(n_bytes - door.room().n_free(), taken, "{head}");
    line.hear_out().await;
    assert_eq!(door.room().n_free(), n_bytes, "{head}: all of it is given back");
}

#[tokio::test(start_paused = true)]
async fn only_what_somebody_will_look_at_is_kept_of_a_body() {
    check_room(&format!("{PUT_ENROLLMENT}{TOKEN}"), 204_800).await;
    check_room(PUT_ENROLLMENT, 0).await;
    check_room(&format!("{PUT_ENROLLMENT}Authorization: Bearer x\r\n"), 0).await;
    check_room(REGISTER, 96 * 1024 + 1).await;
    let other = |line: &str| format!("{line} HTTP/1.1\r\nHost: dps.example.test\r\n{TOKEN}");
    check_room(&other("PUT /nothing"), 0).await;
    check_room(&other("PATCH /enrollments/a"), 0).await;
    check_room(&other("DELETE /enrollments/a"), 0).await;
    check_room(&other("GET /s/registrations/a/operations/o"), 0).await;
    check_room(&other("PUT /devices/a"), 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_for_a_body_is_told_to_come_back_later() {
    let door = scene().await.door;
    let all = door.room().take(usize::MAX).await.expect("free");
    let mut line = connect_to(door.clone());
    let body = " ".repeat(8 * 1024);
    line.say(format!("{REGISTER}Content-Length: {}\r\n\r\n{body}", body.len())).await;
    let (answer, waited) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = answer.to_ascii_lowercase();
    for header in ["connection: close", "retry-after: 3"] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
    assert!((30..=33).contains(&waited.as_secs()), "{waited:?}");
    // Small ones need no room.
    let mut line = connect_to(door);
    line.say(format!("{REGISTER}Content-Length: 1\r\n\r\n[")).await;
    assert!(line.hear().await.starts_with("http/1.1 400 "));
    drop(all);
}

#[tokio::test(start_paused = true)]
async fn a_register_body_of_any_length_up_to_the_limit_of_all_is_refused_alike() {
    for n_bytes in [96 * 1024 + 1, 200 * 1024, 1024 * 1024] {
        let mut line = connect().await;
        let body = format!("\"{}\"", "x".repeat(n_bytes - 2));
        line.say(format!("{REGISTER}Content-Length: {n_bytes}\r\n\r\n{body}")).await;
        let answer = line.hear().await;
        assert!(answer.contains(r#""errorCode":400004"#) && answer.contains("98304"), "{answer}");
        line.say(ASK).await;
        assert!(line.hear().await.starts_with("http/1.1 404 "), "the connection goes on");
    }
}
