//! The event log: its order, its offsets, its end and its beginning.

use model::{
    Change, ChangeSet, Event, EventPosition, Expect, HubName, PartitionState, StoredEvent,
    Timestamp,
};
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_oneof,
    strategy::ValueTree,
    test_runner::TestRunner,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{device, device_id, event, hub, linked_hub, twin},
    values, write,
};
use crate::{CommitError, Store};

/// Partitions and hubs count on their own, from 0; what was appended in one set is in order.
pub async fn offsets_grow_by_one_in_each_partition(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    assert_eq!(store.event_partitions(&one).await.expect("partitions"), vec![]);
    assert_eq!(read_all(&store, &one, 0).await, vec![]);
    let appends = [
        append(&one, 3, 1, b"a"),
        append(&one, 0, 2, b"b"),
        append(&one, 3, 3, b"c"),
        append(&two, 3, 4, b"d"),
    ];
    write(&store, appends).await;
    write(&store, [append(&one, 3, 5, b"e")]).await;
    write(&store, [append(&one, u16::MAX, 6, b"f")]).await;
    let check = async |hub: &HubName, partition, expected: &[&[u8]]| {
        let events = read_all(&store, hub, partition).await;
        let bodies: Vec<&[u8]> = events.iter().map(|event| &*event.event.body).collect();
        assert_eq!(bodies, expected);
        let offsets: Vec<u64> = events.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, (0..expected.len() as u64).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.partition == partition));
    };
    check(&one, 3, &[b"a", b"c", b"e"]).await;
    check(&one, 0, &[b"b"]).await;
    check(&one, u16::MAX, &[b"f"]).await;
    check(&two, 3, &[b"d"]).await;
    check(&two, 0, &[]).await;
    let states = store.event_partitions(&one).await.expect("partitions");
    let size_bytes = event("press-17", at(0), b"a").size_bytes();
    let state = |partition, next_offset, secs| PartitionState {
        partition,
        first_offset: 0,
        next_offset,
        last_enqueued: Some(at(secs)),
        size_bytes: next_offset * size_bytes,
    };
    assert_eq!(states, [state(0, 1, 2), state(3, 3, 5), state(u16::MAX, 1, 6)]);
}

/// Every property, in order and twice, every byte of every body.
pub async fn events_read_back_as_they_were_appended(harness: &impl Harness) {
    let store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    let strategy = values::events();
    let mut written: Vec<Event> =
        (0..64).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect();
    // The log keeps its own order of time.
    written.sort_by_key(|event| event.enqueued);
    // Large ones too.
    written.last_mut().expect("some").body = (0..=255).cycle().take(262_144).collect();
    let hub = hub("hub-1.test");
    write(&store, written.iter().map(|e| Change::AppendEvent(hub.clone(), 7, Box::new(e.clone()))))
        .await;
    let found = read_all(&store, &hub, 7).await;
    assert_eq!(found.len(), written.len());
    for ((found, written), offset) in found.iter().zip(&written).zip(0..) {
        assert_same(&found.event, written);
        assert_eq!((found.partition, found.offset), (7, offset));
    }
    let total: u64 = written.iter().map(Event::size_bytes).sum();
    assert_eq!(state(&store, &hub, 7).await.size_bytes, total);
}

