//! The conversation with endpoints that do what their device's name says.

mod cut_off;
mod hostile;
mod limits;
mod memory;

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    io::duplex,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    AmqpSettings,
    proto::{Message, Outcome, Performative, encode_message},
    sasl::Login,
    stream::Terms,
    tests::{
        client::{Client, Wish, begin, open},
        scene::{Scene, peer, scene},
    },
};

/// How many bytes a connection holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// What the endpoints did that only they know.
static DEEDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn done(deed: &str) -> bool {
    DEEDS.lock().expect("whole").iter().any(|done| done == deed)
}

/// Ends with the endpoint that holds it.
struct Deed(String);

impl Drop for Deed {
    fn drop(&mut self) {
        DEEDS.lock().expect("whole").push(std::mem::take(&mut self.0));
    }
}

/// An endpoint that does what its name says, up to the first dash.
fn act(key: &EndpointKey, shared: Arc<Shared>, inbox: Inbox, line: Line) -> Running {
    let name = match key {
        EndpointKey::Device(id) => id.clone(),
        EndpointKey::Provisioning => "guest".to_owned(),
        _ => "proves".to_owned(),
    };
    Box::pin(play(name, shared, inbox, line))
}

async fn play(name: String, shared: Arc<Shared>, mut inbox: Inbox, line: Line) {
    let part = name.split('-').next().unwrap_or_default().to_owned();
    let _gone = Deed(format!("{name} is gone"));
    let mut links = Vec::new();
    while let Some(told) = inbox.recv().await {
        match told {
            Told::Attached(attached) => {
                let link = attached.link;
                links.push(link);
                match &*part {
                    "proves" => shared.prove(),
                    "guest" => shared.welcome(),
                    "refuses" => {
                        let error = WireError::new("amqp:not-found", "It is not there.");
                        line.ask(Ask::Refuse { link, error }).await;
                        return;
                    }
                    _ => {}
                }
                let window = if attached.role == Role::Sender { 10 } else { 0 };
                line.ask(Ask::Accept { link, max_message_bytes: None, window }).await;
                match &*part {
                    "quits" => return,
                    "deaf" => std::future::pending().await,
                    _ => {}
                }
            }
            Told::Message(link, incoming) => match &*part {
                "panics" => panic!("as it should"),
                "finishes" => {
                    sleep(Duration::from_secs(5)).await;
                    DEEDS.lock().expect("whole").push(format!("{name} finished"));
                }
                "floods" => flood(&line, &links).await,
                "cut" => {
                    let error = WireError::new("amqp:not-found", "It is disabled.");
                    line.ask(Ask::CutOff { links: links.clone(), error }).await;
                    return;
                }
                _ => {
                    let (delivery, outcome) = (incoming.delivery, Outcome::Accepted);
                    line.ask(Ask::Settle { link, delivery, outcome }).await;
                }
            },
            Told::Detached(link) => {
                links.retain(|there| *there != link);
                if links.is_empty() {
                    if part == "lingers" {
                        sleep(Duration::from_secs(1)).await;
                    }
                    return;
                }
            }
            Told::Credit { .. } | Told::Settled { .. } => {}
        }
    }
}

/// Sends without end on the last link, and cuts off all of them when nothing moves any more.
async fn flood(line: &Line, links: &[LinkId]) {
    let link = *links.last().expect("a link");
    let flood = async {
        for number in 0.. {
            let message = Bytes::from(vec![b'x'; 1000]);
            line.ask(Ask::Send { link, number, tag: [7; 16], message, is_settled: true }).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = sleep(Duration::from_secs(5)) => {}
    }
    let error = WireError::new("amqp:not-found", "It is disabled.");
    line.ask(Ask::CutOff { links: links.to_vec(), error }).now_or_never().expect("it waits");
}

/// A client of a conversation with such endpoints, on a stream that holds so much.
fn client_of(scene: &Scene, settings: AmqpSettings, pipe_bytes: usize) -> Client {
    client_in(scene, &Arc::new(Terms::new(&settings)), settings, pipe_bytes)
}

fn client_in(
    scene: &Scene,
    terms: &Arc<Terms>,
    settings: AmqpSettings,
    pipe_bytes: usize,
) -> Client {
    let (ours, theirs) = duplex(pipe_bytes);
    let (app, tracking_id) = (scene.app.clone(), scene.app.tracking_id());
    let (terms, settings) = (Arc::clone(terms), Arc::new(settings));
    let mut stop = scene.stopping();
    let served = tokio::spawn(async move {
        let mut stream = FrameStream::new(theirs, Arc::clone(&terms));
        let login = Login::Bare;
        let shared = Shared::new(app, settings, terms, peer(), login, tracking_id);
        drive(Arc::new(shared), &mut stream, act, &mut stop).await;
    });
    Client::new(ours, served)
}

/// The same, open, with session 0.
async fn connected(scene: &Scene) -> Client {
    let mut client = client_of(scene, AmqpSettings::default(), PIPE_BYTES);
    client.open(open()).await;
    client.begin(0).await;
    client
}

fn events(id: &str) -> String {
    format!("/devices/{id}/messages/events")
}

fn message() -> Message {
    Message::default()
}

#[tokio::test]
async fn a_message_reaches_its_endpoint_and_the_answer_its_client() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, &events("plain")).await;
    client.send_accepted(0, 0, &message()).await;
    client.send_accepted(0, 0, &message()).await;
    client.close().await;
}

