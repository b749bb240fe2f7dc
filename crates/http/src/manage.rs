//! The management API, which is our own: the service's settings, networking, linked hubs, CA
//! certificates, shared access policies, usage and the audit log (O §3); what Induct adds to
//! attestation by TPM; and what devices of its built-in hubs say and are told, for those who manage
//! the service and not only one hub.
//!
//! Its version is in the path, so no `api-version` is asked for. Errors look as the operator
//! API's.

mod attempts;
mod audit;
mod bans;
mod certificates;
mod crls;
mod deprovisionings;
mod explain;
mod group_settings;
mod hubs;
mod orphans;
mod policies;
mod service;
mod simulate;
mod tpm;

use app::enrollments::GroupShape;
use model::{HubName, HubRefusal, OperatorRefusal, RegistrationId};
use wire::RequestFault;

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::{self, Problem};
use crate::operator::authorize;
use crate::routes::{ManageAction, Route};
use crate::{events, messages};

pub(crate) use self::deprovisionings::{
    MAX_AT_ONCE as MAX_DEPROVISIONINGS_AT_ONCE, MAX_WAIT as MAX_DEPROVISIONING_WAIT,
};
pub(crate) use self::simulate::refused_dry_run;

/// How much of a hub's name a refusal repeats, in characters.
const MAX_NAME_CHARS: usize = 128;

/// What a handler comes back with.
type Outcome = Result<Answer, Problem<OperatorRefusal>>;

/// Answers an operator who configures the service.
pub(crate) async fn answer(call: &Call<'_>, action: ManageAction, route: &Route) -> Answer {
    let answer = match perform(call, action, route).await {
        Ok(answer) => answer,
        Err(problem) => errors::operator(call, problem),
    };
    match action {
        ManageAction::GetEndorsement
        | ManageAction::PutEndorsement
        | ManageAction::DeleteEndorsement => {
            answer.about(RegistrationId::parse(call.param(0)).ok())
        }
        _ => answer,
    }
}

async fn perform(call: &Call<'_>, action: ManageAction, route: &Route) -> Outcome {
    // First of all: who proves nothing learns nothing, not even that a request is malformed.
    let by = authorize(call, route).await?;
    if let Some(why) = refused_dry_run(call, route)? {
        return Err(bad(&why));
    }
    match action {
        ManageAction::Simulate => simulate::simulate(call, &by).await,
        ManageAction::GetService => service::get(call).await,
        ManageAction::PatchService => service::patch(call, &by).await,
        ManageAction::GetIpRules => service::get_ip_rules(call).await,
        ManageAction::PutIpRules => service::put_ip_rules(call, &by).await,
        ManageAction::Usage => service::usage(call).await,
        ManageAction::ListHubs => hubs::list(call).await,
        ManageAction::GetHub => hubs::get(call).await,
        ManageAction::PutHub => hubs::put(call, &by).await,
        ManageAction::DeleteHub => hubs::delete(call, &by).await,
        ManageAction::ProbeHub => hubs::probe(call).await,
        ManageAction::ListCertificates => certificates::list(call).await,
        ManageAction::GetCertificate => certificates::get(call).await,
        ManageAction::PutCertificate => certificates::put(call, &by).await,
        ManageAction::DeleteCertificate => certificates::delete(call, &by).await,
        ManageAction::GenerateVerificationCode => certificates::generate_code(call, &by).await,
        ManageAction::VerifyCertificate => certificates::verify(call, &by).await,
        ManageAction::ListPolicies => policies::list(call).await,
        ManageAction::GetPolicy => policies::get(call).await,
        ManageAction::PutPolicy => policies::put(call, &by).await,
        ManageAction::DeletePolicy => policies::delete(call, &by).await,
        ManageAction::ListKeys => policies::list_keys(call).await,
        ManageAction::RotateKey => policies::rotate(call, &by).await,
        ManageAction::ListAudit => audit::list(call).await,
        ManageAction::VerifyAudit => audit::verify(call).await,
        ManageAction::ListCrls => crls::list(call).await,
        ManageAction::ImportCrl => crls::import(call, &by).await,
        ManageAction::GetCrl => crls::get(call).await,
        ManageAction::DeleteCrl => crls::delete(call, &by).await,
        ManageAction::FollowCrl => crls::follow(call, &by).await,
        ManageAction::UnfollowCrl => crls::unfollow(call, &by).await,
        ManageAction::FetchCrl => crls::fetch(call).await,
        ManageAction::ListDeprovisionings => deprovisionings::list(call).await,
        ManageAction::PlanDeprovisioning => deprovisionings::plan(call, &by).await,
        ManageAction::GetDeprovisioning => deprovisionings::get(call).await,
        ManageAction::ListDeprovisionedDevices => deprovisionings::devices(call).await,
        ManageAction::ApplyDeprovisioning => deprovisionings::apply(call, &by).await,
        ManageAction::ListBans => bans::list(call).await,
        ManageAction::GetBan => bans::get(call).await,
        ManageAction::PutBan => bans::put(call, &by).await,
        ManageAction::LiftBan => bans::lift(call, &by).await,
        ManageAction::Explain => explain::explain(call).await,
        ManageAction::ListAttempts => attempts::list(call).await,
        ManageAction::GetAttempt => attempts::get(call).await,
        ManageAction::TopRefused => attempts::top_refused(call).await,
        ManageAction::ListTpmGroups => tpm::list_groups(call).await,
        ManageAction::GetTpmGroup => tpm::get_group(call).await,
        ManageAction::PutTpmGroup => tpm::put_group(call, &by).await,
        ManageAction::DeleteTpmGroup => orphans::delete_group(call, GroupShape::Tpm, &by).await,
        ManageAction::DeleteGroup => orphans::delete_group(call, GroupShape::Vendor, &by).await,
        ManageAction::GetGroupSettings => group_settings::get(call).await,
        ManageAction::PutGroupSettings => group_settings::put(call, &by).await,
        ManageAction::ListOrphans => orphans::list(call).await,
        ManageAction::CountOrphans => orphans::count(call).await,
        ManageAction::DeleteOrphans => orphans::delete(call, &by).await,
        ManageAction::GetEndorsement => tpm::get_endorsement(call).await,
        ManageAction::PutEndorsement => tpm::put_endorsement(call, &by).await,
        ManageAction::DeleteEndorsement => tpm::delete_endorsement(call, &by).await,
        ManageAction::ReadEvents => Ok(told_here(call, read_events(call, route).await)),
        ManageAction::SendMessage => Ok(told_here(call, send_message(call).await)),
    }
}

