//! Deprovisionings: plans, receipts, their items, and what remote hubs are told for them.

use model::{
    Change, ChangeSet, Closed, DeprovisionItem, DeprovisionState, Deprovisioning, DeviceSubject,
    EndedSessions, Expect, ItemState, PlannedDevice, ReceiptCounts, ReceiptId, RemoteRemoval,
    RemoteStep, RemoteStepState, RemoteStepTask, RemoteTask, ReportTo, SelectedBy, Timestamp,
    deprovision::{MAX_OPEN_PLANS, MAX_RECEIPTS},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{device_id, hub, registration_id, removal},
    values::{self, receipt_id},
    write,
};
use crate::Store;

/// In every part, in whatever state; and replaced as a whole, without their counts.
pub async fn receipts_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..64 {
        let draw = values::deprovisionings().new_tree(&mut runner).expect("a value").current();
        let again = values::deprovisionings().new_tree(&mut runner).expect("a value").current();
        let again = Deprovisioning { id: draw.id.clone(), ..again };
        write(&store, [put(draw.clone()), put_item(item(&draw.id, 1, "a"))]).await;
        for written in [draw, again] {
            write(&store, [put(written.clone())]).await;
            let found = store.find_receipt(&written.id).await.expect("read").expect("there");
            let head = Deprovisioning { version: 0, ..found.head };
            assert_same(&head, &written);
            assert_eq!((found.counts.items, found.counts.pending), (1, 1));
        }
    }
}

/// In every part; by their number and by their device.
pub async fn receipt_items_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    let id = receipt_id(1);
    write(&store, [put(head(1, DeprovisionState::Planned))]).await;
    for _ in 0..96 {
        let draw = values::deprovision_items(id.clone());
        let written = draw.new_tree(&mut runner).expect("a value").current();
        write(&store, [put_item(written.clone())]).await;
        let number = written.number;
        let by_number = store.find_receipt_item(&id, number).await.expect("read").expect("there");
        let key = written.subject.key();
        let by_key = store.find_receipt_item_of(&id, &key).await.expect("read").expect("there");
        for found in [by_number, by_key] {
            assert!(found.version > 0);
            assert_same(&DeprovisionItem { version: 0, ..found }, &written);
        }
    }
}

/// They are those of the items as they stand, however often these are written.
pub async fn counts_follow_the_items(harness: &impl Harness) {
    let store = harness.open().await;
    let id = receipt_id(1);
    let counts = async || {
        let found = store.find_receipt(&id).await.expect("read").expect("there");
        assert_eq!(found.n_sessions(), found.counts.sessions);
        found.counts
    };
    write(&store, [put(head(1, DeprovisionState::Planned))]).await;
    assert_eq!(counts().await, ReceiptCounts::default());
    let names = ["a", "b", "c", "d"];
    let items = (1..).zip(names).map(|(number, name)| put_item(item(&id, number, name)));
    write(&store, items).await;
    let begun = ReceiptCounts { items: 4, pending: 4, ..ReceiptCounts::default() };
    assert_eq!(counts().await, begun);
    let step = |state| RemoteStep {
        hub: hub("far.test"),
        device_id: device_id("a"),
        task: RemoteStepTask::Delete,
        state,
        at: at(1),
    };
    let waits = || RemoteStepState::Pending { n_failures: 0, last_error: None };
    let sessions = |n, closed| EndedSessions { n, closed };
    let a = DeprovisionItem {
        state: ItemState::Done,
        sessions: sessions(2, Closed::Waiting),
        remote: vec![step(waits()), step(waits()), step(RemoteStepState::Superseded)],
        ..item(&id, 1, "a")
    };
    let b = DeprovisionItem { state: ItemState::Unchanged, ..item(&id, 2, "b") };
    let closed = Closed::After { micros: 900, at: at(5) };
    let c = DeprovisionItem {
        state: ItemState::Done,
        sessions: sessions(1, closed),
        ..item(&id, 3, "c")
    };
    let d = DeprovisionItem { state: ItemState::Failed, ..item(&id, 4, "d") };
    write(&store, [a.clone(), b, c, d].map(put_item)).await;
    let expected = ReceiptCounts {
        items: 4,
        pending: 0,
        unchanged: 1,
        done: 2,
        failed: 1,
        closing: 1,
        sessions: 3,
        looked_at: 0,
        slowest_micros: Some(900),
        last_closed: Some(at(5)),
        remote_pending: 2,
        remote_done: 1,
        remote_failed: 0,
    };
    assert_eq!(counts().await, expected);
    // The largest stay, whichever comes last.
    let trouble = model::Trouble { error: "e".to_owned(), remedy: "r".to_owned() };
    let a = DeprovisionItem {
        sessions: sessions(3, Closed::After { micros: 500, at: at(9) }),
        remote: vec![
            step(RemoteStepState::Done { changed: true }),
            step(RemoteStepState::Failed(trouble)),
        ],
        ..a
    };
    for _ in 0..2 {
        write(&store, [put_item(a.clone())]).await;
        let expected = ReceiptCounts {
            closing: 0,
            sessions: 4,
            last_closed: Some(at(9)),
            remote_pending: 0,
            remote_done: 1,
            remote_failed: 1,
            ..expected
        };
        assert_eq!(counts().await, expected);
    }
    harness.close(store).await;
}

