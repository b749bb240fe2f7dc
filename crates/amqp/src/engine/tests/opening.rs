use super::*;

#[test]
fn an_open_is_answered_with_all_that_clients_look_at() {
    let mut scene = Scene { engine: Engine::new("here".to_owned(), limits()) };
    scene.try_say(0, Performative::Open(Box::default()), b"").unwrap();
    let answer = Open {
        container_id: "here".to_owned(),
        max_frame_size: Some(65_536),
        channel_max: Some(99),
        idle_timeout_ms: Some(120_000),
        ..Open::default()
    };
    assert_eq!(scene.frames()[0].performative, Performative::Open(Box::new(answer)));
    assert_eq!(scene.events(), ["opened"]);
}

#[test]
fn a_begin_is_answered_with_the_client_s_channel() {
    let mut scene = scene();
    scene.try_say(7, begin(), b"").unwrap();
    let frames = scene.frames();
    let answer = Begin {
        remote_channel: Some(7),
        next_outgoing_id: 0,
        incoming_window: 2_048,
        outgoing_window: 65_535,
        handle_max: Some(999),
        ..Begin::default()
    };
    assert_eq!(frames[0].channel, 7);
    assert_eq!(frames[0].performative, Performative::Begin(Box::new(answer)));
}

#[test]
fn we_speak_on_channels_that_the_client_has() {
    let open = Open { channel_max: Some(2), ..Open::default() };
    let mut scene = Scene::open(limits(), open, 0);
    assert_eq!(scene.say(50, begin()), ["1: begin 50"]);
    assert_eq!(scene.say(1, begin()), ["2: begin 1"]);
    assert_eq!(scene.say(50, end()), ["1: end"]);
    assert_eq!(scene.say(2, begin()), ["1: begin 2"]);
    let violation = scene.try_say(3, begin(), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:not-allowed");
}

#[test]
fn a_session_that_the_client_ends_takes_its_links_along() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    scene.client_sends(attach(1), 10);
    scene.transfer(first_piece(1, 0), b"a piece");
    assert_eq!(scene.say(0, end()), ["0: end"]);
    assert_eq!(scene.engine.partial_bytes(), 0);
    assert_eq!(scene.events(), ["detached 0", "detached 1"]);
    assert!(!scene.engine.has_links());
    assert_eq!(scene.say(0, begin()), ["0: begin 0"]);
}

#[test]
fn one_session_too_many_is_ended_at_once() {
    let mut scene = scene();
    for channel in 1..4 {
        scene.say(channel, begin());
    }
    let refused = ["4: begin 4", "4: end amqp:resource-limit-exceeded"];
    assert_eq!(scene.say(4, begin()), refused);
    // What is on its way already is passed over.
    assert_eq!(scene.say(4, Performative::Attach(Box::new(attach(0)))), [""; 0]);
    assert_eq!(scene.say(4, end()), [""; 0]);
    assert_eq!(scene.say(4, begin()), refused);
    for channel in 5..8 {
        scene.say(channel, begin());
    }
    let violation = scene.try_say(8, begin(), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:resource-limit-exceeded");
}

#[test]
fn limits_may_be_raised_later() {
    let mut scene = scene();
    scene.engine.set_limits(EngineLimits { max_sessions: 50, max_links: 50, ..limits() });
    for channel in 1..50 {
        assert_eq!(scene.say(channel, begin()).len(), 1);
    }
    for handle in 0..50 {
        scene.attaches(0, attach(handle));
    }
    assert_eq!(scene.engine.n_links(), 50);
}

#[test]
fn a_close_is_answered_and_ends_all() {
    let mut scene = scene();
    let link = scene.client_sends(attach(0), 10);
    let close = Close { error: Some(not_found()) };
    assert_eq!(scene.say(0, Performative::Close(close)), ["0: close"]);
    assert_eq!(scene.events(), ["closed"]);
    assert!(scene.engine.is_closed());
    scene.engine.settle(link, DeliveryId(1), Outcome::Accepted);
    scene.engine.close(None);
    assert_eq!(scene.say(0, begin()), [""; 0]);
    assert_eq!(scene.events(), [""; 0]);
}

#[test]
fn what_comes_after_our_close_is_passed_over_until_the_client_s() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    scene.transfer(transfer(0, 0), b"not heard yet");
    scene.engine.close(Some(not_found()));
    let said =
        ["0: detach 0 closed amqp:not-found", "0: end amqp:not-found", "0: close amqp:not-found"];
    assert_eq!(scene.heard(), said);
    assert!(scene.engine.is_closing() && !scene.engine.is_closed());
    assert_eq!(scene.transfer(transfer(0, 1), b"late"), [""; 0]);
    assert_eq!(scene.say(77, begin()), [""; 0]);
    assert_eq!(scene.events(), [""; 0]);
    assert_eq!(scene.say(0, Performative::Close(Close::default())), [""; 0]);
    assert_eq!(scene.events(), ["closed"]);
    assert!(scene.engine.is_closed());
}

#[test]
fn our_close_says_goodbye_to_every_link_and_session_first() {
    let mut scene = scene();
    scene.say(3, begin());
    scene.client_sends(attach(0), 10);
    scene.client_sends(attach(1), 10);
    scene.engine.close(None);
    let said = ["0: detach 0 closed", "0: detach 1 closed", "0: end", "3: end", "0: close"];
    assert_eq!(scene.heard(), said);
}

#[test]
fn a_forced_close_says_so_of_the_links_as_clients_that_come_back_understand_it() {
    let mut scene = scene();
    scene.client_sends(attach(0), 10);
    scene.engine.close(Some(WireError::new("amqp:connection:forced", "The server stops.")));
    let said = [
        "0: detach 0 closed amqp:link:detach-forced",
        "0: end amqp:link:detach-forced",
        "0: close amqp:connection:forced",
    ];
    assert_eq!(scene.heard(), said);
}

#[test]
fn a_connection_that_is_refused_is_opened_first() {
    let mut scene = Scene { engine: Engine::new("here".to_owned(), limits()) };
    let violation = scene.try_say(0, begin(), b"").unwrap_err();
    assert_eq!(violation.error.condition, "amqp:illegal-state");
    scene.engine.close(Some(violation.error));
    assert_eq!(scene.heard(), ["0: open", "0: close amqp:illegal-state"]);
}

#[test]
fn an_error_too_long_for_the_client_goes_without_its_text() {
    let open = Open { max_frame_size: Some(512), ..Open::default() };
    let mut scene = Scene::open(limits(), open, 0);
    scene.engine.close(Some(WireError::new("amqp:not-found", "x".repeat(600))));
    let frames = scene.frames();
    let [_, closed] = frames.as_slice() else { panic!("{frames:?}") };
    let Performative::Close(Close { error: Some(error) }) = &closed.performative else {
        panic!("{frames:?}")
    };
    assert_eq!(
        *error,
        WireError { condition: "amqp:not-found".to_owned(), ..WireError::default() }
    );
}
