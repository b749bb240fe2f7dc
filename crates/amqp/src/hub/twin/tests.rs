//! How requests are read, and twins through the whole door (H §4.3.5).

mod door;

use super::*;

fn asking(annotations: &[(&str, Value)], body: Body) -> Message {
    let annotations = annotations.iter().map(|(key, value)| (symbol(key), value.clone()));
    let annotations = annotations.collect();
    Message { message_annotations: annotations, body, ..Message::default() }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[track_caller]
fn check(annotations: &[(&str, Value)], expected: &Operation) {
    let body = Body::Data(vec![Bytes::from_static(b"{}")]);
    let read = read(encode_message(&asking(annotations, body))).expect("legal");
    assert_eq!(read, (None, expected.clone()), "{annotations:?}");
}

fn report(expected_version: Option<u64>) -> Operation {
    Operation::Report { patch: Bytes::from_static(b"{}"), expected_version }
}

#[test]
fn requests_are_read_as_the_clients_write_them() {
    let (get, patch, put) = (text("GET"), text("PATCH"), text("PUT"));
    let (reported, desired) = (text(REPORTED), text(DESIRED));
    check(&[("operation", get.clone())], &Operation::Get);
    check(&[("operation", get), ("resource", Value::Null)], &Operation::Get);
    let of_reported = |version: Option<Value>| {
        let mut pairs = vec![("operation", patch.clone()), ("resource", reported.clone())];
        pairs.extend(version.map(|version| ("version", version)));
        pairs
    };
    check(&of_reported(None), &report(None));
    check(&of_reported(Some(Value::Null)), &report(None));
    check(&of_reported(Some(Value::Long(4))), &report(Some(4)));
    check(&of_reported(Some(Value::Int(4))), &report(Some(4)));
    check(&of_reported(Some(Value::Long(-1))), &Operation::Unknown("`version` is not negative"));
    check(&of_reported(Some(text("x"))), &Operation::Unknown("`version` is a whole number"));
    let symbol = Value::Symbol("patch".to_owned());
    check(&[("operation", symbol), ("resource", text("/properties/reported/"))], &report(None));
    check(&[("operation", put.clone()), ("resource", desired.clone())], &Operation::Subscribe);
    check(&[("operation", text("DELETE")), ("resource", desired)], &Operation::Unsubscribe);
    let nothing = Operation::Unknown("there is no such `resource`");
    check(&[("operation", put.clone()), ("resource", reported)], &nothing);
    check(&[("operation", put)], &nothing);
    let unknown = Operation::Unknown("`operation` is GET, PATCH, PUT or DELETE");
    check(&[], &unknown);
    check(&[("operation", text("POST"))], &unknown);
}

#[test]
fn nodes_report_is_a_text() {
    let annotations = [("operation", text("PATCH")), ("resource", text(REPORTED))];
    let read = |body| read(encode_message(&asking(&annotations, body))).expect("legal").1;
    assert_eq!(read(Body::Value(text("{}"))), report(None));
    let none = Operation::Unknown("a report has a body of data");
    assert_eq!(read(Body::Value(Value::Int(1))), none);
}

#[test]
fn what_is_no_message_is_refused() {
    let error = read(Bytes::from_static(b"\0")).expect_err("no message");
    assert_eq!(error.condition, errors::DECODE);
}
