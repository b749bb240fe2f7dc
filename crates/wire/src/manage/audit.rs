//! The audit log.

use model::{AuditLine, Json, OperatorRefusal, Timestamp, hex};

use crate::{continuation::BadContinuation, time, write::Object};

/// A line of the audit log. Its `before` and `after` are shown as they are kept, which is without
/// secrets.
#[must_use]
pub fn audit_line(line: &AuditLine) -> Json {
    let entry = &line.entry;
    let address = entry.by.address.map(|address| address.to_string());
    Object::new()
        .with("number", line.number)
        .with("time", time::wire(entry.at).as_str())
        .with("policy", entry.by.policy.as_str())
        .with_some("address", address.as_deref())
        .with("action", entry.action.as_str())
        .with("target", entry.target.as_str())
        .with_some("before", entry.before.clone())
        .with_some("after", entry.after.clone())
        .with_some("etag", entry.etag.as_deref())
        .with("previousHash", hex::upper(&line.previous).as_str())
        .with("hash", hex::upper(&line.hash).as_str())
        .build()
}

/// The moment that `since` or `until` of a query names.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the parameter.
pub fn audit_moment(name: &str, text: &str) -> Result<Timestamp, OperatorRefusal> {
    time::parse(text).map_err(|bad| OperatorRefusal::BadRequest(format!("{name}: {bad}")))
}

/// The line's number that a continuation token holds.
///
/// # Errors
/// [`BadContinuation`]
pub fn audit_number(key: &str) -> Result<u64, BadContinuation> {
    key.parse().map_err(|_| BadContinuation)
}

/// What a check of the audit log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditCheck {
    /// How many lines were looked at.
    pub n_lines: u64,
    /// Number and hash of the last line.
    pub head: (u64, [u8; 32]),
    /// The first line that is not as it was written, and what is wrong with it.
    pub broken: Option<(u64, String)>,
}

/// The answer to a check: whether the log is whole, and number and hash of its last line, which
/// are worth noting elsewhere.
#[must_use]
pub fn audit_check(check: &AuditCheck) -> Json {
    let head =
        Object::new().with("number", check.head.0).with("hash", hex::upper(&check.head.1).as_str());
    let broken = check.broken.as_ref().map(|(number, reason)| {
        Object::new().with("number", *number).with("reason", reason.as_str())
    });
    Object::new()
        .with("isWhole", check.broken.is_none())
        .with("lines", check.n_lines)
        .with("last", head)
        .with_some("broken", broken)
        .build()
}
