//! Revocation lists: an operator imports and follows them; newer ones are fetched by themselves.
//!
//! A list is read with the key of its CA before anything is written, and takes effect in one change
//! set. Between fetching and writing nothing is remembered: what a crash cuts off is fetched again.

pub use decide::manage::crls::{DEFAULT_EVERY_SECS, Fetched, NotTaken, Read, SourceDraft};

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use decide::manage::{
    audit_view,
    crls::{self, Taken},
};
use futures_util::{StreamExt, stream};
use model::{
    Caller, Change, ChangeSet, Counted, Crl, CrlSource, EnrolledCertificate, Expect,
    OperatorRefusal, Precondition, RevokedChange, RevokedStep, Serials, Timestamp, Version,
    crl::{MAX_CRLS, parse_crl_id},
};
use store::StoreFault;
use tracing::{info, warn};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed, put_action},
    ports::{CrlAnswer, CrlFetcher, NoCrlFetcher},
};

/// How many lists are fetched in one pass.
const MAX_IN_PASS: usize = 16;

/// How many lists are fetched at once: one server that does not answer holds up no other list.
const MAX_AT_ONCE: usize = 4;

/// How many serial numbers are written in one change set, which takes the store some ten
/// milliseconds.
const MAX_SERIALS_AT_ONCE: usize = 10_000;

/// How often the alarm of a list that is out of date sounds: once a day.
const ALARM_EVERY_SECS: i64 = 24 * 3600;

/// What revocation lists need beside the store.
pub(crate) struct Crls {
    fetcher: Box<dyn CrlFetcher>,
    /// When the alarm of a list last sounded, by its CA.
    alarms: Mutex<BTreeMap<[u8; 32], Timestamp>>,
}

impl Default for Crls {
    fn default() -> Self {
        Self { fetcher: Box::new(NoCrlFetcher), alarms: Mutex::default() }
    }
}

impl std::fmt::Debug for Crls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crls")
    }
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The list as it is now.
    pub crl: Crl,
    /// How many serial numbers it revokes that were not revoked before.
    pub n_added: u64,
    /// How many it does not revoke any more.
    pub n_removed: u64,
}

impl App {
    /// The same, with revocation lists it can fetch.
    #[must_use]
    pub fn with_crl_fetcher(self, fetcher: impl CrlFetcher) -> Self {
        let crls = Crls { fetcher: Box::new(fetcher), ..Crls::default() };
        Self { crls: Arc::new(crls), ..self }
    }

