//! Each performative beside its bytes, written down by hand from the tables of part 2; and the
//! other forms that the standard allows a client.

use super::*;

/// A performative and its bytes are each other's, in both directions.
#[track_caller]
fn check(body: &[u8], performative: Performative) {
    assert_eq!(said(body), Ok(performative.clone()));
    assert_eq!(encoded(7, &performative), frame(0, 7, body));
}

/// Other bytes that say the same.
#[track_caller]
fn check_read(claim: &str, body: &[u8], performative: Performative) {
    assert_eq!(said(body), Ok(performative), "{claim}");
}

fn open() -> Open {
    Open { container_id: "c".to_owned(), ..Open::default() }
}

fn attach() -> Attach {
    Attach {
        name: "l".to_owned(),
        handle: 1,
        role: Role::Receiver,
        sender_settle: SenderSettle::Mixed,
        receiver_settle: ReceiverSettle::First,
        source: None,
        target: None,
        initial_delivery_count: None,
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}

fn settled(state: State) -> Performative {
    Performative::Disposition(Disposition {
        role: Role::Receiver,
        first: 7,
        last: None,
        settled: true,
        state: Some(state),
        batchable: false,
    })
}

fn not_found() -> WireError {
    WireError::new("amqp:not-found", "no")
}

const NOT_FOUND: &[u8] = b"\x00\x53\x1d\xc0\x16\x03\xa3\x0eamqp:not-found\xa1\x02no\x40";

#[test]
fn a_whole_frame() {
    let bytes = b"\x00\x00\x00\x0f\x02\x00\x01\x02\x00\x53\x18\xc0\x02\x01\x40";
    let close = Performative::Close(Close { error: None });
    assert_eq!(encoded(0x0102, &close), bytes);
    let frame = Frame { channel: 0x0102, performative: close, payload: Bytes::new() };
    assert_eq!(all(bytes, &Limits::STRANGER), Ok(vec![Some(frame)]));
}

#[test]
fn an_open_has_ten_fields() {
    check(
        b"\x00\x53\x10\xc0\x19\x0a\xa1\x01c\xa1\x01h\x70\x00\x01\x00\x00\x60\x00\xff\
            \x70\x00\x03\xa9\x80\x40\x40\x40\x40\x40",
        Performative::Open(Box::new(Open {
            hostname: Some("h".to_owned()),
            max_frame_size: Some(65_536),
            channel_max: Some(255),
            idle_timeout_ms: Some(240_000),
            ..open()
        })),
    );
    check(
        b"\x00\x53\x10\xc0\x21\x0a\xa1\x01c\x40\x40\x40\x40\x40\x40\
            \xe0\x04\x01\xa3\x01x\xe0\x06\x02\xa3\x01y\x01z\xc1\x07\x02\xa3\x01p\xa1\x01v",
        Performative::Open(Box::new(Open {
            offered_capabilities: vec!["x".to_owned()],
            desired_capabilities: vec!["y".to_owned(), "z".to_owned()],
            properties: vec![(symbol("p"), string("v"))],
            ..open()
        })),
    );
}

#[test]
fn a_begin_has_eight_fields() {
    check(
        b"\x00\x53\x11\xc0\x14\x08\x60\x00\x00\x43\x70\x00\x00\x13\x88\x70\x00\x00\x13\x88\
            \x52\xff\x40\x40\x40",
        Performative::Begin(Box::new(Begin {
            remote_channel: Some(0),
            next_outgoing_id: 0,
            incoming_window: 5000,
            outgoing_window: 5000,
            handle_max: Some(255),
            properties: Vec::new(),
        })),
    );
}

#[test]
fn an_attach_has_fourteen_fields() {
    let source = Terminus { address: Some("a".to_owned()), ..Terminus::default() };
    let target = Terminus { address: Some("b".to_owned()), ..Terminus::default() };
    check(
        b"\x00\x53\x12\xc0\x3c\x0e\xa1\x01l\x52\x01\x42\x50\x02\x50\x00\
            \x00\x53\x28\xc0\x0e\x0b\xa1\x01a\x43\x40\x43\x42\x40\x40\x40\x40\x40\x40\
            \x00\x53\x29\xc0\x0a\x07\xa1\x01b\x43\x40\x43\x42\x40\x40\
            \x40\x40\x43\x80\x00\x00\x00\x00\x00\x04\x00\x00\x40\x40\x40",
        Performative::Attach(Box::new(Attach {
            role: Role::Sender,
            source: Some(source),
            target: Some(target),
            initial_delivery_count: Some(0),
            max_message_size: Some(262_144),
            ..attach()
        })),
    );
}

#[test]
fn an_attach_keeps_what_is_echoed() {
    // The filter of H §5.3: a symbol, described by itself.
    let filter = Value::Described(Box::new((symbol("f"), string("q"))));
    let source = Terminus {
        address: None,
        durable: 2,
        expiry_policy: Some("never".to_owned()),
        timeout_secs: 60,
        dynamic: true,
        filter: vec![(symbol("f"), filter)],
        capabilities: vec!["x".to_owned()],
    };
    check(
        b"\x00\x53\x12\xc0\x49\x0e\xa1\x01l\x52\x01\x41\x50\x00\x50\x01\
            \x00\x53\x28\xc0\x25\x0b\x40\x52\x02\xa3\x05never\x52\x3c\x41\x40\x40\
            \xc1\x0b\x02\xa3\x01f\x00\xa3\x01f\xa1\x01q\x40\x40\xe0\x04\x01\xa3\x01x\
            \x40\x40\x40\x40\x40\x40\xe0\x04\x01\xa3\x01d\xc1\x06\x02\xa3\x01k\x54\xff",
        Performative::Attach(Box::new(Attach {
            sender_settle: SenderSettle::Unsettled,
            receiver_settle: ReceiverSettle::Second,
            source: Some(source),
            desired_capabilities: vec!["d".to_owned()],
            properties: vec![(symbol("k"), Value::Int(-1))],
            ..attach()
        })),
    );
}

#[test]
fn a_flow_has_eleven_fields() {
    let flow = Flow {
        next_incoming_id: Some(1),
        incoming_window: 5000,
        next_outgoing_id: 0,
        outgoing_window: 5000,
        handle: Some(0),
        delivery_count: Some(0),
        link_credit: Some(100),
        available: None,
        drain: false,
        echo: true,
    };
    check(
        b"\x00\x53\x13\xc0\x16\x0b\x52\x01\x70\x00\x00\x13\x88\x43\x70\x00\x00\x13\x88\
            \x43\x43\x52\x64\x40\x42\x41\x40",
        Performative::Flow(flow),
    );
}

#[test]
fn a_transfer_has_eleven_fields_before_its_payload() {
    let transfer = Transfer {
        handle: 0,
        delivery_id: Some(7),
        delivery_tag: Some(Bytes::from_static(&[0, 1])),
        message_format: Some(0x8001_3700),
        settled: Some(false),
        receiver_settle: Some(ReceiverSettle::Second),
        ..Transfer::default()
    };
    let body = b"\x00\x53\x14\xc0\x15\x0b\x43\x52\x07\xa0\x02\x00\x01\x70\x80\x01\x37\x00\
        \x42\x42\x50\x01\x40\x42\x42\x42";
    check(body, Performative::Transfer(transfer.clone()));

    let bytes = frame(0, 7, &[body, &b"payload"[..]].concat());
    let mut written = BytesMut::new();
    assert_eq!(encode_transfer(7, &transfer, b"payload", 512, &mut written), 7);
    assert_eq!(written, &bytes[..]);
    let whole = Frame {
        channel: 7,
        performative: Performative::Transfer(transfer),
        payload: Bytes::from_static(b"payload"),
    };
    assert_eq!(all(&bytes, &Limits::SESSION), Ok(vec![Some(whole)]));
}

#[test]
fn a_payload_that_fits_into_no_frame_is_cut_and_says_so() {
    let transfer = Transfer { delivery_id: Some(1), ..Transfer::default() };
    let payload = vec![b'x'; 2000];
    // 8 of the frame, 18 of the transfer.
    for (max_frame_size, taken) in [(0, 486), (512, 486), (1000, 974), (2025, 1999)] {
        let mut written = BytesMut::from(&b"before"[..]);
        let n_bytes = encode_transfer(3, &transfer, &payload, max_frame_size, &mut written);
        assert_eq!((n_bytes, written.len()), (taken, 6 + 26 + taken), "{max_frame_size}");
        let frames = all(&written[6..], &Limits::SESSION).expect("legal");
        let expected = Transfer { more: true, ..transfer.clone() };
        let [Some(Frame { performative: Performative::Transfer(read), payload: piece, .. })] =
            &frames[..]
        else {
            panic!("{frames:?}");
        };
        assert_eq!((read, &**piece), (&expected, &payload[..taken]));
    }
    let mut written = BytesMut::new();
    assert_eq!(encode_transfer(3, &transfer, &payload, 2026, &mut written), 2000);
    let unfinished = Transfer { more: true, ..transfer };
    let mut more = BytesMut::new();
    assert_eq!(encode_transfer(3, &unfinished, &payload, 2026, &mut more), 2000);
    assert_eq!(written[20..22], [0x42, 0x40]);
    assert_eq!(more[20..22], [0x41, 0x40]);
}

#[test]
fn a_long_payload_goes_on_even_where_its_transfer_leaves_no_room() {
    let error = WireError::new("amqp:internal-error", "x".repeat(600));
    let state = Some(State::Outcome(Outcome::Rejected(Some(error))));
    let transfer = Transfer { state, ..Transfer::default() };
    assert_eq!(encode_transfer(0, &transfer, b"ab", 512, &mut BytesMut::new()), 1);
}

#[test]
fn a_disposition_has_six_fields_and_no_outcome_is_a_list0() {
    check(
        b"\x00\x53\x15\xc0\x0d\x06\x41\x52\x07\x40\x41\x00\x53\x24\xc0\x01\x00\x42",
        settled(State::Outcome(Outcome::Accepted)),
    );
    check(
        b"\x00\x53\x15\xc0\x0d\x06\x41\x52\x07\x40\x41\x00\x53\x26\xc0\x01\x00\x42",
        settled(State::Outcome(Outcome::Released)),
    );
    check(
        b"\x00\x53\x15\xc0\x0e\x06\x41\x52\x07\x40\x41\x00\x53\x25\xc0\x02\x01\x40\x42",
        settled(State::Outcome(Outcome::Rejected(None))),
    );
    check(
        b"\x00\x53\x15\xc0\x10\x06\x41\x52\x07\x40\x41\x00\x53\x27\xc0\x04\x03\x41\x42\x40\x42",
        settled(State::Outcome(Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: false,
        })),
    );
    check(
        b"\x00\x53\x15\xc0\x11\x06\x41\x52\x07\x40\x41\x00\x53\x23\xc0\x05\x02\x52\x02\x53\x09\x42",
        settled(State::Received { section: 2, offset: 9 }),
    );
    check(
        b"\x00\x53\x15\xc0\x0b\x06\x42\x43\x70\xff\xff\xff\xff\x42\x40\x41",
        Performative::Disposition(Disposition {
            role: Role::Sender,
            first: 0,
            last: Some(u32::MAX),
            settled: false,
            state: None,
            batchable: true,
        }),
    );
}

