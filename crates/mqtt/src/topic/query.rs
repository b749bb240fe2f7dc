//! `k=v` pairs joined by `&`, as user names and topics end in them.

use std::borrow::Cow;

use wire::percent;

use super::MAX_RID_BYTES;

/// The value of a key as it was written; the first one's, should the key stand there twice. A key
/// without `=` has an empty value. The key may have percent escapes: some clients escape its
/// dollar (H §4.2.6).
pub(super) fn raw<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|member| {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        (decoded(name) == key).then_some(value)
    })
}

/// The text with its percent escapes decoded, or as it is if one of them is illegal.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    percent::decode(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A request's name as it was written: never empty, of at most [`MAX_RID_BYTES`].
pub(super) fn rid(query: &str) -> Option<&str> {
    raw(query, "$rid").filter(|rid| (1..=MAX_RID_BYTES).contains(&rid.len()))
}

/// The rest of a text after a prefix of ASCII, in any letter case.
pub(super) fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
