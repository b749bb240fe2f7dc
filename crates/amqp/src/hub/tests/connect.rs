//! Who is let in, and on which links (H §4.1, §4.3.2 to §4.3.4).

use model::Precondition;
use testkit::Ca;

use super::*;
use crate::{
    Peer, errors,
    proto::SaslOutcome,
    tests::{
        client::Wish,
        scene::{HUB, KEY, OTHER_KEY, operator, peer, scene},
    },
};

/// The session's numbers once all who left are written down.
async fn is_connected(scene: &Scene) -> bool {
    scene.app.see_off().await;
    scene.device(DEVICE).await.identity.connected
}

#[tokio::test]
async fn a_device_is_connected_as_long_as_it_has_a_link() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    assert_eq!((scene.app.n_sessions(), is_connected(&scene).await), (0, false));
    for handle in 0..2 {
        client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
        client.attach_receiver(CHANNEL, 1, &devicebound(DEVICE)).await;
        assert_eq!((scene.app.n_sessions(), is_connected(&scene).await), (1, true));
        client.detach(CHANNEL, handle).await;
        client.detach(CHANNEL, 1 - handle).await;
        all_left(&scene, &mut client).await;
        assert_eq!((scene.app.n_sessions(), is_connected(&scene).await), (0, false));
    }
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    client.vanish().await;
    assert_eq!((scene.app.n_sessions(), is_connected(&scene).await), (0, false));
}

#[tokio::test]
async fn a_link_that_sends_has_room_for_the_largest_event_and_credit_at_once() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    let attach = client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    assert!(attach.max_message_size.is_some_and(|most| most >= 262_144), "{attach:?}");
    let flow = client.flow().await;
    assert!(flow.link_credit.is_some_and(|credit| credit >= 100), "{flow:?}");
}

#[tokio::test]
async fn addresses_are_relative_or_whole_urls() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    let addresses = [
        format!("/devices/{DEVICE}/messages/events"),
        format!("devices/{DEVICE}/messages/events"),
        format!("amqps://{HUB}/devices/{DEVICE}/messages/events"),
        format!("amqps://{}:5671/Devices/{DEVICE}/Messages/Events", HUB.to_uppercase()),
        "/devices/%64ev1/messages/events".to_owned(),
    ];
    for (handle, address) in (0..).zip(&addresses) {
        client.attach_sender(CHANNEL, handle, address).await;
    }
    assert_eq!(scene.app.n_sessions(), 1);
}

#[tokio::test]
async fn a_password_or_a_policys_token_opens_a_device_as_well() {
    let scene = scene().await;
    let by_device = (format!("{DEVICE}@sas.hub-1"), scene.token(DEVICE));
    let by_policy = ("device@sas.root.hub-1".to_owned(), scene.policy_token("device", HUB).await);
    for (user, password) in [by_device, by_policy] {
        let mut client = scene.logged_in(&user, &password).await;
        client.attach_sender(0, 0, &events(DEVICE)).await;
        client.send_accepted(0, 0, &body("1")).await;
        client.close().await;
    }
    let token = scene.policy_token("device", HUB).await;
    let mut client = shown_with(&scene, &token).await;
    client.attach_sender(CHANNEL, 0, &events(DEVICE)).await;
    client.send_accepted(CHANNEL, 0, &body("1")).await;
    let methods: Vec<_> = scene.events().await.iter().map(|event| event.auth_method).collect();
    use model::AuthMethod::{DeviceKey, HubPolicy};
    assert_eq!(methods, [DeviceKey, HubPolicy, HubPolicy]);
}

#[tokio::test]
async fn without_proof_there_is_no_link_and_nothing_to_learn() {
    let scene = scene().await;
    scene.put_device("dev2").await;
    scene.put_device("off").await;
    scene.rewrite("off", "disabled", (KEY, OTHER_KEY)).await;
    let unauthorized =
        |channel, id: &str| (Wish::sender(channel, 0, &events(id)), errors::UNAUTHORIZED);
    // Nothing was shown; nobody learns whether there is such a device.
    let mut client = scene.connected().await;
    let mut heard = Vec::new();
    for id in [DEVICE, "nobody", "off"] {
        let (wish, condition) = unauthorized(0, id);
        heard.push(client.attach_refused(wish, condition).await);
    }
    assert!(heard.iter().all(|error| *error == heard[0]), "{heard:?}");
    // A token opens its own device, on its own hub.
    let mut client = shown(&scene).await;
    let elsewhere = format!("amqps://hub-2.example.test{}", events(DEVICE));
    for (id, address) in
        [("dev2", events("dev2")), ("nobody", events("nobody")), (DEVICE, elsewhere)]
    {
        let wish = Wish::sender(CHANNEL, 5, &address);
        client.attach_refused(wish, errors::UNAUTHORIZED).await;
        assert_eq!(scene.app.n_sessions(), 0, "{id}");
    }
    // Neither does a password for somebody else, or one that is no token.
    for (user, password) in
        [("dev2@sas.hub-1", scene.token("dev2")), ("dev1@sas.hub-1", "x".into())]
    {
        let mut client = scene.logged_in(user, &password).await;
        let (wish, condition) = unauthorized(0, DEVICE);
        client.attach_refused(wish, condition).await;
    }
    // A service's token opens no device.
    let token = scene.policy_token("service", HUB).await;
    let mut client = shown_with(&scene, &token).await;
    let (wish, condition) = unauthorized(CHANNEL, DEVICE);
    client.attach_refused(wish, condition).await;
    assert_eq!(scene.app.n_sessions(), 0);
}

