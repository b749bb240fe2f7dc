//! What a twin's section may hold (H §3.4).

use model::{HubRefusal, Json};

/// The most tags may weigh, in bytes as [`check_section`] counts them.
pub const MAX_TAGS_BYTES: usize = 8 * 1024;

/// The most desired and the most reported properties may weigh, each, in bytes as
/// [`check_section`] counts them.
pub const MAX_PROPERTIES_BYTES: usize = 32 * 1024;

/// The longest string value, in UTF-8 bytes.
pub const MAX_STRING_BYTES: usize = 4 * 1024;

/// The longest key, in UTF-8 bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// How many objects or arrays may lie inside each other below the section itself. A value that is
/// neither may sit in the innermost.
pub const MAX_DEPTH: usize = 10;

/// The smallest integer.
pub const MIN_INTEGER: i64 = -4_503_599_627_370_496;

/// The largest integer.
pub const MAX_INTEGER: i64 = 4_503_599_627_370_495;

/// The longest number, in characters as it was written. Numbers are kept as written and weigh
/// 8 bytes, so their length needs a limit of its own; no source names one.
pub const MAX_NUMBER_BYTES: usize = 64;

/// Checks a section as an operator or a device sent it: as a whole or as a patch. `name` is what
/// refusals call it.
///
/// Members that are `null` and members whose key begins with `$` weigh nothing, because neither
/// is kept. Inside arrays, which are kept whole, both are refused.
///
/// Weight: keys and strings count their UTF-8 bytes without control characters, numbers 8,
/// booleans 4 (the vendor's "device twin size"). What lies in an array counts at least 1 each;
/// the sources are silent on arrays, and nothing should be free.
///
/// # Errors
/// [`HubRefusal::Format`] for a value that is not an object, [`HubRefusal::ArgumentInvalid`]
/// naming the section and the rule for anything beyond the limits.
pub fn check_section(name: &str, value: &Json, max_bytes: usize) -> Result<(), HubRefusal> {
    if value.as_object().is_none() {
        return Err(not_an_object(name));
    }
    check_value(name, value, Place { depth: 0, in_array: false })?;
    check_size(name, value, max_bytes)
}

/// Checks the weight alone, of a section that is not too deep.
pub(super) fn check_size(name: &str, value: &Json, max_bytes: usize) -> Result<(), HubRefusal> {
    match size_bytes(value, false) {
        size if size > max_bytes => Err(HubRefusal::ArgumentInvalid(format!(
            "{name} would have {size} bytes, at most {max_bytes} are allowed"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn not_an_object(name: &str) -> HubRefusal {
    HubRefusal::Format(format!("{name} must be a JSON object"))
}

/// Where in a section a value lies.
#[derive(Clone, Copy)]
struct Place {
    /// How many objects and arrays are around it, the section itself not counted.
    depth: usize,
    /// Whether one of them is an array.
    in_array: bool,
}

fn check_value(name: &str, value: &Json, place: Place) -> Result<(), HubRefusal> {
    let refuse = |text: String| Err(HubRefusal::ArgumentInvalid(format!("{name}: {text}")));
    if matches!(value, Json::Array(_) | Json::Object(_)) && place.depth > MAX_DEPTH {
        return refuse(format!("objects and arrays may lie {MAX_DEPTH} deep, these lie deeper"));
    }
    let inside = Place { depth: place.depth + 1, ..place };
    match value {
        Json::Null if place.in_array => refuse("null is not allowed inside an array".to_owned()),
        Json::Null | Json::Bool(_) => Ok(()),
        Json::Number(token) => check_number(token).or_else(refuse),
        Json::String(text) if text.len() > MAX_STRING_BYTES => refuse(format!(
            "a string has {} bytes, at most {MAX_STRING_BYTES} are allowed",
            text.len()
        )),
        Json::String(_) => Ok(()),
        Json::Array(items) => {
            let inside = Place { in_array: true, ..inside };
            items.iter().try_for_each(|item| check_value(name, item, inside))
        }
        Json::Object(members) => members
            .iter()
            .filter(|(key, _)| place.in_array || !key.starts_with('$'))
            .try_for_each(|(key, member)| {
                check_key(key).or_else(refuse)?;
                check_value(name, member, inside)
            }),
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let forbidden = |c: char| c.is_control() || matches!(c, '.' | '$' | '#' | ' ');
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("a key has {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len()));
    }
    match key.chars().find(|c| forbidden(*c)) {
        Some(c) => {
            let shown: String = key.chars().take(64).collect();
            Err(format!("the key {shown:?} holds {c:?}, which keys may not"))
        }
        None => Ok(()),
    }
}

/// An integer is a number written without a point and without an exponent.
fn check_number(token: &str) -> Result<(), String> {
    if token.len() > MAX_NUMBER_BYTES {
        return Err(format!(
            "a number has {} characters, at most {MAX_NUMBER_BYTES} are allowed",
            token.len()
        ));
    }
    let is_integer = !token.contains(['.', 'e', 'E']);
    let in_range = match is_integer {
        true => token.parse().is_ok_and(|n: i64| (MIN_INTEGER..=MAX_INTEGER).contains(&n)),
        false => token.parse().is_ok_and(f64::is_finite),
    };
    match (in_range, is_integer) {
        (true, _) => Ok(()),
        (false, true) => {
            Err(format!("the integer {token} lies outside {MIN_INTEGER} to {MAX_INTEGER}"))
        }
        (false, false) => Err(format!("the number {token} is too large")),
    }
}

fn size_bytes(value: &Json, in_array: bool) -> usize {
    match value {
        Json::Null => 0,
        Json::Bool(_) => 4,
        Json::Number(_) => 8,
        Json::String(text) => text_bytes(text),
        Json::Array(items) => items.iter().map(|item| size_bytes(item, true).max(1)).sum(),
        Json::Object(members) => members
            .iter()
            .filter(|(key, member)| in_array || is_kept(key, member))
            .map(|(key, member)| text_bytes(key) + size_bytes(member, in_array))
            .sum(),
    }
}

/// Whether a member of a patch or section becomes or stays part of the twin.
pub(super) fn is_kept(key: &str, member: &Json) -> bool {
    !key.starts_with('$') && *member != Json::Null
}

fn text_bytes(text: &str) -> usize {
    text.chars().filter(|c| !c.is_control()).map(char::len_utf8).sum()
}
