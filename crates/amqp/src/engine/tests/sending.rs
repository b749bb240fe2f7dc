use super::*;
use crate::endpoint::MAX_WAITING;

#[test]
fn a_message_is_sent_with_all_that_clients_look_at() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 10);
    scene.engine.send(link, 7, [9; 16], Bytes::from_static(b"hello"), false).unwrap();
    let frames = scene.frames();
    let sent = Transfer {
        handle: 0,
        delivery_id: Some(0),
        delivery_tag: Some(Bytes::from_static(&[9; 16])),
        message_format: Some(0),
        settled: Some(false),
        ..Transfer::default()
    };
    assert_eq!(frames[0].performative, Performative::Transfer(sent));
    assert_eq!(frames[0].payload, "hello");
    assert_eq!(frames.len(), 1);
}

#[test]
fn messages_wait_for_credit() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 2);
    for number in 0..4 {
        scene.send(link, number, 5).unwrap();
    }
    assert_eq!(scene.heard(), ["0: transfer 0 #0 5 bytes", "0: transfer 0 #1 5 bytes"]);
    // It has received one of them when it says so.
    let more = Flow { delivery_count: Some(1), link_credit: Some(2), ..flow(0) };
    assert_eq!(scene.say(0, Performative::Flow(more)), ["0: transfer 0 #2 5 bytes"]);
    let none = Flow { delivery_count: Some(3), link_credit: Some(0), ..flow(0) };
    assert_eq!(scene.say(0, Performative::Flow(none)), [""; 0]);
}

#[test]
fn the_endpoint_hears_how_many_messages_more_a_link_takes() {
    let mut scene = scene();
    let link = scene.attaches(0, Attach { role: Role::Receiver, ..attach(0) });
    let credit = |n| Performative::Flow(Flow { link_credit: Some(n), ..flow(0) });
    // Credit may come before the attach is answered.
    scene.say(0, credit(5));
    assert_eq!(scene.events(), [""; 0]);
    scene.engine.accept(link, None, 0);
    assert_eq!(scene.events(), ["credit 5 on 0"]);
    scene.send(link, 1, 1).unwrap();
    scene.say(0, credit(5));
    assert_eq!(scene.events(), [""; 0]);
    scene.say(0, credit(6));
    assert_eq!(scene.events(), ["credit 5 on 0"]);
    scene.say(0, credit(1));
    assert_eq!(scene.events(), ["credit 0 on 0"]);
    scene.send(link, 2, 1).unwrap();
    scene.send(link, 3, 1).unwrap();
    scene.say(0, credit(6));
    assert_eq!(scene.events(), ["credit 3 on 0"]);
}

#[test]
fn no_more_messages_wait_than_may() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 0);
    for number in 0..MAX_WAITING {
        assert_eq!(scene.send(link, number as u64, 1), Ok(()));
    }
    assert_eq!(scene.send(link, 1_000, 1), Err(Full));
}

#[test]
fn a_long_message_is_split_as_the_client_wants() {
    let open = Open { max_frame_size: Some(512), ..Open::default() };
    let mut scene = Scene::open(limits(), open, 0);
    let link = scene.we_send(attach(0), 10);
    let message: Vec<u8> = (0..2_000_u32).map(|at| (at % 251) as u8).collect();
    scene.engine.send(link, 1, [0; 16], Bytes::from(message.clone()), false).unwrap();
    let frames = scene.frames();
    let mut arrived = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let Performative::Transfer(transfer) = &frame.performative else { panic!("{frame:?}") };
        assert_eq!(transfer.more, at + 1 < frames.len());
        assert_eq!(transfer.delivery_id, Some(0));
        let mut bytes = BytesMut::new();
        proto::encode_transfer(0, transfer, &frame.payload, usize::MAX, &mut bytes);
        assert!(bytes.len() <= 512);
        arrived.extend_from_slice(&frame.payload);
    }
    assert_eq!(arrived, message);
    assert!(frames.len() < 6, "{} frames", frames.len());
}

#[test]
fn an_empty_message_is_a_frame() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 10);
    scene.send(link, 1, 0).unwrap();
    assert_eq!(scene.heard(), ["0: transfer 0 #0 0 bytes"]);
}

