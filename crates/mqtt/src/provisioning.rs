//! A provisioning session: a device asks to be registered and where its registration stands (D §2).
//!
//! A session serves the one device of its user name, for as long as its connection lasts; nothing
//! of it outlives that. What can be told without the store is told by the CONNACK, the rest by the
//! answer to a request (D §2.5). Nothing is sent that the device did not ask for: one client takes
//! that for a failure (D §2.8).

use std::net::SocketAddr;

use app::{
    App, No,
    limits::DeviceCall,
    visits::{Introduction, TurnedAway, Visit},
};
use bytes::Bytes;
use model::{
    ApiVersion, AttestFailure, DeviceRefusal, Door, Evidence, Json, OperationId, RegisterRequest,
    RegistrationId, RegistrationStatus,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tracing::{debug, error, info};
use wire::{RequestFault, device::RegisterBody};

use crate::{
    MqttSettings,
    door::{Caller, Context, Ending, asked_to_stop, chain_of, one_line},
    link::{Broken, Link},
    proto::{
        ConnAck, ConnectRefusal, Delivery, Filter, Grant, Limits, Packet, PacketId, Publish, Qos,
        SubAck, Subscribe, Topic, Unsubscribe,
    },
    topic::{
        ProvisioningRequest, ProvisioningUser, RESPONSE_FILTER, provisioning_request,
        provisioning_response,
    },
};

/// A device that is connected for provisioning. Whether it is the one it says is told by the
/// answers to its requests.
struct Session<'a> {
    app: &'a App,
    settings: &'a MqttSettings,
    address: SocketAddr,
    /// As the device wrote it: whether it is ours is told by the answers.
    id_scope: Box<str>,
    registration_id: RegistrationId,
    api_version: ApiVersion,
    /// The token or the chain; never a TPM.
    evidence: Evidence,
    /// With which QoS the device takes answers, if it takes any.
    granted: Option<Qos>,
    ids: Ids,
}

/// Names for the answers that are acknowledged. They come again after 65,535 answers; nobody still
/// waits for an acknowledgement then.
#[derive(Default)]
struct Ids(u16);

/// What a device is answered.
struct Answer {
    status: u16,
    retry_after_secs: Option<u32>,
    body: Json,
    /// For the log.
    reason: String,
}

/// What becomes of a session after a packet.
enum Next {
    /// It goes on.
    Stay,
    /// The device leaves.
    Leave,
    /// The device did what no client may.
    Break(&'static str),
}

/// Serves a provisioning session from its CONNECT to its end.
pub(crate) async fn serve<S>(
    context: &Context,
    link: &mut Link<S>,
    caller: Caller,
    user: ProvisioningUser,
    shutdown: &mut watch::Receiver<bool>,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = match Session::admit(context, &caller, &user) {
        Ok(session) => session,
        Err(reason) => return caller.refuse(ConnectRefusal::NotAuthorized, &reason),
    };
    caller.accepted();
    let keep_alive_secs = caller.connect.keep_alive_secs;
    drop((caller, user));
    let settings = &context.settings;
    let patience = settings.patience(keep_alive_secs, settings.provisioning_idle_cap);
    link.set_limits(Limits {
        packet_bytes: settings.max_provisioning_packet_bytes,
        ..Limits::LOGIN
    });
    let address = session.address;
    // Never present: nothing of a session is kept, whatever the device asks for (D §8, 25).
    let accepted = Packet::ConnAck(ConnAck::Accepted { session_present: false });
    if let Err(broken) = link.queue(&accepted) {
        debug!(peer.address = %address, "cut {address}: {broken}");
        return Ending::Cut;
    }
    loop {
        let next = async {
            // Who does not read is not read from: anybody can get here, and is not to have us keep
            // its answers.
            match link.flush().await {
                Ok(()) => timeout(patience, link.read()).await,
                Err(broken) => Ok(Err(broken)),
            }
        };
        let read = tokio::select! {
            biased;
            () = asked_to_stop(shutdown) => return Ending::Goodbye,
            read = next => read,
        };
        // The room of a large packet is given back when it is answered.
        let (packet, _place) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(Broken::Closed)) => return Ending::Cut,
            Ok(Err(broken)) => {
                debug!(peer.address = %address, "cut {address}: {broken}");
                return Ending::Cut;
            }
            Err(_) => {
                debug!(peer.address = %address, "cut {address}: silent for {patience:?}");
                return Ending::Cut;
            }
        };
        let kind = packet.kind();
        match Box::pin(session.take(link, packet)).await {
            Ok(Next::Stay) => {}
            Ok(Next::Leave) => return Ending::Goodbye,
            Ok(Next::Break(why)) => {
                debug!(peer.address = %address, "cut {address} after {kind}: {why}");
                return Ending::Cut;
            }
            Err(broken) => {
                debug!(peer.address = %address, "cut {address}: {broken}");
                return Ending::Cut;
            }
        }
    }
}

