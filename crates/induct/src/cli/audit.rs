//! `induct audit …`: what operators changed.

use clap::{Args, Subcommand};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path},
    complaint::Complaint,
    target::ServiceTarget,
};

/// Look at what operators changed, and check that nobody changed the log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct audit list -o table
  induct audit list --action enrollment. --since 2026-03-01T00:00:00Z
  induct audit verify

Each line carries the hash of the one before it. `verify` prints the last line's number and hash:
kept elsewhere, they show later that the log up to there is still the same.")]
pub struct Audit {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: AuditCommand,
}

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// List lines, the oldest first.
    #[command(after_help = "Examples:
  induct audit list --target enrollments/press-17
  induct audit list --policy ci --top 20 -o table")]
    List(List),
    /// Follow the log from its first line to its last, and say where it is not as it was written.
    #[command(after_help = "Example:
  induct audit verify

Ends with 1 when a line was changed or is missing.")]
    Verify,
}

#[derive(Debug, Args)]
struct List {
    /// Only what was done with this policy; `induct` is the program itself.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only actions that begin so, such as enrollment. or policy.delete.
    #[arg(long, value_name = "TEXT")]
    action: Option<String>,
    /// Only what was done to this, such as enrollments/press-17.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only from this moment on, such as 2026-03-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    top: Top,
}

impl Audit {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the service answered, or that the log is not as it was written.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await.map(Some))
    }
}

impl AuditCommand {
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        match self {
            Self::List(list) => {
                let options = [
                    ("policy", list.policy.as_deref()),
                    ("action", list.action.as_deref()),
                    ("target", list.target.as_deref()),
                    ("since", list.since.as_deref()),
                    ("until", list.until.as_deref()),
                ];
                let lines = api.list_with(&own_path(["audit"]), &options, list.top).await?;
                Ok(Answer::new(lines, Sheet::Audit))
            }
            Self::Verify => verify(api).await,
        }
    }
}

async fn verify(api: &Api) -> Result<Answer, Complaint> {
    let check = api.get(&own_path(["audit", "verify"])).await?;
    let Some(broken) = check.get("broken").filter(|broken| **broken != Json::Null) else {
        return Ok(Answer::new(check, Sheet::Plain));
    };
    let number = broken.get("number").map(Json::to_string).unwrap_or_default();
    let reason = broken.get("reason").and_then(Json::as_str).unwrap_or_default();
    Err(Complaint::new(format!(
        "The audit log is not as it was written, from line {number} on: {reason}."
    ))
    .with_remedy(
        "Somebody wrote to the database beside Induct. A backup from before shows what the lines \
         said.",
    ))
}
