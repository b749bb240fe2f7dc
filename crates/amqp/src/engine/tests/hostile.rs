use super::*;

/// What a frame that breaks the standard leads to.
enum Ends {
    Connection(&'static str),
    Session(&'static str),
    /// The link of handle 0.
    Link(&'static str),
    Nothing,
}

use Ends::{Connection, Link, Nothing, Session};

/// On a session with a link that the client sends on (handle 0, credit for two), one that it
/// receives on (1), one that waits for an answer (2) and one that we have detached (3).
fn check(case: &str, frame: (u16, Performative), ends: Ends) {
    let mut scene = scene();
    scene.client_sends(attach(0), 2);
    scene.we_send(attach(1), 0);
    scene.attaches(0, attach(2));
    let left = scene.client_sends(attach(3), 0);
    scene.engine.detach(left, None);
    scene.heard();
    let was = scene.try_say(frame.0, frame.1, b"");
    let heard = scene.heard();
    let events = scene.events();
    match (ends, was) {
        (Connection(condition), Err(violation)) => {
            assert_eq!(violation.error.condition, condition, "{case}");
            assert_eq!(heard, [""; 0], "{case}");
        }
        (Session(condition), Ok(())) => {
            assert_eq!(heard, [format!("0: end {condition}")], "{case}");
            assert_eq!(events, ["detached 0", "detached 1", "detached 2"], "{case}");
            assert!(!scene.engine.has_links(), "{case}");
        }
        (Link(condition), Ok(())) => {
            assert_eq!(heard, [format!("0: detach 0 closed {condition}")], "{case}");
            assert_eq!(events, ["detached 0"], "{case}");
        }
        (Nothing, Ok(())) => {
            assert_eq!(heard, [""; 0], "{case}");
            assert_eq!(events, [""; 0], "{case}");
        }
        (_, was) => panic!("{case}: {was:?}, {heard:?}"),
    }
}

fn attaches(handle: u32) -> Performative {
    Performative::Attach(Box::new(attach(handle)))
}

fn transfers(transfer: Transfer) -> Performative {
    Performative::Transfer(transfer)
}

#[test]
fn what_breaks_the_connection_closes_it() {
    let framing = "amqp:connection:framing-error";
    let open = Performative::Open(Box::default());
    let answer = Begin { remote_channel: Some(0), ..Begin::default() };
    let long = Attach { name: "n".repeat(70_000), ..attach(9) };
    check("open twice", (0, open), Connection("amqp:illegal-state"));
    check("begin twice", (0, begin()), Connection("amqp:illegal-state"));
    check("a channel too high", (100, begin()), Connection(framing));
    check("a handle too high", (0, attaches(1_000)), Connection(framing));
    check("attach without begin", (5, attaches(9)), Connection("amqp:not-allowed"));
    check("transfer without begin", (5, transfers(transfer(0, 0))), Connection("amqp:not-allowed"));
    check("end without begin", (5, end()), Connection("amqp:not-allowed"));
    let answers = Performative::Begin(Box::new(answer));
    check("an answer to no begin", (5, answers), Connection("amqp:not-allowed"));
    let attaches = Performative::Attach(Box::new(long));
    check("a name too long to repeat", (0, attaches), Connection("amqp:resource-limit-exceeded"));
}

#[test]
fn a_frame_limit_below_the_standard_s_is_refused() {
    let mut scene = Scene { engine: Engine::new("here".to_owned(), limits()) };
    let open = Open { max_frame_size: Some(511), ..Open::default() };
    let violation = scene.try_say(0, Performative::Open(Box::new(open)), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:invalid-field");
}

#[test]
fn what_breaks_a_session_ends_it() {
    let unattached = "amqp:session:unattached-handle";
    check("a handle twice", (0, attaches(0)), Session("amqp:session:handle-in-use"));
    check("a handle that we left", (0, attaches(3)), Session("amqp:session:handle-in-use"));
    check("transfer without attach", (0, transfers(transfer(7, 0))), Session(unattached));
    check("flow without attach", (0, Performative::Flow(flow(7))), Session(unattached));
    check("detach without attach", (0, detach(7)), Session(unattached));
    let errant = transfers(transfer(3, 0));
    check("transfer after detach", (0, errant), Session("amqp:session:errant-link"));
}

#[test]
fn what_breaks_a_link_detaches_it() {
    let resumed = Transfer { resume: true, ..transfer(0, 0) };
    let nameless = Transfer { delivery_id: None, ..transfer(0, 0) };
    let tagless = Transfer { delivery_tag: None, ..transfer(0, 0) };
    check("resume", (0, transfers(resumed)), Link("amqp:not-implemented"));
    check("no delivery-id", (0, transfers(nameless)), Link("amqp:invalid-field"));
    check("no delivery-tag", (0, transfers(tagless)), Link("amqp:invalid-field"));
}

#[test]
fn what_says_nothing_of_anything_is_passed_over() {
    check("flow on a link that we left", (0, Performative::Flow(flow(3))), Nothing);
    check("detach of a link that we left", (0, detach(3)), Nothing);
    check("outcomes of nothing", (0, said(0, 1 << 30, true, None)), Nothing);
    check("outcomes of everything", (0, said(0, u32::MAX, true, None)), Nothing);
    let unfinished = Flow { next_incoming_id: Some(1 << 20), handle: None, ..flow(0) };
    let flow = Performative::Flow(Flow { delivery_count: None, ..unfinished });
    check("transfers that we never sent", (0, flow), Nothing);
}

#[test]
fn a_transfer_on_a_link_that_we_send_on_detaches_it() {
    let mut scene = scene();
    scene.we_send(attach(0), 9);
    let heard = scene.transfer(transfer(0, 0), b"m");
    assert_eq!(heard, ["0: detach 0 closed amqp:not-allowed"]);
    assert_eq!(scene.events(), ["detached 0"]);
}

#[test]
fn a_transfer_before_its_link_is_answered_detaches_it() {
    let mut scene = scene();
    scene.attaches(0, attach(0));
    let heard = scene.transfer(transfer(0, 0), b"m");
    let detached = "0: detach 0 closed amqp:link:transfer-limit-exceeded";
    assert_eq!(heard, ["0: attach 0 receiver without target", detached]);
    assert_eq!(scene.events(), ["detached 0"]);
}

#[test]
fn a_delivery_without_credit_detaches_its_link() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 2);
    for id in 0..2 {
        assert_eq!(scene.transfer(transfer(0, id), b"m"), [""; 0]);
    }
    let heard = scene.transfer(first_piece(0, 2), b"m");
    assert_eq!(heard, ["0: detach 0 closed amqp:link:transfer-limit-exceeded"]);
    // The rest of it was on its way; a new one would be one too many.
    assert_eq!(scene.transfer(next_piece(0, false), b"m"), [""; 0]);
    let heard = scene.transfer(transfer(0, 3), b"m");
    assert_eq!(heard, ["0: end amqp:session:errant-link"]);
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    assert_eq!(scene.heard(), [""; 0]);
}

#[test]
fn a_delivery_that_becomes_another_detaches_its_link() {
    let other_id = Transfer { delivery_id: Some(1), ..next_piece(0, false) };
    let other_tag =
        Transfer { delivery_tag: Some(Bytes::from_static(b"other")), ..next_piece(0, false) };
    let other_format = Transfer { message_format: Some(1), ..next_piece(0, false) };
    for other in [other_id, other_tag, other_format] {
        let mut scene = scene();
        scene.client_sends(attach(0), 2);
        scene.transfer(first_piece(0, 0), b"m");
        let heard = scene.transfer(other, b"m");
        assert_eq!(heard, ["0: detach 0 closed amqp:not-allowed"]);
        assert_eq!(scene.engine.partial_bytes(), 0);
    }
}

#[test]
fn a_delivery_number_that_was_used_ends_the_session() {
    for id in [5, 4, 5 + (1 << 31)] {
        let mut scene = scene();
        scene.client_sends(attach(0), 9);
        scene.transfer(transfer(0, 5), b"m");
        assert_eq!(scene.transfer(transfer(0, id), b"m"), ["0: end amqp:not-allowed"]);
    }
}

#[test]
fn delivery_numbers_do_not_run_round_to_one_that_is_not_settled() {
    let mut scene = scene();
    scene.client_sends(attach(0), 9);
    assert_eq!(scene.transfer(transfer(0, 5), b"m"), [""; 0]);
    assert_eq!(scene.transfer(transfer(0, 1 << 30), b"m"), [""; 0]);
    let id = (3 << 30) - 1;
    assert_eq!(scene.transfer(transfer(0, id), b"m"), ["0: end amqp:not-allowed"]);
}

#[test]
fn transfers_beyond_the_window_end_the_session() {
    let mut scene = scene();
    scene.client_sends(attach(0), 1_000_000);
    let settled = |id| {
        let performative = transfers(Transfer { settled: Some(true), ..transfer(0, id) });
        Frame { channel: 0, performative, payload: Bytes::new() }
    };
    // It was told of no more.
    let Some(Slot::Live(session)) = scene.engine.sessions.get_mut(&0) else { panic!() };
    session.use_up_window();
    scene.engine.receive(settled(0)).unwrap();
    assert_eq!(scene.heard(), ["0: end amqp:session:window-violation"]);
}

#[test]
fn what_comes_after_our_end_is_passed_over_until_the_client_s() {
    let mut scene = scene();
    scene.client_sends(attach(0), 9);
    scene.say(0, detach(7));
    assert_eq!(scene.say(0, attaches(5)), [""; 0]);
    assert_eq!(scene.transfer(transfer(0, 0), b"m"), [""; 0]);
    assert_eq!(scene.say(0, Performative::Flow(flow(99))), [""; 0]);
    let violation = scene.try_say(0, begin(), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:illegal-state");
    assert_eq!(scene.say(0, end()), [""; 0]);
    assert_eq!(scene.say(0, begin()), ["0: begin 0"]);
}

#[test]
fn a_client_that_attaches_and_detaches_for_ever_leaves_nothing() {
    let mut scene = scene();
    for round in 0..1_000 {
        let link = scene.client_sends(attach(round % 7), 5);
        assert_eq!(link, LinkId(round));
        scene.transfer(transfer(round % 7, 2 * round), b"m");
        scene.transfer(first_piece(round % 7, 2 * round + 1), b"m");
        scene.say(0, detach(round % 7));
        scene.events();
    }
    assert_eq!(scene.engine.shared.links.len() + scene.engine.shared.n_handles, 0);
    assert_eq!(scene.engine.partial_bytes(), 0);
    let Some(Slot::Live(session)) = scene.engine.sessions.get(&0) else { panic!() };
    assert_eq!(session.incoming.len() + session.links.len(), 0);
}

#[test]
fn a_client_that_begins_and_ends_for_ever_leaves_nothing() {
    let mut scene = scene();
    for round in 0..1_000 {
        scene.say(1, begin());
        scene.attaches(1, attach(0));
        // Every other time we end it.
        if round % 2 == 0 {
            scene.say(1, detach(7));
        }
        scene.say(1, end());
        assert_eq!(scene.events().len(), 1);
    }
    assert_eq!(scene.engine.sessions.len(), 1);
    assert_eq!(scene.engine.channels.len(), 1);
    assert!(!scene.engine.has_links());
}

#[test]
fn link_numbers_are_never_used_twice() {
    let mut scene = scene();
    scene.engine.shared.n_links_ever = u32::MAX - 1;
    scene.attaches(0, attach(0));
    let violation = scene.try_say(0, attaches(1), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:resource-limit-exceeded");
}
