//! What a remote hub is sent and what it answers (H §2.4, §3): the other side of [`crate::hub`].
//!
//! What is read here comes from a hub that is not ours: members that are unknown or `null` mean
//! nothing, and whatever cannot be read is said in words, never panicked over.

use json::Limits;
use model::{AuthenticationDraft, IdentityDraft, Json, TwinDraft};

use crate::{
    Malformed,
    hub::{kind_name, read_identity, status_name},
    read::Members,
    write::Object,
};

/// The largest answer that is read, in bytes: a twin with all its metadata stays well below.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The API version that is spoken to remote hubs.
pub const API_VERSION: &str = "2021-04-12";

/// An identity as a hub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// All of it that can be written.
    pub identity: IdentityDraft,
    /// Its etag, without quotes.
    pub etag: Option<String>,
}

/// A twin as a hub shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The tags, without `$` members; an object.
    pub tags: Json,
    /// The desired properties, without `$metadata` and `$version`; an object.
    pub desired: Json,
    /// `properties.desired.$version`, if it is a number.
    pub desired_version: Option<u64>,
    /// `capabilities.iotEdge`
    pub iot_edge: Option<bool>,
    /// Whether `status` is `disabled`; a twin mirrors its identity's.
    pub is_disabled: bool,
    /// `statusReason`
    pub status_reason: Option<String>,
}

/// Why an answer cannot be read: not JSON, or not what the API promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The text is not JSON, or too large.
    #[error("the hub's answer is not JSON: {0}")]
    NotJson(String),
    /// A member is missing or wrong.
    #[error("the hub's answer is not what its API promises: {0}")]
    Malformed(#[from] Malformed),
}

/// The body of a `PUT` of an identity: all of it, since what is left out would be reset (H §2.5).
#[must_use]
pub fn identity_body(draft: &IdentityDraft) -> Json {
    let parents = (!draft.parent_scopes.is_empty()).then(|| {
        Json::Array(draft.parent_scopes.iter().map(|scope| Json::from(scope.as_str())).collect())
    });
    Object::new()
        .with("deviceId", draft.device_id.as_str())
        .with_some("status", draft.status.map(status_name))
        .with_some("statusReason", draft.status_reason.as_deref())
        .with_some("authentication", draft.authentication.as_ref().map(authentication))
        .with_some("capabilities", draft.iot_edge.map(|edge| Object::new().with("iotEdge", edge)))
        .with_some("deviceScope", draft.device_scope.as_deref())
        .with_some("parentScopes", parents)
        .build()
}

fn authentication(draft: &AuthenticationDraft) -> Object {
    let keys = Object::new()
        .with_nullable("primaryKey", draft.primary_key.as_ref().map(|key| key.reveal()))
        .with_nullable("secondaryKey", draft.secondary_key.as_ref().map(|key| key.reveal()));
    let thumbprints = Object::new()
        .with_nullable("primaryThumbprint", draft.primary_thumbprint.as_deref())
        .with_nullable("secondaryThumbprint", draft.secondary_thumbprint.as_deref());
    Object::new()
        .with_some("type", draft.kind.map(kind_name))
        .with("symmetricKey", keys)
        .with("x509Thumbprint", thumbprints)
}

/// The body of a `PUT` of a twin: tags and desired properties, empty where there are none.
#[must_use]
pub fn twin_body(draft: &TwinDraft) -> Json {
    let section = |section: &Option<Json>| match section {
        Some(object @ Json::Object(_)) => object.clone(),
        Some(_) | None => Json::empty_object(),
    };
    Object::new()
        .with("tags", section(&draft.tags))
        .with("properties", Object::new().with("desired", section(&draft.desired)))
        .build()
}

/// Reads an identity.
///
/// # Errors
/// [`BadAnswer`], which never repeats a key.
pub fn read_identity_answer(body: &[u8]) -> Result<Identity, BadAnswer> {
    let body = parse(body)?;
    let members = Members::of(&body, "")?;
    let etag = members.text("etag")?.map(|etag| etag.trim_matches('"').to_owned());
    Ok(Identity { identity: read_identity(&members, "deviceId")?, etag })
}

/// Reads a twin.
///
/// # Errors
/// [`BadAnswer`].
pub fn read_twin_answer(body: &[u8]) -> Result<Twin, BadAnswer> {
    let body = parse(body)?;
    let members = Members::of(&body, "")?;
    let desired = match members.object("properties")? {
        Some(properties) => properties.verbatim_object("desired")?,
        None => None,
    };
    let desired_version = desired.as_ref().and_then(|desired| match desired.get("$version") {
        Some(Json::Number(token)) => token.parse().ok(),
        _ => None,
    });
    let iot_edge = match members.object("capabilities")? {
        Some(capabilities) => capabilities.bool("iotEdge")?,
        None => None,
    };
    Ok(Twin {
        tags: without_system_members(members.verbatim_object("tags")?),
        desired: without_system_members(desired),
        desired_version,
        iot_edge,
        is_disabled: members.text("status")?.is_some_and(|s| s.eq_ignore_ascii_case("disabled")),
        status_reason: members.text("statusReason")?.map(str::to_owned),
    })
}

