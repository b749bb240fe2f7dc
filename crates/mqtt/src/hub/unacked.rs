//! Messages of QoS 1 that were sent to a device and not acknowledged yet.

use crate::proto::PacketId;

/// How many changes of desired properties may wait for their acknowledgement; what comes then goes
/// out with QoS 0. A device that never acknowledges is served all the same: the connection carries
/// them in order, and nothing survives it anyway (H §3.5).
const MAX_CHANGES: usize = 32;

/// What waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The cloud-to-device message of this number.
    Message(u64),
    /// A change of desired properties.
    Change,
}

/// The packet identifiers in use. An idle session holds no memory here.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    waiting: Vec<(PacketId, Sent)>,
    last: u16,
}

impl Unacked {
    /// How many messages wait.
    pub(super) fn n_messages(&self) -> usize {
        self.waiting.iter().filter(|(_, sent)| matches!(sent, Sent::Message(_))).count()
    }

    /// An identifier for a message; the caller bounds how many there are.
    pub(super) fn message(&mut self, number: u64) -> PacketId {
        self.add(Sent::Message(number))
    }

    /// An identifier for a change of desired properties; `None` when too many wait.
    pub(super) fn change(&mut self) -> Option<PacketId> {
        let n = self.waiting.len() - self.n_messages();
        (n < MAX_CHANGES).then(|| self.add(Sent::Change))
    }

    /// What this identifier stood for. One that is not in use is no mistake worth a connection
    /// (D §8, 30).
    pub(super) fn acknowledge(&mut self, id: PacketId) -> Option<Sent> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == id)?;
        let (_, sent) = self.waiting.remove(at);
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Some(sent)
    }

    /// The next identifier that is not in use. There are far fewer in use than identifiers, so one
    /// is found.
    fn add(&mut self, sent: Sent) -> PacketId {
        loop {
            self.last = self.last.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last)
                && self.waiting.iter().all(|(waiting, _)| *waiting != id)
            {
                self.waiting.push((id, sent));
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_not_given_again_while_it_is_in_use() {
        let mut unacked = Unacked::default();
        let held = unacked.message(7);
        for _ in 0..u32::from(u16::MAX) * 2 {
            let id = unacked.message(8);
            assert_ne!(id, held);
            assert_eq!(unacked.acknowledge(id), Some(Sent::Message(8)));
        }
        assert_eq!(unacked.acknowledge(held), Some(Sent::Message(7)));
        assert_eq!(unacked.waiting.capacity(), 0, "nothing waits, nothing is held");
    }

    #[test]
    fn an_identifier_acknowledges_once() {
        let mut unacked = Unacked::default();
        let id = unacked.message(7);
        assert_eq!(unacked.acknowledge(id), Some(Sent::Message(7)));
        assert_eq!(unacked.acknowledge(id), None);
    }

    #[test]
    fn changes_nobody_acknowledges_are_bounded_and_take_no_place_of_messages() {
        let mut unacked = Unacked::default();
        for _ in 0..MAX_CHANGES {
            assert!(unacked.change().is_some());
        }
        assert_eq!(unacked.change(), None);
        assert_eq!(unacked.n_messages(), 0);
        unacked.message(1);
        assert_eq!(unacked.n_messages(), 1);
    }
}
