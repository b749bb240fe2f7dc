//! Bans: who is kept out whatever an enrollment says.

use app::bans::Wet;
use model::{Caller, OperatorRefusal};
use wire::continuation::Collection;
use wire::manage as api;

use super::{Outcome, asked, bad};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::operator::{after, page};

const ITEM: &str = "ban";

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let (after, size) = (after(call, Collection::Bans)?, call.page_size()?);
    let found = call.app.list_bans(after.as_deref(), size).await?;
    Ok(page(&found, Collection::Bans, ITEM, api::ban))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(&api::ban(&call.app.get_ban(call.param(0)).await?)))
}

pub(super) async fn put(call: &Call<'_>, by: &Caller) -> Outcome {
    let draft = api::parse_ban(call.body()?)?;
    Ok(Answer::ok(&api::ban(&call.app.put_ban(&draft, wet(call)?, by).await?)))
}

pub(super) async fn lift(call: &Call<'_>, by: &Caller) -> Outcome {
    let lifted = call.app.lift_ban(call.param(0), wet(call)?, by).await?;
    Ok(Answer::ok(&api::ban(&lifted)))
}

/// Whether the caller wants it done, or only told what it would do.
pub(super) fn wet(call: &Call<'_>) -> Result<Wet, Problem<OperatorRefusal>> {
    match asked(call, "dryRun")?.as_deref() {
        None => Ok(Wet::Done),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(Wet::Done),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(Wet::Dry),
        Some(_) => Err(bad("dryRun: expected true or false")),
    }
}
