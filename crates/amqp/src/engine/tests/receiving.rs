use super::*;

#[test]
fn a_message_arrives_and_is_settled() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    assert_eq!(scene.transfer(transfer(0, 40), b"hello"), [""; 0]);
    assert_eq!(scene.events(), ["message 1 on 0, 5 bytes"]);
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    assert_eq!(scene.heard(), ["0: receiver says 40..=40 settled accepted"]);
    scene.engine.settle(link, DeliveryId(1), Outcome::Released);
    assert_eq!(scene.heard(), [""; 0]);
}

#[test]
fn messages_are_settled_in_any_order_and_on_their_own_link_only() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    let other = scene.client_sends(attach(1), 10);
    for id in 0..3 {
        scene.transfer(transfer(0, id), b"m");
    }
    scene.engine.settle(other, DeliveryId(1), Outcome::Accepted);
    scene.engine.settle(link, DeliveryId(9), Outcome::Accepted);
    assert_eq!(scene.heard(), [""; 0]);
    scene.engine.settle(link, DeliveryId(3), Outcome::Accepted);
    scene.engine.settle(link, DeliveryId(1), Outcome::Rejected(Some(not_found())));
    let heard = [
        "0: receiver says 2..=2 settled accepted",
        "0: receiver says 0..=0 settled rejected amqp:not-found",
    ];
    assert_eq!(scene.heard(), heard);
}

#[test]
fn credit_is_renewed_once_half_of_it_is_used_and_settled() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 4);
    for id in 0..4 {
        assert_eq!(scene.transfer(transfer(0, id), b"m"), [""; 0]);
    }
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    assert_eq!(scene.heard().len(), 1);
    scene.engine.settle(link, DeliveryId(2), Outcome::Accepted);
    let heard = ["0: receiver says 1..=1 settled accepted", "0: flow 0 credit 2 from 4"];
    assert_eq!(scene.heard(), heard);
    // One of them is settled by the client, which wants to hear nothing.
    let settled = Transfer { settled: Some(true), ..transfer(0, 4) };
    assert_eq!(scene.transfer(settled, b"m"), [""; 0]);
    scene.engine.settle(link, DeliveryId(5), Outcome::Accepted);
    assert_eq!(scene.heard(), [""; 0]);
    assert_eq!(scene.transfer(transfer(0, 5), b"m"), [""; 0]);
    scene.engine.settle(link, DeliveryId(3), Outcome::Accepted);
    let heard = ["0: receiver says 2..=2 settled accepted", "0: flow 0 credit 2 from 6"];
    assert_eq!(scene.heard(), heard);
}

#[test]
fn settled_messages_alone_renew_credit_too() {
    let mut scene = scene();
    scene.client_sends(attach(0), 1);
    for id in 0..5 {
        let settled = Transfer { settled: Some(true), ..transfer(0, id) };
        let credit = format!("0: flow 0 credit 1 from {}", id + 1);
        assert_eq!(scene.transfer(settled, b"m"), [credit]);
    }
    assert_eq!(scene.events().len(), 5);
}

#[test]
fn a_message_in_pieces_arrives_whole() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    scene.client_sends(attach(1), 10);
    scene.transfer(first_piece(0, 0), b"he");
    scene.transfer(transfer(1, 1), b"between");
    scene.transfer(Transfer { settled: Some(true), ..next_piece(0, true) }, b"ll");
    assert!(scene.engine.partial_bytes() >= 4);
    let last = Transfer { delivery_id: Some(0), more: false, ..first_piece(0, 0) };
    scene.transfer(last, b"o");
    assert_eq!(scene.engine.partial_bytes(), 0);
    // Settled is what any of its pieces says.
    assert_eq!(scene.events(), ["message 2 on 1, 7 bytes", "message 1 on 0, 5 bytes settled"]);
}

#[test]
fn the_oldest_message_in_pieces_is_known_however_the_others_end() {
    let mut scene = scene();
    scene.say(1, begin());
    for handle in 0..4 {
        scene.client_sends(attach(handle), 10);
    }
    let other = scene.attaches(1, attach(0));
    scene.engine.accept(other, None, 10);
    scene.heard();
    let oldest = |scene: &Scene| scene.engine.oldest_partial().map(|delivery| delivery.0);
    assert_eq!(oldest(&scene), None);
    let piece = Frame {
        channel: 1,
        performative: Performative::Transfer(first_piece(0, 0)),
        payload: Bytes::from_static(b"x"),
    };
    scene.engine.receive(piece).expect("legal");
    for (handle, id) in (0..4).zip(0..) {
        scene.transfer(first_piece(handle, id), b"x");
    }
    assert_eq!(oldest(&scene), Some(1));
    scene.say(1, end());
    assert_eq!(oldest(&scene), Some(2), "its session was ended");
    scene.transfer(next_piece(0, true), b"x");
    assert_eq!(oldest(&scene), Some(2));
    scene.transfer(next_piece(0, false), b"x");
    assert_eq!(oldest(&scene), Some(3), "it is whole");
    scene.say(0, detach(1));
    assert_eq!(oldest(&scene), Some(4), "its link was detached");
    scene.transfer(Transfer { aborted: true, ..next_piece(2, true) }, b"");
    assert_eq!(oldest(&scene), Some(5), "it was aborted");
    scene.engine.close(None);
    assert_eq!(oldest(&scene), None);
}

