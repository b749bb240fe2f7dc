//! Whatever a client and the endpoints do, in any order: no panic, and both what is kept and what
//! is said stays bounded.

use proptest::prelude::*;

use super::*;
use crate::engine::link::End as LinkEnd;

/// What may happen.
#[derive(Debug, Clone)]
enum Act {
    Frame(Frame),
    Accept { link: u32, max_message_bytes: Option<u64>, window: u32 },
    Refuse(u32),
    Settle { link: u32, delivery: u64 },
    Send { link: u32, n_bytes: usize, is_settled: bool },
    Drained(u32),
    Detach(u32),
    CutOff(Vec<u32>),
    Output,
}

/// A number near 0, or anywhere near the ends and the middle.
fn serial() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 0..12_u32,
        1 => (u32::MAX - 5)..=u32::MAX,
        1 => ((1 << 31) - 3)..((1_u32 << 31) + 3),
    ]
}

fn channel() -> impl Strategy<Value = u16> {
    prop_oneof![8 => 0..3_u16, 1 => 3..8_u16, 1 => 95..105_u16]
}

fn handle() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..4_u32, 1 => 4..20_u32, 1 => 995..1_005_u32]
}

fn outcome() -> impl Strategy<Value = Option<State>> {
    prop_oneof![
        Just(None),
        Just(Some(State::Other)),
        Just(Some(State::Received { section: 0, offset: 1 })),
        Just(Some(State::Outcome(Outcome::Accepted))),
        Just(Some(State::Outcome(Outcome::Rejected(Some(not_found()))))),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Sender), Just(Role::Receiver)]
}

