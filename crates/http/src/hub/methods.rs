//! `POST /twins/{id}/methods`, and the same of modules (H §4.2.9).

use std::time::Duration;

use app::{
    No,
    hub::{MethodCall, MethodDraft, MethodReply, check_method},
};

use model::{DeviceId, HubName, HubRefusal};
use tokio::time::{Instant, timeout, timeout_at};
use wire::hub as api;

use super::Outcome;
use crate::answer::Answer;
use crate::call::Call;

/// How long a call may wait for its device: the longest time to connect and the longest to answer
/// that may be asked for (H §4.2.9).
pub(crate) const MAX_METHOD_WAIT: Duration = Duration::from_secs(300 + 300);

pub(super) async fn call(call: &Call<'_>, hub: &HubName, id: &DeviceId) -> Outcome {
    let api::MethodBody { name, payload, response_timeout_secs, connect_timeout_secs } =
        api::parse_method(call.body()?)?;
    let draft = MethodDraft { name, payload, response_timeout_secs, connect_timeout_secs };
    let method = check_method(draft)?;
    let reply = reach(call, hub, id, &method).await?;
    let patience = Duration::from_secs(method.response_timeout_secs);
    match timeout(patience, reply.wait()).await {
        Ok(Some(answer)) => Ok(Answer::ok(&api::method_answer(answer.status, &answer.payload))),
        // It is late, or the session ended: nobody knows what the device did.
        Ok(None) | Err(_) => Err(HubRefusal::MethodTimeout(id.to_string()).into()),
    }
}

/// Hands the method to the device, which has a while to connect if the caller says so.
async fn reach(
    call: &Call<'_>,
    hub: &HubName,
    id: &DeviceId,
    method: &MethodCall,
) -> Result<MethodReply, No<HubRefusal>> {
    let deadline = Instant::now() + Duration::from_secs(method.connect_timeout_secs);
    let mut stop = call.stop.clone();
    loop {
        let offline = match call.app.call_method(hub, id, method).await {
            Err(No::Refused(offline @ HubRefusal::DeviceNotOnline(_))) => offline,
            done => return done,
        };
        if method.connect_timeout_secs == 0 {
            return Err(No::Refused(offline));
        }
        // One that connects and is gone at once is waited for again.
        tokio::select! {
            arrival = timeout_at(deadline, call.app.until_takes_methods(hub, id)) => {
                if arrival.is_err() {
                    return Err(No::Refused(offline));
                }
            }
            // No device connects any more.
            () = stop.asked() => return Err(No::Refused(offline)),
        }
    }
}
