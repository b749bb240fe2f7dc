//! What a change would mean for the devices that are known: asked by itself, or with a dry run of
//! the change.

use app::No;
use app::bans::Wet;
use app::simulate::Hypothesis;
use http::Method;
use model::{Caller, Json, OperatorRefusal, SimulationLimits};
use wire::{RequestFault, manage as api};

use super::{Outcome, bad};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::openapi;
use crate::routes::Route;

/// The query member that makes a write a dry run.
pub(super) const DRY_RUN: &str = "dryRun";

/// How long a dry run may look at devices, in seconds.
const DRY_RUN_SECS: i64 = 5;

pub(super) async fn simulate(call: &Call<'_>, by: &Caller) -> Outcome {
    let body = api::parse_simulation(call.body()?)?;
    let told = call.app.simulate_change(&body.change, &body.limits, by).await?;
    Ok(Answer::ok(&api::simulation(&told)))
}

/// What a dry run answers: what the call would, and what its change would mean.
pub(super) async fn told(call: &Call<'_>, answer: Json, change: Hypothesis) -> Outcome {
    let limits = SimulationLimits { max_secs: DRY_RUN_SECS, ..SimulationLimits::default() };
    let told = call.app.simulate(&[change], &limits).await?;
    Ok(Answer::ok(&api::with_simulation(answer, &told)))
}

/// As [`told`]; but where too many ask at once, what the call would answer comes alone: clients
/// count by it what they are about to delete.
pub(super) async fn told_if_possible(
    call: &Call<'_>,
    answer: Json,
    change: Hypothesis,
) -> Result<Json, Problem<OperatorRefusal>> {
    let limits = SimulationLimits { max_secs: DRY_RUN_SECS, ..SimulationLimits::default() };
    match call.app.simulate(&[change], &limits).await {
        Ok(told) => Ok(api::with_simulation(answer, &told)),
        Err(No::Refused(OperatorRefusal::Throttled(_))) => Ok(answer),
        Err(other) => Err(other.into()),
    }
}

/// Whether the caller wants it done, or only told what it would do.
pub(super) fn wet(call: &Call<'_>) -> Result<Wet, Problem<OperatorRefusal>> {
    // One that is there without a word is no word to do it.
    match call.query(DRY_RUN)?.as_deref() {
        None => Ok(Wet::Done),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(Wet::Done),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(Wet::Dry),
        Some(_) => Err(bad("dryRun: expected true or false")),
    }
}

/// Why a dry run of this call is refused, if it is asked for where there is none: else it would be
/// done for real. What the caller thought cannot be known, so `dryRun=false` is refused as well.
pub(crate) fn refused_dry_run(
    call: &Call<'_>,
    route: &Route,
) -> Result<Option<String>, RequestFault> {
    let is_safe = route.method == Method::GET || openapi::takes(route, DRY_RUN);
    if is_safe || call.query(DRY_RUN)?.is_none() {
        return Ok(None);
    }
    let (method, path) = (&route.method, route.template);
    Ok(Some(format!(
        "dryRun: {method} {path} has no dry run, and nothing was done. Leave dryRun out to do it"
    )))
}
