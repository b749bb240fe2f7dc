//! Ports: what the use cases need of the outside world.

use async_trait::async_trait;
use decide::register::{Answer, Question};
use model::{Fresh, Timestamp};

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
    };
    let mut counter = [0; 4];
    entropy.fill(&mut fresh.etag);
    entropy.fill(&mut fresh.operation);
    entropy.fill(&mut fresh.primary_key);
    entropy.fill(&mut fresh.secondary_key);
    entropy.fill(&mut counter);
    fresh.counter = u32::from_be_bytes(counter);
    fresh
}

/// The hook of a version that calls no webhooks yet: every question fails, and the device is told
/// why.
#[derive(Debug, Clone, Copy)]
pub struct NoAllocationHook;

#[async_trait]
impl AllocationHook for NoAllocationHook {
    async fn ask(&self, _question: &Question) -> Answer {
        Answer::Failed(
            "Custom allocation failed: this version of Induct does not call allocation webhooks. \
             Choose hashed, geoLatency or static in the enrollment."
                .to_owned(),
        )
    }
}
