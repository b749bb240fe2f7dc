//! Makes a plan, shows it, has it confirmed, applies it, and tells what came of it.

use std::{
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use indicatif::ProgressBar;
use model::Json;
use tokio::time::sleep;

use super::words::{self, Named, Standing, count, text};
use crate::cli::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path, with_options},
    complaint::Complaint,
};

/// How often we ask how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often we look at a plan for which nothing more is looked at before we give it up: for two
/// minutes.
const MAX_IDLE_LOOKS: u32 = 480;

/// For how many seconds the server may hold an answer back, so that it is the last one.
const WAIT: (&str, Option<&str>) = ("wait", Some("1"));

/// How many devices are named that would still get in, are not known, or failed.
const MAX_NAMED: usize = 10;

/// What is carried out.
pub(super) enum Start {
    /// What is planned now.
    New(Json),
    /// A plan made before, by its ID.
    Known(String),
}

/// How far it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// No further than the plan.
    PlanOnly,
    /// To the end, if a person says so.
    IfConfirmed,
    /// To the end.
    AtOnce,
}

/// From plan to receipt.
pub(super) async fn carry_out(
    api: &Api,
    context: &mut Context<'_>,
    start: Start,
    how: How,
) -> Result<(), Failure> {
    let plan = made(api, start).await?;
    let id = text(&plan, "id").to_owned();
    let standing = Standing::of(&plan);
    if standing == Standing::Planned {
        let named = named(api, &plan, &id).await?;
        let is_asked = how == How::IfConfirmed
            && !words::selects_nobody(&plan)
            && !words::changes_nothing(&plan);
        for line in words::plan(&plan, &named) {
            match is_asked {
                // Nobody is asked to agree to what they were not shown.
                true => writeln!(context.err, "{line}")?,
                false => context.note(&line),
            }
        }
        if words::selects_nobody(&plan) {
            return Err(Failure::NotFound("No device is selected.".to_owned()));
        }
    }
    if how == How::PlanOnly {
        return print(context, plan);
    }
    if standing == Standing::Planned && words::changes_nothing(&plan) {
        context.note("Nothing is to be done.");
        return print(context, plan);
    }
    if standing == Standing::Planned && how == How::IfConfirmed {
        confirm(context, &id)?;
    }
    let done = applied(api, &id).await?;
    for line in words::receipt(&done) {
        context.note(&line);
    }
    let trouble = failed(api, &done, &id).await?;
    print(context, done)?;
    match trouble {
        None => Ok(()),
        Some(complaint) => Err(complaint.into()),
    }
}

/// The plan, as soon as it is whole.
async fn made(api: &Api, start: Start) -> Result<Json, Complaint> {
    let mut plan = match start {
        Start::Known(id) => api.get(&own_path(["deprovisionings", &id])).await?,
        Start::New(draft) => {
            let path = with_options(&own_path(["deprovisionings"]), &[WAIT]);
            api.post(&path, Some(&draft)).await?
        }
    };
    let bar = api.progress();
    let mut idle = 0;
    while Standing::of(&plan) == Standing::Planning {
        sleep(LOOK_EVERY).await;
        let id = text(&plan, "id").to_owned();
        let now = api.get(&own_path(["deprovisionings", &id])).await?;
        // Few of those that are looked at may be meant.
        let at = |plan: &Json| (count(plan, "progress.lookedAt"), count(plan, "progress.devices"));
        let (n_looked_at, n_devices) = at(&now);
        idle = if at(&plan) == at(&now) { idle + 1 } else { 0 };
        if idle > MAX_IDLE_LOOKS {
            return Err(Complaint::new(format!("The plan {id} does not get on."))
                .with_remedy("The server's log may say why; make a new plan."));
        }
        bar.set_position(n_devices);
        bar.set_message(format!("of {n_looked_at} looked at"));
        plan = now;
    }
    bar.finish_and_clear();
    Ok(plan)
}

