//! One device or module on a hub (H §4.3): its links on one connection, and the session they share.
//!
//! The session begins with the device's first link and ends with its last, or when the registry no
//! longer lets the device in (H §4.5.3), when it connects elsewhere (H §4.5.1), or when its token
//! is over and no newer one came (H §4.5.2): then all of its links are cut off at once, and its
//! neighbours on the connection never notice. What deliberately does not live here: whether a
//! device may connect and what its requests do (`app::device` and below).
//!
//! [`proof`] finds out who attaches; [`talk`] listens and answers; what it says is in
//! [`telemetry`], [`messages`], [`twin`] and [`methods`].

mod calls;
mod messages;
mod methods;
mod pairs;
mod proof;
mod talk;
mod telemetry;
mod twin;

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use app::{
    App, No,
    device::{Commands, Connecting, DeviceSession, Earlier},
    live::End,
    visits::Visit,
};
use futures_util::future::OptionFuture;
use model::{ConnectRefusal, DeviceId, Door, HubName, ModuleId, Timestamp, ids::BadId};
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use self::{proof::Proof, talk::Talk};
use crate::{
    address::{Address, DeviceResource},
    cbs::Listener,
    door::chain_of,
    driver::Shared,
    endpoint::{Ask, Attached, Inbox, Line, Told},
    errors,
    proto::{Role, WireError},
};

/// A session that ends in days is looked at once an hour until then, because clocks are corrected
/// and machines sleep.
const LONGEST_NAP: Duration = Duration::from_secs(3600);

/// After a fault of ours a newer token is looked at again so much later.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// What the links of one device share.
#[derive(Clone, Copy)]
struct Context<'a> {
    shared: &'a Shared,
    session: &'a DeviceSession,
}

/// What is to be asked of the driver, in order. [`talk`] empties it after every event.
type Outbox = VecDeque<Ask>;

/// For the log.
const GONE: &str = "its connection is over";

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Over {
    /// The device detached its last link.
    Left,
    /// Its connection is over.
    Gone,
    /// Ended from elsewhere.
    Ended(End),
    /// Its token or certificate is over.
    Expired,
}

impl Over {
    fn reason(&self) -> String {
        match self {
            Self::Left => "it detached its last link".to_owned(),
            Self::Gone => GONE.to_owned(),
            Self::Ended(End::CutOff(refusal)) => format!("it is cut off: {refusal}"),
            Self::Ended(End::TakenOver) => "it opened another connection".to_owned(),
            Self::Ended(End::TooSlow) => "it reads too slowly".to_owned(),
            Self::Expired => "its token or certificate has expired".to_owned(),
        }
    }

    /// What the device is told; nothing when it left by itself.
    fn error(&self, tracking_id: &str) -> Option<WireError> {
        match self {
            Self::Left | Self::Gone => None,
            Self::Ended(end) => Some(errors::end_error(end, tracking_id)),
            Self::Expired => Some(errors::expired(tracking_id)),
        }
    }
}

/// Answers the links of one device, one session after another.
pub(crate) async fn run(shared: Arc<Shared>, mut inbox: Inbox, line: Line) {
    let mut cut_off = None;
    let mut next = inbox.recv().await;
    while let Some(told) = next {
        // Everything else is of links that went with their session.
        if let Told::Attached(attached) = told {
            match &cut_off {
                None => cut_off = serve(&shared, &mut inbox, &line, attached).await,
                // The device asked before it could know. One whose place was just taken must not
                // take it back (H §4.5.1).
                Some(error) => refuse(&line, &attached, WireError::clone(error)).await,
            }
        }
        next = inbox.try_recv().ok();
    }
}

/// Serves a device from its first link to its last; why it was cut off, if it was.
async fn serve(
    shared: &Shared,
    inbox: &mut Inbox,
    line: &Line,
    attached: Box<Attached>,
) -> Option<WireError> {
    // Boxed, and gone before the session begins: it takes more memory than an idle session.
    match Box::pin(admit(shared, &attached)).await {
        Ok(admitted) => hold(shared, inbox, line, attached, admitted).await,
        Err(error) => {
            refuse(line, &attached, error).await;
            None
        }
    }
}

async fn refuse(line: &Line, attached: &Attached, error: WireError) {
    line.ask(Ask::Refuse { link: attached.link, error }).await;
}

/// A device that was let in.
struct Admitted {
    session: DeviceSession,
    commands: Commands,
    /// The number of the token that the session rests on; 0 for none of the connection's.
    token: u64,
}

