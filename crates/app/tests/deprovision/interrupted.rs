//! An apply that is interrupted anywhere: whole devices are left behind, and it goes on.

use std::{collections::BTreeMap, future::Future, pin::pin, task::Poll};

use induct_app::App;
use model::{DeprovisionState, Intent, ItemState, ReceiptId, Selection};

use crate::{
    fleet::{Fleet, OF_GROUP, of_group, of_receipt},
    instance::by,
};

type Picture = BTreeMap<String, String>;

/// What an apply is tried on: the whole group, and the names of whom it is about.
const CASES: [Intent; 4] = [Intent::Suspend, Intent::Retire, Intent::Revoke, Intent::Reinstate];

/// A fleet with a plan that is to be applied.
async fn planned(intent: Intent) -> (Fleet, ReceiptId, Picture) {
    let fleet = Fleet::new().await;
    let selection: Selection = match intent {
        Intent::Reinstate => {
            let suspended = fleet.act(&of_group("line-4"), Intent::Suspend).await;
            of_receipt(&suspended.head.id)
        }
        Intent::Suspend | Intent::Retire | Intent::Revoke => of_group("line-4"),
    };
    let plan = fleet.plan(&selection, intent).await;
    let before = fleet.picture().await;
    (fleet, plan.head.id, before)
}

/// What is left when nothing goes wrong: the picture, and the parts of each item.
async fn uninterrupted(intent: Intent) -> (Picture, Vec<String>) {
    let (fleet, id, _) = planned(intent).await;
    fleet.apply(&id).await;
    (fleet.picture().await, told(&fleet, &id).await)
}

