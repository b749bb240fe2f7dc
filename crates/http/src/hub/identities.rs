//! Device identities, one by one and many at once, and module identities (H §2.4 to §2.9).

use model::{Caller, Device, HubName, HubRefusal, Json, Precondition};
use wire::hub::{self as api, BULK_FAILURE, BulkFailure};

use super::{Outcome, device_id, module_id};
use crate::answer::Answer;
use crate::call::Call;

pub(super) async fn put(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let id = device_id(call)?;
    let precondition = call.precondition()?;
    let draft = api::parse_identity(call.body()?)?;
    if draft.device_id != id {
        let text = "deviceId: is not the one of the path (letter case matters)";
        return Err(HubRefusal::ArgumentInvalid(text.to_owned()).into());
    }
    let device = call.app.put_identity(hub, &draft, &precondition, by).await?;
    Ok(identity(&device, shown_after(&precondition)))
}

/// Without a precondition a PUT only creates (H §2.6).
const fn shown_after(precondition: &Precondition) -> api::Answer {
    match precondition {
        Precondition::None => api::Answer::Created,
        Precondition::Any | Precondition::Tag(_) => api::Answer::Read,
    }
}

pub(super) async fn get(call: &Call<'_>, hub: &HubName) -> Outcome {
    let device = call.app.get_device(hub, &device_id(call)?).await?;
    Ok(identity(&device, api::Answer::Read))
}

/// Identities of devices, and nothing else of a hub, carry their etag in a header as well (H §2.1).
fn identity(device: &Device, shown: api::Answer) -> Answer {
    let etag = device.identity.etag();
    Answer::ok(&api::identity(&device.identity, shown)).with("etag", &format!("\"{etag}\""))
}

pub(super) async fn delete(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let id = device_id(call)?;
    call.app.delete_device(hub, &id, &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}

pub(super) async fn list(call: &Call<'_>, hub: &HubName) -> Outcome {
    let top = api::page_top(call.query("top")?.as_deref())?;
    let devices = call.app.list_devices(hub, top).await?;
    let rows = devices.iter().map(|device| api::identity(&device.identity, api::Answer::Read));
    Ok(Answer::ok(&Json::Array(rows.collect())))
}

/// 200 when everything was done, 400 with the same shape when anything was not (H §2.7).
pub(super) async fn bulk(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let elements = api::parse_bulk(call.body()?)?;
    let refused = call.app.bulk_devices(hub, &elements, by).await?;
    let failures: Vec<BulkFailure> = refused
        .into_iter()
        .filter_map(|(place, error)| {
            let element = elements.get(place)?;
            Some(BulkFailure {
                device_id: element.identity.device_id.device().to_owned(),
                module_id: element.identity.device_id.module().map(str::to_owned),
                code: error.code.to_owned(),
                status: error.status,
                mode: element.mode,
            })
        })
        .collect();
    let body = api::bulk_answer(&failures);
    if failures.is_empty() {
        return Ok(Answer::ok(&body));
    }
    let reason = format!("{} of {} elements were refused", failures.len(), elements.len());
    Ok(Answer::error(400, &body, BULK_FAILURE.to_owned(), reason)
        .with(api::ERROR_CODE_HEADER, BULK_FAILURE)
        .with(BULK_ERROR, BULK_FAILURE))
}

/// [`api::BULK_ERROR_HEADER`] as header names are kept in memory and written: in lower case.
/// Clients look header names up without regard to case.
const BULK_ERROR: &str = "iothuberrorcode";

pub(super) async fn purge_commands(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let id = device_id(call)?;
    let n_messages = call.app.purge_messages(hub, &id, by).await?;
    Ok(Answer::ok(&api::purged(&id, n_messages)))
}

pub(super) async fn list_modules(call: &Call<'_>, hub: &HubName) -> Outcome {
    let modules = call.app.list_modules(hub, &device_id(call)?).await?;
    let rows = modules.iter().map(|module| api::identity(&module.identity, api::Answer::Read));
    Ok(Answer::ok(&Json::Array(rows.collect())))
}

pub(super) async fn get_module(call: &Call<'_>, hub: &HubName) -> Outcome {
    let module = call.app.get_device(hub, &module_id(call)?).await?;
    Ok(Answer::ok(&api::identity(&module.identity, api::Answer::Read)))
}

pub(super) async fn put_module(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let id = module_id(call)?;
    let precondition = call.precondition()?;
    let draft = api::parse_module_identity(call.body()?)?;
    if draft.device_id != id {
        let text = "deviceId, moduleId: are not those of the path (letter case matters)";
        return Err(HubRefusal::ArgumentInvalid(text.to_owned()).into());
    }
    let module = call.app.put_identity(hub, &draft, &precondition, by).await?;
    Ok(Answer::ok(&api::identity(&module.identity, shown_after(&precondition))))
}

pub(super) async fn delete_module(call: &Call<'_>, hub: &HubName, by: &Caller) -> Outcome {
    let id = module_id(call)?;
    call.app.delete_device(hub, &id, &call.precondition()?, by).await?;
    Ok(Answer::no_content())
}
