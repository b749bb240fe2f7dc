use super::*;
use crate::cli::complaint::Kind;

/// What becomes of a document: its text, or the message and exit code of the complaint.
fn outcome(result: Result<(), Complaint>, document: &Json) -> String {
    match result {
        Ok(()) => document.to_string(),
        Err(complaint) => {
            let code = if complaint.kind == Kind::Misused { 2 } else { 1 };
            format!("{code}: {}", complaint.message)
        }
    }
}

fn fields(set: impl FnOnce(&mut SharedFields)) -> SharedFields {
    let mut fields = SharedFields::default();
    set(&mut fields);
    fields
}

fn check_new(set: impl FnOnce(&mut SharedFields), expected: &str) {
    let mut document = Json::empty_object();
    let result = fields(set).write_new(&mut document);
    assert_eq!(outcome(result, &document), expected);
}

fn check_change(before: &str, set: impl FnOnce(&mut SharedFields), expected: &str) {
    let mut document = json::parse(before).expect("legal");
    let result = fields(set).write_changes(&mut document);
    assert_eq!(outcome(result, &document), expected);
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn hubs(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn the_simplest_document_is_the_vendors() {
    check_new(
        |_| {},
        r#"{"capabilities":{"iotEdge":false},"initialTwin":{"tags":{},"properties":{"desired":{}}},"reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true}}"#,
    );
}

#[test]
fn every_option_has_its_member() {
    check_new(
        |f| {
            f.edge_enabled = Some(true);
            f.tags = text(r#"{"version":1.0,"a":[1]}"#);
            f.properties = text(r#"{"z":1,"a":2}"#);
            f.provisioning_status = text("Disabled");
            f.reprovision_policy = text("never");
            f.allocation_policy = text("GEOLATENCY");
            f.iot_hubs = hubs(&["a.x b.x", "c.x"]);
        },
        r#"{"capabilities":{"iotEdge":true},"initialTwin":{"tags":{"version":1.0,"a":[1]},"properties":{"desired":{"z":1,"a":2}}},"provisioningStatus":"disabled","reprovisionPolicy":{"updateHubAssignment":false,"migrateDeviceData":false},"allocationPolicy":"geoLatency","iotHubs":["a.x","b.x","c.x"]}"#,
    );
}

#[test]
fn a_change_leaves_the_rest_where_it_is() {
    let before = r#"{"z":{"b":1.50,"a":1e5},"initialTwin":{"tags":{"a":1},"properties":{"desired":{"keep":1},"x":2}},"etag":"e","provisioningStatus":"enabled"}"#;
    check_change(before, |_| {}, before);
    check_change(
        before,
        |f| {
            f.provisioning_status = text("disabled");
            f.tags = text("");
        },
        r#"{"z":{"b":1.50,"a":1e5},"initialTwin":{"tags":{},"properties":{"desired":{"keep":1},"x":2}},"etag":"e","provisioningStatus":"disabled"}"#,
    );
    check_change(
        r#"{"a":1}"#,
        |f| f.properties = text(r#"{"p":1}"#),
        r#"{"a":1,"initialTwin":{"tags":{},"properties":{"desired":{"p":1}}}}"#,
    );
}

#[test]
fn a_static_policy_wants_exactly_one_hub() {
    let policy = |f: &mut SharedFields| f.allocation_policy = text("static");
    check_new(policy, "1: Please provide a hub to be assigned with device.");
    check_new(
        |f| {
            policy(f);
            f.iot_hubs = hubs(&["a.x", "b.x"]);
        },
        "1: Only one hub is required in static allocation policy.",
    );
    check_change(
        r#"{"allocationPolicy":"static","iotHubs":["a.x"]}"#,
        |f| f.iot_hubs = hubs(&["b.x c.x"]),
        "1: Only one hub is required in static allocation policy.",
    );
    check_change(
        r#"{"allocationPolicy":"hashed","iotHubs":["a.x"]}"#,
        policy,
        r#"{"allocationPolicy":"static","iotHubs":["a.x"]}"#,
    );
}

#[test]
fn hubs_want_a_policy_and_a_custom_policy_its_webhook() {
    check_new(|f| f.iot_hubs = hubs(&["a.x"]), "1: Please provide allocation policy.");
    check_new(
        |f| f.allocation_policy = text("nearest"),
        "2: Please provide valid allocation policy.",
    );
    let custom = |f: &mut SharedFields| {
        f.allocation_policy = text("custom");
        f.webhook_url = text("https://x/y");
    };
    check_new(
        custom,
        "1: Please provide both the Azure function webhook url and provisioning service \
         api-version when the allocation-policy is defined as Custom.",
    );
    check_change(
        "{}",
        |f| {
            custom(f);
            f.api_version = text("2019-03-31");
        },
        r#"{"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"https://x/y","apiVersion":"2019-03-31"}}"#,
    );
}

#[test]
fn an_update_does_not_judge_what_it_does_not_touch() {
    let before = r#"{"allocationPolicy":"static","iotHubs":[]}"#;
    check_change(
        before,
        |f| f.provisioning_status = text("enabled"),
        r#"{"allocationPolicy":"static","iotHubs":[],"provisioningStatus":"enabled"}"#,
    );
}

#[test]
fn a_word_that_is_none_is_refused_as_misuse() {
    check_new(|f| f.reprovision_policy = text("always"), "2: Invalid Reprovision Policy.");
    check_new(|f| f.provisioning_status = text("off"), "2: Invalid provisioning status.");
}

#[test]
fn the_deprecated_host_name_still_means_static() {
    check_change(
        r#"{"iotHubHostName":"old.x"}"#,
        |f| f.iot_hub_host_name = text("a.x"),
        r#"{"allocationPolicy":"static","iotHubs":["a.x"]}"#,
    );
}
