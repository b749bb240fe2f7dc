//! An operator uses a hub's registry: identities, twins, queries.

mod registry;
mod search;
mod twins;

pub use search::{QueryCursor, QueryPage, Rows};
