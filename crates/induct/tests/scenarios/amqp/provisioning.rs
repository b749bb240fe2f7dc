//! Provisioning with keys and certificates, in the manner of every SDK that speaks AMQP (D §3).

use amqp::proto::{Attach, Body, Message, ProtocolHeader, Role, SaslOutcome, Value};
use bytes::Bytes;
use model::SymmetricKey;
use serde_json::json;
use testkit::Ca;

use super::{
    line::Way,
    sasl,
    sdk::{self, Sdk},
    session::{Ended, Session, check_error, log_in, refused_link},
};
use crate::world::{
    Device, HUBS, SERVICE, Scene, Tls, World,
    enrollments::{by_certificate, by_key, disabled, group, group_by_ca, individual, primary_key},
    now_unix_secs,
};

const OTHER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const UNAUTHORIZED: (&str, u32) = ("amqp:unauthorized-access", 401_002);

/// The device registers and polls in the manner of the SDK, and is assigned to the hub.
async fn check(world: &World, sdk: &Sdk, way: Way, device: &Device) {
    let mut session = Session::open(world, sdk, way, device).await;
    let operation = session.register().await;
    let state = session.poll(&operation).await;
    session.leave().await;
    let what = format!("{} by {way:?}", sdk.name);
    assert_eq!(state["status"], "assigned", "{what}: {state}");
    assert_eq!(state["assignedHub"], HUBS[0], "{what}: {state}");
    assert_eq!(state["deviceId"], device.id.as_str(), "{what}: {state}");
    let record = world.record(&device.id).await.expect("a record");
    assert_eq!(record["etag"], state["etag"], "{what}: the record is the one that was told");
    assert!(world.identity(HUBS[0], &device.id).await.is_some(), "{what}");
}

fn id_of(sdk: &Sdk, way: Way, more: &str) -> String {
    format!("Press.{}:{}{more}", sdk.name, way.name())
}

async fn key_device(world: &World, id: &str) -> Device {
    let enrollment = world.service().create(&individual(id), &by_key(id)).await;
    Device::with_key(id, primary_key(&enrollment))
}

#[tokio::test]
async fn every_sdk_registers_with_a_key_over_tls_and_in_a_websocket() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let device = key_device(&world, &id_of(sdk, way, "")).await;
            check(&world, sdk, way, &device).await;
        }
    }
}

#[tokio::test]
async fn every_sdk_registers_with_a_certificate_and_no_sasl() {
    let world = Scene::new().start().await;
    let ca = Ca::root("Works Root").intermediate("line-4");
    world.service().create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let id = id_of(sdk, way, "-group");
            check(&world, sdk, way, &Device::with_certificate(&id, &ca.leaf(&id))).await;
            let id = id_of(sdk, way, "-alone");
            let own = Ca::root("A maker of presses").leaf(&id);
            world.service().create(&individual(&id), &by_certificate(&id, &own)).await;
            check(&world, sdk, way, &Device::with_certificate(&id, &own)).await;
        }
    }
}

#[tokio::test]
async fn who_is_not_enrolled_or_has_another_key_is_let_in_and_rejected_with_json() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let enrolled = key_device(&world, &id_of(sdk, way, "")).await;
            let unknown = id_of(sdk, way, "-unknown");
            for id in [&enrolled.id, &unknown] {
                let device = Device::with_key(id, OTHER_KEY);
                let mut session = Session::open(&world, sdk, way, &device).await;
                let message = session.register_message();
                let (condition, code) = UNAUTHORIZED;
                session.refused(&message, condition, code).await;
                session.leave().await;
                assert_eq!(world.record(id).await, None);
            }
        }
    }
}

#[tokio::test]
async fn a_token_for_another_device_or_of_yesterday_is_refused_by_sasl() {
    let world = Scene::new().start().await;
    let key = SymmetricKey::parse(OTHER_KEY).expect("a key");
    let scope = world.id_scope();
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let tokens = [
                sdk.token(scope, "press-2", &key),
                sdk.token("0ne99999999", "press-1", &key),
                sdk.token_until(scope, "press-1", &key, now_unix_secs() - 86_400),
                "no token".to_owned(),
            ];
            for token in tokens {
                let mut line = way.open(&world, SERVICE, |tls| tls).await;
                let identity = format!("{scope}/registrations/press-1");
                let outcome = sasl::plain(&mut line, sdk, &identity, &token).await;
                assert_eq!(outcome, SaslOutcome::Auth, "{} with {token}", sdk.name);
                line.closed().await;
            }
        }
    }
}

