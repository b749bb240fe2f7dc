//! Deprovisioning: plans, applying them, receipts.

use model::{PolicyScope, Right};
use serde_json::{Value, json};
use testkit::Ca;

use super::scene::{Ask, HUB, Reply, Scene, scene};

const PATH: &str = "/induct/v1/deprovisionings";
const NOBODY: &str = "/induct/v1/deprovisionings/00000000-0000-4000-8000-000000000000";

async fn ask(scene: &Scene, method: &str, path: &str) -> Reply {
    scene.operator(method, path, "").await
}

async fn try_plan(scene: &Scene, intent: &str, select: Value) -> Reply {
    let body = json!({"select": select, "intent": intent, "reason": "stolen"});
    scene.operator("POST", PATH, &body.to_string()).await
}

async fn plan(scene: &Scene, intent: &str, select: Value) -> Reply {
    let plan = try_plan(scene, intent, select).await.with_status(200);
    assert_eq!((plan.at("/state"), plan.at("/intent")), ("planned".into(), intent.into()));
    plan
}

fn path(plan: &Reply) -> String {
    format!("{PATH}/{}", plan.text_at("/id"))
}

async fn apply(scene: &Scene, plan: &Reply) -> Reply {
    let done = ask(scene, "POST", &format!("{}/apply", path(plan))).await.with_status(200);
    assert_eq!((done.at("/state"), done.at("/progress/failed")), ("done".into(), 0.into()));
    done
}

async fn plan_and_apply(scene: &Scene, intent: &str, select: Value) -> Reply {
    let plan = plan(scene, intent, select).await;
    apply(scene, &plan).await
}

/// What the receipt says of its devices.
async fn devices(scene: &Scene, receipt: &Reply) -> Value {
    ask(scene, "GET", &format!("{}/devices", path(receipt))).await.with_status(200).json()
}

/// A group with so many devices, `line-4-0` and so on.
async fn a_group(scene: &Scene, n: usize) {
    scene.put_group("line-4").await;
    for n in 0..n {
        scene.register_by_group(&format!("line-4-{n}")).await.with_status(202);
    }
}

async fn registers(scene: &Scene, id: &str) -> bool {
    scene.register_by_group(id).await.status == 202
}

#[tokio::test]
async fn a_plan_says_what_would_be_done_and_does_nothing() {
    let scene = scene().await;
    a_group(&scene, 2).await;
    let plan = plan(&scene, "retire", json!({"group": "line-4"})).await;
    assert_eq!(plan.at("/reason"), "stolen");
    assert_eq!(plan.at("/select"), json!({"group": "line-4"}));
    assert_eq!(
        plan.at("/wholes"),
        json!([{"act": "deleteGroup", "group": "line-4", "outcome": "planned"}])
    );
    let totals = plan.at("/plan");
    let count = |name: &str| totals[name].clone();
    assert_eq!((count("devices"), count("records"), count("bans")), (2.into(), 2.into(), 2.into()));
    assert_eq!((count("stillAdmitted"), count("enrollments")), (0.into(), 0.into()));
    let on_hubs = totals["identities"].as_array().expect("hubs").iter();
    assert_eq!(on_hubs.map(|hub| hub["devices"].as_u64().expect("a count")).sum::<u64>(), 2);
    let devices = devices(&scene, &plan).await;
    assert_eq!(devices[0]["registrationId"], "line-4-0");
    assert_eq!((&devices[0]["state"], &devices[0]["number"]), (&json!("pending"), &json!(1)));
    assert_eq!(devices[0]["plan"]["enrollment"], json!({"group": "line-4"}));
    assert_eq!(devices[0]["plan"]["bans"], json!(["registration:line-4-0"]));
    assert_eq!(devices[0]["plan"]["stillAdmitted"], "no");
    assert_eq!(ask(&scene, "GET", &path(&plan)).await.with_status(200).text, plan.text);
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
    assert!(registers(&scene, "line-4-0").await);
}

