//! Devices that speak MQTT, each in the manner of the vendor's SDK it stands for, over TLS and in
//! WebSockets: they provision (D §2), work at their hub (H §4.2), are cut off (H §4.5.3) and come
//! back after a restart of the server.
//!
//! What lives here is scripted packet by packet, so that an order of packets that only one SDK
//! insists on is insisted on here as well. The SDKs themselves are in `conformance/`.

mod bans;
mod cut_off;
mod flood;
mod hub;
mod lifetime;
mod line;
mod provisioning;
mod restart;
mod sdk;
mod truth_table;
