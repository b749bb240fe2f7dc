//! Connections, subscriptions, and what decides whether a device may connect.

use model::{
    CaCertificate, Change, ChangeSet, ConnectFacts, ConnectQuery, Device, DeviceCounts, Expect,
    PolicyScope, Qos, Right, Subscriptions, Timestamp,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        ca_certificate, certificate, connect, device, device_id, disconnect, event, hub,
        linked_hub, message, never_connected, policy, remote_hub,
    },
    write,
};
use crate::{Store, first_settings};

const ALL: Subscriptions = Subscriptions {
    messages: Some(Qos::AtLeastOnce),
    twin_responses: Some(Qos::AtMostOnce),
    desired: Some(Qos::AtLeastOnce),
    methods: Some(Qos::AtMostOnce),
};

/// State, moments and counts follow; everything else stays, versions and etags included.
pub async fn a_connection_shows_in_its_device_and_moves_no_version(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put("press-17"), put("press-18")]).await;
    let mut expected = found(&store, "press-17").await;
    let bystander = found(&store, "press-18").await;

    write(&store, [connect("press-17", 7, at(10))]).await;
    expected.identity.connected = true;
    expected.identity.connection_state_updated = Some(at(10));
    expected.identity.last_activity = Some(at(10));
    assert_eq!(found(&store, "press-17").await, expected);
    assert_eq!(n_connected(&store, "hub-1.test").await, 1);

    write(&store, [touch("press-17", 20)]).await;
    expected.identity.last_activity = Some(at(20));
    assert_eq!(found(&store, "press-17").await, expected);

    write(&store, [disconnect("press-17", 7, at(30))]).await;
    expected.identity.connected = false;
    expected.identity.connection_state_updated = Some(at(30));
    assert_eq!(found(&store, "press-17").await, expected);
    assert_eq!(n_connected(&store, "hub-1.test").await, 0);
    assert_eq!(found(&store, "press-18").await, bystander);
    // What was decided from the versions of before still stands.
    let id = || device_id("press-17");
    let unmoved = ChangeSet::new()
        .expecting(Expect::Identity(hub("hub-1.test"), id(), expected.identity.version))
        .expecting(Expect::Twin(hub("hub-1.test"), id(), expected.twin.version))
        .expecting(Expect::Mark(hub("hub-1.test"), id(), expected.identity.mark()));
    store.commit(unmoved).await.expect("no version moved");
}

/// A device that connects anew is not disconnected by the end of its connection before.
pub async fn only_the_last_connection_is_ended_by_its_end(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put("press-17")]).await;
    let expects = |connection| {
        let expect = Expect::Connection(hub("hub-1.test"), device_id("press-17"), connection);
        ChangeSet::new().expecting(expect)
    };
    conflicts(&store, expects(u64::MAX)).await;
    write(&store, [connect("press-17", u64::MAX, at(10))]).await;
    store.commit(expects(u64::MAX)).await.expect("it is the device's");
    // In one change set, as a takeover may come.
    write(&store, [connect("press-17", 2, at(20)), disconnect("press-17", u64::MAX, at(21))]).await;
    conflicts(&store, expects(u64::MAX)).await;
    store.commit(expects(2)).await.expect("it is the device's");
    let identity = found(&store, "press-17").await.identity;
    assert!(identity.connected);
    assert_eq!(identity.connection_state_updated, Some(at(20)));
    // A number that no connection has ends none.
    write(&store, [disconnect("press-17", 0, at(22))]).await;
    assert!(found(&store, "press-17").await.identity.connected);
    write(&store, [disconnect("press-17", 2, at(30)), disconnect("press-17", 2, at(31))]).await;
    let identity = found(&store, "press-17").await.identity;
    assert_eq!((identity.connected, identity.connection_state_updated), (false, Some(at(30))));
    // A connection that is over is the device's no longer.
    conflicts(&store, expects(2)).await;
    conflicts(&store, expects(u64::MAX)).await;
    let elsewhere = Expect::Connection(hub("hub-2.test"), device_id("press-17"), 2);
    conflicts(&store, ChangeSet::new().expecting(elsewhere)).await;
}

