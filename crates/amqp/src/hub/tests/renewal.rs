//! Newer tokens on the open connection (H §4.3.3, §4.5.2).

use app::limits::{Rate, RateSettings};

use super::*;
use crate::{
    errors,
    proto::Performative,
    tests::scene::{HUB, KEY, OTHER_KEY, Plan, scene, scene_after},
};

const NEW_KEY: &str = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// Waits until the sessions have gone on with what was shown before: the store reads what it is
/// asked, and then writes, one after the other.
async fn renewed(scene: &Scene, client: &mut Client) {
    assert_eq!(put_token(client, 0, &scene.token("nobody")).await.0, 401);
    scene.desire(DEVICE, "{}").await;
    assert_eq!(put_token(client, 0, &scene.token("nobody")).await.0, 401);
}

#[tokio::test]
async fn a_session_goes_on_as_long_as_newer_tokens_come() {
    let scene = scene().await;
    let token = scene.token_for(DEVICE, KEY, 60);
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    for n in 0..5 {
        pass(&scene, 50).await;
        let newer = scene.token_for(DEVICE, KEY, 60);
        assert_eq!(put_token(&mut client, 0, &newer).await.0, 200);
        renewed(&scene, &mut client).await;
        client.send_accepted(CHANNEL, 0, &body(&n.to_string())).await;
    }
    pass(&scene, 62).await;
    let error = client.closed().await.expect("an error");
    assert_eq!(error.condition, errors::UNAUTHORIZED);
    assert_eq!(scene.bodies().await.len(), 5);
}

#[tokio::test]
async fn a_token_that_is_refused_renews_nothing() {
    let scene = scene().await;
    let token = scene.token_for(DEVICE, KEY, 60);
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    let bad = scene.token_for(DEVICE, NEW_KEY, 6000);
    assert_eq!(put_token(&mut client, 0, &bad).await.0, 401);
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    pass(&scene, 62).await;
    let error = client.closed().await.expect("an error");
    assert_eq!(error.condition, errors::UNAUTHORIZED);
}

#[tokio::test]
async fn a_device_changes_its_key_without_losing_its_links() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    scene.rewrite(DEVICE, "enabled", (KEY, NEW_KEY)).await;
    let newer = scene.token_for(DEVICE, NEW_KEY, 600);
    assert_eq!(put_token(&mut client, 0, &newer).await.0, 200);
    // The answer to another request, and the session has heard of the one before.
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    scene.rewrite(DEVICE, "enabled", (OTHER_KEY, NEW_KEY)).await;
    client.send_accepted(CHANNEL, 0, &body("2")).await;
    scene.rewrite(DEVICE, "enabled", (OTHER_KEY, KEY)).await;
    let error = client.closed().await.expect("an error");
    assert_eq!(error.condition, errors::UNAUTHORIZED);
    assert_eq!(scene.bodies().await, ["1", "2"]);
}

#[tokio::test]
async fn a_newer_token_of_a_policy_renews_all_devices_that_rest_on_one() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    let policy_token = async |life_secs| {
        let keys = scene.policy_keys("device").await;
        scene.token_of(HUB, keys.primary.reveal(), life_secs, Some("device"))
    };
    let mut client = shown_with(&scene, &policy_token(60).await).await;
    client.begin(2).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    client.attach_sender(2, 0, &events("dev2")).await;
    pass(&scene, 50).await;
    assert_eq!(put_token(&mut client, 0, &policy_token(60).await).await.0, 200);
    renewed(&scene, &mut client).await;
    pass(&scene, 50).await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    client.send_accepted(2, 0, &body("2")).await;
    // One of them shows its own, and no longer rests on the policy's.
    assert_eq!(put_token(&mut client, 0, &scene.token("dev2")).await.0, 200);
    renewed(&scene, &mut client).await;
    client.send_accepted(2, 0, &body("3")).await;
    pass(&scene, 12).await;
    let (handle, error) = client.detached(CHANNEL).await;
    assert_eq!((handle, error.expect("an error").condition.as_str()), (0, errors::UNAUTHORIZED));
    client.ended(CHANNEL).await;
    client.put(CHANNEL, Performative::End(crate::proto::End::default())).await;
    client.send_accepted(2, 0, &body("4")).await;
}

#[tokio::test]
async fn a_newer_token_counts_once_and_then_renews() {
    // Two tokens are shown and a link is attached, and no more is allowed.
    let rate = Some(Rate { n: 3, per_secs: 3600 });
    let rates = RateSettings { device_calls_per_address: rate, ..RateSettings::default() };
    let scene = scene_after(Plan { rates, ..Plan::default() }).await;
    let mut client = shown_with(&scene, &scene.token_for(DEVICE, KEY, 60)).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    pass(&scene, 50).await;
    assert_eq!(put_token(&mut client, 0, &scene.token_for(DEVICE, KEY, 600)).await.0, 200);
    assert_eq!(put_token(&mut client, 0, &scene.token_for(DEVICE, KEY, 600)).await.0, 429);
    scene.desire(DEVICE, "{}").await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    pass(&scene, 20).await;
    client.send_accepted(CHANNEL, 0, &body("2")).await;
}
