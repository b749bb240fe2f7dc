//! A device opens another connection: the new one is registered, then the old one ends
//! (H §4.5.1), and what belongs to the device is the new one's from then on.

use induct_app::{No, device::SessionNo, live::End};
use model::{Change, ConnectRefusal, Qos, Subscriptions};

use crate::{
    gated::At,
    stage::{Connected, Stage, at_once, body, key, token},
};

const DEVICE: &str = "press-17";

const METHODS: Subscriptions = Subscriptions {
    messages: None,
    twin_responses: None,
    desired: None,
    methods: Some(Qos::AtMostOnce),
};

const DESIRED: Subscriptions = Subscriptions { desired: Some(Qos::AtLeastOnce), ..METHODS };

fn is_connect(change: &Change) -> bool {
    matches!(change, Change::Connect { .. })
}

fn is_event(change: &Change) -> bool {
    matches!(change, Change::AppendEvent(..))
}

fn is_subscription(change: &Change) -> bool {
    matches!(change, Change::PutSubscriptions(..))
}

/// A second connection.
fn connecting(stage: &Stage) -> tokio::task::JoinHandle<Result<Connected, No<ConnectRefusal>>> {
    let stage = stage.clone();
    tokio::spawn(async move { stage.connect(DEVICE, 1).await })
}

fn is_taken_over(sent: &Result<(), SessionNo>) -> bool {
    matches!(sent, Err(SessionNo::Over(End::TakenOver)))
}

#[tokio::test]
async fn a_second_connection_ends_the_first_and_outlives_its_departure() {
    let stage = Stage::with_device(DEVICE).await;
    let first = stage.connect(DEVICE, 1).await.unwrap();
    let (second, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(at_once(first.0.ended()).await, Some(End::TakenOver));
    assert!(is_taken_over(&first.0.send(body("old")).await));
    assert_eq!(stage.app.n_sessions(), 1);
    drop(first);
    assert_eq!(stage.app.n_sessions(), 1);
    assert!(stage.is_connected(DEVICE).await);
    second.send(body("new")).await.unwrap();
    assert_eq!(stage.events().await.len(), 1);
    drop(second);
    assert!(!stage.is_connected(DEVICE).await);
}

#[tokio::test]
async fn a_first_connection_that_leaves_last_does_not_hide_that_the_second_has_left() {
    let stage = Stage::with_device(DEVICE).await;
    let first = stage.connect(DEVICE, 1).await.unwrap();
    let second = stage.connect(DEVICE, 1).await.unwrap();
    drop(second);
    drop(first);
    assert!(!stage.is_connected(DEVICE).await);
    assert_eq!(stage.app.device_counts(&stage.hub).await.unwrap().connected, 0);
}

#[tokio::test]
async fn who_cannot_prove_to_be_the_device_ends_nothing() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let refused = stage.connect(DEVICE, 2).await;
    assert!(matches!(refused, Err(No::Refused(ConnectRefusal::NotAttested(_)))), "{refused:?}");
    let refused = stage.connect_by(DEVICE, model::Evidence::Nothing, true).await;
    assert!(matches!(refused, Err(No::Refused(ConnectRefusal::NotAttested(_)))), "{refused:?}");
    assert_eq!(at_once(session.ended()).await, None);
    session.send(body("on")).await.unwrap();
    assert!(stage.is_connected(DEVICE).await);
}

/// Whichever of them the store hears of first: the device is the later one's.
#[tokio::test]
async fn of_two_that_connect_at_once_the_later_one_stays() {
    for at in [At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let mut held = stage.store.hold(at, is_connect);
        let first = connecting(&stage);
        held.reached().await;
        let mut facts = stage.store.hold(At::FactsRead, is_connect);
        let second = connecting(&stage);
        facts.reached().await;
        facts.release();
        // It knows what it needs, and waits for the first.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        held.release();
        let (first, _) = first.await.unwrap().unwrap();
        let (session, _commands) = second.await.unwrap().unwrap();
        assert_eq!(at_once(first.ended()).await, Some(End::TakenOver));
        drop(first);
        assert!(stage.is_connected(DEVICE).await, "{at:?}");
        session.subscribe(METHODS, true).await.unwrap();
        session.send(body("on")).await.unwrap();
        assert_eq!(stage.app.n_sessions(), 1, "{at:?}");
        drop(session);
        assert!(!stage.is_connected(DEVICE).await, "{at:?}");
        let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        assert_eq!(session.subscriptions(), METHODS);
    }
}

/// One client renews its token by connecting twice in a row, and closes the first at once.
#[tokio::test]
async fn who_asked_first_and_is_looked_at_last_ends_nothing() {
    let stage = Stage::with_device(DEVICE).await;
    let mut held = stage.store.hold(At::FactsRead, is_connect);
    let first = connecting(&stage);
    held.reached().await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    held.release();
    let refused = first.await.unwrap();
    assert!(matches!(refused, Err(No::Refused(ConnectRefusal::Overtaken))), "{refused:?}");
    assert_eq!(at_once(session.ended()).await, None);
    session.send(body("on")).await.unwrap();
    assert!(stage.is_connected(DEVICE).await);
}

