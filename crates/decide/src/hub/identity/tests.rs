use model::DeviceStatus;

use super::*;
use crate::hub::scene::{
    CREATED, LATER, dev1, draft, fresh, id, key, keys, no_authentication, sas,
};

/// What a row of the matrix of H §2.6 comes to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Refused(HubRefusal),
}

fn outcome<T>(result: Result<T, HubRefusal>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(refusal) => Outcome::Refused(refusal),
    }
}

#[test]
fn preconditions_decide_by_the_matrix() {
    let device = dev1();
    let current = || Precondition::Tag("NzI3ODk0ODYz".to_owned());
    let stale = || Precondition::Tag("NzI3ODk0ODYy".to_owned());
    let missing = || Outcome::Refused(HubRefusal::DeviceNotFound("dev1".to_owned()));
    let exists = || Outcome::Refused(HubRefusal::DeviceExists("dev1".to_owned()));
    let etag = || {
        Outcome::Refused(HubRefusal::IdentityEtag {
            existing: "727894863".to_owned(),
            given: "727894862".to_owned(),
        })
    };
    let check = |existing: Option<&Device>, precondition: Precondition, put_, delete_| {
        assert_eq!(
            outcome(put(existing, &draft("dev1"), &precondition, LATER, &fresh())),
            put_,
            "PUT, exists: {}, {precondition:?}",
            existing.is_some()
        );
        assert_eq!(
            outcome(delete(existing, &id("dev1"), &precondition)),
            delete_,
            "DELETE, exists: {}, {precondition:?}",
            existing.is_some()
        );
    };
    let there = Some(&device);
    check(there, Precondition::None, exists(), Outcome::Refused(HubRefusal::EtagMissing));
    check(there, Precondition::Any, Outcome::Done, Outcome::Done);
    check(there, current(), Outcome::Done, Outcome::Done);
    check(there, stale(), etag(), etag());
    check(None, Precondition::None, Outcome::Done, missing());
    check(None, Precondition::Any, missing(), missing());
    check(None, current(), missing(), missing());
    check(None, stale(), missing(), missing());
}

#[test]
fn a_refused_etag_is_shown_as_its_counter_or_cut_short() {
    let given = |tag: &str| match delete(Some(&dev1()), &id("dev1"), &Precondition::Tag(tag.into()))
    {
        Err(HubRefusal::IdentityEtag { given, .. }) => given,
        other => panic!("{other:?}"),
    };
    assert_eq!(given("MTI="), "12");
    assert_eq!(given("abc"), "abc");
    assert_eq!(given("AAAAAAAAAAE="), "AAAAAAAAAAE=");
    assert_eq!(given(&"é".repeat(5000)), "é".repeat(64));
}

#[test]
fn a_created_device_looks_as_recorded() {
    let Device { identity, .. } = dev1();
    assert_eq!(identity.generation_id, "637612875240648717");
    assert_eq!(identity.etag(), "NzI3ODk0ODYz");
    assert_eq!(identity.status, DeviceStatus::Enabled);
    assert_eq!(identity.status_updated, None);
    assert_eq!(identity.authentication, sas(3));
    assert!(!identity.connected && !identity.iot_edge);
}

#[test]
fn an_update_replaces_everything_but_what_the_hub_keeps() {
    let mut old = dev1();
    old.identity.status_reason = Some("lost".to_owned());
    old.identity.iot_edge = true;
    old.identity.device_scope = Some("scope".to_owned());
    old.identity.last_activity = Some(CREATED);
    old.identity.authentication = sas(30);
    old.identity.version = 7;
    let new = put(Some(&old), &draft("dev1"), &Precondition::Any, LATER, &fresh()).expect("new");

    assert_eq!(new.identity.etag(), "NzI3ODk0ODY0");
    assert_eq!(new.twin, old.twin);
    let expected = DeviceIdentity {
        etag_counter: old.identity.etag_counter + 1,
        status_reason: None,
        iot_edge: false,
        device_scope: None,
        // No authentication was sent: new keys.
        authentication: sas(3),
        ..old.identity
    };
    assert_eq!(new.identity, expected);
}

#[test]
fn only_a_change_of_status_stamps_it() {
    let change = |device: &Device, status| {
        let draft = IdentityDraft { status, ..draft("dev1") };
        put(Some(device), &draft, &Precondition::Any, LATER, &fresh()).expect("new")
    };
    let disabled = change(&dev1(), Some(DeviceStatus::Disabled));
    assert_eq!(disabled.identity.status_updated, Some(LATER));
    assert_eq!(change(&dev1(), Some(DeviceStatus::Enabled)).identity.status_updated, None);
    let enabled_again = change(&disabled, None);
    assert_eq!(enabled_again.identity.status, DeviceStatus::Enabled);
    assert_eq!(enabled_again.identity.status_updated, Some(LATER));

    let born_disabled = IdentityDraft { status: Some(DeviceStatus::Disabled), ..draft("dev2") };
    let device = put(None, &born_disabled, &Precondition::None, CREATED, &fresh()).expect("new");
    assert_eq!(device.identity.status_updated, None);
}

