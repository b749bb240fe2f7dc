//! Ports: what the use cases need of the outside world.

use std::time::Duration;

use async_trait::async_trait;
use decide::{
    manage::crls,
    pending::{RemoteDevice, RemoteFailure, RemoteHub, RemoteTwin},
    register::{Answer, Question},
};
use model::{
    DeviceId, EnrolledCertificate, Fresh, IdentityDraft, Precondition, Timestamp, TpmRandom,
    TwinDraft,
};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Rolls dice. Keys are made of it: it must be cryptographically secure.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Measures and waits. It never goes back, and knows nothing of the time of day.
#[async_trait]
pub trait Stopwatch: Send + Sync + 'static {
    /// How long it has been running.
    fn elapsed(&self) -> Duration;

    /// Waits for so long.
    async fn pause(&self, duration: Duration);
}

/// A stopwatch that nobody started: it shows nothing and waits for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStopwatch;

#[async_trait]
impl Stopwatch for NoStopwatch {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn pause(&self, _duration: Duration) {}
}

/// Asks the operator's webhook for a hub (D §5.11).
#[async_trait]
pub trait AllocationHook: Send + Sync + 'static {
    /// Asks, and says what came of it. Bounded in time by the implementation.
    async fn ask(&self, question: &Question) -> Answer;
}

/// The random bytes of one decision.
#[must_use]
pub fn fresh(entropy: &dyn Entropy) -> Fresh {
    let mut fresh = Fresh {
        etag: [0; 16],
        operation: [0; 16],
        primary_key: [0; 64],
        secondary_key: [0; 64],
        counter: 0,
        tpm: TpmRandom {
            key: [0; 32],
            inner: [0; 16],
            identity_seed: [0; 32],
            duplication_seed: [0; 32],
            obfuscation: [0; 32],
        },
    };
    let mut counter = [0; 4];
    entropy.fill(&mut fresh.etag);
    entropy.fill(&mut fresh.operation);
    entropy.fill(&mut fresh.primary_key);
    entropy.fill(&mut fresh.secondary_key);
    entropy.fill(&mut counter);
    fresh.counter = u32::from_be_bytes(counter);
    let TpmRandom { key, inner, identity_seed, duplication_seed, obfuscation } = &mut fresh.tpm;
    for bytes in [&mut key[..], inner, identity_seed, duplication_seed, obfuscation] {
        entropy.fill(bytes);
    }
    fresh
}

/// Speaks to hubs that are not ours (H §2, §3). Every call is bounded in time by the
/// implementation, well below [`decide::pending::LEASE_SECS`], and can be repeated.
#[async_trait]
pub trait RemoteHubs: Send + Sync + 'static {
    /// A device's identity, if there is one.
    async fn find_device(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteDevice>, RemoteFailure>;

    /// A device's twin, if there is one.
    async fn find_twin(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteTwin>, RemoteFailure>;

    /// Creates an identity (without a precondition) or replaces it (with one).
    async fn put_device(
        &self,
        hub: &RemoteHub,
        identity: &IdentityDraft,
        precondition: &Precondition,
    ) -> Result<(), RemoteFailure>;

    /// Replaces a twin's tags and desired properties.
    async fn put_twin(
        &self,
        hub: &RemoteHub,
        id: &DeviceId,
        twin: &TwinDraft,
    ) -> Result<(), RemoteFailure>;

    /// Deletes an identity in any version, and its twin with it.
    async fn delete_device(&self, hub: &RemoteHub, id: &DeviceId) -> Result<(), RemoteFailure>;

    /// Finds out whether our credentials have the rights that provisioning needs, changing
    /// nothing.
    async fn probe(&self, hub: &RemoteHub) -> Result<(), RemoteFailure>;
}

/// Fetches revocation lists, and takes large ones apart where nobody waits for it.
#[async_trait]
pub trait CrlFetcher: Send + Sync + 'static {
    /// Whether a URL is asked at all.
    ///
    /// # Errors
    /// Why not, in words for an operator.
    fn may_ask(&self, url: &str) -> Result<(), String>;

    /// Asks a URL for a list that is newer than the one with this entity tag, and says what came of
    /// it. Bounded in time and size by the implementation, which follows no redirects.
    async fn fetch(&self, url: &str, entity_tag: Option<&str>) -> CrlAnswer;

    /// [`crls::read`], which may take a second.
    async fn read(
        &self,
        der: Vec<u8>,
        namesakes: Vec<EnrolledCertificate>,
        now: Timestamp,
    ) -> Result<crls::Read, crls::NotTaken> {
        crls::read(&der, namesakes, now)
    }
}

