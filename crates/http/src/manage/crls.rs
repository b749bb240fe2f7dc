//! Revocation lists.

use app::crls::{DEFAULT_EVERY_SECS, Imported, SourceDraft};
use model::{Caller, Json};
use wire::manage as api;

use super::{Outcome, bad};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let crls = call.app.list_crls().await?;
    Ok(Answer::ok(&Json::Array(crls.iter().map(|crl| api::crl(crl, call.now)).collect())))
}

/// Takes a list in, DER or PEM. Whose it is, it says itself.
pub(super) async fn import(call: &Call<'_>, by: &Caller) -> Outcome {
    let file = call.file()?;
    let der = wire::pem::revocation_list(file).map_err(|why| bad(&why.to_string()))?;
    Ok(taken(call, &call.app.import_crl(der, by).await?))
}

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(&api::crl(&call.app.get_crl(call.param(0)).await?, call.now)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    call.app.delete_crl(call.param(0), &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

pub(super) async fn follow(call: &Call<'_>, by: &Caller) -> Outcome {
    let precondition = call.precondition()?;
    let body = api::parse_crl_source(call.body()?)?;
    let every_secs = body.every_secs.unwrap_or(DEFAULT_EVERY_SECS);
    let draft = SourceDraft { url: body.url, every_secs };
    let crl = call.app.follow_crl(call.param(0), &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::crl(&crl, call.now)))
}

pub(super) async fn unfollow(call: &Call<'_>, by: &Caller) -> Outcome {
    call.app.unfollow_crl(call.param(0), &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

/// Asks the URL now. That it failed is no failure of the request: the answer says so.
pub(super) async fn fetch(call: &Call<'_>) -> Outcome {
    Ok(taken(call, &call.app.fetch_crl(call.param(0)).await?))
}

fn taken(call: &Call<'_>, imported: &Imported) -> Answer {
    let Imported { crl, n_added, n_removed } = imported;
    let counts = api::RevokedCounts { n_added: *n_added, n_removed: *n_removed };
    Answer::ok(&api::crl_taken(crl, counts, call.now))
}
