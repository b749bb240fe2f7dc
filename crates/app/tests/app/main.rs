//! The use cases over the embedded store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod instance;
mod manage;
mod races;
