//! The service's settings, its IP rules, and how full it is.

use app::bans::Wet;
use app::service::SettingsDraft;
use model::{Caller, OperatorRefusal, Precondition, ServiceSettings};
use wire::manage as api;

use super::simulate::wet;
use super::{Outcome, force};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    Ok(shown(call, &call.app.service_settings().await?))
}

pub(super) async fn patch(call: &Call<'_>, by: &Caller) -> Outcome {
    let (precondition, force) = (call.precondition()?, force(call)?);
    let body = api::parse_service(call.body()?)?;
    let draft = SettingsDraft {
        allocation_policy: body.allocation_policy,
        operator_api_on_loopback_only: body.operator_api_on_loopback_only,
        disenroll_ends_sessions: body.disenroll_ends_sessions,
        ip_rules: None,
    };
    Ok(shown(call, &write(call, &draft, &precondition, force, by).await?))
}

/// Writes the settings, or only says what they would become.
async fn write(
    call: &Call<'_>,
    draft: &SettingsDraft,
    precondition: &Precondition,
    force: bool,
    by: &Caller,
) -> Result<ServiceSettings, Problem<OperatorRefusal>> {
    Ok(match wet(call)? {
        Wet::Done => call.app.update_service(draft, precondition, force, by).await?,
        Wet::Dry => call.app.preview_service(draft, precondition, force, by).await?,
    })
}

fn shown(call: &Call<'_>, settings: &ServiceSettings) -> Answer {
    let configured = call.app.settings();
    let id_scope = configured.register.attest.id_scope.as_str();
    Answer::ok(&api::service(settings, id_scope, &configured.service_hosts))
}

pub(super) async fn get_ip_rules(call: &Call<'_>) -> Outcome {
    Ok(shown_rules(&call.app.service_settings().await?))
}

pub(super) async fn put_ip_rules(call: &Call<'_>, by: &Caller) -> Outcome {
    let (precondition, force) = (call.precondition()?, force(call)?);
    let rules = api::parse_ip_rules(call.body()?)?;
    let draft = SettingsDraft { ip_rules: Some(rules), ..SettingsDraft::default() };
    Ok(shown_rules(&write(call, &draft, &precondition, force, by).await?))
}

/// A list has no member for the etag, which is the settings'; it is in the header.
fn shown_rules(settings: &ServiceSettings) -> Answer {
    let etag = format!("\"{}\"", settings.etag.as_str());
    Answer::ok(&api::ip_rules(&settings.ip_rules)).with("etag", &etag)
}

pub(super) async fn usage(call: &Call<'_>) -> Outcome {
    let report = call.app.usage_report().await?;
    let counted = api::Counted {
        ca_certificates: report.ca_certificates,
        linked_hubs: report.linked_hubs,
        crls: report.crls,
        stale_crls: report.stale_crls,
    };
    Ok(Answer::ok(&api::usage(&report.usage, counted, &report.quotas)))
}
