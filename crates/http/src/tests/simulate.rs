//! Changes that are only thought of: by themselves, and as dry runs of what writes.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use model::{HubName, PolicyScope, RecordFilter, RegistrationId};
use serde_json::{Value, json};
use testkit::{Ca, SoftTpm};

use super::scene::{Ask, HUB, KEY, OTHER_KEY, Reply, Scene, scene, symmetric_enrollment};
use crate::openapi;
use crate::routes::{Area, ROUTES, Route};

const SIMULATE: &str = "/induct/v1/simulate";

/// Two groups whose devices have the same keys, and a device that also has an enrollment.
async fn works() -> Scene {
    let scene = scene().await;
    scene.put_group("line-4").await;
    scene.register_by_group("a").await.with_status(202);
    scene.register_by_group("b").await.with_status(202);
    scene.enroll("c").await;
    scene.send(scene.register("c")).await.with_status(202);
    scene.put_group("works").await;
    scene
}

async fn simulate(scene: &Scene, body: &Value) -> Reply {
    scene.operator("POST", SIMULATE, &body.to_string()).await
}

/// All that is kept, as far as an operator could have changed it.
async fn picture(scene: &Scene) -> String {
    let store = &scene.store;
    let hubs = [HUB, "hub-2.example.test"].map(|name| HubName::parse(name).expect("legal"));
    let mut parts = vec![
        format!("{:?}", store.audit_head().await.expect("read")),
        format!("{:?}", store.list_individuals(None, 100).await.expect("read")),
        format!("{:?}", store.list_groups(None, 100).await.expect("read")),
        format!("{:?}", store.list_records(&RecordFilter::All, None, 100).await.expect("read")),
        format!("{:?}", store.list_ca_certificates().await.expect("read")),
        format!("{:?}", store.list_bans(None, 100).await.expect("read")),
        format!("{:?}", store.list_crls().await.expect("read")),
        format!("{:?}", store.list_receipts(None, 100).await.expect("read")),
        format!("{:?}", store.service_facts().await.expect("read")),
        format!("{:?}", store.list_policies(&PolicyScope::Service).await.expect("read")),
        format!("{:?}", store.usage().await.expect("read")),
    ];
    for hub in hubs {
        parts.push(format!("{:?}", store.list_devices(&hub, None, 100).await.expect("read")));
    }
    parts.join("\n")
}

#[tokio::test]
async fn who_comes_back_through_which_group_is_said_before_a_group_goes() {
    let scene = works().await;
    let before = picture(&scene).await;
    let deleted = json!({"change": "delete", "enrollmentGroup": "LINE-4"});
    let told = simulate(&scene, &deleted).await.with_status(200);
    let line_4 = json!({"kind": "group", "group": "line-4"});
    let works = json!({"kind": "group", "group": "works"});
    let moves =
        |id: &str| json!({"registrationId": id, "effect": "moves", "from": line_4, "to": works});
    let expected = json!({
        "lookedAt": 3, "unchanged": 1, "loses": 0, "gains": 0, "moves": 2, "unknown": 0,
        "isWhole": true,
        "effects": [{"effect": "moves", "from": line_4, "to": works, "devices": 2}],
        "devices": [moves("a"), moves("b")],
    });
    assert_eq!(told.json(), expected);
    let disabled = json!({"change": "disable", "enrollmentGroup": "line-4", "maxNamed": 0});
    let told = simulate(&scene, &disabled).await.with_status(200);
    assert_eq!((told.at("/loses"), told.at("/moves")), (2.into(), 0.into()));
    assert_eq!(told.at("/devices"), json!([]));
    // Its own key is another than the one that the groups give it.
    let own = simulate(&scene, &json!({"change": "delete", "enrollment": "c"})).await;
    let expected = json!([{"effect": "loses", "from": {"kind": "enrollment"}, "devices": 1}]);
    assert_eq!(own.with_status(200).at("/effects"), expected);
    assert_eq!(picture(&scene).await, before);
    // And so it comes.
    scene.operator("DELETE", "/enrollmentGroups/line-4", "").await.with_status(204);
    scene.register_by_group("a").await.with_status(202);
    let record = scene.store.find_record(&RegistrationId::parse("a").expect("legal")).await;
    let entry = format!("{:?}", record.expect("read").expect("a record").enrollment);
    assert!(entry.contains("works"), "{entry}");
}

