//! Remote hubs take turns: one that is down holds up no other, and what is under way when a device is
//! taken out neither lets it in nor silences the receipt.

use decide::pending::{LEASE_SECS, RemoteFailure};
use induct_app::remote::RemoteSettings;
use model::{DeviceStatus, Intent, RegistrationStatus};

use crate::{
    fleet::{ids, registration},
    remote::{Meanwhile, Scene},
    stage::{key, keyed},
};

/// `saw-1`, by its own enrollment, is on its way to `far-1`.
async fn on_its_way() -> Scene {
    let scene = Scene::new().await;
    scene.enroll_as("saw-1", None, "far-1", 3).await;
    let status = scene.fleet.register("saw-1", key(3)).await;
    assert_eq!(status, Ok(RegistrationStatus::Assigning));
    scene
}

#[tokio::test]
async fn a_hub_that_is_down_holds_up_no_other_and_is_not_asked_again_and_again() {
    let scene = Scene::new().await;
    scene.far.fail(&["far-1"], &RemoteFailure::transient("down"));
    let many: Vec<String> = (0..200).map(|n| format!("d-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let backlog = scene.act(&ids(&many), Intent::Retire).await;
    let mut n_passes = 0;
    while scene.app.deprovisioning(&backlog.head.id).await.unwrap().counts.remote_done < 200 {
        scene.app.work_off().await.unwrap();
        n_passes += 1;
        assert!(n_passes < 5, "what is to be told is told");
    }
    let max_at_once = RemoteSettings::default().max_at_once;
    let n_calls = scene.far.n_calls();
    assert!(n_calls <= 200 + max_at_once, "{n_calls} calls");
    scene.fleet.stage.clock.advance(LEASE_SECS * 6);
    scene.far.put("far-2", keyed("stolen", 1));
    let receipt = scene.act(&ids(&["stolen"]), Intent::Revoke).await;
    let next = scene.app.work_off().await.unwrap();
    assert_eq!(scene.far.look("far-2", "stolen"), None, "in the first pass");
    // One device was tried on the other one, and nobody spins on what is left.
    assert_eq!(scene.far.n_calls(), n_calls + 2);
    assert!(next.is_some_and(|next| next > scene.app.now()), "{next:?}");
    // It is well again: all is told.
    scene.far.set_down(&[]);
    let told = scene.settle(&backlog).await;
    assert_eq!((told.counts.remote_pending, told.counts.remote_done), (0, 400));
    let told = scene.app.deprovisioning(&receipt.head.id).await.unwrap();
    assert_eq!((told.counts.remote_pending, told.counts.remote_done), (0, 2));
}

#[tokio::test]
async fn a_ban_set_while_a_remote_hub_is_told_wins() {
    for is_put in [false, true] {
        let scene = on_its_way().await;
        scene.far.set_meanwhile(is_put, &scene.app, Meanwhile::Ban);
        scene.app.work_off().await.unwrap();
        let record = scene.app.get_record(&registration("saw-1")).await.unwrap();
        assert_eq!(record.status, RegistrationStatus::Failed, "on put: {is_put}");
        for _ in 0..3 {
            scene.fleet.stage.clock.advance(LEASE_SECS);
            scene.app.work_off().await.unwrap();
        }
        assert_eq!(scene.far.look("far-1", "saw-1"), None, "what was made goes again");
    }
}

#[tokio::test]
async fn the_receipt_hears_of_a_device_that_was_on_its_way() {
    for intent in [Intent::Suspend, Intent::Retire, Intent::Revoke] {
        for is_put in [false, true] {
            let how = format!("{intent:?}, on put: {is_put}");
            let scene = on_its_way().await;
            scene.far.set_meanwhile(is_put, &scene.app, Meanwhile::Deprovision(intent));
            scene.app.work_off().await.unwrap();
            let receipt = scene.far.receipt().expect("deprovisioned");
            let told = scene.settle(&receipt).await;
            let counts = (told.counts.remote_pending, told.counts.remote_done);
            assert_eq!(counts, (0, 2), "{how}");
            let expected = (intent == Intent::Suspend).then_some(DeviceStatus::Disabled);
            let there = scene.far.look("far-1", "saw-1").map(|(status, _)| status);
            assert_eq!(there, expected, "{how}");
        }
    }
}
