//! A working device, in the manner of every SDK (H §4.2).

use model::SymmetricKey;
use mqtt::proto::{Packet, Qos};
use serde_json::{Value, json};
use testkit::Ca;

use super::{
    line::{Line, Way},
    sdk::{self, Again, Sdk},
};
use crate::world::{HUBS, Scene, Tls, World, within};

pub(super) const HUB: &str = HUBS[0];

/// Another key than any that is generated.
pub(super) const OTHER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A device in the hub's registry.
pub(super) struct HubDevice {
    pub(super) id: String,
    pub(super) key: SymmetricKey,
}

impl HubDevice {
    /// A new one, with a generated key.
    pub(super) async fn create(world: &World, id: &str) -> Self {
        let identity = json!({"deviceId": id, "authentication": {"type": "sas"}});
        let identity = world.hub(HUB).create(&format!("/devices/{id}"), &identity).await;
        let key = &identity["authentication"]["symmetricKey"]["primaryKey"];
        let key = SymmetricKey::parse(key.as_str().expect("a key")).expect("a key");
        Self { id: id.to_owned(), key }
    }

    /// A connection on which nothing was said yet.
    pub(super) async fn dial(&self, world: &World, sdk: &Sdk, way: Way) -> Line {
        Line::new(way.open(world, HUB, |tls: Tls| sdk.tls(tls)).await)
    }

    /// Connects; whether the server remembers a session.
    pub(super) async fn connect(&self, world: &World, sdk: &Sdk, way: Way) -> (Line, bool) {
        let mut line = self.dial(world, sdk, way).await;
        let is_known = line.connect(self.hello(sdk)).await;
        (line, is_known)
    }

    /// Its CONNECT.
    pub(super) fn hello(&self, sdk: &Sdk) -> mqtt::proto::Connect {
        sdk.hub_connect(HUB, &self.id, Some(&self.key), sdk::TTL_SECS)
    }

    /// What it subscribes to.
    pub(super) fn filters(&self) -> [String; 4] {
        [
            "$iothub/twin/res/#".to_owned(),
            "$iothub/twin/PATCH/properties/desired/#".to_owned(),
            "$iothub/methods/POST/#".to_owned(),
            self.message_filter(),
        ]
    }

    fn message_filter(&self) -> String {
        format!("devices/{}/messages/devicebound/#", self.id)
    }

    /// Subscribes to everything, as the SDK does it.
    pub(super) async fn subscribe(&self, line: &mut Line, sdk: &Sdk) {
        let filters = self.filters();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        if sdk.hub.subscribes_at_once {
            return line.subscribe(&filters, Qos::AtLeastOnce).await;
        }
        for filter in filters {
            line.subscribe(&[filter], Qos::AtLeastOnce).await;
        }
    }

    /// Its path in the hub's registry.
    pub(super) fn path(&self) -> String {
        format!("/devices/{}", self.id)
    }
}

/// Events of a device in a hub's log, oldest first.
pub(super) async fn events(world: &World, device_id: &str) -> Vec<Value> {
    let hub = world.hub(HUB);
    let (mut all, mut place) = (Vec::new(), "from=earliest".to_owned());
    loop {
        let path = format!(
            "/induct/v1/events?api-version=2021-04-12&deviceId={device_id}&limit=1000&{place}"
        );
        let token = hub.token(600);
        let reply = hub.send_raw("GET", &path, &[("authorization", &token)], "").await;
        let page = reply.expect(200);
        all.extend(page["events"].as_array().expect("events").iter().cloned());
        let cursor = page["cursor"].as_str().expect("a cursor");
        let next = format!("cursor={}", wire::percent::encode(cursor));
        if next == place {
            return all;
        }
        place = next;
    }
}

/// Its twin as it is told.
pub(super) async fn get_twin(line: &mut Line, sdk: &Sdk, n: u16) -> Value {
    let (qos, payload) = sdk.hub.get;
    let rid = (sdk.rid)(n, n);
    line.publish(&format!("$iothub/twin/GET/?$rid={rid}"), payload, qos).await;
    let (topic, body) = line.message().await;
    assert_eq!(topic, format!("$iothub/twin/res/200/?$rid={rid}"));
    serde_json::from_str(&body).expect("JSON")
}

/// Reports, and hears the new version.
async fn report(line: &mut Line, sdk: &Sdk, patch: &Value) -> u64 {
    let rid = (sdk.rid)(77, 77);
    let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}");
    line.publish(&topic, patch.to_string(), sdk.hub.get.0).await;
    let (topic, body) = line.message().await;
    let before = format!("$iothub/twin/res/204/?$rid={rid}&$version=");
    let version = topic.strip_prefix(&before).unwrap_or_else(|| panic!("{topic}: {body}"));
    assert_eq!(body, "");
    version.parse().expect("a version")
}

