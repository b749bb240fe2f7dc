//! Live sessions: each is ended with its device, and the receipt says how long it took.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use induct_app::{
    deprovision::DeprovisionSettings,
    live::End,
    ports::{NoBell, Stopwatch},
};
use model::{Closed, EndedSessions, Evidence, Intent, SelectedCertificate, Selection};
use testkit::Ca;
use tokio::sync::oneshot;

use crate::{
    fleet::{Fleet, GROUP_KEY, OF_GROUP, OWN_KEY, by_ca, derived, ids},
    instance::by,
    stage::{Connected, key},
};

/// Holds a session as a door does: until it is ended. Answers why, after it is gone.
fn hold((session, commands): Connected) -> oneshot::Receiver<End> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let why = session.ended().await;
        drop((session, commands));
        let _ = tell.send(why);
    });
    told
}

fn micros(sessions: EndedSessions) -> u64 {
    match sessions.closed {
        Closed::After { micros, .. } => micros,
        other => panic!("not measured: {other:?}"),
    }
}

#[tokio::test]
async fn sessions_of_a_device_and_its_modules_end_and_the_time_is_told() {
    for intent in [Intent::Suspend, Intent::Retire, Intent::Revoke] {
        let fleet = Fleet::new().await;
        fleet.make("hub-1", "arm-1/camera").await;
        let of_arm = derived("arm-1", GROUP_KEY);
        let ended = [
            hold(fleet.connect("hub-1", "arm-1", &of_arm).await.unwrap()),
            hold(fleet.connect("hub-1", "arm-1/camera", &key(1)).await.unwrap()),
            hold(fleet.connect("hub-1", "press-17", &key(OWN_KEY)).await.unwrap()),
        ];
        let other = fleet.connect("hub-1", "arm-2", &derived("arm-2", GROUP_KEY)).await.unwrap();
        let receipt = fleet.act(&ids(&["arm-1", "arm-3", "press-17"]), intent).await;
        for session in ended {
            assert!(matches!(session.await.unwrap(), End::CutOff(_)), "{intent:?}");
        }
        assert!(other.0.send(crate::stage::body("on")).await.is_ok(), "{intent:?}");
        let items = fleet.items(&receipt.head.id).await;
        let counts: Vec<u32> = items.iter().map(|item| item.sessions.n).collect();
        assert_eq!(counts, [2, 0, 1], "{intent:?}");
        assert_eq!(items[1].sessions.closed, Closed::None);
        let slowest = micros(items[0].sessions).max(micros(items[2].sessions));
        assert_eq!(receipt.slowest_micros(), Some(slowest));
        assert_eq!((receipt.n_sessions(), receipt.counts.closing), (3, 0));
        assert!(receipt.last_closed() <= receipt.head.finished, "{receipt:?}");
    }
}

/// Shows what it is told, and waits for nothing.
struct Hasty(Mutex<Duration>);

#[async_trait]
impl Stopwatch for Hasty {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    async fn pause(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
        // Let everybody else come first.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn with_hasty(fleet: &Fleet, settings: DeprovisionSettings) -> (induct_app::App, Arc<Hasty>) {
    let stopwatch = Arc::new(Hasty(Mutex::default()));
    let watch = Arc::<Hasty>::clone(&stopwatch);
    (fleet.app.clone().with_deprovisioning(settings, Arc::new(NoBell), watch), stopwatch)
}

#[tokio::test]
async fn a_session_that_does_not_close_is_told_and_holds_nobody_up() {
    let fleet = Fleet::new().await;
    let (app, _) = with_hasty(&fleet, crate::fleet::settings());
    // Nobody looks whether it has ended.
    let stuck = fleet.connect("hub-1", "arm-1", &derived("arm-1", GROUP_KEY)).await.unwrap();
    let plan = fleet.plan(&ids(&["arm-1", "arm-2"]), Intent::Retire).await;
    let receipt = app.deprovision(&plan.head.id, &by()).await.unwrap();
    assert_eq!(receipt.counts.done, 2);
    let items = fleet.items(&plan.head.id).await;
    assert_eq!(items[0].sessions, EndedSessions { n: 1, closed: Closed::NotYet });
    assert_eq!((receipt.slowest_micros(), receipt.n_sessions()), (None, 1));
    assert!(stuck.0.send(crate::stage::body("late")).await.is_err(), "it has no effect");
}

#[tokio::test]
async fn devices_are_begun_at_the_pace_that_is_set() {
    let fleet = Fleet::new().await;
    for (per_second, expected) in [(0, 0), (10, 300), (1_000, 3)] {
        let settings = DeprovisionSettings {
            devices_per_second: per_second,
            max_at_once: 1,
            ..crate::fleet::settings()
        };
        let (app, stopwatch) = with_hasty(&fleet, settings);
        let names = ["new-1", "new-2", "new-3", "new-4"].map(|id| format!("{id}-{per_second}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let plan = fleet.plan(&ids(&names), Intent::Retire).await;
        app.deprovision(&plan.head.id, &by()).await.unwrap();
        assert_eq!(stopwatch.elapsed().as_millis(), expected, "{per_second} a second");
    }
}

#[tokio::test]
async fn sessions_that_a_banned_ca_ends_at_once_are_counted_as_a_whole() {
    let fleet = Fleet::new().await;
    let works = Ca::root("works");
    fleet.enroll_group("works", by_ca(&works)).await;
    let mut ended = Vec::new();
    for id in ["saw-1", "saw-2"] {
        let leaf = works.leaf(id);
        fleet.show(id, Evidence::X509(leaf.chain())).await.unwrap();
        let connecting = induct_app::device::Connecting {
            hub: fleet.stage.hub.clone(),
            device_id: crate::stage::id(id),
            evidence: Evidence::X509(leaf.chain()),
            address: [192, 0, 2, 1].into(),
            earlier: induct_app::device::Earlier::Restored,
        };
        ended.push(hold(fleet.app.connect_device(connecting).await.unwrap()));
    }
    let mut others = Vec::new();
    for id in OF_GROUP {
        others.push(fleet.connect("hub-1", id, &derived(id, GROUP_KEY)).await.unwrap());
    }
    let ca = attest::certificate::describe(works.der()).unwrap();
    let certificate = Some(SelectedCertificate::Ca(Box::new(ca)));
    let selection = Selection { certificate, ..Selection::default() };
    let plan = fleet.plan(&selection, Intent::Revoke).await;
    assert_eq!(plan.head.totals.n_sessions, 2);
    let receipt = fleet.app.begin_deprovision(&plan.head.id, &by()).await.unwrap();
    for session in ended {
        assert!(matches!(session.await.unwrap(), End::CutOff(_)));
    }
    assert_eq!(receipt.head.sessions.n, 2);
    assert_eq!(receipt.slowest_micros(), Some(micros(receipt.head.sessions)));
    let receipt = fleet.apply(&plan.head.id).await;
    assert_eq!((receipt.n_sessions(), receipt.counts.sessions), (2, 0));
    for other in others {
        assert!(other.0.send(crate::stage::body("on")).await.is_ok());
    }
}
