//! `kill -9` in the middle of an apply, with a hub in another process: what was begun is finished
//! after the next start, once for each device, here and there.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{GROUP, audited, deprovision, devices_of, id_of, names, register_all, told};
use crate::harness::{Api, Finished, Home, Server, induct, listed_devices, run, until};

const HUBS: &str = "[{name = 'plant', host = 'plant.localhost'}]";
const N_DEVICES: usize = 16;
/// Slow enough that the kill comes in between.
const SLOW: &[(&str, &str)] =
    &[("INDUCT_DEPROVISION__DEVICES_PER_SECOND", "4"), ("INDUCT_DEPROVISION__MAX_AT_ONCE", "1")];
/// So many devices are done when the server is killed.
const N_BEFORE: u64 = 3;

/// The process whose hub is linked, and the one that deprovisions.
struct Pair {
    plant: Home,
    home: Home,
    ca: String,
}

impl Pair {
    fn new() -> Self {
        let (plant, home) = (Home::new(), Home::new());
        let ca = plant.data().join("tls/ca.pem").to_str().expect("UTF-8").to_owned();
        Self { plant, home, ca }
    }

    /// Starts the remote one, on the port that the other knows it by.
    fn start_plant(&self, port: u16) -> Server {
        let address = format!("127.0.0.1:{port}");
        self.plant.start_with(&[("INDUCT_HUBS", HUBS), ("INDUCT_LISTEN__HTTPS", &address)])
    }

    fn start_home(&self, variables: &[(&str, &str)]) -> Server {
        let ca = [("INDUCT_REMOTE_HUBS__CA_FILE", self.ca.as_str())];
        self.home.start_with(&[&ca, variables].concat())
    }

    /// Links the remote hub, and has a group's devices assigned to it.
    async fn provision(&self, server: &Server) {
        let shown = self.plant.run(&["connection-string", "show", "--hub", "plant"]).json();
        let text = shown["connectionString"].as_str().expect("text");
        self.home.run(&["linked-hub", "create", "--connection-string", text]).json();
        let service = Api::service(&self.home, server);
        service.enroll_group(GROUP).await;
        let command = ["enrollment-group", "update", "--gid", GROUP, "--ap", "static"];
        self.home.run(&[&command[..], &["--ih", "plant.localhost"]].concat()).json();
        register_all(server, &names(N_DEVICES)).await;
        for id in names(N_DEVICES) {
            let look = async || service.registration(&id).await.json().expect("JSON");
            until(look, |record| record["status"] == "assigned").await;
        }
    }

    /// `induct deprovision` beside the test.
    fn deprovision_meanwhile(&self, words: &[&str]) -> tokio::task::JoinHandle<Finished> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (data, folder) = (self.home.data(), self.home.path().to_owned());
        spawn_blocking(move || {
            let mut command = induct(&["deprovision"]);
            run(command.args(words).arg("--data").arg(data).current_dir(folder))
        })
    }

    fn receipt(&self, id: &str) -> Value {
        self.home.run(&["receipt", "show", id]).json()
    }

    /// Begins to apply, and kills the server between two devices: the plan.
    async fn kill_in_the_middle(&self, server: Server, intent: &str) -> Value {
        let plan = ["--group", GROUP, "--intent", intent, "--dry-run"];
        let plan = deprovision(&self.home, &plan).json();
        assert_eq!(plan["plan"]["devices"], N_DEVICES);
        assert_eq!(plan["plan"]["identities"][0]["hub"], "plant.localhost");
        let applying = self.deprovision_meanwhile(&["--plan", id_of(&plan), "--yes"]);
        let n_done = |receipt: &Value| receipt["progress"]["done"].as_u64().unwrap_or(0);
        let look = async || self.receipt(id_of(&plan));
        let seen = until(look, |receipt| n_done(receipt) >= N_BEFORE).await;
        server.kill();
        assert!(seen["progress"]["pending"].as_u64() > Some(1), "in the middle: {seen}");
        let broken = applying.await.expect("it ended");
        broken.refused(1, "What was begun goes on without this command");
        plan
    }

    /// The receipt, when all is done here and on the remote hub.
    async fn complete(&self, plan: &Value) -> Value {
        let is_complete = |receipt: &Value| {
            receipt["state"] == "done" && receipt["progress"]["remotePending"] == 0
        };
        let receipt = until(async || self.receipt(id_of(plan)), is_complete).await;
        let progress = &receipt["progress"];
        for (name, expected) in
            [("done", N_DEVICES), ("remoteDone", N_DEVICES), ("failed", 0), ("remoteFailed", 0)]
        {
            assert_eq!(progress[name], expected, "{name}: {receipt}");
        }
        receipt
    }

    /// The status of each device on the remote hub.
    async fn there(&self, plant: &Server, id: &str) -> Value {
        let hub = Api::hub(&self.plant, plant, "plant");
        let path = format!("/devices/{id}?api-version=2021-04-12");
        let answer = hub.request(http::Method::GET, &path, &[], &Value::Null).await;
        answer.expect("an answer").json().expect("JSON")["status"].clone()
    }
}

