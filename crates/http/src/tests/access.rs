//! Who may do what: every endpoint with no credentials, with too few, and with enough.

use model::{HubName, PolicyScope, Right, SymmetricKey};

use super::scene::{Ask, HUB, KEY, SERVICE, Scene, scene};
use crate::routes::{Area, ROUTES, Route};

/// The endpoints that ask for no operator's token, one a line: method and path.
const WITHOUT_CREDENTIALS: &str = include_str!("../../tests/endpoints-without-credentials.txt");

fn hub_scope() -> PolicyScope {
    PolicyScope::Hub(HubName::parse(HUB).expect("legal"))
}

fn is_excepted(route: &Route) -> bool {
    let line = format!("{} {}", route.method, route.template);
    WITHOUT_CREDENTIALS.lines().any(|excepted| excepted == line)
}

/// A request to the endpoint, with a legal something for every `{…}`.
fn ask(route: &Route) -> Ask {
    let path: Vec<_> = route
        .template
        .split('/')
        .map(|part| match part {
            "{*}" => "a/b",
            part if part.starts_with('{') => "nobody",
            part => part,
        })
        .collect();
    let host = if route.area == Area::Hub { HUB } else { SERVICE };
    Ask::new(route.method.as_str(), &format!("{}?api-version=2021-10-01", path.join("/")))
        .host(host)
        .json("{}")
}

fn scope(route: &Route) -> PolicyScope {
    if route.area == Area::Hub { hub_scope() } else { PolicyScope::Service }
}

fn token(scene: &Scene, route: &Route, policy: &str) -> String {
    match route.area {
        Area::Hub => scene.hub_token(policy),
        Area::Health | Area::Device | Area::Operator | Area::Manage => scene.service_token(policy),
    }
}

/// Whether the endpoint lets this request pass its guard.
async fn is_let_in(scene: &Scene, ask: Ask) -> bool {
    !matches!(scene.send(ask).await.status, 401 | 403)
}

#[test]
fn the_list_of_exceptions_is_neither_longer_nor_shorter_than_it_must_be() {
    let open: Vec<_> = ROUTES
        .iter()
        .filter(|route| route.right.is_none())
        .map(|route| format!("{} {}", route.method, route.template))
        .collect();
    let listed: Vec<_> =
        WITHOUT_CREDENTIALS.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    assert_eq!(open, listed);
}