#[tokio::test]
async fn a_link_to_another_device_than_that_of_the_login_is_refused() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let scope = world.id_scope();
    let others =
        [format!("{scope}/registrations/press-2"), "0ne99999999/registrations/press-1".to_owned()];
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            for identity in &others {
                for role in [Role::Sender, Role::Receiver] {
                    let line = log_in(&world, sdk, way, &device).await;
                    refused_link(line, sdk, role, |_| {}, identity, UNAUTHORIZED).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn who_shows_nothing_gets_no_link() {
    let world = Scene::new().start().await;
    let identity = format!("{}/registrations/press-1", world.id_scope());
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let mut line = way.open(&world, SERVICE, |tls| tls).await;
            line.header(ProtocolHeader::Amqp).await;
            refused_link(line, sdk, Role::Receiver, |_| {}, &identity, UNAUTHORIZED).await;
        }
    }
}

#[tokio::test]
async fn a_link_that_asks_says_which_api_version_it_speaks() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let identity = format!("{}/registrations/press-1", world.id_scope());
    let argument = |code| ("com.microsoft:argument-error", code);
    let [way, _] = Way::both(&sdk::NODE);
    let line = log_in(&world, &sdk::NODE, way, &device).await;
    let nameless = |attach: &mut Attach| attach.properties.clear();
    refused_link(line, &sdk::NODE, Role::Sender, nameless, &identity, argument(400_001)).await;
    let line = log_in(&world, &sdk::NODE, way, &device).await;
    let unknown = |attach: &mut Attach| {
        attach.properties[0].1 = Value::String("2001-01-01".to_owned());
    };
    refused_link(line, &sdk::NODE, Role::Sender, unknown, &identity, argument(400_002)).await;
}

#[tokio::test]
async fn addresses_compare_without_regard_to_case() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        let line = log_in(&world, sdk, way, &device).await;
        let mut session = Session::begin(&world, sdk, line, "PRESS-1").await;
        let operation = session.register().await;
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        session.leave().await;
    }
}

#[tokio::test]
async fn an_id_scope_that_is_not_ours_is_told_by_the_outcome() {
    let world = Scene::new().start().await;
    let maker = Ca::root("A maker of presses");
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        // Each its own name: who is refused again is told when to come back.
        let id = id_of(sdk, way, "");
        let device = Device::with_certificate(&id, &maker.leaf(&id));
        let line = log_in(&world, sdk, way, &device).await;
        let mut session = Session::begin_at(sdk, line, "0ne99999999", &id).await;
        let message = session.register_message();
        session.refused(&message, "amqp:not-found", 404_000).await;
        session.leave().await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_rejected_and_the_connection_goes_on() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        let device = key_device(&world, &id_of(sdk, way, "")).await;
        let other = json!({"registrationId": "another"}).to_string();
        let argument = ("com.microsoft:argument-error", 400_004);
        let register = |body: Bytes| sdk.request(0, "iotdps-register", Body::Data(vec![body]));
        let no_requests = [
            (Message::default(), argument),
            (sdk.request(0, "iotdps-unregister", Body::None), argument),
            (register(Bytes::from_static(b"{")), argument),
            (register(Bytes::from(other)), argument),
            (
                sdk.poll_message(0, &device.id, None, "5.0123456789abcdef.no-such-operation"),
                ("amqp:not-found", 404_204),
            ),
            (sdk.request(0, "iotdps-get-registration", Body::None), ("amqp:not-found", 404_203)),
        ];
        let mut session = Session::open(&world, sdk, way, &device).await;
        for (message, (condition, code)) in &no_requests {
            session.refused(message, condition, *code).await;
        }
        let operation = session.register().await;
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        // The form of the status look-up that no SDK uses (D §3.5).
        let look_up = sdk.request(0, "iotdps-get-registration", Body::None);
        let Ended::Answered(body, _) = session.ask(&look_up).await else { panic!("refused") };
        assert_eq!((&body["status"], &body["assignedHub"]), (&json!("assigned"), &json!(HUBS[0])));
        session.leave().await;
    }
}

#[tokio::test]
async fn requests_that_were_sent_at_once_are_answered_one_after_the_other() {
    let world = Scene::new().start().await;
    for way in Way::both(&sdk::NODE) {
        let device = key_device(&world, &id_of(&sdk::NODE, way, "")).await;
        let mut session = Session::open(&world, &sdk::NODE, way, &device).await;
        let messages: Vec<Message> =
            (0..5).map(|n| sdk::NODE.register_message(n, &device.id, None)).collect();
        for message in &messages {
            session.start(message).await;
        }
        let mut operations = Vec::new();
        for message in &messages {
            match session.end(message).await {
                Ended::Answered(body, _) => operations.push(body["operationId"].to_string()),
                Ended::Rejected(error) => panic!("{error:?}"),
            }
        }
        operations.dedup();
        assert_eq!(operations.len(), 5, "each is an operation of its own");
        session.leave().await;
    }
}

