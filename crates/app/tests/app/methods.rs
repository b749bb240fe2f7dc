//! Methods: called on a device that is connected and takes them, and answered or not.

use decide::hub::method::MethodCall;
use induct_app::{
    No,
    hub::MethodReply,
    live::{Command, MAX_COMMANDS, MethodAnswer, MethodInvocation},
};
use model::{HubRefusal, Qos, Subscriptions};

use crate::stage::{Connected, Stage, at_once, id};

const DEVICE: &str = "press-17";

const METHODS: Subscriptions = Subscriptions {
    messages: None,
    twin_responses: None,
    desired: None,
    methods: Some(Qos::AtMostOnce),
};

async fn call(stage: &Stage, device: &str) -> Result<MethodReply, No<HubRefusal>> {
    let call = MethodCall {
        name: "stop".to_owned(),
        payload: "{}".to_owned(),
        response_timeout_secs: 30,
        connect_timeout_secs: 0,
    };
    stage.app.call_method(&stage.hub, &id(device), &call).await
}

async fn is_offline(stage: &Stage) -> bool {
    match call(stage, DEVICE).await {
        Err(No::Refused(HubRefusal::DeviceNotOnline(device))) => device == DEVICE,
        Ok(_) => false,
        other => panic!("{other:?}"),
    }
}

/// A device that takes methods.
async fn taking(stage: &Stage) -> Connected {
    let (session, commands) = stage.connect(DEVICE, 1).await.unwrap();
    session.subscribe(METHODS, true).await.unwrap();
    (session, commands)
}

async fn invocation(connected: &mut Connected) -> MethodInvocation {
    match at_once(connected.1.next()).await {
        Some(Command::Method(invocation)) => invocation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_device_answers_the_method_it_was_called_with() {
    let stage = Stage::with_device(DEVICE).await;
    let mut connected = taking(&stage).await;
    let first = call(&stage, DEVICE).await.unwrap();
    let second = call(&stage, DEVICE).await.unwrap();
    let answer = |status| MethodAnswer { status, payload: b"{}".to_vec() };
    let (one, two) = (invocation(&mut connected).await, invocation(&mut connected).await);
    assert_eq!((one.name.as_str(), one.payload.as_str()), ("stop", "{}"));
    two.reply.send(answer(2)).unwrap();
    one.reply.send(answer(1)).unwrap();
    assert_eq!(first.wait().await, Some(answer(1)));
    assert_eq!(second.wait().await, Some(answer(2)));
}

#[tokio::test]
async fn only_a_device_that_is_there_and_takes_methods_is_called() {
    let stage = Stage::with_device(DEVICE).await;
    let unknown = call(&stage, "press-18").await;
    assert!(matches!(unknown, Err(No::Refused(HubRefusal::DeviceNotFound(_)))), "{unknown:?}");
    assert!(is_offline(&stage).await);
    let (session, commands) = stage.connect(DEVICE, 1).await.unwrap();
    assert!(is_offline(&stage).await);
    session.subscribe(METHODS, true).await.unwrap();
    assert!(!is_offline(&stage).await);
    session.subscribe(Subscriptions::default(), true).await.unwrap();
    assert!(is_offline(&stage).await);
    session.subscribe(METHODS, true).await.unwrap();
    drop((session, commands));
    assert!(is_offline(&stage).await);
    // It takes them from the first moment on, because it did before.
    let _connected = stage.connect(DEVICE, 1).await.unwrap();
    assert!(!is_offline(&stage).await);
    stage.disable(DEVICE).await;
    assert!(is_offline(&stage).await);
}

#[tokio::test]
async fn a_caller_hears_when_the_session_ends_before_the_answer() {
    let stage = Stage::with_device(DEVICE).await;
    // Before the device heard of it.
    let connected = taking(&stage).await;
    let reply = call(&stage, DEVICE).await.unwrap();
    drop(connected);
    assert_eq!(at_once(reply.wait()).await, Some(None));
    // After.
    let mut connected = taking(&stage).await;
    let reply = call(&stage, DEVICE).await.unwrap();
    let heard = invocation(&mut connected).await;
    stage.disable(DEVICE).await;
    drop((heard, connected));
    assert_eq!(at_once(reply.wait()).await, Some(None));
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_disturb_the_device() {
    let stage = Stage::with_device(DEVICE).await;
    let mut connected = taking(&stage).await;
    drop(call(&stage, DEVICE).await.unwrap());
    let heard = invocation(&mut connected).await;
    assert!(heard.reply.send(MethodAnswer { status: 200, payload: Vec::new() }).is_err());
    assert_eq!(at_once(connected.0.ended()).await, None);
}

#[tokio::test]
async fn methods_that_pile_up_fail_and_leave_the_device_connected() {
    let stage = Stage::with_device(DEVICE).await;
    let connected = taking(&stage).await;
    let mut waiting = Vec::new();
    for _ in 0..MAX_COMMANDS {
        waiting.push(call(&stage, DEVICE).await.unwrap());
    }
    let one_more = call(&stage, DEVICE).await.unwrap();
    assert_eq!(at_once(one_more.wait()).await, Some(None));
    assert_eq!(at_once(connected.0.ended()).await, None);
}

#[tokio::test]
async fn a_caller_may_wait_for_the_device_to_come() {
    let stage = Stage::with_device(DEVICE).await;
    stage.create("press-18", 1).await;
    let until = || {
        let stage = stage.clone();
        tokio::spawn(async move {
            stage.app.until_takes_methods(&stage.hub, &id(DEVICE)).await;
        })
    };
    // Until it subscribes.
    let waiting = until();
    let (session, _commands) = stage.connect(DEVICE, 1).await.unwrap();
    let (other, _other_commands) = stage.connect("press-18", 1).await.unwrap();
    other.subscribe(METHODS, true).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    session.subscribe(METHODS, true).await.unwrap();
    waiting.await.unwrap();
    // It is there already.
    at_once(stage.app.until_takes_methods(&stage.hub, &id(DEVICE))).await.unwrap();
    // Until it connects again.
    drop(session);
    let waiting = until();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    let _connected = stage.connect(DEVICE, 1).await.unwrap();
    waiting.await.unwrap();
}
