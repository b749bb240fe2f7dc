//! Who may connect, and what the others hear (H §4.2.1 to §4.2.3).

use app::{
    ca_certificates::CaDraft,
    limits::{Rate, RateSettings},
};
use model::Precondition;
use testkit::certificates::{Ca, Credential, Profile};

use super::scene::*;
use crate::{
    MqttSettings,
    proto::{ConnAck, Connect, ConnectRefusal, Packet, Password, Text},
};

const ACCEPTED: ConnAck = ConnAck::Accepted { session_present: false };
const REFUSED: ConnAck = ConnAck::Refused(ConnectRefusal::NotAuthorized);

/// What a CONNECT that is not [`Scene::hello`] hears; a refusal ends the connection.
async fn check(scene: &Scene, change: impl FnOnce(&mut Connect), expected: ConnAck) {
    let mut hello = scene.hello();
    change(&mut hello);
    let (answer, client) = scene.connect(hello).await;
    assert_eq!(answer, expected);
    match answer {
        ConnAck::Accepted { .. } => client.vanish().await,
        ConnAck::Refused(_) => {
            client.expect_cut().await;
            assert_eq!(scene.app.n_sessions(), 0);
        }
    }
}

fn named(user_name: &str) -> impl FnOnce(&mut Connect) {
    let user_name = Text::new(user_name).expect("legal");
    move |hello| hello.login.as_mut().expect("a login").user_name = user_name
}

fn with_password(password: Option<&str>) -> impl FnOnce(&mut Connect) {
    let password = password.map(|text| Password::new(text.to_owned()).expect("short"));
    move |hello| hello.login.as_mut().expect("a login").password = password
}

#[tokio::test]
async fn each_form_of_the_user_name_is_understood() {
    let scene = scene().await;
    for name in [
        "hub-1.example.test/dev1/?api-version=2021-04-12&DeviceClientType=a%2Fb%26c",
        "hub-1.example.test/dev1",
        "hub-1.example.test/dev1/",
        "hub-1.example.test/dev1?api-version=2021-04-12",
        "HUB-1.Example.test/dev1/?api-version=2018-06-30&model-id=dtmi%3Aa%3Bb",
        "hub-1.example.test:8883/dev1/?api-version=2021-04-12",
    ] {
        check(&scene, named(name), ACCEPTED).await;
    }
}

#[tokio::test]
async fn every_problem_with_the_identity_is_answered_with_5() {
    let scene = scene().await;
    scene.put(&identity("off", "disabled", (KEY, OTHER_KEY)), Precondition::None).await;
    scene.put_device("dev10").await;
    let other_client = |hello: &mut Connect| hello.client_id = Text::new("DEV1").expect("legal");
    check(&scene, other_client, REFUSED).await;
    let no_client = |hello: &mut Connect| hello.client_id = Text::default();
    check(&scene, no_client, REFUSED).await;
    for user_name in [
        "other.example.test/dev1/?api-version=2021-04-12",
        "hub-1.example.test/dev10/?api-version=2021-04-12",
        "hub-1.example.test//?api-version=2021-04-12",
        "hub-1.example.test/?api-version=2021-04-12",
        "hub-1.example.test/dev1/module/?api-version=2021-04-12",
        "hub-1.example.test/de v1/?api-version=2021-04-12",
    ] {
        check(&scene, named(user_name), REFUSED).await;
    }
    let long_ago = scene.token_for(DEVICE, KEY, -10);
    let of_another = scene.token_for("dev10", KEY, 600);
    let other_key = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";
    let wrong_key = scene.token_for(DEVICE, other_key, 600);
    let unknown_policy = scene.token_of(HUB, KEY, 600, Some("nobody"));
    for password in [
        None,
        Some(""),
        Some("secret"),
        Some("SharedAccessSignature sr=&sig=&se="),
        Some(long_ago.as_str()),
        Some(of_another.as_str()),
        Some(wrong_key.as_str()),
        Some(unknown_policy.as_str()),
    ] {
        check(&scene, with_password(password), REFUSED).await;
    }
    for (device, id) in [("off", "off"), ("nobody", "nobody")] {
        let token = scene.token_for(id, KEY, 600);
        let as_device = |hello: &mut Connect| {
            hello.client_id = Text::new(device).expect("legal");
            hello.login = Some(login(&user_name(device), Some(&token)));
        };
        check(&scene, as_device, REFUSED).await;
    }
    let bytes = |hello: &mut Connect| {
        let password = Password::new(vec![0xff, 0xfe]).expect("short");
        hello.login.as_mut().expect("a login").password = Some(password);
    };
    check(&scene, bytes, REFUSED).await;
    check(&scene, |_| {}, ACCEPTED).await;
}

