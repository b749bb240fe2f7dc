//! Why a conversation ends, and what is said then.

use std::fmt;

use crate::{
    door::one_line,
    proto::{BadFrame, WireError},
    stream::Broken,
};

/// Why a conversation is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The client closed the connection in order.
    Closed(Option<WireError>),
    /// The connection broke.
    Broken(Broken),
    /// The client sent what is no AMQP.
    Malformed(BadFrame),
    /// The client broke the rules of AMQP.
    Violated(WireError),
    /// Nothing came from it for too long.
    Silent,
    /// It did not open the connection in time.
    NotOpened,
    /// It has not proven anything in time.
    NotProven,
    /// A message of it began and did not end in time.
    NotWhole,
    /// It has proven nothing, and attached links again and again that were refused.
    Refused,
    /// Its last device was cut off.
    CutOff(WireError),
    /// It does not read that a device of it was cut off.
    CutOffUnread,
    /// An endpoint panicked.
    Panicked,
    /// The server stops.
    Stopping,
}

impl From<Broken> for Over {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Malformed(bad) => Self::Malformed(bad),
            broken => Self::Broken(broken),
        }
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let condition = |error: &WireError| one_line(&error.condition);
        match self {
            Self::Closed(None) => f.write_str("the client closed it"),
            Self::Closed(Some(error)) => {
                write!(f, "the client closed it with {}", condition(error))
            }
            Self::Broken(broken) => broken.fmt(f),
            Self::Malformed(bad) => write!(f, "the client sent no legal frame: {bad}"),
            Self::Violated(error) => {
                let why = error.description.as_deref().unwrap_or_default();
                write!(f, "the client broke the protocol ({}): {}", error.condition, one_line(why))
            }
            Self::Silent => f.write_str("the client was silent for too long"),
            Self::NotOpened => f.write_str("the client did not open it in time"),
            Self::NotProven => f.write_str("the client has proven nothing in time"),
            Self::NotWhole => f.write_str("a message of the client did not end in time"),
            Self::Refused => f.write_str("too many links of the client were refused"),
            Self::CutOff(error) => {
                write!(f, "its only device was disconnected with {}", error.condition)
            }
            Self::CutOffUnread => {
                f.write_str("a device of it was disconnected, and the client does not read that")
            }
            Self::Panicked => f.write_str("by our fault"),
            Self::Stopping => f.write_str("the server stops"),
        }
    }
}

impl Over {
    /// What the connection is closed with; `None` where nothing can be said any more.
    pub(super) fn goodbye(&self) -> Option<Option<WireError>> {
        let because = |condition: &str, text: &str| Some(Some(WireError::new(condition, text)));
        match self {
            Self::Closed(_) => Some(None),
            Self::Broken(_) | Self::CutOffUnread => None,
            Self::Malformed(bad) => {
                let condition = match bad {
                    BadFrame::NotAmqp
                    | BadFrame::TooLong { .. }
                    | BadFrame::HeaderSize { .. }
                    | BadFrame::FrameType(_)
                    | BadFrame::EmptySasl => "amqp:connection:framing-error",
                    _ => "amqp:decode-error",
                };
                because(condition, &format!("A frame cannot be read: {bad}."))
            }
            Self::Violated(error) | Self::CutOff(error) => Some(Some(error.clone())),
            Self::Silent => because(
                "amqp:resource-limit-exceeded",
                "Nothing came for longer than the idle time-out allows.",
            ),
            Self::NotOpened => {
                because("amqp:not-allowed", "The connection was not opened in time.")
            }
            Self::NotProven => because(
                "amqp:unauthorized-access",
                "Neither a token nor a link proved in time who is there.",
            ),
            Self::NotWhole => {
                because("amqp:resource-limit-exceeded", "A message did not end in time.")
            }
            Self::Refused => because(
                "amqp:unauthorized-access",
                "Too many links were refused before anything was proven.",
            ),
            Self::Panicked => because("amqp:internal-error", "Something of ours failed."),
            Self::Stopping => because("amqp:connection:forced", "The server stops."),
        }
    }

    /// Whether what the client sent before is still dealt with: it is when the client left, whether
    /// in order or not, as with a session over MQTT.
    pub(super) const fn is_departure(&self) -> bool {
        match self {
            Self::Closed(_)
            | Self::Broken(_)
            | Self::Malformed(_)
            | Self::Violated(_)
            | Self::Silent
            | Self::NotOpened
            | Self::NotProven
            | Self::NotWhole
            | Self::Refused
            | Self::CutOff(_)
            | Self::CutOffUnread => true,
            Self::Panicked | Self::Stopping => false,
        }
    }
}
