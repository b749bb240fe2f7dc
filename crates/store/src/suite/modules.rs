//! Modules: rows of a device's own, of which nothing shows among the devices (H §2.8).

use model::{
    Change, ChangeSet, CloudMessage, ConnectQuery, Device, DeviceCounts, DeviceIdentity,
    DeviceStatus, Expect, GroupQuery, Qos, Subscriptions, Timestamp,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        connect, device, device_id, event, hub, linked_hub, message, module, module_id,
        query as register_query,
    },
    write,
};
use crate::Store;

/// Identity, twin, manager and keys are the module's own, and so are its events.
pub async fn modules_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut written = module("press-17", "camera");
    written.identity.managed_by = Some("somebody".to_owned());
    written.twin.tags.set("lens", "wide".into());
    write(&store, [put(device("press-17")), put(written.clone())]).await;
    let found = find(&store, "camera").await.expect("it is there");
    written.identity.version = found.identity.version;
    written.twin.version = found.twin.version;
    assert_same(&found, &written);
    let parent = store.find_device(&hub("hub-1.test"), &device_id("press-17")).await;
    assert_eq!(parent.expect("device").expect("it is there").identity.managed_by, None);

    let mut sent = event("press-17", Timestamp::from_unix_secs(1), b"click");
    sent.device_id = module_id("press-17", "camera");
    write(&store, [Change::AppendEvent(hub("hub-1.test"), 0, Box::new(sent.clone()))]).await;
    let from = model::EventPosition::Offset(0);
    let read = store.read_events(&hub("hub-1.test"), 0, from, 10, u64::MAX).await.expect("events");
    assert_eq!(read.first().map(|stored| &stored.event), Some(&sent));

    let anew = DeviceIdentity { managed_by: None, etag_counter: 2, ..written.identity };
    write(&store, [Change::PutIdentity(hub("hub-1.test"), Box::new(anew))]).await;
    let found = find(&store, "camera").await.expect("it is there");
    assert_eq!((found.identity.managed_by, found.identity.etag_counter), (None, 2));
    assert_eq!(found.twin.tags, written.twin.tags);
}

/// Lists, counts and the facts of a registration know the device only; pages are as long as they
/// are asked for.
pub async fn modules_are_none_of_the_hubs_devices(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    for name in ["a", "a!", "a0", "b"] {
        write(&store, [put(device(name))]).await;
        for part in ["x", "y", "z"] {
            write(&store, [put(module(name, part))]).await;
        }
    }
    let mut odd = module("b", "x");
    odd.identity.status = DeviceStatus::Disabled;
    write(&store, [put(odd), connect("b", 1, Timestamp::from_unix_secs(1))]).await;
    let connected = Change::Connect {
        hub: hub.clone(),
        device_id: module_id("b", "x"),
        connection: 2,
        at: Timestamp::from_unix_secs(1),
    };
    write(&store, [connected]).await;
    let counts = DeviceCounts { total: 4, enabled: 4, disabled: 0, connected: 1 };
    assert_eq!(store.device_counts(&hub).await.expect("counts"), counts);
    let disconnected = Change::Disconnect {
        hub: hub.clone(),
        device_id: module_id("b", "x"),
        connection: 2,
        at: Timestamp::from_unix_secs(2),
    };
    write(&store, [disconnected]).await;
    assert_eq!(store.device_counts(&hub).await.expect("counts"), counts);
    write(&store, [Change::DeleteDevice(hub.clone(), module_id("b", "x"))]).await;
    assert_eq!(store.device_counts(&hub).await.expect("counts"), counts);

    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_devices(&hub, after.as_deref(), 2).await.expect("page");
        found.extend(page.items.iter().map(|d| d.identity.device_id.as_str().to_owned()));
        match page.next {
            Some(next) => {
                assert_eq!(page.items.len(), 2);
                after = Some(next);
            }
            None => break,
        }
    }
    assert_eq!(found, ["a", "a!", "a0", "b"]);
    assert_eq!(names(&store, "a").await, ["a/x", "a/y", "a/z"]);
    assert_eq!(names(&store, "b").await, ["b/y", "b/z"]);
    assert_eq!(names(&store, "A").await, [""; 0]);
    let facts = store.register_facts(register_query("a", GroupQuery::None)).await.expect("facts");
    assert_eq!(facts.devices.len(), 1);
}

