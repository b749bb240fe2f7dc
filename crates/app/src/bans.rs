//! An operator keeps devices out, whatever their enrollments say.

use decide::manage::{
    audit_view,
    bans::{self, SetBy},
};
use model::{
    Ban, BanKind, Caller, Change, ChangeSet, EnrolledCertificate, Expect, OperatorRefusal, Page,
    PathCertificate,
    ban::{BanDraft, Thumbprint},
};
use store::{CommitError, StoreFault};
use tracing::warn;

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed, put_action},
};

/// Whether something is done, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wet {
    /// It is done.
    Done,
    /// Nothing is written: a dry run.
    Dry,
}

impl App {
    /// Bans in the order of their keys, those after `after`, at most `limit`. Those that are over
    /// are among them.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_bans(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Ban>, No<OperatorRefusal>> {
        Ok(self.store.list_bans(after, limit).await?)
    }

    /// A ban by its key.
    ///
    /// # Errors
    /// [`OperatorRefusal::BanNotFound`], or a fault.
    pub async fn get_ban(&self, key: &str) -> Result<Ban, No<OperatorRefusal>> {
        let found = self.store.find_ban(key).await?;
        found.ok_or_else(|| No::Refused(OperatorRefusal::BanNotFound(cut(key))))
    }

    /// Sets a ban, until an operator lifts it or it is over by itself. When this returns nobody
    /// whom it is about is admitted any more, and their sessions on built-in hubs have ended.
    /// Setting it again with the same words changes nothing.
    ///
    /// # Errors
    /// [`OperatorRefusal::BadRequest`], or a fault.
    pub async fn put_ban(
        &self,
        draft: &BanDraft,
        wet: Wet,
        by: &Caller,
    ) -> Result<Ban, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let known = match draft.subject.asked_for() {
                Some(thumbprint) => self.certificate_of(thumbprint).await?,
                None => None,
            };
            let subject = bans::subject(&draft.subject, known.as_ref()).map_err(No::Refused)?;
            let key = subject.key();
            let existing = self.store.find_ban(&key).await?;
            let now = self.clock.now();
            let set = SetBy { by, kind: BanKind::Revoked, receipt: None, now };
            let (reason, expires) = (draft.reason.clone(), draft.expires);
            let written =
                bans::put(existing.as_ref(), subject, reason, expires, set).map_err(No::Refused)?;
            let Some(written) = written else {
                if let Some(existing) = existing {
                    return Ok(existing);
                }
                continue;
            };
            if wet == Wet::Dry {
                return Ok(written);
            }
            let deed = Deed {
                action: put_action(existing.is_some(), "ban.create", "ban.update"),
                target: format!("bans/{key}"),
                before: existing.as_ref().map(audit_view::ban),
                after: Some(audit_view::ban(&written)),
                etag: None,
            };
            let version = existing.as_ref().map_or(0, |ban| ban.version);
            let changes = ChangeSet::new()
                .expecting(Expect::Ban(key, version))
                .with(Change::PutBan(Box::new(written.clone())))
                .with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// The certificate of a thumbprint, if it is known: enrolled, or kept because a device that
    /// registered showed it.
    pub(crate) async fn certificate_of(
        &self,
        thumbprint: Thumbprint,
    ) -> Result<Option<EnrolledCertificate>, StoreFault> {
        let hex = thumbprint.hex();
        if let Some(enrolled) = self.store.known_certificate(&hex).await? {
            return Ok(Some(enrolled));
        }
        let shown = self.store.shown_certificate(&hex).await?;
        Ok(shown.and_then(|shown| bans::described(&shown)))
    }

    /// A ban by the thumbprint of a certificate that nobody knew learns what its issuer signed, when a
    /// device is refused by it: from then on it is a ban on the certificate however its signature is
    /// written. Once for each ban; what goes wrong is tried again the next time.
    pub(crate) async fn learn_bans(&self, bans: &[Ban], shown: &[PathCertificate]) {
        for ban in bans::learned(bans, shown) {
            let key = ban.subject.key();
            let changes = ChangeSet::new()
                .expecting(Expect::Ban(key.clone(), ban.version))
                .with(Change::PutBan(Box::new(ban)));
            // A conflict means that somebody else writes it.
            if let Err(CommitError::Fault(fault)) = self.commit(changes).await {
                warn!(ban.key = key, error = %fault, "could not keep what the ban `{key}` is about");
            }
        }
    }

    /// Lifts a ban: whom it was about is admitted again by whatever admits them.
    ///
    /// # Errors
    /// [`OperatorRefusal::BanNotFound`], or a fault.
    pub async fn lift_ban(
        &self,
        key: &str,
        wet: Wet,
        by: &Caller,
    ) -> Result<Ban, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.get_ban(key).await?;
            if wet == Wet::Dry {
                return Ok(existing);
            }
            let deed = Deed {
                action: "ban.lift",
                target: format!("bans/{key}"),
                before: Some(audit_view::ban(&existing)),
                ..Deed::default()
            };
            let changes = ChangeSet::new()
                .expecting(Expect::Ban(key.to_owned(), existing.version))
                .with(Change::DeleteBan(key.to_owned()))
                .with(audit::line(by, self.clock.now(), deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(existing);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }
}

/// As much of a key as a refusal repeats.
fn cut(key: &str) -> String {
    key.chars().take(160).collect()
}
