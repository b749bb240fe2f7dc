//! What the JSON text parser accepts, keeps and refuses.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use induct_json::{BadJson, Limits, Position, from_value, parse, parse_bytes, to_value};
use model::Json;
use proptest::prelude::*;

/// The text parses and prints as `printed`.
fn check(text: &str, printed: &str) {
    assert_eq!(parse(text).expect(text).to_string(), printed);
}

/// The text is refused with this message.
fn check_refused(text: &str, message: &str) {
    assert_eq!(parse(text).expect_err(text).to_string(), message, "{text}");
}

#[test]
fn numbers_keep_the_token_they_were_written_as() {
    for token in
        ["0", "-0", "1", "1.0", "1E5", "1e+5", "-2.50e-03", "123456789012345678901234567890"]
    {
        check(token, token);
    }
}

#[test]
fn members_keep_their_order_and_their_odd_names() {
    check(r#" { "b" : 1 , "a" : [ ] , "" : { } } "#, r#"{"b":1,"a":[],"":{}}"#);
    check(
        r#"{"$serde_json::private::Number":"1","$serde_json::private::RawValue":"x"}"#,
        r#"{"$serde_json::private::Number":"1","$serde_json::private::RawValue":"x"}"#,
    );
}

#[test]
fn of_repeated_members_the_last_counts_in_the_place_of_the_first() {
    check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
    let many = (0..40).map(|n| format!("\"m{n}\":{n}")).collect::<Vec<_>>().join(",");
    let parsed = parse(&format!("{{{many},\"m0\":\"zero\",\"m39\":\"last\"}}")).expect("legal");
    let members = parsed.as_object().expect("object");
    assert_eq!(members.len(), 40);
    assert_eq!(members[0].1, Json::from("zero"));
    assert_eq!(members[39].1, Json::from("last"));
}

#[test]
fn strings_come_out_unescaped_and_exact() {
    assert_eq!(
        parse(r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00é😀""#),
        Ok(Json::from("\"\\/\u{8}\u{c}\n\r\té😀é😀"))
    );
    check("\"\\u0000\\u001f\"", "\"\\u0000\\u001f\"");
}

#[test]
fn half_a_surrogate_pair_is_refused_where_it_stands() {
    let message = r"line 1, column 3: the escape \ud800 is half of a surrogate pair and stands for no character";
    check_refused(r#"["\ud800"]"#, message);
    check_refused(r#"["\ud800x"]"#, message);
    check_refused(r#"["\ud800\u0041"]"#, message);
    check_refused(
        r#""\udfff""#,
        r"line 1, column 2: the escape \udfff is half of a surrogate pair and stands for no character",
    );
}

#[test]
fn a_syntax_error_names_place_and_expectation() {
    check_refused("", "line 1, column 1: expected a value");
    check_refused("{\n  \"é\" 1}", "line 2, column 7: expected `:` after the member name");
    check_refused("{a:1}", "line 1, column 2: expected a member name in double quotes");
    check_refused("{\"a\":1,}", "line 1, column 8: expected a member name in double quotes");
    check_refused("[1 2]", "line 1, column 4: expected `,` or `]`");
    check_refused("[1,]", "line 1, column 4: expected a value");
    check_refused("01", "line 1, column 2: expected the end of the text");
    check_refused("-", "line 1, column 2: expected a digit");
    check_refused("1.", "line 1, column 3: expected a digit after the decimal point");
    check_refused("1e", "line 1, column 3: expected a digit in the exponent");
    check_refused("+1", "line 1, column 1: expected a value");
    check_refused("NaN", "line 1, column 1: expected a value");
    check_refused("nul", "line 1, column 1: expected a value");
    check_refused("\"a", "line 1, column 3: expected `\"` at the end of the string");
    check_refused(
        "\"a\nb\"",
        "line 1, column 3: expected an escape such as \\n for a control character",
    );
    check_refused(r#""\x""#, "line 1, column 3: expected one of \"\\/bfnrtu after the backslash");
    check_refused(r#""\u12g4""#, "line 1, column 6: expected four hex digits after \\u");
    check_refused("{} {}", "line 1, column 4: expected the end of the text");
}

#[test]
fn a_text_that_is_not_utf8_is_refused_and_a_byte_order_mark_passed_over() {
    assert_eq!(parse_bytes(b"\"a\xff\""), Err(BadJson::NotUtf8 { offset: 2 }));
    assert_eq!(parse_bytes(b"\xef\xbb\xbf{}"), Ok(Json::empty_object()));
}

#[test]
fn a_depth_bomb_is_refused_at_its_first_level_too_many() {
    assert!(parse(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
    let at = Position { line: 1, column: 65 };
    assert_eq!(parse(&"[".repeat(500_000)), Err(BadJson::TooDeep { at, limit: 64 }));
    let at = Position { line: 1, column: 64 * 5 + 1 };
    assert_eq!(parse(&"{\"a\":".repeat(100_000)), Err(BadJson::TooDeep { at, limit: 64 }));
}

#[test]
fn length_and_number_of_values_are_bounded() {
    let limits = Limits { max_bytes: 8, max_depth: 1, max_values: 3 };
    assert_eq!(limits.parse(b"[1,2,3]"), Err(BadJson::TooManyValues { limit: 3 }));
    assert_eq!(limits.parse(b"[1,2]    "), Err(BadJson::TooLarge { limit: 8 }));
    assert!(limits.parse(b"[1,2]   ").is_ok());
    assert!(limits.parse(b"[[]]").is_err());
}

fn any_json() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
        Just("1.0".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number.prop_map(|token| Json::Number(token.into())),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..24)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same_value(json in any_json()) {
        prop_assert_eq!(parse(&json.to_string()), Ok(json));
    }

    #[test]
    fn serde_json_reads_what_we_print_and_we_read_what_it_prints(json in any_json()) {
        let theirs: serde_json::Value = serde_json::from_str(&json.to_string()).expect("valid");
        prop_assert_eq!(&theirs, &to_value(&json));
        prop_assert_eq!(parse(&theirs.to_string()), Ok(from_value(&theirs)));
    }

    #[test]
    fn any_bytes_are_accepted_exactly_when_serde_json_accepts_them(
        bytes in prop::collection::vec(prop::sample::select(br#"{}[]",:\u0d8eE+-.1tfn rule"#.as_slice()), 0..12),
    ) {
        let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes);
        prop_assert_eq!(parse_bytes(&bytes).is_ok(), theirs.is_ok(), "{:?}", bytes);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in any::<Vec<u8>>()) {
        let _ = parse_bytes(&bytes);
    }
}
