//! Revocation lists.

use model::{
    Crl, Json, OperatorRefusal, Timestamp,
    crl::{CrlSource, MAX_CRL_EVERY_SECS},
    hex,
};

use super::{read_object, stamped};
use crate::{time, write::Object};

/// How many serial numbers changed by an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedCounts {
    /// Revoked now, and not before.
    pub n_added: u64,
    /// Not revoked any more.
    pub n_removed: u64,
}

/// A source of lists as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSourceBody {
    /// `url`
    pub url: String,
    /// `everySecs`
    pub every_secs: Option<u32>,
}

/// Parses the body of a `PUT` of a source.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_crl_source(body: &[u8]) -> Result<CrlSourceBody, OperatorRefusal> {
    read_object(body, &["url", "everySecs"], |body| {
        let every_secs = match body.value("everySecs") {
            None => None,
            Some(Json::Number(digits)) if digits.parse::<u32>().is_ok() => digits.parse().ok(),
            Some(_) => {
                let what = format!("expected a number of seconds, up to {MAX_CRL_EVERY_SECS}");
                return Err(body.wrong("everySecs", what));
            }
        };
        Ok(CrlSourceBody { url: body.required_string("url")?.to_owned(), every_secs })
    })
}

/// A revocation list, without the serial numbers on it.
#[must_use]
pub fn crl(crl: &Crl, now: Timestamp) -> Json {
    shown(crl, now, None)
}

/// A list that came in, with what it changed.
#[must_use]
pub fn crl_taken(crl: &Crl, counts: RevokedCounts, now: Timestamp) -> Json {
    shown(crl, now, Some(counts))
}

fn shown(crl: &Crl, now: Timestamp, counts: Option<RevokedCounts>) -> Json {
    let seconds = |moment: Timestamp| time::whole_seconds(moment);
    let mut object = Object::new()
        .with("id", crl.id().as_str())
        .with("ca", crl.ca.info.subject_name.as_str())
        .with("caSha256Thumbprint", crl.ca.info.sha256_thumbprint.as_str())
        .with("isStale", crl.is_stale(now));
    if let Some(list) = &crl.list {
        let number = list.number.as_ref().map(model::CrlNumber::to_hex);
        object = object
            .with_some("number", number.as_deref())
            .with("thisUpdate", seconds(list.this_update).as_str())
            .with_some("nextUpdate", list.next_update.map(seconds).as_deref())
            .with("revoked", list.n_revoked)
            .with("takenIn", time::wire(list.taken_in).as_str())
            .with("sha256", hex::upper(&list.sha256).as_str());
    }
    if let Some(RevokedCounts { n_added, n_removed }) = counts {
        object = object.with("newlyRevoked", n_added).with("noLongerRevoked", n_removed);
    }
    object = object.with_some("source", crl.source.as_ref().map(source));
    stamped(object, crl.etag.as_str(), crl.created, crl.last_updated).build()
}

fn source(source: &CrlSource) -> Json {
    Object::new()
        .with("url", source.url.as_str())
        .with("everySecs", u64::from(source.every_secs))
        .with("nextFetch", time::wire(source.due).as_str())
        .with_some("lastSuccess", source.last_success.map(time::wire).as_deref())
        .with_some("lastError", source.last_error.as_deref())
        .with("failures", u64::from(source.n_failures))
        .build()
}
