//! What an answer sends: all of it at once, or piece by piece for as long as somebody listens.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::watchdog;

/// A response's body. The next piece of a stream is asked for when there is room for it on the way
/// to the client, so one that reads slowly makes nothing pile up here.
pub enum AnswerBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// Made while it is sent.
    Stream(Box<Streamed>),
}

/// A body that is made while it is sent.
pub struct Streamed {
    pieces: BoxStream<'static, Bytes>,
    /// While it lives, the connection may go on as long as bytes leave.
    going: Option<watchdog::Streaming>,
}

impl AnswerBody {
    pub(crate) fn whole(text: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(text.into()))
    }

    pub(crate) fn stream(pieces: BoxStream<'static, Bytes>) -> Self {
        Self::Stream(Box::new(Streamed { pieces, going: None }))
    }

    /// The request was answered; what is left of the answer is this body.
    pub(crate) fn answered(&mut self, request: watchdog::Request) {
        match self {
            Self::Whole(_) => drop(request),
            Self::Stream(streamed) => streamed.going = Some(request.into_stream()),
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => f.debug_tuple("Whole").field(whole).finish(),
            Self::Stream(streamed) => f.debug_tuple("Stream").field(streamed).finish(),
        }
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("going", &self.going).finish_non_exhaustive()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(cx),
            Self::Stream(streamed) => {
                let piece = Pin::new(&mut streamed.pieces).poll_next(cx);
                piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
