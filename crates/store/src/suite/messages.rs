//! Messages that wait for devices, and the feedback on them.

use model::{Change, ChangeSet, CloudMessage, Expect, Feedback, HubName, MessageEnd, Timestamp};
use proptest::{
    collection::vec, prelude::Strategy, prop_oneof, strategy::ValueTree, test_runner::TestRunner,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{device, device_id, feedback, hub, message, twin},
    values, write,
};
use crate::{CommitError, Store};

/// Numbers are the hub's, from 1, and none comes twice; each device has its own queue.
pub async fn messages_wait_in_the_order_of_their_numbers(harness: &impl Harness) {
    let mut store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    write(&store, [put(&one, "a"), put(&one, "b"), put(&two, "a")]).await;
    write(&store, [enqueue(&one, "a", "1"), enqueue(&one, "b", "2"), enqueue(&one, "a", "3")])
        .await;
    write(&store, [enqueue(&two, "a", "4")]).await;
    check_queue(&store, &one, "a", &[(1, "1"), (3, "3")]).await;
    check_queue(&store, &one, "b", &[(2, "2")]).await;
    check_queue(&store, &two, "a", &[(1, "4")]).await;
    check_queue(&store, &two, "b", &[]).await;
    // One that is taken back takes no number.
    let nobody = Change::PutTwin(one.clone(), device_id("nobody"), Box::new(twin()));
    conflicts(&store, ChangeSet::new().with(enqueue(&one, "a", "lost")).with(nobody)).await;
    // The last one goes, and its number with it.
    write(&store, [delete(&one, "a", 3)]).await;
    harness.close(store).await;
    store = harness.open().await;
    write(&store, [enqueue(&one, "a", "5"), enqueue(&one, "a", "6")]).await;
    check_queue(&store, &one, "a", &[(1, "1"), (4, "5"), (5, "6")]).await;
    let page = async |after, limit| {
        let id = device_id("a");
        let page = store.waiting_messages(&one, &id, after, limit).await.expect("read");
        page.iter().map(|message| message.number).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 4]);
    assert_eq!(page(1, 9).await, [4, 5]);
    assert_eq!(page(4, 1).await, [5]);
    assert!(page(5, 9).await.is_empty());
    assert!(page(u64::MAX, 9).await.is_empty());
    assert!(page(0, 0).await.is_empty());
}

/// Every property, every byte; enqueued, and replaced.
pub async fn messages_read_back_as_they_were_enqueued(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let mut runner = TestRunner::deterministic();
    let strategy = (values::cloud_messages(), values::cloud_messages());
    for _ in 0..48 {
        let (mut written, mut replaced) = strategy.new_tree(&mut runner).expect("values").current();
        let id = written.device_id.clone();
        write(&store, [put(&hub, id.as_str())]).await;
        write(&store, [Change::EnqueueMessage(hub.clone(), Box::new(written.clone()))]).await;
        let found = store.waiting_messages(&hub, &id, 0, 9).await.expect("read");
        assert_eq!(found.len(), 1);
        (written.number, written.version) = (found[0].number, found[0].version);
        assert!(written.number > 0 && written.version > 0);
        assert_same(&found[0], &written);
        (replaced.device_id, replaced.number) = (id.clone(), written.number);
        write(&store, [Change::PutMessage(hub.clone(), Box::new(replaced.clone()))]).await;
        let found = store.waiting_messages(&hub, &id, 0, 9).await.expect("read");
        assert!(found[0].version > written.version);
        replaced.version = found[0].version;
        assert_same(&found[0], &replaced);
        write(&store, [Change::DeleteDevice(hub.clone(), id)]).await;
    }
    let strategy = values::feedback();
    for n in 1..=48 {
        let mut written = strategy.new_tree(&mut runner).expect("a value").current();
        write(&store, [Change::AppendFeedback(hub.clone(), Box::new(written.clone()))]).await;
        let mut found = store.list_feedback(&hub, 99).await.expect("read");
        written.number = n;
        assert_same(&found.pop().expect("it was appended"), &written);
    }
}

