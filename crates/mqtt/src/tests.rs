//! The door over a stream in memory, with a real store behind it.

mod connect;
mod provisioning;
pub(crate) mod scene;
