//! Linked hubs.

use app::{
    linked_hubs::{AccessDraft, HubDraft},
    remote::HubHealth,
};
use model::{Caller, Json};
use wire::manage::{self as api, AccessBody, HubProbe, HubUnlinked};

use super::{Outcome, force};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let hubs = call.app.list_hubs().await?;
    Ok(Answer::ok(&Json::Array(hubs.iter().map(api::linked_hub).collect())))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let hub = call.app.get_hub(&api::hub_name(call.param(0))?).await?;
    Ok(Answer::ok(&api::linked_hub(&hub)))
}

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let name = api::hub_name(call.param(0))?;
    let precondition = call.precondition()?;
    let body = api::parse_linked_hub(&name, call.body()?)?;
    let draft = HubDraft {
        name,
        access: match body.access {
            AccessBody::Absent => AccessDraft::Keep,
            AccessBody::BuiltIn => AccessDraft::BuiltIn,
            AccessBody::Remote { port, policy, key } => AccessDraft::Remote { port, policy, key },
        },
        weight: body.weight,
        apply_allocation_policy: body.apply_allocation_policy,
    };
    let hub = call.app.put_hub(&draft, &precondition, by).await?;
    Ok(Answer::ok(&api::linked_hub(&hub)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let name = api::hub_name(call.param(0))?;
    let unlinked = call.app.delete_hub(&name, &call.precondition()?, force(call)?, by).await?;
    let missed = HubUnlinked {
        n_devices: unlinked.n_devices,
        n_individuals: unlinked.n_individuals,
        n_groups: unlinked.n_groups,
        looked_at_all: unlinked.looked_at_all,
    };
    Ok(Answer::ok(&api::hub_unlinked(&name, missed)))
}

pub(super) async fn probe(call: &Call<'_>) -> Outcome {
    let name = api::hub_name(call.param(0))?;
    let health = call.app.probe_hub(&name).await?;
    let probe = match &health {
        HubHealth::BuiltIn => HubProbe::BuiltIn,
        HubHealth::Healthy => HubProbe::Healthy,
        HubHealth::Unauthorized(text) => HubProbe::Unauthorized(text),
        HubHealth::Unreachable(text) => HubProbe::Unreachable(text),
    };
    Ok(Answer::ok(&api::hub_probe(&name, probe)))
}