impl<'a> Session<'a> {
    /// Checks all that can be told without the store; otherwise says, for the log, why not.
    fn admit(
        context: &'a Context,
        caller: &Caller,
        user: &ProvisioningUser,
    ) -> Result<Self, String> {
        let registration_id = RegistrationId::parse(&user.registration_id)
            .map_err(|bad| format!("the registration ID in the user name: {bad}"))?;
        // Two spellings of one ID are one device, so nobody can be told apart by it.
        if RegistrationId::parse(&caller.connect.client_id).as_ref() != Ok(&registration_id) {
            return Err("the client ID is not the registration ID of the user name".to_owned());
        }
        let api_version = match user.api_version.as_deref() {
            None | Some("") => Err("the user name has no api-version".to_owned()),
            Some(text) => ApiVersion::find(text)
                .ok_or_else(|| format!("the api-version {:?} is unknown", one_line(text))),
        }?;
        // It will not ask to be registered: this is its attempt.
        let refused = |evidence: &Evidence, why: AttestFailure| {
            let (address, tracking_id) = (caller.peer.address.ip(), caller.tracking_id.as_str());
            let visit = Visit { tracking_id, door: Door::Mqtt, address };
            let said = Introduction {
                registration_id: &registration_id,
                api_version: Some(api_version),
                evidence,
            };
            let reason = why.to_string();
            let refusal = DeviceRefusal::NotAttested(why);
            context.app.refused_at_the_door(&visit, &user.id_scope, said, &refusal);
            reason
        };
        let evidence = match caller.password() {
            // A token beats a certificate, as on HTTPS (D §5.1.2).
            Some(Some(text)) => {
                let token = wire::sas::parse(text).map_err(|bad| bad.to_string())?;
                let checked =
                    context.app.check_device_token(&token, &user.id_scope, &registration_id);
                let evidence = Evidence::Sas(token);
                checked.map_err(|why| refused(&evidence, why))?;
                evidence
            }
            Some(None) => return Err("the password is no text".to_owned()),
            None if caller.peer.client_chain.is_empty() => {
                return Err(refused(&Evidence::Nothing, AttestFailure::NoEvidence));
            }
            None => Evidence::X509(caller.peer.client_chain.clone()),
        };
        Ok(Self {
            app: &context.app,
            settings: &context.settings,
            address: caller.peer.address,
            id_scope: user.id_scope.as_str().into(),
            registration_id,
            api_version,
            evidence,
            granted: None,
            ids: Ids::default(),
        })
    }