/// Neither in the log nor in what is said of it, and its neighbours have the numbers.
pub async fn a_change_set_that_is_taken_back_leaves_no_gap(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let nobody = || Change::PutTwin(hub.clone(), device_id("nobody"), Box::new(twin()));
    let lost = |partition| {
        ChangeSet::new()
            .with(append(&hub, partition, 100, b"lost"))
            .with(append(&hub, partition, 101, b"lost"))
            .with(nobody())
    };
    conflicts(&store, lost(0)).await;
    assert_eq!(store.event_partitions(&hub).await.expect("partitions"), vec![]);
    write(&store, [append(&hub, 0, 1, b"a")]).await;
    conflicts(&store, lost(0)).await;
    conflicts(&store, lost(1)).await;
    let trimmed = ChangeSet::new().with(trim(&hub, 1_000, u64::MAX, 10)).with(nobody());
    conflicts(&store, trimmed).await;
    let stale = Expect::Hubs(99);
    conflicts(&store, ChangeSet::new().expecting(stale).with(append(&hub, 0, 5, b"lost"))).await;
    write(&store, [append(&hub, 0, 2, b"b"), append(&hub, 2, 2, b"c")]).await;
    check_log(&store, &hub, 0, &[(0, 1, "a"), (1, 2, "b")]).await;
    check_log(&store, &hub, 2, &[(0, 2, "c")]).await;
    let states = store.event_partitions(&hub).await.expect("partitions");
    assert_eq!(states.iter().map(|state| state.partition).collect::<Vec<_>>(), [0, 2]);
}

/// Many at a time, and some of them in vain: every event that was acknowledged is there once, in
/// its sender's order, and the offsets have no gap.
pub async fn concurrent_appends_leave_no_gap(harness: &impl Harness) {
    const N_TASKS: usize = 16;
    const N_EACH: usize = 20;
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let task = |n_task: usize| {
        let (store, hub) = (store.clone(), hub.clone());
        tokio::spawn(async move {
            for n in 0..N_EACH {
                let body = format!("{n_task} {n}");
                let partition = (n_task % 3) as u16;
                let set = ChangeSet::new().with(append(&hub, partition, n as i64, body.as_bytes()));
                if (n_task + n).is_multiple_of(5) {
                    let nobody = device_id("nobody");
                    let failing =
                        set.clone().with(Change::PutTwin(hub.clone(), nobody, Box::new(twin())));
                    conflicts(&store, failing).await;
                }
                store.commit(set).await.expect("appended");
            }
        })
    };
    let tasks: Vec<_> = (0..N_TASKS).map(task).collect();
    for task in tasks {
        task.await.expect("it appended all of its own");
    }
    let mut seen = vec![0; N_TASKS];
    for partition in 0..3 {
        let events = read_all(&store, &hub, partition).await;
        let offsets: Vec<u64> = events.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, (0..events.len() as u64).collect::<Vec<_>>());
        assert!(events.is_sorted_by_key(|event| event.event.enqueued));
        for event in events {
            let body = String::from_utf8(event.event.body).expect("a text");
            let (n_task, n) = body.split_once(' ').expect("two numbers");
            let n_task: usize = n_task.parse().expect("a number");
            assert_eq!(n, seen[n_task].to_string());
            seen[n_task] += 1;
        }
    }
    assert_eq!(seen, vec![N_EACH; N_TASKS]);
}