#[tokio::test]
async fn who_holds_the_key_of_a_disabled_or_deleted_device_hears_that_it_is_gone() {
    let scene = scene().await;
    let mut client = shown(&scene).await;
    scene.rewrite(DEVICE, "disabled", (KEY, OTHER_KEY)).await;
    let wish = |handle| Wish::sender(CHANNEL, handle, &events(DEVICE));
    client.attach_refused(wish(0), errors::NOT_FOUND).await;
    scene.delete_device(DEVICE).await;
    client.attach_refused(wish(1), errors::NOT_FOUND).await;
    scene.put_device(DEVICE).await;
    client.attach_sender(CHANNEL, 2, &events(DEVICE)).await;
}

#[tokio::test]
async fn a_policy_that_opens_no_devices_any_more_finds_none_out() {
    let scene = scene().await;
    let token = scene.policy_token("device", HUB).await;
    let mut client = shown_with(&scene, &token).await;
    let wish = |handle, id: &str| Wish::sender(CHANNEL, handle, &events(id));
    // As long as it does, it may hear that there is no such device.
    client.attach_refused(wish(0, "nobody"), errors::NOT_FOUND).await;
    let draft = decide::manage::policies::PolicyDraft {
        name: "device".to_owned(),
        rights: model::Rights::of(&[model::Right::ServiceConnect]),
        primary: None,
        secondary: None,
    };
    let scope = model::PolicyScope::Hub(scene.hub.clone());
    let put = scene.app.put_policy(&scope, &draft, &Precondition::Any, &operator()).await;
    put.expect("written");
    let heard = client.attach_refused(wish(1, "nobody"), errors::UNAUTHORIZED).await;
    assert_eq!(heard, client.attach_refused(wish(2, DEVICE), errors::UNAUTHORIZED).await);
}

#[tokio::test]
async fn links_that_lead_nowhere_are_refused_and_the_others_go_on() {
    let scene = scene().await;
    let mut client = sending(&scene).await;
    let module = format!("/devices/{DEVICE}/modules/m1/messages/events");
    let wishes = [
        // A device's token opens none of its modules.
        (Wish::sender(CHANNEL, 7, &module), errors::UNAUTHORIZED),
        (Wish::receiver(CHANNEL, 7, &events(DEVICE)), errors::NOT_ALLOWED),
        (Wish::sender(CHANNEL, 7, &devicebound(DEVICE)), errors::NOT_ALLOWED),
    ];
    for (wish, condition) in wishes {
        client.attach_refused(wish, condition).await;
    }
    // The device of that name on another hub is another one.
    for address in [events(DEVICE), format!("/devices/{DEVICE}/twin")] {
        let elsewhere = Wish::sender(CHANNEL, 7, &format!("amqps://hub-2.example.test{address}"));
        client.attach_refused(elsewhere, errors::UNAUTHORIZED).await;
    }
    client.send_accepted(CHANNEL, 0, &body("on")).await;
    // As a first link as well.
    client.detach(CHANNEL, 0).await;
    let wish = Wish::sender(CHANNEL, 7, &module);
    client.attach_refused(wish, errors::UNAUTHORIZED).await;
    assert_eq!(scene.bodies().await, ["on"]);
}

#[tokio::test]
async fn a_certificate_is_proof_for_the_hub_that_the_connection_or_the_link_names() {
    let scene = scene().await;
    let leaf = Ca::root("works").leaf(DEVICE);
    let thumbprint = attest::certificate::thumbprint_sha256(&leaf.chain()[0].0);
    let thumbprint: String = thumbprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let document = format!(
        r#"{{"deviceId":"{DEVICE}","authentication":{{"type":"selfSigned","x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}}}}}}"#
    );
    scene.put(&document, Precondition::Any).await;
    let whole = format!("amqps://{HUB}{}", events(DEVICE));
    let relative = events(DEVICE);
    // The host of `open`, the name asked for in TLS, the address, and what comes of it.
    let cases = [
        (Some(HUB), None, &relative, true),
        (None, Some(HUB), &relative, true),
        (None, None, &whole, true),
        (Some("gateway.example.test"), None, &whole, true),
        (None, None, &relative, false),
        (Some("hub-2.example.test"), Some(HUB), &relative, false),
    ];
    for (host, name, address, is_let_in) in cases {
        let server_name = name.map(str::to_owned);
        let peer = Peer { client_chain: leaf.chain(), server_name, ..peer() };
        let mut client = scene.open_with(64 * 1024, peer);
        client.connect_to(host).await;
        client.begin(0).await;
        if is_let_in {
            client.attach_sender(0, 0, address).await;
            client.send_accepted(0, 0, &body("x")).await;
        } else {
            let wish = Wish::sender(0, 0, address);
            client.attach_refused(wish, errors::UNAUTHORIZED).await;
        }
        client.close().await;
    }
    assert_eq!(scene.bodies().await.len(), 4);
    // The layer that says so in so many words is the same.
    let mut client = scene.open_of(leaf.chain());
    assert_eq!(client.sasl("EXTERNAL", None).await, SaslOutcome::Ok);
    client.connect_to(Some(HUB)).await;
    client.begin(0).await;
    client.attach_sender(0, 0, &relative).await;
}
