//! What simulated devices report.

/// The message of this number, as JSON of this many bytes; larger where that is too few to say
/// anything.
pub(super) fn payload(number: u64, size_bytes: usize) -> String {
    // A saw between 20.0 and 29.9, so that a chart of it shows a gap.
    let tenths = number % 100;
    let bare =
        format!("{{\"number\":{number},\"temperature\":{}.{}}}", 20 + tenths / 10, tenths % 10);
    const MEMBER: &str = ",\"filler\":\"\"";
    match size_bytes.checked_sub(bare.len() + MEMBER.len()) {
        None => bare,
        Some(n) => {
            let open = bare.strip_suffix('}').unwrap_or(&bare);
            format!("{open},\"filler\":\"{}\"}}", "x".repeat(n))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_size_that_was_asked_for_if_it_can() {
        let bare = r#"{"number":17,"temperature":21.7}"#;
        let check = |size_bytes, expected| {
            let text = payload(17, size_bytes);
            assert_eq!(text.len(), expected, "{text}");
            assert!(text.starts_with(&bare[..bare.len() - 1]), "{text}");
            let read = json::parse(&text).expect("JSON");
            assert_eq!(read.get("number"), Some(&model::Json::from(17)));
        };
        check(0, bare.len());
        check(bare.len() + 11, bare.len());
        check(bare.len() + 12, bare.len() + 12);
        check(1000, 1000);
        assert_eq!(payload(17, 0), bare);
    }
}
