//! Modules that are connected (H §2.8): off when their device is, however a connection and the
//! change come together; and otherwise devices of their own.

use induct_app::{
    No,
    device::SessionNo,
    live::{Command, End},
};
use model::{Change, ConnectRefusal, Json, Precondition, Qos, Subscriptions, Timestamp, TwinDraft};
use testkit::NOW;

use crate::{
    gated::{At, Held},
    instance::by,
    stage::{Connected, Stage, at_once, body, id, key, keyed, token, token_until},
};

const DEVICE: &str = "press-17";
const MODULE: &str = "press-17/camera";
const OTHER: &str = "press-17/wheel";

const DESIRED: Subscriptions = Subscriptions {
    messages: None,
    twin_responses: None,
    desired: Some(Qos::AtLeastOnce),
    methods: None,
};

/// What an operator does after which the module may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    DisableDevice,
    DeleteDevice,
    /// Delete it, and make another device and module of the same IDs and keys.
    RecreateDevice,
    DeleteModule,
    RekeyModule,
}

impl Deed {
    const ALL: [Self; 5] = [
        Self::DisableDevice,
        Self::DeleteDevice,
        Self::RecreateDevice,
        Self::DeleteModule,
        Self::RekeyModule,
    ];

    async fn carry_out(self, stage: Stage) {
        match self {
            Self::DisableDevice => stage.disable(DEVICE).await,
            Self::DeleteDevice => stage.delete(DEVICE).await,
            Self::RecreateDevice => {
                stage.delete(DEVICE).await;
                stage.create(DEVICE, 1).await;
                stage.create(MODULE, 2).await;
            }
            Self::DeleteModule => stage.delete(MODULE).await,
            Self::RekeyModule => stage.put(keyed(MODULE, 3), Precondition::Any).await.unwrap(),
        }
    }

    fn lets_it_return(self) -> bool {
        self == Self::RecreateDevice
    }
}

/// A stage with a device of key 1 and two modules of key 2.
async fn stage() -> Stage {
    let stage = Stage::with_device(DEVICE).await;
    stage.create(MODULE, 2).await;
    stage.create(OTHER, 2).await;
    stage
}

fn is_deed(change: &Change) -> bool {
    matches!(change, Change::PutDevice(..) | Change::PutIdentity(..) | Change::DeleteDevice(..))
}

fn is_connect(change: &Change) -> bool {
    matches!(change, Change::Connect { .. })
}

fn is_event(change: &Change) -> bool {
    matches!(change, Change::AppendEvent(..))
}

fn is_renewal(change: &Change) -> bool {
    matches!(change, Change::Touch { .. })
}

fn is_cut_off(over: Option<&End>) -> bool {
    matches!(over, Some(End::CutOff(_)))
}

type Connecting = tokio::task::JoinHandle<Result<Connected, No<ConnectRefusal>>>;

fn connecting(stage: &Stage) -> Connecting {
    let stage = stage.clone();
    tokio::spawn(async move { stage.connect(MODULE, 2).await })
}

/// A connection of the module that is held up here, and the hold.
async fn held_up(stage: &Stage, at: At) -> (Connecting, Held) {
    let mut held = stage.store.hold(at, is_connect);
    let connecting = connecting(stage);
    held.reached().await;
    (connecting, held)
}

/// Once the deed is acknowledged the module is off, whatever became of its connection.
async fn check_is_off(deed: Deed, stage: &Stage, outcome: Result<Connected, No<ConnectRefusal>>) {
    match outcome {
        Ok((session, _commands)) => {
            let over = at_once(session.ended()).await;
            if !(over.is_none() && deed.lets_it_return()) {
                assert!(is_cut_off(over.as_ref()), "{deed:?}: {over:?}");
                let sent = session.send(body("late")).await;
                assert!(matches!(sent, Err(SessionNo::Over(End::CutOff(_)))), "{deed:?}: {sent:?}");
            }
        }
        Err(No::Refused(_)) => {}
        Err(No::Fault(fault)) => panic!("{deed:?}: {fault:?}"),
    }
    assert_eq!(stage.app.n_sessions(), 0, "{deed:?}");
    assert_eq!(stage.events().await, [], "{deed:?}");
    match stage.connect(MODULE, 2).await {
        Ok((session, _commands)) => {
            assert!(deed.lets_it_return(), "{deed:?} lets it in");
            session.send(body("back")).await.unwrap();
        }
        Err(No::Refused(refusal)) => assert!(!deed.lets_it_return(), "{deed:?}: {refusal}"),
        Err(No::Fault(fault)) => panic!("{deed:?}: {fault:?}"),
    }
}

#[tokio::test]
async fn a_modules_session_ends_before_the_change_is_acknowledged() {
    for deed in Deed::ALL {
        let stage = stage().await;
        let connected = stage.connect(MODULE, 2).await.unwrap();
        deed.carry_out(stage.clone()).await;
        let over = at_once(connected.0.ended()).await;
        assert!(is_cut_off(over.as_ref()), "{deed:?}: {over:?}");
        check_is_off(deed, &stage, Ok(connected)).await;
    }
}

