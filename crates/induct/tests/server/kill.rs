//! `kill -9` under load: what was acknowledged is there afterwards, and nothing is half there.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::StatusCode;
use tokio::{sync::Notify, task::JoinSet};

use crate::harness::{Api, Home, Server, listed_devices, listed_records};

const N_ROUNDS: usize = 3;
const N_TASKS: usize = 8;
/// The server is killed when so many registrations of a round are acknowledged.
const N_ACKNOWLEDGED: usize = 120;
const GROUP: &str = "line-4";

/// Registers devices over several connections until the server is gone. Returns those that were
/// acknowledged.
async fn register_until_killed(server: Server, round: usize) -> BTreeSet<String> {
    let (n_acknowledged, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut tasks = JoinSet::new();
    for task in 0..N_TASKS {
        let api = Api::devices(&server);
        let (n_acknowledged, enough) = (Arc::clone(&n_acknowledged), Arc::clone(&enough));
        tasks.spawn(async move {
            let mut acknowledged = BTreeSet::new();
            for n in 0.. {
                let id = format!("press-{round}-{task}-{n}");
                // The first error is the kill; whether that registration counts is open.
                let Ok(answer) = api.register(&id).await else { break };
                assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
                acknowledged.insert(id);
                if n_acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == N_ACKNOWLEDGED {
                    enough.notify_one();
                }
            }
            acknowledged
        });
    }
    enough.notified().await;
    server.kill();
    tasks.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_registration_survives_a_kill_and_none_is_half_written() {
    let home = Home::new();
    let mut server = home.start();
    Api::service(&home, &server).enroll_group(GROUP).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..N_ROUNDS {
        let of_round = register_until_killed(server, round).await;
        assert!(of_round.len() >= N_ACKNOWLEDGED, "{} were acknowledged", of_round.len());
        acknowledged.extend(of_round);

        server = home.start();
        let service = Api::service(&home, &server);
        for id in &acknowledged {
            let answer = service.registration(id).await;
            assert_eq!(answer.status, StatusCode::OK, "the record of {id}: {answer:?}");
            let record = answer.json().expect("JSON");
            assert_eq!(record["status"], "assigned", "{record}");
            assert_eq!(record["assignedHub"], "hub-1.localhost", "{record}");
            assert_eq!(record["deviceId"], id.as_str(), "{record}");
        }
        let records = listed_records(&service, GROUP).await;
        let devices = listed_devices(&Api::hub(&home, &server, "hub-1")).await;
        let lost: Vec<_> = acknowledged.difference(&records).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert_eq!(records, devices, "a record without identity, or an identity without record");
    }
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
