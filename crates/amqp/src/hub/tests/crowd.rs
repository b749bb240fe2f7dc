//! Many devices on one connection: each is cut off by itself (H §4.5.3), and its neighbours never
//! notice.

use super::*;
use crate::{
    errors,
    proto::{End, Outcome, Performative, SaslOutcome},
    tests::{
        client::Wish,
        scene::{HUB, KEY, OTHER_KEY, scene},
    },
};

const N_DEVICES: u16 = 100;
/// The one that is cut off.
const CUT: u16 = 37;

fn name(n: u16) -> String {
    format!("dev-{n}")
}

/// A connection on which each of the devices has a session with a link that sends.
async fn crowd(scene: &Scene) -> Client {
    let mut client = scene.open();
    assert_eq!(client.sasl("MSSBCBS", None).await, SaslOutcome::Ok);
    client.connect_to(Some(HUB)).await;
    client.begin(0).await;
    attach_token_links(&mut client, 0).await;
    for n in 1..=N_DEVICES {
        scene.put_device(&name(n)).await;
        assert_eq!(put_token(&mut client, 0, &scene.token(&name(n))).await.0, 200);
        client.begin(n).await;
        client.attach_sender(n, 0, &events(&name(n))).await;
    }
    assert_eq!(scene.app.n_sessions(), usize::from(N_DEVICES));
    client
}

/// Each device but those left out sends this, and it is accepted.
async fn all_send(client: &mut Client, left_out: &[u16], text: &str) {
    let devices = || (1..=N_DEVICES).filter(|n| !left_out.contains(n));
    let mut sent = std::collections::BTreeMap::new();
    for n in devices() {
        sent.insert(n, client.send(n, 0, &body(text)).await);
    }
    // Devices are answered in any order.
    while !sent.is_empty() {
        let frame = client.frame().await;
        let Performative::Disposition(disposition) = frame.performative else {
            panic!("expected a disposition: {frame:?}")
        };
        assert_eq!(sent.remove(&frame.channel), Some(disposition.first));
        let accepted = crate::proto::State::Outcome(Outcome::Accepted);
        assert_eq!(disposition.state, Some(accepted), "{}", frame.channel);
    }
}

async fn bodies_of(scene: &Scene, device: &str) -> Vec<String> {
    let events = scene.events().await;
    let of = events.iter().filter(|event| event.device_id.as_str() == device);
    of.map(|event| crate::tests::scene::text(&event.body)).collect()
}

#[tokio::test]
async fn one_of_a_hundred_is_disabled_and_the_others_go_on() {
    let scene = scene().await;
    let mut client = crowd(&scene).await;
    client.attach_receiver(CUT, 1, &devicebound(&name(CUT))).await;
    all_send(&mut client, &[], "before").await;
    // It sends in the very moment, and after it.
    for n in 0..16 {
        client.send(CUT, 0, &body(&format!("during {n}"))).await;
    }
    scene.rewrite(&name(CUT), "disabled", (KEY, OTHER_KEY)).await;
    let logged = bodies_of(&scene, &name(CUT)).await;
    for n in 0..16 {
        client.send(CUT, 0, &body(&format!("after {n}"))).await;
    }
    // Its links are detached and its session ended, all for the same reason; what was accepted
    // before is in the log.
    let mut n_accepted = 1;
    let mut detached = Vec::new();
    loop {
        let frame = client.frame().await;
        assert_eq!(frame.channel, CUT, "{frame:?}");
        match frame.performative {
            Performative::Disposition(_) if detached.is_empty() => n_accepted += 1,
            Performative::Detach(detach) => {
                assert!(detach.closed);
                assert_eq!(detach.error.expect("an error").condition, errors::NOT_FOUND);
                detached.push(detach.handle);
            }
            Performative::End(end) => {
                assert_eq!(end.error.expect("an error").condition, errors::NOT_FOUND);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    detached.sort_unstable();
    assert_eq!(detached, [0, 1]);
    assert!(logged.len() >= n_accepted, "{n_accepted} accepted, in the log: {logged:?}");
    assert_eq!(scene.app.n_sessions(), usize::from(N_DEVICES) - 1);
    client.put(CUT, Performative::End(End::default())).await;
    // Its neighbours never noticed.
    all_send(&mut client, &[CUT], "on").await;
    all_send(&mut client, &[CUT], "and on").await;
    for n in [1, CUT - 1, CUT + 1, N_DEVICES] {
        assert_eq!(bodies_of(&scene, &name(n)).await, ["before", "on", "and on"], "{n}");
    }
    // Nothing of it came after the operator's answer.
    assert_eq!(bodies_of(&scene, &name(CUT)).await, logged);
    assert!(logged.iter().all(|body| !body.starts_with("after")), "{logged:?}");
    // It stays out: with a new token and with the old one.
    assert_eq!(put_token(&mut client, 0, &scene.token(&name(CUT))).await.0, 404);
    client.begin(CUT).await;
    let wish = Wish::sender(CUT, 0, &events(&name(CUT)));
    client.attach_refused(wish, errors::NOT_FOUND).await;
    // And comes back by itself when it may.
    scene.rewrite(&name(CUT), "enabled", (KEY, OTHER_KEY)).await;
    client.attach_sender(CUT, 1, &events(&name(CUT))).await;
    let sent = client.send(CUT, 1, &body("back")).await;
    assert_eq!(client.outcome(CUT, sent).await, Outcome::Accepted);
    all_send(&mut client, &[CUT], "still").await;
}

#[tokio::test]
async fn many_of_a_hundred_are_cut_off_at_once() {
    let scene = scene().await;
    let mut client = crowd(&scene).await;
    let cut: Vec<u16> = (1..=N_DEVICES).filter(|n| n % 2 == 0).collect();
    for n in &cut {
        match n % 4 {
            0 => scene.delete_device(&name(*n)).await,
            _ => scene.rewrite(&name(*n), "disabled", (KEY, OTHER_KEY)).await,
        }
    }
    let mut ended = Vec::new();
    while ended.len() < cut.len() {
        let frame = client.frame().await;
        match frame.performative {
            Performative::Detach(_) => {}
            Performative::End(end) => {
                assert_eq!(end.error.expect("an error").condition, errors::NOT_FOUND);
                ended.push(frame.channel);
            }
            other => panic!("{other:?}"),
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, cut);
    for n in &cut {
        client.put(*n, Performative::End(End::default())).await;
    }
    all_send(&mut client, &cut, "on").await;
    assert_eq!(scene.app.n_sessions(), usize::from(N_DEVICES) - cut.len());
    // The last ones take the connection with them.
    for n in (1..=N_DEVICES).filter(|n| n % 2 == 1) {
        scene.delete_device(&name(n)).await;
    }
    let error = client.closed().await.expect("an error");
    assert_eq!(error.condition, errors::NOT_FOUND);
    client.over().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn devices_in_one_session_lose_their_links_and_not_the_session() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    let mut client = sending(&scene).await;
    assert_eq!(put_token(&mut client, 0, &scene.token("dev2")).await.0, 200);
    client.attach_sender(CHANNEL, 1, &events("dev2")).await;
    scene.delete_device(DEVICE).await;
    let (handle, error) = client.detached(CHANNEL).await;
    assert_eq!((handle, error.expect("an error").condition.as_str()), (0, errors::NOT_FOUND));
    client.send_accepted(CHANNEL, 1, &body("on")).await;
    assert_eq!(scene.bodies().await, ["on"]);
}
