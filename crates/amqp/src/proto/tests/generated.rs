//! Generated frames, messages and streams: each is read as it was written, wherever a stream is
//! cut; and nothing that arrives makes the reader panic.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

fn any_symbol() -> impl Strategy<Value = String> {
    prop_oneof![20 => "[ -~]{0,20}", 1 => "[a-z]{250,260}"]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![20 => ".{0,20}", 1 => "[a-z]{250,260}"]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![20 => vec(any::<u8>(), 0..30), 1 => vec(any::<u8>(), 250..260)]
        .prop_map(Bytes::from)
}

/// Numbers of each length on the wire.
fn any_uint() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..=300_u32, any::<u32>()]
}

fn any_scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        any_uint().prop_map(Value::Uint),
        any_uint().prop_map(|number| Value::Ulong(number.into())),
        any::<u64>().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        (-200..200).prop_map(Value::Int),
        any::<i32>().prop_map(Value::Int),
        (-200..200_i64).prop_map(Value::Long),
        any::<i64>().prop_map(Value::Long),
        (-9.0..9.0_f32).prop_map(Value::Float),
        (-9.0..9.0_f64).prop_map(Value::Double),
        select(vec![4, 8, 16]).prop_map(|n| Value::Decimal(Bytes::from(vec![7; n]))),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        any_bytes().prop_map(Value::Binary),
        any_text().prop_map(Value::String),
        any_symbol().prop_map(Value::Symbol),
    ]
    .boxed()
}

fn any_descriptor() -> BoxedStrategy<Value> {
    prop_oneof![any::<u64>().prop_map(Value::Ulong), any_symbol().prop_map(Value::Symbol)].boxed()
}

/// Several values of one type, as an array has.
fn any_array() -> BoxedStrategy<Value> {
    let texts = vec(any_text().prop_map(Value::String), 0..5);
    let numbers = vec((-200..200_i64).prop_map(Value::Long), 0..5);
    let lists = vec(vec(any_scalar(), 0..4).prop_map(Value::List), 0..4);
    let arrays = vec(vec(any::<u8>().prop_map(Value::Ubyte), 0..4).prop_map(Value::Array), 0..4);
    let described = (any_descriptor(), vec(any_uint(), 0..4)).prop_map(|(descriptor, numbers)| {
        let pair = |number| Value::Described(Box::new((descriptor.clone(), Value::Uint(number))));
        numbers.into_iter().map(pair).collect()
    });
    prop_oneof![texts, numbers, lists, arrays, described].prop_map(Value::Array).boxed()
}

fn any_value() -> BoxedStrategy<Value> {
    prop_oneof![6 => any_scalar(), 1 => any_array()]
        .prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::List),
                vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
                (any_descriptor(), inner).prop_map(|both| Value::Described(Box::new(both))),
            ]
        })
        .boxed()
}

fn any_pairs() -> BoxedStrategy<Pairs> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => vec((any_symbol().prop_map(Value::Symbol), any_value()), 0..4),
    ]
    .boxed()
}

fn any_symbols() -> BoxedStrategy<Vec<String>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(any_symbol(), 0..4)].boxed()
}

fn any_error() -> BoxedStrategy<Option<WireError>> {
    let error = (any_symbol(), option::of(any_text()), any_pairs())
        .prop_map(|(condition, description, info)| WireError { condition, description, info });
    option::of(error).boxed()
}

fn any_state() -> BoxedStrategy<Option<State>> {
    option::of(prop_oneof![
        (any_uint(), any::<u64>())
            .prop_map(|(section, offset)| State::Received { section, offset }),
        Just(State::Outcome(Outcome::Accepted)),
        Just(State::Outcome(Outcome::Released)),
        any_error().prop_map(|error| State::Outcome(Outcome::Rejected(error))),
        any::<(bool, bool)>().prop_map(|(delivery_failed, undeliverable_here)| {
            State::Outcome(Outcome::Modified { delivery_failed, undeliverable_here })
        }),
    ])
    .boxed()
}

