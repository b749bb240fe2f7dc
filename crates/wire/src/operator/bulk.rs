//! Bulk calls on enrollments and enrollment groups (O §1.10).

use model::{
    EnrollmentGroupId, GroupDraft, IndividualDraft, Json, OperatorRefusal, RegistrationId,
};

use super::{
    error_row,
    request::{parse_body, read_group, read_group_id, read_individual, read_registration_id},
};
use crate::{
    read::{Malformed, Members},
    write::Object,
};

/// How many items one call may hold (O §1.10).
pub const MAX_BULK_ITEMS: usize = 10;

/// A bulk call: the mode, and drafts `D` to write or ids `I` to delete.
///
/// An item that cannot be read refuses the whole call before anything is applied; an item that
/// is refused later is told in the answer, and the others stay applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bulk<D, I> {
    /// `create`
    Create(Vec<D>),
    /// `update`: each draft's `etag` is its precondition.
    Update(Vec<D>),
    /// `updateIfMatchETag`, in any letter case: Node spells it `updateIfMatchEtag`.
    UpdateIfMatchEtag(Vec<D>),
    /// `delete`: items may be whole enrollments or bare ids; etags are ignored.
    Delete(Vec<I>),
}

#[derive(Clone, Copy)]
enum Mode {
    Create,
    Update,
    UpdateIfMatchEtag,
    Delete,
}

const MODES: &[(&str, Mode)] = &[
    ("create", Mode::Create),
    ("update", Mode::Update),
    ("updateIfMatchETag", Mode::UpdateIfMatchEtag),
    ("delete", Mode::Delete),
];

/// Parses a bulk call on individual enrollments.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member, or the number of items.
pub fn parse_bulk_individuals(
    body: &[u8],
) -> Result<Bulk<IndividualDraft, RegistrationId>, OperatorRefusal> {
    let body = parse_body(body)?;
    Ok(read(&body, "enrollments", read_individual, read_registration_id)?)
}

/// Parses a bulk call on enrollment groups.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member, or the number of items.
pub fn parse_bulk_groups(
    body: &[u8],
) -> Result<Bulk<GroupDraft, EnrollmentGroupId>, OperatorRefusal> {
    let body = parse_body(body)?;
    Ok(read(&body, "enrollmentGroups", read_group, read_group_id)?)
}

fn read<D, I>(
    body: &Json,
    list: &str,
    draft: fn(&Members<'_>) -> Result<D, Malformed>,
    id: fn(&Members<'_>) -> Result<I, Malformed>,
) -> Result<Bulk<D, I>, Malformed> {
    let body = Members::of(body, "")?;
    let mode = body.word("mode", MODES)?.ok_or_else(|| body.missing("mode"))?;
    let items = body.array(list)?.ok_or_else(|| body.missing(list))?;
    if items.len() > MAX_BULK_ITEMS {
        let n_items = items.len();
        return Err(
            body.wrong(list, format!("at most {MAX_BULK_ITEMS} items, these are {n_items}"))
        );
    }
    let items = items
        .iter()
        .enumerate()
        .map(|(i, item)| Members::of(item, format!("{list}[{i}]")))
        .collect::<Result<Vec<_>, _>>()?;
    let drafts = || items.iter().map(draft).collect::<Result<Vec<_>, _>>();
    Ok(match mode {
        Mode::Create => Bulk::Create(drafts()?),
        Mode::Update => Bulk::Update(drafts()?),
        Mode::UpdateIfMatchEtag => Bulk::UpdateIfMatchEtag(drafts()?),
        Mode::Delete => Bulk::Delete(items.iter().map(id).collect::<Result<_, _>>()?),
    })
}

/// The answer to a bulk call on individual enrollments, from the items that were refused. Its
/// HTTP status is 200 even then.
#[must_use]
pub fn bulk_answer_individuals(refused: &[(RegistrationId, OperatorRefusal)]) -> Json {
    let refused = refused.iter().map(|(id, refusal)| (id.as_str(), refusal));
    bulk_answer("registrationId", refused)
}

/// The answer to a bulk call on enrollment groups, from the items that were refused.
#[must_use]
pub fn bulk_answer_groups(refused: &[(EnrollmentGroupId, OperatorRefusal)]) -> Json {
    let refused = refused.iter().map(|(id, refusal)| (id.as_str(), refusal));
    bulk_answer("enrollmentGroupId", refused)
}

fn bulk_answer<'a>(
    id_name: &str,
    refused: impl Iterator<Item = (&'a str, &'a OperatorRefusal)>,
) -> Json {
    let error = |(id, refusal): (&str, &OperatorRefusal)| {
        let row = error_row(refusal);
        Object::new()
            .with(id_name, id)
            .with("errorCode", u64::from(row.code))
            .with("errorStatus", row.message.as_str())
            .build()
    };
    let errors: Vec<_> = refused.map(error).collect();
    let is_successful = errors.is_empty();
    Object::new().with("errors", Json::Array(errors)).with("isSuccessful", is_successful).build()
}
