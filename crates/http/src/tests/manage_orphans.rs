//! Registration records without an enrollment, groups that go with their records, and what is set
//! on groups.

use model::{PolicyScope, Right};
use serde_json::json;

use super::scene::{Ask, Reply, Scene, scene};

const ORPHANS: &str = "/induct/v1/orphans";
const LINE_4: &str = "/induct/v1/enrollmentGroups/line-4";

async fn ask(scene: &Scene, method: &str, path: &str) -> Reply {
    scene.operator(method, path, "").await
}

async fn records(scene: &Scene, method: &str, path: &str) -> serde_json::Value {
    ask(scene, method, path).await.with_status(200).at("/records")
}

/// A group with these devices.
async fn a_group(scene: &Scene, id: &str, devices: &[&str]) {
    scene.put_group(id).await;
    for device in devices {
        scene.register_by_group(device).await.with_status(202);
    }
}

/// A group that is gone, and its devices' records.
async fn a_lost_group(scene: &Scene, id: &str, devices: &[&str]) {
    a_group(scene, id, devices).await;
    ask(scene, "DELETE", &format!("/enrollmentGroups/{id}")).await.with_status(204);
}

#[tokio::test]
async fn orphans_are_listed_page_by_page_with_the_group_they_rested_on() {
    let scene = scene().await;
    a_lost_group(&scene, "line-4", &["a", "b"]).await;
    a_lost_group(&scene, "line-5", &["c"]).await;
    a_group(&scene, "line-6", &["d"]).await;
    let page = |token: &str| {
        let ask = scene.owner("GET", ORPHANS).header("x-ms-max-item-count", "2");
        if token.is_empty() { ask } else { ask.header("x-ms-continuation", token) }
    };
    let first = scene.send(page("")).await.with_status(200);
    assert_eq!(first.header("x-ms-item-type"), "Orphan");
    assert_eq!(
        (first.at("/0/registrationId"), first.at("/1/registrationId")),
        ("a".into(), "b".into())
    );
    assert_eq!(
        (first.at("/0/enrollmentGroupId"), first.at("/0/status")),
        ("line-4".into(), "assigned".into())
    );
    let token = first.header("x-ms-continuation").to_owned();
    let last = scene.send(page(&token)).await.with_status(200);
    assert_eq!(last.at("/0/registrationId"), "c");
    assert_eq!((last.at("/1"), last.header("x-ms-continuation")), (json!(null), ""));
    // Its token is no one else's.
    let elsewhere = scene.owner("GET", "/induct/v1/tpmEnrollmentGroups");
    scene.send(elsewhere.header("x-ms-continuation", token)).await.with_code(400_000);
    let only = ask(&scene, "GET", &format!("{ORPHANS}?group=LINE-5")).await.with_status(200);
    assert_eq!((only.at("/0/registrationId"), only.at("/1")), ("c".into(), json!(null)));
}

#[tokio::test]
async fn orphans_are_counted_by_group_and_age() {
    let scene = scene().await;
    a_lost_group(&scene, "line-4", &["a", "b"]).await;
    scene.advance_secs(100);
    a_lost_group(&scene, "line-5", &["c"]).await;
    let check = async |query: &str, expected: u64| {
        let counted = ask(&scene, "GET", &format!("{ORPHANS}/count?{query}")).await;
        assert_eq!(counted.with_status(200).json(), json!({"records": expected}), "{query}");
        let told = ask(&scene, "DELETE", &format!("{ORPHANS}?dryRun=true&{query}")).await;
        let told = told.with_status(200);
        assert_eq!(told.json(), json!({"records": expected, "isDryRun": true, "isDone": true}));
    };
    check("", 3).await;
    check("group=line-4", 2).await;
    check("group=line-9", 0).await;
    check("olderThan=100", 0).await;
    check("olderThan=99", 2).await;
    check("olderThan=99&group=line-5", 0).await;
    for bad in ["olderThan=-1", "olderThan=1d", "group=a%20b", "dryRun=7"] {
        ask(&scene, "DELETE", &format!("{ORPHANS}?{bad}")).await.with_status(400);
    }
    assert_eq!(records(&scene, "GET", "/induct/v1/orphans/count").await, 3);
}

