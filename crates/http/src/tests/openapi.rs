//! The OpenAPI document of the management API, compared with the one that is checked in.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::openapi;
use crate::routes::{Area, ROUTES};

fn document() -> Value {
    serde_json::from_str(&openapi::document().to_string()).expect("JSON")
}

/// Set `INDUCT_UPDATE=1` to write the file anew after a change of the API.
#[test]
fn the_document_that_is_checked_in_is_the_one_the_routes_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi-v1.json");
    let mut made = serde_json::to_string_pretty(&document()).expect("text");
    made.push('\n');
    if std::env::var_os("INDUCT_UPDATE").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("docs/openapi-v1.json");
    assert!(kept == made, "the API changed: look at the difference with INDUCT_UPDATE=1");
}

#[test]
fn every_management_endpoint_is_described_with_its_right() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in ROUTES.iter().filter(|route| route.area == Area::Manage) {
        let method = route.method.as_str().to_lowercase();
        let described = &document["paths"][route.template][method.as_str()];
        let right = route.right.expect("a right").name();
        assert_eq!(described["x-right"], right, "{method} {}", route.template);
        assert!(ids.insert(described["operationId"].to_string()), "{described}");
    }
}

#[test]
fn our_own_endpoints_on_a_hubs_host_are_described_as_such() {
    let document = document();
    let own = |route: &&crate::routes::Route| {
        route.area == Area::Hub && route.template.starts_with(openapi::OWN)
    };
    let routes: Vec<_> = ROUTES.iter().filter(own).collect();
    assert_eq!(routes.len(), 2);
    for route in routes {
        let method = route.method.as_str().to_lowercase();
        let described = &document["paths"][route.template][method.as_str()];
        assert_eq!(described["x-host"], "hub", "{method} {}", route.template);
        assert_eq!(described["x-right"], "ServiceConnect");
        let schema = &described["responses"]["default"]["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/HubError");
    }
}

#[test]
fn every_reference_leads_to_a_schema_and_every_schema_is_referred_to() {
    let document = document();
    let mut referred = BTreeSet::new();
    collect(&document, &mut referred);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let there: BTreeSet<_> =
        schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(referred, there);
}

fn collect(value: &Value, referred: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(place) if name == "$ref" => {
                        referred.insert(place.clone());
                    }
                    other => collect(other, referred),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, referred)),
        _ => {}
    }
}
