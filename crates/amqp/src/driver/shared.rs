//! What all of one connection share.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use app::App;

use crate::{
    AmqpSettings, Peer,
    address::without_port,
    cbs,
    engine::EngineLimits,
    proto::Limits,
    sasl::Login,
    stream::{Lot, Standing, Taking, Terms},
};

/// How many links a client may have before it has proven anything to a hub.
const MAX_LINKS_OF_STRANGER: usize = 16;
/// How many links a device has at most, those apart that are just being replaced.
const LINKS_PER_DEVICE: usize = 8;
/// Links and sessions beside those of devices: tokens, the service side.
const OTHER_LINKS: usize = 16;
/// So many sessions of a stranger take no room.
const FREE_SESSIONS: usize = 16;
/// What a session takes, in bytes.
const SESSION_BYTES: usize = 512;

/// What all of one connection share.
pub(crate) struct Shared {
    pub(crate) app: App,
    pub(crate) settings: Arc<AmqpSettings>,
    pub(crate) peer: Peer,
    pub(crate) login: Login,
    /// The host name of the client's `open`, without a port, if it said one.
    pub(crate) hostname: OnceLock<String>,
    pub(crate) tracking_id: String,
    pub(crate) tokens: cbs::Tokens,
    terms: Arc<Terms>,
    standing: AtomicU8,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("peer", &self.peer)
            .field("login", &self.login)
            .field("tracking_id", &self.tracking_id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        app: App,
        settings: Arc<AmqpSettings>,
        terms: Arc<Terms>,
        peer: Peer,
        login: Login,
        tracking_id: String,
    ) -> Self {
        Self {
            app,
            settings,
            peer,
            login,
            hostname: OnceLock::new(),
            tracking_id,
            tokens: cbs::Tokens::default(),
            terms,
            standing: AtomicU8::new(0),
        }
    }

    /// Tells that the client has proven something to a hub: a token that was verified, or a device
    /// that was let in. From now on the limits of a session hold, and it is no stranger.
    pub(crate) fn prove(&self) {
        self.standing.fetch_max(2, Ordering::Relaxed);
    }

    /// Tells that a provisioning link was accepted, which proves nothing: the limits of a session
    /// hold, but the client goes on sharing the strangers' room.
    pub(crate) fn welcome(&self) {
        self.standing.fetch_max(1, Ordering::Relaxed);
    }

    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Stranger,
            1 => Standing::Guest,
            _ => Standing::Known,
        }
    }

    pub(super) fn set_hostname(&self, host: &str) {
        // A connection is opened once.
        let _ = self.hostname.set(without_port(host).to_ascii_lowercase());
    }

    pub(super) fn frame_limits(&self, standing: Standing) -> Limits {
        match standing {
            Standing::Stranger => Limits::STRANGER,
            Standing::Guest | Standing::Known => {
                Limits { frame_bytes: self.settings.max_frame_bytes, ..Limits::SESSION }
            }
        }
    }

    pub(super) fn engine_limits(&self, standing: Standing) -> EngineLimits {
        let settings = &self.settings;
        let max_sessions = settings.max_devices_per_connection.saturating_add(OTHER_LINKS);
        let max_links = settings
            .max_devices_per_connection
            .saturating_mul(LINKS_PER_DEVICE)
            .saturating_add(OTHER_LINKS);
        let max_partial_bytes = self.terms.partial_bytes(standing);
        let partial = u64::try_from(max_partial_bytes).unwrap_or(u64::MAX);
        let idle_timeout_ms = u32::try_from(settings.idle_timeout.as_millis()).ok();
        EngineLimits {
            frame_bytes: u32::try_from(settings.max_frame_bytes).unwrap_or(u32::MAX),
            channel_max: u16::try_from(max_sessions - 1).unwrap_or(u16::MAX),
            // Some put all their devices into one session.
            handle_max: u32::try_from(max_links - 1).unwrap_or(u32::MAX),
            idle_timeout_ms,
            max_sessions,
            max_links: match standing {
                Standing::Stranger | Standing::Guest => MAX_LINKS_OF_STRANGER,
                Standing::Known => max_links,
            },
            max_partial_bytes,
            max_message_bytes: match standing {
                Standing::Stranger => partial,
                Standing::Guest => settings.max_provisioning_message_bytes,
                Standing::Known => settings.max_message_bytes,
            },
        }
    }
}

/// The sessions of a stranger. One client begins those of all its devices before it shows a token,
/// which is fine as long as not all do.
pub(super) enum Crowd {
    /// So many sessions were begun.
    Small(usize),
    /// They are many, and wait for room.
    Waiting(Taking),
    /// They have it.
    #[expect(dead_code, reason = "kept for its room")]
    Large(Arc<Lot>),
    /// It is no stranger's.
    Any,
}

impl Crowd {
    pub(super) const fn grow(&mut self) {
        if let Self::Small(n_sessions) = self {
            *n_sessions += 1;
        }
    }

    /// Whether more frames may be read.
    pub(super) fn poll_room(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        loop {
            match self {
                Self::Small(n_sessions) if *n_sessions <= FREE_SESSIONS => return true,
                Self::Small(_) => {
                    let n_sessions = shared.settings.max_devices_per_connection;
                    let n_bytes = n_sessions.saturating_mul(SESSION_BYTES);
                    *self = Self::Waiting(shared.terms.take(Standing::Stranger, n_bytes));
                }
                Self::Waiting(taking) => match taking.as_mut().poll(cx) {
                    Poll::Ready(lot) => *self = Self::Large(lot),
                    Poll::Pending => return false,
                },
                Self::Large(_) | Self::Any => return true,
            }
        }
    }
}
