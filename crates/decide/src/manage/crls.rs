//! Revocation lists: which one counts, where newer ones come from, when they are asked for.
//!
//! A list takes the place of another one of its CA only when it is newer. Who carries old lists
//! here can withhold a revocation no longer than the list in place says it is good for, and then
//! the alarm sounds.

use std::{net::IpAddr, sync::Arc};

use attest::crl::{BadCrl, Contents, Unverified, Verified};
use model::{
    Crl, CrlList, CrlSource, EnrolledCertificate, Etag, Fresh, OperatorRefusal, Precondition,
    RevokedChange, RevokedStep, Serials, Timestamp,
    crl::{MAX_CRL_EVERY_SECS, MAX_CRL_URL_BYTES, MAX_CRLS, MIN_CRL_EVERY_SECS},
};

use super::{bad, check_etag, check_put, within};

/// How often a URL is asked when nothing else is said: every six hours.
pub const DEFAULT_EVERY_SECS: u32 = 6 * 3600;

/// How long after a failed attempt the next one is made; doubled with each further failure, and
/// never longer than the time between two successful ones.
pub const FIRST_RETRY_SECS: i64 = 60;

/// The longest text of an error that is kept, in characters.
const MAX_ERROR_CHARS: usize = 512;

/// The most namesakes whose keys are tried on a list.
pub const MAX_NAMESAKES: usize = 32;

/// Why a list does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is no list, or not the CA's.
    #[error(transparent)]
    Bad(#[from] BadCrl),
    /// The CA that issued it is not known here.
    #[error(
        "its issuer `{0}` is not enrolled here: add the CA's certificate first (`induct \
         certificate create`; it need not be verified for this)"
    )]
    UnknownIssuer(String),
    /// There are more CAs of its issuer's name than keys are tried.
    #[error(
        "more than {MAX_NAMESAKES} CAs are called `{0}`, and none of the {MAX_NAMESAKES} that were \
         tried vouches for it; delete those that are not needed any more"
    )]
    TooManyNamesakes(String),
    /// Reading it came to no end.
    #[error("reading it broke off; this is a bug, and the server's log says where")]
    BrokeOff,
    /// It is older than the one that counts.
    #[error(
        "it is older than the list that counts: {0}. To go back on purpose, delete that list first"
    )]
    Older(String),
    /// It covers another part of the CA's certificates.
    #[error(
        "it covers another part of the CA's certificates than the list that counts (their issuing \
         distribution points differ). Delete that list first, or import the CA's complete list"
    )]
    OtherScope,
}

impl From<NotTaken> for OperatorRefusal {
    fn from(why: NotTaken) -> Self {
        bad(format!("revocation list: {why}"))
    }
}

/// A list of a CA that we know, verified with its key.
#[derive(Debug, Clone)]
pub struct Read {
    /// The CA.
    pub ca: EnrolledCertificate,
    contents: Contents,
}

/// The hash of the name of a list's issuer: what the CAs that may have signed it are found by.
///
/// # Errors
/// [`NotTaken::Bad`].
pub fn issuer(der: &[u8]) -> Result<[u8; 32], NotTaken> {
    Ok(Unverified::read(der)?.issuer())
}

