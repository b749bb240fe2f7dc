//! Modules: sessions of their own below a device, which end with it (H §2.8, §4.2).

use app::ca_certificates::CaDraft;
use model::Precondition;
use testkit::certificates::Ca;

use super::scene::*;
use crate::proto::{ConnAck, Connect, ConnectRefusal, Grant, Packet, Qos, Text};

const MODULE: &str = "eye";
/// Its primary key; no key of its device.
const MODULE_KEY: &str = "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8=";
const EVENTS: &str = "devices/dev1/modules/eye/messages/events/";
const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
const ANSWERS: &str = "$iothub/twin/res/#";
const METHODS: &str = "$iothub/methods/POST/#";

const ACCEPTED: ConnAck = ConnAck::Accepted { session_present: false };
const REFUSED: ConnAck = ConnAck::Refused(ConnectRefusal::NotAuthorized);

/// A hub with [`DEVICE`] and its [`MODULE`].
async fn scene_with_module() -> Scene {
    let scene = scene().await;
    scene.put_module(MODULE, MODULE_KEY, Precondition::None).await;
    scene
}

/// A CONNECT of a module of [`DEVICE`] with a token of this key.
fn hello_of(scene: &Scene, module: &str, key: &str) -> Connect {
    let token = scene.token_for(&format!("{DEVICE}/modules/{module}"), key, 600);
    let name = format!("{DEVICE}/{module}");
    Connect {
        client_id: Text::new(name.as_str()).expect("legal"),
        login: Some(login(&user_name(&name), Some(&token))),
        ..scene.hello()
    }
}

async fn module_connected(scene: &Scene) -> Client {
    scene.connected_with(hello_of(scene, MODULE, MODULE_KEY)).await
}

async fn check(scene: &Scene, hello: Connect, expected: ConnAck) {
    let what = format!("{hello:?}");
    let (answer, client) = scene.connect(hello).await;
    assert_eq!(answer, expected, "{what}");
    match answer {
        ConnAck::Accepted { .. } => client.leave().await,
        ConnAck::Refused(_) => client.expect_cut().await,
    }
}

