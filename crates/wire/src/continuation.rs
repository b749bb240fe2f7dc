//! Continuation tokens: where a listing goes on. Opaque, stateless, and stable while items come
//! and go, because they hold the key of the last item and no offset (O §1.9).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;

/// The layout of the token; another first byte is another release's token.
const LAYOUT: u8 = 1;

/// The longest token we look at, in bytes. Keys are ids of at most 128 bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// What a token lists. A token of one collection means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Individual enrollments.
    Enrollments,
    /// Enrollment groups.
    EnrollmentGroups,
    /// Groups of TPMs.
    TpmEnrollmentGroups,
    /// Registration records.
    Registrations,
    /// Registration records without an enrollment.
    Orphans,
    /// Devices a hub query found.
    Devices,
    /// Lines of the audit log.
    AuditLines,
    /// Bans.
    Bans,
    /// Plans and receipts of deprovisionings.
    Deprovisionings,
    /// Devices of a plan or a receipt.
    DeprovisionedDevices,
    /// Attempts.
    Attempts,
}

impl Collection {
    const fn tag(self) -> u8 {
        match self {
            Self::Enrollments => b'e',
            Self::EnrollmentGroups => b'g',
            Self::TpmEnrollmentGroups => b't',
            Self::Registrations => b'r',
            Self::Orphans => b'o',
            Self::Devices => b'd',
            Self::AuditLines => b'a',
            Self::Bans => b'b',
            Self::Deprovisionings => b'p',
            Self::DeprovisionedDevices => b'v',
            Self::Attempts => b'n',
        }
    }
}

/// The text is no token of ours, or one of another collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("x-ms-continuation is not a token of this query; begin again without it")]
pub struct BadContinuation;

/// Makes the token that goes on after `key`.
#[must_use]
pub fn encode(collection: Collection, key: &str) -> String {
    let mut bytes = vec![LAYOUT, collection.tag()];
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key to go on after.
///
/// # Errors
/// [`BadContinuation`]
pub fn decode(collection: Collection, text: &str) -> Result<String, BadContinuation> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(BadContinuation);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| BadContinuation)?;
    match bytes.strip_prefix(&[LAYOUT, collection.tag()]) {
        Some(key) => String::from_utf8(key.to_vec()).map_err(|_| BadContinuation),
        None => Err(BadContinuation),
    }
}

impl From<BadContinuation> for model::OperatorRefusal {
    fn from(bad: BadContinuation) -> Self {
        Self::BadRequest(bad.to_string())
    }
}

impl From<BadContinuation> for model::HubRefusal {
    fn from(bad: BadContinuation) -> Self {
        Self::ArgumentInvalid(bad.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_where_it_was_made_and_nowhere_else() {
        let token = encode(Collection::Enrollments, "press:17");
        assert_eq!(decode(Collection::Enrollments, &token).as_deref(), Ok("press:17"));
        assert_eq!(decode(Collection::EnrollmentGroups, &token), Err(BadContinuation));
        let long = "A".repeat(2000);
        for bad in ["", "x", "AA", "????", long.as_str()] {
            assert_eq!(decode(Collection::Enrollments, bad), Err(BadContinuation), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn decoding_never_panics(text: String) {
            let _ = decode(Collection::Devices, &text);
        }
    }
}
