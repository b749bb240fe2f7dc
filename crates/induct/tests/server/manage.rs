//! What an operator configures while the service runs: the commands, from outside.

mod access;
mod certificates;
mod crls;
mod hubs;
mod networking;
mod orphans;
mod remote_hub;
mod secrets;
mod webhook;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Api, Home};

/// How long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(150);
/// How often we look.
const LOOK: Duration = Duration::from_millis(50);

/// Looks at what the service knows of a registration until it is as wanted.
async fn wait_for_registration(
    service: &Api,
    id: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    let began = now();
    loop {
        let record = service.registration(id).await.json().expect("JSON");
        if is_wanted(&record) {
            return record;
        }
        assert!(began.elapsed() < PATIENCE, "{id} stayed {record}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a registration has this status.
fn is(status: &str) -> impl Fn(&Value) -> bool {
    move |record| record["status"] == status
}

#[expect(clippy::disallowed_methods, reason = "the server under test runs by the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// The policies' names, in their order.
fn policy_names(home: &Home) -> Vec<String> {
    let policies = home.run(&["policy", "list"]).json();
    let policies = policies.as_array().expect("a list").iter();
    policies.map(|policy| policy["keyName"].as_str().expect("text").to_owned()).collect()
}