/// What a hub's error says, in its own words, for the operator and the device (D §1.8).
#[must_use]
pub fn error_text(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..2048).unwrap_or(body)).trim().to_owned();
    match text.is_empty() {
        true => format!("status code {status}"),
        false => text,
    }
}

fn parse(body: &[u8]) -> Result<Json, BadAnswer> {
    Limits::DEFAULT
        .with_max_bytes(MAX_ANSWER_BYTES)
        .parse(body)
        .map_err(|bad| BadAnswer::NotJson(bad.to_string()))
}

fn without_system_members(section: Option<Json>) -> Json {
    match section {
        Some(Json::Object(mut members)) => {
            members.retain(|(name, _)| !name.starts_with('$'));
            Json::Object(members)
        }
        Some(_) | None => Json::empty_object(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub;

    const SAS: &str = r#"{"deviceId":"dev1","status":"disabled","statusReason":"lost","authentication":{"type":"sas","symmetricKey":{"primaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","secondaryKey":"ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="},"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null}},"capabilities":{"iotEdge":true},"deviceScope":"s","parentScopes":["p"]}"#;

    #[test]
    fn an_identity_comes_back_as_it_was_sent_and_a_hub_of_ours_understands_it() {
        let read = read_identity_answer(SAS.as_bytes()).expect("an identity");
        assert_eq!(identity_body(&read.identity).to_string(), SAS);
        let ours = hub::parse_identity(SAS.as_bytes()).expect("our hub reads it");
        assert_eq!(ours, read.identity);
    }

    #[test]
    fn the_recorded_answer_of_a_hub_is_read_with_its_etag() {
        let recorded = r#"{"deviceId":"dev1","generationId":"637612875240648717","etag":"NzI3ODk0ODYz","connectionState":"Disconnected","status":"enabled","statusReason":null,"connectionStateUpdatedTime":"0001-01-01T00:00:00","authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":"BB"},"type":"selfSigned"},"capabilities":{"iotEdge":false}}"#;
        let read = read_identity_answer(recorded.as_bytes()).expect("an identity");
        assert_eq!(read.etag.as_deref(), Some("NzI3ODk0ODYz"));
        let sent = identity_body(&read.identity).to_string();
        assert_eq!(
            sent,
            r#"{"deviceId":"dev1","status":"enabled","authentication":{"type":"selfSigned","symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":"BB"}},"capabilities":{"iotEdge":false}}"#
        );
    }

    #[test]
    fn a_twin_is_read_without_its_metadata() {
        let answer = r#"{"deviceId":"d","tags":{"site":"b1"},"properties":{"desired":{"rate":1.0,"$metadata":{"$lastUpdated":"x"},"$version":3},"reported":{"a":1}},"capabilities":{"iotEdge":true}}"#;
        let twin = read_twin_answer(answer.as_bytes()).expect("a twin");
        assert_eq!((twin.desired_version, twin.iot_edge), (Some(3), Some(true)));
        let draft = TwinDraft { tags: Some(twin.tags), desired: Some(twin.desired) };
        assert_eq!(
            twin_body(&draft).to_string(),
            r#"{"tags":{"site":"b1"},"properties":{"desired":{"rate":1.0}}}"#
        );
    }

    #[test]
    fn a_bad_answer_is_told_without_its_keys() {
        let check = |body: &str, told: &str| {
            let bad = read_identity_answer(body.as_bytes()).expect_err(body).to_string();
            assert_eq!(bad, told);
        };
        check(
            r#"{"deviceId":"d","authentication":{"symmetricKey":{"primaryKey":"secret!"}}}"#,
            "the hub's answer is not what its API promises: authentication.symmetricKey.primaryKey: a symmetric key must be base64",
        );
        assert!(read_identity_answer(b"<html>").is_err());
        assert!(read_twin_answer(&vec![b' '; MAX_ANSWER_BYTES + 1]).is_err());
        assert_eq!(error_text(503, b""), "status code 503");
    }

    proptest::proptest! {
        #[test]
        fn foreign_answers_never_panic(body: Vec<u8>) {
            let _ = (read_identity_answer(&body), read_twin_answer(&body), error_text(500, &body));
        }
    }
}