/// Whoever sends on the strength of a mark is stopped by the first write of the registry: when
/// that one is acknowledged, the log has seen the last of them.
pub async fn no_event_follows_the_write_that_moved_its_mark(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
    write(&store, [Change::PutDevice(hub.clone(), Box::new(device("press-17")))]).await;
    let mark = device("press-17").identity.mark();
    let (begun, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let task = |_| {
        let (store, hub, id, mark) = (store.clone(), hub.clone(), id.clone(), mark.clone());
        let begun = begun.clone();
        tokio::spawn(async move {
            // Many more than it takes, so that a store that does not stop it fails here.
            for n_appended in 0..20_000_u64 {
                let set = ChangeSet::new()
                    .expecting(Expect::Mark(hub.clone(), id.clone(), mark.clone()))
                    .with(append(&hub, 0, 1, b"x"));
                match store.commit(set).await {
                    Ok(()) => {}
                    Err(CommitError::Conflict) => return n_appended,
                    Err(CommitError::Fault(fault)) => panic!("{fault:?}"),
                }
                let _ = begun.send(());
            }
            panic!("it was not stopped");
        })
    };
    let tasks: Vec<_> = (0..8).map(task).collect();
    drop(begun);
    for _ in 0..50 {
        seen.recv().await.expect("they append");
    }
    let mut rewritten = device("press-17").identity;
    rewritten.etag_counter += 1;
    write(&store, [Change::PutIdentity(hub.clone(), Box::new(rewritten))]).await;
    let last = state(&store, &hub, 0).await.next_offset;
    let mut n_appended = 0;
    for task in tasks {
        n_appended += task.await.expect("it was stopped");
    }
    assert_eq!(state(&store, &hub, 0).await.next_offset, last);
    assert_eq!(n_appended, last);
}

/// A clock that was set back does not set the log back; other partitions are not concerned.
pub async fn a_partition_never_goes_back_in_time(harness: &impl Harness) {
    let mut store = harness.open().await;
    let hub = hub("hub-1.test");
    write(&store, [append(&hub, 0, 50, b"a"), append(&hub, 0, 40, b"b")]).await;
    write(&store, [append(&hub, 1, 40, b"c"), append(&hub, 0, 45, b"d")]).await;
    harness.close(store).await;
    store = harness.open().await;
    write(&store, [append(&hub, 0, 10, b"e"), append(&hub, 0, 60, b"f")]).await;
    let expected = [(0, 50, "a"), (1, 50, "b"), (2, 50, "d"), (3, 50, "e"), (4, 60, "f")];
    check_log(&store, &hub, 0, &expected).await;
    check_log(&store, &hub, 1, &[(0, 40, "c")]).await;
    assert_eq!(state(&store, &hub, 0).await.last_enqueued, Some(at(60)));
    // Also when the event that was later is gone.
    write(&store, [trim(&hub, i64::MAX, 0, u64::MAX), append(&hub, 0, 20, b"g")]).await;
    check_log(&store, &hub, 0, &[(5, 60, "g")]).await;
}

/// Before the first, in a gap, at one of several of the same moment, after the last.
pub async fn reading_begins_at_an_offset_or_a_moment(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let moments = [10, 20, 20, 20, 30, 50, 50, 60, 60, 60, 60];
    write(&store, moments.map(|secs| append(&hub, 0, secs, b"x"))).await;
    let first = async |from| {
        let events = store.read_events(&hub, 0, from, 1, u64::MAX).await.expect("read");
        events.first().map(|event| event.offset)
    };
    for offset in 0..11 {
        assert_eq!(first(EventPosition::Offset(offset)).await, Some(offset));
    }
    for offset in [11, 12, 1 << 48, u64::MAX] {
        assert_eq!(first(EventPosition::Offset(offset)).await, None);
    }
    let check = async |trimmed: u64| {
        for ticks in -1..70 {
            let expected = (0..).zip(moments).find(|(n, secs)| *n >= trimmed && *secs >= ticks);
            let found = first(EventPosition::Enqueued(at(ticks))).await;
            assert_eq!(found, expected.map(|(n, _)| n), "{ticks} s, {trimmed} trimmed");
        }
        let ends = [(i64::MIN, Some(trimmed)), (i64::MAX, None)];
        for (ticks, expected) in ends {
            let from = EventPosition::Enqueued(Timestamp::from_ticks(ticks));
            assert_eq!(first(from).await, expected);
        }
    };
    check(0).await;
    write(&store, [trim(&hub, 50, u64::MAX, 3)]).await;
    check(3).await;
    // What is gone is passed over.
    for offset in 0..=3 {
        assert_eq!(first(EventPosition::Offset(offset)).await, Some(3));
    }
    assert_eq!(store.read_events(&hub, 1, EventPosition::Offset(0), 9, 9).await.expect("read"), []);
}

/// At most so many, at most so many bytes together; one is always there, so that a reader goes on.
pub async fn a_read_ends_at_its_limits_but_not_before_the_first_event(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let bodies = [100, 200, 5_000, 0, 0];
    write(&store, bodies.map(|n| append(&hub, 0, 1, &vec![7; n]))).await;
    let sizes = bodies.map(|n| event("press-17", at(1), &vec![7; n]).size_bytes());
    let check = async |from: u64, limit, max_bytes, n: usize| {
        let from = EventPosition::Offset(from);
        let events = store.read_events(&hub, 0, from, limit, max_bytes).await.expect("read");
        assert_eq!(events.len(), n, "{from:?} {limit} {max_bytes}");
    };
    check(0, 0, u64::MAX, 0).await;
    check(0, 3, u64::MAX, 3).await;
    check(0, usize::MAX, u64::MAX, 5).await;
    check(0, 9, 0, 1).await;
    check(0, 9, sizes[0], 1).await;
    check(0, 9, sizes[0] + sizes[1] - 1, 1).await;
    check(0, 9, sizes[0] + sizes[1], 2).await;
    check(0, 9, sizes[0] + sizes[1] + 1, 2).await;
    check(2, 9, 10, 1).await;
    check(2, 9, sizes[2] + sizes[3], 2).await;
    check(5, 9, u64::MAX, 0).await;
}

/// Each partition on its own, the oldest first, no more than asked for.
pub async fn the_oldest_events_are_trimmed_by_age_and_by_size(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, other) = (hub("hub-1.test"), hub("hub-2.test"));
    let one = event("press-17", at(0), b"1234").size_bytes();
    let fill = |hub: &HubName, partition| {
        let (hub, secs) = (hub.clone(), [10, 20, 30, 40, 50]);
        secs.map(move |secs| append(&hub, partition, secs, b"1234"))
    };
    for partition in [0, 1] {
        write(&store, fill(&hub, partition)).await;
    }
    write(&store, fill(&other, 0)).await;
    let check = async |change: Change, partition, first_offset: u64| {
        write(&store, [change]).await;
        let found = state(&store, &hub, partition).await;
        let expected = PartitionState {
            partition,
            first_offset,
            next_offset: 5,
            last_enqueued: Some(at(50)),
            size_bytes: (5 - first_offset) * one,
        };
        assert_eq!(found, expected);
        let offsets: Vec<u64> =
            read_all(&store, &hub, partition).await.iter().map(|event| event.offset).collect();
        assert_eq!(offsets, (first_offset..5).collect::<Vec<_>>());
    };
    // Nothing is that old or that much, or nothing is asked for.
    check(trim(&hub, 10, 5 * one, 100), 0, 0).await;
    check(trim(&hub, 60, 0, 0), 0, 0).await;
    check(trim(&hub, 11, u64::MAX, 100), 0, 1).await;
    check(trim(&hub, 11, u64::MAX, 100), 1, 1).await;
    check(trim(&hub, 0, 3 * one, 100), 0, 2).await;
    check(trim(&hub, 0, 3 * one - 1, 100), 1, 3).await;
    check(trim(&hub, 60, u64::MAX, 1), 0, 4).await;
    check(trim(&hub, 60, 0, 100), 0, 5).await;
    check(trim(&hub, 60, 0, 100), 1, 5).await;
    assert_eq!(read_all(&store, &other, 0).await.len(), 5);
    // A hub without a log has nothing to trim.
    write(&store, [trim(&super::scene::hub("none.test"), 60, 0, 100)]).await;
}

