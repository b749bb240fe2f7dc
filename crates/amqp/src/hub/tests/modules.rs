//! Modules: each with a session of its own beside that of its device, which ends with it
//! (H §2.8, §4.3).

use app::{ca_certificates::CaDraft, live::MethodAnswer};
use model::Precondition;
use testkit::Ca;

use super::*;
use crate::{
    errors,
    proto::{End, MessageId, Outcome, Performative, Properties, Value, find},
    tests::{
        client::Wish,
        scene::{HUB, KEY, OTHER_KEY, id, operator, scene},
    },
};

const MODULE: &str = "dev1/eye";
const OTHER_MODULE: &str = "dev1/ear";
/// The primary key of every module; no key of their device.
const MODULE_KEY: &str = "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=";
/// The sessions of the modules; that of the device is [`CHANNEL`].
const OF_MODULE: u16 = 2;
const OF_OTHER: u16 = 3;

/// An address below a module that is called `device/module`.
fn below(module: &str, resource: &str) -> String {
    let (device, module) = module.split_once('/').expect("a module");
    format!("/devices/{device}/modules/{module}/{resource}")
}

fn events_of(module: &str) -> String {
    below(module, "messages/events")
}

fn token_of(scene: &Scene, module: &str, key: &str) -> String {
    let (device, module) = module.split_once('/').expect("a module");
    scene.token_for(&format!("{device}/modules/{module}"), key, 600)
}

/// A hub with [`DEVICE`] and its two modules.
async fn scene_with_modules() -> Scene {
    let scene = scene().await;
    for module in [MODULE, OTHER_MODULE] {
        scene.put_module(module, MODULE_KEY, Precondition::None).await;
    }
    scene
}

/// A client that showed the module's token and began session [`CHANNEL`].
async fn module_shown(scene: &Scene) -> Client {
    shown_with(scene, &token_of(scene, MODULE, MODULE_KEY)).await
}

/// A connection that a device and both of its modules share, each with a session and a link that
/// sends, on handle 0.
async fn shared(scene: &Scene) -> Client {
    let mut client = sending(scene).await;
    for (channel, module) in [(OF_MODULE, MODULE), (OF_OTHER, OTHER_MODULE)] {
        let token = token_of(scene, module, MODULE_KEY);
        assert_eq!(put_token(&mut client, 0, &token).await, (200, "OK".to_owned()));
        client.begin(channel).await;
        client.attach_sender(channel, 0, &events_of(module)).await;
    }
    assert_eq!(scene.app.n_sessions(), 3);
    client
}

#[tokio::test]
async fn a_modules_token_is_its_own_and_opens_nothing_else() {
    let scene = scene_with_modules().await;
    let mut client = scene.connected().await;
    attach_token_links(&mut client, 0).await;
    scene.put_device("off").await;
    scene.put_module("off/eye", MODULE_KEY, Precondition::None).await;
    scene.rewrite("off", "disabled", (KEY, OTHER_KEY)).await;
    let policy = scene.policy_token("device", &format!("{HUB}/devices/dev1/modules/eye")).await;
    for (token, expected) in [
        (token_of(&scene, MODULE, MODULE_KEY), 200),
        (policy, 200),
        (token_of(&scene, MODULE, KEY), 401),
        (token_of(&scene, "dev1/EYE", MODULE_KEY), 401),
        (token_of(&scene, "nobody/eye", MODULE_KEY), 401),
        // Only who holds the key hears that the device is disabled (H §4.3.3).
        (token_of(&scene, "off/eye", MODULE_KEY), 404),
        (token_of(&scene, "off/eye", KEY), 401),
    ] {
        let (status, description) = put_token(&mut client, 0, &token).await;
        assert_eq!(status, expected, "{description}");
    }
    // The token opens the module's links, and neither its device's nor those of another module.
    client.begin(CHANNEL).await;
    for address in [events(DEVICE), events_of(OTHER_MODULE), events_of("off/eye")] {
        let wish = Wish::sender(CHANNEL, 0, &address);
        client.attach_refused(wish, errors::UNAUTHORIZED).await;
    }
    // An escaped slash makes no module of a device.
    for address in ["/devices/dev1%2Feye/messages/events", "/devices/dev1/modules/a%2Fb/twin"] {
        let wish = Wish::sender(CHANNEL, 0, address);
        client.attach_refused(wish, errors::UNAUTHORIZED).await;
    }
    assert_eq!(scene.app.n_sessions(), 0);
    client.attach_sender(CHANNEL, 0, &events_of(MODULE)).await;
    client.attach_sender(CHANNEL, 1, &format!("amqps://{HUB}:5671{}", events_of(MODULE))).await;
    assert_eq!(scene.app.n_sessions(), 1);
}