#[tokio::test]
async fn who_is_suspended_stays_out_until_reinstated() {
    let scene = scene().await;
    a_group(&scene, 3).await;
    let select = json!({"registrationIds": ["line-4-0", "LINE-4-1"]});
    let receipt = plan_and_apply(&scene, "suspend", select.clone()).await;
    assert_eq!(receipt.at("/progress/done"), 2);
    assert_eq!(receipt.at("/appliedBy"), "provisioningserviceowner");
    for (id, is_in) in [("line-4-0", false), ("line-4-1", false), ("line-4-2", true)] {
        assert_eq!(registers(&scene, id).await, is_in, "{id}");
        // Only removal removes the record.
        ask(&scene, "GET", &format!("/registrations/{id}")).await.with_status(200);
    }
    let again = plan_and_apply(&scene, "suspend", select).await;
    assert_eq!((again.at("/plan/devices"), again.at("/plan/unchanged")), (0.into(), 2.into()));
    let undo = json!({"receipt": receipt.text_at("/id")});
    let undone = plan_and_apply(&scene, "reinstate", undo.clone()).await;
    assert_eq!(undone.at("/progress/done"), 2);
    assert!(registers(&scene, "line-4-0").await && registers(&scene, "line-4-1").await);
    let again = plan_and_apply(&scene, "reinstate", undo).await;
    assert_eq!(again.at("/plan/devices"), 0);
}

#[tokio::test]
async fn who_is_retired_comes_back_by_an_enrollment_of_its_own_only() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    let receipt = plan_and_apply(&scene, "retire", json!({"registrationIds": ["line-4-0"]})).await;
    let device = &devices(&scene, &receipt).await[0];
    let done: Vec<_> = device["parts"].as_array().expect("parts").iter().collect();
    for did in ["banSet", "recordDeleted", "identityDeleted"] {
        assert!(done.iter().any(|part| part["did"] == did), "{did}: {device}");
    }
    assert!(!registers(&scene, "line-4-0").await);
    ask(&scene, "GET", "/registrations/line-4-0").await.with_code(404_203);
    scene.enroll("line-4-0").await;
    scene.send(scene.register("line-4-0")).await.with_status(202);
}

#[tokio::test]
async fn who_is_revoked_stays_out_until_the_bans_are_lifted() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    plan_and_apply(&scene, "revoke", json!({"group": "line-4"})).await;
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_code(404_202);
    scene.put_group("line-4").await;
    assert!(!registers(&scene, "line-4-0").await);
    scene.enroll("line-4-0").await;
    assert_ne!(scene.send(scene.register("line-4-0")).await.status, 202);
    let ban = ask(&scene, "GET", "/induct/v1/bans/registration:line-4-0").await.with_status(200);
    assert_eq!((ban.at("/kind"), ban.at("/reason")), ("revoked".into(), "stolen".into()));
    ask(&scene, "DELETE", "/induct/v1/bans/registration:line-4-0").await.with_status(200);
    scene.send(scene.register("line-4-0")).await.with_status(202);
}

