use testkit::{NOW, fresh};

use super::*;

fn name(text: &str) -> HubName {
    HubName::parse(&format!("{text}.example.test")).expect("a host name")
}

fn key(seed: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[seed; 32]).expect("a key")
}

fn hub(text: &str, access: HubAccess, declared: bool) -> LinkedHub {
    LinkedHub {
        name: name(text),
        access,
        weight: 3,
        apply_allocation_policy: true,
        declared,
        etag: Etag::from_random([7; 16]),
        created: NOW,
        last_updated: NOW,
        version: 5,
    }
}

fn remote(seed: u8) -> HubAccess {
    let (port, policy) = (Some(9443), "iothubowner".to_owned());
    HubAccess::Remote(RemoteAccess { port, policy, key: key(seed) })
}

/// One declared, one made by API, one remote.
fn linked() -> Vec<LinkedHub> {
    vec![
        hub("declared", HubAccess::BuiltIn, true),
        hub("made", HubAccess::BuiltIn, false),
        hub("remote", remote(1), false),
    ]
}

fn draft(text: &str, access: AccessDraft) -> HubDraft {
    HubDraft { name: name(text), access, weight: None, apply_allocation_policy: None }
}

fn to_remote(key: Option<SymmetricKey>) -> AccessDraft {
    AccessDraft::Remote { port: None, policy: "other".to_owned(), key }
}

fn put_into(
    hubs: &[LinkedHub],
    draft: &HubDraft,
    precondition: &Precondition,
) -> Result<LinkedHub, OperatorRefusal> {
    let service = ["service.example.test".to_owned()];
    put(hubs, draft, precondition, 4, &service, NOW.plus_secs(60), &fresh(1))
}

#[test]
fn a_put_creates_without_a_precondition_and_replaces_with_one() {
    let tag = |text: &str| Precondition::Tag(text.to_owned());
    let right = tag(Etag::from_random([7; 16]).as_str());
    let check =
        |text: &str, precondition: &Precondition, expected: Result<u32, OperatorRefusal>| {
            let outcome = put_into(&linked(), &draft(text, AccessDraft::Keep), precondition);
            assert_eq!(outcome.map(|hub| hub.weight), expected, "{text} {precondition:?}");
        };
    let host = |text: &str| name(text).to_string();
    check("new", &Precondition::None, Ok(1));
    check("new", &Precondition::Any, Err(OperatorRefusal::HubNotLinked(host("new"))));
    check("made", &Precondition::None, Err(OperatorRefusal::HubLinked(host("made"))));
    check("made", &Precondition::Any, Ok(3));
    check("made", &right, Ok(3));
    check("made", &tag("old"), Err(OperatorRefusal::StaleEtag));
    check("declared", &Precondition::Any, Err(OperatorRefusal::HubDeclared(host("declared"))));
    check("declared", &Precondition::None, Err(OperatorRefusal::HubLinked(host("declared"))));
}

#[test]
fn an_update_keeps_when_it_was_linked_and_has_another_etag() {
    let made = put_into(&linked(), &draft("made", AccessDraft::Keep), &Precondition::Any);
    let made = made.expect("put");
    assert_eq!((made.created, made.version), (NOW, 5));
    assert_eq!(made.last_updated, NOW.plus_secs(60));
    assert_ne!(made.etag, linked()[1].etag);
}

#[test]
fn a_masked_key_means_keep_and_a_new_hub_needs_one() {
    let key_of = |outcome: Result<LinkedHub, OperatorRefusal>| match outcome?.access {
        HubAccess::Remote(remote) => Ok::<_, OperatorRefusal>((remote.policy, remote.key)),
        HubAccess::BuiltIn => panic!("remote"),
    };
    let kept = put_into(&linked(), &draft("remote", to_remote(None)), &Precondition::Any);
    assert_eq!(key_of(kept), Ok(("other".to_owned(), key(1))));
    let given = put_into(&linked(), &draft("remote", to_remote(Some(key(2)))), &Precondition::Any);
    assert_eq!(key_of(given), Ok(("other".to_owned(), key(2))));
    let untouched = put_into(&linked(), &draft("remote", AccessDraft::Keep), &Precondition::Any);
    assert_eq!(key_of(untouched), Ok(("iothubowner".to_owned(), key(1))));
    let without = put_into(&linked(), &draft("new", to_remote(None)), &Precondition::None);
    assert!(matches!(without, Err(OperatorRefusal::BadRequest(_))), "{without:?}");
}

