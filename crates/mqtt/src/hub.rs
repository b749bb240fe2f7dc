//! Hub sessions: one connected device or module (H §4.2).
//!
//! A session ends when either side closes the connection, when its token or certificate is over
//! (H §4.5.2), when the device opens another connection (H §4.5.1), or when the registry no longer
//! lets it in (H §4.5.3): then at once, even while something is being written to a device that
//! does not read. What deliberately does not live here: whether a device may connect and what its
//! requests do (`app::device` and below).
//!
//! [`talk`] reads and answers; [`jobs`] holds what the store has not answered yet; [`unacked`] and
//! [`calls`] what the device has not.

mod calls;
mod event;
mod jobs;
mod login;
mod message;
mod talk;
mod twin;
mod unacked;

use std::time::Duration;

use app::{
    App, No,
    device::{DeviceSession, EventDraft, SessionNo},
    live::End,
    visits::Visit,
};
use model::{ConnectRefusal, Door, HubRefusal, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info};

use self::{login::Login, talk::Talk};
use crate::{
    door::{Caller, Context, Ending, asked_to_stop, chain_of},
    link::{Broken, Link},
    proto::{ConnectRefusal as Code, Limits},
    topic::HubUser,
};

/// A session that ends in days is looked at once an hour until then, because clocks are corrected
/// and machines sleep.
const LONGEST_NAP: Duration = Duration::from_secs(3600);

/// Why a session is over.
#[derive(Debug)]
enum Over {
    /// The device said goodbye.
    Disconnected,
    /// The connection broke, or the client is not a client.
    Broken(Broken),
    /// The device was silent for one and a half times its keep-alive.
    Silent,
    /// The device did what a hub does not allow (H §4.2.5).
    Misbehaved(String),
    /// Ended from elsewhere.
    Ended(End),
    /// Its token or certificate is over.
    Expired,
    /// The server stops.
    Stopping,
    /// What the device sent was declined.
    Refused(HubRefusal),
    /// Something of ours failed; told with all its causes.
    Fault(String),
}

impl From<Broken> for Over {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<SessionNo> for Over {
    fn from(no: SessionNo) -> Self {
        match no {
            SessionNo::Refused(refusal) => Self::Refused(refusal),
            SessionNo::Over(end) => Self::Ended(end),
            SessionNo::Fault(fault) => Self::Fault(chain_of(&fault)),
        }
    }
}

impl Over {
    /// Whether the device's will is sent. It is when the device or its network failed (H §4.2.5),
    /// and it is not when we ended the session: what was cut off, has expired or connected anew has
    /// nothing to say any more, and after our own stop or fault the device is as well as before.
    const fn leaves_will(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Silent | Self::Misbehaved(_) | Self::Refused(_) => true,
            Self::Disconnected
            | Self::Ended(_)
            | Self::Expired
            | Self::Stopping
            | Self::Fault(_) => false,
        }
    }

    /// Whether what is queued for the device may still be sent.
    const fn ending(&self) -> Ending {
        match self {
            Self::Disconnected | Self::Stopping => Ending::Goodbye,
            Self::Broken(_)
            | Self::Silent
            | Self::Misbehaved(_)
            | Self::Ended(_)
            | Self::Expired
            | Self::Refused(_)
            | Self::Fault(_) => Ending::Cut,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Disconnected => "it disconnected".to_owned(),
            Self::Broken(broken) => broken.to_string(),
            Self::Silent => "it was silent for longer than its keep-alive allows".to_owned(),
            Self::Misbehaved(what) => what.clone(),
            Self::Ended(End::CutOff(refusal)) => format!("it is cut off: {refusal}"),
            Self::Ended(End::TakenOver) => "it opened another connection".to_owned(),
            Self::Ended(End::TooSlow) => "it reads too slowly".to_owned(),
            Self::Expired => "its token or certificate has expired".to_owned(),
            Self::Stopping => "the server stops".to_owned(),
            Self::Refused(refusal) => format!("what it sent is refused: {refusal}"),
            Self::Fault(_) => "by our fault".to_owned(),
        }
    }
}

/// Serves a client that asks a hub, from its CONNECT to the end.
pub(crate) fn serve<S>(
    context: &Context,
    link: &mut Link<S>,
    caller: Caller,
    user: HubUser,
    shutdown: &mut watch::Receiver<bool>,
) -> impl Future<Output = Ending> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    // Boxed, and gone before the session begins: it takes more memory than an idle session.
    let admitted = Box::pin(admit(context, caller, user));
    async move {
        let admitted = tokio::select! {
            biased;
            () = asked_to_stop(shutdown) => {
                return Ending::Refused(Code::ServerUnavailable);
            }
            admitted = admitted => admitted,
        };
        match admitted {
            Ok(admitted) => hold(context, link, admitted, shutdown).await,
            Err(ending) => ending,
        }
    }
}