/// O §1.2 with its `attestationmechanism` decided as §1.5 recommends, and H §2.2. What Induct adds
/// to enrollments needs their rights. What devices say and are told is `ServiceConnect` of their
/// hub, or the one right of the management API.
const RIGHTS: &str = "\
POST /enrollments/query EnrollmentRead
POST /enrollments EnrollmentWrite
POST /enrollments/{id}/attestationmechanism EnrollmentWrite
GET /enrollments/{id} EnrollmentRead
PUT /enrollments/{id} EnrollmentWrite
DELETE /enrollments/{id} EnrollmentWrite
POST /enrollmentGroups/query EnrollmentRead
POST /enrollmentGroups EnrollmentWrite
POST /enrollmentGroups/{id}/attestationmechanism EnrollmentWrite
GET /enrollmentGroups/{id} EnrollmentRead
PUT /enrollmentGroups/{id} EnrollmentWrite
DELETE /enrollmentGroups/{id} EnrollmentWrite
POST /registrations/{id}/query RegistrationStatusRead
GET /registrations/{id} RegistrationStatusRead
DELETE /registrations/{id} RegistrationStatusWrite
GET /induct/v1/service ServiceConfig
PATCH /induct/v1/service ServiceConfig
GET /induct/v1/ip-rules ServiceConfig
PUT /induct/v1/ip-rules ServiceConfig
GET /induct/v1/linked-hubs ServiceConfig
GET /induct/v1/linked-hubs/{name} ServiceConfig
PUT /induct/v1/linked-hubs/{name} ServiceConfig
DELETE /induct/v1/linked-hubs/{name} ServiceConfig
POST /induct/v1/linked-hubs/{name}/probe ServiceConfig
GET /induct/v1/certificates ServiceConfig
GET /induct/v1/certificates/{name} ServiceConfig
PUT /induct/v1/certificates/{name} ServiceConfig
DELETE /induct/v1/certificates/{name} ServiceConfig
POST /induct/v1/certificates/{name}/generateVerificationCode ServiceConfig
POST /induct/v1/certificates/{name}/verify ServiceConfig
GET /induct/v1/policies ServiceConfig
GET /induct/v1/policies/{name} ServiceConfig
PUT /induct/v1/policies/{name} ServiceConfig
DELETE /induct/v1/policies/{name} ServiceConfig
POST /induct/v1/policies/{name}/listkeys ServiceConfig
POST /induct/v1/policies/{name}/rotate ServiceConfig
GET /induct/v1/usage ServiceConfig
GET /induct/v1/audit ServiceConfig
GET /induct/v1/audit/verify ServiceConfig
GET /induct/v1/hubs/{hub}/events ServiceConfig
POST /induct/v1/hubs/{hub}/devices/{id}/messages ServiceConfig
GET /induct/v1/crls EnrollmentRead
PUT /induct/v1/crls EnrollmentWrite
GET /induct/v1/crls/{ca} EnrollmentRead
DELETE /induct/v1/crls/{ca} EnrollmentWrite
PUT /induct/v1/crls/{ca}/source ServiceConfig
DELETE /induct/v1/crls/{ca}/source ServiceConfig
POST /induct/v1/crls/{ca}/fetch ServiceConfig
POST /induct/v1/explain EnrollmentRead
GET /induct/v1/attempts EnrollmentRead
GET /induct/v1/attempts/{trackingId} EnrollmentRead
GET /induct/v1/topRefused EnrollmentRead
POST /induct/v1/simulate EnrollmentRead
GET /induct/v1/orphans RegistrationStatusRead
DELETE /induct/v1/orphans RegistrationStatusWrite
GET /induct/v1/orphans/count RegistrationStatusRead
DELETE /induct/v1/enrollmentGroups/{id} EnrollmentWrite
GET /induct/v1/enrollmentGroups/{id}/settings EnrollmentRead
PUT /induct/v1/enrollmentGroups/{id}/settings EnrollmentWrite
GET /induct/v1/bans EnrollmentRead
POST /induct/v1/bans EnrollmentWrite
GET /induct/v1/bans/{name} EnrollmentRead
DELETE /induct/v1/bans/{name} ServiceConfig
GET /induct/v1/deprovisionings ServiceConfig
POST /induct/v1/deprovisionings ServiceConfig
GET /induct/v1/deprovisionings/{id} ServiceConfig
GET /induct/v1/deprovisionings/{id}/devices ServiceConfig
POST /induct/v1/deprovisionings/{id}/apply ServiceConfig
GET /induct/v1/tpmEnrollmentGroups EnrollmentRead
GET /induct/v1/tpmEnrollmentGroups/{id} EnrollmentRead
PUT /induct/v1/tpmEnrollmentGroups/{id} EnrollmentWrite
DELETE /induct/v1/tpmEnrollmentGroups/{id} EnrollmentWrite
GET /induct/v1/enrollments/{id}/endorsement EnrollmentRead
PUT /induct/v1/enrollments/{id}/endorsement EnrollmentWrite
DELETE /induct/v1/enrollments/{id}/endorsement EnrollmentWrite
GET /induct/v1/events ServiceConnect
POST /induct/v1/devices/{id}/messages ServiceConnect
GET /devices RegistryRead
POST /devices RegistryWrite
POST /devices/query ServiceConnect
GET /devices/{id} RegistryRead
PUT /devices/{id} RegistryWrite
DELETE /devices/{id} RegistryWrite
DELETE /devices/{id}/commands ServiceConnect
GET /devices/{id}/modules RegistryRead
GET /devices/{id}/modules/{module} RegistryRead
PUT /devices/{id}/modules/{module} RegistryWrite
DELETE /devices/{id}/modules/{module} RegistryWrite
GET /twins/{id} ServiceConnect
PATCH /twins/{id} ServiceConnect
PUT /twins/{id} ServiceConnect
GET /twins/{id}/modules/{module} ServiceConnect
PATCH /twins/{id}/modules/{module} ServiceConnect
PUT /twins/{id}/modules/{module} ServiceConnect
POST /twins/{id}/methods ServiceConnect
POST /twins/{id}/modules/{module}/methods ServiceConnect
GET /messages/serviceBound/feedback ServiceConnect
DELETE /messages/serviceBound/feedback/{token} ServiceConnect
POST /messages/serviceBound/feedback/{token}/abandon ServiceConnect
GET /statistics/devices RegistryRead
GET /statistics/service RegistryRead";