#[test]
fn a_created_again_device_has_a_later_generation() {
    let again = put(None, &draft("dev1"), &Precondition::None, LATER, &fresh()).expect("new");
    let generation = |device: &Device| device.identity.generation_id.parse::<i64>().expect("ticks");
    assert!(generation(&again) > generation(&dev1()));
}

const SHA1: &str = "0123456789abcdefABCDEF0123456789abcdef01";
const SHA256: &str = "0123456789abcdefABCDEF0123456789abcdef010123456789abcdefABCDEF01";

fn check_authentication(
    draft: AuthenticationDraft,
    expected: Result<(AuthenticationKind, Option<SymmetricKeys>), &str>,
) {
    let described = format!("{draft:?}");
    match (authentication(Some(&draft), &fresh()), expected) {
        (Ok(authentication), Ok((kind, keys))) => {
            assert_eq!((authentication.kind, authentication.keys), (kind, keys), "{described}");
            assert_eq!(authentication.primary_thumbprint, draft.primary_thumbprint);
            assert_eq!(authentication.secondary_thumbprint, draft.secondary_thumbprint);
        }
        (Err(HubRefusal::ArgumentInvalid(text)), Err(start)) => {
            assert!(text.starts_with(start), "{described}: {text}");
        }
        (got, expected) => panic!("{described}: {got:?}, not {expected:?}"),
    }
}

#[test]
fn authentication_is_completed_by_what_was_sent() {
    use AuthenticationKind::{CertificateAuthority, Sas, SelfSigned};
    let kind = |kind| AuthenticationDraft { kind, ..no_authentication() };
    let with_keys = |kind| AuthenticationDraft {
        kind,
        primary_key: Some(key(9)),
        secondary_key: Some(key(10)),
        ..no_authentication()
    };
    let with_thumbprint = |kind, thumbprint: &str| AuthenticationDraft {
        kind,
        secondary_thumbprint: Some(thumbprint.to_owned()),
        ..no_authentication()
    };
    // The generated keys of `fresh`: 32 bytes of 3 and of 4.
    let generated = || Some(keys(3));

    check_authentication(kind(None), Ok((Sas, generated())));
    check_authentication(kind(Some(Sas)), Ok((Sas, generated())));
    check_authentication(kind(Some(SelfSigned)), Ok((SelfSigned, None)));
    check_authentication(kind(Some(CertificateAuthority)), Ok((CertificateAuthority, None)));
    check_authentication(with_keys(None), Ok((Sas, Some(keys(9)))));
    check_authentication(with_keys(Some(SelfSigned)), Ok((SelfSigned, Some(keys(9)))));
    check_authentication(with_thumbprint(None, SHA1), Ok((SelfSigned, None)));
    check_authentication(with_thumbprint(Some(SelfSigned), SHA256), Ok((SelfSigned, None)));
    check_authentication(with_thumbprint(Some(Sas), SHA256), Ok((Sas, generated())));
}

#[test]
fn half_a_pair_of_keys_and_odd_thumbprints_are_refused() {
    let either = "Either no keys or both keys can be set";
    for (primary_key, secondary_key) in [(Some(key(9)), None), (None, Some(key(9)))] {
        let draft = AuthenticationDraft { primary_key, secondary_key, ..no_authentication() };
        check_authentication(draft, Err(either));
    }
    let colons = "01:23:45:67:89:ab:cd:ef:01:23:45:67:89:a";
    let odd = ["x", &SHA1[1..], &SHA256[1..], &SHA1.replace('0', "g"), colons];
    for thumbprint in odd {
        for kind in [None, Some(AuthenticationKind::Sas)] {
            let primary_thumbprint = Some(thumbprint.to_owned());
            let draft = AuthenticationDraft { kind, primary_thumbprint, ..no_authentication() };
            check_authentication(draft, Err("StringIsNotThumbprint"));
        }
    }
}

#[test]
fn texts_beyond_their_limits_are_refused() {
    let check = |draft: IdentityDraft, is_fine: bool| {
        let created = put(None, &draft, &Precondition::None, CREATED, &fresh());
        let device = dev1();
        let updated = put(Some(&device), &draft, &Precondition::Any, LATER, &fresh());
        for result in [created, updated] {
            let invalid = matches!(result, Err(HubRefusal::ArgumentInvalid(_)));
            assert_eq!((result.is_ok(), invalid), (is_fine, !is_fine), "{draft:?}");
        }
    };
    let reason = |n| IdentityDraft { status_reason: Some("ö".repeat(n)), ..draft("dev1") };
    check(reason(128), true);
    check(reason(129), false);
    let scope = |n| IdentityDraft { device_scope: Some("s".repeat(n)), ..draft("dev1") };
    check(scope(256), true);
    check(scope(257), false);
    let parents =
        |n, len| IdentityDraft { parent_scopes: vec!["s".repeat(len); n], ..draft("dev1") };
    check(parents(16, 256), true);
    check(parents(17, 1), false);
    check(parents(1, 257), false);
}

