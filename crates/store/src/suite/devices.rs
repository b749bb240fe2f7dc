//! Devices: identity and twin, in one hub's registry or another's.

use model::{Change, DeviceCounts, DeviceStatus, Timestamp};

use super::{
    Harness,
    scene::{connect, device, device_id, disconnect, hub},
    write,
};
use crate::Store;

/// There is no twin without its identity.
pub async fn a_device_and_its_twin_are_deleted_together(harness: &impl Harness) {
    let store = harness.open().await;
    let (hub, id) = (hub("hub-1.test"), device_id("press-17"));
    write(&store, [Change::PutDevice(hub.clone(), Box::new(device("press-17")))]).await;
    write(&store, [Change::DeleteDevice(hub.clone(), id.clone())]).await;
    assert_eq!(store.find_device(&hub, &id).await.expect("device"), None);
    assert!(store.list_devices(&hub, None, 10).await.expect("page").items.is_empty());
    // A device made anew does not find its predecessor's twin.
    let mut anew = device("press-17");
    anew.twin.tags.set("site", "two".into());
    write(&store, [Change::PutDevice(hub.clone(), Box::new(anew.clone()))]).await;
    let found = store.find_device(&hub, &id).await.expect("device").expect("it is there");
    assert_eq!(found.twin.tags, anew.twin.tags);
}

/// The same name on two hubs is two devices.
pub async fn hubs_are_separate_registries(harness: &impl Harness) {
    let store = harness.open().await;
    let (one, two) = (hub("hub-1.test"), hub("hub-2.test"));
    let id = device_id("press-17");
    let mut other = device("press-17");
    other.identity.status = DeviceStatus::Disabled;
    write(
        &store,
        [
            Change::PutDevice(one.clone(), Box::new(device("press-17"))),
            Change::PutDevice(two.clone(), Box::new(other)),
            Change::PutDevice(two.clone(), Box::new(device("press-18"))),
        ],
    )
    .await;
    write(&store, [Change::DeleteDevice(one.clone(), id.clone())]).await;
    assert_eq!(store.find_device(&one, &id).await.expect("device"), None);
    let kept = store.find_device(&two, &id).await.expect("device").expect("the other hub's");
    assert_eq!(kept.identity.status, DeviceStatus::Disabled);
    assert!(store.list_devices(&one, None, 10).await.expect("page").items.is_empty());
    assert_eq!(store.list_devices(&two, None, 10).await.expect("page").items.len(), 2);
    let none = DeviceCounts::default();
    assert_eq!(store.device_counts(&one).await.expect("counts"), none);
    let both = DeviceCounts { total: 2, enabled: 1, disabled: 1, connected: 0 };
    assert_eq!(store.device_counts(&two).await.expect("counts"), both);
}

/// Letter case matters in device names, and so does the order of bytes.
pub async fn devices_are_listed_by_the_bytes_of_their_names(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let names = ["b", "B", "a%", "a", "_", "A", "!"];
    for name in names {
        write(&store, [Change::PutDevice(hub.clone(), Box::new(device(name)))]).await;
    }
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list_devices(&hub, after.as_deref(), 2).await.expect("page");
        assert!(page.items.len() <= 2);
        found.extend(page.items.iter().map(|d| d.identity.device_id.as_str().to_owned()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
}

/// Created, disabled, connected, replaced and deleted: the counts are those of the rows.
pub async fn device_counts_follow_every_change(harness: &impl Harness) {
    let store = harness.open().await;
    let hub = hub("hub-1.test");
    let check = async |changes: Vec<Change>, total, disabled, connected| {
        write(&store, changes).await;
        let expected = DeviceCounts { total, enabled: total - disabled, disabled, connected };
        assert_eq!(store.device_counts(&hub).await.expect("counts"), expected);
    };
    let put = |name, disabled| {
        let mut device = device(name);
        if disabled {
            device.identity.status = DeviceStatus::Disabled;
        }
        device
    };
    let whole = |name, disabled| Change::PutDevice(hub.clone(), Box::new(put(name, disabled)));
    let part =
        |name, disabled| Change::PutIdentity(hub.clone(), Box::new(put(name, disabled).identity));
    let delete = |name| Change::DeleteDevice(hub.clone(), device_id(name));
    let at = Timestamp::from_unix_secs(1);
    let (on, off) =
        (|name, number| connect(name, number, at), |name, number| disconnect(name, number, at));
    check(vec![], 0, 0, 0).await;
    check(vec![whole("a", false), whole("b", true), on("b", 1)], 2, 1, 1).await;
    check(vec![whole("a", false)], 2, 1, 1).await;
    check(vec![part("a", true), on("a", 2)], 2, 2, 2).await;
    check(vec![part("b", false), whole("a", true)], 2, 1, 2).await;
    // Another connection of the same device, and the end of the one before.
    check(vec![on("b", 3), off("b", 1)], 2, 1, 2).await;
    check(vec![off("b", 3), off("b", 3)], 2, 1, 1).await;
    check(vec![whole("a", false), delete("b")], 1, 0, 1).await;
    check(vec![delete("a")], 0, 0, 0).await;
    check(vec![delete("a"), off("a", 2)], 0, 0, 0).await;
    check(vec![whole("a", false)], 1, 0, 0).await;
}
