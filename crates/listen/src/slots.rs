//! How many connections may be open: in total, and from one source.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places for open connections. A connection holds a [`Slot`] from accept to close.
#[derive(Debug)]
pub(crate) struct Slots {
    max_total: usize,
    max_per_source: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    per_source: HashMap<IpAddr, usize>,
    n_refused: u64,
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    source: IpAddr,
}

/// Why there is no place for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) which: Limit,
    /// How many connections have been refused since the start, this one included.
    pub(crate) n_refused: u64,
}

/// Which of the two limits is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Total,
    PerSource,
}

impl Slots {
    pub(crate) fn new(max_total: usize, max_per_source: usize) -> Arc<Self> {
        Arc::new(Self { max_total, max_per_source, taken: Mutex::default() })
    }

    /// A place for a connection from `address`, or which limit stands against it.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        let source = source(address);
        let mut taken = self.taken();
        let from_source = taken.per_source.get(&source).copied().unwrap_or(0);
        let which = match () {
            () if from_source >= self.max_per_source => Some(Limit::PerSource),
            () if taken.total >= self.max_total => Some(Limit::Total),
            () => None,
        };
        if let Some(which) = which {
            taken.n_refused += 1;
            return Err(Full { which, n_refused: taken.n_refused });
        }
        taken.total += 1;
        taken.per_source.insert(source, from_source + 1);
        Ok(Slot { slots: Arc::clone(self), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The counts are changed in steps that cannot panic, so a poisoned lock still guards true ones.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.total -= 1;
        if let Some(n) = taken.per_source.get_mut(&self.source) {
            *n -= 1;
            if *n == 0 {
                taken.per_source.remove(&self.source);
            }
        }
    }
}

/// Who counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
///
/// One IPv6 subscriber holds a whole /64, so counting single addresses would limit nobody.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a slot per address, keeping all, and compares which were refused and why.
    #[track_caller]
    fn check(max_total: usize, max_per_source: usize, asked: &[(&str, Option<Limit>)]) {
        let slots = Slots::new(max_total, max_per_source);
        let mut kept = Vec::new();
        for (address, refused) in asked {
            match slots.take(address.parse().unwrap()) {
                Ok(slot) => {
                    assert_eq!(*refused, None, "{address}");
                    kept.push(slot);
                }
                Err(full) => assert_eq!(*refused, Some(full.which), "{address}"),
            }
        }
        drop(kept);
        let taken = slots.taken();
        assert_eq!((taken.total, taken.per_source.len()), (0, 0), "all places are given back");
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        check(
            3,
            2,
            &[
                ("192.0.2.1", None),
                ("192.0.2.1", None),
                ("192.0.2.1", Some(Limit::PerSource)),
                ("::ffff:192.0.2.1", Some(Limit::PerSource)),
                ("192.0.2.2", None),
                ("192.0.2.3", Some(Limit::Total)),
            ],
        );
    }

    #[test]
    fn an_ipv6_network_counts_as_one_source() {
        check(
            9,
            1,
            &[
                ("2001:db8::1", None),
                ("2001:db8::ffff:2", Some(Limit::PerSource)),
                ("2001:db8:0:1::1", None),
            ],
        );
    }
}
