use base64::{Engine, engine::general_purpose::STANDARD};
use model::{IdScope, RegistrationId};
use proptest::prelude::*;
use testkit::{ClientStyle, DeviceToken, NOW};

use super::*;

/// The key of D appendix B.1 and H §2.2.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// The group key of D appendix B.2.
const GROUP_KEY: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";

fn key(text: &str) -> SymmetricKey {
    SymmetricKey::parse(text).expect("key")
}

fn keys(primary: &str, secondary: &str) -> SymmetricKeys {
    SymmetricKeys { primary: key(primary), secondary: key(secondary) }
}

fn token(style: ClientStyle, registration_id: &str, key: &SymmetricKey) -> SasToken {
    let expiry_unix_secs = NOW.unix_secs() + 3600;
    DeviceToken { style, id_scope: "0ne00ABCDEF", registration_id, key, expiry_unix_secs }.parsed()
}

#[track_caller]
fn check_vector(resource_raw: &str, expiry_raw: &str, expected: &str) {
    let signature = sign(&key(KEY), resource_raw, expiry_raw);
    assert_eq!(STANDARD.encode(signature), expected, "{resource_raw}");
    let token = SasToken {
        resource_raw: resource_raw.to_owned(),
        resource: String::new(),
        expiry_raw: expiry_raw.to_owned(),
        expiry_unix_secs: 0,
        signature: signature.to_vec(),
        key_name: None,
    };
    assert_eq!(verify_signature(&token, &keys(KEY, OTHER_KEY)), Ok(Slot::Primary));
    assert_eq!(verify_signature(&token, &keys(OTHER_KEY, KEY)), Ok(Slot::Secondary));
    assert_eq!(
        verify_signature(&token, &keys(OTHER_KEY, OTHER_KEY)),
        Err(AttestFailure::BadSignature)
    );
}

#[test]
fn signatures_equal_those_of_the_published_vectors_for_devices() {
    for (resource, signature) in [
        ("0ne00ABCDEF/registrations/Dev:01", "U7lBAMmkt7++zlglPFVLaGm8WAVAMwgby1VtR1XsO48="),
        ("0ne00ABCDEF%2Fregistrations%2FDev%3A01", "jOvKESnY/wFpy++qKpZJKeaw0NcLil4LKsr78UhuvtM="),
        ("0ne00ABCDEF%2fregistrations%2fDev%3a01", "EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn+Dyeg="),
        ("0ne00abcdef%2Fregistrations%2Fdev%3A01", "RyOMkUrGWl9BIyZOdfyKtgqSxSH6Q6jZT7MY2rHs+N0="),
        ("0ne00abcdef%2fregistrations%2fdev%3a01", "NO2tUvBPxH88JbcxSW/1gqgWkqN2b6YgnZsnaQKyGP0="),
    ] {
        check_vector(resource, "1893456000", signature);
    }
}

#[test]
fn signatures_equal_those_of_the_published_vectors_for_hubs() {
    for (resource, signature) in [
        ("hub.example.test%2Fdevices%2Fdev1", "RgCMAGKcDG9ZgOOcnNknftJcq49KF4mBQuoqG+WN14o="),
        ("hub.example.test%2Fdevices%2Fdev%401", "vDgKRUlXhEZyOrLXiMyiMrE7iNJvrh4R4ctkoVHjkYc="),
        ("hub.example.test", "Kn8zsVAbb30iTbeh3kfvfHy34UsjDolvE1feCHDNA+k="),
    ] {
        check_vector(resource, "4102444800", signature);
    }
}

#[test]
fn an_event_hubs_signature_takes_the_key_text_itself_as_the_key() {
    let text_as_key = SymmetricKey::from_bytes(KEY.as_bytes()).expect("44 bytes");
    let signature = sign(&text_as_key, "sb%3A%2F%2Fhub.example.test%2Fhub", "4102444800");
    assert_eq!(STANDARD.encode(signature), "xYatl+Xvpd5TZmMZFI/ilADUtuWT+8mqJBuRciMXQFA=");
}

