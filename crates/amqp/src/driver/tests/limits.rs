//! What a client may have, and for how long.

use super::*;
use crate::proto::{self, Open};

/// A stranger, open, with session 0.
async fn stranger(scene: &Scene, settings: AmqpSettings) -> Client {
    let mut client = client_of(scene, settings, PIPE_BYTES);
    client.open(open()).await;
    client.begin(0).await;
    client
}

/// The moment it proves something, its limits are others.
async fn prove(client: &mut Client, handle: u32) {
    client.attach_sender(0, handle, "$cbs").await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_open_is_shown_out() {
    let scene = scene().await;
    let mut client = client_of(&scene, AmqpSettings::default(), PIPE_BYTES);
    let begun = Instant::now();
    assert!(matches!(client.frame().await.performative, Performative::Open(_)));
    client.expect_closed("amqp:not-allowed").await;
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn who_proves_nothing_is_shown_out_whatever_else_it_does() {
    let scene = scene().await;
    let mut client = stranger(&scene, AmqpSettings::default()).await;
    let begun = Instant::now();
    client.attach_sender(0, 0, &events("plain")).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(10)).await;
        client.send_accepted(0, 0, &message()).await;
    }
    client.expect_closed("amqp:unauthorized-access").await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn who_has_proven_something_may_stay_as_long_as_it_is_heard() {
    for address in ["$cbs", "0ne1/registrations/d"] {
        let scene = scene().await;
        let mut client = stranger(&scene, AmqpSettings::default()).await;
        client.attach_sender(0, 0, address).await;
        for _ in 0..10 {
            sleep(Duration::from_secs(239)).await;
            client.send_heartbeat().await;
        }
        let begun = Instant::now();
        client.expect_closed("amqp:resource-limit-exceeded").await;
        assert_eq!(begun.elapsed().as_secs(), 240, "twice what our open says");
    }
}

#[tokio::test]
async fn our_open_says_what_we_take() {
    let scene = scene().await;
    let mut client = client_of(&scene, AmqpSettings::default(), PIPE_BYTES);
    let Open { max_frame_size, idle_timeout_ms, channel_max, container_id, .. } =
        client.open(open()).await;
    assert_eq!((max_frame_size, idle_timeout_ms), (Some(65_536), Some(120_000)));
    assert!(channel_max.is_some_and(|most| most > 1000));
    assert!(!container_id.is_empty());
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_hears_us_twice_in_the_time_it_asks_for() {
    let scene = scene().await;
    for (asked_ms, every_ms) in [(60_000, 30_000), (5_000, 2_500), (1, 1_000)] {
        let mut client = client_of(&scene, AmqpSettings::default(), PIPE_BYTES);
        client.open(Open { idle_timeout_ms: Some(asked_ms), ..open() }).await;
        client.begin(0).await;
        client.attach_receiver(0, 0, "$cbs").await;
        let begun = Instant::now();
        for n in 1..=3 {
            client.heartbeat().await;
            let elapsed = begun.elapsed().as_millis();
            assert!((every_ms * n..every_ms * n + 50).contains(&elapsed), "{asked_ms}: {elapsed}");
            // Whoever is heard itself is no stranger to us.
            client.send_heartbeat().await;
        }
        client.vanish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_no_signs_of_life_gets_none() {
    let scene = scene().await;
    for idle_timeout_ms in [None, Some(0)] {
        let mut client = client_of(&scene, AmqpSettings::default(), PIPE_BYTES);
        client.open(Open { idle_timeout_ms, ..open() }).await;
        client.expect_closed("amqp:unauthorized-access").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_end_in_time_ends_its_connection() {
    let scene = scene().await;
    let mut client = stranger(&scene, AmqpSettings::default()).await;
    prove(&mut client, 0).await;
    client.attach_sender(0, 1, &events("plain")).await;
    let begun = Instant::now();
    let (_, bytes) = client.transfer(0, 1, 0, &[0; 10_000]);
    client.send_bytes(&bytes[..4096]).await;
    for _ in 0..5 {
        sleep(Duration::from_secs(10)).await;
        client.send_heartbeat().await;
    }
    client.expect_closed("amqp:resource-limit-exceeded").await;
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_stranger_speaks_for_a_few_devices_only() {
    let scene = scene().await;
    let mut client = stranger(&scene, AmqpSettings::default()).await;
    for handle in 0..8 {
        client.attach_sender(0, handle, &events(&format!("plain-{handle}"))).await;
    }
    let ninth = Wish::sender(0, 8, &events("plain-8"));
    client.attach_refused(ninth.clone(), "amqp:resource-limit-exceeded").await;
    prove(&mut client, 9).await;
    client.attach(ninth).await;
    client.close().await;
}

#[tokio::test]
async fn a_connection_carries_as_many_devices_as_the_settings_say() {
    let scene = scene().await;
    let settings = AmqpSettings { max_devices_per_connection: 20, ..AmqpSettings::default() };
    let mut client = stranger(&scene, settings).await;
    prove(&mut client, 0).await;
    for handle in 1..=20 {
        client.attach_sender(0, handle, &events(&format!("plain-{handle}"))).await;
    }
    let more = Wish::sender(0, 21, &events("plain-21"));
    client.attach_refused(more.clone(), "amqp:resource-limit-exceeded").await;
    // Another link of one that is there.
    client.attach(Wish::sender(0, 21, &events("plain-1")).named("another")).await;
    client.detach(0, 2).await;
    client.attach(Wish { handle: 22, ..more }).await;
    client.close().await;
}

#[tokio::test]
async fn a_stranger_has_a_few_links_only_and_so_has_a_guest() {
    let scene = scene().await;
    for first in ["/devices/plain/twin", "0ne1/registrations/d"] {
        let mut client = stranger(&scene, AmqpSettings::default()).await;
        client.attach_sender(0, 0, first).await;
        let wish = |handle: u32| {
            Wish::sender(0, handle, &events("plain")).named(&format!("link {handle}"))
        };
        for handle in 1..16 {
            client.attach(wish(handle)).await;
        }
        client.send_attach(&wish(16)).await;
        let refused = client.frame().await.performative;
        let is_accepted =
            matches!(&refused, Performative::Attach(attach) if attach.target.is_some());
        assert!(!is_accepted, "{refused:?}");
    }
}

#[tokio::test]
async fn strangers_with_many_sessions_wait_for_room_and_others_do_not() {
    let scene = scene().await;
    let settings = AmqpSettings { room_bytes: 1 << 20, ..AmqpSettings::default() };
    let terms = Arc::new(Terms::new(&settings));
    let mut crowds = Vec::new();
    for n in 0..2 {
        let mut client = client_in(&scene, &terms, settings.clone(), PIPE_BYTES);
        client.open(open()).await;
        for channel in 0..16 {
            client.begin(channel).await;
        }
        client.put(16, Performative::Begin(Box::new(begin()))).await;
        client.send_attach(&Wish::sender(0, 0, &events("plain"))).await;
        if n == 0 {
            assert!(matches!(client.frame().await.performative, Performative::Begin(_)));
            assert!(matches!(client.frame().await.performative, Performative::Attach(_)));
        }
        crowds.push(client);
    }
    let mut few = client_in(&scene, &terms, settings.clone(), PIPE_BYTES);
    few.open(open()).await;
    few.begin(0).await;
    few.close().await;
    // The second is served when the first is no stranger any more.
    let mut second = crowds.pop().expect("two");
    assert!(matches!(second.frame().await.performative, Performative::Begin(_)));
    assert!(second.frame().now_or_never().is_none());
    let mut first = crowds.pop().expect("two");
    first.attach_sender(0, 1, "$cbs").await;
    assert!(matches!(second.frame().await.performative, Performative::Attach(_)));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_from_and_is_given_up() {
    let scene = scene().await;
    let mut client = client_of(&scene, AmqpSettings::default(), 512);
    client.open(open()).await;
    client.begin(0).await;
    prove(&mut client, 0).await;
    client.attach_sender(0, 1, &events("plain")).await;
    let begun = Instant::now();
    let mut frames = bytes::BytesMut::new();
    let wish = Wish::sender(0, 2, "nowhere");
    for _ in 0..10_000 {
        // Each is answered, and not one answer is read.
        proto::encode(0, &Performative::Attach(Box::new(wish.attach())), &mut frames);
        proto::encode(0, &Performative::Detach(wish.detach()), &mut frames);
    }
    let mut n_taken = 0;
    for piece in frames.chunks(256) {
        if !client.can_send(piece).await {
            break;
        }
        n_taken += piece.len();
    }
    assert!(n_taken < 200_000, "{n_taken}");
    client.given_up().await;
    assert!((29..=33).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_endpoint_that_does_not_listen_holds_up_its_connection_and_nothing_grows() {
    let scene = scene().await;
    let mut client = client_of(&scene, AmqpSettings::default(), 512);
    client.open(open()).await;
    client.begin(0).await;
    prove(&mut client, 0).await;
    client.attach_receiver(0, 1, "/devices/deaf/messages/devicebound").await;
    let mut flows = bytes::BytesMut::new();
    for credit in 1..2000 {
        let flow = client.flow_of(0, 1, 0, credit, false);
        proto::encode(0, &Performative::Flow(flow), &mut flows);
    }
    let sent = timeout(Duration::from_millis(500), client.send_bytes(&flows)).await;
    assert!(sent.is_err(), "all of it is kept");
}
