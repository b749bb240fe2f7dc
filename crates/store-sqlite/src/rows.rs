//! Rows: what of the model goes into which column. The third family of types beside the model and
//! the wire, with plain conversions between.
//!
//! Every file lists its columns once, in the order in which `bind` writes and `read` takes them.

pub(crate) mod attempt;
pub(crate) mod audit;
pub(crate) mod ban;
pub(crate) mod certificate;
pub(crate) mod challenge;
pub(crate) mod connection;
pub(crate) mod crl;
pub(crate) mod device;
pub(crate) mod enrollment;
pub(crate) mod event;
pub(crate) mod former;
pub(crate) mod grounds;
pub(crate) mod hub;
pub(crate) mod message;
pub(crate) mod policy;
pub(crate) mod properties;
pub(crate) mod receipt;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod terms;
