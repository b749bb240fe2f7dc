//! What an operator sets on a group beside what the vendor's API shows.

use model::{EnrollmentGroup, GroupSettings, Json, OperatorRefusal, StaleCrl};

use super::read_object;
use crate::write::Object;

const STALE_CRL: &[(&str, StaleCrl)] = &[("admit", StaleCrl::Admit), ("refuse", StaleCrl::Refuse)];

/// Parses the body of a `PUT` of a group's settings. What is absent or `null` is left to the
/// service. What a `GET` shows besides is accepted and ignored, so that its answer can be sent
/// back.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_group_settings(body: &[u8]) -> Result<GroupSettings, OperatorRefusal> {
    const KNOWN: &[&str] = &["disenrollEndsSessions", "staleCrl", "enrollmentGroupId", "etag"];
    read_object(body, KNOWN, |body| {
        Ok(GroupSettings {
            disenroll_ends_sessions: body.bool("disenrollEndsSessions")?,
            stale_crl: body.word("staleCrl", STALE_CRL)?,
        })
    })
}

/// A group's settings, with the group's etag.
#[must_use]
pub fn group_settings(group: &EnrollmentGroup) -> Json {
    let settings = &group.settings;
    let stale_crl = settings.stale_crl.and_then(|is| STALE_CRL.iter().find(|(_, one)| *one == is));
    Object::new()
        .with("enrollmentGroupId", group.group_id.as_str())
        .with_nullable("disenrollEndsSessions", settings.disenroll_ends_sessions)
        .with_nullable("staleCrl", stale_crl.map(|(word, _)| *word))
        .with("etag", group.terms.etag.as_str())
        .build()
}
