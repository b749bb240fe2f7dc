//! Endpoints at work: a panic in one is an event.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use super::{Running, asks::EndpointNumber};

/// An endpoint's work, which may panic.
pub(super) struct AtWork {
    pub(super) number: EndpointNumber,
    pub(super) work: Running,
}

impl Future for AtWork {
    type Output = (EndpointNumber, Result<(), Panicked>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let number = self.number;
        // After a panic it is dropped, and all that it shared with others soon after.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.work.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.map(|()| (number, Ok(()))),
            Err(_) => Poll::Ready((number, Err(Panicked))),
        }
    }
}

/// An endpoint broke something that cannot be broken; the panic hook has told where.
#[derive(Debug)]
pub(super) struct Panicked;
