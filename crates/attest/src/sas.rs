//! Shared access signatures: what a token must satisfy.
//!
//! The signed text is taken from the token as it stood there, never rebuilt: clients disagree on
//! how the resource is encoded and sign what they send (D §0.5). Taking a token's text apart is
//! `wire`'s task.

use aws_lc_rs::hmac;
use model::{AttestFailure, RegistrationId, SasToken, SymmetricKey, SymmetricKeys, Timestamp};
use subtle::ConstantTimeEq;

pub use crate::Slot;

/// What an operator may set about tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many seconds a token is accepted after its time, for devices whose clock is slow.
    pub clock_skew_secs: i64,
}

impl Default for Settings {
    /// Five minutes, the tolerance the documentation of hubs speaks of (H §2.2).
    fn default() -> Self {
        Self { clock_skew_secs: 300 }
    }
}

/// The signature of a token: HMAC-SHA256 of `sr`, a line feed and `se`, both as they stand in
/// the token.
///
/// Source: D §0.5, H §2.2.
#[must_use]
pub fn sign(key: &SymmetricKey, resource_raw: &str, expiry_raw: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.bytes()));
    context.update(resource_raw.as_bytes());
    context.update(b"\n");
    context.update(expiry_raw.as_bytes());
    bytes_of(&context.sign())
}

/// The key of one device of a group: HMAC-SHA256 of its registration ID.
///
/// Every tool hashes the ID as typed, so letter case matters here. Source: D §0.6.
#[must_use]
pub fn derive(group_key: &SymmetricKey, registration_id: &str) -> SymmetricKey {
    let key = hmac::Key::new(hmac::HMAC_SHA256, group_key.bytes());
    SymmetricKey::derived(&bytes_of(&hmac::sign(&key, registration_id.as_bytes())))
}

/// Checks the signature against both keys, in constant time: both are always computed.
///
/// # Errors
/// [`AttestFailure::BadSignature`] when neither fits.
pub fn verify_signature(token: &SasToken, keys: &SymmetricKeys) -> Result<Slot, AttestFailure> {
    let fits = |key: &SymmetricKey| {
        sign(key, &token.resource_raw, &token.expiry_raw)[..].ct_eq(&token.signature)
    };
    let (primary, secondary) = (fits(&keys.primary), fits(&keys.secondary));
    match (bool::from(primary), bool::from(secondary)) {
        (true, _) => Ok(Slot::Primary),
        (false, true) => Ok(Slot::Secondary),
        (false, false) => Err(AttestFailure::BadSignature),
    }
}

/// Checks that the token's time is not over, give or take `skew_secs` seconds in its favour.
/// There is no upper limit: clients make tokens for a year (O §1.4).
///
/// # Errors
/// [`AttestFailure::TokenExpired`].
pub fn check_expiry(token: &SasToken, now: Timestamp, skew_secs: i64) -> Result<(), AttestFailure> {
    if token.expiry_unix_secs.saturating_add(skew_secs) > now.unix_secs() {
        Ok(())
    } else {
        Err(AttestFailure::TokenExpired)
    }
}

/// Checks that the token is for this registration ID at this scope, ignoring ASCII case (one
/// client signs in lower case, D §0.5).
///
/// # Errors
/// [`AttestFailure::WrongResource`].
pub fn check_device_resource(
    token: &SasToken,
    scope: &str,
    id: &RegistrationId,
) -> Result<(), AttestFailure> {
    let expected = format!("{scope}/registrations/{}", id.as_str());
    if token.resource.eq_ignore_ascii_case(&expected) {
        Ok(())
    } else {
        Err(AttestFailure::WrongResource)
    }
}

/// The device keys derived from a group's, if the token is signed with one of them; and from
/// which.
///
/// The registration ID is tried as the device spelled it, then in lower case (D §0.6, D appendix
/// D11); the keys returned are those of the spelling that fits.
#[must_use]
pub fn match_derived(
    token: &SasToken,
    group: &SymmetricKeys,
    registration_id: &RegistrationId,
) -> Option<(SymmetricKeys, Slot)> {
    find_derived(group, registration_id, |keys| verify_signature(token, keys))
}

/// [`match_derived`] for a device whose key is known: which of the derived keys it is.
#[must_use]
pub fn match_derived_key(
    key: &SymmetricKey,
    group: &SymmetricKeys,
    registration_id: &RegistrationId,
) -> Option<(SymmetricKeys, Slot)> {
    find_derived(group, registration_id, |keys| match_key(key, keys))
}

fn find_derived(
    group: &SymmetricKeys,
    registration_id: &RegistrationId,
    matches: impl Fn(&SymmetricKeys) -> Result<Slot, AttestFailure>,
) -> Option<(SymmetricKeys, Slot)> {
    let matching = |spelling: &str| {
        let keys = SymmetricKeys {
            primary: derive(&group.primary, spelling),
            secondary: derive(&group.secondary, spelling),
        };
        let slot = matches(&keys).ok()?;
        Some((keys, slot))
    };
    let (presented, lower) = (registration_id.as_str(), registration_id.key());
    matching(presented).or_else(|| if lower == presented { None } else { matching(lower) })
}

/// Which of two keys this one is, in constant time: what [`verify_signature`] says of every token
/// that is signed with it.
///
/// # Errors
/// [`AttestFailure::BadSignature`] when it is neither.
pub fn match_key(key: &SymmetricKey, keys: &SymmetricKeys) -> Result<Slot, AttestFailure> {
    let is = |other: &SymmetricKey| key.bytes().ct_eq(other.bytes());
    let (primary, secondary) = (is(&keys.primary), is(&keys.secondary));
    match (bool::from(primary), bool::from(secondary)) {
        (true, _) => Ok(Slot::Primary),
        (false, true) => Ok(Slot::Secondary),
        (false, false) => Err(AttestFailure::BadSignature),
    }
}

fn bytes_of(tag: &hmac::Tag) -> [u8; 32] {
    let mut bytes = [0; 32];
    // An HMAC-SHA256 has 32 bytes; the zip keeps a panic out of the question.
    for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests;
