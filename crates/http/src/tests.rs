//! The door over a real store, with a fixed clock: a request goes in, an answer comes out.

mod access;
mod audit_log;
mod bad_input;
mod bulk;
mod connection;
mod device;
mod enrollments;
mod event_streams;
mod events;
mod faults;
mod frozen;
mod hub_identities;
mod hub_methods;
mod hub_queries;
mod hub_twins;
mod limits;
mod manage_certificates;
mod manage_hubs;
mod manage_policies;
mod manage_service;
mod messages;
mod openapi;
mod paging;
mod scene;
mod secrets;
mod tls;