/// However often a log was emptied and opened again, no offset comes twice.
pub async fn offsets_go_on_after_everything_was_trimmed(harness: &impl Harness) {
    let hub = hub("hub-1.test");
    let mut next = 0;
    for round in 0..4 {
        let store = harness.open().await;
        let body = format!("{round}");
        write(&store, [append(&hub, 0, round, body.as_bytes()), append(&hub, 0, round, b"x")])
            .await;
        let events = read_all(&store, &hub, 0).await;
        assert_eq!(events.iter().map(|event| event.offset).collect::<Vec<_>>(), [next, next + 1]);
        assert_eq!(events[0].event.body, body.as_bytes());
        next += 2;
        write(&store, [trim(&hub, 1_000, u64::MAX, 100)]).await;
        assert_eq!(read_all(&store, &hub, 0).await, []);
        let empty = PartitionState {
            partition: 0,
            first_offset: next,
            next_offset: next,
            last_enqueued: Some(at(round)),
            size_bytes: 0,
        };
        assert_eq!(state(&store, &hub, 0).await, empty);
        if round % 2 == 0 {
            // In one change set, and without a restart between.
            write(&store, [append(&hub, 0, round, b"y"), trim(&hub, 1_000, 0, 100)]).await;
            next += 1;
        }
        harness.close(store).await;
    }
}

