//! Identities that registrations left behind.

use model::{
    Change, EnrollmentRef, Former, HubName, RegistrationId, RegistrationRecord, RemoteTask,
    Timestamp,
};

use super::{
    Harness,
    scene::{
        device, device_id, group_id, hub, linked_hub, pending_record, record_of_group,
        record_of_individual, registration_id, remote_hub, removal,
    },
    write,
};
use crate::Store;

const HERE: &str = "hub-1.test";
const FAR: &str = "far.test";

/// Two hubs, one of them built in.
async fn open<H: Harness>(harness: &H) -> H::Store {
    let store = harness.open().await;
    let link = |hub| Change::PutLinkedHub(Box::new(hub));
    write(&store, [link(linked_hub(HERE)), link(remote_hub(FAR))]).await;
    store
}

fn at(record: RegistrationRecord, on: &str, name: &str) -> Change {
    let mut record = record;
    let assignment = record.assignment.as_mut().expect("assigned");
    assignment.hub = hub(on);
    assignment.device_id = device_id(name);
    Change::PutRecord(Box::new(record))
}

fn put_device(name: &str) -> Change {
    Change::PutDevice(hub(HERE), Box::new(device(name)))
}

fn delete(id: &str) -> Change {
    Change::DeleteRecord(registration_id(id))
}

/// Hub and name of what a registration left behind, and whether the identity is there.
async fn check(store: &impl Store, id: &str, expected: &[(&str, &str, bool)]) {
    let found: Vec<Former> = store.formers(&registration_id(id)).await.expect("formers");
    let found: Vec<(HubName, String, bool)> = found
        .into_iter()
        .map(|one| (one.hub, one.device_id.as_str().to_owned(), one.device.is_some()))
        .collect();
    let expected: Vec<_> =
        expected.iter().map(|(on, name, is)| (hub(on), (*name).to_owned(), *is)).collect();
    assert_eq!(found, expected, "{id}");
}

/// By the registration ID in any letter case, with the enrollment that the record named; as long as
/// the identity is there.
pub async fn an_identity_is_found_by_the_registration_that_had_it(harness: &impl Harness) {
    let store = open(harness).await;
    write(&store, [put_device("line-saw"), at(record_of_individual("Saw-1"), HERE, "line-saw")])
        .await;
    check(&store, "saw-1", &[]).await;
    write(&store, [delete("saw-1")]).await;
    check(&store, "SAW-1", &[(HERE, "line-saw", true)]).await;
    let found = store.formers(&registration_id("saw-1")).await.expect("formers");
    assert_eq!(found[0].enrollment, EnrollmentRef::Individual(registration_id("saw-1")));
    let identity = found[0].device.as_ref().map(|device| device.identity.device_id.clone());
    assert_eq!(identity, Some(device_id("line-saw")));
    check(&store, "saw-2", &[]).await;

    // Another registration has it now: it is nothing of the first one's, nor when that ends.
    write(&store, [at(record_of_group("saw-2", "line-4"), HERE, "line-saw")]).await;
    check(&store, "saw-1", &[]).await;
    write(&store, [delete("saw-2")]).await;
    check(&store, "saw-1", &[]).await;
    check(&store, "saw-2", &[(HERE, "line-saw", true)]).await;
    write(&store, [Change::DeleteDevice(hub(HERE), device_id("line-saw"))]).await;
    check(&store, "saw-2", &[]).await;
    write(&store, [put_device("line-saw")]).await;
    check(&store, "saw-2", &[]).await;
}

/// A record that gets another identity leaves the first one behind.
pub async fn an_identity_that_its_record_left_is_found(harness: &impl Harness) {
    let store = open(harness).await;
    let assigned = |on: &str, name: &str| at(record_of_individual("saw-1"), on, name);
    write(&store, [put_device("old-saw"), put_device("new-saw"), assigned(HERE, "old-saw")]).await;
    write(&store, [assigned(HERE, "new-saw")]).await;
    check(&store, "saw-1", &[(HERE, "old-saw", true)]).await;
    // Written again as it is, it leaves nothing.
    write(&store, [assigned(HERE, "new-saw")]).await;
    check(&store, "saw-1", &[(HERE, "old-saw", true)]).await;
    write(&store, [assigned(FAR, "far-saw")]).await;
    write(&store, [assigned(HERE, "new-saw")]).await;
    let expected = [(HERE, "new-saw", true), (HERE, "old-saw", true), (FAR, "far-saw", false)];
    check(&store, "saw-1", &expected).await;
}