/// The second item of a device is none, and so is one of no plan.
pub async fn a_device_is_in_a_plan_once(harness: &impl Harness) {
    let store = harness.open().await;
    let (id, other) = (receipt_id(1), receipt_id(2));
    write(
        &store,
        [
            put_item(item(&other, 1, "early")),
            put(head(1, DeprovisionState::Planned)),
            put(head(2, DeprovisionState::Planned)),
            put_item(item(&id, 1, "press-17")),
            put_item(item(&id, 2, "PRESS-17")),
            put_item(item(&id, 3, "press-18")),
            put_item(item(&other, 1, "press-17")),
        ],
    )
    .await;
    assert_eq!(names(&store, &id, None, 0, 9).await, ["press-17", "press-18"]);
    assert_eq!(names(&store, &other, None, 0, 9).await, ["press-17"]);
    let key = DeviceSubject::Registration(registration_id("Press-17")).key();
    let found = store.find_receipt_item_of(&id, &key).await.expect("read").expect("there");
    assert_eq!((found.number, found.subject.key()), (1, key));
    let bare = DeviceSubject::Identity(device_id("a#b")).key();
    assert_eq!(store.find_receipt_item_of(&id, &bare).await.expect("read"), None);
    assert_eq!(store.find_receipt_item(&id, 2).await.expect("read"), None);
    let counts = store.find_receipt(&id).await.expect("read").expect("there").counts;
    assert_eq!((counts.items, counts.pending), (2, 2));
}

/// Of two that work on the same one, one wins; and nothing is written for a plan that is gone.
pub async fn receipts_and_items_are_expected_by_their_versions(harness: &impl Harness) {
    let store = harness.open().await;
    let id = receipt_id(1);
    let version = async || match store.find_receipt(&id).await.expect("read") {
        Some(found) => found.head.version,
        None => 0,
    };
    let item_version = async || match store.find_receipt_item(&id, 1).await.expect("read") {
        Some(found) => found.version,
        None => 0,
    };
    let apply = || put(head(1, DeprovisionState::Applying));
    let on_head = |version| ChangeSet::new().expecting(Expect::Receipt(id.clone(), version));
    let on_item = |version| ChangeSet::new().expecting(Expect::ReceiptItem(id.clone(), 1, version));
    conflicts(&store, on_head(1).with(apply())).await;
    store.commit(on_head(0).with(apply())).await.expect("written");
    conflicts(&store, on_head(0).with(apply())).await;
    let before = version().await;
    let do_it = || put_item(item(&id, 1, "a"));
    conflicts(&store, on_item(1).with(do_it())).await;
    store.commit(on_item(0).with(do_it())).await.expect("written");
    conflicts(&store, on_item(0).with(do_it())).await;
    assert_eq!(version().await, before, "items do not touch their plan");
    let of_item = item_version().await;
    store.commit(on_head(before).with(apply())).await.expect("written");
    conflicts(&store, on_head(before).with(do_it())).await;
    assert_eq!(item_version().await, of_item, "nor it them");
}