    /// All revocation lists, by the names of their CAs.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_crls(&self) -> Result<Vec<Crl>, No<OperatorRefusal>> {
        let mut crls = self.store.list_crls().await?;
        crls.sort_by(|a, b| a.ca.info.subject_name.cmp(&b.ca.info.subject_name));
        Ok(crls)
    }

    /// The revocation list of a CA: by its ID ([`Crl::id`]), or by the name of a CA certificate of
    /// the service's store.
    ///
    /// # Errors
    /// [`OperatorRefusal::CrlNotFound`], or a fault.
    pub async fn get_crl(&self, ca: &str) -> Result<Crl, No<OperatorRefusal>> {
        let missing = || No::Refused(OperatorRefusal::CrlNotFound(cut(ca)));
        let key = self.crl_key(ca).await?.ok_or_else(missing)?;
        self.store.find_crl(&key).await?.ok_or_else(missing)
    }

    /// Takes a revocation list in, DER. Whose it is, it says itself.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn import_crl(
        &self,
        der: Vec<u8>,
        by: &Caller,
    ) -> Result<Imported, No<OperatorRefusal>> {
        let issuer = crls::issuer(&der).map_err(|no| No::Refused(no.into()))?;
        let namesakes = self.store.cas_called(&issuer).await?;
        let read = self.crls.fetcher.read(der, namesakes, self.clock.now()).await;
        let read = read.map_err(|no| No::Refused(no.into()))?;
        let ca = read.ca.keys.subject_and_key;
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_crl(&ca).await?;
            let n_crls = self.store.n_crls().await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let taken = crls::import(existing.as_ref(), read.clone(), n_crls, now, &fresh);
            let Some(taken) = taken.map_err(No::Refused)? else {
                // What is there is what was sent.
                let crl = existing.ok_or(No::Refused(OperatorRefusal::Conflict))?;
                return Ok(Imported { crl, n_added: 0, n_removed: 0 });
            };
            let deed = Deed {
                action: "crl.import",
                target: target(&taken.crl),
                before: existing.as_ref().map(audit_view::crl),
                after: Some(audit_view::crl(&taken.crl)),
                etag: Some(taken.crl.etag.as_str().to_owned()),
            };
            let Some((changes, imported)) = self.changes(existing.as_ref(), taken).await? else {
                continue;
            };
            let changes = changes.with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(imported);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Follows a URL for the list of a CA, which is named by the ID of its list, by the name of a
    /// CA certificate of the service's store, or by its certificate.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn follow_crl(
        &self,
        ca: &str,
        draft: &SourceDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<Crl, No<OperatorRefusal>> {
        if let Err(why) = self.crls.fetcher.may_ask(&draft.url) {
            return Err(No::Refused(OperatorRefusal::BadRequest(format!("url: {why}"))));
        }
        let ca = self.find_ca(ca).await?;
        let key = ca.keys.subject_and_key;
        self.write_crl(&key, by, |existing, n_crls, now| {
            let (draft, fresh) = (draft.clone(), self.fresh());
            let crl = crls::follow(existing, &ca, draft, precondition, n_crls, now, &fresh)?;
            let is_new = existing.is_none_or(|stored| stored.source.is_none());
            Ok((put_action(!is_new, "crl.follow", "crl.follow-another"), Some(crl)))
        })
        .await?
        .ok_or(No::Refused(OperatorRefusal::Conflict))
    }

    /// Follows the URL of a list no more. The list stays; nothing stays when none ever came.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn unfollow_crl(
        &self,
        ca: &str,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        let key = self.get_crl(ca).await?.ca.keys.subject_and_key;
        self.write_crl(&key, by, |existing, _, now| {
            let kept = crls::unfollow(existing, ca, precondition, now, &self.fresh())?;
            Ok(("crl.unfollow", kept))
        })
        .await
        .map(drop)
    }

    /// Deletes a list: whom it revoked is admitted again, and nobody is refused for want of it.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_crl(
        &self,
        ca: &str,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        let key = self.get_crl(ca).await?.ca.keys.subject_and_key;
        self.write_crl(&key, by, |existing, _, _| {
            crls::delete(existing, ca, precondition)?;
            Ok(("crl.delete", None))
        })
        .await
        .map(drop)
    }

    /// Asks the URL of a list now, whether it is due or not. What came of it is in the source.
    ///
    /// # Errors
    /// [`OperatorRefusal::CrlNotFound`] for a list that is not followed, or a fault.
    pub async fn fetch_crl(&self, ca: &str) -> Result<Imported, No<OperatorRefusal>> {
        let key = self.get_crl(ca).await?.ca.keys.subject_and_key;
        let fetched = self.fetch(&key).await?;
        fetched.ok_or_else(|| No::Refused(OperatorRefusal::CrlNotFound(cut(ca))))
    }

    /// Fetches the lists that are due, a few at once. Call it again soon: what is due is found by an
    /// index.
    ///
    /// What goes wrong with one list is remembered with it, and tried again later.
    ///
    /// # Errors
    /// The store's, when it cannot even say what is due.
    pub async fn fetch_due_crls(&self) -> Result<usize, StoreFault> {
        let due = self.store.due_crls(self.clock.now(), MAX_IN_PASS).await?;
        let fetch_one = async |ca: &[u8; 32]| {
            if let Err(fault) = self.fetch(ca).await {
                warn!(error = %fault, "could not record what came of fetching a revocation list");
            }
        };
        stream::iter(&due).for_each_concurrent(MAX_AT_ONCE, fetch_one).await;
        Ok(due.len())
    }

    /// Sounds the alarm for lists that are out of date, once a day each; says for how many it
    /// sounded.
    ///
    /// # Errors
    /// The store's.
    pub async fn sound_crl_alarms(&self) -> Result<usize, StoreFault> {
        let now = self.clock.now();
        let stale: Vec<Crl> =
            self.store.list_crls().await?.into_iter().filter(|crl| crl.is_stale(now)).collect();
        let mut alarms = self.crls.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is up to date again begins anew when it is not.
        alarms.retain(|ca, _| stale.iter().any(|crl| crl.ca.keys.subject_and_key == *ca));
        let mut n_sounded = 0;
        for crl in &stale {
            let last = alarms.get(&crl.ca.keys.subject_and_key);
            if last.is_some_and(|last| now < last.plus_secs(ALARM_EVERY_SECS)) {
                continue;
            }
            alarms.insert(crl.ca.keys.subject_and_key, now);
            n_sounded += 1;
            let ca = &crl.ca.info.subject_name;
            let error = crl.source.as_ref().and_then(|source| source.last_error.as_deref());
            let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
            let remedy = match crl.source {
                Some(_) => "see `induct crl show`",
                None => {
                    "import a newer one with `induct crl import`, or let one be fetched with \
                         `induct crl follow`"
                }
            };
            warn!(
                crl.id = crl.id(),
                crl.ca = %ca,
                "the revocation list of `{ca}` is out of date{why}: groups that refuse devices \
                 then do so; {remedy}"
            );
        }
        Ok(n_sounded)
    }

    /// How many lists there are, and how many of them are out of date.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn count_crls(&self) -> Result<(u64, u64), StoreFault> {
        let (now, crls) = (self.clock.now(), self.store.list_crls().await?);
        let n_stale = crls.iter().filter(|crl| crl.is_stale(now)).count();
        Ok((crls.len() as u64, n_stale as u64))
    }

    /// Asks the URL of a list and writes what came of it; nothing when it is not followed.
    async fn fetch(&self, ca: &[u8; 32]) -> Result<Option<Imported>, No<OperatorRefusal>> {
        let Some(crl) = self.store.find_crl(ca).await? else { return Ok(None) };
        let Some(source) = crl.source.clone() else { return Ok(None) };
        let outcome = match self.crls.fetcher.fetch(&source.url, tag_of(&crl, &source)).await {
            CrlAnswer::NotModified => Fetched::NotModified,
            CrlAnswer::Failed(why) => Fetched::Failed(why),
            CrlAnswer::List { der, entity_tag } => {
                let read = self.crls.fetcher.read(der, vec![crl.ca.clone()], self.clock.now());
                Fetched::List(Box::new(read.await), entity_tag)
            }
        };
        for _ in 0..MAX_ATTEMPTS {
            let Some(existing) = self.store.find_crl(ca).await? else { return Ok(None) };
            if existing.source.as_ref().map(|source| &source.url) != Some(&source.url) {
                // Somebody follows another URL now, which is due at once.
                return Ok(None);
            }
            let (now, fresh) = (self.clock.now(), self.fresh());
            let Some(taken) = crls::fetched(&existing, outcome.clone(), now, &fresh) else {
                return Ok(None);
            };
            let is_new = taken.revoked.is_some();
            let deed = is_new.then(|| Deed {
                action: "crl.fetch",
                target: target(&taken.crl),
                before: Some(audit_view::crl(&existing)),
                after: Some(audit_view::crl(&taken.crl)),
                etag: Some(taken.crl.etag.as_str().to_owned()),
            });
            let Some((mut changes, imported)) = self.changes(Some(&existing), taken).await? else {
                continue;
            };
            if let Some(deed) = deed {
                changes = changes.with(audit::line(&audit::by_itself(), now, deed));
            }
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                tell(&imported, is_new);
                return Ok(Some(imported));
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// What is to be written for a list that was taken in, or for a fetch that brought none;
    /// nothing when somebody else wrote the list meanwhile. Of many serial numbers all are written
    /// when this returns, and do not count yet.
    async fn changes(
        &self,
        existing: Option<&Crl>,
        taken: Taken,
    ) -> Result<Option<(ChangeSet, Imported)>, No<OperatorRefusal>> {
        let Taken { crl, revoked } = taken;
        let ca = crl.ca.keys.subject_and_key;
        let version = existing.map_or(0, |stored| stored.version);
        let Some(revoked) = revoked else {
            // The list that counts stays, and with it every answer that it is behind.
            let noted = crl.source.clone().map(|source| (ca, Box::new(source)));
            let changes = ChangeSet::new().expecting(Expect::Crl(ca, version));
            let changes = match noted {
                Some((ca, source)) => changes.with(Change::NoteCrlFetch(ca, source)),
                None => changes,
            };
            return Ok(Some((changes, Imported { crl, n_added: 0, n_removed: 0 })));
        };
        let before = match existing {
            Some(_) => self.store.revoked_serials(&ca).await?,
            None => Serials::default(),
        };
        let change = crls::change(&crl.ca, &before, &revoked);
        let (n_added, n_removed) = (change.added.len() as u64, change.removed.len() as u64);
        let in_parts = change.added.len() + change.removed.len() > MAX_SERIALS_AT_ONCE;
        let version = match in_parts {
            false => version,
            true => match self.write_parts(existing, &crl, &change).await? {
                Some(version) => version,
                None => return Ok(None),
            },
        };
        let mut changes = putting(&crl, version);
        // Of a large list sessions hear as a whole: parts of it may be there from an attempt that was
        // cut off, and nobody heard of these.
        let last = (in_parts || revoked.len() > MAX_SERIALS_AT_ONCE).then(|| RevokedChange {
            added: Arc::new(revoked),
            removed: Arc::default(),
            step: RevokedStep::Last,
            ..change.clone()
        });
        if !in_parts {
            changes = changes.with(Change::ChangeRevoked(change));
        }
        changes.changes.extend(last.map(Change::ChangeRevoked));
        Ok(Some((changes, Imported { crl, n_added, n_removed })))
    }

    /// Writes many serial numbers, so many at a time that nobody waits long for the store. What a
    /// crash cuts off is found missing, or to be done away with, by the next one who takes the list
    /// in. Says the version of the list's row; nothing when somebody else wrote it meanwhile.
    async fn write_parts(
        &self,
        existing: Option<&Crl>,
        crl: &Crl,
        change: &RevokedChange,
    ) -> Result<Option<Version>, No<OperatorRefusal>> {
        let ca = change.ca;
        let version = match existing {
            Some(stored) => stored.version,
            None => {
                // Until all is there it is a list that never came.
                let begun = Crl { list: None, ..crl.clone() };
                if let Attempt::Again = attempted(self.commit(putting(&begun, 0)).await)? {
                    return Ok(None);
                }
                let begun = self.store.find_crl(&ca).await?;
                begun.map_or(0, |begun| begun.version)
            }
        };
        for part in change.parts(MAX_SERIALS_AT_ONCE) {
            let changes = ChangeSet::new()
                .expecting(Expect::Crl(ca, version))
                .with(Change::ChangeRevoked(part));
            if let Attempt::Again = attempted(self.commit(changes).await)? {
                return Ok(None);
            }
        }
        Ok(Some(version))
    }

    /// Writes a list, or deletes it when nothing is to be left.
    async fn write_crl(
        &self,
        ca: &[u8; 32],
        by: &Caller,
        decide: impl Fn(
            Option<&Crl>,
            u64,
            Timestamp,
        ) -> Result<(&'static str, Option<Crl>), OperatorRefusal>,
    ) -> Result<Option<Crl>, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let existing = self.store.find_crl(ca).await?;
            let n_crls = self.store.n_crls().await?;
            let now = self.clock.now();
            let (action, written) = decide(existing.as_ref(), n_crls, now).map_err(No::Refused)?;
            let Some(named) = written.as_ref().or(existing.as_ref()) else {
                return Ok(None);
            };
            let deed = Deed {
                action,
                target: target(named),
                before: existing.as_ref().map(audit_view::crl),
                after: written.as_ref().map(audit_view::crl),
                etag: written.as_ref().map(|crl| crl.etag.as_str().to_owned()),
            };
            let version = existing.as_ref().map_or(0, |stored| stored.version);
            let changes = match &written {
                Some(crl) => putting(crl, version),
                None => ChangeSet::new()
                    .expecting(Expect::Crl(*ca, version))
                    .with(Change::DeleteCrl(*ca)),
            };
            let changes = changes.with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// The key of the CA that a text names; nothing when it names none.
    async fn crl_key(&self, ca: &str) -> Result<Option<[u8; 32]>, StoreFault> {
        if let Some(key) = parse_crl_id(ca) {
            return Ok(Some(key));
        }
        let stored = self.store.find_ca_certificate(ca).await?;
        Ok(stored.map(|stored| stored.certificate.keys.subject_and_key))
    }

    /// A CA by the ID of its list or by the name of its certificate in the service's store.
    async fn find_ca(&self, ca: &str) -> Result<EnrolledCertificate, No<OperatorRefusal>> {
        let found = match parse_crl_id(ca) {
            None => self.store.find_ca_certificate(ca).await?.map(|stored| stored.certificate),
            Some(key) => match self.store.find_crl(&key).await? {
                Some(crl) => Some(crl.ca),
                None => self.store.known_ca(&key).await?,
            },
        };
        found.ok_or_else(|| No::Refused(OperatorRefusal::CaCertificateNotFound(cut(ca))))
    }
}

/// Puts a list in the place of the one of this version; of a new one, where there is room.
fn putting(crl: &Crl, version: Version) -> ChangeSet {
    let changes = ChangeSet::new()
        .expecting(Expect::Crl(crl.ca.keys.subject_and_key, version))
        .with(Change::PutCrl(Box::new(crl.clone())));
    match version {
        0 => changes.expecting(Expect::Room { of: Counted::Crls, limit: MAX_CRLS as u64 }),
        _ => changes,
    }
}

/// The entity tag to ask with: without a list there is nothing that could be unchanged.
fn tag_of<'a>(crl: &Crl, source: &'a CrlSource) -> Option<&'a str> {
    source.entity_tag.as_deref().filter(|_| crl.list.is_some())
}

/// What is told of a list that was fetched.
fn tell(Imported { crl, n_added, n_removed }: &Imported, is_new: bool) {
    let ca = &crl.ca.info.subject_name;
    let error = crl.source.as_ref().and_then(|source| source.last_error.as_deref());
    if let Some(error) = error {
        warn!(
            crl.id = crl.id(), crl.ca = %ca, error,
            "could not fetch the revocation list of `{ca}`: {error}"
        );
    } else if is_new {
        info!(
            crl.id = crl.id(), crl.ca = %ca,
            "a newer revocation list of `{ca}`: {n_added} newly revoked, {n_removed} no more"
        );
    }
}

fn target(crl: &Crl) -> String {
    format!("crls/{}", crl.id())
}

/// As much of a text as a message repeats.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}
