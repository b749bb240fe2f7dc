//! What a change would mean, in words and as a table.

use model::Json;

use crate::cli::document::members;

/// How many devices a line of a table names.
const SUCH_AS: usize = 3;

/// A line per effect, and the first devices that it is about.
pub(super) fn rows(told: &Json) -> Json {
    let devices = items(told, "devices");
    let rows = items(told, "effects").iter().map(|effect| {
        let is_its = |device: &&Json| {
            ["effect", "from", "to", "why"].iter().all(|name| device.get(name) == effect.get(name))
        };
        let named =
            devices.iter().filter(is_its).filter_map(|device| text(device, "registrationId"));
        let such_as: Vec<Json> = named.take(SUCH_AS).map(Json::from).collect();
        let member = |name: &str| effect.get(name).cloned().unwrap_or(Json::Null);
        let named =
            |name: &str| Json::from(effect.get(name).map(place).unwrap_or_default().as_str());
        members([
            ("effect", member("effect")),
            ("devices", member("devices")),
            ("from", named("from")),
            ("to", named("to")),
            ("why", member("why")),
            ("suchAs", Json::Array(such_as)),
        ])
    });
    Json::Array(rows.collect())
}

/// What is worth saying beside the figures.
pub(super) fn remarks(told: &Json) -> Vec<String> {
    let mut remarks = Vec::new();
    let looked_at = count(told, "lookedAt");
    if items(told, "effects").is_empty() {
        remarks.push(match looked_at {
            0 => "No known device is concerned.".to_owned(),
            1 => "Nothing changes for the one device that was looked at.".to_owned(),
            n => format!("Nothing changes for the {n} devices that were looked at."),
        });
    }
    let more = match text(told, "stoppedBy") {
        Some("devices") => "--max-devices",
        Some(_) => "--max-seconds",
        None => return remarks,
    };
    remarks.push(format!(
        "WARNING: These are the first {looked_at} devices; there are more. Use {more} to look at \
         more of them."
    ));
    remarks
}

/// What is surprising about taking something away: that devices come back, or come in. That it
/// keeps devices out is no surprise, unless it is a CA certificate.
pub(super) fn warnings(told: &Json, warns_of_loss: bool) -> Vec<String> {
    let is_whole = told.get("isWhole") == Some(&Json::Bool(true));
    let at_least = if is_whole { "" } else { "at least " };
    let mut warnings = Vec::new();
    for (effect, to, n) in by_target(told) {
        let devices = |one: &str, many: &str| match n {
            1 => format!("{at_least}1 device {one}"),
            n => format!("{at_least}{n} devices {many}"),
        };
        warnings.push(match effect {
            "moves" => {
                let to = entry(to, n);
                format!("{} through {to}.", devices("comes back", "come back"))
            }
            "gains" => {
                let to = entry(to, n);
                let kept_out = devices("that is kept out now is", "that are kept out now are");
                format!("{kept_out} let in through {to}.")
            }
            "loses" if warns_of_loss => {
                format!("{}.", devices("is no longer admitted", "are no longer admitted"))
            }
            _ => continue,
        });
    }
    if warnings.is_empty() && !is_whole {
        warnings.push(
            "there are more devices than could be looked at in time, so some may come back \
             through another entry. `induct simulate-change` takes longer."
                .to_owned(),
        );
    }
    warnings.iter().map(|warning| format!("WARNING: {}", capitalized(warning))).collect()
}

/// How many devices come to which entry by which effect, in the order of the answer.
fn by_target(told: &Json) -> Vec<(&str, Option<&Json>, u64)> {
    let mut targets: Vec<(&str, Option<&Json>, u64)> = Vec::new();
    for effect in items(told, "effects") {
        let word = text(effect, "effect").unwrap_or_default();
        let (to, n) = (effect.get("to"), count(effect, "devices"));
        match targets.iter_mut().find(|(known, target, _)| *known == word && *target == to) {
            Some((.., sum)) => *sum += n,
            None => targets.push((word, to, n)),
        }
    }
    targets
}

