//! Plans and receipts for people.

use model::Json;

/// Where a deprovisioning stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its devices are being collected.
    Planning,
    /// It can be applied.
    Planned,
    /// It is being applied.
    Applying,
    /// It is done.
    Done,
}

impl Standing {
    pub(super) fn of(document: &Json) -> Self {
        match text(document, "state") {
            "planning" => Self::Planning,
            "planned" => Self::Planned,
            "done" => Self::Done,
            _ => Self::Applying,
        }
    }
}

/// What an intent does to things, in words.
struct Verbs {
    past: &'static str,
    infinitive: &'static str,
    enrollments: &'static str,
    records: &'static str,
    identities: &'static str,
    bans: &'static str,
}

const fn verbs(intent: &str) -> Verbs {
    match intent.as_bytes() {
        b"suspend" => Verbs {
            past: "Suspended",
            infinitive: "suspend",
            enrollments: "disabled",
            records: "kept",
            identities: "disabled",
            bans: "set",
        },
        b"reinstate" => Verbs {
            past: "Reinstated",
            infinitive: "reinstate",
            enrollments: "enabled, as far as the suspension disabled them",
            records: "kept",
            identities: "enabled, as far as the suspension disabled them",
            bans: "lifted",
        },
        b"retire" => Verbs { past: "Retired", infinitive: "retire", ..REMOVED },
        _ => Verbs { past: "Revoked", infinitive: "revoke", ..REMOVED },
    }
}

const REMOVED: Verbs = Verbs {
    past: "",
    infinitive: "",
    enrollments: "deleted",
    records: "deleted",
    identities: "deleted",
    bans: "set",
};

/// The text at a path; empty where there is none.
pub(super) fn text<'a>(json: &'a Json, path: &str) -> &'a str {
    at(json, path).and_then(Json::as_str).unwrap_or_default()
}

/// The count at a path; 0 where there is none.
pub(super) fn count(json: &Json, path: &str) -> u64 {
    match at(json, path) {
        Some(Json::Number(digits)) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(json, |json, name| json.get(name))
}

fn items<'a>(json: &'a Json, path: &str) -> &'a [Json] {
    match at(json, path) {
        Some(Json::Array(items)) => items,
        _ => &[],
    }
}

/// Whether there is no device and nothing else that the plan is about.
pub(super) fn selects_nobody(plan: &Json) -> bool {
    count(plan, "plan.devices") == 0
        && count(plan, "plan.unchanged") == 0
        && items(plan, "wholes").is_empty()
}

/// Whether all is as it would be afterwards.
pub(super) fn changes_nothing(plan: &Json) -> bool {
    count(plan, "plan.devices") == 0 && items(plan, "wholes").is_empty()
}

/// Devices of a plan that are told by their names.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The first ones that would still get in, each with the entry.
    pub(super) admitted: Vec<String>,
    /// How many there are of whom nothing is known.
    pub(super) n_strangers: u64,
    /// The first ones of these.
    pub(super) strangers: Vec<String>,
}

/// A plan.
pub(super) fn plan(plan: &Json, named: &Named) -> Vec<String> {
    let (intent, id) = (text(plan, "intent"), text(plan, "id"));
    let verbs = verbs(intent);
    let n_devices = count(plan, "plan.devices");
    let unchanged = match count(plan, "plan.unchanged") {
        0 => String::new(),
        n => format!("; {n} more {} so already", is_are(n)),
    };
    let infinitive = verbs.infinitive;
    let mut lines = vec![format!("Plan {id}: {infinitive} {}{unchanged}.", devices(n_devices))];
    let mut fact = |name: &str, what: String| lines.push(format!("  {name:<14} {what}"));
    for whole in items(plan, "wholes") {
        let (name, what) = of_whole(whole);
        fact(name, what);
    }
    for (name, path, verb) in [
        ("enrollments", "plan.enrollments", verbs.enrollments),
        ("records", "plan.records", verbs.records),
        ("bans", "plan.bans", verbs.bans),
        ("live sessions", "plan.sessions", "ended"),
    ] {
        let n = count(plan, path);
        if n > 0 {
            fact(name, format!("{n} {} {verb}", is_are(n)));
        }
    }
    for hub in items(plan, "plan.identities") {
        let (n, name) = (count(hub, "devices"), text(hub, "hub"));
        fact("identities", format!("{n} on {name} {} {}", is_are(n), verbs.identities));
    }
    if n_devices > 0 && intent != "reinstate" {
        lines.extend(strangers(named));
        lines.extend(prospects(plan, &named.admitted));
    }
    lines.extend(beside(plan));
    lines
}

