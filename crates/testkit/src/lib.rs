//! Raw material for tests: a fixed moment, a test CA, SAS tokens in the styles of all clients, a
//! TPM in software, and random bytes that are the same on every run.
//!
//! What lives here makes evidence, the way devices and their owners do. What deliberately does
//! not: anything that checks evidence, scenes with enrollments (those live with the crate whose
//! facts they build), and anything that opens a socket or a file.
#![expect(
    clippy::expect_used,
    reason = "material for tests: what cannot be made is a mistake in the test that asks for it"
)]

pub mod certificates;
pub mod entropy;
pub mod malleable;
pub mod sas;
pub mod tpm;

pub use certificates::{Ca, Credential, KeyKind, Profile, Revocations};
pub use entropy::fresh;
pub use malleable::with_other_signature;
pub use sas::{ClientStyle, DeviceToken, ServiceToken};
pub use tpm::SoftTpm;

use model::Timestamp;

/// The moment at which tests take place: 2026-01-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::from_unix_secs(1_767_225_600);
