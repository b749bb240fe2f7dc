//! Connections: versions of TLS, one connection for register and polls, restarts in between, and
//! operations of others (D §0.3, §1).

use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::json;
use testkit::Ca;

use crate::world::{
    Device, HUBS, SERVICE, Scene, World,
    device::accepted,
    enrollments::{by_key, group, group_by_ca, individual, primary_key},
    within,
};

async fn key_device(world: &World, id: &str) -> Device {
    let enrollment = world.service().create(&individual(id), &by_key(id)).await;
    Device::with_key(id, primary_key(&enrollment))
}

#[tokio::test]
async fn clients_of_tls_1_2_alone_and_of_tls_1_3_alone_register_with_certificates_and_with_keys() {
    let world = Scene::new().start().await;
    let ca = Ca::root("Works Root").intermediate("line-4");
    world.service().create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    let with_key = key_device(&world, "press-1").await;
    let with_certificate = Device::with_certificate("press-2", &ca.leaf("press-2"));
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        for device in [&with_key, &with_certificate] {
            let mut connection = device.tls(&world).version(version).connect(SERVICE).await;
            assert_eq!(connection.version, expected);
            let state = device.register_over(&world, &mut connection).await.assigned();
            assert_eq!(state["assignedHub"], HUBS[0], "{} over {expected:?}", device.id);
        }
    }
}

#[tokio::test]
async fn one_connection_serves_several_registrations_their_polls_and_a_refusal_in_between() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let stranger = Device::with_key("press-2", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let mut connection = world.tls().connect(SERVICE).await;
    for _ in 0..3 {
        device.register_over(&world, &mut connection).await.assigned();
        let refused = stranger.start(&world, &mut connection).await;
        assert_eq!(refused.refused(401_002), "Unauthorized");
    }
}

#[tokio::test]
async fn a_status_look_up_shows_what_the_last_poll_showed() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let mut connection = world.tls().connect(SERVICE).await;
    let scope = world.id_scope();
    let early = device.send(&mut connection, scope, "POST", "", "").await;
    early.refused(404_203);
    let state = device.register_over(&world, &mut connection).await.assigned();
    let body = json!({"registrationId": "press-1"}).to_string();
    let shown = device.send(&mut connection, scope, "POST", "", body).await.expect(200);
    assert_eq!(shown, state);
}

#[tokio::test]
async fn an_operation_begun_before_a_restart_is_answered_after_it() {
    let mut world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let mut connection = world.tls().connect(SERVICE).await;
    let operation = accepted(&device.start(&world, &mut connection).await);
    let (record, identity) =
        (world.record("press-1").await, world.identity(HUBS[0], "press-1").await);
    let scope = world.id_scope().to_owned();
    drop(connection);

    world.restart(Scene::new()).await;
    assert_eq!(world.id_scope(), scope, "an instance keeps its ID scope");
    let mut connection = world.tls().connect(SERVICE).await;
    let body = device.poll(&world, &mut connection, &operation).await.expect(200);
    let state = &body["registrationState"];
    assert_eq!(state["status"], "assigned");
    let after = (world.record("press-1").await, world.identity(HUBS[0], "press-1").await);
    assert_eq!(after, (record.clone(), identity));
    assert_eq!(record.expect("a record")["etag"], state["etag"]);
    // And the device goes on as before.
    let again = device.register(&world).await.assigned();
    assert_eq!(again["createdDateTimeUtc"], state["createdDateTimeUtc"]);
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_idle_connections() {
    let patient = || Scene::new().listen("shutdown_grace_secs = 600");
    let mut world = patient().start().await;
    let device = key_device(&world, "press-1").await;
    let mut kept = world.tls().connect(SERVICE).await;
    device.register_over(&world, &mut kept).await.assigned();
    world.restart(patient()).await;
    device.register(&world).await.assigned();
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    let world = Scene::new().listen("idle_timeout_secs = 1").start().await;
    let device = key_device(&world, "press-1").await;
    let mut connection = world.tls().connect(SERVICE).await;
    device.register_over(&world, &mut connection).await.assigned();
    within("the end of an idle connection", connection.closed()).await;
}

#[tokio::test]
async fn a_device_cannot_poll_anothers_operation_nor_in_anothers_name() {
    let world = Scene::new().start().await;
    let one = key_device(&world, "press-1").await;
    let other = key_device(&world, "press-2").await;
    let mut connection = world.tls().connect(SERVICE).await;
    let operation = accepted(&one.start(&world, &mut connection).await);
    other.register_over(&world, &mut connection).await.assigned();

    other.poll(&world, &mut connection, &operation).await.refused(404_204);
    let mut in_its_name = other.clone();
    in_its_name.id.clone_from(&one.id);
    let refused = in_its_name.poll(&world, &mut connection, &operation).await;
    assert_eq!(refused.refused(401_002), "Unauthorized");
    one.poll(&world, &mut connection, "5.0000000000000000.nonsense").await.refused(404_204);
    one.poll(&world, &mut connection, &operation).await.expect(200);
}

#[tokio::test]
async fn the_oddities_of_the_vendors_clients_are_no_errors() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "press-1").await;
    let mut connection = world.tls().connect(SERVICE).await;
    let operation = accepted(&device.start(&world, &mut connection).await);
    let scope = world.id_scope();
    let token = device.authorization(scope, 3600).expect("a token");
    // Header names in odd case, one without its hyphen, a coding that is none, a body on GET, a
    // legacy query member, and a path in lower-case escapes (D §1.1, §1.2).
    let headers = [
        ("AUTHORIZATION", token.as_str()),
        ("UserAgent", "prov_device_client/1.0"),
        ("Content-Encoding", "utf-8"),
        ("Content-Type", "application/json; charset=utf-8"),
    ];
    let polled = format!(
        "/{scope}/registrations/press%2d1/operations/{operation}\
         ?forceRegistration=true&api-version=2019-03-31"
    );
    let body = connection.send("GET", &polled, &headers, b"{}".to_vec()).await.expect(200);
    assert_eq!(body["status"], "assigned");
    let register = format!("/{scope}/registrations/press%2D1/register?api-version=2019-03-31");
    for body in ["", "{}", r#"{"payload": null}"#, r#"{"payload": "{\"a\": 1}", "later": [1]}"#] {
        let reply = connection.send("PUT", &register, &headers, body.into()).await;
        accepted(&reply);
        let location = reply.header("location").to_owned();
        assert!(
            location.ends_with(&format!("/{scope}/registrations/press-1/register")),
            "{location}"
        );
    }
}

#[tokio::test]
async fn a_registration_id_in_another_letter_case_is_the_same_device() {
    let world = Scene::new().start().await;
    let device = key_device(&world, "Press-1").await;
    let first = device.register(&world).await.assigned();
    let mut shouting = device.clone();
    shouting.id = "PRESS-1".to_owned();
    let again = shouting.register(&world).await.assigned();
    assert_eq!(again["deviceId"], first["deviceId"]);
    assert_eq!(again["createdDateTimeUtc"], first["createdDateTimeUtc"]);
    let listed = world.hub(HUBS[0]).get("/devices").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}
