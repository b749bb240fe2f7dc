//! The device endpoint (D §1).

use http::Request;
use testkit::{Ca, ClientStyle, Credential, Profile};

use super::scene::{
    Ask, KEY, MAX_REGISTRATIONS, NOW_TEXT, OTHER_KEY, Reply, SERVICE, Scene, peer, scene,
};

/// Registers, and polls once.
async fn check_settles(scene: &Scene, ask: Ask, poll: impl Fn(&str) -> Ask, status: &str) -> Reply {
    let accepted = scene.send(ask).await.with_status(202);
    let operation = accepted.text_at("/operationId");
    let polled = scene.send(poll(&operation)).await.with_status(200);
    assert_eq!(polled.at("/status"), status, "{polled:?}");
    polled
}

fn poll(scene: &Scene, id: &str, operation: &str) -> Ask {
    Ask::new("GET", &scene.device_path(id, &format!("/operations/{operation}")))
        .header("authorization", scene.device_token(ClientStyle::CSharp, id, KEY))
}

#[tokio::test]
async fn a_device_registers_and_polls_as_recorded() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let accepted = scene.send(scene.register("dev-1")).await.with_status(202);
    let operation = accepted.text_at("/operationId");
    assert_eq!(accepted.text, format!(r#"{{"operationId":"{operation}","status":"assigning"}}"#));
    assert_eq!(accepted.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(accepted.header("retry-after"), "3");
    assert_eq!(
        accepted.header("location"),
        format!("https://{SERVICE}/{}/registrations/dev-1/register", scene.id_scope)
    );
    assert_eq!(accepted.header("x-ms-request-id").len(), 36);
    assert_eq!(accepted.header("strict-transport-security"), "max-age=31536000; includeSubDomains");

    let assigned = scene.send(poll(&scene, "dev-1", &operation)).await.with_status(200);
    let (hub, etag) = (
        assigned.text_at("/registrationState/assignedHub"),
        assigned.text_at("/registrationState/etag"),
    );
    assert_eq!(
        assigned.text,
        format!(
            r#"{{"operationId":"{operation}","status":"assigned","registrationState":{{"registrationId":"dev-1","createdDateTimeUtc":"{NOW_TEXT}","assignedHub":"{hub}","deviceId":"dev-1","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"{NOW_TEXT}","etag":"{etag}"}}}}"#
        )
    );
    assert_eq!(assigned.header("retry-after"), "", "a final answer asks for no other poll");
}

#[tokio::test]
async fn every_clients_token_registers_its_device() {
    let scene = scene().await;
    scene.enroll("Dev:01").await;
    for style in ClientStyle::ALL {
        let token = scene.device_token(style, "Dev:01", KEY);
        // Half of the clients encode the path, in either case (D §1.1).
        for id in ["Dev:01", "Dev%3a01", "Dev%3A01"] {
            let path = scene.device_path(id, "/register");
            let ask = Ask::new("PUT", &path).header("authorization", &token).json("{}");
            let reply = scene.send(ask).await;
            assert_eq!(reply.status, 202, "{style:?} {id}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn what_the_clients_add_to_their_requests_disturbs_nobody() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let register = scene
        .register("dev-1")
        .header("content-encoding", "utf-8")
        .header("useragent", "prov_device_client/1.0");
    let poll = |operation: &str| poll(&scene, "dev-1", operation).json("{}");
    check_settles(&scene, register, poll, "assigned").await;
    let path = scene.device_path("dev-1", "/Register/").replace("registrations", "Registrations");
    let ask = Ask::new("PUT", &format!("{path}&forceRegistration=true"))
        .header("authorization", scene.device_token(ClientStyle::Python, "dev-1", OTHER_KEY))
        .body(r#" { "payload" : null, "registrationId" : "DEV-1", "csr":null, "more":[1] }"#);
    scene.send(ask).await.with_status(202);
}

#[tokio::test]
async fn a_certificate_registers_the_device_it_names() {
    let scene = scene().await;
    let leaf = Credential::self_signed(Profile::leaf("press-17"));
    let pem = leaf.pem().replace('\n', "\\n");
    let body = format!(
        r#"{{"registrationId":"press-17","attestation":{{"type":"x509","x509":{{"clientCertificates":{{"primary":{{"certificate":"{pem}"}}}}}}}}}}"#
    );
    scene.operator("PUT", "/enrollments/press-17", &body).await.with_status(200);
    let register =
        Ask::new("PUT", &scene.device_path("press-17", "/register")).chain(leaf.chain()).json("{}");
    let poll = |operation: &str| {
        Ask::new("GET", &scene.device_path("press-17", &format!("/operations/{operation}")))
            .chain(leaf.chain())
    };
    let assigned = check_settles(&scene, register.clone(), poll, "assigned").await;
    assert_eq!(assigned.at("/registrationState/x509"), serde_json::json!({}));

    let other = Credential::self_signed(Profile::leaf("press-17"));
    let refused = scene.send(register.chain(other.chain())).await.with_code(401_002);
    assert_eq!(refused.at("/message"), "Invalid certificate.");
}

#[tokio::test]
async fn a_chain_registers_by_its_group_and_a_token_beats_it() {
    let scene = scene().await;
    let root = Ca::root("line 7");
    let pem = root.pem().replace('\n', "\\n");
    let body = format!(
        r#"{{"enrollmentGroupId":"line-7","attestation":{{"type":"x509","x509":{{"signingCertificates":{{"primary":{{"certificate":"{pem}"}}}}}}}}}}"#
    );
    scene.operator("PUT", "/enrollmentGroups/line-7", &body).await.with_status(200);
    let leaf = root.leaf("press-17");
    let ask = |id: &str| {
        Ask::new("PUT", &scene.device_path(id, "/register")).chain(leaf.chain()).json("{}")
    };
    scene.send(ask("press-17")).await.with_status(202);
    scene.send(ask("press-18")).await.with_code(401_002);
    // The gateway's certificate is not the device's; the token is.
    scene.enroll("press-18").await;
    let token = scene.device_token(ClientStyle::C, "press-18", KEY);
    scene.send(ask("press-18").header("authorization", token)).await.with_status(202);
    let wrong = scene.device_token(ClientStyle::C, "press-17", KEY);
    scene.send(ask("press-17").header("authorization", wrong)).await.with_code(401_002);
}

#[tokio::test]
async fn a_disabled_device_is_told_so_when_it_polls() {
    let scene = scene().await;
    let body = super::scene::symmetric_enrollment("dev-1").replacen(
        '{',
        r#"{"provisioningStatus":"disabled","#,
        1,
    );
    scene.operator("PUT", "/enrollments/dev-1", &body).await.with_status(200);
    let poll = |operation: &str| poll(&scene, "dev-1", operation);
    let disabled = check_settles(&scene, scene.register("dev-1"), poll, "disabled").await;
    assert_eq!(disabled.at("/registrationState/status"), "disabled");
    assert_eq!(disabled.at("/registrationState/assignedHub"), serde_json::Value::Null);
    assert!(!disabled.text.contains("null"));
}

#[tokio::test]
async fn a_status_look_up_shows_the_bare_result() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let look_up = Ask::new("POST", &scene.device_path("dev-1", ""))
        .header("authorization", scene.device_token(ClientStyle::CSharp, "dev-1", KEY))
        .json(r#"{"registrationId":"dev-1"}"#);
    scene.send(look_up.clone()).await.with_code(404_203);
    scene.send(scene.register("dev-1")).await.with_status(202);
    let found = scene.send(look_up).await.with_status(200);
    assert_eq!(found.at("/status"), "assigned");
    assert_eq!(found.at("/registrationId"), "dev-1");
    assert_eq!(found.at("/operationId"), serde_json::Value::Null);
}

#[tokio::test]
async fn a_short_token_outlives_itself_for_its_own_operation() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let token = scene.device_token(ClientStyle::Identityd, "dev-1", KEY);
    let register = Ask::new("PUT", &scene.device_path("dev-1", "/register"))
        .header("authorization", &token)
        .json("{}");
    let operation = scene.send(register.clone()).await.text_at("/operationId");
    scene.advance_secs(30 + 301);
    let path = scene.device_path("dev-1", &format!("/operations/{operation}"));
    let poll = Ask::new("GET", &path).header("authorization", &token);
    scene.send(poll).await.with_status(200);
    scene.send(register).await.with_status(401);
}

/// A device's request that is refused; one line changes a good one.
async fn check_refused(change: impl Fn(&Scene, Ask) -> Ask, code: u32) {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let good = scene.register("dev-1");
    let reply = scene.send(change(&scene, good.clone())).await.with_code(code);
    assert!(!reply.text.contains("operationId") && !reply.text.contains("null"), "{reply:?}");
    scene.send(good).await.with_status(202);
}

#[tokio::test]
async fn what_a_device_gets_wrong_is_named_by_its_code() {
    check_refused(
        |scene, _| Ask::new("PUT", &scene.device_path("dev-1", "/register")).json("{}"),
        401_002,
    )
    .await;
    check_refused(
        |scene, _| {
            let token = scene.device_token(ClientStyle::CSharp, "dev-2", KEY);
            Ask::new("PUT", &scene.device_path("dev-2", "/register"))
                .header("authorization", token)
                .json("{}")
        },
        401_002,
    )
    .await;
    check_refused(
        |scene, _| {
            Ask::new("PUT", &scene.device_path("dev-1", "/register"))
                .header(
                    "authorization",
                    scene
                        .device_token(ClientStyle::CSharp, "dev-1", OTHER_KEY)
                        .replace("sig=", "sig=A"),
                )
                .json("{}")
        },
        401_002,
    )
    .await;
    for garbage in [&b"Bearer x"[..], b"SharedAccessSignature", b"", b"\xff\xfe"] {
        check_refused(
            |scene, _| {
                Ask::new("PUT", &scene.device_path("dev-1", "/register"))
                    .header("authorization", garbage)
                    .json("{}")
            },
            401_002,
        )
        .await;
    }
    check_refused(
        |scene, _| {
            let path =
                scene.device_path("dev-1", "/register").replace(&scene.id_scope, "0neFFFFFFFF");
            Ask::new("PUT", &path)
                .header("authorization", scene.device_token(ClientStyle::CSharp, "dev-1", KEY))
                .json("{}")
        },
        404_000,
    )
    .await;
    check_refused(|_, good| good.body(r#"{"registrationId":"dev-2"}"#), 400_004).await;
    check_refused(|_, good| good.body(r#"{"registrationId":"dev-1""#), 400_004).await;
    check_refused(|_, good| good.body(r#"{"registrationId":7}"#), 400_004).await;
    check_refused(|_, good| good.body(r#"{"tpm":{"endorsementKey":"%"}}"#), 400_004).await;
    check_refused(|_, good| good.body("[]"), 400_004).await;
    check_refused(|_, good| good.body(b"\xff"), 400_004).await;
    check_refused(|_, good| good.body("[".repeat(5000)), 400_004).await;
    check_refused(
        |_, good| good.body(format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 * 1024))),
        400_004,
    )
    .await;
    check_refused(|_, good| good.body(vec![b' '; 1024 * 1024 + 1]), 413_000).await;
    check_refused(
        |scene, _| scene.register("dev-1").header("x-more", "y").body("<a/>").header("x", "y"),
        400_004,
    )
    .await;
    check_refused(
        |scene, _| poll(scene, "dev-1", "4.0bdadb0c47c2d6b4.4a081f01-f5f2-4d1c-87c5-af533f1a3958"),
        404_204,
    )
    .await;
    check_refused(|scene, _| poll(scene, "dev-1", "a%2Fb"), 404_204).await;
}

#[tokio::test]
async fn another_devices_operation_is_not_shown() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    scene.enroll("dev-2").await;
    let operation = scene.send(scene.register("dev-1")).await.text_at("/operationId");
    scene.send(poll(&scene, "dev-2", &operation)).await.with_code(404_204);
}

#[tokio::test]
async fn an_unknown_api_version_is_answered_with_those_we_know() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let token = scene.device_token(ClientStyle::CSharp, "dev-1", KEY);
    let path = format!("/{}/registrations/dev-1/register", scene.id_scope);
    for (query, code) in [("", 400_001), ("?api-version=", 400_001), ("?api-version=1999", 400_002)]
    {
        let ask = Ask::new("PUT", &format!("{path}{query}")).header("authorization", &token);
        let refused = scene.send(ask.json("{}")).await.with_code(code);
        let message = refused.text_at("/message");
        assert!(message.contains("2019-03-31") && message.contains("2021-10-01"), "{message}");
    }
}

#[tokio::test]
async fn the_location_names_the_host_that_was_addressed() {
    let scene = scene().await;
    scene.enroll("dev-1").await;
    let check = async |ask: Ask, host: &str| {
        let accepted = scene.send(ask).await.with_status(202);
        assert!(accepted.header("location").starts_with(&format!("https://{host}/")));
    };
    check(scene.register("dev-1").host("global.example.test:8443"), "global.example.test:8443")
        .await;
    check(scene.register("dev-1").host(""), SERVICE).await;
    // The absolute form of RFC 9112 §3.2.2.
    let request = Request::put(format!(
        "https://abs.example.test{}",
        scene.device_path("dev-1", "/register")
    ))
    .header("host", "other.example.test")
    .header("authorization", scene.device_token(ClientStyle::CSharp, "dev-1", KEY))
    .body("{}".into())
    .expect("legal");
    let response = scene.door.handle(request, &peer(Vec::new())).await;
    let location = response.headers().get("location").expect("location");
    assert!(location.to_str().expect("text").starts_with("https://abs.example.test/"));
}

#[tokio::test]
async fn a_full_service_says_when_to_ask_again() {
    let scene = scene().await;
    scene.put_group("line-7").await;
    for n in 0..MAX_REGISTRATIONS {
        scene.register_by_group(&format!("dev-{n}")).await.with_status(202);
    }
    let refused = scene.register_by_group("one-more").await.with_code(429_002);
    assert_eq!(refused.header("retry-after"), "3");
    scene.register_by_group("dev-0").await.with_status(202);
}