async fn read_events(call: &Call<'_>, route: &Route) -> Result<Answer, Problem<HubRefusal>> {
    let hub = built_in_hub(call).await?;
    events::read(call, route, &hub, events::Place::Service).await
}

async fn send_message(call: &Call<'_>) -> Result<Answer, Problem<HubRefusal>> {
    let hub = built_in_hub(call).await?;
    messages::send(call, &hub, call.param(1)).await
}

/// The built-in hub that the path names.
async fn built_in_hub(call: &Call<'_>) -> Result<HubName, Problem<HubRefusal>> {
    let name = call.param(0);
    let not_found = || HubRefusal::HubNotFound(name.chars().take(MAX_NAME_CHARS).collect());
    let name = HubName::parse(name).map_err(|_| not_found())?;
    let found = call.app.find_hub(name.as_str()).await;
    let found = found.map_err(|fault| Problem::Fault(Box::new(fault)))?;
    Ok(found.ok_or_else(not_found)?)
}

/// What became of a request about a hub, told as all of this API tells it.
fn told_here(call: &Call<'_>, outcome: Result<Answer, Problem<HubRefusal>>) -> Answer {
    outcome.unwrap_or_else(|problem| errors::hub_of_service(call, problem))
}

/// Whether the caller says that an effect which would otherwise be refused is wanted.
fn force(call: &Call<'_>) -> Result<bool, Problem<OperatorRefusal>> {
    flag(call, "force")
}

/// A query member that is true or false; false, unless it is said.
fn flag(call: &Call<'_>, name: &str) -> Result<bool, Problem<OperatorRefusal>> {
    match call.query(name)?.as_deref() {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(bad(&format!("{name}: expected true or false"))),
    }
}

/// A query member, unless it is empty.
fn asked(call: &Call<'_>, name: &str) -> Result<Option<String>, RequestFault> {
    Ok(call.query(name)?.filter(|text| !text.is_empty()))
}

fn bad(text: &str) -> Problem<OperatorRefusal> {
    Problem::Refused(OperatorRefusal::BadRequest(text.to_owned()))
}
