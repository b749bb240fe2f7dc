//! Bulk calls on enrollments and groups (O §1.10).

use serde_json::{Value, json};

use super::scene::{Reply, Scene, scene};

struct Family {
    path: &'static str,
    list: &'static str,
    id: &'static str,
    exists: u32,
    missing: u32,
}

const FAMILIES: [Family; 2] = [
    Family {
        path: "/enrollments",
        list: "enrollments",
        id: "registrationId",
        exists: 409_201,
        missing: 404_201,
    },
    Family {
        path: "/enrollmentGroups",
        list: "enrollmentGroups",
        id: "enrollmentGroupId",
        exists: 409_202,
        missing: 404_202,
    },
];

impl Family {
    fn item(&self, id: &str, etag: Option<&str>) -> Value {
        json!({self.id: id, "attestation": {"type": "symmetricKey"}, "etag": etag})
    }

    async fn call(&self, scene: &Scene, mode: &str, items: Vec<Value>) -> Reply {
        let body = json!({self.list: items, "mode": mode}).to_string();
        scene.operator("POST", self.path, &body).await.with_status(200)
    }

    async fn etag(&self, scene: &Scene, id: &str) -> String {
        let path = format!("{}/{id}", self.path);
        scene.operator("GET", &path, "").await.with_status(200).text_at("/etag")
    }

    /// A call whose items are refused with these codes; the others are applied.
    async fn check(&self, scene: &Scene, mode: &str, items: Vec<Value>, refused: &[(&str, u32)]) {
        let reply = self.call(scene, mode, items).await;
        let errors = reply.at("/errors");
        let errors: Vec<_> = errors
            .as_array()
            .expect("errors")
            .iter()
            .map(|error| {
                let code = error["errorCode"].as_u64().expect("code");
                assert!(error["errorStatus"].is_string(), "{reply:?}");
                (
                    error[self.id].as_str().expect("id").to_owned(),
                    u32::try_from(code).expect("code"),
                )
            })
            .collect();
        let refused: Vec<_> = refused.iter().map(|(id, code)| ((*id).to_owned(), *code)).collect();
        assert_eq!(errors, refused, "{mode}: {reply:?}");
        assert_eq!(reply.at("/isSuccessful"), errors.is_empty());
    }
}

#[tokio::test]
async fn good_items_stay_applied_beside_refused_ones() {
    for family in FAMILIES {
        let scene = scene().await;
        family.check(&scene, "create", vec![family.item("a", None)], &[]).await;
        let items = vec![family.item("a", None), family.item("b", None)];
        family.check(&scene, "create", items, &[("a", family.exists)]).await;
        family.etag(&scene, "b").await;

        let etag = family.etag(&scene, "a").await;
        let items = vec![
            family.item("a", Some(&etag)),
            family.item("b", None),
            family.item("c", Some("*")),
        ];
        let refused = [("b", family.exists), ("c", family.missing)];
        family.check(&scene, "update", items, &refused).await;
        assert_ne!(family.etag(&scene, "a").await, etag);

        let items = vec![family.item("a", Some(&etag)), family.item("b", Some("*"))];
        family.check(&scene, "updateIfMatchEtag", items, &[("a", 412_000)]).await;
        let items = vec![family.item("b", None)];
        family.check(&scene, "updateIfMatchETag", items, &[("b", 412_000)]).await;

        let items =
            vec![json!({family.id: "a"}), family.item("b", Some("no")), family.item("c", None)];
        family.check(&scene, "delete", items, &[("c", family.missing)]).await;
        let path = format!("{}/a", family.path);
        scene.operator("GET", &path, "").await.with_code(family.missing);
    }
}

#[tokio::test]
async fn an_answer_to_a_call_without_errors_is_the_recorded_one() {
    let scene = scene().await;
    let reply = FAMILIES[0].call(&scene, "create", Vec::new()).await;
    assert_eq!(reply.text, r#"{"errors":[],"isSuccessful":true}"#);
    let created = FAMILIES[0].call(&scene, "create", vec![FAMILIES[0].item("a", None)]).await;
    let again = FAMILIES[0].call(&scene, "create", vec![FAMILIES[0].item("a", None)]).await;
    assert_eq!(created.text, r#"{"errors":[],"isSuccessful":true}"#);
    assert_eq!(
        again.text,
        r#"{"errors":[{"registrationId":"a","errorCode":409201,"errorStatus":"Enrollment already exists."}],"isSuccessful":false}"#
    );
}

#[tokio::test]
async fn a_call_that_cannot_be_read_applies_nothing() {
    for family in FAMILIES {
        let scene = scene().await;
        let eleven = (0..11).map(|n| family.item(&format!("a{n}"), None)).collect::<Vec<_>>();
        for body in [
            json!({family.list: [family.item("a", None), {family.id: "b"}], "mode": "create"}),
            json!({family.list: [family.item("a", None)], "mode": "upsert"}),
            json!({family.list: [family.item("a", None)]}),
            json!({"others": [], "mode": "create"}),
            json!({family.list: eleven, "mode": "create"}),
            json!([]),
        ] {
            let reply = scene.operator("POST", family.path, &body.to_string()).await;
            assert_eq!(reply.status, 400, "{body}: {reply:?}");
        }
        let listed = scene.operator("POST", &format!("{}/query", family.path), "{}").await;
        assert_eq!(listed.text, "[]");
    }
}