#[test]
fn transfers_wait_for_the_session_window() {
    let open = Open { max_frame_size: Some(512), ..Open::default() };
    let mut scene = Scene::open(limits(), open, u32::MAX - 1);
    let link = scene.we_send(attach(0), 10);
    let first = u32::MAX - 1;
    let window = |received: u32, n| {
        let session = Flow {
            next_incoming_id: Some(received),
            incoming_window: n,
            handle: None,
            delivery_count: None,
            ..flow(0)
        };
        Performative::Flow(session)
    };
    scene.say(0, window(first, 2));
    scene.send(link, 1, 1_000).unwrap();
    scene.send(link, 2, 1).unwrap();
    let heard = scene.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard[1].ends_with("more"));
    // Half of what it takes is on its way already.
    assert_eq!(scene.say(0, window(first, 2)), [""; 0]);
    let heard = scene.say(0, window(first.wrapping_add(1), 2));
    assert_eq!(heard.len(), 1);
    assert!(!heard[0].ends_with("more"));
    // Before our begin came, the client counts from it.
    let unknown = Flow { next_incoming_id: None, incoming_window: 4, handle: None, ..flow(0) };
    let heard = scene.say(0, Performative::Flow(Flow { delivery_count: None, ..unknown }));
    assert_eq!(heard, [format!("0: transfer 0 #{} 1 bytes", u32::MAX)]);
    scene.send(link, 3, 1).unwrap();
    assert_eq!(scene.heard(), [""; 0]);
    assert_eq!(scene.say(0, window(2, 1)), ["0: transfer 0 #0 1 bytes"]);
}

#[test]
fn links_take_turns() {
    let mut scene = scene();
    let one = scene.we_send(attach(0), 10);
    let two = scene.we_send(attach(1), 10);
    for number in 0..2 {
        scene.send(one, number, 1).unwrap();
        scene.send(two, number, 1).unwrap();
    }
    let heard: Vec<String> = scene.heard().iter().map(|frame| frame[..13].to_owned()).collect();
    assert_eq!(heard, ["0: transfer 0", "0: transfer 1", "0: transfer 0", "0: transfer 1"]);
}

#[test]
fn no_more_is_encoded_than_is_sent_soon() {
    for max_frame_size in [10_000, 65_536, u32::MAX] {
        let open = Open { max_frame_size: Some(max_frame_size), ..Open::default() };
        let mut scene = Scene::open(limits(), open, 0);
        let link = scene.we_send(attach(0), 100);
        for number in 0..50 {
            scene.send(link, number, 150_000).unwrap();
        }
        let (mut n_outputs, mut n_bytes) = (0, 0);
        loop {
            let bytes = mem::take(scene.engine.output());
            if bytes.is_empty() {
                break;
            }
            assert!(bytes.len() <= AHEAD_BYTES + MAX_SENT_FRAME_BYTES);
            n_outputs += 1;
            n_bytes += bytes.len();
        }
        assert!(n_outputs >= 50);
        assert!(n_bytes >= 50 * 150_000);
    }
}

#[test]
fn outcomes_are_told_and_a_range_costs_what_is_in_it() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 100);
    for number in 10..20 {
        scene.send(link, number, 1).unwrap();
    }
    scene.heard();
    scene.say(0, said(1, 1, true, Some(Outcome::Accepted)));
    assert_eq!(scene.events(), ["settled 11 on 0: accepted"]);
    scene.say(0, said(1, 2, true, Some(Outcome::Rejected(None))));
    assert_eq!(scene.events(), ["settled 12 on 0: rejected"]);
    // What has only begun to arrive is not settled.
    let part = Performative::Disposition(Disposition {
        role: Role::Receiver,
        first: 3,
        last: None,
        settled: false,
        state: Some(State::Received { section: 0, offset: 0 }),
        batchable: false,
    });
    scene.say(0, part);
    scene.say(0, said(0, u32::MAX, true, Some(Outcome::Accepted)));
    assert_eq!(scene.events(), [""; 0]);
    scene.say(0, said(u32::MAX, 1 << 30, true, None));
    let events = scene.events();
    assert_eq!(events.len(), 8);
    assert_eq!(events[0], "settled 10 on 0: released");
    scene.say(0, said(0, 1 << 30, true, None));
    assert_eq!(scene.events(), [""; 0]);
}

#[test]
fn an_error_said_of_many_is_kept_in_short() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 100);
    for number in 0..3 {
        scene.send(link, number, 1).unwrap();
    }
    scene.heard();
    let error = WireError::new(&"c".repeat(1_000), "t".repeat(1_000));
    scene.say(0, said(0, 0, true, Some(Outcome::Rejected(Some(error.clone())))));
    let Some(Event::Settled { outcome, .. }) = scene.engine.next_event() else { panic!() };
    assert_eq!(outcome, Outcome::Rejected(Some(error.clone())));
    scene.say(0, said(0, 9, true, Some(Outcome::Rejected(Some(error)))));
    let short = WireError { condition: "c".repeat(128), ..WireError::default() };
    while let Some(event) = scene.engine.next_event() {
        let Event::Settled { outcome, .. } = event else { panic!("{event:?}") };
        assert_eq!(outcome, Outcome::Rejected(Some(short.clone())));
    }
}

