//! Who may use the service side, and for how long.

use std::time::Duration;

use app::limits::{Rate, RateSettings};
use decide::manage::policies::PolicyDraft;
use model::{PolicyScope, Precondition, Right, Rights};

use super::*;
use crate::tests::{
    client::Wish,
    scene::{DEVICE, KEY, Plan, operator, scene, scene_after},
};

const TO_US: u32 = 0;
const UNAUTHORIZED: &str = "amqp:unauthorized-access";

/// What the policy `service` may do from now on.
async fn allow(scene: &Scene, rights: &[Right]) {
    let scope = PolicyScope::Hub(scene.hub.clone());
    let draft = PolicyDraft {
        name: "service".to_owned(),
        rights: Rights::of(rights),
        primary: None,
        secondary: None,
    };
    let put = scene.app.put_policy(&scope, &draft, &Precondition::Any, &operator()).await;
    put.expect("written");
}

/// A token of the policy `service` that is valid for so long.
async fn token_for_secs(scene: &Scene, secs: i64) -> String {
    let keys = scene.policy_keys("service").await;
    scene.token_of(HUB, keys.primary.reveal(), secs, Some("service"))
}

/// Sends a message and expects that the link is detached instead of an answer.
async fn expect_denied(client: &mut Client, handle: u32) {
    client.send(0, handle, &message(DEVICE, "denied")).await;
    let (_, error) = client.detached(0).await;
    assert_eq!(error.expect("an error").condition, UNAUTHORIZED);
    client.send_detach(0, handle).await;
}

#[tokio::test]
async fn a_policys_token_opens_every_link_in_every_spelling() {
    let scene = scene().await;
    let of_host = format!("https://{HUB}");
    for (policy, resource) in [("service", HUB), ("iothubowner", &of_host)] {
        let mut client = with_token_links(&scene).await;
        let token = scene.policy_token(policy, resource).await;
        assert_eq!(put_token(&mut client, &token).await, 200);
        client.attach_sender(0, 0, DEVICEBOUND).await;
        client.attach_sender(0, 1, "/messages/deviceBound").await;
        client.attach_sender(0, 2, &format!("amqps://{HUB}/messages/devicebound")).await;
        client.attach_receiver(0, 3, FEEDBACK).await;
        client.attach_receiver(0, 4, &format!("amqps://{HUB}:5671{FEEDBACK}")).await;
        client.attach_receiver(0, 5, FILES).await;
        client.send_accepted(0, 2, &message(DEVICE, policy)).await;
        client.close().await;
    }
    assert_eq!(scene.waiting(DEVICE).await.len(), 2);
}

#[tokio::test]
async fn who_shows_nothing_or_too_little_attaches_nothing() {
    let scene = scene().await;
    let links = [
        Wish::sender(0, 0, DEVICEBOUND),
        Wish::receiver(0, 1, FEEDBACK),
        Wish::receiver(0, 2, FILES),
    ];
    // Nothing, a token of a device, and policies without ServiceConnect.
    let device = scene.token(DEVICE);
    let of_device = scene.policy_token("device", HUB).await;
    let reader = scene.policy_token("registryReadWrite", HUB).await;
    for (token, status) in
        [(None, 0), (Some(&device), 200), (Some(&of_device), 200), (Some(&reader), 401)]
    {
        let mut client = with_token_links(&scene).await;
        if let Some(token) = token {
            assert_eq!(put_token(&mut client, token).await, status);
        }
        for wish in &links {
            client.attach_refused(wish.clone(), UNAUTHORIZED).await;
        }
        client.vanish().await;
    }
    // A password for another hub, of another policy, and with another key.
    let service = scene.policy_token("service", HUB).await;
    let forged = scene.token_of(HUB, KEY, 600, Some("service"));
    for (user, token) in [
        ("service@sas.root.hub-2", &service),
        ("iothubowner@sas.root.hub-1", &service),
        ("service@sas.root.hub-1", &forged),
        ("dev1@sas.hub-1", &device),
    ] {
        let mut client = scene.logged_in(user, token).await;
        for wish in &links {
            client.attach_refused(wish.clone(), UNAUTHORIZED).await;
        }
        client.vanish().await;
    }
}

#[tokio::test]
async fn a_link_leads_to_a_hub_that_there_is_and_goes_its_way_only() {
    let scene = scene().await;
    let mut client = service(&scene).await;
    let elsewhere = Wish::sender(0, 0, "amqps://hub-9.example.test/messages/devicebound");
    client.attach_refused(elsewhere, "amqp:not-found").await;
    let not_allowed = "amqp:not-allowed";
    client.attach_refused(Wish::receiver(0, 0, DEVICEBOUND), not_allowed).await;
    client.attach_refused(Wish::sender(0, 0, FEEDBACK), not_allowed).await;
    client.attach_refused(Wish::sender(0, 0, FILES), not_allowed).await;
    client.attach_sender(0, 0, DEVICEBOUND).await;
    client.close().await;
}