#[tokio::test]
async fn one_that_breaks_off_while_another_waits_for_it_does_not_keep_it_waiting() {
    let stage = Stage::with_device(DEVICE).await;
    let mut held = stage.store.hold(At::Asked, is_connect);
    let first = connecting(&stage);
    held.reached().await;
    let second = connecting(&stage);
    while stage.app.n_sessions() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.is_err());
    let (session, _commands) = second.await.unwrap().unwrap();
    session.send(body("on")).await.unwrap();
    assert!(stage.is_connected(DEVICE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_connect_at_once_one_is_left_and_it_works() {
    let stage = Stage::with_device(DEVICE).await;
    for _ in 0..10 {
        let many: Vec<_> = (0..8).map(|_| connecting(&stage)).collect();
        let mut connected = Vec::new();
        for one in many {
            match one.await.unwrap() {
                Ok(session) => connected.push(session),
                Err(No::Refused(ConnectRefusal::Overtaken)) => {}
                Err(no) => panic!("{no:?}"),
            }
        }
        assert_eq!(stage.app.n_sessions(), 1);
        let mut n_live = 0;
        let mut outcomes = Vec::new();
        for (session, _) in &connected {
            if at_once(session.ended()).await.is_none() {
                n_live += 1;
                outcomes.push(session.subscribe(METHODS, true).await);
                outcomes.push(session.subscribe(DESIRED, true).await);
            }
        }
        assert_eq!(n_live, 1);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert!(stage.is_connected(DEVICE).await);
        drop(connected);
        assert!(!stage.is_connected(DEVICE).await);
    }
}

#[tokio::test]
async fn what_the_old_one_was_sending_is_stored_if_and_only_if_it_hears_so() {
    for at in [At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (old, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        let mut held = stage.store.hold(at, is_event);
        let sending = tokio::spawn(async move {
            let sent = old.send(body("old")).await;
            (sent, old.send(body("older")).await)
        });
        held.reached().await;
        let new = connecting(&stage);
        if at != At::Queued {
            // In the queue it would wait behind the event.
            let connected = new.await.unwrap().unwrap();
            held.release();
            let (sent, again) = sending.await.unwrap();
            assert_eq!(stage.events().await.len(), usize::from(sent.is_ok()), "{at:?}");
            assert!(is_taken_over(&again), "{at:?}: {again:?}");
            assert_eq!(at_once(connected.0.ended()).await, None);
        } else {
            held.release();
            let connected = new.await.unwrap().unwrap();
            let (sent, again) = sending.await.unwrap();
            let n_ok = usize::from(sent.is_ok()) + usize::from(again.is_ok());
            assert_eq!(stage.events().await.len(), n_ok);
            assert_eq!(at_once(connected.0.ended()).await, None);
        }
    }
}

#[tokio::test]
async fn the_old_one_no_longer_writes_what_the_device_is_subscribed_to() {
    let stage = Stage::with_device(DEVICE).await;
    let (old, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    old.subscribe(METHODS, true).await.unwrap();
    let mut held = stage.store.hold(At::Asked, is_subscription);
    let subscribing = tokio::spawn(async move { old.subscribe(DESIRED, true).await });
    held.reached().await;
    let (new, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((new.subscriptions(), new.was_present()), (METHODS, true));
    held.release();
    assert!(is_taken_over(&subscribing.await.unwrap()));
    drop(new);
    let (next, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!(next.subscriptions(), METHODS);
}

#[tokio::test]
async fn what_the_old_one_subscribed_to_in_its_last_moment_is_the_new_ones() {
    let stage = Stage::with_device(DEVICE).await;
    let (old, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut held = stage.store.hold(At::FactsRead, is_connect);
    let new = connecting(&stage);
    held.reached().await;
    old.subscribe(METHODS, true).await.unwrap();
    held.release();
    let (new, _commands) = new.await.unwrap().unwrap();
    assert_eq!((new.subscriptions(), new.was_present()), (METHODS, true));
}

#[tokio::test]
async fn a_clean_session_forgets_also_what_the_old_one_subscribed_to_in_its_last_moment() {
    let stage = Stage::with_device(DEVICE).await;
    let (old, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let mut held = stage.store.hold(At::FactsRead, is_connect);
    let clean = stage.clone();
    let new =
        tokio::spawn(
            async move { clean.connect_by(DEVICE, token(DEVICE, &key(1), None), true).await },
        );
    held.reached().await;
    old.subscribe(METHODS, true).await.unwrap();
    held.release();
    let (new, _commands) = new.await.unwrap().unwrap();
    assert_eq!((new.subscriptions(), new.was_present()), (Subscriptions::default(), false));
    drop(new);
    let (next, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert_eq!((next.subscriptions(), next.was_present()), (Subscriptions::default(), false));
}