/// Lets a device in that attaches its first link.
async fn admit(shared: &Shared, attached: &Attached) -> Result<Box<Admitted>, WireError> {
    let (_, device_id) = check_link(attached, &shared.tracking_id)?;
    let tracking_id = &shared.tracking_id;
    let proof = proof::find(shared, host_of(attached), &device_id).map_err(|why| {
        info!(tracking_id, device.id = %device_id, "`{device_id}` may not attach: {why}");
        unauthorized(tracking_id)
    })?;
    let Proof { hub, evidence, number, was_accepted } = proof;
    let connecting = Connecting {
        hub: hub.clone(),
        device_id: device_id.clone(),
        evidence,
        address: shared.peer.address.ip(),
        earlier: Earlier::LeftAlone,
    };
    let visit = Visit { tracking_id, door: Door::Amqp, address: shared.peer.address.ip() };
    let connected = shared.app.connect_device_from(&visit, connecting);
    match timeout(shared.settings.request_timeout, connected).await {
        Ok(Ok((session, commands))) => {
            shared.prove();
            Ok(Box::new(Admitted { session, commands, token: number }))
        }
        Ok(Err(No::Refused(refusal))) => {
            info!(
                tracking_id, hub.name = %hub, device.id = %device_id,
                "`{device_id}` may not connect to `{hub}`: {refusal}",
            );
            Err(errors::connect_error(&refusal, was_accepted, tracking_id))
        }
        Ok(Err(No::Fault(fault))) => {
            let chain = chain_of(&fault);
            error!(tracking_id, error = %chain, "a device could not connect: {chain}");
            Err(errors::internal(tracking_id))
        }
        Err(_) => Err(errors::internal(tracking_id)),
    }
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkKind {
    /// The device sends its events.
    Events,
    /// The device receives its messages.
    Messages,
    /// A module receives, and there is nothing for it: neither do modules send to each other's
    /// inputs here, nor have they messages from the cloud. The link is theirs all the same, because
    /// clients attach it before they do anything else.
    Inputs,
    /// One of a pair: the device asks for its twin, and hears of it.
    Twin,
    /// One of a pair: the device hears of calls, and answers them.
    Methods,
}

/// The device or module of a link and what the link is for, if there is such a link.
fn check_link(attached: &Attached, tracking_id: &str) -> Result<(LinkKind, DeviceId), WireError> {
    let Address::Device { device_id, module_id, resource, .. } = &attached.address else {
        return Err(errors::tracked(errors::NOT_FOUND, "there is no such address", tracking_id));
    };
    let kind = match (resource, attached.role, module_id) {
        (DeviceResource::Events, Role::Sender, _) => LinkKind::Events,
        (DeviceResource::Devicebound, Role::Receiver, None) => LinkKind::Messages,
        // NODE looks for inputs at the former, C at the latter (H §4.3.4).
        (DeviceResource::Events | DeviceResource::Devicebound, Role::Receiver, Some(_)) => {
            LinkKind::Inputs
        }
        (DeviceResource::Twin, ..) => LinkKind::Twin,
        (DeviceResource::Methods, ..) => LinkKind::Methods,
        (DeviceResource::Events, Role::Receiver, None)
        | (DeviceResource::Devicebound, Role::Sender, _) => {
            let text = "a device sends to messages/events, and receives from messages/devicebound";
            return Err(errors::tracked(errors::NOT_ALLOWED, text, tracking_id));
        }
    };
    let device_id =
        named(device_id, module_id.as_deref()).map_err(|_| unauthorized(tracking_id))?;
    Ok((kind, device_id))
}

fn named(device_id: &str, module_id: Option<&str>) -> Result<DeviceId, BadId> {
    let device_id = DeviceId::parse(device_id)?;
    match module_id {
        None => Ok(device_id),
        Some(module_id) => Ok(DeviceId::of_module(&device_id, &ModuleId::parse(module_id)?)),
    }
}

fn unauthorized(tracking_id: &str) -> WireError {
    errors::tracked(errors::UNAUTHORIZED, "Unauthorized", tracking_id)
}

/// The host of a link that names one.
fn host_of(attached: &Attached) -> Option<&str> {
    match &attached.address {
        Address::Device { host, .. } => host.as_deref(),
        _ => None,
    }
}

/// Holds a session until it is over; why it was cut off, if it was.
async fn hold(
    shared: &Shared,
    inbox: &mut Inbox,
    line: &Line,
    first: Box<Attached>,
    admitted: Box<Admitted>,
) -> Option<WireError> {
    let Admitted { session, commands, token } = *admitted;
    let listener = shared.tokens.listen(session.device_id());
    let departure = Departure::of(&session);
    let mut talk = Talk::new(Context { shared, session: &session }, commands);
    let over = tokio::select! {
        biased;
        end = session.ended() => Over::Ended(end),
        () = until_expired(shared, &session, &listener, token) => Over::Expired,
        over = talk.run(first, inbox, line) => over,
    };
    departure.reason.replace(over.reason());
    let links = talk.into_links();
    let error = over.error(&shared.tracking_id)?;
    line.ask(Ask::CutOff { links, error: error.clone() }).await;
    Some(error)
}

/// Waits until the session's token or certificate is over. While newer tokens come, it goes on with
/// them (H §4.5.2).
async fn until_expired(
    shared: &Shared,
    session: &DeviceSession,
    listener: &Listener<'_>,
    mut token: u64,
) {
    loop {
        // One may have come while the device connected. Boxed, because a session has room for it
        // all of its life.
        let outcome = Box::pin(renew(shared, session, &mut token)).await;
        let mut again = (outcome == Renewal::Failed).then(|| Box::pin(sleep(RENEW_AGAIN)));
        tokio::select! {
            biased;
            () = listener.renewed() => {}
            () = expired(&shared.app, session.expires()) => return,
            Some(()) = OptionFuture::from(again.as_mut()), if again.is_some() => {}
        }
    }
}

/// What came of a look for a newer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    /// Nothing is left to do.
    Done,
    /// By our fault it is not known; the client was told that its token is good.
    Failed,
}

