//! The MQTT door: packets, topics, and the sessions of devices that speak MQTT 3.1.1.
//!
//! [`proto`] is bytes only and [`topic`] text only; neither has sockets or waits, so the server,
//! the simulator and the tests share them. [`MqttDoor`] serves connections: provisioning sessions
//! and hub sessions, told apart by the user name. What deliberately does not live here: TLS,
//! WebSockets and listening (`listen`), and every rule about devices (`app` and below).

mod door;
mod hub;
mod link;
mod provisioning;
mod settings;
#[cfg(test)]
mod tests;

pub mod proto;
pub mod topic;

pub use door::{MqttDoor, Peer};
pub use settings::MqttSettings;
