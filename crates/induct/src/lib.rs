//! Induct: configuration, wiring, the server and the command line.
//!
//! It only wires; no rules of provisioning live here. It is a library so that the binary stays
//! thin and the whole-server tests use the same HTTPS client as the command line.

pub mod certificates;
pub mod cli;
pub mod client;
pub mod config;
pub mod crl_fetcher;
pub mod data_folder;
pub mod demo;
pub mod device_link;
pub mod log;
pub mod login;
pub mod master_key;
pub mod ports;
pub mod remote_hub;
pub mod serve;
pub mod simulate;
pub mod webhook;
mod websocket_doors;
pub mod wiring;
