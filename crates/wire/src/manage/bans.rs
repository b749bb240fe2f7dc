//! Bans: who is kept out whatever an enrollment says.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    Ban, BanKind, BanSubject, Json, OperatorRefusal, RegistrationId,
    ban::{BanDraft, IssuerDraft, SubjectDraft, Thumbprint},
    hex,
};

use super::read_object;
use crate::{
    pem,
    read::{Malformed, Members},
    time,
    write::Object,
};

/// The members of a ban that say whom it is about; a request has one of them.
const SUBJECTS: [&str; 5] =
    ["registrationId", "certificate", "thumbprint", "serialNumber", "endorsementKey"];

/// Parses the body of a `POST`.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_ban(body: &[u8]) -> Result<BanDraft, OperatorRefusal> {
    let mut known = SUBJECTS.to_vec();
    known.extend(["issuer", "reason", "expires"]);
    read_object(body, &known, |body| {
        Ok(BanDraft {
            subject: subject(body)?,
            reason: body.string("reason")?.map(str::to_owned),
            expires: match body.string("expires")? {
                None => None,
                Some(text) => {
                    let bad = |bad: time::BadTime| body.wrong("expires", bad.to_string());
                    Some(time::parse(text).map_err(bad)?)
                }
            },
        })
    })
}

fn subject(body: &Members<'_>) -> Result<SubjectDraft, Malformed> {
    let given: Vec<&str> = SUBJECTS.into_iter().filter(|name| body.value(name).is_some()).collect();
    let [name] = given.as_slice() else {
        let one_of = SUBJECTS.join(", ");
        return Err(Malformed::new("", format!("expected exactly one of {one_of}")));
    };
    if *name != "serialNumber" && body.value("issuer").is_some() {
        return Err(body.wrong("issuer", "goes with serialNumber only"));
    }
    let text = body.required_string(name)?;
    Ok(match *name {
        "registrationId" => {
            let id = RegistrationId::parse(text);
            SubjectDraft::Registration(id.map_err(|bad| body.wrong(name, bad.to_string()))?)
        }
        "certificate" => SubjectDraft::Certificate(certificate(body, name, text)?),
        "thumbprint" => SubjectDraft::Thumbprint(
            Thumbprint::parse(text)
                .ok_or_else(|| body.wrong(name, "expected 40 or 64 hex digits"))?,
        ),
        "serialNumber" => {
            let issuer = body.required_string("issuer")?;
            let issuer = match Thumbprint::parse(issuer) {
                Some(thumbprint) => IssuerDraft::Thumbprint(thumbprint),
                None => IssuerDraft::Certificate(certificate(body, "issuer", issuer)?),
            };
            SubjectDraft::Serial { issuer, serial: text.to_owned() }
        }
        _ => {
            let bad = |_| body.wrong(name, "expected base64");
            SubjectDraft::EndorsementKey(STANDARD.decode(text.trim()).map_err(bad)?)
        }
    })
}

fn certificate(body: &Members<'_>, name: &str, text: &str) -> Result<Vec<u8>, Malformed> {
    pem::certificate(text).map_err(|bad| body.wrong(name, bad.to_string()))
}

/// A ban.
#[must_use]
pub fn ban(ban: &Ban) -> Json {
    let mut object = Object::new().with("name", ban.subject.key().as_str());
    object = match &ban.subject {
        BanSubject::Registration(id) => object.with("registrationId", id.as_str()),
        BanSubject::Certificate { sha256, .. } => {
            object.with("thumbprint", hex::upper(sha256).as_str())
        }
        BanSubject::CertificateSha1 { sha1, .. } => {
            object.with("thumbprint", hex::upper(sha1).as_str())
        }
        BanSubject::Ca(ca) => object
            .with("thumbprint", ca.info.sha256_thumbprint.as_str())
            .with("subject", ca.info.subject_name.as_str()),
        BanSubject::Serial { issuer_name, serial, .. } => {
            object.with("serialNumber", serial.as_str()).with("issuer", issuer_name.as_str())
        }
        BanSubject::EndorsementKey(sha256) => {
            object.with("endorsementKeySha256", hex::upper(sha256).as_str())
        }
    };
    object
        .with("about", about(&ban.subject))
        .with("kind", kind(ban.kind))
        .with_some("reason", ban.reason.as_deref())
        .with("by", ban.by.policy.as_str())
        .with("created", time::wire(ban.created).as_str())
        .with_some("expires", ban.expires.map(time::wire).as_deref())
        .with_some("receipt", ban.receipt.as_ref().map(model::ReceiptId::as_str))
        .build()
}

const fn about(subject: &BanSubject) -> &'static str {
    match subject {
        BanSubject::Registration(_) => "registration",
        BanSubject::Certificate { .. } | BanSubject::CertificateSha1 { .. } => "certificate",
        BanSubject::Ca(_) => "ca",
        BanSubject::Serial { .. } => "serial",
        BanSubject::EndorsementKey(_) => "endorsementKey",
    }
}

/// The word of a kind of ban.
#[must_use]
pub const fn kind(kind: BanKind) -> &'static str {
    match kind {
        BanKind::Suspended => "suspended",
        BanKind::Retired => "retired",
        BanKind::Revoked => "revoked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_has_one_subject() {
        let check = |body: &str, expected: &str| {
            let refusal = parse_ban(body.as_bytes()).expect_err(body);
            assert!(refusal.to_string().contains(expected), "{body}: {refusal}");
        };
        check("{}", "expected exactly one of registrationId");
        check(r#"{"registrationId":"a","thumbprint":"b"}"#, "expected exactly one of");
        check(r#"{"registrationId":"a b"}"#, "registrationId");
        check(r#"{"registrationId":"a","issuer":"b"}"#, "issuer: goes with serialNumber");
        check(r#"{"thumbprint":"AB"}"#, "thumbprint: expected 40 or 64 hex digits");
        check(r#"{"serialNumber":"1"}"#, "issuer");
        check(r#"{"endorsementKey":"%"}"#, "endorsementKey: expected base64");
        check(r#"{"registrationId":"a","expires":"soon"}"#, "expires");
        check(r#"{"registrationId":"a","why":"x"}"#, "why");
    }

    #[test]
    fn a_ban_is_read_as_it_is_meant() {
        let body = br#"{"registrationId":"press-17","reason":"stolen",
            "expires":"2030-01-01T00:00:00Z"}"#;
        let draft = parse_ban(body).expect("a ban");
        let id = RegistrationId::parse("press-17").expect("an ID");
        assert_eq!(draft.subject, SubjectDraft::Registration(id));
        assert_eq!(draft.reason.as_deref(), Some("stolen"));
        assert_eq!(draft.expires.map(time::wire).as_deref(), Some("2030-01-01T00:00:00Z"));
    }
}
