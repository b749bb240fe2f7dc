//! Which devices: the options that select them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, builder::NonEmptyStringValueParser};
use model::Json;
use wire::manage::MAX_DEPROVISIONING_BYTES;

use crate::cli::{
    api::{Api, Top, own_path},
    complaint::Complaint,
    input,
    registration::seconds,
};

/// The conditions on records, for messages.
const CONDITIONS: &str = "status=WORD, hub=NAME, group=ID, enrollment=ID, older-than=AGE, \
                          updated-since=TIME, updated-before=TIME or orphaned";

/// Which devices.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which devices")]
pub(super) struct Which {
    /// A device by its registration ID; may be given several times.
    #[arg(long, visible_alias = "rid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    registration_id: Vec<String>,
    /// Devices by their registration IDs in a file, one a line; # begins a comment.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Devices that this group decided last; alone, the group as a whole.
    #[arg(long, visible_alias = "gid", alias = "group-id", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// Devices that are on this hub or assigned to it, by its name or host name.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    hub: Option<String>,
    /// Devices whose admission rests on this certificate: a .pem or .cer file. A CA's means the CA,
    /// alone the CA as a whole.
    #[arg(long, visible_alias = "cp", value_name = "FILE", conflicts_with = "thumbprint")]
    certificate: Option<PathBuf>,
    /// The same, by the certificate's thumbprint: SHA-1 or SHA-256 in hex.
    #[arg(long, value_name = "HEX")]
    thumbprint: Option<String>,
    /// Devices with such a registration record: status=WORD, hub=NAME, group=ID, enrollment=ID,
    /// older-than=AGE (such as 90d), updated-since=TIME, updated-before=TIME, orphaned. Several, by
    /// commas or repeated, must all hold.
    #[arg(long = "where", value_name = "CONDITION", value_delimiter = ',',
          value_parser = condition)]
    conditions: Vec<Condition>,
    /// Devices that this hub query finds; with --hub on that hub, else on any built-in one.
    #[arg(long, visible_alias = "tq", value_name = "QUERY")]
    twin_query: Option<String>,
    /// Devices that this receipt's deprovisioning changed.
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    receipt: Option<String>,
}

/// A condition on records, as the API has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    member: &'static str,
    value: Json,
}

impl Which {
    /// Whether no device is selected.
    pub(super) const fn is_empty(&self) -> bool {
        self.registration_id.is_empty()
            && self.file.is_none()
            && self.group.is_none()
            && self.hub.is_none()
            && self.certificate.is_none()
            && self.thumbprint.is_none()
            && self.conditions.is_empty()
            && self.twin_query.is_none()
            && self.receipt.is_none()
    }

    /// The selection as the API takes it. Short names of hubs are looked up.
    ///
    /// # Errors
    /// Nothing is selected, or a file cannot be read, or there is no such hub.
    pub(super) async fn document(self, api: &Api) -> Result<Json, Complaint> {
        if self.is_empty() {
            let text = "No devices are selected.";
            return Err(Complaint::misuse(text).with_remedy(
                "Name them: --registration-id, --file, --group, --hub, --certificate, \
                 --thumbprint, --where, --twin-query or --receipt.",
            ));
        }
        let mut select = Json::empty_object();
        if let Some(ids) = self.listed()? {
            let ids = ids.into_iter().map(Json::String).collect();
            select.set("registrationIds", Json::Array(ids));
        }
        let texts =
            [("group", self.group), ("thumbprint", self.thumbprint), ("receipt", self.receipt)];
        for (name, text) in texts {
            if let Some(text) = text {
                select.set(name, Json::String(text));
            }
        }
        if let Some(hub) = &self.hub {
            select.set("hub", host_name(api, hub).await?);
        }
        if let Some(path) = &self.certificate {
            select.set("certificate", input::certificate("--certificate", path)?);
        }
        if !self.conditions.is_empty() {
            let mut records = Json::empty_object();
            for Condition { member, value } in self.conditions {
                if records.get(member).is_some() {
                    let name = as_typed(member);
                    let text = format!("--where says {name} twice; conditions must all hold.");
                    return Err(Complaint::misuse(text)
                        .with_remedy("Say it once; for several values make several plans."));
                }
                let value = match (member, value.as_str()) {
                    ("hub", Some(hub)) => host_name(api, hub).await?,
                    _ => value,
                };
                records.set(member, value);
            }
            select.set("records", records);
        }
        if let Some(query) = self.twin_query {
            let twins = Json::Object(vec![("query".to_owned(), Json::String(query))]);
            select.set("twins", twins);
        }
        Ok(select)
    }

