//! Off means off, for devices that are connected (H §4.5.3): disabled, deleted, with another key
//! or another kind of credential, over TLS and in WebSockets, idle or in the middle of sending.

use std::time::Duration;

use model::SymmetricKey;
use mqtt::proto::Qos;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    flood::Flood,
    hub::{HUB, HubDevice, OTHER_KEY, events, get_twin},
    line::{Line, Way},
    sdk::{self, Sdk},
};
use crate::world::{Scene, World, within};

/// How long a device may stay connected after it was cut off, at the very most (H §4.5.3). How
/// long it takes is measured by `benches/cut_off.rs`.
const CONTRACT: Duration = Duration::from_secs(20);
/// After so many acknowledged messages the operator acts.
const N_BEFORE: u64 = 40;

/// What the operator of the hub does.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Disable,
    Delete,
    ChangeKeys,
    AskForCertificate,
}

/// What the device does meanwhile.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Nothing,
    Events,
    Reports,
}

impl Cut {
    const ALL: [Self; 4] = [Self::Disable, Self::Delete, Self::ChangeKeys, Self::AskForCertificate];

    /// Returns when the operator has their answer.
    async fn act(self, world: &World, device: &HubDevice) {
        let (hub, path) = (world.hub(HUB), device.path());
        match self {
            Self::Disable => {
                hub.edit(&path, |body| body["status"] = json!("disabled")).await;
            }
            Self::Delete => hub.delete(&path).await,
            Self::ChangeKeys => {
                let keys = json!({"primaryKey": OTHER_KEY, "secondaryKey": OTHER_KEY});
                hub.edit(&path, |body| body["authentication"]["symmetricKey"] = keys).await;
            }
            Self::AskForCertificate => {
                let authentication = json!({
                    "type": "selfSigned",
                    "x509Thumbprint": {"primaryThumbprint": "ab".repeat(32)},
                });
                hub.edit(&path, |body| body["authentication"] = authentication).await;
            }
        }
    }

    /// Lets the device in again, and returns it with what it shows from now on.
    async fn undo(self, world: &World, device: HubDevice) -> HubDevice {
        let (hub, path) = (world.hub(HUB), device.path());
        let by_key = |key: &str| json!({"type": "sas", "symmetricKey": {"primaryKey": key, "secondaryKey": key}});
        match self {
            Self::Disable => {
                hub.edit(&path, |body| body["status"] = json!("enabled")).await;
                device
            }
            Self::Delete => {
                let key = device.key.reveal();
                let identity = json!({"deviceId": device.id, "authentication": by_key(key)});
                hub.create(&path, &identity).await;
                device
            }
            Self::ChangeKeys => {
                HubDevice { key: SymmetricKey::parse(OTHER_KEY).expect("a key"), ..device }
            }
            Self::AskForCertificate => {
                let key = by_key(device.key.reveal());
                hub.edit(&path, |body| body["authentication"] = key).await;
                device
            }
        }
    }
}

/// All that a device can leave behind: its events, and its reported properties.
async fn traces(world: &World, device: &HubDevice) -> (Vec<Value>, Option<Value>) {
    let twin = world.hub(HUB).find(&format!("/twins/{}", device.id)).await;
    let reported = twin.map(|twin| twin["properties"]["reported"].clone());
    (events(world, &device.id).await, reported)
}

/// Events `0`, `1`, `2`… in this order, and none that was acknowledged is missing.
#[track_caller]
fn check_in_order(events: &[Value], n_acknowledged: u64) {
    let bodies: Vec<_> = events.iter().map(|event| event["body"].as_u64()).collect();
    let expected: Vec<_> = (0_u64..).map(Some).take(bodies.len()).collect();
    assert_eq!(bodies, expected, "each event once and in the order in which it was sent");
    let n_kept = u64::try_from(events.len()).expect("few");
    assert!(n_kept >= n_acknowledged, "{n_kept} are kept, {n_acknowledged} were acknowledged");
}

fn event_topic(id: &str) -> String {
    format!("devices/{id}/messages/events/$.ct=application%2Fjson&$.ce=utf-8")
}