#[tokio::test]
async fn what_is_retired_when_the_server_is_killed_is_retired_here_and_on_the_remote_hub() {
    let pair = Pair::new();
    let plant = pair.start_plant(0);
    let server = pair.start_home(SLOW);
    pair.provision(&server).await;
    let plan = pair.kill_in_the_middle(server, "retire").await;

    let server = pair.start_home(&[]);
    let receipt = pair.complete(&plan).await;
    assert_eq!(receipt["wholes"][0]["outcome"], "done");
    assert_eq!(listed_devices(&Api::hub(&pair.plant, &plant, "plant")).await, BTreeSet::new());
    for id in names(N_DEVICES) {
        assert_eq!(Api::service(&pair.home, &server).registration(&id).await.status, 404, "{id}");
    }
    let mut expected: Vec<String> =
        names(N_DEVICES).iter().map(|id| format!("registrations/{id}")).collect();
    expected.sort();
    let mut deeds = audited(&pair.home, "device.retire");
    deeds.sort();
    assert_eq!(deeds, expected, "each device once");
    assert_eq!(audited(&pair.home, "deprovision.apply").len(), 1);
    for device in devices_of(&pair.home, &receipt) {
        let steps = device["remote"].as_array().expect("steps");
        assert_eq!(steps.len(), 1, "{device}");
        assert_eq!(
            (&steps[0]["hub"], &steps[0]["state"]),
            (&json!("plant.localhost"), &json!("done")),
            "{device}"
        );
    }
    // Applied once more, it changes nothing.
    let again = deprovision(&pair.home, &["--plan", id_of(&plan), "--yes"]);
    assert_eq!(told(&again).0, receipt);
    assert_eq!(audited(&pair.home, "device.retire").len(), N_DEVICES);
    assert_eq!(pair.home.run(&["audit", "verify"]).code, 0);
}

#[tokio::test]
async fn what_is_suspended_while_the_remote_hub_is_away_is_told_to_it_when_it_is_back() {
    let pair = Pair::new();
    let plant = pair.start_plant(0);
    let port = plant.address().port();
    let server = pair.start_home(SLOW);
    pair.provision(&server).await;
    plant.kill();
    let plan = pair.kill_in_the_middle(server, "suspend").await;

    let server = pair.start_home(&[]);
    // All that is ours is done without it.
    let receipt =
        until(async || pair.receipt(id_of(&plan)), |receipt| receipt["state"] == "done").await;
    assert_eq!(receipt["progress"]["done"], N_DEVICES);
    assert_eq!(receipt["progress"]["remotePending"], N_DEVICES);
    let answer = Api::devices(&server).register("press-0").await.expect("an answer");
    assert_eq!(answer.status, 401, "{answer:?}");

    let plant = pair.start_plant(port);
    let receipt = pair.complete(&plan).await;
    for id in names(N_DEVICES) {
        assert_eq!(pair.there(&plant, &id).await, "disabled", "{id}");
    }
    let back = pair.home.run(&["reinstate", "--receipt", id_of(&receipt), "--yes"]).json();
    pair.complete(&back).await;
    for id in names(N_DEVICES) {
        assert_eq!(pair.there(&plant, &id).await, "enabled", "{id}");
    }
}
