//! The headers whose values mean something to us: `If-Match` and `x-ms-max-item-count`.

use model::Precondition;

use crate::RequestFault;

/// Page size of a query that asks for none (O §1.9).
pub const DEFAULT_PAGE_SIZE: usize = 100;

/// The largest page; whoever asks for more gets this many (O §9 row 8).
pub const MAX_PAGE_SIZE: usize = 1000;

/// The longest `If-Match` we look at, in bytes.
const MAX_ETAG_BYTES: usize = 1024;

/// What `If-Match` demands (H §2.6, O §1.3). `*` and `"*"` mean any version; an absent header,
/// an empty one and `""` demand nothing; else one pair of quotes is taken off.
///
/// # Errors
/// [`RequestFault::BadHeader`] for a value no etag can have: too long.
pub fn precondition(if_match: Option<&str>) -> Result<Precondition, RequestFault> {
    let text = if_match.unwrap_or_default().trim();
    if text.len() > MAX_ETAG_BYTES {
        return Err(RequestFault::BadHeader { name: "If-Match" });
    }
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Ok(match quoted.unwrap_or(text) {
        "" => Precondition::None,
        "*" => Precondition::Any,
        tag => Precondition::Tag(tag.to_owned()),
    })
}

/// The page size a query asks for with `x-ms-max-item-count`: the default when it asks for none
/// or for less than one, and never more than [`MAX_PAGE_SIZE`].
///
/// # Errors
/// [`RequestFault::BadHeader`] for a value that is not a whole number.
pub fn page_size(max_item_count: Option<&str>) -> Result<usize, RequestFault> {
    let Some(text) = max_item_count.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_PAGE_SIZE);
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RequestFault::BadHeader { name: "x-ms-max-item-count" });
    }
    if text.starts_with('-') || digits.bytes().all(|b| b == b'0') {
        return Ok(DEFAULT_PAGE_SIZE);
    }
    // A number too large for `usize` is larger than the largest page as well.
    Ok(digits.parse().unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_understood_in_every_spelling_the_sdks_send() {
        let check = |header: Option<&str>, expected: Precondition| {
            assert_eq!(precondition(header), Ok(expected), "{header:?}");
        };
        check(None, Precondition::None);
        check(Some(""), Precondition::None);
        check(Some("\"\""), Precondition::None);
        check(Some("*"), Precondition::Any);
        check(Some(" \"*\" "), Precondition::Any);
        check(Some("IjBhMDBi="), Precondition::Tag("IjBhMDBi=".to_owned()));
        check(Some("\"IjBhMDBi=\""), Precondition::Tag("IjBhMDBi=".to_owned()));
        check(Some("\""), Precondition::Tag("\"".to_owned()));
        assert!(precondition(Some(&"x".repeat(2000))).is_err());
    }

    #[test]
    fn a_page_size_is_clamped_and_nonsense_refused() {
        let check = |header: Option<&str>, expected: Option<usize>| {
            assert_eq!(page_size(header).ok(), expected, "{header:?}");
        };
        check(None, Some(100));
        check(Some("50"), Some(50));
        check(Some("0"), Some(100));
        check(Some("-1"), Some(100));
        check(Some("1001"), Some(1000));
        check(Some("99999999999999999999999"), Some(1000));
        check(Some("ten"), None);
        check(Some("1.5"), None);
        check(Some("-"), None);
    }
}
