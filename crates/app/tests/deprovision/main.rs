//! Deprovisioning over the embedded store: plan, apply, receipt, and every way to be interrupted.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../app/gated.rs"]
#[expect(dead_code, reason = "shared with the other tests of the use cases")]
mod gated;
#[path = "../app/instance.rs"]
#[expect(dead_code, reason = "shared with the other tests of the use cases")]
mod instance;
#[path = "../app/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of the use cases")]
mod stage;

mod anywhere;
mod apply;
mod bounded;
mod fleet;
mod found;
mod interrupted;
mod never_again;
mod remote;
mod remote_turns;
mod selections;
mod sessions;