fn any_role() -> impl Strategy<Value = Role> {
    select(vec![Role::Sender, Role::Receiver])
}

fn any_receiver_settle() -> impl Strategy<Value = ReceiverSettle> {
    select(vec![ReceiverSettle::First, ReceiverSettle::Second])
}

fn any_open() -> BoxedStrategy<Performative> {
    let numbers = (option::of(any_uint()), option::of(any::<u16>()), option::of(any_uint()));
    (any_text(), option::of(any_text()), numbers, any_symbols(), any_symbols(), any_pairs())
        .prop_map(|(container_id, hostname, numbers, offered, desired, properties)| {
            Performative::Open(Box::new(Open {
                container_id,
                hostname,
                max_frame_size: numbers.0,
                channel_max: numbers.1,
                idle_timeout_ms: numbers.2,
                offered_capabilities: offered,
                desired_capabilities: desired,
                properties,
            }))
        })
        .boxed()
}

fn any_begin() -> BoxedStrategy<Performative> {
    let windows = (any_uint(), any_uint(), any_uint());
    (option::of(any::<u16>()), windows, option::of(any_uint()), any_pairs())
        .prop_map(|(remote_channel, windows, handle_max, properties)| {
            Performative::Begin(Box::new(Begin {
                remote_channel,
                next_outgoing_id: windows.0,
                incoming_window: windows.1,
                outgoing_window: windows.2,
                handle_max,
                properties,
            }))
        })
        .boxed()
}

fn any_target() -> BoxedStrategy<Terminus> {
    let lives = (any_uint(), option::of(any_symbol()), any_uint(), any::<bool>());
    (option::of(any_text()), lives, any_symbols())
        .prop_map(|(address, lives, capabilities)| Terminus {
            address,
            durable: lives.0,
            expiry_policy: lives.1,
            timeout_secs: lives.2,
            dynamic: lives.3,
            filter: Vec::new(),
            capabilities,
        })
        .boxed()
}

fn any_attach() -> BoxedStrategy<Performative> {
    let senders = select(vec![SenderSettle::Unsettled, SenderSettle::Settled, SenderSettle::Mixed]);
    let modes = (any_role(), senders, any_receiver_settle());
    let source =
        (any_target(), any_pairs()).prop_map(|(target, filter)| Source { filter, ..target });
    let ends = (option::of(source), option::of(any_target()));
    let sizes = (option::of(any_uint()), option::of(any::<u64>()));
    (any_text(), any_uint(), modes, ends, sizes, any_symbols(), any_pairs())
        .prop_map(
            |(name, handle, modes, (source, target), sizes, desired_capabilities, properties)| {
                Performative::Attach(Box::new(Attach {
                    name,
                    handle,
                    role: modes.0,
                    sender_settle: modes.1,
                    receiver_settle: modes.2,
                    source,
                    target,
                    initial_delivery_count: sizes.0,
                    max_message_size: sizes.1,
                    properties,
                    desired_capabilities,
                }))
            },
        )
        .boxed()
}

fn any_flow() -> BoxedStrategy<Performative> {
    let session = (option::of(any_uint()), any_uint(), any_uint(), any_uint());
    let link = (option::of(any_uint()), option::of(any_uint()), option::of(any_uint()));
    (session, link, option::of(any_uint()), any::<bool>(), any::<bool>())
        .prop_map(|(session, link, available, drain, echo)| {
            Performative::Flow(Flow {
                next_incoming_id: session.0,
                incoming_window: session.1,
                next_outgoing_id: session.2,
                outgoing_window: session.3,
                handle: link.0,
                delivery_count: link.1,
                link_credit: link.2,
                available,
                drain,
                echo,
            })
        })
        .boxed()
}

