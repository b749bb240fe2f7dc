//! An instance over the embedded store, with a clock that stands still and dice that are the same
//! on every run.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use decide::{attestation::AttestSettings, manage::DEFAULT_QUOTAS, register::RegisterSettings};
use induct_app::{
    App, AppSettings,
    device::HubLimits,
    first_start::{self, Declared, DeclaredHub},
    limits::RateSettings,
    ports::{Clock, Entropy, NoAllocationHook},
};
use model::{AllocationPolicy, Caller, HubName, IdScope, Quotas, Timestamp};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings, SqliteStore};
use tempfile::TempDir;
use testkit::NOW;

/// The ID scope.
pub(crate) const SCOPE: &str = "0ne00ABCDEF";

pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Counts up: every draw is different, and the same on every run.
#[derive(Default)]
pub(crate) struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let bytes: [u8; 64] = testkit::entropy::bytes(n, "entropy");
        buffer.copy_from_slice(&bytes[..buffer.len()]);
    }
}

/// Use cases with what they stand on.
pub(crate) struct Instance {
    pub(crate) app: App,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entropy: Arc<CountingEntropy>,
    pub(crate) clock: Arc<FixedClock>,
    /// Deletes the store when it goes.
    pub(crate) _folder: TempDir,
}

pub(crate) fn hub_name(text: &str) -> HubName {
    HubName::parse(&format!("{text}.example.test")).unwrap()
}

/// An operator at this machine.
pub(crate) fn by() -> Caller {
    Caller { policy: "ana".to_owned(), address: Some([127, 0, 0, 1].into()) }
}

/// An instance whose file declares these two hubs.
pub(crate) async fn instance() -> Instance {
    instance_with(&["hub-1", "hub-2"], DEFAULT_QUOTAS, RateSettings::default()).await
}

pub(crate) async fn instance_with(hubs: &[&str], quotas: Quotas, rates: RateSettings) -> Instance {
    let entropy = Arc::new(CountingEntropy::default());
    let (folder, store) = open(hubs, &entropy).await;
    let clock = Arc::new(FixedClock);
    let settings = settings(quotas, rates, HubLimits::default());
    let (under, time, dice) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
    let app = App::new(under, time, dice, Arc::new(NoAllocationHook), settings);
    Instance { app, store, entropy, clock, _folder: folder }
}

/// A new store with these built-in hubs.
pub(crate) async fn open(hubs: &[&str], entropy: &CountingEntropy) -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        path: folder.path().join("induct.db"),
        n_readers: 2,
        max_waiting: 256,
        max_batch: 64,
        master_key: MasterKey::generate([42; 32]),
    };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(settings).unwrap());
    let declare = |name: &&str| DeclaredHub {
        name: hub_name(name),
        weight: 1,
        apply_allocation_policy: true,
    };
    let declared = Declared {
        hubs: hubs.iter().map(declare).collect(),
        allocation_policy: AllocationPolicy::Hashed,
    };
    first_start::prepare(&*store, entropy, &FixedClock, &declared).await.unwrap();
    (folder, store)
}

/// Settings without surprises.
pub(crate) fn settings(quotas: Quotas, rates: RateSettings, hub_limits: HubLimits) -> AppSettings {
    AppSettings {
        service_hosts: vec!["localhost".to_owned()],
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope: IdScope::parse(SCOPE).unwrap(),
                clock_skew_secs: 300,
                limits: attest::chain::Limits::default(),
            },
            max_registrations: quotas.registrations,
        },
        quotas,
        rates,
        hub_limits,
    }
}