#[tokio::test]
async fn an_enrollment_is_put_as_the_vendor_has_it_and_shuts_its_device_out() {
    let scene = works().await;
    let mut own: Value = serde_json::from_str(&symmetric_enrollment("a")).expect("JSON");
    let put = json!({"change": "put", "enrollment": own});
    let told = simulate(&scene, &put).await.with_status(200);
    assert_eq!((told.at("/lookedAt"), told.at("/loses")), (1.into(), 1.into()));
    own["registrationId"] = "nobody".into();
    let nobody = simulate(&scene, &json!({"change": "put", "enrollment": own})).await;
    assert_eq!(nobody.with_status(200).at("/lookedAt"), 0);
    let ban = json!({"change": "put", "ban": {"registrationId": "b"}});
    let told = simulate(&scene, &ban).await.with_status(200);
    assert_eq!((told.at("/loses"), told.at("/devices/0/registrationId")), (1.into(), "b".into()));
    let other = json!({
        "enrollmentGroupId": "line-4",
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": {"primaryKey": OTHER_KEY, "secondaryKey": OTHER_KEY},
        },
    });
    let put = json!({"change": "put", "enrollmentGroup": other});
    let told = simulate(&scene, &put).await.with_status(200);
    assert_eq!((told.at("/moves"), told.at("/effects/0/to/group")), (2.into(), "works".into()));
}

#[tokio::test]
async fn what_cannot_be_done_cannot_be_thought_of_either() {
    let scene = works().await;
    let check = async |body: Value, code: u32| {
        simulate(&scene, &body).await.with_code(code);
    };
    check(json!({"change": "delete", "enrollment": "nobody"}), 404_201).await;
    check(json!({"change": "disable", "enrollmentGroup": "nobody"}), 404_202).await;
    check(json!({"change": "delete", "certificate": "nobody"}), 404_206).await;
    check(json!({"change": "lift", "ban": "registration:nobody"}), 404_208).await;
    check(json!({"change": "put", "enrollment": "a"}), 400_000).await;
    check(json!({"change": "put", "ban": {"thumbprint": "AB"}}), 400_000).await;
}

#[tokio::test]
async fn one_that_stops_early_says_so() {
    let scene = works().await;
    let body = json!({"change": "delete", "enrollmentGroup": "line-4", "maxDevices": 1});
    let told = simulate(&scene, &body).await.with_status(200);
    assert_eq!((told.at("/lookedAt"), told.at("/moves")), (1.into(), 1.into()));
    assert_eq!((told.at("/isWhole"), told.at("/stoppedBy")), (false.into(), "devices".into()));
}

/// A call that has a dry run.
struct Row {
    method: &'static str,
    template: &'static str,
    path: &'static str,
    body: fn(&Things) -> Value,
    /// What the dry run says of how many devices lose, gain and come back otherwise, where it does.
    effect: Option<[u64; 3]>,
}

/// What the rows are about.
struct Things {
    vendor: Ca,
    tpm: SoftTpm,
    ca: Ca,
    code: String,
}

const fn row(
    method: &'static str,
    template: &'static str,
    path: &'static str,
    body: fn(&Things) -> Value,
    effect: Option<[u64; 3]>,
) -> Row {
    Row { method, template, path, body, effect }
}

const NOTHING: fn(&Things) -> Value = |_| Value::Null;