fn any_transfer() -> BoxedStrategy<Transfer> {
    let tag = option::of(vec(any::<u8>(), 0..=32).prop_map(Bytes::from));
    let modes = (option::of(any::<bool>()), option::of(any_receiver_settle()), any_state());
    let flags = any::<(bool, bool, bool, bool)>();
    (any_uint(), option::of(any_uint()), tag, option::of(any_uint()), modes, flags)
        .prop_map(|(handle, delivery_id, delivery_tag, message_format, modes, flags)| Transfer {
            handle,
            delivery_id,
            delivery_tag,
            message_format,
            settled: modes.0,
            more: flags.0,
            receiver_settle: modes.1,
            state: modes.2,
            resume: flags.1,
            aborted: flags.2,
            batchable: flags.3,
        })
        .boxed()
}

fn any_disposition() -> BoxedStrategy<Performative> {
    (any_role(), any_uint(), option::of(any_uint()), any_state(), any::<(bool, bool)>())
        .prop_map(|(role, first, last, state, (settled, batchable))| {
            Performative::Disposition(Disposition { role, first, last, settled, state, batchable })
        })
        .boxed()
}

fn any_frame() -> BoxedStrategy<Frame> {
    let others = prop_oneof![
        any_open(),
        any_begin(),
        any_attach(),
        any_flow(),
        any_disposition(),
        (any_uint(), any::<bool>(), any_error()).prop_map(|(handle, closed, error)| {
            Performative::Detach(Detach { handle, closed, error })
        }),
        any_error().prop_map(|error| Performative::End(End { error })),
        any_error().prop_map(|error| Performative::Close(Close { error })),
    ]
    .prop_map(|performative| (performative, Bytes::new()));
    let transfers = (any_transfer(), any_bytes())
        .prop_map(|(transfer, payload)| (Performative::Transfer(transfer), payload));
    (any::<u16>(), prop_oneof![3 => others, 1 => transfers])
        .prop_map(|(channel, (performative, payload))| Frame { channel, performative, payload })
        .boxed()
}

fn any_sasl() -> BoxedStrategy<SaslFrame> {
    let outcomes = vec![
        SaslOutcome::Ok,
        SaslOutcome::Auth,
        SaslOutcome::Sys,
        SaslOutcome::SysPerm,
        SaslOutcome::SysTemp,
    ];
    prop_oneof![
        vec(any_symbol(), 0..5).prop_map(|names| SaslFrame::Mechanisms(SaslMechanisms(names))),
        (any_symbol(), option::of(any_bytes()), option::of(any_text())).prop_map(
            |(mechanism, initial_response, hostname)| {
                SaslFrame::Init(SaslInit { mechanism, initial_response, hostname })
            }
        ),
        any_bytes().prop_map(SaslFrame::Challenge),
        any_bytes().prop_map(SaslFrame::Response),
        select(outcomes).prop_map(SaslFrame::Outcome),
    ]
    .boxed()
}

fn any_id() -> BoxedStrategy<Option<MessageId>> {
    option::of(prop_oneof![
        any::<u64>().prop_map(MessageId::Ulong),
        any::<[u8; 16]>().prop_map(MessageId::Uuid),
        any_bytes().prop_map(MessageId::Binary),
        any_text().prop_map(MessageId::String),
    ])
    .boxed()
}

fn any_properties() -> BoxedStrategy<Properties> {
    let texts = vec(option::of(any_text()), 5);
    let symbols = vec(option::of(any_symbol()), 2);
    let numbers = (option::of(any::<i64>()), option::of(any::<i64>()), option::of(any_uint()));
    (any_id(), any_id(), option::of(any_bytes()), texts, symbols, numbers)
        .prop_map(|(message_id, correlation_id, user_id, texts, symbols, numbers)| {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            let mut symbols = symbols.into_iter();
            let mut symbol = || symbols.next().flatten();
            Properties {
                message_id,
                user_id,
                to: text(),
                subject: text(),
                reply_to: text(),
                correlation_id,
                content_type: symbol(),
                content_encoding: symbol(),
                absolute_expiry_ms: numbers.0,
                creation_ms: numbers.1,
                group_id: text(),
                group_sequence: numbers.2,
                reply_to_group_id: text(),
            }
        })
        .boxed()
}

