//! The provisioning links of a connection: a device asks to be registered and where its
//! registration stands (D §3).
//!
//! A connection provisions one device at a time: the one of its login, or, where the TLS
//! certificates are the login, the one of the address. It has one link to ask and one for the
//! answers; requests are answered one after the other, each before the next is looked at. What can
//! be told without the store is told when a link attaches, the rest by the outcome of a request.

mod message;

use std::{fmt, sync::Arc};

use app::{
    App, No,
    limits::DeviceCall,
    visits::{TurnedAway, Visit},
};
use model::{
    ApiVersion, AttestFailure, DeviceRefusal, Door, Evidence, Json, OperationId, RegisterRequest,
    RegistrationId, RegistrationRecord, RegistrationStatus,
};
use tokio::time::timeout;
use tracing::{error, info};
use wire::{ErrorRow, RequestFault, device::RegisterBody};

use self::message::{Asked, Request};
use crate::{
    address::Address,
    door::{chain_of, one_line},
    driver::Shared,
    endpoint::{Ask, Attached, Inbox, Incoming, Line, LinkId, Told},
    errors::{ARGUMENT, INTERNAL, RESOURCE_LIMIT, device_condition, provisioning_error},
    proto::{Outcome, Role, SenderSettle, WireError},
    sasl::{Login, payload::PlainUser},
};

/// How many requests may be under way on a link. Every client waits for each answer, so more than
/// one is patience with others; each of them may be held in memory.
const WINDOW: u32 = 10;

/// The provisioning links of one connection.
struct Session {
    shared: Arc<Shared>,
    line: Line,
    /// Whom they are for, while there are any.
    device: Option<Device>,
    /// On which the device asks.
    asking: Option<AskingLink>,
    /// On which it is answered.
    answering: Option<AnsweringLink>,
    /// How many answers were sent.
    n_answers: u64,
}

/// The device that a connection provisions. Whether it is the one it says is told by the answers
/// to its requests.
struct Device {
    /// As it wrote it: whether it is ours is told by the answers.
    id_scope: Box<str>,
    registration_id: RegistrationId,
}

struct AskingLink {
    link: LinkId,
    api_version: ApiVersion,
}

struct AnsweringLink {
    link: LinkId,
    /// Whether the device wants to settle nothing.
    is_settled: bool,
}

/// What a device is answered.
struct Answer {
    body: Json,
    retry_after_secs: Option<u32>,
}

/// A “no” to a device.
struct Refused {
    condition: &'static str,
    row: ErrorRow,
    retry_after_secs: Option<u32>,
    /// For the log.
    reason: String,
}

/// Serves the provisioning links until the connection is over.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: Inbox, line: Line) {
    let mut session =
        Session { shared, line, device: None, asking: None, answering: None, n_answers: 0 };
    while let Some(told) = inbox.recv().await {
        match told {
            Told::Attached(attached) => session.attach(&attached).await,
            // Boxed, because a connection has room for it all of its life.
            Told::Message(link, incoming) => Box::pin(session.message(link, incoming)).await,
            Told::Detached(link) => session.detached(link),
            // Nothing is sent twice, and who takes no answers gets none.
            Told::Credit { .. } | Told::Settled { .. } => {}
        }
    }
}

impl Session {
    /// Takes a link or refuses it.
    async fn attach(&mut self, attached: &Attached) {
        let link = attached.link;
        let ask = match self.admit(attached) {
            Ok(ask) => ask,
            Err(refused) => {
                let (tracking_id, address) = (&self.shared.tracking_id, self.shared.peer.address);
                let (condition, reason) = (refused.condition, &refused.reason);
                info!(
                    tracking_id, peer.address = %address, amqp.condition = condition,
                    "refused a provisioning link of {address} ({condition}): {reason}",
                );
                Ask::Refuse { link, error: self.wire_error(&refused, tracking_id) }
            }
        };
        self.line.ask(ask).await;
    }

