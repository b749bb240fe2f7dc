//! A whole session over a stream of bytes, with an instance behind it.

mod client;
mod connect;
mod ends;
mod events;
mod memory;
mod messages;
mod methods;
mod modules;
mod room;
mod scene;
mod subscriptions;
mod transcript;
mod twins;
mod wills;
