//! Bulk calls (O §1.10). 200 even when items were refused: the answer lists them.

use app::enrollments::{BulkGroup, BulkIndividual, BulkMode};
use model::Caller;
use wire::operator::{self as api, Bulk};

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn individuals(call: &Call<'_>, by: &Caller) -> Outcome {
    let bulk = api::parse_bulk_individuals(call.body()?)?;
    let (mode, items) = items(bulk, |d| BulkIndividual::Write(d.into()), BulkIndividual::Delete);
    let refused = call.app.bulk_individuals(mode, items, by).await?;
    Ok(Answer::ok(&api::bulk_answer_individuals(&refused)))
}

pub(super) async fn groups(call: &Call<'_>, by: &Caller) -> Outcome {
    let bulk = api::parse_bulk_groups(call.body()?)?;
    let (mode, items) = items(bulk, |d| BulkGroup::Write(d.into()), BulkGroup::Delete);
    let refused = call.app.bulk_groups(mode, items, by).await?;
    Ok(Answer::ok(&api::bulk_answer_groups(&refused)))
}

fn items<D, I, T>(
    bulk: Bulk<D, I>,
    write: impl Fn(D) -> T,
    delete: impl Fn(I) -> T,
) -> (BulkMode, Vec<T>) {
    let writes = |drafts: Vec<D>| drafts.into_iter().map(&write).collect();
    match bulk {
        Bulk::Create(drafts) => (BulkMode::Create, writes(drafts)),
        Bulk::Update(drafts) => (BulkMode::Update, writes(drafts)),
        Bulk::UpdateIfMatchEtag(drafts) => (BulkMode::UpdateIfMatchEtag, writes(drafts)),
        Bulk::Delete(ids) => (BulkMode::Delete, ids.into_iter().map(delete).collect()),
    }
}
