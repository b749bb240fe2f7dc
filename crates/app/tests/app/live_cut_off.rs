//! Off means off (H §4.5.3): once a change is acknowledged nobody is connected who should not be,
//! however a connection and the change come together, and also when whoever asked for the change
//! did not stay for the answer.

use induct_app::{
    No,
    ca_certificates::CaDraft,
    device::SessionNo,
    linked_hubs::{AccessDraft, HubDraft},
    live::End,
    policies::{KeySlot, PolicyDraft},
};
use model::{
    AuthenticationDraft, AuthenticationKind, Change, ConnectRefusal, Evidence, IdentityDraft,
    PolicyScope, Precondition, Right, Rights,
};
use testkit::Ca;

use crate::{
    gated::{At, Held},
    instance::{by, hub_name},
    stage::{Connected, Stage, at_once, body, key, keyed, token, token_for},
};

const DEVICE: &str = "press-17";
const POLICY: &str = "device";

/// What an operator does after which the device may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Disable,
    Delete,
    /// Delete it, and make another one of the same ID and key.
    Recreate,
    Rekey,
    WantCertificates,
    RotatePolicy,
    WeakenPolicy,
    DeletePolicy,
    DeleteCa,
    DoubtCa,
    UnlinkHub,
}

impl Deed {
    const ALL: [Self; 11] = [
        Self::Disable,
        Self::Delete,
        Self::Recreate,
        Self::Rekey,
        Self::WantCertificates,
        Self::RotatePolicy,
        Self::WeakenPolicy,
        Self::DeletePolicy,
        Self::DeleteCa,
        Self::DoubtCa,
        Self::UnlinkHub,
    ];

    /// A stage on which the device may connect, with what it shows.
    async fn arrange(self) -> (Stage, Evidence) {
        let mut stage = Stage::new().await;
        match self {
            Self::Disable
            | Self::Delete
            | Self::Recreate
            | Self::Rekey
            | Self::WantCertificates => {
                stage.create(DEVICE, 1).await;
                (stage, token(DEVICE, &key(1), None))
            }
            Self::RotatePolicy | Self::WeakenPolicy | Self::DeletePolicy => {
                stage.create(DEVICE, 1).await;
                let policy = stage.app.get_policy(&scope(&stage), POLICY).await.unwrap();
                (stage, token(DEVICE, &policy.keys.primary, Some(POLICY)))
            }
            Self::DeleteCa | Self::DoubtCa => {
                let ca = Ca::root("works");
                put_ca(&stage, &ca, true).await;
                stage.put(certified(), Precondition::None).await.unwrap();
                (stage, Evidence::X509(ca.leaf(DEVICE).chain()))
            }
            Self::UnlinkHub => {
                stage.hub = hub_name("hub-9");
                let draft = HubDraft {
                    name: stage.hub.clone(),
                    access: AccessDraft::BuiltIn,
                    weight: None,
                    apply_allocation_policy: None,
                };
                stage.app.put_hub(&draft, &Precondition::None, &by()).await.unwrap();
                stage.create(DEVICE, 1).await;
                (stage, token_for("hub-9", DEVICE, &key(1), None))
            }
        }
    }