/// What reaches further than the selection, or not as far as one may think.
fn beside(plan: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    let n = count(plan, "plan.others");
    if n > 0 {
        let sessions = match count(plan, "plan.otherSessions") {
            0 => String::new(),
            1 => "; 1 live session of theirs is ended".to_owned(),
            n => format!("; {n} live sessions of theirs are ended"),
        };
        lines.push(format!(
            "WARNING: the ban on the CA keeps out {} of other enrollments as well{sessions}:",
            devices(n)
        ));
        let groups = items(plan, "plan.otherGroups");
        lines.extend(groups.iter().map(|group| {
            format!(
                "  {} of the group `{}`",
                devices(count(group, "devices")),
                text(group, "group")
            )
        }));
        let n_named: u64 = groups.iter().map(|group| count(group, "devices")).sum();
        if n > n_named {
            lines.push(format!("  {} of other enrollments", devices(n - n_named)));
        }
    }
    let n = count(plan, "plan.byKey");
    if n > 0 {
        lines.push(format!(
            "WARNING: {} {} by a symmetric key. Only the ID is banned, not the key:",
            devices(n),
            if n == 1 { "proves itself" } else { "prove themselves" },
        ));
        lines.push(
            "  whoever has a group's key may register under another ID, through that group or one \
             that is given the same key. Change the key as well."
                .to_owned(),
        );
    }
    lines
}

/// Of whom nothing is known: a ban keeps them out, but it may not be who is meant.
fn strangers(named: &Named) -> Vec<String> {
    let n = named.n_strangers;
    if n == 0 {
        return Vec::new();
    }
    let more = match n - named.strangers.len() as u64 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    vec![
        format!(
            "WARNING: nothing is known of {}: no enrollment, no record, no identity here.",
            devices(n)
        ),
        format!("  Check the spelling: {}{more}", named.strangers.join(", ")),
    ]
}

/// Who would still get in.
fn prospects(plan: &Json, entries: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    match count(plan, "plan.stillAdmitted") {
        0 => lines.push("  Afterwards none of them gets in by any entry.".to_owned()),
        n => {
            lines.push(format!("WARNING: {} would still get in:", devices(n)));
            lines.extend(entries.iter().map(|entry| format!("  {entry}")));
            let n_named = entries.len() as u64;
            if n > n_named {
                lines.push(format!("  and {} more", n - n_named));
            }
        }
    }
    for group in items(plan, "plan.heldOff") {
        let (n, name) = (count(group, "devices"), text(group, "group"));
        lines.push(format!(
            "  Only the bans keep {} out of the group `{name}`; without them {} back through it.",
            devices(n),
            if n == 1 { "it would come" } else { "they would come" },
        ));
    }
    match count(plan, "plan.unknown").saturating_sub(count(plan, "plan.knownNowhere")) {
        0 => {}
        n => lines.push(format!(
            "  Of {} it is not known what {} can prove {} with.",
            devices(n),
            if n == 1 { "it" } else { "they" },
            if n == 1 { "itself" } else { "themselves" },
        )),
    }
    lines
}

fn of_whole(whole: &Json) -> (&'static str, String) {
    let group = text(whole, "group");
    match text(whole, "act") {
        "disableGroup" => ("group", format!("{group} is disabled")),
        "deleteGroup" => ("group", format!("{group} is deleted")),
        "enableGroup" => ("group", format!("{group} is enabled")),
        _ => {
            let subject = text(whole, "subject");
            match subject.is_empty() {
                true => ("certificate", format!("{} is banned", text(whole, "ban"))),
                false => ("CA", format!("{subject} is banned")),
            }
        }
    }
}

/// A device of a plan that would still get in, with the entry; `None` for others.
pub(super) fn entry(device: &Json) -> Option<String> {
    let by = at(device, "plan.admittedBy")?;
    let (kind, name) = match text(by, "group") {
        "" => ("its enrollment", text(by, "enrollment")),
        group => ("the enrollment group", group),
    };
    Some(format!("{} by {kind} `{name}`", name_of(device)))
}