fn any_message() -> BoxedStrategy<Message> {
    let header =
        (any::<(bool, bool)>(), option::of(any::<u8>()), option::of(any_uint()), any_uint())
            .prop_map(|((durable, first_acquirer), priority, ttl_ms, delivery_count)| Header {
                durable,
                priority,
                ttl_ms,
                first_acquirer,
                delivery_count,
            });
    let body = prop_oneof![
        Just(Body::None),
        vec(any_bytes(), 1..4).prop_map(Body::Data),
        vec(vec(any_value(), 0..4), 1..4).prop_map(Body::Sequence),
        any_value().prop_map(Body::Value),
    ];
    let annotations = (any_pairs(), any_pairs(), any_pairs());
    let properties = option::of(any_properties().prop_map(Box::new));
    (option::of(header), annotations, properties, vec((any_text(), any_value()), 0..4), body)
        .prop_map(|(header, annotations, properties, application_properties, body)| Message {
            header,
            delivery_annotations: annotations.0,
            message_annotations: annotations.1,
            properties,
            application_properties,
            body,
            footer: annotations.2,
        })
        .boxed()
}

fn frame_encoded(frame: &Frame) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    match &frame.performative {
        Performative::Transfer(transfer) => {
            let payload = &frame.payload;
            let n_bytes = encode_transfer(frame.channel, transfer, payload, 65_536, &mut buffer);
            assert_eq!(n_bytes, payload.len());
        }
        other => encode(frame.channel, other, &mut buffer),
    }
    buffer.to_vec()
}

/// Reads a stream that arrives in pieces, as a door does; and never asks for more than there is.
fn in_pieces(stream: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, BadFrame> {
    let mut frames = Vec::new();
    let mut buffer = BytesMut::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let piece = cuts.next().map_or(1, |cut| cut % rest.len() + 1);
        buffer.extend_from_slice(&rest[..piece]);
        rest = &rest[piece..];
        loop {
            match decode(&mut buffer, &Limits::SESSION)? {
                Decoded::Item(frame) => frames.push(frame),
                Decoded::Empty => {}
                Decoded::Incomplete { missing_bytes } => {
                    let is_over = rest.is_empty() && buffer.is_empty();
                    assert!(is_over || (1..=rest.len()).contains(&missing_bytes));
                    break;
                }
            }
        }
    }
    Ok(frames)
}

