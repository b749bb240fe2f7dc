//! Server-sent events. Time is tokio's and stands still until everything waits.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use super::connection::{Line, connect_to};
use super::events::{send, send_json};
use super::frozen::{DEVICE, freeze, frozen};
use super::scene::{HUB, Scene};
use crate::{AnswerBody, HttpDoor, HttpSettings};

const PATH: &str = "/induct/v1/events";

/// A stream, its pieces taken one by one.
struct Stream(AnswerBody);

async fn open(scene: &Scene, query: &str, last: Option<&str>) -> Stream {
    let mut ask = scene.hub_owner("GET", &format!("{PATH}?{query}"));
    ask = ask.header("accept", "text/html;q=0.1, Text/Event-Stream");
    if let Some(last) = last {
        ask = ask.header("last-event-id", last);
    }
    let response = scene.open(ask).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Stream(response.into_body())
}

impl Stream {
    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?.expect("no error");
        let bytes = frame.into_data().expect("data").to_vec();
        Some(String::from_utf8(bytes).expect("text"))
    }

    /// The next event, with the place after it. Passes over what is none.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let piece = self.next().await.expect("more");
            let lines: Vec<_> = piece.lines().collect();
            let [id, data, ""] = lines[..] else { continue };
            let Some(data) = data.strip_prefix("data: ") else { continue };
            let id = id.strip_prefix("id: ").expect("a place").to_owned();
            assert!(piece.ends_with("\n\n"));
            return (id, serde_json::from_str(data).expect("JSON"));
        }
    }
}

#[tokio::test]
async fn events_come_as_they_are_taken_each_with_the_place_after_it() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    send_json(&session, "0").await;
    let mut stream = open(&scene, "", None).await;
    let first = stream.next().await.expect("a place");
    assert!(first.starts_with("retry: 1000\nid: ") && first.ends_with("\n\n"), "{first:?}");
    let (one, ()) = tokio::join!(stream.event(), send_json(&session, r#"{"a":"x\ny"}"#));
    assert_eq!(one.1["body"]["a"], "x\ny");
    send_json(&session, "2").await;
    send_json(&session, "3").await;
    assert_eq!(stream.event().await.1["body"], 2);
    // Whoever connects again says in the header how far it came, with the query it began with.
    let mut again = open(&scene, "from=earliest", Some(&one.0)).await;
    assert_eq!(again.event().await.1["body"], 2);
    assert_eq!(again.event().await.1["body"], 3);
    let mut from_start = open(&scene, "from=earliest", None).await;
    assert_eq!(from_start.event().await.1["body"], 0);
}

#[tokio::test]
async fn a_stream_that_has_nothing_to_say_says_so_every_so_often() {
    let scene = frozen().await;
    let mut stream = open(&scene, "", None).await;
    stream.next().await.expect("a place");
    for _ in 0..3 {
        let from = Instant::now();
        assert_eq!(stream.next().await.as_deref(), Some(": beat\n\n"));
        assert_eq!(from.elapsed().as_secs(), 15);
    }
}

#[tokio::test]
async fn events_of_others_move_the_place_of_a_reader_who_wants_one_device() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    let mut stream = open(&scene, "deviceId=other", None).await;
    let first = stream.next().await.expect("a place");
    send_json(&session, "1").await;
    let beat = stream.next().await.expect("a beat");
    let place = beat.strip_prefix(": beat\nid: ").expect("a place").trim_end();
    assert!(!first.contains(place));
    let mut again = open(&scene, "", Some(place)).await;
    again.next().await.expect("a place");
    assert_eq!(again.next().await.as_deref(), Some(": beat\n\n"), "the event was passed over");
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let scene = frozen().await;
    let mut stream = open(&scene, "", None).await;
    stream.next().await.expect("a place");
    stream.next().await.expect("a beat");
    // The token's ten minutes, and the five that clocks may differ.
    scene.advance_secs(600 + 299);
    assert_eq!(stream.next().await.as_deref(), Some(": beat\n\n"));
    scene.advance_secs(2);
    let from = Instant::now();
    assert_eq!(stream.next().await, None);
    assert!(from.elapsed().as_secs() <= 3, "{:?}", from.elapsed());
}

#[tokio::test]
async fn a_stream_ends_soon_after_its_policy_is_gone() {
    let (scene, store) = freeze().await;
    let (session, _) = scene.connect(DEVICE).await;
    let mut stream = open(&scene, "", None).await;
    stream.next().await.expect("a place");
    store.forget_policies();
    let from = Instant::now();
    // Until then events flow, and they put nothing off.
    for n in 0..3 {
        tokio::time::advance(Duration::from_secs(4)).await;
        send_json(&session, &n.to_string()).await;
        assert_eq!(stream.event().await.1["body"], n);
    }
    assert_eq!(stream.next().await, None);
    assert_eq!(from.elapsed().as_secs(), 15);
}