async fn check(world: &World, cut: Cut, sdk: &Sdk, way: Way, doing: Doing, bystander: &mut Line) {
    let kind = if matches!(way, Way::Tls) { "tls" } else { "ws" };
    let id = format!("press-{cut:?}-{kind}-{doing:?}").to_lowercase();
    let device = HubDevice::create(world, &id).await;
    let (mut line, _) = device.connect(world, sdk, way).await;
    line.publish("$iothub/twin/GET/?$rid=1", "", Qos::AtLeastOnce).await;
    match doing {
        Doing::Nothing => {
            cut.act(world, &device).await;
            let before = traces(world, &device).await;
            timeout(CONTRACT, line.closed()).await.expect("cut off in time");
            assert_eq!(traces(world, &device).await, before, "{id}");
        }
        Doing::Events | Doing::Reports => {
            let mut flood = match doing {
                Doing::Reports => {
                    let topic = "$iothub/twin/PATCH/properties/reported/?$rid=7";
                    Flood::start(line, topic, |n| format!(r#"{{"n":{n}}}"#))
                }
                Doing::Events | Doing::Nothing => {
                    Flood::start(line, &event_topic(&id), |n| n.to_string())
                }
            };
            flood.acknowledged(N_BEFORE).await;
            cut.act(world, &device).await;
            let before = traces(world, &device).await;
            let ended = timeout(CONTRACT, flood.ended()).await;
            let n_acknowledged = ended.expect("cut off in time");
            // Whatever of the device's still waited for the store was before this one.
            bystander.publish("devices/bystander/messages/events/", "1", Qos::AtLeastOnce).await;
            let after = traces(world, &device).await;
            assert_eq!(after, before, "{id}: nothing has an effect after the operator's answer");
            if let Doing::Events = doing {
                check_in_order(&after.0, n_acknowledged);
            } else if let Some(reported) = after.1 {
                let n_kept = reported["n"].as_u64().expect("it reported") + 1;
                assert!(n_kept >= n_acknowledged, "{id}: {reported}, {n_acknowledged}");
                assert_eq!(reported["$version"], n_kept + 1, "{id}");
            }
        }
    }
    device.dial(world, sdk, way).await.refused(device.hello(sdk)).await;
    // It is written as soon as the session has ended, and nobody waits for that.
    within("the word that the device is gone", async {
        let is_connected = async || {
            let identity = world.identity(HUB, &id).await;
            identity.is_some_and(|identity| identity["connectionState"] != "Disconnected")
        };
        while is_connected().await {}
    })
    .await;
    let device = cut.undo(world, device).await;
    let (mut line, is_known) = device.connect(world, sdk, way).await;
    assert!(!is_known, "{id} never subscribed");
    line.publish(&event_topic(&id), "true", Qos::AtLeastOnce).await;
    let last = events(world, &id).await;
    assert_eq!(last.last().expect("an event")["body"], true, "{id} is back");
    line.leave().await;
}

async fn check_all(way: fn(&Sdk) -> Way) {
    let world = Scene::new().log_level("info").start().await;
    let bystander = HubDevice::create(&world, "bystander").await;
    let (mut line, _) = bystander.connect(&world, &sdk::PYTHON, Way::Tls).await;
    line.subscribe(&["$iothub/twin/res/#"], Qos::AtLeastOnce).await;
    for cut in Cut::ALL {
        for doing in [Doing::Nothing, Doing::Events, Doing::Reports] {
            check(&world, cut, &sdk::PYTHON, way(&sdk::PYTHON), doing, &mut line).await;
        }
    }
    // Nobody else has noticed.
    let twin = get_twin(&mut line, &sdk::PYTHON, 1).await;
    assert_eq!(twin["reported"]["$version"], 1);
    line.leave().await;
}

#[tokio::test]
async fn who_is_cut_off_over_tls_has_no_effect_any_more_and_comes_back_when_let_in() {
    check_all(|_| Way::Tls).await;
}

#[tokio::test]
async fn who_is_cut_off_in_a_websocket_has_no_effect_any_more_and_comes_back_when_let_in() {
    check_all(|sdk| Way::WebSocket(sdk.web_socket)).await;
}

/// A bystander who shares the one partition with all others, so that what it sends stands in the
/// log before or after what anybody else does.
struct Marker(Line);

impl Marker {
    async fn new(world: &World) -> Self {
        let bystander = HubDevice::create(world, "bystander").await;
        Self(bystander.connect(world, &sdk::PYTHON, Way::Tls).await.0)
    }

    /// Marks the present end of the log.
    async fn mark(&mut self) {
        self.0.publish("devices/bystander/messages/events/", "1", Qos::AtLeastOnce).await;
    }

    /// Where the marks stand, the oldest first.
    async fn marks(world: &World) -> Vec<u64> {
        events(world, "bystander").await.iter().map(number_of).collect()
    }
}

fn number_of(event: &Value) -> u64 {
    event["sequenceNumber"].as_u64().expect("a sequence number")
}

/// Devices that send as fast as they can, half of them in WebSockets.
async fn floods(world: &World, sdk: &Sdk, n_devices: usize) -> Vec<(HubDevice, Flood)> {
    let mut floods = Vec::new();
    for n in 0..n_devices {
        let device = HubDevice::create(world, &format!("press-{n}")).await;
        let (line, _) = device.connect(world, sdk, Way::both(sdk)[n % 2]).await;
        let flood = Flood::start(line, &event_topic(&device.id), |n| n.to_string());
        floods.push((device, flood));
    }
    for (_, flood) in &mut floods {
        flood.acknowledged(N_BEFORE).await;
    }
    floods
}

/// Waits until the server has ended all of these; with each, how many messages it acknowledged.
async fn ended(floods: Vec<(HubDevice, Flood)>) -> Vec<(HubDevice, u64)> {
    let mut ended = Vec::new();
    for (device, flood) in floods {
        let n_acknowledged = timeout(CONTRACT, flood.ended()).await;
        ended.push((device, n_acknowledged.expect("cut off in time")));
    }
    ended
}

/// All that the device sent stands before this mark.
async fn check_before(world: &World, device: &HubDevice, n_acknowledged: u64, mark: u64) {
    let events = events(world, &device.id).await;
    check_in_order(&events, n_acknowledged);
    let last = events.last().map(number_of).expect("an event");
    assert!(last < mark, "{}: an event at {last}, after the mark at {mark}", device.id);
}

fn one_partition() -> Scene {
    Scene::new().log_level("info").more("[events]\npartitions = 1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_send_at_once_each_stops_with_its_own_answer() {
    let world = one_partition().start().await;
    let mut marker = Marker::new(&world).await;
    let floods = floods(&world, &sdk::NODE, 12).await;
    for (device, _) in &floods {
        Cut::Disable.act(&world, device).await;
        marker.mark().await;
    }
    let ended = ended(floods).await;
    let marks = Marker::marks(&world).await;
    assert_eq!(marks.len(), ended.len());
    for ((device, n_acknowledged), mark) in ended.into_iter().zip(marks) {
        check_before(&world, &device, n_acknowledged, mark).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_disabled_in_one_bulk_request_are_all_cut_off_by_its_answer() {
    let world = one_partition().start().await;
    let mut marker = Marker::new(&world).await;
    let floods = floods(&world, &sdk::C, 12).await;
    let element = |device: &HubDevice| {
        let key = device.key.reveal();
        let keys = json!({"primaryKey": *key, "secondaryKey": *key});
        json!({
            "id": device.id, "importMode": "update", "status": "disabled",
            "authentication": {"type": "sas", "symmetricKey": keys},
        })
    };
    let elements: Vec<Value> = floods.iter().map(|(device, _)| element(device)).collect();
    let hub = world.hub(HUB);
    let reply = hub.send("POST", "/devices", None, Value::from(elements).to_string()).await;
    assert_eq!(reply.expect(200)["isSuccessful"], true);
    marker.mark().await;
    let ended = ended(floods).await;
    let mark = Marker::marks(&world).await[0];
    for (device, n_acknowledged) in ended {
        check_before(&world, &device, n_acknowledged, mark).await;
        device.dial(&world, &sdk::C, Way::Tls).await.refused(device.hello(&sdk::C)).await;
    }
}

#[tokio::test]
async fn a_change_that_lets_the_device_in_neither_ends_its_session_nor_disorders_its_events() {
    let world = Scene::new().log_level("info").start().await;
    for way in Way::both(&sdk::JAVA) {
        let id = if matches!(way, Way::Tls) { "press-tls" } else { "press-ws" };
        let device = HubDevice::create(&world, id).await;
        let (line, _) = device.connect(&world, &sdk::JAVA, way).await;
        let mut flood = Flood::start(line, &event_topic(id), |n| n.to_string());
        let hub = world.hub(HUB);
        for n in 1..=20_u64 {
            flood.acknowledged(n * N_BEFORE).await;
            hub.edit(&device.path(), |body| match n % 2 {
                0 => body["statusReason"] = json!(format!("looked at {n} times")),
                // Another secondary key: the device came with the primary one.
                _ => body["authentication"]["symmetricKey"]["secondaryKey"] = json!(OTHER_KEY),
            })
            .await;
        }
        flood.acknowledged(21 * N_BEFORE).await;
        let n_acknowledged = flood.stop().await;
        check_in_order(&events(&world, id).await, n_acknowledged);
    }
}
