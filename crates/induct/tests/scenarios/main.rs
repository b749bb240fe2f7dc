//! The procedures of the documentation, played on the real binary: `induct serve` in a folder of
//! its own on a port of its own, devices and operators over real TLS.
//!
//! What lives here asks only what a device, an operator of the service or an operator of a hub
//! can see over the wire, and what stands in the log. Rules are tested where they are decided.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what cannot be had is a failure of the test that asks for it, and whoever \
              reads the failure wants the server's log beside it"
)]

mod world;

mod allocation;
mod amqp;
mod bad_input;
mod ca_references;
mod certificate_rolling;
mod disenroll_group;
mod disenroll_individual;
mod exclude;
mod hub_identity;
mod mqtt;
mod records;
mod reprovision;
mod secrets;
mod transport;
mod update;
