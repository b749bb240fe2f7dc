//! `kill -9` while devices send over AMQP: every event that was accepted is in the log afterwards,
//! in its device's order, and the offsets go on; with a device to a connection, and with many.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    amqp_client::{SENDER, accepted, json_event},
    amqp_scene::{Amqp, Dialer, channel_of, create_devices, id_of, logs},
    harness::{Api, Home, PATIENCE},
};

const N_ROUNDS: usize = 3;
/// Connections of one device each.
const N_ALONE: usize = 4;
/// Devices on one connection beside them.
const N_TOGETHER: usize = 12;
/// How many messages a device has under way.
const N_IN_FLIGHT: u32 = 8;
/// The server is killed when so many events of a round are accepted.
const N_ACCEPTED: usize = 400;

/// Each device of a connection sends numbers from its own on, until the server is gone. Returns
/// how many of each were accepted; a link's messages are accepted in their order.
async fn send_until_killed(mut client: Amqp, firsts: Vec<u64>, count: impl Fn()) -> Vec<u64> {
    let mut n_accepted = vec![0; firsts.len()];
    for _ in 0..N_IN_FLIGHT {
        for (n, first) in firsts.iter().enumerate() {
            if !send(&mut client, n, *first).await {
                return n_accepted;
            }
        }
    }
    while let Some(frame) = client.find_heard().await {
        let (channel, numbers) = accepted(&frame).unwrap_or_else(|| panic!("{frame:?}"));
        let n = (0..firsts.len()).find(|n| channel_of(*n) == channel).expect("a device");
        assert_eq!(u64::from(*numbers.start()), n_accepted[n], "in order");
        for _ in numbers {
            n_accepted[n] += 1;
            count();
            if !send(&mut client, n, firsts[n]).await {
                // What is not heard any more was accepted, but nobody was told.
                return n_accepted;
            }
        }
    }
    n_accepted
}

/// Sends a device's next number. The session counts its messages from 0.
async fn send(client: &mut Amqp, n: usize, first: u64) -> bool {
    let number = first + u64::from(client.n_sent(channel_of(n)));
    let event = json_event(number.to_string());
    client.try_send(channel_of(n), SENDER, &event).await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_event_survives_a_kill_and_offsets_go_on() {
    let home = Home::new();
    let mut server = home.start();
    create_devices(&Api::hub(&home, &server, "hub-1"), N_ALONE + N_TOGETHER).await;
    let alone = (0..N_ALONE).map(|n| vec![id_of(n)]);
    let together = (N_ALONE..N_ALONE + N_TOGETHER).map(id_of).collect();
    let connections: Vec<Vec<String>> = alone.chain([together]).collect();
    let mut before = BTreeMap::<String, Vec<(u64, Value)>>::new();
    for _ in 0..N_ROUNDS {
        let (n_accepted, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let dialer = Dialer::amqp(&home, &server);
        let mut tasks = JoinSet::new();
        for ids in connections.clone() {
            let client = dialer.gateway(&ids).await;
            let n_known = |id: &String| before.get(id).map_or(0, Vec::len);
            let firsts: Vec<u64> =
                ids.iter().map(|id| u64::try_from(n_known(id)).expect("few")).collect();
            let (n_accepted, enough) = (Arc::clone(&n_accepted), Arc::clone(&enough));
            let count = move || {
                if n_accepted.fetch_add(1, Ordering::Relaxed) + 1 == N_ACCEPTED {
                    enough.notify_one();
                }
            };
            tasks.spawn(async move {
                let counts = send_until_killed(client, firsts.clone(), count).await;
                let sums = firsts.iter().zip(counts).map(|(first, n)| first + n);
                ids.into_iter().zip(sums).collect::<Vec<_>>()
            });
        }
        timeout(PATIENCE, enough.notified()).await.expect("events are accepted");
        server.kill();
        let sent = tasks.join_all().await;

        server = home.start();
        let after = logs(&Api::hub(&home, &server, "hub-1")).await;
        for (id, n_accepted) in sent.into_iter().flatten() {
            // One that came late has none yet.
            let log = after.get(&id).map_or(&[][..], Vec::as_slice);
            let n_kept = u64::try_from(log.len()).expect("few");
            assert!(n_kept >= n_accepted, "{id}: {n_accepted} accepted, {n_kept} kept");
            let numbers: Vec<_> = log.iter().map(|(_, number)| number.as_u64()).collect();
            let expected: Vec<_> = (0..n_kept).map(Some).collect();
            assert_eq!(numbers, expected, "{id}: each once, in order");
            assert!(log.is_sorted_by(|a, b| a.0 < b.0), "{id}: offsets only grow: {log:?}");
            let known = before.get(&id).map_or(&[][..], Vec::as_slice);
            assert_eq!(&log[..known.len()], known, "{id}: what was there before is as it was");
        }
        before = after;
    }
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
