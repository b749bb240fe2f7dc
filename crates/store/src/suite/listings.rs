//! Listings, page by page, and counts.

use model::{
    Change, EnrollmentRef, OrphanFilter, RecordFilter, RegistrationRecord, Timestamp, Usage,
};

use super::{
    Harness,
    scene::{
        certificate, group_id, individual, record_of_group, record_of_individual, registration_id,
        signing_group, symmetric_key_group,
    },
    write,
};
use crate::Store;

/// Any page size gives the same list; the last page says that it is the last.
pub async fn pages_follow_one_another_without_gap_or_repetition(harness: &impl Harness) {
    let store = harness.open().await;
    // Lower-case keys order the list, whatever the spelling.
    let ids = ["b", "A", "a-", "C", "a", "a.0", "B1", "c:c", "-"].map(registration_id);
    for id in &ids[1..] {
        let name = id.as_str();
        write(
            &store,
            [
                Change::PutIndividual(Box::new(individual(name))),
                Change::PutGroup(Box::new(symmetric_key_group(name))),
                Change::PutRecord(Box::new(record_of_group(name, "line-4"))),
            ],
        )
        .await;
    }
    let mut expected: Vec<String> = ids[1..].iter().map(|id| id.key().to_owned()).collect();
    expected.sort_unstable();
    expected.dedup();
    for limit in 1..=expected.len() + 1 {
        let mut found = [const { Vec::new() }; 4];
        for (kind, found) in found.iter_mut().enumerate() {
            let mut after: Option<String> = None;
            loop {
                let (keys, next) = keys_of_page(&store, kind, after.as_deref(), limit).await;
                assert!(keys.len() <= limit);
                assert!(next.is_none() || next.as_deref() == keys.last().map(String::as_str));
                found.extend(keys);
                match next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        for found in found {
            assert_eq!(found, expected, "pages of {limit}");
        }
    }
    let (none, next) = keys_of_page(&store, 0, Some("zzz"), 5).await;
    assert!(none.is_empty() && next.is_none());
}

/// What was there all the time is listed once, whatever comes and goes around it.
pub async fn paging_is_stable_under_inserts_and_deletes(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |name: &str| Change::PutIndividual(Box::new(individual(name)));
    let delete = |name: &str| Change::DeleteIndividual(registration_id(name));
    write(&store, ["b", "d", "f", "h", "j"].map(put)).await;
    let first = store.list_individuals(None, 2).await.expect("page");
    assert_eq!(first.next.as_deref(), Some("d"));
    // The last item of the page goes, one comes before it, one after it.
    write(&store, [delete("d"), put("c"), put("e"), delete("h")]).await;
    let second = store.list_individuals(Some("d"), 2).await.expect("page");
    let keys: Vec<&str> = second.items.iter().map(|item| item.registration_id.key()).collect();
    assert_eq!(keys, ["e", "f"]);
    let third = store.list_individuals(second.next.as_deref(), 2).await.expect("page");
    let keys: Vec<&str> = third.items.iter().map(|item| item.registration_id.key()).collect();
    assert_eq!((keys, third.next), (vec!["j"], None));
}

/// Deleting a group deletes no record; they are still listed under its name.
pub async fn records_of_a_deleted_group_stay_listed_and_count_as_orphaned(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |name: &str, group: &str| Change::PutRecord(Box::new(record_of_group(name, group)));
    write(
        &store,
        [
            Change::PutGroup(Box::new(symmetric_key_group("Line-4"))),
            Change::PutGroup(Box::new(symmetric_key_group("line-5"))),
            put("a", "line-4"),
            put("b", "LINE-4"),
            put("c", "line-5"),
        ],
    )
    .await;
    check(&store, RecordFilter::Orphaned(OrphanFilter::default()), &[]).await;
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    check(&store, RecordFilter::Group(group_id("LINE-4")), &["a", "b"]).await;
    check(&store, RecordFilter::Group(group_id("line-5")), &["c"]).await;
    check(&store, RecordFilter::Orphaned(OrphanFilter::default()), &["a", "b"]).await;
    check(&store, RecordFilter::All, &["a", "b", "c"]).await;
    let usage = store.usage().await.expect("usage");
    assert_eq!((usage.registrations, usage.orphaned_registrations), (3, 2));
    write(&store, [Change::DeleteRecord(registration_id("A"))]).await;
    let usage = store.usage().await.expect("usage");
    assert_eq!((usage.registrations, usage.orphaned_registrations), (2, 1));
}

/// A group that comes back under its name has its records back.
pub async fn a_group_made_anew_has_its_records_again(harness: &impl Harness) {
    let store = harness.open().await;
    let line = || Change::PutGroup(Box::new(symmetric_key_group("line-4")));
    let record = record_of_group("a", "line-4");
    write(&store, [line(), Change::PutRecord(Box::new(record))]).await;
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 1);
    write(&store, [line()]).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 0);
    check(&store, RecordFilter::Orphaned(OrphanFilter::default()), &[]).await;
    check(&store, RecordFilter::Group(group_id("line-4")), &["a"]).await;
}

