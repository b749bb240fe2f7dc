//! Decisions: plain functions from facts to an answer.
//!
//! Whether a device may register, where it goes, what its identity and twin become, what an
//! operator's change means. Nothing here waits, looks at a clock, rolls dice or opens a socket:
//! time and randomness are arguments. Every decision on a device returns, beside its answer, the
//! steps that led to it.

pub mod access;
pub mod allocate;
pub mod attestation;
pub mod ban;
pub mod deprovision;
pub mod enrollment;
pub mod explain;
pub mod hub;
pub mod manage;
pub mod orphans;
pub mod pending;
pub mod record;
pub mod register;
pub mod revocation;
#[cfg(any(test, feature = "scenes"))]
pub mod scenes;
pub mod simulate;
pub mod tpm;