/// Goes on with the newest token, if that is another one. One that is refused changes nothing: the
/// session ends when what it rests on does.
async fn renew(shared: &Shared, session: &DeviceSession, last: &mut u64) -> Renewal {
    let (hub, id) = (session.hub(), session.device_id());
    let Some(held) = shared.tokens.device(id, Some(hub)).filter(|held| held.number > *last) else {
        return Renewal::Done;
    };
    let renewed = session.renew(model::Evidence::Sas(held.token));
    // The session's own end waits meanwhile.
    let Ok(renewed) = timeout(shared.settings.request_timeout, renewed).await else {
        error!(
            tracking_id = shared.tracking_id, hub.name = %hub, device.id = %id,
            "a token could not be renewed in time; is the storage stuck?",
        );
        return Renewal::Failed;
    };
    match renewed {
        Ok(_) => {}
        Err(No::Refused(ConnectRefusal::Conflict)) => return Renewal::Failed,
        Err(No::Refused(refusal)) => {
            info!(
                tracking_id = shared.tracking_id, hub.name = %hub, device.id = %id,
                "`{id}` goes on with its older credential: {refusal}",
            );
        }
        Err(No::Fault(fault)) => {
            let chain = chain_of(&fault);
            error!(
                tracking_id = shared.tracking_id, hub.name = %hub, device.id = %id,
                error = %chain, "a token could not be renewed: {chain}",
            );
            return Renewal::Failed;
        }
    }
    *last = held.number;
    Renewal::Done
}

/// Waits until this moment. The far future is no trouble.
pub(crate) async fn expired(app: &App, moment: Timestamp) {
    loop {
        let left = moment.ticks().saturating_sub(app.now().ticks());
        // A tick is 100 nanoseconds.
        let left = match u64::try_from(left) {
            Ok(0) | Err(_) => return,
            Ok(ticks) => Duration::from_nanos(ticks.saturating_mul(100)),
        };
        sleep(left.min(LONGEST_NAP)).await;
    }
}

/// Tells the log that a device left, also when its connection broke.
struct Departure {
    hub: HubName,
    device_id: DeviceId,
    reason: RefCell<String>,
}

impl Departure {
    fn of(session: &DeviceSession) -> Self {
        Self {
            hub: session.hub().clone(),
            device_id: session.device_id().clone(),
            reason: RefCell::default(),
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        let (hub, id, reason) = (&self.hub, &self.device_id, self.reason.borrow());
        let reason = match reason.as_str() {
            "" => GONE,
            known => known,
        };
        info!(hub.name = %hub, device.id = %id, "`{id}` is no longer connected to `{hub}`: {reason}");
    }
}

#[cfg(test)]
mod tests;