/// Reads a list, and finds out whose it is. Several CAs may have the issuer's name; the keys of
/// [`MAX_NAMESAKES`] are tried.
///
/// # Errors
/// [`NotTaken::Bad`], [`NotTaken::UnknownIssuer`]; [`NotTaken::TooManyNamesakes`] when none of those
/// that are tried vouches for it, and there are more.
pub fn read(
    der: &[u8],
    namesakes: Vec<EnrolledCertificate>,
    now: Timestamp,
) -> Result<Read, NotTaken> {
    let list = Unverified::read(der)?;
    let mut no = NotTaken::UnknownIssuer(list.issuer_name());
    let has_more = namesakes.len() > MAX_NAMESAKES;
    for ca in namesakes.into_iter().take(MAX_NAMESAKES) {
        match list.clone().verify(&ca, now).map(Verified::into_contents) {
            Ok(contents) => return Ok(Read { ca, contents }),
            // What is wrong with one of the CAs says nothing about the others.
            Err(unfit @ BadCrl::UnfitCa { .. }) => no = unfit.into(),
            Err(wrong @ (BadCrl::WrongSignature(_) | BadCrl::OtherIssuer { .. })) => {
                // Whose key signed it, and may not, says more than whose did not.
                if !matches!(no, NotTaken::Bad(BadCrl::UnfitCa { .. })) {
                    no = wrong.into();
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    // Nobody is said not to have signed it whose key was not tried.
    if has_more {
        no = NotTaken::TooManyNamesakes(list.issuer_name());
    }
    Err(no)
}

/// What a list that was read means beside the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It is the one that counts.
    Same,
    /// It takes its place; with the serial numbers it revokes.
    Newer(CrlList, Serials),
}

/// Whether a list takes the place of the one that counts.
///
/// Numbers are compared where both have one, and the times at which they were made
/// (RFC 5280 §5.2.3, §6.3.3): neither may go back.
///
/// # Errors
/// [`NotTaken::Older`], [`NotTaken::OtherScope`].
pub fn compare(
    counts: Option<&CrlList>,
    contents: Contents,
    now: Timestamp,
) -> Result<News, NotTaken> {
    let Contents { sha256, number, scope, this_update, next_update, revoked } = contents;
    if let Some(old) = counts {
        if old.sha256 == sha256 {
            return Ok(News::Same);
        }
        if old.scope != scope {
            return Err(NotTaken::OtherScope);
        }
        match (&old.number, &number) {
            (Some(old), Some(new)) if new < old => {
                let (new, old) = (new.to_hex(), old.to_hex());
                return Err(NotTaken::Older(format!("its number is {new}, and that one's {old}")));
            }
            (Some(old), None) => {
                let old = old.to_hex();
                return Err(NotTaken::Older(format!("it has no number, and that one has {old}")));
            }
            _ => {}
        }
        if this_update < old.this_update {
            return Err(NotTaken::Older("it was made before that one".to_owned()));
        }
        if this_update == old.this_update && number == old.number {
            let same = "it has that one's number and time, and yet is another one";
            return Err(NotTaken::Older(same.to_owned()));
        }
    }
    let n_revoked = revoked.len() as u64;
    let list =
        CrlList { sha256, number, scope, this_update, next_update, n_revoked, taken_in: now };
    Ok(News::Newer(list, revoked))
}

/// What is written when a list comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The list as it is now.
    pub crl: Crl,
    /// The serial numbers that it revokes; absent when they are those that it revoked before.
    pub revoked: Option<Serials>,
}

/// What becomes of a list that an operator sends. `n_crls` is how many there are.
///
/// The same list once more changes nothing: then there is nothing to write.
///
/// # Errors
/// [`NotTaken`] as [`OperatorRefusal::BadRequest`]; [`OperatorRefusal::QuotaExceeded`].
pub fn import(
    existing: Option<&Crl>,
    read: Read,
    n_crls: u64,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Option<Taken>, OperatorRefusal> {
    if existing.is_none() {
        within(n_crls, MAX_CRLS as u64, "revocation lists")?;
    }
    let counts = existing.and_then(|stored| stored.list.as_ref());
    match compare(counts, read.contents, now)? {
        News::Same => Ok(None),
        News::Newer(list, revoked) => {
            let mut crl = begun(existing, &read.ca, now, fresh);
            crl.list = Some(list);
            Ok(Some(Taken { crl, revoked: Some(revoked) }))
        }
    }
}

/// Where newer lists come from, as an operator says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDraft {
    /// The URL.
    pub url: String,
    /// How often it is asked, in seconds.
    pub every_secs: u32,
}

/// The list of a CA with this source: asked at once, and then every so often.
///
/// # Errors
/// [`OperatorRefusal`]: not legal, followed already, stale etag, too many.
pub fn follow(
    existing: Option<&Crl>,
    ca: &EnrolledCertificate,
    draft: SourceDraft,
    precondition: &Precondition,
    n_crls: u64,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Crl, OperatorRefusal> {
    let followed = existing.filter(|stored| stored.source.is_some());
    check_put(
        followed.map(|stored| &stored.etag),
        precondition,
        || {
            bad(format!(
                "The revocation list of `{}` is followed already. Send If-Match with its etag or * \
                 to follow another URL.",
                ca.info.subject_name
            ))
        },
        || OperatorRefusal::CrlNotFound(ca.info.subject_name.clone()),
    )?;
    if existing.is_none() {
        within(n_crls, MAX_CRLS as u64, "revocation lists")?;
    }
    check_url(&draft.url)?;
    if !(MIN_CRL_EVERY_SECS..=MAX_CRL_EVERY_SECS).contains(&draft.every_secs) {
        return Err(bad(format!(
            "everySecs: a revocation list is fetched every {MIN_CRL_EVERY_SECS} to \
             {MAX_CRL_EVERY_SECS} seconds"
        )));
    }
    let mut crl = begun(existing, ca, now, fresh);
    crl.source = Some(CrlSource {
        url: draft.url,
        every_secs: draft.every_secs,
        entity_tag: None,
        due: now,
        last_success: None,
        last_error: None,
        n_failures: 0,
    });
    Ok(crl)
}

/// `https:` or `http:` to anywhere, without a user: a list is signed. Whether `http:` is asked is a
/// setting of whoever asks.
fn check_url(url: &str) -> Result<(), OperatorRefusal> {
    if url.len() > MAX_CRL_URL_BYTES {
        return Err(bad(format!("url: has more than {MAX_CRL_URL_BYTES} bytes")));
    }
    let scheme = |scheme: &str| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = scheme("https://").or_else(|| scheme("http://")) else {
        return Err(bad("url: must begin with https:// or http://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(bad(
            "url: holds a user name or a password (`…@`); leave it out: revocation lists are asked \
             for without one",
        ));
    }
    if host_of(authority).is_empty() {
        return Err(bad(
            "url: names no host; expected one after https://, or an IPv6 address in brackets",
        ));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad(
            "url: holds a blank or another character that no URL has; write it as `%20` and the \
             like, and a host beyond ASCII as `xn--…`",
        ));
    }
    if rest.contains('#') {
        return Err(bad("url: holds a fragment (`#…`); leave it out"));
    }
    Ok(())
}

fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().filter(|ip| ip.parse::<IpAddr>().is_ok()),
        None => authority.split(':').next(),
    }
    .unwrap_or_default()
}

