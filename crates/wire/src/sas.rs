//! Shared access signatures as text (D §0.5, O §1.4, H §2.2). Nothing is verified here.

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use model::SasToken;
use thiserror::Error;

use crate::percent;

/// The longest token we look at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

const SCHEME: &str = "SharedAccessSignature";

/// Clients pad their signatures; one that does not is understood as well.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not a shared access signature. Never holds the text: it may be a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadToken {
    /// The text has more bytes than [`MAX_TOKEN_BYTES`].
    #[error("the token has {0} bytes, at most {MAX_TOKEN_BYTES} are read")]
    TooLong(usize),
    /// The text does not begin with `SharedAccessSignature`.
    #[error("the credential is not a SharedAccessSignature")]
    OtherScheme,
    /// A member is missing or empty.
    #[error("the token has no {0}")]
    Missing(&'static str),
    /// A member is there more than once.
    #[error("the token has {0} more than once")]
    Repeated(&'static str),
    /// A member holds an illegal percent escape.
    #[error("the token's {0} holds an illegal percent escape")]
    Escape(&'static str),
    /// `se` is not a number of seconds.
    #[error("the token's se is not a number of seconds since 1970")]
    Expiry,
    /// `sig` is not base64.
    #[error("the token's sig is not base64")]
    Signature,
}

/// Takes a token apart: members in any order, unknown ones ignored, `sr` and `se` kept as they
/// stand because that is what was signed.
///
/// `sig` and `skn` are percent-decoded once; an empty `skn` counts as absent. Scheme words compare
/// without case, as in every HTTP credential.
///
/// # Errors
/// [`BadToken`] says what is wrong and never repeats any of it.
pub fn parse(text: &str) -> Result<SasToken, BadToken> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(BadToken::TooLong(text.len()));
    }
    let (scheme, members) = text.trim().split_once(' ').ok_or(BadToken::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(BadToken::OtherScheme);
    }
    let mut sr = Slot::new("sr");
    let mut sig = Slot::new("sig");
    let mut se = Slot::new("se");
    let mut skn = Slot::new("skn");
    for member in members.trim_start().split('&') {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        match name {
            "sr" => sr.fill(value)?,
            "sig" => sig.fill(value)?,
            "se" => se.fill(value)?,
            "skn" => skn.fill(value)?,
            _ => {}
        }
    }
    let resource_raw = sr.required()?;
    let expiry_raw = se.required()?;
    let signature = sig.decoded()?.ok_or(BadToken::Missing("sig"))?;
    if !expiry_raw.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadToken::Expiry);
    }
    Ok(SasToken {
        resource_raw: resource_raw.to_owned(),
        resource: percent::decode(resource_raw).map_err(|_| BadToken::Escape("sr"))?,
        expiry_raw: expiry_raw.to_owned(),
        expiry_unix_secs: expiry_raw.parse().map_err(|_| BadToken::Expiry)?,
        signature: LENIENT.decode(signature).map_err(|_| BadToken::Signature)?,
        key_name: skn.decoded()?,
    })
}

/// Writes a token from its parts, in the order of the vendors' tools. `resource_encoded` must be
/// the text that was signed; see [`percent::encode`].
#[must_use]
pub fn token_text(
    resource_encoded: &str,
    signature: &[u8],
    expiry_unix_secs: i64,
    key_name: Option<&str>,
) -> String {
    let signature = percent::encode(&STANDARD.encode(signature));
    let mut text = format!("{SCHEME} sr={resource_encoded}&sig={signature}&se={expiry_unix_secs}");
    if let Some(key_name) = key_name {
        text.push_str("&skn=");
        text.push_str(&percent::encode(key_name));
    }
    text
}

/// One member of a token while it is taken apart.
struct Slot<'a> {
    name: &'static str,
    value: Option<&'a str>,
}

impl<'a> Slot<'a> {
    const fn new(name: &'static str) -> Self {
        Self { name, value: None }
    }

    fn fill(&mut self, value: &'a str) -> Result<(), BadToken> {
        match self.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(BadToken::Repeated(self.name)),
        }
    }

    fn required(&self) -> Result<&'a str, BadToken> {
        self.value.filter(|value| !value.is_empty()).ok_or(BadToken::Missing(self.name))
    }

    fn decoded(&self) -> Result<Option<String>, BadToken> {
        self.value
            .filter(|value| !value.is_empty())
            .map(|value| percent::decode(value).map_err(|_| BadToken::Escape(self.name)))
            .transpose()
    }
}

#[cfg(test)]
mod tests;
