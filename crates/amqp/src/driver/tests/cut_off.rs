//! A device that is cut off (H §4.5.3), on a connection that it shares.

use super::*;

/// So little is under way on a connection whose client does not read.
const NARROW_BYTES: usize = 512;

#[tokio::test]
async fn the_links_and_the_session_of_a_device_end_and_its_neighbour_does_not_notice() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.begin(1).await;
    client.attach_sender(0, 0, &events("plain")).await;
    client.attach_sender(1, 0, &events("cut")).await;
    client.attach_receiver(1, 1, "/devices/cut/messages/devicebound").await;
    client.send(1, 0, &message()).await;
    for _ in 0..2 {
        let error = client.detached(1).await.1.expect("an error");
        assert_eq!(error.condition, "amqp:not-found");
    }
    assert_eq!(client.ended(1).await.expect("an error").condition, "amqp:not-found");
    client.send_accepted(0, 0, &message()).await;
    client.close().await;
}

#[tokio::test]
async fn a_session_that_is_shared_goes_on() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, &events("plain")).await;
    client.attach_sender(0, 1, &events("cut")).await;
    client.send(0, 1, &message()).await;
    assert_eq!(client.detached(0).await.1.expect("an error").condition, "amqp:not-found");
    client.send_accepted(0, 0, &message()).await;
    client.close().await;
}

#[tokio::test]
async fn a_connection_without_another_device_is_closed_with_the_same() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.begin(1).await;
    client.attach_sender(0, 0, "$cbs").await;
    client.attach_receiver(0, 1, "$cbs").await;
    client.attach_sender(1, 0, &events("cut")).await;
    client.send(1, 0, &message()).await;
    assert_eq!(client.detached(1).await.1.expect("an error").condition, "amqp:not-found");
    assert_eq!(client.ended(1).await.expect("an error").condition, "amqp:not-found");
    client.expect_closed("amqp:not-found").await;
}

/// A flood for a device, of which the client reads nothing; then the device is cut off.
async fn flooded(scene: &Scene, neighbour: bool) -> Client {
    let mut client = client_of(scene, AmqpSettings::default(), NARROW_BYTES);
    client.open(open()).await;
    client.begin(0).await;
    client.begin(1).await;
    if neighbour {
        client.attach_sender(0, 0, &events("plain")).await;
    }
    client.attach_sender(1, 0, &events("floods")).await;
    client.attach(Wish::receiver(1, 1, "/devices/floods/messages/devicebound")).await;
    client.give_credit(1, 1, 100_000).await;
    client.send(1, 0, &message()).await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_overtakes_what_a_slow_client_has_not_been_sent() {
    let scene = scene().await;
    let mut client = flooded(&scene, true).await;
    sleep(Duration::from_secs(10)).await;
    let mut n_bytes = 0;
    let error = loop {
        let frame = client.frame().await;
        match frame.performative {
            Performative::Transfer(_) => n_bytes += frame.payload.len(),
            Performative::Detach(detach) => break detach.error,
            other => panic!("unexpected: {other:?}"),
        }
    };
    assert_eq!(error.expect("an error").condition, "amqp:not-found");
    // What stood in frames already: one batch, and the next.
    assert!(n_bytes <= 3 * MAX_UNSENT_BYTES, "{n_bytes}");
    assert!(client.detached(1).await.1.is_some());
    assert!(client.ended(1).await.is_some());
    client.send_accepted(0, 0, &message()).await;
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_client_does_not_read_of_a_cut_off_is_over() {
    for neighbour in [false, true] {
        let scene = scene().await;
        let client = flooded(&scene, neighbour).await;
        let begun = Instant::now();
        client.given_up().await;
        let secs = begun.elapsed().as_secs();
        // The flood stands for five seconds, and nothing of it is ever read.
        assert!((25..=36).contains(&secs), "{secs}");
    }
}

/// Slowly, but it reads: faster than one batch in its time, slower than two.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_too_slowly_of_a_cut_off_is_shown_out() {
    let scene = scene().await;
    let mut client = flooded(&scene, true).await;
    let begun = Instant::now();
    while client.read_some(300).await {
        sleep(Duration::from_millis(100)).await;
    }
    let secs = begun.elapsed().as_secs();
    assert!((35..=36).contains(&secs), "{secs}");
    client.given_up().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_device_that_is_cut_off_is_heard_while_its_client_does_not_read() {
    let scene = scene().await;
    let mut client = flooded(&scene, true).await;
    sleep(Duration::from_secs(10)).await;
    let (_, bytes) = client.transfer(1, 0, 0, &encode_message(&message()));
    let mut n_taken = 0;
    while n_taken < 100 && client.can_send(&bytes).await {
        n_taken += 1;
    }
    assert!(n_taken < 100, "it is read from");
}