/// The entry that admits so many devices.
fn entry(entry: Option<&Json>, n_devices: u64) -> String {
    match (entry.and_then(|entry| text(entry, "group")), n_devices) {
        (Some(group), _) => format!("group `{group}`"),
        (None, 1) => "its own enrollment".to_owned(),
        (None, _) => "their own enrollments".to_owned(),
    }
}

/// An entry in a cell.
fn place(entry: &Json) -> String {
    match text(entry, "group") {
        Some(group) => format!("group {group}"),
        None => "own enrollment".to_owned(),
    }
}

fn items<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    match json.get(name) {
        Some(Json::Array(items)) => items,
        _ => &[],
    }
}

fn text<'a>(json: &'a Json, name: &str) -> Option<&'a str> {
    json.get(name).and_then(Json::as_str)
}

fn count(json: &Json, name: &str) -> u64 {
    match json.get(name) {
        Some(Json::Number(digits)) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = r#"{"lookedAt":220,"isWhole":true,"effects":[
        {"effect":"moves","from":{"kind":"group","group":"line-4"},"to":{"kind":"group","group":"root-2022"},"devices":200},
        {"effect":"moves","from":{"kind":"enrollment"},"to":{"kind":"group","group":"root-2022"},"devices":14},
        {"effect":"gains","to":{"kind":"enrollment"},"devices":1},
        {"effect":"loses","from":{"kind":"group","group":"line-4"},"devices":3},
        {"effect":"unknown","why":"notKept","devices":2}],
        "devices":[
        {"registrationId":"a","effect":"moves","from":{"kind":"enrollment"},"to":{"kind":"group","group":"root-2022"}},
        {"registrationId":"b","effect":"loses","from":{"kind":"group","group":"line-4"}}]}"#;

    fn told(text: &str) -> Json {
        json::parse(text).expect("legal")
    }

    #[test]
    fn who_comes_back_is_counted_by_the_entry_it_comes_back_through() {
        let back = "WARNING: 214 devices come back through group `root-2022`.";
        let gain = "WARNING: 1 device that is kept out now is let in through its own enrollment.";
        assert_eq!(warnings(&told(TOLD), false), [back, gain]);
        let loss = "WARNING: 3 devices are no longer admitted.";
        assert_eq!(warnings(&told(TOLD), true), [back, gain, loss]);
        let part = TOLD.replace(r#""isWhole":true"#, r#""isWhole":false,"stoppedBy":"time""#);
        let back = "WARNING: At least 214 devices come back through group `root-2022`.";
        assert_eq!(warnings(&told(&part), false)[0], back);
    }

    #[test]
    fn nothing_is_warned_of_where_nothing_surprises() {
        let nothing = r#"{"lookedAt":1,"isWhole":true,"effects":[{"effect":"loses","devices":1}]}"#;
        assert!(warnings(&told(nothing), false).is_empty());
        let cut = r#"{"lookedAt":9,"isWhole":false,"stoppedBy":"time","effects":[]}"#;
        assert!(warnings(&told(cut), false)[0].contains("could be looked at in time"));
    }

    #[test]
    fn a_table_names_the_first_devices_of_each_line() {
        let rows = rows(&told(TOLD));
        let Json::Array(rows) = rows else { panic!("{rows}") };
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[0].get("suchAs"), Some(&Json::Array(Vec::new())));
        assert_eq!(rows[1].get("suchAs"), Some(&Json::Array(vec![Json::from("a")])));
        assert_eq!(rows[1].get("from"), Some(&Json::from("own enrollment")));
        assert_eq!(rows[3].get("suchAs"), Some(&Json::Array(vec![Json::from("b")])));
    }

    #[test]
    fn what_was_not_looked_at_is_said() {
        assert!(remarks(&told(TOLD)).is_empty());
        let none = r#"{"lookedAt":0,"isWhole":true,"effects":[]}"#;
        assert_eq!(remarks(&told(none)), ["No known device is concerned."]);
        let cut = r#"{"lookedAt":9,"isWhole":false,"stoppedBy":"devices","effects":[]}"#;
        let remarks = remarks(&told(cut));
        assert!(remarks[1].contains("first 9 devices") && remarks[1].contains("--max-devices"));
    }
}
