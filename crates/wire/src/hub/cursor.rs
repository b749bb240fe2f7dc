//! Where a reader of events goes on, as an opaque text: the next offset of each partition, and a
//! check sum over them and the hub's name. A cursor of another hub, or one that was cut or
//! altered by accident, is refused instead of skipping events. It is no secret and proves
//! nothing: whoever may read may begin anywhere.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{HubName, HubRefusal};
use thiserror::Error;

/// The layout of the text; another first byte is another release's cursor.
const LAYOUT: u8 = 1;

/// How many partitions a cursor names at most.
const MAX_PARTITIONS: usize = 128;

/// The longest cursor we look at, in bytes: all partitions, each with the longest numbers.
const MAX_TEXT_BYTES: usize = 4 * (1 + MAX_PARTITIONS * (3 + 10) + 4).div_ceil(3);

/// The text is no cursor of this hub's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("cursor: is none of this hub's; begin again with from")]
pub struct BadCursor;

impl From<BadCursor> for HubRefusal {
    fn from(bad: BadCursor) -> Self {
        Self::ArgumentInvalid(bad.to_string())
    }
}

/// Writes a cursor.
#[must_use]
pub fn write_cursor(hub: &HubName, next: &BTreeMap<u16, u64>) -> String {
    let mut bytes = vec![LAYOUT];
    for (partition, offset) in next.iter().take(MAX_PARTITIONS) {
        put_number(&mut bytes, u64::from(*partition));
        put_number(&mut bytes, *offset);
    }
    bytes.extend(check_sum(hub, &bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor of this hub: only texts that [`write_cursor`] writes.
///
/// # Errors
/// [`BadCursor`]
pub fn read_cursor(hub: &HubName, text: &str) -> Result<BTreeMap<u16, u64>, BadCursor> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(BadCursor);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
    let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or(BadCursor)?;
    if check_sum(hub, bytes) != *sum {
        return Err(BadCursor);
    }
    let mut rest = bytes.strip_prefix(&[LAYOUT]).ok_or(BadCursor)?;
    let mut next = BTreeMap::new();
    while !rest.is_empty() {
        let partition = take_number(&mut rest).and_then(|n| u16::try_from(n).ok());
        let (partition, offset) = partition.zip(take_number(&mut rest)).ok_or(BadCursor)?;
        let is_ascending = next.last_key_value().is_none_or(|(last, _)| *last < partition);
        if !is_ascending || next.len() == MAX_PARTITIONS {
            return Err(BadCursor);
        }
        next.insert(partition, offset);
    }
    Ok(next)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// `None` when it is cut off, longer than it must be, or larger than a number can be.
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return (place == 0 || *byte != 0).then_some(number);
        }
    }
    None
}

/// FNV-1a, 32 bits, over the hub's name, a zero byte and these bytes.
fn check_sum(hub: &HubName, bytes: &[u8]) -> [u8; 4] {
    let all = hub.as_str().bytes().chain([0]).chain(bytes.iter().copied());
    let sum =
        all.fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hub(name: &str) -> HubName {
        HubName::parse(name).expect("legal")
    }

    #[test]
    fn a_cursor_is_good_for_its_hub_only() {
        let here = hub("hub-1.example.test");
        let next = BTreeMap::from([(0, 0), (1, 17), (300, u64::MAX)]);
        let text = write_cursor(&here, &next);
        assert_eq!(read_cursor(&here, &text), Ok(next));
        assert_eq!(read_cursor(&hub("hub-2.example.test"), &text), Err(BadCursor));
        let empty = write_cursor(&here, &BTreeMap::new());
        assert_eq!(read_cursor(&here, &empty), Ok(BTreeMap::new()));
    }

    #[test]
    fn texts_that_are_no_cursors_are_refused() {
        let here = hub("hub-1.example.test");
        let with_sum = |bytes: &[u8]| {
            let mut all = bytes.to_vec();
            all.extend(check_sum(&here, bytes));
            URL_SAFE_NO_PAD.encode(all)
        };
        for bad in ["", "x", "AQ", "????", "AAAAAAAA", "AAAAAAAA=="] {
            assert_eq!(read_cursor(&here, bad), Err(BadCursor), "{bad}");
        }
        // Another layout; cut off; not ascending; twice; longer than it must be; too large.
        for bad in [
            &[2, 0, 1][..],
            &[1, 0],
            &[1, 1, 1, 0, 1],
            &[1, 1, 1, 1, 1],
            &[1, 0x80, 0, 1],
            &[1, 0xff, 0xff, 4, 1],
            &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(read_cursor(&here, &with_sum(bad)), Err(BadCursor), "{bad:?}");
        }
        assert_eq!(read_cursor(&here, &"A".repeat(100_000)), Err(BadCursor));
    }

    #[test]
    fn the_largest_cursor_reads_back() {
        let here = hub("hub-1.example.test");
        let last = u16::MAX - 127;
        let next: BTreeMap<u16, u64> = (last..=u16::MAX).map(|p| (p, u64::MAX)).collect();
        let text = write_cursor(&here, &next);
        assert!(text.len() <= MAX_TEXT_BYTES);
        assert_eq!(read_cursor(&here, &text), Ok(next));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_and_no_flip_of_a_character_passes(
            next in proptest::collection::btree_map(any::<u16>(), any::<u64>(), 0..128),
            at in any::<prop::sample::Index>(),
            other in "[A-Za-z0-9_-]",
        ) {
            let here = hub("hub-1.example.test");
            let text = write_cursor(&here, &next);
            prop_assert_eq!(read_cursor(&here, &text), Ok(next));
            let at = at.index(text.len());
            let mut flipped = text.clone();
            flipped.replace_range(at..=at, &other);
            if flipped != text {
                prop_assert_eq!(read_cursor(&here, &flipped), Err(BadCursor));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = read_cursor(&hub("h.example.test"), &text);
        }
    }
}
