//! Shared access policies: a name, two keys, and what they allow.

use std::fmt;

use crate::{Etag, HubName, SymmetricKeys, Timestamp, Version};

/// What a policy can allow. The first six belong to the provisioning service (O §1.5), the rest
/// to a hub (H §2.2); `DeviceConnect` exists on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Change the service's configuration.
    ServiceConfig,
    /// Read enrollments.
    EnrollmentRead,
    /// Write enrollments; contains the three rights that read or touch less (O §1.5).
    EnrollmentWrite,
    /// Read registration records.
    RegistrationStatusRead,
    /// Delete registration records.
    RegistrationStatusWrite,
    /// Connect as a device.
    DeviceConnect,
    /// Read a hub's device identities.
    RegistryRead,
    /// Write a hub's device identities.
    RegistryWrite,
    /// Use a hub's service-side endpoints: twins, queries.
    ServiceConnect,
}

impl Right {
    /// Every right, in the order they are listed in.
    pub const ALL: [Self; 9] = [
        Self::ServiceConfig,
        Self::DeviceConnect,
        Self::EnrollmentRead,
        Self::EnrollmentWrite,
        Self::RegistrationStatusRead,
        Self::RegistrationStatusWrite,
        Self::RegistryRead,
        Self::RegistryWrite,
        Self::ServiceConnect,
    ];

    /// The right's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServiceConfig => "ServiceConfig",
            Self::EnrollmentRead => "EnrollmentRead",
            Self::EnrollmentWrite => "EnrollmentWrite",
            Self::RegistrationStatusRead => "RegistrationStatusRead",
            Self::RegistrationStatusWrite => "RegistrationStatusWrite",
            Self::DeviceConnect => "DeviceConnect",
            Self::RegistryRead => "RegistryRead",
            Self::RegistryWrite => "RegistryWrite",
            Self::ServiceConnect => "ServiceConnect",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// The bits a right stands for, those of the weaker rights it contains included.
    const fn reach(self) -> u16 {
        match self {
            Self::EnrollmentWrite => {
                self.bit()
                    | Self::EnrollmentRead.bit()
                    | Self::RegistrationStatusRead.bit()
                    | Self::RegistrationStatusWrite.bit()
            }
            Self::RegistrationStatusWrite => self.bit() | Self::RegistrationStatusRead.bit(),
            Self::RegistryWrite => self.bit() | Self::RegistryRead.bit(),
            _ => self.bit(),
        }
    }
}

/// A set of rights. A stronger right contains the weaker ones (O §1.5, "rights collapse").
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u16);

impl Rights {
    /// The set of these rights and all that they contain.
    #[must_use]
    pub fn of(rights: &[Right]) -> Self {
        Self(rights.iter().fold(0, |bits, right| bits | right.reach()))
    }

    /// Whether the set allows this.
    #[must_use]
    pub const fn allow(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// The set as it is listed: without the rights that a stronger one in it contains.
    #[must_use]
    pub fn collapsed(self) -> Vec<Right> {
        let contained = |right: Right| {
            Right::ALL.iter().any(|stronger| {
                *stronger != right && self.allow(*stronger) && stronger.reach() & right.bit() != 0
            })
        };
        Right::ALL.into_iter().filter(|r| self.allow(*r) && !contained(*r)).collect()
    }

    /// The bits, for the store.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Takes bits back from the store; bits that mean nothing are dropped.
    #[must_use]
    pub fn from_bits(bits: u16) -> Self {
        let known = Right::ALL.iter().fold(0, |all, right| all | right.bit());
        Self(bits & known)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.collapsed()).finish()
    }
}

/// Whom a policy opens: the provisioning service or one hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// The provisioning service.
    Service,
    /// One built-in hub.
    Hub(HubName),
}

/// A shared access policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    /// What it opens.
    pub scope: PolicyScope,
    /// Its name, `skn` in a token. Compared exactly.
    pub name: String,
    /// Its keys; either opens.
    pub keys: SymmetricKeys,
    /// What it allows.
    pub rights: Rights,
    /// The version mark.
    pub etag: Etag,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_enrollments_contains_the_weaker_rights_and_swallows_their_names() {
        let rights =
            Rights::of(&[Right::ServiceConfig, Right::DeviceConnect, Right::EnrollmentWrite]);
        assert!(rights.allow(Right::EnrollmentRead));
        assert!(rights.allow(Right::RegistrationStatusWrite));
        assert!(!rights.allow(Right::RegistryRead));
        assert_eq!(
            rights.collapsed(),
            [Right::ServiceConfig, Right::DeviceConnect, Right::EnrollmentWrite]
        );
        assert_eq!(Rights::of(&[Right::EnrollmentRead]).collapsed(), [Right::EnrollmentRead]);
    }

    #[test]
    fn no_rights_allow_nothing() {
        assert!(Right::ALL.iter().all(|right| !Rights::default().allow(*right)));
    }
}