    async fn carry_out(self, stage: Stage) {
        let app = &stage.app;
        let (any, none, me) = (Precondition::Any, Precondition::None, by());
        match self {
            Self::Disable => stage.disable(DEVICE).await,
            Self::Delete => stage.delete(DEVICE).await,
            Self::Recreate => {
                stage.delete(DEVICE).await;
                stage.create(DEVICE, 1).await;
            }
            Self::Rekey => stage.put(keyed(DEVICE, 2), any).await.unwrap(),
            Self::WantCertificates => stage.put(certified(), any).await.unwrap(),
            Self::RotatePolicy => {
                let slot = KeySlot::Primary;
                app.rotate_policy_key(&scope(&stage), POLICY, slot, None, &none, &me)
                    .await
                    .unwrap();
            }
            Self::WeakenPolicy => {
                let rights = Rights::of(&[Right::ServiceConnect]);
                let name = POLICY.to_owned();
                let draft = PolicyDraft { name, rights, primary: None, secondary: None };
                app.put_policy(&scope(&stage), &draft, &any, &me).await.unwrap();
            }
            Self::DeletePolicy => {
                app.delete_policy(&scope(&stage), POLICY, &none, &me).await.unwrap();
            }
            Self::DeleteCa => {
                app.delete_ca_certificate("works", &none, &me).await.unwrap();
            }
            Self::DoubtCa => {
                let der = app.get_ca_certificate("works").await.unwrap().certificate.der.clone();
                let (name, verified) = ("works".to_owned(), Some(false));
                let draft = CaDraft { name, der, verified };
                app.put_ca_certificate(&draft, &any, &me).await.unwrap();
            }
            Self::UnlinkHub => {
                app.delete_hub(&stage.hub, &none, true, &me).await.unwrap();
            }
        }
    }

    /// Whether the device may come again with what it showed.
    fn lets_it_return(self) -> bool {
        self == Self::Recreate
    }
}

fn is_deed(change: &Change) -> bool {
    matches!(
        change,
        Change::PutDevice(..)
            | Change::PutIdentity(..)
            | Change::DeleteDevice(..)
            | Change::PutPolicy(_)
            | Change::DeletePolicy(..)
            | Change::PutCaCertificate(_)
            | Change::DeleteCaCertificate(_)
            | Change::DeleteLinkedHub(_)
    )
}

fn is_connect(change: &Change) -> bool {
    matches!(change, Change::Connect { .. })
}

fn is_event(change: &Change) -> bool {
    matches!(change, Change::AppendEvent(..))
}

fn scope(stage: &Stage) -> PolicyScope {
    PolicyScope::Hub(stage.hub.clone())
}

fn certified() -> IdentityDraft {
    let authentication = AuthenticationDraft {
        kind: Some(AuthenticationKind::CertificateAuthority),
        primary_key: None,
        secondary_key: None,
        primary_thumbprint: None,
        secondary_thumbprint: None,
    };
    IdentityDraft { authentication: Some(authentication), ..keyed(DEVICE, 1) }
}

async fn put_ca(stage: &Stage, ca: &Ca, verified: bool) {
    let (name, der) = ("works".to_owned(), ca.der().to_vec());
    let draft = CaDraft { name, der, verified: Some(verified) };
    stage.app.put_ca_certificate(&draft, &Precondition::None, &by()).await.unwrap();
}

type Connecting = tokio::task::JoinHandle<Result<Connected, No<ConnectRefusal>>>;

fn connecting(stage: &Stage, evidence: &Evidence) -> Connecting {
    let (stage, evidence) = (stage.clone(), evidence.clone());
    tokio::spawn(async move { stage.connect_by(DEVICE, evidence, false).await })
}

/// A connection that is held up here, and the hold.
async fn held_up(stage: &Stage, evidence: &Evidence, at: At) -> (Connecting, Held) {
    let mut held = stage.store.hold(at, is_connect);
    let connecting = connecting(stage, evidence);
    held.reached().await;
    (connecting, held)
}

/// Once the deed is acknowledged the device is off, whatever became of its connection.
async fn check_is_off(
    deed: Deed,
    stage: &Stage,
    outcome: Result<Connected, No<ConnectRefusal>>,
    evidence: &Evidence,
) {
    match outcome {
        Ok((session, _commands)) => {
            let over = at_once(session.ended()).await;
            if !(over.is_none() && deed.lets_it_return()) {
                assert!(matches!(over, Some(End::CutOff(_))), "{deed:?}: {over:?}");
                let sent = session.send(body("late")).await;
                assert!(matches!(sent, Err(SessionNo::Over(End::CutOff(_)))), "{deed:?}: {sent:?}");
            }
        }
        Err(No::Refused(_)) => {}
        Err(No::Fault(fault)) => panic!("{deed:?}: {fault:?}"),
    }
    assert_eq!(stage.app.n_sessions(), 0, "{deed:?}");
    assert_eq!(stage.events().await, [], "{deed:?}");
    if deed != Deed::Delete {
        assert!(!stage.is_connected(DEVICE).await, "{deed:?}");
    }
    check_returns(deed, stage, evidence, deed.lets_it_return()).await;
}

