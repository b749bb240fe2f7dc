//! A request body from anyone, at every door that reads one: read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{device, hub, manage, operator};

fuzz_target!(|body: &[u8]| {
    let _ = operator::parse_individual(body);
    let _ = operator::parse_group(body);
    let _ = operator::parse_bulk_individuals(body);
    let _ = operator::parse_bulk_groups(body);
    let _ = operator::check_query(body);
    let _ = manage::parse_tpm_group(body);
    let _ = manage::parse_endorsement(body);
    let _ = device::parse_register(body);
    let _ = hub::parse_identity(body);
    let _ = hub::parse_twin(body);
    let _ = hub::parse_bulk(body);
});