#[tokio::test]
async fn orphans_go_in_batches_and_their_devices_stay_on_the_hub() {
    let scene = scene().await;
    a_lost_group(&scene, "line-4", &["a", "b", "c"]).await;
    a_group(&scene, "line-6", &["d"]).await;
    let batch = |token: &str| {
        let ask = scene.owner("DELETE", ORPHANS).header("x-ms-max-item-count", "2");
        if token.is_empty() { ask } else { ask.header("x-ms-continuation", token) }
    };
    let first = scene.send(batch("")).await.with_status(200);
    assert_eq!(first.json(), json!({"records": 2, "isDryRun": false, "isDone": false}));
    let token = first.header("x-ms-continuation").to_owned();
    let last = scene.send(batch(&token)).await.with_status(200);
    assert_eq!(last.json(), json!({"records": 1, "isDryRun": false, "isDone": true}));
    assert_eq!(last.header("x-ms-continuation"), "");
    assert_eq!(records(&scene, "DELETE", ORPHANS).await, 0);
    ask(&scene, "GET", "/registrations/a").await.with_code(404_203);
    ask(&scene, "GET", "/registrations/d").await.with_status(200);
    let usage = ask(&scene, "GET", "/induct/v1/usage").await;
    assert_eq!(usage.at("/registrations/current"), 1);
    let mut there = 0;
    for hub in [super::scene::HUB, "hub-2.example.test"] {
        let hub = model::HubName::parse(hub).expect("legal");
        let devices = scene.store.list_devices(&hub, None, 10).await.expect("devices").items;
        there += devices.len();
    }
    assert_eq!(there, 4);
    let audit = ask(&scene, "GET", "/induct/v1/audit?target=orphans").await.with_status(200);
    assert_eq!(audit.at("/0/action"), "registration.delete-orphans");
    assert_eq!(
        audit.at("/0/before"),
        json!({"records": 2, "enrollmentGroups": ["line-4"], "registrationIds": ["a", "b"]})
    );
    assert_eq!(audit.json().as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_group_goes_with_its_records_when_that_is_said() {
    let scene = scene().await;
    a_group(&scene, "line-4", &["a", "b", "c"]).await;
    let with_records = format!("{LINE_4}?withRecords=true");
    let dry = ask(&scene, "DELETE", &format!("{with_records}&dryRun=true")).await.with_status(200);
    assert_eq!((dry.at("/records"), dry.at("/isDryRun")), (3.into(), true.into()));
    assert_eq!((dry.at("/isDone"), dry.at("/simulation/loses")), (true.into(), 3.into()));
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
    let stale = scene.owner("DELETE", &with_records).header("if-match", "\"b2xk\"");
    scene.send(stale).await.with_code(412_000);
    let batch = || scene.owner("DELETE", &with_records).header("x-ms-max-item-count", "2");
    let first = scene.send(batch()).await.with_status(200);
    let expected =
        json!({"enrollmentGroupId": "line-4", "records": 2, "isDryRun": false, "isDone": false});
    assert_eq!(first.json(), expected);
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_code(404_202);
    // The rest is deleted as orphans are, and a new group of that name has nothing to fear.
    let rest = scene.owner("DELETE", &format!("{ORPHANS}?group=line-4"));
    let rest = rest.header("x-ms-continuation", first.header("x-ms-continuation"));
    let rest = scene.send(rest).await.with_status(200);
    assert_eq!(rest.json(), json!({"records": 1, "isDryRun": false, "isDone": true}));
    ask(&scene, "DELETE", &with_records).await.with_code(404_202);
    let usage = ask(&scene, "GET", "/induct/v1/usage").await;
    assert_eq!(usage.at("/registrations/current"), 0);
}

#[tokio::test]
async fn what_was_left_of_a_group_is_finished_by_asking_again() {
    let scene = scene().await;
    a_lost_group(&scene, "line-4", &["a", "b"]).await;
    let again = ask(&scene, "DELETE", &format!("{LINE_4}?withRecords=true")).await;
    assert_eq!(again.with_status(200).at("/records"), 2);
}

#[tokio::test]
async fn without_records_a_group_goes_as_at_the_vendors_api() {
    let scene = scene().await;
    a_group(&scene, "line-4", &["a"]).await;
    let dry = ask(&scene, "DELETE", &format!("{LINE_4}?dryRun=true")).await.with_status(200);
    assert_eq!((dry.at("/records"), dry.at("/isDryRun")), (json!(0), json!(true)));
    ask(&scene, "DELETE", LINE_4).await.with_status(204);
    assert_eq!(records(&scene, "GET", "/induct/v1/orphans/count").await, 1);
    ask(&scene, "DELETE", LINE_4).await.with_code(404_202);
}

#[tokio::test]
async fn who_may_delete_records_may_delete_orphans_and_no_group() {
    let scene = scene().await;
    a_group(&scene, "line-4", &["a"]).await;
    a_lost_group(&scene, "line-3", &["b"]).await;
    scene.add_policy(PolicyScope::Service, "cleaner", &[Right::RegistrationStatusWrite]).await;
    scene.add_policy(PolicyScope::Service, "reader", &[Right::RegistrationStatusRead]).await;
    let by = |policy: &str, method: &str, path: &str| {
        Ask::new(method, path).header("authorization", scene.service_token(policy))
    };
    let with_records = format!("{LINE_4}?withRecords=true");
    scene.send(by("cleaner", "DELETE", &with_records)).await.with_code(401_003);
    scene.send(by("cleaner", "PUT", &format!("{LINE_4}/settings"))).await.with_code(401_003);
    scene.send(by("reader", "GET", ORPHANS)).await.with_status(200);
    scene.send(by("reader", "DELETE", ORPHANS)).await.with_code(401_003);
    let gone = scene.send(by("cleaner", "DELETE", ORPHANS)).await.with_status(200);
    assert_eq!(gone.at("/records"), 1);
    ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
}

#[tokio::test]
async fn settings_of_a_group_are_read_set_and_kept() {
    let scene = scene().await;
    let etag = scene.put_group("line-4").await.text_at("/etag");
    let settings = format!("{LINE_4}/settings");
    let unset = ask(&scene, "GET", &settings).await.with_status(200);
    let expected = format!(
        r#"{{"enrollmentGroupId":"line-4","disenrollEndsSessions":null,"staleCrl":null,"etag":"{etag}"}}"#
    );
    assert_eq!(unset.text, expected);
    let body = r#"{"disenrollEndsSessions":false,"staleCrl":"refuse"}"#;
    let dry = scene.operator("PUT", &format!("{settings}?dryRun=true"), body).await;
    assert_eq!(dry.with_status(200).at("/staleCrl"), "refuse");
    assert_eq!(ask(&scene, "GET", &settings).await.text, unset.text);
    let stale = scene.owner("PUT", &settings).header("if-match", "\"b2xk\"").json(body);
    scene.send(stale).await.with_code(412_000);
    let current = format!("\"{etag}\"");
    let put = scene.owner("PUT", &settings).header("if-match", current).json(body);
    let set = scene.send(put).await.with_status(200);
    assert_eq!(
        (set.at("/disenrollEndsSessions"), set.at("/staleCrl")),
        (false.into(), "refuse".into())
    );
    // The vendor's API sees that the group was written, and nothing of what was.
    let group = ask(&scene, "GET", "/enrollmentGroups/line-4").await.with_status(200);
    assert_eq!(group.text_at("/etag"), set.text_at("/etag"));
    assert_eq!((group.at("/staleCrl"), group.at("/settings")), (json!(null), json!(null)));
    let replace = scene.owner("PUT", "/enrollmentGroups/line-4").header("if-match", "*");
    scene.send(replace.json(&group.text)).await.with_status(200);
    let kept = ask(&scene, "GET", &settings).await.with_status(200);
    assert_eq!(
        (kept.at("/disenrollEndsSessions"), kept.at("/staleCrl")),
        (false.into(), "refuse".into())
    );
    // What is absent is null from then on.
    let put = scene.operator("PUT", &settings, "{}").await.with_status(200);
    assert_eq!((put.at("/disenrollEndsSessions"), put.at("/staleCrl")), (json!(null), json!(null)));
    for bad in [r#"{"staleCrl":"open"}"#, r#"{"disenrollEndsSessions":1}"#, r#"{"x":1}"#, "", "["] {
        scene.operator("PUT", &settings, bad).await.with_code(400_000);
    }
    ask(&scene, "GET", "/induct/v1/enrollmentGroups/line-9/settings").await.with_code(404_202);
    scene
        .operator("PUT", "/induct/v1/enrollmentGroups/line-9/settings", "{}")
        .await
        .with_code(404_202);
}
