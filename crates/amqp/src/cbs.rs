//! Token links: a client shows tokens on the connection that it has (H §4.3.3).
//!
//! What a token is for stands in the token itself, in its `sr`; the name that a client gives it is
//! a hint that nobody needs. Requests are answered in the order they came, on the token link that
//! the client attached last to receive. What deliberately does not live here: the tokens that were
//! accepted ([`tokens`]), and whether one is good (`app`).

mod tokens;

use std::sync::Arc;

use app::{
    No,
    device::{Connecting, Earlier},
    visits::Visit,
};
use model::{
    ConnectRefusal, DeviceId, Door, Evidence, HubName, HubRefusal, ModuleId, Right, SasToken,
};
use tokio::time::timeout;
use tracing::{error, info};

pub(crate) use self::tokens::{Held, Listener, Tokens};
use self::tokens::{PolicyRights, TooMany};
use crate::{
    address::without_port,
    door::{chain_of, one_line},
    driver::Shared,
    endpoint::{Ask, Attached, Inbox, Incoming, Line, LinkId, Told},
    proto::{
        Body, Limits, Message, MessageId, Outcome, Properties, Role, SenderSettle, Value,
        WireError, decode_message, encode_message,
    },
};

/// The longest request, in bytes: a token has at most 8 KiB, and a name is not longer.
const MAX_REQUEST_BYTES: u64 = 24 * 1024;
/// How many requests may be under way. More would not be answered sooner.
const WINDOW: u32 = 16;
/// The only kind of token there is.
const TOKEN_TYPE: &str = "servicebus.windows.net:sastoken";

/// Answers the token links of one connection, until the last of them is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: Inbox, line: Line) {
    let mut links = Links::default();
    let mut next = inbox.recv().await;
    while let Some(told) = next {
        links.take(&shared, &line, told).await;
        next = match links.are_gone() {
            // Another link may just have been attached.
            true => inbox.try_recv().ok(),
            false => inbox.recv().await,
        };
    }
}

/// The token links of a connection.
#[derive(Default)]
struct Links {
    /// Those that requests come on.
    requests: Vec<LinkId>,
    /// Those that answers go out on, and whether they go out settled.
    answers: Vec<(LinkId, bool)>,
    n_answers: u64,
}

impl Links {
    const fn are_gone(&self) -> bool {
        self.requests.is_empty() && self.answers.is_empty()
    }

    async fn take(&mut self, shared: &Shared, line: &Line, told: Told) {
        match told {
            Told::Attached(attached) => line.ask(self.attach(&attached)).await,
            // Boxed, because a connection has room for it all of its life.
            Told::Message(link, incoming) => {
                Box::pin(self.answer(shared, line, link, incoming)).await;
            }
            Told::Detached(link) => {
                self.requests.retain(|of| *of != link);
                self.answers.retain(|(of, _)| *of != link);
            }
            // What waits for credit waits with the driver, and an answer that a client does not
            // want has no consequence.
            Told::Credit { .. } | Told::Settled { .. } => {}
        }
    }

    fn attach(&mut self, attached: &Attached) -> Ask {
        let link = attached.link;
        match attached.role {
            Role::Sender => {
                self.requests.push(link);
                let max_message_bytes = Some(MAX_REQUEST_BYTES);
                Ask::Accept { link, max_message_bytes, window: WINDOW }
            }
            Role::Receiver => {
                let are_settled = attached.sender_settle != SenderSettle::Unsettled;
                self.answers.push((link, are_settled));
                Ask::Accept { link, max_message_bytes: None, window: 0 }
            }
        }
    }

    async fn answer(&mut self, shared: &Shared, line: &Line, link: LinkId, incoming: Incoming) {
        let Incoming { delivery, payload, is_settled, place, .. } = incoming;
        let read = decode_message(payload, &Limits::STRANGER);
        let (outcome, answer) = match read {
            Ok(request) => {
                let answer = answer(shared, &request).await;
                let to = request.properties.and_then(|properties| properties.message_id);
                (Outcome::Accepted, Some((to, answer)))
            }
            Err(bad) => {
                let error = WireError::new("amqp:decode-error", bad.to_string());
                (Outcome::Rejected(Some(error)), None)
            }
        };
        drop(place);
        if !is_settled {
            line.ask(Ask::Settle { link, delivery, outcome }).await;
        }
        let (Some((to, answer)), Some(&(link, is_settled))) = (answer, self.answers.last()) else {
            return;
        };
        self.n_answers += 1;
        let number = self.n_answers;
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&number.to_be_bytes());
        let message = encode_message(&answer.message(to));
        line.ask(Ask::Send { link, number, tag, message, is_settled }).await;
    }
}

/// What a client is told of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// Those of HTTP. Clients compare it as an `int` (H §4.3.3).
    status: i32,
    description: String,
}

impl Answer {
    fn new(status: i32, description: impl Into<String>) -> Self {
        Self { status, description: description.into() }
    }

