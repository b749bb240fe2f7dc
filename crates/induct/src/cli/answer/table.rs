//! Tables: which columns a resource has, and how a value fits into a cell.

use comfy_table::{ContentArrangement, Table, presets};
use model::Json;

use crate::cli::explain::explanation;

/// How much of an object a cell shows, in characters; what is cut off ends in `…`. Texts are never
/// cut: half a name or half a key is of no use.
const MAX_OBJECT_CHARS: usize = 120;

/// How a table shows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sheet {
    /// Individual enrollments.
    Enrollments,
    /// Enrollment groups.
    Groups,
    /// Registration records.
    Records,
    /// Registration records without an enrollment.
    Orphans,
    /// Device identities.
    Identities,
    /// Module identities.
    Modules,
    /// Twins, as lists of devices show them.
    Twins,
    /// Bans.
    Bans,
    /// Plans and receipts of deprovisionings.
    Deprovisionings,
    /// Devices of a plan or a receipt.
    DeprovisionedDevices,
    /// Attempts.
    Attempts,
    /// Who is refused most.
    RefusedOften,
    /// Why a device is admitted or refused: sentences.
    Explanation,
    /// What a change would mean, by entry.
    Simulation,
    /// Revocation lists.
    Crls,
    /// Shared access policies.
    Policies,
    /// Linked hubs.
    LinkedHubs,
    /// CA certificates.
    Certificates,
    /// What is counted.
    Usage,
    /// Lines of the audit log.
    Audit,
    /// Whatever members there are, a column each.
    Plain,
    /// Whatever members one object has, a line each: for long ones.
    Facts,
}