/// Room is compared at the commit, and counts what was enqueued a moment before.
pub async fn a_queue_takes_no_more_than_it_has_room_for(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    write(&store, [put(&hub, "a"), put(&hub, "b"), enqueue(&hub, "b", "x")]).await;
    let limited = |n: usize, limit| {
        ChangeSet::new()
            .expecting(Expect::QueueRoom(hub.clone(), device_id("a"), limit))
            .with(enqueue(&hub, "a", &n.to_string()))
    };
    conflicts(&store, limited(0, 0)).await;
    let writers: Vec<_> = (0..12)
        .map(|n| {
            let (store, set) = (store.clone(), limited(n, 5));
            tokio::spawn(async move { store.commit(set).await })
        })
        .collect();
    let mut n_taken = 0;
    for writer in writers {
        match writer.await.expect("joined") {
            Ok(()) => n_taken += 1,
            Err(CommitError::Conflict) => {}
            Err(CommitError::Fault(fault)) => panic!("{fault:?}"),
        }
    }
    assert_eq!(n_taken, 5);
    assert_eq!(waiting(&store, &hub, "a").await.len(), 5);
    assert_eq!(n_waiting(&store, &hub, "a").await, 5);
    let first = waiting(&store, &hub, "a").await[0].number;
    write(&store, [delete(&hub, "a", first)]).await;
    store.commit(limited(99, 5)).await.expect("there is room again");
    conflicts(&store, limited(100, 5)).await;
}

/// Delivered, counted and acknowledged by one, and not by another that saw it before.
pub async fn a_message_is_expected_by_its_version(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    write(&store, [put(&hub, "a"), enqueue(&hub, "a", "1")]).await;
    let mut seen = waiting(&store, &hub, "a").await.remove(0);
    let expects = |number, version| {
        ChangeSet::new().expecting(Expect::Message(hub.clone(), device_id("a"), number, version))
    };
    store.commit(expects(1, seen.version)).await.expect("it is so");
    store.commit(expects(2, 0)).await.expect("there is none");
    conflicts(&store, expects(1, 0)).await;
    conflicts(&store, expects(2, seen.version)).await;
    seen.delivery_count = 1;
    let deliver =
        expects(1, seen.version).with(Change::PutMessage(hub.clone(), Box::new(seen.clone())));
    store.commit(deliver.clone()).await.expect("it is so");
    conflicts(&store, deliver).await;
    let now = waiting(&store, &hub, "a").await.remove(0);
    assert_eq!(now.delivery_count, 1);
    write(&store, [delete(&hub, "a", 1)]).await;
    conflicts(&store, expects(1, now.version)).await;
    // There is nothing to replace, of that number or for that device.
    for gone in [now.clone(), CloudMessage { number: 7, ..now }] {
        conflicts(&store, ChangeSet::new().with(Change::PutMessage(hub.clone(), Box::new(gone))))
            .await;
    }
}

/// The count in the identity follows every change.
pub async fn a_devices_messages_go_with_it_and_stay_when_it_is_replaced(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, other) = (hub("hub-1.test"), hub("hub-2.test"));
    write(&store, [put(&hub, "a"), put(&hub, "b"), put(&other, "a")]).await;
    let before = store.find_device(&hub, &device_id("a")).await.expect("read").expect("there");
    for (hub, name) in [(&hub, "a"), (&hub, "a"), (&hub, "b"), (&other, "a")] {
        write(&store, [enqueue(hub, name, "x")]).await;
    }
    let after = store.find_device(&hub, &device_id("a")).await.expect("read").expect("there");
    let mut expected = before.clone();
    expected.identity.cloud_to_device_messages = 2;
    assert_eq!(after, expected);
    write(&store, [put(&hub, "a")]).await;
    assert_eq!(
        (n_waiting(&store, &hub, "a").await, waiting(&store, &hub, "a").await.len()),
        (2, 2)
    );
    write(&store, [delete(&hub, "a", 1), delete(&hub, "a", 1), delete(&hub, "a", 3)]).await;
    assert_eq!(
        (n_waiting(&store, &hub, "a").await, waiting(&store, &hub, "a").await.len()),
        (1, 1)
    );
    write(&store, [Change::DeleteDevice(hub.clone(), device_id("a"))]).await;
    check_queue(&store, &hub, "a", &[]).await;
    write(&store, [put(&hub, "a")]).await;
    check_queue(&store, &hub, "a", &[]).await;
    check_queue(&store, &hub, "b", &[(3, "x")]).await;
    check_queue(&store, &other, "a", &[(1, "x")]).await;
}

