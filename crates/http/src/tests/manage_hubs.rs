//! The management API: linked hubs (O §3.4).

use serde_json::{Value, json};

use super::scene::{Ask, HUB, KEY, NOW_TEXT, OTHER_KEY, Reply, Scene, scene};

const NEW: &str = "hub-3.example.test";

async fn ask(scene: &Scene, method: &str, rest: &str, body: &str) -> Reply {
    scene.operator(method, &format!("/induct/v1/linked-hubs{rest}"), body).await
}

async fn ask_if(scene: &Scene, method: &str, rest: &str, etag: &str, body: &str) -> Reply {
    let ask = scene.owner(method, &format!("/induct/v1/linked-hubs{rest}"));
    scene.send(ask.header("if-match", etag).json(body)).await
}

fn remote(rest: &str) -> String {
    let text = format!("HostName={NEW}:8443;SharedAccessKeyName=owner{rest}");
    json!({"connectionString": text, "allocationWeight": 5}).to_string()
}

#[tokio::test]
async fn a_built_in_hub_is_there_as_soon_as_it_is_linked_and_gone_when_it_is_unlinked() {
    let scene = scene().await;
    let put = ask(&scene, "PUT", &format!("/{NEW}"), "{}").await.with_status(200);
    let etag = put.text_at("/etag");
    assert_eq!(
        put.text,
        format!(
            r#"{{"name":"{NEW}","builtIn":true,"allocationWeight":1,"applyAllocationPolicy":true,"declared":false,"etag":"{etag}","created":"{NOW_TEXT}","updated":"{NOW_TEXT}"}}"#
        )
    );
    assert_eq!(ask(&scene, "GET", &format!("/{NEW}"), "").await.text, put.text);
    let names = |reply: &Reply| {
        let hubs = reply.json();
        let name = |hub: &Value| hub["name"].as_str().expect("name").to_owned();
        hubs.as_array().expect("hubs").iter().map(name).collect::<Vec<_>>()
    };
    let listed = ask(&scene, "GET", "", "").await.with_status(200);
    assert_eq!(names(&listed), [HUB, "hub-2.example.test", NEW]);

    // Its host name answers, and its policies are there.
    let keys = scene
        .operator("POST", &format!("/induct/v1/policies/iothubowner/listkeys?hub={NEW}"), "")
        .await
        .with_status(200)
        .text_at("/primaryKey");
    let key = model::SymmetricKey::parse(&keys).expect("key");
    let token = scene.token(NEW, "iothubowner", &key);
    let devices = || {
        let path = "/devices?api-version=2021-04-12";
        Ask::new("GET", path).host(NEW).header("authorization", &token)
    };
    assert_eq!(scene.send(devices()).await.with_status(200).text, "[]");

    let gone = ask(&scene, "DELETE", &format!("/{NEW}"), "").await.with_status(200);
    assert_eq!(
        gone.text,
        format!(
            r#"{{"name":"{NEW}","devices":0,"individualEnrollments":0,"enrollmentGroups":0,"lookedAtAll":true}}"#
        )
    );
    assert_eq!(names(&ask(&scene, "GET", "", "").await), [HUB, "hub-2.example.test"]);
    scene.send(devices()).await.with_code(404_000);
}