#[test]
fn an_aborted_message_is_forgotten_and_its_credit_used() {
    let mut scene = scene();
    scene.client_sends(attach(0), 2);
    scene.transfer(first_piece(0, 0), b"he");
    let aborted = Transfer { aborted: true, more: true, ..next_piece(0, true) };
    assert_eq!(scene.transfer(aborted, b""), ["0: flow 0 credit 2 from 1"]);
    assert_eq!(scene.engine.partial_bytes(), 0);
    scene.transfer(transfer(0, 1), b"next");
    assert_eq!(scene.events(), ["message 2 on 0, 4 bytes"]);
}

#[test]
fn a_message_too_long_is_rejected_and_its_link_stays() {
    let mut scene = scene();
    let link = scene.attaches(0, attach(0));
    scene.engine.accept(link, Some(10), 10);
    scene.heard();
    let rejected = "receiver says 0..=0 settled rejected amqp:link:message-size-exceeded";
    assert_eq!(scene.transfer(transfer(0, 0), &[0; 11]), [format!("0: {rejected}")]);
    scene.transfer(first_piece(0, 1), &[0; 10]);
    scene.transfer(next_piece(0, true), &[0; 10]);
    assert_eq!(scene.engine.partial_bytes(), 0);
    assert_eq!(scene.transfer(next_piece(0, false), &[0; 10]).len(), 1);
    scene.transfer(first_piece(0, 2), &[0; 9]);
    scene.transfer(next_piece(0, false), &[0; 1]);
    assert_eq!(scene.events(), ["message 3 on 0, 10 bytes"]);
}

#[test]
fn a_settled_message_too_long_detaches_its_link() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    let settled = Transfer { settled: Some(true), ..transfer(0, 0) };
    let detached = "0: detach 0 closed amqp:link:message-size-exceeded";
    assert_eq!(scene.transfer(settled, &[0; 2_001]), [detached]);
    assert_eq!(scene.events(), ["detached 0"]);
}

#[test]
fn a_message_that_never_ends_detaches_its_link() {
    for piece in [&[0_u8; 500][..], &[]] {
        let mut scene = scene();
        let link = scene.attaches(0, attach(0));
        scene.engine.accept(link, Some(1_000), 10);
        scene.heard();
        let mut heard = scene.transfer(first_piece(0, 0), piece);
        let mut n_pieces = 1;
        while heard.iter().all(|frame| frame == "0: flow") {
            assert!(scene.engine.partial_bytes() <= 1_000);
            heard = scene.transfer(next_piece(0, true), piece);
            n_pieces += 1;
        }
        assert_eq!(heard, ["0: detach 0 closed amqp:link:message-size-exceeded"]);
        assert_eq!(n_pieces, if piece.is_empty() { 4_001 } else { 9 });
        // The rest of it left before the client knew.
        assert_eq!(scene.transfer(next_piece(0, true), piece), [""; 0]);
    }
}

#[test]
fn all_partial_messages_together_are_bounded() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    scene.client_sends(attach(1), 10);
    scene.transfer(first_piece(0, 0), &[0; 1_900]);
    scene.transfer(first_piece(1, 1), &[0; 1_101]);
    assert_eq!(scene.engine.partial_bytes(), 1_900);
    let rejected = "0: receiver says 1..=1 settled rejected amqp:resource-limit-exceeded";
    assert_eq!(scene.transfer(next_piece(1, false), b""), [rejected]);
    // One that is whole at once is not among them.
    scene.transfer(transfer(1, 2), &[0; 1_900]);
    scene.transfer(next_piece(0, false), b"");
    assert_eq!(scene.events(), ["message 3 on 1, 1900 bytes", "message 1 on 0, 1900 bytes"]);
}

#[test]
fn a_client_that_asks_to_settle_second_hears_that_we_settle_first() {
    let mut scene = scene();
    let second = Attach { receiver_settle: ReceiverSettle::Second, ..attach(0) };
    let link = scene.attaches(0, second);
    scene.engine.accept(link, None, 1);
    let frames = scene.frames();
    let Performative::Attach(answer) = &frames[0].performative else { panic!("{frames:?}") };
    assert_eq!(answer.receiver_settle, ReceiverSettle::First);
    let asks = Transfer { receiver_settle: Some(ReceiverSettle::Second), ..transfer(0, 0) };
    scene.transfer(asks, b"m");
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    scene.engine.settle(link, DeliveryId(1), Outcome::Released);
    assert_eq!(scene.heard()[0], "0: receiver says 0..=0 settled accepted");
}