#[tokio::test]
async fn applying_a_plan_again_answers_the_same_receipt() {
    let scene = scene().await;
    a_group(&scene, 2).await;
    let plan = plan(&scene, "revoke", json!({"group": "line-4"})).await;
    let done = apply(&scene, &plan).await;
    assert_eq!(apply(&scene, &plan).await.text, done.text);
    assert_eq!(ask(&scene, "GET", &path(&plan)).await.text, done.text);
    let audit = ask(&scene, "GET", "/induct/v1/audit?action=deprovision.apply").await;
    assert_eq!(audit.with_status(200).json().as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_receipt_says_how_soon_the_last_session_was_closed() {
    let scene = scene().await;
    scene.add_device("press-17").await;
    let (session, commands) = scene.connect("press-17").await;
    let line = tokio::spawn(async move {
        session.ended().await;
        drop((session, commands));
    });
    let select = json!({
        "hub": HUB,
        "twins": {"query": "SELECT * FROM devices WHERE deviceId = 'press-17'"},
    });
    let plan = plan(&scene, "suspend", select).await;
    assert_eq!((plan.at("/plan/devices"), plan.at("/plan/sessions")), (1.into(), 1.into()));
    let done = apply(&scene, &plan).await;
    line.await.expect("closed");
    assert_eq!(done.at("/sessions/ended"), 1);
    assert!(done.at("/sessions/closedAfterMs").as_f64().is_some_and(|ms| ms > 0.0), "{done:?}");
    let device = &devices(&scene, &done).await[0];
    assert_eq!(device["sessions"]["closed"], "closed");
    assert_eq!(device["sessions"]["closedAfterMs"], done.at("/sessions/closedAfterMs"));
    let identity = scene.hub("GET", "/devices/press-17", "").await.with_status(200);
    assert_eq!(identity.at("/status"), "disabled");
}

#[tokio::test]
async fn who_does_not_wait_asks_again_how_far_it_is() {
    let scene = scene().await;
    a_group(&scene, 3).await;
    let body = json!({"select": {"group": "line-4"}, "intent": "suspend"}).to_string();
    let begun = scene.operator("POST", &format!("{PATH}?wait=0"), &body).await.with_status(202);
    let path = path(&begun);
    assert_eq!((begun.at("/state"), begun.header("location")), ("planning".into(), path.as_str()));
    assert_eq!(begun.header("retry-after"), "1");
    let until = async |state: &str| {
        loop {
            let now = ask(&scene, "GET", &path).await.with_status(200);
            if now.at("/state") == state {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(until("planned").await.at("/plan/devices"), 3);
    let apply = ask(&scene, "POST", &format!("{path}/apply?wait=0")).await.with_status(202);
    assert_eq!(apply.at("/state"), "applying");
    // Nobody waits, so it is the worker's.
    scene.app.work_off_deprovisionings().await.expect("worked off");
    assert_eq!(until("done").await.at("/progress/done"), 3);
    ask(&scene, "POST", &format!("{path}/apply?wait=0")).await.with_status(200);
    for bad in ["-1", "61", "soon"] {
        let path = format!("{PATH}?wait={bad}");
        scene.operator("POST", &path, &body).await.with_code(400_000);
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    let check = async |intent: &str, select: Value, code: u32| {
        try_plan(&scene, intent, select).await.with_code(code);
    };
    check("retire", json!({}), 400_000).await;
    check("retire", json!({"registrationIds": []}), 400_000).await;
    check("erase", json!({"group": "line-4"}), 400_000).await;
    check("retire", json!({"groups": "line-4"}), 400_000).await;
    check("retire", json!({"records": {}}), 400_000).await;
    check("retire", json!({"certificate": "MAIwAA=="}), 400_000).await;
    check("retire", json!({"group": "line-9"}), 404_202).await;
    check("retire", json!({"hub": "hub-9.example.test"}), 404_205).await;
    check("reinstate", json!({"receipt": "00"}), 404_209).await;
    let retired = plan(&scene, "retire", json!({"group": "line-4"})).await;
    check("reinstate", json!({"receipt": retired.text_at("/id")}), 400_000).await;
    for path in [NOBODY, "/induct/v1/deprovisionings/x", "/induct/v1/deprovisionings/%00"] {
        ask(&scene, "GET", path).await.with_code(404_209);
        ask(&scene, "GET", &format!("{path}/devices")).await.with_code(404_209);
        ask(&scene, "POST", &format!("{path}/apply")).await.with_code(404_209);
    }
    ask(&scene, "GET", &format!("{}/devices?state=open", path(&retired))).await.with_code(400_000);
}

#[tokio::test]
async fn a_plan_is_good_for_a_day() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    let plan = plan(&scene, "retire", json!({"group": "line-4"})).await;
    scene.advance_secs(24 * 3600 + 1);
    let late = ask(&scene, "POST", &format!("{}/apply", path(&plan))).await.with_status(400);
    assert!(late.text_at("/message").contains("too old"), "{late:?}");
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
}

#[tokio::test]
async fn receipts_and_their_devices_come_page_by_page() {
    let scene = scene().await;
    a_group(&scene, 3).await;
    let first = plan_and_apply(&scene, "suspend", json!({"group": "line-4"})).await;
    scene.advance_secs(1);
    let latest = plan(&scene, "retire", json!({"registrationIds": ["line-4-0"]})).await;
    let page = async |path: &str, token: &str| {
        let ask = scene.owner("GET", path).header("x-ms-max-item-count", "2");
        let ask = if token.is_empty() { ask } else { ask.header("x-ms-continuation", token) };
        scene.send(ask).await
    };
    let listed = ask(&scene, "GET", PATH).await.with_status(200);
    assert_eq!(listed.header("x-ms-item-type"), "Deprovisioning");
    assert_eq!((listed.at("/0/id"), listed.at("/1/id")), (latest.at("/id"), first.at("/id")));
    let of_first = format!("{}/devices", path(&first));
    let begin = page(&of_first, "").await.with_status(200);
    assert_eq!((begin.at("/1/number"), begin.at("/2")), (2.into(), Value::Null));
    let token = begin.header("x-ms-continuation").to_owned();
    let end = page(&of_first, &token).await.with_status(200);
    assert_eq!((end.at("/0/number"), end.at("/1")), (3.into(), Value::Null));
    assert_eq!(end.header("x-ms-continuation"), "");
    page(&format!("{}/devices", path(&latest)), &token).await.with_status(400);
    page(PATH, &token).await.with_status(400);
    let failed = ask(&scene, "GET", &format!("{of_first}?state=failed")).await.with_status(200);
    assert_eq!(failed.json(), json!([]));
    let done = ask(&scene, "GET", &format!("{of_first}?state=done")).await.with_status(200);
    assert_eq!(done.json().as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_ca_that_is_given_as_a_file_is_banned_as_a_whole() {
    let scene = scene().await;
    let ca = Ca::root("factory");
    let receipt = plan_and_apply(&scene, "revoke", json!({"certificate": ca.pem()})).await;
    assert_eq!(receipt.at("/wholes/0/act"), "setBan");
    assert_eq!(receipt.at("/wholes/0/subject"), "CN=factory");
    assert_eq!(receipt.at("/wholes/0/outcome"), "done");
    let ban = format!("/induct/v1/bans/{}", receipt.text_at("/wholes/0/ban"));
    let ban = ask(&scene, "GET", &ban).await.with_status(200);
    assert_eq!((ban.at("/about"), ban.at("/receipt")), ("ca".into(), receipt.at("/id")));
    let leaf = ca.leaf("press-17");
    let receipt = plan_and_apply(&scene, "revoke", json!({"certificate": leaf.pem()})).await;
    assert!(receipt.text_at("/wholes/0/ban").starts_with("sha256:"), "{receipt:?}");
}

#[tokio::test]
async fn whoever_may_only_enroll_may_not_deprovision() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    let plan = plan(&scene, "retire", json!({"group": "line-4"})).await;
    scene.add_policy(PolicyScope::Service, "editor", &[Right::EnrollmentWrite]).await;
    for (method, path) in
        [("GET", path(&plan)), ("POST", format!("{}/apply", path(&plan))), ("GET", PATH.to_owned())]
    {
        let ask = Ask::new(method, &path).header("authorization", scene.service_token("editor"));
        scene.send(ask).await.with_code(401_003);
    }
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
}

/// A key of the provisioning line keeps devices out, and lets in nobody who is revoked.
#[tokio::test]
async fn whoever_may_only_enroll_may_neither_lift_nor_shorten_a_revocation() {
    let scene = scene().await;
    a_group(&scene, 1).await;
    let receipt = plan_and_apply(&scene, "revoke", json!({"registrationIds": ["line-4-0"]})).await;
    let rights = [Right::EnrollmentWrite, Right::EnrollmentRead];
    scene.add_policy(PolicyScope::Service, "editor", &rights).await;
    let path = "/induct/v1/bans/registration:line-4-0";
    for path in [path.to_owned(), format!("{path}?dryRun=true")] {
        let lift = Ask::new("DELETE", &path).header("authorization", scene.service_token("editor"));
        scene.send(lift).await.with_code(401_003);
    }
    let body = json!({"registrationId": "line-4-0", "expires": "2999-01-01T00:00:00Z"});
    let again = Ask::new("POST", "/induct/v1/bans")
        .header("authorization", scene.service_token("editor"))
        .json(body.to_string());
    scene.send(again).await.with_status(200);
    let ban = ask(&scene, "GET", path).await.with_status(200);
    assert_eq!((ban.at("/kind"), ban.at("/reason")), ("revoked".into(), "stolen".into()));
    assert_eq!((ban.at("/receipt"), ban.at("/expires")), (receipt.at("/id"), Value::Null));
    ask(&scene, "DELETE", path).await.with_status(200);
}