/// On hubs elsewhere: until they have deleted it, or it is somebody's again.
pub async fn a_name_on_a_remote_hub_is_remembered_until_it_is_gone(harness: &impl Harness) {
    let store = open(harness).await;
    let due = Timestamp::from_unix_secs(9);
    let behind = [(FAR, "line-saw", false)];
    let leave = || [at(record_of_individual("saw-1"), FAR, "line-saw"), delete("saw-1")];
    let told = |task: RemoteTask| {
        let told = model::RemoteRemoval { task, ..removal(FAR, "line-saw", due) };
        let gone = Change::DeleteRemoval(hub(FAR), device_id("line-saw"));
        [Change::PutRemoval(Box::new(told)), gone]
    };
    write(&store, leave()).await;
    check(&store, "saw-1", &behind).await;
    write(&store, told(RemoteTask::Disable { reason: "stolen".to_owned() })).await;
    check(&store, "saw-1", &behind).await;
    // Unlinked, the hub was told nothing.
    write(&store, [Change::DeleteLinkedHub(hub(FAR))]).await;
    write(&store, told(RemoteTask::Delete)).await;
    check(&store, "saw-1", &behind).await;
    write(&store, [Change::PutLinkedHub(Box::new(remote_hub(FAR)))]).await;
    harness.close(store).await;
    let store = harness.open().await;
    check(&store, "saw-1", &behind).await;
    write(&store, told(RemoteTask::Delete)).await;
    check(&store, "saw-1", &[]).await;

    write(&store, leave()).await;
    write(&store, [at(record_of_individual("saw-2"), FAR, "line-saw")]).await;
    check(&store, "saw-1", &[]).await;
    write(&store, [delete("saw-2")]).await;
    check(&store, "saw-2", &behind).await;
}

/// An assignment that was under way may have made the identity.
pub async fn a_name_that_was_on_its_way_to_a_remote_hub_is_remembered(harness: &impl Harness) {
    let store = open(harness).await;
    let pending = pending_record("press-17", Timestamp::from_unix_secs(9));
    write(&store, [Change::PutRecord(Box::new(pending)), delete("press-17")]).await;
    check(&store, "press-17", &[(FAR, "press-17", false)]).await;
    let again = pending_record("press-17", Timestamp::from_unix_secs(9));
    write(&store, [Change::PutRecord(Box::new(again))]).await;
    check(&store, "press-17", &[]).await;
}

/// In pages, each once, in the order of their keys; without those that have a record, whatever it
/// says.
pub async fn registrations_without_a_record_are_found_by_their_group(harness: &impl Harness) {
    let store = open(harness).await;
    for id in ["d", "B", "a", "c", "e"] {
        let group = if id == "c" { "line-5" } else { "line-4" };
        write(&store, [put_device(id), at(record_of_group(id, group), HERE, id), delete(id)]).await;
    }
    // On two hubs; elsewhere only; and again on its feet, by another group or as it was.
    write(&store, [at(record_of_group("b", "line-4"), FAR, "b"), delete("b")]).await;
    write(&store, [at(record_of_group("f", "LINE-4"), FAR, "f"), delete("f")]).await;
    write(&store, [Change::PutRecord(Box::new(record_of_group("e", "line-5")))]).await;
    let of_group = async |group: &str, limit: usize| {
        let (group, mut found, mut after) = (group_id(group), Vec::new(), None::<String>);
        loop {
            let page = store.former_of_group(&group, after.as_deref(), limit).await;
            let page = page.expect("listed");
            assert!(page.items.len() <= limit);
            found.extend(page.items.iter().map(|id: &RegistrationId| id.key().to_owned()));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
    };
    for limit in [1, 2, 3, 4, 10] {
        assert_eq!(of_group("Line-4", limit).await, ["a", "b", "d", "f"], "{limit} at a time");
    }
    assert_eq!(of_group("line-5", 10).await, ["c"]);
    assert_eq!(of_group("line-6", 10).await, [""; 0]);
    write(&store, [delete("e")]).await;
    assert_eq!(of_group("line-5", 10).await, ["c", "e"]);
    // An identity that is another registration's now does not count.
    write(&store, [at(record_of_group("z", "line-9"), HERE, "a")]).await;
    assert_eq!(of_group("line-4", 10).await, ["b", "d", "f"]);
}