/// What a URL answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlAnswer {
    /// There is no newer list.
    NotModified,
    /// A list, or what is said to be one.
    List {
        /// Its DER.
        der: Vec<u8>,
        /// Its entity tag, if it has one that is kept.
        entity_tag: Option<String>,
    },
    /// None; why, in words for an operator.
    Failed(String),
}

/// The port of a process that was given none: nothing is fetched.
#[derive(Debug, Clone, Copy)]
pub struct NoCrlFetcher;

#[async_trait]
impl CrlFetcher for NoCrlFetcher {
    fn may_ask(&self, _url: &str) -> Result<(), String> {
        Err("this process fetches no revocation lists".to_owned())
    }

    async fn fetch(&self, url: &str, _entity_tag: Option<&str>) -> CrlAnswer {
        CrlAnswer::Failed(self.may_ask(url).err().unwrap_or_default())
    }
}

/// Wakes whoever works off what remote hubs have to be told.
pub trait Bell: Send + Sync + 'static {
    /// There is something to do now.
    fn ring(&self);
}

/// The bell of a process that works nothing off; another one looks at its due moments anyway.
#[derive(Debug, Clone, Copy)]
pub struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

/// The port of a process that was given none: no remote hub can be reached.
#[derive(Debug, Clone, Copy)]
pub struct NoRemoteHubs;

impl NoRemoteHubs {
    fn unreachable<T>(hub: &RemoteHub) -> Result<T, RemoteFailure> {
        let name = &hub.name;
        Err(RemoteFailure::transient(format!("`{name}` cannot be reached from this process")))
    }
}

#[async_trait]
impl RemoteHubs for NoRemoteHubs {
    async fn find_device(
        &self,
        hub: &RemoteHub,
        _id: &DeviceId,
    ) -> Result<Option<RemoteDevice>, RemoteFailure> {
        Self::unreachable(hub)
    }

    async fn find_twin(
        &self,
        hub: &RemoteHub,
        _id: &DeviceId,
    ) -> Result<Option<RemoteTwin>, RemoteFailure> {
        Self::unreachable(hub)
    }

    async fn put_device(
        &self,
        hub: &RemoteHub,
        _identity: &IdentityDraft,
        _precondition: &Precondition,
    ) -> Result<(), RemoteFailure> {
        Self::unreachable(hub)
    }

    async fn put_twin(
        &self,
        hub: &RemoteHub,
        _id: &DeviceId,
        _twin: &TwinDraft,
    ) -> Result<(), RemoteFailure> {
        Self::unreachable(hub)
    }

    async fn delete_device(&self, hub: &RemoteHub, _id: &DeviceId) -> Result<(), RemoteFailure> {
        Self::unreachable(hub)
    }

    async fn probe(&self, hub: &RemoteHub) -> Result<(), RemoteFailure> {
        Self::unreachable(hub)
    }
}

/// The hook of a process that calls no webhooks, such as a test: every question fails, and the
/// device is told why.
#[derive(Debug, Clone, Copy)]
pub struct NoAllocationHook;

#[async_trait]
impl AllocationHook for NoAllocationHook {
    async fn ask(&self, _question: &Question) -> Answer {
        Answer::Failed(
            "Custom allocation failed: this process calls no allocation webhooks. \
             Choose hashed, geoLatency or static in the enrollment."
                .to_owned(),
        )
    }
}
