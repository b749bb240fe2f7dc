//! What devices send by mistake or malice.

use serde_json::json;

use super::Victim;
use crate::world::{Answer, Device, Reply, SERVICE, device::Proof, now_unix_secs};

/// Sends a register body in the name of the victim's device, which proves itself.
async fn register(victim: &Victim, body: impl Into<Vec<u8>>) -> Reply {
    let mut connection = victim.world.tls().connect(SERVICE).await;
    let scope = victim.world.id_scope();
    victim.device.send(&mut connection, scope, "PUT", "/register", body).await
}

#[tokio::test]
async fn malformed_register_bodies_are_refused_with_the_members_path() {
    let victim = Victim::new().await;
    for (body, words) in [
        ("{", "line 1"),
        ("[]", "expected an object"),
        ("nonsense", "line 1"),
        (r#"{"registrationId": 7}"#, "registrationId"),
        (r#"{"registrationId": "a b"}"#, "registrationId"),
        (r#"{"registrationId": "press-2"}"#, "registrationId"),
        (r#"{"tpm": "no"}"#, "tpm"),
        (r#"{"tpm": {}}"#, "tpm.endorsementKey"),
        (r#"{"tpm": {"endorsementKey": "!!!"}}"#, "tpm.endorsementKey"),
    ] {
        let message = register(&victim, body).await.refused(400_004);
        assert!(message.contains(words), "{body}: {message}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_register_body_beyond_96_kilobytes_is_refused_and_one_of_96_is_read() {
    let victim = Victim::new().await;
    let limit = 96 * 1024;
    let of_size = |size: usize| {
        let empty = json!({"payload": ""}).to_string();
        json!({"payload": "x".repeat(size - empty.len())}).to_string()
    };
    let reply = register(&victim, of_size(limit + 1)).await;
    assert!(reply.refused(400_004).contains("98304"), "{reply:?}");
    victim.assert_unharmed().await;
    assert_eq!(register(&victim, of_size(limit)).await.status, 202);
}

#[tokio::test]
async fn a_missing_or_unknown_api_version_is_refused() {
    let victim = Victim::new().await;
    let scope = victim.world.id_scope();
    let token = victim.device.authorization(scope, 600).expect("a token");
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let mut connection = victim.world.tls().connect(SERVICE).await;
    for (query, code) in [
        ("", 400_001),
        ("?api-version=", 400_001),
        ("?api-version=2099-01-01", 400_002),
        ("?api-version=2019-03-31&api-version=x", 202_000),
    ] {
        let path = format!("/{scope}/registrations/press-1/register{query}");
        let reply = connection.send("PUT", &path, &headers, b"{}".to_vec()).await;
        if code == 202_000 {
            assert_eq!(reply.status, 202, "the first one counts: {reply:?}");
        } else {
            assert!(reply.refused(code).contains("api-version"), "{query}");
        }
    }
    victim.world.assert_healthy().await;
}

#[tokio::test]
async fn an_unknown_id_scope_is_not_found() {
    let victim = Victim::new().await;
    let mut connection = victim.world.tls().connect(SERVICE).await;
    for scope in ["0neFFFFFFFF", "0ne", "nonsense", "%20", "x".repeat(300).as_str()] {
        for (method, action) in [("PUT", "/register"), ("GET", "/operations/5.0.0"), ("POST", "")] {
            let reply = victim.device.send(&mut connection, scope, method, action, "{}").await;
            let message = reply.refused(404_000);
            assert_eq!(message, "ID scope not found.", "{method} {scope}");
        }
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused() {
    let victim = Victim::new().await;
    let scope = victim.world.id_scope();
    let expired = victim.device.authorization(scope, -3600).expect("a token");
    let other_scope = victim.device.authorization("0neFFFFFFFF", 3600).expect("a token");
    let mut other_name = victim.device.clone();
    other_name.id = "press-2".to_owned();
    let other_name = other_name.authorization(scope, 3600).expect("a token");
    let good = victim.device.authorization(scope, 3600).expect("a token");
    let (head, _) = good.split_once("&se=").expect("an expiry");
    let prolonged = format!("{head}&se={}&skn=registration", now_unix_secs() + 86_400);
    let operators = victim.world.service().token(600);
    for token in [
        expired,
        other_scope,
        other_name,
        prolonged,
        operators,
        "SharedAccessSignature".to_owned(),
        "SharedAccessSignature sr=%zz&sig=AAAA&se=99999999999".to_owned(),
        good.replace("&se=", "&se=99999999999999999999999"),
        "Basic cHJlc3MtMTpwcmVzcy0x".to_owned(),
    ] {
        let device = Device::new("press-1", Proof::Token(token.clone()));
        let Answer::Refused { code, message } = device.register(&victim.world).await else {
            panic!("accepted: {token}");
        };
        assert_eq!((code, message.as_str()), (401_002, "Unauthorized"), "{token}");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_device_that_shows_nothing_is_refused() {
    let victim = Victim::new().await;
    for id in ["press-1", "press-2", "nobody"] {
        let answer = Device::new(id, Proof::Nothing).register(&victim.world).await;
        let refused = Answer::Refused { code: 401_002, message: "Unauthorized".to_owned() };
        assert_eq!(answer, refused, "{id}: whoever proves nothing learns nothing");
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_groups_own_key_is_no_devices_key() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let path = "/enrollmentGroups/line-7";
    let keys = service.create(path, &crate::world::enrollments::group_by_key("line-7")).await;
    let key = crate::world::enrollments::primary_key(&keys);
    let answer = Device::with_key("press-7", key).register(&victim.world).await;
    assert!(matches!(answer, Answer::Refused { code: 401_002, .. }), "{answer:?}");
    Device::of_group("press-7", key).register(&victim.world).await.assigned();
}

#[tokio::test]
async fn registration_ids_that_are_not_legal_are_refused() {
    let victim = Victim::new().await;
    let mut connection = victim.world.tls().connect(SERVICE).await;
    let scope = victim.world.id_scope();
    for id in ["a%20b", "caf%C3%A9", "dot.", "%00", "x".repeat(129).as_str()] {
        let device = Device::new(id, Proof::Nothing);
        let reply = device.send(&mut connection, scope, "PUT", "/register", "{}").await;
        let message = reply.refused(400_004);
        assert!(message.contains("registration ID"), "{id}: {message}");
    }
    let reply = Device::new("%zz", Proof::Nothing)
        .send(&mut connection, scope, "PUT", "/register", "{}")
        .await;
    reply.refused(400_003);
    victim.assert_unharmed().await;
}
