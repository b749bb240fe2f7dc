//! Tokens: for whom, until when, signed with what.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

fn sas_facts() -> ConnectFacts {
    Works::new().facts(AuthenticationKind::Sas)
}

/// Checks a resource of a token of the device's own key and of one of a policy's.
fn check_resource(resource: &str, by_device_key: bool, by_policy_key: bool) {
    let facts = sas_facts();
    let wrong = Err(not_attested(AttestFailure::WrongResource));
    for (name, key, admitted) in [
        (None, key(DEVICE_KEY), by_device_key),
        (Some(""), key(DEVICE_KEY), by_device_key),
        (Some(POLICY), key(POLICY_KEY), by_policy_key),
    ] {
        let answer = knock(&facts, &Shown::Sas(token(resource, name, &key))).map(|_| ());
        let expected = if admitted { Ok(()) } else { wrong.clone() };
        assert_eq!(answer, expected, "{resource:?} with key name {name:?}");
    }
}

#[test]
fn a_devices_token_names_the_device_whole_and_a_policys_may_name_less() {
    check_resource("hub.example.test/devices/dev1", true, true);
    check_resource("hub.example.test", false, true);
    check_resource("hub.example.test/", false, true);
    check_resource("hub.example.test/devices", false, true);
    check_resource("hub.example.test/devices/", false, true);
    check_resource("", false, false);
    check_resource("/", false, false);
    check_resource("/devices/dev1", false, false);
    check_resource("devices/dev1", false, false);
}

#[test]
fn a_token_for_another_device_opens_nothing() {
    for other in ["dev10", "dev", "dev2", "DEV1", "Dev1", "dev1%20", "dev1 ", " dev1", "*", "+"] {
        check_resource(&format!("hub.example.test/devices/{other}"), false, false);
    }
}

#[test]
fn a_token_for_a_module_or_below_does_not_open_its_device() {
    check_resource("hub.example.test/devices/dev1/modules/m", false, false);
    check_resource("hub.example.test/devices/dev1/modules", false, false);
    check_resource("hub.example.test/devices/dev1/messages/events", false, false);
    check_resource("hub.example.test/devices/dev1/../dev1", false, false);
}

#[test]
fn letter_case_port_and_scheme_of_the_host_do_not_matter_and_its_name_does() {
    check_resource("HUB.Example.TEST/devices/dev1", true, true);
    check_resource("hub.example.test:8883/devices/dev1", true, true);
    check_resource("HUB.example.test:443/devices/dev1", true, true);
    check_resource("https://hub.example.test/devices/dev1", true, true);
    check_resource("amqps://hub.example.test:5671/devices/dev1/", true, true);
    check_resource("hub.example.test:88x3/devices/dev1", false, false);
    check_resource("other.example.test/devices/dev1", false, false);
    check_resource("hub.example.test.evil.test/devices/dev1", false, false);
    check_resource("evil.test/hub.example.test/devices/dev1", false, false);
    check_resource("hub.example.test@evil.test/devices/dev1", false, false);
    check_resource("hub/devices/dev1", false, false);
    check_resource("hub.example.test/registrations/dev1", false, false);
    check_resource("hub.example.test/Devices/dev1", false, false);
}

#[test]
fn a_token_under_another_policys_name_opens_nothing() {
    let facts = sas_facts();
    let resource = "hub.example.test/devices/dev1";
    for (name, key) in [
        // A device's own key is no policy's, whatever the token calls it.
        (POLICY, key(DEVICE_KEY)),
        ("registration", key(DEVICE_KEY)),
        ("Device", key(POLICY_KEY)),
        ("iothubowner", key(POLICY_KEY)),
        (" ", key(POLICY_KEY)),
    ] {
        let answer = knock(&facts, &Shown::Sas(token(resource, Some(name), &key)));
        assert_eq!(answer, Err(ConnectRefusal::PolicyRefused), "{name:?}");
    }
    // And a policy's is no device's.
    let nameless = knock(&facts, &Shown::Sas(token(resource, None, &key(POLICY_KEY))));
    assert_eq!(nameless, Err(not_attested(AttestFailure::BadSignature)));
}

