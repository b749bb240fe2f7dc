//! What an operator sets on a group beside what the vendor's API shows, whichever its attestation.

use app::bans::Wet;
use app::simulate::Hypothesis;
use model::Caller;
use wire::manage as api;
use wire::operator::group_id;

use super::Outcome;
use super::simulate::{told, wet};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let id = group_id(call.param(0))?;
    Ok(Answer::ok(&api::group_settings(&call.app.get_group_settings(&id).await?)))
}

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = group_id(call.param(0))?;
    let (precondition, wet) = (call.precondition()?, wet(call)?);
    let settings = api::parse_group_settings(call.body()?)?;
    let written = call.app.put_group_settings(&id, settings, &precondition, wet, by).await?;
    match wet {
        Wet::Done => Ok(Answer::ok(&api::group_settings(&written))),
        Wet::Dry => {
            told(call, api::group_settings(&written), Hypothesis::PutGroup(Box::new(written))).await
        }
    }
}
