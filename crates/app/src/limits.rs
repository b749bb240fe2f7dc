//! Rates: how often a device, an address, or everyone together may ask (D §6). Off by default.
//!
//! A device is told apart by its registration ID and its address together: with the ID alone,
//! anyone could use up the share of a device whose ID they know, without proving anything. An
//! IPv6 address counts with its /64 network, which is what one subscriber has.

mod buckets;
mod rules;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use decide::manage::network::Api;
use model::{DeviceRefusal, HubRefusal, OperatorRefusal, RegistrationId, Timestamp};

use self::buckets::Buckets;
pub(crate) use self::rules::KnownSettings;
use crate::{App, No};

/// So many in so many seconds; both at least 1. All at once is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub n: u32,
    /// In how many seconds.
    pub per_secs: u32,
}

/// The rates. `None` does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSettings {
    /// Polls and status look-ups of one device. The vendor's figure is 5 in 10 s (D §6).
    pub device_polls: Option<Rate>,
    /// Registrations of one device.
    pub device_registrations: Option<Rate>,
    /// Calls of any kind to the device API from one address.
    pub device_calls_per_address: Option<Rate>,
    /// Calls to the operator API and the hubs' registries from one address.
    pub operator_calls_per_address: Option<Rate>,
    /// Registrations of all devices together. The vendor's figure is 1000 a minute (D §6).
    pub registrations: Option<Rate>,
    /// Calls of all operators together. The vendor's figure is 1000 a minute (D §6).
    pub operator_calls: Option<Rate>,
    /// How many devices and addresses are remembered; at about 200 bytes each. When there are
    /// more, the one that waited longest is forgotten and begins anew.
    pub max_remembered: usize,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            device_polls: None,
            device_registrations: None,
            device_calls_per_address: None,
            operator_calls_per_address: None,
            registrations: None,
            operator_calls: None,
            max_remembered: 100_000,
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`RateSettings::device_polls`]
    DevicePolls,
    /// [`RateSettings::device_registrations`]
    DeviceRegistrations,
    /// [`RateSettings::device_calls_per_address`]
    DeviceCallsPerAddress,
    /// [`RateSettings::operator_calls_per_address`]
    OperatorCallsPerAddress,
    /// [`RateSettings::registrations`]
    Registrations,
    /// [`RateSettings::operator_calls`]
    OperatorCalls,
}

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// One device, from one address.
    Device(Box<str>, IpAddr),
    /// One address.
    Address(IpAddr),
    /// Everyone.
    Instance,
}

impl Key {
    /// A device from an address.
    #[must_use]
    pub fn device(id: &RegistrationId, address: IpAddr) -> Self {
        Self::Device(id.key().into(), subscriber(address))
    }

    /// An address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(subscriber(address))
    }
}

/// What one subscriber has: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counts, in memory: a restart begins anew.
#[derive(Debug)]
pub struct Limits {
    settings: RateSettings,
    buckets: Mutex<Buckets<(Kind, Key)>>,
}

impl Limits {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        Self { settings, buckets: Mutex::new(Buckets::new(settings.max_remembered)) }
    }

    /// Counts one more of this kind by this key.
    ///
    /// # Errors
    /// After how many seconds it would be allowed; it is not counted then.
    pub fn check(&self, kind: Kind, key: Key, now: Timestamp) -> Result<(), u32> {
        let settings = &self.settings;
        let rate = match kind {
            Kind::DevicePolls => settings.device_polls,
            Kind::DeviceRegistrations => settings.device_registrations,
            Kind::DeviceCallsPerAddress => settings.device_calls_per_address,
            Kind::OperatorCallsPerAddress => settings.operator_calls_per_address,
            Kind::Registrations => settings.registrations,
            Kind::OperatorCalls => settings.operator_calls,
        };
        let Some(rate) = rate else { return Ok(()) };
        // Whoever panicked with the lock left whole entries behind.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.take((kind, key), rate, now)
    }
}

/// What a device asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceCall {
    /// To be registered.
    Register,
    /// Where an operation stands.
    Poll,
    /// Where its registration stands.
    LookUp,
}

impl App {
    /// Whether a device's call is looked at at all: by its address, then by the rates. The shares
    /// of the address and the device are asked before everyone's, so that one who asks too often
    /// uses up nothing of the others'.
    ///
    /// # Errors
    /// [`DeviceRefusal::AddressRefused`], [`DeviceRefusal::Throttled`], or a fault.
    pub async fn admit_device(
        &self,
        address: IpAddr,
        registration_id: &RegistrationId,
        call: DeviceCall,
    ) -> Result<(), No<DeviceRefusal>> {
        if !self.admits(address, Api::Device).await? {
            let address = address.to_canonical().to_string();
            return Err(No::Refused(DeviceRefusal::AddressRefused(address)));
        }
        let device = Key::device(registration_id, address);
        let asked = (Kind::DeviceCallsPerAddress, Key::address(address));
        match call {
            DeviceCall::Register => self.count([
                asked,
                (Kind::DeviceRegistrations, device),
                (Kind::Registrations, Key::Instance),
            ]),
            DeviceCall::Poll | DeviceCall::LookUp => {
                self.count([asked, (Kind::DevicePolls, device)])
            }
        }
        .map_err(|secs| No::Refused(DeviceRefusal::Throttled(secs)))
    }

    /// Whether an operator's call is looked at at all, before anyone looks at its token; as
    /// [`Self::admit_device`].
    ///
    /// # Errors
    /// [`OperatorRefusal::AddressRefused`], [`OperatorRefusal::Throttled`], or a fault.
    pub async fn admit_operator(&self, address: IpAddr) -> Result<(), No<OperatorRefusal>> {
        if !self.admits(address, Api::Service).await? {
            let address = address.to_canonical().to_string();
            return Err(No::Refused(OperatorRefusal::AddressRefused(address)));
        }
        self.count_operator(address).map_err(|secs| No::Refused(OperatorRefusal::Throttled(secs)))
    }

    /// Whether a call to a hub's registry is looked at at all; as [`Self::admit_operator`], whose
    /// rates it shares.
    ///
    /// # Errors
    /// [`HubRefusal::AddressRefused`], [`HubRefusal::Throttled`], or a fault.
    pub async fn admit_to_hub(&self, address: IpAddr) -> Result<(), No<HubRefusal>> {
        if !self.admits(address, Api::Service).await? {
            let address = address.to_canonical().to_string();
            return Err(No::Refused(HubRefusal::AddressRefused(address)));
        }
        self.count_operator(address).map_err(|secs| No::Refused(HubRefusal::Throttled(secs)))
    }

    fn count_operator(&self, address: IpAddr) -> Result<(), u32> {
        self.count([
            (Kind::OperatorCallsPerAddress, Key::address(address)),
            (Kind::OperatorCalls, Key::Instance),
        ])
    }

    fn count<const N: usize>(&self, all: [(Kind, Key); N]) -> Result<(), u32> {
        let now = self.clock.now();
        all.into_iter().try_for_each(|(kind, key)| self.limits.check(kind, key, now))
    }
}

#[cfg(test)]
mod tests;
