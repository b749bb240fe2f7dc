//! Enrollment groups.

use model::Caller;
use wire::continuation::Collection;
use wire::operator::{self as api, Show};

use super::{Outcome, after, page, same_id};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = api::group_id(call.param(0))?;
    let precondition = call.precondition()?;
    let draft = api::parse_group(call.body()?)?;
    same_id(&draft.group_id, &id, "enrollmentGroupId")?;
    let written = call.app.put_group(draft, &precondition, by).await?;
    Ok(Answer::ok(&api::group(&written, Show::PutAnswer)))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let id = api::group_id(call.param(0))?;
    let group = call.app.get_group(&id).await?;
    Ok(Answer::ok(&api::group(&group, Show::Get(None))))
}

pub(super) async fn attestation(call: &Call<'_>) -> Outcome {
    let id = api::group_id(call.param(0))?;
    let group = call.app.get_group(&id).await?;
    Ok(Answer::ok(&api::attestation_mechanism(&group.terms.attestation)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = api::group_id(call.param(0))?;
    call.app.delete_group(&id, &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

pub(super) async fn query(call: &Call<'_>) -> Outcome {
    api::check_query(call.body()?)?;
    let after = after(call, Collection::EnrollmentGroups)?;
    let found = call.app.list_groups(after.as_deref(), call.page_size()?).await?;
    Ok(page(&found, Collection::EnrollmentGroups, api::ENROLLMENT_GROUP_ITEM, |group| {
        api::group(group, Show::QueryItem)
    }))
}
