//! How a store fails.

use std::error::Error as StdError;

use thiserror::Error;

/// A store failed. Its causes are kept; whoever handles it prints the chain once.
#[derive(Debug, Error)]
#[error("the store failed while it {doing}")]
pub struct StoreFault {
    /// What it was doing, such as `read the facts of a registration`.
    pub doing: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn StdError + Send + Sync>,
}

impl StoreFault {
    /// A fault with its cause.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }
}

/// Why a change set was not written.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Something it was decided from has changed. Nothing was written; read again.
    #[error("what the decision rests on has changed meanwhile")]
    Conflict,
    /// The store failed. Nothing was acknowledged.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}