/// The same instance, behind a door for so many readers.
fn with_readers(mut scene: Scene, max_event_readers: usize) -> Scene {
    let settings = HttpSettings { max_event_readers, ..HttpSettings::default() };
    scene.door = HttpDoor::new(scene.app.clone(), settings);
    scene
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let scene = with_readers(frozen().await, 2);
    let one = open(&scene, "", None).await;
    let _two = open(&scene, "", None).await;
    let ask = scene.hub_owner("GET", PATH).header("accept", "text/event-stream");
    scene.send(ask.clone()).await.with_name(429, "ThrottlingException");
    let waiting = scene.hub("GET", &format!("{PATH}?wait=1"), "").await;
    waiting.with_name(429, "ThrottlingException");
    scene.hub("GET", PATH, "").await.with_status(200);
    drop(one);
    drop(open(&scene, "", None).await);
}

/// Asks for a stream over a connection, and reads the head of the answer.
async fn ask_on_line(scene: &Scene, host: &str, path: &str, token: &str) -> Line {
    let mut line = connect_to(scene.door.clone());
    line.say(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\
         Authorization: {token}\r\n\r\n"
    ))
    .await;
    let head = line.hear_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    line
}

async fn line_of_hub(scene: &Scene, query: &str) -> Line {
    let token = scene.hub_token("iothubowner");
    ask_on_line(scene, HUB, &format!("{PATH}?{query}"), &token).await
}

#[tokio::test]
async fn a_stream_outlasts_every_time_limit_of_other_answers() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    let token = scene.service_token("provisioningserviceowner");
    let path = format!("/induct/v1/hubs/{HUB}/events");
    let mut line = ask_on_line(&scene, super::scene::SERVICE, &path, &token).await;
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(3600) {
        line.hear_until(": beat\n\n").await;
    }
    send_json(&session, r#"{"late":true}"#).await;
    line.hear_until(r#""body":{"late":true}}"#).await;
}

#[tokio::test]
async fn shutdown_ends_a_stream_cleanly_and_at_once() {
    let scene = frozen().await;
    let mut line = line_of_hub(&scene, "").await;
    line.hear_until("\n\n").await;
    line.shutdown.send(true).expect("heard");
    let (rest, waited) = line.hear_out().await;
    // The last chunk says that nothing is missing.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn shutdown_answers_who_waits_for_a_page() {
    let scene = frozen().await;
    let mut line = connect_to(scene.door.clone());
    let token = scene.hub_token("iothubowner");
    line.say(format!(
        "GET {PATH}?wait=60 HTTP/1.1\r\nHost: {HUB}\r\nAuthorization: {token}\r\n\r\n"
    ))
    .await;
    sleep(Duration::from_secs(1)).await;
    line.shutdown.send(true).expect("heard");
    let (answer, waited) = line.hear_out().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""events":[]"#), "{answer}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test]
async fn who_hangs_up_gives_the_place_back() {
    let scene = with_readers(frozen().await, 1);
    for _ in 0..3 {
        let mut line = line_of_hub(&scene, "").await;
        line.hear_until("\n\n").await;
        drop(line.client);
        line.server.await.expect("no panic");
    }
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_makes_nothing_pile_up() {
    const N_EVENTS: usize = 500;
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    for _ in 0..N_EVENTS {
        send(&session, vec![b'x'; 10_000]).await;
    }
    let mut line = line_of_hub(&scene, "from=earliest").await;
    let from = Instant::now();
    let server = &mut line.server;
    server.await.expect("no panic");
    assert!((180..=200).contains(&from.elapsed().as_secs()), "{:?}", from.elapsed());
    // What was made and not sent stood in buffers, all of it in the pipe and hyper's.
    let mut rest = Vec::new();
    let _ = line.client.read_to_end(&mut rest).await;
    let n_heard = String::from_utf8_lossy(&rest).matches("data: ").count();
    assert!(n_heard < N_EVENTS / 4, "{n_heard}");
}

#[tokio::test]
async fn a_reader_who_is_slow_but_reads_gets_everything() {
    const N_EVENTS: usize = 300;
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    for _ in 0..N_EVENTS {
        send(&session, vec![b'x'; 10_000]).await;
    }
    let mut line = line_of_hub(&scene, "from=earliest").await;
    let (mut heard, mut piece) = (String::new(), vec![0; 64 * 1024]);
    while heard.matches(r#""sequenceNumber":"#).count() < N_EVENTS {
        sleep(Duration::from_secs(100)).await;
        let n_bytes = line.client.read(&mut piece).await.expect("goes on");
        assert!(n_bytes > 0, "cut");
        heard.push_str(str::from_utf8(&piece[..n_bytes]).expect("text"));
    }
    assert!(heard.contains(&format!(r#""sequenceNumber":{},"#, N_EVENTS - 1)));
}