    /// The answer to the request of this ID, which keeps its type (H §4.3.3).
    fn message(self, to: Option<MessageId>) -> Message {
        let properties = Properties { correlation_id: to, ..Properties::default() };
        Message {
            properties: Some(Box::new(properties)),
            application_properties: vec![
                ("status-code".to_owned(), Value::Int(self.status)),
                ("status-description".to_owned(), Value::String(self.description)),
            ],
            body: Body::Value(Value::Null),
            ..Message::default()
        }
    }
}

async fn answer(shared: &Shared, request: &Message) -> Answer {
    let property = |name: &str| {
        let found = request.application_properties.iter().find(|(of, _)| of == name);
        found.and_then(|(_, value)| value.as_text())
    };
    match property("operation") {
        Some("put-token") => put_token(shared, property("type"), &request.body).await,
        Some("delete-token") => delete_token(shared, property("name")),
        Some(other) => {
            let other = one_line(other);
            Answer::new(
                400,
                format!("`{other}` is no operation; there are put-token and delete-token"),
            )
        }
        None => Answer::new(400, "the request has no `operation`"),
    }
}

/// Looks at a token, and keeps it when it is good. A newer one takes the place of the one before:
/// what rests on that goes on with it.
async fn put_token(shared: &Shared, kind: Option<&str>, body: &Body) -> Answer {
    if let Some(kind) = kind
        && kind != TOKEN_TYPE
    {
        let kind = one_line(kind);
        return Answer::new(
            400,
            format!("tokens of type `{kind}` are not known, only {TOKEN_TYPE}"),
        );
    }
    let Some(text) = text_of(body) else {
        return Answer::new(400, "the body is no text that could be a token");
    };
    let token = match wire::sas::parse(text) {
        Ok(token) => token,
        Err(bad) => return Answer::new(401, bad.to_string()),
    };
    let claim = match Claim::of(&token.resource, token.key_name.is_some()) {
        Ok(claim) => claim,
        Err(why) => return why,
    };
    let checked = timeout(shared.settings.request_timeout, claim.check(shared, token)).await;
    match checked {
        Ok(Ok(())) => {
            shared.prove();
            Answer::new(200, "OK")
        }
        Ok(Err(no)) => no,
        Err(_) => Answer::new(500, "it took too long"),
    }
}

/// Forgets a token. What already rests on it goes on until the token's end: no source knows of an
/// end before that.
fn delete_token(shared: &Shared, name: Option<&str>) -> Answer {
    let name = name.unwrap_or_default();
    let resource = wire::percent::decode(name).unwrap_or_else(|_| name.to_owned());
    match Claim::of(&resource, true) {
        Ok(Claim::Device { hub, device_id }) => shared.tokens.forget_device(&hub, &device_id),
        Ok(Claim::Policy { hub, .. }) => shared.tokens.forget_policies(&hub),
        Err(why) => return why,
    }
    Answer::new(200, "OK")
}

/// A token is a value of type string. One that came as bytes is read as well.
fn text_of(body: &Body) -> Option<&str> {
    match body {
        Body::Value(Value::Binary(bytes)) => std::str::from_utf8(bytes).ok(),
        Body::Value(value) => value.as_text(),
        Body::Data(sections) => match &sections[..] {
            [one] => std::str::from_utf8(one).ok(),
            _ => None,
        },
        Body::None | Body::Sequence(_) => None,
    }
}

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// One device or module.
    Device { hub: HubName, device_id: DeviceId },
    /// A hub, or what lies under this path of it, for whoever holds one of its policies' keys.
    Policy { hub: HubName, path: Vec<String> },
}

impl Claim {
    fn of(resource: &str, has_policy: bool) -> Result<Self, Answer> {
        let bare = resource.split_once("://").map_or(resource, |(_, rest)| rest);
        let mut segments = bare.split('/').filter(|segment| !segment.is_empty());
        let host = without_port(segments.next().unwrap_or_default());
        let hub = HubName::parse(host)
            .map_err(|bad| Answer::new(401, format!("the token's sr names no hub: {bad}")))?;
        let path: Vec<&str> = segments.collect();
        match &path[..] {
            ["devices", id] => {
                let device_id = device_named(id)?;
                Ok(Self::Device { hub, device_id })
            }
            ["devices", id, "modules", module_id] => {
                let module_id = ModuleId::parse(module_id).map_err(|bad| {
                    Answer::new(401, format!("the token's sr names no module: {bad}"))
                })?;
                let device_id = DeviceId::of_module(&device_named(id)?, &module_id);
                Ok(Self::Device { hub, device_id })
            }
            _ if has_policy => {
                let path = path.into_iter().map(str::to_owned).collect();
                Ok(Self::Policy { hub, path })
            }
            _ => Err(Answer::new(401, "the token is for no device, and names no policy")),
        }
    }

    async fn check(self, shared: &Shared, token: SasToken) -> Result<(), Answer> {
        match self {
            Self::Device { hub, device_id } => check_device(shared, hub, device_id, token).await,
            Self::Policy { hub, path } => check_policy(shared, hub, &path, token).await,
        }
    }
}

