//! The real binary, from outside: started on a port of the system's choice in a folder of its own,
//! spoken to over TLS.
//!
//! One test program for all of it, so that it is linked once and [`harness`] is shared.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "in a test program, what cannot go on is a failed test, in helpers as well"
)]

mod amqp_client;
mod amqp_crowd;
mod amqp_cut_off;
mod amqp_kill;
mod amqp_scene;
mod backup;
mod bans;
mod certificates;
mod command_line;
mod data_plane;
mod demo;
mod deprovision;
mod devices;
mod explain;
mod first_start;
mod harness;
mod kill;
mod limits;
mod manage;
mod mqtt_crowd;
mod mqtt_kill;
mod readme;
mod simulate;
mod simulate_change;
mod start_and_stop;
mod tpm;