fn performative() -> impl Strategy<Value = Performative> {
    let attach = (handle(), role(), 0..4_u32, 0..3_u8, any::<bool>(), prop::option::of(serial()))
        .prop_map(|(handle, role, name, settle, second, count)| {
            Performative::Attach(Box::new(Attach {
                role,
                name: format!("link-{name}"),
                sender_settle: match settle {
                    0 => SenderSettle::Mixed,
                    1 => SenderSettle::Settled,
                    _ => SenderSettle::Unsettled,
                },
                receiver_settle: if second {
                    ReceiverSettle::Second
                } else {
                    ReceiverSettle::First
                },
                initial_delivery_count: count,
                ..attach(handle)
            }))
        });
    let flow = (
        (prop::option::of(serial()), serial(), serial()),
        (prop::option::of(handle()), prop::option::of(serial()), prop::option::of(serial())),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(|((incoming, window, outgoing), (handle, count, credit), (drain, echo))| {
            Performative::Flow(Flow {
                next_incoming_id: incoming,
                incoming_window: window,
                next_outgoing_id: outgoing,
                outgoing_window: 1,
                handle,
                delivery_count: count,
                link_credit: credit,
                available: None,
                drain,
                echo,
            })
        });
    let transfer = (
        (handle(), prop::option::weighted(0.8, serial()), prop::option::weighted(0.8, 0..3_u8)),
        (prop::option::of(any::<bool>()), prop::bool::weighted(0.4)),
        (prop::bool::weighted(0.05), prop::bool::weighted(0.1)),
    )
        .prop_map(|((handle, delivery_id, tag), (settled, more), (resume, aborted))| {
            Performative::Transfer(Transfer {
                handle,
                delivery_id,
                delivery_tag: tag.map(|tag| Bytes::copy_from_slice(&[tag])),
                settled,
                more,
                resume,
                aborted,
                ..Transfer::default()
            })
        });
    let disposition = (role(), serial(), prop::option::of(serial()), any::<bool>(), outcome())
        .prop_map(|(role, first, last, settled, state)| {
            let batchable = false;
            Performative::Disposition(Disposition { role, first, last, settled, state, batchable })
        });
    let detach = (handle(), any::<bool>())
        .prop_map(|(handle, closed)| Performative::Detach(Detach { handle, closed, error: None }));
    let begin = (serial(), serial(), prop::option::of(0..4_u32)).prop_map(
        |(next_outgoing_id, incoming_window, handle_max)| {
            Performative::Begin(Box::new(Begin {
                next_outgoing_id,
                incoming_window,
                handle_max,
                ..Begin::default()
            }))
        },
    );
    prop_oneof![
        3 => begin,
        6 => attach,
        6 => flow,
        12 => transfer,
        4 => disposition,
        2 => detach,
        1 => Just(end()),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let frame =
        (channel(), performative(), 0..3_usize).prop_map(|(channel, performative, size)| {
            let n_bytes = match &performative {
                Performative::Transfer(_) => [0, 700, 2_500][size],
                _ => 0,
            };
            Act::Frame(Frame { channel, performative, payload: Bytes::from(vec![0; n_bytes]) })
        });
    let window = prop_oneof![3 => 0..5_u32, 1 => Just(u32::MAX)];
    let longest = prop::option::of(prop_oneof![Just(0), Just(1_000), Just(u64::MAX)]);
    prop_oneof![
        20 => frame,
        6 => (0..30_u32, longest, window).prop_map(|(link, max_message_bytes, window)| {
            Act::Accept { link, max_message_bytes, window }
        }),
        1 => (0..30_u32).prop_map(Act::Refuse),
        4 => (0..30_u32, 0..20_u64).prop_map(|(link, delivery)| Act::Settle { link, delivery }),
        6 => (0..30_u32, 0..3_usize, any::<bool>()).prop_map(|(link, size, is_settled)| {
            Act::Send { link, n_bytes: [0, 100, 70_000][size], is_settled }
        }),
        1 => (0..30_u32).prop_map(Act::Drained),
        1 => (0..30_u32).prop_map(Act::Detach),
        1 => prop::collection::vec(0..30_u32, 0..4).prop_map(Act::CutOff),
        4 => Just(Act::Output),
    ]
}

/// Lets most of what happens be about something that is there: what names nothing ends a session,
/// and little could happen on it.
fn aim(engine: &Engine, act: Act) -> Act {
    let links: Vec<u32> = engine.shared.links.keys().map(|link| link.0).collect();
    let link_of = |at: u32| match links.len() {
        0 => at,
        n_links => links[at as usize % n_links],
    };
    match act {
        Act::Frame(Frame { channel, mut performative, payload }) => {
            let Some(Slot::Live(session)) = engine.sessions.get(&channel) else {
                return Act::Frame(Frame { channel, performative, payload });
            };
            let handles: Vec<u32> = session.links.keys().copied().collect();
            let aim = |handle: &mut u32| {
                if *handle < 15 && !handles.is_empty() {
                    *handle = handles[*handle as usize % handles.len()];
                }
            };
            match &mut performative {
                Performative::Flow(Flow { handle: Some(handle), .. }) => aim(handle),
                Performative::Detach(detach) => aim(&mut detach.handle),
                Performative::Transfer(transfer) => {
                    aim(&mut transfer.handle);
                    let link = session.links.get(&transfer.handle).map(|link| &link.end);
                    let begun = match link {
                        Some(LinkEnd::Receiving(receiving)) => receiving.partial.as_ref(),
                        _ => None,
                    };
                    if let (Some(id @ 0..10), None) = (&mut transfer.delivery_id, begun) {
                        *id = session.last_delivery.unwrap_or(0).wrapping_add(1 + *id);
                    } else if let (Some(0..10), Some(partial)) = (transfer.delivery_id, begun) {
                        transfer.delivery_id = Some(partial.wire);
                        transfer.delivery_tag = Some(partial.tag.clone());
                    }
                }
                _ => {}
            }
            Act::Frame(Frame { channel, performative, payload })
        }
        Act::Accept { link, max_message_bytes, window } => {
            Act::Accept { link: link_of(link), max_message_bytes, window }
        }
        Act::Refuse(link) => Act::Refuse(link_of(link)),
        Act::Settle { link, delivery } => {
            let delivery = engine.shared.n_deliveries_ever.saturating_sub(delivery / 2);
            Act::Settle { link: link_of(link), delivery }
        }
        Act::Send { link, n_bytes, is_settled } => {
            Act::Send { link: link_of(link), n_bytes, is_settled }
        }
        Act::Drained(link) => Act::Drained(link_of(link)),
        Act::Detach(link) => Act::Detach(link_of(link)),
        Act::CutOff(links) => Act::CutOff(links.into_iter().map(link_of).collect()),
        Act::Output => Act::Output,
    }
}

/// Does one thing; whether the connection goes on.
fn play(scene: &mut Scene, act: Act) -> bool {
    let engine = &mut scene.engine;
    match act {
        Act::Frame(frame) => {
            if let Err(violation) = engine.receive(frame) {
                engine.close(Some(violation.error));
                return false;
            }
        }
        Act::Accept { link, max_message_bytes, window } => {
            engine.accept(LinkId(link), max_message_bytes, window);
        }
        Act::Refuse(link) => engine.refuse(LinkId(link), not_found()),
        Act::Settle { link, delivery } => {
            engine.settle(LinkId(link), DeliveryId(delivery), Outcome::Accepted);
        }
        Act::Send { link, n_bytes, is_settled } => {
            let message = Bytes::from(vec![0; n_bytes]);
            let _ = engine.send(LinkId(link), 1, [0; 16], message, is_settled);
        }
        Act::Drained(link) => engine.drained(LinkId(link)),
        Act::Detach(link) => engine.detach(LinkId(link), None),
        Act::CutOff(links) => {
            let links: Vec<LinkId> = links.into_iter().map(LinkId).collect();
            engine.cut_off(&links, &not_found(), |link| link.0 % 2 == 0);
        }
        Act::Output => {
            scene.frames();
        }
    }
    true
}

/// What is kept is within the limits, and the books agree.
fn check_books(engine: &Engine) {
    let limits = &engine.shared.limits;
    assert!(engine.sessions.len() <= 2 * limits.max_sessions);
    assert_eq!(engine.sessions.len(), engine.channels.len());
    assert!(engine.shared.links.len() <= limits.max_links);
    assert!(engine.shared.n_handles <= 2 * limits.max_links);
    assert!(engine.partial_bytes() <= limits.max_partial_bytes);
    let (mut n_handles, mut n_live, mut partial_bytes, mut n_in_line) = (0, 0, 0, 0);
    let mut partials = BTreeSet::new();
    for slot in engine.sessions.values() {
        let Slot::Live(session) = slot else { continue };
        n_handles += session.links.len();
        let (mut n_incoming, mut n_outgoing) = (0, 0);
        for link in session.links.values() {
            n_live += usize::from(link.is_live());
            partial_bytes += link.partial_bytes();
            partials.extend(link.partial());
            match &link.end {
                LinkEnd::Receiving(receiving) => {
                    assert!(receiving.credit <= receiving.window);
                    n_incoming += receiving.n_unsettled;
                }
                LinkEnd::Sending(sending) => {
                    n_outgoing += sending.n_unsettled;
                    n_in_line += usize::from(sending.is_in_line);
                    assert!(sending.waiting.len() <= crate::endpoint::MAX_WAITING);
                    assert!(sending.n_unsettled <= link::MAX_UNSETTLED);
                    let is_shut = session.remote_window == 0 || link.unanswered.is_some();
                    assert!(sending.is_in_line || !sending.is_ready() || is_shut);
                }
                LinkEnd::Left { .. } => {}
            }
        }
        assert_eq!(session.incoming.len(), n_incoming as usize);
        assert_eq!(session.outgoing.len(), n_outgoing as usize);
    }
    assert_eq!(n_handles, engine.shared.n_handles);
    assert_eq!(n_live, engine.shared.links.len());
    assert_eq!(partial_bytes, engine.shared.partial_bytes);
    assert_eq!(partials, engine.shared.partials);
    assert_eq!(n_in_line, engine.shared.line.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_a_client_does_breaks_the_engine(
        first_id in serial(),
        acts in prop::collection::vec(act(), 1..200),
    ) {
        let mut scene = Scene::open(limits(), Open::default(), first_id);
        let mut detached = BTreeSet::new();
        for act in acts {
            let act = aim(&scene.engine, act);
            let n_before = scene.engine.shared.out.len();
            let is_output = matches!(act, Act::Output | Act::CutOff(_));
            if !play(&mut scene, act) {
                prop_assert!(scene.engine.is_closing());
                break;
            }
            check_books(&scene.engine);
            // One thing leads to a few short frames, messages apart.
            let n_said = scene.engine.shared.out.len().saturating_sub(n_before);
            prop_assert!(is_output || n_said < 2_000, "{n_said} bytes");
            prop_assert!(scene.engine.shared.events.len() < 200);
            while let Some(event) = scene.engine.next_event() {
                match event {
                    Event::Detached(link) => {
                        prop_assert!(detached.insert(link), "told twice");
                    }
                    Event::Attached { link, .. }
                    | Event::Message { link, .. }
                    | Event::Credit { link, .. }
                    | Event::Settled { link, .. } => {
                        prop_assert!(!detached.contains(&link), "{} after its end", link.0);
                    }
                    Event::Opened(_) | Event::Closed(_) => {}
                }
            }
            prop_assert!(scene.engine.shared.out.len() < 4 * AHEAD_BYTES);
            if scene.engine.shared.out.len() > AHEAD_BYTES {
                scene.frames();
            }
            check_books(&scene.engine);
        }
    }
}
