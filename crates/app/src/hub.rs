//! An operator uses a hub: identities, twins, queries, messages, methods, events.

mod events;
mod messages;
mod methods;
mod registry;
mod search;
mod twins;

pub use decide::hub::{
    message::MessageDraft,
    method::{MethodCall, MethodDraft, check as check_method},
};
pub use events::{EventCursor, EventPage, EventStart};
pub use methods::MethodReply;
pub use search::{QueryCursor, QueryPage, Rows};