const ROWS: &[Row] = &[
    row("PATCH", "service", "service", |_| json!({"disenrollEndsSessions": true}), None),
    row(
        "PUT",
        "ip-rules",
        "ip-rules",
        |_| json!([{"filterName": "a", "action": "Accept", "ipMask": "127.0.0.0/8"}]),
        None,
    ),
    row("POST", "bans", "bans", |_| json!({"registrationId": "a"}), Some([1, 0, 0])),
    row("DELETE", "bans/{name}", "bans/registration:banned", NOTHING, Some([0, 1, 0])),
    row(
        "PUT",
        "certificates/{name}",
        "certificates/new",
        |things| json!({"certificate": things.ca.pem()}),
        Some([0, 0, 0]),
    ),
    row("DELETE", "certificates/{name}", "certificates/plant-ca", NOTHING, Some([1, 0, 0])),
    row(
        "POST",
        "certificates/{name}/verify",
        "certificates/unproven/verify",
        |things| json!({"certificate": things.ca.leaf(&things.code).pem()}),
        Some([0, 0, 0]),
    ),
    row("DELETE", "enrollmentGroups/{id}", "enrollmentGroups/line-4", NOTHING, Some([0, 0, 3])),
    row(
        "PUT",
        "enrollmentGroups/{id}/settings",
        "enrollmentGroups/line-4/settings",
        |_| json!({"staleCrl": "refuse"}),
        Some([0, 0, 0]),
    ),
    row(
        "PUT",
        "tpmEnrollmentGroups/{id}",
        "tpmEnrollmentGroups/tpms",
        |things| {
            json!({
                "enrollmentGroupId": "tpms",
                "attestation": {
                    "type": "tpm",
                    "tpm": {"issuers": {"primary": {"certificate": things.vendor.pem()}}},
                },
            })
        },
        Some([0, 0, 0]),
    ),
    row("DELETE", "tpmEnrollmentGroups/{id}", "tpmEnrollmentGroups/old", NOTHING, Some([0, 0, 0])),
    row("DELETE", "orphans", "orphans", NOTHING, None),
    row(
        "PUT",
        "enrollments/{id}/endorsement",
        "enrollments/tpm-1/endorsement",
        |things| json!({"roots": {"primary": {"certificate": things.vendor.pem()}}}),
        Some([0, 0, 0]),
    ),
    row(
        "DELETE",
        "enrollments/{id}/endorsement",
        "enrollments/tpm-2/endorsement",
        NOTHING,
        Some([0, 0, 0]),
    ),
];

/// A scene in which every row has something to do.
async fn scene_for_all() -> (Scene, Things) {
    let scene = works().await;
    let things = Things {
        vendor: Ca::root("a vendor"),
        tpm: SoftTpm::new(),
        ca: Ca::root("plant"),
        code: String::new(),
    };
    let own = "/induct/v1/";
    let put = async |path: &str, body: Value| {
        scene.operator("PUT", path, &body.to_string()).await.with_status(200)
    };
    scene.register_by_group("banned").await.with_status(202);
    let ban = json!({"registrationId": "banned"}).to_string();
    scene.operator("POST", &format!("{own}bans"), &ban).await.with_status(200);
    for (name, verified) in [("plant-ca", true), ("unproven", false)] {
        let body = json!({"certificate": things.ca.pem(), "isVerified": verified});
        put(&format!("{own}certificates/{name}"), body).await;
    }
    let coded = format!("{own}certificates/unproven/generateVerificationCode");
    let code = scene.operator("POST", &coded, "").await.with_status(200);
    let things = Things { code: code.text_at("/verificationCode"), ..things };
    let x509 = json!({"type": "x509", "x509": {"caReferences": {"primary": "plant-ca"}}});
    let group = json!({"enrollmentGroupId": "plant", "attestation": x509});
    put("/enrollmentGroups/plant", group).await;
    let register = Ask::new("PUT", &scene.device_path("press-17", "/register"));
    let register = register.chain(things.ca.leaf("press-17").chain()).json("{}");
    scene.send(register).await.with_status(202);
    let issuers = json!({"primary": {"certificate": things.vendor.pem()}});
    let old = json!({
        "enrollmentGroupId": "old",
        "attestation": {"type": "tpm", "tpm": {"issuers": issuers}},
    });
    put(&format!("{own}tpmEnrollmentGroups/old"), old).await;
    let key = STANDARD.encode(things.tpm.endorsement_key());
    for id in ["tpm-1", "tpm-2"] {
        let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": key}});
        let enrollment = json!({"registrationId": id, "attestation": tpm});
        put(&format!("/enrollments/{id}"), enrollment).await;
    }
    let demand = json!({"roots": issuers});
    put(&format!("{own}enrollments/tpm-2/endorsement"), demand).await;
    // An orphan.
    scene.put_group("lost").await;
    scene.operator("DELETE", "/enrollmentGroups/works", "").await.with_status(204);
    scene.operator("DELETE", "/enrollmentGroups/line-4", "").await.with_status(204);
    scene.register_by_group("orphan").await.with_status(202);
    scene.operator("DELETE", "/enrollmentGroups/lost", "").await.with_status(204);
    scene.put_group("line-4").await;
    scene.put_group("works").await;
    (scene, things)
}