/// Whoever decided it saw a device that is gone.
pub async fn a_module_is_not_written_without_its_device(harness: &impl Harness) {
    let store = harness.open().await;
    let write_module = ChangeSet::new().with(put(module("press-17", "camera")));
    conflicts(&store, write_module.clone()).await;
    // A device of another hub, or of another spelling, is not its own.
    write(&store, [put_on("hub-2.test", device("press-17")), put(device("Press-17"))]).await;
    conflicts(&store, write_module.clone()).await;
    write(&store, [put(device("press-17"))]).await;
    store.commit(write_module.clone()).await.expect("written");
    write(&store, [Change::DeleteDevice(hub("hub-1.test"), device_id("press-17"))]).await;
    conflicts(&store, write_module).await;
    let both = [put(device("press-17")), put(module("press-17", "camera"))];
    write(&store, both).await;
    assert_eq!(names(&store, "press-17").await, ["press-17/camera"]);
}

/// With the twins, subscriptions and messages of the modules, and nobody else's.
pub async fn a_devices_modules_go_with_it(harness: &impl Harness) {
    let store = harness.open().await;
    let subscribed = Subscriptions { methods: Some(Qos::AtLeastOnce), ..Subscriptions::default() };
    for name in ["a", "a!", "a0", "ab"] {
        let id = module_id(name, "m");
        let waiting = CloudMessage {
            device_id: id.clone(),
            ..message(name, Timestamp::from_unix_secs(9), b"hello")
        };
        write(
            &store,
            [
                put(device(name)),
                put(module(name, "m")),
                Change::PutSubscriptions(hub("hub-1.test"), id, subscribed),
                Change::EnqueueMessage(hub("hub-1.test"), Box::new(waiting)),
            ],
        )
        .await;
    }
    write(&store, [put_on("hub-2.test", device("a")), put_on("hub-2.test", module("a", "m"))])
        .await;
    // A module that is deleted takes nobody along.
    write(&store, [put(module("a", "n"))]).await;
    write(&store, [Change::DeleteDevice(hub("hub-1.test"), module_id("a", "n"))]).await;
    assert_eq!(names(&store, "a").await, ["a/m"]);
    assert_eq!(n_waiting(&store, "a").await, 1);

    write(&store, [Change::DeleteDevice(hub("hub-1.test"), device_id("a"))]).await;
    assert_eq!(names(&store, "a").await, [""; 0]);
    assert_eq!(n_waiting(&store, "a").await, 0);
    for name in ["a!", "a0", "ab"] {
        assert_eq!(names(&store, name).await, [format!("{name}/m")]);
        assert_eq!(n_waiting(&store, name).await, 1, "{name}");
    }
    let other = store.list_modules(&hub("hub-2.test"), &device_id("a")).await.expect("modules");
    assert_eq!(other.len(), 1);

    // A device made anew finds none of its predecessor's modules, and they nothing of theirs.
    write(&store, [put(device("a"))]).await;
    assert_eq!(names(&store, "a").await, [""; 0]);
    write(&store, [put(module("a", "m"))]).await;
    let facts = store.connect_facts(&query("a", "m")).await.expect("facts");
    assert_eq!(facts.subscriptions, None);
    assert_eq!(facts.identity.map(|identity| identity.cloud_to_device_messages), Some(0));
}