fn device_named(id: &str) -> Result<DeviceId, Answer> {
    DeviceId::parse(id)
        .map_err(|bad| Answer::new(401, format!("the token's sr names no device: {bad}")))
}

async fn check_device(
    shared: &Shared,
    hub: HubName,
    device_id: DeviceId,
    token: SasToken,
) -> Result<(), Answer> {
    let connecting = Connecting {
        hub: hub.clone(),
        device_id: device_id.clone(),
        evidence: Evidence::Sas(token.clone()),
        address: shared.peer.address.ip(),
        earlier: Earlier::LeftAlone,
    };
    let (tracking_id, address) = (shared.tracking_id.as_str(), shared.peer.address.ip());
    let visit = Visit { tracking_id, door: Door::Amqp, address };
    match shared.app.check_device_from(&visit, connecting).await {
        Ok(_) => {
            let most = shared.settings.max_devices_per_connection;
            shared.tokens.put_device(hub, device_id, token, most).map_err(|TooMany| {
                Answer::new(403, format!("at most {most} devices share one connection"))
            })
        }
        Err(No::Refused(refusal)) => {
            info!(
                tracking_id = shared.tracking_id, hub.name = %hub, device.id = %device_id,
                "a token for `{device_id}` on `{hub}` is refused: {refusal}",
            );
            let was_here = shared.tokens.knows(&hub, &device_id);
            Err(refused(&refusal, was_here))
        }
        Err(No::Fault(fault)) => Err(failed(shared, &fault)),
    }
}

/// A device's token that is not taken. One that was never let in here learns of a device just as
/// much as over MQTT: nothing (H §4.2.3). One whose device was deleted meanwhile, or is disabled,
/// has shown that the key is known to it (H §4.3.3: 404).
fn refused(refusal: &ConnectRefusal, was_here: bool) -> Answer {
    match refusal {
        ConnectRefusal::Disabled(_) => Answer::new(404, "the device is disabled"),
        ConnectRefusal::Banned(_) | ConnectRefusal::Disenrolled(_) if was_here => {
            Answer::new(404, "the device is disabled")
        }
        ConnectRefusal::UnknownDevice if was_here => Answer::new(404, "there is no such device"),
        ConnectRefusal::Throttled(secs) => {
            Answer::new(429, format!("too many requests; wait {secs} seconds"))
        }
        ConnectRefusal::Conflict | ConnectRefusal::Overtaken => {
            Answer::new(500, "the device was changed meanwhile")
        }
        ConnectRefusal::UnknownHub(_)
        | ConnectRefusal::UnknownDevice
        | ConnectRefusal::Banned(_)
        | ConnectRefusal::Disenrolled(_)
        | ConnectRefusal::WrongKind(_)
        | ConnectRefusal::NotAttested(_)
        | ConnectRefusal::PolicyRefused
        | ConnectRefusal::AddressRefused(_) => Answer::new(401, "the token is not accepted"),
    }
}

async fn check_policy(
    shared: &Shared,
    hub: HubName,
    path: &[String],
    token: SasToken,
) -> Result<(), Answer> {
    let address = shared.peer.address.ip();
    let app = &shared.app;
    app.admit_to_hub(address).await.map_err(|no| of_policy(shared, &hub, no))?;
    let has = async |right| app.authorize_hub(&hub, &token, path, right, address).await;
    let (service, device) =
        match (has(Right::ServiceConnect).await, has(Right::DeviceConnect).await) {
            (Err(No::Refused(_)), Err(no)) => return Err(of_policy(shared, &hub, no)),
            (Err(no @ No::Fault(_)), _) | (_, Err(no @ No::Fault(_))) => {
                return Err(of_policy(shared, &hub, no));
            }
            (service, device) => (service.is_ok(), device.is_ok()),
        };
    shared.tokens.put_policy(hub, token, PolicyRights { service, device });
    Ok(())
}

fn of_policy(shared: &Shared, hub: &HubName, no: No<HubRefusal>) -> Answer {
    match no {
        No::Refused(HubRefusal::Throttled(secs)) => {
            Answer::new(429, format!("too many requests; wait {secs} seconds"))
        }
        No::Refused(refusal) => {
            let why = match &refusal {
                HubRefusal::Unauthorized(why) => why.clone(),
                other => other.to_string(),
            };
            info!(
                tracking_id = shared.tracking_id, hub.name = %hub,
                "a policy's token for `{hub}` is refused: {why}",
            );
            Answer::new(401, "the token is not accepted")
        }
        No::Fault(fault) => failed(shared, &fault),
    }
}

fn failed(shared: &Shared, fault: &(dyn std::error::Error + 'static)) -> Answer {
    let (chain, tracking_id) = (chain_of(fault), &shared.tracking_id);
    error!(tracking_id, error = %chain, "a token could not be looked at: {chain}");
    Answer::new(500, format!("something of ours failed; tracking ID {tracking_id}"))
}

#[cfg(test)]
pub(crate) mod tests;
