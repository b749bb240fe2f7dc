//! What it means when a remote hub does not do what it is asked.

use model::{Failure, Fresh, PendingAssignment, PendingFacts, Timestamp};
use thiserror::Error;

use super::{Learned, Next, Outcome, Work, pending_of};

/// The first wait after a failure, in seconds. Each further one is twice as long.
const FIRST_WAIT_SECS: i64 = 2;

/// The longest wait, in seconds.
const LONGEST_WAIT_SECS: i64 = 300;

/// The longest text of a remote hub that is kept or told, in characters.
const MAX_TEXT_CHARS: usize = 400;

/// Why a remote hub did not do what it was asked. The texts are the hub's or the network's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RemoteFailure {
    /// It may do it later: not reachable, too slow, too busy, broken.
    #[error("{text}")]
    Transient {
        /// What happened.
        text: String,
        /// How many seconds it asked us to wait.
        retry_after_secs: Option<u32>,
    },
    /// It refuses our credentials (401, 403).
    #[error("{0}")]
    Unauthorized(String),
    /// It refuses what it is asked: its status and its text.
    #[error("{0}: {1}")]
    Refused(u16, String),
    /// There is no such device.
    #[error("the device is not there")]
    NotFound,
}

impl RemoteFailure {
    /// A failure that may pass.
    #[must_use]
    pub fn transient(text: impl Into<String>) -> Self {
        Self::Transient { text: text.into(), retry_after_secs: None }
    }
}

/// Decides what a failure means for a pending assignment: another attempt later, or the end.
///
/// A hub that refuses our credentials or the device ends it; so does the deadline, which counts
/// from the register request. What someone else changed between our reading and our writing (404,
/// 409, 412) is read again.
#[must_use]
pub fn failed(
    facts: &PendingFacts,
    failure: &RemoteFailure,
    deadline_secs: i64,
    now: Timestamp,
    fresh: &Fresh,
) -> Next {
    let Some((record, pending)) = pending_of(facts) else { return Next::Nothing };
    let learned = Learned::default();
    let work = Work { facts, record, pending, learned: &learned, now, fresh };
    if let Some(shut_out) = work.shut_out() {
        return work.settle(shut_out);
    }
    let hub = &pending.assignment.hub;
    let started = record.operations.last().map_or(record.last_updated, |o| o.started);
    let end = match failure {
        // The vendor's service tells the hub's own text (D §1.8).
        RemoteFailure::Unauthorized(text) => Some((400_209, cut(text))),
        RemoteFailure::Refused(409 | 412, _) | RemoteFailure::NotFound => None,
        RemoteFailure::Refused(status, text) => {
            Some((400_004, cut(&format!("The hub `{hub}` refused with {status}: {text}"))))
        }
        RemoteFailure::Transient { .. } => None,
    };
    let late = || {
        let text = format!("The hub `{hub}` did not take the device in time: {failure}");
        (now >= started.plus_secs(deadline_secs)).then(|| (400_208, cut(&text)))
    };
    match end.or_else(late) {
        Some((code, message)) => work.settle(Outcome::Failed(Failure { code, message })),
        None => work.settle(Outcome::Later(Box::new(PendingAssignment {
            n_failures: pending.n_failures.saturating_add(1),
            due: back_off(pending.n_failures, failure, now, fresh),
            last_error: Some(cut(&failure.to_string())),
            ..pending.clone()
        }))),
    }
}

/// When to try again after so many earlier failures: twice as long each time, between half and
/// all of it so that many devices do not come back at once; or as long as the hub asked for.
#[must_use]
pub fn back_off(
    n_failures: u32,
    failure: &RemoteFailure,
    now: Timestamp,
    fresh: &Fresh,
) -> Timestamp {
    let whole = LONGEST_WAIT_SECS.min(FIRST_WAIT_SECS << n_failures.min(16));
    // No operation begins in an attempt, so the bytes meant for its id are free.
    let [a, b, c, d, ..] = fresh.operation;
    let draw = i64::from(u32::from_be_bytes([a, b, c, d]));
    let half_ticks = whole * Timestamp::TICKS_PER_SECOND / 2;
    let ticks = half_ticks + ((i128::from(half_ticks) * i128::from(draw)) >> 32) as i64;
    let asked = match failure {
        RemoteFailure::Transient { retry_after_secs: Some(secs), .. } => {
            i64::from(*secs).min(LONGEST_WAIT_SECS) * Timestamp::TICKS_PER_SECOND
        }
        _ => 0,
    };
    Timestamp::from_ticks(now.ticks().saturating_add(ticks.max(asked)))
}

/// A foreign text, cut to what we keep.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}