#[test]
fn the_signature_covers_the_text_of_the_token() {
    let facts = sas_facts();
    let good = || token("hub.example.test/devices/dev1", None, &key(DEVICE_KEY));
    let bad = Err(not_attested(AttestFailure::BadSignature));
    let check = |change: fn(&mut SasToken)| {
        let mut token = good();
        change(&mut token);
        assert_eq!(knock(&facts, &Shown::Sas(token)), bad);
    };
    assert!(knock(&facts, &Shown::Sas(good())).is_ok());
    check(|token| token.expiry_raw = "9999999999".to_owned());
    check(|token| token.resource_raw = "hub.example.test%2fdevices%2Fdev1".to_owned());
    check(|token| token.signature.clear());
    check(|token| token.signature.truncate(31));
    check(|token| token.signature.push(0));
    check(|token| token.signature[0] ^= 1);
}

#[test]
fn an_identity_without_keys_takes_no_token_of_its_own() {
    let mut facts = sas_facts();
    facts.identity.as_mut().expect("an identity").authentication.keys = None;
    let own = knock(&facts, &device_token(DEVICE_KEY));
    assert_eq!(own, Err(not_attested(AttestFailure::BadSignature)));
    assert!(knock(&facts, &policy_token(POLICY_KEY)).is_ok());
}

/// The vectors of H §2.2.
#[test]
fn the_recorded_tokens_are_admitted() {
    let text = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let key = SymmetricKey::parse(text).expect("a key");
    let keys = SymmetricKeys { primary: key.clone(), secondary: key };
    for (device, resource_raw, name, signature) in [
        (
            "dev1",
            "hub.example.test%2Fdevices%2Fdev1",
            None,
            "RgCMAGKcDG9ZgOOcnNknftJcq49KF4mBQuoqG+WN14o=",
        ),
        (
            "dev@1",
            "hub.example.test%2Fdevices%2Fdev%401",
            None,
            "vDgKRUlXhEZyOrLXiMyiMrE7iNJvrh4R4ctkoVHjkYc=",
        ),
        ("dev1", "hub.example.test", Some(POLICY), "Kn8zsVAbb30iTbeh3kfvfHy34UsjDolvE1feCHDNA+k="),
    ] {
        let mut facts = sas_facts();
        let identity = facts.identity.as_mut().expect("an identity");
        identity.device_id = id(device);
        identity.authentication.keys = Some(keys.clone());
        facts.policy.as_mut().expect("a policy").keys = keys.clone();
        let token = SasToken {
            resource_raw: resource_raw.to_owned(),
            resource: resource_raw.replace("%2F", "/").replace("%40", "@"),
            expiry_raw: "4102444800".to_owned(),
            expiry_unix_secs: 4_102_444_800,
            signature: STANDARD.decode(signature).expect("base64"),
            key_name: name.map(str::to_owned),
        };
        let answer = knock_as(device, &facts, &Shown::Sas(token), NOW);
        let expires = answer.map(|admission| admission.expires.unix_secs());
        assert_eq!(expires, Ok(4_102_444_801), "{resource_raw}");
    }
}

#[test]
fn a_connection_ends_shortly_after_its_token_and_a_slow_clock_is_forgiven() {
    let facts = sas_facts();
    let now = NOW.unix_secs();
    let check = |ends: i64, expected: Result<i64, AttestFailure>| {
        let expected = expected.map_err(not_attested);
        for (resource, name, key) in [
            ("hub.example.test/devices/dev1", None, key(DEVICE_KEY)),
            (HUB, Some(POLICY), key(POLICY_KEY)),
        ] {
            let token = token_until(resource, name, &key, ends);
            let answer = knock(&facts, &Shown::Sas(token));
            let expires = answer.map(|admission| admission.expires.unix_secs());
            assert_eq!(expires, expected, "{name:?} until {}", ends - now);
        }
    };
    check(now + 3600, Ok(now + 3601));
    check(now + 1, Ok(now + 2));
    check(now, Ok(now + 300));
    check(now - 299, Ok(now + 1));
    check(now - 300, Err(AttestFailure::TokenExpired));
    check(now - 301, Err(AttestFailure::TokenExpired));
    check(0, Err(AttestFailure::TokenExpired));
    check(i64::MIN, Err(AttestFailure::TokenExpired));
}

#[test]
fn a_token_for_ever_makes_a_connection_that_does_not_expire() {
    let facts = sas_facts();
    let token = token_until("hub.example.test/devices/dev1", None, &key(DEVICE_KEY), i64::MAX);
    let admission = knock(&facts, &Shown::Sas(token)).expect("admitted");
    assert_eq!(admission.expires, Timestamp::from_ticks(i64::MAX));
}
