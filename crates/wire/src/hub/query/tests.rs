use super::*;

fn path(names: &[&str]) -> Path {
    Path(names.iter().map(|name| (*name).to_owned()).collect())
}

fn equal(names: &[&str], literal: Literal) -> Filter {
    Filter::Compare(path(names), Comparison::Equal, literal)
}

fn string(text: &str) -> Literal {
    Literal::String(text.to_owned())
}

fn number(token: &str) -> Literal {
    Literal::Number(token.to_owned())
}

/// The condition means this filter.
fn check(condition: &str, expected: Filter) {
    let query = parse(&format!("SELECT * FROM devices WHERE {condition}")).expect(condition);
    assert_eq!(query.filter, Some(expected), "{condition}");
}

fn check_refused(text: &str, message: &str) {
    assert_eq!(parse(text).expect_err(text).to_string(), message, "{text}");
}

#[test]
fn whole_twins_are_selected_from_devices_or_modules() {
    let all = |from| Query { select: Select::All, from, filter: None, top: None };
    assert_eq!(parse("SELECT * FROM devices"), Ok(all(Source::Devices)));
    assert_eq!(parse("  select\n*\tfrom DEVICES "), Ok(all(Source::Devices)));
    assert_eq!(parse("SELECT * FROM devices.modules"), Ok(all(Source::Modules)));
    let top = Query { top: Some(5), ..all(Source::Devices) };
    assert_eq!(parse("SELECT TOP 5 * FROM devices"), Ok(top));
}

#[test]
fn projections_have_canonical_names_or_their_alias() {
    let columns = |text: &str| match parse(text).expect(text).select {
        Select::Columns(columns) => columns,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        columns(
            "SELECT DeviceId, LASTACTIVITYTIME, devices.tags.Site AS place, \
             Properties.Reported.Temp, capabilities.iotedge, tags['a b'] FROM devices"
        ),
        [
            Column { path: path(&["deviceId"]), name: "deviceId".to_owned() },
            Column { path: path(&["lastActivityTime"]), name: "lastActivityTime".to_owned() },
            Column { path: path(&["tags", "Site"]), name: "place".to_owned() },
            Column { path: path(&["properties", "reported", "Temp"]), name: "Temp".to_owned() },
            Column { path: path(&["capabilities", "iotEdge"]), name: "iotEdge".to_owned() },
            Column { path: path(&["tags", "a b"]), name: "a b".to_owned() },
        ]
    );
}

#[test]
fn devices_are_counted_under_the_name_given() {
    let count = |text: &str| parse(text).expect(text).select;
    let named = |name: &str| Select::Count { name: name.to_owned() };
    assert_eq!(count("SELECT COUNT() AS n FROM devices"), named("n"));
    assert_eq!(
        count("SELECT count(*) as total FROM devices WHERE status='enabled'"),
        named("total")
    );
    assert_eq!(count("SELECT COUNT() FROM devices"), named("$1"));
}

#[test]
fn every_comparison_is_read_with_the_path_on_either_side() {
    for (text, left, right) in [
        ("=", Comparison::Equal, Comparison::Equal),
        ("!=", Comparison::NotEqual, Comparison::NotEqual),
        ("<>", Comparison::NotEqual, Comparison::NotEqual),
        ("<", Comparison::Less, Comparison::Greater),
        ("<=", Comparison::LessOrEqual, Comparison::GreaterOrEqual),
        (">", Comparison::Greater, Comparison::Less),
        (">=", Comparison::GreaterOrEqual, Comparison::LessOrEqual),
    ] {
        let filter = |comparison| Filter::Compare(path(&["tags", "n"]), comparison, number("5"));
        check(&format!("tags.n{text}5"), filter(left));
        check(&format!("5 {text} tags.n"), filter(right));
    }
}

#[test]
fn literals_are_strings_numbers_booleans_and_null() {
    check("status = 'enabled'", equal(&["status"], string("enabled")));
    check("STATUS = \"enabled\"", equal(&["status"], string("enabled")));
    check(r"tags.a = 'it''s \'so\' \\ \n'", equal(&["tags", "a"], string(r"it's 'so' \ \n")));
    check("tags.a = -1.5e+3", equal(&["tags", "a"], number("-1.5e+3")));
    check("capabilities.iotEdge = TRUE", equal(&["capabilities", "iotEdge"], Literal::Bool(true)));
    check("tags.a = null", equal(&["tags", "a"], Literal::Null));
    check("tags.größe = 1", equal(&["tags", "größe"], number("1")));
}

