//! What an idle device takes: tens of thousands are idle at once.

use std::sync::Arc;

use super::super::run;
use crate::{
    driver::Shared,
    endpoint::{Inbox, Line},
};

/// The size of what a function waits with.
fn size_of_future<Future>(_: fn(Arc<Shared>, Inbox, Line) -> Future) -> usize {
    size_of::<Future>()
}

#[test]
fn a_device_is_small() {
    let n_bytes = size_of_future(run);
    assert!(n_bytes <= 2560, "{n_bytes}");
}