#[test]
fn a_client_that_settles_second_hears_that_we_have() {
    let mut scene = scene();
    let link = scene.we_send(Attach { receiver_settle: ReceiverSettle::Second, ..attach(0) }, 9);
    for number in 0..3 {
        scene.send(link, number, 1).unwrap();
    }
    scene.heard();
    let heard = scene.say(0, said(0, 7, false, Some(Outcome::Accepted)));
    assert_eq!(heard, ["0: sender says 0..=2 settled accepted"]);
    assert_eq!(scene.events().len(), 3);
    assert_eq!(scene.say(0, said(0, 7, false, Some(Outcome::Accepted))), [""; 0]);
}

#[test]
fn who_wants_messages_settled_gets_them_so() {
    let settled = Attach { sender_settle: SenderSettle::Settled, ..attach(0) };
    let unsettled = Attach { sender_settle: SenderSettle::Unsettled, ..attach(1) };
    let mut scene = scene();
    let link = scene.we_send(settled, 9);
    scene.send(link, 1, 1).unwrap();
    assert_eq!(scene.heard(), ["0: transfer 0 #0 1 bytes settled"]);
    assert_eq!(scene.events(), ["settled 1 on 0: accepted"]);
    let link = scene.we_send(unsettled, 9);
    scene.engine.send(link, 2, [0; 16], Bytes::new(), true).unwrap();
    assert_eq!(scene.heard(), ["0: transfer 1 #1 0 bytes"]);
    scene.say(0, said(1, 1, true, Some(Outcome::Accepted)));
    assert_eq!(scene.events(), [""; 0]);
}

#[test]
fn a_drained_link_gives_the_credit_back() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 0);
    let drain = |count, credit| {
        let flow = Flow { delivery_count: Some(count), ..flow(0) };
        Performative::Flow(Flow { link_credit: Some(credit), drain: true, ..flow })
    };
    // Nobody waits for a link that has nothing to give.
    assert_eq!(scene.say(0, drain(0, 0)), ["0: flow 0 credit 0 from 0 drain"]);
    assert_eq!(scene.events(), [""; 0]);
    assert_eq!(scene.say(0, drain(0, 5)), [""; 0]);
    assert_eq!(scene.events(), ["credit 5 on 0 drain"]);
    scene.send(link, 1, 3).unwrap();
    scene.engine.drained(link);
    let heard = ["0: transfer 0 #0 3 bytes", "0: flow 0 credit 0 from 5 drain"];
    assert_eq!(scene.heard(), heard);
    scene.engine.drained(link);
    assert_eq!(scene.heard(), [""; 0]);
    // As many as there is credit for: it is used up then.
    assert_eq!(scene.say(0, drain(5, 1)), [""; 0]);
    scene.send(link, 2, 3).unwrap();
    scene.send(link, 3, 3).unwrap();
    let heard = ["0: transfer 0 #1 3 bytes", "0: flow 0 credit 0 from 6 drain"];
    assert_eq!(scene.heard(), heard);
}

#[test]
fn a_drain_that_is_taken_back_is_none() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 5);
    let credit = |drain| Flow { link_credit: Some(5), drain, ..flow(0) };
    scene.say(0, Performative::Flow(credit(true)));
    scene.say(0, Performative::Flow(credit(false)));
    scene.engine.drained(link);
    assert_eq!(scene.heard(), [""; 0]);
}

#[test]
fn what_was_said_of_a_drain_taken_back_holds_no_more() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 0);
    let credit = |drain, window| {
        let flow = Flow { link_credit: Some(5), drain, ..flow(0) };
        Performative::Flow(Flow { incoming_window: window, ..flow })
    };
    scene.say(0, credit(true, 0));
    scene.send(link, 1, 3).unwrap();
    scene.engine.drained(link);
    scene.say(0, credit(false, 0));
    scene.say(0, credit(true, 0));
    assert_eq!(scene.say(0, credit(true, 9)), ["0: transfer 0 #0 3 bytes"]);
}

