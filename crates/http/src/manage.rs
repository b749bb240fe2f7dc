//! The management API, which is our own: the service's settings, networking, linked hubs, CA
//! certificates, shared access policies, usage and the audit log (O §3).
//!
//! Its version is in the path, so no `api-version` is asked for. Errors look as the operator
//! API's.

mod audit;
mod certificates;
mod hubs;
mod policies;
mod service;

use model::OperatorRefusal;
use wire::RequestFault;

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::{self, Problem};
use crate::operator::authorize;
use crate::routes::{ManageAction, Route};

/// What a handler comes back with.
type Outcome = Result<Answer, Problem<OperatorRefusal>>;

/// Answers an operator who configures the service.
pub(crate) async fn answer(call: &Call<'_>, action: ManageAction, route: &Route) -> Answer {
    match perform(call, action, route).await {
        Ok(answer) => answer,
        Err(problem) => errors::operator(call, problem),
    }
}

async fn perform(call: &Call<'_>, action: ManageAction, route: &Route) -> Outcome {
    // First of all: who proves nothing learns nothing, not even that a request is malformed.
    let by = authorize(call, route).await?;
    match action {
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
    }
}

/// Whether the caller says that an effect which would otherwise be refused is wanted.
fn force(call: &Call<'_>) -> Result<bool, Problem<OperatorRefusal>> {
    match call.query("force")?.as_deref() {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(bad("force: expected true or false")),
    }
}

/// A query member, unless it is empty.
fn asked(call: &Call<'_>, name: &str) -> Result<Option<String>, RequestFault> {
    Ok(call.query(name)?.filter(|text| !text.is_empty()))
}

fn bad(text: &str) -> Problem<OperatorRefusal> {
    Problem::Refused(OperatorRefusal::BadRequest(text.to_owned()))
}