#[test]
fn an_error_has_three_fields() {
    let rejected = [
        b"\x00\x53\x15\xc0\x28\x06\x41\x52\x07\x40\x41\x00\x53\x25\xc0\x1c\x01",
        NOT_FOUND,
        b"\x42",
    ];
    check(&rejected.concat(), settled(State::Outcome(Outcome::Rejected(Some(not_found())))));
    check(
        &[b"\x00\x53\x16\xc0\x1f\x03\x52\x01\x41", NOT_FOUND].concat(),
        Performative::Detach(Detach { handle: 1, closed: true, error: Some(not_found()) }),
    );
    check(
        &[b"\x00\x53\x17\xc0\x1c\x01", NOT_FOUND].concat(),
        Performative::End(End { error: Some(not_found()) }),
    );
    let info = vec![(symbol("retry-after"), Value::Int(3))];
    let error = WireError { condition: "x".to_owned(), description: None, info };
    check(
        b"\x00\x53\x18\xc0\x1d\x01\x00\x53\x1d\xc0\x17\x03\xa3\x01x\x40\
            \xc1\x10\x02\xa3\x0bretry-after\x54\x03",
        Performative::Close(Close { error: Some(error) }),
    );
}

#[test]
fn endings_without_an_error_have_all_their_fields_too() {
    check(
        b"\x00\x53\x16\xc0\x04\x03\x43\x42\x40",
        Performative::Detach(Detach { handle: 0, closed: false, error: None }),
    );
    check(b"\x00\x53\x17\xc0\x02\x01\x40", Performative::End(End { error: None }));
    check(b"\x00\x53\x18\xc0\x02\x01\x40", Performative::Close(Close { error: None }));
}