/// Whoever writes an identity read it before, and the device went on meanwhile.
pub async fn registry_writes_leave_connections_alone(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    // A new device begins empty, whatever is written.
    let mut written = device("press-17");
    written.identity.connected = true;
    written.identity.connection_state_updated = Some(at(1));
    written.identity.last_activity = Some(at(2));
    written.identity.cloud_to_device_messages = 9;
    let put = || Change::PutDevice(hub.clone(), Box::new(written.clone()));
    write(&store, [put()]).await;
    let empty = found(&store, "press-17").await.identity;
    assert_same(&empty, &never_connected(empty.clone()));
    assert_eq!(n_connected(&store, "hub-1.test").await, 0);

    let enqueued = message("press-17", at(99), b"one");
    write(
        &store,
        [
            connect("press-17", 7, at(10)),
            touch("press-17", 11),
            Change::PutSubscriptions(hub.clone(), device_id("press-17"), ALL),
            Change::EnqueueMessage(hub.clone(), Box::new(enqueued)),
        ],
    )
    .await;
    let before = found(&store, "press-17").await.identity;
    assert_eq!((before.connected, before.cloud_to_device_messages), (true, 1));
    let unconnected = Change::PutIdentity(hub.clone(), Box::new(device("press-17").identity));
    for change in [put(), unconnected] {
        write(&store, [change]).await;
        let mut after = found(&store, "press-17").await.identity;
        assert!(after.version > before.version);
        after.version = before.version;
        assert_same(&after, &before);
        assert_eq!(n_connected(&store, "hub-1.test").await, 1);
        assert_eq!(facts(&store, "press-17").await.subscriptions, Some(ALL));
        let still = Expect::Connection(hub.clone(), device_id("press-17"), 7);
        store.commit(ChangeSet::new().expecting(still)).await.expect("it is connected");
    }
    // A device made anew begins empty again.
    write(&store, [Change::DeleteDevice(hub.clone(), device_id("press-17")), put()]).await;
    let anew = found(&store, "press-17").await.identity;
    assert_same(&anew, &never_connected(anew.clone()));
    assert_eq!(facts(&store, "press-17").await.subscriptions, None);
    assert_eq!(n_connected(&store, "hub-1.test").await, 0);
    let gone = Expect::Connection(hub.clone(), device_id("press-17"), 7);
    conflicts(&store, ChangeSet::new().expecting(gone)).await;
}

/// To connect, to subscribe and to be sent something takes a device; to leave does not.
pub async fn what_belongs_to_connections_needs_its_device(harness: &impl Harness) {
    let store = harness.open().await;
    let (here, id) = (hub("hub-1.test"), device_id("press-17"));
    // Of another hub, and in another spelling.
    write(&store, [put("PRESS-17")]).await;
    write(&store, [Change::PutDevice(hub("hub-2.test"), Box::new(device("press-17")))]).await;
    for change in [
        connect("press-17", 7, at(1)),
        Change::PutSubscriptions(here.clone(), id.clone(), ALL),
        Change::EnqueueMessage(here.clone(), Box::new(message("press-17", at(9), b""))),
    ] {
        // What came before it in its set goes as well.
        conflicts(&store, ChangeSet::new().with(put("another")).with(change)).await;
        assert_eq!(store.find_device(&here, &device_id("another")).await.expect("read"), None);
    }
    write(
        &store,
        [
            disconnect("press-17", 7, at(1)),
            touch("press-17", 1),
            Change::DeleteSubscriptions(here.clone(), id.clone()),
            Change::DeleteMessage(here.clone(), id.clone(), 1),
        ],
    )
    .await;
    assert_eq!(store.find_device(&here, &id).await.expect("read"), None);
    let one = DeviceCounts { total: 1, enabled: 1, disabled: 0, connected: 0 };
    assert_eq!(store.device_counts(&here).await.expect("counts"), one);
}

/// Connecting, sending, subscribing and waiting messages are no writes of the registry.
pub async fn a_mark_holds_until_the_registry_writes(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
    let expects = |device: &Device| {
        let expect = Expect::Mark(hub.clone(), id.clone(), device.identity.mark());
        ChangeSet::new().expecting(expect)
    };
    let mut device = device("press-17");
    // Every bit counts, the highest too.
    device.identity.etag_counter = u64::MAX;
    conflicts(&store, expects(&device)).await;
    let put = |device: &Device| Change::PutDevice(hub.clone(), Box::new(device.clone()));
    write(&store, [put(&device)]).await;
    for change in [
        connect("press-17", 7, at(1)),
        touch("press-17", 2),
        Change::PutSubscriptions(hub.clone(), id.clone(), ALL),
        Change::EnqueueMessage(hub.clone(), Box::new(message("press-17", at(9), b""))),
        Change::AppendEvent(hub.clone(), 0, Box::new(event("press-17", at(3), b"x"))),
        Change::PutTwin(hub.clone(), id.clone(), Box::new(device.twin.clone())),
        disconnect("press-17", 7, at(4)),
    ] {
        write(&store, [change]).await;
        store.commit(expects(&device)).await.expect("the identity was not written");
    }
    let mut rewritten = device.clone();
    rewritten.identity.etag_counter = 2;
    write(&store, [Change::PutIdentity(hub.clone(), Box::new(rewritten.identity.clone()))]).await;
    conflicts(&store, expects(&device)).await;
    store.commit(expects(&rewritten)).await.expect("its mark now");
    // Made anew, it counts from the same number on, and is another.
    let mut anew = rewritten.clone();
    anew.identity.generation_id = "638000000000000001".to_owned();
    write(&store, [Change::DeleteDevice(hub.clone(), id.clone())]).await;
    conflicts(&store, expects(&rewritten)).await;
    write(&store, [put(&anew)]).await;
    conflicts(&store, expects(&rewritten)).await;
    store.commit(expects(&anew)).await.expect("its mark now");
}

