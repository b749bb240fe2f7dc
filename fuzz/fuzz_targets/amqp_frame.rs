//! A stream of AMQP from anyone, with a SASL layer or without: read or refused, never a panic.
//! What is read can be written and read again, and it does not matter where the stream was cut.
#![no_main]

use amqp::proto::{
    BadFrame, Decoded, Frame, Limits, Performative, ProtocolHeader, decode, decode_header,
    decode_sasl, encode, encode_empty, encode_header, encode_sasl, encode_transfer,
};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// A connection that has read so much, and what it would have written to say the same.
#[derive(Default)]
struct Stream {
    header: Option<ProtocolHeader>,
    buffer: BytesMut,
    written: BytesMut,
}

impl Stream {
    /// Reads what is in the buffer; it never asks for nothing.
    fn read(&mut self) -> Result<(), BadFrame> {
        if self.header.is_none() {
            self.header = decode_header(&mut self.buffer)?;
            if let Some(header) = self.header {
                encode_header(header, &mut self.written);
            }
        }
        loop {
            let (missing_bytes, limits) = match self.header {
                Some(ProtocolHeader::Sasl) => (self.read_sasl()?, Limits::SASL),
                Some(_) => (self.read_frame()?, Limits::STRANGER),
                None => return Ok(()),
            };
            if let Some(missing_bytes) = missing_bytes {
                assert!((1..=limits.frame_bytes).contains(&missing_bytes));
                return Ok(());
            }
        }
    }

    fn read_sasl(&mut self) -> Result<Option<usize>, BadFrame> {
        match decode_sasl(&mut self.buffer, &Limits::SASL)? {
            Decoded::Item(frame) => encode_sasl(&frame, &mut self.written),
            Decoded::Empty => panic!("a SASL frame is never empty"),
            Decoded::Incomplete { missing_bytes } => return Ok(Some(missing_bytes)),
        }
        Ok(None)
    }

    fn read_frame(&mut self) -> Result<Option<usize>, BadFrame> {
        match decode(&mut self.buffer, &Limits::STRANGER)? {
            Decoded::Item(Frame { channel, performative, payload }) => match &performative {
                Performative::Transfer(transfer) => {
                    let out = &mut self.written;
                    let n_bytes = encode_transfer(channel, transfer, &payload, 1 << 20, out);
                    assert_eq!(n_bytes, payload.len());
                }
                other => {
                    assert!(payload.is_empty());
                    encode(channel, other, &mut self.written);
                }
            },
            Decoded::Empty => encode_empty(&mut self.written),
            Decoded::Incomplete { missing_bytes } => return Ok(Some(missing_bytes)),
        }
        Ok(None)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut stream = Stream { buffer: BytesMut::from(bytes), ..Stream::default() };
    let end = stream.read();

    // Bytes are compared, because some numbers are not equal to themselves.
    let mut again = Stream { buffer: stream.written.clone(), ..Stream::default() };
    match again.read() {
        Ok(()) => assert_eq!((again.written, again.buffer.len()), (stream.written.clone(), 0)),
        // All fields and nothing short: what is written can be longer than what was read.
        Err(BadFrame::TooLong { .. }) => {}
        Err(bad) => panic!("what was written is refused: {bad}"),
    }

    let piece = usize::from(bytes.last().copied().unwrap_or_default()) % 7 + 1;
    let mut in_pieces = Stream::default();
    let pieces = bytes.chunks(piece).try_for_each(|piece| {
        in_pieces.buffer.extend_from_slice(piece);
        in_pieces.read()
    });
    assert_eq!((pieces, in_pieces.written), (end, stream.written));
});