/// What becomes of a list that is not followed any more; nothing when none ever came.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag.
pub fn unfollow(
    existing: Option<&Crl>,
    id: &str,
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<Option<Crl>, OperatorRefusal> {
    let stored = existing.filter(|stored| stored.source.is_some());
    let stored = stored.ok_or_else(|| OperatorRefusal::CrlNotFound(id.to_owned()))?;
    check_etag(&stored.etag, precondition)?;
    let kept = stored.list.is_some().then(|| {
        let etag = Etag::from_random(fresh.etag);
        Crl { source: None, etag, last_updated: now, ..stored.clone() }
    });
    Ok(kept)
}

/// Whether a list may be deleted: whom it revoked is admitted again.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag.
pub fn delete<'a>(
    existing: Option<&'a Crl>,
    id: &str,
    precondition: &Precondition,
) -> Result<&'a Crl, OperatorRefusal> {
    let stored = existing.ok_or_else(|| OperatorRefusal::CrlNotFound(id.to_owned()))?;
    check_etag(&stored.etag, precondition)?;
    Ok(stored)
}

/// What came of asking a URL.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// There is no newer list than the one with our entity tag.
    NotModified,
    /// A list, read with the CA's key or refused, and its entity tag.
    List(Box<Result<Read, NotTaken>>, Option<String>),
    /// No answer, or none that is a list; in words.
    Failed(String),
}

/// What becomes of a followed list after its URL was asked; nothing when it is not followed any
/// more. What fails leaves the list that counts in its place.
#[must_use]
pub fn fetched(existing: &Crl, outcome: Fetched, now: Timestamp, fresh: &Fresh) -> Option<Taken> {
    let source = existing.source.as_ref()?;
    let every = i64::from(source.every_secs);
    let succeeded = |entity_tag: Option<String>| CrlSource {
        entity_tag,
        due: now.plus_secs(every),
        last_success: Some(now),
        last_error: None,
        n_failures: 0,
        ..source.clone()
    };
    let failed = |why: String| {
        let doublings = source.n_failures.min(20);
        let wait = FIRST_RETRY_SECS.saturating_mul(1 << doublings).min(every);
        CrlSource {
            due: now.plus_secs(wait),
            last_error: Some(why.chars().take(MAX_ERROR_CHARS).collect()),
            n_failures: source.n_failures.saturating_add(1),
            ..source.clone()
        }
    };
    let (source, news) = match outcome {
        Fetched::Failed(why) => (failed(why), None),
        // Nobody asked it to say that.
        Fetched::NotModified if existing.list.is_none() || source.entity_tag.is_none() => (
            failed("the server answered that there is nothing new, and was not asked".to_owned()),
            None,
        ),
        Fetched::NotModified => (succeeded(source.entity_tag.clone()), None),
        Fetched::List(read, entity_tag) => {
            let compared =
                read.and_then(|read| compare(existing.list.as_ref(), read.contents, now));
            match compared {
                Ok(News::Same) => (succeeded(entity_tag), None),
                Ok(News::Newer(list, revoked)) => (succeeded(entity_tag), Some((list, revoked))),
                Err(why) => (failed(why.to_string()), None),
            }
        }
    };
    let mut crl = Crl { source: Some(source), ..existing.clone() };
    let revoked = news.map(|(list, revoked)| {
        crl.list = Some(list);
        // The etag is the operator's: it moves with what they see change, not with each question.
        crl.etag = Etag::from_random(fresh.etag);
        crl.last_updated = now;
        revoked
    });
    Some(Taken { crl, revoked })
}

/// How serial numbers change from those that are there to these.
#[must_use]
pub fn change(ca: &EnrolledCertificate, before: &Serials, after: &Serials) -> RevokedChange {
    RevokedChange {
        ca: ca.keys.subject_and_key,
        issuer: ca.keys.subject,
        added: Arc::new(after.without(before)),
        removed: Arc::new(before.without(after)),
        step: RevokedStep::Whole,
    }
}

/// The row to write into: the one that is there, or a new one of this CA.
fn begun(existing: Option<&Crl>, ca: &EnrolledCertificate, now: Timestamp, fresh: &Fresh) -> Crl {
    Crl {
        ca: ca.clone(),
        list: existing.and_then(|stored| stored.list.clone()),
        source: existing.and_then(|stored| stored.source.clone()),
        etag: Etag::from_random(fresh.etag),
        created: existing.map_or(now, |stored| stored.created),
        last_updated: now,
        version: existing.map_or(0, |stored| stored.version),
    }
}

#[cfg(test)]
mod tests;