/// Individual or group, deleted before or never there: what counts is that there is none.
pub async fn records_are_orphaned_when_their_enrollment_is_gone(harness: &impl Harness) {
    let store = harness.open().await;
    let put = |record: RegistrationRecord| Change::PutRecord(Box::new(record));
    write(
        &store,
        [
            put(record_of_individual("a")),
            put(record_of_group("b", "nowhere")),
            put(record_of_individual("c")),
            // In the set after its record, and a group of that name does not count.
            Change::PutIndividual(Box::new(individual("C"))),
            Change::PutGroup(Box::new(symmetric_key_group("a"))),
        ],
    )
    .await;
    check(&store, RecordFilter::Orphaned(OrphanFilter::default()), &["a", "b"]).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 2);
    write(&store, [Change::DeleteIndividual(registration_id("c"))]).await;
    check(&store, RecordFilter::Orphaned(OrphanFilter::default()), &["a", "b", "c"]).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 3);
    let page = store
        .list_records(&RecordFilter::Orphaned(OrphanFilter::default()), Some("a"), 1)
        .await
        .expect("page");
    assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("b")));
}

/// Orphans of one group, and old ones; once the group is back, none. They are counted as listed.
pub async fn orphans_are_told_apart_by_group_and_age(harness: &impl Harness) {
    let store = harness.open().await;
    let at = |secs: i64, record: RegistrationRecord| {
        let last_updated = Timestamp::from_unix_secs(secs);
        Change::PutRecord(Box::new(RegistrationRecord { last_updated, ..record }))
    };
    write(
        &store,
        [
            Change::PutGroup(Box::new(symmetric_key_group("there"))),
            at(10, record_of_group("a", "line-4")),
            at(20, record_of_group("b", "LINE-4")),
            at(10, record_of_group("c", "line-5")),
            at(10, record_of_group("d", "there")),
            at(20, record_of_individual("line-4")),
        ],
    )
    .await;
    let orphans = |group: Option<&str>, before: Option<i64>| {
        RecordFilter::Orphaned(OrphanFilter {
            group: group.map(group_id),
            updated_before: before.map(Timestamp::from_unix_secs),
        })
    };
    check(&store, orphans(None, None), &["a", "b", "c", "line-4"]).await;
    check(&store, orphans(None, Some(20)), &["a", "c"]).await;
    check(&store, orphans(Some("Line-4"), None), &["a", "b"]).await;
    check(&store, orphans(Some("line-4"), Some(20)), &["a"]).await;
    check(&store, orphans(Some("there"), None), &[]).await;
    check(&store, RecordFilter::Group(group_id("there")), &["d"]).await;
    check(&store, RecordFilter::All, &["a", "b", "c", "d", "line-4"]).await;
    write(&store, [Change::PutGroup(Box::new(symmetric_key_group("line-4")))]).await;
    check(&store, orphans(Some("line-4"), None), &[]).await;
    check(&store, orphans(None, None), &["c", "line-4"]).await;
    let page = store.list_records(&orphans(None, Some(30)), Some("a"), 1).await.expect("page");
    assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("c")));
}

/// The enrollment that decided last owns the record.
pub async fn a_record_that_changes_its_enrollment_is_listed_under_the_new_one(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    let put = |record: RegistrationRecord| [Change::PutRecord(Box::new(record))];
    write(&store, [Change::PutGroup(Box::new(symmetric_key_group("line-4")))]).await;
    write(&store, put(record_of_individual("a"))).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 1);
    write(&store, put(record_of_group("A", "Line-4"))).await;
    check(&store, RecordFilter::Group(group_id("line-4")), &["A"]).await;
    assert_eq!(store.usage().await.expect("usage").orphaned_registrations, 0);
    write(&store, put(record_of_group("a", "line-5"))).await;
    check(&store, RecordFilter::Group(group_id("line-4")), &[]).await;
    check(&store, RecordFilter::Group(group_id("line-5")), &["a"]).await;
    let usage = store.usage().await.expect("usage");
    assert_eq!((usage.registrations, usage.orphaned_registrations), (1, 1));
}

