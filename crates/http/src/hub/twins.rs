//! Twins, from the operator's side (H §3). No `ETag` header: clients would believe it over the
//! body (H §2.1).

use model::{Caller, DeviceId, HubName};
use wire::hub as api;

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn get(call: &Call<'_>, hub: &HubName, id: &DeviceId) -> Outcome {
    Ok(Answer::ok(&api::twin(&call.app.get_twin(hub, id).await?)))
}

pub(super) async fn patch(call: &Call<'_>, hub: &HubName, id: &DeviceId, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let draft = api::parse_twin(call.body()?)?;
    let device = call.app.patch_twin(hub, id, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::twin(&device)))
}

pub(super) async fn replace(call: &Call<'_>, hub: &HubName, id: &DeviceId, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let draft = api::parse_twin(call.body()?)?;
    let device = call.app.replace_twin(hub, id, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::twin(&device)))
}
