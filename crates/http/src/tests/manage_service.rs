//! The management API: the service's settings, IP rules and usage (O §3.2, §3.6, D §6).

use serde_json::json;

use super::scene::{Ask, HUB, MAX_REGISTRATIONS, Reply, SERVICE, Scene, scene};

/// An address that is not the loopback one.
const OFFICE: &str = "198.51.100.7";

const REJECT_ALL: &str = r#"[{"filterName":"nobody","action":"Reject","ipMask":"0.0.0.0/0"}]"#;

async fn ask(scene: &Scene, method: &str, path: &str, body: &str, address: &str) -> Reply {
    let ask = scene.owner(method, &format!("/induct/v1/{path}")).json(body).from(address);
    scene.send(ask).await
}

async fn here(scene: &Scene, method: &str, path: &str, body: &str) -> Reply {
    ask(scene, method, path, body, "127.0.0.1").await
}

#[tokio::test]
async fn the_service_says_what_it_is_and_what_it_does_with_devices() {
    let scene = scene().await;
    let reply = here(&scene, "GET", "service", "").await.with_status(200);
    let etag = reply.text_at("/etag");
    let updated = reply.text_at("/updated");
    let expected = format!(
        r#"{{"allocationPolicy":"hashed","operatorApiOnLoopbackOnly":false,"disenrollEndsSessions":false,"idScope":"{}","hosts":["{SERVICE}"],"etag":"{etag}","updated":"{updated}"}}"#,
        scene.id_scope
    );
    assert_eq!(reply.text, expected);
    // The version is in the path; literals in any letter case and a slash at the end are fine.
    let token = scene.service_token("provisioningserviceowner");
    let ask = Ask::new("GET", "/Induct/V1/Service/").header("authorization", token);
    assert_eq!(scene.send(ask).await.with_status(200).text, expected);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_needs_the_etag_only_if_it_says_one() {
    let scene = scene().await;
    let first = here(&scene, "GET", "service", "").await.text_at("/etag");
    let changed = here(&scene, "PATCH", "service", r#"{"allocationPolicy":"geoLatency"}"#).await;
    let changed = changed.with_status(200);
    assert_eq!(changed.at("/allocationPolicy"), "geoLatency");
    assert_ne!(changed.text_at("/etag"), first);
    let with_etag = |etag: &str| {
        let path = "/induct/v1/service";
        scene.owner("PATCH", path).header("if-match", etag).json(r#"{"allocationPolicy":"static"}"#)
    };
    scene.send(with_etag(&first)).await.with_code(412_000);
    let current = format!("\"{}\"", changed.text_at("/etag"));
    let again = scene.send(with_etag(&current)).await.with_status(200);
    assert_eq!(again.at("/allocationPolicy"), "static");
    for (body, code) in [
        (r#"{"allocationPolicy":"custom"}"#, 400_000),
        (r#"{"allocationPolicy":7}"#, 400_000),
        (r#"{"allocationPolice":"hashed"}"#, 400_000),
        ("", 400_000),
        ("[", 400_000),
    ] {
        here(&scene, "PATCH", "service", body).await.with_code(code);
    }
    here(&scene, "PUT", "service", "{}").await.with_code(405_000);
    let still = here(&scene, "GET", "service", "").await;
    assert_eq!(still.text, again.text, "what is refused changes nothing");
}

#[tokio::test]
async fn a_dry_run_says_what_the_settings_would_be_and_changes_none() {
    let scene = scene().await;
    let before = here(&scene, "GET", "service", "").await.text;
    let dry = r#"{"disenrollEndsSessions":true}"#;
    let told = here(&scene, "PATCH", "service?dryRun=true", dry).await.with_status(200);
    assert_eq!(told.at("/disenrollEndsSessions"), true);
    let rules = here(&scene, "PUT", "ip-rules?dryRun=true", REJECT_ALL).await;
    rules.with_code(400_011);
    here(&scene, "PUT", "ip-rules?dryRun=perhaps", "[]").await.with_code(400_000);
    assert_eq!(here(&scene, "GET", "service", "").await.text, before);
    assert_eq!(here(&scene, "GET", "ip-rules", "").await.text, "[]");
    let told = here(&scene, "PATCH", "service", dry).await.with_status(200);
    assert_eq!(told.at("/disenrollEndsSessions"), true);
    assert_eq!(here(&scene, "GET", "service", "").await.at("/disenrollEndsSessions"), true);
}

#[tokio::test]
async fn ip_rules_are_replaced_as_a_whole_and_shown_as_they_are() {
    let scene = scene().await;
    assert_eq!(here(&scene, "GET", "ip-rules", "").await.with_status(200).text, "[]");
    let rules = r#"[{"filterName":"office","action":"Accept","ipMask":"198.51.100.0/24","target":"all"},{"filterName":"rest","action":"Reject","ipMask":"2001:db8::/32","target":"deviceApi"}]"#;
    let put = here(&scene, "PUT", "ip-rules", rules).await.with_status(200);
    assert_eq!(put.text, rules);
    let shown = here(&scene, "GET", "ip-rules", "").await.with_status(200);
    assert_eq!((shown.text.as_str(), shown.header("etag")), (rules, put.header("etag")));
    let service = here(&scene, "GET", "service", "").await.text_at("/etag");
    assert_eq!(shown.header("etag"), format!("\"{service}\""));
    let stale = scene.owner("PUT", "/induct/v1/ip-rules").header("if-match", "\"b2xk\"").json("[]");
    scene.send(stale).await.with_code(412_000);
    for body in [
        "{}",
        r#"[{"filterName":"a","action":"Accept"}]"#,
        r#"[{"filterName":"a","action":"Allow","ipMask":"::/0"}]"#,
        r#"[{"filterName":"a","action":"Accept","ipMask":"10.0.0.1/8"}]"#,
        r#"[{"filterName":"","action":"Accept","ipMask":"::/0"}]"#,
        r#"[{"filterName":"a","action":"Accept","ipMask":"::/0"},{"filterName":"A","action":"Accept","ipMask":"::/0"}]"#,
    ] {
        here(&scene, "PUT", "ip-rules", body).await.with_code(400_000);
    }
    let many: Vec<_> = (0..101)
        .map(|n| json!({"filterName": format!("r{n}"), "action": "Accept", "ipMask": "::/0"}))
        .collect();
    here(&scene, "PUT", "ip-rules", &json!(many).to_string()).await.with_code(400_000);
    assert_eq!(here(&scene, "GET", "ip-rules", "").await.text, rules);
}

#[tokio::test]
async fn rules_that_lock_their_author_out_need_force_and_then_do() {
    let scene = scene().await;
    for (method, path, body) in [
        ("PUT", "ip-rules", REJECT_ALL),
        ("PATCH", "service", r#"{"operatorApiOnLoopbackOnly":true}"#),
    ] {
        let refused = ask(&scene, method, path, body, OFFICE).await.with_code(400_011);
        assert!(refused.text_at("/message").contains("force=true"), "{refused:?}");
        ask(&scene, "GET", "service", "", OFFICE).await.with_status(200);
        let wrong = ask(&scene, method, &format!("{path}?force=perhaps"), body, OFFICE).await;
        wrong.with_code(400_000);
        let forced = ask(&scene, method, &format!("{path}?force=true"), body, OFFICE).await;
        forced.with_status(200);
        ask(&scene, "GET", "service", "", OFFICE).await.with_code(401_002);
        // Back to where everyone may come in. Loopback helps against the switch; against the rule
        // an IPv6 address does.
        ask(&scene, "PATCH", "service", r#"{"operatorApiOnLoopbackOnly":false}"#, "::1").await;
        ask(&scene, "PUT", "ip-rules", "[]", "::1").await.with_status(200);
    }
}

#[tokio::test]
async fn who_is_kept_out_is_told_so_at_each_door_in_its_own_shape() {
    let scene = scene().await;
    scene.enroll("a").await;
    let rules = |target: &str| {
        format!(
            r#"[{{"filterName":"n","action":"Reject","ipMask":"198.51.100.0/24","target":"{target}"}}]"#
        )
    };
    let operator = || scene.owner("GET", "/enrollments/a").from(OFFICE);
    let hub = || scene.hub_owner("GET", "/devices").from(OFFICE);
    let device = || scene.register("a").from(OFFICE);
    here(&scene, "PUT", "ip-rules", &rules("serviceApi")).await.with_status(200);
    let refused = scene.send(operator()).await.with_code(401_002);
    assert!(!refused.text.contains(OFFICE) && !refused.text.contains("rule"), "{refused:?}");
    scene.send(hub()).await.with_name(401, "IotHubUnauthorizedAccess");
    scene.send(device()).await.with_status(202);
    here(&scene, "PUT", "ip-rules", &rules("deviceApi")).await.with_status(200);
    scene.send(operator()).await.with_status(200);
    scene.send(hub()).await.with_status(200);
    scene.send(device()).await.with_code(401_002);
    here(&scene, "PUT", "ip-rules", &rules("all")).await.with_status(200);
    scene.send(operator()).await.with_code(401_002);
    scene.send(device()).await.with_code(401_002);
    scene.send(scene.owner("GET", "/enrollments/a")).await.with_status(200);
    // Whether we are alive is no secret from anyone.
    scene.send(Ask::new("GET", "/healthz").host(HUB).from(OFFICE)).await.with_status(200);
}

#[tokio::test]
async fn the_loopback_switch_shuts_operators_elsewhere_out_and_no_device() {
    let scene = scene().await;
    scene.enroll("a").await;
    let switch = |on: bool| format!(r#"{{"operatorApiOnLoopbackOnly":{on}}}"#);
    here(&scene, "PATCH", "service", &switch(true)).await.with_status(200);
    for address in [OFFICE, "2001:db8::7"] {
        scene.send(scene.owner("GET", "/enrollments/a").from(address)).await.with_code(401_002);
        ask(&scene, "GET", "service", "", address).await.with_code(401_002);
        let hub = scene.send(scene.hub_owner("GET", "/devices").from(address)).await;
        hub.with_name(401, "IotHubUnauthorizedAccess");
        scene.send(scene.register("a").from(address)).await.with_status(202);
    }
    for address in ["127.0.0.1", "127.8.0.1", "::1"] {
        scene.send(scene.owner("GET", "/enrollments/a").from(address)).await.with_status(200);
        scene.send(scene.hub_owner("GET", "/devices").from(address)).await.with_status(200);
    }
    here(&scene, "PATCH", "service", &switch(false)).await.with_status(200);
    scene.send(scene.owner("GET", "/enrollments/a").from(OFFICE)).await.with_status(200);
}

#[tokio::test]
async fn usage_stands_beside_its_limits() {
    let scene = scene().await;
    scene.put_group("line-7").await;
    scene.register_by_group("press-1").await.with_status(202);
    scene.enroll("a").await;
    let reply = here(&scene, "GET", "usage", "").await.with_status(200);
    let row = |current: u64, limit: u64| json!({"current": current, "limit": limit});
    assert_eq!(
        reply.json(),
        json!({
            "registrations": row(1, MAX_REGISTRATIONS),
            "orphanedRegistrations": {"current": 0},
            "individualEnrollments": row(1, 1_000_000),
            "x509Groups": row(0, 100),
            "symmetricKeyGroups": row(1, 100),
            "caCertificates": row(0, 25),
            "linkedHubs": row(2, 50),
            "revocationLists": row(0, 1024),
            "staleRevocationLists": {"current": 0},
        })
    );
}
