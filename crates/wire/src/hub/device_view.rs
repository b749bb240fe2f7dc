//! A twin as its own device sees it, over any protocol (H §3.5).

use json::Limits;
use model::{HubRefusal, Json, Twin, TwinSection};

use crate::read::type_name;

/// The longest report that is read, in bytes. The properties themselves have a tighter limit
/// (H §3.4), which is a decision; this one keeps a parser from working for nothing.
pub const MAX_REPORT_BYTES: usize = 256 * 1024;

const VERSION: &str = "$version";
const METADATA: &str = "$metadata";

/// The twin as its device gets it: both sections with their `$version`, without tags and without
/// metadata. A client that finds no `$version` breaks, so it is always there.
#[must_use]
pub fn device_twin(twin: &Twin) -> String {
    let desired = section_text(&twin.desired);
    let reported = section_text(&twin.reported);
    format!(r#"{{"desired":{desired},"reported":{reported}}}"#)
}

/// What a device is told when its desired properties were written: the patch as it was sent, nulls
/// included, and the `$version` after it. Whatever the operator sent as `$version` or `$metadata`
/// is left out: services send whole twins back.
#[must_use]
pub fn desired_notification(patch: &Json, version: u64) -> String {
    with_version(patch, version)
}

/// Parses what a device reports: an object, within [`MAX_REPORT_BYTES`].
///
/// # Errors
/// [`HubRefusal::Format`]
pub fn parse_reported(payload: &[u8]) -> Result<Json, HubRefusal> {
    let limits = Limits::DEFAULT.with_max_bytes(MAX_REPORT_BYTES);
    match limits.parse(payload) {
        Ok(patch @ Json::Object(_)) => Ok(patch),
        Ok(other) => {
            let found = type_name(&other);
            Err(HubRefusal::Format(format!("reported properties are an object, not {found}")))
        }
        Err(bad) => Err(HubRefusal::Format(bad.to_string())),
    }
}

fn section_text(section: &TwinSection) -> String {
    with_version(&section.content, section.version_number)
}

/// An object's text with `$version` as its last member. What is no object counts as an empty one.
fn with_version(object: &Json, version: u64) -> String {
    let mut text = String::from("{");
    for (name, value) in object.as_object().unwrap_or_default() {
        if name != VERSION && name != METADATA {
            // A string prints with its quotes and escapes.
            let name = Json::from(name.as_str());
            text.push_str(&format!("{name}:{value},"));
        }
    }
    text.push_str(&format!(r#""{VERSION}":{version}}}"#));
    text
}

#[cfg(test)]
mod tests {
    use model::Metadata;

    use super::*;

    fn section(content: &str, version_number: u64) -> TwinSection {
        let metadata =
            Metadata { last_updated: None, last_updated_version: None, members: Vec::new() };
        TwinSection { content: json::parse(content).expect("JSON"), metadata, version_number }
    }

    #[test]
    fn a_device_sees_both_sections_with_their_versions_and_nothing_else() {
        let twin = Twin {
            tags: json::parse(r#"{"line":7}"#).expect("JSON"),
            desired: section(r#"{"b":{"x":1.50},"a":[null]}"#, 4),
            reported: section("{}", 1),
            etag_counter: 9,
            version_number: 12,
            version: 0,
        };
        assert_eq!(
            device_twin(&twin),
            r#"{"desired":{"b":{"x":1.50},"a":[null],"$version":4},"reported":{"$version":1}}"#
        );
    }

    #[test]
    fn a_notification_is_the_patch_with_its_nulls_and_one_version() {
        let check = |patch: &str, expected: &str| {
            let patch = json::parse(patch).expect("JSON");
            assert_eq!(desired_notification(&patch, 7), expected);
        };
        check(r#"{"a":null,"b":{"c":null}}"#, r#"{"a":null,"b":{"c":null},"$version":7}"#);
        check(r#"{"$version":3,"$metadata":{},"a":1e3}"#, r#"{"a":1e3,"$version":7}"#);
        check(r#"{"a\"\n":1}"#, r#"{"a\"\n":1,"$version":7}"#);
        check("{}", r#"{"$version":7}"#);
        check("null", r#"{"$version":7}"#);
    }

    #[test]
    fn a_report_is_an_object_within_its_bounds() {
        let check = |payload: &[u8], is_legal: bool| {
            let parsed = parse_reported(payload);
            assert_eq!(parsed.is_ok(), is_legal, "{:?}", payload.get(..40));
            assert!(parsed.is_ok() || matches!(parsed, Err(HubRefusal::Format(_))));
        };
        check(br#"{"a":1}"#, true);
        check(b"{}", true);
        for bad in ["", " ", "null", "[]", "1", "{", "{\"a\":1} x"] {
            check(bad.as_bytes(), false);
        }
        check(b"{\"a\":\"\xff\"}", false);
        check(format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_REPORT_BYTES)).as_bytes(), false);
        check(format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100)).as_bytes(), false);
    }

    proptest::proptest! {
        #[test]
        fn no_report_makes_the_parser_panic(payload: Vec<u8>) {
            let _ = parse_reported(&payload);
        }
    }
}