    fn admit(&mut self, attached: &Attached) -> Result<Ask, Refused> {
        let Address::Provisioning { scope, registration_id } = &attached.address else {
            let text = "the address is none of provisioning";
            return Err(self.refused(&DeviceRefusal::BadRequest(text.to_owned())));
        };
        let id = RegistrationId::parse(registration_id).map_err(|bad| {
            let text = format!("the registration ID in the address: {bad}");
            self.refused(&DeviceRefusal::BadRequest(text))
        })?;
        let is_of_another = self.device.as_ref().is_some_and(|device| {
            !device.id_scope.eq_ignore_ascii_case(scope) || device.registration_id != id
        });
        let shown = match is_of_another {
            // Its login is that of the device that is there.
            true => Err(AttestFailure::WrongResource),
            // Only looked at: it is read anew for every request, so that it is not held twice.
            false => evidence(&self.shared, scope, &id).map(drop),
        };
        shown.map_err(|failure| self.refused(&DeviceRefusal::NotAttested(failure)))?;
        let accept = self.take(attached)?;
        if self.device.is_none() {
            let (tracking_id, address) = (&self.shared.tracking_id, self.shared.peer.address);
            info!(
                tracking_id, peer.address = %address, registration.id = %id,
                "accepted `{id}` for provisioning from {address}",
            );
            self.device = Some(Device { id_scope: scope.as_str().into(), registration_id: id });
        }
        self.shared.welcome();
        Ok(accept)
    }

    /// Makes a link the one that the device asks on, or is answered on.
    fn take(&mut self, attached: &Attached) -> Result<Ask, Refused> {
        let link = attached.link;
        match attached.role {
            Role::Sender => {
                let api_version = match message::api_version(&attached.properties) {
                    None | Some("") => Err(nameless_version()),
                    Some(text) => ApiVersion::find(text)
                        .ok_or_else(|| of_fault(RequestFault::UnsupportedApiVersion)),
                }?;
                if self.asking.is_some() {
                    return Err(self.second_link("asks"));
                }
                self.asking = Some(AskingLink { link, api_version });
                let longest = self.shared.settings.max_provisioning_message_bytes;
                Ok(Ask::Accept { link, max_message_bytes: Some(longest), window: WINDOW })
            }
            Role::Receiver => {
                if self.answering.is_some() {
                    return Err(self.second_link("is answered"));
                }
                let is_settled = attached.sender_settle == SenderSettle::Settled;
                self.answering = Some(AnsweringLink { link, is_settled });
                Ok(Ask::Accept { link, max_message_bytes: None, window: 0 })
            }
        }
    }

    fn detached(&mut self, link: LinkId) {
        self.asking.take_if(|asking| asking.link == link);
        self.answering.take_if(|answering| answering.link == link);
        if self.asking.is_none() && self.answering.is_none() {
            self.device = None;
        }
    }

    /// Answers a request: by its outcome, and if it was accepted by a message after that, as one
    /// client waits for them in this order (D §3.5). Its room is given back when it is answered.
    async fn message(&mut self, link: LinkId, incoming: Incoming) {
        // What came on a link that is gone, nobody waits for.
        let Some(asking) = self.asking.as_ref().filter(|asking| asking.link == link) else {
            return;
        };
        let Some(device) = &self.device else { return };
        let api_version = asking.api_version;
        let Incoming { delivery, format, payload, is_settled, place: _place } = incoming;
        let Request { correlation_id, asked } = Request::read(format, payload);
        let tracking_id = self.shared.app.tracking_id();
        let answer = self.answer(device, api_version, asked, &tracking_id).await;
        let outcome = match &answer {
            Ok(_) => Outcome::Accepted,
            Err(refused) => Outcome::Rejected(Some(self.wire_error(refused, &tracking_id))),
        };
        if !is_settled {
            self.line.ask(Ask::Settle { link, delivery, outcome }).await;
        }
        let (Ok(answer), Some(answering)) = (answer, &self.answering) else { return };
        self.n_answers += 1;
        let number = self.n_answers;
        let message = message::answer(&answer.body, correlation_id, answer.retry_after_secs);
        let (link, is_settled) = (answering.link, answering.is_settled);
        let tag = u128::from(number).to_be_bytes();
        self.line.ask(Ask::Send { link, number, tag, message, is_settled }).await;
    }