#[tokio::test]
async fn a_device_whose_enrollment_is_disabled_is_told_so_and_comes_back_when_it_is_enabled() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let id = id_of(sdk, way, "");
            let service = world.service();
            let enrollment = service.create(&individual(&id), &disabled(by_key(&id))).await;
            let device = Device::with_key(&id, primary_key(&enrollment));
            let mut session = Session::open(&world, sdk, way, &device).await;
            let operation = session.register().await;
            let state = session.poll(&operation).await;
            assert_eq!(state["status"], "disabled", "{id}: {state}");
            assert_eq!(world.identity(HUBS[0], &id).await, None);
            let path = individual(&id);
            service.edit(&path, |body| body["provisioningStatus"] = json!("enabled")).await;
            // Over the same connection: nothing of the refusal is remembered.
            let operation = session.register().await;
            assert_eq!(session.poll(&operation).await["status"], "assigned", "{id}");
            session.leave().await;
        }
    }
}

#[tokio::test]
async fn a_certificate_in_a_websocket_counts_whatever_the_query_says() {
    let world = Scene::new().start().await;
    let own = Ca::root("A maker of presses").leaf("press-1");
    world.service().create(&individual("press-1"), &by_certificate("press-1", &own)).await;
    let device = Device::with_certificate("press-1", &own);
    let [_, way] = Way::both(&sdk::JAVA);
    let Way::WebSocket(request) = way else { panic!("{way:?}") };
    assert!(request.path.ends_with("?iothub-no-client-cert=true"), "D §8, 57");
    check(&world, &sdk::JAVA, way, &device).await;
    // And one who shows none has none.
    let mut line = way.open(&world, SERVICE, |tls: Tls| tls).await;
    line.header(ProtocolHeader::Amqp).await;
    let identity = format!("{}/registrations/press-1", world.id_scope());
    refused_link(line, &sdk::JAVA, Role::Sender, |_| {}, &identity, UNAUTHORIZED).await;
}

#[tokio::test]
async fn who_asks_without_a_link_for_the_answer_is_rejected_and_nothing_is_done() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        let device = key_device(&world, &id_of(sdk, way, "")).await;
        let mut session = Session::open(&world, sdk, way, &device).await;
        session.detach(Role::Receiver).await;
        let message = session.register_message();
        session.refused(&message, "com.microsoft:argument-error", 400_004).await;
        assert_eq!(world.record(&device.id).await, None);
        session.attach(Role::Receiver, world.id_scope(), &device.id).await;
        let operation = session.register().await;
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        session.leave().await;
    }
}

#[tokio::test]
async fn a_second_link_of_a_kind_is_refused_and_the_first_goes_on() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let [way, _] = Way::both(&sdk::NODE);
    let mut session = Session::open(&world, &sdk::NODE, way, &device).await;
    let identity = format!("{}/registrations/press-1", world.id_scope());
    for role in [Role::Sender, Role::Receiver] {
        let error = session.refused_second(role, &identity).await;
        check_error(&error, "amqp:resource-limit-exceeded", 400_004);
    }
    let operation = session.register().await;
    assert_eq!(session.poll(&operation).await["status"], "assigned");
    session.leave().await;
}

#[tokio::test]
async fn a_connection_with_a_certificate_provisions_one_device_at_a_time() {
    let world = Scene::new().start().await;
    let own = Ca::root("A maker of presses").leaf("press-1");
    world.service().create(&individual("press-1"), &by_certificate("press-1", &own)).await;
    let [way, _] = Way::both(&sdk::NODE);
    let scope = world.id_scope();
    // Nothing is known of the device before its first request: any name will do to attach.
    let certified = Device::with_certificate("press-2", &own);
    let mut session = Session::open(&world, &sdk::NODE, way, &certified).await;
    let first = format!("{scope}/registrations/press-1");
    let error = session.refused_second(Role::Sender, &first).await;
    check_error(&error, UNAUTHORIZED.0, UNAUTHORIZED.1);
    let message = session.register_message();
    session.refused(&message, UNAUTHORIZED.0, UNAUTHORIZED.1).await;
    session.detach(Role::Sender).await;
    session.detach(Role::Receiver).await;
    session.attach(Role::Receiver, scope, "press-1").await;
    session.attach(Role::Sender, scope, "press-1").await;
    let operation = session.register().await;
    assert_eq!(session.poll(&operation).await["status"], "assigned");
    session.leave().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_ask_again() {
    let world = Scene::new().more("[rates]\ndevice_registrations_per_minute = 1\n").start().await;
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        let device = key_device(&world, &id_of(sdk, way, "")).await;
        let mut session = Session::open(&world, sdk, way, &device).await;
        let operation = session.register().await;
        let message = session.register_message();
        session.refused(&message, "com.microsoft:device-container-throttled", 429_001).await;
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        session.leave().await;
    }
}
