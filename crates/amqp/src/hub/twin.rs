//! A device's requests on its twin, and their answers (H §4.3.5).
//!
//! Every request that is understood and has a correlation-id gets an answer, a fault of ours too:
//! clients wait for one. It goes to the link that is paired with the one the request came on.
//! Changes of desired properties have no correlation-id, which is how clients tell them apart, and
//! go to every pair that asked for them.

use app::{
    device::{DeviceSession, SessionNo},
    live::Desired,
};
use bytes::Bytes;
use model::HubRefusal;
use tracing::error;
use wire::{
    RequestFault,
    hub::{envelope_b, error_row, fault_row},
};

use super::{
    methods,
    pairs::{Pairs, Way},
};
use crate::{
    AmqpSettings, content,
    door::chain_of,
    driver::Shared,
    endpoint::{Ask, Attached, Incoming, LinkId},
    errors,
    proto::{
        Body, Limits, Message, MessageId, Properties, Value, WireError, decode_message,
        encode_message,
    },
};

/// The reported properties, as `resource` names them.
const REPORTED: &str = "/properties/reported";
/// Changes of the desired properties, as `resource` names them.
const DESIRED: &str = "/notifications/twin/properties/desired";

/// A device's twin links and what it asked to hear of.
#[derive(Debug, Default)]
pub(super) struct TwinLinks {
    pairs: Pairs,
    /// The links on which changes of desired properties were asked for.
    subscribed: Vec<LinkId>,
    last_number: u64,
}

/// What a device asks.
#[derive(Debug)]
pub(super) struct Request {
    link: LinkId,
    correlation_id: Option<MessageId>,
    operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Get,
    Report {
        patch: Bytes,
        expected_version: Option<u64>,
    },
    Subscribe,
    Unsubscribe,
    /// One there is none of; why.
    Unknown(&'static str),
}

/// An answer's status, its version if it has one, and its body.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    version: Option<u64>,
    body: String,
}

impl TwinLinks {
    /// Whether the device asked for changes of its desired properties.
    pub(super) const fn wants_desired(&self) -> bool {
        !self.subscribed.is_empty()
    }

    /// Takes a link in.
    pub(super) fn attach(&mut self, attached: &Attached, settings: &AmqpSettings) -> Ask {
        self.pairs.attach(attached);
        methods::accept(attached, settings)
    }

    /// Forgets a link, and what was asked for on it.
    pub(super) fn detach(&mut self, link: LinkId) {
        self.unsubscribe(link);
        self.pairs.detach(link);
    }

    fn unsubscribe(&mut self, link: LinkId) {
        self.subscribed.retain(|subscribed| *subscribed != link);
        if self.subscribed.is_empty() {
            self.subscribed = Vec::new();
        }
    }

    /// The answer to a request, where there is a link for it. The device hears of changes from the
    /// answer to its subscription on.
    pub(super) fn answered(&mut self, request: Request, answer: Answer) -> Option<Ask> {
        let Request { link, correlation_id, operation } = request;
        match operation {
            Operation::Subscribe if self.pairs.has_sender(link) => {
                self.unsubscribe(link);
                self.subscribed.push(link);
            }
            Operation::Unsubscribe => self.unsubscribe(link),
            _ => {}
        }
        let way = self.pairs.way_back(link)?;
        let Answer { status, version, body } = answer;
        let mut annotations = vec![(symbol("status"), Value::Int(status.into()))];
        annotations.extend(version.map(version_annotation));
        let correlation_id = Some(correlation_id?);
        let message = Message {
            message_annotations: annotations,
            properties: Some(Box::new(Properties { correlation_id, ..Properties::default() })),
            body: Body::Data(vec![body.into()]),
            ..Message::default()
        };
        Some(send(way, self.next_number(), &message))
    }

    /// Tells the device of a change of its desired properties, on every pair that asked for it.
    pub(super) fn desired(&mut self, desired: &Desired) -> Vec<Ask> {
        let text = wire::hub::desired_notification(&desired.patch, desired.version);
        let message = Message {
            message_annotations: vec![version_annotation(desired.version)],
            body: Body::Data(vec![text.into()]),
            ..Message::default()
        };
        let number = self.next_number();
        let ways = self.subscribed.iter().filter_map(|link| self.pairs.way_back(*link));
        ways.map(|way| send(way, number, &message)).collect()
    }

