//! `kill -9` while devices send: every event that was acknowledged is in the log afterwards, in
//! its device's order, and the offsets go on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use app::ports::Clock;
use http::Method;
use induct::{
    client::{Client, ClientSettings},
    device_link::{DeviceLink, DeviceLinkError, connect_packet},
    login::sas_token,
    ports::SystemClock,
};
use model::SymmetricKey;
use mqtt::proto::{Grant, Packet, Qos};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Notify, task::JoinSet, time::timeout};
use tokio_rustls::client::TlsStream;

use crate::harness::{Api, Home, PATIENCE, Server};

const N_ROUNDS: usize = 3;
const N_DEVICES: usize = 8;
/// How many messages a device sends before it waits for their acknowledgements.
const N_IN_FLIGHT: u64 = 8;
/// The server is killed when so many events of a round are acknowledged.
const N_ACKNOWLEDGED: usize = 400;
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const HUB: &str = "hub-1.localhost";
const TWIN_RESPONSES: &str = "$iothub/twin/res/#";

type Link = DeviceLink<TlsStream<TcpStream>>;

/// A connection for a session that lasts; whether the server remembers it.
async fn connect(home: &Home, server: &Server, id: &str) -> (Link, bool) {
    let address = server.mqtt_address();
    let ca = std::fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA");
    let mut settings = ClientSettings::new(HUB, address.port(), ca).at(address);
    settings.protocol = "mqtt";
    let client = Client::new(settings).expect("a client");
    let mut link = DeviceLink::new(client.dial().await.expect("a connection"));
    let key = SymmetricKey::parse(KEY).expect("a key");
    let expires = SystemClock.now().plus_secs(3_600);
    let token = sas_token(&format!("{HUB}/devices/{id}"), None, &key, expires);
    let user_name = format!("{HUB}/{id}/?api-version=2021-04-12");
    let connect = connect_packet(id, &user_name, Some(&token), false, 240).expect("legal");
    let is_known = link.connect(connect).await.expect("let in");
    (link, is_known)
}

/// Sends numbers from `first` on, some at a time, until the server is gone. Returns how many were
/// acknowledged; acknowledgements come in the order of the messages (MQTT-4.6.0-2).
async fn send_until_killed(mut link: Link, id: String, first: u64, count: impl Fn()) -> u64 {
    let topic = format!("devices/{id}/messages/events/$.ct=application%2Fjson&$.ce=utf-8");
    let mut n_acknowledged = 0;
    let broken: Result<(), DeviceLinkError> = async {
        loop {
            let mut sent = Vec::new();
            for n in 0..N_IN_FLIGHT {
                let number = (first + n_acknowledged + n).to_string();
                sent.push(link.publish(&topic, number, Qos::AtLeastOnce).await?);
            }
            for id in sent {
                match link.receive().await? {
                    Packet::PubAck(acknowledged) => assert_eq!(acknowledged, id, "in order"),
                    other => panic!("{other:?} is no acknowledgement"),
                }
                n_acknowledged += 1;
                count();
            }
        }
    }
    .await;
    // Whatever the kill looks like from here; what was not acknowledged may or may not be kept.
    drop(broken);
    n_acknowledged
}

/// All events of the hub, by device: their offsets and bodies.
async fn logs(hub: &Api) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut logs = BTreeMap::<String, Vec<(u64, u64)>>::new();
    let mut place = "from=earliest".to_owned();
    loop {
        let path = format!("/induct/v1/events?api-version=2021-04-12&limit=1000&{place}");
        let answer = hub.request(Method::GET, &path, &[], &Value::Null).await.expect("an answer");
        let page = answer.json().expect("JSON");
        for event in page["events"].as_array().expect("events") {
            let id = event["deviceId"].as_str().expect("a device").to_owned();
            let offset = event["sequenceNumber"].as_u64().expect("an offset");
            logs.entry(id).or_default().push((offset, event["body"].as_u64().expect("a number")));
        }
        let cursor = page["cursor"].as_str().expect("a cursor");
        let next = format!("cursor={}", wire::percent::encode(cursor));
        if next == place {
            return logs;
        }
        place = next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_a_kill_and_offsets_and_subscriptions_go_on() {
    let home = Home::new();
    let mut server = home.start();
    let ids: Vec<String> = (0..N_DEVICES).map(|n| format!("press-{n}")).collect();
    let hub = Api::hub(&home, &server, "hub-1");
    for id in &ids {
        let keys = json!({"primaryKey": KEY, "secondaryKey": KEY});
        let identity =
            json!({"deviceId": id, "authentication": {"type": "sas", "symmetricKey": keys}});
        let path = format!("/devices/{id}?api-version=2021-04-12");
        let answer = hub.request(Method::PUT, &path, &[], &identity).await.expect("an answer");
        assert!(answer.status.is_success(), "{answer:?}");
        let (mut link, is_known) = connect(&home, &server, id).await;
        assert!(!is_known);
        let grants = link.subscribe(&[TWIN_RESPONSES]).await.expect("an answer");
        assert_eq!(grants, [Grant::Granted(Qos::AtLeastOnce)]);
    }
    let mut before = BTreeMap::<String, Vec<(u64, u64)>>::new();
    for round in 0..N_ROUNDS {
        let (n_acknowledged, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        for id in ids.clone() {
            let (link, is_known) = connect(&home, &server, &id).await;
            assert!(is_known, "{id} is remembered in round {round}");
            let first = before.get(&id).map_or(0, |log| log.len());
            let first = u64::try_from(first).expect("few");
            let (n_acknowledged, enough) = (Arc::clone(&n_acknowledged), Arc::clone(&enough));
            let count = move || {
                if n_acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == N_ACKNOWLEDGED {
                    enough.notify_one();
                }
            };
            tasks.spawn(async move {
                let n = send_until_killed(link, id.clone(), first, count).await;
                (id, first + n)
            });
        }
        timeout(PATIENCE, enough.notified()).await.expect("events are acknowledged");
        server.kill();
        let sent = tasks.join_all().await;

        server = home.start();
        let after = logs(&Api::hub(&home, &server, "hub-1")).await;
        for (id, n_acknowledged) in sent {
            // One that came late has none yet.
            let log = after.get(&id).map_or(&[][..], Vec::as_slice);
            let n_kept = u64::try_from(log.len()).expect("few");
            assert!(n_kept >= n_acknowledged, "{id}: {n_acknowledged} acknowledged, {n_kept} kept");
            let numbers: Vec<u64> = log.iter().map(|(_, number)| *number).collect();
            assert_eq!(numbers, (0..n_kept).collect::<Vec<_>>(), "{id}: each once, in order");
            assert!(log.is_sorted_by(|a, b| a.0 < b.0), "{id}: offsets only grow: {log:?}");
            let known = before.get(&id).map_or(&[][..], Vec::as_slice);
            assert_eq!(&log[..known.len()], known, "{id}: what was there before is as it was");
        }
        before = after;
    }
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
