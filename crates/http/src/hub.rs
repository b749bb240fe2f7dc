//! A hub's registry, twins, queries, methods and messages, on the hub's host name (H §2, §3, §4.2.9,
//! §7).

mod feedback;
mod identities;
mod methods;
mod query;
mod twins;

use app::No;
use http::header::AUTHORIZATION;
use model::{Caller, DeviceId, HubName, HubRefusal, ModuleId};
use wire::RequestFault;

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::{self, Problem};
use crate::manage::refused_dry_run;
use crate::openapi::OWN;
use crate::routes::{HubAction, Route};
use crate::{events, messages};

pub(crate) use self::methods::MAX_METHOD_WAIT;

/// What a handler comes back with.
type Outcome = Result<Answer, Problem<HubRefusal>>;

/// Answers an operator of this hub.
pub(crate) async fn answer(
    call: &Call<'_>,
    action: HubAction,
    route: &Route,
    hub: &HubName,
) -> Answer {
    let answer = match perform(call, action, route, hub).await {
        Ok(answer) => answer,
        Err(problem) => errors::hub(call, problem),
    };
    // What the recorded hub says on every answer (H §2.1).
    answer.with("vary", "Origin")
}

async fn perform(call: &Call<'_>, action: HubAction, route: &Route, hub: &HubName) -> Outcome {
    let by = authorize(call, route, hub).await?;
    if route.template.starts_with(OWN)
        && let Some(why) = refused_dry_run(call, route)?
    {
        return Err(HubRefusal::ArgumentInvalid(why).into());
    }
    match action {
        HubAction::ListDevices => identities::list(call, hub).await,
        HubAction::BulkDevices => identities::bulk(call, hub, &by).await,
        HubAction::Query => query::run(call, hub).await,
        HubAction::GetDevice => identities::get(call, hub).await,
        HubAction::PutDevice => identities::put(call, hub, &by).await,
        HubAction::DeleteDevice => identities::delete(call, hub, &by).await,
        HubAction::PurgeCommands => identities::purge_commands(call, hub, &by).await,
        HubAction::ListModules => identities::list_modules(call, hub).await,
        HubAction::GetModule => identities::get_module(call, hub).await,
        HubAction::PutModule => identities::put_module(call, hub, &by).await,
        HubAction::DeleteModule => identities::delete_module(call, hub, &by).await,
        HubAction::GetTwin => twins::get(call, hub, &device_id(call)?).await,
        HubAction::PatchTwin => twins::patch(call, hub, &device_id(call)?, &by).await,
        HubAction::ReplaceTwin => twins::replace(call, hub, &device_id(call)?, &by).await,
        HubAction::GetModuleTwin => twins::get(call, hub, &module_id(call)?).await,
        HubAction::PatchModuleTwin => twins::patch(call, hub, &module_id(call)?, &by).await,
        HubAction::ReplaceModuleTwin => twins::replace(call, hub, &module_id(call)?, &by).await,
        HubAction::CallMethod => methods::call(call, hub, &device_id(call)?).await,
        HubAction::CallModuleMethod => methods::call(call, hub, &module_id(call)?).await,
        HubAction::ReadEvents => events::read(call, route, hub, events::Place::Hub).await,
        HubAction::SendMessage => messages::send(call, hub, call.param(0)).await,
        HubAction::ReadFeedback => feedback::read(call, hub).await,
        HubAction::CompleteFeedback => feedback::complete(call, hub).await,
        HubAction::AbandonFeedback => feedback::abandon(call),
        HubAction::DeviceStatistics => {
            let counts = call.app.device_counts(hub).await?;
            Ok(Answer::ok(&wire::hub::device_statistics(&counts)))
        }
        HubAction::ServiceStatistics => {
            let counts = call.app.device_counts(hub).await?;
            Ok(Answer::ok(&wire::hub::service_statistics(&counts)))
        }
        HubAction::NotBuilt(what) => Ok(errors::not_built(call, what)),
    }
}

async fn authorize(
    call: &Call<'_>,
    route: &Route,
    hub: &HubName,
) -> Result<Caller, Problem<HubRefusal>> {
    // Who is kept out or asks too often gets no further, whatever they show.
    let address = call.peer.address.ip();
    call.app.admit_to_hub(address).await?;
    // An endpoint of a hub without a right would be a mistake in the table; it stays shut.
    let Some(right) = route.right else {
        return Err(Problem::Request(RequestFault::UnknownRoute));
    };
    let refused = |why: String| Problem::Refused(HubRefusal::Unauthorized(why));
    let Some(header) = call.headers.get(AUTHORIZATION) else {
        return Err(refused("the Authorization header is missing".to_owned()));
    };
    let text =
        header.to_str().map_err(|_| refused("the Authorization header is no text".into()))?;
    let token = wire::sas::parse(text).map_err(|bad| refused(bad.to_string()))?;
    Ok(call.app.authorize_hub(hub, &token, call.segments, right, address).await?)
}

/// The device the path names.
fn device_id(call: &Call<'_>) -> Result<DeviceId, HubRefusal> {
    DeviceId::parse(call.param(0))
        .map_err(|bad| HubRefusal::ArgumentInvalid(format!("the device ID in the path: {bad}")))
}

/// The module the path names, under the name it is kept by.
fn module_id(call: &Call<'_>) -> Result<DeviceId, HubRefusal> {
    let module = ModuleId::parse(call.param(1))
        .map_err(|bad| HubRefusal::ArgumentInvalid(format!("the module ID in the path: {bad}")))?;
    Ok(DeviceId::of_module(&device_id(call)?, &module))
}

impl From<No<HubRefusal>> for Problem<HubRefusal> {
    fn from(no: No<HubRefusal>) -> Self {
        Self::of(no)
    }
}

impl From<HubRefusal> for Problem<HubRefusal> {
    fn from(refusal: HubRefusal) -> Self {
        Self::Refused(refusal)
    }
}