async fn check_returns(deed: Deed, stage: &Stage, evidence: &Evidence, returns: bool) {
    match stage.connect_by(DEVICE, evidence.clone(), false).await {
        Ok((session, _)) => {
            assert!(returns, "{deed:?} lets it in");
            session.send(body("back")).await.unwrap();
        }
        Err(No::Refused(refusal)) => assert!(!returns, "{deed:?}: {refusal}"),
        Err(No::Fault(fault)) => panic!("{deed:?}: {fault:?}"),
    }
}

#[tokio::test]
async fn a_live_session_ends_before_the_change_is_acknowledged() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let connected = stage.connect_by(DEVICE, evidence.clone(), false).await.unwrap();
        assert_eq!(stage.app.n_sessions(), 1);
        deed.carry_out(stage.clone()).await;
        let over = at_once(connected.0.ended()).await;
        assert!(matches!(over, Some(End::CutOff(_))), "{deed:?}: {over:?}");
        check_is_off(deed, &stage, Ok(connected), &evidence).await;
    }
}

#[tokio::test]
async fn a_change_between_the_facts_and_the_place_in_the_index_is_met_by_the_commit() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let (connecting, held) = held_up(&stage, &evidence, At::FactsRead).await;
        deed.carry_out(stage.clone()).await;
        held.release();
        check_is_off(deed, &stage, connecting.await.unwrap(), &evidence).await;
    }
}

#[tokio::test]
async fn a_change_between_the_place_in_the_index_and_the_commit_is_met_by_both() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let (connecting, held) = held_up(&stage, &evidence, At::Asked).await;
        deed.carry_out(stage.clone()).await;
        held.release();
        check_is_off(deed, &stage, connecting.await.unwrap(), &evidence).await;
    }
}

#[tokio::test]
async fn a_change_that_is_written_right_after_the_connection_ends_it() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let (connecting, held) = held_up(&stage, &evidence, At::Queued).await;
        let mut asked = stage.store.hold(At::Asked, is_deed);
        let changing = tokio::spawn(deed.carry_out(stage.clone()));
        asked.reached().await;
        asked.release();
        held.release();
        changing.await.unwrap();
        check_is_off(deed, &stage, connecting.await.unwrap(), &evidence).await;
    }
}

#[tokio::test]
async fn a_connection_hears_of_a_change_before_it_hears_that_it_is_one() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let (connecting, held) = held_up(&stage, &evidence, At::Written).await;
        deed.carry_out(stage.clone()).await;
        held.release();
        let outcome = connecting.await.unwrap();
        assert!(matches!(outcome, Err(No::Refused(_))), "{deed:?}: {outcome:?}");
        check_is_off(deed, &stage, outcome, &evidence).await;
    }
}

#[tokio::test]
async fn an_event_on_its_way_has_no_effect_once_the_identity_has_changed() {
    for deed in [Deed::Disable, Deed::Delete, Deed::Recreate, Deed::Rekey, Deed::WantCertificates] {
        let (stage, evidence) = deed.arrange().await;
        let (session, _commands) = stage.connect_by(DEVICE, evidence, false).await.unwrap();
        let mut held = stage.store.hold(At::Asked, is_event);
        let sending = tokio::spawn(async move { session.send(body("late")).await });
        held.reached().await;
        deed.carry_out(stage.clone()).await;
        held.release();
        let sent = sending.await.unwrap();
        assert!(matches!(sent, Err(SessionNo::Over(End::CutOff(_)))), "{deed:?}: {sent:?}");
        assert_eq!(stage.events().await, [], "{deed:?}");
    }
}

#[tokio::test]
async fn a_change_whose_caller_left_before_it_was_asked_for_keeps_nobody_out() {
    for deed in Deed::ALL {
        let (stage, evidence) = deed.arrange().await;
        let connected = stage.connect_by(DEVICE, evidence.clone(), false).await.unwrap();
        leave(deed, &stage, At::Asked).await.release();
        drop(connected);
        check_returns(deed, &stage, &evidence, true).await;
    }
}

