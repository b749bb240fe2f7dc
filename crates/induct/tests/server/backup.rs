//! `induct backup` beside a running server.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::StatusCode;
use tokio::task::{JoinSet, spawn_blocking};

use crate::harness::{Api, Home, listed_devices, listed_records};

const GROUP: &str = "line-4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_whole_and_holds_all_that_came_before_it() {
    let home = Home::new();
    let server = home.start();
    let service = Api::service(&home, &server);
    service.enroll_group(GROUP).await;
    for n in 0..40 {
        let answer = Api::devices(&server).register(&format!("before-{n}")).await;
        assert_eq!(answer.expect("an answer").status, StatusCode::ACCEPTED);
    }
    let before = listed_records(&service, GROUP).await;
    assert_eq!(before.len(), 40);

    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for task in 0..4 {
        let (api, is_over) = (Api::devices(&server), Arc::clone(&is_over));
        load.spawn(async move {
            for n in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return n;
                }
                let answer = api.register(&format!("meanwhile-{task}-{n}")).await;
                assert_eq!(answer.expect("an answer").status, StatusCode::ACCEPTED);
            }
            0
        });
    }
    let copy = home.path().join("copy.db");
    let target = copy.to_str().expect("UTF-8").to_owned();
    let (home, finished) = spawn_blocking(move || {
        let finished = home.run(&["backup", &target]);
        (home, finished)
    })
    .await
    .expect("no panic");
    is_over.store(true, Ordering::Relaxed);
    assert!(load.join_all().await.iter().sum::<usize>() > 0, "there was load");
    assert_eq!(finished.json()["sizeBytes"], fs::metadata(&copy).expect("the copy").len());
    home.run(&["backup", copy.to_str().expect("UTF-8")]).refused(1, "a backup overwrites nothing");
    server.stop();

    let restored = Home::new();
    fs::create_dir(restored.data()).expect("a folder");
    fs::copy(&copy, restored.data().join("induct.db")).expect("copied");
    let master_key = home.data().join("master.key");
    fs::copy(master_key, restored.data().join("master.key")).expect("copied");
    let server = restored.start();
    let records = listed_records(&Api::service(&restored, &server), GROUP).await;
    let devices = listed_devices(&Api::hub(&restored, &server, "hub-1")).await;
    assert!(records.is_superset(&before), "everything that came before is in it");
    assert_eq!(records, devices);
    assert!(server.stop().status.success());
}

#[test]
fn there_is_nothing_to_copy_before_the_first_start() {
    let home = Home::new();
    home.run(&["backup", "copy.db"]).refused(1, "`induct serve` makes one at its first start");
    assert!(!home.path().join("copy.db").exists());
}