#[tokio::test]
async fn a_policy_that_changed_takes_effect_at_the_next_message() {
    let scene = scene().await;
    let mut client = with_token_links(&scene).await;
    let token = scene.policy_token("service", HUB).await;
    assert_eq!(put_token(&mut client, &token).await, 200);
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "allowed")).await;
    allow(&scene, &[Right::RegistryRead]).await;
    expect_denied(&mut client, TO_US).await;
    client.attach_refused(Wish::sender(0, 1, DEVICEBOUND), UNAUTHORIZED).await;
    // The token stays where it is, and is good again when the policy is.
    allow(&scene, &[Right::ServiceConnect]).await;
    client.attach_sender(0, 2, DEVICEBOUND).await;
    client.send_accepted(0, 2, &message(DEVICE, "again")).await;
    assert_eq!(scene.waiting(DEVICE).await.len(), 2);
    client.close().await;
}

#[tokio::test]
async fn a_link_goes_on_with_a_newer_token_and_ends_with_the_last() {
    let scene = scene().await;
    let mut client = with_token_links(&scene).await;
    let token = token_for_secs(&scene, 10).await;
    assert_eq!(put_token(&mut client, &token).await, 200);
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    let token = token_for_secs(&scene, 20).await;
    assert_eq!(put_token(&mut client, &token).await, 200);
    scene.advance_secs(15);
    client.send_accepted(0, TO_US, &message(DEVICE, "renewed")).await;
    scene.advance_secs(5);
    expect_denied(&mut client, TO_US).await;
    assert_eq!(scene.waiting(DEVICE).await.len(), 1);
    client.close().await;
}

#[tokio::test]
async fn a_silent_link_ends_with_its_token() {
    let scene = scene().await;
    let mut client = with_token_links(&scene).await;
    let token = token_for_secs(&scene, 10).await;
    assert_eq!(put_token(&mut client, &token).await, 200);
    client.attach_receiver(0, 0, FEEDBACK).await;
    client.attach_receiver(0, 1, FILES).await;
    // They are looked at, and stay, because there is a newer one.
    let token = token_for_secs(&scene, 25).await;
    assert_eq!(put_token(&mut client, &token).await, 200);
    pass(&scene, 11).await;
    client.attach_sender(0, 2, DEVICEBOUND).await;
    client.send_accepted(0, 2, &message(DEVICE, "still there")).await;
    pass(&scene, 15).await;
    for _ in 0..3 {
        let (_, error) = client.detached(0).await;
        assert_eq!(error.expect("an error").condition, UNAUTHORIZED);
    }
    client.close().await;
}

/// So much time passes, on every clock.
async fn pass(scene: &Scene, secs: u64) {
    scene.advance_secs(i64::try_from(secs).expect("short"));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(secs)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_ip_rule_takes_effect_at_the_next_message() {
    let scene = scene().await;
    let mut client = service(&scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "allowed")).await;
    keep_out(&scene).await;
    expect_denied(&mut client, TO_US).await;
    client.attach_refused(Wish::receiver(0, 1, FEEDBACK), UNAUTHORIZED).await;
    client.close().await;
}

async fn keep_out(scene: &Scene) {
    let rules = br#"[{"filterName":"nobody","action":"Reject","ipMask":"127.0.0.0/8"}]"#;
    let rules = wire::manage::parse_ip_rules(rules).expect("rules");
    let draft = app::service::SettingsDraft { ip_rules: Some(rules), ..Default::default() };
    let put = scene.app.update_service(&draft, &Precondition::None, true, &operator()).await;
    put.expect("written");
}

#[tokio::test]
async fn who_sends_too_often_is_told_so_and_may_go_on_later() {
    let rates = RateSettings {
        operator_calls_per_address: Some(Rate { n: 3, per_secs: 30 }),
        ..RateSettings::default()
    };
    let scene = scene_after(Plan { rates, ..Plan::default() }).await;
    let mut client = service(&scene).await;
    client.attach_sender(0, TO_US, DEVICEBOUND).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "1")).await;
    client.send_accepted(0, TO_US, &message(DEVICE, "2")).await;
    let error = client.send_rejected(0, TO_US, &message(DEVICE, "3")).await;
    assert_eq!(error.condition, "com.microsoft:device-container-throttled");
    scene.advance_secs(30);
    client.send_accepted(0, TO_US, &message(DEVICE, "4")).await;
    client.close().await;
}

#[tokio::test]
async fn the_link_of_file_notifications_is_silent() {
    let scene = scene().await;
    let mut client = service(&scene).await;
    client.attach_receiver(0, 0, FILES).await;
    client.send_flow(0, 0, 0, 5, true).await;
    // Its credit is used up for nothing: that is all it ever says.
    loop {
        let flow = client.flow().await;
        if flow.handle == Some(0) && flow.drain {
            assert_eq!((flow.delivery_count, flow.link_credit), (Some(5), Some(0)));
            break;
        }
    }
    client.detach(0, 0).await;
    client.close().await;
}

#[tokio::test]
async fn one_connection_has_only_so_many_links_that_read() {
    let scene = scene().await;
    let mut client = service(&scene).await;
    for handle in 0..16 {
        client.attach_receiver(0, handle, FEEDBACK).await;
    }
    let limit = "amqp:resource-limit-exceeded";
    client.attach_refused(Wish::receiver(0, 16, FEEDBACK), limit).await;
    client.detach(0, 3).await;
    client.attach_receiver(0, 3, FEEDBACK).await;
    // One client attaches a link for each message that waits for its first (`azure-iothub`).
    for handle in 17..40 {
        client.attach_sender(0, handle, DEVICEBOUND).await;
        client.send_accepted(0, handle, &message(DEVICE, "x")).await;
    }
    client.close().await;
}