    /// The registration IDs listed, each once; `None` where none are.
    fn listed(&self) -> Result<Option<Vec<String>>, Complaint> {
        let mut ids = self.registration_id.clone();
        if let Some(path) = &self.file {
            let from_file = read_ids(path)?;
            if from_file.is_empty() {
                let text = format!("--file: {} lists no registration IDs.", path.display());
                return Err(Complaint::misuse(text).with_remedy(
                    "Write one registration ID a line; what stands behind # is a comment.",
                ));
            }
            ids.extend(from_file);
        }
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.to_ascii_lowercase()));
        Ok((!ids.is_empty()).then_some(ids))
    }
}

fn read_ids(path: &Path) -> Result<Vec<String>, Complaint> {
    let cannot =
        |why: String| Complaint::new(format!("--file: cannot read {}: {why}.", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
    let most = MAX_DEPROVISIONING_BYTES as u64;
    if size > most {
        let cannot = cannot(format!("it has {size} bytes, at most {most} are read"));
        return Err(cannot.with_remedy("Split it, and make a plan of each part."));
    }
    let text = fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
    Ok(ids_of(&text))
}

/// One ID a line, what stands behind a `#` apart.
fn ids_of(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    text.lines().map(line).filter(|id| !id.is_empty()).collect()
}

/// A linked hub by its host name or the first label of it.
async fn host_name(api: &Api, name: &str) -> Result<Json, Complaint> {
    if name.contains('.') {
        return Ok(Json::from(name));
    }
    let hubs = api.list_with(&own_path(["linked-hubs"]), &[], Top::ALL).await?;
    let Json::Array(hubs) = &hubs else { return Ok(Json::from(name)) };
    let names: Vec<&str> =
        hubs.iter().filter_map(|hub| hub.get("name").and_then(Json::as_str)).collect();
    let is_meant =
        |host: &&&str| host.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(name));
    let meant: Vec<&&str> = names.iter().filter(is_meant).collect();
    match meant.as_slice() {
        [host] => Ok(Json::from(**host)),
        [] => Err(Complaint {
            kind: crate::cli::complaint::Kind::NotFound,
            ..Complaint::new(format!("No linked hub is called `{name}`."))
                .with_remedy(format!("There are {}.", names.join(", ")))
        }),
        _ => Err(Complaint::misuse(format!("Several linked hubs are called `{name}`."))
            .with_remedy("Give the whole host name.")),
    }
}

/// What a condition on records is called at the command line.
fn as_typed(member: &str) -> &str {
    match member {
        "olderThanSecs" => "older-than",
        "updatedSince" => "updated-since",
        "updatedBefore" => "updated-before",
        same => same,
    }
}

/// A condition on records.
fn condition(text: &str) -> Result<Condition, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim()).filter(|value| !value.is_empty())),
        None => (text.trim(), None),
    };
    let expected = || format!("expected {CONDITIONS}");
    let of_text = |member, text: &str| Condition { member, value: Json::from(text) };
    Ok(match (name, value) {
        ("orphaned", None) => Condition { member: "orphaned", value: Json::from(true) },
        ("orphaned", Some(text)) => {
            Condition { member: "orphaned", value: Json::from(input::switch(text)?) }
        }
        ("status", Some(word)) => of_text("status", word),
        ("hub", Some(name)) => of_text("hub", name),
        ("group", Some(id)) => of_text("group", id),
        ("enrollment", Some(id)) => of_text("enrollment", id),
        ("older-than", Some(age)) => {
            Condition { member: "olderThanSecs", value: Json::from(seconds(age)?) }
        }
        ("updated-since", Some(time)) => of_text("updatedSince", &input::moment(time)?),
        ("updated-before", Some(time)) => of_text("updatedBefore", &input::moment(time)?),
        _ => return Err(expected()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_id_a_line_and_comments() {
        let text = "\u{feff}# stolen\npress-17\r\n\n  press-18  # the old one\n#press-19\n";
        assert_eq!(ids_of(text), ["press-17", "press-18"]);
        assert_eq!(ids_of("# none\n"), Vec::<String>::new());
    }

    #[test]
    fn a_condition_on_records_is_read_as_it_is_meant() {
        let check = |text: &str, member: &str, value: &str| {
            let read = condition(text).expect(text);
            assert_eq!((read.member, read.value.to_string()), (member, value.to_owned()), "{text}");
        };
        check("status=assigned", "status", "\"assigned\"");
        check("hub = hub-1", "hub", "\"hub-1\"");
        check("group=line-4", "group", "\"line-4\"");
        check("enrollment=press-17", "enrollment", "\"press-17\"");
        check("older-than=90d", "olderThanSecs", "7776000");
        check("updated-since=0", "updatedSince", "\"1970-01-01T00:00:00Z\"");
        check("updated-before=2026-01-01T00:00:00Z", "updatedBefore", "\"2026-01-01T00:00:00Z\"");
        check("orphaned", "orphaned", "true");
        check("orphaned=false", "orphaned", "false");
        for wrong in ["", "status", "status=", "state=assigned", "older-than=soon", "orphaned=7"] {
            condition(wrong).expect_err(wrong);
        }
    }
}
