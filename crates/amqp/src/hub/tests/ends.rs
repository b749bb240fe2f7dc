//! How sessions end: cut off, taken over, expired, stopped (H §4.5).

use std::time::Duration;

use model::{PolicyScope, Precondition};

use super::*;
use crate::{
    AmqpSettings, errors,
    proto::{Outcome, Performative, WireError},
    tests::{
        client::Wish,
        scene::{HUB, KEY, OTHER_KEY, operator, peer, scene, scene_with},
    },
};

const NEW_KEY: &str = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// What an operator does to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Disable,
    Delete,
    DeleteAndMakeAnew,
    ReplaceKeys,
    MakeX509,
}

const DEEDS: [Deed; 5] =
    [Deed::Disable, Deed::Delete, Deed::DeleteAndMakeAnew, Deed::ReplaceKeys, Deed::MakeX509];

impl Deed {
    async fn carry_out(self, scene: &Scene) {
        match self {
            Self::Disable => scene.rewrite(DEVICE, "disabled", (KEY, OTHER_KEY)).await,
            Self::Delete => scene.delete_device(DEVICE).await,
            Self::DeleteAndMakeAnew => {
                scene.delete_device(DEVICE).await;
                scene.put_device(DEVICE).await;
            }
            Self::ReplaceKeys => scene.rewrite(DEVICE, "enabled", (NEW_KEY, OTHER_KEY)).await,
            Self::MakeX509 => {
                let thumbprint = "A".repeat(64);
                let document = format!(
                    r#"{{"deviceId":"{DEVICE}","authentication":{{"type":"selfSigned","x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}}}}}}"#
                );
                scene.put(&document, Precondition::Any).await;
            }
        }
    }

    /// What the device hears.
    fn condition(self) -> &'static str {
        match self {
            Self::Disable | Self::Delete | Self::DeleteAndMakeAnew => errors::NOT_FOUND,
            Self::ReplaceKeys | Self::MakeX509 => errors::UNAUTHORIZED,
        }
    }
}

/// Everything up to the close, and its error.
async fn until_closed(client: &mut Client) -> (Vec<Performative>, WireError) {
    let mut before = Vec::new();
    loop {
        match client.frame().await.performative {
            Performative::Close(close) => return (before, close.error.expect("an error")),
            other => before.push(other),
        }
    }
}

#[tokio::test]
async fn an_idle_session_is_cut_when_the_registry_no_longer_lets_it_in() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = sending(&scene).await;
        client.attach_receiver(CHANNEL, 1, &devicebound(DEVICE)).await;
        deed.carry_out(&scene).await;
        // It was the only device, so the connection goes with it.
        let (_, error) = until_closed(&mut client).await;
        assert_eq!(error.condition, deed.condition(), "{deed:?}");
        client.over().await;
        assert_eq!(scene.app.n_sessions(), 0, "{deed:?}");
        // With what it has it stays out, except where a new device has the same keys.
        let mut client = scene.connected().await;
        attach_token_links(&mut client, 0).await;
        let (status, _) = put_token(&mut client, 0, &scene.token(DEVICE)).await;
        let expected = match deed {
            Deed::DeleteAndMakeAnew => 200,
            Deed::Disable => 404,
            Deed::Delete | Deed::ReplaceKeys | Deed::MakeX509 => 401,
        };
        assert_eq!(status, expected, "{deed:?}");
    }
}

#[tokio::test]
async fn what_is_sent_after_the_change_has_no_effect_and_is_not_accepted() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = sending(&scene).await;
        client.send_accepted(CHANNEL, 0, &body("before")).await;
        deed.carry_out(&scene).await;
        client.send(CHANNEL, 0, &body("after")).await;
        let (before, error) = until_closed(&mut client).await;
        assert_eq!(error.condition, deed.condition(), "{deed:?}");
        let is_outcome = |frame: &Performative| matches!(frame, Performative::Disposition(_));
        assert!(!before.iter().any(is_outcome), "{deed:?}: {before:?}");
        // The events of a deleted device may go with it.
        let bodies = scene.bodies().await;
        assert!(bodies.iter().all(|body| body == "before"), "{deed:?}: {bodies:?}");
    }
}

#[tokio::test]
async fn of_what_is_sent_during_the_change_just_what_is_accepted_is_sure() {
    for deed in DEEDS {
        let scene = scene().await;
        let mut client = sending(&scene).await;
        let mut sent = Vec::new();
        for n in 0..16 {
            sent.push(client.send(CHANNEL, 0, &body(&n.to_string())).await);
        }
        deed.carry_out(&scene).await;
        client.send(CHANNEL, 0, &body("after")).await;
        let (before, _) = until_closed(&mut client).await;
        let mut n_accepted = 0;
        for frame in before {
            if let Performative::Disposition(disposition) = frame {
                assert_eq!(disposition.first, sent[n_accepted], "{deed:?}");
                n_accepted += 1;
            }
        }
        client.over().await;
        let bodies = scene.bodies().await;
        let expected: Vec<_> = (0..bodies.len()).map(|n| n.to_string()).collect();
        assert_eq!(bodies, expected, "{deed:?}");
        let is_kept = bodies.len() >= n_accepted || deed == Deed::Delete;
        assert!(is_kept && bodies.len() <= 16, "{deed:?}: {n_accepted} accepted");
    }
}

