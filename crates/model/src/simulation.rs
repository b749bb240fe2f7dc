//! What a change would mean for the devices that are known: the change, and what came of thinking
//! of it.

use crate::{
    EnrollmentGroupId, EnrollmentRef, GroupDraft, IndividualDraft, ProvisioningStatus,
    RegistrationId, ban::BanDraft,
};

/// A change as an operator describes it, that is only thought of.
#[derive(Debug, Clone)]
pub enum ChangeDraft {
    /// The individual enrollment is written, whether there is one or not.
    PutIndividual(Box<IndividualDraft>),
    /// The individual enrollment is switched on or off.
    SwitchIndividual(RegistrationId, ProvisioningStatus),
    /// The individual enrollment is deleted.
    DeleteIndividual(RegistrationId),
    /// The group, of TPMs or not, is written, whether there is one or not.
    PutGroup(Box<GroupDraft>),
    /// The group is switched on or off.
    SwitchGroup(EnrollmentGroupId, ProvisioningStatus),
    /// The group is deleted.
    DeleteGroup(EnrollmentGroupId),
    /// The CA certificate is written, whether there is one of its name or not.
    PutCertificate {
        /// Its name.
        name: String,
        /// The certificate, DER.
        der: Vec<u8>,
        /// Whether it counts as verified at once.
        verified: Option<bool>,
    },
    /// The CA certificate of this name is deleted.
    DeleteCertificate(String),
    /// The ban is set.
    PutBan(Box<BanDraft>),
    /// The ban of this key is lifted.
    LiftBan(String),
}

/// How far a simulation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulationLimits {
    /// How many devices are looked at.
    pub max_devices: u64,
    /// How long it takes, in seconds.
    pub max_secs: i64,
    /// How many devices are named of those for which something changes or nothing is known.
    pub max_named: usize,
}

impl SimulationLimits {
    /// The most devices that may be asked for.
    pub const MOST_DEVICES: u64 = 1_000_000;
    /// The longest time that may be asked for, in seconds.
    pub const MOST_SECS: i64 = 60;
    /// The most names that may be asked for.
    pub const MOST_NAMED: usize = 1000;
}

impl Default for SimulationLimits {
    fn default() -> Self {
        Self { max_devices: 100_000, max_secs: 10, max_named: 20 }
    }
}

/// What a change would mean for known devices, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Simulation {
    /// How many devices were looked at.
    pub n_devices: u64,
    /// For how many of them nothing changes.
    pub n_unchanged: u64,
    /// What changes for how many of the others, or that it is not known; the most frequent first.
    pub effects: Vec<(SimulatedEffect, u64)>,
    /// The first of the others.
    pub named: Vec<(RegistrationId, SimulatedEffect)>,
    /// Why not all devices that come into question were looked at, if they were not.
    pub stopped: Option<SimulationStop>,
}

/// Why a simulation stopped early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimulationStop {
    /// There are more devices than it was to look at.
    Devices,
    /// It took too long.
    Time,
}

/// What a change means for a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SimulatedEffect {
    /// It is no longer admitted.
    Loses {
        /// By what it was.
        was: SimulatedEntry,
    },
    /// It is admitted, and was not.
    Gains {
        /// By what.
        by: SimulatedEntry,
    },
    /// It is admitted by another entry: it comes back through that one.
    Moves {
        /// By what it was.
        from: SimulatedEntry,
        /// By what it is.
        to: SimulatedEntry,
    },
    /// Nobody can tell.
    Unknown(SimulatedUnknown),
}

/// Why nobody can tell what a change means for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimulatedUnknown {
    /// What it proved itself with was not kept when it registered.
    NotKept,
    /// Its key is kept nowhere any more.
    NoKey,
    /// What it showed cannot be read any more.
    Unreadable,
}

/// The entry that admits a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SimulatedEntry {
    /// An individual enrollment, which is its own.
    Own,
    /// A group.
    Group(EnrollmentGroupId),
}

impl From<&EnrollmentRef> for SimulatedEntry {
    fn from(enrollment: &EnrollmentRef) -> Self {
        match enrollment {
            EnrollmentRef::Individual(_) => Self::Own,
            EnrollmentRef::Group(id) => Self::Group(id.clone()),
        }
    }
}

impl Simulation {
    /// For how many devices something changes as `is` says, or cannot be told.
    #[must_use]
    pub fn count(&self, is: impl Fn(&SimulatedEffect) -> bool) -> u64 {
        self.effects.iter().filter(|(effect, _)| is(effect)).map(|(_, n)| n).sum()
    }
}
