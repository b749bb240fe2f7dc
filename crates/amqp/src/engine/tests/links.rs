use super::*;
use crate::proto::Value;

#[test]
fn an_accepted_link_repeats_its_name_source_and_target() {
    let mut scene = scene();
    let sender = Attach {
        source: None,
        properties: vec![(Value::Symbol("a".to_owned()), Value::Int(1))],
        initial_delivery_count: Some(17),
        ..attach(5)
    };
    let link = scene.attaches(0, sender.clone());
    assert!(scene.frames().is_empty(), "answered before it is accepted");
    scene.engine.accept(link, Some(1_234), 10);
    let frames = scene.frames();
    let answer = Attach {
        role: Role::Receiver,
        source: Some(Terminus::default()),
        properties: Vec::new(),
        initial_delivery_count: None,
        max_message_size: Some(1_234),
        ..sender
    };
    assert_eq!(frames[0].performative, Performative::Attach(Box::new(answer)));
    let credit = Flow {
        next_incoming_id: Some(0),
        incoming_window: 2_048,
        next_outgoing_id: 0,
        outgoing_window: 65_535,
        handle: Some(5),
        delivery_count: Some(17),
        link_credit: Some(10),
        available: Some(0),
        drain: false,
        echo: false,
    };
    assert_eq!(frames[1].performative, Performative::Flow(credit));
}

#[test]
fn a_client_that_receives_hears_that_we_count_from_0() {
    let mut scene = scene();
    let receiver = Attach {
        role: Role::Receiver,
        target: None,
        initial_delivery_count: None,
        receiver_settle: ReceiverSettle::Second,
        ..attach(5)
    };
    let link = scene.attaches(0, receiver.clone());
    scene.engine.accept(link, None, 0);
    let frames = scene.frames();
    let answer = Attach {
        role: Role::Sender,
        target: Some(Terminus::default()),
        initial_delivery_count: Some(0),
        ..receiver
    };
    assert_eq!(frames[0].performative, Performative::Attach(Box::new(answer)));
    assert_eq!(frames.len(), 1);
}

#[test]
fn a_link_is_answered_once() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    scene.engine.accept(link, None, 10);
    assert_eq!(scene.heard(), [""; 0]);
}

#[test]
fn a_refused_link_is_attached_to_nothing_and_detached() {
    let mut scene = scene();
    let sender = scene.attaches(0, attach(0));
    scene.engine.refuse(sender, not_found());
    let detached = "0: detach 0 closed amqp:not-found";
    assert_eq!(scene.heard(), ["0: attach 0 receiver without target", detached]);
    assert_eq!(scene.say(0, detach(0)), [""; 0]);
    let receiver = scene.attaches(0, Attach { role: Role::Receiver, ..attach(0) });
    scene.engine.refuse(receiver, not_found());
    assert_eq!(scene.heard(), ["0: attach 0 sender without source", detached]);
    assert_eq!(scene.events(), [""; 0]);
    assert!(!scene.engine.has_links());
}

#[test]
fn a_detach_is_answered_in_kind_and_its_handle_is_free() {
    let mut scene = scene();
    let first = scene.client_sends(attach(3), 10);
    assert_eq!(scene.say(0, detach(3)), ["0: detach 3 closed"]);
    assert_eq!(scene.events(), ["detached 0"]);
    let second = scene.client_sends(attach(3), 10);
    assert_ne!(first, second);
    let suspend = Performative::Detach(Detach { handle: 3, closed: false, error: None });
    assert_eq!(scene.say(0, suspend), ["0: detach 3"]);
    assert_eq!(scene.events(), ["detached 1"]);
}

#[test]
fn a_link_detached_before_its_answer_is_answered_and_detached() {
    let mut scene = scene();
    let link = scene.attaches(0, attach(0));
    let answers = ["0: attach 0 receiver without target", "0: detach 0 closed"];
    assert_eq!(scene.say(0, detach(0)), answers);
    assert_eq!(scene.events(), ["detached 0"]);
    scene.engine.accept(link, None, 10);
    assert_eq!(scene.heard(), [""; 0]);
}

#[test]
fn a_second_link_of_a_name_steals_the_first() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    let same = Attach { name: "link-0".to_owned(), ..attach(1) };
    let stolen = scene.say(0, Performative::Attach(Box::new(same.clone())));
    assert_eq!(stolen, ["0: detach 0 closed amqp:link:stolen"]);
    assert_eq!(scene.events(), ["detached 0", "attached 1"]);
    // One in the other direction, or of another session, is another link.
    scene.attaches(0, Attach { handle: 2, role: Role::Receiver, ..same.clone() });
    scene.say(1, begin());
    scene.attaches(1, same);
    assert_eq!(scene.engine.n_links(), 3);
}

#[test]
fn we_use_handles_that_the_client_has() {
    let mut scene = scene();
    let answers = |scene: &mut Scene, handle| {
        let link = scene.attaches(0, Attach { role: Role::Receiver, ..attach(handle) });
        scene.engine.accept(link, None, 0);
        scene.heard()
    };
    assert_eq!(answers(&mut scene, 300), ["0: attach 0 sender"]);
    assert_eq!(answers(&mut scene, 0), ["0: attach 1 sender"]);
    assert_eq!(answers(&mut scene, 255), ["0: attach 255 sender"]);
    assert_eq!(scene.say(0, detach(300)), ["0: detach 0 closed"]);
    scene.events();
    assert_eq!(answers(&mut scene, 1), ["0: attach 0 sender"]);
}

