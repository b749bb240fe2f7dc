//! What travels: texts and JSON documents of the device API, the operator API and the hub, to and
//! from the types of `model`, and the tables that turn every refusal into status, code and
//! sentence.
//!
//! Requests are parsed into [`model::Json`] once and read member by member, so that every
//! complaint names the member's path; answers are built as [`model::Json`] in the exact order the
//! vendors' clients have seen. What deliberately does not live here: sockets, headers as a
//! transport carries them, storage, and every rule that needs to know what is stored.

pub mod connection_string;
pub mod continuation;
pub mod device;
pub mod error;
pub mod headers;
pub mod hub;
pub mod manage;
pub mod operator;
pub mod pem;
pub mod percent;
mod read;
pub mod remote;
pub mod sas;
pub mod time;
pub mod webhook;
mod write;

pub use error::{ErrorRow, RequestFault, error_body};
pub use read::Malformed;
