//! A device's requests on its twin, and their answers (H §4.2.7).
//!
//! Every request that is understood gets an answer, a fault of ours too: clients wait for one. An
//! answer to a device that does not listen for answers is not sent.

use app::device::{DeviceSession, SessionNo};
use tracing::error;
use wire::{
    RequestFault,
    hub::{envelope_b, error_row, fault_row},
};

use crate::{
    door::{Context, chain_of},
    proto::{Delivery, Packet, Publish, Topic},
    topic,
};

/// An answer's status, its version if it has one, and its body.
type Answer = (u16, Option<u64>, String);

/// Answers a device that asks for its twin.
pub(super) async fn get(
    context: &Context,
    session: &DeviceSession,
    rid: &str,
) -> Result<Option<Packet>, SessionNo> {
    let answer = match session.twin().await {
        Ok(twin) => (200, None, wire::hub::device_twin(&twin)),
        Err(no) => refused(context, session, no)?,
    };
    Ok(response(session, rid, answer))
}

/// Answers a device that reports properties.
pub(super) async fn report(
    context: &Context,
    session: &DeviceSession,
    rid: &str,
    expected_version: Option<u64>,
    payload: &[u8],
) -> Result<Option<Packet>, SessionNo> {
    let reported = match wire::hub::parse_reported(payload) {
        Ok(patch) => session.report(&patch, expected_version).await,
        Err(refusal) => Err(SessionNo::Refused(refusal)),
    };
    let answer = match reported {
        Ok(version) => (204, Some(version), String::new()),
        Err(no) => refused(context, session, no)?,
    };
    Ok(response(session, rid, answer))
}

/// The answer to a request that was not done; the end of a session has none.
fn refused(context: &Context, session: &DeviceSession, no: SessionNo) -> Result<Answer, SessionNo> {
    let tracking_id = context.app.tracking_id();
    let row = match no {
        SessionNo::Refused(refusal) => error_row(&refusal),
        SessionNo::Fault(fault) => {
            let chain = chain_of(&fault);
            error!(
                tracking_id, hub.name = %session.hub(), device.id = %session.device_id(),
                error = %chain, "a twin request failed by our fault: {chain}",
            );
            fault_row(RequestFault::Internal)
        }
        SessionNo::Over(end) => return Err(SessionNo::Over(end)),
    };
    // Node looks for `errorCode` in the body and at nothing else.
    let body = envelope_b(&row, &tracking_id, context.app.now()).to_string();
    Ok((row.status, None, body))
}

/// The packet, if the device listens for it. QoS 0 does for every client (H §4.2.7).
fn response(session: &DeviceSession, rid: &str, (status, version, body): Answer) -> Option<Packet> {
    session.subscriptions().twin_responses?;
    // The request's topic held the same text, so it is legal in this one; a longer one than a
    // topic can be has no answer.
    let topic = Topic::new(topic::twin_response(status, rid, version)).ok()?;
    let delivery = Delivery::AtMostOnce;
    Some(Packet::Publish(Publish { topic, payload: body.into(), delivery, retain: false }))
}