/// A device of a plan of which nothing is here, by its name; `None` for others.
pub(super) fn stranger(device: &Json) -> Option<&str> {
    // Remote hubs are told of a device whether or not they know it.
    let is_here = |identity: &Json| identity.get("isRemote") != Some(&Json::Bool(true));
    let is_known = ["plan.enrollment", "plan.record"].iter().any(|path| at(device, path).is_some())
        || items(device, "plan.identities").iter().any(is_here)
        || at(device, "plan.isUnchanged") == Some(&Json::Bool(true));
    (!is_known).then(|| name_of(device))
}

/// A receipt.
pub(super) fn receipt(receipt: &Json) -> Vec<String> {
    let (intent, id) = (text(receipt, "intent"), text(receipt, "id"));
    let n_done = count(receipt, "progress.done");
    let unchanged = match count(receipt, "progress.unchanged") {
        0 => String::new(),
        n => format!("; {n} {} so already", if n == 1 { "was" } else { "were" }),
    };
    let mut lines = vec![format!("{} {}{unchanged}.", verbs(intent).past, devices(n_done))];
    for whole in items(receipt, "wholes") {
        if text(whole, "outcome") == "leftAlone" {
            let (group, why) = (text(whole, "group"), text(whole, "why"));
            lines.push(format!("  The group {group} was left alone: {why}."));
        }
    }
    let n_sessions = count(receipt, "sessions.ended");
    if n_sessions > 0 {
        let closed = match at(receipt, "sessions.closedAfterMs") {
            Some(Json::Number(ms)) => {
                format!("; the slowest was closed {ms} ms after the act that ended it")
            }
            _ => String::new(),
        };
        let noun = if n_sessions == 1 { "live session" } else { "live sessions" };
        lines.push(format!("  {n_sessions} {noun} ended{closed}."));
    }
    let remote = |name: &str| count(receipt, &format!("progress.{name}"));
    let (pending, done, failed) =
        (remote("remotePending"), remote("remoteDone"), remote("remoteFailed"));
    if pending + done + failed > 0 {
        lines.push(format!(
            "  Remote hubs: {done} steps done, {pending} still to be done, {failed} failed."
        ));
    }
    lines.push(format!("  `induct receipt show {id} --devices` says what became of each."));
    if intent == "suspend" && n_done > 0 {
        lines.push(format!("  `induct reinstate --receipt {id}` undoes it."));
    }
    lines
}

/// That something failed.
pub(super) fn failures(n_devices: u64, n_remote: u64) -> String {
    match (n_devices, n_remote) {
        (0, n) => format!("{n} steps on remote hubs failed; all that is here is done."),
        (n, 0) => format!("{} failed, and nothing of theirs was changed.", devices(n)),
        (n, m) => format!("{} failed, and {m} steps on remote hubs.", devices(n)),
    }
}

/// A device that failed, and why.
pub(super) fn failed_device(device: &Json) -> String {
    let (error, remedy) = (text(device, "error"), text(device, "remedy"));
    format!("{}: {error}; {remedy}", name_of(device))
}

fn name_of(device: &Json) -> &str {
    match text(device, "registrationId") {
        "" => text(device, "deviceId"),
        id => id,
    }
}

fn devices(n: u64) -> String {
    if n == 1 { "1 device".to_owned() } else { format!("{n} devices") }
}