#[test]
fn each_endpoint_asks_for_the_right_its_source_names() {
    let listed: Vec<_> = ROUTES
        .iter()
        .filter_map(|route| Some((route, route.right?)))
        .map(|(route, right)| format!("{} {} {}", route.method, route.template, right.name()))
        .collect();
    for line in RIGHTS.lines() {
        assert!(listed.iter().any(|listed| listed == line), "{line} is not in {listed:#?}");
    }
    let others = listed.iter().filter(|line| !RIGHTS.lines().any(|right| right == *line));
    let built = |line: &&String| {
        let built_later = ["/jobs", "onfiguration", "/messages/{*}", "digital"];
        !built_later.iter().any(|part| line.contains(part))
    };
    assert_eq!(others.filter(built).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[tokio::test]
async fn every_operator_endpoint_refuses_without_credentials() {
    let scene = scene().await;
    for route in ROUTES.iter().filter(|route| !is_excepted(route)) {
        let what = format!("{} {}", route.method, route.template);
        let reply = scene.send(ask(route)).await;
        assert_eq!(reply.status, 401, "{what}: {reply:?}");
        match route.area {
            Area::Hub => drop(reply.with_name(401, "IotHubUnauthorizedAccess")),
            Area::Health | Area::Device | Area::Operator | Area::Manage => {
                drop(reply.with_code(401_002))
            }
        }
        let stranger = SymmetricKey::parse(KEY).expect("key");
        let garbage = ["", "Bearer abc", "SharedAccessSignature sr=x", "\u{ff}"];
        let host = if route.area == Area::Hub { HUB } else { SERVICE };
        let forged = [
            scene.token(host, "provisioningserviceowner", &stranger),
            scene.token(host, "iothubowner", &stranger),
            scene.token(host, "no-such-policy", &stranger),
        ];
        for header in garbage.iter().map(ToString::to_string).chain(forged) {
            let reply = scene.send(ask(route).header("authorization", &header)).await;
            assert_eq!(reply.status, 401, "{what} with {header}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn every_operator_endpoint_refuses_too_few_rights_and_takes_just_enough() {
    let scene = scene().await;
    for route in ROUTES {
        let Some(right) = route.right else { continue };
        let what = format!("{} {}", route.method, route.template);
        let too_few: Vec<Right> = Right::ALL
            .into_iter()
            .filter(|other| !model::Rights::of(&[*other]).allow(right))
            .collect();
        scene.add_policy(scope(route), "too-few", &too_few).await;
        scene.add_policy(scope(route), "enough", &[right]).await;
        let with = |policy| ask(route).header("authorization", token(&scene, route, policy));
        assert!(!is_let_in(&scene, with("too-few")).await, "{what} with {too_few:?}");
        assert!(is_let_in(&scene, with("enough")).await, "{what} with {right:?}");
    }
}

#[tokio::test]
async fn a_missing_right_is_named_to_the_operator_and_not_to_the_hubs_caller() {
    let scene = scene().await;
    scene.add_policy(PolicyScope::Service, "reader", &[Right::EnrollmentRead]).await;
    let ask = Ask::new("DELETE", "/enrollments/a?api-version=2021-10-01")
        .header("authorization", scene.service_token("reader"));
    let refused = scene.send(ask).await;
    let message = refused.text_at("/message");
    assert!(message.contains("reader") && message.contains("EnrollmentWrite"), "{message}");
    scene.add_policy(hub_scope(), "reader", &[Right::RegistryRead]).await;
    let ask = Ask::new("DELETE", "/devices/a")
        .host(HUB)
        .header("authorization", scene.hub_token("reader"));
    scene.send(ask).await.with_name(401, "IotHubUnauthorizedAccess");
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_until_it_expires() {
    let scene = scene().await;
    scene.enroll("a").await;
    let owner = scene.owner("GET", "/enrollments/a");
    scene.send(owner.clone()).await.with_status(200);
    // Under any name that leads here, and with the port the client used.
    let on_port = scene.owner("GET", "/enrollments/a").host("dps.example.test:8443");
    scene.send(on_port).await.with_status(200);
    let hubs = Ask::new("GET", "/devices").host(HUB);
    scene
        .send(hubs.clone().header("authorization", scene.hub_token("iothubowner")))
        .await
        .with_status(200);
    let other_hub = hubs.clone().host("hub-2.example.test");
    scene
        .send(other_hub.header("authorization", scene.hub_token("iothubowner")))
        .await
        .with_status(401);
    let services = scene.service_token("provisioningserviceowner");
    scene.send(hubs.header("authorization", services)).await.with_status(401);
    scene.advance_secs(600 + 301);
    let expired = scene.send(owner).await.with_status(401);
    assert!(
        expired.text_at("/message").contains("expired")
            || expired.text_at("/message") == "Unauthorized"
    );
}

#[tokio::test]
async fn anyone_may_ask_whether_we_are_alive() {
    let scene = scene().await;
    for host in [SERVICE, HUB, ""] {
        let reply = scene.send(Ask::new("GET", "/healthz").host(host)).await.with_status(200);
        assert_eq!(reply.text, r#"{"status":"ok"}"#);
    }
}

#[tokio::test]
async fn a_hubs_path_on_another_host_says_so_and_names_no_hub() {
    let scene = scene().await;
    let reply = scene.send(Ask::new("GET", "/devices")).await.with_code(404_000);
    assert!(reply.text_at("/message").contains("host name of a hub"));
    assert!(!reply.text.contains(HUB), "{reply:?}");
    let reply = scene.hub("GET", "/enrollments/a", "").await.with_status(404);
    assert!(reply.text_at("/Message").contains("provisioning service"), "{reply:?}");
}
