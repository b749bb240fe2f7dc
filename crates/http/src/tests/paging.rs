//! Queries over more than one page (O §1.9).

use std::collections::BTreeSet;

use super::scene::{HUB, Reply, Scene, scene};

/// One of the three queries, and one more of what it finds.
struct Listing {
    query: &'static str,
    item_type: &'static str,
    id: &'static str,
}

const ENROLLMENTS: Listing =
    Listing { query: "/enrollments/query", item_type: "Enrollment", id: "registrationId" };
const GROUPS: Listing = Listing {
    query: "/enrollmentGroups/query",
    item_type: "EnrollmentGroup",
    id: "enrollmentGroupId",
};
const RECORDS: Listing = Listing {
    query: "/registrations/line-7/query",
    item_type: "DeviceRegistration",
    id: "registrationId",
};

impl Listing {
    async fn page(&self, scene: &Scene, size: Option<&str>, token: &str) -> Reply {
        let mut ask = scene.owner("POST", self.query).json(r#"{"query":"SELECT *"}"#);
        if let Some(size) = size {
            ask = ask.header("x-ms-max-item-count", size);
        }
        if !token.is_empty() {
            ask = ask.header("x-ms-continuation", token);
        }
        let reply = scene.send(ask).await.with_status(200);
        assert_eq!(reply.header("x-ms-item-type"), self.item_type);
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert_eq!(reply.header("x-ms-max-item-count"), "");
        reply
    }

    fn ids(&self, reply: &Reply) -> Vec<String> {
        let items = reply.json();
        let id = |item: &serde_json::Value| item[self.id].as_str().expect("id").to_owned();
        items.as_array().expect("items").iter().map(id).collect()
    }

    /// Reads everything, page by page.
    async fn all(&self, scene: &Scene, size: Option<&str>) -> Vec<Vec<String>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.page(scene, size, &token).await;
            token = page.header("x-ms-continuation").to_owned();
            pages.push(self.ids(&page));
            if token.is_empty() {
                return pages;
            }
        }
    }
}

async fn fill(scene: &Scene, n: usize) {
    for chunk in (0..n).collect::<Vec<_>>().chunks(10) {
        let items: Vec<_> = chunk
            .iter()
            .map(|n| {
                format!(
                    r#"{{"registrationId":"d-{n:03}","attestation":{{"type":"symmetricKey"}}}}"#
                )
            })
            .collect();
        let body = format!(r#"{{"enrollments":[{}],"mode":"create"}}"#, items.join(","));
        let reply = scene.operator("POST", "/enrollments", &body).await.with_status(200);
        assert_eq!(reply.at("/isSuccessful"), true);
    }
}

#[tokio::test]
async fn a_hundred_and_fifty_items_come_as_a_hundred_and_fifty() {
    let scene = scene().await;
    fill(&scene, 150).await;
    let sizes = |pages: &[Vec<String>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let pages = ENROLLMENTS.all(&scene, None).await;
    assert_eq!(sizes(&pages), [100, 50]);
    let ids: BTreeSet<_> = pages.concat().into_iter().collect();
    assert_eq!(ids.len(), 150, "each once");
    assert_eq!(sizes(&ENROLLMENTS.all(&scene, Some("60")).await), [60, 60, 30]);
    assert_eq!(sizes(&ENROLLMENTS.all(&scene, Some("150")).await), [150], "no empty last page");
    assert_eq!(sizes(&ENROLLMENTS.all(&scene, Some("5000")).await), [150]);
    assert_eq!(sizes(&ENROLLMENTS.all(&scene, Some("0")).await), [100, 50]);
    // The vendor's CLI asks for less on its last page.
    let first = ENROLLMENTS.page(&scene, Some("100"), "").await;
    let rest = ENROLLMENTS.page(&scene, Some("10"), first.header("x-ms-continuation")).await;
    assert_eq!(ENROLLMENTS.ids(&rest).len(), 10);
}

#[tokio::test]
async fn items_that_come_and_go_neither_hide_nor_double_others() {
    let scene = scene().await;
    fill(&scene, 30).await;
    let first = ENROLLMENTS.page(&scene, Some("10"), "").await;
    let seen = ENROLLMENTS.ids(&first);
    for id in ["d-003", "d-009", "d-015"] {
        scene.operator("DELETE", &format!("/enrollments/{id}"), "").await.with_status(204);
    }
    scene.enroll("a-new-one").await;
    let second = ENROLLMENTS.page(&scene, Some("100"), first.header("x-ms-continuation")).await;
    let expected: Vec<_> = (10..30).filter(|n| *n != 15).map(|n| format!("d-{n:03}")).collect();
    assert_eq!(ENROLLMENTS.ids(&second), expected);
    assert_eq!(seen.len(), 10);
}

#[tokio::test]
async fn groups_and_records_are_paged_alike() {
    let scene = scene().await;
    for group in ["line-7", "line-8", "line-9"] {
        scene.put_group(group).await;
        if group == "line-7" {
            for n in 0..5 {
                scene.register_by_group(&format!("dev-{n}")).await.with_status(202);
            }
        }
    }
    assert_eq!(GROUPS.all(&scene, Some("2")).await.concat(), ["line-7", "line-8", "line-9"]);
    let expected: Vec<_> = (0..5).map(|n| format!("dev-{n}")).collect();
    assert_eq!(
        RECORDS.all(&scene, Some("2")).await,
        [&expected[..2], &expected[2..4], &expected[4..]]
    );
    // Records outlive their group, and are found by its name (O §1.11).
    scene.operator("DELETE", "/enrollmentGroups/line-7", "").await.with_status(204);
    assert_eq!(RECORDS.all(&scene, None).await.concat(), expected);
}

#[tokio::test]
async fn an_empty_collection_still_says_its_type() {
    let scene = scene().await;
    for listing in [ENROLLMENTS, GROUPS, RECORDS] {
        let reply = listing.page(&scene, None, "").await;
        assert_eq!(reply.text, "[]");
        assert_eq!(reply.header("x-ms-continuation"), "");
    }
}

#[tokio::test]
async fn a_token_of_another_collection_or_of_nobody_is_refused() {
    let scene = scene().await;
    fill(&scene, 2).await;
    let token =
        ENROLLMENTS.page(&scene, Some("1"), "").await.header("x-ms-continuation").to_owned();
    assert!(!token.is_empty());
    for (path, token) in [
        ("/enrollmentGroups/query", token.as_str()),
        ("/registrations/line-7/query", token.as_str()),
        ("/enrollments/query", "d-000"),
        ("/enrollments/query", "AAAA"),
    ] {
        let ask = scene.owner("POST", path).header("x-ms-continuation", token).json("{}");
        scene.send(ask).await.with_status(400);
    }
    let ask = scene.hub_owner("POST", "/devices/query").host(HUB);
    let ask = ask.header("x-ms-continuation", token).json(r#"{"query":"SELECT * FROM devices"}"#);
    scene.send(ask).await.with_status(400);
    for size in ["ten", "1.5", "-"] {
        let ask = scene.owner("POST", "/enrollments/query").header("x-ms-max-item-count", size);
        scene.send(ask.json("{}")).await.with_code(400_005);
    }
}