    /// Answers a request, and leaves one line in the log. Never fails: every trouble is an answer.
    async fn answer(
        &self,
        device: &Device,
        api_version: ApiVersion,
        asked: Result<Asked, &'static str>,
        tracking_id: &str,
    ) -> Result<Answer, Refused> {
        let started = self.app().now();
        let what = asked.as_ref().map_or("request", Asked::name);
        let longest = self.shared.settings.request_timeout;
        let answering = self.do_as_asked(device, api_version, asked, tracking_id);
        let answer = match timeout(longest, answering).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(TurnedAway { no: No::Refused(refusal), retry_after_secs })) => {
                let refused = self.refused(&refusal);
                let retry_after_secs = retry_after_secs.or(refused.retry_after_secs);
                Err(Refused { retry_after_secs, ..refused })
            }
            Ok(Err(TurnedAway { no: No::Fault(fault), .. })) => {
                let chain = chain_of(&fault);
                error!(tracking_id, error = %chain, "a request failed by our fault: {chain}");
                Err(self.faulted(RequestFault::Internal))
            }
            Err(_) => {
                error!(tracking_id, "no answer within {longest:?}; is the storage stuck?");
                Err(self.faulted(RequestFault::Unavailable))
            }
        };
        let ticks = self.app().now().ticks().saturating_sub(started.ticks());
        let duration_ms = ticks / (model::Timestamp::TICKS_PER_SECOND / 1000);
        let (outcome, reason) = match &answer {
            Ok(_) => ("accepted", String::new()),
            Err(refused) => (refused.condition, format!(": {}", refused.reason)),
        };
        let (id, address) = (&device.registration_id, self.shared.peer.address);
        info!(
            tracking_id, registration.id = %id, amqp.request = what, amqp.outcome = outcome,
            duration_ms, peer.address = %address,
            "{what} of `{id}` over AMQP answered {outcome}{reason}",
        );
        answer
    }

    async fn do_as_asked(
        &self,
        device: &Device,
        api_version: ApiVersion,
        asked: Result<Asked, &'static str>,
        tracking_id: &str,
    ) -> Result<Answer, TurnedAway> {
        let asked = asked.map_err(bad_request)?;
        if self.answering.is_none() {
            // Every SDK attaches its receiver before it asks; what somebody else did before would
            // be done and never told.
            return Err(bad_request("no link is attached for the answer").into());
        }
        match asked {
            Asked::Register(body) => {
                let body = read_body(&body, device)?;
                let request = self.request(device, api_version, body, DeviceCall::Register).await?;
                let visit = self.visit(tracking_id);
                let operation = self.app().register_from(&visit, &device.id_scope, request).await?;
                // Always `assigning`, as on HTTPS; the first poll tells (D §0.7).
                Ok(self.waiting(wire::device::accepted(&operation)))
            }
            Asked::Poll(id) => {
                let operation = OperationId::parse(&id)
                    .map_err(|_| No::Refused(DeviceRefusal::UnknownOperation))?;
                let body = RegisterBody::default();
                let request = self.request(device, api_version, body, DeviceCall::Poll).await?;
                let record =
                    self.app().operation_status(&device.id_scope, request, &operation).await?;
                let body = wire::device::operation_status(&operation, &record, api_version);
                Ok(self.standing(&record, body))
            }
            Asked::LookUp(body) => {
                let body = read_body(&body, device)?;
                let request = self.request(device, api_version, body, DeviceCall::LookUp).await?;
                let record = self.app().registration_status(&device.id_scope, request).await?;
                Ok(self.standing(&record, wire::device::registration_result(&record)))
            }
        }
    }

    /// What the device asks for and shows, if it may ask.
    async fn request(
        &self,
        device: &Device,
        api_version: ApiVersion,
        body: RegisterBody,
        asked: DeviceCall,
    ) -> Result<RegisterRequest, No<DeviceRefusal>> {
        let id = &device.registration_id;
        let shown = evidence(&self.shared, &device.id_scope, id)
            .map_err(|failure| No::Refused(DeviceRefusal::NotAttested(failure)))?;
        let evidence = match (shown, body.tpm) {
            // Without the SASL mechanism a TPM has answered no challenge (D §3.3).
            (Evidence::X509(_), Some(tpm)) => Evidence::Tpm(tpm),
            (shown, _) => shown,
        };
        let address = self.shared.peer.address.ip();
        self.app().admit_device(address, id, asked).await?;
        let (registration_id, payload) = (id.clone(), body.payload);
        Ok(RegisterRequest { registration_id, evidence, payload, api_version })
    }

    fn standing(&self, record: &RegistrationRecord, body: Json) -> Answer {
        match record.status {
            RegistrationStatus::Assigning => self.waiting(body),
            RegistrationStatus::Assigned
            | RegistrationStatus::Failed
            | RegistrationStatus::Disabled => Answer { body, retry_after_secs: None },
        }
    }

    /// An answer that is not final says when to ask again (D §4).
    fn waiting(&self, body: Json) -> Answer {
        Answer { body, retry_after_secs: Some(self.shared.settings.retry_after_secs) }
    }

    fn refused(&self, refusal: &DeviceRefusal) -> Refused {
        let row = wire::device::error_row(refusal);
        let retry_after_secs = match (refusal, row.status) {
            (DeviceRefusal::Throttled(secs), _) => Some(*secs),
            (_, 429) => Some(self.shared.settings.retry_after_secs),
            _ => None,
        };
        let reason = one_line(&refusal.to_string());
        Refused { condition: device_condition(refusal), row, retry_after_secs, reason }
    }

    /// A fault of ours. One client asks again by itself, and when it is told (D §3.6).
    fn faulted(&self, fault: RequestFault) -> Refused {
        let retry_after_secs = Some(self.shared.settings.retry_after_secs);
        Refused { condition: INTERNAL, retry_after_secs, ..of_fault(fault) }
    }

    /// A connection has one link of each kind.
    fn second_link(&self, what: &str) -> Refused {
        let text = format!("there is a link already on which the device {what}");
        Refused { condition: RESOURCE_LIMIT, ..self.refused(&DeviceRefusal::BadRequest(text)) }
    }

    fn wire_error(&self, refused: &Refused, tracking_id: &str) -> WireError {
        let Refused { condition, row, retry_after_secs, .. } = refused;
        provisioning_error(condition, row, *retry_after_secs, tracking_id, self.app().now())
    }

    fn visit<'a>(&self, tracking_id: &'a str) -> Visit<'a> {
        Visit { tracking_id, door: Door::Amqp, address: self.shared.peer.address.ip() }
    }

    fn app(&self) -> &App {
        &self.shared.app
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("n_answers", &self.n_answers).finish_non_exhaustive()
    }
}