#[tokio::test]
async fn a_change_that_leaves_the_credential_alone_ends_nothing() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    scene.rewrite(DEVICE, "enabled", (KEY, NEW_KEY)).await;
    scene.rewrite(DEVICE, "enabled", (NEW_KEY, KEY)).await;
    scene.desire(DEVICE, r#"{"a":1}"#).await;
    let mut sent = Vec::new();
    for n in 0..20 {
        sent.push(client.send(CHANNEL, 0, &body(&n.to_string())).await);
        if n == 10 {
            scene.rewrite(DEVICE, "enabled", (KEY, OTHER_KEY)).await;
        }
    }
    for sent in sent {
        assert_eq!(client.outcome(CHANNEL, sent).await, Outcome::Accepted);
    }
    assert_eq!(scene.events().await.len(), 20);
}

#[tokio::test]
async fn a_session_by_a_policys_key_ends_with_the_key() {
    let scene = scene().await;
    let token = scene.policy_token("device", HUB).await;
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    let scope = PolicyScope::Hub(scene.hub.clone());
    let (slot, any, by) = (app::policies::KeySlot::Primary, Precondition::Any, operator());
    let rotated = scene.app.rotate_policy_key(&scope, "device", slot, None, &any, &by);
    rotated.await.expect("rotated");
    let (_, error) = until_closed(&mut client).await;
    assert_eq!(error.condition, errors::UNAUTHORIZED);
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_second_connection_takes_over_and_the_first_has_no_effect_any_more() {
    let scene = scene().await;
    let mut first = sending(&scene).await;
    first.send_accepted(CHANNEL, 0, &body("first")).await;
    let mut second = sending(&scene).await;
    first.send(CHANNEL, 0, &body("too late")).await;
    let (_, error) = until_closed(&mut first).await;
    assert_eq!(error.condition, errors::STOLEN);
    first.over().await;
    second.send_accepted(CHANNEL, 0, &body("second")).await;
    assert_eq!(scene.bodies().await, ["first", "second"]);
    assert_eq!(scene.app.n_sessions(), 1);
}

#[tokio::test]
async fn who_may_not_connect_takes_nothing_over() {
    let scene = scene().await;
    let mut first = sending(&scene).await;
    let mut stranger = scene.connected().await;
    attach_token_links(&mut stranger, 0).await;
    let bad = scene.token_for(DEVICE, NEW_KEY, 600);
    assert_eq!(put_token(&mut stranger, 0, &bad).await.0, 401);
    let wish = Wish::sender(0, 2, &events(DEVICE));
    stranger.attach_refused(wish, errors::UNAUTHORIZED).await;
    first.send_accepted(CHANNEL, 0, &body("on")).await;
}

#[tokio::test]
async fn a_session_ends_soon_after_its_token() {
    let scene = scene().await;
    let token = scene.token_for(DEVICE, KEY, 30);
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    pass(&scene, 30).await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    pass(&scene, 2).await;
    let (_, error) = until_closed(&mut client).await;
    assert_eq!(error.condition, errors::UNAUTHORIZED);
    client.over().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_device_that_does_not_read_is_cut_all_the_same() {
    for deed in DEEDS {
        let settings =
            AmqpSettings { write_timeout: Duration::from_secs(5), ..AmqpSettings::default() };
        let scene = scene_with(settings).await;
        for _ in 0..10 {
            scene.message(DEVICE, &"x".repeat(50_000)).await;
        }
        let mut client = scene.open_with(4096, peer());
        client.connect_to(Some(HUB)).await;
        client.begin(0).await;
        attach_token_links(&mut client, 0).await;
        put_token(&mut client, 0, &scene.token(DEVICE)).await;
        // More than the connection holds: the door is in the middle of writing.
        client.attach_receiver(0, 2, &devicebound(DEVICE)).await;
        deed.carry_out(&scene).await;
        tokio::time::pause();
        client.given_up().await;
        tokio::time::resume();
        assert_eq!(scene.app.n_sessions(), 0, "{deed:?}");
    }
}

#[tokio::test]
async fn a_server_that_stops_closes_its_sessions() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    scene.stop();
    let (_, error) = until_closed(&mut client).await;
    assert_eq!(error.condition, "amqp:connection:forced");
    client.over().await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn who_asked_for_another_link_before_it_was_cut_off_takes_no_place_back() {
    let scene = scene().await;
    let mut first = shown(&scene).await;
    // Another session, which the cut leaves open.
    first.begin(2).await;
    first.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    let mut second = sending(&scene).await;
    first.send_attach(&Wish::sender(2, 0, &events(DEVICE))).await;
    let (before, error) = until_closed(&mut first).await;
    assert_eq!(error.condition, errors::STOLEN);
    // It is refused, or the connection is closed before it is heard.
    let heard: Vec<_> = before
        .into_iter()
        .filter_map(|frame| match frame {
            Performative::Detach(detach) => detach.error,
            _ => None,
        })
        .collect();
    assert!(heard.iter().all(|error| error.condition == errors::STOLEN), "{heard:?}");
    first.over().await;
    second.send_accepted(CHANNEL, 0, &body("on")).await;
    assert_eq!(scene.app.n_sessions(), 1);
}
