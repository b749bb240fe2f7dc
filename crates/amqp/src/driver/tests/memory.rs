//! What an idle connection takes: tens of thousands are idle at once.

use tokio::io::DuplexStream;

use super::*;
use crate::{AmqpDoor, Peer};

/// The size of what a function waits with.
fn size_of_future<'a, Future>(
    _: fn(
        Arc<Shared>,
        &'a mut FrameStream<DuplexStream>,
        Start,
        &'a mut watch::Receiver<bool>,
    ) -> Future,
) -> usize {
    size_of::<Future>()
}

/// The same of a connection.
fn size_of_served<Future>(
    _: fn(&AmqpDoor, Box<DuplexStream>, Peer, watch::Receiver<bool>) -> Future,
) -> usize {
    size_of::<Future>()
}

#[test]
fn a_conversation_is_small() {
    let n_bytes = size_of_future(drive::<DuplexStream>);
    assert!(n_bytes <= 1024, "{n_bytes}");
}

#[test]
fn a_connection_is_small() {
    let n_bytes = size_of_served(AmqpDoor::serve_stream::<Box<DuplexStream>>);
    assert!(n_bytes <= 1536, "{n_bytes}");
}

/// A device has one endpoint, and a connection with tokens another.
#[test]
fn an_endpoint_is_small() {
    const fn size_of_endpoint<Future>(_: fn(Arc<Shared>, Inbox, Line) -> Future) -> usize {
        size_of::<Future>()
    }
    for (n_bytes, most) in [
        (size_of_endpoint(crate::hub::run), 2560),
        (size_of_endpoint(crate::cbs::run), 2560),
        (size_of_endpoint(crate::service::run), 2560),
        (size_of_endpoint(crate::provisioning::run), 4096),
    ] {
        assert!(n_bytes <= most, "{n_bytes}");
    }
}

#[test]
fn what_waits_is_small() {
    assert!(size_of::<Told>() <= 96, "{}", size_of::<Told>());
    assert!(size_of::<Ask>() <= 96, "{}", size_of::<Ask>());
    assert!(size_of::<Shared>() <= 448, "{}", size_of::<Shared>());
}
