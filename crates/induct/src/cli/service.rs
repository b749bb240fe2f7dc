//! `induct show`, `induct update`, `induct usage`: the service itself (O §3.2, §4.1, §6.3).

use clap::{Args, ValueEnum};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path, with_options},
    complaint::Complaint,
    document::set_at,
    enrollment::Etag,
    target::ServiceTarget,
};

/// Show the service's settings.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  induct show -o table")]
pub struct Show {
    #[command(flatten)]
    target: ServiceTarget,
}

/// Change the service's settings; what you do not name stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct update --allocation-policy geoLatency
  induct update --operator-api loopback              Nobody but this machine manages the service.
  induct update --disenroll-ends-sessions true       Off means off: see below.
  induct update --set allocationPolicy=static        The same words as `induct show` prints.

With --disenroll-ends-sessions true, disabling or deleting an enrollment, a group or a CA certificate
ends the sessions that rest on it, and their devices cannot connect to a built-in hub again. Groups
may say otherwise: `induct enrollment-group settings set`.

`allocation_policy` in induct.toml is what a new service begins with; this is what counts then.")]
pub struct Update {
    #[command(flatten)]
    target: ServiceTarget,
    /// How hubs are chosen for enrollments that do not say: hashed, geoLatency or static.
    #[arg(long, visible_alias = "ap", value_name = "POLICY")]
    allocation_policy: Option<String>,
    /// From where the operator API and the hubs' registries can be used.
    #[arg(long, value_enum, value_name = "FROM")]
    operator_api: Option<OperatorApi>,
    /// Whether disabling or deleting what a device was enrolled by ends its sessions too.
    #[arg(long, value_name = "BOOL", num_args = 1)]
    disenroll_ends_sessions: Option<bool>,
    /// A member as `induct show` prints it, and its value. May be repeated.
    #[arg(long = "set", value_name = "MEMBER=VALUE")]
    set: Vec<String>,
    /// Also when it keeps you out from now on.
    #[arg(long)]
    force: bool,
    /// Show what the settings would become, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    etag: Etag,
}

/// From where the operator API can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OperatorApi {
    /// From this machine.
    Loopback,
    /// From everywhere that no IP rule keeps out.
    All,
}

/// Show how much there is of what is limited.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  induct usage -o table

The limits are those of [limits] in the configuration.")]
pub struct Usage {
    #[command(flatten)]
    target: ServiceTarget,
}

const SERVICE: &str = "service";

impl Show {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.target.run(context, async |api| {
            let service = api.get(&own_path([SERVICE])).await?;
            Ok(Some(Answer::new(service, Sheet::Plain)))
        })
    }
}

impl Update {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, force, dry_run, etag, .. } = &self;
        let document = self.changes()?;
        target.clone().run(context, async |api: &Api| {
            let options =
                [("force", force.then_some("true")), ("dryRun", dry_run.then_some("true"))];
            let path = with_options(&own_path([SERVICE]), &options);
            let service = api.patch(&path, &etag.etag, &document).await?;
            Ok(Some(Answer::new(service, Sheet::Plain)))
        })
    }
}

impl Update {
    /// What is asked for, as a document.
    fn changes(&self) -> Result<Json, Complaint> {
        let mut document = Json::empty_object();
        for assignment in &self.set {
            set_at(&mut document, assignment)?;
        }
        if let Some(policy) = &self.allocation_policy {
            document.set("allocationPolicy", Json::from(policy.as_str()));
        }
        if let Some(from) = self.operator_api {
            document.set("operatorApiOnLoopbackOnly", Json::from(from == OperatorApi::Loopback));
        }
        if let Some(ends) = self.disenroll_ends_sessions {
            document.set("disenrollEndsSessions", Json::from(ends));
        }
        if document.is_empty_object() {
            let remedy =
                "Name --allocation-policy, --operator-api, --disenroll-ends-sessions or --set.";
            return Err(Complaint::misuse("There is nothing to change.").with_remedy(remedy));
        }
        Ok(document)
    }
}

impl Usage {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let as_table = context.is_table();
        self.target.run(context, async |api| {
            let usage = api.get(&own_path(["usage"])).await?;
            let shown = if as_table { rows(&usage) } else { usage };
            Ok(Some(Answer::new(shown, Sheet::Usage)))
        })
    }
}

/// What is counted, a row each.
fn rows(usage: &Json) -> Json {
    let rows = usage.as_object().unwrap_or_default().iter().map(|(what, figures)| {
        let mut row = Json::empty_object();
        row.set("what", Json::from(what.as_str()));
        for member in ["current", "limit"] {
            row.set(member, figures.get(member).cloned().unwrap_or(Json::Null));
        }
        row
    });
    Json::Array(rows.collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn what_is_named_is_changed_and_nothing_else() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            update: Update,
        }
        let check = |options: &str, expected: Result<&str, &str>| {
            let line = Line::try_parse_from(format!("update {options}").split_whitespace());
            let changes = line.expect("legal").update.changes();
            let shown = changes.map(|json| json.to_string()).map_err(|c| c.message);
            assert_eq!(shown.as_deref().map_err(String::as_str), expected, "{options}");
        };
        check(
            "--allocation-policy static --operator-api loopback",
            Ok(r#"{"allocationPolicy":"static","operatorApiOnLoopbackOnly":true}"#),
        );
        let ends = "--disenroll-ends-sessions";
        check(&format!("{ends} true"), Ok(r#"{"disenrollEndsSessions":true}"#));
        check(&format!("{ends} false"), Ok(r#"{"disenrollEndsSessions":false}"#));
        check(
            "--set operatorApiOnLoopbackOnly=false",
            Ok(r#"{"operatorApiOnLoopbackOnly":false}"#),
        );
        check("", Err("There is nothing to change."));
    }

    #[test]
    fn usage_is_a_row_for_each_figure() {
        let usage = json::parse(r#"{"linkedHubs":{"current":1,"limit":50},"x":{"current":2}}"#);
        assert_eq!(
            rows(&usage.expect("legal")).to_string(),
            r#"[{"what":"linkedHubs","current":1,"limit":50},{"what":"x","current":2,"limit":null}]"#
        );
    }
}