/// What the items tell, without etags and moments.
async fn told(fleet: &Fleet, id: &ReceiptId) -> Vec<String> {
    let items = fleet.items(id).await;
    let name = |part: &model::Part| {
        format!("{part:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
    };
    items
        .iter()
        .map(|item| {
            let parts: Vec<String> = item.parts.iter().map(name).collect();
            format!("{} {:?} {parts:?}", item.subject.key(), item.state)
        })
        .collect()
}

/// Each device is as it was or as it is to be, as its item says.
async fn check_whole(fleet: &Fleet, id: &ReceiptId, before: &Picture, after: &Picture) {
    let picture = fleet.picture().await;
    for (item, name) in fleet.items(id).await.iter().zip(OF_GROUP) {
        let expected = match item.state {
            ItemState::Pending => before,
            ItemState::Done => after,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(Fleet::of_device(&picture, name), Fleet::of_device(expected, name), "{name}");
    }
}

/// Works it off as a server does that starts again, and compares.
async fn check_resumed(
    fleet: &Fleet,
    id: &ReceiptId,
    (after, items): (&Picture, &Vec<String>),
    how: &str,
) {
    let app = fleet.resumed();
    let begun = app.deprovisioning(id).await.unwrap().head.state;
    if begun == DeprovisionState::Planned {
        // It was never begun, and so it is not worked off.
        assert_eq!(app.work_off_deprovisionings().await.unwrap(), None);
        app.deprovision(id, &by()).await.unwrap();
    }
    assert_eq!(app.work_off_deprovisionings().await.unwrap(), None, "{how}");
    let receipt = app.deprovisioning(id).await.unwrap();
    assert_eq!(receipt.head.state, DeprovisionState::Done, "{how}");
    assert_eq!((receipt.counts.pending, receipt.counts.closing), (0, 0), "{how}");
    assert_eq!(fleet.picture().await, *after, "{how}");
    assert_eq!(told(fleet, id).await, *items, "{how}");
}

#[tokio::test]
async fn a_store_that_fails_at_any_commit_leaves_whole_devices_and_it_goes_on() {
    for intent in CASES {
        let (after, items) = uninterrupted(intent).await;
        for is_written in [false, true] {
            let mut n = 0;
            loop {
                let (fleet, id, before) = planned(intent).await;
                fleet.stage.store.fail_after(n, is_written);
                let outcome = fleet.app.deprovision(&id, &by()).await;
                if fleet.stage.store.is_to_fail() {
                    assert!(outcome.is_ok(), "{outcome:?}");
                    break;
                }
                let how = format!("{intent:?}, commit {n}, written: {is_written}");
                assert!(outcome.is_err(), "{how}: {outcome:?}");
                settle(&fleet).await;
                check_whole(&fleet, &id, &before, &after).await;
                check_resumed(&fleet, &id, (&after, &items), &how).await;
                n += 1;
            }
            // The first commit, one for each device, the last one.
            assert!(n >= 2 + OF_GROUP.len(), "{intent:?}: {n} commits");
        }
    }
}

/// Polls a future so often at most, and then drops it: whether it was done.
async fn dropped_after<T>(n_polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut n = 0;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            n += 1;
            if n > n_polls { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

#[tokio::test]
async fn an_apply_that_is_dropped_at_any_moment_leaves_whole_devices_and_it_goes_on() {
    for intent in CASES {
        let (after, items) = uninterrupted(intent).await;
        let mut n = 0;
        loop {
            let (fleet, id, before) = planned(intent).await;
            let outcome = dropped_after(n, fleet.app.deprovision(&id, &by())).await;
            let is_done = outcome.is_some();
            settle(&fleet).await;
            let how = format!("{intent:?}, dropped after {n} polls");
            check_whole(&fleet, &id, &before, &after).await;
            check_resumed(&fleet, &id, (&after, &items), &how).await;
            if is_done {
                break;
            }
            n += 1;
        }
        assert!(n > 5, "{intent:?}: {n} polls");
    }
}

/// What was asked of the store before is written, also for devices that were worked on beside the
/// one that failed: it commits in the order it was asked.
async fn settle(fleet: &Fleet) {
    use store::Store;
    fleet.stage.store.commit(model::ChangeSet::new()).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_dropped_again_and_again_comes_to_an_end() {
    for intent in CASES {
        let (after, items) = uninterrupted(intent).await;
        let (fleet, id, _) = planned(intent).await;
        fleet.app.begin_deprovision(&id, &by()).await.unwrap();
        assert!(fleet.bell.n() > 0, "the worker is called for");
        let mut n = 0;
        while dropped_after(n / 4, fleet.app.work_off_deprovisionings()).await.is_none() {
            n += 1;
            assert!(n < 1_000, "{intent:?}: it never ends");
        }
        check_resumed(&fleet, &id, (&after, &items), &format!("{intent:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_apply_one_plan_at_once_do_it_once() {
    let (after, items) = uninterrupted(Intent::Retire).await;
    let (fleet, id, _) = planned(Intent::Retire).await;
    // Two processes over one store, as far as the work goes: they share no locks.
    let second = fleet.resumed();
    let apply = |app: App| {
        let id = id.clone();
        tokio::spawn(async move { app.deprovision(&id, &by()).await.unwrap() })
    };
    let work = |app: App| {
        tokio::spawn(async move {
            app.work_off_deprovisionings().await.unwrap();
        })
    };
    let appliers = [apply(fleet.app.clone()), apply(fleet.app.clone()), apply(second.clone())];
    let workers = [work(fleet.app.clone()), work(second)];
    for worker in workers {
        worker.await.unwrap();
    }
    for applier in appliers {
        let receipt = applier.await.unwrap();
        assert_eq!(receipt.head.state, DeprovisionState::Done);
    }
    assert_eq!(fleet.picture().await, after);
    assert_eq!(told(&fleet, &id).await, items);
    let filter =
        model::AuditFilter { action: Some("device.retire".to_owned()), ..Default::default() };
    let lines = fleet.app.list_audit(&filter, None, 100).await.unwrap();
    assert_eq!(lines.len(), OF_GROUP.len(), "each device is done once");
}