/// What was told stays told; the log goes on when the hub is there again.
pub async fn events_outlive_their_device_and_their_hub(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    write(&store, [Change::PutLinkedHub(Box::new(linked_hub("hub-1.test")))]).await;
    write(&store, [Change::PutDevice(hub.clone(), Box::new(device("press-17")))]).await;
    write(&store, [append(&hub, 0, 1, b"a")]).await;
    write(&store, [Change::DeleteDevice(hub.clone(), device_id("press-17"))]).await;
    write(&store, [Change::DeleteLinkedHub(hub.clone())]).await;
    check_log(&store, &hub, 0, &[(0, 1, "a")]).await;
    write(&store, [Change::PutLinkedHub(Box::new(linked_hub("hub-1.test")))]).await;
    write(&store, [append(&hub, 0, 2, b"b")]).await;
    check_log(&store, &hub, 0, &[(0, 1, "a"), (1, 2, "b")]).await;
}

/// Whatever is appended, trimmed and read, in whatever sets: the same as in a list of each
/// partition, also when the store is opened again in between.
pub async fn the_log_behaves_like_a_list(harness: &impl Harness) {
    let mut store = harness.open().await;
    let mut runner = TestRunner::deterministic();
    let strategy = vec(vec(steps(), 1..8), 1..25);
    for n in 0..12 {
        let hub = hub(&format!("hub-{n}.test"));
        let mut model = vec![Model::default(); N_PARTITIONS];
        let sets = strategy.new_tree(&mut runner).expect("a value").current();
        for steps in sets {
            let mut after = model.clone();
            let mut set = ChangeSet::new();
            for step in &steps {
                set = set.with(step.change(&hub));
                step.on(&mut after);
            }
            if steps.iter().any(|step| matches!(step, Step::Fail)) {
                conflicts(&store, set).await;
            } else {
                store.commit(set).await.expect("written");
                model = after;
            }
            if steps.iter().any(|step| matches!(step, Step::Reopen)) {
                harness.close(store).await;
                store = harness.open().await;
            }
            for (partition, model) in (0..).zip(&model) {
                model.check(&store, &hub, partition).await;
            }
        }
    }
}

const N_PARTITIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Append(u16, i64, u16),
    Trim(i64, u64, u64),
    /// The whole set is taken back.
    Fail,
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => (0..N_PARTITIONS as u16, 0..100_i64, 0..3_000_u16)
            .prop_map(|(partition, secs, n_bytes)| Step::Append(partition, secs, n_bytes)),
        6 => (0..100_i64, any::<bool>(), 0..12_000_u64, 0..20_u64).prop_map(
            |(before, bounded, max_bytes, at_most)| {
                Step::Trim(before, if bounded { max_bytes } else { u64::MAX }, at_most)
            }
        ),
        2 => proptest::strategy::Just(Step::Fail),
        1 => proptest::strategy::Just(Step::Reopen),
    ]
}

impl Step {
    fn change(&self, hub: &HubName) -> Change {
        match self {
            Self::Append(partition, secs, n_bytes) => {
                append(hub, *partition, *secs, &vec![5; usize::from(*n_bytes)])
            }
            Self::Trim(before, max_bytes, at_most) => trim(hub, *before, *max_bytes, *at_most),
            Self::Fail => Change::PutTwin(hub.clone(), device_id("nobody"), Box::new(twin())),
            Self::Reopen => Change::PutInstanceSetting { name: "x".into(), value: "x".into() },
        }
    }