/// Each filter at each level; none at all is not the same as never subscribed.
pub async fn subscriptions_are_kept_until_they_are_forgotten(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
    write(&store, [put("press-17"), put("press-18")]).await;
    assert_eq!(facts(&store, "press-17").await.subscriptions, None);
    let levels = [None, Some(Qos::AtMostOnce), Some(Qos::AtLeastOnce)];
    for n in 0..81 {
        let level = |by: usize| levels[n / by % 3];
        let new = Subscriptions {
            messages: level(1),
            twin_responses: level(3),
            desired: level(9),
            methods: level(27),
        };
        write(&store, [Change::PutSubscriptions(hub.clone(), id.clone(), new)]).await;
        assert_eq!(facts(&store, "press-17").await.subscriptions, Some(new));
    }
    write(&store, [connect("press-17", 7, at(1)), disconnect("press-17", 7, at(2))]).await;
    assert!(facts(&store, "press-17").await.subscriptions.is_some());
    assert_eq!(facts(&store, "press-18").await.subscriptions, None);
    write(&store, [Change::DeleteSubscriptions(hub.clone(), id.clone())]).await;
    assert_eq!(facts(&store, "press-17").await.subscriptions, None);
}

/// Whatever was connected when the process before ended; nobody else's state changes.
pub async fn a_start_disconnects_all_that_were_connected(harness: &impl Harness) {
    let store = harness.open().await;
    let elsewhere = hub("hub-2.test");
    write(&store, ["a", "b", "c"].map(put)).await;
    write(&store, [Change::PutDevice(elsewhere.clone(), Box::new(device("a")))]).await;
    let there = Change::Connect {
        hub: elsewhere.clone(),
        device_id: device_id("a"),
        connection: 4,
        at: at(4),
    };
    write(&store, [connect("a", 1, at(1)), connect("b", 2, at(2)), there]).await;
    write(&store, [connect("c", 3, at(3)), disconnect("c", 3, at(5))]).await;
    assert_eq!(n_connected(&store, "hub-1.test").await, 2);
    harness.close(store).await;
    let store = harness.open().await;
    assert_eq!(n_connected(&store, "hub-1.test").await, 2);
    write(&store, [Change::DisconnectAll { at: at(100) }]).await;
    for (name, updated, active) in [("a", 100, 1), ("b", 100, 2), ("c", 5, 3)] {
        let identity = found(&store, name).await.identity;
        assert!(!identity.connected, "{name}");
        assert_eq!(identity.connection_state_updated, Some(at(updated)), "{name}");
        assert_eq!(identity.last_activity, Some(at(active)), "{name}");
    }
    assert_eq!(n_connected(&store, "hub-1.test").await, 0);
    assert_eq!(n_connected(&store, "hub-2.test").await, 0);
    // Those connections are over, and a second time changes nothing.
    write(&store, [disconnect("a", 1, at(200)), Change::DisconnectAll { at: at(201) }]).await;
    assert_eq!(found(&store, "a").await.identity.connection_state_updated, Some(at(100)));
    assert_eq!(n_connected(&store, "hub-1.test").await, 0);
}

