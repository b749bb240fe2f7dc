//! Groups, and hubs with the service's settings, that were read and parsed before: valid for one
//! version of the set of each.
//!
//! The version is read in the snapshot that asks, so a stale answer is not possible.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{CaCertificate, EnrollmentGroup, HubSettings, ServiceSettings, Version};

/// How many different sets of owners are remembered. Whoever has a key can name CAs of ours in
/// certificates of its own making, so these figures bound what strangers make us remember.
const MAX_CHAINS: usize = 64;

/// How many groups a set may lead to that is worth remembering; a device's chain leads to a few.
const MAX_GROUPS: usize = 8;

/// Shared by all readers of a store.
#[derive(Default)]
pub(crate) struct Cache {
    pub(crate) groups: GroupCache,
    configured: Mutex<Option<(Version, Arc<Configured>)>>,
}

/// How the service is configured.
pub(crate) struct Configured {
    pub(crate) settings: ServiceSettings,
    /// What allocation knows.
    pub(crate) hubs: Arc<HubSettings>,
}

impl Cache {
    /// How the service is configured in a version.
    pub(crate) fn configured(&self, version: Version) -> Option<Arc<Configured>> {
        let cached = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().filter(|(of, _)| *of == version).map(|(_, found)| Arc::clone(found))
    }

    /// Remembers how the service is configured in a version, unless a newer one is known.
    pub(crate) fn keep_configured(&self, version: Version, configured: &Arc<Configured>) {
        let mut cached = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.as_ref().is_none_or(|(of, _)| *of < version) {
            *cached = Some((version, Arc::clone(configured)));
        }
    }
}

/// The part for groups.
#[derive(Default)]
pub(crate) struct GroupCache(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    version: Version,
    symmetric: Option<Arc<Vec<EnrollmentGroup>>>,
    chains: HashMap<Owners, ChainGroups>,
}

/// Where the certificates were found that a chain leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owners {
    /// Keys of groups that keep one of them themselves.
    pub(crate) groups: BTreeSet<String>,
    /// Names of those in the CA store.
    pub(crate) stored: BTreeSet<String>,
}

/// The groups that a chain may belong to, and the certificates of the CA store it needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChainGroups {
    pub(crate) groups: Arc<Vec<EnrollmentGroup>>,
    pub(crate) certificates: Arc<Vec<CaCertificate>>,
}

impl GroupCache {
    /// The symmetric-key groups of a version.
    pub(crate) fn symmetric(&self, version: Version) -> Option<Arc<Vec<EnrollmentGroup>>> {
        let cached = self.lock();
        cached.symmetric.clone().filter(|_| cached.version == version)
    }

    /// Remembers the symmetric-key groups of a version.
    pub(crate) fn keep_symmetric(&self, version: Version, groups: &Arc<Vec<EnrollmentGroup>>) {
        if let Some(mut cached) = self.lock_for(version) {
            cached.symmetric = Some(Arc::clone(groups));
        }
    }

    /// The groups of a chain in a version.
    pub(crate) fn chain(&self, version: Version, owners: &Owners) -> Option<ChainGroups> {
        let cached = self.lock();
        cached.chains.get(owners).filter(|_| cached.version == version).cloned()
    }

    /// Remembers the groups of a chain in a version.
    pub(crate) fn keep_chain(&self, version: Version, owners: Owners, found: &ChainGroups) {
        if found.groups.len() > MAX_GROUPS {
            return;
        }
        if let Some(mut cached) = self.lock_for(version) {
            if cached.chains.len() >= MAX_CHAINS {
                cached.chains.clear();
            }
            cached.chains.insert(owners, found.clone());
        }
    }

    /// The cache made ready for a version; `None` when it knows a newer one already.
    fn lock_for(&self, version: Version) -> Option<MutexGuard<'_, Cached>> {
        let mut cached = self.lock();
        if cached.version > version {
            return None;
        }
        if cached.version < version {
            *cached = Cached { version, ..Cached::default() };
        }
        Some(cached)
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