/// Applies a plan and stays until all that is the server's own is done.
async fn applied(api: &Api, id: &str) -> Result<Json, Complaint> {
    let path = with_options(&own_path(["deprovisionings", id, "apply"]), &[WAIT]);
    let lost = |complaint: Complaint| match complaint.is_answer {
        true => complaint,
        false => complaint.with_remedy(format!(
            "What was begun goes on without this command; `induct receipt show {id}` says how far \
             it is."
        )),
    };
    let mut receipt = api.post(&path, None).await.map_err(lost)?;
    let mut bar: Option<ProgressBar> = None;
    while Standing::of(&receipt) != Standing::Done {
        let n_devices = count(&receipt, "progress.devices");
        let n_open = count(&receipt, "progress.pending").max(count(&receipt, "progress.closing"));
        let bar = bar.get_or_insert_with(|| api.progress_of(n_devices));
        bar.set_length(n_devices);
        bar.set_position(n_devices.saturating_sub(n_open));
        sleep(LOOK_EVERY).await;
        receipt = api.get(&own_path(["deprovisionings", id])).await.map_err(lost)?;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(receipt)
}

/// Asks whoever sits at the terminal.
fn confirm(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let later = format!(
        "Nothing was done. `induct deprovision --plan {id} --yes` applies this plan, within a day."
    );
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(later));
    }
    // Whoever wants only errors shown is asked all the same.
    write!(context.err, "Apply this plan? [y/N] ")?;
    context.err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Usage(later)),
    }
}

/// The first devices that would still get in, each with the entry, in words; and the first of those
/// of whom nothing is known, who may be misspelt. They may stand anywhere among a million.
async fn named(api: &Api, plan: &Json, id: &str) -> Result<Named, Complaint> {
    let n_strangers = count(plan, "plan.knownNowhere");
    let mut named = Named { n_strangers, ..Named::default() };
    if text(plan, "intent") == "reinstate" {
        return Ok(Named::default());
    }
    let few = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(MAX_NAMED);
    let wanted = (few(count(plan, "plan.stillAdmitted")), few(n_strangers));
    if wanted == (0, 0) {
        return Ok(named);
    }
    let path = own_path(["deprovisionings", id, "devices"]);
    api.look_through(&path, |devices| {
        let strangers = devices.iter().filter_map(words::stranger).map(str::to_owned);
        named.admitted.extend(devices.iter().filter_map(words::entry));
        named.strangers.extend(strangers);
        named.admitted.truncate(wanted.0);
        named.strangers.truncate(wanted.1);
        (named.admitted.len(), named.strangers.len()) == wanted
    })
    .await?;
    Ok(named)
}

/// What did not work, if something did not.
async fn failed(api: &Api, receipt: &Json, id: &str) -> Result<Option<Complaint>, Complaint> {
    let n_devices = count(receipt, "progress.failed");
    let n_remote = count(receipt, "progress.remoteFailed");
    if n_devices == 0 && n_remote == 0 {
        return Ok(None);
    }
    let mut complaint = Complaint::new(words::failures(n_devices, n_remote));
    if n_devices > 0 {
        let path = own_path(["deprovisionings", id, "devices"]);
        let top = Top { top: i64::try_from(MAX_NAMED).unwrap_or(i64::MAX) };
        let failed = api.list_with(&path, &[("state", Some("failed"))], top).await?;
        if let Json::Array(failed) = &failed {
            complaint.facts.extend(failed.iter().map(words::failed_device));
        }
    }
    let remedy = format!("`induct receipt show {id} --devices` says more of each.");
    Ok(Some(complaint.with_remedy(remedy)))
}

fn print(context: &mut Context<'_>, document: Json) -> Result<(), Failure> {
    let output = context.global.output.unwrap_or_default();
    Answer::new(document, Sheet::Deprovisionings).print(output, context.out)?;
    Ok(())
}
