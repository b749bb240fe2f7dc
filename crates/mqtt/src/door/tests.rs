//! What is kept of a client between its CONNECT and the answer.

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, duplex};

use super::*;
use crate::{
    proto::{Qos, Topic, Will, encode},
    tests::scene::{peer, scene},
};

/// The store may take its time with it, and anybody can send one.
#[tokio::test]
async fn a_large_connect_takes_its_room_until_it_is_answered() {
    let scene = scene().await;
    let context = scene.door.context();
    let will = Will {
        topic: Topic::new("devices/dev-1/messages/events/").expect("a topic"),
        payload: Bytes::from(vec![b'x'; 10_000]),
        qos: Qos::AtMostOnce,
        retain: false,
    };
    let connect = Connect { will: Some(will), ..scene.connect("dev-1") };
    let mut bytes = bytes::BytesMut::new();
    encode(&Packet::Connect(Box::new(connect)), &mut bytes).expect("a packet that can be sent");
    let (ours, mut theirs) = duplex(64 * 1024);
    theirs.write_all(&bytes).await.expect("sent");

    let free = context.terms().n_free();
    let mut link = Link::new(ours, Arc::clone(context.terms()), Limits::LOGIN);
    let met = context.meet(&mut link, peer(), &mut scene.shutdown.subscribe()).await;
    let Ok(met) = met else { panic!("a CONNECT") };
    assert_eq!(context.terms().n_free(), free - bytes.len());
    drop(met);
    assert_eq!(context.terms().n_free(), free);
}
