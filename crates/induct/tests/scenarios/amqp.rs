//! Devices that speak AMQP, each in the manner of the vendor's SDK it stands for, over TLS and in
//! WebSockets: they provision, with keys, certificates and TPMs (D §3).
//!
//! What lives here is scripted frame by frame, so that an order of frames that only one SDK insists
//! on is insisted on here as well. The SDKs themselves are in `conformance/`.

mod line;
mod provisioning;
mod sasl;
mod sdk;
mod session;
mod tpm;
