//! The audit log: a line for every change by an operator, in the change set of the change itself,
//! so that there is never one without the other.

use model::{AuditEntry, AuditFilter, AuditLine, Caller, Change, Json, OperatorRefusal, Timestamp};
use store::audit::{self, AuditHead, BrokenAt};

use crate::{App, No};

/// How many lines are read at a time.
const CHUNK: usize = 500;

/// What a check of the audit log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many lines were looked at.
    pub n_lines: u64,
    /// Number and hash of the last line, to note elsewhere: whoever rewrites the whole log, head
    /// included, can be caught with such a note only.
    pub head: AuditHead,
    /// Where the log is not as it was written, if anywhere.
    pub broken: Option<BrokenAt>,
}

impl App {
    /// Lines of the audit log that pass the filter, those after `after`, at most `limit`.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_audit(
        &self,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<AuditLine>, No<OperatorRefusal>> {
        Ok(self.store.list_audit(filter, after, limit).await?)
    }

    /// Follows the audit log from its first line to the one that was the last when the check
    /// began, and says where it is not as it was written.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn verify_audit(&self) -> Result<Verified, No<OperatorRefusal>> {
        let head = self.store.audit_head().await?;
        let mut end = audit::BEGINNING;
        let mut after = None;
        let broken = loop {
            let page = self.store.list_audit(&AuditFilter::default(), after, CHUNK).await?;
            let is_last = page.len() < CHUNK;
            after = page.last().map(|line| line.number);
            // Lines that were added meanwhile are for the next check.
            let lines = page.iter().filter(|line| line.number <= head.0);
            match audit::verify(lines, end) {
                Err(broken) => break Some(broken),
                Ok(reached) => end = reached,
            }
            if is_last || end.0 >= head.0 {
                break audit::check_end(end, head).err();
            }
        };
        Ok(Verified { n_lines: end.0, head, broken })
    }
}

/// What a line says beside who and when.
#[derive(Debug, Default)]
pub(crate) struct Deed {
    /// Such as `enrollment.update`.
    pub(crate) action: &'static str,
    /// Such as `enrollments/press-17`.
    pub(crate) target: String,
    /// Without secrets: made by `decide::manage::audit_view`.
    pub(crate) before: Option<Json>,
    /// Likewise.
    pub(crate) after: Option<Json>,
    /// The etag of what is there now.
    pub(crate) etag: Option<String>,
}

/// The line to append.
pub(crate) fn line(by: &Caller, at: Timestamp, deed: Deed) -> Change {
    let Deed { action, target, before, after, etag } = deed;
    let (by, action) = (by.clone(), action.to_owned());
    Change::Audit(Box::new(AuditEntry { at, by, action, target, before, after, etag }))
}

/// One of two names, by whether there was something before.
pub(crate) const fn put_action(
    existed: bool,
    create: &'static str,
    update: &'static str,
) -> &'static str {
    if existed { update } else { create }
}

/// What the program does on its own behalf is done by this caller.
pub(crate) fn by_itself() -> Caller {
    Caller { policy: "induct".to_owned(), address: None }
}
