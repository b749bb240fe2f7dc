//! Bans: who is kept out whatever an enrollment says.

use app::bans::Wet;
use app::simulate::Hypothesis;
use model::Caller;
use wire::continuation::Collection;
use wire::manage as api;

use super::Outcome;
use super::simulate::{told, wet};
use crate::answer::Answer;
use crate::call::Call;
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
    let wet = wet(call)?;
    let ban = call.app.put_ban(&draft, wet, by).await?;
    match wet {
        Wet::Done => Ok(Answer::ok(&api::ban(&ban))),
        Wet::Dry => told(call, api::ban(&ban), Hypothesis::PutBan(Box::new(ban))).await,
    }
}

pub(super) async fn lift(call: &Call<'_>, by: &Caller) -> Outcome {
    let wet = wet(call)?;
    let lifted = call.app.lift_ban(call.param(0), wet, by).await?;
    match wet {
        Wet::Done => Ok(Answer::ok(&api::ban(&lifted))),
        Wet::Dry => told(call, api::ban(&lifted), Hypothesis::LiftBan(lifted.subject.key())).await,
    }
}