#[tokio::test]
async fn either_key_of_the_device_opens_it() {
    let scene = scene().await;
    for key in [KEY, OTHER_KEY] {
        let token = scene.token_for(DEVICE, key, 600);
        check(&scene, with_password(Some(&token)), ACCEPTED).await;
    }
}

#[tokio::test]
async fn a_policys_token_opens_a_device_only_with_the_right_to_connect_devices() {
    let scene = scene().await;
    for (policy, expected) in
        [("device", ACCEPTED), ("iothubowner", ACCEPTED), ("service", REFUSED)]
    {
        let key = scene.policy_keys(policy).await.primary;
        let token = scene.token_of(HUB, key.reveal(), 600, Some(policy));
        check(&scene, with_password(Some(&token)), expected).await;
    }
}

#[tokio::test]
async fn a_certificate_opens_the_device_that_holds_its_thumbprint() {
    let scene = scene().await;
    let (ours, others) = (Credential::self_signed(Profile::leaf("any")), Ca::root("r").leaf("x"));
    let thumbprint = attest::certificate::thumbprint_sha256(ours.der());
    let hex: String = thumbprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let document = format!(
        r#"{{"deviceId":"x","authentication":{{"type":"selfSigned","x509Thumbprint":{{"primaryThumbprint":"{hex}"}}}}}}"#
    );
    scene.put(&document, Precondition::None).await;
    let hello = |password: Option<&str>| Connect {
        client_id: Text::new("x").expect("legal"),
        login: Some(login(&user_name("x"), password)),
        ..scene.hello()
    };
    let token = scene.token_for("x", KEY, 600);
    for (chain, password, expected) in [
        (ours.alone(), None, ACCEPTED),
        (ours.alone(), Some(""), ACCEPTED),
        (others.alone(), None, REFUSED),
        // A password wins, and this device takes none.
        (ours.alone(), Some(token.as_str()), REFUSED),
        (Vec::new(), None, REFUSED),
    ] {
        let mut client = scene.open_with(4096, chain);
        client.send(Packet::Connect(Box::new(hello(password)))).await;
        client.expect(Packet::ConnAck(expected)).await;
        match expected {
            ACCEPTED => client.vanish().await,
            _ => client.expect_cut().await,
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_enrolled_ca_opens_the_device_it_names_for_as_long_as_the_ca_is_there()
{
    let scene = scene().await;
    let ca = Ca::root("our ca");
    let draft = CaDraft { name: "ours".to_owned(), der: ca.der().to_vec(), verified: Some(true) };
    let put = scene.app.put_ca_certificate(&draft, &Precondition::None, &owner()).await;
    put.expect("a CA certificate");
    let document = r#"{"deviceId":"x","authentication":{"type":"certificateAuthority"}}"#;
    scene.put(document, Precondition::None).await;
    let hello = || Connect {
        client_id: Text::new("x").expect("legal"),
        login: Some(login(&user_name("x"), None)),
        ..scene.hello()
    };
    for (chain, expected) in [
        (ca.leaf("x").chain(), ACCEPTED),
        (ca.leaf("y").chain(), REFUSED),
        (Ca::root("our ca").leaf("x").chain(), REFUSED),
    ] {
        let mut client = scene.open_with(4096, chain);
        client.send(Packet::Connect(Box::new(hello()))).await;
        client.expect(Packet::ConnAck(expected)).await;
        if expected == ACCEPTED {
            client.vanish().await;
        }
    }
    let mut client = scene.open_with(4096, ca.leaf("x").chain());
    client.send(Packet::Connect(Box::new(hello()))).await;
    client.expect(Packet::ConnAck(ACCEPTED)).await;
    let deleted = scene.app.delete_ca_certificate("ours", &Precondition::Any, &owner()).await;
    deleted.expect("deleted");
    client.expect_cut().await;
}

#[tokio::test]
async fn too_many_connections_from_one_address_are_not_called_unauthorized() {
    let rate = Rate { n: 1, per_secs: 60 };
    let rates = RateSettings { device_calls_per_address: Some(rate), ..RateSettings::default() };
    let scene = scene_with(MqttSettings::default(), rates).await;
    check(&scene, |_| {}, ACCEPTED).await;
    check(&scene, |_| {}, ConnAck::Refused(ConnectRefusal::ServerUnavailable)).await;
}

#[tokio::test]
async fn a_refused_device_leaves_the_connected_one_alone() {
    let scene = scene().await;
    let mut client = scene.connected().await;
    let (answer, refused) = {
        let mut hello = scene.hello();
        with_password(Some(&scene.token_for(DEVICE, KEY, -10)))(&mut hello);
        scene.connect(hello).await
    };
    assert_eq!(answer, REFUSED);
    refused.expect_cut().await;
    client.hears_nothing().await;
}