#[test]
fn and_binds_stronger_than_or_and_not_strongest() {
    let tag = |name: &str| equal(&["tags", name], number("1"));
    let and = |a, b| Filter::And(Box::new(a), Box::new(b));
    let or = |a, b| Filter::Or(Box::new(a), Box::new(b));
    check(
        "tags.a=1 OR tags.b=1 AND NOT tags.c=1",
        or(tag("a"), and(tag("b"), Filter::Not(Box::new(tag("c"))))),
    );
    check("(tags.a=1 or tags.b=1) and tags.c=1", and(or(tag("a"), tag("b")), tag("c")));
}

#[test]
fn lists_and_is_defined_are_read() {
    let among = |negated, literals| Filter::Among { path: path(&["deviceId"]), literals, negated };
    check("deviceId IN ['a', 'b']", among(false, vec![string("a"), string("b")]));
    check("DEVICEID nin [1]", among(true, vec![number("1")]));
    check("deviceId IN []", among(false, vec![]));
    check(
        "is_defined(properties.reported.x)",
        Filter::IsDefined(path(&["properties", "reported", "x"])),
    );
}

#[test]
fn what_is_not_understood_says_where_and_what() {
    check_refused("", "column 1: expected SELECT");
    check_refused("SELECT", "column 7: expected a name");
    check_refused("SELECT * FROM enrollments", "column 15: expected devices or devices.modules");
    check_refused("SELECT * FROM devices.jobs", "column 23: expected devices or devices.modules");
    check_refused("SELECT * FROM devices x", "column 23: expected the end of the query");
    check_refused("SELECT * FROM devices WHERE", "column 28: expected a name");
    check_refused("SELECT * FROM devices GROUP BY status", "column 23: GROUP is not supported");
    check_refused("SELECT TOP x * FROM devices", "column 12: expected a whole number after TOP");
    check_refused("SELECT AVG(tags.x) FROM devices", "column 8: this function is not supported");
    check_refused(
        "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'a')",
        "column 29: this function is not supported",
    );
    check_refused(
        "SELECT * FROM devices WHERE status",
        "column 35: expected a comparison such as `=`, or IN",
    );
    check_refused(
        "SELECT * FROM devices WHERE tags.a = tags.b",
        "column 38: expected a string, a number, true, false or null",
    );
    check_refused("SELECT * FROM devices WHERE (status='x'", "column 40: expected `)`");
    check_refused("SELECT * FROM devices WHERE status='x", "column 36: the string has no end");
    check_refused("SELECT * FROM devices WHERE tags.a = 1.", "column 38: expected a number");
    check_refused("SELECT * FROM devices WHERE tags.a = 1x", "column 38: expected a number");
    check_refused("SELECT * FROM devices; DROP", "column 22: ';' means nothing here");
    check_refused("SELECT * FROM devices WHERE deviceId IN 'a'", "column 41: expected `[`");
    check_refused("SELECT * FROM devices WHERE deviceId IN ['a'", "column 45: expected `,` or `]`");
}

#[test]
fn length_and_nesting_are_bounded() {
    let long = " ".repeat(MAX_QUERY_CHARS + 1);
    assert_eq!(parse(&long), Err(BadQuery::TooLong(MAX_QUERY_CHARS + 1)));
    let nested = |n: usize| {
        format!("SELECT * FROM devices WHERE {}tags.a=1{}", "(".repeat(n), ")".repeat(n))
    };
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    let message = parse(&nested(3000)).expect_err("too deep").to_string();
    assert_eq!(message, "column 62: conditions nest deeper than 32 levels");
    assert!(
        parse(&format!("SELECT * FROM devices WHERE {}tags.a=1", "NOT ".repeat(1500))).is_err()
    );
}

#[test]
fn a_request_is_refused_as_a_bad_argument_with_the_column() {
    assert!(parse_request(br#"{"query":"SELECT * FROM devices"}"#).is_ok());
    assert_eq!(
        parse_request(br#"{"query":"SELECT"}"#),
        Err(HubRefusal::ArgumentInvalid("BadRequest: column 7: expected a name".to_owned()))
    );
    assert_eq!(
        parse_request(b"{}"),
        Err(HubRefusal::ArgumentInvalid("query: is required".to_owned()))
    );
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(text: String) {
        let _ = parse(&text);
    }

    #[test]
    fn parsing_a_heap_of_its_own_words_never_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "SELECT", "*", "FROM", "devices", "WHERE", "(", ")", "[", "]", "=", "<", "'a'",
                "1", "-", ".", ",", "AND", "OR", "NOT", "IN", "IS_DEFINED", "COUNT", "TOP", "AS",
                "tags", "null", "\"", "\\",
            ]),
            0..40,
        ),
    ) {
        let _ = parse(&words.join(" "));
        let _ = parse(&format!("SELECT * FROM devices WHERE {}", words.concat()));
    }
}
