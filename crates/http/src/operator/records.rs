//! Registration records. The path names a registration, or for a query the group whose devices
//! are wanted, whether that group still exists or not (O §1.2, §1.11).

use model::{Caller, RecordFilter};
use wire::continuation::Collection;
use wire::operator as api;

use super::{Outcome, after, page};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn get(call: &Call<'_>) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    let record = call.app.get_record(&id).await?;
    Ok(Answer::ok(&api::registration_state(&record)))
}

pub(super) async fn delete(call: &Call<'_>, by: &Caller) -> Outcome {
    let id = api::registration_id(call.param(0))?;
    call.app.delete_record(&id, &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

pub(super) async fn query(call: &Call<'_>) -> Outcome {
    let filter = RecordFilter::Group(api::group_id(call.param(0))?);
    api::check_query(call.body()?)?;
    let after = after(call, Collection::Registrations)?;
    let found = call.app.list_records(&filter, after.as_deref(), call.page_size()?).await?;
    Ok(page(&found, Collection::Registrations, api::REGISTRATION_ITEM, api::registration_state))
}