#[test]
fn credit_is_not_given_back_in_the_middle_of_a_message() {
    let open = Open { max_frame_size: Some(512), ..Open::default() };
    let mut scene = Scene::open(limits(), open, 0);
    let link = scene.we_send(attach(0), 0);
    let drain = |received, window| {
        let flow = Flow { link_credit: Some(1), drain: true, ..flow(0) };
        let next_incoming_id = Some(received);
        Performative::Flow(Flow { next_incoming_id, incoming_window: window, ..flow })
    };
    scene.say(0, drain(0, 1));
    scene.send(link, 1, 700).unwrap();
    scene.send(link, 2, 1).unwrap();
    assert_eq!(scene.heard().len(), 1);
    assert_eq!(scene.say(0, drain(1, 0)), [""; 0]);
    let heard = scene.say(0, drain(1, 5));
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1], "0: flow 0 credit 0 from 1 drain");
}

#[test]
fn a_message_may_wait_for_its_link_to_be_answered() {
    let mut scene = scene();
    let link = scene.attaches(0, Attach { role: Role::Receiver, ..attach(0) });
    scene.say(0, Performative::Flow(Flow { link_credit: Some(5), ..flow(0) }));
    scene.send(link, 1, 3).unwrap();
    assert_eq!(scene.heard(), [""; 0]);
    scene.engine.accept(link, None, 0);
    assert_eq!(scene.heard(), ["0: attach 0 sender", "0: transfer 0 #0 3 bytes"]);
}

#[test]
fn a_message_that_the_client_does_not_take_is_not_sent() {
    let mut scene = scene();
    let link = scene.we_send(Attach { max_message_size: Some(10), ..attach(0) }, 9);
    scene.send(link, 1, 11).unwrap();
    scene.send(link, 2, 10).unwrap();
    assert_eq!(scene.heard(), ["0: transfer 0 #0 10 bytes"]);
    assert_eq!(scene.events(), ["settled 1 on 0: rejected amqp:link:message-size-exceeded"]);
    scene.engine.send(link, 3, [0; 16], Bytes::from_static(&[0; 11]), true).unwrap();
    assert_eq!(scene.heard(), ["0: detach 0 closed amqp:link:message-size-exceeded"]);
    assert_eq!(scene.events(), ["detached 0"]);
}

#[test]
fn a_client_that_never_settles_gets_no_more() {
    let mut scene = scene();
    let link = scene.we_send(attach(0), 5_000);
    for number in 0..1_050 {
        scene.send(link, number, 1).unwrap();
        scene.frames();
    }
    assert_eq!(scene.events(), [""; 0]);
    assert_eq!(scene.say(0, said(0, 9, true, Some(Outcome::Accepted))).len(), 10);
    assert_eq!(scene.say(0, said(0, 5_000, true, Some(Outcome::Accepted))).len(), 40);
    assert_eq!(scene.events().len(), 1_010);
}

#[test]
fn delivery_numbers_and_counts_of_ours_go_on_after_the_last_one() {
    let mut scene = Scene::open(limits(), Open::default(), u32::MAX);
    let link = scene.we_send(attach(0), 9);
    for number in 0..3 {
        scene.send(link, number, 1).unwrap();
    }
    let heard = scene.heard();
    assert_eq!(heard[0], format!("0: transfer 0 #{} 1 bytes", u32::MAX));
    assert_eq!(heard[1], "0: transfer 0 #0 1 bytes");
    scene.say(0, said(u32::MAX, 1, true, Some(Outcome::Accepted)));
    assert_eq!(scene.events().len(), 3);
}

#[test]
fn what_was_under_way_on_a_link_is_forgotten_with_it() {
    let ends: [fn(&mut Scene, LinkId); 4] = [
        |scene, _| drop(scene.try_say(0, detach(0), b"")),
        |scene, _| drop(scene.try_say(0, end(), b"")),
        |scene, link| scene.engine.detach(link, None),
        |scene, link| assert!(scene.engine.cut_off(&[link], &not_found(), |_| true)),
    ];
    for ends in ends {
        let mut scene = scene();
        let link = scene.we_send(attach(0), 50);
        scene.client_sends(attach(1), 0);
        for number in 0..50 {
            scene.send(link, number, 10_000).unwrap();
        }
        assert!(!scene.engine.output().is_empty());
        assert_eq!(scene.engine.shared.line.len(), 1);
        ends(&mut scene, link);
        assert!(scene.engine.shared.line.is_empty());
        scene.engine.output().clear();
        if let Some(Slot::Live(session)) = scene.engine.sessions.get(&0) {
            assert_eq!(session.outgoing.len(), 0);
            scene.events();
            assert_eq!(scene.say(0, said(0, 100, true, Some(Outcome::Accepted))), [""; 0]);
            assert_eq!(scene.events(), [""; 0]);
        }
    }
}