/// The latest first, page by page.
pub async fn receipts_are_listed_the_latest_first(harness: &impl Harness) {
    let store = harness.open().await;
    let written: Vec<Deprovisioning> = [(1, 10), (2, 30), (3, 20), (4, 20), (5, 5)]
        .map(|(seed, secs)| {
            let head = head(seed, DeprovisionState::Done);
            Deprovisioning { created: at(secs), ..head }
        })
        .to_vec();
    write(&store, written.iter().cloned().map(put)).await;
    let mut expected: Vec<(Timestamp, ReceiptId)> =
        written.into_iter().map(|head| (head.created, head.id)).collect();
    expected.sort();
    expected.reverse();
    for limit in 1..=6 {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.list_receipts(after.as_deref(), limit).await.expect("listed");
            assert!(page.items.len() <= limit);
            found.extend(page.items.into_iter().map(|one| (one.head.created, one.head.id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    for nonsense in ["", "x", "x/y", "/"] {
        let page = store.list_receipts(Some(nonsense), 9).await.expect("listed");
        assert_eq!(page.items, [], "after {nonsense:?}");
    }
}

/// What is being worked off is found, the oldest first, and of it the items that are open.
pub async fn open_deprovisionings_and_items_are_found(harness: &impl Harness) {
    let store = harness.open().await;
    let heads = [
        (1, DeprovisionState::Applying, 30),
        (2, DeprovisionState::Planned, 10),
        (3, DeprovisionState::Applying, 20),
        (4, DeprovisionState::Done, 5),
        (5, DeprovisionState::Planning, 1),
    ];
    let heads = heads
        .map(|(seed, state, secs)| put(Deprovisioning { created: at(secs), ..head(seed, state) }));
    write(&store, heads).await;
    let applying = async |limit| store.applying_receipts(limit).await.expect("listed");
    assert_eq!(applying(9).await, [receipt_id(3), receipt_id(1)]);
    assert_eq!(applying(1).await, [receipt_id(3)]);
    let id = receipt_id(3);
    let waiting = EndedSessions { n: 1, closed: Closed::Waiting };
    let items = [
        item(&id, 1, "pending"),
        DeprovisionItem { state: ItemState::Done, ..item(&id, 2, "done") },
        DeprovisionItem { state: ItemState::Done, sessions: waiting, ..item(&id, 3, "closing") },
        DeprovisionItem { state: ItemState::Unchanged, ..item(&id, 4, "unchanged") },
        DeprovisionItem { state: ItemState::Failed, ..item(&id, 5, "failed") },
        item(&id, 6, "late"),
        DeprovisionItem { receipt: receipt_id(1), ..item(&id, 1, "of-another") },
    ];
    write(&store, items.map(put_item)).await;
    let open = async |after, limit| {
        let found = store.open_receipt_items(&id, after, limit).await.expect("listed");
        found.iter().map(|item| item.number).collect::<Vec<u64>>()
    };
    assert_eq!(open(0, 9).await, [1, 3, 6]);
    assert_eq!(open(1, 1).await, [3]);
    assert_eq!(open(6, 9).await, [0_u64; 0]);
    assert_eq!(names(&store, &id, None, 3, 2).await, ["unchanged", "failed"]);
    assert_eq!(names(&store, &id, Some(ItemState::Done), 0, 9).await, ["done", "closing"]);
    assert_eq!(names(&store, &id, Some(ItemState::Done), 2, 9).await, ["closing"]);
    assert_eq!(names(&store, &id, Some(ItemState::Pending), 0, 1).await, ["pending"]);
    assert!(names(&store, &receipt_id(9), None, 0, 9).await.is_empty());
}

/// Plans go when their time is over or there are too many, receipts when there are too many, the
/// ones that were finished first; a few items at a time. What is worked off stays.
pub async fn old_plans_and_receipts_are_forgotten(harness: &impl Harness) {
    let store = harness.open().await;
    let plan = |seed: u32, expires| Deprovisioning {
        created: at(i64::from(seed)),
        expires: at(expires),
        id: numbered(seed),
        ..head(0, DeprovisionState::Planned)
    };
    let there = async |seed| store.find_receipt(&numbered(seed)).await.expect("read").is_some();
    let trim = |now, at_most| Change::TrimReceipts { now: at(now), at_most };
    let applying = Deprovisioning { state: DeprovisionState::Applying, ..plan(3, 10) };
    let planning = Deprovisioning { state: DeprovisionState::Planning, ..plan(4, 10) };
    let heads = [plan(1, 10), plan(2, 20), applying, planning];
    write(&store, heads.into_iter().map(put)).await;
    let items = (1..=5).map(|number| put_item(item(&numbered(1), number, &format!("d{number}"))));
    write(&store, items).await;
    write(&store, [trim(10, 100)]).await;
    assert!(there(1).await && there(4).await, "their time is not over yet");
    // A few items at a time: whatever is still there reads as it is.
    write(&store, [trim(11, 2)]).await;
    assert!(there(1).await);
    assert_eq!(names(&store, &numbered(1), None, 0, 9).await, ["d3", "d4", "d5"]);
    let counts = store.find_receipt(&numbered(1)).await.expect("read").expect("there").counts;
    assert_eq!(counts.items, 3);
    write(&store, [trim(11, 100)]).await;
    let left = [there(1).await, there(2).await, there(3).await, there(4).await];
    assert_eq!(left, [false, true, true, false]);
    assert!(names(&store, &numbered(1), None, 0, 9).await.is_empty());
    // Too many plans: the oldest go.
    let many = u32::try_from(MAX_OPEN_PLANS).expect("few") + 2;
    write(&store, (100..100 + many).map(|seed| put(plan(seed, 500)))).await;
    write(&store, [trim(11, 100)]).await;
    let left =
        [there(2).await, there(100).await, there(101).await, there(102).await, there(3).await];
    assert_eq!(left, [false, false, false, true, true]);
    // Too many receipts: those that were finished first go.
    let done = |seed: u32| Deprovisioning {
        state: DeprovisionState::Done,
        // The later one began, the earlier it was finished.
        finished: Some(at(100_000 - i64::from(seed))),
        ..plan(seed, 10)
    };
    let most = u32::try_from(MAX_RECEIPTS).expect("few");
    write(&store, (1_000..1_000 + most + 3).map(|seed| put(done(seed)))).await;
    write(&store, [trim(11, 2)]).await;
    let last = 1_000 + most + 2;
    let left = [there(last).await, there(last - 1).await, there(last - 2).await];
    assert_eq!(left, [false, false, true], "two at a time");
    write(&store, [trim(11, 100)]).await;
    let left = [there(last - 2).await, there(last - 3).await, there(1_000).await, there(3).await];
    assert_eq!(left, [false, true, true, true]);
}

/// A task keeps its reason and whom it reports to.
pub async fn what_remote_hubs_are_told_reads_back(harness: &impl Harness) {
    let store = harness.open().await;
    let tasks = [
        RemoteTask::Delete,
        RemoteTask::Disable { reason: "suspended (1)".to_owned() },
        RemoteTask::Enable { reason: String::new() },
    ];
    let reports = [None, Some(ReportTo { receipt: receipt_id(1), item: u64::MAX })];
    for task in tasks {
        for report_to in &reports {
            let written = RemoteRemoval {
                task: task.clone(),
                report_to: report_to.clone(),
                n_failures: 3,
                last_error: Some("no".to_owned()),
                ..removal("far.test", "press-17", at(9))
            };
            let earlier = Change::DeleteRemoval(hub("far.test"), device_id("press-17"));
            write(&store, [earlier, Change::PutRemoval(Box::new(written.clone()))]).await;
            let found =
                store.find_removal(&hub("far.test"), &device_id("press-17")).await.expect("read");
            let due = store.due_removals(at(9), 9).await.expect("read");
            let found = found.expect("there");
            assert_same(&due, &vec![found.clone()]);
            assert_same(&RemoteRemoval { version: 0, ..found }, &written);
        }
    }
    let other = store.find_removal(&hub("far.test"), &device_id("Press-17")).await.expect("read");
    assert_eq!(other, None, "hubs tell letter case apart");
}

/// Whoever waits to hear of a removal hears of it, although others put one in its place who do not;
/// and what is only to be disabled is not deleted by that.
pub async fn what_reports_to_nobody_silences_nobody(harness: &impl Harness) {
    let store = harness.open().await;
    let disable = || RemoteTask::Disable { reason: "suspended (1)".to_owned() };
    let enable = || RemoteTask::Enable { reason: "suspended (1)".to_owned() };
    let report = |seed| Some(ReportTo { receipt: receipt_id(seed), item: 3 });
    let put = async |task, report_to, due| {
        let written = RemoteRemoval { task, report_to, ..removal("far.test", "press-17", at(due)) };
        write(&store, [Change::PutRemoval(Box::new(written))]).await;
    };
    for (task, kept) in [
        (RemoteTask::Delete, RemoteTask::Delete),
        (disable(), disable()),
        (enable(), RemoteTask::Delete),
    ] {
        put(task, report(1), 5).await;
        put(RemoteTask::Delete, None, 9).await;
        let found = store.find_removal(&hub("far.test"), &device_id("press-17")).await;
        let found = found.expect("read").expect("there");
        assert_eq!((&found.task, &found.report_to, found.due), (&kept, &report(1), at(9)));
        // A later deprovisioning takes its place as a whole.
        put(enable(), report(2), 4).await;
        let found = store.find_removal(&hub("far.test"), &device_id("press-17")).await;
        let found = found.expect("read").expect("there");
        assert_eq!((&found.task, &found.report_to, found.due), (&enable(), &report(2), at(4)));
    }
}

/// So many of each hub, the longest due first.
pub async fn removals_are_due_hub_by_hub(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |hub: &str, id: &str, due| Change::PutRemoval(Box::new(removal(hub, id, at(due))));
    let backlog = (0..50).map(|n| put("down.test", &format!("d-{n:02}"), 1));
    let others = [put("up.test", "late", 9), put("up.test", "b", 3), put("up.test", "a", 4)];
    write(&store, backlog.chain(others)).await;
    let due = async |now, limit| {
        let found = store.due_removals(at(now), limit).await.expect("read");
        found.into_iter().map(|one| one.device_id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(due(4, 2).await, ["d-00", "d-01", "b", "a"]);
    assert_eq!(due(3, 1).await, ["d-00", "b"]);
    assert_eq!(due(0, 9).await, [""; 0]);
}

/// A plan of which something was forgotten cannot be applied any more; plans push out plans and
/// receipts push out receipts, neither the other.
pub async fn a_plan_that_gives_way_is_no_longer_one(harness: &impl Harness) {
    let store = harness.open().await;
    let trim = |at_most| Change::TrimReceipts { now: at(11), at_most };
    let plan = |seed: u32| Deprovisioning {
        created: at(i64::from(seed)),
        expires: at(500),
        id: numbered(seed),
        ..head(0, DeprovisionState::Planned)
    };
    let done = Deprovisioning { state: DeprovisionState::Done, finished: Some(at(1)), ..plan(1) };
    write(&store, [put(done), put_item(item(&numbered(1), 1, "suspended"))]).await;
    write(&store, [put(plan(2))]).await;
    let items = (1..=5).map(|number| put_item(item(&numbered(2), number, &format!("d{number}"))));
    write(&store, items).await;
    let many = u32::try_from(MAX_OPEN_PLANS).expect("few");
    write(&store, (100..100 + many).map(|seed| put(plan(seed)))).await;
    let found = async |seed| store.find_receipt(&numbered(seed)).await.expect("read");
    let before = found(2).await.expect("there").head;
    write(&store, [trim(2)]).await;
    let closed = found(2).await.expect("there");
    assert_eq!((closed.head.state, closed.counts.items), (DeprovisionState::Planning, 3));
    assert!(closed.head.version != before.version && closed.head.expires < at(11));
    let apply = ChangeSet::new()
        .expecting(Expect::Receipt(numbered(2), before.version))
        .with(put(Deprovisioning { state: DeprovisionState::Applying, ..before }));
    conflicts(&store, apply).await;
    write(&store, [trim(100)]).await;
    assert_eq!(found(2).await, None);
    assert!(found(100).await.is_some(), "as many as may be are left");
    assert_eq!(found(1).await.expect("there").counts.items, 1);
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn numbered(seed: u32) -> ReceiptId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&seed.to_be_bytes());
    ReceiptId::from_random(bytes)
}

fn put(head: Deprovisioning) -> Change {
    Change::PutReceipt(Box::new(head))
}

fn put_item(item: DeprovisionItem) -> Change {
    Change::PutReceiptItem(Box::new(item))
}

fn head(seed: u8, state: DeprovisionState) -> Deprovisioning {
    Deprovisioning {
        id: receipt_id(seed),
        intent: model::Intent::Retire,
        selected_by: SelectedBy::default(),
        reason: None,
        by: model::Caller { policy: "ana".to_owned(), address: None },
        created: at(1),
        expires: at(1_000_000),
        state,
        shared: Vec::new(),
        sessions: EndedSessions::default(),
        totals: model::PlanTotals::default(),
        applied: None,
        finished: None,
        version: 0,
    }
}

fn item(receipt: &ReceiptId, number: u64, name: &str) -> DeprovisionItem {
    DeprovisionItem {
        receipt: receipt.clone(),
        number,
        subject: DeviceSubject::Registration(registration_id(name)),
        is_late: false,
        plan: PlannedDevice::default(),
        state: ItemState::Pending,
        at: None,
        parts: Vec::new(),
        sessions: EndedSessions::default(),
        remote: Vec::new(),
        trouble: None,
        version: 0,
    }
}

async fn names(
    store: &impl Store,
    id: &ReceiptId,
    state: Option<ItemState>,
    after: u64,
    limit: usize,
) -> Vec<String> {
    let items = store.list_receipt_items(id, state, after, limit).await.expect("listed");
    let name = |item: DeprovisionItem| match item.subject {
        DeviceSubject::Registration(id) => id.as_str().to_owned(),
        DeviceSubject::Identity(id) => id.as_str().to_owned(),
    };
    items.into_iter().map(name).collect()
}
