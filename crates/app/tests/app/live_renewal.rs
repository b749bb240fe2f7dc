//! A device shows a newer token on the connection it has: the session goes on with it, and however
//! that comes together with a change of the registry, off means off.

use induct_app::{
    No,
    device::{Earlier, SessionNo},
    live::End,
    policies::KeySlot,
};
use model::{
    AttestFailure, Change, ConnectRefusal, Evidence, PolicyScope, Precondition, Timestamp,
};
use testkit::NOW;

use crate::{
    gated::At,
    instance::by,
    stage::{Connected, Stage, at_once, body, key, keyed, token, token_until},
};

const DEVICE: &str = "press-17";
const POLICY: &str = "device";
const EVERYWHERE: [At; 4] = [At::FactsRead, At::Asked, At::Queued, At::Written];

/// What a device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    OwnKey,
    Policy,
}

impl By {
    async fn evidence(self, stage: &Stage) -> Evidence {
        match self {
            Self::OwnKey => token(DEVICE, &key(1), None),
            Self::Policy => {
                let policy = stage.app.get_policy(&scope(stage), POLICY).await.unwrap();
                token(DEVICE, &policy.keys.primary, Some(POLICY))
            }
        }
    }

    /// Takes the key away that this rests on.
    async fn rotate(self, stage: Stage) {
        match self {
            Self::OwnKey => stage.put(keyed(DEVICE, 2), Precondition::Any).await.unwrap(),
            Self::Policy => {
                let (scope, slot, any) = (scope(&stage), KeySlot::Primary, Precondition::Any);
                let app = &stage.app;
                app.rotate_policy_key(&scope, POLICY, slot, None, &any, &by()).await.unwrap();
            }
        }
    }
}

fn scope(stage: &Stage) -> PolicyScope {
    PolicyScope::Hub(stage.hub.clone())
}

fn is_renewal(change: &Change) -> bool {
    matches!(change, Change::Touch { .. })
}

fn lasting(seed: u8, secs: i64) -> Evidence {
    token_until("hub-1", DEVICE, &key(seed), None, secs)
}

const fn end_of(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(NOW.unix_secs() + secs + 1)
}

#[tokio::test]
async fn a_newer_token_moves_the_end_of_the_session() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect_by(DEVICE, lasting(1, 60), false).await.unwrap();
    assert_eq!(session.expires(), end_of(60));
    assert_eq!(session.renew(lasting(1, 600)).await.unwrap(), end_of(600));
    assert_eq!(session.expires(), end_of(600));
    // The latest counts, not the longest.
    assert_eq!(session.renew(lasting(1, 300)).await.unwrap(), end_of(300));
    session.send(body("on")).await.unwrap();
    assert_eq!(stage.events().await.len(), 1);
}

#[tokio::test]
async fn a_newer_token_that_is_refused_leaves_the_session_as_it_was() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let before = session.expires();
    let other_device = token("press-18", &key(1), None);
    for bad in [lasting(2, 600), lasting(1, -3600), other_device, Evidence::Nothing] {
        let renewed = session.renew(bad).await;
        assert!(matches!(renewed, Err(No::Refused(ConnectRefusal::NotAttested(_)))), "{renewed:?}");
    }
    stage.store.fail(1);
    assert!(matches!(session.renew(lasting(1, 600)).await, Err(No::Fault(_))));
    assert_eq!(session.expires(), before);
    session.send(body("on")).await.unwrap();
    assert_eq!(at_once(session.ended()).await, None);
}

#[tokio::test]
async fn a_session_rests_on_its_newest_token_and_on_no_other() {
    for (old, new) in [(By::OwnKey, By::Policy), (By::Policy, By::OwnKey)] {
        let stage = Stage::with_device(DEVICE).await;
        let evidence = old.evidence(&stage).await;
        let (session, _commands) = stage.connect_by(DEVICE, evidence, false).await.unwrap();
        session.renew(new.evidence(&stage).await).await.unwrap();
        old.rotate(stage.clone()).await;
        session.send(body("on")).await.unwrap();
        assert_eq!(at_once(session.ended()).await, None, "{old:?}");
        new.rotate(stage.clone()).await;
        assert!(matches!(at_once(session.ended()).await, Some(End::CutOff(_))), "{new:?}");
        assert!(session.send(body("late")).await.is_err());
    }
}