/// The hub, the identity, its subscriptions, the policy and the CA certificates asked for, and who
/// may connect from where.
pub async fn facts_of_a_connection_hold_what_decides_it(harness: &impl Harness) {
    let store = harness.open().await;
    let nothing = facts(&store, "press-17").await;
    let expected = ConnectFacts {
        hub_is_built_in: false,
        identity: None,
        parent: None,
        subscriptions: None,
        policy: None,
        ca_certificates: vec![],
        settings: first_settings(),
        hubs_version: 0,
        origin: None,
        assigned: vec![],
        bans: vec![],
        known_cas: vec![],
        bans_version: 0,
        bans_expected: Expect::Bans(0),
        crls: vec![],
    };
    assert_eq!(nothing, expected);
    let on_hub = PolicyScope::Hub(hub("hub-1.test"));
    let ca = |name: &str| ca_certificate(name, certificate(name, "root"));
    let unverified = CaCertificate { verified: false, ..ca("unverified") };
    let mut settings = first_settings();
    settings.operator_api_on_loopback_only = true;
    write(
        &store,
        [
            Change::PutLinkedHub(Box::new(linked_hub("hub-1.test"))),
            Change::PutLinkedHub(Box::new(remote_hub("far.test"))),
            put("press-17"),
            Change::PutPolicy(Box::new(policy(on_hub.clone(), "device", &[Right::DeviceConnect]))),
            Change::PutPolicy(Box::new(policy(PolicyScope::Service, "owner", &[]))),
            Change::PutCaCertificate(Box::new(ca("two"))),
            Change::PutCaCertificate(Box::new(ca("one"))),
            Change::PutCaCertificate(Box::new(unverified)),
            Change::PutServiceSettings(Box::new(settings.clone())),
        ],
    )
    .await;
    let plain = facts(&store, "press-17").await;
    assert!(plain.hub_is_built_in);
    assert_eq!(plain.identity, Some(found(&store, "press-17").await.identity));
    assert_eq!((plain.policy, plain.ca_certificates), (None, vec![]));
    assert_eq!(plain.settings, settings);
    assert_eq!(plain.hubs_version, store.service_facts().await.expect("facts").version);

    let ask = async |hub_name: &str, policy: &str| {
        let query = ConnectQuery {
            hub: hub(hub_name),
            device_id: device_id("press-17"),
            policy: Some(policy.to_owned()),
            with_ca_certificates: true,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        store.connect_facts(&query).await.expect("facts")
    };
    let asked = ask("hub-1.test", "device").await;
    assert_eq!(asked.policy, store.find_policy(&on_hub, "device").await.expect("policy"));
    assert!(asked.policy.is_some());
    let names: Vec<&str> = asked.ca_certificates.iter().map(|ca| ca.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    // A policy of the service, or of another spelling, is none of the hub's.
    assert_eq!(ask("hub-1.test", "owner").await.policy, None);
    assert_eq!(ask("hub-1.test", "Device").await.policy, None);
    let far = ask("far.test", "device").await;
    assert_eq!((far.hub_is_built_in, far.identity, far.policy), (false, None, None));
    write(&store, [Change::DeleteLinkedHub(hub("hub-1.test"))]).await;
    let unlinked = ask("hub-1.test", "device").await;
    assert!(!unlinked.hub_is_built_in && unlinked.identity.is_some());
    let other_case = ConnectQuery { device_id: device_id("Press-17"), ..query("press-17") };
    assert_eq!(store.connect_facts(&other_case).await.expect("facts").identity, None);
}

/// Parts that are always written together are never seen apart.
pub async fn facts_of_a_connection_are_one_snapshot(harness: &impl Harness) {
    let store = harness.open().await;
    let written = |n: i64| {
        let mut identity = device("press-17").identity;
        identity.status_updated = Some(at(n));
        let mut settings = first_settings();
        settings.last_updated = at(n);
        let qos = if n % 2 == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let subscriptions = Subscriptions { methods: Some(qos), ..Subscriptions::default() };
        [
            Change::PutServiceSettings(Box::new(settings)),
            Change::PutIdentity(hub("hub-1.test"), Box::new(identity)),
            Change::PutSubscriptions(hub("hub-1.test"), device_id("press-17"), subscriptions),
        ]
    };
    write(&store, [put("press-17")]).await;
    write(&store, written(0)).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=150 {
                write(&store, written(n)).await;
            }
        })
    };
    let mut last_seen = at(0);
    loop {
        let last_round = writer.is_finished();
        let facts = facts(&store, "press-17").await;
        let seen = facts.identity.expect("it is there").status_updated.expect("written");
        assert_eq!(facts.settings.last_updated, seen);
        let qos = facts.subscriptions.and_then(|subscriptions| subscriptions.methods);
        let even = seen.unix_secs() % 2 == 0;
        assert_eq!(qos, Some(if even { Qos::AtMostOnce } else { Qos::AtLeastOnce }));
        assert!(last_seen <= seen);
        last_seen = seen;
        if last_round {
            break;
        }
    }
    writer.await.expect("written");
    assert_eq!(last_seen, at(150));
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn put(name: &str) -> Change {
    Change::PutDevice(hub("hub-1.test"), Box::new(device(name)))
}

fn touch(name: &str, secs: i64) -> Change {
    Change::Touch { hub: hub("hub-1.test"), device_id: device_id(name), at: at(secs) }
}

fn query(name: &str) -> ConnectQuery {
    ConnectQuery {
        hub: hub("hub-1.test"),
        device_id: device_id(name),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

async fn facts(store: &impl Store, name: &str) -> ConnectFacts {
    store.connect_facts(&query(name)).await.expect("facts")
}

async fn found(store: &impl Store, name: &str) -> Device {
    let device = store.find_device(&hub("hub-1.test"), &device_id(name)).await;
    device.expect("device").expect("it is there")
}

async fn n_connected(store: &impl Store, of: &str) -> u64 {
    store.device_counts(&hub(of)).await.expect("counts").connected
}
