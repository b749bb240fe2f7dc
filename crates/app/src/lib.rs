//! Use cases: read the facts, ask `decide`, write the change set.
//!
//! Each is so thin that it reads like a recipe. The ports for what a decision may not touch
//! (clock, entropy, the operator's webhook) live here too. What does not: any rule (`decide`), JSON
//! and status codes (`wire`), any one database (`store-*`).

pub mod access;
pub mod attempts;
pub mod audit;
pub mod bans;
pub mod ca_certificates;
pub mod crls;
pub mod deprovision;
pub mod device;
pub mod endorsements;
pub mod enrollments;
pub mod explain;
pub mod first_start;
pub mod group_settings;
pub mod hub;
pub mod limits;
pub mod linked_hubs;
pub mod live;
pub mod log;
pub mod orphans;
pub mod policies;
pub mod ports;
pub mod provisioning;
pub mod refusals;
pub mod registrations;
pub mod remote;
pub mod service;
pub mod simulate;
pub mod tpm;
pub mod visits;

use std::sync::Arc;

use decide::{enrollment::EnrollmentLimits, register::RegisterSettings};
use model::{Fresh, Quotas, Timestamp};
use store::{CommitError, Store, StoreFault};
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::{
    attempts::Attempts,
    crls::Crls,
    device::HubLimits,
    limits::{KnownSettings, Limits, RateSettings},
    live::Live,
    ports::{AllocationHook, Clock, Entropy},
    refusals::{Refusals, StormSettings},
};

/// How often a use case reads again when something it decided from changed meanwhile.
const MAX_ATTEMPTS: usize = 64;

/// What the operator configured.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// Host names of the provisioning service, in lower case, without port.
    pub service_hosts: Vec<String>,
    /// For registrations.
    pub register: RegisterSettings,
    /// How much there may be of what is counted.
    pub quotas: Quotas,
    /// How often may be asked.
    pub rates: RateSettings,
    /// What hubs take from their devices and keep for them.
    pub hub_limits: HubLimits,
}

/// Induct, without its doors.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    allocation_hook: Arc<dyn AllocationHook>,
    remote: Arc<remote::Remote>,
    settings: Arc<AppSettings>,
    limits: Arc<Limits>,
    known_settings: Arc<KnownSettings>,
    live: Arc<Live>,
    deprovisionings: Arc<deprovision::Deprovisionings>,
    refusals: Arc<Refusals>,
    attempts: Arc<Attempts>,
    crls: Arc<Crls>,
    simulations: Arc<Semaphore>,
}

/// A “no”: a refusal, which is an answer, or a fault, which is ours.
#[derive(Debug, Error)]
pub enum No<R> {
    /// The request was understood and declined.
    #[error("refused: {0}")]
    Refused(R),
    /// Something of ours failed. Whoever handles it logs the whole chain, once.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

impl App {
    /// Puts the ports together. Of the number of registrations, the figure in the quotas counts.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        allocation_hook: Arc<dyn AllocationHook>,
        mut settings: AppSettings,
    ) -> Self {
        settings.register.max_registrations = settings.quotas.registrations;
        let limits = Arc::new(Limits::new(settings.rates));
        let remote = Arc::default();
        let refusals = Arc::new(Refusals::new(StormSettings::default(), store.marks()));
        Self {
            store,
            clock,
            entropy,
            allocation_hook,
            remote,
            settings: Arc::new(settings),
            limits,
            known_settings: Arc::default(),
            live: Arc::default(),
            deprovisionings: Arc::default(),
            refusals,
            attempts: Arc::new(Attempts::new(StormSettings::default())),
            crls: Arc::default(),
            simulations: Arc::new(Semaphore::new(simulate::MAX_AT_ONCE)),
        }
    }

    /// What the operator configured.
    #[must_use]
    pub fn settings(&self) -> &AppSettings {
        &self.settings
    }

    /// The present moment, for answers that carry one.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the store answers: a read as small as any.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check_health(&self) -> Result<(), StoreFault> {
        self.store.instance_setting(first_start::ID_SCOPE_SETTING).await.map(drop)
    }

    /// A tracking ID for a request: a random GUID.
    #[must_use]
    pub fn tracking_id(&self) -> String {
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        model::guid(random)
    }

    fn enrollment_limits(&self) -> EnrollmentLimits {
        EnrollmentLimits::from(&self.settings.quotas)
    }

    fn fresh(&self) -> Fresh {
        ports::fresh(&*self.entropy)
    }
}

/// What a write of an operator's comes to, decided and not written yet.
struct ToWrite<T> {
    /// What is there.
    existing: Option<T>,
    /// What takes its place.
    written: T,
    /// When it was decided.
    now: Timestamp,
}

/// What became of an attempt to commit.
enum Attempt {
    Done,
    /// Read again.
    Again,
}

fn attempted<R>(outcome: Result<(), CommitError>) -> Result<Attempt, No<R>> {
    Ok(if unless_conflict(outcome)? { Attempt::Done } else { Attempt::Again })
}

/// Whether it was written; false when something it was decided from has changed.
fn unless_conflict(outcome: Result<(), CommitError>) -> Result<bool, StoreFault> {
    match outcome {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}