#[test]
fn a_derived_key_equals_the_published_vector() {
    let derived = derive(&key(GROUP_KEY), "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6");
    assert_eq!(derived.reveal(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
}

#[test]
fn tokens_of_all_eight_client_styles_are_accepted() {
    let scope = IdScope::parse("0ne00ABCDEF").expect("scope");
    let id = RegistrationId::parse("Dev:01").expect("id");
    for style in ClientStyle::ALL {
        let token = token(style, "Dev:01", &key(KEY));
        assert_eq!(check_device_resource(&token, scope.as_str(), &id), Ok(()), "{style:?}");
        assert_eq!(check_expiry(&token, NOW, 0), Ok(()), "{style:?}");
        assert_eq!(verify_signature(&token, &keys(KEY, OTHER_KEY)), Ok(Slot::Primary), "{style:?}");
    }
}

#[test]
fn a_token_for_another_device_scope_or_path_is_refused() {
    let scope = IdScope::parse("0ne00ABCDEF").expect("scope");
    let id = RegistrationId::parse("Dev:01").expect("id");
    for resource in [
        "0ne00ABCDEF/registrations/Dev:02",
        "0ne00ABCDE0/registrations/Dev:01",
        "0ne00ABCDEF/registrations/Dev:01/",
        "0ne00ABCDEF/registrations/Dev:0",
        "0ne00ABCDEF/devices/Dev:01",
        "",
    ] {
        let mut token = token(ClientStyle::Python, "Dev:01", &key(KEY));
        token.resource = resource.to_owned();
        let verdict = check_device_resource(&token, scope.as_str(), &id);
        assert_eq!(verdict, Err(AttestFailure::WrongResource), "{resource}");
    }
}

#[test]
fn a_changed_resource_expiry_or_signature_breaks_the_signature() {
    let good = token(ClientStyle::C, "Dev:01", &key(KEY));
    let check = |change: fn(&mut SasToken)| {
        let mut token = good.clone();
        change(&mut token);
        let verdict = verify_signature(&token, &keys(KEY, KEY));
        assert_eq!(verdict, Err(AttestFailure::BadSignature));
    };
    check(|token| token.resource_raw = token.resource_raw.to_ascii_uppercase());
    check(|token| token.expiry_raw.push('0'));
    check(|token| token.signature[31] ^= 1);
    check(|token| token.signature.truncate(31));
    check(|token| token.signature.push(0));
    check(|token| token.signature.clear());
}

#[test]
fn a_token_is_over_when_its_second_comes_but_for_the_skew_allowed() {
    let mut token = token(ClientStyle::Python, "Dev:01", &key(KEY));
    token.expiry_unix_secs = NOW.unix_secs();
    assert_eq!(check_expiry(&token, NOW.plus_secs(-1), 0), Ok(()));
    assert_eq!(check_expiry(&token, NOW, 0), Err(AttestFailure::TokenExpired));
    assert_eq!(check_expiry(&token, NOW.plus_secs(299), 300), Ok(()));
    assert_eq!(check_expiry(&token, NOW.plus_secs(300), 300), Err(AttestFailure::TokenExpired));
    assert_eq!(Settings::default().clock_skew_secs, 300);
}

/// Which slot the token's key is derived from, if it is.
fn matched(token: &SasToken, group: &SymmetricKeys, registration_id: &str) -> Option<Slot> {
    let id = RegistrationId::parse(registration_id).expect("id");
    match_derived(token, group, &id).map(|(_, slot)| slot)
}

#[test]
fn a_group_admits_keys_derived_from_either_slot() {
    let group = keys(GROUP_KEY, OTHER_KEY);
    let primary = derive(&group.primary, "press-17");
    let secondary = derive(&group.secondary, "press-17");
    let check = |key: &SymmetricKey, expected: Option<Slot>| {
        let token = token(ClientStyle::NodeSymmetric, "press-17", key);
        assert_eq!(matched(&token, &group, "press-17"), expected);
    };
    check(&primary, Some(Slot::Primary));
    check(&secondary, Some(Slot::Secondary));
    check(&group.primary, None);
    check(&derive(&group.primary, "press-18"), None);
}

#[test]
fn a_derived_key_counts_for_the_id_as_presented_and_in_lower_case() {
    let group = keys(GROUP_KEY, OTHER_KEY);
    let check = |derived_from: &str, presented: &str, expected: Option<Slot>| {
        let token = token(ClientStyle::Python, presented, &derive(&group.primary, derived_from));
        assert_eq!(matched(&token, &group, presented), expected, "{derived_from}");
    };
    check("Press-17", "Press-17", Some(Slot::Primary));
    check("press-17", "Press-17", Some(Slot::Primary));
    check("PRESS-17", "Press-17", None);
    check("Press-17", "press-17", None);
}

prop_compose! {
    fn any_token()(
        resource_raw in ".{0,80}",
        resource in ".{0,80}",
        expiry_raw in ".{0,30}",
        expiry_unix_secs in any::<i64>(),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) -> SasToken {
        SasToken {
            resource_raw, resource, expiry_raw, expiry_unix_secs, signature, key_name: None,
        }
    }
}

proptest! {
    #[test]
    fn no_made_up_token_is_accepted_and_none_panics(
        token in any_token(),
        now in any::<i64>(),
        skew in any::<i64>(),
        id in "[a-zA-Z0-9]{1,20}",
    ) {
        let keys = keys(KEY, OTHER_KEY);
        let scope = IdScope::parse("0ne00ABCDEF").expect("scope");
        let id = RegistrationId::parse(&id).expect("id");
        prop_assert!(verify_signature(&token, &keys).is_err());
        prop_assert!(match_derived(&token, &keys, &id).is_none());
        prop_assert!(check_device_resource(&token, scope.as_str(), &id).is_err());
        let _ = check_expiry(&token, Timestamp::from_ticks(now), skew);
    }

    #[test]
    fn what_was_signed_with_a_key_is_accepted_with_that_key_only(
        resource_raw in ".{0,80}",
        expiry_raw in "[0-9]{1,12}",
        key in proptest::array::uniform32(any::<u8>()),
    ) {
        let key = SymmetricKey::from_bytes(&key).expect("32 bytes");
        let signature = sign(&key, &resource_raw, &expiry_raw).to_vec();
        let token = SasToken {
            resource_raw, resource: String::new(), expiry_raw, expiry_unix_secs: 0, signature,
            key_name: None,
        };
        let pair = SymmetricKeys { primary: key.clone(), secondary: key };
        prop_assert_eq!(verify_signature(&token, &pair), Ok(Slot::Primary));
        prop_assert!(verify_signature(&token, &keys(KEY, OTHER_KEY)).is_err());
    }
}