/// What writes under our own paths, on whichever host.
fn writes() -> impl Iterator<Item = &'static Route> {
    ROUTES
        .iter()
        .filter(|route| route.template.starts_with(openapi::OWN) && route.method != Method::GET)
}

#[tokio::test]
async fn a_dry_run_tells_what_would_come_of_it_and_writes_nothing() {
    let have = |row: &Row, route: &Route| {
        route.method == row.method && route.template == format!("{}{}", openapi::OWN, row.template)
    };
    for route in writes().filter(|route| openapi::takes(route, "dryRun")) {
        let rows = ROWS.iter().filter(|row| have(row, route)).count();
        assert_eq!(rows, 1, "{} {}", route.method, route.template);
    }
    for row in ROWS {
        let (scene, things) = scene_for_all().await;
        let what = format!("{} {}", row.method, row.path);
        let body = match (row.body)(&things) {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let before = picture(&scene).await;
        let path = format!("{}{}", openapi::OWN, row.path);
        for unclear in ["dryRun=", "dryRun", "dryRun=yes"] {
            let path = format!("{path}?{unclear}");
            scene.operator(row.method, &path, &body).await.with_code(400_000);
        }
        let dry = scene.operator(row.method, &format!("{path}?dryRun=true"), &body).await;
        let dry = dry.with_status(200);
        assert_eq!(picture(&scene).await, before, "{what}");
        let counts = ["loses", "gains", "moves"].map(|name| dry.at(&format!("/simulation/{name}")));
        match row.effect {
            Some(expected) => assert_eq!(counts, expected.map(Value::from), "{what}: {dry:?}"),
            None => assert_eq!(dry.at("/simulation"), Value::Null, "{what}"),
        }
        // What cannot be written cannot be written for show either.
        if !["bans", "orphans"].iter().any(|part| row.template.starts_with(part)) {
            let path = format!("{path}?dryRun=true");
            let stale = scene.owner(row.method, &path).header("if-match", "b2xk");
            let refused = scene.send(stale.json(&body)).await;
            assert!([404, 412].contains(&refused.status), "{what}: {refused:?}");
        }
        let done = scene.operator(row.method, &format!("{path}?dryRun=false"), &body).await;
        assert!(done.status == 200 || done.status == 204, "{what}: {done:?}");
        assert!(!done.text.contains("simulation"), "{what}");
        assert_ne!(picture(&scene).await, before, "{what}");
    }
}

#[tokio::test]
async fn what_has_no_dry_run_refuses_one_and_does_nothing() {
    let (scene, _) = scene_for_all().await;
    let before = picture(&scene).await;
    let mut n_refused = 0;
    for route in writes().filter(|route| !openapi::takes(route, "dryRun")) {
        let segments = route.template.split('/').map(|segment| match segment.starts_with('{') {
            true => "plant-ca",
            false => segment,
        });
        let path = segments.collect::<Vec<_>>().join("/");
        for word in ["dryRun=true", "dryrun=false", "dryRun"] {
            let path = format!("{path}?{word}");
            let (method, body) = (route.method.as_str(), "{}");
            let refused = match route.area {
                Area::Hub => scene.hub(method, &path, body).await,
                _ => scene.operator(method, &path, body).await,
            };
            assert_eq!(refused.status, 400, "{method} {path}: {refused:?}");
            assert!(refused.text.contains("has no dry run"), "{method} {path}: {refused:?}");
        }
        n_refused += 1;
    }
    assert!(n_refused > 10, "{n_refused}");
    assert_eq!(picture(&scene).await, before);
    // The key is not told by the way.
    assert!(!before.contains(KEY));
}
