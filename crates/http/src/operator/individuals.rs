//! Individual enrollments.

use model::{Caller, OperatorRefusal};
use wire::continuation::Collection;
use wire::operator::{self as api, Show};

use super::{Outcome, after, page, same_id};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    let precondition = call.precondition()?;
    let draft = api::parse_individual(call.body()?)?;
    same_id(&draft.registration_id, &id, "registrationId")?;
    let written = call.app.put_individual(draft, &precondition, by).await?;
    Ok(Answer::ok(&api::individual(&written, Show::PutAnswer)))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    let facts = call.app.get_individual(&id).await?;
    let enrollment = facts.enrollment.ok_or(OperatorRefusal::EnrollmentNotFound)?;
    Ok(Answer::ok(&api::individual(&enrollment, Show::Get(facts.record.as_ref()))))
}

pub(super) async fn attestation(call: &Call<'_>) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    let facts = call.app.get_individual(&id).await?;
    let enrollment = facts.enrollment.ok_or(OperatorRefusal::EnrollmentNotFound)?;
    Ok(Answer::ok(&api::attestation_mechanism(&enrollment.terms.attestation)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    call.app.delete_individual(&id, &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

pub(super) async fn query(call: &Call<'_>) -> Outcome {
    api::check_query(call.body()?)?;
    let after = after(call, Collection::Enrollments)?;
    let found = call.app.list_individuals(after.as_deref(), call.page_size()?).await?;
    Ok(page(&found, Collection::Enrollments, api::ENROLLMENT_ITEM, |enrollment| {
        api::individual(enrollment, Show::QueryItem)
    }))
}
