//! What a connected device has of its hub: its subscriptions, its twin, its moments; and what it
//! is told.

use induct_app::{
    No,
    device::{Earlier, HubLimits, SessionNo},
    live::{Command, Desired, End, MAX_COMMANDS},
    ports::Clock,
};
use model::{Change, HubRefusal, Json, Precondition, Qos, Subscriptions, TwinDraft};

use crate::{
    gated::At,
    instance::by,
    stage::{Stage, at_once, body, id, key, token},
};

const DEVICE: &str = "press-17";

const ALL: Subscriptions = Subscriptions {
    messages: Some(Qos::AtLeastOnce),
    twin_responses: Some(Qos::AtMostOnce),
    desired: Some(Qos::AtLeastOnce),
    methods: Some(Qos::AtMostOnce),
};

const FEWER: Subscriptions = Subscriptions { messages: None, ..ALL };

fn object(name: &str, value: u64) -> Json {
    Json::Object(vec![(name.to_owned(), Json::from(value))])
}

fn is_twin(change: &Change) -> bool {
    matches!(change, Change::PutTwin(..))
}

async fn patch(stage: &Stage, name: &str, value: u64) {
    let draft = TwinDraft { tags: None, desired: Some(object(name, value)) };
    let none = Precondition::None;
    stage.app.patch_twin(&stage.hub, &id(DEVICE), &draft, &none, &by()).await.unwrap();
}

#[tokio::test]
async fn subscriptions_are_found_again_unless_the_session_is_clean() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (false, Subscriptions::default()));
    for subscriptions in [ALL, FEWER, ALL, FEWER] {
        session.subscribe(subscriptions, true).await.unwrap();
        assert_eq!(session.subscriptions(), subscriptions);
    }
    drop(session);
    // As after a restart.
    stage.app.disconnect_all().await.unwrap();
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (true, FEWER));
    drop(session);
    let clean = || stage.connect_by(DEVICE, token(DEVICE, &key(1), None), true);
    let (session, _commands) = clean().await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (false, Subscriptions::default()));
    session.subscribe(ALL, false).await.unwrap();
    assert_eq!(session.subscriptions(), ALL);
    drop(session);
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (false, Subscriptions::default()));
}

#[tokio::test]
async fn a_connection_may_leave_what_the_device_is_subscribed_to_alone() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.subscribe(ALL, true).await.unwrap();
    let aside = || stage.connecting(DEVICE, token(DEVICE, &key(1), None), Earlier::LeftAlone);
    // It takes over, and takes nothing over.
    let (aside, _commands) = stage.app.connect_device(aside()).await.unwrap();
    assert_eq!(at_once(session.ended()).await, Some(End::TakenOver));
    assert_eq!((aside.was_present(), aside.subscriptions()), (false, Subscriptions::default()));
    aside.subscribe(FEWER, false).await.unwrap();
    drop((aside, session));
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (true, ALL));
}

#[tokio::test]
async fn a_device_made_anew_finds_no_subscriptions_of_the_one_before() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.subscribe(ALL, true).await.unwrap();
    drop(session);
    stage.delete(DEVICE).await;
    stage.create(DEVICE, 1).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((session.was_present(), session.subscriptions()), (false, Subscriptions::default()));
}

#[tokio::test]
async fn activity_is_written_now_and_then_and_moves_no_etag() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let connected = stage.identity(DEVICE).await;
    assert!(connected.connected);
    assert_eq!(connected.last_activity, connected.connection_state_updated);
    stage.clock.advance(59);
    session.send(body("soon")).await.unwrap();
    assert_eq!(stage.identity(DEVICE).await.last_activity, connected.last_activity);
    stage.clock.advance(2);
    let before = stage.clock.now();
    session.send(body("late")).await.unwrap();
    let active = stage.identity(DEVICE).await;
    assert!(active.last_activity > Some(before));
    assert_eq!(active.connection_state_updated, connected.connection_state_updated);
    assert_eq!((active.mark(), active.version), (connected.mark(), connected.version));
}

#[tokio::test]
async fn reported_properties_are_merged_and_counted() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let first = session.report(&object("heat", 1), None).await.unwrap();
    let second = session.report(&object("wear", 2), Some(first)).await.unwrap();
    assert_eq!(second, first + 1);
    let stale = session.report(&object("heat", 9), Some(first)).await;
    assert!(matches!(stale, Err(SessionNo::Refused(HubRefusal::TwinEtag(_)))), "{stale:?}");
    let twin = session.twin().await.unwrap();
    assert_eq!(twin.reported.version_number, second);
    assert_eq!(twin.reported.content.get("heat"), Some(&Json::from(1)));
    assert_eq!(twin.reported.content.get("wear"), Some(&Json::from(2)));
}

