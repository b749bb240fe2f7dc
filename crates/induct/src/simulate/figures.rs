//! What devices do, counted while they do it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Timing;

/// A number that many tasks change.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    fn take_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What devices did so far.
#[derive(Default)]
pub struct Figures {
    /// Registrations that ended in an assignment.
    pub provisioned: Count,
    /// Connections to hubs that were opened.
    pub connections: Count,
    /// Those of them that are open now.
    pub connected: Count,
    /// Those of them that were opened after another one was lost.
    pub reconnects: Count,
    /// Messages handed to the connection.
    pub sent: Count,
    /// Messages the hub has acknowledged; none with QoS 0.
    pub acknowledged: Count,
    /// Calls of methods that were answered.
    pub methods: Count,
    /// Reports to twins that the hub has taken.
    pub reports: Count,
    /// How often the server understood and said no.
    pub refused: Count,
    /// How often something broke: connections that were lost, and attempts that failed.
    pub errors: Count,
    /// How long devices took to be assigned.
    pub provisioning: Timing,
    /// How long they took to be connected, from the first packet of TCP.
    pub connecting: Timing,
    /// How long their messages took to be acknowledged.
    pub acknowledging: Timing,
}

/// An open connection, counted as long as this lives.
pub(super) struct Open<'a>(&'a Figures);

impl<'a> Open<'a> {
    pub(super) fn count(figures: &'a Figures) -> Self {
        figures.connections.add();
        figures.connected.add();
        Self(figures)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connected.take_back();
    }
}
