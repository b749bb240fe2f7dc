use testkit::{NOW, fresh};

use super::*;
use crate::manage::hubs::generated_policy;

const OWNER_RIGHTS: [Right; 3] =
    [Right::ServiceConfig, Right::DeviceConnect, Right::EnrollmentWrite];

fn policies(named: &[(&str, &[Right])]) -> Vec<AccessPolicy> {
    let service = || PolicyScope::Service;
    named
        .iter()
        .enumerate()
        .map(|(i, (name, rights))| {
            generated_policy(service(), name, rights, NOW, &fresh(i as u64 + 10))
        })
        .collect()
}

fn owner_and_reader() -> Vec<AccessPolicy> {
    policies(&[("owner", &OWNER_RIGHTS), ("reader", &[Right::EnrollmentRead])])
}

fn draft(name: &str, rights: &[Right]) -> PolicyDraft {
    let (name, rights) = (name.to_owned(), Rights::of(rights));
    PolicyDraft { name, rights, primary: None, secondary: None }
}

fn put_service(
    policies: &[AccessPolicy],
    draft: &PolicyDraft,
    precondition: &Precondition,
) -> Result<AccessPolicy, OperatorRefusal> {
    put(policies, &PolicyScope::Service, draft, precondition, NOW, &fresh(1))
}

#[test]
fn a_put_creates_without_a_precondition_and_replaces_with_one() {
    let all = owner_and_reader();
    let right = Precondition::Tag(all[1].etag.as_str().to_owned());
    let stale = Precondition::Tag("old".to_owned());
    let check = |name: &str, precondition: &Precondition, expected| {
        let outcome = put_service(&all, &draft(name, &[Right::EnrollmentRead]), precondition);
        assert_eq!(outcome.map(|_| ()), expected, "{name} {precondition:?}");
    };
    check("new", &Precondition::None, Ok(()));
    check("new", &Precondition::Any, Err(OperatorRefusal::PolicyNotFound("new".to_owned())));
    check("reader", &Precondition::None, Err(OperatorRefusal::PolicyExists("reader".to_owned())));
    check("reader", &right, Ok(()));
    check("reader", &Precondition::Any, Ok(()));
    check("reader", &stale, Err(OperatorRefusal::StaleEtag));
}

#[test]
fn keys_are_made_for_a_new_policy_and_kept_for_an_old_one_unless_given() {
    let all = owner_and_reader();
    let mut wanted = draft("reader", &[Right::EnrollmentRead]);
    let kept = put_service(&all, &wanted, &Precondition::Any).expect("put");
    assert_eq!(kept.keys, all[1].keys);
    let given = SymmetricKey::from_bytes(&[5; 32]).expect("a key");
    wanted.secondary = Some(given.clone());
    let changed = put_service(&all, &wanted, &Precondition::Any).expect("put");
    assert_eq!(changed.keys.primary, all[1].keys.primary);
    assert_eq!(changed.keys.secondary, given);
    let made = put_service(&all, &draft("new", &[Right::EnrollmentRead]), &Precondition::None);
    assert_ne!(made.expect("put").keys, all[1].keys);
}

#[test]
fn the_last_policy_that_can_manage_the_service_stays_one() {
    let last = || Err(OperatorRefusal::LastOwner("owner".to_owned()));
    let remove = |all: &[AccessPolicy], scope: &PolicyScope| {
        delete(all, scope, "owner", &Precondition::None).map(|_| ())
    };
    let demote = |all: &[AccessPolicy]| {
        let draft = draft("owner", &[Right::EnrollmentWrite]);
        put_service(all, &draft, &Precondition::Any).map(|_| ())
    };
    let one = owner_and_reader();
    assert_eq!(remove(&one, &PolicyScope::Service), last());
    assert_eq!(demote(&one), last());
    assert!(delete(&one, &PolicyScope::Service, "reader", &Precondition::None).is_ok());
    let halves: [(&str, &[Right]); 3] = [
        ("owner", &OWNER_RIGHTS),
        ("config", &[Right::ServiceConfig]),
        ("writer", &[Right::EnrollmentWrite]),
    ];
    assert_eq!(remove(&policies(&halves), &PolicyScope::Service), last());
    let two = policies(&[("owner", &OWNER_RIGHTS), ("deputy", &OWNER_RIGHTS)]);
    assert_eq!(remove(&two, &PolicyScope::Service), Ok(()));
    assert_eq!(demote(&two), Ok(()));
    assert_eq!(other_owner(&two, "owner").map(|policy| policy.name.as_str()), Some("deputy"));
    let hub = PolicyScope::Hub(model::HubName::parse("hub-1.example.test").expect("a name"));
    assert_eq!(remove(&one, &hub), Ok(()));
}

