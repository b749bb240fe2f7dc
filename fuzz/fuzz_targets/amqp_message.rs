//! A message of AMQP from anyone, alone or as a batch: read or refused, never a panic. What is read
//! can be written, and says the same when it is read again.
#![no_main]

use amqp::proto::{Body, Limits, Message, decode_batch, decode_message, encode_message};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Bytes are compared, because some numbers are not equal to themselves.
fn check(message: &Message) {
    let written = encode_message(message);
    let again = decode_message(written.clone(), &Limits::SESSION);
    let again = again.expect("what was written can be read");
    assert_eq!(encode_message(&again), written);
}

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    let message = decode_message(bytes.clone(), &Limits::SESSION);
    if let Ok(message) = &message {
        check(message);
    }
    match decode_batch(bytes, &Limits::SESSION) {
        Ok(messages) => {
            let Ok(Message { body: Body::Data(sections), .. }) = message else {
                panic!("a batch is a message of data");
            };
            assert_eq!(messages.len(), sections.len());
            messages.iter().for_each(check);
        }
        Err(_) => {}
    }
});