#[test]
fn a_draft_that_breaks_a_rule_is_refused() {
    let check = |draft: HubDraft, precondition: Precondition| {
        let outcome = put_into(&linked(), &draft, &precondition);
        assert!(matches!(outcome, Err(OperatorRefusal::BadRequest(_))), "{outcome:?}");
    };
    let too_heavy = HubDraft { weight: Some(1001), ..draft("new", AccessDraft::Keep) };
    check(too_heavy, Precondition::None);
    check(draft("service", AccessDraft::BuiltIn), Precondition::None);
    check(draft("made", to_remote(Some(key(1)))), Precondition::Any);
    check(draft("remote", AccessDraft::BuiltIn), Precondition::Any);
    let nameless = AccessDraft::Remote { port: None, policy: String::new(), key: Some(key(1)) };
    check(draft("new", nameless), Precondition::None);
    let drained = HubDraft { weight: Some(0), ..draft("new", AccessDraft::Keep) };
    assert_eq!(put_into(&linked(), &drained, &Precondition::None).map(|hub| hub.weight), Ok(0));
}

#[test]
fn no_more_hubs_are_linked_than_the_limit_allows() {
    let mut hubs = linked();
    hubs.push(hub("fourth", HubAccess::BuiltIn, false));
    let refused = put_into(&hubs, &draft("new", AccessDraft::Keep), &Precondition::None);
    let limit = OperatorRefusal::QuotaExceeded { what: "linked hubs", limit: 4 };
    assert_eq!(refused, Err(limit));
    assert!(put_into(&hubs, &draft("made", AccessDraft::Keep), &Precondition::Any).is_ok());
}

#[test]
fn a_hub_with_devices_is_unlinked_with_force_only() {
    let stale = Precondition::Tag("old".to_owned());
    let check = |text: &str, n_devices, force, precondition: &Precondition, expected: bool| {
        let hubs = linked();
        let outcome = delete(&hubs, &name(text), precondition, n_devices, force);
        assert_eq!(outcome.is_ok(), expected, "{text}: {outcome:?}");
    };
    check("made", 0, false, &Precondition::None, true);
    check("made", 1, false, &Precondition::None, false);
    check("made", 1, true, &Precondition::Any, true);
    check("made", 0, false, &stale, false);
    check("remote", 0, false, &Precondition::None, true);
    check("declared", 0, true, &Precondition::None, false);
    check("nowhere", 0, true, &Precondition::None, false);
}

#[test]
fn a_start_makes_the_linked_hubs_those_the_file_declares_and_leaves_the_others() {
    let declared = |text: &str, weight| DeclaredHub {
        name: name(text),
        weight,
        apply_allocation_policy: true,
    };
    let check = |file: &[DeclaredHub], link: &[&str], update: &[&str], unlink: &[&str]| {
        let mut n = 0;
        let made = reconcile(&linked(), file, NOW, || {
            n += 1;
            Etag::from_random([n; 16])
        });
        let names = |hubs: Vec<&LinkedHub>| -> Vec<HubName> {
            hubs.into_iter().map(|hub| hub.name.clone()).collect()
        };
        let wanted = |texts: &[&str]| texts.iter().map(|text| name(text)).collect::<Vec<_>>();
        assert_eq!(names(made.link.iter().collect()), wanted(link), "link");
        let changed: Vec<&LinkedHub> = made.update.iter().map(|(_, hub)| hub).collect();
        assert!(changed.iter().all(|hub| hub.declared && hub.access == HubAccess::BuiltIn));
        assert_eq!(names(changed), wanted(update), "update");
        assert_eq!(names(made.unlink.iter().collect()), wanted(unlink), "unlink");
    };
    check(&[declared("declared", 3)], &[], &[], &[]);
    check(&[declared("declared", 4)], &[], &["declared"], &[]);
    check(&[], &[], &[], &["declared"]);
    check(&[declared("declared", 3), declared("new", 1)], &["new"], &[], &[]);
    check(&[declared("declared", 3), declared("made", 3)], &[], &["made"], &[]);
    check(&[declared("remote", 3)], &[], &["remote"], &["declared"]);
}
