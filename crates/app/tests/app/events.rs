//! The log of a hub's events: what a reader gets, in which order, and for how long.

use decide::hub::event::Retention;
use induct_app::{
    device::HubLimits,
    hub::{EventCursor, EventStart},
    ports::Clock,
};
use model::{Change, StoredEvent};

use crate::{
    gated::At,
    stage::{Stage, at_once, body},
};

fn is_event(change: &Change) -> bool {
    matches!(change, Change::AppendEvent(..))
}

fn bodies(events: &[StoredEvent]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8(event.event.body.clone()).unwrap()).collect()
}

async fn cursor(stage: &Stage, start: EventStart) -> EventCursor {
    stage.app.event_cursor(&stage.hub, start).await.unwrap()
}

/// A stage with a log bounded like this, and a device for each of these names.
async fn stage(retention: Retention, devices: &[&str]) -> Stage {
    let stage = Stage::with(HubLimits { retention, ..HubLimits::default() }).await;
    for device in devices {
        stage.create(device, 1).await;
    }
    stage
}

async fn send(stage: &Stage, device: &str, texts: impl IntoIterator<Item = String>) {
    let (session, _commands) = stage.connect(device, 1).await.unwrap();
    for text in texts {
        session.send(body(&text)).await.unwrap();
    }
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

#[tokio::test]
async fn a_device_keeps_its_partition_and_its_order() {
    let names = ["press-1", "press-2", "press-3", "press-4", "press-5"];
    let stage = stage(Retention::default(), &names).await;
    for n in 0..4 {
        for name in names {
            send(&stage, name, numbered(n * 10..n * 10 + 3)).await;
        }
    }
    let events = stage.read(&cursor(&stage, EventStart::Earliest).await).await;
    assert_eq!(events.len(), 60);
    let mut partitions = std::collections::BTreeSet::new();
    for name in names {
        let of_device: Vec<_> =
            events.iter().filter(|event| event.event.device_id.as_str() == name).cloned().collect();
        let expected: Vec<String> = (0..4).flat_map(|n| numbered(n * 10..n * 10 + 3)).collect();
        assert_eq!(bodies(&of_device), expected);
        assert!(of_device.iter().all(|event| event.partition == of_device[0].partition));
        partitions.insert(of_device[0].partition);
    }
    assert!(partitions.len() > 1, "{partitions:?}");
    for partition in partitions {
        let offsets: Vec<u64> = events
            .iter()
            .filter(|event| event.partition == partition)
            .map(|event| event.offset)
            .collect();
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
    }
    assert!(events.is_sorted_by_key(|event| event.event.enqueued));
}

#[tokio::test]
async fn readers_begin_where_they_ask_to() {
    let stage = stage(Retention::default(), &["press-1", "press-2"]).await;
    send(&stage, "press-1", numbered(0..3)).await;
    let latest = cursor(&stage, EventStart::Latest).await;
    let moment = stage.clock.now();
    let from_moment = EventStart::Enqueued(moment);
    // Of this device's partition nothing is known yet.
    send(&stage, "press-2", numbered(3..5)).await;
    send(&stage, "press-1", numbered(5..6)).await;
    let by_time = cursor(&stage, from_moment).await;
    let earliest = cursor(&stage, EventStart::Earliest).await;
    assert_eq!(bodies(&stage.read(&latest).await), ["3", "4", "5"]);
    assert_eq!(bodies(&stage.read(&by_time).await), ["3", "4", "5"]);
    assert_eq!(bodies(&stage.read(&earliest).await), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(bodies(&stage.read(&EventCursor::default()).await).len(), 6);
    let none = cursor(&stage, EventStart::Latest).await;
    assert_eq!(bodies(&stage.read(&none).await).len(), 0);
}

#[tokio::test]
async fn pages_of_any_size_give_every_event_once() {
    let stage = stage(Retention::default(), &["press-1", "press-2", "press-3"]).await;
    for n in 0..3 {
        for name in ["press-1", "press-2", "press-3"] {
            send(&stage, name, numbered(n * 7..n * 7 + 7)).await;
        }
    }
    let start = cursor(&stage, EventStart::Earliest).await;
    let all = stage.read(&start).await;
    assert_eq!(all.len(), 63);
    for (limit, max_bytes) in [(1, u64::MAX), (2, 1), (5, u64::MAX), (100, 600), (7, 1_000)] {
        let mut at = start.clone();
        let mut found = Vec::new();
        loop {
            let page =
                stage.app.read_events(&stage.hub, &at, None, limit, max_bytes).await.unwrap();
            if page.events.is_empty() {
                assert_eq!(page.cursor, at);
                break;
            }
            assert!(page.events.len() <= limit);
            let size: u64 = page.events.iter().map(|event| event.event.size_bytes()).sum();
            assert!(size <= max_bytes || page.events.len() == 1, "{size} bytes");
            found.extend(page.events);
            at = page.cursor;
        }
        assert_eq!(found, all, "{limit} and {max_bytes}");
    }
    let partition = all[0].partition;
    let page =
        stage.app.read_events(&stage.hub, &start, Some(partition), 100, u64::MAX).await.unwrap();
    let expected: Vec<_> =
        all.iter().filter(|event| event.partition == partition).cloned().collect();
    assert_eq!(page.events, expected);
}

#[tokio::test]
async fn what_is_too_old_goes_and_offsets_stay() {
    let retention = Retention { max_age_secs: 60, batch: 2, ..Retention::default() };
    let stage = stage(retention, &["press-1"]).await;
    let start = cursor(&stage, EventStart::Earliest).await;
    send(&stage, "press-1", numbered(0..5)).await;
    stage.clock.advance(50);
    send(&stage, "press-1", numbered(5..8)).await;
    stage.app.trim_events().await.unwrap();
    assert_eq!(bodies(&stage.read(&start).await).len(), 8);
    stage.clock.advance(20);
    stage.app.trim_events().await.unwrap();
    // A reader that was further behind goes on with what there is.
    let left = stage.read(&start).await;
    assert_eq!(bodies(&left), ["5", "6", "7"]);
    assert_eq!(left[0].offset, 5);
    stage.clock.advance(1_000);
    stage.app.trim_events().await.unwrap();
    assert_eq!(stage.read(&start).await, []);
    let earliest = cursor(&stage, EventStart::Earliest).await;
    assert_eq!(earliest, cursor(&stage, EventStart::Latest).await);
    send(&stage, "press-1", numbered(8..9)).await;
    let new = stage.read(&earliest).await;
    assert_eq!((new.len(), new[0].offset), (1, 8));
}

#[tokio::test]
async fn what_is_too_much_goes_oldest_first() {
    let max_partition_bytes = 10 * 257;
    let retention = Retention { max_partition_bytes, batch: 3, ..Retention::default() };
    let stage = stage(retention, &["press-1"]).await;
    send(&stage, "press-1", numbered(0..10)).await;
    send(&stage, "press-1", (0..25).map(|n| char::from(b'a' + n).to_string())).await;
    stage.app.trim_events().await.unwrap();
    let left = stage.read(&cursor(&stage, EventStart::Earliest).await).await;
    let size: u64 = left.iter().map(|event| event.event.size_bytes()).sum();
    assert!(size <= max_partition_bytes);
    assert_eq!((left.len(), left[0].offset), (10, 25));
}

#[tokio::test]
async fn a_reader_who_asks_for_news_before_it_reads_misses_none() {
    let stage = stage(Retention::default(), &["press-1", "press-2"]).await;
    let (session, _commands) = stage.connect("press-1", 1).await.unwrap();
    let mut news = stage.app.event_news(&stage.hub);
    assert!(at_once(news.changed()).await.is_none());
    let mut at = cursor(&stage, EventStart::Latest).await;
    for n in 0..20 {
        let text = n.to_string();
        if n % 2 == 0 {
            // Before it waits.
            session.send(body(&text)).await.unwrap();
            at_once(news.changed()).await.unwrap().unwrap();
        } else {
            // While it waits. Other readers come and go.
            drop(stage.app.event_news(&stage.hub));
            let (woken, sent) = tokio::join!(news.changed(), session.send(body(&text)));
            woken.unwrap();
            sent.unwrap();
        }
        let page = stage.app.read_events(&stage.hub, &at, None, 100, u64::MAX).await.unwrap();
        assert_eq!(bodies(&page.events), [text]);
        at = page.cursor;
    }
    // Nobody is woken for nothing.
    assert!(at_once(news.changed()).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_readers_hear_of_every_event_of_many_devices() {
    let names: Vec<String> = (0..6).map(|n| format!("press-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let stage = stage(Retention::default(), &names).await;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move {
                let mut at = EventCursor::default();
                let mut n_found = 0;
                while n_found < 120 {
                    let mut news = stage.app.event_news(&stage.hub);
                    let page =
                        stage.app.read_events(&stage.hub, &at, None, 7, u64::MAX).await.unwrap();
                    if page.events.is_empty() {
                        news.changed().await.unwrap();
                    }
                    n_found += page.events.len();
                    at = page.cursor;
                }
                n_found
            })
        })
        .collect();
    let senders: Vec<_> = names
        .iter()
        .map(|name| {
            let (stage, name) = (stage.clone(), (*name).to_owned());
            tokio::spawn(async move { send(&stage, &name, numbered(0..20)).await })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let limit = std::time::Duration::from_secs(60);
    for reader in readers {
        assert_eq!(tokio::time::timeout(limit, reader).await.unwrap().unwrap(), 120);
    }
}

#[tokio::test]
async fn an_event_whose_sender_broke_off_is_told_all_the_same() {
    for at in [At::Queued, At::Written] {
        let stage = stage(Retention::default(), &["press-1"]).await;
        let (session, _commands) = stage.connect("press-1", 1).await.unwrap();
        let mut news = stage.app.event_news(&stage.hub);
        let mut held = stage.store.hold(at, is_event);
        let sending = tokio::spawn(async move { session.send(body("last")).await });
        held.reached().await;
        sending.abort();
        assert!(sending.await.is_err());
        held.release();
        at_once(stage.app.departure()).await.unwrap();
        stage.app.see_off().await;
        at_once(news.changed()).await.unwrap().unwrap();
        assert_eq!(stage.events().await.len(), 1, "{at:?}");
    }
}
