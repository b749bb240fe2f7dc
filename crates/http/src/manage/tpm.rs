//! What Induct adds to attestation by TPM: groups of TPMs, and certificates that an individual
//! enrollment demands. Registration records of a group's devices are where all records are, in the
//! operator API.

use app::bans::Wet;
use app::enrollments::GroupShape;
use app::simulate::Hypothesis;
use model::{Caller, EndorsementDraft, Precondition, RegistrationId};
use wire::continuation::Collection;
use wire::manage as api;
use wire::operator::{TPM_ENROLLMENT_GROUP_ITEM, group_id, registration_id};

use super::Outcome;
use super::simulate::{told, wet};
use crate::answer::Answer;
use crate::call::Call;
use crate::operator::{after, page, same_id};

pub(super) async fn list_groups(call: &Call<'_>) -> Outcome {
    const COLLECTION: Collection = Collection::TpmEnrollmentGroups;
    let (after, size) = (after(call, COLLECTION)?, call.page_size()?);
    let found = call.app.list_groups_of(GroupShape::Tpm, after.as_deref(), size).await?;
    Ok(page(&found, COLLECTION, TPM_ENROLLMENT_GROUP_ITEM, api::tpm_group))
}

pub(super) async fn get_group(call: &Call<'_>) -> Outcome {
    let id = group_id(call.param(0))?;
    Ok(Answer::ok(&api::tpm_group(&call.app.get_group_of(GroupShape::Tpm, &id).await?)))
}

pub(super) async fn put_group(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = group_id(call.param(0))?;
    let precondition = call.precondition()?;
    let draft = api::parse_tpm_group(call.body()?)?;
    same_id(&draft.group_id, &id, "enrollmentGroupId")?;
    match wet(call)? {
        Wet::Done => {
            Ok(Answer::ok(&api::tpm_group(&call.app.put_group(draft, &precondition, by).await?)))
        }
        Wet::Dry => {
            let group = call.app.preview_group(draft, &precondition).await?;
            told(call, api::tpm_group(&group), Hypothesis::PutGroup(Box::new(group))).await
        }
    }
}

pub(super) async fn get_endorsement(call: &Call<'_>) -> Outcome {
    let id = registration_id(call.param(0))?;
    Ok(Answer::ok(&api::endorsement(&call.app.get_tpm_individual(&id).await?)))
}

pub(super) async fn put_endorsement(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = registration_id(call.param(0))?;
    let precondition = call.precondition()?;
    let demand = api::parse_endorsement(call.body()?)?;
    if wet(call)? == Wet::Dry {
        return preview_endorsement(call, &id, demand, &precondition).await;
    }
    let written = call.app.put_endorsement(&id, demand, &precondition, by).await?;
    Ok(Answer::ok(&api::endorsement(&written)))
}

pub(super) async fn delete_endorsement(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = registration_id(call.param(0))?;
    let (remove, precondition) = (EndorsementDraft::Remove, call.precondition()?);
    if wet(call)? == Wet::Dry {
        return preview_endorsement(call, &id, remove, &precondition).await;
    }
    call.app.put_endorsement(&id, remove, &precondition, by).await?;
    Ok(Answer::no_content())
}

async fn preview_endorsement(
    call: &Call<'_>,
    id: &RegistrationId,
    demand: EndorsementDraft,
    precondition: &Precondition,
) -> Outcome {
    let enrollment = call.app.preview_endorsement(id, demand, precondition).await?;
    let answer = api::endorsement(&enrollment);
    told(call, answer, Hypothesis::PutIndividual(Box::new(enrollment))).await
}