/// The operator changes a desired property, and the device is told.
pub(super) async fn check_desired(world: &World, line: &mut Line, device: &HubDevice, rate: u64) {
    let patch = json!({"properties": {"desired": {"rate": rate}}}).to_string();
    let path = format!("/twins/{}", device.id);
    let twin = world.hub(HUB).send("PATCH", &path, None, patch).await.expect(200);
    let version = &twin["properties"]["desired"]["$version"];
    let (topic, body) = line.message().await;
    assert_eq!(topic, format!("$iothub/twin/PATCH/properties/desired/?$version={version}"));
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body, json!({"rate": rate, "$version": version}));
}

/// The operator calls a method, the device answers, and the operator hears the answer.
pub(super) async fn check_method(world: &World, line: &mut Line, device: &HubDevice) {
    let hub = world.hub(HUB);
    let path = format!("/twins/{}/methods", device.id);
    let call = json!({
        "methodName": "reboot", "payload": {"in": 1.50}, "responseTimeoutInSeconds": 60,
        "connectTimeoutInSeconds": 60,
    });
    let calling = hub.send("POST", &path, None, call.to_string());
    let answering = async {
        let (topic, payload) = line.message().await;
        let rid = topic.strip_prefix("$iothub/methods/POST/reboot/?$rid=").expect("a call");
        assert!(rid.chars().all(|c| c.is_ascii_hexdigit()), "{topic}");
        let payload: Value = serde_json::from_str(&payload).expect("JSON");
        assert_eq!(payload, json!({"in": 1.5}));
        let answer = format!("$iothub/methods/res/207/?$rid={rid}");
        line.publish(&answer, r#"{"out":true}"#, Qos::AtMostOnce).await;
    };
    let (reply, ()) = within("a method", async { tokio::join!(calling, answering) }).await;
    assert_eq!(reply.expect(200), json!({"status": 207, "payload": {"out": true}}));
}

/// The operator sends a message to the device; it waits in the queue when the device is away.
pub(super) async fn send_message(world: &World, device: &HubDevice, text: &str) {
    let path = format!("/induct/v1/devices/{}/messages", device.id);
    let body = json!({"bodyText": text, "messageId": "c2d-1", "properties": {"part": "1/7"}});
    let reply = world.hub(HUB).send("POST", &path, None, body.to_string()).await;
    assert!((200..300).contains(&reply.status), "{reply:?}");
}

/// The device hears the message, with every `/` of the bag encoded (H §4.2.8).
pub(super) async fn check_message(line: &mut Line, device: &HubDevice, text: &str) {
    let (topic, payload) = line.message().await;
    let before = format!("devices/{}/messages/devicebound/", device.id);
    let bag = topic.strip_prefix(&before).unwrap_or_else(|| panic!("{topic}: {payload}"));
    for pair in ["%24.mid=c2d-1", "part=1%2F7"] {
        assert!(bag.split('&').any(|found| found == pair), "{pair} in {bag}");
    }
    assert!(!bag.contains('/'), "{bag}");
    assert_eq!(payload, text);
}

/// A first day at work: twin, report, desired change, event, method, message.
async fn check(world: &World, sdk: &Sdk, way: Way) {
    let id = match way {
        Way::Tls => format!("Press.{}:tls", sdk.name),
        Way::WebSocket(_) => format!("Press.{}:ws", sdk.name),
    };
    let device = HubDevice::create(world, &id).await;
    let (mut line, is_known) = device.connect(world, sdk, way).await;
    assert!(!is_known, "{id} is new");
    let identity = world.hub(HUB).get(&device.path()).await;
    assert_eq!(identity["connectionState"], "Connected", "{id}");
    device.subscribe(&mut line, sdk).await;
    let twin = get_twin(&mut line, sdk, 1).await;
    assert_eq!(twin, json!({"desired": {"$version": 1}, "reported": {"$version": 1}}), "{id}");
    assert_eq!(report(&mut line, sdk, &json!({"temperature": 21})).await, 2, "{id}");
    check_desired(world, &mut line, &device, 5).await;

    let topic = format!("devices/{id}/messages/events/{}", sdk.hub.bag);
    line.publish(&topic, r#"{"t":21.50}"#, Qos::AtLeastOnce).await;
    let told = events(world, &id).await;
    assert_eq!(told.len(), 1, "{id}: {told:?}");
    assert_eq!(
        told[0]["properties"],
        json!({
            "messageId": "m-1", "contentType": "application/json", "contentEncoding": "utf-8",
        }),
        "{id}",
    );
    assert_eq!(told[0]["applicationProperties"], json!({"line": "4 a"}), "{id}");
    assert_eq!(told[0]["body"].to_string(), r#"{"t":21.50}"#, "{id}: digits are kept");

    check_method(world, &mut line, &device).await;
    send_message(world, &device, "first").await;
    check_message(&mut line, &device, "first").await;
    // Its acknowledgement is written, or the message would come again.
    within("an empty queue", async {
        while world.hub(HUB).get(&device.path()).await["cloudToDeviceMessageCount"] != 0 {}
    })
    .await;
    line.ping().await;

    // A token is renewed, or the network fails: what was subscribed to is still there.
    let mut line = again(world, sdk, way, &device, line).await;
    assert_eq!(get_twin(&mut line, sdk, 2).await["reported"]["temperature"], 21, "{id}");
    check_desired(world, &mut line, &device, 6).await;
    check_method(world, &mut line, &device).await;
    send_message(world, &device, "second").await;
    check_message(&mut line, &device, "second").await;
    line.leave().await;
}

/// Goes, and comes back as the SDK does (H §4.2.4).
async fn again(world: &World, sdk: &Sdk, way: Way, device: &HubDevice, line: Line) -> Line {
    match sdk.hub.again {
        Again::Twice => {
            let mut line = line;
            line.send(Packet::Disconnect).await;
            let mut given_up = device.dial(world, sdk, way).await;
            given_up.send(Packet::Connect(Box::new(device.hello(sdk)))).await;
            // At once, whatever becomes of it.
            drop(given_up);
            let (first, is_known) = device.connect(world, sdk, way).await;
            assert!(is_known, "{} is remembered", device.id);
            let (line, is_known) = device.connect(world, sdk, way).await;
            assert!(is_known, "{} is remembered", device.id);
            first.closed().await;
            line
        }
        Again::Silently | Again::ToMessages | Again::ToEverything => {
            drop(line);
            let (mut line, is_known) = device.connect(world, sdk, way).await;
            assert!(is_known, "{} is remembered", device.id);
            match sdk.hub.again {
                Again::ToMessages => {
                    line.subscribe(&[&device.message_filter()], Qos::AtLeastOnce).await;
                }
                Again::ToEverything => device.subscribe(&mut line, sdk).await,
                Again::Silently | Again::Twice => {}
            }
            line
        }
    }
}

#[tokio::test]
async fn every_sdk_works_at_its_hub_and_comes_back_in_its_own_manner() {
    let world = Scene::new().start().await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            check(&world, sdk, way).await;
        }
    }
}

#[tokio::test]
async fn a_certificate_opens_a_hub_without_a_password_and_another_one_does_not() {
    let world = Scene::new().start().await;
    let (own, other) = (Ca::root("A maker").leaf("press-17"), Ca::root("A").leaf("press-17"));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, own.der());
    let thumbprint: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let identity = json!({
        "deviceId": "press-17",
        "authentication": {
            "type": "selfSigned",
            "x509Thumbprint": {"primaryThumbprint": thumbprint, "secondaryThumbprint": thumbprint},
        },
    });
    world.hub(HUB).create("/devices/press-17", &identity).await;
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let dial = async |credential: &testkit::Credential| {
                let chain = credential.chain().into_iter().map(|der| der.0).collect();
                let key = credential.key_der().to_vec();
                let tls = |tls: Tls| sdk.tls(tls).credential(chain, key);
                Line::new(way.open(&world, HUB, tls).await)
            };
            let hello = || sdk.hub_connect(HUB, "press-17", None, sdk::TTL_SECS);
            dial(&other).await.refused(hello()).await;
            let mut line = dial(&own).await;
            line.connect(hello()).await;
            let topic = format!("devices/press-17/messages/events/{}", sdk.hub.bag);
            line.publish(&topic, "1", Qos::AtLeastOnce).await;
            line.leave().await;
        }
    }
    assert_eq!(events(&world, "press-17").await.len(), 2 * sdk::ALL.len());
}

#[tokio::test]
async fn an_identity_problem_of_any_kind_is_connack_5() {
    let world = Scene::new().start().await;
    let device = HubDevice::create(&world, "press-17").await;
    let other_key = SymmetricKey::parse(OTHER_KEY).expect("a key");
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let connects = [
                ("another key", sdk.hub_connect(HUB, "press-17", Some(&other_key), 60)),
                ("an expired token", sdk.hub_connect(HUB, "press-17", Some(&device.key), -3600)),
                ("nothing to show", sdk.hub_connect(HUB, "press-17", None, 60)),
                ("an unknown device", sdk.hub_connect(HUB, "press-18", Some(&device.key), 60)),
                ("another letter case", sdk.hub_connect(HUB, "PRESS-17", Some(&device.key), 60)),
                ("an unknown hub", sdk.hub_connect(HUBS[1], "press-17", Some(&device.key), 60)),
            ];
            for (what, connect) in connects {
                let line = device.dial(&world, sdk, way).await;
                eprintln!("{} by {way:?}: {what}", sdk.name);
                line.refused(connect).await;
            }
        }
    }
}