/// Two spellings of one ID are one row, which shows the latest spelling.
pub async fn spelling_is_kept_and_keys_are_compared(harness: &impl Harness) {
    let store = harness.open().await;
    write(
        &store,
        [
            Change::PutIndividual(Box::new(individual("Press-17"))),
            Change::PutGroup(Box::new(symmetric_key_group("Line-4"))),
            Change::PutRecord(Box::new(record_of_group("Press-17", "LINE-4"))),
        ],
    )
    .await;
    let id = registration_id("pRESS-17");
    let facts = store.individual_facts(&id).await.expect("facts");
    let enrollment = facts.enrollment.expect("it is there");
    assert_eq!(enrollment.registration_id.as_str(), "Press-17");
    let record = facts.record.expect("it is there");
    assert_eq!(record.registration_id.as_str(), "Press-17");
    let EnrollmentRef::Group(group) = record.enrollment else { panic!("the group decided") };
    assert_eq!(group.as_str(), "LINE-4");
    let group = store.find_group(&group_id("lINE-4")).await.expect("group").expect("there");
    assert_eq!(group.group_id.as_str(), "Line-4");

    write(&store, [Change::PutIndividual(Box::new(individual("PRESS-17")))]).await;
    let page = store.list_individuals(None, 10).await.expect("page");
    let spellings: Vec<&str> =
        page.items.iter().map(|item| item.registration_id.as_str()).collect();
    assert_eq!(spellings, ["PRESS-17"]);
    assert_eq!(store.usage().await.expect("usage").individual_enrollments, 1);
}

/// Rows replaced count once; a group counts as what it is now.
pub async fn usage_counts_what_is_there(harness: &impl Harness) {
    let store = harness.open().await;
    let check = async |changes: Vec<Change>, individuals, x509, symmetric, records| {
        write(&store, changes).await;
        let expected = Usage {
            individual_enrollments: individuals,
            x509_groups: x509,
            symmetric_key_groups: symmetric,
            registrations: records,
            orphaned_registrations: 0,
        };
        assert_eq!(store.usage().await.expect("usage"), expected);
    };
    let one = |name: &str| Change::PutIndividual(Box::new(individual(name)));
    let keys = |name: &str| Change::PutGroup(Box::new(symmetric_key_group(name)));
    let signing = |name: &str| {
        let group = signing_group(name, Some(certificate("ca", "root")), None);
        Change::PutGroup(Box::new(group))
    };
    let record = |name: &str| Change::PutRecord(Box::new(record_of_individual(name)));
    check(vec![], 0, 0, 0, 0).await;
    check(vec![one("a"), one("b"), one("A")], 2, 0, 0, 0).await;
    check(vec![keys("x"), signing("y"), keys("z")], 2, 1, 2, 0).await;
    check(vec![signing("x"), signing("Y"), keys("Z")], 2, 2, 1, 0).await;
    check(vec![record("a"), record("b"), record("A")], 2, 2, 1, 2).await;
    let deletes = vec![
        Change::DeleteRecord(registration_id("b")),
        Change::DeleteIndividual(registration_id("B")),
        Change::DeleteGroup(group_id("X")),
        Change::DeleteGroup(group_id("x")),
    ];
    check(deletes, 1, 1, 1, 1).await;
}

/// Lists all records of a filter; expects these.
async fn check(store: &impl Store, filter: RecordFilter, expected: &[&str]) {
    let page = store.list_records(&filter, None, 100).await.expect("page");
    let found: Vec<&str> = page.items.iter().map(|item| item.registration_id.as_str()).collect();
    assert_eq!(found, expected, "{filter:?}");
    assert_eq!(page.next, None);
    let counted = store.count_records(&filter).await.expect("counted");
    assert_eq!(counted, expected.len() as u64, "{filter:?}");
}

/// A page of individual enrollments, groups, all records, or one group's records.
async fn keys_of_page(
    store: &impl Store,
    kind: usize,
    after: Option<&str>,
    limit: usize,
) -> (Vec<String>, Option<String>) {
    let records = async |filter: RecordFilter| {
        let page = store.list_records(&filter, after, limit).await.expect("page");
        let keys = page.items.iter().map(|item| item.registration_id.key().to_owned());
        (keys.collect(), page.next)
    };
    match kind {
        0 => {
            let page = store.list_individuals(after, limit).await.expect("page");
            let keys = page.items.iter().map(|item| item.registration_id.key().to_owned());
            (keys.collect(), page.next)
        }
        1 => {
            let page = store.list_groups(after, limit).await.expect("page");
            let keys = page.items.iter().map(|item| item.group_id.key().to_owned());
            (keys.collect(), page.next)
        }
        2 => records(RecordFilter::All).await,
        _ => records(RecordFilter::Group(group_id("LINE-4"))).await,
    }
}
