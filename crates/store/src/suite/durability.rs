//! What was acknowledged is there, at once and after a restart.

use model::{
    Change, ChangeSet, CloudMessage, ConnectFacts, ConnectQuery, EventPosition, Expect, Feedback,
    GroupQuery, PartitionState, Qos, StoredEvent, Subscriptions, Timestamp,
};

use super::{
    Harness,
    scene::{
        connect, device, device_id, event, feedback, hub, message, query, record_of_group,
        registration_id,
    },
    write,
};
use crate::Store;

/// Many writers at a time: each one's record and device are there, also after reopening.
pub async fn many_concurrent_commits_all_land(harness: &impl Harness) {
    const N_TASKS: usize = 64;
    const N_EACH: usize = 4;
    let store = harness.open().await;
    let task = |n_task: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..N_EACH {
                write(&store, registration(&format!("dev-{n_task}-{n}"))).await;
            }
        })
    };
    let tasks: Vec<_> = (0..N_TASKS).map(task).collect();
    for task in tasks {
        task.await.expect("the task wrote all of its own");
    }
    harness.close(store).await;
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    for n_task in 0..N_TASKS {
        for n in 0..N_EACH {
            let name = format!("dev-{n_task}-{n}");
            let record = store.find_record(&registration_id(&name)).await.expect("record");
            assert!(record.is_some(), "{name}");
            let device = store.find_device(&hub, &device_id(&name)).await.expect("device");
            assert!(device.is_some(), "{name}");
        }
    }
    let n_all = (N_TASKS * N_EACH) as u64;
    assert_eq!(store.usage().await.expect("usage").registrations, n_all);
    assert_eq!(store.device_counts(&hub).await.expect("counts").total, n_all);
}

/// A restart does not begin to count anew: an old version never fits a new row.
pub async fn versions_go_on_after_reopening(harness: &impl Harness) {
    let id = registration_id("press-17");
    let mut last = 0;
    for _ in 0..3 {
        let store = harness.open().await;
        write(&store, [Change::DeleteRecord(id.clone())]).await;
        write(&store, registration("press-17")).await;
        let record = store.find_record(&id).await.expect("record").expect("it is there");
        assert!(record.version > last);
        last = record.version;
        harness.close(store).await;
    }
}

/// Every read that begins after an acknowledgement sees what was acknowledged.
pub async fn a_read_sees_what_was_acknowledged_before_it(harness: &impl Harness) {
    let store = harness.open().await;
    let task = |n_task: usize| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let name = format!("dev-{n_task}-{n}");
                let change_set = ChangeSet { expects: vec![], changes: registration(&name) };
                store.commit(change_set).await.expect("committed");
                let facts = store.register_facts(query(&name, GroupQuery::None)).await;
                let facts = facts.expect("facts");
                assert!(facts.record.is_some() && facts.devices.len() == 1, "{name}");
            }
        })
    };
    let tasks: Vec<_> = (0..16).map(task).collect();
    for task in tasks {
        task.await.expect("every read saw its write");
    }
}

/// What a device did and what waits for it: the same before and after, and it goes on from there.
pub async fn connections_logs_and_queues_are_there_after_reopening(harness: &impl Harness) {
    let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
    let at = Timestamp::from_unix_secs(7);
    let subscriptions = Subscriptions { methods: Some(Qos::AtLeastOnce), ..Default::default() };
    let round = |n: u64| {
        vec![
            connect("press-17", n + 1, at),
            Change::PutSubscriptions(hub.clone(), id.clone(), subscriptions),
            Change::AppendEvent(hub.clone(), 1, Box::new(event("press-17", at, b"told"))),
            Change::EnqueueMessage(hub.clone(), Box::new(message("press-17", at, b"to do"))),
            Change::AppendFeedback(hub.clone(), Box::new(feedback("done"))),
        ]
    };
    let query = ConnectQuery {
        hub: hub.clone(),
        device_id: id.clone(),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    };
    let mut before = None;
    for n in 0..4 {
        let store = harness.open().await;
        let found = everything(&store, &query).await;
        assert_eq!(before.as_ref().unwrap_or(&found), &found);
        write(&store, [Change::PutDevice(hub.clone(), Box::new(device("press-17")))]).await;
        write(&store, round(n)).await;
        let connection = Expect::Connection(hub.clone(), id.clone(), n + 1);
        store.commit(ChangeSet::new().expecting(connection)).await.expect("it is connected");
        let (_, partitions, events, messages, feedback) =
            before.insert(everything(&store, &query).await);
        assert_eq!(partitions[0].next_offset, n + 1);
        let n_rounds = n as usize + 1;
        assert_eq!([events.len(), messages.len(), feedback.len()], [n_rounds; 3]);
        harness.close(store).await;
    }
}

async fn everything(
    store: &impl Store,
    query: &ConnectQuery,
) -> (ConnectFacts, Vec<PartitionState>, Vec<StoredEvent>, Vec<CloudMessage>, Vec<Feedback>) {
    let from = EventPosition::Offset(0);
    (
        store.connect_facts(query).await.expect("read"),
        store.event_partitions(&query.hub).await.expect("read"),
        store.read_events(&query.hub, 1, from, 99, u64::MAX).await.expect("read"),
        store.waiting_messages(&query.hub, &query.device_id, 0, 99).await.expect("read"),
        store.list_feedback(&query.hub, 99).await.expect("read"),
    )
}

fn registration(name: &str) -> Vec<Change> {
    vec![
        Change::PutRecord(Box::new(record_of_group(name, "line-4"))),
        Change::PutDevice(hub("hub-1.test"), Box::new(device(name))),
    ]
}
