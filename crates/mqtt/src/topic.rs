//! User names and topics: what devices write into them, and what we send them under.
//!
//! Text in, values out; nothing here knows packets, connections or what a request leads to.
//! Literals are compared without regard to letter case (the vendor's C# client does so as well,
//! H §4.2.5) and always sent as the sources spell them; ids are compared as they are.

pub mod bag;
mod hub;
mod provisioning;
mod query;
mod user_name;

pub use bag::BadBag;
pub use hub::{HubFilter, HubRequest, desired_changed, devicebound, method_call, twin_response};
pub use provisioning::{
    ProvisioningRequest, RESPONSE_FILTER, provisioning_request, provisioning_response,
};
pub use user_name::{BadUserName, HubUser, MAX_USER_NAME_BYTES, ProvisioningUser, UserName};

/// The longest `$rid` that is taken, in bytes. It is echoed, so it must leave room in a topic; the
/// longest that a known client sends is a GUID.
pub const MAX_RID_BYTES: usize = 1024;
