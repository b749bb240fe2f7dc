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

use serde_json::Value;

use crate::harness::{Api, Home, until};

/// Looks at what the service knows of a registration until it is as wanted.
async fn wait_for_registration(
    service: &Api,
    id: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(async || service.registration(id).await.json().expect("JSON"), is_wanted).await
}

/// Whether a registration has this status.
fn is(status: &str) -> impl Fn(&Value) -> bool {
    move |record| record["status"] == status
}

/// The policies' names, in their order.
fn policy_names(home: &Home) -> Vec<String> {
    let policies = home.run(&["policy", "list"]).json();
    let policies = policies.as_array().expect("a list").iter();
    policies.map(|policy| policy["keyName"].as_str().expect("text").to_owned()).collect()
}