#[tokio::test]
async fn a_report_and_a_patch_at_once_are_both_in_the_twin() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut held = stage.store.hold(At::Asked, is_twin);
    let reporting = tokio::spawn(async move {
        let reported = session.report(&object("heat", 1), None).await;
        (session, reported)
    });
    held.reached().await;
    patch(&stage, "speed", 3).await;
    held.release();
    let (session, reported) = reporting.await.unwrap();
    let twin = session.twin().await.unwrap();
    assert_eq!(twin.reported.version_number, reported.unwrap());
    assert_eq!(twin.reported.content.get("heat"), Some(&Json::from(1)));
    assert_eq!(twin.desired.content.get("speed"), Some(&Json::from(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_device_gets_its_report_through_while_its_twin_is_written_again_and_again() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let patching = stage.clone();
    let patching = tokio::spawn(async move {
        for n in 0..40 {
            patch(&patching, "speed", n).await;
        }
    });
    for n in 0..20 {
        session.report(&object("heat", n), None).await.unwrap();
    }
    patching.await.unwrap();
    let twin = session.twin().await.unwrap();
    assert_eq!(twin.reported.content.get("heat"), Some(&Json::from(19)));
    assert_eq!(twin.desired.content.get("speed"), Some(&Json::from(39)));
}

#[tokio::test]
async fn a_report_after_the_cut_off_has_no_effect() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let before = stage.app.get_device(&stage.hub, &id(DEVICE)).await.unwrap().twin;
    let mut held = stage.store.hold(At::Asked, is_twin);
    let reporting = tokio::spawn(async move { session.report(&object("heat", 1), None).await });
    held.reached().await;
    stage.disable(DEVICE).await;
    held.release();
    let reported = reporting.await.unwrap();
    assert!(matches!(reported, Err(SessionNo::Over(End::CutOff(_)))), "{reported:?}");
    let after = stage.app.get_device(&stage.hub, &id(DEVICE)).await.unwrap().twin;
    assert_eq!(after.reported, before.reported);
}

#[tokio::test]
async fn a_session_is_over_for_whatever_it_asks() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    stage.disable(DEVICE).await;
    let outcomes = [
        session.send(body("x")).await,
        session.subscribe(ALL, true).await,
        session.subscribe(ALL, false).await,
        session.twin().await.map(drop),
        session.report(&object("heat", 1), None).await.map(drop),
        session.next_message(0).await.map(drop),
        session.complete(1).await,
        session.reject(1).await,
    ];
    for (n, outcome) in outcomes.iter().enumerate() {
        assert!(matches!(outcome, Err(SessionNo::Over(End::CutOff(_)))), "{n}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_change_of_desired_properties_is_told_in_order() {
    let stage = Stage::with_device(DEVICE).await;
    let (_session, mut commands) = stage.connect(DEVICE, 1).await.unwrap();
    for n in 0..3 {
        patch(&stage, "speed", n).await;
    }
    let mut last = 0;
    for n in 0..3 {
        let Some(Command::Desired(Desired { version, patch })) = at_once(commands.next()).await
        else {
            panic!("{n} was not told");
        };
        assert_eq!(*patch, object("speed", n));
        assert!(version > last);
        last = version;
    }
    assert!(at_once(commands.next()).await.is_none());
}

#[tokio::test]
async fn changes_told_the_wrong_way_round_make_the_device_fetch_its_twin() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut held = stage.store.hold(At::Written, is_twin);
    let earlier = stage.clone();
    let earlier = tokio::spawn(async move { patch(&earlier, "speed", 1).await });
    held.reached().await;
    patch(&stage, "speed", 2).await;
    assert_eq!(at_once(session.ended()).await, None);
    held.release();
    earlier.await.unwrap();
    assert_eq!(at_once(session.ended()).await, Some(End::TooSlow));
}

#[tokio::test]
async fn a_change_whose_caller_left_makes_the_device_fetch_its_twin() {
    for at in [At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        let mut held = stage.store.hold(at, is_twin);
        let patching = stage.clone();
        let patching = tokio::spawn(async move { patch(&patching, "speed", 1).await });
        held.reached().await;
        patching.abort();
        assert!(patching.await.is_err());
        held.release();
        at_once(stage.app.departure()).await.unwrap();
        stage.app.see_off().await;
        assert_eq!(at_once(session.ended()).await, Some(End::TooSlow), "{at:?}");
    }
}

#[tokio::test]
async fn a_device_that_takes_in_nothing_is_disconnected_and_nothing_piles_up() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, mut commands) = stage.connect(DEVICE, 1).await.unwrap();
    for n in 0..MAX_COMMANDS {
        patch(&stage, "speed", n as u64).await;
    }
    assert_eq!(at_once(session.ended()).await, None);
    patch(&stage, "speed", 99).await;
    assert_eq!(at_once(session.ended()).await, Some(End::TooSlow));
    let mut n = 0;
    while at_once(commands.next()).await.is_some() {
        n += 1;
    }
    assert_eq!(n, MAX_COMMANDS);
}

#[tokio::test]
async fn a_session_lasts_as_long_as_its_token_and_a_second() {
    let stage = Stage::with(HubLimits::default()).await;
    stage.create(DEVICE, 1).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(session.expires().unix_secs(), testkit::NOW.unix_secs() + 3601);
    stage.clock.advance(3600 + 301);
    assert!(matches!(stage.connect(DEVICE, 1).await, Err(No::Refused(_))));
}
