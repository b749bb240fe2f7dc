//! Many idle sessions beside a few busy ones: not one is lost.
#![cfg(target_os = "linux")]

use std::{fs, sync::Arc};

use app::ports::Clock;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use induct::{
    client::{Client, ClientSettings},
    device_link::{DeviceLink, connect_packet},
    login::sas_token,
    ports::SystemClock,
};
use model::SymmetricKey;
use mqtt::proto::{Packet, Qos};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::JoinSet, time::timeout};
use tokio_rustls::client::TlsStream;

use crate::harness::{Api, Home, PATIENCE};

const N_IDLE: usize = 5_000;
const N_BUSY: usize = 200;
/// How many devices connect at once.
const N_AT_ONCE: usize = 64;
/// How many events each busy device sends at least while the others are idle.
const N_EVENTS: usize = 20;
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const HUB: &str = "hub-1.localhost";

type Link = DeviceLink<TlsStream<TcpStream>>;

/// One descriptor for each connection, and some for the test itself.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
    let n_needed = u64::try_from(N_IDLE + N_BUSY + 200).expect("few");
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= n_needed),
        "this test needs {n_needed} descriptors, and the hard limit is {:?}: raise `ulimit -Hn`",
        limit.maximum,
    );
}

fn id_of(n: usize) -> String {
    format!("press-{n}")
}

async fn create_devices(hub: &Api, n_devices: usize) {
    let all: Vec<usize> = (0..n_devices).collect();
    for some in all.chunks(100) {
        let element = |n: &usize| {
            let keys = json!({"primaryKey": KEY, "secondaryKey": KEY});
            let authentication = json!({"type": "sas", "symmetricKey": keys});
            json!({"id": id_of(*n), "importMode": "create", "authentication": authentication})
        };
        let body = Value::from(some.iter().map(element).collect::<Vec<_>>());
        let path = "/devices?api-version=2021-04-12";
        let answer = hub.request(Method::POST, path, &[], &body).await.expect("an answer");
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

async fn connect(client: &Client, id: &str) -> Link {
    let mut link = DeviceLink::new(client.dial().await.expect("a connection"));
    let key = SymmetricKey::parse(KEY).expect("a key");
    let expires = SystemClock.now().plus_secs(3_600);
    let token = sas_token(&format!("{HUB}/devices/{id}"), None, &key, expires);
    let user_name = format!("{HUB}/{id}/?api-version=2021-04-12");
    let connect = connect_packet(id, &user_name, Some(&token), false, 240).expect("legal");
    link.connect(connect).await.expect("let in");
    link
}

/// Sends events one by one until all have sent enough; how many were acknowledged.
async fn send(mut link: Link, id: String, mut enough: watch::Receiver<bool>) -> usize {
    let topic = format!("devices/{id}/messages/events/");
    for n in 0.. {
        if n >= N_EVENTS && *enough.borrow_and_update() {
            return n;
        }
        let sent = link.publish(&topic, "x".repeat(256), Qos::AtLeastOnce).await.expect("sent");
        match timeout(PATIENCE, link.receive()).await.expect("in time").expect("a packet") {
            Packet::PubAck(id) => assert_eq!(id, sent),
            other => panic!("{other:?} is no acknowledgement"),
        }
    }
    unreachable!("a loop without end")
}

async fn ping(mut link: Link) -> Link {
    link.send(&Packet::PingReq).await.expect("the session is open");
    let answer = timeout(PATIENCE, link.receive()).await.expect("in time").expect("an answer");
    assert_eq!(answer, Packet::PingResp);
    link
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_idle_sessions_are_all_there_while_two_hundred_devices_send() {
    raise_descriptors();
    let home = Home::new();
    let server = home.start_with(&[
        ("INDUCT_LISTEN__MAX_CONNECTIONS", "100"),
        ("INDUCT_LISTEN__AMQP", ""),
        ("INDUCT_LISTEN__MAX_MQTT_CONNECTIONS", "6000"),
        ("INDUCT_LISTEN__MAX_MQTT_CONNECTIONS_PER_ADDRESS", "6000"),
        ("INDUCT_LISTEN__HANDSHAKE_TIMEOUT_SECS", "60"),
        ("INDUCT_MQTT__CONNECT_TIMEOUT_SECS", "60"),
        ("INDUCT_LOG__LEVEL", "warn"),
    ]);
    create_devices(&Api::hub(&home, &server, "hub-1"), N_IDLE + N_BUSY).await;
    let address = server.mqtt_address();
    let ca = fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA");
    let mut settings = ClientSettings::new(HUB, address.port(), ca).at(address);
    settings.protocol = "mqtt";
    settings.connect_timeout = PATIENCE;
    let client = Arc::new(Client::new(settings).expect("a client"));

    let idle: Vec<Link> = stream::iter(0..N_IDLE)
        .map(|n| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { connect(&client, &id_of(n)).await })
        })
        .buffer_unordered(N_AT_ONCE)
        .try_collect()
        .await
        .expect("all are let in");

    let (all_sent, enough) = watch::channel(false);
    let mut busy = JoinSet::new();
    for n in N_IDLE..N_IDLE + N_BUSY {
        let link = connect(&client, &id_of(n)).await;
        busy.spawn(send(link, id_of(n), enough.clone()));
    }
    // Everybody still answers while the others send…
    let pings = stream::iter(idle).map(|link| tokio::spawn(ping(link)));
    let idle: Vec<Link> =
        pings.buffer_unordered(N_AT_ONCE).try_collect().await.expect("all are still there");
    all_sent.send_replace(true);
    let n_sent: usize = busy.join_all().await.iter().sum();
    assert!(n_sent >= N_BUSY * N_EVENTS);
    // … and afterwards.
    let pings = stream::iter(idle).map(|link| tokio::spawn(ping(link)));
    let idle: Vec<Link> =
        pings.buffer_unordered(N_AT_ONCE).try_collect().await.expect("all are still there");
    assert_eq!(idle.len(), N_IDLE);
    drop(idle);
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