#[tokio::test]
async fn a_policys_token_or_a_password_opens_a_module() {
    let scene = scene_with_modules().await;
    let token = scene.policy_token("device", HUB).await;
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events_of(MODULE)).await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    client.close().await;
    let token = token_of(&scene, MODULE, MODULE_KEY);
    let mut client = scene.logged_in("dev1/eye@sas.hub-1", &token).await;
    client.attach_sender(0, 0, &events_of(MODULE)).await;
    client.send_accepted(0, 0, &body("2")).await;
    client.attach_refused(Wish::sender(0, 1, &events(DEVICE)), errors::UNAUTHORIZED).await;
    client.close().await;
    assert_eq!(scene.bodies().await, ["1", "2"]);
}

#[tokio::test]
async fn a_certificate_names_the_device_and_the_module() {
    let scene = scene().await;
    let ca = Ca::root("our ca");
    let draft = CaDraft { name: "ours".to_owned(), der: ca.der().to_vec(), verified: Some(true) };
    let put = scene.app.put_ca_certificate(&draft, &Precondition::None, &operator()).await;
    put.expect("a CA certificate");
    let by_ca = r#"{"deviceId":"dev1","authentication":{"type":"certificateAuthority"}}"#;
    scene.put_module_as(MODULE, by_ca, Precondition::None).await;
    for (name, is_let_in) in [("dev1/eye", true), ("dev1", false), ("eye", false)] {
        let mut client = scene.open_of(ca.leaf(name).chain());
        client.connect_to(Some(HUB)).await;
        client.begin(0).await;
        if is_let_in {
            client.attach_sender(0, 0, &events_of(MODULE)).await;
            client.send_accepted(0, 0, &body("1")).await;
        } else {
            let wish = Wish::sender(0, 0, &events_of(MODULE));
            client.attach_refused(wish, errors::UNAUTHORIZED).await;
        }
    }
    assert_eq!(scene.bodies().await, ["1"]);
}

#[tokio::test]
async fn its_events_carry_its_own_name_and_the_output_it_sent_from() {
    let scene = scene_with_modules().await;
    let mut client = shared(&scene).await;
    let output = ("iothub-outputname".to_owned(), Value::String("out".to_owned()));
    let from_output = Message { application_properties: vec![output], ..body("output") };
    client.send_accepted(OF_MODULE, 0, &body("module")).await;
    client.send_accepted(OF_MODULE, 0, &from_output).await;
    client.send_accepted(CHANNEL, 0, &body("device")).await;
    let events = scene.events().await;
    let names: Vec<_> = events.iter().map(|event| event.device_id.as_str()).collect();
    assert_eq!(names, [MODULE, MODULE, DEVICE]);
    assert_eq!(events[1].properties.output_name.as_deref(), Some("out"));
    assert_eq!(events[1].application, []);
}

#[tokio::test]
async fn its_inputs_are_attached_and_silent() {
    let scene = scene_with_modules().await;
    let mut client = module_shown(&scene).await;
    // NODE attaches the first, C and C# the second.
    client.attach_receiver(CHANNEL, 0, &events_of(MODULE)).await;
    client.attach_receiver(CHANNEL, 1, &below(MODULE, "messages/deviceBound")).await;
    assert_eq!(scene.app.n_sessions(), 1);
    // A message for its device is its device's.
    scene.message(DEVICE, "for the device").await;
    client.send_flow(CHANNEL, 0, 0, 10, true).await;
    // What drains hears that there was nothing, and a module sends as if it had no inputs.
    client.attach_sender(CHANNEL, 2, &events_of(MODULE)).await;
    client.send_accepted(CHANNEL, 2, &body("1")).await;
    assert_eq!(scene.waiting(DEVICE).await, [("for the device".to_owned(), 0)]);
    // It can send to neither, and a device has no inputs.
    let wish = Wish::sender(CHANNEL, 3, &below(MODULE, "messages/devicebound"));
    client.attach_refused(wish, errors::NOT_ALLOWED).await;
    for handle in 0..3 {
        client.detach(CHANNEL, handle).await;
    }
    let mut device = shown(&scene).await;
    let wish = Wish::receiver(CHANNEL, 0, &events(DEVICE));
    device.attach_refused(wish, errors::NOT_ALLOWED).await;
}

