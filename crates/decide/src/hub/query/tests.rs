use model::{AuthenticationKind, DeviceStatus, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::hub::scene::{CREATED, LATER, dev1_with, json};
use crate::hub::twin;

/// A device with something at every kind of path.
fn device() -> Device {
    let mut device = dev1_with(
        r#"{"building":"43","floor":2,"open":true,"room":{"n":"a"},"list":[1],"eq":"=","Case":1}"#,
        r#"{"interval":60,"rate":1.50,"big":4503599627370495}"#,
    );
    device.twin =
        twin::patch_reported(&device.twin, &json(r#"{"fw":"1.2"}"#), LATER).expect("twin");
    device.identity.last_activity = Some(CREATED);
    device.identity.authentication.primary_thumbprint = Some("ab".repeat(20));
    device
}

fn path(text: &str) -> Path {
    Path(text.split('.').map(str::to_owned).collect())
}

/// A literal as a query spells it.
fn literal(text: &str) -> Literal {
    match (text, text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''))) {
        (_, Some(inside)) => Literal::String(inside.to_owned()),
        ("true" | "false", None) => Literal::Bool(text == "true"),
        ("null", None) => Literal::Null,
        (number, None) => Literal::Number(number.to_owned()),
    }
}

/// One condition in words: `path op literal`, `path IN a,b`, `path NIN a,b`, `path IS_DEFINED`.
fn filter(text: &str) -> Filter {
    let mut words = text.splitn(3, ' ');
    let path = path(words.next().expect("a path"));
    let operator = words.next().expect("an operator");
    let operand = words.next().unwrap_or_default();
    let literals = || operand.split(',').map(literal).collect();
    let comparison = match operator {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        "IN" => {
            return Filter::Among { path, literals: literals(), negated: false };
        }
        "NIN" => {
            return Filter::Among { path, literals: literals(), negated: true };
        }
        "IS_DEFINED" => return Filter::IsDefined(path),
        other => panic!("no operator: {other}"),
    };
    Filter::Compare(path, comparison, literal(operand))
}

fn check(matching: &[&str], others: &[&str]) {
    let device = device();
    for text in matching {
        assert!(matches(&filter(text), &device), "{text}");
    }
    for text in others {
        assert!(!matches(&filter(text), &device), "{text}");
    }
}

#[test]
fn every_path_of_the_subset_finds_its_value() {
    check(
        &[
            "deviceId = 'dev1'",
            "status = 'enabled'",
            "connectionState = 'Disconnected'",
            "authenticationType = 'sas'",
            "etag = 'AAAAAAAAAAE='",
            "deviceEtag = 'NzI3ODk0ODYz'",
            "version = 3",
            "cloudToDeviceMessageCount = 0",
            "capabilities.iotEdge = false",
            "Capabilities.IotEdge = false",
            "x509Thumbprint.primaryThumbprint = 'abababababababababababababababababababab'",
            "x509Thumbprint.secondaryThumbprint = null",
            "tags.building = '43'",
            "tags.floor = 2",
            "tags.open = true",
            "tags.room.n = 'a'",
            "properties.desired.interval = 60",
            "properties.desired.$version = 1",
            "properties.desired.$metadata.interval.$lastUpdatedVersion = 1",
            "properties.reported.fw = '1.2'",
            "properties.reported.$version = 2",
            "lastActivityTime = '2021-07-07T20:45:24.0648717Z'",
            "statusUpdateTime = '0001-01-01T00:00:00Z'",
        ],
        &[
            "deviceId = 'DEV1'",
            "deviceId.x = 'dev1'",
            "tags.case = 1",
            "tags.room.N = 'a'",
            "statusReason = null",
            "deviceScope IS_DEFINED",
            "parentScopes IS_DEFINED",
            "properties.reported.$metadata.fw.$lastUpdatedVersion IS_DEFINED",
            "nonsense IS_DEFINED",
            "properties.nonsense IS_DEFINED",
            "tags.building.x IS_DEFINED",
        ],
    );
}

#[test]
fn identity_fields_mirror_the_identity() {
    let mut device = device();
    let identity = &mut device.identity;
    identity.status = DeviceStatus::Disabled;
    identity.status_reason = Some("lost".to_owned());
    identity.status_updated = Some(LATER);
    identity.connected = true;
    identity.iot_edge = true;
    identity.authentication.kind = AuthenticationKind::CertificateAuthority;
    identity.device_scope = Some("scope".to_owned());
    identity.parent_scopes = vec!["parent".to_owned()];
    identity.cloud_to_device_messages = 3;
    for text in [
        "status = 'disabled'",
        "statusReason = 'lost'",
        "statusUpdateTime = '2021-07-07T21:45:24.0648717Z'",
        "connectionState = 'Connected'",
        "capabilities.iotEdge = true",
        "authenticationType = 'certificateAuthority'",
        "deviceScope = 'scope'",
        "parentScopes IS_DEFINED",
        "cloudToDeviceMessageCount = 3",
    ] {
        assert!(matches(&filter(text), &device), "{text}");
    }
}

#[test]
fn a_missing_path_compares_with_nothing() {
    let literals = ["1", "'a'", "true", "null"];
    for path in
        ["tags.nothing", "tags.room.nothing", "tags.room", "tags.list", "properties.desired"]
    {
        for operator in ["=", "!=", "<", "<=", ">", ">=", "IN", "NIN"] {
            for literal in literals {
                let condition = filter(&format!("{path} {operator} {literal}"));
                assert!(!matches(&condition, &device()), "{condition:?}");
                let negated = Filter::Not(Box::new(condition));
                assert!(!matches(&negated, &device()), "{negated:?}");
            }
        }
    }
    check(&["tags.room IS_DEFINED", "tags.list IS_DEFINED", "tags IS_DEFINED"], &[]);
    check(&[], &["tags.nothing IS_DEFINED", "tags.room.nothing IS_DEFINED"]);

    let bare = dev1_with("{}", "{}");
    assert!(!matches(&filter("tags IS_DEFINED"), &bare));
    assert!(matches(&filter("properties.desired IS_DEFINED"), &bare));
}

#[test]
fn values_compare_by_their_type() {
    check(
        &[
            "tags.floor < 3",
            "tags.floor <= 2.0",
            "tags.floor = 2.0",
            "tags.floor > -1",
            "properties.desired.rate = 1.5",
            "properties.desired.rate >= 15e-1",
            "properties.desired.big = 4503599627370495",
            "properties.desired.big < 4503599627370496",
            "tags.building < '5'",
            "tags.building > '42'",
            "tags.building != '44'",
            "tags.floor != '2'",
            "tags.open != 1",
            "tags.building != null",
            "tags.building IN '42','43'",
            "tags.floor IN '2',2",
            "tags.building NIN '42'",
            "tags.building NIN 43",
        ],
        &[
            "tags.floor < 2",
            "tags.floor = '2'",
            "tags.floor < '3'",
            "tags.building = 43",
            "tags.building > 42",
            "tags.open > false",
            "tags.open = 'true'",
            "tags.building = null",
            "tags.building < null",
            "properties.desired.big = 4503599627370494",
            "properties.desired.big > 4503599627370495",
            "tags.building IN '42','44'",
            "tags.building NIN '42','43'",
        ],
    );
}

#[test]
fn moments_compare_by_time_in_any_spelling() {
    check(
        &[
            "lastActivityTime > '2021-07-07T20:45:24Z'",
            "lastActivityTime < '2021-07-07T20:45:24.1Z'",
            "lastActivityTime = '2021-07-07T22:45:24.0648717+02:00'",
            "lastActivityTime >= '2021-07-07'",
            "lastActivityTime > '0001-01-01T00:00:00'",
            "lastActivityTime != '2021-07-07T20:45:24Z'",
            "lastActivityTime < 'never'",
            "statusUpdateTime < '2000-01-01T00:00:00Z'",
            "properties.reported.$metadata.fw.$lastUpdated >= '2021-07-07T21:45:24Z'",
        ],
        &[
            "lastActivityTime < '2021-07-07T20:45:24Z'",
            "lastActivityTime > 5",
            "lastActivityTime = null",
        ],
    );
}

#[test]
fn conditions_combine_in_three_values() {
    let device = device();
    let (yes, no, unknown) = ("tags.floor = 2", "tags.floor = 3", "tags.nothing = 1");
    let check = |left: &str, right: &str, and: bool, or: bool| {
        let boxed = |text| Box::new(filter(text));
        let holds = |filter| matches(&filter, &device);
        for (l, r) in [(left, right), (right, left)] {
            assert_eq!(holds(Filter::And(boxed(l), boxed(r))), and, "{l} AND {r}");
            assert_eq!(holds(Filter::Or(boxed(l), boxed(r))), or, "{l} OR {r}");
        }
    };
    check(yes, yes, true, true);
    check(yes, no, false, true);
    check(no, no, false, false);
    check(yes, unknown, false, true);
    check(no, unknown, false, false);
    check(unknown, unknown, false, false);

    let not = |filter| Filter::Not(Box::new(filter));
    assert!(matches(&not(filter(no)), &device));
    assert!(!matches(&not(filter(yes)), &device));
    // False whatever the unknown is, so its negation holds.
    let and = Filter::And(Box::new(filter(no)), Box::new(filter(unknown)));
    assert!(matches(&not(and), &device));
}

#[test]
fn a_projection_names_what_it_finds_and_leaves_out_the_rest() {
    let check = |columns: &[(&str, &str)], expected: &str| {
        let columns: Vec<Column> = columns
            .iter()
            .map(|(text, name)| Column { path: path(text), name: (*name).to_owned() })
            .collect();
        assert_eq!(project(&columns, &device()).to_string(), expected);
    };
    check(
        &[("deviceId", "deviceId"), ("lastActivityTime", "lastActivityTime")],
        r#"{"deviceId":"dev1","lastActivityTime":"2021-07-07T20:45:24.0648717Z"}"#,
    );
    check(
        &[("tags.room", "room"), ("tags.nothing", "nothing"), ("properties.desired.rate", "r")],
        r#"{"room":{"n":"a"},"r":1.50}"#,
    );
    check(&[("statusUpdateTime", "t")], r#"{"t":"0001-01-01T00:00:00Z"}"#);
    check(
        &[("capabilities", "capabilities"), ("version", "version")],
        r#"{"capabilities":{"iotEdge":false},"version":3}"#,
    );
    check(&[("tags.floor", "x"), ("tags.open", "x")], r#"{"x":true}"#);
    check(
        &[("properties.reported", "reported")],
        concat!(
            r#"{"reported":{"fw":"1.2","$metadata":{"$lastUpdated":"2021-07-07T21:45:24.0648717Z","#,
            r#""fw":{"$lastUpdated":"2021-07-07T21:45:24.0648717Z"}},"$version":2}}"#
        ),
    );
    check(&[], "{}");
}

proptest! {
    #[test]
    fn a_moment_reads_back_as_it_was_written(ticks in -621_355_968_000_000_000..2_534_023_008_000_000_000_i64) {
        let moment = Timestamp::from_ticks(ticks);
        let text = field::moment_text(moment);
        prop_assert_eq!(field::parse_moment(&text), Some(moment));
        prop_assert!(text.ends_with('Z'));
    }

    #[test]
    fn every_moment_is_either_before_a_text_or_not(ticks in any::<i64>(), text in ".{0,40}") {
        let mut device = device();
        device.identity.last_activity = Some(Timestamp::from_ticks(ticks));
        let path = path("lastActivityTime");
        let is = |comparison| {
            let literal = Literal::String(text.clone());
            matches(&Filter::Compare(path.clone(), comparison, literal), &device)
        };
        prop_assert!(is(Comparison::Less) != is(Comparison::GreaterOrEqual));
        prop_assert!(is(Comparison::Greater) != is(Comparison::LessOrEqual));
        let row = project(&[Column { path: path.clone(), name: "t".to_owned() }], &device);
        prop_assert!(row.get("t").and_then(Json::as_str).is_some());
    }

    #[test]
    fn integers_compare_exactly(left in any::<i64>(), right in any::<i64>()) {
        let order = order_of_numbers(&left.to_string(), &right.to_string());
        prop_assert_eq!(order, Some(left.cmp(&right)));
    }
}
