//! An explanation for people: the steps, what came of them, and at the end what to change.

use model::Json;

/// How wide the names in front of facts are.
const NAME_WIDTH: usize = 12;

/// An explanation, line by line.
pub(crate) fn explanation(json: &Json) -> Vec<String> {
    let mut lines: Vec<String> =
        texts(json, "steps").enumerate().map(|(n, step)| format!("{:>3}. {step}", n + 1)).collect();
    if lines.is_empty() {
        lines.push("Nothing was looked up.".to_owned());
    }
    lines.push(String::new());
    let mut fact = |name: &str, text: &str| lines.push(format!("{name:<NAME_WIDTH$}{text}"));
    fact("Outcome", &format!("{}: {}", text(json, "outcome"), text(json, "told")));
    if let Some(entry) = json.get("enrollment").and_then(entry) {
        fact("Decided by", &entry);
    }
    if let Some(Json::Array(bans)) = json.get("bans") {
        for ban in bans {
            fact("Ban", &described(ban));
        }
    }
    if let Some(record) = json.get("registration") {
        fact("Now", &standing(record));
    }
    if let Some(attempt) = json.get("attempt") {
        let (n, door) = (number(attempt, "count"), text(attempt, "door"));
        let (first, address) = (text(attempt, "first"), text(attempt, "address"));
        let again = match n.as_str() {
            "1" => String::new(),
            n => format!("; {n} times until {}", text(attempt, "last")),
        };
        fact("Attempt", &format!("{first} over {door} from {address}{again}"));
    }
    for assumed in texts(json, "assumed") {
        fact("Note", assumed);
    }
    if let Some(remedy) = json.get("remedy").and_then(Json::as_str) {
        lines.push(String::new());
        lines.push(format!("{:<NAME_WIDTH$}{remedy}", "Remedy"));
    }
    lines
}

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn number(json: &Json, name: &str) -> String {
    json.get(name).map(Json::to_string).unwrap_or_default()
}

fn texts<'a>(json: &'a Json, name: &str) -> impl Iterator<Item = &'a str> {
    let items = match json.get(name) {
        Some(Json::Array(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(Json::as_str)
}

fn entry(enrollment: &Json) -> Option<String> {
    let group = enrollment.get("group").and_then(Json::as_str);
    let individual = || enrollment.get("enrollment").and_then(Json::as_str);
    group
        .map(|id| format!("the group {id}"))
        .or_else(|| individual().map(|id| format!("the individual enrollment of {id}")))
}

fn described(ban: &Json) -> String {
    let head = format!("{} ({} by {}", text(ban, "name"), text(ban, "kind"), text(ban, "by"));
    match ban.get("reason").and_then(Json::as_str) {
        Some(reason) => format!("{head}: {reason})"),
        None => format!("{head})"),
    }
}

fn standing(record: &Json) -> String {
    let status = text(record, "status");
    match record.get("assignedHub").and_then(Json::as_str) {
        Some(hub) => format!("{status}, on {hub} as {}", text(record, "deviceId")),
        None => format!("{status}, on no hub"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let lines = explanation(&json::parse(text).expect("legal"));
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_explanation_ends_with_what_to_change() {
        check(
            r#"{"asked":"register","registrationId":"a","outcome":"Banned","isAdmission":false,
                "told":"`a` would be refused: it is banned.","steps":["One.","Two."],
                "enrollment":{"group":"line-4"},"remedy":"Lift the ban.","assumed":["A note."],
                "bans":[{"name":"registration:a","kind":"revoked","by":"ana","reason":"stolen"}],
                "registration":{"status":"assigned","assignedHub":"hub-1.localhost","deviceId":"a"}}"#,
            &[
                "  1. One.",
                "  2. Two.",
                "",
                "Outcome     Banned: `a` would be refused: it is banned.",
                "Decided by  the group line-4",
                "Ban         registration:a (revoked by ana: stolen)",
                "Now         assigned, on hub-1.localhost as a",
                "Note        A note.",
                "",
                "Remedy      Lift the ban.",
            ],
        );
    }

    #[test]
    fn an_attempt_says_when_how_often_and_from_where() {
        check(
            r#"{"outcome":"NotEnrolled","told":"No.","steps":[],"assumed":[],"bans":[],
                "attempt":{"count":3,"door":"mqtt","first":"T1","last":"T2","address":"192.0.2.7"}}"#,
            &[
                "Nothing was looked up.",
                "",
                "Outcome     NotEnrolled: No.",
                "Attempt     T1 over mqtt from 192.0.2.7; 3 times until T2",
            ],
        );
    }
}
