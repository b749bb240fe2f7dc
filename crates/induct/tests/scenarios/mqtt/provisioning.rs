//! Provisioning, in the manner of every SDK (D §2).

use model::SymmetricKey;
use mqtt::proto::{Delivery, Packet, Publish, Qos, Unsubscribe};
use serde_json::{Value, json};
use testkit::Ca;

use super::{
    line::{Line, Way},
    sdk::{self, Sdk},
};
use crate::world::{
    Device, HUBS, SERVICE, Scene, World,
    device::Proof,
    enrollments::{by_certificate, by_key, disabled, group, group_by_ca, individual, primary_key},
};

const RESPONSES: &str = "$dps/registrations/res/#";

/// A device that was let in and hears the answers to its requests.
struct Session<'a> {
    sdk: &'a Sdk,
    id: String,
    line: Line,
    /// How many requests it sent.
    n_requests: u16,
}

impl<'a> Session<'a> {
    /// Connects and subscribes, with the packets the SDK sends and no other.
    async fn open(world: &World, sdk: &'a Sdk, way: Way, device: &Device, qos: Qos) -> Self {
        let (key, credential) = match &device.proof {
            Proof::Key(key) => (Some(key), None),
            Proof::Certificates(chain, key) => (None, Some((chain.clone(), key.clone()))),
            Proof::Token(_) | Proof::Nothing => panic!("{} has nothing to show", device.id),
        };
        let with_credential = |tls: crate::world::Tls| match credential {
            Some((chain, key)) => sdk.tls(tls).credential(chain, key),
            None => sdk.tls(tls),
        };
        let mut line = Line::new(way.open(world, SERVICE, with_credential).await);
        let connect = sdk.provisioning_connect(world.id_scope(), &device.id, key);
        assert!(!line.connect(connect).await, "nothing is remembered (D §8, 25)");
        line.subscribe(&[RESPONSES], qos).await;
        Self { sdk, id: device.id.clone(), line, n_requests: 0 }
    }

    /// Sends a request and hears its answer: the status, what follows `$rid` in the topic, and the
    /// body. A request of QoS 1 is acknowledged before.
    async fn ask(&mut self, request: &str, payload: String) -> (u16, String, Value) {
        let rid = self.start(request, payload).await;
        let (topic, body) = self.line.message().await;
        read(&topic, &body, &rid)
    }

    async fn start(&mut self, request: &str, payload: String) -> String {
        self.n_requests += 1;
        // SUBSCRIBE had the first packet identifier.
        let rid = (self.sdk.rid)(self.n_requests, self.n_requests + 1);
        let topic = match request.split_once('&') {
            None => format!("$dps/registrations/{request}/?$rid={rid}"),
            Some((path, more)) => format!("$dps/registrations/{path}/?$rid={rid}&{more}"),
        };
        self.line.publish(&topic, payload, self.sdk.qos).await;
        rid
    }

    /// Registers; the operation.
    async fn register(&mut self) -> String {
        let payload = (self.sdk.register)(&self.id);
        let (status, more, body) = self.ask("PUT/iotdps-register", payload).await;
        assert_eq!((status, more.as_str()), (202, "&retry-after=3"), "{body}");
        let operation = body["operationId"].as_str().expect("an operation").to_owned();
        assert_eq!(body, json!({"operationId": operation, "status": "assigning"}), "D §0.7");
        operation
    }

    /// Polls; the registration state of the settled operation.
    async fn poll(&mut self, operation: &str) -> Value {
        let payload = (self.sdk.poll)(&self.id);
        let request = format!("GET/iotdps-get-operationstatus&operationId={operation}");
        let (status, more, body) = self.ask(&request, payload).await;
        assert_eq!((status, more.as_str()), (200, ""), "{body}");
        assert_eq!(body["operationId"], operation);
        let state = body["registrationState"].clone();
        assert_eq!(body["status"], state["status"], "{body}");
        state
    }

    /// Leaves as the SDK does. Whatever else the server says is too much: one SDK takes a packet it
    /// does not wait for as a failure (D §2.8).
    async fn leave(mut self) {
        if self.sdk.unsubscribes {
            let id = self.line.next_id();
            let filters = vec![mqtt::proto::Filter::new(RESPONSES).expect("legal")];
            self.line.send(Packet::Unsubscribe(Unsubscribe { id, filters })).await;
            self.line.expect(Packet::UnsubAck(Some(id))).await;
        }
        self.line.leave().await;
    }
}

/// Takes an answer apart: `$rid` comes first and as it was sent (D §2.4).
#[track_caller]
fn read(topic: &str, body: &str, rid: &str) -> (u16, String, Value) {
    let rest = topic.strip_prefix("$dps/registrations/res/").expect("an answer's topic");
    let (status, query) = rest.split_once("/?$rid=").expect("`$rid` is first");
    let more = query.strip_prefix(rid).unwrap_or_else(|| panic!("{topic} echoes {rid}"));
    assert!(more.is_empty() || more.starts_with('&'), "{topic} echoes {rid}");
    let body: Value = serde_json::from_str(body).expect("every body is JSON");
    (status.parse().expect("a status"), more.to_owned(), body)
}

