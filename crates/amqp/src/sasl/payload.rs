//! What the mechanisms PLAIN and TPM carry, as bytes and text (D §3.2, §3.3, H §4.3.2). Nothing is
//! judged here.

use std::fmt;

use thiserror::Error;
use wire::sas::MAX_TOKEN_BYTES;

/// The longest user name that is looked at, in bytes: an ID scope or a host and two IDs take less.
const MAX_USER_BYTES: usize = 1024;
/// The largest key of a TPM that is looked at, in bytes; that of RSA-2048 has 316.
const MAX_KEY_BYTES: usize = 1024;

/// “There is nothing here”: all of a message whose data is in one piece has this before it.
const WHOLE: u8 = 0x00;
/// More than nothing is here.
const HAS_DATA: u8 = 0x80;
/// It is the last piece.
const IS_LAST: u8 = 0x40;

/// The initial response of PLAIN: who, and with what. The authorization identity is passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// The user name; never empty.
    pub user: &'a str,
    /// The password; never empty.
    pub password: &'a str,
}

/// Prints no password.
impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whom a user name of PLAIN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainUser<'a> {
    /// `{scope}/registrations/{id}`: a device, to the provisioning service. The ID as written.
    Registration {
        /// The ID scope; never empty.
        scope: &'a str,
        /// The registration ID; never empty.
        registration_id: &'a str,
    },
    /// `{id}@sas.{hub}`: a device, to its hub.
    Device {
        /// The device ID; never empty.
        device_id: &'a str,
        /// The hub: the first label of its host name, or all of it; never empty.
        hub: &'a str,
    },
    /// `{policy}@sas.root.{hub}`: a service, to a hub.
    Policy {
        /// The policy's name; never empty.
        policy: &'a str,
        /// As of [`PlainUser::Device`].
        hub: &'a str,
    },
}

/// The first thing that a TPM says: who it is, and its endorsement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpmInit<'a> {
    /// The ID scope; never empty.
    pub scope: &'a str,
    /// The registration ID as written; never empty.
    pub registration_id: &'a str,
    /// The endorsement key, TPM2B_PUBLIC.
    pub endorsement_key: &'a [u8],
}

/// One piece of what a TPM says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpmPiece<'a> {
    /// The bytes behind the control byte.
    pub data: &'a [u8],
    /// Whether more pieces follow.
    pub more: bool,
}

/// Why a payload says nothing. Never holds any of it: it may be a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPayload {
    /// There is none.
    #[error("there is no response")]
    Missing,
    /// It does not consist of the parts that it should.
    #[error("it does not consist of {0}")]
    Parts(&'static str),
    /// A part is empty.
    #[error("there is no {0}")]
    Empty(&'static str),
    /// A part is too long.
    #[error("the {what} has {n_bytes} bytes, {most} are allowed")]
    TooLong {
        /// Which.
        what: &'static str,
        /// How long it is, in bytes.
        n_bytes: usize,
        /// How long it may be, in bytes.
        most: usize,
    },
    /// A part that should be text is none.
    #[error("the {0} is no text")]
    NotText(&'static str),
    /// A user name that names nobody.
    #[error("the user name is neither that of a registration nor of a device or policy of a hub")]
    User,
    /// A control byte that means nothing.
    #[error("the control byte {0:#04x} means nothing")]
    Control(u8),
}

impl<'a> Plain<'a> {
    /// Takes the initial response apart: `[authzid] NUL user NUL password` (RFC 4616).
    ///
    /// # Errors
    /// [`BadPayload`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadPayload> {
        let mut parts = bytes.splitn(3, |b| *b == 0);
        let (Some(_), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPayload::Parts("a user name and a password"));
        };
        let user = text("user name", user, MAX_USER_BYTES)?;
        let password = text("password", password, MAX_TOKEN_BYTES)?;
        Ok(Self { user, password })
    }
}

impl<'a> PlainUser<'a> {
    /// Takes a user name apart. Whether the IDs are legal is not looked at.
    ///
    /// # Errors
    /// [`BadPayload::User`]
    pub fn parse(user: &'a str) -> Result<Self, BadPayload> {
        let both = |(a, b): &(&str, &str)| !a.is_empty() && !b.is_empty();
        // A device ID may hold an `@`, and a host may not.
        if let Some((policy, hub)) = user.rsplit_once("@sas.root.").filter(both) {
            return Ok(Self::Policy { policy, hub });
        }
        if let Some((device_id, hub)) = user.rsplit_once("@sas.").filter(both) {
            return Ok(Self::Device { device_id, hub });
        }
        let mut segments = user.split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(scope), Some(word), Some(registration_id), None)
                if word.eq_ignore_ascii_case("registrations")
                    && both(&(scope, registration_id)) =>
            {
                Ok(Self::Registration { scope, registration_id })
            }
            _ => Err(BadPayload::User),
        }
    }
}