#[tokio::test]
async fn a_change_whose_caller_left_while_it_waited_ends_the_session_all_the_same() {
    for deed in Deed::ALL.into_iter().filter(|deed| !deed.lets_it_return()) {
        let (stage, evidence) = deed.arrange().await;
        let connected = stage.connect_by(DEVICE, evidence.clone(), false).await.unwrap();
        let held = leave(deed, &stage, At::Queued).await;
        // A device that comes back at once finds everything as it was, until it asks the store.
        let mut asked = stage.store.hold(At::Asked, is_connect);
        let returning = connecting(&stage, &evidence);
        asked.reached().await;
        asked.release();
        held.release();
        let outcome = returning.await.unwrap();
        assert!(matches!(outcome, Err(No::Refused(_))), "{deed:?}: {outcome:?}");
        check_is_off(deed, &stage, Ok(connected), &evidence).await;
    }
}

#[tokio::test]
async fn a_change_whose_caller_left_after_it_was_written_ends_the_session_all_the_same() {
    for deed in Deed::ALL.into_iter().filter(|deed| !deed.lets_it_return()) {
        let (stage, evidence) = deed.arrange().await;
        let connected = stage.connect_by(DEVICE, evidence.clone(), false).await.unwrap();
        leave(deed, &stage, At::Written).await.release();
        check_is_off(deed, &stage, Ok(connected), &evidence).await;
    }
}

/// Begins a change and leaves while it is held up there.
async fn leave(deed: Deed, stage: &Stage, at: At) -> Held {
    let mut held = stage.store.hold(at, is_deed);
    let changing = tokio::spawn(deed.carry_out(stage.clone()));
    held.reached().await;
    changing.abort();
    assert!(changing.await.unwrap_err().is_cancelled());
    held
}

#[tokio::test]
async fn a_harmless_change_whose_caller_left_leaves_the_session_as_it_was() {
    for at in [At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
        let mut held = stage.store.hold(at, is_deed);
        let noting = stage.clone();
        let noting = tokio::spawn(async move {
            let status_reason = Some("greased".to_owned());
            let draft = IdentityDraft { status_reason, ..keyed(DEVICE, 1) };
            noting.put(draft, Precondition::Any).await
        });
        held.reached().await;
        noting.abort();
        assert!(noting.await.is_err());
        held.release();
        session.send(body("on")).await.unwrap();
        assert_eq!(at_once(session.ended()).await, None, "{at:?}");
        assert_eq!(stage.events().await.len(), 1, "{at:?}");
        // And the next change is met as ever.
        stage.disable(DEVICE).await;
        assert!(matches!(at_once(session.ended()).await, Some(End::CutOff(_))), "{at:?}");
    }
}

#[tokio::test]
async fn a_change_that_the_store_failed_to_write_ends_a_session_at_worst_for_now() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    stage.store.fail(1);
    assert!(matches!(stage.put(keyed(DEVICE, 1), Precondition::Any).await, Err(No::Fault(_))));
    session.send(body("on")).await.unwrap();
    stage.store.fail(1);
    let other_key = stage.put(keyed(DEVICE, 2), Precondition::Any).await;
    assert!(matches!(other_key, Err(No::Fault(_))));
    assert!(matches!(at_once(session.ended()).await, Some(End::CutOff(_))));
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.send(body("back")).await.unwrap();
}

#[tokio::test]
async fn a_change_that_concerns_others_ends_nothing() {
    let stage = Stage::with_device(DEVICE).await;
    stage.create("press-18", 1).await;
    put_ca(&stage, &Ca::root("works"), true).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    stage.disable("press-18").await;
    stage.delete("press-18").await;
    for deed in [Deed::RotatePolicy, Deed::DeletePolicy, Deed::DeleteCa] {
        deed.carry_out(stage.clone()).await;
    }
    // As well as those that concern the device, and leave it what it rests on.
    let status_reason = Some("greased".to_owned());
    for _ in 0..3 {
        let draft = IdentityDraft { status_reason: status_reason.clone(), ..keyed(DEVICE, 1) };
        stage.put(draft, Precondition::Any).await.unwrap();
        session.send(body("on")).await.unwrap();
    }
    assert_eq!(at_once(session.ended()).await, None);
}