#[tokio::test]
async fn a_panic_in_an_endpoint_ends_its_connection_and_no_other() {
    let scene = scene().await;
    let (mut one, mut other) = (connected(&scene).await, connected(&scene).await);
    other.attach_sender(0, 0, &events("plain")).await;
    one.attach_sender(0, 0, &events("plain")).await;
    one.attach_sender(0, 1, &events("panics")).await;
    one.send(0, 1, &message()).await;
    one.expect_closed("amqp:internal-error").await;
    other.send_accepted(0, 0, &message()).await;
    other.close().await;
}

#[tokio::test]
async fn the_links_of_an_endpoint_that_ends_are_detached_and_it_can_come_again() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, &events("plain")).await;
    for handle in 1..3 {
        client.attach_sender(0, handle, &events("quits")).await;
        let error = client.detached(0).await.1.expect("an error");
        assert_eq!(error.condition, "amqp:link:detach-forced");
        client.send_detach(0, handle).await;
    }
    client.send_accepted(0, 0, &message()).await;
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_attached_while_its_endpoint_ends_is_answered_by_another() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, &events("lingers")).await;
    client.detach(0, 0).await;
    // It stays for a second, and listens no more.
    client.attach_sender(0, 1, &events("lingers")).await;
    client.send_accepted(0, 1, &message()).await;
    client.close().await;
}

#[tokio::test]
async fn an_address_where_nobody_is_is_not_found() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    for (handle, address) in (0..).zip(["", "nowhere", "/devices/d/other", "$management"]) {
        let error = client.attach_refused(Wish::sender(0, handle, address), "amqp:not-found").await;
        assert!(error.description.expect("a sentence").contains(address));
    }
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sent_before_it_left_is_finished() {
    for (name, has_said_goodbye) in [("finishes-1", true), ("finishes-2", false)] {
        let scene = scene().await;
        let mut client = connected(&scene).await;
        client.attach_sender(0, 0, &events(name)).await;
        client.send(0, 0, &message()).await;
        if has_said_goodbye {
            client.close().await;
        } else {
            client.vanish().await;
        }
        assert!(done(&format!("{name} finished")) && done(&format!("{name} is gone")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_door_that_stops_says_so_and_waits_for_nobody() {
    let scene = scene().await;
    let mut client = connected(&scene).await;
    client.attach_sender(0, 0, &events("finishes-3")).await;
    client.send(0, 0, &message()).await;
    client.send_heartbeat().await;
    sleep(Duration::from_secs(1)).await;
    scene.stop();
    client.expect_closed("amqp:connection:forced").await;
    assert!(done("finishes-3 is gone") && !done("finishes-3 finished"));
}

#[tokio::test]
async fn what_is_no_amqp_closes_the_connection_with_the_reason() {
    let scene = scene().await;
    for (bytes, condition) in [
        // Longer than a stranger's may be.
        (&[0, 1, 0, 0, 2, 0, 0, 0][..], "amqp:connection:framing-error"),
        // Shorter than its header.
        (&[0, 0, 0, 7, 2, 0, 0, 0], "amqp:connection:framing-error"),
        // Of the SASL layer.
        (&[0, 0, 0, 8, 2, 1, 0, 0], "amqp:connection:framing-error"),
        // No performative.
        (&[0, 0, 0, 9, 2, 0, 0, 0, 0x40], "amqp:decode-error"),
    ] {
        let mut client = connected(&scene).await;
        client.send_bytes(bytes).await;
        client.expect_closed(condition).await;
        // Also before the open, which the standard wants sent all the same.
        let mut client = client_of(&scene, AmqpSettings::default(), PIPE_BYTES);
        client.send_bytes(bytes).await;
        assert!(matches!(client.frame().await.performative, Performative::Open(_)));
        client.expect_closed(condition).await;
    }
}
