//! Why a device is admitted or refused.

use app::explain::Explained;
use model::{HubName, LinkedHub};
use wire::manage::{self as api, ExplainBody};

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn explain(call: &Call<'_>) -> Outcome {
    let hubs = call.app.list_hubs().await?;
    let explained = match api::parse_explain(call.body()?, |text| hub_named(&hubs, text))? {
        ExplainBody::Question(question) => call.app.explain(question).await?,
        ExplainBody::Attempt(tracking_id) => call.app.explain_attempt(&tracking_id).await?,
    };
    Ok(told(&explained))
}

pub(super) fn told(explained: &Explained) -> Answer {
    let told = &explained.told;
    Answer::ok(&api::explanation(&api::Explained {
        asked: &explained.asked,
        outcome: explained.verdict.name(),
        is_admission: explained.verdict.is_admission(),
        told: &told.outcome,
        steps: &told.steps,
        enrollment: told.entry.as_ref(),
        remedy: told.remedy.as_deref(),
        assumed: &explained.assumed,
        bans: &explained.bans,
        record: explained.record.as_ref(),
        attempt: explained.attempt.as_ref(),
    }))
}

/// A hub by its name, or by the first label of it.
fn hub_named(hubs: &[LinkedHub], text: &str) -> Option<HubName> {
    let is_short = |hub: &&LinkedHub| {
        hub.name.as_str().split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(text))
    };
    hubs.iter().find(is_short).map(|hub| hub.name.clone()).or_else(|| HubName::parse(text).ok())
}
