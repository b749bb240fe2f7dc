//! Who answers which links.

use std::sync::Arc;

use crate::{
    address::EndpointKey,
    cbs,
    driver::{Running, Shared},
    endpoint::{Inbox, Line},
    hub, provisioning, service,
};

/// Starts whoever answers the links of this kind.
pub(crate) fn start(key: &EndpointKey, shared: Arc<Shared>, inbox: Inbox, line: Line) -> Running {
    match key {
        EndpointKey::Provisioning => Box::pin(provisioning::run(shared, inbox, line)),
        EndpointKey::Cbs => Box::pin(cbs::run(shared, inbox, line)),
        EndpointKey::Device(_) => Box::pin(hub::run(shared, inbox, line)),
        EndpointKey::Service => Box::pin(service::run(shared, inbox, line)),
        // The driver refuses such links itself.
        EndpointKey::None => Box::pin(std::future::ready(())),
    }
}
