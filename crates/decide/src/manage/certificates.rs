//! CA certificates and the proof that their key is held (O §3.5).

use attest::{certificate, possession};
use model::{CaCertificate, Etag, Fresh, OperatorRefusal, Precondition, Timestamp, hex};

use super::{bad, check_etag, check_put, within};

/// The longest name of a certificate, in characters (O §3.5).
pub const MAX_NAME_CHARS: usize = 256;

/// How many random bytes make a verification code.
pub const CODE_BYTES: usize = 24;

/// A CA certificate as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaDraft {
    /// Its name.
    pub name: String,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Whether it counts as verified at once, without a proof. Absent: if it is the certificate
    /// that is there, as that was; otherwise no.
    pub verified: Option<bool>,
}

/// What a CA certificate becomes when this draft is put. `n_certificates` is how many there are.
///
/// # Errors
/// [`OperatorRefusal`]: exists, not there, stale etag, too many, or no CA certificate.
pub fn put(
    existing: Option<&CaCertificate>,
    draft: &CaDraft,
    precondition: &Precondition,
    n_certificates: u64,
    limit: u64,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<CaCertificate, OperatorRefusal> {
    let name = || draft.name.clone();
    check_put(
        existing.map(|stored| &stored.etag),
        precondition,
        || OperatorRefusal::CaCertificateExists(name()),
        || OperatorRefusal::CaCertificateNotFound(name()),
    )?;
    check_name(&draft.name)?;
    if existing.is_none() {
        within(n_certificates, limit, "CA certificates")?;
    }
    let unreadable = |why| bad(format!("certificate: {why}"));
    let certificate = certificate::describe(&draft.der).map_err(unreadable)?;
    if !certificate::is_ca(&draft.der).map_err(unreadable)? {
        return Err(bad(format!(
            "certificate: `{}` is no CA certificate: its basic constraints do not say CA. A \
             device's own certificate belongs into an individual enrollment",
            certificate.info.subject_name
        )));
    }
    let same = existing.filter(|stored| stored.certificate.der == draft.der);
    Ok(CaCertificate {
        name: existing.map_or_else(name, |stored| stored.name.clone()),
        certificate,
        verified: draft.verified.unwrap_or_else(|| same.is_some_and(|stored| stored.verified)),
        pending_code: same.and_then(|stored| stored.pending_code.clone()),
        etag: Etag::from_random(fresh.etag),
        created: existing.map_or(now, |stored| stored.created),
        last_updated: now,
        version: existing.map_or(0, |stored| stored.version),
    })
}

fn check_name(name: &str) -> Result<(), OperatorRefusal> {
    let n_chars = name.chars().count();
    if (1..=MAX_NAME_CHARS).contains(&n_chars) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(bad(format!(
        "a certificate's name has 1 to {MAX_NAME_CHARS} characters, none of them a control \
         character"
    )))
}

/// Whether a CA certificate may be deleted. Groups may refer to it: they stop attesting.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag.
pub fn delete<'a>(
    existing: Option<&'a CaCertificate>,
    name: &str,
    precondition: &Precondition,
) -> Result<&'a CaCertificate, OperatorRefusal> {
    let missing = || OperatorRefusal::CaCertificateNotFound(name.to_owned());
    let stored = existing.ok_or_else(missing)?;
    check_etag(&stored.etag, precondition)?;
    Ok(stored)
}

/// The certificate with a new verification code: 48 upper-case hex digits. An earlier code is
/// forgotten.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag.
pub fn generate_code(
    existing: Option<&CaCertificate>,
    name: &str,
    precondition: &Precondition,
    random: &[u8; CODE_BYTES],
    now: Timestamp,
    fresh: &Fresh,
) -> Result<CaCertificate, OperatorRefusal> {
    let stored = delete(existing, name, precondition)?;
    let code = hex::upper(random);
    Ok(CaCertificate {
        pending_code: Some(code),
        etag: Etag::from_random(fresh.etag),
        last_updated: now,
        ..stored.clone()
    })
}

/// The certificate as verified, when `proof` (DER) is called like its verification code and
/// signed with its key. The code is used up by that.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag, or [`OperatorRefusal::NotProven`].
pub fn verify(
    existing: Option<&CaCertificate>,
    name: &str,
    proof: &[u8],
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<CaCertificate, OperatorRefusal> {
    let stored = delete(existing, name, precondition)?;
    let code = stored.pending_code.as_deref().ok_or_else(|| {
        OperatorRefusal::NotProven("no verification code is open; generate one first".to_owned())
    })?;
    possession::verify_possession(proof, &stored.certificate, code, now)
        .map_err(|failure| OperatorRefusal::NotProven(failure.to_string()))?;
    Ok(CaCertificate {
        verified: true,
        pending_code: None,
        etag: Etag::from_random(fresh.etag),
        last_updated: now,
        ..stored.clone()
    })
}

#[cfg(test)]
mod tests;
