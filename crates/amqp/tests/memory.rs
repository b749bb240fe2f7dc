//! What a reader takes in memory for what came: nothing that a stranger sends is worth many times
//! its size. One test alone, because it counts what its whole process allocates.
#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

use bytes::{Bytes, BytesMut};
use induct_amqp::proto::{Limits, decode, decode_batch, decode_message, decode_sasl};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// A value is kept in 40 bytes and takes one at least; a message of a batch takes five.
const TIMES: u64 = 64;

/// What elements of arrays take that take no bytes where they come from: few of them are allowed.
const BYTES: u64 = 20 * 1024;

/// An array by hand, of so many elements as it says.
fn array(n_elements: u32, elements: &[u8]) -> Vec<u8> {
    let size = u32::try_from(4 + elements.len()).expect("short").to_be_bytes();
    [&[0xf0], &size[..], &n_elements.to_be_bytes(), elements].concat()
}

fn list(constructor: u8, n_elements: u32, elements: &[u8]) -> Vec<u8> {
    let mut list = array(n_elements, elements);
    list[0] = constructor;
    list
}

/// Values that say much in few bytes.
fn greedy() -> Vec<(&'static str, Vec<u8>)> {
    let described_by = |name_bytes: u8, n_elements| {
        let name = vec![b'x'; name_bytes.into()];
        array(n_elements, &[&[0x00, 0xa3, name_bytes], &name[..], b"\x40"].concat())
    };
    let mut nested = vec![0x40; 1000];
    for _ in 0..14 {
        let n_elements = u32::try_from(nested.len()).expect("short");
        nested = list(0xd0, n_elements, &nested);
    }
    let lists = |n_elements: usize, element: &[u8]| {
        let count = u32::try_from(n_elements).expect("short");
        list(0xd0, count, &element.repeat(n_elements))
    };
    vec![
        ("nulls", array(u32::MAX, b"\x40")),
        ("as many nulls as are allowed", array(128, b"\x40")),
        ("lists of nothing", array(8000, b"\x45")),
        ("a described array", described_by(255, 8000)),
        ("a described array of as many as are allowed", described_by(31, 64)),
        ("one with a long name", described_by(255, 14)),
        ("a map of as many as told", list(0xd1, u32::MAX - 1, b"\x40\x40")),
        ("a list in which each says to be long", nested),
        ("a list of nulls", lists(4000, b"\x40")),
        ("a list of lists of one", lists(2000, b"\xc0\x02\x01\x40")),
        ("a list of lists of lists", lists(1000, b"\xc0\x05\x01\xc0\x02\x01\x40")),
        ("a list of short texts", lists(2000, b"\xa1\x01x")),
        ("a list of described values", lists(2000, b"\x00\x44\x40")),
        ("a map of nulls", list(0xd1, 4000, &[0x40; 4000])),
        ("a text of as many bytes as told", b"\xb1\xff\xff\xff\xff".to_vec()),
        ("a binary", [&b"\xb0\x00\x00\xc3\x50"[..], &[0; 50_000]].concat()),
    ]
}

#[test]
fn no_bytes_are_worth_many_times_their_size() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for (claim, value) in greedy() {
        let body = [b"\x00\x53\x77", &value[..]].concat();
        let footer = [b"\x00\x53\x78", &value[..]].concat();
        let sequence = [b"\x00\x53\x76", &value[..]].concat();
        let data = [&b"\x00\x53\x75\xb0"[..], &size(&body), &body].concat();
        for message in [body, footer, sequence, data] {
            check(claim, &message, |bytes, limits| {
                drop(decode_message(bytes, limits));
            });
            check(claim, &message, |bytes, limits| drop(decode_batch(bytes, limits)));
        }
        // As the properties of an open, and as a state.
        let open = [b"\xa1\x01c\x40\x40\x40\x40\x40\x40\x40\x40", &value[..]].concat();
        let disposition =
            [b"\x41\x43\x43\x41\x00\x80\x01\x01\x01\x01\x01\x01\x01\x01", &value[..]].concat();
        for (number, n_fields, fields) in
            [(0x10, 10, open), (0x15, 5, disposition), (0x41, 3, value)]
        {
            let list = list(0xd0, n_fields, &fields);
            let body = [&[0x00, 0x53, number], &list[..]].concat();
            for (frame_type, limits) in [(0, Limits::SESSION), (1, Limits::SASL)] {
                let size = size(&[&body[..], &[0; 8]].concat());
                let frame = [&size[..], &[2, frame_type, 0, 0], &body].concat();
                check(claim, &frame, |bytes, _| {
                    let mut buffer = BytesMut::from(bytes);
                    drop(decode(&mut buffer.clone(), &limits));
                    drop(decode_sasl(&mut buffer, &limits));
                });
            }
        }
    }
    let smallest = b"\x00\x53\x75\xa0\x00".repeat(4000);
    check("a batch of nothing", &smallest, |bytes, limits| drop(decode_batch(bytes, limits)));
    let n_allocated = dhat::HeapStats::get().total_blocks;
    assert!(n_allocated > 100, "{n_allocated}");
}

fn size(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("short").to_be_bytes()
}

/// Counts all that is allocated while bytes are read, freed or not.
#[track_caller]
fn check(claim: &str, bytes: &[u8], read: impl FnOnce(Bytes, &Limits)) {
    let given = Bytes::copy_from_slice(bytes);
    let before = dhat::HeapStats::get().total_bytes;
    read(given, &Limits::SESSION);
    let taken = dhat::HeapStats::get().total_bytes - before;
    let allowed = TIMES * u64::try_from(bytes.len()).expect("short") + BYTES;
    assert!(taken <= allowed, "{claim}: {taken} bytes for {}", bytes.len());
}