#[test]
fn what_does_not_fit_a_short_list_is_written_as_a_long_one() {
    let container_id = "c".repeat(300);
    let open = Performative::Open(Box::new(Open { container_id, ..open() }));
    let bytes = encoded(7, &open);
    // 5 and 300 of the name, 9 nulls, 4 of the count.
    assert_eq!(bytes[8..20], *b"\x00\x53\x10\xd0\x00\x00\x01\x3e\x00\x00\x00\x0a");
    assert_eq!(bytes[20..25], *b"\xb1\x00\x00\x01\x2c");
    assert_eq!(said(&bytes[8..]), Ok(open));
}

#[test]
fn other_forms_of_the_same() {
    let end = || Performative::End(End { error: None });
    for (claim, body) in [
        ("a list0", &b"\x00\x53\x17\x45"[..]),
        ("a list8 of nothing", b"\x00\x53\x17\xc0\x01\x00"),
        ("a list32", b"\x00\x53\x17\xd0\x00\x00\x00\x05\x00\x00\x00\x01\x40"),
        ("a ulong", b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x17\x45"),
        ("a symbol", b"\x00\xa3\x0damqp:end:list\x45"),
        ("a long symbol", b"\x00\xb3\x00\x00\x00\x0damqp:end:list\x45"),
    ] {
        check_read(claim, body, end());
    }
    check_read(
        "fields at the end are left away",
        b"\x00\x53\x10\xc0\x04\x01\xa1\x01c",
        Performative::Open(Box::new(open())),
    );
    check_read(
        "a capability alone, languages, and numbers in their long forms",
        b"\x00\x53\x10\xd0\x00\x00\x00\x20\x00\x00\x00\x08\xb1\x00\x00\x00\x01c\x40\
            \x70\x00\x00\x02\x00\x40\x43\xa3\x02en\xe0\x05\x01\xa3\x02de\xa3\x01x",
        Performative::Open(Box::new(Open {
            max_frame_size: Some(512),
            idle_timeout_ms: Some(0),
            offered_capabilities: vec!["x".to_owned()],
            ..open()
        })),
    );
    check_read(
        "defaults",
        b"\x00\x53\x12\xc0\x07\x03\xa1\x01l\x52\x01\x41",
        Performative::Attach(Box::new(attach())),
    );
    check_read(
        "a boolean with a byte of its own, deliveries of an earlier link, a coordinator",
        b"\x00\x53\x12\xc0\x22\x0a\xa1\x01l\x52\x01\x56\x01\x40\x40\x40\
            \x00\x53\x30\xc0\x04\x01\xa3\x01t\xc1\x0a\x02\xa0\x01\x01\x00\x53\x24\xc0\x01\x00\
            \x42\x43",
        Performative::Attach(Box::new(Attach { initial_delivery_count: Some(0), ..attach() })),
    );
    check_read(
        "a state of transactions",
        b"\x00\x53\x15\xc0\x13\x05\x41\x52\x07\x40\x41\x00\x53\x34\xc0\x08\x02\xa0\x01\x01\
            \x00\x53\x24\x45",
        settled(State::Other),
    );
    check_read(
        "a state of somebody's own",
        b"\x00\x53\x15\xc0\x10\x05\x41\x52\x07\x40\x41\x00\xa3\x04my:x\xa1\x01v",
        settled(State::Other),
    );
}

#[test]
fn a_state_that_was_not_understood_is_written_as_null() {
    let bytes = encoded(0, &settled(State::Other));
    assert_eq!(bytes[8..], *b"\x00\x53\x15\xc0\x08\x06\x41\x52\x07\x40\x41\x40\x42");
}
