//! Assignments to remote hubs, as claims: against remote hubs in memory.

mod faults;
mod remote;
mod transitions;
