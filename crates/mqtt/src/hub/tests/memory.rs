//! What an idle session takes: tens of thousands are idle at once.

use tokio::{io::DuplexStream, sync::watch};

use super::super::serve;
use crate::{
    door::{Caller, Context},
    link::Link,
    topic::HubUser,
};

/// The size of what a function waits with.
fn size_of_future<'a, Future>(
    _: fn(
        &'a Context,
        &'a mut Link<DuplexStream>,
        Caller,
        HubUser,
        &'a mut watch::Receiver<bool>,
    ) -> Future,
) -> usize {
    size_of::<Future>()
}

#[test]
fn a_session_is_small() {
    let n_bytes = size_of_future(serve::<DuplexStream>);
    assert!(n_bytes <= 1792, "{n_bytes}");
}