#[tokio::test]
async fn a_change_and_a_modules_connection_meet_wherever_they_cross() {
    for deed in Deed::ALL {
        for at in [At::FactsRead, At::Asked, At::Written] {
            let stage = stage().await;
            let (connecting, held) = held_up(&stage, at).await;
            deed.carry_out(stage.clone()).await;
            held.release();
            let outcome = connecting.await.unwrap();
            if at == At::Written {
                assert!(matches!(outcome, Err(No::Refused(_))), "{deed:?}: {outcome:?}");
            }
            check_is_off(deed, &stage, outcome).await;
        }
    }
}

#[tokio::test]
async fn a_change_that_is_written_right_after_the_modules_connection_ends_it() {
    for deed in Deed::ALL {
        let stage = stage().await;
        let (connecting, held) = held_up(&stage, At::Queued).await;
        let mut asked = stage.store.hold(At::Asked, is_deed);
        let changing = tokio::spawn(deed.carry_out(stage.clone()));
        asked.reached().await;
        asked.release();
        held.release();
        changing.await.unwrap();
        check_is_off(deed, &stage, connecting.await.unwrap()).await;
    }
}

#[tokio::test]
async fn an_event_of_a_module_on_its_way_has_no_effect_once_its_device_is_off() {
    for deed in Deed::ALL {
        let stage = stage().await;
        let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
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
async fn an_event_of_a_module_has_no_effect_even_when_its_device_is_enabled_again_by_then() {
    let stage = stage().await;
    let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
    let mut held = stage.store.hold(At::Asked, is_event);
    let sending = tokio::spawn(async move { session.send(body("late")).await });
    held.reached().await;
    stage.disable(DEVICE).await;
    stage.set_enabled(DEVICE, 1, true).await;
    held.release();
    let sent = sending.await.unwrap();
    assert!(matches!(sent, Err(SessionNo::Over(End::CutOff(_)))), "{sent:?}");
    assert_eq!(stage.events().await, []);
    let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
    session.send(body("back")).await.unwrap();
}

#[tokio::test]
async fn a_change_of_the_device_whose_caller_left_ends_its_modules_all_the_same() {
    for deed in [Deed::DisableDevice, Deed::DeleteDevice] {
        for at in [At::Queued, At::Written] {
            let stage = stage().await;
            let connected = stage.connect(MODULE, 2).await.unwrap();
            let mut held = stage.store.hold(at, is_deed);
            let changing = tokio::spawn(deed.carry_out(stage.clone()));
            held.reached().await;
            changing.abort();
            assert!(changing.await.unwrap_err().is_cancelled());
            held.release();
            // What is asked for later is written later.
            stage.app.see_off().await;
            check_is_off(deed, &stage, Ok(connected)).await;
        }
    }
}

#[tokio::test]
async fn a_module_that_shows_a_newer_token_while_its_device_goes_off_is_off() {
    for at in [At::FactsRead, At::Asked, At::Written] {
        let stage = stage().await;
        let connected = stage.connect(MODULE, 2).await.unwrap();
        let newer = token_until("hub-1", MODULE, &key(2), None, 600);
        let mut held = stage.store.hold(at, is_renewal);
        let renewing = tokio::spawn(async move {
            let renewed = connected.0.renew(newer).await;
            (connected, renewed)
        });
        held.reached().await;
        stage.disable(DEVICE).await;
        held.release();
        let (connected, renewed) = renewing.await.unwrap();
        assert!(renewed.is_err(), "{at:?}: {renewed:?}");
        check_is_off(Deed::DisableDevice, &stage, Ok(connected)).await;
    }
}

#[tokio::test]
async fn a_newer_token_moves_the_end_of_a_modules_session() {
    let stage = stage().await;
    let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
    let renewed = session.renew(token_until("hub-1", MODULE, &key(2), None, 600)).await;
    assert_eq!(renewed.unwrap(), Timestamp::from_unix_secs(NOW.unix_secs() + 601));
    let of_device = session.renew(token(DEVICE, &key(1), None)).await;
    assert!(matches!(of_device, Err(No::Refused(_))), "{of_device:?}");
    session.send(body("on")).await.unwrap();
}

#[tokio::test]
async fn how_its_device_logs_in_is_nothing_to_a_module() {
    let stage = stage().await;
    let device = stage.connect(DEVICE, 1).await.unwrap();
    let (module, _commands) = stage.connect(MODULE, 2).await.unwrap();
    for seed in 5..9 {
        stage.put(keyed(DEVICE, seed), Precondition::Any).await.unwrap();
        module.send(body("on")).await.unwrap();
    }
    assert!(is_cut_off(at_once(device.0.ended()).await.as_ref()));
    assert_eq!(at_once(module.ended()).await, None);
    assert_eq!(stage.events().await.len(), 4);
}

#[tokio::test]
async fn events_of_a_module_keep_their_order_while_its_device_is_written() {
    let stage = stage().await;
    let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
    let session = std::sync::Arc::new(session);
    let send = |text: &'static str| {
        let session = std::sync::Arc::clone(&session);
        tokio::spawn(async move { session.send(body(text)).await })
    };
    let mut held = stage.store.hold(At::Asked, is_event);
    let first = send("1");
    held.reached().await;
    stage.put(keyed(DEVICE, 5), Precondition::Any).await.unwrap();
    let second = send("2");
    tokio::task::yield_now().await;
    held.release();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let expected = ["1", "2"].map(|text| (MODULE.to_owned(), text.to_owned()));
    assert_eq!(stage.events().await, expected);
}

#[tokio::test]
async fn a_module_has_a_session_beside_its_device_and_its_neighbours() {
    let stage = stage().await;
    stage.create("press-18", 1).await;
    stage.create("press-18/camera", 2).await;
    let device = stage.connect(DEVICE, 1).await.unwrap();
    let module = stage.connect(MODULE, 2).await.unwrap();
    let other = stage.connect(OTHER, 2).await.unwrap();
    let stranger = stage.connect("press-18/camera", 2).await.unwrap();
    assert_eq!(stage.app.n_sessions(), 4);
    // It is counted as little as it is listed.
    assert_eq!(stage.app.device_counts(&stage.hub).await.unwrap().connected, 1);
    assert!(stage.is_connected(MODULE).await);

    let again = stage.connect(MODULE, 2).await.unwrap();
    assert_eq!(at_once(module.0.ended()).await, Some(End::TakenOver));
    drop(module);
    stage.delete(OTHER).await;
    assert!(is_cut_off(at_once(other.0.ended()).await.as_ref()));
    for (connected, name) in [(&device, "device"), (&again, "module"), (&stranger, "stranger")] {
        assert_eq!(at_once(connected.0.ended()).await, None, "{name}");
    }
    stage.disable(DEVICE).await;
    for connected in [&device, &again] {
        assert!(is_cut_off(at_once(connected.0.ended()).await.as_ref()));
    }
    assert_eq!(at_once(stranger.0.ended()).await, None);
    stranger.0.send(body("undisturbed")).await.unwrap();
}

#[tokio::test]
async fn a_module_without_credentials_of_its_own_does_not_get_in() {
    let stage = stage().await;
    for evidence in [token(DEVICE, &key(1), None), token(MODULE, &key(1), None)] {
        let refused = stage.connect_by(MODULE, evidence, false).await;
        assert!(matches!(refused, Err(No::Refused(ConnectRefusal::NotAttested(_)))));
    }
    let of_module = stage.connect_by(DEVICE, token(MODULE, &key(2), None), false).await;
    assert!(matches!(of_module, Err(No::Refused(ConnectRefusal::NotAttested(_)))));
    let unknown = stage.connect("press-17/door", 2).await;
    assert!(matches!(unknown, Err(No::Refused(ConnectRefusal::UnknownDevice))), "{unknown:?}");
}

#[tokio::test]
async fn a_module_reports_and_hears_of_its_own_twin() {
    let stage = stage().await;
    let (session, mut commands) = stage.connect(MODULE, 2).await.unwrap();
    session.subscribe(DESIRED, true).await.unwrap();
    let json = |name: &str, value: &str| Json::Object(vec![(name.to_owned(), Json::from(value))]);
    session.report(&json("lens", "wide"), None).await.unwrap();
    let draft = TwinDraft { tags: None, desired: Some(json("zoom", "2x")) };
    let none = Precondition::None;
    stage.app.patch_twin(&stage.hub, &id(MODULE), &draft, &none, &by()).await.unwrap();
    match at_once(commands.next()).await {
        Some(Command::Desired(desired)) => {
            assert_eq!(desired.patch.to_string(), r#"{"zoom":"2x"}"#)
        }
        other => panic!("{other:?}"),
    }
    let twin = session.twin().await.unwrap();
    assert_eq!(twin.reported.content.to_string(), r#"{"lens":"wide"}"#);
    assert_eq!(twin.desired.content.to_string(), r#"{"zoom":"2x"}"#);
    let device = stage.app.get_device(&stage.hub, &id(DEVICE)).await.unwrap().twin;
    assert!(device.reported.content.is_empty_object() && device.desired.content.is_empty_object());
    // Subscriptions are kept for the module alone.
    drop(session);
    let (session, _commands) = stage.connect(MODULE, 2).await.unwrap();
    assert_eq!((session.subscriptions(), session.was_present()), (DESIRED, true));
    stage.disable(DEVICE).await;
    assert!(matches!(session.twin().await, Err(SessionNo::Over(End::CutOff(_)))));
}
