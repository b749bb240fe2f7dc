//! A thousand devices on ten connections, beside a hundred over MQTT: each has its session,
//! and what each sends is accepted and kept.

use futures_util::{StreamExt, TryStreamExt, stream};
use induct::device_link::{DeviceLink, connect_packet};
use mqtt::proto::{Packet, Qos};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::client::TlsStream;

use crate::{
    amqp_client::{SENDER, accepted, json_event},
    amqp_scene::{Amqp, Dialer, HUB, KEY, channel_of, create_devices, id_of, logs, token_of},
    harness::{Api, Home, PATIENCE},
};

const N_CONNECTIONS: usize = 10;
const N_ON_EACH: usize = 100;
/// Devices over MQTT.
const N_MQTT: usize = 100;
/// How many events each device sends, one after the other.
const N_EVENTS: u32 = 5;

type Link = DeviceLink<TlsStream<TcpStream>>;

/// All devices of a connection send at once, numbers from this one on, each its next when the one
/// before is accepted.
async fn all_send(mut client: Amqp, first: u32) -> Amqp {
    for n in 0..N_ON_EACH {
        client.send(channel_of(n), SENDER, &json_event(first.to_string())).await;
    }
    let mut n_done = 0;
    while n_done < N_ON_EACH {
        let frame = timeout(PATIENCE, client.heard()).await.expect("in time");
        let (channel, numbers) = accepted(&frame).unwrap_or_else(|| panic!("{frame:?}"));
        let number = *numbers.start();
        assert_eq!((number, numbers), (client.n_sent(channel) - 1, number..=number));
        match number + 1 {
            next if next == first + N_EVENTS => n_done += 1,
            next => {
                client.send(channel, SENDER, &json_event(next.to_string())).await;
            }
        }
    }
    client
}

async fn connect(dialer: &Dialer, id: &str) -> Link {
    let mut link = DeviceLink::new(dialer.dial().await);
    let user_name = format!("{HUB}/{id}/?api-version=2021-04-12");
    let token = token_of(id, KEY);
    let connect = connect_packet(id, &user_name, Some(&token), true, 240).expect("legal");
    link.connect(connect).await.expect("let in");
    link
}

async fn send(mut link: Link, id: String, first: u32) -> (String, Link) {
    let topic = format!("devices/{id}/messages/events/$.ct=application%2Fjson&$.ce=utf-8");
    for n in first..first + N_EVENTS {
        let sent = link.publish(&topic, n.to_string(), Qos::AtLeastOnce).await.expect("sent");
        match timeout(PATIENCE, link.receive()).await.expect("in time").expect("a packet") {
            Packet::PubAck(id) => assert_eq!(id, sent),
            other => panic!("{other:?} is no acknowledgement"),
        }
    }
    (id, link)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_devices_on_ten_connections_send_beside_others_over_mqtt() {
    let home = Home::new();
    let server = home.start_with(&[("INDUCT_LOG__LEVEL", "warn")]);
    let hub = Api::hub(&home, &server, "hub-1");
    let n_multiplexed = N_CONNECTIONS * N_ON_EACH;
    create_devices(&hub, n_multiplexed + N_MQTT).await;
    let (amqp, mqtt) = (Dialer::amqp(&home, &server), Dialer::mqtt(&home, &server));
    let gateways = stream::iter(0..N_CONNECTIONS).map(|connection| {
        let first = connection * N_ON_EACH;
        let ids: Vec<String> = (first..first + N_ON_EACH).map(id_of).collect();
        let amqp = &amqp;
        async move { Ok::<_, ()>(amqp.gateway(&ids).await) }
    });
    let mut gateways: Vec<Amqp> =
        gateways.buffer_unordered(N_CONNECTIONS).try_collect().await.expect("all are let in");
    let mut links = Vec::new();
    for n in n_multiplexed..n_multiplexed + N_MQTT {
        links.push((id_of(n), connect(&mqtt, &id_of(n)).await));
    }

    // Twice: everybody is still there after all have sent.
    for round in 0..2 {
        let first = round * N_EVENTS;
        let mut over_amqp = JoinSet::new();
        for gateway in gateways.drain(..) {
            over_amqp.spawn(all_send(gateway, first));
        }
        let mut over_mqtt = JoinSet::new();
        for (id, link) in links.drain(..) {
            over_mqtt.spawn(send(link, id, first));
        }
        gateways = over_amqp.join_all().await;
        links = over_mqtt.join_all().await;
    }

    let logs = logs(&hub).await;
    assert_eq!(logs.len(), n_multiplexed + N_MQTT);
    for (id, log) in &logs {
        let numbers: Vec<_> = log.iter().map(|(_, body)| body.as_u64()).collect();
        let expected: Vec<_> = (0..u64::from(2 * N_EVENTS)).map(Some).collect();
        assert_eq!(numbers, expected, "{id}");
    }
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
