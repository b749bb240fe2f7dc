//! What became of messages (H §5.8, and the vendor's REST description of 2021-04-12).
//!
//! Nothing is locked: whoever asks before it was completed gets the same again. The lock token is
//! the number of the last record, and completing it forgets all up to that one.

use model::HubName;
use wire::hub as api;

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn read(call: &Call<'_>, hub: &HubName) -> Outcome {
    let records = call.app.list_feedback(hub, api::MAX_FEEDBACK).await?;
    Ok(match api::feedback(&records) {
        None => Answer::no_content(),
        Some((document, token)) => Answer::ok(&document).with("etag", &format!("\"{token}\"")),
    })
}

pub(super) async fn complete(call: &Call<'_>, hub: &HubName) -> Outcome {
    call.app.forget_feedback(hub, api::feedback_number(call.param(0))?).await?;
    Ok(Answer::no_content())
}

/// The records are still there, so there is nothing to do.
pub(super) fn abandon(call: &Call<'_>) -> Outcome {
    api::feedback_number(call.param(0))?;
    Ok(Answer::no_content())
}