#[tokio::test]
async fn its_twin_and_its_methods_are_its_own() {
    let scene = scene_with_modules().await;
    let mut client = module_shown(&scene).await;
    for (handle, resource) in [(0, "twin"), (2, "methods/devicebound")] {
        let address = below(MODULE, resource);
        client.attach_sender(CHANNEL, handle, &address).await;
        client.attach_receiver(CHANNEL, handle + 1, &address).await;
    }
    let called = MessageId::String("1".to_owned());
    let properties =
        || Properties { correlation_id: Some(called.clone()), ..Properties::default() };
    let note =
        |name: &str, text: &str| (Value::Symbol(name.to_owned()), Value::String(text.to_owned()));
    let report = Message {
        message_annotations: vec![
            note("operation", "PATCH"),
            note("resource", "/properties/reported"),
        ],
        properties: Some(Box::new(properties())),
        ..body(r#"{"a":1}"#)
    };
    client.send_accepted(CHANNEL, 0, &report).await;
    let answer = client.receive(CHANNEL, 1).await.message;
    assert_eq!(find(&answer.message_annotations, "status"), Some(&Value::Int(204)));
    let versions = async |of| scene.device(of).await.twin.reported.version_number;
    assert_eq!((versions(MODULE).await, versions(DEVICE).await), (2, 1));
    let subscribe = Message {
        message_annotations: vec![
            note("operation", "PUT"),
            note("resource", "/notifications/twin/properties/desired"),
        ],
        properties: Some(Box::new(properties())),
        ..Message::default()
    };
    client.send_accepted(CHANNEL, 0, &subscribe).await;
    client.receive(CHANNEL, 1).await;
    // What its device is to become is nothing to it.
    scene.desire(DEVICE, r#"{"c":3}"#).await;
    scene.desire(MODULE, r#"{"b":2}"#).await;
    let change = client.receive(CHANNEL, 1).await.message;
    assert_eq!(change.body, body(r#"{"b":2,"$version":2}"#).body);
    let module_id = id(MODULE);
    scene.app.until_takes_methods(&scene.hub, &module_id).await;
    let reply = scene.call(MODULE, "reboot", "1").await;
    let call = client.receive(CHANNEL, 3).await.message;
    let result = Message {
        properties: call.properties,
        application_properties: vec![("IoThub-status".to_owned(), Value::Int(200))],
        ..body("2")
    };
    client.send_accepted(CHANNEL, 2, &result).await;
    let answer = MethodAnswer { status: 200, payload: b"2".to_vec() };
    assert_eq!(reply.wait().await, Some(answer));
}

/// What ends a module's session, and leaves its neighbours on the connection alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Delete,
    MakeAnew,
    ReplaceKey,
}

#[tokio::test]
async fn one_module_is_cut_off_and_its_device_and_the_other_go_on() {
    for deed in [Deed::Delete, Deed::MakeAnew, Deed::ReplaceKey] {
        let scene = scene_with_modules().await;
        let mut client = shared(&scene).await;
        let condition = match deed {
            Deed::Delete => {
                scene.delete_device(MODULE).await;
                errors::NOT_FOUND
            }
            Deed::MakeAnew => {
                scene.delete_device(MODULE).await;
                scene.put_module(MODULE, MODULE_KEY, Precondition::None).await;
                errors::NOT_FOUND
            }
            Deed::ReplaceKey => {
                scene.put_module(MODULE, OTHER_KEY, Precondition::Any).await;
                errors::UNAUTHORIZED
            }
        };
        expect_cut_off(&mut client, OF_MODULE, condition).await;
        for (channel, text) in [(CHANNEL, "device"), (OF_OTHER, "other")] {
            client.send_accepted(channel, 0, &body(text)).await;
        }
        assert_eq!(scene.bodies().await, ["device", "other"], "{deed:?}");
        // It stays out with what it has, except where a new module has the same key.
        let token = token_of(&scene, MODULE, MODULE_KEY);
        let (status, _) = put_token(&mut client, 0, &token).await;
        let expected = match deed {
            Deed::Delete => 404,
            Deed::MakeAnew => 200,
            Deed::ReplaceKey => 401,
        };
        assert_eq!(status, expected, "{deed:?}");
    }
}

/// Reads a link's detach and its session's end, both with this condition, and ends the session.
async fn expect_cut_off(client: &mut Client, channel: u16, condition: &str) {
    let error = client.detached(channel).await.1.expect("an error");
    assert_eq!(error.condition, condition, "{error:?}");
    assert_eq!(client.ended(channel).await, Some(error));
    client.put(channel, Performative::End(End::default())).await;
}

#[tokio::test]
async fn a_device_takes_its_modules_with_it_and_leaves_other_devices_alone() {
    for is_deleted in [false, true] {
        let scene = scene_with_modules().await;
        scene.put_device("dev2").await;
        // A device whose name begins like the one that goes, with a module of the same name.
        scene.put_device("dev10").await;
        scene.put_module("dev10/eye", MODULE_KEY, Precondition::None).await;
        let mut client = shared(&scene).await;
        for (channel, address, token) in [
            (4, events("dev2"), scene.token("dev2")),
            (5, events_of("dev10/eye"), token_of(&scene, "dev10/eye", MODULE_KEY)),
        ] {
            assert_eq!(put_token(&mut client, 0, &token).await.0, 200);
            client.begin(channel).await;
            client.attach_sender(channel, 0, &address).await;
        }
        match is_deleted {
            true => scene.delete_device(DEVICE).await,
            false => scene.rewrite(DEVICE, "disabled", (KEY, OTHER_KEY)).await,
        }
        // Each is told, in any order, and sends in vain.
        client.send(OF_MODULE, 0, &body("after")).await;
        let mut ended = Vec::new();
        while ended.len() < 3 {
            let frame = client.frame().await;
            let error = match frame.performative {
                Performative::Detach(detach) => detach.error,
                Performative::End(end) => {
                    ended.push(frame.channel);
                    client.put(frame.channel, Performative::End(End::default())).await;
                    end.error
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(error.expect("an error").condition, errors::NOT_FOUND);
        }
        ended.sort_unstable();
        assert_eq!(ended, [CHANNEL, OF_MODULE, OF_OTHER]);
        for channel in [4, 5] {
            client.send_accepted(channel, 0, &body("on")).await;
        }
        assert_eq!(scene.bodies().await, ["on", "on"]);
        assert_eq!(scene.app.n_sessions(), 2);
        let token = token_of(&scene, MODULE, MODULE_KEY);
        assert_eq!(put_token(&mut client, 0, &token).await.0, 404);
        client.begin(OF_MODULE).await;
        let wish = Wish::sender(OF_MODULE, 0, &events_of(MODULE));
        client.attach_refused(wish, errors::NOT_FOUND).await;
    }
}

#[tokio::test]
async fn new_keys_of_its_device_are_nothing_to_a_module() {
    let scene = scene_with_modules().await;
    let mut client = module_shown(&scene).await;
    client.attach_sender(CHANNEL, 0, &events_of(MODULE)).await;
    scene.rewrite(DEVICE, "enabled", (OTHER_KEY, OTHER_KEY)).await;
    let sent = client.send(CHANNEL, 0, &body("1")).await;
    assert_eq!(client.outcome(CHANNEL, sent).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_second_connection_of_the_module_takes_its_place_and_no_others() {
    let scene = scene_with_modules().await;
    let mut first = shared(&scene).await;
    let mut second = module_shown(&scene).await;
    second.attach_sender(CHANNEL, 0, &events_of(MODULE)).await;
    expect_cut_off(&mut first, OF_MODULE, errors::STOLEN).await;
    for channel in [CHANNEL, OF_OTHER] {
        first.send_accepted(channel, 0, &body("on")).await;
    }
    second.send_accepted(CHANNEL, 0, &body("on")).await;
    assert_eq!(scene.app.n_sessions(), 3);
}
