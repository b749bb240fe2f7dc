//! Messages to devices, on a hub's host name and on the service's.

use app::hub::MessageDraft;
use http::StatusCode;
use model::{DeviceId, HubName, HubRefusal};
use wire::hub as api;

use crate::answer::Answer;
use crate::call::Call;
use crate::errors::Problem;

/// Puts a message into a device's queue.
pub(crate) async fn send(
    call: &Call<'_>,
    hub: &HubName,
    device_id: &str,
) -> Result<Answer, Problem<HubRefusal>> {
    let id = DeviceId::parse(device_id)
        .map_err(|bad| HubRefusal::ArgumentInvalid(format!("the device ID in the path: {bad}")))?;
    let api::MessageBody { properties, application, body, feedback, expires } =
        api::parse_message(call.body()?)?;
    let draft = MessageDraft { properties, application, body, feedback, expires };
    let message = call.app.send_message(hub, &id, draft).await?;
    Ok(Answer::json(StatusCode::CREATED, &api::message_sent(&message)))
}