/// What the connection shows for the device of this address. A token beats a certificate, as on
/// HTTPS (D §5.1.2).
fn evidence(shared: &Shared, scope: &str, id: &RegistrationId) -> Result<Evidence, AttestFailure> {
    match &shared.login {
        Login::Plain { user, password } => {
            match PlainUser::parse(user) {
                Ok(PlainUser::Registration { scope: of_scope, registration_id })
                    if of_scope.eq_ignore_ascii_case(scope)
                        && RegistrationId::parse(registration_id).as_ref() == Ok(id) =>
                {
                    // Whoever cannot write a token proves nothing, like one who signs a wrong one.
                    let token = wire::sas::parse(password.text());
                    token.map(Evidence::Sas).map_err(|_| AttestFailure::BadSignature)
                }
                _ => Err(AttestFailure::WrongResource),
            }
        }
        Login::Tpm(tpm) => {
            if !tpm.scope.eq_ignore_ascii_case(scope) || tpm.challenge.registration_id != *id {
                return Err(AttestFailure::WrongResource);
            }
            let challenge = Box::new(tpm.challenge.clone());
            let token = Box::new(tpm.token.clone());
            Ok(Evidence::TpmAnswer { challenge, token })
        }
        Login::Bare | Login::Anonymous | Login::External | Login::Mssbcbs => {
            match shared.peer.client_chain.as_slice() {
                [] => Err(AttestFailure::NoEvidence),
                chain => Ok(Evidence::X509(chain.to_vec())),
            }
        }
    }
}

fn read_body(body: &[u8], device: &Device) -> Result<RegisterBody, No<DeviceRefusal>> {
    let body = wire::device::parse_register(body).map_err(No::Refused)?;
    if body.registration_id.as_ref().is_some_and(|id| *id != device.registration_id) {
        return Err(bad_request("registrationId: is not the registration ID of the address"));
    }
    Ok(body)
}

fn bad_request(text: &str) -> No<DeviceRefusal> {
    No::Refused(DeviceRefusal::BadRequest(text.to_owned()))
}

/// A request that nobody needs to look into.
fn of_fault(fault: RequestFault) -> Refused {
    let row = fault.row();
    let reason = row.message.clone();
    Refused { condition: ARGUMENT, row, retry_after_secs: None, reason }
}

/// The row speaks of a query, which links do not have.
fn nameless_version() -> Refused {
    let message = "The link property com.microsoft:api-version is required.".to_owned();
    let fault = RequestFault::MissingApiVersion;
    let row = ErrorRow { message: message.clone(), ..fault.row() };
    Refused { row, reason: message, ..of_fault(fault) }
}

#[cfg(test)]
mod tests;