#[tokio::test]
async fn a_device_that_is_enabled_again_comes_back_by_itself() {
    let stage = Stage::with_device(DEVICE).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    stage.disable(DEVICE).await;
    drop(session);
    assert!(stage.connect(DEVICE, 1).await.is_err());
    stage.set_enabled(DEVICE, 1, true).await;
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.send(body("back")).await.unwrap();
    assert!(stage.is_connected(DEVICE).await);
}

#[tokio::test]
async fn a_device_that_was_off_only_while_it_connected_is_let_in() {
    for at in [At::FactsRead, At::Asked] {
        let stage = Stage::with_device(DEVICE).await;
        let (connecting, held) = held_up(&stage, &token(DEVICE, &key(1), None), at).await;
        stage.disable(DEVICE).await;
        stage.set_enabled(DEVICE, 1, true).await;
        held.release();
        let (session, _commands) = connecting.await.unwrap().unwrap();
        assert_eq!(at_once(session.ended()).await, None, "{at:?}");
        session.send(body("in")).await.unwrap();
        assert!(stage.is_connected(DEVICE).await, "{at:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_off_while_it_is_made_leaves_nothing_behind() {
    for at in [At::FactsRead, At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        let (connecting, held) = held_up(&stage, &token(DEVICE, &key(1), None), at).await;
        connecting.abort();
        assert!(connecting.await.is_err());
        assert_eq!(stage.app.n_sessions(), 0, "{at:?}");
        held.release();
        assert!(!stage.is_connected(DEVICE).await, "{at:?}");
        let counts = stage.app.device_counts(&stage.hub).await.unwrap();
        assert_eq!(counts.connected, 0, "{at:?}");
        assert!(stage.connect(DEVICE, 1).await.is_ok(), "{at:?}");
    }
}

#[tokio::test]
async fn who_is_gone_is_written_down_once_the_store_works_again() {
    let stage = Stage::with_device(DEVICE).await;
    drop(stage.connect(DEVICE, 1).await.unwrap());
    stage.store.fail(1);
    assert!(stage.is_connected(DEVICE).await);
    assert!(!stage.is_connected(DEVICE).await);
}

#[tokio::test]
async fn the_departure_of_many_is_written_down() {
    let stage = Stage::new().await;
    let mut sessions = Vec::new();
    for n in 0..300 {
        let name = format!("press-{n}");
        stage.create(&name, 1).await;
        sessions.push(stage.connect(&name, 1).await.unwrap());
    }
    assert_eq!(stage.app.n_sessions(), 300);
    assert_eq!(stage.app.device_counts(&stage.hub).await.unwrap().connected, 300);
    drop(sessions);
    at_once(stage.app.departure()).await.unwrap();
    stage.app.see_off().await;
    assert_eq!(stage.app.device_counts(&stage.hub).await.unwrap().connected, 0);
    assert_eq!(stage.app.n_sessions(), 0);
    assert!(at_once(stage.app.departure()).await.is_none());
}

#[tokio::test]
async fn who_is_gone_is_written_down_also_when_the_writing_was_cut_short() {
    for at in [At::Asked, At::Queued, At::Written] {
        let stage = Stage::with_device(DEVICE).await;
        drop(stage.connect(DEVICE, 1).await.unwrap());
        let mut held = stage.store.hold(at, |change| matches!(change, Change::Disconnect { .. }));
        let chore = stage.clone();
        let chore = tokio::spawn(async move { chore.app.see_off().await });
        held.reached().await;
        chore.abort();
        assert!(chore.await.is_err());
        held.release();
        assert!(!stage.is_connected(DEVICE).await, "{at:?}");
    }
}