/// Holds a session until it is over. It comes in a box, because what is handed over by value takes
/// its room a second time.
async fn hold<S>(
    context: &Context,
    link: &mut Link<S>,
    admitted: Box<Admitted>,
    shutdown: &mut watch::Receiver<bool>,
) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Admitted { session, commands, terms } = *admitted;
    let settings = &context.settings;
    link.set_limits(Limits { packet_bytes: settings.max_hub_packet_bytes, ..Limits::SESSION });
    link.admit();
    let Terms { patience, is_durable, will } = terms;
    let over = {
        let mut talk = Talk::new(context, link, &session, commands, patience, is_durable);
        tokio::select! {
            biased;
            end = session.ended() => Over::Ended(end),
            () = asked_to_stop(shutdown) => Over::Stopping,
            () = expired(&context.app, session.expires()) => Over::Expired,
            over = talk.run() => over,
        }
    };
    let (hub, id) = (session.hub(), session.device_id());
    let reason = over.reason();
    if let Over::Fault(chain) = &over {
        error!(hub.name = %hub, device.id = %id, error = %chain, "a session failed: {chain}");
    }
    info!(hub.name = %hub, device.id = %id, "`{id}` is no longer connected to `{hub}`: {reason}");
    if let (Some(will), true) = (will, over.leaves_will()) {
        Box::pin(send_will(&session, *will)).await;
    }
    over.ending()
}

/// A device that was let in.
struct Admitted {
    session: DeviceSession,
    commands: app::device::Commands,
    terms: Terms,
}

/// What of a CONNECT lasts as long as the session.
struct Terms {
    /// How long the device may be silent.
    patience: Duration,
    /// Whether what it subscribes to outlives the connection (CleanSession=0).
    is_durable: bool,
    will: Option<Box<EventDraft>>,
}

async fn admit(
    context: &Context,
    mut caller: Caller,
    user: HubUser,
) -> Result<Box<Admitted>, Ending> {
    let Login { connecting, will } =
        login::read(&mut caller, &user).map_err(|bad| caller.refuse(Code::NotAuthorized, &bad))?;
    let keep_alive_secs = caller.connect.keep_alive_secs;
    let settings = &context.settings;
    let patience = settings.patience(keep_alive_secs, settings.keep_alive_cap);
    let is_durable = !caller.connect.clean_session;
    let (address, tracking_id) = (caller.peer.address.ip(), caller.tracking_id.as_str());
    let visit = Visit { tracking_id, door: Door::Mqtt, address };
    let connected = context.app.connect_device_from(&visit, connecting);
    let (session, commands) = match timeout(settings.request_timeout, connected).await {
        Ok(Ok(connected)) => connected,
        // “Not now” (H §4.2.2): clients that hear 5 may never come again (H §9.3).
        Ok(Err(No::Refused(
            refusal @ (ConnectRefusal::Throttled(_)
            | ConnectRefusal::Conflict
            | ConnectRefusal::Overtaken),
        ))) => return Err(caller.refuse(Code::ServerUnavailable, &refusal)),
        Ok(Err(No::Refused(refusal))) => {
            return Err(caller.refuse(Code::NotAuthorized, &refusal));
        }
        Ok(Err(No::Fault(fault))) => {
            let chain = chain_of(&fault);
            error!(tracking_id = caller.tracking_id, error = %chain, "a device could not connect: {chain}");
            return Err(caller.refuse(Code::ServerUnavailable, &"something of ours failed"));
        }
        Err(_) => return Err(caller.refuse(Code::ServerUnavailable, &"it took too long")),
    };
    caller.accepted();
    let terms = Terms { patience, is_durable, will };
    Ok(Box::new(Admitted { session, commands, terms }))
}

async fn send_will(session: &DeviceSession, will: EventDraft) {
    match session.send(app::device::will(will)).await {
        Ok(()) => {}
        Err(SessionNo::Fault(fault)) => {
            let chain = chain_of(&fault);
            error!(device.id = %session.device_id(), error = %chain, "a will is lost: {chain}");
        }
        Err(no) => {
            info!(device.id = %session.device_id(), "a will is not sent: {no}");
        }
    }
}

/// Waits until this moment. The far future is no trouble.
async fn expired(app: &App, moment: Timestamp) {
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

#[cfg(test)]
mod tests;