    fn on(&self, model: &mut [Model]) {
        match self {
            Self::Append(partition, secs, n_bytes) => {
                let partition = &mut model[usize::from(*partition)];
                partition.last = Some(partition.last.map_or(at(*secs), |last| last.max(at(*secs))));
                let last = partition.last.expect("just set");
                partition.all.push(event("press-17", last, &vec![5; usize::from(*n_bytes)]));
            }
            Self::Trim(before, max_bytes, at_most) => {
                for partition in model {
                    for _ in 0..*at_most {
                        let Some(oldest) = partition.all.get(partition.first) else { break };
                        if oldest.enqueued >= at(*before) && partition.size() <= *max_bytes {
                            break;
                        }
                        partition.first += 1;
                    }
                }
            }
            Self::Fail | Self::Reopen => {}
        }
    }
}

/// All events there ever were, and how many of the oldest are gone.
#[derive(Debug, Clone, Default)]
struct Model {
    all: Vec<Event>,
    first: usize,
    last: Option<Timestamp>,
}

impl Model {
    fn size(&self) -> u64 {
        self.all[self.first..].iter().map(Event::size_bytes).sum()
    }

    async fn check(&self, store: &impl Store, hub: &HubName, partition: u16) {
        let found = store.event_partitions(hub).await.expect("partitions");
        let found = found.into_iter().find(|state| state.partition == partition);
        let state = self.last.map(|last| PartitionState {
            partition,
            first_offset: self.first as u64,
            next_offset: self.all.len() as u64,
            last_enqueued: Some(last),
            size_bytes: self.size(),
        });
        assert_eq!(found, state);
        let stored =
            |n: usize| StoredEvent { partition, offset: n as u64, event: self.all[n].clone() };
        let read = async |from, limit| {
            store.read_events(hub, partition, from, limit, u64::MAX).await.expect("read")
        };
        let whole: Vec<StoredEvent> = (self.first..self.all.len()).map(stored).collect();
        assert_eq!(read(EventPosition::Offset(0), usize::MAX).await, whole);
        for secs in [0, 30, 60, 99] {
            let later = whole.iter().filter(|event| event.event.enqueued >= at(secs)).take(2);
            let expected: Vec<StoredEvent> = later.cloned().collect();
            assert_eq!(read(EventPosition::Enqueued(at(secs)), 2).await, expected);
        }
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn append(hub: &HubName, partition: u16, secs: i64, body: &[u8]) -> Change {
    Change::AppendEvent(hub.clone(), partition, Box::new(event("press-17", at(secs), body)))
}

fn trim(hub: &HubName, before: i64, max_partition_bytes: u64, at_most: u64) -> Change {
    Change::TrimEvents { hub: hub.clone(), before: at(before), max_partition_bytes, at_most }
}

async fn read_all(store: &impl Store, hub: &HubName, partition: u16) -> Vec<StoredEvent> {
    let from = EventPosition::Offset(0);
    store.read_events(hub, partition, from, usize::MAX, u64::MAX).await.expect("read")
}

async fn state(store: &impl Store, hub: &HubName, partition: u16) -> PartitionState {
    let states = store.event_partitions(hub).await.expect("partitions");
    states.into_iter().find(|state| state.partition == partition).expect("it is there")
}

/// Expects these offsets, moments and bodies.
async fn check_log(
    store: &impl Store,
    hub: &HubName,
    partition: u16,
    expected: &[(u64, i64, &str)],
) {
    let events = read_all(store, hub, partition).await;
    let found: Vec<(u64, i64, &str)> = events
        .iter()
        .map(|event| {
            let body = std::str::from_utf8(&event.event.body).expect("a text");
            (event.offset, event.event.enqueued.unix_secs(), body)
        })
        .collect();
    assert_eq!(found, expected);
}
