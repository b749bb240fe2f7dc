//! Shared access policies (O §1.5, §3.3).

use model::{AccessPolicy, Json, OperatorRefusal, Right, Rights, SymmetricKey};

use super::{read_object, stamped};
use crate::{
    read::{Malformed, Members},
    write::Object,
};

/// A policy as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyBody {
    /// `rights`
    pub rights: Rights,
    /// `primaryKey`, unless it is to be generated or kept.
    pub primary: Option<SymmetricKey>,
    /// `secondaryKey`, unless it is to be generated or kept.
    pub secondary: Option<SymmetricKey>,
}

/// Parses the body of a `PUT` of the policy of this name. `rights` is one text as in
/// `ServiceConfig, EnrollmentWrite`, or an array; words in any letter case. What a `GET` shows
/// besides is accepted and ignored.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_policy(name: &str, body: &[u8]) -> Result<PolicyBody, OperatorRefusal> {
    const KNOWN: &[&str] =
        &["keyName", "rights", "primaryKey", "secondaryKey", "etag", "created", "updated"];
    read_object(body, KNOWN, |body| {
        if body.text("keyName")?.is_some_and(|text| text != name) {
            return Err(body.wrong("keyName", "is not the one of the path"));
        }
        Ok(PolicyBody {
            rights: read_rights(body)?,
            primary: read_key(body, "primaryKey")?,
            secondary: read_key(body, "secondaryKey")?,
        })
    })
}

fn read_rights(body: &Members<'_>) -> Result<Rights, Malformed> {
    const RIGHTS: &str = "rights";
    let words: Vec<String> = match body.value(RIGHTS) {
        None => return Err(body.missing(RIGHTS)),
        Some(Json::Array(_)) => body.strings(RIGHTS)?.unwrap_or_default(),
        Some(_) => {
            let text = body.required_string(RIGHTS)?;
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        }
    };
    let right = |word: &String| {
        Right::ALL.into_iter().find(|right| right.name().eq_ignore_ascii_case(word.trim()))
    };
    let rights: Option<Vec<Right>> = words.iter().map(right).collect();
    let rights = rights.ok_or_else(|| {
        let known = Right::ALL.map(Right::name).join(", ");
        body.wrong(RIGHTS, format!("one of the words is none of {known}"))
    })?;
    Ok(Rights::of(&rights))
}

fn read_key(body: &Members<'_>, name: &str) -> Result<Option<SymmetricKey>, Malformed> {
    let key = body.text(name)?.map(SymmetricKey::parse).transpose();
    key.map_err(|bad| body.wrong(name, bad.to_string()))
}

/// Which of a policy's keys is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotatedKey {
    /// The primary one.
    Primary,
    /// The secondary one.
    Secondary,
}

/// Parses the body of a rotation: which key, and the new one unless it is to be generated.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_rotation(body: &[u8]) -> Result<(RotatedKey, Option<SymmetricKey>), OperatorRefusal> {
    const KEYS: &[(&str, RotatedKey)] =
        &[("primary", RotatedKey::Primary), ("secondary", RotatedKey::Secondary)];
    read_object(body, &["key", "value"], |body| {
        let key = body.word("key", KEYS)?.ok_or_else(|| body.missing("key"))?;
        Ok((key, read_key(body, "value")?))
    })
}

/// A policy, without its keys.
#[must_use]
pub fn policy(policy: &AccessPolicy) -> Json {
    let object = Object::new()
        .with("keyName", policy.name.as_str())
        .with("rights", rights_text(policy.rights).as_str());
    stamped(object, policy.etag.as_str(), policy.created, policy.last_updated).build()
}

/// A policy with its keys: the answer to `listkeys`, and nothing else may show it.
#[must_use]
pub fn policy_with_keys(policy: &AccessPolicy) -> Json {
    let object = Object::new()
        .with("keyName", policy.name.as_str())
        .with("primaryKey", policy.keys.primary.reveal())
        .with("secondaryKey", policy.keys.secondary.reveal())
        .with("rights", rights_text(policy.rights).as_str());
    stamped(object, policy.etag.as_str(), policy.created, policy.last_updated).build()
}

/// Rights as one text: those that a stronger one contains are left out (O §1.5).
#[must_use]
pub fn rights_text(rights: Rights) -> String {
    rights.collapsed().into_iter().map(Right::name).collect::<Vec<_>>().join(", ")
}
