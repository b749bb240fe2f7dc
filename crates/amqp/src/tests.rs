//! The door over a stream in memory, with a real store behind it.

pub(crate) mod client;
mod connections;
mod logins;
mod logs;
pub(crate) mod scene;
