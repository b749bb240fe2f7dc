//! Pages of events.

use app::device::{DeviceSession, EventDraft};
use model::MessageProperties;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::frozen::{DEVICE, frozen};
use super::scene::{HUB, NOW_TEXT, Reply, Scene, scene};

const PATH: &str = "/induct/v1/events";

/// Sends an event with this body.
pub(super) async fn send(session: &DeviceSession, body: impl AsRef<[u8]>) {
    let draft = EventDraft { body: body.as_ref().to_vec(), ..EventDraft::default() };
    session.send(draft).await.expect("taken");
}

/// Sends an event whose body is JSON.
pub(super) async fn send_json(session: &DeviceSession, body: &str) {
    let content_type = Some("application/json".to_owned());
    let properties = MessageProperties { content_type, ..MessageProperties::default() };
    let draft = EventDraft { properties, body: body.into(), ..EventDraft::default() };
    session.send(draft).await.expect("taken");
}

async fn read(scene: &Scene, query: &str) -> Reply {
    scene.hub("GET", &format!("{PATH}?{query}"), "").await.with_status(200)
}

/// The JSON bodies of a page.
fn bodies(page: &Reply) -> Vec<Value> {
    let events = page.at("/events");
    let events = events.as_array().expect("events").iter();
    events.map(|event| event["body"].clone()).collect()
}

async fn scene_with_devices() -> (Scene, DeviceSession, DeviceSession) {
    let scene = scene().await;
    scene.add_device("dev1").await;
    scene.add_device("dev2").await;
    let (one, _) = scene.connect("dev1").await;
    let (two, _) = scene.connect("dev2").await;
    (scene, one, two)
}