impl<'a> TpmPiece<'a> {
    /// Takes the control byte off. Long data comes in pieces with numbers, which are passed over:
    /// SASL frames come in order.
    ///
    /// # Errors
    /// [`BadPayload`]
    pub const fn parse(bytes: &'a [u8]) -> Result<Self, BadPayload> {
        let Some((control, data)) = bytes.split_first() else { return Err(BadPayload::Missing) };
        // Bit 4 tells a storage root key in the C client's constants, and is never sent.
        match *control & !0x13 {
            WHOLE => Ok(Self { data, more: false }),
            HAS_DATA => Ok(Self { data, more: true }),
            last if last == HAS_DATA | IS_LAST => Ok(Self { data, more: false }),
            _ => Err(BadPayload::Control(*control)),
        }
    }
}

impl<'a> TpmInit<'a> {
    /// Takes apart what stands behind the control byte: `scope NUL id NUL endorsement key`.
    ///
    /// # Errors
    /// [`BadPayload`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadPayload> {
        let mut parts = bytes.splitn(3, |b| *b == 0);
        let (Some(scope), Some(id), Some(endorsement_key)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPayload::Parts("an ID scope, a registration ID and a key"));
        };
        let scope = text("ID scope", scope, MAX_USER_BYTES)?;
        let registration_id = text("registration ID", id, MAX_USER_BYTES)?;
        let endorsement_key = key("endorsement key", endorsement_key)?;
        Ok(Self { scope, registration_id, endorsement_key })
    }
}

/// The storage root key, TPM2B_PUBLIC, of all pieces of an answer.
///
/// # Errors
/// [`BadPayload`]
pub fn storage_root_key(bytes: &[u8]) -> Result<&[u8], BadPayload> {
    key("storage root key", bytes)
}

/// The token that answers the challenge, of all pieces of an answer.
///
/// # Errors
/// [`BadPayload`]
pub fn tpm_token(bytes: &[u8]) -> Result<&str, BadPayload> {
    text("token", bytes, MAX_TOKEN_BYTES)
}

/// The two pieces in which the blob goes to a TPM: never fewer or more, because one client counts
/// them (D §8, 37), and never one of a single byte, which another takes for the question for its
/// storage root key (D §8, 38).
///
/// # Errors
/// [`BadPayload`] for a blob that would not fit: SASL frames have 512 bytes at most (D §3.3).
pub fn tpm_challenges(blob: &[u8]) -> Result<[Vec<u8>; 2], BadPayload> {
    const MOST: usize = 2 * 486;
    let n_bytes = blob.len();
    if n_bytes < 2 {
        return Err(BadPayload::Empty("blob"));
    }
    if n_bytes > MOST {
        return Err(BadPayload::TooLong { what: "blob", n_bytes, most: MOST });
    }
    let (first, second) = blob.split_at(n_bytes.div_ceil(2));
    Ok([[&[HAS_DATA], first].concat(), [&[HAS_DATA | IS_LAST | 1], second].concat()])
}

/// What asks for a storage root key, and for the next piece of anything.
pub const TPM_GO_ON: [u8; 1] = [WHOLE];

fn text<'a>(what: &'static str, bytes: &'a [u8], most: usize) -> Result<&'a str, BadPayload> {
    let n_bytes = bytes.len();
    match n_bytes {
        0 => Err(BadPayload::Empty(what)),
        1.. if n_bytes > most => Err(BadPayload::TooLong { what, n_bytes, most }),
        _ => std::str::from_utf8(bytes).map_err(|_| BadPayload::NotText(what)),
    }
}

const fn key<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], BadPayload> {
    let n_bytes = bytes.len();
    match n_bytes {
        0 => Err(BadPayload::Empty(what)),
        1..=MAX_KEY_BYTES => Ok(bytes),
        _ => Err(BadPayload::TooLong { what, n_bytes, most: MAX_KEY_BYTES }),
    }
}

#[cfg(test)]
mod tests;