const fn is_are(n: u64) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{"id":"0f","intent":"retire","state":"planned",
        "wholes":[{"act":"deleteGroup","group":"line-4","outcome":"planned"},
                  {"act":"setBan","ban":"ca:1","subject":"CN=root","outcome":"planned"}],
        "plan":{"devices":50,"unchanged":2,"enrollments":1,"records":50,"sessions":12,"bans":50,
                "identities":[{"hub":"hub-1.example.test","devices":50}],"stillAdmitted":3,
                "heldOff":[{"group":"root-2022","devices":214}],"unknown":1}}"#;

    fn json(text: &str) -> Json {
        json::parse(text).expect("JSON")
    }

    #[test]
    fn a_plan_names_all_it_touches_and_who_would_still_get_in() {
        let device =
            json(r#"{"registrationId":"press-17","plan":{"admittedBy":{"group":"root-2022"}}}"#);
        let other = json(r#"{"deviceId":"a","plan":{}}"#);
        let admitted = [device, other].iter().filter_map(entry).collect();
        let named = Named { admitted, n_strangers: 3, strangers: vec!["pres-1".to_owned()] };
        let expected = "\
Plan 0f: retire 50 devices; 2 more are so already.
  group          line-4 is deleted
  CA             CN=root is banned
  enrollments    1 is deleted
  records        50 are deleted
  bans           50 are set
  live sessions  12 are ended
  identities     50 on hub-1.example.test are deleted
WARNING: nothing is known of 3 devices: no enrollment, no record, no identity here.
  Check the spelling: pres-1 and 2 more
WARNING: 3 devices would still get in:
  press-17 by the enrollment group `root-2022`
  and 2 more
  Only the bans keep 214 devices out of the group `root-2022`; without them they would come back through it.
  Of 1 device it is not known what it can prove itself with.";
        assert_eq!(plan(&json(PLAN), &named).join("\n"), expected);
    }

    #[test]
    fn a_plan_tells_whom_else_it_reaches_and_whom_it_may_not_keep_out() {
        let check = |totals: &str, expected: &str| {
            let plan = json(&format!(r#"{{"plan":{{{totals}}}}}"#));
            assert_eq!(beside(&plan).join("\n"), expected, "{totals}");
        };
        check(r#""others":0,"otherSessions":0,"otherGroups":[],"byKey":0"#, "");
        check(
            r#""others":4,"otherSessions":2,"otherGroups":[{"group":"line-5","devices":3}]"#,
            "\
WARNING: the ban on the CA keeps out 4 devices of other enrollments as well; 2 live sessions of theirs are ended:
  3 devices of the group `line-5`
  1 device of other enrollments",
        );
        check(
            r#""byKey":1"#,
            "\
WARNING: 1 device proves itself by a symmetric key. Only the ID is banned, not the key:
  whoever has a group's key may register under another ID, through that group or one that is given the same key. Change the key as well.",
        );
    }

    #[test]
    fn a_device_is_a_stranger_when_nothing_of_it_is_here() {
        let check = |plan: &str, expected: Option<&str>| {
            let device = json(&format!(r#"{{"registrationId":"pres-17","plan":{{{plan}}}}}"#));
            assert_eq!(stranger(&device), expected, "{plan}");
        };
        check(r#""identities":[],"isUnchanged":false"#, Some("pres-17"));
        check(r#""identities":[],"isUnchanged":true"#, None);
        check(r#""identities":[{"hub":"h","isRemote":false}]"#, None);
        check(r#""identities":[{"hub":"h","isRemote":true}]"#, Some("pres-17"));
        check(r#""identities":[],"record":"assigned""#, None);
        check(r#""identities":[],"enrollment":{"individual":"pres-17"}"#, None);
    }

    #[test]
    fn a_receipt_says_how_soon_sessions_were_closed_and_how_to_go_back() {
        let text = r#"{"id":"0f","intent":"suspend","state":"done","wholes":[],
            "progress":{"done":1,"unchanged":1,"remoteDone":1,"remotePending":2},
            "sessions":{"ended":1,"closedAfterMs":2.034}}"#;
        let expected = "\
Suspended 1 device; 1 was so already.
  1 live session ended; the slowest was closed 2.034 ms after the act that ended it.
  Remote hubs: 1 steps done, 2 still to be done, 0 failed.
  `induct receipt show 0f --devices` says what became of each.
  `induct reinstate --receipt 0f` undoes it.";
        assert_eq!(receipt(&json(text)).join("\n"), expected);
    }

    #[test]
    fn a_plan_of_nobody_is_told_apart_from_one_that_changes_nothing() {
        let check = |totals: &str, wholes: &str, nobody: bool, nothing: bool| {
            let plan = json(&format!(r#"{{"plan":{{{totals}}},"wholes":[{wholes}]}}"#));
            assert_eq!((selects_nobody(&plan), changes_nothing(&plan)), (nobody, nothing));
        };
        check(r#""devices":0,"unchanged":0"#, "", true, true);
        check(r#""devices":0,"unchanged":1"#, "", false, true);
        check(r#""devices":1,"unchanged":0"#, "", false, false);
        check(r#""devices":0,"unchanged":0"#, r#"{"act":"deleteGroup"}"#, false, false);
    }
}
