use model::{AuthenticationKind, DeviceStatus};

use super::*;
use crate::hub::scene::{CREATED, LATER, dev1, dev1_with, fresh, id, json, sas, stamps};

const INITIAL: &str = r#"{"tags":{"site":"a"},"properties":{"desired":{"interval":60}}}"#;

/// A device that lived on a hub: content, a report, and an operator who disabled it.
fn lived() -> Device {
    let mut device = dev1_with(r#"{"old":1}"#, r#"{"old":2}"#);
    device.twin =
        twin::patch_reported(&device.twin, &json(r#"{"fw":"1"}"#), CREATED).expect("twin");
    device.identity.authentication = sas(30);
    device.identity.status = DeviceStatus::Disabled;
    device.identity.status_reason = Some("lost".to_owned());
    device.identity.status_updated = Some(CREATED);
    device
}

fn assign(
    existing: Option<&Device>,
    authentication: DeviceAuthentication,
    initial: Option<&str>,
    rule: TwinRule<'_>,
) -> Result<Device, HubRefusal> {
    let (device_id, initial) = (id("dev1"), initial.map(json));
    let assignee = Assignee {
        device_id: &device_id,
        authentication,
        iot_edge: false,
        initial_twin: initial.as_ref(),
    };
    device(existing, &assignee, rule, LATER, &fresh())
}

/// Tags, desired and reported properties after an assignment with the initial twin [`INITIAL`].
fn check_twin(existing: Option<&Device>, rule: TwinRule<'_>, expected: [&str; 3]) -> Twin {
    let twin = assign(existing, sas(30), Some(INITIAL), rule).expect("a device").twin;
    let got = [&twin.tags, &twin.desired.content, &twin.reported.content].map(Json::to_string);
    assert_eq!(got, expected, "{rule:?}, exists: {}", existing.is_some());
    twin
}

#[test]
fn the_twin_follows_its_rule() {
    let here = lived();
    let mut elsewhere = lived().twin;
    elsewhere.tags = json(r#"{"moved":1}"#);
    let (initial_tags, initial_desired) = (r#"{"site":"a"}"#, r#"{"interval":60}"#);

    let new = check_twin(None, TwinRule::Keep, [initial_tags, initial_desired, "{}"]);
    assert_eq!((new.etag_counter, new.version_number, new.desired.version_number), (1, 2, 1));
    assert_eq!(stamps(&new.desired.metadata), "-1(interval:-1)");
    check_twin(None, TwinRule::Reset, [initial_tags, initial_desired, "{}"]);
    let migrated =
        check_twin(None, TwinRule::Migrate(&elsewhere), [r#"{"moved":1}"#, r#"{"old":2}"#, "{}"]);
    assert_eq!((migrated.etag_counter, migrated.version_number), (1, 2));

    let there = Some(&here);
    let kept = check_twin(there, TwinRule::Keep, [r#"{"old":1}"#, r#"{"old":2}"#, r#"{"fw":"1"}"#]);
    assert_eq!(kept, here.twin);
    let reset = check_twin(there, TwinRule::Reset, [initial_tags, initial_desired, "{}"]);
    assert_eq!((reset.etag_counter, reset.version_number), (2, 4));
    assert_eq!((reset.desired.version_number, reset.reported.version_number), (2, 3));
    assert_eq!(stamps(&reset.desired.metadata), "l2(interval:l2)");
    assert_eq!(stamps(&reset.reported.metadata), "l");
    let moved = TwinRule::Migrate(&elsewhere);
    check_twin(there, moved, [r#"{"moved":1}"#, r#"{"old":2}"#, "{}"]);
}

#[test]
fn a_new_device_is_enabled_and_of_a_new_generation() {
    let new = assign(None, sas(9), None, TwinRule::Keep).expect("a device");
    assert_eq!(new.identity.status, DeviceStatus::Enabled);
    assert_eq!(new.identity.authentication, sas(9));
    assert_eq!(new.identity.generation_id, "637612911240648717");
    assert!(new.twin.tags.is_empty_object() && new.twin.desired.content.is_empty_object());
}

#[test]
fn an_operators_disabling_survives_a_registration() {
    let here = lived();
    for rule in [TwinRule::Keep, TwinRule::Reset, TwinRule::Migrate(&dev1().twin)] {
        let identity = assign(Some(&here), sas(9), None, rule).expect("a device").identity;
        let expected = DeviceIdentity {
            etag_counter: here.identity.etag_counter + 1,
            authentication: sas(9),
            ..here.identity.clone()
        };
        assert_eq!(identity, expected);
    }
}

#[test]
fn a_registration_that_changes_nothing_leaves_the_device_as_it_is() {
    let here = lived();
    let same = assign(Some(&here), sas(30), Some(INITIAL), TwinRule::Keep).expect("a device");
    assert_eq!(same, here);
}

#[test]
fn credentials_and_edge_capability_are_refreshed() {
    let here = lived();
    let (device_id, thumbprint) = (id("dev1"), "ab".repeat(32));
    let assignee = Assignee {
        device_id: &device_id,
        authentication: DeviceAuthentication {
            kind: AuthenticationKind::SelfSigned,
            keys: None,
            primary_thumbprint: Some(thumbprint.clone()),
            secondary_thumbprint: Some(thumbprint),
        },
        iot_edge: false,
        initial_twin: None,
    };
    let rolled = device(Some(&here), &assignee, TwinRule::Keep, LATER, &fresh()).expect("a device");
    assert_eq!(rolled.identity.authentication, assignee.authentication);
    assert_eq!(rolled.identity.etag_counter, here.identity.etag_counter + 1);

    let edge = Assignee { iot_edge: true, authentication: sas(30), ..assignee };
    let edge = device(Some(&here), &edge, TwinRule::Keep, LATER, &fresh()).expect("a device");
    assert!(edge.identity.iot_edge);
    assert_eq!(edge.identity.etag_counter, here.identity.etag_counter + 1);
}

#[test]
fn whatever_else_an_initial_twin_holds_is_ignored() {
    let check = |initial: &str, tags: &str, desired: &str| {
        let twin = assign(None, sas(9), Some(initial), TwinRule::Keep).expect("a device").twin;
        let got = [twin.tags.to_string(), twin.desired.content.to_string()];
        assert_eq!(got, [tags, desired], "{initial}");
    };
    check("null", "{}", "{}");
    check("{}", "{}", "{}");
    check(r#"{"tags":null,"properties":null}"#, "{}", "{}");
    check(r#"{"tags":{},"properties":{"desired":{}}}"#, "{}", "{}");
    check(r#"{"tags":[1],"properties":{"desired":"x"}}"#, "{}", "{}");
    check(r#"{"tags":{"a":1},"properties":[]}"#, r#"{"a":1}"#, "{}");
    check(r#"{"additional_properties":{"tags":{"a":1}},"tags":{"b":2}}"#, r#"{"b":2}"#, "{}");
    check(
        r#"{"properties":{"desired":{"$version":4,"$metadata":{},"a":1,"b":null},"reported":{"c":1}}}"#,
        "{}",
        r#"{"a":1}"#,
    );
    check(
        r#"{"tags":{"version":1,"count":2,"metadata":{}}}"#,
        r#"{"version":1,"count":2,"metadata":{}}"#,
        "{}",
    );
}

#[test]
fn an_initial_twin_beyond_the_limits_is_refused_where_it_would_be_written() {
    let too_large = format!(r#"{{"tags":{{"a":["{0}","{0}","{0}"]}}}}"#, "x".repeat(4000));
    let here = lived();
    for initial in [too_large.as_str(), r#"{"properties":{"desired":{"a.b":1}}}"#] {
        let assign = |existing, rule| assign(existing, sas(9), Some(initial), rule);
        for (existing, rule) in
            [(None, TwinRule::Keep), (None, TwinRule::Reset), (Some(&here), TwinRule::Reset)]
        {
            let refused = assign(existing, rule);
            assert!(matches!(refused, Err(HubRefusal::ArgumentInvalid(_))), "{refused:?}");
        }
        assert!(assign(Some(&here), TwinRule::Keep).is_ok());
        assert!(assign(None, TwinRule::Migrate(&here.twin)).is_ok());
    }
}