/// Of all hubs, with the generation of the device, and not one whose time is not over.
pub async fn expired_messages_are_found_the_longest_over_first(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    let mut other = device("a");
    other.identity.generation_id = "another".to_owned();
    write(&store, [put(&one, "a"), Change::PutDevice(two.clone(), Box::new(other))]).await;
    let enqueue = |hub: &HubName, secs, body: &str| {
        let message = message("a", at(secs), body.as_bytes());
        Change::EnqueueMessage(hub.clone(), Box::new(message))
    };
    write(&store, [enqueue(&one, 30, "30"), enqueue(&two, 20, "20"), enqueue(&one, 10, "10")])
        .await;
    let check = async |now, limit, expected: &[&str]| {
        let found = store.expired_messages(at(now), limit).await.expect("read");
        let bodies: Vec<&str> = found
            .iter()
            .map(|(.., message)| std::str::from_utf8(&message.body).expect("a text"))
            .collect();
        assert_eq!(bodies, expected);
        for (hub, generation, message) in found {
            let device = store.find_device(&hub, &message.device_id).await.expect("read");
            assert_eq!(device.expect("it is there").identity.generation_id, generation);
            assert!(waiting(&store, &hub, "a").await.contains(&message));
        }
    };
    check(10, 9, &[]).await;
    check(11, 9, &["10"]).await;
    check(99, 9, &["10", "20", "30"]).await;
    check(99, 2, &["10", "20"]).await;
    // One whose time was moved.
    let mut moved = waiting(&store, &one, "a").await.pop().expect("it is there");
    moved.expires = at(40);
    write(&store, [Change::PutMessage(one.clone(), Box::new(moved))]).await;
    check(99, 9, &["20", "30", "10"]).await;
    write(&store, [Change::DeleteDevice(two.clone(), device_id("a"))]).await;
    check(99, 9, &["30", "10"]).await;
}

/// Each hub's on its own; numbers grow on when all was read and deleted.
pub async fn feedback_is_numbered_and_the_last_ten_thousand_are_kept(harness: &impl Harness) {
    let mut store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    let append = |hub: &HubName, n: u64| {
        let end = MessageEnd::Purged;
        let feedback = Feedback { end, ..feedback(&n.to_string()) };
        Change::AppendFeedback(hub.clone(), Box::new(feedback))
    };
    write(&store, [append(&one, 1), append(&one, 2), append(&two, 1), append(&one, 3)]).await;
    assert_eq!(numbers(&store, &one, 9).await, [1, 2, 3]);
    assert_eq!(numbers(&store, &one, 2).await, [1, 2]);
    assert_eq!(numbers(&store, &two, 9).await, [1]);
    write(&store, [Change::DeleteFeedback(one.clone(), 2)]).await;
    assert_eq!(numbers(&store, &one, 9).await, [3]);
    assert_eq!(numbers(&store, &two, 9).await, [1]);
    write(&store, [Change::DeleteFeedback(one.clone(), u64::MAX)]).await;
    assert!(numbers(&store, &one, 9).await.is_empty());
    harness.close(store).await;
    store = harness.open().await;
    write(&store, (4..=10_003).map(|n| append(&one, n))).await;
    let all = store.list_feedback(&one, usize::MAX).await.expect("read");
    assert_eq!((all.len(), all[0].number, all[9_999].number), (10_000, 4, 10_003));
    assert!(all.iter().all(|feedback| feedback.message_id == feedback.number.to_string()));
    write(&store, [append(&one, 10_004), append(&one, 10_005)]).await;
    let all = store.list_feedback(&one, usize::MAX).await.expect("read");
    assert_eq!((all.len(), all[0].number, all[9_999].number), (10_000, 6, 10_005));
    // Neither the device nor its messages are asked about.
    write(&store, [Change::DeleteDevice(two.clone(), device_id("press-17"))]).await;
    assert_eq!(numbers(&store, &two, 9).await, [1]);
}

