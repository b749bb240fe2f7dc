//! Deliveries of one direction of a session that are not settled yet.

use std::{collections::VecDeque, ops::Range};

use super::serial;

/// The deliveries of one direction, in the order in which they began: their numbers on the wire
/// ascend, and so do the numbers we know the client's by.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    entries: VecDeque<Entry>,
}

/// A delivery that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its `delivery-id`.
    pub(super) wire: u32,
    /// The client's handle for its link.
    pub(super) handle: u32,
    /// Of a message of the client's: our name for it. Of one of ours: the endpoint's.
    pub(super) number: u64,
    pub(super) mark: Mark,
}

/// What is special about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Nothing,
    /// Ours: the endpoint wants to hear nothing of it.
    Quiet,
}

impl Unsettled {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The `delivery-id` of the oldest one.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.entries.front().map(|entry| entry.wire)
    }

    /// Adds one that was sent after all others.
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
    }

    /// Adds one that others may have overtaken. Only for numbers that ascend.
    pub(super) fn insert(&mut self, entry: Entry) {
        let at = self.entries.partition_point(|other| other.number < entry.number);
        self.entries.insert(at, entry);
    }

    /// The delivery that we know by a number. Only for numbers that ascend.
    pub(super) fn find(&mut self, number: u64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        self.entries.get_mut(at)
    }

    /// Takes the delivery that we know by a number. Only for numbers that ascend.
    pub(super) fn take(&mut self, number: u64) -> Option<Entry> {
        let at = self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        let entry = self.entries.remove(at);
        self.give_back();
        entry
    }

    /// Takes all deliveries from one `delivery-id` to another, for no more work than there are.
    /// A range that ends before it begins has none.
    pub(super) fn take_range(&mut self, first: u32, last: u32) -> Vec<Entry> {
        let range = self.range(first, last);
        let taken = self.entries.drain(range).collect();
        self.give_back();
        taken
    }

    /// Forgets the deliveries of a link.
    pub(super) fn forget(&mut self, handle: u32) {
        self.entries.retain(|entry| entry.handle != handle);
        self.give_back();
    }

    fn range(&self, first: u32, last: u32) -> Range<usize> {
        if serial::is_before(last, first) {
            return 0..0;
        }
        let start = self.entries.partition_point(|entry| serial::is_before(entry.wire, first));
        let end = self.entries.partition_point(|entry| !serial::is_before(last, entry.wire));
        start..end.max(start)
    }

    /// A session at rest keeps no memory for what was under way when it was busy.
    fn give_back(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deliveries with these ids, of which a range is taken; the ids that were taken.
    fn check(ids: &[u32], (first, last): (u32, u32), taken: &[u32]) {
        let mut unsettled = Unsettled::default();
        for (number, wire) in (0..).zip(ids) {
            unsettled.push(Entry { wire: *wire, handle: 0, number, mark: Mark::Nothing });
        }
        let was = unsettled.take_range(first, last);
        assert_eq!(was.iter().map(|entry| entry.wire).collect::<Vec<_>>(), taken);
        assert_eq!(unsettled.len() + taken.len(), ids.len());
    }

    #[test]
    fn a_range_takes_what_is_in_it() {
        check(&[1, 2, 3, 4], (2, 3), &[2, 3]);
        check(&[1, 2, 3, 4], (2, 2), &[2]);
        check(&[1, 5, 9], (2, 8), &[5]);
        check(&[1, 5, 9], (6, 8), &[]);
        check(&[], (0, 1000), &[]);
    }

    #[test]
    fn a_range_goes_across_the_wrap() {
        let ids = [u32::MAX - 1, u32::MAX, 0, 1];
        check(&ids, (u32::MAX, 0), &[u32::MAX, 0]);
        check(&ids, (u32::MAX - 5, 5), &ids);
        check(&ids, (0, 0), &[0]);
    }

    #[test]
    fn a_range_of_half_of_all_numbers_takes_what_there_is() {
        check(&[1, 2, 3], (0, (1 << 31) - 1), &[1, 2, 3]);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_takes_nothing() {
        check(&[1, 2, 3], (3, 1), &[]);
        check(&[1, 2, 3], (0, u32::MAX), &[]);
    }

    #[test]
    fn numbers_that_run_round_do_no_harm() {
        let numbers = [0, (1 << 31) - 1, u32::MAX - 1, (1 << 31) - 3, 7, 1 << 31];
        for first in numbers {
            for last in numbers {
                let mut unsettled = Unsettled::default();
                for (number, wire) in (0..).zip(numbers) {
                    unsettled.push(Entry { wire, handle: 0, number, mark: Mark::Nothing });
                }
                let n_taken = unsettled.take_range(first, last).len();
                assert_eq!(unsettled.len() + n_taken, numbers.len());
            }
        }
    }

    #[test]
    fn a_delivery_that_others_overtook_has_its_old_place() {
        let mut unsettled = Unsettled::default();
        for number in [2, 4, 3, 1] {
            let wire = u32::try_from(number).unwrap();
            unsettled.insert(Entry { wire, handle: 0, number, mark: Mark::Nothing });
        }
        assert_eq!(unsettled.take(3).map(|entry| entry.wire), Some(3));
        let rest: Vec<u32> = unsettled.take_range(0, 9).iter().map(|entry| entry.wire).collect();
        assert_eq!(rest, [1, 2, 4]);
    }

    #[test]
    fn nothing_unsettled_takes_no_memory() {
        let mut unsettled = Unsettled::default();
        for number in 0..1000 {
            unsettled.push(Entry { wire: 0, handle: 7, number, mark: Mark::Nothing });
        }
        unsettled.forget(7);
        assert_eq!(unsettled.entries.capacity(), 0);
    }
}