/// The device registers and polls in the manner of the SDK, and is assigned to the hub.
async fn check(world: &World, sdk: &Sdk, way: Way, device: &Device) {
    let mut session = Session::open(world, sdk, way, device, Qos::AtLeastOnce).await;
    let operation = session.register().await;
    let state = session.poll(&operation).await;
    session.leave().await;
    let what = format!("{} by {way:?}", sdk.name);
    assert_eq!(state["status"], "assigned", "{what}: {state}");
    assert_eq!(state["assignedHub"], HUBS[0], "{what}");
    assert_eq!(state["deviceId"], device.id.as_str(), "{what}");
    let record = world.record(&device.id).await.expect("a record");
    assert_eq!(record["etag"], state["etag"], "{what}: the record is the one that was told");
    assert!(world.identity(HUBS[0], &device.id).await.is_some(), "{what}");
}

fn id_of(sdk: &Sdk, way: Way, more: &str) -> String {
    let way = match way {
        Way::Tls => "tls",
        Way::WebSocket(_) => "ws",
    };
    format!("Press.{}:{way}{more}", sdk.name)
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
async fn every_sdk_registers_with_a_certificate_and_no_password() {
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
async fn c_sharp_acknowledges_answers_of_qos_0_with_the_packet_identifier_0_and_goes_on() {
    let world = Scene::new().start().await;
    for way in Way::both(&sdk::C_SHARP) {
        let id = id_of(&sdk::C_SHARP, way, "-qos0");
        let device = key_device(&world, &id).await;
        let mut session = Session::open(&world, &sdk::C_SHARP, way, &device, Qos::AtMostOnce).await;
        let rid = session.start("PUT/iotdps-register", String::new()).await;
        let Packet::Publish(answer) = session.line.next().await else { panic!("no answer") };
        let Publish { topic, payload, delivery, .. } = answer;
        assert_eq!(delivery, Delivery::AtMostOnce, "as was granted");
        session.line.send(Packet::PubAck(None)).await;
        let body = String::from_utf8(payload.to_vec()).expect("text");
        let (status, _, body) = read(&topic, &body, &rid);
        assert_eq!(status, 202, "{body}");
        let operation = body["operationId"].as_str().expect("an operation").to_owned();
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        session.leave().await;
    }
}

#[tokio::test]
async fn two_devices_of_embedded_c_with_the_same_rid_each_get_their_own_answers() {
    let world = Scene::new().start().await;
    let mut sessions = Vec::new();
    for (n, way) in Way::both(&sdk::EMBEDDED_C).into_iter().enumerate() {
        let device = key_device(&world, &format!("press-{n}")).await;
        let open = Session::open(&world, &sdk::EMBEDDED_C, way, &device, Qos::AtLeastOnce);
        sessions.push(open.await);
    }
    let mut operations = Vec::new();
    for session in &mut sessions {
        assert_eq!(session.start("PUT/iotdps-register", String::new()).await, "1");
    }
    for session in &mut sessions {
        let (topic, body) = session.line.message().await;
        let (status, _, body) = read(&topic, &body, "1");
        assert_eq!(status, 202, "{body}");
        operations.push(body["operationId"].as_str().expect("an operation").to_owned());
    }
    assert_ne!(operations[0], operations[1]);
    for (session, operation) in sessions.iter_mut().zip(&operations) {
        assert_eq!(session.poll(operation).await["registrationId"], session.id.as_str());
    }
    for session in sessions {
        session.leave().await;
    }
}

#[tokio::test]
async fn who_is_not_enrolled_or_has_another_key_is_let_in_and_refused_by_the_answer() {
    let world = Scene::new().start().await;
    let other_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let enrolled = key_device(&world, &id_of(sdk, way, "")).await;
            let unknown = id_of(sdk, way, "-unknown");
            for id in [&enrolled.id, &unknown] {
                let device = Device::with_key(id, other_key);
                let mut session = Session::open(&world, sdk, way, &device, Qos::AtLeastOnce).await;
                let payload = (sdk.register)(id);
                let (status, more, body) = session.ask("PUT/iotdps-register", payload).await;
                assert_eq!((status, more.as_str()), (401, ""), "{id}: {body}");
                assert_eq!(body["errorCode"], 401_002, "{id}: {body}");
                assert_eq!(body["message"], "Unauthorized", "{id}: {body}");
                assert!(body["trackingId"].is_string() && body["timestampUtc"].is_string());
                session.leave().await;
                assert_eq!(world.record(id).await, None);
            }
        }
    }
}

#[tokio::test]
async fn what_says_nothing_of_a_device_or_the_wrong_thing_is_refused_by_the_connack() {
    let world = Scene::new().start().await;
    let key = SymmetricKey::parse("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").expect("a key");
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let line = async || Line::new(way.open(&world, SERVICE, |tls| sdk.tls(tls)).await);
            let scope = world.id_scope();
            // Neither a password nor a certificate.
            line().await.refused(sdk.provisioning_connect(scope, "press-1", None)).await;
            // A token for another device.
            let mut connect = sdk.provisioning_connect(scope, "press-2", Some(&key));
            let own = sdk.provisioning_connect(scope, "press-1", None);
            connect.client_id = own.client_id;
            if let (Some(login), Some(own)) = (&mut connect.login, own.login) {
                login.user_name = own.user_name;
            }
            line().await.refused(connect).await;
        }
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
            let mut session = Session::open(&world, sdk, way, &device, Qos::AtLeastOnce).await;
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