#[test]
fn a_rotation_changes_one_key_and_leaves_the_other_working() {
    let all = owner_and_reader();
    let given = SymmetricKey::from_bytes(&[5; 32]).expect("a key");
    let rotated = |slot, key| {
        rotate(&all, "owner", slot, key, &Precondition::None, NOW, &fresh(3)).expect("rotated")
    };
    let primary = rotated(KeySlot::Primary, None);
    assert_ne!(primary.keys.primary, all[0].keys.primary);
    assert_eq!(primary.keys.secondary, all[0].keys.secondary);
    assert_ne!(primary.etag, all[0].etag);
    let secondary = rotated(KeySlot::Secondary, Some(given.clone()));
    assert_eq!(secondary.keys.primary, all[0].keys.primary);
    assert_eq!(secondary.keys.secondary, given);
    let missing =
        rotate(&all, "nobody", KeySlot::Primary, None, &Precondition::None, NOW, &fresh(3));
    assert_eq!(missing, Err(OperatorRefusal::PolicyNotFound("nobody".to_owned())));
    let stale = Precondition::Tag("old".to_owned());
    let refused = rotate(&all, "owner", KeySlot::Primary, None, &stale, NOW, &fresh(3));
    assert_eq!(refused, Err(OperatorRefusal::StaleEtag));
}

#[test]
fn a_policy_has_rights_of_its_scope_and_a_plain_name() {
    let all = owner_and_reader();
    let hub = PolicyScope::Hub(model::HubName::parse("hub-1.example.test").expect("a name"));
    let check = |scope: &PolicyScope, name: &str, rights: &[Right], legal: bool| {
        let drafted = draft(name, rights);
        let outcome = put(&all, scope, &drafted, &Precondition::None, NOW, &fresh(1));
        assert_eq!(outcome.is_ok(), legal, "{scope:?} {name} {rights:?}: {outcome:?}");
    };
    check(&PolicyScope::Service, "new", &[Right::RegistrationStatusWrite], true);
    check(&PolicyScope::Service, "new", &[Right::RegistryRead], false);
    check(&PolicyScope::Service, "new", &[Right::ServiceConnect], false);
    check(&PolicyScope::Service, "new", &[], false);
    check(&hub, "new", &[Right::RegistryWrite, Right::DeviceConnect], true);
    check(&hub, "new", &[Right::EnrollmentRead], false);
    check(&PolicyScope::Service, &"x".repeat(64), &[Right::EnrollmentRead], true);
    check(&PolicyScope::Service, &"x".repeat(65), &[Right::EnrollmentRead], false);
    check(&PolicyScope::Service, "", &[Right::EnrollmentRead], false);
    check(&PolicyScope::Service, "a;b", &[Right::EnrollmentRead], false);
}

#[test]
fn a_scope_has_a_bounded_number_of_policies() {
    let named: Vec<String> = (0..MAX_POLICIES).map(|n| format!("policy-{n}")).collect();
    let rights: &[Right] = &OWNER_RIGHTS;
    let full: Vec<(&str, &[Right])> = named.iter().map(|name| (name.as_str(), rights)).collect();
    let refused = put_service(
        &policies(&full),
        &draft("one-more", &[Right::EnrollmentRead]),
        &Precondition::None,
    );
    assert!(matches!(refused, Err(OperatorRefusal::QuotaExceeded { .. })), "{refused:?}");
}