#[tokio::test]
async fn an_event_is_read_on_either_host_with_all_that_is_known_of_it() {
    let (scene, one, _) = scene_with_devices().await;
    send_json(&one, r#"{"t": 21.50, "n": 12345678901234567890}"#).await;
    let here = read(&scene, "from=earliest").await;
    let generation = scene.hub("GET", "/devices/dev1", "").await.text_at("/generationId");
    assert_eq!(here.at("/events/0/deviceId"), "dev1");
    assert_eq!(here.at("/events/0/enqueuedTime"), NOW_TEXT);
    assert_eq!(here.at("/events/0/sequenceNumber"), 0);
    assert_eq!(here.at("/events/0/offset"), "0");
    let annotations = here.at("/events/0/annotations");
    assert_eq!(annotations["iothub-connection-auth-generation-id"], json!(generation));
    assert_eq!(annotations["iothub-message-source"], "Telemetry");
    let method = annotations["iothub-connection-auth-method"].as_str().expect("text");
    assert!(method.contains(r#""scope":"hub""#), "{method}");
    assert!(here.text.contains(r#""body":{"t":21.50,"n":12345678901234567890}"#), "{here:?}");
    let there = format!("/induct/v1/hubs/{HUB}/events?from=earliest");
    let there = scene.operator("GET", &there, "").await.with_status(200);
    assert_eq!(there.text, here.text);
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_page_ended_and_misses_nothing() {
    let (scene, one, two) = scene_with_devices().await;
    let latest = read(&scene, "").await;
    assert_eq!(latest.at("/events"), json!([]));
    for n in 0..25 {
        let session = if n % 2 == 0 { &one } else { &two };
        send_json(session, &n.to_string()).await;
    }
    let (mut cursor, mut seen) = (latest.text_at("/cursor"), Vec::new());
    loop {
        let page = read(&scene, &format!("limit=4&cursor={cursor}")).await;
        let found = bodies(&page);
        assert!(found.len() <= 4);
        cursor = page.text_at("/cursor");
        if found.is_empty() {
            break;
        }
        seen.extend(found);
    }
    let of = |n: u64| seen.iter().filter(move |body| body.as_u64().is_some_and(|b| b % 2 == n));
    // Each partition has its order, and so each device.
    assert!(of(0).is_sorted_by_key(|body| body.as_u64()));
    assert!(of(1).is_sorted_by_key(|body| body.as_u64()));
    assert_eq!((seen.len(), of(0).count(), of(1).count()), (25, 13, 12));
    // A cursor wins over `from`, and is still good when more comes.
    assert!(bodies(&read(&scene, &format!("from=earliest&cursor={cursor}")).await).is_empty());
    send_json(&one, "25").await;
    assert_eq!(bodies(&read(&scene, &format!("cursor={cursor}")).await), [25]);
}

#[tokio::test]
async fn a_reader_may_ask_for_one_device_one_partition_or_a_time() {
    let (scene, one, two) = scene_with_devices().await;
    for n in 0..6 {
        send_json(&one, &n.to_string()).await;
        send_json(&two, &(n + 100).to_string()).await;
    }
    let page = read(&scene, "from=earliest&deviceId=dev2").await;
    assert_eq!(bodies(&page), [100, 101, 102, 103, 104, 105]);
    let page = read(&scene, "from=earliest&deviceId=dev2&limit=2").await;
    assert_eq!(bodies(&page), [100, 101]);
    let rest = format!("deviceId=dev2&cursor={}", page.text_at("/cursor"));
    assert_eq!(bodies(&read(&scene, &rest).await), [102, 103, 104, 105]);
    assert!(bodies(&read(&scene, "from=earliest&deviceId=DEV2").await).is_empty());
    let partition = page.at("/events/0/partition");
    let page = read(&scene, &format!("from=earliest&partition={partition}")).await;
    let events = page.at("/events").as_array().cloned().expect("events");
    assert!(events.iter().all(|event| event["partition"] == partition));
    assert!(events.iter().any(|event| event["deviceId"] == "dev2"));
    assert!(bodies(&read(&scene, "from=earliest&partition=9999").await).is_empty());
    scene.advance_secs(60);
    send_json(&one, "6").await;
    assert_eq!(bodies(&read(&scene, "from=2026-01-01T00:00:30Z").await), [6]);
    assert_eq!(bodies(&read(&scene, "from=2025-01-01T00:00:30%2B01:00").await).len(), 13);
}

#[tokio::test]
async fn a_body_that_is_not_json_comes_as_base64() {
    let (scene, one, _) = scene_with_devices().await;
    send(&one, b"\xff\0").await;
    let page = read(&scene, "from=earliest").await;
    assert_eq!(page.at("/events/0/bodyBase64"), "/wA=");
    assert_eq!(page.at("/events/0/body"), Value::Null);
}

#[tokio::test]
async fn what_a_reader_asks_wrongly_is_named() {
    let (scene, _, _) = scene_with_devices().await;
    let other = scene.operator("GET", "/induct/v1/hubs/hub-2.example.test/events", "").await;
    let foreign = format!("cursor={}", other.with_status(200).text_at("/cursor"));
    for (query, word) in [
        ("from=yesterday", "from: "),
        ("limit=0", "limit: "),
        ("limit=1001", "limit: "),
        ("limit=+1", "limit: "),
        ("wait=61", "wait: "),
        ("wait=-1", "wait: "),
        ("partition=x", "partition: "),
        ("partition=70000", "partition: "),
        ("deviceId=a%2Fb", "deviceId: "),
        ("cursor=abc", "cursor: "),
        (foreign.as_str(), "cursor: "),
    ] {
        let refused = scene.hub("GET", &format!("{PATH}?{query}"), "").await;
        let refused = refused.with_name(400, "ArgumentInvalid");
        assert!(refused.text_at("/Message").contains(word), "{query}: {refused:?}");
    }
    let path = |hub: &str| format!("/induct/v1/hubs/{hub}/events");
    scene.operator("GET", &path("hub-9.example.test"), "").await.with_code(404_000);
    scene.operator("GET", &format!("{}?limit=x", path(HUB)), "").await.with_code(400_004);
    // Each endpoint is on its own host.
    scene.operator("GET", PATH, "").await.with_code(404_000);
    scene.hub("GET", &path(HUB), "").await.with_name(404, "GenericNotFound");
}

#[tokio::test]
async fn a_page_waits_for_its_first_event_and_no_longer() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    let from = Instant::now();
    let empty = read(&scene, "wait=60").await;
    assert_eq!((bodies(&empty).len(), from.elapsed().as_secs()), (0, 60));
    let path = format!("wait=60&cursor={}", empty.text_at("/cursor"));
    let from = Instant::now();
    let (page, ()) = tokio::join!(read(&scene, &path), async {
        tokio::time::advance(std::time::Duration::from_secs(45)).await;
        send_json(&session, "1").await;
    });
    assert_eq!((bodies(&page), from.elapsed().as_secs()), (vec![json!(1)], 45));
    // What is there already is not waited for.
    let from = Instant::now();
    assert_eq!(bodies(&read(&scene, "wait=60&from=earliest").await), [1]);
    assert_eq!(from.elapsed().as_secs(), 0);
    // Events of others end no wait.
    let from = Instant::now();
    let (page, ()) = tokio::join!(read(&scene, "wait=30&deviceId=other"), async {
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        send_json(&session, "2").await;
    });
    assert_eq!((bodies(&page).len(), from.elapsed().as_secs()), (0, 30));
}

#[tokio::test]
async fn a_filter_that_finds_nothing_comes_to_the_end_in_bounded_steps() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    for _ in 0..25_000 {
        send(&session, b"").await;
    }
    let (mut path, mut n_pages) = ("deviceId=other&from=earliest".to_owned(), 0);
    let end = read(&scene, "").await.text_at("/cursor");
    loop {
        let page = read(&scene, &path).await;
        assert!(bodies(&page).is_empty());
        let cursor = page.text_at("/cursor");
        n_pages += 1;
        if cursor == end {
            break;
        }
        path = format!("deviceId=other&cursor={cursor}");
    }
    assert_eq!(n_pages, 3);
}

#[tokio::test]
async fn a_page_of_large_events_ends_before_its_limit() {
    let scene = frozen().await;
    let (session, _) = scene.connect(DEVICE).await;
    for _ in 0..20 {
        send(&session, vec![b'x'; 200_000]).await;
    }
    let page = read(&scene, "from=earliest").await;
    let n_events = page.at("/events").as_array().map(Vec::len).expect("events");
    assert!((5..=8).contains(&n_events), "{n_events}");
    let next = read(&scene, &format!("cursor={}", page.text_at("/cursor"))).await;
    assert_eq!(next.at("/events/0/sequenceNumber"), n_events);
}
