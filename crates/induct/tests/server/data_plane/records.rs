//! `… registration …`

use super::scene;
use crate::harness::Api;

#[tokio::test]
async fn a_groups_devices_are_listed_shown_and_forgotten() {
    let scene = scene();
    Api::service(&scene.home, &scene.server).enroll_group("line-5").await;
    let devices = Api::devices(&scene.server);
    for id in ["press-1", "press-2", "press-3"] {
        let answer = devices.register(id).await.expect("an answer");
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let all = scene.json("enrollment-group registration list --gid line-5");
    assert_eq!(all.as_array().map(Vec::len), Some(3), "{all}");
    let two = scene.json("enrollment-group registration list --gid line-5 --top 2");
    assert_eq!(two.as_array().map(Vec::len), Some(2), "{two}");
    let table = scene.run("enrollment-group registration list --gid line-5 -o table").stdout;
    let heads: Vec<&str> = table.lines().next().expect("a head").split_whitespace().collect();
    assert_eq!(heads[..3], ["RegistrationId", "Status", "Substatus"], "{table}");
    let row = table.lines().find(|line| line.starts_with("press-2")).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[1..5], ["assigned", "initialAssignment", "hub-1.localhost", "press-2"]);

    let shown = scene.json("enrollment-group registration show --rid press-2");
    assert_eq!(shown["status"], "assigned");
    let same = scene.json("enrollment registration show --eid press-2");
    assert_eq!(same, shown);
    scene.silent("enrollment-group registration delete --registration-id press-2");
    let finished = scene.run("enrollment-group registration show --rid press-2");
    assert_eq!(finished.code, 3, "{finished:?}");
    let etag = scene.json("enrollment registration show --eid press-1")["etag"].clone();
    let stale = scene.run("enrollment registration delete --eid press-1 --etag c3RhbGU=");
    assert!(stale.code == 1 && stale.stderr.contains("HTTP 412"), "{stale:?}");
    let etag = etag.as_str().expect("etag");
    scene.silent(&format!("enrollment registration delete --eid press-1 --etag {etag}"));
    let rest = scene.json("enrollment-group registration list --gid line-5");
    assert_eq!(rest[0]["registrationId"], "press-3");
    assert_eq!(rest.as_array().map(Vec::len), Some(1));
}