/// A column: its head and where its value is.
type Column = (&'static str, fn(&Json) -> Option<Json>);

impl Sheet {
    /// The answer as a table; one object is a table of one row.
    #[must_use]
    pub(crate) fn render(self, json: &Json) -> String {
        let rows = match json {
            Json::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        if self == Self::Explanation {
            let lines = rows.iter().flat_map(explanation);
            return lines.map(|line| clean(&line)).collect::<Vec<_>>().join("\n");
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let columns = self.columns();
        if self == Self::Facts {
            facts(&mut table, rows);
        } else if columns.is_empty() {
            plain(&mut table, rows);
        } else {
            table.set_header(columns.iter().map(|(head, _)| *head));
            table.add_row(columns.iter().map(|(head, _)| "-".repeat(head.len())));
            for row in rows {
                table.add_row(columns.iter().map(|(_, value)| cell(value(row).as_ref())));
            }
        }
        // Columns are padded to their width; nobody needs the padding at a line's end.
        let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
        lines.join("\n")
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::Enrollments => &[
                ("RegistrationId", |e| at(e, "registrationId")),
                ("Attestation", |e| at(e, "attestation.type")),
                ("Status", provisioning_status),
                ("DeviceId", |e| at(e, "deviceId")),
                ("Registration", |e| at(e, "registrationState.status")),
                ("AssignedHub", |e| at(e, "registrationState.assignedHub")),
                ("Updated", |e| at(e, "lastUpdatedDateTimeUtc")),
            ],
            Self::Groups => &[
                ("EnrollmentGroupId", |g| at(g, "enrollmentGroupId")),
                ("Attestation", |g| at(g, "attestation.type")),
                ("Status", provisioning_status),
                ("Allocation", |g| at(g, "allocationPolicy")),
                ("IotHubs", |g| at(g, "iotHubs")),
                ("Updated", |g| at(g, "lastUpdatedDateTimeUtc")),
            ],
            Self::Records => &[
                ("RegistrationId", |r| at(r, "registrationId")),
                ("Status", |r| at(r, "status")),
                ("Substatus", |r| at(r, "substatus")),
                ("AssignedHub", |r| at(r, "assignedHub")),
                ("DeviceId", |r| at(r, "deviceId")),
                ("Updated", |r| at(r, "lastUpdatedDateTimeUtc")),
            ],
            Self::Orphans => &[
                ("RegistrationId", |r| at(r, "registrationId")),
                ("EnrollmentGroupId", |r| at(r, "enrollmentGroupId")),
                ("Status", |r| at(r, "status")),
                ("AssignedHub", |r| at(r, "assignedHub")),
                ("DeviceId", |r| at(r, "deviceId")),
                ("Updated", |r| at(r, "lastUpdatedDateTimeUtc")),
            ],
            Self::Identities => &[
                ("DeviceId", |d| at(d, "deviceId")),
                ("Status", |d| at(d, "status")),
                ("StatusReason", |d| at(d, "statusReason")),
                ("Authentication", |d| at(d, "authentication.type")),
                ("ConnectionState", |d| at(d, "connectionState")),
            ],
            Self::Modules => &[
                ("DeviceId", |m| at(m, "deviceId")),
                ("ModuleId", |m| at(m, "moduleId")),
                ("Authentication", |m| at(m, "authentication.type")),
                ("ConnectionState", |m| at(m, "connectionState")),
                ("ManagedBy", |m| at(m, "managedBy")),
            ],
            Self::Twins => &[
                ("DeviceId", |t| at(t, "deviceId")),
                ("Status", |t| at(t, "status")),
                ("Authentication", |t| at(t, "authenticationType")),
                ("ConnectionState", |t| at(t, "connectionState")),
                ("Version", |t| at(t, "version")),
                ("Tags", |t| at(t, "tags")),
            ],
            Self::Crls => &[
                ("CA", |c| at(c, "ca")),
                ("State", |c| {
                    let is_stale = c.get("isStale") == Some(&Json::Bool(true));
                    Some(Json::from(if is_stale { "STALE" } else { "current" }))
                }),
                ("Revoked", |c| at(c, "revoked")),
                ("NewlyRevoked", |c| at(c, "newlyRevoked")),
                ("Number", |c| at(c, "number")),
                ("ThisUpdate", |c| at(c, "thisUpdate")),
                ("NextUpdate", |c| at(c, "nextUpdate")),
                ("Url", |c| at(c, "source.url")),
                ("LastError", |c| at(c, "source.lastError")),
                ("Id", |c| at(c, "id")),
            ],
            Self::Bans => &[
                ("Name", |b| at(b, "name")),
                ("Kind", |b| at(b, "kind")),
                ("Subject", |b| at(b, "subject")),
                ("Reason", |b| at(b, "reason")),
                ("By", |b| at(b, "by")),
                ("Created", |b| at(b, "created")),
                ("Expires", |b| at(b, "expires")),
            ],
            Self::Simulation => &[
                ("Effect", |s| at(s, "effect")),
                ("Devices", |s| at(s, "devices")),
                ("From", |s| at(s, "from")),
                ("To", |s| at(s, "to")),
                ("Why", |s| at(s, "why")),
                ("SuchAs", |s| at(s, "suchAs")),
            ],
            Self::Deprovisionings => &[
                ("Id", |r| at(r, "id")),
                ("Intent", |r| at(r, "intent")),
                ("State", |r| at(r, "state")),
                ("Devices", |r| at(r, "progress.devices")),
                ("Done", |r| at(r, "progress.done")),
                ("Failed", |r| at(r, "progress.failed")),
                ("Sessions", |r| at(r, "sessions.ended")),
                ("ClosedAfterMs", |r| at(r, "sessions.closedAfterMs")),
                ("By", |r| at(r, "by")),
                ("Created", |r| at(r, "created")),
                ("Reason", |r| at(r, "reason")),
            ],
            Self::DeprovisionedDevices => &[
                ("Number", |d| at(d, "number")),
                ("Device", |d| at(d, "registrationId").or_else(|| at(d, "deviceId"))),
                ("State", |d| at(d, "state")),
                ("Did", did),
                ("Sessions", |d| at(d, "sessions.ended")),
                ("ClosedAfterMs", |d| at(d, "sessions.closedAfterMs")),
                ("At", |d| at(d, "at")),
                ("Error", |d| at(d, "error")),
            ],
            Self::Attempts => &[
                ("Last", |a| at(a, "last")),
                ("Count", |a| at(a, "count")),
                ("Device", |a| at(a, "registrationId").or_else(|| at(a, "deviceId"))),
                ("Asked", |a| at(a, "asked")),
                ("Door", |a| at(a, "door")),
                ("Address", |a| at(a, "address")),
                ("Outcome", |a| at(a, "outcome")),
                ("Hub", |a| at(a, "assignedHub").or_else(|| at(a, "hub"))),
                ("Enrollment", |a| {
                    at(a, "enrollment.group").or_else(|| at(a, "enrollment.enrollment"))
                }),
                ("TrackingId", |a| at(a, "trackingId")),
                ("Reason", |a| at(a, "reason")),
            ],
            Self::RefusedOften => &[
                ("Who", |r| at(r, "registrationId").or_else(|| at(r, "address"))),
                ("Count", |r| at(r, "count")),
                ("MayBeLessBy", |r| at(r, "mayBeLessBy")),
                ("Since", |r| at(r, "since")),
                ("Last", |r| at(r, "last")),
                ("Reason", |r| at(r, "reason")),
            ],
            Self::Policies => &[
                ("KeyName", |p| at(p, "keyName")),
                ("Rights", |p| at(p, "rights")),
                ("PrimaryKey", |p| at(p, "primaryKey")),
                ("SecondaryKey", |p| at(p, "secondaryKey")),
                ("Updated", |p| at(p, "updated")),
            ],
            Self::LinkedHubs => &[
                ("Name", |h| at(h, "name")),
                ("BuiltIn", |h| at(h, "builtIn")),
                ("Weight", |h| at(h, "allocationWeight")),
                ("ApplyAllocationPolicy", |h| at(h, "applyAllocationPolicy")),
                ("Declared", |h| at(h, "declared")),
            ],
            Self::Certificates => &[
                ("Name", |c| at(c, "name")),
                ("Subject", |c| at(c, "subject")),
                ("Verified", |c| at(c, "isVerified")),
                ("Expiry", |c| at(c, "expiry")),
                ("UsedBy", |c| at(c, "usedBy")),
                ("VerificationCode", |c| at(c, "verificationCode")),
            ],
            Self::Usage => &[
                ("What", |u| at(u, "what")),
                ("Current", |u| at(u, "current")),
                ("Limit", |u| at(u, "limit")),
            ],
            Self::Audit => &[
                ("Number", |l| at(l, "number")),
                ("Time", |l| at(l, "time")),
                ("Policy", |l| at(l, "policy")),
                ("Address", |l| at(l, "address")),
                ("Action", |l| at(l, "action")),
                ("Target", |l| at(l, "target")),
            ],
            Self::Explanation | Self::Plain | Self::Facts => &[],
        }
    }
}

/// What was done to a device, part by part.
fn did(device: &Json) -> Option<Json> {
    let Some(Json::Array(parts)) = device.get("parts") else { return None };
    Some(Json::Array(parts.iter().filter_map(|part| part.get("did").cloned()).collect()))
}

/// A status nobody set means enabled (O §1.6).
fn provisioning_status(enrollment: &Json) -> Option<Json> {
    match at(enrollment, "provisioningStatus") {
        None | Some(Json::Null) => Some(Json::from("enabled")),
        status => status,
    }
}

fn at(json: &Json, path: &str) -> Option<Json> {
    path.split('.').try_fold(json, |json, name| json.get(name)).cloned()
}

/// The members of the first object are the columns; a list of anything else has one.
fn plain(table: &mut Table, rows: &[Json]) {
    let heads: Vec<&str> = match rows.first() {
        Some(Json::Object(members)) => members.iter().map(|(name, _)| name.as_str()).collect(),
        Some(_) => vec!["Result"],
        None => return,
    };
    table.set_header(heads.iter().map(|head| clean(head)));
    table.add_row(heads.iter().map(|head| "-".repeat(head.chars().count())));
    for row in rows {
        match row {
            Json::Object(_) => table.add_row(heads.iter().map(|head| cell(row.get(head)))),
            other => table.add_row([cell(Some(other))]),
        };
    }
}

/// The members' names and values.
fn facts(table: &mut Table, rows: &[Json]) {
    table.set_header(["Name", "Value"]);
    table.add_row(["----", "-----"]);
    for (name, value) in rows.iter().filter_map(Json::as_object).flatten() {
        table.add_row([clean(name), cell(Some(value))]);
    }
}

fn cell(value: Option<&Json>) -> String {
    match value {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => clean(text),
        Some(Json::Array(items)) if items.iter().all(|item| item.as_str().is_some()) => {
            clean(&items.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", "))
        }
        Some(other) => shortened(&clean(&other.to_string())),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_OBJECT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One line without control characters: a device's name must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sheet: Sheet, text: &str, expected: &[&str]) {
        let shown = sheet.render(&json::parse(text).expect("legal"));
        let words: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: Vec<Vec<&str>> =
            expected.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words, expected, "{shown}");
    }

    #[test]
    fn an_enrollment_nobody_switched_is_enabled() {
        check(
            Sheet::Enrollments,
            r#"[{"registrationId":"a","attestation":{"type":"tpm"},"provisioningStatus":null},
                {"registrationId":"b","attestation":{"type":"x509"},"provisioningStatus":"disabled"}]"#,
            &[
                "RegistrationId Attestation Status DeviceId Registration AssignedHub Updated",
                "-------------- ----------- ------ -------- ------------ ----------- -------",
                "a tpm enabled",
                "b x509 disabled",
            ],
        );
    }

    #[test]
    fn a_query_of_any_shape_makes_a_table() {
        check(Sheet::Plain, r#"[{"n":3,"x":["a","b"]}]"#, &["n x", "- -", "3 a, b"]);
        check(Sheet::Plain, "[]", &[]);
        let lines = ["Name  Value", "----  -----", "n     3", "x     a, b"];
        check(Sheet::Facts, r#"{"n":3,"x":["a","b"]}"#, &lines);
        check(Sheet::Plain, r#""key""#, &["Result", "------", "key"]);
    }

    #[test]
    fn no_text_of_a_device_steers_the_terminal() {
        let shown = Sheet::Plain.render(&json::parse(r#"["a\u001b[31m\nb"]"#).expect("legal"));
        assert!(shown.ends_with("a\u{fffd}[31m\u{fffd}b"), "{shown:?}");
    }

    #[test]
    fn an_object_is_cut_and_a_text_never() {
        let long = "x".repeat(500);
        let shown = |text: &str| Sheet::Plain.render(&json::parse(text).expect("legal"));
        assert!(shown(&format!(r#"["{long}"]"#)).ends_with(&long));
        let object = shown(&format!(r#"[{{"tags":{{"a":"{long}"}}}}]"#));
        assert!(object.ends_with("x…") && object.chars().count() < 200, "{object}");
    }
}
