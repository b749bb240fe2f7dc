use super::*;
use crate::hub::scene::{CREATED, LATER, dev1, dev1_with, json, sections, stamps};

#[test]
fn a_fresh_twin_looks_as_recorded() {
    let twin = dev1().twin;
    assert_eq!(twin.etag(), "AAAAAAAAAAE=");
    assert_eq!(twin.version_number, 2);
    for section in [&twin.desired, &twin.reported] {
        assert!(section.content.is_empty_object());
        assert_eq!((stamps(&section.metadata).as_str(), section.version_number), ("c", 1));
    }
}

#[test]
fn a_twin_that_starts_with_content_was_never_updated_at_version_1() {
    let twin = dev1_with(r#"{"site":"a"}"#, r#"{"telemetry":{"interval":60}}"#).twin;
    assert_eq!(twin.etag(), "AAAAAAAAAAE=");
    assert_eq!((twin.version_number, twin.desired.version_number), (2, 1));
    assert_eq!(stamps(&twin.desired.metadata), "-1(telemetry:-1(interval:-1))");
    assert_eq!(stamps(&twin.reported.metadata), "c");

    let only_tags = dev1_with(r#"{"site":"a"}"#, "null").twin;
    assert_eq!(stamps(&only_tags.desired.metadata), "c");
}

#[test]
fn one_desired_write_stamps_as_in_the_golden_example() {
    let sent = sections("", r#"{"telemetry":{"interval":60}}"#);
    let twin = patch(&dev1(), &sent, &Precondition::None, LATER).expect("a twin");
    assert_eq!(twin.desired.content, json(r#"{"telemetry":{"interval":60}}"#));
    assert_eq!(stamps(&twin.desired.metadata), "l2(telemetry:l2(interval:l2))");
    assert_eq!(twin.desired.version_number, 2);
    assert_eq!(twin.etag(), "AAAAAAAAAAI=");
    assert_eq!(twin.version_number, 3);
}

#[test]
fn only_touched_nodes_and_their_ancestors_are_stamped_anew() {
    let device = dev1_with("{}", r#"{"a":{"x":1,"y":{"z":2}},"b":3,"c":{"d":4}}"#);
    let check = |patched: &str, expected: &str| {
        let twin = patch(&device, &sections("", patched), &Precondition::None, LATER);
        assert_eq!(stamps(&twin.expect("a twin").desired.metadata), expected, "{patched}");
    };
    check(r#"{"a":{"y":{"z":5}}}"#, "l2(a:l2(x:-1 y:l2(z:l2)) b:-1 c:-1(d:-1))");
    check(r#"{"a":{"y":null}}"#, "l2(a:l2(x:-1) b:-1 c:-1(d:-1))");
    check(r#"{"b":{"n":1}}"#, "l2(a:-1(x:-1 y:-1(z:-1)) b:l2(n:l2) c:-1(d:-1))");
    check(r#"{"c":[1,{"e":2}]}"#, "l2(a:-1(x:-1 y:-1(z:-1)) b:-1 c:l2)");
    check(r#"{"c":{}}"#, "l2(a:-1(x:-1 y:-1(z:-1)) b:-1 c:l2(d:-1))");
    check("{}", "l2(a:-1(x:-1 y:-1(z:-1)) b:-1 c:-1(d:-1))");
    check("null", "l2");
}

fn check_merge(before: &str, patched: &str, after: &str) {
    let device = dev1_with(before, before);
    let twin = patch(&device, &sections(patched, patched), &Precondition::None, LATER);
    let twin = twin.expect("a twin");
    assert_eq!(twin.tags.to_string(), after, "{before} + {patched}");
    assert_eq!(twin.desired.content.to_string(), after, "{before} + {patched}");

    let reported = patch_reported(&dev1().twin, &json(before), CREATED).expect("a twin");
    if patched != "null" {
        let reported = patch_reported(&reported, &json(patched), LATER).expect("a twin");
        assert_eq!(reported.reported.content.to_string(), after, "{before} + {patched}");
    }
}

#[test]
fn a_patch_merges_member_by_member() {
    check_merge(r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#);
    check_merge(r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":3,"z":4}}"#, r#"{"a":{"x":1,"y":3,"z":4}}"#);
    check_merge(r#"{"a":{"x":1},"b":2}"#, r#"{"a":5}"#, r#"{"a":5,"b":2}"#);
    check_merge(r#"{"a":5}"#, r#"{"a":{"x":1}}"#, r#"{"a":{"x":1}}"#);
    check_merge(r#"{"a":[1,2,3]}"#, r#"{"a":[{"b":4}]}"#, r#"{"a":[{"b":4}]}"#);
    check_merge(r#"{"a":1}"#, r#"{"":1,"ключ":2}"#, r#"{"a":1,"":1,"ключ":2}"#);
    check_merge(r#"{"a":1,"A":2}"#, r#"{"A":3}"#, r#"{"a":1,"A":3}"#);
}

#[test]
fn null_deletes_and_an_empty_object_stays() {
    check_merge(r#"{"a":1,"b":2}"#, r#"{"a":null}"#, r#"{"b":2}"#);
    check_merge(r#"{"a":1}"#, r#"{"b":null}"#, r#"{"a":1}"#);
    check_merge(r#"{"a":{"x":1}}"#, r#"{"a":{"x":null}}"#, r#"{"a":{}}"#);
    check_merge("{}", r#"{"a":{"x":null}}"#, r#"{"a":{}}"#);
    check_merge("{}", r#"{"a":{}}"#, r#"{"a":{}}"#);
    check_merge(r#"{"a":1}"#, "null", "{}");
}

#[test]
fn keys_of_the_service_are_ignored_and_numbers_keep_their_digits() {
    check_merge(
        r#"{"a":1}"#,
        r#"{"$version":7,"$metadata":{"a b":{"$lastUpdated":"…"}},"b":{"$x":null,"c":1}}"#,
        r#"{"a":1,"b":{"c":1}}"#,
    );
    check_merge(r#"{"a":1}"#, r#"{"a":1.0,"b":-1.50e+3}"#, r#"{"a":1.0,"b":-1.50e+3}"#);
}

#[test]
fn every_write_moves_the_counters_of_what_it_writes() {
    let device = dev1_with(r#"{"a":1}"#, r#"{"a":1}"#);
    let check = |sent: TwinDraft, expected: (u64, u64, u64)| {
        let twin = patch(&device, &sent, &Precondition::None, LATER).expect("a twin");
        let counters = (twin.etag_counter, twin.version_number, twin.desired.version_number);
        assert_eq!(counters, expected, "{sent:?}");
        assert_eq!(twin.reported, device.twin.reported);
    };
    check(sections(r#"{"a":1}"#, ""), (2, 3, 1));
    check(sections("", r#"{"a":1}"#), (2, 3, 2));
    check(sections("{}", "{}"), (2, 3, 2));
    check(sections("null", "null"), (2, 3, 2));
    check(sections("", ""), (1, 2, 1));

    let reported = patch_reported(&device.twin, &json("{}"), LATER).expect("a twin");
    assert_eq!((reported.etag_counter, reported.version_number), (1, 3));
    assert_eq!((reported.reported.version_number, reported.desired.version_number), (2, 1));
}

#[test]
fn reported_stamps_carry_no_version() {
    let twin = patch_reported(&dev1().twin, &json(r#"{"a":{"b":1}}"#), LATER).expect("a twin");
    assert_eq!(stamps(&twin.reported.metadata), "l(a:l(b:l))");
}

#[test]
fn a_replacement_leaves_nothing_but_what_was_sent() {
    let mut device = dev1_with(r#"{"a":1}"#, r#"{"a":{"x":1},"b":2}"#);
    device.twin = patch_reported(&device.twin, &json(r#"{"r":1}"#), CREATED).expect("a twin");
    let check = |sent: TwinDraft, tags: &str, desired: &str, expected: &str| {
        let twin = replace(&device, &sent, &Precondition::None, LATER).expect("a twin");
        assert_eq!(twin.tags.to_string(), tags);
        assert_eq!(twin.desired.content.to_string(), desired);
        assert_eq!(stamps(&twin.desired.metadata), expected);
        assert_eq!(twin.reported, device.twin.reported);
        let counters = (twin.etag_counter, twin.version_number, twin.desired.version_number);
        assert_eq!(counters, (2, 4, 2));
    };
    check(
        sections(r#"{"n":null,"t":1}"#, r#"{"a":{"y":1,"n":null},"$version":9}"#),
        r#"{"t":1}"#,
        r#"{"a":{"y":1}}"#,
        "l2(a:l2(y:l2))",
    );
    check(sections(r#"{"t":1}"#, ""), r#"{"t":1}"#, "{}", "l2");
    check(sections("null", r#"{"b":2}"#), "{}", r#"{"b":2}"#, "l2(b:l2)");
    check(sections("", ""), "{}", "{}", "l2");
}

#[test]
fn a_twin_is_written_under_its_own_etag_only() {
    let device = dev1();
    let check = |precondition: Precondition, is_fine: bool| {
        let expected = HubRefusal::TwinEtag("dev1".to_owned());
        let sent = sections("{}", "");
        let results = [
            patch(&device, &sent, &precondition, LATER),
            replace(&device, &sent, &precondition, LATER),
            patch(&device, &sections("", ""), &precondition, LATER),
        ];
        for result in results {
            assert_eq!(result.err(), (!is_fine).then(|| expected.clone()), "{precondition:?}");
        }
    };
    check(Precondition::None, true);
    check(Precondition::Any, true);
    check(Precondition::Tag("AAAAAAAAAAE=".to_owned()), true);
    check(Precondition::Tag("AAAAAAAAAAI=".to_owned()), false);
    check(Precondition::Tag("NzI3ODk0ODYz".to_owned()), false);
}

/// `a` inside `a`, so many times, around a value.
fn nested(levels: usize, inner: &str) -> String {
    format!("{}{inner}{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

#[test]
fn sections_beyond_a_limit_are_refused_and_those_at_it_are_not() {
    let check = |section: &str, is_fine: bool| {
        let checked = check_section("tags", &json(section), MAX_PROPERTIES_BYTES);
        let invalid = matches!(checked, Err(HubRefusal::ArgumentInvalid(_)));
        let shown: String = section.chars().take(80).collect();
        assert_eq!((checked.is_ok(), invalid), (is_fine, !is_fine), "{shown}");
        // The same on every way into a twin.
        let whole = fresh(None, Some(&json(section)), CREATED).is_ok();
        let put = replace(&dev1(), &sections("", section), &Precondition::None, LATER).is_ok();
        let patched = patch(&dev1(), &sections("", section), &Precondition::None, LATER).is_ok();
        let reported = patch_reported(&dev1().twin, &json(section), LATER).is_ok();
        assert_eq!([whole, put, patched, reported], [is_fine; 4], "{shown}");
    };
    // A scalar in the tenth object below the section, and an eleventh object.
    check(&nested(11, "1"), true);
    check(&nested(11, "{}"), false);
    check(&nested(11, "[]"), false);
    check(&nested(10, "[1]"), true);
    check(&format!(r#"{{"a":{}1{}}}"#, "[".repeat(100), "]".repeat(100)), false);

    check(r#"{"a":[1,[2],{"b":true}]}"#, true);
    check(r#"{"a":[1,null]}"#, false);
    check(r#"{"a":[{"b":null}]}"#, false);
    check(r#"{"a":[{"$b":1}]}"#, false);
    check(r#"{"$a":[null]}"#, true);

    check(r#"{"a":4503599627370495,"b":-4503599627370496}"#, true);
    check(r#"{"a":4503599627370496}"#, false);
    check(r#"{"a":-4503599627370497}"#, false);
    check(r#"{"a":99999999999999999999999999}"#, false);
    check(r#"{"a":[4503599627370496]}"#, false);
    check(r#"{"a":4503599627370496.0,"b":1e300}"#, true);
    check(r#"{"a":1e400}"#, false);
    check(&format!(r#"{{"a":0.{}}}"#, "1".repeat(62)), true);
    check(&format!(r#"{{"a":0.{}}}"#, "1".repeat(63)), false);

    for key in ["a.b", "a$b", "a#b", "a b", "a\\u0001b", "a\\u0085b"] {
        check(&format!(r#"{{"{key}":1}}"#), false);
        check(&format!(r#"{{"x":{{"{key}":null}}}}"#), false);
        check(&format!(r#"{{"x":[{{"{key}":1}}]}}"#), false);
    }
    check(&format!(r#"{{"{}":1}}"#, "k".repeat(1024)), true);
    check(&format!(r#"{{"{}":1}}"#, "k".repeat(1025)), false);
    check(&format!(r#"{{"a":"{}"}}"#, "é".repeat(2048)), true);
    check(&format!(r#"{{"a":"{}"}}"#, "é".repeat(2049)), false);
}

#[test]
fn weight_counts_keys_and_values_as_the_vendor_does() {
    let check = |section: &str, bytes: usize| {
        let section = json(section);
        assert!(check_section("tags", &section, bytes).is_ok(), "{section}");
        if bytes > 0 {
            assert!(check_section("tags", &section, bytes - 1).is_err(), "{section}");
        }
    };
    check("{}", 0);
    check(r#"{"ab":"cde"}"#, 5);
    check(r#"{"é":"ö"}"#, 4);
    check(r#"{"a":123456789}"#, 9);
    check(r#"{"a":true,"b":false}"#, 10);
    check(r#"{"a":{"b":{"c":1}}}"#, 11);
    check(r#"{"a":"tab\there"}"#, 8);
    check(r#"{"a":null,"$b":"xyz"}"#, 0);
    check(r#"{"a":[1,true,"xy","",[],{}]}"#, 1 + 8 + 4 + 2 + 1 + 1 + 1);
}

#[test]
fn each_section_has_its_own_size_limit() {
    // Two members of 4 KB and their keys, less what fills the rest.
    let of_size = |bytes: usize| {
        let full = bytes / 4096;
        let rest = bytes % 4096;
        let members: Vec<String> = (0..full)
            .map(|i| format!(r#""{i}":"{}""#, "x".repeat(4095)))
            .chain((rest > 0).then(|| format!(r#""z":"{}""#, "x".repeat(rest - 1))))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    let patched = |tags: &str, desired: &str| {
        patch(&dev1(), &sections(tags, desired), &Precondition::None, LATER).is_ok()
    };
    assert!(patched(&of_size(8 * 1024), &of_size(32 * 1024)));
    assert!(!patched(&of_size(8 * 1024 + 1), ""));
    assert!(!patched("", &of_size(32 * 1024 + 1)));
    let reported = |bytes| patch_reported(&dev1().twin, &json(&of_size(bytes)), LATER).is_ok();
    assert!(reported(32 * 1024));
    assert!(!reported(32 * 1024 + 1));

    // Two patches that fit one by one do not fit together.
    let half = dev1_with(&of_size(8 * 1024), "{}");
    let more = patch(&half, &sections(r#"{"y":1}"#, ""), &Precondition::None, LATER);
    assert!(matches!(more, Err(HubRefusal::ArgumentInvalid(text)) if text.starts_with("tags")));
    let swap = patch(&half, &sections(r#"{"y":1,"0":null}"#, ""), &Precondition::None, LATER);
    assert!(swap.is_ok());
}

#[test]
fn a_section_that_is_no_object_is_a_format_error() {
    for text in ["1", r#""text""#, "[]", "true"] {
        let format = |result: Result<Twin, HubRefusal>| {
            assert!(matches!(result, Err(HubRefusal::Format(_))), "{text}: {result:?}");
        };
        format(patch(&dev1(), &sections(text, ""), &Precondition::None, LATER));
        format(patch(&dev1(), &sections("", text), &Precondition::None, LATER));
        format(replace(&dev1(), &sections(text, ""), &Precondition::None, LATER));
        format(fresh(Some(&json(text)), None, CREATED));
        format(patch_reported(&dev1().twin, &json(text), LATER));
    }
    let null = patch_reported(&dev1().twin, &Json::Null, LATER);
    assert!(matches!(null, Err(HubRefusal::Format(_))));
}

#[test]
fn a_device_is_told_of_a_patch_with_its_nulls_and_without_what_a_write_ignores() {
    let device = dev1_with("{}", r#"{"a":1,"b":{"c":2}}"#);
    let check = |desired: &str, told: Option<&str>| {
        let draft = TwinDraft { tags: None, desired: Some(json(desired)) };
        let after = patch(&device, &draft, &Precondition::None, LATER).expect("legal");
        assert_eq!(notification(&device.twin, &draft, &after), told.map(json), "{desired}");
    };
    check(
        r#"{"a":null,"b":{"c":null,"d":3},"$version":7,"e":{"$x":1}}"#,
        Some(r#"{"a":null,"b":{"c":null,"d":3},"e":{}}"#),
    );
    check("null", Some(r#"{"a":null,"b":null}"#));
}