    async fn take<S>(&mut self, link: &mut Link<S>, packet: Packet) -> Result<Next, Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match packet {
            Packet::Publish(publish) => return self.publish(link, publish).await,
            Packet::Subscribe(subscribe) => link.queue(&self.subscribe(&subscribe))?,
            Packet::Unsubscribe(unsubscribe) => link.queue(&self.unsubscribe(&unsubscribe))?,
            Packet::PingReq => link.queue(&Packet::PingResp)?,
            // Nothing is sent twice, so nothing waits for it; one client acknowledges answers of
            // QoS 0 as well, with no name (D §8, 30).
            Packet::PubAck(_) => {}
            Packet::Disconnect => return Ok(Next::Leave),
            Packet::Connect(_) => return Ok(Next::Break("there was a CONNECT before")),
            Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                return Ok(Next::Break("QoS 2 is not supported"));
            }
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Ok(Next::Break("only a server sends it"));
            }
        }
        Ok(Next::Stay)
    }

    /// Grants the one filter there is, with QoS 1 at most (D §2.2).
    fn subscribe(&mut self, subscribe: &Subscribe) -> Packet {
        let grant = |(filter, asked): &(Filter, Qos)| {
            if !is_response_filter(filter) {
                return Grant::Refused;
            }
            let granted = (*asked).min(Qos::AtLeastOnce);
            self.granted = Some(granted);
            Grant::Granted(granted)
        };
        let grants = subscribe.filters.iter().map(grant).collect();
        Packet::SubAck(SubAck { id: Some(subscribe.id), grants })
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Packet {
        if unsubscribe.filters.iter().any(|filter| is_response_filter(filter)) {
            self.granted = None;
        }
        Packet::UnsubAck(Some(unsubscribe.id))
    }

    async fn publish<S>(&mut self, link: &mut Link<S>, publish: Publish) -> Result<Next, Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(request) = provisioning_request(&publish.topic) else {
            return Ok(Next::Break("its topic is no request"));
        };
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { id, .. } => {
                // Before the answer: one client fails otherwise (D §8, 24). And at once, because
                // the answer may take a while.
                link.queue(&Packet::PubAck(Some(id)))?;
                link.flush().await?;
            }
            Delivery::ExactlyOnce { .. } => return Ok(Next::Break("QoS 2 is not supported")),
        }
        let answer = self.answer(&request, &publish.payload).await;
        // Who is not subscribed gets nothing (D §2.2).
        let Some(granted) = self.granted else { return Ok(Next::Stay) };
        let topic = provisioning_response(answer.status, request.rid(), answer.retry_after_secs);
        let Ok(topic) = Topic::new(topic) else {
            return Ok(Next::Break("its answer would have an illegal topic"));
        };
        link.queue(&Packet::Publish(Publish {
            topic,
            payload: Bytes::from(answer.body.to_string()),
            delivery: match granted {
                Qos::AtMostOnce => Delivery::AtMostOnce,
                Qos::AtLeastOnce | Qos::ExactlyOnce => {
                    Delivery::AtLeastOnce { id: self.ids.next(), dup: false }
                }
            },
            retain: false,
        }))?;
        link.flush().await?;
        Ok(Next::Stay)
    }

    /// Answers a request, and leaves one line in the log. Never fails: every trouble is an answer.
    async fn answer(&self, request: &ProvisioningRequest, payload: &[u8]) -> Answer {
        let (tracking_id, started) = (self.app.tracking_id(), self.app.now());
        let answering = async {
            match request {
                ProvisioningRequest::Register { .. } => self.register(payload, &tracking_id).await,
                ProvisioningRequest::Poll { operation_id, .. } => {
                    self.poll(operation_id).await.map_err(TurnedAway::from)
                }
            }
        };
        let answer = match timeout(self.settings.request_timeout, answering).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(TurnedAway { no: No::Refused(refusal), retry_after_secs })) => {
                let answer = self.refused(&refusal, &tracking_id);
                Answer { retry_after_secs: retry_after_secs.or(answer.retry_after_secs), ..answer }
            }
            Ok(Err(TurnedAway { no: No::Fault(fault), .. })) => {
                let chain = chain_of(&fault);
                error!(tracking_id, error = %chain, "a request failed by our fault: {chain}");
                self.faulted(RequestFault::Internal, &tracking_id)
            }
            Err(_) => {
                let longest = self.settings.request_timeout;
                error!(tracking_id, "no answer within {longest:?}; is the storage stuck?");
                self.faulted(RequestFault::Unavailable, &tracking_id)
            }
        };
        let ticks = self.app.now().ticks().saturating_sub(started.ticks());
        let duration_ms = ticks / (model::Timestamp::TICKS_PER_SECOND / 1000);
        let what = match request {
            ProvisioningRequest::Register { .. } => "register",
            ProvisioningRequest::Poll { .. } => "poll",
        };
        let (id, status, reason) = (&self.registration_id, answer.status, &answer.reason);
        info!(
            tracking_id, registration.id = %id, mqtt.request = what, mqtt.status = status,
            duration_ms, peer.address = %self.address,
            "{what} of `{id}` over MQTT answered {status}{reason}",
        );
        answer
    }

    async fn register(&self, payload: &[u8], tracking_id: &str) -> Result<Answer, TurnedAway> {
        let body = wire::device::parse_register(payload).map_err(No::Refused)?;
        if body.registration_id.as_ref().is_some_and(|id| *id != self.registration_id) {
            let text = "registrationId: is not the registration ID of the user name";
            return Err(No::Refused(DeviceRefusal::BadRequest(text.to_owned())).into());
        }
        let request = self.request(body, DeviceCall::Register).await?;
        let visit = Visit { tracking_id, door: Door::Mqtt, address: self.address.ip() };
        let operation = self.app.register_from(&visit, &self.id_scope, request).await?;
        // Always `assigning`, as on HTTPS; the first poll tells (D §0.7).
        Ok(self.waiting(wire::device::accepted(&operation)))
    }

    /// What a device sends along with a poll is of no interest: one sends its registration once
    /// more, others a space (D §2.3).
    async fn poll(&self, operation_id: &str) -> Result<Answer, No<DeviceRefusal>> {
        let operation = OperationId::parse(operation_id)
            .map_err(|_| No::Refused(DeviceRefusal::UnknownOperation))?;
        let request = self.request(RegisterBody::default(), DeviceCall::Poll).await?;
        let record = self.app.operation_status(&self.id_scope, request, &operation).await?;
        let body = wire::device::operation_status(&operation, &record, self.api_version);
        Ok(match record.status {
            RegistrationStatus::Assigning => self.waiting(body),
            RegistrationStatus::Assigned
            | RegistrationStatus::Failed
            | RegistrationStatus::Disabled => {
                Answer { status: 200, retry_after_secs: None, body, reason: String::new() }
            }
        })
    }

    /// What the device asks for and shows, if it may ask.
    async fn request(
        &self,
        body: RegisterBody,
        asked: DeviceCall,
    ) -> Result<RegisterRequest, No<DeviceRefusal>> {
        let evidence = match (&self.evidence, body.tpm) {
            (Evidence::Sas(_), _) | (_, None) => self.evidence.clone(),
            // There is no challenge over MQTT (D §2.1), so no TPM can prove itself.
            (_, Some(tpm)) => Evidence::Tpm(tpm),
        };
        self.app.admit_device(self.address.ip(), &self.registration_id, asked).await?;
        Ok(RegisterRequest {
            registration_id: self.registration_id.clone(),
            evidence,
            payload: body.payload,
            api_version: self.api_version,
        })
    }

    /// An answer that is not final says when to ask again (D §4).
    fn waiting(&self, body: Json) -> Answer {
        let retry_after_secs = Some(self.settings.retry_after_secs);
        Answer { status: 202, retry_after_secs, body, reason: String::new() }
    }

    fn refused(&self, refusal: &DeviceRefusal, tracking_id: &str) -> Answer {
        let row = wire::device::error_row(refusal);
        let answer = self.row_answer(&row, tracking_id, refusal);
        match refusal {
            DeviceRefusal::Throttled(secs) => Answer { retry_after_secs: Some(*secs), ..answer },
            _ => answer,
        }
    }

    fn faulted(&self, fault: RequestFault, tracking_id: &str) -> Answer {
        let row = fault.row();
        self.row_answer(&row, tracking_id, &row.message)
    }

    fn row_answer(
        &self,
        row: &wire::ErrorRow,
        tracking_id: &str,
        reason: &dyn std::fmt::Display,
    ) -> Answer {
        let retry_after_secs = match row.status {
            429 | 503 => Some(self.settings.retry_after_secs),
            _ => None,
        };
        let body = wire::error_body(row, tracking_id, self.app.now());
        let reason = format!(": {}", one_line(&reason.to_string()));
        Answer { status: row.status, retry_after_secs, body, reason }
    }
}

fn is_response_filter(filter: &str) -> bool {
    filter == RESPONSE_FILTER
}

impl Ids {
    fn next(&mut self) -> PacketId {
        // 0 is no name.
        let id = PacketId::MIN.saturating_add(self.0);
        self.0 = if id == PacketId::MAX { 0 } else { id.get() };
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_answers_are_never_0_and_come_again_in_order() {
        let mut ids = Ids::default();
        for n in (1..=u16::MAX).chain([1, 2, 3]) {
            assert_eq!(ids.next().get(), n);
        }
    }
}