#[test]
fn preconditions_of_modules_decide_by_the_same_matrix_with_names_of_their_own() {
    let module = put(None, &draft("dev1/m"), &Precondition::None, CREATED, &fresh()).expect("new");
    let missing = Outcome::Refused(HubRefusal::ModuleNotFound("dev1/m".to_owned()));
    let exists = Outcome::Refused(HubRefusal::ModuleExists {
        device: "dev1".to_owned(),
        module: "m".to_owned(),
    });
    let again = put(Some(&module), &draft("dev1/m"), &Precondition::None, LATER, &fresh());
    assert_eq!(outcome(again), exists);
    let replaced = put(Some(&module), &draft("dev1/m"), &Precondition::Any, LATER, &fresh());
    assert_eq!(outcome(replaced), Outcome::Done);
    let nowhere = put(None, &draft("dev1/m"), &Precondition::Any, LATER, &fresh());
    assert_eq!(outcome(nowhere), missing);
    assert_eq!(outcome(delete(None, &id("dev1/m"), &Precondition::Any)), missing);
    let unconditional = outcome(delete(Some(&module), &id("dev1/m"), &Precondition::None));
    assert_eq!(unconditional, Outcome::Refused(HubRefusal::EtagMissing));
}

#[test]
fn a_module_has_a_manager_and_neither_status_nor_capabilities_nor_scopes() {
    let whole = |device_id: &str| IdentityDraft {
        status: Some(DeviceStatus::Disabled),
        status_reason: Some("lost".to_owned()),
        iot_edge: Some(true),
        device_scope: Some("scope".to_owned()),
        parent_scopes: vec!["parent".to_owned()],
        managed_by: Some("somebody".to_owned()),
        ..draft(device_id)
    };
    let check = |identity: &DeviceIdentity| {
        assert_eq!((identity.status, identity.status_updated), (DeviceStatus::Enabled, None));
        assert_eq!((&identity.status_reason, &identity.device_scope), (&None, &None));
        assert!(!identity.iot_edge && identity.parent_scopes.is_empty());
        assert_eq!(identity.managed_by.as_deref(), Some("somebody"));
        assert_eq!(identity.authentication, sas(3));
    };
    let new = put(None, &whole("dev1/m"), &Precondition::None, CREATED, &fresh()).expect("new");
    check(&new.identity);
    let again = put(Some(&new), &whole("dev1/m"), &Precondition::Any, LATER, &fresh());
    let again = again.expect("replaced");
    check(&again.identity);
    assert_eq!(again.identity.etag_counter, new.identity.etag_counter + 1);
    assert_eq!(again.identity.generation_id, new.identity.generation_id);
    let unmanaged = put(Some(&new), &draft("dev1/m"), &Precondition::Any, LATER, &fresh());
    assert_eq!(unmanaged.expect("replaced").identity.managed_by, None);
    // And nobody manages a device.
    let device = put(None, &whole("dev1"), &Precondition::None, CREATED, &fresh()).expect("new");
    assert_eq!(device.identity.managed_by, None);
    let long = IdentityDraft { managed_by: Some("m".repeat(257)), ..draft("dev1/m") };
    let refused = put(None, &long, &Precondition::None, CREATED, &fresh());
    assert!(matches!(refused, Err(HubRefusal::ArgumentInvalid(_))), "{refused:?}");
}

#[test]
fn a_module_needs_its_device_and_room() {
    let missing = Err(HubRefusal::DeviceNotFound("dev1".to_owned()));
    assert_eq!(check_parent(&id("dev1/m"), None), missing);
    assert_eq!(check_parent(&id("dev1/m"), Some(&dev1())), Ok(()));
    assert_eq!(check_parent(&id("dev1"), None), Ok(()));
    let full = Err(HubRefusal::TooManyModules { device: "dev1".to_owned(), limit: 50 });
    assert_eq!(check_room(&id("dev1/m"), 49), Ok(()));
    assert_eq!(check_room(&id("dev1/m"), 50), full);
    let hub = HubName::parse("hub.example.test").expect("a host name");
    let demanded = Expect::ModuleRoom(hub.clone(), id("dev1"), 50);
    assert_eq!(room(&hub, None, &id("dev1/m")), Some(demanded));
    assert_eq!(room(&hub, Some(&dev1()), &id("dev1/m")), None);
    assert_eq!(room(&hub, None, &id("dev1")), None);
}