#[test]
fn one_link_too_many_is_refused() {
    let mut scene = scene();
    for handle in 0..8 {
        scene.attaches(0, attach(handle));
    }
    let answers = scene.say(0, Performative::Attach(Box::new(attach(8))));
    let refused = "0: detach 8 closed amqp:resource-limit-exceeded";
    assert_eq!(answers, ["0: attach 8 receiver without target", refused]);
    assert_eq!(scene.events(), [""; 0]);
    assert_eq!(scene.engine.n_links(), 8);
    // Who goes on without detaching what we refuse is disconnected.
    for handle in 9..16 {
        scene.say(0, Performative::Attach(Box::new(attach(handle))));
    }
    let one_more = Performative::Attach(Box::new(attach(16)));
    let violation = scene.try_say(0, one_more, b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:resource-limit-exceeded");
}

#[test]
fn what_comes_on_a_link_that_we_detached_is_passed_over() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 2);
    scene.transfer(first_piece(0, 0), b"a");
    scene.engine.detach(link, Some(not_found()));
    assert_eq!(scene.heard(), ["0: detach 0 closed amqp:not-found"]);
    assert_eq!(scene.engine.partial_bytes(), 0);
    assert_eq!(scene.transfer(next_piece(0, true), b"b"), [""; 0]);
    assert_eq!(scene.transfer(next_piece(0, false), b"c"), [""; 0]);
    assert_eq!(scene.transfer(transfer(0, 1), b"d"), [""; 0]);
    assert_eq!(scene.say(0, Performative::Flow(flow(0))), [""; 0]);
    scene.engine.detach(link, None);
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    scene.engine.drained(link);
    assert_eq!(scene.send(link, 1, 10), Ok(()));
    assert_eq!(scene.say(0, detach(0)), [""; 0]);
    assert_eq!(scene.events(), [""; 0]);
    // The handle is free again.
    let link = scene.client_sends(attach(0), 1);
    // A link that we left is nobody's to steal.
    scene.engine.detach(link, None);
    scene.heard();
    let same = Attach { name: "link-0".to_owned(), ..attach(1) };
    assert_eq!(scene.say(0, Performative::Attach(Box::new(same))), [""; 0]);
    assert_eq!(scene.events(), ["attached 2"]);
}

#[test]
fn what_was_not_heard_of_a_link_that_we_detach_is_dropped() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    let other = scene.client_sends(attach(1), 10);
    scene.transfer(transfer(0, 0), b"one");
    scene.transfer(transfer(1, 1), b"two");
    scene.engine.detach(link, None);
    assert_eq!(scene.events(), [format!("message 2 on {}, 3 bytes", other.0)]);
}

#[test]
fn a_cut_off_takes_links_and_their_session_and_spares_the_neighbours() {
    let mut scene = scene();
    let tokens = scene.client_sends(attach(0), 10);
    scene.say(1, begin());
    scene.say(2, begin());
    let one = scene.attaches(1, attach(0));
    let two = scene.attaches(1, Attach { role: Role::Receiver, ..attach(1) });
    let neighbour = scene.attaches(2, attach(0));
    for link in [one, two, neighbour] {
        scene.engine.accept(link, None, 10);
    }
    scene.heard();
    let is_token_link = |link| link == tokens;
    assert!(!scene.engine.cut_off(&[one, two], &not_found(), is_token_link));
    let cut = [
        "1: detach 0 closed amqp:not-found",
        "1: detach 1 closed amqp:not-found",
        "1: end amqp:not-found",
    ];
    assert_eq!(scene.heard(), cut);
    assert_eq!(scene.events(), [""; 0]);
    // The client's answers, and a session of the next device.
    assert_eq!(scene.say(1, detach(0)), [""; 0]);
    assert_eq!(scene.say(1, end()), [""; 0]);
    assert_eq!(scene.say(1, begin()), ["1: begin 1"]);
    // The last device's links.
    assert!(scene.engine.cut_off(&[neighbour], &not_found(), is_token_link));
}

#[test]
fn a_cut_off_spares_a_session_that_another_link_is_on() {
    let mut scene = scene();
    let tokens = scene.client_sends(attach(0), 10);
    let device = scene.we_send(attach(1), 0);
    scene.send(device, 1, 10).unwrap();
    assert!(scene.engine.cut_off(&[device], &not_found(), |link| link == tokens));
    assert_eq!(scene.heard(), ["0: detach 1 closed amqp:not-found"]);
    assert_eq!(scene.transfer(transfer(0, 0), b"still here"), [""; 0]);
    assert_eq!(scene.events().len(), 1);
}

#[test]
fn an_answer_longer_than_the_client_takes_goes_without_what_is_not_needed() {
    let open = Open { max_frame_size: Some(512), ..Open::default() };
    let named = |n_bytes| {
        let source = Terminus {
            address: Some("a".repeat(200)),
            capabilities: vec!["c".repeat(200)],
            ..Terminus::default()
        };
        Attach { name: "n".repeat(n_bytes), source: Some(source), ..attach(0) }
    };
    let mut scene = Scene::open(limits(), open.clone(), 0);
    let link = scene.attaches(0, named(150));
    scene.engine.accept(link, Some(u64::MAX), 0);
    assert!(scene.engine.output().len() <= 512);
    let frames = scene.frames();
    let Performative::Attach(answer) = &frames[0].performative else { panic!("{frames:?}") };
    let address = Some("a".repeat(200));
    assert_eq!(answer.source, Some(Terminus { address, ..Terminus::default() }));
    let mut scene = Scene::open(limits(), open, 0);
    let attach = Performative::Attach(Box::new(named(250)));
    let violation = scene.try_say(0, attach, b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:resource-limit-exceeded");
}