#[tokio::test]
async fn a_remote_hubs_key_is_never_shown_and_a_masked_or_absent_one_keeps_it() {
    let scene = scene().await;
    let path = format!("/{NEW}");
    for keyless in ["", ";SharedAccessKey=****"] {
        let refused = ask(&scene, "PUT", &path, &remote(keyless)).await.with_code(400_000);
        assert!(refused.text_at("/message").contains("SharedAccessKey"), "{refused:?}");
    }
    let put = ask(&scene, "PUT", &path, &remote(&format!(";SharedAccessKey={KEY}"))).await;
    let put = put.with_status(200);
    let masked = format!("HostName={NEW}:8443;SharedAccessKeyName=owner;SharedAccessKey=****");
    assert_eq!(put.at("/connectionString"), masked);
    assert_eq!(put.at("/builtIn"), false);
    let stored = async || {
        let hubs = scene.store.service_facts().await.expect("facts").hubs;
        let hub = hubs.into_iter().find(|hub| hub.name.as_str() == NEW).expect("linked");
        match hub.access {
            model::HubAccess::Remote(remote) => remote.key.reveal().to_owned(),
            model::HubAccess::BuiltIn => panic!("built in"),
        }
    };
    assert_eq!(stored().await, KEY);
    // As it was shown; without a key; without a connection string; and last with another key.
    let mut replies = vec![put.text.clone(), ask(&scene, "GET", "", "").await.text];
    for (body, key) in [
        (put.text.clone(), KEY),
        (remote(""), KEY),
        (r#"{"allocationWeight":0}"#.to_owned(), KEY),
        (remote(&format!(";SharedAccessKey={OTHER_KEY}")), OTHER_KEY),
    ] {
        let again = ask_if(&scene, "PUT", &path, "*", &body).await.with_status(200);
        assert_eq!(again.at("/connectionString"), masked);
        assert_eq!(stored().await, key, "{body}");
        replies.push(again.text);
    }
    replies.push(ask(&scene, "GET", &path, "").await.text);
    replies.push(scene.operator("GET", "/induct/v1/audit", "").await.with_status(200).text);
    for reply in replies {
        assert!(!reply.contains(KEY) && !reply.contains(OTHER_KEY), "{reply}");
    }
}

#[tokio::test]
async fn links_are_refused_with_a_code_that_says_why() {
    let scene = scene().await;
    let new = format!("/{NEW}");
    ask_if(&scene, "PUT", &new, "*", "{}").await.with_code(404_205);
    ask(&scene, "GET", &new, "").await.with_code(404_205);
    ask(&scene, "DELETE", &new, "").await.with_code(404_205);
    ask(&scene, "POST", &format!("{new}/probe"), "").await.with_code(404_205);
    let etag = ask(&scene, "PUT", &new, "{}").await.with_status(200).text_at("/etag");
    ask(&scene, "PUT", &new, "{}").await.with_code(409_205);
    ask_if(&scene, "PUT", &new, "b2xk", "{}").await.with_code(412_000);
    ask_if(&scene, "DELETE", &new, "b2xk", "").await.with_code(412_000);
    ask_if(&scene, "PUT", &new, &etag, r#"{"allocationWeight":7}"#).await.with_status(200);
    // Those of the configuration file are changed there.
    let declared = format!("/{HUB}");
    ask_if(&scene, "PUT", &declared, "*", "{}").await.with_code(409_206);
    ask(&scene, "DELETE", &declared, "").await.with_code(409_206);
    ask(&scene, "PUT", "/no_hub", "{}").await.with_code(400_004);
    for body in [
        r#"{"allocationWeight":1001}"#,
        r#"{"builtIn":false}"#,
        &remote(&format!(";SharedAccessKey={KEY}")),
    ] {
        let refused = ask_if(&scene, "PUT", &new, "*", body).await.with_code(400_000);
        assert!(!refused.text.contains(KEY), "{refused:?}");
    }
    ask(&scene, "PUT", "/dps.example.test", "{}").await.with_code(400_000);
    ask(&scene, "POST", &new, "{}").await.with_code(405_000);
}

#[tokio::test]
async fn unlinking_a_hub_with_devices_needs_force_and_says_who_misses_it() {
    let scene = scene().await;
    let path = format!("/{NEW}");
    ask(&scene, "PUT", &path, "{}").await.with_status(200);
    let enrollment = json!({
        "registrationId": "a",
        "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}},
        "iotHubHostName": NEW,
        "allocationPolicy": "static",
        "iotHubs": [NEW],
    });
    let put = scene.operator("PUT", "/enrollments/a", &enrollment.to_string()).await;
    put.with_status(200);
    scene.send(scene.register("a")).await.with_status(202);
    let refused = ask(&scene, "DELETE", &path, "").await.with_code(400_000);
    assert!(refused.text_at("/message").contains("force=true"), "{refused:?}");
    let gone = ask(&scene, "DELETE", &format!("{path}?force=true"), "").await.with_status(200);
    assert_eq!((gone.at("/devices"), gone.at("/individualEnrollments")), (json!(1), json!(1)));
}

#[tokio::test]
async fn a_probe_says_how_a_hub_is_doing() {
    let scene = scene().await;
    let probe = ask(&scene, "POST", &format!("/{HUB}/probe"), "").await.with_status(200);
    assert_eq!(probe.text, format!(r#"{{"name":"{HUB}","status":"builtIn"}}"#));
    ask(&scene, "PUT", &format!("/{NEW}"), &remote(&format!(";SharedAccessKey={KEY}"))).await;
    // This instance has no way to speak to others.
    let probe = ask(&scene, "POST", &format!("/{NEW}/probe"), "").await.with_status(200);
    assert_eq!(probe.at("/status"), "unreachable");
    assert!(!probe.text_at("/message").is_empty() && !probe.text.contains(KEY));
}
