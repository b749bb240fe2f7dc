//! Messages of services that wait for the store: many at once, but of one device one after another,
//! so that it gets them in the order they were sent.

use std::collections::VecDeque;

use model::{DeviceId, HubName};

/// For whom a message is.
pub(super) type Target = (HubName, DeviceId);

/// What waits and for whom something is under way. The credit of the links bounds how much it is.
#[derive(Debug)]
pub(super) struct Sends<T> {
    running: Vec<Target>,
    waiting: VecDeque<(Target, T)>,
    most: usize,
}

impl<T> Sends<T> {
    /// At most so many are under way.
    pub(super) fn new(most: usize) -> Self {
        Self { running: Vec::new(), waiting: VecDeque::new(), most: most.max(1) }
    }

    pub(super) fn push(&mut self, target: Target, message: T) {
        self.waiting.push_back((target, message));
    }

    /// The next that may begin. It is under way until [`Self::done`].
    pub(super) fn begin(&mut self) -> Option<(Target, T)> {
        if self.running.len() >= self.most {
            return None;
        }
        let at = self.waiting.iter().position(|(target, _)| !self.running.contains(target))?;
        let (target, message) = self.waiting.remove(at)?;
        self.running.push(target.clone());
        Some((target, message))
    }

    /// What was under way for this device is done.
    pub(super) fn done(&mut self, target: &Target) {
        if let Some(at) = self.running.iter().position(|running| running == target) {
            self.running.swap_remove(at);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str) -> Target {
        let hub = HubName::parse("hub-1.example.test").expect("legal");
        (hub, DeviceId::parse(id).expect("legal"))
    }

    fn begun(sends: &mut Sends<u32>) -> Vec<u32> {
        std::iter::from_fn(|| sends.begin()).map(|(_, message)| message).collect()
    }

    #[test]
    fn one_device_gets_one_after_another_and_holds_nobody_up() {
        let mut sends = Sends::new(16);
        for (id, message) in [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)] {
            sends.push(target(id), message);
        }
        assert_eq!(begun(&mut sends), [1, 3]);
        sends.done(&target("b"));
        assert_eq!(begun(&mut sends), [5]);
        sends.done(&target("a"));
        assert_eq!(begun(&mut sends), [2]);
        sends.done(&target("a"));
        assert_eq!(begun(&mut sends), [4]);
        sends.done(&target("a"));
        assert_eq!((begun(&mut sends), sends.waiting.capacity()), (vec![], 0));
    }

    #[test]
    fn only_so_many_are_under_way() {
        let mut sends = Sends::new(2);
        for (id, message) in [("a", 1), ("b", 2), ("c", 3)] {
            sends.push(target(id), message);
        }
        assert_eq!(begun(&mut sends), [1, 2]);
        sends.done(&target("a"));
        assert_eq!(begun(&mut sends), [3]);
    }
}
