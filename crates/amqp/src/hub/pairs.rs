//! Links that come in pairs: one that the device sends on, and one that it hears of on (H §4.3.4).
//!
//! Both of a pair carry the same `com.microsoft:channel-correlation-id`. A device that names none
//! has one pair.

use crate::{
    endpoint::{Attached, LinkId},
    proto::{self, Role, SenderSettle, Value},
};

/// The link property that names a pair.
const CHANNEL: &str = "com.microsoft:channel-correlation-id";

/// The longest name of a pair that is looked at, in bytes; a longer one is none.
const MAX_CHANNEL_BYTES: usize = 256;

/// The pairs of one kind that a device has. How many links there are is the connection's limit.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    senders: Vec<End>,
    receivers: Vec<End>,
}

/// One end of a pair.
#[derive(Debug)]
struct End {
    link: LinkId,
    channel: Option<Box<str>>,
    is_settled: bool,
    /// How many messages the device takes there.
    credit: u32,
}

/// Where to send something to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) link: LinkId,
    /// Whether nothing is to be heard of it: so it is sent unless the device insists on telling.
    pub(super) is_settled: bool,
}

impl Pairs {
    /// Remembers a link.
    pub(super) fn attach(&mut self, attached: &Attached) {
        let channel = proto::find(&attached.properties, CHANNEL).and_then(Value::as_text);
        let end = End {
            link: attached.link,
            channel: channel.filter(|name| name.len() <= MAX_CHANNEL_BYTES).map(Into::into),
            is_settled: attached.sender_settle != SenderSettle::Unsettled,
            credit: 0,
        };
        match attached.role {
            Role::Sender => self.senders.push(end),
            Role::Receiver => self.receivers.push(end),
        }
    }

    /// Forgets a link; says whether it was one of these.
    pub(super) fn detach(&mut self, link: LinkId) -> bool {
        let n_before = self.senders.len() + self.receivers.len();
        for ends in [&mut self.senders, &mut self.receivers] {
            ends.retain(|end| end.link != link);
            if ends.is_empty() {
                *ends = Vec::new();
            }
        }
        n_before > self.senders.len() + self.receivers.len()
    }

    /// Whether the device sends on this link, as one of these.
    pub(super) fn has_sender(&self, link: LinkId) -> bool {
        self.senders.iter().any(|end| end.link == link)
    }

    /// The way back to who sent on this link: the link of the same name, or else the only one.
    pub(super) fn way_back(&self, sender: LinkId) -> Option<Way> {
        let sender = self.senders.iter().find(|end| end.link == sender)?;
        Self::partner(sender, &self.receivers).map(End::way)
    }

    /// The way to the device, of a whole pair; the latest one, of several.
    pub(super) fn way_to(&self) -> Option<Way> {
        let is_whole = |end: &&End| Self::partner(end, &self.senders).is_some();
        self.receivers.iter().rev().find(is_whole).map(End::way)
    }

    /// Notes how many messages the device takes on this link.
    pub(super) fn credit(&mut self, link: LinkId, credit: u32) {
        if let Some(end) = self.receivers.iter_mut().find(|end| end.link == link) {
            end.credit = credit;
        }
    }

    /// Uses one credit of this link up; false when there is none.
    pub(super) fn use_credit(&mut self, link: LinkId) -> bool {
        let end = self.receivers.iter_mut().find(|end| end.link == link && end.credit > 0);
        end.map(|end| end.credit -= 1).is_some()
    }

    fn partner<'a>(end: &End, others: &'a [End]) -> Option<&'a End> {
        let named = || others.iter().rev().find(|other| other.channel == end.channel);
        end.channel.as_ref().and_then(|_| named()).or(match others {
            [only] => Some(only),
            _ => None,
        })
    }
}

impl End {
    const fn way(&self) -> Way {
        Way { link: self.link, is_settled: self.is_settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn attached(link: u32, role: Role, channel: Option<&str>) -> Attached {
        let property =
            |name: &str| (Value::Symbol(CHANNEL.to_owned()), Value::String(name.to_owned()));
        Attached {
            link: LinkId(link),
            role,
            address: Address::parse("/devices/dev1/twin"),
            properties: channel.map(property).into_iter().collect(),
            sender_settle: SenderSettle::Mixed,
        }
    }

    fn pairs(links: &[(u32, Role, Option<&str>)]) -> Pairs {
        let mut pairs = Pairs::default();
        for (link, role, channel) in links {
            pairs.attach(&attached(*link, *role, *channel));
        }
        pairs
    }

    #[track_caller]
    fn check_back(pairs: &Pairs, sender: u32, expected: Option<u32>) {
        let found = pairs.way_back(LinkId(sender)).map(|way| way.link);
        assert_eq!(found, expected.map(LinkId));
    }

    use Role::{Receiver, Sender};

    #[test]
    fn an_answer_goes_to_the_link_of_the_same_name() {
        let two = pairs(&[
            (1, Sender, Some("twin:a")),
            (2, Receiver, Some("twin:b")),
            (3, Receiver, Some("twin:a")),
            (4, Sender, Some("twin:b")),
        ]);
        check_back(&two, 1, Some(3));
        check_back(&two, 4, Some(2));
        check_back(&two, 2, None);
    }

    #[test]
    fn without_a_name_there_is_only_one_way() {
        check_back(&pairs(&[(1, Sender, None), (2, Receiver, None)]), 1, Some(2));
        check_back(&pairs(&[(1, Sender, Some("a")), (2, Receiver, Some("b"))]), 1, Some(2));
        check_back(&pairs(&[(1, Sender, None), (2, Receiver, None), (3, Receiver, None)]), 1, None);
        check_back(&pairs(&[(1, Sender, None)]), 1, None);
    }

    #[test]
    fn the_latest_whole_pair_is_the_way_to_the_device() {
        let mut pairs = pairs(&[(1, Sender, Some("a")), (2, Receiver, Some("a"))]);
        assert_eq!(pairs.way_to().map(|way| way.link), Some(LinkId(2)));
        pairs.attach(&attached(3, Sender, Some("b")));
        pairs.attach(&attached(4, Receiver, Some("b")));
        assert_eq!(pairs.way_to().map(|way| way.link), Some(LinkId(4)));
        assert!(pairs.detach(LinkId(3)));
        assert!(!pairs.detach(LinkId(3)));
        // What is left of the second pair still stands beside the first.
        assert!(pairs.detach(LinkId(1)));
        assert_eq!(pairs.way_to(), None);
        assert!(pairs.detach(LinkId(2)) && pairs.detach(LinkId(4)));
        assert_eq!((pairs.senders.capacity(), pairs.receivers.capacity()), (0, 0));
    }

    #[test]
    fn who_insists_on_telling_is_asked_to() {
        let mut pairs = pairs(&[(1, Sender, None)]);
        let insists =
            Attached { sender_settle: SenderSettle::Unsettled, ..attached(2, Receiver, None) };
        pairs.attach(&insists);
        assert_eq!(pairs.way_to(), Some(Way { link: LinkId(2), is_settled: false }));
    }
}
