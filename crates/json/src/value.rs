//! [`Json`] to and from `serde_json::Value`, for the places that speak serde.

use model::Json;
use serde_json::{Map, Number, Value};

/// The value, with its members in order and its numbers as `serde_json` holds them.
#[must_use]
pub fn from_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Number(number) => Json::Number(number.to_string().into()),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(from_value).collect()),
        Value::Object(members) => {
            Json::Object(members.iter().map(|(n, v)| (n.clone(), from_value(v))).collect())
        }
    }
}

/// The value as `serde_json` holds it.
///
/// `serde_json` may write a number's exponent in its own way (`1E5` as `1e+5`); to send a
/// document on exactly as it came, print the [`Json`] itself. A [`Json::Number`] whose token is
/// not a number, which no parser of ours makes, becomes a string.
#[must_use]
pub fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(token) => match token.parse::<Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(token.to_string()),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(to_value).collect()),
        Json::Object(members) => {
            let members = members.iter().map(|(n, v)| (n.clone(), to_value(v)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}
