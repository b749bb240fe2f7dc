//! A client's frames from anyone: bytes, an end or an error, never a panic, never more bytes than were sent.
#![no_main]

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use listen::websocket::WsStream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, join, sink};

fuzz_target!(|input: (u8, usize, &[u8])| {
    let (n_buffer, n_early, sent) = input;
    let (early, later) = sent.split_at(n_early.min(sent.len()));
    let mut stream = WsStream::new(join(later, sink()), early.to_vec());
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = [0; 256];
    let mut n_read = 0;
    let end = loop {
        let mut buffer = ReadBuf::new(&mut bytes[..=usize::from(n_buffer)]);
        match Pin::new(&mut stream).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => break None,
            Poll::Ready(Ok(())) => n_read += buffer.filled().len(),
            Poll::Ready(Err(error)) => break Some(error.kind()),
            Poll::Pending => panic!("nothing here waits"),
        }
    };
    assert!(n_read <= sent.len());
    assert!(matches!(end, None | Some(ErrorKind::InvalidData | ErrorKind::UnexpectedEof)));
    let goodbye = std::pin::pin!(stream.shutdown());
    assert!(goodbye.poll(&mut cx).is_ready());
});