#[test]
fn a_message_that_another_overtook_is_settled_under_its_own_number() {
    let mut scene = scene();
    let slow = scene.client_sends(attach(0), 10);
    let quick = scene.client_sends(attach(1), 10);
    scene.transfer(first_piece(0, 0), b"a");
    scene.transfer(transfer(1, 1), b"b");
    scene.transfer(next_piece(0, false), b"c");
    scene.engine.settle(quick, DeliveryId(2), Outcome::Accepted);
    assert_eq!(scene.heard(), ["0: receiver says 1..=1 settled accepted"]);
    scene.engine.settle(slow, DeliveryId(1), Outcome::Accepted);
    assert_eq!(scene.heard(), ["0: receiver says 0..=0 settled accepted"]);
}

#[test]
fn a_client_may_forget_what_it_sent() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 4);
    for id in 0..4 {
        scene.transfer(transfer(0, id), b"m");
    }
    let settles = Disposition {
        role: Role::Sender,
        first: 0,
        last: Some(2),
        settled: true,
        state: None,
        batchable: false,
    };
    let heard = scene.say(0, Performative::Disposition(settles));
    assert_eq!(heard, ["0: flow 0 credit 2 from 4"]);
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    assert_eq!(scene.heard(), [""; 0]);
    scene.engine.settle(link, DeliveryId(4), Outcome::Accepted);
    assert_eq!(scene.heard()[0], "0: receiver says 3..=3 settled accepted");
}

#[test]
fn delivery_numbers_go_on_after_the_last_one_and_may_leave_some_out() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    for id in [u32::MAX - 5, u32::MAX, 3, 4] {
        scene.transfer(transfer(0, id), b"m");
    }
    for delivery in 1..=4 {
        scene.engine.settle(link, DeliveryId(delivery), Outcome::Accepted);
    }
    let heard = scene.heard();
    assert_eq!(heard[1], format!("0: receiver says {0}..={0} settled accepted", u32::MAX));
    assert_eq!(heard[2], "0: receiver says 3..=3 settled accepted");
}

#[test]
fn counts_go_on_after_the_last_one() {
    let mut scene = scene();
    let last = Attach { initial_delivery_count: Some(u32::MAX), ..attach(0) };
    scene.client_sends(last, 2);
    let settled = |id| Transfer { settled: Some(true), ..transfer(0, id) };
    assert_eq!(scene.transfer(settled(0), b"m"), ["0: flow 0 credit 2 from 0"]);
    assert_eq!(scene.transfer(settled(1), b"m"), ["0: flow 0 credit 2 from 1"]);
}

#[test]
fn the_session_window_is_renewed_before_it_is_used_up() {
    let mut scene = scene();
    scene.client_sends(attach(0), 1_000_000);
    for round in 0..3 {
        for id in 0..1_024 {
            let settled = Transfer { settled: Some(true), ..transfer(0, round * 1_024 + id) };
            let heard = scene.transfer(settled, b"m");
            if id == 1_023 {
                assert_eq!(heard, ["0: flow"]);
            } else {
                assert_eq!(heard, [""; 0]);
            }
            scene.events();
        }
    }
}

#[test]
fn a_flow_says_how_many_transfers_came() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    for id in 0..3 {
        scene.transfer(transfer(0, id), b"m");
    }
    let next_incoming_id = |scene: &mut Scene, next_outgoing_id| {
        let flow = Flow { handle: None, delivery_count: None, echo: true, ..flow(0) };
        let performative = Performative::Flow(Flow { next_outgoing_id, ..flow });
        scene.try_say(0, performative, b"").unwrap();
        let Performative::Flow(flow) = scene.frames().remove(0).performative else { panic!() };
        assert_eq!(flow.incoming_window, 2_048);
        flow.next_incoming_id
    };
    let Some(Slot::Live(session)) = scene.engine.sessions.get(&0) else { panic!() };
    assert_eq!(session.flow(None).next_incoming_id, Some(3));
    assert_eq!(session.flow(None).incoming_window, 2_045);
    // The client knows best (§2.5.6).
    assert_eq!(next_incoming_id(&mut scene, 3), Some(3));
    assert_eq!(next_incoming_id(&mut scene, u32::MAX), Some(u32::MAX));
}

#[test]
fn a_client_that_gives_up_credit_gets_it_anew() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    let counts = |count| Performative::Flow(Flow { delivery_count: Some(count), ..flow(0) });
    assert_eq!(scene.say(0, counts(4)), [""; 0]);
    assert_eq!(scene.say(0, counts(2)), [""; 0]);
    assert_eq!(scene.say(0, counts(10)), ["0: flow 0 credit 10 from 10"]);
    assert_eq!(scene.say(0, counts(1_000)), ["0: flow 0 credit 10 from 1000"]);
}

#[test]
fn an_echo_is_answered() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    let echo = Flow { echo: true, ..flow(0) };
    assert_eq!(scene.say(0, Performative::Flow(echo.clone())), ["0: flow 0 credit 10 from 0"]);
    let session = Flow { handle: None, delivery_count: None, ..echo };
    assert_eq!(scene.say(0, Performative::Flow(session)), ["0: flow"]);
}