    /// One that no other message of these links has.
    const fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

fn send(way: Way, number: u64, message: &Message) -> Ask {
    let Way { link, is_settled } = way;
    let tag = u128::from(number).to_be_bytes();
    Ask::Send { link, number, tag, message: encode_message(message), is_settled }
}

/// What a device asks in this message. A request without a correlation-id is done and not answered.
///
/// # Errors
/// Why it cannot be read, for the outcome of its message.
pub(super) fn request(link: LinkId, incoming: &Incoming) -> Result<Request, WireError> {
    let (correlation_id, operation) = read(incoming.payload.clone())?;
    Ok(Request { link, correlation_id, operation })
}

fn read(payload: Bytes) -> Result<(Option<MessageId>, Operation), WireError> {
    let message = decode_message(payload, &Limits::SESSION)
        .map_err(|bad| WireError::new(errors::DECODE, bad.to_string()))?;
    let annotation = |name| content::find(&message.message_annotations, name);
    let text = |name| annotation(name).and_then(Value::as_text).unwrap_or_default();
    // Node's client ends it with a slash on other transports.
    let resource = text("resource").trim_end_matches('/').to_ascii_lowercase();
    let version = annotation("version").map(content::integer_of);
    let operation = match (text("operation").to_ascii_uppercase().as_str(), resource.as_str()) {
        // Clients name no resource here.
        ("GET", _) => Operation::Get,
        ("PATCH", "" | REPORTED) => match (content::body_bytes(message.body), version) {
            (None, _) => Operation::Unknown("a report has a body of data"),
            (_, Some(None)) => Operation::Unknown("`version` is a whole number"),
            (Some(patch), version) => match version.flatten().map(u64::try_from).transpose() {
                Ok(expected_version) => Operation::Report { patch, expected_version },
                Err(_) => Operation::Unknown("`version` is not negative"),
            },
        },
        ("PUT", DESIRED) => Operation::Subscribe,
        ("DELETE", DESIRED) => Operation::Unsubscribe,
        ("PATCH" | "PUT" | "DELETE", _) => Operation::Unknown("there is no such `resource`"),
        _ => Operation::Unknown("`operation` is GET, PATCH, PUT or DELETE"),
    };
    let correlation_id = message.properties.and_then(|properties| properties.correlation_id);
    Ok((correlation_id, operation))
}

/// Does what a device asks, all but the subscribing, which [`TwinLinks::answered`] does.
///
/// # Errors
/// Only the session's end.
pub(super) async fn answer(
    shared: &Shared,
    session: &DeviceSession,
    request: &Request,
) -> Result<Answer, SessionNo> {
    let done = match &request.operation {
        Operation::Get => session.twin().await.map(|twin| Answer {
            status: 200,
            version: None,
            body: wire::hub::device_twin(&twin),
        }),
        Operation::Report { patch, expected_version } => {
            report(session, patch, *expected_version).await
        }
        Operation::Subscribe | Operation::Unsubscribe => {
            Ok(Answer { status: 200, version: None, body: String::new() })
        }
        Operation::Unknown(why) => {
            Err(SessionNo::Refused(HubRefusal::ArgumentInvalid((*why).to_owned())))
        }
    };
    match done {
        Ok(answer) => Ok(answer),
        Err(no) => refused(shared, session, no),
    }
}

async fn report(
    session: &DeviceSession,
    patch: &[u8],
    expected_version: Option<u64>,
) -> Result<Answer, SessionNo> {
    let patch = wire::hub::parse_reported(patch).map_err(SessionNo::Refused)?;
    let version = session.report(&patch, expected_version).await?;
    Ok(Answer { status: 204, version: Some(version), body: String::new() })
}

/// The answer to a request that was not done; the end of a session has none.
fn refused(shared: &Shared, session: &DeviceSession, no: SessionNo) -> Result<Answer, SessionNo> {
    let tracking_id = shared.app.tracking_id();
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
    let body = envelope_b(&row, &tracking_id, shared.app.now()).to_string();
    Ok(Answer { status: row.status, version: None, body })
}

fn version_annotation(version: u64) -> (Value, Value) {
    // C's client takes no other type.
    (symbol("version"), Value::Long(i64::try_from(version).unwrap_or(i64::MAX)))
}

fn symbol(name: &str) -> Value {
    Value::Symbol(name.to_owned())
}

#[cfg(test)]
mod tests;