#[tokio::test]
async fn a_session_that_is_over_is_not_renewed() {
    let stage = Stage::with_device(DEVICE).await;
    let (first, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let (second, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let renewed = first.renew(lasting(1, 600)).await;
    assert!(matches!(renewed, Err(No::Refused(ConnectRefusal::Overtaken))), "{renewed:?}");
    stage.disable(DEVICE).await;
    stage.set_enabled(DEVICE, 1, true).await;
    let renewed = second.renew(lasting(1, 600)).await;
    assert!(matches!(renewed, Err(No::Refused(ConnectRefusal::Disabled(_)))), "{renewed:?}");
}

type Renewing = tokio::task::JoinHandle<(Connected, Result<Timestamp, No<ConnectRefusal>>)>;

/// A renewal that is held up there.
async fn held_up(stage: &Stage, old: By, new: By, at: At) -> (Renewing, crate::gated::Held) {
    let evidence = old.evidence(stage).await;
    let connected = stage.connect_by(DEVICE, evidence, false).await.unwrap();
    let newer = new.evidence(stage).await;
    let mut held = stage.store.hold(at, is_renewal);
    let renewing = tokio::spawn(async move {
        let renewed = connected.0.renew(newer).await;
        (connected, renewed)
    });
    held.reached().await;
    (renewing, held)
}

#[tokio::test]
async fn a_change_that_keeps_the_device_out_ends_a_session_that_is_being_renewed() {
    for at in EVERYWHERE {
        for new in [By::OwnKey, By::Policy] {
            let stage = Stage::with_device(DEVICE).await;
            let (renewing, held) = held_up(&stage, By::OwnKey, new, at).await;
            let changing = stage.clone();
            let changing = tokio::spawn(async move { changing.disable(DEVICE).await });
            if at != At::Queued {
                changing.await.unwrap();
                held.release();
            } else {
                held.release();
                changing.await.unwrap();
            }
            let ((session, _commands), renewed) = renewing.await.unwrap();
            assert!(renewed.is_err() || at == At::Queued, "{at:?}: {renewed:?}");
            let over = at_once(session.ended()).await;
            assert!(matches!(over, Some(End::CutOff(_))), "{at:?}, {new:?}: {over:?}");
            let sent = session.send(body("late")).await;
            assert!(matches!(sent, Err(SessionNo::Over(_))), "{at:?}, {new:?}: {sent:?}");
            assert_eq!(stage.events().await, []);
        }
    }
}

#[tokio::test]
async fn a_key_that_goes_while_it_is_shown_is_nothing_to_rest_on() {
    for at in EVERYWHERE {
        for (old, new) in [(By::OwnKey, By::Policy), (By::Policy, By::OwnKey)] {
            let stage = Stage::with_device(DEVICE).await;
            let (renewing, held) = held_up(&stage, old, new, at).await;
            let changing = tokio::spawn(new.rotate(stage.clone()));
            if at == At::Queued {
                held.release();
                changing.await.unwrap();
            } else {
                changing.await.unwrap();
                held.release();
            }
            let ((session, _commands), renewed) = renewing.await.unwrap();
            let over = at_once(session.ended()).await;
            match renewed {
                // The change came after it, and met the session as renewed.
                Ok(_) => assert!(matches!(over, Some(End::CutOff(_))), "{at:?}, {new:?}"),
                Err(No::Refused(ConnectRefusal::Conflict) | No::Fault(_)) => panic!("{at:?}"),
                // It came before, and the session is as it was.
                Err(No::Refused(_)) if over.is_none() => {
                    session.send(body("on")).await.unwrap();
                    old.rotate(stage.clone()).await;
                    let over = at_once(session.ended()).await;
                    assert!(matches!(over, Some(End::CutOff(_))), "{at:?}, {new:?}: {over:?}");
                }
                Err(No::Refused(_)) => assert_eq!(at, At::Queued, "{new:?}"),
            }
        }
    }
}

#[tokio::test]
async fn the_key_that_a_session_rests_on_ends_it_while_another_is_shown() {
    for at in EVERYWHERE {
        for (old, new) in [(By::OwnKey, By::Policy), (By::Policy, By::OwnKey)] {
            let stage = Stage::with_device(DEVICE).await;
            let (renewing, held) = held_up(&stage, old, new, at).await;
            let changing = tokio::spawn(old.rotate(stage.clone()));
            if at == At::Queued {
                held.release();
                changing.await.unwrap();
            } else {
                changing.await.unwrap();
                held.release();
            }
            let ((session, _commands), renewed) = renewing.await.unwrap();
            let over = at_once(session.ended()).await;
            // Whoever came first: it never goes on with a key that is gone.
            assert_eq!(renewed.is_ok(), over.is_none(), "{at:?}, {old:?}: {renewed:?}, {over:?}");
            assert!(renewed.is_err() || at == At::Queued, "{at:?}: {renewed:?}");
        }
    }
}

#[tokio::test]
async fn a_harmless_change_meanwhile_costs_another_attempt() {
    for at in [At::FactsRead, At::Asked, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (renewing, held) = held_up(&stage, By::OwnKey, By::OwnKey, at).await;
        stage.set_enabled(DEVICE, 1, true).await;
        held.release();
        let ((session, _commands), renewed) = renewing.await.unwrap();
        assert_eq!(renewed.unwrap(), session.expires(), "{at:?}");
        session.send(body("on")).await.unwrap();
        stage.disable(DEVICE).await;
        assert!(matches!(at_once(session.ended()).await, Some(End::CutOff(_))), "{at:?}");
    }
}

#[tokio::test]
async fn to_ask_whether_a_device_would_be_let_in_changes_nothing() {
    let stage = Stage::with_device(DEVICE).await;
    let check = async |evidence| {
        let connecting = stage.connecting(DEVICE, evidence, Earlier::LeftAlone);
        stage.app.check_device(connecting).await
    };
    assert_eq!(check(lasting(1, 60)).await.unwrap(), end_of(60));
    assert_eq!(stage.app.n_sessions(), 0);
    assert!(!stage.is_connected(DEVICE).await);
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert!(check(lasting(1, 60)).await.is_ok());
    let failed = check(lasting(2, 60)).await;
    let bad = AttestFailure::BadSignature;
    assert!(matches!(&failed, Err(No::Refused(ConnectRefusal::NotAttested(why))) if *why == bad));
    session.send(body("on")).await.unwrap();
    assert_eq!((at_once(session.ended()).await, stage.app.n_sessions()), (None, 1));
    drop(session);
    stage.disable(DEVICE).await;
    let refused = check(lasting(1, 60)).await;
    assert!(matches!(refused, Err(No::Refused(ConnectRefusal::Disabled(_)))), "{refused:?}");
    stage.delete(DEVICE).await;
    let refused = check(lasting(1, 60)).await;
    assert!(matches!(refused, Err(No::Refused(ConnectRefusal::UnknownDevice))), "{refused:?}");
}
