//! A device that is refused and asks for ever: it is told when to ask again, the others notice
//! nothing of it, and the operator finds it.

use app::limits::{Rate, RateSettings};
use model::{AttemptFilter, AttemptOutcome, AttestFailure, DeviceRefusal, Door};
use testkit::{Ca, ClientStyle};

use super::scene::{Ask, KEY, Reply, Scene, scene, scene_at};

#[track_caller]
fn wait(reply: &Reply) -> Option<u32> {
    let text = reply.header("retry-after");
    (!text.is_empty()).then(|| text.parse().expect("whole seconds"))
}

fn with_chain(scene: &Scene, device: &str) -> Ask {
    let chain = Ca::root("stranger").leaf(device).chain();
    Ask::new("PUT", &scene.device_path(device, "/register")).json("{}").chain(chain)
}

fn with_key(scene: &Scene, device: &str, key: &str) -> Ask {
    let token = scene.device_token(ClientStyle::Python, device, key);
    let register = Ask::new("PUT", &scene.device_path(device, "/register"));
    register.header("authorization", token).json("{}")
}

/// Another key than the enrolled one.
const WRONG_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

#[tokio::test]
async fn a_refused_device_is_told_to_wait_longer_each_time_and_an_admitted_one_never() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let stranger = with_chain(&scene, "nobody");
    let mut waits = Vec::new();
    for _ in 0..5 {
        let reply = scene.send(stranger.clone()).await.with_status(401);
        assert_eq!(reply.at("/errorCode"), 401_002);
        waits.push(wait(&reply));
        // Who asks under the name of a device that is admitted begins anew each time.
        let wrong = scene.send(with_key(&scene, "dev-1", WRONG_KEY)).await.with_code(401_002);
        assert_eq!(wait(&wrong), None);
        let admitted = scene.send(scene.register("dev-1")).await.with_status(202);
        assert_eq!(wait(&admitted), Some(3), "when to poll, and nothing else");
    }
    assert_eq!(waits, [None, Some(5), Some(10), Some(20), Some(40)]);
}

#[tokio::test]
async fn each_refusal_has_a_tracking_id_of_its_own_by_which_the_attempt_is_found() {
    let scene = scene().await;
    let ask = with_chain(&scene, "press-17");
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(scene.send(ask.clone()).await.with_status(401).text_at("/trackingId"));
        scene.advance_secs(1);
    }
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    // The first and the last; those between are counted.
    for id in [&ids[0], &ids[2]] {
        let filter = AttemptFilter::TrackingId(id.clone());
        let found = scene.app.list_attempts(&filter, None, 10).await.expect("listed");
        assert_eq!(found.len(), 1, "{id}");
        let attempt = &found[0].attempt;
        assert_eq!((attempt.n, attempt.door), (3, Door::Https));
        assert_eq!(attempt.outcome, AttemptOutcome::Refused(DeviceRefusal::NotEnrolled));
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_an_attempt_as_well() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let broken = Ask::new("PUT", &scene.device_path("dev-1", "/register"));
    let broken = broken.header("authorization", "SharedAccessSignature nonsense").json("{}");
    scene.send(broken).await.with_code(401_002);
    let filter = AttemptFilter::Device("dev-1".to_owned());
    let found = scene.app.list_attempts(&filter, None, 10).await.expect("listed");
    let refusal = DeviceRefusal::NotAttested(AttestFailure::BadSignature);
    assert_eq!(found[0].attempt.outcome, AttemptOutcome::Refused(refusal));
}

#[tokio::test]
async fn a_storm_leaves_healthy_devices_alone_and_shows_who_it_is() {
    let scene = scene().await;
    scene.enroll("healthy").await;
    scene.enroll("wrong-key").await;
    scene.enroll("other").await;
    let stranger = with_chain(&scene, "stranger");
    for n in 0..200 {
        let storm = match n % 20 {
            0 => {
                scene.send(with_key(&scene, "healthy", KEY)).await.with_status(202);
                continue;
            }
            1..5 => with_key(&scene, "wrong-key", WRONG_KEY),
            5..10 => with_key(&scene, "other", WRONG_KEY).from("198.51.100.7"),
            _ => stranger.clone(),
        };
        scene.send(storm).await.with_status(401);
    }
    let top = scene.app.top_refused(3);
    let named: Vec<_> = top.devices.iter().map(|one| (one.who.as_str(), one.n)).collect();
    assert_eq!(named, [("stranger", 100), ("other", 50), ("wrong-key", 40)]);
    let all = scene.app.list_attempts(&AttemptFilter::All, None, 1000).await.expect("listed");
    let refused: Vec<_> = all.iter().filter(|one| !one.attempt.outcome.is_admission()).collect();
    assert_eq!(refused.len(), 3, "one for each device that storms");
    assert_eq!(refused.iter().map(|one| one.attempt.n).sum::<u64>(), 190);
    assert_eq!(all.len() - refused.len(), 10);
}

#[tokio::test]
async fn who_may_not_ask_gets_nothing_written_down() {
    let rate = Some(Rate { n: 2, per_secs: 10 });
    let rates = RateSettings { device_calls_per_address: rate, ..RateSettings::default() };
    let scene = scene_at(rates).await;
    let broken = |device: &str| {
        let ask = Ask::new("PUT", &scene.device_path(device, "/register"));
        ask.header("authorization", "SharedAccessSignature nonsense").json("{}")
    };
    for n in 0..8 {
        let code = if n < 2 { 401_002 } else { 429_001 };
        scene.send(broken(&format!("name-{n}"))).await.with_code(code);
    }
    let kept = scene.app.list_attempts(&AttemptFilter::All, None, 100).await.expect("listed");
    assert_eq!(kept.len(), 2, "{kept:?}");
}