/// Room is compared inside the transaction, so of two that need the last one gets it.
pub async fn a_device_has_no_more_modules_than_there_is_room_for(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [put(device("a")), put(device("a0")), put(module("a0", "m"))]).await;
    let one_more = |name: &str| {
        ChangeSet::new()
            .expecting(Expect::ModuleRoom(hub("hub-1.test"), device_id("a"), 2))
            .with(put(module("a", name)))
    };
    store.commit(one_more("x")).await.expect("the first");
    let (y, z) = tokio::join!(store.commit(one_more("y")), store.commit(one_more("z")));
    assert_eq!([y, z].iter().filter(|outcome| outcome.is_ok()).count(), 1);
    conflicts(&store, one_more("w")).await;
    write(&store, [Change::DeleteDevice(hub("hub-1.test"), module_id("a", "x"))]).await;
    store.commit(one_more("w")).await.expect("there is room again");
}

/// Its own identity and subscriptions, and the identity of the device; for a device no parent.
pub async fn facts_of_a_modules_connection_hold_its_device(harness: &impl Harness) {
    let store = harness.open().await;
    let mut parent = device("press-17");
    parent.identity.status = DeviceStatus::Disabled;
    write(
        &store,
        [
            Change::PutLinkedHub(Box::new(linked_hub("hub-1.test"))),
            put(parent),
            put(module("press-17", "camera")),
        ],
    )
    .await;
    let facts = store.connect_facts(&query("press-17", "camera")).await.expect("facts");
    let (identity, parent) = (facts.identity.expect("module"), facts.parent.expect("device"));
    assert_eq!(identity.device_id, module_id("press-17", "camera"));
    assert_eq!(identity.status, DeviceStatus::Enabled);
    assert_eq!(parent.device_id, device_id("press-17"));
    assert_eq!(parent.status, DeviceStatus::Disabled);
    let missing = store.connect_facts(&query("press-17", "wheel")).await.expect("facts");
    assert!(missing.identity.is_none() && missing.parent.is_some());
    let of_device = ConnectQuery { device_id: device_id("press-17"), ..query("press-17", "x") };
    let facts = store.connect_facts(&of_device).await.expect("facts");
    assert!(facts.identity.is_some() && facts.parent.is_none());
}

/// Also when nobody else was connected.
pub async fn a_start_disconnects_modules_as_well(harness: &impl Harness) {
    let store = harness.open().await;
    let at = Timestamp::from_unix_secs(1);
    let connected = Change::Connect {
        hub: hub("hub-1.test"),
        device_id: module_id("a", "m"),
        connection: 7,
        at,
    };
    write(&store, [put(device("a")), put(module("a", "m")), connected]).await;
    assert!(find_of(&store, "a", "m").await.expect("it is there").identity.connected);
    write(&store, [Change::DisconnectAll { at }]).await;
    assert!(!find_of(&store, "a", "m").await.expect("it is there").identity.connected);
    assert_eq!(store.device_counts(&hub("hub-1.test")).await.expect("counts").connected, 0);
}

fn put(device: Device) -> Change {
    put_on("hub-1.test", device)
}

fn put_on(name: &str, device: Device) -> Change {
    Change::PutDevice(hub(name), Box::new(device))
}

fn query(device: &str, module: &str) -> ConnectQuery {
    ConnectQuery {
        hub: hub("hub-1.test"),
        device_id: module_id(device, module),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

async fn find(store: &impl Store, module: &str) -> Option<Device> {
    find_of(store, "press-17", module).await
}

async fn find_of(store: &impl Store, device: &str, module: &str) -> Option<Device> {
    store.find_device(&hub("hub-1.test"), &module_id(device, module)).await.expect("device")
}

async fn names(store: &impl Store, device: &str) -> Vec<String> {
    let modules = store.list_modules(&hub("hub-1.test"), &device_id(device)).await;
    let name = |device: &Device| device.identity.device_id.to_string();
    modules.expect("modules").iter().map(name).collect()
}

async fn n_waiting(store: &impl Store, device: &str) -> usize {
    let waiting = store.waiting_messages(&hub("hub-1.test"), &module_id(device, "m"), 0, 10).await;
    waiting.expect("messages").len()
}
