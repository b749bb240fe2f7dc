//! Shared access policies: the service's, or with `?hub=…` a built-in hub's.

use app::policies::{KeySlot, PolicyDraft};
use model::{Caller, Json, OperatorRefusal, PolicyScope};
use wire::manage::{self as api, RotatedKey};

use super::{Outcome, asked};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let policies = call.app.list_policies(&scope(call)?).await?;
    Ok(Answer::ok(&Json::Array(policies.iter().map(api::policy).collect())))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let policy = call.app.get_policy(&scope(call)?, call.param(0)).await?;
    Ok(Answer::ok(&api::policy(&policy)))
}

pub(super) async fn list_keys(call: &Call<'_>) -> Outcome {
    let policy = call.app.get_policy(&scope(call)?, call.param(0)).await?;
    Ok(Answer::ok(&api::policy_with_keys(&policy)))
}

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let (scope, precondition) = (scope(call)?, call.precondition()?);
    let name = call.param(0);
    let body = api::parse_policy(name, call.body()?)?;
    let draft = PolicyDraft {
        name: name.to_owned(),
        rights: body.rights,
        primary: body.primary,
        secondary: body.secondary,
    };
    let policy = call.app.put_policy(&scope, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::policy(&policy)))
}

pub(super) async fn rotate(call: &Call<'_>, by: &Caller) -> Outcome {
    let (scope, precondition) = (scope(call)?, call.precondition()?);
    let (key, given) = api::parse_rotation(call.body()?)?;
    let slot = match key {
        RotatedKey::Primary => KeySlot::Primary,
        RotatedKey::Secondary => KeySlot::Secondary,
    };
    let name = call.param(0);
    let policy =
        call.app.rotate_policy_key(&scope, name, slot, given.as_ref(), &precondition, by).await?;
    Ok(Answer::ok(&api::policy(&policy)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let (scope, precondition) = (scope(call)?, call.precondition()?);
    call.app.delete_policy(&scope, call.param(0), &precondition, by).await?;
    Ok(Answer::no_content())
}

fn scope(call: &Call<'_>) -> Result<PolicyScope, Problem<OperatorRefusal>> {
    Ok(match asked(call, "hub")? {
        None => PolicyScope::Service,
        Some(hub) => PolicyScope::Hub(api::hub_name(&hub)?),
    })
}
