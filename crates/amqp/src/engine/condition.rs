//! The error conditions of the standard that the engine itself speaks (part 2, §2.8.15 to §2.8.18).

use crate::proto::WireError;

pub(super) const FRAMING_ERROR: &str = "amqp:connection:framing-error";
pub(super) const ILLEGAL_STATE: &str = "amqp:illegal-state";
pub(super) const INVALID_FIELD: &str = "amqp:invalid-field";
pub(super) const NOT_ALLOWED: &str = "amqp:not-allowed";
pub(super) const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
pub(super) const RESOURCE_LIMIT_EXCEEDED: &str = "amqp:resource-limit-exceeded";

pub(super) const ERRANT_LINK: &str = "amqp:session:errant-link";
pub(super) const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
pub(super) const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
pub(super) const WINDOW_VIOLATION: &str = "amqp:session:window-violation";

/// How the driver closes when the server stops.
pub(super) const CONNECTION_FORCED: &str = "amqp:connection:forced";
pub(super) const DETACH_FORCED: &str = "amqp:link:detach-forced";
pub(super) const MESSAGE_SIZE_EXCEEDED: &str = "amqp:link:message-size-exceeded";
pub(super) const STOLEN: &str = "amqp:link:stolen";
pub(super) const TRANSFER_LIMIT_EXCEEDED: &str = "amqp:link:transfer-limit-exceeded";

/// How far the harm of an illegal frame goes.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is to be closed.
    Connection(WireError),
    /// The session is to be ended.
    Session(WireError),
}

impl Broken {
    pub(super) fn connection(condition: &str, description: impl Into<String>) -> Self {
        Self::Connection(WireError::new(condition, description))
    }

    pub(super) fn session(condition: &str, description: impl Into<String>) -> Self {
        Self::Session(WireError::new(condition, description))
    }
}
