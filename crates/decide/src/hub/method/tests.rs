use proptest::prelude::*;

use super::*;
use crate::hub::scene::json;

fn reboot() -> MethodDraft {
    MethodDraft { name: "reboot".to_owned(), ..MethodDraft::default() }
}

fn named(name: &str) -> MethodDraft {
    MethodDraft { name: name.to_owned(), ..reboot() }
}

fn timed(response: impl Into<Option<u64>>, connect: impl Into<Option<u64>>) -> MethodDraft {
    MethodDraft {
        response_timeout_secs: response.into(),
        connect_timeout_secs: connect.into(),
        ..reboot()
    }
}

fn check_timeouts(draft: MethodDraft, expected: Result<(u64, u64), &str>) {
    let described = format!("{draft:?}");
    match (check(draft), expected) {
        (Ok(call), Ok(expected)) => {
            let timeouts = (call.response_timeout_secs, call.connect_timeout_secs);
            assert_eq!(timeouts, expected, "{described}");
        }
        (Err(HubRefusal::ArgumentInvalid(text)), Err(start)) => {
            assert!(text.starts_with(start), "{described}: {text}");
        }
        (got, expected) => panic!("{described}: {got:?}, not {expected:?}"),
    }
}

#[test]
fn timeouts_have_defaults_and_bounds() {
    check_timeouts(timed(None, None), Ok((30, 0)));
    check_timeouts(timed(5, 0), Ok((5, 0)));
    check_timeouts(timed(300, 300), Ok((300, 300)));
    check_timeouts(timed(None, 30), Ok((30, 30)));
    for response in [0, 4, 301, u64::MAX] {
        check_timeouts(timed(response, 0), Err("responseTimeoutInSeconds is from"));
    }
    for connect in [301, u64::MAX] {
        check_timeouts(timed(300, connect), Err("connectTimeoutInSeconds is from"));
    }
}

#[test]
fn the_wait_for_a_connection_is_not_longer_than_the_wait_for_the_answer() {
    check_timeouts(timed(10, 10), Ok((10, 10)));
    check_timeouts(timed(10, 11), Err("connectTimeoutInSeconds is not larger"));
    check_timeouts(timed(None, 31), Err("connectTimeoutInSeconds is not larger"));
}

#[test]
fn a_name_has_1_to_100_characters_that_a_topic_can_carry() {
    let longest = "ö".repeat(100);
    for name in ["r", "reboot now!", "$a-b.c_d~e", "größe", longest.as_str()] {
        assert_eq!(check(named(name)).map(|call| call.name), Ok(name.to_owned()));
    }
    let too_long = "r".repeat(101);
    for name in [
        "",
        too_long.as_str(),
        "a/b",
        "/",
        "a#",
        "+",
        "a?b",
        "a%20b",
        "a\nb",
        "\0",
        "a\u{7f}",
        "a\u{85}",
    ] {
        let refused = check(named(name));
        assert!(matches!(refused, Err(HubRefusal::ArgumentInvalid(_))), "{name:?}: {refused:?}");
    }
}

fn check_payload(payload: Option<Json>, text: &str) {
    let call = check(MethodDraft { payload, ..reboot() });
    assert_eq!(call.map(|call| call.payload), Ok(text.to_owned()));
}

#[test]
fn the_payload_travels_as_compact_json_and_is_never_empty() {
    check_payload(None, "null");
    check_payload(Some(Json::Null), "null");
    check_payload(Some(json("\"\"")), "\"\"");
    check_payload(
        Some(json("{ \"at\" : 5, \"list\": [1, true, null] }")),
        "{\"at\":5,\"list\":[1,true,null]}",
    );
}

#[test]
fn a_payload_has_at_most_128_kb_as_it_travels() {
    let text = |n| Some(Json::String("x".repeat(n)));
    check_payload(text(131_070), &format!("\"{}\"", "x".repeat(131_070)));
    // A line feed takes two bytes when it travels.
    let escaped = Some(Json::String("\n".repeat(65_536)));
    for payload in [text(131_071), escaped] {
        let refused = check(MethodDraft { payload, ..reboot() });
        assert!(matches!(refused, Err(HubRefusal::MessageTooLarge(_))), "{refused:?}");
    }
}

proptest! {
    /// Whatever an operator sends, a call that may be made is within all bounds and says what was
    /// sent.
    #[test]
    fn a_call_that_may_be_made_is_within_its_bounds(
        name in "\\PC{0,3}|[/\\x00-\\x7f]{0,4}|[a-z]{99,102}",
        response in proptest::option::of(0_u64..310),
        connect in proptest::option::of(0_u64..310),
    ) {
        let draft = MethodDraft { name: name.clone(), ..timed(response, connect) };
        let good_name = (1..=100).contains(&name.chars().count())
            && !name.chars().any(|c| "/#+?%".contains(c) || c.is_control());
        let (wait, join) = (response.unwrap_or(30), connect.unwrap_or(0));
        let good_times = (5..=300).contains(&wait) && join <= wait;
        match check(draft) {
            Ok(call) => {
                prop_assert!(good_name && good_times);
                prop_assert_eq!(call.name, name);
                prop_assert_eq!((call.response_timeout_secs, call.connect_timeout_secs), (wait, join));
            }
            Err(refusal) => prop_assert!(!(good_name && good_times), "{}", refusal),
        }
    }
}
