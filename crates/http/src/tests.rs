//! The door over a real store, with a fixed clock: a request goes in, an answer comes out.

mod access;
mod bad_input;
mod bulk;
mod connection;
mod device;
mod enrollments;
mod faults;
mod hub_identities;
mod hub_queries;
mod hub_twins;
mod paging;
mod scene;
mod tls;
