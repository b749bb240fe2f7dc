//! Who asks too often is told when to ask again, at each door in its own shape (D §6).

use app::limits::{Rate, RateSettings};

use super::scene::{Ask, Reply, Scene, scene_at};

const RATE: Option<Rate> = Some(Rate { n: 2, per_secs: 10 });

/// Asks as often as it may, and once more.
async fn exhausted(scene: &Scene, ask: impl Fn() -> Ask) -> Reply {
    for _ in 0..2 {
        assert_ne!(scene.send(ask()).await.status, 429);
    }
    scene.send(ask()).await
}

#[track_caller]
fn check_wait(reply: &Reply) {
    let secs: u32 = reply.header("retry-after").parse().expect("whole seconds");
    assert!((1..=10).contains(&secs), "{reply:?}");
}

#[tokio::test]
async fn an_operator_who_asks_too_often_waits() {
    let rates = RateSettings { operator_calls_per_address: RATE, ..RateSettings::default() };
    for path in ["/enrollments/nobody", "/induct/v1/service"] {
        let scene = scene_at(rates).await;
        let ask = || scene.owner("GET", path);
        let reply = exhausted(&scene, ask).await.with_code(429_001);
        check_wait(&reply);
        // Even with a token that is good for nothing: nobody looks at it any more.
        let stranger = Ask::new("GET", path);
        scene.send(stranger.clone()).await.with_code(429_001);
        // Another address has a share of its own.
        scene.send(stranger.from("198.51.100.7")).await.with_code(401_002);
        scene.advance_secs(10);
        assert_ne!(scene.send(ask()).await.status, 429);
    }
}

#[tokio::test]
async fn a_hubs_caller_who_asks_too_often_waits() {
    let rates = RateSettings { operator_calls_per_address: RATE, ..RateSettings::default() };
    let scene = scene_at(rates).await;
    let reply = exhausted(&scene, || scene.hub_owner("GET", "/devices")).await;
    check_wait(&reply.with_name(429, "ThrottlingException"));
}

#[tokio::test]
async fn a_device_that_asks_too_often_waits_and_starves_no_other() {
    let rates = RateSettings { device_registrations: RATE, ..RateSettings::default() };
    let scene = scene_at(rates).await;
    scene.enroll("noisy").await;
    scene.enroll("quiet").await;
    let reply = exhausted(&scene, || scene.register("noisy")).await.with_code(429_001);
    check_wait(&reply);
    scene.send(scene.register("quiet")).await.with_status(202);
    // Whoever only knows its name uses up nothing of a device's share.
    scene.send(scene.register("noisy").from("198.51.100.7")).await.with_status(202);
    scene.advance_secs(10);
    scene.send(scene.register("noisy")).await.with_status(202);
}
