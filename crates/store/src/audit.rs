//! The chain of the audit log: what a line's hash is, and how a broken chain is found.
//!
//! Every store uses this rule, so that a log moved from one store to another stays whole. Whoever
//! can write to the database can of course compute hashes as well; the chain shows what was done
//! by hand, and a number and hash noted elsewhere show the rest.

use aws_lc_rs::digest::{self, SHA256};
use model::{AuditEntry, AuditLine, Json};
use thiserror::Error;

/// Number and hash of the last line; `(0, zeros)` before the first.
pub type AuditHead = (u64, [u8; 32]);

/// Before the first line.
pub const BEGINNING: AuditHead = (0, [0; 32]);

/// Begins what is hashed, so that a hash of ours is no hash of anything else.
const DOMAIN: &[u8] = b"induct audit line 1\0";

/// The hash of a line: SHA-256 over its number, all fields of its entry and the hash of the line
/// before, each preceded by its length, so that nothing can move from one field to the next.
#[must_use]
pub fn hash(number: u64, entry: &AuditEntry, previous: &[u8; 32]) -> [u8; 32] {
    // Taken apart, so that a new field is not forgotten here.
    let AuditEntry { at, by, action, target, before, after, etag } = entry;
    let address = by.address.map(|address| address.to_string());
    let before = before.as_ref().map(Json::to_string);
    let after = after.as_ref().map(Json::to_string);
    let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let fields: [Option<Vec<u8>>; 10] = [
        Some(number.to_be_bytes().to_vec()),
        Some(at.ticks().to_be_bytes().to_vec()),
        Some(by.policy.as_bytes().to_vec()),
        text(&address),
        Some(action.as_bytes().to_vec()),
        Some(target.as_bytes().to_vec()),
        text(&before),
        text(&after),
        text(etag),
        Some(previous.to_vec()),
    ];
    let mut context = digest::Context::new(&SHA256);
    context.update(DOMAIN);
    for field in &fields {
        match field {
            None => context.update(&[0]),
            Some(bytes) => {
                context.update(&[1]);
                context.update(&(bytes.len() as u64).to_be_bytes());
                context.update(bytes);
            }
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The line that comes after `head`, numbered and chained.
#[must_use]
pub fn next_line(head: AuditHead, entry: AuditEntry) -> AuditLine {
    let (number, previous) = (head.0 + 1, head.1);
    let hash = hash(number, &entry, &previous);
    AuditLine { number, entry, previous, hash }
}

/// Where the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the audit log is broken at line {number}: {why}")]
pub struct BrokenAt {
    /// The number of the first line that is not as it was written.
    pub number: u64,
    /// What is wrong with it.
    pub why: Broken,
}

/// What is wrong with a line of the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Broken {
    /// It is not there, though later ones are, or were.
    #[error("it is missing")]
    Missing,
    /// It has a number that was there already, or that was never given: it was put in or moved.
    #[error("it was put in or moved")]
    OutOfPlace,
    /// Its content is not what its hash says.
    #[error("it was changed")]
    Changed,
    /// It does not continue the line before: one of the two was replaced.
    #[error("it does not continue the line before it")]
    NotChained,
}

/// Follows lines in the order of their numbers, beginning after `previous` ([`BEGINNING`], or
/// what the call for the lines before returned), and returns where they end.
///
/// # Errors
/// [`BrokenAt`]: the first line that was changed, removed, moved or put in. Lines cut off at the
/// end are found by [`check_end`].
pub fn verify<'a>(
    lines: impl IntoIterator<Item = &'a AuditLine>,
    previous: AuditHead,
) -> Result<AuditHead, BrokenAt> {
    let mut head = previous;
    for line in lines {
        let expected = head.0 + 1;
        let broken = |number, why| Err(BrokenAt { number, why });
        if line.number > expected {
            return broken(expected, Broken::Missing);
        }
        if line.number < expected {
            return broken(line.number, Broken::OutOfPlace);
        }
        if line.hash != hash(line.number, &line.entry, &line.previous) {
            return broken(expected, Broken::Changed);
        }
        if line.previous != head.1 {
            return broken(expected, Broken::NotChained);
        }
        head = (line.number, line.hash);
    }
    Ok(head)
}

/// Compares where the lines end with where the store says that the log ends.
///
/// # Errors
/// [`BrokenAt`] when lines were cut off at the end, or put in there.
pub fn check_end(end: AuditHead, stored: AuditHead) -> Result<(), BrokenAt> {
    let (number, why) = match end.0.cmp(&stored.0) {
        std::cmp::Ordering::Less => (end.0 + 1, Broken::Missing),
        std::cmp::Ordering::Greater => (stored.0 + 1, Broken::OutOfPlace),
        std::cmp::Ordering::Equal if end.1 == stored.1 => return Ok(()),
        std::cmp::Ordering::Equal => (end.0, Broken::Changed),
    };
    Err(BrokenAt { number, why })
}

#[cfg(test)]
mod tests {
    use model::{Caller, Timestamp};

    use super::*;

    fn entry(action: &str) -> AuditEntry {
        AuditEntry {
            at: Timestamp::from_unix_secs(1_700_000_000),
            by: Caller { policy: "owner".to_owned(), address: Some([127, 0, 0, 1].into()) },
            action: action.to_owned(),
            target: "enrollments/press-17".to_owned(),
            before: None,
            after: Some(Json::Bool(true)),
            etag: Some("\"1\"".to_owned()),
        }
    }

    fn chain(n: usize) -> (Vec<AuditLine>, AuditHead) {
        let mut head = BEGINNING;
        let mut all = Vec::new();
        for n in 0..n {
            let line = next_line(head, entry(&format!("step.{n}")));
            head = (line.number, line.hash);
            all.push(line);
        }
        (all, head)
    }

    /// Breaks a chain of five; expects the finding.
    fn check(break_it: impl FnOnce(&mut Vec<AuditLine>), number: u64, why: Broken) {
        let (mut lines, stored) = chain(5);
        break_it(&mut lines);
        let found = verify(&lines, BEGINNING).and_then(|end| check_end(end, stored));
        assert_eq!(found, Err(BrokenAt { number, why }));
    }

    #[test]
    fn a_whole_chain_is_followed_in_pieces() {
        let (lines, stored) = chain(5);
        let middle = verify(&lines[..2], BEGINNING).expect("whole");
        let end = verify(&lines[2..], middle).expect("whole");
        assert_eq!(end, stored);
        assert_eq!(check_end(end, stored), Ok(()));
        assert_eq!(verify(&[], BEGINNING), Ok(BEGINNING));
    }

    #[test]
    fn a_changed_line_is_found() {
        check(|lines| lines[2].entry.action = "nothing".to_owned(), 3, Broken::Changed);
        check(|lines| lines[2].entry.at = Timestamp::from_ticks(0), 3, Broken::Changed);
        check(|lines| lines[2].entry.by.address = None, 3, Broken::Changed);
        check(|lines| lines[2].entry.after = None, 3, Broken::Changed);
        check(|lines| lines[2].entry.before = Some(Json::Null), 3, Broken::Changed);
        check(|lines| lines[2].entry.etag = None, 3, Broken::Changed);
        check(|lines| lines[2].hash[0] ^= 1, 3, Broken::Changed);
        check(|lines| lines[2].previous[0] ^= 1, 3, Broken::Changed);
    }

    #[test]
    fn a_line_replaced_with_its_hash_computed_anew_is_found() {
        let replace = |lines: &mut Vec<AuditLine>| {
            lines[2] = next_line((2, lines[2].previous), entry("nothing"));
        };
        check(replace, 4, Broken::NotChained);
        let last = |lines: &mut Vec<AuditLine>| {
            lines[4] = next_line((4, lines[4].previous), entry("nothing"));
        };
        check(last, 5, Broken::Changed);
    }

    #[test]
    fn missing_moved_and_added_lines_are_found() {
        check(|lines| drop(lines.remove(0)), 1, Broken::Missing);
        check(|lines| drop(lines.remove(2)), 3, Broken::Missing);
        check(|lines| lines.truncate(3), 4, Broken::Missing);
        check(|lines| lines.clear(), 1, Broken::Missing);
        check(|lines| lines.swap(1, 2), 2, Broken::Missing);
        check(|lines| lines.insert(2, lines[1].clone()), 2, Broken::OutOfPlace);
        let add = |lines: &mut Vec<AuditLine>| {
            lines.push(next_line((5, lines[4].hash), entry("added")));
        };
        check(add, 6, Broken::OutOfPlace);
    }

    #[test]
    fn a_byte_that_moves_to_the_next_field_changes_the_hash() {
        let mut one = entry("ab");
        one.target = "c".to_owned();
        let mut other = entry("a");
        other.target = "bc".to_owned();
        assert_ne!(hash(1, &one, &[0; 32]), hash(1, &other, &[0; 32]));
        let (mut absent, mut empty) = (entry("a"), entry("a"));
        absent.etag = None;
        empty.etag = Some(String::new());
        assert_ne!(hash(1, &absent, &[0; 32]), hash(1, &empty, &[0; 32]));
    }
}
