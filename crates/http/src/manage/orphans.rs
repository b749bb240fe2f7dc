//! Registration records whose enrollment no longer exists: listed, counted and deleted. And groups
//! that are deleted, with their records if that is wanted.

use app::bans::Wet;
use app::enrollments::GroupShape;
use app::orphans::Cleared;
use app::simulate::Hypothesis;
use model::{Caller, OperatorRefusal, OrphanFilter, RecordFilter};
use wire::continuation::{self, Collection};
use wire::manage as api;
use wire::operator::group_id;

use super::simulate::{told_if_possible, wet};
use super::{Outcome, asked, bad, flag};
use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;
use crate::operator::{after, page};

const ITEM: &str = "Orphan";

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let (after, size) = (after(call, Collection::Orphans)?, call.page_size()?);
    let filter = RecordFilter::Orphaned(filter(call)?);
    let found = call.app.list_records(&filter, after.as_deref(), size).await?;
    Ok(page(&found, Collection::Orphans, ITEM, api::orphan))
}

pub(super) async fn count(call: &Call<'_>) -> Outcome {
    Ok(Answer::ok(&api::orphan_count(call.app.count_orphans(&filter(call)?).await?)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let (after, size) = (after(call, Collection::Orphans)?, call.page_size()?);
    let (filter, wet) = (filter(call)?, wet(call)?);
    let cleared = call.app.delete_orphans(&filter, after.as_deref(), size, wet, by).await?;
    let is_more = cleared.next.is_some();
    let answer = Answer::ok(&api::orphans_deleted(cleared.n_records, wet == Wet::Dry, is_more));
    Ok(going_on(answer, &cleared))
}

/// Deletes a group. What comes of it is worth telling where its records go too, or where it is a
/// dry run; else there is nothing to say. The right to write enrollments contains the one to delete
/// records (O §1.5).
pub(super) async fn delete_group(call: &Call<'_>, shape: GroupShape, by: &Caller) -> Outcome {
    let id = group_id(call.param(0))?;
    let (precondition, wet, size) = (call.precondition()?, wet(call)?, call.page_size()?);
    let cleared = if flag(call, "withRecords")? {
        call.app.delete_group_with_records(shape, &id, &precondition, size, wet, by).await?
    } else {
        call.app.remove_group(shape, &id, &precondition, wet, by).await?;
        if wet == Wet::Done {
            return Ok(Answer::no_content());
        }
        Cleared::default()
    };
    let is_more = cleared.next.is_some();
    let mut told = api::group_deleted(&id, cleared.n_records, wet == Wet::Dry, is_more);
    if wet == Wet::Dry {
        told = told_if_possible(call, told, Hypothesis::DeleteGroup(id)).await?;
    }
    Ok(going_on(Answer::ok(&told), &cleared))
}

fn going_on(answer: Answer, cleared: &Cleared) -> Answer {
    match &cleared.next {
        Some(key) => {
            answer.with("x-ms-continuation", &continuation::encode(Collection::Orphans, key))
        }
        None => answer,
    }
}

fn filter(call: &Call<'_>) -> Result<OrphanFilter, Problem<OperatorRefusal>> {
    let group = asked(call, "group")?.map(|text| group_id(&text)).transpose()?;
    let updated_before = match asked(call, "olderThan")? {
        None => None,
        Some(text) => match text.parse::<i64>() {
            Ok(secs @ 0..) => Some(call.now.plus_secs(-secs)),
            _ => return Err(bad("olderThan: expected a whole number of seconds from 0")),
        },
    };
    Ok(OrphanFilter { group, updated_before })
}