/// Whatever is enqueued, replaced and deleted, in whatever sets: the same as in a list, and the
/// count says how long it is.
pub async fn the_queue_behaves_like_a_list(harness: &impl Harness) {
    let mut store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    let strategy = vec(vec(steps(), 1..6), 1..25);
    for n in 0..12 {
        let hub = hub(&format!("hub-{n}.test"));
        write(&store, [put(&hub, "a"), put(&hub, "b")]).await;
        let mut model = Model::default();
        for steps in strategy.new_tree(&mut runner).expect("a value").current() {
            let mut after = model.clone();
            let mut set = ChangeSet::new();
            let mut fails = false;
            for step in &steps {
                let (change, possible) = after.step(&hub, step);
                set = set.with(change);
                fails |= !possible;
            }
            if fails {
                conflicts(&store, set).await;
            } else {
                store.commit(set).await.expect("written");
                model = after;
            }
            if steps.iter().any(|step| matches!(step, Step::Reopen)) {
                harness.close(store).await;
                store = harness.open().await;
            }
            for name in ["a", "b"] {
                let found: Vec<(u64, u32)> = waiting(&store, &hub, name)
                    .await
                    .iter()
                    .map(|message| (message.number, message.delivery_count))
                    .collect();
                let of_device = model.messages.iter().filter(|(_, of, _)| *of == name);
                let expected: Vec<_> =
                    of_device.map(|(number, _, count)| (*number, *count)).collect();
                assert_eq!(found, expected);
                assert_eq!(n_waiting(&store, &hub, name).await as usize, expected.len());
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue(&'static str),
    /// The delivery count of the message of this number.
    Put(&'static str, u64, u32),
    Delete(&'static str, u64),
    Anew(&'static str),
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![proptest::strategy::Just("a"), proptest::strategy::Just("b")];
    prop_oneof![
        12 => name().prop_map(Step::Enqueue),
        2 => (name(), 1..30_u64, 0..9_u32).prop_map(|(name, number, n)| Step::Put(name, number, n)),
        6 => (name(), 1..30_u64).prop_map(|(name, number)| Step::Delete(name, number)),
        1 => name().prop_map(Step::Anew),
        1 => proptest::strategy::Just(Step::Reopen),
    ]
}

/// Number, device and delivery count of what waits.
#[derive(Debug, Clone, Default)]
struct Model {
    messages: Vec<(u64, &'static str, u32)>,
    last: u64,
}

impl Model {
    /// What a step writes, and whether it can be written.
    fn step(&mut self, hub: &HubName, step: &Step) -> (Change, bool) {
        match *step {
            Step::Enqueue(name) => {
                self.last += 1;
                self.messages.push((self.last, name, 0));
                (enqueue(hub, name, "x"), true)
            }
            Step::Put(name, number, delivery_count) => {
                let message = CloudMessage { number, delivery_count, ..message(name, at(9), b"") };
                let change = Change::PutMessage(hub.clone(), Box::new(message));
                let found = self.messages.iter_mut().find(|(n, of, _)| (*n, *of) == (number, name));
                let possible = found.map(|found| found.2 = delivery_count).is_some();
                (change, possible)
            }
            Step::Delete(name, number) => {
                self.messages.retain(|(n, of, _)| (*n, *of) != (number, name));
                (delete(hub, name, number), true)
            }
            Step::Anew(name) => (put(hub, name), true),
            Step::Reopen => {
                (Change::PutInstanceSetting { name: "x".into(), value: "x".into() }, true)
            }
        }
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn put(hub: &HubName, name: &str) -> Change {
    Change::PutDevice(hub.clone(), Box::new(device(name)))
}

fn enqueue(hub: &HubName, name: &str, body: &str) -> Change {
    Change::EnqueueMessage(hub.clone(), Box::new(message(name, at(99), body.as_bytes())))
}

fn delete(hub: &HubName, name: &str, number: u64) -> Change {
    Change::DeleteMessage(hub.clone(), device_id(name), number)
}

async fn waiting(store: &impl Store, hub: &HubName, name: &str) -> Vec<CloudMessage> {
    store.waiting_messages(hub, &device_id(name), 0, usize::MAX).await.expect("read")
}

async fn n_waiting(store: &impl Store, hub: &HubName, name: &str) -> u32 {
    let device = store.find_device(hub, &device_id(name)).await.expect("read");
    device.map_or(0, |device| device.identity.cloud_to_device_messages)
}

/// Expects these numbers and bodies, and a count that agrees.
async fn check_queue(store: &impl Store, hub: &HubName, name: &str, expected: &[(u64, &str)]) {
    let messages = waiting(store, hub, name).await;
    let found: Vec<(u64, &str)> = messages
        .iter()
        .map(|message| (message.number, std::str::from_utf8(&message.body).expect("a text")))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(n_waiting(store, hub, name).await as usize, expected.len());
}

async fn numbers(store: &impl Store, hub: &HubName, limit: usize) -> Vec<u64> {
    let feedback = store.list_feedback(hub, limit).await.expect("read");
    feedback.iter().map(|feedback| feedback.number).collect()
}
