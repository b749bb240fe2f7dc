//! Decisions of a hub: who may connect, what a registry call does to an identity, what a write does
//! to a twin, what becomes of events and messages, which devices a query means, and what an
//! assignment makes of a device.
//!
//! What deliberately does not live here: reading and storing devices, JSON text, the order of a
//! listing, continuation tokens, and who may call (that is `decide::access`). Rules are those of
//! H §2.4 to §2.7, §2.10, §3, §6, §7 and §8.

pub mod assignment;
pub mod bulk;
pub mod cause;
pub mod connect;
pub mod event;
pub mod identity;
pub mod message;
pub mod method;
pub mod query;
pub mod twin;

#[cfg(test)]
mod scene;