/// Where each list of a performative stands, and nothing in it is a list0 at any place a client
/// looks at: what H §5.4 asks of every frame.
fn obeys_the_rules(bytes: &[u8]) -> bool {
    let n_fields = match bytes[10] {
        0x10 => 10,
        0x11 => 8,
        0x12 => 14,
        0x13 | 0x14 => 11,
        0x15 => 6,
        0x16 => 3,
        _ => 1,
    };
    let count = match bytes[11] {
        0xc0 => u32::from(bytes[13]),
        0xd0 => u32::from_be_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
        _ => return false,
    };
    bytes[4..6] == [2, 0] && bytes[8..10] == [0x00, 0x53] && count == n_fields
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(frame in any_frame()) {
        let bytes = frame_encoded(&frame);
        prop_assert!(obeys_the_rules(&bytes), "{bytes:02x?}");
        prop_assert_eq!(all(&bytes, &Limits::SESSION), Ok(vec![Some(frame)]));
    }

    #[test]
    fn a_sasl_frame_is_read_as_it_was_written(frame in any_sasl()) {
        prop_assert_eq!(sasl(&sasl_encoded(&frame)), Ok(frame));
    }

    #[test]
    fn a_message_is_read_as_it_was_written(sent in any_message()) {
        let bytes = encode_message(&sent);
        let read = decode_message(bytes.clone(), &Limits::SESSION);
        prop_assert!(read == Ok(sent), "{bytes:02x?}");
    }

    #[test]
    fn a_stream_is_read_the_same_wherever_it_is_cut(
        frames in vec(any_frame(), 1..6),
        cuts in vec(0..600_usize, 1..8),
    ) {
        let stream: Vec<u8> = frames.iter().flat_map(frame_encoded).collect();
        prop_assert_eq!(in_pieces(&stream, &cuts), Ok(frames));
    }

    #[test]
    fn a_frame_cut_short_is_incomplete_and_never_an_error(frame in any_frame(), cut: usize) {
        let bytes = frame_encoded(&frame);
        let mut buffer = BytesMut::from(&bytes[..cut % bytes.len()]);
        let told = decode(&mut buffer, &Limits::SESSION);
        prop_assert!(matches!(told, Ok(Decoded::Incomplete { .. })), "{told:?}");
    }

    #[test]
    fn a_payload_is_whole_again_however_it_was_cut(
        transfer in any_transfer(),
        payload in vec(any::<u8>(), 0..3000),
        max_frame_size in 0..2000_usize,
    ) {
        let mut buffer = BytesMut::new();
        let mut rest = &payload[..];
        loop {
            let start = buffer.len();
            let n_bytes = encode_transfer(1, &transfer, rest, max_frame_size, &mut buffer);
            rest = &rest[n_bytes..];
            // A single byte goes through whatever the state of a transfer takes.
            prop_assert!(buffer.len() - start <= max_frame_size.max(512) || n_bytes <= 1);
            if rest.is_empty() {
                break;
            }
            prop_assert!(n_bytes > 0);
        }
        let frames = all(&buffer, &Limits::SESSION).expect("legal");
        let n_frames = frames.len();
        let mut whole = Vec::new();
        for (at, frame) in frames.into_iter().flatten().enumerate() {
            let Performative::Transfer(read) = frame.performative else {
                panic!("a transfer");
            };
            let more = transfer.more || at + 1 < n_frames;
            prop_assert_eq!(read, Transfer { more, ..transfer.clone() });
            whole.extend_from_slice(&frame.payload);
        }
        prop_assert_eq!(whole, payload);
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_can_be_written(
        number in prop_oneof![0x10..=0x18_u8, 0x40..=0x44_u8, 0x70..=0x78_u8],
        body in vec(prop_oneof![any::<u8>(), select(CONSTRUCTORS.to_vec())], 0..60),
    ) {
        let described = [&[0x00, 0x53, number], &body[..]].concat();
        for bytes in [&described, &body] {
            if let Ok(frames) = all(&frame(0, 0, bytes), &Limits::SESSION) {
                for frame in frames.into_iter().flatten() {
                    let written = frame_encoded(&frame);
                    let again = all(&written, &Limits::SESSION).expect("ours");
                    let again: Vec<u8> = again.iter().flatten().flat_map(frame_encoded).collect();
                    prop_assert_eq!(again, written);
                }
            }
            if let Ok(read) = message(bytes) {
                let written = encode_message(&read);
                let again = encode_message(&message(&written).expect("ours"));
                prop_assert_eq!(again, written);
            }
        }
        let _ = decode_sasl(&mut BytesMut::from(&frame(1, 0, &described)[..]), &Limits::SASL);
        let _ = decode(&mut BytesMut::from(&body[..]), &Limits::SESSION);
    }

    #[test]
    fn a_message_with_one_byte_changed_is_read_as_what_it_says_or_refused(
        sent in any_message(),
        at: usize,
        byte: u8,
    ) {
        let mut bytes = encode_message(&sent).to_vec();
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(read) = message(&bytes) {
            let written = encode_message(&read);
            let again = encode_message(&message(&written).expect("ours"));
            prop_assert_eq!(again, written);
        }
    }
}

const CONSTRUCTORS: &[u8] = &[
    0x00, 0x40, 0x41, 0x43, 0x44, 0x45, 0x50, 0x52, 0x53, 0x54, 0x55, 0x56, 0x60, 0x70, 0x80, 0x98,
    0xa0, 0xa1, 0xa3, 0xb0, 0xb1, 0xc0, 0xc1, 0xd0, 0xd1, 0xe0, 0xf0, 0x01, 0x02, 0x03,
];