#[tokio::test]
async fn a_module_connects_by_its_own_name_and_key_and_by_nothing_else() {
    let scene = scene_with_module().await;
    scene.put_module("ear", OTHER_KEY, Precondition::None).await;
    check(&scene, hello_of(&scene, MODULE, MODULE_KEY), ACCEPTED).await;
    check(&scene, hello_of(&scene, "ear", OTHER_KEY), ACCEPTED).await;
    // Not by the key of its device or of another module, and no other module is there.
    check(&scene, hello_of(&scene, MODULE, KEY), REFUSED).await;
    check(&scene, hello_of(&scene, MODULE, OTHER_KEY), REFUSED).await;
    for nobody in ["EYE", "nose", "$edgeAgent", "$"] {
        check(&scene, hello_of(&scene, nobody, MODULE_KEY), REFUSED).await;
    }
    // Not by a token for its device, even one signed with its own key; nor the other way round.
    for (key, of) in [(KEY, DEVICE), (MODULE_KEY, DEVICE), (MODULE_KEY, "dev1/modules/ear")] {
        let token = scene.token_for(of, key, 600);
        let login = Some(login(&user_name("dev1/eye"), Some(&token)));
        check(&scene, Connect { login, ..hello_of(&scene, MODULE, KEY) }, REFUSED).await;
    }
    let token = scene.token_for("dev1/modules/eye", MODULE_KEY, 600);
    let as_device = Some(login(&user_name(DEVICE), Some(&token)));
    check(&scene, Connect { login: as_device, ..scene.hello() }, REFUSED).await;
    // The client identifier says the same as the user name.
    for client_id in ["dev1", "eye", "dev1/ear", "dev1/eye/", "dev1/modules/eye"] {
        let client_id = Text::new(client_id).expect("legal");
        let hello = hello_of(&scene, MODULE, MODULE_KEY);
        check(&scene, Connect { client_id, ..hello }, REFUSED).await;
    }
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn a_policy_that_may_connect_devices_connects_modules() {
    let scene = scene_with_module().await;
    for (policy, resource, expected) in [
        ("device", HUB, ACCEPTED),
        ("device", "hub-1.example.test/devices/dev1", ACCEPTED),
        ("device", "hub-1.example.test/devices/dev1/modules/eye", ACCEPTED),
        ("device", "hub-1.example.test/devices/dev1/modules/ey", REFUSED),
        ("service", HUB, REFUSED),
    ] {
        let key = scene.policy_keys(policy).await.primary;
        let token = scene.token_of(resource, key.reveal(), 600, Some(policy));
        let login = Some(login(&user_name("dev1/eye"), Some(&token)));
        let hello = hello_of(&scene, MODULE, MODULE_KEY);
        check(&scene, Connect { login, ..hello }, expected).await;
    }
}

#[tokio::test]
async fn a_certificate_of_a_ca_names_the_device_and_the_module() {
    let scene = scene().await;
    let ca = Ca::root("our ca");
    let draft = CaDraft { name: "ours".to_owned(), der: ca.der().to_vec(), verified: Some(true) };
    let put = scene.app.put_ca_certificate(&draft, &Precondition::None, &owner()).await;
    put.expect("a CA certificate");
    let by_ca = r#"{"deviceId":"dev1","authentication":{"type":"certificateAuthority"}}"#;
    scene.put_module_as(MODULE, by_ca, Precondition::None).await;
    for (name, expected) in
        [("dev1/eye", ACCEPTED), ("dev1", REFUSED), ("eye", REFUSED), ("dev1/ear", REFUSED)]
    {
        let mut client = scene.open_with(4096, ca.leaf(name).chain());
        let login = Some(login(&user_name("dev1/eye"), None));
        let hello = Connect { login, ..hello_of(&scene, MODULE, MODULE_KEY) };
        client.send(Packet::Connect(Box::new(hello))).await;
        client.expect(Packet::ConnAck(expected)).await;
    }
}

#[tokio::test]
async fn its_events_carry_its_own_name() {
    let scene = scene_with_module().await;
    let hello = Connect {
        will: will("devices/dev1/modules/eye/messages/events", "lost"),
        ..hello_of(&scene, MODULE, MODULE_KEY)
    };
    let mut client = scene.connected_with(hello).await;
    for topic in [EVENTS, EVENTS.trim_end_matches('/'), &format!("{EVENTS}$.on=out/")] {
        client.publish_acked(topic, "1").await;
    }
    client.vanish().await;
    let events = scene.events().await;
    assert_eq!(scene.bodies().await, ["1", "1", "1", "lost"]);
    for event in &events {
        assert_eq!((event.device_id.device(), event.device_id.module()), (DEVICE, Some(MODULE)));
        assert_eq!(event.auth_method, model::AuthMethod::DeviceKey);
    }
    assert_eq!(events[2].properties.output_name.as_deref(), Some("out"));
}

#[tokio::test]
async fn who_sends_to_the_others_topic_is_cut() {
    let scene = scene_with_module().await;
    let of_others = [
        "devices/dev1/messages/events/",
        "devices/dev1/modules/ear/messages/events/",
        "devices/dev1/modules/eye/inputs/in/",
    ];
    for topic in of_others {
        let mut client = module_connected(&scene).await;
        client.publish(topic, "1").await;
        client.expect_cut().await;
    }
    let mut device = scene.connected().await;
    device.publish(EVENTS, "1").await;
    device.expect_cut().await;
    assert_eq!(scene.events().await, []);
}

#[tokio::test]
async fn its_inputs_are_granted_and_no_messages_of_its_device() {
    let scene = scene_with_module().await;
    let mut client = module_connected(&scene).await;
    let acked = Grant::Granted(Qos::AtLeastOnce);
    for (filter, expected) in [
        ("devices/dev1/modules/eye/inputs/#", acked),
        ("devices/dev1/modules/eye/#", acked),
        (ANSWERS, acked),
        (DESIRED, acked),
        (METHODS, acked),
        ("devices/dev1/messages/devicebound/#", Grant::Refused),
        ("devices/dev1/modules/ear/inputs/#", Grant::Refused),
        ("devices/dev1/modules/+/inputs/#", Grant::Refused),
        ("devices/dev1/#", Grant::Refused),
    ] {
        assert_eq!(client.subscribe(&[(filter, Qos::AtLeastOnce)]).await, [expected], "{filter}");
    }
    // Nothing comes there: a message for its device is its device's.
    scene.message("for the device").await;
    client.hears_nothing().await;
    client.leave().await;
    assert_eq!(scene.waiting().await, [("for the device".to_owned(), 0)]);
    // What it subscribed to is remembered as its own.
    let (answer, mut client) = scene.connect(hello_of(&scene, MODULE, MODULE_KEY)).await;
    assert_eq!(answer, ConnAck::Accepted { session_present: true });
    client.publish_acked("$iothub/twin/GET/?$rid=1", "").await;
    assert_eq!(client.message().await.0, "$iothub/twin/res/200/?$rid=1");
    let (answer, _device) = scene.connect(scene.hello()).await;
    assert_eq!(answer, ACCEPTED);
}

#[tokio::test]
async fn its_twin_and_its_methods_are_its_own() {
    let scene = scene_with_module().await;
    let (mut module, mut device) = (module_connected(&scene).await, scene.connected().await);
    for client in [&mut module, &mut device] {
        for filter in [ANSWERS, DESIRED, METHODS] {
            client.subscribed(filter).await;
        }
    }
    module.publish_acked("$iothub/twin/PATCH/properties/reported/?$rid=1", r#"{"a":1}"#).await;
    assert_eq!(module.message().await.0, "$iothub/twin/res/204/?$rid=1&$version=2");
    scene.desire_of_module(MODULE, r#"{"b":2}"#).await;
    let (topic, patch, _) = module.message().await;
    assert_eq!(topic, "$iothub/twin/PATCH/properties/desired/?$version=2");
    assert_eq!(patch, r#"{"b":2,"$version":2}"#);
    let reply = scene.call_module(MODULE, "reboot", "1").await;
    let (topic, ..) = module.message().await;
    let rid = topic.strip_prefix("$iothub/methods/POST/reboot/?$rid=").expect("a call").to_owned();
    module.publish_acked(&format!("$iothub/methods/res/200/?$rid={rid}"), "2").await;
    let answer = reply.wait().await.expect("an answer");
    assert_eq!((answer.status, &*answer.payload), (200, &b"2"[..]));
    // Its device heard nothing of it, and finds its own twin as it was.
    device.hears_nothing().await;
    assert_eq!(scene.device().await.twin.reported.version_number, 1);
    scene.desire(r#"{"c":3}"#).await;
    assert_eq!(device.message().await.1, r#"{"c":3,"$version":2}"#);
    module.hears_nothing().await;
}

/// What an operator does to a module or to its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    DisableDevice,
    DeleteDevice,
    MakeDeviceAnew,
    DeleteModule,
    MakeModuleAnew,
    ReplaceModuleKey,
}

impl Deed {
    const ALL: [Self; 6] = [
        Self::DisableDevice,
        Self::DeleteDevice,
        Self::MakeDeviceAnew,
        Self::DeleteModule,
        Self::MakeModuleAnew,
        Self::ReplaceModuleKey,
    ];

    async fn carry_out(self, scene: &Scene) {
        match self {
            Self::DisableDevice => scene.rewrite("disabled", (KEY, OTHER_KEY)).await,
            Self::DeleteDevice => scene.delete_device().await,
            Self::MakeDeviceAnew => {
                scene.delete_device().await;
                scene.put_device(DEVICE).await;
            }
            Self::DeleteModule => scene.delete_module(MODULE).await,
            Self::MakeModuleAnew => {
                scene.delete_module(MODULE).await;
                scene.put_module(MODULE, MODULE_KEY, Precondition::None).await;
            }
            Self::ReplaceModuleKey => {
                scene.put_module(MODULE, OTHER_KEY, Precondition::Any).await;
            }
        }
    }

    const fn is_of_device(self) -> bool {
        matches!(self, Self::DisableDevice | Self::DeleteDevice | Self::MakeDeviceAnew)
    }
}

#[tokio::test]
async fn it_is_cut_when_it_or_its_device_is_no_longer_let_in() {
    for deed in Deed::ALL {
        let scene = scene_with_module().await;
        let mut client = module_connected(&scene).await;
        let mut device = scene.connected().await;
        client.publish_acked(EVENTS, "before").await;
        deed.carry_out(&scene).await;
        client.publish(EVENTS, "after").await;
        client.expect_cut().await;
        // Whether its device goes on is its device's matter.
        match deed.is_of_device() {
            true => device.expect_cut().await,
            false => {
                device.publish_acked("devices/dev1/messages/events/", "device").await;
                device.leave().await;
            }
        }
        assert_eq!(scene.app.n_sessions(), 0, "{deed:?}");
        let bodies = scene.bodies().await;
        assert!(!bodies.contains(&"after".to_owned()), "{deed:?}: {bodies:?}");
        // With what it has it stays out, except where a new module has the same key.
        let expected = match deed {
            Deed::MakeModuleAnew => ACCEPTED,
            _ => REFUSED,
        };
        check(&scene, hello_of(&scene, MODULE, MODULE_KEY), expected).await;
    }
}

#[tokio::test]
async fn what_leaves_its_right_alone_ends_nothing() {
    let scene = scene_with_module().await;
    scene.put_module("ear", OTHER_KEY, Precondition::None).await;
    let mut client = module_connected(&scene).await;
    // New keys of its device, a change of its device's twin, the end of another module.
    scene.rewrite("enabled", (OTHER_KEY, OTHER_KEY)).await;
    client.publish_acked(EVENTS, "1").await;
    scene.desire(r#"{"a":1}"#).await;
    scene.delete_module("ear").await;
    client.publish_acked(EVENTS, "2").await;
    assert_eq!(scene.bodies().await, ["1", "2"]);
}

#[tokio::test]
async fn a_second_connection_of_the_module_takes_over_and_its_device_stays() {
    let scene = scene_with_module().await;
    let mut device = scene.connected().await;
    let first = module_connected(&scene).await;
    let mut second = module_connected(&scene).await;
    first.expect_cut().await;
    second.publish_acked(EVENTS, "second").await;
    device.hears_nothing().await;
    assert_eq!(scene.app.n_sessions(), 2);
}
