//! What devices asked for and what became of it, and who is refused most.

use app::explain::endorsement_key_hash;
use app::refusals::RefusedOften;
use model::{Json, OperatorRefusal};
use wire::continuation::{self, Collection};
use wire::manage as api;

use super::{Outcome, asked, bad, explain, flag};
use crate::answer::Answer;
use crate::call::Call;
use crate::operator::after;

const ITEM: &str = "Attempt";

/// How many are listed of those who are refused most, unless it is said.
const DEFAULT_TOP: usize = 20;

/// How many may be asked for: as many as are counted.
const MAX_TOP: usize = 1024;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let (tracking_id, device) = (asked(call, "trackingId")?, asked(call, "device")?);
    let (thumbprint, endorsement_key) =
        (asked(call, "thumbprint")?, asked(call, "endorsementKey")?);
    let looked_for = api::AttemptsAsked {
        tracking_id: tracking_id.as_deref(),
        device: device.as_deref(),
        thumbprint: thumbprint.as_deref(),
        endorsement_key: endorsement_key.as_deref(),
    };
    let filter = api::parse_attempts_asked(looked_for, endorsement_key_hash)?;
    let (only_refused, size) = (flag(call, "refused")?, call.page_size()?);
    let before = match after(call, Collection::Attempts)? {
        None => None,
        Some(key) => Some(api::attempt_number(&key).map_err(OperatorRefusal::from)?),
    };
    let found = call.app.page_of_attempts(&filter, only_refused, before, size).await?;
    let answer = Answer::ok(&Json::Array(found.items.iter().map(api::attempt).collect()))
        .with("x-content-type-options", "nosniff")
        .with("x-ms-item-type", ITEM);
    Ok(match found.next {
        None => answer,
        Some(number) => {
            let token = continuation::encode(Collection::Attempts, &number.to_string());
            answer.with("x-ms-continuation", &token)
        }
    })
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    Ok(explain::told(&call.app.explain_attempt(call.param(0)).await?))
}

pub(super) async fn top_refused(call: &Call<'_>) -> Outcome {
    let limit = match asked(call, "top")? {
        None => DEFAULT_TOP,
        Some(text) => match text.parse() {
            Ok(top @ 1..=MAX_TOP) => top,
            _ => return Err(bad(&format!("top: expected a whole number from 1 to {MAX_TOP}"))),
        },
    };
    let top = call.app.top_refused(limit);
    Ok(Answer::ok(&api::top_refused(
        top.devices.iter().map(often),
        top.addresses.iter().map(often),
    )))
}

fn often(one: &RefusedOften) -> api::RefusedOften<'_> {
    api::RefusedOften {
        who: &one.who,
        n: one.n,
        may_be_less_by: one.may_be_less_by,
        since: one.since,
        last: one.last,
        reason: &one.reason,
    }
}
