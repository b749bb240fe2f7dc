//! Twins, from the operator's side (H §3). No `ETag` header: clients would believe it over the
//! body (H §2.1).

use model::{Caller, HubName};
use wire::hub as api;

use super::{Outcome, device_id};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn get(call: &Call<'_>, hub: &HubName) -> Outcome {
    let device = call.app.get_device(hub, &device_id(call)?).await?;
    Ok(Answer::ok(&api::twin(&device)))
}

pub(super) async fn patch(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let (id, precondition) = (device_id(call)?, call.precondition()?);
    let draft = api::parse_twin(call.body()?)?;
    let device = call.app.patch_twin(hub, &id, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::twin(&device)))
}

pub(super) async fn replace(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let (id, precondition) = (device_id(call)?, call.precondition()?);
    let draft = api::parse_twin(call.body()?)?;
    let device = call.app.replace_twin(hub, &id, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::twin(&device)))
}
